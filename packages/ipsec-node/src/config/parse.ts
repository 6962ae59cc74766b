/** Foreign data to {@link GatewayConfig}: every fault at once, or the whole configuration. */
import { ConfigError } from '../errors.js';
import type { Aftermath } from '../pad/child-terms.js';
import { ASSOCIATIONS_MAX, PEERS_MAX, POLICIES_MAX } from './defaults.js';
import { secretsOf } from './compile.js';
import type { ConfigDocument } from './document.js';
import { describeValue, Faults } from './fault.js';
import { type ConfigFinding, Findings } from './finding.js';
import type { GatewayConfig, PolicyConfig } from './gateway-config.js';
import {
  type AssociationContext,
  checkAssociations,
  parseAssociation,
} from './parse-association.js';
import { parseGateway } from './parse-gateway.js';
import { type KeyArchives, openKeyArchives } from './parse-credentials.js';
import { type PeerContext, type PeerOutline, parsePeer } from './parse-peer.js';
import { checkPolicyNames, parsePolicy } from './parse-policy.js';
import { Reader, type Section } from './reader.js';
import { configFileSchema } from './schema.js';
import type { SecretSource } from './secret-source.js';

export interface ParseOptions {
  readonly secrets: SecretSource;
  /**
   * True: a key file that this user may not read is noted, and the association's key is not
   * present. For commands that check or explain, never for one that starts something.
   */
  readonly tolerateDeniedSecrets: boolean;
  /** Private keys in PKCS#12, opened before: {@link parseConfigWithKeys} does that. */
  readonly archives?: KeyArchives;
}

/** A configuration with what was noticed while reading it. */
export interface ParsedConfig {
  readonly config: GatewayConfig;
  readonly document: ConfigDocument;
  /** About keys only; the rest is `lintConfig`. */
  readonly findings: readonly ConfigFinding[];
}

/**
 * Understands a document whose private keys may be PKCS#12.
 *
 * @throws ConfigError as {@link parseConfig}.
 */
export async function parseConfigWithKeys(
  document: ConfigDocument,
  options: ParseOptions,
): Promise<ParsedConfig> {
  const reader = new Reader(new Faults(document));
  const root = reader.section(document.value, [], []);
  const peers = root?.values.get('peers');
  const isMap = typeof peers === 'object' && peers !== null && !Array.isArray(peers);
  const context = {
    document,
    findings: new Findings(document),
    secrets: options.secrets,
    tolerateDenied: true,
  };
  const archives = await openKeyArchives(reader, context, isMap ? Object.entries(peers) : []);
  return parseConfig(document, { ...options, archives });
}

/**
 * Understands a document.
 *
 * @throws ConfigError IPSEC_ERR_CONFIG_INVALID with all faults, in the order of the file. No key
 *   that was read remains in memory then.
 */
export function parseConfig(document: ConfigDocument, options: ParseOptions): ParsedConfig {
  const faults = new Faults(document);
  const reader = new Reader(faults);
  const findings = new Findings(document);
  const root = reader.section(document.value, [], Object.keys(configFileSchema.shape), {
    name: '',
    accepted: 'a map with gateway, peers, policies and associations',
  });
  if (root === null) throw invalid(document, faults);

  const gateway = parseGateway(reader, document, root);
  const sources = {
    document,
    findings,
    secrets: options.secrets,
    tolerateDenied: options.tolerateDeniedSecrets,
    encapsulation: gateway.encapsulation,
    archives: options.archives ?? new Map(),
  };
  const peerOutlines = parsePeers(reader, sources, root);
  const outlines = reader
    .list(root, 'policies', {
      max: POLICIES_MAX,
      accepted: 'a list of policies, at least one',
      required: true,
    })
    .map((value, index) => parsePolicy(reader, value, index, peerOutlines));
  checkPolicyNames(reader, outlines);

  const context: AssociationContext = { ...sources, policies: outlines };
  const parsed = reader
    .list(root, 'associations', {
      max: ASSOCIATIONS_MAX,
      accepted: 'a list of associations',
      required: false,
    })
    .map((value, index) => parseAssociation(reader, context, value, index));
  checkAssociations(reader, parsed);
  if (parsed.length > 0 && !gateway.laboratory && !isFaulty(faults, 'gateway.laboratory')) {
    faults.add(['associations'], {
      found: 'manually keyed associations without gateway.laboratory',
      // RFC 8221 section 3: manual keying should not be used.
      accepted: 'gateway.laboratory: true beside them (RFC 8221 section 3), or none',
      at: 'key',
    });
  }

  const policies = outlines.flatMap(({ policy }) => (policy === undefined ? [] : [policy]));
  const associations = parsed.flatMap(({ association }) =>
    association === undefined ? [] : [association],
  );
  const peers = peerOutlines.flatMap(({ peer }) =>
    peer === undefined
      ? []
      : [{ ...peer, onDeath: peer.onDeath ?? aftermathOf(peer.name, policies) }],
  );
  const config: GatewayConfig = { gateway, peers, policies, associations };
  if (faults.count > 0) {
    for (const secret of peerOutlines.flatMap(({ secrets }) => secrets)) secret.wipe();
    for (const { inbound, outbound } of parsed) {
      inbound.key?.wipe();
      outbound.key?.wipe();
    }
    throw invalid(document, faults);
  }
  return { config, document, findings: findings.list() };
}

/** Zeroes every key of a configuration. Idempotent. */
export function wipeConfig(config: GatewayConfig): void {
  for (const { inbound, outbound } of config.associations) {
    inbound?.key.wipe();
    outbound?.key.wipe();
  }
  for (const peer of config.peers) {
    for (const secret of secretsOf(peer)) secret.wipe();
  }
}

/** Reads `peers`, in the order of the file. */
function parsePeers(reader: Reader, context: PeerContext, root: Section): readonly PeerOutline[] {
  if (!root.values.has('peers')) return [];
  const value = root.values.get('peers');
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    reader.faults.add(['peers'], {
      found: describeValue(value, ['peers']),
      accepted: 'a map of peers by their names',
    });
    return [];
  }
  const entries = Object.entries(value);
  if (entries.length > PEERS_MAX) {
    const accepted = `at most ${PEERS_MAX} entries`;
    reader.faults.add(['peers'], { found: `${entries.length} entries`, accepted });
    return [];
  }
  return entries.map(([name, peer]) => parsePeer(reader, context, peer, name));
}

/** What follows on the death of a peer: what its most eager policy wants. */
function aftermathOf(peer: string, policies: readonly PolicyConfig[]): Aftermath {
  const starts = policies.flatMap((policy) => (policy.peer === peer ? [policy.start] : []));
  if (starts.includes('start')) return 'restart';
  return starts.includes('trap') ? 'trap' : 'clear';
}

/** What follows from a fault is not a fault of its own. */
function isFaulty(faults: Faults, path: string): boolean {
  return faults.list().some((fault) => fault.path === path);
}

function invalid(document: ConfigDocument, faults: Faults): ConfigError {
  const list = faults.list();
  const count = list.length === 1 ? '1 fault' : `${list.length} faults`;
  return new ConfigError(
    'IPSEC_ERR_CONFIG_INVALID',
    [`${document.file} has ${count}:`, ...list.map((fault) => fault.message)].join('\n'),
    list,
    { fields: { file: document.file, faults: list.length } },
  );
}
