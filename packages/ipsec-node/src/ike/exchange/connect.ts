/** From nothing to an IKE SA with its first child, as initiator. */
import type { PadEntry } from '../../pad/pad-entry.js';
import type { IkeSa } from '../ike-sa.js';
import type { ChildRequest } from './child-negotiation.js';
import { type AuthOutcome, initiateAuth } from './ike-auth.js';
import { initiateInit } from './ike-sa-init.js';
import type { Exchange } from './step.js';

export interface ConnectOptions {
  readonly first: ChildRequest | null;
  /** RFC 7296 section 2.4: whether this is the only IKE SA that we know of with the peer. */
  readonly initialContact: boolean;
  readonly done: (outcome: AuthOutcome) => void;
}

export function* connect(sa: IkeSa, peer: PadEntry, options: ConnectOptions): Exchange<void> {
  const transcript = yield* initiateInit(sa, peer);
  const outcome = yield* initiateAuth(sa, peer, transcript, options.first, options);
  options.done(outcome);
}
