import { chmodSync, lstatSync, unlinkSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { isMainThread } from 'node:worker_threads';

/** Longest path of a Unix socket on Linux: `sun_path` has 108 bytes and ends with a zero. */
export const SOCKET_PATH_BYTES_MAX = 107;

/** What is found where a socket is to be. */
export type SocketOccupant = 'nothing' | 'live' | 'stale' | 'other';

/**
 * Says whether a process answers on a Unix socket. A socket outlives the process that bound it,
 * and only a connection attempt tells the two apart.
 */
export async function probeSocket(path: string): Promise<SocketOccupant> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return 'nothing';
  if (!found.isSocket()) return 'other';
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve('live');
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      // A full backlog (EAGAIN) and a missing permission (EACCES) are not signs of death.
      if (error.code === 'ECONNREFUSED') resolve('stale');
      else if (error.code === 'ENOENT') resolve('nothing');
      else resolve('live');
    });
  });
}

/** Removes a socket that nobody serves. */
export function removeStaleSocket(path: string): void {
  unlinkSync(path);
}

/**
 * Binds a server to a path that only its owner may open.
 *
 * The mode is set by the umask while the socket is bound, because a `chmod` after it leaves a
 * moment in which anyone may connect. Node binds inside the call, so no other code runs under it.
 */
export async function listenPrivately(server: Server, path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.once('listening', () => {
      server.removeListener('error', reject);
      resolve();
    });
    const previous = setUmask(0o177);
    try {
      server.listen(path);
    } finally {
      if (previous !== undefined) setUmask(previous);
    }
  });
  chmodSync(path, 0o600);
}

/** The umask belongs to the process, and a worker thread of Node may not set it: `undefined`. */
function setUmask(mask: number): number | undefined {
  return isMainThread ? process.umask(mask) : undefined;
}
