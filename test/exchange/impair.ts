/** A peer that misbehaves: it has all keys, and changes what one side says before it arrives. */
import {
  EXCHANGE_NUMBERS,
  type IkeHeader,
} from '../../packages/ipsec-node/src/ike/payload/payload.js';
import { formatNotify } from '../../packages/ipsec-node/src/ike/notify.js';
import { Eavesdropper, type Frame } from './eavesdropper.js';
import { disagreements } from './explore.js';
import { other, type Side, SIDES, type Simulation } from './simulator.js';
import { toySimulation } from './wire.js';

/** A message in the hands of who misbehaves. */
export interface Message {
  readonly header: IkeHeader;
  readonly frames: readonly Frame[];
}

/** What becomes of a message: another, the very bytes that arrive, or nothing. */
export type Change = (message: Message, bytes: Uint8Array) => Message | Uint8Array | null;

/** Which message is changed: of which exchange, and whether it is the request or the response. */
export const PLACES = {
  'IKE_SA_INIT request': { exchange: 'IKE_SA_INIT', isResponse: false, does: 'connect' },
  'IKE_SA_INIT response': { exchange: 'IKE_SA_INIT', isResponse: true, does: 'connect' },
  'IKE_AUTH request': { exchange: 'IKE_AUTH', isResponse: false, does: 'connect' },
  'IKE_AUTH response': { exchange: 'IKE_AUTH', isResponse: true, does: 'connect' },
  'child rekey request': { exchange: 'CREATE_CHILD_SA', isResponse: false, does: 'rekeyChild' },
  'child rekey response': { exchange: 'CREATE_CHILD_SA', isResponse: true, does: 'rekeyChild' },
  'IKE rekey request': { exchange: 'CREATE_CHILD_SA', isResponse: false, does: 'rekeyIkeSa' },
  'IKE rekey response': { exchange: 'CREATE_CHILD_SA', isResponse: true, does: 'rekeyIkeSa' },
  'Delete request': { exchange: 'INFORMATIONAL', isResponse: false, does: 'terminateChild' },
  'Delete response': { exchange: 'INFORMATIONAL', isResponse: true, does: 'terminateChild' },
} as const;
export type Place = keyof typeof PLACES;

export interface Outcome {
  /** What the victim answered first to what was changed: its notifications, `ok` or `nothing`. */
  readonly answer: string;
  /** IKE SAs and children that the victim has in the end. */
  readonly ikeSas: number;
  readonly children: number;
  /** What must never be: exceptions, things left over. */
  readonly faults: readonly string[];
}

/**
 * Runs an exchange begun by `asks`, with each message at a place changed for a minute, and until all
 * is over. Null: the message has nothing that could be changed so.
 */
export function impair(
  place: Place,
  asks: Side,
  change: Change,
  /** Whether the two agree in the end, though one misbehaves. */
  doAgree = true,
): Outcome | null {
  const { exchange, isResponse, does } = PLACES[place];
  const eavesdropper = new Eavesdropper();
  // Each asks after the other: what one has dropped is dropped by both in the end.
  const simulation = toySimulation({ both: { livenessMs: 120_000 } });
  const bad = isResponse ? other(asks) : asks;
  const victim = other(bad);
  let isArmed = does === 'connect';
  let changed = 0;
  let answer = 'nothing';
  let effective = 0;
  const known = new Map<string, Uint8Array | null>();
  simulation.translate = (datagram, from) => {
    const message = eavesdropper.observe(datagram);
    const isOf = message?.header.exchange === EXCHANGE_NUMBERS[exchange];
    const isAnswer = isArmed && changed > 0 && from === victim && !isResponse;
    if (isAnswer && message?.header.isResponse === true) {
      if (answer === 'nothing') answer = answerOf(message.payloads);
    }
    if (!isArmed || !isOf || from !== bad || message.header.isResponse !== isResponse) {
      return datagram;
    }
    changed += 1;
    // The same message again is changed in the same way.
    const key = Buffer.from(datagram.payload).toString('latin1');
    let payload = known.get(key);
    if (payload === undefined) {
      const open = eavesdropper.frames(datagram.payload);
      if (open === null) throw new Error('a message that cannot be opened');
      const made = change(open, datagram.payload);
      if (!isSame(open, made)) effective += 1;
      payload =
        made === null || made instanceof Uint8Array
          ? made
          : eavesdropper.sealFrames(made.header, made.frames);
      known.set(key, payload);
    }
    return payload === null ? null : { ...datagram, payload };
  };
  if (does !== 'connect') {
    simulation.initiate('a', 'net', 'b');
    simulation.runNow(10_000);
    isArmed = true;
  }
  if (does === 'connect') simulation.initiate(asks, 'net', other(asks));
  else simulation[does](asks);
  simulation.runNow(60_000);
  // One rekey that fails is tried again; what was refused is settled by now.
  isArmed = false;
  simulation.runNow(900_000);
  if (changed > 0 && effective === 0) return null;
  const faults = faultsOf(simulation);
  if (changed === 0) faults.push('nothing was changed');
  if (doAgree) faults.push(...disagreements(simulation));
  const { ikeSas, children } = simulation.endpoints[victim].usage();
  return { answer, ikeSas, children, faults };
}

function isSame(open: Message, made: ReturnType<Change>): boolean {
  if (made === null || made instanceof Uint8Array || made.header !== open.header) return false;
  const text = (frames: readonly Frame[]): string =>
    frames.map(({ number, flags, body }) => [number, flags, ...body].join()).join(';');
  return text(open.frames) === text(made.frames);
}

function answerOf(
  payloads: readonly { readonly type: string; readonly notify?: number }[],
): string {
  const errors = payloads.flatMap(({ notify }) =>
    notify !== undefined && notify < 16_384 ? [formatNotify(notify)] : [],
  );
  return errors.length > 0 ? errors.join(' ') : 'ok';
}

function faultsOf(simulation: Simulation): string[] {
  const faults: string[] = [];
  for (const side of SIDES) {
    const usage = simulation.endpoints[side].usage();
    const { inbound, outbound } = simulation.datapaths[side];
    const { ikeSas, children, spis, ikeSpis, halfOpen, effects, fragmentBytes } = usage;
    const isClean =
      spis === children && ikeSpis === ikeSas && halfOpen + effects + fragmentBytes === 0;
    if (!isClean || inbound.size !== children || outbound.length > children) {
      faults.push(
        `${side} holds ${JSON.stringify(usage)}, ${inbound.size} in ${outbound.length} out`,
      );
    }
    for (const { text } of simulation.eventsOf(side, 'detail')) {
      if (/\b\w*Error\b|INTERNAL/.test(text)) faults.push(`${side}: ${text}`);
    }
  }
  return faults;
}
