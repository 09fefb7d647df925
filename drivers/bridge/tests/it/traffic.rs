//! Who reaches whom.

use crate::lan::Lan;
use crate::rig::{Container, Host, on_a_host, send};
use network::{Driver as _, NetworkConfig, route};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;
use sys::netns;

/// How long is waited for what a lost question for a neighbour must not hold up. See [`ask_once`].
const ONCE: Duration = Duration::from_secs(20);

/// Makes this namespace repeat a question for a neighbour on this link no sooner than after [`ONCE`]. A port that does not
/// forward yet loses the first one: the packet that waits for the answer then never comes, however slow the machine is.
fn ask_once(link: &str) {
    std::fs::write(format!("/proc/sys/net/ipv4/neigh/{link}/retrans_time_ms"), "30000").unwrap();
}

#[test]
fn containers_reach_each_other_and_the_gateway_at_once() {
    on_a_host(|host| {
        let (bridge, network) = host.bridge();
        assert_eq!(network.interface.as_deref(), Some("gantry0-0a1b2c"));
        assert_eq!(network.pools[0].subnet.to_string(), "172.17.0.0/16");
        let (a, b) = (host.container(&bridge), host.container(&bridge));
        assert_eq!(
            (a.address(), b.address()),
            (Ipv4Addr::new(172, 17, 0, 2), Ipv4Addr::new(172, 17, 0, 3))
        );
        assert_eq!(a.joined.mac.unwrap().to_string(), "02:42:ac:11:00:02");

        ask_once("gantry0-0a1b2c");
        let patient = |container: &Container| {
            netns::inside(container.sandbox.netns(), || ask_once("eth0")).unwrap();
            let socket = container.socket();
            socket.set_read_timeout(Some(ONCE)).unwrap();
            socket
        };
        let (at_a, at_b) = (patient(&a), patient(&b));
        assert_eq!(send(&at_a, &at_b, b.address()), Some(IpAddr::V4(a.address())));
        assert_eq!(send(&at_b, &at_a, a.address()), Some(IpAddr::V4(b.address())));
        let gateway = UdpSocket::bind("172.17.0.1:0").unwrap();
        gateway.set_read_timeout(Some(ONCE)).unwrap();
        assert_eq!(
            send(&at_a, &gateway, Ipv4Addr::new(172, 17, 0, 1)),
            Some(IpAddr::V4(a.address()))
        );

        // The mark, the name and the bridge of the host's end.
        let link = host.link(a.joined.host_interface.as_deref().unwrap()).unwrap();
        assert_eq!(link.alias, format!("gantry:gantry_0a1b2c:{}", a.endpoint.id));
        assert_eq!(link.master, host.link("gantry0-0a1b2c").unwrap().index);
        assert!(link.name.starts_with("veth") && link.name.len() == 11);
    });
}

#[test]
fn the_first_packet_of_a_container_is_not_lost() {
    on_a_host(|host| {
        let (bridge, _) = host.bridge();
        let gateway = UdpSocket::bind("172.17.0.1:0").unwrap();
        gateway.set_read_timeout(Some(ONCE)).unwrap();
        ask_once("gantry0-0a1b2c");
        for _ in 0..20 {
            let container = host.container(&bridge);
            let socket = netns::inside(container.sandbox.netns(), || {
                ask_once("eth0");
                UdpSocket::bind("0.0.0.0:0").unwrap()
            });
            assert!(send(&socket.unwrap(), &gateway, Ipv4Addr::new(172, 17, 0, 1)).is_some());
            bridge.leave(&container.endpoint.id).unwrap();
        }
    });
}

#[test]
fn outside_sees_the_host_and_answers_come_back() {
    on_a_host(|host| {
        let (bridge, _) = host.bridge();
        let lan = Lan::beside(host, "uplink", 2);
        let container = host.container(&bridge);
        let (inside, outside) = (container.socket(), lan.socket());
        assert_eq!(send(&inside, &outside, lan.address), Some(IpAddr::V4(lan.host)));
        // The answer to the masqueraded packet finds its way.
        outside.connect((lan.host, inside.local_addr().unwrap().port())).unwrap();
        outside.send(b"back").unwrap();
        let mut buffer = [0; 8];
        let (length, source) = inside.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], source.ip()), (&b"back"[..], IpAddr::V4(lan.address)));
    });
}

#[test]
fn outside_does_not_reach_a_containers_own_address() {
    on_a_host(|host| {
        let (bridge, _) = host.bridge();
        // The neighbour's default route is the host: it "knows" the way to 172.17.0.0/16.
        let lan = Lan::beside(host, "uplink", 2);
        let container = host.container(&bridge);
        let address = container.address();
        let listener = netns::inside(container.sandbox.netns(), || TcpListener::bind("0.0.0.0:0"))
            .unwrap()
            .unwrap();
        let port = listener.local_addr().unwrap().port();
        let connect = || {
            let attempt = move || {
                TcpStream::connect_timeout(&(address, port).into(), Duration::from_millis(300))
            };
            netns::inside(lan.sandbox.netns(), attempt).unwrap()
        };
        assert_eq!(send(&lan.socket(), &container.socket(), address), None);
        assert!(connect().is_err());
        // The host itself may.
        assert!(
            TcpStream::connect_timeout(&(address, port).into(), Duration::from_secs(1)).is_ok()
        );
        // The rig is right: without the table the packets arrive.
        // (Without the driver too, which would put it back.)
        drop(bridge);
        nft::Firewall::open().unwrap().delete(nft::Family::Inet, "gantry_0a1b2c").unwrap();
        assert_eq!(
            send(&lan.socket(), &container.socket(), address),
            Some(IpAddr::V4(lan.address))
        );
        assert!(connect().is_ok());
    });
}

#[test]
fn a_host_that_did_not_forward_does_not_become_a_router() {
    on_a_host(|host| {
        let (one, two) = (Lan::beside(host, "one", 2), Lan::beside(host, "two", 3));
        let forward = || std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        let (bridge, _) = host.bridge();
        assert_eq!(forward(), "1\n");
        assert_eq!(send(&one.socket(), &two.socket(), two.address), None);
        // A second start of the daemon remembers who switched it on.
        drop(bridge);
        let (bridge, _) = host.bridge();
        assert_eq!(send(&one.socket(), &two.socket(), two.address), None);
        let container = host.container(&bridge);
        assert!(send(&container.socket(), &two.socket(), two.address).is_some());
        drop((bridge, container));
        bridge::Bridge::cleanup(&host.config()).unwrap();
        assert_eq!(forward(), "0\n");

        // Where it was on, others' packets pass as before, and it stays on.
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let _bridge = host.bridge();
        assert!(send(&one.socket(), &two.socket(), two.address).is_some());
        bridge::Bridge::cleanup(&host.config()).unwrap();
        assert_eq!(forward(), "1\n");
    });
}

#[test]
fn an_ipv4_network_has_no_ipv6() {
    // CVE-2024-32473: an interface with IPv6 switched on takes what any neighbour announces.
    on_a_host(|host| {
        let (bridge, _) = host.bridge();
        let mut container = host.container(&bridge);
        let addresses = route::addresses(container.sandbox.route()).unwrap();
        let six: Vec<_> = addresses.iter().filter(|(_, a)| a.addr().is_ipv6()).collect();
        assert!(six.iter().all(|(index, _)| *index == route::LOOPBACK), "{six:?}");
        let read = || std::fs::read_to_string("/proc/sys/net/ipv6/conf/eth0/disable_ipv6");
        assert_eq!(netns::inside(container.sandbox.netns(), read).unwrap().unwrap(), "1\n");
        // The port is up by now, which is when a link-local address would appear.
        let mut socket = sys::netlink::Socket::open(sys::netlink::Protocol::Route).unwrap();
        let ours = |name: &str| host.link(name).unwrap().index;
        let ours =
            [ours("gantry0-0a1b2c"), ours(container.joined.host_interface.as_deref().unwrap())];
        let six = route::addresses(&mut socket).unwrap();
        assert!(
            six.iter().all(|(index, a)| a.addr().is_ipv4() || !ours.contains(index)),
            "{six:?}"
        );
    });
}

#[test]
fn without_icc_containers_reach_the_host_but_not_each_other() {
    on_a_host(|host| {
        let bridge = host.open();
        let config = NetworkConfig {
            options: [(bridge::options::ICC.to_owned(), "false".to_owned())].into(),
            ..NetworkConfig::bridge(host.id, None)
        };
        bridge.create(&config).unwrap();
        let (a, b) = (host.container(&bridge), host.container(&bridge));
        assert_eq!(send(&a.socket(), &b.socket(), b.address()), None);
        let gateway = UdpSocket::bind("172.17.0.1:0").unwrap();
        gateway.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        assert!(send(&a.socket(), &gateway, Ipv4Addr::new(172, 17, 0, 1)).is_some());
    });
}

#[test]
fn the_default_subnet_is_the_first_that_the_host_does_not_route() {
    on_a_host(|host| {
        let lan = Lan::beside(host, "uplink", 2);
        let uplink = host.link("uplink").unwrap().index;
        host.execute(|b| route::add_address(b, uplink, "172.17.200.1/24".parse().unwrap()));
        let (bridge, network) = host.bridge();
        assert_eq!(network.pools[0].subnet.to_string(), "172.18.0.0/16");
        drop(bridge);
        // Its own bridge is no reason to choose another the next time.
        let (_bridge, again) = host.bridge();
        assert_eq!(again, network);
        drop(lan);
    });
}

#[test]
fn two_networks_do_not_meet() {
    on_a_host(|host: &Host| {
        let (bridge, _) = host.bridge();
        let other = network::NetworkId::random().unwrap();
        let config = NetworkConfig {
            default: false,
            name: "backend".into(),
            ..NetworkConfig::bridge(other, None)
        };
        let created = bridge.create(&config).unwrap();
        assert_eq!(
            created.interface.as_deref().map(|n| n.starts_with("br-") && n.len() == 15),
            Some(true)
        );
        assert_eq!(created.pools[0].subnet.to_string(), "172.18.0.0/16");
        let a = host.container(&bridge);
        let mut sandbox = network::Sandbox::create().unwrap();
        let endpoint = network::Endpoint { network: other, ..host.endpoint() };
        let joined = bridge.join(&endpoint, &mut sandbox).unwrap();
        let b = crate::rig::Container { sandbox, endpoint, joined };
        assert_eq!(send(&a.socket(), &b.socket(), b.address()), None);
        assert_eq!(send(&b.socket(), &a.socket(), a.address()), None);
        let busy = bridge.delete(&other).unwrap_err();
        assert!(busy.to_string().ends_with("has active endpoints"), "{busy}");
        bridge.leave(&b.endpoint.id).unwrap();
        bridge.delete(&other).unwrap();
        bridge.delete(&other).unwrap();
        assert!(host.link(created.interface.as_deref().unwrap()).is_none());
        assert!(
            send(
                &a.socket(),
                &UdpSocket::bind("172.17.0.1:0").unwrap(),
                Ipv4Addr::new(172, 17, 0, 1)
            )
            .is_some()
        );
    });
}
