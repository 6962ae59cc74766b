import { expect, test } from 'vitest';
import { SaIndex } from '../../../packages/ipsec-node/src/ike/sa-index.js';

const sa = (id: number): { readonly id: number } => ({ id });

test('those of a name are told in the order of their numbers, whenever they were put there', () => {
  const index = new SaIndex();
  const [first, second, third] = [sa(1), sa(2), sa(3)];
  index.put(third, 'a');
  index.put(first, 'a');
  index.put(second, 'b');
  expect(index.of('a')).toEqual([first, third]);
  expect(index.of('b')).toEqual([second]);
  expect(index.of('c')).toEqual([]);
});

test('each is under one name alone', () => {
  const index = new SaIndex();
  const one = sa(1);
  index.put(one, 'a');
  index.put(one, 'b');
  index.put(one, 'b');
  expect(index.of('a')).toEqual([]);
  expect(index.of('b')).toEqual([one]);
});

test('what is gone leaves nothing behind', () => {
  const index = new SaIndex();
  const [one, other] = [sa(1), sa(2)];
  index.put(one, 'a');
  index.put(other, 'a');
  index.remove(one);
  index.remove(one);
  expect(index.of('a')).toEqual([other]);
  index.remove(other);
  expect(index.size).toBe(0);
});
