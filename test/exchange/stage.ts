/**
 * One side in a phase of an IKE SA, and somebody who has the other's keys and says to it what he
 * likes. Nothing else is delivered from then on.
 */
import type { IkeDatagram } from '../../packages/ipsec-node/src/ike/action.js';
import type { IkeLimits } from '../../packages/ipsec-node/src/ike/limits.js';
import { formatNotify } from '../../packages/ipsec-node/src/ike/notify.js';
import {
  EXCHANGE_NUMBERS,
  type IkeHeader,
  type Payload,
} from '../../packages/ipsec-node/src/ike/payload/payload.js';
import { Eavesdropper, type OpenMessage } from './eavesdropper.js';
import { DELIVERED, other, type Side, type Simulation } from './simulator.js';
import { toySimulation } from './wire.js';

export const PHASES = [
  'half open',
  'authenticating',
  'established',
  'rekeying the child',
  'rekeying the IKE SA',
  'rekeyed',
  'deleting',
  'closed',
] as const;
export type Phase = (typeof PHASES)[number];
export type Role = 'initiator' | 'responder';

/** What was sent and not delivered. */
interface Held {
  readonly from: Side;
  readonly datagram: IkeDatagram;
  readonly message: OpenMessage | null;
}

/** What became of one message. */
export interface Told {
  /** Notifications of the answer, `ok`, or `nothing`. */
  readonly answer: string;
  readonly isProtected: boolean;
  readonly messageId: number | null;
  /** State and children of the IKE SA that was spoken to: `established 1`, or `gone`. */
  readonly after: string;
}

const NUMBERS: Readonly<Record<string, number>> = EXCHANGE_NUMBERS;
/** Exchanges that the product does not know: IKE_SESSION_RESUME (RFC 5723), and one nobody knows. */
export const UNKNOWN = { IKE_SESSION_RESUME: 38, 'exchange 240': 240 } as const;
export const EXCHANGES = [...Object.keys(EXCHANGE_NUMBERS), ...Object.keys(UNKNOWN)];

export class Stage {
  readonly two: Simulation;
  readonly eavesdropper = new Eavesdropper();
  readonly victim: Side;
  /** Of the IKE SA that is spoken of. */
  readonly spis: { readonly spiInitiator: bigint; readonly spiResponder: bigint };
  /** Message ID of the next request of the other side; null: it has sent none. */
  readonly nextId: number;
  /** The request of the victim's that is not answered. */
  readonly pending: OpenMessage | null;
  private readonly held: Held[] = [];
  private isHolding = false;

  constructor(
    readonly phase: Phase,
    readonly role: Role,
    limits: Partial<IkeLimits> = {},
  ) {
    this.victim = role === 'initiator' ? 'a' : 'b';
    this.two = toySimulation({ seed: `${phase} ${role}`, limits });
    this.two.fate = (datagram, from) => {
      const message = this.eavesdropper.observe(datagram);
      if (!this.isHolding)
        return this.passes(message) ? DELIVERED : this.keep(from, datagram, message);
      return this.keep(from, datagram, message);
    };
    this.begin();
    this.isHolding = true;
    const sas = this.two.ikeSas(this.victim);
    const sa = sas.find(({ state }) => phase !== 'rekeyed' || state === 'rekeyed');
    const [first] = this.held.flatMap(({ message }) => (message === null ? [] : [message.header]));
    const spis = sa ?? this.lastSpis ?? first;
    if (spis === undefined) throw new Error('no IKE SA to speak of');
    this.spis = { spiInitiator: spis.spiInitiator, spiResponder: spis.spiResponder };
    const asked = this.seen.filter(
      ({ from, message: { header } }) =>
        from !== this.victim && !header.isResponse && this.isOurs(header),
    );
    const delivered = asked.filter(({ isKept }) => !isKept);
    this.nextId = Math.max(-1, ...delivered.map(({ message }) => message.header.messageId)) + 1;
    const own = this.seen.findLast(
      ({ from, message: { header } }) =>
        from === this.victim && !header.isResponse && this.isOurs(header),
    );
    const isAnswered = this.seen.some(
      ({ from, isKept, message: { header } }) =>
        own !== undefined &&
        from !== this.victim &&
        !isKept &&
        header.isResponse &&
        this.isOurs(header) &&
        header.messageId === own.message.header.messageId &&
        header.exchange === own.message.header.exchange,
    );
    this.pending = own === undefined || isAnswered ? null : own.message;
  }

  private readonly seen: { from: Side; isKept: boolean; message: OpenMessage }[] = [];
  private lastSpis: { spiInitiator: bigint; spiResponder: bigint } | undefined;
  private stop: (message: OpenMessage) => boolean = () => false;

  private isOurs(header: IkeHeader): boolean {
    const { spiInitiator, spiResponder } = this.spis;
    return (
      header.spiInitiator === spiInitiator &&
      (header.spiResponder === spiResponder || header.spiResponder === 0n)
    );
  }

  private passes(message: OpenMessage | null): boolean {
    if (message === null) return true;
    const passes = !this.stop(message);
    if (passes) this.note(message, false);
    return passes;
  }

  private note(message: OpenMessage, isKept: boolean): void {
    const byInitiator = message.header.isInitiator;
    this.seen.push({ from: byInitiator ? 'a' : 'b', isKept, message });
  }

  private keep(from: Side, datagram: IkeDatagram, message: OpenMessage | null): readonly number[] {
    this.held.push({ from, datagram, message });
    if (message !== null) this.note(message, true);
    return [];
  }

  private begin(): void {
    const { two, phase, victim } = this;
    const is = (name: string, isResponse: boolean) => (message: OpenMessage) =>
      message.header.exchange === NUMBERS[name] && message.header.isResponse === isResponse;
    if (phase === 'half open' || phase === 'authenticating') {
      const isInitiator = victim === 'a';
      // As initiator: before the first answer, and before that to IKE_AUTH.
      if (isInitiator && phase === 'half open') this.stop = is('IKE_SA_INIT', true);
      else if (isInitiator) this.stop = is('IKE_AUTH', true);
      else this.stop = is('IKE_AUTH', false);
      two.initiate('a', 'net', 'b');
      two.runNow(100);
      return;
    }
    two.initiate('a', 'net', 'b');
    two.runNow(5_000);
    // So that both sides have asked something, and there are old message IDs.
    two.probe('a');
    two.probe('b');
    two.runNow(100);
    const [sa] = two.ikeSas(victim);
    this.lastSpis = sa === undefined ? undefined : { ...sa };
    switch (phase) {
      case 'rekeying the child':
        this.stop = is('CREATE_CHILD_SA', false);
        two.rekeyChild(victim);
        break;
      case 'rekeying the IKE SA':
        this.stop = is('CREATE_CHILD_SA', false);
        two.rekeyIkeSa(victim);
        break;
      case 'rekeyed':
        // The other side rekeyed it; its Delete of the old one is on its way.
        this.stop = is('INFORMATIONAL', false);
        two.rekeyIkeSa(other(victim));
        break;
      case 'deleting':
        this.stop = is('INFORMATIONAL', false);
        two.terminateIkeSa(victim);
        break;
      case 'closed':
        two.terminateIkeSa(victim);
        break;
      case 'established':
        break;
    }
    two.runNow(100);
  }

  /** A message of the other side that is held: what it would have said. */
  genuine(exchange: string, isResponse: boolean): readonly Payload[] | null {
    const found = this.held.find(
      ({ from, message }) =>
        from !== this.victim &&
        message !== null &&
        message.header.exchange === NUMBERS[exchange] &&
        message.header.isResponse === isResponse,
    );
    return found?.message?.payloads ?? null;
  }

  header(exchange: string, isResponse: boolean, messageId: number): IkeHeader {
    const number =
      NUMBERS[exchange] ?? Object.entries(UNKNOWN).find(([name]) => name === exchange)?.[1];
    if (number === undefined) throw new Error(`no exchange ${exchange}`);
    return {
      ...this.spis,
      exchange: number,
      majorVersion: 2,
      minorVersion: 0,
      isResponse,
      isInitiator: this.victim === 'b',
      isHigherVersion: false,
      messageId: messageId >>> 0,
    };
  }

  /** Says something to the victim, in the name of the other side and under its keys. */
  say(header: IkeHeader, payloads: readonly Payload[], bytes?: Uint8Array): Told {
    const { two, victim } = this;
    const payload = bytes ?? this.eavesdropper.sealAlways(header, payloads);
    const before = this.held.length;
    const port = this.phase === 'half open' && victim === 'a' ? 500 : 4500;
    two.inject(
      victim,
      { ...two.path(other(victim)), localPort: port, remotePort: port, payload },
      0,
    );
    two.runNow(2);
    const answers = this.held.slice(before).filter(({ from }) => from === victim);
    const [answer] = answers.filter(({ message }) => message?.header.isResponse === true);
    const [sa] = two
      .ikeSas(victim)
      .filter(
        ({ spiInitiator, spiResponder }) =>
          spiInitiator === this.spis.spiInitiator &&
          (spiResponder === this.spis.spiResponder || this.spis.spiResponder === 0n),
      );
    const errors = (answer?.message?.payloads ?? []).flatMap((one) =>
      one.type === 'notify' && one.notify < 16_384 ? [formatNotify(one.notify)] : [],
    );
    return {
      answer: answer === undefined ? 'nothing' : errors.length > 0 ? errors.join() : 'ok',
      isProtected: answer !== undefined && answer.datagram.payload[16] === 46,
      messageId: answer?.message?.header.messageId ?? null,
      after: sa === undefined ? 'gone' : `${sa.state} ${sa.children.length}`,
    };
  }
}
