/**
 * Distinguished names (RFC 5280 section 4.1.2.4): text to DER and back, and whether two are the
 * same. The DER itself is a library's.
 *
 * Text is written in the order of the encoding, the most general name first, as in
 * `C=CH, O=Example, CN=gw`. A comma, plus, equals sign or backslash in a value has a backslash
 * before it.
 */
import { AsnConvert } from '@peculiar/asn1-schema';
import {
  AttributeTypeAndValue,
  AttributeValue,
  Name,
  RelativeDistinguishedName,
} from '@peculiar/asn1-x509';

/** One attribute: its type, and its value as text; a value that is no text is `#` and its hex. */
export interface DistinguishedNameAttribute {
  readonly oid: string;
  readonly value: string;
}

/** Relative names in the order of the encoding; each has one attribute or more. */
export type DistinguishedName = readonly (readonly DistinguishedNameAttribute[])[];

/** Longest DER that is read, and most relative names in it. */
const NAME_BYTES_MAX = 8_192;
const NAME_COUNT_MAX = 64;

/** Keywords of RFC 4519 and RFC 2985; the first of a type is the one that is written. */
const ATTRIBUTE_KEYWORDS: readonly (readonly [keyword: string, oid: string])[] = [
  ['C', '2.5.4.6'],
  ['ST', '2.5.4.8'],
  ['S', '2.5.4.8'],
  ['L', '2.5.4.7'],
  ['STREET', '2.5.4.9'],
  ['O', '2.5.4.10'],
  ['OU', '2.5.4.11'],
  ['CN', '2.5.4.3'],
  ['SN', '2.5.4.4'],
  ['GN', '2.5.4.42'],
  ['G', '2.5.4.42'],
  ['I', '2.5.4.43'],
  ['T', '2.5.4.12'],
  ['D', '2.5.4.13'],
  ['N', '2.5.4.41'],
  ['serialNumber', '2.5.4.5'],
  ['postalCode', '2.5.4.17'],
  ['dnQualifier', '2.5.4.46'],
  ['organizationIdentifier', '2.5.4.97'],
  ['UID', '0.9.2342.19200300.100.1.1'],
  ['DC', '0.9.2342.19200300.100.1.25'],
  ['E', '1.2.840.113549.1.9.1'],
  ['emailAddress', '1.2.840.113549.1.9.1'],
  ['email', '1.2.840.113549.1.9.1'],
  ['unstructuredName', '1.2.840.113549.1.9.2'],
];

/** RFC 5280 appendix A: these are IA5String, and these PrintableString; the rest is UTF8String. */
const IA5_TYPES: ReadonlySet<string> = new Set([
  '0.9.2342.19200300.100.1.25',
  '1.2.840.113549.1.9.1',
  '1.2.840.113549.1.9.2',
]);
const PRINTABLE_TYPES: ReadonlySet<string> = new Set(['2.5.4.6', '2.5.4.5', '2.5.4.46']);

/** Reads the DER of a Name; null where it is not DER, is empty, or is past the bounds. */
export function parseDistinguishedName(der: Uint8Array): DistinguishedName | null {
  if (der.length > NAME_BYTES_MAX) return null;
  try {
    const name = AsnConvert.parse(der, Name);
    // Only DER is its own encoding: this refuses BER and what trails.
    if (!isSameBytes(new Uint8Array(AsnConvert.serialize(name)), der)) return null;
    return attributesOf(name);
  } catch {
    return null;
  }
}

/** The attributes of a Name of the library; null where it is empty or past the bounds. */
function attributesOf(name: Name): DistinguishedName | null {
  if (name.length === 0 || name.length > NAME_COUNT_MAX) return null;
  return name.map((relative) =>
    relative.map(({ type, value }) => ({
      oid: type,
      value:
        value.anyValue === undefined
          ? value.toString()
          : `#${Buffer.from(value.anyValue).toString('hex')}`,
    })),
  );
}

/** Writes the DER of a name. */
export function encodeDistinguishedName(name: DistinguishedName): Uint8Array {
  const encoded = new Name(
    name.map(
      (relative) =>
        new RelativeDistinguishedName(
          relative.map(
            ({ oid, value }) =>
              new AttributeTypeAndValue({ type: oid, value: attributeValue(oid, value) }),
          ),
        ),
    ),
  );
  return new Uint8Array(AsnConvert.serialize(encoded));
}

function attributeValue(oid: string, value: string): AttributeValue {
  if (IA5_TYPES.has(oid) && /^\p{ASCII}*$/u.test(value)) {
    return new AttributeValue({ ia5String: value });
  }
  if (PRINTABLE_TYPES.has(oid) && /^[A-Za-z0-9 '()+,\-./:=?]*$/.test(value)) {
    return new AttributeValue({ printableString: value });
  }
  return new AttributeValue({ utf8String: value });
}

/**
 * Whether two names are the same by RFC 5280 section 7.1: as many relative names, in the same
 * order, with the same attributes, compared after {@link preparedValue}.
 */
export function isSameDistinguishedName(a: Uint8Array, b: Uint8Array): boolean {
  if (isSameBytes(a, b)) return true;
  const left = parseDistinguishedName(a);
  const right = parseDistinguishedName(b);
  if (left === null || right === null || left.length !== right.length) return false;
  return left.every((relative, index) => isSameRelative(relative, right[index] ?? []));
}

function isSameRelative(
  a: readonly DistinguishedNameAttribute[],
  b: readonly DistinguishedNameAttribute[],
): boolean {
  if (a.length !== b.length) return false;
  // A relative name is a set: its order means nothing.
  const texts = (relative: readonly DistinguishedNameAttribute[]): string[] =>
    relative.map(({ oid, value }) => `${oid}=${preparedValue(value)}`).sort();
  const right = texts(b);
  return texts(a).every((text, index) => text === right[index]);
}

/** RFC 5280 section 7.1, RFC 4518: width and composition, case, and runs of space mean nothing. */
export function preparedValue(value: string): string {
  return value.normalize('NFKC').toLowerCase().replace(/\s+/g, ' ').trim();
}

/** Writes a name as text. A value that is no printable text is written as `#` and its hex. */
export function formatDistinguishedName(name: DistinguishedName): string {
  return name
    .map((relative) =>
      relative.map(({ oid, value }) => `${attributeKeyword(oid)}=${escapeValue(value)}`).join('+'),
    )
    .join(', ');
}

/** The keyword of an attribute type, or its numbers. */
export function attributeKeyword(oid: string): string {
  return ATTRIBUTE_KEYWORDS.find(([, each]) => each === oid)?.[0] ?? oid;
}

/** Writes a value so that {@link parseDistinguishedNameText} reads it again. */
export function escapeValue(value: string): string {
  const escaped = value
    .replace(/[\\,+=/*]/g, (character) => `\\${character}`)
    // Control characters of a peer's name reach no log as such.
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) =>
      [...Buffer.from(character, 'utf8')]
        .map((byte) => `\\${byte.toString(16).padStart(2, '0')}`)
        .join(''),
    );
  return escaped.replace(/^ | $/g, '\\20');
}

/** A relative name of a pattern: the value is null for any. */
export interface RelativeNamePattern {
  readonly oid: string;
  readonly value: string | null;
}

/**
 * Reads the text of a name; null where it is not one. A value that is only `*` is null in the
 * result: any value, for patterns.
 */
export function parseDistinguishedNameText(
  text: string,
): readonly (readonly RelativeNamePattern[])[] | null {
  if (Buffer.byteLength(text) > NAME_BYTES_MAX) return null;
  const separator = text.startsWith('/') ? '/' : ',';
  const body = separator === '/' ? text.slice(1) : text;
  const relatives = splitUnescaped(body, separator);
  if (relatives.length > NAME_COUNT_MAX) return null;
  const name: RelativeNamePattern[][] = [];
  for (const relative of relatives) {
    const attributes = splitUnescaped(relative, '+').map(parseAttribute);
    const complete = attributes.filter((each) => each !== null);
    if (complete.length !== attributes.length) return null;
    name.push(complete);
  }
  return name;
}

function parseAttribute(text: string): RelativeNamePattern | null {
  const [keyword, value, ...rest] = splitUnescaped(text, '=');
  if (keyword === undefined || value === undefined || rest.length > 0) return null;
  const oid = attributeOid(keyword.trim());
  if (oid === null) return null;
  const trimmed = value.trim();
  if (trimmed === '*') return { oid, value: null };
  const unescaped = unescapeValue(trimmed);
  return unescaped === null || unescaped === '' ? null : { oid, value: unescaped };
}

function attributeOid(keyword: string): string | null {
  if (/^[0-2](\.(0|[1-9]\d{0,8})){1,15}$/.test(keyword)) return keyword;
  const wanted = keyword.toLowerCase();
  return ATTRIBUTE_KEYWORDS.find(([each]) => each.toLowerCase() === wanted)?.[1] ?? null;
}

/** Splits at a separator that has no backslash before it. */
function splitUnescaped(text: string, separator: string): string[] {
  const parts: string[] = [];
  let part = '';
  for (let index = 0; index < text.length; index += 1) {
    const character = text.charAt(index);
    if (character === '\\') {
      part += character + text.charAt(index + 1);
      index += 1;
    } else if (character === separator) {
      parts.push(part);
      part = '';
    } else part += character;
  }
  parts.push(part);
  return parts;
}

/** Undoes {@link escapeValue}; null where an escape is not complete or not UTF-8. */
function unescapeValue(text: string): string | null {
  // A star inside of a value is no wildcard that this version knows.
  if (/^(?:[^\\*]|\\.)*$/su.test(text) === false) return null;
  const bytes: Uint8Array[] = [];
  for (const [piece] of text.matchAll(/\\[0-9a-fA-F]{2}|\\?[^]/gu)) {
    if (/^\\[0-9a-fA-F]{2}$/.test(piece)) bytes.push(Buffer.from(piece.slice(1), 'hex'));
    else bytes.push(Buffer.from(piece.startsWith('\\') ? piece.slice(1) : piece, 'utf8'));
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.concat(bytes));
  } catch {
    return null;
  }
}

/** Equal lengths first, then byte by byte. */
export function isSameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0;
}
