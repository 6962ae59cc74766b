/**
 * CERT and CERTREQ payloads (RFC 7296 sections 3.6 and 3.7): what is sent, and which of the peer's
 * are taken. Nothing of what is taken has been checked.
 */
import { parseCertificate, isSelfIssued } from '../../pad/certificate.js';
import type { PadEntry } from '../../pad/pad-entry.js';
import { publicKeyOf } from '../../pad/private-key.js';
import { sha1 } from '../crypto/digest.js';
import type { Payload, PayloadOf } from '../payload/payload.js';

/** Certificate encodings that have a use here; all others are passed over. */
export const CERTIFICATE_ENCODINGS = {
  x509Signature: 4,
  /** Hash-and-URL of one certificate: only where the PAD entry has it on. */
  hashAndUrl: 12,
  /** RFC 4806. */
  ocspContent: 14,
  /** RFC 7670: a SubjectPublicKeyInfo. */
  rawPublicKey: 15,
} as const;

/** CERT payloads of one message that are taken, of each kind. */
const CERTIFICATES_MAX = 16;
/** Authorities that a CERTREQ names. */
const AUTHORITIES_MAX = 256;
const SHA1_LEN = 20;

/** What the peer sent along. */
export interface ReceivedCertificates {
  /** DER, leaf first. */
  readonly certificates: readonly Uint8Array[];
  /** DER of OCSP answers. */
  readonly ocsp: readonly Uint8Array[];
  /** DER SubjectPublicKeyInfo. */
  readonly publicKeys: readonly Uint8Array[];
  /** To be fetched; the first is the leaf's where `certificates` is empty. */
  readonly urls: readonly { readonly url: string; readonly sha1: Uint8Array }[];
}

/** The CERTREQ payloads that ask a peer who may be one of these for what we can check. */
export function certificateRequests(peers: readonly PadEntry[]): readonly Payload[] {
  const hashes = new Map<string, Uint8Array>();
  let asksOcsp = false;
  let asksPublicKey = false;
  for (const { remoteAuthentication: required } of peers) {
    if (required.method === 'public-key') asksPublicKey = true;
    if (required.method !== 'certificate') continue;
    if (required.revocation !== 'off') asksOcsp = true;
    for (const authority of required.authorities) {
      const hash = authorityHash(authority);
      if (hash !== null && hashes.size < AUTHORITIES_MAX) {
        hashes.set(Buffer.from(hash).toString('hex'), hash);
      }
    }
  }
  const requests: Payload[] = [];
  const ask = (encoding: number, data: Uint8Array): void => {
    requests.push({ type: 'certificate-request', encoding, data });
  };
  if (hashes.size > 0) {
    ask(CERTIFICATE_ENCODINGS.x509Signature, new Uint8Array(Buffer.concat([...hashes.values()])));
  }
  // RFC 4806 section 4.1: empty: any responder that the certificate's issuer trusts.
  if (asksOcsp) ask(CERTIFICATE_ENCODINGS.ocspContent, new Uint8Array(0));
  // RFC 7670 section 3: no authority stands behind a raw key.
  if (asksPublicKey) ask(CERTIFICATE_ENCODINGS.rawPublicKey, new Uint8Array(0));
  return requests;
}

/** SHA-1 of a trust anchor's SubjectPublicKeyInfo (RFC 7296 section 3.7), kept for each value. */
const authorityHashes = new WeakMap<Uint8Array, Uint8Array>();

function authorityHash(authority: Uint8Array): Uint8Array | null {
  const known = authorityHashes.get(authority);
  if (known !== undefined) return known;
  const info = parseCertificate(authority);
  if (info === null) return null;
  const hash = new Uint8Array(sha1(info.publicKey));
  authorityHashes.set(authority, hash);
  return hash;
}

/**
 * The CERT payloads that go with our AUTH payload: the chain without its root, or the raw key.
 *
 * @param requests the peer's CERTREQ payloads. RFC 7296 section 3.7: they are a hint; our chain is
 *   sent whatever they name.
 * @param ocsp answers for our certificates, sent where the peer asked for them (RFC 4806).
 */
export function certificatePayloads(
  peer: PadEntry,
  requests: readonly Payload[],
  ocsp: readonly Uint8Array[] = [],
): readonly PayloadOf<'certificate'>[] {
  const own = peer.localAuthentication;
  if (own.method === 'psk') return [];
  const { certificates, privateKey } = own.credential;
  if (own.method === 'public-key' || certificates.length === 0) {
    return [certificate(CERTIFICATE_ENCODINGS.rawPublicKey, publicKeyOf(privateKey))];
  }
  const chain = certificates.filter((der, index) => index === 0 || !isRoot(der));
  return [
    ...chain.map((der) => certificate(CERTIFICATE_ENCODINGS.x509Signature, der)),
    ...(wantsOcsp(requests) ? ocsp : []).map((der) =>
      certificate(CERTIFICATE_ENCODINGS.ocspContent, der),
    ),
  ];
}

/** Whether the peer asks for OCSP answers of our certificates. */
export function wantsOcsp(requests: readonly Payload[]): boolean {
  return requests.some(
    (each) =>
      each.type === 'certificate-request' && each.encoding === CERTIFICATE_ENCODINGS.ocspContent,
  );
}

/** Sorts the peer's CERT payloads; encodings that are not taken, and those past the bound, go. */
export function readCertificates(
  payloads: readonly Payload[],
  peer: Pick<PadEntry, 'hashAndUrl'>,
): ReceivedCertificates {
  const of = (encoding: number): Uint8Array[] =>
    payloads
      .flatMap((each) =>
        each.type === 'certificate' && each.encoding === encoding ? [each.data] : [],
      )
      .filter((data) => data.length > 0)
      .slice(0, CERTIFICATES_MAX);
  return {
    certificates: of(CERTIFICATE_ENCODINGS.x509Signature),
    ocsp: of(CERTIFICATE_ENCODINGS.ocspContent),
    publicKeys: of(CERTIFICATE_ENCODINGS.rawPublicKey),
    urls: peer.hashAndUrl
      ? of(CERTIFICATE_ENCODINGS.hashAndUrl).flatMap((data) => hashAndUrl(data) ?? [])
      : [],
  };
}

/** RFC 7296 section 3.6: SHA-1 of the certificate, then a URL to the end of the payload. */
function hashAndUrl(data: Uint8Array): { readonly url: string; readonly sha1: Uint8Array } | null {
  const url = Buffer.from(data.subarray(SHA1_LEN)).toString('latin1');
  if (!/^http:\/\/[!-~]{1,2000}$/i.test(url)) return null;
  return { url, sha1: new Uint8Array(data.subarray(0, SHA1_LEN)) };
}

function isRoot(der: Uint8Array): boolean {
  const info = parseCertificate(der);
  return info !== null && isSelfIssued(info);
}

function certificate(encoding: number, data: Uint8Array): PayloadOf<'certificate'> {
  return { type: 'certificate', encoding, data };
}
