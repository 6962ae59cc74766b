//! Sockets towards the peers: UDP (RFC 3948) and raw ESP, of either family.

mod channel;
mod socket;

pub use channel::{ChannelNetwork, Datagrams, NetworkPeer};
pub use socket::{SocketKind, SocketNetwork, SocketOptions};

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

/// Where a run goes, and the fields of its outer header that we set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Peer; the port is 0 for raw ESP.
    pub remote: SocketAddr,
    /// Our address.
    pub local: IpAddr,
    /// Outer traffic class: DSCP and ECN.
    pub traffic_class: u8,
    /// Outer Don't Fragment.
    pub dont_fragment: bool,
}

/// What one receive brought: `len` bytes at `start`, datagrams of `segment_len` bytes one behind the
/// other, the last perhaps shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Offset of the first payload.
    pub start: usize,
    /// Bytes of all payloads.
    pub len: usize,
    /// Bytes of each but the last.
    pub segment_len: usize,
    /// Who sent it.
    pub remote: SocketAddr,
    /// To which of our addresses.
    pub local: Option<IpAddr>,
    /// Outer traffic class.
    pub traffic_class: u8,
    /// There was more than the buffer took: the last datagram is not whole.
    pub truncated: bool,
}

/// How a run was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// System calls.
    pub calls: usize,
    /// Packets that the kernel refused.
    pub failed: usize,
    /// Segmentation offload was refused and is off from here on.
    pub gso_turned_off: bool,
}

/// A socket. Calls do not block, but a send waits for room for a bounded time.
pub trait NetworkQueue: Send {
    /// Sends packets of `segment_len` bytes that lie one behind the other in `bytes`, the last perhaps
    /// shorter, in order.
    fn send(&mut self, target: &Target, bytes: &[u8], segment_len: usize) -> Sent;

    /// Receives into `buffer`, which holds 64 KiB. `None`: nothing there.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<Received>>;

    /// To wait for.
    fn as_fd(&self) -> BorrowedFd<'_>;
}
