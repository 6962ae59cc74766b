import { readFileSync } from 'node:fs';
import { connect, Namespace } from '../../test/lab/namespace.ts';
import { Vici } from '../../test/lab/vici.ts';
import { connection, startCharon } from './charon.js';
import type { IkeResponder } from './responder.js';

/** Of X25519 with a pre-shared key: the cheapest handshake that anybody should configure. */
const PROPOSAL = 'aes128gcm16-prfsha256-x25519';
const PSK = 'a secret of the bench';
const ADDRESSES = { initiator: '192.0.2.1', responder: '192.0.2.2' } as const;
/** Handshakes under way at once; more than one hides the waiting of each. */
const CONCURRENCY = 16;
const TICKS_PER_SECOND = 100;

export interface HandshakeResult {
  readonly responder: string;
  readonly handshakes: number;
  readonly wallSeconds: number;
  /** Of the responder's process, user and system. */
  readonly cpuSeconds: number;
  /** What one processor would answer if it did nothing else. */
  readonly perCpuSecond: number;
  /** As it went: bounded by whichever of the two is slower. */
  readonly perWallSecond: number;
}

/** Fields 14 and 15 of /proc/PID/stat. */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** The queue of its socket is short: one connection after the other, again where it was full. */
async function connectAll(socket: string): Promise<readonly Vici[]> {
  const connections: Vici[] = [];
  while (connections.length < CONCURRENCY) {
    try {
      connections.push(await Vici.connect(socket));
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
  return connections;
}

async function initiate(connections: readonly Vici[], count: number): Promise<void> {
  let left = count;
  const worker = async (vici: Vici): Promise<void> => {
    while (left > 0) {
      left -= 1;
      await vici.request('initiate', { ike: 'bench', timeout: '20000', 'init-limits': 'no' });
    }
  };
  await Promise.all(connections.map(worker));
}

/** Whole IKE_SA_INIT and IKE_AUTH exchanges, begun by charon on a processor of its own. */
export async function benchHandshakes(
  responder: IkeResponder,
  count: number,
): Promise<HandshakeResult> {
  await using near = await Namespace.create('bi');
  await using far = await Namespace.create('br');
  await connect(
    { namespace: near, device: 'wan0', addresses: [`${ADDRESSES.initiator}/24`] },
    { namespace: far, device: 'wan0', addresses: [`${ADDRESSES.responder}/24`] },
  );
  const answering = await responder.start({
    namespace: far,
    address: ADDRESSES.responder,
    psk: PSK,
    proposal: PROPOSAL,
    cpu: 1,
  });
  await using asking = await startCharon({
    namespace: near,
    cpu: 0,
    psk: PSK,
    connection: connection(ADDRESSES.initiator, ADDRESSES.responder, PROPOSAL),
  });
  const connections = await connectAll(asking.socket);
  try {
    // The first ones fill caches and start threads.
    await initiate(connections, CONCURRENCY);
    const before = await answering.count();
    const cpu = cpuSeconds(answering.pid);
    const start = performance.now();
    await initiate(connections, count);
    const wallSeconds = (performance.now() - start) / 1000;
    const used = cpuSeconds(answering.pid) - cpu;
    const handshakes = (await answering.count()) - before;
    if (handshakes !== count) throw new Error(`${handshakes} of ${count} IKE SAs were made`);
    return {
      responder: responder.name,
      handshakes,
      wallSeconds,
      cpuSeconds: used,
      perCpuSecond: handshakes / used,
      perWallSecond: handshakes / wallSeconds,
    };
  } finally {
    for (const each of connections) each.close();
    await answering.stop();
  }
}
