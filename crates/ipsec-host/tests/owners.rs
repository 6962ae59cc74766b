//! Two gateways on one host.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod lab;

use ipsec_host::{Action, BoundarySpec, Error, Guard, Marks};
use lab::*;

#[test]
fn two_owners_do_not_meet() {
    in_laboratory("two_owners_do_not_meet", || {
        build();
        let first_tun = tun("tun0");
        let mut second_tun = tun("tun1");
        let first = site_spec();
        let second = BoundarySpec {
            entries: vec![
                neighbour_discovery(),
                entry(
                    "other",
                    "10.1.0.0/24 fd01::/64",
                    "10.3.0.0/24 fd03::/64",
                    Action::Protect,
                ),
            ],
            protected_interfaces: vec!["lan0".into()],
            unprotected_interfaces: vec!["wan0".into()],
            ..BoundarySpec::new("second", "tun1", 1300)
        };
        Guard::install(&first).unwrap();
        let alone = sh("nft list table inet ipsec-node-test");
        Guard::install(&second).unwrap();
        assert_eq!(Guard::verify(&first).unwrap(), []);
        assert_eq!(Guard::verify(&second).unwrap(), []);

        let outside = Tool::start("wan", "sniff eth0");
        let lan_side = Tool::start("lan", "sniff eth0");
        let mut lan = Tool::start("lan", "send");
        let mut local = Tool::start("", "send");
        for (own, host, to_first, to_second) in [
            ("10.1.0.1", "10.1.0.2", "10.2.0.9", "10.3.0.9"),
            ("fd01::1", "fd01::2", "fd02::9", "fd03::9"),
        ] {
            lan.send(&[
                udp_packet(host, to_first, (1, 2), "for the first"),
                udp_packet(host, to_second, (1, 2), "for the second"),
            ]);
            local.send(&[
                udp_packet(own, to_first, (1, 2), "for the first"),
                udp_packet(own, to_second, (1, 2), "for the second"),
            ]);
        }
        settle();
        assert_eq!(count_tag(&first_tun.packets(), "for the first"), 4);
        assert_eq!(count_tag(&second_tun.packets(), "for the second"), 4);
        assert_eq!(count_tag(&outside.packets(), "for the"), 0);
        // Each lets the other's own packets out, and what came out of the other's TUN in.
        for spec in [&first, &second] {
            python(
                "",
                &format!("udp 192.0.2.2 4500 100 mark={:x}", spec.marks.own),
            );
        }
        second_tun.write(&hex(&udp_packet(
            "10.3.0.9",
            "10.1.0.2",
            (5, 6),
            "decrypted",
        )));
        settle();
        assert_eq!(count_tag(&outside.packets(), "in clear"), 2);
        assert_eq!(count_tag(&lan_side.packets(), "decrypted"), 1);
        // A packet with no owner's mark has no such exemption.
        python("", "udp 192.0.2.2 4500 100");
        settle();
        assert_eq!(count_tag(&outside.packets(), "in clear"), 2);

        Guard::remove("second").unwrap();
        assert_eq!(Guard::verify(&first).unwrap(), []);
        let strip = |text: String| -> String {
            text.lines()
                .filter(|line| !line.contains("packets"))
                .collect()
        };
        assert_eq!(
            strip(sh("nft list table inet ipsec-node-test")),
            strip(alone)
        );
        Guard::remove("test").unwrap();

        // Two names that meet are refused.
        Guard::install(&first).unwrap();
        let clash = BoundarySpec {
            marks: Marks::for_owner("test"),
            ..second
        };
        assert!(matches!(
            Guard::install(&clash),
            Err(Error::Collision { .. })
        ));
    });
}
