//! Our tables, and others' hands.

use crate::rig::*;
use nft::{Action, Base, Chain, ChainKind, Family, Hook, Policy, Rule, Ruleset};
use std::time::{Duration, Instant};
use sys::netlink::{Batch, Protocol, Socket};

/// Within this our tables are back.
const PROMISE: Duration = Duration::from_secs(2);
/// What is not there after this never comes.
const HANG: Duration = Duration::from_secs(20);
/// When the helper has done what it was going to do, its second for the daemon included.
const TURN: Duration = Duration::from_millis(1200);
/// After this a change is no repetition, and is answered without a longer pause.
const FORGOTTEN: Duration = Duration::from_secs(6);

fn ruleset(chains: &[&str]) -> Batch {
    let chains = chains
        .iter()
        .map(|name| Chain {
            name: (*name).to_owned(),
            base: Some(Base {
                kind: ChainKind::Filter,
                hook: Hook::Forward,
                priority: 0,
                policy: Policy::Accept,
            }),
            rules: vec![Rule::new([], Action::Accept).comment("ours")],
        })
        .collect();
    let name = "gantry-test".into();
    nft::encode(&[Ruleset { name, family: Family::Inet, sets: Vec::new(), chains }]).unwrap()
}

fn listing() -> String {
    run("nft", &["list", "ruleset"])
}

/// The same with the kernel's numbers: tables that are made anew have others.
fn numbered() -> String {
    run("nft", &["-a", "list", "ruleset"])
}

/// The daemon's part: the file, then the kernel, and the watch.
fn set_up(host: &Host) -> Socket {
    let mut socket = Socket::open(Protocol::Netfilter).unwrap();
    host.client.write_firewall(Some(ruleset(&["one"]).bytes())).unwrap();
    socket.execute(ruleset(&["one"])).unwrap();
    host.client.watch_firewall(socket.port().unwrap()).unwrap();
    socket
}

/// Does harm with `nft`, and sees our tables made anew, `whole`, within the promised time. A machine that stands still for
/// a moment breaks no promise: it may take longer once or twice. How long it took.
fn is_put_back(harm: &str, whole: &str) -> Duration {
    for _attempt in 0..3 {
        let (start, before) = (Instant::now(), numbered());
        run("nft", &[harm]);
        wait_for(harm, HANG, || numbered() != before && listing() == whole);
        let took = start.elapsed();
        if took < PROMISE {
            return took;
        }
        std::thread::sleep(FORGOTTEN);
    }
    panic!("not within {PROMISE:?}: {harm}");
}

#[test]
fn a_flushed_ruleset_is_back_within_two_seconds() {
    let mut host = Host::new();
    let _socket = set_up(&host);
    let whole = listing();
    assert!(whole.contains("comment \"ours\""), "{whole}");
    for harm in
        ["flush ruleset", "delete table inet gantry-test", "flush chain inet gantry-test one"]
    {
        let took = is_put_back(harm, &whole);
        println!("{harm}: back after {took:?}");
    }
    // A rule that somebody put in goes.
    is_put_back("insert rule inet gantry-test one drop", &whole);
    // Without a daemon.
    host.client = host.another_client();
    is_put_back("flush ruleset", &whole);
}

#[test]
fn what_is_meant_and_what_is_not_ours_is_left_alone() {
    let host = Host::new();
    let mut socket = set_up(&host);
    let replayed = || host.client.status().unwrap().unwrap().replayed;
    // The daemon changes a part: file first.
    host.client.write_firewall(Some(ruleset(&["one", "two"]).bytes())).unwrap();
    let mut change = Batch::transaction(10);
    change.message(10 << 8 | 3, 0x400, &[1, 0, 0, 0], |a| {
        a.string(1, "gantry-test");
        a.string(3, "three");
    });
    socket.execute(change).unwrap();
    // Others change theirs.
    run("nft", &["add table inet others"]);
    run("nft", &["delete table inet others"]);
    // Same name, another family.
    run("nft", &["add table ip gantry-test"]);
    std::thread::sleep(TURN);
    assert_eq!(replayed(), 0);
    assert!(listing().contains("chain three"));
    // What is put back is what the file says.
    run("nft", &["flush ruleset"]);
    wait_for("back", HANG, || listing().contains("chain two"));
    assert!(!listing().contains("chain three"));
    assert_eq!(replayed(), 1);
    // Unless the daemon puts it back itself, for which it is given the time. On a machine that stands still for a moment
    // the helper may be first: then once more.
    let daemon_is_first = || {
        let before = replayed();
        run("nft", &["flush ruleset"]);
        std::thread::sleep(Duration::from_millis(300));
        let is_gone = !listing().contains("chain two");
        socket.execute(ruleset(&["one", "two"])).unwrap();
        std::thread::sleep(TURN);
        is_gone && replayed() == before
    };
    assert!(std::iter::repeat_with(daemon_is_first).take(5).any(|is_so| is_so));
    // Given up, it stays away.
    let before = replayed();
    host.client.write_firewall(None).unwrap();
    run("nft", &["delete table inet gantry-test"]);
    std::thread::sleep(TURN);
    assert!(!listing().contains("table"));
    assert_eq!(replayed(), before);
}

#[test]
fn a_helper_that_starts_puts_back_what_is_missing_unless_the_daemon_is_about_to() {
    let host = Host::new();
    let mut socket = Socket::open(Protocol::Netfilter).unwrap();
    let port = socket.port().unwrap();
    let replayed = || host.client.status().unwrap().unwrap().replayed;
    host.client.write_firewall(Some(ruleset(&["one"]).bytes())).unwrap();
    // It starts between the daemon's file and the daemon's change, and hears of the change before it knows whose it is.
    host.client.redirect_port().unwrap();
    socket.execute(ruleset(&["one"])).unwrap();
    host.client.watch_firewall(port).unwrap();
    std::thread::sleep(TURN);
    assert_eq!(replayed(), 0);
    run("nft", &["delete table inet gantry-test"]);
    wait_for("it is back", HANG, || listing().contains("chain one"));
    assert_eq!(replayed(), 1);
    // The table goes while there is no helper.
    host.client.stop().unwrap();
    run("nft", &["delete table inet gantry-test"]);
    host.client.watch_firewall(port).unwrap();
    wait_for("it is there again", HANG, || listing().contains("chain one"));
    assert_eq!(replayed(), 1, "of the new helper");
}

#[test]
fn a_daemon_that_does_not_say_who_it_is_is_left_alone_and_a_fight_is_slow() {
    let mut host = Host::new();
    host.client.write_firewall(Some(ruleset(&["one"]).bytes())).unwrap();
    host.client.redirect_port().unwrap();
    std::thread::sleep(TURN);
    assert!(!listing().contains("table"));
    host.client = host.another_client();
    run("nft", &["add table inet gantry-test"]);
    wait_for("it is alone", HANG, || listing().contains("chain one"));
    // Somebody deletes it whenever it is there, for five seconds and until it has been answered some times.
    let (start, mut deleted) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(5) || (deleted < 5 && start.elapsed() < HANG) {
        if listing().contains("chain one") {
            run("nft", &["delete table inet gantry-test"]);
            deleted += 1;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let replayed = host.client.status().unwrap().unwrap().replayed;
    assert!((5..=12).contains(&replayed), "{replayed}");
    // A file that is none is told, and does not end it.
    host.client.write_firewall(Some(b"nonsense")).unwrap();
    run("nft", &["add table inet gantry-test"]);
    run("nft", &["delete table inet gantry-test"]);
    std::thread::sleep(Duration::from_millis(100));
    assert!(host.client.status().unwrap().is_some());
}
