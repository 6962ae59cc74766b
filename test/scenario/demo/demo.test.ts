import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { describeWith } from '../../lab/describe-with.ts';
import { DEMO, failures, remains, runDemo, startDemo } from './run-demo.ts';

const SUBJECTS = [
  'link',
  'transfer',
  'eavesdropping',
  'modification',
  'injection',
  'spoofing',
  'malformed',
  'replay',
  'traffic analysis',
  'plaintext',
  'impostor',
  'flood',
  'restart',
  'left behind',
];

describeWith(['namespaces'], 'the demo', () => {
  it.each(['first', 'second'])('passes and leaves nothing, the %s time', async () => {
    const before = remains();
    const run = await runDemo();
    expect(failures(run), run.output).toEqual({});
    expect([...new Set(run.lines.map(({ subject }) => subject))]).toEqual(SUBJECTS);
    expect(run.status).toBe(0);
    expect(remains()).toEqual(before);
  });

  it('fits one screen, without colours where nobody reads them', () => {
    const { stdout, status } = spawnSync(DEMO[0] ?? '', [...DEMO.slice(1), 'demo'], {
      encoding: 'utf8',
      timeout: 90_000,
    });
    expect(status, stdout).toBe(0);
    const lines = stdout.split('\n');
    expect(lines.length).toBeLessThanOrEqual(34);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(104);
    expect(stdout).not.toContain('\u001b');
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('leaves nothing after %s', async (signal) => {
    const before = remains();
    await using program = startDemo();
    await program.output(/"transfer"/, 60_000);
    program.signal(signal);
    expect(await program.exited).toBe(1);
    expect(remains()).toEqual(before);
  });

  it('leaves no process after SIGKILL', async () => {
    const before = remains();
    await using program = startDemo();
    await program.output(/"link"/, 60_000);
    program.signal('SIGKILL');
    await program.exited;
    await expect
      .poll(() => remains().filter((each) => !isFolder(each)), { timeout: 5_000 })
      .toEqual(before);
    // Files alone are there still: keys of SAs that are gone.
    for (const each of remains().filter(isFolder)) {
      rmSync(join(tmpdir(), each), { recursive: true });
    }
  });
});

function isFolder(name: string): boolean {
  return name.startsWith('ipsec-node-demo-');
}
