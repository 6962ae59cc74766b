import { expect, it } from 'vitest';
import { proposalFields } from '../../../../packages/ipsec-node/src/daemon/vici/transform-names.ts';

// What `list-sas` of strongSwan 6.0.6 answers for the same SA.
it('names the algorithms of an SA as strongSwan does, additional key exchanges too', () => {
  const words = 'aes256gcm16-prfsha384-x25519-ke1_mlkem768-ke2_mlkem1024';
  expect(Object.fromEntries(proposalFields(words))).toEqual({
    'encr-alg': 'AES_GCM_16',
    'encr-keysize': 256,
    'prf-alg': 'PRF_HMAC_SHA2_384',
    'dh-group': 'CURVE_25519',
    ake1: 'ML_KEM_768',
    ake2: 'ML_KEM_1024',
  });
});
