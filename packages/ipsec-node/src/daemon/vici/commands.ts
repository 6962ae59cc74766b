/** The commands of the control socket: strongSwan's, under its names, and the product's own. */
import { machine, release, type as systemName } from 'node:os';
import { type ExplainQuery, type Explanation, parseExplainWords } from '../../config/explain.js';
import type { CountersSnapshot, GatewayStatus, PolicySnapshot, SaSnapshot } from '../snapshot.js';
import { listOf, section, textOf, type ViciSection } from './codec.js';
import { encodeExplanation } from './explain-message.js';
import {
  encodeCounters,
  encodePolicy,
  encodeSa,
  encodeSaDrops,
  encodeStatus,
  plainSection,
} from './own-messages.js';
import type { ViciCommand, ViciStream } from './server.js';
import { listConnMessages, listPolicyMessages, listSaMessages } from './strongswan-sections.js';

/** What the commands ask. Every answer is a snapshot; none waits for a peer. */
export interface ControlSource {
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
]);

/** Commands of strongSwan that change something this version has no means to change. */
const NOT_IN_THIS_VERSION = [
  'initiate',
  'terminate',
  'rekey',
  'redirect',
  'install',
  'uninstall',
  'load-conn',
  'unload-conn',
  'load-cert',
  'load-key',
  'unload-key',
  'load-token',
  'load-shared',
  'unload-shared',
  'flush-certs',
  'clear-creds',
  'load-authority',
  'unload-authority',
  'load-pool',
  'unload-pool',
  'reload-settings',
  'reset-counters',
] as const;

/** What each of those commands would need. */
const MISSING: Partial<Record<(typeof NOT_IN_THIS_VERSION)[number], string>> = {
  'reload-settings':
    'edit the file and restart the gateway; what policy protects stays closed meanwhile',
  'reset-counters': 'counters only rise; compare two readings',
};

/** All commands over one source. */
export function viciCommands(source: ControlSource): ReadonlyMap<string, ViciCommand> {
  const commands = new Map<string, ViciCommand>([
    ['version', async () => version(source.status())],
    ['stats', async () => stats(source.status())],
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
    ['ipsec-node-status', async () => encodeStatus(source.status())],
    [
      'ipsec-node-sas',
      async (_request, stream) => {
        for (const sa of await source.sas()) await stream('ipsec-node-sa', encodeSa(sa));
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
  for (const name of NOT_IN_THIS_VERSION) {
    commands.set(name, async () => {
      const instead = MISSING[name];
      return section([
        ['success', false],
        ['errmsg', `${name} is not in this version${instead === undefined ? '' : `: ${instead}`}`],
      ]);
    });
  }
  return commands;
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

function stats(status: GatewayStatus): ViciSection {
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
        ['total', 0],
        ['half-open', 0],
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
  const messages = listSaMessages(await source.sas(), source.status().name, filter);
  for (const message of messages) await stream('list-sa', message);
  return section();
}

async function listConns(
  source: ControlSource,
  request: ViciSection,
  stream: ViciStream,
): Promise<ViciSection> {
  const messages = listConnMessages(await source.sas(), source.policies(), {
    ike: textOf(request, 'ike'),
  });
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
  const by = 'ipsec-node';
  return section([
    [
      'aead',
      section([
        ['AES_GCM_16', by],
        ['CHACHA20_POLY1305', by],
      ]),
    ],
  ]);
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
