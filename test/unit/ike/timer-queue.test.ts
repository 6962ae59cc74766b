import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TimerGroup, TimerQueue } from '../../../packages/ipsec-node/src/ike/timer-queue.js';

describe('the queue of timers', () => {
  it('runs what is due, by moment and then in the order in which it was added', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ at: fc.nat(50), isCancelled: fc.boolean() }), { maxLength: 300 }),
        fc.nat(50),
        (timers, now) => {
          const queue = new TimerQueue();
          const ran: number[] = [];
          const handles = timers.map(({ at }, index) => queue.add(at, () => ran.push(index)));
          timers.forEach(({ isCancelled }, index) => {
            if (!isCancelled) return;
            handles[index]?.cancel();
            handles[index]?.cancel();
          });
          const alive = timers
            .map((timer, index) => ({ ...timer, index }))
            .filter(({ isCancelled }) => !isCancelled)
            .sort((a, b) => a.at - b.at || a.index - b.index);
          expect(queue.size).toBe(alive.length);
          expect(queue.next()).toBe(alive[0]?.at ?? null);
          queue.runDue(now);
          expect(ran).toEqual(alive.filter(({ at }) => at <= now).map(({ index }) => index));
          expect(queue.size).toBe(alive.length - ran.length);
        },
      ),
    );
  });

  it('does not run what was called off while another was running', () => {
    const queue = new TimerQueue();
    const ran: string[] = [];
    queue.add(1, () => {
      ran.push('first');
      second.cancel();
    });
    const second = queue.add(1, () => ran.push('second'));
    queue.runDue(1);
    expect(ran).toEqual(['first']);
    expect(queue.size).toBe(0);
  });
});

describe('the timers of one thing', () => {
  const of = (name: string): { queue: TimerQueue; group: TimerGroup<string>; ran: string[] } => {
    const queue = new TimerQueue();
    return { queue, group: new TimerGroup(queue, name), ran: [] };
  };

  it('give what is due the thing that they are of, once', () => {
    const { queue, group, ran } = of('sa 7');
    group.set('rekey', 5, (subject) => ran.push(`rekey ${subject}`));
    group.set('expire', 9, (subject) => ran.push(`expire ${subject}`));
    expect(group.has('rekey')).toBe(true);
    queue.runDue(5);
    queue.runDue(6);
    expect(ran).toEqual(['rekey sa 7']);
    expect([group.has('rekey'), group.has('expire')]).toEqual([false, true]);
  });

  it('are one of each name: another takes the place of the one before', () => {
    const { queue, group, ran } = of('a');
    group.set('liveness', 5, () => ran.push('first'));
    group.set('liveness', 8, () => ran.push('second'));
    expect(queue.size).toBe(1);
    queue.runDue(10);
    expect(ran).toEqual(['second']);
  });

  it('may be set again by what is due', () => {
    const { queue, group, ran } = of('a');
    const again = (): void => {
      ran.push('again');
      if (ran.length < 3) group.set('again', ran.length * 10, again);
    };
    group.set('again', 0, again);
    queue.runDue(100);
    expect(ran).toHaveLength(3);
    expect(group.has('again')).toBe(false);
  });

  it('are called off one by one, or all of them', () => {
    const { queue, group, ran } = of('a');
    for (const name of ['a', 'b', 'c', 'd']) group.set(name, 1, () => ran.push(name));
    group.cancel('c');
    group.cancel('a');
    group.cancel('nobody');
    expect(['a', 'b', 'c', 'd'].map((name) => group.has(name))).toEqual([
      ...[false, true, false, true],
    ]);
    expect(queue.size).toBe(2);
    group.clear();
    expect(queue.size).toBe(0);
    queue.runDue(1);
    expect(ran).toEqual([]);
    group.set('b', 2, () => ran.push('b'));
    queue.runDue(2);
    expect(ran).toEqual(['b']);
  });
});
