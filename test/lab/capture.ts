/** tcpdump on one device of a namespace, ready before it is returned, complete when stopped. */

import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import type { Program } from './command.ts';
import type { Namespace } from './namespace.ts';
import { type CapturedPacket, readPcap } from './pcap.ts';
import { requirePeer } from './peer.ts';
import { recordFolder } from './registry.ts';

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

export class Capture {
  private constructor(
    /** Removed when the process ends: copy it to keep it. */
    readonly path: string,
    private readonly program: Program,
  ) {}

  /** `filter` is an expression of pcap-filter(7); all packets when left out. Both directions. */
  static async start(namespace: Namespace, device: string, filter = ''): Promise<Capture> {
    const path = nextPath(`${namespace.label}-${device}`);
    const words = filter.split(/\s+/).filter((word) => word !== '');
    const program = namespace.spawn([
      requirePeer('tcpdump'),
      ...['-i', device, '-n', '-p', '-U', '--immediate-mode', '-s', '0', '-B', '65536'],
      ...['-Z', 'root', '-w', path, ...words],
    ]);
    await program.output(/listening on/, 20_000);
    return new Capture(path, program);
  }

  /** Stops after what is on its way has been written, and reads the file. */
  async stop(): Promise<readonly CapturedPacket[]> {
    await new Promise((resolve) => setTimeout(resolve, 150));
    await this.program.stop('SIGINT');
    const dropped = this.program.stderr.match(/(\d+) packets dropped by kernel/)?.[1];
    if (dropped !== undefined && dropped !== '0') {
      throw new Error(`tcpdump missed ${dropped} packets`);
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
