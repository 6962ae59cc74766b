import { describe, expect, it } from 'vitest';
import {
  hidingEntry,
  withLoaded,
} from '../../../../packages/ipsec-node/src/daemon/ike/loaded-policies.ts';
import { parseAddressRange } from '../../../../packages/ipsec-node/src/net/address-range.ts';
import {
  ANY_SELECTOR,
  type Selector,
  selectorRangeOf,
} from '../../../../packages/ipsec-node/src/spd/selector.ts';
import type { SpdAction, SpdEntry } from '../../../../packages/ipsec-node/src/spd/spd-entry.ts';

function entry(
  name: string,
  action: SpdAction,
  local: string,
  remote: string,
  change: Partial<Selector> = {},
): SpdEntry {
  const ranges = (text: string) =>
    text === 'any' ? [] : text.split(' ').map((each) => selectorRangeOf(parseAddressRange(each)));
  const selector = { ...ANY_SELECTOR, local: ranges(local), remote: ranges(remote), ...change };
  return { name, direction: 'both', action, selector, builtin: false };
}

const LAN = entry('lan', 'PROTECT', '10.1.0.0/24', '10.2.0.0/24');
const LOADED = entry('loaded', 'PROTECT', '10.1.0.0/24', '10.3.0.0/24');
const WEB = entry('web', 'BYPASS', 'any', 'any', {
  protocol: 6,
  remotePorts: [{ from: 443, to: 443 }],
});
const REST = entry('rest', 'BYPASS', 'any', 'any');

const order = (file: readonly SpdEntry[]): string =>
  withLoaded(file, [LOADED])
    .map(({ name }) => name)
    .join(' ');

describe('loaded policies', () => {
  it.each([
    ['of a file without a policy for everything', [LAN, WEB], 'lan web loaded'],
    ['of a file with a last bypass', [LAN, WEB, REST], 'lan web loaded rest'],
    [
      'where the last one is written as prefixes of each family',
      [LAN, entry('rest', 'DISCARD', '0.0.0.0/0', '0.0.0.0/0 ::/0')],
      'lan loaded rest',
    ],
    [
      'where each direction has one',
      [
        LAN,
        { ...REST, name: 'out', direction: 'outbound' as const },
        { ...REST, name: 'in', direction: 'inbound' as const },
      ],
      'lan loaded out in',
    ],
    ['of an empty file', [], 'loaded'],
    ['of a file for everything alone', [REST], 'loaded rest'],
    [
      'where one local side is all that differs',
      [entry('out', 'BYPASS', '10.0.0.0/8', 'any')],
      'out loaded',
    ],
  ])('stand before what speaks of everything: %s', (_title, file, names) => {
    expect(order(file)).toBe(names);
  });

  it.each([
    ['nothing', [LAN, WEB, REST], null],
    ['a wider bypass', [entry('ten', 'BYPASS', '10.0.0.0/8', '10.0.0.0/8'), REST], 'ten'],
    ['a wider protection', [entry('all', 'PROTECT', '10.1.0.0/24', 'any')], 'all'],
    ['half of it', [entry('half', 'DISCARD', '10.1.0.0/24', '10.3.0.0/25')], null],
    [
      'one direction of it',
      [{ ...entry('out', 'DISCARD', '10.1.0.0/24', 'any'), direction: 'outbound' as const }],
      null,
    ],
  ])('are told what hides them: %s', (_title, file, name) => {
    expect(hidingEntry(file, LOADED)?.name ?? null).toBe(name);
  });
});
