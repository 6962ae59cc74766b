/**
 * What known kinds of peers want, as terms: a preset stands for what would otherwise be written in
 * the peer and in its policies, and what is written there goes before it. No other code knows who
 * a peer is.
 */

import type { Milliseconds } from '../clock.js';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** Terms of a peer and of its policies; what is absent is as by default. */
export interface PeerPreset {
  /** What it is for, and what the terms answer to. */
  readonly reason: string;
  readonly proposals?: readonly string[];
  readonly rekeyMs?: Milliseconds;
  readonly mobike?: boolean;
  readonly encapsulation?: 'auto' | 'forced';
  readonly legacy?: boolean;
  /** For the policies of the peer. */
  readonly esp?: {
    readonly proposals?: readonly string[];
    readonly rekeyMs?: Milliseconds;
    readonly selectorsPerChild?: 'all' | 'one';
  };
}

export const PEER_PRESET_NAMES = [
  'aws',
  'azure',
  'google',
  'cloudflare',
  'cisco-asa',
  'fortinet',
  'windows',
  'apple',
] as const;
export type PeerPresetName = (typeof PEER_PRESET_NAMES)[number];

export const PEER_PRESETS: Readonly<Record<PeerPresetName, PeerPreset>> = {
  aws: {
    reason:
      'It takes the lowest of what is offered, so one choice is offered; our side rekeys before its 8 h and 1 h.',
    proposals: ['aes256gcm16-prfsha384-ecp384'],
    rekeyMs: 7 * HOUR,
    mobike: false,
    esp: { proposals: ['aes256gcm16-ecp384-noesn'], rekeyMs: 50 * MINUTE },
  },
  azure: {
    reason:
      'A custom policy there is exactly one choice, and it rekeys children without a key exchange; our side rekeys before its 8 h and 7.5 h.',
    proposals: ['aes256gcm16-prfsha384-ecp384'],
    rekeyMs: 7 * HOUR,
    mobike: false,
    esp: { proposals: ['aes256gcm16-ecp384-modpnone-noesn'], rekeyMs: 7 * HOUR },
  },
  google: {
    reason:
      'One cipher a role, or its MTU changes at a rekey; ESP in UDP always; its lifetimes are 10 h and 3 h.',
    proposals: ['aes256gcm16-prfsha256-modp2048'],
    rekeyMs: 9 * HOUR,
    encapsulation: 'forced',
    esp: { proposals: ['aes256gcm16-modp2048-noesn'], rekeyMs: 2 * HOUR },
  },
  cloudflare: {
    reason: 'It has no ESN, wants one pair of selectors a child, and one group, 20.',
    proposals: ['aes256gcm16-prfsha384-ecp384'],
    mobike: false,
    esp: { proposals: ['aes256gcm16-ecp384-noesn'], rekeyMs: 4 * HOUR, selectorsPerChild: 'one' },
  },
  'cisco-asa': {
    reason: 'It wants one pair of selectors a child and narrows badly; it has no ESN.',
    proposals: ['aes256gcm16-prfsha384-ecp384', 'aes256-sha256-prfsha256-modp2048'],
    mobike: false,
    esp: {
      proposals: ['aes256gcm16-ecp384-modpnone-noesn', 'aes256-sha256-modp2048-modpnone-noesn'],
      selectorsPerChild: 'one',
    },
  },
  fortinet: {
    reason: 'Groups 31, 15 and 14, one pair of selectors a child.',
    proposals: ['aes256gcm16-prfsha384-x25519-modp3072-modp2048'],
    esp: {
      proposals: ['aes256gcm16-x25519-modp3072-modp2048-noesn'],
      selectorsPerChild: 'one',
    },
  },
  windows: {
    reason:
      'The native client with NegotiateDH2048_AES256: group 14 first, SHA-1 in ESP, no key exchange for children.',
    proposals: ['aes256gcm16-prfsha384-modp2048', 'aes256-sha256-prfsha256-modp2048'],
    legacy: true,
    esp: { proposals: ['aes256gcm16-modpnone-noesn', 'aes256-sha256-sha1-modpnone-noesn'] },
  },
  apple: {
    reason: 'iOS and macOS offer AES-CBC, SHA2-256 and group 14, and may rekey children without.',
    proposals: ['aes256-sha256-prfsha256-modp2048'],
    esp: { proposals: ['aes256-sha256-modp2048-modpnone-noesn'] },
  },
};
