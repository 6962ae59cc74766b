/**
 * `npm start`: the set-up, then the demo: two gateways, one protected link, every attack refused.
 * As root it runs as it is; without, as root of a user namespace of its own.
 */

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { root, userNamespace } from './command.mjs';
import { sweep } from './janitor.mjs';
import { setupOrExit } from './setup.mjs';

function commandLine(demo) {
  if (process.getuid?.() === 0) return demo;
  const unshare = userNamespace();
  if (unshare === undefined) {
    process.stderr.write(
      'The demo needs network namespaces: run "sudo npm start", or allow unprivileged user namespaces ' +
        '("sudo sysctl kernel.unprivileged_userns_clone=1", on Ubuntu also "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0").\n',
    );
    process.exit(1);
  }
  // `ip netns` keeps its names under /run, which belongs to the host.
  return [...unshare, 'sh', '-c', 'mount -t tmpfs tmpfs /run && exec "$0" "$@"', ...demo];
}

sweep();
await setupOrExit();
const main = join(root, 'packages/ipsec-node/dist/cli/main.js');
const [program, ...words] = commandLine([process.execPath, main, 'demo', ...process.argv.slice(2)]);
const child = spawn(program, words, { stdio: 'inherit' });
// The terminal sends Ctrl-C to both; the demo cleans up and ends, and we with it.
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
child.on('error', (error) => {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
});
child.on('close', (code) => process.exit(code ?? 1));
