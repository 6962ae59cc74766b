//! The in-memory twin of a TUN, for tests of what is above it.

use super::{TunQueue, TunRead};
use crate::Part;
use crate::offload::{ReadOffload, WriteOffload};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, Sender, channel};

/// One end: what a gateway has.
pub struct ChannelTun {
    from_kernel: Receiver<(Vec<u8>, ReadOffload)>,
    to_kernel: Sender<(Vec<u8>, WriteOffload)>,
    waker: crate::wait::Waker,
}

/// The other end: what plays the kernel.
pub struct TunPeer {
    /// Packets towards the gateway.
    pub send: Sender<(Vec<u8>, ReadOffload)>,
    /// Packets from the gateway.
    pub receive: Receiver<(Vec<u8>, WriteOffload)>,
}

impl ChannelTun {
    /// A pair.
    pub fn pair() -> io::Result<(Self, TunPeer)> {
        let (send, from_kernel) = channel();
        let (to_kernel, receive) = channel();
        let waker = crate::wait::Waker::new()?;
        Ok((
            Self {
                from_kernel,
                to_kernel,
                waker,
            },
            TunPeer { send, receive },
        ))
    }
}

impl TunQueue for ChannelTun {
    fn read(&mut self, arena: &mut [u8], parts: &[Part]) -> io::Result<Option<TunRead>> {
        let Ok((packet, offload)) = self.from_kernel.try_recv() else {
            return Ok(None);
        };
        let mut rest = packet.as_slice();
        for part in parts {
            let (now, later) = rest.split_at(part.len.min(rest.len()));
            arena[part.start..part.start + now.len()].copy_from_slice(now);
            rest = later;
        }
        Ok(Some(TunRead {
            len: packet.len() - rest.len(),
            offload,
        }))
    }

    fn write(&mut self, offload: WriteOffload, arena: &[u8], parts: &[Part]) -> io::Result<()> {
        let packet = parts
            .iter()
            .flat_map(|part| &arena[part.start..part.start + part.len]);
        self.to_kernel
            .send((packet.copied().collect(), offload))
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waker.as_fd()
    }
}
