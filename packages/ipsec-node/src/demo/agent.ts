/**
 * One process in each namespace of the demo: holds the namespace, and does in it what the demo asks.
 * Ends when the demo does, however that ends.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { networkInterfaces } from 'node:os';
import type { z } from 'zod';
import { InternalError, ResourceError } from '../errors.js';
import { Capture } from './agent-capture.js';
import { askMessage, type Verb, VERBS } from './agent-protocol.js';
import { DatagramSink, DataServer, download, sendDatagrams } from './agent-traffic.js';
import { addAddress, addRoute, createVeth, openPacketSocket, setLinkUp } from './native.js';

const handlers = new Map<string, (ask: unknown) => Promise<unknown>>();

function on<Ask extends z.ZodType, Answer extends z.ZodType>(
  verb: Verb<Ask, Answer>,
  work: (ask: z.output<Ask>) => z.input<Answer> | Promise<z.input<Answer>>,
): void {
  handlers.set(verb.name, async (ask) => work(verb.ask.parse(ask)));
}

function there<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new InternalError('IPSEC_ERR_INTERNAL', `there is no ${what}`);
  return value;
}

/** `10.0.0.0/8` in two parts. */
function prefix(text: string): [address: string, length: number] {
  const [address = '', length = ''] = text.split('/');
  return [address, Number(length)];
}

on(VERBS.setSysctl, ({ name, value }) => {
  const path = join('/proc/sys', name);
  if (existsSync(path)) writeFileSync(path, value);
  return null;
});
on(VERBS.makeLink, ({ name, peer, peerPid }) => {
  createVeth(name, peer, peerPid);
  return null;
});
on(VERBS.setLinkUp, ({ name, mtuBytes, addresses }) => {
  setLinkUp(name, mtuBytes);
  for (const each of addresses) addAddress(name, ...prefix(each));
  return null;
});
on(VERBS.addRoute, ({ destination, via }) => {
  addRoute(...prefix(destination), via);
  return null;
});
on(VERBS.linkAddress, ({ name }) => {
  const [first] = networkInterfaces()[name] ?? [];
  if (first === undefined) throw new ResourceError('IPSEC_ERR_HOST', `there is no link ${name}`);
  return first.mac;
});

let server: DataServer | undefined;
on(VERBS.serve, async ({ byteCount, marker, markerEveryBytes }) => {
  server = await DataServer.open(byteCount, marker, markerEveryBytes);
  return { port: server.port };
});
on(VERBS.digest, ({ byteCount }) => ({ sha256: there(server, 'server').digest(byteCount) }));
on(VERBS.download, ({ url, timeoutMs }) => download(url, timeoutMs));

let sink: DatagramSink | undefined;
on(VERBS.openSink, async () => {
  sink = await DatagramSink.open();
  return { port: sink.port };
});
on(VERBS.countSink, () => ({ datagramCount: there(sink, 'sink').datagramCount }));
on(VERBS.sendDatagrams, async ({ payloadLengths, ...path }) => {
  await sendDatagrams(path, payloadLengths);
  return null;
});

let capture: Capture | undefined;
on(VERBS.startCapture, (options) => {
  capture = new Capture(options);
  return null;
});
on(VERBS.readCapture, () => {
  const { keptCount, ikeAnswerCount } = there(capture, 'capture');
  return { keptCount, ikeAnswerCount };
});
on(VERBS.stopCapture, async () => {
  const tally = await there(capture, 'capture').stop();
  capture = undefined;
  return tally;
});
on(VERBS.inject, ({ link, frames }) => {
  const socket = openPacketSocket(link);
  for (const frame of frames) socket.send(frame);
  return null;
});

async function answer(message: unknown): Promise<void> {
  const { id, verb, ask } = askMessage.parse(message);
  try {
    const answered = await there(handlers.get(verb), `verb ${verb}`)(ask);
    process.send?.({ id, answer: answered });
  } catch (error) {
    process.send?.({ id, fault: error instanceof Error ? error.message : String(error) });
  }
}

process.on('message', (message) => void answer(message));
// The terminal's Ctrl-C reaches all of the group; the demo says when it is over.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => undefined);
}
process.on('disconnect', () => process.exit(0));
process.send?.({ id: 0, answer: null });
