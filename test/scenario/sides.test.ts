/**
 * The boundary where the file does not say which interfaces are outside, and where they are not
 * there yet: the guard that stands since boot, and a default route that moves to another uplink.
 */

import { afterEach, expect, it } from 'vitest';
import { Capture } from '../lab/capture.ts';
import { describeWith } from '../lab/describe-with.ts';
import { connect } from '../lab/namespace.ts';
import { buildTopology, type Topology } from '../lab/topology.ts';
import { ipsecNode, RunningGateway } from './ipsec-node.ts';
import { type Pair, sitePolicies, startPair, writePair } from './pair.ts';
import { pairsBetween, serve, Talker } from './traffic.ts';
import { describePacket, inClear } from './wire.ts';

const MARKER = 'BOUNDARY-SECRET';

describeWith(
  ['namespaces', 'iproute2', 'nftables', 'tcpdump', 'iputils-ping', 'python3'],
  'the sides of the boundary',
  () => {
    let topology: Topology | undefined;
    afterEach(async () => {
      await topology?.close();
      topology = undefined;
    });

    function pairOf(built: Topology, named: boolean): Pair {
      const { a, b } = sitePolicies(built);
      const rest = { name: 'rest', action: 'bypass' };
      return writePair(built, {
        links: [{ policy: 'lan' }],
        policiesA: [a, rest],
        policiesB: [b, rest],
        // Left out of the file where undefined.
        gateway: named ? {} : { unprotected: undefined, protected: undefined },
      });
    }

    async function talkFrom(built: Topology): Promise<readonly Talker[]> {
      const { a, b } = built;
      const behind = { address4: a.hostAddress4, address6: a.hostAddress6 };
      const own = { address4: a.lanGateway4, address6: a.lanGateway6 };
      return [
        await Talker.start('forwarded', a.host, pairsBetween(behind, b), { marker: MARKER }),
        await Talker.start('local', a.gateway, pairsBetween(own, b), { marker: MARKER }),
      ];
    }

    it.each([
      ['named in the file', true],
      ['found by itself', false],
    ] as const)('a guard from before the network is up: sides %s', async (_title, named) => {
      topology = await buildTopology({ wire: 'bridge' });
      const { a, b, wire } = topology;
      if (wire === undefined) throw new Error('no wire');
      const pair = pairOf(topology, named);
      await serve(b.host);
      // Before the network is up: no address, no route, and nothing that leads anywhere.
      await a.gateway.ipBatch([`link set ${a.wan} down`, `addr flush dev ${a.wan}`]);
      const guard = await ipsecNode(['guard', '-c', pair.fileA], a.gateway);
      expect(guard.status, guard.stderr).toBe(0);
      const capture = await Capture.start(wire, 'wire-a');
      const talkers = await talkFrom(topology);
      await a.gateway.ipBatch([
        `link set ${a.wan} up`,
        `addr add ${a.gatewayAddress4}/24 dev ${a.wan}`,
        `addr add ${a.gatewayAddress6}/64 dev ${a.wan} nodad`,
        `route add default via ${b.gatewayAddress4}`,
        `route add default via ${b.gatewayAddress6}`,
      ]);
      expect(await a.gateway.ping(b.gatewayAddress4)).toBe(true);
      await Promise.all(talkers.map((talker) => talker.tried(5)));
      await startPair(topology, pair);
      await Promise.all(talkers.map((talker) => talker.flows()));
      const clear = inClear(await capture.stop(), [MARKER]);
      expect([...new Set(clear.map(describePacket))]).toEqual([]);
    });

    it.each([
      ['named in the file: at once', true],
      // They are found when the gateway starts, and so they are when it starts again.
      ['found by itself: from the next start', false],
    ] as const)('a default route that moves to another uplink, sides %s', async (_title, named) => {
      topology = await buildTopology({ wire: 'bridge' });
      const { a, b, wire } = topology;
      if (wire === undefined) throw new Error('no wire');
      const pair = pairOf(topology, named);
      await connect(
        { namespace: a.gateway, device: 'wan1', addresses: ['198.18.0.1/24', 'fd0f::1/64'] },
        { namespace: wire, device: 'wire-c', addresses: ['198.18.0.2/24', 'fd0f::2/64'] },
      );
      let gateway = await RunningGateway.start(a.gateway, pair.fileA);
      let capture = await Capture.start(wire, 'wire-c');
      const talkers = await talkFrom(topology);
      await a.gateway.ipBatch([
        'route replace default via 198.18.0.2 dev wan1',
        `route del default via ${b.gatewayAddress6}`,
        'route add default via fd0f::2 dev wan1',
      ]);
      if (!named) {
        await gateway.stop();
        gateway = await RunningGateway.start(a.gateway, pair.fileA);
        await capture.stop();
        capture = await Capture.start(wire, 'wire-c');
      }
      await Promise.all(talkers.map((talker) => talker.tried(5)));
      // And with the gateway gone.
      await gateway.kill();
      await Promise.all(talkers.map((talker) => talker.tried(5)));
      const clear = inClear(await capture.stop(), [MARKER]);
      expect([...new Set(clear.map(describePacket))]).toEqual([]);
    });

    it('two gateways on one host do not touch each other’s', async () => {
      topology = await buildTopology();
      const { a, b } = topology;
      const pair = pairOf(topology, true);
      const other = writePair(topology, {
        links: [],
        policiesA: [
          { name: 'third', local: a.prefix4, remote: '10.3.0.0/24', action: 'protect' },
          { name: 'rest', action: 'bypass' },
        ],
        policiesB: [{ name: 'rest', action: 'bypass' }],
        gateway: { name: 'other', port: 4501, ikePort: 501, interface: { name: 'ipsec1' } },
      });
      await startPair(topology, pair);
      const second = await RunningGateway.start(a.gateway, other.fileA);
      await serve(b.host);
      const talkers = await talkFrom(topology);
      const flows = (): Promise<unknown> => Promise.all(talkers.map((talker) => talker.flows()));
      const tables = async (): Promise<string> =>
        (await a.gateway.exec(['nft', 'list', 'tables'])).stdout;
      await flows();
      expect(await tables()).toMatch(/ipsec-node-ga\b/);
      expect(await tables()).toMatch(/ipsec-node-other\b/);
      await second.kill();
      await flows();
      const unguard = await ipsecNode(['unguard', '-c', other.fileA], a.gateway);
      expect(unguard.status, unguard.stderr).toBe(0);
      expect(await tables()).not.toMatch(/ipsec-node-other\b/);
      expect(await a.gateway.ip('link show')).not.toContain('ipsec1');
      await flows();
    });
  },
);
