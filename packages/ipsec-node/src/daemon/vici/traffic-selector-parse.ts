/**
 * Traffic selectors as strongSwan writes them (`10.1.0.0/16`, `10.3.0.10-10.3.0.99[tcp/443]`,
 * `dynamic[udp]`) into a selector of ours. Ours has one protocol and one set of ports a side for all
 * its addresses; lists that say more than that are refused.
 */
import { tryParseAddressRange } from '../../net/address-range.js';
import { hasPorts, isIcmp, tryParseProtocol } from '../../net/next-layer-protocol.js';
import { PORT_MAX, tryParseNumberRange } from '../../net/port-range.js';
import {
  type Selector,
  type SelectorAddressRange,
  type SelectorNumberRange,
  selectorRangeOf,
} from '../../spd/selector.js';

/** Most traffic selectors of one side. */
export const TRAFFIC_SELECTOR_COUNT_MAX = 256;

/** Where the two gateways are, for `dynamic`; empty: not known. */
export interface OuterAddresses {
  readonly local: readonly SelectorAddressRange[];
  readonly remote: readonly SelectorAddressRange[];
}

export type SelectorReading =
  | { readonly ok: true; readonly selector: Selector }
  | { readonly ok: false; readonly side: 'local' | 'remote'; readonly reason: string };

interface Part {
  readonly addresses: readonly SelectorAddressRange[];
  readonly protocol: number | 'any';
  /** What stands after the slash; null: nothing. */
  readonly ports: SelectorNumberRange | null;
  readonly code: SelectorNumberRange | null;
}

interface Side {
  readonly addresses: readonly SelectorAddressRange[];
  readonly protocol: number | 'any';
  readonly ports: readonly SelectorNumberRange[];
  readonly codes: readonly SelectorNumberRange[];
}

class Refusal extends Error {}

/** Reads `local_ts` and `remote_ts` of a child. An empty list is `dynamic`. */
export function readTrafficSelectors(
  local: readonly string[],
  remote: readonly string[],
  outer: OuterAddresses,
): SelectorReading {
  let side: 'local' | 'remote' = 'local';
  try {
    const ours = readSide(local, outer.local);
    side = 'remote';
    const theirs = readSide(remote, outer.remote);
    const protocol = bothProtocols(ours, theirs);
    const isTyped = protocol !== 'any' && isIcmp(protocol);
    return {
      ok: true,
      selector: {
        local: ours.addresses,
        remote: theirs.addresses,
        protocol,
        localPorts: isTyped ? [] : ours.ports,
        remotePorts: isTyped ? [] : theirs.ports,
        icmpTypes: isTyped ? (ours.ports.length > 0 ? ours : theirs).ports : [],
        icmpCodes: isTyped ? (ours.ports.length > 0 ? ours : theirs).codes : [],
      },
    };
  } catch (error) {
    if (error instanceof Refusal) return { ok: false, side, reason: error.message };
    throw error;
  }
}

function bothProtocols(ours: Side, theirs: Side): number | 'any' {
  if (ours.protocol === 'any') return theirs.protocol;
  if (theirs.protocol !== 'any' && ours.protocol !== theirs.protocol) {
    throw new Refusal('it has another protocol than local_ts');
  }
  return ours.protocol;
}

function readSide(texts: readonly string[], dynamic: readonly SelectorAddressRange[]): Side {
  if (texts.length > TRAFFIC_SELECTOR_COUNT_MAX) {
    throw new Refusal(`more than ${TRAFFIC_SELECTOR_COUNT_MAX} traffic selectors`);
  }
  const parts = (texts.length === 0 ? ['dynamic'] : texts).map((text) => readPart(text, dynamic));
  const shapes = new Map<string, Part>();
  const byAddress = new Map<string, Set<string>>();
  for (const part of parts) {
    const shape = JSON.stringify([part.protocol, part.ports, part.code]);
    shapes.set(shape, part);
    const address = JSON.stringify(part.addresses);
    byAddress.set(address, (byAddress.get(address) ?? new Set()).add(shape));
  }
  // Each address with each protocol and port: all else is more than one selector.
  const isProduct = [...byAddress.values()].every((seen) => seen.size === shapes.size);
  const distinct = [...shapes.values()];
  const protocols = new Set(distinct.map((part) => part.protocol));
  const [protocol = 'any'] = protocols;
  if (!isProduct || protocols.size > 1) {
    throw new Refusal('its parts differ in protocol or ports: give each a child of its own');
  }
  const addresses = [...byAddress.keys()].flatMap(
    (key) => parts.find((part) => JSON.stringify(part.addresses) === key)?.addresses ?? [],
  );
  const everywhere = parts.some((part) => part.addresses.length === 0);
  const ports = distinct.some((part) => part.ports === null)
    ? []
    : distinct.flatMap((part) => part.ports ?? []);
  return {
    addresses: everywhere ? [] : addresses,
    protocol,
    ports,
    codes: distinct.flatMap((part) => part.code ?? []),
  };
}

function readPart(text: string, dynamic: readonly SelectorAddressRange[]): Part {
  const match = /^([^[\]]*)(?:\[([^[\]]*)\])?$/.exec(text.trim());
  if (match === null) throw new Refusal(`${JSON.stringify(text)} is not a traffic selector`);
  const addresses = readAddresses((match[1] ?? '').trim(), dynamic);
  const [protocolText = '', portText = ''] = (match[2] ?? '').split('/');
  const protocol = readProtocol(protocolText.trim());
  return { addresses, protocol, ...readPorts(portText.trim(), protocol) };
}

function readAddresses(
  text: string,
  dynamic: readonly SelectorAddressRange[],
): readonly SelectorAddressRange[] {
  if (text === 'dynamic' || text === '') {
    if (dynamic.length > 0) return dynamic;
    throw new Refusal(
      'dynamic needs an address that is known: write it in local_addrs or remote_addrs',
    );
  }
  const result = tryParseAddressRange(text.replace('..', '-'));
  if (!result.ok) throw new Refusal(`${JSON.stringify(text)}: ${result.fault.reason}`);
  return [selectorRangeOf(result.range)];
}

function readProtocol(text: string): number | 'any' {
  if (text === '' || text === 'any' || text === '0') return 'any';
  // strongSwan's name of protocol 58.
  const protocol = tryParseProtocol(text === 'ipv6-icmp' ? 'icmpv6' : text);
  if (protocol === null) throw new Refusal(`there is no protocol ${JSON.stringify(text)}`);
  return protocol;
}

function readPorts(text: string, protocol: number | 'any'): Pick<Part, 'ports' | 'code'> {
  if (text === '' || text === 'any') return { ports: null, code: null };
  if (text === 'opaque') throw new Refusal('opaque ports are not in this version');
  const isTyped = protocol !== 'any' && isIcmp(protocol);
  if (protocol === 'any' || (!isTyped && !hasPorts(protocol))) {
    throw new Refusal('ports need a protocol that has them');
  }
  const match = /^([^()]+)(?:\(([^()]+)\))?$/.exec(text);
  const ports = readRange(match?.[1] ?? '', isTyped ? 255 : PORT_MAX);
  const code = match?.[2] === undefined ? null : readRange(match[2], 255);
  if (code !== null && !isTyped) throw new Refusal('only ICMP has codes');
  return { ports, code };
}

function readRange(text: string, max: number): SelectorNumberRange {
  const result = tryParseNumberRange(text, max);
  if (!result.ok) throw new Refusal(`${JSON.stringify(text)}: ${result.reason}`);
  return result.range;
}
