import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Contender } from '../contender.js';
import { type Daemon, findProgram, type Lab, outcomeOf } from '../lab.js';
import type { GatewayEnd } from '../topology.js';

const PACKAGES =
  'charon-systemd strongswan-swanctl libcharon-extra-plugins libstrongswan-standard-plugins';
/** AES-GCM comes from OpenSSL: with strongSwan's own aes and gcm plugins it is eight times slower. */
const PLUGINS = 'random nonce openssl kdf kernel-libipsec kernel-netlink socket-default vici';
const PLUGIN_FILE = 'libstrongswan-kernel-libipsec.so';
const START_TIMEOUT_MS = 10_000;

/** strongSwan's userspace ESP, negotiated by IKEv2 with a pre-shared key. */
export const libipsec: Contender = {
  name: 'libipsec',
  title: 'strongSwan kernel-libipsec',
  prepare: () => {
    const usable =
      findProgram('charon-systemd') !== null &&
      findProgram('swanctl') !== null &&
      ['/usr/lib/ipsec/plugins', '/usr/lib64/ipsec/plugins', '/usr/lib64/strongswan/plugins'].some(
        (folder) => existsSync(join(folder, PLUGIN_FILE)),
      );
    return Promise.resolve(
      usable ? null : `strongSwan is missing: apt-get install --no-install-recommends ${PACKAGES}`,
    );
  },
  start: async (gatewayA, gatewayB, topology) => {
    const { lab } = topology;
    const secret = randomBytes(32).toString('hex');
    const daemons: Daemon[] = [];
    try {
      for (const [here, there] of [
        [gatewayA, gatewayB],
        [gatewayB, gatewayA],
      ] as const) {
        daemons.push(await startCharon(lab, here, there, secret));
      }
      await swanctl(lab, gatewayA, '--initiate', '--child', 'bench', '--timeout', '10');
    } catch (error) {
      const output = daemons.map((daemon) => daemon.output()).join('\n');
      await Promise.all(daemons.map((daemon) => daemon.stop()));
      throw new Error(`${error instanceof Error ? error.message : String(error)}\n${output}`);
    }
    const version = await swanctl(lab, gatewayA, '--version', '--daemon');
    return {
      facts: {
        version: /\d+\.\d+\.\d+\w*/.exec(version)?.[0] ?? version.trim(),
        algorithm: 'AES-256-GCM-16 (OpenSSL), no ESN, ESP in UDP',
      },
      alive: () => daemons.every((daemon) => daemon.alive),
      stop: async () => {
        await Promise.all(daemons.map((daemon) => daemon.stop()));
      },
    };
  },
};

function directoryOf(lab: Lab, gateway: GatewayEnd): string {
  return join(lab.directory, `strongswan-${gateway.name}`);
}

async function startCharon(
  lab: Lab,
  here: GatewayEnd,
  there: GatewayEnd,
  secret: string,
): Promise<Daemon> {
  const directory = directoryOf(lab, here);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeFile(join(directory, 'strongswan.conf'), daemonSettings(directory));
  await writeFile(join(directory, 'swanctl.conf'), connection(here, there, secret), {
    mode: 0o600,
  });
  const program = findProgram('charon-systemd') ?? 'charon-systemd';
  const daemon = lab.start(here.namespace, program, [], {
    STRONGSWAN_CONF: join(directory, 'strongswan.conf'),
  });
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (!existsSync(join(directory, 'vici'))) {
    if (!daemon.alive || Date.now() > deadline) {
      const output = daemon.output();
      await daemon.stop();
      throw new Error(`charon-systemd did not start:\n${output}`);
    }
    await lab.sleep(50);
  }
  await swanctl(lab, here, '--load-all', '--file', join(directory, 'swanctl.conf'));
  return daemon;
}

async function swanctl(lab: Lab, gateway: GatewayEnd, ...args: string[]): Promise<string> {
  const directory = directoryOf(lab, gateway);
  const outcome = await outcomeOf(
    findProgram('swanctl') ?? 'swanctl',
    [...args, '--uri', `unix://${directory}/vici`],
    {
      signal: lab.signal,
      env: { STRONGSWAN_CONF: join(directory, 'strongswan.conf'), SWANCTL_DIR: directory },
    },
  );
  if (outcome.code !== 0) {
    throw new Error(`swanctl ${args[0] ?? ''}: ${outcome.stderr}${outcome.stdout}`);
  }
  return outcome.stdout;
}

function daemonSettings(directory: string): string {
  return `charon-systemd {
  load = ${PLUGINS}
  journal { default = -1 }
  syslog { daemon { default = -1 } }
  filelog { stderr { default = 1 } }
  plugins {
    kernel-libipsec { allow_peer_ts = yes }
    vici { socket = unix://${directory}/vici }
  }
}
swanctl { load = }
`;
}

function connection(here: GatewayEnd, there: GatewayEnd, secret: string): string {
  return `connections {
  bench {
    version = 2
    local_addrs = ${here.wireAddress}
    remote_addrs = ${there.wireAddress}
    proposals = aes256gcm16-prfsha384-ecp384
    rekey_time = 0
    local { auth = psk
      id = ${here.wireAddress} }
    remote { auth = psk
      id = ${there.wireAddress} }
    children {
      bench {
        local_ts = ${here.subnet}
        remote_ts = ${there.subnet}
        mode = tunnel
        esp_proposals = aes256gcm16
        rekey_time = 0
      }
    }
  }
}
secrets { ike { secret = ${secret} } }
`;
}
