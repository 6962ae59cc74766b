import { expect, it } from 'vitest';
import { Capture, packetsWith } from './capture.ts';
import { until } from './command.ts';
import { describeWith } from './describe-with.ts';
import { pairConfiguration, Strongswan, STRONGSWAN_NEEDS } from './strongswan.ts';
import { buildTopology } from './topology.ts';

describeWith(['namespaces', 'iproute2', 'tcpdump', ...STRONGSWAN_NEEDS], 'two charons', () => {
  it('join two sites by userspace ESP in UDP', async () => {
    await using topology = await buildTopology();
    const { a, b } = topology;
    const ends = [a, b].map((site) => ({
      address: site.gatewayAddress4,
      prefixes: site.prefix4,
    }));
    const [left, right] = ends;
    if (left === undefined || right === undefined) throw new Error('two ends');
    await using one = await Strongswan.start({
      namespace: a.gateway,
      swanctl: pairConfiguration(left, right),
    });
    await using two = await Strongswan.start({
      namespace: b.gateway,
      swanctl: pairConfiguration(right, left),
    });
    await one.swanctl(['--initiate', '--child', 'net']);
    const capture = await Capture.start(a.gateway, a.wan);
    await until('a ping crosses', () => a.host.ping(b.hostAddress4));
    const pattern = Buffer.from('plain to see').toString('hex');
    await a.host.exec(['ping', '-c', '2', '-i', '0.2', '-s', '64', '-p', pattern, b.hostAddress4]);
    const packets = await capture.stop();
    expect(packetsWith(packets, 'plain to see')).toEqual([]);
    expect(packets.length).toBeGreaterThanOrEqual(4);
    expect((await two.swanctl(['--list-sas'])).stdout).toMatch(/INSTALLED, TUNNEL-in-UDP/);
  });
});
