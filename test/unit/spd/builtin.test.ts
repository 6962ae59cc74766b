import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseIpAddress } from '../../../packages/ipsec-node/src/net/ip-address.js';
import { builtinSpdEntries } from '../../../packages/ipsec-node/src/spd/builtin.js';
import {
  BUILTIN_NAMES,
  type BuiltinName,
} from '../../../packages/ipsec-node/src/spd/builtin-name.js';
import type { PacketDirection, SpdPacket } from '../../../packages/ipsec-node/src/spd/packet.js';
import { compareWithEntry, searchSpd } from '../../../packages/ipsec-node/src/spd/spd.js';

const OUTER = ['192.0.2.1', '2001:db8:ffff::1'];

function enabled(value: boolean): Record<BuiltinName, boolean> {
  return {
    loopback: value,
    'ike-and-esp': value,
    'neighbour-discovery': value,
    'multicast-listener-discovery': value,
    dhcpv4: value,
    dhcpv6: value,
    'path-mtu': value,
  };
}

const options = { enabled: enabled(true), outerAddresses: OUTER, port: 4500, ikePort: 500 };
const entries = builtinSpdEntries(options);

interface Sample {
  readonly protocol: number;
  readonly ports?: readonly [number, number];
  readonly icmp?: readonly [number, number];
}

function packet(source: string, destination: string, sample: Sample): SpdPacket {
  const { ports, icmp } = sample;
  return {
    source: parseIpAddress(source),
    destination: parseIpAddress(destination),
    protocol: sample.protocol,
    ports: ports === undefined ? null : { source: ports[0], destination: ports[1] },
    icmp: icmp === undefined ? null : { type: icmp[0], code: icmp[1] },
  };
}

const icmpv6 = (type: number): Sample => ({ protocol: 58, icmp: [type, 0] });

describe('the built-in entries let pass what a host needs to have a network', () => {
  it.each<[string, PacketDirection, string, string, Sample]>([
    ['solicitation', 'outbound', 'fe80::1', 'ff02::1:ff00:2', icmpv6(135)],
    [
      'solicitation from a global address',
      'outbound',
      OUTER[1] ?? '',
      'ff02::1:ff00:2',
      icmpv6(135),
    ],
    ['duplicate address detection', 'outbound', '::', 'ff02::1:ff00:2', icmpv6(135)],
    ['advertisement to a global address', 'inbound', '2001:db8::fe', OUTER[1] ?? '', icmpv6(136)],
    [
      'advertisement from a global address',
      'outbound',
      OUTER[1] ?? '',
      '2001:db8::fe',
      icmpv6(136),
    ],
    ['router advertisement', 'inbound', 'fe80::fe', 'ff02::1', icmpv6(134)],
    ['router solicitation', 'outbound', 'fe80::1', 'ff02::2', icmpv6(133)],
    ['redirect', 'inbound', 'fe80::fe', OUTER[1] ?? '', icmpv6(137)],
    ['listener report', 'outbound', 'fe80::1', 'ff02::16', icmpv6(143)],
    ['listener report without an address', 'outbound', '::', 'ff02::16', icmpv6(143)],
    ['listener query', 'inbound', 'fe80::fe', 'ff02::1', icmpv6(130)],
    ['DHCP discover', 'outbound', '0.0.0.0', '255.255.255.255', { protocol: 17, ports: [68, 67] }],
    ['DHCP offer', 'inbound', '192.0.2.254', '255.255.255.255', { protocol: 17, ports: [67, 68] }],
    ['DHCP renewal', 'outbound', '192.0.2.1', '192.0.2.254', { protocol: 17, ports: [68, 67] }],
    [
      'DHCP renewal answered',
      'inbound',
      '192.0.2.254',
      '192.0.2.1',
      { protocol: 17, ports: [67, 68] },
    ],
    ['DHCPv6 solicit', 'outbound', 'fe80::1', 'ff02::1:2', { protocol: 17, ports: [546, 547] }],
    ['DHCPv6 reply', 'inbound', 'fe80::fe', 'fe80::1', { protocol: 17, ports: [547, 546] }],
    ['fragmentation needed', 'inbound', '198.51.100.9', '192.0.2.1', { protocol: 1, icmp: [3, 4] }],
    ['packet too big', 'inbound', '2001:db8::9', OUTER[1] ?? '', icmpv6(2)],
    ['ESP', 'inbound', '198.51.100.2', '192.0.2.1', { protocol: 50 }],
    ['ESP in UDP', 'inbound', '198.51.100.2', '192.0.2.1', { protocol: 17, ports: [7, 4500] }],
    ['IKE', 'inbound', '198.51.100.2', '192.0.2.1', { protocol: 17, ports: [500, 500] }],
    ['loopback', 'outbound', '127.0.0.1', '127.0.0.53', { protocol: 17, ports: [5, 53] }],
  ])('%s', (_name, direction, source, destination, sample) => {
    const decision = searchSpd(
      { version: 1, entries },
      direction,
      packet(source, destination, sample),
    );
    expect(decision.action).toBe('BYPASS');
  });
});

describe('they are no way around the policy', () => {
  // What a router forwards: neither end is link-local, multicast, broadcast, loopback or the
  // gateway's own outer address.
  const inner4 = fc
    .integer({ min: 1, max: 0xffff })
    .map((low) => ({ family: 4 as const, value: 0x0a01_0000n + BigInt(low) }));
  const inner6 = fc
    .integer({ min: 1, max: 0xffff })
    .map((low) => ({ family: 6 as const, value: (0x2001_0db8_0001n << 80n) + BigInt(low) }));
  const interesting = fc.oneof(
    fc.constantFrom(53, 67, 68, 443, 500, 546, 547, 4500),
    fc.integer({ min: 0, max: 65_535 }),
  );
  const forwarded = fc
    .oneof(fc.tuple(inner4, inner4), fc.tuple(inner6, inner6))
    .chain(([source, destination]) =>
      fc
        .record({
          protocol: fc.integer({ min: 0, max: 255 }),
          a: interesting,
          b: interesting,
          type: fc.integer({ min: 0, max: 255 }),
          code: fc.integer({ min: 0, max: 255 }),
        })
        .map(
          ({ protocol, a, b, type, code }): SpdPacket => ({
            source,
            destination,
            protocol,
            ports: { source: a, destination: b },
            icmp: { type, code },
          }),
        ),
    );

  it('for any packet that could be forwarded', () => {
    fc.assert(
      fc.property(forwarded, (each) => {
        const around = [1, 17, 50, 58, each.protocol].flatMap((protocol) =>
          entries.filter((entry) =>
            (['outbound', 'inbound'] as const).some(
              (direction) => compareWithEntry(entry, direction, { ...each, protocol }).length === 0,
            ),
          ),
        );
        expect(around).toEqual([]);
      }),
      { numRuns: 2000 },
    );
  });

  it.each<[string, PacketDirection, string, string, Sample]>([
    [
      'our own errors, which quote plaintext',
      'outbound',
      '192.0.2.1',
      '203.0.113.7',
      { protocol: 1, icmp: [3, 4] },
    ],
    ['our own errors over IPv6', 'outbound', OUTER[1] ?? '', '2001:db8::7', icmpv6(2)],
    [
      'packets from port 4500',
      'outbound',
      '192.0.2.1',
      '198.51.100.2',
      { protocol: 17, ports: [4500, 4500] },
    ],
    ['ESP of somebody else', 'outbound', '10.1.0.5', '198.51.100.2', { protocol: 50 }],
    ['echo requests to us', 'inbound', '198.51.100.2', '192.0.2.1', { protocol: 1, icmp: [8, 0] }],
    ['SSH to us', 'inbound', '198.51.100.2', '192.0.2.1', { protocol: 6, ports: [5, 22] }],
    [
      'DHCP ports between hosts',
      'outbound',
      '10.1.0.5',
      '203.0.113.7',
      { protocol: 17, ports: [68, 67] },
    ],
    ['solicitations between hosts', 'outbound', '2001:db8:1::5', '2001:db8:2::5', icmpv6(135)],
    ['site-wide multicast', 'outbound', '2001:db8:1::5', 'ff05::2', icmpv6(143)],
  ])('%s do not pass', (_name, direction, source, destination, sample) => {
    const decision = searchSpd(
      { version: 1, entries },
      direction,
      packet(source, destination, sample),
    );
    expect(decision.entry).toBeNull();
  });
});

describe('each group', () => {
  it.each(BUILTIN_NAMES)('%s is removed alone', (name) => {
    const rest = builtinSpdEntries({ ...options, enabled: { ...enabled(true), [name]: false } });
    const only = builtinSpdEntries({ ...options, enabled: { ...enabled(false), [name]: true } });
    expect(only.length).toBeGreaterThan(0);
    expect(rest.length + only.length).toBe(entries.length);
    expect(only.every((entry) => entry.name.startsWith(`builtin/${name}`))).toBe(true);
    expect(rest.some((entry) => only.some((other) => other.name === entry.name))).toBe(false);
  });

  it('has names that no policy can have, each once', () => {
    const names = entries.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(entries.every(({ builtin, action }) => builtin && action === 'BYPASS')).toBe(true);
  });

  it('says nothing of outer addresses that are not known', () => {
    const unknown = builtinSpdEntries({ ...options, outerAddresses: [] });
    expect(unknown.map(({ name }) => name)).not.toContain('builtin/ike-and-esp-udp');
    expect(
      unknown.some(({ selector }) => selector.local.length === 0 && selector.remote.length === 0),
    ).toBe(false);
  });
});
