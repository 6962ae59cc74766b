/**
 * What IKE asks of the datapath, in the order in which it asks: one verb at a time. Verbs of one kind
 * that wait one behind the other go as one, for each costs the threads between here and the workers
 * more than the work itself (docs/decisions/0043).
 */
import type { Dataplane, IkeDatagram, SaState } from '../../dataplane/dataplane.js';
import { IpsecError } from '../../errors.js';
import type { SaEndpoint, SaUse } from '../../ike/action.js';
import type { Logger } from '../../log.js';
import type { SaIdentifier, SaParameters } from '../../sad/sa.js';

/** Verbs that go as one, at most. */
export const VERB_COUNT_MAX = 64;
/** IKE messages that go at once, at most. */
export const DATAGRAM_COUNT_MAX = 256;

type VerbDataplane = Pick<
  Dataplane,
  'addSas' | 'deleteSas' | 'querySas' | 'updateSa' | 'sendIke' | 'sendKeepalive'
>;

/** Told what became of it. */
type Done<T> = (outcome: T) => void;

interface Install {
  readonly kind: 'install';
  readonly sas: readonly SaParameters[];
  readonly done: Done<string | null>;
}
interface Query {
  readonly kind: 'query';
  readonly ids: readonly SaIdentifier[];
  readonly done: Done<readonly SaUse[]>;
}
interface Delete {
  readonly kind: 'delete';
  readonly ids: readonly SaIdentifier[];
}
interface Update {
  readonly kind: 'update';
  readonly ids: readonly SaIdentifier[];
  readonly endpoint: SaEndpoint;
}
type Verb = Install | Query | Delete | Update;

/** Who is told what comes of verbs, besides the one who asked. */
export interface VerbListener {
  /** Runs what follows from the outcomes of verbs that went as one. */
  together(run: () => void): void;
  /** An SA was to go to another endpoint, and the datapath refused. */
  refused(id: SaIdentifier, reason: string): void;
  /** An SA was installed; its key is not zeroed yet. Null: nobody asks. */
  readonly installed: ((sa: SaParameters) => void) | null;
}

export class DatapathVerbs {
  private readonly queue: Verb[] = [];
  private working: Promise<void> | null = null;
  private outgoing: IkeDatagram[] = [];
  private sending: Promise<void> | null = null;
  /** Parameters of the SAs in the datapath, without their keys; by direction and SPI. */
  private readonly sas = {
    inbound: new Map<number, SaParameters>(),
    outbound: new Map<number, SaParameters>(),
  };

  constructor(
    private readonly dataplane: VerbDataplane,
    private readonly log: Logger,
    private readonly told: VerbListener,
  ) {}

  /** Parameters of what is installed; their keys are not in them. */
  installed(): readonly SaParameters[] {
    return [...this.sas.inbound.values(), ...this.sas.outbound.values()];
  }

  /** How many SAs are installed. */
  get size(): number {
    return this.sas.inbound.size + this.sas.outbound.size;
  }

  /** Installs SAs, all or none: null, or why none. Their keys are zeroed in any case. */
  install(sas: readonly SaParameters[], done: Done<string | null>): void {
    this.ask({ kind: 'install', sas, done });
  }

  /** How SAs are used; those that are gone are left out. */
  query(ids: readonly SaIdentifier[], done: Done<readonly SaUse[]>): void {
    this.ask({ kind: 'query', ids, done });
  }

  delete(ids: readonly SaIdentifier[]): void {
    this.ask({ kind: 'delete', ids });
  }

  /** New ends of the packets of SAs; those that are gone are passed over. */
  update(ids: readonly SaIdentifier[], endpoint: SaEndpoint): void {
    this.ask({ kind: 'update', ids, endpoint });
  }

  /** Readies an IKE message; it goes with {@link flush}. */
  send(datagram: IkeDatagram): void {
    this.outgoing.push(datagram);
  }

  /** Sends what is ready, after what is on its way. */
  flush(): void {
    if (this.sending !== null || this.outgoing.length === 0) return;
    const datagrams = this.outgoing.splice(0, DATAGRAM_COUNT_MAX);
    this.sending = this.dataplane
      .sendIke(datagrams)
      .catch((error: unknown) => this.sendFailed(datagrams, error))
      .then(() => {
        this.sending = null;
        this.flush();
      });
  }

  keepalive(path: Omit<IkeDatagram, 'payload'>): void {
    void this.dataplane
      .sendKeepalive([path])
      .catch((error: unknown) => this.sendFailed([{ ...path, payload: KEEPALIVE }], error));
  }

  // A peer that cannot be reached now is asked again by retransmission. The error is told by its code
  // alone: its text may hold what was to be sent.
  private sendFailed(datagrams: readonly IkeDatagram[], error: unknown): void {
    const [first] = datagrams;
    if (first === undefined) return;
    const { local, localPort, remote, remotePort } = first;
    this.log.debug('An IKE message could not be sent.', {
      code: error instanceof IpsecError ? error.code : 'unknown',
      from: `${local} ${localPort}`,
      to: `${remote} ${remotePort}`,
      bytes: datagrams.reduce((sum, { payload }) => sum + payload.length, 0),
      datagrams: datagrams.length,
    });
  }

  /** Resolves once nothing waits and nothing is under way. */
  async settled(): Promise<void> {
    while (this.working !== null || this.sending !== null) {
      await this.working;
      await this.sending;
    }
  }

  private ask(verb: Verb): void {
    this.queue.push(verb);
    this.working ??= this.work();
  }

  private async work(): Promise<void> {
    // What is asked for at this moment goes together.
    await Promise.resolve();
    for (let [first] = this.queue; first !== undefined; [first] = this.queue) {
      try {
        switch (first.kind) {
          case 'install':
            await this.installAll(this.takeAlike('install'));
            break;
          case 'query':
            await this.queryAll(this.takeAlike('query'));
            break;
          case 'delete':
            await this.deleteAll(this.takeAlike('delete'));
            break;
          case 'update':
            await this.updateAll(this.takeAlike('update'));
            break;
        }
      } catch (error) {
        this.refused(error);
      }
    }
    this.working = null;
  }

  private refused(error: unknown): void {
    this.log.warn('The datapath refused what IKE asked for.', { reason: String(error) });
  }

  /** Takes the verbs of a kind off the front of the queue. */
  private takeAlike<K extends Verb['kind']>(kind: K): Extract<Verb, { readonly kind: K }>[] {
    const isAlike = (verb: Verb): verb is Extract<Verb, { readonly kind: K }> => verb.kind === kind;
    const alike: Extract<Verb, { readonly kind: K }>[] = [];
    for (const verb of this.queue) {
      if (!isAlike(verb) || alike.length >= VERB_COUNT_MAX) break;
      alike.push(verb);
    }
    this.queue.splice(0, alike.length);
    return alike;
  }

  private async installAll(verbs: readonly Install[]): Promise<void> {
    const refusals: (string | null)[] = [];
    const refused = await this.add(verbs.flatMap(({ sas }) => sas));
    for (const { sas } of verbs) {
      // All or none: where one of many is refused, each is asked for alone.
      const own = refused === null || verbs.length === 1 ? refused : await this.add(sas);
      refusals.push(own);
      for (const sa of sas) {
        if (own === null) {
          this.told.installed?.(sa);
          this.sas[sa.id.direction].set(sa.id.spi, { ...sa, key: NO_KEY });
        }
        sa.key.fill(0);
      }
    }
    this.told.together(() => {
      for (const [index, { done }] of verbs.entries()) this.tell(done, refusals[index] ?? null);
    });
  }

  private tell<T>(done: Done<T>, outcome: T): void {
    try {
      done(outcome);
    } catch (error) {
      // What goes wrong for one of several is no matter of the others.
      this.log.warn('IKE could not go on with an answer of the datapath.', {
        reason: String(error),
      });
    }
  }

  /** Null, or why none was added. */
  private async add(sas: readonly SaParameters[]): Promise<string | null> {
    try {
      await this.dataplane.addSas(
        sas.map((sa) => ({ ...sa, sequenceNumber: 0n, reservedUpTo: null })),
      );
      return null;
    } catch (error) {
      return reasonOf(error);
    }
  }

  private async queryAll(verbs: readonly Query[]): Promise<void> {
    const states = await this.dataplane
      .querySas(verbs.flatMap(({ ids }) => ids))
      .catch((): readonly SaState[] => []);
    const uses = {
      inbound: new Map<number, SaUse>(),
      outbound: new Map<number, SaUse>(),
    };
    for (const { id, packets, bytes, idleMs } of states) {
      uses[id.direction].set(id.spi, { id, packets, bytes, idleMs });
    }
    this.told.together(() => {
      for (const { ids, done } of verbs) {
        this.tell(
          done,
          ids.flatMap(({ direction, spi }) => uses[direction].get(spi) ?? []),
        );
      }
    });
  }

  private async deleteAll(verbs: readonly Delete[]): Promise<void> {
    const known = verbs
      .flatMap(({ ids }) => ids)
      .filter(({ direction, spi }) => this.sas[direction].delete(spi));
    if (known.length > 0) await this.dataplane.deleteSas(known);
  }

  private async updateAll(verbs: readonly Update[]): Promise<void> {
    for (const { ids, endpoint } of verbs) {
      for (const id of ids) {
        const sa = this.sas[id.direction].get(id.spi);
        if (sa === undefined) continue;
        this.sas[id.direction].set(id.spi, { ...sa, ...endpoint });
        try {
          await this.dataplane.updateSa(id, endpoint);
        } catch (error) {
          this.told.refused(id, `the datapath refused the new endpoint: ${reasonOf(error)}`);
        }
      }
    }
  }
}

const NO_KEY = new Uint8Array(0);
/** RFC 3948 section 2.3. */
const KEEPALIVE = Uint8Array.of(0xff);

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
