import { describe, expect, it } from 'vitest';
import {
  explainConfig,
  packetOfQuery,
  parseExplainWords,
  renderExplanation,
} from '../../../packages/ipsec-node/src/config/explain.js';
import { formatPacket } from '../../../packages/ipsec-node/src/spd/packet.js';
import { manualFile } from './example.js';
import { GOOD, parseText, WITH_PEER } from './source.js';

function explained(text: string, words: string): string {
  const { config } = parseText(text.replace('gateway:', 'gateway:\n  builtin: false'));
  return renderExplanation(explainConfig(config, parseExplainWords([words])));
}

describe('the example of four policies', () => {
  const { text } = manualFile('example-mission.yaml');

  it.each([
    ['out tcp 10.0.1.5:40000 10.0.2.9:443', 'lan-to-lan', 'PROTECT'],
    ['in tcp 10.0.2.9:443 10.0.1.5:40000', 'lan-to-lan', 'PROTECT'],
    ['out tcp 10.0.1.5:40000 203.0.113.7:443', 'https-in-clear', 'BYPASS'],
    ['in tcp 203.0.113.7:443 10.0.1.5:40000', 'inbound-must-be-protected', 'PROTECT'],
    ['in icmp 203.0.113.7 10.0.1.5', 'inbound-must-be-protected', 'PROTECT'],
    ['out tcp 10.0.1.5:40000 203.0.113.7:80', 'everything-else', 'BYPASS'],
    ['in udp 203.0.113.7:53 192.0.2.1:5353', 'everything-else', 'BYPASS'],
    ['out udp [2001:db8::1]:5 [2001:db8::2]:53', 'everything-else', 'BYPASS'],
  ])('%s: %s, %s', (words, name, action) => {
    const { config } = parseText(text);
    expect(explainConfig(config, parseExplainWords(words.split(' ')))).toMatchObject({
      action,
      deciding: { name },
    });
  });

  it('says of each earlier policy which field did not match', () => {
    expect(explained(text, 'out tcp 10.0.1.5:40000 203.0.113.7:80')).toBe(
      [
        'outbound tcp 10.0.1.5:40000 203.0.113.7:80',
        '',
        '    1  lan-to-lan                 no: remote 203.0.113.7 is not 10.0.2.0/24',
        '    2  https-in-clear             no: remotePort 80 is not 443',
        '    3  inbound-must-be-protected  no: direction is outbound, the entry speaks of inbound only',
        '    4  everything-else            BYPASS: local any, remote any',
        '',
        'Passes in clear, by everything-else: IPsec does not touch it.',
      ].join('\n'),
    );
  });
});

describe('an explanation', () => {
  it('names the peer that the SA is negotiated with', () => {
    const { config } = parseText(WITH_PEER);
    const outcome = (words: string): string =>
      explainConfig(config, parseExplainWords([words])).outcome;
    expect(outcome('out udp 10.1.0.5:1 10.2.0.20:2')).toBe(
      'Protected by lan-to-branch: leaves in an SA that is negotiated with branch, and until there is one it is held or dropped.',
    );
    expect(outcome('in udp 10.2.0.20:2 10.1.0.5:1')).toBe(
      'Accepted by lan-to-branch only if it arrived in an SA that was negotiated with branch; in clear it is dropped.',
    );
  });

  it('names the SA that carries the packet', () => {
    expect(explained(GOOD, 'out udp 10.1.0.5:1 10.3.0.20:2')).toBe(
      [
        'outbound udp 10.1.0.5:1 10.3.0.20:2',
        '',
        '    1  lan-to-branch  PROTECT: local 10.1.0.0/16, remote 10.2.0.0/16, 10.3.0.10-10.3.0.99',
        '',
        'Protected by lan-to-branch: leaves in SA 0xc0000002 (aes256gcm16, ESP in UDP, 192.0.2.1 to 198.51.100.2).',
      ].join('\n'),
    );
    expect(explained(GOOD, 'in udp 10.3.0.20:2 10.1.0.5:1')).toContain(
      'Accepted by lan-to-branch only if it arrived in SA 0xc0000001 (aes256gcm16, ESP in UDP, 198.51.100.2 to 192.0.2.1); in clear it is dropped.',
    );
  });

  it('says so where no entry matches', () => {
    expect(explained(GOOD, 'out gre 10.1.0.5 10.9.0.1')).toBe(
      [
        'outbound gre 10.1.0.5 10.9.0.1',
        '',
        '    1  lan-to-branch  no: remote 10.9.0.1 is not one of 10.2.0.0/16, 10.3.0.10-10.3.0.99',
        '       no entry       DISCARD: what no entry matches is discarded',
        '',
        'Discarded: no entry matches.',
      ].join('\n'),
    );
  });

  it('shows the built-in entries, each with one reason', () => {
    const { config } = parseText(GOOD);
    const explanation = explainConfig(
      config,
      parseExplainWords(['out', 'icmpv6', 'fe80::1', 'ff02::1:ff00:2', 'neighbour-solicitation']),
    );
    expect(explanation).toMatchObject({
      action: 'BYPASS',
      deciding: { name: 'builtin/neighbour-discovery-remote', builtin: true },
      associations: [],
    });
    expect(renderExplanation(explanation)).toContain(
      'builtin/loopback-v4                 no: local fe80::1 is not 127.0.0.0/8\n',
    );
  });

  it('can be printed as JSON', () => {
    const { config } = parseText(GOOD);
    const explanation = explainConfig(config, parseExplainWords(['out udp 10.1.0.5:1 10.2.0.2:2']));
    expect(JSON.parse(JSON.stringify(explanation))).toEqual(explanation);
    expect(JSON.stringify(explanation)).not.toContain('key');
  });
});

describe('a packet in words', () => {
  it.each([
    'tcp 10.1.0.5:40000 203.0.113.7:443',
    'udp [2001:db8::1]:53 [2001:db8::2]:53',
    'icmp 10.1.0.5 10.2.0.1 echo-request',
    'icmp 10.1.0.5 10.2.0.1 destination-unreachable/4',
    'icmpv6 2001:db8::1 2001:db8::2 packet-too-big',
    'icmp 10.1.0.5 10.2.0.1 200/7',
    'esp 10.1.0.5 10.2.0.1',
    '253 10.1.0.5 10.2.0.1',
  ])('%s', (words) => {
    expect(formatPacket(packetOfQuery(parseExplainWords(['out', words])))).toBe(words);
  });

  it.each([
    ['', 'the first word is in or out, not ""'],
    ['outbound tcp 1.1.1.1:1 2.2.2.2:2', 'the first word is in or out, not "outbound"'],
    ['out tcp 1.1.1.1:1', 'direction, protocol, source and destination are needed'],
    ['out tpc 1.1.1.1:1 2.2.2.2:2', '"tpc" is not a protocol; did you mean tcp?'],
    ['out tcp 1.1.1.1 2.2.2.2:2', 'source 1.1.1.1 lacks its port: tcp has ports'],
    ['out gre 1.1.1.1 2.2.2.2:2', 'destination 2.2.2.2:2 has a port, and gre has none'],
    ['out tcp 1.1.1.1:1 [::1]:2', 'source and destination are of different families'],
    ['out tcp 1.1.1.1:1 host:2', 'destination "host:2" is not an address with a port'],
    ['out tcp 1.1.1.1:1 2.2.2.2:2 echo-request', '"echo-request": tcp has no types'],
    ['out icmp 1.1.1.1 2.2.2.2 ehco', '"ehco" is not an ICMP type (0..255 or echo-reply'],
    ['out icmp 1.1.1.1 2.2.2.2 8 0', '"0" is too much'],
  ])('%j is none: %s', (words, message) => {
    const read = (): unknown => packetOfQuery(parseExplainWords([words]));
    expect(read).toThrow(message);
    expect(read).toThrow(expect.objectContaining({ code: 'IPSEC_ERR_EXPLAIN_SYNTAX' }));
  });
});
