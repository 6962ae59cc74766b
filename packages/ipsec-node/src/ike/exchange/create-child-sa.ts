/**
 * CREATE_CHILD_SA for Child SAs (RFC 7296 sections 1.3.1, 1.3.3, 2.8), and the IKE_FOLLOWUP_KE
 * exchanges of its additional key exchanges (RFC 9370 section 2.2.4).
 *
 * ```text
 *   HDR, SK {[N(REKEY_SA),] SA, Ni, [KEi,] TSi, TSr}  -->
 *                                <--  HDR, SK {SA, Nr, [KEr,] TSi, TSr, [N(ADDITIONAL_KEY_EXCHANGE)]}
 *   HDR, SK {KEi(1), N(ADDITIONAL_KEY_EXCHANGE)}      -->              once for each
 *                                <--  HDR, SK {KEr(1), [N(ADDITIONAL_KEY_EXCHANGE)]}
 *   HDR, SK {D}                                       -->              after a rekey: the old one
 *                                <--  HDR, SK {D}
 * ```
 *
 * Where both rekey at the same moment, there are two new children for a while. The one whose exchange
 * has the lowest of the four nonces goes, deleted by who asked for it (RFC 7296 section 2.8.1).
 */
import type { ChildTerms } from '../../pad/child-terms.js';
import { formatTransform } from '../../sad/transform.js';
import { compareBytes, isSameBytes, spiBytes, spiOf } from '../bytes.js';
import type { ChildAgreement, ChildSa } from '../child-sa.js';
import type { IkeSa } from '../ike-sa.js';
import type { Followup } from '../ike-host.js';
import { notifyPayload } from '../names.js';
import { formatNotify, NOTIFY } from '../notify.js';
import type { NotifyPayload, Payload } from '../payload/payload.js';
import { disownChild, installChild } from './child-life.js';
import {
  chooseChild,
  type ChildOffer,
  type ChildRequest,
  keyExchangeOf,
  keyExchangesOf,
  offerChild,
  readChildAnswer,
  readChildAsked,
} from './child-negotiation.js';
import { findError, findNotify, findPayload, numberOf, twoBytes } from './find.js';
import { additionalMethods } from './ike-sa-init.js';
import {
  compute,
  ExchangeRefused,
  type Exchange,
  type Reply,
  request,
  tryCompute,
} from './step.js';

const NONCE_LEN = 32;
const LINK_LEN = 16;
const ESP = 3;

/** The peer cannot just now (RFC 7296 section 2.25): the same again, later. */
export class TemporaryFailure extends ExchangeRefused {}

/** The peer knows nothing of the child that was to be rekeyed. */
export class ChildUnknown extends ExchangeRefused {}

/** The initiator's side. `replaces` is the child that is rekeyed. */
export function* createChild(
  sa: IkeSa,
  asked: ChildRequest,
  replaces: ChildSa | null,
): Exchange<ChildSa> {
  const methods = keyExchangesOf(asked.terms);
  let method = methods[0] ?? null;
  let ni = sa.host.random(NONCE_LEN);
  if (replaces !== null) {
    replaces.state = 'rekeying';
    replaces.ownRekey = { nonces: [ni], successor: null };
  }
  let offer: ChildOffer | null = null;
  /** Whether the peer has a child by now. */
  let isAnswered = false;
  try {
    for (let attempt = 1; ; attempt += 1) {
      const pair = method === null ? null : yield* compute({ kind: 'generate', method });
      offer = offerChild(sa, asked, method);
      const { payloads: answer } = yield* request('CREATE_CHILD_SA', [
        ...(replaces === null ? [] : [rekeyNotify(replaces.inboundSpi)]),
        ...offer.payloads.filter(({ type }) => type === 'notify'),
        ...offer.payloads.filter(({ type }) => type === 'sa'),
        { type: 'nonce', data: ni },
        ...(pair === null || method === null
          ? []
          : [{ type: 'ke', method, data: pair.publicValue } as const]),
        ...offer.payloads.filter(({ type }) => type !== 'notify' && type !== 'sa'),
      ]);
      const error = findError(answer);
      if (error !== null && findPayload(answer, 'sa') === null) {
        if (error.notify === NOTIFY.INVALID_KE_PAYLOAD && attempt <= sa.host.limits.initRetryMax) {
          const wanted = numberOf(error.data);
          if (wanted !== null && wanted !== method && methods.includes(wanted)) {
            method = wanted;
            sa.host.releaseSpi(offer.spi);
            offer = null;
            ni = sa.host.random(NONCE_LEN);
            if (replaces !== null) replaces.ownRekey = { nonces: [ni], successor: null };
            continue;
          }
        }
        throwRefusal(sa, offer, answer, error);
      }
      isAnswered = mayHaveChild(answer);
      const agreement = readChildAnswer(sa, offer, answer);
      const nr = findPayload(answer, 'nonce');
      const ke = findPayload(answer, 'ke');
      // What is wrong with the child is the child's alone: it is deleted (RFC 7296 section 2.21).
      if (nr === null) throw new ExchangeRefused('its answer has no nonce', null);
      const secrets: Uint8Array[] = [];
      const agreedMethod = keyExchangeOf(agreement.proposal);
      if (agreedMethod !== null) {
        if (pair === null || ke === null || agreedMethod !== method || ke.method !== method) {
          throw new ExchangeRefused('its key exchange is not the one agreed on', null);
        }
        const agreed = yield* tryCompute<'agree'>({
          kind: 'agree',
          method,
          privateValue: pair.privateValue,
          peerValue: ke.data,
        });
        // RFC 6989 section 2.5: of a bad public value the IKE SA is to be deleted.
        if (agreed.kind === 'refused') {
          throw new ExchangeRefused(agreed.reason, null, { fatal: true });
        }
        secrets.push(agreed.secret);
      }
      const link = findNotify(answer, NOTIFY.ADDITIONAL_KEY_EXCHANGE);
      secrets.push(...(yield* followUp(additionalMethods(agreement.proposal), link)));
      if (replaces !== null) {
        replaces.ownRekey = { nonces: [ni, nr.data], successor: null };
      }
      const child = yield* installChild(
        sa,
        agreement,
        { ni, nr: nr.data, secrets, areWeInitiator: true },
        'now',
      );
      child.predecessor = replaces;
      if (replaces !== null) {
        replaces.ownRekey = { nonces: [ni, nr.data], successor: child };
      }
      offer = null;
      return child;
    }
  } catch (error) {
    if (replaces !== null && replaces.ownRekey?.successor === null) {
      replaces.ownRekey = null;
      if (replaces.state === 'rekeying') replaces.state = 'installed';
      if (replaces.isDeletedByPeer) replaces.tellDown('peer', 'the peer deleted it');
    }
    throw error;
  } finally {
    // Also where this is abandoned: what has not become a child gives its SPI back.
    if (offer !== null && isAnswered) disownChild(sa, offer.spi);
    else if (offer !== null) sa.host.releaseSpi(offer.spi);
  }
}

/** Whether who answered so has a child by now: it made one, or did not say that it made none. */
export function mayHaveChild(answer: readonly Payload[]): boolean {
  return findPayload(answer, 'sa') !== null || findError(answer) === null;
}

/** What a peer is told whose key exchange was not computed: its value is bad, or we are busy. */
export function refusalNotify(refused: { readonly isBusy?: boolean }): number {
  return refused.isBusy === true ? NOTIFY.TEMPORARY_FAILURE : NOTIFY.INVALID_SYNTAX;
}

/** What is asked for when a child is rekeyed: the same again (RFC 7296 section 2.9.2). */
export function rekeyRequest(child: ChildSa): ChildRequest {
  const { terms, agreement } = child;
  return {
    terms,
    selector: agreement.selector,
    packet: null,
    agreed: { local: agreement.local, remote: agreement.remote },
  };
}

/**
 * After a rekey of ours: which of the children is to be deleted by us. The old one, unless the peer
 * rekeyed it too and our new one is the redundant one.
 */
export function redundantAfterRekey(old: ChildSa): ChildSa | null {
  const own = old.ownRekey;
  if (own === null || own.successor === null) return null;
  const theirs = old.peerRekey;
  if (theirs === null || theirs.successor === null) return old;
  if (ownIsLowest(own.nonces, theirs.nonces)) {
    own.successor.isRedundant = true;
    return own.successor;
  }
  theirs.successor.isRedundant = true;
  return old;
}

/** Whether the lowest of all nonces is one of ours: then ours is the one that goes. */
export function ownIsLowest(own: readonly Uint8Array[], theirs: readonly Uint8Array[]): boolean {
  const lowest = (nonces: readonly Uint8Array[]): Uint8Array =>
    nonces.reduce((least, nonce) => (compareBytes(nonce, least) < 0 ? nonce : least));
  return compareBytes(lowest(own), lowest(theirs)) < 0;
}

/** The responder's side, of new children and of rekeys. */
export function* respondCreateChild(sa: IkeSa, payloads: readonly Payload[]): Exchange<Reply> {
  const { host, peer } = sa;
  const asked = readChildAsked(payloads);
  const ni = findPayload(payloads, 'nonce');
  if (asked === null || ni === null || peer === null) {
    throw new ExchangeRefused('CREATE_CHILD_SA lacks a payload', NOTIFY.INVALID_SYNTAX);
  }
  const replaces = replacedChild(sa, payloads);
  const live = sa.children.filter(({ state }) => state !== 'rekeyed');
  if (replaces === null && live.length >= host.limits.childMax) {
    throw new ExchangeRefused('there are too many children', NOTIFY.NO_ADDITIONAL_SAS);
  }
  const ke = findPayload(payloads, 'ke');
  const terms: readonly ChildTerms[] = replaces === null ? peer.children : [replaces.terms];
  const chosen = chooseChild(sa, terms, asked, {
    preferKeyExchange: ke?.method ?? null,
    ignoreKeyExchange: false,
  });
  const { agreement } = chosen;
  const method = keyExchangeOf(agreement.proposal);
  const nr = host.random(NONCE_LEN);
  let isKept = false;
  try {
    const secrets: Uint8Array[] = [];
    const answer: Payload[] = [];
    if (method !== null) {
      if (ke === null || ke.method !== method) {
        throw new ExchangeRefused(
          `${formatTransform({ type: 'key-exchange', id: method, keyBits: null })} is wanted`,
          NOTIFY.INVALID_KE_PAYLOAD,
          { data: twoBytes(method) },
        );
      }
      const answered = yield* tryCompute<'respond'>({
        kind: 'respond',
        method,
        peerValue: ke.data,
      });
      if (answered.kind === 'refused') {
        throw new ExchangeRefused(answered.reason, refusalNotify(answered));
      }
      secrets.push(answered.secret);
      answer.push({ type: 'ke', method, data: answered.publicValue });
    }
    const reply = [
      ...chosen.payloads.filter(({ type }) => type === 'notify' || type === 'sa'),
      { type: 'nonce', data: nr } as const,
      ...answer,
      ...chosen.payloads.filter(({ type }) => type !== 'notify' && type !== 'sa'),
    ];
    const complete = (): Exchange<() => void> =>
      completeResponder(sa, agreement, { ni: ni.data, nr, secrets }, replaces);
    const additional = additionalMethods(agreement.proposal);
    if (additional.length === 0) {
      const after = yield* complete();
      isKept = true;
      return { payloads: reply, after };
    }
    const link = expectFollowups(sa, additional, secrets, complete, () =>
      host.releaseSpi(agreement.inboundSpi),
    );
    isKept = true;
    return { payloads: [...reply, link] };
  } finally {
    if (!isKept) host.releaseSpi(agreement.inboundSpi);
  }
}

function* completeResponder(
  sa: IkeSa,
  agreement: ChildAgreement,
  material: {
    readonly ni: Uint8Array;
    readonly nr: Uint8Array;
    readonly secrets: readonly Uint8Array[];
  },
  replaces: ChildSa | null,
): Exchange<() => void> {
  // RFC 7296 section 2.8: who answers a rekey sends by the old SA until the new one is in use.
  const child = yield* installChild(
    sa,
    agreement,
    { ...material, areWeInitiator: false },
    replaces === null ? 'now' : 'held',
  );
  child.predecessor = replaces;
  if (replaces !== null) {
    replaces.peerRekey = { nonces: [material.ni, material.nr], successor: child };
  }
  return () => sa.host.childUp(child, replaces);
}

/** The child that a request rekeys; null: it asks for a new one. */
function replacedChild(sa: IkeSa, payloads: readonly Payload[]): ChildSa | null {
  const rekey = findNotify(payloads, NOTIFY.REKEY_SA);
  if (rekey === null) return null;
  // RFC 7296 section 1.3.3: the SPI is the one that the initiator receives by.
  const spi = rekey.protocolId === ESP ? spiOf(rekey.spi) : null;
  const child = sa.children.find(({ outboundSpi }) => outboundSpi === spi);
  if (child === undefined) {
    // RFC 7296 section 2.25: the SPI is that of the request.
    const { protocolId, spi: named } = rekey;
    throw new ExchangeRefused('the child to be rekeyed is not known', NOTIFY.CHILD_SA_NOT_FOUND, {
      about: { protocolId, spi: named },
    });
  }
  // RFC 7296 section 2.25.1: one that is on its way out is not rekeyed.
  if (child.state === 'deleting' || child.state === 'rekeyed' || child.peerRekey !== null) {
    throw new ExchangeRefused('the child is being closed', NOTIFY.TEMPORARY_FAILURE);
  }
  if (sa.host.now - child.establishedAt < sa.host.limits.rekeyIntervalMs && !child.isOurs) {
    throw new ExchangeRefused('the child was made a moment ago', NOTIFY.TEMPORARY_FAILURE);
  }
  return child;
}

/** The additional key exchanges, as initiator. */
export function* followUp(
  methods: readonly number[],
  first: NotifyPayload | null,
): Exchange<readonly Uint8Array[]> {
  const secrets: Uint8Array[] = [];
  let link = first;
  for (const method of methods) {
    if (link === null) {
      throw new ExchangeRefused('the peer does not go on with the additional key exchanges', null, {
        fatal: true,
      });
    }
    const pair = yield* compute({ kind: 'generate', method });
    const { payloads } = yield* request('IKE_FOLLOWUP_KE', [
      { type: 'ke', method, data: pair.publicValue },
      notifyPayload(NOTIFY.ADDITIONAL_KEY_EXCHANGE, link.data),
    ]);
    const ke = findPayload(payloads, 'ke');
    if (ke === null || ke.method !== method) {
      const error = findError(payloads);
      throw new ExchangeRefused(
        `IKE_FOLLOWUP_KE was answered with ${error === null ? 'no key exchange' : formatNotify(error.notify)}`,
        null,
      );
    }
    const agreed = yield* tryCompute<'agree'>({
      kind: 'agree',
      method,
      privateValue: pair.privateValue,
      peerValue: ke.data,
    });
    if (agreed.kind === 'refused') throw new ExchangeRefused(agreed.reason, null, { fatal: true });
    secrets.push(agreed.secret);
    link = findNotify(payloads, NOTIFY.ADDITIONAL_KEY_EXCHANGE);
  }
  return secrets;
}

/** How long a CREATE_CHILD_SA waits for the next of its key exchanges. */
const FOLLOWUP_MS = 60_000;

/**
 * Expects the additional key exchanges, as responder. Returns the notification that names them;
 * `complete` runs once all secrets are there, `abandon` where they never come.
 */
export function expectFollowups(
  sa: IkeSa,
  methods: readonly number[],
  secrets: Uint8Array[],
  complete: () => Exchange<() => void>,
  abandon: () => void,
): Payload {
  const link = sa.host.random(LINK_LEN);
  const [method, ...rest] = methods;
  const drop = (): void => {
    if (sa.followup?.link !== link) return;
    sa.followup = null;
    for (const secret of secrets) secret.fill(0);
    abandon();
  };
  sa.setTimer('followup', FOLLOWUP_MS, drop);
  sa.followup = {
    link,
    abandon: drop,
    *next(payloads) {
      const ke = findPayload(payloads, 'ke');
      if (ke === null || method === undefined || ke.method !== method) {
        drop();
        throw new ExchangeRefused(
          'the key exchange is not the one agreed on',
          NOTIFY.INVALID_SYNTAX,
        );
      }
      const answered = yield* tryCompute<'respond'>({
        kind: 'respond',
        method,
        peerValue: ke.data,
      });
      if (answered.kind === 'refused') {
        drop();
        throw new ExchangeRefused(answered.reason, refusalNotify(answered));
      }
      secrets.push(answered.secret);
      const answer = { type: 'ke', method, data: answered.publicValue } as const;
      if (rest.length > 0) {
        const next = expectFollowups(sa, rest, secrets, complete, abandon);
        return { payloads: [answer, next] };
      }
      sa.followup = null;
      sa.cancelTimer('followup');
      return { payloads: [answer], after: yield* complete() };
    },
  } satisfies Followup;
  return notifyPayload(NOTIFY.ADDITIONAL_KEY_EXCHANGE, link);
}

/** The next additional key exchange, as responder. */
export function* respondFollowup(sa: IkeSa, payloads: readonly Payload[]): Exchange<Reply> {
  const link = findNotify(payloads, NOTIFY.ADDITIONAL_KEY_EXCHANGE);
  const { followup } = sa;
  if (followup === null || link === null || !isSameBytes(followup.link, link.data)) {
    throw new ExchangeRefused('nothing waits for this key exchange', NOTIFY.STATE_NOT_FOUND);
  }
  return yield* followup.next(payloads);
}

function throwRefusal(
  sa: IkeSa,
  offer: ChildOffer,
  answer: readonly Payload[],
  error: NotifyPayload,
): never {
  const reason = `the peer answered ${formatNotify(error.notify)}`;
  switch (error.notify) {
    case NOTIFY.TEMPORARY_FAILURE:
      throw new TemporaryFailure(reason, null);
    case NOTIFY.CHILD_SA_NOT_FOUND:
      throw new ChildUnknown(reason, null);
    default:
      // It says why, and throws.
      readChildAnswer(sa, offer, answer);
      throw new ExchangeRefused(reason, null);
  }
}

function rekeyNotify(spi: number): Payload {
  return {
    type: 'notify',
    protocolId: ESP,
    spi: spiBytes(spi),
    notify: NOTIFY.REKEY_SA,
    data: new Uint8Array(0),
  };
}
