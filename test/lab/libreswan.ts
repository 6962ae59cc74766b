/**
 * libreswan's pluto in a namespace: a second independent IKEv2 daemon. Its ESP is the kernel's, so
 * it runs in a guest (guest.ts). Debian does not install it beside strongSwan: the set-up unpacks
 * the package into .cache/libreswan, and the guest sees that as its own /usr/libexec/ipsec.
 */

import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { type CommandResult, type Program, run, until } from './command.ts';
import type { ChildSaView, IkePeer, IkeSaView, PeerDescription } from './ike-peer.ts';
import { connectionText, secretText } from './libreswan-text.ts';
import type { Namespace } from './namespace.ts';
import { recordFolder, repositoryRoot } from './registry.ts';

const UNPACKED = `${repositoryRoot}/.cache/libreswan`;
const PROGRAMS = '/usr/libexec/ipsec';
/** The guest is emulated. */
const COMMAND_MS = 90_000;
const START_MS = 120_000;

let programsReady: Promise<void> | undefined;

/** Puts the unpacked programs where they look for one another. In a guest alone. */
async function placePrograms(): Promise<void> {
  if (existsSync(`${PROGRAMS}/pluto`)) return;
  mkdirSync(PROGRAMS, { recursive: true });
  await run(['mount', '--bind', `${UNPACKED}${PROGRAMS}`, PROGRAMS]);
  // What it runs when an SA comes and goes.
  copyFileSync(`${UNPACKED}/usr/sbin/ipsec`, '/usr/sbin/ipsec');
}

export interface LibreswanOptions {
  readonly namespace: Namespace;
}

export class LibreswanPeer implements IkePeer {
  readonly kind = 'libreswan';
  #logStart = 0;
  #peers: readonly PeerDescription[] = [];

  private constructor(
    readonly namespace: Namespace,
    readonly folder: string,
    private readonly program: Program,
  ) {}

  static async start(options: LibreswanOptions): Promise<LibreswanPeer> {
    programsReady ??= placePrograms();
    await programsReady;
    const folder = mkdtempSync(`${tmpdir()}/ipn-libreswan-`);
    recordFolder(folder);
    mkdirSync(`${folder}/run`);
    mkdirSync(`${folder}/nss`);
    await run(['certutil', '-N', '-d', `sql:${folder}/nss`, '--empty-password']);
    writeFileSync(`${folder}/secrets`, '', { mode: 0o600 });
    writeFileSync(`${folder}/ipsec.conf`, 'config setup\n');
    writeFileSync(`${folder}/log`, '');
    const program = options.namespace.spawn([
      `${PROGRAMS}/pluto`,
      ...['--nofork', '--config', `${folder}/ipsec.conf`, '--logfile', `${folder}/log`],
      ...['--rundir', `${folder}/run`, '--nssdir', `${folder}/nss`],
      ...['--secretsfile', `${folder}/secrets`, '--dumpdir', `${folder}/run`],
    ]);
    const peer = new LibreswanPeer(options.namespace, folder, program);
    await until(
      'pluto listens on its control socket',
      () => {
        if (!program.running) throw new Error(`pluto ended\n${program.stderr}\n${peer.log()}`);
        return existsSync(peer.socket);
      },
      START_MS,
    );
    await peer.whack(['--listen']);
    return peer;
  }

  private get socket(): string {
    return `${this.folder}/run/pluto.ctl`;
  }

  /** whack against this daemon. */
  whack(words: readonly string[], anyStatus = false): Promise<CommandResult> {
    const command = [`${PROGRAMS}/whack`, '--ctlsocket', this.socket, ...words];
    return this.namespace.exec(command, { anyStatus, timeoutMs: COMMAND_MS });
  }

  async load(peers: readonly PeerDescription[]): Promise<void> {
    for (const { name } of this.#peers) await this.whack(['--delete', '--name', name], true);
    this.#peers = peers;
    this.#logStart = readFileSync(`${this.folder}/log`).length;
    writeFileSync(`${this.folder}/secrets`, peers.map(secretText).join(''), { mode: 0o600 });
    for (const peer of peers) await this.importCredentials(peer);
    const text = `config setup\n\n${peers.map((peer) => connectionText(peer)).join('\n')}`;
    writeFileSync(`${this.folder}/ipsec.conf`, text);
    await this.whack(['--rereadall'], true);
    for (const { name } of peers) {
      const command = [`${PROGRAMS}/addconn`, '--config', `${this.folder}/ipsec.conf`];
      const said = await this.namespace.exec([...command, '--ctlsocket', this.socket, name], {
        timeoutMs: COMMAND_MS,
      });
      appendFileSync(`${this.folder}/log`, `${said.stdout}${said.stderr}`);
    }
  }

  /** Into the NSS database: key and certificates under the name of the peer. */
  private async importCredentials(peer: PeerDescription): Promise<void> {
    const { credentials } = peer;
    const database = `sql:${this.folder}/nss`;
    const write = (name: string, text: string): string => {
      writeFileSync(`${this.folder}/${name}`, text, { mode: 0o600 });
      return `${this.folder}/${name}`;
    };
    for (const [index, text] of (credentials.authorities ?? []).entries()) {
      const file = write(`authority-${index}.pem`, text);
      const name = `${peer.name}-authority-${index}`;
      await run(['certutil', '-A', '-d', database, '-n', name, '-t', 'CT,,', '-a', '-i', file]);
    }
    const [leaf, ...chain] = credentials.certificates ?? [];
    if (leaf === undefined || credentials.privateKey === undefined) return;
    const bundle = `${this.folder}/bundle.p12`;
    const key = write('private.pem', credentials.privateKey);
    await run([
      ...['openssl', 'pkcs12', '-export', '-out', bundle, '-passout', 'pass:'],
      ...['-inkey', key, '-in', write('leaf.pem', leaf), '-name', peer.name],
      ...(chain.length === 0 ? [] : ['-certfile', write('chain.pem', chain.join('\n'))]),
    ]);
    await run(['pk12util', '-i', bundle, '-d', database, '-W', ''], { timeoutMs: COMMAND_MS });
  }

  async initiate(peer: string): Promise<void> {
    const said = await this.whack(['--initiate', '--name', peer], true);
    if (said.status !== 0 || !/established Child SA/.test(said.stdout)) {
      throw new Error(`whack --initiate: status ${said.status}\n${said.stdout}${said.stderr}`);
    }
  }

  async rekeyChild(peer: string): Promise<void> {
    const spis = async (): Promise<readonly string[]> =>
      (await this.sas()).flatMap(({ children }) => children.map(({ spiIn }) => spiIn));
    const before = await spis();
    await this.whack(['--rekey-ipsec', '--name', peer]);
    await until(
      'the new child alone',
      async () => {
        const now = await spis();
        return now.length === before.length && now.every((spi) => !before.includes(spi));
      },
      COMMAND_MS,
    );
  }

  async rekeyIke(peer: string): Promise<void> {
    const before = this.log().length;
    await this.whack(['--rekey-ike', '--name', peer]);
    await until(
      'a new IKE SA',
      () => /(rekeyed|established) IKE SA/.test(this.log().slice(before)),
      COMMAND_MS,
    );
  }

  async terminate(peer: string): Promise<void> {
    await this.whack(['--terminate', '--name', peer], true);
    await until('no SA', async () => (await this.sas()).length === 0, COMMAND_MS);
  }

  terminateChild(peer: string): Promise<void> {
    return this.terminate(peer);
  }

  /**
   * From `whack --status` and the kernel's states. pluto names neither ports nor IKE SPIs where
   * they are easily read: those are empty.
   */
  async sas(): Promise<readonly IkeSaView[]> {
    const status = (await this.whack(['--status'])).stdout;
    const states = parseStates(await this.namespace.ip('-s xfrm state'));
    return this.#peers.flatMap((peer) => {
      const line = (pattern: string): string | undefined =>
        status.match(new RegExp(`"${peer.name}"(?:\\[\\d+\\])?[^\\n]*?${pattern}`))?.[1];
      const ike = line('IKEv2 algorithm newest: (\\S+)') ?? line('IKE algorithm newest: (\\S+)');
      if (ike === undefined) return [];
      const installed = line('(#\\d+)[^\\n]*?STATE_V2_ESTABLISHED_CHILD_SA');
      const children: ChildSaView[] = [];
      const spis = [...status.matchAll(/esp\.([0-9a-f]+)@(\S+) esp\.([0-9a-f]+)@(\S+)/g)].at(-1);
      if (installed !== undefined && spis !== undefined) {
        const one = states.get(spis[1]?.padStart(8, '0') ?? '');
        const other = states.get(spis[3]?.padStart(8, '0') ?? '');
        const outbound = one?.source === peer.localAddress ? one : other;
        const inbound = outbound === one ? other : one;
        const [description] = peer.children;
        if (inbound !== undefined && outbound !== undefined && description !== undefined) {
          children.push({
            name: peer.name,
            uniqueId: installed,
            state: 'INSTALLED',
            mode: inbound.mode.toUpperCase(),
            protocol: 'ESP',
            udpEncapsulated: inbound.encapsulated,
            spiIn: inbound.spi,
            spiOut: outbound.spi,
            algorithms: line('ESP algorithm newest: ([^;\\s]+)') ?? '',
            esn: inbound.esn,
            localSelectors: description.local,
            remoteSelectors: description.remote,
            bytesIn: inbound.bytes,
            packetsIn: inbound.packets,
            bytesOut: outbound.bytes,
            packetsOut: outbound.packets,
          });
        }
      }
      return [
        {
          name: peer.name,
          uniqueId: line('(#\\d+)[^\\n]*?STATE_V2_ESTABLISHED_IKE_SA') ?? '',
          state: /STATE_V2_ESTABLISHED_IKE_SA/.test(status) ? 'ESTABLISHED' : 'CONNECTING',
          role: /established IKE SA; initiator|initiator established IKE SA/.test(this.log())
            ? ('initiator' as const)
            : ('responder' as const),
          local: { address: peer.localAddress, port: 0, id: peer.local.id },
          remote: { address: peer.remoteAddress, port: 0, id: peer.remote.id },
          initiatorSpi: '',
          responderSpi: '',
          algorithms: ike,
          natLocal: false,
          natRemote: false,
          children,
        },
      ];
    });
  }

  async status(): Promise<string> {
    return (await this.whack(['--status'])).stdout;
  }

  log(): string {
    return readFileSync(`${this.folder}/log`, 'utf8').slice(this.#logStart);
  }

  async stop(): Promise<void> {
    await this.program.stop('SIGTERM', 30_000);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

export interface KernelSa {
  readonly source: string;
  readonly destination: string;
  /** Eight hexadecimal digits. */
  readonly spi: string;
  readonly mode: string;
  readonly encapsulated: boolean;
  readonly esn: boolean;
  readonly bytes: number;
  readonly packets: number;
}

/** What `ip -s xfrm state` prints, by SPI. */
export function parseStates(text: string): ReadonlyMap<string, KernelSa> {
  const states = new Map<string, KernelSa>();
  for (const block of text.split(/^(?=src )/m)) {
    const [, source = '', destination = ''] = block.match(/^src (\S+) dst (\S+)/) ?? [];
    const spi = block.match(/spi 0x([0-9a-f]{8})/)?.[1];
    const used = block.match(/lifetime current:\s+(\d+)\(bytes\), (\d+)\(packets\)/);
    if (spi === undefined) continue;
    states.set(spi, {
      source,
      destination,
      spi,
      mode: block.match(/mode (\w+)/)?.[1] ?? '',
      encapsulated: /^\s+encap type espinudp/m.test(block),
      esn: /flag [^\n]*\besn\b/.test(block),
      bytes: Number(used?.[1] ?? 0),
      packets: Number(used?.[2] ?? 0),
    });
  }
  return states;
}
