/** An IKE event as one line of a log: for `swanctl --log` and while a command runs. */
import type { IkeEvent } from '../../ike/action.js';

/** Writes an SPI as strongSwan does in its log. */
function spi(value: number): string {
  return value.toString(16).padStart(8, '0');
}

/** One line; null for what has none (keys, and ends of commands, which the command itself tells). */
export function eventText(event: IkeEvent): string | null {
  const peer = event.peer ?? 'a peer that is not known yet';
  const child = event.child ?? 'a child';
  switch (event.kind) {
    case 'peer-up':
      return `IKE SA ${peer}[${event.ikeSa}] established with ${event.remote}`;
    case 'peer-down':
      return `IKE SA ${peer}[${event.ikeSa}] with ${event.remote} ended: ${event.reason}`;
    case 'peer-rekeyed':
      return `IKE SA ${peer}[${event.ikeSa}] rekeyed`;
    case 'peer-moved': {
      const { local, localPort, remote, remotePort } = event.endpoint;
      return `IKE SA ${peer}[${event.ikeSa}] moved to ${local}[${localPort}] - ${remote}[${remotePort}]`;
    }
    case 'child-up':
      return `CHILD SA ${child} established with SPIs ${spi(event.inbound)}_i ${spi(event.outbound)}_o`;
    case 'child-rekeyed':
      return `CHILD SA ${child} rekeyed to SPIs ${spi(event.inbound)}_i ${spi(event.outbound)}_o`;
    case 'child-down':
      return `CHILD SA ${child} with SPI ${spi(event.inbound)}_i closed: ${event.reason}`;
    case 'refused': {
      const who = event.by === 'us' ? 'we refused' : 'the peer refused';
      const notify = event.notify === null ? '' : ` (${event.notify})`;
      const closest = event.closest === null ? '' : `; peer ${event.closest} came closest`;
      const differences = event.differences
        .map(({ field, ours, theirs }) => `; ${field}: ours ${ours}, theirs ${theirs}`)
        .join('');
      return `${event.remote}: ${who}${notify}: ${event.reason}${closest}${differences}`;
    }
    case 'warning':
      return `warning: ${event.reason}`;
    case 'detail':
      return event.text;
    case 'command-done':
    case 'keys':
      return null;
  }
}
