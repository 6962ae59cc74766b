import { describe, expect, it } from 'vitest';
import { compilePad } from '../../../packages/ipsec-node/src/config/compile.js';
import { diffPads } from '../../../packages/ipsec-node/src/config/diff.js';
import { type FieldOwner, fileKeyOf } from '../../../packages/ipsec-node/src/config/file-keys.js';
import {
  gatewayShape,
  policyShape,
  tfcShape,
} from '../../../packages/ipsec-node/src/config/schema.js';
import {
  localShape,
  peerShape,
  remoteShape,
} from '../../../packages/ipsec-node/src/config/peer-schema.js';
import { parseText, SECRETS, secretsOf, WITH_PEER } from './source.js';

/** Every key that the file may have, with those of the maps within. */
function keysOfFile(owner: FieldOwner): ReadonlySet<string> {
  const within = (name: string, shape: object): readonly string[] =>
    Object.keys(shape).map((key) => `${name}.${key}`);
  switch (owner) {
    case 'gateway':
      return new Set(Object.keys(gatewayShape));
    case 'peer':
      // Its name is the key of the map.
      return new Set([
        'name',
        ...Object.keys(peerShape),
        ...within('local', localShape),
        ...within('remote', remoteShape),
      ]);
    case 'policy':
      return new Set([...Object.keys(policyShape), ...within('tfc', tfcShape)]);
  }
}

const { config } = parseText(WITH_PEER);
const [entry] = compilePad(config).entries;
if (entry === undefined) throw new Error('no peer');
const [child] = entry.children;
if (child === undefined) throw new Error('no child');

/** What is no key of the file, or has no field of its own. */
const WITHOUT_KEY = ['children', 'dontFragment'];

describe.each([
  ['gateway', Object.keys(config.gateway)],
  ['peer', Object.keys(entry)],
  ['policy', Object.keys(child)],
] as const)('each field of %s', (owner, fields) => {
  it.each(fields.filter((field) => !WITHOUT_KEY.includes(field)))(
    'has a key of the file: %s',
    (field) => {
      const known = keysOfFile(owner);
      expect(
        fileKeyOf(owner, field)
          .split('/')
          .filter((key) => !known.has(key)),
      ).toEqual([]);
    },
  );
});

/** The keys that stand for what changes from one text to the other. */
function changedKeys(after: string, secrets = SECRETS): readonly string[] {
  const pad = (text: string, source = SECRETS) => compilePad(parseText(text, source).config);
  const { peers } = diffPads(pad(WITH_PEER), pad(after, secrets));
  return peers.flatMap(({ terms, children }) => [
    ...terms.map((term) => fileKeyOf('peer', term)),
    ...children.flatMap((each) => each.terms.map((term) => fileKeyOf('policy', term))),
  ]);
}

describe('a change of the file is told by the key that was edited', () => {
  it.each([
    ['rekey: 3h', ['rekey', 'expire']],
    ['dpd: 31s', ['dpd']],
    ['keepalive: off', ['keepalive']],
    ['port: 4500', ['port']],
  ])('of a peer: %s', (line, keys) => {
    expect(changedKeys(`${WITH_PEER}\n    ${line}`)).toEqual(keys);
  });

  it('of a peer: address, identities, key', () => {
    expect(changedKeys(WITH_PEER.replace('198.51.100.2', '198.51.100.9'))).toEqual(['address']);
    expect(changedKeys(WITH_PEER.replace('hq.example', 'hq2.example'))).toEqual(['local.id']);
    expect(changedKeys(WITH_PEER.replace('branch.example', 'c.example'))).toEqual(['remote.id']);
    const other = secretsOf({ 'file /etc/ipsec/branch.psk': 'another battery staple' });
    expect(changedKeys(WITH_PEER, other)).toEqual(['local/psk', 'remote/psk']);
  });

  it.each([
    ['tfc: { padTo: 500 }', 'tfc.padTo'],
    ['lifetime: { bytes: 1GiB }', 'lifetime'],
    ['replayWindow: 2048', 'replayWindow'],
  ])('of a policy: %s', (line, key) => {
    const after = WITH_PEER.replace('    peer: branch', `    peer: branch\n    ${line}`);
    expect(changedKeys(after)).toEqual([key]);
  });
});
