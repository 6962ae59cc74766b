//! Routes.

use std::net::IpAddr;

use nlink::netlink::messages::RouteMessage;
use nlink::netlink::types::route::{RouteProtocol, RouteScope, RouteType};
use nlink::{Connection, Ipv4Route, Ipv6Route, Route as RouteProtocolSocket, RouteMetrics};

use crate::error::Error;
use crate::link::index_of_in;
use crate::netlink::{route_connection, run};

/// The number of the main routing table.
pub const MAIN_TABLE: u32 = 254;

/// What a route does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Forwards to a gateway or a link.
    #[default]
    Unicast,
    /// Discards silently.
    Blackhole,
}

/// A route to add or delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The destination.
    pub destination: IpAddr,
    /// The length of the destination prefix.
    pub prefix_len: u8,
    /// The next hop.
    pub via: Option<IpAddr>,
    /// The link.
    pub dev: Option<String>,
    /// The source address of local packets.
    pub src: Option<IpAddr>,
    /// The table.
    pub table: u32,
    /// The metric: the lowest wins.
    pub metric: Option<u32>,
    /// The MTU in bytes.
    pub mtu: Option<u32>,
    /// The MSS that TCP offers, in bytes.
    pub advmss: Option<u32>,
    /// What it does.
    pub kind: Kind,
}

impl Route {
    /// A unicast route to `destination` in the main table, with nothing else set.
    pub fn to(destination: IpAddr, prefix_len: u8) -> Route {
        Route {
            destination,
            prefix_len,
            via: None,
            dev: None,
            src: None,
            table: MAIN_TABLE,
            metric: None,
            mtu: None,
            advmss: None,
            kind: Kind::Unicast,
        }
    }

    fn metrics(&self) -> RouteMetrics {
        let mut metrics = RouteMetrics::new();
        if let Some(mtu) = self.mtu {
            metrics = metrics.mtu(mtu);
        }
        if let Some(advmss) = self.advmss {
            metrics = metrics.advmss(advmss);
        }
        metrics
    }

    fn route_type(&self) -> RouteType {
        match self.kind {
            Kind::Unicast => RouteType::Unicast,
            Kind::Blackhole => RouteType::Blackhole,
        }
    }
}

/// Either family of the library's route builder.
pub(crate) enum Built {
    V4(Ipv4Route),
    V6(Ipv6Route),
}

/// Turns a route into the library's builder, with the link by its index.
pub(crate) fn build(route: &Route, dev_index: Option<u32>) -> Result<Built, Error> {
    let max_len = if route.destination.is_ipv4() { 32 } else { 128 };
    if route.prefix_len > max_len {
        return Err(Error::PrefixLength {
            prefix_len: route.prefix_len,
        });
    }
    match route.destination {
        IpAddr::V4(destination) => {
            let mut built = Ipv4Route::from_addr(destination, route.prefix_len)
                .route_type(route.route_type())
                .protocol(RouteProtocol::Static)
                .table(route.table);
            if let Some(index) = dev_index {
                built = built.dev_index(index);
                if route.via.is_none() {
                    built = built.scope(RouteScope::Link);
                }
            }
            match route.via {
                Some(IpAddr::V4(via)) => built = built.gateway(via),
                Some(IpAddr::V6(via)) => built = built.gateway_v6(via),
                None => {}
            }
            if let Some(IpAddr::V4(src)) = route.src {
                built = built.prefsrc(src);
            }
            if let Some(metric) = route.metric {
                built = built.metric(metric);
            }
            if route.metrics().has_any() {
                built = built.metrics(route.metrics());
            }
            Ok(Built::V4(built))
        }
        IpAddr::V6(destination) => {
            let mut built = Ipv6Route::from_addr(destination, route.prefix_len)
                .route_type(route.route_type())
                .protocol(RouteProtocol::Static)
                .table(route.table);
            if let Some(index) = dev_index {
                built = built.dev_index(index);
            }
            if let Some(IpAddr::V6(via)) = route.via {
                built = built.gateway(via);
            }
            if let Some(IpAddr::V6(src)) = route.src {
                built = built.prefsrc(src);
            }
            if let Some(metric) = route.metric {
                built = built.metric(metric);
            }
            if route.metrics().has_any() {
                built = built.metrics(route.metrics());
            }
            Ok(Built::V6(built))
        }
    }
}

async fn resolve(
    connection: &Connection<RouteProtocolSocket>,
    route: &Route,
) -> Result<Built, Error> {
    let index = match &route.dev {
        Some(name) => Some(index_of_in(connection, name).await?),
        None => None,
    };
    build(route, index)
}

/// Adds a route, or replaces the one with the same destination, table and metric.
pub fn add(route: &Route) -> Result<(), Error> {
    run(async {
        let connection = route_connection()?;
        add_in(&connection, route).await
    })
}

/// [`add`] over an open socket.
pub(crate) async fn add_in(
    connection: &Connection<RouteProtocolSocket>,
    route: &Route,
) -> Result<(), Error> {
    let replaced = match resolve(connection, route).await? {
        Built::V4(built) => connection.replace_route(built).await,
        Built::V6(built) => connection.replace_route(built).await,
    };
    replaced.map_err(Error::netlink("add a route"))
}

/// Deletes a route and says whether it was there.
pub fn delete(route: &Route) -> Result<bool, Error> {
    run(async {
        let connection = route_connection()?;
        let deleted = match resolve(&connection, route).await? {
            Built::V4(built) => {
                connection
                    .del_route_if_exists(built.protocol(RouteProtocol::Unspec))
                    .await
            }
            Built::V6(built) => {
                connection
                    .del_route_if_exists(built.protocol(RouteProtocol::Unspec))
                    .await
            }
        };
        deleted.map_err(Error::netlink("delete a route"))
    })
}

/// Deletes a route as the kernel listed it, and says whether it was still there.
pub(crate) async fn delete_message(
    connection: &Connection<RouteProtocolSocket>,
    message: &RouteMessage,
) -> Result<bool, Error> {
    let table = message.table_id();
    let destination = message.destination().copied();
    let deleted = if message.is_ipv4() {
        let any = std::net::Ipv4Addr::UNSPECIFIED;
        let Some(IpAddr::V4(address)) = destination.or(Some(any.into())) else {
            return Ok(false);
        };
        let mut built = Ipv4Route::from_addr(address, message.dst_len())
            .route_type(message.route_type())
            .protocol(message.protocol())
            .scope(message.scope())
            .table(table);
        if let Some(metric) = message.priority() {
            built = built.metric(metric);
        }
        connection.del_route_if_exists(built).await
    } else {
        let any = std::net::Ipv6Addr::UNSPECIFIED;
        let Some(IpAddr::V6(address)) = destination.or(Some(any.into())) else {
            return Ok(false);
        };
        let mut built = Ipv6Route::from_addr(address, message.dst_len())
            .route_type(message.route_type())
            .protocol(message.protocol())
            .table(table);
        if let Some(metric) = message.priority() {
            built = built.metric(metric);
        }
        connection.del_route_if_exists(built).await
    };
    deleted.map_err(Error::netlink("delete a route"))
}

/// The links that a default route of the main table leaves by, both families, each once.
pub fn default_route_interfaces() -> Result<Vec<String>, Error> {
    run(async {
        let connection = route_connection()?;
        let routes = connection
            .get_routes_for_table(MAIN_TABLE)
            .await
            .map_err(Error::netlink("list routes"))?;
        let names = connection
            .get_interface_names()
            .await
            .map_err(Error::netlink("list links"))?;
        let mut found = Vec::new();
        for route in routes.iter().filter(|route| is_default_unicast(route)) {
            let hops = route
                .multipath()
                .unwrap_or_default()
                .iter()
                .map(|hop| hop.ifindex);
            for index in route.oif().into_iter().chain(hops) {
                if let Some(name) = names.get(&index)
                    && !found.contains(name)
                {
                    found.push(name.clone());
                }
            }
        }
        Ok(found)
    })
}

fn is_default_unicast(route: &RouteMessage) -> bool {
    route.dst_len() == 0 && route.route_type() == RouteType::Unicast
}

/// How the kernel would send a packet to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The link it leaves by.
    pub interface: Option<String>,
    /// The source address it would get.
    pub source: Option<IpAddr>,
    /// The next hop.
    pub via: Option<IpAddr>,
    /// The table that the route was found in.
    pub table: u32,
}

/// Asks the kernel how it would send an unmarked packet to `destination`. `None` when there is no
/// route, or one that discards.
pub fn lookup(destination: IpAddr) -> Result<Option<Lookup>, Error> {
    run(async {
        let connection = route_connection()?;
        let found = match connection.lookup_route(destination).await {
            Ok(found) => found,
            Err(error) if is_unroutable(&error) => return Ok(None),
            Err(source) => {
                return Err(Error::Netlink {
                    operation: "look up a route",
                    source,
                });
            }
        };
        let interface = match found.oif() {
            Some(index) => connection
                .interface_name(index)
                .await
                .map_err(Error::netlink("find a link"))?,
            None => None,
        };
        Ok(Some(Lookup {
            interface,
            source: found.prefsrc().copied(),
            via: found.gateway().copied(),
            table: found.table_id(),
        }))
    })
}

fn is_unroutable(error: &nlink::Error) -> bool {
    let errno = error.errno().map(i32::abs);
    matches!(
        errno,
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL | libc::ENOENT)
    )
}
