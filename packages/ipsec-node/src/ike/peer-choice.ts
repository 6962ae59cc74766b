/**
 * Which PAD entry a peer is (RFC 4301 section 4.4.3, RFC 7296 section 2.15), and where none is, which
 * came closest and what differs.
 */
import { type AddressFamily, tryParseIpAddress } from '../net/ip-address.js';
import { matchesIdentity } from '../pad/identity-match.js';
import { formatIdentity, formatIdentityPattern } from '../pad/identity-text.js';
import type { Identity } from '../pad/identity.js';
import type { PadEntry } from '../pad/pad-entry.js';
import { formatProposal, type Proposal } from '../sad/proposal.js';
import type { Difference } from './action.js';
import { chooseProposal, toWireProposals } from './proposal.js';

/**
 * The entries whose peer may be at an address, in their order. Names were resolved by the daemon.
 * Their addresses are read once, not for every message of a stranger.
 */
export function candidatesAt(
  entries: readonly PadEntry[],
  remote: string,
  resolved: (name: string) => readonly string[],
): readonly PadEntry[] {
  const address = tryParseIpAddress(remote);
  if (address === null) return [];
  return entries.filter((entry) =>
    readHosts(entry).some((host) => {
      switch (host.kind) {
        case 'any':
          return true;
        case 'range':
          return (
            address.family === host.family &&
            address.value >= host.first &&
            address.value <= host.last
          );
        case 'name':
          return resolved(host.name).some((one) => {
            const known = tryParseIpAddress(one);
            return known?.family === address.family && known.value === address.value;
          });
      }
    }),
  );
}

type ReadHost =
  | { readonly kind: 'any' }
  | {
      readonly kind: 'range';
      readonly family: AddressFamily;
      readonly first: bigint;
      readonly last: bigint;
    }
  | { readonly kind: 'name'; readonly name: string };

const hostsRead = new WeakMap<PadEntry, readonly ReadHost[]>();

function readHosts(entry: PadEntry): readonly ReadHost[] {
  const known = hostsRead.get(entry);
  if (known !== undefined) return known;
  const hosts = entry.hosts.flatMap((host): readonly ReadHost[] => {
    switch (host.kind) {
      case 'any':
        return [{ kind: 'any' }];
      case 'address':
        return readRange(host.address, host.address);
      case 'range':
        return readRange(host.range.from, host.range.to);
      case 'dns-name':
        return [{ kind: 'name', name: host.name }];
    }
  });
  hostsRead.set(entry, hosts);
  return hosts;
}

function readRange(from: string, to: string): readonly ReadHost[] {
  const first = tryParseIpAddress(from);
  const last = tryParseIpAddress(to);
  if (first === null || last === null || first.family !== last.family) return [];
  return [{ kind: 'range', family: first.family, first: first.value, last: last.value }];
}

/** What a peer says of itself in IKE_AUTH. */
export interface PeerClaim {
  readonly identity: Identity;
  /** Whom it wants to speak to; null: it does not say. */
  readonly wanted: Identity | null;
  /** AUTH method number (RFC 7296 section 3.8). */
  readonly authMethod: number;
  /** The IKE proposal that was agreed on before it was known who it is. */
  readonly proposal: Proposal;
}

export type PeerChoice =
  | { readonly ok: true; readonly entry: PadEntry }
  | {
      readonly ok: false;
      readonly closest: PadEntry | null;
      readonly differences: readonly Difference[];
    };

/** The first entry that fits in all, or the one that fits best. */
export function choosePeer(candidates: readonly PadEntry[], claim: PeerClaim): PeerChoice {
  let closest: { readonly entry: PadEntry; readonly differences: readonly Difference[] } | null =
    null;
  for (const entry of candidates) {
    const differences = claimDifferences(entry, claim);
    if (differences.length === 0) return { ok: true, entry };
    // An entry for that very identity is closer than one that shares the rest.
    const weight = (list: readonly Difference[]): number =>
      list.reduce((sum, { field }) => sum + (field === 'remote.id' ? 10 : 1), 0);
    if (closest === null || weight(differences) < weight(closest.differences)) {
      closest = { entry, differences };
    }
  }
  return { ok: false, closest: closest?.entry ?? null, differences: closest?.differences ?? [] };
}

function claimDifferences(entry: PadEntry, claim: PeerClaim): readonly Difference[] {
  const differences: Difference[] = [];
  if (!matchesIdentity(entry.remoteIdentity, claim.identity)) {
    differences.push({
      field: 'remote.id',
      ours: formatIdentityPattern(entry.remoteIdentity),
      theirs: formatIdentity(claim.identity),
    });
  }
  // RFC 7296 section 2.15: IDr says which of our identities is meant.
  const own = { kind: 'exact', identity: entry.localIdentity } as const;
  if (claim.wanted !== null && !matchesIdentity(own, claim.wanted)) {
    differences.push({
      field: 'local.id',
      ours: formatIdentity(entry.localIdentity),
      theirs: formatIdentity(claim.wanted),
    });
  }
  const method = claim.authMethod === 2 ? 'psk' : 'signature';
  const accepted = entry.remoteAuthentication.method === 'psk' ? 'psk' : 'signature';
  if (method !== accepted) {
    differences.push({
      field: 'remote.auth',
      ours: entry.remoteAuthentication.method,
      theirs: authMethodName(claim.authMethod),
    });
  }
  const isOffered = chooseProposal(
    entry.proposals,
    toWireProposals([claim.proposal], new Uint8Array(0)),
    { preferKeyExchange: null, ignoreKeyExchange: false },
  );
  if (isOffered === null) {
    differences.push({
      field: 'proposals',
      ours: entry.proposals.map(formatProposal).join(', '),
      theirs: formatProposal(claim.proposal),
    });
  }
  return differences;
}

/** AUTH methods by the words of the file (RFC 7296 section 3.8 and the IANA registry). */
export function authMethodName(method: number): string {
  switch (method) {
    case 1:
      return 'RSA signature (method 1)';
    case 2:
      return 'psk';
    case 9:
    case 10:
    case 11:
      return `ECDSA signature (method ${method})`;
    case 13:
      return 'none (NULL authentication)';
    case 14:
      return 'digital signature (method 14)';
    default:
      return `method ${method}`;
  }
}
