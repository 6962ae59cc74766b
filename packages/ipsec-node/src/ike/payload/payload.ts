/**
 * The payloads of RFC 7296 section 3 as values: what the codec gives and takes. They hold no
 * decisions: an unknown number is a number here.
 */
import type { Proposal } from '../../sad/proposal.js';

/** Payload type numbers (RFC 7296 section 3.2, RFC 7383 section 2.5). */
export const PAYLOAD_NUMBERS = {
  none: 0,
  sa: 33,
  ke: 34,
  'id-initiator': 35,
  'id-responder': 36,
  certificate: 37,
  'certificate-request': 38,
  authentication: 39,
  nonce: 40,
  notify: 41,
  delete: 42,
  'vendor-id': 43,
  'ts-initiator': 44,
  'ts-responder': 45,
  encrypted: 46,
  configuration: 47,
  eap: 48,
  'encrypted-fragment': 53,
} as const;

/** Exchange type numbers (RFC 7296 section 3.1, RFC 9242, RFC 9370). */
export const EXCHANGE_NUMBERS = {
  IKE_SA_INIT: 34,
  IKE_AUTH: 35,
  CREATE_CHILD_SA: 36,
  INFORMATIONAL: 37,
  IKE_INTERMEDIATE: 43,
  IKE_FOLLOWUP_KE: 44,
} as const;
export type ExchangeName = keyof typeof EXCHANGE_NUMBERS;

/** The header of a message (RFC 7296 section 3.1). */
export interface IkeHeader {
  readonly spiInitiator: bigint;
  /** 0 in the first request. */
  readonly spiResponder: bigint;
  /** The number on the wire; {@link EXCHANGE_NUMBERS} names the known ones. */
  readonly exchange: number;
  readonly majorVersion: number;
  readonly minorVersion: number;
  readonly isResponse: boolean;
  /** Set in messages of the original initiator of the IKE SA. */
  readonly isInitiator: boolean;
  /** "Higher version" flag. */
  readonly isHigherVersion: boolean;
  readonly messageId: number;
}

/** A proposal with what belongs to the wire alone (RFC 7296 section 3.3.1). */
export interface WireProposal extends Omit<Proposal, 'protocol'> {
  /** 1.. in the order offered. */
  readonly number: number;
  /** 1 IKE, 2 AH, 3 ESP; other numbers as they came. */
  readonly protocolId: number;
  /** 0, 4 or 8 bytes. */
  readonly spi: Uint8Array;
  /**
   * Transforms of a type that is not known, and types of which every transform has attributes that
   * are not known: with any of them the proposal cannot be chosen (RFC 7296 section 3.3.6).
   */
  readonly unknownTransformCount: number;
}

/** One traffic selector (RFC 7296 section 3.13.1). Addresses canonical text. */
export interface TrafficSelector {
  readonly family: 4 | 6;
  /** 0: any. */
  readonly protocol: number;
  /** For ICMP the most significant octet is the type, the other the code. OPAQUE is 65535-0. */
  readonly startPort: number;
  readonly endPort: number;
  readonly from: string;
  readonly to: string;
}

export type Payload =
  | { readonly type: 'sa'; readonly proposals: readonly WireProposal[] }
  | { readonly type: 'ke'; readonly method: number; readonly data: Uint8Array }
  | {
      readonly type: 'id-initiator' | 'id-responder';
      /** 1 IPv4, 2 FQDN, 3 RFC 822, 5 IPv6, 9 DN, 11 KEY_ID. */
      readonly idType: number;
      readonly data: Uint8Array;
    }
  | { readonly type: 'certificate'; readonly encoding: number; readonly data: Uint8Array }
  | { readonly type: 'certificate-request'; readonly encoding: number; readonly data: Uint8Array }
  | { readonly type: 'authentication'; readonly method: number; readonly data: Uint8Array }
  | { readonly type: 'nonce'; readonly data: Uint8Array }
  | NotifyPayload
  | {
      readonly type: 'delete';
      readonly protocolId: number;
      readonly spis: readonly Uint8Array[];
    }
  | { readonly type: 'vendor-id'; readonly data: Uint8Array }
  | {
      readonly type: 'ts-initiator' | 'ts-responder';
      readonly selectors: readonly TrafficSelector[];
      /** Selectors of a type that is not known; they cannot be chosen. */
      readonly unknownCount: number;
    }
  | {
      readonly type: 'configuration';
      readonly cfgType: number;
      readonly attributes: readonly ConfigurationAttribute[];
    }
  | { readonly type: 'eap'; readonly data: Uint8Array }
  /** A payload type that is not known and not critical: skipped by all but the codec's tests. */
  | {
      readonly type: 'unknown';
      readonly number: number;
      readonly critical: boolean;
      readonly data: Uint8Array;
    };

export interface NotifyPayload {
  readonly type: 'notify';
  /** 0 where no SA is meant; 1 IKE, 2 AH, 3 ESP. */
  readonly protocolId: number;
  readonly spi: Uint8Array;
  /** The number on the wire; `NOTIFY` in notify.ts names them. */
  readonly notify: number;
  readonly data: Uint8Array;
}

export interface ConfigurationAttribute {
  readonly type: number;
  readonly value: Uint8Array;
}

export type PayloadOf<T extends Payload['type'], P = Payload> = P extends { readonly type: infer U }
  ? [Extract<U, T>] extends [never]
    ? never
    : P
  : never;

/** A message whose payloads are in clear: IKE_SA_INIT, or the inside of an Encrypted payload. */
export interface IkeMessage {
  readonly header: IkeHeader;
  readonly payloads: readonly Payload[];
}

/**
 * A parsed datagram. Of a protected message only the outside is known: payloads before the
 * Encrypted (Fragment) payload, and where the ciphertext is.
 */
export interface ReceivedMessage {
  readonly header: IkeHeader;
  /** The whole datagram, without a non-ESP marker. */
  readonly bytes: Uint8Array;
  /** Payloads outside the Encrypted payload. */
  readonly payloads: readonly Payload[];
  readonly encrypted: EncryptedPart | null;
}

/** The Encrypted payload (RFC 7296 section 3.14) or Encrypted Fragment payload (RFC 7383 2.5). */
export interface EncryptedPart {
  /** Type number of the first payload inside; 0 for all fragments but the first. */
  readonly firstPayload: number;
  /** Offset of the IV in the datagram: everything before it is associated data. */
  readonly bodyOffset: number;
  /** Null for a whole message. */
  readonly fragment: { readonly number: number; readonly total: number } | null;
}
