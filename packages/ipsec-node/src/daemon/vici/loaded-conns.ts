/**
 * Connections and credentials that were given over the control socket. A connection is a peer as
 * soon as its secrets and keys are there, in whatever order they come, and no longer when one of
 * them is taken back.
 */
import { createPublicKey } from 'node:crypto';
import type { PadEntry } from '../../pad/pad-entry.js';
import { formatIdentity } from '../../pad/identity-text.js';
import type { SpdEntry } from '../../spd/spd-entry.js';
import type { Secret } from '../../sad/secret.js';
import { UsageError } from '../../errors.js';
import type { IkeControl, LoadedPeer } from '../ike/ike-control.js';
import { Credentials, publicKeyDer, readCertificate, subjectOf } from './credentials.js';
import { patternText } from './identity-text.js';
import type { ConnTerms } from './load-conn.js';

/** Most connections. */
export const CONN_COUNT_MAX = 4096;

/** What becomes of terms: a peer, or what it still lacks. */
export type Binding =
  | { readonly ok: true; readonly peer: LoadedPeer }
  | { readonly ok: false; readonly missing: string };

class Missing extends Error {}

interface Conn {
  readonly terms: ConnTerms;
  state: ConnState;
}

type ConnState =
  | { readonly kind: 'in-force'; readonly peer: LoadedPeer }
  | { readonly kind: 'waiting'; readonly missing: string };

/** Joins the terms of a connection with the credentials that they need. */
export function bindConn(terms: ConnTerms, credentials: Credentials): Binding {
  const taken: Secret[] = [];
  try {
    const { localIdentity, localAuthentication } = bindLocal(terms, credentials, taken);
    const padEntry: PadEntry = {
      ...terms.entry,
      localIdentity,
      localAuthentication,
      remoteAuthentication: bindRemote(terms, credentials, formatIdentity(localIdentity), taken),
      ppk: bindPpk(terms, credentials, taken),
    };
    return { ok: true, peer: { padEntry, spdEntries: spdEntriesOf(padEntry) } };
  } catch (error) {
    for (const secret of taken) secret.wipe();
    if (error instanceof Missing) return { ok: false, missing: error.message };
    throw error;
  }
}

/** The policy of a peer's children: each has an entry of its own name. */
export function spdEntriesOf(entry: PadEntry): readonly SpdEntry[] {
  return entry.children.map(({ name, selector }) => ({
    name,
    direction: 'both',
    selector,
    action: 'PROTECT',
    builtin: false,
  }));
}

function sharedOf(
  terms: ConnTerms,
  credentials: Credentials,
  ours: string,
  taken: Secret[],
): Secret {
  const theirs = patternText(terms.entry.remoteIdentity);
  const secret = credentials.sharedFor('IKE', ours, theirs);
  if (secret === null) throw new Missing(`a shared secret of ${ours} and ${theirs}`);
  taken.push(secret);
  return secret;
}

function bindLocal(
  terms: ConnTerms,
  credentials: Credentials,
  taken: Secret[],
): Pick<PadEntry, 'localIdentity' | 'localAuthentication'> {
  const { local, localIdentity } = terms;
  if (local.method === 'certificate') {
    const given = local.certificates.map(readCertificate);
    const leaf =
      given[0] ?? (localIdentity === null ? null : credentials.certificateFor(localIdentity));
    if (leaf === null) throw new Missing('a certificate of ours, or an id that says which');
    const spki = new Uint8Array(leaf.publicKey.export({ format: 'der', type: 'spki' }));
    const privateKey = credentials.keyOf(spki);
    if (privateKey === null) throw new Missing('the private key of our certificate');
    const chain = given.length === 0 ? [leaf] : given;
    return {
      localIdentity: localIdentity ?? { kind: 'distinguished-name', der: subjectOf(leaf) },
      localAuthentication: {
        method: 'certificate',
        credential: {
          privateKey,
          certificates: chain.map((certificate) => new Uint8Array(certificate.raw)),
        },
      },
    };
  }
  if (localIdentity === null) throw new Missing('an id of ours');
  if (local.method === 'psk') {
    const secret = sharedOf(terms, credentials, formatIdentity(localIdentity), taken);
    return { localIdentity, localAuthentication: { method: 'psk', secret } };
  }
  const [first] = local.keys;
  const privateKey = first === undefined ? null : credentials.keyOf(publicKeyDer(first));
  if (privateKey === null) throw new Missing('the private key of our public one');
  return {
    localIdentity,
    localAuthentication: { method: 'public-key', credential: { privateKey, certificates: [] } },
  };
}

function bindRemote(
  terms: ConnTerms,
  credentials: Credentials,
  ours: string,
  taken: Secret[],
): PadEntry['remoteAuthentication'] {
  const { remote } = terms;
  switch (remote.method) {
    case 'psk':
      return { method: 'psk', secret: sharedOf(terms, credentials, ours, taken) };
    case 'public-key':
      return { method: 'public-key', keys: remote.keys.map(publicKeyDer) };
    case 'certificate': {
      const named = remote.authorities.map((bytes) => new Uint8Array(readCertificate(bytes).raw));
      const authorities = named.length > 0 ? named : credentials.authorities;
      if (authorities.length === 0) throw new Missing('the certificate of an authority');
      return {
        method: 'certificate',
        authorities,
        crls: credentials.revocationLists,
        revocation: remote.revocation,
      };
    }
  }
}

function bindPpk(terms: ConnTerms, credentials: Credentials, taken: Secret[]): PadEntry['ppk'] {
  if (terms.ppk === null) return null;
  const { id, required } = terms.ppk;
  const secret = credentials.sharedFor('PPK', id, null);
  if (secret === null) throw new Missing(`the post-quantum secret ${id}`);
  taken.push(secret);
  return { id: new Uint8Array(Buffer.from(id, 'utf8')), secret, required };
}

/** What `load-conn`, `load-shared` and their kin change. */
export class LoadedConns {
  readonly credentials = new Credentials();
  private readonly conns = new Map<string, Conn>();
  /** Changes follow one another: each sees what the one before it made. */
  private last: Promise<unknown> = Promise.resolve();

  constructor(private readonly control: Pick<IkeControl, 'loadPeer' | 'unloadPeer' | 'pad'>) {}

  private inTurn<T>(change: () => Promise<T>): Promise<T> {
    const done = this.last.then(change);
    this.last = done.catch(() => undefined);
    return done;
  }

  /** In the order in which they were loaded. */
  get names(): readonly string[] {
    return [...this.conns.keys()];
  }

  /** Connections that lack something, and what. */
  get waiting(): readonly { readonly name: string; readonly missing: string }[] {
    return [...this.conns].flatMap(([name, { state }]) =>
      state.kind === 'waiting' ? [{ name, missing: state.missing }] : [],
    );
  }

  /** Adds a connection or replaces one. Resolves with what it lacks; null: it is in force. */
  load(terms: ConnTerms): Promise<string | null> {
    return this.inTurn(async () => {
      const { name } = terms.entry;
      if (!this.conns.has(name) && this.conns.size >= CONN_COUNT_MAX) {
        throw new UsageError('IPSEC_ERR_USAGE', `there are ${CONN_COUNT_MAX} connections already`);
      }
      this.requireFreeNames(terms);
      const state = await this.apply(terms, null);
      // A replaced connection that is complete no more is not in force under its old terms.
      if (state.kind === 'waiting' && this.conns.has(name)) await this.control.unloadPeer(name);
      this.conns.set(name, { terms, state });
      return state.kind === 'waiting' ? state.missing : null;
    });
  }

  private requireFreeNames({ entry }: ConnTerms): void {
    const isLoaded = this.conns.has(entry.name);
    if (!isLoaded && this.control.pad().entries.some(({ name }) => name === entry.name)) {
      throw new UsageError(
        'IPSEC_ERR_USAGE',
        `${entry.name}: a peer of the configuration file has this name`,
      );
    }
    const others = this.control.pad().entries.filter(({ name }) => name !== entry.name);
    for (const child of entry.children) {
      const owner =
        others.find((each) => each.children.some(({ name }) => name === child.name))?.name ??
        [...this.conns.values()].find(
          ({ terms }) =>
            terms.entry.name !== entry.name &&
            terms.entry.children.some(({ name }) => name === child.name),
        )?.terms.entry.name;
      if (owner === undefined) continue;
      throw new UsageError(
        'IPSEC_ERR_USAGE',
        `${entry.name}.children.${child.name}: ${owner} has a child of this name, and a name is of one policy`,
      );
    }
  }

  /** Puts a connection in force where it is complete and not in force as it is. */
  private async apply(terms: ConnTerms, current: LoadedPeer | null): Promise<ConnState> {
    const binding = bindConn(terms, this.credentials);
    if (!binding.ok) return { kind: 'waiting', missing: binding.missing };
    const { peer } = binding;
    if (current !== null && isSameProof(current.padEntry, peer.padEntry)) {
      wipeSecrets(peer.padEntry);
      return { kind: 'in-force', peer: current };
    }
    await this.control.loadPeer(peer);
    return { kind: 'in-force', peer };
  }

  /** False where nothing of that name was loaded. */
  unload(name: string): Promise<boolean> {
    return this.inTurn(async () => {
      if (!this.conns.has(name)) return false;
      await this.control.unloadPeer(name);
      return this.conns.delete(name);
    });
  }

  /** Changes credentials, then every connection that this completes, changes or breaks. */
  change<T>(work: (credentials: Credentials) => T): Promise<T> {
    return this.inTurn(async () => {
      const result = work(this.credentials);
      for (const [name, conn] of this.conns) {
        const { state } = conn;
        conn.state = await this.apply(conn.terms, state.kind === 'in-force' ? state.peer : null);
        if (state.kind === 'in-force' && conn.state.kind === 'waiting') {
          await this.control.unloadPeer(name);
        }
      }
      return result;
    });
  }
}

function secretsOf(entry: PadEntry): readonly Secret[] {
  const { localAuthentication: local, remoteAuthentication: remote, ppk } = entry;
  return [
    ...(local.method === 'psk' ? [local.secret] : []),
    ...(remote.method === 'psk' ? [remote.secret] : []),
    ...(ppk === null ? [] : [ppk.secret]),
  ];
}

function wipeSecrets(entry: PadEntry): void {
  for (const secret of secretsOf(entry)) secret.wipe();
}

/** Whether two entries of the same terms prove and want the same. */
function isSameProof(a: PadEntry, b: PadEntry): boolean {
  const [ours, theirs] = [secretsOf(a), secretsOf(b)];
  if (ours.length !== theirs.length) return false;
  if (!ours.every((secret, index) => theirs[index]?.equals(secret) === true)) return false;
  return isSameBytes(publicParts(a), publicParts(b));
}

/** Certificates, revocation lists and keys, without what is secret. */
function publicParts(entry: PadEntry): readonly Uint8Array[] {
  const { localAuthentication: local, remoteAuthentication: remote } = entry;
  const ours = local.method === 'psk' ? [] : [publicDer(local), ...local.credential.certificates];
  switch (remote.method) {
    case 'psk':
      return ours;
    case 'public-key':
      return [...ours, ...remote.keys];
    case 'certificate':
      return [...ours, ...remote.authorities, ...remote.crls];
  }
}

function publicDer(local: Exclude<PadEntry['localAuthentication'], { method: 'psk' }>): Uint8Array {
  return createPublicKey(local.credential.privateKey).export({ format: 'der', type: 'spki' });
}

function isSameBytes(a: readonly Uint8Array[], b: readonly Uint8Array[]): boolean {
  return (
    a.length === b.length &&
    a.every((bytes, index) => Buffer.compare(bytes, b[index] ?? new Uint8Array()) === 0)
  );
}
