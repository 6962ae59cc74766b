/**
 * Messages of the product's own commands, both ways: what the gateway writes, our command line (and
 * anybody with a vici library) reads. Numbers are decimal text, flags `yes` and `no`, and what does
 * not apply is left out.
 */
import { z } from 'zod';
import { formatSelector } from '../../spd/selector.js';
import type { CountersSnapshot, GatewayStatus, PolicySnapshot, SaSnapshot } from '../snapshot.js';
import { isSection, section, type ViciSection, type ViciValue } from './codec.js';

/** A value as it is given to {@link plainSection}. */
export type Plain =
  | string
  | number
  | bigint
  | boolean
  | Date
  | null
  | undefined
  | readonly string[]
  | { readonly [key: string]: Plain };

/** Writes a plain object as a section; `null` and `undefined` are left out. */
export function plainSection(record: { readonly [key: string]: Plain }): ViciSection {
  const fields: [string, ViciValue | number | bigint | boolean][] = [];
  for (const [key, value] of Object.entries(record)) {
    if (value === null || value === undefined) continue;
    if (value instanceof Date) fields.push([key, value.toISOString()]);
    else if (typeof value !== 'object') fields.push([key, value]);
    else if (isTexts(value)) fields.push([key, value]);
    else fields.push([key, plainSection(value)]);
  }
  return section(fields);
}

function isTexts(value: object): value is readonly string[] {
  return Array.isArray(value);
}

/** Reads a section as a plain object of texts, lists and objects. */
export function plainObject(message: ViciSection): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    [...message].map(([key, value]) => [key, isSection(value) ? plainObject(value) : value]),
  );
}

/** A number of up to 15 digits. */
export const integer = z
  .string()
  .regex(/^\d{1,15}$/)
  .transform(Number);
const decimal = z
  .string()
  .regex(/^\d{1,20}$/)
  .transform(BigInt);
/** A span; may have a fraction. */
export const milliseconds = z
  .string()
  .regex(/^\d+(\.\d+)?$/)
  .transform(Number);
/** `yes` or `no`. */
export const flag = z.enum(['yes', 'no']).transform((text) => text === 'yes');
const tally = z.record(z.string(), decimal).default({});
const optional = <T extends z.ZodType>(schema: T) =>
  schema.nullish().transform((value) => value ?? null);

const statusSchema = z.object({
  name: z.string(),
  state: z.enum(['starting', 'running', 'failed', 'stopping', 'stopped']),
  version: z.string(),
  pid: integer,
  since: z.string(),
  uptimeMs: milliseconds,
  control: optional(z.string()),
  onStop: z.enum(['guard', 'open']),
  unprotected: z.array(z.string()).default([]),
  ikePort: integer,
  port: integer,
  interface: z.string(),
  mtu: integer,
  tunSegmentation: flag,
  udpGso: flag,
  udpGro: flag,
  guardTakenOver: flag,
  notes: z.array(z.string()).default([]),
  spdVersion: integer,
  policyCount: integer,
  saCount: integer,
  faults: z.array(z.string()).default([]),
  lostEventCount: decimal,
});

const saSchema = z.object({
  direction: z.enum(['outbound', 'inbound']),
  spi: integer,
  policy: z.string(),
  suite: z.string(),
  mode: z.string(),
  local: z.string(),
  remote: z.string(),
  localPort: integer,
  remotePort: integer,
  encapsulation: z.enum(['udp', 'esp']),
  selector: z.string(),
  esn: flag,
  replayWindow: integer,
  sequenceNumber: decimal,
  reservedUpTo: optional(decimal),
  packets: decimal,
  bytes: decimal,
  ageMs: milliseconds,
  idleMs: optional(milliseconds),
  drops: tally,
  /** Of a negotiated SA: whose it is. */
  peer: optional(z.string()),
  ikeSa: optional(integer),
  child: optional(z.string()),
  childId: optional(integer),
  rekeyInMs: optional(milliseconds),
});

const policySchema = z.object({
  index: integer,
  name: z.string(),
  direction: z.enum(['both', 'outbound', 'inbound']),
  action: z.enum(['PROTECT', 'BYPASS', 'DISCARD']),
  selector: z.string(),
  builtin: flag,
  saCount: integer,
});

const countersSchema = z.object({ counters: tally, drops: tally });
const saDropsSchema = saSchema.pick({ direction: true, spi: true, drops: true });

/** The answer of `ipsec-node-status`. */
export type StatusRow = z.output<typeof statusSchema>;
/** One event of `ipsec-node-sas`. */
export type SaRow = z.output<typeof saSchema>;
/** One event of `ipsec-node-policies`. */
export type PolicyRow = z.output<typeof policySchema>;
/** The answer of `ipsec-node-counters`. */
export type CountersRow = z.output<typeof countersSchema>;
/** One event of `ipsec-node-counters`: the refusals of one SA. */
export type SaDropsRow = z.output<typeof saDropsSchema>;

export function encodeStatus(status: GatewayStatus): ViciSection {
  const { facts, ...rest } = status;
  const { offload, ...found } = facts;
  return plainSection({ ...rest, ...found, ...offload });
}

/** Which child of which peer a negotiated SA belongs to. */
export interface SaOwner {
  readonly peer: string | null;
  readonly ikeSa: number;
  readonly child: string;
  readonly childId: number;
  readonly rekeyInMs: number | null;
}

export function encodeSa(sa: SaSnapshot, owner: SaOwner | null = null): ViciSection {
  const { id, entry, selector, ...rest } = sa;
  const text = formatSelector(selector);
  return plainSection({ ...id, policy: entry, selector: text, ...rest, ...owner });
}

export function encodePolicy(policy: PolicySnapshot): ViciSection {
  const { selector, ...rest } = policy;
  return plainSection({ ...rest, selector: formatSelector(selector) });
}

export function encodeCounters(counters: CountersSnapshot): ViciSection {
  return plainSection({ counters: counters.counters, drops: counters.drops });
}

export function encodeSaDrops(row: CountersSnapshot['dropsBySa'][number]): ViciSection {
  return plainSection({ ...row.id, drops: row.drops });
}

/** Thrown where a gateway answers in another form: it is of another version. */
export class ForeignAnswerError extends Error {
  override readonly name = 'ForeignAnswerError';
}

/** Checks a message of a gateway, which may be of another version. */
export function decode<T extends z.ZodType>(schema: T, message: ViciSection): z.output<T> {
  const checked = schema.safeParse(plainObject(message));
  if (checked.success) return checked.data;
  throw new ForeignAnswerError(z.prettifyError(checked.error), { cause: checked.error });
}

export const decodeStatus = (message: ViciSection): StatusRow => decode(statusSchema, message);
export const decodeSa = (message: ViciSection): SaRow => decode(saSchema, message);
export const decodePolicy = (message: ViciSection): PolicyRow => decode(policySchema, message);
export const decodeCounters = (message: ViciSection): CountersRow =>
  decode(countersSchema, message);
export const decodeSaDrops = (message: ViciSection): SaDropsRow => decode(saDropsSchema, message);
