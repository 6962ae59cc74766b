//! Routing policy rules that send marked packets to a table.

use nlink::{Connection, Route, RuleBuilder};

use crate::error::Error;
use crate::netlink::{route_connection, run};

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// A rule as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleInfo {
    /// Its family.
    pub family: Family,
    /// Its priority; the lowest comes first.
    pub priority: u32,
    /// The mark it wants, under the mask.
    pub mark: Option<u32>,
    /// The bits of the mark it looks at.
    pub mask: Option<u32>,
    /// The table it leads to.
    pub table: u32,
}

pub(crate) fn builder(
    family: Family,
    mark: u32,
    mask: u32,
    table: u32,
    priority: u32,
) -> RuleBuilder {
    let builder = match family {
        Family::V4 => RuleBuilder::v4(),
        Family::V6 => RuleBuilder::v6(),
    };
    builder
        .priority(priority)
        .fwmark_mask(mark, mask)
        .table(table)
}

/// Adds a rule: packets whose mark under `mask` is `mark` are routed by `table`. One that is
/// there already is left as it is.
pub fn add_fwmark(
    family: Family,
    mark: u32,
    mask: u32,
    table: u32,
    priority: u32,
) -> Result<(), Error> {
    let rule = builder(family, mark, mask, table, priority);
    run(async {
        let connection = route_connection()?;
        match connection.add_rule(rule).await {
            Err(error) if error.is_already_exists() => Ok(()),
            other => other.map_err(Error::netlink("add a routing rule")),
        }
    })
}

/// Deletes the rule that [`add_fwmark`] added. One that is not there is no error.
pub fn delete(
    family: Family,
    mark: u32,
    mask: u32,
    table: u32,
    priority: u32,
) -> Result<bool, Error> {
    let rule = builder(family, mark, mask, table, priority);
    run(async {
        let connection = route_connection()?;
        connection
            .del_rule_if_exists(rule)
            .await
            .map_err(Error::netlink("delete a routing rule"))
    })
}

/// Lists the rules of both families.
pub fn list() -> Result<Vec<RuleInfo>, Error> {
    run(async {
        let connection = route_connection()?;
        list_in(&connection).await
    })
}

/// The rules of both families, asked over an open socket.
pub(crate) async fn list_in(connection: &Connection<Route>) -> Result<Vec<RuleInfo>, Error> {
    let rules = connection
        .get_rules()
        .await
        .map_err(Error::netlink("list routing rules"))?;
    let family = |is_v4| if is_v4 { Family::V4 } else { Family::V6 };
    Ok(rules
        .iter()
        .filter(|rule| rule.is_ipv4() || rule.is_ipv6())
        .map(|rule| RuleInfo {
            family: family(rule.is_ipv4()),
            priority: rule.priority(),
            mark: rule.fwmark(),
            mask: rule.fwmask(),
            table: rule.table_id(),
        })
        .collect())
}
