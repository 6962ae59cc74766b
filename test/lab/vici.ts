/**
 * A client of strongSwan's control protocol, written from its description and for the tests alone:
 * it asks charon, and it asks our gateway as a stranger would.
 */

import { connect, type Socket } from 'node:net';

/** A message: texts, lists and sections. */
export interface ViciMessage {
  readonly [key: string]: ViciField;
}
export type ViciField = string | readonly string[] | ViciMessage;

export class ViciRefused extends Error {}

const PACKET = { request: 0, response: 1, unknown: 2, register: 3, confirm: 5, event: 7 } as const;
const ELEMENT = { open: 1, close: 2, value: 3, listOpen: 4, item: 5, listClose: 6 } as const;

function named(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([Buffer.of(bytes.length), bytes]);
}

function valued(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([Buffer.of(bytes.length >> 8, bytes.length & 0xff), bytes]);
}

function encode(message: ViciMessage): Buffer {
  const parts = Object.entries(message).flatMap(([key, field]): Buffer[] => {
    if (typeof field === 'string') return [Buffer.of(ELEMENT.value), named(key), valued(field)];
    if (isList(field)) {
      const items = field.flatMap((item) => [Buffer.of(ELEMENT.item), valued(item)]);
      return [Buffer.of(ELEMENT.listOpen), named(key), ...items, Buffer.of(ELEMENT.listClose)];
    }
    return [Buffer.of(ELEMENT.open), named(key), encode(field), Buffer.of(ELEMENT.close)];
  });
  return Buffer.concat(parts);
}

function isList(field: ViciField): field is readonly string[] {
  return Array.isArray(field);
}

class Reader {
  #at = 0;
  constructor(private readonly bytes: Buffer) {}

  get done(): boolean {
    return this.#at >= this.bytes.length;
  }

  number(octets: 1 | 2): number {
    const value = this.bytes.readUIntBE(this.#at, octets);
    this.#at += octets;
    return value;
  }

  text(lengthOctets: 1 | 2): string {
    const length = this.number(lengthOctets);
    this.#at += length;
    return this.bytes.toString('utf8', this.#at - length, this.#at);
  }
}

function decode(reader: Reader): ViciMessage {
  const fields: Record<string, ViciField> = {};
  while (!reader.done) {
    const element = reader.number(1);
    if (element === ELEMENT.close) break;
    const key = reader.text(1);
    if (element === ELEMENT.value) fields[key] = reader.text(2);
    else if (element === ELEMENT.open) fields[key] = decode(reader);
    else if (element === ELEMENT.listOpen) {
      const items: string[] = [];
      while (reader.number(1) === ELEMENT.item) items.push(reader.text(2));
      fields[key] = items;
    } else throw new Error(`vici element ${element}`);
  }
  return fields;
}

interface Waiting {
  readonly resolve: (answer: { readonly type: number; readonly body: Reader }) => void;
  readonly reject: (error: Error) => void;
}

export interface ViciEvent {
  readonly name: string;
  readonly message: ViciMessage;
}

/** One connection; requests are answered one after the other. */
export class Vici {
  #received = Buffer.alloc(0);
  readonly #waiting: Waiting[] = [];
  readonly #events: ViciEvent[] = [];
  #ended: Error | undefined;

  private constructor(private readonly socket: Socket) {
    socket.on('data', (chunk) => this.#take(chunk));
    socket.on('error', (error) => this.#end(error));
    socket.on('close', () => this.#end(new Error('the vici socket was closed')));
  }

  static async connect(path: string): Promise<Vici> {
    const socket = connect(path);
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return new Vici(socket);
  }

  /** One request on a connection of its own. Throws ViciRefused with the peer's reason. */
  static async once(
    path: string,
    command: string,
    message: ViciMessage = {},
    event?: string,
  ): Promise<{ readonly answer: ViciMessage; readonly events: readonly ViciMessage[] }> {
    const vici = await Vici.connect(path);
    try {
      if (event !== undefined) await vici.register(event);
      const answer = await vici.request(command, message);
      return { answer, events: vici.events().map((each) => each.message) };
    } finally {
      vici.close();
    }
  }

  async register(event: string): Promise<void> {
    const { type } = await this.#send(PACKET.register, named(event));
    if (type !== PACKET.confirm) throw new ViciRefused(`no event ${event}`);
  }

  async request(command: string, message: ViciMessage = {}): Promise<ViciMessage> {
    const { type, body } = await this.#send(
      PACKET.request,
      Buffer.concat([named(command), encode(message)]),
    );
    if (type !== PACKET.response) throw new ViciRefused(`no command ${command}`);
    const answer = decode(body);
    if (answer['success'] === 'no') {
      const reason = answer['errmsg'];
      throw new ViciRefused(`${command}: ${typeof reason === 'string' ? reason : 'no reason'}`);
    }
    return answer;
  }

  /** What came of the registered events since the last call, in order. */
  events(): readonly ViciEvent[] {
    return this.#events.splice(0);
  }

  close(): void {
    this.socket.destroy();
  }

  #send(type: number, body: Buffer): Promise<{ readonly type: number; readonly body: Reader }> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const head = Buffer.alloc(5);
    head.writeUInt32BE(body.length + 1, 0);
    head.writeUInt8(type, 4);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.socket.write(Buffer.concat([head, body]));
    });
  }

  #take(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    while (this.#received.length >= 4) {
      const length = this.#received.readUInt32BE(0);
      if (this.#received.length < 4 + length) return;
      const body = new Reader(this.#received.subarray(4, 4 + length));
      this.#received = this.#received.subarray(4 + length);
      const type = body.number(1);
      if (type === PACKET.event) {
        this.#events.push({ name: body.text(1), message: decode(body) });
      } else this.#waiting.shift()?.resolve({ type, body });
    }
  }

  #end(error: Error): void {
    this.#ended ??= error;
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}

export function textAt(message: ViciMessage, key: string): string {
  const field = message[key];
  return typeof field === 'string' ? field : '';
}

export function listAt(message: ViciMessage, key: string): readonly string[] {
  const field = message[key];
  return field !== undefined && isList(field) ? field : [];
}

export function sectionAt(message: ViciMessage, key: string): ViciMessage {
  const field = message[key];
  return field === undefined || typeof field === 'string' || isList(field) ? {} : field;
}
