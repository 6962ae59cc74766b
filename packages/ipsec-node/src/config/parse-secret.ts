/** Secrets out of their sources, and pre-shared keys in their three forms. */
import { resolve } from 'node:path';

import { Secret } from '../sad/secret.js';
import { PSK_BYTES_WISE_MIN } from './defaults.js';
import type { ConfigDocument, ConfigPath } from './document.js';
import type { Findings } from './finding.js';
import { secretShape } from './peer-schema.js';
import type { Reader, Section } from './reader.js';
import { formatSecretReference, type SecretReference, type SecretSource } from './secret-source.js';

/** What reading secrets needs besides the reader. */
export interface SecretContext {
  readonly document: ConfigDocument;
  readonly findings: Findings;
  readonly secrets: SecretSource;
  /** Where a secret may not be read: note it rather than fault it. For `check` and `explain`. */
  readonly tolerateDenied: boolean;
}

/** The three keys that say where a secret is; other keys of the map are the caller's. */
export function referenceOf(
  reader: Reader,
  context: SecretContext,
  section: Section,
  accepted: string,
): SecretReference | null {
  const faultsBefore = reader.faults.count;
  const file = reader.field(section, secretShape, 'file');
  const env = reader.field(section, secretShape, 'env');
  const credential = reader.field(section, secretShape, 'credential');
  if (reader.faults.count > faultsBefore) return null;
  const references: SecretReference[] = [];
  if (file !== undefined) {
    references.push({ kind: 'file', path: resolve(context.document.directory, file) });
  }
  if (env !== undefined) references.push({ kind: 'env', name: env });
  if (credential !== undefined) references.push({ kind: 'credential', name: credential });
  const reference = references[0];
  if (reference === undefined || references.length > 1) {
    reader.faults.add(section.path, {
      found: references.length === 0 ? 'an empty map' : `${references.length} sources of one key`,
      accepted,
    });
    return null;
  }
  return reference;
}

/** What was read of a reference. */
export interface SecretBytes {
  /** The caller zeroes them; null where they may not be read and that is tolerated. */
  readonly bytes: Uint8Array | null;
  readonly origin: string;
}

/** Reads what a reference names; null where that is a fault. */
export function readReference(
  reader: Reader,
  context: SecretContext,
  reference: SecretReference,
  path: ConfigPath,
  bytesMax?: number,
): SecretBytes | null {
  const origin = formatSecretReference(reference);
  const reading = context.secrets.read(reference, bytesMax);
  if (!reading.ok) {
    if (reading.denied && context.tolerateDenied) {
      const why = `The key of ${origin} was not checked: ${reading.reason}.`;
      context.findings.add('note', 'unread-key', path, why);
      return { bytes: null, origin };
    }
    reader.faults.add(path, { found: origin, why: reading.reason, accepted: 'a readable key' });
    return null;
  }
  if (reading.exposed) {
    const why = `Others than its owner may read ${origin}: \`chmod 600\` it.`;
    context.findings.add('warning', 'exposed-key-file', path, why);
  }
  return { bytes: reading.bytes, origin };
}

/** Says that a secret stands in the file. */
export function noteInline(context: SecretContext, path: ConfigPath): void {
  context.findings.add(
    'warning',
    'inline-key',
    path,
    'The key stands in the file itself, which gets copied, shown and kept in version control: use { file: … } or { credential: … }.',
  );
}

/**
 * Reads a secret that is a text: a pre-shared key or a passphrase. `raw` takes it as it stands;
 * otherwise `0x` starts hexadecimal and `0s` base64. Null where it is absent or faulty.
 */
export function parseTextSecret(
  reader: Reader,
  context: SecretContext,
  value: unknown,
  options: { readonly path: ConfigPath; readonly accepted: string; readonly raw: boolean },
): Secret | null {
  const { path, accepted, raw } = options;
  if (typeof value === 'number') {
    // YAML reads an unquoted 0x… as a number and loses its digits.
    reader.faults.add(path, { found: 'a number (not shown)', why: 'quotes are missing', accepted });
    return null;
  }
  if (typeof value === 'string') {
    noteInline(context, path);
    const bytes = new TextEncoder().encode(value);
    return decodedSecret(reader, context, { bytes, origin: 'the configuration', path, raw });
  }
  const section = reader.section(value, path, Object.keys(secretShape), { accepted });
  if (section === null) return null;
  const reference = referenceOf(reader, context, section, accepted);
  if (reference === null) return null;
  const read = readReference(reader, context, reference, path);
  if (read === null) return null;
  const { bytes, origin } = read;
  if (bytes === null) return Secret.unread(origin);
  return decodedSecret(reader, context, { bytes, origin, path, raw });
}

function decodedSecret(
  reader: Reader,
  context: SecretContext,
  given: {
    readonly bytes: Uint8Array;
    readonly origin: string;
    readonly path: ConfigPath;
    readonly raw: boolean;
  },
): Secret | null {
  const { bytes, origin, path, raw } = given;
  const decoded = raw ? withoutNewline(bytes) : decodeSharedKey(bytes);
  if (decoded === null || decoded.length === 0) {
    reader.faults.add(path, {
      found: decoded === null ? `a text in ${origin} (not shown)` : `nothing in ${origin}`,
      why: decoded === null ? 'it starts as 0x or 0s and goes on otherwise' : undefined,
      accepted: 'a text, or 0x and hexadecimal, or 0s and base64',
    });
    bytes.fill(0);
    return null;
  }
  const secret = new Secret(decoded, origin);
  decoded.fill(0);
  bytes.fill(0);
  if (secret.isUniform && !raw) {
    const why = 'All bytes of the key are equal: it is a placeholder, not a key.';
    context.findings.add('warning', 'weak-key', path, why);
  } else if (secret.byteLength < PSK_BYTES_WISE_MIN && !raw) {
    context.findings.add(
      'warning',
      'weak-psk',
      path,
      `The key has ${secret.byteLength} octets: whoever answers in the place of a peer can guess one under ${PSK_BYTES_WISE_MIN} at leisure. \`openssl rand -base64 32\` makes a good one.`,
    );
  }
  return secret;
}

/**
 * A pre-shared key as strongSwan writes it: `0x` and hexadecimal, `0s` and base64, else the octets
 * themselves without the newline at the end of a file. Null where the first two go wrong. It makes
 * no text of the key.
 */
export function decodeSharedKey(content: Uint8Array): Uint8Array | null {
  const bytes = withoutNewline(content);
  if (bytes[0] !== 0x30) return Uint8Array.from(bytes);
  if (bytes[1] === 0x78) return decodeDigits(bytes.subarray(2), HEX, 4);
  if (bytes[1] === 0x73) return decodeDigits(bytes.subarray(2), BASE64, 6);
  return Uint8Array.from(bytes);
}

const HEX = new TextEncoder().encode('0123456789abcdef');
const BASE64 = new TextEncoder().encode(
  'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/',
);
const PADDING = 0x3d;

/** Digits of 4 or of 6 bits. */
function decodeDigits(text: Uint8Array, alphabet: Uint8Array, bits: 4 | 6): Uint8Array | null {
  const padded = bits === 6 ? text.findIndex((byte) => byte === PADDING) : -1;
  const digits = padded < 0 ? text : text.subarray(0, padded);
  const padding = text.length - digits.length;
  if (padding > 2 || !text.subarray(digits.length).every((byte) => byte === PADDING)) return null;
  // A last digit that ends no octet means that one is missing.
  if ((digits.length * bits) % 8 >= bits || (padding > 0 && text.length % 4 !== 0)) return null;
  const decoded = new Uint8Array(Math.floor((digits.length * bits) / 8));
  let held = 0;
  let heldBits = 0;
  let place = 0;
  for (const byte of digits) {
    const isUpperHex = bits === 4 && byte >= 0x41 && byte <= 0x46;
    const digit = alphabet.indexOf(isUpperHex ? byte + 0x20 : byte);
    if (digit < 0) return null;
    held = ((held << bits) | digit) & 0xfff;
    heldBits += bits;
    if (heldBits < 8) continue;
    heldBits -= 8;
    decoded[place] = (held >> heldBits) & 0xff;
    place += 1;
  }
  return decoded;
}

function withoutNewline(bytes: Uint8Array): Uint8Array {
  const end = bytes.at(-1) === 0x0a ? (bytes.at(-2) === 0x0d ? 2 : 1) : 0;
  return bytes.subarray(0, bytes.length - end);
}
