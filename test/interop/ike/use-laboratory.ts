import { afterAll, beforeAll } from 'vitest';
import { STRONGSWAN_NEEDS } from '../../lab/strongswan.ts';
import { Laboratory } from './laboratory.ts';

/** What the two daemons of a {@link Laboratory} need. */
export const LABORATORY_NEEDS = [
  'namespaces',
  'iproute2',
  'iputils-ping',
  'nftables',
  'conntrack',
  ...STRONGSWAN_NEEDS,
] as const;

/** One laboratory for the tests of a suite: started before them, ended after them. */
export function useLaboratory(): () => Laboratory {
  let started: Laboratory | undefined;
  beforeAll(async () => {
    started = await Laboratory.start();
  });
  afterAll(async () => {
    await started?.[Symbol.asyncDispose]();
  });
  return () => {
    if (started === undefined) throw new Error('nothing was started');
    return started;
  };
}
