/**
 * From a datagram to payloads: the Encrypted payload is opened, fragments are collected (RFC 7383),
 * and what AUTH covers of IKE_INTERMEDIATE is kept.
 */
import { intAuthStep } from './crypto/key-schedule.js';
import { Reassembly } from './fragmentation.js';
import type { IkeSa } from './ike-sa.js';
import { encodeEncryptedHead, parsePayloads } from './payload/codec.js';
import { EXCHANGE_NUMBERS, type IkeHeader, type ReceivedMessage } from './payload/payload.js';
import { openBody } from './sealing.js';
import type { TimerHandle } from './timer-queue.js';

/** Payloads of one message, or why it is malformed. */
export type OpenedMessage = ReturnType<typeof parsePayloads>;
export type MessageFault = Extract<OpenedMessage, { readonly ok: false }>['fault'];

interface Collection {
  readonly id: number;
  readonly isResponse: boolean;
  readonly parts: Reassembly;
  /** What the endpoint has counted of it. */
  bytes: number;
  readonly timer: TimerHandle;
}

export class MessageReader {
  /** One message at a time is put together. */
  private reassembly: Collection | null = null;

  constructor(private readonly sa: IkeSa) {}

  /** The payloads of a message; null where it is not (yet, or not authentically) one. */
  open(message: ReceivedMessage): OpenedMessage | null {
    const { suite, keys } = this.sa;
    if (suite === null || keys === null) {
      return message.encrypted === null ? { ok: true, value: message.payloads } : null;
    }
    // RFC 7296 section 2: once there are keys, a message in clear says nothing.
    if (message.encrypted === null) return null;
    const { cipher } = suite;
    const fromInitiator = !this.sa.isInitiator;
    const plaintext = openBody(cipher, keys, fromInitiator, message);
    if (plaintext === null) {
      this.sa.handleWrongMessage();
      return null;
    }
    const { fragment, firstPayload } = message.encrypted;
    if (fragment === null) return this.parse(message, firstPayload, plaintext);
    if (!this.sa.abilities.fragmentation) return null;
    return this.collect(message, fragment, firstPayload, plaintext);
  }

  private collect(
    message: ReceivedMessage,
    fragment: { readonly number: number; readonly total: number },
    firstPayload: number,
    plaintext: Uint8Array,
  ): OpenedMessage | null {
    const { messageId, isResponse } = message.header;
    if (this.reassembly?.id !== messageId || this.reassembly.isResponse !== isResponse) {
      this.dropReassembly();
      this.reassembly = {
        id: messageId,
        isResponse,
        parts: new Reassembly(),
        bytes: 0,
        timer: this.sa.host.timers.add(this.sa.host.now + this.sa.host.limits.fragmentMs, () =>
          this.dropReassembly(),
        ),
      };
    }
    const { parts } = this.reassembly;
    const outcome = parts.add(
      fragment.number,
      fragment.total,
      firstPayload,
      plaintext,
      this.sa.host.now,
    );
    if (outcome.kind === 'complete') {
      this.dropReassembly();
      return this.parse(message, outcome.firstPayload, outcome.bytes);
    }
    if (outcome.kind === 'refused') {
      // RFC 7383 section 2.6: it is discarded alone. One that came before is every retransmission.
      if (parts.byteLength === 0) this.dropReassembly();
      return null;
    }
    const change = parts.byteLength - this.reassembly.bytes;
    if (!this.sa.host.reserveFragmentBytes(change)) {
      this.dropReassembly();
      this.sa.detail('Fragments were dropped: too many bytes wait in reassembly.');
      return null;
    }
    this.reassembly.bytes += change;
    return null;
  }

  private parse(message: ReceivedMessage, first: number, plaintext: Uint8Array): OpenedMessage {
    this.note(message.header, first, plaintext);
    return parsePayloads(first, plaintext);
  }

  // RFC 9242 section 3.3.2: both messages of an IKE_INTERMEDIATE exchange go into AUTH, as they
  // were before they were sealed and cut.
  note(header: IkeHeader, first: number, plaintext: Uint8Array): void {
    if (header.exchange !== EXCHANGE_NUMBERS.IKE_INTERMEDIATE) return;
    const { suite, keys } = this.sa;
    if (suite === null || keys === null) return;
    const sender = header.isInitiator ? 'initiator' : 'responder';
    const skP = header.isInitiator ? keys.skPi : keys.skPr;
    const head = encodeEncryptedHead({ ...header }, first, plaintext.length, null);
    this.sa.transcript ??= { initiator: null, responder: null };
    this.sa.transcript[sender] = intAuthStep(
      suite.prf,
      skP,
      this.sa.transcript[sender],
      head,
      plaintext,
    );
  }

  /** Drops what waits in reassembly. */
  dropReassembly(): void {
    if (this.reassembly === null) return;
    this.reassembly.timer.cancel();
    this.reassembly.parts.clear();
    this.sa.host.reserveFragmentBytes(-this.reassembly.bytes);
    this.reassembly = null;
  }
}
