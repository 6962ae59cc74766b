/** The bounds of the IKE state machine, each with where it comes from. */
export const IKE_LIMITS = {
  /** Half-open IKE SAs as responder, from which on a cookie is asked for (RFC 7296 section 2.6). */
  cookieThreshold: 64,
  /** The same for one IPv4 address or IPv6 /64. */
  cookieThresholdPerSource: 4,
  /** Half-open IKE SAs at most; requests past it are dropped. */
  halfOpenMax: 10_000,
  halfOpenMs: 30_000,
  /** Half-open life while cookies are asked for. */
  halfOpenUnderAttackMs: 10_000,
  cookieSecretMs: 60_000,
  /** Children of one IKE SA; more get NO_ADDITIONAL_SAS. */
  childMax: 64,
  /** Payloads in one message, and transforms in one SA payload. */
  payloadMax: 128,
  transformMax: 512,
  /** SPIs in one Delete, and attributes in one Configuration payload. */
  deleteMax: 1_024,
  attributeMax: 256,
  /** Bytes of one message, reassembled (RFC 7383 section 2.6). */
  messageBytesMax: 65_536,
  fragmentMax: 64,
  fragmentMs: 30_000,
  /** Bytes that wait in reassembly over all IKE SAs. */
  fragmentBytesMax: 8 * 1024 * 1024,
  /** Bytes of one fragment's datagram at IP level, IPv4 and IPv6. */
  fragmentBytes: 1_280,
  /** COOKIE and INVALID_KE_PAYLOAD answers that one attempt follows, each. */
  initRetryMax: 3,
  /** Wrong protected messages that a half-open SA stands before it goes (RFC 8019 section 4.6). */
  wrongMessageMax: 3,
  retransmitMs: 1_000,
  retransmitBase: 1.8,
  /** No wait between two tries is longer: all of them together are less than three minutes. */
  retransmitWaitMs: 30_000,
  retransmitMax: 9,
  /** The same for the Delete of an IKE SA: after about two minutes it is gone here in any case. */
  deleteTriesMax: 7,
  /** The same for the first message to one of several addresses: the next is tried after ten seconds. */
  otherPathTriesMax: 3,
  /** The same once somebody in the place of the peer said that there is no such IKE SA. */
  doubtedTriesMax: 3,
  /** An IKE SA that was rekeyed waits this long for its Delete, and one that lost a collision. */
  forgottenMs: 300_000,
  /** INVALID_IKE_SPI answers a second: for one source, and over all (RFC 7296 section 2.21.4). */
  invalidSpiPerSource: 1,
  invalidSpiPerSecond: 10,
  /** Inputs that wait for an IKE SA that is busy. */
  queuedInputMax: 16,
  /** An old inbound SA stays this long after its rekey: packets are still on their way. */
  overlapMs: 5_000,
  /** Least time between two rekeyings of one SA that the peer may ask for. */
  rekeyIntervalMs: 1_000,
  /** Peer's new endpoints that are followed: at most one in this time. */
  mappingIntervalMs: 5_000,
} as const;
export type IkeLimits = { readonly [K in keyof typeof IKE_LIMITS]: number };
