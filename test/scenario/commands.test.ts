/**
 * What the user sees of the command: a faulty file is told whole and starts nothing, a missing
 * privilege is named with the way to grant it, guard and unguard say what goes in clear, and the
 * questions to a running gateway answer in both forms.
 */

import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { run } from '../lab/command.ts';
import { describeWith } from '../lab/describe-with.ts';
import { Namespace } from '../lab/namespace.ts';
import { buildTopology, type Topology } from '../lab/topology.ts';
import {
  command,
  ipsecNode,
  parseList,
  parseObject,
  RunningGateway,
  scratchFolder,
} from './ipsec-node.ts';
import { type Pair, sitePolicies, spiToA, spiToB, startPair, writePair } from './pair.ts';
import { sendDatagrams, serve } from './traffic.ts';

const FAULTY = `gateway:
  name: bad
  laboratory: true
  unprotectd: [ wan0 ]
  interface: { name: ipsec9, mtu: 99999999 }
pools:
  branch: { address: 192.0.2.2 }
policies:
  - name: lan
    local: 10.1.0.1/16
    remote: 10.2.0.0/16
    action: protct
  - name: lan
    protocol: icmp
    remotePort: 443
    action: bypass
associations:
  - policy: lna
    suite: aes256gcm
    local: 192.0.2.1
    remote: 2001:db8::1
    inbound: { spi: 17, key: "0x00" }
    outbound: { spi: 0xc0000001, key: { file: nowhere.key } }
`;

/** Line, path and what is accepted, of each fault of {@link FAULTY}. */
const FAULTS = [
  [4, 'gateway.unprotectd', 'did you mean unprotected?'],
  [5, 'gateway.interface.mtu', 'accepted: auto, or 576..65535'],
  [6, 'pools', 'not in this version'],
  [10, 'policies[0].local', 'did you mean 10.1.0.0/16?'],
  [12, 'policies[0].action', 'accepted: protect, bypass, discard; did you mean protect?'],
  [13, 'policies[1].name', 'accepted: a name that no other policy has'],
  [15, 'policies[1].remotePort', 'accepted: ports with protocol tcp, udp, sctp, dccp or udplite'],
  [18, 'associations[0].policy', 'accepted: the name of a protect policy'],
  [19, 'associations[0].suite', 'did you mean aes256gcm16?'],
  [21, 'associations[0].remote', 'accepted: local and remote of one family'],
  [22, 'associations[0].inbound.spi', 'accepted: 256..4294967295'],
  [23, 'associations[0].outbound.key', 'there is no such file'],
] as const;

/** Everything that a gateway could have left in a namespace. */
async function traces(namespace: Namespace): Promise<string> {
  const { stdout: tables } = await namespace.exec(['nft', 'list', 'tables']);
  const lists = ['-o link show', '-4 rule show', '-6 rule show', '-4 route show table all'];
  const found = await Promise.all(lists.map((list) => namespace.ip(list)));
  const links = (found[0] ?? '').split('\n').map((line) => line.split(':')[1] ?? '');
  return [tables, links.join(), ...found.slice(1)].join('\n');
}

/** Without any capability. Not another user: the root of a user namespace may know no other. */
const UNPRIVILEGED = ['setpriv', '--bounding-set', '-all', '--inh-caps', '-all', '--'];

describeWith(['namespaces', 'iproute2', 'nftables'], 'before anything runs', () => {
  let namespace: Namespace;
  let folder: string;

  beforeAll(async () => {
    namespace = await Namespace.create('commands');
    folder = scratchFolder();
    chmodSync(folder, 0o755);
  });

  afterAll(async () => {
    await namespace?.remove();
  });

  it.each(['up', 'check', 'guard'])('%s tells all faults of a file at once', async (word) => {
    const file = `${folder}/faulty.yaml`;
    writeFileSync(file, FAULTY);
    const before = await traces(namespace);
    const { status, stdout, stderr } = await ipsecNode([word, '-c', file], namespace);
    expect(status).toBe(2);
    const said = stdout + stderr;
    // The guard needs no keys and does not look for them.
    const expected = FAULTS.filter(([, path]) => word !== 'guard' || !path.endsWith('key'));
    for (const [line, path, accepted] of expected) {
      const found = said.split('\n').find((text) => text.includes(`: ${path}: `));
      expect(found, path).toMatch(new RegExp(`faulty\\.yaml:${line}:\\d+: `));
      expect(found).toContain(accepted);
    }
    const json = await ipsecNode([word, '-c', file, '--json'], namespace);
    expect(json.status).toBe(2);
    const answer = parseObject(json.stdout);
    const faults = parseList(
      JSON.stringify(answer['faults'] ?? parseObject(JSON.stringify(answer['error']))['faults']),
    );
    const places = faults.map((fault) => [fault['line'], fault['path']]);
    expect(places).toEqual(expected.map(([line, path]) => [line, path]));
    expect(await traces(namespace)).toBe(before);
  });

  it('up names the missing privileges and how to grant them', async () => {
    const file = `${folder}/good.yaml`;
    const state = `${folder}/state`;
    mkdirSync(state, { recursive: true });
    writeFileSync(
      file,
      `gateway: { name: good, control: ${folder}/good.vici, state: ${state} }
policies: [ { name: all, local: 10.1.0.0/16, remote: 10.2.0.0/16, action: protect } ]
`,
    );
    const before = await traces(namespace);
    const up = await namespace.exec([...UNPRIVILEGED, ...command(['up', '-c', file])], {
      anyStatus: true,
    });
    expect(up.status).toBe(1);
    for (const words of [
      'CAP_NET_ADMIN, which makes the TUN interface',
      'CAP_NET_RAW',
      'sudo',
      'AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW',
      '--device /dev/net/tun',
    ]) {
      expect(up.stderr).toContain(words);
    }
    const guard = await namespace.exec([...UNPRIVILEGED, ...command(['guard', '-c', file])], {
      anyStatus: true,
    });
    expect(guard.status).toBe(1);
    expect(guard.stderr).toContain('CAP_NET_ADMIN');
    expect(await traces(namespace)).toBe(before);
    // No privilege is needed to check.
    const check = await run([...UNPRIVILEGED, ...command(['check', '-c', file])], {
      anyStatus: true,
    });
    expect(check.status).toBe(0);
  });

  it('what starts nothing asks for no key', async () => {
    const file = `${folder}/elsewhere.yaml`;
    const key = (name: string): string => `{ spi: 0x${name}, key: { credential: k${name} } }`;
    writeFileSync(
      file,
      `gateway: { name: elsewhere, laboratory: true, control: ${folder}/elsewhere.vici, unprotected: [ eth0 ] }
policies: [ { name: all, local: 10.1.0.0/16, remote: 10.2.0.0/16, action: protect } ]
associations:
  - { policy: all, suite: aes256gcm16, local: 192.0.2.1, remote: 192.0.2.2, inbound: ${key('c0000001')}, outbound: ${key('c0000002')} }
`,
    );
    const before = await traces(namespace);
    const check = await ipsecNode(['check', '-c', file], namespace);
    expect(check.status).toBe(0);
    expect(check.stdout).toMatch(/\[unread-key\]/);
    for (const words of [
      ['guard', '-c', file],
      ['explain', '-c', file, 'out', 'udp', '10.1.0.1:1', '10.2.0.1:1'],
      ['unguard', '-c', file],
    ]) {
      const { status, stderr } = await ipsecNode(words, namespace);
      expect(status, stderr).toBe(0);
    }
    expect((await ipsecNode(['status', '-c', file], namespace)).stderr).toContain('No gateway');
    const up = await ipsecNode(['up', '-c', file], namespace);
    expect(up.status).toBe(2);
    expect(up.stderr).toContain('$CREDENTIALS_DIRECTORY is not set');
    expect(await traces(namespace)).toBe(before);
  });

  it('up says that /dev/net/tun is missing', async () => {
    const hidden = 'mount -t tmpfs tmpfs /dev/net && exec "$@"';
    const words = command(['up', '-c', `${folder}/good.yaml`]);
    const { status, stderr } = await namespace.exec(
      ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', hidden, 'sh', ...words],
      { anyStatus: true },
    );
    expect(status).toBe(1);
    expect(stderr).toContain('/dev/net/tun does not exist');
    expect(stderr).toContain('modprobe tun');
  });

  it('doctor finds what is missing, and exits by it', async () => {
    const asRoot = await ipsecNode(['doctor', '--json'], namespace);
    expect(asRoot.status, asRoot.stdout).toBe(0);
    const states = (text: string): ReadonlyMap<unknown, unknown> =>
      new Map(parseList(text).map((finding) => [finding['what'], finding['state']]));
    expect(states(asRoot.stdout).get('/dev/net/tun')).toBe('ok');
    expect(states(asRoot.stdout).get('CAP_NET_ADMIN')).toBe('ok');
    const unprivileged = await namespace.exec([...UNPRIVILEGED, ...command(['doctor', '--json'])], {
      anyStatus: true,
    });
    expect(unprivileged.status).toBe(1);
    expect(states(unprivileged.stdout).get('CAP_NET_ADMIN')).toBe('fault');
    for (const finding of parseList(unprivileged.stdout)) {
      if (finding['state'] !== 'ok')
        expect(finding['remedy'], String(finding['what'])).not.toBe('');
    }
  });
});

describeWith(
  ['namespaces', 'iproute2', 'nftables', 'iputils-ping', 'python3'],
  'guard, gateway, unguard',
  () => {
    let topology: Topology;
    let pair: Pair;
    let gateways: { a: RunningGateway; b: RunningGateway } | undefined;
    let untouched: string;
    const PROTECTED = 'lan: local 10.1.0.0/24, fd01::/64, remote 10.2.0.0/24, fd02::/64';

    beforeAll(async () => {
      topology = await buildTopology();
      const { a, b } = sitePolicies(topology);
      const rest = { name: 'rest', action: 'bypass' };
      pair = writePair(topology, {
        links: [{ policy: 'lan' }],
        policiesA: [a, rest],
        policiesB: [b, rest],
      });
      untouched = await traces(topology.a.gateway);
      await serve(topology.b.host);
    });

    afterAll(async () => {
      await topology?.close();
    });

    it('guard closes what is protected and says what that is', async () => {
      const { a, b } = topology;
      expect(await a.host.ping(b.hostAddress4)).toBe(true);
      const guard = await ipsecNode(['guard', '-c', pair.fileA], a.gateway);
      expect(guard.status, guard.stderr).toBe(0);
      expect(guard.stdout).toContain('Closed until the gateway runs:');
      expect(guard.stdout).toContain(PROTECTED);
      for (const address of [b.hostAddress4, b.hostAddress6]) {
        expect(await a.host.ping(address, { timeoutMs: 300 })).toBe(false);
      }
      // What is not protected passes.
      expect(await a.gateway.ping(b.gatewayAddress4)).toBe(true);
      // Twice is as good as once.
      const again = await ipsecNode(['guard', '-c', pair.fileA, '--json'], a.gateway);
      expect(parseObject(again.stdout)).toMatchObject({ found: true, closed: [PROTECTED] });
    });

    it('the gateway takes the guard over, answers questions, and keeps its guard', async () => {
      const { a, b } = topology;
      gateways = await startPair(topology, pair);
      const gateway = gateways.a;
      const sent = await sendDatagrams(a.host, a.hostAddress4, b.hostAddress4, {
        count: 5,
        marker: 'ASKED',
      });
      expect(sent.back).toBe(5);

      expect(await gateway.status()).toMatchObject({
        name: 'ga',
        state: 'running',
        pid: gateway.program.pid,
        interface: 'ipsec0',
        mtu: 1438,
        saCount: 2,
        onStop: 'guard',
        guardTakenOver: true,
        faults: [],
      });
      const sas = await gateway.sas();
      expect(sas).toHaveLength(2);
      for (const [direction, spi] of [
        ['outbound', spiToB(0)],
        ['inbound', spiToA(0)],
      ] as const) {
        expect(sas.find((sa) => sa['direction'] === direction)).toMatchObject({
          spi,
          policy: 'lan',
          suite: 'aes256gcm16',
          local: '192.0.2.1',
          remote: '192.0.2.2',
          encapsulation: 'udp',
          packets: 5,
        });
      }
      expect(JSON.stringify(sas)).not.toMatch(/[0-9a-f]{40}/);
      const policies = await gateway.policies();
      expect(policies.find((policy) => policy['name'] === 'lan')).toMatchObject({
        action: 'PROTECT',
        saCount: 2,
        builtin: false,
      });
      expect(policies.some((policy) => policy['builtin'] === true)).toBe(true);
      const tally = await gateway.tally();
      expect(tally.of('esp_sealed')).toBe(5);
      expect(tally.of('esp_opened')).toBe(5);

      const text = async (word: string): Promise<string> =>
        (await ipsecNode([word, '-c', pair.fileA])).stdout;
      expect(await text('status')).toMatch(/^gateway +ga, running$/m);
      expect(await text('sas')).toMatch(/outbound .*0xc0000100.* lan /);
      expect(await text('policies')).toMatch(/lan +PROTECT +both +2 /);
      expect(await text('counters')).toMatch(/^esp_opened +5$/m);

      for (const word of ['guard', 'unguard']) {
        const refused = await ipsecNode([word, '-c', pair.fileA], a.gateway);
        expect(refused.status).toBe(1);
        expect(refused.stderr).toContain('The gateway ga runs');
      }
      // By name alone, without a file that says where the gateway answers.
      const byName = await ipsecNode(['unguard', 'ga'], a.gateway);
      expect(byName.status, byName.stdout).toBe(1);
      expect(await a.host.ping(b.hostAddress4)).toBe(true);
    });

    it('unguard with a name that nobody has touches nothing', async () => {
      const { a, b } = topology;
      const wrong = await ipsecNode(['unguard', 'gaa'], a.gateway);
      expect(wrong.status).not.toBe(0);
      expect(wrong.stderr).toContain('No guard of a gateway named gaa is installed here');
      expect(await a.host.ping(b.hostAddress4)).toBe(true);
    });

    it('a second gateway of the same name is refused and harms nothing', async () => {
      const { a, b } = topology;
      const second = await ipsecNode(['up', '-c', pair.fileA], a.gateway);
      expect(second.status).toBe(1);
      expect(second.stderr).toContain('A gateway answers on the control socket');
      expect(await a.host.ping(b.hostAddress4)).toBe(true);
    });

    it('unguard says what goes in clear, and leaves nothing', async () => {
      const { a, b } = topology;
      await gateways?.a.stop();
      await gateways?.b.stop();
      expect(await a.host.ping(b.hostAddress4, { timeoutMs: 300 })).toBe(false);
      for (const [site, file] of [
        [a, pair.fileA],
        [b, pair.fileB],
      ] as const) {
        const { status, stdout } = await ipsecNode(['unguard', '-c', file], site.gateway);
        expect(status).toBe(0);
        expect(stdout).toContain('In clear from now on, wherever the routes lead:');
        if (site === a) expect(stdout).toContain(PROTECTED);
      }
      expect(await a.host.ping(b.hostAddress4)).toBe(true);
      expect(await a.host.ping(b.hostAddress6)).toBe(true);
      expect(await traces(a.gateway)).toBe(untouched);
    });

    it('a first start that fails leaves what policy protects closed', async () => {
      const { a, b } = topology;
      expect(await a.host.ping(b.hostAddress4)).toBe(true);
      const bind = [
        'import socket, time',
        's = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)',
        's.bind(("0.0.0.0", 4500))',
        'print("there", flush=True)',
        'time.sleep(60)',
      ].join('\n');
      const squatter = a.gateway.spawn(['python3', '-c', bind]);
      try {
        await squatter.output(/there/, 10_000);
        const failed = await ipsecNode(['up', '-c', pair.fileA], a.gateway);
        expect(failed.status).toBe(1);
        expect(failed.stderr).toContain('IPSEC_ERR_ADDRESS_IN_USE');
        expect(await a.host.ping(b.hostAddress4, { timeoutMs: 300 })).toBe(false);
      } finally {
        await squatter.stop();
      }
      const unguard = await ipsecNode(['unguard', '-c', pair.fileA], a.gateway);
      expect(unguard.status, unguard.stderr).toBe(0);
      expect(await a.host.ping(b.hostAddress4)).toBe(true);
      expect(await traces(a.gateway)).toBe(untouched);
    });

    it('onStop: open leaves nothing behind', async () => {
      const { a, b } = topology;
      const open = writePair(topology, {
        links: [{ policy: 'lan' }],
        policiesA: [sitePolicies(topology).a],
        policiesB: [sitePolicies(topology).b],
        gateway: { onStop: 'open' },
      });
      const gateway = await RunningGateway.start(a.gateway, open.fileA);
      expect(await a.host.ping(b.hostAddress4, { timeoutMs: 300 })).toBe(false);
      expect(await gateway.stop()).toBe(0);
      expect(gateway.program.stderr).toMatch(/stopped.*guard.*removed/);
      expect(await traces(a.gateway)).toBe(untouched);
      expect(await a.host.ping(b.hostAddress4)).toBe(true);
    });
  },
);
