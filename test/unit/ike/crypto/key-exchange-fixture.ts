/** Private values from vectors, in the form that `agree` takes. */
import { createECDH, createPrivateKey, type KeyObject } from 'node:crypto';
import type { ComputeResult } from '../../../../packages/ipsec-node/src/ike/compute.js';

const CURVES: ReadonlyMap<number, readonly [jwk: string, openssl: string, length: number]> =
  new Map([
    [19, ['P-256', 'prime256v1', 32]],
    [20, ['P-384', 'secp384r1', 48]],
    [21, ['P-521', 'secp521r1', 66]],
  ]);

/** A key of an ECP group from its number, whose point node:crypto computes. */
export function ecpKey(method: number, scalar: Uint8Array): KeyObject {
  const curve = CURVES.get(method);
  if (curve === undefined) throw new Error(`no curve ${method}`);
  const [crv, name, length] = curve;
  const ecdh = createECDH(name);
  ecdh.setPrivateKey(scalar);
  const point = ecdh.getPublicKey();
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64url');
  const d = Buffer.concat([Buffer.alloc(length), scalar]).subarray(-length);
  return createPrivateKey({
    format: 'jwk',
    key: {
      kty: 'EC',
      crv,
      d: text(d),
      x: text(point.subarray(1, 1 + length)),
      y: text(point.subarray(1 + length)),
    },
  });
}

/** A key of X25519 or X448. PKCS #8 takes it without its public half (RFC 8410 section 7). */
export function montgomeryKey(method: number, scalar: Uint8Array): KeyObject {
  const prefix =
    method === 31 ? '302e020100300506032b656e04220420' : '3046020100300506032b656f043a0438';
  return createPrivateKey({
    key: Buffer.concat([Buffer.from(prefix, 'hex'), scalar]),
    format: 'der',
    type: 'pkcs8',
  });
}

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** The secret, or why there is none. */
export function outcome(result: ComputeResult): string {
  if (result.kind === 'agree' || result.kind === 'respond') return hex(result.secret);
  return result.kind === 'refused' ? `refused: ${result.reason}` : result.kind;
}
