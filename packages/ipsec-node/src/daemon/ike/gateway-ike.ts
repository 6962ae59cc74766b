/**
 * IKE of one gateway as its commands see it: the driver, the peers of the file, those that were
 * loaded over the control socket, and a reload that changes nothing or all.
 */
import type { Milliseconds } from '../../clock.js';
import { compilePad, compileSpd, wipePad } from '../../config/compile.js';
import { type Change, diffPads, endsChild, endsPeer, type PadDiff } from '../../config/diff.js';
import { fileKeyOf } from '../../config/file-keys.js';
import type { GatewayConfig } from '../../config/gateway-config.js';
import { UsageError } from '../../errors.js';
import type { IkeEvent, IkeSaSnapshot } from '../../ike/action.js';
import type { Pad } from '../../pad/pad.js';
import type { Spd } from '../../spd/spd.js';
import type {
  CommandOutcome,
  IkeControl,
  InitiateRequest,
  LoadedPeer,
  RekeyOutcome,
  RekeyRequest,
  TerminateOutcome,
  TerminateRequest,
  TimedRefusal,
} from './ike-control.js';
import type { IkeDriver } from './ike-driver.js';
import type { EndedByReload } from './peer-life.js';
import { hidingEntry, withLoaded } from './loaded-policies.js';

export interface GatewayIkeParts {
  readonly driver: IkeDriver;
  readonly config: GatewayConfig;
  /** Reads the file again, with its secrets; null: the gateway was opened with an object. */
  readonly readConfig: (() => Promise<GatewayConfig>) | null;
  /** Puts an SPD in force, atomically. */
  readonly replaceSpd: (spd: Spd) => Promise<void>;
  /** Version of the SPD in force. */
  readonly spdVersion: () => number;
  /** Our outer addresses at this moment. */
  readonly hostAddresses: () => readonly string[];
}

export class GatewayIke implements IkeControl {
  private config: GatewayConfig;
  private filePad: Pad;
  private readonly loaded = new Map<string, LoadedPeer>();
  /** Changes come one after the other. */
  private changing: Promise<unknown> = Promise.resolve();

  constructor(private readonly parts: GatewayIkeParts) {
    this.config = parts.config;
    this.filePad = parts.driver.pad;
  }

  ikeSas(): readonly IkeSaSnapshot[] {
    return this.parts.driver.ikeSas();
  }

  ikeSa(id: number): IkeSaSnapshot | null {
    return this.parts.driver.ikeSa(id);
  }

  pad(): Pad {
    return this.parts.driver.pad;
  }

  initiate(request: InitiateRequest, timeoutMs: Milliseconds | null): Promise<CommandOutcome> {
    return this.parts.driver.initiate(request, timeoutMs);
  }

  rekey(request: RekeyRequest): Promise<RekeyOutcome> {
    return this.parts.driver.rekey(request);
  }

  terminate(request: TerminateRequest, timeoutMs: Milliseconds | null): Promise<TerminateOutcome> {
    return this.parts.driver.terminate(request, timeoutMs);
  }

  onEvent(listener: (event: IkeEvent, at: Date) => void): () => void {
    return this.parts.driver.onEvent(listener);
  }

  refusals(): readonly TimedRefusal[] {
    return this.parts.driver.refusals();
  }

  reload(): Promise<{ readonly changes: readonly string[] }> {
    return this.change(() => this.reloadNow());
  }

  async loadPeer(peer: LoadedPeer): Promise<void> {
    await this.change(async () => {
      const { name } = peer.padEntry;
      const taken = new Set([
        ...this.filePad.entries.flatMap((entry) => [
          entry.name,
          ...entry.children.map((child) => child.name),
        ]),
        ...this.config.policies.map((policy) => policy.name),
      ]);
      const clash = [name, ...peer.spdEntries.map((entry) => entry.name)].find((each) =>
        taken.has(each),
      );
      if (clash !== undefined) {
        throw new UsageError(
          'IPSEC_ERR_USAGE',
          `The name ${clash} is taken by the configuration file. Choose another one.`,
          { fields: { name: clash } },
        );
      }
      this.requireEffect(peer);
      const before = this.loaded.get(name);
      this.loaded.set(name, peer);
      await this.apply(this.config, this.filePad);
      if (before !== undefined) wipePad({ entries: [before.padEntry] });
    });
  }

  /** A policy that another one hides would be taken for protection, and its packets go as that says. */
  private requireEffect({ spdEntries }: LoadedPeer): void {
    const { config, parts } = this;
    const file = compileSpd(config, parts.spdVersion(), parts.hostAddresses()).entries;
    for (const entry of spdEntries) {
      const hiding = hidingEntry(file, entry);
      if (hiding === null) continue;
      throw new UsageError(
        'IPSEC_ERR_USAGE',
        `The child ${entry.name} would have no effect: policy ${hiding.name} of the configuration ` +
          `file (${hiding.action}) stands before it and decides for all of its packets.`,
        { fields: { child: entry.name, policy: hiding.name } },
      );
    }
  }

  unloadPeer(name: string): Promise<boolean> {
    return this.change(async () => {
      const before = this.loaded.get(name);
      if (before === undefined) return false;
      this.loaded.delete(name);
      await this.apply(this.config, this.filePad);
      wipePad({ entries: [before.padEntry] });
      return true;
    });
  }

  /** Our addresses have changed: IKE may arrive for the new ones, and the peers are told. */
  handleAddressChange(): Promise<void> {
    return this.change(async () => {
      await this.replaceSpd(this.config);
      await this.parts.driver.handleAddressChange();
    });
  }

  private async replaceSpd(config: GatewayConfig): Promise<void> {
    const version = this.parts.spdVersion() + 1;
    const spd = compileSpd(config, version, this.parts.hostAddresses());
    const own = [...this.loaded.values()].flatMap(({ spdEntries }) => spdEntries);
    await this.parts.replaceSpd({ version, entries: withLoaded(spd.entries, own) });
  }

  private change<T>(run: () => Promise<T>): Promise<T> {
    const result = this.changing.then(run);
    this.changing = result.catch(() => undefined);
    return result;
  }

  private async reloadNow(): Promise<{ readonly changes: readonly string[] }> {
    const { readConfig } = this.parts;
    if (readConfig === null) {
      throw new UsageError(
        'IPSEC_ERR_USAGE',
        'A gateway that was opened with an object has no file to read again.',
      );
    }
    const next = await readConfig();
    requireSameGateway(this.config, next);
    const pad = compilePad(next);
    const changes = [
      ...policyChanges(this.config, next),
      ...peerChanges(diffPads(this.filePad, pad)),
    ];
    const old = this.filePad;
    await this.apply(next, pad);
    this.config = next;
    this.filePad = pad;
    wipePad(old);
    return { changes };
  }

  /** Policy first: nothing that the new file protects is open for a moment. */
  private async apply(config: GatewayConfig, filePad: Pad): Promise<void> {
    const { driver } = this.parts;
    const loaded = [...this.loaded.values()];
    const pad: Pad = {
      entries: [...filePad.entries, ...loaded.map(({ padEntry }) => padEntry)],
    };
    const ends = endsOf(diffPads(driver.pad, pad));
    await this.replaceSpd(config);
    await driver.replacePad(pad, ends);
  }
}

function endsOf(diff: PadDiff): EndedByReload {
  return {
    peers: new Set(diff.peers.filter(endsPeer).map(({ name }) => name)),
    children: new Set(
      diff.peers.flatMap(({ children }) => children.filter(endsChild).map(({ name }) => name)),
    ),
  };
}

// Devices, sockets and manual keys are there once: they are not changed under traffic.
function requireSameGateway(old: GatewayConfig, next: GatewayConfig): void {
  const before: Readonly<Record<string, unknown>> = { ...old.gateway };
  const changed = Object.entries(next.gateway)
    .filter(([key, value]) => JSON.stringify(before[key]) !== JSON.stringify(value))
    .map(([key]) => `gateway.${fileKeyOf('gateway', key)}`);
  // Manual keys are wiped once they are installed, so there is nothing to compare them with.
  if (old.associations.length + next.associations.length > 0) changed.push('associations');
  if (changed.length === 0) return;
  throw new UsageError(
    'IPSEC_ERR_USAGE',
    `${changed.join(', ')} cannot be changed by a reload; nothing was changed. ` +
      'Restart the gateway: what policy protects stays closed meanwhile.',
    { fields: { changed: changed.join(', ') } },
  );
}

function policyChanges(old: GatewayConfig, next: GatewayConfig): readonly string[] {
  const before = new Map(
    old.policies.map((policy) => [policy.name, JSON.stringify(spdPart(policy))]),
  );
  const after = new Set(next.policies.map(({ name }) => name));
  const order = (config: GatewayConfig): string =>
    config.policies
      .map(({ name }) => name)
      .filter((name) => before.has(name) && after.has(name))
      .join(' ');
  return [
    ...next.policies.flatMap((policy) => {
      const former = before.get(policy.name);
      if (former === undefined) return [`policy ${policy.name}: added`];
      return former === JSON.stringify(spdPart(policy)) ? [] : [`policy ${policy.name}: changed`];
    }),
    ...old.policies
      .filter(({ name }) => !after.has(name))
      .map(({ name }) => `policy ${name}: removed`),
    ...(order(old) === order(next) ? [] : ['policies: in another order']),
  ];
}

function spdPart(policy: GatewayConfig['policies'][number]): unknown {
  const { name, direction, selector, action } = policy;
  return { name, direction, selector, action };
}

function peerChanges(diff: PadDiff): readonly string[] {
  return diff.peers.flatMap((peer) => [
    ...(peer.change === 'unchanged'
      ? []
      : [`peer ${peer.name}: ${described(peer, 'peer', endsPeer(peer))}`]),
    ...peer.children.flatMap((child) =>
      child.change === 'unchanged' || peer.change === 'added' || peer.change === 'removed'
        ? []
        : [
            `child ${child.name} of peer ${peer.name}: ` +
              described(child, 'policy', endsChild(child)),
          ],
    ),
  ]);
}

function described(
  { change, terms }: { readonly change: Change; readonly terms: readonly string[] },
  owner: 'peer' | 'policy',
  isEnded: boolean,
): string {
  if (change !== 'changed') return change;
  const keys = terms.map((term) => fileKeyOf(owner, term)).join(', ');
  return `changed (${keys}); ${isEnded ? 'what was negotiated ends' : 'its SAs stay'}`;
}
