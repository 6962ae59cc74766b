/** Where a peer may be reached, and from which address of ours. */
import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import type { Clock, Milliseconds } from '../../clock.js';
import type { PeerPath } from '../../ike/endpoint.js';
import { tryParseIpAddress } from '../../net/ip-address.js';
import type { PadEntry } from '../../pad/pad-entry.js';

/** A name is asked for again after this long, and at each new attempt. */
const NAME_MS: Milliseconds = 300_000;
/** Addresses of one name that are tried. */
const ADDRESS_COUNT_MAX = 8;

/** What the host knows of names and routes. */
export interface PathSource {
  /** Addresses of a DNS name, in the order in which they are to be tried; empty: none now. */
  lookUp(name: string): Promise<readonly string[]>;
  /** The address that packets to `remote` leave from; null: there is no route. */
  localAddressFor(remote: string): Promise<string | null>;
}

/** The resolver and the routes of this machine. */
export const hostPaths: PathSource = {
  lookUp: async (name) => {
    try {
      return (await lookup(name, { all: true, order: 'verbatim' })).map(({ address }) => address);
    } catch {
      return [];
    }
  },
  // A connected UDP socket has the address that the kernel would send from. Nothing is sent.
  localAddressFor: (remote) =>
    new Promise((resolve) => {
      const socket = createSocket(remote.includes(':') ? 'udp6' : 'udp4');
      const finish = (address: string | null): void => {
        socket.removeAllListeners();
        // A late error of a socket that is being closed concerns nobody.
        socket.on('error', () => undefined);
        socket.close();
        resolve(address);
      };
      socket.once('error', () => finish(null));
      socket.connect(9, remote, () => finish(socket.address().address));
    }),
};

/** Paths of peers, with the names of the PAD kept resolved. */
export class PeerPaths {
  private readonly names = new Map<
    string,
    { readonly addresses: readonly string[]; readonly at: Milliseconds }
  >();

  constructor(
    private readonly clock: Clock,
    private readonly source: PathSource = hostPaths,
  ) {}

  /** The addresses of a name as last looked up: a responder compares with them and waits for none. */
  resolved(name: string): readonly string[] {
    return this.names.get(name)?.addresses ?? [];
  }

  /** Looks all names of a PAD up that were not lately. */
  async refresh(entries: readonly PadEntry[]): Promise<void> {
    const names = new Set(
      entries.flatMap(({ hosts }) =>
        hosts.flatMap((host) => (host.kind === 'dns-name' ? [host.name] : [])),
      ),
    );
    for (const known of this.names.keys()) if (!names.has(known)) this.names.delete(known);
    await Promise.all(
      [...names].map(async (name) => {
        const known = this.names.get(name);
        if (known !== undefined && this.clock.now() - known.at < NAME_MS) return;
        await this.lookUp(name);
      }),
    );
  }

  /** Every path to a peer, in the order in which they are tried. Names are looked up anew. */
  async of(entry: PadEntry): Promise<readonly PeerPath[]> {
    const remotes: string[] = [];
    for (const host of entry.hosts) {
      if (host.kind === 'address') remotes.push(host.address);
      if (host.kind === 'dns-name') remotes.push(...(await this.lookUp(host.name)));
    }
    const paths: PeerPath[] = [];
    for (const remote of remotes) {
      const local = await this.localFor(entry, remote);
      if (local !== null) paths.push({ local, remote });
    }
    return paths;
  }

  /** Why there is no path to a peer. */
  missing({ hosts, localAddress }: PadEntry): string {
    const unknown = hosts.flatMap((host) =>
      host.kind === 'dns-name' && this.resolved(host.name).length === 0 ? [host.name] : [],
    );
    if (unknown.length > 0) return `no address is known of ${unknown.join(', ')}`;
    const isReachable = hosts.some(({ kind }) => kind === 'address' || kind === 'dns-name');
    if (!isReachable) return 'the peer has no address to go to: it must come to us';
    return localAddress === null
      ? 'there is no route to the address of the peer'
      : `no address of the peer is of the family of ${localAddress}`;
  }

  /** Our address towards a peer's: the one of its entry, or what the routes say. */
  async localFor(entry: PadEntry, remote: string): Promise<string | null> {
    const { localAddress } = entry;
    if (localAddress === null) return this.source.localAddressFor(remote);
    return localAddress.includes(':') === remote.includes(':') ? localAddress : null;
  }

  private async lookUp(name: string): Promise<readonly string[]> {
    const found = (await this.source.lookUp(name))
      .filter((address) => tryParseIpAddress(address) !== null)
      .slice(0, ADDRESS_COUNT_MAX);
    // What was found before stays where the resolver is silent now.
    const addresses = found.length === 0 ? this.resolved(name) : found;
    this.names.set(name, { addresses, at: this.clock.now() });
    return addresses;
  }
}
