import { type AddressFamily, parseIpAddress } from '../net/ip-address.js';
import type { Secret } from '../sad/secret.js';
import { formatSpi } from '../sad/spi.js';
import type { SuiteName } from '../sad/suite.js';
import { DEFAULTS } from './defaults.js';
import type { ConfigPath } from './document.js';
import type {
  AssociationConfig,
  Encapsulation,
  ManualKey,
  PolicyConfig,
} from './gateway-config.js';
import { nearestName } from './nearest.js';
import { type ManualOutline, parseManualKey } from './parse-key.js';
import type { PolicyOutline } from './parse-policy.js';
import type { SecretContext } from './parse-secret.js';
import { suitesOf } from './proposal-text.js';
import type { Reader, Section } from './reader.js';
import { associationShape } from './schema.js';

const DIRECTIONS = ['inbound', 'outbound'] as const;

/** What associations depend on elsewhere in the file. */
export interface AssociationContext extends SecretContext {
  readonly encapsulation: Encapsulation;
  readonly policies: readonly PolicyOutline[];
}

/** What is known of an association even where it has faults, for what spans several. */
export interface AssociationOutline {
  readonly policy: string | undefined;
  readonly suite: SuiteName | undefined;
  readonly inbound: ManualOutline;
  readonly outbound: ManualOutline;
  /** Undefined where it is faulty. */
  readonly association: AssociationConfig | undefined;
}

/** Reads one entry of `associations`. */
export function parseAssociation(
  reader: Reader,
  context: AssociationContext,
  value: unknown,
  index: number,
): AssociationOutline {
  const faultsBefore = reader.faults.count;
  const section = reader.section(value, ['associations', index], Object.keys(associationShape), {
    name: 'associations',
    accepted: 'a map with policy, suite, local, remote, inbound and outbound',
  });
  if (section === null) {
    const nothing = { spi: undefined, key: null };
    const unknown = { policy: undefined, suite: undefined, association: undefined };
    return { ...unknown, inbound: nothing, outbound: nothing };
  }
  const policyName = reader.field(section, associationShape, 'policy');
  const suite = reader.field(section, associationShape, 'suite');
  const local = reader.field(section, associationShape, 'local');
  const remote = reader.field(section, associationShape, 'remote');
  const encapsulation =
    reader.field(section, associationShape, 'encapsulation') ?? context.encapsulation;
  const remotePort =
    reader.field(section, associationShape, 'remotePort') ?? DEFAULTS.peerPort.value;
  const inbound = parseManualKey(reader, context, section, 'inbound', suite);
  const outbound = parseManualKey(reader, context, section, 'outbound', suite);
  const esn = reader.field(section, associationShape, 'esn') ?? DEFAULTS.esn.value;
  const replayWindow =
    reader.field(section, associationShape, 'replayWindow') ?? DEFAULTS.replayWindow.value;

  checkOuterAddresses(reader, section, local, remote);
  if (encapsulation === 'esp' && section.values.has('remotePort')) {
    reader.faults.add([...section.path, 'remotePort'], {
      found: 'remotePort with encapsulation esp',
      accepted: 'remotePort only with encapsulation udp',
      at: 'key',
    });
  }
  const policy =
    policyName === undefined ? undefined : servedPolicy(reader, context, section, policyName);
  if (policy !== undefined) {
    checkDirections(reader, section, policy);
    const suites = suitesOf(policy.proposals);
    if (suite !== undefined && !suites.includes(suite)) {
      reader.faults.add([...section.path, 'suite'], {
        found: suite,
        why: `the proposals of policy ${policy.name} do not hold it`,
        accepted: suites.join(', '),
      });
    }
    if (policy.peer !== null) {
      reader.faults.add([...section.path, 'policy'], {
        found: JSON.stringify(policy.name),
        why: `its SAs are negotiated with peer ${policy.peer}`,
        accepted: 'a policy without a peer',
      });
    }
  }
  const outline = { policy: policyName, suite, inbound, outbound };
  if (
    policyName === undefined ||
    suite === undefined ||
    local === undefined ||
    remote === undefined ||
    reader.faults.count > faultsBefore
  ) {
    return { ...outline, association: undefined };
  }
  const association: AssociationConfig = {
    policy: policyName,
    suite,
    local,
    remote,
    encapsulation,
    remotePort,
    esn,
    replayWindow,
    inbound: completeKey(inbound),
    outbound: completeKey(outbound),
  };
  return { ...outline, association };
}

function completeKey({ spi, key }: ManualOutline): ManualKey | null {
  return spi === undefined || key === null ? null : { spi, key };
}

/** Checks what no two associations may share: SPIs, keys, and a policy's outbound SA. */
export function checkAssociations(reader: Reader, outlines: readonly AssociationOutline[]): void {
  const spis = new Map<string, ConfigPath>();
  const keys: { readonly key: Secret; readonly path: ConfigPath }[] = [];
  const outbound = new Map<string, number>();
  for (const [index, outline] of outlines.entries()) {
    for (const direction of DIRECTIONS) {
      const { spi, key } = outline[direction];
      const path = ['associations', index, direction];
      if (spi !== undefined) checkSpi(reader, spis, direction, spi, path);
      // Every suite of this version is one of counter mode (sad/suite.ts).
      if (key !== null) checkKey(reader, keys, key, path);
    }
    if (outline.outbound.key === null || outline.policy === undefined) continue;
    const earlier = outbound.get(outline.policy);
    if (earlier === undefined) outbound.set(outline.policy, index);
    else {
      reader.faults.add(['associations', index, 'outbound'], {
        found: `a second outbound SA for policy ${outline.policy}`,
        why: `associations[${earlier}] has the first`,
        accepted: 'one outbound SA a policy',
        at: 'key',
      });
    }
  }
}

function checkSpi(
  reader: Reader,
  known: Map<string, ConfigPath>,
  direction: 'inbound' | 'outbound',
  spi: number,
  path: ConfigPath,
): void {
  const name = `${direction} ${spi}`;
  const earlier = known.get(name);
  if (earlier === undefined) {
    known.set(name, path);
    return;
  }
  reader.faults.add([...path, 'spi'], {
    found: formatSpi(spi),
    why: `associations[${earlier[1]}].${direction} has it`,
    accepted: `an SPI that no other ${direction} SA has`,
  });
}

/** RFC 4106 section 2, RFC 7634 section 2: a nonce used twice under one key gives both away. */
function checkKey(
  reader: Reader,
  known: { readonly key: Secret; readonly path: ConfigPath }[],
  key: Secret,
  path: ConfigPath,
): void {
  const earlier = known.find((other) => other.key.equals(key));
  known.push({ key, path });
  if (earlier === undefined) return;
  reader.faults.add([...path, 'key'], {
    found: 'a key that is used twice (not shown)',
    why: `associations[${earlier.path[1]}].${earlier.path[2]} has it, and both count from 1: every nonce would be used twice`,
    accepted: 'a key of its own for each direction of each association',
  });
}

function checkOuterAddresses(
  reader: Reader,
  section: Section,
  local: string | undefined,
  remote: string | undefined,
): void {
  const families = new Map<'local' | 'remote', AddressFamily>();
  for (const [key, text] of [
    ['local', local],
    ['remote', remote],
  ] as const) {
    if (text === undefined) continue;
    const { family, value } = parseIpAddress(text);
    families.set(key, family);
    const isMulticast = family === 4 ? value >> 28n === 0xen : value >> 120n === 0xffn;
    if (value !== 0n && !isMulticast && text !== '255.255.255.255') continue;
    reader.faults.add([...section.path, key], {
      found: JSON.stringify(text),
      why: value === 0n ? 'it is the unspecified address' : 'it is not the address of one host',
      accepted: 'the address of one host',
    });
  }
  const [a, b] = [families.get('local'), families.get('remote')];
  if (a === undefined || b === undefined || a === b) return;
  reader.faults.add([...section.path, 'remote'], {
    found: `an IPv${b} address beside local, which is IPv${a}`,
    accepted: 'local and remote of one family',
  });
}

function servedPolicy(
  reader: Reader,
  context: AssociationContext,
  section: Section,
  name: string,
): PolicyConfig | undefined {
  const path = [...section.path, 'policy'];
  const outline = context.policies.find((policy) => policy.name === name);
  const protects = context.policies.flatMap((policy) =>
    policy.action === 'PROTECT' && policy.name !== undefined ? [policy.name] : [],
  );
  if (outline === undefined) {
    reader.faults.add(path, {
      found: JSON.stringify(name),
      why: 'there is no policy of that name',
      accepted: protects.length === 0 ? 'the name of a protect policy' : protects.join(', '),
      nearest: nearestName(name, protects),
    });
    return undefined;
  }
  if (outline.action !== undefined && outline.action !== 'PROTECT') {
    reader.faults.add(path, {
      found: JSON.stringify(name),
      why: `its action is ${outline.action.toLowerCase()}`,
      accepted: protects.length === 0 ? 'the name of a protect policy' : protects.join(', '),
    });
    return undefined;
  }
  return outline.policy;
}

/** An association has the directions that its policy has. */
function checkDirections(reader: Reader, section: Section, policy: PolicyConfig): void {
  for (const direction of DIRECTIONS) {
    const path = [...section.path, direction];
    const wanted = policy.direction === 'both' || policy.direction === direction;
    if (wanted && !section.values.has(direction)) {
      reader.faults.add(path, {
        found: 'nothing',
        accepted: `spi and key of the ${direction} SA, because policy ${policy.name} speaks of ${policy.direction === 'both' ? 'both directions' : `${direction} packets`}`,
      });
    }
    if (!wanted && section.values.has(direction)) {
      reader.faults.add(path, {
        found: `${direction} for policy ${policy.name}`,
        accepted: `only ${policy.direction}: the policy has direction ${policy.direction === 'inbound' ? 'in' : 'out'}`,
        at: 'key',
      });
    }
  }
}
