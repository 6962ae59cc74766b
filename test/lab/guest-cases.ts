/** Cases that show the guest itself to work: what guest.test.ts runs inside. */

import { release } from 'node:os';
import { run } from './command.ts';
import type { GuestCases } from './guest-runner.ts';
import { connect, Namespace } from './namespace.ts';

const KEY = `0x${'5a'.repeat(20)}`;

/** The kernel's ESP between two namespaces: AES-GCM, tunnel mode, manual keys. */
async function kernelEsp(): Promise<unknown> {
  await using a = await Namespace.create('a');
  await using b = await Namespace.create('b');
  await connect(
    { namespace: a, device: 'wan0', addresses: ['192.0.2.1/24', '10.1.0.1/24'] },
    { namespace: b, device: 'wan0', addresses: ['192.0.2.2/24', '10.2.0.1/24'] },
  );
  const state = (from: string, to: string, spi: string): string =>
    `xfrm state add src ${from} dst ${to} proto esp spi ${spi} mode tunnel ` +
    `aead rfc4106(gcm(aes)) ${KEY} 128 sel src 0.0.0.0/0 dst 0.0.0.0/0`;
  for (const namespace of [a, b]) {
    const [own, other] = namespace === a ? ['1', '2'] : ['2', '1'];
    const template = (from: string, to: string): string =>
      `tmpl src 192.0.2.${from} dst 192.0.2.${to} proto esp mode tunnel`;
    await namespace.ipBatch([
      state('192.0.2.1', '192.0.2.2', '0x1001'),
      state('192.0.2.2', '192.0.2.1', '0x1002'),
      `xfrm policy add src 10.${own}.0.0/24 dst 10.${other}.0.0/24 dir out ${template(own, other)}`,
      `xfrm policy add src 10.${other}.0.0/24 dst 10.${own}.0.0/24 dir in ${template(other, own)}`,
      `route add 10.${other}.0.0/24 via 192.0.2.${other} dev wan0 src 10.${own}.0.1`,
    ]);
  }
  const answered = await a.ping('10.2.0.1', { count: 3 });
  const states = await b.ip('-s xfrm state');
  const packets = states.match(/lifetime current:\s+\d+\(bytes\), (\d+)\(packets\)/)?.[1];
  return { answered, packets: Number(packets), release: release() };
}

export const cases: GuestCases = {
  kernelEsp,
  hostFiles: async () => (await run(['ip', '-V'])).stdout.trim(),
  fails: () => Promise.reject(new Error('on purpose')),
};
