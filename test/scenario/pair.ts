/** Two sites with a gateway each, and the configuration of both. */

import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import type { Site, Topology } from '../lab/topology.ts';
import { RunningGateway, scratchFolder } from './ipsec-node.ts';

/** One entry of `policies`, as in the file. */
export type Policy = Readonly<Record<string, unknown>> & { readonly name: string };

/** One association of a policy, with what both ends share. */
export interface Link {
  readonly policy: string;
  readonly suite?: 'aes256gcm16' | 'aes128gcm16' | 'chacha20poly1305';
  readonly esn?: boolean;
  readonly encapsulation?: 'udp' | 'esp';
  /** Family of the outer addresses. Default 4. */
  readonly outer?: 4 | 6;
}

export interface PairOptions {
  readonly links: readonly Link[];
  readonly policiesA: readonly Policy[];
  readonly policiesB: readonly Policy[];
  /** More keys of `gateway` for both. */
  readonly gateway?: Readonly<Record<string, unknown>>;
}

export interface Pair {
  readonly folder: string;
  readonly fileA: string;
  readonly fileB: string;
}

const newKey = (suite: string): string =>
  `0x${randomBytes(suite === 'aes128gcm16' ? 20 : 36).toString('hex')}`;

/** SPI of the n-th link, towards B and towards A. */
export const spiToB = (index: number): number => 0xc000_0100 + index;
export const spiToA = (index: number): number => 0xc000_0200 + index;

/** Writes the files of both gateways, with fresh keys and state directories. */
export function writePair(topology: Topology, options: PairOptions): Pair {
  const folder = scratchFolder();
  const keys = options.links.map(({ suite }) => ({
    toA: newKey(suite ?? 'aes256gcm16'),
    toB: newKey(suite ?? 'aes256gcm16'),
  }));
  const associations = (own: Site, peer: Site, isA: boolean): readonly unknown[] =>
    options.links.map(({ policy, suite, outer, ...rest }, index) => {
      const key = keys[index] ?? { toA: '', toB: '' };
      const toA = { spi: spiToA(index), key: key.toA };
      const toB = { spi: spiToB(index), key: key.toB };
      return {
        policy,
        suite: suite ?? 'aes256gcm16',
        local: outer === 6 ? own.gatewayAddress6 : own.gatewayAddress4,
        remote: outer === 6 ? peer.gatewayAddress6 : peer.gatewayAddress4,
        ...rest,
        inbound: isA ? toA : toB,
        outbound: isA ? toB : toA,
      };
    });
  const write = (name: 'a' | 'b', policies: readonly Policy[]): string => {
    const [own, peer] = name === 'a' ? [topology.a, topology.b] : [topology.b, topology.a];
    const file = `${folder}/${name}.yaml`;
    mkdirSync(`${folder}/${name}.state`, { mode: 0o700 });
    const content = {
      gateway: {
        name: `g${name}`,
        laboratory: true,
        control: `${folder}/${name}.vici`,
        state: `${folder}/${name}.state`,
        unprotected: [own.wan],
        protected: [own.lan],
        interface: { name: 'ipsec0' },
        ...options.gateway,
      },
      policies,
      associations: associations(own, peer, name === 'a'),
    };
    // JSON is YAML.
    writeFileSync(file, JSON.stringify(content, null, 2), { mode: 0o600 });
    return file;
  };
  return {
    folder,
    fileA: write('a', options.policiesA),
    fileB: write('b', options.policiesB),
  };
}

/** Starts both, at once. */
export async function startPair(
  topology: Topology,
  pair: Pair,
): Promise<{ a: RunningGateway; b: RunningGateway }> {
  const [a, b] = await Promise.all([
    RunningGateway.start(topology.a.gateway, pair.fileA),
    RunningGateway.start(topology.b.gateway, pair.fileB),
  ]);
  return { a, b };
}

/** What both sites protect between their networks: IPv4 and IPv6. */
export function sitePolicies(topology: Topology): { a: Policy; b: Policy } {
  const { a, b } = topology;
  const one = (own: Site, peer: Site): Policy => ({
    name: 'lan',
    local: [own.prefix4, own.prefix6],
    remote: [peer.prefix4, peer.prefix6],
    action: 'protect',
  });
  return { a: one(a, b), b: one(b, a) };
}
