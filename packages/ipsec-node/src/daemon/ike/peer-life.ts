/**
 * What is to be up, and what becomes of it when it is not: `start`, `trap` and `none`, and after a
 * close or a death `restart`, `trap` or `clear`, with longer and longer waits between attempts.
 */
import type { Clock, Milliseconds, Timer } from '../../clock.js';
import type { IkeEvent } from '../../ike/action.js';
import type { Aftermath, ChildTerms } from '../../pad/child-terms.js';
import type { Pad } from '../../pad/pad.js';
import type { PadEntry } from '../../pad/pad-entry.js';
import type { PacketFields } from '../../spd/packet.js';

const BACK_OFF_MS = { first: 1_000, factor: 2, max: 60_000 } as const;
/** A packet asks again for an SA that was refused no sooner than this. */
const ACQUIRE_MS: Milliseconds = 1_000;

/** Starts a child; resolves with why it did not come up, or null. */
export type Starter = (
  peer: PadEntry,
  child: ChildTerms,
  packet: PacketFields | null,
) => Promise<string | null>;

/** Peers and children by name that ended because their terms are no longer the same. */
export interface EndedByReload {
  readonly peers: ReadonlySet<string>;
  readonly children: ReadonlySet<string>;
}

const NOTHING: EndedByReload = { peers: new Set(), children: new Set() };

interface Watched {
  readonly peer: PadEntry;
  readonly terms: ChildTerms;
  /** Whether a packet may ask for it. */
  isTrapped: boolean;
  attempts: number;
  isUnderWay: boolean;
  timer: Timer | null;
  askedAt: Milliseconds;
}

export class PeerLife {
  private readonly watched = new Map<string, Watched>();
  private isStopped = false;

  constructor(
    private readonly clock: Clock,
    private readonly random: () => number,
    private readonly start: Starter,
  ) {}

  /** Takes a PAD: children that are new or ended begin their life, those that are gone end it. */
  replace(pad: Pad, ended: EndedByReload = NOTHING): void {
    const names = new Set<string>();
    for (const peer of pad.entries) {
      for (const terms of peer.children) {
        names.add(terms.name);
        const known = this.watched.get(terms.name);
        const isSameStart = known !== undefined && known.terms.start === terms.start;
        const watched: Watched = {
          peer,
          terms,
          isTrapped: isSameStart ? known.isTrapped : terms.start !== 'none',
          attempts: known?.attempts ?? 0,
          isUnderWay: known?.isUnderWay ?? false,
          timer: null,
          askedAt: known?.askedAt ?? -Infinity,
        };
        known?.timer?.cancel();
        this.watched.set(terms.name, watched);
        const begins = !isSameStart || ended.peers.has(peer.name) || ended.children.has(terms.name);
        // An attempt that was waiting for its time goes on with the new terms.
        if (isSameStart && known.timer !== null) this.retry(watched);
        else if (begins && terms.start === 'start') void this.attempt(watched, null);
      }
    }
    for (const [name, { timer }] of this.watched) {
      if (names.has(name)) continue;
      timer?.cancel();
      this.watched.delete(name);
    }
  }

  /** A packet wants an SA. */
  acquire(name: string, packet: PacketFields): void {
    const watched = this.watched.get(name);
    if (watched === undefined || !watched.isTrapped || watched.isUnderWay) return;
    if (this.clock.now() - watched.askedAt < ACQUIRE_MS) return;
    watched.askedAt = this.clock.now();
    void this.attempt(watched, packet);
  }

  /** Somebody asked for it by command, or for its end: from here on that is what is wanted. */
  want(name: string, isWanted: boolean): void {
    const watched = this.watched.get(name);
    if (watched === undefined) return;
    watched.timer?.cancel();
    watched.timer = null;
    watched.attempts = 0;
    if (isWanted) watched.isTrapped = watched.terms.start !== 'none';
  }

  handleEvent(event: IkeEvent): void {
    if (event.kind === 'child-up' && event.child !== null) {
      const watched = this.watched.get(event.child);
      if (watched !== undefined) watched.attempts = 0;
    }
    if (event.kind === 'child-down' && event.child !== null && event.end !== 'ours') {
      const watched = this.watched.get(event.child);
      if (watched === undefined) return;
      this.follow(watched, event.end === 'peer' ? watched.terms.onClose : watched.peer.onDeath);
    }
  }

  private follow(watched: Watched, aftermath: Aftermath): void {
    if (aftermath === 'trap') watched.isTrapped = true;
    if (aftermath === 'restart') this.retry(watched);
  }

  private async attempt(watched: Watched, packet: PacketFields | null): Promise<void> {
    if (this.isStopped || watched.isUnderWay) return;
    watched.isUnderWay = true;
    const refused = await this.start(watched.peer, watched.terms, packet);
    watched.isUnderWay = false;
    const current = this.watched.get(watched.terms.name);
    if (current !== undefined) current.isUnderWay = false;
    if (refused === null || current === undefined || this.isStopped) return;
    const { terms, peer } = current;
    if (packet === null && (terms.start === 'start' || peer.onDeath === 'restart')) {
      this.retry(current);
    }
  }

  private retry(watched: Watched): void {
    if (this.isStopped) return;
    watched.timer?.cancel();
    const { first, factor, max } = BACK_OFF_MS;
    const wait = Math.min(first * factor ** watched.attempts, max) * (0.75 + this.random() / 2);
    watched.attempts += 1;
    watched.timer = this.clock.schedule(wait, () => {
      watched.timer = null;
      void this.attempt(watched, null);
    });
  }

  stop(): void {
    this.isStopped = true;
    for (const { timer } of this.watched.values()) timer?.cancel();
    this.watched.clear();
  }
}
