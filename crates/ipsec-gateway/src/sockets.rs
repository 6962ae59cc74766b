//! The sockets of one gateway: for each address it listens on, by what they carry.

use ipsec_datapath::tunnel_header::{Encapsulation, TunnelHeader};
use ipsec_io::network::{NetworkQueue, Target};
use ipsec_wire::IpPacket;
use std::net::{IpAddr, SocketAddr};

/// What a socket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// IKE alone, without a marker (RFC 7296 section 2: UDP 500).
    Ike,
    /// ESP in UDP, IKE behind the Non-ESP Marker, keepalives (RFC 3948: UDP 4500).
    UdpEncapsulation,
    /// ESP, IP protocol 50.
    Esp,
}

/// One socket.
#[derive(Clone)]
pub struct Socket<N> {
    /// Its queue.
    pub queue: N,
    /// What it carries.
    pub carries: Carries,
    /// Where it is bound; the port is 0 for raw ESP.
    pub bound: SocketAddr,
}

/// All sockets; those of IKE are served first.
#[derive(Clone)]
pub struct Sockets<N>(Vec<Socket<N>>);

impl<N> Default for Sockets<N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<N: NetworkQueue> Sockets<N> {
    /// Adds one.
    pub fn push(&mut self, socket: Socket<N>) {
        self.0.push(socket);
        self.0
            .sort_by_key(|socket| u8::from(socket.carries != Carries::Ike));
    }

    /// The socket that a tunnel's packets leave by.
    pub fn for_tunnel(&mut self, tunnel: &TunnelHeader) -> Option<&mut N> {
        self.find(carrier(tunnel), tunnel.local)
    }

    /// Whether there is one.
    pub fn serves(&self, carries: Carries, local: IpAddr) -> bool {
        self.position(carries, local).is_some()
    }

    /// The socket for datagrams from `local`: bound to it, else to all addresses of its family, else
    /// any of the family, for a socket may send from each address of the host.
    pub fn find(&mut self, carries: Carries, local: IpAddr) -> Option<&mut N> {
        let position = self.position(carries, local)?;
        Some(&mut self.0[position].queue)
    }

    fn position(&self, carries: Carries, local: IpAddr) -> Option<usize> {
        let rank = |socket: &Socket<N>| match socket.bound.ip() {
            ip if ip == local => 0,
            ip if ip.is_unspecified() => 1,
            _ => 2,
        };
        (0..self.0.len())
            .filter(|index| {
                let socket = &self.0[*index];
                socket.carries == carries && socket.bound.is_ipv6() == local.is_ipv6()
            })
            .min_by_key(|index| rank(&self.0[*index]))
    }

    /// All that there are.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Socket<N>> {
        self.0.iter_mut()
    }

    /// All that there are.
    pub fn iter(&self) -> impl Iterator<Item = &Socket<N>> {
        self.0.iter()
    }
}

/// What carries a tunnel's packets.
pub(crate) fn carrier(tunnel: &TunnelHeader) -> Carries {
    match tunnel.encapsulation {
        Encapsulation::Udp { .. } => Carries::UdpEncapsulation,
        Encapsulation::Esp => Carries::Esp,
    }
}

/// Where the packets of a run go: the tunnel's addresses, with what the outer header takes from the
/// inner one (RFC 4301 section 5.1.2.1, RFC 6040 section 4.1).
pub(crate) fn target_of(tunnel: &TunnelHeader, inner: &IpPacket<'_>) -> Target {
    let port = match tunnel.encapsulation {
        Encapsulation::Udp { remote_port, .. } => remote_port,
        Encapsulation::Esp => 0,
    };
    Target {
        remote: SocketAddr::new(tunnel.remote, port),
        local: tunnel.local,
        traffic_class: inner.traffic_class(),
        dont_fragment: tunnel.df_for(inner),
    }
}
