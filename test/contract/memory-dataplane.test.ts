import { describe, expect, it } from 'vitest';
import { systemClock } from '../../packages/ipsec-node/src/clock.js';
import type { DataplaneEvent, SaValue } from '../../packages/ipsec-node/src/dataplane/dataplane.js';
import { MemoryDataplane } from '../../packages/ipsec-node/src/dataplane/memory-dataplane.js';
import {
  CONTRACT_OPTIONS,
  CONTRACT_SPD,
  contractSa,
  runDataplaneContract,
} from './dataplane-contract.js';
import {
  runDataplaneWireContract,
  type Wire,
  type WireAddress,
  type WireArrival,
} from './dataplane-wire-contract.js';

runDataplaneContract(
  'memory',
  () => {
    const dataplane = new MemoryDataplane(systemClock);
    return {
      dataplane,
      options: CONTRACT_OPTIONS,
      receiveFirstPacket: async (spi) => {
        dataplane.receive(spi, 1n);
      },
    };
  },
  { receives: true },
);

/** The hosts and the network around the twin: what it is told, and what it says that it sent. */
class MemoryWire implements Wire {
  readonly #dataplane: MemoryDataplane;

  constructor(dataplane: MemoryDataplane) {
    this.#dataplane = dataplane;
  }

  async open(): Promise<void> {}

  async close(): Promise<void> {}

  async send(from: WireAddress, to: WireAddress, bytes: Uint8Array): Promise<void> {
    this.#dataplane.receiveDatagram({
      local: to.address,
      localPort: to.port,
      remote: from.address,
      remotePort: from.port,
      bytes,
    });
    // As a real one does: others have their turn.
    await new Promise((resolve) => setImmediate(resolve));
  }

  async sendEsp(from: WireAddress, sa: SaValue, sequenceNumber: bigint): Promise<void> {
    const ends = { remote: from.address, remotePort: from.port };
    this.#dataplane.receive(sa.id.spi, sequenceNumber, 100n, ends);
  }

  async emit(): Promise<void> {
    this.#dataplane.offer('lan', {
      source: '10.1.0.9',
      destination: '10.2.0.9',
      protocol: 17,
      hasPorts: true,
      sourcePort: 1000,
      destinationPort: 2000,
      icmpType: 0,
      icmpCode: 0,
    });
  }

  arrivals(): readonly WireArrival[] {
    const others = this.#dataplane.wire.map(
      ({ local, localPort, remote, remotePort, bytes }): WireArrival => ({
        from: { address: isUnspecified(local) ? '127.0.0.1' : local, port: localPort },
        to: { address: remote, port: remotePort },
        spi: null,
        bytes,
      }),
    );
    const esp = this.#dataplane.espSent.map(
      ({ spi, to }): WireArrival => ({
        from: { address: to.local, port: to.localPort },
        to: { address: to.remote, port: to.remotePort },
        spi,
        bytes: new Uint8Array(),
      }),
    );
    return [...others, ...esp];
  }
}

/** What a kernel would take to reach an address of loopback. */
function isUnspecified(address: string): boolean {
  return address === '' || address === '0.0.0.0';
}

runDataplaneWireContract('memory', () => {
  const dataplane = new MemoryDataplane(systemClock);
  return { dataplane, wire: new MemoryWire(dataplane) };
});

describe('memory dataplane', () => {
  async function opened(): Promise<{ dataplane: MemoryDataplane; events: DataplaneEvent[] }> {
    const dataplane = new MemoryDataplane(systemClock);
    const events: DataplaneEvent[] = [];
    dataplane.onEvents((batch) => events.push(...batch));
    await dataplane.open(CONTRACT_OPTIONS);
    await dataplane.replaceSpd(CONTRACT_SPD);
    return { dataplane, events };
  }

  it('sends nothing past a reservation and asks once for more', async () => {
    const { dataplane, events } = await opened();
    const spi = 0xc000_0001;
    await dataplane.addSa({ ...contractSa('outbound', spi), reservedUpTo: 10n });
    expect(dataplane.transmit(spi, 8n)).toBe(8n);
    expect(dataplane.transmit(spi, 8n)).toBe(2n);
    await expect.poll(() => events.length).toBe(1);
    expect(events).toMatchObject([{ kind: 'reserveLow', used: 8n }]);
    await dataplane.reserve({ direction: 'outbound', spi }, 100n);
    expect(dataplane.transmit(spi, 8n)).toBe(8n);
    expect((await dataplane.counters()).drops).toEqual({ sequence_not_reserved: 6n });
    await dataplane.close();
  });

  it('accepts nothing past a reservation, up to the first edge, or twice', async () => {
    const { dataplane, events } = await opened();
    const spi = 0xc000_0002;
    const sa = { ...contractSa('inbound', spi), sequenceNumber: 100n, reservedUpTo: 200n };
    await dataplane.addSa(sa);
    expect(dataplane.receive(spi, 100n)).toBe('replay_too_old');
    expect(dataplane.receive(spi, 102n)).toBeNull();
    expect(dataplane.receive(spi, 101n)).toBeNull();
    expect(dataplane.receive(spi, 102n)).toBe('replay_duplicate');
    expect(dataplane.receive(spi, 201n)).toBe('replay_not_reserved');
    await expect.poll(() => events.some((event) => event.kind === 'reserveLow')).toBe(true);
    await dataplane.reserve(sa.id, 300n);
    expect(dataplane.receive(spi, 201n)).toBeNull();
    await dataplane.close();
  });
});
