//! Every unsafe line of this crate: system calls and layouts that no safe wrapper offers, one safe
//! function each.
#![allow(unsafe_code)]

use socket2::{SockAddr, Socket};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

/// Messages of one sendmmsg.
const MESSAGE_COUNT_MAX: usize = 64;

/// sendmmsg of packets with one destination and one set of control messages; how many went.
///
/// JUSTIFICATION: nix's sendmmsg takes typed control messages and encodes them for each message;
/// these are the same prepared bytes for all of a run.
pub(crate) fn send_many(
    socket: &Socket,
    address: &SockAddr,
    packets: &[IoSlice<'_>],
    control: &[u8],
) -> io::Result<usize> {
    // SAFETY: all-zero is a valid mmsghdr: null pointers with zero lengths.
    let mut messages: [libc::mmsghdr; MESSAGE_COUNT_MAX] = unsafe { std::mem::zeroed() };
    let count = packets.len().min(MESSAGE_COUNT_MAX);
    for (message, packet) in messages.iter_mut().zip(packets) {
        let header = &mut message.msg_hdr;
        header.msg_name = address.as_ptr().cast_mut().cast();
        header.msg_namelen = address.len();
        // std promises that IoSlice has the layout of iovec on Unix.
        header.msg_iov = std::ptr::from_ref(packet).cast_mut().cast();
        header.msg_iovlen = 1;
        if !control.is_empty() {
            header.msg_control = control.as_ptr().cast_mut().cast();
            header.msg_controllen = control.len() as _;
        }
    }
    // SAFETY: each of the first `count` headers points to an address, one iovec and control bytes
    // that live through the call, with their true lengths; the kernel only reads them, and writes
    // msg_len in `messages`.
    let sent =
        unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count as u32, 0) };
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(sent as usize)
    }
}

/// Takes the descriptor out of a device.
///
/// JUSTIFICATION: tun-rs gives its descriptor as a number only.
pub(crate) fn owned(device: impl IntoRawFd) -> OwnedFd {
    // SAFETY: into_raw_fd gave up ownership of an open descriptor, which nothing else closes.
    unsafe { OwnedFd::from_raw_fd(device.into_raw_fd()) }
}

/// A buffer as recvmsg wants it.
///
/// JUSTIFICATION: socket2 receives into uninitialized memory only.
pub(crate) fn as_uninit(bytes: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    // SAFETY: MaybeUninit<u8> has the layout of u8, and recvmsg writes initialized bytes only.
    unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len()) }
}

/// sockaddr_ll of an interface, all protocols.
///
/// JUSTIFICATION: nix builds a LinkAddr from a raw one only.
pub(crate) fn link_address(index: u32) -> Option<nix::sys::socket::LinkAddr> {
    use nix::sys::socket::SockaddrLike;
    // SAFETY: all-zero is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index as i32;
    // SAFETY: the pointer is to a whole sockaddr_ll, and the length is its size.
    unsafe {
        nix::sys::socket::LinkAddr::from_raw(
            std::ptr::from_ref(&address).cast(),
            Some(size_of::<libc::sockaddr_ll>() as u32),
        )
    }
}

/// IP_MTU_DISCOVER of an IPv4 socket.
///
/// JUSTIFICATION: neither nix nor socket2 has it.
pub(crate) fn set_mtu_discover(socket: &Socket, mode: libc::c_int) -> io::Result<()> {
    // SAFETY: the option value is one int that lives through the call, with its size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            std::ptr::from_ref(&mode).cast(),
            size_of::<libc::c_int>() as u32,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
