//! The watcher puts back what others remove, and the rest holds meanwhile.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod lab;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ipsec_host::{Action, Error, Guard, Hold, Watcher, link};
use lab::*;

type Said = Arc<Mutex<Vec<String>>>;

fn listener() -> (Said, impl FnMut(String) + Send + 'static) {
    let said = Said::default();
    let sink = said.clone();
    (said, move |sentence| sink.lock().unwrap().push(sentence))
}

/// Waits until `done` and returns how long it took, in milliseconds.
fn until(what: &str, done: impl Fn() -> bool) -> u128 {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{what} does not happen"
        );
        std::thread::sleep(Duration::from_micros(200));
    }
    start.elapsed().as_millis()
}

#[test]
fn what_is_removed_comes_back() {
    in_laboratory("what_is_removed_comes_back", || {
        build();
        let inside = tun("tun0");
        let spec = site_spec();
        let (said, report) = listener();
        let (watcher, installed) = Watcher::start(&spec, Hold::Never, report).unwrap();
        assert!(installed.tun_routed && !watcher.holds());
        let whole = || Guard::verify(&spec).unwrap().is_empty();
        assert!(whole());
        let breakages = [
            "nft flush ruleset".to_owned(),
            "nft flush chain inet ipsec-node-test postrouting".to_owned(),
            "nft insert rule inet ipsec-node-test postrouting accept".to_owned(),
            format!("ip rule del priority {}", spec.rule_priority),
            format!("ip -6 rule del priority {}", spec.rule_priority),
            format!("ip route flush table {}", spec.table),
            format!("ip -6 route flush table {}", spec.table),
        ];
        for line in breakages {
            let before = said.lock().unwrap().len();
            sh(&line);
            let ms = until(&line, || said.lock().unwrap().len() > before && whole());
            println!("measured: {ms} ms to put back after `{line}`");
        }
        let sentences = said.lock().unwrap().clone();
        assert!(sentences[0].contains("was removed"), "{}", sentences[0]);
        // The watcher's own look may come before the kernel's message, which alone says who it
        // was; not three times in a row.
        let named = sentences
            .iter()
            .any(|sentence| sentence.contains(" by nft"));
        assert!(named, "{sentences:?}");

        // The TUN goes and comes: said once each, and routed to again.
        let before = said.lock().unwrap().len();
        sh("ip link set tun0 down");
        until("down", || said.lock().unwrap().len() > before);
        sh("ip link set tun0 up");
        until("up", whole);
        drop(inside);
        link::delete("tun0").ok();
        until("gone", || {
            said.lock()
                .unwrap()
                .last()
                .unwrap()
                .contains("down or gone")
        });
        watcher.stop();
        sh("nft flush ruleset");
        std::thread::sleep(Duration::from_millis(150));
        assert!(Guard::owners().unwrap().is_empty());
    });
}

#[test]
fn a_flood_of_flushes_lets_nothing_out() {
    in_laboratory("a_flood_of_flushes_lets_nothing_out", || {
        build();
        let _inside = tun("tun0");
        let spec = site_spec();
        let (_, report) = listener();
        let (watcher, _) = Watcher::start(&spec, Hold::IfPossible, report).unwrap();
        println!(
            "measured: the kernel lets the watcher hold the table: {}",
            watcher.holds()
        );
        let outside = Tool::start("wan", "sniff eth0");
        let mut lan = Tool::start("lan", "send");
        for _ in 0..20 {
            lan.send(&vec![
                udp_packet("10.1.0.2", "10.2.0.9", (1, 2), "secret");
                20
            ]);
            assert!(try_sh("nft flush ruleset") || watcher.holds());
        }
        settle();
        if watcher.holds() {
            assert_eq!(count_tag(&outside.packets(), "secret"), 0);
        }
        watcher.stop();

        // Without the hold the watcher is quick, but not a barrier: nothing marks meanwhile.
        Guard::remove("test").unwrap();
        outside.clear();
        let (_, report) = listener();
        let (watcher, _) = Watcher::start(&spec, Hold::Never, report).unwrap();
        for _ in 0..20 {
            lan.send(&vec![
                udp_packet("10.1.0.2", "10.2.0.9", (1, 2), "secret");
                20
            ]);
            sh("nft flush ruleset");
            lan.send(&vec![
                udp_packet("10.1.0.2", "10.2.0.9", (1, 2), "secret");
                20
            ]);
        }
        settle();
        let leaked = count_tag(&outside.packets(), "secret");
        println!("measured: {leaked} of 800 in clear over 20 flushes of a table not held");
        // With nobody watching, a flush opens: marks come from the table alone.
        watcher.stop();
        sh("nft flush ruleset");
        outside.clear();
        lan.send(&vec![
            udp_packet("10.1.0.2", "10.2.0.9", (1, 2), "secret");
            20
        ]);
        settle();
        let leaked = count_tag(&outside.packets(), "secret");
        println!("measured: {leaked} of 20 in clear after a flush that nobody watches");
    });
}

#[test]
fn a_held_table_is_changed_by_its_watcher_alone() {
    in_laboratory("a_held_table_is_changed_by_its_watcher_alone", || {
        build();
        let _inside = tun("tun0");
        let spec = site_spec();
        let (said, report) = listener();
        let (watcher, _) = Watcher::start(&spec, Hold::IfPossible, report).unwrap();
        if !watcher.holds() {
            println!("skipped: this kernel cannot let a socket hold a table");
            return;
        }
        try_sh("nft flush ruleset");
        assert!(!try_sh("nft delete table inet ipsec-node-test"));
        assert!(Guard::verify(&spec).unwrap().is_empty());
        assert!(
            said.lock().unwrap().is_empty(),
            "{:?}",
            said.lock().unwrap()
        );
        assert!(matches!(Guard::install(&spec), Err(Error::Held { .. })));
        assert!(matches!(Guard::remove("test"), Err(Error::Held { .. })));
        // The rule must not be gone because a removal was refused.
        assert!(Guard::verify(&spec).unwrap().is_empty());

        let mut new = spec.clone();
        new.entries
            .push(entry("more", "", "10.9.0.0/24", Action::Protect));
        watcher.widen(&spec, &new).unwrap();
        assert!(watcher.replace(&new).unwrap().taken_over.nft_table);
        assert!(Guard::verify(&new).unwrap().is_empty());
        // It stays when the watcher ends, and is nobody's then.
        watcher.stop();
        assert!(Guard::verify(&new).unwrap().is_empty());
        assert!(Guard::install(&spec).unwrap().took_over());
        assert!(Guard::remove("test").unwrap().nft_table);
        assert!(!sh("nft list ruleset").contains("ipsec-node"));
    });
}
