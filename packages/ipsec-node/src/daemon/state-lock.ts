import { link, lstat, readdir, rename, unlink } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import type { Clock } from '../clock.js';
import { listenPrivately, probeSocket, SOCKET_PATH_BYTES_MAX } from './vici/socket-path.js';

/** Name of the lock in the state directory. */
export const LOCK_NAME = 'lock';

/** How long a taker of an abandoned lock waits before it looks whether another took it too. */
export const TAKEOVER_SETTLE_MS = 100;

/** Makes the names of simultaneous takers in one process distinct. */
let takeCount = 0;

/**
 * Excludes a second gateway from one state directory.
 *
 * The lock is a bound Unix socket: the kernel stops answering for it the moment its holder dies,
 * however it dies, and the answer is the same in every PID namespace, where the number in a PID
 * file means nothing. A process that holds it serves nothing on it.
 */
export class StateLock {
  private constructor(
    private readonly server: Server,
    private readonly path: string,
    private readonly inode: bigint,
  ) {}

  /** Takes the lock of a directory, or answers `undefined` where a live process holds it. */
  static async take(directory: string, clock: Clock): Promise<StateLock | undefined> {
    const path = join(directory, LOCK_NAME);
    takeCount += 1;
    const own = join(directory, `${LOCK_NAME}.${process.pid}.${takeCount}`);
    if (Buffer.byteLength(own) > SOCKET_PATH_BYTES_MAX) {
      throw new RangeError(`its path is longer than a socket's may be: ${SOCKET_PATH_BYTES_MAX}`);
    }
    // Binding in a directory that is absent says EACCES on every system; reading it says the truth.
    await readdir(directory);
    // A name of ours left by an earlier process with our PID is in nobody's use.
    await unlink(own).catch(ignoreAbsent);
    const server = createServer((socket) => socket.destroy());
    await listenPrivately(server, own);
    server.unref();
    const inode = await inodeOf(own);
    const lock = new StateLock(server, path, inode ?? 0n);
    if (inode !== undefined && (await lock.claim(own, clock))) return lock;
    await unlink(own).catch(ignoreAbsent);
    await closed(server);
    return undefined;
  }

  private async claim(own: string, clock: Clock): Promise<boolean> {
    for (let attempt = 0; attempt < 3; attempt += 1) {
      // link(2) fails where the name exists: of two fresh starts exactly one gets it.
      const free = await link(own, this.path).then(
        () => true,
        (error: NodeJS.ErrnoException) => {
          if (error.code === 'EEXIST') return false;
          throw error;
        },
      );
      if (free) {
        await unlink(own).catch(ignoreAbsent);
        return true;
      }
      const occupant = await probeSocket(this.path);
      if (occupant === 'nothing') continue;
      if (occupant !== 'stale') return false;
      await rename(own, this.path);
      // Two takers of one abandoned lock both get here; the later rename is the one that counts.
      await clock.sleep(TAKEOVER_SETTLE_MS);
      return (await inodeOf(this.path)) === this.inode;
    }
    return false;
  }

  /** Gives the lock back. Idempotent. */
  async release(): Promise<void> {
    if (!this.server.listening) return;
    if ((await inodeOf(this.path)) === this.inode) await unlink(this.path).catch(ignoreAbsent);
    await closed(this.server);
  }
}

async function inodeOf(path: string): Promise<bigint | undefined> {
  try {
    return (await lstat(path, { bigint: true })).ino;
  } catch (error) {
    ignoreAbsent(error);
    return undefined;
  }
}

function ignoreAbsent(error: unknown): void {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return;
  throw error;
}

async function closed(server: Server): Promise<void> {
  await new Promise<void>((resolve) => server.close(() => resolve()));
}
