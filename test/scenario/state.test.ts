/**
 * Sequence numbers outlive the process. Both gateways are killed again and again under traffic, and
 * on the wire no (SPI, IV) pair appears twice; packets of earlier lives are refused after a restart.
 * An orderly stop wastes no number. A state directory that cannot keep the promise is refused.
 *
 * IPv4 goes without extended sequence numbers: there every old packet is left of the window. IPv6
 * goes with them: there an old number is taken for one of the next 2^32, and its ICV cannot fit
 * (RFC 4303 appendix A).
 */

import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Capture } from '../lab/capture.ts';
import { until } from '../lab/command.ts';
import { describeWith } from '../lab/describe-with.ts';
import { buildTopology, type Topology } from '../lab/topology.ts';
import { command, ipsecNode, RunningGateway } from './ipsec-node.ts';
import { type Pair, type Policy, spiToA, spiToB, startPair, writePair } from './pair.ts';
import { inject, pairsBetween, sendDatagrams, serve, Talker } from './traffic.ts';
import { type EspPacket, espPackets } from './wire.ts';

const LIVES = 10;
const REPLAYED = 200;

/** Both networks of each family, as seen from a site. */
function policies(topology: Topology, own: 'a' | 'b'): readonly Policy[] {
  const [local, remote] = own === 'a' ? [topology.a, topology.b] : [topology.b, topology.a];
  return [
    { name: 'lan4', local: local.prefix4, remote: remote.prefix4, action: 'protect' },
    { name: 'lan6', local: local.prefix6, remote: remote.prefix6, action: 'protect' },
    { name: 'rest', action: 'bypass' },
  ];
}

function pairOf(topology: Topology): Pair {
  return writePair(topology, {
    links: [
      { policy: 'lan4', esn: false },
      { policy: 'lan6', esn: true },
    ],
    policiesA: policies(topology, 'a'),
    policiesB: policies(topology, 'b'),
  });
}

/** The frame as another network card would send it: a veth leaves the UDP checksum unfinished. */
function withoutChecksum({ wire: { captured } }: EspPacket): Buffer {
  const frame = Buffer.from(captured.frame);
  frame.writeUInt16BE(0, frame.length - captured.ip.length + 20 + 6);
  return frame;
}

/** What a command is put behind to see something mounted that nobody else sees. */
function mounted(what: string): readonly string[] {
  const script = `mount ${what} && exec "$@"`;
  return ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', script, 'sh'];
}

/** So many of them, spread over all. */
function spread<T>(all: readonly T[], count: number): readonly T[] {
  const step = Math.max(1, all.length / count);
  return Array.from({ length: Math.min(count, all.length) }, (_, index) => {
    const chosen = all[Math.floor(index * step)];
    return chosen === undefined ? [] : [chosen];
  }).flat();
}

describeWith(
  ['namespaces', 'iproute2', 'nftables', 'tcpdump', 'ethtool', 'python3'],
  'sequence numbers outlive the process',
  () => {
    let topology: Topology;
    let pair: Pair;
    let gateways: { a: RunningGateway; b: RunningGateway };
    let talkers: readonly Talker[];
    /** What the first test saw on the wire. */
    let earlier: readonly EspPacket[] = [];

    beforeAll(async () => {
      topology = await buildTopology({ wire: 'bridge' });
      const { a, b } = topology;
      // One frame for each ESP packet: the kernel cuts what was handed to it as one.
      for (const { gateway, wan } of [a, b]) {
        await gateway.exec(['ethtool', '-K', wan, 'tx-udp-segmentation', 'off']);
      }
      pair = pairOf(topology);
      gateways = await startPair(topology, pair);
      await serve(b.host);
      await serve(a.host);
      const talk = (label: string, from: typeof a, to: typeof b): Promise<Talker> =>
        Talker.start(
          label,
          from.host,
          pairsBetween({ address4: from.hostAddress4, address6: from.hostAddress6 }, to),
          { marker: 'STATE' },
        );
      talkers = [await talk('A to B', a, b), await talk('B to A', b, a)];
      await Promise.all(talkers.map((talker) => talker.flows()));
    });

    afterAll(async () => {
      await topology?.close();
    });

    it(`no number twice in ${LIVES} lives of both ends`, async () => {
      const { wire } = topology;
      if (wire === undefined) throw new Error('no wire');
      const capture = await Capture.start(wire, 'wire-a');
      await Promise.all(talkers.map((talker) => talker.flows()));
      for (let life = 1; life < LIVES; life += 1) {
        await Promise.all([gateways.a.kill(), gateways.b.kill()]);
        gateways = await startPair(topology, pair);
        await Promise.all(talkers.map((talker) => talker.flows()));
      }
      await Promise.all(talkers.map((talker) => talker.pause()));
      const packets = espPackets(await capture.stop());
      const used = new Map<string, number>();
      for (const { spi, iv } of packets) {
        used.set(`${spi} ${iv}`, (used.get(`${spi} ${iv}`) ?? 0) + 1);
      }
      expect([...used].filter(([, count]) => count > 1)).toEqual([]);
      // Each life sent by each SA, and took a block of numbers of its own.
      for (const spi of [spiToA(0), spiToA(1), spiToB(0), spiToB(1)]) {
        const blocks = packets
          .filter((packet) => packet.spi === spi)
          .map(({ sequence }) => Math.floor((sequence - 1) / 2 ** 20));
        expect(new Set(blocks).size).toBe(LIVES);
      }
      earlier = packets;
    });

    it('nothing of an earlier life is accepted after a restart', async () => {
      const { wire } = topology;
      if (wire === undefined) throw new Error('no wire');
      expect(earlier.length).toBeGreaterThan(0);
      await Promise.all([gateways.a.kill(), gateways.b.kill()]);
      gateways = await startPair(topology, pair);
      for (const [gateway, device, spis] of [
        [gateways.a, 'wire-a', [spiToA(0), spiToA(1)]],
        [gateways.b, 'wire-b', [spiToB(0), spiToB(1)]],
      ] as const) {
        const [without, withEsn] = spis;
        const before = await gateway.tally();
        const chosen = [without, withEsn].map((spi) =>
          spread(
            earlier.filter((packet) => packet.spi === spi),
            REPLAYED,
          ),
        );
        const counts = chosen.map(({ length }) => length);
        expect(Math.min(...counts)).toBeGreaterThan(50);
        const frames = chosen.flat().map(withoutChecksum);
        await inject(wire, device, frames);
        let refused = {};
        await until('all are counted', async () => {
          const now = await gateway.tally();
          refused = now.since(before, ['replay_too_old', 'replay_duplicate', 'integrity']);
          return now.of('network_datagrams') - before.of('network_datagrams') >= frames.length;
        });
        // Each has its reason, so none was delivered.
        expect(refused).toEqual({ replay_too_old: counts[0], integrity: counts[1] });
      }
      // Both still talk.
      await Promise.all(talkers.map((talker) => talker.go()));
      await Promise.all(talkers.map((talker) => talker.flows()));
      await Promise.all(talkers.map((talker) => talker.pause()));
    });

    it('an orderly stop wastes no number', async () => {
      const { a, b, wire } = topology;
      if (wire === undefined) throw new Error('no wire');
      const capture = await Capture.start(wire, 'wire-a', `src host ${a.gatewayAddress4}`);
      const send = (marker: string) =>
        sendDatagrams(a.host, a.hostAddress4, b.hostAddress4, { marker });
      expect((await send('BEFORE')).back).toBe(1);
      expect(await gateways.a.stop()).toBe(0);
      gateways = { ...gateways, a: await RunningGateway.start(a.gateway, pair.fileA) };
      expect((await send('AFTER')).back).toBe(1);
      // What the test before sent may still come on its way: whatever was sent, none is left out.
      const numbers = espPackets(await capture.stop())
        .filter(({ spi }) => spi === spiToB(0))
        .map(({ sequence }) => sequence)
        .toSorted((one, other) => one - other);
      expect(numbers.length).toBeGreaterThanOrEqual(2);
      const [first = 0] = numbers;
      expect(numbers).toEqual(numbers.map((_number, index) => first + index));
    });

    it('a full disk stops what would be used twice, and nothing else', async () => {
      const { a, b } = topology;
      await gateways.a.stop();
      const state = `${pair.folder}/a.state`;
      const wrapper = mounted(`-t tmpfs -o size=32k tmpfs '${state}'`);
      // Another directory than before, so that the keys have to be others, too.
      const fresh = pairOf(topology);
      await gateways.b.stop();
      const file = readFileSync(fresh.fileA, 'utf8').replaceAll(`${fresh.folder}/a.state`, state);
      writeFileSync(fresh.fileA, file);
      const [first, second] = await Promise.all([
        RunningGateway.start(a.gateway, fresh.fileA, wrapper),
        RunningGateway.start(b.gateway, fresh.fileB),
      ]);
      try {
        await sendDatagrams(a.host, a.hostAddress4, b.hostAddress4, { marker: 'ROOM' });
        const inside = `/proc/${first.program.pid}/root${state}`;
        const filler = `${inside}/filler`;
        const fill = `head -c 1M /dev/zero > '${filler}' 2>/dev/null; test -s '${filler}'`;
        await a.gateway.exec(['sh', '-c', fill]);

        // Numbers that arrive run into the bound on the disk. What leaves has numbers enough.
        const refused = async (): Promise<number> =>
          (await first.tally()).of('replay_not_reserved');
        const options = { count: 1000, marker: 'NO-ROOM', answered: false };
        await until(
          'a number beyond the bound',
          async () => {
            await sendDatagrams(b.host, b.hostAddress4, a.hostAddress4, options);
            return (await refused()) > 0;
          },
          60_000,
        );
        const [inbound] = (await first.sas()).filter(
          (sa) => sa['direction'] === 'inbound' && sa['policy'] === 'lan4',
        );
        expect(Number(inbound?.['sequenceNumber'])).toBeLessThanOrEqual(
          Number(inbound?.['reservedUpTo']),
        );
        expect((await first.status())['state']).toBe('running');

        // With room again it goes on by itself.
        rmSync(filler);
        await until('packets pass again', async () => {
          const again = { count: 3, marker: 'ROOM-AGAIN', answered: false };
          const { back } = await sendDatagrams(b.host, b.hostAddress4, a.hostAddress4, again);
          return back === 3;
        });
      } finally {
        await Promise.all([first.stop(), second.stop()]);
      }
      gateways = await startPair(topology, pair);
    });

    it('two gateways on one state directory: the second is refused', async () => {
      const text = readFileSync(pair.fileA, 'utf8')
        .replace('a.vici', 'second.vici')
        .replace('"ga"', '"second"')
        .replace('"ipsec0"', '"ipsec1"');
      const file = `${pair.folder}/second.yaml`;
      writeFileSync(file, text, { mode: 0o600 });
      const { status, stderr } = await ipsecNode(['up', '-c', file], topology.a.gateway);
      expect(status).toBe(1);
      expect(stderr).toContain(`${pair.folder}/a.state is in use by a running gateway`);
      const { stdout } = await topology.a.gateway.exec(['nft', 'list', 'tables']);
      expect(stdout).not.toContain('ipsec-node-second');
      expect(await topology.a.gateway.ip('link show')).not.toContain('ipsec1');
    });

    it('a state directory that is missing, damaged or not writable is refused', async () => {
      await gateways.a.stop();
      const host = topology.a.gateway;
      const state = `${pair.folder}/a.state`;
      const file = `${state}/sequence-numbers.json`;
      const good = readFileSync(file, 'utf8');
      const refusal = async (words = command(['up', '-c', pair.fileA])): Promise<string> => {
        const { status, stderr } = await host.exec(words, { anyStatus: true });
        expect(status).toBe(1);
        return stderr;
      };

      const digit = good.replace(
        /"upTo": "(\d)/,
        (_, first: string) => `"upTo": "${9 - Number(first)}`,
      );
      expect(digit).not.toBe(good);
      for (const damaged of [good.slice(0, -20), digit, '', '{}']) {
        writeFileSync(file, damaged);
        const told = await refusal();
        expect(told).toContain(`${file} is damaged`);
        expect(told).toContain('Put new keys on both ends, then remove the file');
        expect(readFileSync(file, 'utf8')).toBe(damaged);
      }
      writeFileSync(file, good);

      const unwritable = await refusal([
        ...mounted(`-t tmpfs -o ro tmpfs '${state}'`),
        ...command(['up', '-c', pair.fileA]),
      ]);
      expect(unwritable).toContain(`The state directory ${state} is on a read-only file system`);

      rmSync(state, { recursive: true });
      const missing = await refusal();
      expect(missing).toContain(`The state directory ${state} does not exist`);
      expect(missing).toContain(`install -d -m 700 ${state}`);
      writeFileSync(state, '');
      expect(await refusal()).toContain(`The state directory ${state} is not a directory`);
      rmSync(state);

      // With its state back it goes on.
      mkdirSync(state, { mode: 0o700 });
      writeFileSync(file, good);
      chmodSync(file, 0o600);
      gateways = { ...gateways, a: await RunningGateway.start(host, pair.fileA) };
      await Promise.all(talkers.map((talker) => talker.go()));
      await Promise.all(talkers.map((talker) => talker.flows()));
    });
  },
);
