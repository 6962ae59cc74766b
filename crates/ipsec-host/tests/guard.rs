//! The guard in real network namespaces: what it leaves, what it takes over, what it stops.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod lab;

use ipsec_host::{Guard, Missing, Removed, link, rule};
use lab::*;

fn picture() -> String {
    sh(
        "ip -d rule; ip -6 rule; ip -4 route show table all; ip -6 route show table all | grep -vE 'expires|fe80|ff00'; nft list ruleset; ip -o link | sed 's/state.*//'",
    )
}

#[test]
fn install_and_remove_leave_nothing() {
    in_laboratory("install_and_remove_leave_nothing", || {
        build();
        sh(
            "nft add table inet other; nft add chain inet other c '{ type filter hook output priority 0; }'; nft add rule inet other c accept",
        );
        let before = picture();
        let spec = site_spec();
        let installed = Guard::install(&spec).unwrap();
        assert!(!installed.took_over());
        assert!(!installed.tun_routed);
        assert_eq!(Guard::verify(&spec).unwrap(), [Missing::Tun]);
        assert_eq!(Guard::owners().unwrap(), ["test"]);
        let listing = sh("nft list table inet ipsec-node-test");
        assert!(listing.contains("chain prerouting"), "{listing}");
        assert!(listing.contains("\"site\""), "{listing}");
        assert_ne!(picture(), before);

        // A crash leaves everything; the next start finds it.
        let installed = Guard::install(&spec).unwrap();
        let found = Removed {
            nft_table: true,
            rules: 2,
            routes: 2,
        };
        assert_eq!(installed.taken_over, found);
        assert_eq!(Guard::remove("test").unwrap(), found);
        assert_eq!(picture(), before);
        assert_eq!(Guard::remove("test").unwrap(), Removed::default());
        assert!(Guard::counters("test").unwrap().is_empty());
    });
}

#[test]
fn verify_and_restore_name_each_part() {
    in_laboratory("verify_and_restore_name_each_part", || {
        build();
        let _tun = tun("tun0");
        let spec = site_spec();
        assert!(Guard::install(&spec).unwrap().tun_routed);
        let good = picture();
        assert_eq!(Guard::verify(&spec).unwrap(), []);
        let breakages = [
            ("nft flush ruleset", vec![Missing::NftTable]),
            (
                "nft flush chain inet ipsec-node-test output",
                vec![Missing::NftPart {
                    name: "output".into(),
                }],
            ),
            (
                &format!("ip rule del priority {}", spec.rule_priority),
                vec![Missing::Rule(rule::Family::V4)],
            ),
            (
                &format!("ip -6 rule del priority {}", spec.rule_priority),
                vec![Missing::Rule(rule::Family::V6)],
            ),
            (
                &format!("ip route del default dev tun0 table {}", spec.table),
                vec![Missing::TunRoute(rule::Family::V4)],
            ),
            (
                &format!("ip route del blackhole default table {}", spec.table),
                vec![Missing::Blackhole(rule::Family::V4)],
            ),
        ];
        for (line, expected) in breakages {
            sh(line);
            assert_eq!(Guard::verify(&spec).unwrap(), expected, "{line}");
            assert_eq!(Guard::restore(&spec).unwrap(), expected, "{line}");
            assert_eq!(Guard::verify(&spec).unwrap(), [], "{line}");
        }
        assert_eq!(picture(), good);
        link::delete("tun0").unwrap();
        assert_eq!(Guard::verify(&spec).unwrap(), [Missing::Tun]);
    });
}
