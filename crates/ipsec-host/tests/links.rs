//! Links, addresses, routes and settings of the kernel.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod lab;

use ipsec_host::sysctl::ReversePath;
use ipsec_host::{Error, Guard, address, link, route, rule, sysctl};
use lab::*;

#[test]
fn links_addresses_and_routes() {
    in_laboratory("links_addresses_and_routes", || {
        sh("ip link set lo up; ip netns add far");
        assert!(matches!(
            link::index_of("v0"),
            Err(Error::NoSuchLink { .. })
        ));
        link::create_veth("v0", "v1", None).unwrap();
        link::set_mtu("v0", 1400).unwrap();
        link::set_txqueuelen("v0", 777).unwrap();
        link::set_up("v0").unwrap();
        link::set_up("v1").unwrap();
        let listed = link::list().unwrap();
        let v0 = listed.iter().find(|link| link.name == "v0").unwrap();
        assert_eq!(
            (v0.mtu, v0.up, v0.kind.as_deref()),
            (1400, true, Some("veth"))
        );
        assert_eq!(v0.index, link::index_of("v0").unwrap());
        assert!(sh("ip link show v0").contains("qlen 777"));

        let v4 = "192.0.2.1".parse().unwrap();
        let v6 = "2001:db8::1".parse().unwrap();
        for _ in 0..2 {
            address::add("v0", v4, 24).unwrap();
            address::add("v0", v6, 64).unwrap();
        }
        assert!(!sh("ip -6 addr show dev v0").contains("tentative 2001"));
        let addresses = address::list("v0").unwrap();
        assert!(addresses.contains(&(v4, 24)) && addresses.contains(&(v6, 64)));

        let any4 = "0.0.0.0".parse().unwrap();
        let default = route::Route {
            via: Some("192.0.2.2".parse().unwrap()),
            dev: Some("v0".into()),
            metric: Some(7),
            mtu: Some(1300),
            ..route::Route::to(any4, 0)
        };
        route::add(&default).unwrap();
        route::add(&default).unwrap();
        assert!(
            sh("ip route").contains("default via 192.0.2.2 dev v0 proto static metric 7 mtu 1300")
        );
        assert_eq!(route::default_route_interfaces().unwrap(), ["v0"]);
        let found = route::lookup("203.0.113.1".parse().unwrap())
            .unwrap()
            .unwrap();
        assert_eq!(
            (found.interface.as_deref(), found.source),
            (Some("v0"), Some(v4))
        );
        let blackhole = route::Route {
            kind: route::Kind::Blackhole,
            ..route::Route::to("203.0.113.0".parse().unwrap(), 24)
        };
        route::add(&blackhole).unwrap();
        assert_eq!(route::lookup("203.0.113.1".parse().unwrap()).unwrap(), None);
        assert!(route::delete(&blackhole).unwrap());
        assert!(route::delete(&default).unwrap());
        assert!(!route::delete(&default).unwrap());

        rule::add_fwmark(rule::Family::V6, 0x10, 0xf0, 77, 50).unwrap();
        let own = rule::list()
            .unwrap()
            .into_iter()
            .find(|rule| rule.priority == 50)
            .unwrap();
        assert_eq!(
            (own.mark, own.mask, own.table),
            (Some(0x10), Some(0xf0), 77)
        );
        assert!(rule::delete(rule::Family::V6, 0x10, 0xf0, 77, 50).unwrap());
        assert!(!rule::delete(rule::Family::V6, 0x10, 0xf0, 77, 50).unwrap());

        // The peer in another process's namespace.
        let mut child = std::process::Command::new("ip")
            .args(["netns", "exec", "far", "sleep", "60"])
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        link::create_veth("w0", "w1", Some(child.id())).unwrap();
        assert!(sh("ip -n far link").contains("w1"));
        assert!(!link::exists("w1").unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        link::set_down("v0").unwrap();
        link::delete("v0").unwrap();
        assert!(!link::exists("v0").unwrap());
    });
}

#[test]
fn a_strict_reverse_path_is_seen_and_made_loose() {
    in_laboratory("a_strict_reverse_path_is_seen_and_made_loose", || {
        build();
        let mut inside = tun("tun0");
        Guard::install(&site_spec()).unwrap();
        let lan = Tool::start("lan", "sniff eth0");
        sysctl::write("net/ipv4/conf/tun0/rp_filter", "1").unwrap();
        let report = sysctl::reverse_path_report(&["tun0", "wan0"]).unwrap();
        assert_eq!(report[0].effective, ReversePath::Strict);
        assert_eq!(report[1].effective, ReversePath::Off);
        let packet = hex(&udp_packet("10.2.0.9", "10.1.0.2", (5, 6), "decrypted"));
        inside.write(&packet);
        settle();
        assert_eq!(count_tag(&lan.packets(), "decrypted"), 0, "strict drops it");
        sysctl::set_reverse_path_loose("tun0").unwrap();
        let report = || sysctl::reverse_path_report(&["tun0"]).unwrap().remove(0);
        assert_eq!(report().effective, ReversePath::Loose);
        assert!(report().drops_decrypted());
        inside.write(&packet);
        settle();
        assert_eq!(
            count_tag(&lan.packets(), "decrypted"),
            0,
            "loose without an address drops it"
        );
        address::add("tun0", "169.254.77.1".parse().unwrap(), 32).unwrap();
        assert!(!report().drops_decrypted());
        inside.write(&packet);
        settle();
        assert_eq!(count_tag(&lan.packets(), "decrypted"), 1);
        assert_eq!(sysctl::ip_forward().unwrap(), (true, true));
        sysctl::set_ip_forward(false).unwrap();
        assert_eq!(sysctl::ip_forward().unwrap(), (false, false));
        assert!(sysctl::read("net.ipv4.no_such_setting").is_err());
    });
}
