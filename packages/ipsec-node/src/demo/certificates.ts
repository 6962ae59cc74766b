/** Authorities and certificates of the demo: made when it starts, gone when it ends. */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { AsnConvert, OctetString } from '@peculiar/asn1-schema';
import {
  AlgorithmIdentifier,
  AttributeTypeAndValue,
  AttributeValue,
  AuthorityKeyIdentifier,
  BasicConstraints,
  Certificate,
  Extension,
  Extensions,
  GeneralName,
  id_ce_authorityKeyIdentifier,
  id_ce_basicConstraints,
  id_ce_keyUsage,
  id_ce_subjectAltName,
  id_ce_subjectKeyIdentifier,
  KeyIdentifier,
  KeyUsage,
  KeyUsageFlags,
  Name,
  RelativeDistinguishedName,
  SubjectAlternativeName,
  SubjectKeyIdentifier,
  SubjectPublicKeyInfo,
  TBSCertificate,
  Validity,
  Version,
} from '@peculiar/asn1-x509';
import { systemClock } from '../clock.js';

/** What all keys of the demo are, for people. */
export const KEY_KIND = 'ECDSA P-256';

const ECDSA_WITH_SHA256 = '1.2.840.10045.4.3.2';
const COMMON_NAME = '2.5.4.3';
/** RFC 5280 section 4.1.2.2: positive, at most 20 octets. */
const SERIAL_LEN = 16;
/** RFC 7093 section 2: the leftmost 160 bits of SHA-256. */
const KEY_IDENTIFIER_LEN = 20;

/** A certificate with its private key, as the files of a gateway hold them. */
export interface Credentials {
  readonly certificatePem: string;
  readonly privateKeyPem: string;
}

/** An authority of its own: whoever trusts it trusts what it issues, and nothing else. */
export class Authority {
  private readonly keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  /** Its own certificate, which those who trust it are given. */
  readonly certificatePem: string;

  constructor(private readonly name: string) {
    this.certificatePem = this.certificate(name, this.keys.publicKey, [
      extension(id_ce_basicConstraints, new BasicConstraints({ cA: true })),
      extension(id_ce_keyUsage, new KeyUsage(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign)),
    ]);
  }

  /** Makes a key and a certificate for a gateway of this DNS name. */
  issue(dnsName: string): Credentials {
    const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const names = new SubjectAlternativeName([new GeneralName({ dNSName: dnsName })]);
    return {
      certificatePem: this.certificate(dnsName, keys.publicKey, [
        extension(id_ce_basicConstraints, new BasicConstraints({ cA: false })),
        extension(id_ce_keyUsage, new KeyUsage(KeyUsageFlags.digitalSignature)),
        extension(id_ce_subjectAltName, names, false),
      ]),
      privateKeyPem: keys.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    };
  }

  private certificate(
    subject: string,
    publicKey: KeyObject,
    extensions: readonly Extension[],
  ): string {
    const notBefore = systemClock.wallTime();
    notBefore.setUTCHours(notBefore.getUTCHours() - 1);
    const notAfter = systemClock.wallTime();
    notAfter.setUTCDate(notAfter.getUTCDate() + 1);
    const serialNumber = randomBytes(SERIAL_LEN);
    serialNumber[0] = 0x40 | ((serialNumber[0] ?? 0) & 0x3f);
    const signature = new AlgorithmIdentifier({ algorithm: ECDSA_WITH_SHA256 });
    const ownKeyIdentifier = new AuthorityKeyIdentifier({
      keyIdentifier: new KeyIdentifier(keyIdentifier(this.keys.publicKey)),
    });
    const tbsCertificate = new TBSCertificate({
      version: Version.v3,
      serialNumber: bufferOf(serialNumber),
      signature,
      issuer: commonName(this.name),
      validity: new Validity({ notBefore, notAfter }),
      subject: commonName(subject),
      subjectPublicKeyInfo: publicKeyInfo(publicKey),
      extensions: new Extensions([
        ...extensions,
        extension(
          id_ce_subjectKeyIdentifier,
          new SubjectKeyIdentifier(keyIdentifier(publicKey)),
          false,
        ),
        extension(id_ce_authorityKeyIdentifier, ownKeyIdentifier, false),
      ]),
    });
    const tbs = AsnConvert.serialize(tbsCertificate);
    const signatureValue = sign('sha256', Buffer.from(tbs), this.keys.privateKey);
    const whole = new Certificate({
      tbsCertificate,
      signatureAlgorithm: signature,
      signatureValue: bufferOf(signatureValue),
    });
    return pem(Buffer.from(AsnConvert.serialize(whole)));
  }
}

function publicKeyInfo(key: KeyObject): SubjectPublicKeyInfo {
  const der = key.export({ format: 'der', type: 'spki' });
  return AsnConvert.parse(bufferOf(der), SubjectPublicKeyInfo);
}

function keyIdentifier(key: KeyObject): ArrayBuffer {
  const bits = Buffer.from(publicKeyInfo(key).subjectPublicKey);
  const digest = createHash('sha256').update(bits).digest();
  return bufferOf(digest.subarray(0, KEY_IDENTIFIER_LEN));
}

function extension(extnID: string, value: unknown, critical = true): Extension {
  const extnValue = new OctetString(AsnConvert.serialize(value));
  return new Extension({ extnID, critical, extnValue });
}

function commonName(text: string): Name {
  const value = new AttributeValue({ utf8String: text });
  const attribute = new AttributeTypeAndValue({ type: COMMON_NAME, value });
  return new Name([new RelativeDistinguishedName([attribute])]);
}

/** The library wants memory that is nobody else's. */
function bufferOf(bytes: Uint8Array): ArrayBuffer {
  return Uint8Array.from(bytes).buffer;
}

function pem(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n');
}
