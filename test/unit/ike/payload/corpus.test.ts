import { isDeepStrictEqual } from 'node:util';
import { describe, expect, it } from 'vitest';
import { IKE_LIMITS } from '../../../../packages/ipsec-node/src/ike/limits.js';
import { formatNotify, NOTIFY } from '../../../../packages/ipsec-node/src/ike/notify.js';
import {
  encodeMessage,
  parseDatagram,
  parsePayloads,
} from '../../../../packages/ipsec-node/src/ike/payload/codec.js';
import type {
  Payload,
  ReceivedMessage,
} from '../../../../packages/ipsec-node/src/ike/payload/payload.js';
import {
  type ChosenProposal,
  chooseProposal,
} from '../../../../packages/ipsec-node/src/ike/proposal.js';
import type { Proposal } from '../../../../packages/ipsec-node/src/sad/proposal.js';
import type { Transform } from '../../../../packages/ipsec-node/src/sad/transform.js';
import {
  type CorpusEntry,
  isExchangeLevel,
  mutate,
  readIkeCorpus,
  seededNumbers,
} from '../corpus.ts';

const corpus = readIkeCorpus();
const byExpectation = (kind: CorpusEntry['expect']['kind']): readonly CorpusEntry[] =>
  corpus.filter((entry) => entry.expect.kind === kind);

const transform = (
  type: Transform['type'],
  id: number,
  keyBits: number | null = null,
): Transform => ({ type, id, keyBits });

/** What the corpus says its responder has. */
const RESPONDER: Proposal = {
  protocol: 'ike',
  transforms: [
    transform('encryption', 20, 256),
    transform('prf', 5),
    ...[31, 19, 14, 15].map((group) => transform('key-exchange', group)),
  ],
};

function parsed(entry: CorpusEntry): ReceivedMessage {
  const result = parseDatagram(entry.message);
  if (!result.ok) throw new Error(`${entry.id}: ${result.fault.reason}`);
  return result.value;
}

function chosen(message: ReceivedMessage): {
  choice: ChosenProposal | null;
  method: number | null;
} {
  const sa = message.payloads.find((payload) => payload.type === 'sa');
  const ke = message.payloads.find((payload) => payload.type === 'ke');
  const method = ke?.method ?? null;
  const rules = { preferKeyExchange: method, ignoreKeyExchange: false };
  return { choice: chooseProposal([RESPONDER], sa?.proposals ?? [], rules), method };
}

const methodOf = (choice: ChosenProposal | null): number | undefined =>
  choice?.proposal.transforms.find(({ type }) => type === 'key-exchange')?.id;

describe('the corpus of malformed IKE_SA_INIT requests', () => {
  it('is the whole of it', () => {
    expect(corpus).toHaveLength(95);
    expect(new Set(corpus.map(({ id }) => id)).size).toBe(95);
  });

  it.each(byExpectation('ignore').filter((entry) => !isExchangeLevel(entry)))(
    '$id is refused in silence or as INVALID_SYNTAX: $why',
    ({ message }) => {
      const result = parseDatagram(message);
      expect(result.ok).toBe(false);
      if (!result.ok) expect([null, NOTIFY.INVALID_SYNTAX]).toContain(result.fault.notify);
    },
  );

  it.each(byExpectation('ignore').filter(isExchangeLevel))(
    '$id is a message that the exchange refuses, not the codec: $why',
    (entry) => {
      expect(parsed(entry).encrypted).toBeNull();
    },
  );

  it.each(byExpectation('respond'))('$id is answered: $why', (entry) => {
    const { choice, method } = chosen(parsed(entry));
    expect(method).not.toBeNull();
    expect(methodOf(choice)).toBe(method);
  });

  it.each(byExpectation('fail'))('$id has a key exchange that is tried: $why', (entry) => {
    const { choice, method } = chosen(parsed(entry));
    expect(methodOf(choice)).toBe(method);
  });

  it.each(byExpectation('notify'))('$id is answered $expect.name: $why', (entry) => {
    const result = parseDatagram(entry.message);
    if (!result.ok) {
      const { notify, data, header } = result.fault;
      expect(header).not.toBeNull();
      expect({ kind: 'notify', name: formatNotify(notify ?? 0) }).toEqual(entry.expect);
      // RFC 7296 section 3.10.1: the data is the type of the payload.
      const number = Number(/^unknown-payload-(\d+)-crit1$/.exec(entry.id)?.[1]);
      expect([...data]).toEqual([number]);
      return;
    }
    const { choice, method } = chosen(result.value);
    const name =
      choice === null
        ? 'NO_PROPOSAL_CHOSEN'
        : methodOf(choice) === method
          ? 'none'
          : 'INVALID_KE_PAYLOAD';
    expect({ kind: 'notify', name }).toEqual(entry.expect);
  });

  it.each(byExpectation('bounded'))('$id is refused past the limit: $why', ({ message }) => {
    const result = parseDatagram(message);
    expect(!result.ok && result.fault.notify).toBe(NOTIFY.NO_PROPOSAL_CHOSEN);
  });
});

/** Every object that a message was made into. */
function sizeOf(payloads: readonly Payload[]): number {
  return payloads.reduce((size, payload) => {
    switch (payload.type) {
      case 'sa':
        return payload.proposals.reduce((sum, { transforms }) => sum + 1 + transforms.length, size);
      case 'delete':
        return size + payload.spis.length;
      case 'ts-initiator':
      case 'ts-responder':
        return size + payload.selectors.length;
      case 'configuration':
        return size + payload.attributes.length;
      default:
        return size + 1;
    }
  }, payloads.length);
}

/** What was read and has no form to be sent in: nothing of ours is made of it. */
function hasNoForm(payload: Payload): boolean {
  if (payload.type === 'sa') {
    return payload.proposals.some(
      (each) => each.unknownTransformCount > 0 || each.transforms.length === 0,
    );
  }
  if (payload.type === 'delete') return payload.protocolId !== 1 && payload.spis.length === 0;
  return 'unknownCount' in payload && payload.unknownCount > 0;
}

describe('mutations', () => {
  it('P20, P21, P22, P24: 100,000 of the corpus are read without a throw, into no more than they hold', () => {
    const random = seededNumbers(7296);
    const outcomes = { ok: 0, refused: 0, inside: 0 };
    const wrong: string[] = [];
    for (let round = 0; round < 100_000; round += 1) {
      const entry = corpus[random(corpus.length)];
      if (entry === undefined) throw new Error('no entry');
      const bytes = mutate(entry.message, random);
      const outside = parseDatagram(bytes);
      const inside = parsePayloads(random(60), bytes.subarray(28));
      if (outside.ok) {
        outcomes.ok += 1;
        const { payloads } = outside.value;
        const isBounded =
          payloads.length <= IKE_LIMITS.payloadMax && sizeOf(payloads) <= bytes.length / 4;
        if (!isBounded) wrong.push(`${round}: ${sizeOf(payloads)} of ${bytes.length} bytes`);
      } else {
        outcomes.refused += 1;
        if (outside.fault.reason === '') wrong.push(`${round}: no reason`);
      }
      if (inside.ok) outcomes.inside += 1;
    }
    expect(wrong).toEqual([]);
    // All three happen, or the mutations would try nothing.
    expect(Math.min(outcomes.ok, outcomes.refused, outcomes.inside)).toBeGreaterThan(500);
  });

  it('P09: what can be read can be written, and reads the same', () => {
    const random = seededNumbers(9);
    const small = corpus.filter(({ message }) => message.length < 2_000);
    let written = 0;
    const wrong: string[] = [];
    for (let round = 0; round < 30_000; round += 1) {
      const entry = small[random(small.length)];
      if (entry === undefined) throw new Error('no entry');
      const first = parseDatagram(mutate(entry.message, random));
      if (!first.ok || first.value.encrypted !== null) continue;
      const { header, payloads } = first.value;
      if (payloads.some(hasNoForm)) continue;
      written += 1;
      const again = parseDatagram(encodeMessage(header, payloads));
      const value = again.ok
        ? { header: again.value.header, payloads: again.value.payloads }
        : null;
      if (!isDeepStrictEqual(value, { header, payloads })) wrong.push(`${round} of ${entry.id}`);
    }
    expect(wrong).toEqual([]);
    expect(written).toBeGreaterThan(1_000);
  });
});
