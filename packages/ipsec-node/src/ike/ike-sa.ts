/**
 * One IKE SA (RFC 7296 section 2): keys, message IDs, retransmission, and the two lanes in which
 * exchanges run. What the exchanges say to each other is in exchange/.
 *
 * ```text
 *                    IKE_SA_INIT, IKE_AUTH                 new IKE SA in place
 *   connecting ------------------------------> established ------------------> rekeyed
 *       |                                        |    |                           |
 *       | refused, no answer            Delete  |    | no answer         Delete  |
 *       v                                        v    v                           v
 *     closed <------------------------------- deleting ----------------------> closed
 * ```
 *
 * Own exchanges run one after the other in the own lane; the peer's requests in the peer lane. Both
 * have a window of one message (RFC 7296 section 2.3): at most one exchange of each is under way.
 */
import type { Milliseconds } from '../clock.js';
import type { Identity } from '../pad/identity.js';
import type { PadEntry } from '../pad/pad-entry.js';
import type { Proposal } from '../sad/proposal.js';
import type { Effect, EffectResult, IkeEvent, IkeSubject, SaEndpoint } from './action.js';
import type { ChildSa } from './child-sa.js';
import type { IkeKeys, IkeSuite } from './crypto/key-schedule.js';
import {
  ExchangeRefused,
  type Exchange,
  reasonOf,
  type Reply,
  type Step,
  type StepResult,
} from './exchange/step.js';
import { packBytes, unpackBytes } from './bytes.js';
import { NOTIFY } from './notify.js';
import { findNotify } from './exchange/find.js';
import { encodePayloads } from './payload/codec.js';
import {
  EXCHANGE_NUMBERS,
  type ExchangeName,
  type IkeHeader,
  type Payload,
  type ReceivedMessage,
} from './payload/payload.js';
import { sealMessage } from './sealing.js';
import { type MessageFault, MessageReader } from './message-reader.js';
import { TimerGroup } from './timer-queue.js';
import type { Followup, IkeHost, IkeRekey, IkeSaEnd, PeerAbilities } from './ike-host.js';
import { DELETE_IKE_SA, notifyPayload } from './names.js';
import { type PendingRequest, TOLD_TRY, triesMax, waitAfter } from './pending-request.js';

/** No timer is set for sooner. */
const TIMER_MS_MIN: Milliseconds = 1;

/** An own exchange that waits for its turn. */
interface Turn {
  readonly name: string;
  /** Given the IKE SA that runs it: the one it was queued for, or its successor. */
  readonly start: (sa: IkeSa) => Exchange<void>;
  /** Told how it ended: null, or why not. */
  readonly done: (refused: string | null) => void;
}

const NO_BYTES = new Uint8Array(0);
/** Exchanges whose code is running at this moment, of whatever IKE SA. */
const ADVANCING = new Set<Exchange<unknown>>();

export class IkeSa {
  readonly id: number;
  phase: 'connecting' | 'established' | 'rekeyed' | 'deleting' | 'closed' = 'connecting';
  spiInitiator: bigint;
  spiResponder: bigint;
  endpoint: SaEndpoint;
  peer: PadEntry | null = null;
  localIdentity: Identity | null = null;
  remoteIdentity: Identity | null = null;
  proposal: Proposal | null = null;
  suite: IkeSuite | null = null;
  keys: IkeKeys | null = null;
  readonly nat = { local: false, remote: false };
  readonly abilities: PeerAbilities = {
    fragmentation: false,
    hashes: [],
    intermediate: false,
    ppk: false,
    mobike: false,
    vendorIds: [],
  };
  hasPpk = false;
  /** We began the first of the IKE SAs in whose place this one is: to MOBIKE the initiator (RFC 4555 2). */
  beganFirst: boolean;
  children: ChildSa[] = [];
  /** Other addresses of the peer (RFC 4555 section 3.4). */
  additionalAddresses: readonly string[] = [];
  readonly createdAt: Milliseconds;
  establishedAt: Milliseconds = 0;
  rekeyAt: Milliseconds | null = null;
  lastHeardAt: Milliseconds;
  lastSentAt: Milliseconds;
  /** The IKE SA that this one was made to replace, as long as it has not (RFC 7296 2.8.2). */
  predecessor: IkeSa | null = null;
  /** A rekey of this IKE SA that is under way or done, of each side (RFC 7296 section 2.8.2). */
  ownRekey: IkeRekey | null = null;
  peerRekey: IkeRekey | null = null;
  /** What IKE_INTERMEDIATE exchanges add to AUTH (RFC 9242 section 3.3.2); null: there was none. */
  transcript: { initiator: Uint8Array | null; responder: Uint8Array | null } | null = null;
  /** Key exchange methods that stand between a CREATE_CHILD_SA and its end (RFC 9370). */
  followup: Followup | null = null;

  /** Since when, and when last, the peer has answered rekeys with TEMPORARY_FAILURE alone. */
  temporary: { readonly since: Milliseconds; readonly last: Milliseconds } | null = null;
  /** Why it is being deleted, where it is. */
  deletedAs: IkeSaEnd = 'dead';

  /** As initiator: whether the peer has addresses that come after this one. */
  hasOtherPath = false;
  /** Where the message that is being handled came from. */
  messagePath: SaEndpoint;
  /** As responder: where the first message came from, by which it is known. */
  initPath: SaEndpoint | null = null;
  /** Where the request that is being answered came from. */
  requestPath: SaEndpoint;

  /** Timers that live as long as the IKE SA, by what they are for. */
  private readonly timers: TimerGroup<IkeSa>;
  /** The IKE_SA_INIT request that was sent last, as long as it matters. */
  sentRequest: Uint8Array = NO_BYTES;
  private nextRequestId = 0;
  private expectedRequestId = 0;
  private pending: PendingRequest | null = null;
  /** First datagram of the last request that came, and the response to it; packed. */
  private lastRequest: string | null = null;
  private lastResponse: readonly string[] | null = null;
  private answering: Exchange<Reply> | null = null;
  private turns: Turn[] = [];
  private current: { readonly turn: Turn; readonly exchange: Exchange<void> } | null = null;
  private wrongMessages = 0;
  private ivCounter = 0n;
  private readonly reader: MessageReader;

  constructor(
    readonly host: IkeHost,
    readonly isInitiator: boolean,
    spis: { readonly initiator: bigint; readonly responder: bigint },
    endpoint: SaEndpoint,
  ) {
    this.id = host.nextNumber();
    this.beganFirst = isInitiator;
    this.spiInitiator = spis.initiator;
    this.spiResponder = spis.responder;
    this.endpoint = endpoint;
    this.messagePath = endpoint;
    this.requestPath = endpoint;
    this.timers = new TimerGroup<IkeSa>(host.timers, this);
    this.reader = new MessageReader(this);
    this.createdAt = host.now;
    this.lastHeardAt = host.now;
    this.lastSentAt = host.now;
  }

  /** The SPI by which the peer's messages name this IKE SA. */
  get localSpi(): bigint {
    return this.isInitiator ? this.spiInitiator : this.spiResponder;
  }

  get isOpen(): boolean {
    return this.phase !== 'closed';
  }

  /** The IKE SA that has taken this one's place; itself where none has. */
  get heir(): IkeSa {
    const next = [this.ownRekey, this.peerRekey]
      .map((rekey) => rekey?.successor ?? null)
      .find((successor) => successor?.phase === 'established' && successor.predecessor === null);
    return this.phase === 'rekeyed' && next !== undefined && next !== null ? next.heir : this;
  }

  /** New keys; the old are wiped. */
  useKeys(suite: IkeSuite, keys: IkeKeys): void {
    const old = this.keys;
    this.suite = suite;
    this.keys = keys;
    this.ivCounter = 0n;
    if (old !== keys) old?.wipe();
  }

  /**
   * Keys of which only SK_d and SK_p changed (RFC 8784): the counter of IVs goes on, since the keys
   * of the cipher are the same.
   */
  mixKeys(keys: IkeKeys): void {
    if (this.keys !== keys) this.keys?.wipe();
    this.keys = keys;
  }

  // ---------------------------------------------------------------- own exchanges

  /** Queues an own exchange; `done` is told how it ended. */
  enqueue(
    name: string,
    start: (sa: IkeSa) => Exchange<void>,
    done: (refused: string | null) => void = () => undefined,
  ): void {
    if (this.phase === 'closed') {
      done('the IKE SA is gone');
      return;
    }
    if (this.turns.length >= this.host.limits.queuedInputMax) {
      done('too many exchanges wait for this IKE SA');
      return;
    }
    this.turns.push({ name, start, done });
    this.nextTurn();
  }

  /** Whether an own exchange about a child is under way (RFC 7296 section 2.25.2). */
  get isBusyWithChildren(): boolean {
    return /\bchild /.test(this.current?.turn.name ?? '');
  }

  /** True where an own exchange of that name waits or runs. */
  hasTurn(name: string): boolean {
    return this.current?.turn.name === name || this.turns.some((turn) => turn.name === name);
  }

  /**
   * Takes the place of an IKE SA that was rekeyed: children, identities and what waits move here
   * (RFC 7296 section 2.18).
   */
  takeOver(old: IkeSa): void {
    this.peer = old.peer;
    this.localIdentity = old.localIdentity;
    this.remoteIdentity = old.remoteIdentity;
    this.hasPpk = old.hasPpk;
    this.additionalAddresses = old.additionalAddresses;
    this.children = old.children;
    for (const child of this.children) child.ike = this;
    old.children = [];
    this.predecessor = null;
    for (const name of ['rekey', 'expire', 'liveness', 'keepalive']) old.cancelTimer(name);
    old.rekeyAt = null;
    old.stepAside();
    old.moveTurnsTo(this);
    this.phase = 'established';
    this.establishedAt = this.host.now;
    this.event({ ...this.subject(), kind: 'peer-rekeyed' });
    this.host.ikeRekeyed(this);
  }

  /**
   * Another is used in its place: it waits to be deleted, by us or by the peer, and not longer than
   * anybody tries.
   */
  stepAside(): void {
    this.phase = 'rekeyed';
    this.predecessor = null;
    this.setTimer('expire', this.host.limits.forgottenMs, () =>
      this.close('ours', 'nobody deleted it after its rekey'),
    );
  }

  /** What the two found out about each other holds for the successor too. */
  inheritFrom(old: IkeSa): void {
    this.peer = old.peer;
    this.beganFirst = old.beganFirst;
    Object.assign(this.nat, old.nat);
    Object.assign(this.abilities, old.abilities);
  }

  /** Own exchanges that have not begun move to the IKE SA that takes this one's place. */
  moveTurnsTo(successor: IkeSa): void {
    for (const turn of this.turns.splice(0)) {
      successor.enqueue(turn.name, turn.start, turn.done);
    }
  }

  private nextTurn(): void {
    if (this.current !== null || this.pending !== null || this.phase === 'closed') return;
    const turn = this.turns.shift();
    if (turn === undefined) return;
    // A list that held something keeps its room.
    if (this.turns.length === 0) this.turns = [];
    const exchange = turn.start(this);
    this.current = { turn, exchange };
    this.driveOwn(exchange, null);
  }

  private driveOwn(exchange: Exchange<void>, result: StepResult | null): void {
    const current = this.current;
    if (current?.exchange !== exchange) return;
    try {
      const next = this.advance(exchange, result);
      // The exchange may have closed the IKE SA.
      if (this.current !== current) return;
      if (next.done === true) {
        this.current = null;
        current.turn.done(null);
        this.nextTurn();
        return;
      }
      const step = next.value;
      if (step.kind === 'effect') {
        this.begin(step.effect, (outcome) =>
          this.driveOwn(exchange, { kind: 'effect', result: outcome }),
        );
      } else {
        this.sendRequest(step.exchange, step.payloads, (response) =>
          this.driveOwn(exchange, response),
        );
      }
    } catch (error) {
      if (this.current !== current) return;
      this.current = null;
      const reason = reasonOf(error);
      if (error instanceof ExchangeRefused && error.fatal) this.abort(reason);
      current.turn.done(reason);
      if (!(error instanceof ExchangeRefused)) {
        this.detail(`${current.turn.name} failed: ${reason}`);
        this.abort(reason);
      }
      this.nextTurn();
    }
  }

  private advance<T>(exchange: Exchange<T>, result: StepResult | null): IteratorResult<Step, T> {
    ADVANCING.add(exchange);
    try {
      return result === null ? exchange.next() : exchange.next(result);
    } finally {
      ADVANCING.delete(exchange);
    }
  }

  /** Work for an exchange; its outcome is dropped, and undone, where the IKE SA is gone by then. */
  private begin(effect: Effect, resume: (result: EffectResult) => void): void {
    this.host.begin(effect, (result) => {
      if (this.phase !== 'closed') {
        resume(result);
      } else if (
        effect.kind === 'install' &&
        result.kind === 'install' &&
        result.refused === null
      ) {
        this.host.emit({ kind: 'delete', sas: effect.sas.map(({ id }) => id) });
      }
    });
  }

  private sendRequest(
    exchange: ExchangeName,
    payloads: readonly Payload[],
    resume: (result: StepResult) => void,
  ): void {
    // RFC 7296 section 2.2: the message ID is zero for every IKE_SA_INIT, retries included.
    const messageId = exchange === 'IKE_SA_INIT' ? 0 : this.nextRequestId;
    const datagrams = this.seal(
      this.header(EXCHANGE_NUMBERS[exchange], false, messageId),
      payloads,
    );
    if (exchange === 'IKE_SA_INIT') this.sentRequest = datagrams[0] ?? NO_BYTES;
    this.pending = {
      messageId,
      exchange,
      datagrams,
      resume,
      attempts: 0,
      isDoubted: false,
      timer: { cancel: () => undefined },
    };
    this.transmit(this.pending);
  }

  private transmit(pending: PendingRequest): void {
    const { limits } = this.host;
    pending.attempts += 1;
    this.send(pending.datagrams);
    if (pending.attempts === TOLD_TRY && this.phase !== 'deleting') {
      const reason = `no answer to ${pending.exchange} yet; it is sent again`;
      this.event({ ...this.subject(), kind: 'warning', reason });
    }
    // RFC 7296 section 2.4: exponentially longer waits, with jitter against peers in step.
    const [jitter = 0] = this.host.random(1);
    const wait = waitAfter(pending, limits);
    pending.timer = this.host.timers.add(
      this.host.now + wait * (0.9 + (0.2 * jitter) / 255),
      () => {
        if (this.pending !== pending) return;
        if (pending.attempts > triesMax(pending, this, limits)) this.giveUp(pending);
        else this.transmit(pending);
      },
    );
  }

  private giveUp({ exchange, attempts }: PendingRequest): void {
    const reason = `no answer to ${exchange} after ${attempts} tries`;
    if (this.phase === 'connecting') {
      const closest = this.peer?.name ?? null;
      const nothing = { by: 'peer', notify: null, closest, differences: [] } as const;
      this.event({ ...this.subject(), kind: 'refused', reason, ...nothing });
    }
    // What we ended is not dead because the peer does not say so.
    this.close(this.phase === 'deleting' ? this.deletedAs : 'dead', reason);
  }

  /** Message ID of the next request of ours, and of the one that the peer's is being answered. */
  get requestId(): number {
    return this.pending?.messageId ?? this.nextRequestId;
  }

  /** Message ID of the peer's request that is being answered, or was last. */
  get answeringId(): number {
    return this.expectedRequestId - 1;
  }

  /** One INFORMATIONAL request that is not sent again and whose answer nobody waits for. */
  sendLast(payloads: readonly Payload[]): void {
    const header = this.header(EXCHANGE_NUMBERS.INFORMATIONAL, false, this.nextRequestId);
    this.send(this.seal(header, payloads));
    this.nextRequestId += 1;
  }

  /** Called once IKE_SA_INIT is done: the message IDs go on from there. */
  finishInit(): void {
    this.sentRequest = NO_BYTES;
    this.nextRequestId = 1;
  }

  /** Sends the pending request again at once, to a new endpoint (RFC 4555 section 3.5). */
  retransmitNow(): void {
    const pending = this.pending;
    if (pending === null) return;
    pending.timer.cancel();
    pending.attempts = 0;
    this.transmit(pending);
  }

  // ---------------------------------------------------------------- the peer's messages

  /**
   * A message that names this IKE SA. `respond` makes the exchange that answers a request; null
   * where nothing is to be said yet, and the request is dropped.
   */
  handleMessage(
    message: ReceivedMessage,
    respond: (message: ReceivedMessage, payloads: readonly Payload[]) => Exchange<Reply> | null,
  ): void {
    if (message.header.isResponse) this.handleResponse(message);
    else this.handleRequest(message, respond);
  }

  private handleRequest(
    message: ReceivedMessage,
    respond: (message: ReceivedMessage, payloads: readonly Payload[]) => Exchange<Reply> | null,
  ): void {
    const { messageId } = message.header;
    if (messageId === this.expectedRequestId - 1 && this.lastResponse !== null) {
      // RFC 7296 section 2.1: the same request gets the same response, bit for bit. Of a fragmented
      // one the first fragment asks for it (RFC 7383 section 2.6.1).
      if (this.lastRequest === packBytes(message.bytes)) {
        // Section 2.11: to where the request came from, which a NAT may have changed meanwhile.
        this.send(this.lastResponse.map(unpackBytes), this.messagePath);
      }
      return;
    }
    if (messageId !== this.expectedRequestId || this.answering !== null) return;
    const opened = this.reader.open(message);
    if (opened === null) return;
    this.host.followPath(this, message);
    this.lastHeardAt = this.host.now;
    if (!opened.ok) {
      this.acceptRequest(message);
      this.answer(message, refusing(opened.fault.notify, opened.fault.data, opened.fault.reason));
      return;
    }
    const exchange = respond(message, opened.value);
    if (exchange === null) return;
    this.acceptRequest(message);
    this.answer(message, exchange);
  }

  private acceptRequest(message: ReceivedMessage): void {
    this.expectedRequestId += 1;
    this.lastRequest = packBytes(message.bytes);
    this.lastResponse = null;
  }

  /** Runs the exchange that answers a request, and sends what it returns. */
  answer(request: ReceivedMessage, exchange: Exchange<Reply>): void {
    this.answering = exchange;
    this.driveAnswer(request, exchange, null);
  }

  private driveAnswer(
    request: ReceivedMessage,
    exchange: Exchange<Reply>,
    result: StepResult | null,
  ): void {
    if (this.answering !== exchange) return;
    try {
      const next = this.advance(exchange, result);
      if (this.answering !== exchange) return;
      if (next.done === true) {
        this.answering = null;
        this.respond(request, next.value.payloads);
        next.value.after?.();
        return;
      }
      const step = next.value;
      if (step.kind !== 'effect') throw new Error('A responder sends no request.');
      this.begin(step.effect, (outcome) =>
        this.driveAnswer(request, exchange, { kind: 'effect', result: outcome }),
      );
    } catch (error) {
      if (this.answering !== exchange) return;
      this.answering = null;
      const reason = reasonOf(error);
      if (!(error instanceof ExchangeRefused)) {
        this.detail(`Answering failed: ${reason}`);
        this.abort(reason);
        return;
      }
      if (error.notify !== null) {
        const { data, about } = error.options;
        this.respond(request, [{ ...notifyPayload(error.notify, data), ...about }]);
      }
      // RFC 7296 section 2.21.3: INVALID_SYNTAX is fatal in both peers.
      const isFatal = error.fatal || error.notify === NOTIFY.INVALID_SYNTAX;
      if (isFatal) this.close('dead', reason);
    }
  }

  private respond(request: ReceivedMessage, payloads: readonly Payload[]): void {
    if (this.phase === 'closed') return;
    const { exchange, messageId } = request.header;
    const header = this.header(exchange, true, messageId);
    const datagrams = this.seal(header, payloads);
    this.lastResponse = datagrams.map(packBytes);
    this.send(datagrams, this.requestPath);
  }

  /** Bytes of the last response, for AUTH. */
  get responseBytes(): Uint8Array | null {
    const [first] = this.lastResponse ?? [];
    return first === undefined ? null : unpackBytes(first);
  }

  /** The IKE_SA_INIT request that made this responder: its retransmissions are known by it. */
  beginAsResponder(request: ReceivedMessage, exchange: Exchange<Reply>): void {
    this.acceptRequest(request);
    this.answer(request, exchange);
  }

  /** Whether an IKE_SA_INIT request is the one that made this IKE SA; answers it again if so. */
  isRepeatedInit(message: ReceivedMessage): boolean {
    if (this.lastRequest !== packBytes(message.bytes)) return false;
    if (this.expectedRequestId === 1 && this.lastResponse !== null) {
      this.send(this.lastResponse.map(unpackBytes), this.requestPath);
    }
    return true;
  }

  private handleResponse(message: ReceivedMessage): void {
    const pending = this.pending;
    if (pending === null || message.header.messageId !== pending.messageId) return;
    if (message.header.exchange !== EXCHANGE_NUMBERS[pending.exchange]) return;
    // RFC 7296 section 2.4: what is not protected ends nothing. But a peer that knows nothing of this
    // IKE SA, and answers no try that follows, has lost it: not as many need go unanswered.
    if (this.keys !== null && findNotify(message.payloads, NOTIFY.INVALID_IKE_SPI) !== null) {
      pending.isDoubted = true;
      return;
    }
    const opened = this.reader.open(message);
    if (opened === null) return;
    this.lastHeardAt = this.host.now;
    if (!opened.ok) {
      // Unprotected ones are not believed.
      if (this.keys !== null) this.refuseResponse(pending, opened.fault);
      return;
    }
    if (pending.exchange === 'IKE_SA_INIT' && this.distrusts(pending, message, opened.value))
      return;
    this.settle(pending, message, opened.value);
  }

  // RFC 7296 section 2.21: what is wrong with a response ends the IKE SA, and the peer is told that;
  // of IKE_AUTH by the notification alone (section 2.21.2).
  private refuseResponse(pending: PendingRequest, fault: MessageFault): void {
    const reason = `the response was malformed: ${fault.reason}`;
    pending.timer.cancel();
    this.pending = null;
    this.nextRequestId += 1;
    if (pending.exchange === 'IKE_AUTH' && fault.notify !== null) {
      this.sendLast([notifyPayload(fault.notify, fault.data)]);
    }
    this.abort(reason);
  }

  private settle(
    pending: PendingRequest,
    message: ReceivedMessage,
    payloads: readonly Payload[],
  ): void {
    if (this.pending !== pending) return;
    pending.timer.cancel();
    this.cancelTimer('distrust');
    this.pending = null;
    if (pending.exchange !== 'IKE_SA_INIT') this.nextRequestId += 1;
    pending.resume({ kind: 'response', payloads, message });
    // RFC 7296 section 2.21.3: INVALID_SYNTAX is fatal in both peers.
    if (this.phase !== 'connecting' && findNotify(payloads, NOTIFY.INVALID_SYNTAX) !== null) {
      this.close('dead', 'the peer answered INVALID_SYNTAX');
    }
    this.nextTurn();
  }

  // RFC 7296 sections 2.4 and 2.21.1: anybody can send something in clear. A genuine answer may follow
  // within a moment, so what leads to no IKE SA is believed only when none does.
  private distrusts(
    pending: PendingRequest,
    message: ReceivedMessage,
    payloads: readonly Payload[],
  ): boolean {
    const asks = [NOTIFY.COOKIE, NOTIFY.INVALID_KE_PAYLOAD].some(
      (notify) => findNotify(payloads, notify) !== null,
    );
    const isAnswer = ['sa', 'ke', 'nonce'].every((type) =>
      payloads.some((payload) => payload.type === type),
    );
    if (isAnswer || asks) return false;
    if (!this.timers.has('distrust')) {
      this.setTimer('distrust', this.host.limits.retransmitMs / 2, () =>
        this.settle(pending, message, payloads),
      );
    }
    return true;
  }

  // RFC 8019 section 4.6: who cannot make one right message in three does not hold a half-open SA.
  handleWrongMessage(): void {
    this.wrongMessages += 1;
    if (this.phase === 'connecting' && !this.isInitiator) {
      if (this.wrongMessages >= this.host.limits.wrongMessageMax) {
        this.close('dead', 'too many messages that nobody with the keys made');
      }
    }
  }

  // ---------------------------------------------------------------- sending

  private header(exchange: number, isResponse: boolean, messageId: number): IkeHeader {
    return {
      spiInitiator: this.spiInitiator,
      spiResponder: this.spiResponder,
      exchange,
      majorVersion: 2,
      minorVersion: 0,
      isResponse,
      isInitiator: this.isInitiator,
      isHigherVersion: false,
      messageId,
    };
  }

  private seal(header: IkeHeader, payloads: readonly Payload[]): readonly Uint8Array[] {
    if (header.exchange === EXCHANGE_NUMBERS.IKE_INTERMEDIATE) {
      const { first, bytes } = encodePayloads(payloads);
      this.reader.note(header, first, bytes);
    }
    // RFC 7296 section 2: only IKE_SA_INIT, before which there are no keys, goes in clear.
    return sealMessage(header, payloads, {
      cipher: this.suite?.cipher ?? null,
      keys: this.keys,
      fromInitiator: this.isInitiator,
      nextIv: (cipher) => {
        if (cipher.needsRandomIv) return this.host.random(cipher.ivLen);
        this.ivCounter += 1n;
        const iv = new Uint8Array(8);
        new DataView(iv.buffer).setBigUint64(0, this.ivCounter);
        return iv;
      },
      fragmentBytes: this.abilities.fragmentation
        ? this.host.limits.fragmentBytes - (this.endpoint.remote.includes(':') ? 48 : 28) - 4
        : null,
    });
  }

  // RFC 7296 section 2.11: a response goes to where its request came from.
  private send(datagrams: readonly Uint8Array[], path: SaEndpoint = this.endpoint): void {
    const { local, localPort, remote, remotePort } = path;
    this.lastSentAt = this.host.now;
    for (const payload of datagrams) {
      this.host.emit({
        kind: 'send',
        datagram: { local, localPort, remote, remotePort, payload },
      });
    }
  }

  // ---------------------------------------------------------------- time and events

  /** Sets the timer of that name, in place of the one before. `run` is given this IKE SA. */
  setTimer(name: string, after: Milliseconds, run: (sa: IkeSa) => void): void {
    // What is left of a wait may be so little that adding it to a moment changes nothing: such a
    // timer would be due for ever.
    this.timers.set(name, this.host.now + Math.max(after, TIMER_MS_MIN), run);
  }

  cancelTimer(name: string): void {
    this.timers.cancel(name);
  }

  subject(child: ChildSa | null = null): IkeSubject {
    return {
      ikeSa: this.id,
      peer: this.peer?.name ?? null,
      child: child?.terms.name ?? null,
      remote: this.endpoint.remote,
    };
  }

  event(event: IkeEvent): void {
    this.host.emit({ kind: 'event', event });
  }

  detail(text: string): void {
    this.event({ ...this.subject(), kind: 'detail', text });
  }

  // ---------------------------------------------------------------- the end

  /** The two cannot go on: the IKE SA ends, and the peer is told once (RFC 7296 section 2.21.3). */
  private abort(reason: string): void {
    if (this.phase === 'established' && this.pending === null) {
      this.sendLast([DELETE_IKE_SA]);
    }
    this.close('dead', reason);
  }

  /** Ends the IKE SA here and now: SAs are deleted, keys wiped. The peer is not told. */
  close(end: IkeSaEnd, reason: string): void {
    if (this.phase === 'closed') return;
    // One that another took the place of is not missed.
    const wasUp = this.phase === 'established' || this.phase === 'deleting';
    this.phase = 'closed';
    this.pending?.timer.cancel();
    this.pending = null;
    this.timers.clear();
    this.reader.dropReassembly();
    for (const child of this.children.splice(0)) child.end(end, reason, false);
    this.keys?.wipe();
    this.keys = null;
    if (wasUp) this.event({ ...this.subject(), kind: 'peer-down', end, reason });
    const waiting = this.turns.splice(0);
    const current = this.current;
    this.current = null;
    // An abandoned generator runs its `finally` blocks: secrets are wiped and SPIs given back.
    // One that closes its own IKE SA is running, and ends by itself.
    const answering = this.answering;
    this.answering = null;
    if (current !== null && !ADVANCING.has(current.exchange)) current.exchange.return();
    if (answering !== null && !ADVANCING.has(answering)) answering.return({ payloads: [] });
    this.followup?.abandon();
    this.followup = null;
    // What was to take its place has nothing to stand on.
    for (const rekey of [this.ownRekey, this.peerRekey]) {
      if (rekey?.successor?.predecessor === this) rekey.successor.close(end, reason);
    }
    this.host.release(this, end);
    current?.turn.done(reason);
    for (const turn of waiting) turn.done(reason);
  }
}

// RFC 7296 section 2.21.3: after INVALID_SYNTAX the IKE SA is gone; an unknown critical payload
// ends the exchange alone.
function* refusing(notify: number | null, data: Uint8Array, reason: string): Exchange<Reply> {
  throw new ExchangeRefused(reason, notify, { fatal: notify === NOTIFY.INVALID_SYNTAX, data });
}
