import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { repositoryRoot } from '../lab/registry.ts';
import { files, place, repositoryFiles } from './sources.ts';

describe('where packages come from', () => {
  it('is not written into package-lock.json', () => {
    const lock = readFileSync(`${repositoryRoot}/package-lock.json`, 'utf8');
    expect([...lock.matchAll(/"resolved": "\w+:/g)]).toEqual([]);
  });

  it('is the public index in Cargo.lock', () => {
    const sources = files(/^Cargo\.lock$|(^|\/)Cargo\.toml$/).flatMap((file) => [
      ...[...file.text.matchAll(/^source = "(.*)"$/gm)].map((match) => match[1] ?? ''),
    ]);
    const strangers = sources.filter((s) => !s.endsWith('github.com/rust-lang/crates.io-index'));
    expect(strangers).toEqual([]);
  });

  it('is set by no file of the repository', () => {
    const settings =
      /^\s*(@[\w-]+:)?registry\s*=|^\s*(extra-)?index-url\s*=|^\[source\.|^\s*replace-with\s*=|_authToken|GOPROXY/m;
    const faults = files(/(^|\/)(\.npmrc|pip\.conf|config\.toml|.*\.toml|run)$/)
      .filter((file) => settings.test(file.text))
      .map((file) => file.path);
    expect(faults).toEqual([]);
  });
});

describe('what is written', () => {
  it('names no path of the machine it was written on', () => {
    // A checkout in a folder of the root, such as /src, says nothing.
    if (repositoryRoot.split('/').length < 3) return;
    const faults = repositoryFiles()
      .filter((file) => file.text.includes(`${repositoryRoot}/`))
      .map((file) => place(file, file.text.indexOf(`${repositoryRoot}/`)));
    expect(faults).toEqual([]);
  });

  // A host without a public name: an address, a single label, a private top-level domain.
  it('names no private host', () => {
    const url = /https?:\/\/([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])/g;
    const isPrivate = (host: string): boolean =>
      /\.(internal|local|lan|corp|intranet|home)$/.test(host) ||
      /(^|[.-])(registry|mirror|proxy)[.-]/.test(host);
    const faults = repositoryFiles().flatMap((file) =>
      [...file.text.matchAll(url)]
        .filter((match) => isPrivate(match[1] ?? ''))
        .map((match) => `${place(file, match.index)} ${match[0]}`),
    );
    expect(faults).toEqual([]);
  });

  it('gives every file of vectors a source', () => {
    const folder = `${repositoryRoot}/test/vectors`;
    for (const name of readdirSync(folder).filter((each) => each.endsWith('.json'))) {
      const parsed: unknown = JSON.parse(readFileSync(`${folder}/${name}`, 'utf8'));
      expect(parsed, name).toMatchObject({ source: expect.stringMatching(/\S/) });
    }
  });
});
