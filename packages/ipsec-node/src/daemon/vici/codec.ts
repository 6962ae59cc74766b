/**
 * The vici wire format: a stream of byte sequences, each a 32-bit length and a packet; a packet is
 * a type, for some types a name, and a message; a message is a tree of sections, lists and values.
 *
 * What arrives comes from another process, so decoding answers with a reason and never throws, and
 * every size, depth and count has a limit here.
 */

/** Largest byte sequence after its length field: the limit of the protocol. */
export const PACKET_BYTES_MAX = 512 * 1024;
/** Deepest nesting of sections that is read. strongSwan's own messages use five. */
export const SECTION_DEPTH_MAX = 16;
/** Most elements (section, list and value markers) that one message may hold. */
export const ELEMENT_COUNT_MAX = 65_536;
/** Longest name of a packet, section, key or list: its length field has eight bits. */
export const NAME_BYTES_MAX = 255;
/** Longest value: its length field has sixteen bits. */
export const VALUE_BYTES_MAX = 65_535;

/**
 * Keys whose values are bytes and not text: certificates, and secrets, which never become a string
 * (a string cannot be wiped).
 */
export const BYTES_KEYS: ReadonlySet<string> = new Set([
  'data',
  'cert',
  'certs',
  'cacert',
  'cacerts',
  'pubkeys',
  'sk-ei',
  'sk-er',
  'sk-ai',
  'sk-ar',
  'esp-key',
]);

/** A value of a section: text, bytes, a list of either, or a section. Order of keys is kept. */
export type ViciValue = string | Uint8Array | readonly (string | Uint8Array)[] | ViciSection;
/** A section, and a whole message: keys are unique and ordered. */
export type ViciSection = ReadonlyMap<string, ViciValue>;

/** One packet, in or out. */
export type ViciPacket =
  | { readonly kind: 'request'; readonly name: string; readonly message: ViciSection }
  | { readonly kind: 'response'; readonly message: ViciSection }
  | { readonly kind: 'unknownCommand' }
  | { readonly kind: 'register'; readonly name: string }
  | { readonly kind: 'unregister'; readonly name: string }
  | { readonly kind: 'confirm' }
  | { readonly kind: 'unknownEvent' }
  | { readonly kind: 'event'; readonly name: string; readonly message: ViciSection };

/** What decoding gives: the value, or why these bytes are not one. */
export type Decoded<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly reason: string };

/** Numbers of the packet types on the wire. */
const PACKET_TYPE = {
  request: 0,
  response: 1,
  unknownCommand: 2,
  register: 3,
  unregister: 4,
  confirm: 5,
  unknownEvent: 6,
  event: 7,
} as const;

/** Numbers of the message elements on the wire. */
const ELEMENT = {
  sectionStart: 1,
  sectionEnd: 2,
  keyValue: 3,
  listStart: 4,
  listItem: 5,
  listEnd: 6,
} as const;

/** A section as people write one: fields that are `undefined` are left out. */
export type SectionFields = Iterable<readonly [string, SectionField]>;
/** What a field may be when it is written; numbers and flags become text. */
export type SectionField =
  | string
  | number
  | bigint
  | boolean
  | Uint8Array
  | readonly (string | Uint8Array)[]
  | ViciSection
  | undefined;

/** Builds a section from pairs. Booleans become `yes` and `no`, as strongSwan writes them. */
export function section(fields: SectionFields = []): ViciSection {
  const built = new Map<string, ViciValue>();
  for (const [key, field] of fields) {
    if (field === undefined) continue;
    if (typeof field === 'boolean') built.set(key, field ? 'yes' : 'no');
    else if (typeof field === 'number' || typeof field === 'bigint') built.set(key, String(field));
    else built.set(key, field);
  }
  return built;
}

/** Tells a section from text and lists. */
export function isSection(value: ViciValue | undefined): value is ViciSection {
  return value instanceof Map;
}

/** The text under `key`, or `undefined` where there is none or it is not text. */
export function textOf(message: ViciSection, key: string): string | undefined {
  const value = message.get(key);
  return typeof value === 'string' ? value : undefined;
}

/** The list of texts under `key`, empty where there is none. */
export function listOf(message: ViciSection, key: string): readonly string[] {
  const value = message.get(key);
  if (!Array.isArray(value)) return [];
  return value.filter((item: unknown): item is string => typeof item === 'string');
}

/** The bytes under a key of {@link BYTES_KEYS}, or `undefined`. */
export function bytesOf(message: ViciSection, key: string): Uint8Array | undefined {
  const value = message.get(key);
  return value instanceof Uint8Array ? value : undefined;
}

/** The list of bytes under a key of {@link BYTES_KEYS}, empty where there is none. */
export function bytesListOf(message: ViciSection, key: string): readonly Uint8Array[] {
  const value = message.get(key);
  if (value instanceof Uint8Array) return [value];
  if (!Array.isArray(value)) return [];
  return value.filter((item: unknown): item is Uint8Array => item instanceof Uint8Array);
}

/** Overwrites every byte value of a message that was received: secrets do not outlive their use. */
export function wipeBytes(message: ViciSection): void {
  for (const value of message.values()) {
    if (isSection(value)) wipeBytes(value);
    else if (value instanceof Uint8Array) value.fill(0);
    else if (typeof value !== 'string') {
      for (const item of value) if (typeof item !== 'string') item.fill(0);
    }
  }
}

/** The section under `key`, empty where there is none. */
export function sectionOf(message: ViciSection, key: string): ViciSection {
  const value = message.get(key);
  return isSection(value) ? value : section();
}

/** Grows as it is written; throws `RangeError` at the limit of the protocol. */
class Writer {
  private bytes = Buffer.alloc(512);
  private length = 0;

  private room(count: number): void {
    const wanted = this.length + count;
    if (wanted > PACKET_BYTES_MAX) {
      throw new RangeError(`a vici packet is at most ${PACKET_BYTES_MAX} bytes`);
    }
    if (wanted <= this.bytes.length) return;
    const larger = Buffer.alloc(Math.max(wanted, this.bytes.length * 2));
    this.bytes.copy(larger, 0, 0, this.length);
    this.bytes = larger;
  }

  byte(value: number): void {
    this.room(1);
    this.length = this.bytes.writeUInt8(value, this.length);
  }

  name(text: string): void {
    const bytes = Buffer.from(text, 'utf8');
    if (bytes.length > NAME_BYTES_MAX) {
      throw new RangeError(`a vici name is at most ${NAME_BYTES_MAX} bytes`);
    }
    this.room(1 + bytes.length);
    this.length = this.bytes.writeUInt8(bytes.length, this.length);
    this.length += bytes.copy(this.bytes, this.length);
  }

  value(value: string | Uint8Array): void {
    const bytes = typeof value === 'string' ? Buffer.from(value, 'utf8') : Buffer.from(value);
    if (bytes.length > VALUE_BYTES_MAX) {
      throw new RangeError(`a vici value is at most ${VALUE_BYTES_MAX} bytes`);
    }
    this.room(2 + bytes.length);
    this.length = this.bytes.writeUInt16BE(bytes.length, this.length);
    this.length += bytes.copy(this.bytes, this.length);
  }

  message(message: ViciSection): void {
    for (const [key, value] of message) {
      if (typeof value === 'string' || value instanceof Uint8Array) {
        this.byte(ELEMENT.keyValue);
        this.name(key);
        this.value(value);
      } else if (isSection(value)) {
        this.byte(ELEMENT.sectionStart);
        this.name(key);
        this.message(value);
        this.byte(ELEMENT.sectionEnd);
      } else {
        this.byte(ELEMENT.listStart);
        this.name(key);
        for (const item of value) {
          this.byte(ELEMENT.listItem);
          this.value(item);
        }
        this.byte(ELEMENT.listEnd);
      }
    }
  }

  /** The packet with its length in front, ready for the socket. */
  framed(): Buffer {
    const frame = Buffer.alloc(4 + this.length);
    frame.writeUInt32BE(this.length, 0);
    this.bytes.copy(frame, 4, 0, this.length);
    return frame;
  }
}

/** Encodes a packet with its length in front. Throws `RangeError` past a limit of the protocol. */
export function encodePacket(packet: ViciPacket): Buffer {
  const writer = new Writer();
  writer.byte(PACKET_TYPE[packet.kind]);
  switch (packet.kind) {
    case 'request':
    case 'event':
      writer.name(packet.name);
      writer.message(packet.message);
      break;
    case 'register':
    case 'unregister':
      writer.name(packet.name);
      break;
    case 'response':
      writer.message(packet.message);
      break;
    case 'unknownCommand':
    case 'confirm':
    case 'unknownEvent':
      break;
  }
  return writer.framed();
}

/** Reads forward; every read says `undefined` past the end. */
class Reader {
  private offset = 0;
  constructor(private readonly bytes: Buffer) {}

  get atEnd(): boolean {
    return this.offset >= this.bytes.length;
  }

  byte(): number | undefined {
    const value = this.bytes[this.offset];
    if (value !== undefined) this.offset += 1;
    return value;
  }

  private text(length: number): string | undefined {
    if (this.offset + length > this.bytes.length) return undefined;
    const text = this.bytes.toString('utf8', this.offset, this.offset + length);
    this.offset += length;
    return text;
  }

  name(): string | undefined {
    const length = this.byte();
    return length === undefined ? undefined : this.text(length);
  }

  /** The length of a value; its bytes follow. */
  private valueLength(): number | undefined {
    const high = this.byte();
    const low = this.byte();
    return high === undefined || low === undefined ? undefined : high * 256 + low;
  }

  value(): string | undefined {
    const length = this.valueLength();
    return length === undefined ? undefined : this.text(length);
  }

  /** A copy: what it is read from is wiped. */
  bytesValue(): Uint8Array | undefined {
    const length = this.valueLength();
    if (length === undefined || this.offset + length > this.bytes.length) return undefined;
    const bytes = Uint8Array.from(this.bytes.subarray(this.offset, this.offset + length));
    this.offset += length;
    return bytes;
  }
}

function refused(reason: string): { readonly ok: false; readonly reason: string } {
  return { ok: false, reason };
}

function decodeMessage(reader: Reader): Decoded<ViciSection> {
  const root = new Map<string, ViciValue>();
  const open: Map<string, ViciValue>[] = [root];
  let list: (string | Uint8Array)[] | undefined;
  let listHasBytes = false;
  for (let elements = 0; !reader.atEnd; elements += 1) {
    if (elements >= ELEMENT_COUNT_MAX) return refused(`more than ${ELEMENT_COUNT_MAX} elements`);
    const current = open[open.length - 1];
    if (current === undefined) return refused('a section ends that was not opened');
    const type = reader.byte();
    if (list !== undefined && type !== ELEMENT.listItem && type !== ELEMENT.listEnd) {
      return refused('something other than an item inside a list');
    }
    switch (type) {
      case ELEMENT.sectionStart:
      case ELEMENT.keyValue:
      case ELEMENT.listStart: {
        const name = reader.name();
        if (name === undefined) return refused('a name is cut short');
        if (current.has(name)) return refused('a key appears twice in a section');
        if (type === ELEMENT.keyValue) {
          const value = BYTES_KEYS.has(name) ? reader.bytesValue() : reader.value();
          if (value === undefined) return refused('a value is cut short');
          current.set(name, value);
        } else if (type === ELEMENT.listStart) {
          list = [];
          listHasBytes = BYTES_KEYS.has(name);
          current.set(name, list);
        } else {
          if (open.length > SECTION_DEPTH_MAX) {
            return refused(`sections nested deeper than ${SECTION_DEPTH_MAX}`);
          }
          const child = new Map<string, ViciValue>();
          current.set(name, child);
          open.push(child);
        }
        break;
      }
      case ELEMENT.sectionEnd:
        if (open.length === 1) return refused('a section ends that was not opened');
        open.pop();
        break;
      case ELEMENT.listItem: {
        const value = listHasBytes ? reader.bytesValue() : reader.value();
        if (value === undefined) return refused('a list item is cut short');
        if (list === undefined) return refused('a list item outside a list');
        list.push(value);
        break;
      }
      case ELEMENT.listEnd:
        if (list === undefined) return refused('a list ends that was not opened');
        list = undefined;
        break;
      default:
        return refused(`element type ${type} does not exist`);
    }
  }
  if (list !== undefined) return refused('a list is not closed');
  if (open.length !== 1) return refused('a section is not closed');
  return { ok: true, value: root };
}

function named(
  reader: Reader,
  build: (name: string, message: ViciSection) => ViciPacket,
): Decoded<ViciPacket> {
  const name = reader.name();
  if (name === undefined) return refused('the name of the packet is cut short');
  const message = decodeMessage(reader);
  return message.ok ? { ok: true, value: build(name, message.value) } : message;
}

/** Decodes one packet, given without its length field. Never throws. */
export function decodePacket(bytes: Buffer): Decoded<ViciPacket> {
  const reader = new Reader(bytes);
  const type = reader.byte();
  switch (type) {
    case PACKET_TYPE.request:
      return named(reader, (name, message) => ({ kind: 'request', name, message }));
    case PACKET_TYPE.event:
      return named(reader, (name, message) => ({ kind: 'event', name, message }));
    case PACKET_TYPE.register:
      return named(reader, (name) => ({ kind: 'register', name }));
    case PACKET_TYPE.unregister:
      return named(reader, (name) => ({ kind: 'unregister', name }));
    case PACKET_TYPE.response: {
      const message = decodeMessage(reader);
      return message.ok
        ? { ok: true, value: { kind: 'response', message: message.value } }
        : message;
    }
    case PACKET_TYPE.unknownCommand:
      return { ok: true, value: { kind: 'unknownCommand' } };
    case PACKET_TYPE.confirm:
      return { ok: true, value: { kind: 'confirm' } };
    case PACKET_TYPE.unknownEvent:
      return { ok: true, value: { kind: 'unknownEvent' } };
    case undefined:
      return refused('an empty packet');
    default:
      return refused(`packet type ${type} does not exist`);
  }
}

/**
 * Cuts a byte stream into packets. At most one packet's bytes and the chunk in hand are kept:
 * a length past the limit is refused before its bytes are waited for.
 */
export class PacketSplitter {
  private chunks: Buffer[] = [];
  private held = 0;

  /** Takes what arrived and returns the whole packets in it, or why the stream is not vici. */
  push(chunk: Buffer): Decoded<readonly Buffer[]> {
    this.chunks.push(chunk);
    this.held += chunk.length;
    const packets: Buffer[] = [];
    for (;;) {
      const length = this.peekLength();
      if (length === undefined) return { ok: true, value: packets };
      if (length > PACKET_BYTES_MAX) {
        return refused(`a packet of ${length} bytes; at most ${PACKET_BYTES_MAX} are read`);
      }
      if (this.held < 4 + length) return { ok: true, value: packets };
      packets.push(this.take(4 + length).subarray(4));
    }
  }

  private peekLength(): number | undefined {
    if (this.held < 4) return undefined;
    const first = this.chunks[0];
    if (first !== undefined && first.length >= 4) return first.readUInt32BE(0);
    const all = this.join();
    this.chunks = [all];
    return all.readUInt32BE(0);
  }

  /** What it is joined from is wiped: a secret has one copy. */
  private join(): Buffer {
    const [first] = this.chunks;
    if (first !== undefined && this.chunks.length === 1) return first;
    const all = Buffer.concat(this.chunks);
    for (const chunk of this.chunks) chunk.fill(0);
    return all;
  }

  private take(count: number): Buffer {
    const all = this.join();
    const rest = all.subarray(count);
    this.chunks = rest.length === 0 ? [] : [rest];
    this.held = rest.length;
    return all.subarray(0, count);
  }
}
