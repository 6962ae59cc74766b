/** The shape of one peer of the file. What spans several fields is in parse-peer.ts. */
import { z } from 'zod';

import {
  DEFAULTS,
  LIFETIME_MS_MAX,
  LIFETIME_MS_MIN,
  LIST_MAX,
  LIVENESS_MS_MAX,
  LIVENESS_MS_MIN,
  PEER_HOSTS_MAX,
  PEER_NAME_CHARS_MAX,
  PROPOSALS_MAX,
} from './defaults.js';
import { choiceDoc, optional, required } from './field.js';
import { LATER_VALUES } from './later.js';
import { PEER_PRESET_NAMES } from './peer-presets.js';
import { DURATION_ACCEPTED, duration, durationOrOff, formatDuration } from './quantity-fields.js';
import { address } from './selector-fields.js';

const BOOLEAN_ACCEPTED = 'true or false';

/** First a letter: names of digits alone would lose their order in an object. */
export const peerName = z
  .string()
  .regex(new RegExp(`^[A-Za-z][A-Za-z0-9._-]{0,${PEER_NAME_CHARS_MAX - 1}}$`));
export const PEER_NAME_ACCEPTED = `1..${PEER_NAME_CHARS_MAX} letters, digits, dots, dashes and underscores, first a letter`;

const SOURCES = '{ file: … }, { env: … }, { credential: … }';

/** Sources of something secret. */
export const secretShape = {
  file: optional(z.string().min(1), {
    description: 'File with it.',
    accepted: 'a path, relative to this file or absolute',
  }),
  env: optional(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), {
    description: 'Environment variable with it.',
    accepted: 'the name of an environment variable',
  }),
  credential: optional(
    z
      .string()
      .regex(/^[^/\s]{1,255}$/)
      .refine((name) => !/^\.{1,2}$/.test(name)),
    {
      description: 'Credential of the systemd unit with it.',
      accepted: 'the name of a credential, without slashes',
    },
  ),
};

export const SECRET_ACCEPTED = `${SOURCES}, or the text itself in quotes (with a warning)`;
export const PRIVATE_KEY_ACCEPTED = `${SOURCES}; with passphrase where it is encrypted`;
export const FILES_ACCEPTED = 'paths, relative to this file or absolute';

const secret = () => z.union([z.string(), z.strictObject(secretShape)]);
const files = () => z.union([z.string().min(1), z.array(z.string().min(1)).min(1).max(LIST_MAX)]);

export const privateKeyShape = {
  ...secretShape,
  passphrase: optional(secret(), {
    description: 'Passphrase of an encrypted private key or of PKCS#12.',
    accepted: SECRET_ACCEPTED,
  }),
};

const AUTH_METHODS = ['psk', 'certificate', 'publicKey'] as const;

const RSA_SIGNATURES = ['pss', 'pkcs1'] as const;

const IDENTITY_ACCEPTED =
  'a DNS name, an e-mail address, an IP address, a distinguished name (CN=gw, O=Example), or keyid:…';

export const localShape = {
  id: optional(z.string().min(1), {
    description: 'Who we say we are. Absent: localAddress, or with a certificate its subject.',
    accepted: IDENTITY_ACCEPTED,
  }),
  auth: required(
    z.enum(AUTH_METHODS),
    choiceDoc(AUTH_METHODS, { description: 'How we prove it.', later: LATER_VALUES.auth }),
  ),
  certificate: optional(z.string().min(1), {
    description:
      'With auth certificate: file with our certificate, DER, or PEM with the intermediates after it. Not needed where the key is PKCS#12 that holds it.',
    accepted: 'a path, relative to this file or absolute',
  }),
  key: optional(z.strictObject(privateKeyShape), {
    description: 'With auth certificate or publicKey: our private key, PEM, PKCS#8 or PKCS#12.',
    accepted: PRIVATE_KEY_ACCEPTED,
  }),
  rsaSignature: optional(
    z.enum(RSA_SIGNATURES),
    choiceDoc(RSA_SIGNATURES, {
      description:
        'With an RSA key: how it signs. pkcs1 for a peer that announces RFC 7427 and cannot verify RSASSA-PSS.',
      default: DEFAULTS.rsaSignature.value,
    }),
  ),
};

export const remoteShape = {
  id: optional(z.string().min(1), {
    description:
      'Who the peer must say it is: an identity, *.example, *@example, a distinguished name with * for values, or any. Absent: its one address.',
    accepted: `${IDENTITY_ACCEPTED}, *.example, *@example, or any`,
  }),
  auth: required(
    z.enum(AUTH_METHODS),
    choiceDoc(AUTH_METHODS, {
      description: 'How the peer must prove it.',
      later: LATER_VALUES.auth,
    }),
  ),
  authorities: optional(files(), {
    description: 'With auth certificate: files with the certificates of the authorities trusted.',
    accepted: FILES_ACCEPTED,
  }),
  crls: optional(files(), {
    description: 'With auth certificate: files with revocation lists.',
    accepted: FILES_ACCEPTED,
  }),
  revocation: optional(
    z.enum(['off', 'relaxed', 'strict']),
    choiceDoc(['off', 'relaxed', 'strict'], {
      description:
        'With auth certificate: relaxed refuses what is known to be revoked, strict takes only what is known to be good.',
      default: DEFAULTS.revocation.value,
    }),
  ),
  publicKeys: optional(files(), {
    description: 'With auth publicKey: files with the public keys that are accepted, PEM or DER.',
    accepted: FILES_ACCEPTED,
  }),
};

export const ppkShape = {
  id: required(z.string().min(1), {
    description: 'Name of the post-quantum pre-shared key, the same on both sides.',
    accepted: 'a text; "0x…" for bytes',
  }),
  secret: required(secret(), {
    description: 'The key itself, at least 32 octets.',
    accepted: SECRET_ACCEPTED,
  }),
  required: optional(z.boolean(), {
    description: 'Whether a peer without it is refused.',
    accepted: BOOLEAN_ACCEPTED,
    default: DEFAULTS.ppkRequired.value,
  }),
};

export const lifetimeBounds = { min: LIFETIME_MS_MIN, max: LIFETIME_MS_MAX };
const livenessBounds = { min: LIVENESS_MS_MIN, max: LIVENESS_MS_MAX };

/** Proposals as they stand; read where `legacy` is known. */
export const proposalTexts = () =>
  z.union([z.string().min(1), z.array(z.string().min(1)).min(1).max(PROPOSALS_MAX)]);

export const AFTERMATHS = ['clear', 'trap', 'restart'] as const;

export const peerShape = {
  preset: optional(
    z.enum(PEER_PRESET_NAMES),
    choiceDoc(PEER_PRESET_NAMES, {
      description:
        'Terms that a known kind of peer wants, for this peer and its policies; what is written beside it goes before.',
    }),
  ),
  address: required(z.union([z.string(), z.array(z.string()).min(1).max(PEER_HOSTS_MAX)]), {
    description:
      'Where the peer is: an address, a DNS name, several of these to be tried in turn; or where it may come from: a prefix, a range, any.',
    accepted: 'an address, a DNS name, a prefix, a range, a list of these, or any',
  }),
  localAddress: optional(address(), {
    description: 'Our address towards it. Absent: what the routes say.',
    accepted: 'an IPv4 or IPv6 address',
  }),
  port: optional(z.int().min(1).max(65_535), {
    description: 'UDP port where it is first addressed; 4500 for peers that want no other.',
    accepted: '1..65535',
    default: DEFAULTS.ikePeerPort.value,
  }),
  local: required(z.strictObject(localShape), {
    description: 'How we prove who we are.',
    accepted: 'a map with id and auth',
  }),
  remote: required(z.strictObject(remoteShape), {
    description: 'How the peer must prove who it is.',
    accepted: 'a map with id and auth',
  }),
  psk: optional(secret(), {
    description:
      'The pre-shared key of auth psk: a text, or "0x" and hexadecimal, or "0s" and base64.',
    accepted: SECRET_ACCEPTED,
  }),
  ppk: optional(z.strictObject(ppkShape), {
    description: 'A post-quantum pre-shared key beside the authentication (RFC 8784).',
    accepted: 'a map with id, secret and required',
  }),
  proposals: optional(proposalTexts(), {
    description: 'IKE proposals in order of preference, in the keywords of strongSwan.',
    accepted: 'a proposal such as aes256gcm16-prfsha384-ecp384, or a list of these',
    default: DEFAULTS.ikeProposals.value,
  }),
  rekey: optional(duration(lifetimeBounds), {
    description: 'Age at which the IKE SA is replaced, less some jitter.',
    accepted: DURATION_ACCEPTED,
    default: formatDuration(DEFAULTS.ikeRekeyMs.value),
  }),
  expire: optional(duration(lifetimeBounds), {
    description: 'Age at which the IKE SA is gone, replaced or not. Absent: a tenth after rekey.',
    accepted: DURATION_ACCEPTED,
  }),
  dpd: optional(durationOrOff(livenessBounds), {
    description: 'Silence after which the peer is asked whether it lives; off: never.',
    accepted: `${DURATION_ACCEPTED}, or off`,
    default: formatDuration(DEFAULTS.livenessMs.value),
  }),
  keepalive: optional(durationOrOff(livenessBounds), {
    description: 'Silence after which a NAT in front of us is reminded of us; off: never.',
    accepted: `${DURATION_ACCEPTED}, or off`,
    default: formatDuration(DEFAULTS.keepaliveMs.value),
  }),
  encapsulation: optional(
    z.enum(['auto', 'forced']),
    choiceDoc(['auto', 'forced'], {
      description:
        'forced: ESP always in UDP. auto: only where a NAT is found. Absent: forced, unless gateway.encapsulation is esp.',
    }),
  ),
  fragmentation: optional(z.boolean(), {
    description: 'IKE fragmentation (RFC 7383).',
    accepted: BOOLEAN_ACCEPTED,
    default: DEFAULTS.fragmentation.value,
  }),
  mobike: optional(z.boolean(), {
    description: 'Whether addresses may change under an SA (RFC 4555).',
    accepted: BOOLEAN_ACCEPTED,
    default: DEFAULTS.mobike.value,
  }),
  unique: optional(
    z.enum(['replace', 'keep', 'no']),
    choiceDoc(['replace', 'keep', 'no'], {
      description:
        'A second IKE SA of the same identity replaces the first, is refused for it, or stands beside it.',
      default: DEFAULTS.unique.value,
    }),
  ),
  onDeath: optional(
    z.enum(AFTERMATHS),
    choiceDoc(AFTERMATHS, {
      description:
        'What follows where the peer is dead. Absent: restart where one of its policies has start: start, else trap where one has trap, else clear.',
    }),
  ),
  hashAndUrl: optional(z.boolean(), {
    description: 'Whether certificates may come as hash and URL (RFC 7296 section 3.6).',
    accepted: BOOLEAN_ACCEPTED,
    default: DEFAULTS.hashAndUrl.value,
  }),
  legacy: optional(z.boolean(), {
    description:
      'Allows algorithms that RFC 8221 and RFC 8247 advise against, for this peer and its policies.',
    accepted: BOOLEAN_ACCEPTED,
    default: DEFAULTS.legacy.value,
  }),
};
