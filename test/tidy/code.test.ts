import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import {
  ALL_TYPESCRIPT,
  comments,
  files,
  parseTypescript,
  place,
  PRODUCT_TYPESCRIPT,
  RUST,
  rustCode,
  rustWithoutTests,
  type SourceFile,
  walk,
} from './sources.ts';

/** Non-test lines; the guide is 400 to 600, this is where it stops. */
const FILE_LINES_MAX = 800;
/** Lines of code of the binding: verbs, library mode, host, and what IKE has of Rust libraries. */
const ADDON_LINES_MAX = 1_800;
const ARCHITECTURE_LINES_MAX = 250;

/** System calls, the binding's macros, vector instructions; and an allocator that counts, in a test. */
const UNSAFE_ALLOWED =
  /^crates\/(ipsec-io\/src\/sys(\/|\.rs$)|ipsec-napi\/|ipsec-wire\/src\/checksum(\/|\.rs$|_)|ipsec-datapath\/tests\/allocations\.rs$)/;

function lineCount(text: string): number {
  return text.trimEnd().split('\n').length;
}

/** Without comments and empty lines. */
function codeLineCount(text: string): number {
  return text.split('\n').filter((line) => !/^\s*(\/\/|$)/.test(line)).length;
}

/** Every node of the files that `what` has a word for. */
function nodes(
  pattern: RegExp,
  what: (node: ts.Node, file: SourceFile) => string | undefined,
): string[] {
  return files(pattern).flatMap((file) => {
    const found: string[] = [];
    walk(parseTypescript(file), (node) => {
      const word = what(node, file);
      if (word !== undefined) found.push(`${place(file, node.getStart())} ${word}`);
    });
    return found;
  });
}

describe('TypeScript', () => {
  it('has no any', () => {
    expect(
      nodes(ALL_TYPESCRIPT, (node) => (node.kind === ts.SyntaxKind.AnyKeyword ? 'any' : undefined)),
    ).toEqual([]);
  });

  it('asserts no value to be there with !', () => {
    expect(
      nodes(ALL_TYPESCRIPT, (node) => (ts.isNonNullExpression(node) ? '!' : undefined)),
    ).toEqual([]);
  });

  it('switches no check off', () => {
    const faults = files(ALL_TYPESCRIPT).flatMap((file) =>
      comments(file)
        .filter(({ text }) => /@ts-(ignore|nocheck|expect-error)/.test(text))
        .map(({ line }) => `${file.path}:${line}`),
    );
    expect(faults).toEqual([]);
  });

  it('writes to the console in the CLI alone', () => {
    const outside = /^packages\/[^/]+\/src\/(?!cli\/).*\.ts$/;
    expect(
      nodes(outside, (node) =>
        ts.isPropertyAccessExpression(node) &&
        ts.isIdentifier(node.expression) &&
        node.expression.text === 'console'
          ? 'console'
          : undefined,
      ),
    ).toEqual([]);
  });

  it('reads the clock in clock.ts alone', () => {
    const outside = /^packages\/[^/]+\/src\/(?!clock\.ts$|cli\/).*\.ts$/;
    const clocks = ['Date', 'setTimeout', 'setInterval', 'performance'];
    expect(
      nodes(outside, (node) => {
        const callee =
          ts.isCallExpression(node) || ts.isNewExpression(node) ? node.expression : undefined;
        const owner =
          callee !== undefined && ts.isPropertyAccessExpression(callee)
            ? callee.expression
            : callee;
        return owner !== undefined && ts.isIdentifier(owner) && clocks.includes(owner.text)
          ? owner.text
          : undefined;
      }),
    ).toEqual([]);
  });
});

describe('Rust', () => {
  it('is unsafe where the architecture lets it alone', () => {
    const faults = files(RUST)
      .filter((file) => !UNSAFE_ALLOWED.test(file.path))
      .flatMap((file) =>
        [...rustCode(file.text).matchAll(/\bunsafe\b/g)].map((match) => place(file, match.index)),
      );
    expect(faults).toEqual([]);
  });

  it('says before each unsafe block why it is sound', () => {
    const faults = files(RUST).flatMap((file) => {
      const lines = file.text.split('\n');
      const code = rustCode(file.text).split('\n');
      return code.flatMap((line, index) => {
        if (!/\bunsafe\s*(\{|impl\b)/.test(line)) return [];
        const before = lines.slice(Math.max(0, index - 12), index + 1).join('\n');
        return /SAFETY:/.test(before) ? [] : [`${file.path}:${index + 1}`];
      });
    });
    expect(faults).toEqual([]);
  });
});

describe('sizes', () => {
  it('keep a file within what one can read', () => {
    const faults = [...files(PRODUCT_TYPESCRIPT), ...files(/^crates\/[^/]+\/src\/.*\.rs$/)]
      .map((file) => ({ file, lines: lineCount(rustWithoutTests(file.text)) }))
      .filter(({ lines }) => lines > FILE_LINES_MAX)
      .map(({ file, lines }) => `${file.path}: ${lines} lines`);
    expect(faults).toEqual([]);
  });

  it('keep the binding thin', () => {
    const lines = files(/^crates\/ipsec-napi\/.*\.rs$/).map((file) => codeLineCount(file.text));
    expect(lines.reduce((sum, each) => sum + each, 0)).toBeLessThanOrEqual(ADDON_LINES_MAX);
  });

  it('keep ARCHITECTURE.md short', () => {
    for (const file of files(/^ARCHITECTURE\.md$/)) {
      expect(lineCount(file.text)).toBeLessThanOrEqual(ARCHITECTURE_LINES_MAX);
    }
  });
});

describe('comments', () => {
  const commented = /^(crates|packages|test|bench|tools|fuzz)\/.*\.(rs|ts|mjs)$/;

  it('put nothing off without a decision', () => {
    const word = new RegExp(
      `\\b(${['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X', 'HA' + 'CK'].join('|')})\\b`,
    );
    const faults = files(commented).flatMap((file) =>
      comments(file)
        .filter(({ text }) => word.test(text) && !/docs\/decisions\/\d{4}/.test(text))
        .map(({ line }) => `${file.path}:${line}`),
    );
    expect(faults).toEqual([]);
  });

  // "RFC 4303 section 3.4.3": one form, so that a search finds every place.
  it('cite in one form', () => {
    const bad =
      /\bRFC-?\d{3}|\bRFC \d+,? *(§|[Ss]ec\.|S(ection|EC)|s\d|, section)|\bRFC \d+ section [^\dA-Z]|\bRFC \d+ sections? .*§/;
    const faults = files(commented).flatMap((file) =>
      comments(file)
        .filter(({ text }) => bad.test(text))
        .map(({ line, text }) => `${file.path}:${line} ${text.trim()}`),
    );
    expect(faults).toEqual([]);
  });
});
