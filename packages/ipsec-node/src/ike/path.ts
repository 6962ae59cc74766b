import type { IkeDatagram, SaEndpoint } from './action.js';

/**
 * The way that a datagram came, as an endpoint to answer to. `known` itself where it is that way, and
 * the texts of it where they are the same: an IKE SA keeps several of these for long.
 */
export function pathOf(
  datagram: IkeDatagram,
  encapsulation: 'udp' | 'esp',
  known: SaEndpoint | null,
): SaEndpoint {
  const { localPort, remotePort } = datagram;
  const local = datagram.local === known?.local ? known.local : datagram.local;
  const remote = datagram.remote === known?.remote ? known.remote : datagram.remote;
  const isKnown =
    local === known?.local &&
    remote === known.remote &&
    localPort === known.localPort &&
    remotePort === known.remotePort &&
    encapsulation === known.encapsulation;
  return isKnown ? known : { local, localPort, remote, remotePort, encapsulation };
}
