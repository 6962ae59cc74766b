/** Configurations from text, with secrets from memory. */
import { loadConfigText } from '../../../packages/ipsec-node/src/config/load.js';
import { type ParsedConfig, parseConfig } from '../../../packages/ipsec-node/src/config/parse.js';
import {
  formatSecretReference,
  type SecretReading,
  type SecretSource,
} from '../../../packages/ipsec-node/src/config/secret-source.js';
import { ConfigError } from '../../../packages/ipsec-node/src/errors.js';

/** Reads secrets by the words of their reference: `file /etc/ipsec/in.key`. */
export function secretsOf(known: Readonly<Record<string, SecretReading | string>>): SecretSource {
  return {
    read: (reference) => {
      const reading = known[formatSecretReference(reference)];
      if (typeof reading === 'string') {
        return { ok: true, bytes: new TextEncoder().encode(reading), exposed: false };
      }
      if (reading?.ok === true) return { ...reading, bytes: Uint8Array.from(reading.bytes) };
      return reading ?? { ok: false, denied: false, reason: 'there is no such file' };
    },
  };
}

export const IN_KEY = '11'.repeat(18) + '22'.repeat(18);
export const OUT_KEY = '33'.repeat(18) + '44'.repeat(18);

/** Octets of a pre-shared key, as text. */
export const PSK = 'correct horse battery staple';

export const SECRETS = secretsOf({
  'file /etc/ipsec/in.key': `${IN_KEY}\n`,
  'file /etc/ipsec/out.key': `0x${OUT_KEY}\n`,
  'file /etc/ipsec/branch.psk': `${PSK}\n`,
});

export function parseText(
  text: string,
  secrets: SecretSource = SECRETS,
  tolerateDeniedSecrets = false,
): ParsedConfig {
  return parseConfig(loadConfigText(text, '/etc/ipsec/ipsec.yaml'), {
    secrets,
    tolerateDeniedSecrets,
  });
}

/** The faults of a text, without the name of the file; none where it has none. */
export function faultsOf(text: string, secrets: SecretSource = SECRETS): readonly string[] {
  try {
    parseText(text, secrets);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.faults.map(({ message }) => message.replace('/etc/ipsec/ipsec.yaml:', ''));
  }
}

/** A configuration without faults or findings but for its manual keys. */
export const GOOD = `
gateway:
  name: hq
  laboratory: true
policies:
  - name: lan-to-branch
    local: 10.1.0.0/16
    remote: [ 10.2.0.0/16, 10.3.0.10-10.3.0.99 ]
    action: protect
associations:
  - policy: lan-to-branch
    suite: aes256gcm16
    local: 192.0.2.1
    remote: 198.51.100.2
    inbound: { spi: 0xc0000001, key: { file: in.key } }
    outbound: { spi: 0xc0000002, key: { file: out.key } }
`;

/** A configuration with a peer, without faults or findings; keys of the peer may be added to it. */
export const WITH_PEER = `
policies:
  - name: lan-to-branch
    local: 10.1.0.0/16
    remote: 10.2.0.0/16
    action: protect
    peer: branch
  - { name: everything-else, action: discard }
peers:
  branch:
    address: 198.51.100.2
    local: { id: hq.example, auth: psk }
    remote: { id: branch.example, auth: psk }
    psk: { file: branch.psk }`;
