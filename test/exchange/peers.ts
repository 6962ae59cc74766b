/** PAD entries for simulations: two sites that know each other by a pre-shared key. */
import type { ChildTerms } from '../../packages/ipsec-node/src/pad/child-terms.js';
import type { PadEntry } from '../../packages/ipsec-node/src/pad/pad-entry.js';
import type { Pad } from '../../packages/ipsec-node/src/pad/pad.js';
import type { Proposal } from '../../packages/ipsec-node/src/sad/proposal.js';
import { Secret } from '../../packages/ipsec-node/src/sad/secret.js';
import type { Transform, TransformType } from '../../packages/ipsec-node/src/sad/transform.js';
import type { Selector } from '../../packages/ipsec-node/src/spd/selector.js';
import { ADDRESS, type Side } from './simulator.js';

const transform = (type: TransformType, id: number, keyBits: number | null = null): Transform => ({
  type,
  id,
  keyBits,
});

export const GCM256 = transform('encryption', 20, 256);
export const GCM128 = transform('encryption', 20, 128);
export const PRF256 = transform('prf', 5);
export const X25519 = transform('key-exchange', 31);
export const ECP256 = transform('key-exchange', 19);
export const MODP2048 = transform('key-exchange', 14);
export const MODP3072 = transform('key-exchange', 15);
export const ESN = transform('sequence-numbers', 1);
export const NO_ESN = transform('sequence-numbers', 0);
export const ML_KEM_768 = transform('additional-key-exchange-1', 36);
export const ML_KEM_1024 = transform('additional-key-exchange-2', 37);

export const ike = (...transforms: readonly Transform[]): Proposal => ({
  protocol: 'ike',
  transforms,
});
export const esp = (...transforms: readonly Transform[]): Proposal => ({
  protocol: 'esp',
  transforms,
});

export const IKE_DEFAULT = ike(GCM256, PRF256, X25519, ECP256);
export const ESP_DEFAULT = esp(GCM256, ESN, NO_ESN);
export const ESP_PFS = esp(GCM256, X25519, ESN, NO_ESN);

const NETWORK: Readonly<Record<Side, { from: string; to: string }>> = {
  a: { from: '10.1.0.0', to: '10.1.255.255' },
  b: { from: '10.2.0.0', to: '10.2.255.255' },
};

export function selectorOfSide(side: Side): Selector {
  return {
    local: [NETWORK[side]],
    remote: [NETWORK[side === 'a' ? 'b' : 'a']],
    protocol: 'any',
    localPorts: [],
    remotePorts: [],
    icmpTypes: [],
    icmpCodes: [],
  };
}

export function childTerms(side: Side, changes: Partial<ChildTerms> = {}): ChildTerms {
  return {
    name: 'net',
    mode: 'tunnel',
    selector: selectorOfSide(side),
    proposals: [ESP_DEFAULT],
    start: 'none',
    onClose: 'clear',
    lifetime: { rekeyMs: 3_600_000, hardMs: 4_000_000, rekeyBytes: 0n, rekeyPackets: 0n },
    selectorsPerChild: 'all',
    replayWindow: 1_024,
    tfcPadToBytes: 0,
    dontFragment: 'copy',
    ...changes,
  };
}

export function padEntry(side: Side, changes: Partial<PadEntry> = {}): PadEntry {
  const peer = side === 'a' ? 'b' : 'a';
  const secret = (): Secret =>
    new Secret(new TextEncoder().encode('a secret of twenty octets or more'), 'the test');
  return {
    name: peer,
    hosts: [{ kind: 'address', address: ADDRESS[peer] }],
    localAddress: null,
    remotePort: 500,
    localIdentity: { kind: 'dns-name', name: `${side}.example` },
    remoteIdentity: { kind: 'exact', identity: { kind: 'dns-name', name: `${peer}.example` } },
    localAuthentication: { method: 'psk', secret: secret() },
    remoteAuthentication: { method: 'psk', secret: secret() },
    ppk: null,
    proposals: [IKE_DEFAULT],
    children: [childTerms(side)],
    rekeyMs: 14_400_000,
    hardMs: 16_000_000,
    livenessMs: 0,
    keepaliveMs: 0,
    encapsulation: 'forced',
    fragmentation: true,
    mobike: false,
    unique: 'no',
    onDeath: 'clear',
    hashAndUrl: false,
    ...changes,
  };
}

/** The PADs of both sides, each with one entry for the other. */
export function pads(
  changes: {
    readonly a?: Partial<PadEntry>;
    readonly b?: Partial<PadEntry>;
    readonly both?: Partial<PadEntry>;
    readonly child?: Partial<ChildTerms>;
  } = {},
): Readonly<Record<Side, Pad>> {
  const entry = (side: Side): PadEntry =>
    padEntry(side, {
      children: [childTerms(side, changes.child)],
      ...changes.both,
      ...changes[side],
    });
  return { a: { entries: [entry('a')] }, b: { entries: [entry('b')] } };
}
