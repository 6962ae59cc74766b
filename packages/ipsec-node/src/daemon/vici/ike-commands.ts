/** Commands of the control socket that ask the IKE driver to do something, and what they stream. */
import type { IkeEvent } from '../../ike/action.js';
import type { IkeControl, SaChoice } from '../ike/ike-control.js';
import { section, textOf, type ViciSection } from './codec.js';
import { eventText } from './event-text.js';
import { refusalMessage, peerMessages } from './ike-messages.js';
import type { ViciCommand, ViciStream } from './server.js';

/** Longest that a command waits for its exchange: retransmissions have long given up by then. */
export const COMMAND_MS_MAX = 300_000;
/** Most lines of log that one command streams; what is more is left out. */
export const CONTROL_LOG_COUNT_MAX = 1_000;

/** strongSwan: absent or 0 waits for the end, negative does not wait, else milliseconds. */
function timeoutOf(request: ViciSection): number | null {
  const text = textOf(request, 'timeout');
  if (text === undefined) return COMMAND_MS_MAX;
  const ms = Number(text);
  if (!Number.isInteger(ms)) throw new RangeError(`timeout ${text} is not a number`);
  if (ms < 0) return null;
  return ms === 0 ? COMMAND_MS_MAX : Math.min(ms, COMMAND_MS_MAX);
}

function numberOf(request: ViciSection, key: string): number | null {
  const text = textOf(request, key);
  if (text === undefined) return null;
  if (!/^\d{1,10}$/.test(text)) throw new RangeError(`${key} ${text} is not a number`);
  return Number(text);
}

function choiceOf(request: ViciSection): SaChoice {
  const choice = {
    child: textOf(request, 'child') ?? null,
    childId: numberOf(request, 'child-id'),
    peer: textOf(request, 'ike') ?? null,
    ikeSa: numberOf(request, 'ike-id'),
  };
  if (Object.values(choice).every((value) => value === null)) {
    throw new RangeError('name a peer (ike, ike-id) or a child (child, child-id)');
  }
  return choice;
}

const isAsked = (request: ViciSection, key: string): boolean => textOf(request, key) === 'yes';

function outcome(refused: string | null, counts: readonly (readonly [string, number])[] = []) {
  return section([['success', refused === null], ...counts, ['errmsg', refused ?? undefined]]);
}

/** Whether an event may belong to a command: one of another peer or child does not. */
function belongsTo(event: IkeEvent, choice: SaChoice, control: IkeControl): boolean {
  if (choice.ikeSa !== null && event.ikeSa !== choice.ikeSa) return false;
  if (choice.peer !== null && event.peer !== null && event.peer !== choice.peer) return false;
  if (choice.child !== null && event.child !== null && event.child !== choice.child) return false;
  if (choice.child !== null && choice.peer === null && event.peer !== null) {
    const entry = control.pad().entries.find(({ name }) => name === event.peer);
    return entry?.children.some(({ name }) => name === choice.child) ?? false;
  }
  return true;
}

/** Runs a command while what happens meanwhile is streamed as `control-log`. */
async function withLog<T>(
  control: IkeControl,
  choice: SaChoice,
  stream: ViciStream,
  run: () => Promise<T>,
): Promise<T> {
  let sent = Promise.resolve();
  let count = 0;
  const unsubscribe = control.onEvent((event) => {
    const text = belongsTo(event, choice, control) ? eventText(event) : null;
    if (text === null || count >= CONTROL_LOG_COUNT_MAX) return;
    count += 1;
    sent = sent.then(() => stream('control-log', logMessage(event, text)));
  });
  try {
    return await run();
  } finally {
    unsubscribe();
    await sent;
  }
}

/** The message of `log` and `control-log`. */
export function logMessage(event: IkeEvent, text: string): ViciSection {
  const group = event.child === null ? 'IKE' : 'CHD';
  return section([
    ['group', group],
    ['level', event.kind === 'detail' ? 2 : 1],
    ['thread', 1],
    ['ikesa-name', event.peer ?? undefined],
    ['ikesa-uniqueid', event.ikeSa === 0 ? undefined : event.ikeSa],
    ['msg', text],
  ]);
}

/** strongSwan's commands over IKE, and the product's own. */
export function ikeCommands(control: IkeControl): ReadonlyMap<string, ViciCommand> {
  return new Map<string, ViciCommand>([
    [
      'initiate',
      async (request, stream) => {
        const choice = choiceOf(request);
        const { refused } = await withLog(control, choice, stream, () =>
          control.initiate({ child: choice.child, peer: choice.peer }, timeoutOf(request)),
        );
        return outcome(refused);
      },
    ],
    [
      'terminate',
      async (request, stream) => {
        const choice = choiceOf(request);
        const { refused, matched, terminated } = await withLog(control, choice, stream, () =>
          control.terminate({ ...choice, force: isAsked(request, 'force') }, timeoutOf(request)),
        );
        return outcome(refused ?? none(matched), [
          ['matches', matched],
          ['terminated', terminated],
        ]);
      },
    ],
    [
      'rekey',
      async (request, stream) => {
        const choice = choiceOf(request);
        const { refused, matched } = await withLog(control, choice, stream, () =>
          control.rekey({ ...choice, reauth: isAsked(request, 'reauth') }),
        );
        return outcome(refused ?? none(matched), [['matches', matched]]);
      },
    ],
    ['reload-settings', () => reload(control)],
    ['ipsec-node-reload', () => reload(control)],
    [
      'ipsec-node-peers',
      async (_request, stream) => {
        for (const message of peerMessages(control.pad().entries, control.ikeSas())) {
          await stream('ipsec-node-peer', message);
        }
        return section();
      },
    ],
  ]);
}

function none(matched: number): string | null {
  return matched === 0 ? 'nothing of that name is up: `ipsec-node peers` shows what is' : null;
}

async function reload(control: IkeControl): Promise<ViciSection> {
  const { changes } = await control.reload();
  return section([
    ['success', true],
    ['changes', changes],
  ]);
}

/** Streams the last refusals of each peer. */
export async function streamRefusals(control: IkeControl, stream: ViciStream): Promise<void> {
  for (const refusal of control.refusals()) {
    await stream('ipsec-node-refusal', refusalMessage(refusal));
  }
}
