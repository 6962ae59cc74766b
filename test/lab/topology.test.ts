import { afterEach, expect, it } from 'vitest';
import { Capture, packetsWith } from './capture.ts';
import { run } from './command.ts';
import { Namespace } from './namespace.ts';
import { describeWith } from './describe-with.ts';
import { NAME_PREFIX } from './registry.ts';
import { buildTopology, type Topology } from './topology.ts';

describeWith(['namespaces', 'iproute2', 'iputils-ping', 'tcpdump'], 'the laboratory', () => {
  let topology: Topology | undefined;
  afterEach(async () => {
    await topology?.close();
    topology = undefined;
  });

  it.each(['direct', 'bridge', 'router'] as const)('joins two sites: %s', async (wire) => {
    topology = await buildTopology({ wire });
    const { a, b } = topology;
    expect(await a.gateway.ping(b.gatewayAddress4)).toBe(true);
    expect(await a.gateway.ping(b.gatewayAddress6)).toBe(true);
    expect(await a.host.ping(b.hostAddress4)).toBe(true);
    expect(await a.host.ping(b.hostAddress6)).toBe(true);
  });

  it('knows no way between the sites without clearPath', async () => {
    topology = await buildTopology({ wire: 'router', clearPath: false });
    const { a, b } = topology;
    expect(await a.gateway.ping(b.gatewayAddress4)).toBe(true);
    expect(await a.gateway.ping(b.gatewayAddress6)).toBe(true);
    expect(await a.host.ping(b.hostAddress4, { timeoutMs: 300 })).toBe(false);
    expect(await a.host.ping(b.hostAddress6, { timeoutMs: 300 })).toBe(false);
  });

  it('captures what crosses the wire', async () => {
    topology = await buildTopology({ wire: 'bridge' });
    const { a, b, wire } = topology;
    if (wire === undefined) throw new Error('no wire');
    const capture = await Capture.start(wire, 'wire-a', 'icmp');
    const pattern = Buffer.from('plain to see').toString('hex');
    await a.host.exec(['ping', '-c', '3', '-i', '0.2', '-s', '64', '-p', pattern, b.hostAddress4]);
    const packets = await capture.stop();
    expect(packets.length).toBe(6);
    expect(packetsWith(packets, 'plain to see').length).toBe(6);
    expect(packetsWith(packets, 'something else').length).toBe(0);
  });

  it('leaves no namespace and no program behind', async () => {
    const namespace = await Namespace.create('short');
    const program = namespace.spawn(['sleep', '1000']);
    await program.output(/^/);
    await namespace.remove();
    expect(await program.exited).toBe(128);
    const { stdout } = await run(['ip', 'netns', 'list']);
    expect(stdout.includes(NAME_PREFIX)).toBe(false);
  });
});
