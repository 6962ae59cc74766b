/**
 * INFORMATIONAL (RFC 7296 section 1.4): deletes, whether the peer lives, and where it is (RFC 4555).
 *
 * ```text
 *   HDR, SK {[N,] [D,] ...}  -->
 *                            <--  HDR, SK {[N,] [D,] ...}
 * ```
 */
import { spiOf } from '../bytes.js';
import type { ChildSa } from '../child-sa.js';
import type { IkeSaEnd } from '../ike-host.js';
import type { IkeSa } from '../ike-sa.js';
import { DELETE_IKE_SA, notifyPayload } from '../names.js';
import { formatNotify, NOTIFY } from '../notify.js';
import type { Payload } from '../payload/payload.js';
import { deletePayload } from './child-life.js';
import { additionalAddresses } from './ike-auth.js';
import { natPayloads, noteNat } from './ike-sa-init.js';
import { allPayloads, findError, findNotify } from './find.js';
import { yieldToPeer } from './rekey-ike-sa.js';
import { ExchangeRefused, type Exchange, type Reply, request } from './step.js';

/** Any of them replaces what was known of the peer's addresses (RFC 4555 section 3.6). */
const ADDRESS_LISTS = [
  NOTIFY.ADDITIONAL_IP4_ADDRESS,
  NOTIFY.ADDITIONAL_IP6_ADDRESS,
  NOTIFY.NO_ADDITIONAL_ADDRESSES,
] as const;
const IKE = 1;
const ESP = 3;
/** RFC 7296 section 2.21.2: these alone end an IKE SA without a Delete. */
const ENDS_IKE_SA: ReadonlySet<number> = new Set([
  NOTIFY.AUTHENTICATION_FAILED,
  NOTIFY.INVALID_SYNTAX,
  NOTIFY.UNSUPPORTED_CRITICAL_PAYLOAD,
]);

/** Why a child is deleted. `replaced`: another has taken its place, and what is on its way is received. */
export interface DeleteReason {
  readonly replaced: boolean;
  readonly end: IkeSaEnd;
  readonly reason: string;
}

export function* deleteChild(child: ChildSa, why: DeleteReason): Exchange<void> {
  const wasReplaced = why.replaced || child.state === 'rekeyed';
  child.state = 'deleting';
  yield* request('INFORMATIONAL', [deletePayload([child.inboundSpi])]);
  if (wasReplaced) child.retire();
  else child.end(why.end, why.reason, child.isRedundant);
}

/** Deletes the IKE SA with all its children (RFC 7296 section 1.4.1). */
export function* deleteIkeSa(sa: IkeSa, end: 'ours' | 'dead', reason: string): Exchange<void> {
  if (sa.phase !== 'rekeyed') sa.phase = 'deleting';
  sa.deletedAs = end;
  yield* request('INFORMATIONAL', [DELETE_IKE_SA]);
  sa.close(end, reason);
}

/** Asks whether the peer lives (RFC 7296 section 2.4). An answer is all that counts. */
export function* probe(): Exchange<void> {
  yield* request('INFORMATIONAL', []);
}

/**
 * Tells the peer where we are (RFC 4555 section 3.5). The endpoint of the IKE SA is the new one
 * already; the children follow once the peer has said yes.
 */
export function* updateAddresses(sa: IkeSa): Exchange<void> {
  const forced = sa.peer?.encapsulation === 'forced';
  const { payloads } = yield* request('INFORMATIONAL', [
    notifyPayload(NOTIFY.UPDATE_SA_ADDRESSES),
    ...natPayloads(sa, forced),
  ]);
  if (findNotify(payloads, NOTIFY.UNACCEPTABLE_ADDRESSES) !== null) {
    throw new ExchangeRefused('the peer does not take the new address', null, { fatal: true });
  }
  noteNat(sa, payloads, forced);
  moveChildren(sa);
}

/**
 * As MOBIKE's responder: that we are elsewhere, which the peer is to follow (RFC 4555 section 3.6). Where
 * we are it sees by where this comes from; we name no other addresses.
 */
export function* tellAddresses(): Exchange<void> {
  yield* request('INFORMATIONAL', [notifyPayload(NOTIFY.NO_ADDITIONAL_ADDRESSES)]);
}

/** The SAs of all children follow the endpoint of their IKE SA. */
export function moveChildren(sa: IkeSa): void {
  const sas = sa.children.flatMap(({ installedSas }) => installedSas);
  if (sas.length > 0) sa.host.emit({ kind: 'update', sas, endpoint: sa.endpoint });
  sa.event({ ...sa.subject(), kind: 'peer-moved', endpoint: sa.endpoint });
}

/** The responder's side. */
export function respondInformational(sa: IkeSa, payloads: readonly Payload[]): Reply {
  const deletes = allPayloads(payloads, 'delete');
  if (deletes.some(({ protocolId }) => protocolId === IKE)) {
    // RFC 7296 section 1.4.1: the answer to the Delete of an IKE SA is empty.
    yieldToPeer(sa);
    return { payloads: [], after: () => sa.close('peer', 'the peer deleted it') };
  }
  const failed = findError(payloads);
  if (failed !== null && ENDS_IKE_SA.has(failed.notify)) {
    const reason = `the peer says ${formatNotify(failed.notify)}`;
    return { payloads: [], after: () => sa.close('dead', reason) };
  }
  const answer: Payload[] = [];
  const spis: number[] = [];
  for (const { protocolId, spis: named } of deletes) {
    if (protocolId !== ESP) continue;
    for (const bytes of named) {
      // RFC 7296 section 1.4.1: the SPI is the one that the sender receives by.
      const spi = spiOf(bytes);
      const child = sa.children.find(({ outboundSpi }) => outboundSpi === spi);
      // Section 2.25.1: both deleting the same child; each answers without it.
      if (child === undefined || child.state === 'deleting') continue;
      if (child.state === 'rekeyed') continue;
      spis.push(child.inboundSpi);
      leave(child);
    }
  }
  if (spis.length > 0) answer.push(deletePayload(spis));
  const hasList = ADDRESS_LISTS.some((list) => findNotify(payloads, list) !== null);
  if (hasList) sa.additionalAddresses = additionalAddresses(payloads);
  if (findNotify(payloads, NOTIFY.UPDATE_SA_ADDRESSES) !== null) {
    answer.push(...followInitiator(sa, payloads));
  }
  // RFC 4555 section 3.7: returned as it came.
  const cookie = findNotify(payloads, NOTIFY.COOKIE2);
  if (cookie !== null) answer.push(notifyPayload(NOTIFY.COOKIE2, cookie.data));
  return { payloads: answer, ...(hasList ? { after: () => followResponder(sa) } : {}) };
}

// The peer deletes a child: after a rekey it says that it is ready for the new one (RFC 7296 2.8).
function leave(child: ChildSa): void {
  const successor = child.peerRekey?.successor ?? child.ownRekey?.successor ?? null;
  if (successor !== null && !successor.isRedundant) {
    successor.switchOver();
    child.retire();
    return;
  }
  if (child.isRedundant || child.ownRekey !== null) {
    // Redundant after two rekeys at once; or ours is on its way and may find the old one gone.
    child.isDeletedByPeer = !child.isRedundant;
    child.retire();
    return;
  }
  child.end('peer', 'the peer deleted it', false);
}

// RFC 4555 section 3.5: the new address is where the request came from.
function followInitiator(sa: IkeSa, payloads: readonly Payload[]): readonly Payload[] {
  if (!sa.abilities.mobike || sa.beganFirst) return [];
  const forced = sa.peer?.encapsulation === 'forced';
  sa.endpoint = { ...sa.requestPath, encapsulation: sa.endpoint.encapsulation };
  noteNat(sa, payloads, forced);
  moveChildren(sa);
  return natPayloads(sa, forced);
}

// RFC 4555 section 3.5: a responder only says where it is. The initiator decides, and tells it.
function followResponder(sa: IkeSa): void {
  const { endpoint, requestPath } = sa;
  const isElsewhere =
    endpoint.remote !== requestPath.remote || endpoint.remotePort !== requestPath.remotePort;
  if (!sa.abilities.mobike || !sa.beganFirst || !isElsewhere) return;
  sa.endpoint = { ...requestPath, encapsulation: endpoint.encapsulation };
  // A request that is under way goes on to the new address.
  sa.retransmitNow();
  sa.enqueue('update addresses', updateAddresses);
}
