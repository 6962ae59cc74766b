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
import { formatIdentity } from '../pad/identity-text.js';
import type { Pad } from '../pad/pad.js';
import { formatProposal } from '../sad/proposal.js';
import type { SaIdentifier } from '../sad/sa.js';
import type { PacketFields } from '../spd/packet.js';
import type { EffectResult, IkeAction, IkeDatagram, IkeSaSnapshot } from './action.js';
import type { IkeSa } from './ike-sa.js';
import type { IkeLimits } from './limits.js';
import { EndpointHost, type EndpointUsage } from './endpoint-host.js';

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
    return this.host.run(now, () => this.host.initiator.initiate(command));
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

  /** Asks a peer whether it lives, where something outside says that it may not. */
  probe(id: number, now: Milliseconds): readonly IkeAction[] {
    return this.host.run(now, () => {
      const sa = this.host.byNumber(id);
      if (sa?.phase === 'established') this.host.life.probe(sa);
    });
  }

  /** Deletes one child, by its number. */
  terminateChild(id: number, command: number | null, now: Milliseconds): readonly IkeAction[] {
    return this.host.run(now, () => {
      const child = this.host.childByNumber(id);
      const done = this.host.doneOf(command);
      if (child === null) done('there is no such child');
      else this.host.life.terminateChild(child, done);
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
  handleExpire(id: SaIdentifier, hard: boolean, now: Milliseconds): readonly IkeAction[] {
    return this.host.run(now, () => {
      const child = this.host.childOf(id);
      if (child === null) return;
      if (hard) this.host.life.giveUpChild(child, 'its sequence numbers are used up');
      else this.host.life.rekeyChild(child);
    });
  }

  /** The datapath could not do with an SA what was asked for: the child goes (the peer is told). */
  handleFailure(id: SaIdentifier, reason: string, now: Milliseconds): readonly IkeAction[] {
    return this.host.run(now, () => {
      const child = this.host.childOf(id);
      if (child !== null) this.host.life.giveUpChild(child, reason);
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

  /** How much is held in each table: what is bounded, and must be given back. */
  usage(): EndpointUsage {
    return this.host.usage();
  }

  snapshots(now: Milliseconds): readonly IkeSaSnapshot[] {
    return this.host.all().map((sa) => snapshotOf(sa, now));
  }

  /** The IKE SAs that a choice speaks of, each with all its children; what is null does not narrow. */
  chosen(
    choice: {
      readonly ikeSa: number | null;
      readonly childId: number | null;
      readonly peer: string | null;
    },
    now: Milliseconds,
  ): readonly IkeSaSnapshot[] {
    return this.host
      .chosen(choice)
      .filter(
        (sa) =>
          (choice.ikeSa === null || sa.id === choice.ikeSa) &&
          (choice.peer === null || sa.peer?.name === choice.peer),
      )
      .map((sa) => snapshotOf(sa, now));
  }

  snapshot(id: number, now: Milliseconds): IkeSaSnapshot | null {
    const sa = this.host.byNumber(id);
    return sa === null ? null : snapshotOf(sa, now);
  }
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
