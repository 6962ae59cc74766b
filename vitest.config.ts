import { defineConfig } from 'vitest/config';

/** A folder of test/ as a project of its own: `vitest run --project oracle`. */
function folder(
  name: string,
  settings: { testTimeout: number; workers?: number; exclude?: readonly string[] },
) {
  return {
    test: {
      name,
      include: [`test/${name}/**/*.test.ts`],
      exclude: [...(settings.exclude ?? [])],
      testTimeout: settings.testTimeout,
      hookTimeout: settings.testTimeout,
      teardownTimeout: 20_000,
      pool: 'forks' as const,
      ...(settings.workers === undefined
        ? {}
        : { maxWorkers: settings.workers, fileParallelism: settings.workers > 1 }),
      passWithNoTests: true,
    },
  };
}

export default defineConfig({
  test: {
    passWithNoTests: true,
    projects: [
      folder('unit', { testTimeout: 20_000 }),
      folder('oracle', { testTimeout: 60_000 }),
      folder('exchange', { testTimeout: 60_000 }),
      folder('contract', { testTimeout: 60_000 }),
      folder('tidy', { testTimeout: 60_000 }),
      // They count processes, links and namespaces of the whole machine: one file after the other.
      folder('lab', { testTimeout: 180_000, workers: 1 }),
      folder('scenario', { testTimeout: 180_000, workers: 1 }),
      folder('interop', {
        testTimeout: 600_000,
        // Each in namespaces or a guest of its own, and most of it is waiting.
        workers: 2,
        // What wants another strongSwan than the distribution's: only where one is named.
        exclude:
          process.env['IKE_STRONGSWAN'] === undefined
            ? ['test/interop/ike-post-quantum.test.ts']
            : [],
      }),
    ],
  },
});
