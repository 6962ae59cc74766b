/** Reading one section of a vici request: every key is asked for, or refused by name. */
import { bytesListOf, isSection, listOf, section, textOf, type ViciSection } from './codec.js';

/** Collects what is wrong, each with its path. */
export class Faults {
  private readonly texts: string[] = [];

  add(path: string, reason: string): void {
    this.texts.push(`${path}: ${reason}`);
  }

  get isEmpty(): boolean {
    return this.texts.length === 0;
  }

  /** All of them in one sentence: vici has one line for them. */
  toString(): string {
    return this.texts.join('; ');
  }
}

const UNITS: Readonly<Record<string, number>> = { '': 1, s: 1, m: 60, h: 3600, d: 86_400 };
const SIZES: Readonly<Record<string, bigint>> = {
  '': 1n,
  k: 1024n,
  m: 1024n ** 2n,
  g: 1024n ** 3n,
};
const YES: readonly string[] = ['yes', 'true', 'enabled', '1'];
const NO: readonly string[] = ['no', 'false', 'disabled', '0'];

/** One section, and which of its keys were asked for. */
export class ConnSection {
  private readonly asked = new Set<string>();

  constructor(
    private readonly content: ViciSection,
    readonly path: string,
    private readonly faults: Faults,
  ) {}

  fault(key: string, reason: string): void {
    this.faults.add(`${this.path}.${key}`, reason);
  }

  has(key: string): boolean {
    return this.content.has(key);
  }

  text(key: string): string | null {
    this.asked.add(key);
    return textOf(this.content, key) ?? listOf(this.content, key)[0] ?? null;
  }

  /** A list, or one text as a list of one. */
  texts(key: string): readonly string[] {
    this.asked.add(key);
    const text = textOf(this.content, key);
    return text === undefined ? listOf(this.content, key) : [text];
  }

  /** Copies: the message is wiped. */
  bytes(key: string): readonly Uint8Array[] {
    this.asked.add(key);
    return bytesListOf(this.content, key).map((bytes) => Uint8Array.from(bytes));
  }

  isYes(key: string, otherwise: boolean): boolean {
    const text = this.text(key);
    if (text === null) return otherwise;
    if (YES.includes(text)) return true;
    if (!NO.includes(text)) this.fault(key, `${JSON.stringify(text)} is neither yes nor no`);
    return false;
  }

  /** A time: a number with s, m, h or d. In milliseconds. */
  timeMs(key: string, otherwise: number): number {
    const text = this.text(key);
    if (text === null) return otherwise;
    const match = /^(\d{1,10})([smhd]?)$/.exec(text.trim());
    const unit = UNITS[match?.[2] ?? ''];
    if (match === null || unit === undefined) {
      this.fault(key, `${JSON.stringify(text)} is not a time such as 4h, 30m or 90s`);
      return otherwise;
    }
    return Number(match[1]) * unit * 1000;
  }

  /** A size: a number with k, m or g. */
  size(key: string, otherwise: bigint): bigint {
    const text = this.text(key);
    if (text === null) return otherwise;
    const match = /^(\d{1,19})([kmg]?)$/i.exec(text.trim());
    const unit = SIZES[(match?.[2] ?? '').toLowerCase()];
    if (match === null || unit === undefined) {
      this.fault(key, `${JSON.stringify(text)} is not a size such as 500m or 1g`);
      return otherwise;
    }
    return BigInt(match[1] ?? '0') * unit;
  }

  integer(key: string, otherwise: number, bounds: { readonly min: number; readonly max: number }) {
    const text = this.text(key);
    if (text === null) return otherwise;
    const value = /^\d{1,10}$/.test(text.trim()) ? Number(text) : Number.NaN;
    if (value >= bounds.min && value <= bounds.max) return value;
    this.fault(key, `${JSON.stringify(text)} is not a number of ${bounds.min}..${bounds.max}`);
    return otherwise;
  }

  /** One of the words of a table. */
  choice<T>(key: string, words: Readonly<Record<string, T>>, otherwise: T): T {
    const text = this.text(key);
    if (text === null) return otherwise;
    const found = Object.hasOwn(words, text) ? words[text] : undefined;
    if (found !== undefined) return found;
    const known = Object.keys(words).join(', ');
    this.fault(key, `${JSON.stringify(text)} is not in this version; ${known} are`);
    return otherwise;
  }

  /** Sections whose key matches, such as `local`, `local-1`. */
  sections(pattern: RegExp): readonly { readonly key: string; readonly content: ConnSection }[] {
    return [...this.content].flatMap(([key, value]) => {
      if (!pattern.test(key) || !isSection(value)) return [];
      this.asked.add(key);
      return [{ key, content: new ConnSection(value, `${this.path}.${key}`, this.faults) }];
    });
  }

  /** The section under a key, empty where there is none. */
  child(key: string): ConnSection {
    const found = this.sections(new RegExp(`^${key}$`))[0];
    return found?.content ?? new ConnSection(section(), `${this.path}.${key}`, this.faults);
  }

  /**
   * Refuses every key that was not asked for. `neutral` holds the values of keys that we do not
   * have which change nothing: strongSwan's defaults for them.
   */
  refuseTheRest(neutral: Readonly<Record<string, readonly string[]>> = {}): void {
    for (const [key, value] of this.content) {
      if (this.asked.has(key)) continue;
      const values = typeof value === 'string' ? [value] : isSection(value) ? [] : [...value];
      const harmless = Object.hasOwn(neutral, key) ? (neutral[key] ?? []) : [];
      const isNeutral = values.every((each) => typeof each === 'string' && harmless.includes(each));
      // An empty list says nothing.
      if (!isSection(value) && isNeutral) continue;
      const only = harmless.length === 0 ? '' : `; only ${harmless.join(', ')} is accepted`;
      this.fault(key, `it is not in this version${only}`);
    }
  }
}
