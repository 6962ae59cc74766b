/**
 * One known answer for each algorithm, for the self-test. None was made by this code: they are from
 * the RFCs, or were computed with Python's integers and hmac, with OpenSSL, and with another ML-KEM.
 * All binary values are hexadecimal.
 */

/** By PRF number: RFC 2202, RFC 4868, RFC 4434 section 2.1, RFC 4615 section 4. */
export const PRF_ANSWERS: ReadonlyMap<number, readonly [key: string, data: string, out: string]> =
  new Map([
    [
      2,
      [
        '4a656665',
        '7768617420646f2079612077616e7420666f72206e6f7468696e673f',
        'effcdf6ae5eb2fa2d27416d5f184df9c259a7c79',
      ],
    ],
    [
      5,
      [
        '4a656665',
        '7768617420646f2079612077616e7420666f72206e6f7468696e673f',
        '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
      ],
    ],
    [
      6,
      [
        '4a656665',
        '7768617420646f2079612077616e7420666f72206e6f7468696e673f',
        'af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649',
      ],
    ],
    [
      7,
      [
        '4a656665',
        '7768617420646f2079612077616e7420666f72206e6f7468696e673f',
        '164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737',
      ],
    ],
    [
      4,
      [
        '000102030405060708090a0b0c0d0e0fedcb',
        '000102030405060708090a0b0c0d0e0f10111213',
        '8cd3c93ae598a9803006ffb67c40e9e4',
      ],
    ],
    [
      8,
      [
        '000102030405060708090a0b0c0d0e0fedcb',
        '000102030405060708090a0b0c0d0e0f10111213',
        '84a348a4a45d235babfffc0d2b4da09a',
      ],
    ],
  ]);

/** The head is 0, 1, 2, ... 31; keys are 64, 65, ...; the IV is 0, 1, 2, ...; one padded block. */
export const SK_HEAD_LEN = 32;
export const SK_KEY_START = 64;
export const SK_PADDED = '7369787465656e206f63746574732100';

export interface SkAnswer {
  readonly encryption: number;
  readonly keyBits: number | null;
  /** Null for an AEAD. */
  readonly integrity: number | null;
  /** IV, ciphertext, ICV. */
  readonly body: string;
}

/** python cryptography (OpenSSL) and hmac. */
export const SK_ANSWERS: readonly SkAnswer[] = [
  {
    encryption: 20,
    keyBits: 128,
    integrity: null,
    body: '000102030405060740e3accd11341b3c3fbf0d50945657250b8ac2ea38a7296ba3e2ae64c8bf7d5a',
  },
  {
    encryption: 20,
    keyBits: 256,
    integrity: null,
    body: '0001020304050607ea46d65be9a94cdb0abeb2b00b214ee9c83e28e2dc7a9fe4d2e75c23309662fe',
  },
  {
    encryption: 28,
    keyBits: null,
    integrity: null,
    body: '00010203040506076767b200799454744e74bfb834e1199231e4899f12207ded73ec55dcd1e8c143',
  },
  {
    encryption: 12,
    keyBits: 128,
    integrity: 12,
    body: '000102030405060708090a0b0c0d0e0feb0b606fcb375bea65311dd132ace886f011a67ee22437d524f8adb37dcae91c',
  },
  {
    encryption: 12,
    keyBits: 192,
    integrity: 12,
    body: '000102030405060708090a0b0c0d0e0f58f50b59e894414775f6fefd26b7745188fe2fe0c13f94d7fd5d25423bccbcc6',
  },
  {
    encryption: 12,
    keyBits: 256,
    integrity: 12,
    body: '000102030405060708090a0b0c0d0e0fb2fe1ae8b41b076c371ca50f96d1bb4947c2159f24bf951593337c81ee635edf',
  },
  {
    encryption: 12,
    keyBits: 128,
    integrity: 2,
    body: '000102030405060708090a0b0c0d0e0feb0b606fcb375bea65311dd132ace886239a91892d1d197fceb51cad',
  },
  {
    encryption: 12,
    keyBits: 128,
    integrity: 5,
    body: '000102030405060708090a0b0c0d0e0feb0b606fcb375bea65311dd132ace886c8d81819994b754854601a90',
  },
  {
    encryption: 12,
    keyBits: 128,
    integrity: 8,
    body: '000102030405060708090a0b0c0d0e0feb0b606fcb375bea65311dd132ace886ed0906bb4dd35433cdd37bf0',
  },
  {
    encryption: 12,
    keyBits: 128,
    integrity: 13,
    body: '000102030405060708090a0b0c0d0e0feb0b606fcb375bea65311dd132ace886e6387bbd2b52b061e5a417f8201e258076b63fb5cb512884',
  },
  {
    encryption: 12,
    keyBits: 128,
    integrity: 14,
    body: '000102030405060708090a0b0c0d0e0feb0b606fcb375bea65311dd132ace8862959d1a6c7d0e65d5903a355153b01d5dc4282b7c7b3c64799f85710c3894b85',
  },
];

/** SHA-256 of 3^x mod p, as long as p, where the octets of x are 1, 2, ... 32: Python's integers. */
export const MODP_ANSWERS: ReadonlyMap<number, string> = new Map([
  [2, '7e472f30e68737f5e664d488bf19b8e51a26eefae029fde0ea6ae3a41ae68c33'],
  [5, 'c3c93716a0a4d3c344dbab7f817b35f76363f9701f49cd30e2e3f8f9e1155ce9'],
  [14, '69a1288df2ff054406976b382bd71cdf6689f028a31324d758980c2335c9c536'],
  [15, '552c19d73c013a9254e199d28841c4c8b958fffb8b7ee739ac94e6370870799a'],
  [16, '7e99b1d8af372b10016946cfa8d1cb32ae0b28a9710e1dddaf9eb2c4c1e6a962'],
  [17, 'f45e3fd4bb817c8d27a21847246288f50c69e5b00d47eece5e81c9efe40277e9'],
  [18, '0741435ecaa0685965eba16a0b40a7f2d323bcc14d03abbf817b9ad05b5da7e7'],
]);

export interface CurveAnswer {
  readonly method: number;
  /** Its name in a JWK. */
  readonly curve: string;
  readonly d: string;
  readonly x: string;
  readonly y: string | null;
  /** As in a KE payload. */
  readonly peer: string;
  readonly secret: string;
}

/** RFC 5903 section 8, RFC 7748 section 6. */
export const CURVE_ANSWERS: readonly CurveAnswer[] = [
  {
    method: 19,
    curve: 'P-256',
    d: 'c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433',
    x: 'dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c3772581180',
    y: '5271a0461cdb8252d61f1c456fa3e59ab1f45b33accf5f58389e0577b8990bb3',
    peer: 'd12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf6356fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab',
    secret: 'd6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de',
  },
  {
    method: 20,
    curve: 'P-384',
    d: '099f3c7034d4a2c699884d73a375a67f7624ef7c6b3c0f160647b67414dce655e35b538041e649ee3faef896783ab194',
    x: '667842d7d180ac2cde6f74f37551f55755c7645c20ef73e31634fe72b4c55ee6de3ac808acb4bdb4c88732aee95f41aa',
    y: '9482ed1fc0eeb9cafc4984625ccfc23f65032149e0e144ada024181535a0f38eeb9fcff3c2c947dae69b4c634573a81c',
    peer: 'e558dbef53eecde3d3fccfc1aea08a89a987475d12fd950d83cfa41732bc509d0d1ac43a0336def96fda41d0774a3571dcfbec7aacf3196472169e838430367f66eebe3c6e70c416dd5f0c68759dd1fff83fa40142209dff5eaad96db9e6386c',
    secret:
      '11187331c279962d93d604243fd592cb9d0a926f422e47187521287e7156c5c4d603135569b9e9d09cf5d4a270f59746',
  },
  {
    method: 21,
    curve: 'P-521',
    d: '0037ade9319a89f4dabdb3ef411aaccca5123c61acab57b5393dce47608172a095aa85a30fe1c2952c6771d937ba9777f5957b2639bab072462f68c27a57382d4a52',
    x: '0015417e84dbf28c0ad3c278713349dc7df153c897a1891bd98bab4357c9ecbee1e3bf42e00b8e380aeae57c2d107564941885942af5a7f4601723c4195d176ced3e',
    y: '017cae20b6641d2eeb695786d8c946146239d099e18e1d5a514c739d7cb4a10ad8a788015ac405d7799dc75e7b7d5b6cf2261a6a7f1507438bf01beb6ca3926f9582',
    peer: '00d0b3975ac4b799f5bea16d5e13e9af971d5e9b984c9f39728b5e5739735a219b97c356436adc6e95bb0352f6be64a6c2912d4ef2d0433ced2b6171640012d9460f015c68226383956e3bd066e797b623c27ce0eac2f551a10c2c724d9852077b87220b6536c5c408a1d2aebb8e86d678ae49cb57091f4732296579ab44fcd17f0fc56a',
    secret:
      '01144c7d79ae6956bc8edb8e7c787c4521cb086fa64407f97894e5e6b2d79b04d1427e73ca4baa240a34786859810c06b3c715a3a8cc3151f2bee417996d19f3ddea',
  },
  {
    method: 31,
    curve: 'X25519',
    d: '77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a',
    x: '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a',
    y: null,
    peer: 'de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f',
    secret: '4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742',
  },
  {
    method: 32,
    curve: 'X448',
    d: '9a8f4925d1519f5775cf46b04b5800d4ee9ee8bae8bc5565d498c28dd9c9baf574a9419744897391006382a6f127ab1d9ac2d8c0a598726b',
    x: '9b08f7cc31b7e3e67d22d5aea121074a273bd2b83de09c63faa73d2c22c5d9bbc836647241d953d40c5b12da88120d53177f80e532c41fa0',
    y: null,
    peer: '3eb7a829b0cd20f5bcfc0b599b6feccf6da4627107bdb0d4f345b43027d8b972fc3e34fb4232a13ca706dcb57aec3dae07bdc1c67bf33609',
    secret:
      '07fff4181ac6cc95ec1c16a94a0f74d12da232ce40a77552281d282bb60c0b56fd2464c335543936521c24403085d59a449a5037514a879d',
  },
];

export interface KemAnswer {
  readonly method: number;
  readonly bits: 768 | 1024;
  /** SHA-256 of the encapsulation key and of the ciphertext. */
  readonly key: string;
  readonly ciphertext: string;
  readonly secret: string;
}

/** The seed is 0, 1, ... 63, the randomness 0, 1, ... 31: @noble/post-quantum. */
export const KEM_ANSWERS: readonly KemAnswer[] = [
  {
    method: 36,
    bits: 768,
    key: '0b7934c83125c788995e2ba6bd761e33046b3e40571be53e023309a29f398cc9',
    ciphertext: '39826fe40dc54a3fef68b7c228ed8fb22931012b6fa3bd3e7f204d54db0ac1e1',
    secret: '42f558b0bc5d700a911b0fc67f62376f7aee4667f1969e03f18bdfdf3c59fbdc',
  },
  {
    method: 37,
    bits: 1024,
    key: 'c7b8fa0aa471d5ae18922d6ccad5b31e1d84f92ae723abfd13747018740a8530',
    ciphertext: '2af1b28074d38e2787485b294d8f44683645adc749c1e4c62bacbd4847f02c5f',
    secret: '738a88cd9a25861e9a37c65a67ec1b39f069aed9646ede89410ace47a96a9b57',
  },
];
