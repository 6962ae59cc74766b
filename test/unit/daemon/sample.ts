import { type Clock, systemClock } from '../../../packages/ipsec-node/src/clock.js';
import { Daemon, type DaemonParts } from '../../../packages/ipsec-node/src/daemon/daemon.js';
import { MemoryDataplane } from '../../../packages/ipsec-node/src/dataplane/memory-dataplane.js';
import type { Dataplane } from '../../../packages/ipsec-node/src/dataplane/dataplane.js';
import { createLogger, type LogRecord } from '../../../packages/ipsec-node/src/log.js';
import type { SaParameters } from '../../../packages/ipsec-node/src/sad/sa.js';
import { ANY_SELECTOR, type Selector } from '../../../packages/ipsec-node/src/spd/selector.js';
import type { Spd } from '../../../packages/ipsec-node/src/spd/spd.js';

export const LAN: Selector = {
  ...ANY_SELECTOR,
  local: [{ from: '10.1.0.0', to: '10.1.255.255' }],
  remote: [
    { from: '10.2.0.0', to: '10.2.255.255' },
    { from: '10.3.0.10', to: '10.3.0.99' },
  ],
};

export const SPD: Spd = {
  version: 1,
  entries: [
    {
      name: 'web-in-clear',
      direction: 'both',
      action: 'BYPASS',
      builtin: false,
      selector: {
        ...ANY_SELECTOR,
        local: [{ from: '10.1.0.0', to: '10.1.255.255' }],
        protocol: 6,
        remotePorts: [{ from: 443, to: 443 }],
      },
    },
    { name: 'lan-to-branch', direction: 'both', action: 'PROTECT', builtin: false, selector: LAN },
    {
      name: 'everything-else',
      direction: 'both',
      action: 'DISCARD',
      builtin: false,
      selector: ANY_SELECTOR,
    },
  ],
};

export const OUT_SPI = 0xc000_0002;
export const IN_SPI = 0xc000_0001;

export function manualSa(direction: 'outbound' | 'inbound', spi: number): SaParameters {
  return {
    id: { direction, spi },
    entry: 'lan-to-branch',
    selector: LAN,
    suite: 'aes256gcm16',
    key: Uint8Array.from({ length: 36 }, (_, index) => (index * 11 + spi) & 0xff),
    mode: 'tunnel',
    local: '192.0.2.1',
    remote: '198.51.100.2',
    encapsulation: 'udp',
    localPort: 4500,
    remotePort: 4500,
    esn: true,
    replayWindow: 1024,
    tfcPadToBytes: 0,
    dontFragment: 'copy',
  };
}

/** A daemon over the memory dataplane, with what it logs. */
export interface Sample {
  readonly daemon: Daemon;
  readonly dataplane: MemoryDataplane;
  readonly logged: LogRecord[];
}

export function sampleParts(
  stateDirectory: string,
  dataplane: Dataplane,
  logged: LogRecord[] = [],
  clock: Clock = systemClock,
): DaemonParts {
  return {
    name: 'hq',
    version: '0.1.0',
    spd: SPD,
    sas: [manualSa('outbound', OUT_SPI), manualSa('inbound', IN_SPI)],
    options: {
      gateway: 'hq',
      interface: { name: 'ipsec0', mtu: 1400 },
      listen: ['0.0.0.0'],
      port: 4500,
      ikePort: 500,
      ike: false,
      encapsulations: ['udp'],
      protectedInterfaces: [],
      unprotectedInterfaces: [],
      offload: { tunSegmentation: true, udpGso: true, udpGro: true },
      onStop: 'guard',
      boundary: true,
    },
    stateDirectory,
    control: null,
    dataplane,
    clock,
    log: createLogger('debug', (record) => logged.push(record)),
  };
}

export async function startSample(
  stateDirectory: string,
  clock: Clock = systemClock,
): Promise<Sample> {
  const dataplane = new MemoryDataplane(clock);
  const logged: LogRecord[] = [];
  const daemon = await Daemon.start(sampleParts(stateDirectory, dataplane, logged, clock));
  return { daemon, dataplane, logged };
}
