import Benchmark from 'benchmark';
import { loadPacketLibrary, type PacketLibrary } from './library.js';
import { spreadOf } from '../statistics.js';
import { open, type Sealed, seal } from './node-crypto.js';

const BATCHES = [1, 16, 64, 256];
const PACKET_BYTES = [64, 256, 512, 1024, 1400, 4096, 9000];
/** Room for outer headers, IV, padding and ICV beside the packet. */
const OVERHEAD_BYTES = 256;

/** Nanoseconds a packet (median of the cycles), with the relative margin of error that the benchmark package gives. */
export interface Timing {
  readonly ns: number;
  readonly errorPercent: number;
}

export type Operation = 'seal' | 'seal and open';

export interface PacketFigure {
  /**
   * `seal`: copy into the batch, then encapsulate. `seal and open`: encapsulate and decapsulate in
   * place, which gives the packets back; a packet cannot be opened twice, the replay window refuses.
   */
  readonly operation: Operation;
  readonly packetBytes: number;
  readonly batchPackets: number;
  readonly library: Timing | null;
  readonly nodeCrypto: Timing;
}

export interface PacketResult {
  readonly algorithm: string;
  readonly leftOut: string | null;
  readonly figures: readonly PacketFigure[];
}

export async function benchPackets(
  quick: boolean,
  signal: AbortSignal,
  say: (line: string) => void,
): Promise<PacketResult> {
  const loaded = await loadPacketLibrary();
  const library = typeof loaded === 'string' ? null : loaded;
  const leftOut = typeof loaded === 'string' ? loaded : null;
  if (leftOut !== null) {
    say(`left out: ipsec-node/packet: ${leftOut}`);
  }
  const seconds = quick ? 0.1 : 0.5;
  const figures: PacketFigure[] = [];
  for (const packetBytes of PACKET_BYTES) {
    const packet = udpPacket(packetBytes);
    for (const batchPackets of BATCHES) {
      for (const operation of ['seal', 'seal and open'] as const) {
        // Signals are only seen between measurements: the benchmark package does not yield.
        await new Promise((resolve) => setImmediate(resolve));
        signal.throwIfAborted();
        figures.push({
          operation,
          packetBytes,
          batchPackets,
          library:
            library === null
              ? null
              : time(libraryWork(library, operation, packet, batchPackets), batchPackets, seconds),
          nodeCrypto: time(nodeCryptoWork(operation, packet, batchPackets), batchPackets, seconds),
        });
      }
    }
    say(`packets of ${packetBytes} bytes measured`);
  }
  return { algorithm: 'AES-256-GCM-16', leftOut, figures };
}

function libraryWork(
  library: PacketLibrary,
  operation: Operation,
  packet: Uint8Array,
  batchPackets: number,
): () => void {
  const batch = library.newBatch(batchPackets, packet.length + OVERHEAD_BYTES);
  const pair = library.newSaPair();
  const fill = (): void => {
    batch.clear();
    for (let index = 0; index < batchPackets; index += 1) {
      batch.push(packet);
    }
  };
  if (operation === 'seal') {
    return () => {
      fill();
      pair.encapsulate(batch);
    };
  }
  fill();
  return () => {
    pair.encapsulate(batch);
    pair.decapsulate(batch);
  };
}

function nodeCryptoWork(
  operation: Operation,
  packet: Uint8Array,
  batchPackets: number,
): () => void {
  const sealed: Sealed[] = [];
  return () => {
    for (let index = 0; index < batchPackets; index += 1) {
      sealed[index] = seal(packet);
    }
    if (operation === 'seal and open') {
      for (const item of sealed) {
        open(item);
      }
    }
  };
}

/** Runs one benchmark to its end. Throws where the measured code throws. */
function time(work: () => void, batchPackets: number, seconds: number): Timing {
  work();
  const benchmark = new Benchmark(work, { maxTime: seconds, minSamples: 5 });
  benchmark.run({ async: false });
  const fault: unknown = Reflect.get(benchmark, 'error');
  if (fault !== undefined && fault !== null) {
    throw fault instanceof Error ? fault : new Error('the measured code failed');
  }
  // The median of the cycles: their mean follows each interruption by another program.
  const { median = benchmark.stats.mean } = spreadOf(benchmark.stats.sample) ?? {};
  return { ns: (median * 1e9) / batchPackets, errorPercent: benchmark.stats.rme };
}

/** An IPv4 packet with a UDP header, correct header checksum, no UDP checksum. */
function udpPacket(length: number): Uint8Array {
  const packet = Buffer.alloc(length, 0x5a);
  packet.writeUInt16BE(0x4500, 0);
  packet.writeUInt16BE(length, 2);
  packet.writeUInt32BE(0x00004000, 4);
  packet.writeUInt16BE(0x4011, 8);
  packet.writeUInt16BE(0, 10);
  packet.writeUInt32BE(0x0a510102, 12);
  packet.writeUInt32BE(0x0a510202, 16);
  let sum = 0;
  for (let offset = 0; offset < 20; offset += 2) {
    sum += packet.readUInt16BE(offset);
  }
  while (sum > 0xffff) {
    sum = (sum & 0xffff) + (sum >>> 16);
  }
  packet.writeUInt16BE(~sum & 0xffff, 10);
  packet.writeUInt16BE(40_000, 20);
  packet.writeUInt16BE(50_000, 22);
  packet.writeUInt16BE(length - 20, 24);
  packet.writeUInt16BE(0, 26);
  return packet;
}
