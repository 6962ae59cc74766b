/** What runs in the guest: our gateway in one namespace, the kernel's ESP in another. */

import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { Capture } from '../../lab/capture.ts';
import { type Program, until } from '../../lab/command.ts';
import type { GuestCases } from '../../lab/guest-runner.ts';
import { connect, Namespace } from '../../lab/namespace.ts';
import { repositoryRoot } from '../../lab/registry.ts';
import {
  type Aftermath,
  type ChecksumFindings,
  type CrossingFindings,
  type End,
  EXTRAS,
  gatewayFile,
  innerAddress,
  kernelLines,
  type KernelState,
  type Link,
  type LinkFindings,
  LINKS,
  MARK_COUNT,
  type MarkFindings,
  type Marks,
  MATRIX,
  outerAddress,
  type PaddingFindings,
  type ReplayFindings,
  spiOf,
  STAGES,
  stateFile,
  type Transfer,
} from './plan.ts';

const TRANSFER_BYTES = 1 << 18;
/** The guest is emulated: a start of Node takes seconds, and much more on a busy host. */
const START_MS = 240_000;
const ANSWER_MS = 100_000;
const COMMAND_LINE = `${repositoryRoot}/packages/ipsec-node/dist/cli/main.js`;

type Fields = ReadonlyMap<string, unknown>;

function fieldsOf(text: string): Fields {
  const parsed: unknown = JSON.parse(text);
  if (typeof parsed !== 'object' || parsed === null) throw new Error(`no object: ${text}`);
  return new Map<string, unknown>(Object.entries(parsed));
}

function numbersOf(value: unknown): ReadonlyMap<string, number> {
  if (typeof value !== 'object' || value === null) throw new Error('no object of numbers');
  return new Map(Object.entries(value).map(([name, each]) => [name, Number(each)]));
}

/** What rose, and by how much. */
function rises(
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
): Record<string, number> {
  const changed = [...after].map(
    ([name, value]) => [name, value - (before.get(name) ?? 0)] as const,
  );
  return Object.fromEntries(changed.filter(([, rise]) => rise !== 0));
}

function commandLine(words: readonly string[], file: string): string[] {
  return [process.execPath, COMMAND_LINE, ...words, '-c', file, '--json'];
}

/** agent.py in a namespace. */
class Agent {
  #answers = 0;

  private constructor(private readonly program: Program) {}

  static async start(namespace: Namespace, argument: readonly string[]): Promise<Agent> {
    const script = `${repositoryRoot}/test/interop/kernel/agent.py`;
    const agent = new Agent(namespace.spawn(['python3', script, ...argument]));
    await agent.#answer(START_MS);
    return agent;
  }

  async ask(command: Readonly<Record<string, unknown>>): Promise<Fields> {
    this.program.write(`${JSON.stringify(command)}\n`);
    const answer = await this.#answer(ANSWER_MS);
    const error = answer.get('error');
    if (error !== undefined) {
      throw new Error(`${JSON.stringify(command['do'])}: ${JSON.stringify(error)}`);
    }
    return answer;
  }

  async kernelCounters(): Promise<ReadonlyMap<string, number>> {
    return numbersOf(Object.fromEntries(await this.ask({ do: 'xfrm_stat' })));
  }

  /** The marks of the datagrams that begin with this text. */
  async marks(text: string): Promise<readonly number[]> {
    const seen = (await this.ask({ do: 'seen' })).get('marks');
    if (!Array.isArray(seen)) throw new Error('marks is a list');
    return seen
      .map((each: unknown) => fieldsOf(JSON.stringify(each)))
      .filter((each) => String(each.get('text')).startsWith(`${text} `))
      .map((each) => Number(each.get('tos')) & 3);
  }

  async #answer(timeoutMs: number): Promise<Fields> {
    this.#answers += 1;
    return fieldsOf(await this.program.line(this.#answers, timeoutMs));
  }
}

interface Bench {
  readonly namespaces: Readonly<Record<End, Namespace>>;
  readonly agents: Readonly<Record<End, Agent>>;
  readonly gateway: Program;
  /** The file of the gateway. */
  readonly file: string;
}

let bench: Bench | undefined;
let watched: Program | undefined;

function running(): Bench {
  if (bench === undefined) throw new Error('nothing was started');
  return bench;
}

async function start(): Promise<unknown> {
  const folder = mkdtempSync(`${tmpdir()}/interop-`);
  const file = `${folder}/ipsec.yaml`;
  mkdirSync(`${folder}/state`, { mode: 0o700 });
  writeFileSync(`${folder}/state/sequence-numbers.json`, stateFile(), { mode: 0o600 });
  writeFileSync(file, gatewayFile(folder), { mode: 0o600 });
  const ours = await Namespace.create('ours');
  const kernel = await Namespace.create('kernel');
  const wan = (namespace: Namespace, end: End) => ({
    namespace,
    device: 'wan',
    addresses: [`${outerAddress(end, 4)}/24`, `${outerAddress(end, 6)}/64`],
  });
  await connect(wan(ours, 'ours'), wan(kernel, 'kernel'));
  for (const [namespace, end, other] of [
    [ours, 'ours', 'kernel'],
    [kernel, 'kernel', 'ours'],
  ] as const) {
    await namespace.ipBatch([
      'link add lan type dummy',
      'link set lan up',
      ...LINKS.map((link) => {
        const whole = link.inner === 4 ? '/32' : '/128 nodad';
        return `addr add ${innerAddress(end, link)}${whole} dev lan`;
      }),
      `route add default via ${outerAddress(other, 4)}`,
      `route add ::/0 via ${outerAddress(other, 6)}`,
    ]);
  }
  // In parts: the guest loads a module for each algorithm, and a program has a minute.
  const lines = kernelLines();
  for (let at = 0; at < lines.length; at += 16) await kernel.ipBatch(lines.slice(at, at + 16));
  const gateway = ours.spawn([process.execPath, COMMAND_LINE, 'up', '-c', file]);
  const agents = {
    ours: await Agent.start(ours, []),
    kernel: await Agent.start(kernel, ['encapsulation']),
  };
  await gateway.output(/^ready:/m, START_MS);
  bench = { namespaces: { ours, kernel }, agents, gateway, file };
  return { release: release(), ready: gateway.stdout };
}

function otherEnd(end: End): End {
  return end === 'ours' ? 'kernel' : 'ours';
}

async function transfer(from: End, link: Link, bytes = TRANSFER_BYTES): Promise<Transfer> {
  const answer = await running().agents[from].ask({
    do: 'transfer',
    from: innerAddress(from, link),
    to: innerAddress(otherEnd(from), link),
    bytes,
  });
  return {
    sent: String(answer.get('sent')),
    received: String(answer.get('received')),
    seconds: Number(answer.get('seconds')),
  };
}

async function ping(from: End, link: Link, count = 2): Promise<boolean> {
  const own = innerAddress(from, link);
  const other = innerAddress(otherEnd(from), link);
  const words = ['-n', '-q', '-c', String(count), '-i', '0.05', '-W', '10', '-I', own, other];
  const said = await running().namespaces[from].exec(['ping', ...words], { anyStatus: true });
  return said.status === 0 && said.stdout.includes(`${count} received`);
}

/** A transfer each way, and a ping. */
async function crossLink(link: Link): Promise<LinkFindings> {
  const { kernel } = running().agents;
  const before = await kernel.kernelCounters();
  const toKernel = await transfer('ours', link);
  const toOurs = await transfer('kernel', link);
  const pingAnswered = await ping('kernel', link);
  const kernelErrors = rises(before, await kernel.kernelCounters());
  return { toKernel, toOurs, pingAnswered, kernelErrors };
}

/** `ipsec-node counters --watch`: a start of Node for each question would take seconds. */
function counters(): Program {
  const { namespaces, file } = running();
  const words = ['counters', '--all', '--watch', '0.5'];
  watched ??= namespaces.ours.spawn(commandLine(words, file));
  return watched;
}

/** Packets that our gateway refused, by reason, as they stand now. */
async function ourDrops(): Promise<ReadonlyMap<string, number>> {
  const program = counters();
  // The next answer may have been under way already; the one after it was asked for since.
  const line = await program.line(program.stdout.split('\n').length + 1, START_MS);
  return numbersOf(fieldsOf(line).get('drops'));
}

async function ourSas(): Promise<unknown> {
  const { namespaces, file } = running();
  const said = await namespaces.ours.exec(commandLine(['sas'], file), { timeoutMs: START_MS });
  const parsed: unknown = JSON.parse(said.stdout);
  return parsed;
}

/** Each SA of the kernel, by SPI: packets, numbers, and its own counts of errors. */
async function kernelStates(): Promise<Record<string, KernelState>> {
  const text = await running().namespaces.kernel.ip('-s xfrm state');
  const states = text.split(/^(?=src )/m).map((block): [string, KernelState] => {
    const number = (pattern: RegExp): number => Number(block.match(pattern)?.[1]);
    const wide = (name: string): number => {
      const found = block.match(new RegExp(`\\b${name}-hi (0x[0-9a-f]+), ${name} (0x[0-9a-f]+)`));
      return Number(found?.[1]) * 2 ** 32 + Number(found?.[2]);
    };
    return [
      String(number(/spi (0x[0-9a-f]+)/)),
      {
        packets: number(/lifetime current:\s+\d+\(bytes\), (\d+)\(packets\)/),
        received: wide('seq'),
        sent: wide('oseq'),
        tooOld: number(/stats:\s+replay-window (\d+)/),
        replays: number(/stats:\s+replay-window \d+ replay (\d+)/),
        failed: number(/stats:\s+replay-window \d+ replay \d+ failed (\d+)/),
      },
    ];
  });
  return Object.fromEntries(states);
}

async function after(): Promise<Aftermath> {
  counters();
  return {
    ourSas: await ourSas(),
    ourDrops: rises(new Map(), await ourDrops()),
    kernelStates: await kernelStates(),
    kernelErrors: rises(new Map(), await running().agents.kernel.kernelCounters()),
    besideUs: rises(new Map(), await running().agents.ours.kernelCounters()),
  };
}

function extra(name: string): Link {
  const link = EXTRAS.find((each) => each.name === name);
  if (link === undefined) throw new Error(`no link ${name}`);
  return link;
}

/** One ESP packet on the wire, from the Ethernet header on. */
interface Seen {
  readonly frame: Buffer;
  /** Of the outer IP packet. */
  readonly ipLen: number;
  readonly udpChecksum: number | undefined;
}

/** The ESP packets that one end sent for a link, while something went on. */
async function watch<T>(
  link: Link,
  traffic: () => Promise<T>,
): Promise<{ readonly seen: Readonly<Record<End, readonly Seen[]>>; readonly value: T }> {
  const capture = await Capture.start(running().namespaces.ours, 'wan');
  const value = await traffic();
  const packets = await capture.stop();
  const headerLen = link.outer === 4 ? 20 : 40;
  const of = (sender: End): readonly Seen[] =>
    packets.flatMap(({ frame, ip }) => {
      const protocol = ip[link.outer === 4 ? 9 : 6];
      const version = (ip[0] ?? 0) >> 4;
      if (version !== link.outer || (protocol !== 50 && protocol !== 17)) return [];
      const at = headerLen + (protocol === 17 ? 8 : 0);
      if (ip.length < at + 4 || ip.readUInt32BE(at) !== spiOf(otherEnd(sender), link)) return [];
      const udpChecksum = protocol === 17 ? ip.readUInt16BE(headerLen + 6) : undefined;
      return [{ frame, ipLen: ip.length, udpChecksum }];
    });
  return { seen: { ours: of('ours'), kernel: of('kernel') }, value };
}

/** What the two ends write into the checksum of UDP around ESP, and that it is taken. */
async function checksums(): Promise<readonly ChecksumFindings[]> {
  const found: ChecksumFindings[] = [];
  for (const outer of [4, 6] as const) {
    const link = MATRIX.find((each) => each.outer === outer && each.encapsulation === 'udp');
    if (link === undefined) throw new Error('no such link');
    const { seen, value } = await watch(link, () => transfer('kernel', link, 100_000));
    const zeroes = (end: End): number =>
      seen[end].filter(({ udpChecksum }) => udpChecksum === 0).length;
    found.push({
      outer,
      transfer: value,
      kernelPackets: seen.kernel.length,
      kernelZero: zeroes('kernel'),
      ourPackets: seen.ours.length,
      ourZero: zeroes('ours'),
    });
  }
  return found;
}

async function padding(): Promise<PaddingFindings> {
  const link = extra('padding');
  const { kernel } = running().agents;
  const before = await kernel.kernelCounters();
  const { seen, value } = await watch(link, () => ping('ours', link, 3));
  const shortest = (end: End): number => Math.min(...seen[end].map(({ ipLen }) => ipLen));
  return {
    pingAnswered: value,
    shortest: { ours: shortest('ours'), kernel: shortest('kernel') },
    toKernel: await transfer('ours', link),
    toOurs: await transfer('kernel', link),
    kernelErrors: rises(before, await kernel.kernelCounters()),
  };
}

/** Numbers that need more than 32 bits, both ways. */
async function crossing(): Promise<CrossingFindings> {
  const link = extra('crossing');
  const before = await ourDrops();
  const found = await crossLink(link);
  return {
    ...found,
    ourSas: await ourSas(),
    kernelStates: await kernelStates(),
    ourDrops: rises(before, await ourDrops()),
  };
}

/** Packets of either end put on the wire a second time, as they were. */
async function replay(): Promise<ReplayFindings> {
  const link = extra('replay');
  const { agents } = running();
  const { seen } = await watch(link, () => ping('ours', link, 3));
  const before = { ours: await ourDrops(), kernel: await agents.kernel.kernelCounters() };
  for (const sender of ['ours', 'kernel'] as const) {
    const frames = seen[sender].map(({ frame }) => {
      const copy = Buffer.from(frame);
      // On its way between two interfaces of one machine the checksum may be unfinished.
      copy.writeUInt16BE(0, 14 + 20 + 6);
      return copy.toString('hex');
    });
    await agents[sender].ask({ do: 'inject', device: 'wan', frames });
  }
  const after = await ourDrops();
  return {
    sent: { ours: seen.ours.length, kernel: seen.kernel.length },
    ourDrops: rises(before.ours, after),
    kernelErrors: rises(before.kernel, await agents.kernel.kernelCounters()),
    pingAnswered: await ping('ours', link),
  };
}

/** A router between the two marks congestion on every packet, both ways. */
async function marks(): Promise<MarkFindings> {
  const link = extra('marks');
  const { agents, namespaces } = running();
  const mark = [
    'table ip congestion {',
    '  chain wire { type filter hook prerouting priority -400;',
    '    iifname "wan" udp dport 4500 ip ecn set ce;',
    '  }',
    '}',
  ].join('\n');
  const before = await ourDrops();
  const send = async (from: End, text: string, tos: number): Promise<void> => {
    const [own, other] = [innerAddress(from, link), innerAddress(otherEnd(from), link)];
    await agents[from].ask({ do: 'datagrams', from: own, to: other, text, tos, count: MARK_COUNT });
  };
  const arrived = (at: End, text: string, count: number): Promise<void> =>
    until(
      `${text} at ${at}`,
      async () => (await agents[at].marks(text)).length >= count,
      ANSWER_MS,
    );
  for (const from of ['ours', 'kernel'] as const) {
    await send(from, 'unmarked', 2);
    await arrived(otherEnd(from), 'unmarked', MARK_COUNT);
  }
  await namespaces.ours.nft(mark);
  await namespaces.kernel.nft(mark);
  for (const from of ['ours', 'kernel'] as const) {
    // What cannot carry a mark goes first, so that it has been dealt with when the rest arrives.
    await send(from, 'deaf', 0);
    await send(from, 'marked', 2);
    await arrived(otherEnd(from), 'marked', MARK_COUNT);
  }
  await namespaces.ours.nft('delete table ip congestion');
  await namespaces.kernel.nft('delete table ip congestion');
  const at = async (end: End): Promise<Marks> => ({
    unmarked: await agents[end].marks('unmarked'),
    marked: await agents[end].marks('marked'),
    deaf: await agents[end].marks('deaf'),
  });
  return {
    arrived: { ours: await at('ours'), kernel: await at('kernel') },
    ourDrops: rises(before, await ourDrops()),
  };
}

async function stop(): Promise<unknown> {
  const { gateway } = running();
  await watched?.stop('SIGKILL');
  const status = await gateway.stop('SIGTERM', 60_000);
  return { status, log: gateway.stderr };
}

export const cases: GuestCases = {
  [STAGES.start]: start,
  ...Object.fromEntries(MATRIX.map((link) => [link.name, () => crossLink(link)])),
  [STAGES.after]: after,
  [STAGES.checksums]: checksums,
  [STAGES.padding]: padding,
  [STAGES.crossing]: crossing,
  [STAGES.replay]: replay,
  [STAGES.marks]: marks,
  [STAGES.stop]: stop,
};
