import { readFileSync } from 'node:fs';
import { numberAt, textAt, valueAt } from '../json.js';
import { type Daemon, type Lab, outcomeOf } from './lab.js';

const PORT = 5201;
const SERVER_READY_TIMEOUT_MS = 5_000;
/** What a client may take beyond the seconds asked for. */
const CLIENT_GRACE_MS = 15_000;

export interface Flow {
  readonly clientNamespace: string;
  readonly clientAddress: string;
  readonly serverNamespace: string;
  readonly serverAddress: string;
}

export type Load =
  | { readonly kind: 'tcp'; readonly streams: number; readonly congestion: string | null }
  /** As many UDP packets as the sender can make, each of so many bytes with its IPv4 header. */
  | { readonly kind: 'udp'; readonly packetBytes: number };

export interface Received {
  /** Received TCP payload in bits a second, or delivered UDP packets a second. */
  readonly rate: number;
  /** TCP segments sent again, or the share of UDP packets lost. */
  readonly retransmits: number | null;
  readonly lostShare: number | null;
}

export class IperfFault extends Error {}

/** One iperf3 run: a server of its own, a client, both gone at the end. */
export async function runIperf(
  lab: Lab,
  flow: Flow,
  load: Load,
  seconds: number,
): Promise<Received> {
  const server = await startServer(lab, flow);
  try {
    const args = [
      ...['netns', 'exec', flow.clientNamespace, 'iperf3', '-J', '-c', flow.serverAddress],
      ...['-B', flow.clientAddress, '-p', String(PORT), '-t', String(seconds)],
      ...['--connect-timeout', '3000'],
      ...loadArguments(load),
    ];
    const outcome = await outcomeOf('ip', args, {
      signal: lab.signal,
      timeoutMs: seconds * 1000 + CLIENT_GRACE_MS,
    });
    const received = parseResult(outcome.stdout, load);
    if (received === null) {
      throw new IperfFault(outcome.stderr.trim().split('\n')[0] ?? 'no result');
    }
    return received;
  } finally {
    if (!(await server.ended(1_000))) {
      await server.stop();
    }
  }
}

/** Waits until a TCP connection of a few kilobytes works: the path stands in both directions. */
export async function waitForPath(lab: Lab, flow: Flow, timeoutMs: number): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  let last = '';
  const server = await startServer(lab, flow, false);
  try {
    while (Date.now() < deadline) {
      const args = [
        ...['netns', 'exec', flow.clientNamespace, 'iperf3', '-J', '-c', flow.serverAddress],
        ...['-B', flow.clientAddress, '-p', String(PORT), '-n', '100K', '--connect-timeout', '500'],
      ];
      const outcome = await outcomeOf('ip', args, { signal: lab.signal, timeoutMs: 3_000 });
      try {
        if (parseResult(outcome.stdout, { kind: 'tcp', streams: 1, congestion: null }) !== null) {
          return;
        }
        last = outcome.stderr.trim();
      } catch (error) {
        last = error instanceof Error ? error.message : String(error);
      }
      await lab.sleep(100);
    }
  } finally {
    await server.stop();
  }
  throw new IperfFault(
    `no connection from ${flow.clientAddress} to ${flow.serverAddress} within ${timeoutMs / 1000} s: ${last}`,
  );
}

async function startServer(lab: Lab, flow: Flow, once = true): Promise<Daemon> {
  const server = lab.start(flow.serverNamespace, 'iperf3', [
    ...['-s', '-B', flow.serverAddress, '-p', String(PORT)],
    ...(once ? ['-1'] : []),
  ]);
  const deadline = Date.now() + SERVER_READY_TIMEOUT_MS;
  while (!listens(server.pid)) {
    if (!server.alive || Date.now() > deadline) {
      const output = server.output();
      await server.stop();
      throw new IperfFault(`the iperf3 server does not listen: ${output}`);
    }
    await lab.sleep(10);
  }
  return server;
}

/** Reads /proc/<pid>/net/tcp, which shows the namespace that the process is in. State 0A is LISTEN. */
function listens(pid: number): boolean {
  const port = PORT.toString(16).toUpperCase().padStart(4, '0');
  try {
    return new RegExp(`:${port} [0-9A-F]+:0000 0A `).test(
      readFileSync(`/proc/${pid}/net/tcp`, 'latin1'),
    );
  } catch {
    return false;
  }
}

function loadArguments(load: Load): string[] {
  if (load.kind === 'udp') {
    // 20 bytes of IPv4 header and 8 of UDP come on top of the payload.
    return ['-u', '-b', '0', '-l', String(load.packetBytes - 28)];
  }
  return [
    ...['-P', String(load.streams)],
    ...(load.congestion === null ? [] : ['-C', load.congestion]),
  ];
}

/** Reads what `iperf3 -J` printed. Null where it is no result; throws where it names an error. */
export function parseResult(text: string, load: Load): Received | null {
  let report: unknown;
  try {
    report = JSON.parse(text);
  } catch {
    return null;
  }
  const fault = textAt(report, 'error');
  if (fault !== undefined) {
    throw new IperfFault(fault);
  }
  const received = valueAt(report, 'end', 'sum_received');
  if (load.kind === 'tcp') {
    const rate = numberAt(received, 'bits_per_second');
    if (rate === undefined) {
      return null;
    }
    const retransmits = numberAt(report, 'end', 'sum_sent', 'retransmits') ?? null;
    return { rate, retransmits, lostShare: null };
  }
  const bytes = numberAt(received, 'bytes');
  const seconds = numberAt(received, 'seconds');
  const sent = numberAt(report, 'end', 'sum_sent', 'packets');
  if (bytes === undefined || seconds === undefined || seconds <= 0) {
    return null;
  }
  const delivered = bytes / (load.packetBytes - 28);
  return {
    rate: delivered / seconds,
    retransmits: null,
    lostShare: sent === undefined || sent === 0 ? null : Math.max(0, 1 - delivered / sent),
  };
}
