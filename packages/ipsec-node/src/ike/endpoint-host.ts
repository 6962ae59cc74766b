/**
 * The tables of an endpoint: IKE SAs by SPI, children by SPI, half-open peers; which IKE SA a datagram
 * is for and which exchange answers a request; what follows when an IKE SA comes up or goes.
 */
import type { Milliseconds } from '../clock.js';
import { InternalError } from '../errors.js';
import { formatIdentity } from '../pad/identity-text.js';
import type { Pad } from '../pad/pad.js';
import type { PadEntry } from '../pad/pad-entry.js';
import { formatProposal } from '../sad/proposal.js';
import type { SaIdentifier } from '../sad/sa.js';
import { SPI_MIN } from '../sad/spi.js';
import type { Effect, EffectResult, IkeAction, IkeDatagram } from './action.js';
import { Admissions } from './admission.js';
import type { ChildSa } from './child-sa.js';
import { respondCreateChild, respondFollowup } from './exchange/create-child-sa.js';
import { type AuthOutcome, respondAuth } from './exchange/ike-auth.js';
import { type InitTranscript, respondIntermediate } from './exchange/ike-sa-init.js';
import {
  moveChildren,
  respondInformational,
  tellAddresses,
  updateAddresses,
} from './exchange/informational.js';
import { rekeysIkeSa, respondRekeyIkeSa } from './exchange/rekey-ike-sa.js';
import { ExchangeRefused, type Exchange, type Reply } from './exchange/step.js';
import type { IkeSa } from './ike-sa.js';
import type { IkeHost, IkeSaEnd } from './ike-host.js';
import { DELETE_IKE_SA, exchangeName, notifyPayload } from './names.js';
import { Life } from './life.js';
import { IKE_LIMITS, type IkeLimits } from './limits.js';
import { NOTIFY } from './notify.js';
import { encodeMessage, parseDatagram } from './payload/codec.js';
import {
  EXCHANGE_NUMBERS,
  type ExchangeName,
  type IkeHeader,
  type Payload,
  type ReceivedMessage,
} from './payload/payload.js';
import { type TimerHandle, TimerQueue } from './timer-queue.js';
import type { IkeEndpointOptions, PeerPath } from './endpoint.js';
import { FirstMessages } from './first-messages.js';
import { InitResponder } from './init-responder.js';
import { pathOf } from './path.js';
import { Initiator } from './initiator.js';
import { SaIndex } from './sa-index.js';

/** A responder's IKE SA before the peer has proved who it is. */
export interface HalfOpen {
  readonly candidates: readonly PadEntry[];
  transcript: InitTranscript | null;
  /** Additional key exchanges that are still to be done, in order. */
  methods: readonly number[];
  readonly timer: TimerHandle;
}

/** Sizes of the tables of an endpoint. */
export interface EndpointUsage {
  readonly ikeSas: number;
  readonly halfOpen: number;
  /** IKE SAs that can be named by an SPI, and by a first message. */
  readonly ikeSpis: number;
  readonly firstMessages: number;
  readonly children: number;
  /** Inbound SPIs that are taken: of children, and of those that are being negotiated. */
  readonly spis: number;
  readonly timers: number;
  /** Effects that were asked for and are not done. */
  readonly effects: number;
  /** Bytes of fragments in reassembly. */
  readonly fragmentBytes: number;
}

/** What an {@link IkeSa} asks of its endpoint, and what the endpoint's methods stand on. */
export class EndpointHost implements IkeHost {
  now: Milliseconds = 0;
  pad: Pad;
  readonly ports: { readonly ike: number; readonly nat: number };
  readonly limits: IkeLimits;
  readonly timers = new TimerQueue();
  readonly admissions: Admissions;
  readonly life: Life;
  readonly initiator = new Initiator(this);
  isClosing = false;
  private readonly initResponder = new InitResponder(this);

  readonly options: IkeEndpointOptions;
  private actions: IkeAction[] = [];
  private depth = 0;
  private numbers = 0;
  private fragmentBytes = 0;
  private readonly waiting = new Map<number, (result: EffectResult) => void>();
  private readonly bySpi = new Map<bigint, IkeSa>();
  private readonly numbered = new Map<number, IkeSa>();
  readonly halfOpen = new Map<IkeSa, HalfOpen>();
  /** IKE SAs that a first message made, by who sent it. */
  readonly initiated = new FirstMessages<IkeSa>();
  private readonly spis = new Set<number>();
  private readonly children = new Map<number, ChildSa>();
  private readonly numberedChildren = new Map<number, ChildSa>();
  /** IKE SAs by the name of their PAD entry, and by that and who the peer proved to be. */
  private readonly byPeer = new SaIndex<IkeSa>();
  private readonly byIdentity = new SaIndex<IkeSa>();
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

  usage(): EndpointUsage {
    return {
      ikeSas: this.numbered.size,
      halfOpen: this.admissions.halfOpenCount,
      ikeSpis: this.bySpi.size,
      firstMessages: this.initiated.size,
      children: this.children.size,
      spis: this.spis.size,
      timers: this.timers.size,
      effects: this.waiting.size,
      fragmentBytes: this.fragmentBytes,
    };
  }

  all(): readonly IkeSa[] {
    return [...this.numbered.values()];
  }

  byNumber(id: number): IkeSa | null {
    return this.numbered.get(id) ?? null;
  }

  childByNumber(id: number): ChildSa | null {
    return this.numberedChildren.get(id) ?? null;
  }

  childBySpi(spi: number): ChildSa | null {
    return this.children.get(spi) ?? null;
  }

  /** The child that an SA of the datapath belongs to. */
  childOf({ direction, spi }: SaIdentifier): ChildSa | null {
    if (direction === 'inbound') return this.childBySpi(spi);
    const has = ({ installedSas }: ChildSa): boolean =>
      installedSas.some((sa) => sa.direction === 'outbound' && sa.spi === spi);
    return [...this.children.values()].find(has) ?? null;
  }

  /** IKE SAs among which are all that a choice speaks of, as few as the tables tell. */
  chosen(choice: {
    readonly ikeSa: number | null;
    readonly childId: number | null;
    readonly peer: string | null;
  }): readonly IkeSa[] {
    const one =
      choice.ikeSa !== null
        ? this.byNumber(choice.ikeSa)
        : choice.childId !== null
          ? (this.childByNumber(choice.childId)?.ike ?? null)
          : undefined;
    if (one !== undefined) return one === null ? [] : [one];
    return choice.peer === null ? this.all() : this.ofPeer(choice.peer);
  }

  indexChild(spi: number, child: ChildSa | null): void {
    const before = this.children.get(spi);
    if (before !== undefined) this.numberedChildren.delete(before.id);
    if (child === null) {
      this.children.delete(spi);
    } else {
      this.children.set(spi, child);
      this.numberedChildren.set(child.id, child);
    }
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
    this.indexPeer(sa);
  }

  /** IKE SAs of a PAD entry that we began, or whose peer has proved to be that one. */
  ofPeer(name: string): readonly IkeSa[] {
    return this.byPeer.of(name);
  }

  // As initiator the entry is known at once, as responder once the peer has proved who it is.
  private indexPeer(sa: IkeSa): void {
    if (sa.peer === null) return;
    this.byPeer.put(sa, sa.peer.name);
    const identity = identityKey(sa);
    if (identity !== null) this.byIdentity.put(sa, identity);
  }

  release(sa: IkeSa, _end: IkeSaEnd): void {
    this.bySpi.delete(sa.localSpi);
    this.numbered.delete(sa.id);
    this.byPeer.remove(sa);
    this.byIdentity.remove(sa);
    this.endHalfOpen(sa);
    this.initiated.remove(sa);
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
      // RFC 7296 section 3.10.1: INVALID_SYNTAX is said of and in authentic messages alone.
      if (notify === NOTIFY.INVALID_SYNTAX) return;
      this.tellStranger(datagram, header, notify, data);
      return;
    }
    const message = parsed.value;
    const { header } = message;
    // One that is protected belongs to an IKE SA, where it has no place.
    const isFirst = message.encrypted === null;
    if (header.exchange === EXCHANGE_NUMBERS.IKE_SA_INIT && !header.isResponse && isFirst) {
      this.initResponder.receive(datagram, message);
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
    sa.messagePath = pathOf(datagram, sa.endpoint.encapsulation, sa.endpoint);
    sa.handleMessage(message, (request, payloads) => this.respondTo(sa, request, payloads));
  }

  followPath(sa: IkeSa, _message: ReceivedMessage): void {
    const path = sa.messagePath;
    sa.requestPath = path;
    if (sa.phase === 'connecting') {
      // RFC 7296 section 2.23: the initiator goes over to port 4500, and the responder follows.
      if (!sa.isInitiator) sa.endpoint = path;
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

  /** One unprotected answer. */
  reply(datagram: IkeDatagram, header: IkeHeader, payloads: readonly Payload[]): void {
    const { local, localPort, remote, remotePort } = datagram;
    const payload = encodeMessage(header, payloads);
    this.emit({ kind: 'send', datagram: { local, localPort, remote, remotePort, payload } });
  }
  // ---------------------------------------------------------------- requests

  /** The exchange that answers an authentic request; null: it came too early, and is dropped. */
  private respondTo(
    sa: IkeSa,
    request: ReceivedMessage,
    payloads: readonly Payload[],
  ): Exchange<Reply> | null {
    const name = exchangeName(request.header.exchange);
    const half = this.halfOpen.get(sa);
    // Before the peer has proved who it is there are these two exchanges, and nothing else.
    if (sa.phase === 'connecting') {
      // As initiator: the peer is ahead of its answer to IKE_AUTH, which comes again, and so will this.
      if (half === undefined || half.transcript === null) return null;
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
      return misplaced(name);
    }
    switch (name) {
      case 'INFORMATIONAL':
        return answered(() => respondInformational(sa, payloads));
      case 'CREATE_CHILD_SA':
        return this.respondCreate(sa, payloads);
      case 'IKE_FOLLOWUP_KE':
        return respondFollowup(sa, payloads);
      default:
        return misplaced(name);
    }
  }

  private respondCreate(sa: IkeSa, payloads: readonly Payload[]): Exchange<Reply> {
    const isRekey = rekeysIkeSa(payloads);
    // RFC 7296 section 2.25.2: an IKE SA on its way out takes no more; while we rekey it, it takes
    // the peer's rekey of it but no child.
    const isLeaving = sa.phase !== 'established' || (sa.ownRekey !== null && !isRekey);
    // One that is not in place yet has no children: the peer is ahead of us.
    if (isLeaving || sa.predecessor !== null || this.isClosing) {
      return refuse('the IKE SA is being rekeyed or closed', NOTIFY.TEMPORARY_FAILURE);
    }
    if (sa.peerRekey !== null || (isRekey && (sa.isBusyWithChildren || sa.followup !== null))) {
      return refuse('the IKE SA or a child of it is being changed', NOTIFY.TEMPORARY_FAILURE);
    }
    return isRekey ? respondRekeyIkeSa(sa, payloads) : respondCreateChild(sa, payloads);
  }

  // ---------------------------------------------------------------- up, and down

  /** IKE_AUTH is done: the IKE SA is up. */
  establish(sa: IkeSa, outcome: AuthOutcome): void {
    if (!sa.isOpen) return;
    this.endHalfOpen(sa);
    sa.phase = 'established';
    sa.establishedAt = this.now;
    this.indexPeer(sa);
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
    const { peer } = sa;
    const identity = identityKey(sa);
    if (peer === null || identity === null) return;
    const others = this.byIdentity
      .of(identity)
      .filter((other) => other !== sa && other.phase === 'established');
    for (const other of others) {
      if (initialContact && !isCrossing(sa, other)) {
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

  giveUpChild(child: ChildSa, reason: string): void {
    this.life.giveUpChild(child, reason);
  }

  childStays(child: ChildSa): void {
    this.life.childStays(child);
  }

  ikeRekeyed(successor: IkeSa): void {
    this.indexPeer(successor);
    this.revealKeys(successor);
    this.life.watchIkeSa(successor);
  }

  private renew(child: ChildSa): void {
    const { ike, terms } = child;
    this.initiator.enqueueChild(
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
  firstUse(spi: number): void {
    this.childBySpi(spi)?.switchOver();
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
    if (sa.beganFirst) {
      sa.enqueue('update addresses', updateAddresses);
      return;
    }
    // Section 3.5: only where the old address is no more does a responder send from another one at
    // once. What is asked for by routes is taken for that.
    moveChildren(sa);
    sa.enqueue('tell addresses', tellAddresses);
  }

  replacePad(pad: Pad): void {
    this.pad = pad;
    for (const sa of this.all()) {
      const old = sa.peer;
      const entry = pad.entries.find(({ name }) => name === old?.name);
      if (entry === undefined || old === null) continue;
      sa.peer = entry;
      for (const child of sa.children) {
        child.terms = entry.children.find(({ name }) => name === child.terms.name) ?? child.terms;
      }
      if (sa.phase === 'established') this.life.followTerms(sa, old);
    }
  }

  tellLast(sa: IkeSa): void {
    if (sa.phase === 'established') {
      sa.sendLast([DELETE_IKE_SA]);
    }
  }
}

/** An answer that waits for nothing. */
function* answered(reply: () => Reply): Exchange<Reply> {
  return reply();
}

// RFC 7296 section 3.10.1: INVALID_SYNTAX is for any error that has no notification of its own.
function misplaced(name: ExchangeName | null): Exchange<Reply> {
  const what = name ?? 'an exchange that is not known';
  return refuse(`${what} has no place here`, NOTIFY.INVALID_SYNTAX);
}

function* refuse(reason: string, notify: number): Exchange<Reply> {
  throw new ExchangeRefused(reason, notify);
}

/** PAD entry and identity in one; null before the peer has proved who it is. */
function identityKey({ peer, remoteIdentity }: IkeSa): string | null {
  if (peer === null || remoteIdentity === null) return null;
  return `${peer.name} ${formatIdentity(remoteIdentity)}`;
}

/** Whether two IKE SAs of one peer were begun from both sides at about the same time. */
function isCrossing(a: IkeSa, b: IkeSa): boolean {
  return a.isInitiator !== b.isInitiator && Math.abs(a.createdAt - b.createdAt) < CROSSING_MS;
}

const CROSSING_MS: Milliseconds = 10_000;
