/**
 * Private keys out of files: PEM and DER in PKCS#8 (encrypted too), SEC 1 and PKCS#1; PKCS#12. They
 * become KeyObjects, whose bytes no text shows. The only file of `pad` that imports node:crypto.
 */
import { createPrivateKey, createPublicKey, type KeyObject, X509Certificate } from 'node:crypto';
import * as pkijs from 'pkijs';
import { isPem, parsePem } from './pem.js';

/** `refused` is for people, names what is wrong, and holds no byte of the key. */
export type PrivateKeyReading =
  | {
      readonly kind: 'read';
      readonly privateKey: KeyObject;
      /** DER of the certificates that came in the same file, in its order; PKCS#12 alone has any. */
      readonly certificates: readonly Uint8Array[];
    }
  | { readonly kind: 'refused'; readonly reason: string };

/** Types of keys that IKE can sign with. */
const KEY_TYPES: readonly string[] = ['rsa', 'ec', 'ed25519', 'ed448'];

const KEY_LABELS: readonly string[] = [
  'PRIVATE KEY',
  'ENCRYPTED PRIVATE KEY',
  'RSA PRIVATE KEY',
  'EC PRIVATE KEY',
];

/**
 * Reads the private key of a file, whatever form it has.
 *
 * @param passphrase of an encrypted key or a PKCS#12 file; null: none. The caller wipes it.
 */
export async function readPrivateKey(
  bytes: Uint8Array,
  passphrase: Uint8Array | null,
): Promise<PrivateKeyReading> {
  const plain = readPlainPrivateKey(bytes, passphrase);
  if (plain.kind === 'read' || isPem(bytes)) return plain;
  const archive = await readPkcs12(bytes, passphrase);
  return archive ?? plain;
}

/** Reads a private key in PEM or DER; PKCS#12 is not among these. */
export function readPlainPrivateKey(
  bytes: Uint8Array,
  passphrase: Uint8Array | null,
): PrivateKeyReading {
  if (isPem(bytes)) return readPemPrivateKey(bytes, passphrase);
  for (const type of ['pkcs8', 'sec1', 'pkcs1'] as const) {
    const reading = importKey({ key: Buffer.from(bytes), format: 'der', type }, passphrase);
    // A refusal of what was understood is the answer; else the next form is tried.
    if (reading !== null) return reading;
  }
  return refused('is not a private key in PEM, PKCS#8, SEC 1, PKCS#1 or PKCS#12');
}

function readPemPrivateKey(bytes: Uint8Array, passphrase: Uint8Array | null): PrivateKeyReading {
  const blocks = parsePem(bytes) ?? [];
  if (blocks.some(({ label }) => label === 'OPENSSH PRIVATE KEY')) {
    return refused('is in the form of OpenSSH: convert a copy with ssh-keygen -p -m PKCS8');
  }
  const keys = blocks.filter(({ label }) => KEY_LABELS.includes(label));
  const [first] = keys;
  if (first === undefined) {
    const found = blocks.map(({ label }) => label).join(', ');
    return refused(
      found === '' ? 'is not PEM that can be read' : `has no private key, but ${found}`,
    );
  }
  if (keys.length > 1) return refused(`has ${keys.length} private keys: one is wanted`);
  return (
    importKey({ key: first.text, format: 'pem' }, passphrase) ??
    refused('has a private key that cannot be read')
  );
}

type KeyInput = Parameters<typeof createPrivateKey>[0] & object;

/** Null where the bytes are not in this form. */
function importKey(input: KeyInput, passphrase: Uint8Array | null): PrivateKeyReading | null {
  try {
    const key =
      passphrase === null
        ? createPrivateKey(input)
        : createPrivateKey(Object.assign({}, input, { passphrase: Buffer.from(passphrase) }));
    return judged(key, []);
  } catch (error) {
    const code = codeOf(error);
    if (code === 'ERR_MISSING_PASSPHRASE') return refused('is encrypted: it needs a passphrase');
    if (/BAD_DECRYPT|BAD_PASSWORD|INTERRUPTED_OR_CANCELLED/.test(code)) {
      // OpenSSL 3 says so as well where none was given for PEM.
      return refused(
        passphrase === null
          ? 'is encrypted: it needs a passphrase'
          : 'is encrypted, and the passphrase is not right',
      );
    }
    return null;
  }
}

function judged(privateKey: KeyObject, certificates: readonly Uint8Array[]): PrivateKeyReading {
  const type = privateKey.asymmetricKeyType ?? '';
  return KEY_TYPES.includes(type)
    ? { kind: 'read', privateKey, certificates }
    : refused(`is a key of type ${type}: RSA, ECDSA, Ed25519 or Ed448 is wanted`);
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

const BAGS = {
  key: '1.2.840.113549.1.12.10.1.1',
  shroudedKey: '1.2.840.113549.1.12.10.1.2',
  certificate: '1.2.840.113549.1.12.10.1.3',
} as const;

/** Null where the bytes are no PKCS#12 file. */
async function readPkcs12(
  bytes: Uint8Array,
  passphrase: Uint8Array | null,
): Promise<PrivateKeyReading | null> {
  let archive: pkijs.PFX;
  try {
    archive = pkijs.PFX.fromBER(copyOf(bytes));
  } catch {
    return null;
  }
  const password = copyOf(passphrase ?? new Uint8Array(0));
  try {
    await archive.parseInternalValues({ password, checkIntegrity: true });
  } catch {
    const wrong =
      passphrase === null ? 'needs a passphrase' : 'has another passphrase, or is damaged';
    return refused(`is a PKCS#12 file that ${wrong}`);
  }
  try {
    return await openSafe(archive, password);
  } catch {
    return refused(
      'is a PKCS#12 file with ciphers that are not taken (RC2, 3DES): make it anew with ' +
        '`openssl pkcs12 -legacy -in old.p12 -nodes | openssl pkcs12 -export -out new.p12`',
    );
  } finally {
    new Uint8Array(password).fill(0);
  }
}

async function openSafe(archive: pkijs.PFX, password: ArrayBuffer): Promise<PrivateKeyReading> {
  const safe = archive.parsedValue?.authenticatedSafe;
  if (safe === undefined) return refused('is a PKCS#12 file without content');
  await safe.parseInternalValues({ safeContents: safe.safeContents.map(() => ({ password })) });
  const parsed: unknown = safe.parsedValue;
  const keys: PrivateKeyReading[] = [];
  const certificates: Uint8Array[] = [];
  for (const bag of bagsOf(parsed)) {
    if (bag.bagId === BAGS.certificate && bag.bagValue instanceof pkijs.CertBag) {
      const parsedValue: unknown = bag.bagValue.parsedValue;
      if (parsedValue instanceof pkijs.Certificate) {
        certificates.push(new Uint8Array(parsedValue.toSchema().toBER()));
      }
    } else if (
      bag.bagId === BAGS.shroudedKey &&
      bag.bagValue instanceof pkijs.PKCS8ShroudedKeyBag
    ) {
      await unshroud(bag.bagValue, password);
      keys.push(keyOfBag(bag.bagValue.parsedValue));
    } else if (bag.bagId === BAGS.key) keys.push(keyOfBag(bag.bagValue));
  }
  const [first] = keys;
  if (first === undefined) return refused('is a PKCS#12 file without a private key');
  if (keys.length > 1) return refused(`is a PKCS#12 file with ${keys.length} private keys`);
  if (first.kind === 'refused') return first;
  return judged(first.privateKey, leafFirst(certificates, first.privateKey));
}

function bagsOf(parsed: unknown): readonly pkijs.SafeBag[] {
  if (typeof parsed !== 'object' || parsed === null || !('safeContents' in parsed)) return [];
  const { safeContents } = parsed;
  if (!Array.isArray(safeContents)) return [];
  return safeContents.flatMap((content: unknown) =>
    typeof content === 'object' &&
    content !== null &&
    'value' in content &&
    content.value instanceof pkijs.SafeContents
      ? content.value.safeBags
      : [],
  );
}

async function unshroud(bag: pkijs.PKCS8ShroudedKeyBag, password: ArrayBuffer): Promise<void> {
  // The method is public in the library's code and protected in its types.
  const open: unknown = Reflect.get(bag, 'parseInternalValues');
  if (typeof open === 'function') await Reflect.apply(open, bag, [{ password }]);
}

function keyOfBag(value: unknown): PrivateKeyReading {
  if (!(value instanceof pkijs.PrivateKeyInfo)) {
    return refused('is a PKCS#12 file with a private key that cannot be read');
  }
  const der = Buffer.from(value.toSchema().toBER());
  try {
    return (
      importKey({ key: der, format: 'der', type: 'pkcs8' }, null) ??
      refused('is a PKCS#12 file with a private key that cannot be read')
    );
  } finally {
    der.fill(0);
  }
}

/** Archives hold certificates in any order: the one of the key comes first. */
function leafFirst(certificates: readonly Uint8Array[], key: KeyObject): readonly Uint8Array[] {
  const leaf = certificates.find((der) => isKeyOfCertificate(key, der));
  return leaf === undefined
    ? certificates
    : [leaf, ...certificates.filter((each) => each !== leaf)];
}

/** Whether a certificate is for the public half of a private key. */
export function isKeyOfCertificate(privateKey: KeyObject, certificate: Uint8Array): boolean {
  try {
    return new X509Certificate(certificate).checkPrivateKey(privateKey);
  } catch {
    return false;
  }
}

/** DER SubjectPublicKeyInfo of a private or public key. */
export function publicKeyOf(key: KeyObject): Uint8Array {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key;
  return new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }));
}

/** DER SubjectPublicKeyInfo of a raw public key in a file, in PEM or DER; null where there is none. */
export function readPublicKey(bytes: Uint8Array): Uint8Array | null {
  // node:crypto would take a private key or a certificate for its public half: they are refused.
  const der = isPem(bytes) ? publicKeyBlock(bytes) : bytes;
  if (der === null) return null;
  try {
    const key = createPublicKey({ key: Buffer.from(der), format: 'der', type: 'spki' });
    return KEY_TYPES.includes(key.asymmetricKeyType ?? '') ? publicKeyOf(key) : null;
  } catch {
    return null;
  }
}

function publicKeyBlock(bytes: Uint8Array): Uint8Array | null {
  const blocks = parsePem(bytes)?.filter(({ label }) => label === 'PUBLIC KEY') ?? [];
  return blocks.length === 1 ? (blocks[0]?.der ?? null) : null;
}

function copyOf(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer;
}

function refused(reason: string): PrivateKeyReading {
  return { kind: 'refused', reason };
}
