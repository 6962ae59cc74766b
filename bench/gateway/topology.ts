import { textAt, numberAt, valueAt } from '../json.js';
import type { Lab } from './lab.js';

/** One gateway: `lan` towards its host, `wire` towards the other gateway. */
export interface GatewayEnd {
  readonly name: 'A' | 'B';
  readonly namespace: string;
  readonly lanAddress: string;
  readonly wireAddress: string;
  /** What lies behind it. */
  readonly subnet: string;
}

export interface HostEnd {
  readonly namespace: string;
  readonly address: string;
}

/**
 *   hostA --- lan [gateway A] wire --- wire [gateway B] lan --- hostB
 *   10.81.1.2   10.81.1.1 192.0.2.1   192.0.2.2 10.81.2.1   10.81.2.2
 *
 * Four network namespaces on three veth pairs. No route leads from one subnet to the other until a
 * contender installs one, so that traffic cannot go around the tunnel that is measured.
 */
export interface Topology {
  readonly lab: Lab;
  readonly label: string;
  readonly hostA: HostEnd;
  readonly gatewayA: GatewayEnd;
  readonly gatewayB: GatewayEnd;
  readonly hostB: HostEnd;
}

export const WIRE_MTU = 1500;

export async function openTopology(lab: Lab, label: string): Promise<Topology> {
  const hostA: HostEnd = { namespace: await lab.addNamespace(`${label}-ha`), address: '10.81.1.2' };
  const gatewayA: GatewayEnd = {
    name: 'A',
    namespace: await lab.addNamespace(`${label}-ga`),
    lanAddress: '10.81.1.1',
    wireAddress: '192.0.2.1',
    subnet: '10.81.1.0/24',
  };
  const gatewayB: GatewayEnd = {
    name: 'B',
    namespace: await lab.addNamespace(`${label}-gb`),
    lanAddress: '10.81.2.1',
    wireAddress: '192.0.2.2',
    subnet: '10.81.2.0/24',
  };
  const hostB: HostEnd = { namespace: await lab.addNamespace(`${label}-hb`), address: '10.81.2.2' };

  await addVeth(lab, [hostA.namespace, 'eth0'], [gatewayA.namespace, 'lan']);
  await addVeth(lab, [gatewayA.namespace, 'wire'], [gatewayB.namespace, 'wire']);
  await addVeth(lab, [hostB.namespace, 'eth0'], [gatewayB.namespace, 'lan']);
  const sides = [
    [hostA, gatewayA],
    [hostB, gatewayB],
  ] as const;
  for (const [host, gateway] of sides) {
    await lab.run(
      'ip',
      '-n',
      host.namespace,
      'address',
      'add',
      `${host.address}/24`,
      'dev',
      'eth0',
    );
    await lab.run('ip', '-n', host.namespace, 'route', 'add', 'default', 'via', gateway.lanAddress);
    const at = ['-n', gateway.namespace, 'address', 'add'];
    await lab.run('ip', ...at, `${gateway.lanAddress}/24`, 'dev', 'lan');
    await lab.run('ip', ...at, `${gateway.wireAddress}/24`, 'dev', 'wire');
    // /proc/sys/net shows the namespace of the process that looks at it.
    await lab.run(
      'ip',
      ...['netns', 'exec', gateway.namespace, 'sh', '-c'],
      'echo 1 >/proc/sys/net/ipv4/ip_forward; for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >"$f"; done',
    );
  }
  return { lab, label, hostA, gatewayA, gatewayB, hostB };
}

async function addVeth(
  lab: Lab,
  one: readonly [namespace: string, device: string],
  other: readonly [namespace: string, device: string],
): Promise<void> {
  await lab.run(
    'ip',
    ...['link', 'add', one[1], 'mtu', String(WIRE_MTU), 'netns', one[0], 'type', 'veth'],
    ...['peer', 'name', other[1], 'mtu', String(WIRE_MTU), 'netns', other[0]],
  );
  await lab.run('ip', '-n', one[0], 'link', 'set', one[1], 'up');
  await lab.run('ip', '-n', other[0], 'link', 'set', other[1], 'up');
}

/** UDP segmentation offload of both ends of the wire. */
export async function switchWireOffload(topology: Topology, on: boolean): Promise<void> {
  for (const gateway of [topology.gatewayA, topology.gatewayB]) {
    await topology.lab.run(
      'ip',
      ...['netns', 'exec', gateway.namespace],
      ...['ethtool', '-K', 'wire', 'tx-udp-segmentation', on ? 'on' : 'off'],
    );
  }
}

/** The features that `ethtool -k` reports as on. */
export async function wireFeatures(topology: Topology): Promise<string[]> {
  const text = await topology.lab.run(
    'ip',
    ...['netns', 'exec', topology.gatewayA.namespace, 'ethtool', '-k', 'wire'],
  );
  return [...text.matchAll(/^\s*([\w-]+): on/gm)].map((match) => match[1] ?? '');
}

/** What gateway A put on the wire so far, as the kernel counts it: a GSO super-packet counts once. */
export async function wireCounters(
  topology: Topology,
): Promise<{ readonly packets: number; readonly bytes: number }> {
  const text = await topology.lab.run(
    'ip',
    ...['-n', topology.gatewayA.namespace, '-s', '-j', 'link', 'show', 'dev', 'wire'],
  );
  const links: unknown = JSON.parse(text);
  return {
    packets: numberAt(links, 0, 'stats64', 'tx', 'packets') ?? 0,
    bytes: numberAt(links, 0, 'stats64', 'tx', 'bytes') ?? 0,
  };
}

/** MTU of the device that a contender added to gateway A; null where it added none. */
export async function tunnelMtu(topology: Topology): Promise<number | null> {
  const text = await topology.lab.run(
    'ip',
    '-n',
    topology.gatewayA.namespace,
    '-j',
    'link',
    'show',
  );
  const links: unknown = JSON.parse(text);
  for (let index = 0; valueAt(links, index) !== undefined; index += 1) {
    const name = textAt(links, index, 'ifname');
    if (name !== undefined && !['lo', 'lan', 'wire'].includes(name)) {
      return numberAt(links, index, 'mtu') ?? null;
    }
  }
  return null;
}
