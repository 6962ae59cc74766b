//! A ruleset in the syntax of `nft`, for people and tests.

use std::fmt::{self, Display, Formatter};

use super::statement::{
    BaseKind, Chain, Elements, Hook, IpFamily, Match, Rule, Set, Side, Statement, Verdict, Way,
};
use super::{Ruleset, counter};
use crate::policy::{AddressRange, NumberRange};

impl Display for Ruleset {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "table inet {} {{", self.table)?;
        writeln!(f, "\tcomment \"{}\"", self.comment)?;
        for name in counter::ALL {
            writeln!(f, "\tcounter {name} {{ }}")?;
        }
        for set in &self.sets {
            write!(f, "{set}")?;
        }
        for chain in &self.chains {
            write!(f, "{chain}")?;
        }
        writeln!(f, "}}")
    }
}

impl Display for Set {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (kind, interval, members): (&str, bool, Vec<String>) = match &self.elements {
            Elements::Addresses(IpFamily::V4, ranges) => (
                "ipv4_addr",
                true,
                ranges.iter().map(address_range).collect(),
            ),
            Elements::Addresses(IpFamily::V6, ranges) => (
                "ipv6_addr",
                true,
                ranges.iter().map(address_range).collect(),
            ),
            Elements::Ports(ranges) => (
                "inet_service",
                true,
                ranges.iter().map(number_range).collect(),
            ),
            Elements::Interfaces(names) => (
                "ifname",
                false,
                names.iter().map(|name| format!("\"{name}\"")).collect(),
            ),
            Elements::AddressTypes(types) => (
                "fib_addrtype",
                false,
                types.iter().map(|number| address_type(*number)).collect(),
            ),
        };
        writeln!(f, "\tset {} {{", self.name)?;
        writeln!(f, "\t\ttype {kind}")?;
        if interval {
            writeln!(f, "\t\tflags interval")?;
        }
        writeln!(f, "\t\telements = {{ {} }}", members.join(", "))?;
        writeln!(f, "\t}}")
    }
}

fn address_type(number: u32) -> String {
    match number {
        2 => "local".to_owned(),
        3 => "broadcast".to_owned(),
        4 => "anycast".to_owned(),
        5 => "multicast".to_owned(),
        other => other.to_string(),
    }
}

impl Display for Chain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\tchain {} {{", self.name)?;
        if let Some(base) = self.base {
            let kind = match base.kind {
                BaseKind::Filter => "filter",
                BaseKind::Route => "route",
            };
            let hook = match base.hook {
                Hook::Prerouting => "prerouting",
                Hook::Output => "output",
                Hook::Postrouting => "postrouting",
            };
            let priority = base.priority;
            writeln!(
                f,
                "\t\ttype {kind} hook {hook} priority {priority}; policy accept;"
            )?;
        }
        for rule in &self.rules {
            writeln!(f, "\t\t{rule}")?;
        }
        writeln!(f, "\t}}")
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let matches = self.matches.iter().map(ToString::to_string);
        let statements = self.statements.iter().map(ToString::to_string);
        let mut words: Vec<String> = matches.chain(statements).collect();
        if let Some(comment) = &self.comment {
            words.push(format!("comment \"{comment}\""));
        }
        f.write_str(&words.join(" "))
    }
}

fn address_range(range: &AddressRange) -> String {
    if range.from == range.to {
        return range.from.to_string();
    }
    format!("{}-{}", range.from, range.to)
}

fn number_range(range: &NumberRange) -> String {
    if range.from == range.to {
        return range.from.to_string();
    }
    format!("{}-{}", range.from, range.to)
}

fn side_address(side: Side) -> &'static str {
    match side {
        Side::Source => "saddr",
        Side::Destination => "daddr",
    }
}

fn side_port(side: Side) -> &'static str {
    match side {
        Side::Source => "sport",
        Side::Destination => "dport",
    }
}

fn way_letter(way: Way) -> &'static str {
    match way {
        Way::In => "i",
        Way::Out => "o",
    }
}

fn header(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => "ip",
        IpFamily::V6 => "ip6",
    }
}

fn unless(negate: bool) -> &'static str {
    if negate { "!= " } else { "" }
}

impl Display for Match {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Match::Family(IpFamily::V4) => write!(f, "meta nfproto ipv4"),
            Match::Family(IpFamily::V6) => write!(f, "meta nfproto ipv6"),
            Match::Interface { way, name } => write!(f, "{}ifname \"{name}\"", way_letter(*way)),
            Match::InterfaceSet { way, set, negate } => {
                write!(f, "{}ifname {}@{set}", way_letter(*way), unless(*negate))
            }
            Match::InterfaceGroup { way, group } => {
                write!(f, "{}ifgroup {group:#x}", way_letter(*way))
            }
            Match::FromLocal(true) => write!(f, "iif 0"),
            Match::FromLocal(false) => write!(f, "iif != 0"),
            Match::Mark { mask, value } => write!(f, "meta mark & {mask:#010x} == {value:#010x}"),
            Match::OtherOwner { mask, own } => {
                write!(f, "meta mark & {mask:#010x} != {{ 0, {own:#010x} }}")
            }
            Match::Protocol(number) => write!(f, "meta l4proto {number}"),
            Match::Address { side, range } => {
                let family = header(IpFamily::of(range.from));
                write!(
                    f,
                    "{family} {} {}",
                    side_address(*side),
                    address_range(range)
                )
            }
            Match::AddressSet { side, family, set } => {
                write!(f, "{} {} @{set}", header(*family), side_address(*side))
            }
            Match::Port { side, range } => {
                write!(f, "th {} {}", side_port(*side), number_range(range))
            }
            Match::PortSet { side, set } => write!(f, "th {} @{set}", side_port(*side)),
            Match::IcmpType(range) => write!(f, "@th,0,8 {}", number_range(range)),
            Match::IcmpCode(range) => write!(f, "@th,8,8 {}", number_range(range)),
            Match::LaterFragment(IpFamily::V4) => write!(f, "ip frag-off & 0x1fff != 0"),
            Match::LaterFragment(IpFamily::V6) => write!(f, "frag frag-off != 0"),
            Match::AddressTypeSet { side, set } => {
                write!(f, "fib {} type @{set}", side_address(*side))
            }
            Match::RouteInterfaceSet { side, set, negate } => {
                write!(
                    f,
                    "fib {} oifname {}@{set}",
                    side_address(*side),
                    unless(*negate)
                )
            }
            Match::TcpSyn => write!(f, "tcp flags & syn != 0"),
            Match::Byte {
                offset,
                mask,
                value,
                negate,
            } => {
                let equal = if *negate { "!=" } else { "==" };
                write!(f, "@th,{},8 & {mask:#04x} {equal} {value:#04x}", offset * 8)
            }
            Match::WordSet { offset, set } => write!(f, "@th,{},16 @{set}", offset * 8),
        }
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Statement::Count(name) => write!(f, "counter name \"{name}\""),
            Statement::SetMark { mask, value } => {
                write!(
                    f,
                    "meta mark set meta mark & {:#010x} | {value:#010x}",
                    !mask
                )
            }
            Statement::ClampMss(bytes) => write!(f, "tcp option maxseg size set {bytes}"),
            Statement::Defragment => write!(f, "tproxy to :1"),
            Statement::Verdict(Verdict::Accept) => write!(f, "accept"),
            Statement::Verdict(Verdict::Drop) => write!(f, "drop"),
            Statement::Verdict(Verdict::Return) => write!(f, "return"),
            Statement::Verdict(Verdict::Jump(chain)) => write!(f, "jump {chain}"),
            Statement::Verdict(Verdict::Goto(chain)) => write!(f, "goto {chain}"),
        }
    }
}
