/** Errors to plain speech and exit codes: what failed, why, what to do next. */
import { ForeignAnswerError } from '../daemon/vici/own-messages.js';
import { ViciClientError } from '../daemon/vici/client.js';
import {
  ConfigError,
  ERROR_CODES,
  type ErrorCode,
  IpsecError,
  PeerError,
  ResourceError,
} from '../errors.js';
import { json, oneLine, paint } from './render.js';
import type { Terminal } from './terminal.js';

/** What a command answers to the shell. */
export const EXIT = { success: 0, failure: 1, usage: 2 } as const;
/** One of them. */
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** Codes that say the command line or the file is at fault. */
const USAGE_CODES: ReadonlySet<ErrorCode> = new Set([
  'IPSEC_ERR_USAGE',
  'IPSEC_ERR_EXPLAIN_SYNTAX',
  'IPSEC_ERR_ADDRESS_SYNTAX',
  'IPSEC_ERR_PORT_SYNTAX',
  'IPSEC_ERR_PROTOCOL_UNKNOWN',
]);

/** Codes whose messages say themselves what to write instead. */
const SELF_EXPLAINED: ReadonlySet<ErrorCode> = new Set([
  'IPSEC_ERR_USAGE',
  'IPSEC_ERR_EXPLAIN_SYNTAX',
]);

/** Writes an error for its reader and returns what the command exits with. */
export function reportError(terminal: Terminal, error: unknown, asJson: boolean): ExitCode {
  const known = asIpsecError(error);
  if (known === undefined) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    if (asJson) {
      terminal.out(json({ error: { code: 'IPSEC_ERR_INTERNAL', message: text } }));
    } else {
      terminal.err(`ipsec-node: a defect of the program, please report it:\n${text}\n`);
    }
    return EXIT.failure;
  }
  const { remedy } = ERROR_CODES[known.code];
  if (asJson) terminal.out(json({ error: { ...known.toJSON(), remedy } }));
  else terminal.err(plainText(terminal, known, remedy));
  return known instanceof ConfigError || USAGE_CODES.has(known.code) ? EXIT.usage : EXIT.failure;
}

function plainText(terminal: Terminal, error: IpsecError, remedy: string): string {
  const lines = error.message.split('\n').map(oneLine);
  const [first, ...rest] = lines;
  const head = `${paint(terminal, 'red', 'ipsec-node:')} ${first ?? ''}`;
  const causes = causesOf(error).map((cause) => `  because: ${oneLine(cause)}`);
  const told = [head, ...rest.map((line) => `  ${line}`), ...causes];
  if (error.fields['adviceInMessage'] === true) told.push(`  (${error.code})`);
  else if (!SELF_EXPLAINED.has(error.code)) {
    told.push(`  ${paint(terminal, 'bold', 'next:')} ${remedy} (${error.code})`);
  }
  return `${told.join('\n')}\n`;
}

/** What lies under an error, as far as its message does not say so already. */
function causesOf(error: IpsecError): readonly string[] {
  const causes: string[] = [];
  let cause = error.cause;
  for (let depth = 0; depth < 5 && cause instanceof Error; depth += 1) {
    if (!error.message.includes(cause.message) && !(cause instanceof ViciClientError)) {
      causes.push(cause.message.split('\n')[0] ?? '');
    }
    cause = cause.cause;
  }
  return causes;
}

function asIpsecError(error: unknown): IpsecError | undefined {
  if (error instanceof IpsecError) return error;
  if (error instanceof ForeignAnswerError) {
    return new ResourceError(
      'IPSEC_ERR_CONTROL_UNREACHABLE',
      'What answers on the control socket is not a gateway of this version.',
      { cause: error },
    );
  }
  if (!(error instanceof ViciClientError)) return undefined;
  if (error.fault === 'refused' && isCode(error.remoteCode)) {
    // A file that the gateway read is at fault as one that the command read is.
    return ERROR_CODES[error.remoteCode].kind === 'config'
      ? new ConfigError(error.remoteCode, error.message, [], { cause: error })
      : new IpsecError(error.remoteCode, error.message, { cause: error });
  }
  if (error.fault === 'refused') {
    return new PeerError('IPSEC_ERR_EXCHANGE_FAILED', `${capital(error.message)}.`, null, {
      cause: error,
    });
  }
  return new ResourceError('IPSEC_ERR_CONTROL_UNREACHABLE', `${capital(error.message)}.`, {
    cause: error,
    fields: { fault: error.fault },
  });
}

function isCode(code: string | undefined): code is ErrorCode {
  return code !== undefined && Object.hasOwn(ERROR_CODES, code);
}

function capital(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}`;
}
