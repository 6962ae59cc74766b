/**
 * The product as one of the daemons: a running `ipsec-node up`, told by its file and by the command,
 * asked over its control socket in strongSwan's words.
 */

import { mkdirSync, writeFileSync } from 'node:fs';
import type { ChildDescription, IkePeer, IkeSaView, PeerDescription } from '../../lab/ike-peer.ts';
import { viewsOf } from '../../lab/ike-peer.ts';
import { CommandFailed, type Program, until } from '../../lab/command.ts';
import type { Namespace } from '../../lab/namespace.ts';
import { PRODUCT_MAIN } from '../../lab/guest-product.ts';
import { sectionAt, textAt, Vici } from '../../lab/vici.ts';
import { command, ipsecNode, scratchFolder } from '../../scenario/ipsec-node.ts';

const COMMAND_MS = 30_000;
const READY_MS = 40_000;
/** An emulated guest is so much slower. */
const GUEST_FACTOR = 6;

type Json = Readonly<Record<string, unknown>>;

/** Of which SAs. */
type SaChoice = { readonly ike: string } | { readonly child: string };

export interface IpsecNodeOptions {
  readonly namespace: Namespace;
  /** More keys of `gateway`. */
  readonly gateway?: Json;
  /**
   * Runs in a guest, from what `bundleProduct` made. A start of the command takes many seconds
   * there: the gateway is told by its control socket, as the command does it.
   */
  readonly guest?: boolean;
}

function authWord(auth: PeerDescription['local']['auth']): string {
  return auth === 'public-key' ? 'publicKey' : auth;
}

/** A key-ID in hexadecimal is `@#…` for strongSwan. */
function idWord(id: string): string {
  return id.startsWith('@#') ? `keyid:0x${id.slice(2)}` : id;
}

export class IpsecNodePeer implements IkePeer {
  readonly kind = 'ipsec-node';
  #program: Program | undefined;
  readonly #factor: number;
  #logStart = 0;
  readonly #folder = scratchFolder();

  private constructor(private readonly options: IpsecNodeOptions) {
    this.#factor = options.guest === true ? GUEST_FACTOR : 1;
  }

  /** Running, without peers. */
  static async start(options: IpsecNodeOptions): Promise<IpsecNodePeer> {
    const peer = new IpsecNodePeer(options);
    mkdirSync(`${peer.#folder}/state`, { mode: 0o700 });
    peer.#write([]);
    const words = ['up', '-c', peer.file];
    const program = options.namespace.spawn(
      options.guest === true ? [process.execPath, PRODUCT_MAIN, ...words] : command(words),
    );
    peer.#program = program;
    await program.output(/^ready: /m, READY_MS * peer.#factor);
    return peer;
  }

  get file(): string {
    return `${this.#folder}/ipsec.yaml`;
  }

  get socket(): string {
    return `${this.#folder}/vici`;
  }

  async load(peers: readonly PeerDescription[]): Promise<void> {
    this.#logStart = this.#wholeLog().length;
    // What one file does not hold any more is gone before the next one is read.
    this.#write([]);
    await this.#reload();
    await until(
      'no SA is left',
      async () => (await this.sas()).length === 0,
      COMMAND_MS * this.#factor,
    );
    this.#write(peers);
    await this.#reload();
  }

  async initiate(_peer: string, child: string): Promise<void> {
    await this.#command('initiate', { child });
  }

  async rekeyChild(_peer: string, child: string): Promise<void> {
    await this.#renewed({ child }, (sa) =>
      sa.children.filter(({ state }) => state === 'INSTALLED').map(({ spiIn }) => spiIn),
    );
  }

  async rekeyIke(peer: string): Promise<void> {
    await this.#renewed({ ike: peer }, (sa) =>
      sa.state === 'ESTABLISHED' ? [sa.initiatorSpi + sa.responderSpi] : [],
    );
  }

  async terminate(peer: string): Promise<void> {
    await this.#command('terminate', { ike: peer });
  }

  async terminateChild(_peer: string, child: string): Promise<void> {
    await this.#command('terminate', { child });
  }

  async sas(): Promise<readonly IkeSaView[]> {
    const { events } = await Vici.once(this.socket, 'list-sas', {}, 'list-sa');
    return events.flatMap(viewsOf);
  }

  /** Packets that were refused for this reason since the start. */
  async dropped(reason: string): Promise<number> {
    const { answer } = await Vici.once(this.socket, 'ipsec-node-counters');
    return Number(textAt(sectionAt(answer, 'drops'), reason));
  }

  log(): string {
    return this.#wholeLog().slice(this.#logStart);
  }

  async stop(): Promise<void> {
    await this.#program?.stop('SIGTERM', 20_000 * this.#factor);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #wholeLog(): string {
    const program = this.#program;
    return program === undefined ? '' : program.stdout + program.stderr;
  }

  async #reload(): Promise<void> {
    if (this.options.guest === true) await Vici.once(this.socket, 'ipsec-node-reload');
    else await this.#run(['reload']);
  }

  /** What the command does, by itself or over the control socket. */
  async #command(name: 'initiate' | 'rekey' | 'terminate', choice: SaChoice): Promise<void> {
    if (this.options.guest === true) await Vici.once(this.socket, name, { ...choice });
    else await this.#run([name, 'ike' in choice ? choice.ike : choice.child]);
  }

  async #run(words: readonly string[]): Promise<void> {
    const whole = [...words, '-c', this.file, '--json'];
    const result = await ipsecNode(whole, this.options.namespace, {
      timeoutMs: COMMAND_MS * this.#factor,
    });
    if (result.status !== 0) throw new CommandFailed(command(whole), result);
  }

  async #renewed(choice: SaChoice, keys: (sa: IkeSaView) => readonly string[]): Promise<void> {
    const now = async (): Promise<readonly string[]> => (await this.sas()).flatMap(keys);
    const before = await now();
    await this.#command('rekey', choice);
    await until(
      `rekey of ${Object.values(choice).join(' ')}: the new one alone`,
      async () => {
        const after = await now();
        return after.length === before.length && after.every((key) => !before.includes(key));
      },
      COMMAND_MS * this.#factor,
    );
  }

  #save(name: string, content: string): { readonly file: string } {
    writeFileSync(`${this.#folder}/${name}`, content, { mode: 0o600 });
    return { file: `${this.#folder}/${name}` };
  }

  /** ipsec.yaml as JSON, which is YAML. */
  #write(peers: readonly PeerDescription[]): void {
    const content = {
      gateway: {
        name: 'interop',
        control: this.socket,
        state: `${this.#folder}/state`,
        unprotected: ['wan0'],
        protected: ['lan0'],
        interface: { name: 'ipsec0' },
        ...this.options.gateway,
      },
      ...(peers.length === 0
        ? {}
        : { peers: Object.fromEntries(peers.map((peer) => [peer.name, this.#peerEntry(peer)])) }),
      policies: [
        ...peers.flatMap((peer) => peer.children.map((child) => policyEntry(peer, child))),
        { name: 'rest', action: 'bypass' },
      ],
    };
    writeFileSync(this.file, JSON.stringify(content, null, 2), { mode: 0o600 });
  }

  #peerEntry(peer: PeerDescription): Json {
    const { credentials } = peer;
    const { psk, privateKey, remotePublicKey, certificates, authorities, crls } = credentials;
    return {
      address: peer.remoteAddress === '%any' ? 'any' : peer.remoteAddress,
      // One that moves is where its routes say.
      ...(peer.mobike === true ? {} : { localAddress: peer.localAddress }),
      local: {
        id: idWord(peer.local.id),
        auth: authWord(peer.local.auth),
        ...(certificates === undefined
          ? {}
          : { certificate: this.#save(`${peer.name}.crt`, certificates.join('')).file }),
        ...(privateKey === undefined ? {} : { key: this.#save(`${peer.name}.key`, privateKey) }),
        ...(peer.local.signature === 'rsa-pkcs1' ? { rsaSignature: 'pkcs1' } : {}),
      },
      remote: {
        id: idWord(peer.remote.id),
        auth: authWord(peer.remote.auth),
        ...(authorities === undefined
          ? {}
          : { authorities: [this.#save(`${peer.name}.ca`, authorities.join('')).file] }),
        ...(crls === undefined
          ? {}
          : { crls: [this.#save(`${peer.name}.crl`, crls.join('')).file] }),
        ...(remotePublicKey === undefined
          ? {}
          : { publicKeys: [this.#save(`${peer.name}-remote.pub`, remotePublicKey).file] }),
        ...(peer.revocation === undefined
          ? {}
          : { revocation: peer.revocation === 'strict' ? 'strict' : 'relaxed' }),
      },
      ...(psk === undefined ? {} : { psk: this.#save(`${peer.name}.psk`, psk) }),
      proposals: peer.proposals,
      ...(peer.proposals.some((each) => /sha1|cmac|xcbc/.test(each)) ? { legacy: true } : {}),
      encapsulation: peer.forceEncapsulation === true ? 'forced' : 'auto',
      fragmentation: peer.fragmentation ?? true,
      mobike: peer.mobike ?? false,
      ...(peer.dpdSeconds === undefined ? {} : { dpd: `${peer.dpdSeconds}s` }),
      ...(peer.rekeySeconds === undefined ? {} : { rekey: `${peer.rekeySeconds}s` }),
      ...(peer.ppk === undefined
        ? {}
        : {
            ppk: {
              id: peer.ppk.id,
              secret: this.#save(`${peer.name}.ppk`, peer.ppk.secret),
              required: true,
            },
          }),
    };
  }
}

function policyEntry(peer: PeerDescription, child: ChildDescription): Json {
  return {
    name: child.name,
    local: child.local,
    remote: child.remote,
    action: 'protect',
    peer: peer.name,
    mode: child.mode ?? 'tunnel',
    proposals: child.proposals,
    start: child.start ?? 'none',
    ...(child.rekeySeconds === undefined && child.rekeyPackets === undefined
      ? {}
      : {
          lifetime: {
            ...(child.rekeySeconds === undefined ? {} : { time: `${child.rekeySeconds}s` }),
            ...(child.rekeyPackets === undefined ? {} : { packets: child.rekeyPackets }),
          },
        }),
  };
}
