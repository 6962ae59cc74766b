import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createAuthContext } from '../../../../packages/ipsec-node/src/ike/auth/auth-context.ts';
import { computeAuth } from '../../../../packages/ipsec-node/src/ike/auth/compute-auth.ts';
import type {
  ComputeResult,
  ComputeTask,
} from '../../../../packages/ipsec-node/src/ike/compute.ts';
import { parseIdentity } from '../../../../packages/ipsec-node/src/pad/identity-text.ts';
import { describeWith } from '../../../lab/describe-with.ts';
import {
  AUTHORITY_EXTENSIONS,
  type Issued,
  leafExtensions,
  opensslVerdict,
  type PkiKey,
  TestPki,
  type TestAuthority,
} from '../../../lab/pki.ts';

type ValidateTask = Extract<ComputeTask, { kind: 'validate' }>;

const name = (cn: string): string => `/C=CH/O=Test/CN=${cn}`;
const NAMES = [
  'DNS:gw.example',
  'DNS:*.wild.example',
  'email:ann@example',
  'IP:192.0.2.1',
  'IP:2001:db8::1',
];

describeWith(['openssl'], "a peer's certificate", () => {
  const pki = new TestPki();
  let root: TestAuthority;
  let middle: TestAuthority;
  let good: Issued;
  let server: Server;
  let asked: string[] = [];
  let answer: (path: string, body: Buffer) => Uint8Array | null = () => null;
  let port = 0;

  beforeAll(async () => {
    root = pki.authority({ subject: name('root'), key: 'rsa-2048' });
    middle = pki.authority({ subject: name('middle') }, root);
    good = middle.issue({ subject: name('gw'), extensions: leafExtensions(...NAMES) });
    server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        asked.push(`${request.method} ${request.url}`);
        const bytes = answer(request.url ?? '', Buffer.concat(chunks));
        if (bytes === null) response.writeHead(404).end();
        else response.writeHead(200).end(bytes);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    port = (server.address() as AddressInfo).port;
  });
  afterAll(() => {
    pki[Symbol.dispose]();
    server.close();
  });

  async function validate(
    leaf: Issued,
    wish: Partial<Omit<ValidateTask, 'identity'>> & { identity?: string; allow?: boolean } = {},
  ): Promise<ComputeResult> {
    const { identity: text = 'gw.example', allow = false, ...rest } = wish;
    const identity = parseIdentity(text);
    if (identity === null) throw new Error(text);
    return await computeAuth(
      {
        kind: 'validate',
        certificates: [leaf.der, middle.certificate.der],
        authorities: [root.certificate.der],
        crls: [],
        ocsp: [],
        revocation: 'off',
        ...rest,
        identity,
      },
      createAuthContext({ allowPrivateTargets: allow }),
    );
  }
  const verdict = async (
    leaf: Issued,
    intermediates: readonly TestAuthority[] = [middle],
    roots: readonly TestAuthority[] = [root],
    crls: readonly Uint8Array[] = [],
  ): Promise<string | null> =>
    await opensslVerdict(
      pki.directory,
      {
        leaf,
        intermediates: intermediates.map(({ certificate }) => certificate),
        roots: roots.map(({ certificate }) => certificate),
      },
      crls,
    );

  it('is taken for each of its names, and for no other', async () => {
    expect(await verdict(good)).toBeNull();
    for (const identity of [
      'gw.example',
      'GW.EXAMPLE',
      '192.0.2.1',
      '2001:db8::1',
      'ann@EXAMPLE',
      'C=CH, O=Test, CN=gw',
      'C=ch, O=TEST, CN=GW',
    ]) {
      expect(await validate(good, { identity }), identity).toMatchObject({
        kind: 'validate',
        subject: 'C=CH, O=Test, CN=gw',
      });
    }
    for (const identity of [
      'gw',
      'x.gw.example',
      'a.wild.example',
      'ann@example.org',
      'Ann@example',
      'fqdn:192.0.2.1',
      '192.0.2.2',
      '2001:db8::2',
      'C=DE, O=Test, CN=gw',
      'C=CH, O=Tes, CN=gw',
      'C=CH, O=Test, CN=gx',
      'CN=gw',
      'C=CH, O=Test',
    ]) {
      expect(await validate(good, { identity }), identity).toMatchObject({
        kind: 'refused',
        reason: expect.stringContaining('in the certificate (it has gw.example; '),
      });
    }
    expect((await validate(good, { identity: 'keyid:gw' })).kind).toBe('refused');
  });

  it('is not taken for its common name, with or without alternative names', async () => {
    for (const names of [[], ['DNS:other.example']]) {
      const leaf = middle.issue({
        subject: name('gw.example'),
        extensions: leafExtensions(...names),
      });
      expect(await validate(leaf)).toMatchObject({
        kind: 'refused',
        reason: expect.stringMatching(/^no name gw\.example in the certificate \(it has /),
      });
    }
  });

  it('has the verdict of OpenSSL, good or bad, and says why', async () => {
    const expired = middle.issue({ subject: name('old'), from: -20, until: -1 });
    const early = middle.issue({ subject: name('early'), from: 5 });
    const stranger = pki.authority({ subject: name('stranger') });
    const strangers = stranger.issue({ subject: name('gw'), extensions: leafExtensions(...NAMES) });
    const plain = pki.authority({ subject: name('plain'), extensions: leafExtensions() }, root);
    const below = plain.issue({ subject: name('gw'), extensions: leafExtensions(...NAMES) });
    const noSign = pki.authority(
      {
        subject: name('nosign'),
        extensions: ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,cRLSign'],
      },
      root,
    );
    const ofNoSign = noSign.issue({ subject: name('gw'), extensions: leafExtensions(...NAMES) });
    const short = pki.authority(
      {
        subject: name('short'),
        extensions: [
          'basicConstraints=critical,CA:TRUE,pathlen:0',
          'keyUsage=critical,keyCertSign',
        ],
      },
      root,
    );
    const tooLow = pki.authority({ subject: name('low') }, short);
    const ofLow = tooLow.issue({ subject: name('gw'), extensions: leafExtensions(...NAMES) });
    const critical = middle.issue({
      subject: name('gw'),
      extensions: [...leafExtensions(...NAMES), '1.2.3.4=critical,ASN1:NULL'],
    });
    const cases: readonly (readonly [
      leaf: Issued,
      authorities: readonly TestAuthority[],
      reason: RegExp,
    ])[] = [
      [expired, [middle], /^"C=CH, O=Test, CN=old" expired on \d{4}-\d\d-\d\dT/],
      [early, [middle], /^"C=CH, O=Test, CN=early" is not valid before \d{4}-/],
      [
        strangers,
        [],
        /^issuer not known: "C=CH, O=Test, CN=stranger" \(trusted: "C=CH, O=Test, CN=root"\)$/,
      ],
      [strangers, [stranger], /issuer not known/],
      [good, [], /^issuer not known: "C=CH, O=Test, CN=middle"/],
      [below, [plain], /no authority/],
      [ofNoSign, [noSign], /CN=nosign" has signed a certificate, and its key usage/],
      [ofLow, [tooLow, short], /may have none below it/],
      [critical, [middle], /not valid: /],
    ];
    for (const [leaf, authorities, reason] of cases) {
      expect(await verdict(leaf, authorities), String(reason)).not.toBeNull();
      expect(
        await validate(leaf, {
          certificates: [leaf.der, ...authorities.map(({ certificate }) => certificate.der)],
        }),
      ).toMatchObject({ kind: 'refused', reason: expect.stringMatching(reason) });
    }
  });

  it('is not taken where the authority itself is past its time', async () => {
    const dead = pki.authority({ subject: name('dead'), from: -20, until: -1 });
    const leaf = dead.issue({ subject: name('gw'), extensions: leafExtensions(...NAMES) });
    expect(await verdict(leaf, [], [dead])).toContain('expired');
    expect(
      await validate(leaf, {
        certificates: [leaf.der],
        authorities: [dead.certificate.der],
      }),
    ).toMatchObject({
      kind: 'refused',
      reason: expect.stringMatching(/^the authority "C=CH, O=Test, CN=dead" expired on /),
    });
  });

  it('keeps to the name constraints of its authority', async () => {
    const constrain = (constraint: string): TestAuthority =>
      pki.authority(
        {
          subject: name('constrained'),
          extensions: [...AUTHORITY_EXTENSIONS, `nameConstraints=critical,${constraint}`],
        },
        root,
      );
    const cases: readonly (readonly [constraint: string, names: string[], isGood: boolean])[] = [
      ['permitted;DNS:example', ['DNS:gw.example'], true],
      ['permitted;DNS:other', ['DNS:gw.example'], false],
      ['excluded;DNS:example', ['DNS:gw.example'], false],
      ['excluded;DNS:other', ['DNS:gw.example'], true],
      ['permitted;IP:192.0.2.0/255.255.255.0', ['IP:192.0.2.1', 'DNS:gw.example'], true],
      ['permitted;IP:192.0.2.0/255.255.255.0', ['IP:198.51.100.1', 'DNS:gw.example'], false],
      ['excluded;IP:192.0.2.0/255.255.255.0', ['IP:192.0.2.1', 'DNS:gw.example'], false],
    ];
    for (const [constraint, names, isGood] of cases) {
      const authority = constrain(constraint);
      const leaf = authority.issue({ subject: name('gw'), extensions: leafExtensions(...names) });
      expect((await verdict(leaf, [authority])) === null, constraint).toBe(isGood);
      const result = await validate(leaf, {
        certificates: [leaf.der, authority.certificate.der],
      });
      expect(result.kind, constraint).toBe(isGood ? 'validate' : 'refused');
      if (result.kind === 'refused') expect(result.reason).toContain('name constraints');
    }
  });

  const kinds: PkiKey[] = [
    ...(['rsa-2048', 'rsa-3072', 'rsa-4096', 'p256', 'p384', 'p521', 'ed25519', 'ed448'] as const),
  ];
  // Finding a large RSA key takes long on a busy machine.
  it.each(kinds)(
    'is taken with a key of %s, and its authority too but for Ed448',
    async (key) => {
      const leaf = middle.issue({ subject: name('gw'), key, extensions: leafExtensions(...NAMES) });
      expect((await validate(leaf)).kind).toBe('validate');
      const authority = pki.authority({ subject: name(`root ${key}`), key });
      const below = authority.issue({ subject: name('gw'), extensions: leafExtensions(...NAMES) });
      expect(await verdict(below, [], [authority])).toBeNull();
      const result = await validate(below, {
        certificates: [below.der],
        authorities: [authority.certificate.der],
      });
      if (key === 'ed448') {
        expect(result).toMatchObject({ kind: 'refused', reason: expect.stringContaining('Ed448') });
      } else expect(result.kind).toBe('validate');
    },
    120_000,
  );

  it.each(['sha256', 'sha384', 'sha512'])(
    'of an authority with a key of P-521 is taken when it signs with %s, and not when it did not',
    async (digest) => {
      const wish = { subject: name('root p521'), key: 'p521', digest } as const;
      const [authority, namesake] = [pki.authority(wish), pki.authority(wish)];
      const inner = pki.authority({ ...wish, subject: name('inner') }, authority);
      const leaf = inner.issue({
        subject: name('gw'),
        extensions: leafExtensions(...NAMES),
        digest,
      });
      expect(await verdict(leaf, [inner], [authority])).toBeNull();
      expect(await verdict(leaf, [inner], [namesake])).not.toBeNull();
      const certificates = [leaf.der, inner.certificate.der];
      const [taken, refused] = await Promise.all(
        [authority, namesake].map(({ certificate }) =>
          validate(leaf, { certificates, authorities: [certificate.der] }),
        ),
      );
      expect(taken?.kind).toBe('validate');
      expect(refused).toMatchObject({
        kind: 'refused',
        reason: expect.stringMatching(/not known|signature/),
      });
    },
  );

  it('with a weak key, exponent or digest anywhere is refused by name', async () => {
    for (const key of ['rsa-1024', 'rsa-e3'] as const) {
      const reason = key === 'rsa-1024' ? 'an RSA key of 1024 bits' : 'public exponent 3';
      const leaf = middle.issue({ subject: name('gw'), key, extensions: leafExtensions(...NAMES) });
      expect(await validate(leaf)).toMatchObject({
        kind: 'refused',
        reason: expect.stringContaining(reason),
      });
      const authority = pki.authority({ subject: name('weak'), key });
      const below = authority.issue({ subject: name('gw'), extensions: leafExtensions(...NAMES) });
      expect(
        await validate(below, {
          certificates: [below.der],
          authorities: [authority.certificate.der],
        }),
      ).toMatchObject({ kind: 'refused', reason: expect.stringContaining(reason) });
    }
    for (const [digest, text] of [
      ['sha1', 'SHA-1 with RSA'],
      ['md5', 'MD5 with RSA'],
    ] as const) {
      const leaf = root.issue({
        subject: name('gw'),
        extensions: leafExtensions(...NAMES),
        digest,
      });
      expect(await validate(leaf, { certificates: [leaf.der] })).toMatchObject({
        kind: 'refused',
        reason: expect.stringContaining(text),
      });
    }
  });

  it('for another use is refused', async () => {
    for (const [usage, isGood] of [
      ['extendedKeyUsage=codeSigning', false],
      ['extendedKeyUsage=serverAuth', true],
      ['extendedKeyUsage=codeSigning,1.3.6.1.5.5.7.3.17', true],
      ['extendedKeyUsage=anyExtendedKeyUsage', true],
    ] as const) {
      const leaf = middle.issue({
        subject: name('gw'),
        extensions: [...leafExtensions(...NAMES), usage],
      });
      expect((await validate(leaf)).kind, usage).toBe(isGood ? 'validate' : 'refused');
    }
    const encrypts = middle.issue({
      subject: name('gw'),
      extensions: ['keyUsage=critical,keyEncipherment', `subjectAltName=${NAMES.join(',')}`],
    });
    expect(await validate(encrypts)).toMatchObject({
      reason: expect.stringContaining('without digital signature'),
    });
    expect(
      await validate(middle.certificate, { identity: 'C=CH, O=Test, CN=middle' }),
    ).toMatchObject({
      kind: 'refused',
      reason: expect.stringContaining('certificate of an authority'),
    });
  });

  it('that cannot be read is refused', async () => {
    for (const certificates of [
      [],
      [new Uint8Array(0)],
      [new Uint8Array([0x30, 0x80, 0, 0])],
      [new Uint8Array(65_000).fill(0x30)],
      [good.der.subarray(0, -1)],
    ]) {
      expect((await validate(good, { certificates })).kind).toBe('refused');
    }
    for (let at = 0; at < good.der.length; at += 7) {
      const changed = new Uint8Array(good.der);
      changed[at] = (changed[at] ?? 0) ^ 0x41;
      const certificates = [changed, middle.certificate.der];
      expect((await validate(good, { certificates })).kind, `byte ${at}`).toBe('refused');
    }
  });

  it('is revoked by a CRL at hand, as OpenSSL says', async () => {
    const leaf = middle.issue({ subject: name('gw'), extensions: leafExtensions(...NAMES) });
    const before = [middle.crl(), root.crl()];
    expect(await verdict(leaf, [middle], [root], before)).toBeNull();
    for (const revocation of ['relaxed', 'strict'] as const) {
      expect((await validate(leaf, { crls: before, revocation })).kind).toBe('validate');
    }
    middle.revoke(leaf);
    const after = [middle.crl(), root.crl()];
    expect(await verdict(leaf, [middle], [root], after)).toContain('revoked');
    for (const revocation of ['relaxed', 'strict'] as const) {
      expect(await validate(leaf, { crls: after, revocation })).toMatchObject({
        kind: 'refused',
        reason: expect.stringMatching(/^"C=CH, O=Test, CN=gw" is revoked by the CRL of /),
      });
    }
    expect((await validate(leaf, { crls: after })).kind).toBe('validate');
  });

  it('under a revoked authority is refused', async () => {
    const authority = pki.authority({ subject: name('fallen') }, root);
    const leaf = authority.issue({ subject: name('gw'), extensions: leafExtensions(...NAMES) });
    root.revoke(authority.certificate);
    expect(
      await validate(leaf, {
        certificates: [leaf.der, authority.certificate.der],
        crls: [root.crl()],
        revocation: 'relaxed',
      }),
    ).toMatchObject({ kind: 'refused', reason: expect.stringContaining('CN=fallen" is revoked') });
  });

  it('is taken by strict only where it is known to be good', async () => {
    const tries: readonly (readonly [crls: Uint8Array[], relaxed: string, strict: string])[] = [
      [[], 'validate', 'refused'],
      [[middle.crl()], 'validate', 'refused'],
      [[root.crl()], 'validate', 'refused'],
      [[middle.crl(-20, -1), root.crl()], 'validate', 'refused'],
      [[middle.crl(-20, -1), middle.crl(), root.crl()], 'validate', 'validate'],
      [[new Uint8Array([0x30]), middle.crl(), root.crl()], 'validate', 'validate'],
    ];
    for (const [crls, relaxed, strict] of tries) {
      expect((await validate(good, { crls, revocation: 'relaxed' })).kind).toBe(relaxed);
      expect((await validate(good, { crls, revocation: 'strict' })).kind).toBe(strict);
    }
    expect(await validate(good, { revocation: 'strict' })).toMatchObject({
      reason: expect.stringMatching(/^nobody says that "C=CH, O=Test, CN=gw" is not revoked/),
    });
  });

  it('is not revoked by a CRL of another authority of the same name, nor by a changed one', async () => {
    const leaf = root.issue({ subject: name('gw'), extensions: leafExtensions(...NAMES) });
    const twin = pki.authority({ subject: name('root'), key: 'rsa-2048' });
    root.revoke(leaf);
    const real = root.crl();
    const forged = new Uint8Array(real);
    forged[forged.length - 1] = (forged.at(-1) ?? 0) ^ 1;
    for (const crl of [twin.crl(), forged]) {
      const wish = { certificates: [leaf.der], crls: [crl] };
      expect((await validate(leaf, { ...wish, revocation: 'relaxed' })).kind).toBe('validate');
      expect((await validate(leaf, { ...wish, revocation: 'strict' })).kind).toBe('refused');
    }
  });

  it('is judged by OCSP answers that the peer sent along', async () => {
    const leaf = root.issue({ subject: name('gw'), extensions: leafExtensions(...NAMES) });
    const responder = root.issue({
      subject: name('responder'),
      extensions: [...leafExtensions(), 'extendedKeyUsage=OCSPSigning'],
    });
    const usurper = root.issue({ subject: name('usurper') });
    const wish = { certificates: [leaf.der], revocation: 'strict' } as const;
    const own = root.ocspAnswer(leaf);
    const delegated = root.ocspAnswer(leaf, responder);
    for (const ocsp of [[own], [delegated], [new Uint8Array([0x30]), own]]) {
      expect((await validate(leaf, { ...wish, ocsp })).kind).toBe('validate');
    }
    const changed = new Uint8Array(own);
    changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1;
    for (const ocsp of [
      [],
      [changed],
      [root.ocspAnswer(leaf, usurper)],
      [root.ocspAnswer(responder)],
    ]) {
      expect((await validate(leaf, { ...wish, ocsp })).kind).toBe('refused');
    }
    root.revoke(leaf);
    for (const ocsp of [[root.ocspAnswer(leaf)], [root.ocspAnswer(leaf, responder)]]) {
      for (const revocation of ['relaxed', 'strict'] as const) {
        expect(await validate(leaf, { ...wish, ocsp, revocation })).toMatchObject({
          kind: 'refused',
          reason: expect.stringMatching(/^"C=CH, O=Test, CN=gw" was revoked on /),
        });
      }
    }
  });

  it("asks OpenSSL's responder, and keeps the answer", async () => {
    const extensions = [
      ...leafExtensions(...NAMES),
      `authorityInfoAccess=OCSP;URI:http://127.0.0.1:${port}/ocsp`,
    ];
    const leaf = root.issue({ subject: name('gw'), extensions });
    const bad = root.issue({ subject: name('bad'), extensions });
    root.revoke(bad);
    answer = (_, question) => root.answerOcsp(question);
    asked = [];
    const wish = { allow: true, revocation: 'strict' } as const;
    expect(await validate(leaf, { ...wish, certificates: [leaf.der] })).toMatchObject({
      kind: 'validate',
    });
    expect(await validate(bad, { ...wish, certificates: [bad.der] })).toMatchObject({
      kind: 'refused',
      reason: expect.stringMatching(/^"C=CH, O=Test, CN=bad" was revoked on /),
    });
    expect(asked).toEqual(['POST /ocsp', 'POST /ocsp']);
    const context = createAuthContext({ allowPrivateTargets: true });
    for (let turn = 0; turn < 2; turn += 1) {
      const certificates = [leaf.der, root.certificate.der];
      expect(await computeAuth({ kind: 'ocsp', certificates }, context)).toMatchObject({
        kind: 'ocsp',
        responses: [expect.any(Uint8Array)],
      });
    }
    expect(asked).toHaveLength(3);
    // A server that fails is not asked again at once, and relaxed takes its silence.
    answer = () => null;
    const other = createAuthContext({ allowPrivateTargets: true });
    const task: ValidateTask = {
      kind: 'validate',
      certificates: [leaf.der],
      authorities: [root.certificate.der],
      crls: [],
      ocsp: [],
      revocation: 'strict',
      identity: { kind: 'dns-name', name: 'gw.example' },
    };
    asked = [];
    for (let turn = 0; turn < 2; turn += 1) {
      expect(await computeAuth(task, other)).toMatchObject({
        kind: 'refused',
        reason: expect.stringContaining('the server answers 404'),
      });
    }
    expect(asked).toHaveLength(1);
    expect((await computeAuth({ ...task, revocation: 'relaxed' }, other)).kind).toBe('validate');
  });

  it('has its CRL fetched only after its path is good, and only from where it is allowed', async () => {
    const extensions = [
      ...leafExtensions(...NAMES),
      `crlDistributionPoints=URI:http://127.0.0.1:${port}/root.crl`,
    ];
    const leaf = root.issue({ subject: name('gw'), extensions });
    const crl = root.crl();
    answer = (path) => (path === '/root.crl' ? crl : null);
    asked = [];
    const wish = { certificates: [leaf.der], revocation: 'strict' } as const;
    expect(await validate(leaf, wish)).toMatchObject({
      kind: 'refused',
      reason: expect.stringContaining('127.0.0.1 is not a public address'),
    });
    const stranger = pki.authority({ subject: name('stranger') });
    const strangers = stranger.issue({ subject: name('gw'), extensions });
    await validate(strangers, { ...wish, certificates: [strangers.der], allow: true });
    expect(asked).toEqual([]);
    expect((await validate(leaf, { ...wish, allow: true })).kind).toBe('validate');
    expect(asked).toEqual(['GET /root.crl']);
    root.revoke(leaf);
    answer = () => root.crl();
    expect(await validate(leaf, { ...wish, allow: true })).toMatchObject({
      reason: expect.stringContaining('is revoked by the CRL'),
    });
  });
});
