/** Whether proposals mean to us what they mean to strongSwan, whose keywords they are. */
import { writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { readProposal } from '../../packages/ipsec-node/src/config/proposal-text.js';
import type { Transform } from '../../packages/ipsec-node/src/sad/transform.js';
import { describeWith } from '../lab/describe-with.ts';
import { Namespace } from '../lab/namespace.ts';
import { Strongswan, STRONGSWAN_NEEDS } from '../lab/strongswan.ts';

/** How charon's log writes our transforms: type and IANA number, then the key length. */
const NAMES: Readonly<Record<string, string>> = {
  'encryption 12': 'AES_CBC',
  'encryption 20': 'AES_GCM_16',
  'encryption 28': 'CHACHA20_POLY1305',
  'prf 2': 'PRF_HMAC_SHA1',
  'prf 4': 'PRF_AES128_XCBC',
  'prf 5': 'PRF_HMAC_SHA2_256',
  'prf 6': 'PRF_HMAC_SHA2_384',
  'prf 7': 'PRF_HMAC_SHA2_512',
  'prf 8': 'PRF_AES128_CMAC',
  'integrity 2': 'HMAC_SHA1_96',
  'integrity 5': 'AES_XCBC_96',
  'integrity 8': 'AES_CMAC_96',
  'integrity 12': 'HMAC_SHA2_256_128',
  'integrity 13': 'HMAC_SHA2_384_192',
  'integrity 14': 'HMAC_SHA2_512_256',
  'key-exchange 0': 'KE_NONE',
  'key-exchange 2': 'MODP_1024',
  'key-exchange 5': 'MODP_1536',
  'key-exchange 14': 'MODP_2048',
  'key-exchange 15': 'MODP_3072',
  'key-exchange 16': 'MODP_4096',
  'key-exchange 17': 'MODP_6144',
  'key-exchange 18': 'MODP_8192',
  'key-exchange 19': 'ECP_256',
  'key-exchange 20': 'ECP_384',
  'key-exchange 21': 'ECP_521',
  'key-exchange 31': 'CURVE_25519',
  'key-exchange 32': 'CURVE_448',
  'sequence-numbers 0': 'NO_EXT_SEQ',
  'sequence-numbers 1': 'EXT_SEQ',
};

const IKE = [
  'aes256gcm16-prfsha384-ecp384',
  'aes128gcm16-aes256gcm16-chacha20poly1305-prfsha256-prfsha512-x25519-ecp256',
  'aes128gcm-aes256gcm-prfsha256-curve25519',
  'aes128gcm128-aes256gcm128-prfsha256-curve448',
  'chacha20poly1305-prfsha256-x448',
  'aes256-sha256-modp2048',
  'aes128-aes192-aes256-sha256-sha384-sha512-modp3072-modp4096-modp6144-modp8192',
  'aes256-sha2_256-sha2_384-sha2_512-ecp521',
  'aes256-sha384-prfsha512-ecp384',
  'aes128-sha1-modp1024-modp1536',
  'aes128-sha-modp2048',
  'aes128-aesxcbc-modp2048',
  'aes128-aescmac-modp2048',
  'aes128-sha256-prfaesxcbc-prfaescmac-prfsha1-modp2048',
  // Kinds in another order.
  'modp2048-sha256-aes256',
  'x25519-prfsha256-aes256gcm16',
];

const ESP = [
  'aes256gcm16-noesn',
  'aes128gcm16-x25519-esn',
  'aes256gcm16-aes128gcm16-chacha20poly1305-ecp384-modp2048-modpnone-esn-noesn',
  'aes256-sha256-noesn',
  'aes128-aes256-sha256-sha512-modp3072-noesn-esn',
  'aes128-sha1-modp1024-noesn',
  'aes256-aesxcbc-noesn',
  'aes256-aescmac-noesn',
  'aes256-sha384-modpnone-noesn',
];

/** What neither takes. */
const REFUSED_IKE = [
  'aes256gcm16-ecp348',
  'aes256-sha256',
  'x25519',
  'aes256-x25519',
  'aes256gcm16-aes256-sha256-x25519',
];

describeWith(['namespaces', 'iproute2', ...STRONGSWAN_NEEDS], 'keywords of proposals', () => {
  it('are to us what they are to strongSwan', async () => {
    const good = [
      ...IKE.map((text, index) => connection(`ike${index}`, text, null)),
      ...ESP.map((text, index) => connection(`esp${index}`, IKE[0] ?? '', text)),
    ];
    const bad = REFUSED_IKE.map((text, index) => connection(`refused${index}`, text, null));
    await using namespace = await Namespace.create('proposals');
    await using charon = await Strongswan.start({
      namespace,
      swanctl: `connections {\n${good.join('\n')}\n}\n`,
      settings: 'filelog {\n log {\n cfg = 2\n }\n }',
    });
    const theirs = loaded(charon.log);
    for (const [index, text] of IKE.entries()) {
      expect(theirs.get(`ike${index}`)?.ike, text).toBe(ours('ike', text));
    }
    for (const [index, text] of ESP.entries()) {
      expect(theirs.get(`esp${index}`)?.esp, text).toBe(ours('esp', text));
    }

    writeFileSync(`${charon.folder}/swanctl/swanctl.conf`, `connections {\n${bad.join('\n')}\n}\n`);
    // It ends with an error, because what it was given does not load.
    await expect(charon.swanctl(['--load-conns'])).rejects.toThrow();
    for (const [index, text] of REFUSED_IKE.entries()) {
      expect(charon.log, text).toContain(`conn refused${index}:`);
      expect(loaded(charon.log).has(`refused${index}`), text).toBe(false);
      expect(readProposal('ike', text, { legacy: true }).ok, text).toBe(false);
    }
  });
});

function connection(name: string, ike: string, esp: string | null): string {
  const child = esp === null ? '' : `children {\n child {\n esp_proposals = ${esp}\n }\n }`;
  return `${name} {
    proposals = ${ike}
    local {
      auth = psk
    }
    remote {
      auth = psk
    }
    ${child}
  }`;
}

interface Loaded {
  ike?: string;
  esp?: string;
}

/** What the log says of each connection that was loaded whole. */
function loaded(log: string): ReadonlyMap<string, Loaded> {
  const connections = new Map<string, Loaded>();
  let name = '';
  for (const line of log.split('\n')) {
    name = /\bconn (\S+):$/.exec(line)?.[1] ?? name;
    const [, protocol, transforms] = /proposals = (IKE|ESP):(\S+)$/.exec(line) ?? [];
    if (protocol === undefined || transforms === undefined) continue;
    const known = connections.get(name) ?? {};
    connections.set(name, { ...known, [protocol.toLowerCase()]: transforms });
  }
  return connections;
}

/** Our reading, as charon's log would write it: integrity stands before the PRF there. */
function ours(protocol: 'ike' | 'esp', text: string): string {
  const reading = readProposal(protocol, text, { legacy: true });
  if (!reading.ok) return reading.faults.map(({ why }) => why).join('; ');
  const order = ['encryption', 'integrity', 'prf', 'key-exchange', 'sequence-numbers'];
  const { transforms } = reading.proposal;
  return order
    .flatMap((type) => transforms.filter((each) => each.type === type).map(charonName))
    .join('/');
}

function charonName({ type, id, keyBits }: Transform): string {
  const name = NAMES[`${type} ${id}`] ?? `${type} ${id}`;
  return keyBits === null ? name : `${name}_${keyBits}`;
}
