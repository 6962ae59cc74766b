/**
 * The seam between control plane and datapath, in the words of RFC 4301 and PF_KEY (RFC 2367).
 *
 * Everything that crosses it is a plain value. SPIs are numbers from 256 to 2^32-1, addresses are
 * text in canonical form, counters and sequence numbers are bigint, keys are `Uint8Array`s that the
 * callee copies and the caller zeroes.
 *
 * Ordering promise: an event about an SA is never delivered before the reply to the verb that
 * created it. Tested by test/contract.
 */

/** An inclusive range of addresses of one family. `from` <= `to`. */
export interface AddressRangeValue {
  readonly from: string;
  readonly to: string;
}

/** An inclusive range of ports, or of ICMP types or codes. */
export interface NumberRangeValue {
  readonly from: number;
  readonly to: number;
}

/**
 * The selectors of one SPD entry or SA (RFC 4301 section 4.4.1.1), seen from our side: `local` is
 * the source of an outbound packet and the destination of an inbound one. An empty list is ANY.
 */
export interface SelectorValue {
  readonly local: readonly AddressRangeValue[];
  readonly remote: readonly AddressRangeValue[];
  /** IANA next layer protocol, 0..255, or 'any'. */
  readonly protocol: number | 'any';
  readonly localPorts: readonly NumberRangeValue[];
  readonly remotePorts: readonly NumberRangeValue[];
  /** ICMP types and codes; only with protocol 1 or 58. Empty is ANY. */
  readonly icmpTypes: readonly NumberRangeValue[];
  readonly icmpCodes: readonly NumberRangeValue[];
}

export type SpdAction = 'PROTECT' | 'BYPASS' | 'DISCARD';
export type SpdDirection = 'both' | 'outbound' | 'inbound';

/** One ordered SPD entry (RFC 4301 section 4.4.1). */
export interface SpdEntryValue {
  /** Unique, stable over reloads: SAs name the entry they serve by it. */
  readonly name: string;
  readonly direction: SpdDirection;
  readonly selector: SelectorValue;
  readonly action: SpdAction;
  /** True for the entries that the product itself puts at the head (neighbour discovery, DHCP ...). */
  readonly builtin: boolean;
}

/** The whole ordered SPD. A search that matches no entry is DISCARD. */
export interface SpdValue {
  readonly version: number;
  readonly entries: readonly SpdEntryValue[];
}

/** AEADs, and AES-CBC with HMAC: cipher and integrity by the keywords of proposals. */
export type SuiteName =
  | 'aes128gcm16'
  | 'aes256gcm16'
  | 'chacha20poly1305'
  | `${'aes128' | 'aes192' | 'aes256'}-${'sha1' | 'sha256' | 'sha384' | 'sha512'}`;
export type EncapsulationName = 'udp' | 'esp';

/** Names one direction of one SA. */
export interface SaId {
  readonly direction: 'outbound' | 'inbound';
  readonly spi: number;
}

/** Parameters of one direction of one SA (RFC 4301 section 4.4.2.1). */
export interface SaValue {
  readonly id: SaId;
  /** Name of the SPD entry that this SA serves. */
  readonly entry: string;
  /** What inner packets may be: checked outbound by the SPD search, inbound after decryption. */
  readonly selector: SelectorValue;
  readonly suite: SuiteName;
  /**
   * Encryption key, then the 4-byte salt of an AEAD (RFC 4106 section 8.1, RFC 7634 section 2) or
   * the integrity key (RFC 4868 section 2.1.1; the order is RFC 7296 section 2.17's).
   */
  readonly key: Uint8Array;
  readonly mode: 'tunnel' | 'transport';
  /** Our outer address. */
  readonly local: string;
  /** The peer's outer address. */
  readonly remote: string;
  readonly encapsulation: EncapsulationName;
  /** UDP ports of the encapsulation; both 4500 unless a NAT says otherwise. */
  readonly localPort: number;
  readonly remotePort: number;
  readonly esn: boolean;
  /** Inbound: 64..65536 packets, a power of two; 0 turns anti-replay off. */
  readonly replayWindow: number;
  /**
   * Outbound: the first sequence number to use. Inbound: the right edge of the window (all numbers
   * up to it are refused). Zero-based for a fresh SA: outbound starts with 1.
   */
  readonly sequenceNumber: bigint;
  /**
   * Durable reservation (manual keys): outbound numbers above it are not used and inbound numbers
   * above it are not accepted until `reserve` raises it. `null`: no such bound (negotiated keys).
   */
  readonly reservedUpTo: bigint | null;
  /** Bytes of TFC padding policy: none, or to a fixed inner size (RFC 4303 section 2.7). */
  readonly tfcPadToBytes: number;
  readonly dontFragment: 'copy' | 'set' | 'clear';
}

export interface SaState {
  readonly id: SaId;
  readonly entry: string;
  /** Outbound: last number used. Inbound: right edge of the window. */
  readonly sequenceNumber: bigint;
  readonly reservedUpTo: bigint | null;
  readonly packets: bigint;
  readonly bytes: bigint;
  /** Milliseconds since the SA was added, and since its last packet (null: none yet). */
  readonly ageMs: number;
  readonly idleMs: number | null;
  /** Refused packets by reason; only reasons that occurred. */
  readonly drops: Readonly<Record<string, bigint>>;
}

export interface DataplaneOptions {
  readonly gateway: string;
  readonly interface: { readonly name: string; readonly mtu: number };
  /** Addresses to listen on, and the port of UDP encapsulation (4500). */
  readonly listen: readonly string[];
  readonly port: number;
  readonly ikePort: number;
  readonly encapsulations: readonly EncapsulationName[];
  readonly protectedInterfaces: readonly string[];
  readonly unprotectedInterfaces: readonly string[];
  /** Off switches; each is also probed and falls back by itself. */
  readonly offload: {
    readonly tunSegmentation: boolean;
    readonly udpGso: boolean;
    readonly udpGro: boolean;
  };
  /** Keep what policy protects closed after a stop (boundary.md), or open it. */
  readonly onStop: 'guard' | 'open';
  /** Whether the kernel boundary (nftables, rules, routes) is installed at all. */
  readonly boundary: boolean;
}

/** What was opened, and what the probes found. */
export interface DataplaneFacts {
  readonly interface: string;
  readonly mtu: number;
  readonly offload: {
    readonly tunSegmentation: boolean;
    readonly udpGso: boolean;
    readonly udpGro: boolean;
  };
  /** One sentence for each thing that is not as it could be. */
  readonly notes: readonly string[];
  /** True where a guard of an earlier run was found and taken over. */
  readonly guardTakenOver: boolean;
}

export interface IkeDatagram {
  readonly local: string;
  readonly localPort: number;
  readonly remote: string;
  readonly remotePort: number;
  readonly payload: Uint8Array;
}

export type DataplaneEvent =
  | { readonly kind: 'ike'; readonly datagrams: readonly IkeDatagram[] }
  | { readonly kind: 'acquire'; readonly entry: string; readonly packet: PacketValue }
  /** A durable reservation runs low: write a higher one down, then call `reserve`. */
  | {
      readonly kind: 'reserveLow';
      readonly id: SaId;
      readonly used: bigint;
      readonly wanted: bigint;
    }
  | {
      readonly kind: 'expire';
      readonly id: SaId;
      readonly limit: 'sequence';
      readonly hard: boolean;
    }
  | { readonly kind: 'firstUse'; readonly id: SaId }
  | { readonly kind: 'guard'; readonly what: string }
  | {
      readonly kind: 'audit';
      readonly reason: string;
      readonly spi: number;
      readonly sequenceNumber: bigint;
      readonly source: string;
      readonly destination: string;
      readonly count: bigint;
    }
  | { readonly kind: 'fault'; readonly worker: string; readonly reason: string }
  | { readonly kind: 'lost'; readonly count: bigint };

/** The five-tuple of one packet, as in its header; ports 0 and `hasPorts` false where it has none. */
export interface PacketValue {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly hasPorts: boolean;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly icmpType: number;
  readonly icmpCode: number;
}

/** One snapshot of all counters. Keys are the names of docs/drops.md and of docs/counters.md. */
export interface CountersValue {
  readonly counters: Readonly<Record<string, bigint>>;
  readonly drops: Readonly<Record<string, bigint>>;
}

/** The datapath as the control plane sees it. All verbs but `open` fail after `close`. */
export interface Dataplane {
  open(options: DataplaneOptions): Promise<DataplaneFacts>;
  /** Idempotent. The order of things is docs/closing.md. */
  close(): Promise<void>;
  /** Whole SPD, versioned, atomic at the edge of a batch; boundary and classifier move together. */
  replaceSpd(spd: SpdValue): Promise<void>;
  /** One direction of one SA. Rejects a duplicate with IPSEC_ERR_SA_EXISTS. */
  addSa(sa: SaValue): Promise<void>;
  /**
   * Sets the durable bound of an SA and resolves with the bound in force. To raise it, write the
   * higher one to disk first: numbers up to and including `upTo` may then be used. An inbound bound
   * may be lowered, never below what was accepted: write the resolved one to disk afterwards.
   */
  reserve(id: SaId, upTo: bigint): Promise<bigint>;
  /** A new peer endpoint. Never keys. */
  updateSa(
    id: SaId,
    change: { readonly remote: string; readonly remotePort: number },
  ): Promise<void>;
  /** Final state of the SA. */
  deleteSa(id: SaId): Promise<SaState>;
  querySad(): Promise<readonly SaState[]>;
  sendIke(datagrams: readonly IkeDatagram[]): Promise<void>;
  counters(): Promise<CountersValue>;
  /** Receives events in batches, in the order produced. Set before `open`. */
  onEvents(handler: (events: readonly DataplaneEvent[]) => void): void;
}
