/**
 * What IKE_AUTH and CREATE_CHILD_SA have in common: an SA payload, traffic selectors and the
 * notifications that go with a Child SA (RFC 7296 sections 2.9, 3.3, 3.13).
 */
import type { ChildTerms } from '../../pad/child-terms.js';
import { formatProposal, type Proposal, transformsOf } from '../../sad/proposal.js';
import { formatTransform, KEY_EXCHANGE_NONE } from '../../sad/transform.js';
import type { PacketFields } from '../../spd/packet.js';
import { formatAddresses, type Selector } from '../../spd/selector.js';
import type { Difference } from '../action.js';
import { spiBytes, spiOf } from '../bytes.js';
import { type ChildAgreement, suiteOf } from '../child-sa.js';
import type { IkeSa } from '../ike-sa.js';
import { notifyPayload } from '../names.js';
import { formatNotify, NOTIFY } from '../notify.js';
import type { Payload, PayloadOf, TrafficSelector } from '../payload/payload.js';
import {
  checkAnswer,
  type ChoiceRules,
  type ChosenProposal,
  chooseProposal,
  proposalDifferences,
  toWireAnswer,
  toWireProposals,
} from '../proposal.js';
import {
  hasPacketSelectors,
  isWithin,
  type Narrowed,
  narrow,
  packetSelectors,
  selectorDifferences,
  selectorOf,
  trafficSelectorsOf,
  transportSelectors,
} from '../traffic-selector.js';
import { findError, findNotify, findPayload } from './find.js';
import { ExchangeRefused } from './step.js';

/** What is asked for: the terms, what of their selector, and the packet that wants it. */
export interface ChildRequest {
  readonly terms: ChildTerms;
  readonly selector: Selector;
  readonly packet: PacketFields | null;
  /** Of the child that is rekeyed: its selectors as they were agreed on. */
  readonly agreed: {
    readonly local: readonly TrafficSelector[];
    readonly remote: readonly TrafficSelector[];
  } | null;
}

/** What was sent, to hold the answer against. */
export interface ChildOffer {
  readonly request: ChildRequest;
  readonly spi: number;
  readonly proposals: readonly Proposal[];
  readonly local: readonly TrafficSelector[];
  readonly remote: readonly TrafficSelector[];
  readonly payloads: readonly Payload[];
  readonly rules: ChoiceRules;
}

/** The payloads SAi, TSi, TSr and the notifications of a child that we ask for. */
export function offerChild(sa: IkeSa, request: ChildRequest, method: number | null): ChildOffer {
  const spi = sa.host.allocateSpi();
  const proposals =
    method === null ? request.terms.proposals.map(withoutKeyExchange) : request.terms.proposals;
  const { local, remote } = request.agreed ?? trafficSelectorsOf(request.selector);
  // RFC 7296 section 2.9: the packet that asks comes first, so that a peer that narrows keeps it.
  const first = request.packet === null ? null : packetSelectors(request.packet);
  const ours = first === null ? local : [first.local, ...local];
  const theirs = first === null ? remote : [first.remote, ...remote];
  return {
    request,
    spi,
    proposals,
    local: ours,
    remote: theirs,
    rules: { preferKeyExchange: method, ignoreKeyExchange: method === null },
    payloads: [
      ...(request.terms.mode === 'transport' ? [notifyPayload(NOTIFY.USE_TRANSPORT_MODE)] : []),
      { type: 'sa', proposals: toWireProposals(proposals, spiBytes(spi)) },
      { type: 'ts-initiator', selectors: ours, unknownCount: 0 },
      { type: 'ts-responder', selectors: theirs, unknownCount: 0 },
    ],
  };
}

/**
 * What the peer made of our offer.
 *
 * @throws ExchangeRefused where it refused, or answered what was not offered.
 */
export function readChildAnswer(
  sa: IkeSa,
  offer: ChildOffer,
  answer: readonly Payload[],
): ChildAgreement {
  const { terms } = offer.request;
  const error = findError(answer);
  const payload = findPayload(answer, 'sa');
  const tsi = findPayload(answer, 'ts-initiator');
  const tsr = findPayload(answer, 'ts-responder');
  if (payload === null || tsi === null || tsr === null) {
    const notify = error?.notify ?? NOTIFY.INVALID_SYNTAX;
    tellRefused(sa, terms, 'peer', notify, refusalOfPeer(notify), ownTerms(offer, notify));
    throw new ExchangeRefused(`the peer answered ${formatNotify(notify)}`, null);
  }
  const checked = checkAnswer(offer.proposals, payload.proposals, offer.rules);
  if (!checked.ok) throw new ExchangeRefused(`its SA payload: ${checked.reason}`, null);
  const outboundSpi = spiOf(checked.chosen.spi);
  if (outboundSpi === null || outboundSpi < 256) {
    throw new ExchangeRefused('its SPI is not one of ESP', null);
  }
  const isTransport = findNotify(answer, NOTIFY.USE_TRANSPORT_MODE) !== null;
  if (isTransport && terms.mode !== 'transport') {
    throw new ExchangeRefused('it wants transport mode, which was not offered', null);
  }
  const said = { local: tsi.selectors, remote: tsr.selectors };
  // RFC 7296 section 2.23.1: behind a NAT the peer speaks of addresses that are not those of the
  // packets here.
  const seen = isTransport ? (transportSelectors(said, sa.endpoint, sa.nat) ?? said) : said;
  const selector = selectorOf(seen.local, seen.remote);
  if (selector === null || !isWithin(selector, offer.request.selector)) {
    throw new ExchangeRefused('its traffic selectors are not within what was offered', null);
  }
  // RFC 7296 section 1.3.1: a responder that declines transport mode leaves tunnel mode, which we
  // take only where the policy asks for it.
  if (!isTransport && terms.mode === 'transport') {
    tellRefused(sa, terms, 'us', null, 'the peer declined transport mode', [
      { field: 'mode', ours: 'transport', theirs: 'tunnel' },
    ]);
    throw new ExchangeRefused('it declined transport mode', null);
  }
  return {
    terms,
    proposal: checked.chosen.proposal,
    mode: isTransport ? 'transport' : 'tunnel',
    selector,
    ...said,
    inboundSpi: offer.spi,
    outboundSpi,
  };
}

/** What the peer asks for, read. */
export interface ChildAsked {
  readonly sa: PayloadOf<'sa'>;
  readonly tsi: PayloadOf<'ts-initiator'>;
  readonly tsr: PayloadOf<'ts-responder'>;
  readonly wantsTransport: boolean;
}

/** Reads what the peer asks for; null where a payload of it is missing. */
export function readChildAsked(payloads: readonly Payload[]): ChildAsked | null {
  const sa = findPayload(payloads, 'sa');
  const tsi = findPayload(payloads, 'ts-initiator');
  const tsr = findPayload(payloads, 'ts-responder');
  if (sa === null || tsi === null || tsr === null) return null;
  const wantsTransport = findNotify(payloads, NOTIFY.USE_TRANSPORT_MODE) !== null;
  return { sa, tsi, tsr, wantsTransport };
}

/** What we answer with. */
export interface ChildChoice {
  readonly agreement: ChildAgreement;
  readonly payloads: readonly Payload[];
}

/**
 * Chooses the child that the peer asks for among the entry's, and what of it.
 *
 * @throws ExchangeRefused with NO_PROPOSAL_CHOSEN, TS_UNACCEPTABLE or INVALID_KE_PAYLOAD.
 */
export function chooseChild(
  sa: IkeSa,
  children: readonly ChildTerms[],
  asked: ChildAsked,
  rules: ChoiceRules,
): ChildChoice {
  // The peer is the initiator of this exchange: TSi is its side.
  const said = { local: asked.tsr.selectors, remote: asked.tsi.selectors };
  const moved = asked.wantsTransport ? transportSelectors(said, sa.endpoint, sa.nat) : null;
  const fitsOf = (holdsPacket: boolean): readonly { terms: ChildTerms; narrowed: Narrowed }[] =>
    children.flatMap((terms) => {
      const { local, remote } = terms.mode === 'transport' && moved !== null ? moved : said;
      const first = { present: holdsPacket && hasPacketSelectors(local, remote) };
      const narrowed = narrow(terms.selector, local, remote, first);
      return narrowed === null ? [] : [{ terms, narrowed }];
    });
  // RFC 7296 section 2.9: the packet that asks is served where a policy has it whole.
  const whole = fitsOf(true);
  const fits = whole.length > 0 ? whole : fitsOf(false);
  if (fits.length === 0) {
    const [closest] = children;
    tellRefused(
      sa,
      closest ?? null,
      'us',
      NOTIFY.TS_UNACCEPTABLE,
      'no policy of this peer shares traffic with what it asks for',
      closest === undefined
        ? [{ field: 'policies', ours: 'none with this peer', theirs: 'a Child SA' }]
        : selectorDifferences(closest.selector, asked.tsr.selectors, asked.tsi.selectors),
    );
    throw new ExchangeRefused('no policy fits', NOTIFY.TS_UNACCEPTABLE);
  }
  // What is wanted whole goes before what must be narrowed.
  const ordered = [...fits].sort(
    (a, b) => Number(a.narrowed.narrowed) - Number(b.narrowed.narrowed),
  );
  const differences: Difference[] = [];
  for (const { terms, narrowed } of ordered) {
    const proposals = terms.proposals.filter((proposal) => isBuildable(proposal));
    const chosen = chooseProposal(proposals, asked.sa.proposals, rules);
    if (chosen === null) {
      differences.push(...proposalDifferences(proposals, asked.sa.proposals));
      continue;
    }
    const mode = terms.mode === 'transport' && asked.wantsTransport ? 'transport' : 'tunnel';
    if (mode === 'tunnel' && terms.mode === 'transport') {
      differences.push({ field: 'mode', ours: 'transport', theirs: 'tunnel' });
      continue;
    }
    return answerWith(sa, terms, chosen, {
      mode,
      narrowed,
      original: mode === 'transport' ? moved : null,
    });
  }
  const [first] = ordered;
  tellRefused(
    sa,
    first?.terms ?? null,
    'us',
    NOTIFY.NO_PROPOSAL_CHOSEN,
    'the policy fits, the proposals do not',
    differences,
  );
  throw new ExchangeRefused('no proposal fits', NOTIFY.NO_PROPOSAL_CHOSEN);
}

function answerWith(
  sa: IkeSa,
  terms: ChildTerms,
  chosen: ChosenProposal,
  choice: {
    readonly mode: 'tunnel' | 'transport';
    readonly narrowed: Narrowed;
    /** Transport mode: the addresses as the peer knows them; it is answered with those. */
    readonly original: { readonly originalLocal: string; readonly originalRemote: string } | null;
  },
): ChildChoice {
  const outboundSpi = spiOf(chosen.spi);
  if (outboundSpi === null || outboundSpi < 256) {
    throw new ExchangeRefused('the SPI is not one of ESP', NOTIFY.NO_PROPOSAL_CHOSEN);
  }
  const inboundSpi = sa.host.allocateSpi();
  const { mode, narrowed, original } = choice;
  const local = withAddress(narrowed.local, original?.originalLocal ?? null);
  const remote = withAddress(narrowed.remote, original?.originalRemote ?? null);
  return {
    agreement: {
      terms,
      proposal: chosen.proposal,
      mode,
      selector: narrowed.selector,
      local,
      remote,
      inboundSpi,
      outboundSpi,
    },
    payloads: [
      ...(mode === 'transport' ? [notifyPayload(NOTIFY.USE_TRANSPORT_MODE)] : []),
      { type: 'sa', proposals: [toWireAnswer(chosen, spiBytes(inboundSpi))] },
      { type: 'ts-initiator', selectors: remote, unknownCount: 0 },
      { type: 'ts-responder', selectors: local, unknownCount: 0 },
    ],
  };
}

function withAddress(
  selectors: readonly TrafficSelector[],
  address: string | null,
): readonly TrafficSelector[] {
  if (address === null) return selectors;
  const family = address.includes(':') ? 6 : 4;
  return selectors.map((selector) => ({ ...selector, family, from: address, to: address }));
}

/** The key exchange of an agreed child; null: without PFS. */
export function keyExchangeOf(proposal: Proposal): number | null {
  const [transform] = transformsOf(proposal, 'key-exchange');
  return transform === undefined || transform.id === KEY_EXCHANGE_NONE ? null : transform.id;
}

/** The key exchanges that an entry's proposals have for a rekey, in order; null: none is needed. */
export function keyExchangesOf(terms: ChildTerms): readonly (number | null)[] {
  const methods = terms.proposals.flatMap((proposal) => {
    const own = transformsOf(proposal, 'key-exchange').map(({ id }) =>
      id === KEY_EXCHANGE_NONE ? null : id,
    );
    return own.length === 0 ? [null] : own;
  });
  return [...new Set(methods)];
}

/**
 * Why a child that has just come up will, or may, fail at its first rekey; null: nothing speaks
 * against it. The keys of a first child come from IKE_AUTH, where a side rightly tells nothing of its
 * key exchanges for children, so a difference about PFS shows an hour later (RFC 7296 section 1.2).
 * What it uses for the IKE SA is then what is known of it.
 */
export function rekeyDoubt(
  terms: ChildTerms,
  theirs: readonly { readonly transforms: Proposal['transforms'] }[],
  ike: Proposal | null,
): string | null {
  const ours = keyExchangesOf(terms);
  const names = (ids: readonly (number | null)[]): string =>
    ids
      .map((id) =>
        id === null || id === KEY_EXCHANGE_NONE
          ? 'no key exchange'
          : formatTransform({ type: 'key-exchange', id, keyBits: null }),
      )
      .join(', ');
  const offered = theirs
    .flatMap(({ transforms }) => transforms.filter(({ type }) => type === 'key-exchange'))
    .map(({ id }) => (id === KEY_EXCHANGE_NONE ? null : id));
  if (offered.length > 0) {
    return offered.some((id) => ours.includes(id))
      ? null
      : `its rekey will be refused: for PFS we have ${names(ours)}, the peer has ${names(offered)}`;
  }
  const agreed = ike === null ? [] : transformsOf(ike, 'key-exchange').map(({ id }) => id);
  if (ours.includes(null) || agreed.some((id) => ours.includes(id))) return null;
  return (
    `its rekey may be refused: for PFS we have ${names(ours)} alone, and the IKE SA with this peer ` +
    `uses ${names(agreed)}; give the policy that too, or modpnone`
  );
}

function isBuildable(proposal: Proposal): boolean {
  return transformsOf(proposal, 'encryption').some((encryption) => {
    const integrities = transformsOf(proposal, 'integrity');
    const candidates = integrities.length === 0 ? [null] : integrities;
    return candidates.some(
      (integrity) =>
        suiteOf({
          protocol: 'esp',
          transforms: integrity === null ? [encryption] : [encryption, integrity],
        }) !== null,
    );
  });
}

// RFC 7296 section 1.2: the key exchange of IKE_SA_INIT serves the first child too.
function withoutKeyExchange(proposal: Proposal): Proposal {
  return {
    protocol: proposal.protocol,
    transforms: proposal.transforms.filter(
      ({ type }) => type !== 'key-exchange' && !type.startsWith('additional'),
    ),
  };
}

function refusalOfPeer(notify: number): string {
  switch (notify) {
    case NOTIFY.TS_UNACCEPTABLE:
      return 'the peer has no policy for these addresses';
    case NOTIFY.NO_PROPOSAL_CHOSEN:
      return 'the peer takes none of our ESP proposals';
    case NOTIFY.SINGLE_PAIR_REQUIRED:
      return 'the peer wants one Child SA for each pair of addresses: selectorsPerChild: one';
    default:
      return 'the peer refused the Child SA';
  }
}

/** What of ours the peer did not take; it never says what it would. */
function ownTerms(offer: ChildOffer, notify: number): readonly Difference[] {
  const theirs = 'not told by the peer: see its log';
  const { local, remote } = offer.request.selector;
  return notify === NOTIFY.TS_UNACCEPTABLE || notify === NOTIFY.SINGLE_PAIR_REQUIRED
    ? [
        { field: 'local', ours: formatAddresses(local), theirs },
        { field: 'remote', ours: formatAddresses(remote), theirs },
      ]
    : [{ field: 'proposals', ours: proposalsText(offer.proposals), theirs }];
}

const proposalsText = (proposals: readonly Proposal[]): string =>
  proposals.map(formatProposal).join(', ');

/** Tells what the two did not agree on. */
export function tellRefused(
  sa: IkeSa,
  terms: ChildTerms | null,
  by: 'us' | 'peer',
  notify: number | null,
  reason: string,
  differences: readonly Difference[],
): void {
  sa.event({
    ...sa.subject(),
    child: terms?.name ?? null,
    kind: 'refused',
    by,
    notify: notify === null ? null : formatNotify(notify),
    reason,
    closest: sa.peer?.name ?? null,
    differences,
  });
}
