/**
 * Rekeys of an IKE SA, and all that can come in between (RFC 7296 sections 1.3.2, 2.8.2, 2.18,
 * 2.25.2): what goes over the wire, which IKE SA is left, and that its child goes on without a loss.
 */
import { describe, expect, it } from 'vitest';
import { faultsAtRest } from './explore.js';
import { ECP256, GCM256, ike, PRF256, X25519 } from './peers.js';
import { Wire } from './wire.js';

const REKEY = 'CREATE_CHILD_SA {SA, N, KE}';
const TEMPORARY = 'CREATE_CHILD_SA {N(TEMPORARY_FAILURE)}';
const DELETE = 'INFORMATIONAL {D(IKE)}';
const EMPTY = 'INFORMATIONAL {}';
const ONE = { ikeSas: 1, children: 1 };
const NOTHING = { ikeSas: 0, children: 0 };

function settles(wire: Wire, expected: { ikeSas: number; children: number } = ONE): void {
  wire.settle();
  expect(faultsAtRest(wire.simulation, expected)).toEqual([]);
  if (expected.children > 0) expect(wire.simulation.lost).toEqual([]);
}

describe('a rekey of an IKE SA by one side', () => {
  for (const [side, peer] of [
    ['a', 'b'],
    ['b', 'a'],
  ] as const) {
    it(`moves the child and deletes the old one when ${side} asks`, () => {
      const wire = Wire.connected();
      const child = wire.spi(side);
      wire.simulation.rekeyIkeSa(side);
      settles(wire);
      expect(wire.arrows).toEqual([
        `${side} --> ${peer} ${REKEY}`,
        `${peer} --> ${side} ${REKEY}`,
        `${side} --> ${peer} ${DELETE}`,
        `${peer} --> ${side} ${EMPTY}`,
      ]);
      expect(wire.spi(side)).toBe(child);
      expect(wire.isInitiator(side)).toBe(true);
    });

    it(`takes the group that the other wants when ${side} asks with another`, () => {
      // The IKE SA begins with ECP-256; one side has X25519 first from then on.
      const both = ike(GCM256, PRF256, X25519, ECP256);
      const wire = Wire.connected({ both: { proposals: [both] } });
      const entry = wire.entry(peer);
      wire.replacePad(peer, { ...entry, proposals: [ike(GCM256, PRF256, ECP256)] });
      wire.simulation.rekeyIkeSa(side);
      settles(wire);
      expect(wire.arrows.slice(0, 4)).toEqual([
        `${side} --> ${peer} ${REKEY}`,
        `${peer} --> ${side} CREATE_CHILD_SA {N(INVALID_KE_PAYLOAD)}`,
        `${side} --> ${peer} ${REKEY}`,
        `${peer} --> ${side} ${REKEY}`,
      ]);
    });
  }

  it('is refused with NO_PROPOSAL_CHOSEN, and the old IKE SA goes on', () => {
    const wire = Wire.connected();
    wire.replacePad('b', { ...wire.entry('b'), proposals: [ike(GCM256, PRF256, ECP256)] });
    wire.replacePad('a', { ...wire.entry('a'), proposals: [ike(GCM256, PRF256, X25519)] });
    const command = wire.simulation.rekeyIkeSa('a');
    wire.deliver('a', REKEY);
    wire.deliver('b', 'CREATE_CHILD_SA {N(NO_PROPOSAL_CHOSEN)}');
    expect(wire.simulation.outcome(command)).toContain('NO_PROPOSAL_CHOSEN');
    expect(wire.simulation.children('a')).toHaveLength(1);
    expect(wire.simulation.lost).toEqual([]);
  });

  it('whose Delete never comes leaves the old one for five minutes, and not longer', () => {
    const wire = Wire.connected();
    wire.simulation.rekeyIkeSa('a');
    wire.deliver('a', REKEY);
    wire.deliver('b', REKEY);
    wire.drop('a', DELETE);
    // a gives up the old one too: nothing of it arrives any more.
    expect(wire.simulation.ikeSas('b')).toHaveLength(2);
    wire.pass(299_000);
    expect(wire.simulation.ikeSas('b').map(({ state }) => state)).toEqual([
      'rekeyed',
      'established',
    ]);
    wire.pass(2_000);
    expect(wire.simulation.ikeSas('b')).toHaveLength(1);
  });

  it('carries over what waited for its turn', () => {
    const wire = Wire.connected();
    wire.simulation.rekeyIkeSa('a');
    const command = wire.simulation.rekeyChild('a');
    settles(wire);
    expect(wire.simulation.outcome(command)).toBeNull();
    expect(wire.arrows.some((text) => text.includes('N(REKEY_SA)'))).toBe(true);
  });
});

describe('two rekeys of one IKE SA at the same moment', () => {
  for (const [loser, winner] of [
    ['a', 'b'],
    ['b', 'a'],
  ] as const) {
    const both = (): Wire => {
      const wire = Wire.connected({ loser });
      wire.simulation.rekeyIkeSa('a');
      wire.simulation.rekeyIkeSa('b');
      return wire;
    };
    const leavesWinner = (wire: Wire): void => {
      settles(wire);
      expect(wire.isInitiator(winner)).toBe(true);
      expect(wire.isInitiator(loser)).toBe(false);
    };

    it(`leave the IKE SA of ${winner} where the lowest nonce is ${loser}'s`, () => {
      // a --> b SA, Ni1, KEi1         b --> a SA, Ni2, KEi2
      // b --> a SA, Nr1, KEr1         a --> b SA, Nr2, KEr2
      // loser --> winner D (its own new one)      winner --> loser D (the old one)
      const wire = both();
      wire.deliver('a', REKEY);
      wire.deliver('b', REKEY);
      wire.deliver('a', REKEY);
      wire.deliver('b', REKEY);
      expect(wire.waiting('a')).toEqual([DELETE]);
      expect(wire.waiting('b')).toEqual([DELETE]);
      leavesWinner(wire);
    });

    it(`and the answer to ${loser} delayed past the Delete of the old one`, () => {
      const wire = both();
      wire.deliver(winner, REKEY);
      wire.deliver(loser, REKEY);
      const late = wire.take(winner, REKEY);
      wire.deliver(loser, REKEY);
      wire.deliver(winner, DELETE);
      wire.deliver(loser, EMPTY);
      wire.put(late);
      // The winner still holds the loser's; nobody will delete it but time.
      wire.settle();
      expect(wire.simulation.ikeSas(loser)).toHaveLength(1);
      expect(wire.simulation.ikeSas(winner)).toHaveLength(1);
      expect(wire.isInitiator(winner)).toBe(true);
      expect(wire.simulation.lost).toEqual([]);
    });

    it(`and the answer to ${winner} delayed past the Delete of the loser's`, () => {
      const wire = both();
      wire.deliver(winner, REKEY);
      wire.deliver(loser, REKEY);
      const late = wire.take(loser, REKEY);
      wire.deliver(winner, REKEY);
      wire.deliver(loser, DELETE);
      wire.deliver(winner, EMPTY);
      wire.put(late);
      leavesWinner(wire);
    });

    it(`and the request of ${loser} dropped until ${winner} is done`, () => {
      const wire = both();
      wire.drop(loser, REKEY);
      wire.deliver(winner, REKEY);
      wire.deliver(loser, REKEY);
      wire.deliver(winner, DELETE);
      leavesWinner(wire);
    });

    it(`and the request of ${loser} delayed until ${winner} has its answer: TEMPORARY_FAILURE`, () => {
      const wire = both();
      const late = wire.take(loser, REKEY);
      wire.deliver(winner, REKEY);
      wire.deliver(loser, REKEY);
      wire.put(late);
      expect(wire.waiting(winner)).toEqual([DELETE, TEMPORARY]);
      leavesWinner(wire);
    });

    it(`and ${loser} asks for the child on an IKE SA that ${winner} does not have yet`, () => {
      const wire = both();
      wire.deliver(winner, REKEY);
      wire.deliver(loser, REKEY);
      const late = wire.take(loser, REKEY);
      wire.deliver(winner, REKEY);
      wire.simulation.rekeyChild(loser);
      wire.deliver(loser, DELETE);
      wire.deliver(loser, 'N(REKEY_SA)');
      // It says so unprotected, which the loser does not believe (RFC 7296 section 2.21.4).
      expect(wire.waiting(winner)).toEqual([EMPTY, 'CREATE_CHILD_SA {N(INVALID_IKE_SPI)}']);
      wire.put(late);
      leavesWinner(wire);
      expect(wire.arrows.filter((text) => text.includes('N(REKEY_SA)')).length).toBeGreaterThan(1);
    });

    it(`and ${winner} asks for the child on the new IKE SA before ${loser} has moved to it`, () => {
      const wire = both();
      wire.deliver(winner, REKEY);
      wire.deliver(loser, REKEY);
      const late = wire.take(winner, REKEY);
      wire.deliver(loser, REKEY);
      wire.simulation.rekeyChild(winner);
      wire.drop(winner, DELETE);
      wire.deliver(winner, 'N(REKEY_SA)');
      // The new one is not in place at the loser, and has no child.
      expect(wire.waiting(loser)).toEqual([TEMPORARY]);
      wire.put(late);
      leavesWinner(wire);
    });
  }
});

describe('a rekey of an IKE SA that crosses its Delete', () => {
  for (const [rekeys, deletes] of [
    ['a', 'b'],
    ['b', 'a'],
  ] as const) {
    it(`${rekeys} asks while ${deletes} deletes: TEMPORARY_FAILURE, and nothing is left`, () => {
      const wire = Wire.connected();
      wire.simulation.rekeyIkeSa(rekeys);
      wire.simulation.terminateIkeSa(deletes);
      wire.deliver(rekeys, REKEY);
      expect(wire.waiting(deletes)).toEqual([DELETE, TEMPORARY]);
      settles(wire, NOTHING);
      expect(wire.simulation.eventsOf(rekeys, 'peer-down')).toHaveLength(1);
    });

    it(`${deletes}'s Delete comes first and its answer is dropped`, () => {
      const wire = Wire.connected();
      wire.simulation.rekeyIkeSa(rekeys);
      wire.simulation.terminateIkeSa(deletes);
      wire.deliver(deletes, DELETE);
      wire.drop(rekeys, REKEY);
      wire.drop(rekeys, EMPTY);
      settles(wire, NOTHING);
    });

    it(`${deletes}'s Delete is dropped and ${rekeys}'s request comes`, () => {
      const wire = Wire.connected();
      wire.simulation.rekeyIkeSa(rekeys);
      wire.simulation.terminateIkeSa(deletes);
      wire.drop(deletes, DELETE);
      wire.deliver(rekeys, REKEY);
      wire.deliver(deletes, TEMPORARY);
      settles(wire, NOTHING);
    });

    it(`${deletes} deletes the child while ${rekeys} asks: both are done`, () => {
      const wire = Wire.connected();
      wire.simulation.rekeyIkeSa(rekeys);
      wire.simulation.terminateChild(deletes);
      wire.deliver(rekeys, REKEY);
      // RFC 7296 section 2.25.2: an IKE SA of which a child is being closed is not rekeyed.
      expect(wire.waiting(deletes)).toEqual(['INFORMATIONAL {D}', TEMPORARY]);
      settles(wire, { ikeSas: 1, children: 0 });
      expect(wire.simulation.eventsOf(rekeys, 'peer-rekeyed')).toHaveLength(1);
    });
  }

  it('both delete it at once: each is answered, and nothing is left', () => {
    const wire = Wire.connected();
    wire.simulation.terminateIkeSa('a');
    wire.simulation.terminateIkeSa('b');
    wire.deliver('a', DELETE);
    wire.deliver('b', DELETE);
    settles(wire, NOTHING);
  });

  it('the peer dies in the middle of both rekeys: nothing is left of either', () => {
    const wire = Wire.connected();
    wire.simulation.rekeyIkeSa('a');
    wire.simulation.rekeyIkeSa('b');
    wire.deliver('a', REKEY);
    // a never hears of b again, and b never of a.
    wire.pass(900_000);
    expect(wire.simulation.endpoints.a.usage()).toMatchObject({ ikeSas: 0, spis: 0, timers: 0 });
    expect(wire.simulation.endpoints.b.usage()).toMatchObject({ ikeSas: 0, spis: 0, timers: 0 });
    expect(wire.simulation.datapaths.b.inbound.size).toBe(0);
  });
});
