//! UDP and raw sockets of Linux.

use super::{NetworkQueue, Received, Sent, Target};
use crate::control_message::{self, CONTROL_LEN, ControlMessages};
use crate::{OpenError, sys};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, MaybeUninitSlice, MsgHdr, MsgHdrMut, Protocol, SockAddr, Socket, Type};
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

/// Receive and send buffers: at 10 Gbit/s 16 MiB are 13 ms, what a busy processor may keep us waiting.
const SOCKET_BUFFER_LEN: usize = 16 << 20;
/// UDP_MAX_SEGMENTS of kernels before 6.9; later ones take twice as many.
const GSO_SEGMENTS_MAX: usize = 64;
/// Largest UDP payload over IPv4.
const UDP_PAYLOAD_LEN_MAX: usize = 65_507;
/// How long a send waits for room before its packets are given up.
const SEND_WAIT: Duration = Duration::from_millis(50);
/// Packets that are sent one by one in a batch of this many.
const BATCH_COUNT: usize = 64;

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    /// UDP, with our port.
    Udp {
        /// Local port.
        port: u16,
    },
    /// Raw ESP, IP protocol 50.
    Esp,
}

/// How to open a socket.
#[derive(Clone, Copy, Debug)]
pub struct SocketOptions {
    /// UDP or raw.
    pub kind: SocketKind,
    /// Address to bind; unspecified for all of its family.
    pub address: IpAddr,
    /// Mark of all that we send, by which routing and the guard know it.
    pub mark: u32,
    /// Ask for segmentation offload on sending.
    pub gso: bool,
    /// Ask for merging on receiving.
    pub gro: bool,
}

/// A socket; clones share it.
#[derive(Clone)]
pub struct SocketNetwork {
    socket: Arc<Socket>,
    is_v6: bool,
    raw: bool,
    gso: bool,
    gro: bool,
    dont_fragment: Option<bool>,
}

impl SocketNetwork {
    /// Opens and binds.
    pub fn open(options: &SocketOptions) -> Result<Self, OpenError> {
        Self::try_open(options).map_err(|source| {
            let what = match options.kind {
                SocketKind::Udp { port } => {
                    format!("UDP socket on {}", SocketAddr::new(options.address, port))
                }
                SocketKind::Esp => format!("raw ESP socket on {}", options.address),
            };
            OpenError::Socket { what, source }
        })
    }

    fn try_open(options: &SocketOptions) -> io::Result<Self> {
        let is_v6 = options.address.is_ipv6();
        let domain = if is_v6 { Domain::IPV6 } else { Domain::IPV4 };
        let (kind, protocol, port, raw) = match options.kind {
            SocketKind::Udp { port } => (Type::DGRAM, Protocol::UDP, port, false),
            SocketKind::Esp => (Type::RAW, Protocol::from(libc::IPPROTO_ESP), 0, true),
        };
        let socket = Socket::new(domain, kind, Some(protocol))?;
        socket.set_nonblocking(true)?;
        socket.set_mark(options.mark)?;
        // Forced where we may; where not, what net.core allows has to do.
        if setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER_LEN).is_err() {
            socket.set_recv_buffer_size(SOCKET_BUFFER_LEN)?;
        }
        if setsockopt(&socket, sockopt::SndBufForce, &SOCKET_BUFFER_LEN).is_err() {
            socket.set_send_buffer_size(SOCKET_BUFFER_LEN)?;
        }
        if is_v6 {
            if !raw {
                socket.set_only_v6(true)?;
            }
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            socket.set_recv_tclass_v6(true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
            socket.set_recv_tos_v4(true)?;
        }
        // Probed: a kernel without these options says so here, a device without them at a send.
        let gro = !raw && options.gro && setsockopt(&socket, sockopt::UdpGroSegment, &true).is_ok();
        let gso = !raw && options.gso && setsockopt(&socket, sockopt::UdpGsoSegment, &0).is_ok();
        socket.bind(&SocketAddr::new(options.address, port).into())?;
        Ok(Self {
            socket: Arc::new(socket),
            is_v6,
            raw,
            gso,
            gro,
            dont_fragment: None,
        })
    }

    /// Whether segmentation offload is in use.
    pub fn gso(&self) -> bool {
        self.gso
    }

    /// Whether received datagrams may come merged.
    pub fn gro(&self) -> bool {
        self.gro
    }

    /// Whether it is for IPv6.
    pub fn is_v6(&self) -> bool {
        self.is_v6
    }

    fn control(&self, target: &Target, segment_len: Option<u16>) -> ControlMessages {
        let mut control = ControlMessages::default();
        match target.local {
            // struct in_pktinfo: interface index, source address, and one field for receiving.
            IpAddr::V4(local) if !local.is_unspecified() => {
                let mut info = [0; 12];
                info[4..8].copy_from_slice(&local.octets());
                control.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            // struct in6_pktinfo: source address, interface index.
            IpAddr::V6(local) if !local.is_unspecified() => {
                let mut info = [0; 20];
                info[..16].copy_from_slice(&local.octets());
                control.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
            _ => {}
        }
        if target.traffic_class != 0 {
            let class = i32::from(target.traffic_class).to_ne_bytes();
            if self.is_v6 {
                control.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &class);
            } else {
                control.push(libc::IPPROTO_IP, libc::IP_TOS, &class);
            }
        }
        if let Some(segment_len) = segment_len {
            control.push(libc::SOL_UDP, libc::UDP_SEGMENT, &segment_len.to_ne_bytes());
        }
        control
    }

    /// DF is a matter of the socket; it is changed where a run differs from the one before.
    fn set_dont_fragment(&mut self, dont_fragment: bool) {
        if self.dont_fragment == Some(dont_fragment) || self.is_v6 {
            return;
        }
        // PROBE sets DF and does not let a learned path MTU refuse the send: the tunnel's MTU is the
        // gateway's matter.
        let mode = if dont_fragment {
            libc::IP_PMTUDISC_PROBE
        } else {
            libc::IP_PMTUDISC_DONT
        };
        if sys::set_mtu_discover(&self.socket, mode).is_ok() {
            self.dont_fragment = Some(dont_fragment);
        }
    }

    /// Repeats a send that was interrupted, or that found no room and then got it in time.
    fn with_room<T>(&self, mut send: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let mut waited = false;
        loop {
            match send() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error)
                    if !waited
                        && (error.kind() == io::ErrorKind::WouldBlock
                            || error.raw_os_error() == Some(libc::ENOBUFS)) =>
                {
                    crate::wait::writable(self.socket.as_fd(), SEND_WAIT)?;
                    waited = true;
                }
                result => return result,
            }
        }
    }

    fn send_merged(
        &self,
        address: &SockAddr,
        bytes: &[u8],
        control: &ControlMessages,
    ) -> io::Result<()> {
        let buffers = [IoSlice::new(bytes)];
        let message = MsgHdr::new()
            .with_addr(address)
            .with_buffers(&buffers)
            .with_control(control.bytes());
        self.with_room(|| self.socket.sendmsg(&message, 0).map(drop))
    }

    fn send_each(
        &self,
        (target, address): (&Target, &SockAddr),
        bytes: &[u8],
        segment_len: usize,
        sent: &mut Sent,
    ) {
        let control = self.control(target, None);
        for batch in bytes.chunks(BATCH_COUNT * segment_len) {
            let mut packets = [IoSlice::new(&[]); BATCH_COUNT];
            let count = batch.len().div_ceil(segment_len);
            for (slice, packet) in packets.iter_mut().zip(batch.chunks(segment_len)) {
                *slice = IoSlice::new(packet);
            }
            let mut rest = &packets[..count];
            while !rest.is_empty() {
                sent.calls += 1;
                let send = || sys::send_many(&self.socket, address, rest, control.bytes());
                match self.with_room(send) {
                    Ok(went) => rest = &rest[went..],
                    // The first of the rest was refused; the others may still go.
                    Err(_) => {
                        sent.failed += 1;
                        rest = &rest[1..];
                    }
                }
            }
        }
    }
}

impl NetworkQueue for SocketNetwork {
    fn send(&mut self, target: &Target, bytes: &[u8], segment_len: usize) -> Sent {
        let mut sent = Sent::default();
        self.set_dont_fragment(target.dont_fragment);
        let address = SockAddr::from(target.remote);
        let chunk = (UDP_PAYLOAD_LEN_MAX / segment_len).clamp(1, GSO_SEGMENTS_MAX) * segment_len;
        for part in bytes.chunks(chunk) {
            // A datagram that routers may fragment needs an ID of its own, so it goes by itself.
            if !self.gso || part.len() <= segment_len || !target.dont_fragment {
                self.send_each((target, &address), part, segment_len, &mut sent);
                continue;
            }
            let control = self.control(target, Some(segment_len as u16));
            sent.calls += 1;
            match self.send_merged(&address, part, &control) {
                Ok(()) => {}
                // EIO: a device or an XFRM policy in the way; EINVAL: a kernel that does not know it.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL)) => {
                    self.gso = false;
                    sent.gso_turned_off = true;
                    self.send_each((target, &address), part, segment_len, &mut sent);
                }
                Err(_) => sent.failed += part.len().div_ceil(segment_len),
            }
        }
        sent
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        let mut control = [0u8; CONTROL_LEN];
        // Its length is the room that the kernel has for the sender's: the larger family's.
        let mut name = SockAddr::from(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
        let (mut len, control_len, truncated) = {
            let mut buffers = [MaybeUninitSlice::new(sys::as_uninit(buffer))];
            let mut message = MsgHdrMut::new()
                .with_addr(&mut name)
                .with_buffers(&mut buffers)
                .with_control(sys::as_uninit(&mut control));
            match self.socket.recvmsg(&mut message, 0) {
                Ok(len) => (len, message.control_len(), message.flags().is_truncated()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        };
        let mut received = Received {
            start: 0,
            len,
            segment_len: len.max(1),
            remote: name
                .as_socket()
                .unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
            local: None,
            traffic_class: 0,
            truncated,
        };
        for (level, kind, data) in control_message::iter(&control[..control_len]) {
            let word = data
                .first_chunk::<4>()
                .map(|word| i32::from_ne_bytes(*word));
            match (level, kind) {
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    received.segment_len = word.unwrap_or(0).max(1) as usize;
                }
                (libc::IPPROTO_IP, libc::IP_TOS) => {
                    received.traffic_class = data.first().copied().unwrap_or(0);
                }
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    received.traffic_class = word.unwrap_or(0) as u8;
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    // The header's address, behind interface index and routing's choice.
                    received.local = data
                        .get(8..)
                        .and_then(<[u8]>::first_chunk::<4>)
                        .map(|address| IpAddr::from(*address));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    received.local = data
                        .first_chunk::<16>()
                        .map(|address| IpAddr::from(*address));
                }
                _ => {}
            }
        }
        if self.raw && !self.is_v6 && len > 0 {
            // A raw IPv4 socket delivers the IP header too.
            received.start = (usize::from(buffer[0] & 0xf) * 4).min(len);
            len -= received.start;
            received.len = len;
            received.segment_len = len.max(1);
        }
        Ok(Some(received))
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
