/**
 * Where both are honest and want different things: post-quantum pre-shared keys, traffic selectors,
 * how many IKE SAs, where a peer is. What is expected is what the RFC that is named says.
 */
import { describe, expect, it } from 'vitest';
import { NOTIFY } from '../../packages/ipsec-node/src/ike/notify.js';
import { notifyPayload } from '../../packages/ipsec-node/src/ike/names.js';
import { EXCHANGE_NUMBERS } from '../../packages/ipsec-node/src/ike/payload/payload.js';
import { IKE_LIMITS } from '../../packages/ipsec-node/src/ike/limits.js';
import { sealMessage } from '../../packages/ipsec-node/src/ike/sealing.js';
import type { PadEntry } from '../../packages/ipsec-node/src/pad/pad-entry.js';
import { Secret } from '../../packages/ipsec-node/src/sad/secret.js';
import { Eavesdropper } from './eavesdropper.js';
import { disagreements } from './explore.js';
import { childTerms, ECP256, ESN, esp, GCM256, selectorOfSide, X25519 } from './peers.js';
import { Stage } from './stage.js';
import { ADDRESS, type Side, SIDES, type Simulation } from './simulator.js';
import { FOR_EVER, toySimulation } from './wire.js';

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

describe('post-quantum pre-shared keys (RFC 8784 section 3)', () => {
  const SETTINGS = ['none', 'optional', 'required', 'optional, other id', 'other key'] as const;
  type Setting = (typeof SETTINGS)[number];
  const ppk = (setting: Setting): PadEntry['ppk'] =>
    setting === 'none'
      ? null
      : {
          id: text(setting.endsWith('id') ? 'another' : 'ppk'),
          secret: new Secret(text(setting === 'other key' ? 'other' : 'post-quantum secret'), 'it'),
          required: setting === 'required',
        };
  /** What comes of it: with the key, without one, or no IKE SA. */
  const EXPECTED: Readonly<
    Record<Setting, Readonly<Record<Setting, 'with' | 'without' | 'refused'>>>
  > = {
    // Initiator, then responder. Without the notification USE_PPK of both there is none.
    none: {
      none: 'without',
      optional: 'without',
      required: 'refused',
      'optional, other id': 'without',
      'other key': 'without',
    },
    // NO_PPK_AUTH lets a responder go on that does not know the key of that identifier.
    optional: {
      none: 'without',
      optional: 'with',
      required: 'with',
      'optional, other id': 'without',
      // The same identifier stands for another key: that is an authentication failure.
      'other key': 'refused',
    },
    required: {
      none: 'refused',
      optional: 'with',
      required: 'with',
      'optional, other id': 'refused',
      'other key': 'refused',
    },
    'optional, other id': {
      none: 'without',
      optional: 'without',
      required: 'refused',
      'optional, other id': 'with',
      'other key': 'without',
    },
    'other key': {
      none: 'without',
      optional: 'refused',
      required: 'refused',
      'optional, other id': 'without',
      'other key': 'with',
    },
  };

  for (const a of SETTINGS) {
    it(`that the initiator has as ${a}`, () => {
      const found = SETTINGS.map((b) => {
        const two = toySimulation({ a: { ppk: ppk(a) }, b: { ppk: ppk(b) } });
        two.initiate('a', 'net', 'b');
        two.runNow(100_000);
        const states = SIDES.map((side) => two.ikeSas(side).map(({ hasPpk }) => hasPpk));
        expect(states[0], b).toEqual(states[1]);
        expect(disagreements(two), b).toEqual([]);
        const [is] = states[0] ?? [];
        return [b, is === undefined ? 'refused' : is ? 'with' : 'without'];
      });
      expect(Object.fromEntries(found)).toEqual(EXPECTED[a]);
    });
  }
});

describe('traffic selectors (RFC 7296 section 2.9)', () => {
  const range = (from: string, to: string) => ({ from, to });
  const withLocal = (side: Side, local: { from: string; to: string }) => ({
    children: [
      childTerms(side, {
        selector: { ...selectorOfSide(side), local: [local] },
        lifetime: { rekeyMs: FOR_EVER, hardMs: 2 * FOR_EVER, rekeyBytes: 0n, rekeyPackets: 0n },
      }),
    ],
  });
  const whole = range('10.2.0.0', '10.2.255.255');

  for (const [name, local, agreed] of [
    ['a subset', range('10.2.7.0', '10.2.7.255'), range('10.2.7.0', '10.2.7.255')],
    ['one address', range('10.2.7.7', '10.2.7.7'), range('10.2.7.7', '10.2.7.7')],
    ['more than is asked for', range('10.0.0.0', '10.255.255.255'), whole],
    ['a part and more', range('10.2.128.0', '10.3.0.0'), range('10.2.128.0', '10.2.255.255')],
  ] as const) {
    it(`are narrowed to what a responder has that has ${name}`, () => {
      const two = toySimulation({ b: withLocal('b', local) });
      const command = two.initiate('a', 'net', 'b');
      two.runNow(1_000);
      expect(two.outcome(command)).toBeNull();
      expect(two.children('a')[0]?.selector.remote).toEqual([agreed]);
      expect(two.children('b')[0]?.selector.local).toEqual([agreed]);
      two.rekeyChild('b');
      two.runNow(20_000);
      // 2.8: a rekey has the same selectors.
      expect(two.children('a')[0]?.selector.remote).toEqual([agreed]);
      expect(disagreements(two)).toEqual([]);
    });
  }

  it('that have nothing in common leave the IKE SA, without a child and with a reason on both', () => {
    const two = toySimulation({ b: withLocal('b', range('172.16.0.0', '172.16.0.255')) });
    const command = two.initiate('a', 'net', 'b');
    two.runNow(1_000);
    expect(two.outcome(command)).toContain('TS_UNACCEPTABLE');
    for (const side of SIDES) {
      expect(two.ikeSas(side).map(({ state }) => state)).toEqual(['established']);
      expect(two.children(side)).toEqual([]);
      const [refused] = two.eventsOf(side, 'refused');
      expect(refused?.notify).toBe('TS_UNACCEPTABLE');
      expect(refused?.differences.length).toBeGreaterThan(0);
    }
  });

  it('of a peer that takes one pair a child are told by name (2.9, SINGLE_PAIR_REQUIRED)', () => {
    const eavesdropper = new Eavesdropper();
    const two = toySimulation();
    two.translate = (datagram, from) => {
      const message = eavesdropper.observe(datagram);
      if (from === 'a' || message?.header.exchange !== EXCHANGE_NUMBERS.IKE_AUTH) return datagram;
      const kept = message.payloads.filter(
        ({ type }) => !['sa', 'ts-initiator', 'ts-responder'].includes(type),
      );
      const payloads = [...kept, notifyPayload(NOTIFY.SINGLE_PAIR_REQUIRED)];
      return { ...datagram, payload: eavesdropper.seal(message.header, payloads) };
    };
    const command = two.initiate('a', 'net', 'b');
    two.runNow(1_000);
    expect(two.outcome(command)).toContain('SINGLE_PAIR_REQUIRED');
    expect(two.eventsOf('a', 'refused')[0]?.reason).toContain('selectorsPerChild: one');
  });
});

describe('what the initiator says of a peer that tells no more than a notification', () => {
  it('names the pre-shared key among what may differ', () => {
    const secret = new Secret(text('another secret altogether'), 'it');
    const two = toySimulation({
      b: {
        localAuthentication: { method: 'psk', secret },
        remoteAuthentication: { method: 'psk', secret },
      },
    });
    two.initiate('a', 'net', 'b');
    two.runNow(1_000);
    const [refused] = two.eventsOf('a', 'refused');
    expect(refused).toMatchObject({ by: 'peer', notify: 'AUTHENTICATION_FAILED' });
    expect(refused?.reason).toContain('pre-shared keys differ');
  });

  it('says that the peer may not know these addresses', () => {
    const two = toySimulation({ b: { hosts: [{ kind: 'address', address: '203.0.113.99' }] } });
    two.initiate('a', 'net', 'b');
    two.runNow(1_000);
    const [refused] = two.eventsOf('a', 'refused');
    expect(refused).toMatchObject({ by: 'peer', notify: 'NO_PROPOSAL_CHOSEN' });
    expect(refused?.reason).toContain('no connection for these two addresses');
  });
});

describe('several IKE SAs of one peer (RFC 7296 section 2.4)', () => {
  /** `a` forgets its IKE SA without a word and connects again. */
  function again(unique: PadEntry['unique'], saysInitialContact: boolean): Simulation {
    const eavesdropper = new Eavesdropper();
    const two = toySimulation({ both: { unique } });
    let isSilent = false;
    two.translate = (datagram) => {
      const message = eavesdropper.observe(datagram);
      if (isSilent) return null;
      if (message === null || saysInitialContact) return datagram;
      const isOf = message.header.exchange === EXCHANGE_NUMBERS.IKE_AUTH;
      if (!isOf || message.header.isResponse) return datagram;
      const payloads = message.payloads.filter(
        (each) => each.type !== 'notify' || each.notify !== NOTIFY.INITIAL_CONTACT,
      );
      return { ...datagram, payload: eavesdropper.seal(message.header, payloads) };
    };
    two.initiate('a', 'net', 'b');
    two.runNow(20_000);
    isSilent = true;
    two.terminateIkeSa('a', true);
    isSilent = false;
    two.runNow(20_000);
    two.initiate('a', 'net', 'b');
    two.runNow(20_000);
    return two;
  }
  const ages = (two: Simulation): readonly string[] =>
    two
      .ikeSas('b')
      .filter(({ state }) => state === 'established')
      .map(({ establishedMs }) => (establishedMs > 25_000 ? 'old' : 'new'));

  it('are replaced by the new one where the entry says so', () => {
    expect(ages(again('replace', false))).toEqual(['new']);
  });
  it('are not added to the old one where the entry keeps it', () => {
    expect(ages(again('keep', false))).toEqual(['old']);
  });
  it('are side by side where the entry says no', () => {
    expect(ages(again('no', false))).toEqual(['old', 'new']);
  });
  it('are ended by INITIAL_CONTACT whatever the entry says', () => {
    for (const unique of ['replace', 'keep', 'no'] as const) {
      expect(ages(again(unique, true)), unique).toEqual(['new']);
    }
  });
});

describe('where a peer is', () => {
  const moved = '192.0.2.77';
  const connected = (both: Partial<PadEntry>): Simulation => {
    const two = toySimulation({ both });
    two.initiate('a', 'net', 'b');
    two.runNow(10_000);
    return two;
  };
  const idOf = (two: Simulation, side: Side): number => two.ikeSas(side)[0]?.id ?? 0;

  it('is told by MOBIKE, and the SAs of both follow (RFC 4555 section 3.5)', () => {
    const two = connected({ mobike: true });
    const path = { local: moved, remote: ADDRESS.b };
    two.perform('a', two.endpoints.a.handleAddressChange(idOf(two, 'a'), path, two.now));
    two.runNow(1_000);
    expect(two.ikeSas('b')[0]?.endpoint.remote).toBe(moved);
    const told = two.updates.map(({ side, update }) => [
      side,
      update.sas.length,
      update.endpoint.remote,
    ]);
    expect(told).toContainEqual(['b', 2, moved]);
    expect(two.updates.findLast(({ side }) => side === 'a')?.update.endpoint.local).toBe(moved);
    expect(two.children('a')).toHaveLength(1);
  });

  it('ends the IKE SA where the peer does not take the address', () => {
    const eavesdropper = new Eavesdropper();
    const two = toySimulation({ both: { mobike: true } });
    two.translate = (datagram, from) => {
      const message = eavesdropper.observe(datagram);
      const isAnswer =
        from === 'b' &&
        message?.header.isResponse === true &&
        message.header.exchange === EXCHANGE_NUMBERS.INFORMATIONAL;
      if (!isAnswer) return datagram;
      const refusal = notifyPayload(NOTIFY.UNACCEPTABLE_ADDRESSES);
      return { ...datagram, payload: eavesdropper.seal(message.header, [refusal]) };
    };
    two.initiate('a', 'net', 'b');
    two.runNow(10_000);
    const path = { local: moved, remote: ADDRESS.b };
    two.perform('a', two.endpoints.a.handleAddressChange(idOf(two, 'a'), path, two.now));
    two.runNow(1_000);
    expect(two.ikeSas('a')).toEqual([]);
    expect(two.eventsOf('a', 'peer-down').map(({ end }) => end)).toEqual(['dead']);
    expect(two.datapaths.a.outbound).toEqual([]);
  });

  it('is checked by COOKIE2, which comes back as it was sent (RFC 4555 section 3.7)', () => {
    for (const role of ['initiator', 'responder'] as const) {
      const stage = new Stage('established', role);
      const data = Uint8Array.from({ length: 24 }, (_, at) => at);
      const header = stage.header('INFORMATIONAL', false, stage.nextId);
      const told = stage.say(header, [notifyPayload(NOTIFY.COOKIE2, data)]);
      expect(told.answer).toBe('ok');
      const answer = stage.two.sent.at(-1);
      const open = answer === undefined ? null : stage.eavesdropper.open(answer.datagram.payload);
      expect(open?.payloads).toEqual([notifyPayload(NOTIFY.COOKIE2, data)]);
    }
  });

  it('is followed behind a NAT, at most once in five seconds, and not where MOBIKE is to tell', () => {
    for (const [mobike, expected] of [
      [false, [61_000, 63_000]],
      [true, []],
    ] as const) {
      const two = connected({ mobike });
      const spi = two.children('b')[0]?.inbound ?? 0;
      for (const [port, wait] of [
        [61_000, 1_000],
        [62_000, 6_000],
        [63_000, 1_000],
      ] as const) {
        two.perform('b', two.endpoints.b.handleMapping(spi, ADDRESS.a, port, two.now));
        two.runNow(wait);
      }
      expect(two.updates.map(({ update }) => update.endpoint.remotePort)).toEqual(expected);
    }
  });
});

describe('a flood of fragments (RFC 7383 section 5)', () => {
  it('of a peer that is half open keeps one message, and not for longer than its time', () => {
    const stage = new Stage('half open', 'responder');
    const header = stage.header('IKE_AUTH', false, stage.nextId);
    const victim = stage.two.endpoints.b;
    const parts = stage.eavesdropper.sealFragments(header, 60_000, 1_200);
    expect(parts.length).toBeGreaterThan(40);
    for (let round = 0; round < 20; round += 1) {
      for (const part of parts.slice(0, -1)) stage.say(header, [], part);
      expect(victim.usage().fragmentBytes).toBeLessThanOrEqual(IKE_LIMITS.messageBytesMax);
    }
    expect(victim.usage().fragmentBytes).toBeGreaterThan(40_000);
    stage.two.runNow(IKE_LIMITS.fragmentMs + 1_000);
    expect(victim.usage().fragmentBytes).toBe(0);
  });

  it('of many peers stays under the limit of all together', () => {
    const limits = { fragmentBytesMax: 10_000 };
    const stage = new Stage('half open', 'responder', limits);
    const header = stage.header('IKE_AUTH', false, stage.nextId);
    const parts = stage.eavesdropper.sealFragments(header, 60_000, 1_200);
    for (const part of parts) {
      stage.say(header, [], part);
      expect(stage.two.endpoints.b.usage().fragmentBytes).toBeLessThanOrEqual(10_000);
    }
  });

  it('of strangers keeps nothing', () => {
    const stage = new Stage('half open', 'responder');
    const header = { ...stage.header('IKE_AUTH', false, 1), spiInitiator: 5n, spiResponder: 6n };
    const before = stage.two.endpoints.b.usage();
    const payload = sealMessage(header, [], {
      cipher: null,
      keys: null,
      fromInitiator: true,
      nextIv: () => new Uint8Array(8),
      fragmentBytes: null,
    })[0];
    const whole = Buffer.concat([payload ?? new Uint8Array(0), Buffer.alloc(68)]);
    for (let number = 1; number <= 1_000; number += 1) {
      whole.writeUInt8(53, 16);
      whole.writeUInt32BE(whole.length, 24);
      whole.writeUInt8(0, 28);
      whole.writeUInt16BE(whole.length - 28, 30);
      whole.writeUInt16BE(number, 32);
      whole.writeUInt16BE(65_535, 34);
      stage.say(header, [], Uint8Array.from(whole));
    }
    expect(stage.two.endpoints.b.usage()).toEqual(before);
  });
});

describe('at the start, whether the child can be rekeyed', () => {
  const warnings = (two: Simulation): readonly string[] =>
    two.eventsOf('a', 'warning').map(({ reason }) => reason);

  it('is doubted where PFS wants a key exchange that the IKE SA does not use', () => {
    const two = toySimulation({ child: { proposals: [esp(GCM256, ECP256, ESN)] } });
    two.initiate('a', 'net', 'b');
    two.runNow(1_000);
    expect(warnings(two)).toEqual([
      'its rekey may be refused: for PFS we have ecp256 alone, and the IKE SA with this peer uses ' +
        'x25519; give the policy that too, or modpnone',
    ]);
  });

  it('is not doubted where it is the same, or none is needed', () => {
    for (const proposals of [[esp(GCM256, X25519, ESN)], [esp(GCM256, ESN)]]) {
      const two = toySimulation({ child: { proposals } });
      two.initiate('a', 'net', 'b');
      two.runNow(1_000);
      expect(two.children('a')).toHaveLength(1);
      expect(warnings(two)).toEqual([]);
    }
  });
});
