/** How a peer and we prove who we are: keys, certificates and lists out of their files. */
import { resolve } from 'node:path';

import {
  type FileReading,
  parseCertificate,
  readCertificates,
  readCrls,
} from '../pad/certificate.js';
import type { Identity } from '../pad/identity.js';
import type { RemoteAuthentication } from '../pad/pad-entry.js';
import {
  isKeyOfCertificate,
  type PrivateKeyReading,
  readPlainPrivateKey,
  readPrivateKey,
  readPublicKey,
} from '../pad/private-key.js';
import type { Secret } from '../sad/secret.js';
import {
  CERTIFICATE_FILE_BYTES_MAX,
  CRL_FILE_BYTES_MAX,
  DEFAULTS,
  PRIVATE_KEY_FILE_BYTES_MAX,
} from './defaults.js';
import { type ConfigPath, formatPath } from './document.js';
import { docOf } from './field.js';
import type { PeerConfig } from './gateway-config.js';
import { parseTextSecret, readReference, referenceOf, type SecretContext } from './parse-secret.js';
import {
  FILES_ACCEPTED,
  localShape,
  PRIVATE_KEY_ACCEPTED,
  privateKeyShape,
  remoteShape,
  SECRET_ACCEPTED,
} from './peer-schema.js';
import type { Reader, Section } from './reader.js';
import { formatSecretReference } from './secret-source.js';

/** How we prove who we are, and who our certificate says that we are. */
export interface LocalCredentials {
  readonly authentication: PeerConfig['localAuthentication'];
  readonly subject: Identity | null;
}

/** The keys of `local` and `remote` that belong to each way of authentication. */
const LOCAL_KEYS = {
  psk: [],
  certificate: ['certificate', 'key', 'rsaSignature'],
  publicKey: ['key', 'rsaSignature'],
} as const;
const REMOTE_KEYS = {
  psk: [],
  certificate: ['authorities', 'crls', 'revocation'],
  publicKey: ['publicKeys'],
} as const;

/** What reading credentials needs besides the reader. */
export interface CredentialContext extends SecretContext {
  readonly archives: KeyArchives;
}

/** Reads how we prove who we are; null where that is faulty. */
export function parseLocalCredentials(
  reader: Reader,
  context: CredentialContext,
  section: Section,
  psk: Secret | null,
): LocalCredentials | null {
  const auth = reader.field(section, localShape, 'auth');
  if (auth === undefined) return null;
  refuseForeignKeys(reader, section, auth, LOCAL_KEYS);
  if (auth === 'psk') {
    return psk === null ? null : { authentication: { method: 'psk', secret: psk }, subject: null };
  }
  const method = auth === 'certificate' ? 'certificate' : 'public-key';
  const faultsBefore = reader.faults.count;
  const certificate = reader.field(section, localShape, 'certificate');
  const written = reader.field(section, localShape, 'rsaSignature');
  const chain =
    auth === 'certificate' && certificate !== undefined
      ? readDer(reader, context, [...section.path, 'certificate'], certificate, CERTIFICATES)
      : [];
  const key = parsePrivateKey(reader, context, section);
  if (key === null || reader.faults.count > faultsBefore) return null;
  if (key === 'unread' || chain === 'unread') {
    const leaf = chain === 'unread' ? undefined : chain[0];
    return {
      authentication: { method: 'unread', intended: method },
      subject: leaf === undefined ? null : subjectOf(leaf),
    };
  }
  const certificates = chain.length > 0 ? chain : key.certificates;
  const { privateKey } = key;
  const rsaSignature = written ?? DEFAULTS.rsaSignature.value;
  if (written !== undefined && privateKey.asymmetricKeyType !== 'rsa') {
    reader.faults.add([...section.path, 'rsaSignature'], {
      found: `rsaSignature with a key of type ${privateKey.asymmetricKeyType ?? 'unknown'}`,
      accepted: 'rsaSignature only with an RSA key',
      at: 'key',
    });
    return null;
  }
  if (auth === 'publicKey') {
    const credential = { privateKey, certificates: [], rsaSignature };
    return { authentication: { method: 'public-key', credential }, subject: null };
  }
  const leaf = certificates[0];
  const path = [...section.path, 'certificate'];
  if (leaf === undefined) {
    const { accepted } = docOf(localShape.certificate);
    reader.faults.add(path, { found: 'nothing', why: 'auth certificate needs it', accepted });
    return null;
  }
  if (!isKeyOfCertificate(privateKey, leaf)) {
    reader.faults.add(path, {
      found: 'a certificate of another key',
      accepted: 'the certificate of the private key first, then the intermediates',
    });
    return null;
  }
  const credential = { privateKey, certificates, rsaSignature };
  return {
    authentication: { method: 'certificate', credential },
    subject: subjectOf(leaf),
  };
}

/** Reads how the peer must prove who it is; null where that is faulty. */
export function parseRemoteAuthentication(
  reader: Reader,
  context: SecretContext,
  section: Section,
  psk: Secret | null,
): RemoteAuthentication | null {
  const auth = reader.field(section, remoteShape, 'auth');
  if (auth === undefined) return null;
  refuseForeignKeys(reader, section, auth, REMOTE_KEYS);
  if (auth === 'psk') return psk === null ? null : { method: 'psk', secret: psk };
  const list = (key: 'authorities' | 'crls' | 'publicKeys', kind: DerKind, needed: boolean) => {
    const files = reader.field(section, remoteShape, key);
    const path = [...section.path, key];
    if (needed && !section.values.has(key)) {
      const why = `auth ${auth} needs it`;
      reader.faults.add(path, { found: 'nothing', why, accepted: FILES_ACCEPTED });
    }
    if (files === undefined) return [];
    const read = (file: string, at: ConfigPath): readonly Uint8Array[] => {
      const ders = readDer(reader, context, at, file, kind);
      return ders === 'unread' ? [] : ders;
    };
    if (typeof files === 'string') return read(files, path);
    return files.flatMap((file, index) => read(file, [...path, index]));
  };
  if (auth === 'publicKey') {
    return { method: 'public-key', keys: list('publicKeys', PUBLIC_KEYS, true) };
  }
  return {
    method: 'certificate',
    authorities: list('authorities', CERTIFICATES, true),
    crls: list('crls', REVOCATION_LISTS, false),
    revocation: reader.field(section, remoteShape, 'revocation') ?? DEFAULTS.revocation.value,
  };
}

function refuseForeignKeys<A extends string>(
  reader: Reader,
  section: Section,
  auth: A,
  table: Readonly<Record<A, readonly string[]>>,
): void {
  const own: readonly string[] = table[auth];
  const all: readonly (readonly string[])[] = Object.values(table);
  for (const key of new Set(all.flat())) {
    if (own.includes(key) || !section.values.has(key)) continue;
    const others = Object.entries<readonly string[]>(table).filter(([, keys]) =>
      keys.includes(key),
    );
    reader.faults.add([...section.path, key], {
      found: `${key} with auth ${auth}`,
      accepted: `${key} only with auth ${others.map(([name]) => name).join(' or ')}`,
      at: 'key',
    });
  }
}

interface DerKind {
  readonly what: string;
  readonly bytesMax: number;
  readonly read: (bytes: Uint8Array) => FileReading;
}

const CERTIFICATES: DerKind = {
  what: 'certificates, PEM or DER',
  bytesMax: CERTIFICATE_FILE_BYTES_MAX,
  read: readCertificates,
};
const REVOCATION_LISTS: DerKind = {
  what: 'revocation lists, PEM or DER',
  bytesMax: CRL_FILE_BYTES_MAX,
  read: readCrls,
};
const PUBLIC_KEYS: DerKind = {
  what: 'a public key, PEM or DER (SubjectPublicKeyInfo)',
  bytesMax: CERTIFICATE_FILE_BYTES_MAX,
  read: (bytes) => {
    const key = readPublicKey(bytes);
    return key === null
      ? { kind: 'refused', reason: 'has no public key of RSA, ECDSA, Ed25519 or Ed448' }
      : { kind: 'read', ders: [key] };
  },
};

/** Reads a file of what is not secret, or the PEM that stands in its place. */
function readDer(
  reader: Reader,
  context: SecretContext,
  path: ConfigPath,
  file: string,
  kind: DerKind,
): readonly Uint8Array[] | 'unread' {
  const accepted = `a file with ${kind.what}`;
  if (file.startsWith('-----BEGIN')) {
    return valuesOf(reader, path, 'PEM', accepted, kind.read(new TextEncoder().encode(file)));
  }
  const reference = { kind: 'file', path: resolve(context.document.directory, file) } as const;
  const found = formatSecretReference(reference);
  const reading = context.secrets.read(reference, kind.bytesMax);
  if (reading.ok) return valuesOf(reader, path, found, accepted, kind.read(reading.bytes));
  if (reading.denied && context.tolerateDenied) {
    const why = `${found} was not checked: ${reading.reason}.`;
    context.findings.add('note', 'unread-key', path, why);
    return 'unread';
  }
  reader.faults.add(path, { found, why: reading.reason, accepted });
  return [];
}

function valuesOf(
  reader: Reader,
  path: ConfigPath,
  found: string,
  accepted: string,
  reading: FileReading,
): readonly Uint8Array[] {
  if (reading.kind === 'read') return reading.ders;
  reader.faults.add(path, { found, why: `it ${reading.reason}`, accepted });
  return [];
}

type PrivateKey = Extract<PrivateKeyReading, { readonly kind: 'read' }>;

/** A private key as its file holds it, and the passphrase for it. */
interface SealedKey {
  readonly bytes: Uint8Array;
  readonly passphrase: Uint8Array | null;
  readonly origin: string;
}

/** Reads `key` of `local`; 'unread' where it may not be read and that is tolerated. */
function parsePrivateKey(
  reader: Reader,
  context: CredentialContext,
  local: Section,
): PrivateKey | 'unread' | null {
  const sealed = readSealedKey(reader, context, local);
  if (sealed === null || sealed === 'unread') return sealed;
  const reading =
    context.archives.get(formatPath(local.path)) ??
    readPlainPrivateKey(sealed.bytes, sealed.passphrase);
  wipeSealedKey(sealed);
  if (reading.kind === 'read') return reading;
  reader.faults.add([...local.path, 'key'], {
    found: sealed.origin,
    why: `it ${reading.reason}`,
    accepted: PRIVATE_KEY_ACCEPTED,
  });
  return null;
}

function wipeSealedKey({ bytes, passphrase }: SealedKey): void {
  bytes.fill(0);
  passphrase?.fill(0);
}

function readSealedKey(
  reader: Reader,
  context: SecretContext,
  local: Section,
): SealedKey | 'unread' | null {
  const path = [...local.path, 'key'];
  const accepted = PRIVATE_KEY_ACCEPTED;
  if (!local.values.has('key')) {
    reader.faults.add(path, { found: 'nothing', accepted });
    return null;
  }
  const section = reader.section(local.values.get('key'), path, Object.keys(privateKeyShape), {
    accepted,
  });
  if (section === null) return null;
  const hasPassphrase = section.values.has('passphrase');
  const phrase = hasPassphrase
    ? parseTextSecret(reader, context, section.values.get('passphrase'), {
        path: [...path, 'passphrase'],
        accepted: SECRET_ACCEPTED,
        raw: true,
      })
    : null;
  const reference = referenceOf(reader, context, section, accepted);
  const read =
    reference === null
      ? null
      : readReference(reader, context, reference, path, PRIVATE_KEY_FILE_BYTES_MAX);
  const passphrase = phrase?.isPresent === true ? phrase.reveal() : null;
  phrase?.wipe();
  if (read === null || (hasPassphrase && phrase === null)) {
    passphrase?.fill(0);
    read?.bytes?.fill(0);
    return null;
  }
  if (read.bytes === null || (hasPassphrase && passphrase === null)) {
    passphrase?.fill(0);
    read.bytes?.fill(0);
    return 'unread';
  }
  return { bytes: read.bytes, passphrase, origin: read.origin };
}

/** Private keys that take time to open, by the path of their `local`. */
export type KeyArchives = ReadonlyMap<string, PrivateKeyReading>;

/**
 * Opens the private keys that are PKCS#12, which the library does in turns of the event loop. What
 * is wrong with the file is left to whoever reads it after.
 */
export async function openKeyArchives(
  reader: Reader,
  context: SecretContext,
  peers: readonly (readonly [name: string, value: unknown])[],
): Promise<KeyArchives> {
  const archives = new Map<string, PrivateKeyReading>();
  for (const [name, value] of peers) {
    const path = ['peers', name];
    const peer = reader.section(value, path, []);
    const local =
      peer === null ? null : reader.section(peer.values.get('local'), [...path, 'local'], []);
    if (local === null || !local.values.has('key')) continue;
    const sealed = readSealedKey(reader, context, local);
    if (sealed === null || sealed === 'unread') continue;
    const { bytes, passphrase } = sealed;
    if (readPlainPrivateKey(bytes, passphrase).kind === 'refused') {
      archives.set(formatPath(local.path), await readPrivateKey(bytes, passphrase));
    }
    wipeSealedKey(sealed);
  }
  return archives;
}

/** What a certificate says first of who it is for. */
function subjectOf(certificate: Uint8Array): Identity | null {
  const info = parseCertificate(certificate);
  if (info === null) return null;
  // An empty name is a SEQUENCE of nothing.
  return info.subject.length > 2
    ? { kind: 'distinguished-name', der: info.subject }
    : (info.alternativeNames[0] ?? null);
}
