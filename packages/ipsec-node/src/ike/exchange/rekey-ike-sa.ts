/**
 * CREATE_CHILD_SA that rekeys the IKE SA (RFC 7296 sections 1.3.2, 2.8.2, 2.18).
 *
 * ```text
 *   HDR, SK {SA, Ni, KEi}  -->
 *                          <--  HDR, SK {SA, Nr, KEr}
 *   HDR, SK {D}            -->                          on the old IKE SA
 *                          <--  HDR, SK {}
 * ```
 *
 * The children move to the new IKE SA. Where both rekey at the same moment, the new IKE SA whose
 * exchange has the lowest of the four nonces goes, deleted by who asked for it.
 */
import { transformsOf, type Proposal } from '../../sad/proposal.js';
import { formatTransform, KEM_IDS } from '../../sad/transform.js';
import { ikeSpiBytes, ikeSpiOf } from '../bytes.js';
import { deriveRekeyedIkeKeys, ikeSuiteOf } from '../crypto/key-schedule.js';
import { IkeSa } from '../ike-sa.js';
import { formatNotify, NOTIFY } from '../notify.js';
import type { Payload } from '../payload/payload.js';
import { checkAnswer, chooseProposal, toWireAnswer, toWireProposals } from '../proposal.js';
import {
  expectFollowups,
  followUp,
  ownIsLowest,
  TemporaryFailure,
  refusalNotify,
} from './create-child-sa.js';
import { tellRefused } from './child-negotiation.js';
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

/** Whether a CREATE_CHILD_SA request is about the IKE SA. */
export function rekeysIkeSa(payloads: readonly Payload[]): boolean {
  return findPayload(payloads, 'sa')?.proposals.some(({ protocolId }) => protocolId === 1) ?? false;
}

/**
 * The initiator's side. Returns the IKE SA that is to be deleted: the old one, or ours where the
 * peer's rekey at the same moment is the one that stays.
 */
export function* rekeyIkeSa(sa: IkeSa): Exchange<IkeSa> {
  const { host, peer, proposal } = sa;
  if (peer === null || proposal === null || sa.suite === null || sa.keys === null) {
    throw new ExchangeRefused('the IKE SA is not established', null);
  }
  const ownSpi = host.allocateIkeSpi();
  let method = transformsOf(proposal, 'key-exchange')[0]?.id ?? 0;
  let ni = host.random(NONCE_LEN);
  try {
    for (let attempt = 1; ; attempt += 1) {
      sa.ownRekey = { nonces: [ni], successor: null };
      const pair = yield* compute({ kind: 'generate', method });
      const { payloads: answer } = yield* request('CREATE_CHILD_SA', [
        { type: 'sa', proposals: toWireProposals(peer.proposals, ikeSpiBytes(ownSpi)) },
        { type: 'nonce', data: ni },
        { type: 'ke', method, data: pair.publicValue },
      ]);
      const error = findError(answer);
      const wanted = error === null ? null : numberOf(error.data);
      if (error !== null && findPayload(answer, 'sa') === null) {
        const isOffered = offers(peer.proposals, wanted);
        if (
          error.notify === NOTIFY.INVALID_KE_PAYLOAD &&
          wanted !== null &&
          wanted !== method &&
          isOffered &&
          attempt <= host.limits.initRetryMax
        ) {
          method = wanted;
          ni = host.random(NONCE_LEN);
          continue;
        }
        const reason = `the peer answered ${formatNotify(error.notify)}`;
        if (error.notify === NOTIFY.TEMPORARY_FAILURE) throw new TemporaryFailure(reason, null);
        tellRefused(sa, null, 'peer', error.notify, 'the peer refused to rekey the IKE SA', []);
        throw new ExchangeRefused(reason, null);
      }
      const payload = findPayload(answer, 'sa');
      const checked = checkAnswer(peer.proposals, payload?.proposals ?? [], {
        preferKeyExchange: method,
        ignoreKeyExchange: false,
      });
      if (!checked.ok) throw new ExchangeRefused(checked.reason, null, { fatal: true });
      const ke = findPayload(answer, 'ke');
      const nr = findPayload(answer, 'nonce');
      const theirSpi = ikeSpiOf(checked.chosen.spi);
      if (ke === null || nr === null || ke.method !== method || !theirSpi) {
        throw new ExchangeRefused('the answer lacks a payload', null, { fatal: true });
      }
      const agreed = yield* tryCompute<'agree'>({
        kind: 'agree',
        method,
        privateValue: pair.privateValue,
        peerValue: ke.data,
      });
      if (agreed.kind === 'refused')
        throw new ExchangeRefused(agreed.reason, null, { fatal: true });
      const { proposal: chosen } = checked.chosen;
      const link = findNotify(answer, NOTIFY.ADDITIONAL_KEY_EXCHANGE);
      const more = yield* followUp(additionalMethods(chosen), link);
      const spis = { initiator: ownSpi, responder: theirSpi };
      const secrets = [agreed.secret, ...more];
      const successor = makeSuccessor(sa, true, spis, chosen, { ni, nr: nr.data, secrets });
      sa.ownRekey = { nonces: [ni, nr.data], successor };
      return settle(sa, successor);
    }
  } catch (error) {
    sa.ownRekey = null;
    // The peer's rekey at the same moment stands alone then.
    yieldToPeer(sa);
    throw error;
  }
}

/** The responder's side. */
export function* respondRekeyIkeSa(sa: IkeSa, payloads: readonly Payload[]): Exchange<Reply> {
  const { host, peer } = sa;
  const offered = findPayload(payloads, 'sa');
  const ke = findPayload(payloads, 'ke');
  const ni = findPayload(payloads, 'nonce');
  if (peer === null || offered === null || ke === null || ni === null) {
    throw new ExchangeRefused('CREATE_CHILD_SA lacks a payload', NOTIFY.INVALID_SYNTAX);
  }
  if (sa.peerRekey !== null) {
    throw new ExchangeRefused('the IKE SA is being rekeyed', NOTIFY.TEMPORARY_FAILURE);
  }
  const chosen = chooseProposal(peer.proposals, offered.proposals, {
    preferKeyExchange: ke.method,
    ignoreKeyExchange: false,
  });
  const theirSpi = chosen === null ? null : ikeSpiOf(chosen.spi);
  if (chosen === null || !theirSpi) {
    tellRefused(sa, null, 'us', NOTIFY.NO_PROPOSAL_CHOSEN, 'no proposal for the new IKE SA', []);
    throw new ExchangeRefused('no proposal fits', NOTIFY.NO_PROPOSAL_CHOSEN);
  }
  const method = transformsOf(chosen.proposal, 'key-exchange')[0]?.id ?? 0;
  if (method !== ke.method) {
    throw new ExchangeRefused(
      `${formatTransform({ type: 'key-exchange', id: method, keyBits: null })} is wanted`,
      NOTIFY.INVALID_KE_PAYLOAD,
      { data: twoBytes(method) },
    );
  }
  const answered = yield* tryCompute<'respond'>({ kind: 'respond', method, peerValue: ke.data });
  if (answered.kind === 'refused') {
    throw new ExchangeRefused(answered.reason, refusalNotify(answered));
  }
  const nr = host.random(NONCE_LEN);
  const ownSpi = host.allocateIkeSpi();
  const secrets = [answered.secret];
  const answer: Payload[] = [
    { type: 'sa', proposals: [toWireAnswer(chosen, ikeSpiBytes(ownSpi))] },
    { type: 'nonce', data: nr },
    { type: 'ke', method, data: answered.publicValue },
  ];
  const spis = { initiator: theirSpi, responder: ownSpi };
  function* complete(): Exchange<() => void> {
    const successor = makeSuccessor(
      sa,
      false,
      spis,
      chosen?.proposal ?? { protocol: 'ike', transforms: [] },
      {
        ni: ni?.data ?? new Uint8Array(0),
        nr,
        secrets,
      },
    );
    sa.peerRekey = { nonces: [ni?.data ?? new Uint8Array(0), nr], successor };
    return () => {
      // Ours is under way too: its answer decides (RFC 7296 section 2.8.2).
      if (sa.ownRekey === null && sa.phase === 'established') successor.takeOver(sa);
    };
  }
  const additional = additionalMethods(chosen.proposal);
  if (additional.length === 0) return { payloads: answer, after: yield* complete() };
  const link = expectFollowups(sa, additional, secrets, complete, () => undefined);
  return { payloads: [...answer, link] };
}

/**
 * The peer closes the old IKE SA while our own rekey of it is not answered: its rekey stands, ours
 * is forgotten (RFC 7296 section 2.25.2).
 */
export function yieldToPeer(sa: IkeSa): void {
  const theirs = sa.peerRekey?.successor;
  if (theirs?.predecessor === sa && theirs.isOpen) theirs.takeOver(sa);
}

function settle(sa: IkeSa, successor: IkeSa): IkeSa {
  const theirs = sa.peerRekey;
  const own = sa.ownRekey;
  // The peer may have deleted the one that it made: it saw both rekeys first.
  if (theirs?.successor?.predecessor !== sa || !theirs.successor.isOpen || own === null) {
    successor.takeOver(sa);
    return sa;
  }
  if (ownIsLowest(own.nonces, theirs.nonces)) {
    theirs.successor.takeOver(sa);
    successor.stepAside();
    return successor;
  }
  theirs.successor.stepAside();
  successor.takeOver(sa);
  return sa;
}

function makeSuccessor(
  sa: IkeSa,
  isInitiator: boolean,
  spis: { readonly initiator: bigint; readonly responder: bigint },
  proposal: Proposal,
  material: {
    readonly ni: Uint8Array;
    readonly nr: Uint8Array;
    readonly secrets: readonly Uint8Array[];
  },
): IkeSa {
  const suite = ikeSuiteOf(proposal);
  if (suite === null || sa.suite === null || sa.keys === null) {
    throw new ExchangeRefused('the new IKE SA cannot be built', NOTIFY.NO_PROPOSAL_CHOSEN);
  }
  const successor = new IkeSa(sa.host, isInitiator, spis, sa.endpoint);
  const keys = deriveRekeyedIkeKeys(sa.suite.prf, sa.keys.skD, suite, {
    ni: material.ni,
    nr: material.nr,
    spiInitiator: spis.initiator,
    spiResponder: spis.responder,
    secrets: material.secrets,
  });
  for (const secret of material.secrets) secret.fill(0);
  successor.inheritFrom(sa);
  successor.proposal = proposal;
  successor.useKeys(suite, keys);
  successor.phase = 'established';
  successor.predecessor = sa;
  sa.host.adopt(successor);
  return successor;
}

function offers(proposals: readonly Proposal[], method: number | null): boolean {
  return (
    method !== null &&
    !KEM_IDS.has(method) &&
    proposals.some((proposal) =>
      transformsOf(proposal, 'key-exchange').some(({ id }) => id === method),
    )
  );
}
