/** The fields of a policy that say which packets it speaks of. */
import { z } from 'zod';

import { ADDRESS_RANGE_ACCEPTED, tryParseAddressRange } from '../net/address-range.js';
import { tryParseIpAddress } from '../net/ip-address.js';
import { PROTOCOL_NAMES, tryParseProtocol } from '../net/next-layer-protocol.js';
import { type NumberRange, PORT_MAX, tryParseNumberRange } from '../net/port-range.js';
import { type SelectorAddressRange, selectorRangeOf } from '../spd/selector.js';
import { LIST_MAX } from './defaults.js';
import { addIssue } from './field.js';
import { NOT_IN_THIS_VERSION } from './fault.js';
import { LATER_VALUES } from './later.js';
import { nearestName } from './nearest.js';

export const ADDRESSES_ACCEPTED = `${ADDRESS_RANGE_ACCEPTED}; a list of these; or any`;
export const PORTS_ACCEPTED = 'a port 0..65535, a range (8000-8099), a list of these, or any';
export const PROTOCOL_ACCEPTED = `any, a number 0..255, or one of ${PROTOCOL_NAMES.join(', ')}`;

/** One or many texts. */
const texts = z.union([z.string(), z.array(z.string()).min(1).max(LIST_MAX)]);

/** One or many numbers or texts. */
const numbers = z.union([
  z.int(),
  z.string(),
  z
    .array(z.union([z.int(), z.string()]))
    .min(1)
    .max(LIST_MAX),
]);

/** Addresses of a selector; the empty list is ANY. */
export function addresses() {
  return texts.transform((input, context): readonly SelectorAddressRange[] => {
    const list = typeof input === 'string' ? [input] : input;
    const ranges: SelectorAddressRange[] = [];
    for (const [index, text] of list.entries()) {
      const path = typeof input === 'string' ? [] : [index];
      if (text.trim() === 'any') {
        if (list.length > 1) {
          addIssue(context, { path, why: 'any holds everything else of the list' });
        }
        continue;
      }
      const result = tryParseAddressRange(text.trim());
      if (result.ok) ranges.push(selectorRangeOf(result.range));
      else {
        const nearest = result.fault.suggestion ?? nearestName(text, ['any']);
        addIssue(context, { path, why: result.fault.reason, nearest });
      }
    }
    return ranges;
  });
}

/** One address, canonical. */
export function address() {
  return z.string().transform((text, context): string => {
    const result = tryParseAddressRange(text.trim());
    const parsed = tryParseIpAddress(text.trim());
    if (parsed !== null && result.ok) return selectorRangeOf(result.range).from;
    addIssue(context, {
      why: result.ok ? 'it is more than one address' : result.fault.reason,
    });
    return z.NEVER;
  });
}

/** One or many addresses, canonical. */
export function addressList() {
  return texts.transform((input, context): readonly string[] => {
    const list = typeof input === 'string' ? [input] : input;
    return list.flatMap((text, index) => {
      const parsed = tryParseIpAddress(text.trim());
      if (parsed !== null) {
        return [
          selectorRangeOf({ family: parsed.family, first: parsed.value, last: parsed.value }).from,
        ];
      }
      const why =
        text.includes(':') && text.includes('.')
          ? 'a port is a key of its own'
          : 'it is not an address';
      addIssue(context, { path: typeof input === 'string' ? [] : [index], why });
      return [];
    });
  });
}

/** A next layer protocol. */
export function protocol() {
  return z
    .union([z.int().min(0).max(255), z.string()])
    .transform((input, context): number | 'any' => {
      if (typeof input === 'number') return input;
      if (input === 'any') return 'any';
      const parsed = tryParseProtocol(input);
      if (parsed !== null) return parsed;
      const nearest = nearestName(input, ['any', ...PROTOCOL_NAMES]);
      addIssue(context, { why: 'there is no protocol of that name', nearest });
      return z.NEVER;
    });
}

/** Ports of a selector; the empty list is ANY. */
export function ports() {
  return numbers.transform((input, context): readonly NumberRange[] => {
    const list = Array.isArray(input) ? input : [input];
    const ranges: NumberRange[] = [];
    for (const [index, item] of list.entries()) {
      const path = Array.isArray(input) ? [index] : [];
      const text = `${item}`.trim();
      if (text === 'any') {
        if (list.length > 1) {
          addIssue(context, { path, why: 'any holds everything else of the list' });
        }
        continue;
      }
      if (LATER_VALUES.port.some((name) => name === text)) {
        addIssue(context, { path, why: NOT_IN_THIS_VERSION });
        continue;
      }
      const result = tryParseNumberRange(text, PORT_MAX);
      if (result.ok) ranges.push(result.range);
      else addIssue(context, { path, why: result.reason, nearest: result.suggestion });
    }
    // RFC 7296 section 3.13.1 writes ANY as 0..65535; fragments, which have no ports, are in it.
    return ranges.some(({ from, to }) => from === 0 && to === PORT_MAX) ? [] : ranges;
  });
}

/** ICMP types or codes as they stand; read where the protocol is known. */
export function icmpNumbers() {
  return numbers.transform((input): readonly (string | number)[] =>
    Array.isArray(input) ? input : [input],
  );
}

/** One or many names of interfaces. */
export function interfaceNames(valid: (name: string) => boolean) {
  return texts.transform((input, context): readonly string[] => {
    const list = typeof input === 'string' ? [input] : input;
    for (const [index, name] of list.entries()) {
      const path = typeof input === 'string' ? [] : [index];
      if (!valid(name)) addIssue(context, { path, why: 'it cannot be the name of an interface' });
      else if (list.indexOf(name) !== index)
        addIssue(context, { path, why: 'it stands here twice' });
    }
    return list;
  });
}
