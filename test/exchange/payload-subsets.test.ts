/**
 * Every subset of the payloads that a message must have is left out, and every one of them comes
 * twice. What is expected is what RFC 7296 says of such a message, not what was seen.
 */
import { describe, expect, it } from 'vitest';
import { PAYLOAD_NUMBERS } from '../../packages/ipsec-node/src/ike/payload/payload.js';
import { impair, type Place } from './impair.js';

const NUMBERS = {
  SA: PAYLOAD_NUMBERS.sa,
  KE: PAYLOAD_NUMBERS.ke,
  N: PAYLOAD_NUMBERS.nonce,
  IDi: PAYLOAD_NUMBERS['id-initiator'],
  IDr: PAYLOAD_NUMBERS['id-responder'],
  AUTH: PAYLOAD_NUMBERS.authentication,
  TSi: PAYLOAD_NUMBERS['ts-initiator'],
  TSr: PAYLOAD_NUMBERS['ts-responder'],
} as const;
type Name = keyof typeof NUMBERS;

interface Rule {
  /** Sections 1.2, 1.3 and appendix C. */
  readonly required: readonly Name[];
  /** The answer, and IKE SAs and children of who got the message in the end. */
  readonly without: (missing: ReadonlySet<Name>) => string;
  readonly twice: string;
}

const CHILD: readonly Name[] = ['SA', 'TSi', 'TSr'];
const some = (missing: ReadonlySet<Name>, names: readonly Name[]): boolean =>
  names.some((name) => missing.has(name));
const all = (missing: ReadonlySet<Name>, names: readonly Name[]): boolean =>
  names.every((name) => missing.has(name));

const RULES: Partial<Record<Place, Rule>> = {
  'IKE_SA_INIT request': {
    required: ['SA', 'KE', 'N'],
    // 2.21.1: nothing is said to who is not known. What is right comes after it.
    without: () => 'nothing 1/1',
    twice: 'nothing 1/1',
  },
  'IKE_SA_INIT response': {
    required: ['SA', 'KE', 'N'],
    // 2.21.1: not believed at once; there is nothing better for a minute, though.
    without: () => 'nothing 0/0',
    // In clear and malformed, it is as if it had not come.
    twice: 'nothing 1/1',
  },
  'IKE_AUTH request': {
    required: ['IDi', 'AUTH', ...CHILD],
    without: (missing) => {
      // 2.21.2: "MUST only lead to [...] INVALID_SYNTAX".
      if (missing.has('IDi')) return 'INVALID_SYNTAX 0/0';
      if (some(missing, CHILD) && !all(missing, CHILD)) return 'INVALID_SYNTAX 0/0';
      // 2.16: without AUTH it asks for EAP, which is not there.
      if (missing.has('AUTH')) return 'AUTHENTICATION_FAILED 0/0';
      // RFC 6023: an IKE SA alone.
      return 'ok 1/0';
    },
    twice: 'INVALID_SYNTAX 0/0',
  },
  'IKE_AUTH response': {
    required: ['IDr', 'AUTH', ...CHILD],
    // 2.15: without proof there is no IKE SA. 1.2, 2.21.2: without the child there is one.
    without: (missing) => (some(missing, ['IDr', 'AUTH']) ? 'nothing 0/0' : 'nothing 1/0'),
    twice: 'nothing 0/0',
  },
  'child rekey request': {
    required: ['N', ...CHILD],
    // 2.21.3: an error is told, and INVALID_SYNTAX is fatal for both.
    without: () => 'INVALID_SYNTAX 0/0',
    twice: 'INVALID_SYNTAX 0/0',
  },
  'child rekey response': {
    required: ['N', ...CHILD],
    // 2.21: the bad SA is deleted; that which it was to replace stays.
    without: () => 'nothing 1/1',
    twice: 'nothing 0/0',
  },
  'IKE rekey request': {
    required: ['SA', 'KE', 'N'],
    without: () => 'INVALID_SYNTAX 0/0',
    twice: 'INVALID_SYNTAX 0/0',
  },
  'IKE rekey response': {
    required: ['SA', 'KE', 'N'],
    // 2.21.3: the two have not the same state: it is cleaned up.
    without: () => 'nothing 0/0',
    twice: 'nothing 0/0',
  },
};
const isPlace = (name: string): name is Place => Object.hasOwn(RULES, name);

function outcome(place: Place, copies: (number: number) => number): string {
  const found = impair(place, 'a', (message) => ({
    ...message,
    frames: message.frames.flatMap((frame) =>
      Array.from({ length: copies(frame.number) }, () => frame),
    ),
  }));
  if (found === null) throw new Error('nothing was changed');
  expect(found.faults).toEqual([]);
  return `${found.answer} ${found.ikeSas}/${found.children}`;
}

describe('a message', () => {
  for (const place of Object.keys(RULES).filter(isPlace)) {
    const rule = RULES[place];
    if (rule === undefined) continue;
    const { required, without, twice } = rule;

    it(`${place}: without any of what it must have`, () => {
      const found: Record<string, string> = {};
      const expected: Record<string, string> = {};
      for (let subset = 1; subset < 1 << required.length; subset += 1) {
        const names = required.filter((_, bit) => (subset & (1 << bit)) !== 0);
        const missing = new Set(names);
        const numbers = new Set<number>(names.map((name) => NUMBERS[name]));
        found[names.join()] = outcome(place, (number) => (numbers.has(number) ? 0 : 1));
        expected[names.join()] = without(missing);
      }
      expect(found).toEqual(expected);
    });

    it(`${place}: with one of them twice`, () => {
      const found = required.map((name) =>
        outcome(place, (number) => (number === NUMBERS[name] ? 2 : 1)),
      );
      expect(found).toEqual(required.map(() => twice));
    });
  }
});
