//! The in-memory twin of a socket, for tests of what is above it.

use super::{NetworkQueue, Received, Sent, Target};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, Sender, channel};

/// Datagrams of `segment_len` bytes one behind the other, and where they go or come from.
pub type Datagrams = (Vec<u8>, usize, Target);

/// One end: what a gateway has.
pub struct ChannelNetwork {
    incoming: Receiver<Datagrams>,
    outgoing: Sender<Datagrams>,
    waker: crate::wait::Waker,
}

/// The other end: sends arrive as they were given, one message a call.
pub struct NetworkPeer {
    /// Towards the gateway; the target's `remote` is the sender.
    pub send: Sender<Datagrams>,
    /// From the gateway.
    pub receive: Receiver<Datagrams>,
}

impl ChannelNetwork {
    /// A pair.
    pub fn pair() -> io::Result<(Self, NetworkPeer)> {
        let (send, incoming) = channel();
        let (outgoing, receive) = channel();
        let waker = crate::wait::Waker::new()?;
        Ok((
            Self {
                incoming,
                outgoing,
                waker,
            },
            NetworkPeer { send, receive },
        ))
    }
}

impl NetworkQueue for ChannelNetwork {
    fn send(&mut self, target: &Target, bytes: &[u8], segment_len: usize) -> Sent {
        let failed = self
            .outgoing
            .send((bytes.to_vec(), segment_len, *target))
            .is_err();
        let packets = bytes.len().div_ceil(segment_len);
        Sent {
            calls: 1,
            failed: if failed { packets } else { 0 },
            gso_turned_off: false,
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        let Ok((bytes, segment_len, target)) = self.incoming.try_recv() else {
            return Ok(None);
        };
        let len = bytes.len().min(buffer.len());
        buffer[..len].copy_from_slice(&bytes[..len]);
        Ok(Some(Received {
            start: 0,
            len,
            segment_len,
            remote: target.remote,
            local: Some(target.local),
            traffic_class: target.traffic_class,
            truncated: len < bytes.len(),
        }))
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waker.as_fd()
    }
}
