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

/** The two ends of an SA's packets, and how they are wrapped. */
export interface SaEndpointValue {
  /** Our outer address. */
  readonly local: string;
  /** The peer's outer address, of the same family. */
  readonly remote: string;
  readonly encapsulation: EncapsulationName;
  /** UDP ports of the encapsulation; both 4500 unless a NAT says otherwise. */
  readonly localPort: number;
  readonly remotePort: number;
}

/** Names one direction of one SA. */
export interface SaId {
  readonly direction: 'outbound' | 'inbound';
  readonly spi: number;
}

/** Parameters of one direction of one SA (RFC 4301 section 4.4.2.1). */
export interface SaValue extends SaEndpointValue {
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
  /** Addresses to listen on, at most 16; `0.0.0.0` and `::` cover all of their family. */
  readonly listen: readonly string[];
  /** The port of UDP encapsulation (4500). */
  readonly port: number;
  /** The port of IKE (500). */
  readonly ikePort: number;
  /**
   * Whether IKE is served: `ikePort` and `port` are opened whatever the encapsulations, and packets
   * wait for the SA that they asked for, within limits, instead of being dropped.
   */
  readonly ike: boolean;
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

/**
 * Where a datagram that is not ESP goes, or comes from. Received, `local` is the address that it was
 * sent to, also where all addresses are listened on. To send, `local` is its source; `0.0.0.0`, `::`
 * or '' let the kernel choose.
 */
export interface IkePath {
  readonly local: string;
  /** Ours: `ikePort`, or `port`, where a Non-ESP Marker is put in front (RFC 3948 section 2.2). */
  readonly localPort: number;
  readonly remote: string;
  readonly remotePort: number;
}

/** An IKE message, without a Non-ESP Marker. */
export interface IkeDatagram extends IkePath {
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
  /** An inbound SA's first good packet; once for each SA. */
  | { readonly kind: 'firstUse'; readonly id: SaId }
  /**
   * An authentic packet, new in the window, of an inbound SA with UDP encapsulation came from another
   * endpoint than the SA's: a NAT has changed its mapping (RFC 7296 section 2.23). Nothing follows it
   * but by `updateSa`. At most once in 5 seconds for each SA.
   */
  | {
      readonly kind: 'mapping';
      readonly id: SaId;
      readonly remote: string;
      readonly remotePort: number;
    }
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
  /** One direction of one SA. Rejects a taken direction and SPI with IPSEC_ERR_SA_EXISTS. */
  addSa(sa: SaValue): Promise<void>;
  /**
   * Several, all or none, those that receive first. Of the outbound SAs that fit a packet the newest
   * carries it.
   */
  addSas(sas: readonly SaValue[]): Promise<void>;
  /**
   * Sets the durable bound of an SA and resolves with the bound in force. To raise it, write the
   * higher one to disk first: numbers up to and including `upTo` may then be used. An inbound bound
   * may be lowered, never below what was accepted: write the resolved one to disk afterwards.
   */
  reserve(id: SaId, upTo: bigint): Promise<bigint>;
  /**
   * New ends (a NAT's new mapping, RFC 4555), from one batch to the next. Outbound: where packets go,
   * from where, how wrapped. Inbound: what `mapping` compares with; packets are accepted from
   * everywhere and in both wrappings, for an SA is found by its SPI. Never keys.
   */
  updateSa(id: SaId, change: SaEndpointValue): Promise<void>;
  /** Final state of the SA. An older one of the same SPD entry carries on. */
  deleteSa(id: SaId): Promise<SaState>;
  /** Several; those that do not exist are left out. */
  deleteSas(ids: readonly SaId[]): Promise<readonly SaState[]>;
  querySad(): Promise<readonly SaState[]>;
  /** A few; those that do not exist are left out. */
  querySas(ids: readonly SaId[]): Promise<readonly SaState[]>;
  /** Sends by the socket of each `localPort`. What the kernel refuses is counted: IKE sends again. */
  sendIke(datagrams: readonly IkeDatagram[]): Promise<void>;
  /** Sends the one octet 0xFF from `port` (RFC 3948 section 2.3), so that a NAT keeps its mapping. */
  sendKeepalive(paths: readonly IkePath[]): Promise<void>;
  counters(): Promise<CountersValue>;
  /** Receives events in batches, in the order produced. Set before `open`. */
  onEvents(handler: (events: readonly DataplaneEvent[]) => void): void;
}
