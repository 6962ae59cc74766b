import { describe, expect, it } from 'vitest';
import {
  AUDIT_FULL_COUNT,
  AUDIT_SUMMARY_MS,
  AuditLog,
} from '../../../packages/ipsec-node/src/daemon/audit.js';
import { createLogger, type LogRecord } from '../../../packages/ipsec-node/src/log.js';
import { ManualClock } from './manual-clock.js';

function event(reason: string, count = 1n) {
  return {
    kind: 'audit' as const,
    reason,
    spi: 0xc000_0001,
    sequenceNumber: 7n,
    source: '198.51.100.2',
    destination: '192.0.2.1',
    count,
  };
}

function audit() {
  const clock = new ManualClock();
  const lines: LogRecord[] = [];
  const log = createLogger('info', (record) => lines.push(record));
  return { clock, lines, audit: new AuditLog(clock, log) };
}

describe('audit log', () => {
  it('writes the first out in full and sums the rest up every ten seconds', () => {
    const { clock, lines, audit: records } = audit();
    for (let index = 0; index < AUDIT_FULL_COUNT + 500; index += 1) {
      records.record(event('integrity', 2n));
    }
    expect(lines).toHaveLength(AUDIT_FULL_COUNT);
    expect(lines[0]).toMatchObject({
      level: 'warn',
      fields: { reason: 'integrity', spi: '0xc0000001', sequenceNumber: 7n, count: 2n },
    });
    clock.advance(AUDIT_SUMMARY_MS);
    expect(lines.slice(AUDIT_FULL_COUNT)).toMatchObject([
      { fields: { reason: 'integrity', count: 1000n, seconds: 10 } },
    ]);
    records.record(event('integrity'));
    clock.advance(AUDIT_SUMMARY_MS);
    expect(lines.at(-1)).toMatchObject({ fields: { count: 1n } });
  });

  it('counts each reason apart', () => {
    const { lines, audit: records } = audit();
    for (const reason of ['integrity', 'replay_duplicate']) {
      for (let index = 0; index < AUDIT_FULL_COUNT; index += 1) records.record(event(reason));
    }
    expect(lines).toHaveLength(2 * AUDIT_FULL_COUNT);
  });

  it('starts anew after a quiet interval, and then has no timer left', () => {
    const { clock, lines, audit: records } = audit();
    for (let index = 0; index < AUDIT_FULL_COUNT + 1; index += 1)
      records.record(event('integrity'));
    clock.advance(3 * AUDIT_SUMMARY_MS);
    expect(clock.pending).toBe(0);
    records.record(event('integrity'));
    expect(lines.at(-1)?.message).toBe('Refused a packet (audit).');
  });

  it('keeps no more reasons than its bound', () => {
    const { lines, audit: records } = audit();
    for (let index = 0; index < 1000; index += 1) records.record(event(`reason-${index}`));
    expect(new Set(lines.map(({ fields }) => fields['reason'])).size).toBe(129);
    expect(lines.length).toBeLessThanOrEqual(129 * AUDIT_FULL_COUNT);
  });

  it('keeps addresses out of the log, which says who speaks with whom only at debug', () => {
    const { lines, audit: records } = audit();
    records.record(event('integrity'));
    expect(
      JSON.stringify(lines[0]?.fields, (_key, value) => (typeof value === 'bigint' ? '' : value)),
    ).not.toContain('198.51.100.2');
  });

  it('writes what is left when it closes', () => {
    const { clock, lines, audit: records } = audit();
    for (let index = 0; index < AUDIT_FULL_COUNT + 3; index += 1)
      records.record(event('integrity'));
    records.close();
    records.close();
    expect(lines.at(-1)).toMatchObject({ fields: { count: 3n } });
    expect(clock.pending).toBe(0);
  });
});
