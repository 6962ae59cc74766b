import type { RefusalRow } from '../daemon/vici/ike-messages.js';
import { type Column, oneLine, paint, table } from './render.js';
import type { Terminal } from './terminal.js';

type DifferenceRow = RefusalRow['differences'][number];

const COLUMNS: readonly Column<DifferenceRow>[] = [
  { title: 'FIELD', text: ({ field }) => field },
  { title: 'OURS', text: ({ ours }) => ours },
  { title: 'THEIRS', text: ({ theirs }) => theirs },
];

/** The last refusals, the latest first: who refused whom, who came closest, and what differs. */
export function refusalsText(terminal: Terminal, refusals: readonly RefusalRow[]): string {
  if (refusals.length === 0) return '';
  const blocks = [...refusals].reverse().map((refusal) => block(terminal, refusal));
  return `\n${paint(terminal, 'bold', 'Last refusals')}\n${blocks.join('')}`;
}

function block(terminal: Terminal, refusal: RefusalRow): string {
  const who = refusal.by === 'us' ? 'we refused' : 'the peer refused';
  const notify = refusal.notify === null ? '' : ` (${refusal.notify})`;
  const child = refusal.child === null ? '' : `, child ${refusal.child}`;
  const head = `${refusal.at}  ${refusal.remote}${child}: ${who}${notify}: ${refusal.reason}`;
  const closest = refusal.closest ?? refusal.peer;
  const lines = [paint(terminal, 'yellow', oneLine(head))];
  if (refusal.differences.length === 0) {
    if (closest !== null) lines.push(oneLine(`  peer ${closest}`));
    return `${lines.join('\n')}\n`;
  }
  lines.push(oneLine(closest === null ? '  what differs:' : `  peer ${closest} came closest:`));
  const rows = table(terminal, COLUMNS, refusal.differences).trimEnd().split('\n');
  return `${[...lines, ...rows.map((row) => `    ${row}`)].join('\n')}\n`;
}
