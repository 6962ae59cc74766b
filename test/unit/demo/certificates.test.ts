import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { Authority } from '../../../packages/ipsec-node/src/demo/certificates.ts';
import { describeWith } from '../../lab/describe-with.ts';

describeWith(['openssl'], 'certificates of the demo', () => {
  const folder = mkdtempSync(join(tmpdir(), 'ipn-demo-certificates-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const authority = new Authority('Demo CA');
  const { certificatePem, privateKeyPem } = authority.issue('gw-a.example');

  const file = (name: string, text: string): string => {
    const path = join(folder, name);
    writeFileSync(path, text);
    return path;
  };
  const openssl = (...words: readonly string[]): string =>
    execFileSync('openssl', words, { encoding: 'utf8', stdio: 'pipe' });
  const verify = (issuerPem: string): string =>
    openssl(
      ...['verify', '-x509_strict', '-verify_hostname', 'gw-a.example'],
      ...['-CAfile', file('ca.pem', issuerPem), file('gw.pem', certificatePem)],
    );

  it('are good for OpenSSL, strictly', () => {
    expect(verify(authority.certificatePem)).toContain('gw.pem: OK');
  });

  it('are not what another authority of the same name has signed', () => {
    expect(() => verify(new Authority('Demo CA').certificatePem)).toThrow(/verification failed/);
  });

  it('are for digital signatures by a key on P-256', () => {
    const text = openssl('x509', '-in', file('gw.pem', certificatePem), '-noout', '-text');
    expect(text).toMatch(/X509v3 Basic Constraints: critical\s+CA:FALSE/);
    expect(text).toMatch(/X509v3 Key Usage: critical\s+Digital Signature\n/);
    expect(text).toMatch(/X509v3 Subject Alternative Name:\s+DNS:gw-a\.example\n/);
    expect(text).toContain('NIST CURVE: P-256');
  });

  it('belong to their private keys', () => {
    const key = openssl('pkey', '-in', file('key.pem', privateKeyPem), '-pubout');
    const { publicKey } = new X509Certificate(certificatePem);
    expect(publicKey.export({ format: 'pem', type: 'spki' })).toBe(key);
  });
});
