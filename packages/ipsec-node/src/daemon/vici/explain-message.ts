/** The answer of `ipsec-node-explain`, both ways: one event for each earlier entry, then the rest. */
import { z } from 'zod';
import type { Explanation } from '../../config/explain.js';
import { SUITE_NAMES } from '../../sad/suite.js';
import type { ViciSection } from './codec.js';
import { decode, flag, integer, plainSection } from './own-messages.js';

const action = z.enum(['PROTECT', 'BYPASS', 'DISCARD']);

const entrySchema = z.object({
  number: integer,
  name: z.string(),
  builtin: flag,
  action,
  direction: z.enum(['both', 'outbound', 'inbound']),
  selector: z.string(),
});

/** A list of objects travels as a section with numbers for keys. */
const numbered = <T extends z.ZodType>(schema: T) =>
  z
    .record(z.string(), schema)
    .default({})
    .transform((items) => Object.values(items));

const missSchema = entrySchema.extend({
  mismatches: numbered(
    z.object({
      field: z.enum([
        'direction',
        'local',
        'remote',
        'protocol',
        'localPort',
        'remotePort',
        'icmpType',
        'icmpCode',
      ]),
      found: z.string(),
      wanted: z.string(),
    }),
  ),
});

const replySchema = z.object({
  direction: z.enum(['outbound', 'inbound']),
  packet: z.string(),
  action,
  deciding: entrySchema.nullish().transform((entry) => entry ?? null),
  associations: numbered(
    z
      .object({
        direction: z.enum(['outbound', 'inbound']),
        spi: integer,
        entry: z.string(),
        suite: z.enum(SUITE_NAMES),
        local: z.string(),
        remote: z.string(),
        encapsulation: z.enum(['udp', 'esp']),
      })
      .transform(({ direction, spi, ...rest }) => ({ id: { direction, spi }, ...rest })),
  ),
  outcome: z.string(),
});

/** What the gateway sends. */
export function encodeExplanation(explanation: Explanation): {
  readonly entries: readonly ViciSection[];
  readonly reply: ViciSection;
} {
  const { direction, packet, outcome, deciding } = explanation;
  return {
    entries: explanation.earlier.map(({ mismatches, ...entry }) =>
      plainSection({
        ...entry,
        mismatches: inOrder(
          mismatches.map(({ field, found, wanted }) => ({ field, found, wanted })),
        ),
      }),
    ),
    reply: plainSection({
      direction,
      packet,
      action: explanation.action,
      deciding: deciding === null ? null : { ...deciding },
      associations: inOrder(
        explanation.associations.map(({ id, entry, suite, local, remote, encapsulation }) => ({
          direction: id.direction,
          spi: id.spi,
          entry,
          suite,
          local,
          remote,
          encapsulation,
        })),
      ),
      outcome,
    }),
  };
}

function inOrder<T>(items: readonly T[]): Readonly<Record<string, T>> {
  return Object.fromEntries(items.map((item, index) => [`${index + 1}`, item]));
}

/** Reads it back. */
export function decodeExplanation(
  entries: readonly ViciSection[],
  reply: ViciSection,
): Explanation {
  const earlier = entries.map((entry) => decode(missSchema, entry));
  return { ...decode(replySchema, reply), earlier };
}
