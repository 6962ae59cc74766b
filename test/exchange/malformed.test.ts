/**
 * Floods of what is no message, or no right one, at a live responder: it never throws, keeps nothing
 * past its limits, and gives nobody more than he sent.
 */
import { describe, expect, it } from 'vitest';
import type { IkeAction, IkeDatagram } from '../../packages/ipsec-node/src/ike/action.js';
import { IkeEndpoint } from '../../packages/ipsec-node/src/ike/endpoint.js';
import { IKE_LIMITS, type IkeLimits } from '../../packages/ipsec-node/src/ike/limits.js';
import { formatNotify } from '../../packages/ipsec-node/src/ike/notify.js';
import { parseDatagram } from '../../packages/ipsec-node/src/ike/payload/codec.js';
import { computeKeyExchange } from '../../packages/ipsec-node/src/ike/crypto/key-exchange.js';
import { mutate, readIkeCorpus, seededNumbers } from '../unit/ike/corpus.js';
import { ECP256, GCM256, ike, MODP2048, MODP3072, padEntry, PRF256, X25519 } from './peers.js';
import { seededRandom } from './simulator.js';
import { toyKeyExchange } from './toy-key-exchange.js';

const corpus = readIkeCorpus();
const short = corpus.filter(({ message }) => message.length <= 2_000);
const MUTATIONS = 60_000;

class Victim {
  readonly endpoint: IkeEndpoint;
  now = 1_000;
  readonly work = toyKeyExchange(seededRandom('work'));

  constructor(
    limits: Partial<IkeLimits> = {},
    groups: readonly (typeof X25519)[] = [X25519, ECP256],
  ) {
    const entry = padEntry('b', {
      hosts: [{ kind: 'any' }],
      proposals: [ike(GCM256, PRF256, ...groups)],
    });
    this.endpoint = new IkeEndpoint({
      pad: { entries: [entry] },
      ports: { ike: 500, nat: 4500 },
      random: seededRandom('victim'),
      limits,
    });
  }

  /** What is sent in answer to a datagram. */
  receive(payload: Uint8Array, remote = '192.0.2.1', remotePort = 500): readonly IkeDatagram[] {
    const actions = this.endpoint.handleDatagram(
      { local: '192.0.2.2', localPort: 500, remote, remotePort, payload },
      this.now,
    );
    return this.perform(actions);
  }

  /** The same with the product's key exchanges. */
  async receiveReal(payload: Uint8Array): Promise<readonly IkeDatagram[]> {
    const path = { local: '192.0.2.2', localPort: 500, remote: '192.0.2.1', remotePort: 500 };
    let actions = this.endpoint.handleDatagram({ ...path, payload }, this.now);
    const sent: IkeDatagram[] = [];
    while (actions.length > 0) {
      const next: IkeAction[] = [];
      for (const action of actions) {
        if (action.kind === 'send') sent.push(action.datagram);
        if (action.kind !== 'effect' || action.effect.kind !== 'compute') continue;
        const { task } = action.effect;
        if (task.kind !== 'respond') throw new Error(`a stranger asks for ${task.kind}`);
        const result = await computeKeyExchange(task);
        next.push(...this.endpoint.handleResult(action.id, { kind: 'compute', result }, this.now));
      }
      actions = next;
    }
    return sent;
  }

  perform(actions: readonly IkeAction[]): readonly IkeDatagram[] {
    return actions.flatMap((action) => {
      if (action.kind === 'send') return [action.datagram];
      if (action.kind !== 'effect' || action.effect.kind !== 'compute') return [];
      const result = this.work(action.effect.task);
      if (result === null) return [];
      return this.perform(
        this.endpoint.handleResult(action.id, { kind: 'compute', result }, this.now),
      );
    });
  }

  pass(span: number): void {
    this.now += span;
    this.perform(this.endpoint.handleTimeout(this.now));
  }
}

const sizeOf = (datagrams: readonly IkeDatagram[]): number =>
  datagrams.reduce((sum, { payload }) => sum + payload.length, 0);
/** What an answer says first: its notification, or that it is one with keys. */
function kindOf(payload: Uint8Array | null): string {
  if (payload === null) return 'nothing';
  const parsed = parseDatagram(payload);
  if (!parsed.ok) throw new Error(parsed.fault.reason);
  const { payloads } = parsed.value;
  if (payloads.some(({ type }) => type === 'sa')) return 'IKE_SA_INIT';
  const [notify] = payloads.flatMap((each) => (each.type === 'notify' ? [each.notify] : []));
  return notify === undefined ? 'an answer without a notification' : formatNotify(notify);
}

const control = corpus.find(({ id }) => id === 'ok');
if (control === undefined) throw new Error('the corpus has no control');
/** A first message from nobody in particular, every time another. */
function request(number: number): Buffer {
  const bytes = Buffer.from(control?.message ?? []);
  bytes.writeUInt32BE(number + 1, 0);
  return bytes;
}

describe('a flood of malformed first messages', { timeout: 600_000 }, () => {
  for (const [title, limits, ratio] of [
    ['under cookies', { cookieThreshold: 0 }, 1],
    ['without cookies', {}, 3],
  ] as const) {
    it(`of 60,000 mutations ${title} gets at most ${ratio} octet for one, and no exception`, () => {
      const victim = new Victim(limits);
      const random = seededNumbers(ratio);
      const faults: string[] = [];
      let answered = 0;
      let tried = 0;
      for (let count = 0; count < MUTATIONS; count += 1) {
        // Long ones take long: they are mutated more seldom, and not left out.
        const from = count % 100 === 0 ? corpus : short;
        const { message } = from[random(from.length)] ?? control;
        tried += 1;
        const payload = mutate(message, random);
        const remote = `198.51.100.${random(256)}`;
        const answers = victim.receive(payload, remote, 1 + random(65_535));
        answered += answers.length;
        if (count % 100 === 0) victim.pass(1_000);
        const { halfOpen, ikeSas, ikeSpis, firstMessages, effects, spis } = victim.endpoint.usage();
        // INVALID_IKE_SPI and INVALID_MAJOR_VERSION have 36 octets, and a limit of their own.
        const isFair = sizeOf(answers) <= Math.max(37, ratio * payload.length);
        const isBounded = halfOpen <= (ratio === 1 ? 0 : IKE_LIMITS.cookieThreshold);
        const isClean = ikeSas === halfOpen && ikeSpis === halfOpen && firstMessages === halfOpen;
        if (answers.length > 1 || !isFair || !isBounded || !isClean || effects + spis > 0) {
          faults.push(`${count}: ${payload.toString('hex')}`);
        }
      }
      expect(faults).toEqual([]);
      expect(answered).toBeGreaterThan(100);
      // Both floods together: 100,000 and more.
      expect(tried * 2).toBeGreaterThanOrEqual(100_000);
      victim.pass(60_000);
      expect(Object.values(victim.endpoint.usage()).every((size) => size === 0)).toBe(true);
    });
  }

  it('of every entry of the corpus, each alone, gets the answer that the corpus wants', async () => {
    const wrong: string[] = [];
    for (const { id, message, expect: wanted } of corpus) {
      const victim = new Victim({}, [X25519, ECP256, MODP2048, MODP3072]);
      const [answer] = await victim.receiveReal(message);
      const found = kindOf(answer?.payload ?? null);
      const isRefused = ['nothing', 'INVALID_IKE_SPI', 'INVALID_SYNTAX'].includes(found);
      const isRight = {
        ignore: isRefused,
        respond: found === 'IKE_SA_INIT' || found === 'INVALID_KE_PAYLOAD',
        notify: wanted.kind === 'notify' && found === wanted.name,
        fail: isRefused,
        bounded: found === 'IKE_SA_INIT' || found === 'NO_PROPOSAL_CHOSEN',
      }[wanted.kind];
      const keeps = victim.endpoint.usage().ikeSas;
      if (!isRight || keeps !== (found === 'IKE_SA_INIT' ? 1 : 0)) {
        wrong.push(`${id}: ${found}, ${keeps} IKE SAs, not ${wanted.kind}`);
      }
    }
    // The corpus answers a first message that says it is not the initiator's, against RFC 7296
    // section 3.1: the bit MUST be set in what the original initiator sends.
    expect(wrong).toEqual(['flags-0x10: nothing, 0 IKE SAs, not respond']);
  });

  it('of every entry of the corpus, each alone, leaves at most one half-open IKE SA', () => {
    for (const { message } of corpus) {
      const victim = new Victim();
      expect(victim.receive(message).length).toBeLessThanOrEqual(1);
      expect(victim.endpoint.usage().ikeSas).toBeLessThanOrEqual(1);
      victim.pass(60_000);
      expect(Object.values(victim.endpoint.usage()).every((size) => size === 0)).toBe(true);
    }
  });
});

describe('a flood of good first messages', () => {
  it('from one source gets cookies after the fourth, and others none', () => {
    const victim = new Victim();
    const notes = Array.from({ length: 10 }, (_, number) => {
      const [answer] = victim.receive(request(number), '203.0.113.5', 1_000 + number);
      return answer === undefined ? 0 : answer.payload.length;
    });
    const { cookieThresholdPerSource } = IKE_LIMITS;
    expect(victim.endpoint.halfOpenCount).toBe(cookieThresholdPerSource);
    // A cookie is header, notification and its data: shorter than any answer with a key exchange.
    expect(notes.map((size) => size < 100)).toEqual(notes.map((_, at) => at >= 4));
    victim.receive(request(99), '203.0.113.6');
    expect(victim.endpoint.halfOpenCount).toBe(cookieThresholdPerSource + 1);
  });

  it('from one IPv6 /64 counts as one source', () => {
    const victim = new Victim();
    for (let number = 0; number < 20; number += 1) {
      victim.receive(request(number), `2001:db8:1:2::${(number + 1).toString(16)}`);
    }
    expect(victim.endpoint.halfOpenCount).toBe(IKE_LIMITS.cookieThresholdPerSource);
  });

  it('is answered with a cookie from the 65th half-open on, and with a right one goes on', () => {
    const victim = new Victim();
    for (let number = 0; number < 500; number += 1) {
      victim.receive(request(number), `198.51.${number >> 8}.${number & 255}`);
    }
    expect(victim.endpoint.halfOpenCount).toBe(IKE_LIMITS.cookieThreshold);
    const [answer] = victim.receive(request(1_000), '203.0.113.9', 4_321);
    const cookie = answer?.payload.subarray(28) ?? new Uint8Array(0);
    const again = request(1_000);
    const withCookie = Buffer.concat([again.subarray(0, 28), cookie, again.subarray(28)]);
    withCookie.writeUInt8(41, 16);
    withCookie.writeUInt8(33, 28);
    withCookie.writeUInt32BE(withCookie.length, 24);
    // Bound to address and port (RFC 7296 section 2.6).
    victim.receive(withCookie, '203.0.113.9', 4_322);
    victim.receive(withCookie, '203.0.113.10', 4_321);
    expect(victim.endpoint.halfOpenCount).toBe(IKE_LIMITS.cookieThreshold);
    victim.receive(withCookie, '203.0.113.9', 4_321);
    expect(victim.endpoint.halfOpenCount).toBe(IKE_LIMITS.cookieThreshold + 1);
  });

  it('past the hard limit is not answered at all', () => {
    const victim = new Victim({ cookieThreshold: 1_000, halfOpenMax: 50 });
    const answers = Array.from({ length: 80 }, (_, number) =>
      victim.receive(request(number), `198.51.100.${number}`),
    );
    expect(victim.endpoint.usage()).toMatchObject({ halfOpen: 50, ikeSas: 50, firstMessages: 50 });
    expect(answers.slice(50).every((list) => list.length === 0)).toBe(true);
    victim.pass(IKE_LIMITS.halfOpenMs + 1);
    expect(victim.endpoint.usage()).toMatchObject({ halfOpen: 0, ikeSas: 0, timers: 0 });
  });

  it('that comes again a thousand times makes one IKE SA, and the same answer', () => {
    const victim = new Victim();
    const [first] = victim.receive(request(1));
    for (let count = 0; count < 1_000; count += 1) {
      const [again] = victim.receive(request(1));
      expect(
        Buffer.compare(again?.payload ?? Buffer.alloc(0), first?.payload ?? Buffer.alloc(0)),
      ).toBe(0);
    }
    expect(victim.endpoint.usage()).toMatchObject({ halfOpen: 1, ikeSas: 1 });
  });
});

describe('messages of IKE SAs that nobody has', () => {
  const unknown = (flags: number): Buffer => {
    const bytes = Buffer.alloc(28);
    bytes.fill(7, 0, 16);
    bytes.set([0, 0x20, 37, flags], 16);
    bytes.writeUInt32BE(28, 24);
    return bytes;
  };

  it('get INVALID_IKE_SPI once a second for a source, and ten times over all', () => {
    const victim = new Victim();
    const count = (remote: (at: number) => string): number =>
      Array.from({ length: 1_000 }, (_, at) => victim.receive(unknown(0x08), remote(at))).flat()
        .length;
    expect(count(() => '192.0.2.77')).toBe(1);
    victim.pass(1_000);
    expect(count((at) => `198.51.${at >> 8}.${at & 255}`)).toBe(10);
    expect(Object.values(victim.endpoint.usage()).every((size) => size === 0)).toBe(true);
  });

  it('are not answered where they are responses (RFC 7296 section 2.21.4)', () => {
    const victim = new Victim();
    expect(victim.receive(unknown(0x28))).toEqual([]);
    expect(victim.receive(unknown(0x20))).toEqual([]);
  });
});

/** Type INVALID_KE_PAYLOAD and the group that is wanted. */
const WANTED = '0011001f';

describe('a group number', { timeout: 600_000 }, () => {
  it('in KE is answered with the wanted one, the answer, or nothing', () => {
    const victim = new Victim({ cookieThreshold: 100, cookieThresholdPerSource: 100 });
    const at = (control?.message ?? Buffer.alloc(0)).indexOf(Buffer.from([0, 31, 0, 0]));
    expect(at).toBeGreaterThan(28);
    const wrong: number[] = [];
    // All that a registry may name, those of CVE-2014-9221 among them, and every 97th of the rest.
    for (let group = 0; group < 65_536; group += group < 2_048 ? 1 : 97) {
      const bytes = request(group);
      bytes.writeUInt16BE(group, at);
      const answers = victim.receive(bytes);
      // 19 is ours too, and 32 octets are no value of it.
      const wanted = group === 31 || group === 19 ? null : WANTED;
      const told = answers.map(({ payload }) => Buffer.from(payload.subarray(34)).toString('hex'));
      if (wanted !== null && told.join() !== wanted) wrong.push(group);
    }
    expect(wrong).toEqual([]);
    expect(victim.endpoint.usage().halfOpen).toBe(1);
  });
});
