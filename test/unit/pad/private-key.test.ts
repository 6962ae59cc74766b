import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  isKeyOfCertificate,
  publicKeyOf,
  readPlainPrivateKey,
  readPrivateKey,
  readPublicKey,
} from '../../../packages/ipsec-node/src/pad/private-key.ts';
import { readCertificates, readCrls } from '../../../packages/ipsec-node/src/pad/certificate.ts';
import { describeWith } from '../../lab/describe-with.ts';
import { type Issued, leafExtensions, TestPki, type TestAuthority } from '../../lab/pki.ts';

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const passphrase = utf8('correct horse');
const spki = (key: KeyObject): string => Buffer.from(publicKeyOf(key)).toString('hex');

const KEYS = {
  rsa: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ec: generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  ed25519: generateKeyPairSync('ed25519'),
};

/** Reads and gives the public half, to compare with what was written. */
function read(bytes: Uint8Array | string, secret: Uint8Array | null = null): string {
  const reading = readPlainPrivateKey(typeof bytes === 'string' ? utf8(bytes) : bytes, secret);
  return reading.kind === 'read' ? spki(reading.privateKey) : reading.reason;
}

describe('a private key', () => {
  it.each(Object.entries(KEYS))('of %s is read in each form', (type, { privateKey, publicKey }) => {
    const expected = spki(publicKey);
    const forms: readonly ('pkcs8' | 'pkcs1' | 'sec1')[] =
      type === 'rsa' ? ['pkcs8', 'pkcs1'] : type === 'ec' ? ['pkcs8', 'sec1'] : ['pkcs8'];
    for (const form of forms) {
      expect(read(privateKey.export({ format: 'pem', type: form }).toString()), form).toBe(
        expected,
      );
      expect(read(privateKey.export({ format: 'der', type: form })), form).toBe(expected);
    }
    const encryption = { cipher: 'aes-256-cbc', passphrase: Buffer.from(passphrase) };
    const pem = privateKey.export({ format: 'pem', type: 'pkcs8', ...encryption }).toString();
    const der = privateKey.export({ format: 'der', type: 'pkcs8', ...encryption });
    for (const bytes of [utf8(pem), der]) {
      expect(read(bytes, passphrase)).toBe(expected);
      expect(read(bytes)).toBe('is encrypted: it needs a passphrase');
      expect(read(bytes, utf8('wrong'))).toBe('is encrypted, and the passphrase is not right');
    }
  });

  it('among certificates in one file is found', () => {
    const pem = KEYS.ec.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
    const certificate = '-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n';
    expect(read(`text\n${certificate}${pem}`)).toBe(spki(KEYS.ec.publicKey));
    expect(read(certificate)).toBe('has no private key, but CERTIFICATE');
    expect(read(pem + pem)).toBe('has 2 private keys: one is wanted');
  });

  it('that is none is refused, and its bytes are not in the reason', () => {
    const pem = KEYS.rsa.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
    const body = pem.split('\n')[5] ?? '';
    const dh = generateKeyPairSync('x25519').privateKey;
    for (const [text, reason] of [
      [pem.replace(body, body.slice(0, 20)), /cannot be read/],
      [pem.replace(body, `${body}!`), /is not PEM that can be read/],
      [dh.export({ format: 'pem', type: 'pkcs8' }).toString(), /is a key of type x25519/],
      [KEYS.rsa.publicKey.export({ format: 'pem', type: 'spki' }).toString(), /but PUBLIC KEY/],
      [
        '-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----',
        /ssh-keygen/,
      ],
      ['', /is not a private key/],
      ['secret words', /is not a private key/],
    ] as const) {
      const found = read(text);
      expect(found).toMatch(reason);
      expect(found).not.toContain(body.slice(0, 8));
      expect(found).not.toContain('secret words');
    }
  });
});

describe('a raw public key', () => {
  it('is read from PEM and DER, and not out of a private key or a certificate', () => {
    const { publicKey, privateKey } = KEYS.ed25519;
    const expected = Buffer.from(publicKeyOf(publicKey)).toString('hex');
    const hex = (bytes: Uint8Array | null): string | null =>
      bytes === null ? null : Buffer.from(bytes).toString('hex');
    expect(
      hex(readPublicKey(utf8(publicKey.export({ format: 'pem', type: 'spki' }).toString()))),
    ).toBe(expected);
    expect(hex(readPublicKey(publicKeyOf(publicKey)))).toBe(expected);
    expect(spki(privateKey)).toBe(expected);
    const pem = privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
    expect(readPublicKey(utf8(pem))).toBeNull();
    expect(readPublicKey(privateKey.export({ format: 'der', type: 'pkcs8' }))).toBeNull();
    expect(readPublicKey(new Uint8Array([0x30, 0]))).toBeNull();
  });
});

describeWith(['openssl'], 'files that OpenSSL makes', () => {
  const pki = new TestPki();
  const directory = mkdtempSync(join(tmpdir(), 'ipn-p12-'));
  let root: TestAuthority;
  let leaf: Issued;

  beforeAll(() => {
    root = pki.authority({ subject: '/CN=root' });
    leaf = root.issue({ subject: '/CN=gw', extensions: leafExtensions('DNS:gw.example') });
  });
  afterAll(() => {
    pki[Symbol.dispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  function pkcs12(password: string, ...options: readonly string[]): Uint8Array {
    const out = join(directory, 'out.p12');
    execFileSync('openssl', [
      ...['pkcs12', '-export', '-out', out, '-inkey', leaf.keyPath, '-in', leaf.certificatePath],
      ...['-certfile', root.certificate.certificatePath, '-passout', `pass:${password}`],
      ...options,
    ]);
    return new Uint8Array(readFileSync(out));
  }

  it('of PKCS#12 give key and certificates, leaf first', async () => {
    for (const options of [[], ['-keypbe', 'NONE', '-certpbe', 'NONE'], ['-macalg', 'sha512']]) {
      const reading = await readPrivateKey(pkcs12('correct horse', ...options), passphrase);
      if (reading.kind === 'refused') throw new Error(reading.reason);
      expect(spki(reading.privateKey)).toBe(spki(leaf.privateKey));
      expect(reading.certificates.map((each) => Buffer.from(each).toString('hex'))).toEqual(
        [leaf.der, root.certificate.der].map((each) => Buffer.from(each).toString('hex')),
      );
      expect(isKeyOfCertificate(reading.privateKey, leaf.der)).toBe(true);
      expect(isKeyOfCertificate(reading.privateKey, root.certificate.der)).toBe(false);
    }
  });

  it('of PKCS#12 are refused with a wrong or no passphrase, and with old ciphers', async () => {
    const archive = pkcs12('correct horse');
    expect(await readPrivateKey(archive, utf8('wrong'))).toMatchObject({
      kind: 'refused',
      reason: expect.stringContaining('another passphrase'),
    });
    expect(await readPrivateKey(archive, null)).toMatchObject({
      kind: 'refused',
      reason: expect.stringContaining('needs a passphrase'),
    });
    const old = ['-keypbe', 'PBE-SHA1-3DES', '-certpbe', 'PBE-SHA1-3DES', '-macalg', 'sha1'];
    expect(await readPrivateKey(pkcs12('correct horse', ...old), passphrase)).toMatchObject({
      kind: 'refused',
      reason: expect.stringContaining('openssl pkcs12 -legacy'),
    });
    for (let at = 0; at < archive.length; at += 101) {
      const changed = new Uint8Array(archive);
      changed[at] = (changed[at] ?? 0) ^ 0x10;
      const reading = await readPrivateKey(changed, passphrase);
      if (reading.kind === 'read') expect(spki(reading.privateKey)).toBe(spki(leaf.privateKey));
    }
  });

  it('of certificates and CRLs are read as bundles and as DER', () => {
    const bundle = utf8(`comment\n${leaf.pem}${root.certificate.pem}`);
    const both = readCertificates(bundle);
    expect(both).toEqual({ kind: 'read', ders: [leaf.der, root.certificate.der] });
    expect(readCertificates(leaf.der)).toEqual({ kind: 'read', ders: [leaf.der] });
    const crl = root.crl();
    expect(readCrls(crl)).toEqual({ kind: 'read', ders: [crl] });
    for (const wrong of [
      crl,
      utf8(''),
      utf8('x'),
      leaf.der.subarray(1),
      readFileSync(leaf.keyPath),
    ]) {
      expect(readCertificates(new Uint8Array(wrong)).kind).toBe('refused');
    }
    expect(readCrls(leaf.der).kind).toBe('refused');
  });
});
