import { createHash, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { afterAll, expect, it } from 'vitest';
import {
  certificatePayloads,
  certificateRequests,
  readCertificates,
  wantsOcsp,
} from '../../../../packages/ipsec-node/src/ike/auth/certificate-payload.ts';
import type { Payload } from '../../../../packages/ipsec-node/src/ike/payload/payload.ts';
import type {
  LocalAuthentication,
  PadEntry,
  RemoteAuthentication,
} from '../../../../packages/ipsec-node/src/pad/pad-entry.ts';
import { describeWith } from '../../../lab/describe-with.ts';
import { TestPki } from '../../../lab/pki.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

function entry(local: LocalAuthentication, remote: RemoteAuthentication): PadEntry {
  return {
    name: 'peer',
    hosts: [{ kind: 'any' }],
    localAddress: null,
    remotePort: 500,
    localIdentity: { kind: 'dns-name', name: 'a' },
    remoteIdentity: { kind: 'any' },
    localAuthentication: local,
    remoteAuthentication: remote,
    ppk: null,
    proposals: [],
    children: [],
    rekeyMs: 0,
    hardMs: 0,
    livenessMs: 0,
    keepaliveMs: 0,
    encapsulation: 'auto',
    fragmentation: true,
    mobike: false,
    unique: 'no',
    onDeath: 'clear',
    hashAndUrl: false,
  };
}

describeWith(['openssl'], 'CERT and CERTREQ payloads', () => {
  const pki = new TestPki();
  const root = pki.authority({ subject: '/CN=root' });
  const other = pki.authority({ subject: '/CN=other', key: 'rsa-2048' });
  const middle = pki.authority({ subject: '/CN=middle' }, root);
  const leaf = middle.issue({ subject: '/CN=gw' });
  afterAll(() => pki[Symbol.dispose]());

  const required = (
    authorities: readonly Uint8Array[],
    revocation: 'off' | 'strict' = 'off',
  ): RemoteAuthentication => ({ method: 'certificate', authorities, crls: [], revocation });
  const chain: LocalAuthentication = {
    method: 'certificate',
    credential: {
      privateKey: leaf.privateKey,
      certificates: [leaf.der, middle.certificate.der, root.certificate.der],
    },
  };

  it('name each authority once, by the SHA-1 of its public key', () => {
    const peers = [
      entry(chain, required([root.certificate.der, other.certificate.der])),
      entry(chain, required([root.certificate.der])),
    ];
    const [request, ...rest] = certificateRequests(peers);
    // node's own reading of the certificate.
    const hashes = [root, other].map(({ certificate }) =>
      createHash('sha1')
        .update(
          new X509Certificate(certificate.der).publicKey.export({ format: 'der', type: 'spki' }),
        )
        .digest('hex'),
    );
    expect(rest).toEqual([]);
    expect(request).toMatchObject({ type: 'certificate-request', encoding: 4 });
    expect(request?.type === 'certificate-request' && hex(request.data)).toBe(hashes.join(''));
  });

  it('ask for OCSP and raw keys where they are of use', () => {
    const key: RemoteAuthentication = { method: 'public-key', keys: [] };
    const requests = certificateRequests([
      entry(chain, required([root.certificate.der], 'strict')),
      entry(chain, key),
    ]);
    expect(requests.map((each) => each.type === 'certificate-request' && each.encoding)).toEqual([
      4, 14, 15,
    ]);
    expect(wantsOcsp(requests)).toBe(true);
    expect(wantsOcsp(requests.slice(0, 1))).toBe(false);
    expect(certificateRequests([])).toEqual([]);
  });

  it('carry the chain without its root, and OCSP answers where they were asked for', () => {
    const answer = new Uint8Array([0x30, 0]);
    const peer = entry(chain, required([]));
    const sent = certificatePayloads(peer, [], [answer]);
    expect(sent.map(({ encoding, data }) => [encoding, hex(data)])).toEqual([
      [4, hex(leaf.der)],
      [4, hex(middle.certificate.der)],
    ]);
    const asks: Payload = {
      type: 'certificate-request',
      encoding: 14,
      data: new Uint8Array(0),
    };
    expect(certificatePayloads(peer, [asks], [answer]).at(-1)).toEqual({
      type: 'certificate',
      encoding: 14,
      data: answer,
    });
  });

  it('carry a raw key as SubjectPublicKeyInfo', () => {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    const own: LocalAuthentication = {
      method: 'public-key',
      credential: { privateKey, certificates: [] },
    };
    expect(certificatePayloads(entry(own, required([])), [])).toEqual([
      {
        type: 'certificate',
        encoding: 15,
        data: new Uint8Array(publicKey.export({ format: 'der', type: 'spki' })),
      },
    ]);
  });

  it('of the peer are sorted; unknown, empty and too many are passed over', () => {
    const sha1 = '00'.repeat(20);
    const url = `${sha1}${Buffer.from('http://example/c').toString('hex')}`;
    const payload = (encoding: number, data: string): Payload => ({
      type: 'certificate',
      encoding,
      data: new Uint8Array(Buffer.from(data, 'hex')),
    });
    const payloads = [
      payload(4, '3000'),
      payload(4, ''),
      payload(1, '3001'),
      payload(7, '3002'),
      payload(11, '3003'),
      payload(12, url),
      payload(12, `${sha1}${Buffer.from('https://example/c').toString('hex')}`),
      payload(12, sha1.slice(2)),
      payload(13, url),
      payload(14, '3004'),
      payload(15, '3005'),
      ...Array.from({ length: 40 }, () => payload(4, '3006')),
    ];
    const off = readCertificates(payloads, { hashAndUrl: false });
    expect(off.certificates).toHaveLength(16);
    expect(off.certificates.map(hex).slice(0, 2)).toEqual(['3000', '3006']);
    expect(off.ocsp.map(hex)).toEqual(['3004']);
    expect(off.publicKeys.map(hex)).toEqual(['3005']);
    expect(off.urls).toEqual([]);
    expect(readCertificates(payloads, { hashAndUrl: true }).urls).toEqual([
      { url: 'http://example/c', sha1: new Uint8Array(20) },
    ]);
  });
});
