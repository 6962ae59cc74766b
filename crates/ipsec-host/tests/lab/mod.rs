//! A laboratory in network namespaces that vanishes with the test's process.
//!
//! ```text
//!  lan (10.1.0.2, fd01::2) --lan0-- gateway --wan0-- wan (192.0.2.2, 2001:db8::2)
//!        10.1.0.0/24, fd01::/64      tun0       192.0.2.0/24, 2001:db8::/64, default via wan
//! ```
#![allow(dead_code, unreachable_pub, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ipsec_host::{Action, AddressRange, BoundarySpec, PolicyEntry};

const INNER: &str = "IPSEC_HOST_LABORATORY";

/// Runs `body` in namespaces of its own: the test starts itself again inside them.
pub fn in_laboratory(name: &str, body: fn()) {
    if std::env::var_os(INNER).is_some() {
        body();
        return;
    }
    let probe = Command::new("unshare")
        .args(["--net", "--mount", "true"])
        .output();
    if !probe.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "unshare --net is refused"
        );
        eprintln!("skipped: {name} needs root and network namespaces (unshare --net)");
        return;
    }
    let script = "mount -t tmpfs none /run && mount -t sysfs none /sys && mkdir -p /run/netns && exec \"$0\" \"$@\"";
    let output = Command::new("unshare")
        .args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .args(["sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INNER, "1")
        .output()
        .unwrap();
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{}\n{}", text[0], text[1]);
    assert!(
        text[0].contains("1 passed"),
        "the test did not run inside: {}",
        text[0]
    );
    // The first line stands behind the name of the test.
    for line in text[0].lines() {
        if let Some(start) = line.find("measured:").or(line.find("skipped:")) {
            println!("{}", &line[start..]);
        }
    }
}

/// Runs a command line and returns what it printed; panics when it fails.
pub fn sh(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command line that may fail.
pub fn try_sh(line: &str) -> bool {
    Command::new("sh")
        .args(["-c", line])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

fn script() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/lab.py").to_owned()
}

/// A process of `lab.py`, and what it has printed.
pub struct Tool {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Tool {
    pub fn start(netns: &str, arguments: &str) -> Tool {
        let prefix = if netns.is_empty() {
            String::new()
        } else {
            format!("ip netns exec {netns} ")
        };
        let mut child = Command::new("sh")
            .args([
                "-c",
                &format!("exec {prefix}python3 {} {arguments}", script()),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (stdout, sink) = (child.stdout.take().unwrap(), lines.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                sink.lock().unwrap().push(line);
            }
        });
        let stdin = child.stdin.take();
        let tool = Tool {
            child,
            stdin,
            lines,
        };
        tool.wait(|lines| lines.iter().any(|line| line == "ready"));
        tool.clear();
        tool
    }

    pub fn wait(&self, done: impl Fn(&[String]) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !done(&self.lines.lock().unwrap()) {
            assert!(
                Instant::now() < deadline,
                "a tool of the laboratory does not answer"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn clear(&self) {
        self.lines.lock().unwrap().clear();
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The packets seen, without those that no test sends (neighbour discovery, MLD).
    pub fn packets(&self) -> Vec<Vec<u8>> {
        let lines = self.lines();
        lines
            .iter()
            .filter_map(|line| unhex(line))
            .filter(|packet| !is_noise(packet))
            .collect()
    }

    pub fn write(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(line.as_bytes()).unwrap();
        stdin.write_all(b"\n").unwrap();
        stdin.flush().unwrap();
    }

    /// Sends packets through a `send` tool and waits until each is sent or refused.
    pub fn send(&mut self, packets: &[Vec<u8>]) {
        self.clear();
        for packet in packets {
            self.write(&hex(packet));
        }
        self.wait(|lines| lines.len() >= packets.len());
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_noise(packet: &[u8]) -> bool {
    match packet[0] >> 4 {
        6 if packet.len() > 48 => {
            let first = if packet[6] == 0 {
                packet[48]
            } else {
                packet[40]
            };
            (packet[6] == 58 || packet[6] == 0) && (130..=143).contains(&first)
        }
        6 => packet[6] == 58 && packet.len() > 40 && (130..=143).contains(&packet[40]),
        _ => false,
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len() / 2)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok())
        .collect()
}

/// Waits a moment for packets to arrive wherever they go.
pub fn settle() {
    std::thread::sleep(Duration::from_millis(150));
}

pub fn python(netns: &str, arguments: &str) -> String {
    let prefix = if netns.is_empty() {
        String::new()
    } else {
        format!("ip netns exec {netns} ")
    };
    sh(&format!("{prefix}python3 {} {arguments}", script()))
}

/// Builds the three namespaces; the gateway is the current one. No TUN yet.
pub fn build() {
    sh("set -e
        ip link set lo up
        for ns in lan wan; do
          ip netns add $ns
          ip link add ${ns}0 type veth peer name eth0 netns $ns
          ip -n $ns link set lo up
          ip netns exec $ns sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.eth0.accept_dad=0 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0
          ip -n $ns link set eth0 up
        done
        sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
        for i in lan0 wan0; do sysctl -qw net.ipv4.conf.$i.rp_filter=0 net.ipv6.conf.$i.accept_dad=0; ip link set $i up; done
        ip addr add 10.1.0.1/24 dev lan0; ip addr add fd01::1/64 dev lan0 nodad
        ip addr add 192.0.2.1/24 dev wan0; ip addr add 2001:db8::1/64 dev wan0 nodad
        ip -n lan addr add 10.1.0.2/24 dev eth0; ip -n lan addr add fd01::2/64 dev eth0 nodad
        ip -n wan addr add 192.0.2.2/24 dev eth0; ip -n wan addr add 2001:db8::2/64 dev eth0 nodad
        ip -n lan route add default via 10.1.0.1; ip -n lan -6 route add default via fd01::1
        ip -n wan route add default via 192.0.2.1; ip -n wan -6 route add default via 2001:db8::1
        ip route add default via 192.0.2.2; ip -6 route add default via 2001:db8::2
        ip neigh add 10.1.0.2 lladdr $(ip netns exec lan cat /sys/class/net/eth0/address) dev lan0
        ip neigh add fd01::2 lladdr $(ip netns exec lan cat /sys/class/net/eth0/address) dev lan0
        ip neigh add 192.0.2.2 lladdr $(ip netns exec wan cat /sys/class/net/eth0/address) dev wan0
        ip neigh add 2001:db8::2 lladdr $(ip netns exec wan cat /sys/class/net/eth0/address) dev wan0
        for a in 10.1.0.1 fd01::1; do ip -n lan neigh add $a lladdr $(cat /sys/class/net/lan0/address) dev eth0; done
        for a in 192.0.2.1 2001:db8::1; do ip -n wan neigh add $a lladdr $(cat /sys/class/net/wan0/address) dev eth0; done
    ");
}

/// Starts the far end of a TUN and sets the TUN up.
pub fn tun(name: &str) -> Tool {
    let tool = Tool::start("", &format!("tun {name}"));
    sh(&format!(
        "sysctl -qw net.ipv4.conf.{name}.rp_filter=0; ip link set {name} mtu 1400 up"
    ));
    tool
}

/// A range from a prefix such as `10.1.0.0/24`.
pub fn prefix(text: &str) -> AddressRange {
    let (address, len) = text.split_once('/').unwrap();
    let len: u32 = len.parse().unwrap();
    match address.parse::<IpAddr>().unwrap() {
        IpAddr::V4(address) => {
            let host = u32::MAX.checked_shr(len).unwrap_or(0);
            AddressRange {
                from: address.into(),
                to: IpAddr::V4((address.to_bits() | host).into()),
            }
        }
        IpAddr::V6(address) => {
            let host = u128::MAX.checked_shr(len).unwrap_or(0);
            AddressRange {
                from: address.into(),
                to: IpAddr::V6((address.to_bits() | host).into()),
            }
        }
    }
}

/// An entry between prefixes; an empty text is any address.
pub fn entry(name: &str, local: &str, remote: &str, action: Action) -> PolicyEntry {
    let list = |text: &str| text.split_whitespace().map(prefix).collect();
    PolicyEntry {
        local: list(local),
        remote: list(remote),
        ..PolicyEntry::any(name, action)
    }
}

/// Neighbour discovery, as the built-in entries have it.
pub fn neighbour_discovery() -> PolicyEntry {
    PolicyEntry {
        protocol: Some(58),
        // With the multicast listener messages that every IPv6 host sends.
        icmp_types: [(130, 137), (143, 143)]
            .map(|(from, to)| ipsec_host::NumberRange { from, to })
            .to_vec(),
        builtin: true,
        ..PolicyEntry::any("builtin:neighbour-discovery", Action::Bypass)
    }
}

/// The site-to-site policy of most tests: 10.1/24 and fd01::/64 to 10.2/24 and fd02::/64.
pub fn site_spec() -> BoundarySpec {
    BoundarySpec {
        protected_interfaces: vec!["lan0".into()],
        unprotected_interfaces: vec!["wan0".into()],
        entries: vec![
            neighbour_discovery(),
            entry(
                "site",
                "10.1.0.0/24 fd01::/64",
                "10.2.0.0/24 fd02::/64",
                Action::Protect,
            ),
            entry(
                "web",
                "",
                "198.51.100.0/24 2001:db8:aaaa::/48",
                Action::Bypass,
            ),
        ],
        ..BoundarySpec::new("test", "tun0", 1400)
    }
}

/// A UDP packet with its headers, `tag` in the payload.
pub fn udp_packet(source: &str, destination: &str, ports: (u16, u16), tag: &str) -> Vec<u8> {
    let mut l4 = Vec::new();
    l4.extend(ports.0.to_be_bytes());
    l4.extend(ports.1.to_be_bytes());
    l4.extend((8 + tag.len() as u16).to_be_bytes());
    l4.extend([0, 0]);
    l4.extend(tag.bytes());
    packet(
        source.parse().unwrap(),
        destination.parse().unwrap(),
        17,
        &l4,
    )
}

/// An IP packet around `l4`. UDP over IPv6 gets its checksum; the kernel does not check others.
pub fn packet(source: IpAddr, destination: IpAddr, protocol: u8, l4: &[u8]) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut bytes = vec![0x45, 0];
            bytes.extend((20 + l4.len() as u16).to_be_bytes());
            bytes.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            let sum = checksum(&bytes);
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
            bytes.extend(l4);
            bytes
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut bytes = vec![0x60, 0, 0, 0];
            bytes.extend((l4.len() as u16).to_be_bytes());
            bytes.extend([protocol, 64]);
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            let mut l4 = l4.to_vec();
            if protocol == 17 {
                let mut pseudo = bytes[8..40].to_vec();
                pseudo.extend((l4.len() as u32).to_be_bytes());
                pseudo.extend([0, 0, 0, protocol]);
                pseudo.extend(&l4);
                let sum = checksum(&pseudo);
                l4[6..8].copy_from_slice(&if sum == 0 { 0xffff } else { sum }.to_be_bytes());
            }
            bytes.extend(l4);
            bytes
        }
        _ => panic!("a packet has one family"),
    }
}

fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// How many of `packets` hold `tag`.
pub fn count_tag(packets: &[Vec<u8>], tag: &str) -> usize {
    packets
        .iter()
        .filter(|packet| packet.windows(tag.len()).any(|w| w == tag.as_bytes()))
        .count()
}

/// The value of one drop counter.
pub fn dropped(owner: &str, name: &str) -> u64 {
    let counters = ipsec_host::Guard::counters(owner).unwrap();
    counters
        .iter()
        .find(|(found, _)| found == name)
        .map(|(_, packets)| *packets)
        .unwrap()
}
