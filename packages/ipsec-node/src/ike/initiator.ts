/** Commands that bring peers and children up: over an IKE SA that is there, or a new one. */
import type { ChildTerms } from '../pad/child-terms.js';
import type { PadEntry } from '../pad/pad-entry.js';
import type { PacketFields } from '../spd/packet.js';
import type { Selector } from '../spd/selector.js';
import { type ChildRequest } from './exchange/child-negotiation.js';
import { connect } from './exchange/connect.js';
import { createChild } from './exchange/create-child-sa.js';
import { IkeSa } from './ike-sa.js';
import type { InitiateCommand, PeerPath } from './endpoint.js';
import type { EndpointHost } from './endpoint-host.js';

export class Initiator {
  constructor(private readonly host: EndpointHost) {}

  initiate(command: InitiateCommand): void {
    const done = this.host.doneOf(command.command);
    const peer = this.host.pad.entries.find(({ name }) => name === command.peer);
    const terms = peer?.children.find(({ name }) => name === command.child) ?? null;
    if (peer === undefined || (command.child !== null && terms === null) || this.host.isClosing) {
      done('there is no such peer or child');
      return;
    }
    const requests = terms === null ? [] : childRequests(terms, command.packet);
    const established = this.host.ofPeer(peer.name);
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
    const startsOnNatPort = peer.remotePort !== this.host.ports.ike;
    const sa = new IkeSa(
      this.host,
      true,
      { initiator: this.host.allocateIkeSpi(), responder: 0n },
      {
        ...path,
        localPort: startsOnNatPort ? this.host.ports.nat : this.host.ports.ike,
        remotePort: peer.remotePort,
        encapsulation: 'udp',
      },
    );
    sa.peer = peer;
    sa.hasOtherPath = others.length > 0;
    this.host.adopt(sa);
    const [first = null, ...rest] = requests;
    let childRefused: string | null = null;
    const initialContact = !this.host
      .ofPeer(peer.name)
      .some((other) => other !== sa && other.phase === 'established');
    sa.enqueue(
      'connect',
      () =>
        connect(sa, peer, {
          first,
          initialContact,
          done: (outcome) => {
            childRefused = outcome.refused;
            this.host.establish(sa, outcome);
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
        if (others.length > 0 && !this.host.isClosing) this.connect(peer, requests, others, done);
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

  enqueueChild(sa: IkeSa, request: ChildRequest, done: (refused: string | null) => void): void {
    const { life } = this.host;
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
