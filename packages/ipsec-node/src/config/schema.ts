/**
 * The shape of the file, once: the reader checks each field with it, and editors are given it as
 * JSON Schema. What spans several fields is in parse-policy.ts and parse-association.ts.
 */
import { z } from 'zod';

import { SPI_MAX, SPI_MIN } from '../sad/spi.js';
import { SUITE_NAMES } from '../sad/suite.js';
import { BUILTIN_REASONS } from '../spd/builtin.js';
import type { BuiltinName } from '../spd/builtin-name.js';
import {
  ASSOCIATIONS_MAX,
  DEFAULTS,
  defaultControlPath,
  defaultStateDirectory,
  GATEWAY_NAME_CHARS_MAX,
  INTERFACE_MTU_MAX,
  INTERFACE_MTU_MIN,
  INTERFACE_NAME_CHARS_MAX,
  LIFETIME_BYTES_MAX,
  LIFETIME_BYTES_MIN,
  POLICIES_MAX,
  POLICY_NAME_CHARS_MAX,
  REPLAY_WINDOW_MAX,
  REPLAY_WINDOW_MIN,
  TFC_PAD_TO_MAX,
} from './defaults.js';
import { addIssue, choiceDoc, optional, required } from './field.js';
import { LATER_VALUES } from './later.js';
import { AFTERMATHS, lifetimeBounds, peerName, peerShape, proposalTexts } from './peer-schema.js';
import {
  DURATION_ACCEPTED,
  duration,
  formatDuration,
  packetsOrOff,
  SIZE_ACCEPTED,
  sizeOrOff,
} from './quantity-fields.js';
import {
  ADDRESSES_ACCEPTED,
  address,
  addresses,
  addressList,
  icmpNumbers,
  interfaceNames,
  PORTS_ACCEPTED,
  PROTOCOL_ACCEPTED,
  ports,
  protocol,
} from './selector-fields.js';

const INTERFACE_NAME = new RegExp(`^[^\\s/:]{1,${INTERFACE_NAME_CHARS_MAX}}$`);
const INTERFACE_ACCEPTED = `names of network interfaces of 1..${INTERFACE_NAME_CHARS_MAX} characters`;
const BOOLEAN_ACCEPTED = 'true or false';

const isInterfaceName = (name: string): boolean =>
  INTERFACE_NAME.test(name) && name !== '.' && name !== '..';

export const interfaceShape = {
  name: optional(z.string().regex(INTERFACE_NAME), {
    description: 'Name of the TUN interface that carries inner packets.',
    accepted: `1..${INTERFACE_NAME_CHARS_MAX} characters without spaces, slashes or colons`,
    default: DEFAULTS.interfaceName.value,
  }),
  mtu: optional(
    z.union([z.literal('auto'), z.int().min(INTERFACE_MTU_MIN).max(INTERFACE_MTU_MAX)]),
    {
      description:
        'Largest inner packet in bytes. `auto`: what fits the outer path without fragments.',
      accepted: `auto, or ${INTERFACE_MTU_MIN}..${INTERFACE_MTU_MAX}`,
      default: DEFAULTS.interfaceMtu.value,
      choices: ['auto'],
    },
  ),
};

const offloadField = (description: string) =>
  optional(
    z.enum(['auto', 'off']),
    choiceDoc(['auto', 'off'], { description, default: DEFAULTS.offload.value }),
  );

export const offloadShape = {
  tunSegmentation: offloadField(
    'TCP segmentation offload on the TUN: runs of packets in one read.',
  ),
  udpGso: offloadField('UDP generic segmentation offload: a run of packets in one send.'),
  udpGro: offloadField('UDP generic receive offload: a run of packets in one receive.'),
};

const builtinField = (name: BuiltinName) =>
  optional(z.boolean(), {
    description: `Built-in BYPASS entries at the head of the policy. ${BUILTIN_REASONS[name]}`,
    accepted: BOOLEAN_ACCEPTED,
    default: DEFAULTS.builtin.value,
  });

export const builtinShape = {
  loopback: builtinField('loopback'),
  'ike-and-esp': builtinField('ike-and-esp'),
  'neighbour-discovery': builtinField('neighbour-discovery'),
  'multicast-listener-discovery': builtinField('multicast-listener-discovery'),
  dhcpv4: builtinField('dhcpv4'),
  dhcpv6: builtinField('dhcpv6'),
  'path-mtu': builtinField('path-mtu'),
} satisfies Record<BuiltinName, z.ZodType>;

const udpPort = z.int().min(1).max(65_535);

export const gatewayShape = {
  name: optional(
    z.string().regex(new RegExp(`^[A-Za-z0-9][A-Za-z0-9_-]{0,${GATEWAY_NAME_CHARS_MAX - 1}}$`)),
    {
      description:
        'Name of this gateway; part of the names of its files and of its rules on the host.',
      accepted: `1..${GATEWAY_NAME_CHARS_MAX} letters, digits, dashes and underscores, first a letter or digit`,
      default: DEFAULTS.gatewayName.value,
    },
  ),
  dataplane: optional(
    z.enum(['native', 'auto']),
    choiceDoc(['native', 'auto'], {
      description: 'What carries the packets: `native` is the userspace datapath of this package.',
      default: DEFAULTS.dataplane.value,
      later: LATER_VALUES.dataplane,
    }),
  ),
  interface: optional(z.strictObject(interfaceShape), {
    description: 'The TUN interface.',
    accepted: 'a map with name and mtu',
  }),
  encapsulation: optional(
    z.enum(['auto', 'udp', 'esp']),
    choiceDoc(['auto', 'udp', 'esp'], {
      description: 'ESP in UDP (RFC 3948) or raw ESP, for associations that do not say.',
      default: DEFAULTS.encapsulation.value,
    }),
  ),
  unprotected: optional(interfaceNames(isInterfaceName), {
    description: 'Interfaces on the outer side of the boundary. Absent: all that are not inside.',
    accepted: INTERFACE_ACCEPTED,
  }),
  protected: optional(interfaceNames(isInterfaceName), {
    description: 'Interfaces on the inner side of the boundary. Absent: all others.',
    accepted: INTERFACE_ACCEPTED,
  }),
  onStop: optional(
    z.enum(['guard', 'open']),
    choiceDoc(['guard', 'open'], {
      description: 'Whether what the policy protects stays closed after a stop.',
      default: DEFAULTS.onStop.value,
    }),
  ),
  listen: optional(addressList(), {
    description: 'Addresses to listen on.',
    accepted: 'an IPv4 or IPv6 address, or a list of these',
    default: DEFAULTS.listen.value,
  }),
  port: optional(udpPort, {
    description: 'UDP port of ESP in UDP, and of IKE behind a NAT.',
    accepted: '1..65535',
    default: DEFAULTS.port.value,
  }),
  ikePort: optional(udpPort, {
    description: 'UDP port of IKE.',
    accepted: '1..65535',
    default: DEFAULTS.ikePort.value,
  }),
  control: optional(z.string().min(1), {
    description: `Path of the control socket. Absent: ${defaultControlPath('NAME')}.`,
    accepted: 'a path, relative to this file or absolute, of at most 107 bytes',
  }),
  state: optional(z.string().min(1), {
    description: `Directory of durable state: reserved sequence numbers; nothing secret. Absent: ${defaultStateDirectory('NAME')}.`,
    accepted: 'a path, relative to this file or absolute',
  }),
  laboratory: optional(z.boolean(), {
    description: 'Allows manually keyed associations, which RFC 8221 section 3 advises against.',
    accepted: BOOLEAN_ACCEPTED,
    default: DEFAULTS.laboratory.value,
  }),
  builtin: optional(z.union([z.boolean(), z.strictObject(builtinShape)]), {
    description:
      'Built-in entries at the head of the policy, each removable with false; false alone removes all.',
    accepted: 'true, false, or a map of built-in entries to true or false',
  }),
  offload: optional(z.strictObject(offloadShape), {
    description: 'Off switches of offloads; each is probed and falls back by itself.',
    accepted: 'a map with tunSegmentation, udpGso and udpGro',
  }),
};

/** A suite by its proposal keyword. */
const suite = () => z.enum(SUITE_NAMES);

export const tfcShape = {
  padTo: required(z.int().min(1).max(TFC_PAD_TO_MAX), {
    description: 'Bytes that each shorter inner packet is padded to (RFC 4303 section 2.7).',
    accepted: `1..${TFC_PAD_TO_MAX}`,
  }),
};

export const lifetimeShape = {
  time: optional(duration(lifetimeBounds), {
    description: 'Age, less some jitter.',
    accepted: DURATION_ACCEPTED,
    default: formatDuration(DEFAULTS.childRekeyMs.value),
  }),
  bytes: optional(sizeOrOff({ min: LIFETIME_BYTES_MIN, max: LIFETIME_BYTES_MAX }), {
    description: 'Bytes in either direction; off: no such limit.',
    accepted: `${SIZE_ACCEPTED}, or off`,
    default: '64GiB',
  }),
  packets: optional(packetsOrOff(Number.MAX_SAFE_INTEGER), {
    description: 'Packets in either direction; off: no such limit.',
    accepted: 'a number of packets, or off',
    default: 'off',
  }),
  expire: optional(duration(lifetimeBounds), {
    description: 'Age at which the SA is gone, replaced or not. Absent: a tenth after time.',
    accepted: DURATION_ACCEPTED,
  }),
};

const replayWindow = z
  .int()
  .min(REPLAY_WINDOW_MIN)
  .max(REPLAY_WINDOW_MAX)
  .transform((input, context) => {
    if ((input & (input - 1)) === 0) return input;
    const nearest = 2 ** Math.round(Math.log2(input));
    addIssue(context, { why: 'it is not a power of two', nearest: `${nearest}` });
    return z.NEVER;
  });

const policyName = z
  .string()
  .regex(new RegExp(`^[A-Za-z0-9][A-Za-z0-9._-]{0,${POLICY_NAME_CHARS_MAX - 1}}$`));
const POLICY_NAME_ACCEPTED = `1..${POLICY_NAME_CHARS_MAX} letters, digits, dots, dashes and underscores, first a letter or digit`;

export const policyShape = {
  name: required(policyName, {
    description: 'Name of the policy, unique in the file.',
    accepted: POLICY_NAME_ACCEPTED,
  }),
  direction: optional(
    z.enum(['both', 'in', 'out']),
    choiceDoc(['both', 'in', 'out'], {
      description: 'Which packets it speaks of, seen from our side.',
      default: DEFAULTS.direction.value,
    }),
  ),
  local: optional(addresses(), {
    description: 'Addresses on our side: source of outbound packets, destination of inbound ones.',
    accepted: ADDRESSES_ACCEPTED,
    default: 'any',
  }),
  remote: optional(addresses(), {
    description: 'Addresses on the far side.',
    accepted: ADDRESSES_ACCEPTED,
    default: 'any',
  }),
  protocol: optional(protocol(), {
    description: 'Next layer protocol, by name or number.',
    accepted: PROTOCOL_ACCEPTED,
    default: 'any',
  }),
  localPort: optional(ports(), {
    description: 'Ports on our side; needs a protocol with ports.',
    accepted: PORTS_ACCEPTED,
    default: 'any',
  }),
  remotePort: optional(ports(), {
    description: 'Ports on the far side; needs a protocol with ports.',
    accepted: PORTS_ACCEPTED,
    default: 'any',
  }),
  icmpType: optional(icmpNumbers(), {
    description: 'ICMP types, by name or number; needs protocol icmp or icmpv6.',
    accepted: 'a name, a number 0..255, a range, or a list of these',
  }),
  icmpCode: optional(icmpNumbers(), {
    description: 'ICMP codes; needs icmpType.',
    accepted: 'a number 0..255, a range, or a list of these',
  }),
  action: required(
    z.enum(['protect', 'bypass', 'discard']),
    choiceDoc(['protect', 'bypass', 'discard'], {
      description: 'What becomes of the packets (RFC 4301 section 4.4.1).',
    }),
  ),
  peer: optional(z.string(), {
    description:
      'Name of the peer that the SAs are negotiated with; only with action protect. Absent: associations, or what it matches is dropped.',
    accepted: 'the name of a peer',
  }),
  mode: optional(
    z.enum(['tunnel', 'transport']),
    choiceDoc(['tunnel', 'transport'], {
      description:
        'Mode of the SAs that serve it; only with action protect. transport is between the gateway itself and its peer.',
      default: DEFAULTS.mode.value,
      later: LATER_VALUES.mode,
    }),
  ),
  proposals: optional(proposalTexts(), {
    description:
      'ESP proposals in order of preference, in the keywords of strongSwan; only with action protect.',
    accepted: 'a proposal such as aes256gcm16-x25519, or a list of these',
    default: DEFAULTS.espProposals.value,
  }),
  lifetime: optional(z.strictObject(lifetimeShape), {
    description: 'When negotiated SAs are replaced: whatever comes first. Only with a peer.',
    accepted: 'a map with time, bytes, packets and expire',
  }),
  start: optional(
    z.enum(['start', 'trap', 'none']),
    choiceDoc(['start', 'trap', 'none'], {
      description:
        'Who asks for the SA: start, we do at once; trap, the first packet does; none, a command or the peer. Only with a peer. Absent: trap, or none where the peer has no address to go to.',
    }),
  ),
  onClose: optional(
    z.enum(AFTERMATHS),
    choiceDoc(AFTERMATHS, {
      description:
        'What follows where the peer closes the SA. Only with a peer. Absent: restart with start: start, trap with trap, else clear.',
    }),
  ),
  selectorsPerChild: optional(
    z.enum(['all', 'one']),
    choiceDoc(['all', 'one'], {
      description:
        'One SA pair for all address ranges, or one for each pair of ranges, for peers that can no more. Only with a peer.',
      default: DEFAULTS.selectorsPerChild.value,
    }),
  ),
  replayWindow: optional(replayWindow, {
    description: 'Packets that may arrive late and still be told from replays. Only with a peer.',
    accepted: `a power of two, ${REPLAY_WINDOW_MIN}..${REPLAY_WINDOW_MAX}`,
    default: DEFAULTS.replayWindow.value,
  }),
  tfc: optional(z.strictObject(tfcShape), {
    description: 'Traffic flow confidentiality padding; only with action protect.',
    accepted: 'a map with padTo',
  }),
};

const KEY_ACCEPTED =
  '{ file: … }, { env: … }, { credential: … }, or "0x…" in quotes (hexadecimal, with a warning)';

export const keyShape = {
  file: optional(z.string().min(1), {
    description: 'File with the key, hexadecimal or raw bytes.',
    accepted: 'a path, relative to this file or absolute',
  }),
  env: optional(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), {
    description: 'Environment variable with the key in hexadecimal.',
    accepted: 'the name of an environment variable',
  }),
  credential: optional(
    z
      .string()
      .regex(/^[^/\s]{1,255}$/)
      .refine((name) => !/^\.{1,2}$/.test(name)),
    {
      description: 'Credential of the systemd unit with the key.',
      accepted: 'the name of a credential, without slashes',
    },
  ),
};

const spi = z
  .union([z.int().min(0).max(0xffff_ffff), z.string().regex(/^0x[0-9a-fA-F]{1,8}$/)])
  .transform((input, context): number => {
    const value = Number(input);
    if (value >= SPI_MIN && value <= SPI_MAX) return value;
    // RFC 4303 section 2.1: 0 is for local use and 1..255 are reserved.
    addIssue(context, {
      why: value < SPI_MIN ? '0..255 are reserved' : 'it has more than 32 bits',
    });
    return z.NEVER;
  });

export const manualKeyShape = {
  spi: required(spi, {
    description: 'Security Parameters Index.',
    accepted: '256..4294967295, such as 0xc0000001',
  }),
  key: required(z.union([z.string(), z.strictObject(keyShape)]), {
    description: 'Cipher key followed by the 4-byte salt.',
    accepted: KEY_ACCEPTED,
  }),
};

export const associationShape = {
  policy: required(z.string(), {
    description: 'Name of the policy that it serves; its action is protect.',
    accepted: 'the name of a policy',
  }),
  suite: required(
    suite(),
    choiceDoc(SUITE_NAMES, { description: 'Cipher and integrity, by proposal keyword.' }),
  ),
  local: required(address(), {
    description: 'Our outer address.',
    accepted: 'an IPv4 or IPv6 address',
  }),
  remote: required(address(), {
    description: "The peer's outer address.",
    accepted: 'an IPv4 or IPv6 address',
  }),
  encapsulation: optional(
    z.enum(['udp', 'esp']),
    choiceDoc(['udp', 'esp'], {
      description: 'ESP in UDP or raw ESP. Absent: as gateway.encapsulation.',
    }),
  ),
  remotePort: optional(udpPort, {
    description: "The peer's UDP port, with encapsulation udp.",
    accepted: '1..65535',
    default: DEFAULTS.peerPort.value,
  }),
  inbound: optional(z.strictObject(manualKeyShape), {
    description: 'SPI and key of what we receive.',
    accepted: 'a map with spi and key',
  }),
  outbound: optional(z.strictObject(manualKeyShape), {
    description: 'SPI and key of what we send.',
    accepted: 'a map with spi and key',
  }),
  esn: optional(z.boolean(), {
    description: 'Extended (64-bit) sequence numbers; both sides must agree.',
    accepted: BOOLEAN_ACCEPTED,
    default: DEFAULTS.esn.value,
  }),
  replayWindow: optional(replayWindow, {
    description: 'Packets that may arrive late and still be told from replays.',
    accepted: `a power of two, ${REPLAY_WINDOW_MIN}..${REPLAY_WINDOW_MAX}`,
    default: DEFAULTS.replayWindow.value,
  }),
};

/** The whole file. */
export const configFileSchema = z.strictObject({
  gateway: z.strictObject(gatewayShape).optional().describe('The gateway itself.'),
  peers: z
    .record(peerName, z.strictObject(peerShape))
    .optional()
    .describe(
      'The PAD (RFC 4301 section 4.4.3): who a peer is and how it proves it, by name; the first that fits is taken.',
    ),
  policies: z
    .array(z.strictObject(policyShape))
    .min(1)
    .max(POLICIES_MAX)
    .describe(
      'The SPD (RFC 4301 section 4.4.1): ordered, the first match wins; what matches none is discarded.',
    ),
  associations: z
    .array(z.strictObject(associationShape))
    .max(ASSOCIATIONS_MAX)
    .optional()
    .describe('Manually keyed SAs; need gateway.laboratory.'),
});

/** The configuration as an object, in place of a file. */
export type GatewayConfigInput = z.input<typeof configFileSchema>;

function jsonDefault(value: unknown): string | number | boolean | string[] | undefined {
  if (Array.isArray(value)) return value.map((item) => `${item}`);
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
    ? value
    : undefined;
}

/** The JSON Schema (draft 2020-12) of the file, for editors. */
export function configJsonSchema(): Readonly<Record<string, unknown>> {
  const { $schema, ...rest } = z.toJSONSchema(configFileSchema, {
    io: 'input',
    target: 'draft-2020-12',
    reused: 'inline',
    // Of a field that is checked further, zod leaves the default out.
    override: ({ zodSchema, jsonSchema }) => {
      const meta = z.globalRegistry.get(zodSchema);
      if (meta?.['default'] !== undefined) jsonSchema.default ??= jsonDefault(meta['default']);
    },
  });
  return {
    $schema,
    title: 'ipsec-node configuration',
    description: 'ipsec.yaml of ipsec-node: the databases of RFC 4301 as a person writes them.',
    ...rest,
  };
}
