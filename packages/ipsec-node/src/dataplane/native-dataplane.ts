/**
 * The userspace dataplane: the verbs of the seam on the Rust core. One of the three importers of the
 * native module.
 */
import {
  guardOwners,
  installGuard as nativeInstallGuard,
  type NativeAddressRange,
  type NativeEndpoint,
  type NativeError,
  type NativeEvent,
  NativeGateway,
  type NativeNumberRange,
  type NativeOptions,
  NativePacketSocket,
  type NativeSa,
  type NativeSaState,
  type NativeSelector,
  type NativeSpdEntry,
  probeHost as nativeProbeHost,
  removeGuard as nativeRemoveGuard,
} from '../../native/index.js';
import {
  ERROR_CODES,
  type ErrorCode,
  InternalError,
  type IpsecError,
  ResourceError,
  UsageError,
} from '../errors.js';
import type {
  CountersValue,
  Dataplane,
  DataplaneEvent,
  DataplaneFacts,
  DataplaneOptions,
  IkeDatagram,
  IkePath,
  SaEndpointValue,
  SaId,
  SaState,
  SaValue,
  SelectorValue,
  SpdEntryValue,
  SpdValue,
} from './dataplane.js';
import { endpointFault, requireSource, saFault } from './sa-fault.js';

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERROR_CODES, code);
}

/** The error of a reply, with the kind that its code has. */
function errorOf(error: NativeError): IpsecError {
  if (!isErrorCode(error.code)) {
    return new InternalError('IPSEC_ERR_INTERNAL', `${error.code}: ${error.message}`);
  }
  switch (ERROR_CODES[error.code].kind) {
    case 'usage':
      return new UsageError(error.code, error.message);
    case 'resource':
      return new ResourceError(error.code, error.message);
    default:
      return new InternalError(error.code, error.message);
  }
}

function check<T extends { readonly error?: NativeError | undefined }>(reply: T): T {
  if (reply.error !== undefined) throw errorOf(reply.error);
  return reply;
}

const addresses = (ranges: SelectorValue['local']): NativeAddressRange[] =>
  ranges.map(({ from, to }) => ({ from, to }));
const numbers = (ranges: SelectorValue['localPorts']): NativeNumberRange[] =>
  ranges.map(({ from, to }) => ({ from, to }));

export function nativeSelector(selector: SelectorValue): NativeSelector {
  return {
    local: addresses(selector.local),
    remote: addresses(selector.remote),
    ...(selector.protocol === 'any' ? {} : { protocol: selector.protocol }),
    localPorts: numbers(selector.localPorts),
    remotePorts: numbers(selector.remotePorts),
    icmpTypes: numbers(selector.icmpTypes),
    icmpCodes: numbers(selector.icmpCodes),
  };
}

function nativeEntry(entry: SpdEntryValue): NativeSpdEntry {
  return {
    name: entry.name,
    outbound: entry.direction !== 'inbound',
    inbound: entry.direction !== 'outbound',
    selector: nativeSelector(entry.selector),
    action: entry.action,
    builtin: entry.builtin,
  };
}

function nativeOptions(options: DataplaneOptions): NativeOptions {
  return {
    gateway: options.gateway,
    interface: options.interface.name,
    mtu: options.interface.mtu,
    listen: [...options.listen],
    port: options.port,
    ikePort: options.ikePort,
    ike: options.ike,
    udp: options.encapsulations.includes('udp'),
    esp: options.encapsulations.includes('esp'),
    protectedInterfaces: [...options.protectedInterfaces],
    unprotectedInterfaces: [...options.unprotectedInterfaces],
    tunSegmentation: options.offload.tunSegmentation,
    udpGso: options.offload.udpGso,
    udpGro: options.offload.udpGro,
    keepGuard: options.onStop === 'guard',
    guard: options.boundary,
  };
}

const nativeEndpoint = (endpoint: SaEndpointValue): NativeEndpoint => ({
  local: endpoint.local,
  remote: endpoint.remote,
  encapsulation: endpoint.encapsulation,
  localPort: endpoint.localPort,
  remotePort: endpoint.remotePort,
});

const nativeKey = ({ direction, spi }: SaId): { outbound: boolean; spi: number } => ({
  outbound: direction === 'outbound',
  spi,
});

function nativeSa(sa: SaValue): NativeSa {
  return {
    ...nativeKey(sa.id),
    entry: sa.entry,
    selector: nativeSelector(sa.selector),
    suite: sa.suite,
    key: sa.key,
    mode: sa.mode,
    endpoint: nativeEndpoint(sa),
    esn: sa.esn,
    replayWindow: sa.replayWindow,
    sequenceNumber: sa.sequenceNumber,
    ...(sa.reservedUpTo === null ? {} : { reservedUpTo: sa.reservedUpTo }),
    tfcPadToBytes: sa.tfcPadToBytes,
    dontFragment: sa.dontFragment,
  };
}

function saState(state: NativeSaState): SaState {
  return {
    id: { direction: state.outbound ? 'outbound' : 'inbound', spi: state.spi },
    entry: state.entry,
    sequenceNumber: state.sequenceNumber,
    reservedUpTo: state.reservedUpTo ?? null,
    packets: state.packets,
    bytes: state.bytes,
    ageMs: state.ageMs,
    idleMs: state.idleMs ?? null,
    drops: Object.fromEntries(state.drops.map(({ reason, count }) => [reason, count])),
  };
}

const idOf = (event: NativeEvent): SaId => ({
  direction: event.outbound === true ? 'outbound' : 'inbound',
  spi: event.spi ?? 0,
});

/** An event other than IKE in the seam's words; undefined for a kind that it does not have. */
function dataplaneEvent(event: NativeEvent): DataplaneEvent | undefined {
  switch (event.kind) {
    case 'acquire':
      return event.packet === undefined
        ? undefined
        : { kind: 'acquire', entry: event.entry ?? '', packet: event.packet };
    case 'reserveLow':
      return {
        kind: 'reserveLow',
        id: idOf(event),
        used: event.used ?? 0n,
        wanted: event.wanted ?? 0n,
      };
    case 'expire':
      return { kind: 'expire', id: idOf(event), limit: 'sequence', hard: true };
    case 'firstUse':
      return { kind: 'firstUse', id: idOf(event) };
    case 'mapping':
      return {
        kind: 'mapping',
        id: idOf(event),
        remote: event.source ?? '',
        remotePort: event.sourcePort ?? 0,
      };
    case 'guard':
      return { kind: 'guard', what: event.reason ?? '' };
    case 'audit':
      return {
        kind: 'audit',
        reason: event.reason ?? '',
        spi: event.spi ?? 0,
        sequenceNumber: event.sequenceNumber ?? 0n,
        source: event.source ?? '',
        destination: event.destination ?? '',
        count: event.count ?? 0n,
      };
    case 'lost':
      return { kind: 'lost', count: event.count ?? 0n };
    case 'fault':
      return { kind: 'fault', worker: event.entry ?? '', reason: event.reason ?? '' };
    default:
      return undefined;
  }
}

const ikeDatagram = (event: NativeEvent): IkeDatagram => ({
  local: event.destination ?? '',
  localPort: event.destinationPort ?? 0,
  remote: event.source ?? '',
  remotePort: event.sourcePort ?? 0,
  payload: event.payload ?? new Uint8Array(),
});

/** A batch in the seam's words: IKE datagrams that follow one another are one event. */
function dataplaneEvents(events: readonly NativeEvent[]): DataplaneEvent[] {
  const told: DataplaneEvent[] = [];
  let datagrams: IkeDatagram[] | undefined;
  for (const native of events) {
    if (native.kind === 'ike' && datagrams !== undefined) {
      datagrams.push(ikeDatagram(native));
      continue;
    }
    datagrams = undefined;
    if (native.kind === 'ike') {
      datagrams = [ikeDatagram(native)];
      told.push({ kind: 'ike', datagrams });
      continue;
    }
    const event = dataplaneEvent(native);
    if (event !== undefined) told.push(event);
  }
  return told;
}

/** The userspace dataplane. */
export class NativeDataplane implements Dataplane {
  readonly #native = new NativeGateway();
  #handler: (events: readonly DataplaneEvent[]) => void = () => {};
  /** Verbs that make an SA and are not answered yet: events wait for them (the ordering promise). */
  #pendingAdds = 0;
  #held: DataplaneEvent[] = [];
  #ports = { ike: 0, encapsulation: 0 };
  #opened = false;
  #closed = false;

  onEvents(handler: (events: readonly DataplaneEvent[]) => void): void {
    this.#handler = handler;
  }

  async open(options: DataplaneOptions): Promise<DataplaneFacts> {
    if (this.#opened || this.#closed) {
      throw new UsageError('IPSEC_ERR_USAGE', 'A dataplane is opened once.');
    }
    this.#opened = true;
    this.#ports = { ike: options.ikePort, encapsulation: options.port };
    const { facts } = check(await this.#native.open(nativeOptions(options)));
    if (facts === undefined) throw new InternalError('IPSEC_ERR_INTERNAL', 'No facts were told.');
    this.#native.listen((events) => {
      this.#deliver(events);
    });
    return {
      interface: options.interface.name,
      mtu: options.interface.mtu,
      offload: {
        tunSegmentation: facts.tunSegmentation,
        udpGso: facts.udpGso,
        udpGro: facts.udpGro,
      },
      notes: facts.notes,
      guardTakenOver: facts.guardFound,
    };
  }

  #deliver(events: readonly NativeEvent[]): void {
    const told = dataplaneEvents(events);
    if (this.#pendingAdds > 0) {
      this.#held.push(...told);
    } else if (told.length > 0) {
      this.#handler(told);
    }
  }

  #requireOpen(): void {
    if (!this.#opened || this.#closed) {
      throw new UsageError('IPSEC_ERR_CLOSED', 'The dataplane is not open.');
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    check(await this.#native.close());
  }

  async replaceSpd(spd: SpdValue): Promise<void> {
    this.#requireOpen();
    check(await this.#native.replaceSpd(spd.version, spd.entries.map(nativeEntry)));
  }

  async addSa(sa: SaValue): Promise<void> {
    await this.addSas([sa]);
  }

  async addSas(sas: readonly SaValue[]): Promise<void> {
    this.#requireOpen();
    for (const sa of sas) {
      const fault = saFault(sa);
      if (fault !== null) {
        throw new UsageError('IPSEC_ERR_SA_INVALID', `SA ${sa.id.spi} of ${sa.entry}: ${fault}.`);
      }
    }
    this.#pendingAdds += 1;
    try {
      check(await this.#native.addSas(sas.map(nativeSa)));
    } finally {
      // The caller's continuation runs first: it is queued when this promise settles.
      setImmediate(() => {
        this.#pendingAdds -= 1;
        if (this.#pendingAdds === 0 && this.#held.length > 0) {
          const held = this.#held;
          this.#held = [];
          this.#handler(held);
        }
      });
    }
  }

  async reserve(id: SaId, upTo: bigint): Promise<bigint> {
    this.#requireOpen();
    const outbound = id.direction === 'outbound';
    const { bound } = check(await this.#native.reserve(outbound, id.spi, upTo));
    if (bound === undefined) throw new InternalError('IPSEC_ERR_INTERNAL', 'No bound was told.');
    return bound;
  }

  async updateSa(id: SaId, change: SaEndpointValue): Promise<void> {
    this.#requireOpen();
    const fault = endpointFault(change);
    if (fault !== null) {
      throw new UsageError('IPSEC_ERR_SA_INVALID', `SA ${id.spi} cannot be changed: ${fault}.`);
    }
    check(await this.#native.updateSa(nativeKey(id), nativeEndpoint(change)));
  }

  async deleteSa(id: SaId): Promise<SaState> {
    this.#requireOpen();
    const { sas } = check(await this.#native.deleteSa(nativeKey(id)));
    const [state] = sas;
    if (state === undefined) throw new InternalError('IPSEC_ERR_INTERNAL', 'No state was told.');
    return saState(state);
  }

  async deleteSas(ids: readonly SaId[]): Promise<readonly SaState[]> {
    this.#requireOpen();
    return check(await this.#native.deleteSas(ids.map(nativeKey))).sas.map(saState);
  }

  async querySas(ids: readonly SaId[]): Promise<readonly SaState[]> {
    this.#requireOpen();
    return check(await this.#native.querySas(ids.map(nativeKey))).sas.map(saState);
  }

  async querySad(): Promise<readonly SaState[]> {
    this.#requireOpen();
    return check(await this.#native.querySad()).sas.map(saState);
  }

  async sendIke(datagrams: readonly IkeDatagram[]): Promise<void> {
    this.#requireOpen();
    const { ike, encapsulation } = this.#ports;
    await this.#send(datagrams, [ike, encapsulation]);
  }

  async sendKeepalive(paths: readonly IkePath[]): Promise<void> {
    this.#requireOpen();
    const bare = paths.map(({ local, localPort, remote, remotePort }) => ({
      local,
      localPort,
      remote,
      remotePort,
    }));
    await this.#send(bare, [this.#ports.encapsulation]);
  }

  async #send(
    datagrams: readonly (IkePath & { readonly payload?: Uint8Array })[],
    ports: readonly number[],
  ): Promise<void> {
    if (datagrams.length === 0) return;
    const native = datagrams.map(({ local, localPort, remote, remotePort, payload }) => ({
      local: requireSource({ local, localPort, remote, remotePort }, ports),
      localPort,
      remote,
      remotePort,
      ...(payload === undefined ? {} : { payload }),
    }));
    check(await this.#native.sendIke(native));
  }

  async counters(): Promise<CountersValue> {
    this.#requireOpen();
    const { counters, drops } = check(await this.#native.counters());
    const table = (rows: typeof counters): Record<string, bigint> =>
      Object.fromEntries(rows.map(({ reason, count }) => [reason, count]));
    return { counters: table(counters), drops: table(drops) };
  }
}

/** Installs the guard of a gateway without the gateway. */
export async function installGuard(request: {
  readonly options: DataplaneOptions;
  readonly spd: SpdValue;
}): Promise<{ readonly done: readonly string[]; readonly found: boolean }> {
  const found = guardOwners().includes(request.options.gateway);
  const { done } = check(
    await nativeInstallGuard(nativeOptions(request.options), request.spd.entries.map(nativeEntry)),
  );
  return { done, found };
}

/** Removes everything that carries a gateway's name. */
export async function removeGuard(
  gateway: string,
  interfaceName = 'ipsec0',
): Promise<{ readonly done: readonly string[]; readonly found: boolean }> {
  const { done } = check(await nativeRemoveGuard(gateway, interfaceName));
  return { done, found: done.length > 0 };
}

/** What only native code can find out: each thing is tried the way a gateway does, and undone. */
export async function probeHost(): Promise<
  readonly {
    readonly what: string;
    readonly state: 'ok' | 'warning' | 'fault';
    readonly found: string;
    readonly remedy: string;
  }[]
> {
  const findings = await nativeProbeHost();
  return findings.map(({ what, state, found, remedy }) => ({
    what,
    state: state === 'ok' || state === 'warning' ? state : 'fault',
    found,
    remedy,
  }));
}

/** Frames of one interface as the kernel shows them, both ways. */
export function openPacketSocket(link: string): {
  receive(count: number, timeoutMs: number): readonly Uint8Array[];
} {
  try {
    return new NativePacketSocket(link);
  } catch (cause) {
    throw new ResourceError(
      'IPSEC_ERR_HOST',
      `Frames of ${link} cannot be captured: CAP_NET_RAW is needed.`,
      { cause, fields: { interface: link, adviceInMessage: true } },
    );
  }
}
