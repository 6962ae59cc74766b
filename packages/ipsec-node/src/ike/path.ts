import type { IkeDatagram, SaEndpoint } from './action.js';

/** The way that a datagram came, as an endpoint to answer to. */
export function pathOf(datagram: IkeDatagram, encapsulation: 'udp' | 'esp'): SaEndpoint {
  const { local, localPort, remote, remotePort } = datagram;
  return { local, localPort, remote, remotePort, encapsulation };
}
