//! Beside other programs' firewalls.

#![expect(
    clippy::disallowed_methods,
    reason = "nft and iptables are who we live beside; they inherit the test thread's network namespace"
)]

use crate::lan::Lan;
use crate::rig::{Container, Host, eventually, on_a_host, send};
use network::{Driver as _, PortRequest, Protocol};
use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split(' ')).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {arguments}: {output:?}");
    text
}

/// Whether one of three datagrams gets there: one may be lost while the first neighbours are asked for.
fn reaches_out(lan: &Lan, container: &Container) -> bool {
    let (from, to) = (container.socket(), lan.socket());
    (0..3).any(|_| send(&from, &to, lan.address) == Some(IpAddr::V4(lan.host)))
}

#[test]
fn a_foreign_policy_of_drop_lets_containers_through_and_is_left_as_it_was() {
    on_a_host(|host: &Host| {
        let lan = Lan::beside(host, "uplink", 2);
        run("iptables-nft", "-P FORWARD DROP");
        run("iptables-nft", "-A FORWARD -s 203.0.113.0/24 -j ACCEPT");
        let before = run("iptables-nft", "-S FORWARD");
        let (bridge, _) = host.bridge();
        let a = host.container(&bridge);
        assert!(reaches_out(&lan, &a));
        let rules = run("iptables-nft", "-S");
        for line in [
            "-A FORWARD -m comment --comment gantry_0a1b2c -j GANTRY_0A1B2C",
            "-A GANTRY_0A1B2C -i gantry0-0a1b2c -m comment --comment \"gantry_0a1b2c from gantry0-0a1b2c\" -j ACCEPT",
        ] {
            assert!(rules.contains(line), "{rules}");
        }
        // Everybody's own rule is still there, and ours is there once however often we look.
        bridge.recover(Vec::new()).unwrap();
        assert_eq!(run("iptables-nft", "-S FORWARD").lines().count(), before.lines().count() + 1);

        // Who flushes the chain gets it again.
        run("iptables-nft", "-F FORWARD");
        eventually("it is back", || run("iptables-nft", "-S FORWARD").contains("GANTRY"));
        let b = host.container(&bridge);
        assert!(reaches_out(&lan, &b));

        bridge.leave(&a.endpoint.id).unwrap();
        bridge.leave(&b.endpoint.id).unwrap();
        drop((a, b));
        eventually("all have gone", || bridge.leases() == 0);
        bridge.delete(&host.id).unwrap();
        assert_eq!(
            run("iptables-nft", "-S"),
            "-P INPUT ACCEPT\n-P FORWARD DROP\n-P OUTPUT ACCEPT\n"
        );
    });
}

#[test]
fn a_policy_that_comes_later_is_noticed_and_cleanup_takes_back_what_we_did() {
    on_a_host(|host: &Host| {
        let lan = Lan::beside(host, "uplink", 2);
        let (bridge, _) = host.bridge();
        let a = host.container(&bridge);
        run("iptables-nft", "-P FORWARD DROP");
        eventually("it is let through", || reaches_out(&lan, &a));
        // A crash: nobody takes anything back but the cleanup.
        drop(bridge);
        drop(a);
        bridge::Bridge::cleanup(&host.config()).unwrap();
        assert!(!run("iptables-nft", "-S").contains("GANTRY"));
    });
}

#[test]
fn rules_of_dockers_users_are_asked_first() {
    on_a_host(|host: &Host| {
        let lan = Lan::beside(host, "uplink", 2);
        run("iptables-nft", "-N DOCKER-USER");
        run("iptables-nft", "-A DOCKER-USER -d 192.0.2.2 -j DROP");
        run("iptables-nft", "-P FORWARD DROP");
        let (bridge, _) = host.bridge();
        let a = host.container(&bridge);
        assert!(!reaches_out(&lan, &a));
        run("iptables-nft", "-F DOCKER-USER");
        assert!(reaches_out(&lan, &a));
        let ssh = PortRequest {
            protocol: Protocol::Tcp,
            container: 22,
            address: None,
            ports: Some((2222, 2222)),
        };
        bridge.publish(&a.endpoint.id, &[ssh]).unwrap();
        drop((bridge, a));
        bridge::Bridge::cleanup(&host.config()).unwrap();
        let left = run("iptables-nft", "-S");
        assert!(left.contains("-N DOCKER-USER") && !left.contains("-j DOCKER-USER"), "{left}");
    });
}

#[test]
fn the_file_for_the_helper_writes_the_same_tables() {
    on_a_host(|host: &Host| {
        let file = host.state.path().join("netd/firewall");
        let config = bridge::Config { firewall: Some(file.clone()), ..host.config() };
        let bridge = host.open_with(config.clone());
        bridge.create(&network::NetworkConfig::bridge(host.id, None)).unwrap();
        let a = host.container(&bridge);
        let web = PortRequest {
            protocol: Protocol::Tcp,
            container: 80,
            address: None,
            ports: Some((8080, 8080)),
        };
        bridge.publish(&a.endpoint.id, &[web]).unwrap();
        let listed = || run("nft", "list ruleset");
        eventually("all elements are there", || {
            listed().contains("tcp . 8080") && listed().contains("172.17.0.2")
        });
        // The file follows within a moment.
        let whole = listed();
        let port = bridge.netlink_port().unwrap();
        assert_ne!(port, 0);
        eventually("the file says the same", || {
            let bytes = std::fs::read(&file).unwrap();
            let batch = sys::netlink::Batch::parse(&bytes).unwrap();
            batch.messages().any(|m| m.body.windows(4).any(|w| w == [172, 17, 0, 2]))
        });
        drop(bridge);
        run("nft", "flush ruleset");
        let batch = sys::netlink::Batch::parse(&std::fs::read(&file).unwrap()).unwrap();
        nft::Firewall::open().unwrap().write(batch).unwrap();
        assert_eq!(listed(), whole);
        drop(a);
        bridge::Bridge::cleanup(&config).unwrap();
        std::fs::remove_dir(host.state.path().join("netd")).unwrap();
    });
}

/// What firewalld makes of a host with nothing but its default zone: it comes after ours, and refuses what no zone takes.
const FIREWALLD: &str = "add table inet firewalld
add chain inet firewalld filter_FORWARD { type filter hook forward priority 10 ; policy accept ; }
add rule inet firewalld filter_FORWARD ct state established,related accept
add rule inet firewalld filter_FORWARD ct status dnat accept
add rule inet firewalld filter_FORWARD iifname lo accept
add rule inet firewalld filter_FORWARD ct state invalid drop
add rule inet firewalld filter_FORWARD reject with icmpx admin-prohibited
";

#[test]
fn a_table_like_firewallds_lets_containers_through_also_after_its_reload() {
    on_a_host(|host: &Host| {
        let lan = Lan::beside(host, "uplink", 2);
        let rules = host.state.path().join("firewalld");
        std::fs::write(&rules, FIREWALLD).unwrap();
        let load = || drop(run("nft", &format!("-f {}", rules.display())));
        load();
        let (bridge, _) = host.bridge();
        let a = host.container(&bridge);
        assert!(reaches_out(&lan, &a));
        run("nft", "delete table inet firewalld");
        load();
        eventually("it passes after a reload", || reaches_out(&lan, &a));
        assert!(bridge.warnings().is_empty(), "{:?}", bridge.warnings());
        bridge.leave(&a.endpoint.id).unwrap();
        drop(a);
        eventually("all have gone", || bridge.leases() == 0);
        bridge.delete(&host.id).unwrap();
        assert!(!run("nft", "list ruleset").contains("gantry"));
        run("nft", "delete table inet firewalld");

        // A table that its owner alone may change: nothing fails, and what does not work is told.
        let mut owner = Command::new("nft");
        let mut owner =
            owner.arg("-i").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let owned =
            FIREWALLD.replace("table inet firewalld\n", "table inet firewalld { flags owner ; }\n");
        owner.stdin.as_mut().unwrap().write_all(owned.as_bytes()).unwrap();
        eventually("it is there", || run("nft", "list ruleset").contains("admin-prohibited"));
        bridge.create(&network::NetworkConfig::bridge(host.id, None)).unwrap();
        let a = host.container(&bridge);
        assert!(!reaches_out(&lan, &a));
        assert!(bridge.warnings()[0].contains("firewall-cmd"), "{:?}", bridge.warnings());
        // Its owner is gone, and so is the table.
        drop(owner.stdin.take());
        owner.wait().unwrap();
        eventually("it passes", || reaches_out(&lan, &a));
        // Of tables that go with their owner the kernel tells nobody.
        bridge.recover(Vec::new()).unwrap();
        assert!(bridge.warnings().is_empty());
        std::fs::remove_file(&rules).unwrap();
    });
}

#[test]
fn two_daemons_share_a_host() {
    on_a_host(|host: &Host| {
        let lan = Lan::beside(host, "uplink", 2);
        let (one, first) = host.bridge();
        let other = bridge::Config {
            instance: Some("0d1e2f".into()),
            state: host.state.path().join("other"),
            ..host.config()
        };
        let two = host.open_with(other.clone());
        let id = network::NetworkId::random().unwrap();
        let second = two.create(&network::NetworkConfig::bridge(id, None)).unwrap();
        assert_ne!(first.pools[0].subnet, second.pools[0].subnet);
        let (a, b) = (host.container(&one), host.container_on(&two, id));
        assert!(reaches_out(&lan, &a) && reaches_out(&lan, &b));
        assert_eq!(send(&a.socket(), &b.socket(), b.address()), None);
        assert_eq!(send(&b.socket(), &a.socket(), a.address()), None);
        // What one of them puts right or takes away is not the other's.
        one.recover(Vec::new()).unwrap();
        assert!(reaches_out(&lan, &b));
        drop((one, a));
        bridge::Bridge::cleanup(&host.config()).unwrap();
        assert!(reaches_out(&lan, &b));
        drop((two, b));
        bridge::Bridge::cleanup(&other).unwrap();
        std::fs::remove_dir(host.state.path().join("other")).unwrap();
    });
}
