/**
 * IKE_SA_INIT requests before there is an IKE SA (RFC 7296 sections 1.2, 2.6): cookies, which peers
 * it may be, which proposal, which group. Until all of that is right nothing is kept.
 */
import type { PadEntry } from '../pad/pad-entry.js';
import type { IkeDatagram } from './action.js';
import { keyExchangeOf } from './exchange/child-negotiation.js';
import { findNotify, findPayload, twoBytes } from './exchange/find.js';
import { additionalMethods, initDifferences, respondInit } from './exchange/ike-sa-init.js';
import { IkeSa } from './ike-sa.js';
import { notifyPayload } from './names.js';
import { formatNotify, NOTIFY } from './notify.js';
import { type ReceivedMessage } from './payload/payload.js';
import { candidatesAt } from './peer-choice.js';
import { chooseProposal, toWireAnswer } from './proposal.js';
import type { EndpointHost, HalfOpen } from './endpoint-host.js';
import { pathOf } from './path.js';

export class InitResponder {
  constructor(private readonly host: EndpointHost) {}

  /** An IKE_SA_INIT request. What is refused leaves nothing behind. */
  receive(datagram: IkeDatagram, message: ReceivedMessage): void {
    const { header, payloads } = message;
    if (header.messageId !== 0 || header.spiResponder !== 0n || header.spiInitiator === 0n) return;
    if (!header.isInitiator || this.host.isClosing) return;
    const path = pathOf(datagram, 'udp', null);
    const known = this.host.initiated.find(header.spiInitiator, path);
    if (known !== null) {
      // The same message again is answered again; another one under the same SPI is nobody's.
      known.requestPath = path;
      known.isRepeatedInit(message);
      return;
    }
    const offer = findPayload(payloads, 'sa');
    const ke = findPayload(payloads, 'ke');
    const nonce = findPayload(payloads, 'nonce');
    // RFC 7296 section 2.10: a nonce has 16 octets at least.
    if (offer === null || ke === null || nonce === null || nonce.data.length < 16) return;
    const answerHeader = { ...header, isResponse: true, isInitiator: false };
    const admission = this.host.admissions.admit(
      {
        remote: datagram.remote,
        remotePort: datagram.remotePort,
        spiInitiator: header.spiInitiator,
        nonce: nonce.data,
      },
      findNotify(payloads, NOTIFY.COOKIE)?.data ?? null,
      this.host.now,
    );
    if (admission.kind === 'refused') return;
    if (admission.kind === 'cookie') {
      this.host.reply(datagram, answerHeader, [notifyPayload(NOTIFY.COOKIE, admission.cookie)]);
      return;
    }
    const resolve = this.host.options.resolve ?? (() => []);
    const candidates = candidatesAt(this.host.pad.entries, datagram.remote, resolve);
    const knowsIntermediate = findNotify(payloads, NOTIFY.INTERMEDIATE_EXCHANGE_SUPPORTED) !== null;
    const choose = (entries: readonly PadEntry[]): ReturnType<typeof chooseProposal> => {
      for (const { proposals } of entries) {
        const usable = knowsIntermediate
          ? proposals
          : proposals.filter((proposal) => additionalMethods(proposal).length === 0);
        const chosen = chooseProposal(usable, offer.proposals, {
          preferKeyExchange: ke.method,
          ignoreKeyExchange: false,
        });
        if (chosen !== null) return chosen;
      }
      return null;
    };
    const chosen = choose(candidates);
    if (chosen === null) {
      this.refuse(datagram, message, candidates);
      this.host.reply(datagram, answerHeader, [notifyPayload(NOTIFY.NO_PROPOSAL_CHOSEN)]);
      return;
    }
    const method = keyExchangeOf(chosen.proposal) ?? 0;
    if (method !== ke.method) {
      // RFC 7296 section 1.2: the group that is wanted, and nothing is kept.
      const wanted = notifyPayload(NOTIFY.INVALID_KE_PAYLOAD, twoBytes(method));
      this.host.reply(datagram, answerHeader, [wanted]);
      return;
    }
    const sa = new IkeSa(
      this.host,
      false,
      { initiator: header.spiInitiator, responder: this.host.allocateIkeSpi() },
      path,
    );
    this.host.adopt(sa);
    sa.initPath = path;
    this.host.initiated.add(sa);
    this.host.admissions.begin(sa);
    const lifeMs = this.host.admissions.isUnderAttack
      ? this.host.limits.halfOpenUnderAttackMs
      : this.host.limits.halfOpenMs;
    const half: HalfOpen = {
      candidates,
      transcript: null,
      methods: additionalMethods(chosen.proposal),
      timer: this.host.timers.add(this.host.now + lifeMs, () =>
        sa.close('dead', 'the peer did not go on with IKE_AUTH'),
      ),
    };
    this.host.halfOpen.set(sa, half);
    sa.beginAsResponder(
      message,
      respondInit(
        sa,
        {
          message: message.bytes,
          payloads,
          proposal: chosen.proposal,
          answer: { type: 'sa', proposals: [toWireAnswer(chosen, new Uint8Array(0))] },
          candidates,
          ke: { method, data: ke.data },
          ni: nonce.data,
        },
        (transcript) => {
          half.transcript = transcript;
        },
      ),
    );
  }

  private refuse(
    datagram: IkeDatagram,
    message: ReceivedMessage,
    candidates: readonly PadEntry[],
  ): void {
    const [closest] = [...candidates].sort(
      (a, b) =>
        initDifferences(a, message.payloads).length - initDifferences(b, message.payloads).length,
    );
    this.host.emit({
      kind: 'event',
      event: {
        kind: 'refused',
        by: 'us',
        notify: formatNotify(NOTIFY.NO_PROPOSAL_CHOSEN),
        reason:
          closest === undefined
            ? 'no peer of the configuration may be at this address'
            : 'none of the IKE proposals is acceptable',
        closest: closest?.name ?? null,
        differences:
          closest === undefined
            ? [{ field: 'address', ours: this.knownAddresses(), theirs: datagram.remote }]
            : initDifferences(closest, message.payloads),
        ikeSa: 0,
        peer: null,
        child: null,
        remote: datagram.remote,
      },
    });
  }

  private knownAddresses(): string {
    const shown = this.host.pad.entries.slice(0, 4).flatMap(({ hosts }) =>
      hosts.map((host) => {
        switch (host.kind) {
          case 'address':
            return host.address;
          case 'dns-name':
            return host.name;
          case 'range':
            return `${host.range.from}-${host.range.to}`;
          case 'any':
            return 'any';
        }
      }),
    );
    return shown.length === 0 ? 'no peer' : shown.join(', ');
  }
}
