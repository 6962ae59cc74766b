import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { NativePacketSocket } from '../../packages/ipsec-node/native/index.js';
import type { SaValue } from '../../packages/ipsec-node/src/dataplane/dataplane.js';
import { sealEsp } from '../oracle/esp.ts';
import { udpPacket } from '../oracle/packet.ts';
import { CONTRACT_OPTIONS } from './dataplane-contract.js';
import {
  PEER_IKE,
  PEERS,
  type Wire,
  type WireAddress,
  type WireArrival,
} from './dataplane-wire-contract.js';

const SALT_BYTES = 4;

/**
 * The peer on loopback, with ESP by the oracle, and a host behind the gateway by a packet socket on
 * the TUN: no address and no route of this host is changed.
 */
export class LoopbackWire implements Wire {
  readonly #sockets = new Map<string, Socket>();
  readonly #arrivals: WireArrival[] = [];
  #tun: NativePacketSocket | undefined;

  async open(): Promise<void> {
    for (const { address, port } of PEERS) {
      const socket = createSocket({ type: 'udp4', recvBufferSize: 1 << 20 });
      this.#sockets.set(`${address} ${port}`, socket);
      socket.on('message', (bytes, from) => {
        this.#arrivals.push({
          from: { address: from.address, port: from.port },
          to: { address, port },
          spi: bytes.length >= 8 && !isIke(port, bytes) ? bytes.readUInt32BE(0) : null,
          bytes: Uint8Array.from(bytes),
        });
      });
      socket.bind(port, address);
      await once(socket, 'listening');
    }
    this.#tun = new NativePacketSocket(CONTRACT_OPTIONS.interface.name);
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets.values()) socket.close();
    this.#sockets.clear();
    this.#tun = undefined;
  }

  async send(from: WireAddress, to: WireAddress, bytes: Uint8Array): Promise<void> {
    const socket = this.#sockets.get(`${from.address} ${from.port}`);
    if (socket === undefined) throw new Error(`${from.address} is no peer`);
    await new Promise<void>((resolve, reject) => {
      socket.send(bytes, to.port, to.address, (error) => {
        if (error === null) resolve();
        else reject(error);
      });
    });
  }

  async sendEsp(from: WireAddress, sa: SaValue, sequenceNumber: bigint): Promise<void> {
    const inner = udpPacket(
      { source: '10.2.0.9', destination: '10.1.0.9', sourcePort: 2000, destinationPort: 1000 },
      Buffer.from('from the peer'),
    );
    const oracle = {
      spi: sa.id.spi,
      suite: 'aes256gcm16',
      key: sa.key.slice(0, -SALT_BYTES),
      salt: sa.key.slice(-SALT_BYTES),
      esn: sa.esn,
    } as const;
    const packet = sealEsp(oracle, inner, 4, { sequence: sequenceNumber });
    await this.send(from, { address: sa.local, port: sa.localPort }, packet);
  }

  async emit(): Promise<void> {
    const packet = udpPacket(
      { source: '10.1.0.9', destination: '10.2.0.9', sourcePort: 1000, destinationPort: 2000 },
      Buffer.from('to the peer'),
    );
    this.#tun?.send(packet);
    await new Promise((resolve) => setImmediate(resolve));
  }

  arrivals(): readonly WireArrival[] {
    return this.#arrivals;
  }
}

/** On the peer's port of IKE all, on that of encapsulation what has the Non-ESP Marker. */
function isIke(port: number, bytes: Buffer): boolean {
  return port === PEER_IKE.port || bytes.readUInt32BE(0) === 0;
}
