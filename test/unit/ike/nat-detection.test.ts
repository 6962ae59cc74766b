import { describe, expect, it } from 'vitest';
import { natDetectionHash } from '../../../packages/ipsec-node/src/ike/nat-detection.js';
import { readVectors } from '../../oracle/vector-file.ts';

describe('natDetectionHash', () => {
  const { vectors } = readVectors('ikev2-natd-generated');
  it.each(vectors.map((vector) => ({ id: vector.text('id'), vector })))('$id', ({ vector }) => {
    const hash = natDetectionHash(
      vector.hex('spi_i').readBigUInt64BE(),
      vector.hex('spi_r').readBigUInt64BE(),
      vector.text('ip'),
      vector.number('port'),
    );
    expect(Buffer.from(hash)).toEqual(vector.hex('notify_data'));
  });

  it('has vectors of both families', () => {
    expect(vectors.map((vector) => vector.text('ip').includes(':'))).toContain(true);
    expect(vectors).toHaveLength(3);
  });
});
