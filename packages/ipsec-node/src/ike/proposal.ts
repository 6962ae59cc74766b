/**
 * Negotiation of algorithms (RFC 7296 sections 2.7 and 3.3, RFC 9370 section 2.2.2): what is
 * offered, what is chosen of an offer, and whether an answer is one of what was offered.
 */
import type { Proposal } from '../sad/proposal.js';
import {
  ADDITIONAL_KEY_EXCHANGES,
  ESN_NONE,
  formatTransform,
  isSameTransform,
  KEY_EXCHANGE_NONE,
  type Transform,
  transformInfo,
  type TransformType,
} from '../sad/transform.js';
import type { Difference } from './action.js';
import type { WireProposal } from './payload/payload.js';
import { PROTOCOL_ID } from './payload/protocol.js';

/** What was agreed. */
export interface ChosenProposal {
  /** Of the proposal as it was offered. */
  readonly number: number;
  readonly protocolId: number;
  /** The SPI that came with it. */
  readonly spi: Uint8Array;
  /**
   * One transform of each type. A type for which NONE was agreed is left out, but for the sequence
   * numbers, which an ESP proposal always has.
   */
  readonly proposal: Proposal;
  /** The types that the offer had and for which NONE was agreed: an answer names them. */
  readonly noneTypes: readonly TransformType[];
}

export interface ChoiceRules {
  /** Method of the KE payload that came: it wins over our order within a proposal. */
  readonly preferKeyExchange: number | null;
  /** For the child of IKE_AUTH, which has no key exchange of its own (RFC 7296 section 1.2). */
  readonly ignoreKeyExchange: boolean;
}

/** What a proposal is about, in the order in which it is written. */
const TYPES: readonly TransformType[] = [
  'encryption',
  'integrity',
  'prf',
  'key-exchange',
  ...ADDITIONAL_KEY_EXCHANGES,
  'sequence-numbers',
];

/** NONE has the number 0 in every registry that has it. */
const NONE_ID = 0;

// RFC 7296 section 3.3.3 and RFC 9370 section 2.2.2. A PRF is never part of ESP or AH.
const ALLOWED: Readonly<Record<Proposal['protocol'], ReadonlySet<TransformType>>> = {
  ike: new Set(TYPES.filter((type) => type !== 'sequence-numbers')),
  esp: new Set(TYPES.filter((type) => type !== 'prf')),
  ah: new Set(TYPES.filter((type) => type !== 'prf' && type !== 'encryption')),
};

/** Types of which a proposal must name a transform. */
const MANDATORY: Readonly<Record<Proposal['protocol'], readonly TransformType[]>> = {
  ike: ['encryption', 'prf', 'key-exchange'],
  esp: ['encryption', 'sequence-numbers'],
  ah: ['integrity', 'sequence-numbers'],
};

const NO_ESN: Transform = { type: 'sequence-numbers', id: ESN_NONE, keyBits: null };

function isKeyExchangeType(type: TransformType): boolean {
  return type === 'key-exchange' || type.startsWith('additional');
}

function isAead(transform: Transform): boolean {
  return transformInfo(transform)?.aead === true;
}

/**
 * Writes proposals for an SA payload, numbered from 1, all with the same SPI. A proposal that has
 * both AEADs and other ciphers becomes two, in the order of their first ciphers.
 */
export function toWireProposals(
  proposals: readonly Proposal[],
  spi: Uint8Array,
): readonly WireProposal[] {
  return proposals.flatMap(splitByIntegrity).map((proposal, index) => ({
    number: index + 1,
    protocolId: PROTOCOL_ID[proposal.protocol],
    spi,
    transforms: proposal.transforms,
    unknownTransformCount: 0,
  }));
}

/** Writes what was chosen as the answer to the offer: NONE where it was agreed (RFC 7296 2.7). */
export function toWireAnswer(chosen: ChosenProposal, spi: Uint8Array): WireProposal {
  const none = chosen.noneTypes.map((type) => ({ type, id: NONE_ID, keyBits: null }));
  const transforms = [...chosen.proposal.transforms, ...none];
  return {
    number: chosen.number,
    protocolId: chosen.protocolId,
    spi,
    transforms: TYPES.flatMap((type) => transforms.filter((each) => each.type === type)),
    unknownTransformCount: 0,
  };
}

/** One proposal in the form it has on the wire: allowed types, each transform once, in order. */
function normalize(proposal: Proposal): Proposal {
  const allowed = ALLOWED[proposal.protocol];
  const transforms = TYPES.filter((type) => allowed.has(type)).flatMap((type) => {
    const own = proposal.transforms.filter((transform) => transform.type === type);
    return own.filter((each, index) => own.findIndex((x) => isSameTransform(x, each)) === index);
  });
  if (allowed.has('sequence-numbers') && !hasType(transforms, 'sequence-numbers')) {
    transforms.push(NO_ESN);
  }
  return { protocol: proposal.protocol, transforms };
}

// RFC 7296 section 3.3: AEADs have no integrity algorithm, so they need a proposal of their own.
function splitByIntegrity(given: Proposal): readonly Proposal[] {
  const known = splits.get(given);
  if (known !== undefined) return known;
  const split = splitAnew(given);
  splits.set(given, split);
  return split;
}

// Proposals are immutable, and those of the configuration are read for every peer that comes.
const splits = new WeakMap<Proposal, readonly Proposal[]>();

function splitAnew(given: Proposal): readonly Proposal[] {
  const proposal = normalize(given);
  const { protocol, transforms } = proposal;
  if (protocol === 'ah') return [proposal];
  const ciphers = ofType(transforms, 'encryption');
  const kinds = [...new Set(ciphers.map(isAead))];
  return kinds.map((aead) => ({
    protocol,
    transforms: transforms.filter((each) => {
      if (each.type === 'encryption') return isAead(each) === aead;
      return !(each.type === 'integrity' && aead);
    }),
  }));
}

/**
 * Chooses of an offer. Our proposals count in our order, then theirs in theirs; within a pair our
 * order of transforms counts, but for the key exchange of the KE payload that came. Null: nothing
 * fits.
 */
export function chooseProposal(
  ours: readonly Proposal[],
  offered: readonly WireProposal[],
  rules: ChoiceRules,
): ChosenProposal | null {
  for (const own of ours.flatMap(splitByIntegrity)) {
    for (const offer of offered) {
      const chosen = chooseOf(own, offer, rules);
      if (chosen !== null) return chosen;
    }
  }
  return null;
}

function chooseOf(own: Proposal, offer: WireProposal, rules: ChoiceRules): ChosenProposal | null {
  if (offer.protocolId !== PROTOCOL_ID[own.protocol]) return null;
  // RFC 7296 section 3.3.6: a proposal with a type that is not understood is unacceptable.
  if (offer.unknownTransformCount > 0) return null;
  const theirs = relevant(offer.transforms, rules);
  const mine = relevant(own.transforms, rules);
  const allowed = ALLOWED[own.protocol];
  if (theirs.some((each) => !allowed.has(each.type) && each.id !== NONE_ID)) return null;
  if (!hasMandatory(own.protocol, theirs, rules)) return null;

  const chosen: Transform[] = [];
  const noneTypes: TransformType[] = [];
  const additional: (readonly Transform[])[] = [];
  for (const type of TYPES) {
    const wanted = candidates(mine, theirs, type);
    if (wanted.length === 0) return null;
    if (type.startsWith('additional')) {
      additional.push(wanted);
      continue;
    }
    const preferred = type === 'key-exchange' ? rules.preferKeyExchange : null;
    const choice = wanted.find(({ id }) => id === preferred) ?? wanted[0];
    if (choice !== undefined) chosen.push(choice);
  }
  const extra = chooseDistinct(additional);
  if (extra === null) return null;
  const transforms: Transform[] = [];
  for (const type of TYPES) {
    const choice = [...chosen, ...extra].find((each) => each.type === type);
    if (choice === undefined) continue;
    const keepsNone = type === 'sequence-numbers' && allowed.has(type);
    if (choice.id !== NONE_ID || keepsNone) transforms.push(choice);
    else if (hasType(theirs, type)) noneTypes.push(type);
  }
  if (!isSound(own.protocol, transforms, rules)) return null;
  return {
    number: offer.number,
    protocolId: offer.protocolId,
    spi: offer.spi,
    proposal: agreed(own, transforms),
    noneTypes,
  };
}

/** Results that are remembered for one of our proposals, at most. */
const AGREED_COUNT_MAX = 16;
const agreements = new WeakMap<Proposal, Proposal[]>();

/** What was agreed on of a proposal of ours: one value for all SAs that agreed on the same. */
function agreed(own: Proposal, transforms: readonly Transform[]): Proposal {
  const known = agreements.get(own) ?? [];
  const same = known.find(
    (each) =>
      each.transforms.length === transforms.length &&
      each.transforms.every((transform, index) => transform === transforms[index]),
  );
  if (same !== undefined) return same;
  const proposal = { protocol: own.protocol, transforms };
  if (known.length < AGREED_COUNT_MAX) agreements.set(own, [...known, proposal]);
  return proposal;
}

/** The transforms that count. */
function relevant(transforms: readonly Transform[], rules: ChoiceRules): readonly Transform[] {
  if (!rules.ignoreKeyExchange) return transforms;
  return transforms.filter(({ type }) => !isKeyExchangeType(type));
}

function hasMandatory(
  protocol: Proposal['protocol'],
  transforms: readonly Transform[],
  rules: ChoiceRules,
): boolean {
  return MANDATORY[protocol].every(
    (type) => hasType(transforms, type) || (rules.ignoreKeyExchange && isKeyExchangeType(type)),
  );
}

/** What both have of a type, in our order. A type that one of them leaves out is NONE there. */
function candidates(
  mine: readonly Transform[],
  theirs: readonly Transform[],
  type: TransformType,
): readonly Transform[] {
  const none: readonly Transform[] = [{ type, id: NONE_ID, keyBits: null }];
  const own = hasType(mine, type) ? ofType(mine, type) : none;
  const other = hasType(theirs, type) ? ofType(theirs, type) : none;
  return own.filter((each) => other.some((x) => isSameTransform(x, each)));
}

/**
 * One of each list, none of them twice but NONE (RFC 9370 section 2.2.2), the earliest in each list
 * that can be; null where there is no such choice.
 */
function chooseDistinct(lists: readonly (readonly Transform[])[]): readonly Transform[] | null {
  const chosen: Transform[] = [];
  const search = (depth: number): boolean => {
    const list = lists[depth];
    if (list === undefined) return true;
    for (const candidate of list) {
      const isTaken =
        candidate.id !== KEY_EXCHANGE_NONE && chosen.some(({ id }) => id === candidate.id);
      if (isTaken) continue;
      chosen.push(candidate);
      if (search(depth + 1)) return true;
      chosen.pop();
    }
    return false;
  };
  return search(0) ? chosen : null;
}

/** Whether the chosen transforms make an SA that is encrypted and authenticated. */
function isSound(
  protocol: Proposal['protocol'],
  transforms: readonly Transform[],
  rules: ChoiceRules,
): boolean {
  const has = (type: TransformType): boolean => hasType(transforms, type);
  if (protocol === 'ah') return has('integrity');
  const [cipher] = ofType(transforms, 'encryption');
  // RFC 8221 section 5 and RFC 5282 section 8: a cipher is authenticated once, by one of the two.
  if (cipher === undefined || isAead(cipher) === has('integrity')) return false;
  if (protocol === 'esp') return true;
  return has('prf') && (has('key-exchange') || rules.ignoreKeyExchange);
}

export type AnswerCheck =
  | { readonly ok: true; readonly chosen: ChosenProposal }
  | { readonly ok: false; readonly reason: string };

/**
 * Whether an answer is one of what {@link toWireProposals} offered: exactly one proposal, and of
 * each type offered exactly one transform that was offered. Anything else is an attempt to agree on
 * less than we have (RFC 7296 section 2.7).
 */
export function checkAnswer(
  ours: readonly Proposal[],
  answer: readonly WireProposal[],
  rules: ChoiceRules,
): AnswerCheck {
  const [given, second] = answer;
  if (given === undefined) return refused('no proposal');
  if (second !== undefined) return refused('more than one proposal');
  if (given.unknownTransformCount > 0) return refused('a transform that was not offered');
  const offer = ours.flatMap(splitByIntegrity)[given.number - 1];
  if (offer === undefined) return refused(`proposal ${given.number}, which was not offered`);
  if (given.protocolId !== PROTOCOL_ID[offer.protocol]) return refused('another protocol');
  const theirs = relevant(given.transforms, rules);
  for (const type of TYPES) {
    const reason = answerFault(
      type,
      ofType(theirs, type),
      ofType(relevant(offer.transforms, rules), type),
    );
    if (reason !== null) return refused(reason);
  }
  if (rules.ignoreKeyExchange && given.transforms.some(isRealKeyExchange)) {
    return refused('a key exchange that was not offered');
  }
  const chosen = chooseOf(offer, given, rules);
  return chosen === null ? refused('transforms that do not go together') : { ok: true, chosen };
}

function isRealKeyExchange({ type, id }: Transform): boolean {
  return isKeyExchangeType(type) && id !== KEY_EXCHANGE_NONE;
}

function answerFault(
  type: TransformType,
  theirs: readonly Transform[],
  offered: readonly Transform[],
): string | null {
  const [choice, second] = theirs;
  if (second !== undefined) return `more than one transform of type ${type}`;
  if (choice === undefined) {
    const isOptional = offered.length === 0 || offered.some(({ id }) => id === NONE_ID);
    return isOptional ? null : `no transform of type ${type}`;
  }
  const isNone = choice.id === NONE_ID && offered.length === 0;
  if (isNone || offered.some((each) => isSameTransform(each, choice))) return null;
  return `${formatTransform(choice)}, which was not offered`;
}

function refused(reason: string): AnswerCheck {
  return { ok: false, reason };
}

/**
 * Where an offer and what we have fail to meet, for the pair of proposals that come closest: the
 * fields in which they share nothing, each side in keywords.
 */
export function proposalDifferences(
  ours: readonly Proposal[],
  offered: readonly WireProposal[],
): readonly Difference[] {
  let best: readonly Difference[] | null = null;
  for (const own of ours.flatMap(splitByIntegrity)) {
    for (const offer of offered) {
      const differences = differencesOf(own, offer);
      if (best === null || differences.length < best.length) best = differences;
    }
  }
  return best ?? [];
}

const PROTOCOL_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(PROTOCOL_ID).map(([name, id]) => [id, name]),
);

function differencesOf(own: Proposal, offer: WireProposal): readonly Difference[] {
  if (offer.protocolId !== PROTOCOL_ID[own.protocol]) {
    const theirs = PROTOCOL_NAMES.get(offer.protocolId) ?? `protocol ${offer.protocolId}`;
    // As bad as it gets: any other pair comes closer.
    return [{ field: 'protocol', ours: own.protocol, theirs }, ...allFields(own, offer)];
  }
  const differences = allFields(own, offer);
  if (offer.unknownTransformCount === 0) return differences;
  return [
    ...differences,
    { field: 'transforms', ours: 'none but known ones', theirs: 'some that are not known' },
  ];
}

function allFields(own: Proposal, offer: WireProposal): readonly Difference[] {
  return TYPES.flatMap((type) => {
    const mine = ofType(own.transforms, type);
    const theirs = ofType(offer.transforms, type);
    if (mine.length === 0 && theirs.length === 0) return [];
    if (candidates(own.transforms, offer.transforms, type).length > 0) return [];
    return [{ field: fieldOf(type), ours: formatList(mine), theirs: formatList(theirs) }];
  });
}

function fieldOf(type: TransformType): string {
  if (type === 'sequence-numbers') return 'esn';
  return type.replaceAll('-', ' ');
}

/** Keywords that one side of a difference shows at most. */
const KEYWORD_MAX = 16;

function formatList(transforms: readonly Transform[]): string {
  if (transforms.length === 0) return 'none';
  const shown = transforms.slice(0, KEYWORD_MAX).map(formatTransform);
  const rest = transforms.length - shown.length;
  return rest === 0 ? shown.join(', ') : `${shown.join(', ')} and ${rest} more`;
}

function ofType(transforms: readonly Transform[], type: TransformType): readonly Transform[] {
  return transforms.filter((transform) => transform.type === type);
}

function hasType(transforms: readonly Transform[], type: TransformType): boolean {
  return transforms.some((transform) => transform.type === type);
}
