/**
 * What a new PAD changes of the old one, so that a reload touches only SAs whose terms changed.
 * Values are compared, not objects: the two come from two readings of files.
 */
import type { ChildTerms } from '../pad/child-terms.js';
import type { PadEntry } from '../pad/pad-entry.js';
import type { Pad } from '../pad/pad.js';
import { Secret } from '../sad/secret.js';

/** What became of a peer or of a child. */
export type Change = 'unchanged' | 'changed' | 'added' | 'removed';

export interface ChildDiff {
  readonly name: string;
  readonly change: Change;
  /** Terms that differ, as in {@link ChildTerms}; only of what changed. */
  readonly terms: readonly (keyof ChildTerms)[];
}

export interface PeerDiff {
  readonly name: string;
  /** Of its own terms; its children have their own. */
  readonly change: Change;
  /** Terms that differ, as in {@link PadEntry}; only of what changed. */
  readonly terms: readonly Exclude<keyof PadEntry, 'children'>[];
  /** In the order of the new PAD, those removed at the end. */
  readonly children: readonly ChildDiff[];
}

export interface PadDiff {
  /** In the order of the new PAD, those removed at the end. */
  readonly peers: readonly PeerDiff[];
  /** Whether peers that both have stand in another order: the first that fits is taken. */
  readonly reordered: boolean;
}

/** Compares two PADs; both must still have their secrets. */
export function diffPads(old: Pad, next: Pad): PadDiff {
  const before = new Map(old.entries.map((entry) => [entry.name, entry]));
  const after = new Map(next.entries.map((entry) => [entry.name, entry]));
  const kept = next.entries.map((entry) => diffPeer(before.get(entry.name), entry));
  const gone = old.entries.filter(({ name }) => !after.has(name)).map(removedPeer);
  const common = (pad: Pad): readonly string[] =>
    pad.entries.map(({ name }) => name).filter((name) => before.has(name) && after.has(name));
  return { peers: [...kept, ...gone], reordered: !isSameValue(common(old), common(next)) };
}

function diffPeer(old: PadEntry | undefined, next: PadEntry): PeerDiff {
  const children = diffChildren(old?.children ?? [], next.children);
  if (old === undefined) return { name: next.name, change: 'added', terms: [], children };
  const terms = peerTerms(next).filter((term) => !isSameValue(old[term], next[term]));
  const change = terms.length === 0 ? 'unchanged' : 'changed';
  return { name: next.name, change, terms, children };
}

function removedPeer(old: PadEntry): PeerDiff {
  const children = diffChildren(old.children, []);
  return { name: old.name, change: 'removed', terms: [], children };
}

function diffChildren(
  old: readonly ChildTerms[],
  next: readonly ChildTerms[],
): readonly ChildDiff[] {
  const kept = next.map((child): ChildDiff => {
    const former = old.find(({ name }) => name === child.name);
    if (former === undefined) return { name: child.name, change: 'added', terms: [] };
    const terms = childTermNames(child).filter((term) => !isSameValue(former[term], child[term]));
    return { name: child.name, change: terms.length === 0 ? 'unchanged' : 'changed', terms };
  });
  const gone = old
    .filter(({ name }) => !next.some((child) => child.name === name))
    .map(({ name }): ChildDiff => ({ name, change: 'removed', terms: [] }));
  return [...kept, ...gone];
}

/** Terms that say what is done with SAs, not what they are: an SA stays where they change. */
const PEER_CONDUCT: ReadonlySet<string> = new Set<keyof PadEntry>([
  'rekeyMs',
  'hardMs',
  'livenessMs',
  'keepaliveMs',
  'unique',
  'onDeath',
  'hashAndUrl',
]);
const CHILD_CONDUCT: ReadonlySet<string> = new Set<keyof ChildTerms>([
  'start',
  'onClose',
  'lifetime',
]);

/** Whether what was negotiated under the old terms ends: they are gone, or an SA would be another. */
export function endsPeer({ change, terms }: PeerDiff): boolean {
  return isEnded(change, terms, PEER_CONDUCT);
}

/** As {@link endsPeer}, of one child. */
export function endsChild({ change, terms }: ChildDiff): boolean {
  return isEnded(change, terms, CHILD_CONDUCT);
}

function isEnded(change: Change, terms: readonly string[], conduct: ReadonlySet<string>): boolean {
  if (change === 'changed') return terms.some((term) => !conduct.has(term));
  return change === 'removed';
}

/** One entry for each term: a new one must be added here to be compared, or it does not compile. */
const PEER_TERMS: Readonly<Record<Exclude<keyof PadEntry, 'children' | 'name'>, true>> = {
  hosts: true,
  localAddress: true,
  remotePort: true,
  localIdentity: true,
  remoteIdentity: true,
  localAuthentication: true,
  remoteAuthentication: true,
  ppk: true,
  proposals: true,
  rekeyMs: true,
  hardMs: true,
  livenessMs: true,
  keepaliveMs: true,
  encapsulation: true,
  fragmentation: true,
  mobike: true,
  unique: true,
  onDeath: true,
  hashAndUrl: true,
};

const CHILD_TERMS: Readonly<Record<Exclude<keyof ChildTerms, 'name'>, true>> = {
  mode: true,
  selector: true,
  proposals: true,
  start: true,
  onClose: true,
  lifetime: true,
  selectorsPerChild: true,
  replayWindow: true,
  tfcPadToBytes: true,
  dontFragment: true,
};

function peerTerms(entry: PadEntry): readonly (keyof typeof PEER_TERMS)[] {
  return keysOf(PEER_TERMS, entry);
}

function childTermNames(child: ChildTerms): readonly (keyof typeof CHILD_TERMS)[] {
  return keysOf(CHILD_TERMS, child);
}

function keysOf<K extends string>(
  table: Readonly<Record<K, true>>,
  of: Readonly<Record<K, unknown>>,
): readonly K[] {
  const known = new Set<string>(Object.keys(table));
  const isTerm = (key: string): key is K => known.has(key);
  return Object.keys(of).filter(isTerm);
}

/** Whether two values of a PAD are the same; secrets in constant time, keys by what they are. */
function isSameValue(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (a instanceof Secret || b instanceof Secret) {
    return a instanceof Secret && b instanceof Secret && a.equals(b);
  }
  if (a instanceof Uint8Array || b instanceof Uint8Array) {
    if (!(a instanceof Uint8Array) || !(b instanceof Uint8Array)) return false;
    return a.length === b.length && a.every((byte, index) => byte === b[index]);
  }
  if (isKey(a) || isKey(b)) return isKey(a) && isKey(b) && a.equals(b);
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const left = new Map<string, unknown>(Object.entries(a));
  const right = new Map<string, unknown>(Object.entries(b));
  return (
    left.size === right.size &&
    [...left].every(([key, value]) => right.has(key) && isSameValue(value, right.get(key)))
  );
}

/** A KeyObject of node:crypto, known by what it can do. */
interface Comparable {
  equals(other: unknown): boolean;
}

function isKey(value: object): value is Comparable {
  return 'asymmetricKeyType' in value && 'equals' in value && typeof value.equals === 'function';
}
