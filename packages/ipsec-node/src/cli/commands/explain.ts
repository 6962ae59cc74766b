import {
  explainConfig,
  type Explanation,
  packetOfQuery,
  parseExplainWords,
  renderExplanation,
} from '../../config/explain.js';
import { decodeExplanation } from '../../daemon/vici/explain-message.js';
import { section } from '../../daemon/vici/codec.js';
import { UsageError } from '../../errors.js';
import type { GatewayConfig } from '../../config/gateway-config.js';
import { PROTOCOL_UDP } from '../../net/next-layer-protocol.js';
import type { SpdPacket } from '../../spd/packet.js';
import { readConfigWithoutKeys } from '../config-file.js';
import { type CliContext, EXIT_CODES, example, perform, type Registration } from '../context.js';
import { addLiveOptions, askGateway, type LiveOptions } from '../live.js';
import { EXIT } from '../refusal.js';
import { json, oneLine } from '../render.js';

interface ExplainOptions extends LiveOptions {
  readonly live?: boolean;
}

/** `ipsec-node explain`: which policy decides a packet, and why the earlier ones do not. */
export const registerExplain: Registration = (program, context) => {
  addLiveOptions(program.command('explain'), 'the configuration')
    .argument('<packet...>', 'in or out, protocol, source and destination as in its header')
    .option('--live', 'ask the running gateway instead of the file')
    .summary('which policy decides a packet, and why')
    .description(
      'Says which policy decides a packet, which earlier ones do not and why, and which SA carries it. ' +
        'Source and destination are as in the packet’s own header. ICMP is followed by type and code.',
    )
    .addHelpText(
      'after',
      example(
        'ipsec-node explain -c ipsec.yaml out tcp 10.1.0.5:40000 203.0.113.7:443',
        'ipsec-node explain --live in icmp 10.2.0.9 10.1.0.5 echo-request',
      ) + EXIT_CODES,
    )
    .action((words: readonly string[], options: ExplainOptions) =>
      options.live === true || options.control !== undefined
        ? explainLive(context, words, options)
        : explainFile(context, words, options),
    );
};

function explainFile(
  context: CliContext,
  words: readonly string[],
  options: ExplainOptions,
): Promise<void> {
  return perform(context, options, async () => {
    const query = parseExplainWords(words);
    const packet = packetOfQuery(query);
    if (options.config === undefined) {
      throw new UsageError(
        'IPSEC_ERR_USAGE',
        'explain needs a file (-c FILE), or --live to ask the running gateway.',
      );
    }
    const config = await readConfigWithoutKeys(options.config);
    const explanation = explainConfig(config, query);
    const isPartial = query.direction === 'in' && isOfGateways(packet) && lacksAddress(config);
    const text = explanationText(explanation) + (isPartial ? ROUTES_ARE_NOT_KNOWN : '');
    context.terminal.out(options.json === true ? json(explanation) : text);
    return EXIT.success;
  });
}

const ROUTES_ARE_NOT_KNOWN =
  'The file does not say every outer address of this gateway: built-in entries for those that its ' +
  'routes tell are left out here. A running gateway knows them: --live.\n';

/** Whether outer addresses of ours are known to the running gateway alone. */
function lacksAddress({ peers }: GatewayConfig): boolean {
  return peers.some(({ localAddress }) => localAddress === null);
}

/** Whether it may be IKE, ESP, or an error about them: what the built-in entries let in. */
function isOfGateways({ protocol, ports }: SpdPacket): boolean {
  const isUdp =
    protocol === PROTOCOL_UDP && (ports?.destination === 500 || ports?.destination === 4500);
  return isUdp || [1, 50, 58].includes(protocol);
}

function explainLive(
  context: CliContext,
  words: readonly string[],
  options: ExplainOptions,
): Promise<void> {
  return askGateway(context, options, async (client) => {
    packetOfQuery(parseExplainWords(words));
    const { events, reply } = await client.stream(
      'ipsec-node-explain',
      'ipsec-node-explain-entry',
      section([['packet', words]]),
    );
    const explanation = decodeExplanation(events, reply);
    return { text: explanationText(explanation), data: explanation };
  });
}

function explanationText(explanation: Explanation): string {
  return `${renderExplanation(explanation).split('\n').map(oneLine).join('\n')}\n`;
}
