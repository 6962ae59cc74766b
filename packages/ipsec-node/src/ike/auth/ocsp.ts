/**
 * OCSP (RFC 6960) for one certificate of a validated path: the question, and what an answer is
 * worth. Encodings are a library's; the responder's own certificate is validated as a path.
 */
import { AsnConvert, OctetString } from '@peculiar/asn1-schema';
import {
  BasicOCSPResponse,
  CertID,
  id_pkix_ocsp_basic,
  OCSPRequest,
  OCSPResponse,
  OCSPResponseStatus,
  Request,
  type SingleResponse,
  TBSRequest,
} from '@peculiar/asn1-ocsp';
import { AlgorithmIdentifier } from '@peculiar/asn1-x509';
import { type BaseBlock, Constructed, fromBER, Sequence } from 'asn1js';
import type { Milliseconds } from '../../clock.js';
import { type CertificateInfo, parseCertificate } from '../../pad/certificate.js';
import { isSameBytes } from '../../pad/distinguished-name.js';
import { sha1 } from '../crypto/digest.js';
import { validatePath } from '../crypto/native.js';
import { importPublicKey, type SignatureScheme, verify } from '../crypto/public-key.js';

export type OcspStatus =
  | {
      readonly kind: 'good' | 'unknown';
      /** Wall-clock time until which the answer may be kept; null: it does not say. */
      readonly until: Date | null;
    }
  | { readonly kind: 'revoked'; readonly at: Date }
  /** It proves nothing: of another certificate, too old, or not signed by whom it should. */
  | { readonly kind: 'unusable'; readonly reason: string };

/** Media type of a question. */
export const OCSP_REQUEST_TYPE = 'application/ocsp-request';

const ID_SHA1 = '1.3.14.3.2.26';
/** Clocks differ; and an answer without an end is taken for this long. */
const SKEW_MS: Milliseconds = 300_000;
const AGE_MS_MAX: Milliseconds = 86_400_000;
/** Certificates in an answer that are looked at, and answers in it. */
const RESPONDERS_MAX = 4;
const RESPONSES_MAX = 64;

const SCHEMES: Readonly<Record<string, SignatureScheme>> = {
  '1.2.840.113549.1.1.11': { kind: 'rsa-pkcs1', hash: 'sha256' },
  '1.2.840.113549.1.1.12': { kind: 'rsa-pkcs1', hash: 'sha384' },
  '1.2.840.113549.1.1.13': { kind: 'rsa-pkcs1', hash: 'sha512' },
  '1.2.840.10045.4.3.2': { kind: 'ecdsa', hash: 'sha256', form: 'der' },
  '1.2.840.10045.4.3.3': { kind: 'ecdsa', hash: 'sha384', form: 'der' },
  '1.2.840.10045.4.3.4': { kind: 'ecdsa', hash: 'sha512', form: 'der' },
  '1.3.101.112': { kind: 'eddsa' },
  '1.3.101.113': { kind: 'eddsa' },
};

/** The question for one certificate, in DER. */
export function encodeOcspRequest(
  certificate: CertificateInfo,
  issuer: CertificateInfo,
): Uint8Array {
  // RFC 5019 section 2.1.1: one certificate, SHA-1 in its name. No nonce: answers may be old ones.
  const reqCert = new CertID({
    hashAlgorithm: new AlgorithmIdentifier({ algorithm: ID_SHA1, parameters: null }),
    issuerNameHash: new OctetString(sha1(issuer.subject)),
    issuerKeyHash: new OctetString(sha1(issuer.publicKeyBits)),
    serialNumber: new Uint8Array(certificate.serial).buffer,
  });
  const tbsRequest = new TBSRequest({ requestList: [new Request({ reqCert })] });
  return new Uint8Array(AsnConvert.serialize(new OCSPRequest({ tbsRequest })));
}

/** What an answer, fetched or sent along by the peer, says of a certificate. Total. */
export function readOcspResponse(
  der: Uint8Array,
  certificate: CertificateInfo,
  issuer: CertificateInfo,
  now: Date,
): OcspStatus {
  try {
    const response = AsnConvert.parse(der, OCSPResponse);
    if (response.responseStatus !== OCSPResponseStatus.successful) {
      return unusable(`the responder answers ${OCSPResponseStatus[response.responseStatus]}`);
    }
    if (response.responseBytes?.responseType !== id_pkix_ocsp_basic) {
      return unusable('an OCSP answer of a type that is not known');
    }
    return readBasic(new Uint8Array(response.responseBytes.response.buffer), {
      certificate,
      issuer,
      now,
    });
  } catch {
    return unusable('an OCSP answer that cannot be read');
  }
}

interface Question {
  readonly certificate: CertificateInfo;
  readonly issuer: CertificateInfo;
  readonly now: Date;
}

function readBasic(der: Uint8Array, question: Question): OcspStatus {
  const basic = AsnConvert.parse(der, BasicOCSPResponse);
  const single = basic.tbsResponseData.responses
    .slice(0, RESPONSES_MAX)
    .find((each) => isAbout(each.certID, question));
  if (single === undefined) return unusable('an OCSP answer about another certificate');
  const late = timeFault(single, question.now);
  if (late !== null) return unusable(late);
  const fault = signatureFault(basic, der, question);
  if (fault !== null) return unusable(fault);
  const { certStatus } = single;
  if (certStatus.revoked !== undefined) {
    return { kind: 'revoked', at: certStatus.revoked.revocationTime };
  }
  const until = single.nextUpdate ?? null;
  return certStatus.good === undefined ? { kind: 'unknown', until } : { kind: 'good', until };
}

function isAbout(id: CertID, { certificate, issuer }: Question): boolean {
  return (
    id.hashAlgorithm.algorithm === ID_SHA1 &&
    isSameBytes(new Uint8Array(id.issuerNameHash.buffer), sha1(issuer.subject)) &&
    isSameBytes(new Uint8Array(id.issuerKeyHash.buffer), sha1(issuer.publicKeyBits)) &&
    isSameBytes(new Uint8Array(id.serialNumber), certificate.serial)
  );
}

/** RFC 6960 section 3.2, points 5 and 6. */
function timeFault(single: SingleResponse, now: Date): string | null {
  const since = single.thisUpdate.getTime();
  const until = single.nextUpdate?.getTime() ?? since + AGE_MS_MAX;
  if (!(since - SKEW_MS <= now.getTime())) return 'an OCSP answer of a time to come';
  return now.getTime() <= until + SKEW_MS ? null : 'an OCSP answer that has expired';
}

/** RFC 6960 section 4.2.2.2: signed by the issuer itself, or by one that it appointed for this. */
function signatureFault(
  basic: BasicOCSPResponse,
  der: Uint8Array,
  question: Question,
): string | null {
  const { issuer, now } = question;
  const scheme = SCHEMES[basic.signatureAlgorithm.algorithm];
  const signed = basic.tbsResponseDataRaw;
  if (scheme === undefined || signed === undefined) {
    return 'an OCSP answer with a signature algorithm that is not taken';
  }
  const isSignedBy = (publicKey: Uint8Array): boolean => {
    const key = importPublicKey(publicKey);
    return (
      key.kind === 'taken' &&
      isKeyOf(key.key, scheme) &&
      verify(key.object, scheme, new Uint8Array(signed), new Uint8Array(basic.signature))
    );
  };
  if (isSignedBy(issuer.publicKey)) return null;
  for (const responder of respondersOf(der)) {
    const info = parseCertificate(responder);
    if (info === null || !isSignedBy(info.publicKey)) continue;
    const path = validatePath({
      certificates: [responder],
      anchors: [issuer.der],
      crls: [],
      knownGood: false,
      time: now,
      ocspSigning: true,
    });
    return path.kind === 'path'
      ? null
      : `an OCSP answer of a responder that the issuer did not appoint (${path.detail})`;
  }
  return 'an OCSP answer with a wrong signature';
}

function isKeyOf(key: string, scheme: SignatureScheme): boolean {
  if (scheme.kind === 'eddsa') return key.startsWith('ed');
  return scheme.kind === 'ecdsa' ? key.startsWith('p') : key === 'rsa';
}

/** The certificates in an answer as they are encoded: what the library would write may differ. */
function respondersOf(der: Uint8Array): readonly Uint8Array[] {
  const { result } = fromBER(der);
  if (!(result instanceof Sequence)) return [];
  const tagged = result.valueBlock.value.find(isCertificates);
  const list = tagged instanceof Constructed ? tagged.valueBlock.value[0] : undefined;
  if (!(list instanceof Sequence)) return [];
  return list.valueBlock.value
    .slice(0, RESPONDERS_MAX)
    .map((each) => new Uint8Array(each.valueBeforeDecodeView));
}

/** `certs [0] EXPLICIT`. */
function isCertificates(block: BaseBlock): boolean {
  return block.idBlock.tagClass === 3 && block.idBlock.tagNumber === 0;
}

function unusable(reason: string): OcspStatus {
  return { kind: 'unusable', reason };
}
