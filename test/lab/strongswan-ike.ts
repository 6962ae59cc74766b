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
import { OTHER_STRONGSWAN } from './peer.ts';
import { Strongswan } from './strongswan.ts';
import { Vici, type ViciMessage } from './vici.ts';

const COMMON_PLUGINS =
  'random nonce openssl kdf curve25519 chapoly gcm ccm aes sha1 sha2 hmac xcbc cmac gmp pem pkcs1 ' +
  'pkcs7 pkcs8 pkcs12 x509 pubkey revocation constraints' +
  // strongSwan 6 has ML-KEM, on SHA-3; what a release does not have it leaves out.
  (OTHER_STRONGSWAN === undefined ? '' : ' sha3 ml');

const PLUGINS = {
  /** ESP in the daemon: tunnel mode in UDP, without ESN. */
  userspace: `${COMMON_PLUGINS} kernel-libipsec kernel-netlink socket-default vici updown`,
  /** ESP of the kernel: only where that has one, in a guest. */
  kernel: `${COMMON_PLUGINS} kernel-netlink socket-default vici updown`,
} as const;

/** How long a handshake may take, with a retransmission or two and busy processors. */
const COMMAND_MS = 30_000;
/** In a guest, where the machine is emulated. */
const GUEST_COMMAND_MS = 90_000;

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

function childMessage(child: ChildDescription): ViciMessage {
  return {
    mode: child.mode ?? 'tunnel',
    local_ts: child.local,
    remote_ts: child.remote,
    esp_proposals: child.proposals,
    start_action: child.start ?? 'none',
    rekey_time: `${child.rekeySeconds ?? 0}`,
    ...(child.rekeySeconds === undefined ? {} : { rand_time: '0' }),
    ...(child.rekeyPackets === undefined
      ? {}
      : { rekey_packets: String(child.rekeyPackets), rand_packets: '0' }),
  };
}

function authWord(party: PartyTerms): string {
  if (party.auth === 'psk') return 'psk';
  if (party.signature === undefined) return 'pubkey';
  const scheme = party.signature === 'rsa-pss' ? 'rsa/pss' : 'rsa';
  return `ike:${scheme}-sha256-sha384-sha512`;
}

function partyMessage(party: PartyTerms): ViciMessage {
  return { auth: authWord(party), id: party.id };
}

/** What `load-conn` takes, in the words of swanctl.conf. */
export function connectionMessage(peer: PeerDescription): ViciMessage {
  const { credentials } = peer;
  const { publicKey, remotePublicKey } = credentials;
  const [leaf] = credentials.certificates ?? [];
  return {
    version: '2',
    local_addrs: [peer.localAddress],
    remote_addrs: [peer.remoteAddress],
    proposals: peer.proposals,
    encap: yesNo(peer.forceEncapsulation ?? false),
    fragmentation: yesNo(peer.fragmentation ?? true),
    mobike: yesNo(peer.mobike ?? false),
    dpd_delay: `${peer.dpdSeconds ?? 0}`,
    rekey_time: `${peer.rekeySeconds ?? 0}`,
    ...(peer.rekeySeconds === undefined ? {} : { rand_time: '0' }),
    unique: peer.unique ?? 'replace',
    ...(peer.ppk === undefined ? {} : { ppk_id: peer.ppk.id, ppk_required: 'yes' }),
    'local-1': {
      ...partyMessage(peer.local),
      ...(leaf === undefined ? {} : { certs: [leaf] }),
      ...(peer.local.auth === 'public-key' && publicKey !== undefined
        ? { pubkeys: [publicKey] }
        : {}),
    },
    'remote-1': {
      ...partyMessage(peer.remote),
      ...(remotePublicKey === undefined ? {} : { pubkeys: [remotePublicKey] }),
      ...(credentials.authorities === undefined ? {} : { cacerts: credentials.authorities }),
      ...(peer.revocation === undefined ? {} : { revocation: peer.revocation }),
    },
    children: Object.fromEntries(peer.children.map((child) => [child.name, childMessage(child)])),
  };
}

type Request = readonly [command: string, message: ViciMessage];

/** In the order in which they are wanted: what proves, then who. */
function loadRequests(peer: PeerDescription): readonly Request[] {
  const { credentials, ppk } = peer;
  const certificates = (flag: string, texts: readonly string[] | undefined): readonly Request[] =>
    (texts ?? []).map((data): Request => ['load-cert', { type: 'X509', flag, data }]);
  return [
    ...certificates('CA', credentials.authorities),
    ...certificates('NONE', credentials.certificates),
    ...(credentials.crls ?? []).map(
      (data): Request => ['load-cert', { type: 'X509_CRL', flag: 'NONE', data }],
    ),
    ...(credentials.privateKey === undefined
      ? []
      : [['load-key', { type: 'any', data: credentials.privateKey }] satisfies Request]),
    ...(credentials.psk === undefined
      ? []
      : [
          [
            'load-shared',
            { type: 'IKE', data: credentials.psk, owners: [peer.local.id, peer.remote.id] },
          ] satisfies Request,
        ]),
    ...(ppk === undefined
      ? []
      : [['load-shared', { type: 'PPK', data: ppk.secret, owners: [ppk.id] }] satisfies Request]),
    ['load-conn', { [peer.name]: connectionMessage(peer) }],
  ];
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
  #loaded: readonly string[] = [];
  readonly #commandMs: number;

  private constructor(
    readonly daemon: Strongswan,
    private readonly options: StrongswanPeerOptions,
  ) {
    this.#commandMs = options.esp === 'kernel' ? GUEST_COMMAND_MS : COMMAND_MS;
  }

  /** The daemon with nothing to do yet. */
  static async start(options: StrongswanPeerOptions): Promise<StrongswanPeer> {
    const daemon = await Strongswan.start({
      namespace: options.namespace,
      ...(options.esp === 'kernel' ? { startMs: 120_000 } : {}),
      plugins: options.plugins ?? PLUGINS[options.esp ?? 'userspace'],
      settings: settingsText({
        // One attempt more each half second at first: what is lost in a test is sent again soon.
        retransmit_timeout: options.esp === 'kernel' ? '6' : '0.5',
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
    const vici = await Vici.connect(this.daemon.socket);
    try {
      for (const name of this.#loaded) await vici.request('unload-conn', { name });
      this.#loaded = [];
      await vici.request('clear-creds');
      for (const [command, message] of peers.flatMap(loadRequests)) {
        await vici.request(command, message);
      }
      this.#loaded = peers.map(({ name }) => name);
    } finally {
      vici.close();
    }
  }

  /** Ends every SA without asking the peer. */
  async clear(): Promise<void> {
    for (const { uniqueId } of await this.sas()) {
      // An SA that the peer has just ended is not there any more.
      await this.ask('terminate', { 'ike-id': uniqueId, force: 'yes', timeout: '2000' }).catch(
        () => undefined,
      );
    }
    await until('no SA is left', async () => (await this.sas()).length === 0, this.#commandMs);
  }

  async initiate(peer: string, child: string): Promise<void> {
    await this.ask('initiate', { ike: peer, child, timeout: String(this.#commandMs) });
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
    await until(
      `a new child ${child}`,
      async () => {
        const now = await installed();
        return now.length === before.length && now.every((spi) => !before.includes(spi));
      },
      this.#commandMs,
    );
  }

  async rekeyIke(peer: string): Promise<void> {
    const established = async (): Promise<readonly string[]> =>
      (await this.sas())
        .filter(({ name, state }) => name === peer && state === 'ESTABLISHED')
        .map(({ initiatorSpi, responderSpi }) => initiatorSpi + responderSpi);
    const before = await established();
    await this.ask('rekey', { ike: peer });
    await until(
      `a new IKE SA of ${peer}`,
      async () => {
        const now = await established();
        return now.length === before.length && now.every((spi) => !before.includes(spi));
      },
      this.#commandMs,
    );
  }

  async terminate(peer: string): Promise<void> {
    await this.ask('terminate', { ike: peer, timeout: String(this.#commandMs) });
  }

  async terminateChild(peer: string, child: string): Promise<void> {
    await this.ask('terminate', { ike: peer, child, timeout: String(this.#commandMs) });
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
