/**
 * What policy lets pass is the kernel's to carry, as if no gateway were there: by port, with
 * MASQUERADE, in fragments, with its hop limit lowered once; and while the tunnel carries the rest.
 * What policy discards, and what arrives in clear and should have been protected, is dropped, and
 * counted by exactly the number that was sent.
 */

import { afterAll, beforeAll, expect, it } from 'vitest';
import { Capture, packetsWith } from '../lab/capture.ts';
import { until } from '../lab/command.ts';
import { describeWith } from '../lab/describe-with.ts';
import type { Namespace } from '../lab/namespace.ts';
import { buildTopology, type Topology } from '../lab/topology.ts';
import type { RunningGateway } from './ipsec-node.ts';
import { sitePolicies, startPair, writePair } from './pair.ts';
import { pairsBetween, sendDatagrams, serve, Talker } from './traffic.ts';
import { describePacket, inClear, ipPackets, type WirePacket } from './wire.ts';

const ROUTER4 = '192.0.2.254';
const ROUTER6 = '2001:db8:f::254';
const COUNT = 25;

describeWith(
  ['namespaces', 'iproute2', 'nftables', 'tcpdump', 'python3'],
  'what policy lets pass and what it drops',
  () => {
    let topology: Topology;
    let outside: Namespace;
    let gateways: { a: RunningGateway; b: RunningGateway };
    let talker: Talker;

    beforeAll(async () => {
      topology = await buildTopology({ wire: 'router' });
      const { a, b, wire } = topology;
      if (wire === undefined) throw new Error('no wire');
      outside = wire;
      const { a: policyA, b: policyB } = sitePolicies(topology);
      const inside = [a.prefix4, a.prefix6];
      const pair = writePair(topology, {
        links: [{ policy: 'lan' }],
        policiesA: [
          {
            name: 'udp-out',
            local: inside,
            protocol: 'udp',
            remotePort: 7001,
            remote: [ROUTER4, ROUTER6],
            action: 'bypass',
          },
          {
            name: 'tcp-out',
            local: inside,
            protocol: 'tcp',
            remotePort: '7002',
            remote: [ROUTER4, ROUTER6],
            action: 'bypass',
          },
          { name: 'service', local: inside, protocol: 'udp', localPort: 7001, action: 'bypass' },
          policyA,
          { name: 'nothing-else', local: inside, action: 'discard' },
          { name: 'rest', action: 'bypass' },
        ],
        policiesB: [policyB, { name: 'rest', action: 'bypass' }],
      });
      await a.gateway.nft(`table ip nat {
        chain postrouting {
          type nat hook postrouting priority srcnat;
          oifname "${a.wan}" ip saddr ${a.prefix4} masquerade
        }
      }`);
      // Addresses of the other site, used outside by somebody who has no right to them.
      await outside.ipBatch(['addr add 10.2.0.99/32 dev lo', 'addr add fd02::99/128 dev lo']);
      gateways = await startPair(topology, pair);
      for (const host of [outside, a.host, b.host]) await serve(host);
      talker = await Talker.start(
        'protected',
        a.host,
        pairsBetween({ address4: a.hostAddress4, address6: a.hostAddress6 }, b),
        { marker: 'PROTECTED' },
      );
      await talker.flows();
    });

    afterAll(async () => {
      await topology?.close();
    });

    /** What rises while something is done, of these counters. */
    const rise = async (
      names: readonly string[],
      action: () => Promise<void>,
      total: number,
    ): Promise<Readonly<Record<string, number>>> => {
      const before = await gateways.a.tally();
      await action();
      let risen: Readonly<Record<string, number>> = {};
      await until(`${total} counted`, async () => {
        risen = (await gateways.a.tally()).since(before, names);
        return Object.values(risen).reduce((sum, n) => sum + n, 0) >= total;
      }).catch((error: unknown) => {
        throw new Error(`${String(error)} ${JSON.stringify(risen)}`);
      });
      return risen;
    };

    it('by remote port, with MASQUERADE, whole and in fragments', async () => {
      const { a } = topology;
      const wire = await Capture.start(outside, 'wire-a');
      const lan = await Capture.start(a.host, 'eth0');
      for (const bytes of [100, 4000]) {
        for (const [source, destination] of [
          [a.hostAddress4, ROUTER4],
          [a.hostAddress6, ROUTER6],
        ] as const) {
          const options = { bytes, count: 5, marker: 'IN-THE-CLEAR' };
          const result = await sendDatagrams(a.host, source, destination, options);
          expect(result, `${destination} ${bytes}`).toEqual({ sent: 5, refused: 0, back: 5 });
        }
      }
      const clear = ipPackets(packetsWith(await wire.stop(), 'IN-THE-CLEAR'));
      const back = ipPackets(packetsWith(await lan.stop(), 'IN-THE-CLEAR'));
      const out4 = clear.filter(({ destination }) => destination === ROUTER4);
      // 5 whole ones, and 5 in three fragments each.
      expect(out4).toHaveLength(20);
      expect(new Set(out4.map(({ source }) => source))).toEqual(new Set([a.gatewayAddress4]));
      const out6 = clear.filter(({ destination }) => destination === '2001:db8:f:0:0:0:0:254');
      expect(out6).toHaveLength(20);
      expect(new Set([...out4, ...out6].map(({ hopLimit }) => hopLimit))).toEqual(new Set([63]));
      const home = back.filter(({ destination }) =>
        [a.hostAddress4, 'fd01:0:0:0:0:0:0:2'].includes(destination),
      );
      expect(home).toHaveLength(40);
      expect(new Set(home.map(({ hopLimit }) => hopLimit))).toEqual(new Set([63]));
      await talker.flows();
    });

    it('TCP by remote port, with MASQUERADE', async () => {
      const { a } = topology;
      const text = 'TCP-IN-THE-CLEAR '.repeat(4000);
      const fetch = `
import socket, sys
for source, destination in (("${a.hostAddress4}", "${ROUTER4}"), ("${a.hostAddress6}", "${ROUTER6}")):
    c = socket.create_connection((destination, 7002), 5, (source, 0))
    said = sys.argv[1].encode()
    c.sendall(said)
    heard = b""
    while len(heard) < len(said):
        part = c.recv(65536)
        assert part
        heard += part
    assert heard == said
print("equal")`;
      const { stdout } = await a.host.exec(['python3', '-c', fetch, text.slice(0, 60_000)]);
      expect(stdout.trim()).toBe('equal');
    });

    it('by local port: a service behind the gateway, reached from outside', async () => {
      const { a } = topology;
      for (const [source, destination] of [
        [ROUTER4, a.hostAddress4],
        [ROUTER6, a.hostAddress6],
      ] as const) {
        for (const bytes of [100, 4000]) {
          const result = await sendDatagrams(outside, source, destination, {
            bytes,
            count: 5,
            marker: 'SERVICE',
          });
          expect(result.back, `${destination} ${bytes}`).toBe(5);
        }
      }
    });

    it('what an entry discards is dropped and counted', async () => {
      const { a } = topology;
      const wire = await Capture.start(outside, 'wire-a');
      const risen = await rise(
        ['discard_outbound', 'discard_inbound'],
        async () => {
          for (const [source, destination] of [
            [a.hostAddress4, ROUTER4],
            [a.hostAddress6, ROUTER6],
          ] as const) {
            await sendDatagrams(a.host, source, destination, {
              port: 9999,
              count: COUNT,
              marker: 'DISCARDED',
              answered: false,
            });
            await sendDatagrams(outside, destination, source, {
              port: 9999,
              count: COUNT,
              marker: 'DISCARDED',
              answered: false,
            });
          }
        },
        4 * COUNT,
      );
      expect(risen).toEqual({ discard_outbound: 2 * COUNT, discard_inbound: 2 * COUNT });
      const seen = ipPackets(packetsWith(await wire.stop(), 'DISCARDED'));
      expect(new Set(seen.map(({ destination }) => destination))).toEqual(
        new Set([a.hostAddress4, 'fd01:0:0:0:0:0:0:2']),
      );
    });

    it('what arrives in clear and should have been protected is dropped and counted', async () => {
      const { a } = topology;
      const lan = await Capture.start(a.host, 'eth0');
      const targets = [
        ['10.2.0.99', a.hostAddress4],
        ['10.2.0.99', a.lanGateway4],
        ['fd02::99', a.hostAddress6],
        ['fd02::99', a.lanGateway6],
      ] as const;
      await serve(a.gateway);
      const risen = await rise(
        ['cleartext_inbound', 'discard_inbound', 'no_match_inbound'],
        async () => {
          for (const [source, destination] of targets) {
            const { back } = await sendDatagrams(outside, source, destination, {
              port: 7003,
              count: COUNT,
              marker: 'FORGED',
              answered: false,
            });
            expect(back).toBe(0);
          }
        },
        targets.length * COUNT,
      );
      expect(risen).toEqual({ cleartext_inbound: targets.length * COUNT });
      expect(packetsWith(await lan.stop(), 'FORGED')).toEqual([]);
      await talker.flows();
    });

    it('and nothing of the protected traffic was readable meanwhile', async () => {
      const capture = await Capture.start(outside, 'wire-b');
      await talker.flows();
      const packets = await capture.stop();
      expect(packets.length).toBeGreaterThan(0);
      expect(inClear(packets, ['PROTECTED'])).toEqual([]);
    });
  },
);

describeWith(
  ['namespaces', 'iproute2', 'nftables', 'tcpdump', 'iputils-ping', 'python3'],
  'a selector that covers the peer’s own address',
  () => {
    it.each([
      ['the peer and its network', ['192.0.2.2', '10.2.0.0/24'], ['192.0.2.2', '10.2.0.0/24'], 4],
      ['everything', 'any', 'any', 4],
      ['everything, by IPv6 outside', 'any', 'any', 6],
    ] as const)('%s', async (_title, remote, localOfPeer, outer) => {
      await using topology = await buildTopology({ wire: 'bridge' });
      const { a, b, wire } = topology;
      if (wire === undefined) throw new Error('no wire');
      const rest = { name: 'rest', action: 'bypass' };
      const pair = writePair(topology, {
        links: [{ policy: 'peer', outer }],
        policiesA: [{ name: 'peer', local: 'any', remote, action: 'protect' }, rest],
        policiesB: [{ name: 'peer', local: localOfPeer, remote: 'any', action: 'protect' }, rest],
      });
      const gateways = await startPair(topology, pair);
      const capture = await Capture.start(wire, 'wire-a');
      const all = remote === 'any';
      // Between the outer addresses themselves, and between hosts behind.
      expect(await a.gateway.ping(b.gatewayAddress4, { count: 2 })).toBe(true);
      expect(await a.host.ping(b.hostAddress4, { count: 2 })).toBe(true);
      if (all) {
        expect(await a.gateway.ping(b.gatewayAddress6, { count: 2 })).toBe(true);
        expect(await a.host.ping(b.hostAddress6, { count: 2 })).toBe(true);
      }
      const before = await gateways.a.tally();
      const packets = ipPackets(await capture.stop());
      const isOuter = ({ version, protocol, payload }: WirePacket): boolean =>
        version === outer && protocol === 17 && payload.readUInt16BE(2) === 4500;
      // What belongs to the link alone: neighbour discovery, multicast of the bridge and its ports.
      const isOfLink = ({ source, destination, protocol, payload }: WirePacket): boolean =>
        /^fe80:|^ff02:|^224\.0\.0\./.test(source) ||
        /^fe80:|^ff02:|^224\.0\.0\./.test(destination) ||
        (protocol === 58 && payload.readUInt8(0) >= 133);
      const foreign = packets.filter((packet) => !isOuter(packet) && !isOfLink(packet));
      expect(foreign.map(describePacket)).toEqual([]);
      expect(before.of('esp_sealed')).toBeGreaterThanOrEqual(all ? 8 : 4);
      expect(before.of('esp_opened')).toBeGreaterThanOrEqual(all ? 8 : 4);
    });
  },
);
