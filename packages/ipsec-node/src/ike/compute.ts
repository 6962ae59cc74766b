/**
 * Slow work, asked for as a value and answered as a value: nothing of it runs inside the state
 * machine. The daemon does it in its own threads, the simulator at once or when it pleases.
 */
import type { KeyObject } from 'node:crypto';
import type { Identity } from '../pad/identity.js';
import type { LocalCredential, RevocationPolicy } from '../pad/pad-entry.js';

/** The private half of a key exchange: a key of node:crypto, or bytes that are wiped after use. */
export type PrivateValue = KeyObject | Uint8Array;

export type ComputeTask =
  /** A fresh pair for a key exchange method (IANA number), KEMs included. */
  | { readonly kind: 'generate'; readonly method: number }
  /** Diffie-Hellman, or decapsulation where the method is a KEM. Consumes the private value. */
  | {
      readonly kind: 'agree';
      readonly method: number;
      readonly privateValue: PrivateValue;
      readonly peerValue: Uint8Array;
    }
  /** The responder's half in one step: its public value (or ciphertext) and the secret. */
  | { readonly kind: 'respond'; readonly method: number; readonly peerValue: Uint8Array }
  /** The data of an AUTH payload by signature (RFC 7296 section 2.15, RFC 7427). */
  | {
      readonly kind: 'sign';
      readonly credential: LocalCredential;
      readonly octets: Uint8Array;
      /** SIGNATURE_HASH_ALGORITHMS of the peer; empty: it knows methods 1 and 9 to 11 alone. */
      readonly hashes: readonly number[];
    }
  | {
      readonly kind: 'verify';
      /** DER SubjectPublicKeyInfo. */
      readonly publicKey: Uint8Array;
      readonly octets: Uint8Array;
      readonly method: number;
      readonly data: Uint8Array;
    }
  /** Path validation, revocation included, and that the identity is in the leaf. */
  | {
      readonly kind: 'validate';
      /** As the peer sent them, leaf first; DER. */
      readonly certificates: readonly Uint8Array[];
      readonly authorities: readonly Uint8Array[];
      readonly crls: readonly Uint8Array[];
      /** OCSP answers that the peer sent (RFC 4806); DER. */
      readonly ocsp: readonly Uint8Array[];
      readonly revocation: RevocationPolicy;
      readonly identity: Identity;
    }
  /** OCSP answers for our own certificates, to send along (RFC 4806). */
  | { readonly kind: 'ocsp'; readonly certificates: readonly Uint8Array[] }
  /** Hash-and-URL: the certificate behind a URL (RFC 7296 section 3.6). */
  | { readonly kind: 'fetch'; readonly url: string; readonly sha1: Uint8Array };

/** `refused` is for people, says what is wrong, and holds no secret. */
export type ComputeResult =
  | {
      readonly kind: 'generate';
      readonly publicValue: Uint8Array;
      readonly privateValue: PrivateValue;
    }
  | { readonly kind: 'agree'; readonly secret: Uint8Array }
  | { readonly kind: 'respond'; readonly publicValue: Uint8Array; readonly secret: Uint8Array }
  | { readonly kind: 'sign'; readonly method: number; readonly data: Uint8Array }
  | { readonly kind: 'verify' }
  | {
      readonly kind: 'validate';
      readonly publicKey: Uint8Array;
      /** Subject of the leaf, for people. */
      readonly subject: string;
    }
  | { readonly kind: 'ocsp'; readonly responses: readonly Uint8Array[] }
  | { readonly kind: 'fetch'; readonly certificate: Uint8Array }
  /** `isBusy`: nothing is wrong with what was asked, there is too much of it just now. */
  | { readonly kind: 'refused'; readonly reason: string; readonly isBusy?: boolean };
