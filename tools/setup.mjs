/**
 * Makes a fresh checkout ready: looks for the compilers, installs the npm packages, builds the
 * native addon and the TypeScript. Does only what is not done yet: under a second when nothing
 * changed. With CI=true it also installs the programs that the tests use as peers; elsewhere it
 * never installs anything on the system.
 *
 * Runs before anything is installed: plain Node, no dependencies.
 */

import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ask, has, inCi, lastLines, logged, readJson, root } from './command.mjs';

const NODE_MIN = [20, 19];
const cache = join(root, '.cache');
const stampFile = join(cache, 'setup.json');

/** Debian packages of the peers that the tests run against. */
const PEER_PACKAGES = [
  'nftables',
  'iproute2',
  'iptables',
  'tcpdump',
  'tshark',
  'iperf3',
  'ethtool',
  'conntrack',
  'strongswan-swanctl',
  'charon-systemd',
  'strongswan-libcharon',
  'libcharon-extra-plugins',
  'libcharon-extauth-plugins',
  'libstrongswan-standard-plugins',
  'libstrongswan-extra-plugins',
  'qemu-system-x86',
  'linux-image-amd64',
  'busybox-static',
  'cpio',
  'python3-venv',
  'procps',
  'iputils-ping',
  'kmod',
  'util-linux',
  'openssl',
  // What libreswan, which is unpacked and not installed, needs.
  'dns-root-data',
  'libnss3-tools',
  'libcurl3-nss',
  'libevent-core-2.1-7',
  'libevent-pthreads-2.1-7',
  'libldns3',
  'libunbound8',
];

const PYTHON_PACKAGES = ['scapy==2.8.0', 'cryptography==50.0.2'];

/** A fault of the machine, told in one sentence. */
export class SetupFailed extends Error {}

function say(text) {
  process.stdout.write(`set-up: ${text}\n`);
}

async function step(name, command, env) {
  const started = Date.now();
  say(`${name} ...`);
  const log = join(cache, 'logs', `setup-${name.replaceAll(/[^a-z0-9]+/gi, '-')}.log`);
  const { status, output } = await logged(command, { log, env });
  if (status !== 0) {
    throw new SetupFailed(`${name} failed (${command.join(' ')}):\n${lastLines(output, 40)}`);
  }
  say(`${name}: ${((Date.now() - started) / 1000).toFixed(1)} s`);
}

async function aptInstall(packages) {
  // Names that dpkg never heard of are told on stderr and missing in the list.
  const { output } = ask(['dpkg-query', '-W', '-f', '${Package} ${Status}\n', ...packages]);
  const installed = output.split('\n').filter((line) => line.endsWith(' install ok installed'));
  const missing = packages.filter((name) => !installed.some((line) => line.startsWith(`${name} `)));
  if (missing.length === 0) return;
  const env = { DEBIAN_FRONTEND: 'noninteractive' };
  await step('package lists', ['apt-get', 'update', '-q'], env);
  await step(
    'Debian packages',
    ['apt-get', 'install', '-q', '-y', '--no-install-recommends', ...missing],
    env,
  );
}

/**
 * libreswan, unpacked into .cache/libreswan: Debian does not install it beside strongSwan. The
 * tests run it in a guest, which sees it where it belongs.
 */
async function libreswanPeer() {
  const folder = join(cache, 'libreswan');
  if (existsSync(join(folder, 'usr/libexec/ipsec/pluto'))) return;
  const download = join(cache, 'libreswan-package');
  rmSync(download, { recursive: true, force: true });
  mkdirSync(download, { recursive: true });
  const script = 'cd "$0" && apt-get download -q libreswan && dpkg-deb -x libreswan_*.deb "$1"';
  await step('libreswan', ['bash', '-c', script, download, folder]);
  rmSync(download, { recursive: true, force: true });
}

async function pythonPeers() {
  const python = join(cache, 'venv/bin/python');
  const probe = ['-c', 'import scapy.layers.ipsec, cryptography'];
  if (existsSync(python) && ask([python, ...probe]).status === 0) return;
  await step('Python environment', ['python3', '-m', 'venv', '--clear', join(cache, 'venv')]);
  await step('scapy', [python, '-m', 'pip', 'install', '--quiet', ...PYTHON_PACKAGES]);
}

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > NODE_MIN[0] || (major === NODE_MIN[0] && minor >= NODE_MIN[1])) return [];
  return [`Node ${process.versions.node} is too old: install Node ${NODE_MIN.join('.')} or later.`];
}

function checkCompilers() {
  const faults = [];
  if (!has('cc')) {
    faults.push('There is no C compiler: install one with "apt-get install build-essential".');
  }
  if (!has('npm')) faults.push('There is no npm: install it together with Node.');
  const wanted = readFileSync(join(root, 'rust-toolchain.toml'), 'utf8').match(
    /channel *= *"([\d.]+)"/,
  )?.[1];
  if (!has('cargo')) {
    faults.push(`There is no Rust: install ${wanted} with rustup, https://rustup.rs.`);
    return faults;
  }
  // Under rustup this installs the toolchain that rust-toolchain.toml names, if it is not there.
  const { status, output } = ask(['cargo', '--version']);
  const found = output.match(/cargo (\d+)\.(\d+)/);
  const [major, minor] = (wanted ?? '1.0').split('.').map(Number);
  const isNew =
    found !== null &&
    (Number(found[1]) > major || (Number(found[1]) === major && Number(found[2]) >= minor));
  if (status !== 0 || !isNew) {
    faults.push(
      `Rust ${wanted} is needed, cargo says "${lastLines(output, 1)}": install it with "rustup toolchain install ${wanted}".`,
    );
  }
  return faults;
}

async function installCompilersInCi() {
  const missing = [];
  if (!has('cc')) missing.push('build-essential');
  if (!has('npm')) missing.push('npm');
  if (!has('cargo')) missing.push('rustup');
  if (missing.length > 0) await aptInstall(missing);
}

/** Every file under the paths, but what builds leave there. */
function filesUnder(paths) {
  const found = [];
  const walk = (path) => {
    const status = statSync(path, { throwIfNoEntry: false });
    if (status === undefined) return;
    if (!status.isDirectory()) {
      found.push(path);
      return;
    }
    for (const name of readdirSync(path).sort()) {
      if (!['node_modules', 'target', 'dist'].includes(name)) walk(join(path, name));
    }
  };
  for (const path of paths) walk(join(root, path));
  return found;
}

function digest(paths) {
  const hash = createHash('sha256');
  hash.update(`${process.version} ${process.arch}`);
  for (const path of filesUnder(paths)) {
    hash.update(path.slice(root.length));
    hash.update(readFileSync(path));
  }
  return hash.digest('hex');
}

function writeStamp(name, value) {
  const stamps = readJson(stampFile, {});
  writeFileSync(stampFile, `${JSON.stringify({ ...stamps, [name]: value }, null, 2)}\n`);
}

/** Does the work when the inputs are not those of the last time, or the result is not there. */
async function whenChanged(name, inputs, isThere, work) {
  const wanted = digest(inputs);
  if (readJson(stampFile, {})[name] === wanted && isThere()) return;
  await work();
  // Of the inputs as they were before: what changed during the work is not in its result.
  writeStamp(name, wanted);
}

function nativeAddon() {
  const folder = join(root, 'packages/ipsec-node/native');
  return existsSync(folder) && readdirSync(folder).some((name) => name.endsWith('.node'));
}

async function installPackages() {
  const lock = join(root, 'package-lock.json');
  const mark = join(root, 'node_modules/.package-lock.json');
  const isThere = existsSync(mark);
  // node_modules of an `npm install` by hand count as they are.
  if (isThere && statSync(mark).mtimeMs >= statSync(lock).mtimeMs) {
    const current = digest(['package-lock.json']);
    if (readJson(stampFile, {}).npm !== current) writeStamp('npm', current);
    return;
  }
  await whenChanged(
    'npm',
    ['package-lock.json'],
    () => existsSync(mark),
    // Not `npm ci`: a lock file made where a registry lacks the optional packages of other platforms
    // does not name them, and `ci` refuses that. This installs what the lock names and leaves it.
    () => step('npm packages', ['npm', 'install', '--no-save', '--no-audit', '--no-fund']),
  );
}

const NATIVE_INPUTS = [
  'Cargo.toml',
  'Cargo.lock',
  'rust-toolchain.toml',
  'crates',
  'packages/ipsec-node/package.json',
];
const TYPESCRIPT_INPUTS = [
  'tsconfig.json',
  'tsconfig.base.json',
  'packages/ipsec-node/tsconfig.json',
  'packages/ipsec-node/src',
  'packages/ipsec-node/native/index.d.ts',
];

function notWritable(error) {
  return new SetupFailed(
    `The set-up writes into this folder, and this user may not (${error.code}: ${error.path}).\n` +
      `Run it as the user who owns ${root}, or clone the repository to a folder of your own.`,
  );
}

/** Two set-ups at once would build over one another: the second waits for the first. */
async function withLock(work) {
  const lock = join(cache, 'setup.lock');
  for (let told = false; ; ) {
    try {
      mkdirSync(lock);
      break;
    } catch (error) {
      // Only a lock that is there is worth waiting for.
      if (error.code !== 'EEXIST') throw notWritable(error);
      const owner = Number(readJson(join(lock, 'owner'), 0));
      const age = Date.now() - (statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? 0);
      const isDead = owner > 0 ? !existsSync(`/proc/${owner}`) : age > 5_000;
      if (isDead) rmSync(lock, { recursive: true, force: true });
      else {
        if (!told) say(`waiting for the set-up of process ${owner}`);
        told = true;
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    }
  }
  writeFileSync(join(lock, 'owner'), String(process.pid));
  const unlock = () => rmSync(lock, { recursive: true, force: true });
  process.once('exit', unlock);
  try {
    await work();
  } finally {
    process.off('exit', unlock);
    unlock();
  }
}

/** Everything, in order. Throws SetupFailed with what to do. */
export async function setup() {
  try {
    mkdirSync(cache, { recursive: true });
  } catch (error) {
    throw notWritable(error);
  }
  await withLock(async () => {
    const isDebian = has('apt-get') && process.getuid?.() === 0;
    if (inCi && isDebian) await installCompilersInCi();
    const faults = [...checkNode(), ...checkCompilers()];
    if (faults.length > 0) throw new SetupFailed(faults.join('\n'));
    if (inCi && isDebian) {
      await aptInstall(PEER_PACKAGES);
      await libreswanPeer();
      await pythonPeers();
    }
    await installPackages();
    await whenChanged('native', NATIVE_INPUTS, nativeAddon, () =>
      step('native addon', ['npm', 'run', '--silent', 'build:native']),
    );
    const isCompiled = () => existsSync(join(root, 'packages/ipsec-node/dist/index.js'));
    await whenChanged('typescript', TYPESCRIPT_INPUTS, isCompiled, () =>
      step('TypeScript', [process.execPath, 'node_modules/typescript/bin/tsc', '--build']),
    );
  });
}

/** For a front door: the set-up, or the sentence that says what is missing and status 1. */
export async function setupOrExit() {
  try {
    await setup();
  } catch (error) {
    if (!(error instanceof SetupFailed)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(1);
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await setupOrExit();
}
