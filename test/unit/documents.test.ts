/** What the documents say and show is so: examples run, links lead somewhere, tables are whole. */

import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { repositoryRoot } from '../lab/registry.ts';

const read = (path: string): string => readFileSync(join(repositoryRoot, path), 'utf8');

function blocks(text: string, language: string): readonly string[] {
  const fence = new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'gm');
  return [...text.matchAll(fence)].map((match) => match[1] ?? '');
}

function node(words: readonly string[]): string {
  return execFileSync(process.execPath, words, { cwd: repositoryRoot, encoding: 'utf8' });
}

const mainOfCli = 'packages/ipsec-node/dist/cli/main.js';

const runModule = (code: string): string => node(['--input-type=module', '--eval', code]);

const DOCUMENTS = [
  ...['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md'],
  ...['docs', 'docs/manual', 'docs/decisions'].flatMap((folder) =>
    readdirSync(join(repositoryRoot, folder))
      .filter((name) => name.endsWith('.md'))
      .map((name) => `${folder}/${name}`),
  ),
];

/** The anchor that a heading gets on the forge. */
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');

const anchors = (text: string): readonly string[] =>
  [...text.matchAll(/^#+ (.*)$/gm)].map((match) => anchorOf(match[1] ?? ''));

describe('the README', () => {
  const folder = mkdtempSync(join(tmpdir(), 'ipn-documents-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const readme = read('README.md');

  it('has a quick start whose files are without fault', () => {
    writeFileSync(join(folder, 'lan.psk'), '0123456789abcdef'.repeat(4), { mode: 0o600 });
    const files = blocks(readme, 'yaml');
    expect(files).toHaveLength(2);
    for (const [index, text] of files.entries()) {
      const file = join(folder, `${index}.yaml`);
      writeFileSync(file, text);
      expect(node([mainOfCli, 'check', '-c', file])).toMatch(
        /is valid: 2 policies, 1 peer, 0 associations, 0 warnings/,
      );
    }
  });

  it('has a library example that prints what it says', () => {
    const [code = ''] = blocks(readme, 'js');
    expect(blocks(readme, 'text')).toContain(runModule(code));
  });
});

it('interoperation shows a strongSwan pair and the manual an authority that `check` takes', () => {
  const folder = mkdtempSync(join(tmpdir(), 'ipn-documents-pair-'));
  try {
    const [recipe] = blocks(read('docs/manual/configuration.md'), 'sh');
    if (recipe === undefined) throw new Error('no recipe');
    execFileSync('sh', ['-ec', recipe], { cwd: folder, stdio: 'ignore' });
    writeFileSync(join(folder, 'lan.psk'), '0123456789abcdef'.repeat(4), { mode: 0o600 });
    const [psk = '', lines = ''] = blocks(read('docs/interop.md'), 'yaml').slice(0, 2);
    const kept = psk.split('\n').filter((line) => !/^ {4}(local|remote|psk):/.test(line));
    const certificate = kept.toSpliced(kept.indexOf('policies:'), 0, lines.trimEnd()).join('\n');
    for (const [name, text] of Object.entries({ psk, certificate })) {
      const file = join(folder, `${name}.yaml`);
      writeFileSync(file, text);
      expect(node([mainOfCli, 'check', '-c', file]), name).toMatch(
        /is valid: 2 policies, 1 peer, 0 associations, 0 warnings/,
      );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

it('the README of the package has an example that runs', () => {
  const [code = ''] = blocks(read('packages/ipsec-node/README.md'), 'js');
  expect(runModule(code)).toBe('true\n');
});

it('the manual of the library has an example that prints what it says', () => {
  const [code = ''] = blocks(read('docs/manual/library.md'), 'js');
  const said = [...code.matchAll(/^console\.log.*; \/\/ (.*)$/gm)].map((match) => match[1]);
  expect(said.length).toBeGreaterThan(0);
  expect(runModule(code).trimEnd().split('\n')).toEqual(said);
});

it('links lead somewhere', () => {
  const faults = DOCUMENTS.flatMap((path) =>
    [...read(path).matchAll(/\]\(([^)\s]+)\)/g)].flatMap((match) => {
      const [file = '', anchor] = (match[1] ?? '').split('#');
      if (/^https?:/.test(file)) return [];
      const target = file === '' ? path : join(dirname(path), file);
      if (!existsSync(join(repositoryRoot, target))) return [`${path}: ${target}`];
      return anchor === undefined || anchors(read(target)).includes(anchor)
        ? []
        : [`${path}: ${target}#${anchor}`];
    }),
  );
  expect(faults).toEqual([]);
});

it('the list of decisions is whole, and each page has its number', () => {
  const pages = readdirSync(join(repositoryRoot, 'docs/decisions'));
  const list = read('docs/README.md');
  for (const page of pages) {
    const title = read(`docs/decisions/${page}`).split('\n')[0]?.slice(2) ?? '';
    expect(title.slice(0, 4), page).toBe(page.slice(0, 4));
    expect(list).toContain(`- [${title}](decisions/${page})`);
  }
});

it('troubleshooting has a row for each refusal, of the datapath and of the boundary', () => {
  const page = read('docs/manual/troubleshooting.md');
  const reasons = [...read('docs/drops.md').matchAll(/^\| `(\w+)` \|/gm)].map((match) => match[1]);
  const boundary = [
    ...read('crates/ipsec-host/src/ruleset.rs').matchAll(/const [A-Z_]+: &str = "(\w+)";/g),
  ].map((match) => match[1]);
  expect(reasons.length).toBeGreaterThan(20);
  expect(boundary.length).toBeGreaterThan(8);
  const rows = page.split('\n').filter((line) => line.startsWith('| `'));
  const missing = [...reasons, ...boundary].filter(
    (name) => !rows.some((row) => row.split('|')[1]?.includes(`\`${name}\``)),
  );
  expect(missing).toEqual([]);
});
