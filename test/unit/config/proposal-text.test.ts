import { describe, expect, it } from 'vitest';
import { DEFAULTS } from '../../../packages/ipsec-node/src/config/defaults.js';
import {
  knownProposals,
  proposalKeywords,
  readProposal,
  suitesOf,
} from '../../../packages/ipsec-node/src/config/proposal-text.js';
import { formatProposal } from '../../../packages/ipsec-node/src/sad/proposal.js';

const STRICT = { legacy: false };

/** Types and IANA numbers: `1:20/256` is AES-GCM-16 with a key of 256 bits. */
function numbersOf(protocol: 'ike' | 'esp', text: string, legacy = false): string {
  const reading = readProposal(protocol, text, { legacy });
  if (!reading.ok) return reading.faults.map(({ why }) => why).join('; ');
  const types = ['encryption', 'prf', 'integrity', 'key-exchange', 'sequence-numbers'];
  return reading.proposal.transforms
    .map(({ type, id, keyBits }) => {
      const number = types.indexOf(type);
      const additional = Number(type.slice(-1)) + 5;
      return `${number < 0 ? additional : number + 1}:${id}${keyBits === null ? '' : `/${keyBits}`}`;
    })
    .join(' ');
}

function faultOf(protocol: 'ike' | 'esp', text: string) {
  const reading = readProposal(protocol, text, STRICT);
  return reading.ok ? [] : reading.faults;
}

describe('a proposal', () => {
  // The numbers are those of the registry "IKEv2 Transform Types and Attributes" of IANA.
  it.each([
    ['ike', 'aes256gcm16-prfsha384-ecp384', '1:20/256 2:6 4:20'],
    ['ike', 'aes256gcm16-x25519', '1:20/256 2:5 2:6 2:7 4:31'],
    ['ike', 'aes256-sha256-modp2048', '1:12/256 2:5 3:12 4:14'],
    [
      'ike',
      'aes128-aes256-sha256-sha512-ecp256-x448',
      '1:12/128 1:12/256 2:5 2:7 3:12 3:14 4:19 4:32',
    ],
    ['ike', 'aes256-sha384-prfsha512-modp3072', '1:12/256 2:7 3:13 4:15'],
    ['ike', 'chacha20poly1305-prfsha256-curve25519', '1:28 2:5 4:31'],
    ['ike', 'aes256gcm16-prfsha384-ecp384-ke1_mlkem768', '1:20/256 2:6 4:20 6:36'],
    [
      'ike',
      'aes256gcm16-prfsha256-x25519-ke1_mlkem768-ke2_mlkem1024-ke2_none',
      '1:20/256 2:5 4:31 6:36 7:37 7:0',
    ],
    ['esp', 'aes256gcm16', '1:20/256 5:1 5:0'],
    ['esp', 'aes256gcm16-noesn', '1:20/256 5:0'],
    ['esp', 'aes128gcm128-esn', '1:20/128 5:1'],
    ['esp', 'aes256-sha256-modp2048-modpnone-noesn-esn', '1:12/256 3:12 4:14 4:0 5:0 5:1'],
  ] as const)('of %s: %s', (protocol, text, numbers) => {
    expect(numbersOf(protocol, text)).toBe(numbers);
  });

  it.each([
    ['ike', 'aes128-sha1-modp1024', '1:12/128 2:2 3:2 4:2'],
    ['ike', 'aes128-aesxcbc-modp2048', '1:12/128 2:4 3:5 4:14'],
    ['ike', 'aes128-aescmac-modp1536', '1:12/128 2:8 3:8 4:5'],
    ['esp', 'aes128-sha1', '1:12/128 3:2 5:1 5:0'],
  ] as const)('of %s needs legacy: %s', (protocol, text, numbers) => {
    expect(numbersOf(protocol, text, true)).toBe(numbers);
    expect(numbersOf(protocol, text)).toMatch(/only with legacy: true in the peer/);
  });

  it.each([
    ['aes256gcm16-ecp348', 'there is no such keyword', 'ecp384'],
    ['aes256gmc16-ecp384', 'there is no such keyword', 'aes256gcm16'],
    ['AES256-sha256-x25519', 'there is no such keyword', 'aes256'],
    ['aes256-sha256-x25519-ke1_mlkem786', 'there is no such keyword', 'ke1_mlkem768'],
    ['aes256-sha256-x25519-ke8_mlkem768', 'there is no such keyword', 'ke1_mlkem768'],
    ['aes256-sha256-mlkem768', 'it is an additional key exchange', 'ke1_mlkem768'],
    ['aes256-sha256', 'a key exchange is missing', undefined],
    ['x25519', 'an encryption algorithm is missing', undefined],
    ['aes256-prfsha256-x25519', 'an integrity algorithm is missing', undefined],
    [
      'aes256gcm16-sha256-x25519',
      'no integrity algorithm goes with it',
      'aes256gcm16-prfsha256-x25519',
    ],
    [
      'aes256gcm16-aes256-sha256-x25519',
      'combined-mode ciphers and others need a proposal each',
      undefined,
    ],
    ['aes256gcm16-x25519-esn', 'IKE has no extended sequence numbers', undefined],
    ['aes256gcm16-modpnone', 'IKE cannot do without a key exchange', undefined],
    ['aes256-sha256-x25519-ke1_x25519', 'one key exchange stands in two steps', undefined],
    ['aes256,aes128', 'proposals are a list: one entry each', undefined],
    ['aes256--sha256-x25519', 'a keyword is missing between two dashes', undefined],
    ['3des-sha256-modp2048', 'blocks of 64 bits', undefined],
    ['des-sha256-modp2048', 'single DES must not be used', undefined],
    ['aes256-md5-modp2048', 'MD5 must not be used', undefined],
    ['aes256-sha256-modp768', 'groups under 1024 bits', undefined],
    ['aes256-sha256-modp1024s160', 'groups 22 to 24', undefined],
    ['aes256-sha256_96-x25519', 'no RFC cuts HMAC-SHA2-256', undefined],
    ['aes256ctr-sha256-x25519', 'not in this version', undefined],
  ])('of IKE is refused: %s', (text, why, nearest) => {
    const faults = faultOf('ike', text);
    expect(faults.map((fault) => fault.why)).toContainEqual(expect.stringContaining(why));
    expect(faults.map((fault) => fault.nearest)).toContain(nearest);
  });

  it.each([
    ['aes256gcm16-prfsha256', 'ESP has no PRF'],
    ['aes256', 'an integrity algorithm is missing'],
    ['aes256gcm16-sha256', 'no integrity algorithm goes with it'],
    ['aes256gcm16-ke1_mlkem768', 'an additional key exchange needs a first one'],
    ['null-sha256', 'not in this version'],
    ['aes256gcm16-', 'a keyword is missing'],
  ])('of ESP is refused: %s', (text, why) => {
    expect(faultOf('esp', text).map((fault) => fault.why)).toContainEqual(
      expect.stringContaining(why),
    );
  });

  it.each([
    ['aes192gcm16', 'aes128gcm16, aes256gcm16, chacha20poly1305, aes128, aes192, aes256'],
    [
      'aes256gcm16-ecp256bp',
      'modp2048, modp3072, modp4096, modp6144, modp8192, ecp256, ecp384, ecp521, x25519, x448, mlkem768, mlkem1024',
    ],
  ])('that is not in this version is refused with what there is instead: %s', (text, accepted) => {
    expect(faultOf('esp', text).map((fault) => fault.accepted)).toEqual([accepted]);
  });

  it('has every fault at once', () => {
    expect(faultOf('ike', 'aes256gmc16-prfsha348-des').length).toBe(3);
  });

  it('of which a keyword stands twice has it once', () => {
    expect(numbersOf('esp', 'aes256gcm16-aes256gcm128-noesn')).toBe('1:20/256 5:0');
  });

  it('is written as it is read', () => {
    for (const protocol of ['ike', 'esp'] as const) {
      const text =
        protocol === 'ike'
          ? 'aes256gcm16-prfsha384-ecp384-ke1_mlkem768-ke3_none-ke3_x448'
          : 'aes256-sha256-modp2048-modpnone-esn-noesn';
      const reading = readProposal(protocol, text, STRICT);
      if (!reading.ok) throw new Error(text);
      const again = readProposal(protocol, formatProposal(reading.proposal), STRICT);
      expect(again).toEqual(reading);
    }
  });
});

describe('keywords', () => {
  it('are each read by themselves', () => {
    for (const protocol of ['ike', 'esp'] as const) {
      for (const keyword of proposalKeywords(protocol)) {
        const faults = readProposal(protocol, keyword, { legacy: true });
        const whys = faults.ok ? [] : faults.faults.map(({ why }) => why);
        expect(whys, keyword).not.toContain('there is no such keyword');
      }
    }
  });
});

describe('the defaults', () => {
  it('are sound proposals, none of them legacy', () => {
    for (const [protocol, texts] of [
      ['ike', DEFAULTS.ikeProposals.value],
      ['esp', DEFAULTS.espProposals.value],
    ] as const) {
      const readings = texts.map((text) => readProposal(protocol, text, STRICT));
      expect(readings.map((reading) => (reading.ok ? [] : reading.faults)).flat()).toEqual([]);
      expect(knownProposals(protocol, texts).length).toBe(texts.length);
    }
  });

  it('have every suite of manual SAs in combined mode', () => {
    expect(suitesOf(knownProposals('esp', DEFAULTS.espProposals.value))).toEqual(
      expect.arrayContaining(['aes256gcm16', 'aes128gcm16', 'chacha20poly1305']),
    );
  });
});
