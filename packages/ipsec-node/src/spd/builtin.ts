/**
 * The SPD entries that the product puts at the head of every SPD, visible and removable one group
 * at a time. Without them a broad PROTECT would stop what the host needs to have a network at all.
 *
 * They must never become a way around the policy, so every one of them speaks only of packets that
 * a router does not forward (loopback, link-local, link-scope multicast, limited broadcast), or of
 * packets whose local end is one of the gateway's own outer addresses. A packet of a host behind the
 * gateway has neither. test/unit/spd/builtin.test.ts shows it for random packets.
 *
 * There is none for management (SSH and the like): that would be a hole for general traffic, so the
 * operator writes a BYPASS policy that names the management network.
 */
import { parseIpAddress } from '../net/ip-address.js';
import {
  PROTOCOL_ESP,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_UDP,
} from '../net/next-layer-protocol.js';
import { parseAddressRange } from '../net/address-range.js';
import { BUILTIN_NAMES, type BuiltinName } from './builtin-name.js';
import {
  ANY_SELECTOR,
  type Selector,
  selectorRangeOf,
  type SelectorAddressRange,
} from './selector.js';
import type { SpdDirection, SpdEntry } from './spd-entry.js';

/** Precedes the name of every built-in entry; a policy's name cannot hold a slash. */
export const BUILTIN_PREFIX = 'builtin/';

/** What the built-in entries of one gateway depend on. */
export interface BuiltinOptions {
  readonly enabled: Readonly<Record<BuiltinName, boolean>>;
  /** The gateway's own outer addresses, as far as they are known. */
  readonly outerAddresses: readonly string[];
  /** UDP ports that the gateway's own sockets listen on. */
  readonly port: number;
  readonly ikePort: number;
}

/** One sentence for each group: what it lets through and why. */
export const BUILTIN_REASONS: Readonly<Record<BuiltinName, string>> = {
  loopback: 'Packets of the host to itself never reach a wire.',
  'ike-and-esp':
    "IKE and ESP that arrive for the gateway's own outer addresses are the protection itself.",
  'neighbour-discovery':
    'RFC 4861: without it IPv6 cannot reach the next hop, so not even ESP could leave.',
  'multicast-listener-discovery':
    'RFC 3810: switches that snoop would otherwise cut neighbour discovery off.',
  dhcpv4: "RFC 2131: the host keeps its address; only broadcasts and the host's own renewals.",
  dhcpv6: 'RFC 8415: the host keeps its address; between link-local addresses only.',
  'path-mtu':
    'RFC 4301 section 8.2: errors about our own ESP packets. Inbound only: an outbound error quotes plaintext.',
};

const UNSPECIFIED_V4 = range('0.0.0.0');
const BROADCAST_V4 = range('255.255.255.255');
const UNSPECIFIED_V6 = range('::');
const LINK_LOCAL_V6 = range('fe80::/10');
const LINK_MULTICAST_V6 = range('ff02::/16');
const MULTICAST_V6 = range('ff00::/8');
const ALL_DHCP_AGENTS_V6 = range('ff02::1:2');

const NEIGHBOUR_DISCOVERY = { from: 133, to: 137 };
const NEIGHBOUR_UNICAST = { from: 135, to: 136 };
const MULTICAST_LISTENER = [
  { from: 130, to: 132 },
  { from: 143, to: 143 },
];
const DHCPV4_PORTS = { from: 67, to: 68 };
const DHCPV6_PORTS = { from: 546, to: 547 };

/** The built-in entries, in order, of the groups that are switched on. */
export function builtinSpdEntries(options: BuiltinOptions): readonly SpdEntry[] {
  const outer = options.outerAddresses.map(range);
  const outerV6 = options.outerAddresses
    .filter((text) => parseIpAddress(text).family === 6)
    .map(range);
  const outerV4 = options.outerAddresses
    .filter((text) => parseIpAddress(text).family === 4)
    .map(range);
  return BUILTIN_NAMES.filter((name) => options.enabled[name]).flatMap((name) =>
    entriesOf(name, { outer, outerV4, outerV6, port: options.port, ikePort: options.ikePort }),
  );
}

interface Known {
  readonly outer: readonly SelectorAddressRange[];
  readonly outerV4: readonly SelectorAddressRange[];
  readonly outerV6: readonly SelectorAddressRange[];
  readonly port: number;
  readonly ikePort: number;
}

function entriesOf(name: BuiltinName, known: Known): readonly SpdEntry[] {
  switch (name) {
    case 'loopback': {
      const v4 = range('127.0.0.0/8');
      const v6 = range('::1');
      return [
        bypass(`${name}-v4`, 'both', { local: [v4], remote: [v4] }),
        bypass(`${name}-v6`, 'both', { local: [v6], remote: [v6] }),
      ];
    }
    case 'ike-and-esp':
      return ikeAndEsp(name, known);
    case 'neighbour-discovery':
      return neighbourDiscovery(name, known);
    case 'multicast-listener-discovery': {
      // RFC 3810 section 5: sent from a link-local address, or from :: while there is none.
      const sender = [LINK_LOCAL_V6, UNSPECIFIED_V6];
      const mld = { protocol: PROTOCOL_ICMPV6, icmpTypes: MULTICAST_LISTENER };
      return [
        bypass(`${name}-out`, 'outbound', { ...mld, local: sender, remote: [MULTICAST_V6] }),
        bypass(`${name}-in`, 'inbound', { ...mld, local: [MULTICAST_V6], remote: sender }),
      ];
    }
    case 'dhcpv4':
      return dhcpv4(name, known);
    case 'dhcpv6': {
      const link = [LINK_LOCAL_V6, ALL_DHCP_AGENTS_V6];
      const ports = { localPorts: [DHCPV6_PORTS], remotePorts: [DHCPV6_PORTS] };
      return [
        bypass(name, 'both', { protocol: PROTOCOL_UDP, local: link, remote: link, ...ports }),
      ];
    }
    case 'path-mtu':
      return pathMtu(name, known);
  }
}

/**
 * Inbound only. What we send is known by the mark of its socket; an exception by port or address on
 * the way out would let anybody's packets follow it.
 */
function ikeAndEsp(name: string, known: Known): readonly SpdEntry[] {
  if (known.outer.length === 0) return [];
  const ports = [...new Set([known.ikePort, known.port])].sort((a, b) => a - b);
  return [
    bypass(`${name}-udp`, 'inbound', {
      local: known.outer,
      protocol: PROTOCOL_UDP,
      localPorts: ports.map((port) => ({ from: port, to: port })),
    }),
    bypass(`${name}-esp`, 'inbound', { local: known.outer, protocol: PROTOCOL_ESP }),
  ];
}

/**
 * RFC 4861. Routers never forward a packet with a link-local source or destination or to link-scope
 * multicast (RFC 4291 sections 2.5.6 and 2.7). Between global addresses solicitations and
 * advertisements are needed too (the next hop may be a static global address), and are let through
 * only where the local end is the gateway's own.
 */
function neighbourDiscovery(name: string, known: Known): readonly SpdEntry[] {
  const link = [LINK_LOCAL_V6, LINK_MULTICAST_V6];
  const nd = { protocol: PROTOCOL_ICMPV6, icmpTypes: [NEIGHBOUR_DISCOVERY] };
  const entries = [
    bypass(`${name}-remote`, 'both', { ...nd, remote: link }),
    bypass(`${name}-local`, 'both', { ...nd, local: link }),
  ];
  if (known.outerV6.length > 0) {
    entries.push(
      bypass(`${name}-unicast`, 'both', {
        protocol: PROTOCOL_ICMPV6,
        local: known.outerV6,
        icmpTypes: [NEIGHBOUR_UNICAST],
      }),
    );
  }
  return entries;
}

/** RFC 2131 section 4.1: broadcast until there is an address; then renewals from that address. */
function dhcpv4(name: string, known: Known): readonly SpdEntry[] {
  const dhcp = {
    protocol: PROTOCOL_UDP,
    localPorts: [DHCPV4_PORTS],
    remotePorts: [DHCPV4_PORTS],
  };
  const entries = [
    bypass(`${name}-out`, 'outbound', {
      ...dhcp,
      local: [UNSPECIFIED_V4, ...known.outerV4],
      remote: [BROADCAST_V4],
    }),
    bypass(`${name}-in`, 'inbound', { ...dhcp, local: [BROADCAST_V4] }),
  ];
  if (known.outerV4.length > 0) {
    entries.push(bypass(`${name}-renewal`, 'both', { ...dhcp, local: known.outerV4 }));
  }
  return entries;
}

/**
 * RFC 4301 section 6.1.1: whether an unauthenticated error is believed is policy; the datapath
 * compares what it quotes with the SAs and keeps a floor. Never outbound: our errors quote packets
 * that arrived protected.
 */
function pathMtu(name: string, known: Known): readonly SpdEntry[] {
  const entries: SpdEntry[] = [];
  if (known.outerV4.length > 0) {
    entries.push(
      bypass(`${name}-v4`, 'inbound', {
        local: known.outerV4,
        protocol: PROTOCOL_ICMP,
        icmpTypes: [{ from: 3, to: 3 }],
        icmpCodes: [{ from: 4, to: 4 }],
      }),
    );
  }
  if (known.outerV6.length > 0) {
    entries.push(
      bypass(`${name}-v6`, 'inbound', {
        local: known.outerV6,
        protocol: PROTOCOL_ICMPV6,
        icmpTypes: [{ from: 2, to: 2 }],
      }),
    );
  }
  return entries;
}

function bypass(name: string, direction: SpdDirection, selector: Partial<Selector>): SpdEntry {
  return {
    name: `${BUILTIN_PREFIX}${name}`,
    direction,
    selector: { ...ANY_SELECTOR, ...selector },
    action: 'BYPASS',
    builtin: true,
  };
}

function range(text: string): SelectorAddressRange {
  return selectorRangeOf(parseAddressRange(text));
}
