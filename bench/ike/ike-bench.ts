import { charon } from './charon.js';
import { benchHandshakes, type HandshakeResult } from './handshakes.js';
import type { IkeResponder } from './responder.js';

/** Those that are measured, each in turn. */
export const RESPONDERS: readonly IkeResponder[] = [charon];

export interface IkeResult {
  readonly handshakes: readonly HandshakeResult[];
}

export async function benchIke(
  quick: boolean,
  progress: (line: string) => void,
): Promise<IkeResult> {
  const handshakes: HandshakeResult[] = [];
  for (const responder of RESPONDERS) {
    const missing = responder.missing();
    if (missing !== null) {
      progress(`left out: ${responder.title}: ${missing}`);
      continue;
    }
    progress(`handshakes: ${responder.title}`);
    handshakes.push(await benchHandshakes(responder, quick ? 300 : 3_000));
  }
  return { handshakes };
}

export function ikeReport({ handshakes }: IkeResult): string {
  const lines = handshakes.map(
    (each) =>
      `| ${each.responder} | ${each.handshakes} | ${each.perCpuSecond.toFixed(0)} | ${each.perWallSecond.toFixed(0)} |`,
  );
  return [
    'IKE handshakes as responder (PSK, X25519, IKE SA alone)',
    '',
    '| responder | handshakes | per second of its own processor | per second as it went |',
    '|---|---|---|---|',
    ...lines,
  ].join('\n');
}
