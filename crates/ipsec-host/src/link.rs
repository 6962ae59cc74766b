//! Links: find, create, delete, up, down, MTU.

use nlink::netlink::link::VethLink;
use nlink::{Connection, Route};

use crate::error::Error;
use crate::netlink::{route_connection, run};

/// A link as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Its kind (`veth`, `tun`, ...); `None` for hardware and the loopback.
    pub kind: Option<String>,
    /// Its group.
    pub group: u32,
}

/// Checks that `name` can name an interface: 1 to 15 bytes, no blank, no slash, no colon.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let good = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
    if (1..=15).contains(&name.len()) && name.bytes().all(good) && name != "." && name != ".." {
        return Ok(());
    }
    Err(Error::LinkName {
        name: name.to_owned(),
    })
}

/// Lists the links of the namespace.
pub fn list() -> Result<Vec<LinkInfo>, Error> {
    run(async {
        let connection = route_connection()?;
        let links = connection
            .get_links()
            .await
            .map_err(Error::netlink("list links"))?;
        Ok(links
            .iter()
            .map(|link| LinkInfo {
                name: link.name().unwrap_or_default().to_owned(),
                index: link.ifindex(),
                mtu: link.mtu().unwrap_or_default(),
                up: link.is_up(),
                kind: link.kind().map(str::to_owned),
                group: link.group().unwrap_or_default(),
            })
            .collect())
    })
}

/// The index of the link `name`, or [`Error::NoSuchLink`].
pub fn index_of(name: &str) -> Result<u32, Error> {
    run(async {
        let connection = route_connection()?;
        index_of_in(&connection, name).await
    })
}

/// Whether a link `name` exists.
pub fn exists(name: &str) -> Result<bool, Error> {
    match index_of(name) {
        Ok(_) => Ok(true),
        Err(Error::NoSuchLink { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The index of `name`, asked over an open socket.
pub(crate) async fn index_of_in(connection: &Connection<Route>, name: &str) -> Result<u32, Error> {
    check_name(name)?;
    match connection.get_link_by_name(name).await {
        Ok(Some(link)) => Ok(link.ifindex()),
        Ok(None) => Err(Error::NoSuchLink {
            name: name.to_owned(),
        }),
        Err(error) if error.is_not_found() => Err(Error::NoSuchLink {
            name: name.to_owned(),
        }),
        Err(source) => Err(Error::Netlink {
            operation: "find a link",
            source,
        }),
    }
}

/// Sets a link up.
pub fn set_up(name: &str) -> Result<(), Error> {
    run(async {
        let connection = route_connection()?;
        let index = index_of_in(&connection, name).await?;
        connection
            .set_link_up_by_index(index)
            .await
            .map_err(Error::netlink("set a link up"))
    })
}

/// Sets a link down.
pub fn set_down(name: &str) -> Result<(), Error> {
    run(async {
        let connection = route_connection()?;
        let index = index_of_in(&connection, name).await?;
        connection
            .set_link_down_by_index(index)
            .await
            .map_err(Error::netlink("set a link down"))
    })
}

/// Sets the MTU of a link, in bytes.
pub fn set_mtu(name: &str, mtu: u32) -> Result<(), Error> {
    run(async {
        let connection = route_connection()?;
        let index = index_of_in(&connection, name).await?;
        connection
            .set_link_mtu_by_index(index, mtu)
            .await
            .map_err(Error::netlink("set the MTU of a link"))
    })
}

/// Sets the length of the transmit queue of a link, in packets.
pub fn set_txqueuelen(name: &str, packets: u32) -> Result<(), Error> {
    run(async {
        let connection = route_connection()?;
        let index = index_of_in(&connection, name).await?;
        connection
            .set_link_txqlen_by_index(index, packets)
            .await
            .map_err(Error::netlink("set the transmit queue length of a link"))
    })
}

/// Deletes a link. A link that does not exist is [`Error::NoSuchLink`].
pub fn delete(name: &str) -> Result<(), Error> {
    run(async {
        let connection = route_connection()?;
        let index = index_of_in(&connection, name).await?;
        connection
            .del_link_by_index(index)
            .await
            .map_err(Error::netlink("delete a link"))
    })
}

/// Creates a pair of veth links, the peer in the network namespace of process `peer_netns_pid`
/// where one is given. Both are down.
pub fn create_veth(name: &str, peer_name: &str, peer_netns_pid: Option<u32>) -> Result<(), Error> {
    check_name(name)?;
    check_name(peer_name)?;
    run(async {
        let connection = route_connection()?;
        let mut veth = VethLink::new(name, peer_name);
        if let Some(pid) = peer_netns_pid {
            veth = veth.peer_netns_pid(pid);
        }
        connection
            .add_link(veth)
            .await
            .map_err(Error::netlink("create a veth pair"))
    })
}
