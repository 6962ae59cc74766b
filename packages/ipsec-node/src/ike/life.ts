/**
 * The life of IKE SAs and children once they are up: when they are rekeyed, when they are gone, and
 * whether the peer still lives. Time is that of the machine; no timer of the system is here.
 */
import type { ChildSa } from './child-sa.js';
import { jittered } from './exchange/child-life.js';
import {
  ChildUnknown,
  createChild,
  redundantAfterRekey,
  rekeyRequest,
  TemporaryFailure,
} from './exchange/create-child-sa.js';
import { deleteChild, deleteIkeSa, type DeleteReason, probe } from './exchange/informational.js';
import { rekeyIkeSa } from './exchange/rekey-ike-sa.js';
import { type Exchange, query } from './exchange/step.js';
import type { IkeSa } from './ike-sa.js';
import type { PadEntry } from '../pad/pad-entry.js';

/** After a refusal the same is tried again this much later, while the SA lives. */
const RETRY_MS = 30_000;
/** After TEMPORARY_FAILURE (RFC 7296 section 2.25), with jitter: two that collide do not again. */
const TEMPORARY_MS = 2_000;
const TEMPORARY_MAX_MS = 300_000;
/** A look at how much an SA was used: not more often, not less. */
const VOLUME_MS = { min: 1_000, max: 60_000 } as const;

const REPLACED: DeleteReason = { replaced: true, end: 'ours', reason: 'replaced by a rekey' };
const DELETED: DeleteReason = { replaced: false, end: 'ours', reason: 'deleted' };

type Done = (refused: string | null) => void;
const nobody: Done = () => undefined;

export class Life {
  /** What is due, once for all IKE SAs and children. */
  private readonly due = {
    rekeyIkeSa: (sa: IkeSa): void => this.rekeyIkeSa(sa),
    expireIkeSa: (sa: IkeSa): void => this.endIkeSa(sa, 'its lifetime is over', 'dead'),
    liveness: (sa: IkeSa): void => this.checkLiveness(sa),
    keepalive: (sa: IkeSa): void => this.keepAlive(sa),
    rekeyChild: (child: ChildSa): void => this.rekeyChild(child),
    expireChild: (child: ChildSa): void => this.expireChild(child),
    volume: (child: ChildSa): void => this.checkVolume(child),
  };

  /** `renew` negotiates a child anew that the peer has forgotten. */
  constructor(private readonly renew: (child: ChildSa) => void) {}

  /** The IKE SA is up. */
  watchIkeSa(sa: IkeSa): void {
    const { peer } = sa;
    if (peer === null) return;
    const after = jittered(sa, peer.rekeyMs) * (sa.isInitiator ? 1 : 1.05);
    sa.rekeyAt = sa.host.now + after;
    sa.setTimer('rekey', after, this.due.rekeyIkeSa);
    sa.setTimer('expire', Math.max(peer.hardMs, after * 1.1), this.due.expireIkeSa);
    if (peer.livenessMs > 0) sa.setTimer('liveness', peer.livenessMs, this.due.liveness);
    if (peer.keepaliveMs > 0) sa.setTimer('keepalive', peer.keepaliveMs, this.due.keepalive);
  }

  /** A child is up, in place of another where `predecessor` is one. */
  watchChild(child: ChildSa, predecessor: ChildSa | null): void {
    const { ike } = child;
    ike.event({
      ...ike.subject(child),
      kind: predecessor === null ? 'child-up' : 'child-rekeyed',
      inbound: child.inboundSpi,
      outbound: child.outboundSpi,
    });
    const { rekeyMs, hardMs, rekeyBytes, rekeyPackets } = child.terms.lifetime;
    // The side that asked is the first to ask again: two that are in step collide at every rekey.
    const after = jittered(ike, rekeyMs) * (child.isOurs ? 1 : 1.05);
    child.rekeyAt = ike.host.now + after;
    child.setTimer('rekey', after, this.due.rekeyChild);
    child.setTimer('expire', Math.max(hardMs, after * 1.1), this.due.expireChild);
    if (rekeyBytes > 0n || rekeyPackets > 0n) this.watchVolume(child, VOLUME_MS.min);
  }

  /** Rekeys a child; tries again later where the peer cannot just now. */
  rekeyChild(child: ChildSa, done: Done = nobody): void {
    const name = `rekey child ${child.id}`;
    if (child.ike.hasTurn(name)) {
      done(null);
      return;
    }
    let failure: unknown = null;
    const settle = (successor: ChildSa): void => this.settleRekey(child, successor);
    function* exchange(): Exchange<void> {
      // It may have been rekeyed by the peer, or deleted, while this waited for its turn.
      if (child.state !== 'installed' || child.peerRekey !== null) return;
      try {
        const successor = yield* createChild(child.ike, rekeyRequest(child), child);
        child.ike.temporary = null;
        settle(successor);
      } catch (error) {
        failure = error;
        throw error;
      }
    }
    child.ike.enqueue(name, exchange, (refused) => {
      if (refused !== null && child.state === 'installed' && child.ike.isOpen) {
        if (failure instanceof ChildUnknown) {
          child.end('peer', 'the peer knows nothing of it', false);
          this.renew(child);
        } else {
          const temporary = failure instanceof TemporaryFailure;
          this.noteTemporary(child.ike, temporary);
          const after = temporary ? TEMPORARY_MS : RETRY_MS;
          child.setTimer('rekey', after + jittered(child.ike, after), this.due.rekeyChild);
        }
      }
      done(refused);
    });
  }

  // RFC 7296 section 2.25: who cannot for minutes has another state than we have.
  private noteTemporary(sa: IkeSa, isTemporary: boolean): void {
    const { now } = sa.host;
    const before = sa.temporary;
    // One a long time after another has nothing to do with it.
    const since = before !== null && now - before.last <= RETRY_MS ? before.since : now;
    sa.temporary = isTemporary ? { since, last: now } : null;
    if (isTemporary && now - since >= TEMPORARY_MAX_MS) {
      this.endIkeSa(sa, 'the peer says TEMPORARY_FAILURE for minutes', 'dead');
    }
  }

  private settleRekey(old: ChildSa, successor: ChildSa): void {
    const gone = redundantAfterRekey(old);
    if (gone === null) return;
    if (gone === successor) {
      // The peer's rekey stays: it deletes the old one, we the one that we made.
      successor.retireOutbound();
      this.deleteChild(successor, REPLACED);
      return;
    }
    this.watchChild(successor, old);
    if (old.state === 'rekeying' || old.state === 'installed') this.deleteChild(old, REPLACED);
  }

  /** Deletes a child, and tells the peer. */
  private deleteChild(child: ChildSa, why: DeleteReason, done: Done = nobody): void {
    child.ike.enqueue(
      `delete child ${child.id}`,
      function* exchange() {
        // It may be gone by now, or have been replaced and deleted.
        if (!child.ike.children.includes(child) || child.state === 'rekeyed') return;
        yield* deleteChild(child, child.isReplaced ? REPLACED : why);
      },
      done,
    );
  }

  /**
   * A child that is of no use any more: nothing is sent by it from now on, the peer is told, and what
   * follows is what follows a death.
   */
  giveUpChild(child: ChildSa, reason: string): void {
    const { ike } = child;
    if (child.state === 'deleting' || child.state === 'rekeyed') return;
    ike.event({ ...ike.subject(child), kind: 'warning', reason });
    child.retireOutbound();
    // It is not rekeyed, and does not serve who asks for one.
    child.state = 'deleting';
    this.deleteChild(child, { replaced: false, end: 'dead', reason }, (refused) => {
      if (refused !== null && child.ike.children.includes(child)) child.end('dead', reason, false);
    });
  }

  /** The peer's rekey of a child has come to nothing; ours follows. */
  childStays(child: ChildSa): void {
    const after = jittered(child.ike, RETRY_MS);
    child.rekeyAt = child.ike.host.now + after;
    child.setTimer('rekey', after, this.due.rekeyChild);
  }

  /** Deletes a child by command, or what has taken its place by the time that this has its turn. */
  terminateChild(child: ChildSa, done: Done): void {
    child.ike.enqueue(
      `delete child ${child.id}`,
      function* exchange() {
        const { latest } = child;
        if (latest.ike.children.includes(latest)) yield* deleteChild(latest, DELETED);
      },
      done,
    );
  }

  private expireChild(child: ChildSa): void {
    this.giveUpChild(child, 'its lifetime is over and it could not be rekeyed');
  }

  /** Rekeys an IKE SA; tries again later where the peer cannot just now. */
  rekeyIkeSa(sa: IkeSa, done: Done = nobody): void {
    if (sa.hasTurn('rekey IKE SA')) {
      done(null);
      return;
    }
    let failure: unknown = null;
    const endReplaced = (gone: IkeSa): void => this.endIkeSa(gone, 'replaced by a rekey', 'ours');
    function* exchange(): Exchange<void> {
      if (sa.phase !== 'established' || sa.peerRekey !== null) return;
      try {
        const gone = yield* rekeyIkeSa(sa);
        endReplaced(gone);
      } catch (error) {
        failure = error;
        throw error;
      }
    }
    sa.enqueue('rekey IKE SA', exchange, (refused) => {
      if (refused !== null && sa.phase === 'established') {
        this.noteTemporary(sa, failure instanceof TemporaryFailure);
        const after = failure instanceof TemporaryFailure ? TEMPORARY_MS : RETRY_MS;
        sa.setTimer('rekey', after + jittered(sa, after), this.due.rekeyIkeSa);
      }
      done(refused);
    });
  }

  /** Deletes an IKE SA with all its children; `dead`: its peer is to be reached anew. */
  endIkeSa(sa: IkeSa, reason: string, end: 'ours' | 'dead', done: Done = nobody): void {
    if (sa.phase === 'closed') {
      done(null);
      return;
    }
    if (sa.phase === 'connecting') {
      sa.close(end, reason);
      done(null);
      return;
    }
    sa.enqueue(
      'delete IKE SA',
      () => deleteIkeSa(sa, end, reason),
      () => {
        // Answered or not, it is gone.
        sa.close(end, reason);
        done(null);
      },
    );
  }

  /** The PAD has other terms for the peer of an IKE SA: those that need no new SA hold from now on. */
  followTerms(sa: IkeSa, old: PadEntry): void {
    const { peer } = sa;
    if (peer === null) return;
    if (peer.livenessMs !== old.livenessMs) {
      sa.setTimer('liveness', peer.livenessMs, this.due.liveness);
    }
    if (peer.keepaliveMs !== old.keepaliveMs) {
      sa.setTimer('keepalive', peer.keepaliveMs, this.due.keepalive);
    }
  }

  /** Asks whether the peer lives, unless something of it came lately: ESP counts. */
  private checkLiveness(sa: IkeSa): void {
    const wait = sa.peer?.livenessMs ?? 0;
    if (wait === 0 || sa.phase !== 'established') return;
    const silence = sa.host.now - sa.lastHeardAt;
    if (silence < wait) {
      sa.setTimer('liveness', wait - silence, this.due.liveness);
      return;
    }
    sa.setTimer('liveness', wait, this.due.liveness);
    if (sa.hasTurn('liveness')) return;
    sa.enqueue('liveness', function* exchange() {
      const uses = yield* query(
        sa.children.map(({ inboundSpi }) => ({ direction: 'inbound', spi: inboundSpi })),
      );
      const heard = uses.some(({ idleMs }) => idleMs !== null && idleMs < wait);
      if (!heard) yield* probe();
    });
  }

  /** Asks whether the peer lives, at once. */
  probe(sa: IkeSa): void {
    if (!sa.hasTurn('liveness')) sa.enqueue('liveness', probe);
  }

  // RFC 3948 section 4: what keeps a NAT's mapping is traffic of who is behind it.
  private keepAlive(sa: IkeSa): void {
    const wait = sa.peer?.keepaliveMs ?? 0;
    if (wait === 0 || sa.phase !== 'established') return;
    const { local, localPort, remote, remotePort } = sa.endpoint;
    const silence = sa.host.now - sa.lastSentAt;
    if (sa.nat.local && silence >= wait) {
      sa.lastSentAt = sa.host.now;
      sa.host.emit({ kind: 'keepalive', datagram: { local, localPort, remote, remotePort } });
    }
    const next = sa.nat.local ? Math.max(wait - (sa.host.now - sa.lastSentAt), wait / 10) : wait;
    sa.setTimer('keepalive', next, this.due.keepalive);
  }

  private watchVolume(child: ChildSa, after: number): void {
    child.setTimer('volume', after, this.due.volume);
  }

  private checkVolume(child: ChildSa): void {
    const ids = [
      { direction: 'inbound', spi: child.inboundSpi } as const,
      { direction: 'outbound', spi: child.outboundSpi } as const,
    ];
    child.ike.host.begin({ kind: 'query', sas: ids }, (result) => {
      if (result.kind !== 'query' || child.state !== 'installed') return;
      const { rekeyBytes, rekeyPackets } = child.terms.lifetime;
      const used = Math.max(
        0,
        ...result.sas.map(({ bytes, packets }) =>
          Math.max(share(bytes, rekeyBytes), share(packets, rekeyPackets)),
        ),
      );
      if (used >= 1) {
        this.rekeyChild(child);
        return;
      }
      // At the rate so far the limit is `lived / used - lived` away; half of that is early enough.
      const lived = child.ike.host.now - child.establishedAt;
      const left = used === 0 ? VOLUME_MS.max : (lived / used - lived) / 2;
      this.watchVolume(child, Math.min(Math.max(left, VOLUME_MS.min), VOLUME_MS.max));
    });
  }
}

function share(used: bigint, limit: bigint): number {
  return limit === 0n ? 0 : Number(used) / Number(limit);
}
