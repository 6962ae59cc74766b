/**
 * In a guest: two gateways that are their own sites, joined by two links. Few programs are started:
 * each takes a good part of a second there.
 *
 *     gwA (10.1.0.2) ==== 192.0.2.0/24 ==== gwB (10.2.0.2)
 *                    ---- 203.0.113.0/24 --
 */

import { writeFileSync } from 'node:fs';
import { run } from './command.ts';
import { Namespace } from './namespace.ts';

export interface GuestSite {
  readonly gateway: Namespace;
  /** wan0, and wan1 of the second link. */
  readonly outer: readonly [string, string];
  readonly outer6: string;
  readonly inner4: string;
  readonly inner6: string;
  readonly prefix4: string;
  readonly prefix6: string;
}

export interface GuestPair extends AsyncDisposable {
  readonly a: GuestSite;
  readonly b: GuestSite;
}

/**
 * What negotiated SAs need of the kernel, loaded before a daemon waits for it: its first use would
 * take longer than a peer retransmits.
 */
const MODULES =
  'xfrm_user esp4 esp6 xfrm4_tunnel xfrm6_tunnel seqiv echainiv authenc gcm ctr cbc hmac ' +
  'sha256_generic aesni-intel ghash-clmulni-intel veth dummy';

/** One SA of each kind of cipher that is used: the kernel puts an algorithm together at its first use. */
const ALGORITHMS = [
  `aead rfc4106(gcm(aes)) 0x${'5a'.repeat(20)} 128`,
  `auth-trunc hmac(sha256) 0x${'5a'.repeat(32)} 128 enc cbc(aes) 0x${'5a'.repeat(16)}`,
];

export async function loadEspModules(): Promise<void> {
  await run(['modprobe', '-a', ...MODULES.split(' ')], { anyStatus: true, timeoutMs: 200_000 });
  const states = ALGORITHMS.map((words, index) => {
    const id = `src 127.0.0.1 dst 127.0.0.1 proto esp spi ${0x2000 + index}`;
    return `xfrm state add ${id} mode tunnel ${words}`;
  });
  await run(['ip', '-batch', '-'], {
    input: `${[...states, 'xfrm state flush'].join('\n')}\n`,
    timeoutMs: 200_000,
  });
}

function site(number: 1 | 2): GuestSite {
  return {
    gateway: Namespace.named(number === 1 ? 'gwa' : 'gwb'),
    outer: [`192.0.2.${number}`, `203.0.113.${number}`],
    outer6: `2001:db8:f::${number}`,
    inner4: `10.${number}.0.2`,
    inner6: `fd0${number}::2`,
    prefix4: `10.${number}.0.0/24`,
    prefix6: `fd0${number}::/64`,
  };
}

async function furnish(own: GuestSite, other: GuestSite): Promise<void> {
  const { gateway, outer, outer6, inner4, inner6 } = own;
  await gateway.ipBatch([
    ...['lo', 'lan0', 'wan0', 'wan1'].map((device) => `link set ${device} up`),
    `addr add ${inner4}/24 dev lan0`,
    `addr add ${inner6}/64 dev lan0 nodad`,
    `addr add ${outer[0]}/24 dev wan0`,
    `addr add ${outer6}/64 dev wan0 nodad`,
    `addr add ${outer[1]}/24 dev wan1`,
    `route add default via ${other.outer[0]} dev wan0`,
    `route add default via ${other.outer6} dev wan0`,
  ]);
}

/** What waits while a program is not run for seconds is more than the kernel's 200 KiB. */
function widenBuffers(): void {
  writeFileSync('/proc/sys/net/core/rmem_max', String(16 << 20));
}

export async function buildGuestPair(): Promise<GuestPair> {
  widenBuffers();
  const a = site(1);
  const b = site(2);
  const [nameA, nameB] = [a.gateway.name, b.gateway.name];
  const lines = [
    `netns add ${nameA}`,
    `netns add ${nameB}`,
    `link add lan0 netns ${nameA} type dummy`,
    `link add lan0 netns ${nameB} type dummy`,
    ...['wan0', 'wan1'].map(
      (device) => `link add ${device} netns ${nameA} type veth peer name ${device} netns ${nameB}`,
    ),
  ];
  await run(['ip', '-batch', '-'], { input: `${lines.join('\n')}\n`, timeoutMs: 200_000 });
  await Promise.all([furnish(a, b), furnish(b, a)]);
  return {
    a,
    b,
    [Symbol.asyncDispose]: async () => {
      await a.gateway.remove();
      await b.gateway.remove();
    },
  };
}
