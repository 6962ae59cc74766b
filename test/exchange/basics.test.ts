import { describe, expect, it } from 'vitest';
import type { IkeDatagram } from '../../packages/ipsec-node/src/ike/action.js';
import { ADDITIONAL } from './names.js';
import {
  ECP256,
  ESN,
  ESP_PFS,
  esp,
  GCM256,
  ike,
  ML_KEM_1024,
  ML_KEM_768,
  pads,
  PRF256,
  X25519,
} from './peers.js';
import { Simulation } from './simulator.js';

async function connected(simulation: Simulation): Promise<void> {
  const command = simulation.initiate('a', 'net', 'b');
  await simulation.run(1_000);
  expect(simulation.events.filter(({ event }) => event.kind === 'detail')).toEqual([]);
  expect(simulation.outcome(command)).toBeNull();
}

/** INVALID_IKE_SPI in clear, in answer to a request: RFC 7296 sections 3.1 and 3.10, by the octet. */
function denial({ payload, ...path }: IkeDatagram): IkeDatagram {
  const header = Buffer.from(payload.subarray(0, 28));
  header[16] = 41;
  header[19] = 0x20 | ((header[19] ?? 0) ^ 0x08);
  header.writeUInt32BE(36, 24);
  return {
    local: path.remote,
    localPort: path.remotePort,
    remote: path.local,
    remotePort: path.localPort,
    payload: Buffer.concat([header, Buffer.from([0, 0, 0, 8, 0, 0, 0, 4])]),
  };
}

describe('two endpoints', () => {
  it('come to an IKE SA and a child in four messages', async () => {
    const simulation = new Simulation({ pads: pads() });
    await connected(simulation);
    expect(simulation.sent).toHaveLength(4);
    expect(simulation.children('a')).toHaveLength(1);
    expect(simulation.children('b')).toHaveLength(1);
    expect(simulation.sendPacket('a', 'net')).toBe(true);
    expect(simulation.sendPacket('b', 'net')).toBe(true);
    expect(simulation.ikeSas('a')[0]?.remoteIdentity).toBe('b.example');
    expect(simulation.ikeSas('b')[0]?.remoteIdentity).toBe('a.example');
  });

  it('come together where the first two addresses of the peer are dead, in half a minute', async () => {
    const simulation = new Simulation({ pads: pads() });
    const dead = ['192.0.2.201', '192.0.2.202'];
    simulation.translate = (datagram) => (dead.includes(datagram.remote) ? null : datagram);
    const command = simulation.initiate('a', 'net', 'b', dead);
    await simulation.run(30_000);
    expect(simulation.outcome(command)).toBeNull();
    expect(simulation.ikeSas('a')).toHaveLength(1);
    expect(simulation.sendPacket('a', 'net')).toBe(true);
  });

  it('tell of a peer that never answers: at the fourth try, and at the end', async () => {
    const simulation = new Simulation({ pads: pads(), fate: () => [] });
    simulation.initiate('a', 'net', 'b');
    await simulation.run(10_000);
    const reasons = (): readonly string[] =>
      simulation.events.flatMap(({ event }) => ('reason' in event ? [event.reason] : []));
    expect(reasons()).toEqual(['no answer to IKE_SA_INIT yet; it is sent again']);
    await simulation.run(200_000);
    const refused = simulation.events.flatMap(({ event }) =>
      event.kind === 'refused' ? [event] : [],
    );
    expect(refused).toMatchObject([
      { peer: 'b', by: 'peer', notify: null, reason: 'no answer to IKE_SA_INIT after 10 tries' },
    ]);
  });

  // RFC 7296 section 2.4: by tries that go unanswered, never by an unprotected word alone.
  it('notice a peer that came again without its SAs, soon after they ask whether it lives', async () => {
    const both = { livenessMs: 10_000 };
    const simulation = new Simulation({ pads: pads({ both }) });
    await connected(simulation);
    simulation.restart('b');
    await simulation.run(10_000 + 5_000);
    expect(simulation.ikeSas('a')).toHaveLength(1);
    await simulation.run(15_000);
    expect(simulation.ikeSas('a')).toHaveLength(0);
    expect(simulation.datapaths.a.inbound.size).toBe(0);
    await connected(simulation);
  });

  it('keep what somebody only says to be lost', async () => {
    const simulation = new Simulation({ pads: pads({ both: { livenessMs: 10_000 } }) });
    await connected(simulation);
    // The first two probes are lost, and an answer in clear comes in their place.
    let probes = 0;
    simulation.fate = (datagram, from) => {
      if (from !== 'a') return [1];
      probes += 1;
      if (probes > 2) return [1];
      simulation.inject('a', denial(datagram));
      return [];
    };
    await simulation.run(40_000);
    expect(probes).toBeGreaterThan(2);
    expect(simulation.ikeSas('a')).toHaveLength(1);
    expect(simulation.sendPacket('a', 'net')).toBe(true);
  });

  it('rekey a child from either side and lose nothing', async () => {
    const simulation = new Simulation({ pads: pads({ child: { proposals: [ESP_PFS] } }) });
    await connected(simulation);
    simulation.watchTraffic(['net']);
    for (const side of ['a', 'b', 'b', 'a'] as const) {
      const before = simulation.children(side)[0]?.inbound;
      simulation.rekeyChild(side);
      await simulation.run(20_000);
      expect(simulation.children(side)[0]?.inbound).not.toBe(before);
      expect(simulation.children('a')).toHaveLength(1);
      expect(simulation.children('b')).toHaveLength(1);
      expect(simulation.datapaths.a.inbound.size).toBe(1);
      expect(simulation.datapaths.b.outbound).toHaveLength(1);
    }
    expect(simulation.lost).toEqual([]);
  });

  it('rekey the IKE SA from either side and keep the child', async () => {
    const simulation = new Simulation({ pads: pads() });
    await connected(simulation);
    simulation.watchTraffic(['net']);
    for (const side of ['a', 'b', 'b', 'a'] as const) {
      const before = simulation.ikeSas(side)[0]?.spiInitiator;
      simulation.rekeyIkeSa(side);
      await simulation.run(5_000);
      expect(simulation.ikeSas('a')).toHaveLength(1);
      expect(simulation.ikeSas('b')).toHaveLength(1);
      expect(simulation.ikeSas(side)[0]?.spiInitiator).not.toBe(before);
      expect(simulation.children('a')).toHaveLength(1);
      simulation.rekeyChild(side);
      await simulation.run(10_000);
      expect(simulation.children('b')).toHaveLength(1);
    }
    expect(simulation.lost).toEqual([]);
  });

  it('survive both rekeying the child at the same moment', async () => {
    const simulation = new Simulation({ pads: pads({ child: { proposals: [ESP_PFS] } }) });
    await connected(simulation);
    simulation.watchTraffic(['net']);
    simulation.rekeyChild('a');
    simulation.rekeyChild('b');
    await simulation.run(30_000);
    expect(simulation.children('a')).toHaveLength(1);
    expect(simulation.children('b')).toHaveLength(1);
    expect(simulation.datapaths.a.inbound.size).toBe(1);
    expect(simulation.datapaths.b.inbound.size).toBe(1);
    expect(simulation.lost).toEqual([]);
  });

  it('survive both rekeying the IKE SA at the same moment', async () => {
    const simulation = new Simulation({ pads: pads() });
    await connected(simulation);
    simulation.rekeyIkeSa('a');
    simulation.rekeyIkeSa('b');
    await simulation.run(30_000);
    expect(simulation.ikeSas('a')).toHaveLength(1);
    expect(simulation.ikeSas('b')).toHaveLength(1);
    expect(simulation.children('a')).toHaveLength(1);
    expect(simulation.children('b')).toHaveLength(1);
  });

  it('follow INVALID_KE_PAYLOAD to the group that the other wants', async () => {
    const simulation = new Simulation({
      pads: pads({ b: { proposals: [ike(GCM256, PRF256, ECP256)] } }),
    });
    await connected(simulation);
    expect(simulation.ikeSas('a')[0]?.proposal).toContain('ecp256');
    expect(simulation.sent).toHaveLength(6);
  });

  it('add ML-KEM in IKE_INTERMEDIATE, and in IKE_FOLLOWUP_KE at rekeys', async () => {
    const proposals = [ike(GCM256, PRF256, X25519, ML_KEM_768, ML_KEM_1024)];
    const child = { proposals: [esp(GCM256, X25519, ML_KEM_768, ESN)] };
    const simulation = new Simulation({ pads: pads({ both: { proposals }, child }) });
    await connected(simulation);
    expect(simulation.ikeSas('a')[0]?.proposal).toContain(ADDITIONAL.mlkem1024);
    simulation.watchTraffic(['net']);
    simulation.rekeyChild('a');
    await simulation.run(10_000);
    simulation.rekeyIkeSa('b');
    await simulation.run(10_000);
    simulation.rekeyChild('b');
    await simulation.run(10_000);
    expect(simulation.children('a')).toHaveLength(1);
    expect(simulation.ikeSas('a')).toHaveLength(1);
    expect(simulation.lost).toEqual([]);
  });
});
