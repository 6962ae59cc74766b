/** What honest traffic shows: that it arrives, how fast, and what an eavesdropper has of it. */
import { randomBytes } from 'node:crypto';
import { systemClock } from '../clock.js';
import { VERBS } from './agent-protocol.js';
import { LINK_MTU_BYTES, PLACES } from './laboratory.js';
import { type DemoLine, grouped } from './line.js';
import { datagrams, delivered, sendFromHostA, type Stage, until } from './scene.js';

/** What is downloaded for the measurement, and what is listened to. */
const DOWNLOAD_BYTES = 256 * 1024 * 1024;
const OVERHEARD_BYTES = 32 * 1024 * 1024;
const DOWNLOAD_MS_MAX = 60_000;
const SERVE_MS_MAX = 30_000;
/** Known plaintext, so often that each full segment holds one whole. */
const MARKER_EVERY_BYTES = 1024;
const MARKER = `ipsec-node demo plaintext ${randomBytes(8).toString('hex')}`;

/** A download, timed, and compared with what was sent. */
export async function* transfer(stage: Stage): AsyncGenerator<DemoLine> {
  const { hostA, hostB } = stage.lab;
  const serve = {
    byteCount: DOWNLOAD_BYTES,
    marker: MARKER,
    markerEveryBytes: MARKER_EVERY_BYTES,
  };
  const { port } = await hostB.ask(VERBS.serve, serve, SERVE_MS_MAX);
  stage.httpPort = port;
  const url = `http://${PLACES.hostB}:${port}/${DOWNLOAD_BYTES}`;
  const ask = { url, timeoutMs: DOWNLOAD_MS_MAX };
  const got = await hostA.ask(VERBS.download, ask, DOWNLOAD_MS_MAX * 2);
  const sent = await hostB.ask(VERBS.digest, { byteCount: DOWNLOAD_BYTES });
  const gigabitsPerSecond = (got.byteCount * 8) / (got.elapsedMs / 1000) / 1e9;
  const isEqual = got.sha256 === sent.sha256 && got.byteCount === DOWNLOAD_BYTES;
  yield {
    subject: 'transfer',
    ok: isEqual,
    did:
      `${got.byteCount / 2 ** 20} MiB over HTTP in ${(got.elapsedMs / 1000).toFixed(2)} s: ` +
      `${gigabitsPerSecond.toFixed(2)} Gbit/s`,
    found: `SHA-256 ${isEqual ? 'equal' : 'differs'}: ${got.sha256.slice(0, 12)}…`,
    facts: {
      byteCount: got.byteCount,
      elapsedMs: Math.round(got.elapsedMs),
      gigabitsPerSecond: Number(gigabitsPerSecond.toFixed(3)),
      sha256Sent: sent.sha256,
      sha256Received: got.sha256,
    },
  };
}

/**
 * The wire is read during a download, and so is the LAN behind gateway B: the same search that finds
 * the plaintext there has to find none on the wire.
 */
export async function* eavesdropping(stage: Stage): AsyncGenerator<DemoLine> {
  const { hostA, wire, sideB } = stage.lab;
  const options = { mtuBytes: LINK_MTU_BYTES, marker: MARKER, keep: null };
  await Promise.all([
    wire.ask(VERBS.startCapture, { ...options, link: 'b' }),
    sideB.ask(VERBS.startCapture, { ...options, link: 'lan' }),
  ]);
  const url = `http://${PLACES.hostB}:${stage.httpPort ?? 0}/${OVERHEARD_BYTES}`;
  const ask = { url, timeoutMs: DOWNLOAD_MS_MAX };
  await hostA.ask(VERBS.download, ask, DOWNLOAD_MS_MAX * 2);
  const [onWire, onLan] = await Promise.all([
    wire.ask(VERBS.stopCapture, {}),
    sideB.ask(VERBS.stopCapture, {}),
  ]);
  const ike = onWire.ikeCount === 0 ? 'all ESP' : `ESP and ${onWire.ikeCount} IKE`;
  const others = onWire.otherCount === 0 ? ike : `${onWire.otherCount} others`;
  yield {
    subject: 'eavesdropping',
    ok:
      onWire.markedCount === 0 &&
      onWire.otherCount === 0 &&
      onWire.espCount > 0 &&
      onLan.markedCount > 0,
    did: `${grouped(onWire.espCount)} packets read on the wire: ${others}`,
    found: `plaintext in ${onWire.markedCount} frames (LAN: ${grouped(onLan.markedCount)})`,
    facts: {
      wire: {
        frames: onWire.frameCount,
        bytes: onWire.byteCount,
        esp: onWire.espCount,
        ike: onWire.ikeCount,
        arp: onWire.arpCount,
        other: onWire.otherCount,
        withPlaintext: onWire.markedCount,
      },
      lan: { frames: onLan.frameCount, withPlaintext: onLan.markedCount },
    },
  };
}

/** Datagram lengths whose difference an eavesdropper wants to see. */
const LENGTHS = [16, 160, 480, 1200] as const;
const EACH = 12;
const BAR_BYTES = 40;

/** Sizes on the wire, without and with TFC padding (RFC 4303 section 2.7). */
export async function* trafficAnalysis(stage: Stage): AsyncGenerator<DemoLine> {
  const plain = await sizesOnWire(stage, [PLACES.hostA, PLACES.hostB]);
  const padded = await sizesOnWire(stage, [PLACES.paddedHostA, PLACES.paddedHostB]);
  const all = EACH * LENGTHS.length;
  yield {
    subject: 'traffic analysis',
    ok:
      plain.sizes.size === LENGTHS.length &&
      padded.sizes.size === 1 &&
      plain.arrived === all &&
      padded.arrived === all,
    did: `datagrams of ${LENGTHS.join(', ')} bytes`,
    found: `${plain.sizes.size} sizes on the wire; padded: ${padded.sizes.size}`,
    facts: {
      without: Object.fromEntries(plain.sizes),
      with: Object.fromEntries(padded.sizes),
      delivered: plain.arrived + padded.arrived,
    },
    chart: [...bars('', plain.sizes), ...bars('padded', padded.sizes)],
  };
}

function bars(name: string, sizes: ReadonlyMap<number, number>): readonly string[] {
  return [...sizes]
    .toSorted(([one], [other]) => one - other)
    .map(
      ([size, count], row) =>
        `${(row === 0 ? name : '').padEnd(6)} ${String(size).padStart(5)} bytes ` +
        `${'█'.repeat(Math.max(1, Math.round(size / BAR_BYTES)))} ×${count}`,
    );
}

async function sizesOnWire(
  stage: Stage,
  path: readonly [string, string],
): Promise<{ readonly sizes: ReadonlyMap<number, number>; readonly arrived: number }> {
  const { lab } = stage;
  const lengths = LENGTHS.flatMap((length) => Array.from({ length: EACH }, () => length));
  const before = await delivered(stage);
  const spi = path[0] === PLACES.hostA ? stage.keyAToB.spi : stage.paddedSpi;
  const options = { link: 'a', mtuBytes: LINK_MTU_BYTES, marker: null };
  await lab.wire.ask(VERBS.startCapture, { ...options, keep: { spi, count: lengths.length } });
  await sendFromHostA(stage, lengths, path);
  await until(async () => (await delivered(stage)) - before >= lengths.length);
  const { kept } = await lab.wire.ask(VERBS.stopCapture, {});
  const sizes = new Map<number, number>();
  for (const { outerLen } of kept) sizes.set(outerLen, (sizes.get(outerLen) ?? 0) + 1);
  return { sizes, arrived: (await delivered(stage)) - before };
}

const WAIT_FOR_LEAK_MS = 200;

/** Gateway A dies, and host A goes on sending. There is no link after it. */
export async function* plaintextOutbound(stage: Stage): AsyncGenerator<DemoLine> {
  const { a, wire } = stage.lab;
  const count = datagrams(64);
  await a.kill();
  const options = { link: 'a', mtuBytes: LINK_MTU_BYTES, marker: null, keep: null };
  await wire.ask(VERBS.startCapture, options);
  await sendFromHostA(stage, count);
  await systemClock.sleep(WAIT_FOR_LEAK_MS);
  const seen = await wire.ask(VERBS.stopCapture, {});
  yield {
    subject: 'plaintext',
    ok: seen.otherCount === 0 && seen.espCount === 0,
    did: `gateway A killed, host A sends ${count.length}`,
    found: `left in clear ${seen.otherCount}`,
    facts: { sent: count.length, leftInClear: seen.otherCount, leftAsEsp: seen.espCount },
  };
}
