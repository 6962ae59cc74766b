import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InvalidArgumentError, Option } from 'commander';
import type { EspKeyReport } from '../../daemon/capture/capture-keys.js';
import {
  type CaptureSource,
  insideSource,
  outsideSource,
  record,
} from '../../daemon/capture/capture.js';
import { keyFolder } from '../../daemon/capture/wireshark-keys.js';
import { interfaceMtu } from '../../daemon/host/interface-sides.js';
import { decodeEspKeys, decodeIkeKeys } from '../../daemon/vici/capture-messages.js';
import type { ViciClient } from '../../daemon/vici/client.js';
import { decodeStatus, type StatusRow } from '../../daemon/vici/own-messages.js';
import { ResourceError, UsageError } from '../../errors.js';
import { nativeModule } from '../../gateway.js';
import type { IkeKeyReport } from '../../ike/action.js';
import { type CliContext, EXIT_CODES, example, type Registration } from '../context.js';
import { addLiveOptions, type LiveOptions, withGateway } from '../live.js';
import { EXIT, type ExitCode } from '../refusal.js';
import { count, json } from '../render.js';

interface CaptureOptions extends LiveOptions {
  readonly write: string;
  readonly withKeys?: boolean;
  readonly count?: number;
  readonly duration?: number;
  readonly interface?: readonly string[];
}

const DURATION_SECONDS_MAX = 30 * 24 * 3600;
/** Of an interface that does not say: that of Ethernet. */
const MTU_DEFAULT = 1500;

function positive(max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (value > 0 && value <= max) return value;
    throw new InvalidArgumentError(`it is a number up to ${max}.`);
  };
}

/** `ipsec-node capture`: both sides of the running gateway into a pcapng file. */
export const registerCapture: Registration = (program, context) => {
  addLiveOptions(program.command('capture'))
    .requiredOption('-w, --write <file>', 'the pcapng file; only you may read it')
    .option('--with-keys', 'also write the keys that Wireshark needs, into FILE.keys')
    .addOption(
      new Option('--count <packets>', 'end after so many packets').argParser(
        positive(Number.MAX_SAFE_INTEGER),
      ),
    )
    .addOption(
      new Option('--duration <seconds>', 'end after so long').argParser(
        positive(DURATION_SECONDS_MAX),
      ),
    )
    .option('-i, --interface <name...>', 'outer interfaces; found by themselves where left out')
    .summary('records both sides of the gateway for Wireshark')
    .description(
      'Records what goes through the running gateway until interrupted: packets in clear on its ' +
        'interface, IKE and ESP on the outer ones. Needs CAP_NET_RAW. With --with-keys, and where the ' +
        'gateway was started with --allow-key-capture, the keys of its SAs are written next to the ' +
        'file, so that Wireshark opens IKE and ESP. Whoever has them can read the traffic.',
    )
    .addHelpText(
      'after',
      example(
        'ipsec-node capture -w trouble.pcapng --duration 60',
        'ipsec-node capture -w trouble.pcapng --with-keys',
      ) + EXIT_CODES,
    )
    .action((options: CaptureOptions) =>
      withGateway(context, options, (client) => capture(context, client, options)),
    );
};

interface Keys {
  readonly ike: readonly IkeKeyReport[];
  readonly esp: readonly EspKeyReport[];
}

/** @throws UsageError where the gateway does not show them. */
async function askKeys(client: ViciClient): Promise<Keys> {
  const ike: IkeKeyReport[] = [];
  const esp: EspKeyReport[] = [];
  await client.listenWhile(
    ['ipsec-node-ike-keys', 'ipsec-node-esp-keys'],
    (name, message) => {
      if (name === 'ipsec-node-ike-keys') ike.push(decodeIkeKeys(message));
      else esp.push(decodeEspKeys(message));
    },
    () => client.request('ipsec-node-capture-keys'),
  );
  return { ike, esp };
}

function wipe({ ike, esp }: Keys): void {
  for (const { skEi, skEr, skAi, skAr } of ike) {
    for (const key of [skEi, skEr, skAi, skAr]) key.fill(0);
  }
  for (const { key } of esp) key.fill(0);
}

async function capture(
  context: CliContext,
  client: ViciClient,
  options: CaptureOptions,
): Promise<ExitCode> {
  const { terminal, clock } = context;
  const status = decodeStatus(await client.request('ipsec-node-status'));
  // Leave is asked for before anything is recorded.
  const before = options.withKeys === true ? await askKeys(client) : null;
  const sources = await sourcesOf(status, options.interface ?? status.unprotected);
  let interrupted = false;
  const unsubscribe = context.onSignal(() => {
    interrupted = true;
  });
  try {
    if (options.json !== true) {
      const names = sources.map((source) => source.interface.name).join(', ');
      terminal.err(`Recording ${names} into ${options.write}; interrupt to end.\n`);
    }
    const packets = await record(
      options.write,
      sources,
      {
        count: options.count ?? Number.POSITIVE_INFINITY,
        durationMs: (options.duration ?? DURATION_SECONDS_MAX) * 1000,
      },
      clock,
      () => interrupted,
    );
    const keys = before === null ? null : await writeKeys(client, options.write, before);
    if (options.json === true) {
      terminal.out(json({ file: options.write, packets, ...keys }));
    } else {
      terminal.out(`${count(packets)} packets in ${options.write}.\n`);
      if (keys !== null) terminal.out(howTo(options.write, keys));
    }
    return EXIT.success;
  } finally {
    unsubscribe();
    if (before !== null) wipe(before);
  }
}

async function sourcesOf(
  status: StatusRow,
  outside: readonly string[],
): Promise<readonly CaptureSource[]> {
  if (outside.length === 0) {
    throw new UsageError(
      'IPSEC_ERR_USAGE',
      'The gateway names no outer interface: name one with --interface.',
    );
  }
  const native = await nativeModule();
  const openPacketSocket = (link: string) => native.openPacketSocket(link);
  const ports = [status.ikePort, status.port];
  return [
    insideSource(status.interface, openPacketSocket),
    ...outside.map((name) =>
      outsideSource(name, openPacketSocket, {
        mtu: interfaceMtu(name) ?? MTU_DEFAULT,
        ports,
      }),
    ),
  ];
}

interface WrittenKeys {
  readonly keys: string;
  readonly ikeSas: number;
  readonly espSas: number;
  readonly notes: readonly string[];
}

/** Writes the keys of what was there before the capture and of what came while it ran. */
async function writeKeys(client: ViciClient, path: string, before: Keys): Promise<WrittenKeys> {
  const notes: string[] = [];
  const after = await askKeys(client).catch((error: unknown): Keys => {
    const reason = error instanceof Error ? error.message : String(error);
    notes.push(`keys of SAs made during the capture are missing: ${reason}`);
    return { ike: [], esp: [] };
  });
  try {
    const ike = distinct([...before.ike, ...after.ike], ({ spiInitiator, spiResponder }) =>
      [spiInitiator, spiResponder].join(),
    );
    const esp = distinct([...before.esp, ...after.esp], ({ destination, spi }) =>
      [destination, spi].join(),
    );
    const { files, left } = keyFolder(ike, esp);
    const folder = `${path}.keys`;
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      chmodSync(folder, 0o700);
      for (const { name, text } of files) {
        writeFileSync(join(folder, name), text, { mode: 0o600 });
        chmodSync(join(folder, name), 0o600);
      }
    } catch (cause) {
      throw new ResourceError('IPSEC_ERR_HOST', `${folder} cannot be written.`, { cause });
    }
    return {
      keys: folder,
      ikeSas: ike.length,
      espSas: esp.length,
      notes: [...notes, ...left],
    };
  } finally {
    wipe(after);
  }
}

function distinct<T>(items: readonly T[], key: (item: T) => string): readonly T[] {
  return [...new Map(items.map((item) => [key(item), item])).values()];
}

function howTo(path: string, { keys, ikeSas, espSas, notes }: WrittenKeys): string {
  return [
    `Keys of ${ikeSas} IKE SAs and ${espSas} ESP SAs are in ${keys}: whoever has them can read the traffic.`,
    `  WIRESHARK_CONFIG_DIR=${keys} wireshark ${path}`,
    `  WIRESHARK_CONFIG_DIR=${keys} tshark -r ${path}`,
    ...notes.map((note) => `note: ${note}`),
    '',
  ].join('\n');
}
