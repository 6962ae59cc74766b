/**
 * ML-KEM beside another key exchange (RFC 9370), with a strongSwan that has it: version 6, which
 * `IKE_STRONGSWAN` names. docs/interop.md says with which release these were last run.
 */
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { describeWith } from '../lab/describe-with.ts';
import { onlyChild, onlySa } from '../lab/ike-peer.ts';
import { OTHER_STRONGSWAN } from '../lab/peer.ts';
import { type BothWays, complete } from '../lab/traffic.ts';
import { sectionAt, Vici } from '../lab/vici.ts';
import { ikeMatch } from '../lab/wire-filter.ts';
import type { IkeCase } from './ike/cases.ts';
import { type Laboratory, type Side, SIDES } from './ike/laboratory.ts';
import { LABORATORY_NEEDS, useLaboratory } from './ike/use-laboratory.ts';

const NEEDS = [...LABORATORY_NEEDS, 'openssl'] as const;

const FIRST = [
  ['x25519', 'CURVE_25519'],
  ['ecp256', 'ECP_256'],
  ['ecp384', 'ECP_384'],
  ['ecp521', 'ECP_521'],
  ['modp3072', 'MODP_3072'],
] as const;
const ADDITIONAL = [
  ['mlkem768', 'ML_KEM_768'],
  ['mlkem1024', 'ML_KEM_1024'],
] as const;

interface HybridCase extends IkeCase {
  /** Of the child after a rekey: a first one has no key exchange of its own. */
  readonly rekeyed: string;
}

/** A case of the words after the ciphers, such as `x25519-ke1_mlkem768`. */
function hybrid(
  name: string,
  words: string,
  shown: string,
  change: Partial<HybridCase> = {},
): HybridCase {
  return {
    name,
    ike: `aes256gcm16-prfsha384-${words}`,
    esp: `aes256gcm16-${words}-noesn`,
    algorithms: [`AES_GCM_16-256/PRF_HMAC_SHA2_384/${shown}`, 'AES_GCM_16-256'],
    rekeyed: `AES_GCM_16-256/${shown}`,
    auth: 'psk',
    ...change,
  };
}

const PAIRS: readonly HybridCase[] = FIRST.flatMap(([first, firstName]) =>
  ADDITIONAL.map(([second, secondName]) =>
    hybrid(`${first} with ${second}`, `${first}-ke1_${second}`, `${firstName}/${secondName}`),
  ),
);

const SMALL = ['x25519-ke1_mlkem768', 'CURVE_25519/ML_KEM_768'] as const;
const LARGE = ['ecp384-ke1_mlkem1024', 'ECP_384/ML_KEM_1024'] as const;

const BESIDES: readonly HybridCase[] = [
  hybrid('a post-quantum pre-shared key besides', ...SMALL, { ppk: true }),
  hybrid(
    'both ML-KEM, one after the other',
    'x25519-ke1_mlkem768-ke2_mlkem1024',
    'CURVE_25519/ML_KEM_768/ML_KEM_1024',
  ),
  hybrid('elliptic curves as the additional one', 'x25519-ke1_ecp384', 'CURVE_25519/ECP_384'),
  hybrid(
    'none as well, ML-KEM where both have it',
    'x25519-ke1_mlkem768-ke1_none',
    'CURVE_25519/ML_KEM_768',
  ),
  hybrid('Ed25519', ...SMALL, { auth: 'ed25519' }),
  hybrid('Ed448', ...SMALL, { auth: 'raw-ed448' }),
  hybrid('RSA 2048 in chains of three, ML-KEM-1024', ...LARGE, { auth: 'rsa2048', chain: 2 }),
  hybrid('NAT in front of both', ...LARGE, { nat: ['a', 'b'] }),
];

const other = (side: Side): Side => (side === 'a' ? 'b' : 'a');

/** Datagrams that the kernel dropped because a socket of B's gateway was full: charon has no time to read. */
async function unread(lab: Laboratory): Promise<number> {
  const { stdout } = await lab.topology.b.gateway.exec(['cat', '/proc/net/snmp']);
  const [names, values] = stdout.split('\n').filter((line) => line.startsWith('Udp:'));
  const at = names?.split(' ').indexOf('RcvbufErrors') ?? -1;
  return Number(values?.split(' ')[at]);
}

/** No packet is lost but those that never came to be read on a busy machine. */
function nothingLost({ aToB, bToA }: BothWays, unreadByB: number): void {
  expect(bToA).toEqual(complete(bToA.sent));
  expect(aToB).toMatchObject({ duplicated: 0, refused: 0 });
  expect(aToB.lost, `unread: ${unreadByB}`).toBeLessThanOrEqual(unreadByB);
}

function tests(): void {
  const lab = useLaboratory();

  beforeAll(async () => {
    const { answer } = await Vici.once(lab().b.daemon.socket, 'get-algorithms', {});
    const methods = Object.keys(sectionAt(answer, 'ke'));
    expect(methods).toEqual(expect.arrayContaining(['ML_KEM_768', 'ML_KEM_1024']));
  });

  afterEach(async () => {
    await lab().topology.reset();
  });

  async function bothShow(ike: string, child: string): Promise<void> {
    for (const side of SIDES) {
      const view = onlySa(await lab().peer(side).sas());
      expect(view.algorithms, `IKE SA of ${side}`).toBe(ike);
      expect(onlyChild(view).algorithms, `child of ${side}`).toBe(child);
    }
  }

  it('ML-KEM-1024 goes in fragments, both ways', async () => {
    const { filter } = lab().topology;
    for (const from of SIDES) {
      await filter.count(
        `fragments_${from}`,
        ikeMatch({ from, marked: true, exchange: 'IKE_INTERMEDIATE' }),
      );
    }
    await lab().prepare(hybrid('fragments', ...LARGE), 'a');
    await lab().a.initiate('pair', 'net');
    for (const side of SIDES) {
      expect(await filter.packets(`fragments_${side}`), side).toBeGreaterThan(1);
    }
    await lab().a.terminate('pair');
  });

  // docs/decisions/0027: an implementation that nobody has audited is not what secrecy hangs on.
  it('ML-KEM alone is refused', async () => {
    const ikeCase = hybrid('alone', ...SMALL);
    await lab().prepare(ikeCase, 'b', { ike: 'aes256gcm16-prfsha384-mlkem768' });
    await expect(lab().b.initiate('pair', 'net')).rejects.toThrow();
    expect(lab().a.log()).toMatch(/proposal/);
    expect(await lab().a.sas()).toEqual([]);
  });

  for (const initiator of SIDES) {
    const begun = `begun by ${initiator.toUpperCase()}`;
    it.each([...PAIRS, ...BESIDES].map((each) => [each.name, each] as const))(
      `%s, with rekeys from each side under traffic, ${begun}`,
      async (_name, hybridCase) => {
        await lab().prepare(hybridCase, initiator);
        await lab().peer(initiator).initiate('pair', 'net');
        const [ike, child] = hybridCase.algorithms;
        await bothShow(ike, child);
        const before = await unread(lab());
        const flow = await lab().traffic.start();
        await flow.arrived(20);
        for (const rekeyer of SIDES) {
          await lab().peer(rekeyer).rekeyChild('pair', 'net');
          await flow.arrived(20);
          await bothShow(ike, hybridCase.rekeyed);
          await lab().peer(rekeyer).rekeyIke('pair');
          await flow.arrived(20);
          await bothShow(ike, hybridCase.rekeyed);
        }
        nothingLost(await flow.stop(), (await unread(lab())) - before);
        await lab().peer(initiator).terminate('pair');
        expect(await lab().peer(other(initiator)).sas()).toEqual([]);
      },
    );
  }
}

const TITLE = 'post-quantum key exchanges with strongSwan 6';
if (OTHER_STRONGSWAN === undefined) {
  describe.skip(`${TITLE}: IKE_STRONGSWAN=PREFIX names one`, tests);
} else {
  describeWith(NEEDS, TITLE, tests);
}
