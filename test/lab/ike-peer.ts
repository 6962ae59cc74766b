/** What every IKEv2 daemon of the laboratory can be asked to do, and how its SAs look. */

import { listAt, sectionAt, textAt, type ViciMessage } from './vici.ts';

/** How one side proves who it is, with what the other side must know of it. */
export interface PartyTerms {
  /** As in swanctl.conf: `gw.a.example`, `10.0.0.1`, `a@b.example`, `@#6b65`, `C=CH, CN=a`. */
  readonly id: string;
  readonly auth: 'psk' | 'certificate' | 'public-key';
  /** How an RSA key signs under RFC 7427, and nothing else is taken. Default: as the daemon likes. */
  readonly signature?: 'rsa-pss' | 'rsa-pkcs1';
}

/** PEM files, contents; only what the side that is configured holds or trusts. */
export interface Credentials {
  readonly psk?: string;
  /** A private key, PKCS#8 PEM. */
  readonly privateKey?: string;
  /** Leaf first, then the intermediates that are sent along. */
  readonly certificates?: readonly string[];
  readonly authorities?: readonly string[];
  readonly crls?: readonly string[];
  /** SubjectPublicKeyInfo PEM: our own, and the peer's. */
  readonly publicKey?: string;
  readonly remotePublicKey?: string;
}

export interface ChildDescription {
  readonly name: string;
  readonly local: readonly string[];
  readonly remote: readonly string[];
  /** strongSwan's proposal keywords, one or several. */
  readonly proposals: readonly string[];
  readonly mode?: 'tunnel' | 'transport';
  /** Default none: by command alone. */
  readonly start?: 'none' | 'trap' | 'start';
  readonly rekeySeconds?: number;
  readonly rekeyPackets?: number;
}

/** One side of a connection: everything a daemon needs to be told. */
export interface PeerDescription {
  readonly name: string;
  readonly localAddress: string;
  /** Where the peer is reached; `%any` where only it can come to us. */
  readonly remoteAddress: string;
  readonly local: PartyTerms;
  readonly remote: PartyTerms;
  readonly credentials: Credentials;
  readonly proposals: readonly string[];
  readonly children: readonly ChildDescription[];
  readonly forceEncapsulation?: boolean;
  readonly fragmentation?: boolean;
  readonly mobike?: boolean;
  readonly dpdSeconds?: number;
  readonly rekeySeconds?: number;
  /** RFC 8784; the same text on both sides. */
  readonly ppk?: { readonly id: string; readonly secret: string };
  /** What a second IKE SA of the same identity does. Default `replace`. */
  readonly unique?: 'no' | 'never' | 'keep' | 'replace';
  readonly revocation?: 'relaxed' | 'ifuri' | 'strict';
  /** Length of strongSwan's IKE fragments, and of our own. */
  readonly fragmentBytes?: number;
}

export interface ChildSaView {
  readonly name: string;
  readonly uniqueId: string;
  readonly state: string;
  readonly mode: string;
  readonly protocol: string;
  readonly udpEncapsulated: boolean;
  /** Eight hexadecimal digits. */
  readonly spiIn: string;
  readonly spiOut: string;
  /** Such as `AES_GCM_16-256`, `AES_CBC-128/HMAC_SHA2_256_128`; the key exchange of PFS after it. */
  readonly algorithms: string;
  readonly esn: boolean;
  readonly localSelectors: readonly string[];
  readonly remoteSelectors: readonly string[];
  readonly bytesIn: number;
  readonly packetsIn: number;
  readonly bytesOut: number;
  readonly packetsOut: number;
}

export interface IkeSaView {
  readonly name: string;
  readonly uniqueId: string;
  readonly state: string;
  readonly role: 'initiator' | 'responder';
  readonly local: { readonly address: string; readonly port: number; readonly id: string };
  readonly remote: { readonly address: string; readonly port: number; readonly id: string };
  readonly initiatorSpi: string;
  readonly responderSpi: string;
  /** Such as `AES_GCM_16-256/PRF_HMAC_SHA2_256/CURVE_25519`. */
  readonly algorithms: string;
  readonly natLocal: boolean;
  readonly natRemote: boolean;
  readonly children: readonly ChildSaView[];
}

/**
 * A daemon that speaks IKEv2. One runs for many cases: `load` replaces all it was told before and
 * ends the SAs of it.
 */
export interface IkePeer extends AsyncDisposable {
  readonly kind: 'strongswan' | 'ipsec-node' | 'libreswan';
  load(descriptions: readonly PeerDescription[]): Promise<void>;
  /** Resolves when the child is up; rejects with the daemon's reason. */
  initiate(peer: string, child: string): Promise<void>;
  /** Resolves when the new SA is there. */
  rekeyChild(peer: string, child: string): Promise<void>;
  rekeyIke(peer: string): Promise<void>;
  /** The IKE SA with all its children; resolves when the peer has answered. */
  terminate(peer: string): Promise<void>;
  terminateChild(peer: string, child: string): Promise<void>;
  sas(): Promise<readonly IkeSaView[]>;
  log(): string;
  stop(): Promise<void>;
}

function joined(...parts: readonly string[]): string {
  return parts.filter((part) => part !== '').join('/');
}

function cipher(message: ViciMessage): string {
  const name = textAt(message, 'encr-alg');
  const bits = textAt(message, 'encr-keysize');
  return bits === '' ? name : `${name}-${bits}`;
}

function childView(message: ViciMessage): ChildSaView {
  return {
    name: textAt(message, 'name'),
    uniqueId: textAt(message, 'uniqueid'),
    state: textAt(message, 'state'),
    mode: textAt(message, 'mode'),
    protocol: textAt(message, 'protocol'),
    udpEncapsulated: textAt(message, 'encap') === 'yes',
    spiIn: textAt(message, 'spi-in'),
    spiOut: textAt(message, 'spi-out'),
    algorithms: joined(
      cipher(message),
      textAt(message, 'integ-alg'),
      textAt(message, 'dh-group'),
      ...Array.from({ length: 7 }, (_, index) => textAt(message, `ake${index + 1}`)),
    ),
    esn: textAt(message, 'esn') === '1',
    localSelectors: listAt(message, 'local-ts'),
    remoteSelectors: listAt(message, 'remote-ts'),
    bytesIn: Number(textAt(message, 'bytes-in')),
    packetsIn: Number(textAt(message, 'packets-in')),
    bytesOut: Number(textAt(message, 'bytes-out')),
    packetsOut: Number(textAt(message, 'packets-out')),
  };
}

/** What one `list-sa` event holds: IKE SAs by name. */
export function viewsOf(event: ViciMessage): readonly IkeSaView[] {
  return Object.keys(event).map((name) => {
    const message = sectionAt(event, name);
    const children = sectionAt(message, 'child-sas');
    const end = (side: 'local' | 'remote') => ({
      address: textAt(message, `${side}-host`),
      port: Number(textAt(message, `${side}-port`)),
      id: textAt(message, `${side}-id`),
    });
    return {
      name,
      uniqueId: textAt(message, 'uniqueid'),
      state: textAt(message, 'state'),
      role: textAt(message, 'initiator') === 'yes' ? 'initiator' : 'responder',
      local: end('local'),
      remote: end('remote'),
      initiatorSpi: textAt(message, 'initiator-spi'),
      responderSpi: textAt(message, 'responder-spi'),
      algorithms: joined(
        cipher(message),
        textAt(message, 'integ-alg'),
        textAt(message, 'prf-alg'),
        textAt(message, 'dh-group'),
        ...Array.from({ length: 7 }, (_, index) => textAt(message, `ake${index + 1}`)),
      ),
      natLocal: textAt(message, 'nat-local') === 'yes',
      natRemote: textAt(message, 'nat-remote') === 'yes',
      children: Object.keys(children).map((key) => childView(sectionAt(children, key))),
    };
  });
}

/** The one IKE SA that is established, with its installed children. Throws what there is instead. */
export function onlySa(views: readonly IkeSaView[]): IkeSaView {
  const [view, ...others] = views.filter(({ state }) => state === 'ESTABLISHED');
  if (view === undefined || others.length > 0) {
    throw new Error(`one established IKE SA was expected: ${JSON.stringify(views, null, 1)}`);
  }
  return { ...view, children: view.children.filter(({ state }) => state === 'INSTALLED') };
}

export function onlyChild(view: IkeSaView): ChildSaView {
  const [child, ...others] = view.children;
  if (child === undefined || others.length > 0) {
    throw new Error(`one installed child was expected: ${JSON.stringify(view, null, 1)}`);
  }
  return child;
}
