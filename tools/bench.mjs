// npm run bench: set-up, then the bench. Options after `--` go to the bench (`--help` lists them);
// `--no-setup` skips the set-up.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const asked = process.argv.slice(2);
const args = asked.filter((argument) => argument !== '--no-setup');
const informs = args.includes('--help') || args.includes('-h');

/** Runs a step of the preparation; ends the command with its exit code where it fails. */
function step(program, ...rest) {
  const { status, error } = spawnSync(program, rest, { cwd: root, stdio: 'inherit' });
  if (status !== 0) {
    process.stderr.write(`bench: ${program} ${rest.join(' ')}: ${error?.message ?? 'failed'}\n`);
    process.exit(status ?? 1);
  }
}

const setup = join(root, 'tools/setup.mjs');
if (!asked.includes('--no-setup') && !informs && existsSync(setup)) {
  step(process.execPath, setup);
}

// The laboratory of the tests runs from where it was compiled to.
process.env.IPSEC_NODE_ROOT = root;
const compiled = join(root, '.cache/bench-js');
step(
  process.execPath,
  join(root, 'node_modules/typescript/bin/tsc'),
  ...['--project', join(root, 'bench/tsconfig.json'), '--noEmit', 'false'],
  ...['--allowImportingTsExtensions', 'false', '--rewriteRelativeImportExtensions'],
  ...['--outDir', compiled, '--rootDir', root],
);

// The initiators of the IKE bench run from the product's sources as compiled above, with what those
// import from npm.
const dependencies = join(root, 'packages/ipsec-node/node_modules');
const linked = join(compiled, 'packages/ipsec-node/node_modules');
rmSync(linked, { force: true });
if (existsSync(dependencies)) symlinkSync(dependencies, linked);

// Without root the bench runs as root of a user namespace of its own, where that is allowed.
const marker = 'IPSEC_NODE_BENCH_NAMESPACE';
const map = ['--user', '--map-root-user', '--mount', '--net'];
const wrapped =
  !informs &&
  process.getuid?.() !== 0 &&
  process.env[marker] === undefined &&
  spawnSync('unshare', [...map, 'true'], { stdio: 'ignore' }).status === 0;

if (wrapped) {
  const self = [fileURLToPath(import.meta.url), '--no-setup', ...args];
  const child = spawn(
    'unshare',
    [...map, 'sh', '-c', 'mount -t tmpfs run /run && exec "$0" "$@"', process.execPath, ...self],
    { stdio: 'inherit', detached: true, env: { ...process.env, [marker]: '1' } },
  );
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => child.kill(signal));
  }
  child.on('exit', (code) => process.exit(code ?? 1));
} else {
  const { main } = await import(pathToFileURL(join(compiled, 'bench/main.js')).href);
  process.exitCode = await main(root, args);
}
