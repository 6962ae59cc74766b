import { describe, expect, it } from 'vitest';
import { DatapathVerbs } from '../../../../packages/ipsec-node/src/daemon/ike/datapath-verbs.js';
import type {
  IkeDatagram,
  SaId,
  SaState,
  SaValue,
} from '../../../../packages/ipsec-node/src/dataplane/dataplane.js';
import { createLogger, silentLogger } from '../../../../packages/ipsec-node/src/log.js';
import type { SaParameters } from '../../../../packages/ipsec-node/src/sad/sa.js';

/** Answers a verb when the test says so, and remembers what it was asked. */
class SlowDataplane {
  readonly asked: string[] = [];
  readonly keys: string[] = [];
  readonly taken = new Set<number>();
  private waiting: (() => void)[] = [];

  private answered(text: string): Promise<void> {
    this.asked.push(text);
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  /** Answers all verbs that are under way, and lets what follows begin. */
  async answer(): Promise<void> {
    for (const resolve of this.waiting.splice(0)) resolve();
    await new Promise((resolve) => setImmediate(resolve));
  }

  async addSas(sas: readonly SaValue[]): Promise<void> {
    this.keys.push(...sas.map(({ key }) => Buffer.from(key).toString('hex')));
    await this.answered(`add ${sas.map(({ id }) => id.spi).join(' ')}`);
    if (sas.some(({ id }) => this.taken.has(id.spi))) throw new Error('taken');
  }

  async deleteSas(ids: readonly SaId[]): Promise<readonly SaState[]> {
    await this.answered(`delete ${ids.map(({ spi }) => spi).join(' ')}`);
    return [];
  }

  async querySas(ids: readonly SaId[]): Promise<readonly SaState[]> {
    await this.answered(`query ${ids.map(({ spi }) => spi).join(' ')}`);
    return ids
      .filter(({ spi }) => !this.taken.has(spi))
      .map((id) => ({ ...STATE, id, packets: BigInt(id.spi) }));
  }

  async updateSa(id: SaId): Promise<void> {
    await this.answered(`update ${id.spi}`);
    if (this.taken.has(id.spi)) throw new Error('taken');
  }

  async sendIke(datagrams: readonly IkeDatagram[]): Promise<void> {
    await this.answered(`send ${datagrams.map(({ remotePort }) => remotePort).join(' ')}`);
  }

  async sendKeepalive(): Promise<void> {
    await this.answered('keepalive');
  }
}

const STATE: Omit<SaState, 'id' | 'packets'> = {
  entry: 'net',
  sequenceNumber: 0n,
  reservedUpTo: null,
  bytes: 0n,
  ageMs: 0,
  idleMs: 7,
  drops: {},
};

const ENDPOINT = {
  local: '192.0.2.1',
  localPort: 4500,
  remote: '192.0.2.2',
  remotePort: 4500,
  encapsulation: 'udp',
} as const;

function sa(spi: number): SaParameters {
  return {
    ...ENDPOINT,
    id: { direction: 'inbound', spi },
    entry: 'net',
    selector: {
      local: [],
      remote: [],
      protocol: 'any',
      localPorts: [],
      remotePorts: [],
      icmpTypes: [],
      icmpCodes: [],
    },
    suite: 'aes256gcm16',
    key: new Uint8Array(36).fill(spi % 256),
    mode: 'tunnel',
    esn: false,
    replayWindow: 64,
    tfcPadToBytes: 0,
    dontFragment: 'copy',
  };
}

function verbs(): {
  readonly dataplane: SlowDataplane;
  readonly verbs: DatapathVerbs;
  readonly told: string[];
  readonly kept: string[];
} {
  const dataplane = new SlowDataplane();
  const told: string[] = [];
  const kept: string[] = [];
  const made = new DatapathVerbs(dataplane, silentLogger, {
    together: (run) => {
      told.push('[');
      run();
      told.push(']');
    },
    refused: ({ spi }, reason) => told.push(`${spi}: ${reason}`),
    installed: ({ id, key }) => kept.push(`${id.spi} ${Buffer.from(key).toString('hex')}`),
  });
  return { dataplane, verbs: made, told, kept };
}

const inbound = (spi: number): SaId => ({ direction: 'inbound', spi });

describe('verbs of the datapath', () => {
  it('go as one where they are alike, and in the order in which they were asked for', async () => {
    const { dataplane, verbs: asked, told } = verbs();
    const say =
      (name: string) =>
      (refused: string | null): number =>
        told.push(`${name} ${refused ?? 'up'}`);
    asked.install([sa(1), sa(2)], say('a'));
    asked.install([sa(3)], say('b'));
    asked.delete([inbound(1)]);
    asked.install([sa(4)], say('c'));
    await dataplane.answer();
    expect(dataplane.asked).toEqual(['add 1 2 3']);
    await dataplane.answer();
    expect(told).toEqual(['[', 'a up', 'b up', ']']);
    expect(dataplane.asked.slice(1)).toEqual(['delete 1']);
    await dataplane.answer();
    expect(dataplane.asked.slice(2)).toEqual(['add 4']);
    await dataplane.answer();
    await asked.settled();
    expect(asked.installed().map(({ id }) => id.spi)).toEqual([2, 3, 4]);
    expect(asked.size).toBe(3);
  });

  it('are refused alone where one of several is', async () => {
    const { dataplane, verbs: asked, told, kept } = verbs();
    dataplane.taken.add(2);
    const sas = [sa(1), sa(2), sa(3)];
    for (const each of sas) {
      asked.install([each], (refused) => told.push(`${each.id.spi} ${refused ?? 'up'}`));
    }
    for (let turn = 0; turn < 5; turn += 1) await dataplane.answer();
    await asked.settled();
    expect(dataplane.asked).toEqual(['add 1 2 3', 'add 1', 'add 2', 'add 3']);
    expect(told).toEqual(['[', '1 up', '2 taken', '3 up', ']']);
    // Each time with its key, which is gone afterwards and is not in what is kept for looks.
    const keys = ['01', '02', '03'].map((octet) => octet.repeat(36));
    expect(dataplane.keys).toEqual([...keys, ...keys]);
    expect(kept).toEqual([`1 ${'01'.repeat(36)}`, `3 ${'03'.repeat(36)}`]);
    expect(sas.map(({ key }) => key.every((octet) => octet === 0))).toEqual([true, true, true]);
    expect(asked.installed().map(({ id, key }) => [id.spi, key.length])).toEqual([
      [1, 0],
      [3, 0],
    ]);
  });

  it('give each of several questions its own answer', async () => {
    const { dataplane, verbs: asked, told } = verbs();
    dataplane.taken.add(3);
    const say = (sas: readonly { readonly packets: bigint }[]): number =>
      told.push(sas.map(({ packets }) => packets).join(' '));
    asked.query([inbound(5), inbound(6)], say);
    asked.query([inbound(3)], say);
    asked.query([inbound(4)], say);
    await dataplane.answer();
    await dataplane.answer();
    expect(dataplane.asked).toEqual(['query 5 6 3 4']);
    expect(told).toEqual(['[', '5 6', '', '4', ']']);
  });

  it('go on where one is refused, or its answer is too much for who asked', async () => {
    const { dataplane, verbs: asked, told } = verbs();
    asked.install([sa(1), sa(2)], () => {
      throw new Error('no use for it');
    });
    asked.install([sa(3)], () => told.push('3 up'));
    await dataplane.answer();
    await dataplane.answer();
    dataplane.taken.add(1);
    asked.update([inbound(1), inbound(9), inbound(2)], { ...ENDPOINT, remote: '192.0.2.9' });
    for (let turn = 0; turn < 4; turn += 1) await dataplane.answer();
    await asked.settled();
    expect(told).toEqual([
      ...['[', '3 up', ']'],
      '1: the datapath refused the new endpoint: taken',
    ]);
    expect(dataplane.asked.slice(1)).toEqual(['update 1', 'update 2']);
    expect(asked.installed().map(({ remote }) => remote)).toEqual([
      '192.0.2.9',
      '192.0.2.9',
      '192.0.2.2',
    ]);
  });

  it('send what came together together, and what comes meanwhile after it', async () => {
    const { dataplane, verbs: asked } = verbs();
    const message = (remotePort: number): IkeDatagram => ({
      ...ENDPOINT,
      remotePort,
      payload: new Uint8Array(1),
    });
    asked.send(message(1));
    asked.send(message(2));
    expect(dataplane.asked).toEqual([]);
    asked.flush();
    asked.send(message(3));
    asked.flush();
    asked.send(message(4));
    asked.flush();
    expect(dataplane.asked).toEqual(['send 1 2']);
    await dataplane.answer();
    expect(dataplane.asked).toEqual(['send 1 2', 'send 3 4']);
    let isSettled = false;
    void asked.settled().then(() => {
      isSettled = true;
    });
    await Promise.resolve();
    expect(isSettled).toBe(false);
    await dataplane.answer();
    expect(isSettled).toBe(true);
  });

  it('tell of a send that failed how much it was and where to, and nothing of what it was', async () => {
    const records: unknown[] = [];
    const log = createLogger('debug', (record) => records.push(record));
    const payload = new TextEncoder().encode('what was to be sent');
    const shown = Buffer.from(payload).toString('hex');
    const dataplane = Object.assign(new SlowDataplane(), {
      sendIke: (datagrams: readonly IkeDatagram[]): Promise<void> =>
        Promise.reject(
          new Error(`${JSON.stringify(datagrams)} ${shown} ${String(datagrams[0]?.payload)}`),
        ),
    });
    const asked = new DatapathVerbs(dataplane, log, {
      together: (run) => run(),
      refused: () => undefined,
      installed: null,
    });
    asked.send({ ...ENDPOINT, payload });
    asked.flush();
    await asked.settled();
    expect(records).toEqual([
      {
        level: 'debug',
        message: 'An IKE message could not be sent.',
        fields: {
          code: 'unknown',
          from: '192.0.2.1 4500',
          to: '192.0.2.2 4500',
          bytes: payload.length,
          datagrams: 1,
        },
      },
    ]);
  });
});
