import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  ConfigError,
  ERROR_CODES,
  InternalError,
  IpsecError,
  PeerError,
  ResourceError,
  UsageError,
} from '../../packages/ipsec-node/src/errors.js';

const CLASSES = {
  config: 'ConfigError',
  usage: 'UsageError',
  peer: 'PeerError',
  resource: 'ResourceError',
  internal: 'InternalError',
} as const;

describe('docs/errors.md', () => {
  it('has the rows of the table in errors.ts, and no others', () => {
    const text = readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8');
    const documented = text.split('\n').filter((line) => line.startsWith('| `IPSEC_ERR_'));
    const known = Object.entries(ERROR_CODES).map(
      ([code, { kind, meaning, remedy }]) =>
        `| \`${code}\` | \`${CLASSES[kind]}\` | ${meaning} | ${remedy} |`,
    );
    expect(documented).toEqual(known);
  });
});

describe('an error', () => {
  it('has a code, a class, fields and a cause', () => {
    const cause = new Error('below');
    const error = new ResourceError('IPSEC_ERR_HOST', 'It failed.', {
      cause,
      fields: { path: '/x', bytes: 7n },
    });
    expect(error).toBeInstanceOf(IpsecError);
    expect(error).toMatchObject({ name: 'ResourceError', code: 'IPSEC_ERR_HOST', cause });
    expect(JSON.parse(JSON.stringify(error))).toEqual({
      code: 'IPSEC_ERR_HOST',
      message: 'It failed.',
      fields: { path: '/x', bytes: '7' },
    });
    expect('cause' in new UsageError('IPSEC_ERR_USAGE', 'No.')).toBe(false);
  });

  it('of each class has its own name', () => {
    expect(new ConfigError('IPSEC_ERR_CONFIG_INVALID', '', []).name).toBe('ConfigError');
    expect(new PeerError('IPSEC_ERR_PEER_PROTOCOL', '', 7).notify).toBe(7);
    expect(new InternalError('IPSEC_ERR_INTERNAL', '').name).toBe('InternalError');
  });
});
