import { resolve } from 'node:path';

import { BUILTIN_NAMES, type BuiltinName } from '../spd/builtin-name.js';
import {
  DEFAULTS,
  defaultControlPath,
  defaultStateDirectory,
  SOCKET_PATH_BYTES_MAX,
} from './defaults.js';
import type { ConfigDocument } from './document.js';
import { docOf } from './field.js';
import type { GatewaySettings } from './gateway-config.js';
import type { Reader, Section } from './reader.js';
import { builtinShape, gatewayShape, interfaceShape, offloadShape } from './schema.js';

/** Reads the section `gateway`, absent or not; where it is faulty, defaults stand in. */
export function parseGateway(
  reader: Reader,
  document: ConfigDocument,
  root: Section,
): GatewaySettings {
  const section = reader.section(
    root.values.has('gateway') ? root.values.get('gateway') : {},
    ['gateway'],
    Object.keys(gatewayShape),
    { name: 'gateway' },
  ) ?? { path: ['gateway'], values: new Map() };

  const name = reader.field(section, gatewayShape, 'name') ?? DEFAULTS.gatewayName.value;
  // `auto` and `native` are one while there is one dataplane.
  reader.field(section, gatewayShape, 'dataplane');
  const encapsulation =
    reader.field(section, gatewayShape, 'encapsulation') ?? DEFAULTS.encapsulation.value;
  const unprotectedInterfaces = reader.field(section, gatewayShape, 'unprotected') ?? null;
  const protectedInterfaces = reader.field(section, gatewayShape, 'protected') ?? null;
  const onStop = reader.field(section, gatewayShape, 'onStop') ?? DEFAULTS.onStop.value;
  const listen = reader.field(section, gatewayShape, 'listen') ?? DEFAULTS.listen.value;
  const port = reader.field(section, gatewayShape, 'port') ?? DEFAULTS.port.value;
  const ikePort = reader.field(section, gatewayShape, 'ikePort') ?? DEFAULTS.ikePort.value;
  const control = reader.field(section, gatewayShape, 'control') ?? defaultControlPath(name);
  const state = reader.field(section, gatewayShape, 'state') ?? defaultStateDirectory(name);
  const laboratory = reader.field(section, gatewayShape, 'laboratory') ?? DEFAULTS.laboratory.value;

  checkSides(reader, section, unprotectedInterfaces, protectedInterfaces);
  const controlPath = resolve(document.directory, control);
  checkSockets(reader, section, { port, ikePort, controlPath });
  return {
    name,
    dataplane: 'native',
    interface: parseInterface(reader, section),
    encapsulation: encapsulation === 'auto' ? 'udp' : encapsulation,
    unprotected: unprotectedInterfaces,
    protected: protectedInterfaces,
    onStop,
    listen,
    port,
    ikePort,
    control: controlPath,
    stateDirectory: resolve(document.directory, state),
    laboratory,
    builtin: parseBuiltin(reader, section),
    offload: parseOffload(reader, section),
  };
}

function parseInterface(reader: Reader, section: Section): GatewaySettings['interface'] {
  const inner = subsection(reader, section, 'interface', Object.keys(interfaceShape));
  return {
    name: reader.field(inner, interfaceShape, 'name') ?? DEFAULTS.interfaceName.value,
    mtu: reader.field(inner, interfaceShape, 'mtu') ?? DEFAULTS.interfaceMtu.value,
  };
}

function parseOffload(reader: Reader, section: Section): GatewaySettings['offload'] {
  const inner = subsection(reader, section, 'offload', Object.keys(offloadShape));
  return {
    tunSegmentation: reader.field(inner, offloadShape, 'tunSegmentation') !== 'off',
    udpGso: reader.field(inner, offloadShape, 'udpGso') !== 'off',
    udpGro: reader.field(inner, offloadShape, 'udpGro') !== 'off',
  };
}

function parseBuiltin(reader: Reader, section: Section): Readonly<Record<BuiltinName, boolean>> {
  const value = section.values.get('builtin');
  const whole = typeof value === 'boolean' ? value : DEFAULTS.builtin.value;
  const inner =
    typeof value === 'boolean'
      ? { path: [...section.path, 'builtin'], values: new Map<string, unknown>() }
      : subsection(reader, section, 'builtin', BUILTIN_NAMES);
  const read = (name: BuiltinName): boolean => reader.field(inner, builtinShape, name) ?? whole;
  return {
    loopback: read('loopback'),
    'ike-and-esp': read('ike-and-esp'),
    'neighbour-discovery': read('neighbour-discovery'),
    'multicast-listener-discovery': read('multicast-listener-discovery'),
    dhcpv4: read('dhcpv4'),
    dhcpv6: read('dhcpv6'),
    'path-mtu': read('path-mtu'),
  };
}

/** A map within `gateway`; empty where absent or faulty. */
function subsection(
  reader: Reader,
  section: Section,
  key: 'interface' | 'offload' | 'builtin',
  keys: readonly string[],
): Section {
  const path = [...section.path, key];
  const empty = { path, values: new Map<string, unknown>() };
  if (!section.values.has(key)) return empty;
  const { accepted } = docOf(gatewayShape[key]);
  return reader.section(section.values.get(key), path, keys, { accepted }) ?? empty;
}

function checkSides(
  reader: Reader,
  section: Section,
  unprotectedInterfaces: readonly string[] | null,
  protectedInterfaces: readonly string[] | null,
): void {
  for (const name of protectedInterfaces ?? []) {
    if (unprotectedInterfaces?.includes(name) !== true) continue;
    reader.faults.add([...section.path, 'protected'], {
      found: JSON.stringify(name),
      why: 'unprotected names it too',
      accepted: 'each interface on one side of the boundary',
    });
  }
}

function checkSockets(
  reader: Reader,
  section: Section,
  sockets: { readonly port: number; readonly ikePort: number; readonly controlPath: string },
): void {
  if (sockets.port === sockets.ikePort) {
    const key = section.values.has('ikePort') ? 'ikePort' : 'port';
    reader.faults.add([...section.path, key], {
      found: `${sockets.port} for both port and ikePort`,
      // RFC 3948 section 2.2: only on the port of ESP does IKE carry the non-ESP marker.
      accepted: 'two different ports',
    });
  }
  const bytes = Buffer.byteLength(sockets.controlPath);
  if (bytes > SOCKET_PATH_BYTES_MAX) {
    reader.faults.add([...section.path, 'control'], {
      found: `a path of ${bytes} bytes`,
      accepted: `at most ${SOCKET_PATH_BYTES_MAX} bytes: the limit of Unix sockets`,
    });
  }
}
