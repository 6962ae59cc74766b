//! The host besides the datapath: guard without gateway, links and addresses for demonstrations, and
//! packet sockets.

use crate::convert::{address, spd_entry};
use crate::dataplane::gateway_options;
use crate::errors::NativeError;
use crate::job::{Job, job};
use crate::types::{NativeGuardReply, NativeOptions, NativeReply, NativeSpdEntry};
use ipsec_gateway::Boundary;
use ipsec_host as host;
use ipsec_io::network::{SocketKind, SocketNetwork, SocketOptions};
use ipsec_io::packet_socket::PacketSocket;
use napi::bindgen_prelude::{AsyncTask, Uint8Array};
use napi_derive::napi;
use std::time::Duration;

/// Installs the guard of a policy without a gateway.
#[napi(ts_return_type = "Promise<NativeGuardReply>")]
pub fn install_guard(
    options: NativeOptions,
    entries: Vec<NativeSpdEntry>,
) -> AsyncTask<Job<NativeGuardReply>> {
    job(move || match try_install(options, &entries) {
        Ok(done) => NativeGuardReply { error: None, done },
        Err(error) => NativeGuardReply {
            error: Some(error),
            done: Vec::new(),
        },
    })
}

fn try_install(
    options: NativeOptions,
    entries: &[NativeSpdEntry],
) -> Result<Vec<String>, NativeError> {
    let options = gateway_options(options)?;
    let entries = entries
        .iter()
        .map(spd_entry)
        .collect::<Result<Vec<_>, _>>()?;
    let mut boundary = Boundary::new(options.boundary);
    let first = boundary.install_unwatched(&entries)?;
    let how = if first.took_over() {
        "taken over and replaced"
    } else {
        "installed"
    };
    let spec = boundary.spec();
    Ok(vec![
        format!("nftables table inet ipsec-node-{} {how}", spec.owner),
        format!(
            "rule {} sends mark {:#x}/{:#x} to table {}",
            spec.rule_priority, spec.marks.protect, spec.marks.mask, spec.table
        ),
        if first.tun_routed {
            format!(
                "table {} leads to {} and behind it to a blackhole",
                spec.table, spec.tun
            )
        } else {
            format!(
                "table {} leads to a blackhole until {} is there",
                spec.table, spec.tun
            )
        },
    ])
}

/// Removes the guard of a gateway and its TUN.
#[napi(ts_return_type = "Promise<NativeGuardReply>")]
pub fn remove_guard(owner: String, interface: String) -> AsyncTask<Job<NativeGuardReply>> {
    job(move || match try_remove(&owner, &interface) {
        Ok(done) => NativeGuardReply { error: None, done },
        Err(error) => NativeGuardReply {
            error: Some(error),
            done: Vec::new(),
        },
    })
}

fn try_remove(owner: &str, interface: &str) -> Result<Vec<String>, NativeError> {
    let removed = host::Guard::remove(owner)?;
    host::reach::remove(owner)?;
    let mut done = Vec::new();
    if removed.nft_table {
        done.push(format!("nftables table inet ipsec-node-{owner} removed"));
    }
    if removed.rules > 0 {
        done.push(format!("{} routing rules removed", removed.rules));
    }
    if removed.routes > 0 {
        done.push(format!("{} routes removed", removed.routes));
    }
    // An interface without a guard of this owner is somebody else's.
    if !done.is_empty() && host::link::exists(interface)? {
        host::link::delete(interface)?;
        done.push(format!("interface {interface} removed"));
    }
    Ok(done)
}

/// Names of gateways whose guard is there.
#[napi]
pub fn guard_owners() -> Vec<String> {
    host::Guard::owners().unwrap_or_default()
}

fn host_reply(result: Result<(), host::Error>) -> NativeReply {
    NativeReply {
        error: result.err().map(NativeError::from),
    }
}

/// Makes a veth pair whose far end is in the network namespace of a process.
#[napi]
pub fn create_veth(name: String, peer: String, peer_pid: u32) -> NativeReply {
    host_reply(host::link::create_veth(&name, &peer, Some(peer_pid)))
}

/// Sets a link up with an MTU.
#[napi]
pub fn set_link_up(name: String, mtu: u32) -> NativeReply {
    host_reply(host::link::set_mtu(&name, mtu).and_then(|()| host::link::set_up(&name)))
}

/// Adds an address.
#[napi]
pub fn add_address(link: String, ip: String, prefix_len: u32) -> NativeReply {
    let added = address(&ip).and_then(|ip| {
        Ok(host::address::add(
            &link,
            ip,
            u8::try_from(prefix_len).unwrap_or(u8::MAX),
        )?)
    });
    NativeReply { error: added.err() }
}

/// Adds a route by a gateway.
#[napi]
pub fn add_route(destination: String, prefix_len: u32, via: String) -> NativeReply {
    let added = address(&destination).and_then(|destination| {
        let mut route =
            host::route::Route::to(destination, u8::try_from(prefix_len).unwrap_or(u8::MAX));
        route.via = Some(address(&via)?);
        Ok(host::route::add(&route)?)
    });
    NativeReply { error: added.err() }
}

/// Frames of one interface, link header included.
#[napi]
pub struct NativePacketSocket {
    socket: PacketSocket,
    buffer: Vec<u8>,
}

#[napi]
impl NativePacketSocket {
    #[napi(constructor)]
    pub fn new(interface: String) -> napi::Result<Self> {
        let socket = PacketSocket::open(&interface)
            .map_err(|error| napi::Error::from_reason(error.to_string()))?;
        Ok(Self {
            socket,
            buffer: vec![0; 1 << 17],
        })
    }

    /// Frames that are there, at most `count`, waiting at most `timeout_ms` for the first.
    #[napi]
    pub fn receive(&mut self, count: u32, timeout_ms: u32) -> napi::Result<Vec<Uint8Array>> {
        let mut frames = Vec::new();
        let mut timeout = Duration::from_millis(u64::from(timeout_ms));
        while frames.len() < count as usize {
            match self.socket.receive(&mut self.buffer, timeout) {
                Ok(Some(len)) => frames.push(self.buffer[..len].to_vec().into()),
                Ok(None) => break,
                Err(error) => return Err(napi::Error::from_reason(error.to_string())),
            }
            timeout = Duration::ZERO;
        }
        Ok(frames)
    }

    /// Puts a frame on the wire.
    #[napi]
    pub fn send(&self, frame: Uint8Array) -> napi::Result<()> {
        self.socket
            .send(&frame)
            .map_err(|error| napi::Error::from_reason(error.to_string()))
    }
}

/// One thing that was looked at on the host.
#[napi(object)]
pub struct NativeFinding {
    pub what: String,
    /// ok, warning or fault.
    pub state: String,
    pub found: String,
    pub remedy: String,
}

/// What only system calls tell: each is tried the way a gateway does, and undone.
#[napi(ts_return_type = "Promise<Array<NativeFinding>>")]
pub fn probe_host() -> AsyncTask<Job<Vec<NativeFinding>>> {
    job(|| {
        let mut findings = vec![probe_nftables()];
        findings.extend(probe_udp());
        findings
    })
}

fn finding(what: &str, state: &str, found: impl ToString, remedy: &str) -> NativeFinding {
    NativeFinding {
        what: what.to_owned(),
        state: state.to_owned(),
        found: found.to_string(),
        remedy: remedy.to_owned(),
    }
}

fn probe_nftables() -> NativeFinding {
    let what = "nftables";
    match host::Guard::owners() {
        Ok(owners) if owners.is_empty() => {
            finding(what, "ok", "answers; no guard is installed", "")
        }
        Ok(owners) => finding(
            what,
            "ok",
            format!("answers; guards installed: {}", owners.join(", ")),
            "",
        ),
        Err(error) if error.is_permission_denied() => {
            finding(what, "fault", error, "It needs CAP_NET_ADMIN.")
        }
        Err(error) => finding(
            what,
            "fault",
            error,
            "The kernel needs nf_tables (CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET): modprobe nf_tables.",
        ),
    }
}

fn probe_udp() -> Vec<NativeFinding> {
    let opened = SocketNetwork::open(&SocketOptions {
        kind: SocketKind::Udp { port: 0 },
        address: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        mark: 0,
        gso: true,
        gro: true,
    });
    let slower = "Traffic flows without it, at a lower rate.";
    match opened {
        Ok(socket) => [
            ("UDP segmentation offload (UDP_SEGMENT)", socket.gso()),
            ("UDP receive offload (UDP_GRO)", socket.gro()),
        ]
        .into_iter()
        .map(|(what, there)| {
            if there {
                finding(what, "ok", "the kernel takes the option", "")
            } else {
                finding(what, "warning", "the kernel refuses the option", slower)
            }
        })
        .collect(),
        Err(error) => {
            vec![finding(
                "marked UDP socket",
                "fault",
                error,
                "SO_MARK needs CAP_NET_ADMIN.",
            )]
        }
    }
}
