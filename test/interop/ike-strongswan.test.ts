import { describe, expect, it } from 'vitest';
import { describeWith } from '../lab/describe-with.ts';
import { onlyChild, onlySa } from '../lab/ike-peer.ts';
import { complete } from '../lab/traffic.ts';
import { AUTH_CASES, CIPHER_CASES, type IkeCase, PATH_CASES, REFUSALS } from './ike/cases.ts';
import { DATAGRAMS, EVERY_CASE, OURS_IS_READY, type Side, SIDES } from './ike/laboratory.ts';
import { LABORATORY_NEEDS, useLaboratory } from './ike/use-laboratory.ts';

const NEEDS = [...LABORATORY_NEEDS, 'openssl'] as const;

/** All, or those that are this side's turn to begin. */
function chosen<T>(all: readonly T[], initiator: Side): readonly T[] {
  return EVERY_CASE ? all : all.filter((_case, index) => SIDES[index % 2] === initiator);
}

/** The datapath has no AES-192-GCM. */
const CIPHERS = CIPHER_CASES.filter(({ esp }) => !OURS_IS_READY || !esp.includes('aes192gcm'));

const other = (side: Side): Side => (side === 'a' ? 'b' : 'a');

describeWith(NEEDS, 'IKEv2 with strongSwan', () => {
  const lab = useLaboratory();

  /** Negotiates, sends, and holds what both sides say of it against the case. */
  async function agree(ikeCase: IkeCase, initiator: Side): Promise<void> {
    const { topology } = lab();
    await lab().prepare(ikeCase, initiator);
    await lab().peer(initiator).initiate('pair', 'net');
    const families = ikeCase.inner ?? [4];
    const whole = complete(DATAGRAMS);
    expect(await lab().transfers(ikeCase)).toEqual(
      families.map(() => ({ aToB: whole, bToA: whole })),
    );
    const views = {
      a: onlySa(await lab().a.sas()),
      b: onlySa(await lab().b.sas()),
    };
    const [ikeAlgorithms, childAlgorithms] = ikeCase.algorithms;
    const ids = ikeCase.identities?.shown ??
      ikeCase.identities ?? { a: 'a.example', b: 'b.example' };
    for (const side of SIDES) {
      const own = topology[side];
      const peer = topology[other(side)];
      const view = views[side];
      const prefixes = (site: typeof own): readonly string[] =>
        families.map((family) => (family === 4 ? site.prefix4 : site.prefix6));
      expect(view, `IKE SA of ${side}`).toMatchObject({
        name: 'pair',
        role: side === initiator ? 'initiator' : 'responder',
        algorithms: ikeAlgorithms,
        local: {
          address: ikeCase.outer === 6 ? own.gatewayAddress6 : own.gatewayAddress4,
        },
        remote: { address: ikeCase.outer === 6 ? peer.gatewayAddress6 : peer.box.publicAddress },
        natLocal: ikeCase.nat?.includes(side) ?? false,
      });
      // The product says of which kind an identity is where its text does not.
      const plainId = (id: string): string => id.replace(/^keyid:/, '');
      expect(plainId(view.local.id)).toBe(plainId(ids[side]));
      expect(plainId(view.remote.id)).toBe(plainId(ids[other(side)]));
      const packets = DATAGRAMS * families.length;
      expect(onlyChild(view), `child of ${side}`).toMatchObject({
        name: 'net',
        mode: 'TUNNEL',
        protocol: 'ESP',
        algorithms: childAlgorithms,
        udpEncapsulated: true,
        esn: false,
        localSelectors: prefixes(own),
        remoteSelectors: prefixes(peer),
        packetsIn: packets,
        packetsOut: packets,
        spiIn: onlyChild(views[other(side)]).spiOut,
      });
    }
    expect(views.a.initiatorSpi).toBe(views.b.initiatorSpi);
    expect(views.a.responderSpi).toBe(views.b.responderSpi);
    await lab().peer(initiator).terminate('pair');
    expect(await lab().peer(other(initiator)).sas()).toEqual([]);
  }

  for (const [title, cases] of [
    ['algorithms', CIPHERS],
    ['authentication', AUTH_CASES],
    ['paths', PATH_CASES],
  ] as const) {
    describe(title, () => {
      for (const initiator of SIDES) {
        it.each(chosen(cases, initiator).map((each) => [each.name, each] as const))(
          `%s, begun by ${initiator.toUpperCase()}`,
          (_name, ikeCase) => agree(ikeCase, initiator),
        );
      }
    });
  }

  describe('refusals', () => {
    for (const initiator of SIDES) {
      it.each(chosen(REFUSALS, initiator).map((each) => [each.name, each] as const))(
        `%s, begun by ${initiator.toUpperCase()}`,
        async (_name, refusal) => {
          await lab().prepare(refusal.case, initiator, refusal.wrong);
          await expect(lab().peer(initiator).initiate('pair', 'net')).rejects.toThrow();
          const says = refusal.says[lab().a.kind === 'strongswan' ? 'strongswan' : 'ours'];
          expect(lab().a.log()).toMatch(says);
          const children = [...(await lab().a.sas()), ...(await lab().b.sas())].flatMap(
            (view) => view.children,
          );
          expect(children).toEqual([]);
        },
      );
    }
  });
});
