import { type Evaluation, FASTER_WIREGUARD_GO } from './evaluation.js';
import type { GatewayResult } from './gateway/gateway-bench.js';
import type { PacketResult } from './packet/packet-bench.js';
import type { Spread } from './statistics.js';
import { tableOf } from './table.js';

/** The gateway bench as text: every figure, then where we win and where we lose. */
export function gatewayReport(result: GatewayResult, evaluation: Evaluation): string {
  const parts: string[] = [];
  for (const scenario of result.scenarios) {
    const rows = [
      [
        '',
        `median ${scenario.unit}`,
        'min - max',
        'of no tunnel',
        'min - max',
        'B/wire pkt',
        'cores',
      ],
    ];
    for (const { name } of result.contenders) {
      const figure = evaluation.figures.find(
        (item) => item.scenario === scenario.id && item.contender === name,
      );
      const toNone = evaluation.ratios.find(
        (item) => item.scenario === scenario.id && item.subject === name && item.peer === 'none',
      )?.spread;
      if (figure?.spread === null || figure === undefined) {
        rows.push([name, 'failed']);
        continue;
      }
      const failed = figure.failed === 0 ? '' : `  ${figure.failed} failed`;
      rows.push([
        name,
        quantity(figure.spread.median),
        range(figure.spread, quantity),
        toNone === undefined ? '' : toNone.median.toFixed(3),
        toNone === undefined ? '' : range(toNone, (value) => value.toFixed(3)),
        figure.wireBytesPerPacket === null ? '' : String(figure.wireBytesPerPacket),
        `${figure.busyCores?.toFixed(2) ?? ''}${failed}`,
      ]);
    }
    parts.push(`${scenario.title}\n${tableOf(rows)}`);
  }
  const idle = result.idleBusyCores;
  if (idle !== null) {
    parts.push(
      `Noise: ${idle.median.toFixed(2)} processors busy (${range(idle, (value) => value.toFixed(2))}) while nothing was measured.`,
    );
  }
  parts.push(comparison(result, evaluation));
  return parts.join('\n\n');
}

function comparison(result: GatewayResult, evaluation: Evaluation): string {
  const subjects = result.contenders.map(({ name }) => name).filter(isOurs);
  if (subjects.length === 0) {
    return 'ipsec-node was not measured: there is nothing to compare with its peers.';
  }
  const parts: string[] = [];
  for (const subject of subjects) {
    const rows = [['', 'against', 'ratio', 'min - max', '']];
    for (const scenario of result.scenarios) {
      for (const { peer, spread } of evaluation.ratios.filter(
        (item) => item.scenario === scenario.id && item.subject === subject && !isOurs(item.peer),
      )) {
        const verdict =
          spread.min > 1 ? 'WIN' : spread.max < 1 ? 'LOSE' : spread.median >= 1 ? 'win?' : 'lose?';
        rows.push([scenario.id, peer, times(spread.median), range(spread, times), verdict]);
      }
    }
    parts.push(
      `${subject} against its peers, ratio within each round (WIN and LOSE: in every round)\n${tableOf(rows)}`,
    );
  }
  const rows = [['', 'against', 'required', 'goal', 'measured', '']];
  for (const item of evaluation.targets) {
    const peer = item.peers.length > 1 ? FASTER_WIREGUARD_GO : item.peers.join(', ');
    const verdict =
      item.measured === null
        ? 'not measured'
        : item.requiredMet === false
          ? 'REQUIRED MISSED'
          : item.goalMet === false
            ? 'goal missed'
            : 'met';
    rows.push([
      `${item.subject} ${item.scenario}`,
      peer,
      item.required === null ? '' : times(item.required),
      times(item.goal),
      item.measured === null ? '' : times(item.measured.median),
      verdict,
    ]);
  }
  parts.push(`Promises\n${tableOf(rows)}`);
  return parts.join('\n\n');
}

/** The micro-benchmarks as text. */
export function packetReport(result: PacketResult): string {
  const rows = [
    ['', 'bytes', 'batch', 'ns/packet', '+-', 'node:crypto', '+-', 'times as fast', ''],
  ];
  for (const item of result.figures) {
    const ratio = item.library === null ? null : item.nodeCrypto.ns / item.library.ns;
    rows.push([
      item.operation,
      String(item.packetBytes),
      String(item.batchPackets),
      item.library === null ? '' : item.library.ns.toFixed(0),
      item.library === null ? '' : `${item.library.errorPercent.toFixed(1)} %`,
      item.nodeCrypto.ns.toFixed(0),
      `${item.nodeCrypto.errorPercent.toFixed(1)} %`,
      ratio === null ? '' : times(ratio),
      ratio === null ? '' : ratio >= 1 ? 'WIN' : 'LOSE',
    ]);
  }
  const head = 'Library mode, AES-256-GCM, against one node:crypto call a packet';
  const note = result.leftOut === null ? '' : `\n  left out: ipsec-node/packet: ${result.leftOut}`;
  return `${head}${note}\n${tableOf(rows)}`;
}

function isOurs(name: string): boolean {
  return name.startsWith('ours-');
}

function quantity(value: number): string {
  return value >= 1000 ? Math.round(value).toLocaleString('en-US') : value.toFixed(2);
}

function times(value: number): string {
  return `${value.toFixed(2)}x`;
}

function range(spread: Spread, show: (value: number) => string): string {
  return `${show(spread.min)} - ${show(spread.max)}`;
}
