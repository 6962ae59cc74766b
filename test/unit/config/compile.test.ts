import { describe, expect, it } from 'vitest';
import {
  compileAssociations,
  compilePad,
  compileSpd,
  encapsulationsOf,
  outerAddresses,
  tunnelMtu,
  wipePad,
} from '../../../packages/ipsec-node/src/config/compile.js';
import type { SaValue, SpdValue } from '../../../packages/ipsec-node/src/dataplane/dataplane.js';
import { manualFile } from './example.js';
import { GOOD, IN_KEY, OUT_KEY, parseText, secretsOf, WITH_PEER } from './source.js';

describe('the SPD', () => {
  it('is what the seam takes, built-in entries first, then the policies in their order', () => {
    const { config } = parseText(manualFile('example-mission.yaml').text);
    const spd: SpdValue = compileSpd(config, 7);
    expect(spd.version).toBe(7);
    const own = spd.entries.findIndex(({ builtin }) => !builtin);
    expect(own).toBeGreaterThan(0);
    expect(spd.entries.slice(own)).toMatchObject([
      { name: 'lan-to-lan', direction: 'both', action: 'PROTECT', builtin: false },
      { name: 'https-in-clear', direction: 'outbound', action: 'BYPASS', builtin: false },
      { name: 'inbound-must-be-protected', direction: 'inbound', action: 'PROTECT' },
      { name: 'everything-else', direction: 'both', action: 'BYPASS' },
    ]);
    expect(spd.entries.at(own)?.selector).toEqual({
      local: [{ from: '10.0.1.0', to: '10.0.1.255' }],
      remote: [{ from: '10.0.2.0', to: '10.0.2.255' }],
      protocol: 'any',
      localPorts: [],
      remotePorts: [],
      icmpTypes: [],
      icmpCodes: [],
    });
    expect(JSON.parse(JSON.stringify(spd))).toEqual(spd);
  });

  it('knows the outer addresses from associations and from what is listened on', () => {
    const { config } = parseText(
      GOOD.replace('name: hq', 'listen: [ 192.0.2.1, "2001:db8::1", "::" ]'),
    );
    expect(outerAddresses(config)).toEqual(['192.0.2.1', '2001:db8::1']);
  });
});

describe('manual SAs', () => {
  it('are what the seam takes but for their sequence numbers, inbound before outbound', () => {
    const { config } = parseText(
      GOOD.replace('action: protect', 'action: protect\n    tfc: { padTo: 1300 }'),
    );
    const sas: SaValue[] = compileAssociations(config).map((parameters) => ({
      ...parameters,
      sequenceNumber: 0n,
      reservedUpTo: 0n,
    }));
    expect(sas.map(({ id }) => id)).toEqual([
      { direction: 'inbound', spi: 0xc000_0001 },
      { direction: 'outbound', spi: 0xc000_0002 },
    ]);
    expect(sas.map(({ key }) => Buffer.from(key).toString('hex'))).toEqual([IN_KEY, OUT_KEY]);
    expect(sas[1]).toMatchObject({
      entry: 'lan-to-branch',
      suite: 'aes256gcm16',
      mode: 'tunnel',
      local: '192.0.2.1',
      remote: '198.51.100.2',
      encapsulation: 'udp',
      localPort: 4500,
      remotePort: 4500,
      esn: true,
      replayWindow: 1024,
      tfcPadToBytes: 1300,
      dontFragment: 'copy',
    });
    expect(sas[0]?.selector).toBe(config.policies[0]?.selector);
  });

  it('are not made of keys that were not read', () => {
    const denied = { ok: false, denied: true, reason: 'this user may not read it' } as const;
    const secrets = secretsOf({
      'file /etc/ipsec/in.key': denied,
      'file /etc/ipsec/out.key': denied,
    });
    const { config } = parseText(GOOD, secrets, true);
    expect(() => compileAssociations(config)).toThrow(
      expect.objectContaining({ code: 'IPSEC_ERR_INTERNAL' }),
    );
  });
});

describe('the PAD', () => {
  it('has the policies of each peer in the order of the SPD', () => {
    const text = WITH_PEER.replace(
      '  - { name: everything-else',
      [
        '  - { name: drop, remote: 10.4.0.0/16, action: discard }',
        '  - { name: second, remote: 10.3.0.0/16, protocol: tcp, action: protect, peer: branch, start: start }',
        '  - { name: alone, remote: 10.5.0.0/16, action: protect }',
        '  - { name: everything-else',
      ].join('\n'),
    );
    const { config } = parseText(text);
    const pad = compilePad(config);
    expect(pad.entries).toHaveLength(1);
    expect(pad.entries[0]).not.toHaveProperty('legacy');
    expect(pad.entries[0]).toMatchObject({
      name: 'branch',
      onDeath: 'restart',
      children: [
        {
          name: 'lan-to-branch',
          mode: 'tunnel',
          start: 'trap',
          selectorsPerChild: 'all',
          replayWindow: 1024,
          tfcPadToBytes: 0,
          dontFragment: 'copy',
        },
        { name: 'second', start: 'start', onClose: 'restart', selector: { protocol: 6 } },
      ],
    });
    expect(pad.entries[0]?.children[0]?.selector).toBe(config.policies[0]?.selector);
    wipePad(pad);
    wipePad(pad);
    const local = pad.entries[0]?.localAuthentication;
    expect(local?.method === 'psk' && local.secret.isPresent).toBe(false);
  });

  it('makes known our outer addresses, and which sockets are needed', () => {
    const { config } = parseText(`${WITH_PEER}\n    localAddress: 192.0.2.1`);
    expect(outerAddresses(config)).toEqual(['192.0.2.1']);
    expect(encapsulationsOf(config)).toEqual(['udp']);
    const raw = parseText(`${WITH_PEER}\n    encapsulation: auto`).config;
    expect(encapsulationsOf(raw)).toEqual(['udp', 'esp']);
  });
});

describe('the MTU of the TUN', () => {
  it('fits whatever may be negotiated', () => {
    const gcm = WITH_PEER.replace(
      '    peer: branch',
      '    peer: branch\n    proposals: aes256gcm16-aes128gcm16-chacha20poly1305-x25519',
    );
    expect(tunnelMtu(parseText(gcm).config)).toBe(1438);
    expect(tunnelMtu(parseText(gcm.replace('198.51.100.2', '"2001:db8::2"')).config)).toBe(1418);
    expect(tunnelMtu(parseText(gcm.replace('198.51.100.2', 'branch.example')).config)).toBe(1418);
  });

  it('fits every association', () => {
    expect(tunnelMtu(parseText(GOOD).config)).toBe(1438);
    expect(tunnelMtu(parseText(GOOD).config, 9000)).toBe(8938);
    const ipv6 = GOOD.replace('192.0.2.1', '2001:db8::1').replace('198.51.100.2', '2001:db8::2');
    expect(tunnelMtu(parseText(ipv6).config)).toBe(1418);
    const esp = GOOD.replace('suite:', 'encapsulation: esp\n    suite:');
    expect(tunnelMtu(parseText(esp).config)).toBe(1446);
    expect(encapsulationsOf(parseText(esp).config)).toEqual(['esp']);
  });

  it('is what the file says, and assumes IPv6 where nothing is known', () => {
    const text = (mtu: string): string =>
      `gateway: { interface: { mtu: ${mtu} } }\npolicies: [{ name: a, action: bypass }]`;
    expect(tunnelMtu(parseText(text('1300')).config)).toBe(1300);
    expect(tunnelMtu(parseText(text('auto')).config)).toBe(1418);
    expect(encapsulationsOf(parseText(text('auto')).config)).toEqual(['udp']);
  });
});
