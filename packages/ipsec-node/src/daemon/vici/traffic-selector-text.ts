import { formatAddressRange } from '../../net/address-range.js';
import { formatProtocol } from '../../net/next-layer-protocol.js';
import { readSelector, type Selector, type SelectorNumberRange } from '../../spd/selector.js';

/** Most texts for one side of a selector; what is more is one text that says so. */
const TEXT_COUNT_MAX = 256;

/**
 * Writes one side of a selector as strongSwan writes traffic selectors: `10.1.0.0/16`,
 * `10.3.0.10..10.3.0.99[tcp/443]`, one text for each combination of addresses and ports.
 */
export function trafficSelectorTexts(
  selector: Selector,
  side: 'local' | 'remote',
): readonly string[] {
  const ranges = readSelector(selector)[side];
  const addresses =
    ranges.length === 0
      ? ['0.0.0.0/0', '::/0']
      : ranges.map((range) => withLength(formatAddressRange(range), range.family));
  const suffixes = suffixesOf(selector, side);
  const texts = addresses.flatMap((address) => suffixes.map((suffix) => `${address}${suffix}`));
  if (texts.length <= TEXT_COUNT_MAX) return texts;
  return [...texts.slice(0, TEXT_COUNT_MAX), `(and ${texts.length - TEXT_COUNT_MAX} more)`];
}

/** Single addresses carry their prefix length and ranges two dots in strongSwan's notation. */
function withLength(text: string, family: 4 | 6): string {
  if (text.includes('/')) return text;
  if (text.includes('-')) return text.replace('-', '..');
  return `${text}/${family === 4 ? 32 : 128}`;
}

function suffixesOf(selector: Selector, side: 'local' | 'remote'): readonly string[] {
  const { protocol } = selector;
  const ports = side === 'local' ? selector.localPorts : selector.remotePorts;
  if (protocol === 'any' && ports.length === 0) return [''];
  const name = protocol === 'any' ? '0' : formatProtocol(protocol);
  if (selector.icmpTypes.length > 0) return icmpSuffixes(name, selector);
  if (ports.length === 0) return [`[${name}]`];
  return ports.map((port) => `[${name}/${rangeText(port)}]`);
}

function icmpSuffixes(name: string, selector: Selector): readonly string[] {
  return selector.icmpTypes.flatMap((type) => {
    if (selector.icmpCodes.length === 0) return [`[${name}/${rangeText(type)}]`];
    return selector.icmpCodes.map((code) => `[${name}/${rangeText(type)}(${rangeText(code)})]`);
  });
}

function rangeText(range: SelectorNumberRange): string {
  return range.from === range.to ? `${range.from}` : `${range.from}-${range.to}`;
}
