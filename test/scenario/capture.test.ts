/** `ipsec-node capture --with-keys` on a running gateway: Wireshark's own engine opens IKE and ESP. */
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { afterEach, expect, it } from 'vitest';
import { run } from '../lab/command.ts';
import { describeWith } from '../lab/describe-with.ts';
import { requirePeer } from '../lab/peer.ts';
import { buildTopology, type Site, type Topology } from '../lab/topology.ts';
import { command, ipsecNode, RunningGateway, scratchFolder } from './ipsec-node.ts';

const MARKER = 'CAPTURED-SECRET';
const PATIENCE_MS = 30_000;

/** Names of the interfaces in the capture, and the IKE exchanges as Wireshark writes them. */
const OUTSIDE = 'outside: IKE and ESP';
const INSIDE = 'inside: packets in clear';
const IKE_AUTH = 35;
const CREATE_CHILD_SA = 36;

interface Terms {
  readonly ike: string;
  readonly esp: string;
}

describeWith(
  ['namespaces', 'iproute2', 'nftables', 'iputils-ping', 'python3', 'tshark'],
  'a capture of a running gateway',
  () => {
    let topology: Topology | undefined;
    afterEach(async () => {
      await topology?.close();
      topology = undefined;
    });

    function write(own: Site, peer: Site, name: 'a' | 'b', terms: Terms): string {
      const folder = scratchFolder();
      mkdirSync(`${folder}/state`, { mode: 0o700 });
      const content = {
        gateway: {
          name,
          control: `${folder}/vici`,
          state: `${folder}/state`,
          unprotected: [own.wan],
          protected: [own.lan],
          interface: { name: 'ipsec0' },
        },
        peers: {
          other: {
            address: peer.gatewayAddress4,
            localAddress: own.gatewayAddress4,
            local: { id: `${name}.example`, auth: 'psk' },
            remote: { id: name === 'a' ? 'b.example' : 'a.example', auth: 'psk' },
            psk: 'a secret of the laboratory, long enough for everybody',
            proposals: terms.ike,
          },
        },
        policies: [
          {
            name: 'lan',
            local: own.prefix4,
            remote: peer.prefix4,
            action: 'protect',
            peer: 'other',
            proposals: terms.esp,
            start: 'none',
          },
          { name: 'rest', action: 'bypass' },
        ],
      };
      writeFileSync(`${folder}/ipsec.yaml`, JSON.stringify(content), { mode: 0o600 });
      return `${folder}/ipsec.yaml`;
    }

    /** Each packet that a display filter picks, by its fields; with the keys or without. */
    async function tshark(
      file: string,
      filter: string,
      fields: readonly string[],
      keys: string,
    ): Promise<readonly (readonly string[])[]> {
      const words = ['-r', file, '-Y', filter, '-T', 'fields', '-E', 'separator=|'];
      const { stdout } = await run(
        [requirePeer('tshark'), ...words, ...fields.flatMap((field) => ['-e', field])],
        { env: { WIRESHARK_CONFIG_DIR: keys } },
      );
      return stdout
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => line.split('|'));
    }

    // ESN stays off: Wireshark 4.0 calls the ICV of such packets bad.
    it.each([
      { ike: 'aes256gcm16-prfsha384-x25519-ke1_mlkem768', esp: 'aes128gcm16-x25519-noesn' },
      { ike: 'aes256-sha384-ecp256', esp: 'aes256-sha256-ecp256-noesn' },
    ])('opens $ike and $esp with its keys', async (terms) => {
      topology = await buildTopology({ wire: 'bridge' });
      const { a, b } = topology;
      const [fileA, fileB] = [write(a, b, 'a', terms), write(b, a, 'b', terms)];
      const gateways = await Promise.all([
        RunningGateway.start(a.gateway, fileA, [], ['--allow-key-capture']),
        RunningGateway.start(b.gateway, fileB),
      ]);
      const folder = scratchFolder();
      const recorded = `${folder}/trouble.pcapng`;

      // B was not told to show keys: nothing is recorded under a promise that cannot be kept.
      const words = ['capture', '-w', recorded, '--with-keys'];
      const refused = await ipsecNode([...words, '-c', fileB], b.gateway);
      expect(refused.status).toBe(2);
      expect(refused.stderr).toContain('up --allow-key-capture');
      expect(existsSync(recorded)).toBe(false);

      const capture = a.gateway.spawn(command([...words, '-c', fileA]));
      await capture.output(/interrupt to end/, PATIENCE_MS);
      expect((await ipsecNode(['initiate', 'lan', '-c', fileA], a.gateway)).status).toBe(0);
      await exchange(topology);
      expect((await ipsecNode(['rekey', 'lan', '-c', fileA], a.gateway)).status).toBe(0);
      await exchange(topology);
      expect(await capture.stop('SIGINT', PATIENCE_MS)).toBe(0);
      expect(capture.stdout).toContain(`WIRESHARK_CONFIG_DIR=${recorded}.keys`);
      for (const path of [recorded, `${recorded}.keys/esp_sa`]) {
        expect(statSync(path).mode & 0o777, path).toBe(0o600);
      }
      expect(statSync(`${recorded}.keys`).mode & 0o777).toBe(0o700);

      const keys = `${recorded}.keys`;
      const none = scratchFolder();
      // The identities of IKE_AUTH, one of each direction.
      const ids = (folderOfKeys: string) =>
        tshark(
          recorded,
          `isakmp.exchangetype == ${IKE_AUTH} && isakmp.id.data.fqdn`,
          ['isakmp.flag_r', 'isakmp.id.data.fqdn'],
          folderOfKeys,
        );
      const [asked, answered, ...more] = await ids(keys);
      expect(asked?.[1]).toContain('a.example');
      expect(answered?.[1]).toBe('b.example');
      expect(more).toEqual([]);
      expect(await ids(none)).toEqual([]);
      // The rekey: its nonces are inside.
      const nonces = await tshark(
        recorded,
        `isakmp.exchangetype == ${CREATE_CHILD_SA} && isakmp.nonce`,
        ['frame.number'],
        keys,
      );
      expect(nonces).toHaveLength(2);

      // Every ESP packet outside: what is in it was inside in clear, and its ICV is right.
      const found = `frame.interface_description == "${OUTSIDE}" && esp`;
      const esp = await tshark(
        recorded,
        found,
        ['esp.spi', 'esp.icv_good', 'esp.icv_bad', 'ip.dst', 'frame.protocols'],
        keys,
      );
      const spis = new Set(esp.map(([spi]) => spi));
      expect(spis.size).toBe(4);
      for (const [spi, good, bad, addresses, protocols] of esp) {
        expect({ good, bad: bad === '1' || bad === 'True' }, spi).toEqual({
          good: expect.stringMatching(/^(1|True)$/),
          bad: false,
        });
        expect(addresses?.split(','), spi).toHaveLength(2);
        expect(protocols, spi).toContain('esp:ip:');
      }
      const marked = (description: string, folderOfKeys: string) =>
        tshark(
          recorded,
          `frame.interface_description == "${description}" && icmp contains "${MARKER}"`,
          ['frame.number'],
          folderOfKeys,
        );
      const outside = await marked(OUTSIDE, keys);
      expect(outside.length).toBeGreaterThan(0);
      expect(outside).toHaveLength((await marked(INSIDE, keys)).length);
      expect(await marked(OUTSIDE, none)).toEqual([]);
      expect(await Promise.all(gateways.map((gateway) => gateway.stop()))).toEqual([0, 0]);
    });

    async function exchange({ a, b }: Topology): Promise<void> {
      const pattern = Buffer.from(MARKER).toString('hex').slice(0, 32);
      const { stdout } = await a.host.exec([
        ...[requirePeer('iputils-ping'), '-c', '3', '-i', '0.2', '-W', '5', '-s', '64'],
        ...['-p', pattern, b.hostAddress4],
      ]);
      expect(stdout).toContain(' 3 received');
    }
  },
);
