/**
 * A program between two peers: takes their UDP datagrams of ports 500 and 4500 and passes them on
 * as it is told: late, twice, in another order, or not at all. nftables hands it the datagrams and
 * gives those that it sends their old addresses (relay.ts).
 *
 * Commands are lines of JSON on stdin, each answered by one on stdout:
 *
 *   {"do":"rules","seed":7,"rules":[...],"random":{"drop":0.1,"double":0.05,"delayMs":40}}
 *   {"do":"seen"}
 */

import { createSocket, type Socket } from 'node:dgram';
import { createInterface } from 'node:readline';
import { parseLine } from './node-program.ts';

export type RelaySide = 'a' | 'b';
export type RelayAction = 'drop' | 'double' | 'delay' | 'swap';

/** What was seen of a datagram, and what became of it. */
export interface Relayed {
  readonly from: RelaySide;
  readonly port: 500 | 4500;
  readonly bytes: number;
  /** Of an IKE message; undefined for ESP and keepalives. */
  readonly exchange?: number;
  readonly messageId?: number;
  readonly response?: boolean;
  /** An Encrypted Fragment. */
  readonly fragment?: boolean;
  readonly action: RelayAction | 'pass';
}

/** Every field that is there must match. */
export interface RelayRule {
  readonly from?: RelaySide;
  readonly port?: 500 | 4500;
  readonly exchange?: number;
  readonly messageId?: number;
  readonly response?: boolean;
  readonly fragment?: boolean;
  readonly esp?: boolean;
  readonly action: RelayAction;
  /** `delay`: for how long; `swap`: at most so long until the next of the same direction. */
  readonly delayMs?: number;
  /** How many; all when left out. */
  readonly count?: number;
}

const SEEN_MAX = 20_000;
const ENCRYPTED_FRAGMENT = 53;

type Parsed = Pick<Relayed, 'exchange' | 'messageId' | 'response' | 'fragment'>;

function parse(port: 500 | 4500, datagram: Buffer): Parsed {
  const at = port === 4500 ? 4 : 0;
  const marked = port === 500 || (datagram.length > 4 && datagram.readUInt32BE(0) === 0);
  if (!marked || datagram.length < at + 28) return {};
  return {
    exchange: datagram.readUInt8(at + 18),
    messageId: datagram.readUInt32BE(at + 20),
    response: (datagram.readUInt8(at + 19) & 0x20) !== 0,
    fragment: datagram.readUInt8(at + 16) === ENCRYPTED_FRAGMENT,
  };
}

/** Small and the same everywhere: mulberry32. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b_79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface LiveRule {
  readonly rule: RelayRule;
  left: number;
}

interface Random {
  readonly drop: number;
  readonly double: number;
  /** Each datagram waits for a time up to this: what was sent later may come earlier. */
  readonly delayMs: number;
}

const [addressA = '', addressB = ''] = process.argv.slice(2);
const addresses = { a: addressA, b: addressB };
/** Local ports: where datagrams from a side arrive, and from which those to it are sent. */
const PORTS = { a: { 500: 10_500, 4500: 14_500 }, b: { 500: 20_500, 4500: 24_500 } } as const;

let rules: LiveRule[] = [];
let random: Random = { drop: 0, double: 0, delayMs: 0 };
let next = randomOf(1);
const seen: Relayed[] = [];
const held: Partial<Record<RelaySide, () => void>> = {};
const sockets = new Map<string, Socket>();

function matches(rule: RelayRule, from: RelaySide, port: 500 | 4500, parsed: Parsed): boolean {
  const wanted = { from, port, ...parsed, esp: parsed.exchange === undefined };
  const fields = ['from', 'port', 'exchange', 'messageId', 'response', 'fragment', 'esp'] as const;
  return fields.every((field) => rule[field] === undefined || rule[field] === wanted[field]);
}

function chosenFor(from: RelaySide, port: 500 | 4500, parsed: Parsed): RelayRule | undefined {
  const live = rules.find(({ rule, left }) => left > 0 && matches(rule, from, port, parsed));
  if (live === undefined) return undefined;
  live.left -= 1;
  return live.rule;
}

function pass(from: RelaySide, port: 500 | 4500, datagram: Buffer): void {
  const to = from === 'a' ? 'b' : 'a';
  // Out of the socket of the side that it goes to: to that side it comes from the other's address.
  sockets.get(`${to} ${port}`)?.send(datagram, port, addresses[to]);
}

function take(from: RelaySide, port: 500 | 4500, datagram: Buffer): void {
  const parsed = parse(port, datagram);
  const rule = chosenFor(from, port, parsed);
  const send = (): void => pass(from, port, datagram);
  const byChance = rule === undefined ? chance() : undefined;
  const action = rule?.action ?? byChance?.action ?? 'pass';
  if (seen.length < SEEN_MAX) {
    seen.push({ from, port, bytes: datagram.length, ...parsed, action });
  }
  const delayMs = rule?.delayMs ?? byChance?.delayMs ?? 0;
  const waiting = held[from];
  switch (action) {
    case 'drop':
      return;
    case 'swap': {
      const release = (): void => {
        if (held[from] === release) delete held[from];
        send();
      };
      held[from] = release;
      setTimeout(() => {
        if (held[from] === release) release();
      }, delayMs);
      return;
    }
    case 'double':
      send();
      setTimeout(send, delayMs);
      break;
    case 'delay':
      setTimeout(send, delayMs);
      break;
    case 'pass':
      send();
  }
  waiting?.();
}

function chance(): { readonly action: RelayAction | 'pass'; readonly delayMs: number } {
  const [draw, delay] = [next(), next()];
  const delayMs = Math.floor(delay * random.delayMs);
  if (draw < random.drop) return { action: 'drop', delayMs };
  if (draw < random.drop + random.double) return { action: 'double', delayMs };
  return { action: delayMs > 0 ? 'delay' : 'pass', delayMs };
}

function isAction(word: unknown): word is RelayAction {
  return word === 'drop' || word === 'double' || word === 'delay' || word === 'swap';
}

function parseRule(value: unknown): RelayRule {
  const fields = parseLine(JSON.stringify(value));
  const action = fields.get('action');
  if (!isAction(action)) throw new Error(`no action ${String(action)}`);
  const number = (name: string): number | undefined =>
    fields.has(name) ? Number(fields.get(name)) : undefined;
  const flag = (name: string): boolean | undefined =>
    fields.has(name) ? fields.get(name) === true : undefined;
  const from = fields.get('from');
  const port = number('port');
  const rule = {
    ...(from === 'a' || from === 'b' ? { from } : {}),
    ...(port === 500 || port === 4500 ? { port } : {}),
    exchange: number('exchange'),
    messageId: number('messageId'),
    response: flag('response'),
    fragment: flag('fragment'),
    esp: flag('esp'),
    delayMs: number('delayMs'),
    count: number('count'),
  } as const;
  const given = Object.entries(rule).filter(([, field]) => field !== undefined);
  return { ...Object.fromEntries(given), action };
}

function handle(command: ReadonlyMap<string, unknown>): unknown {
  switch (command.get('do')) {
    case 'rules': {
      const list = command.get('rules');
      rules = (Array.isArray(list) ? list : []).map((each: unknown) => {
        const rule = parseRule(each);
        return { rule, left: rule.count ?? Infinity };
      });
      const chances = parseLine(JSON.stringify(command.get('random') ?? {}));
      const share = (name: keyof Random): number => Number(chances.get(name) ?? 0);
      random = { drop: share('drop'), double: share('double'), delayMs: share('delayMs') };
      next = randomOf(Number(command.get('seed') ?? 1));
      return {};
    }
    case 'seen':
      return { seen: seen.splice(0) };
    default:
      throw new Error(`no command ${String(command.get('do'))}`);
  }
}

for (const side of ['a', 'b'] as const) {
  for (const port of [500, 4500] as const) {
    const socket = createSocket('udp4');
    socket.on('message', (datagram) => take(side, port, datagram));
    socket.on('error', () => undefined);
    socket.bind(PORTS[side][port], () => socket.setRecvBufferSize(4 << 20));
    sockets.set(`${side} ${port}`, socket);
  }
}

createInterface({ input: process.stdin })
  .on('line', (line) => process.stdout.write(`${JSON.stringify(handle(parseLine(line)))}\n`))
  .on('close', () => process.exit(0));
process.stdout.write('{"ready":true}\n');
