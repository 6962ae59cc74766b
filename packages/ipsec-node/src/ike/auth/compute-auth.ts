/** The work on signatures and certificates. Runs in a thread of the daemon's, never in the machine. */
import { parseCertificate } from '../../pad/certificate.js';
import { isSameBytes } from '../../pad/distinguished-name.js';
import type { ComputeResult, ComputeTask } from '../compute.js';
import { sha1 } from '../crypto/digest.js';
import { importPublicKey, judgeKey, sign, verify } from '../crypto/public-key.js';
import { type AuthContext, createAuthContext } from './auth-context.js';
import { fetchUrl } from './fetch.js';
import { fetchOcsp } from './revocation.js';
import { chooseSignature, keyName, readSignature } from './signature.js';
import { validatePeer } from './validate-peer.js';

export type AuthTask = Extract<
  ComputeTask,
  { readonly kind: 'sign' | 'verify' | 'validate' | 'ocsp' | 'fetch' }
>;

let ownContext: AuthContext | null = null;

function threadContext(): AuthContext {
  ownContext ??= createAuthContext();
  return ownContext;
}

/**
 * Does one task. What goes wrong is `refused`.
 *
 * @param context without one: the machine's clock, public targets alone, one cache for the thread.
 */
export async function computeAuth(task: AuthTask, context?: AuthContext): Promise<ComputeResult> {
  const used = context ?? threadContext();
  switch (task.kind) {
    case 'sign':
      return signOctets(task);
    case 'verify':
      return verifyOctets(task);
    case 'validate':
      return await validatePeer(used, task);
    case 'ocsp':
      return await ownOcsp(used, task.certificates);
    case 'fetch':
      return await fetchCertificate(used, task.url, task.sha1);
  }
}

function signOctets(task: Extract<AuthTask, { readonly kind: 'sign' }>): ComputeResult {
  const key = judgeKey(task.credential.privateKey);
  if (key.kind === 'refused') return refused(`our own key is ${key.reason}`);
  const choice = chooseSignature(key.key, task.hashes, task.credential.rsaSignature);
  if (choice.kind === 'refused') return refused(choice.reason);
  const signature = sign(task.credential.privateKey, choice.scheme, task.octets);
  const data = new Uint8Array(Buffer.concat([choice.prefix, signature]));
  return { kind: 'sign', method: choice.method, data };
}

function verifyOctets(task: Extract<AuthTask, { readonly kind: 'verify' }>): ComputeResult {
  const key = importPublicKey(task.publicKey);
  if (key.kind === 'refused') return refused(`the peer has ${key.reason}`);
  const reading = readSignature(key.key, task.method, task.data);
  if (reading.kind === 'refused') return refused(reading.reason);
  const isRight = reading.schemes.some((scheme) =>
    verify(key.object, scheme, task.octets, reading.signature),
  );
  return isRight
    ? { kind: 'verify' }
    : refused(`the signature is not one by this ${keyName(key.key)} key over this exchange`);
}

/** Answers of the responders of our own certificates. Only good ones are of use to the peer. */
async function ownOcsp(
  context: AuthContext,
  certificates: readonly Uint8Array[],
): Promise<ComputeResult> {
  const now = context.clock.wallTime();
  const chain = certificates.map(parseCertificate).filter((each) => each !== null);
  const responses = await Promise.all(
    chain.map(async (certificate) => {
      const issuer = chain.find(
        (each) => each !== certificate && isSameBytes(each.subject, certificate.issuer),
      );
      const [url] = certificate.ocspUrls;
      if (issuer === undefined || url === undefined) return [];
      const { status, der } = await fetchOcsp(context, url, certificate, issuer, now);
      return status.kind === 'good' ? [der] : [];
    }),
  );
  return { kind: 'ocsp', responses: responses.flat() };
}

async function fetchCertificate(
  context: AuthContext,
  url: string,
  expected: Uint8Array,
): Promise<ComputeResult> {
  // RFC 7296 section 3.6: only http is required, and the hash tells whether it is the one.
  const outcome = await fetchUrl(context, url, null);
  if (outcome.kind === 'failed') return refused(`${url}: ${outcome.reason}`);
  if (!isSameBytes(sha1(outcome.bytes), expected)) {
    return refused(`${url}: not the certificate whose hash the peer sent`);
  }
  return { kind: 'fetch', certificate: outcome.bytes };
}

function refused(reason: string): ComputeResult {
  return { kind: 'refused', reason };
}
