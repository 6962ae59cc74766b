/** What the demo needs of the addon: links for its laboratory, and the attacker's packet socket. */
import {
  addAddress as nativeAddAddress,
  addRoute as nativeAddRoute,
  createVeth as nativeCreateVeth,
  type NativeReply,
  NativePacketSocket,
  setLinkUp as nativeSetLinkUp,
} from '../../native/index.js';
import { ResourceError } from '../errors.js';

function check({ error }: NativeReply): void {
  if (error !== undefined) throw new ResourceError('IPSEC_ERR_HOST', error.message);
}

/** Makes a veth pair whose far end is in the network namespace of a process. */
export function createVeth(name: string, peer: string, peerPid: number): void {
  check(nativeCreateVeth(name, peer, peerPid));
}

/** Sets a link up with an MTU. */
export function setLinkUp(name: string, mtuBytes: number): void {
  check(nativeSetLinkUp(name, mtuBytes));
}

/** Adds an address to a link. */
export function addAddress(link: string, ip: string, prefixLen: number): void {
  check(nativeAddAddress(link, ip, prefixLen));
}

/** Adds a route by a gateway. */
export function addRoute(destination: string, prefixLen: number, via: string): void {
  check(nativeAddRoute(destination, prefixLen, via));
}

/** Frames of one interface, link header included, both ways. */
export interface PacketSocket {
  receive(count: number, timeoutMs: number): readonly Uint8Array[];
  send(frame: Uint8Array): void;
}

export function openPacketSocket(link: string): PacketSocket {
  return new NativePacketSocket(link);
}
