import { describe, expect, it } from 'vitest';
import {
  addressBytes,
  addressText,
  echoRequest,
  internetChecksum,
  ipv4Packet,
  ipv6Packet,
  MalformedPacket,
  parsePacket,
  tcpPacket,
  udpPacket,
  upperChecksumValid,
  withEcn,
} from './packet.ts';

describe('addresses', () => {
  it.each([
    ['192.0.2.1', 'c0000201', '192.0.2.1'],
    ['::', '0'.repeat(32), '0:0:0:0:0:0:0:0'],
    ['::1', `${'0'.repeat(31)}1`, '0:0:0:0:0:0:0:1'],
    ['2001:db8::1:2', '20010db8000000000000000000010002', '2001:db8:0:0:0:0:1:2'],
    ['fe80::', `fe80${'0'.repeat(28)}`, 'fe80:0:0:0:0:0:0:0'],
  ])('%s', (text, hex, canonical) => {
    expect(addressBytes(text).toString('hex')).toBe(hex);
    expect(addressText(addressBytes(text))).toBe(canonical);
  });

  it.each(['1.2.3', '1.2.3.256', '1:2:3', '1::2::3:4:5:6:7:8', 'g::'])('refuses %s', (text) => {
    expect(() => addressBytes(text)).toThrow();
  });
});

describe('checksums', () => {
  it('agrees with the example of RFC 1071 section 3', () => {
    expect(internetChecksum(Buffer.from('0001f203f4f5f6f7', 'hex'))).toBe(0xffff - 0xddf2);
  });

  it('agrees with packets that a kernel made', () => {
    // The ICMP echo of RFC 7634 appendix A.
    const echo =
      '45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec1000073627' +
      '08090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637';
    const packet = Buffer.from(echo, 'hex');
    expect(parsePacket(packet).headerChecksumValid).toBe(true);
    expect(upperChecksumValid(packet)).toBe(true);
    packet.writeUInt8(0, 30);
    expect(upperChecksumValid(packet)).toBe(false);
  });
});

describe('what is built is read back', () => {
  const four = { source: '10.0.0.1', destination: '10.0.0.2' };
  const six = { source: '2001:db8::1', destination: '2001:db8::2' };
  const ports = { sourcePort: 1234, destinationPort: 80 };

  it.each([four, six])('UDP, TCP and ICMP of $source', (addresses) => {
    const data = Buffer.from('odd');
    const udp = udpPacket({ ...addresses, ...ports }, data, { trafficClass: 0xb9, ttl: 9 });
    expect(parsePacket(udp)).toMatchObject({ ...ports, protocol: 17, ecn: 1, dscp: 46, ttl: 9 });
    const tcp = tcpPacket({ ...addresses, ...ports }, data, {
      flags: 2,
      options: Buffer.from([2, 4, 5, 0xb4]),
    });
    expect(parsePacket(tcp)).toMatchObject({ ...ports, protocol: 6 });
    const echo = echoRequest(addresses.source, addresses.destination, data);
    expect(parsePacket(echo).icmpType).toBe(addresses === four ? 8 : 128);
    for (const packet of [udp, tcp, echo]) {
      expect(upperChecksumValid(packet)).toBe(true);
      const marked = withEcn(packet, 3);
      expect(parsePacket(marked)).toMatchObject({ ecn: 3, headerChecksumValid: true });
      expect(upperChecksumValid(marked)).toBe(true);
    }
  });

  it('fragments', () => {
    const later = ipv4Packet({
      ...four,
      protocol: 17,
      payload: Buffer.alloc(16),
      fragmentOffset: 1480,
      moreFragments: true,
      identification: 7,
    });
    expect(parsePacket(later)).toMatchObject({
      fragmentOffset: 1480,
      moreFragments: true,
      identification: 7,
      sourcePort: undefined,
    });
    const header = Buffer.from([17, 0, 0x05, 0xc9, 0, 0, 0, 7]);
    const later6 = ipv6Packet({
      ...six,
      nextHeader: 44,
      payload: Buffer.concat([header, Buffer.alloc(16)]),
    });
    expect(parsePacket(later6)).toMatchObject({
      protocol: 17,
      fragmentOffset: 1480,
      moreFragments: true,
      identification: 7,
      sourcePort: undefined,
    });
  });

  it.each([
    ['short', Buffer.alloc(19, 0x45)],
    ['version 5', Buffer.alloc(20, 0x55)],
    [
      'Total Length past the end',
      ipv4Packet({ ...four, protocol: 17, payload: Buffer.alloc(9) }).subarray(0, 28),
    ],
    [
      'Payload Length past the end',
      ipv6Packet({ ...six, nextHeader: 17, payload: Buffer.alloc(9) }).subarray(0, 48),
    ],
  ])('refuses %s', (_name, bytes) => {
    expect(() => parsePacket(bytes)).toThrow(MalformedPacket);
  });
});
