/** What runs in the guest: A, and libreswan or strongSwan on the kernel's ESP as B. */

import { until } from '../../lab/command.ts';
import { buildGuestPair, type GuestPair, loadEspModules } from '../../lab/guest-pair.ts';
import type { GuestCase, GuestCases } from '../../lab/guest-runner.ts';
import { type IkePeer, type IkeSaView, onlySa, type PeerDescription } from '../../lab/ike-peer.ts';
import { LibreswanPeer } from '../../lab/libreswan.ts';
import { StrongswanPeer } from '../../lab/strongswan-ike.ts';
import { type BothWays, Traffic } from '../../lab/traffic.ts';
import { type HeldCredentials, JOB_FOLDER, readHeld } from './guest-credentials.ts';
import {
  type GuestCasePlan,
  LIBRESWAN_PLANS,
  MOBIKE_PLANS,
  type MobikePlan,
  startName,
  STRONGSWAN_PLANS,
} from './guest-plan.ts';
import { IpsecNodePeer } from './ipsec-node-peer.ts';

/** What a case leaves for the judge outside. */
export interface GuestOutcome {
  readonly transfer: BothWays;
  readonly a: IkeSaView;
  readonly b: IkeSaView;
  /** Of the traffic during the rekeys, where there were any. */
  readonly during?: BothWays;
  /**
   * Packets for an SA that A had not, while A rekeyed the child: B has it once it has answered, and
   * A when the answer has come and is done with. And at any other time.
   */
  readonly unknown?: { readonly early: number; readonly else: number };
  /** What each step took, for who wants it faster. */
  readonly milliseconds: Readonly<Record<string, number>>;
}

class StopWatch {
  readonly marks: Record<string, number> = {};
  #last = performance.now();

  /** The time since the last mark is that of this step. */
  mark(step: string): void {
    const now = performance.now();
    this.marks[step] = Math.round(now - this.#last);
    this.#last = now;
  }
}

const PATIENCE_MS = 120_000;
const DATAGRAMS = 20;
/** Under a rekey: few, the machine has to do with them at each turn. */
const PER_SECOND = 20;

let pair: GuestPair | undefined;
let traffic: Traffic | undefined;
const peers: { a?: IkePeer; b?: IkePeer } = {};

function running(): { pair: GuestPair; traffic: Traffic; a: IkePeer; b: IkePeer } {
  const { a, b } = peers;
  if (!pair || !traffic || !a || !b) throw new Error('nothing was started');
  return { pair, traffic, a, b };
}

function start(a: 'strongswan' | 'ours', b: 'libreswan' | 'strongswan'): GuestCase {
  return async () => {
    const watch = new StopWatch();
    if (pair === undefined) [pair] = await Promise.all([buildGuestPair(), loadEspModules()]);
    watch.mark('pair');
    const [left, right] = [pair.a, pair.b];
    const namespace = right.gateway;
    await peers.b?.stop();
    const [opened, startedA, startedB] = await Promise.all([
      traffic ??
        Traffic.open(
          { namespace: left.gateway, address: left.inner4, bind: true, alsoBind: [left.outer[0]] },
          {
            namespace: right.gateway,
            address: right.inner4,
            bind: true,
            alsoBind: [right.outer[0]],
          },
        ),
      peers.a ??
        (a === 'ours'
          ? IpsecNodePeer.start({
              namespace: left.gateway,
              guest: true,
              gateway: { unprotected: ['wan0', 'wan1'] },
            })
          : StrongswanPeer.start({ namespace: left.gateway, esp: 'kernel' })),
      b === 'libreswan'
        ? LibreswanPeer.start({ namespace, database: JOB_FOLDER })
        : StrongswanPeer.start({ namespace, esp: 'kernel' }),
    ]);
    traffic = opened;
    peers.a = startedA;
    peers.b = startedB;
    watch.mark('daemons');
    return watch.marks;
  };
}

let credentials: ReadonlyMap<string, HeldCredentials> | undefined;

function heldBy(plan: GuestCasePlan, side: 'a' | 'b'): HeldCredentials {
  credentials ??= readHeld();
  const held = credentials.get(`${plan.auth} ${side}`);
  if (held === undefined) throw new Error(`no credentials for ${plan.auth}`);
  return held;
}

function describe(
  plan: GuestCasePlan,
  side: 'a' | 'b',
  change: Partial<PeerDescription> = {},
): PeerDescription {
  const own = running().pair[side];
  const other = running().pair[side === 'a' ? 'b' : 'a'];
  const held = heldBy(plan, side);
  const transport = plan.mode === 'transport';
  return {
    name: 'pair',
    localAddress: own.outer[0],
    remoteAddress: other.outer[0],
    local: { id: `${side}.example`, ...held.party },
    remote: { id: `${side === 'a' ? 'b' : 'a'}.example`, ...held.party },
    credentials: held.credentials,
    proposals: [plan.ike],
    children: [
      {
        name: 'net',
        mode: plan.mode,
        local: [transport ? `${own.outer[0]}/32` : own.prefix4],
        remote: [transport ? `${other.outer[0]}/32` : other.prefix4],
        proposals: [plan.esp],
      },
    ],
    ...change,
  };
}

async function load(plan: GuestCasePlan, change: Partial<PeerDescription> = {}): Promise<void> {
  await running().b.load([describe(plan, 'b', change)]);
  await running().a.load([describe(plan, 'a', change)]);
}

/** Packets for an SA that A has not. */
async function unknownToA(): Promise<number> {
  const { a } = running();
  return a instanceof IpsecNodePeer ? a.dropped('no_sa') : 0;
}

function caseOf(plan: GuestCasePlan): GuestCase {
  return async (): Promise<GuestOutcome> => {
    const { pair, a, b, traffic } = running();
    const watch = new StopWatch();
    let unknown: GuestOutcome['unknown'];
    try {
      await load(plan);
      watch.mark('load');
      const initiator = plan.initiator === 'a' ? a : b;
      await initiator.initiate('pair', 'net');
      watch.mark('initiate');
      // Transport mode is between the outer addresses.
      const ends =
        plan.mode === 'transport'
          ? { aAddress: pair.a.outer[0], bAddress: pair.b.outer[0] }
          : { aAddress: pair.a.inner4, bAddress: pair.b.inner4 };
      const transfer = await traffic.transfer({ ...ends, count: DATAGRAMS, perSecond: 100 });
      watch.mark('transfer');
      const views = { a: onlySa(await a.sas()), b: onlySa(await b.sas()) };
      watch.mark('views');
      let during: BothWays | undefined;
      if (plan.rekeys) {
        const flow = await traffic.start({ ...ends, perSecond: PER_SECOND });
        await flow.arrived(10, PATIENCE_MS);
        watch.mark('flow');
        const unknownBefore = await unknownToA();
        await a.rekeyChild('pair', 'net');
        const early = (await unknownToA()) - unknownBefore;
        watch.mark('child by A');
        await a.rekeyIke('pair');
        watch.mark('IKE by A');
        await b.rekeyChild('pair', 'net');
        watch.mark('child by B');
        await b.rekeyIke('pair');
        watch.mark('IKE by B');
        await flow.arrived(10, PATIENCE_MS);
        during = await flow.stop();
        unknown = { early, else: (await unknownToA()) - unknownBefore - early };
        watch.mark('flow stopped');
      }
      await initiator.terminate('pair');
      watch.mark('terminate');
      for (const peer of [a, b]) {
        await until(
          `${peer.kind} has no SA`,
          async () => (await peer.sas()).length === 0,
          PATIENCE_MS,
        );
      }
      watch.mark('ended');
      return {
        transfer,
        ...views,
        ...(during === undefined ? {} : { during }),
        ...(unknown === undefined ? {} : { unknown }),
        milliseconds: watch.marks,
      };
    } catch (error) {
      const said = error instanceof Error ? error.message : String(error);
      throw new Error(`${said}\n--- A\n${a.log()}\n--- B\n${b.log()}`);
    }
  };
}

/** Takes the address of the first link away, or puts it back. */
async function move(side: 'a' | 'b', to: 0 | 1): Promise<void> {
  const { pair } = running();
  const own = pair[side];
  const other = pair[side === 'a' ? 'b' : 'a'];
  const device = `wan${to}`;
  await own.gateway.ipBatch(
    to === 1
      ? [
          `route replace default via ${other.outer[1]} dev ${device}`,
          `route add ${other.outer[0]}/32 via ${other.outer[1]} dev ${device}`,
          `addr del ${own.outer[0]}/24 dev wan0`,
        ]
      : [
          `route del ${other.outer[0]}/32`,
          `addr add ${own.outer[0]}/24 dev wan0`,
          `route replace default via ${other.outer[0]} dev ${device}`,
        ],
  );
}

function mobike({ mover, initiator }: MobikePlan): GuestCase {
  return async () => {
    const { pair, a, b, traffic } = running();
    const plan = STRONGSWAN_PLANS[0];
    if (plan === undefined) throw new Error('no plan');
    const watch = new StopWatch();
    const stays = mover === 'a' ? b : a;
    const moves = mover === 'a' ? a : b;
    try {
      await load(plan, { mobike: true });
      watch.mark('load');
      await (initiator === 'a' ? a : b).initiate('pair', 'net');
      watch.mark('initiate');
      const flow = await traffic.start({ perSecond: PER_SECOND });
      await flow.arrived(10, PATIENCE_MS);
      watch.mark('flow');
      const views = async () => ({
        moves: onlySa(await moves.sas()),
        stays: onlySa(await stays.sas()),
      });
      const before = await views();
      await move(mover, 1);
      await until(
        'both know the new address',
        async () => {
          const [address, now] = [pair[mover].outer[1], await views()];
          return now.moves.local.address === address && now.stays.remote.address === address;
        },
        PATIENCE_MS,
      );
      watch.mark('moved');
      await flow.arrived(10, PATIENCE_MS);
      const during = await flow.stop();
      watch.mark('flow stopped');
      const after = await views();
      const transfer = await traffic.transfer({ count: DATAGRAMS, perSecond: 100 });
      watch.mark('transfer');
      return { before, after, during, transfer, milliseconds: watch.marks };
    } catch (error) {
      const said = error instanceof Error ? error.message : String(error);
      throw new Error(`${said}\n--- A\n${a.log()}\n--- B\n${b.log()}`);
    } finally {
      await Promise.all([a.load([]), b.load([])]);
      await move(mover, 0);
    }
  };
}

const starts = (['strongswan', 'ours'] as const).flatMap((a) =>
  (['libreswan', 'strongswan'] as const).map((b) => [startName(a, b), start(a, b)] as const),
);

export const cases: GuestCases = {
  ...Object.fromEntries(starts),
  ...Object.fromEntries(
    [...LIBRESWAN_PLANS, ...STRONGSWAN_PLANS].map((plan) => [plan.name, caseOf(plan)]),
  ),
  ...Object.fromEntries(MOBIKE_PLANS.map((plan) => [plan.name, mobike(plan)])),
};
