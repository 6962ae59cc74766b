import { generateKeyPairSync, randomFillSync } from 'node:crypto';
import { createServer } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import {
  COMPUTE_LIMITS,
  ComputePool,
} from '../../../../packages/ipsec-node/src/daemon/ike/compute-pool.js';
import type { ComputeTask } from '../../../../packages/ipsec-node/src/ike/compute.js';
import { montgomeryKey } from '../../ike/crypto/key-exchange-fixture.js';

/** The compiled thread: workers do not read TypeScript. */
const WORKER = new URL(
  '../../../../packages/ipsec-node/dist/daemon/ike/compute-worker.js',
  import.meta.url,
);

/**
 * A thread that ends at `generate`, is silent about `fetch` and `respond`, and answers the rest
 * with a refusal.
 */
const ODD_WORKER = new URL(
  `data:text/javascript,${encodeURIComponent(`
    import { parentPort } from 'node:worker_threads';
    parentPort.on('message', ({ id, task }) => {
      if (task.kind === 'generate') process.exit(1);
      if (task.kind === 'fetch' || task.kind === 'respond') return;
      parentPort.postMessage({ id, result: { kind: 'refused', reason: 'odd ' + task.kind } });
    });
  `)}`,
);

const GENERATE: ComputeTask = { kind: 'generate', method: 31 };
const SILENT: ComputeTask = { kind: 'respond', method: 31, peerValue: new Uint8Array(32) };
const FETCH: ComputeTask = { kind: 'fetch', url: 'http://192.0.2.1/', sha1: new Uint8Array(20) };
const VERIFY: ComputeTask = {
  kind: 'verify',
  publicKey: new Uint8Array(1),
  octets: new Uint8Array(1),
  method: 14,
  data: new Uint8Array(1),
};

const pools: ComputePool[] = [];
function pool(threads: number, worker = WORKER): ComputePool {
  const made = new ComputePool({ threads, worker });
  pools.push(made);
  return made;
}
afterEach(async () => {
  await Promise.all(pools.splice(0).map((each) => each.close()));
});

describe('the compute pool', () => {
  it.each([[14], [19], [31], [36]])(
    'does key exchanges in its threads: method %i',
    async (method) => {
      const threads = pool(2);
      const initiator = await threads.run({ kind: 'generate', method });
      if (initiator.kind !== 'generate') throw new Error(initiator.kind);
      const { privateValue, publicValue } = initiator;
      const responder = await threads.run({ kind: 'respond', method, peerValue: publicValue });
      if (responder.kind !== 'respond') throw new Error(responder.kind);
      const peerValue = responder.publicValue;
      const result = await threads.run({ kind: 'agree', method, privateValue, peerValue });
      expect(result).toEqual({ kind: 'agree', secret: responder.secret });
      // A key of node:crypto crosses as it is, bytes are consumed.
      if (privateValue instanceof Uint8Array) {
        expect(privateValue.every((octet) => octet === 0)).toBe(true);
      } else expect(privateValue.type).toBe('private');
      // The peer's value is still the caller's.
      expect(peerValue.length).toBeGreaterThan(0);
    },
  );

  it('signs and verifies in its threads', async () => {
    const threads = pool(1);
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const octets = Buffer.from('what is signed');
    const signature = await threads.run({
      kind: 'sign',
      credential: { privateKey, certificates: [] },
      octets,
      hashes: [2],
    });
    if (signature.kind !== 'sign') throw new Error(JSON.stringify(signature));
    const { method, data } = signature;
    const subject = publicKey.export({ type: 'spki', format: 'der' });
    const verify = { kind: 'verify', publicKey: subject, octets, method, data } as const;
    expect(await threads.run(verify)).toEqual({ kind: 'verify' });
    const other = { ...verify, octets: Buffer.from('what is not') };
    expect(await threads.run(other)).toMatchObject({ kind: 'refused' });
  });

  // RFC 7427 appendix A.1: sha256WithRSAEncryption.
  it('signs as the credential says, which is copied whole', async () => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const signature = await pool(1).run({
      kind: 'sign',
      credential: { privateKey, certificates: [], rsaSignature: 'pkcs1' },
      octets: Buffer.from('what is signed'),
      hashes: [2],
    });
    if (signature.kind !== 'sign') throw new Error(JSON.stringify(signature));
    const identifier = Buffer.from(signature.data).subarray(1, 16).toString('hex');
    expect(identifier).toBe('300d06092a864886f70d01010b0500');
  });

  it('fetches nothing from private addresses unless told to', async () => {
    const server = createServer((_request, response) => response.end('no certificate'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    let requests = 0;
    server.on('request', () => (requests += 1));
    const url = `http://127.0.0.1:${port}/certificate`;
    try {
      const told = new ComputePool({ threads: 1, worker: WORKER, allowPrivateTargets: true });
      pools.push(told);
      const task: ComputeTask = { kind: 'fetch', url, sha1: new Uint8Array(20) };
      expect(await pool(1).run(task)).toMatchObject({ kind: 'refused' });
      expect(requests).toBe(0);
      // It asks, and refuses what has another hash.
      expect(await told.run(task)).toMatchObject({ kind: 'refused' });
      expect(requests).toBe(1);
    } finally {
      server.close();
    }
  });

  it('refuses what a peer sent wrong', async () => {
    const threads = pool(1);
    const result = await threads.run({
      kind: 'respond',
      method: 31,
      peerValue: new Uint8Array(31),
    });
    expect(result).toMatchObject({ kind: 'refused' });
  });

  it('answers work that fails', async () => {
    const threads = pool(1);
    const privateValue = montgomeryKey(31, Buffer.alloc(32, 1));
    const peerValue = Buffer.alloc(256, 3);
    const result = await threads.run({ kind: 'agree', method: 14, privateValue, peerValue });
    expect(result).toMatchObject({ kind: 'refused' });
    expect(await threads.run(GENERATE)).toMatchObject({ kind: 'generate' });
    expect(threads.counters()).toEqual({ done: 2, full: 0, died: 0 });
  });

  it('takes views into larger buffers', async () => {
    const threads = pool(1);
    const slab = randomFillSync(Buffer.alloc(8192));
    const before = Buffer.from(slab);
    const results = await Promise.all(
      [0, 32, 64].map((at) =>
        threads.run({ kind: 'respond', method: 31, peerValue: slab.subarray(at, at + 32) }),
      ),
    );
    expect(results.map((result) => result.kind)).toEqual(['respond', 'respond', 'respond']);
    expect(slab.equals(before)).toBe(true);
  });

  it('answers the tasks of a thread that died, and goes on with another', async () => {
    const threads = pool(1, ODD_WORKER);
    const refusals = await Promise.all([threads.run(SILENT), threads.run(GENERATE)]);
    expect(refusals.map((result) => result.kind)).toEqual(['refused', 'refused']);
    expect(await threads.run(VERIFY)).toEqual({ kind: 'refused', reason: 'odd verify' });
    expect(threads.counters()).toEqual({ done: 1, full: 0, died: 1 });
  });

  it('answers tasks also where no thread can be started', async () => {
    const threads = pool(1, new URL('file:///nonexistent/worker.js'));
    expect(await threads.run(GENERATE)).toMatchObject({ kind: 'refused' });
    expect(threads.counters().died).toBe(1);
  });

  it('gives what died while others waited to the next thread', async () => {
    const threads = pool(1, ODD_WORKER);
    const atHand = COMPUTE_LIMITS.computingPerWorker;
    const first = threads.run(GENERATE);
    const others = Array.from({ length: atHand - 1 }, () => threads.run(SILENT));
    const queued = threads.run(VERIFY);
    expect(await first).toMatchObject({ kind: 'refused' });
    for (const other of others) expect(await other).toMatchObject({ kind: 'refused' });
    expect(await queued).toEqual({ kind: 'refused', reason: 'odd verify' });
  });

  it('computes while others wait for a server that never answers', async () => {
    const threads = pool(1, ODD_WORKER);
    const waiting = COMPUTE_LIMITS.waitingPerWorker + COMPUTE_LIMITS.waitingQueue;
    const fetches = Array.from({ length: waiting }, () => threads.run(FETCH));
    expect(await threads.run(FETCH)).toMatchObject({ kind: 'refused' });
    expect(threads.counters().full).toBe(1);
    expect(await threads.run(VERIFY)).toEqual({ kind: 'refused', reason: 'odd verify' });
    await threads.close();
    for (const fetched of await Promise.all(fetches)) expect(fetched.kind).toBe('refused');
  });

  it('refuses when its queue is full, and consumes the private value', async () => {
    const threads = pool(1, ODD_WORKER);
    const most = COMPUTE_LIMITS.computingPerWorker + COMPUTE_LIMITS.computingQueue;
    const queued = Array.from({ length: most }, () => threads.run(SILENT));
    const privateValue = new Uint8Array(32).fill(7);
    const peerValue = new Uint8Array(256);
    const past = await threads.run({ kind: 'agree', method: 14, privateValue, peerValue });
    expect(past).toEqual({ kind: 'refused', reason: 'Too much work is waiting.', isBusy: true });
    expect(privateValue.every((octet) => octet === 0)).toBe(true);
    expect(threads.counters()).toEqual({ done: 0, full: 1, died: 0 });
    await threads.close();
    for (const result of await Promise.all(queued)) expect(result.kind).toBe('refused');
  });

  it('refuses everything once it is closed, also what it was doing', async () => {
    const threads = pool(2, ODD_WORKER);
    const running = threads.run(SILENT);
    await threads.close();
    await threads.close();
    expect(await running).toEqual({
      kind: 'refused',
      reason: 'The gateway is closing.',
      isBusy: true,
    });
    const privateValue = new Uint8Array(32).fill(7);
    const task: ComputeTask = { kind: 'agree', method: 14, privateValue, peerValue: privateValue };
    expect(await threads.run(task)).toEqual({
      kind: 'refused',
      reason: 'The gateway is closing.',
      isBusy: true,
    });
    expect(privateValue.every((octet) => octet === 0)).toBe(true);
    expect(threads.counters().died).toBe(0);
  });

  it('has at least one thread', () => {
    for (const threads of [0, -1, 1.5, Number.NaN]) {
      expect(() => new ComputePool({ threads })).toThrow(RangeError);
    }
  });
});
