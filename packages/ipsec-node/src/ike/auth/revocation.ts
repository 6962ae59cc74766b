/**
 * Whether certificates of a validated path are revoked: CRLs at hand, OCSP answers that the peer
 * sent, and what is fetched. Nothing is fetched for a path that was not validated: the URLs stand
 * in certificates that an authority signed.
 */
import type { Milliseconds } from '../../clock.js';
import { type CertificateInfo, type CrlInfo, parseCrl } from '../../pad/certificate.js';
import { isSameBytes } from '../../pad/distinguished-name.js';
import type { RevocationPolicy } from '../../pad/pad-entry.js';
import { validatePath } from '../crypto/native.js';
import { type AuthContext, FETCH_LIMITS } from './auth-context.js';
import { type FetchBody, type FetchOutcome, fetchUrl } from './fetch.js';
import { encodeOcspRequest, OCSP_REQUEST_TYPE, type OcspStatus, readOcspResponse } from './ocsp.js';

/** A validated path: each certificate with its issuer, leaf first; the last issuer is the anchor. */
export interface ValidatedPath {
  readonly links: readonly {
    readonly certificate: CertificateInfo;
    readonly issuer: CertificateInfo;
  }[];
  readonly anchor: CertificateInfo;
}

export interface RevocationSources {
  readonly crls: readonly Uint8Array[];
  /** OCSP answers of the peer; DER. */
  readonly ocsp: readonly Uint8Array[];
}

/** CRLs and OCSP answers that are looked at for one path. */
const CRLS_MAX = 64;
const OCSP_MAX = 16;

/** Null: the policy is satisfied; else why not, for people. */
export async function revocationFault(
  context: AuthContext,
  path: ValidatedPath,
  policy: RevocationPolicy,
  sources: RevocationSources,
): Promise<string | null> {
  if (policy === 'off') return null;
  const now = context.clock.wallTime();
  const good = new Set<CertificateInfo>();
  const notes: string[] = [];
  for (const link of path.links) {
    for (const answer of sources.ocsp.slice(0, OCSP_MAX)) {
      const status = readOcspResponse(answer, link.certificate, link.issuer, now);
      if (status.kind === 'revoked') return revokedText(link.certificate, status.at);
      if (status.kind === 'good') good.add(link.certificate);
    }
  }
  const crls = new CrlSet(path, now);
  for (const der of sources.crls) crls.add(der);
  const early = crls.revoked();
  if (early !== null) return early;
  if (crls.areAllGood() || path.links.every(({ certificate }) => good.has(certificate)))
    return null;

  const missing = path.links.filter(({ certificate }) => !good.has(certificate));
  const answers = await Promise.all(missing.map((link) => askOcsp(context, link, now)));
  for (const [index, { status, note }] of answers.entries()) {
    const certificate = missing[index]?.certificate;
    if (certificate === undefined) continue;
    if (status?.kind === 'revoked') return revokedText(certificate, status.at);
    if (status?.kind === 'good') good.add(certificate);
    if (note !== null) notes.push(note);
  }
  if (path.links.every(({ certificate }) => good.has(certificate))) return null;

  const lists = await Promise.all(path.links.map((link) => fetchCrls(context, link.certificate)));
  for (const { fetched, note } of lists) {
    for (const der of fetched) crls.add(der);
    if (note !== null) notes.push(note);
  }
  const late = crls.revoked();
  if (late !== null) return late;
  if (policy === 'relaxed' || crls.areAllGood()) return null;
  const unknown = path.links.filter(({ certificate }) => !good.has(certificate));
  const [first] = unknown.length === 0 ? path.links : unknown;
  const tried = notes.length === 0 ? 'no CRL is at hand and it names no server' : notes.join('; ');
  return `nobody says that "${first?.certificate.subjectText ?? ''}" is not revoked (${tried})`;
}

function revokedText(certificate: CertificateInfo, at: Date): string {
  return `"${certificate.subjectText}" was revoked on ${dateText(at)}`;
}

/** A date for people. */
export function dateText(date: Date): string {
  return Number.isNaN(date.getTime())
    ? 'an unreadable date'
    : date.toISOString().replace(/\.\d+Z$/, 'Z');
}

/** The CRLs that bear on a path, the newest of an issuer first. */
class CrlSet {
  readonly #path: ValidatedPath;
  readonly #now: Date;
  #crls: readonly CrlInfo[] = [];

  constructor(path: ValidatedPath, now: Date) {
    this.#path = path;
    this.#now = now;
  }

  /** Takes a list whose issuer is one of the path; others say nothing of it. */
  add(der: Uint8Array): void {
    const crl = parseCrl(der);
    if (crl === null || this.#crls.length >= CRLS_MAX) return;
    const isOfPath = this.#path.links.some(({ certificate }) =>
      isSameBytes(certificate.issuer, crl.issuer),
    );
    if (!isOfPath || this.#crls.some((each) => isSameBytes(each.der, der))) return;
    this.#crls = [...this.#crls, crl].toSorted(
      (a, b) => b.thisUpdate.getTime() - a.thisUpdate.getTime(),
    );
  }

  /** What a list says of a certificate that it holds; null where none does. */
  revoked(): string | null {
    // Each by itself: one that cannot be used must not hide what another knows.
    for (const crl of this.#crls) {
      // From the leaf up, each issuer taken as the anchor: the first refusal is of this certificate.
      for (const { certificate, issuer } of this.#path.links) {
        const result = this.#validate([crl.der], issuer, false);
        if (result.kind === 'refused' && result.why === 'revoked') {
          return `"${certificate.subjectText}" is revoked by the CRL of ${dateText(crl.thisUpdate)}`;
        }
      }
    }
    return null;
  }

  /** Whether lists that are in time cover every certificate of the path, and hold none. */
  areAllGood(): boolean {
    const { anchor } = this.#path;
    const crls = this.#crls
      .map(({ der }) => der)
      // A list that cannot be used says nothing, and would end the validation of the rest.
      .filter((der) => this.#validate([der], anchor, false).kind === 'path');
    return crls.length > 0 && this.#validate(crls, anchor, true).kind === 'path';
  }

  #validate(
    crls: readonly Uint8Array[],
    anchor: CertificateInfo,
    knownGood: boolean,
  ): ReturnType<typeof validatePath> {
    return validatePath({
      certificates: this.#path.links.map(({ certificate }) => certificate.der),
      anchors: [anchor.der],
      crls,
      knownGood,
      time: this.#now,
      ocspSigning: false,
    });
  }
}

/** Asks the responders that a certificate names, in turn, until one says something. */
async function askOcsp(
  context: AuthContext,
  link: ValidatedPath['links'][number],
  now: Date,
): Promise<{ readonly status: OcspStatus | null; readonly note: string | null }> {
  const { certificate, issuer } = link;
  let note: string | null = null;
  for (const url of certificate.ocspUrls) {
    const { status } = await fetchOcsp(context, url, certificate, issuer, now);
    if (status.kind === 'good' || status.kind === 'revoked') return { status, note: null };
    note = `${url}: ${status.kind === 'unusable' ? status.reason : 'it does not know it'}`;
  }
  return { status: null, note };
}

/** Asks one responder. What it answers is kept until it says, if it was worth anything. */
export async function fetchOcsp(
  context: AuthContext,
  url: string,
  certificate: CertificateInfo,
  issuer: CertificateInfo,
  now: Date,
): Promise<{ readonly status: OcspStatus; readonly der: Uint8Array }> {
  const bytes = encodeOcspRequest(certificate, issuer);
  const key = `${url} ${Buffer.from(bytes).toString('base64')}`;
  const outcome = await fetchKept(context, key, url, { type: OCSP_REQUEST_TYPE, bytes }, (der) => {
    const status = readOcspResponse(der, certificate, issuer, now);
    return 'until' in status ? keepFor(status.until, now) : FETCH_LIMITS.failureMs;
  });
  if (outcome.kind === 'failed') {
    return { status: { kind: 'unusable', reason: outcome.reason }, der: new Uint8Array(0) };
  }
  return {
    status: readOcspResponse(outcome.bytes, certificate, issuer, now),
    der: outcome.bytes,
  };
}

/** Fetches the CRLs that a certificate names. */
async function fetchCrls(
  context: AuthContext,
  certificate: CertificateInfo,
): Promise<{ readonly fetched: readonly Uint8Array[]; readonly note: string | null }> {
  const now = context.clock.wallTime();
  let note: string | null = null;
  for (const url of certificate.crlUrls) {
    const outcome = await fetchKept(context, url, url, null, (der) => {
      const crl = parseCrl(der);
      return crl === null ? FETCH_LIMITS.failureMs : keepFor(crl.nextUpdate, now);
    });
    if (outcome.kind === 'fetched' && parseCrl(outcome.bytes) !== null) {
      return { fetched: [outcome.bytes], note: `the CRL of ${url} does not cover the path` };
    }
    note = `${url}: ${outcome.kind === 'failed' ? outcome.reason : 'not a CRL'}`;
  }
  return { fetched: [], note };
}

/** Fetches, or takes what is kept from before. */
async function fetchKept(
  context: AuthContext,
  key: string,
  url: string,
  body: FetchBody,
  keep: (der: Uint8Array) => Milliseconds,
): Promise<FetchOutcome> {
  const kept = context.cache.find(key, context.clock.now());
  if (kept !== null) return kept;
  const outcome = await fetchUrl(context, url, body);
  const span = outcome.kind === 'failed' ? FETCH_LIMITS.failureMs : keep(outcome.bytes);
  context.cache.keep(key, outcome, context.clock.now() + span);
  return outcome;
}

function keepFor(until: Date | null, now: Date): Milliseconds {
  if (until === null) return FETCH_LIMITS.keepMs;
  const span = until.getTime() - now.getTime();
  return Math.min(Math.max(span, 0), FETCH_LIMITS.keepMsMax);
}
