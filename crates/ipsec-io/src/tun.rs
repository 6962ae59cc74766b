//! TUN queues.

mod channel;
mod linux;

pub use channel::{ChannelTun, TunPeer};
pub use linux::{LinuxTun, TunOptions};

use crate::Part;
use crate::offload::{ReadOffload, WriteOffload};
use std::io;
use std::os::fd::BorrowedFd;

/// Parts of one gathering or scattering call; the kernel's limit is 1,024.
pub const PART_COUNT_MAX: usize = 144;

/// What one read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunRead {
    /// Bytes of the packet, over the parts in their order.
    pub len: usize,
    /// What is left to do.
    pub offload: ReadOffload,
}

/// One queue of a TUN interface. Calls do not block.
pub trait TunQueue: Send {
    /// Reads one packet or super-packet into the parts of `arena`, which ascend and do not overlap.
    /// `None`: nothing there.
    fn read(&mut self, arena: &mut [u8], parts: &[Part]) -> io::Result<Option<TunRead>>;

    /// Writes one packet or super-packet gathered from the parts of `arena`.
    fn write(&mut self, offload: WriteOffload, arena: &[u8], parts: &[Part]) -> io::Result<()>;

    /// To wait for.
    fn as_fd(&self) -> BorrowedFd<'_>;
}
