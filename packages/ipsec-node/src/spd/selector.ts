/**
 * Selectors (RFC 4301 section 4.4.1.1) as plain values: addresses are text in canonical form, so a
 * selector can be printed, compared and sent as it is.
 */

/** An inclusive range of addresses of one family, `from` <= `to`, canonical text. */
export interface SelectorAddressRange {
  readonly from: string;
  readonly to: string;
}

/** An inclusive range of ports (0..65535) or of ICMP types or codes (0..255). */
export interface SelectorNumberRange {
  readonly from: number;
  readonly to: number;
}

/**
 * What one SPD entry or SA speaks of, seen from our side: `local` is the source of an outbound
 * packet and the destination of an inbound one. An empty list is ANY.
 */
export interface Selector {
  readonly local: readonly SelectorAddressRange[];
  readonly remote: readonly SelectorAddressRange[];
  /** IANA next layer protocol, 0..255, or 'any'. */
  readonly protocol: number | 'any';
  readonly localPorts: readonly SelectorNumberRange[];
  readonly remotePorts: readonly SelectorNumberRange[];
  /** Only with protocol 1 or 58. Empty is ANY. */
  readonly icmpTypes: readonly SelectorNumberRange[];
  readonly icmpCodes: readonly SelectorNumberRange[];
}

/** The selector that matches every packet. */
export const ANY_SELECTOR: Selector = Object.freeze({
  local: [],
  remote: [],
  protocol: 'any',
  localPorts: [],
  remotePorts: [],
  icmpTypes: [],
  icmpCodes: [],
});
