import { describe, expect, it } from 'vitest';
import { compilePad } from '../../../packages/ipsec-node/src/config/compile.js';
import { diffPads } from '../../../packages/ipsec-node/src/config/diff.js';
import type { Pad } from '../../../packages/ipsec-node/src/pad/pad.js';
import { parseText, PSK, SECRETS, secretsOf, WITH_PEER } from './source.js';

function padOf(text: string, secrets = SECRETS): Pad {
  return compilePad(parseText(text, secrets).config);
}

/** Terms that change from one text to the other, as `peer.term` and `child.term`. */
function changes(before: string, after: string, secrets = SECRETS): readonly string[] {
  const { peers, reordered } = diffPads(padOf(before), padOf(after, secrets));
  const lines = peers.flatMap((peer) => [
    ...(peer.change === 'unchanged' ? [] : [`${peer.name} ${peer.change} ${peer.terms.join(' ')}`]),
    ...peer.children
      .filter(({ change }) => change !== 'unchanged')
      .map(({ name, change, terms }) => `${name} ${change} ${terms.join(' ')}`),
  ]);
  return [...lines, ...(reordered ? ['reordered'] : [])].map((line) => line.trim());
}

const OTHER = `
  other:
    address: 198.51.100.3
    local: { id: hq.example, auth: psk }
    remote: { id: other.example, auth: psk }
    psk: { file: branch.psk }`;

describe('two PADs', () => {
  it('of one file do not differ', () => {
    expect(changes(WITH_PEER, WITH_PEER)).toEqual([]);
    // What is written out and what is the default are the same terms.
    expect(changes(WITH_PEER, `${WITH_PEER}\n    rekey: 240m\n    unique: replace`)).toEqual([]);
  });

  it.each([
    ['rekey: 3h', 'rekeyMs hardMs'],
    ['expire: 5h', 'hardMs'],
    ['dpd: 31s', 'livenessMs'],
    ['keepalive: off', 'keepaliveMs'],
    ['mobike: false', 'mobike'],
    ['fragmentation: false', 'fragmentation'],
    ['unique: keep', 'unique'],
    ['onDeath: clear', 'onDeath'],
    ['hashAndUrl: true', 'hashAndUrl'],
    ['encapsulation: auto', 'encapsulation'],
    ['localAddress: 192.0.2.1', 'localAddress'],
    ['port: 4500', 'remotePort'],
    ['ppk: { id: a, secret: { file: branch.psk } }', 'ppk'],
    ['proposals: [ default, aes256-sha256-x25519 ]', 'proposals'],
  ])('differ by %s', (line, terms) => {
    expect(changes(WITH_PEER, `${WITH_PEER}\n    ${line}`)).toEqual([`branch changed ${terms}`]);
  });

  it('differ by addresses and identities', () => {
    const host = WITH_PEER.replace('198.51.100.2', '198.51.100.9');
    expect(changes(WITH_PEER, host)).toEqual(['branch changed hosts']);
    const local = WITH_PEER.replace('hq.example', 'hq2.example');
    expect(changes(WITH_PEER, local)).toEqual(['branch changed localIdentity']);
    const remote = WITH_PEER.replace('branch.example', '"*.example"');
    expect(changes(WITH_PEER, remote)).toEqual(['branch changed remoteIdentity']);
    const name = (id: string): string => WITH_PEER.replace('hq.example', `"CN=${id}"`);
    expect(changes(name('a'), name('a'))).toEqual([]);
    expect(changes(name('a'), name('b'))).toEqual(['branch changed localIdentity']);
  });

  it('differ by the octets of keys, wherever these stand', () => {
    const other = secretsOf({ 'file /etc/ipsec/branch.psk': `${PSK}!` });
    expect(changes(WITH_PEER, WITH_PEER, other)).toEqual([
      'branch changed localAuthentication remoteAuthentication',
    ]);
    const moved = WITH_PEER.replace('{ file: branch.psk }', JSON.stringify(PSK));
    expect(changes(WITH_PEER, moved)).toEqual([]);
  });

  it.each([
    ['mode: transport', 'mode'],
    ['proposals: aes256gcm16-x25519', 'proposals'],
    ['lifetime: { bytes: 1GiB }', 'lifetime'],
    ['start: start\n    onClose: trap', 'start'],
    ['onClose: clear', 'onClose'],
    ['selectorsPerChild: one', 'selectorsPerChild'],
    ['replayWindow: 2048', 'replayWindow'],
    ['tfc: { padTo: 500 }', 'tfcPadToBytes'],
    ['protocol: tcp', 'selector'],
  ])('differ in a child by %s', (fields, terms) => {
    const after = WITH_PEER.replace('    peer: branch', `    peer: branch\n    ${fields}`);
    const own = fields.startsWith('start') ? ['branch changed onDeath'] : [];
    expect(changes(WITH_PEER, after)).toEqual([...own, `lan-to-branch changed ${terms}`]);
  });

  it('gain and lose peers and children', () => {
    expect(changes(WITH_PEER, WITH_PEER + OTHER)).toEqual(['other added']);
    expect(changes(WITH_PEER + OTHER, WITH_PEER)).toEqual(['other removed']);
    const two = WITH_PEER.replace(
      '  - { name: everything-else',
      '  - { name: more, remote: 10.3.0.0/16, action: protect, peer: branch }\n  - { name: everything-else',
    );
    expect(changes(WITH_PEER, two)).toEqual(['more added']);
    expect(changes(two, WITH_PEER)).toEqual(['more removed']);
    const moved = (WITH_PEER + OTHER).replace('peer: branch', 'peer: other');
    expect(changes(WITH_PEER + OTHER, moved)).toEqual([
      'branch changed onDeath',
      'lan-to-branch removed',
      'other changed onDeath',
      'lan-to-branch added',
    ]);
  });

  it('may stand in another order', () => {
    const before = padOf(WITH_PEER + OTHER);
    const after = { entries: padOf(WITH_PEER + OTHER).entries.toReversed() };
    expect(diffPads(before, after)).toMatchObject({
      reordered: true,
      peers: [
        { name: 'other', change: 'unchanged' },
        { name: 'branch', change: 'unchanged' },
      ],
    });
  });
});
