import type { Evaluation } from './evaluation.js';
import type { GatewayResult } from './gateway/gateway-bench.js';
import type { Scenario } from './gateway/scenario.js';

const COLUMNS = 3;
const PANEL_WIDTH = 540;
const LABEL_WIDTH = 190;
const VALUE_WIDTH = 90;
const BAR_HEIGHT = 18;
const BAR_STEP = 26;
const PANEL_HEAD = 34;
const PANEL_FOOT = 18;
const HEAD = 74;
const MARGIN = 16;

const COLOURS: Readonly<Record<string, string>> = {
  none: '#9aa0a6',
  'ours-udp': '#0b6e4f',
  'ours-esp': '#5fb49c',
  libipsec: '#c1666b',
  'wireguard-go': '#4d6cfa',
  'tailscale-wireguard-go': '#7a8ef7',
};

/** Bars of the medians, whiskers from the lowest to the highest round; one panel a scenario. */
export function plotOf(
  result: GatewayResult,
  evaluation: Evaluation,
  captions: readonly string[],
): string {
  const panelHeight = PANEL_HEAD + result.contenders.length * BAR_STEP + PANEL_FOOT;
  const columns = result.scenarios.length % COLUMNS === 0 ? COLUMNS : 2;
  const rows = Math.ceil(result.scenarios.length / columns);
  const width = MARGIN * 2 + columns * PANEL_WIDTH;
  const height = HEAD + rows * panelHeight + MARGIN;
  const panels = result.scenarios.map((scenario, index) => {
    const x = MARGIN + (index % columns) * PANEL_WIDTH;
    const y = HEAD + Math.floor(index / columns) * panelHeight;
    return `<g transform="translate(${x} ${y})">${panelOf(result, evaluation, scenario)}</g>`;
  });
  const heading = captions.map((caption, index) =>
    textElement(MARGIN, 24 + index * 18, caption, index === 0 ? 'title' : 'note'),
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">
<style>
text { font: 12px sans-serif; fill: #202124 }
.title { font-size: 16px; font-weight: bold }
.panel { font-weight: bold }
.note { fill: #5f6368 }
.end { text-anchor: end }
</style>
<rect width="100%" height="100%" fill="#ffffff"/>
${heading.join('\n')}
${panels.join('\n')}
</svg>
`;
}

function panelOf(result: GatewayResult, evaluation: Evaluation, scenario: Scenario): string {
  const figures = evaluation.figures.filter((figure) => figure.scenario === scenario.id);
  const most = Math.max(0, ...figures.map((figure) => figure.spread?.max ?? 0));
  const space = PANEL_WIDTH - LABEL_WIDTH - VALUE_WIDTH;
  const scale = (value: number): number => (most === 0 ? 0 : (value / most) * space);
  const bars = result.contenders.map(({ name, title }, index) => {
    const y = PANEL_HEAD + index * BAR_STEP;
    const middle = y + BAR_HEIGHT / 2;
    const label = textElement(LABEL_WIDTH - 8, middle + 4, title, 'end');
    const spread = figures.find((figure) => figure.contender === name)?.spread ?? null;
    if (spread === null) {
      return `${label}${textElement(LABEL_WIDTH + 4, middle + 4, 'failed', 'note')}`;
    }
    const colour = COLOURS[name] ?? '#444444';
    const [left, right] = [scale(spread.min), scale(spread.max)].map((value) =>
      (LABEL_WIDTH + value).toFixed(1),
    );
    return [
      label,
      `<rect x="${LABEL_WIDTH}" y="${y}" width="${scale(spread.median).toFixed(1)}" height="${BAR_HEIGHT}" fill="${colour}"/>`,
      `<path d="M${left} ${middle - 4}v8m0 -4H${right}m0 -4v8" stroke="#202124" fill="none"/>`,
      textElement(LABEL_WIDTH + scale(spread.max) + 6, middle + 4, valueText(spread.median), ''),
    ].join('');
  });
  return `${textElement(0, 18, `${scenario.title} (${scenario.unit})`, 'panel')}${bars.join('\n')}`;
}

function valueText(value: number): string {
  return value >= 1000 ? Math.round(value).toLocaleString('en-US') : value.toFixed(2);
}

function textElement(x: number, y: number, text: string, style: string): string {
  const escaped = text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}"${style === '' ? '' : ` class="${style}"`}>${escaped}</text>`;
}
