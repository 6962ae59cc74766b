/** The tables of docs/interop.md, made from a run. */

import {
  checksumFaults,
  crossingFaults,
  type Faults,
  linkFaults,
  markFaults,
  paddingFaults,
  replayFaults,
  type Results,
} from './judge.ts';
import { type Encapsulation, type Family, MATRIX, SUITES } from './plan.ts';

const FAMILIES: readonly Family[] = [4, 6];

const COLUMNS: readonly { title: string; encapsulation: Encapsulation; esn: boolean }[] = [
  { title: 'raw ESP', encapsulation: 'esp', esn: false },
  { title: 'raw ESP, ESN', encapsulation: 'esp', esn: true },
  { title: 'ESP in UDP', encapsulation: 'udp', esn: false },
  { title: 'ESP in UDP, ESN', encapsulation: 'udp', esn: true },
];

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, head.map(() => '---'), ...rows];
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

function verdict(faults: Faults): string {
  return faults.length === 0 ? 'both ways' : 'no';
}

const hasLinks = (suite: string, outer: Family, inner: Family): boolean =>
  MATRIX.some((each) => each.suite === suite && each.outer === outer && each.inner === inner);

export function matrixTable(results: Results): string {
  const rows = SUITES.flatMap((suite) =>
    FAMILIES.flatMap((outer) =>
      FAMILIES.filter((inner) => hasLinks(suite, outer, inner)).map((inner) => [
        `\`${suite}\``,
        `IPv${inner} in IPv${outer}`,
        ...COLUMNS.map(({ encapsulation, esn }) => {
          const link = MATRIX.find(
            (each) =>
              each.suite === suite &&
              each.outer === outer &&
              each.inner === inner &&
              each.esn === esn &&
              each.encapsulation === encapsulation,
          );
          return link === undefined ? '' : verdict(linkFaults(results, link));
        }),
      ]),
    ),
  );
  return table(['suite', 'packets', ...COLUMNS.map(({ title }) => title)], rows);
}

export function besidesTable(results: Results): string {
  const rows: readonly (readonly [string, Faults])[] = [
    ['UDP checksums: the kernel writes zero over IPv4', checksumFaults(results)],
    ['traffic flow padding (`tfc.padTo`, `tfcpad`)', paddingFaults(results)],
    ['extended sequence numbers past 2^32', crossingFaults(results)],
    ['packets put on the wire again are refused and counted', replayFaults(results)],
    ['congestion marked on the wire reaches the inner packet', markFaults(results)],
  ];
  return table(
    ['besides', 'works'],
    rows.map(([what, faults]) => [what, verdict(faults)]),
  );
}

function marker(name: string, place: 'begin' | 'end'): string {
  return `<!-- ${name}: ${place} -->`;
}

/** What stands between the two markers of that name. */
export function tableOf(page: string, name: string): string {
  const [begin, end] = [marker(name, 'begin'), marker(name, 'end')];
  const from = page.indexOf(begin);
  const to = page.indexOf(end);
  if (from < 0 || to < from) throw new Error(`docs/interop.md has no place for ${name}`);
  return page.slice(from + begin.length, to).trim();
}

export function withTable(page: string, name: string, text: string): string {
  const [begin, end] = [marker(name, 'begin'), marker(name, 'end')];
  tableOf(page, name);
  const from = page.indexOf(begin) + begin.length;
  return `${page.slice(0, from)}\n${text}\n${page.slice(page.indexOf(end))}`;
}
