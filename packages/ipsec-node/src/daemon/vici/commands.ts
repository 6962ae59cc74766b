/** The commands of the control socket: strongSwan's, under its names, and the product's own. */
import { machine, release, type as systemName } from 'node:os';
import { type ExplainQuery, type Explanation, parseExplainWords } from '../../config/explain.js';
import type { CaptureKeys } from '../capture/capture-keys.js';
import type { IkeControl } from '../ike/ike-control.js';
import type { CountersSnapshot, GatewayStatus, PolicySnapshot, SaSnapshot } from '../snapshot.js';
import { streamKeys } from './capture-messages.js';
import { listOf, section, textOf, type ViciSection } from './codec.js';
import { encodeExplanation } from './explain-message.js';
import {
  encodeCounters,
  encodePolicy,
  encodeSa,
  encodeSaDrops,
  encodeStatus,
  plainSection,
  type SaOwner,
} from './own-messages.js';
import { ikeCommands, streamRefusals } from './ike-commands.js';
import type { DataplaneNotice } from './ike-messages.js';
import { ikeSaMessages, padEntryMessage } from './ike-sections.js';
import { loadCommands } from './load-commands.js';
import { LoadedConns } from './loaded-conns.js';
import type { ViciCommand, ViciStream } from './server.js';
import { listConnMessages, listPolicyMessages, listSaMessages } from './strongswan-sections.js';
import { ALGORITHM_NAMES } from './transform-names.js';

/** What the commands ask. Every answer is a snapshot; none but those of `ike` waits for a peer. */
export interface ControlSource {
  /** Null: this gateway runs no IKE. */
  readonly ike: IkeControl | null;
  /** Keys for captures; null: the gateway was not started with leave to show them. */
  readonly captureKeys: CaptureKeys | null;
  /** What the datapath tells, as it happens. Returns what ends the subscription. */
  onEvent(listener: (event: DataplaneNotice, at: Date) => void): () => void;
  status(): GatewayStatus;
  sas(): Promise<readonly SaSnapshot[]>;
  policies(): readonly PolicySnapshot[];
  counters(): Promise<CountersSnapshot>;
  explain(query: ExplainQuery): Promise<Explanation>;
}

/** Events that clients may register for: streams of answers, and strongSwan's own notices. */
export const EVENT_NAMES: ReadonlySet<string> = new Set([
  'list-sa',
  'list-policy',
  'list-conn',
  'list-cert',
  'list-authority',
  'log',
  'control-log',
  'ike-updown',
  'ike-rekey',
  'child-updown',
  'child-rekey',
  'ipsec-node-sa',
  'ipsec-node-policy',
  'ipsec-node-sa-drops',
  'ipsec-node-explain-entry',
  'ipsec-node-peer',
  'ipsec-node-refusal',
  'ipsec-node-event',
  'ipsec-node-ike-keys',
  'ipsec-node-esp-keys',
]);

/** Commands of strongSwan that change something this version has no means to change. */
const NOT_IN_THIS_VERSION = [
  'redirect',
  'install',
  'uninstall',
  'load-token',
  'load-authority',
  'unload-authority',
  'load-pool',
  'unload-pool',
  'reset-counters',
] as const;

/** What serves instead of those commands. */
const INSTEAD: Partial<Record<(typeof NOT_IN_THIS_VERSION)[number], string>> = {
  install: 'a policy stands from the moment that its connection is loaded',
  uninstall: 'a policy goes with its connection: unload that',
  'load-authority': 'name authorities in remote.cacerts, or load them as certificates',
  'reset-counters': 'counters only rise; compare two readings',
};

/** Commands that a gateway without IKE refuses. */
const OF_IKE = [
  ...['initiate', 'terminate', 'rekey', 'reload-settings', 'ipsec-node-reload'],
  ...['load-conn', 'unload-conn', 'load-shared', 'unload-shared', 'load-key', 'unload-key'],
  ...['load-cert', 'clear-creds', 'flush-certs'],
] as const;

/**
 * All commands over one source. `told` is given what a person should know of what a client loaded.
 */
export function viciCommands(
  source: ControlSource,
  told: (text: string) => void = () => {},
): ReadonlyMap<string, ViciCommand> {
  const { ike } = source;
  const conns = ike === null ? null : new LoadedConns(ike);
  const commands = new Map<string, ViciCommand>([
    ['version', async () => version(source.status())],
    ['stats', async () => stats(source)],
    ['list-sas', (request, stream) => listSas(source, request, stream)],
    ['list-conns', (request, stream) => listConns(source, request, stream)],
    ['list-policies', (request, stream) => listPolicies(source, request, stream)],
    // There are none yet, and an empty answer is the truth.
    ['list-certs', async () => section()],
    ['list-authorities', async () => section()],
    ['get-authorities', async () => section([['authorities', []]])],
    ['get-conns', async () => section([['conns', []]])],
    ['get-pools', async () => section()],
    ['get-keys', async () => section([['keys', []]])],
    ['get-shared', async () => section([['keys', []]])],
    ['get-algorithms', async () => algorithms()],
    ['get-counters', async () => getCounters(await source.counters())],
    ['ipsec-node-peers', async () => section()],
    [
      'ipsec-node-status',
      async (_request, stream) => {
        if (ike !== null) await streamRefusals(ike, stream);
        return encodeStatus(source.status());
      },
    ],
    ['ipsec-node-capture-keys', (_request, stream) => streamKeys(source.captureKeys, stream)],
    [
      'ipsec-node-sas',
      async (_request, stream) => {
        const children = childrenBySa(source);
        for (const sa of await source.sas()) {
          const child = children.get(`${sa.id.direction} ${sa.id.spi}`) ?? null;
          await stream('ipsec-node-sa', encodeSa(sa, child));
        }
        return section();
      },
    ],
    [
      'ipsec-node-policies',
      async (_request, stream) => {
        for (const policy of source.policies()) {
          await stream('ipsec-node-policy', encodePolicy(policy));
        }
        return section();
      },
    ],
    [
      'ipsec-node-counters',
      async (_request, stream) => {
        const counters = await source.counters();
        for (const row of counters.dropsBySa) {
          await stream('ipsec-node-sa-drops', encodeSaDrops(row));
        }
        return encodeCounters(counters);
      },
    ],
    [
      'ipsec-node-explain',
      async (request, stream) => {
        const query = parseExplainWords(listOf(request, 'packet'));
        const { entries, reply } = encodeExplanation(await source.explain(query));
        for (const entry of entries) await stream('ipsec-node-explain-entry', entry);
        return reply;
      },
    ],
  ]);
  const refuse = (name: string, reason: string): void => {
    commands.set(name, async () =>
      section([
        ['success', false],
        ['errmsg', reason],
      ]),
    );
  };
  for (const name of NOT_IN_THIS_VERSION) {
    const instead = INSTEAD[name];
    const advice = instead === undefined ? '' : `: ${instead}`;
    refuse(name, `${name} is not in this version${advice}`);
  }
  if (ike === null || conns === null) {
    for (const name of OF_IKE) refuse(name, `${name}: this gateway has no peers, and runs no IKE`);
    return commands;
  }
  for (const [name, command] of ikeCommands(ike)) commands.set(name, command);
  for (const [name, command] of loadCommands(conns, told)) commands.set(name, command);
  return commands;
}

/** Children by the direction and SPI of their SAs. */
function childrenBySa({ ike }: ControlSource): ReadonlyMap<string, SaOwner> {
  const owners = new Map<string, SaOwner>();
  for (const { id, peer, children } of ike?.ikeSas() ?? []) {
    for (const child of children) {
      const owner = {
        peer,
        ikeSa: id,
        child: child.name,
        childId: child.id,
        rekeyInMs: child.rekeyInMs,
      };
      owners.set(`inbound ${child.inbound}`, owner);
      owners.set(`outbound ${child.outbound}`, owner);
    }
  }
  return owners;
}

function version(status: GatewayStatus): ViciSection {
  return section([
    ['daemon', 'ipsec-node'],
    ['version', status.version],
    ['sysname', systemName()],
    ['release', release()],
    ['machine', machine()],
  ]);
}

/** A span as strongSwan writes it: the two largest units. */
function span(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const units: readonly (readonly [string, number])[] = [
    ['day', 86_400],
    ['hour', 3600],
    ['minute', 60],
    ['second', 1],
  ];
  const parts: string[] = [];
  let rest = seconds;
  for (const [unit, size] of units) {
    const count = Math.floor(rest / size);
    rest %= size;
    if (count > 0) parts.push(`${count} ${unit}${count === 1 ? '' : 's'}`);
  }
  return parts.length === 0 ? '0 seconds' : parts.slice(0, 2).join(', ');
}

function stats(source: ControlSource): ViciSection {
  const status = source.status();
  const ikeSas = source.ike?.ikeSas() ?? [];
  const levels = (): ViciSection =>
    section([
      ['critical', 0],
      ['high', 0],
      ['medium', 0],
      ['low', 0],
    ]);
  const memory = process.memoryUsage();
  return section([
    [
      'uptime',
      section([
        ['running', span(status.uptimeMs)],
        ['since', status.since.toUTCString()],
      ]),
    ],
    // strongSwan's thread pool and job queues have no counterpart: one event loop, never queueing.
    [
      'workers',
      section([
        ['total', 1],
        ['idle', 1],
        ['active', levels()],
      ]),
    ],
    ['queues', levels()],
    ['scheduled', 0],
    [
      'ikesas',
      section([
        ['total', ikeSas.length],
        ['half-open', ikeSas.filter(({ state }) => state === 'connecting').length],
      ]),
    ],
    ['plugins', ['vici']],
    [
      'mallinfo',
      section([
        ['sbrk', memory.heapTotal],
        ['mmap', memory.external],
        ['used', memory.heapUsed],
        ['free', memory.heapTotal - memory.heapUsed],
      ]),
    ],
  ]);
}

/** An SA whose numbers are on disk is keyed by hand: negotiated ones have no such bound. */
function isManual(sa: SaSnapshot): boolean {
  return sa.reservedUpTo !== null;
}

async function listSas(
  source: ControlSource,
  request: ViciSection,
  stream: ViciStream,
): Promise<ViciSection> {
  const filter = {
    ike: textOf(request, 'ike'),
    // swanctl writes the first, the protocol's documentation the second.
    ikeId: textOf(request, 'ike-id') ?? textOf(request, 'ike_id'),
  };
  const ikeSas = source.ike?.ikeSas() ?? [];
  const sas = await source.sas();
  const children = { child: textOf(request, 'child'), childId: textOf(request, 'child-id') };
  for (const message of ikeSaMessages(ikeSas, sas, { ...filter, ...children })) {
    await stream('list-sa', message);
  }
  if (children.child !== undefined || children.childId !== undefined) return section();
  // Numbers of IKE SAs come first, so that none has two meanings.
  const numberedFrom = Math.max(0, ...ikeSas.map(({ id }) => id)) + 1;
  const manual = listSaMessages(sas.filter(isManual), source.status().name, filter, numberedFrom);
  for (const message of manual) await stream('list-sa', message);
  return section();
}

async function listConns(
  source: ControlSource,
  request: ViciSection,
  stream: ViciStream,
): Promise<ViciSection> {
  const ike = textOf(request, 'ike');
  const entries = source.ike?.pad().entries ?? [];
  const manual = (await source.sas()).filter(isManual);
  const messages = [
    ...entries.filter(({ name }) => ike === undefined || ike === name).map(padEntryMessage),
    ...listConnMessages(manual, source.policies(), { ike }),
  ];
  for (const message of messages) await stream('list-conn', message);
  return section();
}

async function listPolicies(
  source: ControlSource,
  request: ViciSection,
  stream: ViciStream,
): Promise<ViciSection> {
  const asked = (key: string): boolean => textOf(request, key) === 'yes';
  const messages = listPolicyMessages(source.policies(), {
    trap: asked('trap'),
    drop: asked('drop'),
    pass: asked('pass'),
    child: textOf(request, 'child'),
  });
  for (const message of messages) await stream('list-policy', message);
  return section();
}

function algorithms(): ViciSection {
  return section(
    Object.entries(ALGORITHM_NAMES).map(([type, names]) => [
      type,
      section(names.map((name) => [name, 'ipsec-node'])),
    ]),
  );
}

/** strongSwan counts IKE messages here; without IKE the datapath's counters stand in their place. */
function getCounters(counters: CountersSnapshot): ViciSection {
  const all = { ...counters.counters };
  for (const [reason, count] of Object.entries(counters.drops)) all[`drop_${reason}`] = count;
  return section([
    ['counters', section([['', plainSection(all)]])],
    ['success', true],
  ]);
}
