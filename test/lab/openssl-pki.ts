/** Certificates for daemons of the laboratory, made by the openssl command. */

import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { run } from './command.ts';
import { recordFolder } from './registry.ts';

export type KeyKind =
  | 'rsa2048'
  | 'rsa4096'
  | 'ecdsa256'
  | 'ecdsa384'
  | 'ecdsa521'
  | 'ed25519'
  | 'ed448';

const KEY_WORDS: Readonly<Record<KeyKind, readonly string[]>> = {
  rsa2048: ['RSA', '-pkeyopt', 'rsa_keygen_bits:2048'],
  rsa4096: ['RSA', '-pkeyopt', 'rsa_keygen_bits:4096'],
  ecdsa256: ['EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-pkeyopt', 'ec_param_enc:named_curve'],
  ecdsa384: ['EC', '-pkeyopt', 'ec_paramgen_curve:P-384', '-pkeyopt', 'ec_param_enc:named_curve'],
  ecdsa521: ['EC', '-pkeyopt', 'ec_paramgen_curve:P-521', '-pkeyopt', 'ec_param_enc:named_curve'],
  ed25519: ['ED25519'],
  ed448: ['ED448'],
};

export interface Issued {
  /** PEM, all of them. */
  readonly privateKey: string;
  readonly publicKey: string;
  readonly certificate: string;
}

export interface LeafOptions {
  /** Common name; the subject is `O=Laboratory, CN=...`. */
  readonly name: string;
  readonly kind: KeyKind;
  /** As OpenSSL writes them: `DNS:a.example`, `IP:192.0.2.1`, `email:a@b.example`. */
  readonly alternativeNames?: readonly string[];
  /** `20200101000000Z`. Default: from a day ago, for a year. */
  readonly notBefore?: string;
  readonly notAfter?: string;
  /** Makes it an authority itself. */
  readonly authority?: boolean;
  readonly crlUrl?: string;
  /** Octets of a comment that makes it large. */
  readonly paddingBytes?: number;
}

function configuration(folder: string): string {
  return `[ca]
default_ca = laboratory
[laboratory]
database = ${folder}/index.txt
new_certs_dir = ${folder}
serial = ${folder}/serial
crlnumber = ${folder}/crlnumber
default_md = sha256
default_days = 365
default_crl_days = 30
policy = any
unique_subject = no
copy_extensions = none
crl_extensions = crl
[crl]
authorityKeyIdentifier = keyid
[any]
organizationName = optional
commonName = supplied
[req]
distinguished_name = name
[name]
`;
}

export async function makeKey(kind: KeyKind): Promise<{ privateKey: string; publicKey: string }> {
  const { stdout } = await run(['openssl', 'genpkey', '-algorithm', ...KEY_WORDS[kind]]);
  const { stdout: publicKey } = await run(['openssl', 'pkey', '-pubout'], { input: stdout });
  return { privateKey: stdout, publicKey };
}

export class Authority {
  /** Its files are used by one command after the other. */
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly folder: string,
    readonly kind: KeyKind,
    /** PEM. */
    readonly certificate: string,
  ) {}

  static async create(name: string, kind: KeyKind, above?: Authority): Promise<Authority> {
    const folder = mkdtempSync(`${tmpdir()}/ipn-pki-`);
    recordFolder(folder);
    writeFileSync(`${folder}/openssl.cnf`, configuration(folder));
    writeFileSync(`${folder}/index.txt`, '');
    writeFileSync(`${folder}/serial`, '1000\n');
    writeFileSync(`${folder}/crlnumber`, '01\n');
    if (above !== undefined) {
      const issued = await above.issue({ name, kind, authority: true });
      writeFileSync(`${folder}/ca.key`, issued.privateKey, { mode: 0o600 });
      writeFileSync(`${folder}/ca.pem`, issued.certificate);
      return new Authority(folder, kind, issued.certificate);
    }
    const { privateKey } = await makeKey(kind);
    writeFileSync(`${folder}/ca.key`, privateKey, { mode: 0o600 });
    await run([
      ...['openssl', 'req', '-x509', '-new', '-key', `${folder}/ca.key`, '-days', '365'],
      ...['-config', `${folder}/openssl.cnf`, '-subj', `/O=Laboratory/CN=${name}`],
      ...['-addext', 'basicConstraints=critical,CA:TRUE'],
      ...['-addext', 'keyUsage=critical,keyCertSign,cRLSign'],
      ...['-addext', 'subjectKeyIdentifier=hash', '-out', `${folder}/ca.pem`],
    ]);
    return new Authority(folder, kind, readFileSync(`${folder}/ca.pem`, 'utf8'));
  }

  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#queue.then(work);
    this.#queue = done.catch(() => undefined);
    return done;
  }

  issue(options: LeafOptions): Promise<Issued> {
    return this.inTurn(() => this.issueNow(options));
  }

  private async issueNow(options: LeafOptions): Promise<Issued> {
    const { folder } = this;
    const { privateKey, publicKey } = await makeKey(options.kind);
    writeFileSync(`${folder}/leaf.key`, privateKey, { mode: 0o600 });
    await run([
      ...['openssl', 'req', '-new', '-key', `${folder}/leaf.key`, '-out', `${folder}/leaf.csr`],
      ...['-config', `${folder}/openssl.cnf`, '-subj', `/O=Laboratory/CN=${options.name}`],
    ]);
    const names = options.alternativeNames ?? [];
    const extensions = [
      options.authority === true
        ? 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign'
        : 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature',
      'subjectKeyIdentifier=hash',
      'authorityKeyIdentifier=keyid',
      ...(names.length === 0 ? [] : [`subjectAltName=${names.join(',')}`]),
      ...(options.crlUrl === undefined ? [] : [`crlDistributionPoints=URI:${options.crlUrl}`]),
      ...(options.paddingBytes === undefined
        ? []
        : [`nsComment=ASN1:UTF8:${'x'.repeat(options.paddingBytes)}`]),
    ];
    writeFileSync(`${folder}/leaf.ext`, `${extensions.join('\n')}\n`);
    await run([
      ...['openssl', 'ca', '-batch', '-notext', '-config', `${folder}/openssl.cnf`],
      ...['-cert', `${folder}/ca.pem`, '-keyfile', `${folder}/ca.key`],
      ...['-in', `${folder}/leaf.csr`, '-out', `${folder}/leaf.pem`],
      ...['-extfile', `${folder}/leaf.ext`],
      ...(this.kind === 'ed25519' ? ['-md', 'null'] : []),
      ...(options.notBefore === undefined ? [] : ['-startdate', options.notBefore]),
      ...(options.notAfter === undefined ? [] : ['-enddate', options.notAfter]),
    ]);
    return { privateKey, publicKey, certificate: readFileSync(`${folder}/leaf.pem`, 'utf8') };
  }

  async revoke(issued: Issued): Promise<void> {
    const { folder } = this;
    await this.inTurn(() => {
      writeFileSync(`${folder}/revoked.pem`, issued.certificate);
      return run([
        ...['openssl', 'ca', '-config', `${folder}/openssl.cnf`],
        ...['-revoke', `${folder}/revoked.pem`],
        ...['-cert', `${folder}/ca.pem`, '-keyfile', `${folder}/ca.key`],
      ]);
    });
  }

  /** PEM, of all that was revoked so far. */
  crl(): Promise<string> {
    const { folder } = this;
    return this.inTurn(async () => {
      await run([
        ...['openssl', 'ca', '-gencrl', '-config', `${folder}/openssl.cnf`],
        ...['-cert', `${folder}/ca.pem`, '-keyfile', `${folder}/ca.key`],
        ...['-out', `${folder}/crl.pem`, ...(this.kind === 'ed25519' ? ['-md', 'null'] : [])],
      ]);
      return readFileSync(`${folder}/crl.pem`, 'utf8');
    });
  }
}
