import { randomBytes } from 'node:crypto';

/** The part of `ipsec-node/packet` that is measured. */
export interface PacketBatch {
  /** Copies one IP packet into the arena. */
  push(packet: Uint8Array): unknown;
  clear(): unknown;
}

export interface Direction {
  /** Seals every packet of the batch in place. */
  readonly encapsulate: (batch: PacketBatch) => unknown;
  /** Opens every packet of the batch in place. */
  readonly decapsulate: (batch: PacketBatch) => unknown;
}

export interface PacketLibrary {
  newBatch(packets: number, bytesPerPacket: number): PacketBatch;
  /** An outbound SA and the inbound SA that opens what it seals. */
  newSaPair(): Direction;
}

type Constructor = new (parameters: Readonly<Record<string, unknown>>) => object;

/**
 * Loads the library, or says in one line why it cannot be measured. The import is lazy and by a
 * name that the compiler does not follow, so that the bench runs before the package is built.
 */
export async function loadPacketLibrary(): Promise<PacketLibrary | string> {
  const specifier: string = 'ipsec-node/packet';
  let loaded: unknown;
  try {
    loaded = await import(specifier);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    return code === 'ERR_MODULE_NOT_FOUND'
      ? 'it is not built: run `npm run build`'
      : `it cannot be loaded: ${error instanceof Error ? error.message : String(error)}`;
  }
  const constructors: Constructor[] = [];
  for (const name of ['PacketBatch', 'OutboundSa', 'InboundSa']) {
    const found: unknown =
      typeof loaded === 'object' && loaded !== null ? Reflect.get(loaded, name) : undefined;
    if (!isConstructor(found)) {
      return `it exports no ${name}`;
    }
    constructors.push(found);
  }
  const [Batch, Outbound, Inbound] = constructors;
  if (Batch === undefined || Outbound === undefined || Inbound === undefined) {
    return 'it exports too little';
  }
  const library: PacketLibrary = {
    newBatch: (packets, bytesPerPacket) => {
      const batch = new Batch({ packets, bytesPerPacket });
      const push = methodOf(batch, 'push');
      const clear = methodOf(batch, 'clear');
      const wrapped = { push: (packet: Uint8Array) => push(packet), clear: () => clear() };
      batches.set(wrapped, batch);
      return wrapped;
    },
    newSaPair: () => {
      // One direction of one association, as both ends hold it.
      const shared = {
        spi: 0xc0000001,
        suite: 'aes256gcm16',
        key: randomBytes(36),
        encapsulation: 'udp',
        esn: true,
      };
      const outbound = new Outbound({ ...shared, local: '192.0.2.1', remote: '198.51.100.2' });
      const inbound = new Inbound({
        ...shared,
        local: '198.51.100.2',
        remote: '192.0.2.1',
        replayWindow: 1024,
      });
      const encapsulate = methodOf(outbound, 'encapsulate');
      const decapsulate = methodOf(inbound, 'decapsulate');
      return {
        encapsulate: (batch) => encapsulate(batches.get(batch)),
        decapsulate: (batch) => decapsulate(batches.get(batch)),
      };
    },
  };
  return library;
}

const batches = new WeakMap<PacketBatch, object>();

function isConstructor(value: unknown): value is Constructor {
  return typeof value === 'function' && 'prototype' in value;
}

function methodOf(owner: object, name: string): (...args: readonly unknown[]) => unknown {
  const found: unknown = Reflect.get(owner, name);
  if (typeof found !== 'function') {
    throw new Error(`${owner.constructor.name} has no ${name}`);
  }
  return (...args) => {
    const returned: unknown = Reflect.apply(found, owner, args);
    return returned;
  };
}
