/** Where a command writes, and what is known of the reader: the only way out of the commands. */
export interface Terminal {
  /** Results. */
  out(text: string): void;
  /** What failed, why, and what to do next. */
  err(text: string): void;
  /** True where a person reads `out`: then there are colours, and screens that are redrawn. */
  readonly interactive: boolean;
  readonly columns: number;
}

/** The terminal of this process. `NO_COLOR` and `TERM=dumb` make it plain. */
export function processTerminal(): Terminal {
  const { stdout, stderr, env } = process;
  const plain = (env['NO_COLOR'] ?? '') !== '' || env['TERM'] === 'dumb';
  return {
    out: (text) => void stdout.write(text),
    err: (text) => void stderr.write(text),
    interactive: stdout.isTTY === true && !plain,
    columns: stdout.isTTY === true ? stdout.columns : 80,
  };
}
