//! The compiler proper: one search per context, all from the same entries.

use super::statement::{
    Base, BaseKind, Chain, Elements, Hook, IpFamily, Match, Rule, Set, Side, Statement, Verdict,
    Way,
};
use super::{Ruleset, TUN_GROUP, counter, table_name};
use crate::marks::{FIELD_MASK, USE_MASK, USE_OWN, USE_PROTECT};
use crate::policy::{Action, AddressRange, BoundarySpec, NumberRange, PolicyEntry};

mod entry;

use entry::SetPool;

/// After destination NAT (-100), so that policy sees the addresses of the inside.
const EARLY: i32 = -90;
/// Before source NAT (100), for the same reason.
const LATE: i32 = 90;

const ESP: u8 = 50;
const AH: u8 = 51;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

const INSIDE: &str = "inside";
const OUTSIDE: &str = "outside";
const NOT_FORWARDED: &str = "not_forwarded";
const OWN_PORTS: &str = "own_ports";

/// Compiles a policy. Pure: the same spec gives the same ruleset.
pub fn compile_ruleset(spec: &BoundarySpec) -> Ruleset {
    Compiler::new(spec, &[&spec.entries]).compile()
}

/// Compiles a guard that is as strict as both policies together: nothing leaves or enters in clear
/// unless both say BYPASS, and what either wants protected goes to the TUN. It stands while the
/// one policy takes the place of the other. Everything but the entries comes from `new`.
pub fn compile_wider_ruleset(old: &BoundarySpec, new: &BoundarySpec) -> Ruleset {
    if old.entries == new.entries {
        return compile_ruleset(new);
    }
    Compiler::new(new, &[&old.entries, &new.entries]).compile()
}

/// What is known about the sides of the boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sides {
    /// The protected interfaces are listed; the rest is outside.
    ProtectedListed,
    /// Only the unprotected interfaces are listed; the rest is inside.
    UnprotectedListed,
    /// Nothing is listed.
    Unknown,
}

/// The contexts that a search runs in. Each has chains of its own, one for each layer of policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Search {
    /// A local packet about to leave: find out whether to mark it.
    OutLocal,
    /// A forwarded packet that has just arrived: find out whether to mark it.
    OutForwardMark,
    /// A packet on the last step before it leaves.
    OutLeave,
    /// A forwarded packet on its last step, its direction not known.
    OutForwarded,
    /// A packet from outside.
    InOutside,
    /// A packet from inside.
    InInside,
}

impl Search {
    const ALL: [Search; 6] = [
        Search::OutLocal,
        Search::OutForwardMark,
        Search::OutLeave,
        Search::OutForwarded,
        Search::InOutside,
        Search::InInside,
    ];

    fn chain(self) -> &'static str {
        match self {
            Search::OutLocal => "out_local",
            Search::OutForwardMark => "out_forward_mark",
            Search::OutLeave => "out_leave",
            Search::OutForwarded => "out_forwarded",
            Search::InOutside => "in_outside",
            Search::InInside => "in_inside",
        }
    }

    fn is_outbound(self) -> bool {
        !matches!(self, Search::InOutside | Search::InInside)
    }

    /// Whether a packet that matches nothing ends here.
    fn discards_the_rest(self) -> bool {
        matches!(self, Search::OutLeave | Search::InOutside)
    }
}

struct Compiler<'a> {
    spec: &'a BoundarySpec,
    layers: Vec<Vec<PolicyEntry>>,
    sides: Sides,
    pool: SetPool,
}

impl<'a> Compiler<'a> {
    fn new(spec: &'a BoundarySpec, layers: &[&[PolicyEntry]]) -> Self {
        let sides = if !spec.protected_interfaces.is_empty() {
            Sides::ProtectedListed
        } else if !spec.unprotected_interfaces.is_empty() {
            Sides::UnprotectedListed
        } else {
            Sides::Unknown
        };
        let layers = layers
            .iter()
            .map(|entries| entry::merge_adjacent(entries))
            .collect();
        Compiler {
            spec,
            layers,
            sides,
            pool: SetPool::default(),
        }
    }

    fn compile(mut self) -> Ruleset {
        let mut chains = vec![self.prerouting(), self.output(), self.postrouting()];
        chains.push(self.mark_forwarded());
        chains.push(self.spoofed_inside());
        chains.push(Chain {
            name: "defragment".into(),
            base: None,
            rules: vec![defragment()],
        });
        for search in Search::ALL {
            if self.is_used(search) {
                for layer in 0..self.layers.len() {
                    let chain = self.search_chain(search, layer);
                    chains.push(chain);
                }
            }
        }
        let mut sets = self.fixed_sets();
        sets.append(&mut self.pool.sets);
        Ruleset {
            table: table_name(&self.spec.owner),
            comment: comment(self.spec),
            sets,
            chains,
        }
    }

    fn fixed_sets(&self) -> Vec<Set> {
        let mut sets = vec![Set {
            name: NOT_FORWARDED.into(),
            // Local, broadcast, anycast, multicast.
            elements: Elements::AddressTypes(vec![2, 3, 4, 5]),
        }];
        let interfaces = |name: &str, elements: Vec<String>| Set {
            name: name.into(),
            elements: Elements::Interfaces(elements),
        };
        match self.sides {
            Sides::ProtectedListed => {
                sets.push(interfaces(INSIDE, dedup(&self.spec.protected_interfaces)));
            }
            Sides::UnprotectedListed => {
                let mut outside = dedup(&self.spec.unprotected_interfaces);
                // What has no route is not inside, and neither is what is routed to the TUN.
                outside.push(String::new());
                if !outside.contains(&self.spec.tun) {
                    outside.push(self.spec.tun.clone());
                }
                sets.push(interfaces(OUTSIDE, outside));
            }
            Sides::Unknown => {}
        }
        if !self.spec.own_listen_ports.is_empty() {
            let ports = self.spec.own_listen_ports.iter();
            let ranges = ports
                .map(|port| NumberRange {
                    from: *port,
                    to: *port,
                })
                .collect();
            sets.push(Set {
                name: OWN_PORTS.into(),
                elements: Elements::Ports(entry::merge_numbers(ranges)),
            });
        }
        sets
    }

    fn is_used(&self, search: Search) -> bool {
        let by_selectors = self.sides == Sides::Unknown;
        match search {
            Search::OutLocal | Search::OutLeave | Search::InOutside => true,
            Search::OutForwardMark | Search::InInside => !by_selectors,
            Search::OutForwarded => by_selectors,
        }
    }

    fn prerouting(&self) -> Chain {
        let marks = self.spec.marks;
        let mut rules = vec![rule([interface(Way::In, "lo")], [accept()])];
        rules.extend(self.clamp(Way::In));
        // A mark is ours only when a local socket or these rules set it; one that arrives with a
        // packet (from a foreign rule, or along a veth inside this namespace) says nothing.
        for value in [marks.own, marks.protect] {
            let clear = Statement::SetMark {
                mask: marks.mask,
                value: 0,
            };
            rules.push(rule(
                [Match::Mark {
                    mask: marks.mask,
                    value,
                }],
                [clear],
            ));
        }
        let tun = || interface(Way::In, &self.spec.tun);
        if self.sides != Sides::Unknown {
            rules.extend(self.jumps(Search::OutForwardMark, || vec![tun()]));
        }
        rules.push(rule([tun()], [accept()]));
        rules.extend(self.own_arrivals());
        rules.extend(fragments());
        if self.sides == Sides::Unknown {
            let not_forwarded = || vec![address_type(Side::Destination)];
            rules.extend(self.jumps(Search::InOutside, not_forwarded));
            // In the inbound search everything ends, so only what is forwarded comes here.
            let forwarded = Vec::new;
            rules.extend(self.jumps(Search::OutLocal, forwarded));
            rules.extend(self.jumps(Search::InOutside, forwarded));
        } else {
            rules.extend(self.jumps(Search::InOutside, || vec![self.is_outside(Way::In)]));
            rules.extend(self.jumps(Search::InInside, Vec::new));
            rules.extend(self.jumps(Search::OutForwardMark, Vec::new));
        }
        base(Hook::Prerouting, BaseKind::Filter, EARLY, rules)
    }

    /// IPsec to an address of this host is not cleartext: RFC 4301 section 5.2 step 3a looks it up
    /// in the SAD, which is the gateway's business. Only what is for this host: an ESP packet or
    /// a port 4500 that is passed on is judged like everything else.
    fn own_arrivals(&self) -> Vec<Rule> {
        let local = || address_type(Side::Destination);
        let mut rules = Vec::new();
        for protocol in [ESP, AH] {
            rules.push(rule([Match::Protocol(protocol), local()], [accept()]));
        }
        if !self.spec.own_listen_ports.is_empty() {
            let port = Match::PortSet {
                side: Side::Destination,
                set: OWN_PORTS.into(),
            };
            rules.push(rule([Match::Protocol(UDP), port, local()], [accept()]));
        }
        rules
    }

    fn output(&self) -> Chain {
        let mut rules = vec![
            rule([interface(Way::Out, "lo")], [accept()]),
            self.accept_own(),
        ];
        rules.extend(self.suppress_icmp());
        rules.push(rule([interface(Way::Out, &self.spec.tun)], [accept()]));
        if self.sides != Sides::Unknown {
            rules.push(rule([self.is_inside(Way::Out)], [accept()]));
        }
        rules.extend(self.jumps(Search::OutLocal, Vec::new));
        base(Hook::Output, BaseKind::Route, EARLY, rules)
    }

    fn postrouting(&self) -> Chain {
        let mut rules = vec![
            rule([interface(Way::Out, "lo")], [accept()]),
            self.accept_own(),
        ];
        rules.extend(self.clamp(Way::Out));
        rules.push(rule([interface(Way::Out, &self.spec.tun)], [accept()]));
        if self.sides == Sides::Unknown {
            rules.extend(fragments());
            let forwarded = || vec![Match::FromLocal(false)];
            rules.extend(self.jumps(Search::OutForwarded, forwarded));
            rules.push(rule(forwarded(), [accept()]));
        } else {
            rules.push(rule([self.is_inside(Way::Out)], [accept()]));
            rules.extend(fragments());
        }
        rules.extend(self.jumps(Search::OutLeave, Vec::new));
        base(Hook::Postrouting, BaseKind::Filter, LATE, rules)
    }

    /// Our own packets, by their mark alone: an exception by port or by the peer's address would
    /// let anybody's packets to that address out.
    fn accept_own(&self) -> Rule {
        let marks = self.spec.marks;
        rule(
            [Match::Mark {
                mask: marks.mask,
                value: marks.own,
            }],
            [accept()],
        )
    }

    /// TCP must not send what the TUN cannot carry whole. The kernel only ever lowers an MSS.
    fn clamp(&self, way: Way) -> Vec<Rule> {
        let mtu = self.spec.tun_mtu;
        [(IpFamily::V4, 40), (IpFamily::V6, 60)]
            .into_iter()
            .map(|(family, headers)| {
                let mss = u16::try_from(mtu.saturating_sub(headers)).unwrap_or(u16::MAX);
                let matches = [
                    interface(way, &self.spec.tun),
                    Match::Family(family),
                    Match::Protocol(TCP),
                    Match::TcpSyn,
                ];
                rule(matches, [Statement::ClampMss(mss)])
            })
            .collect()
    }

    /// After a crash nobody listens where peers send, and the kernel would tell them, or anyone
    /// who asks: port, protocol or next header unreachable. The quoted packet starts 8 bytes into
    /// the ICMP message.
    fn suppress_icmp(&self) -> Vec<Rule> {
        let byte = |offset, value| Match::Byte {
            offset,
            mask: 0xff,
            value,
            negate: false,
        };
        let drop = || {
            [
                Statement::Count(counter::ICMP_SUPPRESSED),
                verdict(Verdict::Drop),
            ]
        };
        let mut rules = Vec::new();
        // (family, ICMP, type and code, where the quoted next protocol is, and its ports)
        let errors = [
            (IpFamily::V4, ICMP, 3, 2, 8 + 9),
            (IpFamily::V4, ICMP, 3, 3, 8 + 9),
            (IpFamily::V6, ICMPV6, 1, 4, 8 + 6),
            (IpFamily::V6, ICMPV6, 4, 1, 8 + 6),
        ];
        for (family, icmp, kind, code, next) in errors {
            let head = || {
                vec![
                    Match::Family(family),
                    Match::Protocol(icmp),
                    byte(0, kind),
                    byte(1, code),
                ]
            };
            for protocol in [ESP, AH] {
                let mut matches = head();
                matches.push(byte(next, protocol));
                rules.push(rule(matches, drop()));
            }
            if self.spec.own_listen_ports.is_empty() {
                continue;
            }
            let set = OWN_PORTS.to_owned();
            let mut matches = head();
            matches.push(byte(next, UDP));
            match family {
                IpFamily::V4 => {
                    let mut with_options = matches.clone();
                    with_options.push(Match::Byte {
                        offset: 8,
                        mask: 0x0f,
                        value: 5,
                        negate: true,
                    });
                    rules.push(rule(with_options, drop()));
                    matches.push(Match::WordSet {
                        offset: 8 + 20 + 2,
                        set,
                    });
                }
                IpFamily::V6 => matches.push(Match::WordSet {
                    offset: 8 + 40 + 2,
                    set,
                }),
            }
            rules.push(rule(matches, drop()));
        }
        rules
    }

    /// A forwarded packet that outbound policy wants protected, unless it stays inside.
    fn mark_forwarded(&self) -> Chain {
        let mut rules = vec![rule([address_type(Side::Destination)], [accept()])];
        if self.sides != Sides::Unknown {
            rules.push(rule([self.routes_inside(Side::Destination)], [accept()]));
        }
        rules.push(rule([], [self.mark_protect(), accept()]));
        Chain {
            name: "mark_forwarded".into(),
            base: None,
            rules,
        }
    }

    /// A packet from inside that should have come out of the TUN, unless its source is inside.
    fn spoofed_inside(&self) -> Chain {
        let mut rules = Vec::new();
        if self.sides != Sides::Unknown {
            let link_local = AddressRange {
                from: [0xfe80, 0, 0, 0, 0, 0, 0, 0].into(),
                to: [
                    0xfebf, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff,
                ]
                .into(),
            };
            let matches = [
                Match::Family(IpFamily::V6),
                Match::Address {
                    side: Side::Source,
                    range: link_local,
                },
            ];
            rules.push(rule(matches, [verdict(Verdict::Return)]));
            rules.push(rule(
                [self.routes_inside(Side::Source)],
                [verdict(Verdict::Return)],
            ));
        }
        rules.push(rule([], dropped(counter::CLEARTEXT_FROM_INSIDE)));
        Chain {
            name: "from_inside".into(),
            base: None,
            rules,
        }
    }

    fn mark_protect(&self) -> Statement {
        Statement::SetMark {
            mask: self.spec.marks.mask,
            value: self.spec.marks.protect,
        }
    }

    fn is_inside(&self, way: Way) -> Match {
        match self.sides {
            Sides::UnprotectedListed => Match::InterfaceSet {
                way,
                set: OUTSIDE.into(),
                negate: true,
            },
            _ => Match::InterfaceSet {
                way,
                set: INSIDE.into(),
                negate: false,
            },
        }
    }

    fn is_outside(&self, way: Way) -> Match {
        match self.sides {
            Sides::UnprotectedListed => Match::InterfaceSet {
                way,
                set: OUTSIDE.into(),
                negate: false,
            },
            _ => Match::InterfaceSet {
                way,
                set: INSIDE.into(),
                negate: true,
            },
        }
    }

    fn routes_inside(&self, side: Side) -> Match {
        match self.sides {
            Sides::UnprotectedListed => Match::RouteInterfaceSet {
                side,
                set: OUTSIDE.into(),
                negate: true,
            },
            _ => Match::RouteInterfaceSet {
                side,
                set: INSIDE.into(),
                negate: false,
            },
        }
    }

    /// One jump for each layer of policy, each under the same conditions.
    fn jumps(&self, search: Search, matches: impl Fn() -> Vec<Match>) -> Vec<Rule> {
        (0..self.layers.len())
            .map(|layer| {
                let jump = Verdict::Jump(chain_name(search, layer));
                rule(matches(), [verdict(jump)])
            })
            .collect()
    }

    fn search_chain(&mut self, search: Search, layer: usize) -> Chain {
        let is_last = layer + 1 == self.layers.len();
        let entries = std::mem::take(&mut self.layers[layer]);
        let mut rules = Vec::new();
        for entry in &entries {
            let searched = if search.is_outbound() {
                entry.outbound
            } else {
                entry.inbound
            };
            if searched {
                let statements = self.entry_statements(search, entry.action, is_last);
                for matches in self.pool.alternatives(entry, search.is_outbound()) {
                    rules.push(Rule {
                        matches,
                        statements: statements.clone(),
                        comment: Some(rule_comment(&entry.name)),
                    });
                }
            }
        }
        self.layers[layer] = entries;
        if search == Search::InInside {
            // Only a PROTECT does anything here: what follows the last one can go.
            let is_protect = |rule: &Rule| rule.statements != [verdict(Verdict::Return)];
            let kept = rules
                .iter()
                .rposition(is_protect)
                .map_or(0, |last| last + 1);
            rules.truncate(kept);
        }
        if search.discards_the_rest() {
            rules.extend(self.final_discard(search, is_last));
        }
        Chain {
            name: chain_name(search, layer),
            base: None,
            rules,
        }
    }

    fn entry_statements(&self, search: Search, action: Action, is_last: bool) -> Vec<Statement> {
        let pass = if is_last {
            Verdict::Accept
        } else {
            Verdict::Return
        };
        let goto = |chain: &str| vec![verdict(Verdict::Goto(chain.into()))];
        match (search, action) {
            (Search::OutLocal, Action::Protect) => vec![self.mark_protect(), accept()],
            (Search::OutForwardMark, Action::Protect) => goto("mark_forwarded"),
            (Search::InInside, Action::Protect) => goto("from_inside"),
            (Search::InInside, _) => vec![verdict(Verdict::Return)],
            (Search::InOutside, Action::Protect) => dropped(counter::CLEARTEXT_INBOUND),
            (Search::InOutside, Action::Discard) => dropped(counter::DISCARD_INBOUND),
            (Search::OutLeave | Search::OutForwarded, Action::Protect) => {
                dropped(counter::CLEARTEXT_OUTBOUND)
            }
            (Search::OutLocal | Search::OutLeave, Action::Discard) => {
                dropped(counter::DISCARD_OUTBOUND)
            }
            // Where it leaves, if it does, is not known yet, or it has been judged.
            (Search::OutForwardMark | Search::OutForwarded, Action::Discard) => {
                vec![verdict(pass)]
            }
            (_, Action::Bypass) => vec![verdict(pass)],
        }
    }

    // RFC 4301 section 4.4.1: what matches no entry is discarded.
    fn final_discard(&self, search: Search, is_last: bool) -> Vec<Rule> {
        let pass = if is_last {
            Verdict::Accept
        } else {
            Verdict::Return
        };
        let way = if search.is_outbound() {
            Way::Out
        } else {
            Way::In
        };
        let foreign_tun = Match::InterfaceGroup {
            way,
            group: TUN_GROUP,
        };
        let mut rules = vec![rule([foreign_tun], [verdict(pass.clone())])];
        if search.is_outbound() {
            if self.spec.marks.mask == FIELD_MASK {
                for value in [USE_OWN, USE_PROTECT] {
                    let foreign = Match::Mark {
                        mask: USE_MASK,
                        value,
                    };
                    rules.push(rule([self.has_owner(), foreign], [verdict(pass.clone())]));
                }
            }
            rules.push(rule([], dropped(counter::NO_MATCH_OUTBOUND)));
        } else {
            rules.push(rule([], dropped(counter::NO_MATCH_INBOUND)));
        }
        rules
    }

    /// The mark is another owner's: ours is told apart before a search.
    fn has_owner(&self) -> Match {
        Match::OtherOwner {
            mask: FIELD_MASK & !USE_MASK,
            own: self.spec.marks.own & !USE_MASK,
        }
    }
}

fn chain_name(search: Search, layer: usize) -> String {
    match layer {
        0 => search.chain().to_owned(),
        _ => format!("{}_{}", search.chain(), layer + 1),
    }
}

/// Says whose table it is, so that another owner can tell when the two would meet.
pub(crate) fn comment(spec: &BoundarySpec) -> String {
    let marks = spec.marks;
    format!(
        "ipsec-node mask {:#x} own {:#x} protect {:#x} table {} priority {}",
        marks.mask, marks.own, marks.protect, spec.table, spec.rule_priority
    )
}

/// A name that fits the comment of a rule: printable, no quotes, at most 64 bytes.
fn rule_comment(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_ascii_graphic() && *c != '"' || *c == ' ')
        .take(64)
        .collect()
}

fn dedup(names: &[String]) -> Vec<String> {
    let mut sorted = names.to_vec();
    sorted.sort();
    sorted.dedup();
    sorted
}

fn rule(matches: impl Into<Vec<Match>>, statements: impl Into<Vec<Statement>>) -> Rule {
    Rule {
        matches: matches.into(),
        statements: statements.into(),
        comment: None,
    }
}

fn base(hook: Hook, kind: BaseKind, priority: i32, rules: Vec<Rule>) -> Chain {
    let name = match hook {
        Hook::Prerouting => "prerouting",
        Hook::Output => "output",
        Hook::Postrouting => "postrouting",
    };
    Chain {
        name: name.into(),
        base: Some(Base {
            kind,
            hook,
            priority,
        }),
        rules,
    }
}

fn verdict(verdict: Verdict) -> Statement {
    Statement::Verdict(verdict)
}

fn accept() -> Statement {
    Statement::Verdict(Verdict::Accept)
}

fn dropped(counter: &'static str) -> Vec<Statement> {
    vec![Statement::Count(counter), Statement::Verdict(Verdict::Drop)]
}

fn interface(way: Way, name: &str) -> Match {
    Match::Interface {
        way,
        name: name.into(),
    }
}

fn address_type(side: Side) -> Match {
    Match::AddressTypeSet {
        side,
        set: NOT_FORWARDED.into(),
    }
}

/// RFC 4301 section 7: a fragment without its ports must not slip past an entry with ports. The
/// kernel puts fragments together before these rules; a socket can ask it not to.
fn fragments() -> Vec<Rule> {
    [IpFamily::V4, IpFamily::V6]
        .into_iter()
        .map(|family| {
            let matches = [Match::Family(family), Match::LaterFragment(family)];
            rule(matches, dropped(counter::FRAGMENT))
        })
        .collect()
}

fn defragment() -> Rule {
    rule([], [Statement::Defragment])
}
