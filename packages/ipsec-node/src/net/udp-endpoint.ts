import { UsageError } from '../errors.js';
import { formatIpAddress, type IpAddress, tryParseIpAddress } from './ip-address.js';

/** An address and, where the protocol has them, a port. */
export interface UdpEndpoint {
  readonly address: IpAddress;
  readonly port: number;
}

/** An address with a port or without. */
export interface AddressAndPort {
  readonly address: IpAddress;
  readonly port: number | null;
}

/**
 * Parses `10.1.0.5:443`, `[2001:db8::1]:443`, `10.1.0.5` or `2001:db8::1`; null where the text is
 * none of these. An IPv6 address with a port needs its brackets (RFC 5952 section 6).
 */
export function tryParseAddressAndPort(text: string): AddressAndPort | null {
  const bracketed = /^\[([^\]]*)\](?::(\d{1,5}))?$/.exec(text);
  if (bracketed !== null) {
    const address = tryParseIpAddress(bracketed[1] ?? '');
    return address?.family === 6 ? withPort(address, bracketed[2]) : null;
  }
  const dotted = /^([\d.]+)(?::(\d{1,5}))?$/.exec(text);
  const address = tryParseIpAddress(dotted === null ? text : (dotted[1] ?? ''));
  return address === null ? null : withPort(address, dotted?.[2]);
}

/**
 * Parses an address with a port.
 *
 * @throws UsageError IPSEC_ERR_ADDRESS_SYNTAX
 */
export function parseUdpEndpoint(text: string): UdpEndpoint {
  const endpoint = tryParseAddressAndPort(text);
  if (endpoint === null || endpoint.port === null) {
    throw new UsageError(
      'IPSEC_ERR_ADDRESS_SYNTAX',
      `${JSON.stringify(text)} is not an address with a port, such as 192.0.2.1:4500 or [2001:db8::1]:4500.`,
    );
  }
  return { address: endpoint.address, port: endpoint.port };
}

/** Writes an endpoint, with brackets around an IPv6 address that has a port. */
export function formatAddressAndPort(endpoint: AddressAndPort): string {
  const address = formatIpAddress(endpoint.address);
  if (endpoint.port === null) return address;
  return endpoint.address.family === 6
    ? `[${address}]:${endpoint.port}`
    : `${address}:${endpoint.port}`;
}

function withPort(address: IpAddress, portText: string | undefined): AddressAndPort | null {
  if (portText === undefined) return { address, port: null };
  const port = Number(portText);
  return port <= 65_535 ? { address, port } : null;
}
