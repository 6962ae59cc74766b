/**
 * Two sites, a box in front of each that may translate addresses, and a router between where
 * datagrams can be dropped; site A has a second uplink past its box.
 *
 *     hostA -- gwA -- boxA ---- wire ---- boxB -- gwB -- hostB
 *               \________________/
 *               wan1
 *
 * | network        | IPv4             | IPv6            | members                        |
 * |----------------|------------------|-----------------|--------------------------------|
 * | site A         | 10.1.0.0/24      | fd01::/64       | gwA .1, hostA .2               |
 * | uplink of A    | 172.16.1.0/24    | 2001:db8:1::/64 | boxA .1, gwA .2 (wan0)         |
 * | outside of A   | 192.0.2.0/24     | 2001:db8:f::/64 | boxA .1 and .2, wire .254      |
 * | second uplink  | 203.0.113.0/24   | 2001:db8:c::/64 | gwA .2 (wan1), wire .254       |
 * | outside of B   | 198.51.100.0/24  | 2001:db8:e::/64 | boxB .1 and .2, wire .254      |
 * | uplink of B    | 172.16.2.0/24    | 2001:db8:2::/64 | boxB .1, gwB .2 (wan0)         |
 * | site B         | 10.2.0.0/24      | fd02::/64       | gwB .1, hostB .2               |
 *
 * Without translation every uplink is reached from everywhere; the sites know no way to each other
 * but through the gateways' own doing.
 */

import { connect, Namespace } from './namespace.ts';
import { NatBox } from './nat-box.ts';
import { WireFilter } from './wire-filter.ts';

export interface IkeSite {
  readonly gateway: Namespace;
  readonly host: Namespace;
  readonly box: NatBox;
  readonly wan: 'wan0';
  readonly lan: 'lan0';
  readonly gatewayAddress4: string;
  readonly gatewayAddress6: string;
  readonly hostAddress4: string;
  readonly hostAddress6: string;
  readonly lanGateway4: string;
  readonly lanGateway6: string;
  readonly prefix4: string;
  readonly prefix6: string;
}

export interface IkeTopology extends AsyncDisposable {
  readonly a: IkeSite;
  readonly b: IkeSite;
  /** Its devices are `wire-a`, `wire-b`, and `wire-c` of the second uplink. */
  readonly wire: Namespace;
  readonly filter: WireFilter;
  /** Addresses of gwA on its second uplink. */
  readonly secondAddress4: '203.0.113.2';
  readonly secondAddress6: '2001:db8:c::2';
  /** Moves the default routes of gwA to an uplink; the other's addresses go when `drop` is set. */
  moveUplink(to: 'wan0' | 'wan1', options?: { readonly drop?: boolean }): Promise<void>;
  /** No translation, nothing dropped, all uplinks as at first. */
  reset(): Promise<void>;
  close(): Promise<void>;
}

const SETTINGS = {
  'net.ipv4.ip_forward': 1,
  'net.ipv6.conf.all.forwarding': 1,
  'net.ipv4.conf.all.rp_filter': 0,
  'net.ipv4.conf.default.rp_filter': 0,
};

const OUTSIDE = {
  a: { net4: '192.0.2', net6: '2001:db8:f:' },
  b: { net4: '198.51.100', net6: '2001:db8:e:' },
} as const;

async function make(label: string, made: Namespace[]): Promise<Namespace> {
  const namespace = await Namespace.create(label);
  made.push(namespace);
  await namespace.sysctl(SETTINGS);
  return namespace;
}

async function buildSite(letter: 'a' | 'b', wire: Namespace, made: Namespace[]): Promise<IkeSite> {
  const number = letter === 'a' ? 1 : 2;
  const { net4, net6 } = OUTSIDE[letter];
  const [gateway, host, boxNamespace] = [
    await make(`gw${letter}`, made),
    await make(`host${letter}`, made),
    await make(`box${letter}`, made),
  ];
  await connect(
    {
      namespace: gateway,
      device: 'lan0',
      addresses: [`10.${number}.0.1/24`, `fd0${number}::1/64`],
    },
    { namespace: host, device: 'eth0', addresses: [`10.${number}.0.2/24`, `fd0${number}::2/64`] },
  );
  await connect(
    {
      namespace: gateway,
      device: 'wan0',
      addresses: [`172.16.${number}.2/24`, `2001:db8:${number}::2/64`],
    },
    {
      namespace: boxNamespace,
      device: 'in0',
      addresses: [`172.16.${number}.1/24`, `2001:db8:${number}::1/64`],
    },
  );
  await connect(
    {
      namespace: boxNamespace,
      device: 'out0',
      addresses: [`${net4}.1/24`, `${net4}.2/24`, `${net6}:1/64`],
    },
    {
      namespace: wire,
      device: `wire-${letter}`,
      addresses: [`${net4}.254/24`, `${net6}:254/64`],
    },
  );
  await host.ipBatch([
    `route add default via 10.${number}.0.1`,
    `route add default via fd0${number}::1`,
  ]);
  await gateway.ipBatch([
    `route add default via 172.16.${number}.1`,
    `route add default via 2001:db8:${number}::1`,
  ]);
  await boxNamespace.ipBatch([
    `route add default via ${net4}.254`,
    `route add default via ${net6}:254`,
  ]);
  await wire.ipBatch([
    `route add 172.16.${number}.0/24 via ${net4}.1`,
    `route add 2001:db8:${number}::/64 via ${net6}:1`,
  ]);
  return {
    gateway,
    host,
    box: new NatBox(boxNamespace, {
      inside: `172.16.${number}.2`,
      outside: [`${net4}.1`, `${net4}.2`],
    }),
    wan: 'wan0',
    lan: 'lan0',
    gatewayAddress4: `172.16.${number}.2`,
    gatewayAddress6: `2001:db8:${number}::2`,
    hostAddress4: `10.${number}.0.2`,
    hostAddress6: `fd0${number}::2`,
    lanGateway4: `10.${number}.0.1`,
    lanGateway6: `fd0${number}::1`,
    prefix4: `10.${number}.0.0/24`,
    prefix6: `fd0${number}::/64`,
  };
}

const UPLINKS = {
  wan0: { own4: '172.16.1.2/24', own6: '2001:db8:1::2/64', next: ['172.16.1.1', '2001:db8:1::1'] },
  wan1: {
    own4: '203.0.113.2/24',
    own6: '2001:db8:c::2/64',
    next: ['203.0.113.254', '2001:db8:c::254'],
  },
} as const;

/** Builds it; removes what there is when a part of it fails. */
export async function buildIkeTopology(): Promise<IkeTopology> {
  const made: Namespace[] = [];
  const close = async (): Promise<void> => {
    for (const namespace of made.splice(0)) await namespace.remove();
  };
  try {
    const wire = await make('wire', made);
    const a = await buildSite('a', wire, made);
    const b = await buildSite('b', wire, made);
    await connect(
      { namespace: a.gateway, device: 'wan1', addresses: [UPLINKS.wan1.own4, UPLINKS.wan1.own6] },
      {
        namespace: wire,
        device: 'wire-c',
        addresses: ['203.0.113.254/24', '2001:db8:c::254/64'],
      },
    );
    const filter = new WireFilter(wire);

    const moveUplink: IkeTopology['moveUplink'] = async (to, options = {}) => {
      const from = to === 'wan0' ? 'wan1' : 'wan0';
      const { own4, own6, next } = UPLINKS[to];
      await a.gateway.ipBatch([
        `addr replace ${own4} dev ${to}`,
        `addr replace ${own6} dev ${to} nodad`,
        `route replace default via ${next[0]} dev ${to}`,
        `route replace ::/0 via ${next[1]} dev ${to}`,
      ]);
      if (options.drop === true) {
        await a.gateway.ipBatch([
          `addr del ${UPLINKS[from].own4} dev ${from}`,
          `addr del ${UPLINKS[from].own6} dev ${from}`,
        ]);
      }
    };

    const reset = async (): Promise<void> => {
      await filter.clear();
      for (const site of [a, b]) await site.box.off();
      await a.gateway.ipBatch([
        `addr replace ${UPLINKS.wan1.own4} dev wan1`,
        `addr replace ${UPLINKS.wan1.own6} dev wan1 nodad`,
      ]);
      await moveUplink('wan0');
    };

    return {
      a,
      b,
      wire,
      filter,
      secondAddress4: '203.0.113.2',
      secondAddress6: '2001:db8:c::2',
      moveUplink,
      reset,
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
