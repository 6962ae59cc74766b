/** A gateway of the demo: `ipsec-node up` in a namespace, asked over its control socket. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { systemClock } from '../clock.js';
import { ViciClient, ViciClientError } from '../daemon/vici/client.js';
import { decodeEspKeys } from '../daemon/vici/capture-messages.js';
import { section } from '../daemon/vici/codec.js';
import {
  decodePeer,
  decodeRefusal,
  type PeerRow,
  type RefusalRow,
} from '../daemon/vici/ike-messages.js';
import { decodeCounters, decodeSa, type SaRow } from '../daemon/vici/own-messages.js';
import { ResourceError } from '../errors.js';
import type { PeerKey } from './authentic-peer.js';
import type { Credentials } from './certificates.js';
import { TIED } from './namespace.js';

const MAIN = fileURLToPath(new URL('../cli/main.js', import.meta.url));
const READY_MS_MAX = 20_000;
const STOP_MS_MAX = 3_000;
const NEGOTIATE_MS_MAX = 15_000;
const OUTPUT_LEN_MAX = 8192;

/** One policy, whose SAs are negotiated. */
export interface ProtectedNetworks {
  readonly policy: string;
  readonly local: string;
  readonly remote: string;
  readonly padToBytes: number | null;
}

/** What makes one gateway differ from the other. */
export interface GatewayPlan {
  readonly name: string;
  readonly folder: string;
  readonly address: string;
  /** Its DNS name, and what proves it. */
  readonly identity: string;
  readonly credentials: Credentials;
  readonly peer: {
    readonly identity: string;
    /** Null: it may come from anywhere. */
    readonly address: string | null;
    /** Who has to have signed its certificate. */
    readonly authorityPem: string;
  };
  readonly networks: readonly ProtectedNetworks[];
  /** Whether whoever runs it may ask it for its own keys. */
  readonly showsKeys: boolean;
}

/**
 * X25519 alone would be opened by whoever records today and has a quantum computer tomorrow
 * (RFC 9370); who reseals packets for the demo (authentic-peer.ts) counts on the cipher and on ESN.
 */
const IKE_PROPOSAL = 'aes256gcm16-prfsha384-x25519-ke1_mlkem768';
const ESP_PROPOSAL = 'aes256gcm16-x25519-ke1_mlkem768-esn';

const faultLine = z.object({ error: z.object({ message: z.string() }) });
const readyLine = z.object({ event: z.literal('ready'), mtu: z.number() });

/** Counters by name. */
export type Counts = Readonly<Record<string, bigint>>;

/** A running gateway. */
export class GatewayProcess {
  private output = '';
  private ended = false;
  private readonly exited: Promise<void>;
  private readonly control: string;
  /** The MTU of its tunnel interface, once it is ready. */
  mtuBytes = 0;

  private constructor(
    readonly plan: GatewayPlan,
    private readonly child: ChildProcess,
  ) {
    this.control = controlOf(plan);
    this.exited = new Promise((resolve) => {
      const end = (): void => {
        this.ended = true;
        resolve();
      };
      child.once('error', (error) => {
        this.output += error.message;
        end();
      });
      child.once('close', end);
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.output = `${this.output}${text}`.slice(-OUTPUT_LEN_MAX);
    });
  }

  /** Writes its files and starts it in the namespace of a process. */
  static start(plan: GatewayPlan, namespacePid: number): GatewayProcess {
    const file = writeFiles(plan);
    const enter = ['nsenter', `--net=/proc/${namespacePid}/ns/net`];
    const leave = plan.showsKeys ? ['--allow-key-capture'] : [];
    const command = [process.execPath, MAIN, 'up', '-c', file, '--json', ...leave];
    const [program, ...words] = [...TIED, ...enter, ...command];
    const child = spawn(program, words, { stdio: ['ignore', 'pipe', 'pipe'] });
    return new GatewayProcess(plan, child);
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** Waits for its ready line. */
  async ready(): Promise<void> {
    this.mtuBytes = await new Promise<number>((resolve, reject) => {
      let text = '';
      const timer = systemClock.schedule(READY_MS_MAX, () =>
        reject(this.fault('is not ready in time')),
      );
      this.child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
        const ready = readyLine.safeParse(jsonOf(text));
        if (!ready.success) return;
        timer.cancel();
        resolve(ready.data.mtu);
      });
      void this.exited.then(() => {
        timer.cancel();
        reject(this.fault(`does not start: ${reasonOf(text)}`));
      });
    });
  }

  /** How many packets were refused, by reason. */
  async drops(): Promise<Counts> {
    return this.asking(async (client) => {
      const { reply } = await client.stream('ipsec-node-counters', 'ipsec-node-sa-drops');
      return decodeCounters(reply).drops;
    });
  }

  /** Negotiates the SAs of a policy, and returns why it was refused or null. */
  async initiate(policy: string): Promise<string | null> {
    const message = section([
      ['child', policy],
      ['timeout', NEGOTIATE_MS_MAX],
    ]);
    try {
      await this.asking((client) => client.request('initiate', message, NEGOTIATE_MS_MAX * 2));
      return null;
    } catch (error) {
      if (error instanceof ViciClientError && error.fault === 'refused') return error.message;
      throw error;
    }
  }

  /** Its peers with their IKE SAs; last, without a name, those that have not said who they are. */
  async peers(): Promise<readonly PeerRow[]> {
    return this.asking(async (client) =>
      (await client.collect('ipsec-node-peers', 'ipsec-node-peer')).map(decodePeer),
    );
  }

  /** Its last refusals, oldest first. */
  async refusals(): Promise<readonly RefusalRow[]> {
    return this.asking(async (client) =>
      (await client.collect('ipsec-node-status', 'ipsec-node-refusal')).map(decodeRefusal),
    );
  }

  /** Every SA. */
  async sas(): Promise<readonly SaRow[]> {
    return this.asking(async (client) =>
      (await client.collect('ipsec-node-sas', 'ipsec-node-sa')).map(decodeSa),
    );
  }

  /** One SA. */
  async sa(spi: number): Promise<SaRow> {
    const row = (await this.sas()).find((each) => each.spi === spi);
    if (row === undefined) throw this.fault('has lost an SA');
    return row;
  }

  /** The key of one of its SAs, which it shows to whoever runs it. */
  async key(spi: number): Promise<PeerKey> {
    const keys = await this.asking(async (client) =>
      (await client.collect('ipsec-node-capture-keys', 'ipsec-node-esp-keys')).map(decodeEspKeys),
    );
    const found = keys.find((each) => each.spi === spi);
    if (found === undefined) throw this.fault('does not show the key of an SA');
    return { spi, key: found.key };
  }

  /** Ends it at once, as a crash would. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.exited;
  }

  /** Stops it in order, or at once where that takes too long. Idempotent. */
  async stop(): Promise<void> {
    if (this.ended) return;
    this.child.kill('SIGTERM');
    const timer = systemClock.schedule(STOP_MS_MAX, () => this.child.kill('SIGKILL'));
    await this.exited;
    timer.cancel();
  }

  private async asking<T>(work: (client: ViciClient) => Promise<T>): Promise<T> {
    const client = await ViciClient.connect(this.control);
    try {
      return await work(client);
    } finally {
      client.close();
    }
  }

  private fault(why: string): ResourceError {
    const said = this.output.trim();
    return new ResourceError(
      'IPSEC_ERR_HOST',
      `${this.plan.name} ${why}${said === '' ? '' : `\n${said}`}`,
    );
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** What a gateway that ended has to say for itself. */
function reasonOf(output: string): string {
  const fault = faultLine.safeParse(jsonOf(output));
  return fault.success ? fault.data.error.message : output.trim();
}

function controlOf({ folder, name }: GatewayPlan): string {
  return join(folder, `${name}.vici`);
}

function writeFiles(plan: GatewayPlan): string {
  const { folder, name, address, identity, credentials, peer, networks } = plan;
  mkdirSync(join(folder, name, 'state'), { mode: 0o700, recursive: true });
  const fileOf = (file: string, text: string): string => {
    const path = join(folder, name, file);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const config = {
    gateway: {
      name,
      control: controlOf(plan),
      state: join(folder, name, 'state'),
      unprotected: ['wan'],
      protected: ['lan'],
    },
    peers: {
      other: {
        address: peer.address ?? 'any',
        localAddress: address,
        local: {
          id: identity,
          auth: 'certificate',
          certificate: fileOf('certificate.pem', credentials.certificatePem),
          key: { file: fileOf('key.pem', credentials.privateKeyPem) },
        },
        remote: {
          id: peer.identity,
          auth: 'certificate',
          authorities: fileOf('authority.pem', peer.authorityPem),
        },
        proposals: [IKE_PROPOSAL],
      },
    },
    policies: [
      ...networks.map(({ policy, local, remote, padToBytes }) => ({
        name: policy,
        local,
        remote,
        action: 'protect',
        peer: 'other',
        proposals: [ESP_PROPOSAL],
        ...(peer.address === null ? { start: 'none' } : {}),
        ...(padToBytes === null ? {} : { tfc: { padTo: padToBytes } }),
      })),
      { name: 'everything-else', action: 'discard' },
    ],
  };
  const path = join(folder, `${name}.yaml`);
  writeFileSync(path, JSON.stringify(config), { mode: 0o600 });
  return path;
}
