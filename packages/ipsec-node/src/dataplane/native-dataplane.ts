/**
 * The userspace dataplane: the verbs of the seam on the Rust core. One of the three importers of the
 * native module.
 */
import {
  guardOwners,
  installGuard as nativeInstallGuard,
  type NativeAddressRange,
  type NativeError,
  type NativeEvent,
  NativeGateway,
  type NativeNumberRange,
  type NativeOptions,
  NativePacketSocket,
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
import { tryParseIpAddress } from '../net/ip-address.js';
import type {
  CountersValue,
  Dataplane,
  DataplaneEvent,
  DataplaneFacts,
  DataplaneOptions,
  IkeDatagram,
  SaId,
  SaState,
  SaValue,
  SelectorValue,
  SpdEntryValue,
  SpdValue,
} from './dataplane.js';
import { saFault } from './sa-fault.js';

const isPort = (port: number): boolean => Number.isInteger(port) && port >= 1 && port <= 65_535;

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

/** An event in the seam's words; undefined for a kind that it does not have. */
function dataplaneEvent(event: NativeEvent): DataplaneEvent | undefined {
  switch (event.kind) {
    case 'ike':
      return {
        kind: 'ike',
        datagrams: [
          {
            local: event.destination ?? '',
            localPort: event.destinationPort ?? 0,
            remote: event.source ?? '',
            remotePort: event.sourcePort ?? 0,
            payload: event.payload ?? new Uint8Array(),
          },
        ],
      };
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

/** The userspace dataplane. */
export class NativeDataplane implements Dataplane {
  readonly #native = new NativeGateway();
  #handler: (events: readonly DataplaneEvent[]) => void = () => {};
  /** Verbs that make an SA and are not answered yet: events wait for them (the ordering promise). */
  #pendingAdds = 0;
  #held: DataplaneEvent[] = [];
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
    const told = events.flatMap((event) => dataplaneEvent(event) ?? []);
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
    this.#requireOpen();
    const fault = saFault(sa);
    if (fault !== null) {
      throw new UsageError('IPSEC_ERR_SA_INVALID', `SA ${sa.id.spi} of ${sa.entry}: ${fault}.`);
    }
    this.#pendingAdds += 1;
    try {
      check(
        await this.#native.addSa({
          outbound: sa.id.direction === 'outbound',
          spi: sa.id.spi,
          entry: sa.entry,
          selector: nativeSelector(sa.selector),
          suite: sa.suite,
          key: sa.key,
          local: sa.local,
          remote: sa.remote,
          encapsulation: sa.encapsulation,
          localPort: sa.localPort,
          remotePort: sa.remotePort,
          esn: sa.esn,
          replayWindow: sa.replayWindow,
          sequenceNumber: sa.sequenceNumber,
          ...(sa.reservedUpTo === null ? {} : { reservedUpTo: sa.reservedUpTo }),
          tfcPadToBytes: sa.tfcPadToBytes,
          dontFragment: sa.dontFragment,
        }),
      );
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

  async updateSa(
    id: SaId,
    change: { readonly remote: string; readonly remotePort: number },
  ): Promise<void> {
    this.#requireOpen();
    const { remote, remotePort } = change;
    if (tryParseIpAddress(remote) === null || !isPort(remotePort)) {
      throw new UsageError(
        'IPSEC_ERR_SA_INVALID',
        `${remote} port ${remotePort} is no endpoint: an IP address and a port of 1..65535 are.`,
      );
    }
    const outbound = id.direction === 'outbound';
    check(await this.#native.updateSa(outbound, id.spi, remote, remotePort));
  }

  async deleteSa(id: SaId): Promise<SaState> {
    this.#requireOpen();
    const { sas } = check(await this.#native.deleteSa(id.direction === 'outbound', id.spi));
    const [state] = sas;
    if (state === undefined) throw new InternalError('IPSEC_ERR_INTERNAL', 'No state was told.');
    return saState(state);
  }

  async querySad(): Promise<readonly SaState[]> {
    this.#requireOpen();
    return check(await this.#native.querySad()).sas.map(saState);
  }

  async sendIke(datagrams: readonly IkeDatagram[]): Promise<void> {
    this.#requireOpen();
    for (const { local, remote, remotePort, payload } of datagrams) {
      check(await this.#native.sendIke(local, remote, remotePort, payload));
    }
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
