import { describe, expect, it } from 'vitest';
import { echoRequest, ipv4Packet, parsePacket, tcpPacket } from './packet.ts';
import {
  anySelector,
  flowOf,
  type OracleSpdEntry,
  prefixRange,
  searchSpd,
  selectorMatches,
  unmetFields,
} from './spd.ts';

const flow = {
  local: '10.1.0.5',
  remote: '10.2.0.9',
  protocol: 6,
  localPort: 40_000,
  remotePort: 443,
  icmpType: undefined,
  icmpCode: undefined,
};

describe('prefixes as ranges', () => {
  it.each([
    ['10.1.0.0/16', '10.1.0.0', '10.1.255.255'],
    ['10.1.2.3', '10.1.2.3', '10.1.2.3'],
    ['0.0.0.0/0', '0.0.0.0', '255.255.255.255'],
    ['192.0.2.255/31', '192.0.2.254', '192.0.2.255'],
    [
      '2001:db8::/47',
      '2001:0db8:0000:0000:0000:0000:0000:0000',
      '2001:0db8:0001:ffff:ffff:ffff:ffff:ffff',
    ],
  ])('%s', (prefix, from, to) => {
    expect(prefixRange(prefix)).toEqual({ from, to });
  });
});

describe('one selector', () => {
  it('names each field that is not met', () => {
    const selector = {
      ...anySelector,
      local: [prefixRange('10.9.0.0/16')],
      protocol: [17],
      remotePorts: [{ from: 444, to: 445 }],
    };
    expect(unmetFields(selector, flow)).toEqual(['local', 'protocol', 'remotePorts']);
  });

  it('never matches an address of the other family', () => {
    const selector = { ...anySelector, local: [prefixRange('::/0')] };
    expect(selectorMatches(selector, flow)).toBe(false);
  });

  it('lets ANY match a field that is not there, OPAQUE that alone, a range never', () => {
    const fragment = { ...flow, localPort: undefined, remotePort: undefined };
    const range = [{ from: 0, to: 65_535 }];
    expect(selectorMatches(anySelector, fragment)).toBe(true);
    expect(selectorMatches({ ...anySelector, remotePorts: 'OPAQUE' }, fragment)).toBe(true);
    expect(selectorMatches({ ...anySelector, remotePorts: 'OPAQUE' }, flow)).toBe(false);
    expect(selectorMatches({ ...anySelector, remotePorts: range }, fragment)).toBe(false);
    expect(selectorMatches({ ...anySelector, remotePorts: range }, flow)).toBe(true);
  });
});

describe('the ordered search', () => {
  const entries: readonly OracleSpdEntry[] = [
    {
      name: 'ping',
      action: 'BYPASS',
      directions: ['outbound', 'inbound'],
      selectors: [{ ...anySelector, protocol: [1], icmpTypes: [{ from: 8, to: 8 }] }],
    },
    {
      name: 'in only',
      action: 'DISCARD',
      directions: ['inbound'],
      selectors: [{ ...anySelector, remote: [prefixRange('10.2.0.0/24')] }],
    },
    {
      name: 'branch',
      action: 'PROTECT',
      directions: ['outbound', 'inbound'],
      selectors: [
        {
          ...anySelector,
          local: [prefixRange('10.1.0.0/16')],
          remote: [prefixRange('10.2.0.0/16')],
        },
      ],
    },
  ];

  it('takes the first match of the direction, and discards without one', () => {
    expect(searchSpd(entries, 'outbound', flow)).toMatchObject({ action: 'PROTECT', index: 2 });
    expect(searchSpd(entries, 'inbound', flow)).toMatchObject({ action: 'DISCARD', index: 1 });
    expect(searchSpd(entries, 'outbound', { ...flow, remote: '10.3.0.1' })).toEqual({
      action: 'DISCARD',
      entry: undefined,
      index: undefined,
    });
  });

  it('reads the flow from packets, local and remote by direction', () => {
    const ends = { source: '10.2.0.9', destination: '10.1.0.5' };
    const ping = parsePacket(echoRequest(ends.source, ends.destination, Buffer.alloc(4)));
    expect(searchSpd(entries, 'inbound', flowOf(ping, 'inbound'))).toMatchObject({ index: 0 });
    const tcp = parsePacket(
      tcpPacket({ ...ends, sourcePort: 443, destinationPort: 40_000 }, Buffer.alloc(0)),
    );
    expect(flowOf(tcp, 'inbound')).toEqual(flow);
    const later = parsePacket(
      ipv4Packet({ ...ends, protocol: 6, payload: Buffer.alloc(8), fragmentOffset: 8 }),
    );
    expect(flowOf(later, 'inbound')).toMatchObject({ protocol: 6, remotePort: undefined });
  });
});
