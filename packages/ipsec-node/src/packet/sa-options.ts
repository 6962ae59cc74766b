import { UsageError } from '../errors.js';
import { parseAddressRange } from '../net/address-range.js';
import { type Selector, selectorRangeOf } from '../spd/selector.js';
import type { NativeSa, NativeSelector } from './native.js';

/** What packets an SA may carry; a text is an address, prefix, range `a-b` or `any`. */
export interface SaSelectorOptions {
  readonly local?: string | readonly string[];
  readonly remote?: string | readonly string[];
}

/** What both directions of an SA are made of. */
export interface SaOptions {
  /** 256..2^32-1. */
  readonly spi: number;
  /** An AEAD, or AES-CBC with HMAC (RFC 3602, RFC 4868; SHA-1 for old peers only). */
  readonly suite:
    | 'aes128gcm16'
    | 'aes256gcm16'
    | 'chacha20poly1305'
    | `${'aes128' | 'aes192' | 'aes256'}-${'sha1' | 'sha256' | 'sha384' | 'sha512'}`;
  /**
   * Cipher key, then 4 bytes of salt of an AEAD (20 or 36 bytes in all), or the integrity key: 20, 32,
   * 48 or 64 bytes by the hash. Copied; wipe your own.
   */
  readonly key: Uint8Array;
  /**
   * `tunnel` unless given. `transport` (RFC 4303 section 3.1.1) seals what is behind the IP header, of
   * packets from `local` to `remote`: no fragments, IPv4 options or extension headers in front of ESP.
   */
  readonly mode?: 'tunnel' | 'transport';
  /** Extended sequence numbers (RFC 4303 section 2.2.1); false unless given. */
  readonly esn?: boolean;
  /** Which inner packets it may carry; any unless given. */
  readonly selector?: SaSelectorOptions | Selector;
}

export interface OutboundSaOptions extends SaOptions {
  /** Outer source address. */
  readonly local: string;
  /** Outer destination address, of the same family. */
  readonly remote: string;
  /** Raw ESP unless given; `udp` is RFC 3948. */
  readonly encapsulation?: 'esp' | 'udp';
  /** 4500 unless given. */
  readonly localPort?: number;
  readonly remotePort?: number;
  /**
   * The first sequence number to use; 1 unless given. A key must never meet a number twice: persist
   * `sequenceNumber` before a restart.
   */
  readonly sequenceNumber?: bigint;
  /** Inner packets below this are padded to it (RFC 4303 section 2.7); none unless given. */
  readonly tfcPadToBytes?: number;
  /** What the outer Don't Fragment flag is; copied unless given. */
  readonly dontFragment?: 'copy' | 'set' | 'clear';
}

export interface InboundSaOptions extends SaOptions {
  /** Anti-replay window in packets, a power of two from 64 to 65,536; 1,024 unless given. */
  readonly replayWindow?: number;
  /** The right edge to start from: all numbers up to it are refused; 0 unless given. */
  readonly sequenceNumber?: bigint;
}

function isSelector(selector: SaSelectorOptions | Selector): selector is Selector {
  return 'protocol' in selector;
}

const rangesOf = (text: string | readonly string[] | undefined): NativeSelector['local'] =>
  (text === undefined ? [] : typeof text === 'string' ? [text] : text)
    .filter((one) => one !== 'any')
    .map((one) => selectorRangeOf(parseAddressRange(one)));

/** A selector as the native code takes it. */
export function nativeSelectorOf(selector: SaSelectorOptions | Selector = {}): NativeSelector {
  if (!isSelector(selector)) {
    return {
      local: rangesOf(selector.local),
      remote: rangesOf(selector.remote),
      localPorts: [],
      remotePorts: [],
      icmpTypes: [],
      icmpCodes: [],
    };
  }
  return {
    local: [...selector.local],
    remote: [...selector.remote],
    ...(selector.protocol === 'any' ? {} : { protocol: selector.protocol }),
    localPorts: [...selector.localPorts],
    remotePorts: [...selector.remotePorts],
    icmpTypes: [...selector.icmpTypes],
    icmpCodes: [...selector.icmpCodes],
  };
}

/** JavaScript callers are not told by a compiler. */
function requireOuterAddresses(options: OutboundSaOptions | InboundSaOptions): void {
  for (const name of ['local', 'remote'] as const) {
    if (typeof Reflect.get(options, name) !== 'string') {
      throw new UsageError('IPSEC_ERR_USAGE', `An outbound SA needs ${name}: an outer IP address.`);
    }
  }
}

/** The common part, direction and defaults filled in. */
export function nativeSaOf(
  options: OutboundSaOptions | InboundSaOptions,
  outbound: boolean,
): NativeSa {
  if (outbound) requireOuterAddresses(options);
  return {
    outbound,
    spi: options.spi,
    entry: '',
    selector: nativeSelectorOf(options.selector),
    suite: options.suite,
    key: options.key,
    mode: options.mode ?? 'tunnel',
    endpoint: {
      local: 'local' in options ? options.local : '0.0.0.0',
      remote: 'remote' in options ? options.remote : '0.0.0.0',
      encapsulation: ('encapsulation' in options ? options.encapsulation : undefined) ?? 'esp',
      localPort: ('localPort' in options ? options.localPort : undefined) ?? 4500,
      remotePort: ('remotePort' in options ? options.remotePort : undefined) ?? 4500,
    },
    esn: options.esn ?? false,
    replayWindow: ('replayWindow' in options ? options.replayWindow : undefined) ?? 1024,
    sequenceNumber: options.sequenceNumber ?? (outbound ? 1n : 0n),
    tfcPadToBytes: ('tfcPadToBytes' in options ? options.tfcPadToBytes : undefined) ?? 0,
    dontFragment: ('dontFragment' in options ? options.dontFragment : undefined) ?? 'copy',
  };
}

/** Runs a native constructor and gives its refusal the type of ours. */
export function construct<T>(make: () => T): T {
  try {
    return make();
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause);
    throw new UsageError('IPSEC_ERR_SA_INVALID', text.replace(/^IPSEC_ERR_[A-Z_]+: /, ''), {
      cause,
    });
  }
}
