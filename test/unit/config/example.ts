import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const MANUAL = new URL('../../../docs/manual/', import.meta.url);

/** A file of docs/manual, as it stands there. */
export function manualFile(name: string): { readonly path: string; readonly text: string } {
  const path = fileURLToPath(new URL(name, MANUAL));
  return { path, text: readFileSync(path, 'utf8') };
}
