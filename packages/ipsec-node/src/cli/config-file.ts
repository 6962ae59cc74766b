/** Reading the file that `-c` names. */
import type { GatewayConfig } from '../config/gateway-config.js';
import { readConfigFile } from '../config/load.js';
import {
  type ParsedConfig,
  parseConfig,
  parseConfigWithKeys,
  wipeConfig,
} from '../config/parse.js';
import { hostSecretSource } from '../config/secret-source.js';

/**
 * Reads a file for a command that starts nothing: a key that this user may not read is no fault.
 *
 * @throws ConfigError with every fault.
 */
export async function readConfig(file: string): Promise<ParsedConfig> {
  return parseConfigWithKeys(await readConfigFile(file), {
    secrets: hostSecretSource(process.env),
    tolerateDeniedSecrets: true,
  });
}

/**
 * Reads a file for a command that needs no key, and looks at none: the guard's unit has not the
 * credentials of the gateway's, and neither has the shell that asks for its status.
 *
 * @throws ConfigError with every fault but those of keys that stand elsewhere.
 */
export async function readConfigWithoutKeys(file: string): Promise<GatewayConfig> {
  const { config } = parseConfig(await readConfigFile(file), {
    secrets: { read: () => ({ ok: false, denied: true, reason: 'no key is needed' }) },
    tolerateDeniedSecrets: true,
  });
  // Those that stand in the file itself.
  wipeConfig(config);
  return config;
}

/** The control socket of the gateway that a file describes. */
export async function controlPathOf(file: string): Promise<string> {
  return (await readConfigWithoutKeys(file)).gateway.control;
}
