import { decodeEvent } from '../../daemon/vici/ike-messages.js';
import { EXIT_CODES, example, type Registration } from '../context.js';
import { addLiveOptions, type LiveOptions, withGateway } from '../live.js';
import { EXIT } from '../refusal.js';
import { json } from '../render.js';

/** `ipsec-node monitor`: events as they happen, one JSON object a line, until interrupted. */
export const registerMonitor: Registration = (program, context) => {
  addLiveOptions(program.command('monitor'))
    .summary('events as they happen, one JSON object a line')
    .description(
      'Prints what happens in the running gateway, one JSON object a line, until interrupted: peers ' +
        'and children that come, go and are rekeyed, refusals with what differs, and what the ' +
        'datapath tells. Exits with 1 where the gateway goes away.',
    )
    .addHelpText(
      'after',
      example('ipsec-node monitor | jq \'select(.kind == "refused")\'') + EXIT_CODES,
    )
    .action((options: LiveOptions) =>
      withGateway(context, options, (client) =>
        client.listenWhile(
          ['ipsec-node-event'],
          (_name, message) => context.terminal.out(json(decodeEvent(message), 0)),
          async () => {
            let interrupted = false;
            const unsubscribe = context.onSignal(() => {
              interrupted = true;
              client.close();
            });
            const ended = await client.untilClosed();
            unsubscribe();
            if (!interrupted) throw ended;
            return EXIT.success;
          },
        ),
      ),
    );
};
