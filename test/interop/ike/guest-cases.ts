/** What runs in the guest: A, and libreswan or strongSwan on the kernel's ESP as B. */

import { until } from '../../lab/command.ts';
import { buildGuestPair, type GuestPair } from '../../lab/guest-pair.ts';
import type { GuestCase, GuestCases } from '../../lab/guest-runner.ts';
import { type IkePeer, type IkeSaView, onlySa, type PeerDescription } from '../../lab/ike-peer.ts';
import { LibreswanPeer } from '../../lab/libreswan.ts';
import { StrongswanPeer } from '../../lab/strongswan-ike.ts';
import { type BothWays, Traffic } from '../../lab/traffic.ts';
import { type HeldCredentials, readHeld } from './guest-credentials.ts';
import {
  type GuestCasePlan,
  LIBRESWAN_PLANS,
  MOBIKE,
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
}

const PATIENCE_MS = 120_000;
const DATAGRAMS = 20;

let pair: GuestPair | undefined;
let traffic: Traffic | undefined;
let outer: Traffic | undefined;
const peers: { a?: IkePeer; b?: IkePeer } = {};

function running(): { pair: GuestPair; traffic: Traffic; a: IkePeer; b: IkePeer } {
  const { a, b } = peers;
  if (!pair || !traffic || !a || !b) throw new Error('nothing was started');
  return { pair, traffic, a, b };
}

function start(a: 'strongswan' | 'ours', b: 'libreswan' | 'strongswan'): GuestCase {
  return async () => {
    pair ??= await buildGuestPair();
    const [left, right] = [pair.a, pair.b];
    traffic ??= await Traffic.open(
      { namespace: left.gateway, address: left.inner4, bind: true },
      { namespace: right.gateway, address: right.inner4, bind: true },
    );
    // One agent in a namespace has the port: transport mode is asked for by its own address.
    await peers.b?.stop();
    const namespace = right.gateway;
    peers.a ??=
      a === 'ours'
        ? await IpsecNodePeer.start({
            namespace: left.gateway,
            guest: true,
            gateway: { unprotected: ['wan0', 'wan1'] },
          })
        : await StrongswanPeer.start({ namespace: left.gateway, esp: 'kernel' });
    peers.b =
      b === 'libreswan'
        ? await LibreswanPeer.start({ namespace })
        : await StrongswanPeer.start({ namespace, esp: 'kernel' });
    return {};
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

/** Between the outer addresses, for transport mode. */
async function outerTraffic(): Promise<Traffic> {
  const { pair } = running();
  outer ??= await Traffic.open(
    { namespace: pair.a.gateway, address: pair.a.outer[0], bind: true },
    { namespace: pair.b.gateway, address: pair.b.outer[0], bind: true },
  );
  return outer;
}

async function load(plan: GuestCasePlan, change: Partial<PeerDescription> = {}): Promise<void> {
  await running().b.load([describe(plan, 'b', change)]);
  await running().a.load([describe(plan, 'a', change)]);
}

function caseOf(plan: GuestCasePlan): GuestCase {
  return async (): Promise<GuestOutcome> => {
    const { a, b, traffic } = running();
    try {
      await load(plan);
      const initiator = plan.initiator === 'a' ? a : b;
      await initiator.initiate('pair', 'net');
      const path = plan.mode === 'transport' ? await outerTraffic() : traffic;
      const transfer = await path.transfer({ count: DATAGRAMS, perSecond: 100 });
      const views = { a: onlySa(await a.sas()), b: onlySa(await b.sas()) };
      let during: BothWays | undefined;
      if (plan.rekeys) {
        const flow = await path.start({ perSecond: 50 });
        await flow.arrived(10, PATIENCE_MS);
        for (const peer of [a, b]) {
          await peer.rekeyChild('pair', 'net');
          await peer.rekeyIke('pair');
        }
        await flow.arrived(10, PATIENCE_MS);
        during = await flow.stop();
      }
      await initiator.terminate('pair');
      await until(
        'neither has an SA',
        async () => (await a.sas()).length + (await b.sas()).length === 0,
        PATIENCE_MS,
      );
      return { transfer, ...views, ...(during === undefined ? {} : { during }) };
    } catch (error) {
      const said = error instanceof Error ? error.message : String(error);
      throw new Error(`${said}\n--- A\n${a.log()}\n--- B\n${b.log()}`);
    }
  };
}

async function mobike(): Promise<unknown> {
  const { pair, a, b, traffic } = running();
  const plan = STRONGSWAN_PLANS[0];
  if (plan === undefined) throw new Error('no plan');
  try {
    await load({ ...plan, initiator: 'a' }, { mobike: true });
    await a.initiate('pair', 'net');
    const before = onlySa(await b.sas());
    const flow = await traffic.start({ perSecond: 50 });
    await flow.arrived(10, PATIENCE_MS);
    const { gateway, outer: own } = pair.a;
    await gateway.ipBatch([
      `route replace default via ${pair.b.outer[1]} dev wan1`,
      `route add ${pair.b.outer[0]}/32 via ${pair.b.outer[1]} dev wan1`,
      `addr del ${own[0]}/24 dev wan0`,
    ]);
    await until(
      'B knows the new address',
      async () => onlySa(await b.sas()).remote.address === own[1],
      PATIENCE_MS,
    );
    await flow.arrived(10, PATIENCE_MS);
    const during = await flow.stop();
    const after = onlySa(await b.sas());
    const transfer = await traffic.transfer({ count: DATAGRAMS, perSecond: 100 });
    return { before, after, during, transfer };
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    throw new Error(`${said}\n--- A\n${a.log()}\n--- B\n${b.log()}`);
  }
}

const starts = (['strongswan', 'ours'] as const).flatMap((a) =>
  (['libreswan', 'strongswan'] as const).map((b) => [startName(a, b), start(a, b)] as const),
);

export const cases: GuestCases = {
  ...Object.fromEntries(starts),
  ...Object.fromEntries(
    [...LIBRESWAN_PLANS, ...STRONGSWAN_PLANS].map((plan) => [plan.name, caseOf(plan)]),
  ),
  [MOBIKE]: mobike,
};
