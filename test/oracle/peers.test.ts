import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeWith } from '../lab/describe-with.ts';
import { writePcap } from '../lab/pcap.ts';
import { recordFolder } from '../lab/registry.ts';
import {
  encapsulate,
  espOf,
  frontLenOf,
  octets64,
  openEsp,
  type OracleSa,
  type OracleSuite,
  SUITES,
  sampleKeys,
} from './esp.ts';
import { echoRequest, tcpPacket, udpPacket } from './packet.ts';
import { ScapyOracle } from './scapy.ts';
import { decryptCapture, TSHARK_SUITES } from './tshark.ts';

const ends4 = {
  source: '10.1.0.1',
  destination: '10.2.0.1',
  sourcePort: 1000,
  destinationPort: 53,
};
const ends6 = { source: 'fd01::1', destination: 'fd02::1', sourcePort: 1000, destinationPort: 53 };
const inners = [
  udpPacket(ends4, Buffer.from('four')),
  tcpPacket(ends6, Buffer.from('six and more'), { flags: 24 }),
  echoRequest('10.1.0.1', '10.2.0.1', Buffer.alloc(1300, 0x61)),
];
const tunnels = [
  { source: '192.0.2.1', destination: '192.0.2.2' },
  { source: '2001:db8:f::1', destination: '2001:db8:f::2' },
];

function association(suite: OracleSuite, esn: boolean): OracleSa {
  return { spi: 0x1000_0001, suite, ...sampleKeys(suite, 0x5a), esn };
}

/** Any IV of the right length. */
const ivFor = (sa: OracleSa): Buffer =>
  Buffer.concat([Buffer.alloc(frontLenOf(sa) - 16, 5), octets64(9n)]);

describeWith(['scapy'], 'our oracle and scapy', () => {
  let scapy: ScapyOracle;
  beforeAll(() => {
    scapy = ScapyOracle.start();
  });
  afterAll(async () => {
    await scapy.close();
  });

  it.each(SUITES)('%s: each opens what the other seals', async (suite) => {
    for (const esn of [false, true]) {
      const sa = association(suite, esn);
      const sequence = esn ? 5n * 2n ** 32n + 77n : 77n;
      for (const inner of inners) {
        for (const tunnel of tunnels) {
          const theirs = await scapy.seal(sa, { inner, sequence, iv: ivFor(sa), tunnel });
          expect(openEsp(sa, espOf(theirs).esp, sequence).body.equals(inner)).toBe(true);
          const ours = espOf(encapsulate(sa, tunnel, inner, { sequence, tfcLen: 3 })).esp;
          const opened = await scapy.open(sa, ours, sequence);
          expect(opened?.data.subarray(0, -3).equals(inner)).toBe(true);
        }
      }
      const broken = Buffer.from(
        espOf(
          encapsulate(
            sa,
            { source: '1.1.1.1', destination: '2.2.2.2' },
            inners[0] ?? Buffer.alloc(0),
            { sequence },
          ),
        ).esp,
      );
      broken.writeUInt8(broken.readUInt8(20) ^ 1, 20);
      expect(await scapy.open(sa, broken, sequence)).toBeUndefined();
    }
  });

  it('seals the same octets in UDP', async () => {
    const sa = association('aes256gcm16', false);
    const inner = inners[0] ?? Buffer.alloc(0);
    const udp = { sourcePort: 4500, destinationPort: 4500 };
    const tunnel = { source: '192.0.2.1', destination: '192.0.2.2' };
    const theirs = await scapy.seal(sa, { inner, sequence: 1n, iv: octets64(1n), tunnel, udp });
    const ours = encapsulate(sa, { ...tunnel, udp, dontFragment: 'clear' }, inner, {
      sequence: 1n,
    });
    expect(espOf(ours).esp.equals(espOf(theirs).esp)).toBe(true);
    expect(ours.subarray(20).equals(theirs.subarray(20))).toBe(true);
  });
});

describeWith(['tshark'], 'tshark', () => {
  it('finds every ICV right, and one that was changed', async () => {
    const folder = mkdtempSync(`${tmpdir()}/ipn-`);
    recordFolder(folder);
    const packets: Buffer[] = [];
    for (const suite of TSHARK_SUITES) {
      for (const [index, tunnel] of tunnels.entries()) {
        for (const [number, inner] of inners.entries()) {
          const udp = number === 1 ? { udp: { sourcePort: 4500, destinationPort: 4500 } } : {};
          const sa = { ...association(suite, false), spi: 257 + TSHARK_SUITES.indexOf(suite) };
          const options = { sequence: BigInt(1 + index * 10 + number) };
          packets.push(encapsulate(sa, { ...tunnel, ...udp }, inner, options));
        }
      }
    }
    const changed = Buffer.from(packets[0] ?? Buffer.alloc(0));
    changed.writeUInt8(changed.readUInt8(50) ^ 1, 50);
    writePcap(`${folder}/esp.pcap`, [...packets, changed]);
    const keys = tunnels.flatMap((tunnel) =>
      TSHARK_SUITES.map((suite) => ({
        sa: { ...association(suite, false), spi: 257 + TSHARK_SUITES.indexOf(suite) },
        ...tunnel,
      })),
    );
    const found = await decryptCapture(`${folder}/esp.pcap`, keys);
    expect(found.map((packet) => packet.icv)).toEqual([
      ...packets.map(() => 'good' as const),
      'bad',
    ]);
    expect(found[0]).toMatchObject({ spi: 257, sequence: 1 });
    expect(found[0]?.sources).toContain('10.1.0.1');
    expect(found[1]?.sources).toContain('fd01::1');
  });
});
