import { createServer, type Server, type Socket } from 'node:net';
import {
  decodePacket,
  encodePacket,
  PacketSplitter,
  section,
  type ViciPacket,
  type ViciSection,
  wipeBytes,
} from './codec.js';
import {
  listenPrivately,
  probeSocket,
  removeStaleSocket,
  SOCKET_PATH_BYTES_MAX,
} from './socket-path.js';

/** Most clients at one time; one more is closed at once. */
export const CONNECTION_COUNT_MAX = 64;
/** Most packets of one client that wait; its socket is not read while they do. */
export const REQUEST_QUEUE_COUNT_MAX = 16;
/** Bytes a client may leave unread before events for it are dropped. */
export const EVENT_QUEUE_BYTES_MAX = 1024 * 1024;
/** How long a client may leave an answer unread before its connection is closed. */
export const STALL_MS_MAX = 30_000;

/** Sends one event of a streamed answer; waits while the client is slow. */
export type ViciStream = (event: string, message: ViciSection) => Promise<void>;

/** Answers one request, having streamed what belongs to it. Errors become `success = no`. */
export type ViciCommand = (request: ViciSection, stream: ViciStream) => Promise<ViciSection>;

/** What a server serves. */
export interface ViciServerOptions {
  /** Path of the Unix socket; made with mode 0600. */
  readonly path: string;
  readonly commands: ReadonlyMap<string, ViciCommand>;
  /** Names that clients may register for. */
  readonly events: ReadonlySet<string>;
  /** Told why a connection was refused or closed, and of failures of commands. */
  readonly onRefused: (reason: string) => void;
}

/** What went wrong when a socket could not be had. */
export type ViciListenFault = 'too-long' | 'in-use' | 'not-a-socket';

/** Thrown by `ViciServer.listen` where the path itself is at fault. */
export class ViciListenError extends Error {
  constructor(
    readonly fault: ViciListenFault,
    readonly path: string,
  ) {
    super(`${path}: ${fault}`);
    this.name = 'ViciListenError';
  }
}

/** Turns an error into what a vici client shows: `success = no` and one sentence. */
export function failure(error: unknown): ViciSection {
  const text = error instanceof Error ? error.message : String(error);
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return section([
    ['success', false],
    ['errmsg', text],
    ['code', typeof code === 'string' ? code : undefined],
  ]);
}

/** One client: its requests are answered one at a time, in order. */
class ViciConnection {
  private readonly registered = new Set<string>();
  private readonly splitter = new PacketSplitter();
  private readonly waiting: ViciPacket[] = [];
  private busy = false;
  /** Events that this client was too slow for. */
  private lostEvents = 0;

  constructor(
    private readonly socket: Socket,
    private readonly options: ViciServerOptions,
    private readonly onRegistered: () => void,
  ) {
    socket.on('data', (chunk: Buffer) => this.handleBytes(chunk));
    // What a client that went away leaves behind is of no interest.
    socket.on('error', () => socket.destroy());
  }

  private refuse(reason: string): void {
    this.options.onRefused(`a client of the control socket was disconnected: ${reason}`);
    this.socket.destroy();
  }

  private handleBytes(chunk: Buffer): void {
    const cut = this.splitter.push(chunk);
    if (!cut.ok) return this.refuse(cut.reason);
    for (const bytes of cut.value) {
      const packet = decodePacket(bytes);
      bytes.fill(0);
      if (!packet.ok) return this.refuse(packet.reason);
      if (this.waiting.length >= REQUEST_QUEUE_COUNT_MAX) {
        return this.refuse(`more than ${REQUEST_QUEUE_COUNT_MAX} requests wait for their answer`);
      }
      this.waiting.push(packet.value);
    }
    void this.work();
  }

  private async work(): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    this.socket.pause();
    try {
      for (;;) {
        const packet = this.waiting.shift();
        if (packet === undefined || this.socket.destroyed) break;
        await this.handlePacket(packet);
      }
    } catch (error) {
      this.refuse(error instanceof Error ? error.message : String(error));
    } finally {
      this.busy = false;
      this.socket.resume();
    }
  }

  private async handlePacket(packet: ViciPacket): Promise<void> {
    switch (packet.kind) {
      case 'request': {
        const command = this.options.commands.get(packet.name);
        if (command === undefined) return this.send({ kind: 'unknownCommand' });
        return this.answer(packet.name, packet.message, command);
      }
      case 'register':
        if (!this.options.events.has(packet.name)) return this.send({ kind: 'unknownEvent' });
        this.registered.add(packet.name);
        this.onRegistered();
        return this.send({ kind: 'confirm' });
      case 'unregister':
        if (!this.registered.delete(packet.name)) return this.send({ kind: 'unknownEvent' });
        return this.send({ kind: 'confirm' });
      default:
        return this.refuse(`a client does not send packets of kind ${packet.kind}`);
    }
  }

  private async answer(name: string, message: ViciSection, command: ViciCommand): Promise<void> {
    const stream: ViciStream = async (event, content) => {
      if (this.registered.has(event))
        await this.send({ kind: 'event', name: event, message: content });
    };
    let reply: ViciSection;
    try {
      reply = await command(message, stream);
    } catch (error) {
      this.options.onRefused(`the control command ${name} failed: ${String(error)}`);
      reply = failure(error);
    } finally {
      wipeBytes(message);
    }
    await this.send({ kind: 'response', message: reply });
  }

  private async send(packet: ViciPacket): Promise<void> {
    let bytes: Buffer;
    try {
      bytes = encodePacket(packet);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      if (packet.kind !== 'response') return this.refuse(error.message);
      bytes = encodePacket({ kind: 'response', message: failure(error) });
    }
    if (this.socket.destroyed || this.socket.write(bytes)) return;
    await this.drained();
  }

  private async drained(): Promise<void> {
    const { socket } = this;
    await new Promise<void>((resolve) => {
      const settle = (): void => {
        socket.setTimeout(0);
        socket.off('drain', settle);
        socket.off('close', settle);
        socket.off('timeout', stalled);
        resolve();
      };
      const stalled = (): void => {
        this.refuse(`it left its answer unread for ${STALL_MS_MAX / 1000} s`);
        settle();
      };
      socket.once('drain', settle);
      socket.once('close', settle);
      socket.once('timeout', stalled);
      socket.setTimeout(STALL_MS_MAX);
    });
  }

  wants(event: string): boolean {
    return this.registered.has(event) && !this.socket.destroyed;
  }

  /** Sends an event if the client asked for it and reads what it is sent. */
  notify(event: string, bytes: Buffer): void {
    if (!this.wants(event)) return;
    if (this.socket.writableLength + bytes.length > EVENT_QUEUE_BYTES_MAX) {
      if (this.lostEvents === 0) {
        this.options.onRefused('a client of the control socket is too slow: it misses events');
      }
      this.lostEvents += 1;
      return;
    }
    this.socket.write(bytes);
  }

  close(): void {
    this.socket.destroy();
  }
}

/** The server side of the control socket. */
export class ViciServer {
  private readonly connections = new Set<ViciConnection>();
  private readonly registrationListeners: (() => void)[] = [];
  private readonly closeListeners: (() => void)[] = [];

  private constructor(
    private readonly server: Server,
    private readonly options: ViciServerOptions,
  ) {
    server.on('connection', (socket) => this.handleConnection(socket));
    server.on('error', (error) => options.onRefused(`the control socket failed: ${error.message}`));
  }

  /**
   * Serves on a Unix socket. The socket of a process that died is replaced; one that answers is
   * left alone and refused, as is a file that is no socket: `ViciListenError`.
   */
  static async listen(options: ViciServerOptions): Promise<ViciServer> {
    if (Buffer.byteLength(options.path) > SOCKET_PATH_BYTES_MAX) {
      throw new ViciListenError('too-long', options.path);
    }
    const occupant = await probeSocket(options.path);
    if (occupant === 'live') throw new ViciListenError('in-use', options.path);
    if (occupant === 'other') throw new ViciListenError('not-a-socket', options.path);
    if (occupant === 'stale') removeStaleSocket(options.path);
    const server = createServer();
    const vici = new ViciServer(server, options);
    await listenPrivately(server, options.path);
    return vici;
  }

  private handleConnection(socket: Socket): void {
    if (this.connections.size >= CONNECTION_COUNT_MAX) {
      this.options.onRefused(
        `a client of the control socket was refused: ${CONNECTION_COUNT_MAX} are connected`,
      );
      socket.destroy();
      return;
    }
    const connection = new ViciConnection(socket, this.options, () => {
      for (const listener of this.registrationListeners) listener();
    });
    this.connections.add(connection);
    socket.once('close', () => this.connections.delete(connection));
  }

  /** Whether a client registered for the event: building one that nobody wants is work for nothing. */
  isWanted(event: string): boolean {
    return [...this.connections].some((connection) => connection.wants(event));
  }

  /** Calls `listener` after each registration of a client for an event. */
  whenRegistered(listener: () => void): void {
    this.registrationListeners.push(listener);
  }

  /** Calls `listener` once, when the server closes. */
  whenClosed(listener: () => void): void {
    this.closeListeners.push(listener);
  }

  /** Raises an event to all who registered for it. Never waits: who is too slow misses it. */
  raise(event: string, message: ViciSection): void {
    if (this.connections.size === 0) return;
    const bytes = encodePacket({ kind: 'event', name: event, message });
    for (const connection of this.connections) connection.notify(event, bytes);
  }

  /** Closes every connection and removes the socket. Idempotent. */
  async close(): Promise<void> {
    for (const listener of this.closeListeners.splice(0)) listener();
    for (const connection of this.connections) connection.close();
    if (!this.server.listening) return;
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }
}
