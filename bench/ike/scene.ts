/**
 * Who is where, and what both responders and the initiators are told: many peers with one pre-shared
 * key at many addresses, each with an identity and an inner address of its own, and one gateway.
 */

export const RESPONDER_ADDRESS = '192.0.2.2';
export const INITIATOR_ADDRESS = '192.0.2.1';
/** The peers' outer addresses; the initiators' host answers for all of them. */
export const SOURCE_NETWORK = '198.18.0.0/16';
export const SOURCE_COUNT = 250;
export const INSIDE = { prefix: '10.1.0.0/16', from: '10.1.0.0', to: '10.1.255.255' } as const;
/** The peers' inner addresses. */
export const PEERS_PREFIX = '10.64.0.0/10';
export const RESPONDER_NAME = 'gateway.example';
export const PSK = 'a secret of the bench, of 20 octets and more';
export const POLICY = 'peers';
export const PORTS = { ike: 500, nat: 4500 } as const;
/** As the initiators offer them. X25519 for IKE and, when a child is rekeyed, for the child. */
export const PROPOSALS = {
  ike: 'aes256gcm16-prfsha256-x25519',
  esp: 'aes256gcm16-x25519',
} as const;

export function peerName(index: number): string {
  return `p${index}.example`;
}

export function sourceAddress(source: number): string {
  return `198.18.${source >> 8}.${(source & 0xff) + 1}`;
}

/** From 10.64.0.1 on. */
export function innerAddress(index: number): string {
  const number = index + 1;
  return `10.${64 + (number >> 16)}.${(number >> 8) & 0xff}.${number & 0xff}`;
}
