import { connect, type Socket } from 'node:net';
import {
  decodePacket,
  encodePacket,
  PacketSplitter,
  section,
  textOf,
  type ViciPacket,
  type ViciSection,
} from './codec.js';

/** How long a gateway may stay silent before a request is given up. */
export const REPLY_MS_MAX = 10_000;

/** Why a request has no answer. */
export type ViciClientFault =
  | 'not-running'
  | 'not-permitted'
  | 'unknown-command'
  | 'not-vici'
  | 'timeout'
  | 'closed'
  | 'refused';

/** Thrown by the client; `fault` is stable, the message is for people. */
export class ViciClientError extends Error {
  constructor(
    readonly fault: ViciClientFault,
    message: string,
    /** The stable code of the gateway's own error, where it sent one. */
    readonly remoteCode?: string,
  ) {
    super(message);
    this.name = 'ViciClientError';
  }
}

interface Pending {
  readonly resolve: (packet: ViciPacket) => void;
  readonly reject: (error: ViciClientError) => void;
}

/** The client side of the control socket: one request at a time. */
export class ViciClient {
  private readonly splitter = new PacketSplitter();
  private pending: Pending | undefined;
  private onEvent: ((name: string, message: ViciSection) => void) | undefined;
  private ended: ViciClientError | undefined;
  private timeoutMs = REPLY_MS_MAX;
  private onEnd: ((error: ViciClientError) => void) | undefined;

  private constructor(private readonly socket: Socket) {
    socket.on('data', (chunk: Buffer) => this.handleBytes(chunk));
    socket.on('error', (error) => this.end(new ViciClientError('closed', error.message)));
    socket.on('close', () =>
      this.end(new ViciClientError('closed', 'the gateway closed the control connection')),
    );
    socket.on('timeout', () =>
      this.end(new ViciClientError('timeout', `no answer in ${this.timeoutMs / 1000} s`)),
    );
  }

  /** Connects to the control socket at `path`. */
  static async connect(path: string): Promise<ViciClient> {
    const socket = connect(path);
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', (error: NodeJS.ErrnoException) => {
        const absent = error.code === 'ENOENT' || error.code === 'ECONNREFUSED';
        const denied = error.code === 'EACCES' || error.code === 'EPERM';
        if (absent) reject(new ViciClientError('not-running', `no gateway answers on ${path}`));
        else if (denied) {
          reject(new ViciClientError('not-permitted', `${path} may be opened by its owner alone`));
        } else reject(new ViciClientError('closed', `${path}: ${error.message}`));
      });
    });
    socket.removeAllListeners('error');
    return new ViciClient(socket);
  }

  private end(error: ViciClientError): void {
    this.ended ??= error;
    this.socket.destroy();
    this.pending?.reject(this.ended);
    this.pending = undefined;
    this.onEnd?.(this.ended);
  }

  private handleBytes(chunk: Buffer): void {
    const cut = this.splitter.push(chunk);
    if (!cut.ok) return this.end(new ViciClientError('not-vici', cut.reason));
    for (const bytes of cut.value) {
      const packet = decodePacket(bytes);
      if (!packet.ok) return this.end(new ViciClientError('not-vici', packet.reason));
      if (packet.value.kind === 'event') {
        this.onEvent?.(packet.value.name, packet.value.message);
        continue;
      }
      this.pending?.resolve(packet.value);
      this.pending = undefined;
    }
  }

  private async exchange(packet: ViciPacket, timeoutMs = REPLY_MS_MAX): Promise<ViciPacket> {
    if (this.ended !== undefined) throw this.ended;
    if (this.pending !== undefined) {
      throw new ViciClientError('refused', 'one request at a time on a control connection');
    }
    this.timeoutMs = timeoutMs;
    this.socket.setTimeout(timeoutMs);
    try {
      return await new Promise<ViciPacket>((resolve, reject) => {
        this.pending = { resolve, reject };
        this.socket.write(encodePacket(packet));
      });
    } finally {
      this.socket.setTimeout(0);
    }
  }

  /**
   * Sends a request and returns its answer. `success = no` is thrown as `refused`. A command that
   * waits for a peer is given more time than others.
   */
  async request(
    name: string,
    message: ViciSection = section(),
    timeoutMs = REPLY_MS_MAX,
  ): Promise<ViciSection> {
    const reply = await this.exchange({ kind: 'request', name, message }, timeoutMs);
    if (reply.kind === 'unknownCommand') {
      throw new ViciClientError('unknown-command', `the gateway does not know ${name}`);
    }
    if (reply.kind !== 'response') {
      throw new ViciClientError('not-vici', `${reply.kind} came as the answer to ${name}`);
    }
    if (textOf(reply.message, 'success') === 'no') {
      const reason = textOf(reply.message, 'errmsg') ?? 'the gateway gave no reason';
      throw new ViciClientError('refused', reason, textOf(reply.message, 'code'));
    }
    return reply.message;
  }

  /** Sends a request whose answer is a stream of `event`; returns what was streamed. */
  async collect(
    name: string,
    event: string,
    message: ViciSection = section(),
  ): Promise<readonly ViciSection[]> {
    return (await this.stream(name, event, message)).events;
  }

  /** As {@link collect}, with the reply that ends the stream. */
  async stream(
    name: string,
    event: string,
    message: ViciSection = section(),
  ): Promise<{ readonly events: readonly ViciSection[]; readonly reply: ViciSection }> {
    const events: ViciSection[] = [];
    const reply = await this.listenWhile(
      [event],
      (_name, content) => events.push(content),
      () => this.request(name, message),
    );
    return { events, reply };
  }

  /** Runs `work` while `onEvent` is given what comes of these events. */
  async listenWhile<T>(
    names: readonly string[],
    onEvent: (name: string, message: ViciSection) => void,
    work: () => Promise<T>,
  ): Promise<T> {
    this.onEvent = (name, content) => {
      if (names.includes(name)) onEvent(name, content);
    };
    for (const name of names) {
      const registered = await this.exchange({ kind: 'register', name });
      if (registered.kind !== 'confirm') {
        throw new ViciClientError('unknown-command', `the gateway does not know the event ${name}`);
      }
    }
    try {
      return await work();
    } finally {
      this.onEvent = undefined;
      for (const name of names) {
        if (this.ended === undefined) await this.exchange({ kind: 'unregister', name });
      }
    }
  }

  /** Resolves with the reason when the connection has ended. */
  async untilClosed(): Promise<ViciClientError> {
    if (this.ended !== undefined) return this.ended;
    return new Promise((resolve) => {
      this.onEnd = resolve;
    });
  }

  /** Closes the connection. Idempotent. */
  close(): void {
    this.ended ??= new ViciClientError('closed', 'the control connection is closed');
    this.socket.destroy();
  }
}
