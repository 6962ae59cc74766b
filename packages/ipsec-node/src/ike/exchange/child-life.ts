/** A Child SA from its keys to the datapath. */
import type { ChildAgreement, ChildKeyMaterial } from '../child-sa.js';
import { ChildSa } from '../child-sa.js';
import type { IkeSa } from '../ike-sa.js';
import { NOTIFY } from '../notify.js';
import { ExchangeRefused, type Exchange, install } from './step.js';

/**
 * Installs a child that was agreed on. `held`: the SA that sends waits (RFC 7296 section 2.8).
 *
 * @throws ExchangeRefused where the datapath refused; then nothing is left of it.
 */
export function* installChild(
  sa: IkeSa,
  agreement: ChildAgreement,
  material: ChildKeyMaterial,
  outbound: 'now' | 'held',
): Exchange<ChildSa> {
  const child = new ChildSa(sa, agreement, material.areWeInitiator);
  const sas = child.build(material, outbound);
  for (const secret of material.secrets) secret.fill(0);
  let isInstalled = false;
  try {
    const refused = yield* install(sas);
    if (refused !== null) {
      const reason = `the datapath refused the SAs: ${refused}`;
      throw new ExchangeRefused(reason, NOTIFY.TEMPORARY_FAILURE);
    }
    isInstalled = true;
  } finally {
    // Also where this is abandoned: the IKE SA is gone, and its lane deletes what was installed.
    if (!isInstalled) child.discard();
  }
  child.state = 'installed';
  child.establishedAt = sa.host.now;
  sa.children = [...sa.children, child];
  sa.host.indexChild(child.inboundSpi, child);
  return child;
}

/** Installs the SA that sends of a child that we did not ask for: the peer is ready for it. */
export function* switchOutbound(child: ChildSa): Exchange<void> {
  const held = child.takeHeld();
  if (held === null) return;
  const refused = yield* install([held]);
  if (refused !== null) child.ike.detail(`The SA that sends could not be installed: ${refused}`);
}

/** A span less up to a tenth of it: SAs that were made together are not rekeyed together. */
export function jittered(sa: IkeSa, span: number): number {
  const [high = 0, low = 0] = sa.host.random(2);
  return span * (1 - (0.1 * (high * 256 + low)) / 65_535);
}
