//! Threads: composes datapath, IO and host. It owns order, placement, backpressure and shutdown.
//!
//! ```text
//!   control ──commands──▶ outbound worker: TUN ──▶ decide, segment, seal ──▶ UDP or raw ESP
//!           ──commands──▶ inbound worker:  UDP or raw ESP ──▶ open, check ──▶ TUN
//!           ◀──events───
//! ```
//!
//! A command is taken between two batches, so a new policy or SA is whole or not there at all.

#![forbid(unsafe_code)]

mod boundary;
mod event;
mod gateway;
mod hold;
mod inbound_worker;
mod limits;
mod open;
mod outbound_worker;
mod sockets;
#[cfg(test)]
mod tests;
mod worker;

pub use boundary::{Boundary, BoundaryOptions};
pub use event::{Event, EventReceiver, IkeDatagram};
pub use gateway::{
    CounterSnapshot, Facts, Gateway, GatewayError, GatewayOptions, IkeToSend, NewSa, SaEndpoint,
    SaKey, SaRow,
};
pub use inbound_worker::InboundWorker;
pub use open::iv_key;
pub use outbound_worker::OutboundWorker;
pub use sockets::{Carries, Socket, Sockets};
