import { afterEach, expect, it } from 'vitest';
import { until } from '../lab/command.ts';
import { describeWith } from '../lab/describe-with.ts';
import { onlyChild, onlySa, type PeerDescription } from '../lab/ike-peer.ts';
import { type BothWays, complete } from '../lab/traffic.ts';
import { ikeMatch } from '../lab/wire-filter.ts';
import { type IkeCase, PATH_CASES } from './ike/cases.ts';
import { EVERY_CASE, type Side, SIDES } from './ike/laboratory.ts';
import { LABORATORY_NEEDS, useLaboratory } from './ike/use-laboratory.ts';

const PATIENCE_MS = 30_000;
const other = (side: Side): Side => (side === 'a' ? 'b' : 'a');

function pathCase(name: string): IkeCase {
  const found = PATH_CASES.find((each) => each.name === name);
  if (found === undefined) throw new Error(`no case ${name}`);
  return found;
}

const PLAIN = pathCase('no NAT');

function nothingLost({ aToB, bToA }: BothWays): void {
  expect({ aToB, bToA }).toEqual({ aToB: complete(aToB.sent), bToA: complete(bToA.sent) });
}

describeWith(LABORATORY_NEEDS, 'the life of a peer, with strongSwan', () => {
  const lab = useLaboratory();

  afterEach(async () => {
    await lab().topology.reset();
  });

  /** Both sides told, with what a test changes of each. */
  async function load(
    initiator: Side,
    change: (side: Side, description: PeerDescription) => Partial<PeerDescription> = () => ({}),
    ikeCase: IkeCase = PLAIN,
  ): Promise<void> {
    // NAT and the rest of the path, then the descriptions anew with the changes.
    await lab().prepare(ikeCase, initiator);
    for (const side of SIDES) {
      const description = await lab().describe(ikeCase, side, initiator);
      await lab()
        .peer(side)
        .load([{ ...description, ...change(side, description) }]);
    }
  }

  // A laboratory that is only proving itself needs one direction.
  for (const initiator of EVERY_CASE ? SIDES : SIDES.slice(0, 1)) {
    const begun = `begun by ${initiator.toUpperCase()}`;
    for (const rekeyer of SIDES) {
      it(`loses no packet when ${rekeyer.toUpperCase()} rekeys child and IKE SA, ${begun}`, async () => {
        await load(initiator);
        await lab().peer(initiator).initiate('pair', 'net');
        const flow = await lab().traffic.start();
        await flow.arrived(50);
        for (let round = 0; round < 3; round += 1) {
          await lab().peer(rekeyer).rekeyChild('pair', 'net');
          await flow.arrived(20);
          await lab().peer(rekeyer).rekeyIke('pair');
          await flow.arrived(20);
        }
        nothingLost(await flow.stop());
        for (const side of SIDES) onlyChild(onlySa(await lab().peer(side).sas()));
      });
    }

    it(`loses no packet when both rekey at once, ${begun}`, async () => {
      await load(initiator);
      await lab().peer(initiator).initiate('pair', 'net');
      const flow = await lab().traffic.start();
      await flow.arrived(50);
      const before = onlyChild(onlySa(await lab().b.sas())).spiIn;
      await Promise.all(SIDES.map((side) => lab().peer(side).rekeyChild('pair', 'net')));
      await until('both have one child', async () => {
        const views = await Promise.all(SIDES.map((side) => lab().peer(side).sas()));
        const spis = views.map((each) => onlySa(each).children.map(({ spiIn }) => spiIn));
        return spis.every((each) => each.length === 1 && !each.includes(before));
      });
      await flow.arrived(50);
      nothingLost(await flow.stop());
    });

    it(`loses no packet when the answer to a rekey is late and the Delete is lost, ${begun}`, async () => {
      await load(initiator);
      await lab().peer(initiator).initiate('pair', 'net');
      const { filter } = lab().topology;
      const flow = await lab().traffic.start();
      await flow.arrived(50);
      await filter.drop(
        'answers',
        ikeMatch({ marked: true, exchange: 'CREATE_CHILD_SA', response: true }),
        1,
      );
      await filter.drop(
        'deletes',
        ikeMatch({ marked: true, exchange: 'INFORMATIONAL', response: false }),
        1,
      );
      await lab().peer(initiator).rekeyChild('pair', 'net');
      await until(
        'the Delete was lost once',
        async () => (await filter.packets('deletes')) === 1,
        PATIENCE_MS,
      );
      expect(await filter.packets('answers')).toBe(1);
      await flow.arrived(200);
      nothingLost(await flow.stop());
    });

    it(`narrows to what both want, ${begun}`, async () => {
      await load(initiator, (side, { children }) =>
        side === initiator
          ? {}
          : {
              children: children.map((child) => ({
                ...child,
                local: child.local.map((prefix) => prefix.replace('.0/24', '.0/29')),
                remote: child.remote.map((prefix) => prefix.replace('.0/24', '.0/29')),
              })),
            },
      );
      await lab().peer(initiator).initiate('pair', 'net');
      expect(onlyChild(onlySa(await lab().a.sas()))).toMatchObject({
        localSelectors: ['10.1.0.0/29'],
        remoteSelectors: ['10.2.0.0/29'],
      });
      expect(onlyChild(onlySa(await lab().b.sas()))).toMatchObject({
        localSelectors: ['10.2.0.0/29'],
        remoteSelectors: ['10.1.0.0/29'],
      });
      nothingLost(await lab().traffic.transfer());
    });

    it(`has several children, and ends one of them, ${begun}`, async () => {
      const family = { net: /\./, net6: /:/ } as const;
      await load(initiator, (side) => {
        const [own, peer] = [lab().topology[side], lab().topology[other(side)]];
        return {
          children: [
            {
              name: 'net',
              local: [own.prefix4],
              remote: [peer.prefix4],
              proposals: ['aes256gcm16'],
            },
            {
              name: 'net6',
              local: [own.prefix6],
              remote: [peer.prefix6],
              proposals: ['chacha20poly1305-x25519'],
            },
          ],
        };
      });
      const peer = lab().peer(initiator);
      await peer.initiate('pair', 'net');
      await peer.initiate('pair', 'net6');
      for (const side of SIDES) {
        const view = onlySa(await lab().peer(side).sas());
        expect(view.children.map(({ name }) => name).sort()).toEqual(['net', 'net6']);
        for (const child of view.children) {
          const wanted = child.name === 'net' ? family.net : family.net6;
          expect(child.localSelectors.every((each) => wanted.test(each))).toBe(true);
        }
      }
      for (const transfer of await lab().transfers({ ...PLAIN, inner: [4, 6] })) {
        nothingLost(transfer);
      }
      await peer.terminateChild('pair', 'net6');
      for (const side of SIDES) {
        expect(onlyChild(onlySa(await lab().peer(side).sas())).name).toBe('net');
      }
      nothingLost(await lab().traffic.transfer());
    });

    // RFC 7296 section 2.23: the side that is not behind NAT follows.
    it(`follows a changed NAT mapping of ${initiator.toUpperCase()}, ${begun}`, async () => {
      const follower = lab().peer(other(initiator));
      const { box } = lab().topology[initiator];
      await load(
        initiator,
        () => ({ dpdSeconds: 1 }),
        pathCase(`NAT in front of ${initiator.toUpperCase()}`),
      );
      await lab().peer(initiator).initiate('pair', 'net');
      const before = onlySa(await follower.sas());
      await box.remap({ address: true });
      await until(
        'the other side follows',
        async () => {
          const { aToB, bToA } = await lab().traffic.transfer({ count: 2 });
          return aToB.lost === 0 && bToA.lost === 0;
        },
        PATIENCE_MS,
      );
      const { remote, initiatorSpi } = onlySa(await follower.sas());
      expect(remote.address).toBe(box.publicAddress);
      expect(remote.address).not.toBe(before.remote.address);
      expect(initiatorSpi).toBe(before.initiatorSpi);
      nothingLost(await lab().traffic.transfer());
    });

    it(`is told of by a first exchange that is lost in part, ${begun}`, async () => {
      await load(initiator);
      const { filter } = lab().topology;
      await filter.drop('asked', ikeMatch({ exchange: 'IKE_SA_INIT', response: false }), 1);
      await filter.drop('answered', ikeMatch({ exchange: 'IKE_SA_INIT', response: true }), 1);
      await filter.drop(
        'proved',
        ikeMatch({ exchange: 'IKE_AUTH', response: true, marked: true }),
        1,
      );
      await lab().peer(initiator).initiate('pair', 'net');
      for (const name of ['asked', 'answered', 'proved']) {
        expect(await filter.packets(name), name).toBe(1);
      }
      for (const side of SIDES) onlyChild(onlySa(await lab().peer(side).sas()));
      nothingLost(await lab().traffic.transfer());
    });
  }
});
