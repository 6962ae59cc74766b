/**
 * Many initiators in one thread: an {@link IkeEndpoint} for each source address, with sockets of its
 * own, key exchanges done at once, and no datapath. One X25519 pair serves them all: what is to be
 * measured is who answers.
 */
import { randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import type {
  EffectResult,
  IkeAction,
  IkeEvent,
} from '../../packages/ipsec-node/src/ike/action.js';
import type { ComputeResult, ComputeTask } from '../../packages/ipsec-node/src/ike/compute.js';
import { computeKeyExchange } from '../../packages/ipsec-node/src/ike/crypto/key-exchange.js';
import { IkeEndpoint } from '../../packages/ipsec-node/src/ike/endpoint.js';
import type { PadEntry } from '../../packages/ipsec-node/src/pad/pad-entry.js';
import type { Proposal } from '../../packages/ipsec-node/src/sad/proposal.js';
import { Secret } from '../../packages/ipsec-node/src/sad/secret.js';
import {
  innerAddress,
  INSIDE,
  peerName,
  POLICY,
  PORTS,
  PSK,
  RESPONDER_ADDRESS,
  RESPONDER_NAME,
  SOURCE_COUNT,
  sourceAddress,
} from './scene.js';

const HOUR = 3_600_000;
const X25519 = { type: 'key-exchange', id: 31, keyBits: null } as const;
const AES256GCM16 = { type: 'encryption', id: 20, keyBits: 256 } as const;

/** The words of {@link PROPOSALS} as values. */
const IKE: Proposal = {
  protocol: 'ike',
  transforms: [AES256GCM16, { type: 'prf', id: 5, keyBits: null }, X25519],
};
const ESP: Proposal = {
  protocol: 'esp',
  transforms: [AES256GCM16, X25519, { type: 'sequence-numbers', id: 0, keyBits: null }],
};

const secret = new Secret(Buffer.from(PSK), 'the bench');

function padEntry(index: number): PadEntry {
  const inner = innerAddress(index);
  return {
    name: peerName(index),
    hosts: [{ kind: 'address', address: RESPONDER_ADDRESS }],
    localAddress: null,
    remotePort: PORTS.ike,
    localIdentity: { kind: 'dns-name', name: peerName(index) },
    remoteIdentity: { kind: 'exact', identity: { kind: 'dns-name', name: RESPONDER_NAME } },
    localAuthentication: { method: 'psk', secret },
    remoteAuthentication: { method: 'psk', secret },
    ppk: null,
    proposals: [IKE],
    children: [
      {
        name: POLICY,
        mode: 'tunnel',
        selector: {
          local: [{ from: inner, to: inner }],
          remote: [{ from: INSIDE.from, to: INSIDE.to }],
          protocol: 'any',
          localPorts: [],
          remotePorts: [],
          icmpTypes: [],
          icmpCodes: [],
        },
        proposals: [ESP],
        start: 'none',
        onClose: 'clear',
        lifetime: { rekeyMs: 24 * HOUR, hardMs: 27 * HOUR, rekeyBytes: 0n, rekeyPackets: 0n },
        selectorsPerChild: 'all',
        replayWindow: 64,
        tfcPadToBytes: 0,
        dontFragment: 'copy',
      },
    ],
    rekeyMs: 24 * HOUR,
    hardMs: 27 * HOUR,
    livenessMs: 0,
    keepaliveMs: 0,
    encapsulation: 'forced',
    fragmentation: true,
    mobike: false,
    unique: 'no',
    onDeath: 'clear',
    hashAndUrl: false,
  };
}

/** One source address. */
class Source {
  readonly endpoint: IkeEndpoint;
  private readonly sockets = new Map<number, Socket>();

  private constructor(
    private readonly address: string,
    entries: readonly PadEntry[],
    private readonly told: (source: Source, event: IkeEvent) => void,
    private readonly compute: (task: ComputeTask) => Promise<ComputeResult>,
  ) {
    this.endpoint = new IkeEndpoint({
      pad: { entries },
      ports: PORTS,
      random: (length) => Uint8Array.from(randomBytes(length)),
    });
  }

  static async open(
    address: string,
    entries: readonly PadEntry[],
    told: (source: Source, event: IkeEvent) => void,
    compute: (task: ComputeTask) => Promise<ComputeResult>,
  ): Promise<Source> {
    const source = new Source(address, entries, told, compute);
    for (const port of [PORTS.ike, PORTS.nat]) await source.listen(port);
    return source;
  }

  private listen(port: number): Promise<void> {
    const socket = createSocket('udp4');
    this.sockets.set(port, socket);
    socket.on('message', (bytes, { address, port: remotePort }) => {
      // RFC 3948 section 2.2: on the port of ESP, four octets of zero say that it is IKE.
      const isMarked = port === PORTS.nat;
      if (isMarked && (bytes.length < 4 || bytes.readUInt32BE(0) !== 0)) return;
      const payload = Uint8Array.from(isMarked ? bytes.subarray(4) : bytes);
      const path = { local: this.address, localPort: port, remote: address, remotePort };
      this.perform(this.endpoint.handleDatagram({ ...path, payload }, performance.now()));
    });
    return new Promise((resolve, reject) => {
      socket.once('error', reject);
      socket.bind(port, this.address, () => resolve());
    });
  }

  get path(): { readonly local: string; readonly remote: string } {
    return { local: this.address, remote: RESPONDER_ADDRESS };
  }

  perform(actions: readonly IkeAction[]): void {
    for (const action of actions) {
      if (action.kind === 'event') {
        this.told(this, action.event);
      } else if (action.kind === 'send') {
        const { localPort, remote, remotePort, payload } = action.datagram;
        const bytes = localPort === PORTS.nat ? [MARKER, payload] : payload;
        this.sockets.get(localPort)?.send(bytes, remotePort, remote);
      } else if (action.kind === 'effect') {
        const { id, effect } = action;
        const answer = (result: EffectResult): void =>
          this.perform(this.endpoint.handleResult(id, result, performance.now()));
        if (effect.kind === 'compute') {
          void this.compute(effect.task).then((result) => answer({ kind: 'compute', result }));
        } else if (effect.kind === 'install') {
          queueMicrotask(() => answer({ kind: 'install', refused: null }));
        } else {
          queueMicrotask(() => answer({ kind: 'query', sas: [] }));
        }
      }
    }
  }

  runDue(now: number): void {
    const next = this.endpoint.nextTimeout();
    if (next !== null && next <= now) this.perform(this.endpoint.handleTimeout(now));
  }

  close(): void {
    for (const socket of this.sockets.values()) socket.close();
  }
}

const MARKER = new Uint8Array(4);

/** What came of a number of commands. */
export interface Outcome {
  readonly done: number;
  readonly failed: number;
  /** The first of the reasons. */
  readonly reason: string | null;
  readonly seconds: number;
  /** Of this process, user and system. */
  readonly cpuSeconds: number;
}

export class Initiators {
  private readonly sources: Source[] = [];
  private readonly waiting = new Map<number, (refused: string | null) => void>();
  private commands = 0;
  private readonly timer: NodeJS.Timeout;
  private next = 0;

  private constructor() {
    this.timer = setInterval(() => {
      const now = performance.now();
      for (const source of this.sources) source.runDue(now);
    }, 20);
  }

  static async open(peerCount: number): Promise<Initiators> {
    const initiators = new Initiators();
    const pair = await computeKeyExchange({ kind: 'generate', method: X25519.id });
    const compute = (task: ComputeTask): Promise<ComputeResult> => {
      if (task.kind === 'generate') return Promise.resolve(pair);
      if (task.kind === 'agree' || task.kind === 'respond') return computeKeyExchange(task);
      return Promise.resolve({ kind: 'refused', reason: 'not a task of this bench' });
    };
    for (let at = 0; at < SOURCE_COUNT; at += 1) {
      const entries: PadEntry[] = [];
      for (let index = at; index < peerCount; index += SOURCE_COUNT) entries.push(padEntry(index));
      const told = (_: Source, event: IkeEvent): void => initiators.handleEvent(event);
      initiators.sources.push(await Source.open(sourceAddress(at), entries, told, compute));
    }
    return initiators;
  }

  private handleEvent(event: IkeEvent): void {
    if (event.kind !== 'command-done') return;
    const done = this.waiting.get(event.command);
    this.waiting.delete(event.command);
    done?.(event.refused);
  }

  private command(
    source: Source,
    run: (command: number, now: number) => readonly IkeAction[],
  ): Promise<string | null> {
    this.commands += 1;
    const command = this.commands;
    return new Promise((resolve) => {
      this.waiting.set(command, resolve);
      source.perform(run(command, performance.now()));
    });
  }

  /** IKE_SA_INIT and IKE_AUTH with a child, of peers that were not there before. */
  connect(count: number, inFlight: number): Promise<Outcome> {
    let left = count;
    return this.measure(inFlight, () => {
      const index = this.next;
      const source = this.sources[index % SOURCE_COUNT];
      if (left === 0 || source === undefined) return null;
      left -= 1;
      this.next += 1;
      return this.command(source, (command, now) =>
        source.endpoint.initiate(
          { peer: peerName(index), child: POLICY, packet: null, paths: [source.path], command },
          now,
        ),
      );
    });
  }

  /** Rekeys the IKE SA and the child of so many peers, begun evenly over `overMs`. */
  async rekey(count: number, overMs: number): Promise<Outcome> {
    const now = performance.now();
    const jobs = this.sources
      .flatMap((source) => source.endpoint.snapshots(now).map((sa) => ({ source, sa })))
      .filter(({ sa }) => sa.state === 'established' && sa.children.length > 0)
      .slice(0, count);
    const begun = performance.now();
    let at = 0;
    return this.measure(jobs.length, () => {
      const job = jobs[at];
      if (job === undefined) return null;
      const wait = begun + (at * overMs) / jobs.length - performance.now();
      at += 1;
      const { source, sa } = job;
      return sleep(wait).then(async () => {
        const refused = await Promise.all([
          ...sa.children.map((child) =>
            this.command(source, (command, time) =>
              source.endpoint.rekeyChild(child.id, command, time),
            ),
          ),
          this.command(source, (command, time) => source.endpoint.rekeyIkeSa(sa.id, command, time)),
        ]);
        return refused.find((each) => each !== null) ?? null;
      });
    });
  }

  /** Has `inFlight` jobs under way until there are no more. */
  private async measure(
    inFlight: number,
    job: () => Promise<string | null> | null,
  ): Promise<Outcome> {
    let done = 0;
    let failed = 0;
    let reason: string | null = null;
    const worker = async (): Promise<void> => {
      for (let next = job(); next !== null; next = job()) {
        const refused = await next;
        if (refused === null) done += 1;
        else failed += 1;
        reason ??= refused;
      }
    };
    const cpu = process.cpuUsage();
    const begun = performance.now();
    await Promise.all(Array.from({ length: inFlight }, worker));
    const seconds = (performance.now() - begun) / 1000;
    const used = process.cpuUsage(cpu);
    return { done, failed, reason, seconds, cpuSeconds: (used.user + used.system) / 1e6 };
  }

  /** IKE SAs that are up with their child, here. */
  held(): number {
    const now = performance.now();
    return this.sources
      .flatMap(({ endpoint }) => endpoint.snapshots(now))
      .filter(({ state, children }) => state === 'established' && children.length > 0).length;
  }

  close(): void {
    clearInterval(this.timer);
    for (const source of this.sources) source.close();
  }
}

function sleep(ms: number): Promise<void> {
  return ms <= 0 ? Promise.resolve() : new Promise((resolve) => setTimeout(resolve, ms));
}
