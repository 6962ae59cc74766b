/**
 * IKEv2 (RFC 7296) without sockets, timers or slow work. Messages, results, commands and the time
 * come in by the `handle*` and command methods; each returns all that is to be done, in order.
 *
 * ```text
 *   handleDatagram --> by SPI --> IkeSa.handleMessage --> exchange/*  --> IkeAction[]
 *   handleResult   --> the exchange that waits for it  --/
 *   handleTimeout  --> what is due: retransmission, rekey, liveness, expiry
 * ```
 */
import type { Milliseconds } from '../clock.js';
import { InternalError } from '../errors.js';
import { formatIdentity } from '../pad/identity-text.js';
import type { ChildTerms } from '../pad/child-terms.js';
import type { Pad } from '../pad/pad.js';
import type { PadEntry } from '../pad/pad-entry.js';
import { formatProposal } from '../sad/proposal.js';
import { SPI_MIN } from '../sad/spi.js';
import type { PacketFields } from '../spd/packet.js';
import type { Selector } from '../spd/selector.js';
import type {
  Effect,
  EffectResult,
  IkeAction,
  IkeDatagram,
  IkeSaSnapshot,
  SaEndpoint,
} from './action.js';
import { Admissions } from './admission.js';
import type { ChildSa } from './child-sa.js';
import { type ChildRequest, keyExchangeOf } from './exchange/child-negotiation.js';
import { connect } from './exchange/connect.js';
import { createChild, respondCreateChild, respondFollowup } from './exchange/create-child-sa.js';
import { findNotify, findPayload, twoBytes } from './exchange/find.js';
import { type AuthOutcome, respondAuth } from './exchange/ike-auth.js';
import {
  additionalMethods,
  initDifferences,
  type InitTranscript,
  respondInit,
  respondIntermediate,
} from './exchange/ike-sa-init.js';
import { moveChildren, respondInformational, updateAddresses } from './exchange/informational.js';
import { rekeysIkeSa, respondRekeyIkeSa } from './exchange/rekey-ike-sa.js';
import { ExchangeRefused, type Exchange, type Reply } from './exchange/step.js';
import { exchangeName, type IkeHost, IkeSa, type IkeSaEnd, notifyPayload } from './ike-sa.js';
import { Life } from './life.js';
import { IKE_LIMITS, type IkeLimits } from './limits.js';
import { formatNotify, NOTIFY } from './notify.js';
import { encodeMessage, parseDatagram } from './payload/codec.js';
import { ikeSpiBytes } from './bytes.js';
import {
  EXCHANGE_NUMBERS,
  type IkeHeader,
  type Payload,
  type ReceivedMessage,
} from './payload/payload.js';
import { mayBeAt } from './peer-choice.js';
import { chooseProposal, toWireAnswer } from './proposal.js';
import { type TimerHandle, TimerQueue } from './timer-queue.js';

export interface IkeEndpointOptions {
  readonly pad: Pad;
  readonly ports: { readonly ike: number; readonly nat: number };
  /** Bytes that nobody can foresee. */
  readonly random: (length: number) => Uint8Array;
  /** Addresses that a DNS name of the PAD stands for at this moment. */
  readonly resolve?: (name: string) => readonly string[];
  readonly limits?: Partial<IkeLimits>;
  /** Tells the keys of IKE SAs as events, for captures. */
  readonly revealKeys?: boolean;
}

/** Where a peer is tried, one after the other. */
export interface PeerPath {
  readonly local: string;
  readonly remote: string;
}

/** A child to bring up. */
export interface InitiateCommand {
  readonly peer: string;
  /** Null: the IKE SA alone, or with the first child that is due. */
  readonly child: string | null;
  /** The packet that asks for it. */
  readonly packet: PacketFields | null;
  readonly paths: readonly PeerPath[];
  /** Told of by a `command-done` event; null: nobody asks. */
  readonly command: number | null;
}

/** A responder's IKE SA before the peer has proved who it is. */
interface HalfOpen {
  readonly candidates: readonly PadEntry[];
  transcript: InitTranscript | null;
  /** Additional key exchanges that are still to be done, in order. */
  methods: readonly number[];
  readonly timer: TimerHandle;
}

export class IkeEndpoint {
  private readonly host: EndpointHost;

  constructor(options: IkeEndpointOptions) {
    this.host = new EndpointHost(options);
  }

  /** A datagram of UDP 500 or 4500, without a non-ESP marker. Never throws for what is in it. */
  handleDatagram(datagram: IkeDatagram, now: Milliseconds): readonly IkeAction[] {
    return this.host.run(now, () => this.host.receive(datagram));
  }

  /** The outcome of an effect; one that nobody waits for any more is dropped. */
  handleResult(id: number, result: EffectResult, now: Milliseconds): readonly IkeAction[] {
    return this.host.run(now, () => this.host.resume(id, result));
  }

  /** When {@link handleTimeout} is to be called next; null: nothing is due. */
  nextTimeout(): Milliseconds | null {
    return this.host.timers.next();
  }

  handleTimeout(now: Milliseconds): readonly IkeAction[] {
    return this.host.run(now, () => this.host.timers.runDue(now));
  }

  /** Brings a peer or a child up, over an IKE SA that is there or a new one. */
  initiate(command: InitiateCommand, now: Milliseconds): readonly IkeAction[] {
    return this.host.run(now, () => this.host.initiate(command));
  }

  /** Rekeys one child, by its number. */
  rekeyChild(id: number, command: number | null, now: Milliseconds): readonly IkeAction[] {
    return this.host.run(now, () => {
      const child = this.host.childByNumber(id);
      const done = this.host.doneOf(command);
      if (child === null) done('there is no such child');
      else this.host.life.rekeyChild(child, done);
    });
  }

  /** Rekeys one IKE SA, by its number. */
  rekeyIkeSa(id: number, command: number | null, now: Milliseconds): readonly IkeAction[] {
    return this.host.run(now, () => {
      const sa = this.host.byNumber(id);
      const done = this.host.doneOf(command);
      if (sa === null || sa.phase !== 'established') done('there is no such IKE SA');
      else this.host.life.rekeyIkeSa(sa, done);
    });
  }

  /** Deletes one child, by its number. */
  terminateChild(id: number, command: number | null, now: Milliseconds): readonly IkeAction[] {
    return this.host.run(now, () => {
      const child = this.host.childByNumber(id);
      const done = this.host.doneOf(command);
      if (child === null) done('there is no such child');
      else this.host.life.deleteChild(child, false, done);
    });
  }

  /** Deletes one IKE SA. `force`: here and now, whatever the peer says. */
  terminateIkeSa(
    id: number,
    options: { readonly force: boolean; readonly command: number | null },
    now: Milliseconds,
  ): readonly IkeAction[] {
    return this.host.run(now, () => {
      const sa = this.host.byNumber(id);
      const done = this.host.doneOf(options.command);
      if (sa === null) {
        done('there is no such IKE SA');
      } else if (options.force) {
        this.host.tellLast(sa);
        sa.close('ours', 'terminated');
        done(null);
      } else {
        this.host.life.endIkeSa(sa, 'terminated', 'ours', done);
      }
    });
  }

  /** The first good packet came in by an SA: the peer is ready for what it sends by (RFC 7296 2.8). */
  handleFirstUse(spi: number, now: Milliseconds): readonly IkeAction[] {
    return this.host.run(now, () => this.host.firstUse(spi));
  }

  /** An SA has used up its sequence numbers, or soon will. */
  handleExpire(spi: number, hard: boolean, now: Milliseconds): readonly IkeAction[] {
    return this.host.run(now, () => {
      const child = this.host.childBySpi(spi);
      if (child === null) return;
      if (hard) this.host.life.deleteChild(child, false);
      else this.host.life.rekeyChild(child);
    });
  }

  /** Authentic ESP came from another endpoint of the peer (RFC 7296 section 2.23). */
  handleMapping(
    spi: number,
    remote: string,
    remotePort: number,
    now: Milliseconds,
  ): readonly IkeAction[] {
    return this.host.run(now, () => {
      const sa = this.host.childBySpi(spi)?.ike;
      if (sa !== undefined) this.host.moveRemote(sa, remote, remotePort);
    });
  }

  /** Our address towards a peer is another one: MOBIKE (RFC 4555), else a new IKE SA is needed. */
  handleAddressChange(id: number, path: PeerPath, now: Milliseconds): readonly IkeAction[] {
    return this.host.run(now, () => {
      const sa = this.host.byNumber(id);
      if (sa !== null && sa.phase === 'established') this.host.moveLocal(sa, path);
    });
  }

  /** A new PAD. SAs stay; those whose terms are gone are ended by the caller. */
  replacePad(pad: Pad, now: Milliseconds): readonly IkeAction[] {
    return this.host.run(now, () => this.host.replacePad(pad));
  }

  /** Deletes every IKE SA (Delete on stop). What is not answered in time is closed by {@link abandon}. */
  close(now: Milliseconds): readonly IkeAction[] {
    return this.host.run(now, () => {
      this.host.isClosing = true;
      for (const sa of this.host.all()) this.host.life.endIkeSa(sa, 'the gateway stops', 'ours');
    });
  }

  /** Closes all that is left, without a word. */
  abandon(now: Milliseconds): readonly IkeAction[] {
    return this.host.run(now, () => {
      this.host.isClosing = true;
      for (const sa of this.host.all()) sa.close('ours', 'the gateway stops');
    });
  }

  get ikeSaCount(): number {
    return this.host.count;
  }

  get halfOpenCount(): number {
    return this.host.admissions.halfOpenCount;
  }

  snapshots(now: Milliseconds): readonly IkeSaSnapshot[] {
    return this.host.all().map((sa) => snapshotOf(sa, now));
  }

  snapshot(id: number, now: Milliseconds): IkeSaSnapshot | null {
    const sa = this.host.byNumber(id);
    return sa === null ? null : snapshotOf(sa, now);
  }
}

class EndpointHost implements IkeHost {
  now: Milliseconds = 0;
  pad: Pad;
  readonly ports: { readonly ike: number; readonly nat: number };
  readonly limits: IkeLimits;
  readonly timers = new TimerQueue();
  readonly admissions: Admissions;
  readonly life: Life;
  isClosing = false;

  private readonly options: IkeEndpointOptions;
  private actions: IkeAction[] = [];
  private depth = 0;
  private numbers = 0;
  private fragmentBytes = 0;
  private readonly waiting = new Map<number, (result: EffectResult) => void>();
  private readonly bySpi = new Map<bigint, IkeSa>();
  private readonly numbered = new Map<number, IkeSa>();
  private readonly halfOpen = new Map<IkeSa, HalfOpen>();
  /** IKE SAs that a first message made, by who sent it. */
  private readonly initiated = new Map<string, IkeSa>();
  private readonly spis = new Set<number>();
  private readonly children = new Map<number, ChildSa>();
  private readonly movedAt = new WeakMap<IkeSa, Milliseconds>();

  constructor(options: IkeEndpointOptions) {
    this.options = options;
    this.pad = options.pad;
    this.ports = options.ports;
    this.limits = { ...IKE_LIMITS, ...options.limits };
    this.admissions = new Admissions(this.limits, options.random);
    this.life = new Life((child) => this.renew(child));
  }

  // ---------------------------------------------------------------- inputs and outputs

  run(now: Milliseconds, input: () => void): readonly IkeAction[] {
    if (this.depth > 0) {
      throw new InternalError('IPSEC_ERR_INTERNAL', 'An input came while another was handled.');
    }
    // RFC 4301 has no clock that goes back; a machine's may.
    this.now = Math.max(this.now, now);
    this.depth += 1;
    try {
      input();
    } finally {
      this.depth -= 1;
    }
    const { actions } = this;
    this.actions = [];
    return actions;
  }

  emit(action: IkeAction): void {
    this.actions.push(action);
  }

  begin(effect: Effect, resume: (result: EffectResult) => void): void {
    const id = this.nextNumber();
    this.waiting.set(id, resume);
    this.emit({ kind: 'effect', id, effect });
  }

  resume(id: number, result: EffectResult): void {
    const resume = this.waiting.get(id);
    this.waiting.delete(id);
    resume?.(result);
  }

  nextNumber(): number {
    this.numbers += 1;
    return this.numbers;
  }

  random(length: number): Uint8Array {
    return this.options.random(length);
  }

  doneOf(command: number | null): (refused: string | null) => void {
    return (refused) => {
      if (command === null) return;
      this.emit({
        kind: 'event',
        event: {
          kind: 'command-done',
          command,
          refused,
          ikeSa: 0,
          peer: null,
          child: null,
          remote: '',
        },
      });
    };
  }

  // ---------------------------------------------------------------- tables

  get count(): number {
    return this.numbered.size;
  }

  all(): readonly IkeSa[] {
    return [...this.numbered.values()];
  }

  byNumber(id: number): IkeSa | null {
    return this.numbered.get(id) ?? null;
  }

  childByNumber(id: number): ChildSa | null {
    for (const child of this.children.values()) if (child.id === id) return child;
    return null;
  }

  childBySpi(spi: number): ChildSa | null {
    return this.children.get(spi) ?? null;
  }

  indexChild(spi: number, child: ChildSa | null): void {
    if (child === null) this.children.delete(spi);
    else this.children.set(spi, child);
  }

  allocateSpi(): number {
    for (;;) {
      const bytes = this.random(4);
      const spi = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0);
      if (spi < SPI_MIN || this.spis.has(spi)) continue;
      this.spis.add(spi);
      return spi;
    }
  }

  releaseSpi(spi: number): void {
    this.spis.delete(spi);
  }

  allocateIkeSpi(): bigint {
    for (;;) {
      const bytes = this.random(8);
      const spi = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0);
      if (spi !== 0n && !this.bySpi.has(spi)) return spi;
    }
  }

  adopt(sa: IkeSa): void {
    this.bySpi.set(sa.localSpi, sa);
    this.numbered.set(sa.id, sa);
  }

  release(sa: IkeSa, _end: IkeSaEnd): void {
    this.bySpi.delete(sa.localSpi);
    this.numbered.delete(sa.id);
    this.endHalfOpen(sa);
    if (sa.initKey !== null) this.initiated.delete(sa.initKey);
  }

  private endHalfOpen(sa: IkeSa): void {
    this.halfOpen.get(sa)?.timer.cancel();
    this.halfOpen.delete(sa);
    this.admissions.end(sa);
  }

  reserveFragmentBytes(change: number): boolean {
    if (change > 0 && this.fragmentBytes + change > this.limits.fragmentBytesMax) return false;
    this.fragmentBytes += change;
    return true;
  }

  // ---------------------------------------------------------------- datagrams

  receive(datagram: IkeDatagram): void {
    const parsed = parseDatagram(datagram.payload);
    if (!parsed.ok) {
      const { header, notify, data } = parsed.fault;
      // A response is never answered, and neither is who speaks another protocol (RFC 7296 2.21.1).
      if (header === null || header.isResponse || notify === null) return;
      if (notify === NOTIFY.INVALID_SYNTAX && header.spiResponder === 0n) return;
      this.tellStranger(datagram, header, notify, data);
      return;
    }
    const message = parsed.value;
    const { header } = message;
    if (header.exchange === EXCHANGE_NUMBERS.IKE_SA_INIT && !header.isResponse) {
      this.receiveInit(datagram, message);
      return;
    }
    const sa = this.bySpi.get(header.isInitiator ? header.spiResponder : header.spiInitiator);
    if (sa === undefined) {
      if (!header.isResponse) {
        this.tellStranger(datagram, header, NOTIFY.INVALID_IKE_SPI, new Uint8Array(0));
      }
      return;
    }
    // What we sent ourselves comes back to nobody (RFC 7296 section 3.1: the I flag says who sent).
    if (sa.isInitiator === header.isInitiator) return;
    const other = sa.isInitiator ? header.spiResponder : header.spiInitiator;
    const known = sa.isInitiator ? sa.spiResponder : sa.spiInitiator;
    if (known !== 0n && other !== known) return;
    sa.messagePath = pathOf(datagram, sa.endpoint.encapsulation);
    sa.handleMessage(message, (request, payloads) => this.respondTo(sa, request, payloads));
  }

  followPath(sa: IkeSa, _message: ReceivedMessage): void {
    const path = sa.messagePath;
    sa.requestPath = path;
    if (sa.phase === 'connecting') {
      // RFC 7296 section 2.23: the initiator goes over to port 4500, and the responder follows.
      if (!sa.isInitiator) sa.endpoint = { ...path, encapsulation: sa.endpoint.encapsulation };
      return;
    }
    const { endpoint } = sa;
    if (path.remote !== endpoint.remote || path.remotePort !== endpoint.remotePort) {
      this.moveRemote(sa, path.remote, path.remotePort);
    }
  }

  private tellStranger(
    datagram: IkeDatagram,
    header: IkeHeader,
    notify: number,
    data: Uint8Array,
  ): void {
    if (!this.admissions.mayTell(datagram.remote, this.now)) return;
    const answer: IkeHeader = {
      ...header,
      majorVersion: 2,
      minorVersion: 0,
      isResponse: true,
      isInitiator: !header.isInitiator,
      isHigherVersion: false,
    };
    this.reply(datagram, answer, [notifyPayload(notify, data)]);
  }

  private reply(datagram: IkeDatagram, header: IkeHeader, payloads: readonly Payload[]): void {
    const { local, localPort, remote, remotePort } = datagram;
    const payload = encodeMessage(header, payloads);
    this.emit({ kind: 'send', datagram: { local, localPort, remote, remotePort, payload } });
  }

  // ---------------------------------------------------------------- IKE_SA_INIT as responder

  private receiveInit(datagram: IkeDatagram, message: ReceivedMessage): void {
    const { header, payloads } = message;
    if (header.messageId !== 0 || header.spiResponder !== 0n || header.spiInitiator === 0n) return;
    if (!header.isInitiator || this.isClosing) return;
    const path = pathOf(datagram, 'udp');
    const key = initKey(header.spiInitiator, path);
    const known = this.initiated.get(key);
    if (known !== undefined) {
      // The same message again is answered again; another one under the same SPI is nobody's.
      known.requestPath = path;
      known.isRepeatedInit(message);
      return;
    }
    const offer = findPayload(payloads, 'sa');
    const ke = findPayload(payloads, 'ke');
    const nonce = findPayload(payloads, 'nonce');
    // RFC 7296 section 2.10: a nonce has 16 octets at least.
    if (offer === null || ke === null || nonce === null || nonce.data.length < 16) return;
    const answerHeader = { ...header, isResponse: true, isInitiator: false };
    const admission = this.admissions.admit(
      {
        remote: datagram.remote,
        remotePort: datagram.remotePort,
        spiInitiator: header.spiInitiator,
        nonce: nonce.data,
      },
      findNotify(payloads, NOTIFY.COOKIE)?.data ?? null,
      this.now,
    );
    if (admission.kind === 'refused') return;
    if (admission.kind === 'cookie') {
      this.reply(datagram, answerHeader, [notifyPayload(NOTIFY.COOKIE, admission.cookie)]);
      return;
    }
    const resolve = this.options.resolve ?? (() => []);
    const candidates = this.pad.entries.filter((entry) => mayBeAt(entry, datagram.remote, resolve));
    const knowsIntermediate = findNotify(payloads, NOTIFY.INTERMEDIATE_EXCHANGE_SUPPORTED) !== null;
    const choose = (entries: readonly PadEntry[]): ReturnType<typeof chooseProposal> => {
      for (const { proposals } of entries) {
        const usable = knowsIntermediate
          ? proposals
          : proposals.filter((proposal) => additionalMethods(proposal).length === 0);
        const chosen = chooseProposal(usable, offer.proposals, {
          preferKeyExchange: ke.method,
          ignoreKeyExchange: false,
        });
        if (chosen !== null) return chosen;
      }
      return null;
    };
    const chosen = choose(candidates);
    if (chosen === null) {
      this.refuseInit(datagram, message, candidates);
      this.reply(datagram, answerHeader, [notifyPayload(NOTIFY.NO_PROPOSAL_CHOSEN)]);
      return;
    }
    const method = keyExchangeOf(chosen.proposal) ?? 0;
    if (method !== ke.method) {
      // RFC 7296 section 1.2: the group that is wanted, and nothing is kept.
      const wanted = notifyPayload(NOTIFY.INVALID_KE_PAYLOAD, twoBytes(method));
      this.reply(datagram, answerHeader, [wanted]);
      return;
    }
    const sa = new IkeSa(
      this,
      false,
      { initiator: header.spiInitiator, responder: this.allocateIkeSpi() },
      path,
    );
    this.adopt(sa);
    this.initiated.set(key, sa);
    sa.initKey = key;
    this.admissions.begin(sa);
    const lifeMs = this.admissions.isUnderAttack
      ? this.limits.halfOpenUnderAttackMs
      : this.limits.halfOpenMs;
    const half: HalfOpen = {
      candidates,
      transcript: null,
      methods: additionalMethods(chosen.proposal),
      timer: this.timers.add(this.now + lifeMs, () =>
        sa.close('dead', 'the peer did not go on with IKE_AUTH'),
      ),
    };
    this.halfOpen.set(sa, half);
    sa.beginAsResponder(
      message,
      respondInit(
        sa,
        {
          message: message.bytes,
          payloads,
          proposal: chosen.proposal,
          answer: { type: 'sa', proposals: [toWireAnswer(chosen, new Uint8Array(0))] },
          candidates,
          ke: { method, data: ke.data },
          ni: nonce.data,
        },
        (transcript) => {
          half.transcript = transcript;
        },
      ),
    );
  }

  private refuseInit(
    datagram: IkeDatagram,
    message: ReceivedMessage,
    candidates: readonly PadEntry[],
  ): void {
    const [closest] = [...candidates].sort(
      (a, b) =>
        initDifferences(a, message.payloads).length - initDifferences(b, message.payloads).length,
    );
    this.emit({
      kind: 'event',
      event: {
        kind: 'refused',
        by: 'us',
        notify: formatNotify(NOTIFY.NO_PROPOSAL_CHOSEN),
        reason:
          closest === undefined
            ? 'no peer of the configuration may be at this address'
            : 'none of the IKE proposals is acceptable',
        closest: closest?.name ?? null,
        differences:
          closest === undefined
            ? [{ field: 'address', ours: this.knownAddresses(), theirs: datagram.remote }]
            : initDifferences(closest, message.payloads),
        ikeSa: 0,
        peer: null,
        child: null,
        remote: datagram.remote,
      },
    });
  }

  private knownAddresses(): string {
    const shown = this.pad.entries.slice(0, 4).flatMap(({ hosts }) =>
      hosts.map((host) => {
        switch (host.kind) {
          case 'address':
            return host.address;
          case 'dns-name':
            return host.name;
          case 'range':
            return `${host.range.from}-${host.range.to}`;
          case 'any':
            return 'any';
        }
      }),
    );
    return shown.length === 0 ? 'no peer' : shown.join(', ');
  }

  // ---------------------------------------------------------------- requests

  /** The exchange that answers a request; null: it has no place here and is dropped. */
  private respondTo(
    sa: IkeSa,
    request: ReceivedMessage,
    payloads: readonly Payload[],
  ): Exchange<Reply> | null {
    const name = exchangeName(request.header.exchange);
    const half = this.halfOpen.get(sa);
    // Before the peer has proved who it is there are these two exchanges, and nothing else.
    if (sa.phase === 'connecting') {
      if (half?.transcript == null) return null;
      const [method, ...rest] = half.methods;
      if (name === 'IKE_INTERMEDIATE' && method !== undefined) {
        half.methods = rest;
        return respondIntermediate(sa, payloads, half.transcript, method);
      }
      if (name === 'IKE_AUTH' && method === undefined) {
        return respondAuth(sa, half.candidates, half.transcript, payloads, (outcome) =>
          this.establish(sa, outcome),
        );
      }
      return null;
    }
    switch (name) {
      case 'INFORMATIONAL':
        return respondInformational(sa, payloads);
      case 'CREATE_CHILD_SA':
        return this.respondCreate(sa, payloads);
      case 'IKE_FOLLOWUP_KE':
        return respondFollowup(sa, payloads);
      default:
        return null;
    }
  }

  private respondCreate(sa: IkeSa, payloads: readonly Payload[]): Exchange<Reply> {
    const isRekey = rekeysIkeSa(payloads);
    // RFC 7296 section 2.25.2: an IKE SA on its way out takes no more; while we rekey it, it takes
    // the peer's rekey of it but no child.
    if (sa.phase !== 'established' || (sa.ownRekey !== null && !isRekey) || this.isClosing) {
      return refuse('the IKE SA is being rekeyed or closed', NOTIFY.TEMPORARY_FAILURE);
    }
    if (sa.peerRekey !== null || (isRekey && (sa.isBusyWithChildren || sa.followup !== null))) {
      return refuse('the IKE SA or a child of it is being changed', NOTIFY.TEMPORARY_FAILURE);
    }
    return isRekey ? respondRekeyIkeSa(sa, payloads) : respondCreateChild(sa, payloads);
  }

  // ---------------------------------------------------------------- up, and down

  private establish(sa: IkeSa, outcome: AuthOutcome): void {
    if (!sa.isOpen) return;
    this.endHalfOpen(sa);
    sa.phase = 'established';
    sa.establishedAt = this.now;
    sa.event({ ...sa.subject(), kind: 'peer-up' });
    this.revealKeys(sa);
    this.settleUniqueness(sa, outcome.initialContact);
    this.life.watchIkeSa(sa);
    if (outcome.child !== null) this.life.watchChild(outcome.child, null);
  }

  // RFC 7296 section 2.4: what else there is of this peer is left over from before it restarted, or
  // is replaced, as its entry says. It is the responder's to say so: two that end each other's would
  // end both.
  private settleUniqueness(sa: IkeSa, initialContact: boolean): void {
    const { peer, remoteIdentity } = sa;
    if (peer === null || remoteIdentity === null) return;
    const name = formatIdentity(remoteIdentity);
    const others = this.all().filter(
      (other) =>
        other !== sa &&
        other.phase === 'established' &&
        other.peer?.name === peer.name &&
        other.remoteIdentity !== null &&
        formatIdentity(other.remoteIdentity) === name,
    );
    for (const other of others) {
      if (initialContact) {
        other.close('ours', 'the peer has started anew');
      } else if (peer.unique === 'no') {
        continue;
      } else if (isCrossing(sa, other)) {
        // Both sides began at once, and each knows all four SPIs: the same IKE SA goes on both.
        const gone = sa.spiInitiator > other.spiInitiator ? sa : other;
        if (gone.isInitiator) {
          this.life.endIkeSa(gone, 'both sides connected at the same moment', 'ours');
        }
      } else if (!sa.isInitiator && peer.unique === 'replace') {
        this.life.endIkeSa(other, 'replaced by a newer IKE SA of the same peer', 'ours');
      } else if (!sa.isInitiator) {
        this.life.endIkeSa(sa, 'another IKE SA of the same peer is kept', 'ours');
        return;
      }
    }
  }

  childUp(child: ChildSa, predecessor: ChildSa | null): void {
    this.life.watchChild(child, predecessor);
  }

  childEnded(): void {
    // Whoever drives the machine knows by the event `child-down`, and decides.
  }

  ikeRekeyed(successor: IkeSa): void {
    this.revealKeys(successor);
    this.life.watchIkeSa(successor);
  }

  private renew(child: ChildSa): void {
    const { ike, terms } = child;
    this.enqueueChild(
      ike,
      { terms, selector: terms.selector, packet: null, agreed: null },
      () => undefined,
    );
  }

  private revealKeys(sa: IkeSa): void {
    const { keys, proposal } = sa;
    if (this.options.revealKeys !== true || keys === null || proposal === null) return;
    const { encryption = '', integrity = '' } = Object.fromEntries(
      proposal.transforms.map((transform) => [
        transform.type,
        formatProposal({ protocol: 'ike', transforms: [transform] }),
      ]),
    );
    sa.event({
      ...sa.subject(),
      kind: 'keys',
      keys: {
        spiInitiator: sa.spiInitiator,
        spiResponder: sa.spiResponder,
        encryption,
        integrity,
        skEi: Uint8Array.from(keys.skEi),
        skEr: Uint8Array.from(keys.skEr),
        skAi: Uint8Array.from(keys.skAi),
        skAr: Uint8Array.from(keys.skAr),
      },
    });
  }

  // ---------------------------------------------------------------- commands

  initiate(command: InitiateCommand): void {
    const done = this.doneOf(command.command);
    const peer = this.pad.entries.find(({ name }) => name === command.peer);
    const terms = peer?.children.find(({ name }) => name === command.child) ?? null;
    if (peer === undefined || (command.child !== null && terms === null) || this.isClosing) {
      done('there is no such peer or child');
      return;
    }
    const requests = terms === null ? [] : childRequests(terms, command.packet);
    const established = this.all().filter((sa) => sa.peer === peer || sa.peer?.name === peer.name);
    const sa =
      established.find(({ phase }) => phase === 'established') ??
      established.find(({ phase, isInitiator }) => phase === 'connecting' && isInitiator);
    if (sa !== undefined) {
      const wanted = requests.filter((request) => !isServed(sa, request));
      if (wanted.length === 0) done(null);
      this.enqueueChildren(sa, wanted, done);
      return;
    }
    this.connect(peer, requests, command.paths, done);
  }

  private connect(
    peer: PadEntry,
    requests: readonly ChildRequest[],
    paths: readonly PeerPath[],
    done: (refused: string | null) => void,
  ): void {
    const [path, ...others] = paths;
    if (path === undefined) {
      done('no address of the peer is known');
      return;
    }
    const startsOnNatPort = peer.remotePort !== this.ports.ike;
    const sa = new IkeSa(
      this,
      true,
      { initiator: this.allocateIkeSpi(), responder: 0n },
      {
        ...path,
        localPort: startsOnNatPort ? this.ports.nat : this.ports.ike,
        remotePort: peer.remotePort,
        encapsulation: 'udp',
      },
    );
    sa.peer = peer;
    this.adopt(sa);
    const [first = null, ...rest] = requests;
    let childRefused: string | null = null;
    const initialContact = !this.all().some(
      (other) => other !== sa && other.peer?.name === peer.name && other.phase === 'established',
    );
    sa.enqueue(
      'connect',
      () =>
        connect(sa, peer, {
          first,
          initialContact,
          done: (outcome) => {
            childRefused = outcome.refused;
            this.establish(sa, outcome);
          },
        }),
      (refused) => {
        if (refused === null) {
          if (childRefused !== null || rest.length === 0) done(childRefused);
          else this.enqueueChildren(sa, rest, done);
          return;
        }
        sa.close('dead', refused);
        // Several addresses of one peer are tried in turn.
        if (others.length > 0 && !this.isClosing) this.connect(peer, requests, others, done);
        else done(refused);
      },
    );
  }

  private enqueueChildren(
    sa: IkeSa,
    requests: readonly ChildRequest[],
    done: (refused: string | null) => void,
  ): void {
    let left = requests.length;
    let refused: string | null = null;
    for (const request of requests) {
      this.enqueueChild(sa, request, (outcome) => {
        left -= 1;
        refused ??= outcome;
        if (left === 0) done(refused);
      });
    }
  }

  private enqueueChild(
    sa: IkeSa,
    request: ChildRequest,
    done: (refused: string | null) => void,
  ): void {
    const { life } = this;
    sa.enqueue(
      `child ${request.terms.name}`,
      // The turn may have moved to the successor of the IKE SA that it was queued for.
      function* exchange(current: IkeSa) {
        if (isServed(current, request)) return;
        const child = yield* createChild(current, request, null);
        life.watchChild(child, null);
      },
      done,
    );
  }

  firstUse(spi: number): void {
    const child = this.childBySpi(spi);
    const held = child?.takeHeld() ?? null;
    if (child === null || held === null) return;
    this.begin({ kind: 'install', sas: [held] }, (result) => {
      if (result.kind !== 'install' || result.refused === null) return;
      child.ike.detail(`The SA that sends could not be installed: ${result.refused}`);
    });
  }

  // RFC 7296 section 2.23: only a peer behind a NAT moves without saying so, and only where MOBIKE
  // is not there to say it.
  moveRemote(sa: IkeSa, remote: string, remotePort: number): void {
    if (sa.phase !== 'established' || !sa.nat.remote || sa.abilities.mobike) return;
    if (sa.endpoint.remote === remote && sa.endpoint.remotePort === remotePort) return;
    const last = this.movedAt.get(sa) ?? -Infinity;
    if (this.now - last < this.limits.mappingIntervalMs) return;
    this.movedAt.set(sa, this.now);
    sa.endpoint = { ...sa.endpoint, remote, remotePort };
    moveChildren(sa);
  }

  moveLocal(sa: IkeSa, path: PeerPath): void {
    if (!sa.abilities.mobike) {
      this.life.endIkeSa(sa, 'our address changed, and the peer knows no MOBIKE', 'dead');
      return;
    }
    const { ports } = this;
    sa.endpoint = {
      ...path,
      localPort: ports.nat,
      remotePort: sa.endpoint.remotePort === ports.ike ? ports.nat : sa.endpoint.remotePort,
      encapsulation: sa.endpoint.encapsulation,
    };
    // A request that is under way goes on from the new address (RFC 4555 section 3.5).
    sa.retransmitNow();
    const forced = sa.peer?.encapsulation === 'forced';
    sa.enqueue('update addresses', (current) => updateAddresses(current, forced));
  }

  replacePad(pad: Pad): void {
    this.pad = pad;
    for (const sa of this.all()) {
      const entry = pad.entries.find(({ name }) => name === sa.peer?.name);
      if (entry !== undefined && sa.peer !== null) sa.peer = entry;
    }
  }

  tellLast(sa: IkeSa): void {
    if (sa.phase === 'established') {
      sa.sendLast([{ type: 'delete', protocolId: 1, spis: [] }]);
    }
  }
}

function* refuse(reason: string, notify: number): Exchange<Reply> {
  throw new ExchangeRefused(reason, notify);
}

/** One request for the whole selector, or one for each pair of ranges (RFC 7296 section 2.9). */
function childRequests(terms: ChildTerms, packet: PacketFields | null): readonly ChildRequest[] {
  const whole = (selector: Selector): ChildRequest => ({ terms, selector, packet, agreed: null });
  const { selector } = terms;
  if (terms.selectorsPerChild === 'all') return [whole(selector)];
  return selector.local.flatMap((local) =>
    selector.remote.map((remote) => whole({ ...selector, local: [local], remote: [remote] })),
  );
}

/** Whether two IKE SAs of one peer were begun from both sides at about the same time. */
function isCrossing(a: IkeSa, b: IkeSa): boolean {
  return a.isInitiator !== b.isInitiator && Math.abs(a.createdAt - b.createdAt) < CROSSING_MS;
}

const CROSSING_MS: Milliseconds = 10_000;

/** Whether a child that is up serves what is asked for. */
function isServed(sa: IkeSa, request: ChildRequest): boolean {
  return sa.children.some(
    ({ terms, state, agreement }) =>
      terms.name === request.terms.name &&
      (state === 'installed' || state === 'rekeying') &&
      (terms.selectorsPerChild === 'all' ||
        JSON.stringify(agreement.selector) === JSON.stringify(request.selector)),
  );
}

function initKey(
  spi: bigint,
  path: { readonly remote: string; readonly remotePort: number },
): string {
  return `${Buffer.from(ikeSpiBytes(spi)).toString('hex')} ${path.remote} ${path.remotePort}`;
}

function pathOf(datagram: IkeDatagram, encapsulation: 'udp' | 'esp'): SaEndpoint {
  const { local, localPort, remote, remotePort } = datagram;
  return { local, localPort, remote, remotePort, encapsulation };
}

function snapshotOf(sa: IkeSa, now: Milliseconds): IkeSaSnapshot {
  return {
    id: sa.id,
    peer: sa.peer?.name ?? null,
    state: sa.phase === 'closed' ? 'deleting' : sa.phase,
    spiInitiator: sa.spiInitiator,
    spiResponder: sa.spiResponder,
    isInitiator: sa.isInitiator,
    endpoint: sa.endpoint,
    localIdentity: sa.localIdentity === null ? '' : formatIdentity(sa.localIdentity),
    remoteIdentity: sa.remoteIdentity === null ? '' : formatIdentity(sa.remoteIdentity),
    natLocal: sa.nat.local,
    natRemote: sa.nat.remote,
    proposal: sa.proposal === null ? '' : formatProposal(sa.proposal),
    hasPpk: sa.hasPpk,
    establishedMs: sa.establishedAt === 0 ? 0 : now - sa.establishedAt,
    rekeyInMs: sa.rekeyAt === null ? null : sa.rekeyAt - now,
    children: sa.children.map((child) => child.snapshot(now)),
  };
}
