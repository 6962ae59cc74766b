//! The policy towards the host: one SPD, compiled by `ipsec-host` into nftables, rule and routes.

use ipsec_datapath::selector::{AddressRange, NumberRange};
use ipsec_datapath::spd::{Action, SpdEntry};
use ipsec_host::{self as host, BoundarySpec, Guard, Hold, Installed, Watcher};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the boundary is made of besides the policy.
#[derive(Clone, Debug)]
pub struct BoundaryOptions {
    /// The gateway's name: all that the guard makes carries it.
    pub owner: String,
    /// The TUN.
    pub interface: String,
    /// Its MTU.
    pub mtu: u32,
    /// Interfaces inside; empty: all that are not outside.
    pub protected_interfaces: Vec<String>,
    /// Interfaces outside; empty: those with a default route or a peer's route.
    pub unprotected_interfaces: Vec<String>,
    /// UDP ports of ours.
    pub ports: Vec<u16>,
}

/// The guard of one gateway, watched while the gateway runs.
pub struct Boundary {
    options: BoundaryOptions,
    /// What is installed, and who watches it; `None` before the first policy.
    installed: Option<(BoundarySpec, Watcher)>,
    entries: Vec<host::PolicyEntry>,
    /// How many SAs go to each.
    peers: BTreeMap<IpAddr, usize>,
}

impl Boundary {
    /// Nothing is installed yet.
    pub fn new(options: BoundaryOptions) -> Self {
        Self {
            options,
            installed: None,
            entries: Vec::new(),
            peers: BTreeMap::new(),
        }
    }

    /// The mark of our own packets.
    pub fn own_mark(owner: &str) -> u32 {
        host::Marks::for_owner(owner).own
    }

    /// Takes a new policy: first a guard as strict as old and new together. [`Self::finish`] makes it
    /// exact when the workers have the policy. `report` is told what was missing and put back.
    pub fn begin(
        &mut self,
        entries: &[(SpdEntry, bool)],
        report: impl FnMut(String) + Send + 'static,
    ) -> Result<Installed, host::Error> {
        self.set_policy(entries);
        let spec = self.spec();
        if let Some((old, watcher)) = &self.installed {
            return watcher.widen(old, &spec);
        }
        let (watcher, installed) = Watcher::start(&spec, Hold::IfPossible, report)?;
        self.installed = Some((spec, watcher));
        Ok(installed)
    }

    /// The guard of the policy in force.
    pub fn finish(&mut self) -> Result<(), host::Error> {
        let spec = self.spec();
        if let Some((installed, watcher)) = &mut self.installed {
            watcher.replace(&spec)?;
            host::reach::install(&spec)?;
            *installed = spec;
        }
        Ok(())
    }

    /// A peer's address: the interface towards it is outside. Changes the guard where that is news.
    pub fn add_peer(&mut self, peer: IpAddr) -> Result<(), host::Error> {
        let known = self.peers.entry(peer).or_insert(0);
        *known += 1;
        let named = !self.options.protected_interfaces.is_empty()
            || !self.options.unprotected_interfaces.is_empty();
        let Some((installed, _)) = &self.installed else {
            return Ok(());
        };
        if *known > 1 || named {
            return Ok(());
        }
        // One look for each new peer, and none at the others: there may be thousands.
        match self.outside_interface(peer) {
            Some(name) if !installed.unprotected_interfaces.contains(&name) => self.finish(),
            _ => Ok(()),
        }
    }

    /// One SA less goes to a peer. The guard is not opened for it; the next policy is without.
    pub fn remove_peer(&mut self, peer: IpAddr) {
        if let Entry::Occupied(mut known) = self.peers.entry(peer) {
            *known.get_mut() -= 1;
            if *known.get() == 0 {
                known.remove();
            }
        }
    }

    fn outside_interface(&self, peer: IpAddr) -> Option<String> {
        let name = host::route::lookup(peer).ok().flatten()?.interface?;
        (name != self.options.interface && name != "lo").then_some(name)
    }

    /// Stops watching; the guard stays.
    pub fn release(&mut self) {
        if let Some((_, watcher)) = self.installed.take() {
            watcher.stop();
        }
    }

    /// The guard of a policy without a gateway.
    pub fn install_unwatched(
        &mut self,
        entries: &[(SpdEntry, bool)],
    ) -> Result<Installed, host::Error> {
        self.set_policy(entries);
        Guard::install(&self.spec())
    }

    fn set_policy(&mut self, entries: &[(SpdEntry, bool)]) {
        self.entries = entries
            .iter()
            .map(|(entry, builtin)| policy(entry, *builtin))
            .collect();
    }

    /// What is to be installed.
    pub fn spec(&self) -> BoundarySpec {
        let options = &self.options;
        let mut spec = BoundarySpec::new(&options.owner, &options.interface, options.mtu);
        spec.protected_interfaces
            .clone_from(&options.protected_interfaces);
        spec.unprotected_interfaces
            .clone_from(&options.unprotected_interfaces);
        if spec.protected_interfaces.is_empty() && spec.unprotected_interfaces.is_empty() {
            spec.unprotected_interfaces = self.outside_interfaces();
        }
        spec.own_listen_ports.clone_from(&options.ports);
        spec.entries.clone_from(&self.entries);
        spec
    }

    /// The interfaces with a default route or a peer's route.
    fn outside_interfaces(&self) -> Vec<String> {
        let mut names = host::route::default_route_interfaces().unwrap_or_default();
        names.extend(
            self.peers
                .keys()
                .filter_map(|peer| self.outside_interface(*peer)),
        );
        names.retain(|name| *name != self.options.interface && name != "lo");
        names.sort();
        names.dedup();
        names
    }
}

/// One entry in the host's terms.
fn policy(entry: &SpdEntry, builtin: bool) -> host::PolicyEntry {
    let action = match entry.action {
        Action::Protect => host::Action::Protect,
        Action::Bypass => host::Action::Bypass,
        Action::Discard => host::Action::Discard,
    };
    let selector = &entry.selector;
    let mut policy = host::PolicyEntry::any(entry.name.as_str(), action);
    policy.outbound = entry.outbound;
    policy.inbound = entry.inbound;
    policy.local = addresses(&selector.local);
    policy.remote = addresses(&selector.remote);
    policy.protocol = selector.protocol.map(|protocol| protocol.0);
    policy.local_ports = numbers(&selector.local_ports);
    policy.remote_ports = numbers(&selector.remote_ports);
    policy.icmp_types = numbers(&selector.icmp_types);
    policy.icmp_codes = numbers(&selector.icmp_codes);
    policy.builtin = builtin;
    policy
}

fn addresses(ranges: &[AddressRange]) -> Vec<host::AddressRange> {
    let address = |is_v6: bool, bits: u128| {
        if is_v6 {
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        } else {
            IpAddr::V4(Ipv4Addr::from_bits(bits as u32))
        }
    };
    ranges
        .iter()
        .map(|range| host::AddressRange {
            from: address(range.is_v6, range.from),
            to: address(range.is_v6, range.to),
        })
        .collect()
}

fn numbers(ranges: &[NumberRange]) -> Vec<host::NumberRange> {
    ranges
        .iter()
        .map(|range| host::NumberRange {
            from: range.from,
            to: range.to,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    //! The policy that the guard is compiled from means what the classifier decides: one SPD, read
    //! both ways over the same random packets. That the guard's nftables rules decide as these
    //! entries say is shown in `ipsec-host` with packets through a kernel.

    use super::*;
    use ipsec_datapath::selector::{Direction, Selector};
    use ipsec_datapath::spd::Spd;
    use ipsec_wire::{FlowKey, ProtocolNumber};

    /// Numbers from a seed: a failure can be repeated.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % limit
        }

        fn range(&mut self, limit: u64) -> (u64, u64) {
            let (a, b) = (self.below(limit), self.below(limit));
            (a.min(b), a.max(b))
        }
    }

    /// A small world, so that packets meet policies.
    const ADDRESSES: u64 = 12;
    const PORTS: u64 = 6;

    fn address_list(random: &mut Random) -> Vec<AddressRange> {
        (0..random.below(3))
            .map(|_| {
                let (from, to) = random.range(ADDRESSES);
                let is_v6 = random.below(2) == 1;
                AddressRange {
                    is_v6,
                    from: from.into(),
                    to: to.into(),
                }
            })
            .collect()
    }

    fn number_list(random: &mut Random) -> Vec<NumberRange> {
        (0..random.below(3))
            .map(|_| {
                let (from, to) = random.range(PORTS);
                NumberRange {
                    from: from as u16,
                    to: to as u16,
                }
            })
            .collect()
    }

    fn entry(random: &mut Random, name: String) -> SpdEntry {
        let protocol = [None, Some(6), Some(17), Some(1), Some(58), Some(50)]
            [random.below(6) as usize]
            .map(ProtocolNumber);
        let mut selector = Selector {
            local: address_list(random),
            remote: address_list(random),
            protocol,
            ..Selector::default()
        };
        match protocol {
            Some(ProtocolNumber::TCP | ProtocolNumber::UDP) => {
                selector.local_ports = number_list(random);
                selector.remote_ports = number_list(random);
            }
            Some(ProtocolNumber::ICMP | ProtocolNumber::ICMPV6) => {
                selector.icmp_types = number_list(random);
                selector.icmp_codes = number_list(random);
            }
            _ => {}
        }
        SpdEntry {
            name,
            outbound: random.below(4) > 0,
            inbound: random.below(4) > 0,
            selector,
            action: [Action::Protect, Action::Bypass, Action::Discard][random.below(3) as usize],
        }
    }

    fn packet(random: &mut Random) -> FlowKey {
        let protocol = [6, 17, 1, 58, 50, 89][random.below(6) as usize];
        FlowKey {
            source: random.below(ADDRESSES).into(),
            destination: random.below(ADDRESSES).into(),
            source_port: if protocol == 1 || protocol == 58 {
                (random.below(PORTS) << 8 | random.below(PORTS)) as u16
            } else {
                random.below(PORTS) as u16
            },
            destination_port: random.below(PORTS) as u16,
            protocol: ProtocolNumber(protocol),
            is_v6: random.below(2) == 1,
            has_next_layer: random.below(5) > 0,
        }
    }

    /// The meaning of the host's entries, one after the other, over addresses and ports as such.
    fn judge(entries: &[host::PolicyEntry], direction: Direction, key: &FlowKey) -> Option<usize> {
        let ip = |bits: u128| -> IpAddr {
            if key.is_v6 {
                Ipv6Addr::from_bits(bits).into()
            } else {
                Ipv4Addr::from_bits(bits as u32).into()
            }
        };
        let (source, destination) = (ip(key.source), ip(key.destination));
        let ports = (key.source_port, key.destination_port);
        let (local, remote, local_port, remote_port) = match direction {
            Direction::Outbound => (source, destination, ports.0, ports.1),
            Direction::Inbound => (destination, source, ports.1, ports.0),
        };
        let among = |ranges: &[host::AddressRange], ip: IpAddr| {
            ranges.is_empty()
                || ranges.iter().any(|range| {
                    range.from.is_ipv4() == ip.is_ipv4() && range.from <= ip && ip <= range.to
                })
        };
        let within = |ranges: &[host::NumberRange], number: u16| {
            ranges.is_empty()
                || key.has_next_layer
                    && ranges
                        .iter()
                        .any(|range| range.from <= number && number <= range.to)
        };
        entries.iter().position(|entry| {
            let speaks = match direction {
                Direction::Outbound => entry.outbound,
                Direction::Inbound => entry.inbound,
            };
            let protocol = entry
                .protocol
                .is_none_or(|protocol| protocol == key.protocol.0);
            speaks
                && protocol
                && among(&entry.local, local)
                && among(&entry.remote, remote)
                && within(&entry.local_ports, local_port)
                && within(&entry.remote_ports, remote_port)
                && within(&entry.icmp_types, key.source_port >> 8)
                && within(&entry.icmp_codes, key.source_port & 0xff)
        })
    }

    #[test]
    fn the_guard_is_compiled_from_what_the_classifier_decides() {
        let mut random = Random(20_261_124);
        let (mut matched, mut pairs) = (0, 0);
        for round in 0..400u64 {
            let entries: Vec<SpdEntry> = (0..1 + random.below(12))
                .map(|index| entry(&mut random, format!("entry-{index}")))
                .collect();
            let spd = Spd::compile(round, entries.clone()).unwrap();
            let mut boundary = Boundary::new(BoundaryOptions {
                owner: "test".into(),
                interface: "ipsec0".into(),
                mtu: 1438,
                protected_interfaces: vec!["lan".into()],
                unprotected_interfaces: vec!["wan".into()],
                ports: vec![4500],
            });
            let with_builtin: Vec<_> = entries.into_iter().map(|entry| (entry, false)).collect();
            boundary.set_policy(&with_builtin);
            let host_entries = boundary.spec().entries;
            for _ in 0..500 {
                let key = packet(&mut random);
                for direction in [Direction::Outbound, Direction::Inbound] {
                    let found = spd.search(direction, &key);
                    assert_eq!(
                        found,
                        judge(&host_entries, direction, &key),
                        "{direction:?} {key:?} in {host_entries:#?}"
                    );
                    pairs += 1;
                    matched += usize::from(found.is_some());
                }
            }
        }
        assert_eq!(pairs, 400_000);
        assert!((100_000..390_000).contains(&matched), "{matched} matched");
    }
}
