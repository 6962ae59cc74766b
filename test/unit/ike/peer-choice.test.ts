import { BlockList, isIPv4 } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { candidatesAt } from '../../../packages/ipsec-node/src/ike/peer-choice.js';
import type { PadEntry } from '../../../packages/ipsec-node/src/pad/pad-entry.js';
import { Secret } from '../../../packages/ipsec-node/src/sad/secret.js';

const secret = new Secret(Buffer.from('a secret of the test, of 20 octets and more'), 'the test');

function entry(name: string, hosts: PadEntry['hosts']): PadEntry {
  return {
    name,
    hosts,
    localAddress: null,
    remotePort: 500,
    localIdentity: { kind: 'dns-name', name: 'gateway.example' },
    remoteIdentity: { kind: 'exact', identity: { kind: 'dns-name', name } },
    localAuthentication: { method: 'psk', secret },
    remoteAuthentication: { method: 'psk', secret },
    ppk: null,
    proposals: [],
    children: [],
    rekeyMs: 1,
    hardMs: 1,
    livenessMs: 0,
    keepaliveMs: 0,
    encapsulation: 'auto',
    fragmentation: true,
    mobike: false,
    unique: 'no',
    onDeath: 'clear',
    hashAndUrl: false,
  };
}

const resolve = (name: string): readonly string[] =>
  name === 'peer.example' ? ['2001:DB8:0:0::1', '192.0.2.1'] : [];
const names = (remote: string, ...entries: PadEntry[]): readonly string[] =>
  candidatesAt(entries, remote, resolve).map(({ name }) => name);

describe('which peers may be at an address', () => {
  it('is told in the order of the entries', () => {
    const entries = [
      entry('b', [{ kind: 'any' }]),
      entry('a', [{ kind: 'address', address: '192.0.2.1' }]),
      entry('other', [{ kind: 'address', address: '192.0.2.9' }]),
      entry('named', [{ kind: 'dns-name', name: 'peer.example' }]),
      entry('unresolved', [{ kind: 'dns-name', name: 'nobody.example' }]),
    ];
    expect(names('192.0.2.1', ...entries)).toEqual(['b', 'a', 'named']);
    // Each time anew: the same entries, another stranger.
    expect(names('192.0.2.9', ...entries)).toEqual(['b', 'other']);
    expect(names('2001:db8::1', ...entries)).toEqual(['b', 'named']);
    expect(names('not an address', ...entries)).toEqual([]);
  });

  it('agrees with node:net on ranges', () => {
    const ipv4 = fc.ipV4();
    fc.assert(
      fc.property(ipv4, ipv4, fc.oneof(ipv4, fc.ipV6()), (one, two, remote) => {
        const order = (text: string): number =>
          text.split('.').reduce((value, octet) => value * 256 + Number(octet), 0);
        const [from, to] = order(one) <= order(two) ? [one, two] : [two, one];
        const list = new BlockList();
        list.addRange(from, to, 'ipv4');
        const isIn = isIPv4(remote) && list.check(remote, 'ipv4');
        const peer = entry('peer', [{ kind: 'range', range: { from, to } }]);
        expect(names(remote, peer)).toEqual(isIn ? ['peer'] : []);
        expect(names(from, peer)).toEqual(['peer']);
      }),
    );
  });
});
