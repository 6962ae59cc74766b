//! Routes for the host's own packets to networks that policy protects and that no route leads to.
//!
//! The kernel looks for a route before it asks nftables, so a local packet to a remote network that
//! the host knows no way to ends with "network is unreachable" before policy could send it to the
//! TUN. A table of their own, asked after `main` and `default`, holds a route to the TUN for each such
//! network, with the host's address inside the policy's local selector as source. A route of the
//! operator always wins; nothing depends on these routes being there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nlink::RuleBuilder;

use crate::error::Error;
use crate::guard::parts;
use crate::marks::Marks;
use crate::netlink::{has_ipv6, route_connection, run};
use crate::policy::{Action, AddressRange, BoundarySpec};
use crate::route::{self, Route};
use crate::{address, link};

/// The tables of these routes lie this far above the private tables.
const TABLE_OFFSET: u32 = 0x1_0000;
/// Behind the rules of `main` (32766) and `default` (32767).
const PRIORITY_BASE: u32 = 32_800;
/// Most routes that are made; a larger policy has an operator with a routing protocol.
pub const ROUTES_MAX: usize = 256;

/// The table and the priority of the rule that leads to it.
fn place(owner: &str) -> (u32, u32) {
    (
        Marks::table_for_owner(owner) + TABLE_OFFSET,
        PRIORITY_BASE + Marks::priority_for_owner(owner),
    )
}

/// Makes the routes of a policy, in the place of those of an earlier one. Returns how many.
pub fn install(spec: &BoundarySpec) -> Result<usize, Error> {
    spec.check()?;
    let own = own_addresses()?;
    let (table, priority) = place(&spec.owner);
    let mut routes: Vec<Route> = Vec::new();
    let entries = spec
        .entries
        .iter()
        .filter(|entry| entry.outbound && entry.action == Action::Protect && !entry.builtin);
    for entry in entries {
        for (destination, prefix_len) in entry.remote.iter().flat_map(prefixes) {
            if routes.len() == ROUTES_MAX || destination.is_ipv6() && !has_ipv6() {
                continue;
            }
            let inside = |ip: &&IpAddr| {
                ip.is_ipv4() == destination.is_ipv4()
                    && (entry.local.is_empty()
                        || entry.local.iter().any(|range| contains(range, **ip)))
            };
            // Without an address inside the selector the host has nothing to say to that network.
            let Some(src) = own.iter().find(inside) else {
                continue;
            };
            let known = routes
                .iter()
                .any(|route| route.destination == destination && route.prefix_len == prefix_len);
            if !known {
                routes.push(Route {
                    dev: Some(spec.tun.clone()),
                    src: Some(*src),
                    table,
                    mtu: Some(spec.tun_mtu),
                    ..Route::to(destination, prefix_len)
                });
            }
        }
    }
    remove(&spec.owner)?;
    run(async {
        let connection = route_connection()?;
        for route in &routes {
            route::add_in(&connection, route).await?;
        }
        for builder in builders(table, priority) {
            match connection.add_rule(builder).await {
                Err(error) if error.is_already_exists() => {}
                other => other.map_err(Error::netlink("add a routing rule"))?,
            }
        }
        Ok(routes.len())
    })
}

/// Removes the routes of an owner and the rules that lead to them.
pub fn remove(owner: &str) -> Result<usize, Error> {
    let (table, priority) = place(owner);
    run(async {
        let connection = route_connection()?;
        for builder in builders(table, priority) {
            connection
                .del_rule_if_exists(builder)
                .await
                .map_err(Error::netlink("delete a routing rule"))?;
        }
        let mut removed = 0;
        for message in parts::own_routes(&connection, table).await? {
            removed += usize::from(route::delete_message(&connection, &message).await?);
        }
        Ok(removed)
    })
}

fn builders(table: u32, priority: u32) -> Vec<RuleBuilder> {
    let mut builders = vec![RuleBuilder::v4()];
    if has_ipv6() {
        builders.push(RuleBuilder::v6());
    }
    builders
        .into_iter()
        .map(|builder| builder.priority(priority).table(table))
        .collect()
}

/// The host's addresses, those of the inside first come first.
fn own_addresses() -> Result<Vec<IpAddr>, Error> {
    let mut addresses = Vec::new();
    for link in link::list()?
        .into_iter()
        .filter(|link| link.up && link.name != "lo")
    {
        // A link may vanish between the two questions.
        let found = address::list(&link.name).unwrap_or_default();
        addresses.extend(found.into_iter().map(|(ip, _)| ip).filter(|ip| match ip {
            IpAddr::V4(ip) => !ip.is_link_local(),
            IpAddr::V6(ip) => !ip.is_unicast_link_local(),
        }));
    }
    Ok(addresses)
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn contains(range: &AddressRange, ip: IpAddr) -> bool {
    range.from.is_ipv4() == ip.is_ipv4() && (bits(range.from)..=bits(range.to)).contains(&bits(ip))
}

/// The prefixes that make up a range, in order.
fn prefixes(range: &AddressRange) -> Vec<(IpAddr, u8)> {
    let is_v4 = range.from.is_ipv4();
    let width = if is_v4 { 32 } else { 128 };
    let (mut from, to) = (bits(range.from), bits(range.to));
    let mut prefixes = Vec::new();
    while from <= to && prefixes.len() < ROUTES_MAX {
        // The largest block that starts here and does not pass the end.
        let mut free = from.trailing_zeros().min(width);
        while free > 0 && (free == 128 || (1u128 << free) - 1 > to - from) {
            let whole = free == 128 && from == 0 && to == u128::MAX;
            if whole {
                break;
            }
            free -= 1;
        }
        let ip = if is_v4 {
            IpAddr::V4(Ipv4Addr::from_bits(from as u32))
        } else {
            IpAddr::V6(Ipv6Addr::from_bits(from))
        };
        prefixes.push((ip, (width - free) as u8));
        match 1u128
            .checked_shl(free)
            .and_then(|step| from.checked_add(step))
        {
            Some(next) if free < 128 => from = next,
            _ => break,
        }
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(from: &str, to: &str) -> Vec<String> {
        let range = AddressRange {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
        };
        let text = |(ip, len): &(IpAddr, u8)| format!("{ip}/{len}");
        prefixes(&range).iter().map(text).collect()
    }

    #[test]
    fn ranges_are_split_into_prefixes() {
        assert_eq!(split("10.2.0.0", "10.2.255.255"), ["10.2.0.0/16"]);
        assert_eq!(split("10.3.0.10", "10.3.0.10"), ["10.3.0.10/32"]);
        assert_eq!(
            split("10.3.0.10", "10.3.0.17"),
            ["10.3.0.10/31", "10.3.0.12/30", "10.3.0.16/31"]
        );
        assert_eq!(split("0.0.0.0", "255.255.255.255"), ["0.0.0.0/0"]);
        assert_eq!(
            split("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ["::/0"]
        );
        assert_eq!(split("fd02::", "fd02::ffff"), ["fd02::/112"]);
        assert_eq!(
            split("255.255.255.254", "255.255.255.255"),
            ["255.255.255.254/31"]
        );
    }
}
