import { existsSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { describe, expect, it } from 'vitest';
import { repositoryRoot } from '../lab/registry.ts';
import { type ImportTable, parseImportTable } from './import-table.ts';
import {
  files,
  type Import,
  importsOf,
  place,
  PRODUCT_TYPESCRIPT,
  type SourceFile,
} from './sources.ts';

const SOURCE = 'packages/ipsec-node/src/';
const architecture = `${repositoryRoot}/ARCHITECTURE.md`;

/** The files that may see the addon: the dataplane, library mode, IKE's crypto, and the demo's lab. */
const NATIVE_IMPORTERS = [
  'dataplane/native-dataplane.ts',
  'packet/native.ts',
  'ike/crypto/native.ts',
  'demo/native.ts',
].map((path) => SOURCE + path);

/** `spd` for `spd/entry.ts`, `clock` for `clock.ts`. */
function layerOf(path: string): string {
  return path.slice(SOURCE.length).replace(/\.ts$/, '').split('/')[0] ?? '';
}

/** The file in src/ that an import names; undefined for packages and for `native/`. */
function target(file: SourceFile, specifier: string): string | undefined {
  const mapped = specifier.startsWith('#') ? SOURCE + specifier.slice(1) : undefined;
  const path =
    mapped ?? (specifier.startsWith('.') ? posix.join(posix.dirname(file.path), specifier) : '');
  return path.startsWith(SOURCE) ? path.replace(/\.js$/, '.ts') : undefined;
}

function isAllowed(table: ImportTable, from: string, to: string, each: Import): boolean {
  const allowance = table.allowance(layerOf(from), layerOf(to));
  if (allowance === undefined) return false;
  if (allowance.kind === 'types') return each.typeOnly;
  if (allowance.kind === 'parts') {
    const inside = to.slice(`${SOURCE}${layerOf(to)}/`.length);
    return allowance.parts.some((part) => inside.startsWith(`${part}/`) || inside === `${part}.ts`);
  }
  return true;
}

describe('imports of the package', () => {
  it.skipIf(!existsSync(architecture))('obey the table of ARCHITECTURE.md', () => {
    const table = parseImportTable(readFileSync(architecture, 'utf8'));
    if (table === undefined) throw new Error('ARCHITECTURE.md has no table of imports');
    const faults: string[] = [];
    for (const file of files(PRODUCT_TYPESCRIPT)) {
      // The public API is re-exports of everything.
      if (file.path === `${SOURCE}index.ts`) continue;
      // The library without sockets is not in the table: the text under it says what it may use.
      const isLibrary = layerOf(file.path) === 'packet' && !table.hasRow('packet');
      for (const each of importsOf(file)) {
        const to = target(file, each.specifier);
        if (to === undefined || layerOf(to) === layerOf(file.path)) continue;
        const isFine = isLibrary
          ? ['errors', 'net', 'spd'].includes(layerOf(to))
          : isAllowed(table, file.path, to, each);
        if (!isFine) faults.push(`${place(file, each.offset)} imports ${layerOf(to)}`);
      }
    }
    expect(faults).toEqual([]);
  });

  it('reach the addon from the named files alone', () => {
    const importers = files(PRODUCT_TYPESCRIPT).filter((file) =>
      importsOf(file).some((each) => /(^|\/)native(\/|$)/.test(each.specifier)),
    );
    const strangers = importers
      .map((file) => file.path)
      .filter((p) => !NATIVE_IMPORTERS.includes(p));
    expect(strangers).toEqual([]);
  });

  it('of the oracle reach nothing of the product, but in tests that compare the two', () => {
    const faults = files(/^test\/oracle\/(?!.*\.test\.ts$).*\.ts$/).flatMap((file) =>
      importsOf(file)
        .filter((each) => /packages\/|crates\/|^ipsec-node/.test(each.specifier))
        .map((each) => `${place(file, each.offset)} imports ${each.specifier}`),
    );
    expect(faults).toEqual([]);
  });
});

describe('the reader of the table', () => {
  const table = parseImportTable(`
| | \`errors\` clock | net | spd sad | daemon |
|---|---|---|---|---|
| net | x | | | |
| spd sad | x | x | among themselves | |
| cli | x | x | types | vici version |

after`);

  it('understands each kind of cell', () => {
    expect(table?.allowance('net', 'errors')).toEqual({ kind: 'all' });
    expect(table?.allowance('net', 'spd')).toBeUndefined();
    expect(table?.allowance('net', 'net')).toEqual({ kind: 'all' });
    expect(table?.allowance('spd', 'sad')).toEqual({ kind: 'all' });
    expect(table?.allowance('cli', 'spd')).toEqual({ kind: 'types' });
    expect(table?.allowance('cli', 'daemon')).toEqual({
      kind: 'parts',
      parts: ['vici', 'version'],
    });
    expect(table?.hasRow('daemon')).toBe(false);
  });

  it('finds no table in other text', () => {
    expect(parseImportTable('| a | b |\n|---|---|\n| x | y |')).toBeUndefined();
  });
});
