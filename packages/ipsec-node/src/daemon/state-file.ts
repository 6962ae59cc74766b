import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ResourceError } from '../errors.js';

/** Name of the file in the state directory. */
export const STATE_FILE_NAME = 'sequence-numbers.json';
/** Largest file that is read: 100,000 records and their punctuation. */
const FILE_BYTES_MAX = 64 * 1024 * 1024;
/** Most keys whose numbers are kept. None is ever forgotten, so one past it is refused. */
export const RECORD_COUNT_MAX = 100_000;

const decimal = z.string().regex(/^(0|[1-9][0-9]{0,19})$/);

const recordSchema = z.strictObject({
  direction: z.enum(['outbound', 'inbound']),
  spi: z.number().int().min(256).max(0xffff_ffff),
  suite: z.string().min(1).max(64),
  /** SHA-256 of the keying material, in hexadecimal, under a label of its own. */
  keyDigest: z.string().regex(/^[0-9a-f]{64}$/),
  /** Every number up to and including it may have been used (outbound) or accepted (inbound). */
  upTo: decimal,
});

const fileSchema = z.strictObject({
  format: z.literal(1),
  /** SHA-256 of the records as they stand in the file: a flipped digit is damage, not a value. */
  digest: z.string(),
  records: z.array(recordSchema).max(RECORD_COUNT_MAX),
});

/** What is kept of one SA and its key. */
export interface StateRecord {
  readonly direction: 'outbound' | 'inbound';
  readonly spi: number;
  readonly suite: string;
  readonly keyDigest: string;
  readonly upTo: bigint;
}

function digestOf(records: readonly z.infer<typeof recordSchema>[]): string {
  return createHash('sha256').update(JSON.stringify(records)).digest('hex');
}

function corrupt(path: string, what: string, cause?: unknown): ResourceError {
  return new ResourceError(
    'IPSEC_ERR_STATE_CORRUPT',
    `The state file ${path} is damaged (${what}), so it is not known which sequence numbers the ` +
      'manual keys have used, and using one twice would give the traffic away. ' +
      'Put new keys on both ends, then remove the file. Never remove it and keep the keys.',
    { cause, fields: { path, adviceInMessage: true } },
  );
}

/** What a directory cannot do, and what to do about it. */
export function unwritable(directory: string, cause: unknown): ResourceError {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  const what =
    code === 'ENOENT'
      ? 'does not exist'
      : code === 'EACCES' || code === 'EPERM'
        ? 'may not be written by this process'
        : code === 'EROFS'
          ? 'is on a read-only file system'
          : code === 'ENOSPC' || code === 'EDQUOT'
            ? 'has no room left'
            : code === 'ENOTDIR'
              ? 'is not a directory'
              : `cannot be used (${cause instanceof Error ? cause.message : String(cause)})`;
  const remedy =
    code === 'ENOENT'
      ? `If this gateway never ran here, make it: install -d -m 700 ${directory}. ` +
        'If it did, bring the directory back (an unmounted volume?): ' +
        'without it the keys must be replaced on both ends.'
      : 'Make it a writable directory of its own for this gateway.';
  return new ResourceError(
    'IPSEC_ERR_STATE_UNWRITABLE',
    `The state directory ${directory} ${what}, and a manually keyed SA may not run without it: ` +
      `a restart would use sequence numbers twice. ${remedy}`,
    { cause, fields: { directory, adviceInMessage: true } },
  );
}

/** Reads the records; an absent file in a present directory holds none. */
export async function readStateFile(directory: string): Promise<readonly StateRecord[]> {
  const path = join(directory, STATE_FILE_NAME);
  let text: string;
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      const { size } = await file.stat();
      if (size > FILE_BYTES_MAX) throw corrupt(path, `${size} bytes long`);
      text = await readFile(file, 'utf8');
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof ResourceError) throw error;
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw unwritable(directory, error);
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw corrupt(path, 'it is not JSON', error);
  }
  const checked = fileSchema.safeParse(parsed);
  if (!checked.success) throw corrupt(path, z.prettifyError(checked.error), checked.error);
  if (digestOf(checked.data.records) !== checked.data.digest) {
    throw corrupt(path, 'its digest does not fit its records');
  }
  return checked.data.records.map((record) => ({ ...record, upTo: BigInt(record.upTo) }));
}

/**
 * Writes all records so that a crash at any moment leaves the old file or the new one, whole.
 * Resolves when the new one is on disk.
 */
export async function writeStateFile(
  directory: string,
  records: readonly StateRecord[],
): Promise<void> {
  const rows = records.map((record) => ({
    direction: record.direction,
    spi: record.spi,
    suite: record.suite,
    keyDigest: record.keyDigest,
    upTo: record.upTo.toString(),
  }));
  const text = `${JSON.stringify({ format: 1, digest: digestOf(rows), records: rows }, null, 1)}\n`;
  const path = join(directory, STATE_FILE_NAME);
  const temporary = `${path}.new`;
  try {
    const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants;
    const file = await open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    // The rename itself is durable only when the directory is.
    const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw unwritable(directory, error);
  }
}
