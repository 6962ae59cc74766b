import { defineConfig } from 'vitest/config';

/** A folder of test/ as a project of its own: `vitest run --project oracle`. */
function folder(
  name: string,
  settings: { testTimeout: number; alone: boolean; exclude?: readonly string[] },
) {
  return {
    test: {
      name,
      include: [`test/${name}/**/*.test.ts`],
      exclude: [...(settings.exclude ?? [])],
      testTimeout: settings.testTimeout,
      hookTimeout: settings.testTimeout,
      teardownTimeout: 20_000,
      // Namespaces and traffic measurements disturb one another: one file after the other.
      fileParallelism: !settings.alone,
      pool: 'forks' as const,
      ...(settings.alone ? { maxWorkers: 1 } : {}),
      passWithNoTests: true,
    },
  };
}

export default defineConfig({
  test: {
    passWithNoTests: true,
    projects: [
      folder('unit', { testTimeout: 20_000, alone: false }),
      folder('oracle', { testTimeout: 60_000, alone: false }),
      folder('exchange', { testTimeout: 60_000, alone: false }),
      folder('contract', { testTimeout: 60_000, alone: false }),
      folder('tidy', { testTimeout: 60_000, alone: false }),
      folder('lab', { testTimeout: 180_000, alone: true }),
      folder('scenario', { testTimeout: 180_000, alone: true }),
      folder('interop', {
        testTimeout: 600_000,
        alone: true,
        // Two daemons in an emulated machine take many minutes: only when asked for (test/README.md).
        exclude: process.env['IKE_GUEST'] === undefined ? ['test/interop/ike-guest.test.ts'] : [],
      }),
    ],
  },
});
