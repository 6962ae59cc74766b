/**
 * One Child SA: a pair of SAs in the datapath, and how one pair takes the place of another.
 *
 * At a rekey the side that asked installs both new SAs and sends by the new one at once. The side
 * that answered receives by both, and sends by the new one from the first good packet on it or the
 * Delete of the old on (RFC 7296 section 2.8). Each side receives by the old one for a moment
 * longer: packets are still on their way.
 */
import type { Milliseconds } from '../clock.js';
import { InternalError } from '../errors.js';
import type { ChildTerms } from '../pad/child-terms.js';
import { formatProposal, type Proposal, transformsOf } from '../sad/proposal.js';
import type { SaIdentifier, SaParameters } from '../sad/sa.js';
import {
  encryptionKeyLen,
  integrityKeyLen,
  type SuiteName,
  suiteOfTransforms,
} from '../sad/suite.js';
import { ESN_YES } from '../sad/transform.js';
import type { Selector } from '../spd/selector.js';
import type { ChildSnapshot, SaEndpoint } from './action.js';
import { concatBytes } from './bytes.js';
import { deriveChildKeys } from './crypto/key-schedule.js';
import type { IkeSa } from './ike-sa.js';
import type { IkeSaEnd } from './ike-host.js';
import type { TrafficSelector } from './payload/payload.js';
import { TimerGroup } from './timer-queue.js';

/** What the two agreed on. */
export interface ChildAgreement {
  readonly terms: ChildTerms;
  readonly proposal: Proposal;
  readonly mode: 'tunnel' | 'transport';
  readonly selector: Selector;
  /** As they went over the wire, seen from our side: a rekey offers them again. */
  readonly local: readonly TrafficSelector[];
  readonly remote: readonly TrafficSelector[];
  readonly inboundSpi: number;
  readonly outboundSpi: number;
}

/** The material of a child's keys (RFC 7296 section 2.17). */
export interface ChildKeyMaterial {
  readonly ni: Uint8Array;
  readonly nr: Uint8Array;
  /** Of the key exchanges of this child, in order; empty without PFS. */
  readonly secrets: readonly Uint8Array[];
  /** Whether we were the initiator of the exchange that made the child. */
  readonly areWeInitiator: boolean;
}

/** A rekey of a child as one side sees it. */
export interface ChildRekey {
  readonly nonces: readonly Uint8Array[];
  readonly successor: ChildSa | null;
}

/** The suite of an ESP proposal; null where the datapath has none for it. */
export function suiteOf(proposal: Proposal): SuiteName | null {
  const [encryption] = transformsOf(proposal, 'encryption');
  const [integrity] = transformsOf(proposal, 'integrity');
  return encryption === undefined ? null : suiteOfTransforms(encryption, integrity ?? null);
}

export class ChildSa {
  readonly id: number;
  /** As the PAD has them now: what a rekey asks for. */
  terms: ChildTerms;
  readonly agreement: ChildAgreement;
  state: 'installing' | 'installed' | 'rekeying' | 'rekeyed' | 'deleting' = 'installing';
  ownRekey: ChildRekey | null = null;
  peerRekey: ChildRekey | null = null;
  /** True where this child was made by our request. */
  readonly isOurs: boolean;
  establishedAt: Milliseconds = 0;
  rekeyAt: Milliseconds | null = null;
  /** Another child, of a rekey at the same moment, is kept in its place (RFC 7296 2.8.1). */
  isRedundant = false;
  /** The peer deleted it while our rekey of it is not answered: the answer says what becomes of it. */
  isDeletedByPeer = false;
  /** The child that this one takes the place of. */
  predecessor: ChildSa | null = null;
  private readonly timers: TimerGroup<ChildSa>;
  /** Built, and not yet given to the datapath: the side that answered a rekey. */
  private held: SaParameters | null = null;
  /** `unwanted`: on its way into the datapath, to be taken out as soon as it is there. */
  private outbound: 'none' | 'installing' | 'installed' | 'unwanted' = 'none';
  /** Where the SAs were told to go. */
  private placedAt: SaEndpoint;

  constructor(
    /** The IKE SA that it belongs to; its rekey gives it another. */
    public ike: IkeSa,
    agreement: ChildAgreement,
    isOurs: boolean,
  ) {
    this.id = ike.host.nextNumber();
    this.timers = new TimerGroup<ChildSa>(ike.host.timers, this);
    this.agreement = agreement;
    this.terms = agreement.terms;
    this.isOurs = isOurs;
    this.placedAt = ike.endpoint;
  }

  get inboundSpi(): number {
    return this.agreement.inboundSpi;
  }

  get outboundSpi(): number {
    return this.agreement.outboundSpi;
  }

  /**
   * The parameters of both SAs. The keys are copies in the result; whoever installs them zeroes
   * them. `outbound: 'held'` keeps the one that sends back until {@link switchOver}.
   */
  build(material: ChildKeyMaterial, outbound: 'now' | 'held'): readonly SaParameters[] {
    const { ike } = this;
    const { proposal } = this.agreement;
    const suite = suiteOf(proposal);
    if (suite === null || ike.suite === null || ike.keys === null) {
      throw new InternalError('IPSEC_ERR_INTERNAL', 'A child was agreed on that cannot be built.', {
        fields: { proposal: formatProposal(proposal) },
      });
    }
    const keys = deriveChildKeys(ike.suite.prf, ike.keys.skD, {
      ni: material.ni,
      nr: material.nr,
      secrets: material.secrets,
      encryptionKeyLen: encryptionKeyLen(suite),
      integrityKeyLen: integrityKeyLen(suite),
    });
    const [ours, theirs] = material.areWeInitiator
      ? [keys.initiatorToResponder, keys.responderToInitiator]
      : [keys.responderToInitiator, keys.initiatorToResponder];
    const common = {
      entry: this.terms.name,
      selector: this.agreement.selector,
      suite,
      mode: this.agreement.mode,
      ...ike.endpoint,
      esn: transformsOf(proposal, 'sequence-numbers').some(({ id }) => id === ESN_YES),
      replayWindow: this.terms.replayWindow,
      tfcPadToBytes: this.agreement.mode === 'tunnel' ? this.terms.tfcPadToBytes : 0,
      dontFragment: this.terms.dontFragment,
    };
    const inboundSa: SaParameters = {
      ...common,
      id: { direction: 'inbound', spi: this.inboundSpi },
      key: concatBytes(theirs.encryption, theirs.integrity),
    };
    const outboundSa: SaParameters = {
      ...common,
      id: { direction: 'outbound', spi: this.outboundSpi },
      key: concatBytes(ours.encryption, ours.integrity),
    };
    for (const { encryption, integrity } of [ours, theirs]) {
      encryption.fill(0);
      integrity.fill(0);
    }
    this.placedAt = ike.endpoint;
    // What receives comes first: the peer's first packet may be on its way already.
    if (outbound === 'now') {
      this.outbound = 'installing';
      return [inboundSa, outboundSa];
    }
    this.held = outboundSa;
    return [inboundSa];
  }

  /** What {@link build} gave is in the datapath. */
  settle(): void {
    this.state = 'installed';
    this.establishedAt = this.ike.host.now;
    if (this.outbound === 'installing') this.outbound = 'installed';
    this.followEndpoint();
  }

  /**
   * The peer is ready for the SA that sends: it goes into the datapath, in its turn, so that what is
   * taken out after this is taken out when it is there.
   */
  switchOver(): void {
    const { held } = this;
    const { endpoint, host } = this.ike;
    if (held === null) return;
    this.held = null;
    this.outbound = 'installing';
    this.placedAt = endpoint;
    // The peer may have moved since it was built.
    host.begin({ kind: 'install', sas: [{ ...held, ...endpoint }] }, (result) => {
      if (result.kind === 'install') this.settleHeld(result.refused);
    });
  }

  private settleHeld(refused: string | null): void {
    const wasWanted = this.outbound === 'installing';
    this.outbound = refused === null ? 'installed' : 'none';
    if (!wasWanted) {
      this.retireOutbound();
    } else if (refused === null) {
      this.followEndpoint();
    } else {
      // Without it the child is of no use.
      this.ike.host.giveUpChild(this, `the datapath refused the SA that sends: ${refused}`);
    }
  }

  // The peer, or we, may have moved while the datapath was busy with the SAs.
  private followEndpoint(): void {
    const { endpoint, host } = this.ike;
    if (this.placedAt === endpoint) return;
    this.placedAt = endpoint;
    host.emit({ kind: 'update', sas: this.installedSas, endpoint });
  }

  /** The SAs of this child that are in the datapath. */
  get installedSas(): readonly SaIdentifier[] {
    return [
      { direction: 'inbound', spi: this.inboundSpi },
      ...(this.outbound === 'installed'
        ? [{ direction: 'outbound', spi: this.outboundSpi } as const]
        : []),
    ];
  }

  /** Takes the SA that sends out of the datapath; the one that receives stays. */
  retireOutbound(): void {
    this.dropHeld();
    // Two peers may have chosen the same SPI: before the datapath has taken it, it is not ours.
    if (this.outbound === 'installing') this.outbound = 'unwanted';
    if (this.outbound !== 'installed') return;
    this.outbound = 'none';
    this.ike.host.emit({
      kind: 'delete',
      sas: [{ direction: 'outbound', spi: this.outboundSpi }],
    });
  }

  /** Takes both SAs out of the datapath, and tells that the child is gone unless it was replaced. */
  end(end: IkeSaEnd, reason: string, replaced: boolean): void {
    const { ike } = this;
    const wasInstalled = this.state !== 'installing';
    this.retireOutbound();
    if (wasInstalled) {
      ike.host.emit({ kind: 'delete', sas: [{ direction: 'inbound', spi: this.inboundSpi }] });
    }
    ike.host.indexChild(this.inboundSpi, null);
    ike.host.releaseSpi(this.inboundSpi);
    ike.children = ike.children.filter((child) => child !== this);
    this.timers.clear();
    this.rekeyAt = null;
    const isMissed =
      !replaced && !this.isRedundant && this.state !== 'rekeyed' && !this.predecessorStays();
    if (isMissed && wasInstalled) this.tellDown(end, reason);
  }

  // The peer's rekey has come to nothing: what it was to replace is there yet, and goes on.
  private predecessorStays(): boolean {
    const old = this.predecessor;
    if (old === null || !old.ike.children.includes(old)) return false;
    if (old.peerRekey?.successor === this) old.peerRekey = null;
    if (old.ownRekey?.successor === this) old.ownRekey = null;
    const isOwnUnderWay = old.ownRekey !== null && old.ownRekey.successor === null;
    if (old.state === 'rekeying' && isOwnUnderWay) return true;
    if (old.state !== 'installed' && old.state !== 'rekeying') return false;
    old.ownRekey = null;
    old.state = 'installed';
    old.ike.host.childStays(old);
    return true;
  }

  /** Tells that the child is gone, and nothing is in its place. */
  tellDown(end: IkeSaEnd, reason: string): void {
    const { ike, inboundSpi } = this;
    ike.event({ ...ike.subject(this), kind: 'child-down', inbound: inboundSpi, end, reason });
  }

  /** The child that is in its place after one rekey or more; itself where there is none. */
  get latest(): ChildSa {
    const made = [this.ownRekey, this.peerRekey].map((rekey) => rekey?.successor ?? null);
    const next = made.find((successor) => successor !== null && !successor.isRedundant) ?? null;
    return next === null ? this : next.latest;
  }

  /** Whether another child has taken its place. */
  get isReplaced(): boolean {
    const { latest } = this;
    return latest !== this && latest.ike.children.includes(latest);
  }

  /**
   * Another child took its place: nothing is sent by it any more, and what is on its way is received
   * for a moment longer.
   */
  retire(): void {
    this.state = 'rekeyed';
    this.retireOutbound();
    this.timers.clear();
    this.rekeyAt = null;
    this.setTimer('overlap', this.ike.host.limits.overlapMs, () =>
      this.end('ours', 'replaced by a rekey', true),
    );
  }

  /** Sets the timer of that name, in place of the one before. `run` is given this child. */
  setTimer(name: string, after: Milliseconds, run: (child: ChildSa) => void): void {
    this.timers.set(name, this.ike.host.now + after, run);
  }

  /** It never was: its SPI is given back and its keys are wiped. */
  discard(): void {
    this.dropHeld();
    this.outbound = 'none';
    this.ike.host.releaseSpi(this.inboundSpi);
  }

  private dropHeld(): void {
    this.held?.key.fill(0);
    this.held = null;
  }

  snapshot(now: Milliseconds): ChildSnapshot {
    return {
      id: this.id,
      name: this.terms.name,
      state: this.state,
      mode: this.agreement.mode,
      inbound: this.inboundSpi,
      outbound: this.outboundSpi,
      proposal: formatProposal(this.agreement.proposal),
      selector: this.agreement.selector,
      encapsulation: this.ike.endpoint.encapsulation,
      establishedMs: this.establishedAt === 0 ? 0 : now - this.establishedAt,
      rekeyInMs: this.rekeyAt === null ? null : this.rekeyAt - now,
    };
  }
}
