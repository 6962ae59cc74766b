/**
 * The demo: two gateways, two hosts, and an attacker on the wire between them. Everything that it
 * tells is measured while it runs.
 */
import { VERBS } from './agent-protocol.js';
import {
  injection,
  malformed,
  modification,
  plaintextInbound,
  replay,
  spoofing,
} from './attacks.js';
import { flood, impostor, link } from './handshake.js';
import { Laboratory } from './laboratory.js';
import type { DemoLine, Subject } from './line.js';
import { failed, type Stage } from './scene.js';
import { eavesdropping, plaintextOutbound, trafficAnalysis, transfer } from './traffic.js';

type Scene = readonly [Subject, (stage: Stage) => AsyncGenerator<DemoLine>];

/** In this order: from the end of gateway A on there is no link until it is started again. */
const SCENES: readonly Scene[] = [
  ['transfer', transfer],
  ['eavesdropping', eavesdropping],
  ['modification', modification],
  ['injection', injection],
  ['spoofing', spoofing],
  ['malformed', malformed],
  ['replay', replay],
  ['traffic analysis', trafficAnalysis],
  ['plaintext', plaintextInbound],
  ['plaintext', plaintextOutbound],
  ['impostor', impostor],
  ['flood', flood],
];

/**
 * Plays all scenes. A scene that fails is told as a line and the next one is played, unless the
 * gateways do not come up at all.
 *
 * @throws ResourceError where the laboratory cannot be built.
 */
export async function* playDemo(signal: AbortSignal): AsyncGenerator<DemoLine> {
  const lab = await Laboratory.open();
  const stop = (): void => void lab.close();
  signal.addEventListener('abort', stop);
  try {
    if (signal.aborted) return;
    const { port: sinkPort } = await lab.hostB.ask(VERBS.openSink, {});
    const sas = yield* link({ lab, sinkPort });
    const stage: Stage = { lab, sinkPort, ...sas };
    for (const [subject, scene] of SCENES) {
      if (signal.aborted) return;
      try {
        yield* scene(stage);
      } catch (error) {
        if (signal.aborted) return;
        yield failed(subject, error);
      }
    }
  } catch (error) {
    if (signal.aborted) return;
    yield failed('link', error);
  } finally {
    signal.removeEventListener('abort', stop);
    await lab.close();
  }
  const remains = await lab.leftBehind();
  yield {
    subject: 'left behind',
    ok: remains.length === 0,
    did: 'processes, namespaces, links, files',
    found: remains.length === 0 ? 'nothing' : remains.join(', '),
    facts: { remains: remains.join(', ') },
  };
}
