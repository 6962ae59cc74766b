import { accessSync, constants, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';

/** What the kernel and the file system tell of this host. An argument, so that tests can tell it. */
export interface HostFiles {
  /** The text of a file; `undefined` where it cannot be read. */
  read(path: string): string | undefined;
  /** Names in a directory; none where it cannot be read. */
  list(path: string): readonly string[];
  /** Where a symbolic link leads; `undefined` where it is none. */
  link(path: string): string | undefined;
  /** What is there, and whether this process may write to it. */
  facts(path: string): FileFacts | undefined;
}

/** What is known of a file without reading it. */
export interface FileFacts {
  readonly kind: 'file' | 'directory' | 'other';
  readonly mode: number;
  readonly writable: boolean;
}

/** The host that this process runs on. */
export const thisHost: HostFiles = {
  read: (path) => attempt(() => readFileSync(path, 'utf8')),
  list: (path) => attempt(() => readdirSync(path)) ?? [],
  link: (path) => attempt(() => readlinkSync(path)),
  facts: (path) =>
    attempt(() => {
      const found = statSync(path);
      const writable = attempt(() => accessSync(path, constants.W_OK) ?? true) === true;
      const kind = found.isDirectory() ? 'directory' : found.isFile() ? 'file' : 'other';
      return { kind, mode: found.mode & 0o7777, writable };
    }),
};

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
