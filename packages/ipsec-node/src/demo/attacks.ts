/** The attacks that put packets on the wire, each held to the counter that rises for it. */
import { randomBytes, randomInt } from 'node:crypto';
import { NEXT_HEADER, type Sealing, seal } from './authentic-peer.js';
import { ESP_FRONT_LEN, ESP_ICV_LEN, type EspPacket, type UdpPath, udpPacket } from './frame.js';
import { PLACES } from './laboratory.js';
import type { DemoLine } from './line.js';
import {
  ATTACK_PACKETS,
  type Attack,
  attempt,
  captureAToB,
  datagrams,
  forward,
  inject,
  injectEsp,
  sendFromHostA,
  type Stage,
} from './scene.js';

const COUNT = ATTACK_PACKETS;
/**
 * How far ahead of gateway A's own numbers the dishonest peer's are: what gateway A sends afterwards
 * has to meet neither these numbers nor the left edge of the window.
 */
const AHEAD = 128n;
const FALSE_SOURCE = '203.0.113.9';

/** Packets are changed while the originals are held back, which arrive afterwards. */
export async function* modification(stage: Stage): AsyncGenerator<DemoLine> {
  await forward(stage, false);
  let originals: readonly EspPacket[];
  try {
    originals = await captureAToB(stage, 'a', COUNT, () => sendFromHostA(stage, datagrams(COUNT)));
  } finally {
    await forward(stage, true);
  }
  yield attempt(stage, {
    subject: 'modification',
    did: `${COUNT} held back, one bit of each flipped`,
    counts: { integrity: COUNT },
    delivers: 0,
    act: () => injectEsp(stage, originals.map(flipBit)),
  });
  yield attempt(stage, {
    subject: 'modification',
    did: `the ${COUNT} originals, sent on afterwards`,
    counts: {},
    delivers: COUNT,
    act: () =>
      injectEsp(
        stage,
        originals.map(({ bytes }) => bytes),
      ),
  });
}

/** A copy with one bit of the ciphertext changed. */
function flipBit({ bytes }: EspPacket): Uint8Array {
  const copy = Uint8Array.from(bytes);
  const at = randomInt(ESP_FRONT_LEN, copy.length - ESP_ICV_LEN);
  copy[at] = (copy[at] ?? 0) ^ (1 << randomInt(8));
  return copy;
}

/** Made-up packets: with an SPI and numbers that are good, and with an SPI that nobody has. */
export async function* injection(stage: Stage): AsyncGenerator<DemoLine> {
  const { spi } = stage.keyAToB;
  const before = await edge(stage);
  const made = madeUp(spi, before);
  yield attempt(stage, {
    subject: 'injection',
    did: `${COUNT} made up: known SPI, fresh numbers`,
    counts: { integrity: COUNT },
    delivers: 0,
    act: () => injectEsp(stage, made, PLACES.attacker),
  });
  yield attempt(stage, {
    subject: 'injection',
    did: `${COUNT} made up: an SPI of no SA`,
    counts: { no_sa: COUNT },
    delivers: 0,
    act: () => injectEsp(stage, madeUp(stage.unusedSpi, before), PLACES.attacker),
  });
}

/** The right edge of gateway B's window for what host A sends. */
async function edge({ lab, keyAToB }: Stage): Promise<bigint> {
  return (await lab.b.sa(keyAToB.spi)).sequenceNumber;
}

function madeUp(spi: number, after: bigint): readonly Uint8Array[] {
  return datagrams(COUNT).map((length, at) => {
    const packet = randomBytes(ESP_FRONT_LEN + length + ESP_ICV_LEN);
    packet.writeUInt32BE(spi, 0);
    packet.writeUInt32BE(Number((after + BigInt(at + 1)) & 0xffff_ffffn), 4);
    return packet;
  });
}

/** False sources: outside by anybody, inside by a peer that has the key. */
export async function* spoofing(stage: Stage): AsyncGenerator<DemoLine> {
  const made = madeUp(stage.keyAToB.spi, await edge(stage));
  yield attempt(stage, {
    subject: 'spoofing',
    did: `${COUNT} made up, from gateway A's address`,
    counts: { integrity: COUNT },
    delivers: 0,
    act: () => injectEsp(stage, made, PLACES.gatewayA),
  });
  const path = { ...innerPath(stage), source: FALSE_SOURCE };
  yield byAuthenticPeer(stage, {
    subject: 'spoofing',
    did: `${COUNT} by a peer with the key, from ${FALSE_SOURCE}`,
    counts: { selector_mismatch: COUNT },
    sealing: () => ({ payload: udpPacket(path, randomBytes(64)) }),
  });
}

/** Authentic packets that no good peer sends. */
export async function* malformed(stage: Stage): AsyncGenerator<DemoLine> {
  const payload = (): Uint8Array => udpPacket(innerPath(stage), randomBytes(64));
  const by = 'by a peer with the key:';
  yield byAuthenticPeer(stage, {
    subject: 'malformed',
    did: `${COUNT} ${by} bad padding`,
    counts: { padding: COUNT },
    sealing: () => ({ payload: payload(), paddingIsRight: false }),
  });
  yield byAuthenticPeer(stage, {
    subject: 'malformed',
    did: `${COUNT} ${by} no IP inside`,
    counts: { mode: COUNT },
    sealing: () => ({ payload: randomBytes(64), nextHeader: NEXT_HEADER.tcp }),
  });
  yield byAuthenticPeer(stage, {
    subject: 'malformed',
    did: `${COUNT} ${by} IPv4 that says IPv6`,
    counts: { malformed_inner: COUNT },
    sealing: () => ({ payload: payload(), nextHeader: NEXT_HEADER.ipv6 }),
  });
}

function innerPath({ sinkPort }: Stage): UdpPath {
  return {
    source: PLACES.hostA,
    destination: PLACES.hostB,
    sourcePort: sinkPort,
    destinationPort: sinkPort,
  };
}

/** As {@link attempt}: packets with the key of host A's traffic, none of them delivered. */
async function byAuthenticPeer(
  stage: Stage,
  {
    sealing,
    ...attack
  }: Omit<Attack, 'act' | 'delivers'> & { readonly sealing: () => Partial<Sealing> },
): Promise<DemoLine> {
  const { keyAToB } = stage;
  const last = await edge(stage);
  stage.peerNumber ??= last + AHEAD;
  const first = stage.peerNumber;
  stage.peerNumber += BigInt(COUNT);
  const packets = Array.from({ length: COUNT }, (_, at) =>
    seal(keyAToB, {
      payload: new Uint8Array(),
      nextHeader: NEXT_HEADER.ipv4,
      paddingIsRight: true,
      sequenceNumber: first + BigInt(at),
      ...sealing(),
    }),
  );
  return attempt(stage, { ...attack, delivers: 0, act: () => injectEsp(stage, packets) });
}

/** Packets that were delivered come again, as they were and changed. */
export async function* replay(stage: Stage): AsyncGenerator<DemoLine> {
  const packets = await captureAToB(stage, 'b', COUNT, () =>
    sendFromHostA(stage, datagrams(COUNT)),
  );
  stage.delivered = packets.map(({ bytes }) => bytes);
  yield attempt(stage, {
    subject: 'replay',
    did: `${COUNT} delivered packets, sent again`,
    counts: { replay_duplicate: COUNT },
    delivers: 0,
    act: () =>
      injectEsp(
        stage,
        packets.map(({ bytes }) => bytes),
      ),
  });
  yield attempt(stage, {
    subject: 'replay',
    did: `${COUNT} copies of them with one bit flipped`,
    counts: { replay_duplicate: COUNT },
    delivers: 0,
    act: () => injectEsp(stage, packets.map(flipBit)),
  });
}

/** What policy wants protected, in clear from the wire. */
export async function* plaintextInbound(stage: Stage): AsyncGenerator<DemoLine> {
  const packets = datagrams(COUNT).map((length) =>
    udpPacket(innerPath(stage), new Uint8Array(length)),
  );
  yield attempt(stage, {
    subject: 'plaintext',
    did: `${COUNT} in clear, from host A's address`,
    counts: { cleartext_inbound: COUNT },
    delivers: 0,
    act: () => inject(stage, packets),
  });
}
