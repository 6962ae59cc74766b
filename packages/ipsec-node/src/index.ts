/**
 * The public API. Importing it needs no privileges, loads no native code and starts no thread;
 * library mode over packets is `ipsec-node/packet`.
 */
export { Gateway, type GatewayEvents, type GatewayOptions } from './gateway.js';
export {
  ConfigError,
  type ConfigFault,
  type ErrorCode,
  ERROR_CODES,
  InternalError,
  IpsecError,
  PeerError,
  ResourceError,
  UsageError,
} from './errors.js';
export { createLogger, LOG_LEVELS, type Logger, type LogLevel, type LogRecord } from './log.js';
export type { Clock } from './clock.js';
export type { ExplainQuery, Explanation } from './config/explain.js';
export type { GatewayConfig } from './config/gateway-config.js';
export type { GatewayConfigInput } from './config/schema.js';
export type {
  CountersSnapshot,
  GatewayState,
  GatewayStatus,
  PolicySnapshot,
  SaSnapshot,
} from './daemon/snapshot.js';
export type {
  Dataplane,
  DataplaneEvent,
  DataplaneFacts,
  DataplaneOptions,
  SaId,
  SaState,
  SaValue,
  SpdValue,
} from './dataplane/dataplane.js';
