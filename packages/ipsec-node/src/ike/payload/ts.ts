/**
 * The Traffic Selector payloads (RFC 7296 section 3.13).
 *
 *     | Number of TSs |                 RESERVED                      |
 *     ~                       <Traffic Selectors>                     ~
 *
 *     |   TS Type     |IP Protocol ID |       Selector Length         |
 *     |           Start Port          |           End Port            |
 *     ~                         Starting Address                      ~
 *     ~                         Ending Address                        ~
 */
import {
  type AddressFamily,
  formatIpAddress,
  type IpAddress,
  tryParseIpAddress,
} from '../../net/ip-address.js';
import type { PayloadOf, TrafficSelector } from './payload.js';
import type { PayloadReader } from './reader.js';
import { type PayloadWriter, refuseToEncode } from './writer.js';

const TS_IPV4_ADDR_RANGE = 7;
const TS_IPV6_ADDR_RANGE = 8;
const HEADER_LEN = 4;
const LEN = { 4: 16, 6: 40 } as const;

/** Selectors that one payload can hold: the count is one octet. */
export const TRAFFIC_SELECTOR_MAX = 255;

type TsType = 'ts-initiator' | 'ts-responder';

export function parseTs(reader: PayloadReader, type: TsType): PayloadOf<TsType> | null {
  const selectors: TrafficSelector[] = [];
  let unknownCount = 0;
  const count = reader.uint8();
  reader.skip(3);
  if (count === 0) return reader.refuse('no traffic selector');
  for (let index = 0; index < count && reader.refusal === null; index += 1) {
    const tsType = reader.uint8();
    const protocol = reader.uint8();
    const len = reader.uint16();
    if (len < HEADER_LEN) return reader.refuse('a traffic selector shorter than its header');
    const body = reader.sub(len - HEADER_LEN);
    const family = familyOf(tsType);
    if (family === null) {
      unknownCount += 1;
      continue;
    }
    if (len !== LEN[family]) return reader.refuse('a traffic selector of a wrong length');
    const selector = parseSelector(body, family, protocol);
    if (selector !== null) selectors.push(selector);
  }
  if (reader.left > 0) return reader.refuse('bytes after the last traffic selector');
  return { type, selectors, unknownCount };
}

function familyOf(tsType: number): AddressFamily | null {
  if (tsType === TS_IPV4_ADDR_RANGE) return 4;
  return tsType === TS_IPV6_ADDR_RANGE ? 6 : null;
}

function parseSelector(
  reader: PayloadReader,
  family: AddressFamily,
  protocol: number,
): TrafficSelector | null {
  const startPort = reader.uint16();
  const endPort = reader.uint16();
  const from = parseAddress(reader, family);
  const to = parseAddress(reader, family);
  if (from.value > to.value) return reader.refuse('an address range that ends before it starts');
  if (startPort > endPort && !(startPort === 65_535 && endPort === 0)) {
    return reader.refuse('a port range that ends before it starts');
  }
  return {
    family,
    protocol,
    startPort,
    endPort,
    from: formatIpAddress(from),
    to: formatIpAddress(to),
  };
}

function parseAddress(reader: PayloadReader, family: AddressFamily): IpAddress {
  if (family === 4) return { family, value: BigInt(reader.uint32()) };
  const high = reader.uint64();
  return { family, value: (high << 64n) | reader.uint64() };
}

export function encodeTs(writer: PayloadWriter, payload: PayloadOf<TsType>): void {
  const { selectors } = payload;
  if (selectors.length === 0) refuseToEncode('a TS payload without selectors');
  writer.uint8(selectors.length).zeroes(3);
  for (const selector of selectors) {
    const { family, startPort, endPort } = selector;
    const from = addressOf(selector.from, family);
    const to = addressOf(selector.to, family);
    if (from > to) refuseToEncode('an address range that ends before it starts');
    if (startPort > endPort && !(startPort === 65_535 && endPort === 0)) {
      refuseToEncode('a port range that ends before it starts');
    }
    writer
      .uint8(family === 4 ? TS_IPV4_ADDR_RANGE : TS_IPV6_ADDR_RANGE)
      .uint8(selector.protocol)
      .uint16(LEN[family])
      .uint16(startPort)
      .uint16(endPort);
    encodeAddress(writer, from, family);
    encodeAddress(writer, to, family);
  }
}

function addressOf(text: string, family: AddressFamily): bigint {
  const address = tryParseIpAddress(text);
  if (address === null || address.family !== family) {
    return refuseToEncode(`${JSON.stringify(text)} is not an IPv${family} address`);
  }
  return address.value;
}

function encodeAddress(writer: PayloadWriter, value: bigint, family: AddressFamily): void {
  if (family === 4) writer.uint32(Number(value));
  else writer.uint64(value >> 64n).uint64(value & 0xffff_ffff_ffff_ffffn);
}
