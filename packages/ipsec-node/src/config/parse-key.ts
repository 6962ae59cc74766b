import { resolve } from 'node:path';

import { Secret } from '../sad/secret.js';
import { keyMaterialLen, SUITES, type SuiteName } from '../sad/suite.js';
import type { ConfigDocument, ConfigPath } from './document.js';
import type { Findings } from './finding.js';
import { keyShape, manualKeyShape } from './schema.js';
import { docOf } from './field.js';
import type { Reader, Section } from './reader.js';
import { formatSecretReference, type SecretReference, type SecretSource } from './secret-source.js';

/** What reading keys needs besides the reader. */
export interface KeyContext {
  readonly document: ConfigDocument;
  readonly findings: Findings;
  readonly secrets: SecretSource;
  /** Where a key may not be read: note it rather than fault it. For `check` and `explain`. */
  readonly tolerateDenied: boolean;
}

/** What is known of one direction even where it has faults. */
export interface ManualOutline {
  readonly spi: number | undefined;
  readonly key: Secret | null;
}

/** Reads `inbound` or `outbound` of an association; both are unknown where it is absent. */
export function parseManualKey(
  reader: Reader,
  context: KeyContext,
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
  context: KeyContext,
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
  const reference = parseReference(reader, context, value, path);
  if (reference === null) return null;
  const origin = formatSecretReference(reference);
  const reading = context.secrets.read(reference);
  if (!reading.ok) {
    if (reading.denied && context.tolerateDenied) {
      const why = `The key of ${origin} was not checked: ${reading.reason}.`;
      context.findings.add('note', 'unread-key', path, why);
      return Secret.unread(origin);
    }
    reader.faults.add(path, { found: origin, why: reading.reason, accepted: 'a readable key' });
    return null;
  }
  if (reading.exposed) {
    const why = `Others than its owner may read ${origin}: \`chmod 600\` it.`;
    context.findings.add('warning', 'exposed-key-file', path, why);
  }
  const allowRaw = reference.kind !== 'env';
  const bytes = decodeKey(reading.bytes, suite === undefined || !allowRaw ? null : suite);
  reading.bytes.fill(0);
  return checkedSecret(reader, context, { path, origin, suite, bytes });
}

function inlineKey(
  reader: Reader,
  context: KeyContext,
  path: ConfigPath,
  text: string,
  suite: SuiteName | undefined,
): Secret | null {
  context.findings.add(
    'warning',
    'inline-key',
    path,
    'The key stands in the file itself, which gets copied, shown and kept in version control: use { file: … } or { credential: … }.',
  );
  const bytes = text.startsWith('0x') ? decodeHex(text.slice(2)) : null;
  return checkedSecret(reader, context, { path, origin: 'the configuration', suite, bytes });
}

function checkedSecret(
  reader: Reader,
  context: KeyContext,
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
    const { cipherKeyLen, saltLen, authority } = SUITES[suite];
    reader.faults.add(path, {
      found: `${length} bytes`,
      accepted: `${cipherKeyLen + saltLen} bytes for ${suite}: ${cipherKeyLen} of cipher key, then ${saltLen} of salt (${authority})`,
    });
    return null;
  }
  if (secret.isUniform) {
    const why = 'All bytes of the key are equal: it is a placeholder, not a key.';
    context.findings.add('warning', 'weak-key', path, why);
  }
  return secret;
}

function parseReference(
  reader: Reader,
  context: KeyContext,
  value: unknown,
  path: ConfigPath,
): SecretReference | null {
  const accepted = docOf(manualKeyShape.key).accepted;
  const faultsBefore = reader.faults.count;
  const section = reader.section(value, path, Object.keys(keyShape), { accepted });
  if (section === null) return null;
  const file = reader.field(section, keyShape, 'file');
  const env = reader.field(section, keyShape, 'env');
  const credential = reader.field(section, keyShape, 'credential');
  if (reader.faults.count > faultsBefore) return null;
  const references: SecretReference[] = [];
  if (file !== undefined) {
    references.push({ kind: 'file', path: resolve(context.document.directory, file) });
  }
  if (env !== undefined) references.push({ kind: 'env', name: env });
  if (credential !== undefined) references.push({ kind: 'credential', name: credential });
  const reference = references[0];
  if (reference === undefined || references.length > 1) {
    reader.faults.add(path, {
      found: references.length === 0 ? 'an empty map' : `${references.length} sources of one key`,
      accepted,
    });
    return null;
  }
  return reference;
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
