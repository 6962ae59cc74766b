/** Keys and certificates are made outside: RSA keys take minutes in an emulated guest. */

import { readFileSync } from 'node:fs';
import type { Credentials, PartyTerms } from '../../lab/ike-peer.ts';
import { makeDatabase } from '../../lab/libreswan.ts';
import { parseLine } from '../../lab/node-program.ts';
import type { Auth } from './cases.ts';
import { credentialsOf } from './credentials.ts';

export interface HeldCredentials {
  readonly party: Omit<PartyTerms, 'id'>;
  readonly credentials: Credentials;
}

/** Where the files are in the guest. */
export const JOB_FOLDER = '/run/job';
const HELD_FILE = 'credentials.json';
const TEXTS = ['psk', 'privateKey', 'publicKey', 'remotePublicKey'] as const;
const LISTS = ['certificates', 'authorities', 'crls'] as const;

/** Outside: files for the guest, what is held by `auth side` and B's database for libreswan. */
export async function makeHeld(
  auths: readonly Auth[],
): Promise<Readonly<Record<string, string | Uint8Array>>> {
  const held: Record<string, HeldCredentials> = {};
  for (const auth of new Set(auths)) {
    for (const side of ['a', 'b'] as const) {
      const common = { name: '', ike: '', esp: '', algorithms: ['', ''] as const };
      const ikeCase = { ...common, auth, subject: ` ${auth}` };
      held[`${auth} ${side}`] = await credentialsOf(ikeCase, side);
    }
  }
  const ofB = Object.entries(held).filter(([name]) => name.endsWith(' b'));
  return {
    [HELD_FILE]: JSON.stringify(held),
    ...(await makeDatabase(ofB.map(([, { credentials }]) => credentials))),
  };
}

function parseHeld(value: unknown): HeldCredentials {
  const fields = parseLine(JSON.stringify(value));
  const party = parseLine(JSON.stringify(fields.get('party')));
  const credentials = parseLine(JSON.stringify(fields.get('credentials')));
  const auth = party.get('auth');
  if (auth !== 'psk' && auth !== 'certificate' && auth !== 'public-key') {
    throw new Error(`no auth ${String(auth)}`);
  }
  const signature = party.get('signature');
  const texts = TEXTS.flatMap((name) => {
    const text = credentials.get(name);
    return typeof text === 'string' ? [[name, text]] : [];
  });
  const lists = LISTS.flatMap((name) => {
    const list = credentials.get(name);
    return Array.isArray(list) ? [[name, list.map((each: unknown) => String(each))]] : [];
  });
  return {
    party: {
      auth,
      ...(signature === 'rsa-pss' || signature === 'rsa-pkcs1' ? { signature } : {}),
    },
    credentials: Object.fromEntries([...texts, ...lists]),
  };
}

/** In the guest. */
export function readHeld(): ReadonlyMap<string, HeldCredentials> {
  const all = parseLine(readFileSync(`${JOB_FOLDER}/${HELD_FILE}`, 'utf8'));
  return new Map([...all].map(([name, value]) => [name, parseHeld(value)]));
}
