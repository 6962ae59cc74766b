/**
 * Certificates for tests, made by OpenSSL in a directory of their own: authorities, what they
 * issue, good or bad in one way, their CRLs, and OpenSSL's answers by OCSP. Keys are made at
 * run time and go with the directory.
 */
import { execFile, execFileSync } from 'node:child_process';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type PkiKey =
  | 'rsa-2048'
  | 'rsa-3072'
  | 'rsa-4096'
  | 'rsa-1024'
  | 'rsa-e3'
  | 'p256'
  | 'p384'
  | 'p521'
  | 'ed25519'
  | 'ed448';

export interface CertificateWish {
  /** As OpenSSL's -subj takes it: `/C=CH/CN=gw`. */
  readonly subject: string;
  readonly key?: PkiKey;
  /** Lines of an OpenSSL extension section. */
  readonly extensions?: readonly string[];
  /** Days from now; before it: negative. */
  readonly from?: number;
  readonly until?: number;
  /** Digest of the signature; `default`: what fits the key. */
  readonly digest?: string;
}

export interface Issued {
  readonly pem: string;
  readonly der: Uint8Array;
  readonly privateKey: KeyObject;
  readonly certificatePath: string;
  readonly keyPath: string;
}

/** Extensions of an authority, and of a peer with a DNS name. */
export const AUTHORITY_EXTENSIONS: readonly string[] = [
  'basicConstraints=critical,CA:TRUE',
  'keyUsage=critical,keyCertSign,cRLSign',
  'subjectKeyIdentifier=hash',
];
export const leafExtensions = (...names: readonly string[]): readonly string[] => [
  'basicConstraints=critical,CA:FALSE',
  'keyUsage=critical,digitalSignature',
  ...(names.length === 0 ? [] : [`subjectAltName=${names.join(',')}`]),
];

const CONFIGURATION = `
[ca]
default_ca = own
[own]
database = index.txt
serial = serial
crlnumber = crlnumber
new_certs_dir = .
certificate = ca.pem
private_key = ca.key
default_md = default
default_days = 30
default_crl_days = 30
policy = any
preserve = yes
unique_subject = no
[any]
countryName = optional
organizationName = optional
organizationalUnitName = optional
commonName = optional
[req]
distinguished_name = none
[none]
`;

/** Large RSA keys take seconds to find: one of each for a process. */
const largeKeys = new Map<string, KeyObject>();

function makeKey(key: PkiKey): KeyObject {
  const rsa = (modulusLength: number, publicExponent = 65_537): KeyObject =>
    generateKeyPairSync('rsa', { modulusLength, publicExponent }).privateKey;
  const large = (modulusLength: number): KeyObject => {
    const made = largeKeys.get(key) ?? rsa(modulusLength);
    largeKeys.set(key, made);
    return made;
  };
  switch (key) {
    case 'rsa-1024':
      return rsa(1024);
    case 'rsa-2048':
      return rsa(2048);
    case 'rsa-3072':
      return large(3072);
    case 'rsa-4096':
      return large(4096);
    case 'rsa-e3':
      return rsa(2048, 3);
    case 'p256':
    case 'p384':
    case 'p521':
      return generateKeyPairSync('ec', { namedCurve: key.replace('p', 'P-') }).privateKey;
    case 'ed25519':
      return generateKeyPairSync('ed25519').privateKey;
    case 'ed448':
      return generateKeyPairSync('ed448').privateKey;
  }
}

/** A directory with authorities. */
export class TestPki implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'ipn-pki-'));
  #count = 0;

  /** A root, or with a parent an intermediate authority. */
  authority(wish: CertificateWish, parent: TestAuthority | null = null): TestAuthority {
    this.#count += 1;
    const directory = join(this.directory, `authority-${this.#count}`);
    mkdirSync(directory);
    writeFileSync(join(directory, 'openssl.cnf'), CONFIGURATION);
    writeFileSync(join(directory, 'index.txt'), '');
    writeFileSync(join(directory, 'serial'), `${'10'.repeat(8)}\n`);
    writeFileSync(join(directory, 'crlnumber'), '01\n');
    const full = { extensions: AUTHORITY_EXTENSIONS, ...wish };
    const issued = issue(parent?.directory ?? directory, full, parent === null, directory);
    writeFileSync(join(directory, 'ca.pem'), issued.pem);
    return new TestAuthority(directory, issued);
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

let issuedCount = 0;

function issue(
  authority: string,
  wish: CertificateWish,
  selfSigned: boolean,
  ownDirectory: string | null,
): Issued {
  issuedCount += 1;
  const name = `issued-${issuedCount}`;
  const directory = ownDirectory ?? authority;
  const keyPath = join(directory, ownDirectory === null ? `${name}.key` : 'ca.key');
  const certificatePath = join(directory, `${name}.pem`);
  const privateKey = makeKey(wish.key ?? 'p256');
  writeFileSync(keyPath, privateKey.export({ format: 'pem', type: 'pkcs8' }), { mode: 0o600 });
  const request = join(directory, `${name}.csr`);
  const extensions = join(directory, `${name}.ext`);
  writeFileSync(extensions, `${(wish.extensions ?? leafExtensions()).join('\n')}\n`);
  const config = ['-config', join(authority, 'openssl.cnf')];
  openssl(
    authority,
    ['req', '-new', ...config, '-key', keyPath, '-subj', wish.subject, '-utf8'].concat([
      '-out',
      request,
    ]),
  );
  openssl(authority, [
    'ca',
    '-batch',
    '-notext',
    ...config,
    ...(selfSigned ? ['-selfsign'] : []),
    ...['-in', request, '-out', certificatePath, '-extfile', extensions],
    ...['-startdate', opensslDate(wish.from ?? -1), '-enddate', opensslDate(wish.until ?? 30)],
    ...(wish.digest === undefined ? [] : ['-md', wish.digest]),
  ]);
  const pem = readFileSync(certificatePath, 'utf8');
  return { pem, der: derOf(pem), privateKey, certificatePath, keyPath };
}

function opensslDate(days: number): string {
  const date = new Date(Date.now() + days * 86_400_000);
  return `${date.toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`;
}

function openssl(cwd: string, args: readonly string[]): string {
  return execFileSync('openssl', args, { cwd, encoding: 'utf8', stdio: 'pipe' });
}

/** DER of the first block of a PEM text. */
export function derOf(pem: string): Uint8Array {
  const body = /-----BEGIN [^-]+-----([^-]+)-----END/.exec(pem)?.[1] ?? '';
  return new Uint8Array(Buffer.from(body, 'base64'));
}

export class TestAuthority {
  readonly directory: string;
  readonly certificate: Issued;

  constructor(directory: string, certificate: Issued) {
    this.directory = directory;
    this.certificate = certificate;
  }

  issue(wish: CertificateWish): Issued {
    return issue(this.directory, wish, false, null);
  }

  revoke(issued: Issued): void {
    openssl(this.directory, ['ca', '-config', 'openssl.cnf', '-revoke', issued.certificatePath]);
  }

  /** DER of a CRL with all that was revoked until then; its times in days from now. */
  crl(from = -1, until = 30): Uint8Array {
    const times = ['-crl_lastupdate', opensslDate(from), '-crl_nextupdate', opensslDate(until)];
    return derOf(openssl(this.directory, ['ca', '-config', 'openssl.cnf', '-gencrl', ...times]));
  }

  /** An OCSP answer about a certificate, signed by this authority or by a responder. */
  ocspAnswer(issued: Issued, signer: Issued = this.certificate): Uint8Array {
    const request = join(this.directory, 'request.der');
    openssl(this.directory, [
      ...['ocsp', '-issuer', 'ca.pem', '-cert', issued.certificatePath, '-reqout', request],
      '-no_nonce',
    ]);
    // The issuer's own certificate need not be in its answer; then the signature comes last.
    const isOwn = signer === this.certificate;
    return this.#respond(request, signer, isOwn ? ['-resp_no_certs'] : []);
  }

  /** What OpenSSL's responder answers to a question in DER. */
  answerOcsp(question: Uint8Array): Uint8Array {
    const request = join(this.directory, 'asked.der');
    writeFileSync(request, question);
    return this.#respond(request, this.certificate, []);
  }

  #respond(request: string, signer: Issued, options: readonly string[]): Uint8Array {
    const answer = join(this.directory, 'answer.der');
    openssl(this.directory, [
      ...['ocsp', '-index', 'index.txt', '-CA', 'ca.pem', '-reqin', request, '-respout', answer],
      ...['-rsigner', signer.certificatePath, '-rkey', signer.keyPath, '-ndays', '1'],
      ...options,
    ]);
    return new Uint8Array(readFileSync(answer));
  }
}

/** OpenSSL's own verdict of a chain: null where it is good, else its words. */
export async function opensslVerdict(
  directory: string,
  chain: { leaf: Issued; intermediates: readonly Issued[]; roots: readonly Issued[] },
  crls: readonly Uint8Array[] = [],
): Promise<string | null> {
  const file = (name: string, texts: readonly string[]): string => {
    const path = join(directory, name);
    writeFileSync(path, texts.join('\n'));
    return path;
  };
  const crlPem = crls.map(
    (der) =>
      `-----BEGIN X509 CRL-----\n${Buffer.from(der).toString('base64').replace(/.{64}/g, '$&\n')}\n-----END X509 CRL-----\n`,
  );
  const args = [
    ...[
      'verify',
      '-x509_strict',
      '-CAfile',
      file(
        'roots.pem',
        chain.roots.map(({ pem }) => pem),
      ),
    ],
    ...(chain.intermediates.length === 0
      ? []
      : [
          '-untrusted',
          file(
            'others.pem',
            chain.intermediates.map(({ pem }) => pem),
          ),
        ]),
    ...(crls.length === 0 ? [] : ['-crl_check_all', '-CRLfile', file('crls.pem', crlPem)]),
    chain.leaf.certificatePath,
  ];
  return await new Promise((resolve) => {
    execFile('openssl', args, (error, stdout, stderr) => {
      resolve(error === null ? null : `${stdout}${stderr}`);
    });
  });
}
