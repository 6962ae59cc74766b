/** Drops chosen datagrams on their way through a router, and counts them. */

import type { Namespace } from './namespace.ts';

/** RFC 7296 section 3.1, RFC 9242. */
export const EXCHANGE = {
  IKE_SA_INIT: 34,
  IKE_AUTH: 35,
  CREATE_CHILD_SA: 36,
  INFORMATIONAL: 37,
  IKE_INTERMEDIATE: 43,
} as const;

export interface IkeMatch {
  /** The side that sent it; both when left out. */
  readonly from?: 'a' | 'b';
  /** With the non-ESP marker of port 4500. Default false: port 500. */
  readonly marked?: boolean;
  readonly exchange?: keyof typeof EXCHANGE;
  readonly response?: boolean;
}

/** The nftables expression for IKE messages. Offsets are bits from the UDP header. */
export function ikeMatch(match: IkeMatch): string {
  const marked = match.marked === true;
  const shift = marked ? 32 : 0;
  return [
    ...(match.from === undefined ? [] : [fromSide(match.from)]),
    'meta l4proto udp',
    // A peer behind NAT has any port, the other end of a marked datagram 4500.
    marked ? '@th,64,32 0' : 'th sport != 4500 th dport != 4500',
    `@th,${200 + shift},8 0x20`,
    ...(match.exchange === undefined ? [] : [`@th,${208 + shift},8 ${EXCHANGE[match.exchange]}`]),
    ...(match.response === undefined
      ? []
      : [`@th,${216 + shift},8 & 0x20 == ${match.response ? '0x20' : '0'}`]),
  ].join(' ');
}

/** ESP in UDP. */
export function espMatch(from?: 'a' | 'b'): string {
  const side = from === undefined ? '' : fromSide(from);
  return `${side} meta l4proto udp meta length > 29 @th,64,32 != 0 th dport 4500`;
}

/** Site A has a second uplink: what is not from B is from A. */
function fromSide(side: 'a' | 'b'): string {
  return side === 'b' ? 'iifname "wire-b"' : 'iifname != "wire-b"';
}

const TABLE = 'inet wire_filter';

interface Rule {
  readonly match: string;
  readonly count: number | undefined;
}

export class WireFilter {
  readonly #rules = new Map<string, Rule>();

  constructor(readonly namespace: Namespace) {}

  /** Drops the next `count` packets that match (all when left out) and counts them under a name. */
  async drop(name: string, match: string, count?: number): Promise<void> {
    if (this.#rules.size === 0) {
      const chain = 'type filter hook forward priority 0;';
      await this.namespace.nft(`
        table ${TABLE} { }
        delete table ${TABLE}
        table ${TABLE} {
          chain forward { ${chain} }
        }`);
    }
    this.#rules.set(name, { match, count });
    // The bucket is full at first and gains one a day.
    const limit = count === undefined ? '' : `limit rate 1/day burst ${count} packets`;
    await this.namespace.nft(`
      add counter ${TABLE} ${name}
      add rule ${TABLE} forward ${match} ${limit} counter name ${name} drop`);
  }

  /** Counts what matches, and lets it pass to the rules after. */
  async count(name: string, match: string): Promise<void> {
    if (this.#rules.size === 0) {
      await this.drop('nothing', 'meta length 0');
    }
    this.#rules.set(name, { match, count: 0 });
    await this.namespace.nft(`
      add counter ${TABLE} ${name}
      add rule ${TABLE} forward ${match} counter name ${name}`);
  }

  /** Packets under a name. */
  async packets(name: string): Promise<number> {
    const text = (await this.namespace.exec(['nft', 'list', 'counter', ...TABLE.split(' '), name]))
      .stdout;
    return Number(text.match(/packets (\d+)/)?.[1] ?? Number.NaN);
  }

  /** Everything passes. */
  async clear(): Promise<void> {
    if (this.#rules.size === 0) return;
    this.#rules.clear();
    await this.namespace.nft(`delete table ${TABLE}\n`);
  }
}
