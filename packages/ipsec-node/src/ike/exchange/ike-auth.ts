/**
 * IKE_AUTH (RFC 7296 section 1.2): who the two are, and the first Child SA.
 *
 * ```text
 *   HDR, SK {IDi, [CERT,] [CERTREQ,] [IDr,] AUTH, [SAi2, TSi, TSr,] N*}  -->
 *                          <--  HDR, SK {IDr, [CERT,] AUTH, [SAr2, TSi, TSr,] N*}
 * ```
 *
 * The responder proves itself only to somebody who has proved who he is. A child that the two cannot
 * agree on leaves the IKE SA in place (RFC 7296 section 1.2).
 */
import { identityOfPayload, matchesIdentity, payloadOfIdentity } from '../../pad/identity-match.js';
import { formatIdentity, formatIdentityPattern } from '../../pad/identity-text.js';
import type { Identity } from '../../pad/identity.js';
import type { PadEntry } from '../../pad/pad-entry.js';
import type { Difference } from '../action.js';
import {
  certificatePayloads,
  certificateRequests,
  readCertificates,
  wantsOcsp,
} from '../auth/certificate-payload.js';
import { concatBytes, isSameBytes } from '../bytes.js';
import type { ChildSa } from '../child-sa.js';
import { pskAuth, signedOctets } from '../crypto/auth-octets.js';
import { equalInConstantTime } from '../crypto/digest.js';
import { applyPpk, type IkeKeys, intAuth } from '../crypto/key-schedule.js';
import type { IkeSa } from '../ike-sa.js';
import { notifyPayload } from '../names.js';
import { formatNotify, NOTIFY } from '../notify.js';
import type { Payload, PayloadOf } from '../payload/payload.js';
import { authMethodName, choosePeer } from '../peer-choice.js';
import { disownChild, installChild } from './child-life.js';
import {
  chooseChild,
  type ChildRequest,
  offerChild,
  readChildAnswer,
  readChildAsked,
  rekeyDoubt,
} from './child-negotiation.js';
import { mayHaveChild } from './create-child-sa.js';
import { allPayloads, findError, findNotify, findPayload } from './find.js';
import type { InitTranscript } from './ike-sa-init.js';
import {
  compute,
  ExchangeRefused,
  type Exchange,
  type Reply,
  request,
  tryCompute,
} from './step.js';

/** What came of IKE_AUTH besides the IKE SA. */
export interface AuthOutcome {
  readonly child: ChildSa | null;
  /** Why there is no child though one was asked for. */
  readonly refused: string | null;
  /** RFC 7296 section 2.4: the peer knows no other IKE SA with us. */
  readonly initialContact: boolean;
}

/** PPK_IDENTITY data: the type PPK_ID_FIXED and the identifier (RFC 8784 section 5.1). */
const PPK_ID_FIXED = 2;
/** Certificates that are fetched for one peer. */
const URL_COUNT_MAX = 4;
const CHILD_PAYLOADS = ['sa', 'ts-initiator', 'ts-responder'] as const;
const INITIAL_RULES = { preferKeyExchange: null, ignoreKeyExchange: true } as const;

/** The initiator's side. */
export function* initiateAuth(
  sa: IkeSa,
  peer: PadEntry,
  transcript: InitTranscript,
  first: ChildRequest | null,
  options: { readonly initialContact: boolean },
): Exchange<AuthOutcome> {
  const plain = keysOf(sa);
  const usesPpk = peer.ppk !== null && sa.abilities.ppk;
  if (peer.ppk?.required === true && !usesPpk) {
    refuse(sa, peer, 'us', null, 'the peer knows no post-quantum pre-shared keys', [
      { field: 'ppk', ours: 'required', theirs: 'not supported' },
    ]);
    throw new ExchangeRefused('the peer knows no PPK', null, { fatal: true });
  }
  const ppkKeys = usesPpk ? ppkKeysOf(sa, peer, plain) : null;
  const idi = identityPayload('id-initiator', peer.localIdentity);
  const requestId = sa.requestId;
  const octets = (keys: IkeKeys): Uint8Array =>
    octetsOf(sa, transcript, keys, idi, 'initiator', requestId);
  const auth = yield* ownAuth(sa, peer, octets(ppkKeys ?? plain));
  const noPpkAuth =
    ppkKeys !== null && peer.ppk?.required === false
      ? yield* ownAuth(sa, peer, octets(plain))
      : null;
  const offer = first === null ? null : offerChild(sa, first, null);
  let child: ChildSa | null = null;
  /** Whether the peer has a child that we do not. */
  let isAnswered = false;
  try {
    const wanted = peer.remoteIdentity.kind === 'exact' ? peer.remoteIdentity.identity : null;
    const certificates = yield* ownCertificates(peer, transcript.certificateRequests);
    const { payloads: answer } = yield* request('IKE_AUTH', [
      idi,
      ...certificates,
      ...certificateRequests([peer]),
      ...(peer.hashAndUrl ? [notifyPayload(NOTIFY.HTTP_CERT_LOOKUP_SUPPORTED)] : []),
      ...(wanted === null ? [] : [identityPayload('id-responder', wanted)]),
      auth,
      ...(options.initialContact ? [notifyPayload(NOTIFY.INITIAL_CONTACT)] : []),
      ...(offer?.payloads ?? []),
      ...(peer.mobike ? [notifyPayload(NOTIFY.MOBIKE_SUPPORTED)] : []),
      ...(ppkKeys === null ? [] : [ppkIdentity(peer)]),
      ...(noPpkAuth === null ? [] : [notifyPayload(NOTIFY.NO_PPK_AUTH, noPpkAuth.data)]),
    ]);

    const idr = findPayload(answer, 'id-responder');
    const theirAuth = findPayload(answer, 'authentication');
    if (idr === null || theirAuth === null) {
      throw authRefusedByPeer(sa, peer, answer);
    }
    // RFC 8784 section 3: the responder says by PPK_IDENTITY that it used the key.
    const isPpkUsed = ppkKeys !== null && findNotify(answer, NOTIFY.PPK_IDENTITY) !== null;
    if (peer.ppk?.required === true && !isPpkUsed) {
      tellAuthenticationFailed(sa);
      throw new ExchangeRefused('the peer did not use the PPK', null, { fatal: true });
    }
    const keys = isPpkUsed ? ppkKeys : plain;
    try {
      const identity = identityOfPayload(idr.idType, idr.data);
      if (identity === null || !matchesIdentity(peer.remoteIdentity, identity)) {
        refuse(sa, peer, 'us', NOTIFY.AUTHENTICATION_FAILED, 'the peer is somebody else', [
          {
            field: 'remote.id',
            ours: formatIdentityPattern(peer.remoteIdentity),
            theirs: identity === null ? `ID type ${idr.idType}` : formatIdentity(identity),
          },
        ]);
        throw new ExchangeRefused('the peer is somebody else', NOTIFY.AUTHENTICATION_FAILED);
      }
      const theirOctets = octetsOf(sa, transcript, keys, idr, 'responder', requestId);
      yield* verifyPeer(sa, peer, identity, answer, theirAuth, theirOctets);
      sa.remoteIdentity = identity;
    } catch (error) {
      if (!(error instanceof ExchangeRefused)) throw error;
      // RFC 7296 section 2.21.2: the responder takes the IKE SA for good, so it is told.
      tellAuthenticationFailed(sa);
      throw new ExchangeRefused(error.reason, null, { fatal: true });
    }
    finishPpk(sa, isPpkUsed ? ppkKeys : null);
    sa.localIdentity = peer.localIdentity;
    sa.abilities.mobike = peer.mobike && findNotify(answer, NOTIFY.MOBIKE_SUPPORTED) !== null;
    noteAdditionalAddresses(sa, answer);
    const outcome = { initialContact: findNotify(answer, NOTIFY.INITIAL_CONTACT) !== null };
    if (offer === null) return { ...outcome, child: null, refused: null };
    try {
      const agreement = readChildAnswer(sa, offer, answer);
      const material = { ni: transcript.ni, nr: transcript.nr, secrets: [], areWeInitiator: true };
      child = yield* installChild(sa, agreement, material, 'now');
      warnOfRekey(sa, child, answer);
      return { ...outcome, child, refused: null };
    } catch (error) {
      if (!(error instanceof ExchangeRefused)) throw error;
      isAnswered = mayHaveChild(answer);
      return { ...outcome, child: null, refused: error.reason };
    }
  } finally {
    if (offer !== null && isAnswered) disownChild(sa, offer.spi);
    else if (offer !== null && child === null) sa.host.releaseSpi(offer.spi);
  }
}

/** The responder's side. `done` is told once the response is on its way. */
export function* respondAuth(
  sa: IkeSa,
  candidates: readonly PadEntry[],
  transcript: InitTranscript,
  payloads: readonly Payload[],
  done: (outcome: AuthOutcome) => void,
): Exchange<Reply> {
  const plain = keysOf(sa);
  const idi = findPayload(payloads, 'id-initiator');
  const asked = readChildAsked(payloads);
  // RFC 7296 section 2.21.2: what is malformed as a whole is not looked into.
  const hasChildPart = CHILD_PAYLOADS.some((type) => findPayload(payloads, type) !== null);
  if (idi === null || (asked === null && hasChildPart)) {
    const reason = idi === null ? 'it names no identity' : 'it asks for a part of a child';
    throw new ExchangeRefused(reason, NOTIFY.INVALID_SYNTAX, { fatal: true });
  }
  const auth = findPayload(payloads, 'authentication');
  const identity = identityOfPayload(idi.idType, idi.data);
  if (identity === null || sa.proposal === null) {
    const reason = `ID type ${idi.idType} is not known`;
    refuse(sa, null, 'us', NOTIFY.AUTHENTICATION_FAILED, reason, []);
    throw authenticationFailed(reason);
  }
  const idr = findPayload(payloads, 'id-responder');
  const wanted = idr === null ? null : identityOfPayload(idr.idType, idr.data);
  if (auth === null) {
    const differences = [{ field: 'remote.auth', ours: 'psk or certificate', theirs: 'EAP' }];
    refuse(sa, null, 'us', NOTIFY.AUTHENTICATION_FAILED, 'the peer asks for EAP', differences);
    throw authenticationFailed('the peer asks for EAP');
  }
  const claim = { identity, wanted, authMethod: auth.method, proposal: sa.proposal };
  const choice = choosePeer(candidates, claim);
  if (!choice.ok) {
    const reason = 'no peer of the configuration fits';
    refuse(sa, choice.closest, 'us', NOTIFY.AUTHENTICATION_FAILED, reason, choice.differences);
    throw authenticationFailed(reason);
  }
  const peer = choice.entry;
  // Nobody is a peer before he has proved it: what fails from here on is told of the entry alone.
  const { ppkKeys, authData } = readPpk(sa, peer, plain, payloads, auth);
  const keys = ppkKeys ?? plain;
  const requestId = sa.answeringId;
  const theirOctets = octetsOf(sa, transcript, keys, idi, 'initiator', requestId);
  yield* verifyPeer(sa, peer, identity, payloads, { ...auth, data: authData }, theirOctets);
  sa.peer = peer;
  sa.remoteIdentity = identity;
  sa.localIdentity = peer.localIdentity;

  const ownId = identityPayload('id-responder', peer.localIdentity);
  const octets = octetsOf(sa, transcript, keys, ownId, 'responder', requestId);
  const ownAuthentication = yield* ownAuth(sa, peer, octets);
  finishPpk(sa, ppkKeys);
  sa.abilities.mobike = peer.mobike && findNotify(payloads, NOTIFY.MOBIKE_SUPPORTED) !== null;
  noteAdditionalAddresses(sa, payloads);

  let childPayloads: readonly Payload[] = [];
  let child: ChildSa | null = null;
  let refused: string | null = null;
  if (asked !== null) {
    try {
      const chosen = chooseChild(sa, peer.children, asked, INITIAL_RULES);
      const material = { ni: transcript.ni, nr: transcript.nr, secrets: [], areWeInitiator: false };
      child = yield* installChild(sa, chosen.agreement, material, 'now');
      childPayloads = chosen.payloads;
      warnOfRekey(sa, child, payloads);
    } catch (error) {
      if (!(error instanceof ExchangeRefused)) throw error;
      refused = error.reason;
      childPayloads = [notifyPayload(error.notify ?? NOTIFY.NO_PROPOSAL_CHOSEN)];
    }
  }
  const initialContact = findNotify(payloads, NOTIFY.INITIAL_CONTACT) !== null;
  const requests = allPayloads(payloads, 'certificate-request');
  const certificates = yield* ownCertificates(peer, requests);
  return {
    payloads: [
      ownId,
      ...certificates,
      ownAuthentication,
      ...childPayloads,
      ...(sa.abilities.mobike ? [notifyPayload(NOTIFY.MOBIKE_SUPPORTED)] : []),
      ...(ppkKeys === null ? [] : [notifyPayload(NOTIFY.PPK_IDENTITY)]),
    ],
    after: () => done({ child, refused, initialContact }),
  };
}

function* ownAuth(
  sa: IkeSa,
  peer: PadEntry,
  octets: Uint8Array,
): Exchange<PayloadOf<'authentication'>> {
  const { localAuthentication: own } = peer;
  if (own.method === 'psk') {
    const { suite } = sa;
    if (suite === null) throw new ExchangeRefused('there are no keys', null, { fatal: true });
    const secret = own.secret.reveal();
    const data = pskAuth(suite.prf, secret, octets);
    secret.fill(0);
    return { type: 'authentication', method: 2, data };
  }
  const signed = yield* compute({
    kind: 'sign',
    credential: own.credential,
    octets,
    hashes: sa.abilities.hashes,
  });
  return { type: 'authentication', method: signed.method, data: signed.data };
}

/** Our CERT payloads, with OCSP answers for them where the peer asks (RFC 4806). */
function* ownCertificates(
  peer: PadEntry,
  requests: readonly Payload[],
): Exchange<readonly Payload[]> {
  const own = peer.localAuthentication;
  if (own.method !== 'certificate' || !wantsOcsp(requests)) {
    return certificatePayloads(peer, requests);
  }
  const { certificates } = own.credential;
  // Without an answer the certificates go alone: whether that is enough is the peer's to say.
  const answered = yield* tryCompute<'ocsp'>({ kind: 'ocsp', certificates });
  return certificatePayloads(peer, requests, answered.kind === 'ocsp' ? answered.responses : []);
}

/** The peer's certificates, those behind URLs fetched where its entry has that on. */
function* peerCertificates(
  peer: PadEntry,
  payloads: readonly Payload[],
): Exchange<{
  readonly certificates: readonly Uint8Array[];
  readonly ocsp: readonly Uint8Array[];
}> {
  const received = readCertificates(payloads, peer);
  const fetched: Uint8Array[] = [];
  for (const { url, sha1 } of received.urls.slice(0, URL_COUNT_MAX)) {
    const answer = yield* tryCompute<'fetch'>({ kind: 'fetch', url, sha1 });
    if (answer.kind === 'fetch') fetched.push(answer.certificate);
  }
  // Where the leaf is not among those sent, it is behind the first URL.
  const certificates =
    received.certificates.length === 0 ? fetched : [...received.certificates, ...fetched];
  return { certificates, ocsp: received.ocsp };
}

function* verifyPeer(
  sa: IkeSa,
  peer: PadEntry,
  identity: Identity,
  payloads: readonly Payload[],
  auth: PayloadOf<'authentication'>,
  octets: Uint8Array,
): Exchange<void> {
  const { remoteAuthentication: required } = peer;
  const fail = (reason: string, differences: readonly Difference[]): ExchangeRefused => {
    refuse(sa, peer, 'us', NOTIFY.AUTHENTICATION_FAILED, reason, differences);
    return authenticationFailed(reason);
  };
  if (required.method === 'psk') {
    const { suite } = sa;
    if (suite === null || auth.method !== 2) {
      throw fail('the peer proves itself in another way', [
        { field: 'remote.auth', ours: 'psk', theirs: authMethodName(auth.method) },
      ]);
    }
    const secret = required.secret.reveal();
    const expected = pskAuth(suite.prf, secret, octets);
    secret.fill(0);
    if (!equalInConstantTime(expected, auth.data)) {
      throw fail('the pre-shared keys of the two differ', [
        { field: 'psk', ours: required.secret.origin, theirs: 'another key (it is never sent)' },
      ]);
    }
    return;
  }
  const received = yield* peerCertificates(peer, payloads);
  const keys: Uint8Array[] = [];
  if (required.method === 'public-key') {
    keys.push(...required.keys);
  } else {
    const validated = yield* tryCompute<'validate'>({
      kind: 'validate',
      certificates: received.certificates,
      authorities: required.authorities,
      crls: required.crls,
      ocsp: received.ocsp,
      revocation: required.revocation,
      identity,
    });
    if (validated.kind === 'refused') {
      throw fail(`the peer's certificate: ${validated.reason}`, [
        { field: 'remote.auth', ours: 'certificate', theirs: validated.reason },
      ]);
    }
    keys.push(validated.publicKey);
  }
  let reason = 'there is no key to try';
  for (const publicKey of keys) {
    const verified = yield* tryCompute<'verify'>({
      kind: 'verify',
      publicKey,
      octets,
      method: auth.method,
      data: auth.data,
    });
    if (verified.kind === 'verify') return;
    reason = verified.reason;
  }
  throw fail(`the peer's signature: ${reason}`, [
    { field: 'remote.auth', ours: required.method, theirs: authMethodName(auth.method) },
  ]);
}

function keysOf(sa: IkeSa): IkeKeys {
  if (sa.keys === null) throw new ExchangeRefused('there are no keys', null, { fatal: true });
  return sa.keys;
}

function octetsOf(
  sa: IkeSa,
  transcript: InitTranscript,
  keys: IkeKeys,
  id: PayloadOf<'id-initiator' | 'id-responder'>,
  role: 'initiator' | 'responder',
  requestId: number,
): Uint8Array {
  if (sa.suite === null) throw new ExchangeRefused('there are no keys', null, { fatal: true });
  const byInitiator = role === 'initiator';
  const { initiator = null, responder = null } = sa.transcript ?? {};
  return signedOctets(sa.suite.prf, {
    message: byInitiator ? transcript.initiatorMessage : transcript.responderMessage,
    nonce: byInitiator ? transcript.nr : transcript.ni,
    idBody: concatBytes(Uint8Array.of(id.idType, 0, 0, 0), id.data),
    skP: byInitiator ? keys.skPi : keys.skPr,
    intAuth:
      initiator === null || responder === null ? null : intAuth(initiator, responder, requestId),
  });
}

function identityPayload<T extends 'id-initiator' | 'id-responder'>(
  type: T,
  identity: Identity,
): { readonly type: T; readonly idType: number; readonly data: Uint8Array } {
  return { type, ...payloadOfIdentity(identity) };
}

function ppkKeysOf(sa: IkeSa, peer: PadEntry, keys: IkeKeys): IkeKeys | null {
  if (peer.ppk === null || sa.suite === null) return null;
  const secret = peer.ppk.secret.reveal();
  const mixed = applyPpk(sa.suite.prf, keys, secret);
  secret.fill(0);
  return mixed;
}

function ppkIdentity(peer: PadEntry): Payload {
  const id = peer.ppk?.id ?? new Uint8Array(0);
  return notifyPayload(NOTIFY.PPK_IDENTITY, concatBytes(Uint8Array.of(PPK_ID_FIXED), id));
}

// RFC 8784 section 3: with a PPK that we share the AUTH payload counts; without one NO_PPK_AUTH
// does, where our entry lets a peer in without.
function readPpk(
  sa: IkeSa,
  peer: PadEntry,
  keys: IkeKeys,
  payloads: readonly Payload[],
  auth: PayloadOf<'authentication'>,
): { readonly ppkKeys: IkeKeys | null; readonly authData: Uint8Array } {
  const named = findNotify(payloads, NOTIFY.PPK_IDENTITY);
  const without = findNotify(payloads, NOTIFY.NO_PPK_AUTH);
  const required = peer.ppk?.required === true;
  if (named !== null && peer.ppk !== null) {
    if (isSameBytes(named.data.subarray(1), peer.ppk.id)) {
      return { ppkKeys: ppkKeysOf(sa, peer, keys), authData: auth.data };
    }
  }
  if (!required && named === null) return { ppkKeys: null, authData: auth.data };
  if (!required && without !== null) return { ppkKeys: null, authData: without.data };
  const reason = named === null ? 'the peer uses no PPK' : 'the peer uses another PPK';
  refuse(sa, peer, 'us', NOTIFY.AUTHENTICATION_FAILED, reason, [
    {
      field: 'ppk.id',
      ours: peer.ppk === null ? 'none' : Buffer.from(peer.ppk.id).toString(),
      theirs: named === null ? 'none' : Buffer.from(named.data.subarray(1, 65)).toString(),
    },
  ]);
  throw authenticationFailed(reason);
}

function finishPpk(sa: IkeSa, ppkKeys: IkeKeys | null): void {
  if (ppkKeys === null) return;
  sa.mixKeys(ppkKeys);
  sa.hasPpk = true;
}

function noteAdditionalAddresses(sa: IkeSa, payloads: readonly Payload[]): void {
  sa.additionalAddresses = additionalAddresses(payloads);
}

/** The addresses of ADDITIONAL_IP4_ADDRESS and ADDITIONAL_IP6_ADDRESS (RFC 4555 section 3.4). */
export function additionalAddresses(payloads: readonly Payload[]): readonly string[] {
  return allPayloads(payloads, 'notify')
    .slice(0, 64)
    .flatMap(({ notify, data }) => {
      const idType =
        notify === NOTIFY.ADDITIONAL_IP4_ADDRESS
          ? 1
          : notify === NOTIFY.ADDITIONAL_IP6_ADDRESS
            ? 5
            : 0;
      const identity = idType === 0 ? null : identityOfPayload(idType, data);
      return identity?.kind === 'ipv4-address' || identity?.kind === 'ipv6-address'
        ? [identity.address]
        : [];
    });
}

function warnOfRekey(sa: IkeSa, child: ChildSa, payloads: readonly Payload[]): void {
  const theirs = findPayload(payloads, 'sa')?.proposals ?? [];
  const doubt = rekeyDoubt(child.terms, theirs, sa.proposal);
  if (doubt !== null) sa.event({ ...sa.subject(child), kind: 'warning', reason: doubt });
}

function authRefusedByPeer(sa: IkeSa, peer: PadEntry, answer: readonly Payload[]): ExchangeRefused {
  const error = findError(answer);
  const name = error === null ? 'an answer without AUTH' : formatNotify(error.notify);
  refuse(
    sa,
    peer,
    'peer',
    error?.notify ?? null,
    peer.localAuthentication.method === 'psk'
      ? 'the peer refused us: it does not know this identity, takes another proof of it, or the ' +
          'pre-shared keys differ'
      : 'the peer refused us: it does not know this identity, or takes another proof of it',
    [
      {
        field: 'local.id',
        ours: formatIdentity(peer.localIdentity),
        theirs: 'not told by the peer: see its log',
      },
      {
        field: 'local.auth',
        ours: peer.localAuthentication.method,
        theirs: 'not told by the peer: see its log',
      },
    ],
  );
  return new ExchangeRefused(`the peer answered ${name}`, null, { fatal: true });
}

function authenticationFailed(reason: string): ExchangeRefused {
  return new ExchangeRefused(reason, NOTIFY.AUTHENTICATION_FAILED, { fatal: true });
}

/** Says so and does not wait for an answer: there is nothing left to speak of. */
function tellAuthenticationFailed(sa: IkeSa): void {
  sa.sendLast([notifyPayload(NOTIFY.AUTHENTICATION_FAILED)]);
}

function refuse(
  sa: IkeSa,
  closest: PadEntry | null,
  by: 'us' | 'peer',
  notify: number | null,
  reason: string,
  differences: readonly Difference[],
): void {
  sa.event({
    ...sa.subject(),
    kind: 'refused',
    by,
    notify: notify === null ? null : formatNotify(notify),
    reason,
    closest: closest?.name ?? null,
    differences,
  });
}
