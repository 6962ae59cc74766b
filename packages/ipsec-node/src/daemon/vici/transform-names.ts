/** strongSwan's names of the algorithms of an agreed proposal, as `list-sa` carries them. */
import { TRANSFORMS } from '../../sad/transform.js';
import type { SectionField } from './codec.js';

const ENCRYPTION: Readonly<Record<number, string>> = {
  12: 'AES_CBC',
  20: 'AES_GCM_16',
  28: 'CHACHA20_POLY1305',
};

const PRF: Readonly<Record<number, string>> = {
  2: 'PRF_HMAC_SHA1',
  4: 'PRF_AES128_XCBC',
  5: 'PRF_HMAC_SHA2_256',
  6: 'PRF_HMAC_SHA2_384',
  7: 'PRF_HMAC_SHA2_512',
  8: 'PRF_AES128_CMAC',
};

const INTEGRITY: Readonly<Record<number, string>> = {
  2: 'HMAC_SHA1_96',
  5: 'AES_XCBC_96',
  8: 'AES_CMAC_96',
  12: 'HMAC_SHA2_256_128',
  13: 'HMAC_SHA2_384_192',
  14: 'HMAC_SHA2_512_256',
};

const KEY_EXCHANGE: Readonly<Record<number, string>> = {
  2: 'MODP_1024',
  5: 'MODP_1536',
  14: 'MODP_2048',
  15: 'MODP_3072',
  16: 'MODP_4096',
  17: 'MODP_6144',
  18: 'MODP_8192',
  19: 'ECP_256',
  20: 'ECP_384',
  21: 'ECP_521',
  31: 'CURVE_25519',
  32: 'CURVE_448',
  36: 'ML_KEM_768',
  37: 'ML_KEM_1024',
};

/**
 * The fields of an agreed proposal, given as its keywords joined by dashes. A keyword without a name
 * of strongSwan's stands as it is.
 */
export function proposalFields(proposal: string): readonly (readonly [string, SectionField])[] {
  const fields: (readonly [string, SectionField])[] = [];
  for (const word of proposal.split('-').filter((part) => part !== '')) {
    const additional = /^ke(\d)_(.+)$/.exec(word);
    const keyword = additional?.[2] ?? word;
    const row = TRANSFORMS.find((each) => each.keyword === keyword);
    if (additional !== null) {
      if (keyword === 'none') continue;
      fields.push([`ake${additional[1]}`, KEY_EXCHANGE[row?.id ?? -1] ?? keyword]);
    } else if (word === 'esn') fields.push(['esn', '1']);
    else if (row?.type === 'encryption') {
      fields.push(['encr-alg', ENCRYPTION[row.id] ?? keyword]);
      if (row.keyBits !== null) fields.push(['encr-keysize', row.keyBits]);
    } else if (row?.type === 'integrity') fields.push(['integ-alg', INTEGRITY[row.id] ?? keyword]);
    else if (row?.type === 'prf') fields.push(['prf-alg', PRF[row.id] ?? keyword]);
    else if (row?.type === 'key-exchange') {
      fields.push(['dh-group', KEY_EXCHANGE[row.id] ?? keyword]);
    }
  }
  return fields;
}

const of = (type: string, names: Readonly<Record<number, string>>): readonly string[] =>
  [
    ...new Set(TRANSFORMS.filter((row) => row.type === type).map((row) => names[row.id] ?? '')),
  ].filter((name) => name !== '');

/** Every algorithm of this version by the type names of `get-algorithms`. */
export const ALGORITHM_NAMES = {
  encryption: of('encryption', ENCRYPTION).filter((name) => name === 'AES_CBC'),
  integrity: of('integrity', INTEGRITY),
  aead: of('encryption', ENCRYPTION).filter((name) => name !== 'AES_CBC'),
  prf: of('prf', PRF),
  ke: of('key-exchange', KEY_EXCHANGE),
} as const;
