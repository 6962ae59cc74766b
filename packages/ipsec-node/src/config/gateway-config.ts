import type { Milliseconds } from '../clock.js';
import type { Aftermath } from '../pad/child-terms.js';
import type { LocalAuthentication, PadEntry } from '../pad/pad-entry.js';
import type { Proposal } from '../sad/proposal.js';
import type { Secret } from '../sad/secret.js';
import type { SuiteName } from '../sad/suite.js';
import type { BuiltinName } from '../spd/builtin-name.js';
import type { Selector } from '../spd/selector.js';
import type { SpdAction, SpdDirection } from '../spd/spd-entry.js';

/**
 * The configuration as one plain, readonly, fully defaulted value in RFC words. No later layer has
 * a default of its own or asks whether a setting is present.
 */
export interface GatewayConfig {
  readonly gateway: GatewaySettings;
  /** In the order of the file: the first match wins. */
  readonly peers: readonly PeerConfig[];
  /** In the order of the file: the first match wins. */
  readonly policies: readonly PolicyConfig[];
  readonly associations: readonly AssociationConfig[];
}

/** The section `gateway`. */
export interface GatewaySettings {
  readonly name: string;
  /** `auto` in the file is resolved: the native dataplane is the only one of this version. */
  readonly dataplane: 'native';
  readonly interface: {
    readonly name: string;
    /** Bytes of the largest inner packet, or 'auto': `tunnelMtu` in config/compile. */
    readonly mtu: number | 'auto';
  };
  /** What an association uses that does not say; `auto` in the file is resolved to `udp`. */
  readonly encapsulation: Encapsulation;
  /** Interface names; null: found from the routes (docs/manual/configuration.md). */
  readonly unprotected: readonly string[] | null;
  readonly protected: readonly string[] | null;
  readonly onStop: 'guard' | 'open';
  /** Canonical addresses to listen on. */
  readonly listen: readonly string[];
  /** UDP port of ESP in UDP and of IKE behind a NAT. */
  readonly port: number;
  /** UDP port of IKE. */
  readonly ikePort: number;
  /** Absolute path of the control socket. */
  readonly control: string;
  /** Absolute path of the state directory: reserved sequence numbers; nothing secret. */
  readonly stateDirectory: string;
  readonly laboratory: boolean;
  /** Which groups of built-in SPD entries stand at the head of the SPD. */
  readonly builtin: Readonly<Record<BuiltinName, boolean>>;
  /** False is the off switch; true is still probed and falls back by itself. */
  readonly offload: {
    readonly tunSegmentation: boolean;
    readonly udpGso: boolean;
    readonly udpGro: boolean;
  };
}

export type Encapsulation = 'udp' | 'esp';

/** One entry of the section `policies`. */
export interface PolicyConfig {
  readonly name: string;
  readonly direction: SpdDirection;
  readonly selector: Selector;
  readonly action: SpdAction;
  /** ESP proposals that an SA which serves this policy may use; empty unless PROTECT. */
  readonly proposals: readonly Proposal[];
  readonly mode: 'tunnel' | 'transport';
  /** TFC padding (RFC 4303 section 2.7): bytes each inner packet is padded to; 0: none. */
  readonly tfcPadToBytes: number;
  /** Name of the peer that the SAs are negotiated with; null: none is. */
  readonly peer: string | null;
  readonly start: 'start' | 'trap' | 'none';
  readonly onClose: Aftermath;
  readonly lifetime: LifetimeConfig;
  readonly selectorsPerChild: 'all' | 'one';
  /** Packets, a power of two, 64..65536. */
  readonly replayWindow: number;
}

/** How long a negotiated SA lasts. */
export interface LifetimeConfig {
  readonly rekeyMs: Milliseconds;
  readonly hardMs: Milliseconds;
  /** Of either direction; 0: no such limit. */
  readonly rekeyBytes: bigint;
  readonly rekeyPackets: bigint;
}

/** One entry of the section `peers`: an entry of the PAD without its children. */
export interface PeerConfig extends Omit<PadEntry, 'children' | 'localAuthentication'> {
  readonly localAuthentication: LocalAuthentication | UnreadAuthentication;
  /** Whether what RFC 8221 and RFC 8247 advise against may be used. */
  readonly legacy: boolean;
}

/** A private key that was not readable where only the file is checked. */
export interface UnreadAuthentication {
  readonly method: 'unread';
  /** What it would be. */
  readonly intended: 'certificate' | 'public-key';
}

/** One entry of the section `associations`: a manually keyed pair of SAs, or one direction. */
export interface AssociationConfig {
  /** Name of the PROTECT policy that it serves. */
  readonly policy: string;
  readonly suite: SuiteName;
  /** Outer addresses, canonical, of one family. */
  readonly local: string;
  readonly remote: string;
  readonly encapsulation: Encapsulation;
  /** UDP port of the peer; meaningful with encapsulation `udp`. */
  readonly remotePort: number;
  /** Null where the policy's direction has no inbound SA. */
  readonly inbound: ManualKey | null;
  /** Null where the policy's direction has no outbound SA. */
  readonly outbound: ManualKey | null;
  readonly esn: boolean;
  /** Packets, a power of two, 64..65536. */
  readonly replayWindow: number;
}

/** SPI and keying material of one direction. */
export interface ManualKey {
  /** 256..2^32-1. */
  readonly spi: number;
  /** Cipher key then salt, of exactly the suite's length. */
  readonly key: Secret;
}
