//! Opening what a gateway needs of the host: the TUN and its settings, sockets, random seeds.

use crate::boundary::Boundary;
use crate::gateway::{GatewayError, GatewayOptions};
use crate::limits::{LISTEN_ADDRESSES_MAX, TUN_QUEUE_PACKETS};
use crate::sockets::{Carries, Socket, Sockets};
use ipsec_datapath::suite::IvKey;
use ipsec_host as host;
use ipsec_io::OpenError;
use ipsec_io::network::{SocketKind, SocketNetwork, SocketOptions};
use ipsec_io::tun::{LinuxTun, TunOptions};
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub(crate) fn open_tun(options: &GatewayOptions) -> Result<(LinuxTun, bool), GatewayError> {
    let tun = TunOptions {
        name: options.boundary.interface.clone(),
        segmentation: options.tun_segmentation,
        // Always: an interface that goes with a crash takes the routes to it along.
        persist: true,
    };
    match LinuxTun::open(&tun) {
        // A TUN that an earlier run left with other flags cannot be attached to.
        Err(OpenError::Tun { source, .. })
            if source.kind() == std::io::ErrorKind::InvalidInput
                && host::link::exists(&tun.name)? =>
        {
            host::link::delete(&tun.name)?;
            Ok(LinuxTun::open(&tun)?)
        }
        opened => Ok(opened?),
    }
}

pub(crate) fn configure_link(
    options: &GatewayOptions,
    notes: &mut Vec<String>,
) -> Result<(), GatewayError> {
    let name = options.boundary.interface.as_str();
    // Neighbours and routers there are none behind it: without a link-local address the kernel asks
    // for none. A kernel without IPv6 has no such setting.
    let _ = host::sysctl::write(&format!("net.ipv6.conf.{name}.addr_gen_mode"), "1");
    // A router advertisement out of a tunnel is nobody's router.
    let _ = host::sysctl::write(&format!("net.ipv6.conf.{name}.accept_ra"), "0");
    host::link::set_mtu(name, options.boundary.mtu)?;
    host::link::set_txqueuelen(name, TUN_QUEUE_PACKETS)?;
    host::link::set_up(name)?;
    // The reverse path of a decrypted packet is by mark, which strict filtering does not see. The
    // kernel takes the greater of `all` and the interface's own value, and treats loose as strict on
    // an interface without an IPv4 address.
    let all = host::sysctl::read("net.ipv4.conf.all.rp_filter").unwrap_or_default();
    let own = if all.trim() == "0" { "0" } else { "2" };
    if let Err(error) = host::sysctl::write(&format!("net.ipv4.conf.{name}.rp_filter"), own) {
        notes.push(format!(
            "rp_filter of {name} could not be set to {own}: {error}"
        ));
    }
    if own != "0" {
        host::address::add(name, IpAddr::V4(Ipv4Addr::new(169, 254, 73, 80)), 32)?;
    }
    if let Ok((v4, v6)) = host::sysctl::ip_forward()
        && !v4
        && !v6
    {
        notes.push(
            "forwarding is off (net.ipv4.ip_forward, net.ipv6.conf.all.forwarding): only this \
             host's own traffic is carried"
                .to_owned(),
        );
    }
    Ok(())
}

/// Opens the sockets of each address: UDP encapsulation, IKE and raw ESP as asked. IKE needs both UDP
/// ports (RFC 7296 section 2.23). Where all addresses of a family are asked for, those of it that are
/// named too are covered.
pub(crate) fn open_sockets(
    options: &GatewayOptions,
) -> Result<Sockets<SocketNetwork>, GatewayError> {
    let mut sockets = Sockets::default();
    let mark = Boundary::own_mark(&options.boundary.owner);
    let named: BTreeSet<IpAddr> = options.listen.iter().copied().collect();
    let all_of = |is_v6: bool| {
        named
            .iter()
            .any(|address| address.is_unspecified() && address.is_ipv6() == is_v6)
    };
    let addresses: Vec<IpAddr> = named
        .iter()
        .copied()
        .filter(|address| address.is_unspecified() || !all_of(address.is_ipv6()))
        .collect();
    if addresses.len() > LISTEN_ADDRESSES_MAX {
        return Err(GatewayError::TooManyAddresses(addresses.len()));
    }
    let mut wanted = Vec::new();
    if let Some(port) = options.ike_port {
        wanted.push((Carries::Ike, SocketKind::Udp { port }, port));
    }
    if options.udp || options.ike_port.is_some() {
        let port = options.port;
        wanted.push((Carries::UdpEncapsulation, SocketKind::Udp { port }, port));
    }
    if options.esp {
        wanted.push((Carries::Esp, SocketKind::Esp, 0));
    }
    for address in addresses {
        for (carries, kind, port) in &wanted {
            let bulk = *carries != Carries::Ike;
            let queue = SocketNetwork::open(&SocketOptions {
                kind: *kind,
                address,
                mark,
                gso: bulk && options.udp_gso,
                gro: bulk && options.udp_gro,
            })?;
            sockets.push(Socket {
                queue,
                carries: *carries,
                bound: SocketAddr::new(address, *port),
            });
        }
    }
    Ok(sockets)
}

pub(crate) fn note_offloads(
    mut notes: Vec<String>,
    options: &GatewayOptions,
    tun_segmentation: bool,
    udp: Option<&SocketNetwork>,
) -> Vec<String> {
    if options.tun_segmentation && !tun_segmentation {
        notes.push("the kernel refused segmentation offload on the TUN: slower".to_owned());
    }
    if let Some(udp) = udp {
        if options.udp_gso && !udp.gso() {
            notes.push(
                "the kernel has no UDP segmentation offload (UDP_SEGMENT): slower".to_owned(),
            );
        }
        if options.udp_gro && !udp.gro() {
            notes.push("the kernel has no UDP_GRO: slower".to_owned());
        }
    }
    notes
}

fn random() -> Result<[u8; 32], GatewayError> {
    let mut bytes = [0; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| std::io::Error::other("the system has no random numbers"))?;
    Ok(bytes)
}

/// The key of one outbound SA's unpredictable IVs.
///
/// # Errors
/// The system has no random numbers to give.
pub fn iv_key() -> Result<IvKey, GatewayError> {
    random().map(IvKey::from_random)
}

pub(crate) fn seeds() -> Result<[u64; 4], GatewayError> {
    let bytes = random()?;
    let mut seeds = [0; 4];
    for (seed, bytes) in seeds.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *seed = u64::from_ne_bytes(*bytes);
    }
    Ok(seeds)
}
