import { describe, expect, it } from 'vitest';
import {
  bytes,
  count,
  json,
  oneLine,
  paint,
  span,
  spiText,
  table,
} from '../../../packages/ipsec-node/src/cli/render.js';
import type { Terminal } from '../../../packages/ipsec-node/src/cli/terminal.js';

function terminal(interactive: boolean): Terminal {
  return { out: () => {}, err: () => {}, interactive, columns: 80 };
}

describe('rendering', () => {
  it.each([
    [0, '0ms'],
    [999, '999ms'],
    [1000, '1s'],
    [61_000, '1m 1s'],
    [3_600_000, '1h'],
    [90_061_000, '1d 1h'],
  ])('writes %i ms as %s', (ms, text) => {
    expect(span(ms)).toBe(text);
  });

  it.each([
    [0n, '0 B'],
    [1023n, '1023 B'],
    [1024n, '1.0 KiB'],
    [1_727_600n, '1.6 MiB'],
    [2n ** 40n * 300n, '300 TiB'],
    [2n ** 64n, '16.0 EiB'],
  ])('writes %i bytes as %s', (value, text) => {
    expect(bytes(value)).toBe(text);
  });

  it('writes counts, SPIs and colours', () => {
    expect(count(2n ** 64n - 1n)).toBe('18 446 744 073 709 551 615');
    expect(spiText(256)).toBe('0x00000100');
    expect(paint(terminal(false), 'red', 'x')).toBe('x');
    expect(paint(terminal(true), 'red', 'x')).toBe('\u001b[31mx\u001b[0m');
  });

  it('lets no name move the cursor or write backwards', () => {
    expect(oneLine('a\u001b[2Jb\nc\u202ed')).toBe('a\ufffd[2Jb\ufffdc\ufffdd');
  });

  it('lines columns up, numbers to the right', () => {
    const text = table<readonly [string, number]>(
      terminal(false),
      [
        { title: 'NAME', text: ([name]) => name },
        { title: 'N', align: 'right', text: ([, value]) => `${value}` },
      ],
      [
        ['a', 1],
        ['longer', 1000],
      ],
    );
    expect(text).toBe('NAME       N\na          1\nlonger  1000\n');
  });

  it('writes JSON that keeps every digit', () => {
    expect(json({ a: 2n ** 64n - 1n, b: [1, 'x', null], c: undefined, d: {}, e: [] }, 0)).toBe(
      '{"a":18446744073709551615,"b":[1,"x",null],"d":{},"e":[]}\n',
    );
    const value = { list: [{ deep: { deeper: true } }], text: 'quote " and \n' };
    expect(json(value)).toBe(`${JSON.stringify(value, null, 2)}\n`);
    expect(json(new Date(0), 0)).toBe('"1970-01-01T00:00:00.000Z"\n');
  });
});
