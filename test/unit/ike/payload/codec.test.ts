import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InternalError } from '../../../../packages/ipsec-node/src/errors.js';
import { IKE_LIMITS } from '../../../../packages/ipsec-node/src/ike/limits.js';
import { NOTIFY } from '../../../../packages/ipsec-node/src/ike/notify.js';
import {
  encodeEncryptedHead,
  encodeMessage,
  encodePayloads,
  type Parsed,
  parseDatagram,
  parsePayloads,
} from '../../../../packages/ipsec-node/src/ike/payload/codec.js';
import {
  type IkeHeader,
  type Payload,
  PAYLOAD_NUMBERS,
} from '../../../../packages/ipsec-node/src/ike/payload/payload.js';
import { readIkeCorpus } from '../corpus.ts';
import { arbitraryHeader, arbitraryPayloads } from './arbitrary.ts';

const HEADER: IkeHeader = {
  spiInitiator: 0x0102_0304_0506_0708n,
  spiResponder: 0n,
  exchange: 34,
  majorVersion: 2,
  minorVersion: 0,
  isResponse: false,
  isInitiator: true,
  isHigherVersion: false,
  messageId: 0,
};

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

/** A message of IKE_SA_INIT with these bytes after its header, whose Length is right. */
function message(
  first: number,
  body: Uint8Array,
  change: (header: Buffer) => void = () => {},
): Buffer {
  const header = hex('0102030405060708 0000000000000000 00 20 22 08 00000000 00000000');
  header.writeUInt8(first, 16);
  header.writeUInt32BE(28 + body.length, 24);
  change(header);
  return Buffer.concat([header, body]);
}

/** A payload with the Length that it has, or another. */
function payload(next: number, body: Uint8Array, len = body.length + 4, critical = false): Buffer {
  const head = Buffer.from([next, critical ? 0x80 : 0, 0, 0]);
  head.writeUInt16BE(len, 2);
  return Buffer.concat([head, body]);
}

const notifyOf = (result: Parsed<unknown>): number | null | 'ok' =>
  result.ok ? 'ok' : result.fault.notify;

function valueOf<T>(result: Parsed<T>): T {
  if (!result.ok) throw new Error(result.fault.reason);
  return result.value;
}

describe('the header', () => {
  const nonce = payload(0, Buffer.alloc(16, 1));

  it('reads every field where RFC 7296 section 3.1 puts it', () => {
    const bytes = hex('1112131415161718 2122232425262728 00 2a 25 38 0a0b0c0d 0000001c');
    expect(valueOf(parseDatagram(bytes)).header).toEqual({
      spiInitiator: 0x1112131415161718n,
      spiResponder: 0x2122232425262728n,
      exchange: 37,
      majorVersion: 2,
      minorVersion: 10,
      isResponse: true,
      isInitiator: true,
      isHigherVersion: true,
      messageId: 0x0a0b0c0d,
    });
  });

  it('P11, P13: version 1 gets no answer, version 3 INVALID_MAJOR_VERSION and no data', () => {
    const version = (octet: number): Parsed<unknown> =>
      parseDatagram(message(40, nonce, (header) => header.writeUInt8(octet, 17)));
    expect([0x00, 0x10, 0x1f].map((octet) => notifyOf(version(octet)))).toEqual([null, null, null]);
    const higher = version(0x30);
    expect(notifyOf(higher)).toBe(NOTIFY.INVALID_MAJOR_VERSION);
    expect(!higher.ok && higher.fault.data.length).toBe(0);
    expect(!higher.ok && higher.fault.header?.majorVersion).toBe(3);
  });

  it('names the peer nothing for a response, whatever is wrong with it', () => {
    const critical = payload(0, Buffer.alloc(0), 4, true);
    const request = message(200, critical);
    const response = message(200, critical, (header) => header.writeUInt8(0x20, 19));
    expect(notifyOf(parseDatagram(request))).toBe(NOTIFY.UNSUPPORTED_CRITICAL_PAYLOAD);
    expect(notifyOf(parseDatagram(response))).toBeNull();
  });

  it('P13: payload types of IKEv1 are unknown ones', () => {
    for (let type = 1; type < 33; type += 1) {
      const value = valueOf(parseDatagram(message(type, payload(0, hex('0102')))));
      expect(value.payloads).toEqual([
        { type: 'unknown', number: type, critical: false, data: new Uint8Array([1, 2]) },
      ]);
    }
  });
});

describe('the chain of payloads', () => {
  it('P01: past the limit of payloads a message is refused, at it it is read', () => {
    const chain = (count: number): Buffer => {
      const each = Array.from({ length: count }, (_, index) =>
        payload(index + 1 < count ? 128 : 0, Buffer.alloc(0)),
      );
      return Buffer.concat(each);
    };
    const max = IKE_LIMITS.payloadMax;
    expect(valueOf(parseDatagram(message(128, chain(max)))).payloads).toHaveLength(max);
    expect(notifyOf(parseDatagram(message(128, chain(max + 1))))).toBe(NOTIFY.INVALID_SYNTAX);
    expect(notifyOf(parsePayloads(128, chain(max + 1)))).toBe(NOTIFY.INVALID_SYNTAX);
  });

  it('P01: 0 to 1,000 unknown payloads before an Encrypted Fragment payload', () => {
    const fragment = payload(0, hex('00010001 aabb'));
    const more = payload(128, Buffer.alloc(0));
    const last = payload(53, Buffer.alloc(0));
    const bodyOffsets: (number | undefined)[] = [];
    const expected: (number | undefined)[] = [];
    for (let count = 0; count <= 1_000; count += 1) {
      const unknown = Array.from({ length: count }, (_, index) =>
        index + 1 < count ? more : last,
      );
      const bytes = message(count === 0 ? 53 : 128, Buffer.concat([...unknown, fragment]));
      const result = parseDatagram(bytes);
      bodyOffsets.push(result.ok ? result.value.encrypted?.bodyOffset : undefined);
      expected.push(count < IKE_LIMITS.payloadMax ? bytes.length - 2 : undefined);
    }
    expect(bodyOffsets).toEqual(expected);
  });

  it('a critical payload that is not known is named, outside and inside; a known one never', () => {
    const critical = payload(0, Buffer.alloc(16, 1), 20, true);
    const outside = parseDatagram(message(99, critical));
    const inside = parsePayloads(99, critical);
    for (const result of [outside, inside]) {
      expect(notifyOf(result)).toBe(NOTIFY.UNSUPPORTED_CRITICAL_PAYLOAD);
      expect(!result.ok && [...result.fault.data]).toEqual([99]);
    }
    // RFC 7296 section 2.5: the bit is ignored in the payloads of that document.
    expect(notifyOf(parsePayloads(40, critical))).toBe('ok');
    expect(notifyOf(parsePayloads(43, critical))).toBe('ok');
  });

  it('ends at once where a payload is shorter than its header', () => {
    for (const len of [0, 1, 2, 3]) {
      const bytes = payload(43, Buffer.alloc(8), len);
      expect(notifyOf(parsePayloads(43, bytes))).toBe(NOTIFY.INVALID_SYNTAX);
    }
  });

  it('reads an empty Encrypted payload as no payloads, and nothing else of no type', () => {
    expect(valueOf(parsePayloads(0, new Uint8Array(0)))).toEqual([]);
    expect(notifyOf(parsePayloads(0, new Uint8Array(1)))).toBe(NOTIFY.INVALID_SYNTAX);
    expect(notifyOf(parsePayloads(40, new Uint8Array(0)))).toBe(NOTIFY.INVALID_SYNTAX);
  });

  it('P23: any bytes end, with work for no more than a quarter of them', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 255 }),
        fc.uint8Array({ maxLength: 600 }),
        (first, bytes) => {
          const result = parsePayloads(first, bytes);
          if (result.ok) expect(result.value.length).toBeLessThanOrEqual(bytes.length / 4);
        },
      ),
      { seed: 23, numRuns: 3_000 },
    );
  });
});

describe('the Encrypted payloads', () => {
  it('P17: a fragment with an impossible length or number is dropped in silence', () => {
    for (let len = 0; len < 8; len += 1) {
      const result = parseDatagram(message(53, payload(0, hex('00010001'), len)));
      expect(result.ok).toBe(false);
    }
    const fragment = (fields: string): Parsed<unknown> =>
      parseDatagram(message(53, payload(0, hex(`${fields} aabbccdd`))));
    for (const fields of ['0000 0001', '0001 0000', '0000 0000', '0002 0001', 'ffff fffe']) {
      expect(notifyOf(fragment(fields))).toBeNull();
    }
    expect(notifyOf(fragment('0001 0001'))).toBe('ok');
    expect(notifyOf(fragment('ffff ffff'))).toBe('ok');
  });

  it('is the last payload of a message', () => {
    const inside = payload(41, Buffer.alloc(8));
    const after = Buffer.concat([inside, payload(0, Buffer.alloc(4))]);
    expect(notifyOf(parseDatagram(message(46, after)))).toBe(NOTIFY.INVALID_SYNTAX);
    expect(valueOf(parseDatagram(message(46, inside))).encrypted).toEqual({
      firstPayload: 41,
      bodyOffset: 32,
      fragment: null,
    });
  });

  it('is not inside another', () => {
    for (const type of [46, 53]) {
      const result = parsePayloads(type, payload(0, Buffer.alloc(12)));
      expect(notifyOf(result)).toBe(NOTIFY.INVALID_SYNTAX);
    }
  });

  it('has a head with the lengths that follow', () => {
    fc.assert(
      fc.property(
        arbitraryHeader,
        fc.integer({ min: 0, max: 255 }),
        fc.integer({ min: 0, max: 60_000 }),
        fc.option(fc.tuple(fc.integer({ min: 1, max: 64 }), fc.integer({ min: 0, max: 64 }))),
        (header, type, bodyLen, pair) => {
          const fragment = pair === null ? null : { number: pair[0], total: pair[0] + pair[1] };
          const first = fragment !== null && fragment.number > 1 ? 0 : type;
          const head = encodeEncryptedHead(header, first, bodyLen, fragment);
          const bytes = Buffer.concat([head, Buffer.alloc(bodyLen, 0xee)]);
          const value = valueOf(parseDatagram(bytes));
          expect(value.header).toEqual(header);
          expect(value.payloads).toEqual([]);
          expect(value.encrypted).toEqual({
            firstPayload: first,
            bodyOffset: head.length,
            fragment,
          });
        },
      ),
      { seed: 7383, numRuns: 200 },
    );
  });
});

describe('the payloads', () => {
  it('are read as they were written', () => {
    fc.assert(
      fc.property(arbitraryHeader, arbitraryPayloads(12), (header, payloads) => {
        const value = valueOf(parseDatagram(encodeMessage(header, payloads)));
        expect(value.header).toEqual(header);
        expect(value.payloads).toEqual(payloads);
        const { first, bytes } = encodePayloads(payloads);
        expect(valueOf(parsePayloads(first, bytes))).toEqual(payloads);
      }),
      { seed: 7296, numRuns: 400 },
    );
  });

  it('are written as the control of the corpus was', () => {
    const control = readIkeCorpus().find(({ id }) => id === 'ok');
    if (control === undefined) throw new Error('no control');
    const { header, payloads } = valueOf(parseDatagram(control.message));
    expect(payloads.map(({ type }) => type)).toEqual(['sa', 'ke', 'nonce']);
    expect(Buffer.from(encodeMessage(header, payloads))).toEqual(control.message);
  });

  it('P04: every group number of a KE payload is only a number', () => {
    const body = Buffer.alloc(36, 7);
    const wrong: number[] = [];
    for (let group = 0; group < 65_536; group += 1) {
      body.writeUInt16BE(group, 0);
      const [ke] = valueOf(parsePayloads(34, payload(0, body)));
      if (ke?.type !== 'ke' || ke.method !== group) wrong.push(group);
    }
    expect(wrong).toEqual([]);
  });

  it('P14, P15: identities of any length, certificates before or after them', () => {
    for (const len of [0, 1, 512, 4_096, 65_000]) {
      for (const type of [PAYLOAD_NUMBERS['id-initiator'], PAYLOAD_NUMBERS['id-responder']]) {
        const body = Buffer.concat([hex('0b000000'), Buffer.alloc(len, 0x41)]);
        const certificate = payload(type, hex('04 3082'));
        const bytes = Buffer.concat([certificate, payload(0, body)]);
        const [, identity] = valueOf(parsePayloads(37, bytes));
        const data = identity !== undefined && 'idType' in identity ? identity.data : null;
        expect(data?.length).toBe(len);
      }
    }
    expect(notifyOf(parsePayloads(35, payload(0, hex('0b0000'))))).toBe(NOTIFY.INVALID_SYNTAX);
  });

  it('P16: text of a peer is bytes, never interpreted', () => {
    const data = Buffer.from('`;$()\n"\'\\\u0000');
    const { first, bytes } = encodePayloads([{ type: 'id-initiator', idType: 2, data }]);
    const [identity] = valueOf(parsePayloads(first, bytes));
    expect(identity !== undefined && 'data' in identity && Buffer.from(identity.data)).toEqual(
      data,
    );
  });

  it('a Delete names as many SPIs as it has, of the length of its protocol', () => {
    const body = (text: string): Parsed<readonly Payload[]> =>
      parsePayloads(42, payload(0, hex(text)));
    expect(valueOf(body('03 04 0002 11223344 55667788'))).toEqual([
      { type: 'delete', protocolId: 3, spis: [hex('11223344'), hex('55667788')].map(plain) },
    ]);
    expect(valueOf(body('01 00 0000'))).toEqual([{ type: 'delete', protocolId: 1, spis: [] }]);
    const wrong = [
      '03 04 0003 11223344 55667788',
      '03 04 0001 11223344 55667788',
      '03 00 ffff',
      '03 08 0001 1122334455667788',
      '01 08 0001 1122334455667788',
      '01 00 0001',
      '03 04',
    ];
    for (const text of wrong) expect(notifyOf(body(text))).toBe(NOTIFY.INVALID_SYNTAX);
    const many = Buffer.concat([hex('03 04 0401'), Buffer.alloc(4 * 1_025)]);
    expect(notifyOf(parsePayloads(42, payload(0, many)))).toBe(NOTIFY.INVALID_SYNTAX);
  });

  it('a Configuration has attributes that end with it, and at most 256', () => {
    const attribute = hex('0001 0000');
    const cp = (count: number): Parsed<readonly Payload[]> => {
      const attributes = Array.from({ length: count }, () => attribute);
      return parsePayloads(47, payload(0, Buffer.concat([hex('01000000'), ...attributes])));
    };
    expect(notifyOf(cp(256))).toBe('ok');
    expect(notifyOf(cp(257))).toBe(NOTIFY.INVALID_SYNTAX);
    const cut = payload(0, hex('01000000 0001 0004 0a0000'));
    expect(notifyOf(parsePayloads(47, cut))).toBe(NOTIFY.INVALID_SYNTAX);
    // RFC 7296 section 3.15.1: the reserved bit is ignored.
    const reserved = payload(0, hex('01000000 8001 0004 0a000001'));
    expect(valueOf(parsePayloads(47, reserved))).toEqual([
      {
        type: 'configuration',
        cfgType: 1,
        attributes: [{ type: 1, value: plain(hex('0a000001')) }],
      },
    ]);
  });
});

describe('P08: traffic selectors', () => {
  const V4 = '07 06 0010 0050 0050 0a010000 0a0100ff';
  const V6 = `08 00 0028 0000 ffff ${'20010db8000000000000000000000000'} ${'20010db800000000ffffffffffffffff'}`;
  const read = (body: string): Parsed<readonly Payload[]> =>
    parsePayloads(44, payload(0, hex(body)));

  it('are read with canonical addresses', () => {
    expect(valueOf(read(`02 000000 ${V4} ${V6}`))).toEqual([
      {
        type: 'ts-initiator',
        unknownCount: 0,
        selectors: [
          {
            family: 4,
            protocol: 6,
            startPort: 80,
            endPort: 80,
            from: '10.1.0.0',
            to: '10.1.0.255',
          },
          {
            family: 6,
            protocol: 0,
            startPort: 0,
            endPort: 65_535,
            from: '2001:db8::',
            to: '2001:db8::ffff:ffff:ffff:ffff',
          },
        ],
      },
    ]);
  });

  it('are counted as they are', () => {
    for (let count = 0; count < 256; count += 1) {
      const prefix = `${count.toString(16).padStart(2, '0')} 000000`;
      const expected = count === 2 ? 'ok' : NOTIFY.INVALID_SYNTAX;
      expect(notifyOf(read(`${prefix} ${V4} ${V6}`))).toBe(expected);
    }
    const all = payload(
      0,
      Buffer.concat([hex('ff000000'), ...Array.from({ length: 255 }, () => hex(V4))]),
    );
    expect(notifyOf(parsePayloads(44, all))).toBe('ok');
  });

  it('of an unknown type are counted and skipped; of a known one have its length', () => {
    const wrong: string[] = [];
    for (let type = 0; type < 256; type += 1) {
      for (let len = 0; len < 48; len += 1) {
        const rest = Buffer.alloc(Math.max(len - 4, 0));
        const selector = Buffer.concat([Buffer.from([type, 0, 0, len]), rest]);
        const body = Buffer.concat([hex('01000000'), selector]);
        const known = type === 7 || type === 8;
        const right = type === 7 ? len === 16 : type === 8 ? len === 40 : len >= 4;
        const result = parsePayloads(45, payload(0, body));
        const [ts] = result.ok ? result.value : [];
        const counts =
          ts !== undefined && 'unknownCount' in ts ? [ts.selectors.length, ts.unknownCount] : [];
        const expected = right ? (known ? [1, 0] : [0, 1]) : [];
        if (counts.join() !== expected.join())
          wrong.push(`type ${type} of ${len}: ${counts.join()}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('end where they start or after, but for OPAQUE ports', () => {
    const ports = (text: string): number | null | 'ok' =>
      notifyOf(read(`01 000000 07 06 0010 ${text} 0a010000 0a010000`));
    expect(ports('0051 0050')).toBe(NOTIFY.INVALID_SYNTAX);
    expect(ports('ffff 0000')).toBe('ok');
    expect(ports('ffff 0001')).toBe(NOTIFY.INVALID_SYNTAX);
    const backwards = '01 000000 07 06 0010 0000 ffff 0a010001 0a010000';
    expect(notifyOf(read(backwards))).toBe(NOTIFY.INVALID_SYNTAX);
  });
});

describe('the SA payload', () => {
  const AES_CBC = '03 00 000c 01 00 000c 800e 0080';
  const PRF = '03 00 0008 02 00 0005';
  const INTEGRITY = '03 00 0008 03 00 000c';
  const GROUP = '00 00 0008 04 00 000e';
  const proposal = (number: number, transforms: string, count: number, last = true): Buffer => {
    const body = hex(transforms);
    const head = Buffer.from([last ? 0 : 2, 0, 0, body.length + 8, number, 1, 0, count]);
    return Buffer.concat([head, body]);
  };
  const read = (...proposals: readonly Uint8Array[]): Parsed<readonly Payload[]> =>
    parsePayloads(33, payload(0, Buffer.concat(proposals)));

  it('reads the example of RFC 7296 section 3.3.1 in its own order', () => {
    const [sa] = valueOf(read(proposal(1, `${AES_CBC} ${PRF} ${INTEGRITY} ${GROUP}`, 4)));
    expect(sa).toEqual({
      type: 'sa',
      proposals: [
        {
          number: 1,
          protocolId: 1,
          spi: new Uint8Array(0),
          unknownTransformCount: 0,
          transforms: [
            { type: 'encryption', id: 12, keyBits: 128 },
            { type: 'prf', id: 5, keyBits: null },
            { type: 'integrity', id: 12, keyBits: null },
            { type: 'key-exchange', id: 14, keyBits: null },
          ],
        },
      ],
    });
  });

  it('RFC 7296 section 3.3.6: an unknown attribute spoils its transform, an unknown type the proposal', () => {
    const odd = '03 00 000c 01 00 000c 800d 0080';
    const long = '03 00 0010 01 00 000c 000e 0004 00000080';
    const unknownType = '03 00 0008 f0 00 0001';
    const count = (transforms: string, of: number): unknown => {
      const [sa] = valueOf(read(proposal(1, `${transforms} ${GROUP}`, of + 1)));
      if (sa?.type !== 'sa') throw new Error('no SA payload');
      return sa.proposals.map((each) => [each.transforms.length, each.unknownTransformCount]);
    };
    expect(count(`${odd} ${AES_CBC}`, 2)).toEqual([[2, 0]]);
    expect(count(odd, 1)).toEqual([[1, 1]]);
    expect(count(long, 1)).toEqual([[1, 1]]);
    expect(count(`${AES_CBC} ${unknownType}`, 2)).toEqual([[2, 1]]);
  });

  it('refuses substructures that contradict their counts or lengths', () => {
    const good = proposal(1, `${AES_CBC} ${GROUP}`, 2);
    expect(notifyOf(read(good))).toBe('ok');
    const broken: readonly ((bytes: Buffer) => void)[] = [
      (bytes) => bytes.writeUInt8(2, 0),
      (bytes) => bytes.writeUInt8(1, 0),
      (bytes) => bytes.writeUInt16BE(good.length + 1, 2),
      (bytes) => bytes.writeUInt16BE(good.length - 1, 2),
      (bytes) => bytes.writeUInt8(4, 6),
      (bytes) => bytes.writeUInt8(0, 7),
      (bytes) => bytes.writeUInt8(1, 7),
      (bytes) => bytes.writeUInt8(3, 7),
      (bytes) => bytes.writeUInt8(0, 8),
      (bytes) => bytes.writeUInt16BE(7, 10),
      (bytes) => bytes.writeUInt16BE(13, 10),
      (bytes) => bytes.writeUInt16BE(0xffff, 10),
    ];
    for (const change of broken) {
      const bytes = Buffer.from(good);
      change(bytes);
      expect(notifyOf(read(bytes))).toBe(NOTIFY.INVALID_SYNTAX);
    }
    const more = Buffer.concat([good, Buffer.from([0])]);
    expect(notifyOf(read(more))).toBe(NOTIFY.INVALID_SYNTAX);
  });

  it('reads transforms up to the limit', () => {
    const transforms = (count: number): string =>
      Array.from({ length: count }, (_, index) =>
        index + 1 < count ? '03 00 0008 04 00 000e' : GROUP,
      ).join('');
    const wide = (count: number, last: boolean): Buffer => {
      const bytes = proposal(1, transforms(count), count, last);
      bytes.writeUInt16BE(bytes.length, 2);
      return bytes;
    };
    const bytes = [wide(255, false), wide(255, false)];
    expect(notifyOf(read(...bytes, wide(2, true)))).toBe('ok');
    expect(notifyOf(read(...bytes, wide(3, true)))).toBe(NOTIFY.NO_PROPOSAL_CHOSEN);
  });
});

describe('what cannot be written', () => {
  const spi = new Uint8Array(4);
  const transforms = [{ type: 'encryption', id: 20, keyBits: 256 } as const];
  const proposal = { number: 1, protocolId: 3, spi, transforms, unknownTransformCount: 0 };
  const selector = {
    family: 4,
    protocol: 6,
    startPort: 1,
    endPort: 2,
    from: '10.0.0.1',
    to: '10.0.0.2',
  } as const;
  const ts = (
    change: Partial<typeof selector> | { startPort: number } | { from: string },
  ): Payload => ({
    type: 'ts-initiator',
    selectors: [{ ...selector, ...change }],
    unknownCount: 0,
  });
  const impossible: Readonly<Record<string, Payload>> = {
    'an SA without proposals': { type: 'sa', proposals: [] },
    'a proposal without transforms': { type: 'sa', proposals: [{ ...proposal, transforms: [] }] },
    'an SPI of three bytes': { type: 'sa', proposals: [{ ...proposal, spi: new Uint8Array(3) }] },
    'proposal 256': { type: 'sa', proposals: [{ ...proposal, number: 256 }] },
    'a transform past 16 bits': {
      type: 'sa',
      proposals: [{ ...proposal, transforms: [{ type: 'prf', id: 65_536, keyBits: null }] }],
    },
    'a short nonce': { type: 'nonce', data: new Uint8Array(15) },
    'a long nonce': { type: 'nonce', data: new Uint8Array(257) },
    'a KE without data': { type: 'ke', method: 31, data: new Uint8Array(0) },
    'a method of a fraction': { type: 'ke', method: 1.5, data: new Uint8Array(1) },
    'no traffic selectors': { type: 'ts-responder', selectors: [], unknownCount: 0 },
    'ports backwards': ts({ startPort: 3 }),
    'addresses backwards': ts({ from: '10.0.0.3' }),
    'another family': ts({ from: '::1' }),
    'no address': ts({ from: 'ten' }),
    'a Delete of nothing': { type: 'delete', protocolId: 3, spis: [] },
    'a Delete of the IKE SA with an SPI': { type: 'delete', protocolId: 1, spis: [spi] },
    'a notify past 16 bits': {
      type: 'notify',
      protocolId: 0,
      spi: new Uint8Array(0),
      notify: 65_536,
      data: new Uint8Array(0),
    },
    'a known payload as unknown': { type: 'unknown', number: 33, critical: false, data: spi },
    'a payload past 16 bits': { type: 'vendor-id', data: new Uint8Array(65_532) },
  };

  it.each(Object.entries(impossible))('%s', (_, value) => {
    expect(() => encodePayloads([value])).toThrow(InternalError);
  });

  it('headers and fragments out of range', () => {
    const headers: readonly Partial<IkeHeader>[] = [
      { spiInitiator: 2n ** 64n },
      { spiResponder: -1n },
      { exchange: 256 },
      { majorVersion: 16 },
      { messageId: 2 ** 32 },
    ];
    for (const change of headers) {
      expect(() => encodeMessage({ ...HEADER, ...change }, [])).toThrow(InternalError);
    }
    const head = (first: number, bodyLen: number, number: number, total: number): Uint8Array =>
      encodeEncryptedHead(HEADER, first, bodyLen, { number, total });
    expect(() => head(0, 1, 0, 1)).toThrow(InternalError);
    expect(() => head(0, 1, 2, 1)).toThrow(InternalError);
    expect(() => head(41, 1, 2, 2)).toThrow(InternalError);
    expect(() => head(41, 65_536, 1, 2)).toThrow(InternalError);
    expect(() => encodeEncryptedHead(HEADER, 256, 1, null)).toThrow(InternalError);
    expect(head(41, 1, 1, 2)).toHaveLength(36);
  });
});

/** Bytes of a plain Uint8Array, as the codec gives them. */
function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}
