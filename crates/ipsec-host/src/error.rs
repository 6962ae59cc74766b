//! The one error type of the crate.

use std::path::PathBuf;

/// What is wrong with a policy entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// A range mixes IPv4 and IPv6.
    #[error("an address range mixes IPv4 and IPv6")]
    MixedFamilies,
    /// A range ends before it starts.
    #[error("a range ends before it starts")]
    ReversedRange,
    /// Ports are given for a protocol that has none.
    #[error("ports need protocol TCP, UDP, DCCP, SCTP or UDP-Lite")]
    PortsWithoutProtocol,
    /// An ICMP type or code is given for another protocol, or is over 255.
    #[error("ICMP types and codes are 0 to 255 and need protocol ICMP or ICMPv6")]
    IcmpWithoutProtocol,
}

/// Why a control operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a netlink request.
    #[error("{operation}: {source}")]
    Netlink {
        /// What was attempted.
        operation: &'static str,
        /// What the kernel or the netlink library answered.
        source: nlink::Error,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of /proc/sys does not hold a number.
    #[error("{path} does not hold a number")]
    NotANumber {
        /// The file.
        path: PathBuf,
    },
    /// No link has this name.
    #[error("there is no interface {name}")]
    NoSuchLink {
        /// The name asked for.
        name: String,
    },
    /// An interface name is empty, longer than 15 bytes, or holds a blank or a slash.
    #[error("{name:?} is not an interface name")]
    LinkName {
        /// The name given.
        name: String,
    },
    /// The owner's name cannot name an nftables table.
    #[error("{owner:?} is not an owner name: 1 to 64 letters, digits, dots, dashes, underscores")]
    OwnerName {
        /// The name given.
        owner: String,
    },
    /// A mark does not lie within its mask, is zero, or equals the other one.
    #[error("the marks {own:#x} and {protect:#x} must differ, be non-zero, and fit {mask:#x}")]
    Marks {
        /// The mask.
        mask: u32,
        /// The mark of the gateway's own packets.
        own: u32,
        /// The mark of packets to protect.
        protect: u32,
    },
    /// Another owner's guard on this host has the same mark, table or priority.
    #[error("the guard of {other} uses the same marks; give one of the two another name")]
    Collision {
        /// The other owner.
        other: String,
    },
    /// A running watcher of another process holds this guard.
    #[error("another running process holds the guard of {owner}")]
    Held {
        /// The owner of the guard.
        owner: String,
    },
    /// A policy entry cannot be compiled.
    #[error("policy {entry}: {fault}")]
    Entry {
        /// The name of the entry.
        entry: String,
        /// What is wrong with it.
        fault: EntryFault,
    },
    /// The policy is larger than [`crate::BoundarySpec::ENTRIES_MAX`].
    #[error("{count} policy entries are more than {max}")]
    TooManyEntries {
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// A prefix length does not fit the family of its address.
    #[error("a prefix length of {prefix_len} does not fit the address family")]
    PrefixLength {
        /// The length given.
        prefix_len: u8,
    },
    /// A synchronous function was called from inside an asynchronous runtime.
    #[error("called from inside an asynchronous runtime")]
    InsideRuntime,
    /// The small runtime, or the thread of a watcher, could not be started.
    #[error("cannot start: {source}")]
    Start {
        /// Why.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn netlink(operation: &'static str) -> impl FnOnce(nlink::Error) -> Error {
        move |source| Error::Netlink { operation, source }
    }

    /// The error number of the kernel, where there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Netlink { source, .. } => source.errno().map(i32::abs),
            Error::File { source, .. } | Error::Start { source } => source.raw_os_error(),
            _ => None,
        }
    }

    /// Whether the cause is a missing privilege.
    pub fn is_permission_denied(&self) -> bool {
        matches!(self.errno(), Some(libc::EPERM | libc::EACCES))
    }
}
