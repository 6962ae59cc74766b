import type { Clock, Timer } from '../clock.js';
import type { DataplaneEvent } from '../dataplane/dataplane.js';
import type { Logger } from '../log.js';

/** Records of one reason that are written out in full before they are summed up. */
export const AUDIT_FULL_COUNT = 10;
/** How often what was not written out is summed up. */
export const AUDIT_SUMMARY_MS = 10_000;
/** Most reasons that are told apart: the datapath has fewer. */
const REASON_COUNT_MAX = 128;

type AuditEvent = Extract<DataplaneEvent, { kind: 'audit' }>;

interface Tally {
  writtenOut: number;
  /** Packets since the last summary that have no line of their own. */
  unwritten: bigint;
}

/**
 * Writes the auditable events of RFC 4301 section 5 and RFC 4303 section 4 to the log.
 *
 * An attacker decides how many there are, so of each reason the first are written out and the rest
 * is one line every ten seconds; a quiet interval starts anew.
 */
export class AuditLog {
  private readonly tallies = new Map<string, Tally>();
  private timer: Timer | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly log: Logger,
  ) {}

  /** Takes one event of the datapath. */
  record(event: AuditEvent): void {
    const reason =
      this.tallies.has(event.reason) || this.tallies.size < REASON_COUNT_MAX
        ? event.reason
        : 'other';
    const tally = this.tallies.get(reason) ?? { writtenOut: 0, unwritten: 0n };
    this.tallies.set(reason, tally);
    this.timer ??= this.clock.schedule(AUDIT_SUMMARY_MS, () => this.summarise());
    if (tally.writtenOut >= AUDIT_FULL_COUNT) {
      tally.unwritten += event.count;
      return;
    }
    tally.writtenOut += 1;
    this.log.warn('Refused a packet (audit).', {
      reason,
      // Packets that never came near an SA have neither.
      ...(event.spi === 0
        ? {}
        : {
            spi: `0x${event.spi.toString(16).padStart(8, '0')}`,
            sequenceNumber: event.sequenceNumber,
          }),
      source: event.source,
      destination: event.destination,
      count: event.count,
    });
  }

  private summarise(): void {
    this.timer = undefined;
    for (const [reason, tally] of this.tallies) {
      if (tally.unwritten === 0n) {
        this.tallies.delete(reason);
        continue;
      }
      this.log.warn('Refused more packets for the same reason (audit).', {
        reason,
        count: tally.unwritten,
        seconds: AUDIT_SUMMARY_MS / 1000,
      });
      tally.unwritten = 0n;
    }
    if (this.tallies.size > 0) {
      this.timer = this.clock.schedule(AUDIT_SUMMARY_MS, () => this.summarise());
    }
  }

  /** Writes what is not written yet and stops the timer. Idempotent. */
  close(): void {
    this.timer?.cancel();
    this.timer = undefined;
    for (const [reason, { unwritten }] of this.tallies) {
      if (unwritten > 0n) {
        this.log.warn('Refused more packets for the same reason (audit).', {
          reason,
          count: unwritten,
        });
      }
    }
    this.tallies.clear();
  }
}
