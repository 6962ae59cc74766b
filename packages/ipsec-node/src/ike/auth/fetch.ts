/**
 * Fetches CRLs, OCSP answers and certificates over HTTP. The URL comes out of a certificate whose
 * path has been validated, or of a peer that was let ask; still it may name any server, so targets
 * inside are refused unless they are allowed, and time, size and redirections are bounded.
 */
import { lookup as resolveName, type LookupAddress } from 'node:dns';
import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { BlockList, isIP } from 'node:net';
import { type AuthContext, FETCH_LIMITS } from './auth-context.js';

export type FetchOutcome =
  | { readonly kind: 'fetched'; readonly bytes: Uint8Array }
  | { readonly kind: 'failed'; readonly reason: string };

/** What is sent: null is a GET, bytes are a POST of this content type. */
export type FetchBody = { readonly type: string; readonly bytes: Uint8Array } | null;

/** Not on the public Internet (RFC 6890): a certificate has no business to send us there. */
const PRIVATE_RANGES: readonly (readonly [address: string, prefix: number])[] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 3],
];
const privateRanges = new BlockList();
for (const [address, prefix] of PRIVATE_RANGES) privateRanges.addSubnet(address, prefix, 'ipv4');
/** Of IPv6 what is global unicast, less 6to4, which would name any IPv4 address. */
const globalUnicast = new BlockList();
globalUnicast.addSubnet('2000::', 3, 'ipv6');
const sixToFour = new BlockList();
sixToFour.addSubnet('2002::', 16, 'ipv6');

/** Whether an address is one on the public Internet. */
export function isPublicAddress(address: string): boolean {
  switch (isIP(address)) {
    case 4:
      return !privateRanges.check(address, 'ipv4');
    case 6:
      return globalUnicast.check(address, 'ipv6') && !sixToFour.check(address, 'ipv6');
    default:
      return false;
  }
}

/** Fetches a URL. Never throws. */
export async function fetchUrl(
  context: AuthContext,
  url: string,
  body: FetchBody,
): Promise<FetchOutcome> {
  const abort = new AbortController();
  const timer = context.clock.schedule(FETCH_LIMITS.timeoutMs, () => abort.abort());
  try {
    return await follow(context, url, body, abort.signal);
  } catch (error) {
    if (abort.signal.aborted) return failed(`no answer within ${FETCH_LIMITS.timeoutMs / 1000} s`);
    return failed(error instanceof Error ? error.message : 'unknown');
  } finally {
    timer.cancel();
  }
}

async function follow(
  context: AuthContext,
  first: string,
  body: FetchBody,
  signal: AbortSignal,
): Promise<FetchOutcome> {
  let target = first;
  for (let redirects = 0; redirects <= FETCH_LIMITS.redirectsMax; redirects += 1) {
    const url = URL.canParse(target) ? new URL(target) : null;
    const fault = url === null ? 'not a URL' : targetFault(url, context.allowPrivateTargets);
    if (url === null || fault !== null) return failed(fault ?? 'not a URL');
    const response = await ask(context, url, body, signal);
    const status = response.statusCode ?? 0;
    const location = response.headers.location;
    if (status >= 301 && status <= 308 && location !== undefined) {
      response.destroy();
      if (!URL.canParse(location, url.href)) return failed('redirected to what is not a URL');
      target = new URL(location, url).href;
    } else if (status !== 200) {
      response.destroy();
      return failed(`the server answers ${status}`);
    } else return await readBody(response);
  }
  return failed(`more than ${FETCH_LIMITS.redirectsMax} redirections`);
}

function targetFault(url: URL, allowPrivate: boolean): string | null {
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return 'neither http nor https';
  if (url.username !== '' || url.password !== '') return 'a URL with a user name';
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (!allowPrivate && isIP(host) !== 0 && !isPublicAddress(host)) return notPublic(host);
  return null;
}

function notPublic(address: string): string {
  return `${address} is not a public address`;
}

function ask(
  context: AuthContext,
  url: URL,
  body: FetchBody,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const options: RequestOptions = {
    method: body === null ? 'GET' : 'POST',
    headers:
      body === null
        ? {}
        : { 'Content-Type': body.type, 'Content-Length': String(body.bytes.length) },
    agent: false,
    signal,
    // The address that is checked is the one that is asked: no name can change in between.
    lookup: (name, _options, callback) => {
      resolveName(name, { all: true }, (error, addresses: readonly LookupAddress[]) => {
        const fine =
          error === null
            ? addresses.filter(
                ({ address }) => context.allowPrivateTargets || isPublicAddress(address),
              )
            : [];
        const [chosen] = fine;
        if (chosen === undefined) {
          const [refused] = addresses ?? [];
          callback(
            error ?? new Error(refused === undefined ? 'no address' : notPublic(refused.address)),
            [],
          );
        } else callback(null, [chosen]);
      });
    },
  };
  return new Promise((resolve, reject) => {
    const request = (url.protocol === 'https:' ? httpsRequest : httpRequest)(url, options, resolve);
    request.on('error', reject);
    request.end(body === null ? undefined : body.bytes);
  });
}

async function readBody(response: IncomingMessage): Promise<FetchOutcome> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response) {
    if (!(chunk instanceof Uint8Array)) continue;
    length += chunk.length;
    if (length > FETCH_LIMITS.bytesMax) {
      response.destroy();
      return failed(`more than ${FETCH_LIMITS.bytesMax} bytes`);
    }
    chunks.push(chunk);
  }
  return { kind: 'fetched', bytes: new Uint8Array(Buffer.concat(chunks)) };
}

function failed(reason: string): FetchOutcome {
  return { kind: 'failed', reason };
}
