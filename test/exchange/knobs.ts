/** The ways in which a peer misbehaves: each changes one message. */
import { PAYLOAD_NUMBERS } from '../../packages/ipsec-node/src/ike/payload/payload.js';
import type { Frame } from './eavesdropper.js';
import type { Change, Message } from './impair.js';

const N = PAYLOAD_NUMBERS;
const bytes = (...values: readonly number[]): Uint8Array => Uint8Array.from(values);

/** Changes the payloads of a type. */
const each =
  (number: number, change: (frame: Frame) => readonly Frame[]): Change =>
  (message) => ({
    ...message,
    frames: message.frames.flatMap((frame) => (frame.number === number ? change(frame) : [frame])),
  });
const body =
  (number: number, change: (body: Buffer) => Uint8Array): Change =>
  (message) =>
    each(number, (frame) => [{ ...frame, body: change(Buffer.from(frame.body)) }])(
      message,
      new Uint8Array(0),
    );
const header =
  (change: Partial<Message['header']>): Change =>
  (message) => ({ ...message, header: { ...message.header, ...change } });
const add =
  (...frames: readonly Frame[]): Change =>
  (message) => ({ ...message, frames: [...message.frames, ...frames] });
const first =
  (...frames: readonly Frame[]): Change =>
  (message) => ({ ...message, frames: [...frames, ...message.frames] });
const frame = (number: number, content: Uint8Array, flags = 0): Frame => ({
  number,
  flags,
  body: content,
});
const notify = (type: number, data: Uint8Array = bytes(), protocol = 0, spi = bytes()): Frame =>
  frame(N.notify, bytes(protocol, spi.length, type >> 8, type & 255, ...spi, ...data));
const raw =
  (change: (datagram: Buffer) => Uint8Array): Change =>
  (_message, datagram) =>
    change(Buffer.from(datagram));
const set =
  (at: number, ...values: readonly number[]) =>
  (content: Buffer): Buffer => {
    content.set(values, at < 0 ? content.length + at : at);
    return content;
  };
const withLength = (datagram: Buffer): Buffer => {
  datagram.writeUInt32BE(datagram.length, 24);
  return datagram;
};

/** What can be done to every message. */
export const TO_ANY: Readonly<Record<string, Change>> = {
  'is dropped': () => null,
  'is empty': (message) => ({ ...message, frames: [] }),
  'has the payloads in reverse order': (message) => ({
    ...message,
    frames: message.frames.toReversed(),
  }),
  'has each payload twice': (message) => ({
    ...message,
    frames: message.frames.flatMap((one) => [one, one]),
  }),
  'has an unknown payload': add(frame(200, bytes(1, 2, 3))),
  'begins with an unknown payload': first(frame(200, bytes(1, 2, 3))),
  'has an unknown payload without a body': add(frame(200, bytes())),
  'has an unknown critical payload': add(frame(200, bytes(1, 2, 3), 0x80)),
  'begins with an unknown critical payload': first(frame(200, bytes(1, 2, 3), 0x80)),
  'has 200 unknown payloads': add(...Array.from({ length: 200 }, () => frame(200, bytes()))),
  'has an unknown status notification': add(notify(40_000, bytes(1, 2, 3))),
  'has an unknown error notification': add(notify(8_000, bytes(1, 2, 3))),
  'has a notification of another protocol': add(notify(16_400, bytes(), 77, bytes(1, 2))),
  'has a notification shorter than its fields': add(frame(N.notify, bytes(0, 0))),
  'has a notification whose SPI is longer than it': add(frame(N.notify, bytes(3, 9, 64, 0, 1))),
  'has a vendor ID': add(frame(N['vendor-id'], bytes(7, 7, 7))),
  'has a vendor ID of 60,000 octets': add(frame(N['vendor-id'], new Uint8Array(60_000))),
  'has an IKEv1 payload': add(frame(5, bytes(1, 1, 0, 0))),
  'has the critical bit in every payload': (message) => ({
    ...message,
    frames: message.frames.map((one) => ({ ...one, flags: 0x80 })),
  }),
  'has every reserved bit set': (message) => ({
    ...message,
    frames: message.frames.map((one) => ({ ...one, flags: 0x7f })),
  }),
  'has a higher minor version': header({ minorVersion: 7 }),
  'says that a higher version is spoken': header({ isHigherVersion: true }),
  'has a higher major version': header({ majorVersion: 3 }),
  'has major version 1': header({ majorVersion: 1 }),
  'has the reserved flags set': raw((d) => set(19, (d[19] ?? 0) | 0xc7)(d)),
  'has the Response flag the other way': raw((d) => set(19, (d[19] ?? 0) ^ 0x20)(d)),
  'has the Initiator flag the other way': raw((d) => set(19, (d[19] ?? 0) ^ 0x08)(d)),
  'has no initiator SPI': raw(set(0, 0, 0, 0, 0, 0, 0, 0, 0)),
  'has another initiator SPI': raw(set(0, 9, 9, 9, 9, 9, 9, 9, 9)),
  'has another responder SPI': raw(set(8, 9, 9, 9, 9, 9, 9, 9, 9)),
  'has a message ID one higher': raw((d) => set(23, (d[23] ?? 0) + 1)(d)),
  'has message ID 0xFFFFFFFF': raw(set(20, 255, 255, 255, 255)),
  'has another exchange type': raw(set(18, 38)),
  'has exchange type 0': raw(set(18, 0)),
  'has an unknown exchange type': raw(set(18, 240)),
  'has a Length that is too long': raw((d) => set(27, (d[27] ?? 0) ^ 1)(d)),
  'is cut after its header': raw((d) => withLength(d.subarray(0, 28))),
  'is cut in the middle': raw((d) => withLength(d.subarray(0, d.length >> 1))),
  'is one octet short': raw((d) => withLength(d.subarray(0, d.length - 1))),
  'has an octet more': raw((d) => withLength(Buffer.concat([d, bytes(0)]))),
  'names another first payload': raw((d) => set(16, (d[16] ?? 0) ^ 1)(d)),
  'is all zero': raw((d) => d.fill(0)),
};

/** What can be done to a protected message. */
export const TO_PROTECTED: Readonly<Record<string, Change>> = {
  'has a wrong ICV': raw((d) => set(-1, (d.at(-1) ?? 0) ^ 1)(d)),
  'has another ICV of zeroes': raw((d) => set(-16, ...new Uint8Array(16))(d)),
  'has a changed ciphertext': raw((d) => set(-20, (d.at(-20) ?? 0) ^ 1)(d)),
  'has a changed IV': raw((d) => set(32, (d[32] ?? 0) ^ 1)(d)),
  'has a changed inner type': raw((d) => set(28, (d[28] ?? 0) ^ 1)(d)),
  'comes in clear': (message) => clear(message),
  'is a fragment 1 of 2 alone': raw((d) => {
    const whole = Buffer.concat([d.subarray(0, 32), bytes(0, 1, 0, 2), d.subarray(32)]);
    whole.writeUInt8(53, 16);
    whole.writeUInt16BE(whole.length - 28, 30);
    return withLength(whole);
  }),
};

function clear({ header: { spiInitiator, spiResponder, ...rest }, frames }: Message): Uint8Array {
  const content = frames.flatMap(({ flags, body: inside }, at) => {
    const length = inside.length + 4;
    return [frames[at + 1]?.number ?? 0, flags, length >> 8, length & 255, ...inside];
  });
  const head = Buffer.alloc(28);
  head.writeBigUInt64BE(spiInitiator, 0);
  head.writeBigUInt64BE(spiResponder, 8);
  const flags = (rest.isResponse ? 0x20 : 0) | (rest.isInitiator ? 0x08 : 0);
  head.set([frames[0]?.number ?? 0, 0x20, rest.exchange, flags], 16);
  head.writeUInt32BE(rest.messageId, 20);
  return withLength(Buffer.concat([head, Buffer.from(content)]));
}

/** What can be done to what is inside, by payload. */
export const TO_PAYLOADS: Readonly<Record<string, Change>> = {
  'lacks SA': each(N.sa, () => []),
  'has an empty SA': body(N.sa, () => bytes()),
  'has the SA protocol 0': body(N.sa, set(5, 0)),
  'has the SA protocol 77': body(N.sa, set(5, 77)),
  'has the SA protocol AH': body(N.sa, set(5, 2)),
  'has proposal number 0': body(N.sa, set(4, 0)),
  'has proposal number 9': body(N.sa, set(4, 9)),
  'has a proposal that says another follows': body(N.sa, set(0, 2)),
  'has one transform more than it says': body(N.sa, (b) => set(7, (b[7] ?? 0) - 1)(b)),
  'has one transform less than it says': body(N.sa, (b) => set(7, (b[7] ?? 0) + 1)(b)),
  'has a proposal length of 0': body(N.sa, set(2, 0, 0)),
  'has a proposal longer than its payload': body(N.sa, set(2, 255, 255)),
  'has an SPI size of 3': body(N.sa, set(6, 3)),
  'lacks nonce': each(N.nonce, () => []),
  'has an empty nonce': body(N.nonce, () => bytes()),
  'has a nonce of 15 octets': body(N.nonce, (b) => b.subarray(0, 15)),
  'has a nonce of 257 octets': body(N.nonce, () => new Uint8Array(257)),
  'lacks KE': each(N.ke, () => []),
  'has an empty KE': body(N.ke, () => bytes()),
  'has a KE without data': body(N.ke, (b) => b.subarray(0, 4)),
  'has a KE of group 0': body(N.ke, set(0, 0, 0)),
  'has a KE of group 65535': body(N.ke, set(0, 255, 255)),
  'has a KE of ML-KEM': body(N.ke, set(0, 0, 36)),
  'lacks IDi': each(N['id-initiator'], () => []),
  'lacks IDr': each(N['id-responder'], () => []),
  'has another IDi': body(N['id-initiator'], (b) => Buffer.concat([b, Buffer.from('x')])),
  'has another IDr': body(N['id-responder'], (b) => Buffer.concat([b, Buffer.from('x')])),
  'has an IDi without data': body(N['id-initiator'], (b) => b.subarray(0, 4)),
  'has an IDi of a type that is not known': body(N['id-initiator'], set(0, 99)),
  'has an IDi of 60,000 octets': body(N['id-initiator'], () => new Uint8Array(60_000).fill(2)),
  'lacks AUTH': each(N.authentication, () => []),
  'has an AUTH without data': body(N.authentication, (b) => b.subarray(0, 4)),
  'has an AUTH one octet short': body(N.authentication, (b) => b.subarray(0, -1)),
  'has an AUTH of zeroes': body(N.authentication, (b) => b.fill(0, 4)),
  'has an AUTH with one bit changed': body(N.authentication, (b) => set(9, (b[9] ?? 0) ^ 1)(b)),
  'has AUTH method 0': body(N.authentication, set(0, 0)),
  'has AUTH method RSA': body(N.authentication, set(0, 1)),
  'has AUTH method NULL': body(N.authentication, set(0, 13)),
  'has AUTH method 14': body(N.authentication, set(0, 14)),
  'lacks TSi': each(N['ts-initiator'], () => []),
  'lacks TSr': each(N['ts-responder'], () => []),
  'has a TSi without selectors': body(N['ts-initiator'], () => bytes(0, 0, 0, 0)),
  'has a TSi with one selector more than it says': body(N['ts-initiator'], set(0, 0)),
  'has a TSi with one selector less than it says': body(N['ts-initiator'], set(0, 2)),
  'has a TSi of a type that is not known': body(N['ts-initiator'], set(4, 99)),
  'has a TSi whose end is before its start': body(N['ts-initiator'], set(12, 255)),
  'has a TSr of other addresses': body(N['ts-responder'], set(12, 172, 16, 0, 0, 172, 16, 0, 9)),
  'has a TSr that is wider': body(N['ts-responder'], set(12, 0, 0, 0, 0, 255, 255, 255, 255)),
  'has a TSr of one address': body(N['ts-responder'], set(16, 10, 2, 0, 0)),
};

/** Payloads of which a message has one. */
export const TO_SINGLES: Readonly<Record<string, Change>> = Object.fromEntries(
  (
    [
      ['SA', N.sa],
      ['KE', N.ke],
      ['nonce', N.nonce],
      ['IDi', N['id-initiator']],
      ['IDr', N['id-responder']],
      ['AUTH', N.authentication],
      ['TSi', N['ts-initiator']],
      ['TSr', N['ts-responder']],
    ] as const
  ).map(([name, number]) => [`has two ${name}`, each(number, (one) => [one, one])]),
);

/** What can be done to the exchange type of a message that is authentic. */
export const TO_EXCHANGE: Readonly<Record<string, Change>> = {
  'is of exchange type 0': header({ exchange: 0 }),
  'is of exchange type 38': header({ exchange: 38 }),
  'is of exchange type 240': header({ exchange: 240 }),
};

/** What can be done to the Delete of a child. */
export const TO_DELETE: Readonly<Record<string, Change>> = {
  'lacks the Delete': each(N.delete, () => []),
  'deletes protocol 0': body(N.delete, set(0, 0)),
  'deletes protocol AH': body(N.delete, set(0, 2)),
  'deletes protocol 77': body(N.delete, set(0, 77)),
  'deletes an SPI of 3 octets': body(N.delete, set(1, 3)),
  'deletes SPI 0': body(N.delete, (b) => b.fill(0, 4)),
  'deletes another SPI': body(N.delete, (b) => set(4, (b[4] ?? 0) ^ 1)(b)),
  'deletes more SPIs than it names': body(N.delete, set(2, 0, 9)),
  'deletes fewer SPIs than it names': body(N.delete, set(2, 0, 0)),
  'deletes the same SPI a hundred times': body(N.delete, (b) =>
    Buffer.concat([bytes(3, 4, 0, 100), ...Array.from({ length: 100 }, () => b.subarray(4))]),
  ),
};

/** What can be done to N(REKEY_SA). */
export const TO_REKEY: Readonly<Record<string, Change>> = {
  'lacks N(REKEY_SA)': each(N.notify, () => []),
  'rekeys protocol 0': body(N.notify, set(0, 0)),
  'rekeys protocol 1': body(N.notify, set(0, 1)),
  'rekeys protocol AH': body(N.notify, set(0, 2)),
  'rekeys another SPI': body(N.notify, (b) => set(4, (b[4] ?? 0) ^ 1)(b)),
  'rekeys no SPI': body(N.notify, () => bytes(3, 0, 0x40, 0x09)),
};
