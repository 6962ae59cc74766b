/** strongSwan's commands that load and unload connections and credentials. */
import { UsageError } from '../../errors.js';
import { bytesOf, isSection, listOf, section, textOf, type ViciSection } from './codec.js';
import { readConn } from './load-conn.js';
import type { LoadedConns } from './loaded-conns.js';
import type { ViciCommand, ViciStream } from './server.js';

function required(request: ViciSection, key: string): string {
  const text = textOf(request, key);
  if (text === undefined || text === '') {
    throw new UsageError('IPSEC_ERR_USAGE', `${key} is missing`);
  }
  return text;
}

function data(request: ViciSection): Uint8Array {
  const bytes = bytesOf(request, 'data');
  if (bytes === undefined) throw new UsageError('IPSEC_ERR_USAGE', 'data is missing');
  return bytes;
}

const done = (isDone: boolean, otherwise: string): ViciSection =>
  section([
    ['success', isDone],
    ['errmsg', isDone ? undefined : otherwise],
  ]);

/** The commands over what was loaded. `told` is given what a loaded connection still lacks. */
export function loadCommands(
  conns: LoadedConns,
  told: (text: string) => void,
): ReadonlyMap<string, ViciCommand> {
  return new Map<string, ViciCommand>([
    ['load-conn', (request) => loadConn(conns, request, told)],
    [
      'unload-conn',
      async (request) => {
        const name = required(request, 'name');
        return done(await conns.unload(name), `no connection ${name} was loaded`);
      },
    ],
    // Only what was loaded: swanctl unloads what is here and not in its own file.
    ['get-conns', async () => section([['conns', conns.names]])],
    [
      'load-shared',
      async (request) => {
        const [id, type] = [textOf(request, 'id') ?? '', required(request, 'type')];
        const owners = listOf(request, 'owners');
        await conns.change((all) => all.loadShared(id, type, data(request), owners));
        return done(true, '');
      },
    ],
    [
      'unload-shared',
      async (request) => {
        const id = required(request, 'id');
        return done(
          await conns.change((all) => all.unloadShared(id)),
          `no secret ${id} was loaded`,
        );
      },
    ],
    ['get-shared', async () => section([['keys', conns.credentials.sharedIds]])],
    [
      'load-key',
      async (request) => {
        const type = required(request, 'type');
        const id = await conns.change((all) => all.loadKey(type, data(request)));
        return section([
          ['success', true],
          ['id', id],
        ]);
      },
    ],
    [
      'unload-key',
      async (request) => {
        const id = required(request, 'id');
        return done(await conns.change((all) => all.unloadKey(id)), `no key ${id} was loaded`);
      },
    ],
    ['get-keys', async () => section([['keys', conns.credentials.keyIds]])],
    [
      'load-cert',
      async (request) => {
        const [type, flag] = [required(request, 'type'), textOf(request, 'flag') ?? 'NONE'];
        await conns.change((all) => all.loadCertificate(type, flag, data(request)));
        return done(true, '');
      },
    ],
    [
      'clear-creds',
      async () => {
        await conns.change((all) => all.clear());
        return done(true, '');
      },
    ],
    ['list-certs', (request, stream) => listCertificates(conns, request, stream)],
    // No certificate of a peer is kept past its exchange.
    ['flush-certs', async () => done(true, '')],
  ]);
}

async function loadConn(
  conns: LoadedConns,
  request: ViciSection,
  told: (text: string) => void,
): Promise<ViciSection> {
  const [first, ...others] = request;
  if (first === undefined || others.length > 0 || !isSection(first[1])) {
    throw new UsageError('IPSEC_ERR_USAGE', 'one section is accepted, named for the connection');
  }
  const [name, content] = first;
  const missing = await conns.load(readConn(name, content));
  if (missing !== null) told(`the connection ${name} waits for ${missing}`);
  return done(true, '');
}

async function listCertificates(
  conns: LoadedConns,
  request: ViciSection,
  stream: ViciStream,
): Promise<ViciSection> {
  const type = (textOf(request, 'type') ?? 'any').toLowerCase();
  if (type === 'any' || type === 'x509') {
    for (const { certificate, isAuthority, hasKey } of conns.credentials.allCertificates()) {
      await stream(
        'list-cert',
        section([
          ['type', 'X509'],
          ['flag', isAuthority ? 'CA' : 'NONE'],
          ['has_privkey', hasKey ? true : undefined],
          ['data', new Uint8Array(certificate.raw)],
        ]),
      );
    }
  }
  return section();
}
