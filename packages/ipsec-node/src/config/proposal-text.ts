/**
 * Proposals as people write them: strongSwan's keywords joined by dashes, such as
 * `aes256gcm16-prfsha384-ecp384` or `aes256-sha256-x25519-ke1_mlkem768` (RFC 9370).
 */
import { type Proposal, transformsOf } from '../sad/proposal.js';
import { SUITE_NAMES, type SuiteName } from '../sad/suite.js';
import {
  ADDITIONAL_KEY_EXCHANGES,
  ESN_NONE,
  ESN_YES,
  formatTransform,
  isSameTransform,
  KEM_IDS,
  KEY_EXCHANGE_NONE,
  type Transform,
  type TransformInfo,
  transformInfo,
  TRANSFORMS,
  type TransformType,
} from '../sad/transform.js';
import { DEFAULT_PRFS } from './defaults.js';
import { NOT_IN_THIS_VERSION } from './fault.js';
import { LATER_VALUES } from './later.js';
import { nearestName } from './nearest.js';

/** What is wrong with a proposal, in the words of a fault. */
export interface ProposalFault {
  readonly found: string;
  readonly why: string;
  readonly accepted: string;
  readonly nearest?: string | undefined;
}

export type ProposalReading =
  | {
      readonly ok: true;
      readonly proposal: Proposal;
      /** Keywords of what `legacy: true` was needed for. */
      readonly legacy: readonly string[];
    }
  | { readonly ok: false; readonly faults: readonly ProposalFault[] };

export interface ProposalOptions {
  /** Whether what RFC 8221 and RFC 8247 advise against may be used. */
  readonly legacy: boolean;
}

/** The order of the types in a proposal: that of their numbers. */
const TYPE_ORDER: readonly TransformType[] = [
  'encryption',
  'prf',
  'integrity',
  'key-exchange',
  'sequence-numbers',
  ...ADDITIONAL_KEY_EXCHANGES,
];

const EXAMPLES = {
  ike: 'aes256gcm16-prfsha384-ecp384',
  esp: 'aes256gcm16-x25519',
} as const;

/** Refused for good, and why. */
const REFUSED: ReadonlyMap<string, string> = new Map([
  ...refused('RFC 8247 section 2.1: single DES must not be used', 'des', 'des_iv64'),
  ...refused('RFC 8221 section 5: blocks of 64 bits give plaintext away', '3des', 'cast128'),
  ...refused('RFC 8221 section 5: it must not be used', 'idea'),
  ...refused(
    'RFC 8221 section 5: it must not be used',
    ...['blowfish', 'blowfish128', 'blowfish192', 'blowfish256'],
  ),
  ...refused('RFC 8247 section 2.3: MD5 must not be used', 'md5', 'md5_128', 'prfmd5'),
  ...refused('RFC 8247 section 2.4: groups under 1024 bits must not be used', 'modp768'),
  ...refused(
    'RFC 8247 section 2.4: groups 22 to 24 are of doubtful origin',
    ...['modp1024s160', 'modp2048s224', 'modp2048s256'],
  ),
  ...refused('no RFC cuts HMAC-SHA2-256 to 96 bits', 'sha256_96', 'sha2_256_96'),
]);

function refused(
  why: string,
  ...keywords: readonly string[]
): readonly (readonly [string, string])[] {
  return keywords.map((keyword) => [keyword, why] as const);
}

/** Every keyword, its transform, and the row that it comes from. */
const KEYWORDS: ReadonlyMap<
  string,
  { readonly transform: Transform; readonly info: TransformInfo }
> = new Map(
  TRANSFORMS.flatMap((info) => {
    const { type, id, keyBits } = info;
    const value = { transform: { type, id, keyBits }, info };
    return [info.keyword, ...info.aliases].map((keyword) => [keyword, value] as const);
  }),
);

const NO_KEY_EXCHANGE = 'modpnone';
const SEQUENCE_NUMBERS = { esn: ESN_YES, noesn: ESN_NONE } as const;

/** Every keyword that a proposal may have, for the search of the nearest. */
export function proposalKeywords(protocol: 'ike' | 'esp'): readonly string[] {
  const own = TRANSFORMS.filter(({ type }) => protocol === 'ike' || type !== 'prf').map(
    ({ keyword }) => keyword,
  );
  const additional = TRANSFORMS.filter(({ type }) => type === 'key-exchange').flatMap(
    ({ keyword }) => ADDITIONAL_KEY_EXCHANGES.map((_type, index) => `ke${index + 1}_${keyword}`),
  );
  return [...own, ...additional, ...(protocol === 'esp' ? [NO_KEY_EXCHANGE, 'esn', 'noesn'] : [])];
}

/** The PRF that goes with an integrity algorithm where none is named, as strongSwan does. */
const PRF_OF_INTEGRITY: ReadonlyMap<number, number> = new Map([
  [2, 2],
  [5, 4],
  [8, 8],
  [12, 5],
  [13, 6],
  [14, 7],
]);

/**
 * Reads one proposal. What is not named is added: in IKE the PRF that belongs to the integrity
 * algorithm (with a combined-mode cipher {@link DEFAULT_PRFS}), in ESP both sequence number forms,
 * the extended one first.
 */
export function readProposal(
  protocol: 'ike' | 'esp',
  text: string,
  options: ProposalOptions,
): ProposalReading {
  const faults: ProposalFault[] = [];
  const transforms: Transform[] = [];
  const legacy: string[] = [];
  for (const word of text.trim().split('-')) {
    const reading = readKeyword(protocol, word, options);
    if (reading.fault !== undefined) faults.push(reading.fault);
    if (reading.transform === undefined) continue;
    if (reading.legacy) legacy.push(word);
    const { transform } = reading;
    if (!transforms.some((other) => isSameTransform(other, transform))) transforms.push(transform);
  }
  if (faults.length > 0) return { ok: false, faults };
  const whole = complete(protocol, transforms);
  const wrong = checkWhole(protocol, whole, text.trim());
  if (wrong.length > 0) return { ok: false, faults: wrong };
  const ordered = TYPE_ORDER.flatMap((type) => whole.filter((each) => each.type === type));
  return { ok: true, proposal: { protocol, transforms: ordered }, legacy };
}

/** Reads proposals that are known to be right, such as defaults. */
export function knownProposals(
  protocol: 'ike' | 'esp',
  texts: readonly string[],
): readonly Proposal[] {
  return texts.flatMap((text) => {
    const reading = readProposal(protocol, text, { legacy: true });
    return reading.ok ? [reading.proposal] : [];
  });
}

interface KeywordReading {
  readonly transform?: Transform;
  readonly legacy: boolean;
  readonly fault?: ProposalFault;
}

/** What is not in this version, with what there is of its kind. */
function laterFault(word: string, bare: string): ProposalFault {
  const type = /^(ecp|mlkem)/.test(bare) ? 'key-exchange' : 'encryption';
  const known = TRANSFORMS.filter((row) => row.type === type && !row.legacy);
  return {
    found: JSON.stringify(word),
    why: NOT_IN_THIS_VERSION,
    accepted: known.map(({ keyword }) => keyword).join(', '),
  };
}

function readKeyword(
  protocol: 'ike' | 'esp',
  word: string,
  options: ProposalOptions,
): KeywordReading {
  const accepted = `strongSwan's keywords joined by dashes, such as ${EXAMPLES[protocol]}`;
  const fault = (why: string, nearest?: string): KeywordReading => ({
    legacy: false,
    fault: { found: JSON.stringify(word), why, accepted, nearest },
  });
  const transform = transformOf(word);
  if (transform === null) {
    const bare = word.replace(/^ke\d_/, '');
    const later: readonly string[] = LATER_VALUES.algorithm;
    const why = REFUSED.get(bare);
    if (why !== undefined) return fault(why);
    if (later.includes(bare)) return { legacy: false, fault: laterFault(word, bare) };
    if (word.includes(',')) return fault('proposals are a list: one entry each');
    if (word === '') return fault('a keyword is missing between two dashes');
    return fault('there is no such keyword', nearestName(word, proposalKeywords(protocol)));
  }
  if (protocol === 'esp' && transform.type === 'prf') {
    return fault('ESP has no PRF: it is a matter of the peer');
  }
  if (protocol === 'ike' && transform.type === 'sequence-numbers') {
    return fault('IKE has no extended sequence numbers: they are a matter of the policy');
  }
  if (transform.type === 'key-exchange') {
    if (protocol === 'ike' && transform.id === KEY_EXCHANGE_NONE) {
      return fault('IKE cannot do without a key exchange');
    }
    if (KEM_IDS.has(transform.id)) {
      return fault('it is an additional key exchange (RFC 9370), after a first one', `ke1_${word}`);
    }
  }
  const isLegacy = transformInfo(transform)?.legacy === true;
  if (isLegacy && !options.legacy) {
    return fault('RFC 8221 and RFC 8247 advise against it: only with legacy: true in the peer');
  }
  return { transform, legacy: isLegacy };
}

function transformOf(word: string): Transform | null {
  if (word === 'esn' || word === 'noesn') {
    return { type: 'sequence-numbers', id: SEQUENCE_NUMBERS[word], keyBits: null };
  }
  if (word === NO_KEY_EXCHANGE) {
    return { type: 'key-exchange', id: KEY_EXCHANGE_NONE, keyBits: null };
  }
  const additional = /^ke([1-7])_(.+)$/.exec(word);
  const type = ADDITIONAL_KEY_EXCHANGES[Number(additional?.[1]) - 1];
  if (additional === null || type === undefined) return KEYWORDS.get(word)?.transform ?? null;
  if (additional[2] === 'none') return { type, id: KEY_EXCHANGE_NONE, keyBits: null };
  const known = KEYWORDS.get(additional[2] ?? '');
  return known?.info.type === 'key-exchange' ? { ...known.transform, type } : null;
}

/** Adds what goes without saying. */
function complete(protocol: 'ike' | 'esp', transforms: readonly Transform[]): readonly Transform[] {
  const has = (type: TransformType): boolean => transforms.some((each) => each.type === type);
  if (protocol === 'esp') {
    if (has('sequence-numbers')) return transforms;
    const both = [ESN_YES, ESN_NONE].map(
      (id): Transform => ({ type: 'sequence-numbers', id, keyBits: null }),
    );
    return [...transforms, ...both];
  }
  if (has('prf')) return transforms;
  const derived = transforms.flatMap(({ type, id }) => {
    const prf = type === 'integrity' ? PRF_OF_INTEGRITY.get(id) : undefined;
    return prf === undefined ? [] : [prf];
  });
  const ids = derived.length > 0 ? derived : DEFAULT_PRFS;
  return [...transforms, ...ids.map((id): Transform => ({ type: 'prf', id, keyBits: null }))];
}

/** What a proposal must have, and may not have together (RFC 7296 section 3.3.3). */
function checkWhole(
  protocol: 'ike' | 'esp',
  transforms: readonly Transform[],
  text: string,
): readonly ProposalFault[] {
  const of = (type: TransformType): readonly Transform[] =>
    transforms.filter((each) => each.type === type);
  const example = `for example ${EXAMPLES[protocol]}`;
  const found = JSON.stringify(text);
  const faults: ProposalFault[] = [];
  const add = (why: string, accepted: string, nearest?: string): void => {
    faults.push({ found, why, accepted, nearest });
  };
  const ciphers = of('encryption');
  const isAead = (each: Transform): boolean => transformInfo(each)?.aead === true;
  if (ciphers.length === 0) add('an encryption algorithm is missing', example);
  else if (ciphers.every(isAead)) {
    if (of('integrity').length > 0) {
      add(
        'a combined-mode cipher authenticates by itself: no integrity algorithm goes with it',
        example,
        withoutIntegrity(protocol, text),
      );
    }
  } else if (ciphers.some(isAead)) {
    // RFC 7296 section 3.3: the two kinds need different transforms, so they are two proposals.
    add('combined-mode ciphers and others need a proposal each', 'two entries of the list');
  } else if (of('integrity').length === 0) {
    add('an integrity algorithm is missing', 'for example aes256-sha256-x25519');
  }
  if (protocol === 'ike' && of('key-exchange').length === 0) {
    add('a key exchange is missing', example);
  }
  const additional = ADDITIONAL_KEY_EXCHANGES.flatMap((type) => {
    const each = of(type);
    return each.length === 0 ? [] : [each];
  });
  const first = of('key-exchange').filter(({ id }) => id !== KEY_EXCHANGE_NONE);
  if (additional.length > 0 && first.length === 0 && protocol === 'esp') {
    add(
      'an additional key exchange needs a first one',
      'for example aes256gcm16-x25519-ke1_mlkem768',
    );
  }
  // RFC 9370: no method is chosen twice, so two steps with one and the same cannot be agreed on.
  const single = [first, ...additional].flatMap((each) =>
    each.length === 1 && each[0] !== undefined ? [each[0].id] : [],
  );
  if (new Set(single).size !== single.length) {
    add('one key exchange stands in two steps (RFC 9370)', 'a method of its own in each');
  }
  return faults;
}

/** The proposal as it was probably meant: what stood for integrity becomes the PRF. */
function withoutIntegrity(protocol: 'ike' | 'esp', text: string): string {
  const words = text.split('-');
  const hasPrf = words.some((word) => transformOf(word)?.type === 'prf');
  return words
    .flatMap((word) => {
      const transform = transformOf(word);
      if (transform?.type !== 'integrity') return [word];
      const prf = PRF_OF_INTEGRITY.get(transform.id);
      const row = TRANSFORMS.find(({ type, id }) => type === 'prf' && id === prf);
      return protocol === 'esp' || hasPrf || row === undefined ? [] : [row.keyword];
    })
    .join('-');
}

/** The suites that an SA of these ESP proposals may have, as manual SAs name them. */
export function suitesOf(proposals: readonly Proposal[]): readonly SuiteName[] {
  const names = proposals.flatMap((proposal) => {
    const integrity = transformsOf(proposal, 'integrity').map(formatTransform);
    return transformsOf(proposal, 'encryption')
      .map(formatTransform)
      .flatMap((cipher) =>
        integrity.length === 0 ? [cipher] : integrity.map((each) => `${cipher}-${each}`),
      );
  });
  return SUITE_NAMES.filter((suite) => names.includes(suite));
}
