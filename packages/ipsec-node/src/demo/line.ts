/** What the demo tells: one line for each thing that was done and measured. */

/** The rows of the screen, in their order; the middle ones are the threat table. */
export const SUBJECTS = [
  'link',
  'transfer',
  'eavesdropping',
  'modification',
  'injection',
  'spoofing',
  'malformed',
  'replay',
  'traffic analysis',
  'plaintext',
  'impostor',
  'flood',
  'restart',
  'left behind',
] as const;
/** One of them. */
export type Subject = (typeof SUBJECTS)[number];

/** A measured number, or what it is a number of. */
export type Fact = string | number | bigint | boolean | { readonly [name: string]: Fact };

export interface DemoLine {
  readonly subject: Subject;
  /** Whether it was as it has to be. */
  readonly ok: boolean;
  readonly did: string;
  readonly found: string;
  /** The same as numbers, for machines. */
  readonly facts: { readonly [name: string]: Fact };
  /** More rows under the line. */
  readonly chart?: readonly string[];
}

/** `12 345 678`. */
export function grouped(value: number | bigint): string {
  return value.toString().replaceAll(/\B(?=(\d{3})+(?!\d))/g, ' ');
}
