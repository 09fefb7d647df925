//! Containers that may not go everywhere.

use crate::lan::Lan;
use crate::rig::{Container, Host, add_address, eventually, on_a_host, send};
use bridge::{Bridge, Config, rules::egress};
use network::{
    Driver as _, Endpoint, Live, NetworkConfig, PoolConfig, PortRequest, Protocol, Sandbox,
};
use nft::{Element, Family, Field, Firewall, Value};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

const TABLE: &str = "gantry_0a1b2c";

fn container(host: &Host, bridge: &Bridge, rules: &str) -> Container {
    let mut sandbox = Sandbox::create().unwrap();
    let endpoint = Endpoint { egress: Some(rules.parse().unwrap()), ..host.endpoint() };
    let joined = bridge.join(&endpoint, &mut sandbox).unwrap();
    Container { sandbox, endpoint, joined }
}

/// It as the next daemon finds it.
fn live(container: &Container) -> Live {
    Live {
        endpoint: container.endpoint.clone(),
        joined: container.joined.clone(),
        published: Vec::new(),
        netns: None,
    }
}

/// Whether `from` reaches `to`.
fn reaches(from: &UdpSocket, to: &UdpSocket, address: Ipv4Addr) -> bool {
    to.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
    send(from, to, address).is_some()
}

fn has_table() -> bool {
    Firewall::open().unwrap().has(Family::Bridge, &egress::table(TABLE)).unwrap()
}

fn gateway() -> UdpSocket {
    UdpSocket::bind("172.17.0.1:0").unwrap()
}

#[test]
fn nothing_leaves_but_answers() {
    on_a_host(|host| {
        let (bridge, _) = host.bridge();
        let lan = Lan::beside(host, "uplink", 2);
        let neighbour = host.container(&bridge);
        assert!(!has_table(), "nobody has rules");
        let jailed = container(host, &bridge, "none");
        assert!(has_table());
        let mut log = nft::Log::listen(egress::group(TABLE)).unwrap();

        let (inside, near) = (jailed.socket(), neighbour.socket());
        let host_gateway = Ipv4Addr::new(172, 17, 0, 1);
        assert!(!reaches(&inside, &near, neighbour.address()), "a neighbour");
        assert!(!reaches(&inside, &gateway(), host_gateway), "the host");
        assert!(!reaches(&inside, &lan.socket(), lan.address), "the world");
        assert!(reaches(&near, &lan.socket(), lan.address), "who has no rules");

        // What was denied is told.
        let mut told = Vec::new();
        eventually("denied packets are told", || {
            told.extend(log.receive().unwrap_or_default());
            told.iter().filter(|d| d.protocol == Some(17)).count() >= 3
        });
        let port = host.link(jailed.joined.host_interface.as_deref().unwrap()).unwrap().index;
        assert!(told.iter().all(|denied| denied.link == port));
        for address in [neighbour.address(), host_gateway, lan.address] {
            assert!(told.iter().any(|denied| denied.address == Some(address.into())), "{address}");
        }

        // Whoever came is answered: a neighbour, the host, somebody outside by a published port.
        assert!(reaches(&near, &inside, jailed.address()));
        assert!(reaches(&inside, &near, neighbour.address()), "the answer");
        assert!(!reaches(&inside, &neighbour.socket(), neighbour.address()), "another port");
        let port = inside.local_addr().unwrap().port();
        let request = PortRequest {
            protocol: Protocol::Udp,
            container: port,
            address: None,
            ports: Some((18_080, 18_080)),
        };
        bridge.publish(&jailed.endpoint.id, &[request]).unwrap();
        let outside = lan.socket();
        outside.send_to(b"hello", (lan.host, 18_080)).unwrap();
        let mut buffer = [0; 16];
        inside.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let (_, from) = inside.recv_from(&mut buffer).unwrap();
        assert_eq!(from.ip(), IpAddr::V4(lan.address));
        inside.send_to(b"answer", from).unwrap();
        outside.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let (length, from) = outside.recv_from(&mut buffer).unwrap();
        assert_eq!(
            (&buffer[..length], from),
            (&b"answer"[..], SocketAddr::from((lan.host, 18_080)))
        );

        bridge.leave(&jailed.endpoint.id).unwrap();
        // A socket in it keeps a namespace alive.
        drop((jailed, inside));
        eventually("the table goes with the last of them", || !has_table());
    });
}

#[test]
fn what_is_allowed_passes_and_survives_a_flush_and_a_daemon() {
    on_a_host(|host| {
        let (bridge, _) = host.bridge();
        let lan = Lan::beside(host, "uplink", 2);
        let (open, shut, named) = (lan.socket(), lan.socket(), lan.socket());
        let port = open.local_addr().unwrap().port();
        let rules = format!("allow:{}/32:{port}/udp,example.org", lan.address);
        let mut jailed = container(host, &bridge, &rules);
        let inside = jailed.socket();
        let link = jailed.joined.host_interface.clone().unwrap();
        let named_port = named.local_addr().unwrap().port();
        // As the helper does when it has resolved a name.
        let learn = |seconds| {
            let key = vec![
                Field::Link(link.clone()),
                Field::Protocol(17),
                Field::Port(named_port),
                Field::Address(lan.address.into()),
            ];
            let element = Element { key, value: Value::For(Duration::from_secs(seconds)) };
            let table = egress::table(TABLE);
            let batch = nft::encode_renewal(Family::Bridge, &table, &[("own-services4", element)]);
            Firewall::open().unwrap().write(batch).unwrap();
        };
        let check = |when: &str, learned: bool| {
            assert!(reaches(&inside, &open, lan.address), "{when}: allowed");
            assert!(!reaches(&inside, &shut, lan.address), "{when}: another port");
            assert_eq!(reaches(&inside, &named, lan.address), learned, "{when}: a name's address");
        };
        check("at first", false);
        learn(60);
        learn(60);
        check("after a name was resolved", true);
        // Another network comes: the tables are written anew, and what was learned stays.
        let other = NetworkConfig {
            id: network::NetworkId::random().unwrap(),
            default: false,
            ..NetworkConfig::bridge(host.id, None)
        };
        bridge.create(&other).unwrap();
        check("after another network", true);
        bridge.delete(&other.id).unwrap();

        for table in [egress::table(TABLE), TABLE.to_owned()] {
            Firewall::open().unwrap().delete(Family::Bridge, &table).unwrap();
            eventually("put back", || {
                Firewall::open().unwrap().has(Family::Bridge, &table).unwrap()
            });
        }
        check("after a flush", false);

        learn(60);
        drop(bridge);
        check("without a daemon", true);
        let bridge = host.open();
        bridge.create(&NetworkConfig::bridge(host.id, None)).unwrap();
        bridge.recover(vec![live(&jailed)]).unwrap();
        check("with another daemon", true);
        learn(1);
        eventually("an address's time ends", || !reaches(&inside, &named, lan.address));
        check("after the address's time", false);
        bridge.detach(&jailed.endpoint.id, "", &mut jailed.sandbox).unwrap();
        eventually("the table goes", || !has_table());
        // One that a daemon left behind goes when the next starts.
        let jailed = container(host, &bridge, "none");
        drop((jailed, bridge));
        let bridge = host.open();
        bridge.create(&NetworkConfig::bridge(host.id, None)).unwrap();
        bridge.recover(Vec::new()).unwrap();
        assert!(!has_table());
    });
}

#[test]
fn a_networks_rules_hold_beside_a_containers() {
    on_a_host(|host| {
        let bridge = host.open();
        let lan = Lan::beside(host, "uplink", 2);
        let subnet = |text: &str| {
            Some(PoolConfig { subnet: Some(text.parse().unwrap()), ..PoolConfig::default() })
        };
        let config = |id, rules: &str| NetworkConfig {
            id,
            default: false,
            ipv4: subnet("10.88.0.0/24"),
            ipv6: subnet("fd88::/64"),
            options: [("gantry.egress".to_owned(), rules.to_owned())].into(),
            ..NetworkConfig::bridge(id, None)
        };
        let wrong = bridge.create(&config(host.id, "allow:10.0.0.1/8")).unwrap_err();
        assert!(wrong.to_string().contains("bits beyond"), "{wrong}");

        let allowed = lan.socket();
        let port = allowed.local_addr().unwrap().port();
        bridge.create(&config(host.id, &format!("allow:{}:{port}/udp", lan.address))).unwrap();
        let (plain, neighbour) = (host.container(&bridge), host.container(&bridge));
        let inside = plain.socket();
        assert!(reaches(&inside, &neighbour.socket(), neighbour.address()), "within the network");
        assert!(reaches(&inside, &allowed, lan.address));
        assert!(!reaches(&inside, &lan.socket(), lan.address));
        let host_socket = UdpSocket::bind("10.88.0.1:0").unwrap();
        assert!(!reaches(&inside, &host_socket, Ipv4Addr::new(10, 88, 0, 1)), "the host");

        // Who writes to a neighbour in the name of somebody outside opens no way to him.
        let far = lan.socket();
        let place = (lan.address, far.local_addr().unwrap().port());
        add_address(&neighbour, &format!("{}/32", lan.address));
        let forged = sys::netns::inside(neighbour.sandbox.netns(), move || UdpSocket::bind(place));
        let port_inside = inside.local_addr().unwrap().port();
        forged.unwrap().unwrap().send_to(b"hello", (plain.address(), port_inside)).unwrap();
        assert!(!reaches(&inside, &far, lan.address), "the answer to a forged sender");

        // Both sets of rules: what one alone allows is not enough.
        let narrow = container(host, &bridge, &format!("allow:{}", lan.address));
        let socket = narrow.socket();
        assert!(reaches(&socket, &allowed, lan.address));
        assert!(!reaches(&socket, &lan.socket(), lan.address), "the network forbids");
        assert!(!reaches(&socket, &neighbour.socket(), neighbour.address()), "it forbids itself");

        // IPv6: neighbours are found, the host and others are not reached.
        let six = |container: &Container| {
            let netns = container.sandbox.netns();
            sys::netns::inside(netns, || UdpSocket::bind("[::]:0")).unwrap().unwrap()
        };
        let at = |container: &Container| {
            container.joined.addresses.iter().find(|a| a.addr().is_ipv6()).unwrap().addr()
        };
        let send_six = |from: &UdpSocket, to: &UdpSocket, address: IpAddr, patience| {
            to.set_read_timeout(Some(patience)).unwrap();
            let port = to.local_addr().unwrap().port();
            let sent = from.send_to(b"hello", (address, port));
            sent.is_ok() && to.recv_from(&mut [0; 16]).is_ok()
        };
        // On a busy machine the first question for a neighbour may be lost, and is repeated after a second.
        let passes = |from: &UdpSocket, to: &UdpSocket, address| {
            send_six(from, to, address, Duration::from_secs(3))
        };
        let is_dropped = |from: &UdpSocket, to: &UdpSocket, address| {
            !send_six(from, to, address, Duration::from_millis(300))
        };
        let (a, b, c) = (six(&plain), six(&neighbour), six(&narrow));
        assert!(passes(&a, &b, at(&neighbour)), "within the network by IPv6");
        assert!(is_dropped(&c, &b, at(&neighbour)), "its own rules by IPv6");
        assert!(passes(&b, &c, at(&narrow)) && passes(&c, &b, at(&neighbour)), "an answer by IPv6");
        let host_six = UdpSocket::bind("[::]:0").unwrap();
        assert!(is_dropped(&a, &host_six, "fd88::1".parse().unwrap()), "the host by IPv6");
    });
}

#[test]
fn what_puts_the_firewall_back_knows_the_rules_of_the_living_at_every_moment_of_a_start() {
    on_a_host(|host| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("firewall");
        let open = || host.open_with(Config { firewall: Some(path.clone()), ..host.config() });
        // As the helper does while no daemon is there.
        let replay = || {
            let mut firewall = Firewall::open().unwrap();
            firewall.delete(Family::Bridge, &egress::table(TABLE)).unwrap();
            assert!(!has_table());
            let bytes = std::fs::read(&path).unwrap();
            firewall.write(sys::netlink::Batch::parse(&bytes).unwrap()).unwrap();
        };
        let lan = Lan::beside(host, "uplink", 2);
        let outside = lan.socket();
        let config = NetworkConfig::bridge(host.id, None);
        let bridge = open();
        bridge.create(&config).unwrap();
        let jailed = container(host, &bridge, "none");
        let inside = jailed.socket();
        eventually("it is written down", || path.exists());
        let before = std::fs::read(&path).unwrap();

        // The next daemon makes its networks, and dies.
        drop(bridge);
        let bridge = open();
        bridge.create(&config).unwrap();
        drop(bridge);
        replay();
        assert!(has_table());
        assert!(!reaches(&inside, &outside, lan.address), "nobody has recovered it");

        // The one after that comes to the end of its start.
        let bridge = open();
        bridge.create(&config).unwrap();
        let kept = std::fs::read(&path).unwrap();
        assert!(kept == before || kept.len() > before.len(), "less was kept");
        bridge.recover(vec![live(&jailed)]).unwrap();
        replay();
        assert!(has_table());
        assert!(!reaches(&inside, &outside, lan.address));

        // And the last finds nobody.
        bridge.leave(&jailed.endpoint.id).unwrap();
        drop((jailed, inside));
        eventually("the table goes", || !has_table());
        drop(bridge);
        let bridge = open();
        bridge.recover(Vec::new()).unwrap();
        assert!(!path.exists(), "there are no networks");
    });
}
