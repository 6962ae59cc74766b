/** Turns what IKE and the datapath tell into events of the control socket. */
import type { ChildSnapshot, IkeEvent, IkeSaSnapshot } from '../../ike/action.js';
import type { ControlSource } from './commands.js';
import { section, type SectionField, type ViciSection } from './codec.js';
import { eventText } from './event-text.js';
import { logMessage } from './ike-commands.js';
import { eventMessage } from './ike-messages.js';
import {
  childKey,
  childSection,
  ikeSaFields,
  ikeSaName,
  ikeSaSection,
  type Traffic,
} from './ike-sections.js';
import type { ViciServer } from './server.js';

// What packets did to an SA is not asked for an event: the answer would come after it.
const NO_TRAFFIC: Traffic = new Map();

const STRONGSWAN_EVENTS = ['ike-updown', 'ike-rekey', 'child-updown', 'child-rekey'] as const;

/**
 * Raises events until the returned function is called: `ike-updown`, `ike-rekey`, `child-updown`,
 * `child-rekey` and `log` as strongSwan raises them, and `ipsec-node-event`.
 */
export function raiseEvents(
  source: ControlSource,
  server: Pick<ViciServer, 'raise' | 'isWanted' | 'whenRegistered'>,
): () => void {
  const { ike } = source;
  // An SA that ended is no longer in the snapshots, and its event wants it. They are kept only while
  // somebody listens: with thousands of SAs a snapshot of all is slow.
  const known = new Map<number, IkeSaSnapshot>();
  const isWatched = (): boolean => STRONGSWAN_EVENTS.some((name) => server.isWanted(name));
  server.whenRegistered(() => {
    if (ike === null || !isWatched()) return;
    for (const sa of ike.ikeSas()) known.set(sa.id, sa);
  });
  const raise = (event: IkeEvent): void => {
    if (ike === null || !isWatched()) return known.clear();
    const now = ike.ikeSa(event.ikeSa);
    const raised = strongswanEvent(event, known, now);
    if (raised !== null) server.raise(raised.name, raised.message);
    if (now === null) known.delete(event.ikeSa);
    else known.set(now.id, now);
  };
  const ends = [
    ike?.onEvent((event, at) => {
      if (event.kind === 'keys') return;
      if (server.isWanted('ipsec-node-event')) {
        server.raise('ipsec-node-event', eventMessage(event, at));
      }
      const text = server.isWanted('log') ? eventText(event) : null;
      if (text !== null) server.raise('log', logMessage(event, text));
      raise(event);
    }),
    source.onEvent((event, at) => {
      if (server.isWanted('ipsec-node-event')) {
        server.raise('ipsec-node-event', eventMessage(event, at));
      }
    }),
  ];
  return () => {
    for (const end of ends) end?.();
  };
}

type Known = ReadonlyMap<number, IkeSaSnapshot>;

/**
 * strongSwan's event for one of ours: `before` is what was known, `now` the IKE SA as it is, null
 * where it is gone. Null where strongSwan has no such event, or the SA was never seen.
 */
export function strongswanEvent(
  event: IkeEvent,
  before: Known,
  now: IkeSaSnapshot | null,
): { readonly name: string; readonly message: ViciSection } | null {
  const sa = now ?? before.get(event.ikeSa);
  if (sa === undefined) return null;
  const oldSa = before.get(event.ikeSa) ?? sa;
  const whole = (up: boolean, content: ViciSection): ViciSection =>
    section([
      ['up', up ? true : undefined],
      [ikeSaName(sa), content],
    ]);
  switch (event.kind) {
    case 'peer-up':
      return { name: 'ike-updown', message: whole(true, ikeSaSection(sa, NO_TRAFFIC)) };
    case 'peer-down':
      return { name: 'ike-updown', message: whole(false, ikeSaSection(oldSa, NO_TRAFFIC)) };
    case 'peer-rekeyed': {
      const old = predecessor(sa, before) ?? oldSa;
      const both = section([
        ['old', ikeSaSection(old, NO_TRAFFIC)],
        ['new', ikeSaSection(sa, NO_TRAFFIC)],
      ]);
      return { name: 'ike-rekey', message: section([[ikeSaName(sa), both]]) };
    }
    case 'child-up':
    case 'child-down': {
      const isUp = event.kind === 'child-up';
      const child = childOf(event, isUp ? [sa, oldSa] : [oldSa, sa]);
      if (child === null) return null;
      const content = ikeSaSection(sa, NO_TRAFFIC, [child]);
      return { name: 'child-updown', message: whole(isUp, content) };
    }
    case 'child-rekeyed': {
      const fresh = childOf(event, [sa]);
      if (fresh === null) return null;
      const old = oldSa.children.find((each) => each.name === fresh.name && each.id !== fresh.id);
      const both: readonly (readonly [string, SectionField])[] = [
        ['old', childSection(old ?? fresh, NO_TRAFFIC)],
        ['new', childSection(fresh, NO_TRAFFIC)],
      ];
      const content = section([
        ...ikeSaFields(sa),
        ['child-sas', section([[childKey(fresh), section(both)]])],
      ]);
      return { name: 'child-rekey', message: section([[ikeSaName(sa), content]]) };
    }
    default:
      return null;
  }
}

/** The IKE SA that a rekeyed one replaced. */
function predecessor(sa: IkeSaSnapshot, before: Known): IkeSaSnapshot | undefined {
  return [...before.values()].find((each) => each.peer === sa.peer && each.id !== sa.id);
}

function childOf(
  event: Extract<IkeEvent, { inbound: number }>,
  sas: readonly IkeSaSnapshot[],
): ChildSnapshot | null {
  for (const sa of sas) {
    const found = sa.children.find((child) => child.inbound === event.inbound);
    if (found !== undefined) return found;
  }
  return null;
}
