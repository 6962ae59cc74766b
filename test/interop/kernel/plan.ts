/** The matrix against the kernel's ESP: every association of one gateway, and the same for `ip xfrm`. */

import { createHash } from 'node:crypto';

export type Family = 4 | 6;
export type Suite =
  | 'aes128gcm16'
  | 'aes256gcm16'
  | 'chacha20poly1305'
  | 'aes128-sha256'
  | 'aes256-sha256'
  | 'aes256-sha512';
export type Encapsulation = 'esp' | 'udp';

export interface Link {
  readonly name: string;
  /** From 1: it is in the addresses, the SPIs and the keys. */
  readonly number: number;
  readonly suite: Suite;
  readonly outer: Family;
  readonly inner: Family;
  readonly esn: boolean;
  readonly encapsulation: Encapsulation;
  /** What we pad to, and the kernel: octets of payload. */
  readonly tfc?: { readonly ours: number; readonly kernels: number };
  /** The number that both directions have used already. Default 0. */
  readonly used?: number;
}

/** `ours` is the gateway under test, `kernel` the other end. */
export type End = 'ours' | 'kernel';

export const SUITES: readonly Suite[] = [
  'aes128gcm16',
  'aes256gcm16',
  'chacha20poly1305',
  'aes128-sha256',
  'aes256-sha256',
  'aes256-sha512',
];
const FAMILIES: readonly Family[] = [4, 6];

const OUTER: Readonly<Record<End, Readonly<Record<Family, string>>>> = {
  ours: { 4: '192.0.2.1', 6: '2001:db8:ff::1' },
  kernel: { 4: '192.0.2.2', 6: '2001:db8:ff::2' },
};

/** The kernel's name of an AEAD, or of cipher and HMAC; octets of each key; bits of ICV. */
interface KernelSuite {
  readonly aead?: string;
  readonly hash?: string;
  readonly keyLen: number;
  readonly hashKeyLen: number;
  readonly icvBits: number;
}

const gcm = (keyLen: number): KernelSuite => ({
  aead: 'rfc4106(gcm(aes))',
  keyLen,
  hashKeyLen: 0,
  icvBits: 128,
});
const cbc = (keyLen: number, hash: string, hashKeyLen: number, icvBits: number): KernelSuite => ({
  hash,
  keyLen,
  hashKeyLen,
  icvBits,
});

const KERNEL_SUITES: Readonly<Record<Suite, KernelSuite>> = {
  aes128gcm16: gcm(20),
  aes256gcm16: gcm(36),
  chacha20poly1305: { ...gcm(36), aead: 'rfc7539esp(chacha20,poly1305)' },
  'aes128-sha256': cbc(16, 'hmac(sha256)', 32, 128),
  'aes256-sha256': cbc(32, 'hmac(sha256)', 32, 128),
  'aes256-sha512': cbc(32, 'hmac(sha512)', 64, 256),
};

/** Of both ends. */
const WINDOW = 1024;

function combinations(): readonly Omit<Link, 'name' | 'number'>[] {
  return SUITES.flatMap((suite) =>
    FAMILIES.flatMap((outer) =>
      // The guest is slow: each family in itself is enough for what only the suite changes.
      FAMILIES.filter(
        (inner) => inner === outer || KERNEL_SUITES[suite].aead !== undefined,
      ).flatMap((inner) =>
        [false, true].flatMap((esn) =>
          (['esp', 'udp'] as const).map((encapsulation) => ({
            suite,
            outer,
            inner,
            esn,
            encapsulation,
          })),
        ),
      ),
    ),
  );
}

/** The 72 of the matrix. */
export const MATRIX: readonly Link[] = combinations().map((each, index) => ({
  ...each,
  number: index + 1,
  name: [
    each.suite,
    `IPv${each.inner} in IPv${each.outer}`,
    each.esn ? 'ESN' : '32-bit numbers',
    each.encapsulation === 'udp' ? 'UDP-encapsulated' : 'raw ESP',
  ].join(', '),
}));

/** SAs of their own for what is asked besides. */
export const EXTRA = {
  padding: { suite: 'aes256gcm16', tfc: { ours: 900, kernels: 700 } },
  replay: { suite: 'aes128gcm16' },
  marks: { suite: 'chacha20poly1305' },
  crossing: { suite: 'aes256gcm16', used: 2 ** 32 - 100 },
} as const;

export const EXTRAS: readonly Link[] = Object.entries(EXTRA).map(([name, extra], index) => ({
  name,
  number: MATRIX.length + index + 1,
  outer: 4,
  inner: 4,
  esn: true,
  encapsulation: name === 'padding' ? 'esp' : 'udp',
  ...extra,
}));

export const LINKS: readonly Link[] = [...MATRIX, ...EXTRAS];

export function outerAddress(end: End, family: Family): string {
  return OUTER[end][family];
}

export function innerAddress(end: End, link: Link): string {
  const side = end === 'ours' ? 1 : 2;
  return link.inner === 4
    ? `10.${side}.${link.number}.1`
    : `fd0${side}::${link.number.toString(16)}:1`;
}

function innerPrefix(end: End, link: Link): string {
  const address = innerAddress(end, link);
  return link.inner === 4 ? address.replace(/1$/, '0/24') : address.replace(/1$/, '0/112');
}

/** Of the SA that `receiver` receives with. */
export function spiOf(receiver: End, link: Link): number {
  return (receiver === 'ours' ? 0xc001_0000 : 0xc002_0000) + link.number;
}

function keyOf(receiver: End, link: Link): string {
  const stream = createHash('sha512').update(`${receiver} ${link.number}`).digest('hex');
  const { keyLen, hashKeyLen } = KERNEL_SUITES[link.suite];
  // Two hashes: a cipher's key and that of its HMAC are longer than one.
  const more = createHash('sha512').update(stream).digest('hex');
  return `0x${`${stream}${more}`.slice(0, 2 * (keyLen + hashKeyLen))}`;
}

/** What `ip xfrm` calls suite and key. */
function kernelAlgorithm(receiver: End, link: Link): string {
  const { aead, hash, keyLen, icvBits } = KERNEL_SUITES[link.suite];
  const key = keyOf(receiver, link);
  if (aead !== undefined) return `aead ${aead} ${key} ${icvBits}`;
  const cut = 2 + 2 * keyLen;
  const encryption = `enc cbc(aes) ${key.slice(0, cut)}`;
  return `${encryption} auth-trunc ${hash} 0x${key.slice(cut)} ${icvBits}`;
}

/** The file of our gateway: one policy and one association for each link. JSON is YAML. */
export function gatewayFile(folder: string): string {
  const policies = LINKS.map((link) => ({
    name: `link-${link.number}`,
    local: innerPrefix('ours', link),
    remote: innerPrefix('kernel', link),
    action: 'protect',
    ...(link.tfc === undefined ? {} : { tfc: { padTo: link.tfc.ours } }),
  }));
  const associations = LINKS.map((link) => ({
    policy: `link-${link.number}`,
    suite: link.suite,
    local: outerAddress('ours', link.outer),
    remote: outerAddress('kernel', link.outer),
    encapsulation: link.encapsulation,
    esn: link.esn,
    replayWindow: WINDOW,
    inbound: { spi: spiOf('ours', link), key: keyOf('ours', link) },
    outbound: { spi: spiOf('kernel', link), key: keyOf('kernel', link) },
  }));
  const gateway = {
    name: 'interop',
    laboratory: true,
    control: `${folder}/interop.vici`,
    state: `${folder}/state`,
    unprotected: ['wan'],
    protected: ['lan'],
  };
  const rest = { name: 'rest', action: 'bypass' };
  return JSON.stringify({ gateway, policies: [...policies, rest], associations }, undefined, 2);
}

/**
 * The file of the state directory, as after a life in which numbers were used. What it looks like
 * is in no manual: this fails with the first change of it.
 */
export function stateFile(): string {
  const sha256 = (...parts: readonly (string | Uint8Array)[]): string =>
    parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest('hex');
  const records = LINKS.filter(({ used }) => used !== undefined).flatMap((link) =>
    (['outbound', 'inbound'] as const).map((direction) => {
      const receiver = direction === 'inbound' ? 'ours' : 'kernel';
      const key = Buffer.from(keyOf(receiver, link).slice(2), 'hex');
      return {
        direction,
        spi: spiOf(receiver, link),
        suite: link.suite,
        keyDigest: sha256('ipsec-node sequence numbers\0', key),
        upTo: String(link.used),
      };
    }),
  );
  return JSON.stringify({ format: 1, digest: sha256(JSON.stringify(records)), records });
}

/** The lines of `ip` that give the kernel the other end of each link. */
export function kernelLines(): string[] {
  return LINKS.flatMap((link) => {
    const own = outerAddress('kernel', link.outer);
    const peer = outerAddress('ours', link.outer);
    const [ownInner, peerInner] = [innerPrefix('kernel', link), innerPrefix('ours', link)];
    const state = (receiver: End): string => {
      const outbound = receiver === 'ours';
      const [src, dst] = outbound ? [own, peer] : [peer, own];
      const [from, to] = outbound ? [ownInner, peerInner] : [peerInner, ownInner];
      return [
        `xfrm state add src ${src} dst ${dst} proto esp spi ${spiOf(receiver, link)}`,
        `mode tunnel reqid ${link.number} replay-window ${WINDOW}`,
        ...(link.esn ? ['flag esn'] : []),
        ...(link.used === undefined
          ? []
          : [`${outbound ? 'replay-oseq' : 'replay-seq'} ${link.used}`]),
        kernelAlgorithm(receiver, link),
        ...(link.encapsulation === 'udp' ? ['encap espinudp 4500 4500 0.0.0.0'] : []),
        `sel src ${from} dst ${to}`,
        ...(link.tfc !== undefined && outbound ? [`tfcpad ${link.tfc.kernels}`] : []),
      ].join(' ');
    };
    const template = (src: string, dst: string): string =>
      `tmpl src ${src} dst ${dst} proto esp reqid ${link.number} mode tunnel`;
    return [
      state('ours'),
      state('kernel'),
      `xfrm policy add src ${ownInner} dst ${peerInner} dir out ${template(own, peer)}`,
      `xfrm policy add src ${peerInner} dst ${ownInner} dir in ${template(peer, own)}`,
    ];
  });
}

/** Names of the guest's cases besides the links, in the order in which they run. */
export const STAGES = {
  start: 'start',
  after: 'after the matrix',
  checksums: 'checksums',
  padding: 'padding',
  crossing: 'crossing',
  replay: 'replay',
  marks: 'marks',
  stop: 'stop',
} as const;

export const ORDER: readonly string[] = [
  STAGES.start,
  ...MATRIX.map(({ name }) => name),
  STAGES.after,
  STAGES.checksums,
  STAGES.padding,
  STAGES.crossing,
  STAGES.replay,
  STAGES.marks,
  STAGES.stop,
];

/** One transfer over TCP: SHA-256 of what was sent, and of what the receiver says it got. */
export interface Transfer {
  readonly sent: string;
  readonly received: string;
  readonly seconds: number;
}

/** What the case of one link finds. */
export interface LinkFindings {
  readonly toKernel: Transfer;
  readonly toOurs: Transfer;
  readonly pingAnswered: boolean;
  /** The counters of /proc/net/xfrm_stat that rose, by how much. */
  readonly kernelErrors: Readonly<Record<string, number>>;
}

/** An SA of the kernel, as `ip -s xfrm state` shows it. */
export interface KernelState {
  readonly packets: number;
  /** The highest number received. */
  readonly received: number;
  /** The last number sent. */
  readonly sent: number;
  readonly tooOld: number;
  readonly replays: number;
  readonly failed: number;
}

/** What both ends say when the links are done. */
export interface Aftermath {
  /** As `ipsec-node sas --json` prints them. */
  readonly ourSas: unknown;
  readonly ourDrops: Readonly<Record<string, number>>;
  /** By SPI. */
  readonly kernelStates: Readonly<Record<string, KernelState>>;
  readonly kernelErrors: Readonly<Record<string, number>>;
  /** What the kernel's ESP counted in the namespace of our gateway. */
  readonly besideUs: Readonly<Record<string, number>>;
}

/** What the two ends write into the checksum of UDP around ESP. */
export interface ChecksumFindings {
  readonly outer: Family;
  readonly transfer: Transfer;
  readonly kernelPackets: number;
  readonly kernelZero: number;
  readonly ourPackets: number;
  readonly ourZero: number;
}

export interface PaddingFindings {
  readonly pingAnswered: boolean;
  /** Octets of the shortest outer packet that each end sent. */
  readonly shortest: Readonly<Record<End, number>>;
  readonly toKernel: Transfer;
  readonly toOurs: Transfer;
  readonly kernelErrors: Readonly<Record<string, number>>;
}

/** One link over 2^32. */
export interface CrossingFindings extends LinkFindings {
  readonly ourSas: unknown;
  readonly kernelStates: Readonly<Record<string, KernelState>>;
  readonly ourDrops: Readonly<Record<string, number>>;
}

export interface ReplayFindings {
  /** Packets of each end that were put on the wire again. */
  readonly sent: Readonly<Record<End, number>>;
  readonly ourDrops: Readonly<Record<string, number>>;
  readonly kernelErrors: Readonly<Record<string, number>>;
  /** Of a ping after it. */
  readonly pingAnswered: boolean;
}

/** ECN fields of what arrived: sent as ECT(0), as ECT(0) and marked outside, as Not-ECT and marked. */
export interface Marks {
  readonly unmarked: readonly number[];
  readonly marked: readonly number[];
  readonly deaf: readonly number[];
}

export const MARK_COUNT = 5;

export interface MarkFindings {
  readonly arrived: Readonly<Record<End, Marks>>;
  readonly ourDrops: Readonly<Record<string, number>>;
}
