/**
 * Drives the IKEv2 machine: datagrams, results and time in; what it asks for is done in order, slow
 * work in threads. It is the one place that knows both the machine and the dataplane.
 */
import { randomBytes } from 'node:crypto';
import type { Clock, Milliseconds, Timer } from '../../clock.js';
import type { Dataplane, DataplaneEvent } from '../../dataplane/dataplane.js';
import { InternalError, UsageError } from '../../errors.js';
import type { Effect, EffectResult, IkeAction, IkeEvent, IkeSaSnapshot } from '../../ike/action.js';
import type { ComputeResult, ComputeTask } from '../../ike/compute.js';
import { computeQuickly } from '../../ike/crypto/key-exchange.js';
import { IkeEndpoint } from '../../ike/endpoint.js';
import type { IkeLimits } from '../../ike/limits.js';
import type { Logger } from '../../log.js';
import type { ChildTerms } from '../../pad/child-terms.js';
import type { Pad } from '../../pad/pad.js';
import type { PadEntry } from '../../pad/pad-entry.js';
import type { SaParameters } from '../../sad/sa.js';
import type { PacketFields } from '../../spd/packet.js';
import type { KeptKeys } from '../capture/capture-keys.js';
import { DatapathVerbs } from './datapath-verbs.js';
import type {
  CommandOutcome,
  InitiateRequest,
  RekeyOutcome,
  RekeyRequest,
  SaChoice,
  TerminateOutcome,
  TerminateRequest,
  TimedRefusal,
} from './ike-control.js';
import { logIkeEvent } from './ike-log.js';
import { type EndedByReload, PeerLife } from './peer-life.js';
import { PeerPaths, type PathSource } from './peer-paths.js';

/** Refusals that are kept for `status`; the oldest go first. */
export const REFUSAL_COUNT_MAX = 64;
/** How long a stop waits for the answers to its Deletes. */
const CLOSE_MS: Milliseconds = 3_000;
/** How often the names of the PAD are looked up for those who come from there. */
const NAMES_MS: Milliseconds = 60_000;

export interface IkeDriverParts {
  readonly pad: Pad;
  readonly ports: { readonly ike: number; readonly nat: number };
  readonly dataplane: Dataplane;
  readonly compute: {
    /** Readies it for the first task. */
    start(): void;
    run(task: ComputeTask): Promise<ComputeResult>;
    close(): Promise<void>;
  };
  readonly clock: Clock;
  readonly log: Logger;
  readonly paths?: PathSource;
  readonly limits?: Partial<IkeLimits>;
  /** Where keys of SAs are kept for captures; null: nowhere. */
  readonly keptKeys: KeptKeys | null;
}

type Listener = (event: IkeEvent, at: Date) => void;

export class IkeDriver {
  private readonly endpoint: IkeEndpoint;
  private readonly paths: PeerPaths;
  private readonly life: PeerLife;
  private currentPad: Pad;
  private timer: Timer | null = null;
  /** What {@link timer} waits for. */
  private timerAt: Milliseconds | null = null;
  private namesTimer: Timer | null = null;
  private commands = 0;
  private readonly pending = new Map<number, (refused: string | null) => void>();
  private readonly listeners = new Set<Listener>();
  private readonly refused: TimedRefusal[] = [];
  private readonly verbs: DatapathVerbs;
  /** How many of {@link together} are running, one in the other. */
  private depth = 0;
  /** Outcomes of work that was done at once, for when the machine is not in the middle of an input. */
  private quick: { readonly id: number; readonly result: ComputeResult }[] = [];
  private isStopped = false;
  private whenQuiet: (() => void) | null = null;

  constructor(private readonly parts: IkeDriverParts) {
    this.currentPad = parts.pad;
    this.paths = new PeerPaths(parts.clock, parts.paths);
    this.endpoint = new IkeEndpoint({
      pad: parts.pad,
      ports: parts.ports,
      random: (length) => new Uint8Array(randomBytes(length)),
      resolve: (name) => this.paths.resolved(name),
      revealKeys: parts.keptKeys !== null,
      ...(parts.limits === undefined ? {} : { limits: parts.limits }),
    });
    const { keptKeys } = parts;
    this.verbs = new DatapathVerbs(parts.dataplane, parts.log, {
      together: (run) => this.together(run),
      refused: (id, reason) =>
        this.perform(this.endpoint.handleFailure(id, reason, this.parts.clock.now())),
      installed: keptKeys === null ? null : (sa) => keptKeys.keepSa(sa),
    });
    this.life = new PeerLife(
      parts.clock,
      () => randomBytes(1).readUInt8(0) / 255,
      (peer, child, packet) => this.bringUp(peer, child, packet),
    );
  }

  /** Looks names up and begins what the PAD says is to be up. Waits for no peer. */
  async start(): Promise<void> {
    // The first peer is not made to wait for a thread to start.
    if (this.currentPad.entries.length > 0) this.parts.compute.start();
    await this.paths.refresh(this.currentPad.entries);
    this.life.replace(this.currentPad);
    this.keepNames();
  }

  private keepNames(): void {
    this.namesTimer = this.parts.clock.schedule(NAMES_MS, () => {
      void this.paths.refresh(this.currentPad.entries).finally(() => {
        if (!this.isStopped) this.keepNames();
      });
    });
  }

  /** What the datapath reports and IKE has to know. */
  handleDataplaneEvent(event: DataplaneEvent): void {
    if (this.isStopped) return;
    const now = this.parts.clock.now();
    switch (event.kind) {
      case 'ike':
        this.together(() => {
          for (const datagram of event.datagrams) {
            this.perform(this.endpoint.handleDatagram(datagram, now));
          }
        });
        break;
      case 'acquire':
        this.life.acquire(event.entry, event.packet);
        break;
      case 'firstUse':
        this.perform(this.endpoint.handleFirstUse(event.id.spi, now));
        break;
      case 'expire':
        this.perform(this.endpoint.handleExpire(event.id, event.hard, now));
        break;
      case 'mapping':
        this.perform(
          this.endpoint.handleMapping(event.id.spi, event.remote, event.remotePort, now),
        );
        break;
      default:
        break;
    }
  }

  // ---------------------------------------------------------------- what the machine asks for

  private perform(actions: readonly IkeAction[]): void {
    this.together(() => {
      for (const action of actions) this.act(action);
    });
  }

  /**
   * What goes out because of several inputs goes out at once: a message to the datapath costs more
   * than what is in it.
   */
  private together(run: () => void): void {
    this.depth += 1;
    try {
      run();
      // Only here is the machine ready for another input.
      while (this.depth === 1 && this.quick.length > 0) {
        for (const { id, result } of this.quick.splice(0))
          this.answer(id, { kind: 'compute', result });
      }
    } finally {
      this.depth -= 1;
    }
    if (this.depth > 0) return;
    this.verbs.flush();
    this.arm();
    if (this.endpoint.ikeSaCount === 0) this.whenQuiet?.();
  }

  private act(action: IkeAction): void {
    switch (action.kind) {
      case 'send':
        this.verbs.send(action.datagram);
        break;
      case 'keepalive':
        this.verbs.keepalive(action.datagram);
        break;
      case 'effect':
        this.carryOut(action.id, action.effect);
        break;
      case 'delete':
        this.verbs.delete(action.sas);
        break;
      case 'update':
        this.verbs.update(action.sas, action.endpoint);
        break;
      case 'event':
        this.tell(action.event);
        break;
    }
  }

  private arm(): void {
    const next = this.endpoint.nextTimeout();
    // Most inputs leave what is due next as it is, or put it off: a timer that is early asks again.
    if (next === null ? this.timerAt === null : this.timerAt !== null && next >= this.timerAt) {
      return;
    }
    this.timer?.cancel();
    this.timer = null;
    this.timerAt = next;
    if (next === null) return;
    const wait = Math.max(0, Math.ceil(next - this.parts.clock.now()));
    this.timer = this.parts.clock.schedule(wait, () => {
      this.timer = null;
      this.timerAt = null;
      this.perform(this.endpoint.handleTimeout(this.parts.clock.now()));
    });
  }

  private answer(id: number, result: EffectResult): void {
    this.perform(this.endpoint.handleResult(id, result, this.parts.clock.now()));
  }

  private carryOut(id: number, effect: Effect): void {
    switch (effect.kind) {
      case 'compute': {
        const result = computeQuickly(effect.task);
        if (result === null) this.computeInThread(id, effect.task);
        else this.quick.push({ id, result });
        break;
      }
      case 'install':
        this.verbs.install(effect.sas, (refused) => this.answer(id, { kind: 'install', refused }));
        break;
      case 'query':
        this.verbs.query(effect.sas, (sas) => this.answer(id, { kind: 'query', sas }));
        break;
    }
  }

  private computeInThread(id: number, task: ComputeTask): void {
    void this.parts.compute
      .run(task)
      .catch((error: unknown): ComputeResult => ({ kind: 'refused', reason: String(error) }))
      .then((result) => this.answer(id, { kind: 'compute', result }));
  }

  private tell(event: IkeEvent): void {
    const at = this.parts.clock.wallTime();
    if (event.kind === 'keys') {
      this.parts.keptKeys?.keepIke(event.keys);
      for (const key of [event.keys.skEi, event.keys.skEr, event.keys.skAi, event.keys.skAr]) {
        key.fill(0);
      }
      return;
    }
    if (event.kind === 'command-done') {
      const done = this.pending.get(event.command);
      this.pending.delete(event.command);
      done?.(event.refused);
      return;
    }
    if (event.kind === 'refused') {
      this.refused.push({ at, event });
      if (this.refused.length > REFUSAL_COUNT_MAX) this.refused.shift();
    }
    logIkeEvent(this.parts.log, event);
    this.life.handleEvent(event);
    for (const listener of this.listeners) listener(event, at);
  }

  // ---------------------------------------------------------------- commands

  /** Resolves with null, or why not. */
  private async bringUp(
    peer: PadEntry,
    child: ChildTerms | null,
    packet: PacketFields | null,
  ): Promise<string | null> {
    const paths = await this.paths.of(peer);
    if (paths.length === 0) {
      const reason = this.paths.missing(peer);
      const about = { ikeSa: 0, peer: peer.name, child: child?.name ?? null, remote: '' };
      this.tell({ kind: 'warning', ...about, reason });
      return reason;
    }
    return this.command((command, now) =>
      this.endpoint.initiate(
        { peer: peer.name, child: child?.name ?? null, packet, paths, command },
        now,
      ),
    );
  }

  private command(
    run: (command: number, now: Milliseconds) => readonly IkeAction[],
  ): Promise<string | null> {
    this.commands += 1;
    const command = this.commands;
    return new Promise((resolve) => {
      this.pending.set(command, resolve);
      this.perform(run(command, this.parts.clock.now()));
    });
  }

  async initiate(
    request: InitiateRequest,
    timeoutMs: Milliseconds | null,
  ): Promise<CommandOutcome> {
    const found = this.find(request);
    if (found === null) return { refused: 'no peer or policy of that name' };
    if (found.child !== null) this.life.want(found.child.name, true);
    const done = this.bringUp(found.peer, found.child, null);
    return { refused: await this.within(done, timeoutMs) };
  }

  async rekey(request: RekeyRequest): Promise<RekeyOutcome> {
    const { ikeSas, children } = this.choose(request);
    if (request.reauth) {
      for (const sa of ikeSas) await this.reauthenticate(sa);
      return { matched: ikeSas.length, refused: null };
    }
    const refusals = await Promise.all([
      ...children.map(({ id }) =>
        this.command((command, now) => this.endpoint.rekeyChild(id, command, now)),
      ),
      ...ikeSas.map(({ id }) =>
        this.command((command, now) => this.endpoint.rekeyIkeSa(id, command, now)),
      ),
    ]);
    const refused = refusals.find((each) => each !== null) ?? null;
    return { matched: children.length + ikeSas.length, refused };
  }

  private async reauthenticate(sa: IkeSaSnapshot): Promise<void> {
    const peer = this.currentPad.entries.find(({ name }) => name === sa.peer);
    const children = new Set(sa.children.map(({ name }) => name));
    await this.command((command, now) =>
      this.endpoint.terminateIkeSa(sa.id, { force: false, command }, now),
    );
    if (peer === undefined) return;
    for (const child of peer.children) {
      if (children.has(child.name)) await this.bringUp(peer, child, null);
    }
  }

  async terminate(
    request: TerminateRequest,
    timeoutMs: Milliseconds | null,
  ): Promise<TerminateOutcome> {
    const { ikeSas, children } = this.choose(request);
    for (const { name } of [...children, ...ikeSas.flatMap((sa) => sa.children)]) {
      this.life.want(name, false);
    }
    const done = Promise.all([
      ...children.map(({ id }) =>
        this.command((command, now) => this.endpoint.terminateChild(id, command, now)),
      ),
      ...ikeSas.map(({ id }) =>
        this.command((command, now) =>
          this.endpoint.terminateIkeSa(id, { force: request.force, command }, now),
        ),
      ),
    ]).then((refusals) => refusals.find((each) => each !== null) ?? null);
    const refused = await this.within(done, timeoutMs);
    const matched = children.length + ikeSas.length;
    return { matched, terminated: refused === null ? matched : 0, refused };
  }

  private async within(
    done: Promise<string | null>,
    timeoutMs: Milliseconds | null,
  ): Promise<string | null> {
    if (timeoutMs === null) return null;
    let timer: Timer | null = null;
    const late = new Promise<string>((resolve) => {
      timer = this.parts.clock.schedule(timeoutMs, () =>
        resolve(`not done within ${Math.round(timeoutMs / 1000)} s; it goes on`),
      );
    });
    try {
      return await Promise.race([done, late]);
    } finally {
      const armed: Timer | null = timer;
      if (armed !== null) cancel(armed);
    }
  }

  private find(request: InitiateRequest): {
    readonly peer: PadEntry;
    readonly child: ChildTerms | null;
  } | null {
    for (const peer of this.currentPad.entries) {
      if (request.peer !== null && peer.name !== request.peer) continue;
      if (request.child === null) return { peer, child: peer.children[0] ?? null };
      const child = peer.children.find(({ name }) => name === request.child);
      if (child !== undefined) return { peer, child };
    }
    return null;
  }

  /** The SAs that a choice speaks of: children where it names one, else IKE SAs. */
  private choose(choice: SaChoice): {
    readonly ikeSas: readonly IkeSaSnapshot[];
    readonly children: IkeSaSnapshot['children'];
  } {
    const ikeSas = this.endpoint
      .chosen(choice, this.parts.clock.now())
      .filter(({ state }) => state !== 'rekeyed');
    if (choice.child === null && choice.childId === null) return { ikeSas, children: [] };
    const children = ikeSas
      .flatMap((sa) => sa.children)
      .filter(
        (child) =>
          (choice.child === null || child.name === choice.child) &&
          (choice.childId === null || child.id === choice.childId) &&
          (child.state === 'installed' || child.state === 'rekeying'),
      );
    return { ikeSas: [], children };
  }

  // ---------------------------------------------------------------- looks

  ikeSas(): readonly IkeSaSnapshot[] {
    return this.endpoint.snapshots(this.parts.clock.now());
  }

  ikeSa(id: number): IkeSaSnapshot | null {
    return this.endpoint.snapshot(id, this.parts.clock.now());
  }

  get pad(): Pad {
    return this.currentPad;
  }

  refusals(): readonly TimedRefusal[] {
    return this.refused;
  }

  onEvent(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Parameters of the negotiated SAs that are installed; their keys are not in them. */
  installedSas(): readonly SaParameters[] {
    return this.verbs.installed();
  }

  // ---------------------------------------------------------------- a new PAD, and the end

  /**
   * Puts a PAD in force. `endPeers` and `endChildren` are those whose terms changed: what was
   * negotiated under the old ones ends; all else stays and loses no packet.
   */
  async replacePad(pad: Pad, ends: EndedByReload): Promise<void> {
    if (this.isStopped) throw new UsageError('IPSEC_ERR_CLOSED', 'The gateway is closed.');
    await this.paths.refresh(pad.entries);
    this.currentPad = pad;
    const ended: Promise<unknown>[] = [];
    for (const sa of this.ikeSas()) {
      if (sa.peer !== null && ends.peers.has(sa.peer)) {
        ended.push(
          this.command((command, now) =>
            this.endpoint.terminateIkeSa(sa.id, { force: false, command }, now),
          ),
        );
        continue;
      }
      for (const child of sa.children) {
        if (!ends.children.has(child.name)) continue;
        ended.push(
          this.command((command, now) => this.endpoint.terminateChild(child.id, command, now)),
        );
      }
    }
    this.perform(this.endpoint.replacePad(pad, this.parts.clock.now()));
    await this.within(
      Promise.all(ended).then(() => null),
      CLOSE_MS,
    );
    this.life.replace(pad, ends);
  }

  /** Our addresses have changed: peers that know MOBIKE are told, others are reached anew. */
  async handleAddressChange(): Promise<void> {
    for (const sa of this.ikeSas()) {
      const peer = this.currentPad.entries.find(({ name }) => name === sa.peer);
      if (peer === undefined || sa.state !== 'established') continue;
      const local = await this.paths.localFor(peer, sa.endpoint.remote);
      if (local === null || local === sa.endpoint.local) continue;
      const path = { local, remote: sa.endpoint.remote };
      this.perform(this.endpoint.handleAddressChange(sa.id, path, this.parts.clock.now()));
    }
  }

  /** Deletes what is up, waits a moment for the answers, and ends. */
  async stop(): Promise<void> {
    if (this.isStopped) return;
    this.life.stop();
    this.namesTimer?.cancel();
    const quiet = new Promise<null>((resolve) => {
      this.whenQuiet = () => resolve(null);
    });
    this.perform(this.endpoint.close(this.parts.clock.now()));
    await this.within(quiet, CLOSE_MS);
    this.perform(this.endpoint.abandon(this.parts.clock.now()));
    this.isStopped = true;
    this.timer?.cancel();
    await this.verbs.settled();
    await this.parts.compute.close();
    for (const done of this.pending.values()) done('the gateway stops');
    this.pending.clear();
    if (this.verbs.size > 0) {
      throw new InternalError('IPSEC_ERR_INTERNAL', 'SAs are left after the end of IKE.', {
        fields: { count: this.verbs.size },
      });
    }
  }
}

function cancel(timer: Timer): void {
  timer.cancel();
}
