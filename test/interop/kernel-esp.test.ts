import { readFileSync, writeFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { describeWith } from '../lab/describe-with.ts';
import { GUEST_NEEDS, runGuestCases } from '../lab/guest.ts';
import { repositoryRoot } from '../lab/registry.ts';
import {
  aftermathFaults,
  checksumFaults,
  crossingFaults,
  kernelRelease,
  linkFaults,
  markFaults,
  paddingFaults,
  replayFaults,
  type Results,
  stopFaults,
} from './kernel/judge.ts';
import { MATRIX, ORDER } from './kernel/plan.ts';
import { besidesTable, matrixTable, tableOf, withTable } from './kernel/page.ts';

const PAGE = `${repositoryRoot}/docs/interop.md`;
const WRITE = process.env['WRITE_INTEROP'] === 'true';

describeWith(
  ['iproute2', 'iputils-ping', 'nftables', 'tcpdump', 'python3', ...GUEST_NEEDS],
  'the ESP of the Linux kernel',
  () => {
    let results: Results = new Map();

    beforeAll(async () => {
      results = await runGuestCases({
        module: `${repositoryRoot}/test/interop/kernel/cases.ts`,
        names: ORDER,
        caseTimeoutMs: 300_000,
        timeoutMs: 880_000,
      });
    }, 900_000);

    describe('takes what we send, and we what it sends', () => {
      it.each(MATRIX.map((link) => [link.name, link] as const))('%s', (_name, link) => {
        expect(linkFaults(results, link)).toEqual([]);
      });

      it('with no error counter on either side', () => {
        expect(aftermathFaults(results)).toEqual([]);
      });
    });

    it('sends UDP checksums of zero over IPv4, and we take them', () => {
      expect(checksumFaults(results)).toEqual([]);
    });

    it('takes our traffic flow padding, and we take its', () => {
      expect(paddingFaults(results)).toEqual([]);
    });

    it('goes with us past the sequence number 2^32', () => {
      expect(crossingFaults(results)).toEqual([]);
    });

    it('refuses our packets when they come a second time, as we do its', () => {
      expect(replayFaults(results)).toEqual([]);
    });

    it('is told of congestion on the wire, and we are', () => {
      expect(markFaults(results)).toEqual([]);
    });

    it('goes on without us after an orderly stop', () => {
      expect(stopFaults(results)).toEqual([]);
    });

    it(`is in docs/interop.md as it was found${WRITE ? ': written' : ''}`, () => {
      const page = readFileSync(PAGE, 'utf8');
      const tables = { matrix: matrixTable(results), besides: besidesTable(results) };
      if (WRITE) {
        const kernel = `Linux ${kernelRelease(results)}`;
        const written = Object.entries({ ...tables, kernel }).reduce(
          (text, [name, table]) => withTable(text, name, table),
          page,
        );
        writeFileSync(PAGE, written);
        return;
      }
      expect(tableOf(page, 'matrix')).toBe(tables.matrix);
      expect(tableOf(page, 'besides')).toBe(tables.besides);
    });
  },
);
