import type { Contender } from '../contender.js';

/** Plain routing: what the machine gives without any tunnel. */
export const none: Contender = {
  name: 'none',
  title: 'no tunnel',
  prepare: () => Promise.resolve(null),
  start: async (gatewayA, gatewayB, topology) => {
    for (const [here, there] of [
      [gatewayA, gatewayB],
      [gatewayB, gatewayA],
    ] as const) {
      await topology.lab.run(
        'ip',
        ...['-n', here.namespace, 'route', 'add', there.subnet, 'via', there.wireAddress],
        ...['src', here.lanAddress],
      );
    }
    return {
      facts: { version: '', algorithm: 'none' },
      alive: () => true,
      stop: async () => {
        for (const [here, there] of [
          [gatewayA, gatewayB],
          [gatewayB, gatewayA],
        ] as const) {
          await topology.lab.run('ip', '-n', here.namespace, 'route', 'del', there.subnet);
        }
      },
    };
  },
};
