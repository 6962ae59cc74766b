import { mkdirSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { type CommandResult, until } from '../lab/command.ts';
import { describeWith } from '../lab/describe-with.ts';
import {
  type IkeSaView,
  onlyChild,
  onlySa,
  type PeerDescription,
  viewsOf,
} from '../lab/ike-peer.ts';
import { buildIkeTopology, type IkeTopology } from '../lab/ike-topology.ts';
import { requirePeer } from '../lab/peer.ts';
import { StrongswanPeer } from '../lab/strongswan-ike.ts';
import { STRONGSWAN_NEEDS } from '../lab/strongswan.ts';
import { complete, Traffic } from '../lab/traffic.ts';
import { Vici } from '../lab/vici.ts';
import { ipsecNode, RunningGateway, scratchFolder } from '../scenario/ipsec-node.ts';

type Json = Readonly<Record<string, unknown>>;

const PATIENCE_MS = 60_000;
const PSK = 'a secret of thirty-two characters';
const IKE = 'aes128gcm16-prfsha256-x25519';
const ESP = 'aes128gcm16-x25519';
/** Of the net outside of B, where nobody else is. */
const NOBODY = '198.51.100.77';

interface Bench {
  readonly topology: IkeTopology;
  readonly b: StrongswanPeer;
  readonly traffic: Traffic;
}

describeWith(
  ['namespaces', 'iproute2', 'nftables', 'conntrack', ...STRONGSWAN_NEEDS],
  'a gateway and its peer, strongSwan',
  () => {
    let started: Bench | undefined;
    let gateway: RunningGateway | undefined;
    let folder = '';

    const bench = (): Bench => {
      if (started === undefined) throw new Error('nothing was started');
      return started;
    };

    beforeAll(async () => {
      const topology = await buildIkeTopology();
      const b = await StrongswanPeer.start({ namespace: topology.b.gateway });
      const traffic = await Traffic.open(
        { namespace: topology.a.host, address: topology.a.hostAddress4 },
        { namespace: topology.b.host, address: topology.b.hostAddress4 },
      );
      started = { topology, b, traffic };
    });

    beforeEach(async () => {
      folder = scratchFolder();
      mkdirSync(`${folder}/state`, { mode: 0o700 });
      writeFileSync(`${folder}/psk`, PSK, { mode: 0o600 });
      await bench().b.load([peerOfB()]);
    });

    afterEach(async () => {
      await gateway?.stop();
      gateway = undefined;
    });

    afterAll(async () => {
      await started?.traffic[Symbol.asyncDispose]();
      await started?.b.stop();
      await started?.topology.close();
    });

    const file = (): string => `${folder}/ipsec.yaml`;
    const socket = (): string => `${folder}/vici`;

    function peerOfB(): PeerDescription {
      const { a, b } = bench().topology;
      return {
        name: 'pair',
        localAddress: b.gatewayAddress4,
        remoteAddress: '%any',
        local: { id: 'b.example', auth: 'psk' },
        remote: { id: 'a.example', auth: 'psk' },
        credentials: { psk: PSK },
        proposals: [IKE],
        children: [
          { name: 'net', local: [b.prefix4], remote: [a.prefix4], proposals: [ESP] },
          { name: 'net6', local: [b.prefix6], remote: [a.prefix6], proposals: [ESP] },
        ],
      };
    }

    function net(change: Json = {}): Json {
      const { a, b } = bench().topology;
      return {
        name: 'net',
        local: a.prefix4,
        remote: b.prefix4,
        action: 'protect',
        peer: 'pair',
        proposals: [ESP],
        ...change,
      };
    }

    function net6(change: Json = {}): Json {
      const { a, b } = bench().topology;
      return net({ name: 'net6', local: a.prefix6, remote: b.prefix6, ...change });
    }

    function write(policies: readonly Json[], peer: Json | null = {}): void {
      const { b } = bench().topology;
      const content = {
        gateway: {
          name: 'life',
          control: socket(),
          state: `${folder}/state`,
          unprotected: ['wan0'],
          protected: ['lan0'],
        },
        peers:
          peer === null
            ? {}
            : {
                pair: {
                  address: b.gatewayAddress4,
                  local: { id: 'a.example', auth: 'psk' },
                  remote: { id: 'b.example', auth: 'psk' },
                  psk: { file: 'psk' },
                  proposals: [IKE],
                  ...peer,
                },
              },
        policies: [...policies, { name: 'rest', action: 'bypass' }],
      };
      writeFileSync(file(), JSON.stringify(content, null, 2), { mode: 0o600 });
    }

    async function start(policies: readonly Json[], peer: Json | null = {}, wrapper?: string[]) {
      write(policies, peer);
      gateway = await RunningGateway.start(bench().topology.a.gateway, file(), wrapper);
    }

    function ask(...words: readonly string[]): Promise<CommandResult> {
      return ipsecNode([...words, '-c', file()], bench().topology.a.gateway, {
        timeoutMs: PATIENCE_MS,
      });
    }

    async function ours(): Promise<readonly IkeSaView[]> {
      const { events } = await Vici.once(socket(), 'list-sas', {}, 'list-sa');
      return events.flatMap(viewsOf);
    }

    /** Until a child of this name is installed at both ends; our view of it. */
    async function installed(name: string, other?: string): Promise<string> {
      const spis = async (views: Promise<readonly IkeSaView[]>): Promise<readonly string[]> =>
        (await views)
          .flatMap(({ children }) => children)
          .filter((child) => child.name === name && child.state === 'INSTALLED')
          .map(({ spiIn }) => spiIn)
          .filter((spi) => spi !== other);
      await until(
        `a child ${name} at both ends`,
        async () => (await spis(ours())).length === 1 && (await spis(bench().b.sas())).length === 1,
        PATIENCE_MS,
      );
      const [spi = ''] = await spis(ours());
      return spi;
    }

    it('the first packets ask for their SA, and wait for it', async () => {
      await start([net({ start: 'trap' })]);
      expect(await ours()).toEqual([]);
      const { aToB } = await bench().traffic.transfer({ count: 20 });
      expect(aToB).toEqual(complete(20));
      expect(await gateway?.tally().then((tally) => tally.of('hold_released'))).toBeGreaterThan(0);
      onlyChild(onlySa(await bench().b.sas()));
    });

    it('a reload changes what it names, and nothing else loses a packet', async () => {
      await start([net({ start: 'start' })]);
      const before = await installed('net');
      const flow = await bench().traffic.start();
      await flow.arrived(50);

      write([net({ start: 'start' }), net6({ start: 'start' })]);
      expect(await ask('reload')).toMatchObject({ status: 0 });
      const first6 = await installed('net6');
      await flow.arrived(50);

      write([net({ start: 'start' }), net6({ start: 'start', replayWindow: 64 })]);
      expect(await ask('reload')).toMatchObject({ status: 0 });
      await installed('net6', first6);
      await flow.arrived(50);

      // What is done with SAs may change under them.
      const conduct = { start: 'start', lifetime: { time: '30m' }, onClose: 'restart' };
      write([net(conduct), net6({ start: 'start' })], { dpd: '10s', onDeath: 'restart' });
      expect(await ask('reload')).toMatchObject({ status: 0 });
      await flow.arrived(50);

      // All of a file, or nothing: the fault of one policy keeps the other as it is.
      write([net({ start: 'none', proposals: ['aes256gcm16'] }), net6({ local: 'nowhere' })]);
      expect(await ask('reload')).toMatchObject({ status: 2 });
      await flow.arrived(50);

      write([net({ start: 'start' })]);
      expect(await ask('reload')).toMatchObject({ status: 0 });
      await until(
        'the peer has net alone',
        async () => onlySa(await bench().b.sas()).children.length === 1,
        PATIENCE_MS,
      );
      await flow.arrived(50);
      const { aToB, bToA } = await flow.stop();
      expect({ aToB, bToA }).toEqual({ aToB: complete(aToB.sent), bToA: complete(bToA.sent) });
      expect(await installed('net')).toBe(before);
    });

    it('what is always to be up comes up again when the peer ends it', async () => {
      await start([net({ start: 'start', onClose: 'restart' })]);
      const first = await installed('net');
      await bench().b.terminateChild('pair', 'net');
      const second = await installed('net', first);
      await bench().b.terminate('pair');
      await installed('net', second);
      const whole = complete(20);
      expect(await bench().traffic.transfer({ count: 20 })).toEqual({ aToB: whole, bToA: whole });
    });

    it('a stop ends the SAs at the peer too, and leaves nothing in clear', async () => {
      await start([net({ start: 'start' })]);
      await installed('net');
      expect(await gateway?.stop()).toBe(0);
      await until('the peer has no SA', async () => (await bench().b.sas()).length === 0);
      const { aToB } = await bench().traffic.transfer({ count: 5 });
      expect(aToB.received).toBe(0);
    });

    it('of several addresses the one that answers is found', async () => {
      await start([net({ start: 'start' })], {
        address: [NOBODY, bench().topology.b.gatewayAddress4],
      });
      await installed('net');
      expect(onlySa(await ours()).remote.address).toBe(bench().topology.b.gatewayAddress4);
    });

    it('a name that is not known yet is looked up again', async () => {
      const [hosts, order] = [`${folder}/hosts`, `${folder}/nsswitch.conf`];
      writeFileSync(hosts, '');
      writeFileSync(order, 'hosts: files\n');
      // Its own view of these two files: that of the machine stays as it is.
      const script = 'mount --bind "$0" /etc/hosts && mount --bind "$1" /etc/nsswitch.conf';
      await start([net({ start: 'start' })], { address: 'b.example' }, [
        ...['unshare', '--mount', 'bash', '-c', `${script} && shift && exec "$@"`, hosts, order],
      ]);
      await gateway?.program.output(/no address is known of b.example/, PATIENCE_MS);
      writeFileSync(hosts, `${bench().topology.b.gatewayAddress4} b.example\n`);
      await installed('net');
    });

    it('swanctl loads, initiates, rekeys, lists and terminates', async () => {
      const { a, b } = bench().topology;
      await start([], null);
      const conf = `${folder}/swanctl.conf`;
      writeFileSync(
        conf,
        `connections {
          pair {
            version = 2
            remote_addrs = ${b.gatewayAddress4}
            proposals = ${IKE}
            local { auth = psk
              id = a.example }
            remote { auth = psk
              id = b.example }
            children {
              net {
                local_ts = ${a.prefix4}
                remote_ts = ${b.prefix4}
                esp_proposals = ${ESP}
              }
            }
          }
        }
        secrets { ike-b { id = b.example
          secret = "${PSK}" } }`,
        { mode: 0o600 },
      );
      const swanctl = async (...words: readonly string[]): Promise<string> => {
        const command = [
          requirePeer('strongswan-swanctl'),
          ...words,
          '--uri',
          `unix://${socket()}`,
        ];
        const result = await a.gateway.exec(command, { anyStatus: true, timeoutMs: PATIENCE_MS });
        expect(result, words.join(' ')).toMatchObject({ status: 0 });
        return result.stdout;
      };
      expect(await swanctl('--load-all', '--file', conf)).toMatch(/loaded 1 connections/);
      expect(await swanctl('--list-conns')).toMatch(/^pair: IKEv2/m);
      expect(await swanctl('--initiate', '--child', 'net')).toMatch(/initiate completed/);
      const whole = complete(20);
      expect(await bench().traffic.transfer({ count: 20 })).toEqual({ aToB: whole, bToA: whole });

      const peerSa = onlySa(await bench().b.sas());
      const listed = await swanctl('--list-sas');
      expect(listed).toContain('pair: #');
      expect(listed).toContain(`${peerSa.initiatorSpi}_i`);
      expect(listed).toContain(onlyChild(peerSa).spiOut);

      const before = await installed('net');
      await swanctl('--rekey', '--child', 'net');
      const after = await installed('net', before);
      expect(onlyChild(onlySa(await bench().b.sas())).spiOut).toBe(after);
      await swanctl('--rekey', '--ike', 'pair');
      await until(
        'a new IKE SA alone',
        async () => {
          const sas = await bench().b.sas();
          return sas.length === 1 && sas[0]?.initiatorSpi !== peerSa.initiatorSpi;
        },
        PATIENCE_MS,
      );
      expect(await bench().traffic.transfer({ count: 20 })).toEqual({ aToB: whole, bToA: whole });
      expect(await swanctl('--terminate', '--ike', 'pair')).toMatch(/terminate completed/);
      expect(await bench().b.sas()).toEqual([]);
    });
  },
);
