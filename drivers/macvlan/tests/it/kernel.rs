//! What not every kernel has: ipvlan, 802.1q, links that lead nowhere. Where it is, it works; where it is not, that is
//! clearly said and nothing is left behind.

use crate::{config, join, links, on_a_host, open, send};
use macvlan::{Kind, Macvlan};
use network::route::{self, LinkInfo};
use network::{Driver as _, Endpoint, EndpointId, NetworkConfig, NetworkId, PoolConfig, Sandbox};
use std::net::IpAddr;
use sys::netlink::{Batch, Protocol, Socket};

/// Whether the kernel has what a container's way to a network needs. If not, the driver says so clearly, and the test does
/// not run on.
fn has(driver: &Macvlan, network: &NetworkConfig, test: &str) -> bool {
    let before = links();
    let outcome = driver.create(network).and_then(|_| {
        let mut sandbox = Sandbox::create().unwrap();
        let container = types::ContainerId::from_bytes(&[2; 32]);
        let endpoint = Endpoint::new(EndpointId::random().unwrap(), network.id, container);
        let joined = driver.join(&endpoint, &mut sandbox);
        driver.leave(&endpoint.id).unwrap();
        joined
    });
    driver.delete(&network.id).unwrap();
    assert_eq!(links(), before, "left over");
    let Err(e) = outcome else { return true };
    assert_eq!(e.kind(), stdx::Kind::NotImplemented, "{e}");
    assert!(e.to_string().contains("this kernel has no support for it"), "{e}");
    testkit::need::skip(test, &e.to_string());
    false
}

/// A network of these addresses.
fn subnet(text: &str, options: &[(&str, &str)]) -> NetworkConfig {
    let pool = PoolConfig { subnet: text.parse().ok(), ..PoolConfig::default() };
    let id = NetworkId::random().unwrap();
    NetworkConfig { id, ipv4: Some(pool), ..config(options) }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link(name: &str) -> Option<LinkInfo> {
    route::link(&mut Socket::open(Protocol::Route).unwrap(), name).unwrap()
}

fn execute(socket: &mut Socket, build: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::new();
    build(&mut batch);
    socket.execute(batch).unwrap();
}

/// The machine on the LAN hears frames with this tag too, as `address`.
fn tag(lan: &mut Sandbox, tag: u16, address: &str) {
    let name = format!("eth0.{tag}");
    let below = route::link(lan.route(), "eth0").unwrap().unwrap().index;
    execute(lan.route(), |b| route::add_vlan(b, &name, below, tag));
    let index = route::link(lan.route(), &name).unwrap().unwrap().index;
    execute(lan.route(), |b| {
        route::add_address(b, index, address.parse().unwrap());
        route::raise(b, index);
    });
}

#[test]
fn ipvlan_shares_the_parents_address_in_every_mode() {
    on_a_host(|lan| {
        let driver = open(Kind::Ipvlan);
        let plain = config(&[("parent", "uplink")]);
        if !has(&driver, &plain, "ipvlan_shares_the_parents_address_in_every_mode") {
            return;
        }
        let parent = link("uplink").unwrap();
        // The way of packets in the modes that route: the LAN's machine sends them to the host, the host out through the link.
        let mut host = Socket::open(Protocol::Route).unwrap();
        execute(&mut host, |b| {
            route::add_address(b, parent.index, "192.0.2.9/24".parse().unwrap());
        });
        let there = route::link(lan.route(), "eth0").unwrap().unwrap().index;
        execute(lan.route(), |b| route::add_default_route(b, there, ip("192.0.2.9")));
        for (mode, network, gateways) in [
            ("l2", subnet("192.0.2.0/24", &[("parent", "uplink"), ("ipvlan_mode", "l2")]), 1),
            ("l3", subnet("10.5.0.0/24", &[("parent", "uplink"), ("ipvlan_mode", "l3")]), 0),
            ("l3s", subnet("10.6.0.0/24", &[("parent", "uplink"), ("ipvlan_mode", "l3s")]), 0),
        ] {
            driver.create(&network).unwrap();
            let (mut a, one, joined) = join(&driver, network.id);
            let (b, two, other) = join(&driver, network.id);
            let (from, to) = (joined.addresses[0].addr(), other.addresses[0].addr());
            assert_eq!((joined.mac, joined.gateways.len()), (None, gateways), "{mode}");
            let inside = route::link(a.route(), &joined.interface).unwrap().unwrap();
            assert_eq!(inside.kind, "ipvlan", "{mode}");
            assert_eq!(send(&a, lan, ip("192.0.2.1")), Some(from), "{mode}: out");
            assert_eq!(send(lan, &a, from), Some(ip("192.0.2.1")), "{mode}: in");
            assert_eq!(send(&a, &b, to), Some(from), "{mode}: neighbours");
            driver.leave(&one.id).unwrap();
            driver.leave(&two.id).unwrap();
            drop((a, b));
            driver.delete(&network.id).unwrap();
        }
        // Neighbours that keep apart see the LAN, and not each other.
        let flags = [("parent", "uplink"), ("ipvlan_flag", "private")];
        let network = subnet("192.0.2.0/24", &flags);
        driver.create(&network).unwrap();
        let (a, one, joined) = join(&driver, network.id);
        let (b, two, other) = join(&driver, network.id);
        assert_eq!(send(&a, lan, ip("192.0.2.1")), Some(joined.addresses[0].addr()));
        assert_eq!(send(&a, &b, other.addresses[0].addr()), None);
        driver.leave(&one.id).unwrap();
        driver.leave(&two.id).unwrap();
        drop((a, b));
        driver.delete(&network.id).unwrap();
    });
}

#[test]
fn a_tagged_parent_is_made_when_it_is_needed_and_removed() {
    on_a_host(|lan| {
        for kind in [Kind::Macvlan, Kind::Ipvlan] {
            let driver = open(kind);
            let network = subnet("198.51.100.0/24", &[("parent", "uplink.50")]);
            let test = "a_tagged_parent_is_made_when_it_is_needed_and_removed";
            if !has(&driver, &network, test) {
                continue;
            }
            if kind == Kind::Macvlan {
                tag(lan, 50, "198.51.100.1/24");
                tag(lan, 51, "203.0.113.1/24");
            }
            driver.create(&network).unwrap();
            let made = link("uplink.50").unwrap();
            assert_eq!(made.alias, format!("gantry-{kind}:gantry_0a1b2c:{}", network.id));
            let other = subnet("203.0.113.0/24", &[("parent", "uplink.51")]);
            driver.create(&other).unwrap();
            let (a, one, joined) = join(&driver, network.id);
            let (b, two, _) = join(&driver, other.id);
            // Each tag is a LAN of its own.
            let from = Some(joined.addresses[0].addr());
            assert_eq!(send(&a, lan, ip("198.51.100.1")), from);
            assert!(send(&b, lan, ip("203.0.113.1")).is_some());
            // A daemon that was killed and knows one network only removes the other's parent.
            driver.leave(&two.id).unwrap();
            drop(b);
            let again = open(kind);
            again.create(&network).unwrap();
            assert_eq!(again.recover(Vec::new()).unwrap().removed, ["uplink.51"]);
            assert_eq!(send(&a, lan, ip("198.51.100.1")), from);
            driver.leave(&one.id).unwrap();
            drop(a);
            again.delete(&network.id).unwrap();
            assert!(link("uplink.50").is_none());
            // What somebody else made is used and stays.
            let below = link("uplink").unwrap().index;
            let mut host = Socket::open(Protocol::Route).unwrap();
            execute(&mut host, |b| route::add_vlan(b, "uplink.50", below, 50));
            let theirs = link("uplink.50").unwrap().index;
            execute(&mut host, |b| route::raise(b, theirs));
            again.create(&network).unwrap();
            let (a, one, _) = join(&again, network.id);
            assert!(send(&a, lan, ip("198.51.100.1")).is_some());
            again.leave(&one.id).unwrap();
            drop(a);
            again.delete(&network.id).unwrap();
            again.create(&other).unwrap();
            Macvlan::cleanup("gantry_0a1b2c").unwrap();
            assert_eq!(link("uplink.50").map(|l| l.index), Some(theirs));
            assert!(link("uplink.51").is_none());
            execute(&mut host, |b| route::delete_link(b, theirs));
        }
    });
}

#[test]
fn a_parent_that_leads_nowhere_joins_its_containers_alone() {
    on_a_host(|_| {
        for kind in [Kind::Macvlan, Kind::Ipvlan] {
            let driver = open(kind);
            let network = subnet("198.51.100.0/24", &[]);
            let test = "a_parent_that_leads_nowhere_joins_its_containers_alone";
            if !has(&driver, &network, test) {
                continue;
            }
            driver.create(&network).unwrap();
            let name = format!("d{}-{}", &kind.to_string()[..1], &network.id.to_string()[..12]);
            assert!(link(&name).is_some(), "{name}");
            let (a, one, joined) = join(&driver, network.id);
            let (b, two, other) = join(&driver, network.id);
            assert!(joined.gateways.is_empty());
            let to = other.addresses[0].addr();
            assert_eq!(send(&a, &b, to), Some(joined.addresses[0].addr()));
            driver.leave(&one.id).unwrap();
            driver.leave(&two.id).unwrap();
            drop((a, b));
            driver.delete(&network.id).unwrap();
            assert!(link(&name).is_none());
        }
    });
}
