//! Bytes and nothing else: headers of IP, TCP, UDP, ICMP and ESP, the Internet checksum, and the
//! [`Run`], the only packet type of the datapath.
//!
//! Rules of this crate: everything is checked once, on construction, and accessors cannot fail;
//! numbers are in host byte order once they are out of a slice; offsets count bytes from the first
//! byte of the packet. No allocation, no policy, no state, no clock.

pub mod checksum;
pub mod esp;
pub mod ip_packet;
pub mod ipv4;
pub mod ipv6;
pub mod protocol_number;
pub mod run;
pub mod tcp;

pub use ip_packet::{FlowKey, Fragment, IpPacket, Malformed};
pub use protocol_number::ProtocolNumber;
pub use run::{NoRoom, Run, Slot};
