//! A packet socket on one interface: sees frames as they are on the wire and puts frames there. For
//! captures and for the demonstration's attacker.

use crate::{OpenError, sys};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// All frames of one interface, link header included.
pub struct PacketSocket {
    fd: OwnedFd,
}

impl PacketSocket {
    /// Opens it on the interface with this index.
    pub fn open(interface: &str) -> Result<Self, OpenError> {
        Self::try_open(interface).map_err(|source| OpenError::Socket {
            what: format!("packet socket on {interface}"),
            source,
        })
    }

    fn try_open(interface: &str) -> io::Result<Self> {
        let index = nix::net::if_::if_nametoindex(interface)?;
        let fd = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::EthAll,
        )?;
        let address = sys::link_address(index).ok_or(io::ErrorKind::InvalidInput)?;
        bind(fd.as_raw_fd(), &address)?;
        nix::sys::socket::setsockopt(&fd, nix::sys::socket::sockopt::RcvBufForce, &(32 << 20))
            .or_else(|_| {
                nix::sys::socket::setsockopt(&fd, nix::sys::socket::sockopt::RcvBuf, &(4 << 20))
            })?;
        Ok(Self { fd })
    }

    /// One frame, waiting at most `timeout`; `None` when there is none.
    pub fn receive(&self, buffer: &mut [u8], timeout: Duration) -> io::Result<Option<usize>> {
        let end = Instant::now() + timeout;
        loop {
            match recv(self.fd.as_raw_fd(), buffer, MsgFlags::empty()) {
                Ok(len) => return Ok(Some(len)),
                Err(nix::errno::Errno::EAGAIN) => {
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(None);
                    }
                    crate::wait::readable(&[self.fd.as_fd()], Some(left))?;
                }
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Puts one frame on the wire.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(self.fd.as_raw_fd(), frame, MsgFlags::empty())?;
        Ok(())
    }

    /// To wait for.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
