/** What the demo asks of its agents: one process in each namespace, over Node's own channel. */
import { z } from 'zod';

/** One thing that an agent does, and the forms of what is asked and answered. */
export interface Verb<Ask extends z.ZodType, Answer extends z.ZodType> {
  readonly name: string;
  readonly ask: Ask;
  readonly answer: Answer;
}

function verb<Ask extends z.ZodType, Answer extends z.ZodType>(
  name: string,
  ask: Ask,
  answer: Answer,
): Verb<Ask, Answer> {
  return { name, ask, answer };
}

const bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array);
const nothing = z.object({});
const done = z.null();

const espPacket = z.object({
  spi: z.number(),
  sequenceNumber: z.number(),
  bytes,
  outerLen: z.number(),
});

const tally = z.object({
  /** Frames seen; one may hold a run of packets that the kernel has not cut yet. */
  frameCount: z.number(),
  byteCount: z.number(),
  /** ESP packets in these frames. */
  espCount: z.number(),
  /** IKE messages, and of these the answers, and of these the ones that want a cookie. */
  ikeCount: z.number(),
  ikeAnswerCount: z.number(),
  cookieCount: z.number(),
  /** Bytes of the longest answer that wants a cookie. */
  cookieAnswerLenMax: z.number(),
  /** The first IKE message. */
  firstIke: bytes.nullable(),
  keepaliveCount: z.number(),
  arpCount: z.number(),
  /** Frames that are nothing of these. */
  otherCount: z.number(),
  /** Frames that hold the plaintext that was looked for. */
  markedCount: z.number(),
  /** The first ESP packets, as many as were asked for. */
  kept: z.array(espPacket),
});
/** What a capture has seen. */
export type Tally = z.output<typeof tally>;

/** All verbs. */
export const VERBS = {
  /** A setting that this kernel does not have is passed over. */
  setSysctl: verb('setSysctl', z.object({ name: z.string(), value: z.string() }), done),
  makeLink: verb(
    'makeLink',
    z.object({ name: z.string(), peer: z.string(), peerPid: z.number() }),
    done,
  ),
  setLinkUp: verb(
    'setLinkUp',
    z.object({ name: z.string(), mtuBytes: z.number(), addresses: z.array(z.string()) }),
    done,
  ),
  addRoute: verb('addRoute', z.object({ destination: z.string(), via: z.string() }), done),
  linkAddress: verb('linkAddress', z.object({ name: z.string() }), z.string()),

  serve: verb(
    'serve',
    z.object({ byteCount: z.number(), marker: z.string(), markerEveryBytes: z.number() }),
    z.object({ port: z.number() }),
  ),
  digest: verb('digest', z.object({ byteCount: z.number() }), z.object({ sha256: z.string() })),
  download: verb(
    'download',
    z.object({ url: z.string(), timeoutMs: z.number() }),
    z.object({ byteCount: z.number(), elapsedMs: z.number(), sha256: z.string() }),
  ),
  openSink: verb('openSink', nothing, z.object({ port: z.number() })),
  countSink: verb('countSink', nothing, z.object({ datagramCount: z.number() })),
  sendDatagrams: verb(
    'sendDatagrams',
    z.object({
      source: z.string(),
      destination: z.string(),
      port: z.number(),
      payloadLengths: z.array(z.number()),
    }),
    done,
  ),

  startCapture: verb(
    'startCapture',
    z.object({
      link: z.string(),
      mtuBytes: z.number(),
      marker: z.string().nullable(),
      /** How many ESP packets of which SPI are kept. */
      keep: z.object({ spi: z.number(), count: z.number() }).nullable(),
    }),
    done,
  ),
  readCapture: verb(
    'readCapture',
    nothing,
    z.object({ keptCount: z.number(), ikeAnswerCount: z.number() }),
  ),
  stopCapture: verb('stopCapture', nothing, tally),
  inject: verb('inject', z.object({ link: z.string(), frames: z.array(bytes) }), done),
} as const;

/** A question to an agent. */
export const askMessage = z.object({ id: z.number(), verb: z.string(), ask: z.unknown() });
/** Its answer. */
export const answerMessage = z.union([
  z.object({ id: z.number(), answer: z.unknown(), fault: z.undefined().optional() }),
  z.object({ id: z.number(), fault: z.string() }),
]);
