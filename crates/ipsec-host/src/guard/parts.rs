//! The parts of the guard, each found, installed and removed on its own.

use nlink::netlink::messages::RouteMessage;
use nlink::netlink::types::route::RouteType;
use nlink::{Connection, Nftables, Route as RouteProtocolSocket};

use super::{Family, Kind, Missing, Route, TUN_GROUP, nft, route, rule};
use crate::error::Error;
use crate::marks::Marks;
use crate::netlink::has_ipv6;
use crate::nft::TableState;
use crate::policy::BoundarySpec;
use crate::ruleset::{Base, Hook, Ruleset, TABLE_PREFIX, counter, table_name};

/// The metric of the route to the TUN in the private table.
const TUN_METRIC: u32 = 1024;
/// The metric of the blackhole behind it: worse than any other route's.
const BLACKHOLE_METRIC: u32 = u32::MAX - 1;

/// What tells an owner's rules and routes from others'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    marks: Marks,
    table: u32,
    priority: u32,
}

impl Identity {
    pub(crate) fn of(spec: &BoundarySpec) -> Identity {
        Identity {
            marks: spec.marks,
            table: spec.table,
            priority: spec.rule_priority,
        }
    }

    /// What an owner's guard was installed with: the table says so, and where the table is gone
    /// the name does.
    pub(crate) async fn find(nft: &Connection<Nftables>, owner: &str) -> Result<Identity, Error> {
        let name = table_name(owner);
        let tables = nft::list_tables(nft).await?;
        let comment = tables.into_iter().find(|(found, _)| *found == name);
        Ok(comment
            .and_then(|(_, comment)| Identity::parse(&comment?))
            .unwrap_or(Identity {
                marks: Marks::for_owner(owner),
                table: Marks::table_for_owner(owner),
                priority: Marks::priority_for_owner(owner),
            }))
    }

    /// Reads the comment of a table.
    fn parse(comment: &str) -> Option<Identity> {
        let words: Vec<&str> = comment.split(' ').collect();
        let number = |name: &str| -> Option<u32> {
            let place = words.iter().position(|word| *word == name)?;
            let text = words.get(place + 1)?;
            match text.strip_prefix("0x") {
                Some(digits) => u32::from_str_radix(digits, 16).ok(),
                None => text.parse().ok(),
            }
        };
        Some(Identity {
            marks: Marks {
                mask: number("mask")?,
                own: number("own")?,
                protect: number("protect")?,
            },
            table: number("table")?,
            priority: number("priority")?,
        })
    }

    fn meets(&self, other: &Identity) -> bool {
        let shared = self.marks.mask & other.marks.mask;
        let mark = |a: u32, b: u32| shared != 0 && a & shared == b & shared;
        self.table == other.table
            || self.priority == other.priority
            || mark(self.marks.own, other.marks.own)
            || mark(self.marks.protect, other.marks.protect)
    }
}

/// Refuses to install where another owner's guard would be taken for this one's.
pub(crate) async fn refuse_collision(
    nft: &Connection<Nftables>,
    spec: &BoundarySpec,
) -> Result<(), Error> {
    let own = table_name(&spec.owner);
    for (name, comment) in nft::list_tables(nft).await? {
        let other = comment.as_deref().and_then(Identity::parse);
        if name != own && other.is_some_and(|other| other.meets(&Identity::of(spec))) {
            let other = name.trim_start_matches(TABLE_PREFIX).to_owned();
            return Err(Error::Collision { other });
        }
    }
    Ok(())
}

/// The families this kernel has.
pub(crate) fn families() -> Vec<Family> {
    if has_ipv6() {
        vec![Family::V4, Family::V6]
    } else {
        vec![Family::V4]
    }
}

fn any(family: Family) -> std::net::IpAddr {
    match family {
        Family::V4 => std::net::Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn blackhole(family: Family, table: u32) -> Route {
    Route {
        table,
        metric: Some(BLACKHOLE_METRIC),
        kind: Kind::Blackhole,
        ..Route::to(any(family), 0)
    }
}

fn tun_route(family: Family, spec: &BoundarySpec) -> Route {
    let headers = match family {
        Family::V4 => 40,
        Family::V6 => 60,
    };
    Route {
        dev: Some(spec.tun.clone()),
        table: spec.table,
        metric: Some(TUN_METRIC),
        mtu: Some(spec.tun_mtu),
        advmss: Some(spec.tun_mtu.saturating_sub(headers)),
        ..Route::to(any(family), 0)
    }
}

/// Blackhole, then the route to the TUN, then the rule. Says whether the TUN is routed to.
pub(crate) async fn install_routing(
    connection: &Connection<RouteProtocolSocket>,
    spec: &BoundarySpec,
) -> Result<bool, Error> {
    let tun = tun_index(connection, &spec.tun).await?;
    if let Some((index, _)) = tun {
        connection
            .set_link_group_by_index(index, TUN_GROUP)
            .await
            .map_err(Error::netlink("set the group of the TUN"))?;
    }
    let tun_is_up = tun.is_some_and(|(_, up)| up);
    for family in families() {
        route::add_in(connection, &blackhole(family, spec.table)).await?;
        if tun_is_up && carries(&spec.tun, family) {
            route::add_in(connection, &tun_route(family, spec)).await?;
        }
    }
    let rules = own_rules(connection, &Identity::of(spec)).await?;
    for family in families() {
        if !rules.contains(&family) {
            add_rule(connection, spec, family).await?;
        }
    }
    Ok(tun_is_up)
}

async fn add_rule(
    connection: &Connection<RouteProtocolSocket>,
    spec: &BoundarySpec,
    family: Family,
) -> Result<(), Error> {
    let marks = spec.marks;
    let rule = rule::builder(
        family,
        marks.protect,
        marks.mask,
        spec.table,
        spec.rule_priority,
    );
    match connection.add_rule(rule).await {
        Err(error) if error.is_already_exists() => Ok(()),
        other => other.map_err(Error::netlink("add a routing rule")),
    }
}

/// The index of the TUN and whether it is up.
pub(crate) async fn tun_index(
    connection: &Connection<RouteProtocolSocket>,
    tun: &str,
) -> Result<Option<(u32, bool)>, Error> {
    match connection.get_link_by_name(tun).await {
        Ok(found) => Ok(found.map(|link| (link.ifindex(), link.is_up()))),
        Err(error) if error.is_not_found() => Ok(None),
        Err(source) => Err(Error::Netlink {
            operation: "find the TUN",
            source,
        }),
    }
}

/// Whether a family is switched on for a link.
fn carries(name: &str, family: Family) -> bool {
    family == Family::V4
        || crate::sysctl::read(&format!("net/ipv6/conf/{name}/disable_ipv6"))
            .is_ok_and(|value| value == "0")
}

/// The families that have the owner's rule.
pub(crate) async fn own_rules(
    connection: &Connection<RouteProtocolSocket>,
    identity: &Identity,
) -> Result<Vec<Family>, Error> {
    let rules = rule::list_in(connection).await?;
    let own = rules.into_iter().filter(|rule| {
        rule.priority == identity.priority
            && rule.table == identity.table
            && rule.mark == Some(identity.marks.protect)
            && rule.mask == Some(identity.marks.mask)
    });
    Ok(own.map(|rule| rule.family).collect())
}

/// The routes of a table. The kernel lists all tables; the library filters.
pub(crate) async fn own_routes(
    connection: &Connection<RouteProtocolSocket>,
    table: u32,
) -> Result<Vec<RouteMessage>, Error> {
    connection
        .get_routes_for_table(table)
        .await
        .map_err(Error::netlink("list routes"))
}

/// Removes the owner's rules and says how many there were.
pub(crate) async fn remove_rules(
    connection: &Connection<RouteProtocolSocket>,
    identity: &Identity,
) -> Result<usize, Error> {
    let found = own_rules(connection, identity).await?;
    for family in &found {
        let marks = identity.marks;
        let rule = rule::builder(
            *family,
            marks.protect,
            marks.mask,
            identity.table,
            identity.priority,
        );
        connection
            .del_rule_if_exists(rule)
            .await
            .map_err(Error::netlink("delete a routing rule"))?;
    }
    Ok(found.len())
}

/// Empties the private table and says how many routes it held.
pub(crate) async fn remove_routes(
    connection: &Connection<RouteProtocolSocket>,
    identity: &Identity,
) -> Result<usize, Error> {
    let mut removed = 0;
    for message in own_routes(connection, identity.table).await? {
        if route::delete_message(connection, &message).await? {
            removed += 1;
        }
    }
    Ok(removed)
}

/// What of rules, routes and TUN is not there.
pub(crate) async fn verify_routing(
    connection: &Connection<RouteProtocolSocket>,
    spec: &BoundarySpec,
) -> Result<Vec<Missing>, Error> {
    let mut missing = Vec::new();
    let rules = own_rules(connection, &Identity::of(spec)).await?;
    let routes = own_routes(connection, spec.table).await?;
    let tun = tun_index(connection, &spec.tun).await?;
    if !tun.is_some_and(|(_, up)| up) {
        missing.push(Missing::Tun);
    }
    for family in families() {
        if !rules.contains(&family) {
            missing.push(Missing::Rule(family));
        }
        let defaults = || {
            let of_family = routes.iter().filter(move |route| match family {
                Family::V4 => route.is_ipv4(),
                Family::V6 => route.is_ipv6(),
            });
            of_family.filter(|route| route.is_default())
        };
        if !defaults().any(|route| route.route_type() == RouteType::Blackhole) {
            missing.push(Missing::Blackhole(family));
        }
        if let Some((index, true)) = tun
            && carries(&spec.tun, family)
            && !defaults().any(|route| route.oif() == Some(index))
        {
            missing.push(Missing::TunRoute(family));
        }
    }
    Ok(missing)
}

/// What of the table is gone or has another size.
pub(crate) fn compare_table(ruleset: &Ruleset, state: &TableState) -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut miss = |name: &str| {
        missing.push(Missing::NftPart {
            name: name.to_owned(),
        })
    };
    for chain in &ruleset.chains {
        let found = state.chains.iter().find(|found| found.name == chain.name);
        let is_good = found.is_some_and(|found| {
            found.rules.len() == chain.rules.len() && found.hook == chain.base.map(hook)
        });
        if !is_good {
            miss(&chain.name);
        }
    }
    for set in &ruleset.sets {
        let found = state.sets.iter().find(|(name, _)| *name == set.name);
        if found.is_none_or(|(_, count)| *count == 0) {
            miss(&set.name);
        }
    }
    for name in counter::ALL {
        if !state.counters.iter().any(|found| found == name) {
            miss(name);
        }
    }
    missing
}

fn hook(base: Base) -> (u32, i32) {
    let number = match base.hook {
        Hook::Prerouting => 0,
        Hook::Output => 3,
        Hook::Postrouting => 4,
    };
    (number, base.priority)
}
