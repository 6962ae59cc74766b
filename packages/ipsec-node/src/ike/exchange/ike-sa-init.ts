/**
 * IKE_SA_INIT (RFC 7296 section 1.2), and the IKE_INTERMEDIATE exchanges that add key exchanges to
 * it (RFC 9242, RFC 9370).
 *
 * ```text
 *   HDR, SAi1, KEi, Ni, N*            -->
 *                                     <--  HDR, SAr1, KEr, Nr, [CERTREQ], N*
 *   HDR, SK {KEi(1)}                  -->                             once for each
 *                                     <--  HDR, SK {KEr(1)}           additional key exchange
 * ```
 */
import type { PadEntry } from '../../pad/pad-entry.js';
import { formatProposal, type Proposal, transformsOf } from '../../sad/proposal.js';
import {
  ADDITIONAL_KEY_EXCHANGES,
  formatTransform,
  KEM_IDS,
  KEY_EXCHANGE_NONE,
} from '../../sad/transform.js';
import { isSameBytes } from '../bytes.js';
import { deriveIkeKeys, deriveNextIkeKeys, ikeSuiteOf } from '../crypto/key-schedule.js';
import type { IkeSa } from '../ike-sa.js';
import { notifyPayload } from '../names.js';
import { natDetectionHash } from '../nat-detection.js';
import { formatNotify, NOTIFY } from '../notify.js';
import type { Payload } from '../payload/payload.js';
import { checkAnswer, proposalDifferences, toWireProposals } from '../proposal.js';
import { certificateRequests } from '../auth/certificate-payload.js';
import { SUPPORTED_HASHES } from '../auth/signature.js';
import { allPayloads, findError, findNotify, findPayload, numberOf, twoBytes } from './find.js';
import { compute, ExchangeRefused, type Exchange, request, tryCompute } from './step.js';
import type { Reply } from './step.js';

/** What AUTH is computed over (RFC 7296 section 2.15). */
export interface InitTranscript {
  readonly ni: Uint8Array;
  readonly nr: Uint8Array;
  readonly initiatorMessage: Uint8Array;
  readonly responderMessage: Uint8Array;
  /** CERTREQ payloads of the responder. */
  readonly certificateRequests: readonly Payload[];
}

const NONCE_LEN = 32;
/** Answers that ask for a cookie that was sent already. */
const ECHO_MAX = 32;
const NO_SPI = new Uint8Array(0);

/** The initiator's side. Ends with the keys of the IKE SA in place. */
export function* initiateInit(sa: IkeSa, peer: PadEntry): Exchange<InitTranscript> {
  const { host } = sa;
  const ni = host.random(NONCE_LEN);
  let method = firstMethod(peer.proposals);
  let pair = yield* compute({ kind: 'generate', method });
  let cookie: Uint8Array | null = null;
  let retries = 0;
  let echoes = 0;
  // RFC 7296 section 2.6: with the cookie all else is as it was, the random hash of a forced
  // encapsulation too: the answer to either is taken, and AUTH covers what was sent.
  const nat = natPayloads(sa, peer.encapsulation === 'forced');
  for (;;) {
    const payloads: Payload[] = [
      // RFC 7296 section 2.6: the cookie comes first, and the rest of the message is the same.
      ...(cookie === null ? [] : [notifyPayload(NOTIFY.COOKIE, cookie)]),
      { type: 'sa', proposals: toWireProposals(peer.proposals, NO_SPI) },
      { type: 'ke', method, data: pair.publicValue },
      { type: 'nonce', data: ni },
      ...nat,
      ...abilityPayloads(peer.fragmentation, usesIntermediate(peer), peer.ppk !== null),
    ];
    const response = yield* request('IKE_SA_INIT', payloads);
    const initiatorMessage = sa.sentRequest;
    const answer = response.payloads;
    const asked = findNotify(answer, NOTIFY.COOKIE);
    const wanted = findNotify(answer, NOTIFY.INVALID_KE_PAYLOAD);
    if ((asked !== null || wanted !== null) && findPayload(answer, 'sa') === null) {
      // RFC 7296 section 2.6: the network may have doubled what asked for the cookie that is used.
      const isEcho =
        wanted === null && cookie !== null && isSameBytes(cookie, asked?.data ?? cookie);
      if (isEcho) echoes += 1;
      else retries += 1;
      if (echoes > ECHO_MAX || retries > host.limits.initRetryMax * 2) {
        throw new ExchangeRefused('the peer asks for another first message again and again', null, {
          fatal: true,
        });
      }
      if (asked !== null) cookie = asked.data;
      if (wanted !== null) {
        method = otherMethod(peer, numberOf(wanted.data), method);
        pair = yield* compute({ kind: 'generate', method });
      }
      continue;
    }
    const error = findError(answer);
    if (error !== null && findPayload(answer, 'sa') === null) {
      throw refusedByPeer(sa, peer, error.notify);
    }
    const chosen = chosenByPeer(peer.proposals, answer, method);
    const ke = findPayload(answer, 'ke');
    const nr = findPayload(answer, 'nonce');
    const { spiResponder } = response.message.header;
    if (ke === null || nr === null || ke.method !== method || spiResponder === 0n) {
      throw new ExchangeRefused('the answer to IKE_SA_INIT lacks a payload', null, { fatal: true });
    }
    sa.spiResponder = spiResponder;
    noteAbilities(sa, answer);
    noteNat(sa, answer, peer.encapsulation === 'forced');
    const agreed = yield* tryCompute<'agree'>({
      kind: 'agree',
      method,
      privateValue: pair.privateValue,
      peerValue: ke.data,
    });
    if (agreed.kind === 'refused') {
      throw new ExchangeRefused(`the peer's key exchange: ${agreed.reason}`, null, { fatal: true });
    }
    sa.finishInit();
    useFirstKeys(sa, chosen, ni, nr.data, agreed.secret);
    float(sa);
    yield* initiateIntermediates(sa, ni, nr.data);
    return {
      ni,
      nr: nr.data,
      initiatorMessage,
      responderMessage: response.message.bytes,
      certificateRequests: allPayloads(answer, 'certificate-request'),
    };
  }
}

/** What the endpoint found out before it made an IKE SA as responder. */
export interface InitRequest {
  readonly message: Uint8Array;
  readonly payloads: readonly Payload[];
  readonly proposal: Proposal;
  /** The wire form of the choice: number and all. */
  readonly answer: Payload;
  /** PAD entries that the peer may be, in order. */
  readonly candidates: readonly PadEntry[];
  readonly ke: { readonly method: number; readonly data: Uint8Array };
  readonly ni: Uint8Array;
}

/** The responder's side. `done` is told once the response is on its way. */
export function* respondInit(
  sa: IkeSa,
  init: InitRequest,
  done: (transcript: InitTranscript) => void,
): Exchange<Reply> {
  const { candidates, ke, ni } = init;
  const nr = sa.host.random(NONCE_LEN);
  const forced = candidates.some(({ encapsulation }) => encapsulation === 'forced');
  noteAbilities(sa, init.payloads);
  const answered = yield* tryCompute<'respond'>({
    kind: 'respond',
    method: ke.method,
    peerValue: ke.data,
  });
  if (answered.kind === 'refused') {
    // RFC 6989 section 2.5: an invalid public value is not answered with a key of ours.
    throw new ExchangeRefused(
      `the peer's key exchange: ${answered.reason}`,
      answered.isBusy === true ? null : NOTIFY.INVALID_SYNTAX,
      {
        fatal: true,
      },
    );
  }
  const requests = certificateRequests(candidates);
  const payloads: Payload[] = [
    init.answer,
    { type: 'ke', method: ke.method, data: answered.publicValue },
    { type: 'nonce', data: nr },
    ...natPayloads(sa, forced),
    ...requests,
    ...abilityPayloads(
      sa.abilities.fragmentation && candidates.some(({ fragmentation }) => fragmentation),
      sa.abilities.intermediate,
      sa.abilities.ppk && candidates.some(({ ppk }) => ppk !== null),
      candidates.some(({ hashAndUrl }) => hashAndUrl),
    ),
  ];
  return {
    payloads,
    after: () => {
      noteNat(sa, init.payloads, forced, 0n);
      useFirstKeys(sa, init.proposal, ni, nr, answered.secret);
      done({
        ni,
        nr,
        initiatorMessage: init.message,
        responderMessage: sa.responseBytes ?? new Uint8Array(0),
        certificateRequests: [],
      });
    },
  };
}

/** The next additional key exchange of the initiator's, as responder. */
export function* respondIntermediate(
  sa: IkeSa,
  payloads: readonly Payload[],
  transcript: InitTranscript,
  method: number,
): Exchange<Reply> {
  const ke = findPayload(payloads, 'ke');
  if (ke === null || ke.method !== method) {
    throw new ExchangeRefused('the key exchange is not the one agreed on', NOTIFY.INVALID_SYNTAX, {
      fatal: true,
    });
  }
  const answered = yield* tryCompute<'respond'>({ kind: 'respond', method, peerValue: ke.data });
  if (answered.kind === 'refused') {
    throw new ExchangeRefused(
      `the peer's key exchange: ${answered.reason}`,
      NOTIFY.INVALID_SYNTAX,
      {
        fatal: true,
      },
    );
  }
  return {
    payloads: [{ type: 'ke', method, data: answered.publicValue }],
    // The response goes under the old keys (RFC 9370 section 2.2.2).
    after: () => useNextKeys(sa, transcript.ni, transcript.nr, answered.secret),
  };
}

/** The additional key exchanges of a proposal, in the order in which they are done. */
export function additionalMethods(proposal: Proposal): readonly number[] {
  return ADDITIONAL_KEY_EXCHANGES.flatMap((type) =>
    transformsOf(proposal, type)
      .map(({ id }) => id)
      .filter((id) => id !== KEY_EXCHANGE_NONE),
  );
}

function* initiateIntermediates(sa: IkeSa, ni: Uint8Array, nr: Uint8Array): Exchange<void> {
  for (const method of sa.proposal === null ? [] : additionalMethods(sa.proposal)) {
    const pair = yield* compute({ kind: 'generate', method });
    const { payloads } = yield* request('IKE_INTERMEDIATE', [
      { type: 'ke', method, data: pair.publicValue },
    ]);
    const error = findError(payloads);
    const ke = findPayload(payloads, 'ke');
    if (error !== null || ke === null || ke.method !== method) {
      const what = error === null ? 'no key exchange' : formatNotify(error.notify);
      throw new ExchangeRefused(`IKE_INTERMEDIATE was answered with ${what}`, null, {
        fatal: true,
      });
    }
    const agreed = yield* tryCompute<'agree'>({
      kind: 'agree',
      method,
      privateValue: pair.privateValue,
      peerValue: ke.data,
    });
    if (agreed.kind === 'refused') {
      throw new ExchangeRefused(`the peer's key exchange: ${agreed.reason}`, null, { fatal: true });
    }
    useNextKeys(sa, ni, nr, agreed.secret);
  }
}

function useFirstKeys(
  sa: IkeSa,
  proposal: Proposal,
  ni: Uint8Array,
  nr: Uint8Array,
  secret: Uint8Array,
): void {
  const suite = ikeSuiteOf(proposal);
  if (suite === null) {
    throw new ExchangeRefused(`${formatProposal(proposal)} cannot be used`, null, { fatal: true });
  }
  sa.proposal = proposal;
  const { spiInitiator, spiResponder } = sa;
  sa.useKeys(suite, deriveIkeKeys(suite, { ni, nr, spiInitiator, spiResponder, secret }));
  secret.fill(0);
}

function useNextKeys(sa: IkeSa, ni: Uint8Array, nr: Uint8Array, secret: Uint8Array): void {
  const { suite, keys, spiInitiator, spiResponder } = sa;
  if (suite === null || keys === null) return;
  sa.useKeys(
    suite,
    deriveNextIkeKeys(suite, keys.skD, { ni, nr, spiInitiator, spiResponder, secret }),
  );
  secret.fill(0);
}

function chosenByPeer(
  ours: readonly Proposal[],
  answer: readonly Payload[],
  method: number,
): Proposal {
  const payload = findPayload(answer, 'sa');
  const checked = checkAnswer(ours, payload?.proposals ?? [], {
    preferKeyExchange: method,
    ignoreKeyExchange: false,
  });
  // RFC 7296 section 2.7: what was not offered is not taken, whoever says it was chosen.
  if (!checked.ok) {
    throw new ExchangeRefused(`the peer chose what was not offered: ${checked.reason}`, null, {
      fatal: true,
    });
  }
  return checked.chosen.proposal;
}

function firstMethod(proposals: readonly Proposal[]): number {
  for (const proposal of proposals) {
    for (const { id } of transformsOf(proposal, 'key-exchange')) {
      if (!KEM_IDS.has(id)) return id;
    }
  }
  throw new ExchangeRefused('no IKE proposal has a key exchange', null, { fatal: true });
}

function otherMethod(peer: PadEntry, wanted: number | null, tried: number): number {
  const offered = peer.proposals
    .flatMap((proposal) => transformsOf(proposal, 'key-exchange'))
    .find(({ id }) => id === wanted);
  // RFC 7296 section 1.2: a group that was not offered is an attack or a mistake.
  if (offered === undefined || offered.id === tried || KEM_IDS.has(offered.id)) {
    const group = formatTransform({ type: 'key-exchange', id: wanted ?? 0, keyBits: null });
    throw new ExchangeRefused(`the peer wants ${group}, which was not offered`, null, {
      fatal: true,
    });
  }
  return offered.id;
}

function refusedByPeer(sa: IkeSa, peer: PadEntry, notify: number): ExchangeRefused {
  sa.event({
    ...sa.subject(),
    kind: 'refused',
    by: 'peer',
    notify: formatNotify(notify),
    reason:
      notify === NOTIFY.NO_PROPOSAL_CHOSEN
        ? 'the peer takes none of our IKE proposals, or has no connection for these two addresses'
        : 'the peer refused IKE_SA_INIT',
    closest: peer.name,
    differences: [
      {
        field: 'proposals',
        ours: peer.proposals.map(formatProposal).join(', '),
        theirs: 'not told by the peer: see its log',
      },
    ],
  });
  return new ExchangeRefused(`the peer answered ${formatNotify(notify)}`, null, { fatal: true });
}

function usesIntermediate(peer: PadEntry): boolean {
  return peer.proposals.some((proposal) => additionalMethods(proposal).length > 0);
}

function abilityPayloads(
  fragmentation: boolean,
  intermediate: boolean,
  ppk: boolean,
  hashAndUrl = false,
): readonly Payload[] {
  return [
    ...(fragmentation ? [notifyPayload(NOTIFY.IKEV2_FRAGMENTATION_SUPPORTED)] : []),
    notifyPayload(
      NOTIFY.SIGNATURE_HASH_ALGORITHMS,
      Uint8Array.from(SUPPORTED_HASHES.flatMap((hash) => [...twoBytes(hash)])),
    ),
    ...(hashAndUrl ? [notifyPayload(NOTIFY.HTTP_CERT_LOOKUP_SUPPORTED)] : []),
    ...(intermediate ? [notifyPayload(NOTIFY.INTERMEDIATE_EXCHANGE_SUPPORTED)] : []),
    ...(ppk ? [notifyPayload(NOTIFY.USE_PPK)] : []),
  ];
}

function noteAbilities(sa: IkeSa, payloads: readonly Payload[]): void {
  const { abilities } = sa;
  abilities.fragmentation = findNotify(payloads, NOTIFY.IKEV2_FRAGMENTATION_SUPPORTED) !== null;
  abilities.intermediate = findNotify(payloads, NOTIFY.INTERMEDIATE_EXCHANGE_SUPPORTED) !== null;
  abilities.ppk = findNotify(payloads, NOTIFY.USE_PPK) !== null;
  const hashes = findNotify(payloads, NOTIFY.SIGNATURE_HASH_ALGORITHMS)?.data;
  const numbers: number[] = [];
  for (let at = 0; hashes !== undefined && at + 1 < hashes.length && at < 64; at += 2) {
    numbers.push(numberOf(hashes.subarray(at, at + 2)) ?? 0);
  }
  // A copy has no more room than it needs: it is kept as long as the IKE SA.
  abilities.hashes = numbers.slice();
  abilities.vendorIds = allPayloads(payloads, 'vendor-id')
    .slice(0, 16)
    .map(({ data }) => Buffer.from(data.subarray(0, 32)).toString('hex'));
}

/** NAT detection of both ends; `forced`: our source looks translated, so ESP goes in UDP. */
export function natPayloads(sa: IkeSa, forced: boolean): readonly Payload[] {
  const { local, localPort, remote, remotePort } = sa.endpoint;
  const { spiInitiator, spiResponder } = sa;
  const source = forced
    ? sa.host.random(20)
    : natDetectionHash(spiInitiator, spiResponder, local, localPort);
  const destination = natDetectionHash(spiInitiator, spiResponder, remote, remotePort);
  return [
    notifyPayload(NOTIFY.NAT_DETECTION_SOURCE_IP, source),
    notifyPayload(NOTIFY.NAT_DETECTION_DESTINATION_IP, destination),
  ];
}

/**
 * What the peer's hashes say about NATs on the way (RFC 7296 section 2.23). They are over the SPIs of
 * the header that they came with: in the first request that of the responder is zero.
 */
export function noteNat(
  sa: IkeSa,
  payloads: readonly Payload[],
  forced: boolean,
  spiResponder: bigint = sa.spiResponder,
): void {
  const notifies = allPayloads(payloads, 'notify');
  const sources = notifies.filter(({ notify }) => notify === NOTIFY.NAT_DETECTION_SOURCE_IP);
  const destination = findNotify(payloads, NOTIFY.NAT_DETECTION_DESTINATION_IP);
  const { local, localPort, remote, remotePort } = sa.endpoint;
  const hash = (address: string, port: number): Uint8Array =>
    natDetectionHash(sa.spiInitiator, spiResponder, address, port);
  // Without the notifications the peer knows no NAT traversal, and ESP goes as it is.
  sa.nat.remote =
    sources.length > 0 && !sources.some(({ data }) => isSameBytes(data, hash(remote, remotePort)));
  sa.nat.local = destination !== null && !isSameBytes(destination.data, hash(local, localPort));
  const isUdp = sa.nat.local || sa.nat.remote || (forced && sources.length > 0);
  sa.endpoint = { ...sa.endpoint, encapsulation: isUdp ? 'udp' : 'esp' };
}

/**
 * From IKE_AUTH on, the initiator that found a NAT goes by port 4500 (RFC 7296 section 2.23), and so
 * does one that may move (RFC 4555 section 3.3).
 */
function float(sa: IkeSa): void {
  const { endpoint, host, peer } = sa;
  const isWanted = endpoint.encapsulation === 'udp' || peer?.mobike === true;
  if (!isWanted || endpoint.localPort === host.ports.nat) return;
  sa.endpoint = {
    ...endpoint,
    localPort: host.ports.nat,
    remotePort: endpoint.remotePort === host.ports.ike ? host.ports.nat : endpoint.remotePort,
  };
}

/** Field by field, why none of an entry's proposals fits what was offered. */
export function initDifferences(
  peer: PadEntry,
  payloads: readonly Payload[],
): ReturnType<typeof proposalDifferences> {
  return proposalDifferences(peer.proposals, findPayload(payloads, 'sa')?.proposals ?? []);
}
