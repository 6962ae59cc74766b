import { generateKeyPairSync } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import type { Contender } from '../contender.js';
import { type Daemon, findProgram, type Lab, outcomeOf } from '../lab.js';
import type { GatewayEnd } from '../topology.js';

const DEVICE = 'wg0';
const PORT = 51820;
const BUILD_TIMEOUT_MS = 600_000;
const START_TIMEOUT_MS = 10_000;
const REPLY_TIMEOUT_MS = 5_000;

export interface WireguardGoBuild {
  readonly name: string;
  readonly title: string;
  /** Go module; its root is the program. */
  readonly module: string;
  readonly version: string;
  /** Name that `go install` gives the program. */
  readonly program: string;
}

export const wireguardGoBuilds: readonly WireguardGoBuild[] = [
  {
    name: 'wireguard-go',
    title: 'wireguard-go',
    module: 'golang.zx2c4.com/wireguard',
    version: 'latest',
    program: 'wireguard',
  },
  {
    name: 'tailscale-wireguard-go',
    title: "wireguard-go, Tailscale's fork",
    module: 'github.com/tailscale/wireguard-go',
    version: 'v0.0.0-20260427181203-e3ac4a0afb4e',
    program: 'wireguard-go',
  },
];

/** Builds from the Go module proxy once into .cache/bench-bin; delete the folder to build anew. */
export function wireguardGo(root: string, build: WireguardGoBuild): Contender {
  const folder = join(root, '.cache/bench-bin', build.name);
  const program = join(folder, build.program);
  return {
    name: build.name,
    title: build.title,
    prepare: async (signal) => {
      if (existsSync(program)) {
        return null;
      }
      const go = findProgram('go');
      if (go === null) {
        return `Go is missing, which builds ${build.module}: install golang from https://go.dev/dl`;
      }
      await mkdir(folder, { recursive: true });
      const outcome = await outcomeOf(go, ['install', `${build.module}@${build.version}`], {
        signal,
        timeoutMs: BUILD_TIMEOUT_MS,
        cwd: folder,
        env: { GOBIN: folder, CGO_ENABLED: '0' },
      });
      return outcome.code === 0
        ? null
        : `go install ${build.module}@${build.version} failed: ${outcome.stderr.trim().split('\n').at(-1) ?? ''}`;
    },
    start: async (gatewayA, gatewayB, topology) => {
      const { lab } = topology;
      const keys = { A: newKeyPair(), B: newKeyPair() };
      const daemons: Daemon[] = [];
      try {
        for (const [here, there] of [
          [gatewayA, gatewayB],
          [gatewayB, gatewayA],
        ] as const) {
          const run = join(lab.directory, `${topology.label}-${here.name}`);
          const daemon = await startDaemon(lab, here, program, run);
          daemons.push(daemon);
          await configure(run, [
            `private_key=${keys[here.name].secret}`,
            `listen_port=${PORT}`,
            `public_key=${keys[there.name].open}`,
            `endpoint=${there.wireAddress}:${PORT}`,
            `allowed_ip=${there.subnet}`,
          ]);
          await lab.run('ip', '-n', here.namespace, 'link', 'set', DEVICE, 'up');
          await lab.run(
            'ip',
            ...['-n', here.namespace, 'route', 'add', there.subnet, 'dev', DEVICE],
            ...['src', here.lanAddress],
          );
        }
      } catch (error) {
        const output = daemons.map((daemon) => daemon.output()).join('\n');
        await Promise.all(daemons.map((daemon) => daemon.stop()));
        throw new Error(`${error instanceof Error ? error.message : String(error)}\n${output}`);
      }
      return {
        facts: { version: await builtVersion(program), algorithm: 'ChaCha20-Poly1305' },
        alive: () => daemons.every((daemon) => daemon.alive),
        stop: async () => {
          await Promise.all(daemons.map((daemon) => daemon.stop()));
        },
      };
    },
  };
}

/** The program keeps its socket in /run/wireguard: it is given a /run of its own, inside our folder. */
async function startDaemon(
  lab: Lab,
  gateway: GatewayEnd,
  program: string,
  run: string,
): Promise<Daemon> {
  await mkdir(run, { recursive: true, mode: 0o700 });
  const daemon = lab.start(
    gateway.namespace,
    'sh',
    ['-c', 'mount --bind "$1" /run && exec "$2" -f "$3"', 'sh', run, program, DEVICE],
    { LOG_LEVEL: 'error' },
  );
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (!existsSync(socketIn(run))) {
    if (!daemon.alive || Date.now() > deadline) {
      const output = daemon.output();
      await daemon.stop();
      throw new Error(`${program} did not start:\n${output}`);
    }
    await lab.sleep(20);
  }
  return daemon;
}

function socketIn(run: string): string {
  return join(run, 'wireguard', `${DEVICE}.sock`);
}

/** One `set` of the cross-platform userspace protocol: lines, then an empty one; the reply is errno. */
function configure(run: string, lines: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(socketIn(run));
    let reply = '';
    socket.setEncoding('utf8');
    socket.setTimeout(REPLY_TIMEOUT_MS, () => socket.destroy(new Error('no reply')));
    socket.on('connect', () => socket.write(`set=1\n${lines.join('\n')}\n\n`));
    socket.on('data', (chunk: string) => {
      reply += chunk;
      if (reply.endsWith('\n\n')) {
        socket.end();
      }
    });
    socket.on('error', reject);
    socket.on('close', () => {
      if (/^errno=0$/m.test(reply)) {
        resolve();
      } else {
        reject(new Error(`the configuration was refused: ${reply.trim()}`));
      }
    });
  });
}

/** Raw X25519 keys in hexadecimal. */
function newKeyPair(): { readonly secret: string; readonly open: string } {
  const { d, x } = generateKeyPairSync('x25519').privateKey.export({ format: 'jwk' });
  if (d === undefined || x === undefined) {
    throw new Error('node:crypto made no X25519 key');
  }
  const hex = (text: string): string => Buffer.from(text, 'base64url').toString('hex');
  return { secret: hex(d), open: hex(x) };
}

/** The version that the Go linker wrote into the program. */
async function builtVersion(program: string): Promise<string> {
  const go = findProgram('go');
  if (go === null) {
    return 'unknown';
  }
  const outcome = await outcomeOf(go, ['version', '-m', program]);
  return /^\s+mod\s+\S+\s+(\S+)/m.exec(outcome.stdout)?.[1] ?? 'unknown';
}
