/** Traffic of hosts: a download over HTTP, and datagrams. */
import { createHash, randomFillSync } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, get, type IncomingMessage } from 'node:http';
import { systemClock } from '../clock.js';
import { InternalError, ResourceError } from '../errors.js';

/** Pause between datagrams, so that each is a packet of its own. */
const DATAGRAM_GAP_MS = 1;

/** A server of random data with a known plaintext in it. */
export class DataServer {
  private constructor(
    private readonly data: Uint8Array,
    readonly port: number,
  ) {}

  static async open(
    byteCount: number,
    marker: string,
    markerEveryBytes: number,
  ): Promise<DataServer> {
    const data = Buffer.alloc(byteCount);
    randomFillSync(data);
    for (let at = 0; at + marker.length <= byteCount; at += markerEveryBytes) {
      data.write(marker, at, 'latin1');
    }
    const server = createServer((request, response) => {
      const wanted = Number(new URL(request.url ?? '/', 'http://demo.invalid').pathname.slice(1));
      const body = data.subarray(0, wanted);
      response.writeHead(200, { 'content-length': body.length });
      response.end(body);
    });
    server.listen(0, '0.0.0.0');
    await once(server, 'listening');
    const address = server.address();
    if (typeof address !== 'object' || address === null) {
      throw new InternalError('IPSEC_ERR_INTERNAL', 'an HTTP server has no port');
    }
    return new DataServer(data, address.port);
  }

  digest(byteCount: number): string {
    return createHash('sha256').update(this.data.subarray(0, byteCount)).digest('hex');
  }
}

/** Downloads, and hashes what arrived; the hash is no part of the time. */
export async function download(
  url: string,
  timeoutMs: number,
): Promise<{ byteCount: number; elapsedMs: number; sha256: string }> {
  const started = systemClock.now();
  const request = get(url, { agent: false, timeout: timeoutMs });
  const timer = systemClock.schedule(timeoutMs, () => {
    request.destroy(
      new ResourceError('IPSEC_ERR_HOST', `the download was not done in ${timeoutMs} ms`),
    );
  });
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      request.once('response', resolve);
      request.once('error', reject);
    });
    const chunks: Buffer[] = [];
    let byteCount = 0;
    await new Promise<void>((resolve, reject) => {
      response.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        byteCount += chunk.length;
      });
      response.once('end', resolve);
      response.once('error', reject);
    });
    const elapsedMs = systemClock.now() - started;
    const hash = createHash('sha256');
    for (const chunk of chunks) hash.update(chunk);
    return { byteCount, elapsedMs, sha256: hash.digest('hex') };
  } finally {
    timer.cancel();
  }
}

/** A socket that counts what reaches an application. */
export class DatagramSink {
  datagramCount = 0;

  private constructor(readonly port: number) {}

  static async open(): Promise<DatagramSink> {
    const socket = createSocket('udp4');
    socket.bind(0, '0.0.0.0');
    await once(socket, 'listening');
    const sink = new DatagramSink(socket.address().port);
    socket.on('message', () => {
      sink.datagramCount += 1;
    });
    return sink;
  }
}

/** Sends datagrams of these lengths, one after the other. What the network answers is ignored. */
export async function sendDatagrams(
  path: { readonly source: string; readonly destination: string; readonly port: number },
  payloadLengths: readonly number[],
): Promise<void> {
  const socket = createSocket('udp4');
  socket.on('error', () => undefined);
  socket.bind(0, path.source);
  await once(socket, 'listening');
  for (const [at, length] of payloadLengths.entries()) {
    await sendOne(socket, path, Buffer.alloc(length, at & 255));
    await systemClock.sleep(DATAGRAM_GAP_MS);
  }
  socket.close();
}

function sendOne(
  socket: Socket,
  { destination, port }: { readonly destination: string; readonly port: number },
  payload: Uint8Array,
): Promise<void> {
  return new Promise((resolve) => {
    socket.send(payload, port, destination, () => resolve());
  });
}
