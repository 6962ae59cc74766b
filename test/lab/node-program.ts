/** A TypeScript program of the laboratory as a command for plain Node. */

import type * as Transpiler from '../../tools/transpile.mjs';
import { repositoryRoot } from './registry.ts';

/**
 * `entry` from the root of the repository, without suffix: `test/lab/traffic-agent`. In a guest,
 * where this file itself runs transpiled, the program was transpiled with it: whoever calls this
 * imports a type of it.
 */
export async function nodeProgram(entry: string, ...words: readonly string[]): Promise<string[]> {
  const transpiled = `${repositoryRoot}/.cache/js/${entry}.js`;
  if (import.meta.url.includes('/.cache/js/')) return [process.execPath, transpiled, ...words];
  const tool: typeof Transpiler = await import(`${repositoryRoot}/tools/transpile.mjs`);
  return [process.execPath, await tool.transpile(`${repositoryRoot}/${entry}.ts`), ...words];
}

/** A line of JSON that is an object. */
export function parseLine(line: string): ReadonlyMap<string, unknown> {
  const parsed: unknown = JSON.parse(line);
  if (typeof parsed !== 'object' || parsed === null) throw new Error(`no object: ${line}`);
  return new Map<string, unknown>(Object.entries(parsed));
}
