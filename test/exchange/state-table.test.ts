/**
 * Every exchange in every phase of an IKE SA, for both roles: requests and responses with the message
 * ID that is due, with an old one and with one to come, all authentic. What is expected is written
 * from the RFC, by sections.
 */
import { describe, expect, it } from 'vitest';
import { NOTIFY } from '../../packages/ipsec-node/src/ike/notify.js';
import type { Payload } from '../../packages/ipsec-node/src/ike/payload/payload.js';
import { esp, GCM256, ESN } from './peers.js';
import { EXCHANGES, type Phase, PHASES, type Role, Stage, type Told } from './stage.js';

const bytes = (length: number, fill: number): Uint8Array => new Uint8Array(length).fill(fill);

/** A request that is right in itself, where there is one. */
function request(stage: Stage, exchange: string): readonly Payload[] {
  const genuine = stage.genuine(exchange, false);
  switch (exchange) {
    case 'IKE_AUTH':
      return genuine ?? [];
    case 'CREATE_CHILD_SA': {
      const [ours, theirs] = stage.victim === 'b' ? [1, 2] : [2, 1];
      const range = (net: number) => ({
        protocol: 0,
        startPort: 0,
        endPort: 65_535,
        family: 4 as const,
        from: `10.${net}.0.0`,
        to: `10.${net}.255.255`,
      });
      return [
        {
          type: 'sa',
          proposals: [
            {
              ...esp(GCM256, ESN),
              number: 1,
              protocolId: 3,
              unknownTransformCount: 0,
              spi: Uint8Array.of(9, 9, 9, 9),
            },
          ],
        },
        { type: 'nonce', data: bytes(32, 7) },
        { type: 'ts-initiator', selectors: [range(ours)], unknownCount: 0 },
        { type: 'ts-responder', selectors: [range(theirs)], unknownCount: 0 },
      ];
    }
    case 'IKE_FOLLOWUP_KE':
      return [
        { type: 'ke', method: 36, data: bytes(32, 7) },
        {
          type: 'notify',
          protocolId: 0,
          spi: bytes(0, 0),
          notify: NOTIFY.ADDITIONAL_KEY_EXCHANGE,
          data: bytes(16, 7),
        },
      ];
    case 'IKE_INTERMEDIATE':
      return [{ type: 'ke', method: 36, data: bytes(32, 7) }];
    default:
      return [];
  }
}

/** `answer, what is left of the IKE SA`. */
type Row = Readonly<Record<string, string>>;
/** For every exchange that a row does not name. */
const ELSE = 'else';

/**
 * Requests with the message ID that is due. `=`: the IKE SA is as it was.
 *
 * INVALID_SYNTAX is for every error that has no notification of its own (section 3.10.1), may only be
 * said of and in a protected message, and ends the IKE SA (section 2.21.3).
 */
const REQUESTS: Readonly<Record<Role, Readonly<Record<Phase, Row>>>> = {
  initiator: {
    // There are no keys: nothing is authentic yet.
    'half open': { [ELSE]: 'nothing, =' },
    // The peer has not proved who it is (2.21.2). What it asks comes again after its answer (2.1).
    authenticating: { [ELSE]: 'nothing, =' },
    established: {
      // 1.3 and 1.4.
      CREATE_CHILD_SA: 'ok, established 2',
      INFORMATIONAL: 'ok, =',
      // RFC 9370 section 2.2.4: for one that nothing waits for.
      IKE_FOLLOWUP_KE: 'STATE_NOT_FOUND, =',
      [ELSE]: 'INVALID_SYNTAX, gone',
    },
    'rekeying the child': {
      // 2.25.1 is about a rekey of that child; a new one is made as always.
      CREATE_CHILD_SA: 'ok, established 2',
      INFORMATIONAL: 'ok, =',
      IKE_FOLLOWUP_KE: 'STATE_NOT_FOUND, =',
      [ELSE]: 'INVALID_SYNTAX, gone',
    },
    'rekeying the IKE SA': {
      // 2.25.2.
      CREATE_CHILD_SA: 'TEMPORARY_FAILURE, =',
      INFORMATIONAL: 'ok, =',
      IKE_FOLLOWUP_KE: 'STATE_NOT_FOUND, =',
      [ELSE]: 'INVALID_SYNTAX, gone',
    },
    rekeyed: {
      // 2.25: it cannot be done here any more.
      CREATE_CHILD_SA: 'TEMPORARY_FAILURE, =',
      INFORMATIONAL: 'ok, =',
      IKE_FOLLOWUP_KE: 'STATE_NOT_FOUND, =',
      [ELSE]: 'INVALID_SYNTAX, gone',
    },
    deleting: {
      // 2.25.2.
      CREATE_CHILD_SA: 'TEMPORARY_FAILURE, =',
      INFORMATIONAL: 'ok, =',
      IKE_FOLLOWUP_KE: 'STATE_NOT_FOUND, =',
      [ELSE]: 'INVALID_SYNTAX, gone',
    },
    // 2.21.4: in clear, in answer to a request alone.
    closed: { [ELSE]: 'INVALID_IKE_SPI, gone' },
  },
  responder: {
    // 1.2: IKE_AUTH is what follows; 1.4: nothing else does before it.
    'half open': { IKE_AUTH: 'ok, established 1', [ELSE]: 'INVALID_SYNTAX, gone' },
    authenticating: { IKE_AUTH: 'ok, established 1', [ELSE]: 'INVALID_SYNTAX, gone' },
    established: {
      CREATE_CHILD_SA: 'ok, established 2',
      INFORMATIONAL: 'ok, =',
      IKE_FOLLOWUP_KE: 'STATE_NOT_FOUND, =',
      [ELSE]: 'INVALID_SYNTAX, gone',
    },
    'rekeying the child': {
      CREATE_CHILD_SA: 'ok, established 2',
      INFORMATIONAL: 'ok, =',
      IKE_FOLLOWUP_KE: 'STATE_NOT_FOUND, =',
      [ELSE]: 'INVALID_SYNTAX, gone',
    },
    'rekeying the IKE SA': {
      CREATE_CHILD_SA: 'TEMPORARY_FAILURE, =',
      INFORMATIONAL: 'ok, =',
      IKE_FOLLOWUP_KE: 'STATE_NOT_FOUND, =',
      [ELSE]: 'INVALID_SYNTAX, gone',
    },
    rekeyed: {
      CREATE_CHILD_SA: 'TEMPORARY_FAILURE, =',
      INFORMATIONAL: 'ok, =',
      IKE_FOLLOWUP_KE: 'STATE_NOT_FOUND, =',
      [ELSE]: 'INVALID_SYNTAX, gone',
    },
    deleting: {
      CREATE_CHILD_SA: 'TEMPORARY_FAILURE, =',
      INFORMATIONAL: 'ok, =',
      IKE_FOLLOWUP_KE: 'STATE_NOT_FOUND, =',
      [ELSE]: 'INVALID_SYNTAX, gone',
    },
    closed: { [ELSE]: 'INVALID_IKE_SPI, gone' },
  },
};

/** How an IKE SA is before anything is said to it. */
const BEFORE: Readonly<Record<Phase, string>> = {
  'half open': 'connecting 0',
  authenticating: 'connecting 0',
  established: 'established 1',
  'rekeying the child': 'established 1',
  'rekeying the IKE SA': 'established 1',
  rekeyed: 'rekeyed 0',
  deleting: 'deleting 1',
  closed: 'gone',
};

/** Whose answer is due, by phase; the RFC's arrows of sections 1.2 to 1.4. */
const PENDING: Readonly<Record<Role, Partial<Record<Phase, string>>>> = {
  initiator: {
    'half open': 'IKE_SA_INIT',
    authenticating: 'IKE_AUTH',
    'rekeying the child': 'CREATE_CHILD_SA',
    'rekeying the IKE SA': 'CREATE_CHILD_SA',
    deleting: 'INFORMATIONAL',
  },
  responder: {
    'rekeying the child': 'CREATE_CHILD_SA',
    'rekeying the IKE SA': 'CREATE_CHILD_SA',
    deleting: 'INFORMATIONAL',
  },
};

const found = ({ answer, after }: Told): string => `${answer}, ${after}`;

for (const role of ['initiator', 'responder'] as const) {
  describe(`an IKE SA of its ${role}`, () => {
    for (const phase of PHASES) {
      const before = BEFORE[phase];
      const unchanged = `nothing, ${before}`;

      it(`that is ${phase}: what is due is answered as it deserves`, () => {
        const row = REQUESTS[role][phase];
        const table = Object.fromEntries(
          EXCHANGES.map((exchange) => {
            const stage = new Stage(phase, role);
            const header = stage.header(exchange, false, stage.nextId);
            const told = stage.say(header, request(stage, exchange));
            if (told.answer !== 'nothing') {
              // Section 2.21.4: unprotected only outside of an IKE SA; 2.2: the same message ID.
              expect(told.isProtected, exchange).toBe(phase !== 'closed');
              expect(told.messageId, exchange).toBe(stage.nextId);
            }
            return [exchange, found(told)];
          }),
        );
        const expected = Object.fromEntries(
          EXCHANGES.map((exchange) => [
            exchange,
            (row[exchange] ?? row[ELSE])?.replace('=', before),
          ]),
        );
        expect(table).toEqual(expected);
      });

      it(`that is ${phase}: an old request or one to come changes nothing`, () => {
        // A closed one has no window; INVALID_IKE_SPI is the same for all of its requests.
        if (phase === 'closed') return;
        for (const exchange of EXCHANGES) {
          // Section 2.3: a window of one. Section 2.1: an old one that is not the same again.
          for (const offset of [-1, 1, 1_000]) {
            const stage = new Stage(phase, role);
            const header = stage.header(exchange, false, stage.nextId + offset);
            const told = stage.say(header, request(stage, exchange));
            expect(found(told), `${exchange} ${offset}`).toBe(unchanged);
          }
        }
      });

      it(`that is ${phase}: a response that nothing waits for changes nothing`, () => {
        const due = PENDING[role][phase];
        for (const exchange of EXCHANGES) {
          for (const offset of [-1, 0, 1]) {
            const stage = new Stage(phase, role);
            expect(stage.pending === null).toBe(due === undefined);
            if (exchange === due && offset === 0) continue;
            const id = (stage.pending?.header.messageId ?? 0) + offset;
            const told = stage.say(stage.header(exchange, true, id), []);
            // Section 2.21.4: a response is never answered.
            expect(found(told), `${exchange} ${offset}`).toBe(unchanged);
          }
        }
      });
    }
  });
}

describe('the answer that is due', () => {
  it('to IKE_SA_INIT is not believed where it cannot be right (2.21.1)', () => {
    const stage = new Stage('half open', 'initiator');
    const header = { ...stage.header('IKE_SA_INIT', true, 0), spiResponder: 5n };
    expect(found(stage.say(header, []))).toBe('nothing, connecting 0');
    expect(stage.two.ikeSas('a')).toHaveLength(1);
  });

  it('to IKE_AUTH establishes the IKE SA', () => {
    const stage = new Stage('authenticating', 'initiator');
    const payloads = stage.genuine('IKE_AUTH', true) ?? [];
    expect(found(stage.say(stage.header('IKE_AUTH', true, 1), payloads))).toBe(
      'nothing, established 1',
    );
  });

  for (const role of ['initiator', 'responder'] as const) {
    it(`to a Delete of the IKE SA closes it, of its ${role}`, () => {
      const stage = new Stage('deleting', role);
      const id = stage.pending?.header.messageId ?? 0;
      expect(found(stage.say(stage.header('INFORMATIONAL', true, id), []))).toBe('nothing, gone');
    });

    it(`to a rekey that cannot wait is later tried again, of its ${role} (2.25)`, () => {
      const stage = new Stage('rekeying the child', role);
      const id = stage.pending?.header.messageId ?? 0;
      const failure: Payload = {
        type: 'notify',
        protocolId: 0,
        spi: bytes(0, 0),
        notify: NOTIFY.TEMPORARY_FAILURE,
        data: bytes(0, 0),
      };
      const sent = stage.two.sent.length;
      expect(found(stage.say(stage.header('CREATE_CHILD_SA', true, id), [failure]))).toBe(
        'nothing, established 1',
      );
      // "It MUST NOT immediately retry the operation".
      stage.two.runNow(1_000);
      expect(stage.two.sent).toHaveLength(sent);
      stage.two.runNow(10_000);
      expect(stage.two.sent.length).toBeGreaterThan(sent);
    });
  }
});
