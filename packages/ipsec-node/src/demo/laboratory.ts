/**
 * The demo's laboratory: five network namespaces, two gateways, and nothing left of them afterwards.
 *
 * ```text
 * host A --lan-- gateway A --wan-- a [ wire ] b --wan-- gateway B --lan-- host B
 * ```
 *
 * The wire is a router of the kernel that forwards between its two links, and the attacker's.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../clock.js';
import { VERBS } from './agent-protocol.js';
import { Authority, type Credentials } from './certificates.js';
import { type GatewayPlan, GatewayProcess, type ProtectedNetworks } from './gateway-process.js';
import { Namespace } from './namespace.js';

/** Of every link. */
export const LINK_MTU_BYTES = 1500;

/** Who has which address. The second pair of networks is padded. */
export const PLACES = {
  hostA: '10.1.0.2',
  hostB: '10.2.0.2',
  paddedHostA: '10.1.1.2',
  paddedHostB: '10.2.1.2',
  gatewayA: '192.0.2.1',
  gatewayB: '198.51.100.1',
  attacker: '198.51.100.66',
} as const;

/** Who the gateways are, as their certificates say. */
export const IDENTITIES = { a: 'gw-a.example', b: 'gw-b.example' } as const;

/** The policies of gateway A, whose SAs are negotiated. */
export const POLICIES = { plain: 'a-to-b', padded: 'a-to-b-padded' } as const;

/** What inner packets of the padded networks are padded to. */
export const PAD_TO_BYTES = 1400;

interface Namespaces {
  readonly hostA: Namespace;
  readonly hostB: Namespace;
  readonly wire: Namespace;
  readonly sideA: Namespace;
  readonly sideB: Namespace;
}

/** Everything that the scenes play with. */
export class Laboratory {
  private readonly identities: string[] = [];
  private readonly pids: number[] = [];
  private readonly linksBefore = hostLinks();

  private runningA: GatewayProcess;
  /** The namespaces, the attacker's among them: he has the wire. */
  readonly hostA: Namespace;
  readonly hostB: Namespace;
  readonly wire: Namespace;
  readonly sideA: Namespace;
  readonly sideB: Namespace;
  readonly b: GatewayProcess;

  private constructor(
    readonly folder: string,
    namespaces: Namespaces,
    private readonly planA: GatewayPlan,
    planB: GatewayPlan,
    /** When the gateways were started. */
    readonly startedMs: number,
  ) {
    ({
      hostA: this.hostA,
      hostB: this.hostB,
      wire: this.wire,
      sideA: this.sideA,
      sideB: this.sideB,
    } = namespaces);
    this.runningA = GatewayProcess.start(planA, this.sideA.pid);
    this.b = GatewayProcess.start(planB, this.sideB.pid);
    for (const each of this.namespaces) this.identities.push(each.identity);
    this.pids.push(...this.namespaces.map(({ pid }) => pid), this.runningA.pid, this.b.pid);
  }

  /** What runs in the place of gateway A: itself, unless somebody took it. */
  get a(): GatewayProcess {
    return this.runningA;
  }

  /** Starts a gateway in the place of gateway A, which has ended: itself, or with other papers. */
  startInPlaceOfA(credentials: Credentials = this.planA.credentials): GatewayProcess {
    this.runningA = GatewayProcess.start({ ...this.planA, credentials }, this.sideA.pid);
    this.pids.push(this.runningA.pid);
    return this.runningA;
  }

  private get namespaces(): readonly Namespace[] {
    return [this.hostA, this.hostB, this.wire, this.sideA, this.sideB];
  }

  /** Builds the namespaces and starts both gateways, which are not ready yet. */
  static async open(): Promise<Laboratory> {
    const folder = mkdtempSync(join(tmpdir(), 'ipsec-node-demo-'));
    const names = ['host A', 'host B', 'the wire', 'gateway A', 'gateway B'];
    const opened = await Promise.allSettled(names.map((name) => Namespace.open(name)));
    const running = opened.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
    try {
      for (const each of opened) if (each.status === 'rejected') throw each.reason;
      const [hostA, hostB, wire, sideA, sideB] = running;
      if (!hostA || !hostB || !wire || !sideA || !sideB) throw new Error('a namespace is missing');
      const namespaces = { hostA, hostB, wire, sideA, sideB };
      await connect(namespaces);
      const { planA, planB } = plans(folder);
      return new Laboratory(folder, namespaces, planA, planB, systemClock.now());
    } catch (error) {
      await Promise.all(running.map((each) => each.close()));
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Ends all that was started and removes the folder. Idempotent. */
  async close(): Promise<void> {
    await Promise.all([this.a.stop(), this.b.stop()]);
    await Promise.all(this.namespaces.map((each) => each.close()));
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** What is there still after {@link close}. */
  async leftBehind(): Promise<readonly string[]> {
    // The kernel takes a moment to let go of a namespace.
    for (let tries = 0; tries < 20 && this.remains().length > 0; tries += 1) {
      await systemClock.sleep(25);
    }
    return this.remains();
  }

  private remains(): readonly string[] {
    const remains = this.pids.filter(isAlive).map((pid) => `process ${pid}`);
    const used = namespacesInUse();
    for (const each of this.identities) if (used.has(each)) remains.push(`namespace ${each}`);
    if (existsSync(this.folder)) remains.push(this.folder);
    const before = new Set(this.linksBefore);
    for (const link of hostLinks()) if (!before.has(link)) remains.push(`link ${link}`);
    return remains;
  }
}

function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // A zombie is dead, only not yet buried.
    return !stat.slice(stat.lastIndexOf(')')).startsWith(') Z');
  } catch {
    return false;
  }
}

/** Every network namespace that a process is in, as far as this user may see. */
function namespacesInUse(): ReadonlySet<string> {
  const found = new Set<string>();
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      found.add(readlinkSync(`/proc/${pid}/ns/net`));
    } catch {
      // It ended, or is somebody else's.
    }
  }
  return found;
}

function hostLinks(): readonly string[] {
  return [...readFileSync('/proc/self/net/dev', 'utf8').matchAll(/^\s*(\S+):/gm)].map(
    ([, name]) => name ?? '',
  );
}

/** Links, addresses, routes. */
async function connect({ hostA, hostB, wire, sideA, sideB }: Namespaces): Promise<void> {
  const all = [hostA, hostB, wire, sideA, sideB];
  const settings: readonly (readonly [string, string])[] = [
    // Neighbour discovery would be noise among packets that are counted one by one.
    ['net/ipv6/conf/all/disable_ipv6', '1'],
    ['net/ipv6/conf/default/disable_ipv6', '1'],
    ['net/ipv4/conf/all/rp_filter', '0'],
    ['net/ipv4/conf/default/rp_filter', '0'],
  ];
  for (const [name, value] of settings) {
    await Promise.all(all.map((each) => each.ask(VERBS.setSysctl, { name, value })));
  }
  const link = (from: Namespace, name: string, to: Namespace, peer: string): Promise<null> =>
    from.ask(VERBS.makeLink, { name, peer, peerPid: to.pid });
  await Promise.all([
    link(hostA, 'eth0', sideA, 'lan'),
    link(hostB, 'eth0', sideB, 'lan'),
    link(wire, 'a', sideA, 'wan'),
  ]);
  await link(wire, 'b', sideB, 'wan');
  const up = (where: Namespace, name: string, ...addresses: string[]): Promise<null> =>
    where.ask(VERBS.setLinkUp, { name, mtuBytes: LINK_MTU_BYTES, addresses });
  await Promise.all(all.map((each) => up(each, 'lo')));
  await Promise.all([
    up(hostA, 'eth0', `${PLACES.hostA}/24`, `${PLACES.paddedHostA}/24`),
    up(sideA, 'lan', '10.1.0.1/24', '10.1.1.1/24'),
    up(hostB, 'eth0', `${PLACES.hostB}/24`, `${PLACES.paddedHostB}/24`),
    up(sideB, 'lan', '10.2.0.1/24', '10.2.1.1/24'),
  ]);
  await Promise.all([
    up(sideA, 'wan', `${PLACES.gatewayA}/24`),
    up(sideB, 'wan', `${PLACES.gatewayB}/24`),
    up(wire, 'a', '192.0.2.254/24'),
  ]);
  await up(wire, 'b', '198.51.100.254/24');
  const route = (where: Namespace, destination: string, via: string): Promise<null> =>
    where.ask(VERBS.addRoute, { destination, via });
  // Without the gateways everything would go this way in clear, and arrive.
  await Promise.all([
    route(hostA, '0.0.0.0/0', '10.1.0.1'),
    route(hostB, '0.0.0.0/0', '10.2.0.1'),
    route(sideA, '0.0.0.0/0', '192.0.2.254'),
    route(sideB, '0.0.0.0/0', '198.51.100.254'),
    route(wire, '10.1.0.0/16', PLACES.gatewayA),
  ]);
  await route(wire, '10.2.0.0/16', PLACES.gatewayB);
  const forward = { name: 'net/ipv4/ip_forward', value: '1' };
  await Promise.all([wire, sideA, sideB].map((each) => each.ask(VERBS.setSysctl, forward)));
}

/** Both gateways as each is told: certificates of one authority, and the networks behind them. */
function plans(folder: string): { readonly planA: GatewayPlan; readonly planB: GatewayPlan } {
  const authority = new Authority('Demo CA');
  const authorityPem = authority.certificatePem;
  const networksA: readonly ProtectedNetworks[] = [
    { policy: POLICIES.plain, local: '10.1.0.0/24', remote: '10.2.0.0/24', padToBytes: null },
    {
      policy: POLICIES.padded,
      local: '10.1.1.0/24',
      remote: '10.2.1.0/24',
      padToBytes: PAD_TO_BYTES,
    },
  ];
  const planA: GatewayPlan = {
    folder,
    name: 'gateway-a',
    address: PLACES.gatewayA,
    identity: IDENTITIES.a,
    credentials: authority.issue(IDENTITIES.a),
    peer: { identity: IDENTITIES.b, address: PLACES.gatewayB, authorityPem },
    networks: networksA,
    // A peer that means harm knows its own keys.
    showsKeys: true,
  };
  const planB: GatewayPlan = {
    folder,
    name: 'gateway-b',
    address: PLACES.gatewayB,
    identity: IDENTITIES.b,
    credentials: authority.issue(IDENTITIES.b),
    peer: { identity: IDENTITIES.a, address: null, authorityPem },
    networks: networksA.map((each) => ({ ...each, local: each.remote, remote: each.local })),
    showsKeys: false,
  };
  return { planA, planB };
}
