//! The small runtime that turns the asynchronous netlink library into plain calls.

use std::future::Future;

use nix::sys::socket::{setsockopt, sockopt::SndBufForce};
use nlink::{Connection, Nftables, Route};

use crate::error::Error;

/// The largest nftables transaction: the largest policy needs about a third of it.
const TRANSACTION_BYTES_MAX: usize = 64 << 20;

/// Runs `work` to its end on a runtime that lives for this call alone.
pub(crate) fn run<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    if tokio::runtime::Handle::try_current().is_ok() {
        return Err(Error::InsideRuntime);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Start { source })?;
    runtime.block_on(work)
}

/// A routing socket in the network namespace of the calling thread.
pub(crate) fn route_connection() -> Result<Connection<Route>, Error> {
    Connection::<Route>::new().map_err(Error::netlink("open a routing netlink socket"))
}

/// An nftables socket in the network namespace of the calling thread.
pub(crate) fn nft_connection() -> Result<Connection<Nftables>, Error> {
    let connection =
        Connection::<Nftables>::new().map_err(Error::netlink("open an nftables netlink socket"))?;
    // A transaction is one message. Without the privilege a small one still fits, and the kernel
    // would refuse it anyway.
    let _ = setsockopt(connection.socket(), SndBufForce, &TRANSACTION_BYTES_MAX);
    Ok(connection)
}

/// Whether the kernel has IPv6 here at all.
pub(crate) fn has_ipv6() -> bool {
    std::path::Path::new("/proc/sys/net/ipv6").exists()
}
