/**
 * In a guest: two gateways that are their own sites, joined by two links. Few programs are started:
 * each takes a good part of a second there.
 *
 *     gwA (10.1.0.2) ==== 192.0.2.0/24 ==== gwB (10.2.0.2)
 *                    ---- 203.0.113.0/24 --
 */

import { run } from './command.ts';
import { connect, Namespace } from './namespace.ts';

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
  'sha256_generic sha512_generic chacha20poly1305 aesni-intel ghash-clmulni-intel veth dummy';

/** One SA of each kind of cipher: the kernel puts an algorithm together at its first use. */
const ALGORITHMS = [
  `aead rfc4106(gcm(aes)) 0x${'5a'.repeat(20)} 128`,
  `aead rfc7539esp(chacha20,poly1305) 0x${'5a'.repeat(36)} 128`,
  `auth-trunc hmac(sha256) 0x${'5a'.repeat(32)} 128 enc cbc(aes) 0x${'5a'.repeat(16)}`,
  `auth-trunc hmac(sha512) 0x${'5a'.repeat(64)} 256 enc cbc(aes) 0x${'5a'.repeat(32)}`,
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

async function site(number: 1 | 2): Promise<GuestSite> {
  const gateway = await Namespace.create(number === 1 ? 'gwa' : 'gwb');
  await gateway.ipBatch([
    'link add lan0 type dummy',
    'link set lan0 up',
    `addr add 10.${number}.0.2/24 dev lan0`,
    `addr add fd0${number}::2/64 dev lan0 nodad`,
  ]);
  return {
    gateway,
    outer: [`192.0.2.${number}`, `203.0.113.${number}`],
    outer6: `2001:db8:f::${number}`,
    inner4: `10.${number}.0.2`,
    inner6: `fd0${number}::2`,
    prefix4: `10.${number}.0.0/24`,
    prefix6: `fd0${number}::/64`,
  };
}

export async function buildGuestPair(): Promise<GuestPair> {
  await loadEspModules();
  const a = await site(1);
  const b = await site(2);
  const end = ({ gateway, outer, outer6 }: GuestSite, link: 0 | 1) => ({
    namespace: gateway,
    device: link === 0 ? 'wan0' : 'wan1',
    addresses: [`${outer[link]}/24`, ...(link === 0 ? [`${outer6}/64`] : [])],
  });
  await connect(end(a, 0), end(b, 0));
  await connect(end(a, 1), end(b, 1));
  for (const [own, other] of [
    [a, b],
    [b, a],
  ] as const) {
    await own.gateway.ipBatch([
      `route add default via ${other.outer[0]} dev wan0`,
      `route add default via ${other.outer6} dev wan0`,
    ]);
  }
  return {
    a,
    b,
    [Symbol.asyncDispose]: async () => {
      await a.gateway.remove();
      await b.gateway.remove();
    },
  };
}
