//! Addresses of links.

use std::net::IpAddr;

use nlink::{Ipv4Address, Ipv6Address};

use crate::error::Error;
use crate::link::index_of_in;
use crate::netlink::{route_connection, run};

/// Adds an address to a link; IPv6 without duplicate address detection. An address that is there
/// already is left as it is.
pub fn add(link: &str, address: IpAddr, prefix_len: u8) -> Result<(), Error> {
    run(async {
        let connection = route_connection()?;
        let index = index_of_in(&connection, link).await?;
        let added = match address {
            IpAddr::V4(address) => {
                let config = Ipv4Address::with_index(index, address, prefix_len);
                connection.add_address(config).await
            }
            IpAddr::V6(address) => {
                let config = Ipv6Address::with_index(index, address, prefix_len).nodad();
                connection.add_address(config).await
            }
        };
        match added {
            Err(error) if error.is_already_exists() => Ok(()),
            other => other.map_err(Error::netlink("add an address")),
        }
    })
}

/// Deletes an address from a link.
pub fn delete(link: &str, address: IpAddr, prefix_len: u8) -> Result<(), Error> {
    run(async {
        let connection = route_connection()?;
        let index = index_of_in(&connection, link).await?;
        connection
            .del_address_by_index(index, address, prefix_len)
            .await
            .map_err(Error::netlink("delete an address"))
    })
}

/// The addresses of a link with their prefix lengths, both families.
pub fn list(link: &str) -> Result<Vec<(IpAddr, u8)>, Error> {
    run(async {
        let connection = route_connection()?;
        let index = index_of_in(&connection, link).await?;
        let addresses = connection
            .get_addresses_by_index(index)
            .await
            .map_err(Error::netlink("list addresses"))?;
        Ok(addresses
            .iter()
            .filter_map(|address| Some((*address.primary_address()?, address.prefix_len())))
            .collect())
    })
}
