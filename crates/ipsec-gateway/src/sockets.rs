//! The sockets of one gateway by family and encapsulation.

use ipsec_datapath::tunnel_header::{Encapsulation, TunnelHeader};
use ipsec_io::network::{NetworkQueue, Target};
use ipsec_wire::IpPacket;
use std::net::SocketAddr;

/// Up to four sockets: UDP and raw ESP, IPv4 and IPv6.
#[derive(Clone)]
pub struct Sockets<N> {
    /// UDP over IPv4.
    pub udp_v4: Option<N>,
    /// UDP over IPv6.
    pub udp_v6: Option<N>,
    /// ESP over IPv4.
    pub esp_v4: Option<N>,
    /// ESP over IPv6.
    pub esp_v6: Option<N>,
}

impl<N> Default for Sockets<N> {
    fn default() -> Self {
        Self {
            udp_v4: None,
            udp_v6: None,
            esp_v4: None,
            esp_v6: None,
        }
    }
}

impl<N: NetworkQueue> Sockets<N> {
    /// The socket that a tunnel's packets leave by.
    pub fn for_tunnel(&mut self, tunnel: &TunnelHeader) -> Option<&mut N> {
        let is_v6 = tunnel.remote.is_ipv6();
        match (tunnel.encapsulation, is_v6) {
            (Encapsulation::Udp { .. }, false) => self.udp_v4.as_mut(),
            (Encapsulation::Udp { .. }, true) => self.udp_v6.as_mut(),
            (Encapsulation::Esp, false) => self.esp_v4.as_mut(),
            (Encapsulation::Esp, true) => self.esp_v6.as_mut(),
        }
    }

    /// All that there are, each with whether it is UDP.
    pub fn each_mut(&mut self) -> [(Option<&mut N>, bool); 4] {
        [
            (self.udp_v4.as_mut(), true),
            (self.udp_v6.as_mut(), true),
            (self.esp_v4.as_mut(), false),
            (self.esp_v6.as_mut(), false),
        ]
    }

    /// All that there are.
    pub fn iter(&self) -> impl Iterator<Item = &N> {
        [&self.udp_v4, &self.udp_v6, &self.esp_v4, &self.esp_v6]
            .into_iter()
            .flatten()
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
