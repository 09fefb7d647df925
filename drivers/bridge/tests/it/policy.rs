//! What the daemon's options say of all networks, and the host's own rules where they are asked.

#![expect(
    clippy::disallowed_methods,
    reason = "nft and iptables are who we live beside; they inherit the test thread's network namespace"
)]

use crate::families::config;
use crate::lan::Lan;
use crate::publish::{ask, serve, tcp};
use crate::rig::{Host, eventually, on_a_host};
use bridge::policy::{Mark, Policy};
use bridge::{Bridge, Config};
use network::{Driver as _, NetworkConfig, PoolConfig, PortRequest, Protocol, route};
use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;
use stdx::Kind;
use sys::netns;

fn open(host: &Host, policy: Policy) -> Bridge {
    host.open_with(Config { policy, ..host.config() })
}

fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split(' ')).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {arguments}: {output:?}");
    text
}

/// A table like ufw's: what nobody allows does not come in.
fn closed(host_table: &str) {
    run("nft", &format!("add table inet {host_table}"));
    let chain = "{ type filter hook input priority 0 ; policy drop ; }";
    run("nft", &format!("add chain inet {host_table} input {chain}"));
    for rule in [
        "ct state established,related accept",
        "iif lo accept",
        "meta l4proto ipv6-icmp accept",
        "meta l4proto icmp accept",
    ] {
        run("nft", &format!("add rule inet {host_table} input {rule}"));
    }
}

#[test]
fn the_hosts_own_input_rules_decide_about_published_ports_where_they_are_asked() {
    on_a_host(|host| {
        // The strictest check of senders that a host may have.
        std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "1").unwrap();
        let lan = Lan::beside(host, "uplink", 2).with_ipv6(host, "uplink");
        // Killed before it wrote whose they are, the daemon finds the links that it made.
        host.execute(|b| {
            let mac = network::Mac::of([192, 0, 0, 8].into());
            route::add_loop(b, "gantryo-0a1b2c", "gantryi-0a1b2c", mac, 65535);
        });
        let asking = Policy { ask_host: true, ..Policy::default() };
        let bridge = open(host, asking);
        let dual = NetworkConfig {
            name: "bridge".into(),
            default: true,
            ..config(host, &["172.17.0.0/16", "fd17::/64"])
        };
        bridge.create(&dual).unwrap();
        let (web, other) = (host.container(&bridge), host.container(&bridge));
        serve(&web, 80);
        let dns = netns::inside(web.sandbox.netns(), || UdpSocket::bind("0.0.0.0:53"));
        let dns = dns.unwrap().unwrap();
        dns.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let udp = PortRequest { protocol: Protocol::Udp, ..tcp(53, None, Some((5353, 5353))) };
        let wanted = [
            tcp(80, None, Some((8080, 8080))),
            tcp(80, Some("127.0.0.1"), Some((8081, 8081))),
            udp,
        ];
        bridge.publish(&web.endpoint.id, &wanted).unwrap();
        let outside = Some(lan.sandbox.netns());
        let both = || [ask(outside, "192.0.2.1:8080"), ask(outside, "[fd99::1]:8080")];
        let seen = || [Some("192.0.2.2".to_owned()), Some("fd99::2".to_owned())];
        // Neighbours in IPv6 are found a moment after their links are there.
        eventually("IPv6 is there", || both() == seen());
        // A host without rules lets everybody in, and the container sees who it was.
        assert_eq!(both(), seen());
        assert_eq!(ask(outside, "192.0.2.1:8081"), None, "published on loopback alone");
        assert_eq!(ask(outside, "172.17.0.2:80"), None, "a container's own address");
        closed("ufw");
        assert_eq!(both(), [None, None]);
        // The host itself and the containers are asked nothing.
        assert_eq!(ask(None, "127.0.0.1:8080").as_deref(), Some("172.17.0.1"));
        assert_eq!(ask(None, "192.0.2.1:8080").as_deref(), Some("192.0.2.1"));
        assert_eq!(ask(None, "127.0.0.1:8081").as_deref(), Some("172.17.0.1"));
        let neighbour = Some(other.sandbox.netns());
        assert_eq!(ask(neighbour, "192.0.2.1:8080").as_deref(), Some("172.17.0.1"));
        // Allowed for one host, for one link, by protocol: whatever the rule asks.
        let allowed = |rule: &str| {
            run("nft", &format!("add rule inet ufw input {rule}"));
            let got = both();
            let listed = run("nft", "-a list chain inet ufw input");
            let handle = listed.lines().rev().find_map(|l| l.split("handle ").nth(1)).unwrap();
            run("nft", &format!("delete rule inet ufw input handle {}", handle.trim()));
            got
        };
        assert_eq!(allowed("iifname uplink tcp dport { 22, 8000-8100 } accept"), seen());
        assert_eq!(
            allowed("ip saddr 192.0.2.0/24 tcp dport 8080 accept"),
            [seen()[0].clone(), None]
        );
        assert_eq!(allowed("ip saddr 192.0.2.9 tcp dport 8080 accept"), [None, None]);
        assert_eq!(allowed("iifname other tcp dport 8080 accept"), [None, None]);
        assert_eq!(both(), [None, None]);
        // The first packet is not lost, however large.
        run("nft", "add rule inet ufw input udp dport 5353 accept");
        for size in [8, 5000] {
            lan.socket().send_to(&vec![7; size], "192.0.2.1:5353").unwrap();
            let mut buffer = [0; 9000];
            let (length, from) = dns.recv_from(&mut buffer).unwrap();
            assert_eq!((length, from.ip().to_string().as_str()), (size, "192.0.2.2"));
        }
        run("nft", "delete table inet ufw");
        // The same in iptables' words, with a host that does not even send what it does not know.
        for rule in ["-P INPUT DROP", "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT"] {
            run("iptables-nft", rule);
        }
        run("iptables-nft", "-P OUTPUT DROP");
        assert_eq!(ask(outside, "192.0.2.1:8080"), None);
        run("iptables-nft", "-A INPUT -p tcp -m tcp --dport 8080 -j ACCEPT");
        eventually("copies go out", || {
            ask(outside, "192.0.2.1:8080").as_deref() == Some("192.0.2.2")
        });
        for rule in ["-P INPUT ACCEPT", "-P OUTPUT ACCEPT", "-F INPUT"] {
            run("iptables-nft", rule);
        }

        // Somebody takes the door away, or flushes everything: it is made again.
        host.delete_link("gantryi-0a1b2c");
        eventually("the door is back", || both() == seen());
        run("nft", "flush ruleset");
        eventually("the rules are back", || {
            both() == seen() && run("nft", "list tables").lines().count() == 4
        });
        // A new daemon that does not ask leaves nothing of it behind.
        drop(bridge);
        let bridge = host.open();
        bridge.create(&dual).unwrap();
        bridge.recover(Vec::new()).unwrap();
        assert!(host.link("gantryo-0a1b2c").is_none());
        assert_eq!(run("nft", "list tables").lines().count(), 2);
        drop((bridge, web, other));
        let bridge = open(host, asking);
        bridge.create(&dual).unwrap();
        bridge.delete(&host.id).unwrap();
        assert!(host.link("gantryo-0a1b2c").is_none());
        assert_eq!(run("nft", "list tables"), "");
        // Somebody else's link of the name is left alone, and nothing is half made.
        host.execute(|b| {
            route::add_bridge(b, "gantryi-0a1b2c", network::Mac::of([1, 1, 1, 1].into()), 1500);
        });
        assert_eq!(bridge.create(&dual).unwrap_err().kind(), Kind::Conflict);
        drop(bridge);
        Bridge::cleanup(&host.config()).unwrap();
        host.delete_link("gantryi-0a1b2c");
    });
}

#[test]
fn packets_with_the_mark_and_direct_routes_to_published_ports_come_in() {
    on_a_host(|host| {
        let lan = Lan::beside(host, "uplink", 2);
        let mark = Some(Mark { value: 0x10, mask: 0xf0 });
        let bridge =
            open(host, Policy { direct_routing: true, accept_mark: mark, ..Policy::default() });
        bridge.create(&NetworkConfig::bridge(host.id, None)).unwrap();
        let web = host.container(&bridge);
        for port in [80, 81, 82] {
            serve(&web, port);
        }
        let wanted = [
            tcp(80, None, Some((8080, 8080))),
            tcp(80, Some("192.0.2.1"), Some((8079, 8079))),
            tcp(81, Some("127.0.0.1"), Some((8081, 8081))),
        ];
        bridge.publish(&web.endpoint.id, &wanted).unwrap();
        let outside = Some(lan.sandbox.netns());
        assert_eq!(ask(outside, "172.17.0.2:80").as_deref(), Some("192.0.2.2"));
        assert_eq!(ask(outside, "172.17.0.2:81"), None, "published on loopback alone");
        assert_eq!(ask(outside, "172.17.0.2:82"), None);
        run("nft", "add table inet marks");
        let chain = "{ type filter hook prerouting priority -200 ; }";
        run("nft", &format!("add chain inet marks prerouting {chain}"));
        run("nft", "add rule inet marks prerouting tcp dport 82 meta mark set 0x1f");
        run("nft", "add rule inet marks prerouting tcp dport 81 meta mark set 0x2f");
        assert_eq!(ask(outside, "172.17.0.2:82").as_deref(), Some("192.0.2.2"));
        assert_eq!(ask(outside, "172.17.0.2:81"), None);
        bridge.leave(&web.endpoint.id).unwrap();
        assert_eq!(ask(outside, "172.17.0.2:80"), None);
    });
}

#[test]
fn without_rules_about_a_family_nothing_is_done_to_it() {
    on_a_host(|host| {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        let lan = Lan::beside(host, "uplink", 2).with_ipv6(host, "uplink");
        let none = Policy { ipv4: false, ipv6: false, forward: false, ..Policy::default() };
        let bridge = open(host, none);
        let dual = config(host, &["10.9.0.0/16", "fd09::/64"]);
        run("iptables-nft", "-P FORWARD DROP");
        bridge.create(&dual).unwrap();
        let web = host.container(&bridge);
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), "0\n");
        assert!(!run("nft", "list ruleset").contains("gantry"));
        assert!(!run("iptables-nft", "-S").contains("GANTRY"));
        let refused = bridge.publish(&web.endpoint.id, &[tcp(80, None, Some((80, 80)))]);
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), Kind::NotImplemented);
        assert!(refused.to_string().contains("option iptables is false"), "{refused}");
        bridge.leave(&web.endpoint.id).unwrap();
        drop(web);
        bridge.delete(&host.id).unwrap();
        drop(bridge);

        // One family alone: the other is as it was.
        std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        let bridge = open(host, Policy { ipv6: false, ..Policy::default() });
        bridge.create(&dual).unwrap();
        let web = host.container(&bridge);
        serve(&web, 80);
        let got = bridge.publish(&web.endpoint.id, &[tcp(80, None, Some((8080, 8080)))]).unwrap();
        assert_eq!(got.len(), 1, "IPv4 alone");
        let outside = Some(lan.sandbox.netns());
        assert_eq!(ask(outside, "192.0.2.1:8080").as_deref(), Some("192.0.2.2"));
        assert_eq!(ask(outside, "10.9.0.2:80"), None);
        eventually("nobody is in the way", || {
            ask(outside, "[fd09::2]:80").as_deref() == Some("fd99::2")
        });
        let six = bridge.publish(&web.endpoint.id, &[tcp(80, Some("::"), Some((8081, 8081)))]);
        assert!(six.unwrap_err().to_string().contains("option ip6tables is false"));
    });
}

#[test]
fn containers_go_out_by_another_address_than_the_bridges() {
    on_a_host(|host| {
        let bridge = host.open();
        let dual = config(host, &["10.9.0.0/16", "fd09::/64"]);
        let way_out = |pool: Option<PoolConfig>, address: &str| {
            pool.map(|pool| PoolConfig { way_out: address.parse().ok(), ..pool })
        };
        let asked = NetworkConfig {
            ipv4: way_out(dual.ipv4.clone(), "10.9.0.2"),
            ipv6: way_out(dual.ipv6.clone(), "fd09::fe"),
            ..dual.clone()
        };
        let network = bridge.create(&asked).unwrap();
        assert_eq!(network.pools[0].gateway.unwrap().to_string(), "10.9.0.1");
        let container = host.container(&bridge);
        let gateways: Vec<_> = container.joined.gateways.iter().map(ToString::to_string).collect();
        assert_eq!(gateways, ["10.9.0.2", "fd09::fe"]);
        // Nobody else gets it.
        assert_eq!(container.address().to_string(), "10.9.0.3");
        drop(container);
        let far = NetworkConfig { ipv4: way_out(dual.ipv4.clone(), "10.8.0.1"), ..dual };
        let far = NetworkConfig { id: network::NetworkId::random().unwrap(), ..far };
        let far = NetworkConfig { ipv6: None, ..far };
        let far = NetworkConfig {
            ipv4: far.ipv4.map(|p| PoolConfig { subnet: "10.7.0.0/16".parse().ok(), ..p }),
            ..far
        };
        assert!(
            bridge.create(&far).unwrap_err().to_string().contains("must belong to the master pool")
        );
    });
}
