import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ViciClient } from '../../../../packages/ipsec-node/src/daemon/vici/client.js';
import {
  decodePacket,
  encodePacket,
  PacketSplitter,
  section,
  textOf,
  type ViciPacket,
} from '../../../../packages/ipsec-node/src/daemon/vici/codec.js';
import {
  CONNECTION_COUNT_MAX,
  EVENT_QUEUE_BYTES_MAX,
  REQUEST_QUEUE_COUNT_MAX,
  type ViciCommand,
  ViciServer,
} from '../../../../packages/ipsec-node/src/daemon/vici/server.js';

describe('vici server', () => {
  let directory: string;
  let path: string;
  let server: ViciServer | undefined;
  let refusals: string[];

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'ipsec-node-vici-'));
    path = join(directory, 'test.vici');
    refusals = [];
  });

  afterEach(async () => {
    await server?.close();
    server = undefined;
    rmSync(directory, { recursive: true });
  });

  const commands = new Map<string, ViciCommand>([
    ['echo', async (request) => request],
    [
      'stream',
      async (_request, stream) => {
        for (let index = 0; index < 500; index += 1) {
          await stream(
            'tick',
            section([
              ['index', index],
              ['filler', 'x'.repeat(10_000)],
            ]),
          );
        }
        return section([['done', true]]);
      },
    ],
    [
      'fail',
      async () => {
        throw Object.assign(new Error('it is broken'), { code: 'IPSEC_ERR_INTERNAL' });
      },
    ],
    [
      'huge',
      async () =>
        section(
          Array.from({ length: 9 }, (_, index) => [`k${index}`, 'x'.repeat(65_535)] as const),
        ),
    ],
  ]);

  async function serve(): Promise<ViciServer> {
    server = await ViciServer.listen({
      path,
      commands,
      events: new Set(['tick']),
      onRefused: (reason) => refusals.push(reason),
    });
    return server;
  }

  async function rawSocket(): Promise<Socket> {
    const socket = connect(path);
    socket.on('error', () => {});
    await new Promise((resolve) => socket.once('connect', resolve));
    return socket;
  }

  /** Packets as they arrive on a socket. */
  function received(socket: Socket): ViciPacket[] {
    const packets: ViciPacket[] = [];
    const splitter = new PacketSplitter();
    socket.on('data', (chunk) => {
      const cut = splitter.push(Buffer.from(chunk));
      if (!cut.ok) throw new Error(cut.reason);
      for (const bytes of cut.value) {
        const decoded = decodePacket(bytes);
        if (!decoded.ok) throw new Error(decoded.reason);
        packets.push(decoded.value);
      }
    });
    return packets;
  }

  it('listens for its owner alone', async () => {
    await serve();
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('removes its socket when it closes', async () => {
    await (await serve()).close();
    expect(existsSync(path)).toBe(false);
  });

  it('refuses a path where a gateway answers, and leaves it alone', async () => {
    const first = await serve();
    await expect(serve()).rejects.toMatchObject({ fault: 'in-use' });
    const client = await ViciClient.connect(path);
    expect(textOf(await client.request('echo', section([['a', 'b']])), 'a')).toBe('b');
    client.close();
    server = first;
  });

  it('replaces the socket of a process that was killed', async () => {
    const child = spawn(
      process.execPath,
      ['-e', 'require("net").createServer().listen(process.argv[1],()=>console.log("up"))', path],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    await new Promise((resolve) => child.stdout.once('data', resolve));
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('exit', resolve));
    expect(existsSync(path)).toBe(true);
    await serve();
    const client = await ViciClient.connect(path);
    await client.request('echo');
    client.close();
  });

  it('refuses a path that is a file, and one that is too long', async () => {
    writeFileSync(path, 'precious');
    await expect(serve()).rejects.toMatchObject({ fault: 'not-a-socket' });
    expect(existsSync(path)).toBe(true);
    rmSync(path);
    path = join(directory, 'x'.repeat(108));
    await expect(serve()).rejects.toMatchObject({ fault: 'too-long' });
  });

  it('answers an unknown command and an unknown event as the protocol says', async () => {
    await serve();
    const socket = await rawSocket();
    const packets = received(socket);
    socket.write(encodePacket({ kind: 'request', name: 'nothing', message: section() }));
    socket.write(encodePacket({ kind: 'register', name: 'nothing' }));
    socket.write(encodePacket({ kind: 'register', name: 'tick' }));
    socket.write(encodePacket({ kind: 'unregister', name: 'tick' }));
    socket.write(encodePacket({ kind: 'unregister', name: 'tick' }));
    await expect
      .poll(() => packets.map(({ kind }) => kind))
      .toEqual(['unknownCommand', 'unknownEvent', 'confirm', 'confirm', 'unknownEvent']);
    socket.destroy();
  });

  it('tells a failure with its reason and code', async () => {
    await serve();
    const client = await ViciClient.connect(path);
    await expect(client.request('fail')).rejects.toMatchObject({
      fault: 'refused',
      message: 'it is broken',
      remoteCode: 'IPSEC_ERR_INTERNAL',
    });
    await expect(client.request('huge')).rejects.toMatchObject({
      message: expect.stringContaining('at most'),
    });
    await expect(client.request('nothing')).rejects.toMatchObject({ fault: 'unknown-command' });
    expect(textOf(await client.request('echo', section([['a', 'b']])), 'a')).toBe('b');
    client.close();
  });

  it('streams more than a socket holds, in order, to those who registered', async () => {
    await serve();
    const client = await ViciClient.connect(path);
    const { events, reply } = await client.stream('stream', 'tick');
    expect(events.map((event) => textOf(event, 'index'))).toEqual(
      Array.from({ length: 500 }, (_, index) => `${index}`),
    );
    expect(textOf(reply, 'done')).toBe('yes');
    expect(textOf(await client.request('stream'), 'done')).toBe('yes');
    client.close();
  });

  it.each([
    ['a packet type that does not exist', Buffer.from([0, 0, 0, 1, 9])],
    ['a response, which clients do not send', Buffer.from([0, 0, 0, 1, 1])],
    ['a length past the limit', Buffer.from([0xff, 0xff, 0xff, 0xff])],
    ['a text protocol', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['a message that is cut short', Buffer.from([0, 0, 0, 7, 0, 4, 101, 99, 104, 111, 3])],
  ])('disconnects a client that sends %s, with a reason', async (_what, bytes) => {
    await serve();
    const socket = await rawSocket();
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.write(bytes);
    await closed;
    expect(refusals).toHaveLength(1);
    expect(refusals[0]).toMatch(/^a client of the control socket was disconnected: ./);
    const client = await ViciClient.connect(path);
    await client.request('echo');
    client.close();
  });

  it('disconnects a client that sends requests without waiting for answers', async () => {
    await serve();
    const socket = await rawSocket();
    socket.pause();
    const request = encodePacket({ kind: 'request', name: 'echo', message: section() });
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.write(Buffer.concat(Array(REQUEST_QUEUE_COUNT_MAX + 1).fill(request)));
    socket.resume();
    await closed;
    expect(refusals[0]).toContain('requests wait');
  });

  it('takes so many clients and no more, and again when one leaves', async () => {
    await serve();
    const clients = await Promise.all(
      Array.from({ length: CONNECTION_COUNT_MAX }, () => ViciClient.connect(path)),
    );
    await Promise.all(clients.map((client) => client.request('echo')));
    const extra = await ViciClient.connect(path);
    await expect(extra.request('echo')).rejects.toMatchObject({ fault: 'closed' });
    expect(refusals[0]).toContain(`${CONNECTION_COUNT_MAX} are connected`);
    clients[0]?.close();
    await expect
      .poll(async () => {
        const late = await ViciClient.connect(path);
        const answered = await late.request('echo').then(
          () => true,
          () => false,
        );
        late.close();
        return answered;
      })
      .toBe(true);
    for (const client of clients) client.close();
  });

  it('drops events for a client that does not read, and keeps its memory', async () => {
    const vici = await serve();
    const slow = await rawSocket();
    const packets = received(slow);
    slow.write(encodePacket({ kind: 'register', name: 'tick' }));
    await expect.poll(() => packets.length).toBe(1);
    slow.pause();
    const filler = 'x'.repeat(60_000);
    const sent = Math.ceil(EVENT_QUEUE_BYTES_MAX / 60_000) * 3;
    for (let index = 0; index < sent; index += 1) {
      vici.raise('tick', section([['filler', filler]]));
    }
    expect(refusals).toEqual(['a client of the control socket is too slow: it misses events']);
    slow.resume();
    await expect.poll(() => packets.length).toBeGreaterThan(10);
    expect(packets.length).toBeLessThan(sent);
    slow.destroy();
  });

  it('says that nobody answers where nobody does', async () => {
    await expect(ViciClient.connect(path)).rejects.toMatchObject({ fault: 'not-running' });
    await (await serve()).close();
    await expect(ViciClient.connect(path)).rejects.toMatchObject({ fault: 'not-running' });
  });

  it('ends a request whose gateway goes away', async () => {
    const vici = await serve();
    const client = await ViciClient.connect(path);
    await client.request('echo');
    await vici.close();
    await expect(client.request('echo')).rejects.toMatchObject({ fault: 'closed' });
  });
});
