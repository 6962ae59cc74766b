import { describe, expect, it } from 'vitest';
import type { SaEndpoint } from '../../../packages/ipsec-node/src/ike/action.js';
import {
  FirstMessages,
  type FirstMessageSa,
} from '../../../packages/ipsec-node/src/ike/first-messages.js';

const path = (remote: string, remotePort = 500): SaEndpoint => ({
  local: '192.0.2.1',
  localPort: 500,
  remote,
  remotePort,
  encapsulation: 'udp',
});

const sa = (spiInitiator: bigint, remote: string, remotePort = 500): FirstMessageSa => ({
  spiInitiator,
  initPath: path(remote, remotePort),
});

describe('first messages', () => {
  it('are known by SPI, address and port', () => {
    const messages = new FirstMessages();
    const one = sa(5n, '198.51.100.1');
    messages.add(one);
    expect(messages.find(5n, path('198.51.100.1'))).toBe(one);
    expect(messages.find(5n, path('198.51.100.1', 501))).toBeNull();
    expect(messages.find(5n, path('198.51.100.2'))).toBeNull();
    expect(messages.find(6n, path('198.51.100.1'))).toBeNull();
  });

  it('are told apart where initiators chose the same SPI, whichever of them goes first', () => {
    const all = [1, 2, 3].map((host) => sa(5n, `198.51.100.${host}`));
    const behindNat = sa(5n, '198.51.100.1', 1024);
    for (const gone of [...all, behindNat]) {
      const messages = new FirstMessages();
      for (const each of [...all, behindNat]) messages.add(each);
      expect(messages.size).toBe(4);
      messages.remove(gone);
      messages.remove(gone);
      for (const each of [...all, behindNat]) {
        const found = messages.find(5n, each.initPath ?? path(''));
        expect(found).toBe(each === gone ? null : each);
      }
      for (const each of [...all, behindNat]) messages.remove(each);
      expect(messages.size).toBe(0);
    }
  });
});
