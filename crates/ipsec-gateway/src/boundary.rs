//! The policy towards the host: one SPD, compiled by `ipsec-host` into nftables, rule and routes.

use ipsec_datapath::selector::{AddressRange, NumberRange};
use ipsec_datapath::spd::{Action, SpdEntry};
use ipsec_host::{self as host, BoundarySpec, Guard, Hold, Installed, Watcher};
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
    peers: Vec<IpAddr>,
}

impl Boundary {
    /// Nothing is installed yet.
    pub fn new(options: BoundaryOptions) -> Self {
        Self {
            options,
            installed: None,
            entries: Vec::new(),
            peers: Vec::new(),
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
        if self.peers.contains(&peer) {
            return Ok(());
        }
        self.peers.push(peer);
        let spec = self.spec();
        match &self.installed {
            Some((installed, _)) if *installed != spec => self.finish(),
            _ => Ok(()),
        }
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
        for peer in &self.peers {
            if let Ok(Some(lookup)) = host::route::lookup(*peer) {
                names.extend(lookup.interface);
            }
        }
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
