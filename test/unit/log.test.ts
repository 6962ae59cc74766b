import { describe, expect, it } from 'vitest';
import { createLogger, type LogRecord } from '../../packages/ipsec-node/src/log.js';

describe('a logger', () => {
  it('shows no key at any level, and no address but at debug', () => {
    const records: LogRecord[] = [];
    const log = createLogger('debug', (record) => records.push(record));
    const fields = { key: 'k', remote: '192.0.2.1', bytes: Uint8Array.of(1, 2), count: 3 };
    log.info('a', fields);
    log.debug('b', fields);
    expect(records.map((record) => record.fields)).toEqual([
      { key: '[redacted]', bytes: '[2 bytes]', count: 3 },
      { key: '[redacted]', remote: '192.0.2.1', bytes: '[2 bytes]', count: 3 },
    ]);
  });

  it('is silent below its threshold', () => {
    const records: LogRecord[] = [];
    const log = createLogger('warn', (record) => records.push(record));
    log.info('a');
    log.debug('b');
    log.warn('c');
    log.error('d');
    expect(records.map(({ level }) => level)).toEqual(['warn', 'error']);
  });
});
