/**
 * Builds the addon from a copy of the crates in which a check is missing, or the program from a copy
 * of what was compiled. The copies and what cargo makes of them stay in .cache/, so that each build
 * compiles what a mutation touches and no more.
 */

import {
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { run } from '../../lab/command.ts';
import { repositoryRoot } from '../../lab/registry.ts';
import type { Edit } from './mutations.ts';

const folder = join(repositoryRoot, '.cache/demo-mutations');
const copy = join(folder, 'source');
const BUILD_MS_MAX = 900_000;

/** Every file that cargo reads, from the root of the repository. */
function sourceFiles(root: string): ReadonlySet<string> {
  const inCrates = readdirSync(join(root, 'crates'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)));
  return new Set([...inCrates, 'Cargo.toml', 'Cargo.lock', 'rust-toolchain.toml']);
}

/** Makes the copy equal to the repository, but for the edits; a file that is equal is not touched. */
function writeCopy(edits: readonly Edit[]): void {
  const wanted = sourceFiles(repositoryRoot);
  mkdirSync(join(copy, 'crates'), { recursive: true });
  for (const path of sourceFiles(copy)) if (!wanted.has(path)) rmSync(join(copy, path));
  for (const path of wanted) {
    let text = readFileSync(join(repositoryRoot, path), 'utf8');
    for (const edit of edits.filter(({ file }) => file === path)) text = edited(text, edit);
    if (text === textOf(join(copy, path))) continue;
    mkdirSync(dirname(join(copy, path)), { recursive: true });
    writeFileSync(join(copy, path), text);
  }
}

function edited(text: string, edit: Edit): string {
  const parts = text.split(edit.text);
  if (parts.length !== 2) {
    throw new Error(`${edit.file} has "${edit.text}" ${parts.length - 1} times, not once`);
  }
  return parts.join(edit.becomes);
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** Builds the addon with these edits into a file of this name, and returns its path. */
export async function buildAddon(name: string, edits: readonly Edit[]): Promise<string> {
  writeCopy(edits);
  await run(['cargo', 'build', '--package', 'ipsec-napi', '--lib', '--locked', '--quiet'], {
    cwd: copy,
    // The dependencies are those of the Rust tests, which are compiled there already.
    env: { CARGO_TARGET_DIR: join(repositoryRoot, 'target') },
    timeoutMs: BUILD_MS_MAX,
  });
  const addon = join(folder, `${name}.node`);
  // A new file: the old one may be mapped still.
  rmSync(addon, { force: true });
  copyFileSync(join(repositoryRoot, 'target/debug/libipsec_napi.so'), addon);
  return addon;
}

const PACKAGE = 'packages/ipsec-node';

/** Copies the compiled program with these edits and returns the path of its command line. */
export function copyProgram(name: string, edits: readonly Edit[]): string {
  const program = join(folder, name);
  const original = (name: string): string => join(repositoryRoot, PACKAGE, name);
  rmSync(program, { recursive: true, force: true });
  mkdirSync(program, { recursive: true });
  cpSync(original('dist'), join(program, 'dist'), { recursive: true });
  copyFileSync(original('package.json'), join(program, 'package.json'));
  for (const name of ['native', 'node_modules']) symlinkSync(original(name), join(program, name));
  for (const edit of edits) {
    const path = join(program, relative(PACKAGE, edit.file));
    writeFileSync(path, edited(readFileSync(path, 'utf8'), edit));
  }
  return join(program, 'dist/cli/main.js');
}
