/** A peer that says TEMPORARY_FAILURE again and again (RFC 7296 section 2.25). */
import { expect, it } from 'vitest';
import { notifyPayload } from '../../packages/ipsec-node/src/ike/names.js';
import { NOTIFY } from '../../packages/ipsec-node/src/ike/notify.js';
import { EXCHANGE_NUMBERS } from '../../packages/ipsec-node/src/ike/payload/payload.js';
import { Eavesdropper } from './eavesdropper.js';
import { toySimulation } from './wire.js';

it('is waited for some minutes, and has another state then: the IKE SA ends', () => {
  const eavesdropper = new Eavesdropper();
  const two = toySimulation();
  two.translate = (datagram) => {
    const message = eavesdropper.observe(datagram);
    if (message?.header.isResponse !== true) return datagram;
    if (message.header.exchange !== EXCHANGE_NUMBERS.CREATE_CHILD_SA) return datagram;
    const failure = notifyPayload(NOTIFY.TEMPORARY_FAILURE);
    return { ...datagram, payload: eavesdropper.seal(message.header, [failure]) };
  };
  two.initiate('a', 'net', 'b');
  two.runNow(10_000);
  two.rekeyChild('a');
  two.runNow(240_000);
  expect(two.ikeSas('a')).toHaveLength(1);
  two.runNow(120_000);
  expect(two.ikeSas('a')).toEqual([]);
  expect(two.eventsOf('a', 'peer-down').map(({ end }) => end)).toEqual(['dead']);
});
