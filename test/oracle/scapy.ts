/** Scapy's ESP as a second oracle, in a Python process of its own (scapy-esp.py). */

import { Program } from '../lab/command.ts';
import { PeerMissing, scapyPython } from '../lab/peer.ts';
import { repositoryRoot } from '../lab/registry.ts';
import type { OracleSa } from './esp.ts';
import { VectorRecord } from './vector-file.ts';

export interface ScapySealed {
  readonly inner: Uint8Array;
  /** All 64 bits where the SA uses ESN. */
  readonly sequence: bigint;
  readonly iv: Uint8Array;
  readonly tunnel: { readonly source: string; readonly destination: string };
  readonly udp?: { readonly sourcePort: number; readonly destinationPort: number };
}

export interface ScapyOpened {
  /** Payload and TFC padding. */
  readonly data: Buffer;
  readonly padding: Buffer;
  readonly nextHeader: number;
}

const INTEGRITY: Readonly<Record<string, string>> = {
  sha1: 'HMAC-SHA1-96',
  sha256: 'SHA2-256-128',
  sha384: 'SHA2-384-192',
  sha512: 'SHA2-512-256',
};

function association(sa: OracleSa): Readonly<Record<string, unknown>> {
  const { spi, esn } = sa;
  const [, hash] = sa.suite.split('-');
  const hex = (...parts: Uint8Array[]): string => Buffer.concat(parts).toString('hex');
  if (hash !== undefined) {
    const [material, integrityKey] = [hex(sa.key), hex(sa.salt)];
    return { spi, cipher: 'AES-CBC', material, esn, integrity: INTEGRITY[hash], integrityKey };
  }
  const cipher = sa.suite === 'chacha20poly1305' ? 'CHACHA20-POLY1305' : 'AES-GCM';
  return { spi, cipher, material: hex(sa.key, sa.salt), esn };
}

export class ScapyOracle {
  readonly #program: Program;
  #answered = 0;
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(program: Program) {
    this.#program = program;
  }

  /** Throws PeerMissing where no Python has scapy. */
  static start(): ScapyOracle {
    const python = scapyPython();
    if (python === undefined) throw new PeerMissing('python3 -m pip install scapy cryptography');
    const script = `${repositoryRoot}/test/oracle/scapy-esp.py`;
    return new ScapyOracle(new Program([python, '-u', script]));
  }

  /** The whole outer packet that scapy makes. */
  async seal(sa: OracleSa, packet: ScapySealed): Promise<Buffer> {
    const answer = await this.#ask({
      op: 'seal',
      sa: association(sa),
      inner: Buffer.from(packet.inner).toString('hex'),
      seq: Number(packet.sequence % 2n ** 32n),
      seqHigh: Number(packet.sequence / 2n ** 32n),
      iv: Buffer.from(packet.iv).toString('hex'),
      tunnel: packet.tunnel,
      udp: packet.udp,
    });
    return answer.hex('outer');
  }

  /** Opens an ESP packet (from its SPI on); undefined when scapy finds the ICV wrong. */
  async open(sa: OracleSa, esp: Uint8Array, sequence: bigint): Promise<ScapyOpened | undefined> {
    const answer = await this.#ask({
      op: 'open',
      sa: association(sa),
      esp: Buffer.from(esp).toString('hex'),
      seqHigh: Number(sequence / 2n ** 32n),
    });
    if (answer.has('refused')) return undefined;
    return {
      data: answer.hex('data'),
      padding: answer.hex('padding'),
      nextHeader: answer.number('nextHeader'),
    };
  }

  async close(): Promise<void> {
    this.#program.closeInput();
    await this.#program.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #ask(request: Readonly<Record<string, unknown>>): Promise<VectorRecord> {
    const turn = this.#queue.then(() => this.#exchange(request));
    this.#queue = turn.catch(() => undefined);
    return turn;
  }

  async #exchange(request: Readonly<Record<string, unknown>>): Promise<VectorRecord> {
    this.#program.write(`${JSON.stringify(request)}\n`);
    this.#answered += 1;
    const line = await this.#program.line(this.#answered, 60_000);
    const answer = VectorRecord.of('scapy', JSON.parse(line));
    if (answer.has('error')) throw new Error(`scapy: ${answer.text('error')}`);
    return answer;
  }
}
