/** A capture that runs while its agent does other things. */
import { setImmediate } from 'node:timers/promises';
import type { Tally } from './agent-protocol.js';
import { type EspPacket, type IkeMessage, look } from './frame.js';
import { openPacketSocket, type PacketSocket } from './native.js';

const FRAMES_A_TURN = 64;
/** The agent answers nobody while it waits. */
const WAIT_MS = 4;

/** What to look for. */
export interface CaptureOptions {
  readonly link: string;
  readonly mtuBytes: number;
  readonly marker: string | null;
  readonly keep: { readonly spi: number; readonly count: number } | null;
}

/** Counts the frames of one link, both ways, from its start to its stop. */
export class Capture {
  private readonly socket: PacketSocket;
  private readonly marker: Buffer | null;
  private readonly kept: EspPacket[] = [];
  private readonly counts = {
    frameCount: 0,
    byteCount: 0,
    espCount: 0,
    ikeCount: 0,
    ikeAnswerCount: 0,
    cookieCount: 0,
    cookieAnswerLenMax: 0,
    keepaliveCount: 0,
    arpCount: 0,
    otherCount: 0,
    markedCount: 0,
  };
  private firstIke: Uint8Array | null = null;
  private stopping = false;
  private readonly ended: Promise<void>;

  constructor(private readonly options: CaptureOptions) {
    this.socket = openPacketSocket(options.link);
    this.marker = options.marker === null ? null : Buffer.from(options.marker, 'latin1');
    this.ended = this.run();
  }

  get keptCount(): number {
    return this.kept.length;
  }

  get ikeAnswerCount(): number {
    return this.counts.ikeAnswerCount;
  }

  /** Takes what is there still, and tells. */
  async stop(): Promise<Tally> {
    this.stopping = true;
    await this.ended;
    return { ...this.counts, firstIke: this.firstIke, kept: this.kept };
  }

  private async run(): Promise<void> {
    for (;;) {
      await setImmediate();
      const isLast = this.stopping;
      const frames = this.socket.receive(FRAMES_A_TURN, isLast ? 0 : WAIT_MS);
      for (const frame of frames) this.take(frame);
      if (isLast && frames.length === 0) return;
    }
  }

  private take(frame: Uint8Array): void {
    const { counts, marker } = this;
    counts.frameCount += 1;
    counts.byteCount += frame.length;
    if (marker !== null) {
      const bytes = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength);
      if (bytes.includes(marker)) counts.markedCount += 1;
    }
    const seen = look(frame, this.options.mtuBytes);
    switch (seen.kind) {
      case 'esp':
        counts.espCount += seen.packets.length;
        for (const packet of seen.packets) this.keep(packet);
        break;
      case 'ike':
        this.takeIke(seen.message);
        break;
      case 'keepalive':
        counts.keepaliveCount += 1;
        break;
      case 'arp':
        counts.arpCount += 1;
        break;
      case 'other':
        counts.otherCount += 1;
        break;
    }
  }

  private takeIke({ bytes, isResponse, isCookie }: IkeMessage): void {
    const { counts } = this;
    counts.ikeCount += 1;
    this.firstIke ??= Uint8Array.from(bytes);
    if (!isResponse) return;
    counts.ikeAnswerCount += 1;
    if (!isCookie) return;
    counts.cookieCount += 1;
    counts.cookieAnswerLenMax = Math.max(counts.cookieAnswerLenMax, bytes.length);
  }

  private keep(packet: EspPacket): void {
    const { keep } = this.options;
    if (keep === null || packet.spi !== keep.spi || this.kept.length >= keep.count) return;
    // The frame's own memory would stay with it.
    this.kept.push({ ...packet, bytes: Uint8Array.from(packet.bytes) });
  }
}
