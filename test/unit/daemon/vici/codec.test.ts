import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodePacket,
  ELEMENT_COUNT_MAX,
  encodePacket,
  isSection,
  listOf,
  NAME_BYTES_MAX,
  PACKET_BYTES_MAX,
  PacketSplitter,
  SECTION_DEPTH_MAX,
  section,
  sectionOf,
  textOf,
  VALUE_BYTES_MAX,
  type ViciPacket,
  type ViciSection,
  type ViciValue,
} from '../../../../packages/ipsec-node/src/daemon/vici/codec.js';

/** The encoding example of the protocol's own documentation, byte for byte. */
const DOCUMENTED = Buffer.concat([
  Buffer.from([3, 4]),
  Buffer.from('key1'),
  Buffer.from([0, 6]),
  Buffer.from('value1'),
  Buffer.from([1, 8]),
  Buffer.from('section1'),
  Buffer.from([1, 11]),
  Buffer.from('sub-section'),
  Buffer.from([3, 4]),
  Buffer.from('key2'),
  Buffer.from([0, 6]),
  Buffer.from('value2'),
  Buffer.from([2, 4, 5]),
  Buffer.from('list1'),
  Buffer.from([5, 0, 5]),
  Buffer.from('item1'),
  Buffer.from([5, 0, 5]),
  Buffer.from('item2'),
  Buffer.from([6, 2]),
]);

const DOCUMENTED_MESSAGE = section([
  ['key1', 'value1'],
  [
    'section1',
    section([
      ['sub-section', section([['key2', 'value2']])],
      ['list1', ['item1', 'item2']],
    ]),
  ],
]);

/** A response packet around raw message bytes. */
function response(...bytes: readonly (number | Buffer)[]): Buffer {
  return Buffer.concat([
    Buffer.from([1]),
    ...bytes.map((part) => (typeof part === 'number' ? Buffer.from([part]) : part)),
  ]);
}

function reasonOf(bytes: Buffer): string {
  const decoded = decodePacket(bytes);
  return decoded.ok ? 'accepted' : decoded.reason;
}

const name = fc.string({ maxLength: 40 });
const message: fc.Arbitrary<ViciSection> = fc.letrec<{ section: ViciSection; value: ViciValue }>(
  (tie) => ({
    section: fc
      .uniqueArray(fc.tuple(name, tie('value')), { selector: ([key]) => key, maxLength: 6 })
      .map((entries) => new Map(entries)),
    value: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      fc.string({ maxLength: 80 }),
      fc.array(fc.string({ maxLength: 20 }), { maxLength: 5 }),
      tie('section'),
    ),
  }),
).section;

const packet: fc.Arbitrary<ViciPacket> = fc.oneof(
  fc.record({ kind: fc.constant('request' as const), name, message }),
  fc.record({ kind: fc.constant('event' as const), name, message }),
  fc.record({ kind: fc.constant('response' as const), message }),
  fc.record({ kind: fc.constant('register' as const), name }),
  fc.record({ kind: fc.constant('unregister' as const), name }),
  fc.record({ kind: fc.constantFrom('confirm' as const) }),
  fc.record({ kind: fc.constantFrom('unknownCommand' as const) }),
  fc.record({ kind: fc.constantFrom('unknownEvent' as const) }),
);

describe('vici codec', () => {
  it('encodes the documented example byte for byte', () => {
    const frame = encodePacket({ kind: 'response', message: DOCUMENTED_MESSAGE });
    expect(frame.readUInt32BE(0)).toBe(DOCUMENTED.length + 1);
    expect(frame.subarray(4)).toEqual(response(DOCUMENTED));
  });

  it('decodes the documented example', () => {
    expect(decodePacket(response(DOCUMENTED))).toEqual({
      ok: true,
      value: { kind: 'response', message: DOCUMENTED_MESSAGE },
    });
  });

  it('numbers the packet types as the protocol does', () => {
    const typeOf = (sent: ViciPacket): number | undefined => encodePacket(sent)[4];
    const empty = section();
    expect(typeOf({ kind: 'request', name: 'version', message: empty })).toBe(0);
    expect(typeOf({ kind: 'response', message: empty })).toBe(1);
    expect(typeOf({ kind: 'unknownCommand' })).toBe(2);
    expect(typeOf({ kind: 'register', name: 'log' })).toBe(3);
    expect(typeOf({ kind: 'unregister', name: 'log' })).toBe(4);
    expect(typeOf({ kind: 'confirm' })).toBe(5);
    expect(typeOf({ kind: 'unknownEvent' })).toBe(6);
    expect(typeOf({ kind: 'event', name: 'log', message: empty })).toBe(7);
  });

  it('round-trips any packet', () => {
    fc.assert(
      fc.property(packet, (sent) => {
        expect(decodePacket(encodePacket(sent).subarray(4))).toEqual({ ok: true, value: sent });
      }),
    );
  });

  it('answers any bytes without throwing', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        decodePacket(Buffer.from(bytes));
      }),
      { numRuns: 2000 },
    );
  });

  it.each([
    ['an empty packet', Buffer.alloc(0), 'an empty packet'],
    ['a packet type', Buffer.from([8]), 'packet type 8'],
    ['a name past the end', Buffer.from([0, 9, 118]), 'cut short'],
    ['an element type', response(9), 'element type 9'],
    ['a value past the end', response(3, 1, Buffer.from('k'), 0, 5, Buffer.from('v')), 'cut short'],
    ['a key twice', response(3, 1, Buffer.from('k'), 0, 0, 3, 1, Buffer.from('k'), 0, 0), 'twice'],
    ['a section end too many', response(2), 'not opened'],
    ['an open section', response(1, 1, Buffer.from('s')), 'not closed'],
    ['an open list', response(4, 1, Buffer.from('l')), 'not closed'],
    ['an item outside a list', response(5, 0, 0), 'outside a list'],
    ['a value inside a list', response(4, 1, Buffer.from('l'), 3, 1), 'inside a list'],
    ['a list end too many', response(6), 'not opened'],
  ])('refuses %s', (_what, bytes, reason) => {
    expect(reasonOf(bytes)).toContain(reason);
  });

  it('accepts the deepest nesting and refuses one more', () => {
    const open = Buffer.from([1, 1, 115]);
    const nested = (depth: number): Buffer =>
      response(Buffer.concat(Array(depth).fill(open)), Buffer.alloc(depth, 2));
    expect(reasonOf(nested(SECTION_DEPTH_MAX))).toBe('accepted');
    expect(reasonOf(nested(SECTION_DEPTH_MAX + 1))).toContain('deeper');
  });

  it('accepts the most elements and refuses one more', () => {
    const items = (count: number): Buffer =>
      response(Buffer.from([4, 1, 108]), Buffer.alloc(count * 3, Buffer.from([5, 0, 0])), 6);
    expect(reasonOf(items(ELEMENT_COUNT_MAX - 2))).toBe('accepted');
    expect(reasonOf(items(ELEMENT_COUNT_MAX - 1))).toContain('more than');
  });

  it('refuses to write what the length fields cannot say', () => {
    const long = 'x'.repeat(NAME_BYTES_MAX + 1);
    expect(() => encodePacket({ kind: 'register', name: long })).toThrow(RangeError);
    const wide = section([['k', 'x'.repeat(VALUE_BYTES_MAX + 1)]]);
    expect(() => encodePacket({ kind: 'response', message: wide })).toThrow(RangeError);
    const full = 'x'.repeat(VALUE_BYTES_MAX);
    const many = section(Array.from({ length: 9 }, (_, index) => [`k${index}`, full] as const));
    expect(() => encodePacket({ kind: 'response', message: many })).toThrow(RangeError);
  });

  it('reads fields of the kind that is asked for', () => {
    const message = section([
      ['text', 'a'],
      ['list', ['b']],
      ['flag', true],
      ['number', 7n],
      ['none', undefined],
      ['inner', section([['x', 'y']])],
    ]);
    expect(textOf(message, 'text')).toBe('a');
    expect(textOf(message, 'list')).toBeUndefined();
    expect(listOf(message, 'list')).toEqual(['b']);
    expect(listOf(message, 'text')).toEqual([]);
    expect(textOf(message, 'flag')).toBe('yes');
    expect(textOf(message, 'number')).toBe('7');
    expect(message.has('none')).toBe(false);
    expect(textOf(sectionOf(message, 'inner'), 'x')).toBe('y');
    expect(isSection(message.get('text'))).toBe(false);
  });
});

describe('vici packet splitter', () => {
  it('finds the packets however the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(packet, { maxLength: 6 }),
        fc.infiniteStream(fc.integer({ min: 1, max: 40 })),
        (sent, sizes) => {
          const stream = Buffer.concat(sent.map(encodePacket));
          const splitter = new PacketSplitter();
          const found: ViciPacket[] = [];
          for (let offset = 0; offset < stream.length; ) {
            const size = sizes.next().value ?? 1;
            const cut = splitter.push(stream.subarray(offset, offset + size));
            offset += size;
            if (!cut.ok) throw new Error(cut.reason);
            for (const bytes of cut.value) {
              const decoded = decodePacket(bytes);
              if (!decoded.ok) throw new Error(decoded.reason);
              found.push(decoded.value);
            }
          }
          expect(found).toEqual(sent);
        },
      ),
    );
  });

  it('refuses a length past the limit before its bytes arrive', () => {
    const header = Buffer.alloc(4);
    header.writeUInt32BE(PACKET_BYTES_MAX);
    expect(new PacketSplitter().push(header).ok).toBe(true);
    header.writeUInt32BE(PACKET_BYTES_MAX + 1);
    const cut = new PacketSplitter().push(header);
    expect(cut.ok ? 'accepted' : cut.reason).toContain('at most');
  });
});
