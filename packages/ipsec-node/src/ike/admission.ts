/**
 * Who may make us keep state or answer without having proved anything (RFC 7296 section 2.6,
 * RFC 8019 sections 3 and 4): half-open IKE SAs and cookies, and the rate of unprotected errors.
 */
import type { Milliseconds } from '../clock.js';
import { parseIpAddress } from '../net/ip-address.js';
import { CookieJar, type CookieRequest } from './cookie.js';
import type { IkeSa } from './ike-sa.js';
import type { IkeLimits } from './limits.js';

export type Admission =
  | { readonly kind: 'admitted' }
  | { readonly kind: 'cookie'; readonly cookie: Uint8Array }
  | { readonly kind: 'refused' };

export class Admissions {
  private readonly jar: CookieJar;
  private readonly halfOpen = new Map<IkeSa, string>();
  private readonly perSource = new Map<string, number>();
  /** Unprotected errors of the second that is running: all of them, and by source. */
  private second = { since: -Infinity, count: 0, sources: new Map<string, number>() };

  constructor(
    private readonly limits: IkeLimits,
    random: (length: number) => Uint8Array,
  ) {
    this.jar = new CookieJar(random);
  }

  get halfOpenCount(): number {
    return this.halfOpen.size;
  }

  get isUnderAttack(): boolean {
    return this.halfOpen.size >= this.limits.cookieThreshold;
  }

  /** Whether an IKE_SA_INIT request gets an IKE SA. Without a cookie that it needs: nothing is kept. */
  admit(request: CookieRequest, cookie: Uint8Array | null, now: Milliseconds): Admission {
    const fromSource = this.perSource.get(sourceOf(request.remote)) ?? 0;
    const needsCookie = this.isUnderAttack || fromSource >= this.limits.cookieThresholdPerSource;
    if (needsCookie && (cookie === null || !this.jar.verify(cookie, request, now))) {
      return { kind: 'cookie', cookie: this.jar.make(request, now) };
    }
    return this.halfOpen.size >= this.limits.halfOpenMax
      ? { kind: 'refused' }
      : { kind: 'admitted' };
  }

  begin(sa: IkeSa): void {
    const source = sourceOf(sa.endpoint.remote);
    this.halfOpen.set(sa, source);
    this.perSource.set(source, (this.perSource.get(source) ?? 0) + 1);
  }

  /** The IKE SA is established, or gone. Idempotent. */
  end(sa: IkeSa): void {
    const source = this.halfOpen.get(sa);
    if (source === undefined) return;
    this.halfOpen.delete(sa);
    const left = (this.perSource.get(source) ?? 1) - 1;
    if (left <= 0) this.perSource.delete(source);
    else this.perSource.set(source, left);
  }

  /** Whether a stranger may be told something unprotected (RFC 7296 section 2.21.4). */
  mayTell(remote: string, now: Milliseconds): boolean {
    if (now - this.second.since >= 1_000) {
      this.second = { since: now, count: 0, sources: new Map() };
    }
    const { second, limits } = this;
    const source = sourceOf(remote);
    const told = second.sources.get(source) ?? 0;
    if (second.count >= limits.invalidSpiPerSecond || told >= limits.invalidSpiPerSource) {
      return false;
    }
    second.count += 1;
    second.sources.set(source, told + 1);
    return true;
  }
}

/** Who is one source: an IPv4 address, or the /64 that one IPv6 site has to itself. */
function sourceOf(remote: string): string {
  if (!remote.includes(':')) return remote;
  return `${parseIpAddress(remote).value >> 64n}`;
}
