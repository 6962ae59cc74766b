import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeWith } from './describe-with.ts';
import { onlyChild, onlySa, type PeerDescription } from './ike-peer.ts';
import { buildIkeTopology, type IkeTopology } from './ike-topology.ts';
import { Relay } from './relay.ts';
import { StrongswanPeer } from './strongswan-ike.ts';
import { STRONGSWAN_NEEDS } from './strongswan.ts';
import { complete, Traffic } from './traffic.ts';
import { EXCHANGE, ikeMatch } from './wire-filter.ts';

const NEEDS = [
  'namespaces',
  'iproute2',
  'nftables',
  'conntrack',
  'iputils-ping',
  ...STRONGSWAN_NEEDS,
] as const;

function description(
  topology: IkeTopology,
  side: 'a' | 'b',
  change: Partial<PeerDescription> = {},
): PeerDescription {
  const own = topology[side];
  const other = topology[side === 'a' ? 'b' : 'a'];
  return {
    name: 'pair',
    localAddress: own.gatewayAddress4,
    remoteAddress: side === 'a' ? other.box.publicAddress : '%any',
    local: { id: `${side}.example`, auth: 'psk' },
    remote: { id: `${side === 'a' ? 'b' : 'a'}.example`, auth: 'psk' },
    credentials: { psk: 'laboratory' },
    proposals: ['aes128gcm16-prfsha256-x25519'],
    children: [
      { name: 'net', local: [own.prefix4], remote: [other.prefix4], proposals: ['aes128gcm16'] },
    ],
    ...change,
  };
}

describeWith(NEEDS, 'the laboratory for IKEv2', () => {
  let topology: IkeTopology | undefined;
  let a: StrongswanPeer | undefined;
  let b: StrongswanPeer | undefined;
  let traffic: Traffic | undefined;

  function lab() {
    if (!topology || !a || !b || !traffic) throw new Error('nothing was started');
    return { topology, a, b, traffic };
  }

  async function bothLoad(change: Partial<PeerDescription> = {}): Promise<void> {
    const all = lab();
    await all.a.load([description(all.topology, 'a', change)]);
    await all.b.load([description(all.topology, 'b', change)]);
  }

  beforeAll(async () => {
    topology = await buildIkeTopology();
    a = await StrongswanPeer.start({ namespace: topology.a.gateway });
    b = await StrongswanPeer.start({ namespace: topology.b.gateway });
    traffic = await Traffic.open(
      { namespace: topology.a.host, address: topology.a.hostAddress4 },
      { namespace: topology.b.host, address: topology.b.hostAddress4 },
    );
  });

  afterAll(async () => {
    await traffic?.[Symbol.asyncDispose]();
    await a?.stop();
    await b?.stop();
    await topology?.close();
  });

  it('has no way between the sites but an SA', async () => {
    const { topology, traffic } = lab();
    expect(await topology.a.gateway.ping(topology.b.gatewayAddress4)).toBe(true);
    expect(await topology.a.gateway.ping(topology.b.gatewayAddress6)).toBe(true);
    expect(await traffic.transfer({ count: 5 })).toMatchObject({
      aToB: { received: 0, lost: 5 },
      bToA: { received: 0, lost: 5 },
    });
  });

  it('lets two daemons agree, and counts what passes', async () => {
    const { a, b, traffic } = lab();
    await bothLoad();
    await a.initiate('pair', 'net');
    expect(await traffic.transfer()).toEqual({ aToB: complete(50), bToA: complete(50) });
    for (const [peer, role] of [
      [a, 'initiator'],
      [b, 'responder'],
    ] as const) {
      const sa = onlySa(await peer.sas());
      expect(sa).toMatchObject({
        role,
        algorithms: 'AES_GCM_16-128/PRF_HMAC_SHA2_256/CURVE_25519',
        natLocal: false,
        // What has its ESP in the daemon says that it is behind NAT, for the encapsulation.
        natRemote: true,
      });
      expect(onlyChild(sa)).toMatchObject({
        name: 'net',
        packetsIn: 50,
        packetsOut: 50,
        algorithms: 'AES_GCM_16-128',
      });
    }
    await a.terminate('pair');
    expect(await b.sas()).toEqual([]);
  });

  it('loses nothing at a rekey of the child and of the IKE SA', async () => {
    const { a, b, traffic } = lab();
    await bothLoad();
    await a.initiate('pair', 'net');
    const flow = await traffic.start();
    await flow.arrived(50);
    await a.rekeyChild('pair', 'net');
    await b.rekeyChild('pair', 'net');
    await a.rekeyIke('pair');
    await b.rekeyIke('pair');
    await flow.arrived(50);
    const { aToB, bToA } = await flow.stop();
    expect({ aToB, bToA }).toEqual({ aToB: complete(aToB.sent), bToA: complete(bToA.sent) });
  });

  it('puts either side behind NAT, and changes the mapping', async () => {
    const { topology, a, b, traffic } = lab();
    await topology.a.box.on();
    await topology.b.box.on();
    // The peer learns the new mapping from the next message of A.
    await bothLoad({ dpdSeconds: 1 });
    await a.initiate('pair', 'net');
    const before = onlySa(await b.sas());
    expect(before).toMatchObject({ natLocal: true, natRemote: true });
    expect(before.remote.address).toBe(topology.a.box.publicAddress);
    expect(before.remote.port).not.toBe(4500);
    await topology.a.box.remap();
    const flow = await traffic.start({ perSecond: 100 });
    await flow.arrived(20);
    await flow.stop();
    const after = onlySa(await b.sas());
    expect(after.initiatorSpi).toBe(before.initiatorSpi);
    expect(after.remote.port).not.toBe(before.remote.port);
    expect(await traffic.transfer()).toEqual({ aToB: complete(50), bToA: complete(50) });
    await topology.reset();
  });

  it('drops what it is told to, so many times', async () => {
    const { topology, a, b } = lab();
    await bothLoad();
    const { filter } = topology;
    await filter.drop(
      'inits',
      ikeMatch({ from: 'a', exchange: 'IKE_SA_INIT', response: false }),
      2,
    );
    await filter.drop(
      'auths',
      ikeMatch({ from: 'b', exchange: 'IKE_AUTH', response: true, marked: true }),
      1,
    );
    await a.initiate('pair', 'net');
    expect(await filter.packets('inits')).toBe(2);
    expect(await filter.packets('auths')).toBe(1);
    expect(a.log()).toMatch(/retransmit 2 of request with message ID 0/);
    onlyChild(onlySa(await b.sas()));
    await topology.reset();
  });

  it('relays: loses, doubles and delays what it is told to, and what chance says', async () => {
    const { topology, a, b, traffic } = lab();
    await topology.reset();
    await bothLoad();
    await using relay = await Relay.start({
      router: topology.wire,
      a: topology.a.gatewayAddress4,
      b: topology.b.gatewayAddress4,
    });
    await relay.behave({
      rules: [
        { exchange: EXCHANGE.IKE_SA_INIT, response: true, action: 'drop', count: 1 },
        { exchange: EXCHANGE.IKE_AUTH, response: false, action: 'double', count: 1 },
        { exchange: EXCHANGE.IKE_AUTH, response: true, action: 'delay', delayMs: 100, count: 1 },
      ],
    });
    await a.initiate('pair', 'net');
    const seen = await relay.seen();
    const actions = seen.filter(({ action }) => action !== 'pass').map(({ action }) => action);
    expect(actions).toEqual(['drop', 'double', 'delay']);
    expect(seen[0]).toMatchObject({ from: 'a', port: 500, exchange: 34, messageId: 0 });
    // The peers see no translation.
    expect(onlySa(await a.sas())).toMatchObject({
      natLocal: false,
      remote: { address: topology.b.gatewayAddress4, port: 4500 },
    });
    expect(await traffic.transfer()).toEqual({ aToB: complete(50), bToA: complete(50) });
    await relay.behave({ seed: 5, random: { drop: 0.2, double: 0.1, delayMs: 30 } });
    const { aToB, bToA } = await traffic.transfer({ count: 200 });
    for (const way of [aToB, bToA]) {
      expect(way.lost).toBeGreaterThan(0);
      expect(way.received).toBeGreaterThan(100);
      expect(way.reordered).toBeGreaterThan(0);
      // The replay window takes the second of two.
      expect(way.duplicated).toBe(0);
    }
    await relay.behave({});
    await a.terminate('pair');
    expect(await b.sas()).toEqual([]);
  });
});
