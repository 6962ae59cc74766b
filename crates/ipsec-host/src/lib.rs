//! What the host's network stack must hold for the gateway: links, addresses, routes, rules,
//! and the nftables table that keeps the boundary of RFC 4301 closed.
//!
//! The crate knows prefixes, ports, marks and interface names; it never sees a packet or an SA.
//! Everything is done over netlink, in the network namespace of the calling thread, with sockets
//! that are closed before a function returns. The one thread is a [`Watcher`]'s.
//!
//! ```text
//!   policy --compile_ruleset--> Ruleset --Guard::install--> nft table   marks, drops, counts
//!                                                           ip rule     mark -> private table
//!                                                           ip route    default dev TUN, and
//!                                                                       a blackhole behind it
//! ```
//!
//! The functions are synchronous and start a small runtime of their own; called from inside an
//! asynchronous runtime they refuse with [`Error::InsideRuntime`].

#![forbid(unsafe_code)]

pub mod address;
mod error;
mod guard;
pub mod link;
mod marks;
mod netlink;
mod nft;
mod policy;
pub mod reach;
pub mod route;
pub mod rule;
mod ruleset;
pub mod sysctl;
mod watcher;

pub use error::{EntryFault, Error};
pub use guard::{Guard, Installed, Missing, Removed};
pub use marks::Marks;
pub use policy::{Action, AddressRange, BoundarySpec, NumberRange, PolicyEntry};
pub use ruleset::{Ruleset, compile_ruleset, compile_wider_ruleset};
pub use watcher::{Hold, Watcher};
