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
import type { ChildSaView, Credentials, IkePeer, IkeSaView, PeerDescription } from './ike-peer.ts';
import { certificateName, connectionText, secretText } from './libreswan-text.ts';
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
}

export interface LibreswanOptions {
  readonly namespace: Namespace;
  /** Where the files of `makeDatabase` are. */
  readonly database: string;
}

const DATABASE_FILES = ['cert9.db', 'key4.db', 'pkcs11.txt'] as const;

/**
 * An NSS database with all keys and certificates of these, as files by name. It is made outside of
 * the guest, where it takes a moment. In one database every certificate of a subject has the same
 * name: each leaf needs a subject of its own.
 */
export async function makeDatabase(
  all: readonly Credentials[],
): Promise<Readonly<Record<string, Uint8Array>>> {
  const folder = mkdtempSync(`${tmpdir()}/ipn-nss-`);
  recordFolder(folder);
  const database = `sql:${folder}`;
  const write = (name: string, text: string): string => {
    writeFileSync(`${folder}/${name}`, text, { mode: 0o600 });
    return `${folder}/${name}`;
  };
  await run(['certutil', '-N', '-d', database, '--empty-password']);
  for (const text of new Set(all.flatMap(({ authorities }) => authorities ?? []))) {
    const file = write('authority.pem', text);
    const name = certificateName(text);
    await run(['certutil', '-A', '-d', database, '-n', name, '-t', 'CT,,', '-a', '-i', file]);
  }
  for (const { certificates, privateKey } of all) {
    const [leaf, ...chain] = certificates ?? [];
    if (leaf === undefined || privateKey === undefined) continue;
    const bundle = `${folder}/bundle.p12`;
    await run([
      ...['openssl', 'pkcs12', '-export', '-out', bundle, '-passout', 'pass:'],
      ...['-inkey', write('private.pem', privateKey), '-in', write('leaf.pem', leaf)],
      ...['-name', certificateName(leaf)],
      ...(chain.length === 0 ? [] : ['-certfile', write('chain.pem', chain.join('\n'))]),
    ]);
    await run(['pk12util', '-i', bundle, '-d', database, '-W', '']);
  }
  return Object.fromEntries(
    DATABASE_FILES.map((name) => [name, readFileSync(`${folder}/${name}`)]),
  );
}

function launch(namespace: Namespace, folder: string): Program {
  return namespace.spawn([
    `${PROGRAMS}/pluto`,
    ...['--nofork', '--config', `${folder}/ipsec.conf`, '--logfile', `${folder}/log`],
    ...['--rundir', `${folder}/run`, '--nssdir', `${folder}/nss`],
    ...['--secretsfile', `${folder}/secrets`, '--dumpdir', `${folder}/run`],
  ]);
}

export class LibreswanPeer implements IkePeer {
  readonly kind = 'libreswan';
  #logStart = 0;
  #peers: readonly PeerDescription[] = [];
  #begun = false;
  #secrets = '';

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
    for (const name of DATABASE_FILES) {
      copyFileSync(`${options.database}/${name}`, `${folder}/nss/${name}`);
    }
    writeFileSync(`${folder}/secrets`, '', { mode: 0o600 });
    writeFileSync(`${folder}/ipsec.conf`, 'config setup\n');
    writeFileSync(`${folder}/log`, '');
    const peer = new LibreswanPeer(options.namespace, folder, launch(options.namespace, folder));
    await peer.#listening();
    return peer;
  }

  async #listening(): Promise<void> {
    await until(
      'pluto listens on its control socket',
      () => {
        if (!this.program.running) {
          throw new Error(`pluto ended\n${this.program.stderr}\n${this.log()}`);
        }
        return existsSync(this.socket);
      },
      START_MS,
    );
    await this.whack(['--listen']);
  }

  private get socket(): string {
    return `${this.folder}/run/pluto.ctl`;
  }

  /** whack against this daemon. Its socket is a path: it need not enter the namespace. */
  whack(words: readonly string[], anyStatus = false): Promise<CommandResult> {
    const command = [`${PROGRAMS}/whack`, '--ctlsocket', this.socket, ...words];
    return run(command, { anyStatus, timeoutMs: COMMAND_MS });
  }

  async load(peers: readonly PeerDescription[]): Promise<void> {
    for (const { name } of this.#peers) await this.whack(['--delete', '--name', name], true);
    this.#peers = peers;
    this.#begun = false;
    this.#logStart = readFileSync(`${this.folder}/log`).length;
    const text = `config setup\n\n${peers.map((peer) => connectionText(peer)).join('\n')}`;
    writeFileSync(`${this.folder}/ipsec.conf`, text);
    const secrets = peers.map(secretText).join('');
    if (secrets !== this.#secrets) {
      this.#secrets = secrets;
      writeFileSync(`${this.folder}/secrets`, secrets, { mode: 0o600 });
      await this.whack(['--rereadsecrets'], true);
    }
    for (const { name } of peers) {
      const command = [`${PROGRAMS}/addconn`, '--config', `${this.folder}/ipsec.conf`];
      const said = await run([...command, '--ctlsocket', this.socket, name], {
        timeoutMs: COMMAND_MS,
      });
      appendFileSync(`${this.folder}/log`, `${said.stdout}${said.stderr}`);
    }
  }

  async initiate(peer: string): Promise<void> {
    this.#begun = true;
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
   * From `whack --status` and the kernel's states, the newest of each. pluto does not say what it
   * found of NAT, nor its own port: those are as if there were none.
   */
  async sas(): Promise<readonly IkeSaView[]> {
    const [said, text] = await Promise.all([
      this.whack(['--status']),
      this.namespace.ip('-s xfrm state'),
    ]);
    const status = said.stdout;
    const states = parseStates(text);
    return this.#peers.flatMap((peer) => {
      const named = (pattern: string): RegExpMatchArray | null =>
        status.match(new RegExp(`"${peer.name}"(?:\\[\\d+\\])?${pattern}`));
      const newest = (state: string): RegExpMatchArray | null => {
        const all = [
          ...status.matchAll(
            new RegExp(`#(\\d+): "${peer.name}"(?:\\[\\d+\\] \\S+?)?:(\\d+) ${state}`, 'g'),
          ),
        ];
        return all.at(-1) ?? null;
      };
      const ike = newest('STATE_V2_ESTABLISHED_IKE_SA');
      if (ike === null) return [];
      const child = newest('STATE_V2_ESTABLISHED_CHILD_SA');
      return [
        {
          name: peer.name,
          uniqueId: ike[1] ?? '',
          state: 'ESTABLISHED',
          role: this.#begun ? ('initiator' as const) : ('responder' as const),
          local: { address: peer.localAddress, port: 0, id: peer.local.id },
          remote: { address: peer.remoteAddress, port: Number(ike[2]), id: peer.remote.id },
          initiatorSpi: '',
          responderSpi: '',
          algorithms: named(':[^\\n]*IKE(?:v2)? algorithm newest: (\\S+)')?.[1] ?? '',
          natLocal: false,
          natRemote: false,
          children: this.children(peer, child?.[1], status, states),
        },
      ];
    });
  }

  private children(
    peer: PeerDescription,
    number: string | undefined,
    status: string,
    states: ReadonlyMap<string, KernelSa>,
  ): readonly ChildSaView[] {
    const [description] = peer.children;
    if (number === undefined || description === undefined) return [];
    const line = status.match(new RegExp(`^000 #${number}: .*\\besp\\.\\w+@.*$`, 'm'))?.[0] ?? '';
    const ours = [...line.matchAll(/\besp\.([0-9a-f]+)@/g)].flatMap(
      ([, spi = '']) => states.get(spi.padStart(8, '0')) ?? [],
    );
    const outbound = ours.find(({ source }) => source === peer.localAddress);
    const inbound = ours.find(({ destination }) => destination === peer.localAddress);
    if (outbound === undefined || inbound === undefined) return [];
    const algorithms = status.match(
      new RegExp(`"${peer.name}"(?:\\[\\d+\\])?:[^\\n]*ESP algorithm newest: ([^;\\s]+)`),
    )?.[1];
    return [
      {
        name: description.name,
        uniqueId: number,
        state: 'INSTALLED',
        mode: inbound.mode.toUpperCase(),
        protocol: 'ESP',
        udpEncapsulated: inbound.encapsulated,
        spiIn: inbound.spi,
        spiOut: outbound.spi,
        algorithms: algorithms ?? '',
        esn: inbound.esn,
        localSelectors: description.local,
        remoteSelectors: description.remote,
        bytesIn: inbound.bytes,
        packetsIn: inbound.packets,
        bytesOut: outbound.bytes,
        packetsOut: outbound.packets,
      },
    ];
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
