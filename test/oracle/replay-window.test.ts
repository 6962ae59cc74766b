import { describe, expect, it } from 'vitest';
import { OracleReplayWindow } from './replay-window.ts';
import { readVectors } from './vector-file.ts';

const { vectors } = readVectors('antireplay-scenarios');

describe('anti-replay scenarios', () => {
  it.each(vectors.map((v) => [v.text('id'), v] as const))('%s', (_id, vector) => {
    const window = new OracleReplayWindow(
      vector.number('window'),
      vector.flag('esn'),
      BigInt(vector.number('initial_right_edge')),
    );
    for (const step of vector.list('steps')) {
      if (!Array.isArray(step)) throw new Error('a step is a list');
      const [sent, valid, expected, rightEdge] = step.map((item: unknown) => item);
      const sequence = BigInt(Number(sent));
      const outcome = window.receive(
        Number(sequence % 2n ** 32n),
        (inferred) => valid === true && inferred === sequence,
      );
      expect([sequence, outcome === 'accept' ? 'accept' : `drop:${outcome}`]).toEqual([
        sequence,
        expected,
      ]);
      expect(window.rightEdge).toBe(BigInt(Number(rightEdge)));
    }
  });
});

describe('inference of the high half', () => {
  it('refuses the subspace before the first', () => {
    const window = new OracleReplayWindow(64, true, 3n);
    expect(window.receive(0xffff_fff0, () => true)).toBe('too-old');
    expect(window.rightEdge).toBe(3n);
  });

  it('takes a window restored without bits as wholly seen', () => {
    const window = new OracleReplayWindow(64, false, 100n, 'seen');
    expect(window.receive(99, () => true)).toBe('duplicate');
    expect(window.receive(101, () => true)).toBe('accept');
    expect(window.receive(99, () => true)).toBe('duplicate');
    expect(window.receive(37, () => true)).toBe('too-old');
  });
});
