/**
 * Certificates and CRLs as they are read from files, and what a certificate says. Nothing here is
 * trusted: whether a certificate is worth anything is path validation's to say.
 */
import { AsnConvert } from '@peculiar/asn1-schema';
import {
  AuthorityInfoAccessSyntax,
  BasicConstraints,
  Certificate,
  CertificateList,
  CRLDistributionPoints,
  type GeneralName,
  id_ce_basicConstraints,
  id_ce_cRLDistributionPoints,
  id_ce_keyUsage,
  id_ce_subjectAltName,
  id_pe_authorityInfoAccess,
  KeyUsage,
  KeyUsageFlags,
  SubjectAlternativeName,
  type Time,
} from '@peculiar/asn1-x509';
import { formatIpAddress } from '../net/ip-address.js';
import { tryParseIpAddress } from '../net/ip-address.js';
import {
  formatDistinguishedName,
  isSameBytes,
  parseDistinguishedName,
} from './distinguished-name.js';
import type { Identity } from './identity.js';
import { identityOfPayload, ID_TYPES } from './identity-match.js';
import { isPem, parsePem } from './pem.js';

/** What a certificate says of itself. */
export interface CertificateInfo {
  readonly der: Uint8Array;
  /** DER of the names; the subject may be an empty one. */
  readonly subject: Uint8Array;
  readonly issuer: Uint8Array;
  /** For people: the subject, or the first alternative name where that is empty. */
  readonly subjectText: string;
  readonly issuerText: string;
  /** DER SubjectPublicKeyInfo, and the bits of the key in it. */
  readonly publicKey: Uint8Array;
  readonly publicKeyBits: Uint8Array;
  /** As it is encoded: its magnitude in big-endian order. */
  readonly serial: Uint8Array;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** Names of subjectAltName that IKE knows: DNS names, mailboxes, addresses, directory names. */
  readonly alternativeNames: readonly Identity[];
  readonly isAuthority: boolean;
  /** Null: no keyUsage extension. */
  readonly keyUsage: { readonly signs: boolean; readonly signsCertificates: boolean } | null;
  readonly ocspUrls: readonly string[];
  readonly crlUrls: readonly string[];
  /** OID of the algorithm that its issuer signed it with. */
  readonly signatureAlgorithm: string;
}

const OCSP_ACCESS = '1.3.6.1.5.5.7.48.1';
/** URLs of one kind that are taken from a certificate, and their length. */
const URLS_MAX = 4;
const URL_BYTES_MAX = 2_048;
/** Bytes of a certificate. */
export const CERTIFICATE_BYTES_MAX = 65_535;

/** Signature algorithms that path validation takes none of, by name. */
const WEAK_SIGNATURES: ReadonlyMap<string, string> = new Map([
  ['1.2.840.113549.1.1.2', 'MD2 with RSA'],
  ['1.2.840.113549.1.1.3', 'MD4 with RSA'],
  ['1.2.840.113549.1.1.4', 'MD5 with RSA'],
  ['1.2.840.113549.1.1.5', 'SHA-1 with RSA'],
  ['1.3.14.3.2.29', 'SHA-1 with RSA'],
  ['1.2.840.10040.4.3', 'SHA-1 with DSA'],
  ['1.2.840.10045.4.1', 'SHA-1 with ECDSA'],
]);

/** The name of a broken signature algorithm; null for others. */
export function weakSignatureName(oid: string): string | null {
  return WEAK_SIGNATURES.get(oid) ?? null;
}

/** Reads a certificate; null where it is none. Total. */
export function parseCertificate(der: Uint8Array): CertificateInfo | null {
  if (der.length > CERTIFICATE_BYTES_MAX) return null;
  try {
    return describe(AsnConvert.parse(der, Certificate), der);
  } catch {
    return null;
  }
}

function describe(certificate: Certificate, der: Uint8Array): CertificateInfo {
  const tbs = certificate.tbsCertificate;
  const extension = (oid: string): ArrayBuffer | null =>
    tbs.extensions?.find(({ extnID }) => extnID === oid)?.extnValue.buffer ?? null;
  const subject = bytesOf(AsnConvert.serialize(tbs.subject));
  const issuer = bytesOf(AsnConvert.serialize(tbs.issuer));
  const alternativeNames = namesOf(extension(id_ce_subjectAltName));
  const constraints = extension(id_ce_basicConstraints);
  return {
    der,
    subject,
    issuer,
    subjectText: nameText(subject) ?? firstName(alternativeNames),
    issuerText: nameText(issuer) ?? '(no name)',
    publicKey: bytesOf(AsnConvert.serialize(tbs.subjectPublicKeyInfo)),
    publicKeyBits: bytesOf(tbs.subjectPublicKeyInfo.subjectPublicKey),
    serial: bytesOf(tbs.serialNumber),
    notBefore: timeOf(tbs.validity.notBefore),
    notAfter: timeOf(tbs.validity.notAfter),
    alternativeNames,
    isAuthority: constraints !== null && AsnConvert.parse(constraints, BasicConstraints).cA,
    keyUsage: keyUsageOf(extension(id_ce_keyUsage)),
    ocspUrls: ocspUrls(extension(id_pe_authorityInfoAccess)),
    crlUrls: crlUrls(extension(id_ce_cRLDistributionPoints)),
    signatureAlgorithm: certificate.signatureAlgorithm.algorithm,
  };
}

function keyUsageOf(extension: ArrayBuffer | null): CertificateInfo['keyUsage'] {
  if (extension === null) return null;
  const flags = AsnConvert.parse(extension, KeyUsage).toNumber();
  return {
    // RFC 4945 section 5.1.3.2: either of the two lets a key sign an AUTH payload.
    signs: (flags & (KeyUsageFlags.digitalSignature | KeyUsageFlags.nonRepudiation)) !== 0,
    signsCertificates: (flags & KeyUsageFlags.keyCertSign) !== 0,
  };
}

function namesOf(extension: ArrayBuffer | null): readonly Identity[] {
  if (extension === null) return [];
  return AsnConvert.parse(extension, SubjectAlternativeName).flatMap(
    (name) => alternativeName(name) ?? [],
  );
}

function alternativeName(name: GeneralName): Identity | null {
  if (name.dNSName !== undefined) {
    return identityOfPayload(ID_TYPES.FQDN, Buffer.from(name.dNSName, 'latin1'));
  }
  if (name.rfc822Name !== undefined) {
    return identityOfPayload(ID_TYPES.RFC822_ADDR, Buffer.from(name.rfc822Name, 'latin1'));
  }
  if (name.iPAddress !== undefined) {
    // The library writes addresses as text.
    const address = tryParseIpAddress(name.iPAddress);
    if (address === null) return null;
    const text = formatIpAddress(address);
    return { kind: address.family === 4 ? 'ipv4-address' : 'ipv6-address', address: text };
  }
  if (name.directoryName !== undefined) {
    return identityOfPayload(
      ID_TYPES.DER_ASN1_DN,
      bytesOf(AsnConvert.serialize(name.directoryName)),
    );
  }
  return null;
}

function ocspUrls(extension: ArrayBuffer | null): readonly string[] {
  if (extension === null) return [];
  return AsnConvert.parse(extension, AuthorityInfoAccessSyntax)
    .filter(({ accessMethod }) => accessMethod === OCSP_ACCESS)
    .flatMap(({ accessLocation }) => accessLocation.uniformResourceIdentifier ?? [])
    .filter(isUrl)
    .slice(0, URLS_MAX);
}

function crlUrls(extension: ArrayBuffer | null): readonly string[] {
  if (extension === null) return [];
  return AsnConvert.parse(extension, CRLDistributionPoints)
    .flatMap((point) => point.distributionPoint?.fullName ?? [])
    .flatMap((name) => name.uniformResourceIdentifier ?? [])
    .filter(isUrl)
    .slice(0, URLS_MAX);
}

function isUrl(text: string): boolean {
  return text.length <= URL_BYTES_MAX && /^https?:\/\/[!-~]+$/i.test(text);
}

function nameText(der: Uint8Array): string | null {
  const name = parseDistinguishedName(der);
  return name === null ? null : formatDistinguishedName(name);
}

function firstName(names: readonly Identity[]): string {
  const [first] = names;
  switch (first?.kind) {
    case 'dns-name':
      return first.name;
    case 'rfc822-name':
      return first.mailbox;
    case 'ipv4-address':
    case 'ipv6-address':
      return first.address;
    default:
      return '(no name)';
  }
}

function timeOf(time: Time): Date {
  return time.getTime();
}

function bytesOf(buffer: ArrayBuffer): Uint8Array {
  return new Uint8Array(buffer);
}

/** Whether a certificate names itself as its issuer: a root, as a rule. */
export function isSelfIssued(certificate: CertificateInfo): boolean {
  return isSameBytes(certificate.subject, certificate.issuer);
}

/** What a CRL says of itself. */
export interface CrlInfo {
  readonly der: Uint8Array;
  readonly issuer: Uint8Array;
  readonly thisUpdate: Date;
  /** Null: it does not say. */
  readonly nextUpdate: Date | null;
}

/** Bytes of a CRL. */
export const CRL_BYTES_MAX = 1024 * 1024;

/** Reads a CRL; null where it is none. Total. */
export function parseCrl(der: Uint8Array): CrlInfo | null {
  if (der.length > CRL_BYTES_MAX) return null;
  try {
    const { tbsCertList } = AsnConvert.parse(der, CertificateList);
    return {
      der,
      issuer: bytesOf(AsnConvert.serialize(tbsCertList.issuer)),
      thisUpdate: timeOf(tbsCertList.thisUpdate),
      nextUpdate: tbsCertList.nextUpdate === undefined ? null : timeOf(tbsCertList.nextUpdate),
    };
  } catch {
    return null;
  }
}

/** Certificates or CRLs of a file, or what is wrong with it. */
export type FileReading =
  | { readonly kind: 'read'; readonly ders: readonly Uint8Array[] }
  | { readonly kind: 'refused'; readonly reason: string };

/** The certificates of a file, in its order: one in DER, or a bundle in PEM. */
export function readCertificates(bytes: Uint8Array): FileReading {
  const ders = dersOf(bytes, ['CERTIFICATE', 'X509 CERTIFICATE']);
  if (ders === null) return refused('is not a certificate in PEM or DER');
  const bad = ders.findIndex((der) => parseCertificate(der) === null);
  return bad < 0 ? { kind: 'read', ders } : refused(`has no certificate in block ${bad + 1}`);
}

/** The CRLs of a file: one in DER, or several in PEM. */
export function readCrls(bytes: Uint8Array): FileReading {
  const ders = dersOf(bytes, ['X509 CRL']);
  if (ders === null) return refused('is not a CRL in PEM or DER');
  const bad = ders.findIndex((der) => parseCrl(der) === null);
  return bad < 0 ? { kind: 'read', ders } : refused(`has no CRL in block ${bad + 1}`);
}

/** DER of the PEM blocks with one of these labels, or the bytes themselves. */
function dersOf(bytes: Uint8Array, labels: readonly string[]): readonly Uint8Array[] | null {
  if (!isPem(bytes)) return bytes[0] === 0x30 ? [bytes] : null;
  const blocks = parsePem(bytes)?.filter(({ label }) => labels.includes(label)) ?? [];
  return blocks.length === 0 ? null : blocks.map(({ der }) => der);
}

function refused(reason: string): FileReading {
  return { kind: 'refused', reason };
}
