import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  createAuthContext,
  FETCH_LIMITS,
} from '../../../../packages/ipsec-node/src/ike/auth/auth-context.ts';
import { computeAuth } from '../../../../packages/ipsec-node/src/ike/auth/compute-auth.ts';
import { FetchCache } from '../../../../packages/ipsec-node/src/ike/auth/fetch-cache.ts';
import {
  type FetchOutcome,
  fetchUrl,
  isPublicAddress,
} from '../../../../packages/ipsec-node/src/ike/auth/fetch.ts';
import { type Clock, systemClock } from '../../../../packages/ipsec-node/src/clock.ts';

describe('a fetch', () => {
  let server: Server;
  let base = '';
  let handle: (request: IncomingMessage, response: ServerResponse) => void = () => undefined;
  const open = createAuthContext({ allowPrivateTargets: true });

  beforeAll(async () => {
    server = createServer((request, response) => handle(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });

  it('gives what the server has, up to the bound', async () => {
    for (const [length, kind] of [
      [0, 'fetched'],
      [FETCH_LIMITS.bytesMax, 'fetched'],
      [FETCH_LIMITS.bytesMax + 1, 'failed'],
    ] as const) {
      handle = (_, response) => response.end(Buffer.alloc(length, 7));
      const outcome = await fetchUrl(open, `${base}/x`, null);
      expect(outcome.kind).toBe(kind);
      if (outcome.kind === 'fetched') expect(outcome.bytes.length).toBe(length);
    }
  });

  it('follows two redirections, not three, and not out of HTTP', async () => {
    handle = (request, response) => {
      const step = Number((request.url ?? '').slice(1));
      if (step === 0) response.end('end');
      else response.writeHead(302, { Location: `/${step - 1}` }).end();
    };
    expect((await fetchUrl(open, `${base}/2`, null)).kind).toBe('fetched');
    expect(await fetchUrl(open, `${base}/3`, null)).toEqual({
      kind: 'failed',
      reason: 'more than 2 redirections',
    });
    handle = (_, response) => response.writeHead(302, { Location: 'file:///etc/passwd' }).end();
    expect(await fetchUrl(open, `${base}/`, null)).toEqual({
      kind: 'failed',
      reason: 'neither http nor https',
    });
  });

  it('ends when its time is over', async () => {
    let end: () => void = () => undefined;
    const clock: Clock = {
      ...systemClock,
      schedule: (after, callback) => {
        expect(after).toBe(FETCH_LIMITS.timeoutMs);
        end = callback;
        return { cancel: () => undefined };
      },
    };
    handle = () => end();
    const context = createAuthContext({ clock, allowPrivateTargets: true });
    expect(await fetchUrl(context, `${base}/`, null)).toEqual({
      kind: 'failed',
      reason: 'no answer within 3 s',
    });
  });

  it('goes nowhere inside unless it is allowed, whatever the name', async () => {
    let asked = 0;
    handle = (_, response) => {
      asked += 1;
      response.end();
    };
    const port = base.split(':')[2] ?? '';
    for (const host of ['127.0.0.1', 'localhost', '[::1]', '0x7f.1', '2130706433', '0.0.0.0']) {
      const outcome = await fetchUrl(createAuthContext(), `http://${host}:${port}/`, null);
      expect(outcome, host).toMatchObject({
        kind: 'failed',
        reason: expect.stringContaining('is not a public address'),
      });
    }
    for (const url of ['ftp://example/', 'file:///etc/passwd', 'http://a:b@127.0.0.1/', 'x', '']) {
      expect((await fetchUrl(open, url, null)).kind, url).toBe('failed');
    }
    expect(asked).toBe(0);
  });

  it('knows what is public', () => {
    for (const address of ['8.8.8.8', '172.32.0.1', '100.128.0.1', '2606:4700::1']) {
      expect(isPublicAddress(address), address).toBe(true);
    }
    for (const address of [
      '10.1.2.3',
      '127.0.0.1',
      '169.254.169.254',
      '172.16.0.1',
      '172.31.255.255',
      '192.168.1.1',
      '100.64.0.1',
      '198.18.0.1',
      '224.0.0.1',
      '255.255.255.255',
      '0.0.0.0',
      '::',
      '::1',
      '::ffff:8.8.8.8',
      '64:ff9b::a00:1',
      '2002:a00:1::1',
      'fe80::1',
      'fd00::1',
      'ff02::1',
      'example',
      '',
    ]) {
      expect(isPublicAddress(address), address).toBe(false);
    }
  });

  it('of a certificate is taken only where its hash is the one that was sent', async () => {
    handle = (_, response) => response.end('abc');
    const task = (hex: string) => ({
      kind: 'fetch' as const,
      url: `${base}/`,
      sha1: new Uint8Array(Buffer.from(hex, 'hex')),
    });
    // FIPS 180-2 appendix A.1.
    expect(await computeAuth(task('a9993e364706816aba3e25717850c26c9cd0d89d'), open)).toMatchObject(
      {
        kind: 'fetch',
      },
    );
    for (const hex of ['a9993e364706816aba3e25717850c26c9cd0d89e', 'a9', '']) {
      expect((await computeAuth(task(hex), open)).kind).toBe('refused');
    }
  });
});

describe('what was fetched', () => {
  const outcome = (length: number): FetchOutcome => ({
    kind: 'fetched',
    bytes: new Uint8Array(length),
  });

  it('is kept until its time, and within count and bytes', () => {
    const cache = new FetchCache(3, 1_000);
    cache.keep('a', outcome(10), 100);
    expect(cache.find('a', 99)).toEqual(outcome(10));
    expect(cache.find('a', 100)).toBeNull();
    expect([cache.entryCount, cache.byteCount]).toEqual([0, 0]);
    for (const key of ['a', 'b', 'c']) cache.keep(key, outcome(10), 100);
    expect(cache.find('a', 0)).not.toBeNull();
    cache.keep('d', outcome(10), 100);
    // The one that was not used for longest has gone.
    expect(cache.find('b', 0)).toBeNull();
    expect(cache.entryCount).toBe(3);
    cache.keep('e', outcome(980), 100);
    expect(cache.entryCount).toBe(2);
    cache.keep('f', outcome(1_000), 100);
    expect(cache.find('f', 0)).toBeNull();
    expect(cache.byteCount).toBeLessThanOrEqual(1_000);
  });

  it('does not grow with what strangers bring', () => {
    const cache = new FetchCache(16, 4_096);
    for (let each = 0; each < 100_000; each += 1) cache.keep(`url ${each}`, outcome(each % 700), 1);
    expect(cache.entryCount).toBeLessThanOrEqual(16);
    expect(cache.byteCount).toBeLessThanOrEqual(4_096);
  });
});
