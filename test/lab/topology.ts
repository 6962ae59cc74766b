/**
 * Two sites and what lies between them:
 *
 *     hostA ---- gwA ======== wire ======== gwB ---- hostB
 *         lan0      wan0              wan0     lan0
 *
 * | network | IPv4           | IPv6            | members                 |
 * |---------|----------------|-----------------|-------------------------|
 * | site A  | 10.1.0.0/24    | fd01::/64       | gwA .1, hostA .2        |
 * | site B  | 10.2.0.0/24    | fd02::/64       | gwB .1, hostB .2        |
 * | outside | 192.0.2.0/24   | 2001:db8:f::/64 | gwA .1, gwB .2          |
 *
 * `wire: 'direct'` joins the gateways by one link; 'bridge' puts a bridge between them, in a
 * namespace of its own, where packets can be captured, held back and put in; 'router' makes that
 * namespace route: site A then sees 192.0.2.0/24 (router .254), site B 198.51.100.0/24 and
 * 2001:db8:e::/64 (router .254), and gwB is 198.51.100.2 and 2001:db8:e::2.
 */

import { connect, Namespace } from './namespace.ts';

export type WireKind = 'direct' | 'bridge' | 'router';

export interface TopologyOptions {
  readonly wire?: WireKind;
  /** Of every link. Default 1500. */
  readonly mtu?: number;
  /**
   * Default routes of the gateways point at each other (or at the router): what is not protected
   * would reach the other site in clear. Default true; false: the sites know no way to each other.
   */
  readonly clearPath?: boolean;
  /** Hosts behind the gateways. Default true. */
  readonly hosts?: boolean;
  /** Put before the names, for two topologies in one process. */
  readonly label?: string;
}

export interface Site {
  readonly gateway: Namespace;
  /** The gateway itself where the topology was asked for without hosts. */
  readonly host: Namespace;
  readonly wan: 'wan0';
  readonly lan: 'lan0';
  readonly gatewayAddress4: string;
  readonly gatewayAddress6: string;
  readonly lanGateway4: string;
  readonly lanGateway6: string;
  readonly hostAddress4: string;
  readonly hostAddress6: string;
  readonly prefix4: string;
  readonly prefix6: string;
}

export interface Topology extends AsyncDisposable {
  readonly a: Site;
  readonly b: Site;
  /** Undefined where the wire is direct. Its devices are `wire-a` and `wire-b`, of a bridge also `br0`. */
  readonly wire: Namespace | undefined;
  readonly close: () => Promise<void>;
}

interface Outside {
  readonly address4: string;
  readonly address6: string;
  readonly next4: string;
  readonly next6: string;
}

const SETTINGS = {
  'net.ipv4.ip_forward': 1,
  'net.ipv6.conf.all.forwarding': 1,
  'net.ipv4.conf.all.rp_filter': 0,
  'net.ipv4.conf.default.rp_filter': 0,
};

function outsideOf(letter: 'a' | 'b', wire: WireKind): Outside {
  const routed = wire === 'router';
  const net4 = letter === 'b' && routed ? '198.51.100' : '192.0.2';
  const net6 = letter === 'b' && routed ? '2001:db8:e:' : '2001:db8:f:';
  const own = letter === 'a' ? '1' : '2';
  const other = letter === 'a' ? '2' : '1';
  return {
    address4: `${net4}.${own}`,
    address6: `${net6}:${own}`,
    next4: routed ? `${net4}.254` : `${net4}.${other}`,
    next6: routed ? `${net6}:254` : `${net6}:${other}`,
  };
}

async function buildSite(
  letter: 'a' | 'b',
  options: TopologyOptions,
  made: Namespace[],
): Promise<Site> {
  const number = letter === 'a' ? 1 : 2;
  const label = options.label ?? '';
  const outside = outsideOf(letter, options.wire ?? 'direct');
  const gateway = await Namespace.create(`${label}gw${letter}`);
  made.push(gateway);
  await gateway.sysctl(SETTINGS);
  let host = gateway;
  const lan4 = `10.${number}.0`;
  const lan6 = `fd0${number}:`;
  if (options.hosts !== false) {
    host = await Namespace.create(`${label}host${letter}`);
    made.push(host);
    await connect(
      {
        namespace: gateway,
        device: 'lan0',
        addresses: [`${lan4}.1/24`, `${lan6}:1/64`],
      },
      { namespace: host, device: 'eth0', addresses: [`${lan4}.2/24`, `${lan6}:2/64`] },
      options.mtu,
    );
    await host.ipBatch([`route add default via ${lan4}.1`, `route add default via ${lan6}:1`]);
  } else {
    await gateway.ipBatch([
      'link add lan0 type dummy',
      'link set lan0 up',
      ...[`${lan4}.1/24`, `${lan4}.2/24`].map((address) => `addr add ${address} dev lan0`),
      ...[`${lan6}:1/64`, `${lan6}:2/64`].map((address) => `addr add ${address} dev lan0 nodad`),
    ]);
  }
  return {
    gateway,
    host,
    wan: 'wan0',
    lan: 'lan0',
    gatewayAddress4: outside.address4,
    gatewayAddress6: outside.address6,
    lanGateway4: `${lan4}.1`,
    lanGateway6: `${lan6}:1`,
    hostAddress4: `${lan4}.2`,
    hostAddress6: `${lan6}:2`,
    prefix4: `${lan4}.0/24`,
    prefix6: `${lan6}:/64`,
  };
}

/** The outside ends of both gateways, as `connect` takes them. */
function wanEnd(site: Site): { namespace: Namespace; device: string; addresses: string[] } {
  return {
    namespace: site.gateway,
    device: site.wan,
    addresses: [`${site.gatewayAddress4}/24`, `${site.gatewayAddress6}/64`],
  };
}

async function joinWire(a: Site, b: Site, options: TopologyOptions, made: Namespace[]) {
  const kind = options.wire ?? 'direct';
  if (kind === 'direct') {
    await connect(wanEnd(a), wanEnd(b), options.mtu);
    return undefined;
  }
  const wire = await Namespace.create(`${options.label ?? ''}wire`);
  made.push(wire);
  const routed = kind === 'router';
  for (const [device, site, next] of [
    ['wire-a', a, outsideOf('a', kind)],
    ['wire-b', b, outsideOf('b', kind)],
  ] as const) {
    const addresses = routed ? [`${next.next4}/24`, `${next.next6}/64`] : [];
    await connect(wanEnd(site), { namespace: wire, device, addresses }, options.mtu);
  }
  if (routed) {
    await wire.sysctl(SETTINGS);
    await wire.ipBatch([
      `route add ${a.prefix4} via ${a.gatewayAddress4}`,
      `route add ${b.prefix4} via ${b.gatewayAddress4}`,
      `route add ${a.prefix6} via ${a.gatewayAddress6}`,
      `route add ${b.prefix6} via ${b.gatewayAddress6}`,
    ]);
  } else {
    await wire.ipBatch([
      'link add br0 type bridge',
      'link set dev wire-a master br0',
      'link set dev wire-b master br0',
      'link set br0 up',
    ]);
  }
  return wire;
}

async function addRoutes(site: Site, letter: 'a' | 'b', options: TopologyOptions): Promise<void> {
  const kind = options.wire ?? 'direct';
  const outside = outsideOf(letter, kind);
  if (options.clearPath !== false) {
    await site.gateway.ipBatch([
      `route add default via ${outside.next4}`,
      `route add default via ${outside.next6}`,
    ]);
  } else if (kind === 'router') {
    const other = outsideOf(letter === 'a' ? 'b' : 'a', kind);
    await site.gateway.ipBatch([
      `route add ${other.address4}/32 via ${outside.next4}`,
      `route add ${other.address6}/128 via ${outside.next6}`,
    ]);
  }
}

/** Builds it; removes what there is when a part of it fails. */
export async function buildTopology(options: TopologyOptions = {}): Promise<Topology> {
  const made: Namespace[] = [];
  const close = async (): Promise<void> => {
    for (const namespace of made.splice(0)) await namespace.remove();
  };
  try {
    const a = await buildSite('a', options, made);
    const b = await buildSite('b', options, made);
    const wire = await joinWire(a, b, options, made);
    await addRoutes(a, 'a', options);
    await addRoutes(b, 'b', options);
    return { a, b, wire, close, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}
