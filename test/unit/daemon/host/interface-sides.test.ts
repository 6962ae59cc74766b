import { describe, expect, it } from 'vitest';
import {
  interfaceSides,
  parseIpv4Routes,
  parseIpv6Routes,
} from '../../../../packages/ipsec-node/src/daemon/host/interface-sides.js';

/** /proc/net/route of a host: a default by eth0, a LAN on eth1, a peer's network on wan1. */
const V4 = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010200C0	0003	0	0	100	00000000	0	0	0
eth0	000200C0	00000000	0001	0	0	100	00FFFFFF	0	0	0
eth1	0000010A	00000000	0001	0	0	0	0000FFFF	0	0	0
wan1	006433C6	00000000	0001	0	0	0	00FFFFFF	0	0	0
eth1	00000000	00000000	0200	0	0	999	00000000	0	0	0
`;

const V6 = `fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth1
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000002 00000000 00000001     eth1
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000002 00000000 00000003     eth2
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
`;

const INTERFACES = ['lo', 'eth0', 'eth1', 'wan1', 'eth2', 'ipsec0'];

describe('interface sides', () => {
  it('reads the routes of the kernel and leaves out those that lead nowhere', () => {
    const routes = parseIpv4Routes(V4);
    expect(routes).toHaveLength(4);
    expect(routes[2]).toEqual({
      interface: 'eth1',
      destination: { family: 4, first: 0x0a010000n, last: 0x0a01ffffn },
    });
    expect(parseIpv6Routes(V6).map((route) => route.interface)).toEqual(['eth1', 'eth1', 'eth2']);
  });

  it('finds unprotected those with a default route or a route to a peer', () => {
    const routes = [...parseIpv4Routes(V4), ...parseIpv6Routes(V6)];
    expect(interfaceSides(routes, INTERFACES, ['198.51.100.2'], 'ipsec0')).toEqual({
      unprotected: ['eth0', 'wan1', 'eth2'],
      protected: ['eth1'],
      paths: ['eth0', 'wan1', 'eth2'],
    });
    expect(interfaceSides(routes, INTERFACES, [], 'ipsec0')).toEqual({
      unprotected: ['eth0', 'eth2'],
      protected: ['eth1', 'wan1'],
      paths: ['eth0', 'eth2'],
    });
  });

  it('takes for inside what leads to a network that policy calls local, and no other', () => {
    const routes = [...parseIpv4Routes(V4), ...parseIpv6Routes(V6)];
    // wan1 has no default route yet; the day it gets one it must not count as inside.
    const lan = { family: 4 as const, first: 0x0a010200n, last: 0x0a0102ffn };
    expect(interfaceSides(routes, INTERFACES, [], 'ipsec0', [lan])).toEqual({
      unprotected: ['eth0', 'wan1', 'eth2'],
      protected: ['eth1'],
      // wan1 and other tunnels say nothing of the path to a peer.
      paths: ['eth0', 'eth2'],
    });
    expect(interfaceSides(routes, INTERFACES, [], 'ipsec0', [])).toEqual({
      unprotected: ['eth0', 'eth1', 'wan1', 'eth2'],
      protected: [],
      paths: ['eth0', 'eth2'],
    });
  });

  it('takes the most specific route to a peer', () => {
    const routes = parseIpv4Routes(V4).filter((route) => route.destination.first !== 0n);
    expect(interfaceSides(routes, INTERFACES, ['10.1.2.3'], 'ipsec0').unprotected).toEqual([
      'eth1',
    ]);
  });

  it('names no side where it knows of no way out', () => {
    expect(interfaceSides([], INTERFACES, ['198.51.100.2'], 'ipsec0')).toEqual({
      unprotected: [],
      protected: [],
      paths: [],
    });
  });
});
