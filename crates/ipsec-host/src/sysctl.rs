//! Settings of the kernel in /proc/sys, and the ones that decide whether the boundary works.

use std::path::PathBuf;

use crate::error::Error;
use crate::{address, link};

/// Reads a setting by its dotted or slashed name below /proc/sys, without the line end.
pub fn read(name: &str) -> Result<String, Error> {
    let path = path_of(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(source) => Err(Error::File { path, source }),
    }
}

/// Writes a setting by its slashed name below /proc/sys.
pub fn write(name: &str, value: &str) -> Result<(), Error> {
    let path = path_of(name);
    std::fs::write(&path, value).map_err(|source| Error::File { path, source })
}

/// A name with a slash is a path; one without has dots for slashes. (An interface name may hold a
/// dot, so names that hold one must be given with slashes.)
fn path_of(name: &str) -> PathBuf {
    let path = if name.contains('/') {
        name.to_owned()
    } else {
        name.replace('.', "/")
    };
    PathBuf::from("/proc/sys").join(path)
}

fn read_number(name: &str) -> Result<u32, Error> {
    read(name)?.parse().map_err(|_| Error::NotANumber {
        path: path_of(name),
    })
}

/// How the kernel checks the source of what arrives on an interface (RFC 3704).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversePath {
    /// Not at all.
    Off,
    /// The source must be reachable by this very interface. Drops what comes out of the TUN,
    /// because the way back is found without the mark.
    Strict,
    /// The source must be reachable by some interface, if this one has an IPv4 address.
    Loose,
}

/// The reverse path check of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReversePathReport {
    /// The interface.
    pub interface: String,
    /// The setting of `all`.
    pub all: u32,
    /// The setting of the interface itself.
    pub own: u32,
    /// What holds: the kernel takes the larger of the two.
    pub effective: ReversePath,
    /// Whether the interface has an IPv4 address. Without one the kernel has no second look: loose
    /// drops as strict does.
    pub has_address: bool,
}

impl ReversePathReport {
    /// Whether the check drops what arrives on a TUN from behind the peer, whose way back is by
    /// another interface when it is asked for without the mark.
    pub fn drops_decrypted(&self) -> bool {
        match self.effective {
            ReversePath::Off => false,
            ReversePath::Strict => true,
            ReversePath::Loose => !self.has_address,
        }
    }
}

/// Reports the IPv4 reverse path check of each interface given.
pub fn reverse_path_report(interfaces: &[&str]) -> Result<Vec<ReversePathReport>, Error> {
    let all = read_number("net/ipv4/conf/all/rp_filter")?;
    interfaces
        .iter()
        .map(|interface| {
            link::check_name(interface)?;
            let own = read_number(&format!("net/ipv4/conf/{interface}/rp_filter"))?;
            Ok(ReversePathReport {
                interface: (*interface).to_owned(),
                all,
                own,
                effective: effective_reverse_path(all, own),
                has_address: address::list(interface)?.iter().any(|(ip, _)| ip.is_ipv4()),
            })
        })
        .collect()
}

fn effective_reverse_path(all: u32, own: u32) -> ReversePath {
    match all.max(own) {
        0 => ReversePath::Off,
        1 => ReversePath::Strict,
        _ => ReversePath::Loose,
    }
}

/// Makes the reverse path check of an interface loose, whatever `all` says. A TUN needs an IPv4
/// address as well: see [`ReversePathReport::has_address`].
pub fn set_reverse_path_loose(interface: &str) -> Result<(), Error> {
    link::check_name(interface)?;
    write(&format!("net/ipv4/conf/{interface}/rp_filter"), "2")
}

/// Whether the kernel forwards IPv4 and IPv6 packets, in that order.
pub fn ip_forward() -> Result<(bool, bool), Error> {
    let v4 = read_number("net/ipv4/ip_forward")? != 0;
    let v6 = match read_number("net/ipv6/conf/all/forwarding") {
        Ok(value) => value != 0,
        Err(Error::File { .. }) => false,
        Err(error) => return Err(error),
    };
    Ok((v4, v6))
}

/// Makes the kernel forward packets, or not, both families (IPv6 where the kernel has it).
pub fn set_ip_forward(on: bool) -> Result<(), Error> {
    let value = if on { "1" } else { "0" };
    write("net/ipv4/ip_forward", value)?;
    if crate::netlink::has_ipv6() {
        write("net/ipv6/conf/all/forwarding", value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_setting_holds() {
        assert_eq!(effective_reverse_path(0, 0), ReversePath::Off);
        assert_eq!(effective_reverse_path(1, 0), ReversePath::Strict);
        assert_eq!(effective_reverse_path(1, 2), ReversePath::Loose);
        assert_eq!(effective_reverse_path(2, 1), ReversePath::Loose);
    }

    #[test]
    fn names_become_paths() {
        assert_eq!(
            path_of("net.ipv4.ip_forward"),
            PathBuf::from("/proc/sys/net/ipv4/ip_forward")
        );
        let dotted = path_of("net/ipv4/conf/eth0.7/rp_filter");
        assert_eq!(
            dotted,
            PathBuf::from("/proc/sys/net/ipv4/conf/eth0.7/rp_filter")
        );
    }
}
