import { describe, expect, it } from 'vitest';
import {
  padSk,
  type SkCipher,
  skCipherOf,
  unpadSk,
} from '../../../../packages/ipsec-node/src/ike/crypto/sk-cipher.js';
import type { Transform } from '../../../../packages/ipsec-node/src/sad/transform.js';
import { readVectors, type VectorRecord } from '../../../oracle/vector-file.js';

const hex = (bytes: Uint8Array | null): string | null =>
  bytes === null ? null : Buffer.from(bytes).toString('hex');
const encryption = (id: number, keyBits: number | null): Transform => ({
  type: 'encryption',
  id,
  keyBits,
});
const integrity = (id: number): Transform => ({ type: 'integrity', id, keyBits: null });

function cipherOf(vector: VectorRecord): SkCipher {
  const bits = vector.number('key_bits');
  const number = vector.number('integrity');
  const cipher = skCipherOf(
    encryption(vector.number('encryption'), bits === 0 ? null : bits),
    number === 0 ? null : integrity(number),
  );
  if (cipher === null) throw new Error(`no cipher for ${vector.text('id')}`);
  return cipher;
}

const { vectors } = readVectors('ikev2-sk-generated');

describe('Encrypted payloads', () => {
  it.each(vectors.map((vector) => [vector.text('id'), vector] as const))(
    'are sealed and opened as others do: %s',
    (_id, vector) => {
      const cipher = cipherOf(vector);
      const keys = {
        encryption: vector.hex('encryption_key'),
        integrity: vector.hex('integrity_key'),
      };
      expect(cipher.keyLen).toBe(keys.encryption.length);
      expect(cipher.integrityKeyLen).toBe(keys.integrity.length);
      const iv = vector.hex('iv');
      expect(cipher.ivLen).toBe(iv.length);
      const head = vector.hex('head');
      const padded = padSk(vector.hex('payloads'), cipher.blockLen);
      expect(hex(padded)).toBe(vector.text('padded'));
      const body = cipher.seal(keys, iv, head, padded);
      expect(hex(body)).toBe(vector.text('body'));
      expect(body.length).toBe(cipher.ivLen + padded.length + cipher.icvLen);
      expect(hex(cipher.open(keys, head, body))).toBe(vector.text('padded'));
      expect(hex(unpadSk(padded))).toBe(vector.text('payloads'));
    },
  );

  it('open only as they were sealed: every octet of head and body counts', () => {
    for (const vector of vectors.filter((each) => each.text('id').endsWith('-40'))) {
      const cipher = cipherOf(vector);
      const keys = {
        encryption: vector.hex('encryption_key'),
        integrity: vector.hex('integrity_key'),
      };
      for (const field of ['head', 'body'] as const) {
        const length = vector.hex(field).length;
        for (let at = 0; at < length; at += 1) {
          const parts = { head: vector.hex('head'), body: vector.hex('body') };
          const bytes = parts[field];
          bytes.writeUInt8(bytes.readUInt8(at) ^ 0x10, at);
          expect(cipher.open(keys, parts.head, parts.body), `${field} ${at}`).toBeNull();
        }
      }
    }
  });

  it('are refused at every other length', () => {
    for (const vector of vectors.filter((each) => each.text('id').endsWith('-40'))) {
      const cipher = cipherOf(vector);
      const keys = {
        encryption: vector.hex('encryption_key'),
        integrity: vector.hex('integrity_key'),
      };
      const body = vector.hex('body');
      for (let length = 0; length < body.length; length += 1) {
        const cut = body.subarray(0, length);
        expect(cipher.open(keys, vector.hex('head'), cut), `${length}`).toBeNull();
      }
      expect(cipher.open(keys, vector.hex('head'), Buffer.concat([body, body]))).toBeNull();
    }
  });

  it('look like RFC 7634 Appendix B', () => {
    const vector = readVectors('esp-ike-chacha20poly1305-rfc7634').vectors.find(
      (each) => each.text('kind') === 'ikev2-SK-payload',
    );
    const cipher = skCipherOf(encryption(28, null), null);
    if (vector === undefined || cipher === null) throw new Error('nothing to test');
    const keys = {
      encryption: Buffer.concat([vector.hex('key'), vector.hex('salt')]),
      integrity: new Uint8Array(0),
    };
    const padded = padSk(vector.hex('notify_payload'), cipher.blockLen);
    expect(hex(padded)).toBe(vector.text('plaintext'));
    const body = cipher.seal(keys, vector.hex('iv'), vector.hex('aad'), padded);
    expect(vector.text('aad') + hex(body)).toBe(vector.text('ike_message'));
  });

  it('ask for random IVs with CBC alone', () => {
    for (const vector of vectors) {
      expect(cipherOf(vector).needsRandomIv).toBe(vector.number('encryption') === 12);
    }
  });

  it('have no cipher for transforms that do not go together', () => {
    expect(skCipherOf(encryption(12, 256), null)).toBeNull();
    expect(skCipherOf(encryption(12, 256), integrity(0))).toBeNull();
    expect(skCipherOf(encryption(12, 256), integrity(1))).toBeNull();
    expect(skCipherOf(encryption(12, null), integrity(12))).toBeNull();
    expect(skCipherOf(encryption(12, 512), integrity(12))).toBeNull();
    expect(skCipherOf(encryption(20, 256), integrity(12))).toBeNull();
    expect(skCipherOf(encryption(20, null), null)).toBeNull();
    expect(skCipherOf(encryption(20, 512), null)).toBeNull();
    expect(skCipherOf(encryption(28, 256), null)).toBeNull();
    expect(skCipherOf(encryption(3, null), integrity(12))).toBeNull();
    // RFC 7296 section 3.3.3: NONE with an AEAD means the same as no transform.
    expect(skCipherOf(encryption(20, 256), integrity(0))).not.toBeNull();
  });
});

describe('padding', () => {
  it('may have any length and content', () => {
    // RFC 7296 section 3.14: the recipient accepts any padding that the Pad Length fits.
    expect(hex(unpadSk(Buffer.from('aabb010203ff05', 'hex')))).toBe('aa');
    expect(hex(unpadSk(Buffer.from('aabb00', 'hex')))).toBe('aabb');
    expect(hex(unpadSk(Buffer.concat([Buffer.alloc(255), Buffer.of(255)])))).toBe('');
    expect(hex(unpadSk(Buffer.of(0)))).toBe('');
  });

  it('is not longer than what there is', () => {
    expect(unpadSk(Buffer.from('aabb03', 'hex'))).toBeNull();
    expect(unpadSk(Buffer.of(1))).toBeNull();
    expect(unpadSk(Buffer.alloc(0))).toBeNull();
    expect(unpadSk(Buffer.concat([Buffer.alloc(254), Buffer.of(255)]))).toBeNull();
  });

  it('fills blocks and no more', () => {
    for (let length = 0; length < 40; length += 1) {
      const padded = padSk(Buffer.alloc(length, 7), 16);
      expect(padded.length % 16).toBe(0);
      expect(padded.length - length).toBeLessThanOrEqual(16);
      expect(padded.at(-1)).toBe(padded.length - length - 1);
    }
  });
});
