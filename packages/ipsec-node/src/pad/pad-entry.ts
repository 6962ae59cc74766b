import type { KeyObject } from 'node:crypto';
import type { Milliseconds } from '../clock.js';
import type { Proposal } from '../sad/proposal.js';
import type { Secret } from '../sad/secret.js';
import type { SelectorAddressRange } from '../spd/selector.js';
import type { Aftermath, ChildTerms } from './child-terms.js';
import type { Identity, IdentityPattern } from './identity.js';

/** Where a peer may be. */
export type PeerHost =
  /** Where we go, and where it comes from. */
  | { readonly kind: 'address'; readonly address: string }
  /** Resolved by the daemon, again when it does not answer. */
  | { readonly kind: 'dns-name'; readonly name: string }
  /** Only where it may come from. */
  | { readonly kind: 'range'; readonly range: SelectorAddressRange }
  | { readonly kind: 'any' };

/** How an RSA key signs for a peer that knows RFC 7427: RSASSA-PSS, or PKCS#1 v1.5. */
export type RsaSignature = 'pss' | 'pkcs1';

/** A private key and the certificate or raw public key that goes with it. */
export interface LocalCredential {
  readonly privateKey: KeyObject;
  /** DER, leaf first, then the intermediates that are sent along; empty: a raw public key. */
  readonly certificates: readonly Uint8Array[];
  /** Absent: PSS. Of no meaning for other keys. */
  readonly rsaSignature?: RsaSignature;
}

/** How we prove who we are. */
export type LocalAuthentication =
  | { readonly method: 'psk'; readonly secret: Secret }
  | { readonly method: 'certificate'; readonly credential: LocalCredential }
  | { readonly method: 'public-key'; readonly credential: LocalCredential };

/** What revocation must say of a peer's certificate. */
export type RevocationPolicy =
  /** Not asked for. */
  | 'off'
  /** Refused where it is known to be revoked; taken where nobody can be asked. */
  | 'relaxed'
  /** Taken only where it is known to be good. */
  | 'strict';

/** How the peer must prove who it is. */
export type RemoteAuthentication =
  | { readonly method: 'psk'; readonly secret: Secret }
  | {
      readonly method: 'certificate';
      /** DER of the trust anchors. */
      readonly authorities: readonly Uint8Array[];
      /** CRLs at hand, DER or PEM as they were read. */
      readonly crls: readonly Uint8Array[];
      readonly revocation: RevocationPolicy;
    }
  | {
      readonly method: 'public-key';
      /** DER SubjectPublicKeyInfo of each key that is accepted. */
      readonly keys: readonly Uint8Array[];
    };

/** A post-quantum pre-shared key (RFC 8784). */
export interface Ppk {
  readonly id: Uint8Array;
  readonly secret: Secret;
  /** False: a peer without PPK is taken as well. */
  readonly required: boolean;
}

/** One entry of the PAD: who a peer may be, how it proves it, which Child SAs it may have. */
export interface PadEntry {
  /** Unique. */
  readonly name: string;
  /** Tried in turn. */
  readonly hosts: readonly PeerHost[];
  /** Our address towards it; null: what the routes say. */
  readonly localAddress: string | null;
  /** UDP port where it is first addressed; anything but 500 starts with the non-ESP marker. */
  readonly remotePort: number;
  readonly localIdentity: Identity;
  readonly remoteIdentity: IdentityPattern;
  readonly localAuthentication: LocalAuthentication;
  readonly remoteAuthentication: RemoteAuthentication;
  readonly ppk: Ppk | null;
  /** IKE proposals in order of preference. */
  readonly proposals: readonly Proposal[];
  /** In the order of the SPD. */
  readonly children: readonly ChildTerms[];
  /** The IKE SA is rekeyed after this long less jitter; gone at `hardMs`. */
  readonly rekeyMs: Milliseconds;
  readonly hardMs: Milliseconds;
  /** Silence after which the peer is asked whether it lives; 0: never. */
  readonly livenessMs: Milliseconds;
  readonly keepaliveMs: Milliseconds;
  /** Whether ESP goes in UDP even where no NAT is found. */
  readonly encapsulation: 'auto' | 'forced';
  readonly fragmentation: boolean;
  readonly mobike: boolean;
  /** What a second IKE SA of the same identity does to the first (RFC 7296 section 2.4). */
  readonly unique: 'replace' | 'keep' | 'no';
  readonly onDeath: Aftermath;
  /** Hash-and-URL certificates (RFC 7296 section 3.6): off unless asked for. */
  readonly hashAndUrl: boolean;
}
