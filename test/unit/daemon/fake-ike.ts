import type {
  ChildSnapshot,
  IkeEvent,
  IkeSaSnapshot,
} from '../../../packages/ipsec-node/src/ike/action.js';
import type {
  IkeControl,
  InitiateRequest,
  LoadedPeer,
  RekeyRequest,
  SaChoice,
  TerminateRequest,
  TimedRefusal,
} from '../../../packages/ipsec-node/src/daemon/ike/ike-control.js';
import type { PadEntry } from '../../../packages/ipsec-node/src/pad/pad-entry.js';
import { knownProposals } from '../../../packages/ipsec-node/src/config/proposal-text.js';
import { Secret } from '../../../packages/ipsec-node/src/sad/secret.js';
import { IN_SPI, LAN, OUT_SPI } from './sample.js';

const HOUR = 3_600_000;

/** A peer of the configuration file. */
export function branch(): PadEntry {
  const secret = new Secret(Buffer.from('not so secret'), 'a test');
  return {
    name: 'branch',
    hosts: [{ kind: 'address', address: '198.51.100.2' }],
    localAddress: '192.0.2.1',
    remotePort: 500,
    localIdentity: { kind: 'dns-name', name: 'hq.example' },
    remoteIdentity: { kind: 'exact', identity: { kind: 'dns-name', name: 'branch.example' } },
    localAuthentication: { method: 'psk', secret },
    remoteAuthentication: { method: 'psk', secret },
    ppk: null,
    proposals: knownProposals('ike', ['aes256gcm16-prfsha384-ecp384']),
    children: [
      {
        name: 'lan-to-branch',
        mode: 'tunnel',
        selector: LAN,
        proposals: knownProposals('esp', ['aes256gcm16-x25519']),
        start: 'trap',
        onClose: 'trap',
        lifetime: { rekeyMs: HOUR, hardMs: 1.1 * HOUR, rekeyBytes: 0n, rekeyPackets: 0n },
        selectorsPerChild: 'all',
        replayWindow: 1024,
        tfcPadToBytes: 0,
        dontFragment: 'copy',
      },
    ],
    rekeyMs: 4 * HOUR,
    hardMs: 4.4 * HOUR,
    livenessMs: 30_000,
    keepaliveMs: 20_000,
    encapsulation: 'auto',
    fragmentation: true,
    mobike: true,
    unique: 'replace',
    onDeath: 'restart',
    hashAndUrl: false,
  };
}

function childOf(name: string, id: number, spi: number): ChildSnapshot {
  return {
    id,
    name,
    state: 'installed',
    mode: 'tunnel',
    inbound: spi,
    outbound: spi + 1,
    proposal: 'aes256gcm16-esn',
    selector: LAN,
    encapsulation: 'udp',
    establishedMs: 60_000,
    rekeyInMs: HOUR - 60_000,
  };
}

/** An IKE that keeps peers and SAs in memory: its exchanges succeed at once, unless told otherwise. */
export class FakeIke implements IkeControl {
  readonly entries: PadEntry[];
  readonly loaded = new Map<string, LoadedPeer>();
  readonly sas: IkeSaSnapshot[] = [];
  readonly asked: unknown[] = [];
  readonly kept: TimedRefusal[] = [];
  /** Why the next commands are refused. */
  refusal: string | null = null;
  changes: readonly string[] = [];
  reloadFault: Error | null = null;
  private readonly listeners = new Set<(event: IkeEvent, at: Date) => void>();
  private count = 0;

  constructor(entries: readonly PadEntry[] = [branch()]) {
    this.entries = [...entries];
  }

  emit(event: IkeEvent): void {
    for (const listener of this.listeners) listener(event, new Date(1_700_000_000_000));
  }

  get listenerCount(): number {
    return this.listeners.size;
  }

  ikeSas = (): readonly IkeSaSnapshot[] => [...this.sas];
  ikeSa = (id: number): IkeSaSnapshot | null => this.sas.find((sa) => sa.id === id) ?? null;
  pad = () => ({
    entries: [...this.entries, ...[...this.loaded.values()].map(({ padEntry }) => padEntry)],
  });
  refusals = (): readonly TimedRefusal[] => this.kept;

  onEvent(listener: (event: IkeEvent, at: Date) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Brings a peer up with one child; SPIs are those of the sample's SAs for the first. */
  up(peer: string, child: string): IkeSaSnapshot {
    this.count += 1;
    const id = this.count;
    const spi = id === 1 ? IN_SPI : IN_SPI + 16 * id;
    const sa: IkeSaSnapshot = {
      id,
      peer,
      state: 'established',
      spiInitiator: 0x0123_4567_89ab_cdefn,
      spiResponder: 0xfedc_ba98_7654_3210n + BigInt(id),
      isInitiator: true,
      endpoint: {
        local: '192.0.2.1',
        localPort: 4500,
        remote: '198.51.100.2',
        remotePort: 4500,
        encapsulation: 'udp',
      },
      localIdentity: 'hq.example',
      remoteIdentity: 'branch.example',
      natLocal: false,
      natRemote: true,
      proposal: 'aes256gcm16-prfsha384-ecp384-ke1_mlkem768',
      hasPpk: false,
      establishedMs: 90_000,
      rekeyInMs: 4 * HOUR - 90_000,
      children: [childOf(child, 10 + id, spi)],
    };
    this.sas.push(sa);
    const subject = { ikeSa: id, peer, child: null, remote: '198.51.100.2' };
    this.emit({ kind: 'detail', ...subject, text: 'sending IKE_SA_INIT' });
    this.emit({ kind: 'peer-up', ...subject });
    this.emit({ kind: 'child-up', ...subject, child, inbound: spi, outbound: OUT_SPI });
    return sa;
  }

  async initiate(request: InitiateRequest, timeoutMs: number | null) {
    this.asked.push({ initiate: request, timeoutMs });
    const entry = this.pad().entries.find(
      ({ name, children }) =>
        name === request.peer || children.some((child) => child.name === request.child),
    );
    if (entry === undefined) return { refused: 'no such child' };
    if (this.refusal !== null) return { refused: this.refusal };
    this.up(entry.name, request.child ?? entry.children[0]?.name ?? '');
    return { refused: null };
  }

  private matching(choice: SaChoice): readonly IkeSaSnapshot[] {
    return this.sas.filter(
      (sa) =>
        (choice.peer === null || sa.peer === choice.peer) &&
        (choice.ikeSa === null || sa.id === choice.ikeSa) &&
        (choice.child === null || sa.children.some(({ name }) => name === choice.child)) &&
        (choice.childId === null || sa.children.some(({ id }) => id === choice.childId)),
    );
  }

  async rekey(request: RekeyRequest) {
    this.asked.push({ rekey: request });
    const found = this.matching(request);
    for (const sa of found) {
      const fresh = sa.children.map((child) => ({ ...child, id: child.id + 100 }));
      this.sas.splice(this.sas.indexOf(sa), 1, { ...sa, children: fresh });
      for (const { name, inbound, outbound } of fresh) {
        const { id: ikeSa, peer } = sa;
        const remote = sa.endpoint.remote;
        this.emit({ kind: 'child-rekeyed', ikeSa, peer, child: name, remote, inbound, outbound });
      }
    }
    return { matched: found.length, refused: this.refusal };
  }

  async terminate(request: TerminateRequest, timeoutMs: number | null) {
    this.asked.push({ terminate: request, timeoutMs });
    const found = this.matching(request);
    for (const sa of found) {
      this.sas.splice(this.sas.indexOf(sa), 1);
      const { id: ikeSa, peer } = sa;
      const subject = { ikeSa, peer, child: null, remote: sa.endpoint.remote };
      this.emit({ kind: 'peer-down', ...subject, end: 'ours', reason: 'terminated by command' });
    }
    return { matched: found.length, terminated: found.length, refused: this.refusal };
  }

  async reload() {
    if (this.reloadFault !== null) throw this.reloadFault;
    return { changes: this.changes };
  }

  async loadPeer(peer: LoadedPeer): Promise<void> {
    this.loaded.set(peer.padEntry.name, peer);
  }

  async unloadPeer(name: string): Promise<boolean> {
    return this.loaded.delete(name);
  }
}

/** A refusal as a responder has it whose peer calls itself by another name. */
export function wrongIdentity(): TimedRefusal {
  return {
    at: new Date(1_700_000_000_000),
    event: {
      kind: 'refused',
      ikeSa: 4,
      peer: null,
      child: null,
      remote: '198.51.100.2',
      by: 'us',
      notify: 'AUTHENTICATION_FAILED',
      reason: 'no peer has this identity',
      closest: 'branch',
      differences: [{ field: 'remote id', ours: 'branch.example', theirs: 'brnch.example' }],
    },
  };
}
