import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type {
  Dataplane,
  DataplaneEvent,
  DataplaneOptions,
  SaValue,
  SpdValue,
} from '../../packages/ipsec-node/src/dataplane/dataplane.js';

/** One dataplane under the contract, and what the suite must know of it. */
export interface ContractSubject {
  readonly dataplane: Dataplane;
  readonly options: DataplaneOptions;
  /** Whatever the test environment needs undone after the dataplane is closed. */
  readonly cleanUp?: () => Promise<void>;
  /**
   * Makes an inbound SA receive its first authentic packet, where the environment can: then the
   * order of events is checked too.
   */
  readonly receiveFirstPacket?: (spi: number) => Promise<void>;
}

/** Options under which any dataplane opens without touching the host's own boundary. */
export const CONTRACT_OPTIONS: DataplaneOptions = {
  gateway: 'contract',
  interface: { name: 'ipsec-ct0', mtu: 1400 },
  listen: ['127.0.0.1'],
  port: 45_500,
  ikePort: 45_501,
  ike: true,
  encapsulations: ['udp'],
  protectedInterfaces: [],
  unprotectedInterfaces: [],
  offload: { tunSegmentation: false, udpGso: false, udpGro: false },
  onStop: 'open',
  boundary: false,
};

const NETWORK = {
  local: [{ from: '10.1.0.0', to: '10.1.255.255' }],
  remote: [{ from: '10.2.0.0', to: '10.2.255.255' }],
  protocol: 'any',
  localPorts: [],
  remotePorts: [],
  icmpTypes: [],
  icmpCodes: [],
} as const;

/** An SPD with one entry of each action. */
export const CONTRACT_SPD: SpdValue = {
  version: 1,
  entries: [
    { name: 'lan', direction: 'both', selector: NETWORK, action: 'PROTECT', builtin: false },
    {
      name: 'clear',
      direction: 'both',
      selector: { ...NETWORK, remote: [{ from: '10.3.0.0', to: '10.3.0.255' }] },
      action: 'BYPASS',
      builtin: false,
    },
  ],
};

/** An outbound or inbound SA of the entry `lan`, with a key of its own. */
export function contractSa(direction: 'outbound' | 'inbound', spi: number): SaValue {
  return {
    id: { direction, spi },
    entry: 'lan',
    selector: NETWORK,
    suite: 'aes256gcm16',
    key: Uint8Array.from({ length: 36 }, (_, index) => (index * 7 + spi) & 0xff),
    mode: 'tunnel',
    local: '127.0.0.1',
    remote: '127.0.0.2',
    encapsulation: 'udp',
    localPort: 45_500,
    remotePort: 45_500,
    esn: true,
    replayWindow: 1024,
    sequenceNumber: direction === 'outbound' ? 1n : 0n,
    reservedUpTo: null,
    tfcPadToBytes: 0,
    dontFragment: 'copy',
  };
}

const OUTBOUND = contractSa('outbound', 0xc000_0001);
const INBOUND = contractSa('inbound', 0xc000_0002);

function failsWith(code: string): unknown {
  return expect.objectContaining({ code });
}

/**
 * The contract of `Dataplane`: each verb, each error code, the order of events, and close in every
 * state. `make` builds a fresh, unopened subject for each case.
 */
export function runDataplaneContract(
  name: string,
  make: () => ContractSubject | Promise<ContractSubject>,
  abilities: { /** Subjects have `receiveFirstPacket`. */ readonly receives: boolean },
): void {
  describe(`dataplane contract: ${name}`, () => {
    let subject: ContractSubject;
    let dataplane: Dataplane;
    let events: DataplaneEvent[];

    beforeEach(async () => {
      subject = await make();
      ({ dataplane } = subject);
      events = [];
      dataplane.onEvents((batch) => events.push(...batch));
    });

    afterEach(async () => {
      await dataplane.close();
      await subject.cleanUp?.();
    });

    async function opened(): Promise<void> {
      await dataplane.open(subject.options);
      await dataplane.replaceSpd(CONTRACT_SPD);
    }

    describe('open', () => {
      it('says what was opened', async () => {
        const facts = await dataplane.open(subject.options);
        expect(facts.interface).toBe(subject.options.interface.name);
        expect(facts.mtu).toBe(subject.options.interface.mtu);
        expect(facts.guardTakenOver).toBe(false);
      });

      it('turns on no offload that was switched off', async () => {
        const facts = await dataplane.open(subject.options);
        expect(facts.offload).toEqual(subject.options.offload);
      });

      it('is refused while open', async () => {
        await dataplane.open(subject.options);
        await expect(dataplane.open(subject.options)).rejects.toEqual(failsWith('IPSEC_ERR_USAGE'));
      });
    });

    describe('before open', () => {
      it.each<[string, () => Promise<unknown>]>([
        ['replaceSpd', () => dataplane.replaceSpd(CONTRACT_SPD)],
        ['addSa', () => dataplane.addSa(OUTBOUND)],
        ['reserve', () => dataplane.reserve(OUTBOUND.id, 1n)],
        ['deleteSa', () => dataplane.deleteSa(OUTBOUND.id)],
        ['querySad', () => dataplane.querySad()],
        ['counters', () => dataplane.counters()],
        ['addSas', () => dataplane.addSas([OUTBOUND])],
        ['deleteSas', () => dataplane.deleteSas([OUTBOUND.id])],
        ['querySas', () => dataplane.querySas([OUTBOUND.id])],
        ['sendIke', () => dataplane.sendIke([])],
        ['sendKeepalive', () => dataplane.sendKeepalive([])],
      ])('%s is refused', async (_verb, call) => {
        await expect(call()).rejects.toEqual(failsWith('IPSEC_ERR_CLOSED'));
      });
    });

    describe('replaceSpd', () => {
      it('takes an empty SPD and a later one', async () => {
        await dataplane.open(subject.options);
        await dataplane.replaceSpd({ version: 1, entries: [] });
        await dataplane.replaceSpd({ ...CONTRACT_SPD, version: 2 });
        await dataplane.addSa(OUTBOUND);
      });

      it('refuses two entries of one name and keeps the SPD in force', async () => {
        await opened();
        const [first] = CONTRACT_SPD.entries;
        const twice = { version: 2, entries: first === undefined ? [] : [first, first] };
        await expect(dataplane.replaceSpd(twice)).rejects.toEqual(
          failsWith('IPSEC_ERR_SPD_INVALID'),
        );
        await dataplane.addSa(OUTBOUND);
      });
    });

    describe('addSa', () => {
      beforeEach(opened);

      it('adds both directions, which are told apart', async () => {
        await dataplane.addSa(OUTBOUND);
        await dataplane.addSa(INBOUND);
        await dataplane.addSa(contractSa('inbound', OUTBOUND.id.spi));
        const ids = (await dataplane.querySad()).map((sa) => sa.id);
        expect(ids).toHaveLength(3);
        expect(ids).toContainEqual(OUTBOUND.id);
        expect(ids).toContainEqual(INBOUND.id);
        expect(ids).toContainEqual({ direction: 'inbound', spi: OUTBOUND.id.spi });
      });

      it('rejects a duplicate and keeps the first', async () => {
        await dataplane.addSa(OUTBOUND);
        await expect(dataplane.addSa(OUTBOUND)).rejects.toEqual(failsWith('IPSEC_ERR_SA_EXISTS'));
        expect(await dataplane.querySad()).toHaveLength(1);
      });

      it('copies the key: the caller zeroes its own', async () => {
        const key = Uint8Array.from(OUTBOUND.key);
        await dataplane.addSa({ ...OUTBOUND, key });
        expect(key).toEqual(OUTBOUND.key);
        key.fill(0);
        expect(await dataplane.querySad()).toHaveLength(1);
      });

      it.each<[string, Partial<SaValue>]>([
        ['an SPI that is reserved', { id: { direction: 'inbound', spi: 255 } }],
        ['an SPI of zero', { id: { direction: 'inbound', spi: 0 } }],
        ['an SPI past 32 bits', { id: { direction: 'inbound', spi: 2 ** 32 } }],
        ['an SPI with a fraction', { id: { direction: 'inbound', spi: 1000.5 } }],
        ['a key that is too short', { key: new Uint8Array(35) }],
        ['a key that is too long', { key: new Uint8Array(37) }],
        ['an address that is none', { remote: '127.0.0.256' }],
        ['addresses of two families', { remote: '::1' }],
        ['a replay window that is no power of two', { replayWindow: 100 }],
        ['a replay window that is too small', { replayWindow: 32 }],
        ['a replay window that is too large', { replayWindow: 131_072 }],
        ['a negative sequence number', { sequenceNumber: -1n }],
        ['a port of zero', { remotePort: 0 }],
      ])('refuses %s', async (_what, change) => {
        await expect(dataplane.addSa({ ...INBOUND, ...change })).rejects.toEqual(
          failsWith('IPSEC_ERR_SA_INVALID'),
        );
        expect(await dataplane.querySad()).toEqual([]);
      });

      it('refuses an entry that does not exist or does not protect', async () => {
        for (const entry of ['nowhere', 'clear']) {
          await expect(dataplane.addSa({ ...INBOUND, entry })).rejects.toEqual(
            failsWith('IPSEC_ERR_SPD_ENTRY_UNKNOWN'),
          );
        }
      });

      it('starts an outbound SA before its first number, an inbound one at its edge', async () => {
        await dataplane.addSa({ ...OUTBOUND, sequenceNumber: 5001n, reservedUpTo: 9000n });
        await dataplane.addSa({ ...INBOUND, sequenceNumber: 7000n, reservedUpTo: 8000n });
        const states = await dataplane.querySad();
        expect(states.find((sa) => sa.id.direction === 'outbound')).toMatchObject({
          sequenceNumber: 5000n,
          reservedUpTo: 9000n,
          packets: 0n,
          bytes: 0n,
          idleMs: null,
          drops: {},
        });
        expect(states.find((sa) => sa.id.direction === 'inbound')).toMatchObject({
          sequenceNumber: 7000n,
          reservedUpTo: 8000n,
        });
      });

      it('keeps sequence numbers of 64 bits exact', async () => {
        const large = 2n ** 63n + 12_345n;
        await dataplane.addSa({ ...INBOUND, sequenceNumber: large, reservedUpTo: large + 1n });
        expect(await dataplane.querySad()).toMatchObject([
          { sequenceNumber: large, reservedUpTo: large + 1n },
        ]);
      });
    });

    describe('several at once', () => {
      beforeEach(opened);

      it('addSas adds all', async () => {
        await dataplane.addSas([OUTBOUND, INBOUND, contractSa('outbound', 0xc000_0003)]);
        expect(await dataplane.querySad()).toHaveLength(3);
        await dataplane.addSas([]);
        expect(await dataplane.querySad()).toHaveLength(3);
      });

      it('addSas adds none where one is refused', async () => {
        await dataplane.addSa(OUTBOUND);
        for (const [last, code] of [
          [OUTBOUND, 'IPSEC_ERR_SA_EXISTS'],
          [INBOUND, 'IPSEC_ERR_SA_EXISTS'],
          [
            { ...contractSa('outbound', 0xc000_0004), entry: 'clear' },
            'IPSEC_ERR_SPD_ENTRY_UNKNOWN',
          ],
          [
            { ...contractSa('inbound', 0xc000_0004), key: new Uint8Array(1) },
            'IPSEC_ERR_SA_INVALID',
          ],
        ] as const) {
          const sas = [INBOUND, contractSa('outbound', 0xc000_0003), last];
          await expect(dataplane.addSas(sas)).rejects.toEqual(failsWith(code));
          expect((await dataplane.querySad()).map(({ id }) => id)).toEqual([OUTBOUND.id]);
        }
        await dataplane.addSas([INBOUND, contractSa('outbound', 0xc000_0003)]);
      });

      it('querySas and deleteSas leave out what is not there', async () => {
        await dataplane.addSas([OUTBOUND, INBOUND]);
        const ids = [INBOUND.id, { direction: 'inbound', spi: 0xc000_0009 }] as const;
        expect((await dataplane.querySas(ids)).map(({ id }) => id)).toEqual([INBOUND.id]);
        expect(await dataplane.querySas([INBOUND.id])).toMatchObject([
          { entry: 'lan', packets: 0n, bytes: 0n, idleMs: null, drops: {} },
        ]);
        expect((await dataplane.deleteSas(ids)).map(({ id }) => id)).toEqual([INBOUND.id]);
        expect((await dataplane.querySad()).map(({ id }) => id)).toEqual([OUTBOUND.id]);
        await dataplane.addSa(INBOUND);
      });

      it('holds thousands', async () => {
        const many = Array.from({ length: 2_000 }, (_, index) => [
          contractSa('inbound', 0xd000_0000 + index),
          contractSa('outbound', 0xd000_0000 + index),
        ]).flat();
        await dataplane.addSas(many);
        expect(await dataplane.querySad()).toHaveLength(4_000);
        expect(await dataplane.deleteSas(many.map(({ id }) => id))).toHaveLength(4_000);
        expect(await dataplane.querySad()).toEqual([]);
      });
    });

    describe('reserve', () => {
      beforeEach(opened);

      it('raises an outbound reservation and never lowers it', async () => {
        await dataplane.addSa({ ...OUTBOUND, reservedUpTo: 100n });
        await dataplane.reserve(OUTBOUND.id, 200n);
        expect(await dataplane.querySad()).toMatchObject([{ reservedUpTo: 200n }]);
        expect(await dataplane.reserve(OUTBOUND.id, 150n)).toBe(200n);
        expect(await dataplane.querySad()).toMatchObject([{ reservedUpTo: 200n }]);
      });

      it('lowers an inbound bound, never below what was accepted', async () => {
        await dataplane.addSa({ ...INBOUND, sequenceNumber: 7000n, reservedUpTo: 8000n });
        expect(await dataplane.reserve(INBOUND.id, 7100n)).toBe(7100n);
        expect(await dataplane.querySad()).toMatchObject([{ reservedUpTo: 7100n }]);
        expect(await dataplane.reserve(INBOUND.id, 6000n)).toBe(7000n);
        expect(await dataplane.reserve(INBOUND.id, 9000n)).toBe(9000n);
      });

      it('is refused for an SA without a reservation, and for none', async () => {
        await dataplane.addSa(OUTBOUND);
        await expect(dataplane.reserve(OUTBOUND.id, 1n)).rejects.toEqual(
          failsWith('IPSEC_ERR_SA_INVALID'),
        );
        await expect(dataplane.reserve(INBOUND.id, 1n)).rejects.toEqual(
          failsWith('IPSEC_ERR_SA_UNKNOWN'),
        );
      });
    });

    describe('updateSa', () => {
      beforeEach(opened);

      it('takes a new endpoint', async () => {
        await dataplane.addSa(OUTBOUND);
        await dataplane.updateSa(OUTBOUND.id, { ...OUTBOUND, remote: '127.0.0.3' });
        await dataplane.addSa(INBOUND);
        await dataplane.updateSa(INBOUND.id, { ...INBOUND, local: '127.0.0.4', localPort: 4501 });
      });

      it('refuses what is no endpoint, and an SA that does not exist', async () => {
        await dataplane.addSa(OUTBOUND);
        await expect(
          dataplane.updateSa(OUTBOUND.id, { ...OUTBOUND, remote: 'nowhere' }),
        ).rejects.toEqual(failsWith('IPSEC_ERR_SA_INVALID'));
        await expect(
          dataplane.updateSa(OUTBOUND.id, { ...OUTBOUND, local: '::1' }),
        ).rejects.toEqual(failsWith('IPSEC_ERR_SA_INVALID'));
        await expect(
          dataplane.updateSa(INBOUND.id, { ...INBOUND, remote: '127.0.0.3' }),
        ).rejects.toEqual(failsWith('IPSEC_ERR_SA_UNKNOWN'));
      });
    });

    describe('deleteSa', () => {
      beforeEach(opened);

      it('returns the final state and frees the SPI', async () => {
        await dataplane.addSa({ ...OUTBOUND, sequenceNumber: 42n });
        const final = await dataplane.deleteSa(OUTBOUND.id);
        expect(final).toMatchObject({ id: OUTBOUND.id, entry: 'lan', sequenceNumber: 41n });
        expect(final.ageMs).toBeGreaterThanOrEqual(0);
        expect(await dataplane.querySad()).toEqual([]);
        await dataplane.addSa(OUTBOUND);
      });

      it('is refused for an SA that does not exist', async () => {
        await expect(dataplane.deleteSa(OUTBOUND.id)).rejects.toEqual(
          failsWith('IPSEC_ERR_SA_UNKNOWN'),
        );
      });
    });

    describe('counters', () => {
      it('answers bigint values by name', async () => {
        await opened();
        const { counters, drops } = await dataplane.counters();
        for (const [counter, value] of [...Object.entries(counters), ...Object.entries(drops)]) {
          expect(counter).toMatch(/^[a-z][a-z0-9_]*$/);
          expect(typeof value).toBe('bigint');
        }
      });
    });

    describe('close', () => {
      it('is idempotent, also before open', async () => {
        await dataplane.close();
        await dataplane.close();
      });

      it('waits for, or follows, an open under way', async () => {
        const opening = dataplane.open(subject.options).catch(() => undefined);
        await dataplane.close();
        await opening;
        await dataplane.close();
      });

      it('closes with SAs installed and an SPD in force', async () => {
        await opened();
        await dataplane.addSa(OUTBOUND);
        await dataplane.addSa(INBOUND);
        await dataplane.close();
      });

      it('closes with verbs under way: each settles', async () => {
        await opened();
        const verbs = [
          dataplane.addSa(OUTBOUND),
          dataplane.addSa(INBOUND),
          dataplane.replaceSpd({ ...CONTRACT_SPD, version: 2 }),
          dataplane.querySad(),
          dataplane.counters(),
        ];
        const closing = Promise.all([dataplane.close(), dataplane.close()]);
        await Promise.allSettled(verbs);
        await closing;
      });

      it('makes every verb but open fail', async () => {
        await opened();
        await dataplane.addSa(OUTBOUND);
        await dataplane.close();
        const verbs = [
          dataplane.replaceSpd(CONTRACT_SPD),
          dataplane.addSa(INBOUND),
          dataplane.reserve(OUTBOUND.id, 1n),
          dataplane.addSas([INBOUND]),
          dataplane.updateSa(OUTBOUND.id, OUTBOUND),
          dataplane.deleteSa(OUTBOUND.id),
          dataplane.deleteSas([OUTBOUND.id]),
          dataplane.querySad(),
          dataplane.querySas([OUTBOUND.id]),
          dataplane.sendIke([]),
          dataplane.sendKeepalive([]),
          dataplane.counters(),
        ];
        for (const verb of await Promise.allSettled(verbs)) {
          expect(verb).toEqual({ status: 'rejected', reason: failsWith('IPSEC_ERR_CLOSED') });
        }
      });

      it('delivers no event after it', async () => {
        await opened();
        await dataplane.addSa(INBOUND);
        const received = subject.receiveFirstPacket?.(INBOUND.id.spi);
        await dataplane.close();
        const count = events.length;
        await received;
        await new Promise((resolve) => setTimeout(resolve, 20));
        expect(events).toHaveLength(count);
      });
    });

    // Not defined where it cannot run: a test that is skipped counts as one that is missing.
    if (abilities.receives)
      describe('events', () => {
        it('come after the reply to the verb that created their SA', async () => {
          const receiveFirstPacket = subject.receiveFirstPacket ?? (() => Promise.resolve());
          await opened();
          let added = false;
          const early: DataplaneEvent[] = [];
          dataplane.onEvents((batch) => {
            if (!added) early.push(...batch);
            events.push(...batch);
          });
          const adding = dataplane.addSa(INBOUND).then(() => {
            added = true;
          });
          await Promise.all([adding, receiveFirstPacket(INBOUND.id.spi)]);
          await expect
            .poll(() => events.filter((event) => event.kind === 'firstUse'))
            .toEqual([{ kind: 'firstUse', id: INBOUND.id }]);
          expect(early).toEqual([]);
        });
      });
  });
}
