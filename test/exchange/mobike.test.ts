/** MOBIKE (RFC 4555): one of the two is elsewhere, and the SAs go there. */
import { describe, expect, it } from 'vitest';
import type { IkeDatagram } from '../../packages/ipsec-node/src/ike/action.js';
import { NOTIFY } from '../../packages/ipsec-node/src/ike/notify.js';
import { Eavesdropper } from './eavesdropper.js';
import { ADDRESS, DELIVERED, other, type Side, type Simulation } from './simulator.js';
import { toySimulation } from './wire.js';

const ELSEWHERE: Readonly<Record<Side, string>> = { a: '198.51.100.77', b: '198.51.100.78' };

interface Moving {
  readonly two: Simulation;
  /** Notifications of each request and answer since the move, by who sent it. */
  readonly said: { readonly from: Side; readonly isAnswer: boolean; readonly notifies: number[] }[];
  move(side: Side): void;
}

/** Two that are up, where what is sent to an address that a side has left is lost. */
function up(): Moving {
  const eavesdropper = new Eavesdropper();
  const said: Moving['said'] = [];
  const at: Record<Side, string> = { ...ADDRESS };
  const two = toySimulation({
    seed: 'mobike',
    both: { mobike: true, encapsulation: 'auto' },
  });
  two.fate = (datagram: IkeDatagram, from) => {
    const message = eavesdropper.observe(datagram);
    const notifies = (message?.payloads ?? []).flatMap((one) =>
      one.type === 'notify' ? [one.notify] : [],
    );
    if (message !== null) said.push({ from, isAnswer: message.header.isResponse, notifies });
    return datagram.local === at[from] && datagram.remote === at[other(from)] ? DELIVERED : [];
  };
  two.initiate('a', 'net', 'b');
  two.runNow(5_000);
  return {
    two,
    said,
    move: (side) => {
      said.length = 0;
      at[side] = ELSEWHERE[side];
      const [sa] = two.ikeSas(side);
      if (sa === undefined) throw new Error('no IKE SA');
      const path = { local: ELSEWHERE[side], remote: sa.endpoint.remote };
      two.perform(side, two.endpoints[side].handleAddressChange(sa.id, path, two.now));
    },
  };
}

/** Where a side has its IKE SA and its child's SAs. */
function placeOf(two: Simulation, side: Side): readonly unknown[] {
  const { local, remote } = two.ikeSas(side)[0]?.endpoint ?? {};
  const last = two.updates.findLast((each) => each.side === side)?.update;
  return [
    { local, remote },
    { local: last?.endpoint.local, remote: last?.endpoint.remote },
    last?.sas.length,
  ];
}

const asked = (moving: Moving, from: Side, notify: number): boolean =>
  moving.said.some((one) => one.from === from && !one.isAnswer && one.notifies.includes(notify));

describe.each(['a', 'b'] as const)('%s is elsewhere', (mover) => {
  // Who began the first IKE SA decides over addresses, whoever rekeyed it since (RFC 4555 section 2).
  it.each(['nobody', 'a', 'b'] as const)('after %s has rekeyed the IKE SA', (rekeyer) => {
    const moving = up();
    const { two } = moving;
    if (rekeyer !== 'nobody') {
      two.rekeyIkeSa(rekeyer);
      two.runNow(5_000);
    }
    moving.move(mover);
    two.runNow(10_000);
    const stays = other(mover);
    const [here, there] = [ADDRESS[stays], ELSEWHERE[mover]];
    const atMover = { local: there, remote: here };
    const atOther = { local: here, remote: there };
    expect(placeOf(two, mover)).toEqual([atMover, atMover, 2]);
    expect(placeOf(two, stays)).toEqual([atOther, atOther, 2]);
    // Section 3.5: the initiator alone says UPDATE_SA_ADDRESSES; a responder that moves says which
    // addresses it has (section 3.6).
    expect(asked(moving, 'a', NOTIFY.UPDATE_SA_ADDRESSES)).toBe(true);
    expect(asked(moving, 'b', NOTIFY.UPDATE_SA_ADDRESSES)).toBe(false);
    expect(asked(moving, mover, NOTIFY.NO_ADDITIONAL_ADDRESSES)).toBe(mover === 'b');
    two.probe(stays);
    two.runNow(10_000);
    expect(two.ikeSas(stays)).toHaveLength(1);
    expect(two.children(stays)).toHaveLength(1);
  });
});
