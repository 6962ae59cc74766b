/**
 * `npm test`: the set-up, then every test. Ends with one line `N passed, N failed`.
 *
 *   npm test                          everything
 *   npm test -- --only unit,oracle    some suites (see --list)
 *   npm test -- --no-setup            without the set-up
 *
 * Suites that do not disturb one another run side by side; those with network namespaces, traffic
 * and a guest come last, one at a time. Whole logs are in .cache/logs/.
 */

import { appendFileSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ask, endAll, inCi, lastLines, logged, readJson, root, userNamespace } from './command.mjs';
import { sweep } from './janitor.mjs';
import { setup, SetupFailed } from './setup.mjs';

const logs = join(root, '.cache/logs');
const bin = (name) => join(root, 'node_modules/.bin', name);
const started = Date.now();

const say = (text) => process.stdout.write(`${text}\n`);
const seconds = (since) => `${((Date.now() - since) / 1000).toFixed(1)} s`;

/** What a suite found. A check that counts nothing itself is one test. */
const counts = (passed, failed, skipped = 0) => ({ passed, failed, skipped });

function check(name, command) {
  return {
    name,
    run: async () => {
      const log = join(logs, `${name}.log`);
      const { status, output } = await logged(command, { log });
      return { ...counts(status === 0 ? 1 : 0, status === 0 ? 0 : 1), output };
    },
  };
}

function cargoTest(name, command) {
  return {
    name,
    run: async () => {
      const log = join(logs, `${name}.log`);
      const onLine = (line) => {
        if (/^test result: FAILED|^test .* FAILED$/.test(line)) say(`     ${name}: ${line}`);
      };
      const { status, output } = await logged(command, { log, onLine });
      const total = counts(0, 0);
      const results = output.matchAll(
        /^test result: .*? (\d+) passed; (\d+) failed; (\d+) ignored/gm,
      );
      for (const [, passed, failed, ignored] of results) {
        total.passed += Number(passed);
        total.failed += Number(failed);
        total.skipped += Number(ignored);
      }
      // It did not compile, or a test binary crashed.
      if (status !== 0 && total.failed === 0) total.failed = 1;
      return { ...total, output };
    },
  };
}

const PEER_SUITES = ['oracle', 'lab', 'scenario', 'interop'];

/** Some projects of vitest.config.ts; `wrapper` goes in front of the command. */
function vitest(name, projects, wrapper = () => []) {
  return {
    name,
    run: async () => {
      const report = join(logs, `${name}.json`);
      rmSync(report, { force: true });
      const command = [
        ...wrapper(),
        process.execPath,
        join(root, 'node_modules/vitest/vitest.mjs'),
        'run',
        ...projects.flatMap((project) => ['--project', project]),
        '--reporter=default',
        '--reporter=json',
        `--outputFile.json=${report}`,
      ];
      const onLine = (line) => {
        if (line.startsWith('skipped: ')) say(`     ${line}`);
        else if (/^ *[✓❯×↓] .*test\/.*\.test\.ts/.test(line)) say(`     ${line.trim()}`);
      };
      const log = join(logs, `${name}.log`);
      const { status, output } = await logged(command, { log, onLine });
      const found = readJson(report, undefined);
      if (found === undefined) return { ...counts(0, 1), output };
      const total = counts(
        found.numPassedTests,
        found.numFailedTests,
        found.numPendingTests + found.numTodoTests,
      );
      // With CI=true every peer is there: nothing that needs one may have been skipped.
      if (inCi && PEER_SUITES.includes(name)) {
        total.failed += total.skipped;
        total.skipped = 0;
      }
      // A file that did not load has no tests that could fail.
      if (status !== 0 && total.failed === 0) total.failed = 1;
      return { ...total, output };
    },
  };
}

/** The Node releases that the package promises to run on, each a plain binary in an npm package. */
function smoke(release) {
  const name = `smoke-node-${release}`;
  return {
    name,
    run: async () => {
      const log = join(logs, `${name}.log`);
      const node = await nodeBinary(release, log);
      if (node === undefined) {
        const sentence = `${name}: the npm package of Node ${release} could not be installed`;
        if (inCi) return { ...counts(0, 1), output: sentence };
        say(`     skipped: ${sentence}`);
        return { ...counts(0, 0, 1), output: sentence };
      }
      const { status, output } = await logged([node, 'tools/smoke.mjs'], {
        log,
        timeoutMs: 60_000,
      });
      return { ...counts(status === 0 ? 1 : 0, status === 0 ? 0 : 1), output };
    },
  };
}

async function nodeBinary(release, log) {
  const isRelease = (version) => version.startsWith(`v${release}.`);
  if (isRelease(process.version)) return process.execPath;
  const name = `node-linux-${process.arch}`;
  const folder = join(root, '.cache', `node-${release}`);
  const path = join(folder, 'node_modules', name, 'bin/node');
  if (!existsSync(path)) {
    mkdirSync(folder, { recursive: true });
    const install = ['npm', 'install', '--prefix', folder, '--no-save', '--no-audit', '--no-fund'];
    await logged([...install, '--no-package-lock', `${name}@${release}`], { log });
  }
  return isRelease(ask([path, '--version']).output) ? path : undefined;
}

/** Without root: the privileged suites become root of a user namespace, where that is allowed. */
function asRoot() {
  if (process.getuid?.() === 0) return [];
  const unshare = userNamespace();
  if (unshare === undefined) {
    say('     network namespaces are not allowed here: run as root, or allow user namespaces');
    return [];
  }
  return [...unshare, 'bash', '-c', 'mount -t tmpfs tmpfs /run && exec "$0" "$@"'];
}

const tsc = [process.execPath, join(root, 'node_modules/typescript/bin/tsc')];

/** Columns run side by side, each from top to bottom: cargo holds a lock of its own. */
const sideBySide = [
  [
    check('rust-format', ['cargo', 'fmt', '--all', '--check']),
    check('clippy', [
      ...['cargo', 'clippy', '--workspace', '--all-targets', '--locked', '--quiet'],
      ...['--', '-D', 'warnings'],
    ]),
    cargoTest('rust', ['cargo', 'test', '--workspace', '--locked', '--no-fail-fast']),
  ],
  [
    check('format', [bin('biome'), 'format']),
    check('lint', [
      bin('oxlint'),
      '--type-aware',
      '--deny-warnings',
      'packages',
      'test',
      'bench',
      'tools',
    ]),
    check('types-test', [...tsc, '-p', 'test']),
    check('types-bench', [...tsc, '-p', 'bench']),
    vitest('unit', ['unit']),
    vitest('oracle', ['oracle']),
    vitest('exchange', ['exchange']),
    vitest('contract', ['contract']),
    vitest('tidy', ['tidy']),
    ...['20.19', '22', '24', '26'].map(smoke),
  ],
];

const oneByOne = [
  vitest('lab', ['lab'], asRoot),
  vitest('scenario', ['scenario'], asRoot),
  vitest('interop', ['interop'], asRoot),
];

function parseArguments(words) {
  const options = { only: undefined, isSetUp: true, isList: false };
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at];
    if (word === '--no-setup') options.isSetUp = false;
    else if (word === '--list') options.isList = true;
    else if (word === '--only') {
      at += 1;
      options.only = (words[at] ?? '').split(',');
    } else if (word.startsWith('--only=')) options.only = word.slice(7).split(',');
    else {
      say(`unknown option ${word}: --only SUITE[,SUITE...], --no-setup, --list`);
      process.exit(2);
    }
  }
  return options;
}

const options = parseArguments(process.argv.slice(2));
const all = [...sideBySide.flat(), ...oneByOne].map((suite) => suite.name);
if (options.isList) {
  say(all.join('\n'));
  process.exit(0);
}
const unknown = (options.only ?? []).filter((name) => !all.some((each) => each.startsWith(name)));
if (unknown.length > 0) {
  say(`no suite ${unknown.join(', ')}; there are: ${all.join(' ')}`);
  process.exit(2);
}
const isWanted = (suite) =>
  options.only === undefined || options.only.some((name) => suite.name.startsWith(name));

const total = counts(0, 0);

/** The last line, and the end. */
function finish() {
  const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : '';
  say(`${total.passed} passed, ${total.failed} failed${skipped}`);
  process.exit(total.failed > 0 || total.passed === 0 ? 1 : 0);
}

let isEnding = false;

async function runSuite(suite) {
  if (isEnding) return;
  const since = Date.now();
  say(`...  ${suite.name}`);
  const found = await suite.run();
  total.passed += found.passed;
  total.failed += found.failed;
  total.skipped += found.skipped;
  const numbers =
    `${found.passed} passed` +
    (found.failed > 0 ? `, ${found.failed} failed` : '') +
    (found.skipped > 0 ? `, ${found.skipped} skipped` : '');
  say(`${found.failed > 0 ? 'FAIL' : 'ok  '} ${suite.name}: ${numbers} in ${seconds(since)}`);
  if (found.failed > 0) {
    say(lastLines(found.output, 80).replaceAll(/^/gm, `     ${suite.name} | `));
  }
}

async function runColumn(suites) {
  for (const suite of suites.filter(isWanted)) await runSuite(suite);
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    isEnding = true;
    endAll();
    // The suites get time to put the machine back as it was.
    setTimeout(() => {
      endAll('SIGKILL');
      sweep();
      process.exit(130);
    }, 3_000);
  });
}

for (const what of sweep()) say(`removed ${what}, left by a run that was killed`);
mkdirSync(logs, { recursive: true });
if (options.isSetUp) {
  try {
    await setup();
  } catch (error) {
    if (!(error instanceof SetupFailed)) throw error;
    say(error.message);
    total.failed = 1;
    finish();
  }
}
await Promise.all(sideBySide.map(runColumn));
await runColumn(oneByOne);
// The handler of the signal ends this process, and with status 130.
if (isEnding) await new Promise(() => undefined);
for (const what of sweep()) {
  say(`FAIL the tests left ${what}`);
  total.failed += 1;
}
const line = `${new Date().toISOString()} ${seconds(started)} ${JSON.stringify(total)}\n`;
appendFileSync(join(logs, 'runs.log'), line);
finish();
