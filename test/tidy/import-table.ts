/**
 * The table of allowed imports in ARCHITECTURE.md: a row may import the columns it marks.
 *
 *     | | errors clock log | net | spd sad pad | ...
 *     |---|---|---|---|
 *     | spd sad pad | x | x | among themselves | ...
 *
 * `x` and `among themselves`: everything; `types`: type imports alone; other words: those folders or
 * files of the column alone. An empty cell: nothing. Both names and cells may be in backquotes.
 */

export type Allowance =
  | { readonly kind: 'all' }
  | { readonly kind: 'types' }
  /** Folders or files of the column, without `.ts`. */
  | { readonly kind: 'parts'; readonly parts: readonly string[] };

export class ImportTable {
  constructor(
    private readonly rows: ReadonlyMap<string, ReadonlyMap<string, Allowance>>,
    /** Every name that a row or a column has. */
    readonly layers: ReadonlySet<string>,
  ) {}

  /** Undefined where the table allows nothing. A layer may always import itself. */
  allowance(from: string, to: string): Allowance | undefined {
    return from === to ? { kind: 'all' } : this.rows.get(from)?.get(to);
  }

  hasRow(layer: string): boolean {
    return this.rows.has(layer);
  }
}

function cellsOf(line: string): string[] {
  return line
    .trim()
    .replace(/^\||\|$/g, '')
    .split('|')
    .map((cell) => cell.replaceAll('`', '').trim());
}

function namesOf(cell: string): string[] {
  return cell.split(/[\s,/]+/).filter((name) => name !== '');
}

function allowanceOf(cell: string): Allowance | undefined {
  if (cell === '' || cell === '-' || cell === '–') return undefined;
  if (/^(x|yes|✓|among themselves)$/i.test(cell)) return { kind: 'all' };
  if (/^types?( only)?$/i.test(cell)) return { kind: 'types' };
  return { kind: 'parts', parts: namesOf(cell) };
}

/** Undefined where the text has no such table. */
export function parseImportTable(markdown: string): ImportTable | undefined {
  const lines = markdown.split('\n');
  const start = lines.findIndex((line, index) => {
    const names = line.trim().startsWith('|') ? cellsOf(line).flatMap(namesOf) : [];
    const isRuled = /^\|?[\s|:-]+$/.test(lines[index + 1] ?? '');
    return isRuled && names.includes('errors') && names.includes('net');
  });
  if (start < 0) return undefined;
  const [, ...columns] = cellsOf(lines[start] ?? '').map(namesOf);
  const rows = new Map<string, Map<string, Allowance>>();
  const layers = new Set(columns.flat());
  for (const line of lines.slice(start + 2)) {
    if (!line.trim().startsWith('|')) break;
    const [head = '', ...cells] = cellsOf(line);
    for (const from of namesOf(head)) {
      const row = rows.get(from) ?? new Map<string, Allowance>();
      rows.set(from, row);
      layers.add(from);
      for (const [index, column] of columns.entries()) {
        const allowance = allowanceOf(cells[index] ?? '');
        if (allowance !== undefined) for (const to of column) row.set(to, allowance);
      }
    }
  }
  return new ImportTable(rows, layers);
}
