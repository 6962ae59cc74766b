import { describe, expect, it } from 'vitest';
import { DEFAULTS } from '../../../packages/ipsec-node/src/config/defaults.js';
import { documentOfValue } from '../../../packages/ipsec-node/src/config/document.js';
import { LATER_KEYS, LATER_VALUES } from '../../../packages/ipsec-node/src/config/later.js';
import { parseConfig, wipeConfig } from '../../../packages/ipsec-node/src/config/parse.js';
import type { GatewayConfigInput } from '../../../packages/ipsec-node/src/config/schema.js';
import { faultsOf, GOOD, parseText, SECRETS, WITH_PEER } from './source.js';

describe('a good file', () => {
  it('is fully defaulted', () => {
    const { config, findings } = parseText('policies: [{ name: all, action: bypass }]');
    expect(findings).toEqual([]);
    expect(config).toEqual({
      gateway: {
        name: 'default',
        dataplane: 'native',
        interface: { name: 'ipsec0', mtu: 'auto' },
        encapsulation: 'udp',
        unprotected: null,
        protected: null,
        onStop: 'guard',
        listen: ['0.0.0.0', '::'],
        port: 4500,
        ikePort: 500,
        control: '/run/ipsec-node/default.vici',
        stateDirectory: '/var/lib/ipsec-node/default',
        laboratory: false,
        builtin: {
          loopback: true,
          'ike-and-esp': true,
          'neighbour-discovery': true,
          'multicast-listener-discovery': true,
          dhcpv4: true,
          dhcpv6: true,
          'path-mtu': true,
        },
        offload: { tunSegmentation: true, udpGso: true, udpGro: true },
      },
      peers: [],
      policies: [
        {
          name: 'all',
          direction: 'both',
          selector: {
            local: [],
            remote: [],
            protocol: 'any',
            localPorts: [],
            remotePorts: [],
            icmpTypes: [],
            icmpCodes: [],
          },
          action: 'BYPASS',
          proposals: [],
          mode: 'tunnel',
          tfcPadToBytes: 0,
          peer: null,
          start: 'trap',
          onClose: 'trap',
          lifetime: {
            rekeyMs: 3_600_000,
            hardMs: 3_960_000,
            rekeyBytes: 64n * 1024n ** 3n,
            rekeyPackets: 0n,
          },
          selectorsPerChild: 'all',
          replayWindow: 1024,
        },
      ],
      associations: [],
    });
  });

  it('says everything that can be said', () => {
    const { config } = parseText(`
gateway:
  name: hq_1
  dataplane: auto
  interface: { name: tun7, mtu: 1400 }
  encapsulation: esp
  unprotected: eth0
  protected: [ eth1, eth2 ]
  onStop: open
  listen: "2001:DB8::1"
  port: 14500
  ikePort: 1500
  control: run/hq.vici
  state: ../state
  laboratory: true
  builtin: { dhcpv4: false }
  offload: { udpGso: off, udpGro: auto }
policies:
  - name: ping
    local: any
    remote: 2001:db8::/32
    protocol: icmpv6
    icmpType: [ echo-request, 129, 3-4 ]
    icmpCode: 0
    action: discard
    direction: in
  - name: web
    local: [ 10.0.0.1, 10.0.1.0/24 ]
    remote: 10.9.0.0 - 10.9.0.9
    protocol: 6
    localPort: any
    remotePort: [ 443, 8000-8099 ]
    action: protect
    mode: tunnel
    direction: out
    proposals: [ chacha20poly1305 ]
    tfc: { padTo: 1200 }
associations:
  - policy: web
    suite: chacha20poly1305
    local: 2001:DB8::1
    remote: 2001:db8::2
    encapsulation: udp
    remotePort: 14501
    outbound: { spi: "0x100", key: { file: out.key } }
    esn: false
    replayWindow: 65536
`);
    expect(config.gateway).toMatchObject({
      name: 'hq_1',
      interface: { name: 'tun7', mtu: 1400 },
      encapsulation: 'esp',
      unprotected: ['eth0'],
      protected: ['eth1', 'eth2'],
      onStop: 'open',
      listen: ['2001:db8::1'],
      port: 14_500,
      ikePort: 1500,
      control: '/etc/ipsec/run/hq.vici',
      stateDirectory: '/etc/state',
      builtin: { dhcpv4: false, dhcpv6: true },
      offload: { tunSegmentation: true, udpGso: false, udpGro: true },
    });
    expect(config.policies[0]).toMatchObject({
      direction: 'inbound',
      action: 'DISCARD',
      selector: {
        local: [],
        remote: [{ from: '2001:db8::', to: '2001:db8:ffff:ffff:ffff:ffff:ffff:ffff' }],
        protocol: 58,
        icmpTypes: [
          { from: 128, to: 128 },
          { from: 129, to: 129 },
          { from: 3, to: 4 },
        ],
        icmpCodes: [{ from: 0, to: 0 }],
      },
    });
    expect(config.policies[1]).toMatchObject({
      direction: 'outbound',
      proposals: [
        {
          protocol: 'esp',
          transforms: [
            { type: 'encryption', id: 28, keyBits: null },
            { type: 'sequence-numbers', id: 1, keyBits: null },
            { type: 'sequence-numbers', id: 0, keyBits: null },
          ],
        },
      ],
      tfcPadToBytes: 1200,
      selector: {
        local: [
          { from: '10.0.0.1', to: '10.0.0.1' },
          { from: '10.0.1.0', to: '10.0.1.255' },
        ],
        remote: [{ from: '10.9.0.0', to: '10.9.0.9' }],
        localPorts: [],
        remotePorts: [
          { from: 443, to: 443 },
          { from: 8000, to: 8099 },
        ],
      },
    });
    expect(config.associations[0]).toMatchObject({
      local: '2001:db8::1',
      remotePort: 14_501,
      encapsulation: 'udp',
      inbound: null,
      outbound: { spi: 256 },
      esn: false,
      replayWindow: 65_536,
    });
  });

  it('takes 0-65535 for any port, fragments included', () => {
    const { config } = parseText(
      'policies: [{ name: a, action: bypass, protocol: tcp, remotePort: 0-65535 }]',
    );
    expect(config.policies[0]?.selector.remotePorts).toEqual([]);
  });

  it('may be an object', () => {
    const value: GatewayConfigInput = {
      policies: [{ name: 'all', action: 'discard', remote: ['10.0.0.0/8'] }],
    };
    const { config } = parseConfig(documentOfValue(value, '/srv'), {
      secrets: SECRETS,
      tolerateDeniedSecrets: false,
    });
    expect(config.policies[0]?.action).toBe('DISCARD');
    expect(() =>
      parseConfig(documentOfValue({ policies: [{ name: 'a' }] }, '/srv'), {
        secrets: SECRETS,
        tolerateDeniedSecrets: false,
      }),
    ).toThrow('<config>: policies[0].action: found nothing; accepted: protect, bypass, discard');
  });

  it('may be JSON, and may use anchors', () => {
    expect(faultsOf('{"policies":[{"name":"a","action":"bypass"}]}')).toEqual([]);
    expect(
      faultsOf(
        'policies: [{ name: a, local: &lan 10.0.0.0/8, action: bypass }, { name: b, remote: *lan, action: discard }]',
      ),
    ).toEqual([]);
  });

  it('gives its keys away once, and wipes them', () => {
    const { config } = parseText(GOOD);
    expect(config.associations[0]?.inbound?.key.byteLength).toBe(36);
    wipeConfig(config);
    wipeConfig(config);
    expect(config.associations[0]?.inbound?.key.isPresent).toBe(false);
  });
});

describe('what is not in this version', () => {
  const expected = (key: string): RegExp =>
    new RegExp(`found "?${key}"? \\(not in this version\\)`);

  it.each(LATER_KEYS[''])('the key %s', (key) => {
    expect(faultsOf(`${key}: {}\npolicies: [{ name: a, action: bypass }]`)).toEqual([
      expect.stringMatching(expected(key)),
    ]);
  });

  it.each(LATER_KEYS.gateway)('the key gateway.%s', (key) => {
    expect(faultsOf(`gateway: { ${key}: x }\npolicies: [{ name: a, action: bypass }]`)).toEqual([
      expect.stringMatching(expected(key)),
    ]);
  });

  it.each(LATER_KEYS.policies)('the key policies[].%s', (key) => {
    expect(faultsOf(`policies: [{ name: a, action: protect, ${key}: x }]`)).toEqual([
      expect.stringMatching(expected(key)),
    ]);
  });

  it.each(LATER_KEYS.associations)('the key associations[].%s', (key) => {
    expect(faultsOf(GOOD.replace('suite:', `${key}: x\n    suite:`))).toEqual([
      expect.stringMatching(expected(key)),
    ]);
  });

  it.each([...LATER_VALUES.suite, 'aes256ccm16-modp2048'])('the suite %s', (suite) => {
    expect(faultsOf(GOOD.replace('suite: aes256gcm16', `suite: "${suite}"`))).toEqual([
      expect.stringMatching(expected(suite)),
    ]);
  });

  it.each(LATER_VALUES.algorithm)('the algorithm %s', (keyword) => {
    const text = `policies: [{ name: a, action: protect, proposals: "${keyword}-x25519" }]`;
    expect(faultsOf(text)).toEqual([expect.stringMatching(expected(keyword))]);
  });

  it.each(LATER_KEYS.peers)('the key peers.*.%s', (key) => {
    expect(faultsOf(`${WITH_PEER}\n    ${key}: x`)).toEqual([expect.stringMatching(expected(key))]);
  });

  it.each(LATER_VALUES.auth)('the authentication %s', (auth) => {
    expect(faultsOf(WITH_PEER.replace('auth: psk', `auth: "${auth}"`))).toEqual([
      expect.stringMatching(expected(auth)),
    ]);
  });

  it.each(LATER_VALUES.mode)('the mode %s', (mode) => {
    expect(faultsOf(`policies: [{ name: a, action: protect, mode: ${mode} }]`)).toEqual([
      expect.stringMatching(expected(mode)),
    ]);
  });

  it('the dataplane kernel, and ports that are opaque', () => {
    expect(
      faultsOf(`
gateway: { dataplane: kernel }
policies: [{ name: a, action: bypass, protocol: tcp, localPort: opaque }]`),
    ).toEqual([
      expect.stringMatching(expected('kernel')),
      expect.stringMatching(expected('opaque')),
    ]);
  });
});

describe('defaults', () => {
  it('each have a reason', () => {
    for (const { reason } of Object.values(DEFAULTS)) expect(reason).toMatch(/^[A-Z2].*\.$/);
  });
});
