//! From policy to nftables: what each hook does, in which order.
//!
//! ```text
//!  wire/LAN --> prerouting(-90) --> routing --> forward --> postrouting(90) --> wire/LAN/TUN
//!                    |                 |                          ^
//!                    v                 v                          |
//!                 inbound           local process --> output(-90, may re-route)
//!                 search, marks
//! ```
//!
//! The three chains run after defragmentation (-400) and destination NAT (-100) and
//! before source NAT (100): policy sees the addresses of the inside.
//!
//! Direction:
//!
//! | a packet | search | a match does |
//! |---|---|---|
//! | from an outside interface, forwarded or to this host | inbound | PROTECT, DISCARD and no match drop; BYPASS passes |
//! | from an inside interface, source not reachable inside | inbound | PROTECT drops: it should have come out of the TUN |
//! | from an inside interface or the TUN, not to this host, not to an inside interface | outbound | PROTECT marks, which routes to the TUN |
//! | from a local process, not to an inside interface | outbound | PROTECT marks; DISCARD drops |
//! | leaving by an outside interface, local or forwarded | outbound | PROTECT, DISCARD and no match drop; BYPASS passes |
//! | between two inside interfaces, on the loopback | none | |
//! | out of the TUN | none on arrival: the gateway checked it against the selectors of its SA | |
//!
//! With neither list of interfaces given, the direction of a forwarded packet is judged by
//! selectors: an outbound match decides first, then the inbound search; what neither search knows
//! is dropped. Nothing that comes out of the TUN goes back into it then.
//!
//! RFC 4301 section 4.4.1: entries are searched in order, the first match wins, and what matches
//! none is discarded. Connection tracking never decides.
//!
//! Several owners on one host: each judges what crosses an interface that is outside for it.
//! What carries another owner's mark, or came out of another owner's TUN, is exempt from the
//! final discard, but from nothing that an entry says.

mod compile;
mod print;
mod statement;

pub use compile::{compile_ruleset, compile_wider_ruleset};
pub(crate) use statement::{
    Base, BaseKind, Chain, Elements, Hook, IpFamily, Match, Rule, Set, Side, Statement, Verdict,
    Way,
};

/// The names of the counters, in the order in which they are reported.
pub(crate) mod counter {
    /// Arrived in clear from outside, and should have been protected.
    pub(crate) const CLEARTEXT_INBOUND: &str = "cleartext_inbound";
    /// Arrived in clear from inside with a source that is not there, and should have been
    /// protected.
    pub(crate) const CLEARTEXT_FROM_INSIDE: &str = "cleartext_from_inside";
    /// Was about to leave in clear, and should have been protected.
    pub(crate) const CLEARTEXT_OUTBOUND: &str = "cleartext_outbound";
    /// Arrived, and an entry says DISCARD.
    pub(crate) const DISCARD_INBOUND: &str = "discard_inbound";
    /// Was about to leave, and an entry says DISCARD.
    pub(crate) const DISCARD_OUTBOUND: &str = "discard_outbound";
    /// Arrived, and no entry matches.
    pub(crate) const NO_MATCH_INBOUND: &str = "no_match_inbound";
    /// Was about to leave, and no entry matches.
    pub(crate) const NO_MATCH_OUTBOUND: &str = "no_match_outbound";
    /// A fragment that nobody put together, so that its ports cannot be known.
    pub(crate) const FRAGMENT: &str = "fragment";
    /// An ICMP error that would have told a stranger that no gateway runs here.
    pub(crate) const ICMP_SUPPRESSED: &str = "icmp_suppressed";

    /// All of them.
    pub(crate) const ALL: [&str; 9] = [
        CLEARTEXT_INBOUND,
        CLEARTEXT_FROM_INSIDE,
        CLEARTEXT_OUTBOUND,
        DISCARD_INBOUND,
        DISCARD_OUTBOUND,
        NO_MATCH_INBOUND,
        NO_MATCH_OUTBOUND,
        FRAGMENT,
        ICMP_SUPPRESSED,
    ];
}

/// A compiled policy: what the kernel is given, printable in the syntax of `nft`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    pub(crate) table: String,
    pub(crate) comment: String,
    pub(crate) sets: Vec<Set>,
    pub(crate) chains: Vec<Chain>,
}

/// The name of the nftables table of an owner.
pub(crate) fn table_name(owner: &str) -> String {
    format!("{TABLE_PREFIX}{owner}")
}

/// What the name of every owner's table starts with.
pub(crate) const TABLE_PREFIX: &str = "ipsec-node-";

/// The link group of every owner's TUN ("ipse"): by it one owner knows another's.
pub(crate) const TUN_GROUP: u32 = 0x6970_7365;

impl Ruleset {
    /// The name of the nftables table, of family `inet`.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// How many rules the chains hold together.
    pub fn rule_count(&self) -> usize {
        self.chains.iter().map(|chain| chain.rules.len()).sum()
    }
}
