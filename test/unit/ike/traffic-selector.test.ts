import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TrafficSelector } from '../../../packages/ipsec-node/src/ike/payload/payload.js';
import {
  hasPacketSelectors,
  isWithin,
  narrow,
  packetSelectors,
  selectorDifferences,
  selectorFault,
  selectorOf,
  trafficSelectorsOf,
  transportSelectors,
} from '../../../packages/ipsec-node/src/ike/traffic-selector.js';
import { ANY_SELECTOR, type Selector } from '../../../packages/ipsec-node/src/spd/selector.js';
import {
  matchesSelector,
  matchesTrafficSelectors,
  type OraclePacket,
} from '../../oracle/traffic-selector.ts';

// A small world in which every packet can be looked at. Ranges have their ends in it; the last of
// each list stands for all that no range names.
const V4 = ['10.0.0.0', '10.0.0.1', '10.0.0.2', '192.0.2.1'];
const V6 = ['2001:db8::', '2001:db8::1', 'fd00::1'];
const PORTS = [0, 1, 2, 5_000, 60_000];
const NUMBERS = [0, 1, 2, 100, 200];
const TCP = 6;
const UDP = 17;
const ICMP = 1;
const GRE = 47;

const WORLD: readonly OraclePacket[] = [V4, V6].flatMap((addresses) =>
  addresses.flatMap((local) =>
    addresses.flatMap((remote) => {
      const bare = { local, remote, localPort: null, remotePort: null, icmp: null };
      const withPorts = (protocol: number): OraclePacket[] => [
        { ...bare, protocol },
        ...PORTS.flatMap((localPort) =>
          PORTS.map((remotePort) => ({ ...bare, protocol, localPort, remotePort })),
        ),
      ];
      const icmp = NUMBERS.flatMap((type) =>
        NUMBERS.map((code) => ({ ...bare, protocol: ICMP, icmp: { type, code } })),
      );
      return [...withPorts(TCP), ...withPorts(UDP), ...icmp, { ...bare, protocol: GRE }];
    }),
  ),
);

function spans<T>(ends: readonly T[]): readonly { readonly from: T; readonly to: T }[] {
  return ends.flatMap((from, index) => ends.slice(index).map((to) => ({ from, to })));
}

const RANGES = [...spans(V4.slice(0, -1)), ...spans(V6.slice(0, -1))];
const PORT_SPANS = spans(PORTS.slice(0, -1));
const NUMBER_SPANS = spans(NUMBERS.slice(0, -1));

const few = <T>(of: readonly T[]): fc.Arbitrary<readonly T[]> =>
  fc.oneof(fc.constant([]), fc.array(fc.constantFrom(...of), { minLength: 1, maxLength: 3 }));

const arbitrarySelector: fc.Arbitrary<Selector> = fc
  .constantFrom<Selector['protocol']>('any', TCP, UDP, ICMP, GRE)
  .chain((protocol) => {
    const has = protocol === TCP || protocol === UDP;
    return fc.record({
      local: few(RANGES),
      remote: few(RANGES),
      protocol: fc.constant(protocol),
      localPorts: has ? few(PORT_SPANS) : fc.constant([]),
      remotePorts: has ? few(PORT_SPANS) : fc.constant([]),
      icmpTypes: protocol === ICMP ? few(NUMBER_SPANS) : fc.constant([]),
      // RFC 4301 section 4.4.1.1: codes of ranges of types are too many to say.
      icmpCodes: fc.constant([]),
    });
  });

const arbitraryTs: fc.Arbitrary<TrafficSelector> = fc
  .tuple(
    fc.constantFrom(...RANGES),
    fc.constantFrom(0, 0, TCP, UDP, ICMP, GRE),
    fc.constantFrom({ from: 65_535, to: 0 }, ...PORT_SPANS),
    fc.constantFrom(...spans([0, 1, 255, 256, 257, 511, 512, 2 * 256 + 255, 255 * 256, 65_535])),
    fc.boolean(),
  )
  .map(([range, protocol, ports, icmp, every]) => {
    const isAny = every || protocol === 0 || protocol === GRE;
    const chosen = isAny ? { from: 0, to: 65_535 } : protocol === ICMP ? icmp : ports;
    return {
      family: range.from.includes(':') ? 6 : 4,
      protocol,
      startPort: chosen.from,
      endPort: chosen.to,
      ...range,
    };
  });
const arbitrarySide = fc.array(arbitraryTs, { minLength: 1, maxLength: 4 });

const range = (from: string, to = from): { from: string; to: string } => ({ from, to });
const ts = (
  from: string,
  to: string,
  protocol = 0,
  startPort = 0,
  endPort = 65_535,
): TrafficSelector => ({
  family: from.includes(':') ? 6 : 4,
  protocol,
  startPort,
  endPort,
  from,
  to,
});
const selector = (change: Partial<Selector>): Selector => ({ ...ANY_SELECTOR, ...change });

/** Packets of the world on which two questions have different answers. */
function disagreements(
  a: (packet: OraclePacket) => boolean,
  b: (packet: OraclePacket) => boolean,
): readonly OraclePacket[] {
  return WORLD.filter((packet) => a(packet) !== b(packet)).slice(0, 3);
}

describe('every packet of a small world, against the oracle', () => {
  it('an SPD selector says the same as its traffic selectors, and as those read back', () => {
    fc.assert(
      fc.property(arbitrarySelector, (own) => {
        const { local, remote } = trafficSelectorsOf(own);
        const isOurs = (packet: OraclePacket): boolean => matchesSelector(own, packet);
        const isTheirs = (packet: OraclePacket): boolean =>
          matchesTrafficSelectors(local, remote, packet);
        expect(disagreements(isOurs, isTheirs)).toEqual([]);
        if (selectorFault(own) !== null) return;
        const back = selectorOf(local, remote);
        if (back === null) throw new Error('not read back');
        expect(disagreements(isOurs, (packet) => matchesSelector(back, packet))).toEqual([]);
        expect(isWithin(back, own) && isWithin(own, back)).toBe(true);
      }),
      { seed: 4301, numRuns: 60 },
    );
  });

  it('traffic selectors that are read as a selector say the same', () => {
    let readable = 0;
    fc.assert(
      fc.property(arbitrarySide, arbitrarySide, (local, remote) => {
        const read = selectorOf(local, remote);
        if (read === null) return;
        readable += 1;
        const isTheirs = (packet: OraclePacket): boolean =>
          matchesTrafficSelectors(local, remote, packet);
        expect(disagreements(isTheirs, (packet) => matchesSelector(read, packet))).toEqual([]);
      }),
      { seed: 7296, numRuns: 800 },
    );
    expect(readable).toBeGreaterThan(30);
  });

  it('narrowing takes of both and never more, and nothing only where there is nothing', () => {
    const seen = { something: 0, nothing: 0, whole: 0, first: 0 };
    fc.assert(
      fc.property(arbitrarySelector, arbitrarySide, arbitrarySide, (own, local, remote) => {
        const isOffered = (packet: OraclePacket): boolean =>
          matchesTrafficSelectors(local, remote, packet);
        const isOurs = (packet: OraclePacket): boolean => matchesSelector(own, packet);
        const narrowed = narrow(own, local, remote, { present: false });
        const isSayable = [...local, ...remote].every(
          ({ startPort, endPort }) => startPort <= endPort,
        );
        if (narrowed === null) {
          seen.nothing += 1;
          if (!isSayable) return;
          expect(WORLD.filter((packet) => isOffered(packet) && isOurs(packet)).slice(0, 3)).toEqual(
            [],
          );
          return;
        }
        seen.something += 1;
        const isTaken = (packet: OraclePacket): boolean =>
          matchesSelector(narrowed.selector, packet);
        const tooMuch = WORLD.filter(
          (packet) => isTaken(packet) && !(isOffered(packet) && isOurs(packet)),
        );
        expect(tooMuch.slice(0, 3)).toEqual([]);
        expect(
          disagreements(isTaken, (packet) =>
            matchesTrafficSelectors(narrowed.local, narrowed.remote, packet),
          ),
        ).toEqual([]);
        expect(isWithin(narrowed.selector, own)).toBe(true);
        const missing = WORLD.some((packet) => isOffered(packet) && !isTaken(packet));
        if (missing) expect(narrowed.narrowed).toBe(true);
        if (!narrowed.narrowed) seen.whole += 1;
        // RFC 7296 section 2.9: the first choices are in it wherever policy allows them whole.
        const isFirst = (packet: OraclePacket): boolean =>
          matchesTrafficSelectors(local.slice(0, 1), remote.slice(0, 1), packet);
        const firsts = WORLD.filter(isFirst);
        const isOneSelector = selectorOf(local.slice(0, 1), remote.slice(0, 1)) !== null;
        if (!isSayable || !isOneSelector || firsts.length === 0 || !firsts.every(isOurs)) return;
        seen.first += 1;
        expect(firsts.filter((packet) => !isTaken(packet)).slice(0, 3)).toEqual([]);
      }),
      { seed: 29, numRuns: 160 },
    );
    expect(Math.min(...Object.values(seen))).toBeGreaterThan(2);
  });

  it('one selector is within another exactly where no packet tells against it', () => {
    const seen = { within: 0, outside: 0 };
    fc.assert(
      fc.property(arbitrarySelector, arbitrarySelector, fc.boolean(), (a, b, same) => {
        // Two at random are rarely one within the other: half of them share what they can.
        const outer = same && b.protocol === a.protocol ? { ...a, local: b.local } : b;
        const packets = WORLD.filter((packet) => matchesSelector(a, packet));
        const expected =
          packets.length > 0 && packets.every((packet) => matchesSelector(outer, packet));
        expect(isWithin(a, outer)).toBe(expected);
        if (expected) seen.within += 1;
        else seen.outside += 1;
      }),
      { seed: 44, numRuns: 200 },
    );
    expect(Math.min(seen.within, seen.outside)).toBeGreaterThan(10);
  });
});

describe('trafficSelectorsOf', () => {
  it('has both families of ANY, or the one that the other side has', () => {
    const every4 = ts('0.0.0.0', '255.255.255.255');
    const every6 = ts('::', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff');
    expect(trafficSelectorsOf(ANY_SELECTOR)).toEqual({
      local: [every4, every6],
      remote: [every4, every6],
    });
    const four = selector({ local: [range('10.0.0.0', '10.0.0.255')] });
    expect(trafficSelectorsOf(four).remote).toEqual([every4]);
  });

  it('has type and code of ICMP on both sides (RFC 4301 section 4.4.1.3)', () => {
    const echo = selector({ protocol: ICMP, icmpTypes: [{ from: 8, to: 8 }] });
    const { local, remote } = trafficSelectorsOf(echo);
    for (const [each] of [local, remote]) {
      expect([each?.startPort, each?.endPort]).toEqual([8 * 256, 8 * 256 + 255]);
    }
    const codes = selector({
      protocol: ICMP,
      icmpTypes: [{ from: 3, to: 4 }],
      icmpCodes: [{ from: 1, to: 2 }],
    });
    const coded = trafficSelectorsOf(codes);
    expect(coded.local.slice(0, 2).map(({ startPort, endPort }) => [startPort, endPort])).toEqual([
      [0x0301, 0x0302],
      [0x0401, 0x0402],
    ]);
    const back = selectorOf(coded.local, coded.remote);
    expect(back?.icmpTypes).toEqual([
      { from: 3, to: 3 },
      { from: 4, to: 4 },
    ]);
    expect(back?.icmpCodes).toEqual([{ from: 1, to: 2 }]);
  });

  it('offers less where a selector cannot be said, never more', () => {
    const unsayable: readonly Selector[] = [
      selector({ protocol: 0 }),
      selector({ localPorts: [range1(80)] }),
      selector({ protocol: GRE, remotePorts: [range1(80)] }),
      selector({ local: [range('10.0.0.1')], remote: [range('2001:db8::1')] }),
    ];
    for (const each of unsayable) {
      expect(selectorFault(each)).not.toBeNull();
      const { local, remote } = trafficSelectorsOf(each);
      expect(local.length * remote.length).toBe(0);
    }
    const ports = Array.from({ length: 256 }, (_, index) => range1(index * 2));
    const wide = selector({ protocol: TCP, localPorts: ports, local: [range('10.0.0.1')] });
    expect(selectorFault(wide)).toMatch(/255/);
    expect(trafficSelectorsOf(wide).local).toHaveLength(255);
    expect(
      selectorFault(selector({ protocol: TCP, localPorts: ports.slice(1), local: wide.local })),
    ).toBeNull();
  });
});

describe('narrow', () => {
  const ours = selector({
    local: [range('192.0.2.0', '192.0.2.255')],
    remote: [range('198.51.100.0', '198.51.100.255')],
  });

  it('does the example of RFC 7296 section 2.9', () => {
    const local = [ts('192.0.2.123', '192.0.2.123', TCP, 80, 80), ts('192.0.2.0', '192.0.2.255')];
    const remote = [
      ts('198.51.100.43', '198.51.100.43', TCP, 1_234, 1_234),
      ts('198.51.100.0', '198.51.100.255'),
    ];
    expect(hasPacketSelectors(local, remote)).toBe(true);
    const policy = selector({ ...ours, remote: [range('198.51.100.43')] });
    expect(narrow(policy, local, remote, { present: true })).toEqual({
      selector: policy,
      local: [ts('192.0.2.0', '192.0.2.255')],
      remote: [ts('198.51.100.43', '198.51.100.43')],
      narrowed: true,
    });
    const other = selector({ ...ours, remote: [range('198.51.100.44')] });
    expect(narrow(other, local, remote, { present: true })).toBeNull();
    expect(narrow(other, local, remote, { present: false })?.selector).toEqual(other);
  });

  it('takes all of an offer that the entry allows', () => {
    const local = [ts('192.0.2.0', '192.0.2.127'), ts('192.0.2.128', '192.0.2.255')];
    const result = narrow(ours, local, [ts('198.51.100.0', '198.51.100.255')], { present: false });
    expect(result?.narrowed).toBe(false);
    expect(result?.local).toEqual(local);
  });

  it('takes the protocol of the packet where an offer names several', () => {
    const local = [ts('192.0.2.1', '192.0.2.1', UDP), ts('192.0.2.1', '192.0.2.1', TCP)];
    const remote = [
      ts('198.51.100.1', '198.51.100.1', UDP),
      ts('198.51.100.1', '198.51.100.1', TCP),
    ];
    const result = narrow(ours, local, remote, { present: true });
    expect(result?.selector.protocol).toBe(UDP);
    expect(result?.narrowed).toBe(true);
  });

  it('stays within 255 selectors, with the first choice, however many ranges meet', () => {
    const policy = selector({
      remote: Array.from({ length: 100 }, (_, index) =>
        range(`10.${index}.0.0`, `10.${index}.0.255`),
      ),
    });
    const offer = Array.from({ length: 254 }, (_, index) =>
      ts(`10.0.0.${index}`, `10.200.0.${index}`),
    );
    const packet = ts('10.99.0.7', '10.99.0.7', TCP, 443, 443);
    const local = [ts('192.0.2.1', '192.0.2.1', TCP, 5_000, 5_000), ts('192.0.2.0', '192.0.2.255')];
    const result = narrow(policy, local, [packet, ...offer], { present: true });
    expect(result?.remote.length).toBeLessThanOrEqual(255);
    const within = selectorOf([local[0] ?? packet], [packet]);
    expect(within !== null && result !== null && isWithin(within, result.selector)).toBe(true);
  });

  it('P08: is bounded for the worst offer of 255 selectors of 255 protocols', () => {
    const offer = Array.from({ length: 255 }, (_, index) =>
      ts(`10.0.0.${index}`, `10.1.0.${index}`, (index % 250) + 1),
    );
    expect(narrow(ANY_SELECTOR, offer, offer, { present: false })).not.toBeNull();
  });
});

describe('packetSelectors', () => {
  const packet = {
    source: '10.0.0.1',
    destination: '10.0.0.2',
    protocol: TCP,
    hasPorts: true,
    sourcePort: 40_000,
    destinationPort: 443,
    icmpType: 0,
    icmpCode: 0,
  };

  it('are of one packet: addresses, protocol, ports or type and code', () => {
    expect(packetSelectors(packet)).toEqual({
      local: ts('10.0.0.1', '10.0.0.1', TCP, 40_000, 40_000),
      remote: ts('10.0.0.2', '10.0.0.2', TCP, 443, 443),
    });
    const fragment = packetSelectors({ ...packet, hasPorts: false });
    expect(fragment.local).toEqual(ts('10.0.0.1', '10.0.0.1', TCP));
    const echo = packetSelectors({
      ...packet,
      protocol: ICMP,
      hasPorts: false,
      icmpType: 8,
      icmpCode: 1,
    });
    expect(echo.local).toEqual(ts('10.0.0.1', '10.0.0.1', ICMP, 0x0801, 0x0801));
    expect(echo.remote).toEqual(ts('10.0.0.2', '10.0.0.2', ICMP, 0x0801, 0x0801));
    const six = packetSelectors({
      ...packet,
      source: '2001:db8::1',
      destination: '2001:db8::2',
      protocol: GRE,
    });
    expect(six.remote).toEqual(ts('2001:db8::2', '2001:db8::2', GRE));
  });

  it('are known again in an offer', () => {
    const { local, remote } = packetSelectors(packet);
    const all = ts('10.0.0.0', '10.0.0.255');
    expect(hasPacketSelectors([local, all], [remote, all])).toBe(true);
    expect(hasPacketSelectors([local], [remote])).toBe(false);
    expect(hasPacketSelectors([all, local], [all, remote])).toBe(false);
    expect(hasPacketSelectors([local, ts('10.0.1.0', '10.0.1.255')], [remote, all])).toBe(false);
  });
});

describe('transportSelectors', () => {
  // RFC 7296 section 2.23.1: client IP1 behind NAT A (IPN1), server IP2 behind NAT B (IPN2).
  const [ip1, ipn1, ipn2, ip2] = ['10.0.0.5', '198.51.100.1', '203.0.113.1', '192.168.1.1'];

  it('does the example of RFC 7296 section 2.23.1 on both ends', () => {
    const offered = {
      local: [ts(ipn2, ipn2, TCP, 80, 80), ts(ipn2, ipn2, TCP, 443, 443)],
      remote: [ts(ip1, ip1, TCP)],
    };
    const server = transportSelectors(
      offered,
      { local: ip2, remote: ipn1 },
      { local: true, remote: true },
    );
    expect(server).toEqual({
      local: [ts(ip2, ip2, TCP, 80, 80), ts(ip2, ip2, TCP, 443, 443)],
      remote: [ts(ipn1, ipn1, TCP)],
      originalLocal: ipn2,
      originalRemote: ip1,
    });
    const answered = { local: [ts(ipn1, ipn1, TCP)], remote: [ts(ip2, ip2, TCP, 80, 80)] };
    const client = transportSelectors(
      answered,
      { local: ip1, remote: ipn2 },
      { local: true, remote: true },
    );
    expect(client).toEqual({
      local: [ts(ip1, ip1, TCP)],
      remote: [ts(ipn2, ipn2, TCP, 80, 80)],
      originalLocal: ipn1,
      originalRemote: ip2,
    });
  });

  it('touches only the side behind a NAT, and only single addresses', () => {
    const offered = { local: [ts(ip2, ip2)], remote: [ts(ip1, ip1)] };
    const endpoint = { local: ip2, remote: ipn1 };
    const moved = transportSelectors(offered, endpoint, { local: false, remote: true });
    expect(moved?.local).toEqual(offered.local);
    expect(moved?.remote).toEqual([ts(ipn1, ipn1)]);
    const net = { ...offered, remote: [ts('10.0.0.0', '10.0.0.255')] };
    expect(transportSelectors(net, endpoint, { local: false, remote: true })).toBeNull();
    const two = { ...offered, remote: [ts(ip1, ip1), ts('10.0.0.6', '10.0.0.6')] };
    expect(transportSelectors(two, endpoint, { local: false, remote: true })).toBeNull();
  });
});

describe('selectorDifferences', () => {
  it('names the fields that share nothing, in the words of the file', () => {
    const ours = selector({
      local: [range('10.1.0.0', '10.1.255.255')],
      remote: [range('10.2.0.0', '10.2.255.255')],
      protocol: TCP,
      remotePorts: [range1(443)],
    });
    const local = [ts('10.1.0.0', '10.1.0.255', UDP)];
    const remote = [ts('10.3.0.0', '10.3.255.255', UDP)];
    expect(selectorDifferences(ours, local, remote)).toEqual([
      { field: 'remote', ours: '10.2.0.0/16', theirs: '10.3.0.0/16' },
      { field: 'protocol', ours: 'tcp', theirs: 'udp' },
    ]);
    const port = [ts('10.2.0.0', '10.2.0.255', TCP, 80, 80)];
    expect(selectorDifferences(ours, [ts('10.1.0.0', '10.1.0.255')], port)).toEqual([
      { field: 'remotePort', ours: '443', theirs: '80' },
    ]);
    const icmp = selector({ protocol: ICMP, icmpTypes: [range1(8)] });
    const reply = [ts('10.0.0.1', '10.0.0.1', ICMP, 0, 0)];
    expect(selectorDifferences(icmp, reply, reply)).toEqual([
      { field: 'icmpType', ours: '8', theirs: '0' },
    ]);
  });

  it('says the whole of both where each field alone would do', () => {
    const ours = selector({
      protocol: TCP,
      remotePorts: [range1(80)],
      remote: [range('10.0.0.1')],
    });
    const remote = [
      ts('10.0.0.1', '10.0.0.1', TCP, 22, 22),
      ts('10.0.0.2', '10.0.0.2', TCP, 80, 80),
    ];
    const local = [ts('10.0.0.9', '10.0.0.9', TCP)];
    expect(narrow(ours, local, remote, { present: false })).toBeNull();
    expect(selectorDifferences(ours, local, remote).map(({ field }) => field)).toEqual([
      'selector',
    ]);
  });
});

function range1(number: number): { from: number; to: number } {
  return { from: number, to: number };
}
