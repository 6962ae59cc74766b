import { describe, expect, it } from 'vitest';
import { compilePad } from '../../../packages/ipsec-node/src/config/compile.js';
import type { PeerConfig } from '../../../packages/ipsec-node/src/config/gateway-config.js';
import { lintConfig } from '../../../packages/ipsec-node/src/config/lint.js';
import { wipeConfig } from '../../../packages/ipsec-node/src/config/parse.js';
import { decodeSharedKey } from '../../../packages/ipsec-node/src/config/parse-secret.js';
import {
  PEER_PRESET_NAMES,
  PEER_PRESETS,
} from '../../../packages/ipsec-node/src/config/peer-presets.js';
import { formatProposal } from '../../../packages/ipsec-node/src/sad/proposal.js';
import { faultsOf, parseText, PSK, SECRETS, secretsOf, WITH_PEER } from './source.js';

/** A peer of the text. */
function peerOf(text: string, secrets = SECRETS): PeerConfig {
  const [peer] = parseText(text, secrets).config.peers;
  if (peer === undefined) throw new Error('no peer');
  return peer;
}

function textOf(bytes: Uint8Array | undefined): string {
  return Buffer.from(bytes ?? []).toString('latin1');
}

/** The peer of {@link WITH_PEER} with other or more lines. */
function withLines(...lines: readonly string[]): string {
  const keys = lines.map((line) => line.split(':')[0] ?? '');
  const kept = WITH_PEER.split('\n').filter(
    (line) => !keys.some((key) => line.startsWith(`    ${key}:`) && !line.includes('10.')),
  );
  return [...kept, ...lines.map((line) => `    ${line}`)].join('\n');
}

describe('a peer', () => {
  it('is fully defaulted, and so are its policies', () => {
    const { config, findings } = parseText(WITH_PEER);
    expect(findings).toEqual([]);
    const { remoteAuthentication, localAuthentication, proposals, ...rest } = peerOf(WITH_PEER);
    expect(rest).toEqual({
      name: 'branch',
      hosts: [{ kind: 'address', address: '198.51.100.2' }],
      localAddress: null,
      remotePort: 500,
      localIdentity: { kind: 'dns-name', name: 'hq.example' },
      remoteIdentity: { kind: 'exact', identity: { kind: 'dns-name', name: 'branch.example' } },
      ppk: null,
      rekeyMs: 14_400_000,
      hardMs: 15_840_000,
      livenessMs: 30_000,
      keepaliveMs: 20_000,
      encapsulation: 'forced',
      fragmentation: true,
      mobike: true,
      unique: 'replace',
      onDeath: 'trap',
      hashAndUrl: false,
      legacy: false,
    });
    expect(proposals.map(formatProposal)).toEqual([
      'aes256gcm16-aes128gcm16-chacha20poly1305-prfsha256-prfsha384-prfsha512-x25519-ecp256-ecp384-modp3072-modp2048',
      'aes256-aes128-prfsha256-prfsha384-prfsha512-sha256-sha384-sha512-x25519-ecp256-ecp384-modp3072-modp2048',
    ]);
    expect(localAuthentication.method).toBe('psk');
    if (remoteAuthentication.method !== 'psk') throw new Error('psk');
    expect(textOf(remoteAuthentication.secret.reveal())).toBe(PSK);
    expect(config.policies[0]).toMatchObject({ peer: 'branch', start: 'trap', onClose: 'trap' });
  });

  it('has nothing to be warned of', () => {
    expect(lintConfig(parseText(WITH_PEER))).toEqual([]);
  });

  it('says everything that can be said', () => {
    const peer = peerOf(
      withLines(
        'address: [ 198.51.100.2, vpn.Example.com., "2001:DB8::2", 192.0.2.0/28 ]',
        'localAddress: 192.0.2.1',
        'port: 4500',
        'local: { id: "CN=hq, O=Example", auth: psk }',
        'remote: { id: "*@example.com", auth: psk }',
        'psk: "0x00112233445566778899aabbccddeeff00112233"',
        'ppk: { id: one, secret: { file: branch.psk }, required: false }',
        'proposals: [ aes256gcm16-prfsha384-ecp384-ke1_mlkem768, aes128-sha256-modp2048 ]',
        'rekey: 1h',
        'expire: 2h',
        'dpd: off',
        'keepalive: 5s',
        'encapsulation: auto',
        'fragmentation: false',
        'mobike: false',
        'unique: keep',
        'onDeath: clear',
        'hashAndUrl: true',
      ),
    );
    expect(peer).toMatchObject({
      hosts: [
        { kind: 'address', address: '198.51.100.2' },
        { kind: 'dns-name', name: 'vpn.example.com' },
        { kind: 'address', address: '2001:db8::2' },
        { kind: 'range', range: { from: '192.0.2.0', to: '192.0.2.15' } },
      ],
      localAddress: '192.0.2.1',
      remotePort: 4500,
      localIdentity: { kind: 'distinguished-name' },
      remoteIdentity: { kind: 'mail-domain', domain: 'example.com' },
      rekeyMs: 3_600_000,
      hardMs: 7_200_000,
      livenessMs: 0,
      keepaliveMs: 5000,
      encapsulation: 'auto',
      fragmentation: false,
      mobike: false,
      unique: 'keep',
      onDeath: 'clear',
      hashAndUrl: true,
    });
    expect(peer.proposals.map(formatProposal)).toEqual([
      'aes256gcm16-prfsha384-ecp384-ke1_mlkem768',
      'aes128-prfsha256-sha256-modp2048',
    ]);
    expect(textOf(peer.ppk?.id)).toBe('one');
    expect(peer.ppk?.required).toBe(false);
  });

  it('of a raw ESP gateway is encapsulated only behind a NAT', () => {
    expect(peerOf(`gateway: { encapsulation: esp }\n${WITH_PEER}`).encapsulation).toBe('auto');
  });

  it('of one address may go without a remote identity, and we with a local address', () => {
    const peer = peerOf(
      withLines('localAddress: "2001:db8::1"', 'local: { auth: psk }', 'remote: { auth: psk }'),
    );
    expect(peer.localIdentity).toEqual({ kind: 'ipv6-address', address: '2001:db8::1' });
    expect(peer.remoteIdentity).toEqual({
      kind: 'exact',
      identity: { kind: 'ipv4-address', address: '198.51.100.2' },
    });
  });

  it('keeps the order of the file', () => {
    const two = `${WITH_PEER}
  alpha:
    address: 198.51.100.3
    local: { id: hq.example, auth: psk }
    remote: { id: alpha.example, auth: psk }
    psk: { file: branch.psk }`;
    expect(parseText(two).config.peers.map(({ name }) => name)).toEqual(['branch', 'alpha']);
  });
});

describe('faults of a peer', () => {
  it('come all at once', () => {
    const faults = faultsOf(`
policies:
  - { name: a, action: protect, peer: brunch, lifetime: { time: 2, bytes: 5GB, expire: 1h }, start: strat }
  - { name: b, action: protect, start: trap, mode: transport, proposals: aes256gcm16-ecp348 }
  - { name: c, action: bypass, peer: branch }
peers:
  1st: 3
  branch:
    addres: 192.0.2.1
    address: [ any, 192.0.2.300, 224.0.0.1, 10.0.0.1/8, "gw one" ]
    port: 0
    preset: asw
    local: { id: "a b", auth: pks, certificate: x.pem }
    remote: { id: "*", auth: psk, authorities: ca.pem }
    proposals: [ aes256gcm16-prfsha348-ecp384, aes256gcm16-sha256-x25519 ]
    rekey: 4
    dpd: 1ms
    keepalive: 2d
    onDeath: reboot
    unique: true
    legacy: yes
    interface: vti0
  other:
    address: gw.example
    local: { auth: psk }
    remote: { auth: psk }
    rekey: 4h
    expire: 3h
`);
    expect(faults).toMatchInlineSnapshot(`
      [
        "3:39: policies[0].peer: found "brunch" (there is no peer of that name); accepted: 1st, branch, other; did you mean branch?",
        "3:65: policies[0].lifetime.time: found 2; accepted: a duration such as 90s, 30m, 4h or 1d",
        "3:101: policies[0].start: found "strat"; accepted: start, trap, none; did you mean start?",
        "4:33: policies[1].start: found start without peer; accepted: start only beside peer",
        "4:52: policies[1].mode: found transport without peer; accepted: mode transport only beside peer",
        "4:74: policies[1].proposals: found "ecp348" (there is no such keyword); accepted: strongSwan's keywords joined by dashes, such as aes256gcm16-x25519; did you mean ecp384?",
        "5:32: policies[2].peer: found peer with action bypass; accepted: peer only with action protect",
        "7:3: peers.1st: found "1st"; accepted: 1..63 letters, digits, dots, dashes and underscores, first a letter",
        "7:8: peers.1st: found 3; accepted: a map with address, local and remote",
        "9:5: peers.branch.addres: found unknown key "addres"; accepted: preset, address, localAddress, port, local, remote, psk, ppk, proposals, rekey, expire, dpd, keepalive, encapsulation, fragmentation, mobike, unique, onDeath, hashAndUrl, legacy; did you mean address?",
        "9:5: peers.branch.psk: found nothing (auth psk needs it); accepted: { file: … }, { env: … }, { credential: … }, or the text itself in quotes (with a warning)",
        "10:16: peers.branch.address[0]: found "any" (any holds everything else of the list); accepted: an address, a DNS name, a prefix, a range, a list of these, or any",
        "10:21: peers.branch.address[1]: found "192.0.2.300" (each of the four numbers is 0..255 and has no leading zero); accepted: an address, a DNS name, a prefix, a range, a list of these, or any",
        "10:34: peers.branch.address[2]: found "224.0.0.1" (it is not the address of one host); accepted: an address, a DNS name, a prefix, a range, a list of these, or any",
        "10:45: peers.branch.address[3]: found "10.0.0.1/8" (host bits are set: the network is 10.0.0.0/8, the single address is 10.0.0.1); accepted: an address, a DNS name, a prefix, a range, a list of these, or any; did you mean 10.0.0.0/8?",
        "10:57: peers.branch.address[4]: found "gw one" (it is neither an address nor a DNS name); accepted: an address, a DNS name, a prefix, a range, a list of these, or any",
        "11:11: peers.branch.port: found 0; accepted: 1..65535",
        "12:13: peers.branch.preset: found "asw"; accepted: aws, azure, google, cloudflare, cisco-asa, fortinet, windows, apple; did you mean aws?",
        "13:18: peers.branch.local.id: found "a b" (it is no identity); accepted: a DNS name, an e-mail address, an IP address, a distinguished name (CN=gw, O=Example), or keyid:…",
        "13:31: peers.branch.local.auth: found "pks"; accepted: psk, certificate, publicKey; did you mean psk?",
        "14:35: peers.branch.remote.authorities: found authorities with auth psk; accepted: authorities only with auth certificate",
        "15:18: peers.branch.proposals[0]: found "prfsha348" (there is no such keyword); accepted: strongSwan's keywords joined by dashes, such as aes256gcm16-prfsha384-ecp384; did you mean prfsha384?",
        "15:48: peers.branch.proposals[1]: found "aes256gcm16-sha256-x25519" (a combined-mode cipher authenticates by itself: no integrity algorithm goes with it); accepted: for example aes256gcm16-prfsha384-ecp384; did you mean aes256gcm16-prfsha256-x25519?",
        "16:12: peers.branch.rekey: found 4; accepted: a duration such as 90s, 30m, 4h or 1d",
        "17:10: peers.branch.dpd: found "1ms"; accepted: a duration such as 90s, 30m, 4h or 1d, or off",
        "18:16: peers.branch.keepalive: found "2d" (the longest is 1d); accepted: a duration such as 90s, 30m, 4h or 1d, or off",
        "19:14: peers.branch.onDeath: found "reboot"; accepted: clear, trap, restart",
        "20:13: peers.branch.unique: found true; accepted: replace, keep, no",
        "21:13: peers.branch.legacy: found "yes"; accepted: true or false",
        "22:5: peers.branch.interface: found interface (not in this version); accepted: preset, address, localAddress, port, local, remote, psk, ppk, proposals, rekey, expire, dpd, keepalive, encapsulation, fragmentation, mobike, unique, onDeath, hashAndUrl, legacy",
        "24:5: peers.other.psk: found nothing (auth psk needs it); accepted: { file: … }, { env: … }, { credential: … }, or the text itself in quotes (with a warning)",
        "25:12: peers.other.local.id: found nothing; accepted: a DNS name, an e-mail address, an IP address, a distinguished name (CN=gw, O=Example), or keyid:…",
        "26:13: peers.other.remote.id: found nothing (only a peer of one address may go without); accepted: a DNS name, an e-mail address, an IP address, a distinguished name (CN=gw, O=Example), or keyid:…, *.example, *@example, or any",
        "28:13: peers.other.expire: found 3h (the SA is to be replaced after 4h); accepted: a longer duration",
      ]
    `);
  });

  it.each([
    ['psk: { file: none.psk }', 'found file /etc/ipsec/none.psk (there is no such file)'],
    ['psk: 0x1234', 'found a number (not shown) (quotes are missing)'],
    ['psk: "0x123"', 'found a text in the configuration (not shown) (it starts as 0x or 0s'],
    ['psk: "0sAAA=="', 'found a text in the configuration (not shown)'],
    ['psk: ""', 'found nothing in the configuration'],
    ['psk: { file: a, env: B }', 'found 2 sources of one key'],
    ['ppk: { id: a }', 'peers.branch.ppk.secret: found nothing'],
    ['ppk: { id: "0x1", secret: { file: branch.psk } }', 'starts with 0x and is not hexadecimal'],
    [
      'remote: { auth: certificate }',
      'remote.authorities: found nothing (auth certificate needs it)',
    ],
    ['remote: { auth: publicKey }', 'remote.publicKeys: found nothing (auth publicKey needs it)'],
    ['local: { id: hq.example, auth: certificate }', 'local.key: found nothing'],
  ])('are seen in %s', (line, found) => {
    const text = withLines(line);
    expect(faultsOf(text).join('\n')).toContain(found);
  });

  it('show nothing of a secret', () => {
    const secret = 'hunter2hunter2hunter2';
    for (const line of [
      `psk: [ ${secret} ]`,
      `psk: { flie: ${secret} }`,
      `psk: { env: "${secret} " }`,
      `psk: "0x${secret}"`,
      `psk: "0s${secret}!"`,
      `ppk: { id: a, secret: "0x${secret}" }`,
      `ppk: { id: a, secret: [ ${secret} ] }`,
      `local: { id: a, auth: certificate, key: ${secret} }`,
      `local: { id: a, auth: certificate, key: { file: a, passphrase: [ ${secret} ] } }`,
    ]) {
      const faults = faultsOf(withLines(line));
      expect(faults.length, line).toBeGreaterThan(0);
      expect(faults.join('\n'), line).not.toContain(secret);
    }
  });

  it('leave nothing of a secret in what was read', () => {
    const bytes = new TextEncoder().encode(PSK);
    const secrets = {
      read: () => ({ ok: true, bytes, exposed: false }) as const,
    };
    expect(faultsOf(withLines('dpd: never'), secrets)).toHaveLength(1);
    expect([...bytes].every((byte) => byte === 0)).toBe(true);
  });
});

describe('a pre-shared key', () => {
  it.each([
    ['a text', 'a text'],
    ['a text\n', 'a text'],
    ['a text\r\n', 'a text'],
    [' a\n\n', ' a\n'],
    ['0x48656C6c6f', 'Hello'],
    ['0sSGVsbG8=\n', 'Hello'],
    ['0sSGVsbG8', 'Hello'],
    ['0sSGk=', 'Hi'],
    ['0s+/+/', '\xfb\xff\xbf'],
    ['0', '0'],
    ['0z', '0z'],
  ])('is read from %j', (text, octets) => {
    expect(textOf(decodeSharedKey(new TextEncoder().encode(text)) ?? undefined)).toBe(octets);
  });

  it('in base64 is as Node reads it, whatever its length', () => {
    for (let length = 1; length < 40; length += 1) {
      const bytes = Uint8Array.from({ length }, (_, index) => (index * 89 + length) & 0xff);
      const text = `0s${Buffer.from(bytes).toString('base64')}`;
      expect(decodeSharedKey(new TextEncoder().encode(text))).toEqual(bytes);
    }
  });

  it.each(['0x1', '0xgg', '0s====', '0sA', '0sA===', '0sAA=A', '0sSGVsbG8=='])(
    'is not %j',
    (text) => {
      expect(decodeSharedKey(new TextEncoder().encode(text))).toBeNull();
    },
  );

  it('that is short, or stands in the file, is warned of', () => {
    const { findings } = parseText(withLines('psk: "0x0011223344556677"'));
    expect(findings.map(({ code, line }) => `${code} ${line}`)).toEqual([
      'inline-key 14',
      'weak-psk 14',
    ]);
    expect(findings[1]?.message).toContain('The key has 8 octets');
    const zeroes = secretsOf({ 'file /etc/ipsec/branch.psk': `0x${'00'.repeat(32)}` });
    expect(parseText(WITH_PEER, zeroes).findings.map(({ code }) => code)).toEqual(['weak-key']);
    const uneven = `0x${'0102030405060708'.repeat(4)}`;
    const fine = secretsOf({ 'file /etc/ipsec/branch.psk': uneven });
    expect(parseText(WITH_PEER, fine).findings).toEqual([]);
  });

  it('that may not be read is noted where the file is only checked', () => {
    const denied = secretsOf({
      'file /etc/ipsec/branch.psk': {
        ok: false,
        denied: true,
        reason: 'this user may not read it',
      },
    });
    expect(faultsOf(WITH_PEER, denied)).toHaveLength(1);
    const { config, findings } = parseText(WITH_PEER, denied, true);
    expect(findings.map(({ code }) => code)).toEqual(['unread-key']);
    expect(() => compilePad(config)).toThrow(/not present/);
  });

  it('is wiped with the configuration, and the PAD has its own', () => {
    const { config } = parseText(withLines('ppk: { id: a, secret: { file: branch.psk } }'));
    const pad = compilePad(config);
    wipeConfig(config);
    wipeConfig(config);
    const [peer] = config.peers;
    const [entry] = pad.entries;
    expect(peer?.ppk?.secret.isPresent).toBe(false);
    if (peer?.localAuthentication.method !== 'psk') throw new Error('psk');
    expect(peer.localAuthentication.secret.isPresent).toBe(false);
    if (entry?.localAuthentication.method !== 'psk') throw new Error('psk');
    expect(textOf(entry.localAuthentication.secret.reveal())).toBe(PSK);
    expect(entry.ppk?.secret.isPresent).toBe(true);
  });
});

describe('policies of a peer', () => {
  const policy = (...fields: readonly string[]): string =>
    WITH_PEER.replace('    peer: branch', ['    peer: branch', ...fields].join('\n    '));

  it('say everything that can be said', () => {
    const { config } = parseText(
      policy(
        'mode: transport',
        'proposals: [ aes256gcm16-ecp384-noesn, aes256-sha512 ]',
        'lifetime: { time: 30m, bytes: 1GiB, packets: 1000000, expire: 31m }',
        'start: start',
        'onClose: clear',
        'selectorsPerChild: one',
        'replayWindow: 128',
        'tfc: { padTo: 1000 }',
      ),
    );
    const child = config.policies[0];
    expect(child).toMatchObject({
      mode: 'transport',
      start: 'start',
      onClose: 'clear',
      lifetime: {
        rekeyMs: 1_800_000,
        hardMs: 1_860_000,
        rekeyBytes: 1024n ** 3n,
        rekeyPackets: 1_000_000n,
      },
      selectorsPerChild: 'one',
      replayWindow: 128,
    });
    expect(child?.proposals.map(formatProposal)).toEqual([
      'aes256gcm16-ecp384-noesn',
      'aes256-sha512-esn-noesn',
    ]);
    expect(config.peers[0]?.onDeath).toBe('restart');
  });

  it('take the key exchanges of the peer where they name none, and none as well', () => {
    const text = withLines('proposals: aes256gcm16-prfsha384-ecp384-modp4096-ke1_mlkem768');
    expect(parseText(text).config.policies[0]?.proposals.map(formatProposal)).toEqual([
      'aes256gcm16-aes128gcm16-chacha20poly1305-ecp384-modp4096-modpnone-esn-noesn',
      'aes256-aes128-sha256-sha384-sha512-ecp384-modp4096-modpnone-esn-noesn',
    ]);
  });

  it('start nothing where there is nowhere to go to', () => {
    const { config } = parseText(withLines('address: any'));
    expect(config.policies[0]).toMatchObject({ start: 'none', onClose: 'clear' });
    expect(config.peers[0]?.onDeath).toBe('clear');
  });

  it('have no association beside the peer', () => {
    const text = `${WITH_PEER}
gateway: { laboratory: true }
associations:
  - policy: lan-to-branch
    suite: aes256gcm16
    local: 192.0.2.1
    remote: 198.51.100.2
    inbound: { spi: 0xc0000001, key: { file: in.key } }
    outbound: { spi: 0xc0000002, key: { file: out.key } }`;
    expect(faultsOf(text)).toEqual([
      expect.stringContaining('(its SAs are negotiated with peer branch)'),
    ]);
  });

  it('allow what the peer allows', () => {
    const legacy = policy('proposals: aes128-sha1-modp1024');
    expect(faultsOf(legacy)).toHaveLength(2);
    expect(faultsOf(`${legacy}\n    legacy: true`)).toEqual([]);
  });
});

describe('presets', () => {
  it.each(PEER_PRESET_NAMES)('%s is a peer with nothing to be warned of but its age', (name) => {
    const parsed = parseText(`${WITH_PEER}\n    preset: ${name}`);
    const codes = lintConfig(parsed).map(({ code }) => code);
    expect(codes.filter((code) => !['no-pfs', 'legacy-algorithm'].includes(code))).toEqual([]);
    expect(codes.includes('legacy-algorithm')).toBe(PEER_PRESETS[name].legacy === true);
    expect(PEER_PRESETS[name].reason).toMatch(/\.$/);
  });

  it('stand behind what is written', () => {
    const { config } = parseText(
      `${WITH_PEER}\n    preset: aws\n    rekey: 1h\n    mobike: true`.replace(
        '    peer: branch',
        '    peer: branch\n    lifetime: { time: 10m }',
      ),
    );
    expect(config.peers[0]).toMatchObject({ rekeyMs: 3_600_000, mobike: true });
    expect(config.peers[0]?.proposals.map(formatProposal)).toEqual([
      'aes256gcm16-prfsha384-ecp384',
    ]);
    expect(config.policies[0]?.lifetime.rekeyMs).toBe(600_000);
    expect(config.policies[0]?.proposals.map(formatProposal)).toEqual(['aes256gcm16-ecp384-noesn']);
  });

  it('are not undone by halves', () => {
    expect(faultsOf(`${WITH_PEER}\n    preset: windows\n    legacy: false`)).toEqual([
      expect.stringContaining('(the preset needs it)'),
    ]);
  });
});
