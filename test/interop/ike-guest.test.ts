import { beforeAll, describe, expect, it } from 'vitest';
import { describeWith } from '../lab/describe-with.ts';
import { type CaseResult, GUEST_NEEDS, runGuestCases } from '../lab/guest.ts';
import { repositoryRoot } from '../lab/registry.ts';
import { STRONGSWAN_NEEDS } from '../lab/strongswan.ts';
import { complete } from '../lab/traffic.ts';
import { HELD_FILE, makeHeld } from './ike/guest-credentials.ts';
import {
  type GuestCasePlan,
  LIBRESWAN_PLANS,
  MOBIKE,
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
 * Who A is: `ours` is the product, `strongswan` shows the laboratory to be right. The machine of the
 * guest is emulated, where a start of Node.js takes most of a minute.
 */
const A_IS: string = process.env['IKE_GUEST_A'] ?? 'strongswan';

/** All, which takes a quarter of an hour, or one of each kind. */
function chosen(plans: readonly GuestCasePlan[]): readonly GuestCasePlan[] {
  return process.env['IKE_GUEST'] === 'all' ? plans : plans.slice(0, 1);
}

describeWith(NEEDS, 'IKEv2 in a guest, with the ESP of the Linux kernel', () => {
  const who = A_IS === 'ours' ? 'ours' : 'strongswan';
  let results: ReadonlyMap<string, CaseResult> = new Map();

  beforeAll(async () => {
    const plans = [...chosen(LIBRESWAN_PLANS), ...chosen(STRONGSWAN_PLANS)];
    const held = await makeHeld(plans.map(({ auth }) => auth));
    results = await runGuestCases({
      files: { [HELD_FILE]: held },
      module: `${repositoryRoot}/test/interop/ike/guest-cases.ts`,
      names: [
        startName(who, 'libreswan'),
        ...chosen(LIBRESWAN_PLANS).map(({ name }) => name),
        startName(who, 'strongswan'),
        ...chosen(STRONGSWAN_PLANS).map(({ name }) => name),
        MOBIKE,
      ],
      caseTimeoutMs: 400_000,
      timeoutMs: 880_000,
    });
  }, 900_000);

  function value(name: string): unknown {
    const result = results.get(name);
    if (result === undefined) throw new Error(`${name} did not run`);
    if (result.error !== undefined) throw new Error(result.error);
    return result.value;
  }

  for (const [title, plans] of [
    ['libreswan', LIBRESWAN_PLANS],
    ['strongSwan', STRONGSWAN_PLANS],
  ] as const) {
    describe(title, () => {
      it.each(chosen(plans).map((plan) => [plan.name, plan] as const))('%s', (name, plan) => {
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
        // Between strongSwan and libreswan a rekey cost packets: there it only has to go on.
        const during =
          plan.peer === 'libreswan' ? { duplicated: 0 } : { lost: 0, duplicated: 0, refused: 0 };
        expect(value(name)).toMatchObject({
          transfer: { aToB: whole, bToA: whole },
          a: side('a'),
          b: side('b'),
          ...(plan.rekeys ? { during: { aToB: during, bToA: during } } : {}),
        });
      });
    });
  }

  it(MOBIKE, () => {
    const whole = complete(DATAGRAMS);
    expect(value(MOBIKE)).toMatchObject({
      before: { remote: { address: '192.0.2.1' }, children: [{ esn: true }] },
      after: { remote: { address: '203.0.113.1' }, children: [{ esn: true }] },
      during: { aToB: { duplicated: 0 }, bToA: { duplicated: 0 } },
      transfer: { aToB: whole, bToA: whole },
    });
  });
});
