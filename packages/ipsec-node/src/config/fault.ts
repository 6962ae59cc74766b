import type { ConfigFault } from '../errors.js';
import { type ConfigDocument, type ConfigPath, formatPath } from './document.js';

/** The sentence for what the contract names and this version does not have. */
export const NOT_IN_THIS_VERSION = 'not in this version';

/** What is known of one fault before its position is looked up. */
export interface FaultParts {
  readonly found: string;
  readonly accepted: string;
  readonly nearest?: string | undefined;
  /** Why what was found is not accepted, where that is not plain. */
  readonly why?: string | undefined;
  /** Whether the key or the value is to be pointed at; value by default. */
  readonly at?: 'key' | 'value';
}

/** Collects every fault of one document. */
export class Faults {
  readonly #document: ConfigDocument;
  readonly #faults: ConfigFault[];

  constructor(document: ConfigDocument) {
    this.#document = document;
    this.#faults = [...document.faults];
  }

  add(path: ConfigPath, parts: FaultParts): void {
    const { line, column } = this.#document.position(path, parts.at ?? 'value');
    this.#faults.push(
      makeFault({ file: this.#document.file, line, column, path: formatPath(path), ...parts }),
    );
  }

  get count(): number {
    return this.#faults.length;
  }

  /** In the order of the file. */
  list(): readonly ConfigFault[] {
    return this.#faults.toSorted((a, b) => a.line - b.line || a.column - b.column);
  }
}

/** Makes one fault with its one-line message. */
export function makeFault(
  parts: FaultParts & { file: string; line: number; column: number; path: string },
): ConfigFault {
  const { file, line, column, path, found, accepted, nearest, why } = parts;
  const place = line === 0 ? file : `${file}:${line}:${column}`;
  const reason = why === undefined ? '' : ` (${why})`;
  const hint = nearest === undefined ? '' : `; did you mean ${nearest}?`;
  const subject = path === '' ? '' : `${path}: `;
  const message = `${place}: ${subject}found ${found}${reason}; accepted: ${accepted}${hint}`;
  const fault = { file, line, column, path, found, accepted, message };
  return nearest === undefined ? fault : { ...fault, nearest };
}

const SHOWN_CHARS_MAX = 60;

/**
 * Describes a value of the file for a message. What might be key material is described by its type
 * alone: everything under a key's own name or beside it, and any long run of hexadecimal digits.
 */
export function describeValue(value: unknown, path: ConfigPath): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'nothing (null)';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (typeof value === 'object') return 'a map';
  if (mayBeSecret(path)) return `a ${typeof value} (not shown)`;
  if (typeof value === 'string') return describeText(value);
  if (typeof value === 'number' && Math.abs(value) > 0xffff_ffff_ffff) {
    return 'a number (not shown)';
  }
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint') {
    return `${value}`;
  }
  return `a ${typeof value}`;
}

/** Quotes a text of the file, shortened; long hexadecimal is not shown. */
export function describeText(text: string): string {
  const isHexadecimal = /[0-9a-fA-F]{24,}|([0-9a-fA-F]{2}[\s:_-]){11,}/.test(text);
  if (isHexadecimal) return 'a text (not shown)';
  const short = text.length > SHOWN_CHARS_MAX ? `${text.slice(0, SHOWN_CHARS_MAX)}…` : text;
  return JSON.stringify(short);
}

const SECRET_KEYS = ['key', 'psk', 'inbound', 'outbound', 'secret', 'passphrase'];

/** Whether a value at this path may be key material, also by a slip of whoever wrote the file. */
export function mayBeSecret(path: ConfigPath): boolean {
  const steps = path.filter((step): step is string => typeof step === 'string');
  const last = steps.at(-1);
  if (last === 'spi') return false;
  return steps.some((step) => SECRET_KEYS.includes(step));
}
