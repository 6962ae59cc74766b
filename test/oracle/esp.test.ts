import { describe, expect, it } from 'vitest';
import {
  CBC_SUITES,
  decapsulatedEcn,
  decryptEsp,
  demultiplexUdp,
  encapsulate,
  espOf,
  openEsp,
  OracleInboundSa,
  type OracleSa,
  type OracleSuite,
  outerPacket,
  Refused,
  SUITES,
  sampleKeys,
  sealEsp,
} from './esp.ts';
import { ipPacket, parsePacket, PROTOCOL, udpPacket } from './packet.ts';
import { OracleReplayWindow } from './replay-window.ts';
import { anySelector, prefixRange } from './spd.ts';
import { readVectors, type VectorRecord } from './vector-file.ts';

function spiOf(vector: VectorRecord): number {
  return Number.parseInt(vector.text('spi'), 16);
}

function gcmSuite(keyLen: number): OracleSuite | undefined {
  return keyLen === 16 ? 'aes128gcm16' : keyLen === 32 ? 'aes256gcm16' : undefined;
}

/** The trailer of a vector as sent: padding, Pad Length, Next Header. */
function trailerOf(vector: VectorRecord): Buffer {
  return Buffer.concat([
    vector.hex('padding'),
    Buffer.from([vector.number('pad_length'), vector.number('next_header')]),
  ]);
}

describe('AES-GCM, the vectors of draft-mcgrew-gcm-test', () => {
  const { vectors } = readVectors('esp-aes-gcm-mcgrew');
  const usable = vectors.filter((v) => gcmSuite(v.hex('key').length) !== undefined);

  it('leaves out the 192-bit keys alone', () => {
    expect(vectors.length - usable.length).toBe(1);
  });

  it.each(usable.map((v) => [v.text('id'), v] as const))('%s', (_id, vector) => {
    const sa: OracleSa = {
      spi: spiOf(vector),
      suite: gcmSuite(vector.hex('key').length) ?? 'aes128gcm16',
      key: vector.hex('key'),
      salt: vector.hex('salt'),
      esn: vector.flag('esn'),
    };
    const sequence = BigInt(`0x${vector.text('seq_hex')}`);
    const sealed = sealEsp(sa, vector.hex('payload'), vector.number('next_header'), {
      sequence,
      iv: vector.hex('iv'),
      trailer: trailerOf(vector),
    });
    expect(sealed.toString('hex')).toBe(vector.text('esp_packet'));
    expect(decryptEsp(sa, sealed, sequence).toString('hex')).toBe(vector.text('plaintext'));
    if (vector.flag('aligned4')) {
      const own = sealEsp(sa, vector.hex('payload'), vector.number('next_header'), {
        sequence,
        iv: vector.hex('iv'),
      });
      expect(own.toString('hex')).toBe(vector.text('esp_packet'));
      expect(openEsp(sa, sealed, sequence).nextHeader).toBe(vector.number('next_header'));
    }
  });
});

describe('ChaCha20-Poly1305, RFC 7634 appendix A', () => {
  const vector = readVectors('esp-ike-chacha20poly1305-rfc7634').vectors.find((v) =>
    v.text('kind').startsWith('esp'),
  );
  if (vector === undefined) throw new Error('no ESP vector');
  const sa: OracleSa = {
    spi: spiOf(vector),
    suite: 'chacha20poly1305',
    key: vector.hex('key'),
    salt: vector.hex('salt'),
    esn: false,
  };
  const outer = vector.hex('outer_ip_packet');

  it('seals to the printed packet', () => {
    const sealed = sealEsp(sa, vector.hex('inner_packet'), PROTOCOL.ipv4, {
      sequence: BigInt(vector.number('seq')),
      iv: vector.hex('iv'),
    });
    expect(sealed.toString('hex')).toBe(vector.text('esp_packet'));
    expect(outer.subarray(20).equals(sealed)).toBe(true);
  });

  it('delivers the inner packet of the printed outer one', () => {
    const inbound = new OracleInboundSa(sa, new OracleReplayWindow(64, false));
    const { esp } = espOf(outer);
    expect(inbound.receive(esp).inner.toString('hex')).toBe(vector.text('inner_packet'));
    expect(() => inbound.receive(esp)).toThrow(new Refused('duplicate'));
  });
});

const HASHES = new Map([
  ['HMAC-SHA1-96', 'sha1'],
  ['SHA2-256-128', 'sha256'],
  ['SHA2-384-192', 'sha384'],
  ['SHA2-512-256', 'sha512'],
]);

/** The suite of a row with AES-CBC; undefined for another cipher or an integrity that we lack. */
function cbcSuite(row: VectorRecord): OracleSuite | undefined {
  if (row.text('cipher') !== 'AES-CBC') return undefined;
  const name = `aes${row.hex('enc_key').length * 8}-${HASHES.get(row.text('integrity')) ?? ''}`;
  return CBC_SUITES.find((suite) => suite === name);
}

describe('AES-CBC, RFC 3602 section 4', () => {
  const { vectors } = readVectors('esp-aes-cbc-rfc3602');

  it.each(vectors.map((v) => [v.text('id'), v] as const))('%s', (_id, vector) => {
    const isEsp = vector.has('esp_packet');
    const sa: OracleSa = {
      spi: isEsp ? spiOf(vector) : 0x1234,
      suite: 'aes128-sha256',
      key: vector.hex('key'),
      salt: Buffer.alloc(32, 1),
      esn: false,
    };
    const sequence = isEsp ? BigInt(vector.number('seq')) : 1n;
    const options = { sequence, iv: vector.hex('iv'), trailer: Buffer.alloc(0) };
    const sealed = sealEsp(sa, vector.hex('plaintext'), 0, options);
    const ciphertext = sealed.subarray(24, -16);
    expect(ciphertext.toString('hex')).toBe(vector.text('ciphertext'));
    if (isEsp) expect(sealed.subarray(0, -16).toString('hex')).toBe(vector.text('esp_packet'));
    expect(decryptEsp(sa, sealed, sequence).equals(vector.hex('plaintext'))).toBe(true);
  });
});

describe('the scapy matrix', () => {
  const { vectors } = readVectors('esp-ah-scapy-matrix');
  const usable = vectors.filter(
    (v) =>
      v.text('proto') === 'esp' &&
      v.text('mode') === 'tunnel' &&
      (['AES-GCM', 'CHACHA20-POLY1305'].includes(v.text('cipher')) || cbcSuite(v) !== undefined),
  );

  it('holds enough of our suites', () => {
    expect(usable.filter((v) => cbcSuite(v) === undefined).length).toBeGreaterThan(25);
    expect(usable.filter((v) => cbcSuite(v) !== undefined).length).toBe(36);
  });

  it.each(usable.map((v) => [v.text('id'), v] as const))('%s', (_id, vector) => {
    const material = vector.hex('enc_key');
    const cbc = cbcSuite(vector);
    const key = cbc === undefined ? material.subarray(0, -4) : material;
    const gcm = vector.text('cipher') === 'AES-GCM';
    const sa: OracleSa = {
      spi: spiOf(vector),
      suite: cbc ?? (gcm ? (gcmSuite(key.length) ?? 'aes128gcm16') : 'chacha20poly1305'),
      key,
      salt: cbc === undefined ? material.subarray(-4) : vector.hex('auth_key'),
      esn: vector.flag('esn'),
    };
    const wire = vector.hex('wire_packet');
    const inner = vector.hex('inner_packet');
    const high = sa.esn ? BigInt(vector.number('seq_hi')) : 0n;
    const { esp, outer, udp } = espOf(wire);
    const sequence = high * 2n ** 32n + BigInt(esp.readUInt32BE(4));
    expect(udp).toBe(vector.flag('nat_t'));
    const opened = openEsp(sa, esp, sequence);
    expect(opened.body.toString('hex')).toBe(inner.toString('hex'));
    const sealed = sealEsp(sa, inner, opened.nextHeader, { sequence, iv: opened.iv });
    expect(sealed.toString('hex')).toBe(esp.toString('hex'));
    // Scapy leaves DSCP, ECN and DF of the outer header alone: compared with those of a plain packet.
    const plain = ipPacket({
      source: outer.source,
      destination: outer.destination,
      protocol: 59,
      payload: Buffer.alloc(8),
    });
    const rebuilt = outerPacket(
      {
        source: outer.source,
        destination: outer.destination,
        dontFragment: 'clear',
        ...(udp ? { udp: { sourcePort: 4500, destinationPort: 4500 } } : {}),
      },
      parsePacket(plain),
      sealed,
    );
    const expected = Buffer.from(wire);
    if (outer.version === 4) {
      expected.writeUInt16BE(rebuilt.readUInt16BE(4), 4);
      expected.writeUInt16BE(rebuilt.readUInt16BE(10), 10);
    }
    expect(rebuilt.toString('hex')).toBe(expected.toString('hex'));
  });
});

describe('the malformed ESP corpus, in file order through one SA', () => {
  const { file, vectors } = readVectors('malformed-esp-corpus');
  const parameters = file.record('sa');
  const selectors = [
    { ...anySelector, local: [prefixRange('10.2.0.0/24')], remote: [prefixRange('10.1.0.0/24')] },
    {
      ...anySelector,
      local: [prefixRange('2001:db8:2::/48')],
      remote: [prefixRange('2001:db8:1::/48')],
    },
  ];
  const inbound = new OracleInboundSa(
    {
      spi: spiOf(parameters),
      suite: 'aes256gcm16',
      key: parameters.hex('key'),
      salt: parameters.hex('salt'),
      esn: parameters.flag('esn'),
    },
    new OracleReplayWindow(parameters.number('replay_window'), false),
    { selectors },
  );

  function outcome(esp: Buffer): string {
    try {
      return inbound.receive(esp).tfcLen > 0 ? 'accept-trim' : 'accept';
    } catch (error) {
      if (error instanceof Refused) return `drop:${error.reason}`;
      throw error;
    }
  }

  it.each(vectors.map((v) => [v.text('id'), v] as const))('%s', (_id, vector) => {
    const result = outcome(vector.hex('esp'));
    const expected = vector.text('expect');
    if (expected.startsWith('policy:')) expect(result).toMatch(/^(accept|drop:)/);
    else expect(result).toBe(expected);
  });
});

describe('ECN, RFC 6040', () => {
  const { vectors } = readVectors('ecn-rfc6040');
  const bits = new Map([
    ['Not-ECT', 0],
    ['ECT(1)', 1],
    ['ECT(0)', 2],
    ['CE', 3],
  ]);

  it.each(vectors.map((v) => [v.text('id'), v] as const))('%s', (_id, vector) => {
    if (vector.text('op') === 'decapsulate') {
      const result = decapsulatedEcn(vector.number('inner_bits'), vector.number('outer_bits'));
      const expected = bits.get(vector.text('result'));
      expect(result).toBe(expected);
      return;
    }
    const inner = ipPacket({
      source: '10.1.0.1',
      destination: '10.2.0.1',
      protocol: 59,
      payload: Buffer.alloc(0),
      trafficClass: 0xb8 + (bits.get(vector.text('inner')) ?? 0),
    });
    for (const [source, destination] of [
      ['192.0.2.1', '192.0.2.2'],
      ['2001:db8::1', '2001:db8::2'],
    ] as const) {
      const ecn = vector.text('mode') === 'normal' ? 'normal' : 'compatibility';
      const outer = outerPacket({ source, destination, ecn }, parsePacket(inner), Buffer.alloc(8));
      expect(parsePacket(outer).ecn).toBe(bits.get(vector.text('outer')));
      expect(parsePacket(outer).dscp).toBe(0xb8 / 4);
    }
  });
});

describe('framing on UDP 4500, RFC 3948', () => {
  const { vectors } = readVectors('framing-rfc3948-rfc9329');
  const udp = vectors.filter((v) => v.text('transport') === 'udp/4500');

  it.each(udp.map((v) => [v.text('id'), v] as const))('%s', (_id, vector) => {
    const expected = vector.text('classify');
    const result = demultiplexUdp(vector.hex('payload'));
    if (expected.startsWith('nat-keepalive')) expect(result).toBe('keepalive');
    else if (expected.startsWith('drop:short')) expect(result).toBe('short');
    else expect(expected.startsWith(result)).toBe(true);
  });
});

describe('both ways through the oracle', () => {
  const tunnels = [
    { source: '192.0.2.1', destination: '192.0.2.2' },
    { source: '2001:db8:f::1', destination: '2001:db8:f::2' },
  ];

  it.each(SUITES)('%s: inner and outer of each family, TFC, UDP, ESN across 2^32', (suite) => {
    for (const esn of [false, true]) {
      for (const tunnel of tunnels) {
        for (const udp of [undefined, { sourcePort: 4500, destinationPort: 4500 }]) {
          const sa: OracleSa = {
            spi: 0x1234_5678,
            suite,
            ...sampleKeys(suite, 7),
            esn,
          };
          const start = esn ? 2n ** 32n - 3n : 0n;
          const inbound = new OracleInboundSa(sa, new OracleReplayWindow(64, esn, start));
          for (let n = 1n; n <= 6n; n += 1n) {
            const ends = { sourcePort: 1000, destinationPort: 2000 };
            const inner =
              n % 2n === 0n
                ? udpPacket(
                    { source: '10.1.0.1', destination: '10.2.0.1', ...ends },
                    Buffer.from('a'),
                  )
                : udpPacket(
                    { source: 'fd01::1', destination: 'fd02::1', ...ends },
                    Buffer.alloc(99),
                  );
            const outer = encapsulate(sa, udp === undefined ? tunnel : { ...tunnel, udp }, inner, {
              sequence: start + n,
              tfcLen: Number(n) * 5,
            });
            const delivered = inbound.receive(espOf(outer).esp);
            expect(delivered.inner.equals(inner)).toBe(true);
            expect(delivered.tfcLen).toBe(Number(n) * 5);
            expect(delivered.sequence).toBe(start + n);
          }
        }
      }
    }
  });
});
