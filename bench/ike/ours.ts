import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { until } from '../../test/lab/command.ts';
import { recordFolder, repositoryRoot } from '../../test/lab/registry.ts';
import { numberAt } from '../json.js';
import type { IkeResponder, LoopDelay, RunningResponder } from './responder.js';
import { INSIDE, PEERS_PREFIX, POLICY, PSK, RESPONDER_NAME } from './scene.js';

const main = join(repositoryRoot, 'packages/ipsec-node/dist/cli/main.js');
const probe = fileURLToPath(new URL('./probe.js', import.meta.url));

/** One peer entry and one policy for all; what is not written is as by default. */
function configuration(folder: string): string {
  return `gateway:
  name: bench
  unprotected: [ wan0 ]
  protected: [ lan0 ]
  onStop: open
  control: ${folder}/control.vici
  state: ${folder}/state
peers:
  many:
    address: any
    local: { id: ${RESPONDER_NAME}, auth: psk }
    remote: { id: '*.example', auth: psk }
    psk: { file: psk }
policies:
  - name: ${POLICY}
    local: ${INSIDE.prefix}
    remote: ${PEERS_PREFIX}
    action: protect
    peer: many
  - { name: everything-else, action: bypass }
`;
}

/** `ipsec-node up`: the gateway as people run it. */
export const ours: IkeResponder = {
  name: 'ours',
  title: 'ipsec-node up',
  missing: () => (existsSync(main) ? null : 'ipsec-node is not built: run `npm run build`'),
  start: async ({ namespace, cpu }) => {
    const folder = mkdtempSync(join(tmpdir(), 'ipn-bench-ike-'));
    recordFolder(folder);
    mkdirSync(join(folder, 'state'), { mode: 0o700 });
    writeFileSync(join(folder, 'psk'), PSK, { mode: 0o600 });
    writeFileSync(join(folder, 'ipsec.yaml'), configuration(folder), { mode: 0o600 });
    const seen = join(folder, 'seen.json');
    const node = [process.execPath, ...nodeOptions(), '--import', probe, main];
    const program = namespace.spawn(
      [
        ...['taskset', '-c', String(cpu), ...node],
        ...['up', '-c', join(folder, 'ipsec.yaml'), '--log-level', 'warn'],
      ],
      { env: { IPSEC_NODE_BENCH_PROBE: seen } },
    );
    await program.output(/^ready: /m, 30_000);
    return {
      pid: program.pid,
      settings: 'as by default',
      loopDelay: async () => {
        rmSync(seen, { force: true });
        program.signal('SIGUSR2');
        await until('the event loop is asked', () => existsSync(seen), 30_000);
        return delayIn(JSON.parse(readFileSync(seen, 'utf8')));
      },
      fault: () => (program.running ? null : `${program.stdout}\n${program.stderr}`),
      stop: async () => {
        await program.stop('SIGTERM', 20_000);
        rmSync(folder, { recursive: true, force: true });
      },
    } satisfies RunningResponder;
  },
};

/** More options for the product's node, such as `--cpu-prof`: for whoever looks for hot spots. */
function nodeOptions(): string[] {
  return (process.env['IPSEC_NODE_BENCH_NODE'] ?? '').split(' ').filter((word) => word !== '');
}

function delayIn(value: unknown): LoopDelay {
  const [p50, p99, max] = ['p50', 'p99', 'max'].map((name) => numberAt(value, name));
  if (p50 === undefined || p99 === undefined || max === undefined) {
    throw new Error('the event loop was asked and said nothing');
  }
  return { p50, p99, max };
}
