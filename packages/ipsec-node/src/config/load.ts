import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { type ErrorCode as YamlErrorCode, LineCounter, parseDocument, visit } from 'yaml';

import { ConfigError, type ConfigFault } from '../errors.js';
import { CONFIG_BYTES_MAX } from './defaults.js';
import { type ConfigDocument, directoryOf, yamlPositions } from './document.js';
import { makeFault } from './fault.js';

// The library's own messages may quote the text, and the text may hold a key: these never do.
const SYNTAX: Partial<Record<YamlErrorCode, { found: string; accepted: string }>> = {
  DUPLICATE_KEY: { found: 'a key that stands here a second time', accepted: 'each key once' },
  BAD_INDENT: {
    found: 'indentation that fits no level above, or an open bracket',
    accepted: 'equal indentation, and closed brackets and braces',
  },
  TAB_AS_INDENT: { found: 'a tab as indentation', accepted: 'spaces' },
  MISSING_CHAR: { found: 'a missing character', accepted: 'closed quotes, brackets and braces' },
  MULTIPLE_DOCS: { found: 'a second document', accepted: 'one document' },
  BAD_ALIAS: { found: 'an alias without its anchor', accepted: '*name after &name' },
  TAG_RESOLVE_FAILED: { found: 'an unknown tag', accepted: 'no tags' },
  MULTILINE_IMPLICIT_KEY: {
    found: 'a key over several lines',
    accepted: '`key: value` on one line',
  },
  BLOCK_AS_IMPLICIT_KEY: {
    found: 'a map or list within one line',
    accepted: 'one `key: value` a line',
  },
  NON_STRING_KEY: { found: 'a key that is not a name', accepted: '`key: value`' },
  BAD_SCALAR_START: {
    found: 'a value that starts with a reserved character',
    accepted: 'quotes around it',
  },
  BAD_DQ_ESCAPE: { found: 'an unknown escape in double quotes', accepted: 'YAML escapes' },
  UNEXPECTED_TOKEN: { found: 'something unexpected', accepted: 'YAML' },
};

const ALIASES_MAX = 100;

/**
 * Reads a configuration file.
 *
 * @throws ConfigError IPSEC_ERR_CONFIG_UNREADABLE, IPSEC_ERR_CONFIG_SYNTAX
 */
export async function readConfigFile(file: string): Promise<ConfigDocument> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(file);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : 'it cannot be read';
    throw unreadable(file, reason, cause);
  }
  if (bytes.length > CONFIG_BYTES_MAX) {
    throw unreadable(file, `it is larger than ${CONFIG_BYTES_MAX} bytes`, undefined);
  }
  return loadConfigText(new TextDecoder().decode(bytes), file);
}

/**
 * Reads a configuration from text, YAML or JSON. `file` is its name in messages and, made absolute,
 * what relative paths are relative to.
 *
 * @throws ConfigError IPSEC_ERR_CONFIG_SYNTAX with every syntax fault.
 */
export function loadConfigText(text: string, file: string): ConfigDocument {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    stringKeys: true,
    // The library would write its warnings to the terminal, text of the file included.
    logLevel: 'error',
  });
  const faults = [...document.errors, ...document.warnings].map((error) =>
    syntaxFault(file, lines, error.code, error.pos[0]),
  );
  // A key given twice leaves a value to go on with, so that the other faults show too.
  if (document.errors.some((error) => error.code !== 'DUPLICATE_KEY')) throw syntax(file, faults);
  visit(document, {
    Alias: (_key, alias) => {
      if (alias.resolve(document) !== undefined) return;
      faults.push(syntaxFault(file, lines, 'BAD_ALIAS', alias.range?.[0] ?? 0));
    },
  });
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: ALIASES_MAX });
  } catch {
    if (faults.length > 0) throw syntax(file, faults);
    const accepted = `at most ${ALIASES_MAX} uses of an alias`;
    const found = 'aliases that multiply';
    throw syntax(file, [makeFault({ file, line: 1, column: 1, path: '', found, accepted })]);
  }
  return {
    file,
    directory: directoryOf(resolve(file)),
    value,
    faults,
    position: yamlPositions(document, lines),
  };
}

function syntaxFault(
  file: string,
  lines: LineCounter,
  code: YamlErrorCode,
  offset: number,
): ConfigFault {
  const { line, col } = lines.linePos(offset);
  const words = SYNTAX[code] ?? { found: 'text that is not YAML', accepted: 'YAML' };
  return makeFault({ file, line, column: col, path: '', ...words });
}

function syntax(file: string, faults: readonly ConfigFault[]): ConfigError {
  const summary = `${file} is not well-formed YAML:`;
  return new ConfigError(
    'IPSEC_ERR_CONFIG_SYNTAX',
    [summary, ...faults.map((fault) => fault.message)].join('\n'),
    faults,
    { fields: { file } },
  );
}

function unreadable(file: string, reason: string, cause: unknown): ConfigError {
  const fault = makeFault({
    file,
    line: 0,
    column: 0,
    path: '',
    found: `no readable file: ${reason}`,
    accepted: 'a YAML or JSON file',
  });
  return new ConfigError('IPSEC_ERR_CONFIG_UNREADABLE', fault.message, [fault], {
    cause,
    fields: { file },
  });
}
