/**
 * strongSwan's charon in a namespace, with its userspace ESP (kernel-libipsec): an independent peer
 * for IKEv2 and for ESP in UDP, and a yardstick of throughput. It has a configuration and a control
 * socket of its own. Its ESP is tunnel mode in UDP, without ESN.
 */

import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { type CommandResult, type Program, until } from './command.ts';
import type { Namespace } from './namespace.ts';
import { requirePeer } from './peer.ts';
import { recordFolder } from './registry.ts';

/** The Debian packages that it needs. */
export const STRONGSWAN_NEEDS = ['charon-systemd', 'strongswan-swanctl'] as const;

const PLUGINS =
  'random nonce openssl kdf curve25519 chapoly gcm pem pkcs1 pkcs8 x509 pubkey revocation ' +
  'constraints kernel-libipsec kernel-netlink socket-default vici updown';

const FOLDERS =
  'bliss conf.d ecdsa pkcs12 pkcs8 private pubkey rsa x509 x509aa x509ac x509ca x509crl x509ocsp';

export interface StrongswanOptions {
  readonly namespace: Namespace;
  /** The text of swanctl.conf. Left out: nothing is loaded, swanctl is not run. */
  readonly swanctl?: string;
  /** Loaded plugins, in one line. Default: kernel-libipsec and what a PSK needs. */
  readonly plugins?: string;
  /** More lines for `charon-systemd { }` of strongswan.conf. */
  readonly settings?: string;
  /** Default 10 s. */
  readonly startMs?: number;
  /** Logs its start and what fails, for benchmarks. */
  readonly quiet?: boolean;
}

function daemonConfiguration(folder: string, options: StrongswanOptions): string {
  return `charon-systemd {
  load = ${options.plugins ?? PLUGINS}
  filelog {
    log {
      path = ${folder}/log
      append = no
      flush_line = yes
      default = ${options.quiet === true ? '-1' : '1'}
      ike = ${options.quiet === true ? '-1' : '2'}
      job = 1
      enc = 0
    }
  }
  syslog {
    daemon {
      default = -1
    }
  }
  plugins {
    kernel-libipsec {
      allow_peer_ts = yes
    }
    vici {
      socket = unix://${folder}/vici
    }
  }
  ${options.settings ?? ''}
}
`;
}

export class Strongswan {
  private constructor(
    readonly namespace: Namespace,
    readonly folder: string,
    private readonly program: Program,
  ) {}

  /** Starts the daemon and loads the configuration. */
  static async start(options: StrongswanOptions): Promise<Strongswan> {
    const charon = requirePeer('charon-systemd');
    const folder = mkdtempSync(`${tmpdir()}/ipn-strongswan-`);
    recordFolder(folder);
    for (const name of FOLDERS.split(' '))
      mkdirSync(`${folder}/swanctl/${name}`, { recursive: true });
    writeFileSync(`${folder}/swanctl/swanctl.conf`, options.swanctl ?? '');
    writeFileSync(`${folder}/strongswan.conf`, daemonConfiguration(folder, options));
    // Its pid file and sockets of other daemons are under /run, its certificates under /etc.
    const program = options.namespace.spawn(
      privately(folder, `mount -t tmpfs tmpfs /run && exec "${charon}"`),
      { env: { STRONGSWAN_CONF: `${folder}/strongswan.conf` } },
    );
    const daemon = new Strongswan(options.namespace, folder, program);
    await until(
      'charon listens',
      () => {
        if (!program.running) throw new Error(`charon ended\n${program.stderr}\n${daemon.log}`);
        return daemon.log.includes('spawning') && daemon.log.includes('worker threads');
      },
      options.startMs ?? 10_000,
    );
    if (options.swanctl !== undefined) await daemon.swanctl(['--load-all']);
    return daemon;
  }

  /** swanctl against this daemon. */
  swanctl(words: readonly string[]): Promise<CommandResult> {
    const command = [requirePeer('strongswan-swanctl'), ...words, '--uri', this.uri];
    const quoted = command.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
    return this.namespace.exec(privately(this.folder, `exec ${quoted}`));
  }

  get uri(): string {
    return `unix://${this.socket}`;
  }

  /** Path of its control socket. */
  get socket(): string {
    return `${this.folder}/vici`;
  }

  get running(): boolean {
    return this.program.running;
  }

  get pid(): number {
    return this.program.pid;
  }

  signal(name: NodeJS.Signals): void {
    this.program.signal(name);
  }

  get log(): string {
    try {
      return readFileSync(`${this.folder}/log`, 'utf8');
    } catch {
      return '';
    }
  }

  async stop(): Promise<void> {
    await this.program.stop('SIGTERM');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** A shell line in a mount namespace where this daemon's files are the system's. */
function privately(folder: string, line: string): string[] {
  const script = `mount --bind "${folder}/swanctl" /etc/swanctl && ${line}`;
  return ['unshare', '--mount', '--propagation', 'private', 'bash', '-c', script];
}

export interface PairEnd {
  readonly address: string;
  /** Inner prefixes, separated by commas. */
  readonly prefixes: string;
}

/**
 * swanctl.conf of one end of a pair with a pre-shared key: one connection `pair`, one child `net`,
 * started by `--initiate --child net`.
 */
export function pairConfiguration(
  local: PairEnd,
  remote: PairEnd,
  espProposal = 'aes256gcm16',
): string {
  return `connections {
  pair {
    version = 2
    local_addrs = ${local.address}
    remote_addrs = ${remote.address}
    proposals = aes256-sha256-x25519
    encap = yes
    mobike = no
    local {
      auth = psk
      id = ${local.address}
    }
    remote {
      auth = psk
      id = ${remote.address}
    }
    children {
      net {
        mode = tunnel
        local_ts = ${local.prefixes}
        remote_ts = ${remote.prefixes}
        esp_proposals = ${espProposal}
        start_action = none
      }
    }
  }
}
secrets {
  ike-pair {
    secret = "laboratory"
  }
}
`;
}
