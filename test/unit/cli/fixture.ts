import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runProgram } from '../../../packages/ipsec-node/src/cli/program.js';
import type { Dataplane } from '../../../packages/ipsec-node/src/dataplane/dataplane.js';
import { Gateway } from '../../../packages/ipsec-node/src/gateway.js';
import { type Clock, systemClock } from '../../../packages/ipsec-node/src/clock.js';

/** What one command line did. */
export interface CliResult {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

/** How a command line is run, where it is not the usual way. */
export interface CliSetting {
  readonly interactive?: boolean;
  readonly clock?: Clock;
  /** Receives the handler of signals that a command installs. */
  readonly onSignal?: (raise: (signal: NodeJS.Signals) => void) => void;
  readonly onOut?: (text: string) => void;
  readonly onExitNow?: (code: number) => void;
  /** The dataplane of `up`. */
  readonly dataplane?: Dataplane;
}

/** Runs a command line inside this process. */
export async function cli(args: readonly string[], setting: CliSetting = {}): Promise<CliResult> {
  let out = '';
  let err = '';
  const exitCode = await runProgram(args, {
    terminal: {
      out: (text) => {
        out += text;
        setting.onOut?.(text);
      },
      err: (text) => {
        err += text;
      },
      interactive: setting.interactive === true,
      columns: 100,
    },
    clock: setting.clock ?? systemClock,
    onSignal: (handler) => {
      setting.onSignal?.(handler);
      return () => {};
    },
    exitNow: (code) => setting.onExitNow?.(code),
    openGateway: (file, options) =>
      Gateway.open(
        file,
        setting.dataplane === undefined ? options : { ...options, dataplane: setting.dataplane },
      ),
  });
  return { exitCode, out, err };
}

/** A directory with a valid file, its keys and its state directory. */
export interface Site {
  readonly directory: string;
  readonly file: string;
  readonly control: string;
  readonly remove: () => void;
}

export const FILE = `
gateway:
  name: hq
  laboratory: true
  control: hq.vici
  state: state
  builtin: false
policies:
  - name: web-in-clear
    local: 10.1.0.0/16
    protocol: tcp
    remotePort: 443
    action: bypass
  - name: lan-to-branch
    local: 10.1.0.0/16
    remote: [ 10.2.0.0/16, 10.3.0.10-10.3.0.99 ]
    action: protect
  - name: everything-else
    action: discard
associations:
  - policy: lan-to-branch
    suite: aes256gcm16
    local: 192.0.2.1
    remote: 198.51.100.2
    inbound:  { spi: 0xc0000001, key: { file: in.key } }
    outbound: { spi: 0xc0000002, key: { file: out.key } }
`;

export function makeSite(text: string = FILE): Site {
  const directory = mkdtempSync(join(tmpdir(), 'ipsec-node-cli-'));
  const file = join(directory, 'ipsec.yaml');
  writeFileSync(file, text);
  for (const [index, name] of ['in.key', 'out.key'].entries()) {
    const key = Array.from({ length: 36 }, (_, place) =>
      ((place * 7 + index * 101 + 13) & 0xff).toString(16).padStart(2, '0'),
    );
    writeFileSync(join(directory, name), `0x${key.join('')}\n`, { mode: 0o600 });
  }
  mkdirSync(join(directory, 'state'), { mode: 0o700 });
  return {
    directory,
    file,
    control: join(directory, 'hq.vici'),
    remove: () => rmSync(directory, { recursive: true }),
  };
}
