/**
 * Whether a peer's certificates prove its identity: a path to one of the authorities, keys and
 * signatures of sufficient strength, the identity in the leaf, and nothing revoked; in this order.
 */
import {
  type CertificateInfo,
  parseCertificate,
  weakSignatureName,
} from '../../pad/certificate.js';
import type { Identity } from '../../pad/identity.js';
import { isSameIdentity } from '../../pad/identity-match.js';
import { formatIdentity } from '../../pad/identity-text.js';
import type { ComputeResult, ComputeTask } from '../compute.js';
import { type PathResult, validatePath } from '../crypto/native.js';
import { importPublicKey } from '../crypto/public-key.js';
import type { AuthContext } from './auth-context.js';
import { dateText, revocationFault, type ValidatedPath } from './revocation.js';

type ValidateTask = Extract<ComputeTask, { readonly kind: 'validate' }>;

/** Certificates of a peer that are looked at. */
const CERTIFICATES_MAX = 16;
/** Names of a certificate that a reason shows. */
const NAMES_SHOWN_MAX = 8;

export async function validatePeer(
  context: AuthContext,
  task: ValidateTask,
): Promise<ComputeResult> {
  const now = context.clock.wallTime();
  const received = task.certificates.slice(0, CERTIFICATES_MAX).map(parseCertificate);
  const [leaf] = received;
  if (leaf === undefined) return refused('the peer sent no certificate');
  if (leaf === null) return refused('the certificate cannot be read');
  const others = received.filter((each) => each !== null);
  const anchors = task.authorities.map(parseCertificate).filter((each) => each !== null);
  const path = findPath(leaf, others, anchors, now);
  if (typeof path === 'string') return refused(path);
  const fault = strengthFault(path) ?? usageFault(path) ?? identityFault(leaf, task.identity);
  if (fault !== null) return refused(fault);
  const revoked = await revocationFault(context, path, task.revocation, task);
  if (revoked !== null) return refused(revoked);
  return { kind: 'validate', publicKey: leaf.publicKey, subject: leaf.subjectText };
}

/** The path, or why there is none. */
function findPath(
  leaf: CertificateInfo,
  received: readonly CertificateInfo[],
  anchors: readonly CertificateInfo[],
  now: Date,
): ValidatedPath | string {
  const live = anchors.filter(({ notBefore, notAfter }) => notBefore <= now && now <= notAfter);
  const result = validatePath({
    certificates: received.map(({ der }) => der),
    anchors: live.map(({ der }) => der),
    crls: [],
    knownGood: false,
    time: now,
    ocspSigning: false,
  });
  if (result.kind === 'refused') return pathFault(result, leaf, received, anchors, now);
  const anchor = live[result.anchorIndex];
  const chain = result.certificates.map(parseCertificate).filter((each) => each !== null);
  if (anchor === undefined || chain.length !== result.certificates.length) {
    return 'the certificate cannot be read';
  }
  return {
    anchor,
    links: chain.map((certificate, index) => ({
      certificate,
      issuer: chain[index + 1] ?? anchor,
    })),
  };
}

/** Says a refusal of path validation in terms of the certificates that were at hand. */
function pathFault(
  result: Extract<PathResult, { readonly kind: 'refused' }>,
  leaf: CertificateInfo,
  received: readonly CertificateInfo[],
  anchors: readonly CertificateInfo[],
  now: Date,
): string {
  // The time of the refusal tells whose it is.
  const isAt = (date: Date): boolean => Math.floor(date.getTime() / 1000) === result.atSeconds;
  switch (result.why) {
    case 'expired': {
      const { subjectText, notAfter } = received.find((each) => isAt(each.notAfter)) ?? leaf;
      return `"${subjectText}" expired on ${dateText(notAfter)}`;
    }
    case 'not-yet-valid': {
      const { subjectText, notBefore } = received.find((each) => isAt(each.notBefore)) ?? leaf;
      return `"${subjectText}" is not valid before ${dateText(notBefore)}`;
    }
    case 'unknown-issuer':
      return unknownIssuer(leaf, received, anchors, now);
    case 'purpose':
      return `"${leaf.subjectText}" has an extended key usage without IPsec, TLS or any purpose`;
    case 'name-constraint':
      return `a name of "${leaf.subjectText}" is outside the name constraints of its authority`;
    case 'not-authority':
      return 'a certificate that is no authority, or may have none below it, has signed another';
    case 'authority-as-leaf':
      return `"${leaf.subjectText}" is the certificate of an authority, not of a peer`;
    default:
      return (
        algorithmFault(received, anchors) ?? `"${leaf.subjectText}" is not valid: ${result.detail}`
      );
  }
}

function unknownIssuer(
  leaf: CertificateInfo,
  received: readonly CertificateInfo[],
  anchors: readonly CertificateInfo[],
  now: Date,
): string {
  const dead = anchors.find(({ notBefore, notAfter }) => now < notBefore || notAfter < now);
  if (dead !== undefined) {
    return dead.notAfter < now
      ? `the authority "${dead.subjectText}" expired on ${dateText(dead.notAfter)}`
      : `the authority "${dead.subjectText}" is not valid before ${dateText(dead.notBefore)}`;
  }
  // The topmost name that is missing tells more than the leaf's issuer.
  let top = leaf;
  for (let steps = 0; steps < received.length; steps += 1) {
    const issuer = received.find(({ subjectText }) => subjectText === top.issuerText);
    if (issuer === undefined || issuer === top) break;
    top = issuer;
  }
  const known = anchors.slice(0, NAMES_SHOWN_MAX).map(({ subjectText }) => `"${subjectText}"`);
  const trusted = known.length === 0 ? 'no authority is trusted' : `trusted: ${known.join(', ')}`;
  return `issuer not known: "${top.issuerText}" (${trusted})`;
}

/** A broken signature algorithm or a weak key among the certificates, by name. */
function algorithmFault(
  received: readonly CertificateInfo[],
  anchors: readonly CertificateInfo[],
): string | null {
  for (const { subjectText, signatureAlgorithm } of received) {
    const weak = weakSignatureName(signatureAlgorithm);
    if (weak !== null) return `"${subjectText}" is signed by ${weak}, which is not taken`;
  }
  for (const each of [...received, ...anchors]) {
    const fault = keyFault(each);
    if (fault !== null) return fault;
  }
  const ed448 = [...received.slice(1), ...anchors].find(({ publicKey }) => {
    const key = importPublicKey(publicKey);
    return key.kind === 'taken' && key.key === 'ed448';
  });
  return ed448 === undefined
    ? null
    : `"${ed448.subjectText}" is an authority with an Ed448 key: certificates that ` +
        'such a key signed are not supported (its own key may be one)';
}

function keyFault({ publicKey, subjectText }: CertificateInfo): string | null {
  const key = importPublicKey(publicKey);
  return key.kind === 'taken' ? null : `"${subjectText}" has ${key.reason}`;
}

/** Path validation knows what it can compute, not what is too weak: keys of the whole path. */
function strengthFault(path: ValidatedPath): string | null {
  const keys = [...path.links.map(({ certificate }) => certificate), path.anchor];
  return keys.map(keyFault).find((fault) => fault !== null) ?? null;
}

/** RFC 5280 section 4.2.1.3, RFC 4945 section 5.1.3.2. */
function usageFault(path: ValidatedPath): string | null {
  const [first, ...rest] = path.links;
  if (first?.certificate.keyUsage?.signs === false) {
    return `"${first.certificate.subjectText}" has a key usage without digital signature`;
  }
  const authorities = [...rest.map(({ certificate }) => certificate), path.anchor];
  const other = authorities.find(({ keyUsage }) => keyUsage?.signsCertificates === false);
  return other === undefined
    ? null
    : `"${other.subjectText}" has signed a certificate, and its key usage does not let it`;
}

/**
 * The identity must be in the leaf: a DNS name, mailbox or address in its subjectAltName, a
 * distinguished name as its subject or there. RFC 4945 section 3.1: the common name is no place for
 * any of them, so it is never looked at.
 */
function identityFault(leaf: CertificateInfo, identity: Identity): string | null {
  if (identity.kind === 'key-id')
    return 'a key-ID is in no certificate: another identity is needed';
  const subject: Identity = { kind: 'distinguished-name', der: leaf.subject };
  const names = [...leaf.alternativeNames, subject];
  if (names.some((name) => isSameIdentity(name, identity))) return null;
  const shown = names
    .filter((name) => name !== subject || leaf.subject.length > 2)
    .slice(0, NAMES_SHOWN_MAX)
    .map(formatIdentity);
  return `no name ${formatIdentity(identity)} in the certificate (it has ${shown.join('; ')})`;
}

function refused(reason: string): ComputeResult {
  return { kind: 'refused', reason };
}
