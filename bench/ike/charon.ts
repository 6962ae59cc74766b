import { run } from '../../test/lab/command.ts';
import { unmetNeed } from '../../test/lab/peer.ts';
import { settingsText } from '../../test/lab/strongswan-ike.ts';
import { Strongswan, STRONGSWAN_NEEDS } from '../../test/lab/strongswan.ts';
import { Vici, type ViciMessage } from '../../test/lab/vici.ts';
import type { IkeResponder } from './responder.js';
import {
  INSIDE,
  PEERS_PREFIX,
  POLICY,
  PROPOSALS,
  PSK,
  RESPONDER_ADDRESS,
  RESPONDER_NAME,
} from './scene.js';

/** Nothing that a handshake with a pre-shared key does not need. */
const PLUGINS =
  'random nonce openssl kdf curve25519 kernel-libipsec kernel-netlink socket-default vici';

/** Tables for many SAs; no cookies, which our initiators would be asked for and ours does not ask. */
const SETTINGS = {
  ikesa_table_size: '4096',
  ikesa_table_segments: '16',
  cookie_threshold: '0',
  block_threshold: '0',
} as const;

const CONNECTION: ViciMessage = {
  version: '2',
  local_addrs: [RESPONDER_ADDRESS],
  remote_addrs: ['%any'],
  proposals: [PROPOSALS.ike],
  encap: 'yes',
  'local-1': { auth: 'psk', id: RESPONDER_NAME },
  'remote-1': { auth: 'psk', id: '*.example' },
  children: {
    [POLICY]: {
      local_ts: [INSIDE.prefix],
      remote_ts: [PEERS_PREFIX],
      esp_proposals: [PROPOSALS.esp],
    },
  },
};

export const charon: IkeResponder = {
  name: 'charon',
  title: 'strongSwan charon, ESP by kernel-libipsec',
  missing: () => {
    const unmet = STRONGSWAN_NEEDS.flatMap((need) => unmetNeed(need) ?? []);
    return unmet.length === 0 ? null : unmet.join('; ');
  },
  start: async ({ namespace, cpu }) => {
    const daemon = await Strongswan.start({
      namespace,
      plugins: PLUGINS,
      settings: settingsText(SETTINGS),
      quiet: true,
    });
    await run(['taskset', '-a', '-p', '-c', String(cpu), String(daemon.pid)]);
    await Vici.once(daemon.socket, 'load-shared', { type: 'IKE', data: PSK });
    await Vici.once(daemon.socket, 'load-conn', { bench: CONNECTION });
    return {
      pid: daemon.pid,
      settings: Object.entries(SETTINGS)
        .map(([key, value]) => `${key}=${value}`)
        .join(' '),
      loopDelay: () => Promise.resolve(null),
      fault: () => (daemon.running ? null : daemon.log),
      stop: () => daemon.stop(),
    };
  },
};
