//! The guard: the nftables table, the rule and the private routing table that together let
//! nothing around the gateway, with or without a gateway running.
//!
//! | part | without it |
//! |---|---|
//! | the nftables table `ipsec-node-OWNER` | **open**: only the table marks, so nothing is routed to the TUN; hence [`crate::Watcher`] and its hold |
//! | `ip rule fwmark` | what is marked leaves by the main table, and nftables drops it there |
//! | default route to the TUN in the private table | the blackhole behind it takes what is marked |
//! | blackhole | when the TUN is down or gone, nftables drops what falls through to the main table |
//!
//! The guard is not bound to a process: it stays when its maker dies, and the next one with the
//! same owner's name takes it over.

use nlink::{Connection, Nftables, Route as RouteProtocolSocket};

use crate::error::Error;
use crate::netlink::{nft_connection, route_connection, run};
use crate::nft;
use crate::policy::{BoundarySpec, check_owner};
use crate::route::{self, Kind, Route};
use crate::rule::{self, Family};
use crate::ruleset::{
    Ruleset, TABLE_PREFIX, TUN_GROUP, compile_ruleset, compile_wider_ruleset, table_name,
};

pub(crate) mod parts;

use parts::Identity;

/// What an installation found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// What was there already, from an earlier run.
    pub taken_over: Removed,
    /// Whether marked packets are routed to the TUN. `false` means that the TUN is not there or
    /// not up: they end in the blackhole.
    pub tun_routed: bool,
}

impl Installed {
    /// Whether anything was there already.
    pub fn took_over(&self) -> bool {
        self.taken_over != Removed::default()
    }
}

/// What a removal removed: as long as these were there, nothing that policy protects went out in
/// clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// The nftables table.
    pub nft_table: bool,
    /// How many routing rules, over both families.
    pub rules: usize,
    /// How many routes of the private table, over both families.
    pub routes: usize,
}

/// A part of the guard that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The nftables table is gone.
    NftTable,
    /// A chain, set or counter of the table is gone or is not what the policy compiles to.
    NftPart {
        /// Its name.
        name: String,
    },
    /// The routing rule of a family is gone.
    Rule(Family),
    /// The TUN is not there or not up: nobody carries what policy protects.
    Tun,
    /// The default route to the TUN is gone though the TUN is up.
    TunRoute(Family),
    /// The blackhole behind it is gone.
    Blackhole(Family),
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Missing::NftTable => write!(f, "the nftables table"),
            Missing::NftPart { name } => write!(f, "{name} of the nftables table"),
            Missing::Rule(family) => write!(f, "the {family} routing rule"),
            Missing::Tun => write!(f, "the TUN"),
            Missing::TunRoute(family) => write!(f, "the {family} route to the TUN"),
            Missing::Blackhole(family) => write!(f, "the {family} blackhole"),
        }
    }
}

/// The guard of one owner. All of its state is in the kernel.
pub struct Guard;

impl Guard {
    /// Installs the guard, or puts it in the place of what an earlier run left: the nftables table
    /// in one transaction, without a moment in which neither holds. Then blackhole, TUN route and
    /// rule, in the order in which each is safe without the next.
    ///
    /// The TUN need not exist; install or [`Guard::restore`] again when it does.
    ///
    /// # Errors
    ///
    /// [`Error::Collision`] when another owner's guard has the same marks, table or priority;
    /// otherwise what the spec or the kernel is at fault with. A failure leaves what was
    /// installed so far, never less than before.
    pub fn install(spec: &BoundarySpec) -> Result<Installed, Error> {
        spec.check()?;
        install_ruleset(spec, &compile_ruleset(spec))
    }

    /// The first half of a reload: a guard as strict as `old` and `new` together. Then the gateway
    /// takes the new policy, and [`Guard::replace`] makes the guard exact.
    pub fn widen(old: &BoundarySpec, new: &BoundarySpec) -> Result<Installed, Error> {
        old.check()?;
        new.check()?;
        install_ruleset(new, &compile_wider_ruleset(old, new))
    }

    /// The second half of a reload: the guard of `spec` alone. The same as [`Guard::install`].
    pub fn replace(spec: &BoundarySpec) -> Result<Installed, Error> {
        Guard::install(spec)
    }

    /// Says what of the guard is missing or changed; nothing when all is as it should be. Rules
    /// are counted, not compared: a [`crate::Watcher`] compares.
    pub fn verify(spec: &BoundarySpec) -> Result<Vec<Missing>, Error> {
        spec.check()?;
        let ruleset = compile_ruleset(spec);
        run(async {
            let (nft, routing) = (nft_connection()?, route_connection()?);
            verify_in(&nft, &routing, spec, &ruleset).await
        })
    }

    /// Puts back what [`Guard::verify`] finds missing, and says what it was.
    pub fn restore(spec: &BoundarySpec) -> Result<Vec<Missing>, Error> {
        spec.check()?;
        let ruleset = compile_ruleset(spec);
        run(async {
            let (nft, routing) = (nft_connection()?, route_connection()?);
            let missing = verify_in(&nft, &routing, spec, &ruleset).await?;
            let is_nft =
                |part: &Missing| matches!(part, Missing::NftTable | Missing::NftPart { .. });
            if missing.iter().any(is_nft) {
                nft::commit(&nft, &ruleset, false).await?;
            }
            if missing.iter().any(|part| !is_nft(part)) {
                parts::install_routing(&routing, spec).await?;
            }
            Ok(missing)
        })
    }

    /// Removes everything of the owner's guard and says what it was. From then on what policy
    /// protects may go out in clear. What is not there is no error.
    pub fn remove(owner: &str) -> Result<Removed, Error> {
        check_owner(owner)?;
        run(async {
            let (nft, routing) = (nft_connection()?, route_connection()?);
            let identity = Identity::find(&nft, owner).await?;
            // The table first: where another process holds it, nothing has been touched yet.
            let removed = Removed {
                nft_table: nft::remove(&nft, &table_name(owner)).await?,
                rules: parts::remove_rules(&routing, &identity).await?,
                routes: parts::remove_routes(&routing, &identity).await?,
            };
            Ok(removed)
        })
    }

    /// What the guard of `owner` has dropped since it was first installed: the name of each reason
    /// and its packets. Empty when there is no guard.
    pub fn counters(owner: &str) -> Result<Vec<(String, u64)>, Error> {
        check_owner(owner)?;
        run(async {
            let nft = nft_connection()?;
            match nft::counters(&nft, &table_name(owner)).await {
                Err(error) if error.errno() == Some(libc::ENOENT) => Ok(Vec::new()),
                other => other,
            }
        })
    }

    /// The owners that have an nftables table here.
    pub fn owners() -> Result<Vec<String>, Error> {
        run(async {
            let nft = nft_connection()?;
            let tables = nft::list_tables(&nft).await?;
            let owner = |(name, _): (String, _)| name.trim_start_matches(TABLE_PREFIX).to_owned();
            Ok(tables.into_iter().map(owner).collect())
        })
    }
}

fn install_ruleset(spec: &BoundarySpec, ruleset: &Ruleset) -> Result<Installed, Error> {
    run(async {
        let (nft, routing) = (nft_connection()?, route_connection()?);
        install_in(&nft, &routing, spec, ruleset, false).await
    })
}

/// Installs over open sockets; with `holds`, the nftables socket owns the table.
pub(crate) async fn install_in(
    nft: &Connection<Nftables>,
    routing: &Connection<RouteProtocolSocket>,
    spec: &BoundarySpec,
    ruleset: &Ruleset,
    holds: bool,
) -> Result<Installed, Error> {
    parts::refuse_collision(nft, spec).await?;
    let identity = Identity::of(spec);
    let tables = nft::list_tables(nft).await?;
    let taken_over = Removed {
        nft_table: tables.iter().any(|(name, _)| *name == ruleset.table),
        rules: parts::own_rules(routing, &identity).await?.len(),
        routes: parts::own_routes(routing, spec.table).await?.len(),
    };
    nft::commit(nft, ruleset, holds).await?;
    let tun_routed = parts::install_routing(routing, spec).await?;
    Ok(Installed {
        taken_over,
        tun_routed,
    })
}

async fn verify_in(
    nft: &Connection<Nftables>,
    routing: &Connection<RouteProtocolSocket>,
    spec: &BoundarySpec,
    ruleset: &Ruleset,
) -> Result<Vec<Missing>, Error> {
    let mut missing = Vec::new();
    match nft::read_table(nft, &ruleset.table).await? {
        None => missing.push(Missing::NftTable),
        Some(state) => missing.extend(parts::compare_table(ruleset, &state)),
    }
    missing.extend(parts::verify_routing(routing, spec).await?);
    Ok(missing)
}
