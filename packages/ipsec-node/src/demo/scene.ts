/** What all scenes use: sending, holding back, injecting, and counting around it. */
import { systemClock } from '../clock.js';
import { ResourceError } from '../errors.js';
import { VERBS } from './agent-protocol.js';
import type { PeerKey } from './authentic-peer.js';
import { ESP_PORT, type EspPacket, frameOf, udpPacket } from './frame.js';
import type { Counts } from './gateway-process.js';
import { type Laboratory, LINK_MTU_BYTES, PLACES } from './laboratory.js';
import type { DemoLine, Fact, Subject } from './line.js';

/** Packets of an attack. Fewer than the smallest replay window, so that none is too old. */
export const ATTACK_PACKETS = 64;
const PAYLOAD_LEN = 100;
/** How long counters may take to show what was sent. */
const COUNT_MS_MAX = 3000;
/** After that nothing more may come. */
const QUIET_MS = 60;
const POLL_MS = 10;

/** What there is before the gateways have negotiated anything. */
export interface Hosts {
  readonly lab: Laboratory;
  /** Where host B listens for datagrams. */
  readonly sinkPort: number;
}

/** The SAs that the gateways have negotiated, as far as the attacker gets to know them. */
export interface LinkSas {
  /** Of host A's traffic to host B: what gateway A knows, should it mean harm. */
  readonly keyAToB: PeerKey;
  /** Of host A's padded traffic to host B. */
  readonly paddedSpi: number;
  /** That no SA of gateway B has. */
  readonly unusedSpi: number;
  /** The request with which gateway A began, as it was on the wire. */
  readonly ikeRequest: Uint8Array;
}

/** What the scenes are given. */
export interface Stage extends Hosts, LinkSas {
  /** Where host B serves downloads. */
  httpPort?: number;
  /** The next number of the peer that has the key and means harm. */
  peerNumber?: bigint;
  /** Packets of host A that were delivered. */
  delivered?: readonly Uint8Array[];
}

/** Waits until something is so, and says whether it came to be. */
export async function until(
  isSo: () => Promise<boolean>,
  timeoutMs = COUNT_MS_MAX,
): Promise<boolean> {
  const end = systemClock.now() + timeoutMs;
  while (!(await isSo())) {
    if (systemClock.now() > end) return false;
    await systemClock.sleep(POLL_MS);
  }
  return true;
}

/** Datagrams that have reached an application on host B. */
export async function delivered({ lab }: Hosts): Promise<number> {
  return (await lab.hostB.ask(VERBS.countSink, {})).datagramCount;
}

/** Host A sends datagrams to host B's application. */
export async function sendFromHostA(
  { lab, sinkPort }: Hosts,
  payloadLengths: readonly number[],
  [source, destination]: readonly [string, string] = [PLACES.hostA, PLACES.hostB],
): Promise<void> {
  const path = { source, destination, port: sinkPort };
  await lab.hostA.ask(VERBS.sendDatagrams, { ...path, payloadLengths: [...payloadLengths] });
}

/** So many datagrams of one size. */
export function datagrams(count: number): readonly number[] {
  return Array.from({ length: count }, () => PAYLOAD_LEN);
}

/** Captures on one link of the wire what host A sends to host B; the SA's packets are returned. */
export async function captureAToB(
  { lab, keyAToB }: Stage,
  link: 'a' | 'b',
  count: number,
  send: () => Promise<void>,
): Promise<readonly EspPacket[]> {
  const keep = { spi: keyAToB.spi, count };
  const options = { link, mtuBytes: LINK_MTU_BYTES, marker: null, keep };
  await lab.wire.ask(VERBS.startCapture, options);
  await send();
  await until(async () => (await lab.wire.ask(VERBS.readCapture, {})).keptCount >= count);
  const { kept } = await lab.wire.ask(VERBS.stopCapture, {});
  if (kept.length !== count) {
    throw new ResourceError('IPSEC_ERR_HOST', `${kept.length} of ${count} packets were captured`);
  }
  return kept;
}

/** Stops and starts the wire's forwarding. */
export async function forward({ lab }: Stage, isOn: boolean): Promise<void> {
  await lab.wire.ask(VERBS.setSysctl, { name: 'net/ipv4/ip_forward', value: isOn ? '1' : '0' });
}

/** Puts ESP packets on the wire towards gateway B, from whatever outer address. */
export async function injectEsp(
  stage: Stage,
  packets: readonly Uint8Array[],
  source: string = PLACES.gatewayA,
): Promise<void> {
  const path = {
    source,
    destination: PLACES.gatewayB,
    sourcePort: ESP_PORT,
    destinationPort: ESP_PORT,
  };
  await inject(
    stage,
    packets.map((packet) => udpPacket(path, packet)),
  );
}

/** Puts IP packets on the wire towards gateway B. */
export async function inject({ lab }: Stage, packets: readonly Uint8Array[]): Promise<void> {
  const ethernet = {
    source: await lab.wire.ask(VERBS.linkAddress, { name: 'b' }),
    destination: await lab.sideB.ask(VERBS.linkAddress, { name: 'wan' }),
  };
  const frames = packets.map((packet) => frameOf(ethernet, packet));
  await lab.wire.ask(VERBS.inject, { link: 'b', frames });
}

/** A deed, and what is to be counted for it. */
export interface Attack {
  readonly subject: Subject;
  readonly did: string;
  /** By how much each of gateway B's counters rises; all others stay. */
  readonly counts: Readonly<Record<string, number>>;
  /** How many datagrams reach host B's application. */
  readonly delivers: number;
  readonly act: () => Promise<void>;
}

/** Does it and holds what gateway B and host B counted against what they have to. */
export async function attempt(stage: Stage, attack: Attack): Promise<DemoLine> {
  const { subject, did, counts, delivers, act } = attack;
  const { b } = stage.lab;
  const [dropsBefore, deliveredBefore] = [await b.drops(), await delivered(stage)];
  await act();
  const wanted = Object.entries(counts);
  await until(async () => {
    const rise = risen(dropsBefore, await b.drops());
    const isCounted = wanted.every(([name, by]) => (rise[name] ?? 0) >= by);
    return isCounted && (await delivered(stage)) - deliveredBefore >= delivers;
  });
  await systemClock.sleep(QUIET_MS);
  const rise = risen(dropsBefore, await b.drops());
  const arrived = (await delivered(stage)) - deliveredBefore;
  const isExact =
    Object.keys(rise).length === wanted.length && wanted.every(([name, by]) => rise[name] === by);
  const told = Object.entries(rise).map(([name, by]) => `${name} +${by}`);
  return {
    subject,
    ok: isExact && arrived === delivers,
    did,
    found: [...(told.length > 0 ? told : []), `delivered ${arrived}`].join(', '),
    facts: { counters: rise, delivered: arrived, expected: { counters: counts, delivers } },
  };
}

/** The counters that have risen, and by how much. */
function risen(before: Counts, after: Counts): Readonly<Record<string, number>> {
  return Object.fromEntries(
    Object.entries(after)
      .map(([name, value]): [string, number] => [name, Number(value - (before[name] ?? 0n))])
      .filter(([, by]) => by !== 0),
  );
}

/** For a scene that could not be played. */
export function failed(subject: Subject, error: unknown): DemoLine {
  const reason = error instanceof Error ? error.message : String(error);
  const facts: { readonly [name: string]: Fact } = { error: reason };
  return { subject, ok: false, did: 'could not be shown', found: reason, facts };
}
