import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InternalError } from '../../../packages/ipsec-node/src/errors.js';
import {
  fragmentPlaintext,
  Reassembly,
  type ReassemblyResult,
} from '../../../packages/ipsec-node/src/ike/fragmentation.js';
import { IKE_LIMITS } from '../../../packages/ipsec-node/src/ike/limits.js';

const part = (value: number, len = 10): Uint8Array => new Uint8Array(len).fill(value);
const kinds = (results: readonly ReassemblyResult[]): readonly string[] =>
  results.map(({ kind }) => kind);

describe('fragmentPlaintext', () => {
  it('cuts into full parts and a rest that together are the whole', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 400 }),
        fc.integer({ min: 7, max: 80 }),
        (bytes, room) => {
          const parts = fragmentPlaintext(bytes, room);
          expect(Buffer.concat(parts)).toEqual(Buffer.from(bytes));
          expect(parts.slice(0, -1).every(({ length }) => length === room)).toBe(true);
          expect(parts).toHaveLength(Math.max(1, Math.ceil(bytes.length / room)));
        },
      ),
      { seed: 7383, numRuns: 200 },
    );
  });

  it('refuses to make more than 64 parts, or parts of nothing', () => {
    expect(fragmentPlaintext(part(1, 64), 1)).toHaveLength(64);
    expect(() => fragmentPlaintext(part(1, 65), 1)).toThrow(InternalError);
    for (const room of [0, -1, 1.5]) {
      expect(() => fragmentPlaintext(part(1), room)).toThrow(InternalError);
    }
  });
});

describe('Reassembly', () => {
  it('P19: is complete with the last missing fragment, whatever the order', () => {
    const order = fc.integer({ min: 1, max: 64 }).chain((total) =>
      fc.shuffledSubarray(
        Array.from({ length: total }, (_, index) => index),
        { minLength: total, maxLength: total },
      ),
    );
    fc.assert(
      fc.property(order, (indexes) => {
        const reassembly = new Reassembly();
        const parts = indexes.map((_, index) => part(index, index + 1));
        const results = indexes.map((index) =>
          reassembly.add(index + 1, parts.length, index === 0 ? 35 : 0, parts[index] ?? part(0), 0),
        );
        expect(kinds(results.slice(0, -1)).every((kind) => kind === 'incomplete')).toBe(true);
        expect(results.at(-1)).toEqual({
          kind: 'complete',
          firstPayload: 35,
          bytes: new Uint8Array(Buffer.concat(parts)),
        });
        expect(reassembly.byteLength).toBe(0);
      }),
      { seed: 19, numRuns: 200 },
    );
  });

  it('P17: refuses impossible numbers and keeps what it has', () => {
    const reassembly = new Reassembly();
    reassembly.add(1, 2, 35, part(1), 0);
    const wrong = [
      [0, 2],
      [3, 2],
      [1, 0],
      [0, 0],
      [-1, 2],
    ] as const;
    for (const [number, total] of wrong) {
      expect(reassembly.add(number, total, 0, part(9), 0).kind).toBe('refused');
    }
    expect(reassembly.add(2, 2, 0, part(2), 0).kind).toBe('complete');
  });

  it('RFC 7383 section 2.6: a smaller total and a fragment again are refused, a larger starts over', () => {
    const reassembly = new Reassembly();
    expect(reassembly.add(1, 3, 35, part(1), 0).kind).toBe('incomplete');
    expect(reassembly.add(2, 3, 0, part(2), 0).kind).toBe('incomplete');
    expect(reassembly.add(2, 3, 0, part(9), 0).kind).toBe('refused');
    expect(reassembly.add(1, 2, 35, part(9), 0).kind).toBe('refused');
    expect(reassembly.byteLength).toBe(20);
    expect(reassembly.add(4, 4, 0, part(4), 0).kind).toBe('incomplete');
    expect(reassembly.byteLength).toBe(10);
    expect(reassembly.add(3, 3, 0, part(3), 0).kind).toBe('refused');
    const rest = [1, 2, 3].map((number) =>
      reassembly.add(number, 4, number === 1 ? 36 : 0, part(number), 0),
    );
    expect(rest.at(-1)).toEqual({
      kind: 'complete',
      firstPayload: 36,
      bytes: new Uint8Array(Buffer.concat([1, 2, 3, 4].map((value) => part(value)))),
    });
    expect(reassembly.add(1, 4, 36, part(1), 0).kind).toBe('refused');
  });

  it('P18, D05: holds 64 fragments and 64 KiB at most, and for 30 seconds', () => {
    const reassembly = new Reassembly();
    expect(reassembly.add(1, IKE_LIMITS.fragmentMax + 1, 35, part(1), 0).kind).toBe('refused');
    expect(reassembly.add(1, IKE_LIMITS.fragmentMax, 35, part(1, 65_000), 0).kind).toBe(
      'incomplete',
    );
    expect(reassembly.add(2, IKE_LIMITS.fragmentMax, 0, part(2, 537), 0).kind).toBe('refused');
    expect(reassembly.add(2, IKE_LIMITS.fragmentMax, 0, part(2, 536), 0).kind).toBe('incomplete');
    expect(reassembly.byteLength).toBe(IKE_LIMITS.messageBytesMax);

    const late = new Reassembly();
    late.add(1, 2, 35, part(1), 1_000);
    expect(late.add(2, 2, 0, part(2), 1_000 + IKE_LIMITS.fragmentMs).kind).toBe('incomplete');
    expect(late.byteLength).toBe(10);
    expect(late.add(1, 2, 35, part(1), 1_001 + IKE_LIMITS.fragmentMs).kind).toBe('complete');
  });

  it('keeps copies: what was decrypted may be wiped', () => {
    const reassembly = new Reassembly();
    const first = part(1);
    reassembly.add(1, 2, 35, first, 0);
    first.fill(0);
    const result = reassembly.add(2, 2, 0, part(2), 0);
    expect(result.kind === 'complete' && result.bytes[0]).toBe(1);
  });
});
