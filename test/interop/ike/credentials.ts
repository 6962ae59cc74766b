/** Keys and certificates of both sides for a case; made once for each kind. */

import type { Credentials, PartyTerms } from '../../lab/ike-peer.ts';
import { Authority, type Issued, type KeyKind, makeKey } from '../../lab/openssl-pki.ts';
import type { Auth, IkeCase, Refusal } from './cases.ts';

export const PSK = 'a secret of the laboratory, long enough for everybody';
export const PPK = { id: 'ppk-of-interop', secret: 'post-quantum secret of the laboratory' };

type Side = 'a' | 'b';

interface Chain {
  readonly root: string;
  readonly authorities: readonly Authority[];
  readonly issued: Issued;
  readonly certificates: readonly string[];
}

const chains = new Map<string, Promise<Chain>>();
const roots = new Map<KeyKind, Promise<Authority>>();
const rawKeys = new Map<string, Promise<{ privateKey: string; publicKey: string }>>();

function remembered<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}

function kindOf(auth: Auth): KeyKind | undefined {
  switch (auth) {
    case 'psk':
      return undefined;
    case 'rsa-pkcs1':
      return 'rsa2048';
    case 'raw-ecdsa256':
      return 'ecdsa256';
    case 'raw-rsa2048':
      return 'rsa2048';
    case 'raw-ed25519':
      return 'ed25519';
    case 'raw-ed448':
      return 'ed448';
    default:
      return auth;
  }
}

/** RSA signs as PSS unless the case says otherwise (RFC 8247 section 3.2). */
function signatureOf(auth: Auth): Pick<PartyTerms, 'signature'> {
  if (auth === 'rsa-pkcs1') return { signature: 'rsa-pkcs1' };
  return auth.includes('rsa') ? { signature: 'rsa-pss' } : {};
}

interface ChainTerms {
  readonly side: Side;
  readonly kind: KeyKind;
  readonly depth: number;
  readonly paddingBytes: number | undefined;
  readonly fault: Refusal['wrong']['certificate'];
  readonly subject: string;
}

function alternativeNames(side: Side): readonly string[] {
  const n = side === 'a' ? 1 : 2;
  return [`DNS:${side}.example`, `IP:10.${n}.0.1`, `email:gw@${side}.example`];
}

async function makeChain(terms: ChainTerms): Promise<Chain> {
  const { side, kind, depth, paddingBytes, fault, subject } = terms;
  const shared = remembered(roots, kind, () => Authority.create(`root ${kind}`, kind));
  const root =
    fault === undefined ? await shared : await Authority.create(`${fault ?? ''} root`, kind);
  const authorities: Authority[] = [root];
  let issuer = root;
  for (let level = 1; level <= depth; level += 1) {
    issuer = await Authority.create(`authority ${level} of ${side}`, kind, issuer);
    authorities.push(issuer);
  }
  const issued = await issuer.issue({
    name: `${side}.example${subject}`,
    kind,
    alternativeNames: alternativeNames(side),
    ...(paddingBytes === undefined ? {} : { paddingBytes }),
    ...(fault === 'expired'
      ? { notBefore: '20200101000000Z', notAfter: '20210101000000Z' }
      : fault === 'not-yet-valid'
        ? { notBefore: '20480101000000Z', notAfter: '20490101000000Z' }
        : {}),
  });
  if (fault === 'revoked') await issuer.revoke(issued);
  return {
    root: root.certificate,
    authorities,
    issued,
    certificates: [
      issued.certificate,
      ...authorities
        .slice(1)
        .reverse()
        .map(({ certificate }) => certificate),
    ],
  };
}

function chainOf(terms: ChainTerms): Promise<Chain> {
  return remembered(chains, JSON.stringify(terms), () => makeChain(terms));
}

/** How a side proves itself, and what it holds and trusts. */
export async function credentialsOf(
  ikeCase: IkeCase,
  side: Side,
  wrong: Refusal['wrong'] = {},
): Promise<{ readonly party: Omit<PartyTerms, 'id'>; readonly credentials: Credentials }> {
  const kind = kindOf(ikeCase.auth);
  if (kind === undefined) {
    return {
      party: { auth: 'psk' },
      credentials: { psk: side === 'b' ? (wrong.psk ?? PSK) : PSK },
    };
  }
  const other = side === 'a' ? 'b' : 'a';
  if (ikeCase.auth.startsWith('raw-')) {
    const [own, theirs] = await Promise.all(
      [side, other].map((each) => remembered(rawKeys, `${kind} ${each}`, () => makeKey(kind))),
    );
    return {
      party: { auth: 'public-key', ...signatureOf(ikeCase.auth) },
      credentials: {
        ...(own === undefined ? {} : own),
        ...(theirs === undefined ? {} : { remotePublicKey: theirs.publicKey }),
      },
    };
  }
  const terms = (of: Side): ChainTerms => ({
    side: of,
    kind,
    depth: ikeCase.chain ?? 0,
    paddingBytes: ikeCase.paddingBytes,
    fault: of === 'b' ? wrong.certificate : undefined,
    subject: ikeCase.subject ?? '',
  });
  const own = await chainOf(terms(side));
  const theirs = await chainOf(terms(other));
  const good = await remembered(roots, kind, () => Authority.create(`root ${kind}`, kind));
  // What B has of another authority, A has never heard of.
  const trusted =
    wrong.certificate === 'other-authority' && side === 'a' ? good.certificate : theirs.root;
  const crls =
    wrong.certificate === 'revoked' && side === 'a'
      ? await Promise.all(theirs.authorities.map((authority) => authority.crl()))
      : [];
  return {
    party: { auth: 'certificate', ...signatureOf(ikeCase.auth) },
    credentials: {
      privateKey: own.issued.privateKey,
      publicKey: own.issued.publicKey,
      certificates: own.certificates,
      authorities: [trusted],
      ...(crls.length === 0 ? {} : { crls }),
    },
  };
}
