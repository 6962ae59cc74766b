import { describe, expect, it } from 'vitest';
import {
  section,
  type SectionFields,
  type ViciSection,
} from '../../../../packages/ipsec-node/src/daemon/vici/codec.js';
import { readConn } from '../../../../packages/ipsec-node/src/daemon/vici/load-conn.js';
import { LoadedConns } from '../../../../packages/ipsec-node/src/daemon/vici/loaded-conns.js';
import { readTrafficSelectors } from '../../../../packages/ipsec-node/src/daemon/vici/traffic-selector-parse.js';
import { trafficSelectorTexts } from '../../../../packages/ipsec-node/src/daemon/vici/traffic-selector-text.js';
import { FakeIke } from '../fake-ike.js';

const psk = (id: string): ViciSection =>
  section([
    ['auth', 'psk'],
    ['id', id],
  ]);

function conn(fields: SectionFields, children: ViciSection = section()) {
  return section([
    ['remote_addrs', ['198.51.100.2']],
    ['local_addrs', ['192.0.2.1']],
    ['local-1', psk('hq.example')],
    ['remote-1', psk('branch.example')],
    ['children', children],
    ...fields,
  ]);
}

const lan = (fields: SectionFields = []): ViciSection =>
  section([
    ['lan', section([['local_ts', ['10.1.0.0/16']], ['remote_ts', ['10.2.0.0/16']], ...fields])],
  ]);

describe('load-conn', () => {
  it("has strongSwan's defaults (swanctl.conf(5))", () => {
    const { entry } = readConn('b', conn([], lan()));
    expect(entry).toMatchObject({
      remotePort: 500,
      rekeyMs: 4 * 3_600_000,
      hardMs: 15_840_000,
      livenessMs: 0,
      encapsulation: 'auto',
      fragmentation: true,
      mobike: true,
      unique: 'no',
      onDeath: 'clear',
    });
    expect(entry.children[0]).toMatchObject({
      mode: 'tunnel',
      start: 'none',
      onClose: 'clear',
      lifetime: { rekeyMs: 3_600_000, hardMs: 3_960_000, rekeyBytes: 0n, rekeyPackets: 0n },
      tfcPadToBytes: 0,
      dontFragment: 'copy',
    });
  });

  it('knows where a peer may be', () => {
    const hosts = (...texts: readonly string[]) =>
      readConn('b', conn([['remote_addrs', texts]], lan())).entry.hosts;
    expect(hosts()).toEqual([{ kind: 'any' }]);
    expect(hosts('%any')).toEqual([{ kind: 'any' }]);
    expect(hosts('10.0.0.0/30', '10.0.0.9-10.0.0.11', 'gw.example', '2001:db8::1')).toEqual([
      { kind: 'range', range: { from: '10.0.0.0', to: '10.0.0.3' } },
      { kind: 'range', range: { from: '10.0.0.9', to: '10.0.0.11' } },
      { kind: 'dns-name', name: 'gw.example' },
      { kind: 'address', address: '2001:db8::1' },
    ]);
  });

  it.each([
    [[['reauth_time', '0s']], null],
    [[['reauth_time', '1h']], 'b.reauth_time: it is not in this version; only 0, 0s is accepted'],
    [[['vips', ['0.0.0.0']]], 'b.vips: it is not in this version'],
    [[['vips', []]], null],
    [[['fragmentation', 'force']], 'b.fragmentation: "force" is neither yes nor no'],
    [[['unique', 'never']], 'b.unique: "never" is not in this version; no, keep, replace are'],
    [[['local_addrs', ['10.0.0.0/8']]], 'b.local_addrs: one address is accepted, or %any'],
    [[['remote_addrs', ['1.2.3.4.5']]], 'b.remote_addrs: "1.2.3.4.5"'],
    [[['remote-2', section()]], 'b.remote: several rounds of authentication'],
    [[['children', section([['c', section([['life_time', '1m']])]])]], 'life_time: it ends before'],
    [[['children', lan([['replay_window', '0']])]], 'b.children.lan.replay_window'],
    [[['proposals', ['aes128-sha1-modp1024']]], 'b.proposals: "sha1"'],
    [[['nonsense', 'x']], 'b.nonsense: it is not in this version'],
  ] as const)('%j', (fields, message) => {
    const read = () => readConn('b', conn(fields, lan()));
    if (message === null) expect(read).not.toThrow();
    else expect(read).toThrow(message);
  });

  it('tells every fault at once', () => {
    const read = () =>
      readConn(
        'b',
        conn(
          [
            ['pools', ['a']],
            ['rekey_time', 'x'],
          ],
          lan([['mode', 'beet']]),
        ),
      );
    expect(read).toThrow(/b\.children\.lan\.mode: .*; .*|b\.rekey_time/);
    expect(read).toThrow('b.pools');
    expect(read).toThrow('b.rekey_time');
    expect(read).toThrow('b.children.lan.mode');
  });

  it('makes a replay window a power of two that is no smaller', () => {
    const windowOf = (size: string) =>
      readConn('b', conn([], lan([['replay_window', size]]))).entry.children[0]?.replayWindow;
    expect(['32', '64', '65', '1000', '4096'].map(windowOf)).toEqual([64, 64, 128, 1024, 4096]);
  });
});

describe('traffic selectors', () => {
  const outer = {
    local: [{ from: '192.0.2.1', to: '192.0.2.1' }],
    remote: [{ from: '198.51.100.2', to: '198.51.100.2' }],
  };
  /** Read, and written again as strongSwan writes them. */
  const both = (local: readonly string[], remote: readonly string[]) => {
    const reading = readTrafficSelectors(local, remote, outer);
    if (!reading.ok) return `${reading.side}: ${reading.reason}`;
    return [
      trafficSelectorTexts(reading.selector, 'local'),
      trafficSelectorTexts(reading.selector, 'remote'),
    ];
  };

  it.each([
    [['10.1.0.0/16'], ['10.2.0.5', '10.3.0.10-10.3.0.99']],
    [['10.1.0.0/16[tcp]'], ['10.2.0.0/16[tcp/443]', '10.2.0.0/16[tcp/8000-8099]']],
    [['2001:db8::/32[udp/53]'], ['::/0[udp]']],
  ])('%j to %j and back', (local, remote) => {
    const spelled = (texts: readonly string[]) =>
      texts.map((text) =>
        /^[\d.]+$/.test(text) ? `${text}/32` : text.replace(/(?<=\d)-(?=10\.)/, '..'),
      );
    expect(both(local, remote)).toEqual([spelled(local), spelled(remote)]);
  });

  it('dynamic is where the gateways are', () => {
    expect(both([], ['dynamic[udp/1701]'])).toEqual([
      ['192.0.2.1/32[udp]'],
      ['198.51.100.2/32[udp/1701]'],
    ]);
    const nowhere = readTrafficSelectors(['dynamic'], [], { local: [], remote: [] });
    expect(nowhere).toMatchObject({ ok: false, side: 'local' });
  });

  it('ICMP has types and codes in the place of ports', () => {
    expect(both(['10.1.0.0/16[icmp/8(0)]'], ['10.2.0.0/16[icmp]'])).toEqual([
      ['10.1.0.0/16[icmp/8(0)]'],
      ['10.2.0.0/16[icmp/8(0)]'],
    ]);
  });

  it.each([
    [['10.1.0.0/16[tcp/80]', '10.9.0.0/16'], ['10.2.0.0/16'], 'local: its parts differ'],
    [['10.1.0.0/16[tcp]'], ['10.2.0.0/16[udp]'], 'remote: it has another protocol'],
    [['10.1.0.0/16[gre/80]'], ['10.2.0.0/16'], 'local: ports need a protocol'],
    [['10.1.0.0/16[tcp/opaque]'], ['10.2.0.0/16'], 'local: opaque'],
    [['10.1.0.0/33'], ['10.2.0.0/16'], 'local: "10.1.0.0/33"'],
    [['10.1.0.0/16[nonsense]'], ['10.2.0.0/16'], 'local: there is no protocol "nonsense"'],
  ])('%j %j: %s', (local, remote, message) => {
    expect(both(local, remote)).toContain(message);
  });
});

describe('what was loaded', () => {
  const secret = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));

  it('is loaded again only where its proof changed, and the best secret is taken', async () => {
    const ike = new FakeIke([]);
    const conns = new LoadedConns(ike);
    const loads: string[] = [];
    ike.loadPeer = async (peer) => {
      const local = peer.padEntry.localAuthentication;
      if (local.method === 'psk') loads.push(Buffer.from(local.secret.reveal()).toString());
      ike.loaded.set(peer.padEntry.name, peer);
    };
    expect(await conns.load(readConn('b', conn([], lan())))).toBe(
      'a shared secret of hq.example and branch.example',
    );
    await conns.change((all) => all.loadShared('any', 'ike', secret('anybody'), []));
    await conns.change((all) => all.loadShared('x', 'ike', secret('strangers'), ['other.example']));
    await conns.change((all) =>
      all.loadShared('b', 'IKE', secret('the two'), ['hq.example', '@branch.example']),
    );
    await conns.change((all) => all.loadShared('any', 'ike', secret('changed'), []));
    await conns.change((all) => all.unloadShared('b'));
    expect(loads).toEqual(['anybody', 'the two', 'changed']);
    expect(conns.waiting).toEqual([]);
    await conns.change((all) => all.clear());
    expect(ike.loaded.size).toBe(0);
    expect(conns.waiting).toHaveLength(1);
  });

  it('keeps names apart: those of the file, and those of children', async () => {
    const conns = new LoadedConns(new FakeIke());
    await expect(conns.load(readConn('branch', conn([], lan())))).rejects.toThrow(
      'a peer of the configuration file has this name',
    );
    const taken = section([['lan-to-branch', section([['remote_ts', ['10.9.0.0/16']]])]]);
    await expect(conns.load(readConn('b', conn([], taken)))).rejects.toThrow(
      'branch has a child of this name',
    );
    await conns.load(readConn('b', conn([], lan())));
    await expect(conns.load(readConn('c', conn([], lan())))).rejects.toThrow(
      'b has a child of this name',
    );
    expect(await conns.unload('c')).toBe(false);
    expect(await conns.unload('b')).toBe(true);
  });
});
