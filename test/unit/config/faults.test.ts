import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadConfigText, readConfigFile } from '../../../packages/ipsec-node/src/config/load.js';
import { editDistance, nearestName } from '../../../packages/ipsec-node/src/config/nearest.js';
import { hostSecretSource } from '../../../packages/ipsec-node/src/config/secret-source.js';
import { ConfigError } from '../../../packages/ipsec-node/src/errors.js';
import { faultsOf, GOOD, IN_KEY, OUT_KEY, parseText, secretsOf } from './source.js';

const KEY = '0123456789abcdef0123456789abcdef01234567';

describe('every fault at once', () => {
  it('in the order of the file, each with line, column, path, found and accepted', () => {
    const faults = faultsOf(`gateway:
  name: h q
  dataplan: native
  dataplane: kernel
  http: 127.0.0.1:9464
  interface: { name: ipsec0, mtu: 100 }
  onStop: gaurd
  listen: [ 0.0.0.0, "192.0.2.1:4500" ]
  port: 500
  offload: { udpGso: off, udpGro: false }
  builtin: { neighbor-discovery: false }
  laboratory: yes
pools: {}
policies:
  - name: a
    local: [ 10.0.0.1/8, any ]
    remote: 10.9.0.0-10.8.0.0
    protocol: tpc
    remotePort: 443
    action: protect
    mode: beet
    peer: branch
  - name: a
    localPort: [ 80, 70000 ]
    action: allow
    protocol: tcp
  - nmae: c
    action: bypass
    protocol: icmp
    icmpType: [ echo-requst, 300 ]
    tfc: { padTo: 9 }
  - name: d
    remotePort: 53
    icmpCode: 3
    action: discard
  - just-a-name
associations:
  - policy: b
    suite: aes256ccm16
    local: 192.0.2.1
    remote: ::1
    inbound: { spi: 3, key: "0x${KEY}" }
    outbound: 0xdeadbeefdeadbeefdeadbeefdeadbeef
    replayWindow: 1000
  - policy: a
    suite: aes128gcm16
    local: 224.0.0.1
    remote: 192.0.2.2
    inbound: { spi: 0xc0000001, key: "0x${KEY}" }
    outbound: { spi: 0xc0000001, key: { file: nowhere.key }, kye: 3 }
    encapsulation: esp
    remotePort: 4500
`);
    expect(faults).toMatchInlineSnapshot(`
      [
        "2:9: gateway.name: found "h q"; accepted: 1..32 letters, digits, dashes and underscores, first a letter or digit",
        "3:3: gateway.dataplan: found unknown key "dataplan"; accepted: name, dataplane, interface, encapsulation, unprotected, protected, onStop, listen, port, ikePort, control, state, laboratory, builtin, offload; did you mean dataplane?",
        "4:14: gateway.dataplane: found "kernel" (not in this version); accepted: native, auto",
        "5:3: gateway.http: found http (not in this version); accepted: name, dataplane, interface, encapsulation, unprotected, protected, onStop, listen, port, ikePort, control, state, laboratory, builtin, offload",
        "6:35: gateway.interface.mtu: found 100; accepted: auto, or 576..65535",
        "7:11: gateway.onStop: found "gaurd"; accepted: guard, open; did you mean guard?",
        "8:22: gateway.listen[1]: found "192.0.2.1:4500" (a port is a key of its own); accepted: an IPv4 or IPv6 address, or a list of these",
        "9:9: gateway.port: found 500 for both port and ikePort; accepted: two different ports",
        "10:35: gateway.offload.udpGro: found false; accepted: auto, off; did you mean off?",
        "11:14: gateway.builtin.neighbor-discovery: found unknown key "neighbor-discovery"; accepted: loopback, ike-and-esp, neighbour-discovery, multicast-listener-discovery, dhcpv4, dhcpv6, path-mtu; did you mean neighbour-discovery?",
        "12:15: gateway.laboratory: found "yes"; accepted: true or false",
        "13:1: pools: found pools (not in this version); accepted: gateway, peers, policies, associations",
        "16:14: policies[0].local[0]: found "10.0.0.1/8" (host bits are set: the network is 10.0.0.0/8, the single address is 10.0.0.1); accepted: a prefix (10.1.0.0/16), a range (10.1.0.10-10.1.0.99), a single address, IPv4 or IPv6; a list of these; or any; did you mean 10.0.0.0/8?",
        "16:26: policies[0].local[1]: found "any" (any holds everything else of the list); accepted: a prefix (10.1.0.0/16), a range (10.1.0.10-10.1.0.99), a single address, IPv4 or IPv6; a list of these; or any",
        "17:13: policies[0].remote: found "10.9.0.0-10.8.0.0" (the first end is above the second); accepted: a prefix (10.1.0.0/16), a range (10.1.0.10-10.1.0.99), a single address, IPv4 or IPv6; a list of these; or any; did you mean 10.8.0.0-10.9.0.0?",
        "18:15: policies[0].protocol: found "tpc" (there is no protocol of that name); accepted: any, a number 0..255, or one of icmp, igmp, ipip, tcp, udp, dccp, ipv6, gre, esp, ah, icmpv6, eigrp, ospf, pim, vrrp, l2tp, sctp, udplite; did you mean tcp?",
        "21:11: policies[0].mode: found "beet" (not in this version); accepted: tunnel, transport",
        "22:11: policies[0].peer: found "branch" (there is no peer of that name); accepted: the name of a peer",
        "23:11: policies[1].name: found "a" (policies[0] has that name); accepted: a name that no other policy has",
        "24:22: policies[1].localPort[1]: found 70000 (the largest is 65535); accepted: a port 0..65535, a range (8000-8099), a list of these, or any",
        "25:13: policies[1].action: found "allow"; accepted: protect, bypass, discard",
        "27:5: policies[2].nmae: found unknown key "nmae"; accepted: name, direction, local, remote, protocol, localPort, remotePort, icmpType, icmpCode, action, peer, mode, proposals, lifetime, start, onClose, selectorsPerChild, replayWindow, tfc; did you mean name?",
        "27:5: policies[2].name: found nothing; accepted: 1..63 letters, digits, dots, dashes and underscores, first a letter or digit",
        "30:17: policies[2].icmpType[0]: found "echo-requst" (it is not a number or a range of numbers); accepted: a name, a number 0..255, a range, or a list of these; names: echo-reply, destination-unreachable, redirect, echo-request, router-advertisement, router-solicitation, time-exceeded, parameter-problem, timestamp-request, timestamp-reply; did you mean echo-request?",
        "30:30: policies[2].icmpType[1]: found 300 (the largest is 255); accepted: a name, a number 0..255, a range, or a list of these; names: echo-reply, destination-unreachable, redirect, echo-request, router-advertisement, router-solicitation, time-exceeded, parameter-problem, timestamp-request, timestamp-reply",
        "31:5: policies[2].tfc: found tfc with action bypass; accepted: tfc only with action protect",
        "33:5: policies[3].remotePort: found remotePort with protocol any; accepted: ports with protocol tcp, udp, sctp, dccp or udplite",
        "34:5: policies[3].icmpCode: found icmpCode with protocol any; accepted: icmpCode with protocol icmp or icmpv6",
        "34:5: policies[3].icmpCode: found icmpCode without icmpType; accepted: icmpType beside icmpCode: a code means something only with its type",
        "36:5: policies[4]: found "just-a-name"; accepted: a map with name and action, and what the policy speaks of",
        "38:13: associations[0].policy: found "b" (there is no policy of that name); accepted: a",
        "39:12: associations[0].suite: found "aes256ccm16" (not in this version); accepted: aes256gcm16, aes128gcm16, chacha20poly1305, aes256-sha256, aes256-sha384, aes256-sha512, aes192-sha256, aes192-sha384, aes192-sha512, aes128-sha256, aes128-sha384, aes128-sha512, aes256-sha1, aes192-sha1, aes128-sha1",
        "41:13: associations[0].remote: found an IPv6 address beside local, which is IPv4; accepted: local and remote of one family",
        "42:21: associations[0].inbound.spi: found 3 (0..255 are reserved); accepted: 256..4294967295, such as 0xc0000001",
        "43:15: associations[0].outbound: found a number (not shown); accepted: a map with spi, key",
        "44:19: associations[0].replayWindow: found 1000 (it is not a power of two); accepted: a power of two, 64..65536; did you mean 1024?",
        "47:12: associations[1].local: found "224.0.0.1" (it is not the address of one host); accepted: the address of one host",
        "49:38: associations[1].inbound.key: found a key that is used twice (not shown) (associations[0].inbound has it, and both count from 1: every nonce would be used twice); accepted: a key of its own for each direction of each association",
        "50:39: associations[1].outbound.key: found file /etc/ipsec/nowhere.key (there is no such file); accepted: a readable key",
        "50:62: associations[1].outbound.kye: found unknown key "kye"; accepted: spi, key; did you mean key?",
        "52:5: associations[1].remotePort: found remotePort with encapsulation esp; accepted: remotePort only with encapsulation udp",
      ]
    `);
  });

  it('in one error that names the file', () => {
    expect(() => parseText('policies: []\nx: 1')).toThrow(
      [
        '/etc/ipsec/ipsec.yaml has 2 faults:',
        '/etc/ipsec/ipsec.yaml:1:11: policies: found an empty list; accepted: a list of policies, at least one',
        '/etc/ipsec/ipsec.yaml:2:1: x: found unknown key "x"; accepted: gateway, peers, policies, associations',
      ].join('\n'),
    );
  });

  it('as data', () => {
    try {
      parseText('gatway: {}\npolicies: [{ name: a, action: bypass }]');
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigError);
      expect(error).toMatchObject({
        code: 'IPSEC_ERR_CONFIG_INVALID',
        faults: [
          {
            file: '/etc/ipsec/ipsec.yaml',
            line: 1,
            column: 1,
            path: 'gatway',
            found: 'unknown key "gatway"',
            accepted: 'gateway, peers, policies, associations',
            nearest: 'gateway',
          },
        ],
      });
    }
  });

  it.each([
    [
      '',
      '1:1: found nothing (null); accepted: a map with gateway, peers, policies and associations',
    ],
    [
      '[]',
      '1:1: found an empty list; accepted: a map with gateway, peers, policies and associations',
    ],
    ['gateway: {}', '1:1: policies: found nothing; accepted: a list of policies, at least one'],
    ['policies: {}', '1:11: policies: found a map; accepted: a list of policies, at least one'],
    [
      'policies: [1]',
      '1:12: policies[0]: found 1; accepted: a map with name and action, and what the policy speaks of',
    ],
  ])('of the file as a whole: %j', (text, fault) => {
    expect(faultsOf(text)).toEqual([fault]);
  });
});

describe('associations', () => {
  const fault = (from: string, to: string): readonly string[] => faultsOf(GOOD.replace(from, to));

  it('need the laboratory', () => {
    expect(fault('laboratory: true', 'laboratory: false')).toEqual([
      '10:1: associations: found manually keyed associations without gateway.laboratory; accepted: gateway.laboratory: true beside them (RFC 8221 section 3), or none',
    ]);
  });

  it('have the directions of their policy', () => {
    expect(fault('action: protect', 'action: protect\n    direction: out')).toEqual([
      '16:5: associations[0].inbound: found inbound for policy lan-to-branch; accepted: only outbound: the policy has direction out',
    ]);
    expect(fault('    inbound: { spi: 0xc0000001, key: { file: in.key } }\n', '')).toEqual([
      '11:5: associations[0].inbound: found nothing; accepted: spi and key of the inbound SA, because policy lan-to-branch speaks of both directions',
    ]);
  });

  it('serve a protect policy that there is', () => {
    expect(fault('policy: lan-to-branch', 'policy: lan-to-brunch')).toEqual([
      '11:13: associations[0].policy: found "lan-to-brunch" (there is no policy of that name); accepted: lan-to-branch; did you mean lan-to-branch?',
    ]);
    expect(fault('action: protect', 'action: bypass')).toEqual([
      '11:13: associations[0].policy: found "lan-to-branch" (its action is bypass); accepted: the name of a protect policy',
    ]);
  });

  it('use a suite of their policy', () => {
    expect(fault('action: protect', 'action: protect\n    proposals: [ aes128gcm16 ]')).toEqual([
      '13:12: associations[0].suite: found aes256gcm16 (the proposals of policy lan-to-branch do not hold it); accepted: aes128gcm16',
    ]);
  });

  it('never use one key twice', () => {
    expect(fault('key: { file: out.key }', 'key: { file: in.key }')).toEqual([
      '16:39: associations[0].outbound.key: found a key that is used twice (not shown) (associations[0].inbound has it, and both count from 1: every nonce would be used twice); accepted: a key of its own for each direction of each association',
    ]);
    const second = GOOD.slice(GOOD.indexOf('  - policy: lan-to-branch'))
      .replace('policy: lan-to-branch', 'policy: other')
      .replaceAll('0xc000000', '0xd000000');
    const two = GOOD.replace(
      'policies:',
      'policies:\n  - { name: other, local: 10.9.0.0/16, action: protect }',
    );
    expect(faultsOf(two + second).map((text) => text.replace(/^[\d:]+ /, ''))).toEqual([
      expect.stringContaining('associations[1].inbound.key: found a key that is used twice'),
      expect.stringContaining('associations[1].outbound.key: found a key that is used twice'),
    ]);
  });

  it('have SPIs of their own, and one outbound SA a policy', () => {
    const second = GOOD.slice(GOOD.indexOf('  - policy: lan-to-branch'));
    const other = secretsOf({
      'file /etc/ipsec/in.key': IN_KEY,
      'file /etc/ipsec/out.key': OUT_KEY,
      'file /etc/ipsec/in2.key': IN_KEY.replace('1', '5'),
      'file /etc/ipsec/out2.key': OUT_KEY.replace('3', '5'),
    });
    const text = GOOD + second.replace('in.key', 'in2.key').replace('out.key', 'out2.key');
    expect(faultsOf(text, other).map((each) => each.replace(/^[\d:]+ /, ''))).toEqual([
      'associations[1].inbound.spi: found 0xc0000001 (associations[0].inbound has it); accepted: an SPI that no other inbound SA has',
      'associations[1].outbound: found a second outbound SA for policy lan-to-branch (associations[0] has the first); accepted: one outbound SA a policy',
      'associations[1].outbound.spi: found 0xc0000002 (associations[0].outbound has it); accepted: an SPI that no other outbound SA has',
    ]);
  });

  it.each([
    ['255', 'found 255 (0..255 are reserved)'],
    ['4294967296', 'found 4294967296'],
    ['-1', 'found -1'],
    ['"0x1ffffffff"', 'found "0x1ffffffff"'],
    ['1.5', 'found 1.5'],
  ])('refuse the SPI %s', (spi, found) => {
    expect(fault('spi: 0xc0000001', `spi: ${spi}`)).toEqual([
      `15:21: associations[0].inbound.spi: ${found}; accepted: 256..4294967295, such as 0xc0000001`,
    ]);
  });

  it.each([32, 63, 65, 1000, 65_537, 131_072])('refuse a window of %d', (window) => {
    const text = GOOD.replace('suite:', `replayWindow: ${window}\n    suite:`);
    expect(faultsOf(text)).toEqual([
      expect.stringContaining('accepted: a power of two, 64..65536'),
    ]);
  });
});

describe('keys', () => {
  const withKey = (key: string): string => GOOD.replace('{ file: in.key }', key);
  const reading = (bytes: string | Uint8Array) =>
    secretsOf({
      'file /etc/ipsec/in.key':
        typeof bytes === 'string' ? bytes : { ok: true, bytes, exposed: false },
      'env IN_KEY': typeof bytes === 'string' ? bytes : '',
      'credential in-key': typeof bytes === 'string' ? bytes : '',
      'file /etc/ipsec/out.key': OUT_KEY,
    });

  it.each([
    IN_KEY,
    `0x${IN_KEY}`,
    `  ${IN_KEY.toUpperCase()}\n`,
    Uint8Array.from({ length: 36 }, (_, index) => index + 200),
  ])('may be written so: %j', (bytes) => {
    const { config } = parseText(GOOD, reading(bytes));
    expect(config.associations[0]?.inbound?.key.byteLength).toBe(36);
  });

  it.each(['{ env: IN_KEY }', '{ credential: in-key }'])('may come from %s', (key) => {
    const { config } = parseText(withKey(key), reading(IN_KEY));
    expect(Buffer.from(config.associations[0]?.inbound?.key.reveal() ?? []).toString('hex')).toBe(
      IN_KEY,
    );
  });

  it.each([
    ['aes256gcm16', 36, '32 of cipher key, then 4 of salt (RFC 4106 section 8.1)'],
    ['aes128gcm16', 20, '16 of cipher key, then 4 of salt (RFC 4106 section 8.1)'],
    ['chacha20poly1305', 36, '32 of cipher key, then 4 of salt (RFC 7634 section 2)'],
  ])('of %s have %d bytes, no more and no fewer', (suite, length, parts) => {
    for (const wrong of [length - 1, length + 1, 16, 32]) {
      const secrets = secretsOf({
        'file /etc/ipsec/in.key': 'ab'.repeat(wrong),
        'file /etc/ipsec/out.key': 'cd'.repeat(length),
      });
      expect(faultsOf(GOOD.replace('aes256gcm16', suite), secrets)).toEqual([
        `15:38: associations[0].inbound.key: found ${wrong} bytes; accepted: ${length} bytes for ${suite}: ${parts}`,
      ]);
    }
  });

  it.each([
    ['a passphrase', 'found a text in file /etc/ipsec/in.key that is not hexadecimal (not shown)'],
    ['', 'found a text in file /etc/ipsec/in.key that is not hexadecimal (not shown)'],
    ['abc', 'found a text in file /etc/ipsec/in.key that is not hexadecimal (not shown)'],
  ])('are not %j', (content, found) => {
    expect(faultsOf(GOOD, reading(content))).toEqual([expect.stringContaining(found)]);
  });

  it.each([
    [
      '{ file: none.key }',
      'found file /etc/ipsec/none.key (there is no such file); accepted: a readable key',
    ],
    ['{}', 'found an empty map'],
    ['{ file: in.key, env: A }', 'found 2 sources of one key'],
    [
      '{ fiel: in.key }',
      'found unknown key "fiel"; accepted: file, env, credential; did you mean file?',
    ],
    [
      '{ credential: ../x }',
      'key.credential: found a string (not shown); accepted: the name of a credential, without slashes',
    ],
    ['[ 1 ]', 'found a list'],
    ['null', 'found nothing (null)'],
    [
      'hunter2',
      'found a text in the configuration that is not hexadecimal (not shown); accepted: 0x and 72 digits of hexadecimal',
    ],
  ])('are refused where they say %s', (key, found) => {
    expect(faultsOf(withKey(key))).toContainEqual(expect.stringContaining(found));
  });

  it('that may not be read are a fault, or a note where the file is only checked', () => {
    const secrets = secretsOf({
      'file /etc/ipsec/in.key': { ok: false, denied: true, reason: 'this user may not read it' },
      'file /etc/ipsec/out.key': OUT_KEY,
    });
    expect(faultsOf(GOOD, secrets)).toEqual([
      expect.stringContaining('file /etc/ipsec/in.key (this user may not read it)'),
    ]);
    const { config, findings } = parseText(GOOD, secrets, true);
    expect(findings).toMatchObject([{ severity: 'note', code: 'unread-key', line: 15 }]);
    expect(config.associations[0]?.inbound?.key.isPresent).toBe(false);
  });

  it('are read from the host', () => {
    const directory = mkdtempSync(join(tmpdir(), 'ipsec-key-'));
    const path = join(directory, 'a.key');
    writeFileSync(path, IN_KEY, { mode: 0o644 });
    const source = hostSecretSource({ A: 'ff', CREDENTIALS_DIRECTORY: directory });
    expect(source.read({ kind: 'file', path })).toMatchObject({ ok: true, exposed: true });
    expect(source.read({ kind: 'credential', name: 'a.key' })).toMatchObject({ ok: true });
    expect(source.read({ kind: 'env', name: 'A' })).toMatchObject({ ok: true });
    expect(source.read({ kind: 'env', name: 'B' })).toMatchObject({ ok: false, denied: false });
    expect(source.read({ kind: 'file', path: directory })).toMatchObject({
      ok: false,
      reason: 'it is not a file',
    });
    writeFileSync(path, 'a'.repeat(5000));
    expect(source.read({ kind: 'file', path })).toMatchObject({
      ok: false,
      reason: 'it is larger than 4096 bytes',
    });
  });
});

describe('key material', () => {
  const key = 'c0ffee00c0ffee11c0ffee22c0ffee33c0ffee44c0ffee55c0ffee66c0ffee77c0ffee88';
  const places = [
    `key: "0x${key}ff"`,
    `key: 0x${key}`,
    `key: ${key}`,
    `kye: "0x${key}"`,
    `key: { "0x${key}": 1 }`,
    `key: { file: "0x${key}", env: "0x${key}", credential: "0x${key}/" }`,
    `key: [ "0x${key}" ]`,
    `key: "0x${key}", spi: "0x${key}"`,
    `key: "0x${key}`,
    `"0x${key}"`,
    `key: ! "0x${key}"`,
    `key: *0x${key}`,
    `key: "\\q0x${key}"`,
  ];

  it.each(places)('shows in no fault: %s', (place) => {
    for (const text of [
      GOOD.replace('spi: 0xc0000001, key: { file: in.key }', `spi: 0xc0000001, ${place}`),
      GOOD.replace('{ spi: 0xc0000001, key: { file: in.key } }', `"0x${key}"`),
      GOOD.replace('suite: aes256gcm16', `suite: "0x${key}"`),
      GOOD.replace('policy: lan', `psk: "0x${key}"\n    policy: lan`),
      GOOD.replace('name: hq', `name: "0x${key}"`),
    ]) {
      const faults = faultsOf(text);
      expect(faults.join('\n').toLowerCase()).not.toMatch(/c0ffee|c0 ?ff|3\.44|2228/);
    }
  });
});

describe('text that is not YAML', () => {
  it.each([
    ['a: [1', 'or an open bracket'],
    [
      'a: 1\na: 2\npolicies: [{ name: a, action: bypass }]',
      '2:1: found a key that stands here a second time; accepted: each key once',
    ],
    ['\ta: 1', 'found a tab as indentation'],
    ['a: *b', '1:4: found an alias without its anchor'],
    ['a: 1\n---\nb: 2', 'found a second document; accepted: one document'],
  ])('%j', (text, message) => {
    expect(faultsOf(text).join('\n')).toContain(message);
  });

  it('does not hide the other faults where it can be read on', () => {
    expect(faultsOf('policies: [{ name: a, action: bypass, action: nothing }]')).toEqual([
      '1:39: found a key that stands here a second time; accepted: each key once',
      '1:47: policies[0].action: found "nothing"; accepted: protect, bypass, discard',
    ]);
  });

  it('ends with a ConfigError, whatever it is', () => {
    const pieces = fc.constantFrom(
      'gateway',
      'policies',
      'associations',
      ':',
      ' ',
      '\n',
      '  ',
      '- ',
      '[',
      ']',
      '{',
      '}',
      ',',
      '"',
      "'",
      'name',
      'key',
      'action',
      'bypass',
      '10.0.0.0/8',
      '0x10',
      '*a',
      '&a ',
      '!x ',
      '#',
      '|',
      '>',
      '?',
      '~',
      'null',
      'true',
      '1e9',
      '\t',
      '%',
      '@',
      '---',
      '<<',
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 40 }), (parts) => {
        try {
          parseText(parts.join(''));
        } catch (error) {
          expect(error).toBeInstanceOf(ConfigError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('ends so too for any object', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), fc.jsonValue(), (a, b, c) => {
        try {
          parseText(JSON.stringify({ gateway: a, policies: [b], associations: [c] }));
        } catch (error) {
          expect(error).toBeInstanceOf(ConfigError);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('of too many aliases is refused', () => {
    const levels = Array.from(
      { length: 12 },
      (_, level) => `a${level + 1}: &a${level + 1} [${`*a${level}, `.repeat(9)}]`,
    );
    expect(faultsOf(['a0: &a0 [x]', ...levels].join('\n'))).toEqual([
      expect.stringContaining('aliases that multiply'),
    ]);
  });
});

describe('a file', () => {
  it('that is not there', async () => {
    await expect(readConfigFile('/nonexistent/ipsec.yaml')).rejects.toMatchObject({
      code: 'IPSEC_ERR_CONFIG_UNREADABLE',
      faults: [{ file: '/nonexistent/ipsec.yaml', line: 0, accepted: 'a YAML or JSON file' }],
    });
  });

  it('gives positions and a directory', async () => {
    const path = join(mkdtempSync(join(tmpdir(), 'ipsec-config-')), 'a.yaml');
    writeFileSync(path, 'policies:\n  - name: a\n    action: bypass\n');
    const document = await readConfigFile(path);
    expect(document.position(['policies', 0, 'action'], 'key')).toEqual({ line: 3, column: 5 });
    expect(document.position(['policies', 0, 'action'], 'value')).toEqual({ line: 3, column: 13 });
    expect(document.position(['policies', 0, 'local'], 'key')).toEqual({ line: 2, column: 5 });
    expect(loadConfigText('', '/x/y.yaml').directory).toBe('/x');
  });
});

describe('the nearest name', () => {
  it.each([
    ['dataplan', 'dataplane'],
    ['gaurd', 'guard'],
    ['NAME', 'name'],
    ['zzzz', undefined],
    ['b', undefined],
  ])('to %s is %s', (found, nearest) => {
    expect(nearestName(found, ['name', 'dataplane', 'guard', 'a'])).toBe(nearest);
  });

  it('is a distance', () => {
    const word = fc.string({ maxLength: 8 });
    fc.assert(
      fc.property(word, word, (a, b) => {
        expect(editDistance(a, b)).toBe(editDistance(b, a));
        expect(editDistance(a, b) === 0).toBe(a === b);
        expect(editDistance(a, b)).toBeLessThanOrEqual(Math.max(a.length, b.length));
      }),
    );
  });
});
