import type { BenchOptions, Placement } from '../options.js';
import type { Flow, Load } from './iperf.js';
import type { Topology } from './topology.js';

/** Whole inner packet of the small-packet scenario, IPv4 header included. */
export const SMALL_PACKET_BYTES = 64;

export interface Scenario {
  readonly id: string;
  readonly title: string;
  readonly placement: Placement;
  /** UDP segmentation offload on the wire. */
  readonly offload: boolean;
  readonly load: Load;
  readonly unit: 'Gbit/s' | 'packets/s';
}

/** Grouped by offload profile: a profile is switched once a round. */
export function scenariosOf(options: BenchOptions): Scenario[] {
  const scenarios: Scenario[] = [];
  for (const offload of options.offloads) {
    const profile = offload ? 'uso-on' : 'uso-off';
    const tail = `UDP segmentation offload ${offload ? 'on' : 'off'}`;
    for (const placement of options.placements) {
      for (const streams of options.streams) {
        scenarios.push({
          id: `tcp-${streams}-${placement}-${profile}`,
          title: `TCP, ${streams} stream${streams === 1 ? '' : 's'}, ${placement}, ${tail}`,
          placement,
          offload,
          load: { kind: 'tcp', streams, congestion: options.congestion },
          unit: 'Gbit/s',
        });
      }
      if (options.smallPackets) {
        scenarios.push({
          id: `udp-${SMALL_PACKET_BYTES}-${placement}-${profile}`,
          title: `UDP, ${SMALL_PACKET_BYTES}-byte packets delivered, ${placement}, ${tail}`,
          placement,
          offload,
          load: { kind: 'udp', packetBytes: SMALL_PACKET_BYTES },
          unit: 'packets/s',
        });
      }
    }
  }
  return scenarios;
}

/** Forwarded: between the hosts. Local: between the gateways, by the addresses that policy covers. */
export function flowOf(topology: Topology, placement: Placement): Flow {
  const { hostA, hostB, gatewayA, gatewayB } = topology;
  return placement === 'forwarded'
    ? {
        clientNamespace: hostA.namespace,
        clientAddress: hostA.address,
        serverNamespace: hostB.namespace,
        serverAddress: hostB.address,
      }
    : {
        clientNamespace: gatewayA.namespace,
        clientAddress: gatewayA.lanAddress,
        serverNamespace: gatewayB.namespace,
        serverAddress: gatewayB.lanAddress,
      };
}
