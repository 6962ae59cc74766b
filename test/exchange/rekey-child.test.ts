/**
 * Rekeys of a Child SA, and all that can come in between (RFC 7296 sections 1.3.3, 2.8, 2.25.1). The
 * arrows of each case are those of the RFC; what is asserted is what went over the wire, which of
 * the children is left, that both sides have the same, and that no packet was lost.
 */
import { describe, expect, it } from 'vitest';
import { faultsAtRest } from './explore.js';
import { childTerms, ECP256, ESN, esp, GCM256, X25519 } from './peers.js';
import type { ChildTerms } from '../../packages/ipsec-node/src/pad/child-terms.js';
import type { Transform } from '../../packages/ipsec-node/src/sad/transform.js';
import { FOR_EVER, Wire } from './wire.js';

const REKEY = 'CREATE_CHILD_SA {N(REKEY_SA), SA, N, TSi, TSr}';
const REKEY_PFS = 'CREATE_CHILD_SA {N(REKEY_SA), SA, N, KE, TSi, TSr}';
const REKEYED = 'CREATE_CHILD_SA {SA, N, TSi, TSr}';
const REKEYED_PFS = 'CREATE_CHILD_SA {SA, N, KE, TSi, TSr}';
const TEMPORARY = 'CREATE_CHILD_SA {N(TEMPORARY_FAILURE)}';
const NOT_FOUND = 'CREATE_CHILD_SA {N(CHILD_SA_NOT_FOUND)}';
const DELETE = 'INFORMATIONAL {D}';
const EMPTY = 'INFORMATIONAL {}';

const ONE = { ikeSas: 1, children: 1 };
const NO_CHILD = { ikeSas: 1, children: 0 };

/** The child of a side, with these groups for PFS. */
function childrenWith(side: 'a' | 'b', groups: readonly Transform[]): readonly ChildTerms[] {
  const lifetime = { rekeyMs: FOR_EVER, hardMs: FOR_EVER * 2, rekeyBytes: 0n, rekeyPackets: 0n };
  return [childTerms(side, { lifetime, proposals: [esp(GCM256, ...groups, ESN)] })];
}

/** Lets all come to rest and asserts that nothing is wrong. */
function settles(wire: Wire, expected: { ikeSas: number; children: number } = ONE): void {
  wire.settle();
  expect(faultsAtRest(wire.simulation, expected)).toEqual([]);
  if (expected.children > 0) expect(wire.simulation.lost).toEqual([]);
}

describe('a rekey of a child by one side', () => {
  for (const side of ['a', 'b'] as const) {
    const peer = side === 'a' ? 'b' : 'a';

    it(`goes on without a gap when ${side} asks`, () => {
      const wire = Wire.connected();
      const old = wire.spi(side);
      wire.simulation.rekeyChild(side);
      settles(wire);
      expect(wire.arrows).toEqual([
        `${side} --> ${peer} ${REKEY}`,
        `${peer} --> ${side} ${REKEYED}`,
        `${side} --> ${peer} ${DELETE}`,
        `${peer} --> ${side} ${DELETE}`,
      ]);
      expect(wire.spi(side)).not.toBe(old);
    });

    it(`takes the group that the other wire when ${side} asks with another`, () => {
      const wire = Wire.connected({
        [side]: { children: childrenWith(side, [X25519, ECP256]) },
        [peer]: { children: childrenWith(peer, [ECP256]) },
      });
      wire.simulation.rekeyChild(side);
      settles(wire);
      expect(wire.arrows.slice(0, 4)).toEqual([
        `${side} --> ${peer} ${REKEY_PFS}`,
        `${peer} --> ${side} CREATE_CHILD_SA {N(INVALID_KE_PAYLOAD)}`,
        `${side} --> ${peer} ${REKEY_PFS}`,
        `${peer} --> ${side} ${REKEYED_PFS}`,
      ]);
    });
  }

  it('moves the responder to the new SA by the first packet on it, before the Delete comes', () => {
    const wire = Wire.connected();
    wire.simulation.rekeyChild('a');
    wire.deliver('a', REKEY);
    const { outbound } = wire.simulation.datapaths.b;
    expect(outbound).toHaveLength(1);
    // a installs both and sends by the new one at once; b follows with its first packet.
    wire.deliver('b', REKEYED);
    expect(outbound).toHaveLength(2);
    settles(wire);
  });

  it('moves the responder by the Delete where no packet came', () => {
    const wire = Wire.connected();
    wire.simulation.watchTraffic([]);
    wire.simulation.rekeyChild('a');
    wire.deliver('a', REKEY);
    wire.deliver('b', REKEYED);
    expect(wire.simulation.datapaths.b.outbound).toHaveLength(1);
    const [old] = wire.simulation.datapaths.b.outbound;
    wire.deliver('a', DELETE);
    expect(wire.simulation.datapaths.b.outbound).toHaveLength(1);
    expect(wire.simulation.datapaths.b.outbound[0]).not.toBe(old);
    settles(wire);
  });

  it('is told CHILD_SA_NOT_FOUND by a peer that has lost the child, and makes a new one', () => {
    const wire = Wire.connected();
    // b has forgotten: a's Delete reached it once, of a child that a still has.
    wire.simulation.terminateChild('b');
    wire.drop('b', DELETE);
    wire.pass(900);
    wire.simulation.rekeyChild('a');
    wire.deliver('a', REKEY);
    // While b waits for its Delete to be answered, it says so (section 2.25.1).
    wire.deliver('b', TEMPORARY);
    settles(wire, NO_CHILD);
  });

  it('that asks for a child nobody knows gets CHILD_SA_NOT_FOUND, and a new child is negotiated', () => {
    const wire = Wire.connected();
    const old = wire.spi('a');
    wire.simulation.rekeyChild('a');
    const request = wire.take('a', REKEY);
    const { message } = request;
    if (message === null) throw new Error('unreadable');
    // As if b had lost it: the request names an SPI that b does not have.
    const payloads = message.payloads.map((payload) =>
      payload.type === 'notify' ? { ...payload, spi: Uint8Array.of(1, 2, 3, 4) } : payload,
    );
    const bytes = wire.eavesdropper.seal(message.header, payloads);
    wire.put({ ...request, datagram: { ...request.datagram, payload: bytes } });
    expect(wire.waiting('b')).toEqual([NOT_FOUND]);
    wire.deliver('b');
    expect(wire.waiting('a')[0]).toBe('CREATE_CHILD_SA {SA, N, TSi, TSr}');
    wire.settle();
    // b keeps the old one until its life is over, and a uses the new one.
    expect(wire.simulation.children('a')).toHaveLength(1);
    expect(wire.spi('a')).not.toBe(old);
  });

  it('whose Delete names another SPI deletes nothing else', () => {
    const wire = Wire.connected();
    wire.simulation.rekeyChild('a');
    wire.deliver('a', REKEY);
    wire.deliver('b', REKEYED);
    const request = wire.take('a', DELETE);
    const { message } = request;
    if (message === null) throw new Error('unreadable');
    const bytes = wire.eavesdropper.seal(message.header, [
      { type: 'delete', protocolId: 3, spis: [Uint8Array.of(9, 9, 9, 9)] },
    ]);
    wire.put({ ...request, datagram: { ...request.datagram, payload: bytes } });
    expect(wire.waiting('b')).toEqual([EMPTY]);
    wire.deliver('b');
    wire.settle();
    expect(wire.simulation.children('a')).toHaveLength(1);
    expect(wire.simulation.lost).toEqual([]);
  });

  it('whose Delete comes very late loses nothing', () => {
    const wire = Wire.connected();
    wire.simulation.rekeyChild('a');
    wire.deliver('a', REKEY);
    wire.deliver('b', REKEYED);
    for (let tries = 0; tries < 4; tries += 1) {
      wire.drop('a', DELETE);
      wire.pass(1_000 * 1.8 ** tries * 1.2);
    }
    settles(wire);
  });

  it('is refused while the peer has deleted the child and waits for the answer', () => {
    // a --> b D          (delayed)
    // b --> a N(REKEY_SA), ...
    // a --> b N(TEMPORARY_FAILURE)                 section 2.25.1
    const wire = Wire.connected();
    wire.simulation.terminateChild('a');
    wire.simulation.rekeyChild('b');
    wire.deliver('b', REKEY);
    expect(wire.waiting('a')).toEqual([DELETE, TEMPORARY]);
    settles(wire, NO_CHILD);
    expect(wire.simulation.eventsOf('b', 'child-down')).toHaveLength(1);
  });
});

describe('two rekeys of one child at the same moment', () => {
  for (const [loser, winner] of [
    ['a', 'b'],
    ['b', 'a'],
  ] as const) {
    /** Both have asked; the arrows of neither have come. */
    const both = (): Wire => {
      const wire = Wire.connected({ loser });
      wire.simulation.rekeyChild('a');
      wire.simulation.rekeyChild('b');
      return wire;
    };
    it(`leave the child of ${winner} where the lowest nonce is ${loser}'s`, () => {
      // a --> b N(REKEY_SA), SA, Ni1, TSi, TSr      b --> a N(REKEY_SA), SA, Ni2, TSi, TSr
      // b --> a SA, Nr1, TSi, TSr                   a --> b SA, Nr2, TSi, TSr
      // loser  --> winner D (its own new one)       winner --> loser D (the old one)
      const wire = both();
      wire.deliver('a', REKEY);
      wire.deliver('b', REKEY);
      wire.deliver('a', REKEYED);
      wire.deliver('b', REKEYED);
      expect(wire.waiting(loser)).toEqual([DELETE]);
      expect(wire.waiting(winner)).toEqual([DELETE]);
      // The old one, and what the two exchanges made.
      expect(wire.simulation.datapaths[winner].inbound.size).toBe(3);
      settles(wire);
      expect(wire.asked(winner)).toContain(wire.spi(winner));
      expect(wire.asked(loser)).not.toContain(wire.spi(loser));
    });

    it(`and the answer to the loser (${loser}) delayed until all else is done`, () => {
      const wire = both();
      wire.deliver(winner, REKEY);
      wire.deliver(loser, REKEY);
      const late = wire.take(winner, REKEYED);
      wire.deliver(loser, REKEYED);
      // The winner knows all four nonces, and deletes the old one.
      wire.deliver(winner, DELETE);
      wire.deliver(loser, DELETE);
      wire.put(late);
      settles(wire);
    });

    it(`and the answer to the winner (${winner}) delayed until all else is done`, () => {
      const wire = both();
      wire.deliver(winner, REKEY);
      wire.deliver(loser, REKEY);
      const late = wire.take(loser, REKEYED);
      wire.deliver(winner, REKEYED);
      // The loser knows all four nonces, and deletes its own new one.
      wire.deliver(loser, DELETE);
      wire.deliver(winner, DELETE);
      wire.put(late);
      settles(wire);
    });

    it(`and the request of ${loser} delayed until ${winner} is done: CHILD_SA_NOT_FOUND or TEMPORARY_FAILURE`, () => {
      const wire = both();
      const late = wire.take(loser, REKEY);
      wire.deliver(winner, REKEY);
      wire.deliver(loser, REKEYED);
      // The winner has its new child, and deletes the old one before the late request comes.
      wire.put(late);
      expect([DELETE, TEMPORARY]).toEqual(wire.waiting(winner));
      settles(wire);
    });

    it(`and the request of ${winner} delayed past the Delete of ${loser}`, () => {
      const wire = both();
      const late = wire.take(winner, REKEY);
      wire.deliver(loser, REKEY);
      wire.deliver(winner, REKEYED);
      wire.deliver(loser, DELETE);
      wire.put(late);
      settles(wire);
    });

    it(`with the wrong group of ${loser}`, () => {
      const two = { proposals: [esp(GCM256, X25519, ECP256, ESN)] };
      const wire = Wire.connected({
        loser,
        child: two,
        [winner]: { children: childrenWith(winner, [ECP256]) },
      });
      wire.simulation.rekeyChild('a');
      wire.simulation.rekeyChild('b');
      wire.deliver(loser, REKEY_PFS);
      wire.deliver(winner, REKEY_PFS);
      wire.deliver(winner, 'N(INVALID_KE_PAYLOAD)');
      wire.deliver(loser, REKEYED_PFS);
      settles(wire);
    });

    it(`with the wrong group of ${loser}, whose second try comes after ${winner} is done`, () => {
      const two = { proposals: [esp(GCM256, X25519, ECP256, ESN)] };
      const wire = Wire.connected({
        loser,
        child: two,
        [winner]: { children: childrenWith(winner, [ECP256]) },
      });
      wire.simulation.rekeyChild('a');
      wire.simulation.rekeyChild('b');
      wire.deliver(loser, REKEY_PFS);
      wire.deliver(winner, REKEY_PFS);
      wire.deliver(winner, 'N(INVALID_KE_PAYLOAD)');
      const late = wire.take(loser, REKEYED_PFS);
      const second = wire.take(loser, REKEY_PFS);
      wire.put(late);
      wire.deliver(winner, DELETE);
      wire.put(second);
      settles(wire);
    });
  }
});

describe('a rekey of a child that crosses its Delete', () => {
  for (const [rekeys, deletes] of [
    ['a', 'b'],
    ['b', 'a'],
  ] as const) {
    it(`${rekeys} asks while ${deletes} deletes: TEMPORARY_FAILURE, and the child is gone`, () => {
      const wire = Wire.connected();
      wire.simulation.rekeyChild(rekeys);
      wire.simulation.terminateChild(deletes);
      wire.deliver(rekeys, REKEY);
      expect(wire.waiting(deletes)).toEqual([DELETE, TEMPORARY]);
      settles(wire, NO_CHILD);
      expect(wire.simulation.eventsOf(rekeys, 'child-down')).toHaveLength(1);
      expect(wire.simulation.eventsOf(deletes, 'child-down')).toHaveLength(1);
    });

    it(`${deletes}'s Delete is there first and its answer lost: CHILD_SA_NOT_FOUND or later nothing`, () => {
      const wire = Wire.connected();
      wire.simulation.rekeyChild(rekeys);
      wire.simulation.terminateChild(deletes);
      wire.deliver(deletes, DELETE);
      const request = wire.take(rekeys, REKEY);
      wire.drop(rekeys, DELETE);
      wire.put(request);
      expect(wire.waiting(deletes)).toEqual([TEMPORARY]);
      settles(wire, NO_CHILD);
      expect(wire.simulation.eventsOf(rekeys, 'child-down')).toHaveLength(1);
    });

    it(`${deletes}'s Delete is done before the late request of ${rekeys}: CHILD_SA_NOT_FOUND`, () => {
      const wire = Wire.connected();
      wire.simulation.rekeyChild(rekeys);
      wire.simulation.terminateChild(deletes);
      const late = wire.take(rekeys, REKEY);
      wire.deliver(deletes, DELETE);
      wire.deliver(rekeys, DELETE);
      wire.put(late);
      expect(wire.waiting(deletes)).toEqual([NOT_FOUND]);
      settles(wire, NO_CHILD);
      expect(wire.simulation.eventsOf(rekeys, 'child-down')).toHaveLength(1);
    });
  }

  it('both delete the same child: each answers without it', () => {
    const wire = Wire.connected();
    wire.simulation.terminateChild('a');
    wire.simulation.terminateChild('b');
    wire.deliver('a', DELETE);
    wire.deliver('b', DELETE);
    expect(wire.waiting('a')).toEqual([EMPTY]);
    expect(wire.waiting('b')).toEqual([EMPTY]);
    settles(wire, NO_CHILD);
  });

  it('a Delete by command while the rekey is under way takes the new child too', () => {
    const wire = Wire.connected();
    wire.simulation.rekeyChild('a');
    const command = wire.simulation.terminateChild('a');
    settles(wire, NO_CHILD);
    expect(wire.simulation.outcome(command)).toBeNull();
  });
});

describe('a rekey of a child that crosses one of its IKE SA', () => {
  for (const [child, ike] of [
    ['a', 'b'],
    ['b', 'a'],
  ] as const) {
    it(`${child} the child, ${ike} the IKE SA: TEMPORARY_FAILURE both ways, and later each`, () => {
      // RFC 7296 section 2.25.2.
      const wire = Wire.connected();
      wire.simulation.rekeyChild(child);
      wire.simulation.rekeyIkeSa(ike);
      wire.deliver(child, REKEY);
      wire.deliver(ike, 'CREATE_CHILD_SA {SA, N, KE}');
      expect(wire.waiting(ike)).toEqual([TEMPORARY]);
      expect(wire.waiting(child)).toEqual([TEMPORARY]);
      settles(wire);
      expect(wire.arrows.filter((text) => text.includes(REKEYED))).toHaveLength(1);
      expect(wire.simulation.eventsOf(ike, 'peer-rekeyed')).toHaveLength(1);
    });

    it(`${child} asks for the child on an IKE SA that ${ike} has replaced`, () => {
      const wire = Wire.connected();
      wire.simulation.rekeyIkeSa(ike);
      wire.simulation.rekeyChild(child);
      wire.deliver(ike, 'CREATE_CHILD_SA {SA, N, KE}');
      settles(wire);
    });

    it(`${child} asks for the child while ${ike} deletes the IKE SA: nothing is left`, () => {
      const wire = Wire.connected();
      wire.simulation.rekeyChild(child);
      wire.simulation.terminateIkeSa(ike);
      wire.deliver(child, REKEY);
      expect(wire.waiting(ike)).toEqual(['INFORMATIONAL {D(IKE)}', TEMPORARY]);
      settles(wire, { ikeSas: 0, children: 0 });
    });
  }
});
