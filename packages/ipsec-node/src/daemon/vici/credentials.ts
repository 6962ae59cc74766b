/**
 * Secrets, private keys and certificates that were given over the control socket. Bytes of secrets
 * stay in `Secret`s and private keys in `KeyObject`s; what is taken out is wiped.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  type KeyObject,
  X509Certificate,
} from 'node:crypto';
import { AsnConvert } from '@peculiar/asn1-schema';
import { Certificate as AsnCertificate } from '@peculiar/asn1-x509';
import { UsageError } from '../../errors.js';
import { isSameDistinguishedName } from '../../pad/distinguished-name.js';
import type { Identity } from '../../pad/identity.js';
import { formatIdentity, parseIdentity } from '../../pad/identity-text.js';
import { Secret } from '../../sad/secret.js';

/** Most secrets, most keys, and most certificates and CRLs. */
export const CREDENTIAL_COUNT_MAX = 4096;

interface SharedSecret {
  readonly kind: 'IKE' | 'PPK';
  readonly secret: Secret;
  /** Identities, in the form that `formatIdentity` writes. Empty: of everybody. */
  readonly owners: readonly string[];
}

interface Certificate {
  readonly certificate: X509Certificate;
  readonly isAuthority: boolean;
}

function refuse(message: string): UsageError {
  return new UsageError('IPSEC_ERR_USAGE', message);
}

/** One spelling for one identity; what is none stays as it is. */
function canonical(owner: string): string {
  const identity = parseIdentity(owner);
  return identity === null ? owner : formatIdentity(identity);
}

/** A public key as DER, from DER or PEM of a key or a certificate. */
export function publicKeyDer(bytes: Uint8Array): Uint8Array {
  const isPem = Buffer.from(bytes.subarray(0, 11)).toString('latin1') === '-----BEGIN ';
  const key = isPem
    ? createPublicKey(Buffer.from(bytes))
    : createPublicKey({ key: Buffer.from(bytes), format: 'der', type: 'spki' });
  return derOf(key);
}

function derOf(key: KeyObject): Uint8Array {
  return new Uint8Array(key.export({ format: 'der', type: 'spki' }));
}

function readPrivateKey(bytes: Uint8Array): KeyObject | null {
  const key = Buffer.from(bytes);
  const attempts = [
    () => createPrivateKey(key),
    () => createPrivateKey({ key, format: 'der', type: 'pkcs8' }),
    () => createPrivateKey({ key, format: 'der', type: 'pkcs1' }),
    () => createPrivateKey({ key, format: 'der', type: 'sec1' }),
  ];
  try {
    for (const attempt of attempts) {
      try {
        return attempt();
      } catch {
        // Another form, or none: the caller says so.
      }
    }
    return null;
  } finally {
    key.fill(0);
  }
}

export class Credentials {
  private readonly secrets = new Map<string, SharedSecret>();
  private readonly keys = new Map<string, KeyObject>();
  private readonly certificates = new Map<string, Certificate>();
  private readonly lists = new Map<string, Uint8Array>();
  private unnamed = 0;

  private requireRoom(map: ReadonlyMap<string, unknown>): void {
    if (map.size >= CREDENTIAL_COUNT_MAX) {
      throw refuse(`there are ${CREDENTIAL_COUNT_MAX} of these already`);
    }
  }

  /** `load-shared`. One with the same id is replaced. */
  loadShared(id: string, type: string, data: Uint8Array, owners: readonly string[]): void {
    const kind = type.toUpperCase();
    if (kind !== 'IKE' && kind !== 'PPK') {
      throw refuse(`secrets of type ${type} are not in this version; ike and ppk are`);
    }
    if (data.length === 0) throw refuse('the secret is empty');
    this.requireRoom(this.secrets);
    this.unnamed += 1;
    const name = id === '' ? `unnamed-${this.unnamed}` : id;
    this.secrets.get(name)?.secret.wipe();
    const secret = new Secret(data, `secret ${name} of the control socket`);
    this.secrets.set(name, { kind, secret, owners: owners.map(canonical) });
  }

  unloadShared(id: string): boolean {
    this.secrets.get(id)?.secret.wipe();
    return this.secrets.delete(id);
  }

  get sharedIds(): readonly string[] {
    return [...this.secrets.keys()];
  }

  /** `load-key`: returns its id. */
  loadKey(type: string, data: Uint8Array): string {
    const key = readPrivateKey(data);
    if (key === null) throw refuse(`this is not a private key that can be read (${type})`);
    const id = createHash('sha256')
      .update(derOf(createPublicKey(key)))
      .digest('hex')
      .slice(0, 40);
    this.requireRoom(this.keys);
    this.keys.set(id, key);
    return id;
  }

  unloadKey(id: string): boolean {
    return this.keys.delete(id);
  }

  get keyIds(): readonly string[] {
    return [...this.keys.keys()];
  }

  /** `load-cert`: a certificate of ours or an authority's, or a revocation list. */
  loadCertificate(type: string, flag: string, data: Uint8Array): void {
    const name = createHash('sha256').update(data).digest('hex');
    switch (type.toUpperCase()) {
      case 'X509': {
        this.requireRoom(this.certificates);
        const certificate = readCertificate(data);
        const isAuthority = flag.toUpperCase() === 'CA';
        this.certificates.set(certificate.fingerprint256, { certificate, isAuthority });
        return;
      }
      case 'X509_CRL':
        this.requireRoom(this.lists);
        this.lists.set(name, Uint8Array.from(data));
        return;
      default:
        throw refuse(`certificates of type ${type} are not in this version; X509 and X509_CRL are`);
    }
  }

  /** `clear-creds`. */
  clear(): void {
    for (const { secret } of this.secrets.values()) secret.wipe();
    this.secrets.clear();
    this.keys.clear();
    this.certificates.clear();
    this.lists.clear();
  }

  /** Every certificate, for `list-certs`. */
  allCertificates(): readonly (Certificate & { readonly hasKey: boolean })[] {
    return [...this.certificates.values()].map((each) => ({
      ...each,
      hasKey: this.keyOf(derOf(each.certificate.publicKey)) !== null,
    }));
  }

  /** DER of every authority. */
  get authorities(): readonly Uint8Array[] {
    return [...this.certificates.values()].flatMap(({ certificate, isAuthority }) =>
      isAuthority ? [new Uint8Array(certificate.raw)] : [],
    );
  }

  /** Revocation lists, as they were given. */
  get revocationLists(): readonly Uint8Array[] {
    return [...this.lists.values()];
  }

  /** The private key of a public one. */
  keyOf(publicKey: Uint8Array): KeyObject | null {
    for (const key of this.keys.values()) {
      if (Buffer.compare(derOf(createPublicKey(key)), publicKey) === 0) return key;
    }
    return null;
  }

  /** A certificate with a private key here that bears the identity. */
  certificateFor(identity: Identity): X509Certificate | null {
    for (const { certificate } of this.certificates.values()) {
      if (bears(certificate, identity) && this.keyOf(derOf(certificate.publicKey)) !== null) {
        return certificate;
      }
    }
    return null;
  }

  /**
   * A copy of the secret that fits the two best: one whose owners are both, then the peer's, then
   * ours, then everybody's. Null: none fits.
   */
  sharedFor(kind: 'IKE' | 'PPK', ours: string, theirs: string | null): Secret | null {
    let best: { readonly rank: number; readonly secret: Secret } | null = null;
    for (const { kind: each, secret, owners } of this.secrets.values()) {
      if (each !== kind) continue;
      const ownRank = owners.includes(ours) ? 1 : 0;
      const peerRank = theirs !== null && owners.includes(theirs) ? 2 : 0;
      const rank = ownRank + peerRank;
      if (owners.length > 0 && rank === 0) continue;
      if (best === null || rank > best.rank) best = { rank, secret };
    }
    if (best === null) return null;
    const bytes = best.secret.reveal();
    try {
      return new Secret(bytes, best.secret.origin);
    } finally {
      bytes.fill(0);
    }
  }
}

/** @throws UsageError where it is none. */
export function readCertificate(data: Uint8Array): X509Certificate {
  try {
    return new X509Certificate(Buffer.from(data));
  } catch (cause) {
    throw new UsageError('IPSEC_ERR_USAGE', 'this is not an X.509 certificate', { cause });
  }
}

/** The subject of a certificate: DER of its distinguished name. */
export function subjectOf(certificate: X509Certificate): Uint8Array {
  const { tbsCertificate } = AsnConvert.parse(certificate.raw, AsnCertificate);
  return new Uint8Array(AsnConvert.serialize(tbsCertificate.subject));
}

/** Whether the certificate says that it is of this identity. */
function bears(certificate: X509Certificate, identity: Identity): boolean {
  switch (identity.kind) {
    case 'dns-name':
      return (
        certificate.checkHost(identity.name, { subject: 'never', wildcards: false }) !== undefined
      );
    case 'rfc822-name':
      return certificate.checkEmail(identity.mailbox, { subject: 'never' }) !== undefined;
    case 'ipv4-address':
    case 'ipv6-address':
      return certificate.checkIP(identity.address) !== undefined;
    case 'distinguished-name':
      return isSameDistinguishedName(subjectOf(certificate), identity.der);
    case 'key-id':
      return false;
  }
}
