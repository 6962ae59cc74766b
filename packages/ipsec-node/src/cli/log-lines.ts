import type { Clock } from '../clock.js';
import type { LogRecord } from '../log.js';
import { json, oneLine, paint, type Style } from './render.js';
import type { Terminal } from './terminal.js';

const STYLES: Readonly<Record<LogRecord['level'], Style>> = {
  error: 'red',
  warn: 'yellow',
  info: 'cyan',
  debug: 'dim',
};

/**
 * Writes log records to the terminal's side for messages, one line each: for people as time, level,
 * sentence and fields; as JSON where machines read.
 */
export function logLines(
  terminal: Terminal,
  clock: Clock,
  asJson: boolean,
): (record: LogRecord) => void {
  return ({ level, message, fields }) => {
    const time = clock.wallTime().toISOString();
    if (asJson) {
      terminal.err(json({ time, level, message, ...fields }, 0));
      return;
    }
    const details = Object.entries(fields).map(([name, value]) => `${name}=${fieldText(value)}`);
    const text = [message, ...details].join(' ');
    terminal.err(`${time} ${paint(terminal, STYLES[level], level.padEnd(5))} ${oneLine(text)}\n`);
  };
}

function fieldText(value: unknown): string {
  if (typeof value === 'string') return /[\s"=]/.test(value) ? JSON.stringify(value) : value;
  return json(value, 0).trimEnd();
}
