/**
 * The product as a guest runs it: its JavaScript in a few large files. An emulated machine takes half
 * a minute to find and open the hundreds of files of the installed package, and a few seconds for
 * these; the code is the same, the native addon is the one of the package.
 */

import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { repositoryRoot } from './registry.ts';

const PACKAGE = `${repositoryRoot}/packages/ipsec-node`;
const FOLDER = `${repositoryRoot}/.cache/guest/product`;
/** As deep as `dist/cli`: the manifest is found by its relative path. */
const SCRIPTS = 'package/dist/guest';

/** The command in the guest, once it was bundled. */
export const PRODUCT_MAIN = `${FOLDER}/${SCRIPTS}/main.js`;

/** Outside, before the guest boots: of the package as it is built now. */
export async function bundleProduct(): Promise<void> {
  const { rolldown } = await import('rolldown');
  mkdirSync(`${repositoryRoot}/.cache/guest`, { recursive: true });
  const draft = mkdtempSync(`${FOLDER}-`);
  try {
    mkdirSync(`${draft}/${SCRIPTS}`, { recursive: true });
    cpSync(`${PACKAGE}/package.json`, `${draft}/package/package.json`);
    // Where `ike/crypto/native.ts` looks for it, three folders above its own.
    symlinkSync(`${PACKAGE}/native`, `${draft}/native`);
    const bundle = await rolldown({
      input: {
        main: `${PACKAGE}/dist/cli/main.js`,
        'compute-worker': `${PACKAGE}/dist/daemon/ike/compute-worker.js`,
      },
      platform: 'node',
      plugins: [
        {
          name: 'addon',
          resolveId: (id) =>
            id.endsWith('/native/index.js')
              ? { id: `${PACKAGE}/native/index.js`, external: 'absolute' }
              : null,
        },
      ],
    });
    try {
      await bundle.write({ dir: `${draft}/${SCRIPTS}`, entryFileNames: '[name].js' });
    } finally {
      await bundle.close();
    }
    if (existsSync(FOLDER)) rmSync(FOLDER, { recursive: true });
    renameSync(draft, FOLDER);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
}
