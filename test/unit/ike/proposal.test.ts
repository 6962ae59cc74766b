import { describe, expect, it } from 'vitest';
import type { WireProposal } from '../../../packages/ipsec-node/src/ike/payload/payload.js';
import {
  checkAnswer,
  type ChoiceRules,
  type ChosenProposal,
  chooseProposal,
  proposalDifferences,
  toWireAnswer,
  toWireProposals,
} from '../../../packages/ipsec-node/src/ike/proposal.js';
import type { Proposal } from '../../../packages/ipsec-node/src/sad/proposal.js';
import { formatTransform, type Transform } from '../../../packages/ipsec-node/src/sad/transform.js';

const t = (type: Transform['type'], id: number, keyBits: number | null = null): Transform => ({
  type,
  id,
  keyBits,
});
const GCM256 = t('encryption', 20, 256);
const GCM128 = t('encryption', 20, 128);
const CBC128 = t('encryption', 12, 128);
const SHA256 = t('integrity', 12);
const NO_INTEGRITY = t('integrity', 0);
const PRF256 = t('prf', 5);
const PRF512 = t('prf', 7);
const X25519 = t('key-exchange', 31);
const ECP256 = t('key-exchange', 19);
const NO_KE = t('key-exchange', 0);
const NO_ESN = t('sequence-numbers', 0);
const ESN = t('sequence-numbers', 1);
const kem = (place: 1 | 2 | 3, id: number): Transform => t(`additional-key-exchange-${place}`, id);

const NO_SPI = new Uint8Array(0);
const SPI = new Uint8Array([1, 2, 3, 4]);
const PLAIN: ChoiceRules = { preferKeyExchange: null, ignoreKeyExchange: false };
const FIRST_CHILD: ChoiceRules = { preferKeyExchange: null, ignoreKeyExchange: true };

const ike = (...transforms: Transform[]): Proposal => ({ protocol: 'ike', transforms });
const esp = (...transforms: Transform[]): Proposal => ({ protocol: 'esp', transforms });
const offer = (protocolId: number, ...transforms: Transform[]): WireProposal => ({
  number: 1,
  protocolId,
  spi: protocolId === 1 ? NO_SPI : SPI,
  transforms,
  unknownTransformCount: 0,
});
const words = (chosen: ChosenProposal | null): string | null =>
  chosen === null ? null : chosen.proposal.transforms.map(formatTransform).join('-');

describe('toWireProposals', () => {
  it('RFC 7296 section 3.3: AEADs and other ciphers are in proposals of their own', () => {
    const wire = toWireProposals([ike(CBC128, GCM256, SHA256, PRF256, X25519, GCM128)], NO_SPI);
    expect(wire).toEqual([
      { ...offer(1, CBC128, SHA256, PRF256, X25519), number: 1 },
      { ...offer(1, GCM256, GCM128, PRF256, X25519), number: 2 },
    ]);
  });

  it('ESP always names its sequence numbers, and never a PRF', () => {
    const [wire] = toWireProposals([esp(GCM256, PRF256)], SPI);
    expect(wire).toEqual(offer(3, GCM256, NO_ESN));
    const [both] = toWireProposals([esp(ESN, NO_ESN, GCM256)], SPI);
    expect(both?.transforms).toEqual([GCM256, ESN, NO_ESN]);
  });

  it('writes each transform once', () => {
    const [wire] = toWireProposals([ike(GCM256, GCM256, PRF256, X25519, X25519)], NO_SPI);
    expect(wire?.transforms).toEqual([GCM256, PRF256, X25519]);
  });
});

describe('chooseProposal', () => {
  const ours = [ike(GCM256, GCM128, CBC128, SHA256, PRF256, PRF512, X25519, ECP256)];

  it('takes our order of transforms, of proposals that fit whole', () => {
    const theirs = offer(1, GCM128, GCM256, PRF512, PRF256, ECP256, X25519);
    expect(words(chooseProposal(ours, [theirs], PLAIN))).toBe('aes256gcm16-prfsha256-x25519');
    const second = { ...offer(1, CBC128, SHA256, PRF512, ECP256), number: 2 };
    const unknown = { ...theirs, unknownTransformCount: 1 };
    const chosen = chooseProposal(ours, [unknown, second], PLAIN);
    expect([chosen?.number, words(chosen)]).toEqual([2, 'aes128-sha256-prfsha512-ecp256']);
  });

  it('takes the key exchange of the KE payload that came', () => {
    const theirs = offer(1, GCM256, PRF256, X25519, ECP256);
    const choose = (method: number): string | null =>
      words(chooseProposal(ours, [theirs], { ...PLAIN, preferKeyExchange: method }));
    expect(choose(19)).toBe('aes256gcm16-prfsha256-ecp256');
    expect(choose(14)).toBe('aes256gcm16-prfsha256-x25519');
  });

  it('P03: takes none that lacks a mandatory type, whichever is removed', () => {
    const aead = [GCM256, PRF256, X25519];
    const cbc = [CBC128, SHA256, PRF256, X25519];
    const child = [GCM256, NO_ESN];
    const cases = [
      { own: ours, protocolId: 1, transforms: aead },
      { own: ours, protocolId: 1, transforms: cbc },
      { own: [esp(GCM256, NO_ESN)], protocolId: 3, transforms: child },
    ];
    for (const { own, protocolId, transforms } of cases) {
      expect(chooseProposal(own, [offer(protocolId, ...transforms)], PLAIN)).not.toBeNull();
      for (let mask = 0; mask < 2 ** transforms.length - 1; mask += 1) {
        const some = transforms.filter((_, index) => (mask & (1 << index)) !== 0);
        expect(chooseProposal(own, [offer(protocolId, ...some)], PLAIN)).toBeNull();
      }
    }
  });

  it('P04: of all 65,536 groups takes those that we have', () => {
    const taken: number[] = [];
    for (let group = 0; group < 65_536; group += 1) {
      const theirs = offer(1, GCM256, PRF256, t('key-exchange', group));
      if (chooseProposal(ours, [theirs], PLAIN) !== null) taken.push(group);
    }
    expect(taken).toEqual([19, 31]);
  });

  it('E14: a cipher is authenticated exactly once', () => {
    const choose = (...transforms: Transform[]): string | null =>
      words(chooseProposal(ours, [offer(1, ...transforms, PRF256, X25519)], PLAIN));
    expect(choose(CBC128)).toBeNull();
    expect(choose(CBC128, NO_INTEGRITY)).toBeNull();
    expect(choose(GCM256, SHA256)).toBeNull();
    expect(choose(GCM256, NO_INTEGRITY)).toBe('aes256gcm16-prfsha256-x25519');
    expect(choose(CBC128, SHA256)).toBe('aes128-sha256-prfsha256-x25519');
  });

  it('has no PFS only where both allow it', () => {
    const rule = (own: Proposal, ...transforms: Transform[]): string | null =>
      words(chooseProposal([own], [offer(3, GCM256, NO_ESN, ...transforms)], PLAIN));
    const strict = esp(GCM256, X25519, NO_ESN);
    const lenient = esp(GCM256, X25519, NO_KE, NO_ESN);
    const without = esp(GCM256, NO_ESN);
    expect(rule(strict)).toBeNull();
    expect(rule(strict, X25519)).toBe('aes256gcm16-x25519-noesn');
    expect(rule(lenient)).toBe('aes256gcm16-noesn');
    expect(rule(lenient, ECP256, NO_KE)).toBe('aes256gcm16-noesn');
    expect(rule(without, X25519)).toBeNull();
    expect(rule(without, X25519, NO_KE)).toBe('aes256gcm16-noesn');
  });

  it('RFC 7296 section 1.2: the first child has no key exchange, whatever is named', () => {
    const theirs = offer(3, GCM256, ECP256, NO_ESN);
    expect(words(chooseProposal([esp(GCM256, X25519)], [theirs], FIRST_CHILD))).toBe(
      'aes256gcm16-noesn',
    );
  });

  it('RFC 9370: additional key exchanges are agreed one by one, none twice', () => {
    const own = ike(GCM256, PRF256, X25519, kem(1, 36), kem(1, 37), kem(2, 36), kem(2, 0));
    const choose = (...transforms: Transform[]): string | null =>
      words(chooseProposal([own], [offer(1, GCM256, PRF256, X25519, ...transforms)], PLAIN));
    const base = 'aes256gcm16-prfsha256-x25519';
    expect(choose()).toBeNull();
    expect(choose(kem(1, 37))).toBe(`${base}-ke1_mlkem1024`);
    expect(choose(kem(1, 36), kem(1, 37), kem(2, 36))).toBe(`${base}-ke1_mlkem1024-ke2_mlkem768`);
    expect(choose(kem(1, 36), kem(2, 36))).toBeNull();
    expect(choose(kem(1, 36), kem(2, 36), kem(2, 0))).toBe(`${base}-ke1_mlkem768`);
    expect(choose(kem(1, 36), kem(3, 36))).toBeNull();
    expect(choose(kem(1, 36), kem(3, 36), kem(3, 0))).toBe(`${base}-ke1_mlkem768`);
  });

  it('RFC 7296 section 2.7: the answer names a transform of each type offered, NONE included', () => {
    const theirs = offer(3, GCM256, X25519, NO_KE, NO_INTEGRITY, NO_ESN);
    const chosen = chooseProposal([esp(GCM256)], [theirs], PLAIN);
    if (chosen === null) throw new Error('nothing chosen');
    const answer = toWireAnswer(chosen, SPI);
    const types = (proposal: WireProposal): string[] =>
      [...new Set(proposal.transforms.map(({ type }) => type))].sort();
    expect(types(answer)).toEqual(types(theirs));
    expect(answer.transforms).toHaveLength(4);
  });

  it('takes no other protocol', () => {
    expect(chooseProposal([esp(GCM256)], [offer(2, GCM256, NO_ESN)], PLAIN)).toBeNull();
    expect(chooseProposal([esp(GCM256)], [], PLAIN)).toBeNull();
    expect(chooseProposal([], [offer(3, GCM256, NO_ESN)], PLAIN)).toBeNull();
  });
});

describe('checkAnswer', () => {
  const ours = [ike(CBC128, GCM256, GCM128, SHA256, PRF256, X25519, ECP256)];
  const good = { ...offer(1, GCM128, PRF256, ECP256), number: 2 };
  const reason = (...answer: WireProposal[]): string | null => {
    const checked = checkAnswer(ours, answer, PLAIN);
    return checked.ok ? null : checked.reason;
  };

  it('takes one of what was offered', () => {
    const checked = checkAnswer(ours, [good], PLAIN);
    expect(checked.ok && words(checked.chosen)).toBe('aes128gcm16-prfsha256-ecp256');
  });

  it('refuses whatever was not offered, or not exactly once', () => {
    const changed = (...transforms: Transform[]): WireProposal => ({ ...good, transforms });
    expect(reason()).toMatch(/no proposal/);
    expect(reason(good, good)).toMatch(/more than one proposal/);
    expect(reason({ ...good, number: 1 })).not.toBeNull();
    for (const number of [0, 3, 255]) expect(reason({ ...good, number })).toMatch(/not offered/);
    expect(reason({ ...good, protocolId: 3 })).toMatch(/protocol/);
    expect(reason({ ...good, unknownTransformCount: 1 })).toMatch(/not offered/);
    expect(reason(changed(GCM128, PRF512, ECP256))).toMatch(/prfsha512/);
    expect(reason(changed(GCM128, PRF256, NO_KE))).toMatch(/not offered/);
    expect(reason(changed(GCM128, PRF256))).toMatch(/key-exchange/);
    expect(reason(changed(GCM128, GCM256, PRF256, ECP256))).toMatch(/more than one transform/);
    expect(reason(changed(GCM128, SHA256, PRF256, ECP256))).toMatch(/sha256/);
    expect(reason(changed(GCM128, PRF256, ECP256, kem(1, 36)))).toMatch(/mlkem768/);
    expect(reason({ ...offer(1, CBC128, PRF256, ECP256), number: 1 })).toMatch(/integrity/);
  });

  it('refuses a key exchange in the first child', () => {
    const own = [esp(GCM256, X25519)];
    expect(checkAnswer(own, [offer(3, GCM256, NO_ESN)], FIRST_CHILD).ok).toBe(true);
    expect(checkAnswer(own, [offer(3, GCM256, NO_KE, NO_ESN)], FIRST_CHILD).ok).toBe(true);
    expect(checkAnswer(own, [offer(3, GCM256, X25519, NO_ESN)], FIRST_CHILD).ok).toBe(false);
  });

  it('takes whatever chooseProposal makes of our own offer', () => {
    const sides = [ike(GCM256, PRF256, X25519), ike(CBC128, SHA256, PRF256, ECP256)];
    for (const side of sides) {
      const chosen = chooseProposal([side], toWireProposals(ours, NO_SPI), PLAIN);
      if (chosen === null) throw new Error('nothing chosen');
      expect(reason(toWireAnswer(chosen, NO_SPI))).toBeNull();
    }
  });
});

describe('proposalDifferences', () => {
  it('names of the closest pair the fields that share nothing', () => {
    const ours = [ike(GCM256, PRF256, X25519), ike(CBC128, SHA256, PRF256, ECP256)];
    const theirs = [offer(1, CBC128, t('integrity', 14), PRF256, t('key-exchange', 2))];
    expect(proposalDifferences(ours, theirs)).toEqual([
      { field: 'integrity', ours: 'sha256', theirs: 'sha512' },
      { field: 'key exchange', ours: 'ecp256', theirs: 'modp1024' },
    ]);
    expect(proposalDifferences([esp(GCM256, NO_ESN)], [offer(3, GCM256, ESN)])).toEqual([
      { field: 'esn', ours: 'noesn', theirs: 'esn' },
    ]);
    const [protocol] = proposalDifferences([esp(GCM256)], [offer(2, SHA256, NO_ESN)]);
    expect(protocol).toEqual({ field: 'protocol', ours: 'esp', theirs: 'ah' });
    const hybrid = [ike(GCM256, PRF256, X25519, kem(1, 36))];
    expect(proposalDifferences(hybrid, [offer(1, GCM256, PRF256, X25519)])).toEqual([
      { field: 'additional key exchange 1', ours: 'ke1_mlkem768', theirs: 'none' },
    ]);
  });
});
