import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileSpd } from '../../../packages/ipsec-node/src/config/compile.js';
import {
  packetOfQuery,
  parseExplainWords,
} from '../../../packages/ipsec-node/src/config/explain.js';
import {
  type ConfigFinding,
  formatFinding,
} from '../../../packages/ipsec-node/src/config/finding.js';
import { lintConfig } from '../../../packages/ipsec-node/src/config/lint.js';
import { searchSpd } from '../../../packages/ipsec-node/src/spd/spd.js';
import { manualFile } from './example.js';
import { GOOD, parseText, SECRETS, secretsOf } from './source.js';

const ABOUT_KEYS = ['manual-keys', 'no-association', 'only-protect'];

/** Findings of a text but for those every text of this version with PROTECT has. */
function findingsOf(text: string, secrets = SECRETS): readonly ConfigFinding[] {
  return lintConfig(parseText(text, secrets)).filter(({ code }) => !ABOUT_KEYS.includes(code));
}

function codesOf(text: string): readonly string[] {
  return findingsOf(text).map(({ severity, code, path }) => `${severity} ${code} ${path}`);
}

describe('the example of four policies', () => {
  const { text } = manualFile('example-mission.yaml');

  it('shows its catch: which packet, which policy, and what to write instead', () => {
    const texts = lintConfig(parseText(text)).map((finding) =>
      formatFinding(finding).replace('/etc/ipsec/ipsec.yaml', 'example-mission.yaml'),
    );
    expect(texts).toMatchInlineSnapshot(`
      [
        "example-mission.yaml:15:5: warning: policies[0]: No peer and no association serves lan-to-lan: every packet that it matches is dropped, in both directions. [no-association]",
        "example-mission.yaml:22:5: note: policies[1]: lan-to-lan (PROTECT) and https-in-clear (BYPASS) both match out tcp 10.0.1.1:40000 10.0.2.1:443: lan-to-lan stands first and decides. If that is not meant, change their order or narrow one of them. [overlap]",
        "example-mission.yaml:22:5: warning: policies[1]: https-in-clear lets packets out in clear, and their replies do not come back: the reply \`in tcp 203.0.113.7:443 10.0.1.1:40000\` meets inbound-must-be-protected (PROTECT), which drops it because it comes in clear. Write before inbound-must-be-protected: \`- { name: https-in-clear-replies, direction: in, local: 10.0.1.0/24, remote: any, protocol: tcp, remotePort: 443, action: bypass }\`. The SPD keeps no state, so that entry lets every packet of this form pass, reply or not: let a stateful firewall tell them apart. [reply-refused]",
        "example-mission.yaml:31:5: warning: policies[2]: No peer and no association serves inbound-must-be-protected: every inbound packet that it matches is dropped, in clear or not. [no-association]",
        "example-mission.yaml:38:5: warning: policies[3]: everything-else lets packets out in clear, and their replies do not come back: the reply \`in udp 203.0.113.7:40000 10.0.1.1:40000\` meets inbound-must-be-protected (PROTECT), which drops it because it comes in clear. An entry for the replies would undo inbound-must-be-protected: rather let inbound-must-be-protected speak of both directions, so that such packets do not leave in clear either, or narrow everything-else to a protocol and port. [reply-refused]",
      ]
    `);
  });

  it('has no catch any more with what was written instead', () => {
    const fixed = text.replace(
      '  # 3:',
      '  - { name: https-in-clear-replies, direction: in, local: 10.0.1.0/24, remote: any, protocol: tcp, remotePort: 443, action: bypass }\n  # 3:',
    );
    expect(codesOf(fixed).filter((code) => code.includes('reply-refused policies[1]'))).toEqual([]);
  });
});

describe('policies that all protect', () => {
  it('discard the rest, management included, without saying so', () => {
    const text = (rest: string): string =>
      `policies: [{ name: lan, remote: 10.2.0.0/16, action: protect }${rest}]`;
    const only = (rest: string): readonly string[] =>
      lintConfig(parseText(text(rest))).flatMap(({ code, severity, path }) =>
        code === 'only-protect' ? [`${severity} ${path}`] : [],
      );
    expect(only('')).toEqual(['warning policies']);
    expect(only(', { name: rest, action: discard }')).toEqual([]);
    expect(only(', { name: ssh, protocol: tcp, localPort: 22, action: bypass }')).toEqual([]);
  });
});

describe('the order of the policies', () => {
  it('hides a policy behind an earlier one', () => {
    const text = `
policies:
  - { name: a, remote: 10.0.0.0/9, action: discard }
  - { name: b, remote: 10.128.0.0/9, action: bypass }
  - { name: c, remote: 10.0.0.0/8, protocol: tcp, remotePort: 22, action: protect }
  - { name: d, action: bypass }`;
    const findings = findingsOf(text);
    expect(findings.map(({ code, path }) => `${code} ${path}`)).toContain(
      'shadowed-policy policies[2]',
    );
    expect(findings.find(({ code }) => code === 'shadowed-policy')?.message).toBe(
      'c never decides: every packet that it speaks of is decided before it, by a (DISCARD), b (BYPASS). Move it up or remove it.',
    );
  });

  it('hides a policy in one direction', () => {
    expect(
      codesOf(`
policies:
  - { name: a, direction: in, action: discard }
  - { name: b, remote: 10.0.0.0/8, action: discard }`),
    ).toEqual(['note shadowed-policy policies[1]']);
  });

  it('lets overlap what protects and what does not', () => {
    const text = (first: string, second: string): string => `
policies:
  - ${first}
  - ${second}`;
    const web = '{ name: web, local: 10.1.0.0/16, protocol: tcp, remotePort: 443, action: bypass }';
    const lan = '{ name: lan, local: 10.1.0.0/16, remote: 10.2.0.0/16, action: protect }';
    expect(codesOf(text(web, lan))).toEqual(['warning overlap policies[1]']);
    expect(findingsOf(text(web, lan))[0]).toMatchObject({
      packet: 'out tcp 10.1.0.1:40000 10.2.0.1:443',
      line: 4,
    });
    expect(codesOf(text(lan, web))).toEqual(['note overlap policies[1]']);
  });

  it('takes exceptions out of a protection', () => {
    expect(
      codesOf(`
policies:
  - { name: dns, remote: 10.2.0.53, protocol: udp, remotePort: 53, action: bypass }
  - { name: lan, remote: 10.2.0.0/16, action: protect }`),
    ).toEqual(['note exception policies[1]']);
  });

  it('says nothing of a general policy after special ones', () => {
    expect(
      codesOf(`
policies:
  - { name: lan, remote: 10.2.0.0/16, action: protect }
  - { name: rest, action: bypass }`),
    ).toEqual([]);
  });

  it('knows what can match nothing', () => {
    expect(
      codesOf('policies: [{ name: a, local: 10.0.0.0/8, remote: "::/0", action: discard }]'),
    ).toEqual(['warning unmatchable-policy policies[0]']);
  });

  it('sees replies that match nothing, and what to write', () => {
    const [finding] = findingsOf(
      'policies: [{ name: out, direction: out, remote: 10.0.0.0/8, action: bypass }]',
    );
    expect(finding).toMatchObject({
      code: 'reply-refused',
      packet: 'in tcp 10.0.0.1:40000 192.0.2.10:40000',
    });
    expect(finding?.message).toContain(
      'matches no entry and is discarded. Leave direction out of out',
    );
  });

  it('shows packets that do what the finding says', () => {
    const address = fc.constantFrom('any', '10.0.0.0/8', '10.1.0.0/16', '10.1.2.0/24', '::/0');
    const policy = fc.record({
      direction: fc.constantFrom('in', 'out', 'both'),
      local: address,
      remote: address,
      port: fc.constantFrom('', 'protocol: tcp, remotePort: 443,', 'protocol: udp,'),
      action: fc.constantFrom('protect', 'bypass', 'discard'),
    });
    let shown = 0;
    fc.assert(
      fc.property(fc.array(policy, { minLength: 1, maxLength: 5 }), (policies) => {
        const lines = policies.map(
          ({ direction, local, remote, port, action }, index) =>
            `  - { name: p${index}, direction: ${direction}, local: "${local}", remote: "${remote}", ${port} action: ${action} }`,
        );
        const parsed = parseText(`policies:\n${lines.join('\n')}`);
        const spd = compileSpd(parsed.config, 1);
        for (const finding of lintConfig(parsed)) {
          if (finding.packet === undefined) continue;
          shown += 1;
          const query = parseExplainWords([finding.packet]);
          const direction = query.direction === 'in' ? 'inbound' : 'outbound';
          const decision = searchSpd(spd, direction, packetOfQuery(query));
          const decider = decision.entry?.name ?? 'no entry';
          expect(finding.message, finding.packet).toContain(decider);
          if (finding.code === 'reply-refused') expect(decision.action).not.toBe('BYPASS');
          if (finding.code === 'exception') expect(decision.action).toBe('BYPASS');
        }
      }),
      { numRuns: 300 },
    );
    expect(shown).toBeGreaterThan(100);
  });

  it('calls shadowed exactly what no packet reaches', () => {
    const text = (remote: string): string => `
policies:
  - { name: a, remote: 10.0.0.0-10.0.0.9, action: discard }
  - { name: b, remote: 10.0.0.10-10.0.0.19, action: discard }
  - { name: c, remote: ${remote}, action: discard }`;
    expect(codesOf(text('10.0.0.5-10.0.0.15'))).toEqual(['warning shadowed-policy policies[2]']);
    expect(codesOf(text('10.0.0.5-10.0.0.20'))).toEqual([]);
  });

  it('ends soon for many policies', () => {
    const lines = Array.from(
      { length: 1000 },
      (_, index) =>
        `  - { name: p${index}, remote: 10.${index % 250}.${Math.floor(index / 250)}.0/24, protocol: tcp, remotePort: ${index + 1}, action: discard }`,
    );
    const started = performance.now();
    findingsOf(`policies:\n${lines.join('\n')}\n  - { name: rest, action: bypass }`);
    expect(performance.now() - started).toBeLessThan(15_000);
  });
});

describe('built-in entries', () => {
  it('are missed where a policy refuses what they let pass', () => {
    const text = (builtin: string, rest: string): string => `
gateway: { builtin: ${builtin} }
policies: [{ name: all, action: ${rest} }]`;
    expect(codesOf(text('{ neighbour-discovery: false }', 'protect'))).toEqual([
      'warning builtin-off gateway.builtin.neighbour-discovery',
    ]);
    expect(codesOf(text('{ neighbour-discovery: false }', 'bypass'))).toEqual([]);
    expect(codesOf(text('false', 'discard'))).toEqual(
      ['loopback', 'neighbour-discovery', 'multicast-listener-discovery', 'dhcpv4', 'dhcpv6'].map(
        (name) => `warning builtin-off gateway.builtin.${name}`,
      ),
    );
  });
});

describe('associations', () => {
  const codes = (from: string, to: string): readonly string[] => codesOf(GOOD.replace(from, to));

  it('have nothing but manual keys to be warned of', () => {
    const text = GOOD.replace(
      'associations:',
      '  - { name: everything-else, action: discard }\nassociations:',
    );
    expect(lintConfig(parseText(text)).map(({ code }) => code)).toEqual(['manual-keys']);
    expect(lintConfig(parseText(text))[0]?.message).toMatch(/RFC 8221 section 3.*What remains/s);
  });

  it('are missed by a protect policy', () => {
    const findings = lintConfig(
      parseText('policies: [{ name: a, direction: in, action: protect }]'),
    ).filter(({ code }) => code === 'no-association');
    expect(findings.map(({ message }) => message)).toEqual([
      'No peer and no association serves a: every inbound packet that it matches is dropped, in clear or not.',
    ]);
  });

  it.each([
    ['suite:', 'esn: false\n    suite:', 'warning sequence-exhaustion associations[0]'],
    [
      'suite:',
      'replayWindow: 64\n    suite:',
      'warning replay-window-small associations[0].replayWindow',
    ],
    ['name: hq', 'listen: 192.0.2.9', 'warning not-listening associations[0].local'],
    ['name: hq', 'listen: "::"', 'warning not-listening associations[0].local'],
    [
      'action: protect',
      'action: protect\n    tfc: { padTo: 1500 }',
      'warning padding-above-mtu policies[0].tfc',
    ],
    [
      '{ file: in.key }',
      `"0x${'5a6b'.repeat(18)}"`,
      'warning inline-key associations[0].inbound.key',
    ],
  ])('%j for %j: %s', (from, to, code) => {
    expect(codes(from, to)).toEqual([code]);
  });

  it('with a window and nothing to receive', () => {
    const text = GOOD.replace('action: protect', 'action: protect\n    direction: out')
      .replace(/ {4}inbound:.*\n/, '')
      .replace('suite:', 'replayWindow: 4096\n    suite:');
    expect(codesOf(text)).toContain('note replay-window-unused associations[0].replayWindow');
  });

  it('with a placeholder for a key, or a key that others may read', () => {
    const secrets = secretsOf({
      'file /etc/ipsec/in.key': '00'.repeat(36),
      'file /etc/ipsec/out.key': {
        ok: true,
        bytes: new TextEncoder().encode('5a6b'.repeat(18)),
        exposed: true,
      },
    });
    expect(findingsOf(GOOD, secrets).map(({ code }) => code)).toEqual([
      'weak-key',
      'exposed-key-file',
    ]);
  });

  it('that may carry IPv6 over an interface too small for it', () => {
    expect(
      codesOf(`
gateway: { interface: { mtu: 1200 } }
policies: [{ name: a, local: "2001:db8::/32", action: protect }]`),
    ).toEqual(['warning mtu-below-ipv6 policies[0]']);
  });
});
