/**
 * What two IKEv2 daemons must agree on, case by case. A case says what both sides are told and how
 * the SA must look on both; names of algorithms are strongSwan's, written out, not derived.
 */

import type { ChildDescription } from '../../lab/ike-peer.ts';
import type { KeyKind } from '../../lab/openssl-pki.ts';

export type Auth =
  | 'psk'
  | KeyKind
  | 'rsa-pkcs1'
  | 'raw-ecdsa256'
  | 'raw-rsa2048'
  | 'raw-ed25519'
  | 'raw-ed448';

export interface IkeCase {
  readonly name: string;
  readonly ike: string;
  readonly esp: string;
  /** Of the IKE SA, and of the child. */
  readonly algorithms: readonly [ike: string, child: string];
  readonly auth: Auth;
  /** Where the sides' identities are not `a.example` and `b.example`; `shown` as strongSwan prints them. */
  readonly identities?: {
    readonly a: string;
    readonly b: string;
    readonly shown?: { readonly a: string; readonly b: string };
  };
  readonly nat?: readonly ('a' | 'b')[];
  readonly outer?: 4 | 6;
  /** Selectors; default the IPv4 network of each site. */
  readonly inner?: readonly (4 | 6)[];
  readonly forceEncapsulation?: boolean;
  readonly mobike?: boolean;
  readonly fragmentation?: boolean;
  /** Intermediate authorities between root and leaf, and octets that make each leaf large. */
  readonly chain?: number;
  readonly paddingBytes?: number;
  readonly fragmentBytes?: number;
  readonly ppk?: boolean;
  /** Put after the common names of the leaves, `a.example` and `b.example`. */
  readonly subject?: string;
}

const IKE = 'aes256gcm16-prfsha384-x25519';
const IKE_NAME = 'AES_GCM_16-256/PRF_HMAC_SHA2_384/CURVE_25519';
const ESP = 'aes256gcm16';
const ESP_NAME = 'AES_GCM_16-256';

function plain(name: string, change: Partial<IkeCase>): IkeCase {
  return { name, ike: IKE, esp: ESP, algorithms: [IKE_NAME, ESP_NAME], auth: 'psk', ...change };
}

/** Keyword and name of each group. */
const GROUPS = [
  ['modp2048', 'MODP_2048'],
  ['modp3072', 'MODP_3072'],
  ['modp4096', 'MODP_4096'],
  ['modp6144', 'MODP_6144'],
  ['modp8192', 'MODP_8192'],
  ['ecp256', 'ECP_256'],
  ['ecp384', 'ECP_384'],
  ['ecp521', 'ECP_521'],
  ['x25519', 'CURVE_25519'],
  ['x448', 'CURVE_448'],
] as const;

const IKE_CIPHERS = [
  ['aes128gcm16-prfsha256', 'AES_GCM_16-128/PRF_HMAC_SHA2_256'],
  ['aes256gcm16-prfsha384', 'AES_GCM_16-256/PRF_HMAC_SHA2_384'],
  ['aes256gcm16-prfsha512', 'AES_GCM_16-256/PRF_HMAC_SHA2_512'],
  ['aes128gcm16-prfaesxcbc', 'AES_GCM_16-128/PRF_AES128_XCBC'],
  ['aes128gcm16-prfaescmac', 'AES_GCM_16-128/PRF_AES128_CMAC'],
  ['chacha20poly1305-prfsha256', 'CHACHA20_POLY1305/PRF_HMAC_SHA2_256'],
  ['aes128-sha256', 'AES_CBC-128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256'],
  ['aes192-sha256', 'AES_CBC-192/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256'],
  ['aes256-sha256', 'AES_CBC-256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256'],
  ['aes256-sha384', 'AES_CBC-256/HMAC_SHA2_384_192/PRF_HMAC_SHA2_384'],
  ['aes256-sha512', 'AES_CBC-256/HMAC_SHA2_512_256/PRF_HMAC_SHA2_512'],
  ['aes128-aesxcbc-prfsha256', 'AES_CBC-128/AES_XCBC_96/PRF_HMAC_SHA2_256'],
  ['aes128-aescmac-prfsha256', 'AES_CBC-128/AES_CMAC_96/PRF_HMAC_SHA2_256'],
  ['aes256-sha256-prfsha1', 'AES_CBC-256/HMAC_SHA2_256_128/PRF_HMAC_SHA1'],
] as const;

const ESP_CIPHERS = [
  ['aes128gcm16', 'AES_GCM_16-128'],
  ['aes192gcm16', 'AES_GCM_16-192'],
  ['aes256gcm16', 'AES_GCM_16-256'],
  ['chacha20poly1305', 'CHACHA20_POLY1305'],
  ['aes128-sha256', 'AES_CBC-128/HMAC_SHA2_256_128'],
  ['aes256-sha256', 'AES_CBC-256/HMAC_SHA2_256_128'],
  ['aes256-sha384', 'AES_CBC-256/HMAC_SHA2_384_192'],
  ['aes256-sha512', 'AES_CBC-256/HMAC_SHA2_512_256'],
] as const;

const AUTHS: readonly Auth[] = [
  'rsa2048',
  'rsa4096',
  'rsa-pkcs1',
  'ecdsa256',
  'ecdsa384',
  'ecdsa521',
  'ed25519',
  'raw-ecdsa256',
  'raw-rsa2048',
  'raw-ed25519',
  'raw-ed448',
];

export const CIPHER_CASES: readonly IkeCase[] = [
  ...GROUPS.map(([word, name]) =>
    plain(`group ${word}`, {
      ike: `aes128gcm16-prfsha256-${word}`,
      algorithms: [`AES_GCM_16-128/PRF_HMAC_SHA2_256/${name}`, ESP_NAME],
    }),
  ),
  ...IKE_CIPHERS.map(([words, name]) =>
    plain(`IKE ${words}`, {
      ike: `${words}-x25519`,
      algorithms: [`${name}/CURVE_25519`, ESP_NAME],
    }),
  ),
  ...ESP_CIPHERS.map(([words, name]) =>
    plain(`ESP ${words}`, { esp: words, algorithms: [IKE_NAME, name] }),
  ),
];

export const AUTH_CASES: readonly IkeCase[] = [
  ...AUTHS.map((auth) => plain(`auth ${auth}`, { auth })),
  plain('a chain of three', { auth: 'ecdsa256', chain: 2 }),
  plain('large chains, in fragments', {
    auth: 'rsa2048',
    chain: 3,
    paddingBytes: 1_500,
    fragmentBytes: 600,
  }),
  plain('large chains, no fragments of IKE', {
    auth: 'rsa2048',
    chain: 3,
    fragmentation: false,
  }),
  plain('identities: addresses', { identities: { a: '10.9.8.7', b: '2001:db8:99::1' } }),
  plain('identities: e-mail', { identities: { a: 'left@a.example', b: 'right@b.example' } }),
  plain('identities: key-ID', {
    identities: { a: '@#6c656674', b: '@#7269676874', shown: { a: 'left', b: 'right' } },
  }),
  plain('identities: distinguished names', {
    auth: 'ecdsa256',
    identities: { a: 'O=Laboratory, CN=a.example', b: 'O=Laboratory, CN=b.example' },
  }),
  plain('a post-quantum pre-shared key', { ppk: true }),
];

export const PATH_CASES: readonly IkeCase[] = [
  plain('no NAT', {}),
  plain('NAT in front of A', { nat: ['a'] }),
  plain('NAT in front of B', { nat: ['b'] }),
  plain('NAT in front of both', { nat: ['a', 'b'] }),
  plain('forced encapsulation', { forceEncapsulation: true }),
  plain('IPv6 in IPv4', { inner: [6] }),
  plain('both families in IPv4', { inner: [4, 6] }),
  plain('IPv4 in IPv6', { outer: 6 }),
  plain('both families in IPv6', { outer: 6, inner: [4, 6] }),
  plain('MOBIKE offered', { mobike: true }),
];

export const CASES: readonly IkeCase[] = [...CIPHER_CASES, ...AUTH_CASES, ...PATH_CASES];

/** What B has instead of what it should, and what A must then say of it. */
export interface Refusal {
  readonly name: string;
  readonly case: IkeCase;
  /** Changes of B's side. */
  readonly wrong: {
    readonly psk?: string;
    readonly id?: string;
    readonly ike?: string;
    readonly esp?: string;
    readonly child?: Partial<ChildDescription>;
    readonly certificate?: 'expired' | 'revoked' | 'other-authority' | 'not-yet-valid';
  };
  /** What is said by A as initiator and as responder: by strongSwan, and by us. */
  readonly says: { readonly strongswan: RegExp; readonly ours: RegExp };
}

export const REFUSALS: readonly Refusal[] = [
  {
    name: 'wrong pre-shared key',
    case: plain('wrong pre-shared key', {}),
    wrong: { psk: 'something else' },
    says: {
      strongswan: /AUTHENTICATION_FAILED|MAC mismatched|shared key.*mismatch/i,
      ours: /psk|pre-shared key/i,
    },
  },
  {
    name: 'wrong identity',
    case: plain('wrong identity', {}),
    wrong: { id: 'c.example' },
    says: {
      strongswan: /AUTHENTICATION_FAILED|no matching peer config|constraint check failed/i,
      ours: /remote\.id|local\.id/,
    },
  },
  {
    name: 'no common IKE proposal',
    case: plain('no common IKE proposal', {}),
    wrong: { ike: 'aes128-sha256-modp2048' },
    says: { strongswan: /NO_PROPOSAL_CHOSEN|proposals unacceptable/i, ours: /proposal/i },
  },
  {
    name: 'no common ESP proposal',
    case: plain('no common ESP proposal', {}),
    wrong: { esp: 'aes128-sha256' },
    says: {
      strongswan: /NO_PROPOSAL_CHOSEN|no acceptable (ENCRYPTION_ALGORITHM|proposal)/i,
      ours: /proposal/i,
    },
  },
  {
    name: 'selectors that do not meet',
    case: plain('selectors that do not meet', {}),
    wrong: { child: { local: ['10.77.0.0/24'], remote: ['10.78.0.0/24'] } },
    says: {
      strongswan: /TS_UNACCEPTABLE|traffic selectors/i,
      ours: /TS_UNACCEPTABLE|the peer has no policy|no policy of this peer/i,
    },
  },
  ...(['expired', 'revoked', 'other-authority', 'not-yet-valid'] as const).map(
    (certificate): Refusal => ({
      name: `certificate: ${certificate}`,
      case: plain(`certificate: ${certificate}`, { auth: 'ecdsa256' }),
      wrong: { certificate },
      says: {
        strongswan: /AUTHENTICATION_FAILED|no trusted|not valid|was revoked|expired/i,
        ours: /certificate/i,
      },
    }),
  ),
];
