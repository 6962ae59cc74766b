import { beforeAll, describe, expect, it } from 'vitest';
import { describeWith } from '../lab/describe-with.ts';
import { bundleProduct } from '../lab/guest-product.ts';
import { type CaseResult, GUEST_NEEDS, runGuestCases } from '../lab/guest.ts';
import { parseLine } from '../lab/node-program.ts';
import { repositoryRoot } from '../lab/registry.ts';
import { STRONGSWAN_NEEDS } from '../lab/strongswan.ts';
import { complete } from '../lab/traffic.ts';
import { makeHeld } from './ike/guest-credentials.ts';
import {
  type GuestCasePlan,
  LIBRESWAN_PLANS,
  MOBIKE_PLANS,
  startName,
  STRONGSWAN_PLANS,
} from './ike/guest-plan.ts';

const NEEDS = [
  'iproute2',
  'openssl',
  'libnss3-tools',
  'libreswan',
  ...STRONGSWAN_NEEDS,
  ...GUEST_NEEDS,
] as const;

const DATAGRAMS = 20;

/**
 * Who A is: `ours` is the product; `strongswan` shows the laboratory to be right, when asked for.
 */
const A_IS = process.env['IKE_GUEST_A'] === 'strongswan' ? 'strongswan' : 'ours';
/** Cases whose name matches; default all. */
const WANTED = new RegExp(process.env['IKE_GUEST_CASES'] ?? '');

function chosen<T extends { readonly name: string }>(plans: readonly T[]): readonly T[] {
  return plans.filter(({ name }) => WANTED.test(name));
}

const OF_LIBRESWAN = chosen(LIBRESWAN_PLANS);
const OF_STRONGSWAN = chosen(STRONGSWAN_PLANS);
/** Between two strongSwans a responder that moves is not always followed. */
const OF_MOBIKE = chosen(MOBIKE_PLANS).filter(
  ({ initiator, mover }) => A_IS === 'ours' || initiator === mover,
);

/** The names of cases in the order in which they run, after the start of the two daemons. */
function begun(
  peer: 'libreswan' | 'strongswan',
  plans: readonly { readonly name: string }[],
): readonly string[] {
  return plans.length === 0 ? [] : [startName(A_IS, peer), ...plans.map(({ name }) => name)];
}

/** What is expected of the traffic while both sides rekeyed. */
function rekeyed(peer: GuestCasePlan['peer'], outcome: unknown): object {
  const none = { lost: 0, duplicated: 0, refused: 0 };
  // Between strongSwan and libreswan a rekey cost packets: there it only has to go on.
  if (A_IS === 'strongswan' && peer === 'libreswan') {
    return { during: { aToB: { duplicated: 0 }, bToA: { duplicated: 0 } } };
  }
  // libreswan sends by the new SA from the moment of its answer, where RFC 7296 section 2.8 would
  // have it wait: what overtakes the answer is lost, and nothing else is.
  const early = peer === 'libreswan' ? earlyOf(outcome) : 0;
  return {
    unknown: { early, else: 0 },
    during: { aToB: none, bToA: { ...none, lost: early } },
  };
}

function earlyOf(outcome: unknown): number {
  const unknown = parseLine(JSON.stringify(outcome)).get('unknown');
  return Number(parseLine(JSON.stringify(unknown ?? {})).get('early'));
}

describeWith(NEEDS, 'IKEv2 in a guest, with the ESP of the Linux kernel', () => {
  let results: ReadonlyMap<string, CaseResult> = new Map();

  beforeAll(async () => {
    if (A_IS === 'ours') await bundleProduct();
    results = await runGuestCases({
      files: await makeHeld([...OF_LIBRESWAN, ...OF_STRONGSWAN].map(({ auth }) => auth)),
      module: `${repositoryRoot}/test/interop/ike/guest-cases.ts`,
      names: [
        ...begun('libreswan', OF_LIBRESWAN),
        ...begun('strongswan', [...OF_STRONGSWAN, ...OF_MOBIKE]),
      ],
      caseTimeoutMs: 600_000,
      timeoutMs: 1_780_000,
    });
  }, 1_800_000);

  function value(name: string): unknown {
    const result = results.get(name);
    if (result === undefined) throw new Error(`${name} did not run`);
    if (result.error !== undefined) throw new Error(result.error);
    return result.value;
  }

  for (const [title, plans] of [
    ['libreswan', OF_LIBRESWAN],
    ['strongSwan', OF_STRONGSWAN],
  ] as const) {
    describe(title, () => {
      it.each(plans.map((plan) => [plan.name, plan] as const))('%s', (name, plan) => {
        const whole = complete(DATAGRAMS);
        const child = {
          name: 'net',
          mode: plan.mode.toUpperCase(),
          esn: plan.esn,
          packetsIn: DATAGRAMS,
          packetsOut: DATAGRAMS,
        };
        const side = (own: 'a' | 'b') => ({
          role: own === plan.initiator ? 'initiator' : 'responder',
          local: { id: `${own}.example` },
          remote: { id: `${own === 'a' ? 'b' : 'a'}.example` },
          children: [child],
        });
        const outcome = value(name);
        expect(outcome).toMatchObject({
          transfer: { aToB: whole, bToA: whole },
          a: side('a'),
          b: side('b'),
          ...(plan.rekeys ? rekeyed(plan.peer, outcome) : {}),
        });
      });
    });
  }

  it.each(OF_MOBIKE.map((plan) => [plan.name, plan] as const))('%s', (name, { mover }) => {
    const whole = complete(DATAGRAMS);
    const child = { children: [{ esn: true }] };
    const [first, second] =
      mover === 'a' ? ['192.0.2.1', '203.0.113.1'] : ['192.0.2.2', '203.0.113.2'];
    const views = (address: string | undefined) => ({
      moves: { ...child, local: { address } },
      stays: { ...child, remote: { address } },
    });
    expect(value(name)).toMatchObject({
      before: views(first),
      after: views(second),
      during: { aToB: { duplicated: 0 }, bToA: { duplicated: 0 } },
      transfer: { aToB: whole, bToA: whole },
    });
  });
});
