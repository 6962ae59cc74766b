//! The operating system: TUN queues, UDP and raw sockets, packet sockets, waiting. It knows packets
//! as bytes and never SAs.
//!
//! System calls go through tun-rs, socket2, nix and std; what these do not offer is in `sys`, the
//! only place with unsafe code.

pub mod network;
pub mod offload;
pub mod packet_socket;
pub mod tun;
pub mod wait;

mod control_message;
mod sys;

use thiserror::Error;

/// A part of an arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Offset of its first byte.
    pub start: usize,
    /// Bytes.
    pub len: usize,
}

/// A device or socket could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The TUN device.
    #[error("TUN interface {name}: {source}")]
    Tun {
        /// Interface name.
        name: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A socket.
    #[error("{what}: {source}")]
    Socket {
        /// Which, with address and port.
        what: String,
        /// What the kernel said.
        source: std::io::Error,
    },
}
