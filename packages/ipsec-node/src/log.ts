/**
 * Logging as an argument. A record is a level, a fixed sentence and fields; what may be shown at
 * which level is decided here, in one place.
 */

/** In order of weight. WARN is worth waking someone. */
export const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export type LogFields = Readonly<Record<string, unknown>>;

export interface LogRecord {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

export interface Logger {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
}

/** Fields that are never shown, at no level. */
export const REDACTED_FIELDS: ReadonlySet<string> = new Set([
  'key',
  'keys',
  'psk',
  'secret',
  'password',
  'salt',
  'keyMaterial',
  'payload',
]);

/** Fields that are shown at level `debug` only: they say who speaks with whom. */
export const PERSONAL_FIELDS: ReadonlySet<string> = new Set([
  'address',
  'source',
  'destination',
  'local',
  'remote',
  'identity',
  'user',
]);

/**
 * Makes a logger that hands every record of `threshold` or more weight to `sink`, with the fields
 * that may not be shown replaced.
 */
export function createLogger(threshold: LogLevel, sink: (record: LogRecord) => void): Logger {
  const limit = LOG_LEVELS.indexOf(threshold);
  const write = (level: LogLevel, message: string, fields: LogFields): void => {
    if (LOG_LEVELS.indexOf(level) > limit) return;
    sink({ level, message, fields: redact(level, fields) });
  };
  return {
    error: (message, fields = {}) => write('error', message, fields),
    warn: (message, fields = {}) => write('warn', message, fields),
    info: (message, fields = {}) => write('info', message, fields),
    debug: (message, fields = {}) => write('debug', message, fields),
  };
}

/** A logger that says nothing. */
export const silentLogger: Logger = {
  error: () => {},
  warn: () => {},
  info: () => {},
  debug: () => {},
};

function redact(level: LogLevel, fields: LogFields): LogFields {
  const shown: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields)) {
    // Addresses and identities are told at `debug` alone; `status` and `peers` show them.
    if (PERSONAL_FIELDS.has(name) && level !== 'debug') continue;
    if (REDACTED_FIELDS.has(name)) shown[name] = '[redacted]';
    // Bytes are never text: whatever they are, a log is not the place to find out.
    else if (value instanceof Uint8Array) shown[name] = `[${value.length} bytes]`;
    else shown[name] = value;
  }
  return shown;
}
