import { describe, it } from 'vitest';
import {
  effectiveCapabilities,
  tunDeviceFault,
} from '../../packages/ipsec-node/src/daemon/host/capabilities.js';
import { nativeModule } from '../../packages/ipsec-node/src/gateway.js';
import { CONTRACT_OPTIONS, runDataplaneContract } from './dataplane-contract.js';
import { runDataplaneWireContract } from './dataplane-wire-contract.js';

/** Why the native dataplane cannot be opened here; `undefined`: it can. */
async function obstacle(): Promise<string | undefined> {
  const held = effectiveCapabilities();
  if (held !== undefined && !held.has('CAP_NET_ADMIN')) return 'CAP_NET_ADMIN is missing';
  const fault = tunDeviceFault();
  if (fault !== undefined) return fault.found;
  try {
    await nativeModule();
    return undefined;
  } catch (error) {
    return String(error);
  }
}

const reason = await obstacle();
if (reason === undefined) {
  const { NativeDataplane } = await nativeModule();
  runDataplaneContract(
    'native',
    () => ({ dataplane: new NativeDataplane(), options: CONTRACT_OPTIONS }),
    { receives: false },
  );
  const { LoopbackWire } = await import('./loopback-wire.js');
  runDataplaneWireContract('native', () => ({
    dataplane: new NativeDataplane(),
    wire: new LoopbackWire(),
  }));
} else {
  if (process.env['CI'] === 'true') throw new Error(`the native contract cannot run: ${reason}`);
  process.stderr.write(`skipped: the contract of the native dataplane; ${reason}\n`);
  describe.skip('dataplane contract: native', () => {
    it('is not run here', () => {});
  });
}
