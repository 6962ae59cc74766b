//! Nothing goes around: what each barrier stops, captured outside.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod lab;

use ipsec_host::{Action, BoundarySpec, Guard, NumberRange, PolicyEntry, route};
use lab::*;

/// Protected destinations, one of each family, from the LAN and from the gateway itself.
fn protected_flows() -> Vec<(&'static str, &'static str)> {
    vec![("10.1.0.2", "10.2.0.9"), ("fd01::2", "fd02::9")]
}

struct Ends {
    outside: Tool,
    lan: Tool,
    local: Tool,
}

impl Ends {
    fn new() -> Ends {
        Ends {
            outside: Tool::start("wan", "sniff eth0"),
            lan: Tool::start("lan", "send"),
            local: Tool::start("", "send"),
        }
    }

    /// Sends protected packets, forwarded and local, both families, and returns how many of them
    /// were seen outside.
    fn leak(&mut self, tag: &str) -> usize {
        self.outside.clear();
        for (source, destination) in protected_flows() {
            self.lan
                .send(&vec![udp_packet(source, destination, (1000, 2000), tag); 5]);
            let own = if source.contains(':') {
                "fd01::1"
            } else {
                "10.1.0.1"
            };
            self.local
                .send(&vec![udp_packet(own, destination, (1000, 2000), tag); 5]);
            let line = format!("udp {destination} 2000 100 dev=wan0 src={own}");
            python("", &line);
        }
        settle();
        let packets = self.outside.packets();
        count_tag(&packets, tag) + count_tag(&packets, "in clear")
    }
}

#[test]
fn every_barrier_holds_alone() {
    in_laboratory("every_barrier_holds_alone", || {
        build();
        let mut ends = Ends::new();
        assert_eq!(
            ends.leak("no guard"),
            22,
            "the laboratory itself must leak without a guard"
        );

        let spec = site_spec();
        let inside = tun("tun0");
        assert!(Guard::install(&spec).unwrap().tun_routed);
        assert_eq!(ends.leak("guarded"), 0);
        assert_eq!(
            count_tag(&inside.packets(), "guarded"),
            20,
            "all of it goes to the TUN"
        );
        // A socket bound to the outside device is refused, and counted.
        assert!(python("", "udp 10.2.0.9 2000 100 dev=wan0 src=10.1.0.1").starts_with("refused"));

        sh("ip link set tun0 down");
        assert_eq!(ends.leak("tun down"), 0);
        sh("ip link set tun0 up");
        assert_eq!(Guard::restore(&spec).unwrap().len(), 2);

        // A more specific route in the main table.
        sh("ip route add 10.2.0.0/24 via 192.0.2.2; ip -6 route add fd02::/64 via 2001:db8::2");
        inside.clear();
        assert_eq!(ends.leak("specific"), 0);
        assert_eq!(count_tag(&inside.packets(), "specific"), 20);

        // Without rules and private table nftables alone holds, and counts.
        let before = dropped("test", "cleartext_outbound");
        sh(&format!(
            "ip rule del priority {0}; ip -6 rule del priority {0}",
            spec.rule_priority
        ));
        assert_eq!(ends.leak("no rule"), 0);
        let after = dropped("test", "cleartext_outbound");
        assert!(after >= before + 20, "{before} {after}");
        Guard::restore(&spec).unwrap();

        drop(inside);
        sh("ip link del tun0 2>/dev/null || true");
        assert_eq!(ends.leak("tun deleted"), 0);
        assert!(Guard::remove("test").unwrap().nft_table);
        assert_eq!(ends.leak("removed"), 22);
    });
}

#[test]
fn the_private_table_holds_marked_packets_without_nftables() {
    in_laboratory(
        "the_private_table_holds_marked_packets_without_nftables",
        || {
            build();
            let spec = site_spec();
            let inside = tun("tun0");
            Guard::install(&spec).unwrap();
            sh("nft flush ruleset");
            let outside = Tool::start("wan", "sniff eth0");
            let mark = format!("{:x}", spec.marks.protect);
            let lines = [
                format!("udp 10.2.0.9 2000 100 mark={mark}"),
                format!("udp fd02::9 2000 100 mark={mark}"),
            ];
            lines.iter().for_each(|line| drop(python("", line)));
            settle();
            assert_eq!(count_tag(&inside.packets(), "in clear"), 2);
            drop(inside);
            settle();
            for line in &lines {
                assert!(python("", line).starts_with("refused"), "{line}");
            }
            settle();
            assert_eq!(count_tag(&outside.packets(), "in clear"), 0);
        },
    );
}

#[test]
fn own_packets_pass_by_mark_alone() {
    in_laboratory("own_packets_pass_by_mark_alone", || {
        build();
        let _tun = tun("tun0");
        let mut spec = site_spec();
        // A selector that covers the peer's own address.
        spec.entries.insert(
            1,
            entry("peer", "", "192.0.2.2/32 2001:db8::2/128", Action::Protect),
        );
        Guard::install(&spec).unwrap();
        let outside = Tool::start("wan", "sniff eth0");
        let own = format!("{:x}", spec.marks.own);
        python("", &format!("udp 192.0.2.2 4500 100 mark={own}"));
        python("", &format!("udp 2001:db8::2 4500 100 mark={own}"));
        settle();
        assert_eq!(count_tag(&outside.packets(), "in clear"), 2);
        python("", "udp 192.0.2.2 4500 100");
        python("", "udp 2001:db8::2 4500 100");
        settle();
        assert_eq!(count_tag(&outside.packets(), "in clear"), 2);

        // The peer's answers arrive: UDP 4500 and ESP to us, though the selector covers them.
        let server = Tool::start("", "serve 4500");
        let mut wan = Tool::start("wan", "send");
        wan.send(&[udp_packet(
            "192.0.2.2",
            "192.0.2.1",
            (4500, 4500),
            "to the gateway",
        )]);
        server.wait(|lines| lines.len() == 1);
        let before = dropped("test", "cleartext_inbound");
        let esp = packet(
            "192.0.2.2".parse().unwrap(),
            "192.0.2.1".parse().unwrap(),
            50,
            b"12345678",
        );
        wan.send(&[esp]);
        settle();
        assert_eq!(dropped("test", "cleartext_inbound"), before);
        // Any other port of ours is cleartext from a protected address.
        wan.send(&[udp_packet(
            "192.0.2.2",
            "192.0.2.1",
            (4500, 4501),
            "in clear",
        )]);
        settle();
        assert_eq!(dropped("test", "cleartext_inbound"), before + 1);
    });
}

#[test]
fn inbound_cleartext_is_dropped_and_counted() {
    in_laboratory("inbound_cleartext_is_dropped_and_counted", || {
        build();
        let mut inside = tun("tun0");
        let spec = site_spec();
        Guard::install(&spec).unwrap();
        let lan = Tool::start("lan", "sniff eth0");
        let mut wan = Tool::start("wan", "send");
        let flows = [
            ("10.2.0.9", "10.1.0.2"),
            ("fd02::9", "fd01::2"),
            ("10.2.0.9", "10.1.0.1"),
        ];
        for (source, destination) in flows {
            wan.send(&vec![udp_packet(source, destination, (5, 6), "spoofed"); 4]);
        }
        settle();
        assert_eq!(dropped("test", "cleartext_inbound"), 12);
        assert_eq!(count_tag(&lan.packets(), "spoofed"), 0);
        // No match at all.
        wan.send(&[udp_packet("203.0.113.7", "10.1.0.2", (5, 6), "stranger")]);
        settle();
        assert_eq!(dropped("test", "no_match_inbound"), 1);
        // What comes out of the TUN passes.
        inside.write(&hex(&udp_packet(
            "10.2.0.9",
            "10.1.0.2",
            (5, 6),
            "decrypted",
        )));
        inside.write(&hex(&udp_packet("fd02::9", "fd01::2", (5, 6), "decrypted")));
        settle();
        assert_eq!(count_tag(&lan.packets(), "decrypted"), 2);
        // A host of the LAN that pretends to be remote.
        let mut insider = Tool::start("lan", "send");
        insider.send(&[udp_packet("10.2.0.9", "10.1.0.1", (5, 6), "pretender")]);
        settle();
        assert_eq!(dropped("test", "cleartext_from_inside"), 1);
    });
}

#[test]
fn bypass_by_port_with_masquerade_and_fragments() {
    in_laboratory("bypass_by_port_with_masquerade_and_fragments", || {
        build();
        sh(
            "nft add table ip nat; nft add chain ip nat post '{ type nat hook postrouting priority 100; }'; nft add rule ip nat post oifname wan0 masquerade",
        );
        sh(
            "ip -n wan addr add 198.51.100.5/32 dev lo; ip -n wan route del default; ip -n wan -6 addr add fd02::5/128 dev lo nodad",
        );
        let inside = tun("tun0");
        let any = NumberRange {
            from: 7000,
            to: 7000,
        };
        let spec = BoundarySpec {
            entries: vec![
                neighbour_discovery(),
                PolicyEntry {
                    protocol: Some(17),
                    remote_ports: vec![any],
                    ..entry("echo", "10.1.0.0/24 fd01::/64", "", Action::Bypass)
                },
                entry("all", "10.1.0.0/24 fd01::/64", "", Action::Protect),
            ],
            ..site_spec()
        };
        Guard::install(&spec).unwrap();
        let _v4 = Tool::start("wan", "serve 7000 198.51.100.5");
        let _v6 = Tool::start("wan", "serve 7000 fd02::5");
        // The source the server sees is the gateway's: the kernel translated it.
        assert_eq!(
            python("lan", "ask 198.51.100.5 7000 100").trim(),
            "100 192.0.2.1"
        );
        // Fragments: the ports are in the first one only.
        assert_eq!(
            python("lan", "ask 198.51.100.5 7000 6000").trim(),
            "6000 192.0.2.1"
        );
        assert_eq!(
            python("lan", "ask fd02::5 7000 5000").trim(),
            "5000 fd01::2"
        );
        assert_eq!(count_tag(&inside.packets(), "xxxx"), 0);
        // Another port goes to the TUN.
        assert!(python("lan", "ask 198.51.100.5 7001 100").starts_with("silence"));
        assert_eq!(count_tag(&inside.packets(), "xxxx"), 1);
        // The same from the gateway itself.
        assert_eq!(
            route::lookup("198.51.100.5".parse().unwrap())
                .unwrap()
                .unwrap()
                .interface
                .as_deref(),
            Some("wan0")
        );
    });
}

#[test]
fn a_stranger_learns_nothing_from_icmp() {
    in_laboratory("a_stranger_learns_nothing_from_icmp", || {
        build();
        let mut spec = site_spec();
        spec.entries.push(PolicyEntry {
            ..PolicyEntry::any("rest", Action::Bypass)
        });
        let outside = Tool::start("wan", "sniff eth0");
        let mut wan = Tool::start("wan", "send");
        let esp = |from: &str, to: &str| {
            packet(
                from.parse().unwrap(),
                to.parse().unwrap(),
                50,
                b"12345678abcdefgh",
            )
        };
        let probes = vec![
            udp_packet("192.0.2.2", "192.0.2.1", (4500, 4500), "probe"),
            udp_packet("2001:db8::2", "2001:db8::1", (4500, 4500), "probe"),
            esp("192.0.2.2", "192.0.2.1"),
            esp("2001:db8::2", "2001:db8::1"),
        ];
        sh("sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0");
        wan.send(&probes);
        settle();
        assert_eq!(
            outside.packets().len(),
            4,
            "without a guard the host answers each"
        );
        Guard::install(&spec).unwrap();
        outside.clear();
        wan.send(&probes);
        settle();
        assert_eq!(outside.packets().len(), 0);
        assert_eq!(dropped("test", "icmp_suppressed"), 4);
        // Other closed ports answer as ever.
        wan.send(&[udp_packet("192.0.2.2", "192.0.2.1", (5, 99), "probe")]);
        settle();
        assert_eq!(outside.packets().len(), 1);
    });
}

#[test]
fn the_mss_is_clamped_both_ways() {
    in_laboratory("the_mss_is_clamped_both_ways", || {
        build();
        let mut inside = tun("tun0");
        Guard::install(&site_spec()).unwrap();
        let lan = Tool::start("lan", "sniff eth0");
        let mut sender = Tool::start("lan", "send");
        let syn = |from: &str, to: &str, mss: u16| {
            let mut tcp = vec![
                0x10, 0, 0x20, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 2, 0x10, 0, 0, 0, 0, 0, 2, 4,
            ];
            tcp.extend(mss.to_be_bytes());
            packet(from.parse().unwrap(), to.parse().unwrap(), 6, &tcp)
        };
        let mss_of = |packet: &[u8]| {
            u16::from_be_bytes([packet[packet.len() - 2], packet[packet.len() - 1]])
        };
        sender.send(&[
            syn("10.1.0.2", "10.2.0.9", 1460),
            syn("fd01::2", "fd02::9", 1440),
            syn("10.1.0.2", "10.2.0.9", 1000),
        ]);
        settle();
        let found: Vec<u16> = inside
            .packets()
            .iter()
            .map(|packet| mss_of(packet))
            .collect();
        assert_eq!(found, [1360, 1340, 1000]);
        lan.clear();
        inside.write(&hex(&syn("10.2.0.9", "10.1.0.2", 1460)));
        inside.write(&hex(&syn("fd02::9", "fd01::2", 1440)));
        settle();
        let syns = lan
            .packets()
            .into_iter()
            .filter(|packet| packet.last() != Some(&0));
        let found: Vec<u16> = syns.map(|packet| mss_of(&packet)).collect();
        assert_eq!(found, [1360, 1340]);
    });
}

#[test]
fn fragments_meet_port_entries_without_connection_tracking() {
    in_laboratory(
        "fragments_meet_port_entries_without_connection_tracking",
        || {
            build();
            sh(
                "ip -n wan addr add 198.51.100.5/32 dev lo; ip -n wan -6 addr add 2001:db8:aaaa::5/128 dev lo",
            );
            let inside = tun("tun0");
            let port = |action| PolicyEntry {
                protocol: Some(17),
                remote_ports: vec![NumberRange {
                    from: 7000,
                    to: 7000,
                }],
                ..entry("port", "", "", action)
            };
            let mut spec = site_spec();
            spec.entries.insert(1, port(Action::Bypass));
            spec.entries
                .insert(2, entry("rest", "", "", Action::Protect));
            Guard::install(&spec).unwrap();
            let _v4 = Tool::start("wan", "serve 7000 198.51.100.5");
            let _v6 = Tool::start("wan", "serve 7000 2001:db8:aaaa::5");
            for host in ["198.51.100.5", "2001:db8:aaaa::5"] {
                for netns in ["lan", ""] {
                    let answer = python(netns, &format!("ask {host} 7000 6000"));
                    assert!(answer.starts_with("6000 "), "{netns} {host}: {answer}");
                    let answer = python(netns, &format!("ask {host} 7000 30000"));
                    assert!(answer.starts_with("30000 "), "{netns} {host}: {answer}");
                }
            }
            assert_eq!(count_tag(&inside.packets(), "xxxx"), 0);
            let tracked = sh("cat /proc/sys/net/netfilter/nf_conntrack_count");
            println!(
                "measured: connections tracked with the guard alone: {}",
                tracked.trim()
            );
            // DISCARD by port catches every fragment, and so does PROTECT.
            spec.entries[1] = port(Action::Discard);
            spec.entries[2] = entry("rest", "", "", Action::Bypass);
            Guard::replace(&spec).unwrap();
            let outside = Tool::start("wan", "sniff eth0");
            for netns in ["lan", ""] {
                let own = if netns.is_empty() { "src=10.1.0.1" } else { "" };
                python(netns, &format!("udp 198.51.100.5 7000 6000 {own}"));
                python(netns, "udp 2001:db8:aaaa::5 7000 6000");
            }
            settle();
            assert_eq!(count_tag(&outside.packets(), "in clear"), 0);
            assert!(dropped("test", "discard_outbound") >= 4);
        },
    );
}

#[test]
fn a_reload_goes_through_a_wider_guard() {
    in_laboratory("a_reload_goes_through_a_wider_guard", || {
        build();
        let inside = tun("tun0");
        let outside = Tool::start("wan", "sniff eth0");
        let mut lan = Tool::start("lan", "send");
        let mut wan = Tool::start("wan", "send");
        let policy = |protected: &str, open: &str| BoundarySpec {
            entries: vec![
                neighbour_discovery(),
                entry("protected", "10.1.0.0/24", protected, Action::Protect),
                entry("open", "10.1.0.0/24", open, Action::Bypass),
            ],
            ..site_spec()
        };
        let old = policy("10.2.0.0/24", "10.3.0.0/24 10.4.0.0/24");
        let new = policy("10.3.0.0/24", "10.2.0.0/24 10.4.0.0/24");
        let mut look = |stage: &str| -> Vec<&str> {
            [&inside, &outside].iter().for_each(|tool| tool.clear());
            let hosts = ["10.2.0.9", "10.3.0.9", "10.4.0.9", "10.5.0.9"];
            lan.send(&hosts.map(|host| udp_packet("10.1.0.2", host, (1, 2), host)));
            settle();
            let (tun, clear) = (inside.packets(), outside.packets());
            let fate = |host: &str| match (count_tag(&tun, host), count_tag(&clear, host)) {
                (1, 0) => "tun",
                (0, 1) => "clear",
                (0, 0) => "drop",
                other => panic!("{stage}: {host} {other:?}"),
            };
            hosts.map(fate).to_vec()
        };
        Guard::install(&old).unwrap();
        assert_eq!(look("old"), ["tun", "clear", "clear", "drop"]);
        wan.send(&[udp_packet("203.0.113.1", "10.1.0.2", (1, 2), "stranger")]);
        settle();
        assert_eq!(dropped("test", "no_match_inbound"), 1);
        Guard::widen(&old, &new).unwrap();
        assert_eq!(look("wider"), ["tun", "tun", "clear", "drop"]);
        Guard::replace(&new).unwrap();
        assert_eq!(look("new"), ["clear", "tun", "clear", "drop"]);
        // The counters have not begun again.
        assert_eq!(dropped("test", "no_match_inbound"), 1);
        assert_eq!(dropped("test", "no_match_outbound"), 3);
    });
}

#[test]
fn sides_of_the_boundary() {
    in_laboratory("sides_of_the_boundary", || {
        build();
        // A second LAN, and policy that protects everything from the first.
        sh("ip netns add lan2; ip link add lan1 type veth peer name eth0 netns lan2
            ip link set lan1 up; ip addr add 10.7.0.1/24 dev lan1; sysctl -qw net.ipv4.conf.lan1.rp_filter=0
            ip -n lan2 link set eth0 up; ip -n lan2 addr add 10.7.0.2/24 dev eth0
            ip -n lan2 route add default via 10.7.0.1");
        let mut inside = tun("tun0");
        let outside = Tool::start("wan", "sniff eth0");
        let first = Tool::start("lan", "sniff eth0");
        let second = Tool::start("lan2", "sniff eth0");
        let gateway = Tool::start("", "sniff lan0");
        let mut lan = Tool::start("lan", "send");
        let mut wan = Tool::start("wan", "send");
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        for (protected, unprotected) in [(&["lan0", "lan1"][..], &["wan0"][..]), (&[], &["wan0"])] {
            let spec = BoundarySpec {
                protected_interfaces: names(protected),
                unprotected_interfaces: names(unprotected),
                entries: vec![
                    neighbour_discovery(),
                    entry("all", "10.1.0.0/24", "0.0.0.0/0", Action::Protect),
                ],
                ..site_spec()
            };
            Guard::install(&spec).unwrap();
            [&inside, &outside, &first, &second, &gateway]
                .iter()
                .for_each(|tool| tool.clear());
            // Between two LANs, and to the gateway: not the boundary's business.
            lan.send(&[udp_packet("10.1.0.2", "10.7.0.2", (1, 2), "neighbours")]);
            let answer = Tool::start("", "serve 99 10.1.0.1");
            assert!(python("lan", "ask 10.1.0.1 99 10").starts_with("10 "));
            drop(answer);
            // To anywhere else: protected.
            lan.send(&[udp_packet("10.1.0.2", "203.0.113.5", (1, 2), "anywhere")]);
            // Decrypted for the LAN: delivered, not sent back.
            inside.write(&hex(&udp_packet(
                "203.0.113.5",
                "10.1.0.2",
                (1, 2),
                "decrypted",
            )));
            // In clear for the LAN.
            let before = dropped("test", "cleartext_inbound");
            wan.send(&[udp_packet("203.0.113.5", "10.1.0.2", (1, 2), "attack")]);
            settle();
            assert_eq!(count_tag(&second.packets(), "neighbours"), 1);
            assert_eq!(count_tag(&inside.packets(), "anywhere"), 1);
            assert_eq!(count_tag(&first.packets(), "decrypted"), 1);
            // (The host's ICMP answer quotes it.)
            let udp: Vec<_> = inside
                .packets()
                .into_iter()
                .filter(|packet| packet[9] == 17)
                .collect();
            assert_eq!(count_tag(&udp, "decrypted"), 0);
            assert_eq!(count_tag(&first.packets(), "attack"), 0);
            assert_eq!(dropped("test", "cleartext_inbound"), before + 1);
            assert_eq!(outside.packets().len(), 0);
        }
        // Nothing listed: selectors alone.
        let mut spec = site_spec();
        spec.protected_interfaces.clear();
        spec.unprotected_interfaces.clear();
        Guard::install(&spec).unwrap();
        [&inside, &outside, &first]
            .iter()
            .for_each(|tool| tool.clear());
        lan.send(&[
            udp_packet("10.1.0.2", "10.2.0.9", (1, 2), "protected"),
            udp_packet("10.1.0.2", "198.51.100.9", (1, 2), "bypassed"),
            udp_packet("10.1.0.2", "203.0.113.9", (1, 2), "discarded"),
        ]);
        inside.write(&hex(&udp_packet(
            "10.2.0.9",
            "10.1.0.2",
            (1, 2),
            "decrypted",
        )));
        wan.send(&[
            udp_packet("198.51.100.9", "10.1.0.2", (1, 2), "answer"),
            udp_packet("10.2.0.9", "10.1.0.2", (1, 2), "attack"),
        ]);
        settle();
        assert_eq!(count_tag(&inside.packets(), "protected"), 1);
        assert_eq!(count_tag(&outside.packets(), "bypassed"), 1);
        assert_eq!(count_tag(&outside.packets(), "discarded"), 0);
        assert_eq!(count_tag(&outside.packets(), "protected"), 0);
        assert_eq!(count_tag(&first.packets(), "answer"), 1);
        assert_eq!(count_tag(&first.packets(), "decrypted"), 1);
        assert_eq!(count_tag(&first.packets(), "attack"), 0);
    });
}

#[test]
fn a_large_policy_is_one_transaction() {
    in_laboratory("a_large_policy_is_one_transaction", || {
        build();
        let inside = tun("tun0");
        let mut spec = site_spec();
        let count = BoundarySpec::ENTRIES_MAX - 2;
        spec.entries = (0..count)
            .map(|index| {
                let network = format!(
                    "10.{}.{}.{}/32",
                    64 + index / 4096,
                    index / 16 % 256,
                    index % 16
                );
                let action = [Action::Bypass, Action::Discard][index % 2];
                let mut entry = entry("host", "", &network, action);
                entry.protocol = Some(17);
                entry
            })
            .collect();
        spec.entries
            .push(entry("last", "", "10.2.0.0/24", Action::Protect));
        // The same as one list: a set of intervals.
        let list = (0..count).map(|index| {
            prefix(&format!(
                "10.{}.{}.{}/32",
                64 + index / 2048,
                index / 8 % 256,
                index % 8 * 2
            ))
        });
        spec.entries.push(PolicyEntry {
            remote: list.collect(),
            ..entry("list", "", "", Action::Bypass)
        });
        let start = std::time::Instant::now();
        Guard::install(&spec).unwrap();
        println!(
            "measured: {} entries installed in {} ms",
            spec.entries.len(),
            start.elapsed().as_millis()
        );
        let start = std::time::Instant::now();
        Guard::replace(&spec).unwrap();
        println!("measured: replaced in {} ms", start.elapsed().as_millis());
        let start = std::time::Instant::now();
        assert_eq!(Guard::verify(&spec).unwrap(), []);
        println!("measured: verified in {} ms", start.elapsed().as_millis());
        let mut lan = Tool::start("lan", "send");
        lan.send(&[udp_packet("10.1.0.2", "10.2.0.9", (1, 2), "last of all")]);
        settle();
        assert_eq!(count_tag(&inside.packets(), "last of all"), 1);
        spec.entries
            .push(entry("one too many", "", "", Action::Bypass));
        assert!(Guard::install(&spec).is_err());
        assert!(Guard::remove("test").unwrap().nft_table);
    });
}
