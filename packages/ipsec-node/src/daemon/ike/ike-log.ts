/** What IKE tells, as log lines: what an operator has to act on at warn, the life of SAs at info. */
import type { IkeEvent } from '../../ike/action.js';
import type { Logger } from '../../log.js';
import { formatSpi } from '../../sad/spi.js';

export function logIkeEvent(log: Logger, event: IkeEvent): void {
  const { peer, child, remote } = event;
  const about = { peer: peer ?? 'unknown', remote, ...(child === null ? {} : { child }) };
  switch (event.kind) {
    case 'peer-up':
      log.info('The peer is up.', about);
      break;
    case 'peer-down':
      log[event.end === 'ours' ? 'info' : 'warn']('The peer is down.', {
        ...about,
        reason: event.reason,
      });
      break;
    case 'peer-rekeyed':
      log.info('The IKE SA was rekeyed.', about);
      break;
    case 'peer-moved':
      log.info('The peer, or we, moved.', {
        ...about,
        local: event.endpoint.local,
        remotePort: event.endpoint.remotePort,
      });
      break;
    case 'child-up':
    case 'child-rekeyed':
      log.info(event.kind === 'child-up' ? 'A child is up.' : 'A child was rekeyed.', {
        ...about,
        inbound: formatSpi(event.inbound),
        outbound: formatSpi(event.outbound),
      });
      break;
    case 'child-down':
      log[event.end === 'ours' ? 'info' : 'warn']('A child is down.', {
        ...about,
        reason: event.reason,
      });
      break;
    case 'refused':
      log.warn('The two did not agree.', {
        ...about,
        by: event.by,
        notify: event.notify ?? 'none',
        reason: event.reason,
        closest: event.closest ?? 'none',
        differences: event.differences
          .map(({ field, ours, theirs }) => `${field}: ours ${ours}, theirs ${theirs}`)
          .join('; '),
      });
      break;
    case 'warning':
      log.warn('A peer needs attention.', { ...about, reason: event.reason });
      break;
    case 'detail':
      log.debug(event.text, about);
      break;
    case 'command-done':
    case 'keys':
      break;
  }
}
