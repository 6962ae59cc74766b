/** What is wrong with what the guest found: nothing, if the two ends understand each other. */

import type { CaseResult } from '../../lab/guest.ts';
import {
  type Aftermath,
  type ChecksumFindings,
  type CrossingFindings,
  EXTRA,
  EXTRAS,
  type Link,
  type LinkFindings,
  MARK_COUNT,
  type MarkFindings,
  type PaddingFindings,
  type ReplayFindings,
  spiOf,
  STAGES,
  type Transfer,
} from './plan.ts';

export type Results = ReadonlyMap<string, CaseResult>;

/** One line for each fault. */
export type Faults = readonly string[];

/**
 * What a case returned. It comes from our own module in the guest by JSON, so its shape is that of
 * the module.
 */
function findings<T>(results: Results, name: string): T {
  const result = results.get(name);
  if (result === undefined) throw new Error(`the guest did not get to: ${name}`);
  if (result.error !== undefined) throw new Error(result.error);
  return result.value as T;
}

/** The faults that `judge` finds; one, when the case itself failed. */
function judged<T>(results: Results, name: string, judge: (value: T) => Faults): Faults {
  try {
    return judge(findings<T>(results, name));
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)];
  }
}

function expectSame(what: string, found: unknown, expected: unknown): Faults {
  const [is, should] = [JSON.stringify(found), JSON.stringify(expected)];
  return is === should ? [] : [`${what}: ${is} instead of ${should}`];
}

function expectAtLeast(what: string, found: number, least: number): Faults {
  return found >= least ? [] : [`${what}: ${found} is less than ${least}`];
}

function transferFaults(what: string, { sent, received }: Transfer): Faults {
  return expectSame(`SHA-256 of the transfer ${what}`, received, sent);
}

interface OurSa {
  readonly direction: string;
  readonly spi: number;
  readonly packets: number;
  readonly sequenceNumber: number;
  readonly drops: Readonly<Record<string, number>>;
}

/** Both ends have the same numbers of the same SA, every packet has one of its own, none is refused. */
function saFaults(
  link: Link,
  receiver: 'ours' | 'kernel',
  aftermath: Pick<Aftermath, 'ourSas' | 'kernelStates'>,
): Faults {
  const spi = spiOf(receiver, link);
  const direction = receiver === 'ours' ? 'inbound' : 'outbound';
  const sas = aftermath.ourSas as readonly OurSa[];
  const ours = sas.find((sa) => sa.spi === spi && sa.direction === direction);
  const kernel = aftermath.kernelStates[String(spi)];
  if (ours === undefined || kernel === undefined) return [`${direction}: an SA is gone`];
  const number = (link.used ?? 0) + ours.packets;
  const kernelNumber = receiver === 'ours' ? kernel.sent : kernel.received;
  return [
    // A transfer of 256 KiB, and the acknowledgements of the other.
    ...expectAtLeast(`${direction} packets`, ours.packets, 190),
    ...expectSame(`${direction} packets of the kernel`, kernel.packets, ours.packets),
    ...expectSame(`${direction} number`, ours.sequenceNumber, number),
    ...expectSame(`${direction} number of the kernel`, kernelNumber, number),
    ...expectSame(`${direction} drops`, ours.drops, {}),
    ...expectSame(
      `${direction} errors of the kernel`,
      [kernel.tooOld, kernel.replays, kernel.failed],
      [0, 0, 0],
    ),
  ];
}

function trafficFaults(found: LinkFindings): Faults {
  return [
    ...transferFaults('to the kernel', found.toKernel),
    ...transferFaults('to us', found.toOurs),
    ...expectSame('ping answered', found.pingAnswered, true),
    ...expectSame('xfrm_stat', found.kernelErrors, {}),
  ];
}

export function linkFaults(results: Results, link: Link): Faults {
  const traffic = judged<LinkFindings>(results, link.name, trafficFaults);
  const numbers = judged<Aftermath>(results, STAGES.after, (aftermath) => [
    ...saFaults(link, 'ours', aftermath),
    ...saFaults(link, 'kernel', aftermath),
  ]);
  return [...traffic, ...numbers];
}

export function aftermathFaults(results: Results): Faults {
  return judged<Aftermath>(results, STAGES.after, (aftermath) => [
    ...expectSame('our drops', aftermath.ourDrops, {}),
    ...expectSame('xfrm_stat', aftermath.kernelErrors, {}),
    ...expectSame('xfrm_stat beside us', Object.keys(aftermath.besideUs), ['XfrmInNoStates']),
  ]);
}

/** ESN over 2^32: the high half is not sent, and each end has to find it. */
export function crossingFaults(results: Results): Faults {
  const link = EXTRAS.find(({ used }) => used !== undefined);
  if (link === undefined) return ['no link begins so high'];
  return judged<CrossingFindings>(results, STAGES.crossing, (found) => [
    ...trafficFaults(found),
    ...expectSame('our drops', found.ourDrops, {}),
    ...saFaults(link, 'ours', found),
    ...saFaults(link, 'kernel', found),
  ]);
}

export function checksumFaults(results: Results): Faults {
  return judged<readonly ChecksumFindings[]>(results, STAGES.checksums, (found) =>
    found.flatMap((each) => [
      ...transferFaults(`to us over IPv${each.outer}`, each.transfer),
      ...expectAtLeast('packets of the kernel', each.kernelPackets, 70),
      ...expectAtLeast('packets of ours', each.ourPackets, 2),
      // RFC 3948 section 2.1: over IPv4 it should be zero, and receivers must not depend on that.
      ...expectSame('zero', each.kernelZero, each.outer === 4 ? each.kernelPackets : 0),
      ...(each.outer === 6 ? expectSame('zero of ours', each.ourZero, 0) : []),
    ]),
  );
}

/** An IPv4 header, and of ESP the header, the IV, the shortest trailer and the ICV. */
const AROUND_PAYLOAD = 20 + 8 + 8 + 2 + 16;

export function paddingFaults(results: Results): Faults {
  const { ours, kernels } = EXTRA.padding.tfc;
  return judged<PaddingFindings>(results, STAGES.padding, (found) => [
    ...expectSame('ping answered', found.pingAnswered, true),
    ...expectAtLeast('our shortest', found.shortest.ours, ours + AROUND_PAYLOAD),
    ...expectAtLeast('its shortest', found.shortest.kernel, kernels + AROUND_PAYLOAD),
    ...transferFaults('to the kernel', found.toKernel),
    ...transferFaults('to us', found.toOurs),
    ...expectSame('xfrm_stat', found.kernelErrors, {}),
  ]);
}

export function replayFaults(results: Results): Faults {
  return judged<ReplayFindings>(results, STAGES.replay, (found) => [
    ...expectAtLeast('copies of ours', found.sent.ours, 3),
    ...expectAtLeast('copies of the kernel', found.sent.kernel, 3),
    ...expectSame('our drops', found.ourDrops, { replay_duplicate: found.sent.kernel }),
    ...expectSame('xfrm_stat', found.kernelErrors, { XfrmInStateSeqError: found.sent.ours }),
    ...expectSame('ping answered after it', found.pingAnswered, true),
  ]);
}

export function markFaults(results: Results): Faults {
  const all = (mark: number): readonly number[] => Array.from({ length: MARK_COUNT }, () => mark);
  return judged<MarkFindings>(results, STAGES.marks, (found) => [
    ...expectSame('at our end', found.arrived.ours, {
      unmarked: all(0b10),
      marked: all(0b11),
      // RFC 6040 section 4.2: congestion told to who cannot hear it is told by a loss.
      deaf: [],
    }),
    ...expectSame('our drops', found.ourDrops, { ecn_not_capable: MARK_COUNT }),
    // The kernel delivers those all the same.
    ...expectSame('at the kernel', found.arrived.kernel, {
      unmarked: all(0b10),
      marked: all(0b11),
      deaf: all(0b00),
    }),
  ]);
}

export function stopFaults(results: Results): Faults {
  return judged<{ readonly status: number }>(results, STAGES.stop, ({ status }) =>
    expectSame('exit status', status, 0),
  );
}

export function kernelRelease(results: Results): string {
  return findings<{ readonly release: string }>(results, STAGES.start).release;
}
