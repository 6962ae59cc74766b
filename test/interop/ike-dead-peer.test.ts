import { expect, it } from 'vitest';
import { until } from '../lab/command.ts';
import { describeWith } from '../lab/describe-with.ts';
import { StrongswanPeer } from '../lab/strongswan-ike.ts';
import { complete } from '../lab/traffic.ts';
import { PATH_CASES } from './ike/cases.ts';
import { SIDES } from './ike/laboratory.ts';
import { LABORATORY_NEEDS, useLaboratory } from './ike/use-laboratory.ts';

/** Ten tries, each later than the one before, are most of three minutes. */
const PATIENCE_MS = 400_000;

// A file of its own: it waits for minutes, and others run meanwhile.
describeWith(LABORATORY_NEEDS, 'a peer that dies', () => {
  const lab = useLaboratory();

  it('is noticed, and can come again', async () => {
    const plain = PATH_CASES.find(({ name }) => name === 'no NAT');
    if (plain === undefined) throw new Error('no such case');
    await lab().prepare(plain, 'a');
    for (const side of SIDES) {
      const description = await lab().describe(plain, side, 'a');
      await lab()
        .peer(side)
        .load([{ ...description, dpdSeconds: 1 }]);
    }
    await lab().a.initiate('pair', 'net');
    const whole = complete(20);
    expect(await lab().traffic.transfer({ count: 20 })).toEqual({ aToB: whole, bToA: whole });
    await lab().b.kill();
    await until('A has no SA left', async () => (await lab().a.sas()).length === 0, PATIENCE_MS);
    // Of its own namespace nothing is left to clean: a new daemon starts where the old one died.
    const again = await StrongswanPeer.start({ namespace: lab().topology.b.gateway });
    await again.stop();
  });
});
