/** What `check` warns of: legal and unwise. A fault is never here; parse.ts refuses those. */
import { parseIpAddress } from '../net/ip-address.js';
import { readSelector } from '../spd/selector.js';
import { fittingMtu, tunnelMtu } from './compile.js';
import { DEFAULTS } from './defaults.js';
import { type ConfigFinding, Findings } from './finding.js';
import type { GatewayConfig } from './gateway-config.js';
import { lintSpd } from './lint-spd.js';
import type { ParsedConfig } from './parse.js';

/** Packets of one segmentation-offload run, and queues that may hold one each at a time. */
const RUN_PACKETS = 44;
const QUEUES = 8;
/** RFC 8200 section 5: every IPv6 link carries packets of this size. */
const IPV6_MTU_MIN = 1280;

/** Everything that is legal and unwise in a configuration, in the order of the file. */
export function lintConfig(parsed: ParsedConfig): readonly ConfigFinding[] {
  const { config, document } = parsed;
  const findings = new Findings(document);
  lintSpd(config, findings);
  lintServed(config, findings);
  lintManualKeys(config, findings);
  lintWindows(config, findings);
  lintListen(config, findings);
  lintSizes(config, findings);
  return [...parsed.findings, ...findings.list()].toSorted(
    (a, b) => a.line - b.line || a.column - b.column,
  );
}

/** A PROTECT policy without an SA drops what it matches: nothing can negotiate one. */
function lintServed(config: GatewayConfig, findings: Findings): void {
  for (const [index, policy] of config.policies.entries()) {
    if (policy.action !== 'PROTECT') continue;
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
      `No association serves ${policy.name}: ${drops[policy.direction]}.`,
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
    } else if (inbound !== null && replayWindow < RUN_PACKETS * QUEUES) {
      findings.add(
        'warning',
        'replay-window-small',
        path,
        `A window of ${replayWindow} packets is smaller than what is in flight at once: runs of up to ${RUN_PACKETS} packets in ${QUEUES} queues overtake one another, and good packets are refused as replays. The default is ${DEFAULTS.replayWindow.value}.`,
      );
    }
  }
}

function lintListen(config: GatewayConfig, findings: Findings): void {
  const listened = config.gateway.listen.map(parseIpAddress);
  for (const [index, { local }] of config.associations.entries()) {
    const own = parseIpAddress(local);
    const isHeard = listened.some(
      ({ family, value }) => family === own.family && (value === 0n || value === own.value),
    );
    if (isHeard) continue;
    findings.add(
      'warning',
      'not-listening',
      ['associations', index, 'local'],
      `gateway.listen (${config.gateway.listen.join(', ')}) does not cover ${local}: nothing that the peer sends arrives.`,
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
