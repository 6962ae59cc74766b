/** Captures and their tables of keys, read by Wireshark's own tshark. */
import { createCipheriv, createHmac } from 'node:crypto';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { expect, it } from 'vitest';
import type { EspKeyReport } from '../../packages/ipsec-node/src/daemon/capture/capture-keys.js';
import { outerPackets } from '../../packages/ipsec-node/src/daemon/capture/outer-packet.js';
import {
  LINK_TYPE,
  pcapngHead,
  pcapngPacket,
} from '../../packages/ipsec-node/src/daemon/capture/pcapng.js';
import { keyFolder } from '../../packages/ipsec-node/src/daemon/capture/wireshark-keys.js';
import type { IkeKeyReport } from '../../packages/ipsec-node/src/ike/action.js';
import { run } from '../lab/command.ts';
import { describeWith } from '../lab/describe-with.ts';
import { requirePeer } from '../lab/peer.ts';
import { recordFolder } from '../lab/registry.ts';
import { encapsulate, espTrailer, type OracleSa } from './esp.ts';
import { ipPacket, PROTOCOL, udpPacket } from './packet.ts';
import { readVectors } from './vector-file.ts';

const SOURCE = '192.0.2.1';
const DESTINATION = '192.0.2.2';
const inner = udpPacket(
  { source: '10.1.0.1', destination: '10.2.0.1', sourcePort: 1000, destinationPort: 1001 },
  Buffer.from('in clear'),
);

interface Recorded {
  readonly path: string;
  readonly keys: string;
  readonly left: readonly string[];
}

function record(
  packets: readonly Uint8Array[],
  ike: readonly IkeKeyReport[] = [],
  esp: readonly EspKeyReport[] = [],
): Recorded {
  const folder = mkdtempSync(`${tmpdir()}/ipn-capture-`);
  recordFolder(folder);
  const path = `${folder}/test.pcapng`;
  const head = pcapngHead('a test', [
    { name: 'ipsec0', description: 'inside', linkType: LINK_TYPE.ip },
    { name: 'eth0', description: 'outside', linkType: LINK_TYPE.ip },
  ]);
  const blocks = packets.map((packet, index) =>
    pcapngPacket(1, 1_700_000_000_000_000n + BigInt(index), packet),
  );
  writeFileSync(path, Buffer.concat([head, ...blocks]));
  const { files, left } = keyFolder(ike, esp);
  mkdirSync(`${path}.keys`);
  for (const { name, text } of files) writeFileSync(`${path}.keys/${name}`, text);
  return { path, keys: `${path}.keys`, left };
}

/** The fields of every packet; a layer that occurs twice gives both. */
async function fieldsOf(
  { path, keys }: Recorded,
  ...fields: readonly string[]
): Promise<readonly (readonly string[])[]> {
  const columns = fields.flatMap((field) => ['-e', field]);
  const words = [requirePeer('tshark'), '-r', path, '-T', 'fields', '-E', 'separator=/t'];
  const env = { ...process.env, WIRESHARK_CONFIG_DIR: keys };
  const { stdout, stderr } = await run([...words, ...columns], { env });
  // A table that it cannot read is told here.
  expect(stderr).not.toMatch(/esp_sa|ikev2_decryption_table/);
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split('\t'));
}

const saOf = (suite: 'aes128gcm16' | 'aes256gcm16', spi: number, esn = false): OracleSa => ({
  spi,
  suite,
  key: Buffer.alloc(suite === 'aes128gcm16' ? 16 : 32, 0x5a),
  salt: Buffer.from('a0b1c2d3', 'hex'),
  esn,
});

function reportOf(sa: OracleSa): EspKeyReport {
  const key = Uint8Array.from([...sa.key, ...sa.salt]);
  return {
    source: SOURCE,
    destination: DESTINATION,
    spi: sa.spi,
    suite: sa.suite,
    key,
    esn: sa.esn,
  };
}

/** RFC 3602 and RFC 4868 by node:crypto: cipher first, then the HMAC over all before it. */
function cbcPacket(spi: number, bits: number, hash: string, icvLen: number, key: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32BE(spi, 0);
  header.writeUInt32BE(1, 4);
  const iv = Buffer.alloc(16, 7);
  const cipher = createCipheriv(`aes-${bits}-cbc`, key.subarray(0, bits / 8), iv);
  cipher.setAutoPadding(false);
  const clear = Buffer.concat([inner, espTrailer(inner.length, PROTOCOL.ipv4, 16)]);
  const sealed = Buffer.concat([header, iv, cipher.update(clear), cipher.final()]);
  const mac = createHmac(hash, key.subarray(bits / 8))
    .update(sealed)
    .digest();
  const payload = Buffer.concat([sealed, mac.subarray(0, icvLen)]);
  return ipPacket({ source: SOURCE, destination: DESTINATION, protocol: PROTOCOL.esp, payload });
}

describeWith(['tshark'], 'a capture, read by tshark', () => {
  it('has interfaces, times and whole packets', async () => {
    const packets = [
      inner,
      Buffer.concat([inner, Buffer.from([1])]),
      Buffer.concat([inner, inner]),
    ];
    const recorded = record(packets);
    const rows = await fieldsOf(
      recorded,
      'frame.interface_name',
      'frame.time_epoch',
      'frame.len',
      'frame.cap_len',
      'ip.src',
    );
    expect(rows).toEqual(
      packets.map(({ length }, index) => [
        'eth0',
        `1700000000.00000${index}000`,
        `${length}`,
        `${length}`,
        '10.1.0.1',
      ]),
    );
  });

  it.each(['aes128gcm16', 'aes256gcm16'] as const)('opens ESP with %s', async (suite) => {
    const sa = saOf(suite, 0xc000_0001);
    const udp = { sourcePort: 4500, destinationPort: 4500 };
    const tunnel = { source: SOURCE, destination: DESTINATION };
    const packets = [
      encapsulate(sa, tunnel, inner, { sequence: 1n }),
      encapsulate(sa, { ...tunnel, udp }, inner, { sequence: 2n }),
    ];
    const rows = await fieldsOf(record(packets, [], [reportOf(sa)]), 'esp.icv_good', 'ip.src');
    expect(rows).toEqual([
      ['1', `${SOURCE},10.1.0.1`],
      ['1', `${SOURCE},10.1.0.1`],
    ]);
  });

  it('opens ESP with extended numbers', async () => {
    const sa = saOf('aes256gcm16', 0xc000_0002, true);
    const tunnel = { source: SOURCE, destination: DESTINATION };
    const packet = encapsulate(sa, tunnel, inner, { sequence: 1n });
    const { path, keys } = record([packet], [], [reportOf(sa)]);
    const env = { ...process.env, WIRESHARK_CONFIG_DIR: keys };
    const words = ['-r', path, '-T', 'fields', '-e', 'ip.src'];
    // Versions without extended numbers say that there are two fields too many.
    const { stdout } = await run([requirePeer('tshark'), ...words], { env });
    expect(stdout.trim()).toBe(`${SOURCE},10.1.0.1`);
  });

  it.each([
    ['aes128-sha1', 128, 'sha1', 20, 12],
    ['aes128-sha256', 128, 'sha256', 32, 16],
    ['aes192-sha384', 192, 'sha384', 48, 24],
    ['aes256-sha512', 256, 'sha512', 64, 32],
  ] as const)('opens ESP with %s', async (suite, bits, hash, keyLen, icvLen) => {
    const key = Buffer.from(Array.from({ length: bits / 8 + keyLen }, (_, at) => (at * 7) & 255));
    const packet = cbcPacket(0xc000_0003, bits, hash, icvLen, key);
    const report = {
      source: SOURCE,
      destination: DESTINATION,
      spi: 0xc000_0003,
      suite,
      key: new Uint8Array(key),
      esn: false,
    };
    const rows = await fieldsOf(record([packet], [], [report]), 'esp.icv_good', 'ip.src');
    expect(rows).toEqual([['1', `${SOURCE},10.1.0.1`]]);
  });

  it('opens IKE, whatever Wireshark has a name for, and says what it has none for', async () => {
    const ENCRYPTION: Readonly<Record<string, string>> = {
      '12-128': 'aes128',
      '12-192': 'aes192',
      '12-256': 'aes256',
      '20-128': 'aes128gcm16',
      '20-256': 'aes256gcm16',
      '28-0': 'chacha20poly1305',
    };
    const INTEGRITY: Readonly<Record<number, string>> = {
      0: '',
      2: 'sha1',
      5: 'aesxcbc',
      8: 'aescmac',
      12: 'sha256',
      13: 'sha384',
      14: 'sha512',
    };
    const tunnel = { source: SOURCE, destination: DESTINATION };
    const ends = { ...tunnel, sourcePort: 500, destinationPort: 500 };
    const sealed = readVectors('ikev2-sk-generated').vectors.map((vector) => {
      const head = vector.hex('head');
      const [ei, ai] = [vector.hex('encryption_key'), vector.hex('integrity_key')];
      const cipher = `${vector.number('encryption')}-${vector.number('key_bits')}`;
      const encryption = ENCRYPTION[cipher] ?? '';
      const report: IkeKeyReport = {
        spiInitiator: head.readBigUInt64BE(0),
        spiResponder: head.readBigUInt64BE(8),
        encryption,
        integrity: INTEGRITY[vector.number('integrity')] ?? '?',
        skEi: ei,
        skEr: ei,
        skAi: ai,
        skAr: ai,
      };
      const packet = udpPacket(ends, Buffer.concat([head, vector.hex('body')]));
      return { report, packet, padded: vector.text('padded') };
    });
    const isKnown = ({ report }: (typeof sealed)[number]): boolean =>
      report.encryption !== 'chacha20poly1305';
    const known = sealed.filter(isKnown);
    const recorded = record(
      sealed.map(({ packet }) => packet),
      sealed.map(({ report }) => report),
    );
    expect(recorded.left).toHaveLength(sealed.length - known.length);
    expect(new Set(known.map(({ report }) => report.encryption + report.integrity)).size).toBe(20);
    const env = { ...process.env, WIRESHARK_CONFIG_DIR: recorded.keys };
    const words = [requirePeer('tshark'), '-r', recorded.path, '-V'];
    const { stdout, stderr } = await run(words, { env });
    expect(stderr).not.toContain('ikev2_decryption_table');
    const frames = stdout.split(/^Frame \d+: /m).slice(1);
    expect(frames).toHaveLength(sealed.length);
    for (const [index, each] of sealed.entries()) {
      const { encryption, integrity } = each.report;
      const text = frames[index] ?? '';
      const name = `${encryption} ${integrity} ${each.padded.length}`;
      if (!isKnown(each)) {
        expect(text, name).not.toContain('Decrypted Data');
        continue;
      }
      // The last octet says how much is padding: with a wrong key it is another.
      const padded = Buffer.from(each.padded, 'hex');
      const padLen = padded.at(-1) ?? 0;
      expect(text, name).toContain(`Decrypted Data (${padded.length} byte`);
      expect(text, name).toContain(`Pad Length: ${padLen}\n`);
      const unchecked = ['aesxcbc', 'aescmac'].includes(integrity);
      if (!unchecked) expect(text, name).toMatch(/Integrity Checksum Data: .*\[correct\]/);
    }
  });

  it('has a super-frame as the packets that are on the wire', async () => {
    const sa = saOf('aes256gcm16', 0xc000_0001);
    const udp = { sourcePort: 4500, destinationPort: 4500 };
    for (const [source, destination] of [
      [SOURCE, DESTINATION],
      ['2001:db8:f::1', '2001:db8:f::2'],
    ] as const) {
      const headersLen = source.includes(':') ? 48 : 28;
      const pieces = [7n, 8n, 9n].map((sequence) =>
        encapsulate(sa, { source, destination, udp }, inner, { sequence }),
      );
      const last = pieces[2] ?? Buffer.alloc(0);
      // As the kernel shows one: the headers of the first before the payloads of all.
      const frame = Buffer.concat([
        ...pieces.map((piece, index) => (index === 0 ? piece : piece.subarray(headersLen))),
      ]);
      const filter = { hasEthernetHeader: false, mtu: last.length, ports: [500, 4500] };
      const cut = outerPackets(frame, filter);
      expect(cut).toHaveLength(3);
      const recorded = record(cut, [], [{ ...reportOf(sa), source, destination }]);
      const rows = await fieldsOf(recorded, 'frame.len', 'esp.sequence', 'esp.icv_good');
      expect(rows).toEqual([7, 8, 9].map((number) => [`${last.length}`, `${number}`, '1']));
      const checks = await run([
        ...[requirePeer('tshark'), '-r', recorded.path, '-T', 'fields'],
        ...['-o', 'ip.check_checksum:TRUE', '-o', 'udp.check_checksum:TRUE'],
        ...['-e', 'ip.checksum.status', '-e', 'udp.checksum.status'],
      ]);
      // 1: right; 3: there is none (RFC 3948 section 2.1 wants none over IPv4).
      const wanted = source.includes(':') ? '\t1' : '1\t3';
      expect(checks.stdout.trimEnd().split('\n')).toEqual([wanted, wanted, wanted]);
    }
  });
});
