/**
 * Every default of the configuration, each with its reason, and every limit. No other layer has
 * one. docs/manual/configuration.md lists them; a unit test compares.
 */
import { SUITE_NAMES, type SuiteName } from '../sad/suite.js';

interface Default<T> {
  readonly value: T;
  readonly reason: string;
}

function because<T>(value: T, reason: string): Default<T> {
  return { value, reason };
}

export const DEFAULTS = {
  gatewayName: because('default', 'One gateway on a host needs no name; two need two.'),
  dataplane: because<'auto'>('auto', 'The fastest that works here.'),
  interfaceName: because('ipsec0', 'Short, and seen at a glance in a list of interfaces.'),
  interfaceMtu: because<'auto'>(
    'auto',
    'The largest inner packet that needs no outer fragments follows from suite, encapsulation and path.',
  ),
  encapsulation: because<'auto'>(
    'auto',
    'UDP with the native dataplane: it passes NAT, and raw ESP has neither GSO nor GRO.',
  ),
  onStop: because<'guard'>('guard', 'A stop must not open what the policy protects.'),
  listen: because<readonly string[]>(['0.0.0.0', '::'], 'Peers choose the address they know.'),
  port: because(4500, 'RFC 3948 section 2: the port of ESP in UDP.'),
  ikePort: because(500, 'RFC 7296 section 2: the port of IKE.'),
  laboratory: because(false, 'RFC 8221 section 3 advises against manual keys.'),
  builtin: because(true, 'A broad PROTECT must not stop neighbour discovery, DHCP or PMTU errors.'),
  offload: because<'auto'>('auto', 'Each is probed, and falls back by itself.'),
  direction: because<'both'>('both', 'RFC 4301 section 4.4.1: an entry speaks of a pair of SAs.'),
  mode: because<'tunnel'>(
    'tunnel',
    'Hides inner addresses, and a gateway must (RFC 4301 section 4.1).',
  ),
  proposals: because<readonly SuiteName[]>(SUITE_NAMES, 'Every suite of this version is sound.'),
  tfcPadToBytes: because(0, 'Padding costs bandwidth; who needs it says so.'),
  esn: because(true, '2^32 packets pass in minutes at speed, and manual keys are not rekeyed.'),
  replayWindow: because(
    1024,
    'Parallel queues reorder more than the 64 of RFC 4303 section 3.4.3.',
  ),
  peerPort: because(4500, 'RFC 3948 section 2.'),
} as const;

/** Where the control socket is, unless `gateway.control` says otherwise. */
export function defaultControlPath(gatewayName: string): string {
  return `/run/ipsec-node/${gatewayName}.vici`;
}

/** Where the state directory is, unless `gateway.state` says otherwise. */
export function defaultStateDirectory(gatewayName: string): string {
  return `/var/lib/ipsec-node/${gatewayName}`;
}

/** The largest configuration file. */
export const CONFIG_BYTES_MAX = 4 * 1024 * 1024;
/** The largest file that holds a key. */
export const KEY_FILE_BYTES_MAX = 4096;
/** Entries of `policies`, of `associations`, and of any one list. */
export const POLICIES_MAX = 4096;
export const ASSOCIATIONS_MAX = 1024;
export const LIST_MAX = 1024;

/** Bounds of `interface.mtu`, in bytes. */
export const INTERFACE_MTU_MIN = 576;
export const INTERFACE_MTU_MAX = 65_535;
/** Bounds of `replayWindow`, in packets. */
export const REPLAY_WINDOW_MIN = 64;
export const REPLAY_WINDOW_MAX = 65_536;
/** Bounds of `tfc.padTo`, in bytes. */
export const TFC_PAD_TO_MAX = 65_535;
/** Bytes of a Unix socket's path, without its final zero (unix(7)). */
export const SOCKET_PATH_BYTES_MAX = 107;
/** Characters of an interface's name, IFNAMSIZ without its final zero. */
export const INTERFACE_NAME_CHARS_MAX = 15;
/** Characters of a gateway's name: it is part of interface, table and file names. */
export const GATEWAY_NAME_CHARS_MAX = 32;
/** Characters of a policy's name. */
export const POLICY_NAME_CHARS_MAX = 63;
