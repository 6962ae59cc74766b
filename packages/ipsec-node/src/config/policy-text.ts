import { formatProtocol } from '../net/next-layer-protocol.js';
import { formatAddresses, formatNumbers, type Selector } from '../spd/selector.js';

/** Writes a policy as one line of the file, as a suggestion that can be copied. */
export function formatPolicy(
  name: string,
  direction: 'in' | 'out' | 'both',
  action: 'protect' | 'bypass' | 'discard',
  selector: Selector,
): string {
  const fields = [`name: ${name}`];
  if (direction !== 'both') fields.push(`direction: ${direction}`);
  fields.push(`local: ${yamlList(formatAddresses(selector.local))}`);
  fields.push(`remote: ${yamlList(formatAddresses(selector.remote))}`);
  if (selector.protocol !== 'any') fields.push(`protocol: ${formatProtocol(selector.protocol)}`);
  if (selector.localPorts.length > 0) {
    fields.push(`localPort: ${yamlList(formatNumbers(selector.localPorts))}`);
  }
  if (selector.remotePorts.length > 0) {
    fields.push(`remotePort: ${yamlList(formatNumbers(selector.remotePorts))}`);
  }
  return `- { ${[...fields, `action: ${action}`].join(', ')} }`;
}

/** A colon means something to YAML within braces: such texts are quoted. */
function yamlList(text: string): string {
  const items = text.split(', ').map((item) => (item.includes(':') ? `"${item}"` : item));
  return items.length === 1 ? items.join('') : `[ ${items.join(', ')} ]`;
}
