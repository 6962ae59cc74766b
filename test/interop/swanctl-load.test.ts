/** Connections that swanctl loads into a running gateway, and where their policies stand. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { describeWith } from '../lab/describe-with.ts';
import { requirePeer } from '../lab/peer.ts';
import { buildTopology } from '../lab/topology.ts';
import { RunningGateway, scratchFolder } from '../scenario/ipsec-node.ts';

const connection = (name: string, remote: string): string => `connections {
  ${name} {
    version = 2
    local_addrs = 192.0.2.1
    remote_addrs = 192.0.2.2
    proposals = aes256gcm16-prfsha384-x25519
    local {
      auth = psk
      id = a.example
    }
    remote {
      auth = psk
      id = b.example
    }
    children {
      ${name}-net {
        local_ts = 10.1.0.0/24
        remote_ts = ${remote}
        esp_proposals = aes256gcm16-x25519
        start_action = trap
      }
    }
  }
}
secrets {
  ike-${name} {
    id = b.example
    secret = "a secret of the laboratory, long enough for everybody"
  }
}
`;

describeWith(
  ['namespaces', 'iproute2', 'iputils-ping', 'nftables', 'strongswan-swanctl'],
  'connections that swanctl loads',
  () => {
    it('stand before the last policy of the file, and are refused where they would have no effect', async () => {
      await using topology = await buildTopology();
      const { a } = topology;
      const folder = scratchFolder();
      mkdirSync(`${folder}/state`, { mode: 0o700 });
      const content = {
        gateway: {
          name: 'ga',
          control: `${folder}/vici`,
          state: `${folder}/state`,
          unprotected: [a.wan],
          protected: [a.lan],
          interface: { name: 'ipsec0' },
        },
        peers: {
          other: {
            address: '198.51.100.9',
            local: { id: 'a.example', auth: 'psk' },
            remote: { id: 'other.example', auth: 'psk' },
            psk: 'another secret of the laboratory, long enough too',
          },
        },
        policies: [
          {
            name: 'lan',
            local: '10.1.0.0/24',
            remote: '10.9.0.0/24',
            action: 'protect',
            peer: 'other',
          },
          { name: 'printers', remote: '10.3.0.0/16', action: 'bypass' },
          { name: 'rest', action: 'bypass' },
        ],
      };
      writeFileSync(`${folder}/ipsec.yaml`, JSON.stringify(content), { mode: 0o600 });
      const gateway = await RunningGateway.start(a.gateway, `${folder}/ipsec.yaml`);

      const swanctl = (...words: string[]) =>
        a.gateway.exec(
          [requirePeer('strongswan-swanctl'), ...words, '--uri', `unix://${folder}/vici`],
          { anyStatus: true, timeoutMs: 20_000 },
        );
      const load = (text: string) => {
        writeFileSync(`${folder}/swanctl.conf`, text, { mode: 0o600 });
        return swanctl('--load-all', '--file', `${folder}/swanctl.conf`);
      };
      const policies = async (): Promise<readonly string[]> =>
        ((await swanctl('--list-pols')).stdout.match(/^\S.*$/gm) ?? []).filter(
          (line) => !line.startsWith('builtin/'),
        );

      const loaded = await load(connection('site', '10.2.0.0/24'));
      expect(loaded, loaded.stdout + loaded.stderr).toMatchObject({ status: 0 });
      expect(await policies()).toEqual([
        'lan, TUNNEL',
        'printers, PASS',
        'site-net, TUNNEL',
        'rest, PASS',
      ]);

      // 10.3.0.0/16 goes in clear by the file: the connection cannot change that.
      const refused = await load(connection('hidden', '10.3.1.0/24'));
      expect(refused.status).not.toBe(0);
      expect(refused.stdout + refused.stderr).toMatch(
        /hidden-net would have no effect: policy printers .*BYPASS/,
      );
      expect(await policies()).toEqual(['lan, TUNNEL', 'printers, PASS', 'rest, PASS']);
      expect(await gateway.stop()).toBe(0);
    });
  },
);
