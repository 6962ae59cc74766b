/**
 * Transforms (RFC 7296 section 3.3.2) as plain values, and the one table of those that this version
 * knows: IANA number, the keyword that people write (strongSwan's), sizes, and whether it must be
 * asked for by `legacy: true`.
 */

/** The types of transforms; the additional key exchanges are RFC 9370's. */
export type TransformType =
  | 'encryption'
  | 'prf'
  | 'integrity'
  | 'key-exchange'
  | 'sequence-numbers'
  | 'additional-key-exchange-1'
  | 'additional-key-exchange-2'
  | 'additional-key-exchange-3'
  | 'additional-key-exchange-4'
  | 'additional-key-exchange-5'
  | 'additional-key-exchange-6'
  | 'additional-key-exchange-7';

/** The numbers of the types on the wire (RFC 7296 section 3.3.2, RFC 9370 section 3.1). */
export const TRANSFORM_TYPE_NUMBERS: Readonly<Record<TransformType, number>> = {
  encryption: 1,
  prf: 2,
  integrity: 3,
  'key-exchange': 4,
  'sequence-numbers': 5,
  'additional-key-exchange-1': 6,
  'additional-key-exchange-2': 7,
  'additional-key-exchange-3': 8,
  'additional-key-exchange-4': 9,
  'additional-key-exchange-5': 10,
  'additional-key-exchange-6': 11,
  'additional-key-exchange-7': 12,
};

/** The additional key exchanges in the order in which they are done. */
export const ADDITIONAL_KEY_EXCHANGES: readonly TransformType[] = [
  'additional-key-exchange-1',
  'additional-key-exchange-2',
  'additional-key-exchange-3',
  'additional-key-exchange-4',
  'additional-key-exchange-5',
  'additional-key-exchange-6',
  'additional-key-exchange-7',
];

/** One transform of a proposal: an algorithm, and its key length where that varies. */
export interface Transform {
  readonly type: TransformType;
  /** IANA number: 0..65535. */
  readonly id: number;
  /** Bits; null where the algorithm has one key length and the attribute is not sent. */
  readonly keyBits: number | null;
}

/** Key exchange 0: none. Only in the additional key exchanges and in proposals without PFS. */
export const KEY_EXCHANGE_NONE = 0;
/** RFC 7296 section 3.3.2, transform type 5. */
export const ESN_NONE = 0;
export const ESN_YES = 1;

/** One row of the table. */
export interface TransformInfo {
  readonly type: 'encryption' | 'prf' | 'integrity' | 'key-exchange';
  readonly id: number;
  readonly keyBits: number | null;
  /** strongSwan's keyword. */
  readonly keyword: string;
  /** Other keywords that mean the same. */
  readonly aliases: readonly string[];
  /** True where RFC 8221 or RFC 8247 advise against it: only with `legacy: true`. */
  readonly legacy: boolean;
  /** For an encryption: it authenticates too, and no integrity transform goes with it. */
  readonly aead: boolean;
}

const encryption = (
  keyword: string,
  id: number,
  keyBits: number | null,
  aead: boolean,
  aliases: readonly string[] = [],
): TransformInfo => ({ type: 'encryption', id, keyBits, keyword, aliases, legacy: false, aead });
const other = (
  type: 'prf' | 'integrity' | 'key-exchange',
  keyword: string,
  id: number,
  legacy = false,
  aliases: readonly string[] = [],
): TransformInfo => ({ type, id, keyBits: null, keyword, aliases, legacy, aead: false });

/** Every transform of this version. */
export const TRANSFORMS: readonly TransformInfo[] = [
  // IKEv2 transform type 1; RFC 5282, RFC 7634, RFC 3602.
  encryption('aes128gcm16', 20, 128, true, ['aes128gcm', 'aes128gcm128']),
  encryption('aes256gcm16', 20, 256, true, ['aes256gcm', 'aes256gcm128']),
  encryption('chacha20poly1305', 28, null, true, ['chacha20poly1305compat']),
  encryption('aes128', 12, 128, false),
  encryption('aes192', 12, 192, false),
  encryption('aes256', 12, 256, false),
  // Type 2; RFC 4868, RFC 4434, RFC 4615.
  other('prf', 'prfsha1', 2, true),
  other('prf', 'prfaesxcbc', 4, true),
  other('prf', 'prfsha256', 5),
  other('prf', 'prfsha384', 6),
  other('prf', 'prfsha512', 7),
  other('prf', 'prfaescmac', 8, true),
  // Type 3; RFC 4868, RFC 2404, RFC 3566, RFC 4494.
  other('integrity', 'sha1', 2, true, ['sha']),
  other('integrity', 'aesxcbc', 5, true),
  other('integrity', 'aescmac', 8, true),
  other('integrity', 'sha256', 12, false, ['sha2_256']),
  other('integrity', 'sha384', 13, false, ['sha2_384']),
  other('integrity', 'sha512', 14, false, ['sha2_512']),
  // Type 4; RFC 3526, RFC 5903, RFC 8031, and ML-KEM (draft-ietf-ipsecme-ikev2-mlkem).
  other('key-exchange', 'modp1024', 2, true),
  other('key-exchange', 'modp1536', 5, true),
  other('key-exchange', 'modp2048', 14),
  other('key-exchange', 'modp3072', 15),
  other('key-exchange', 'modp4096', 16),
  other('key-exchange', 'modp6144', 17),
  other('key-exchange', 'modp8192', 18),
  other('key-exchange', 'ecp256', 19),
  other('key-exchange', 'ecp384', 20),
  other('key-exchange', 'ecp521', 21),
  other('key-exchange', 'x25519', 31, false, ['curve25519']),
  other('key-exchange', 'x448', 32, false, ['curve448']),
  other('key-exchange', 'mlkem768', 36),
  other('key-exchange', 'mlkem1024', 37),
];

/** The key exchanges that encapsulate: only as additional ones (RFC 9370), never alone. */
export const KEM_IDS: ReadonlySet<number> = new Set([36, 37]);

/** The row of a transform; null for one that this version does not have. */
export function transformInfo(transform: Transform): TransformInfo | null {
  const type = transform.type.startsWith('additional') ? 'key-exchange' : transform.type;
  return (
    TRANSFORMS.find(
      (row) => row.type === type && row.id === transform.id && row.keyBits === transform.keyBits,
    ) ?? null
  );
}

/** Writes a transform as its keyword, or as its number where it has none. */
export function formatTransform(transform: Transform): string {
  if (transform.type === 'sequence-numbers') {
    if (transform.id === ESN_YES) return 'esn';
    if (transform.id === ESN_NONE) return 'noesn';
  }
  const additional = /^additional-key-exchange-(\d)$/.exec(transform.type);
  const prefix = additional === null ? '' : `ke${additional[1]}_`;
  if (additional !== null && transform.id === KEY_EXCHANGE_NONE) return `${prefix}none`;
  if (transform.type === 'key-exchange' && transform.id === KEY_EXCHANGE_NONE) return 'modpnone';
  const info = transformInfo(transform);
  if (info !== null) return `${prefix}${info.keyword}`;
  const bits = transform.keyBits === null ? '' : `_${transform.keyBits}`;
  return `${prefix}${transform.type}_${transform.id}${bits}`;
}

export function isSameTransform(a: Transform, b: Transform): boolean {
  return a.type === b.type && a.id === b.id && a.keyBits === b.keyBits;
}
