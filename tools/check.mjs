/** `npm run check`: formatting, lints and types, nothing that takes long. Status 1 on any fault. */

import { join } from 'node:path';
import { logged, root } from './command.mjs';

const bin = (name) => join(root, 'node_modules/.bin', name);

const checks = [
  ['rust-format', ['cargo', 'fmt', '--all', '--check']],
  ['format', [bin('biome'), 'format']],
  [
    'lint',
    [bin('oxlint'), '--type-aware', '--deny-warnings', 'packages', 'test', 'bench', 'tools'],
  ],
  ['types', [bin('tsc'), '--build']],
  ['types-test', [bin('tsc'), '-p', 'test']],
  ['types-bench', [bin('tsc'), '-p', 'bench']],
];

let failed = 0;
for (const [name, command] of checks) {
  const log = join(root, '.cache/logs', `check-${String(name)}.log`);
  const { status, output } = await logged(command, { log });
  process.stdout.write(`${status === 0 ? 'ok  ' : 'FAIL'} ${String(name)}\n`);
  if (status !== 0) {
    failed += 1;
    process.stdout.write(`${output.trimEnd()}\n`);
  }
}
process.exit(failed > 0 ? 1 : 0);
