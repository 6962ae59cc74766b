/** What IKE shows: how the gateways come to agree, whom they refuse, and what a flood leaves. */
import { randomBytes, randomInt } from 'node:crypto';
import { systemClock } from '../clock.js';
import { ResourceError } from '../errors.js';
import { VERBS } from './agent-protocol.js';
import { Authority, KEY_KIND } from './certificates.js';
import { IKE_PORT, udpPacket } from './frame.js';
import type { GatewayProcess } from './gateway-process.js';
import { IDENTITIES, LINK_MTU_BYTES, PLACES, POLICIES } from './laboratory.js';
import { type DemoLine, grouped } from './line.js';
import {
  ATTACK_PACKETS,
  attempt,
  datagrams,
  delivered,
  forward,
  type Hosts,
  inject,
  injectEsp,
  type LinkSas,
  sendFromHostA,
  type Stage,
  until,
} from './scene.js';

const CAPTURE = { mtuBytes: LINK_MTU_BYTES, marker: null, keep: null };

/** Waits for both gateways, for their SAs, and for the first packet through these. */
export async function* link(hosts: Hosts): AsyncGenerator<DemoLine, LinkSas> {
  const { a, b, startedMs, wire } = hosts.lab;
  await Promise.all([a.ready(), b.ready()]);
  const readyMs = Math.round(systemClock.now() - startedMs);
  yield {
    subject: 'link',
    ok: a.mtuBytes === b.mtuBytes,
    did: `both gateways ready in ${readyMs} ms`,
    found: `MTU ${a.mtuBytes}`,
    facts: { readyMs, mtuBytes: a.mtuBytes },
  };
  await wire.ask(VERBS.startCapture, { ...CAPTURE, link: 'a' });
  const began = systemClock.now();
  const refused = await a.initiate(POLICIES.plain);
  const elapsedMs = Math.round(systemClock.now() - began);
  const alsoRefused = await a.initiate(POLICIES.padded);
  const { ikeCount, firstIke } = await wire.ask(VERBS.stopCapture, {});
  await sendFromHostA(hosts, datagrams(1));
  const isThrough = await until(async () => (await delivered(hosts)) === 1);
  const terms = await termsOf(a);
  const why = refused ?? alsoRefused;
  yield {
    subject: 'link',
    ok: why === null && isThrough && /x25519.*mlkem768/.test(terms.ike),
    did: `IKEv2, ${KEY_KIND} certificates, in ${elapsedMs} ms`,
    found: why ?? (isThrough ? terms.shown : 'the first packet was lost'),
    facts: { elapsedMs, ike: terms.ike, esp: terms.esp, messages: ikeCount, isThrough },
  };
  if (why !== null || firstIke === null) {
    throw new ResourceError('IPSEC_ERR_HOST', why ?? 'no IKE message was seen on the wire');
  }
  const taken = new Set((await b.sas()).map(({ spi }) => spi));
  let unusedSpi: number;
  do unusedSpi = randomInt(0x1000, 0xffff_ffff);
  while (taken.has(unusedSpi));
  return {
    keyAToB: await a.key(await outboundSpi(a, POLICIES.plain)),
    paddedSpi: await outboundSpi(a, POLICIES.padded),
    unusedSpi,
    ikeRequest: firstIke,
  };
}

async function outboundSpi(gateway: GatewayProcess, policy: string): Promise<number> {
  const sas = await gateway.sas();
  const sa = sas.find((each) => each.policy === policy && each.direction === 'outbound');
  if (sa === undefined) {
    throw new ResourceError('IPSEC_ERR_HOST', `there is no SA for ${policy}`);
  }
  return sa.spi;
}

/** What the two have agreed on, as gateway A says. */
async function termsOf(
  a: GatewayProcess,
): Promise<{ readonly ike: string; readonly esp: string; readonly shown: string }> {
  const ikeSas = (await a.peers()).flatMap(({ ikeSas: each }) => each);
  const ike = ikeSas[0]?.proposal ?? '';
  const esp = ikeSas[0]?.children[0]?.proposal ?? '';
  const exchanges = ike.split('-').filter((word) => /x25519|ecp|modp|^ke\d_/.test(word));
  const [cipher = ''] = esp.split('-');
  return {
    ike,
    esp,
    shown: [...exchanges.map((word) => word.replace(/^ke\d_/, '')), cipher].join(', '),
  };
}

/** Somebody has the place and the address of gateway A, and papers of another authority. */
export async function* impostor({ lab }: Stage): AsyncGenerator<DemoLine> {
  const before = (await lab.b.refusals()).length;
  const gateway = lab.startInPlaceOfA(new Authority('False CA').issue(IDENTITIES.a));
  await gateway.ready();
  const told = await gateway.initiate(POLICIES.plain);
  const refusal = (await lab.b.refusals()).slice(before).find(({ by }) => by === 'us');
  await gateway.kill();
  const reason = refusal?.reason ?? 'not refused';
  yield {
    subject: 'impostor',
    ok: told !== null && /issuer not known: "CN=False CA"/.test(reason),
    did: `${IDENTITIES.a} by the certificate of another CA`,
    found: /issuer not known: "[^"]*"/.exec(reason)?.[0] ?? reason,
    facts: { reason, told: told ?? 'nothing', notify: refusal?.notify ?? '' },
  };
}

/** Requests of the flood, and how many are sent before their answers are waited for. */
const FLOOD_COUNT = 1000;
const FLOOD_AT_ONCE = 50;
/** The most half-open IKE SAs that a flood may leave: from then on a cookie is wanted. */
const HALF_OPEN_MAX = 64;
const IKE_SPI_LEN = 8;

/**
 * The first request of gateway A again and again, under other SPIs and from addresses that are not
 * the attacker's, so that he sees no answer; then gateway A, which does, and gets through.
 */
export async function* flood(stage: Stage): AsyncGenerator<DemoLine> {
  const { lab, ikeRequest } = stage;
  const a = lab.startInPlaceOfA();
  await a.ready();
  await lab.wire.ask(VERBS.startCapture, { ...CAPTURE, link: 'b' });
  await forward(stage, false);
  try {
    for (let sent = 0; sent < FLOOD_COUNT; sent += FLOOD_AT_ONCE) {
      const requests = Array.from({ length: FLOOD_AT_ONCE }, (_, at) =>
        falseRequest(ikeRequest, sent + at),
      );
      await inject(stage, requests);
      await until(async () => {
        const { ikeAnswerCount } = await lab.wire.ask(VERBS.readCapture, {});
        return ikeAnswerCount >= sent + FLOOD_AT_ONCE;
      });
    }
  } finally {
    await forward(stage, true);
  }
  const seen = await lab.wire.ask(VERBS.stopCapture, {});
  const strangers = (await lab.b.peers()).filter(({ name }) => name === null);
  const halfOpen = strangers.flatMap(({ ikeSas }) => ikeSas).length;
  yield {
    subject: 'flood',
    ok:
      halfOpen <= HALF_OPEN_MAX &&
      seen.cookieCount === FLOOD_COUNT - halfOpen &&
      seen.cookieAnswerLenMax < ikeRequest.length,
    did: `${grouped(FLOOD_COUNT)} IKE_SA_INIT from false addresses`,
    found: `${seen.cookieCount} cookies, state for ${halfOpen}`,
    facts: {
      sent: FLOOD_COUNT,
      cookies: seen.cookieCount,
      halfOpen,
      requestBytes: ikeRequest.length,
      cookieBytes: seen.cookieAnswerLenMax,
    },
  };
  yield* restart(stage);
}

/** In 100.64.0.0/10, which is nobody's (RFC 6598). */
function falseRequest(ikeRequest: Uint8Array, at: number): Uint8Array {
  const request = Uint8Array.from(ikeRequest);
  request.set(randomBytes(IKE_SPI_LEN), 0);
  const path = {
    source: `100.64.${at >>> 8}.${at & 255}`,
    destination: PLACES.gatewayB,
    sourcePort: IKE_PORT,
    destinationPort: IKE_PORT,
  };
  return udpPacket(path, request);
}

/** Gateway A is there again: other SAs under other keys, and what was recorded is worth nothing. */
async function* restart(stage: Stage): AsyncGenerator<DemoLine> {
  const { lab, keyAToB } = stage;
  const { a, b } = lab;
  await lab.wire.ask(VERBS.startCapture, { ...CAPTURE, link: 'a' });
  const began = systemClock.now();
  const refused = await a.initiate(POLICIES.plain);
  const elapsedMs = Math.round(systemClock.now() - began);
  const { cookieCount } = await lab.wire.ask(VERBS.stopCapture, {});
  const before = await delivered(stage);
  await sendFromHostA(stage, datagrams(ATTACK_PACKETS));
  await until(async () => (await delivered(stage)) - before >= ATTACK_PACKETS);
  const arrived = (await delivered(stage)) - before;
  yield {
    subject: 'restart',
    ok: refused === null && cookieCount > 0 && arrived === ATTACK_PACKETS,
    did: `gateway A again, with a cookie: IKEv2 in ${elapsedMs} ms`,
    found: refused ?? `delivered ${arrived}`,
    facts: { elapsedMs, refused: refused ?? '', cookies: cookieCount, delivered: arrived },
  };
  // Gateway B ends the old SAs of a peer that says it has none.
  await until(async () => (await b.sas()).every(({ spi }) => spi !== keyAToB.spi));
  const old = stage.delivered ?? [];
  yield attempt(stage, {
    subject: 'restart',
    did: `${ATTACK_PACKETS} packets from before, sent again`,
    counts: { no_sa: ATTACK_PACKETS },
    delivers: 0,
    act: () => injectEsp(stage, old),
  });
}
