//! What policy compiles to, without a kernel.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use ipsec_host::{
    Action, AddressRange, BoundarySpec, NumberRange, PolicyEntry, compile_ruleset,
    compile_wider_ruleset,
};

fn range(from: &str, to: &str) -> AddressRange {
    AddressRange {
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
    }
}

fn spec() -> BoundarySpec {
    BoundarySpec {
        protected_interfaces: vec!["lan0".into()],
        entries: vec![
            PolicyEntry {
                local: vec![range("10.1.0.0", "10.1.0.255")],
                remote: vec![range("10.2.0.0", "10.2.0.255"), range("fd02::", "fd02::ff")],
                ..PolicyEntry::any("site", Action::Protect)
            },
            PolicyEntry {
                inbound: false,
                protocol: Some(17),
                remote_ports: vec![
                    NumberRange { from: 53, to: 53 },
                    NumberRange { from: 123, to: 123 },
                ],
                ..PolicyEntry::any("dns", Action::Bypass)
            },
            PolicyEntry {
                protocol: Some(1),
                icmp_types: vec![NumberRange { from: 8, to: 8 }],
                ..PolicyEntry::any("ping", Action::Discard)
            },
        ],
        ..BoundarySpec::new("office", "tun0", 1400)
    }
}

/// The lines of one chain.
fn chain(text: &str, name: &str) -> Vec<String> {
    let head = format!("chain {name} {{");
    let lines = text.lines().skip_while(|line| line.trim() != head).skip(1);
    lines
        .take_while(|line| line.trim() != "}")
        .map(|line| line.trim().to_owned())
        .collect()
}

#[test]
fn entries_keep_their_order_and_local_and_remote_swap() {
    let text = compile_ruleset(&spec()).to_string();
    assert!(text.starts_with("table inet ipsec-node-office {"));
    let leave = chain(&text, "out_leave");
    assert_eq!(
        leave[..3],
        [
            "meta nfproto ipv4 ip saddr 10.1.0.0-10.1.0.255 ip daddr 10.2.0.0-10.2.0.255 \
             counter name \"cleartext_outbound\" drop comment \"site\"",
            "meta l4proto 17 th dport @ports_1 accept comment \"dns\"",
            "meta l4proto 1 @th,0,8 8 counter name \"discard_outbound\" drop comment \"ping\"",
        ]
    );
    assert!(
        leave
            .last()
            .unwrap()
            .ends_with("counter name \"no_match_outbound\" drop")
    );
    let arrive = chain(&text, "in_outside");
    assert_eq!(
        arrive[..2],
        [
            "meta nfproto ipv4 ip daddr 10.1.0.0-10.1.0.255 ip saddr 10.2.0.0-10.2.0.255 \
             counter name \"cleartext_inbound\" drop comment \"site\"",
            "meta l4proto 1 @th,0,8 8 counter name \"discard_inbound\" drop comment \"ping\"",
        ]
    );
    assert!(text.contains("elements = { 53, 123 }"));
}

#[test]
fn own_packets_come_first_wherever_they_leave() {
    let spec = spec();
    let text = compile_ruleset(&spec).to_string();
    let own = format!(
        "meta mark & {:#010x} == {:#010x} accept",
        spec.marks.mask, spec.marks.own
    );
    for name in ["output", "postrouting"] {
        let rules = chain(&text, name);
        assert_eq!(rules[1], "oifname \"lo\" accept");
        assert_eq!(rules[2], own);
    }
    // On arrival a mark proves nothing.
    assert!(!chain(&text, "prerouting").contains(&own));
    // No exception by port anywhere on the way out.
    assert!(
        !chain(&text, "output")
            .iter()
            .any(|rule| { rule.contains("@own_ports") && rule.ends_with("accept") })
    );
}

#[test]
fn an_empty_policy_discards_everything() {
    let mut spec = spec();
    spec.entries.clear();
    let text = compile_ruleset(&spec).to_string();
    for (name, counter) in [
        ("out_leave", "no_match_outbound"),
        ("in_outside", "no_match_inbound"),
    ] {
        let rules = chain(&text, name);
        assert_eq!(
            rules.last().unwrap(),
            &format!("counter name \"{counter}\" drop")
        );
    }
}

#[test]
fn a_wider_guard_holds_both_policies() {
    let old = spec();
    let mut new = spec();
    new.entries[0].remote = vec![range("10.3.0.0", "10.3.0.255")];
    let text = compile_wider_ruleset(&old, &new).to_string();
    let rules = chain(&text, "postrouting");
    let jumps: Vec<&String> = rules.iter().filter(|rule| rule.contains("jump")).collect();
    assert_eq!(jumps, ["jump out_leave", "jump out_leave_2"]);
    // BYPASS in the first only leads to the second.
    assert!(chain(&text, "out_leave")[1].contains("return comment \"dns\""));
    assert!(chain(&text, "out_leave_2")[1].contains("accept comment \"dns\""));
    assert_eq!(compile_wider_ruleset(&old, &old), compile_ruleset(&old));
}

#[test]
fn neighbours_in_a_large_policy_share_a_rule() {
    let mut spec = spec();
    let host = |index: u32| {
        let address = std::net::Ipv4Addr::from(0x0a40_0000 + 2 * index).into();
        AddressRange {
            from: address,
            to: address,
        }
    };
    spec.entries = (0..5000)
        .map(|index| PolicyEntry {
            remote: vec![host(index)],
            ..PolicyEntry::any(format!("host {index}"), Action::Bypass)
        })
        .collect();
    let ruleset = compile_ruleset(&spec);
    assert!(ruleset.rule_count() < 100, "{}", ruleset.rule_count());
    assert_eq!(ruleset.table(), "ipsec-node-office");
}
