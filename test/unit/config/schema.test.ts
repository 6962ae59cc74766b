import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { DEFAULTS } from '../../../packages/ipsec-node/src/config/defaults.js';
import { FINDING_CODES } from '../../../packages/ipsec-node/src/config/finding.js';
import { LATER_KEYS } from '../../../packages/ipsec-node/src/config/later.js';
import {
  associationShape,
  builtinShape,
  configJsonSchema,
  gatewayShape,
  interfaceShape,
  keyShape,
  lifetimeShape,
  manualKeyShape,
  offloadShape,
  policyShape,
  tfcShape,
} from '../../../packages/ipsec-node/src/config/schema.js';
import {
  localShape,
  peerShape,
  ppkShape,
  remoteShape,
} from '../../../packages/ipsec-node/src/config/peer-schema.js';
import {
  PEER_PRESET_NAMES,
  PEER_PRESETS,
} from '../../../packages/ipsec-node/src/config/peer-presets.js';
import { manualFile } from './example.js';
import { faultsOf, GOOD, WITH_PEER } from './source.js';

const schema = configJsonSchema();
const validate = new Ajv2020({ strict: true, allowUnionTypes: true }).compile(schema);

describe('the JSON Schema', () => {
  it('is of draft 2020-12, and describes every key', () => {
    expect(schema['$schema']).toBe('https://json-schema.org/draft/2020-12/schema');
    const missing: string[] = [];
    const look = (node: unknown, path: string): void => {
      if (typeof node !== 'object' || node === null) return;
      for (const [key, value] of Object.entries(node)) {
        if (key === 'properties' && typeof value === 'object' && value !== null) {
          for (const [name, property] of Object.entries(value)) {
            const isDescribed =
              typeof property === 'object' && property !== null && 'description' in property;
            if (!isDescribed) missing.push(`${path}.${name}`);
            look(property, `${path}.${name}`);
          }
        } else look(value, path);
      }
    };
    look(schema, '');
    expect(missing).toEqual([]);
  });

  it('tells editors the defaults', () => {
    const text = JSON.stringify(schema);
    for (const value of ['ipsec0', 'guard', 4500, 500, 1024, ['0.0.0.0', '::'], 'any']) {
      expect(text).toContain(`"default":${JSON.stringify(value)}`);
    }
  });

  it.each([
    ['GOOD', GOOD],
    ['WITH_PEER', WITH_PEER],
    ['the example', manualFile('example-mission.yaml').text],
    [
      'addresses',
      'policies: [{ name: a, local: any, remote: [ "::/0", 10.0.0.1 ], action: bypass }]',
    ],
    [
      'ports',
      'policies: [{ name: a, protocol: tcp, localPort: 1, remotePort: [ 2, 3-4 ], action: bypass }]',
    ],
    [
      'types',
      'policies: [{ name: a, protocol: icmp, icmpType: echo-request, icmpCode: 0, action: bypass }]',
    ],
  ])('accepts what the reader accepts: %s', (_name, text) => {
    expect(faultsOf(text)).toEqual([]);
    expect(validate(parse(text)), JSON.stringify(validate.errors)).toBe(true);
  });

  it.each([
    'policies: []',
    'policies: [{ name: a, action: allow }]',
    'policies: [{ action: bypass }]',
    'policies: [{ name: a, action: bypass, x: 1 }]',
    'policies: [{ name: a, action: bypass, protocol: 256 }]',
    'policies: [{ name: a, action: bypass }]\npeers: { a: {} }',
    WITH_PEER.replace('auth: psk', 'auth: pks'),
    `${WITH_PEER}\n    rekey: 4`,
    `${WITH_PEER}\n    unknown: 4`,
    WITH_PEER.replace('  branch:', '  1st:'),
    'policies: [{ name: a, action: bypass }]\ngateway: { port: 0 }',
    GOOD.replace('aes256gcm16', 'aes256'),
    GOOD.replace('0xc0000001', '-1'),
    GOOD.replace('file: in.key', 'fiel: in.key'),
  ])('refuses what the reader refuses: %j', (text) => {
    expect(faultsOf(text)).not.toEqual([]);
    expect(validate(parse(text))).toBe(false);
  });
});

describe('docs/manual/configuration.md', () => {
  const { text } = manualFile('configuration.md');
  const rows = (heading: string): string[] => {
    const start = text.indexOf(`\n## ${heading}\n`);
    expect(start, heading).toBeGreaterThan(0);
    const end = text.indexOf('\n## ', start + 1);
    const section = text.slice(start, end < 0 ? undefined : end);
    return [...section.matchAll(/^\| `([^`]+)` \|/gm)].map((match) => match[1] ?? '');
  };

  it('has a row for every key, and none for another', () => {
    const sub = (name: string, shape: object): string[] =>
      Object.keys(shape).map((key) => `${name}.${key}`);
    expect(rows('The section `gateway`').toSorted()).toEqual(
      [
        ...Object.keys(gatewayShape).filter(
          (key) => !['interface', 'offload', 'builtin'].includes(key),
        ),
        ...sub('interface', interfaceShape),
        ...sub('offload', offloadShape),
        ...sub('builtin', builtinShape),
      ].toSorted(),
    );
    expect(rows('The section `peers`').toSorted()).toEqual(
      [
        ...Object.keys(peerShape).filter((key) => !['local', 'remote', 'ppk'].includes(key)),
        ...sub('local', localShape),
        ...sub('remote', remoteShape),
        ...sub('ppk', ppkShape),
      ].toSorted(),
    );
    expect(rows('Presets').toSorted()).toEqual([...PEER_PRESET_NAMES].toSorted());
    expect(rows('The section `policies`').toSorted()).toEqual(
      [
        ...Object.keys(policyShape).filter((key) => !['tfc', 'lifetime'].includes(key)),
        ...sub('tfc', tfcShape),
        ...sub('lifetime', lifetimeShape),
      ].toSorted(),
    );
    expect(rows('The section `associations`').toSorted()).toEqual(
      [
        ...Object.keys(associationShape).filter((key) => !['inbound', 'outbound'].includes(key)),
        ...Object.keys(manualKeyShape)
          .filter((key) => key !== 'key')
          .flatMap((key) => [`inbound.${key}`, `outbound.${key}`]),
        'inbound.key',
        'outbound.key',
      ].toSorted(),
    );
    expect(rows('Keys').toSorted()).toEqual([...Object.keys(keyShape), '"0x…"'].toSorted());
  });

  it('has a row for every finding of check', () => {
    expect(rows('What `check` warns of').toSorted()).toEqual([...FINDING_CODES].toSorted());
  });

  it('gives the reason of every default', () => {
    for (const { reason } of Object.values(DEFAULTS)) expect(text).toContain(reason);
  });

  it('gives the reason of every preset', () => {
    for (const { reason } of Object.values(PEER_PRESETS)) expect(text).toContain(reason);
  });

  it('names what is not in this version', () => {
    const start = text.indexOf('\n## Not in this version\n');
    expect(start).toBeGreaterThan(0);
    for (const key of Object.values(LATER_KEYS).flat()) {
      expect(text.slice(start)).toContain(`\`${key}\``);
    }
  });

  it('has examples that the reader accepts', () => {
    const examples = [...text.matchAll(/```yaml\n(.*?)```/gs)].map((match) => match[1] ?? '');
    expect(examples.length).toBeGreaterThan(2);
    // Files of certificates are not part of a manual: that they are not there is all that is said.
    const absent = /found file \/etc\/ipsec\/\S+\.(pem|p12|psk) \(there is no such file\)/;
    for (const example of examples) {
      const faults = faultsOf(example).filter((fault) => !absent.test(fault));
      expect(faults, example).toEqual([]);
    }
  });
});
