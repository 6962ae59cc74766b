/** The groups of built-in SPD entries; each can be switched off in `gateway.builtin`. */
export const BUILTIN_NAMES = [
  'loopback',
  'ike-and-esp',
  'neighbour-discovery',
  'multicast-listener-discovery',
  'dhcpv4',
  'dhcpv6',
  'path-mtu',
] as const;

export type BuiltinName = (typeof BUILTIN_NAMES)[number];
