//! Waiting for descriptors, and being woken by another thread.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Most descriptors one wait takes: three sockets for each of sixteen addresses, a TUN, a waker.
pub const WAIT_COUNT_MAX: usize = 50;

/// Lets another thread end a wait.
pub struct Waker(EventFd);

impl Waker {
    /// A new one.
    pub fn new() -> io::Result<Self> {
        Ok(Self(EventFd::from_flags(
            EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK,
        )?))
    }

    /// Ends the wait, now or when it starts.
    pub fn wake(&self) {
        // The counter cannot overflow in practice, and a full one wakes as well.
        let _ = self.0.write(1);
    }

    /// Forgets wakes so far.
    pub fn clear(&self) {
        let _ = self.0.read();
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until one of the descriptors can be read, at most `timeout`; at most [`WAIT_COUNT_MAX`] count.
pub fn readable(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<()> {
    wait(fds, PollFlags::POLLIN, timeout)
}

/// Waits until the descriptor takes more, at most `timeout`.
pub fn writable(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
    wait(&[fd], PollFlags::POLLOUT, Some(timeout))
}

fn wait(fds: &[BorrowedFd<'_>], events: PollFlags, timeout: Option<Duration>) -> io::Result<()> {
    let timeout = timeout.map_or(PollTimeout::NONE, |timeout| {
        PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX)
    });
    let Some(first) = fds.first() else {
        return Ok(());
    };
    let mut list: [PollFd<'_>; WAIT_COUNT_MAX] =
        std::array::from_fn(|index| PollFd::new(*fds.get(index).unwrap_or(first), events));
    match poll(&mut list[..fds.len().min(WAIT_COUNT_MAX)], timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Lets other threads of this processor run.
pub fn yield_now() {
    std::thread::yield_now();
}
