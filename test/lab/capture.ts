/** A recording of one device of a namespace, ready before it is returned, complete when stopped. */

import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import type { Program } from './command.ts';
import type { Namespace } from './namespace.ts';
import { type CapturedPacket, readPcap } from './pcap.ts';
import { requirePeer } from './peer.ts';
import { recordFolder } from './registry.ts';

/** How long a packet may stay in the kernel's buffer before the recorder has it. */
const SETTLE_MS = { tcpdump: 150, dumpcap: 600 };

/** As tcpdump says it, and as dumpcap does. */
const DROPPED = /(\d+) packets dropped by kernel|dropped on interface \S+: \d+\/(\d+)/;

let count = 0;
let folder: string | undefined;

function nextPath(label: string): string {
  if (folder === undefined) {
    folder = mkdtempSync(`${tmpdir()}/ipn-capture-`);
    recordFolder(folder);
  }
  count += 1;
  return `${folder}/${count}-${label}.pcap`;
}

function mustBeDumpcap(): boolean {
  return readFileSync('/proc/self/setgroups', 'utf8').trim() === 'deny';
}

/**
 * In a user namespace without setgroups(2) tcpdump ends, as it insists on changing its groups; then
 * dumpcap of the tshark package takes its place.
 */
function recorder(device: string, path: string, filter: string): string[] {
  if (mustBeDumpcap()) {
    requirePeer('tshark');
    const words = filter === '' ? [] : ['-f', filter];
    return ['dumpcap', '-P', '-q', '-p', '-i', device, ...words, '-w', path];
  }
  const words = filter.split(/\s+/).filter((word) => word !== '');
  return [
    requirePeer('tcpdump'),
    ...['-i', device, '-n', '-p', '-U', '--immediate-mode', '-s', '0', '-B', '65536'],
    ...['-Z', 'root', '-w', path, ...words],
  ];
}

export class Capture {
  private constructor(
    /** Removed when the process ends: copy it to keep it. */
    readonly path: string,
    private readonly program: Program,
  ) {}

  /** `filter` is an expression of pcap-filter(7); all packets when left out. Both directions. */
  static async start(namespace: Namespace, device: string, filter = ''): Promise<Capture> {
    const path = nextPath(`${namespace.label}-${device}`);
    const program = namespace.spawn(recorder(device, path, filter));
    await program.output(/listening on|File: /, 20_000);
    return new Capture(path, program);
  }

  /** Stops after what is on its way has been written, and reads the file. */
  async stop(): Promise<readonly CapturedPacket[]> {
    // dumpcap takes what came every 250 ms, and at its end leaves what it has not taken.
    const settleMs = mustBeDumpcap() ? SETTLE_MS.dumpcap : SETTLE_MS.tcpdump;
    await new Promise((resolve) => setTimeout(resolve, settleMs));
    await this.program.stop('SIGINT');
    const dropped = this.program.stderr
      .match(DROPPED)
      ?.slice(1)
      .find((count) => count !== undefined);
    if (dropped !== undefined && dropped !== '0') {
      throw new Error(`the capture missed ${dropped} packets`);
    }
    return readPcap(this.path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.program.stop('SIGINT');
  }
}

/** The packets that hold these octets anywhere: a search of the wire for a plaintext. */
export function packetsWith(
  packets: readonly CapturedPacket[],
  needle: Uint8Array | string,
): readonly CapturedPacket[] {
  const bytes = Buffer.from(needle);
  return packets.filter((packet) => packet.frame.includes(bytes));
}
