import type { Milliseconds } from '../clock.js';
import { parseIpAddress } from '../net/ip-address.js';
import { equalInConstantTime, hmacSha256 } from './crypto/digest.js';
import { IKE_LIMITS } from './limits.js';
import { PayloadWriter } from './payload/writer.js';

/** What a cookie is bound to: all of it comes from the IKE_SA_INIT request and its sender. */
export interface CookieRequest {
  readonly remote: string;
  readonly remotePort: number;
  readonly spiInitiator: bigint;
  /** Data of the nonce payload. */
  readonly nonce: Uint8Array;
}

interface CookieSecret {
  readonly version: number;
  readonly key: Uint8Array;
  readonly sinceMs: Milliseconds;
}

const KEY_LEN = 32;
/** Version of the secret, and the MAC. RFC 7296 section 2.6: a cookie has 1 to 64 octets. */
const COOKIE_LEN = 4 + 32;

/**
 * Makes and checks cookies without keeping anything of who asked (RFC 7296 section 2.6):
 *
 *     cookie = version of the secret | HMAC-SHA-256(secret, Ni | IPi | port | SPIi)
 *
 * The port is in it because everybody behind one NAT has the same address. The secret changes after
 * `IKE_LIMITS.cookieSecretMs`, and the one before it is accepted as long again.
 */
export class CookieJar {
  readonly #random: (len: number) => Uint8Array;
  #current: CookieSecret | null = null;
  #previous: CookieSecret | null = null;

  constructor(random: (len: number) => Uint8Array) {
    this.#random = random;
  }

  make(request: CookieRequest, now: Milliseconds): Uint8Array {
    return cookieOf(this.#secret(now), request);
  }

  /** Whether the cookie is one that this jar made for this request, not long ago. */
  verify(cookie: Uint8Array, request: CookieRequest, now: Milliseconds): boolean {
    if (cookie.length !== COOKIE_LEN) return false;
    this.#secret(now);
    const version = new DataView(cookie.buffer, cookie.byteOffset, cookie.byteLength).getUint32(0);
    const secret = [this.#current, this.#previous].find((each) => each?.version === version);
    if (secret === undefined || secret === null) return false;
    if (now - secret.sinceMs >= 2 * IKE_LIMITS.cookieSecretMs) return false;
    return equalInConstantTime(cookieOf(secret, request), cookie);
  }

  /** The secret for new cookies. */
  #secret(now: Milliseconds): CookieSecret {
    const current = this.#current;
    if (current !== null && now - current.sinceMs < IKE_LIMITS.cookieSecretMs) return current;
    this.#previous = current;
    const next: CookieSecret = {
      version: current === null ? 1 : (current.version + 1) % 2 ** 32,
      key: this.#random(KEY_LEN),
      sinceMs: now,
    };
    this.#current = next;
    return next;
  }
}

function cookieOf(secret: CookieSecret, request: CookieRequest): Uint8Array {
  const { family, value } = parseIpAddress(request.remote);
  const bound = new PayloadWriter()
    // The nonce alone varies in length: its length makes two requests never read the same.
    .uint16(request.nonce.length)
    .bytes(request.nonce)
    .uint8(family)
    .uint64(value >> 64n)
    .uint64(value & 0xffff_ffff_ffff_ffffn)
    .uint16(request.remotePort)
    .uint64(request.spiInitiator)
    .finish();
  return new PayloadWriter().uint32(secret.version).bytes(hmacSha256(secret.key, bound)).finish();
}
