/** The cases of the guest: what both ends are told, and how the SA must look. */

import type { Auth } from './cases.ts';

export interface GuestCasePlan {
  readonly name: string;
  readonly peer: 'libreswan' | 'strongswan';
  readonly initiator: 'a' | 'b';
  readonly auth: Auth;
  readonly ike: string;
  readonly esp: string;
  readonly mode: 'tunnel' | 'transport';
  readonly esn: boolean;
  /** By each side in turn, under traffic. */
  readonly rekeys: boolean;
}

const IKE = 'aes256gcm16-prfsha512-ecp256';

function both(change: Partial<GuestCasePlan> & { readonly name: string }): GuestCasePlan[] {
  return (['a', 'b'] as const).map((initiator) => ({
    peer: 'libreswan' as const,
    auth: 'psk' as const,
    ike: IKE,
    esp: 'aes256gcm16-noesn',
    mode: 'tunnel' as const,
    esn: false,
    rekeys: false,
    ...change,
    initiator,
    name: `${change.peer ?? 'libreswan'}: ${change.name}, begun by ${initiator.toUpperCase()}`,
  }));
}

export const LIBRESWAN_PLANS: readonly GuestCasePlan[] = [
  ...both({ name: 'PSK', rekeys: true }),
  ...both({ name: 'RSA', auth: 'rsa2048' }),
  ...both({ name: 'ECDSA', auth: 'ecdsa384' }),
  ...both({ name: 'AES-CBC with HMAC', esp: 'aes128-sha256-noesn', ike: 'aes128-sha256-x25519' }),
  ...both({ name: 'ESN', esp: 'aes128gcm16-esn', esn: true }),
  ...both({ name: 'transport mode', mode: 'transport' }),
];

export const STRONGSWAN_PLANS: readonly GuestCasePlan[] = [
  ...both({ name: 'ESN', peer: 'strongswan', esp: 'aes256gcm16-esn', esn: true, rekeys: true }),
  ...both({ name: 'transport mode', peer: 'strongswan', mode: 'transport' }),
];

/** One side moves to its second link under traffic, of an IKE SA that either side began. */
export interface MobikePlan {
  readonly name: string;
  readonly initiator: 'a' | 'b';
  readonly mover: 'a' | 'b';
}

export const MOBIKE_PLANS: readonly MobikePlan[] = (['a', 'b'] as const).flatMap((mover) =>
  (['a', 'b'] as const).map((initiator) => ({
    initiator,
    mover,
    name: `strongswan: MOBIKE, ${mover.toUpperCase()} moves, begun by ${initiator.toUpperCase()}`,
  })),
);

export const startName = (a: 'strongswan' | 'ours', peer: 'libreswan' | 'strongswan'): string =>
  `start: ${a} and ${peer}`;
