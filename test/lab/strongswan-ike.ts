/** strongSwan as an IKEv2 peer that is told its connections by description. */

import { until } from './command.ts';
import {
  type ChildDescription,
  type IkePeer,
  type IkeSaView,
  type PartyTerms,
  type PeerDescription,
  viewsOf,
} from './ike-peer.ts';
import type { Namespace } from './namespace.ts';
import { Strongswan } from './strongswan.ts';
import { Vici } from './vici.ts';

const COMMON_PLUGINS =
  'random nonce openssl kdf curve25519 chapoly gcm ccm aes sha1 sha2 hmac xcbc cmac gmp pem pkcs1 ' +
  'pkcs7 pkcs8 pkcs12 x509 pubkey revocation constraints';

const PLUGINS = {
  /** ESP in the daemon: tunnel mode in UDP, without ESN. */
  userspace: `${COMMON_PLUGINS} kernel-libipsec kernel-netlink socket-default vici updown`,
  /** ESP of the kernel: only where that has one, in a guest. */
  kernel: `${COMMON_PLUGINS} kernel-netlink socket-default vici updown`,
} as const;

/** How long a handshake may take, with a retransmission or two and busy processors. */
const COMMAND_MS = 30_000;

type Section = { readonly [key: string]: string | Section };

/** strongswan.conf syntax, every value in quotes. */
export function settingsText(section: Section, indent = ''): string {
  return Object.entries(section)
    .map(([key, value]) =>
      typeof value === 'string'
        ? `${indent}${key} = "${value.replaceAll(/["\\]/g, '\\$&')}"\n`
        : `${indent}${key} {\n${settingsText(value, `${indent}  `)}${indent}}\n`,
    )
    .join('');
}

function yesNo(flag: boolean): string {
  return flag ? 'yes' : 'no';
}

function optional(key: string, value: string | undefined): Section {
  return value === undefined ? {} : { [key]: value };
}

function childSection(child: ChildDescription): Section {
  return {
    mode: child.mode ?? 'tunnel',
    local_ts: child.local.join(','),
    remote_ts: child.remote.join(','),
    esp_proposals: child.proposals.join(','),
    start_action: child.start ?? 'none',
    rekey_time: `${child.rekeySeconds ?? 0}s`,
    ...(child.rekeySeconds === undefined ? {} : { rand_time: '0s' }),
    ...(child.rekeyPackets === undefined
      ? {}
      : { rekey_packets: String(child.rekeyPackets), rand_packets: '0' }),
  };
}

function authWord(party: PartyTerms): string {
  return party.auth === 'psk' ? 'psk' : 'pubkey';
}

function connectionSection(peer: PeerDescription): Section {
  const { credentials } = peer;
  const file = (kind: string): string => `${peer.name}-${kind}.pem`;
  return {
    version: '2',
    local_addrs: peer.localAddress,
    remote_addrs: peer.remoteAddress,
    proposals: peer.proposals.join(','),
    encap: yesNo(peer.forceEncapsulation ?? false),
    fragmentation: yesNo(peer.fragmentation ?? true),
    mobike: yesNo(peer.mobike ?? false),
    dpd_delay: `${peer.dpdSeconds ?? 0}s`,
    rekey_time: `${peer.rekeySeconds ?? 0}s`,
    ...(peer.rekeySeconds === undefined ? {} : { rand_time: '0s' }),
    unique: peer.unique ?? 'replace',
    ...(peer.ppk === undefined ? {} : { ppk_id: peer.ppk.id, ppk_required: 'yes' }),
    local: {
      auth: authWord(peer.local),
      id: peer.local.id,
      ...(peer.local.auth === 'certificate' ? { certs: file('certificate-0') } : {}),
      ...(peer.local.auth === 'public-key' ? { pubkeys: file('public') } : {}),
    },
    remote: {
      auth: authWord(peer.remote),
      id: peer.remote.id,
      ...(peer.remote.auth === 'public-key' ? { pubkeys: file('remote') } : {}),
      ...optional('revocation', peer.revocation),
      ...(credentials.authorities === undefined ? {} : { cacerts: file('authority-0') }),
    },
    children: Object.fromEntries(peer.children.map((child) => [child.name, childSection(child)])),
  };
}

function secretSections(peer: PeerDescription): Section {
  const { psk } = peer.credentials;
  return {
    ...(psk === undefined
      ? {}
      : {
          [`ike-${peer.name}`]: {
            secret: psk,
            'id-local': peer.local.id,
            'id-remote': peer.remote.id,
          },
        }),
    ...(peer.ppk === undefined
      ? {}
      : { [`ppk-${peer.name}`]: { secret: peer.ppk.secret, 'id-1': peer.ppk.id } }),
  };
}

function credentialFiles(peer: PeerDescription): Readonly<Record<string, string>> {
  const { credentials } = peer;
  const many = (folder: string, kind: string, texts: readonly string[] | undefined) =>
    (texts ?? []).map((text, index) => [`${folder}/${peer.name}-${kind}-${index}.pem`, text]);
  const one = (folder: string, kind: string, text: string | undefined) =>
    text === undefined ? [] : [[`${folder}/${peer.name}-${kind}.pem`, text]];
  return Object.fromEntries([
    ...one('private', 'private', credentials.privateKey),
    ...many('x509', 'certificate', credentials.certificates),
    ...many('x509ca', 'authority', credentials.authorities),
    ...many('x509crl', 'crl', credentials.crls),
    ...one('pubkey', 'public', credentials.publicKey),
    ...one('pubkey', 'remote', credentials.remotePublicKey),
  ]);
}

/** swanctl.conf for these connections. */
export function swanctlText(peers: readonly PeerDescription[]): string {
  const named = peers.map((peer) => [peer.name, connectionSection(peer)] as const);
  const secrets = peers.map(secretSections);
  return settingsText({
    connections: Object.fromEntries(named),
    secrets: Object.assign({}, ...secrets),
  });
}

export interface StrongswanPeerOptions {
  readonly namespace: Namespace;
  /** Default `userspace`. */
  readonly esp?: keyof typeof PLUGINS;
  /** More settings for `charon-systemd { }`, such as `{ fragment_size: '500' }`. */
  readonly settings?: Section;
  readonly plugins?: string;
}

export class StrongswanPeer implements IkePeer {
  readonly kind = 'strongswan';
  #logStart = 0;

  private constructor(
    readonly daemon: Strongswan,
    private readonly options: StrongswanPeerOptions,
  ) {}

  /** The daemon with nothing to do yet. */
  static async start(options: StrongswanPeerOptions): Promise<StrongswanPeer> {
    const daemon = await Strongswan.start({
      namespace: options.namespace,
      swanctl: '',
      plugins: options.plugins ?? PLUGINS[options.esp ?? 'userspace'],
      settings: settingsText({
        // One attempt more each half second at first: what is lost in a test is sent again soon.
        retransmit_timeout: '0.5',
        retransmit_base: '1.4',
        retransmit_tries: '6',
        ...options.settings,
      }),
    });
    return new StrongswanPeer(daemon, options);
  }

  get namespace(): Namespace {
    return this.options.namespace;
  }

  async load(peers: readonly PeerDescription[]): Promise<void> {
    await this.clear();
    this.#logStart = this.daemon.log.length;
    const files = Object.assign({}, ...peers.map(credentialFiles));
    await this.daemon.reload(swanctlText(peers), files);
  }

  /** Ends every SA without asking the peer. */
  async clear(): Promise<void> {
    for (const { uniqueId } of await this.sas()) {
      // An SA that the peer has just ended is not there any more.
      await this.ask('terminate', { 'ike-id': uniqueId, force: 'yes', timeout: '2000' }).catch(
        () => undefined,
      );
    }
    await until('no SA is left', async () => (await this.sas()).length === 0);
  }

  async initiate(peer: string, child: string): Promise<void> {
    await this.ask('initiate', { ike: peer, child, timeout: String(COMMAND_MS) });
  }

  async rekeyChild(peer: string, child: string): Promise<void> {
    const installed = async (): Promise<readonly string[]> =>
      (await this.sas())
        .filter(({ name }) => name === peer)
        .flatMap(({ children }) => children)
        .filter(({ name, state }) => name === child && state === 'INSTALLED')
        .map(({ spiIn }) => spiIn);
    const before = await installed();
    await this.ask('rekey', { ike: peer, child });
    await until(`a new child ${child}`, async () => {
      const now = await installed();
      return now.length === before.length && now.every((spi) => !before.includes(spi));
    });
  }

  async rekeyIke(peer: string): Promise<void> {
    const established = async (): Promise<readonly string[]> =>
      (await this.sas())
        .filter(({ name, state }) => name === peer && state === 'ESTABLISHED')
        .map(({ initiatorSpi, responderSpi }) => initiatorSpi + responderSpi);
    const before = await established();
    await this.ask('rekey', { ike: peer });
    await until(`a new IKE SA of ${peer}`, async () => {
      const now = await established();
      return now.length === before.length && now.every((spi) => !before.includes(spi));
    });
  }

  async terminate(peer: string): Promise<void> {
    await this.ask('terminate', { ike: peer, timeout: String(COMMAND_MS) });
  }

  async terminateChild(peer: string, child: string): Promise<void> {
    await this.ask('terminate', { ike: peer, child, timeout: String(COMMAND_MS) });
  }

  async sas(): Promise<readonly IkeSaView[]> {
    const { events } = await Vici.once(this.daemon.socket, 'list-sas', {}, 'list-sa');
    return events.flatMap(viewsOf);
  }

  /** What it logged since the last load. */
  log(): string {
    return this.daemon.log.slice(this.#logStart);
  }

  /** As by the kernel when a machine dies: no word to anybody. */
  async kill(): Promise<void> {
    this.daemon.signal('SIGKILL');
    await until('charon is gone', () => !this.daemon.running);
  }

  async stop(): Promise<void> {
    await this.daemon.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  private ask(command: string, message: Readonly<Record<string, string>>) {
    return Vici.once(this.daemon.socket, command, message);
  }
}
