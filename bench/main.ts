import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Evaluation, evaluate } from './evaluation.js';
import { benchGateways, type GatewayResult, missingPrograms } from './gateway/gateway-bench.js';
import { Lab } from './gateway/lab.js';
import { benchIke, type IkeResult, ikeReport } from './ike/ike-bench.js';
import { cpuSlug, describeMachine, type Machine } from './machine.js';
import { type BenchOptions, parseOptions, UsageFault, usage } from './options.js';
import { benchPackets, type PacketResult } from './packet/packet-bench.js';
import { plotOf } from './plot.js';
import { gatewayReport, packetReport } from './report.js';

const INTERRUPTIONS: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** Everything that one run measured: the file in bench/results. */
interface Result {
  readonly format: 1;
  readonly date: string;
  readonly complete: boolean;
  readonly machine: Machine;
  readonly gateway: (GatewayResult & Evaluation) | null;
  readonly packet: PacketResult | null;
  readonly ike: IkeResult | null;
}

/** The whole command. Returns its exit code: 0, 1 for a failure, 2 for bad usage. */
export async function main(root: string, argv: readonly string[]): Promise<number> {
  let options: BenchOptions;
  try {
    options = parseOptions(argv);
  } catch (error) {
    if (error instanceof UsageFault) {
      process.stderr.write(`${error.message}\n\n${usage}`);
      return 2;
    }
    throw error;
  }
  if (options.help) {
    process.stdout.write(usage);
    return 0;
  }
  const controller = new AbortController();
  const interrupt = (): void => controller.abort(new Error('interrupted'));
  for (const signal of INTERRUPTIONS) {
    process.on(signal, interrupt);
  }
  try {
    return await bench(root, options, controller.signal);
  } catch (error) {
    process.stderr.write(
      controller.signal.aborted
        ? 'bench: interrupted; nothing is left behind\n'
        : `bench: ${error instanceof Error ? error.message : String(error)}\n`,
    );
    return 1;
  } finally {
    for (const signal of INTERRUPTIONS) {
      process.off(signal, interrupt);
    }
  }
}

async function bench(root: string, options: BenchOptions, signal: AbortSignal): Promise<number> {
  const machine = await describeMachine(root);
  print(
    `${machine.cpu}, ${machine.cores} processors, Linux ${machine.kernel}, Node ${machine.node}`,
  );
  const packet = options.parts.includes('packet')
    ? await benchPackets(options.quick, signal, progress)
    : null;
  const gateway = options.parts.includes('gateway')
    ? await runGateways(root, options, signal)
    : null;
  const ike = options.parts.includes('ike') ? await benchIke(options, progress) : null;
  const evaluation = gateway === null ? null : evaluate(gateway);
  if (packet !== null) {
    print(`\n${packetReport(packet)}`);
  }
  if (gateway !== null && evaluation !== null) {
    print(`\n${gatewayReport(gateway, evaluation)}`);
  }
  if (ike !== null) print(`\n${ikeReport(ike)}`);
  // What is required and was not measured is not met.
  const gatewayMet =
    evaluation?.targets.every(
      ({ required, requiredMet }) => required === null || requiredMet === true,
    ) ?? false;
  const met =
    (gatewayMet || !options.parts.includes('gateway')) &&
    (ike === null ? !options.parts.includes('ike') : ike.targetsMet) &&
    (options.parts.includes('gateway') || options.parts.includes('ike'));
  if (options.writeResults) {
    const everything = packet?.leftOut === null && gateway !== null && gateway.leftOut.length === 0;
    const result: Result = {
      format: 1,
      date: new Date().toISOString(),
      complete: options.complete && everything,
      machine,
      gateway: gateway === null || evaluation === null ? null : { ...gateway, ...evaluation },
      packet,
      ike,
    };
    await writeResult(root, result, evaluation);
  }
  return options.assertTargets && !met ? 1 : 0;
}

async function runGateways(
  root: string,
  options: BenchOptions,
  signal: AbortSignal,
): Promise<GatewayResult | null> {
  const missing = missingPrograms();
  if (missing !== null) {
    progress(`left out: gateways: ${missing}`);
    return null;
  }
  if (process.getuid?.() !== 0) {
    progress('left out: gateways: they need root, or a kernel that allows user namespaces');
    return null;
  }
  const lab = new Lab(signal);
  try {
    return await benchGateways(root, options, lab, progress);
  } finally {
    await lab.close();
  }
}

/** A partial run never takes the place of a full one. */
async function writeResult(
  root: string,
  result: Result,
  evaluation: Evaluation | null,
): Promise<void> {
  const folder = join(root, 'bench/results');
  const suffix = result.complete ? '' : '-partial';
  const name = `${result.date.slice(0, 10)}-${cpuSlug()}${suffix}`;
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, `${name}.json`), `${JSON.stringify(result, null, 1)}\n`);
  print(`\nwritten: bench/results/${name}.json`);
  if (result.gateway !== null && evaluation !== null) {
    const { machine, gateway } = result;
    const captions = [
      `ipsec-node against its peers, ${result.date.slice(0, 10)}`,
      `${machine.cpu}, ${machine.cores} processors shared by both gateways and both iperf3 ends, Linux ${machine.kernel}, wire MTU ${gateway.wireMtu}`,
      `Bars: median of ${gateway.rounds} interleaved rounds of ${gateway.seconds} s; whiskers: lowest and highest round. veth passes GSO through, which flatters GSO designs. Noise: ${gateway.idleBusyCores?.median.toFixed(2) ?? '?'} processors busy with something else`,
    ];
    await writeFile(join(folder, `${name}.svg`), plotOf(gateway, evaluation, captions));
    print(`written: bench/results/${name}.svg`);
  }
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Progress goes to stderr, so that stdout holds the tables alone. */
function progress(line: string): void {
  process.stderr.write(`${line}\n`);
}
