/**
 * The library (`ipsec-node/packet`) against oracles that share no code with it: ours over
 * node:crypto, scapy, and tshark.
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  InboundSa,
  OutboundSa,
  PacketBatch,
  ReplayWindow,
  Spd,
} from '../../packages/ipsec-node/src/packet/index.ts';
import { describeWith } from '../lab/describe-with.ts';
import { writePcap } from '../lab/pcap.ts';
import { recordFolder } from '../lab/registry.ts';
import {
  CBC_SUITES,
  decryptEsp,
  encapsulate,
  espOf,
  frontLenOf,
  octets64,
  OracleInboundSa,
  type OracleSa,
  type OracleSuite,
  openEsp,
  outerPacket,
  SUITES,
  sampleKeys,
  sealEsp,
} from './esp.ts';
import { echoRequest, ipPacket, parsePacket, PROTOCOL, tcpPacket, udpPacket } from './packet.ts';
import { OracleReplayWindow } from './replay-window.ts';
import { ScapyOracle } from './scapy.ts';
import { decryptCapture, TSHARK_SUITES } from './tshark.ts';

const v4 = { local: '192.0.2.1', remote: '192.0.2.2' };
const v6 = { local: '2001:db8:f::1', remote: '2001:db8:f::2' };

/** A small generator with a seed, so that a failure can be repeated. */
function numbers(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function association(suite: OracleSuite, esn: boolean): OracleSa {
  return { spi: 0x1000_0001, suite, ...sampleKeys(suite, 0x5a), esn };
}

/** Any IV of the right length. */
const ivFor = (sa: OracleSa, random: (below: number) => number): Buffer =>
  Buffer.concat([Buffer.alloc(frontLenOf(sa) - 16, random(256)), octets64(BigInt(random(1e6)))]);

const keyOf = (sa: OracleSa): Uint8Array => Buffer.concat([sa.key, sa.salt]);

function randomInner(random: (below: number) => number): Buffer {
  const payload = Buffer.alloc(random(1300), random(256));
  const six = random(2) === 1;
  const ends = {
    source: six ? `fd01::${random(65_536).toString(16)}` : `10.1.${random(256)}.${random(256)}`,
    destination: six ? 'fd02::1' : '10.2.0.1',
    sourcePort: random(65_536),
    destinationPort: random(65_536),
  };
  switch (random(3)) {
    case 0:
      return udpPacket(ends, payload);
    case 1:
      return tcpPacket(ends, payload, { flags: 0x18 });
    default:
      return ipPacket({ ...ends, protocol: PROTOCOL.esp, payload, trafficClass: random(256) });
  }
}

function sealWith(outbound: OutboundSa, inners: readonly Buffer[]): Buffer[] {
  const batch = new PacketBatch({ packets: inners.length, bytesPerPacket: 1600, paddingBytes: 64 });
  for (const inner of inners) batch.push(inner);
  expect(outbound.encapsulate(batch)).toBe(inners.length);
  return inners.map((_, index) => Buffer.from(batch.packet(index)));
}

function openWith(inbound: InboundSa, outers: readonly Buffer[]): (Buffer | string)[] {
  const batch = new PacketBatch({ packets: outers.length, bytesPerPacket: 1600, paddingBytes: 64 });
  for (const outer of outers) batch.push(outer);
  inbound.decapsulate(batch);
  return outers.map((_, index) => batch.reason(index) ?? Buffer.from(batch.packet(index)));
}

const cases = SUITES.flatMap((suite) =>
  [false, true].flatMap((esn) =>
    [v4, v6].flatMap((ends) =>
      (['esp', 'udp'] as const).map((encapsulation) => ({ suite, esn, ends, encapsulation })),
    ),
  ),
);

describe('transport mode of the library and our oracle', () => {
  const hosts = [
    { local: '10.1.0.1', remote: '10.2.0.1' },
    { local: 'fd01::1', remote: 'fd02::1' },
  ];

  it.each(SUITES.flatMap((suite) => hosts.map((ends) => ({ suite, ends }))))(
    '$suite, $ends.local',
    ({ suite, ends }) => {
      const sa = association(suite, true);
      const random = numbers(5);
      const [source, destination] = [ends.local, ends.remote];
      const inners = Array.from({ length: 20 }, (_, index) => {
        const both = { source, destination, sourcePort: random(65_536), destinationPort: 53 };
        const payload = Buffer.alloc(random(1200), random(256));
        return index % 2 === 0 ? udpPacket(both, payload) : tcpPacket(both, payload, { flags: 24 });
      });
      for (const encapsulation of ['esp', 'udp'] as const) {
        const mode = 'transport' as const;
        const options = { spi: sa.spi, suite, key: keyOf(sa), esn: true, mode };
        const outbound = new OutboundSa({ ...options, ...ends, encapsulation });
        const sealed = sealWith(outbound, inners);
        for (const [index, inner] of inners.entries()) {
          const outer = espOf(sealed[index] ?? Buffer.alloc(0));
          const wanted = parsePacket(inner);
          expect([outer.outer.source, outer.outer.destination]).toEqual([
            wanted.source,
            wanted.destination,
          ]);
          expect(outer.udp).toBe(encapsulation === 'udp');
          const opened = openEsp(sa, outer.esp, BigInt(index + 1));
          expect(opened.nextHeader).toBe(wanted.protocol);
          expect(opened.body.equals(wanted.payload)).toBe(true);
        }
        const theirs = inners.map((inner, index) => {
          const { payload, protocol } = parsePacket(inner);
          const esp = sealEsp(sa, payload, protocol, { sequence: BigInt(index + 1) });
          const tunnel = { source, destination };
          const udp = { sourcePort: 4500, destinationPort: 4500 };
          return outerPacket(
            encapsulation === 'udp' ? { ...tunnel, udp } : tunnel,
            parsePacket(inner),
            esp,
          );
        });
        const opened = openWith(new InboundSa(options), theirs);
        for (const [index, inner] of inners.entries()) {
          const packet = opened[index];
          if (!Buffer.isBuffer(packet)) throw new Error(`packet ${index}: ${String(packet)}`);
          const [found, wanted] = [parsePacket(packet), parsePacket(inner)];
          expect([found.source, found.destination]).toEqual([wanted.source, wanted.destination]);
          expect(found.protocol).toBe(wanted.protocol);
          expect(found.payload.equals(wanted.payload)).toBe(true);
        }
      }
    },
  );
});

describe('the library and our oracle', () => {
  it.each(cases)('$suite, ESN $esn, $encapsulation, $ends.local', (what) => {
    const sa = association(what.suite, what.esn);
    const random = numbers(20_261_124);
    const inners = Array.from({ length: 100 }, () => randomInner(random));
    const udp = { sourcePort: 4500, destinationPort: 4500 };
    const tunnel = {
      source: what.ends.local,
      destination: what.ends.remote,
      // Then the outer ID means nothing (RFC 6864), and whole packets can be compared.
      dontFragment: 'set' as const,
      ...(what.encapsulation === 'udp' ? { udp } : {}),
    };
    // Across 2^32 where the numbers are extended.
    const first = what.esn ? 2n ** 32n - 50n : 1n;
    const outbound = new OutboundSa({
      spi: sa.spi,
      suite: sa.suite,
      key: keyOf(sa),
      esn: sa.esn,
      ...what.ends,
      encapsulation: what.encapsulation,
      sequenceNumber: first,
      dontFragment: 'set',
    });
    const sealed = sealWith(outbound, inners);
    for (const [index, inner] of inners.entries()) {
      // The IV of a CBC suite is not to be foretold: the oracle takes it as it came.
      const { esp } = espOf(sealed[index] ?? Buffer.alloc(0));
      const iv = { iv: esp.subarray(8, frontLenOf(sa)) };
      const sequence = first + BigInt(index);
      const wanted = encapsulate(sa, tunnel, inner, {
        sequence,
        ...(frontLenOf(sa) === 16 ? {} : iv),
      });
      expect(sealed[index]?.equals(wanted), `packet ${index}`).toBe(true);
    }
    const oracle = new OracleInboundSa(sa, new OracleReplayWindow(1024, sa.esn, first - 1n));
    for (const [index, inner] of inners.entries()) {
      const { esp } = espOf(sealed[index] ?? Buffer.alloc(0));
      expect(oracle.receive(esp).inner.equals(inner)).toBe(true);
    }
    const inbound = new InboundSa({
      spi: sa.spi,
      suite: sa.suite,
      key: keyOf(sa),
      esn: sa.esn,
      sequenceNumber: first - 1n,
    });
    const theirs = inners.map((inner, index) =>
      encapsulate(sa, tunnel, inner, { sequence: first + BigInt(index), tfcLen: index % 5 }),
    );
    const opened = openWith(inbound, theirs);
    for (const [index, inner] of inners.entries()) expect(opened[index]).toEqual(inner);
    // The same again, all refused; the window has not moved.
    expect(new Set(openWith(inbound, theirs))).toEqual(new Set(['replay_duplicate']));
    expect(inbound.sequenceNumber).toBe(first + 99n);
  });

  it('refuses the second of two equal packets in one batch', () => {
    const sa = association('aes256gcm16', false);
    const tunnel = { source: v4.local, destination: v4.remote };
    const inner = echoRequest('10.1.0.1', '10.2.0.1', Buffer.from('twice'));
    const packet = encapsulate(sa, tunnel, inner, { sequence: 7n });
    const inbound = new InboundSa({ spi: sa.spi, suite: sa.suite, key: keyOf(sa) });
    expect(openWith(inbound, [packet, packet])).toEqual([inner, 'replay_duplicate']);
  });

  it('checks selectors, ICV, SPI and the form of what it is given', () => {
    const sa = association('chacha20poly1305', false);
    const tunnel = { source: v4.local, destination: v4.remote };
    const inbound = new InboundSa({
      spi: sa.spi,
      suite: sa.suite,
      key: keyOf(sa),
      selector: { local: '10.2.0.0/24', remote: '10.1.0.0/24' },
    });
    const good = echoRequest('10.1.0.9', '10.2.0.9', Buffer.from('good'));
    const stranger = echoRequest('203.0.113.9', '10.2.0.9', Buffer.from('spoofed'));
    const changed = encapsulate(sa, tunnel, good, { sequence: 3n });
    changed.writeUInt8(changed.readUInt8(45) ^ 1, 45);
    const otherSpi = encapsulate({ ...sa, spi: 4096 }, tunnel, good, { sequence: 4n });
    expect(
      openWith(inbound, [
        encapsulate(sa, tunnel, good, { sequence: 1n }),
        encapsulate(sa, tunnel, stranger, { sequence: 2n }),
        changed,
        otherSpi,
        Buffer.from('no packet'),
      ]),
    ).toEqual([good, 'selector_mismatch', 'integrity', 'no_sa', 'short']);
  });

  it.each(CBC_SUITES)('%s: no IV twice, none in order, none of another SA of the key', (suite) => {
    const sa = association(suite, false);
    const parameters = { spi: sa.spi, suite, key: keyOf(sa), ...v4 };
    const inner = echoRequest('10.1.0.1', '10.2.0.1', Buffer.alloc(5));
    const ivs = [new OutboundSa(parameters), new OutboundSa(parameters)].flatMap((outbound) =>
      sealWith(
        outbound,
        Array.from({ length: 200 }, () => inner),
      ).map((packet) => espOf(packet).esp.subarray(8, 24).toString('hex')),
    );
    expect(new Set(ivs).size).toBe(400);
    // Halves too: a counter shows in one of them.
    expect(new Set(ivs.map((iv) => iv.slice(0, 16))).size).toBe(400);
    expect(new Set(ivs.map((iv) => iv.slice(16))).size).toBe(400);
  });

  it.each(CBC_SUITES)('%s: the padding is looked at behind a good ICV only', (suite) => {
    const sa = association(suite, false);
    const tunnel = { source: v4.local, destination: v4.remote };
    // 44 octets, so that the trailer below makes three blocks.
    const inner = udpPacket(
      { source: '10.1.0.1', destination: '10.2.0.1', sourcePort: 1, destinationPort: 2 },
      Buffer.alloc(16),
    );
    const seal = (sequence: bigint, trailer: readonly number[]): Buffer =>
      encapsulate(sa, tunnel, inner, { sequence, trailer: Buffer.from(trailer) });
    const right = seal(1n, [1, 2, 2, 4]);
    expect(decryptEsp(sa, espOf(right).esp, 1n)).toHaveLength(48);
    const forged = seal(4n, [9, 9, 200, 4]);
    forged.writeUInt8(forged.readUInt8(forged.length - 1) ^ 1, forged.length - 1);
    const inbound = new InboundSa({ spi: sa.spi, suite, key: keyOf(sa) });
    expect(
      openWith(inbound, [right, seal(2n, [1, 3, 2, 4]), seal(3n, [1, 2, 200, 4]), forged, right]),
    ).toEqual([inner, 'padding', 'padding', 'integrity', 'replay_duplicate']);
  });

  it('pads to a size, and the padding is trimmed; dummies are counted and discarded', () => {
    const sa = association('aes128gcm16', false);
    const outbound = new OutboundSa({
      spi: sa.spi,
      suite: sa.suite,
      key: keyOf(sa),
      ...v4,
      tfcPadToBytes: 500,
    });
    const inners = [40, 400].map((size) =>
      udpPacket(
        { source: '10.1.0.1', destination: '10.2.0.1', sourcePort: 1, destinationPort: 2 },
        Buffer.alloc(size, 0x61),
      ),
    );
    const batch = new PacketBatch({ packets: 2, bytesPerPacket: 600, paddingBytes: 600 });
    for (const inner of inners) batch.push(inner);
    expect(outbound.encapsulate(batch)).toBe(2);
    const sealed = [0, 1].map((index) => Buffer.from(batch.packet(index)));
    expect(new Set(sealed.map((packet) => packet.length)).size).toBe(1);
    const [first = Buffer.alloc(0)] = sealed;
    expect(openEsp(sa, espOf(first).esp, 1n).body.length).toBe(500);
    batch.clear();
    batch.push(Buffer.alloc(100, 0xee));
    expect(outbound.encapsulateDummies(batch)).toBe(1);
    const dummy = Buffer.from(batch.packet(0));
    const oracle = new OracleInboundSa(sa, new OracleReplayWindow(64, false));
    expect(() => oracle.receive(espOf(dummy).esp)).toThrow(/dummy/);
    const inbound = new InboundSa({ spi: sa.spi, suite: sa.suite, key: keyOf(sa) });
    expect(openWith(inbound, [...sealed, dummy])).toEqual([...inners, 'dummy']);
  });

  it('gives each packet that may be fragmented an ID of its own', () => {
    const sa = association('aes128gcm16', false);
    const outbound = new OutboundSa({
      spi: sa.spi,
      suite: sa.suite,
      key: keyOf(sa),
      ...v4,
      dontFragment: 'clear',
    });
    const inner = echoRequest('10.1.0.1', '10.2.0.1', Buffer.alloc(10));
    const sealed = sealWith(outbound, [inner, inner, inner]);
    expect(new Set(sealed.map((packet) => packet.readUInt16BE(4))).size).toBe(3);
    expect(sealed.every((packet) => packet.readUInt16BE(6) === 0)).toBe(true);
  });

  it('has the window of the oracle, number by number', () => {
    const random = numbers(7);
    for (const packets of [64, 1024]) {
      const window = new ReplayWindow({ packets });
      const oracle = new OracleReplayWindow(packets, false);
      let top = 1;
      for (let round = 0; round < 400; round += 1) {
        top += random(packets);
        const run = Uint32Array.from({ length: 1 + random(20) }, () =>
          Math.max(0, top - random(2 * packets)),
        );
        const wanted = Array.from(run, (number) => oracle.receive(number, () => true));
        const found = window.commit(run);
        expect(found.map((reason) => reason === null)).toEqual(
          wanted.map((outcome) => outcome === 'accept'),
        );
      }
    }
  });

  it('searches a policy: the first entry that matches', () => {
    const any = {
      local: [],
      remote: [],
      protocol: 'any' as const,
      localPorts: [],
      remotePorts: [],
      icmpTypes: [],
      icmpCodes: [],
    };
    const spd = new Spd([
      {
        name: 'web',
        direction: 'both',
        action: 'BYPASS',
        builtin: false,
        selector: { ...any, protocol: 6, remotePorts: [{ from: 443, to: 443 }] },
      },
      {
        name: 'lan',
        direction: 'both',
        action: 'PROTECT',
        builtin: false,
        selector: { ...any, remote: [{ from: '10.2.0.0', to: '10.2.255.255' }] },
      },
    ]);
    const batch = new PacketBatch({ packets: 3, bytesPerPacket: 200 });
    const ends = { source: '10.1.0.1', destination: '10.2.0.1', sourcePort: 9 };
    batch.push(tcpPacket({ ...ends, destinationPort: 443 }, Buffer.alloc(1)));
    batch.push(tcpPacket({ ...ends, destinationPort: 80 }, Buffer.alloc(1)));
    batch.push(
      tcpPacket({ ...ends, destination: '1.1.1.1', destinationPort: 80 }, Buffer.alloc(1)),
    );
    expect(spd.search('outbound', batch).map((entry) => entry?.name ?? null)).toEqual([
      'web',
      'lan',
      null,
    ]);
  });

  it('says what is wrong with its arguments', () => {
    const good = { spi: 256, suite: 'aes256gcm16', key: new Uint8Array(36) } as const;
    expect(() => new InboundSa({ ...good, spi: 255 })).toThrow(/reserved/);
    expect(() => new InboundSa({ ...good, key: new Uint8Array(32) })).toThrow(/36/);
    expect(() => new InboundSa({ ...good, replayWindow: 100 })).toThrow(/power of two/);
    expect(() => new OutboundSa({ ...good, local: '::1', remote: '1.2.3.4' })).toThrow(/family/);
    expect(() => new PacketBatch({ packets: 0, bytesPerPacket: 1 })).toThrow(/1 to 65536/);
  });
});

describeWith(['scapy'], 'the library and scapy', () => {
  let scapy: ScapyOracle;
  beforeAll(() => {
    scapy = ScapyOracle.start();
  });
  afterAll(async () => {
    await scapy.close();
  });

  it.each(cases)('$suite, ESN $esn, $encapsulation, $ends.local', async (what) => {
    const sa = association(what.suite, what.esn);
    const random = numbers(99);
    const inners = Array.from({ length: 12 }, () => randomInner(random));
    const first = what.esn ? 2n ** 32n - 5n : 1n;
    const parameters = { spi: sa.spi, suite: sa.suite, key: keyOf(sa), esn: sa.esn };
    const outbound = new OutboundSa({
      ...parameters,
      ...what.ends,
      encapsulation: what.encapsulation,
      sequenceNumber: first,
    });
    const sealed = sealWith(outbound, inners);
    for (const [index, inner] of inners.entries()) {
      const { esp } = espOf(sealed[index] ?? Buffer.alloc(0));
      const opened = await scapy.open(sa, esp, first + BigInt(index));
      expect(opened?.data.equals(inner)).toBe(true);
      expect(opened?.nextHeader).toBe(parsePacket(inner).version === 4 ? 4 : 41);
    }
    const inbound = new InboundSa({ ...parameters, sequenceNumber: first - 1n });
    const theirs: Buffer[] = [];
    for (const [index, inner] of inners.entries()) {
      const sequence = first + BigInt(index);
      const tunnel = { source: what.ends.local, destination: what.ends.remote };
      const udp = { sourcePort: 4500, destinationPort: 4500 };
      const packet = { inner, sequence, iv: ivFor(sa, random), tunnel };
      // Scapy takes the number 0, the first of a new subspace, for none given.
      theirs.push(
        sequence % 2n ** 32n === 0n
          ? encapsulate(sa, tunnel, inner, { sequence })
          : await scapy.seal(sa, what.encapsulation === 'udp' ? { ...packet, udp } : packet),
      );
    }
    // Scapy writes no ECN outside; an inner CE or ECT stays as it is then (RFC 6040 section 4.2).
    expect(openWith(inbound, theirs)).toEqual(inners);
  });
});

describeWith(['tshark'], 'the library and tshark', () => {
  it('finds every ICV right, and one that was changed', async () => {
    const folder = mkdtempSync(`${tmpdir()}/ipn-`);
    recordFolder(folder);
    const random = numbers(3);
    const packets: Buffer[] = [];
    const keys: { sa: OracleSa; source: string; destination: string }[] = [];
    for (const suite of TSHARK_SUITES) {
      for (const [index, ends] of [v4, v6].entries()) {
        const sa = { ...association(suite, false), spi: 257 + TSHARK_SUITES.indexOf(suite) };
        const outbound = new OutboundSa({
          spi: sa.spi,
          suite,
          key: keyOf(sa),
          ...ends,
          encapsulation: index === 0 ? 'udp' : 'esp',
        });
        packets.push(
          ...sealWith(
            outbound,
            Array.from({ length: 10 }, () => randomInner(random)),
          ),
        );
        keys.push({ sa, source: ends.local, destination: ends.remote });
      }
    }
    const changed = Buffer.from(packets[0] ?? Buffer.alloc(0));
    changed.writeUInt8(changed.readUInt8(60) ^ 1, 60);
    writePcap(`${folder}/library.pcap`, [...packets, changed]);
    const found = await decryptCapture(`${folder}/library.pcap`, keys);
    expect(found.map((packet) => packet.icv)).toEqual([...packets.map(() => 'good'), 'bad']);
  });
});
