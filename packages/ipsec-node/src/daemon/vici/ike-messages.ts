/**
 * Messages of the product's own commands about IKE, both ways: peers with their SAs, events,
 * refusals. As in own-messages.ts, numbers are decimal text and what does not apply is left out.
 */
import { z } from 'zod';
import type { DataplaneEvent } from '../../dataplane/dataplane.js';
import type { Difference, IkeEvent, IkeSaSnapshot } from '../../ike/action.js';
import type { PadEntry } from '../../pad/pad-entry.js';
import { formatSelector } from '../../spd/selector.js';
import type { TimedRefusal } from '../ike/ike-control.js';
import type { ViciSection } from './codec.js';
import { formatIdentity } from '../../pad/identity-text.js';
import { hostText, patternText } from './identity-text.js';
import { decode, flag, integer, milliseconds, type Plain, plainSection } from './own-messages.js';

const optional = <T extends z.ZodType>(schema: T) =>
  schema.nullish().transform((value) => value ?? null);

/** A list of objects travels as a section with numbers for keys. */
const numbered = <T extends z.ZodType>(schema: T) =>
  z
    .record(z.string(), schema)
    .default({})
    .transform((items) => Object.values(items));

function number<T>(
  items: readonly T[],
  plain: (item: T) => { readonly [key: string]: Plain },
): { readonly [key: string]: Plain } {
  return Object.fromEntries(items.map((item, index) => [`${index}`, plain(item)]));
}

const endpointSchema = z.object({
  local: z.string(),
  localPort: integer,
  remote: z.string(),
  remotePort: integer,
  encapsulation: z.enum(['udp', 'esp']),
});

const childSchema = z.object({
  id: integer,
  name: z.string(),
  state: z.enum(['installing', 'installed', 'rekeying', 'rekeyed', 'deleting']),
  mode: z.enum(['tunnel', 'transport']),
  inbound: integer,
  outbound: integer,
  proposal: z.string(),
  selector: z.string(),
  encapsulation: z.enum(['udp', 'esp']),
  establishedMs: milliseconds,
  rekeyInMs: optional(milliseconds),
});

const ikeSaSchema = z.object({
  id: integer,
  state: z.enum(['connecting', 'established', 'rekeyed', 'deleting']),
  spiInitiator: z.string(),
  spiResponder: z.string(),
  isInitiator: flag,
  endpoint: endpointSchema,
  localIdentity: z.string(),
  remoteIdentity: z.string(),
  natLocal: flag,
  natRemote: flag,
  proposal: z.string(),
  hasPpk: flag,
  establishedMs: milliseconds,
  rekeyInMs: optional(milliseconds),
  children: numbered(childSchema),
});

const peerSchema = z.object({
  /** Null: IKE SAs whose peer is not known yet. */
  name: optional(z.string()),
  hosts: z.array(z.string()).default([]),
  localIdentity: optional(z.string()),
  remoteIdentity: optional(z.string()),
  /** Names of the children it may have. */
  children: z.array(z.string()).default([]),
  ikeSas: numbered(ikeSaSchema),
});

const differenceSchema = z.object({ field: z.string(), ours: z.string(), theirs: z.string() });

const refusalSchema = z.object({
  at: z.string(),
  peer: optional(z.string()),
  child: optional(z.string()),
  remote: z.string(),
  by: z.enum(['us', 'peer']),
  notify: optional(z.string()),
  reason: z.string(),
  closest: optional(z.string()),
  differences: numbered(differenceSchema),
});

/** One event of `ipsec-node-peers`: a PAD entry and its IKE SAs. */
export type PeerRow = z.output<typeof peerSchema>;
export type IkeSaRow = z.output<typeof ikeSaSchema>;
export type ChildRow = z.output<typeof childSchema>;
/** One `ipsec-node-refusal` of `ipsec-node-status`. */
export type RefusalRow = z.output<typeof refusalSchema>;

function plainIkeSa(sa: IkeSaSnapshot): { readonly [key: string]: Plain } {
  const { peer: _peer, spiInitiator, spiResponder, children, endpoint, ...rest } = sa;
  return {
    ...rest,
    spiInitiator: spiInitiator.toString(16).padStart(16, '0'),
    spiResponder: spiResponder.toString(16).padStart(16, '0'),
    endpoint: { ...endpoint },
    children: number(children, ({ selector, ...child }) => ({
      ...child,
      selector: formatSelector(selector),
    })),
  };
}

/** The messages of `ipsec-node-peers`: each PAD entry in order, then the SAs of none of them. */
export function peerMessages(
  entries: readonly PadEntry[],
  ikeSas: readonly IkeSaSnapshot[],
): readonly ViciSection[] {
  const known = new Set(entries.map((entry) => entry.name));
  const messages = entries.map((entry) =>
    plainSection({
      name: entry.name,
      hosts: entry.hosts.map(hostText),
      localIdentity: formatIdentity(entry.localIdentity),
      remoteIdentity: patternText(entry.remoteIdentity),
      children: entry.children.map((child) => child.name),
      ikeSas: number(
        ikeSas.filter((sa) => sa.peer === entry.name),
        plainIkeSa,
      ),
    }),
  );
  const others = new Set(ikeSas.map((sa) => sa.peer).filter((peer) => !known.has(peer ?? '')));
  for (const name of others) {
    const members = ikeSas.filter((sa) => sa.peer === name);
    messages.push(plainSection({ name, ikeSas: number(members, plainIkeSa) }));
  }
  return messages;
}

function plainDifferences(differences: readonly Difference[]): { readonly [key: string]: Plain } {
  return number(differences, (difference) => ({ ...difference }));
}

export function refusalMessage({ at, event }: TimedRefusal): ViciSection {
  const { kind: _kind, ikeSa: _ikeSa, differences, ...rest } = event;
  return plainSection({ at, ...rest, differences: plainDifferences(differences) });
}

/**
 * What `monitor` shows: all that IKE tells but its keys, and what the datapath tells but its
 * messages to the control plane.
 */
export type GatewayEvent = Exclude<IkeEvent, { kind: 'keys' }> | DataplaneNotice;

/** Kinds of the datapath's events that are shown. */
export const MONITORED_KINDS = [
  'acquire',
  'audit',
  'expire',
  'fault',
  'firstUse',
  'guard',
] as const satisfies readonly DataplaneEvent['kind'][];
/** What of the datapath is shown. */
export type DataplaneNotice = Extract<DataplaneEvent, { kind: (typeof MONITORED_KINDS)[number] }>;

/** The message of `ipsec-node-event`. */
export function eventMessage(event: GatewayEvent, at: Date): ViciSection {
  return plainSection({ at, ...plainEvent(event) });
}

function plainEvent(event: GatewayEvent): { readonly [key: string]: Plain } {
  switch (event.kind) {
    case 'refused':
      return { ...event, differences: plainDifferences(event.differences) };
    case 'peer-moved':
      return { ...event, endpoint: { ...event.endpoint } };
    case 'acquire':
      return { ...event, packet: { ...event.packet } };
    case 'expire':
    case 'firstUse':
      return { ...event, id: { ...event.id } };
    default:
      return { ...event };
  }
}

const saIdSchema = z.object({ direction: z.enum(['outbound', 'inbound']), spi: integer });
const packetSchema = z.object({
  source: z.string(),
  destination: z.string(),
  protocol: integer,
  hasPorts: flag,
  sourcePort: integer,
  destinationPort: integer,
  icmpType: integer,
  icmpCode: integer,
});
const decimal = z
  .string()
  .regex(/^\d{1,20}$/)
  .transform(BigInt);

const subject = {
  at: z.string(),
  ikeSa: integer,
  peer: optional(z.string()),
  child: optional(z.string()),
  remote: z.string(),
};
const spis = { inbound: integer, outbound: integer };
const reason = { reason: z.string() };
const end = { end: z.enum(['ours', 'peer', 'dead']) };

const eventSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('peer-up'), ...subject }),
  z.object({ kind: z.literal('peer-down'), ...subject, ...end, ...reason }),
  z.object({ kind: z.literal('peer-rekeyed'), ...subject }),
  z.object({ kind: z.literal('peer-moved'), ...subject, endpoint: endpointSchema }),
  z.object({ kind: z.literal('child-up'), ...subject, ...spis }),
  z.object({ kind: z.literal('child-rekeyed'), ...subject, ...spis }),
  z.object({
    kind: z.literal('child-down'),
    ...subject,
    inbound: integer,
    ...end,
    ...reason,
  }),
  z.object({
    kind: z.literal('command-done'),
    ...subject,
    command: integer,
    refused: optional(z.string()),
  }),
  z.object({
    kind: z.literal('refused'),
    ...subject,
    ...reason,
    by: z.enum(['us', 'peer']),
    notify: optional(z.string()),
    closest: optional(z.string()),
    differences: numbered(differenceSchema),
  }),
  z.object({ kind: z.literal('warning'), ...subject, ...reason }),
  z.object({ kind: z.literal('detail'), ...subject, text: z.string() }),
  z.object({
    kind: z.literal('acquire'),
    at: z.string(),
    entry: z.string(),
    packet: packetSchema,
  }),
  z.object({
    kind: z.literal('audit'),
    at: z.string(),
    reason: z.string(),
    spi: integer,
    sequenceNumber: decimal,
    source: z.string(),
    destination: z.string(),
    count: decimal,
  }),
  z.object({
    kind: z.literal('expire'),
    at: z.string(),
    id: saIdSchema,
    limit: z.string(),
    hard: flag,
  }),
  z.object({ kind: z.literal('fault'), at: z.string(), worker: z.string(), reason: z.string() }),
  z.object({ kind: z.literal('firstUse'), at: z.string(), id: saIdSchema }),
  z.object({ kind: z.literal('guard'), at: z.string(), what: z.string() }),
]);

/** One `ipsec-node-event`. */
export type EventRow = z.output<typeof eventSchema>;

export const decodePeer = (message: ViciSection): PeerRow => decode(peerSchema, message);
export const decodeRefusal = (message: ViciSection): RefusalRow => decode(refusalSchema, message);
export const decodeEvent = (message: ViciSection): EventRow => decode(eventSchema, message);
