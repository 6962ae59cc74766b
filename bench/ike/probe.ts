/**
 * Loaded before `ipsec-node` by `node --import`: watches the event loop of its main thread. On
 * SIGUSR2 it writes what it saw since the last time into the file that `IPSEC_NODE_BENCH_PROBE`
 * names, and begins anew.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { isMainThread } from 'node:worker_threads';

const file = process.env['IPSEC_NODE_BENCH_PROBE'];
if (isMainThread && file !== undefined) {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  process.on('SIGUSR2', () => {
    const milliseconds = (nanoseconds: number): number => nanoseconds / 1e6;
    const { heapUsed, heapTotal, external, arrayBuffers } = process.memoryUsage();
    const seen = {
      p50: milliseconds(delay.percentile(50)),
      p99: milliseconds(delay.percentile(99)),
      max: milliseconds(delay.max),
      heapUsed,
      heapTotal,
      arrayBuffers,
      external,
    };
    writeFileSync(`${file}.new`, JSON.stringify(seen));
    renameSync(`${file}.new`, file);
    delay.reset();
  });
}
