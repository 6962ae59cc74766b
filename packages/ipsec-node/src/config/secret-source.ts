import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

import { KEY_FILE_BYTES_MAX } from './defaults.js';

/** Where the bytes of a secret are to be found. */
export type SecretReference =
  | { readonly kind: 'file' /** Absolute. */; readonly path: string }
  | { readonly kind: 'env'; readonly name: string }
  | { readonly kind: 'credential'; readonly name: string };

export type SecretReading =
  | {
      readonly ok: true;
      /** The caller zeroes them. */
      readonly bytes: Uint8Array;
      /** True where others than the owner may read the file. */
      readonly exposed: boolean;
    }
  | {
      readonly ok: false;
      /** True where it may be there and this process may not read it. */
      readonly denied: boolean;
      /** In words that may be shown. */
      readonly reason: string;
    };

/** Reads secrets. An argument, so that nothing below asks the host for anything. */
export interface SecretSource {
  /** @param bytesMax the largest file that is read; that of a key by default. */
  read(reference: SecretReference, bytesMax?: number): SecretReading;
}

/** Writes a reference in words that may be shown. */
export function formatSecretReference(reference: SecretReference): string {
  return reference.kind === 'file'
    ? `file ${reference.path}`
    : `${reference.kind} ${reference.name}`;
}

/** Secrets of this host: files, the given environment, and systemd's credentials. */
export function hostSecretSource(
  environment: Readonly<Record<string, string | undefined>>,
): SecretSource {
  return {
    read: (reference, bytesMax = KEY_FILE_BYTES_MAX) => {
      switch (reference.kind) {
        case 'file':
          return readSecretFile(reference.path, bytesMax);
        case 'env': {
          const text = environment[reference.name];
          if (text === undefined) return fail('the environment does not have it');
          return { ok: true, bytes: new TextEncoder().encode(text), exposed: false };
        }
        case 'credential': {
          // systemd.exec(5): a unit finds its credentials as files of this directory.
          const directory = environment['CREDENTIALS_DIRECTORY'];
          if (directory === undefined) {
            // Only the unit itself may read them: `check` from a shell cannot.
            const reason = '$CREDENTIALS_DIRECTORY is not set: this is not the systemd unit';
            return { ok: false, denied: true, reason };
          }
          return readSecretFile(join(directory, reference.name), bytesMax);
        }
      }
    },
  };
}

function readSecretFile(path: string, bytesMax: number): SecretReading {
  try {
    const facts = statSync(path);
    if (!facts.isFile()) return fail('it is not a file');
    if (facts.size > bytesMax) return fail(`it is larger than ${bytesMax} bytes`);
    return { ok: true, bytes: readFileSync(path), exposed: (facts.mode & 0o077) !== 0 };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' || code === 'ENOTDIR') return fail('there is no such file');
    if (code === 'EACCES' || code === 'EPERM') {
      return { ok: false, denied: true, reason: 'this user may not read it' };
    }
    return fail(`it cannot be read (${typeof code === 'string' ? code : 'unknown error'})`);
  }
}

function fail(reason: string): SecretReading {
  return { ok: false, denied: false, reason };
}
