/** Certificates and keys of peers, made by the openssl command. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compilePad } from '../../../packages/ipsec-node/src/config/compile.js';
import { diffPads } from '../../../packages/ipsec-node/src/config/diff.js';
import { lintConfig } from '../../../packages/ipsec-node/src/config/lint.js';
import { loadConfigText } from '../../../packages/ipsec-node/src/config/load.js';
import {
  type ParsedConfig,
  parseConfigWithKeys,
} from '../../../packages/ipsec-node/src/config/parse.js';
import {
  hostSecretSource,
  type SecretSource,
} from '../../../packages/ipsec-node/src/config/secret-source.js';
import { ConfigError } from '../../../packages/ipsec-node/src/errors.js';
import { formatIdentity } from '../../../packages/ipsec-node/src/pad/identity-text.js';
import { programPath } from '../../lab/peer.ts';

let folder = '';
const HOST = hostSecretSource({ PHRASE: 'open sesame' });

function openssl(...words: readonly string[]): void {
  execFileSync('openssl', words, { cwd: folder, stdio: 'ignore' });
}

/** A certificate that signs itself, and its key. */
function make(name: string, ...words: readonly string[]): void {
  openssl(
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
    ...['-keyout', `${name}-key.pem`, '-out', `${name}.pem`, '-days', '30', ...words],
  );
  chmodSync(join(folder, `${name}-key.pem`), 0o600);
}

interface Sides {
  readonly local: string;
  readonly remote?: string;
}

const REMOTE = '{ id: branch.example, auth: certificate, authorities: ca.pem }';

function parse(sides: Sides, secrets: SecretSource = HOST): Promise<ParsedConfig> {
  const text = `
policies:
  - { name: lan, remote: 10.2.0.0/16, action: protect, peer: branch }
  - { name: rest, action: discard }
peers:
  branch:
    address: 198.51.100.2
    local: ${sides.local}
    remote: ${sides.remote ?? REMOTE}
`;
  const document = loadConfigText(text, join(folder, 'ipsec.yaml'));
  return parseConfigWithKeys(document, { secrets, tolerateDeniedSecrets: secrets !== HOST });
}

async function faults(sides: Sides): Promise<readonly string[]> {
  try {
    await parse(sides);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.faults.map(({ message }) => message.replaceAll(folder, ''));
  }
}

const OURS =
  '{ id: hq.example, auth: certificate, certificate: hq.pem, key: { file: hq-key.pem } }';

describe.skipIf(programPath('openssl') === undefined)('credentials of a peer', () => {
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'ipsec-credentials-'));
    make('ca', '-subj', '/O=Example/CN=Authority');
    make(
      'hq',
      ...['-subj', '/O=Example/CN=hq', '-addext', 'subjectAltName=DNS:hq.example'],
      ...['-addext', 'basicConstraints=critical,CA:FALSE'],
    );
    make('other', '-subj', '/O=Example/CN=other');
    openssl('pkey', '-in', 'hq-key.pem', '-pubout', '-out', 'hq-public.pem');
    openssl(
      'pkcs8',
      '-topk8',
      '-in',
      'hq-key.pem',
      '-out',
      'sealed.pem',
      '-passout',
      'pass:open sesame',
    );
    openssl(
      ...['pkcs12', '-export', '-inkey', 'hq-key.pem', '-in', 'hq.pem', '-certfile', 'ca.pem'],
      ...['-out', 'hq.p12', '-passout', 'pass:open sesame'],
    );
    for (const name of ['sealed.pem', 'hq.p12']) chmodSync(join(folder, name), 0o600);
    writeFileSync(join(folder, 'empty.pem'), '');
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('are read from PEM', async () => {
    const parsed = await parse({ local: OURS });
    expect(parsed.findings).toEqual([]);
    expect(lintConfig(parsed, new Date())).toEqual([]);
    const [entry] = compilePad(parsed.config).entries;
    const local = entry?.localAuthentication;
    const remote = entry?.remoteAuthentication;
    if (local?.method !== 'certificate' || remote?.method !== 'certificate') throw new Error();
    expect(local.credential.privateKey.asymmetricKeyType).toBe('ec');
    expect(local.credential.certificates).toHaveLength(1);
    expect(remote).toMatchObject({ crls: [], revocation: 'relaxed' });
    expect(remote.authorities).toHaveLength(1);
  });

  it('name us where no identity is written', async () => {
    const { config } = await parse({ local: OURS.replace('id: hq.example, ', '') });
    const [peer] = config.peers;
    if (peer === undefined) throw new Error('no peer');
    expect(formatIdentity(peer.localIdentity)).toBe('O=Example, CN=hq');
  });

  it.each(['{ file: sealed.pem, passphrase: { env: PHRASE } }'])(
    'open with a passphrase: %s',
    async (key) => {
      const local = OURS.replace('{ file: hq-key.pem }', key);
      expect(await faults({ local })).toEqual([]);
      expect(await faults({ local: local.replace('{ env: PHRASE }', 'wrong') })).toEqual([
        expect.stringContaining('the passphrase is not right'),
      ]);
      expect(await faults({ local: local.replace(', passphrase: { env: PHRASE }', '') })).toEqual([
        expect.stringContaining('it needs a passphrase'),
      ]);
    },
  );

  it('are all in PKCS#12, the leaf first', async () => {
    const key = '{ file: hq.p12, passphrase: { env: PHRASE } }';
    const local = `{ id: hq.example, auth: certificate, key: ${key} }`;
    const { config } = await parse({ local });
    const [entry] = compilePad(config).entries;
    if (entry?.localAuthentication.method !== 'certificate') throw new Error('certificate');
    expect(entry.localAuthentication.credential.certificates).toHaveLength(2);
    expect(await faults({ local: local.replace('{ env: PHRASE }', 'wrong') })).toEqual([
      expect.stringContaining('it is a PKCS#12 file that has another passphrase'),
    ]);
  });

  it('may be raw public keys', async () => {
    const { config } = await parse({
      local: '{ id: hq.example, auth: publicKey, key: { file: hq-key.pem } }',
      remote: '{ id: branch.example, auth: publicKey, publicKeys: [ hq-public.pem ] }',
    });
    const remote = config.peers[0]?.remoteAuthentication;
    if (remote?.method !== 'public-key') throw new Error('public-key');
    openssl('pkey', '-pubin', '-in', 'hq-public.pem', '-outform', 'DER', '-out', 'hq-public.der');
    expect(Buffer.from(remote.keys[0] ?? []).toString('hex')).toBe(
      readFileSync(join(folder, 'hq-public.der')).toString('hex'),
    );
  });

  it('say how an RSA key signs, and only of one', async () => {
    openssl('genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048', '-out', 'rsa.pem');
    const local =
      '{ id: hq.example, auth: publicKey, key: { file: rsa.pem }, rsaSignature: pkcs1 }';
    const remote = '{ id: branch.example, auth: publicKey, publicKeys: [ hq-public.pem ] }';
    openssl('pkey', '-in', 'hq-key.pem', '-pubout', '-out', 'hq-public.pem');
    const signatureOf = async (text: string): Promise<string | undefined> => {
      const [entry] = compilePad((await parse({ local: text, remote })).config).entries;
      if (entry?.localAuthentication.method !== 'public-key') throw new Error('public-key');
      return entry.localAuthentication.credential.rsaSignature;
    };
    expect(await signatureOf(local)).toBe('pkcs1');
    expect(await signatureOf(local.replace(', rsaSignature: pkcs1', ''))).toBe('pss');
    expect(await faults({ local: local.replace('rsa.pem', 'hq-key.pem'), remote })).toEqual([
      expect.stringContaining('found rsaSignature with a key of type ec'),
    ]);
    expect(
      await faults({ local: '{ id: hq.example, auth: psk, rsaSignature: pss }' }),
    ).toContainEqual(expect.stringContaining('found rsaSignature with auth psk'));
  });

  it('may be PEM in the file itself', async () => {
    const pem = JSON.stringify(readFileSync(join(folder, 'ca.pem'), 'utf8'));
    const remote = `{ id: branch.example, auth: certificate, authorities: ${pem} }`;
    expect(await faults({ local: OURS, remote })).toEqual([]);
  });

  it.each([
    ['certificate: hq.pem', 'certificate: other.pem', 'found a certificate of another key'],
    ['certificate: hq.pem', 'certificate: none.pem', '(there is no such file)'],
    ['certificate: hq.pem', 'certificate: hq-key.pem', '(it is not a certificate in PEM or DER)'],
    ['certificate: hq.pem', 'certificate: empty.pem', '(it is not a certificate in PEM or DER)'],
    ['certificate: hq.pem, ', '', 'local.certificate: found nothing (auth certificate needs it)'],
    ['hq-key.pem', 'hq.pem', '(it has no private key, but CERTIFICATE)'],
    ['auth: certificate', 'auth: publicKey', 'found certificate with auth publicKey'],
  ])('are refused: %s -> %s', async (from, to, found) => {
    expect((await faults({ local: OURS.replace(from, to) })).join('\n')).toContain(found);
  });

  it('that are unwise are warned of', async () => {
    const codes = async (sides: Sides, now: Date): Promise<readonly string[]> =>
      lintConfig(await parse(sides), now).map(({ code, path }) => `${code} ${path}`);
    const today = new Date();
    expect(await codes({ local: OURS.replace('hq.example', 'hq2.example') }, today)).toEqual([
      'foreign-identity peers.branch.local.id',
    ]);
    expect(await codes({ local: OURS, remote: REMOTE.replace('ca.pem', 'hq.pem') }, today)).toEqual(
      ['not-an-authority peers.branch.remote.authorities'],
    );
    const later = new Date(today.getTime() + 31 * 86_400_000);
    expect(await codes({ local: OURS }, later)).toEqual([
      'expired-certificate peers.branch.local.certificate',
      'expired-certificate peers.branch.remote.authorities',
    ]);
  });

  it('that may not be read are noted where the file is only checked', async () => {
    const denied: SecretSource = {
      read: () => ({ ok: false, denied: true, reason: 'this user may not read it' }),
    };
    const { config, findings } = await parse({ local: OURS }, denied);
    expect(new Set(findings.map(({ code }) => code))).toEqual(new Set(['unread-key']));
    expect(config.peers[0]?.localAuthentication).toEqual({
      method: 'unread',
      intended: 'certificate',
    });
    expect(() => compilePad(config)).toThrow(/not present/);
    // Others than the file of the key.
    const half: SecretSource = {
      read: (reference, bytesMax) =>
        reference.kind === 'file' && reference.path.includes('key')
          ? denied.read(reference)
          : HOST.read(reference, bytesMax),
    };
    const known = await parse({ local: OURS.replace('id: hq.example, ', '') }, half);
    const [peer] = known.config.peers;
    if (peer === undefined) throw new Error('no peer');
    expect(formatIdentity(peer.localIdentity)).toBe('O=Example, CN=hq');
  });

  it('are compared by what they are', async () => {
    const pad = async (sides: Sides) => compilePad((await parse(sides)).config);
    const terms = (diff: ReturnType<typeof diffPads>) => diff.peers.map((peer) => peer.terms);
    expect(terms(diffPads(await pad({ local: OURS }), await pad({ local: OURS })))).toEqual([[]]);
    const key = '{ file: sealed.pem, passphrase: { env: PHRASE } }';
    const sealed = OURS.replace('{ file: hq-key.pem }', key);
    expect(terms(diffPads(await pad({ local: OURS }), await pad({ local: sealed })))).toEqual([[]]);
    const other = OURS.replaceAll('hq', 'other').replace('other.example', 'hq.example');
    expect(terms(diffPads(await pad({ local: OURS }), await pad({ local: other })))).toEqual([
      ['localAuthentication'],
    ]);
  });
});
