/** Keys of SAs over the control socket, both ways: bytes that stay bytes, and are wiped. */
import { z } from 'zod';
import { UsageError } from '../../errors.js';
import type { IkeKeyReport } from '../../ike/action.js';
import type { CaptureKeys, EspKeyReport } from '../capture/capture-keys.js';
import { section, type ViciSection, wipeBytes } from './codec.js';
import { decode, flag, integer } from './own-messages.js';
import type { ViciStream } from './server.js';

const bytes = z.instanceof(Uint8Array);
const spi64 = z
  .string()
  .regex(/^[0-9a-f]{16}$/)
  .transform((text) => BigInt(`0x${text}`));

const ikeSchema = z
  .object({
    'spi-initiator': spi64,
    'spi-responder': spi64,
    encryption: z.string(),
    integrity: z.string(),
    'sk-ei': bytes,
    'sk-er': bytes,
    'sk-ai': bytes,
    'sk-ar': bytes,
  })
  .transform(
    (row): IkeKeyReport => ({
      spiInitiator: row['spi-initiator'],
      spiResponder: row['spi-responder'],
      encryption: row.encryption,
      integrity: row.integrity,
      skEi: row['sk-ei'],
      skEr: row['sk-er'],
      skAi: row['sk-ai'],
      skAr: row['sk-ar'],
    }),
  );

const espSchema = z
  .object({
    source: z.string(),
    destination: z.string(),
    spi: integer,
    suite: z.string(),
    'esp-key': bytes,
    esn: flag,
  })
  .transform(({ 'esp-key': key, ...row }): EspKeyReport => ({ ...row, key }));

export const decodeIkeKeys = (message: ViciSection): IkeKeyReport => decode(ikeSchema, message);
export const decodeEspKeys = (message: ViciSection): EspKeyReport => decode(espSchema, message);

const hex = (spi: bigint): string => spi.toString(16).padStart(16, '0');

/**
 * Answers `ipsec-node-capture-keys`.
 *
 * @throws UsageError where the gateway was not given leave to show keys.
 */
export async function streamKeys(
  keys: CaptureKeys | null,
  stream: ViciStream,
): Promise<ViciSection> {
  if (keys === null) {
    throw new UsageError(
      'IPSEC_ERR_USAGE',
      'This gateway does not show keys. Start it with up --allow-key-capture: the keys of what ' +
        'is negotiated from then on can be asked for by whoever may open its control socket.',
    );
  }
  const send = async (event: string, message: ViciSection): Promise<void> => {
    await stream(event, message);
    wipeBytes(message);
  };
  for (const report of keys.ikeSas()) {
    await send(
      'ipsec-node-ike-keys',
      section([
        ['spi-initiator', hex(report.spiInitiator)],
        ['spi-responder', hex(report.spiResponder)],
        ['encryption', report.encryption],
        ['integrity', report.integrity],
        ['sk-ei', report.skEi],
        ['sk-er', report.skEr],
        ['sk-ai', report.skAi],
        ['sk-ar', report.skAr],
      ]),
    );
  }
  for (const report of keys.espSas()) {
    await send(
      'ipsec-node-esp-keys',
      section([
        ['source', report.source],
        ['destination', report.destination],
        ['spi', report.spi],
        ['suite', report.suite],
        ['esp-key', report.key],
        ['esn', report.esn],
      ]),
    );
  }
  return section();
}
