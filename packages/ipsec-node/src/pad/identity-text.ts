/**
 * Identities as people write them. A prefix says exactly what is meant:
 *
 * | text | identity |
 * |---|---|
 * | `fqdn:gw.example` (also `dns:`) | a DNS name, taken as it is written |
 * | `email:ann@example` (also `rfc822:`, `userfqdn:`) | a mailbox |
 * | `ipv4:192.0.2.1`, `ipv6:2001:db8::1` | an address |
 * | `dn:C=CH, O=Example, CN=gw` (also `asn1dn:`), `dn:0x30..` | a distinguished name |
 * | `keyid:text`, `keyid:0x1234` | bytes: of the text in UTF-8, or those of the hex digits |
 *
 * Without a prefix, the first that fits: an address; `@name` a DNS name; `@#1234` a key-ID in hex;
 * `@@mailbox` and `local@domain` a mailbox; what has an `=` a distinguished name; and a DNS name
 * of letters, digits, `-` and `_` in labels. All else is refused rather than guessed.
 *
 * A pattern is all of that or: `*`, `any`, `%any`; `*.example`; `*@example`; a distinguished name
 * in which a value is `*`.
 */
import { formatIpAddress, tryParseIpAddress } from '../net/ip-address.js';
import {
  attributeKeyword,
  encodeDistinguishedName,
  escapeValue,
  formatDistinguishedName,
  isSameDistinguishedName,
  parseDistinguishedName,
  parseDistinguishedNameText,
  type RelativeNamePattern,
} from './distinguished-name.js';
import type { Identity, IdentityPattern } from './identity.js';

/** Bytes of a DNS name (RFC 1035 section 2.3.4) and of a mailbox (RFC 5321 section 4.5.3.1). */
export const DNS_NAME_BYTES_MAX = 255;
export const MAILBOX_BYTES_MAX = 320;
/** Bytes of an identity in its payload: length field less the headers (RFC 7296 section 3.5). */
export const KEY_ID_BYTES_MAX = 65_527;

const LABELS = /^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$/i;

/** Whether a peer may call itself by this DNS name: printable ASCII, no space, star or `@`. */
export function isDnsNameIdentity(name: string): boolean {
  return name.length <= DNS_NAME_BYTES_MAX && /^[!-)+-?A-~]+$/.test(name);
}

/** Whether this is a mailbox: printable ASCII without space, a local part, one `@`, a domain. */
export function isMailboxIdentity(mailbox: string): boolean {
  return mailbox.length <= MAILBOX_BYTES_MAX && /^[!-)+-?A-~]+@[!-)+-?A-~]+$/.test(mailbox);
}

type Reader = (body: string) => Identity | null;

const PREFIXES: readonly (readonly [prefix: string, read: Reader])[] = [
  ['fqdn', dnsName],
  ['dns', dnsName],
  ['email', mailbox],
  ['rfc822', mailbox],
  ['userfqdn', mailbox],
  ['ipv4', (body) => addressOf(body, 4)],
  ['ipv6', (body) => addressOf(body, 6)],
  ['asn1dn', distinguishedName],
  ['dn', distinguishedName],
  ['keyid', keyId],
];

/** Reads one identity; null where the text is none. */
export function parseIdentity(text: string): Identity | null {
  const prefixed = splitPrefix(text);
  if (prefixed !== null) return prefixed.read(prefixed.body);
  const address = addressOf(text, 4) ?? addressOf(text, 6);
  if (address !== null) return address;
  if (text.startsWith('@#')) return keyIdOfHex(text.slice(2));
  if (text.startsWith('@@')) return mailbox(text.slice(2));
  if (text.startsWith('@')) return dnsName(text.slice(1));
  if (text.includes('=')) return distinguishedName(text);
  if (text.includes('@')) return mailbox(text);
  return LABELS.test(text) ? dnsName(text) : null;
}

/** Reads an identity or a wildcard; null where the text is neither. */
export function parseIdentityPattern(text: string): IdentityPattern | null {
  if (text === '*' || text === 'any' || text === '%any') return { kind: 'any' };
  const prefixed = splitPrefix(text);
  const body = prefixed?.body ?? text;
  const read = prefixed?.read;
  if (body.startsWith('*.') && (read === undefined || read === dnsName)) {
    const suffix = body.slice(2);
    return LABELS.test(suffix) && suffix.length < DNS_NAME_BYTES_MAX - 1
      ? { kind: 'dns-suffix', suffix }
      : null;
  }
  if (body.startsWith('*@') && (read === undefined || read === mailbox)) {
    const domain = body.slice(2);
    return isMailboxIdentity(`a@${domain}`) ? { kind: 'mail-domain', domain } : null;
  }
  if (read === distinguishedName || (read === undefined && text.includes('='))) {
    const pattern = distinguishedNamePattern(body);
    if (pattern !== null) return pattern;
  }
  const identity = parseIdentity(text);
  return identity === null ? null : { kind: 'exact', identity };
}

/** Writes an identity so that {@link parseIdentity} reads the same again. */
export function formatIdentity(identity: Identity): string {
  const text = plainText(identity);
  // The short form only where it is read as the same kind.
  const again = identity.kind === 'key-id' ? null : parseIdentity(text);
  if (again?.kind === identity.kind) return text;
  switch (identity.kind) {
    case 'dns-name':
      return `fqdn:${text}`;
    case 'rfc822-name':
      return `email:${text}`;
    case 'ipv4-address':
      return `ipv4:${text}`;
    case 'ipv6-address':
      return `ipv6:${text}`;
    case 'distinguished-name':
      return `dn:${text}`;
    case 'key-id':
      return `keyid:${text}`;
  }
}

/** Writes a pattern so that {@link parseIdentityPattern} reads the same again. */
export function formatIdentityPattern(pattern: IdentityPattern): string {
  switch (pattern.kind) {
    case 'exact':
      return formatIdentity(pattern.identity);
    case 'dns-suffix':
      return `*.${pattern.suffix}`;
    case 'mail-domain':
      return `*@${pattern.domain}`;
    case 'dn-pattern':
      return pattern.names
        .map(
          ({ oid, value }) =>
            `${attributeKeyword(oid)}=${value === null ? '*' : escapeValue(value)}`,
        )
        .join(', ');
    case 'any':
      return '*';
  }
}

function plainText(identity: Identity): string {
  switch (identity.kind) {
    case 'dns-name':
      return identity.name;
    case 'rfc822-name':
      return identity.mailbox;
    case 'ipv4-address':
    case 'ipv6-address':
      return identity.address;
    case 'distinguished-name': {
      const name = parseDistinguishedName(identity.der);
      const text = name === null ? '' : formatDistinguishedName(name);
      const again = distinguishedName(text);
      // A value that is no text, or an empty one, has no form that can be read again.
      return again?.kind === 'distinguished-name' &&
        isSameDistinguishedName(again.der, identity.der)
        ? text
        : `0x${Buffer.from(identity.der).toString('hex')}`;
    }
    case 'key-id': {
      const text = Buffer.from(identity.bytes).toString('latin1');
      return /^[!-~]+$/.test(text) && !text.startsWith('0x')
        ? text
        : `0x${Buffer.from(identity.bytes).toString('hex')}`;
    }
  }
}

function splitPrefix(text: string): { readonly read: Reader; readonly body: string } | null {
  const colon = text.indexOf(':');
  if (colon < 0) return null;
  const prefix = text.slice(0, colon).toLowerCase();
  const read = PREFIXES.find(([each]) => each === prefix)?.[1];
  return read === undefined ? null : { read, body: text.slice(colon + 1) };
}

function dnsName(name: string): Identity | null {
  return isDnsNameIdentity(name) ? { kind: 'dns-name', name } : null;
}

function mailbox(text: string): Identity | null {
  return isMailboxIdentity(text) ? { kind: 'rfc822-name', mailbox: text } : null;
}

function addressOf(text: string, family: 4 | 6): Identity | null {
  const address = tryParseIpAddress(text);
  if (address === null || address.family !== family) return null;
  return {
    kind: family === 4 ? 'ipv4-address' : 'ipv6-address',
    address: formatIpAddress(address),
  };
}

function keyId(text: string): Identity | null {
  if (text.startsWith('0x')) return keyIdOfHex(text.slice(2));
  return keyIdOfBytes(Buffer.from(text, 'utf8'));
}

function keyIdOfHex(digits: string): Identity | null {
  const bytes = bytesOfHex(digits);
  return bytes === null ? null : keyIdOfBytes(bytes);
}

function keyIdOfBytes(bytes: Uint8Array): Identity | null {
  if (bytes.length === 0 || bytes.length > KEY_ID_BYTES_MAX) return null;
  return { kind: 'key-id', bytes: new Uint8Array(bytes) };
}

function bytesOfHex(digits: string): Uint8Array | null {
  if (!/^([0-9a-fA-F]{2})+$/.test(digits)) return null;
  return new Uint8Array(Buffer.from(digits, 'hex'));
}

function distinguishedName(text: string): Identity | null {
  if (text.startsWith('0x')) {
    const der = bytesOfHex(text.slice(2));
    if (der === null || parseDistinguishedName(der) === null) return null;
    return { kind: 'distinguished-name', der };
  }
  const relatives = parseDistinguishedNameText(text);
  if (relatives === null) return null;
  const complete = relatives.map((relative) => relative.filter(hasValue));
  if (complete.some((each, index) => each.length !== relatives[index]?.length)) return null;
  return { kind: 'distinguished-name', der: encodeDistinguishedName(complete) };
}

function hasValue(
  name: RelativeNamePattern,
): name is RelativeNamePattern & { readonly value: string } {
  return name.value !== null;
}

/** A name with a star in it, and one attribute in each relative name; else null. */
function distinguishedNamePattern(text: string): IdentityPattern | null {
  const relatives = parseDistinguishedNameText(text);
  if (relatives === null) return null;
  const names = relatives.flat();
  if (names.length !== relatives.length || names.every(hasValue)) return null;
  return { kind: 'dn-pattern', names };
}
