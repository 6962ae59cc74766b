/** The files of the repository as the rules see them. */

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import ts from 'typescript';
import { repositoryRoot } from '../lab/registry.ts';

export interface SourceFile {
  /** From the root of the repository. */
  readonly path: string;
  readonly text: string;
}

let all: readonly SourceFile[] | undefined;

const TEXT =
  /\.(ts|mts|mjs|js|rs|toml|json|md|sh|py|yaml|yml|txt)$|(^|\/)(\.npmrc|run|\.gitignore)$/;
const GENERATED = /(^|\/)(node_modules|target|dist|native|results)\/|^test\/vectors\//;

/** Tracked files, and new ones that are not ignored; text alone. */
export function repositoryFiles(): readonly SourceFile[] {
  all ??= execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
    cwd: repositoryRoot,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  })
    .split('\n')
    .filter((path) => TEXT.test(path) && !GENERATED.test(path))
    .filter((path) => existsSync(`${repositoryRoot}/${path}`))
    .filter((path) => statSync(`${repositoryRoot}/${path}`).size < 4 * 1024 * 1024)
    .map((path) => ({ path, text: readFileSync(`${repositoryRoot}/${path}`, 'utf8') }));
  return all;
}

/** Those whose path matches. */
export function files(pattern: RegExp): readonly SourceFile[] {
  return repositoryFiles().filter((file) => pattern.test(file.path));
}

export const PRODUCT_TYPESCRIPT = /^packages\/[^/]+\/src\/.*\.ts$/;
export const ALL_TYPESCRIPT = /^(packages\/[^/]+\/src|test|bench)\/.*\.ts$/;
export const RUST = /^(crates|fuzz)\/.*\.rs$/;

export function parseTypescript(file: SourceFile): ts.SourceFile {
  return ts.createSourceFile(file.path, file.text, ts.ScriptTarget.ES2022, true);
}

/** `path:line` of a place in a file, as editors take it. */
export function place(file: SourceFile, offset: number): string {
  return `${file.path}:${file.text.slice(0, offset).split('\n').length}`;
}

/** Calls `see` for every node of a tree. */
export function walk(node: ts.Node, see: (node: ts.Node) => void): void {
  see(node);
  node.forEachChild((child) => walk(child, see));
}

export interface Import {
  readonly specifier: string;
  readonly typeOnly: boolean;
  readonly offset: number;
}

function isTypeOnly(node: ts.ImportDeclaration | ts.ExportDeclaration): boolean {
  if (ts.isExportDeclaration(node)) return node.isTypeOnly;
  const clause = node.importClause;
  if (clause === undefined) return false;
  if (clause.phaseModifier === ts.SyntaxKind.TypeKeyword) return true;
  const named = clause.namedBindings;
  return (
    clause.name === undefined &&
    named !== undefined &&
    ts.isNamedImports(named) &&
    named.elements.length > 0 &&
    named.elements.every((element) => element.isTypeOnly)
  );
}

/** Every import, re-export, dynamic import and import type. */
export function importsOf(file: SourceFile): readonly Import[] {
  const found: Import[] = [];
  walk(parseTypescript(file), (node) => {
    const add = (literal: ts.Node | undefined, typeOnly: boolean): void => {
      if (literal !== undefined && ts.isStringLiteralLike(literal)) {
        found.push({ specifier: literal.text, typeOnly, offset: literal.getStart() });
      }
    };
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) {
      add(node.moduleSpecifier, isTypeOnly(node));
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      add(node.arguments[0], false);
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      add(node.argument.literal, true);
    }
  });
  return found;
}

/** Rust without comments, strings and characters: each replaced by spaces, lines kept. */
export function rustCode(text: string): string {
  const tokens =
    /\/\/[^\n]*|\/\*[\s\S]*?\*\/|r(#*)"[\s\S]*?"\1|b?"(?:\\[\s\S]|[^"\\])*"|b?'(?:\\[^\n]|[^'\\\n])'/g;
  return text.replaceAll(tokens, (token) => token.replaceAll(/[^\n]/g, ' '));
}

/** Rust up to its unit tests, which stand at the end of the file. */
export function rustWithoutTests(text: string): string {
  const at = text.search(/^#\[cfg\(test\)\]\nmod /m);
  return at < 0 ? text : text.slice(0, at);
}

/** Comments with the line they start on; `//`, `///`, `/* *\/` in Rust and TypeScript alike. */
export function comments(file: SourceFile): readonly { line: number; text: string }[] {
  return file.text.split('\n').flatMap((text, index) => {
    const comment = text.match(/(?:^|\s)(\/\/.*|\/?\*[^/].*)$/)?.[1];
    return comment === undefined ? [] : [{ line: index + 1, text: comment }];
  });
}
