/**
 * What the fields of the compiled configuration are called in the file: messages for whoever wrote
 * the file name its keys.
 */
import type { ChildTerms } from '../pad/child-terms.js';
import type { PadEntry } from '../pad/pad-entry.js';
import type { GatewaySettings } from './gateway-config.js';

/** A field that is made of several keys names them all, with slashes between. */
const PEER_KEYS: Readonly<Record<Exclude<keyof PadEntry, 'children'>, string>> = {
  name: 'name',
  hosts: 'address',
  localAddress: 'localAddress',
  remotePort: 'port',
  localIdentity: 'local.id',
  remoteIdentity: 'remote.id',
  localAuthentication: 'local/psk',
  remoteAuthentication: 'remote/psk',
  ppk: 'ppk',
  proposals: 'proposals',
  rekeyMs: 'rekey',
  hardMs: 'expire',
  livenessMs: 'dpd',
  keepaliveMs: 'keepalive',
  encapsulation: 'encapsulation',
  fragmentation: 'fragmentation',
  mobike: 'mobike',
  unique: 'unique',
  onDeath: 'onDeath',
  hashAndUrl: 'hashAndUrl',
};

const POLICY_KEYS: Readonly<Record<keyof ChildTerms, string>> = {
  name: 'name',
  mode: 'mode',
  selector: 'local/remote/protocol/localPort/remotePort/icmpType/icmpCode',
  proposals: 'proposals',
  start: 'start',
  onClose: 'onClose',
  lifetime: 'lifetime',
  selectorsPerChild: 'selectorsPerChild',
  replayWindow: 'replayWindow',
  tfcPadToBytes: 'tfc.padTo',
  // The file has no key for it: it is always `copy`.
  dontFragment: 'dontFragment',
};

const GATEWAY_KEYS: Readonly<Record<keyof GatewaySettings, string>> = {
  name: 'name',
  dataplane: 'dataplane',
  interface: 'interface',
  encapsulation: 'encapsulation',
  unprotected: 'unprotected',
  protected: 'protected',
  onStop: 'onStop',
  listen: 'listen',
  port: 'port',
  ikePort: 'ikePort',
  control: 'control',
  stateDirectory: 'state',
  laboratory: 'laboratory',
  builtin: 'builtin',
  offload: 'offload',
};

const FILE_KEYS = { peer: PEER_KEYS, policy: POLICY_KEYS, gateway: GATEWAY_KEYS } as const;

/** Whose fields: {@link PadEntry}, {@link ChildTerms}, {@link GatewaySettings}. */
export type FieldOwner = keyof typeof FILE_KEYS;

/**
 * The key of the file, within its peer, policy or `gateway`, that sets a field. What is no field is
 * given back as it is.
 */
export function fileKeyOf(owner: FieldOwner, field: string): string {
  const keys: Readonly<Record<string, string>> = FILE_KEYS[owner];
  return keys[field] ?? field;
}
