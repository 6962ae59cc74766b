/** Two daemons for many cases: A is the one under test, B the peer. */

import type { IkePeer, IkeSaView, PeerDescription } from '../../lab/ike-peer.ts';
import { buildIkeTopology, type IkeTopology } from '../../lab/ike-topology.ts';
import { StrongswanPeer } from '../../lab/strongswan-ike.ts';
import { type BothWays, Traffic } from '../../lab/traffic.ts';
import type { IkeCase, Refusal } from './cases.ts';
import { credentialsOf, PPK } from './credentials.ts';
import { IpsecNodePeer } from './ipsec-node-peer.ts';

/** Who A is: `ours` is the product, `strongswan` shows the laboratory to be right and no more. */
const A_IS: string = process.env['IKE_INTEROP'] ?? 'ours';
export const OURS_IS_READY: boolean = A_IS === 'ours';
/** Every case begun by each side; else each case is begun by one of them, in turn. */
export const EVERY_CASE: boolean = process.env['IKE_CASES'] === 'all';

export type Side = 'a' | 'b';
export const SIDES: readonly Side[] = ['a', 'b'];

/** Datagrams each way and family of a case. */
export const DATAGRAMS = 20;

export interface CaseOutcome {
  readonly a: IkeSaView;
  readonly b: IkeSaView;
  /** Of each family, in the order of the case. */
  readonly transfers: readonly BothWays[];
}

export class Laboratory implements AsyncDisposable {
  private constructor(
    readonly topology: IkeTopology,
    readonly a: IkePeer,
    readonly b: StrongswanPeer,
    readonly traffic: Traffic,
  ) {}

  static async start(): Promise<Laboratory> {
    const topology = await buildIkeTopology();
    try {
      // Long enough for the largest group on a busy machine; fragments as the large cases want them.
      const settings = { fragment_size: '600' };
      const a = OURS_IS_READY
        ? await IpsecNodePeer.start({ namespace: topology.a.gateway })
        : await StrongswanPeer.start({ namespace: topology.a.gateway, settings });
      const b = await StrongswanPeer.start({ namespace: topology.b.gateway, settings });
      const traffic = await Traffic.open(
        { namespace: topology.a.host, address: topology.a.hostAddress4 },
        { namespace: topology.b.host, address: topology.b.hostAddress4 },
      );
      return new Laboratory(topology, a, b, traffic);
    } catch (error) {
      await topology.close();
      throw error;
    }
  }

  peer(side: Side): IkePeer {
    return side === 'a' ? this.a : this.b;
  }

  /** Of one side for a case; `initiator` is the side that will begin. */
  async describe(
    ikeCase: IkeCase,
    side: Side,
    initiator: Side,
    wrong: Refusal['wrong'] = {},
  ): Promise<PeerDescription> {
    const own = this.topology[side];
    const other = this.topology[side === 'a' ? 'b' : 'a'];
    const outer = ikeCase.outer ?? 4;
    const inner = ikeCase.inner ?? [4];
    const ids = ikeCase.identities ?? { a: 'a.example', b: 'b.example' };
    const mistaken = side === 'b' ? wrong : {};
    const held = await credentialsOf(ikeCase, side, wrong);
    const theirs = await credentialsOf(ikeCase, side === 'a' ? 'b' : 'a', wrong);
    // Where it is reached from outside: behind NAT only the initiator's peer is.
    const reached = outer === 6 ? other.gatewayAddress6 : other.box.publicAddress;
    const prefix = (site: typeof own, family: 4 | 6): string =>
      family === 4 ? site.prefix4 : site.prefix6;
    return {
      name: 'pair',
      localAddress: outer === 6 ? own.gatewayAddress6 : own.gatewayAddress4,
      remoteAddress: initiator === side ? reached : '%any',
      local: { id: mistaken.id ?? ids[side], ...held.party },
      remote: {
        id: ids[side === 'a' ? 'b' : 'a'],
        auth: theirs.party.auth,
        ...(theirs.party.signature === undefined ? {} : { signature: theirs.party.signature }),
      },
      credentials: held.credentials,
      proposals: [mistaken.ike ?? ikeCase.ike],
      children: [
        {
          name: 'net',
          local: inner.map((family) => prefix(own, family)),
          remote: inner.map((family) => prefix(other, family)),
          proposals: [mistaken.esp ?? ikeCase.esp],
          ...mistaken.child,
        },
      ],
      forceEncapsulation: ikeCase.forceEncapsulation ?? false,
      fragmentation: ikeCase.fragmentation ?? true,
      mobike: ikeCase.mobike ?? false,
      ...(ikeCase.ppk === true ? { ppk: PPK } : {}),
      ...(ikeCase.fragmentBytes === undefined ? {} : { fragmentBytes: ikeCase.fragmentBytes }),
      ...(wrong.certificate === 'revoked' ? { revocation: 'relaxed' as const } : {}),
    };
  }

  /** The path and both sides as the case wants them; nothing negotiated yet. */
  async prepare(ikeCase: IkeCase, initiator: Side, wrong: Refusal['wrong'] = {}): Promise<void> {
    if (ikeCase.nat !== undefined) {
      // A last word of an earlier SA to the address inside would keep its flow from translation.
      await Promise.all([this.a.load([]), this.b.load([])]);
    }
    for (const side of SIDES) {
      const { box } = this.topology[side];
      if (ikeCase.nat?.includes(side) === true) await box.on();
      else await box.off();
    }
    const [a, b] = await Promise.all(
      SIDES.map((side) => this.describe(ikeCase, side, initiator, wrong)),
    );
    if (a === undefined || b === undefined) throw new Error('two sides');
    await Promise.all([this.a.load([a]), this.b.load([b])]);
  }

  /** A datagram or twenty of each family both ways. */
  async transfers(ikeCase: IkeCase, count = DATAGRAMS): Promise<readonly BothWays[]> {
    const { a, b } = this.topology;
    const done: BothWays[] = [];
    for (const family of ikeCase.inner ?? [4]) {
      const addresses = family === 6 ? { aAddress: a.hostAddress6, bAddress: b.hostAddress6 } : {};
      done.push(await this.traffic.transfer({ ...addresses, count, perSecond: 1_000 }));
    }
    return done;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.traffic[Symbol.asyncDispose]();
    await Promise.all([this.a.stop(), this.b.stop()]);
    await this.topology.close();
  }
}
