/** Reads test/vectors/*.json field by field: a vector that lacks what a test needs fails it. */

import { readFileSync } from 'node:fs';

export class VectorRecord {
  constructor(
    readonly where: string,
    private readonly fields: ReadonlyMap<string, unknown>,
  ) {}

  static of(where: string, value: unknown): VectorRecord {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw new Error(`${where}: not an object`);
    }
    return new VectorRecord(where, new Map(Object.entries(value)));
  }

  has(name: string): boolean {
    return this.fields.has(name);
  }

  text(name: string): string {
    const value = this.fields.get(name);
    if (typeof value !== 'string') throw new Error(`${this.where}.${name}: not a string`);
    return value;
  }

  number(name: string): number {
    const value = this.fields.get(name);
    if (typeof value !== 'number') throw new Error(`${this.where}.${name}: not a number`);
    return value;
  }

  flag(name: string): boolean {
    const value = this.fields.get(name);
    if (typeof value !== 'boolean') throw new Error(`${this.where}.${name}: not a boolean`);
    return value;
  }

  hex(name: string): Buffer {
    const text = this.text(name);
    if (!/^([0-9a-f]{2})*$/i.test(text)) throw new Error(`${this.where}.${name}: not hexadecimal`);
    return Buffer.from(text, 'hex');
  }

  list(name: string): readonly unknown[] {
    const value = this.fields.get(name);
    if (!Array.isArray(value)) throw new Error(`${this.where}.${name}: not a list`);
    return value.map((item: unknown) => item);
  }

  record(name: string): VectorRecord {
    return VectorRecord.of(`${this.where}.${name}`, this.fields.get(name));
  }
}

export interface VectorFile {
  readonly file: VectorRecord;
  readonly vectors: readonly VectorRecord[];
}

/** `name` without `.json`. Each vector is named by its `id`. */
export function readVectors(name: string): VectorFile {
  const parsed: unknown = JSON.parse(
    readFileSync(new URL(`../vectors/${name}.json`, import.meta.url), 'utf8'),
  );
  const file = VectorRecord.of(name, parsed);
  if (file.text('source') === '') throw new Error(`${name}: no source`);
  const vectors = file
    .list('vectors')
    .map((value, index) => VectorRecord.of(`${name}[${index}]`, value));
  return { file, vectors };
}
