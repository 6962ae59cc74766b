/**
 * The example of the manual, docs/manual/example-mission.yaml, with its associations and real
 * packets: each does what `explain` says of it, and the catch that `check` sees is there. What the
 * manual advises instead heals it.
 */

import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Capture, packetsWith } from '../lab/capture.ts';
import { describeWith } from '../lab/describe-with.ts';
import type { Namespace } from '../lab/namespace.ts';
import { repositoryRoot } from '../lab/registry.ts';
import { buildTopology, type Topology } from '../lab/topology.ts';
import { ipsecNode, parseObject, RunningGateway, scratchFolder } from './ipsec-node.ts';
import { sendDatagrams } from './traffic.ts';

const EXAMPLE = `${repositoryRoot}/docs/manual/example-mission.yaml`;
const HOST_A = '10.0.1.5';
const HOST_B = '10.0.2.5';
const WEB = '203.0.113.7';

/** The example as its reader makes it his: keys beside it, associations no longer a comment. */
function missionFile(folder: string): string {
  const text = readFileSync(EXAMPLE, 'utf8');
  const [head = '', tail = ''] = text.split('# associations:');
  expect(tail).toContain('in.key');
  const associations = `associations:${tail.replaceAll(/^# /gm, '')}`;
  const settings = `name: mission\n  control: ${folder}/a.vici\n  state: ${folder}/a.state`;
  const file = `${folder}/mission.yaml`;
  writeFileSync(file, head.replace('name: mission', settings) + associations);
  return file;
}

/** The other end, which protects between the two networks. */
function peerFile(folder: string): string {
  const file = `${folder}/peer.yaml`;
  writeFileSync(
    file,
    `gateway: { name: peer, laboratory: true, control: ${folder}/b.vici, state: ${folder}/b.state }
policies:
  - { name: lan, local: 10.0.2.0/24, remote: 10.0.1.0/24, action: protect }
  - { name: rest, action: bypass }
associations:
  - policy: lan
    suite: aes256gcm16
    local: 198.51.100.2
    remote: 192.0.2.1
    inbound: { spi: 0xc0000002, key: { file: out.key } }
    outbound: { spi: 0xc0000001, key: { file: in.key } }
`,
  );
  return file;
}

const LISTEN = `
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
s = socket.socket(socket.AF_INET, kind)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((sys.argv[2], int(sys.argv[3])))
if kind == socket.SOCK_STREAM: s.listen(16)
print("listening", flush=True)
while True:
    if kind == socket.SOCK_STREAM:
        c, _ = s.accept()
        c.sendall(c.recv(65536))
        c.close()
    else:
        data, sender = s.recvfrom(65536)
        s.sendto(data, sender)
`;

/** Says something by TCP and hears it back; or says why not. */
const CALL = `
import socket, sys
try:
    c = socket.create_connection((sys.argv[2], int(sys.argv[3])), float(sys.argv[5]), (sys.argv[1], 0))
    c.sendall(sys.argv[4].encode())
    print("answered" if c.recv(65536) == sys.argv[4].encode() else "closed")
except TimeoutError:
    print("silence")
`;

describeWith(
  ['namespaces', 'iproute2', 'nftables', 'tcpdump', 'iputils-ping', 'python3'],
  'the example of the manual',
  () => {
    let topology: Topology;
    let outside: Namespace;
    let file: string;
    let folder: string;
    let gateway: RunningGateway;

    beforeAll(async () => {
      topology = await buildTopology({ wire: 'router' });
      const { a, b, wire } = topology;
      if (wire === undefined) throw new Error('no wire');
      outside = wire;
      await a.gateway.ip('addr add 10.0.1.1/24 dev lan0');
      await a.host.ip(`addr add ${HOST_A}/24 dev eth0`);
      await b.gateway.ip('addr add 10.0.2.1/24 dev lan0');
      await b.host.ip(`addr add ${HOST_B}/24 dev eth0`);
      await outside.ipBatch([
        `addr add ${WEB}/32 dev lo`,
        'route add 10.0.1.0/24 via 192.0.2.1',
        'route add 10.0.2.0/24 via 198.51.100.2',
      ]);
      // A reply for each request and none later, when another test counts.
      await outside.sysctl({ 'net.ipv4.tcp_synack_retries': 0 });
      folder = scratchFolder();
      for (const name of ['in.key', 'out.key']) {
        writeFileSync(`${folder}/${name}`, randomBytes(36).toString('hex'), { mode: 0o600 });
      }
      for (const name of ['a.state', 'b.state']) mkdirSync(`${folder}/${name}`, { mode: 0o700 });
      file = missionFile(folder);
      [gateway] = await Promise.all([
        RunningGateway.start(a.gateway, file),
        RunningGateway.start(b.gateway, peerFile(folder)),
      ]);
      for (const [namespace, words] of [
        [outside, ['tcp', WEB, '443']],
        [outside, ['udp', WEB, '53']],
        [b.host, ['tcp', HOST_B, '443']],
        [b.host, ['tcp', HOST_B, '8080']],
        [a.host, ['udp', HOST_A, '5060']],
        [a.gateway, ['udp', '192.0.2.1', '5060']],
      ] as const) {
        const program = namespace.spawn(['python3', '-c', LISTEN, ...words]);
        await program.output(/listening/);
      }
    });

    afterAll(async () => {
      await topology?.close();
    });

    const explained = async (packet: string): Promise<readonly [unknown, unknown]> => {
      const words = ['explain', '-c', file, ...packet.split(' '), '--json'];
      const answer = parseObject((await ipsecNode(words)).stdout);
      const deciding = parseObject(JSON.stringify(answer['deciding']));
      const live = await ipsecNode([...words, '--live']);
      expect(parseObject(live.stdout)).toMatchObject({ action: answer['action'], deciding });
      return [deciding['name'], answer['action']];
    };

    const call = async (
      from: Namespace,
      source: string,
      destination: string,
      port: number,
      marker: string,
      seconds = 5,
    ): Promise<string> => {
      const words = [source, destination, String(port), marker, String(seconds)];
      return (await from.exec(['python3', '-c', CALL, ...words])).stdout.trim();
    };

    it('1: between the networks everything is protected, HTTPS too', async () => {
      const { a } = topology;
      const capture = await Capture.start(outside, 'wire-a');
      for (const port of [443, 8080]) {
        expect(await explained(`out tcp ${HOST_A}:40000 ${HOST_B}:${port}`)).toEqual([
          'lan-to-lan',
          'PROTECT',
        ]);
        expect(await call(a.host, HOST_A, HOST_B, port, 'LAN-TO-LAN')).toBe('answered');
      }
      const packets = await capture.stop();
      expect(packets.length).toBeGreaterThan(0);
      expect(packetsWith(packets, 'LAN-TO-LAN')).toEqual([]);
    });

    it('2: HTTPS leaves in clear, and 3 drops its replies: the catch', async () => {
      const { a } = topology;
      expect(await explained(`out tcp ${HOST_A}:40000 ${WEB}:443`)).toEqual([
        'https-in-clear',
        'BYPASS',
      ]);
      expect(await explained(`in tcp ${WEB}:443 ${HOST_A}:40000`)).toEqual([
        'inbound-must-be-protected',
        'PROTECT',
      ]);
      const before = await gateway.tally();
      const capture = await Capture.start(outside, 'wire-a', 'tcp port 443');
      expect(await call(a.host, HOST_A, WEB, 443, 'HTTPS', 1.5)).toBe('silence');
      const packets = await capture.stop();
      const replies = packets.filter(({ ip }) => [...ip.subarray(12, 16)].join('.') === WEB).length;
      // The connection was opened outside, and its replies came as far as the gateway.
      expect(packets.length - replies).toBeGreaterThan(0);
      expect(replies).toBeGreaterThan(0);
      expect((await gateway.tally()).since(before)['cleartext_inbound']).toBeGreaterThan(0);

      const checked = await ipsecNode(['check', '-c', file]);
      expect(checked.status).toBe(0);
      expect(checked.stdout).toMatch(
        /policies\[1\]: https-in-clear lets packets out.*\[reply-refused\]/,
      );
      expect(checked.stdout).toMatch(/Write before inbound-must-be-protected/);
    });

    it('3: what arrives for the network must have been protected', async () => {
      expect(await explained(`in udp ${WEB}:5060 ${HOST_A}:5060`)).toEqual([
        'inbound-must-be-protected',
        'PROTECT',
      ]);
      const before = await gateway.tally();
      const options = { port: 5060, count: 10, marker: 'STRANGER', answered: false };
      expect((await sendDatagrams(outside, WEB, HOST_A, options)).back).toBe(0);
      expect((await gateway.tally()).since(before)['cleartext_inbound']).toBe(10);
      // The far network is nobody to say so in clear, either.
      expect(await explained(`in udp ${HOST_B}:5060 ${HOST_A}:5060`)).toEqual([
        'lan-to-lan',
        'PROTECT',
      ]);
      const protectedly = { port: 5060, count: 3, marker: 'NEIGHBOUR' };
      expect(await sendDatagrams(topology.b.host, HOST_B, HOST_A, protectedly)).toMatchObject({
        back: 3,
      });
    });

    it('4: everything else is none of our business', async () => {
      const { a } = topology;
      expect(await explained('in udp 192.0.2.254:5060 192.0.2.1:5060')).toEqual([
        'everything-else',
        'BYPASS',
      ]);
      const options = { port: 5060, count: 3, marker: 'NONE-OF-OURS' };
      const own = await sendDatagrams(outside, '192.0.2.254', '192.0.2.1', options);
      expect(own.back).toBe(3);
      expect(await a.gateway.ping(WEB)).toBe(true);

      expect(await explained(`out udp ${HOST_A}:40000 ${WEB}:53`)).toEqual([
        'everything-else',
        'BYPASS',
      ]);
      const capture = await Capture.start(outside, 'wire-a', 'udp port 53');
      const query = { port: 53, count: 2, marker: 'QUERY', answered: false };
      expect((await sendDatagrams(a.host, HOST_A, WEB, query)).back).toBe(0);
      // Out and back, where 3 drops it.
      expect(packetsWith(await capture.stop(), 'QUERY')).toHaveLength(4);
    });

    it('what the manual says instead lets HTTPS work', async () => {
      const { a } = topology;
      const text = readFileSync(file, 'utf8');
      const healed = text.replace(/(- name: https-in-clear\n) {4}direction: out\n/, '$1');
      expect(healed).not.toBe(text);
      expect(await gateway.stop()).toBe(0);
      writeFileSync(file, healed);
      const checked = await ipsecNode(['check', '-c', file]);
      expect(checked.stdout).not.toMatch(/https-in-clear lets packets out/);
      gateway = await RunningGateway.start(a.gateway, file);
      const capture = await Capture.start(outside, 'wire-a', 'tcp port 443');
      expect(await call(a.host, HOST_A, WEB, 443, 'HTTPS')).toBe('answered');
      expect(packetsWith(await capture.stop(), 'HTTPS').length).toBeGreaterThan(0);
      expect(await explained(`in tcp ${WEB}:443 ${HOST_A}:40000`)).toEqual([
        'https-in-clear',
        'BYPASS',
      ]);
    });
  },
);
