/** Recording both sides of a gateway: its TUN interface, and IKE and ESP on outer interfaces. */
import { closeSync, fchmodSync, openSync, readFileSync, writeSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import type { Clock } from '../../clock.js';
import { ResourceError } from '../../errors.js';
import { outerPackets } from './outer-packet.js';
import { type CapturedInterface, LINK_TYPE, pcapngHead, pcapngPacket } from './pcapng.js';

const FRAMES_A_TURN = 64;
/** How long one look at one interface waits for its first frame. */
const WAIT_MS = 2;
/** ARPHRD_ETHER and ARPHRD_LOOPBACK, as /sys/class/net/NAME/type has them. */
const WITH_ETHERNET_HEADER: readonly string[] = ['1', '772'];

/** Frames of one interface, both ways, as the kernel shows them. */
export interface PacketSocket {
  /** At most `count`, waiting at most `timeoutMs` for the first. */
  receive(count: number, timeoutMs: number): readonly Uint8Array[];
}

/** One interface to record. */
export interface CaptureSource {
  readonly socket: PacketSocket;
  readonly interface: CapturedInterface;
  /** What of a frame is recorded. */
  readonly pick: (frame: Uint8Array) => readonly Uint8Array[];
}

/** When a capture ends, if not before by `isStopped`. */
export interface CaptureLimits {
  readonly count: number;
  readonly durationMs: number;
}

/** What a capture found on an interface's description in /sys; `undefined` where it is not there. */
export function linkTypeOf(name: string): CapturedInterface['linkType'] {
  try {
    const type = readFileSync(`/sys/class/net/${name}/type`, 'utf8').trim();
    return WITH_ETHERNET_HEADER.includes(type) ? LINK_TYPE.ethernet : LINK_TYPE.ip;
  } catch (cause) {
    throw new ResourceError(
      'IPSEC_ERR_DEVICE_UNAVAILABLE',
      `There is no network interface ${name}.`,
      { cause, fields: { interface: name } },
    );
  }
}

/** The inside: every packet of the TUN interface. */
export function insideSource(name: string, open: (name: string) => PacketSocket): CaptureSource {
  return {
    interface: { name, description: 'inside: packets in clear', linkType: LINK_TYPE.ip },
    socket: open(name),
    pick: (frame) => [frame],
  };
}

/** One outer interface: IKE and ESP alone. */
export function outsideSource(
  name: string,
  open: (name: string) => PacketSocket,
  filter: { readonly mtu: number; readonly ports: readonly number[] },
): CaptureSource {
  const linkType = linkTypeOf(name);
  const hasEthernetHeader = linkType === LINK_TYPE.ethernet;
  return {
    interface: { name, description: 'outside: IKE and ESP', linkType },
    socket: open(name),
    pick: (frame) => outerPackets(frame, { ...filter, hasEthernetHeader }),
  };
}

/**
 * Records until a limit is reached or `isStopped` says so, into a file that its owner alone may
 * read. Resolves with the number of packets. The times are those at which packets were taken from
 * the kernel: between two interfaces they are right to a few milliseconds.
 */
export async function record(
  path: string,
  sources: readonly CaptureSource[],
  limits: CaptureLimits,
  clock: Clock,
  isStopped: () => boolean,
): Promise<number> {
  const file = createFile(path);
  const end = clock.now() + limits.durationMs;
  const zero = BigInt(clock.wallTime().getTime()) * 1000n;
  const started = clock.now();
  let count = 0;
  try {
    writeSync(
      file,
      pcapngHead(
        'ipsec-node',
        sources.map((source) => source.interface),
      ),
    );
    for (;;) {
      await setImmediate();
      // What came before the end is taken still.
      const isLast = isStopped() || clock.now() >= end;
      let isIdle = true;
      for (const [index, { socket, pick }] of sources.entries()) {
        const frames = socket.receive(FRAMES_A_TURN, isLast ? 0 : WAIT_MS);
        if (frames.length > 0) isIdle = false;
        const at = zero + BigInt(Math.round((clock.now() - started) * 1000));
        for (const packet of frames.flatMap(pick)) {
          if (count >= limits.count) return count;
          writeSync(file, pcapngPacket(index, at, packet));
          count += 1;
        }
      }
      if (count >= limits.count || (isLast && isIdle) || (isLast && clock.now() >= end + 1000)) {
        return count;
      }
    }
  } finally {
    closeSync(file);
  }
}

/** Packets in clear are in it: 0600, also where the file was there before. */
function createFile(path: string): number {
  try {
    const file = openSync(path, 'w', 0o600);
    fchmodSync(file, 0o600);
    return file;
  } catch (cause) {
    throw new ResourceError('IPSEC_ERR_HOST', `${path} cannot be written.`, {
      cause,
      fields: { path },
    });
  }
}
