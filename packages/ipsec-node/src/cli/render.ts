/** Values to text for people and machines: tables, sizes, spans, colours, JSON. No protocol. */
import type { Terminal } from './terminal.js';

const CODES = { red: 31, green: 32, yellow: 33, cyan: 36, bold: 1, dim: 2 } as const;
/** A colour or weight. */
export type Style = keyof typeof CODES;

/** Paints text where a person reads it. */
export function paint(terminal: Terminal, style: Style, text: string): string {
  return terminal.interactive ? `\u001b[${CODES[style]}m${text}\u001b[0m` : text;
}

/** One column of a table. */
export interface Column<Row> {
  readonly title: string;
  readonly text: (row: Row) => string;
  /** Numbers stand to the right. */
  readonly align?: 'right';
  readonly style?: (row: Row) => Style | undefined;
}

/** Rows in columns as wide as their longest text, two spaces apart. */
export function table<Row>(
  terminal: Terminal,
  columns: readonly Column<Row>[],
  rows: readonly Row[],
): string {
  const cells = rows.map((row) => columns.map((column) => oneLine(column.text(row))));
  const widths = columns.map((column, index) =>
    Math.max(column.title.length, ...cells.map((line) => line[index]?.length ?? 0)),
  );
  const pad = (text: string, index: number): string => {
    const width = widths[index] ?? 0;
    return columns[index]?.align === 'right' ? text.padStart(width) : text.padEnd(width);
  };
  const head = columns.map((column, index) => pad(column.title, index)).join('  ');
  const body = rows.map((row, line) =>
    columns
      .map((column, index) => {
        const text = pad(cells[line]?.[index] ?? '', index);
        const style = column.style?.(row);
        return style === undefined ? text : paint(terminal, style, text);
      })
      .join('  '),
  );
  return [paint(terminal, 'bold', head), ...body].map((line) => `${line.trimEnd()}\n`).join('');
}

/** Names of things come from files and peers: none may move the cursor, start a
 * new row or turn the direction of writing. */
export function oneLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\ufffd');
}

/** `12 345 678`, as it stands in tables. */
export function count(value: bigint | number): string {
  return value.toString().replaceAll(/\B(?=(\d{3})+(?!\d))/g, ' ');
}

/** `1 policy`, `2 policies`. */
export function plural(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** A size in the largest binary unit that leaves a whole part: `1.5 GiB`. */
export function bytes(value: bigint): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];
  let size = Number(value);
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${unit === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${units[unit] ?? 'B'}`;
}

/** A span in its two largest units: `2h 5m`. */
export function span(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 1) return `${Math.round(ms)}ms`;
  const parts: string[] = [];
  let rest = seconds;
  for (const [unit, size] of [
    ['d', 86_400],
    ['h', 3600],
    ['m', 60],
    ['s', 1],
  ] as const) {
    const units = Math.floor(rest / size);
    rest %= size;
    if (units > 0) parts.push(`${units}${unit}`);
  }
  return parts.slice(0, 2).join(' ');
}

/** An SPI as everybody writes one. */
export function spiText(spi: number): string {
  return `0x${spi.toString(16).padStart(8, '0')}`;
}

/**
 * JSON in which a bigint is a number with all its digits. (Readers with 53-bit numbers round what
 * is larger; text would break the arithmetic of all others.)
 */
export function json(value: unknown, indent = 2): string {
  const parts: string[] = [];
  const write = (item: unknown, depth: number): void => {
    const pad = indent === 0 ? '' : `\n${' '.repeat(indent * (depth + 1))}`;
    const end = indent === 0 ? '' : `\n${' '.repeat(indent * depth)}`;
    if (typeof item === 'bigint') parts.push(item.toString());
    else if (item instanceof Date) parts.push(JSON.stringify(item.toISOString()));
    else if (Array.isArray(item)) {
      parts.push('[');
      item.forEach((element: unknown, index) => {
        parts.push(index === 0 ? pad : `,${pad}`);
        write(element, depth + 1);
      });
      parts.push(item.length === 0 ? ']' : `${end}]`);
    } else if (typeof item === 'object' && item !== null) {
      const fields = Object.entries(item).filter(([, field]) => field !== undefined);
      parts.push('{');
      fields.forEach(([key, field], index) => {
        parts.push(
          `${index === 0 ? '' : ','}${pad}${JSON.stringify(key)}:${indent === 0 ? '' : ' '}`,
        );
        write(field, depth + 1);
      });
      parts.push(fields.length === 0 ? '}' : `${end}}`);
    } else parts.push(JSON.stringify(item) ?? 'null');
  };
  write(value, 0);
  return `${parts.join('')}\n`;
}
