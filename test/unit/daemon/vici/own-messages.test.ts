import { describe, expect, it } from 'vitest';
import { explain } from '../../../../packages/ipsec-node/src/config/explain.js';
import {
  decodeExplanation,
  encodeExplanation,
} from '../../../../packages/ipsec-node/src/daemon/vici/explain-message.js';
import { section } from '../../../../packages/ipsec-node/src/daemon/vici/codec.js';
import {
  decodeCounters,
  decodePolicy,
  decodeSa,
  decodeSaDrops,
  decodeStatus,
  encodeCounters,
  encodePolicy,
  encodeSa,
  encodeSaDrops,
  encodeStatus,
  ForeignAnswerError,
} from '../../../../packages/ipsec-node/src/daemon/vici/own-messages.js';
import { LAN, manualSa, SPD } from '../sample.js';

describe("messages of the product's own commands", () => {
  it('carry a status both ways', () => {
    const status = {
      name: 'hq',
      state: 'failed' as const,
      version: '0.1.0',
      pid: 42,
      since: new Date(0),
      uptimeMs: 12.5,
      control: null,
      onStop: 'guard' as const,
      unprotected: ['eth0', 'eth1'],
      ikePort: 500,
      port: 4500,
      facts: {
        interface: 'ipsec0',
        mtu: 1438,
        offload: { tunSegmentation: true, udpGso: false, udpGro: true },
        notes: ['UDP GSO is off'],
        guardTakenOver: true,
      },
      spdVersion: 3,
      policyCount: 12,
      saCount: 2,
      faults: ['worker a: b', 'worker c: d'],
      lostEventCount: 2n ** 60n,
    };
    const { facts, since, ...rest } = status;
    const { offload, ...found } = facts;
    expect(decodeStatus(encodeStatus(status))).toEqual({
      ...rest,
      ...found,
      ...offload,
      since: since.toISOString(),
    });
  });

  it('carry an SA both ways, with every digit', () => {
    const { key: _key, tfcPadToBytes: _pad, dontFragment: _df, ...sa } = manualSa('inbound', 4096);
    const state = {
      sequenceNumber: 2n ** 64n - 1n,
      reservedUpTo: null,
      packets: 2n ** 63n,
      bytes: 0n,
      ageMs: 1,
      idleMs: null,
      drops: { replay_duplicate: 7n },
    };
    const { id, entry, selector: _selector, ...rest } = sa;
    const whole = {
      ...id,
      ...rest,
      ...state,
      policy: entry,
      selector: 'local 10.1.0.0/16, remote 10.2.0.0/16, 10.3.0.10-10.3.0.99',
    };
    const nobody = { peer: null, ikeSa: null, child: null, childId: null, rekeyInMs: null };
    expect(decodeSa(encodeSa({ ...sa, ...state }))).toEqual({ ...whole, ...nobody });
    const owner = { peer: 'branch', ikeSa: 3, child: entry, childId: 7, rekeyInMs: 12 };
    expect(decodeSa(encodeSa({ ...sa, ...state }, owner))).toEqual({ ...whole, ...owner });
  });

  it('carry policies and counters both ways', () => {
    const policy = {
      index: 1,
      name: 'lan',
      direction: 'both' as const,
      action: 'PROTECT' as const,
      selector: LAN,
      builtin: false,
      saCount: 2,
    };
    expect(decodePolicy(encodePolicy(policy))).toEqual({
      ...policy,
      selector: 'local 10.1.0.0/16, remote 10.2.0.0/16, 10.3.0.10-10.3.0.99',
    });
    const counters = { counters: { esp_sealed: 5n }, drops: {} };
    expect(decodeCounters(encodeCounters({ ...counters, dropsBySa: [] }))).toEqual(counters);
    const row = { id: { direction: 'inbound' as const, spi: 256 }, drops: { integrity: 1n } };
    expect(decodeSaDrops(encodeSaDrops(row))).toEqual({ ...row.id, drops: row.drops });
  });

  it.each([
    [{ direction: 'out', protocol: 'tcp', source: '10.1.0.5:1', destination: '10.2.0.7:80' }],
    [{ direction: 'in', protocol: 'tcp', source: '10.9.0.5:1', destination: '10.2.0.7:80' }],
    [{ direction: 'out', protocol: 'icmp', source: '10.1.0.5', destination: '10.3.0.11' }],
  ] as const)('carry an explanation both ways: %j', (query) => {
    const { id, entry, suite, local, remote, encapsulation } = manualSa('outbound', 4097);
    const sa = { id, entry, suite, local, remote, encapsulation };
    const explanation = explain(SPD, [sa], query);
    const { entries, reply } = encodeExplanation(explanation);
    expect(decodeExplanation(entries, reply)).toEqual(explanation);
    const nothing = explain({ version: 1, entries: [] }, [], query);
    const sent = encodeExplanation(nothing);
    expect(decodeExplanation(sent.entries, sent.reply)).toEqual(nothing);
  });

  it('of another version are refused, not half understood', () => {
    expect(() => decodeStatus(section([['name', 'hq']]))).toThrow(ForeignAnswerError);
    expect(() => decodeSa(section([['spi', '-1']]))).toThrow(ForeignAnswerError);
  });
});
