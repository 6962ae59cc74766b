import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { textAt } from '../../json.js';
import type { Contender } from '../contender.js';
import type { Daemon } from '../lab.js';
import type { GatewayEnd } from '../topology.js';

/** AES-256 key and the four bytes of salt of RFC 4106 section 8.1. */
const KEY_BYTES = 36;
const SPI_FROM_A = 0xc0000a0b;
const SPI_FROM_B = 0xc0000b0a;

/** `ipsec-node up` on both gateways with manual keys. */
export function ours(root: string, encapsulation: 'udp' | 'esp'): Contender {
  const main = join(root, 'packages/ipsec-node/dist/cli/main.js');
  return {
    name: `ours-${encapsulation}`,
    title: encapsulation === 'udp' ? 'ipsec-node, ESP in UDP' : 'ipsec-node, raw ESP',
    prepare: () =>
      Promise.resolve(existsSync(main) ? null : 'ipsec-node is not built: run `npm run build`'),
    start: async (gatewayA, gatewayB, topology) => {
      const { lab } = topology;
      const directory = join(lab.directory, topology.label);
      await mkdir(directory, { recursive: true });
      // Fresh keys at each start: a counter-mode key is never used twice.
      const keys = { fromA: randomBytes(KEY_BYTES), fromB: randomBytes(KEY_BYTES) };
      await writeKey(join(directory, 'a-to-b.key'), keys.fromA);
      await writeKey(join(directory, 'b-to-a.key'), keys.fromB);
      const daemons: Daemon[] = [];
      for (const [here, there] of [
        [gatewayA, gatewayB],
        [gatewayB, gatewayA],
      ] as const) {
        const file = join(directory, `${here.name}.yaml`);
        await mkdir(join(directory, `state-${here.name}`), { recursive: true, mode: 0o700 });
        await writeFile(file, configuration(here, there, encapsulation, directory), {
          mode: 0o600,
        });
        daemons.push(lab.start(here.namespace, process.execPath, [main, 'up', '-c', file]));
      }
      await lab.sleep(300);
      const dead = daemons.find((daemon) => !daemon.alive);
      if (dead !== undefined) {
        const output = dead.output();
        await Promise.all(daemons.map((daemon) => daemon.stop()));
        throw new Error(`ipsec-node ended at once:\n${output}`);
      }
      const manifest: unknown = JSON.parse(
        await readFile(join(root, 'packages/ipsec-node/package.json'), 'utf8'),
      );
      return {
        facts: {
          version: textAt(manifest, 'version') ?? '',
          algorithm: `AES-256-GCM-16, ESN, window 1024, ${encapsulation === 'udp' ? 'ESP in UDP' : 'raw ESP'}`,
        },
        alive: () => daemons.every((daemon) => daemon.alive),
        stop: async () => {
          await Promise.all(daemons.map((daemon) => daemon.stop()));
        },
      };
    },
  };
}

async function writeKey(file: string, key: Buffer): Promise<void> {
  await writeFile(file, `0x${key.toString('hex')}\n`, { mode: 0o600 });
}

function configuration(
  here: GatewayEnd,
  there: GatewayEnd,
  encapsulation: 'udp' | 'esp',
  directory: string,
): string {
  const fromA = { spi: SPI_FROM_A, file: 'a-to-b.key' };
  const fromB = { spi: SPI_FROM_B, file: 'b-to-a.key' };
  const [outbound, inbound] = here.name === 'A' ? [fromA, fromB] : [fromB, fromA];
  const hex = (spi: number): string => `0x${spi.toString(16)}`;
  return `gateway:
  name: bench-${here.name.toLowerCase()}
  laboratory: true
  dataplane: native
  interface: { name: ipsec0, mtu: auto }
  encapsulation: ${encapsulation}
  unprotected: [ wire ]
  protected: [ lan ]
  onStop: open
  listen: [ ${here.wireAddress} ]
  control: ${directory}/${here.name}.vici
  state: ${directory}/state-${here.name}

policies:
  - name: lan-to-lan
    local: ${here.subnet}
    remote: ${there.subnet}
    action: protect
    mode: tunnel

associations:
  - policy: lan-to-lan
    suite: aes256gcm16
    local: ${here.wireAddress}
    remote: ${there.wireAddress}
    encapsulation: ${encapsulation}
    inbound: { spi: ${hex(inbound.spi)}, key: { file: ${inbound.file} } }
    outbound: { spi: ${hex(outbound.spi)}, key: { file: ${outbound.file} } }
    esn: true
    replayWindow: 1024
`;
}
