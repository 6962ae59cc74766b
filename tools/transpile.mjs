/**
 * Makes JavaScript of a TypeScript program of test/ or bench/ for a plain `node` (Node 20 reads no
 * types): the file and all that it imports by relative path, into .cache/js/ at the same place.
 */

import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { dirname, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const output = resolve(root, '.cache/js');

function outputPath(source) {
  return resolve(output, relative(root, source)).replace(/\.ts$/, '.js');
}

/** Written whole or not at all: two runs may do it at once. */
function writeWhole(path, text) {
  mkdirSync(dirname(path), { recursive: true });
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, text);
  renameSync(draft, path);
}

/** Absolute path of the JavaScript of an entry file. Run it with IPSEC_NODE_ROOT set to the root. */
export async function transpile(entry) {
  const { default: ts } = await import('typescript');
  const options = {
    module: ts.ModuleKind.ESNext,
    target: ts.ScriptTarget.ES2022,
    verbatimModuleSyntax: true,
    rewriteRelativeImportExtensions: true,
    inlineSourceMap: true,
  };
  const done = new Set();
  const waiting = [resolve(entry)];
  for (let source = waiting.pop(); source !== undefined; source = waiting.pop()) {
    if (done.has(source)) continue;
    done.add(source);
    const text = readFileSync(source, 'utf8');
    for (const { fileName } of ts.preProcessFile(text, true, true).importedFiles) {
      if (/^\.\.?\/.*\.ts$/.test(fileName)) waiting.push(resolve(dirname(source), fileName));
    }
    const target = outputPath(source);
    const stamp = `// ${createHash('sha256').update(text).digest('hex')}\n`;
    if (existsSync(target) && readFileSync(target, 'utf8').startsWith(stamp)) continue;
    const { outputText } = ts.transpileModule(text, { compilerOptions: options, fileName: source });
    writeWhole(target, stamp + outputText);
  }
  return outputPath(resolve(entry));
}
