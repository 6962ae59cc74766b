import type { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LATER_COMMANDS } from '../../../packages/ipsec-node/src/cli/commands/later.js';
import { buildProgram } from '../../../packages/ipsec-node/src/cli/program.js';
import { systemClock } from '../../../packages/ipsec-node/src/clock.js';
import { cli, FILE, makeSite, type Site } from './fixture.js';

const COMMANDS = [
  'up',
  'check',
  'explain',
  'status',
  'peers',
  'sas',
  'policies',
  'counters',
  'initiate',
  'rekey',
  'terminate',
  'reload',
  'monitor',
  'capture',
  'doctor',
  'guard',
  'unguard',
  'demo',
  'schema',
  'version',
];

describe('command line', () => {
  let site: Site;

  beforeAll(() => {
    site = makeSite();
  });

  afterAll(() => site.remove());

  it('has the commands of the contract and refuses the rest by name', () => {
    const program: Command = buildProgram({
      terminal: { out: () => {}, err: () => {}, interactive: false, columns: 80 },
      clock: systemClock,
      onSignal: () => () => {},
      exitNow: () => {},
      openGateway: () => Promise.reject(new Error('not asked for')),
      exitCode: 0,
    });
    const names = program.commands.map((command) => command.name());
    expect(names).toEqual([...COMMANDS, ...Object.keys(LATER_COMMANDS)]);
  });

  it.each(COMMANDS)('%s --help has an example and the exit codes', async (command) => {
    const { exitCode, out, err } = await cli([command, '--help']);
    expect({ exitCode, err }).toEqual({ exitCode: 0, err: '' });
    expect(out).toMatch(new RegExp(`Example:\n  \\$ .*ipsec-node ${command}`));
    expect(out).toContain('--json');
    expect(out).toContain('Exits with 0 on success, 1 on failure, 2 on bad usage');
  });

  it.each(Object.entries(LATER_COMMANDS))('%s is not in this version', async (command, instead) => {
    for (const args of [[command], [command, 'name', '--timeout', '5'], [command, '--help']]) {
      const { exitCode, out, err } = await cli(args);
      expect({ exitCode, out }).toEqual({ exitCode: 2, out: '' });
      expect(err).toBe(`ipsec-node: ${command} is not in this version. ${instead}\n`);
    }
  });

  it.each([
    [['statu'], "unknown command 'statu'\n(Did you mean status?)"],
    [['up'], "required option '-c, --config <file>' not specified"],
    [['check', '-c'], "option '-c, --config <file>' argument missing"],
    [['status', '--wach'], "unknown option '--wach'\n(Did you mean --watch?)"],
    [['status', '--watch', 'soon'], 'seconds are 0.1..3600.'],
    [['up', '-c', 'x', '--log-level', 'loud'], 'Allowed choices are error, warn, info, debug.'],
    [['explain', 'out', 'tcp', '10.1.0.5', '10.2.0.7:80'], 'source 10.1.0.5 lacks its port'],
    [['explain', 'out', 'tcp', '10.1.0.5:1', '10.2.0.7:80'], 'explain needs a file (-c FILE)'],
    [['unguard'], 'unguard needs a file (-c FILE) or the name of a gateway.'],
  ])('%j is bad usage', async (args, words) => {
    const { exitCode, out, err } = await cli(args);
    expect({ exitCode, out }).toEqual({ exitCode: 2, out: '' });
    expect(err).toContain(words);
  });

  it('without a command shows the help and exits with 2', async () => {
    const { exitCode, err } = await cli([]);
    expect(exitCode).toBe(2);
    expect(err).toContain('Commands:');
  });

  it('version and -V say the version', async () => {
    expect((await cli(['-V'])).out).toMatch(/^\d+\.\d+\.\d+\n$/);
    expect((await cli(['version'])).out).toMatch(/^ipsec-node \d+\.\d+\.\d+ \(Node\.js /);
    expect(JSON.parse((await cli(['version', '--json'])).out)).toEqual({
      version: expect.any(String),
      node: process.versions.node,
      platform: `${process.platform}-${process.arch}`,
    });
  });

  it('schema prints a JSON Schema', async () => {
    expect(JSON.parse((await cli(['schema'])).out)).toMatchObject({
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      type: 'object',
    });
  });

  it('check says that a file is valid, and what is unwise', async () => {
    const { exitCode, out, err } = await cli(['check', '-c', site.file]);
    expect({ exitCode, err }).toEqual({ exitCode: 0, err: '' });
    expect(out).toMatch(/: warning: .*\[manual-keys\]$/m);
    expect(out).toMatch(/is valid: 3 policies, 1 association, \d+ warnings\.\n$/);
    expect(JSON.parse((await cli(['check', '-c', site.file, '--json'])).out)).toMatchObject({
      file: site.file,
      valid: true,
      faults: [],
      findings: expect.arrayContaining([expect.objectContaining({ code: 'manual-keys' })]),
    });
  });

  it.each(['check', 'up', 'explain', 'guard', 'status', 'doctor'])(
    '%s shows every fault of a file at once, and exits with 2',
    async (command) => {
      const broken = makeSite(
        FILE.replace('remotePort', 'remotPort')
          .replace('discard', 'drop')
          .replace('198.51.100.2', '198.51.100.256'),
      );
      const packet = command === 'explain' ? ['out', 'tcp', '10.1.0.5:1', '10.2.0.7:80'] : [];
      const { exitCode, out, err } = await cli([command, '-c', broken.file, ...packet]);
      expect({ exitCode, out }).toEqual({ exitCode: 2, out: '' });
      expect(err).toContain(`${broken.file} has 3 faults:`);
      expect(err).toMatch(
        /ipsec\.yaml:\d+:\d+: policies\[0\]\.remotPort: .* did you mean remotePort\?/,
      );
      expect(err).toMatch(
        /ipsec\.yaml:\d+:\d+: policies\[2\]\.action: .*accepted: protect, bypass, discard/,
      );
      expect(err).toMatch(/ipsec\.yaml:\d+:\d+: associations\[0\]\.remote: /);
      broken.remove();
    },
  );

  it('explain says where the file does not tell every outer address of ours', async () => {
    const peer = (localAddress: string): Site =>
      makeSite(`
peers:
  b:
    address: 198.51.100.2
${localAddress}
    local: { id: a.example, auth: psk }
    remote: { id: b.example, auth: psk }
    psk: "0123456789abcdef0123456789abcdef"
policies:
  - { name: lan, local: 10.1.0.0/16, remote: 10.2.0.0/16, action: protect, peer: b }
  - { name: rest, action: discard }
`);
    const byRoutes = peer('');
    const byFile = peer('    localAddress: 192.0.2.1');
    const ike = ['in', 'udp', '198.51.100.2:500', '192.0.2.1:500'];
    const other = ['in', 'tcp', '198.51.100.2:500', '192.0.2.1:22'];
    const said = async (site: Site, packet: readonly string[]): Promise<string> =>
      (await cli(['explain', '-c', site.file, ...packet])).out;
    expect(await said(byRoutes, ike)).toMatch(/Discarded[^]*does not say every outer address/);
    expect(await said(byRoutes, other)).not.toContain('outer address');
    expect(await said(byFile, ike)).toMatch(/BYPASS/);
    expect(await said(byFile, ike)).not.toContain('every outer address');
    byRoutes.remove();
    byFile.remove();
  });

  it('check --json of a faulty file is data, and exits with 2', async () => {
    const broken = makeSite(FILE.replace('remotePort', 'remotPort'));
    const { exitCode, out, err } = await cli(['check', '-c', broken.file, '--json']);
    expect({ exitCode, err }).toEqual({ exitCode: 2, err: '' });
    expect(JSON.parse(out)).toMatchObject({
      valid: false,
      code: 'IPSEC_ERR_CONFIG_INVALID',
      faults: [{ line: 12, path: 'policies[0].remotPort', nearest: 'remotePort' }],
    });
    broken.remove();
  });

  it('an absent file and an absent gateway are told apart', async () => {
    expect(await cli(['check', '-c', '/nowhere/ipsec.yaml'])).toMatchObject({
      exitCode: 2,
      err: expect.stringContaining('/nowhere/ipsec.yaml'),
    });
    const { exitCode, err } = await cli(['sas', '--control', '/nowhere/hq.vici']);
    expect(exitCode).toBe(1);
    expect(err).toBe(
      'ipsec-node: No gateway answers on /nowhere/hq.vici.\n' +
        '  next: Start it with `ipsec-node up`, or name its socket. (IPSEC_ERR_CONTROL_UNREACHABLE)\n',
    );
  });

  it('--json turns a failure into data', async () => {
    const { exitCode, out, err } = await cli(['sas', '--control', '/nowhere/hq.vici', '--json']);
    expect({ exitCode, err }).toEqual({ exitCode: 1, err: '' });
    expect(JSON.parse(out)).toMatchObject({
      error: { code: 'IPSEC_ERR_CONTROL_UNREACHABLE', remedy: expect.any(String) },
    });
  });
});
