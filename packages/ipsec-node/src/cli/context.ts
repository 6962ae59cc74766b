import type { Command } from 'commander';
import type { Clock } from '../clock.js';
import type { Gateway, GatewayOptions } from '../gateway.js';
import { EXIT, type ExitCode, reportError } from './refusal.js';
import type { Terminal } from './terminal.js';

/** What every command is given: the world, as arguments. */
export interface CliContext {
  readonly terminal: Terminal;
  readonly clock: Clock;
  /** `Gateway.open`; a test gives one over another dataplane. */
  readonly openGateway: (file: string, options: GatewayOptions) => Promise<Gateway>;
  /** Calls the handler for every SIGINT, SIGTERM and SIGHUP until the returned function is called. */
  readonly onSignal: (handler: (signal: NodeJS.Signals) => void) => () => void;
  /** Ends the process without waiting for anything. */
  readonly exitNow: (code: number) => void;
  /** What the process will exit with; a command sets it. */
  exitCode: ExitCode;
}

/** Adds one command to the program. */
export type Registration = (program: Command, context: CliContext) => void;

/** Options that all commands share. */
export interface CommonOptions {
  readonly json?: boolean;
}

/**
 * Runs a command's work: its exit code becomes the program's, and what it throws is told in plain
 * words.
 */
export async function perform(
  context: CliContext,
  options: CommonOptions,
  work: () => Promise<ExitCode>,
): Promise<void> {
  try {
    context.exitCode = await work();
  } catch (error) {
    context.exitCode = reportError(context.terminal, error, options.json === true);
  }
}

/** The help text after a command's options. */
export function example(...lines: readonly string[]): string {
  return `\nExample:\n${lines.map((line) => `  $ ${line}\n`).join('')}`;
}

/** The help text that all commands end with. */
export const EXIT_CODES = `\nExits with ${EXIT.success} on success, ${EXIT.failure} on failure, ${EXIT.usage} on bad usage or a faulty file.`;
