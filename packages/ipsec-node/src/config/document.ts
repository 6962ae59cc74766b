import { dirname } from 'node:path';
import { type Document, isAlias, isMap, isScalar, isSeq, type LineCounter, type Node } from 'yaml';

import type { ConfigFault } from '../errors.js';

/** The way from the whole file to one value: keys and zero-based places in lists. */
export type ConfigPath = readonly (string | number)[];

/** One-based; 0 and 0 where there is no text. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** A configuration that was read and is not yet understood. */
export interface ConfigDocument {
  /** The file as it was named, for messages. */
  readonly file: string;
  /** What relative paths are relative to; absolute. */
  readonly directory: string;
  /** Foreign data: nothing is known of its shape. */
  readonly value: unknown;
  /** Faults of the text that did not keep it from being read, such as a key given twice. */
  readonly faults: readonly ConfigFault[];
  /** Where a value stands, or its key; of what is absent, where its nearest parent stands. */
  position(path: ConfigPath, what: 'value' | 'key'): Position;
}

/** The name under which a configuration given as an object appears in messages. */
export const OBJECT_FILE = '<config>';

/** A document made of a value rather than of text. `directory` is absolute. */
export function documentOfValue(value: unknown, directory: string): ConfigDocument {
  return {
    file: OBJECT_FILE,
    directory,
    value,
    faults: [],
    position: () => ({ line: 0, column: 0 }),
  };
}

/** Writes a path as `policies[1].remote[0]`. */
export function formatPath(path: ConfigPath): string {
  return path
    .map((step, index) => {
      if (typeof step === 'number') return `[${step}]`;
      return index === 0 ? step : `.${step}`;
    })
    .join('');
}

/** Finds positions in a YAML document. */
export function yamlPositions(
  document: Document.Parsed,
  lines: LineCounter,
): ConfigDocument['position'] {
  return (path, what) => {
    let node: unknown = document.contents;
    let offset = offsetOf(node) ?? 0;
    for (const [index, step] of path.entries()) {
      const isLast = index === path.length - 1;
      if (isAlias(node)) node = node.resolve(document);
      if (isMap(node)) {
        // Of a key given twice, the last counts.
        const pair = node.items.findLast(
          ({ key }) => isScalar(key) && String(key.value) === `${step}`,
        );
        if (pair === undefined) break;
        const keyOffset = offsetOf(pair.key) ?? offset;
        node = pair.value;
        offset = isLast && what === 'key' ? keyOffset : (offsetOf(node) ?? keyOffset);
      } else if (isSeq(node) && typeof step === 'number') {
        node = node.items[step];
        offset = offsetOf(node) ?? offset;
      } else {
        break;
      }
    }
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };
}

/** The directory that a file's relative paths start from. */
export function directoryOf(absoluteFile: string): string {
  return dirname(absoluteFile);
}

function offsetOf(node: unknown): number | null {
  if (!isScalar(node) && !isMap(node) && !isSeq(node) && !isAlias(node)) return null;
  const range: Node['range'] = node.range;
  return range?.[0] ?? null;
}
