import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  formatIpAddress,
  parseIpAddress,
} from '../../../packages/ipsec-node/src/net/ip-address.js';
import {
  type PacketDirection,
  packetOfFields,
  type SpdPacket,
} from '../../../packages/ipsec-node/src/spd/packet.js';
import { ANY_SELECTOR } from '../../../packages/ipsec-node/src/spd/selector.js';
import { searchSpd, type Spd } from '../../../packages/ipsec-node/src/spd/spd.js';
import type { SpdEntry } from '../../../packages/ipsec-node/src/spd/spd-entry.js';
import * as oracle from '../../oracle/spd.ts';
import { entries, packets } from './arbitrary.js';

const directions = fc.constantFrom<PacketDirection>('outbound', 'inbound');

function oracleEntry(entry: SpdEntry): oracle.OracleSpdEntry {
  const { selector, direction, name, action } = entry;
  const any = <T>(list: readonly T[]): 'ANY' | readonly T[] => (list.length === 0 ? 'ANY' : list);
  return {
    name,
    action,
    directions: direction === 'both' ? ['outbound', 'inbound'] : [direction],
    selectors: [
      {
        local: any(selector.local),
        remote: any(selector.remote),
        protocol: selector.protocol === 'any' ? 'ANY' : [selector.protocol],
        localPorts: any(selector.localPorts),
        remotePorts: any(selector.remotePorts),
        icmpTypes: any(selector.icmpTypes),
        icmpCodes: any(selector.icmpCodes),
      },
    ],
  };
}

function flowOf(packet: SpdPacket, direction: PacketDirection): oracle.Flow {
  const [source, destination] = [packet.source, packet.destination].map(formatIpAddress);
  const out = direction === 'outbound';
  return {
    local: (out ? source : destination) ?? '',
    remote: (out ? destination : source) ?? '',
    protocol: packet.protocol,
    localPort: out ? packet.ports?.source : packet.ports?.destination,
    remotePort: out ? packet.ports?.destination : packet.ports?.source,
    icmpType: packet.icmp?.type,
    icmpCode: packet.icmp?.code,
  };
}

describe('the ordered search', () => {
  it('decides as the oracle does', () => {
    fc.assert(
      fc.property(entries, directions, packets, (list, direction, packet) => {
        const decision = searchSpd({ version: 1, entries: list }, direction, packet);
        const wanted = oracle.searchSpd(
          list.map(oracleEntry),
          direction,
          flowOf(packet, direction),
        );
        expect(decision.action).toBe(wanted.action);
        expect(decision.entry?.name).toBe(wanted.entry?.name);
      }),
      { numRuns: 3000 },
    );
  });

  it('names for each earlier entry the fields that the oracle finds unmet', () => {
    const names: Record<string, string> = {
      local: 'local',
      remote: 'remote',
      protocol: 'protocol',
      localPorts: 'localPort',
      remotePorts: 'remotePort',
      icmpTypes: 'icmpType',
      icmpCodes: 'icmpCode',
    };
    fc.assert(
      fc.property(entries, directions, packets, (list, direction, packet) => {
        const decision = searchSpd({ version: 1, entries: list }, direction, packet);
        expect(decision.misses.map(({ index }) => index)).toEqual(
          Array.from({ length: decision.index }, (_, index) => index),
        );
        for (const { entry, mismatches } of decision.misses) {
          const fields = mismatches.map(({ field }) => field);
          if (fields[0] === 'direction') {
            expect(oracleEntry(entry).directions).not.toContain(direction);
            continue;
          }
          const [selector] = oracleEntry(entry).selectors;
          if (selector === undefined) throw new Error('an entry has one selector');
          const unmet = oracle.unmetFields(selector, flowOf(packet, direction));
          // Where the protocol differs, its ports and types are not looked at.
          const looked = fields.includes('protocol')
            ? unmet.filter((field) => ['local', 'remote', 'protocol'].includes(field))
            : unmet;
          expect(fields).toEqual(looked.map((field) => names[field]));
        }
      }),
      { numRuns: 3000 },
    );
  });

  const spd: Spd = {
    version: 1,
    entries: [
      {
        name: 'web',
        direction: 'outbound',
        selector: {
          ...ANY_SELECTOR,
          local: [{ from: '10.1.0.0', to: '10.1.255.255' }],
          protocol: 6,
          remotePorts: [
            { from: 443, to: 443 },
            { from: 8000, to: 8099 },
          ],
        },
        action: 'BYPASS',
        builtin: false,
      },
    ],
  };
  const packet = (fields: Partial<Parameters<typeof packetOfFields>[0]>): SpdPacket =>
    packetOfFields({
      source: '10.1.0.5',
      destination: '203.0.113.7',
      protocol: 6,
      hasPorts: true,
      sourcePort: 40_000,
      destinationPort: 443,
      icmpType: 0,
      icmpCode: 0,
      ...fields,
    });

  it('says what was found and what was wanted', () => {
    const decision = searchSpd(
      spd,
      'outbound',
      packet({ source: '10.9.0.5', destinationPort: 80 }),
    );
    expect(decision).toMatchObject({ action: 'DISCARD', entry: null, index: 1 });
    expect(decision.misses[0]?.mismatches).toEqual([
      { field: 'local', found: '10.9.0.5', wanted: '10.1.0.0/16' },
      { field: 'remotePort', found: '80', wanted: '443, 8000-8099' },
    ]);
  });

  it('takes local for the destination of an inbound packet', () => {
    expect(searchSpd(spd, 'inbound', packet({})).misses[0]?.mismatches).toEqual([
      { field: 'direction', found: 'inbound', wanted: 'outbound' },
    ]);
  });

  // RFC 4301 section 4.4.1.1: a fragment other than the first has no ports to compare.
  it('lets no port match a later fragment', () => {
    expect(searchSpd(spd, 'outbound', packet({ hasPorts: false })).misses[0]?.mismatches).toEqual([
      { field: 'remotePort', found: 'none in this packet', wanted: '443, 8000-8099' },
    ]);
  });

  it('keeps the families apart', () => {
    const everyIpv4 = [{ from: '0.0.0.0', to: '255.255.255.255' }];
    const entry = { ...spd.entries[0], name: 'v4', direction: 'both', action: 'BYPASS' } as const;
    const only4 = {
      version: 1,
      entries: [{ ...entry, builtin: false, selector: { ...ANY_SELECTOR, remote: everyIpv4 } }],
    };
    const ipv6 = {
      ...packet({}),
      source: parseIpAddress('::1'),
      destination: parseIpAddress('::1'),
    };
    expect(searchSpd(only4, 'outbound', ipv6).action).toBe('DISCARD');
    expect(searchSpd(only4, 'outbound', packet({})).action).toBe('BYPASS');
  });
});
