/**
 * A program at one end of a path: sends numbered UDP datagrams at a steady rate and counts those
 * that come. Its arguments are addresses to bind and to send from, where not all. Commands are lines of JSON on
 * stdin, each answered by one on stdout.
 *
 *   {"do":"start","stream":1,"from":"10.1.0.2","to":"10.2.0.2","perSecond":500,"bytes":200,"count":100}
 *   {"do":"state"}      counts of every stream
 *   {"do":"stop","stream":1}
 */

import { createSocket, type Socket } from 'node:dgram';
import { createInterface } from 'node:readline';
import { parseLine } from './node-program.ts';

export const TRAFFIC_PORT = 7_100;
const MAGIC = 0x6970_6e31;
const HEADER_BYTES = 12;
/** After a pause of the machine the rate is made good in portions that queues hold. */
const BURST_MAX = 24;

/** Counts of a stream, as `state` gives them. */
export interface StreamCounts {
  sent: number;
  refused: number;
  sending: boolean;
  received: number;
  duplicated: number;
  reordered: number;
}

class Stream {
  sent = 0;
  refused = 0;
  received = 0;
  duplicated = 0;
  reordered = 0;
  timer: NodeJS.Timeout | undefined;
  readonly #seen = new Set<number>();
  #highest = -1;

  take(number: number): void {
    if (this.#seen.has(number)) {
      this.duplicated += 1;
      return;
    }
    this.#seen.add(number);
    this.received += 1;
    if (number < this.#highest) this.reordered += 1;
    else this.#highest = number;
  }

  /** The first numbers below `end` that never came. */
  missing(end: number): readonly number[] {
    const missing: number[] = [];
    for (let number = 0; number < end && missing.length < 20; number += 1) {
      if (!this.#seen.has(number)) missing.push(number);
    }
    return missing;
  }

  counts(): StreamCounts & { readonly highest: number } {
    const { sent, refused, received, duplicated, reordered } = this;
    const sending = this.timer !== undefined;
    return { sent, refused, sending, received, duplicated, reordered, highest: this.#highest };
  }
}

const streams = new Map<number, Stream>();

function streamOf(number: number): Stream {
  const known = streams.get(number);
  if (known !== undefined) return known;
  const made = new Stream();
  streams.set(number, made);
  return made;
}

function take(message: Buffer): void {
  if (message.length < HEADER_BYTES || message.readUInt32BE(0) !== MAGIC) return;
  streamOf(message.readUInt32BE(4)).take(message.readUInt32BE(8));
}

type Kind = 'udp4' | 'udp6';

const kindOf = (address: string): Kind => (address.includes(':') ? 'udp6' : 'udp4');

function open(kind: Kind, address?: string): Socket {
  const socket = createSocket({ type: kind, ipv6Only: kind === 'udp6' });
  socket.on('message', take);
  // ICMP errors of earlier datagrams: what is lost shows in the counts.
  socket.on('error', () => undefined);
  socket.bind({ port: TRAFFIC_PORT, ...(address === undefined ? {} : { address }) }, () => {
    socket.setRecvBufferSize(4 << 20);
    socket.setSendBufferSize(4 << 20);
  });
  return socket;
}

/** By address; of a kind that no address was given for, one that has all of them. */
const sockets = new Map<string, Socket>(
  process.argv.slice(2).map((address) => [address, open(kindOf(address), address)]),
);
for (const kind of ['udp4', 'udp6'] as const) {
  if (![...sockets.keys()].some((address) => kindOf(address) === kind)) {
    sockets.set(kind, open(kind));
  }
}

function socketFor(from: string, to: string): Socket {
  const kind = kindOf(to);
  const bound = [...sockets].find(([address]) => kindOf(address) === kind)?.[1];
  const socket = sockets.get(from) ?? sockets.get(kind) ?? bound;
  if (socket === undefined) throw new Error(`no socket for ${to}`);
  return socket;
}

function start(command: ReadonlyMap<string, unknown>): void {
  const number = Number(command.get('stream'));
  const to = String(command.get('to'));
  const perSecond = Number(command.get('perSecond'));
  const count = command.get('count') === undefined ? Infinity : Number(command.get('count'));
  const socket = socketFor(String(command.get('from')), to);
  const message = Buffer.alloc(Math.max(HEADER_BYTES, Number(command.get('bytes') ?? 200)), 0x5a);
  message.writeUInt32BE(MAGIC, 0);
  message.writeUInt32BE(number, 4);
  const stream = streamOf(number);
  const began = performance.now();
  const tick = (): void => {
    const due = Math.min(count, Math.floor(((performance.now() - began) * perSecond) / 1000) + 1);
    for (let burst = 0; stream.sent < due && burst < BURST_MAX; burst += 1) {
      const copy = Buffer.from(message);
      copy.writeUInt32BE(stream.sent, 8);
      stream.sent += 1;
      socket.send(copy, TRAFFIC_PORT, to, (error) => {
        if (error !== null) stream.refused += 1;
      });
    }
    if (stream.sent >= count) {
      clearInterval(stream.timer);
      stream.timer = undefined;
    }
  };
  stream.timer = setInterval(tick, 2);
  tick();
}

function handle(command: ReadonlyMap<string, unknown>): unknown {
  switch (command.get('do')) {
    case 'start':
      start(command);
      return {};
    case 'stop': {
      const stream = streamOf(Number(command.get('stream')));
      clearInterval(stream.timer);
      stream.timer = undefined;
      return stream.counts();
    }
    case 'state':
      return Object.fromEntries([...streams].map(([number, each]) => [number, each.counts()]));
    case 'missing':
      return streamOf(Number(command.get('stream'))).missing(Number(command.get('end')));
    default:
      throw new Error(`no command ${String(command.get('do'))}`);
  }
}

createInterface({ input: process.stdin })
  .on('line', (line) => process.stdout.write(`${JSON.stringify(handle(parseLine(line)))}\n`))
  .on('close', () => process.exit(0));
process.stdout.write('{"ready":true}\n');
