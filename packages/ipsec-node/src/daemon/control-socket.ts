import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Clock } from '../clock.js';
import { ResourceError } from '../errors.js';
import type { Logger } from '../log.js';
import type { Daemon } from './daemon.js';
import { type ControlSource, EVENT_NAMES, viciCommands } from './vici/commands.js';
import { type DataplaneNotice, MONITORED_KINDS } from './vici/ike-messages.js';
import { raiseEvents } from './vici/raise-events.js';
import { ViciListenError, ViciServer } from './vici/server.js';
import { probeSocket, SOCKET_PATH_BYTES_MAX } from './vici/socket-path.js';

/**
 * Serves the control socket of one gateway, with mode 0600 in a directory that is made if absent.
 *
 * @throws ResourceError where another gateway answers there, or the path cannot be used.
 */
export async function openControlSocket(
  path: string,
  source: ControlSource,
  log: Logger,
): Promise<ViciServer> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    const server = await ViciServer.listen({
      path,
      commands: viciCommands(source, (reason) => log.warn('Control socket.', { reason })),
      events: EVENT_NAMES,
      onRefused: (reason) => log.warn('Control socket.', { reason }),
    });
    server.whenClosed(raiseEvents(source, server));
    return server;
  } catch (error) {
    throw refusalOf(path, error);
  }
}

/**
 * Refuses a start early where another gateway answers: before anything of the host is touched.
 *
 * @throws ResourceError
 */
export async function requireFreeControlSocket(path: string): Promise<void> {
  if ((await probeSocket(path)) === 'live') {
    throw refusalOf(path, new ViciListenError('in-use', path));
  }
}

/** Calls `listener` for what the datapath tells; the returned function ends it. */
export function watchDaemon(
  daemon: Daemon,
  clock: Clock,
  listener: (event: DataplaneNotice, at: Date) => void,
): () => void {
  const handle = (event: DataplaneNotice): void => listener(event, clock.wallTime());
  for (const kind of MONITORED_KINDS) daemon.on(kind, handle);
  return () => {
    for (const kind of MONITORED_KINDS) daemon.off(kind, handle);
  };
}

function refusalOf(path: string, error: unknown): ResourceError {
  const fields = { path, adviceInMessage: true };
  if (!(error instanceof ViciListenError)) {
    const reason = error instanceof Error ? error.message : String(error);
    return new ResourceError(
      'IPSEC_ERR_HOST',
      `The control socket ${path} cannot be made: ${reason}. ` +
        'Name another path in gateway.control, or make its directory writable for the gateway.',
      { cause: error, fields },
    );
  }
  switch (error.fault) {
    case 'in-use':
      return new ResourceError(
        'IPSEC_ERR_ADDRESS_IN_USE',
        `A gateway answers on the control socket ${path} already. ` +
          'Stop it, or give this one a socket of its own in gateway.control.',
        { fields },
      );
    case 'not-a-socket':
      return new ResourceError(
        'IPSEC_ERR_HOST',
        `The control socket ${path} cannot be made: a file that is no socket is in its place. ` +
          'Remove it, or name another path in gateway.control.',
        { fields },
      );
    case 'too-long':
      return new ResourceError(
        'IPSEC_ERR_HOST',
        `The path of the control socket, ${path}, is longer than the ${SOCKET_PATH_BYTES_MAX} ` +
          'bytes that a Unix socket may have. Name a shorter one in gateway.control.',
        { fields },
      );
  }
}
