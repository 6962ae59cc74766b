/**
 * Whatever happens to the gateway or is done to its host, nothing that policy protects leaves in
 * clear, although a default route of each family would carry it.
 *
 * Traffic runs all the time: forwarded (from a host behind), local (from an address of the gateway)
 * and from sockets that are bound to the outside device; ICMP, UDP, new TCP connections and one that
 * lasts, IPv4 and IPv6. The capture outside spans everything; at its end the guard is removed, and
 * the same capture has to show each kind of that traffic in clear.
 */

import { afterAll, beforeAll, expect, it } from 'vitest';
import { Capture } from '../lab/capture.ts';
import { until } from '../lab/command.ts';
import { describeWith } from '../lab/describe-with.ts';
import type { Namespace } from '../lab/namespace.ts';
import { buildTopology, type Topology } from '../lab/topology.ts';
import { ipsecNode, RunningGateway } from './ipsec-node.ts';
import { type Pair, type Policy, sitePolicies, startPair, writePair } from './pair.ts';
import { pairsBetween, sendDatagrams, serve, Talker } from './traffic.ts';
import { describePacket, inClear, ipPackets, type WirePacket } from './wire.ts';

const MARKERS = { forwarded: 'FORWARDED-SECRET', local: 'LOCAL-SECRET', bound: 'BOUND-SECRET' };
const REST: Policy = { name: 'rest', action: 'bypass' };
const TABLE = 'ipsec-node-ga';

async function bothFamilies(namespace: Namespace, line: string): Promise<void> {
  await namespace.ip(`-4 ${line}`);
  await namespace.ip(`-6 ${line}`);
}

interface Event {
  readonly name: string;
  readonly fromSeconds: number;
  readonly mayLeak: boolean;
}

describeWith(
  ['namespaces', 'iproute2', 'nftables', 'tcpdump', 'python3'],
  'nothing that policy protects leaves in clear',
  () => {
    let topology: Topology;
    let pair: Pair;
    let gateway: RunningGateway;
    let capture: Capture;
    let talkers: { forwarded: Talker; local: Talker; bound: Talker };
    const events: Event[] = [];
    /** Linux 6.9 lets the gateway own its table: nobody else can remove it. */
    let tableIsHeld = true;

    /** From here on, packets belong to this event. */
    const begin = (name: string): void => {
      events.push({ name, fromSeconds: Date.now() / 1000, mayLeak: false });
    };
    /** Where the kernel let it be removed, it is put back; until then only marked packets are held. */
    const tableIsBack = async (): Promise<void> => {
      const { gateway: host } = topology.a;
      await until('the table is back', async () =>
        (await host.exec(['nft', 'list', 'tables'])).stdout.includes(TABLE),
      );
      const current = events.pop();
      if (current === undefined) return;
      events.push({ ...current, mayLeak: !tableIsHeld });
      begin(`${current.name}, table back`);
    };
    const everybodyTried = async (): Promise<void> => {
      await Promise.all(Object.values(talkers).map((talker) => talker.tried()));
    };
    /** The tunnel carries everything, and bound sockets still get nothing out. */
    const tunnelCarries = async (): Promise<void> => {
      await Promise.all([talkers.forwarded.flows(), talkers.local.flows()]);
      expect(await talkers.bound.answered()).toBe(0);
    };
    const restart = async (): Promise<void> => {
      gateway = await RunningGateway.start(topology.a.gateway, pair.fileA);
      // After a crash the numbers of the peer up to the bound on the disk are refused: use them up.
      const { host, hostAddress4 } = topology.b;
      const burst = { count: 1000, marker: MARKERS.forwarded, answered: false };
      const before = await talkers.forwarded.answered();
      await until(
        'the peer’s numbers are beyond the bound',
        async () => {
          await sendDatagrams(host, hostAddress4, topology.a.hostAddress4, burst);
          return (await talkers.forwarded.answered()) > before;
        },
        60_000,
      );
      await tunnelCarries();
    };

    beforeAll(async () => {
      topology = await buildTopology({ wire: 'bridge' });
      const { a, b, wire } = topology;
      if (wire === undefined) throw new Error('no wire');
      const { a: policyA, b: policyB } = sitePolicies(topology);
      pair = writePair(topology, {
        links: [{ policy: 'lan' }],
        policiesA: [policyA, REST],
        policiesB: [policyB, REST],
      });
      capture = await Capture.start(wire, 'wire-a');
      ({ a: gateway } = await startPair(topology, pair));
      await serve(b.host);
      const behind = pairsBetween({ address4: a.hostAddress4, address6: a.hostAddress6 }, b);
      const own = pairsBetween({ address4: a.lanGateway4, address6: a.lanGateway6 }, b);
      talkers = {
        forwarded: await Talker.start('forwarded', a.host, behind, { marker: MARKERS.forwarded }),
        local: await Talker.start('local', a.gateway, own, { marker: MARKERS.local }),
        bound: await Talker.start('bound', a.gateway, own, {
          marker: MARKERS.bound,
          device: a.wan,
        }),
      };
      begin('the tunnel is up');
      await tunnelCarries();
    });

    afterAll(async () => {
      await topology?.close();
    });

    it('a socket bound to the outside device gets nothing out', async () => {
      begin('bound');
      await everybodyTried();
      expect(await talkers.bound.answered()).toBe(0);
    });

    it('a more specific route in the main table', async () => {
      begin('specific route');
      const { gateway: host } = topology.a;
      const next = topology.b;
      await host.ipBatch([
        `route add ${next.prefix4} via ${next.gatewayAddress4}`,
        `route add ${next.prefix6} via ${next.gatewayAddress6}`,
      ]);
      await everybodyTried();
      await tunnelCarries();
      await host.ipBatch([`route del ${next.prefix4}`, `route del ${next.prefix6}`]);
    });

    it('a routing rule before ours', async () => {
      begin('foreign rule');
      const { gateway: host } = topology.a;
      await bothFamilies(host, 'rule add priority 1 lookup main');
      await everybodyTried();
      await bothFamilies(host, 'rule del priority 1');
      await tunnelCarries();
    });

    it('our routing rules deleted: they are put back', async () => {
      begin('own rule deleted');
      const { gateway: host } = topology.a;
      const rules = (await host.ip('rule show')).match(/^\d+(?=:.*fwmark)/gm) ?? [];
      expect(rules).toHaveLength(1);
      const priority = String(rules[0]);
      await bothFamilies(host, `rule del priority ${priority}`);
      await everybodyTried();
      await tunnelCarries();
      expect(await host.ip('rule show')).toContain('fwmark');
      expect(await host.ip('-6 rule show')).toContain('fwmark');
    });

    it('nft delete table', async () => {
      begin('delete table');
      const { gateway: host } = topology.a;
      const deleted = await host.exec(['nft', 'delete', 'table', 'inet', TABLE], {
        anyStatus: true,
      });
      tableIsHeld = deleted.status !== 0;
      await tableIsBack();
      await everybodyTried();
      await tunnelCarries();
    });

    it('nft flush ruleset', async () => {
      begin('flush');
      const { gateway: host } = topology.a;
      await host.exec(['nft', 'flush', 'ruleset'], { anyStatus: true });
      await tableIsBack();
      await everybodyTried();
      await tunnelCarries();
    });

    it('a firewall that flushes and loads what it has written down', async () => {
      begin('firewall reload');
      const { gateway: host } = topology.a;
      await host.nft(`flush ruleset
        table inet firewall {
          chain input { type filter hook input priority filter; policy accept; }
          chain forward { type filter hook forward priority filter; policy accept; }
          chain prerouting { type filter hook prerouting priority mangle; meta mark set 0; }
          chain output { type route hook output priority mangle; meta mark & 0x1 == 0x1 accept; }
        }`);
      await tableIsBack();
      await everybodyTried();
      await tunnelCarries();
      await host.exec(['nft', 'delete', 'table', 'inet', 'firewall']);
      await tunnelCarries();
    });

    it('the TUN set down, and up again', async () => {
      begin('TUN down');
      const { gateway: host } = topology.a;
      await host.ip('link set ipsec0 down');
      await everybodyTried();
      expect(gateway.program.running).toBe(true);
      begin('TUN up');
      await host.ip('link set ipsec0 up');
      await tunnelCarries();
    });

    it('the TUN deleted: the gateway says so and ends; a new start heals', async () => {
      begin('TUN deleted');
      await topology.a.gateway.ip('link del ipsec0');
      await everybodyTried();
      await until('the gateway ends', () => !gateway.program.running, 15_000);
      expect(await gateway.program.exited).toBe(1);
      expect(gateway.program.stderr).toMatch(/A worker of the datapath ended/);
      // That is the reason it gives, not what could not be stopped any more.
      expect(gateway.program.stderr).toMatch(/The gateway is stopped\. guard=stays\n$/);
      await everybodyTried();
      begin('start after the TUN was deleted');
      await restart();
    });

    it('SIGTERM', async () => {
      begin('SIGTERM');
      expect(await gateway.stop()).toBe(0);
      await everybodyTried();
      begin('start after SIGTERM');
      await restart();
      expect(await gateway.status()).toMatchObject({ guardTakenOver: true });
    });

    it('SIGKILL', async () => {
      begin('SIGKILL');
      await gateway.kill();
      await everybodyTried();
      begin('TUN down after SIGKILL');
      await topology.a.gateway.ip('link set ipsec0 down');
      await everybodyTried();
      begin('TUN deleted after SIGKILL');
      await topology.a.gateway.ip('link del ipsec0');
      await everybodyTried();
      begin('start after SIGKILL');
      await restart();
    });

    it('a restart while everything goes on', async () => {
      begin('restart');
      await gateway.kill();
      await restart();
      await gateway.stop();
      await restart();
    });

    it('none of it was to be seen outside, until the guard was removed', async () => {
      await gateway.stop();
      const controlFrom = Date.now() / 1000;
      const removed = await ipsecNode(['unguard', '-c', pair.fileA], topology.a.gateway);
      expect(removed.status, removed.stderr).toBe(0);
      await everybodyTried();
      const packets = await capture.stop();

      const before = packets.filter(({ timestampSeconds }) => timestampSeconds < controlFrom);
      const eventOf = ({ captured }: WirePacket): Event | undefined =>
        events.findLast(({ fromSeconds }) => fromSeconds <= captured.timestampSeconds);
      const leaks = inClear(before, Object.values(MARKERS))
        .filter((packet) => eventOf(packet)?.mayLeak !== true)
        .map((packet) => `${eventOf(packet)?.name}: ${describePacket(packet)}`);
      expect([...new Set(leaks)]).toEqual([]);
      // Nobody learns from an ICMP error that a gateway was there and is gone.
      const errors = ipPackets(before).filter(
        ({ protocol, payload }) =>
          (protocol === 1 && [3, 11, 12].includes(payload.readUInt8(0))) ||
          (protocol === 58 && payload.readUInt8(0) < 128),
      );
      expect(errors.map(describePacket)).toEqual([]);

      // The positive control: each kind, family and origin is seen by the same capture and search.
      const after = packets.filter(({ timestampSeconds }) => timestampSeconds >= controlFrom);
      const seen = inClear(after, Object.values(MARKERS));
      for (const marker of Object.values(MARKERS)) {
        const marked = seen.filter(({ captured }) => captured.frame.includes(marker));
        const kinds = marked.map(({ version, protocol }) => `${version} ${protocol}`);
        expect([...new Set(kinds)], marker).toEqual(
          expect.arrayContaining(['4 1', '4 17', '6 17', '6 58']),
        );
      }
      const connections = seen.filter(({ protocol }) => protocol === 6);
      expect(new Set(connections.map(({ source }) => source)).size).toBe(4);
    });
  },
);
