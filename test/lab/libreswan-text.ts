/** A connection's description in the words of libreswan's ipsec.conf. */

import { createHash, createPrivateKey } from 'node:crypto';
import type { PartyTerms, PeerDescription } from './ike-peer.ts';

const CIPHERS: Readonly<Record<string, string>> = {
  aes128: 'aes128',
  aes192: 'aes192',
  aes256: 'aes256',
  aes128gcm16: 'aes_gcm128',
  aes256gcm16: 'aes_gcm256',
  chacha20poly1305: 'chacha20_poly1305',
  null: 'null',
};

const HASHES: Readonly<Record<string, string>> = {
  sha1: 'sha1',
  sha256: 'sha2_256',
  sha384: 'sha2_384',
  sha512: 'sha2_512',
  prfsha1: 'sha1',
  prfsha256: 'sha2_256',
  prfsha384: 'sha2_384',
  prfsha512: 'sha2_512',
};

const GROUPS: Readonly<Record<string, string>> = {
  modp2048: 'dh14',
  modp3072: 'dh15',
  modp4096: 'dh16',
  modp8192: 'dh18',
  ecp256: 'dh19',
  ecp384: 'dh20',
  ecp521: 'dh21',
  x25519: 'dh31',
};

interface Parts {
  readonly cipher: string;
  readonly hash: string | undefined;
  readonly group: string | undefined;
  readonly esn: boolean | undefined;
}

/** strongSwan's keywords, one proposal. Throws for what libreswan 4.10 has not. */
function partsOf(proposal: string): Parts {
  const words = proposal.split('-');
  const find = (table: Readonly<Record<string, string>>): string | undefined =>
    words.map((word) => table[word]).find((found) => found !== undefined);
  const cipher = find(CIPHERS);
  const known = words.every(
    (word) => word in CIPHERS || word in HASHES || word in GROUPS || /^(no)?esn$/.test(word),
  );
  if (cipher === undefined || !known) throw new Error(`libreswan has no ${proposal}`);
  const esn = words.includes('esn') ? true : words.includes('noesn') ? false : undefined;
  return { cipher, hash: find(HASHES), group: find(GROUPS), esn };
}

function ikeWord(proposal: string): string {
  const { cipher, hash, group } = partsOf(proposal);
  return `${cipher}-${hash ?? 'sha2_256'}${group === undefined ? '' : `-${group}`}`;
}

function espWord(proposal: string): string {
  const { cipher, hash, group } = partsOf(proposal);
  return [cipher, hash ?? (cipher.includes('gcm') || cipher.includes('poly') ? 'null' : 'sha2_256')]
    .join('-')
    .concat(group === undefined ? '' : `-${group}`);
}

/** An FQDN is marked, else it is looked up; a DN is in quotes. */
function identity(party: PartyTerms): string {
  const { id } = party;
  if (id.includes('=')) return `"${id}"`;
  return /^[\d.]+$|:|@/.test(id) ? id : `@${id}`;
}

/** Of the key's own kind: told two, it would sign by the first with a key of the second. */
function authby({ credentials }: PeerDescription): string {
  const { privateKey } = credentials;
  if (privateKey === undefined) return 'secret';
  return createPrivateKey(privateKey).asymmetricKeyType === 'ec' ? 'ecdsa' : 'rsa-sha2';
}

/** What a certificate is called in the database. */
export function certificateName(pem: string): string {
  return createHash('sha256').update(pem).digest('hex').slice(0, 16);
}

/** `conn` section: one child alone; our side is `left`. */
export function connectionText(peer: PeerDescription): string {
  const [child, ...others] = peer.children;
  if (child === undefined || others.length > 0) throw new Error('one child is what libreswan has');
  const esn = child.proposals.map((proposal) => partsOf(proposal).esn);
  const transport = child.mode === 'transport';
  const [leaf] = peer.credentials.certificates ?? [];
  const lines = {
    ikev2: 'insist',
    auto: 'add',
    type: child.mode ?? 'tunnel',
    // It would start many programs, for routes that are there.
    leftupdown: '%disabled',
    left: peer.localAddress,
    leftid: identity(peer.local),
    right: peer.remoteAddress,
    rightid: identity(peer.remote),
    authby: authby(peer),
    ike: peer.proposals.map(ikeWord).join(','),
    esp: child.proposals.map(espWord).join(','),
    pfs: child.proposals.some((each) => partsOf(each).group !== undefined) ? 'yes' : 'no',
    esn: esn.includes(true) ? (esn.includes(false) ? 'either' : 'yes') : 'no',
    encapsulation: peer.forceEncapsulation === true ? 'yes' : 'auto',
    fragmentation: peer.fragmentation === false ? 'no' : 'yes',
    mobike: peer.mobike === true ? 'yes' : 'no',
    salifetime: `${child.rekeySeconds ?? 28_800}s`,
    narrowing: 'yes',
    ...(transport
      ? {}
      : { leftsubnet: child.local.join(','), rightsubnet: child.remote.join(',') }),
    ...(leaf === undefined
      ? {}
      : { leftcert: certificateName(leaf), rightca: '%same', leftsendcert: 'always' }),
    ...(peer.dpdSeconds === undefined
      ? {}
      : { dpddelay: `${peer.dpdSeconds}s`, dpdtimeout: '30s' }),
  };
  const body = Object.entries(lines).map(([key, value]) => `\t${key}=${value}\n`);
  return `conn ${peer.name}\n${body.join('')}`;
}

export function secretText(peer: PeerDescription): string {
  const { psk } = peer.credentials;
  if (psk === undefined) return '';
  return `${identity(peer.local)} ${identity(peer.remote)} : PSK "${psk}"\n`;
}
