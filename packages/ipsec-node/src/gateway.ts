import { EventEmitter } from 'node:events';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { type Clock, systemClock } from './clock.js';
import {
  compileAssociations,
  compilePad,
  compileSpd,
  encapsulationsOf,
  tunnelMtu,
} from './config/compile.js';
import { type ConfigDocument, documentOfValue } from './config/document.js';
import {
  type ExplainedSa,
  type ExplainQuery,
  type Explanation,
  explain,
} from './config/explain.js';
import type { GatewayConfig } from './config/gateway-config.js';
import { readConfigFile } from './config/load.js';
import { parseConfigWithKeys, wipeConfig } from './config/parse.js';
import type { GatewayConfigInput } from './config/schema.js';
import { hostSecretSource } from './config/secret-source.js';
import { requireGatewayPrivileges } from './daemon/host/capabilities.js';
import {
  openControlSocket,
  requireFreeControlSocket,
  watchDaemon,
} from './daemon/control-socket.js';
import { Daemon, type DaemonEvents } from './daemon/daemon.js';
import {
  hostInterfaceSides,
  interfaceMtu,
  protectedNetworks,
} from './daemon/host/interface-sides.js';
import type {
  CountersSnapshot,
  GatewayStatus,
  PolicySnapshot,
  SaSnapshot,
} from './daemon/snapshot.js';
import { packageVersion } from './daemon/version.js';
import type { ViciServer } from './daemon/vici/server.js';
import { AddressWatch, interfaceAddresses } from './daemon/host/address-watch.js';
import { ComputePool } from './daemon/ike/compute-pool.js';
import { GatewayIke } from './daemon/ike/gateway-ike.js';
import type { IkeControl } from './daemon/ike/ike-control.js';
import { IkeDriver } from './daemon/ike/ike-driver.js';
import { KeptKeys } from './daemon/capture/capture-keys.js';
import type { PacketSocket } from './daemon/capture/capture.js';
import type { HostAccess } from './daemon/host/guard.js';
import type { Finding } from './daemon/host/doctor.js';
import type { Dataplane, DataplaneOptions } from './dataplane/dataplane.js';
import { InternalError, ResourceError, UsageError } from './errors.js';
import { type Logger, silentLogger } from './log.js';

/** What a gateway may be given besides its configuration. */
export interface GatewayOptions {
  /** Another dataplane than the native one: a twin for tests, mostly. */
  readonly dataplane?: Dataplane;
  /** Silent unless given. */
  readonly log?: Logger;
  readonly clock?: Clock;
  /** Whether the control socket is served; true unless said otherwise. */
  readonly control?: boolean;
  /**
   * Whether whoever may open the control socket can ask for the keys of SAs, for captures. They are
   * kept from the start on and wiped at the end; false unless said otherwise.
   */
  readonly captureKeys?: boolean;
}

/** What a gateway tells. */
export type GatewayEvents = DaemonEvents & { readonly close: [] };

/**
 * A running gateway: the boundary, the policy and the SAs of one configuration.
 *
 * @example
 * ```ts
 * await using gateway = await Gateway.open('ipsec.yaml');
 * gateway.on('audit', ({ reason, spi }) => console.warn(reason, spi));
 * ```
 */
export class Gateway extends EventEmitter<GatewayEvents> {
  private control: ViciServer | undefined;
  private ike: IkeControl | null = null;
  private addresses: AddressWatch | null = null;
  private keptKeys: KeptKeys | null = null;
  private closing: Promise<void> | undefined;

  private constructor(
    private readonly daemon: Daemon,
    private readonly configuration: GatewayConfig,
  ) {
    super();
    daemon.on('audit', (event) => this.emit('audit', event));
    daemon.on('acquire', (event) => this.emit('acquire', event));
    daemon.on('expire', (event) => this.emit('expire', event));
    daemon.on('firstUse', (event) => this.emit('firstUse', event));
    daemon.on('guard', (event) => this.emit('guard', event));
    daemon.on('fault', (event) => this.emit('fault', event));
  }

  /**
   * Starts a gateway from a file or from an object of the same shape. Resolves when every SA is
   * installed and the control socket answers.
   *
   * @throws ConfigError with every fault of the configuration; nothing was started.
   * @throws ResourceError where the host lacks a privilege, device, directory or port; what was
   *   begun is undone, but a guard that was installed stays (`onStop: guard`).
   */
  static async open(
    source: string | GatewayConfigInput,
    options: GatewayOptions = {},
  ): Promise<Gateway> {
    const config = await configOf(source);
    try {
      return await Gateway.start(config, source, options);
    } finally {
      wipeConfig(config);
    }
  }

  private static async start(
    config: GatewayConfig,
    source: string | GatewayConfigInput,
    options: GatewayOptions,
  ): Promise<Gateway> {
    const { gateway: settings } = config;
    const log = options.log ?? silentLogger;
    const clock = options.clock ?? systemClock;
    const control = options.control === false ? null : settings.control;
    if (options.dataplane === undefined) {
      requireGatewayPrivileges(udpPortsOf(config));
    }
    if (control !== null) await requireFreeControlSocket(control);
    const native = options.dataplane === undefined ? await nativeModule() : undefined;
    const dataplane = options.dataplane ?? new (await nativeModule()).NativeDataplane();
    const dataplaneOptions = dataplaneOptionsOf(config);
    const hostAddresses = (): readonly string[] =>
      dataplaneOptions.ike ? interfaceAddresses(dataplaneOptions.unprotectedInterfaces) : [];
    const spd = compileSpd(config, 1, hostAddresses());
    const request = { options: dataplaneOptions, spd };
    const keptKeys = options.captureKeys === true ? new KeptKeys() : null;
    if (keptKeys !== null) {
      log.warn('The keys of SAs can be asked for over the control socket, for captures.');
    }
    if (native !== undefined && dataplaneOptions.ike) await requireSoundAlgorithms();
    const driver = dataplaneOptions.ike
      ? new IkeDriver({
          pad: compilePad(config),
          ports: { ike: settings.ikePort, nat: settings.port },
          dataplane,
          compute: new ComputePool({ threads: computeThreads() }),
          clock,
          log,
          keptKeys,
        })
      : undefined;
    const daemon = await Daemon.start({
      ...(driver === undefined ? {} : { ike: driver }),
      name: settings.name,
      keptKeys,
      version: packageVersion(),
      spd,
      sas: compileAssociations(config),
      options: request.options,
      stateDirectory: settings.stateDirectory,
      control,
      ...(native === undefined
        ? {}
        : { closeFirst: async () => (await native.installGuard(request)).found }),
      dataplane,
      clock,
      log,
    }).catch(async (error: unknown) => {
      if (settings.onStop === 'open') {
        await native?.removeGuard(settings.name, settings.interface.name).catch(() => undefined);
      }
      throw error;
    });
    const gateway = new Gateway(daemon, config);
    gateway.keptKeys = keptKeys;
    if (driver !== undefined) {
      const ike = new GatewayIke({
        driver,
        config,
        readConfig: typeof source === 'string' ? () => configOf(source) : null,
        replaceSpd: (next) => daemon.replaceSpd(next),
        spdVersion: () => daemon.spd.version,
        hostAddresses,
      });
      gateway.ike = ike;
      gateway.addresses = new AddressWatch(clock, hostAddresses, async () => {
        await ike.handleAddressChange().catch((error: unknown) => {
          log.warn('A change of addresses could not be followed.', { reason: String(error) });
        });
      });
    }
    if (control === null) return gateway;
    try {
      gateway.control = await openControlSocket(
        control,
        {
          ike: gateway.ike,
          captureKeys: keptKeys,
          onEvent: (listener) => watchDaemon(daemon, clock, listener),
          status: () => gateway.status(),
          sas: () => gateway.sas(),
          policies: () => gateway.policies(),
          counters: () => gateway.counters(),
          explain: (query) => gateway.explain(query),
        },
        log,
      );
      return gateway;
    } catch (error) {
      await daemon.stop();
      keptKeys?.close();
      throw error;
    }
  }

  /** The configuration it was opened with. Its keys are wiped. */
  get config(): GatewayConfig {
    return this.configuration;
  }

  /**
   * Says which entry of the SPD in force decides a packet, why earlier ones do not, and which SA
   * carries it.
   *
   * @throws UsageError IPSEC_ERR_EXPLAIN_SYNTAX
   */
  async explain(query: ExplainQuery): Promise<Explanation> {
    const associations = (await this.daemon.sas()).map(
      ({ id, entry, suite, local, remote, encapsulation }): ExplainedSa => ({
        id,
        entry,
        suite,
        local,
        remote,
        encapsulation,
      }),
    );
    return explain(this.daemon.spd, associations, query);
  }

  /** The gateway as a whole. */
  status(): GatewayStatus {
    return this.daemon.status();
  }

  /** Every SA, and what packets did to it. Never a key. */
  sas(): Promise<readonly SaSnapshot[]> {
    return this.daemon.sas();
  }

  /** The SPD in order, built-in entries included. */
  policies(): readonly PolicySnapshot[] {
    return this.daemon.policies();
  }

  /** All counters, and the refusals of single SAs. */
  counters(): Promise<CountersSnapshot> {
    return this.daemon.counters();
  }

  /**
   * Applies the edited file, or changes nothing. Resolves with one sentence for each change.
   *
   * @throws ConfigError with every fault of the file.
   * @throws UsageError where the gateway has no peers: manually keyed SAs are not reloaded.
   */
  async reload(): Promise<{ readonly changes: readonly string[] }> {
    if (this.ike === null) {
      throw new UsageError(
        'IPSEC_ERR_USAGE',
        'A gateway without peers is not reloaded: restart it; the guard holds meanwhile.',
      );
    }
    return this.ike.reload();
  }

  /** Stops in the order of docs/closing.md. Idempotent; all callers wait for the one stop. */
  close(): Promise<void> {
    this.closing ??= this.shutDown();
    return this.closing;
  }

  private async shutDown(): Promise<void> {
    this.addresses?.stop();
    await this.control?.close();
    try {
      await this.daemon.stop();
    } finally {
      this.keptKeys?.close();
      this.emit('close');
    }
  }

  /** As {@link close}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

async function configOf(source: string | GatewayConfigInput): Promise<GatewayConfig> {
  const document: ConfigDocument =
    typeof source === 'string'
      ? await readConfigFile(source)
      : documentOfValue(source, resolve('.'));
  const parsed = await parseConfigWithKeys(document, {
    secrets: hostSecretSource(process.env),
    tolerateDeniedSecrets: false,
  });
  return parsed.config;
}

/**
 * Whether SAs are negotiated. A gateway with manual keys alone opens no socket for IKE; one without
 * peers may be given some by a reload or over the control socket.
 */
function usesIke(config: GatewayConfig): boolean {
  return config.peers.length > 0 || config.associations.length === 0;
}

/**
 * Runs every algorithm that can be negotiated against a known answer: one that the libraries of this
 * host get wrong must not be found out by a peer.
 *
 * @throws InternalError IPSEC_ERR_INTERNAL
 */
async function requireSoundAlgorithms(): Promise<void> {
  const { selfTest } = await import('./ike/crypto/self-test.js');
  const failed = await selfTest();
  if (failed.length === 0) return;
  throw new InternalError(
    'IPSEC_ERR_INTERNAL',
    `The gateway does not start: ${failed.join(', ')} failed the known-answer test of this host.`,
    { fields: { failed: failed.join(', ') } },
  );
}

/** Threads for the slow work of IKE: one processor is left to packets and to JavaScript. */
function computeThreads(): number {
  return Math.min(Math.max(availableParallelism() - 1, 1), 4);
}

/** The UDP ports that a gateway listens on: that of IKE where it negotiates. */
export function udpPortsOf(config: GatewayConfig): readonly number[] {
  const { ikePort, port } = config.gateway;
  return usesIke(config) ? [ikePort, port] : [port];
}

/**
 * What a dataplane is opened with. What the file leaves open is found on this host: the sides of its
 * interfaces from the routes, the MTU from the unprotected ones.
 */
export function dataplaneOptionsOf(config: GatewayConfig): DataplaneOptions {
  const { gateway } = config;
  const named = gateway.unprotected !== null || gateway.protected !== null;
  const peers = [
    ...config.associations.map(({ remote }) => remote),
    ...config.peers.flatMap(({ hosts }) =>
      hosts.flatMap((host) => (host.kind === 'address' ? [host.address] : [])),
    ),
  ];
  const sides = named
    ? {
        unprotected: gateway.unprotected ?? [],
        protected: gateway.protected ?? [],
        paths: gateway.unprotected ?? [],
      }
    : hostInterfaceSides(peers, gateway.interface.name, protectedNetworks(compileSpd(config, 1)));
  const mtus = sides.paths.flatMap((name) => interfaceMtu(name) ?? []);
  return {
    gateway: gateway.name,
    interface: {
      name: gateway.interface.name,
      mtu: tunnelMtu(config, ...(mtus.length === 0 ? [] : [Math.min(...mtus)])),
    },
    listen: gateway.listen,
    port: gateway.port,
    ikePort: gateway.ikePort,
    ike: usesIke(config),
    // Which of the two a peer needs shows when it has looked for a NAT.
    encapsulations: usesIke(config) ? ['udp', 'esp'] : encapsulationsOf(config),
    protectedInterfaces: sides.protected,
    unprotectedInterfaces: sides.unprotected,
    offload: gateway.offload,
    onStop: gateway.onStop,
    boundary: true,
  };
}

/** What the module of the native dataplane exports. */
export interface NativeModule extends HostAccess {
  readonly NativeDataplane: new () => Dataplane;
  /** What only native code can find out about the host. */
  probeHost(): Promise<readonly Finding[]>;
  /** Frames of one interface, for captures. Needs CAP_NET_RAW. */
  openPacketSocket(link: string): PacketSocket;
}

/**
 * Loads the native dataplane's module when it is first needed: importing the package loads no native
 * code and starts no thread.
 *
 * @throws ResourceError IPSEC_ERR_NATIVE_UNAVAILABLE where it is not built for this platform.
 */
export async function nativeModule(): Promise<NativeModule> {
  try {
    return await import('./dataplane/native-dataplane.js');
  } catch (cause) {
    throw new ResourceError(
      'IPSEC_ERR_NATIVE_UNAVAILABLE',
      `The native datapath cannot be loaded on ${process.platform} ${process.arch}.`,
      { cause },
    );
  }
}
