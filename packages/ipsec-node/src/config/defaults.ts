/**
 * Every default of the configuration, each with its reason, and every limit. No other layer has
 * one. docs/manual/configuration.md lists them; a unit test compares.
 */

interface Default<T> {
  readonly value: T;
  readonly reason: string;
}

function because<T>(value: T, reason: string): Default<T> {
  return { value, reason };
}

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const GIB = 1024n ** 3n;

/** Key exchanges that are offered, in order (RFC 8247 section 2.4, RFC 8031). */
const GROUPS = 'x25519-ecp256-ecp384-modp3072-modp2048';

/**
 * The default ESP proposals.
 *
 * @param groups key exchanges, joined by dashes: with a peer, those of its IKE proposals.
 */
export function espProposals(groups: string): readonly string[] {
  return [
    `aes256gcm16-aes128gcm16-chacha20poly1305-${groups}-modpnone`,
    `aes256-aes128-sha256-sha384-sha512-${groups}-modpnone`,
  ];
}

/** PRFs of an IKE proposal with a combined-mode cipher that names none, by IANA number. */
export const DEFAULT_PRFS: readonly number[] = [5, 6, 7];

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
  ikeProposals: because<readonly string[]>(
    [
      `aes256gcm16-aes128gcm16-chacha20poly1305-prfsha256-prfsha384-prfsha512-${GROUPS}`,
      `aes256-aes128-sha256-sha384-sha512-prfsha256-prfsha384-prfsha512-${GROUPS}`,
    ],
    'All of RFC 8247 that is sound, combined-mode ciphers first.',
  ),
  espProposals: because<readonly string[]>(
    espProposals(GROUPS),
    'All of RFC 8221 that is sound. The key exchanges of the peer, and none for peers that rekey without: otherwise the SA would end at its first rekey.',
  ),
  ikePeerPort: because(500, 'RFC 7296 section 2: the port of IKE.'),
  ikeRekeyMs: because(4 * HOUR, 'Keys that are old are worth more to whoever steals them.'),
  childRekeyMs: because(1 * HOUR, 'The same for the traffic itself.'),
  rekeyBytes: because(
    64n * GIB,
    'Far below what AES-GCM bears under one key, and fewer than 2^32 packets.',
  ),
  rekeyPackets: because(0n, 'Bytes and time bound them already.'),
  livenessMs: because(30 * SECOND, 'A dead peer is noticed before people call.'),
  keepaliveMs: because(20 * SECOND, 'RFC 3948 section 4: under the 30 s of impatient NATs.'),
  fragmentation: because(true, 'RFC 7383: large certificates and post-quantum keys pass.'),
  mobike: because(true, 'RFC 4555: a changed address costs no new SA.'),
  unique: because<'replace'>(
    'replace',
    'A peer that comes again has lost its old SA (RFC 7296 section 2.4).',
  ),
  hashAndUrl: because(false, 'Fetching what a stranger names is a way to misuse us.'),
  legacy: because(false, 'RFC 8221 and RFC 8247 advise against them.'),
  revocation: because<'relaxed'>('relaxed', 'A list that cannot be had must not stop everybody.'),
  rsaSignature: because<'pss'>('pss', 'RFC 8247 section 3.2.1: it MUST be implemented.'),
  ppkRequired: because(true, 'RFC 8784 section 3: what may be left out protects from nobody.'),
  start: because<'trap'>('trap', 'The first packet asks for its SA, and nothing leaves in clear.'),
  selectorsPerChild: because<'all'>('all', 'One SA pair serves a whole policy.'),
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

/**
 * An SA lasts past the time of its rekeying for one part in this many: room for a peer that is
 * away for a moment.
 */
export const HARD_LIFETIME_PART = 10;
/** Bounds of a lifetime: shorter ones leave no time to rekey. */
export const LIFETIME_MS_MIN = 1 * SECOND;
export const LIFETIME_MS_MAX = 30 * DAY;
/** Bounds of `dpd` and `keepalive`. */
export const LIVENESS_MS_MIN = 1 * SECOND;
export const LIVENESS_MS_MAX = 1 * DAY;
/** Bounds of `lifetime.bytes`; the upper one is 2^63. */
export const LIFETIME_BYTES_MIN = 1024n ** 2n;
export const LIFETIME_BYTES_MAX = 2n ** 63n;
/** Octets under which a pre-shared key can be guessed from one recorded exchange. */
export const PSK_BYTES_WISE_MIN = 20;
/** Octets of a post-quantum pre-shared key (RFC 8784 section 3: 256 bits). */
export const PPK_BYTES_WISE_MIN = 32;
/** The largest file of certificates, and the largest revocation list. */
export const CERTIFICATE_FILE_BYTES_MAX = 1024 * 1024;
export const CRL_FILE_BYTES_MAX = 32 * 1024 * 1024;
/** The largest file with a private key, PKCS#12 with its certificates included. */
export const PRIVATE_KEY_FILE_BYTES_MAX = 64 * 1024;
/** Entries of `peers`, addresses of a peer, and proposals of a peer or policy. */
export const PEERS_MAX = 4096;
export const PEER_HOSTS_MAX = 16;
export const PROPOSALS_MAX = 16;
/** Characters of a peer's name. */
export const PEER_NAME_CHARS_MAX = 63;

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
