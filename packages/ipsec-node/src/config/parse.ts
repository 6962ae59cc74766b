/** Foreign data to {@link GatewayConfig}: every fault at once, or the whole configuration. */
import { ConfigError } from '../errors.js';
import { ASSOCIATIONS_MAX, POLICIES_MAX } from './defaults.js';
import type { ConfigDocument } from './document.js';
import { Faults } from './fault.js';
import { type ConfigFinding, Findings } from './finding.js';
import type { GatewayConfig } from './gateway-config.js';
import {
  type AssociationContext,
  checkAssociations,
  parseAssociation,
} from './parse-association.js';
import { parseGateway } from './parse-gateway.js';
import { checkPolicyNames, parsePolicy } from './parse-policy.js';
import { Reader } from './reader.js';
import { configFileSchema } from './schema.js';
import type { SecretSource } from './secret-source.js';

export interface ParseOptions {
  readonly secrets: SecretSource;
  /**
   * True: a key file that this user may not read is noted, and the association's key is not
   * present. For commands that check or explain, never for one that starts something.
   */
  readonly tolerateDeniedSecrets: boolean;
}

/** A configuration with what was noticed while reading it. */
export interface ParsedConfig {
  readonly config: GatewayConfig;
  readonly document: ConfigDocument;
  /** About keys only; the rest is `lintConfig`. */
  readonly findings: readonly ConfigFinding[];
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
    accepted: 'a map with gateway, policies and associations',
  });
  if (root === null) throw invalid(document, faults);

  const gateway = parseGateway(reader, document, root);
  const outlines = reader
    .list(root, 'policies', {
      max: POLICIES_MAX,
      accepted: 'a list of policies, at least one',
      required: true,
    })
    .map((value, index) => parsePolicy(reader, value, index));
  checkPolicyNames(reader, outlines);

  const context: AssociationContext = {
    document,
    findings,
    secrets: options.secrets,
    tolerateDenied: options.tolerateDeniedSecrets,
    encapsulation: gateway.encapsulation,
    policies: outlines,
  };
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
  const config: GatewayConfig = { gateway, policies, associations };
  if (faults.count > 0) {
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
