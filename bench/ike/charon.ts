import { run } from '../../test/lab/command.ts';
import type { Namespace } from '../../test/lab/namespace.ts';
import { unmetNeed } from '../../test/lab/peer.ts';
import { settingsText } from '../../test/lab/strongswan-ike.ts';
import { Strongswan, STRONGSWAN_NEEDS } from '../../test/lab/strongswan.ts';
import { Vici, type ViciMessage } from '../../test/lab/vici.ts';
import type { IkeResponder } from './responder.js';

/** Nothing that a handshake with a pre-shared key does not need. */
const PLUGINS =
  'random nonce openssl kdf curve25519 kernel-libipsec kernel-netlink socket-default vici';

/** Tables for many SAs, no cookies between the two, nothing written on the way. */
const SETTINGS = settingsText({
  ikesa_table_size: '4096',
  ikesa_table_segments: '16',
  cookie_threshold: '0',
  block_threshold: '0',
  reuse_ikesa: 'no',
  // A request over vici that waits for its SA holds one.
  threads: '48',
});

interface CharonOptions {
  readonly namespace: Namespace;
  readonly cpu: number;
  readonly psk: string;
  readonly connection: ViciMessage;
}

/** A charon with one connection `bench`, bound to a processor. */
export async function startCharon(options: CharonOptions): Promise<Strongswan> {
  const daemon = await Strongswan.start({
    namespace: options.namespace,
    plugins: PLUGINS,
    settings: SETTINGS,
    quiet: true,
  });
  await run(['taskset', '-a', '-p', '-c', String(options.cpu), String(daemon.pid)]);
  await Vici.once(daemon.socket, 'load-shared', { type: 'IKE', data: options.psk });
  await Vici.once(daemon.socket, 'load-conn', { bench: options.connection });
  return daemon;
}

/** One side of the connection: an IKE SA alone (RFC 6023), so that no datapath is measured. */
export function connection(own: string, other: string, proposal: string): ViciMessage {
  return {
    version: '2',
    local_addrs: [own],
    remote_addrs: [other],
    proposals: [proposal],
    childless: 'force',
    unique: 'never',
    mobike: 'no',
    rekey_time: '0',
    'local-1': { auth: 'psk', id: `${other === '%any' ? 'responder' : 'initiator'}.example` },
    'remote-1': { auth: 'psk', id: `${other === '%any' ? 'initiator' : 'responder'}.example` },
  };
}

export const charon: IkeResponder = {
  name: 'charon',
  title: 'strongSwan charon',
  missing: () => {
    const unmet = STRONGSWAN_NEEDS.flatMap((need) => unmetNeed(need) ?? []);
    return unmet.length === 0 ? null : unmet.join('; ');
  },
  start: async ({ namespace, address, psk, proposal, cpu }) => {
    const daemon = await startCharon({
      namespace,
      cpu,
      psk,
      connection: connection(address, '%any', proposal),
    });
    return {
      pid: daemon.pid,
      count: async () => {
        const { answer } = await Vici.once(daemon.socket, 'stats');
        const sas = answer['ikesas'];
        return typeof sas === 'object' && 'total' in sas ? Number(sas['total']) : Number.NaN;
      },
      stop: () => daemon.stop(),
    };
  },
};
