/** What `check` warns of: legal and unwise. A fault is never here; parse.ts refuses those. */
import { parseIpAddress } from '../net/ip-address.js';
import { readSelector } from '../spd/selector.js';
import { fittingMtu, tunnelMtu } from './compile.js';
import { DEFAULTS } from './defaults.js';
import type { ConfigPath } from './document.js';
import { type ConfigFinding, Findings } from './finding.js';
import type { GatewayConfig } from './gateway-config.js';
import { lintPeers } from './lint-peers.js';
import { lintSpd } from './lint-spd.js';
import type { ParsedConfig } from './parse.js';

/** Packets of one segmentation-offload run, and queues that may hold one each at a time. */
const RUN_PACKETS = 44;
const QUEUES = 8;
/** RFC 8200 section 5: every IPv6 link carries packets of this size. */
const IPV6_MTU_MIN = 1280;

/**
 * Everything that is legal and unwise in a configuration, in the order of the file.
 *
 * @param now of the wall clock; null: validity of certificates is not looked at.
 */
export function lintConfig(
  parsed: ParsedConfig,
  now: Date | null = null,
): readonly ConfigFinding[] {
  const { config, document } = parsed;
  const findings = new Findings(document);
  lintSpd(config, findings);
  lintOnlyProtect(config, findings);
  lintPeers(config, findings, now);
  lintServed(config, findings);
  lintManualKeys(config, findings);
  lintWindows(config, findings);
  lintListen(config, findings);
  lintSizes(config, findings);
  return [...parsed.findings, ...findings.list()].toSorted(
    (a, b) => a.line - b.line || a.column - b.column,
  );
}

/** Who protects everything and thinks of nothing else locks himself out. */
function lintOnlyProtect(config: GatewayConfig, findings: Findings): void {
  if (!config.policies.every(({ action }) => action === 'PROTECT')) return;
  findings.add(
    'warning',
    'only-protect',
    ['policies'],
    'Every policy protects, and what none of them matches is discarded: SSH to this gateway and its own name resolution too. Write a bypass policy for how you manage it, with the network that you come from, and one for what may pass in clear; or a last `- { name: everything-else, action: discard }`, which says that it is meant.',
  );
}

/** A PROTECT policy without an SA drops what it matches: nothing can negotiate one. */
function lintServed(config: GatewayConfig, findings: Findings): void {
  for (const [index, policy] of config.policies.entries()) {
    if (policy.action !== 'PROTECT' || policy.peer !== null) continue;
    if (config.associations.some((association) => association.policy === policy.name)) continue;
    const drops = {
      both: 'every packet that it matches is dropped, in both directions',
      outbound: 'every outbound packet that it matches is dropped',
      inbound: 'every inbound packet that it matches is dropped, in clear or not',
    };
    findings.add(
      'warning',
      'no-association',
      ['policies', index],
      `No peer and no association serves ${policy.name}: ${drops[policy.direction]}.`,
    );
  }
}

function lintManualKeys(config: GatewayConfig, findings: Findings): void {
  if (config.associations.length === 0) return;
  // RFC 8221 section 3: manual keying should not be used, and counter modes with it least of all.
  findings.add(
    'warning',
    'manual-keys',
    ['associations'],
    'Manual keys with a counter-mode suite: RFC 8221 section 3, RFC 4106 section 2 and RFC 7634 advise against them, because one nonce used twice gives plaintext and integrity key away. ' +
      'Sequence numbers are reserved on disk before use, so a restart or crash repeats none. ' +
      'What remains: no forward secrecy and no rekeying (one stolen key opens all traffic, past and future), and repeated nonces if the state directory is removed or restored from a backup, or if a key is installed on a second host. Replace the keys by hand, and in such cases at once.',
  );
  for (const [index, association] of config.associations.entries()) {
    if (association.esn) continue;
    findings.add(
      'warning',
      'sequence-exhaustion',
      ['associations', index],
      'Without ESN this SA ends after 2^32-1 packets, about 70 minutes at a million a second, and manual keys are not rekeyed. Write esn: true on both sides.',
    );
  }
}

function lintWindows(config: GatewayConfig, findings: Findings): void {
  for (const [index, { inbound, replayWindow }] of config.associations.entries()) {
    const path = ['associations', index, 'replayWindow'];
    if (inbound === null && replayWindow !== DEFAULTS.replayWindow.value) {
      const why = 'Only inbound SAs have a replay window; this association has none.';
      findings.add('note', 'replay-window-unused', path, why);
    } else if (inbound !== null) lintWindow(findings, path, replayWindow);
  }
  for (const [index, { peer, replayWindow }] of config.policies.entries()) {
    if (peer !== null) lintWindow(findings, ['policies', index, 'replayWindow'], replayWindow);
  }
}

function lintWindow(findings: Findings, path: ConfigPath, replayWindow: number): void {
  if (replayWindow >= RUN_PACKETS * QUEUES) return;
  findings.add(
    'warning',
    'replay-window-small',
    path,
    `A window of ${replayWindow} packets is smaller than what is in flight at once: runs of up to ${RUN_PACKETS} packets in ${QUEUES} queues overtake one another, and good packets are refused as replays. The default is ${DEFAULTS.replayWindow.value}.`,
  );
}

function lintListen(config: GatewayConfig, findings: Findings): void {
  const listened = config.gateway.listen.map(parseIpAddress);
  const own = [
    ...config.associations.map(({ local }, index) => ({
      address: local,
      path: ['associations', index, 'local'],
    })),
    ...config.peers.flatMap(({ name, localAddress }) =>
      localAddress === null
        ? []
        : [{ address: localAddress, path: ['peers', name, 'localAddress'] }],
    ),
  ];
  for (const { address, path } of own) {
    const { family, value } = parseIpAddress(address);
    const isHeard = listened.some(
      (each) => each.family === family && (each.value === 0n || each.value === value),
    );
    if (isHeard) continue;
    findings.add(
      'warning',
      'not-listening',
      path,
      `gateway.listen (${config.gateway.listen.join(', ')}) does not cover ${address}: nothing that the peer sends arrives.`,
    );
  }
}

function lintSizes(config: GatewayConfig, findings: Findings): void {
  const mtu = Math.min(tunnelMtu(config), fittingMtu(config));
  for (const [index, policy] of config.policies.entries()) {
    if (policy.action !== 'PROTECT') continue;
    if (policy.tfcPadToBytes > mtu) {
      findings.add(
        'warning',
        'padding-above-mtu',
        ['policies', index, 'tfc'],
        `Packets padded to ${policy.tfcPadToBytes} bytes do not fit the outer path; the largest that does is ${mtu}.`,
      );
    }
    const { local, remote } = readSelector(policy.selector);
    const mayBeIpv6 = [local, remote].every(
      (ranges) => ranges.length === 0 || ranges.some(({ family }) => family === 6),
    );
    if (mayBeIpv6 && tunnelMtu(config) < IPV6_MTU_MIN) {
      findings.add(
        'warning',
        'mtu-below-ipv6',
        ['policies', index],
        `${policy.name} may carry IPv6, which needs links of ${IPV6_MTU_MIN} bytes (RFC 8200 section 5); this one carries ${tunnelMtu(config)}.`,
      );
    }
  }
}
