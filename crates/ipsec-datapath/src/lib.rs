//! RFC 4301 section 5 as functions over packets: no sockets, threads, clock, environment or log.
//! Time and randomness are arguments, refusals are values.
//!
//! **Outbound** (RFC 4301 section 5.1, RFC 4303 section 3.3), by run:
//! 1. what the packet is ([`ipsec_wire::IpPacket`]),
//! 2. which SPD entry decides: [`spd`], through the flow cache,
//! 3. which SA: [`outbound`],
//! 4. segments of a super-packet: [`segment`],
//! 5. sequence numbers, one reservation a run: [`sad::sequence_number`],
//! 6. padding, TFC padding, sealing: [`esp::encapsulate`],
//! 7. in library mode the outer header: [`tunnel_header`].
//!
//! In transport mode the IP header stays outside: [`transport`].
//!
//! **Inbound** (RFC 4301 section 5.2, RFC 4303 section 3.4), by run:
//! 1. ESP, IKE or keepalive: [`udp_encapsulation`],
//! 2. the SA by SPI: [`sad`],
//! 3. the window looked at: [`replay_window`],
//! 4. opened: [`esp::decapsulate`],
//! 5. the window moved, which were new: [`replay_window`],
//! 6. padding, next header, inner packet, ECN, the SA's selectors: [`inbound`],
//! 7. pieces of one super-packet: [`coalesce`].

#![forbid(unsafe_code)]

pub mod coalesce;
pub mod counters;
pub mod esp;
pub mod inbound;
pub mod limits;
pub mod outbound;
pub mod replay_window;
pub mod sad;
pub mod segment;
pub mod selector;
pub mod spd;
pub mod suite;
pub mod transport;
pub mod tunnel_header;
pub mod udp_encapsulation;
pub mod verdict;

pub use counters::{Counter, Counters};
pub use verdict::DropReason;
