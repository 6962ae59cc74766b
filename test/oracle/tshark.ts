/** Wireshark's ESP dissector: decrypts a capture with given keys and says what it found. */

import { run } from '../lab/command.ts';
import { requirePeer } from '../lab/peer.ts';
import { CBC_SUITES, type OracleSa, type OracleSuite } from './esp.ts';

export interface TsharkSa {
  readonly sa: OracleSa;
  /** Outer addresses; `*` for any. */
  readonly source: string;
  readonly destination: string;
}

export interface TsharkPacket {
  /** From 1, as in the capture. */
  readonly number: number;
  readonly spi: number;
  /** The 32 bits on the wire. */
  readonly sequence: number;
  /** 'absent': tshark had no key for it. */
  readonly icv: 'good' | 'bad' | 'absent';
  /** All IP addresses from the outside in, when it was decrypted. */
  readonly sources: readonly string[];
  readonly destinations: readonly string[];
  readonly protocols: readonly string[];
}

/** What Wireshark opens, without extended sequence numbers. */
export const TSHARK_SUITES: readonly OracleSuite[] = ['aes128gcm16', 'aes256gcm16', ...CBC_SUITES];

const INTEGRITY: Readonly<Record<string, string>> = {
  sha1: 'HMAC-SHA-1-96 [RFC2404]',
  sha256: 'HMAC-SHA-256-128 [RFC4868]',
  sha384: 'HMAC-SHA-384-192 [RFC4868]',
  sha512: 'HMAC-SHA-512-256 [RFC4868]',
};

/** One line of Wireshark's table of SAs. */
function tableLine({ sa, source, destination }: TsharkSa): string {
  if (!TSHARK_SUITES.includes(sa.suite) || sa.esn) {
    throw new Error('tshark opens AES-GCM and AES-CBC without ESN alone');
  }
  const [, hash] = sa.suite.split('-');
  const family = source.includes(':') ? 'IPv6' : 'IPv4';
  const hex = (...parts: Uint8Array[]): string => `0x${Buffer.concat(parts).toString('hex')}`;
  const fields = [
    family,
    source,
    destination,
    `0x${sa.spi.toString(16).padStart(8, '0')}`,
    ...(hash === undefined
      ? ['AES-GCM with 16 octet ICV [RFC4106]', hex(sa.key, sa.salt), 'NULL', '']
      : ['AES-CBC [RFC3602]', hex(sa.key), INTEGRITY[hash] ?? '', hex(sa.salt)]),
  ];
  return `uat:esp_sa:${fields.map((field) => `"${field}"`).join(',')}`;
}

// What an inner payload looks like to other dissectors must not matter: one that throws hides the ICV.
const DISSECTORS = [
  'frame',
  'eth',
  'ethertype',
  'sll',
  'raw',
  'ip',
  'ipv6',
  'udp',
  'udpencap',
  'esp',
  'tcp',
  'icmp',
  'icmpv6',
  'data',
];

const FIELDS = [
  'frame.number',
  'esp.spi',
  'esp.sequence',
  'esp.icv_good',
  'esp.icv_bad',
  'ip.src',
  'ipv6.src',
  'ip.dst',
  'ipv6.dst',
  'frame.protocols',
];

async function otherDissectorsOff(): Promise<string[]> {
  const { stdout } = await run([requirePeer('tshark'), '-G', 'protocols']);
  const names = stdout.split('\n').flatMap((line) => line.split('\t')[2] ?? []);
  return names
    .filter((name) => !DISSECTORS.includes(name))
    .flatMap((name) => ['--disable-protocol', name]);
}

/** Every ESP packet of the capture, raw or on UDP port 4500. */
export async function decryptCapture(
  capture: string,
  associations: readonly TsharkSa[],
): Promise<readonly TsharkPacket[]> {
  const options = [
    'esp.enable_encryption_decode:TRUE',
    'esp.enable_authentication_check:TRUE',
    ...associations.map(tableLine),
  ].flatMap((option) => ['-o', option]);
  const columns = FIELDS.flatMap((field) => ['-e', field]);
  const { stdout } = await run([
    requirePeer('tshark'),
    '-r',
    capture,
    ...options,
    ...(await otherDissectorsOff()),
    '-Y',
    'esp',
    '-T',
    'fields',
    '-E',
    'separator=/t',
    '-E',
    'occurrence=a',
    ...columns,
  ]);
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map(parseLine);
}

function parseLine(line: string): TsharkPacket {
  const [number = '', spi = '', sequence = '', good = '', bad = '', ...rest] = line.split('\t');
  const [source4 = '', source6 = '', destination4 = '', destination6 = '', protocols = ''] = rest;
  const list = (text: string): string[] => (text === '' ? [] : text.split(','));
  const isTrue = (text: string): boolean => text === '1' || text === 'True';
  return {
    number: Number(number),
    spi: Number(spi),
    sequence: Number(sequence),
    icv: isTrue(good) ? 'good' : isTrue(bad) ? 'bad' : 'absent',
    sources: [...list(source4), ...list(source6)],
    destinations: [...list(destination4), ...list(destination6)],
    protocols: protocols.split(':'),
  };
}
