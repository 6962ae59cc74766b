import { describe, expect, it } from 'vitest';
import { lintConfig } from '../../../packages/ipsec-node/src/config/lint.js';
import { parseText, SECRETS, WITH_PEER } from './source.js';

/** Severity, code and path of each finding, and its message. */
function findingsOf(text: string, now: Date | null = null) {
  return lintConfig(parseText(text, SECRETS), now);
}

function codesOf(text: string): readonly string[] {
  return findingsOf(text).map(({ severity, code, path }) => `${severity} ${code} ${path}`);
}

const policy = (fields: string): string =>
  WITH_PEER.replace('    peer: branch', `    peer: branch\n    ${fields}`);
const peer = (line: string): string => `${WITH_PEER}\n    ${line}`;

const second = (name: string, remote: string, address = '198.51.100.2'): string => `
  ${name}:
    address: ${address}
    local: { id: hq.example, auth: psk }
    remote: { id: "${remote}", auth: psk }
    psk: { file: branch.psk }`;
const more = (name: string): string =>
  `\n  - { name: ${name}-lan, remote: 10.9.0.0/16, action: protect, peer: ${name} }`;
const withSecond = (name: string, remote: string, address?: string): string =>
  WITH_PEER.replace('\npeers:', `${more(name)}\npeers:`)
    .replace('  - { name: everything-else, action: discard }', '')
    .concat(second(name, remote, address))
    .replace(`${more(name)}\n`, `${more(name)}\n  - { name: rest, action: discard }\n`);

describe('check of peers', () => {
  it('sees key exchanges that fail at the first rekey', () => {
    const ike = 'proposals: aes256gcm16-prfsha384-ecp384';
    expect(codesOf(`${policy('proposals: aes256gcm16-ecp384')}\n    ${ike}`)).toEqual([]);
    expect(codesOf(`${policy('proposals: aes256gcm16-modp2048')}\n    ${ike}`)).toEqual([
      'warning late-group policies[0].proposals',
    ]);
    expect(codesOf(`${policy('proposals: aes256gcm16-modp2048-modpnone')}\n    ${ike}`)).toEqual([
      'note late-group policies[0].proposals',
    ]);
    expect(codesOf(`${policy('proposals: aes256gcm16')}\n    ${ike}`)).toEqual([
      'note no-pfs policies[0].proposals',
    ]);
    // With the default of the policy there is nothing to see, whatever the peer has.
    expect(codesOf(`${WITH_PEER}\n    ${ike}`)).toEqual([]);
  });

  it('sees ciphers that are stronger than what their keys travel by', () => {
    const ike = 'proposals: aes128gcm16-prfsha256-x25519';
    expect(codesOf(`${policy('proposals: aes256gcm16-x25519')}\n    ${ike}`)).toEqual([
      'warning weaker-ike policies[0].proposals',
    ]);
    expect(codesOf(`${policy('proposals: chacha20poly1305-x25519')}\n    ${ike}`)).toEqual([
      'warning weaker-ike policies[0].proposals',
    ]);
    expect(codesOf(`${policy('proposals: aes128gcm16-x25519')}\n    ${ike}`)).toEqual([]);
  });

  it('names algorithms that are advised against', () => {
    const text = `${policy('proposals: aes128-sha1-modp1024')}
    legacy: true
    proposals: aes128-sha1-modp1024`;
    const findings = findingsOf(text);
    expect(findings.map(({ code, path }) => `${code} ${path}`)).toEqual([
      'legacy-algorithm policies[0].proposals',
      'legacy-algorithm peers.branch.proposals',
    ]);
    expect(findings[1]?.message).toContain('branch allows prfsha1, sha1, modp1024,');
  });

  it('sees peers that nobody names', () => {
    expect(codesOf(WITH_PEER + second('other', 'other.example'))).toEqual([
      'warning unused-peer peers.other',
    ]);
  });

  it('sees peers that an earlier one stands before', () => {
    expect(codesOf(withSecond('other', 'branch.example'))).toEqual([
      'warning shadowed-peer peers.other',
    ]);
    expect(codesOf(withSecond('other', 'BRANCH.example'))).toHaveLength(1);
    expect(codesOf(withSecond('other', 'other.example'))).toEqual([]);
    expect(codesOf(withSecond('other', '*.example'))).toEqual([]);
    expect(codesOf(withSecond('other', 'branch.example', '198.51.100.3'))).toEqual([]);
    const wide = (id: string): string =>
      withSecond('other', 'b.branch.example').replace('id: branch.example', `id: "${id}"`);
    expect(codesOf(wide('*.example'))).toEqual(['warning shadowed-peer peers.other']);
    expect(codesOf(wide('any'))).toEqual(['warning shadowed-peer peers.other']);
    expect(codesOf(wide('*.other'))).toEqual([]);
    expect(
      codesOf(wide('any').replace('address: 198.51.100.2', 'address: 198.51.100.0/24')),
    ).toEqual(expect.arrayContaining(['warning shadowed-peer peers.other']));
  });

  it('sees a key that anybody may use for any name', () => {
    const text = WITH_PEER.replace('198.51.100.2', 'any').replace('branch.example', '"*.example"');
    expect(codesOf(text)).toEqual(['warning psk-for-anybody peers.branch.remote']);
    expect(codesOf(text.replace('"*.example"', 'branch.example'))).toEqual([]);
    expect(codesOf(text.replace('address: any', 'address: 198.51.100.2'))).toEqual([]);
  });

  it('sees what nobody starts', () => {
    expect(codesOf(policy('start: none'))).toEqual(['note never-started peers.branch']);
    expect(codesOf(policy('start: trap').replace('198.51.100.2', '198.51.100.0/24'))).toEqual([
      'warning never-started policies[0].start',
    ]);
    expect(codesOf(WITH_PEER.replace('198.51.100.2', '198.51.100.0/24'))).toEqual([]);
  });

  it('sees transport mode that can carry nothing', () => {
    expect(codesOf(policy('mode: transport'))).toEqual([
      'warning transport-selector policies[0].remote',
    ]);
    expect(codesOf(policy('mode: transport').replace('10.2.0.0/16', '198.51.100.2'))).toEqual([]);
  });

  it('sees windows that are small, and addresses that are not listened on', () => {
    expect(codesOf(policy('replayWindow: 64'))).toEqual([
      'warning replay-window-small policies[0].replayWindow',
    ]);
    const text = `gateway: { listen: 192.0.2.9 }\n${peer('localAddress: 192.0.2.1')}`;
    expect(codesOf(text)).toEqual(['warning not-listening peers.branch.localAddress']);
  });
});
