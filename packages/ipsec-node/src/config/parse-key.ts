import { Secret } from '../sad/secret.js';
import { keyMaterialLen, keyMaterialParts, SUITES, type SuiteName } from '../sad/suite.js';
import type { ConfigPath } from './document.js';
import { keyShape, manualKeyShape } from './schema.js';
import { docOf } from './field.js';
import { noteInline, readReference, referenceOf, type SecretContext } from './parse-secret.js';
import type { Reader, Section } from './reader.js';

/** What is known of one direction even where it has faults. */
export interface ManualOutline {
  readonly spi: number | undefined;
  readonly key: Secret | null;
}

/** Reads `inbound` or `outbound` of an association; both are unknown where it is absent. */
export function parseManualKey(
  reader: Reader,
  context: SecretContext,
  association: Section,
  direction: 'inbound' | 'outbound',
  suite: SuiteName | undefined,
): ManualOutline {
  if (!association.values.has(direction)) return { spi: undefined, key: null };
  const path = [...association.path, direction];
  const section = reader.section(
    association.values.get(direction),
    path,
    Object.keys(manualKeyShape),
  );
  if (section === null) return { spi: undefined, key: null };
  const spi = reader.field(section, manualKeyShape, 'spi');
  return { spi, key: parseKey(reader, context, section, suite) };
}

function parseKey(
  reader: Reader,
  context: SecretContext,
  section: Section,
  suite: SuiteName | undefined,
): Secret | null {
  const path = [...section.path, 'key'];
  const accepted = docOf(manualKeyShape.key).accepted;
  if (!section.values.has('key')) {
    reader.faults.add(path, { found: 'nothing', accepted });
    return null;
  }
  const value = section.values.get('key');
  if (typeof value === 'string') return inlineKey(reader, context, path, value, suite);
  if (typeof value === 'number') {
    // YAML reads an unquoted 0x… as a number and loses its digits.
    reader.faults.add(path, { found: 'a number (not shown)', why: 'quotes are missing', accepted });
    return null;
  }
  const map = reader.section(value, path, Object.keys(keyShape), { accepted });
  const reference = map === null ? null : referenceOf(reader, context, map, accepted);
  if (reference === null) return null;
  const read = readReference(reader, context, reference, path);
  if (read === null) return null;
  const { origin } = read;
  if (read.bytes === null) return Secret.unread(origin);
  const allowRaw = reference.kind !== 'env';
  const bytes = decodeKey(read.bytes, suite === undefined || !allowRaw ? null : suite);
  read.bytes.fill(0);
  return checkedSecret(reader, context, { path, origin, suite, bytes });
}

function inlineKey(
  reader: Reader,
  context: SecretContext,
  path: ConfigPath,
  text: string,
  suite: SuiteName | undefined,
): Secret | null {
  noteInline(context, path);
  const bytes = text.startsWith('0x') ? decodeHex(text.slice(2)) : null;
  return checkedSecret(reader, context, { path, origin: 'the configuration', suite, bytes });
}

function checkedSecret(
  reader: Reader,
  context: SecretContext,
  key: { path: ConfigPath; origin: string; suite: SuiteName | undefined; bytes: Uint8Array | null },
): Secret | null {
  const { path, origin, suite, bytes } = key;
  if (bytes === null) {
    const digits = suite === undefined ? 'digits' : `${keyMaterialLen(suite) * 2} digits`;
    reader.faults.add(path, {
      found: `a text in ${origin} that is not hexadecimal (not shown)`,
      accepted: `0x and ${digits} of hexadecimal`,
    });
    return null;
  }
  const secret = new Secret(bytes, origin);
  const length = bytes.length;
  bytes.fill(0);
  if (suite !== undefined && length !== keyMaterialLen(suite)) {
    secret.wipe();
    reader.faults.add(path, {
      found: `${length} bytes`,
      accepted: `${keyMaterialLen(suite)} bytes for ${suite}: ${keyMaterialParts(suite)} (${SUITES[suite].authority})`,
    });
    return null;
  }
  if (secret.isUniform) {
    const why = 'All bytes of the key are equal: it is a placeholder, not a key.';
    context.findings.add('warning', 'weak-key', path, why);
  }
  return secret;
}

/** Hexadecimal text with or without 0x, or, for `raw`, bytes of exactly the suite's length. */
function decodeKey(content: Uint8Array, raw: SuiteName | null): Uint8Array | null {
  const text = new TextDecoder('latin1').decode(content).trim();
  const hex = decodeHex(text.startsWith('0x') ? text.slice(2) : text);
  if (hex !== null) return hex;
  return raw !== null && content.length === keyMaterialLen(raw) ? Uint8Array.from(content) : null;
}

function decodeHex(text: string): Uint8Array | null {
  if (text.length === 0 || text.length % 2 !== 0 || !/^[0-9a-fA-F]+$/.test(text)) return null;
  const bytes = new Uint8Array(text.length / 2);
  for (let index = 0; index < bytes.length; index += 1) {
    bytes[index] = Number.parseInt(text.slice(index * 2, index * 2 + 2), 16);
  }
  return bytes;
}
