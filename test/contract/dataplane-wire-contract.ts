import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type {
  Dataplane,
  DataplaneEvent,
  DataplaneOptions,
  IkeDatagram,
  SaValue,
} from '../../packages/ipsec-node/src/dataplane/dataplane.js';
import { CONTRACT_OPTIONS, CONTRACT_SPD, contractSa } from './dataplane-contract.js';

export interface WireAddress {
  readonly address: string;
  readonly port: number;
}

/** What came to the peer: ESP by its SPI, all else as bytes of UDP. */
export interface WireArrival {
  readonly from: WireAddress;
  readonly to: WireAddress;
  readonly spi: number | null;
  readonly bytes: Uint8Array;
}

/** The network and the hosts around one dataplane, as a test needs them. */
export interface Wire {
  /** After the dataplane was opened. */
  open(): Promise<void>;
  close(): Promise<void>;
  /** The peer sends a datagram; its own address is one of {@link PEERS}. */
  send(from: WireAddress, to: WireAddress, bytes: Uint8Array): Promise<void>;
  /** The peer sends an authentic ESP packet of an inbound SA. */
  sendEsp(from: WireAddress, sa: SaValue, sequenceNumber: bigint): Promise<void>;
  /** A host behind the gateway sends a packet that the entry `lan` protects. */
  emit(): Promise<void>;
  arrivals(): readonly WireArrival[];
}

export interface WireSubject {
  readonly dataplane: Dataplane;
  readonly wire: Wire;
}

const { port: PORT, ikePort: IKE_PORT } = CONTRACT_OPTIONS;
const OURS: WireAddress = { address: '127.0.0.1', port: PORT };
const OURS_IKE: WireAddress = { address: '127.0.0.1', port: IKE_PORT };
/** Behind a NAT: other ports, so that the peer can be on the same host where all are listened on. */
const PEER: WireAddress = { address: '127.0.0.2', port: 45_510 };
export const PEER_IKE: WireAddress = { address: '127.0.0.2', port: 45_511 };
/** Where the peer is after it moved. */
const MOVED: WireAddress = { address: '127.0.0.3', port: 45_512 };
export const PEERS: readonly WireAddress[] = [PEER, PEER_IKE, MOVED];

function peerSa(direction: 'outbound' | 'inbound', spi: number): SaValue {
  return { ...contractSa(direction, spi), remotePort: PEER.port };
}

/** As an IKE message is: 28 octets of header at least (RFC 7296 section 3.1). */
function message(length: number, first = 0xab): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index === 0 ? first : index & 0xff));
}

const MARKER = Uint8Array.of(0, 0, 0, 0);
const marked = (bytes: Uint8Array): Uint8Array => Uint8Array.from([...MARKER, ...bytes]);

/** What the contract says of packets; the verbs as such are in dataplane-contract.ts. */
export function runDataplaneWireContract(name: string, make: () => WireSubject): void {
  describe(`dataplane contract on the wire: ${name}`, () => {
    let dataplane: Dataplane;
    let wire: Wire;
    let events: DataplaneEvent[];

    beforeEach(() => {
      ({ dataplane, wire } = make());
      events = [];
      dataplane.onEvents((batch) => events.push(...batch));
    });

    afterEach(async () => {
      await wire.close();
      await dataplane.close();
    });

    async function opened(change: Partial<DataplaneOptions> = {}): Promise<void> {
      await dataplane.open({ ...CONTRACT_OPTIONS, ...change });
      await dataplane.replaceSpd(CONTRACT_SPD);
      await wire.open();
    }

    const ikeEvents = (): IkeDatagram[] =>
      events.flatMap((event) => (event.kind === 'ike' ? event.datagrams : []));
    const ofKind = <K extends DataplaneEvent['kind']>(kind: K) =>
      events.filter((event): event is Extract<DataplaneEvent, { kind: K }> => event.kind === kind);
    const spis = (): (number | null)[] => wire.arrivals().map(({ spi }) => spi);

    const path = (local: WireAddress, remote: WireAddress) => ({
      local: local.address,
      localPort: local.port,
      remote: remote.address,
      remotePort: remote.port,
    });

    describe('ike', () => {
      it('comes from both ports, bare and behind the marker, with both ends', async () => {
        await opened();
        await wire.send(PEER_IKE, OURS_IKE, message(28));
        await wire.send(PEER, OURS, marked(message(29)));
        // From the port of encapsulation to that of IKE: it is the local port that decides.
        await wire.send(PEER, OURS_IKE, message(30));
        await expect.poll(() => ikeEvents().length).toBe(3);
        const inOrder = ikeEvents().sort((a, b) => a.payload.length - b.payload.length);
        expect(inOrder.map(({ payload, ...ends }) => [ends, Buffer.from(payload)])).toEqual([
          [path(OURS_IKE, PEER_IKE), Buffer.from(message(28))],
          [path(OURS, PEER), Buffer.from(message(29))],
          [path(OURS_IKE, PEER), Buffer.from(message(30))],
        ]);
      });

      it('says to which address it came where all are listened on', async () => {
        await opened({ listen: ['0.0.0.0'] });
        await wire.send(PEER_IKE, { address: '127.0.0.5', port: IKE_PORT }, message(28));
        await wire.send(PEER, { address: '127.0.0.6', port: PORT }, marked(message(28)));
        await expect
          .poll(() =>
            ikeEvents()
              .map(({ local, localPort }) => `${local} ${localPort}`)
              .sort(),
          )
          .toEqual([`127.0.0.5 ${IKE_PORT}`, `127.0.0.6 ${PORT}`]);
      });

      it('comes to each of several addresses of one family', async () => {
        await opened({ listen: ['127.0.0.1', '127.0.0.7', '127.0.0.7'] });
        await wire.send(PEER_IKE, OURS_IKE, message(28));
        await wire.send(PEER_IKE, { address: '127.0.0.7', port: IKE_PORT }, message(28));
        await wire.send(PEER, { address: '127.0.0.7', port: PORT }, marked(message(28)));
        await expect
          .poll(() =>
            ikeEvents()
              .map(({ local, localPort }) => `${local} ${localPort}`)
              .sort(),
          )
          .toEqual([`127.0.0.1 ${IKE_PORT}`, `127.0.0.7 ${PORT}`, `127.0.0.7 ${IKE_PORT}`]);
      });

      it('may be as long as UDP allows', async () => {
        await opened();
        // RFC 768 and RFC 791: 65,535 less 20 of IPv4 and 8 of UDP.
        await wire.send(PEER_IKE, OURS_IKE, message(65_507));
        await wire.send(PEER, OURS, marked(message(65_503)));
        await expect.poll(() => ikeEvents().length).toBe(2);
        const longest = ikeEvents().sort((a, b) => b.payload.length - a.payload.length);
        const whole = longest.map(({ payload }) =>
          Buffer.from(message(payload.length)).equals(payload),
        );
        expect(longest.map(({ payload }) => payload.length)).toEqual([65_507, 65_503]);
        expect(whole).toEqual([true, true]);
      });

      it('is no IKE when shorter than its header, nor is a keepalive', async () => {
        await opened();
        await wire.send(PEER_IKE, OURS_IKE, message(27));
        await wire.send(PEER, OURS, marked(message(27)));
        await wire.send(PEER, OURS, Uint8Array.of(0xff));
        await wire.send(PEER_IKE, OURS_IKE, message(28));
        await wire.send(PEER, OURS, marked(message(28)));
        await expect.poll(() => ikeEvents().length).toBe(2);
        expect((await dataplane.counters()).drops['short']).toBe(2n);
      });

      it('comes through a flood of ESP that is nobody', async () => {
        await opened();
        const garbage = Uint8Array.from({ length: 1_400 }, (_, index) => (index * 31 + 7) & 0xff);
        const wanted = new Set(Array.from({ length: 20 }, (_, index) => index));
        const seen = (): Set<number> => new Set(ikeEvents().map(({ payload }) => payload[0] ?? -1));
        let flooding = true;
        const flood = (async () => {
          while (flooding) {
            await Promise.all(Array.from({ length: 64 }, () => wire.send(MOVED, OURS, garbage)));
            // A send that succeeds at once never gives the event loop its turn.
            await new Promise((resolve) => setImmediate(resolve));
          }
        })();
        // As IKE does: what was not answered is sent again.
        await expect
          .poll(
            async () => {
              const missing = [...wanted].filter((number) => !seen().has(number));
              for (const number of missing) {
                await wire.send(PEER, OURS, marked(message(400, number)));
              }
              return missing.length;
            },
            { timeout: 30_000 },
          )
          .toBe(0);
        flooding = false;
        await flood;
        expect((await dataplane.counters()).drops['no_sa']).toBeGreaterThan(64n);
      });
    });

    describe('sendIke', () => {
      it('puts the marker in front from one port and nothing from the other', async () => {
        await opened();
        await dataplane.sendIke([
          { ...path(OURS_IKE, PEER_IKE), payload: message(28) },
          { ...path(OURS, PEER), payload: message(29) },
        ]);
        await expect.poll(() => wire.arrivals().length).toBe(2);
        const inOrder = [...wire.arrivals()].sort((a, b) => a.bytes.length - b.bytes.length);
        expect(inOrder).toEqual([
          { from: OURS_IKE, to: PEER_IKE, spi: null, bytes: message(28) },
          { from: OURS, to: PEER, spi: null, bytes: marked(message(29)) },
        ]);
      });

      it('sends from the address that is asked for, or from what the kernel takes', async () => {
        await opened({ listen: ['0.0.0.0'] });
        const from = { address: '127.0.0.9', port: IKE_PORT };
        for (const address of [from.address, '', '0.0.0.0']) {
          const local = { address, port: IKE_PORT };
          await dataplane.sendIke([{ ...path(local, PEER_IKE), payload: message(28) }]);
        }
        await expect
          .poll(() => wire.arrivals().map((arrival) => arrival.from))
          .toEqual([from, OURS_IKE, OURS_IKE]);
      });

      it('sends what is as long as UDP allows', async () => {
        await opened();
        await dataplane.sendIke([{ ...path(OURS_IKE, PEER_IKE), payload: message(65_507) }]);
        await expect.poll(() => wire.arrivals().length).toBe(1);
        expect(wire.arrivals()[0]?.bytes).toHaveLength(65_507);
      });

      it.each([
        ['another local port', { localPort: PORT + 7 }],
        ['no address', { remote: 'peer' }],
        ['two families', { remote: '::1' }],
        ['a remote port of zero', { remotePort: 0 }],
      ])('refuses %s', async (_what, change) => {
        await opened();
        const datagram = { ...path(OURS, PEER), payload: message(28), ...change };
        await expect(dataplane.sendIke([datagram])).rejects.toEqual(
          expect.objectContaining({ code: 'IPSEC_ERR_USAGE' }),
        );
      });
    });

    describe('sendKeepalive', () => {
      it('sends one octet 0xff from the port of encapsulation, and from no other', async () => {
        await opened();
        await dataplane.sendKeepalive([path(OURS, PEER)]);
        await expect.poll(() => wire.arrivals().length).toBe(1);
        expect(wire.arrivals()).toEqual([
          { from: OURS, to: PEER, spi: null, bytes: Uint8Array.of(0xff) },
        ]);
        await expect(dataplane.sendKeepalive([path(OURS_IKE, PEER)])).rejects.toEqual(
          expect.objectContaining({ code: 'IPSEC_ERR_USAGE' }),
        );
      });
    });

    describe('inbound SAs', () => {
      const first = peerSa('inbound', 0xc000_0011);
      const second = peerSa('inbound', 0xc000_0012);

      it('tell their first use once, each', async () => {
        await opened();
        await dataplane.addSas([first]);
        for (const number of [1n, 2n, 3n]) await wire.sendEsp(PEER, first, number);
        await expect.poll(() => ofKind('firstUse').length).toBe(1);
        // A rekey: the new one is first used while the old one is still there.
        await dataplane.addSa(second);
        await wire.sendEsp(PEER, first, 4n);
        await wire.sendEsp(PEER, second, 1n);
        await wire.sendEsp(PEER, second, 2n);
        const packets = async (): Promise<bigint[]> =>
          (await dataplane.querySas([first.id, second.id])).map((state) => state.packets);
        await expect.poll(packets).toEqual([4n, 2n]);
        await expect
          .poll(() => ofKind('firstUse').map(({ id }) => id))
          .toEqual([first.id, second.id]);
      });

      it('tell once that an authentic, new packet came from elsewhere', async () => {
        await opened();
        await dataplane.addSa(first);
        await wire.sendEsp(PEER, first, 1n);
        await wire.sendEsp(MOVED, first, 2n);
        await wire.sendEsp(MOVED, first, 3n);
        await expect.poll(() => ofKind('mapping').length).toBe(1);
        expect(ofKind('mapping')).toEqual([
          {
            kind: 'mapping',
            id: first.id,
            remote: MOVED.address,
            remotePort: MOVED.port,
          },
        ]);
        const endpoint = { ...first, remote: MOVED.address, remotePort: MOVED.port };
        await dataplane.updateSa(first.id, endpoint);
        await wire.sendEsp(MOVED, first, 4n);
        await wire.sendEsp(PEER, first, 5n);
        // It follows its SA: from where it was it is news again.
        await expect
          .poll(() => ofKind('mapping').map(({ remote }) => remote))
          .toEqual([MOVED.address, PEER.address]);
        expect((await dataplane.querySas([first.id]))[0]?.packets).toBe(5n);
      });

      it('tell nothing of a packet that is replayed or not authentic', async () => {
        await opened();
        await dataplane.addSa(first);
        await wire.sendEsp(PEER, first, 7n);
        await wire.sendEsp(MOVED, first, 7n);
        await wire.sendEsp(PEER, first, 8n);
        await expect
          .poll(async () => (await dataplane.querySas([first.id]))[0])
          .toMatchObject({ packets: 2n, drops: { replay_duplicate: 1n } });
        // Events come in order: what was to be told came before this.
        await wire.send(PEER, OURS, marked(message(28)));
        await expect.poll(() => ikeEvents().length).toBe(1);
        expect(ofKind('mapping')).toEqual([]);
      });
    });

    describe('outbound SAs', () => {
      const older = peerSa('outbound', 0xc000_0021);
      const newer = peerSa('outbound', 0xc000_0022);

      it('of one entry: the newest carries its packets, and the older one after it', async () => {
        await opened();
        await dataplane.addSa(older);
        await wire.emit();
        await expect.poll(spis).toEqual([older.id.spi]);
        await dataplane.addSa(newer);
        await wire.emit();
        await expect.poll(spis).toEqual([older.id.spi, newer.id.spi]);
        await dataplane.deleteSa(newer.id);
        await wire.emit();
        await expect.poll(spis).toEqual([older.id.spi, newer.id.spi, older.id.spi]);
      });

      it('lose no packet when the newest is deleted among packets', async () => {
        await opened();
        await dataplane.addSas([older, newer]);
        const total = 60;
        let deleting: Promise<unknown> = Promise.resolve();
        for (let count = 0; count < total; count += 1) {
          if (count === total / 2) deleting = dataplane.deleteSa(newer.id);
          await wire.emit();
        }
        await deleting;
        await wire.emit();
        await expect.poll(() => wire.arrivals().length).toBe(total + 1);
        expect(spis()[0]).toBe(newer.id.spi);
        expect(spis().at(-1)).toBe(older.id.spi);
      });

      it('send where updateSa says', async () => {
        await opened();
        await dataplane.addSa(older);
        await wire.emit();
        await expect.poll(() => wire.arrivals().length).toBe(1);
        await dataplane.updateSa(older.id, {
          ...older,
          local: '127.0.0.4',
          remote: MOVED.address,
          remotePort: MOVED.port,
        });
        await wire.emit();
        await expect.poll(() => wire.arrivals().length).toBe(2);
        expect(wire.arrivals().map(({ from, to, spi }) => ({ from, to, spi }))).toEqual([
          { from: OURS, to: PEER, spi: older.id.spi },
          { from: { address: '127.0.0.4', port: PORT }, to: MOVED, spi: older.id.spi },
        ]);
      });

      it('send what waited for them; what may not wait is dropped and counted', async () => {
        await opened();
        for (let count = 0; count < 66; count += 1) await wire.emit();
        const drops = async (): Promise<bigint | undefined> =>
          (await dataplane.counters()).drops['hold_full'];
        await expect.poll(drops, { timeout: 10_000 }).toBe(2n);
        await expect.poll(() => ofKind('acquire').map(({ entry }) => entry)).toEqual(['lan']);
        expect(ofKind('acquire')[0]?.packet).toMatchObject({
          source: '10.1.0.9',
          destination: '10.2.0.9',
          protocol: 17,
        });
        expect(wire.arrivals()).toEqual([]);
        await dataplane.addSa(older);
        await expect
          .poll(spis, { timeout: 10_000 })
          .toEqual(Array.from({ length: 64 }, () => older.id.spi));
        await wire.emit();
        await expect.poll(() => wire.arrivals().length, { timeout: 10_000 }).toBe(65);
      });

      it('are not waited for where IKE is not served', async () => {
        await opened({ ike: false });
        await wire.emit();
        await expect
          .poll(async () => (await dataplane.counters()).drops['no_sa_outbound'])
          .toBe(1n);
      });
    });
  });
}
