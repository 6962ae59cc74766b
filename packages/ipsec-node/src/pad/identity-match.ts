/**
 * Identities on the wire (RFC 7296 section 3.5), and whether one is the one that is wanted. All of
 * it is total: any type and any bytes are either an identity or null.
 */
import { formatIpAddress, tryParseIpAddress } from '../net/ip-address.js';
import {
  isSameBytes,
  isSameDistinguishedName,
  parseDistinguishedName,
  preparedValue,
} from './distinguished-name.js';
import type { Identity, IdentityPattern } from './identity.js';
import { isDnsNameIdentity, isMailboxIdentity, KEY_ID_BYTES_MAX } from './identity-text.js';

/** Identification types (RFC 7296 section 3.5). */
export const ID_TYPES = {
  IPV4_ADDR: 1,
  FQDN: 2,
  RFC822_ADDR: 3,
  IPV6_ADDR: 5,
  DER_ASN1_DN: 9,
  KEY_ID: 11,
} as const;

/** Reads the type and data of an identification payload; null where they are no identity. */
export function identityOfPayload(idType: number, data: Uint8Array): Identity | null {
  switch (idType) {
    case ID_TYPES.IPV4_ADDR:
      return data.length === 4
        ? { kind: 'ipv4-address', address: formatIpAddress({ family: 4, value: bigOf(data) }) }
        : null;
    case ID_TYPES.IPV6_ADDR:
      return data.length === 16
        ? { kind: 'ipv6-address', address: formatIpAddress({ family: 6, value: bigOf(data) }) }
        : null;
    case ID_TYPES.FQDN: {
      const name = Buffer.from(data).toString('latin1');
      return isDnsNameIdentity(name) ? { kind: 'dns-name', name } : null;
    }
    case ID_TYPES.RFC822_ADDR: {
      const mailbox = Buffer.from(data).toString('latin1');
      return isMailboxIdentity(mailbox) ? { kind: 'rfc822-name', mailbox } : null;
    }
    case ID_TYPES.DER_ASN1_DN:
      return parseDistinguishedName(data) === null
        ? null
        : { kind: 'distinguished-name', der: new Uint8Array(data) };
    case ID_TYPES.KEY_ID:
      return data.length === 0 || data.length > KEY_ID_BYTES_MAX
        ? null
        : { kind: 'key-id', bytes: new Uint8Array(data) };
    default:
      return null;
  }
}

/** Type and data of the identification payload of an identity. */
export function payloadOfIdentity(identity: Identity): {
  readonly idType: number;
  readonly data: Uint8Array;
} {
  switch (identity.kind) {
    case 'dns-name':
      return { idType: ID_TYPES.FQDN, data: new Uint8Array(Buffer.from(identity.name, 'latin1')) };
    case 'rfc822-name':
      return {
        idType: ID_TYPES.RFC822_ADDR,
        data: new Uint8Array(Buffer.from(identity.mailbox, 'latin1')),
      };
    case 'ipv4-address':
      return { idType: ID_TYPES.IPV4_ADDR, data: bytesOfAddress(identity.address, 4) };
    case 'ipv6-address':
      return { idType: ID_TYPES.IPV6_ADDR, data: bytesOfAddress(identity.address, 16) };
    case 'distinguished-name':
      return { idType: ID_TYPES.DER_ASN1_DN, data: new Uint8Array(identity.der) };
    case 'key-id':
      return { idType: ID_TYPES.KEY_ID, data: new Uint8Array(identity.bytes) };
  }
}

/** Whether an identity is one that the pattern admits. */
export function matchesIdentity(pattern: IdentityPattern, identity: Identity): boolean {
  switch (pattern.kind) {
    case 'any':
      return true;
    case 'exact':
      return isSameIdentity(pattern.identity, identity);
    case 'dns-suffix':
      return (
        identity.kind === 'dns-name' &&
        hasLabelsBefore(lowerAscii(identity.name), `.${lowerAscii(pattern.suffix)}`)
      );
    case 'mail-domain':
      return (
        identity.kind === 'rfc822-name' &&
        lowerAscii(splitMailbox(identity.mailbox).domain) === lowerAscii(pattern.domain)
      );
    case 'dn-pattern':
      return identity.kind === 'distinguished-name' && matchesNames(pattern.names, identity.der);
  }
}

/** Whether two identities are the same: kind and value, DNS names in any case of ASCII. */
export function isSameIdentity(a: Identity, b: Identity): boolean {
  if (a.kind === 'dns-name' && b.kind === 'dns-name') {
    return lowerAscii(a.name) === lowerAscii(b.name);
  }
  if (a.kind === 'rfc822-name' && b.kind === 'rfc822-name') {
    const left = splitMailbox(a.mailbox);
    const right = splitMailbox(b.mailbox);
    // RFC 5321 section 2.4: the local part is case-sensitive, the domain is not.
    return left.local === right.local && lowerAscii(left.domain) === lowerAscii(right.domain);
  }
  if (
    (a.kind === 'ipv4-address' && b.kind === 'ipv4-address') ||
    (a.kind === 'ipv6-address' && b.kind === 'ipv6-address')
  ) {
    return a.address === b.address;
  }
  if (a.kind === 'distinguished-name' && b.kind === 'distinguished-name') {
    return isSameDistinguishedName(a.der, b.der);
  }
  return a.kind === 'key-id' && b.kind === 'key-id' && isSameBytes(a.bytes, b.bytes);
}

/** One label or more, none empty, stand before the suffix. */
function hasLabelsBefore(name: string, suffix: string): boolean {
  if (!name.endsWith(suffix)) return false;
  return name
    .slice(0, -suffix.length)
    .split('.')
    .every((label) => label.length > 0);
}

function matchesNames(
  names: readonly { readonly oid: string; readonly value: string | null }[],
  der: Uint8Array,
): boolean {
  const actual = parseDistinguishedName(der);
  if (actual === null || actual.length !== names.length) return false;
  return names.every((wanted, index) => {
    const relative = actual[index];
    const attribute = relative?.[0];
    if (relative?.length !== 1 || attribute === undefined) return false;
    if (attribute.oid !== wanted.oid) return false;
    return wanted.value === null || preparedValue(wanted.value) === preparedValue(attribute.value);
  });
}

function splitMailbox(mailbox: string): { readonly local: string; readonly domain: string } {
  const at = mailbox.lastIndexOf('@');
  return { local: mailbox.slice(0, at), domain: mailbox.slice(at + 1) };
}

/** A to Z alone: other alphabets have no place in these names, and must not fold into them. */
function lowerAscii(text: string): string {
  return text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}

function bigOf(bytes: Uint8Array): bigint {
  return bytes.reduce((value, byte) => (value << 8n) | BigInt(byte), 0n);
}

function bytesOfAddress(text: string, length: 4 | 16): Uint8Array {
  const value = tryParseIpAddress(text)?.value ?? 0n;
  return new Uint8Array(Buffer.from(value.toString(16).padStart(length * 2, '0'), 'hex'));
}
