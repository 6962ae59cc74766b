/** Reading the file that `-c` names. */
import type { GatewayConfig } from '../config/gateway-config.js';
import { readConfigFile } from '../config/load.js';
import { type ParsedConfig, parseConfig, wipeConfig } from '../config/parse.js';
import { hostSecretSource } from '../config/secret-source.js';

/**
 * Reads a file for a command that starts nothing: a key that this user may not read is no fault.
 *
 * @throws ConfigError with every fault.
 */
export async function readConfig(file: string): Promise<ParsedConfig> {
  return parseConfig(await readConfigFile(file), {
    secrets: hostSecretSource(process.env),
    tolerateDeniedSecrets: true,
  });
}

/** As {@link readConfig}, for a command that needs no key: they are wiped at once. */
export async function readConfigWithoutKeys(file: string): Promise<GatewayConfig> {
  const { config } = await readConfig(file);
  wipeConfig(config);
  return config;
}

/** The control socket of the gateway that a file describes. */
export async function controlPathOf(file: string): Promise<string> {
  return (await readConfigWithoutKeys(file)).gateway.control;
}
