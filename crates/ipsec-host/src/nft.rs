//! A ruleset in the words of the netlink library, and its commit in one transaction.
//!
//! docs/decisions/0014: why the library and not the `nft` program.

use std::net::IpAddr;

use nlink::netlink::nftables::{
    BaseChain, ChainInfo, ChainType, CmpOp, CtKey, Expr, ExthdrOp, Family, FibFlags, FibResult,
    FilterHook, LookupExpr, MetaKey, NFT_TABLE_F_OWNER, NFT_TABLE_F_PERSIST, Object, ObjectState,
    ObjectType, ObjrefExpr, PayloadBase, Policy, Priority, RangeOp, Register, Rule as NftRule,
    Set as NftSet, SetElement, SetKeyType, Transaction, Verdict as NftVerdict,
};
use nlink::{Connection, Nftables};

use crate::error::Error;
use crate::policy::NumberRange;
use crate::ruleset::{
    Base, BaseKind, Chain, Elements, Hook, IpFamily, Match, Rule, Ruleset, Set, Side, Statement,
    TABLE_PREFIX, Verdict, Way, counter,
};

const INET: Family = Family::Inet;
/// The register that every condition uses: each ends before the next begins.
const REGISTER: Register = Register::R0;
const IFNAME_LEN: usize = 16;
/// Datatype numbers of `nft`, for its listings.
const TYPE_FIB_ADDRESS: u32 = 38;
const TYPE_IFNAME: u32 = 41;
/// Elements in one message: a list of elements is one attribute, of at most 64 KiB.
const ELEMENTS_PER_MESSAGE: usize = 256;
/// How often a commit is tried when somebody else changes the ruleset meanwhile.
const COMMIT_ATTEMPTS_MAX: usize = 16;

/// What of an owner's table is in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableState {
    /// The comment of the table.
    pub(crate) comment: Option<String>,
    /// Each chain: name, hook and priority, its rules byte for byte.
    pub(crate) chains: Vec<ChainState>,
    /// Each set: name, and how many elements it holds.
    pub(crate) sets: Vec<(String, usize)>,
    /// The named counters.
    pub(crate) counters: Vec<String>,
}

/// A chain as the kernel holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChainState {
    pub(crate) name: String,
    pub(crate) hook: Option<(u32, i32)>,
    pub(crate) rules: Vec<Vec<u8>>,
}

/// Reads an owner's table; `None` when it is not there.
pub(crate) async fn read_table(
    connection: &Connection<Nftables>,
    table: &str,
) -> Result<Option<TableState>, Error> {
    let tables = list_tables(connection).await?;
    let Some((_, comment)) = tables.into_iter().find(|(name, _)| name == table) else {
        return Ok(None);
    };
    let (chains, sets) = match list_parts(connection, table).await {
        Ok(parts) => parts,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let rules = connection
        .list_rules(table, INET)
        .await
        .map_err(Error::netlink("list nftables rules"))?;
    let mut state = TableState {
        comment,
        ..TableState::default()
    };
    for chain in chains {
        let own = rules.iter().filter(|rule| rule.chain == chain.name);
        state.chains.push(ChainState {
            hook: chain.hook.zip(chain.priority),
            rules: own.map(|rule| rule.expression_bytes.clone()).collect(),
            name: chain.name,
        });
    }
    for name in sets {
        let elements = connection
            .list_set_elements(table, &name, INET)
            .await
            .map_err(Error::netlink("list the elements of an nftables set"))?;
        state.sets.push((name, elements.len()));
    }
    let objects = connection
        .list_objects_in(table, INET)
        .await
        .map_err(Error::netlink("list nftables counters"))?;
    state.counters = objects.into_iter().map(|object| object.name).collect();
    Ok(Some(state))
}

fn is_gone(error: &Error) -> bool {
    error.errno() == Some(libc::ENOENT)
}

/// Every table of family inet that belongs to an owner, with its comment.
pub(crate) async fn list_tables(
    connection: &Connection<Nftables>,
) -> Result<Vec<(String, Option<String>)>, Error> {
    let tables = connection
        .list_tables_in(INET)
        .await
        .map_err(Error::netlink("list nftables tables"))?;
    let ours = tables
        .into_iter()
        .filter(|table| table.name.starts_with(TABLE_PREFIX));
    Ok(ours.map(|table| (table.name, table.comment)).collect())
}

async fn list_parts(
    connection: &Connection<Nftables>,
    table: &str,
) -> Result<(Vec<ChainInfo>, Vec<String>), Error> {
    let chains = connection
        .list_chains_in(table, INET)
        .await
        .map_err(Error::netlink("list nftables chains"))?;
    let sets = connection
        .list_sets_in(table, INET)
        .await
        .map_err(Error::netlink("list nftables sets"))?;
    Ok((chains, sets.into_iter().map(|set| set.name).collect()))
}

/// The number of the ruleset's generation: it rises with every change anybody makes.
pub(crate) async fn generation(connection: &Connection<Nftables>) -> Result<u32, Error> {
    connection
        .generation()
        .await
        .map_err(Error::netlink("read the nftables generation"))
}

/// Puts `ruleset` in the place of whatever its table holds, in one transaction: before it the old
/// rules hold, after it the new ones, and no packet sees neither. The counters keep counting.
///
/// With `holds`, the table is one that this very socket owns, or a new one that it is to own.
pub(crate) async fn commit(
    connection: &Connection<Nftables>,
    ruleset: &Ruleset,
    holds: bool,
) -> Result<(), Error> {
    let mut attempt = 1;
    let mut defragment = Defragment::Alone;
    loop {
        let generation = generation(connection).await?;
        let transaction = build(connection, ruleset, holds, defragment)
            .await?
            .expect_generation(generation);
        match transaction.commit(connection).await {
            Err(error) if error.is_restart() && attempt < COMMIT_ATTEMPTS_MAX => attempt += 1,
            Err(error) if defragment == Defragment::Alone && is_unknown_expression(&error) => {
                defragment = Defragment::WithTracking;
            }
            Err(error) if error.errno().map(i32::abs) == Some(libc::EPERM) => {
                return Err(held_or_denied(connection, &ruleset.table, error).await);
            }
            other => return other.map_err(Error::netlink("commit the nftables ruleset")),
        }
    }
}

/// How the kernel is made to put fragments together before the rules see them. Either expression
/// switches it on for the namespace by being in a table; no packet ever reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defragment {
    /// By `tproxy`: fragments are put together and nothing else happens.
    Alone,
    /// By `ct`, where the kernel has no `tproxy`. It also switches on connection tracking: an entry
    /// for each flow, and drops when its table is full.
    WithTracking,
}

fn is_unknown_expression(error: &nlink::Error) -> bool {
    matches!(
        error.errno().map(i32::abs),
        Some(libc::ENOENT | libc::EOPNOTSUPP)
    )
}

/// A table that another socket owns answers with the same error as a missing privilege.
async fn held_or_denied(
    connection: &Connection<Nftables>,
    table: &str,
    source: nlink::Error,
) -> Error {
    let owned = match connection.list_tables_in(INET).await {
        Ok(tables) => {
            let mut tables = tables.iter();
            tables.any(|found| found.name == table && found.flags & NFT_TABLE_F_OWNER != 0)
        }
        Err(_) => false,
    };
    if owned {
        let owner = table.trim_start_matches(TABLE_PREFIX).to_owned();
        return Error::Held { owner };
    }
    Error::Netlink {
        operation: "commit the nftables ruleset",
        source,
    }
}

async fn build(
    connection: &Connection<Nftables>,
    ruleset: &Ruleset,
    holds: bool,
    defragment: Defragment,
) -> Result<Transaction, Error> {
    let table = ruleset.table.as_str();
    let mut transaction = connection.transaction();
    let persist = if kernel_persists() {
        NFT_TABLE_F_PERSIST
    } else {
        0
    };
    let tables = connection
        .list_tables_in(INET)
        .await
        .map_err(Error::netlink("list nftables tables"))?;
    let existing = tables.into_iter().find(|found| found.name == table);
    // Neither a comment nor the flag to persist can be changed in place.
    let keeps_table = existing.as_ref().is_some_and(|found| {
        found.comment.as_deref() == Some(ruleset.comment.as_str())
            && found.flags & NFT_TABLE_F_PERSIST == persist
    });
    if keeps_table {
        let (chains, sets) = list_parts(connection, table).await?;
        transaction = transaction.flush_table(table, INET);
        for chain in &chains {
            transaction = transaction.del_chain(table, &chain.name, INET);
        }
        for set in &sets {
            transaction = transaction.del_set(table, set, INET);
        }
    } else {
        if existing.is_some() {
            transaction = transaction.del_table(table, INET);
        }
        let flags = if holds {
            persist | NFT_TABLE_F_OWNER
        } else {
            persist
        };
        transaction =
            transaction.add_table_with_comment(table, INET, flags, Some(&ruleset.comment));
    }
    for name in counter::ALL {
        let object = Object::counter(table, name).family(INET);
        transaction = transaction.update_object(&object);
    }
    for set in &ruleset.sets {
        transaction = add_set(transaction, table, set);
    }
    for chain in &ruleset.chains {
        transaction = transaction.add_chain(lower_chain(table, chain)?);
    }
    for chain in &ruleset.chains {
        for rule in &chain.rules {
            transaction = transaction.add_rule(lower_rule(table, &chain.name, rule, defragment)?);
        }
    }
    Ok(transaction)
}

/// Removes an owner's table and says whether it was there.
pub(crate) async fn remove(connection: &Connection<Nftables>, table: &str) -> Result<bool, Error> {
    match connection.del_table_if_exists(table, INET).await {
        Err(error) if error.errno().map(i32::abs) == Some(libc::EPERM) => {
            Err(held_or_denied(connection, table, error).await)
        }
        other => other.map_err(Error::netlink("delete the nftables table")),
    }
}

/// Makes the table this socket's: nobody else can change it, `nft flush ruleset` passes it by,
/// and when the socket closes the table stays. Says whether the kernel can.
pub(crate) async fn hold(connection: &Connection<Nftables>, ruleset: &Ruleset) -> bool {
    let flags = NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST;
    let update = connection
        .transaction()
        .update_table(&ruleset.table, INET, flags);
    // A table that persists and that nobody owns can be adopted; no other can.
    kernel_persists() && update.commit(connection).await.is_ok()
}

/// Whether a table can outlive the socket that owns it: Linux 6.9. Without that an owner's table
/// would go with its process, which is the one thing that a guard must not do.
fn kernel_persists() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release_at_least(&release, (6, 9))
}

fn release_at_least(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.trim().parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= wanted
}

/// The packets each named counter has counted, in the order of [`counter::ALL`].
pub(crate) async fn counters(
    connection: &Connection<Nftables>,
    table: &str,
) -> Result<Vec<(String, u64)>, Error> {
    let objects = connection
        .list_objects_in(table, INET)
        .await
        .map_err(Error::netlink("read nftables counters"))?;
    let packets = |name: &str| {
        objects.iter().find_map(|object| match &object.state {
            ObjectState::Counter { packets, .. } if object.name == name => Some(*packets),
            _ => None,
        })
    };
    let all = counter::ALL.iter();
    Ok(all
        .filter_map(|name| Some(((*name).to_owned(), packets(name)?)))
        .collect())
}

fn add_set(transaction: Transaction, table: &str, set: &Set) -> Transaction {
    let mut nft_set = NftSet::new(table, &set.name).family(INET);
    let elements: Vec<SetElement> = match &set.elements {
        Elements::Addresses(family, ranges) => {
            nft_set = nft_set.interval().key_type(match family {
                IpFamily::V4 => SetKeyType::Ipv4Addr,
                IpFamily::V6 => SetKeyType::Ipv6Addr,
            });
            ranges
                .iter()
                .map(|range| SetElement::range(bytes(range.from), bytes(range.to)))
                .collect()
        }
        Elements::Ports(ranges) => {
            nft_set = nft_set.interval().key_type(SetKeyType::InetService);
            ranges
                .iter()
                .map(|range| SetElement::port_range(range.from, range.to))
                .collect()
        }
        Elements::Interfaces(names) => {
            let len = IFNAME_LEN as u32;
            nft_set = nft_set.key_type(SetKeyType::Other {
                type_id: TYPE_IFNAME,
                len,
            });
            names
                .iter()
                .map(|name| SetElement::new(interface_bytes(name)))
                .collect()
        }
        Elements::AddressTypes(types) => {
            nft_set = nft_set.key_type(SetKeyType::Other {
                type_id: TYPE_FIB_ADDRESS,
                len: 4,
            });
            types
                .iter()
                .map(|kind| SetElement::new(kind.to_ne_bytes().to_vec()))
                .collect()
        }
    };
    let mut transaction = transaction.add_set(nft_set.clone());
    for chunk in elements.chunks(ELEMENTS_PER_MESSAGE) {
        transaction = transaction.add_set_elements(&nft_set, chunk);
    }
    transaction
}

fn lower_chain(table: &str, chain: &Chain) -> Result<nlink::netlink::nftables::Chain, Error> {
    let lowered = nlink::netlink::nftables::Chain::new(table, chain.name.as_str())
        .map_err(Error::netlink("name an nftables chain"))?
        .family(INET);
    Ok(match chain.base {
        Some(base) => lowered.base(lower_base(base)),
        None => lowered,
    })
}

fn lower_base(base: Base) -> BaseChain {
    let hook = match base.hook {
        Hook::Prerouting => FilterHook::Prerouting,
        Hook::Output => FilterHook::Output,
        Hook::Postrouting => FilterHook::Postrouting,
    };
    let priority = Priority::Custom(base.priority);
    let chain = match base.kind {
        BaseKind::Filter => BaseChain::filter(hook, priority),
        BaseKind::Route => BaseChain::route(priority),
    };
    debug_assert!(base.kind == BaseKind::Filter || chain.chain_type() == ChainType::Route);
    chain.policy(Policy::Accept)
}

fn lower_rule(
    table: &str,
    chain: &str,
    rule: &Rule,
    defragment: Defragment,
) -> Result<NftRule, Error> {
    let mut expressions = Vec::new();
    for condition in &rule.matches {
        lower_match(condition, &mut expressions);
    }
    for statement in &rule.statements {
        lower_statement(statement, defragment, &mut expressions)?;
    }
    let lowered = NftRule::new(table, chain)
        .family(INET)
        .expressions(expressions);
    Ok(match &rule.comment {
        Some(comment) if !comment.is_empty() => lowered.comment(comment),
        _ => lowered,
    })
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn interface_bytes(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(IFNAME_LEN, 0);
    bytes
}

fn compare(op: CmpOp, data: impl Into<Vec<u8>>) -> Expr {
    Expr::Cmp {
        sreg: REGISTER,
        op,
        data: data.into(),
    }
}

fn equals(data: impl Into<Vec<u8>>) -> Expr {
    compare(CmpOp::Eq, data)
}

fn negatable(negate: bool) -> CmpOp {
    if negate { CmpOp::Neq } else { CmpOp::Eq }
}

fn meta(key: MetaKey) -> Expr {
    Expr::Meta {
        dreg: REGISTER,
        key,
    }
}

fn payload(base: PayloadBase, offset: u32, len: u32) -> Expr {
    Expr::Payload {
        dreg: REGISTER,
        base,
        offset,
        len,
    }
}

fn bitwise(mask: impl Into<Vec<u8>>, xor: impl Into<Vec<u8>>) -> Expr {
    let mask = mask.into();
    let len = mask.len() as u32;
    Expr::Bitwise {
        sreg: REGISTER,
        dreg: REGISTER,
        len,
        mask,
        xor: xor.into(),
    }
}

fn in_set(set: &str, negate: bool) -> Expr {
    let lookup = LookupExpr::new(set, REGISTER);
    Expr::Lookup(if negate { lookup.invert() } else { lookup })
}

/// Equal for one value, a range otherwise; both in network byte order.
fn within(from: Vec<u8>, to: Vec<u8>) -> Expr {
    if from == to {
        return equals(from);
    }
    Expr::Range {
        sreg: REGISTER,
        op: RangeOp::Eq,
        from,
        to,
    }
}

fn fib(side: Side, result: FibResult) -> Expr {
    let flags = match side {
        Side::Source => FibFlags::SADDR,
        Side::Destination => FibFlags::DADDR,
    };
    Expr::Fib {
        dreg: REGISTER,
        result,
        flags,
    }
}

fn address_payload(side: Side, family: IpFamily) -> Expr {
    let (offset, len) = match (family, side) {
        (IpFamily::V4, Side::Source) => (12, 4),
        (IpFamily::V4, Side::Destination) => (16, 4),
        (IpFamily::V6, Side::Source) => (8, 16),
        (IpFamily::V6, Side::Destination) => (24, 16),
    };
    payload(PayloadBase::Network, offset, len)
}

fn port_payload(side: Side) -> Expr {
    let offset = match side {
        Side::Source => 0,
        Side::Destination => 2,
    };
    payload(PayloadBase::Transport, offset, 2)
}

fn one_byte(range: NumberRange) -> Expr {
    let byte = |number: u16| vec![u8::try_from(number).unwrap_or(u8::MAX)];
    within(byte(range.from), byte(range.to))
}

fn lower_match(condition: &Match, out: &mut Vec<Expr>) {
    match condition {
        Match::Family(family) => {
            let number = match family {
                IpFamily::V4 => libc::AF_INET,
                IpFamily::V6 => libc::AF_INET6,
            };
            out.extend([meta(MetaKey::NfProto), equals([number as u8])]);
        }
        Match::Interface { way, name } => {
            out.extend([interface_meta(*way), equals(interface_bytes(name))]);
        }
        Match::InterfaceSet { way, set, negate } => {
            out.extend([interface_meta(*way), in_set(set, *negate)]);
        }
        Match::InterfaceGroup { way, group } => {
            let key = match way {
                Way::In => MetaKey::IifGroup,
                Way::Out => MetaKey::OifGroup,
            };
            out.extend([meta(key), equals(group.to_ne_bytes())]);
        }
        Match::FromLocal(local) => {
            let op = negatable(!local);
            out.extend([meta(MetaKey::Iif), compare(op, 0u32.to_ne_bytes())]);
        }
        Match::Mark { mask, value } => out.extend([
            meta(MetaKey::Mark),
            bitwise(mask.to_ne_bytes(), 0u32.to_ne_bytes()),
            equals(value.to_ne_bytes()),
        ]),
        Match::OtherOwner { mask, own } => out.extend([
            meta(MetaKey::Mark),
            bitwise(mask.to_ne_bytes(), 0u32.to_ne_bytes()),
            compare(CmpOp::Neq, 0u32.to_ne_bytes()),
            compare(CmpOp::Neq, own.to_ne_bytes()),
        ]),
        Match::Protocol(number) => out.extend([meta(MetaKey::L4Proto), equals([*number])]),
        Match::Address { side, range } => {
            let family = IpFamily::of(range.from);
            out.extend([
                address_payload(*side, family),
                within(bytes(range.from), bytes(range.to)),
            ]);
        }
        Match::AddressSet { side, family, set } => {
            out.extend([address_payload(*side, *family), in_set(set, false)]);
        }
        Match::Port { side, range } => {
            let (from, to) = (range.from.to_be_bytes(), range.to.to_be_bytes());
            out.extend([port_payload(*side), within(from.to_vec(), to.to_vec())]);
        }
        Match::PortSet { side, set } => out.extend([port_payload(*side), in_set(set, false)]),
        Match::IcmpType(range) => {
            out.extend([payload(PayloadBase::Transport, 0, 1), one_byte(*range)]);
        }
        Match::IcmpCode(range) => {
            out.extend([payload(PayloadBase::Transport, 1, 1), one_byte(*range)]);
        }
        Match::LaterFragment(IpFamily::V4) => out.extend([
            payload(PayloadBase::Network, 6, 2),
            bitwise([0x1f, 0xff], [0, 0]),
            compare(CmpOp::Neq, [0, 0]),
        ]),
        Match::LaterFragment(IpFamily::V6) => out.extend([
            Expr::Exthdr {
                dreg: REGISTER,
                op: ExthdrOp::Ipv6,
                exthdr_type: 44,
                offset: 2,
                len: 2,
            },
            bitwise([0xff, 0xf8], [0, 0]),
            compare(CmpOp::Neq, [0, 0]),
        ]),
        Match::AddressTypeSet { side, set } => {
            out.extend([fib(*side, FibResult::AddrType), in_set(set, false)]);
        }
        Match::RouteInterfaceSet { side, set, negate } => {
            out.extend([fib(*side, FibResult::OifName), in_set(set, *negate)]);
        }
        Match::TcpSyn => out.extend([
            payload(PayloadBase::Transport, 13, 1),
            bitwise([0x02], [0]),
            compare(CmpOp::Neq, [0]),
        ]),
        Match::Byte {
            offset,
            mask,
            value,
            negate,
        } => out.extend([
            payload(PayloadBase::Transport, *offset, 1),
            bitwise([*mask], [0]),
            compare(negatable(*negate), [*value]),
        ]),
        Match::WordSet { offset, set } => {
            out.extend([
                payload(PayloadBase::Transport, *offset, 2),
                in_set(set, false),
            ]);
        }
    }
}

fn interface_meta(way: Way) -> Expr {
    meta(match way {
        Way::In => MetaKey::IifName,
        Way::Out => MetaKey::OifName,
    })
}

fn lower_statement(
    statement: &Statement,
    defragment: Defragment,
    out: &mut Vec<Expr>,
) -> Result<(), Error> {
    match statement {
        Statement::Count(name) => out.push(Expr::Objref(ObjrefExpr::Named {
            object_type: ObjectType::Counter,
            name: (*name).to_owned(),
        })),
        Statement::SetMark { mask, value } => out.extend([
            meta(MetaKey::Mark),
            bitwise((!mask).to_ne_bytes(), value.to_ne_bytes()),
            Expr::MetaSet {
                key: MetaKey::Mark,
                sreg: REGISTER,
            },
        ]),
        // TCP option 2 is the MSS: kind and length take two bytes.
        Statement::ClampMss(bytes) => out.extend([
            Expr::Immediate {
                dreg: REGISTER,
                data: bytes.to_be_bytes().to_vec(),
            },
            Expr::ExthdrSet {
                sreg: REGISTER,
                op: ExthdrOp::TcpOpt,
                exthdr_type: 2,
                offset: 2,
                len: 2,
            },
        ]),
        Statement::Defragment => out.extend(match defragment {
            Defragment::Alone => vec![
                Expr::Immediate {
                    dreg: REGISTER,
                    data: vec![0, 1],
                },
                Expr::Tproxy {
                    family: 0,
                    sreg_addr: None,
                    sreg_port: Some(REGISTER),
                },
            ],
            Defragment::WithTracking => vec![Expr::Ct {
                dreg: REGISTER,
                key: CtKey::State,
            }],
        }),
        Statement::Verdict(verdict) => out.push(Expr::Verdict(lower_verdict(verdict)?)),
    }
    Ok(())
}

fn lower_verdict(verdict: &Verdict) -> Result<NftVerdict, Error> {
    let name = |chain: &String| {
        nlink::netlink::nftables::ChainName::new(chain.as_str())
            .map_err(Error::netlink("name an nftables chain"))
    };
    Ok(match verdict {
        Verdict::Accept => NftVerdict::Accept,
        Verdict::Drop => NftVerdict::Drop,
        Verdict::Return => NftVerdict::Return,
        Verdict::Jump(chain) => NftVerdict::JumpTo(name(chain)?),
        Verdict::Goto(chain) => NftVerdict::GotoTo(name(chain)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        assert!(release_at_least("6.18.44-generic\n", (6, 9)));
        assert!(release_at_least("6.9.0", (6, 9)));
        assert!(!release_at_least("6.8.0-40-generic", (6, 9)));
        assert!(!release_at_least("", (6, 9)));
    }
}
