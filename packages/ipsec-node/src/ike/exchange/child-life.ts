/** A Child SA from its keys to the datapath. */
import { spiBytes } from '../bytes.js';
import type { ChildAgreement, ChildKeyMaterial } from '../child-sa.js';
import { ChildSa } from '../child-sa.js';
import type { IkeSa } from '../ike-sa.js';
import { NOTIFY } from '../notify.js';
import type { Payload } from '../payload/payload.js';
import { ExchangeRefused, type Exchange, install, request } from './step.js';

const ESP = 3;

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
  // A rekey of the IKE SA may have overtaken it.
  child.ike = sa.heir;
  child.settle();
  child.ike.children = [...child.ike.children, child];
  sa.host.indexChild(child.inboundSpi, child);
  return child;
}

/**
 * The peer has a child by now that we do not: it is told to delete it (RFC 7296 section 2.21). Its
 * SPI stays taken until it has.
 */
export function disownChild(sa: IkeSa, spi: number): void {
  sa.enqueue(
    'delete child that was refused',
    function* exchange() {
      yield* request('INFORMATIONAL', [deletePayload([spi])]);
    },
    () => sa.host.releaseSpi(spi),
  );
}

/** A Delete of children, by what we receive by. */
export function deletePayload(spis: readonly number[]): Payload {
  return { type: 'delete', protocolId: ESP, spis: spis.map(spiBytes) };
}

/** A span less up to a tenth of it: SAs that were made together are not rekeyed together. */
export function jittered(sa: IkeSa, span: number): number {
  const [high = 0, low = 0] = sa.host.random(2);
  return span * (1 - (0.1 * (high * 256 + low)) / 65_535);
}
