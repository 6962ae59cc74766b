//! The few things a rule of the boundary can say.

use std::net::IpAddr;

use crate::policy::{AddressRange, NumberRange};

/// Whether a match looks at where a packet came in or where it goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    In,
    Out,
}

/// Which address or port of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Destination,
}

/// The family of an IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum IpFamily {
    V4,
    V6,
}

impl IpFamily {
    pub(crate) fn of(address: IpAddr) -> IpFamily {
        if address.is_ipv4() {
            IpFamily::V4
        } else {
            IpFamily::V6
        }
    }
}

/// One condition of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    Family(IpFamily),
    Interface {
        way: Way,
        name: String,
    },
    InterfaceSet {
        way: Way,
        set: String,
        negate: bool,
    },
    InterfaceGroup {
        way: Way,
        group: u32,
    },
    /// The packet comes from a local process.
    FromLocal(bool),
    Mark {
        mask: u32,
        value: u32,
    },
    /// The bits under `mask` are neither zero nor `own`.
    OtherOwner {
        mask: u32,
        own: u32,
    },
    Protocol(u8),
    Address {
        side: Side,
        range: AddressRange,
    },
    AddressSet {
        side: Side,
        family: IpFamily,
        set: String,
    },
    Port {
        side: Side,
        range: NumberRange,
    },
    PortSet {
        side: Side,
        set: String,
    },
    IcmpType(NumberRange),
    IcmpCode(NumberRange),
    /// Not the first fragment of a packet.
    LaterFragment(IpFamily),
    /// The type of the address in the routing table is one of a set.
    AddressTypeSet {
        side: Side,
        set: String,
    },
    /// The interface by which the routing table, asked without the mark, reaches the address.
    RouteInterfaceSet {
        side: Side,
        set: String,
        negate: bool,
    },
    /// A TCP segment with SYN.
    TcpSyn,
    /// A byte behind the transport header's start, under a mask.
    Byte {
        offset: u32,
        mask: u8,
        value: u8,
        negate: bool,
    },
    /// Two bytes behind the transport header's start are in a set of ports.
    WordSet {
        offset: u32,
        set: String,
    },
}

/// Where a rule leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(String),
    Goto(String),
}

/// What a rule does with a packet that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    Count(&'static str),
    SetMark {
        mask: u32,
        value: u32,
    },
    ClampMss(u16),
    /// Makes the kernel put fragments together in this namespace, by being there.
    Defragment,
    Verdict(Verdict),
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) matches: Vec<Match>,
    pub(crate) statements: Vec<Statement>,
    pub(crate) comment: Option<String>,
}

/// Where a chain is called from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Prerouting,
    Output,
    Postrouting,
}

/// Whether a chain may re-route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BaseKind {
    Filter,
    Route,
}

/// What makes a chain a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) kind: BaseKind,
    pub(crate) hook: Hook,
    pub(crate) priority: i32,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) name: String,
    pub(crate) base: Option<Base>,
    pub(crate) rules: Vec<Rule>,
}

/// The members of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Elements {
    /// Disjoint ranges of one family in rising order.
    Addresses(IpFamily, Vec<AddressRange>),
    /// Disjoint ranges in rising order.
    Ports(Vec<NumberRange>),
    Interfaces(Vec<String>),
    /// Types of addresses, RTN_*.
    AddressTypes(Vec<u32>),
}

/// A named set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) name: String,
    pub(crate) elements: Elements,
}
