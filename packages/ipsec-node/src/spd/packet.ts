import { formatIcmpType } from '../net/icmp-type.js';
import { type IpAddress, parseIpAddress } from '../net/ip-address.js';
import { formatProtocol, hasPorts, isIcmp } from '../net/next-layer-protocol.js';
import { formatAddressAndPort } from '../net/udp-endpoint.js';

/** Which way a packet crosses the boundary, as seen from our side. */
export type PacketDirection = 'outbound' | 'inbound';

/** What an SPD search looks at in a packet, as in the packet's own header. */
export interface SpdPacket {
  readonly source: IpAddress;
  readonly destination: IpAddress;
  /** 0..255. */
  readonly protocol: number;
  /** Null where the protocol has none, or a fragment other than the first does not carry them. */
  readonly ports: { readonly source: number; readonly destination: number } | null;
  /** Null where the packet is not ICMP, or a fragment other than the first. */
  readonly icmp: { readonly type: number; readonly code: number } | null;
}

/** A packet's five-tuple as plain text and numbers, as the seam carries it. */
export interface PacketFields {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly hasPorts: boolean;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly icmpType: number;
  readonly icmpCode: number;
}

/**
 * Reads plain fields.
 *
 * @throws UsageError IPSEC_ERR_ADDRESS_SYNTAX
 */
export function packetOfFields(fields: PacketFields): SpdPacket {
  const { protocol } = fields;
  return {
    source: parseIpAddress(fields.source),
    destination: parseIpAddress(fields.destination),
    protocol,
    ports:
      fields.hasPorts && hasPorts(protocol)
        ? { source: fields.sourcePort, destination: fields.destinationPort }
        : null,
    icmp: isIcmp(protocol) ? { type: fields.icmpType, code: fields.icmpCode } : null,
  };
}

/** Writes a packet in the form that `explain` reads: protocol, source, destination. */
export function formatPacket(packet: SpdPacket): string {
  const source = { address: packet.source, port: packet.ports?.source ?? null };
  const destination = { address: packet.destination, port: packet.ports?.destination ?? null };
  const text = `${formatProtocol(packet.protocol)} ${formatAddressAndPort(source)} ${formatAddressAndPort(destination)}`;
  if (packet.icmp === null) return text;
  const type = formatIcmpType(packet.protocol, packet.icmp.type);
  return packet.icmp.code === 0 ? `${text} ${type}` : `${text} ${type}/${packet.icmp.code}`;
}

/** The packet that answers: ends and ports swapped. ICMP keeps type and code. */
export function replyTo(packet: SpdPacket): SpdPacket {
  return {
    ...packet,
    source: packet.destination,
    destination: packet.source,
    ports:
      packet.ports === null
        ? null
        : { source: packet.ports.destination, destination: packet.ports.source },
  };
}
