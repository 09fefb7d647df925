//! Published ports: who reaches them from where, as whom, and who does not.

use crate::families::config;
use crate::lan::Lan;
use crate::rig::{Container, Host, eventually, on_a_host};
use bridge::{Bridge, options};
use network::{Driver as _, Live, NetworkConfig, NetworkId, PortRequest, Protocol, PublishedPort};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};
use stdx::Kind;
use sys::netns;

/// A server in a container that tells each client by what address it knows it.
pub(crate) fn serve(container: &Container, port: u16) {
    let listener = netns::inside(container.sandbox.netns(), move || {
        TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))
    });
    let listener = listener.unwrap().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let from = client.peer_addr().unwrap().ip().to_canonical();
            let _gone = client.write_all(from.to_string().as_bytes());
        }
    });
}

/// Connects in a namespace; returns who the server says it was.
pub(crate) fn ask(netns: Option<BorrowedFd<'_>>, to: &str) -> Option<String> {
    let to: SocketAddr = to.parse().unwrap();
    let connect = move || TcpStream::connect_timeout(&to, Duration::from_millis(400));
    let stream = match netns {
        Some(netns) => netns::inside(netns, connect).unwrap(),
        None => connect(),
    };
    let mut stream = stream.ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

pub(crate) fn tcp(container: u16, address: Option<&str>, ports: Option<(u16, u16)>) -> PortRequest {
    let address = address.map(|a| a.parse().unwrap());
    PortRequest { protocol: Protocol::Tcp, container, address, ports }
}

/// How long this thread has had a processor: what counts on a machine that others use too.
fn worked() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

pub(crate) fn shown(ports: &[PublishedPort]) -> Vec<String> {
    ports
        .iter()
        .map(|p| format!("{} {} -> {}/{}", p.address, p.port, p.container, p.protocol))
        .collect()
}

#[test]
fn a_published_port_is_reached_from_everywhere_it_should_be() {
    on_a_host(|host| {
        let (bridge, _) = host.bridge();
        let lan = Lan::beside(host, "uplink", 2);
        let (web, other) = (host.container(&bridge), host.container(&bridge));
        serve(&web, 80);
        let got = bridge.publish(&web.endpoint.id, &[tcp(80, None, Some((8080, 8080)))]).unwrap();
        // Without IPv6 and without a relay, IPv4 alone.
        assert_eq!(shown(&got), ["0.0.0.0 8080 -> 80/tcp"]);
        let told = |netns, to: &str| ask(netns, to).unwrap_or_else(|| "nobody".into());
        // Another host keeps its address; the host itself too, but on loopback it is the gateway.
        assert_eq!(told(Some(lan.sandbox.netns()), "192.0.2.1:8080"), "192.0.2.2");
        assert_eq!(told(None, "192.0.2.1:8080"), "192.0.2.1");
        assert_eq!(told(None, "172.17.0.1:8080"), "172.17.0.1");
        assert_eq!(told(None, "127.0.0.1:8080"), "172.17.0.1");
        // A neighbour and the container itself: the answer comes back the same way.
        assert_eq!(told(Some(other.sandbox.netns()), "172.17.0.1:8080"), "172.17.0.1");
        assert_eq!(told(Some(web.sandbox.netns()), "192.0.2.1:8080"), "172.17.0.1");
        // Not the container's own address, not another port.
        assert_eq!(told(Some(lan.sandbox.netns()), "172.17.0.2:80"), "nobody");
        assert_eq!(told(None, "192.0.2.1:80"), "nobody");
        bridge.withdraw(&web.endpoint.id).unwrap();
        bridge.withdraw(&web.endpoint.id).unwrap();
        assert_eq!(told(Some(lan.sandbox.netns()), "192.0.2.1:8080"), "nobody");
        assert_eq!(told(None, "127.0.0.1:8080"), "nobody");
        // A container on another network gets there by the host's address, not directly.
        bridge.publish(&web.endpoint.id, &[tcp(80, None, Some((8080, 8080)))]).unwrap();
        let second = NetworkId::random().unwrap();
        bridge.create(&NetworkConfig { id: second, ..config(host, &["10.9.0.0/16"]) }).unwrap();
        let far = host.container_on(&bridge, second);
        assert_eq!(told(Some(far.sandbox.netns()), "192.0.2.1:8080"), "10.9.0.2");
        assert_eq!(told(Some(far.sandbox.netns()), "172.17.0.2:80"), "nobody");
        bridge.leave(&web.endpoint.id).unwrap();
        assert_eq!(told(None, "127.0.0.1:8080"), "nobody");
    });
}

#[test]
fn what_is_published_on_loopback_is_the_hosts_alone() {
    on_a_host(|host| {
        let (bridge, _) = host.bridge();
        let lan = Lan::beside(host, "uplink", 2);
        let (web, other) = (host.container(&bridge), host.container(&bridge));
        serve(&web, 80);
        let wanted = [tcp(80, Some("127.0.0.1"), Some((8080, 8080)))];
        bridge.publish(&web.endpoint.id, &wanted).unwrap();
        assert_eq!(ask(None, "127.0.0.1:8080").as_deref(), Some("172.17.0.1"));
        assert_eq!(ask(None, "192.0.2.1:8080"), None);
        assert_eq!(ask(Some(lan.sandbox.netns()), "192.0.2.1:8080"), None);
        // Both send packets for 127.0.0.1 over the wire, as a neighbour with a route may.
        for stranger in [&lan.sandbox, &other.sandbox] {
            let gateway =
                if std::ptr::eq(stranger, &lan.sandbox) { "192.0.2.1" } else { "172.17.0.1" };
            crate::rig::send_loopback_out(stranger.netns(), gateway);
            assert_eq!(ask(Some(stranger.netns()), "127.0.0.1:8080"), None, "{gateway}");
        }
        // Nor is anything else of the host's loopback to be had, though its bridge routes it now.
        let service = TcpListener::bind("127.0.0.1:9999").unwrap();
        service.set_nonblocking(true).unwrap();
        assert_eq!(ask(Some(other.sandbox.netns()), "127.0.0.1:9999"), None);
        assert!(service.accept().is_err());
    });
}

#[test]
fn ipv6_is_translated_where_the_container_has_it_and_relayed_elsewhere() {
    on_a_host(|host| {
        let bridge = host.open();
        bridge.create(&config(host, &["10.9.0.0/16", "fd01::/64"])).unwrap();
        let second = NetworkId::random().unwrap();
        bridge.create(&NetworkConfig { id: second, ..config(host, &["10.8.0.0/16"]) }).unwrap();
        let lan = Lan::beside(host, "uplink", 2).with_ipv6(host, "uplink");
        let (dual, four) = (host.container(&bridge), host.container_on(&bridge, second));
        serve(&dual, 80);
        let got = bridge.publish(&dual.endpoint.id, &[tcp(80, None, Some((8080, 8080)))]).unwrap();
        assert_eq!(shown(&got), ["0.0.0.0 8080 -> 80/tcp", ":: 8080 -> 80/tcp"]);
        // Links that have just learned IPv6 lose the first question for a neighbour.
        eventually("IPv6 from another host", || {
            let told = ask(Some(lan.sandbox.netns()), "[fd99::1]:8080");
            told.as_deref() == Some("fd99::2")
        });
        assert_eq!(ask(None, "[fd99::1]:8080").as_deref(), Some("fd99::1"));
        assert_eq!(ask(Some(lan.sandbox.netns()), "[fd01::2]:80"), None);
        assert_eq!(ask(None, "[::1]:8080"), None);

        // The relay: here a listener that tells what it was asked.
        let relay = TcpListener::bind("[::]:0").unwrap();
        let port = relay.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for client in relay.incoming() {
                let _gone = client.unwrap().write_all(b"relay");
            }
        });
        bridge.relay(Some(port)).unwrap();
        assert_eq!(ask(None, "[::1]:8080").as_deref(), Some("relay"));
        let got = bridge.publish(&four.endpoint.id, &[tcp(80, None, Some((8081, 8083)))]).unwrap();
        assert_eq!(shown(&got), ["0.0.0.0 8081 -> 80/tcp", ":: 8081 -> 80/tcp"]);
        assert_eq!(ask(None, "[::1]:8081").as_deref(), Some("relay"));
        assert_eq!(ask(Some(lan.sandbox.netns()), "[fd99::1]:8081").as_deref(), Some("relay"));
        // Datagrams too, and not what nobody relays.
        let relay = UdpSocket::bind(("::", port)).unwrap();
        relay.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        let udp = PortRequest { protocol: Protocol::Udp, ..tcp(53, None, Some((5353, 5353))) };
        let sctp = PortRequest { protocol: Protocol::Sctp, ..udp.clone() };
        let next = PortRequest { ports: Some((5354, 5354)), ..udp.clone() };
        let got = bridge.publish(&four.endpoint.id, &[udp]).unwrap();
        assert_eq!(shown(&got), ["0.0.0.0 5353 -> 53/udp", ":: 5353 -> 53/udp"]);
        bridge.publish(&dual.endpoint.id, &[next]).unwrap();
        for port in [5353, 5354] {
            UdpSocket::bind("[::1]:0").unwrap().send_to(b"hello", ("::1", port)).unwrap();
            let (length, from) = relay.recv_from(&mut [0; 8]).unwrap();
            assert_eq!((length, from.ip().is_loopback()), (5, true));
        }
        let got = bridge.publish(&four.endpoint.id, &[sctp]).unwrap();
        assert_eq!(shown(&got), ["0.0.0.0 5353 -> 53/sctp"]);
    });
}

#[test]
fn a_taken_port_says_who_has_it() {
    on_a_host(|host| {
        let (bridge, _) = host.bridge();
        let (a, b) = (host.container(&bridge), host.container(&bridge));
        bridge.publish(&a.endpoint.id, &[tcp(80, None, Some((80, 80)))]).unwrap();
        let refused = |wanted: &[PortRequest]| {
            let e = bridge.publish(&b.endpoint.id, wanted).unwrap_err();
            assert_eq!(e.kind(), Kind::Conflict);
            e.to_string()
        };
        assert_eq!(
            refused(&[tcp(80, None, Some((80, 80)))]),
            "Bind for 0.0.0.0:80 failed: port is already allocated"
        );
        let _service = TcpListener::bind("0.0.0.0:8181").unwrap();
        let text = refused(&[tcp(81, None, Some((81, 81))), tcp(80, None, Some((8181, 8181)))]);
        let me = std::process::id();
        assert!(
            text.starts_with("listen tcp4 0.0.0.0:8181: bind: address already in use (by ")
                && text.ends_with(&format!(", process {me})")),
            "{text}"
        );
        let _dns = UdpSocket::bind("0.0.0.0:5353").unwrap();
        let udp = PortRequest { protocol: Protocol::Udp, ..tcp(53, None, Some((5353, 5353))) };
        assert!(
            refused(&[udp]).starts_with("listen udp4 0.0.0.0:5353: bind: address already in use")
        );
        assert_eq!(
            refused(&[tcp(80, Some("10.99.9.9"), Some((82, 82)))]),
            "listen tcp4 10.99.9.9:82: bind: cannot assign requested address"
        );
        // All or none: nothing of the refused requests is held.
        let got = bridge.publish(&b.endpoint.id, &[tcp(81, None, Some((81, 81)))]).unwrap();
        assert_eq!(shown(&got), ["0.0.0.0 81 -> 81/tcp"]);
        // A range gives the first free one, and none at all one of the kernel's own.
        let got = bridge.publish(
            &b.endpoint.id,
            &[tcp(80, None, Some((80, 82))), tcp(80, None, None), tcp(81, None, None)],
        );
        assert_eq!(
            shown(&got.unwrap()),
            ["0.0.0.0 82 -> 80/tcp", "0.0.0.0 32768 -> 80/tcp", "0.0.0.0 32769 -> 81/tcp"]
        );
        bridge.leave(&b.endpoint.id).unwrap();
        bridge.publish(&a.endpoint.id, &[tcp(80, None, Some((81, 82)))]).unwrap();
    });
}

#[test]
fn ten_thousand_ports_are_one_element_and_quick() {
    on_a_host(|host| {
        let (bridge, _) = host.bridge();
        let web = host.container(&bridge);
        serve(&web, 25000);
        let wanted: Vec<_> = (20000..30000).map(|n| tcp(n, None, Some((n, n)))).collect();
        let start = worked();
        let got = bridge.publish(&web.endpoint.id, &wanted).unwrap();
        let took = worked() - start;
        assert_eq!(got.len(), 10_000);
        assert_eq!(bridge.world().unwrap().forwards.len(), 1);
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!(ask(None, "127.0.0.1:25000").as_deref(), Some("172.17.0.1"));
        bridge.withdraw(&web.endpoint.id).unwrap();
        // Also where each has another number.
        let wanted: Vec<_> = (20000..30000).map(|n| tcp(n + 1, None, Some((n, n)))).collect();
        let start = worked();
        bridge.publish(&web.endpoint.id, &wanted).unwrap();
        let took = worked() - start;
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!(ask(None, "127.0.0.1:24999").as_deref(), Some("172.17.0.1"));
        // Hearing of so many changes, the driver does not take its own for somebody else's.
        let generation = || {
            let mut batch = sys::netlink::Batch::new();
            batch.message(10 << 8 | 16, 0, &[0; 4], |_| {});
            let protocol = sys::netlink::Protocol::Netfilter;
            let answer = sys::netlink::Socket::open(protocol).unwrap().query(&batch).unwrap();
            answer[0].attributes(4).next().unwrap().1.to_vec()
        };
        std::thread::park_timeout(Duration::from_millis(300));
        let before = generation();
        std::thread::park_timeout(Duration::from_millis(300));
        assert_eq!(before, generation());
    });
}

#[test]
fn a_new_daemon_finds_the_ports_of_the_living() {
    on_a_host(|host| {
        let (bridge, network) = host.bridge();
        let lan = Lan::beside(host, "uplink", 2);
        let web = host.container(&bridge);
        serve(&web, 80);
        let got = bridge.publish(&web.endpoint.id, &[tcp(80, None, Some((8080, 8080)))]).unwrap();
        drop(bridge);
        // Without a daemon it is reached as before.
        assert_eq!(ask(Some(lan.sandbox.netns()), "192.0.2.1:8080").as_deref(), Some("192.0.2.2"));
        nft::Firewall::open().unwrap().delete(nft::Family::Inet, "gantry_0a1b2c").unwrap();
        let bridge = host.open();
        bridge.create(&NetworkConfig::bridge(host.id, Some(network.pools[0].subnet))).unwrap();
        let live = Live {
            endpoint: web.endpoint.clone(),
            joined: web.joined.clone(),
            published: got,
            netns: None,
        };
        assert!(bridge.recover(vec![live]).unwrap().failed.is_empty());
        assert_eq!(ask(Some(lan.sandbox.netns()), "192.0.2.1:8080").as_deref(), Some("192.0.2.2"));
        assert_eq!(ask(None, "127.0.0.1:8080").as_deref(), Some("172.17.0.1"));
        let other = host.container(&bridge);
        let taken = bridge.publish(&other.endpoint.id, &[tcp(80, None, Some((8080, 8080)))]);
        assert_eq!(taken.unwrap_err().kind(), Kind::Conflict);
    });
}

#[test]
fn a_udp_client_that_was_there_before_is_led_to_the_container() {
    on_a_host(|host| {
        let (bridge, _) = host.bridge();
        let lan = Lan::beside(host, "uplink", 2);
        let web = host.container(&bridge);
        let server = netns::inside(web.sandbox.netns(), || UdpSocket::bind("0.0.0.0:53"));
        let server = server.unwrap().unwrap();
        server.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let client = lan.socket();
        // The kernel remembers this connection, to the host itself.
        client.send_to(b"x", "192.0.2.1:5353").unwrap();
        let udp = PortRequest { protocol: Protocol::Udp, ..tcp(53, None, Some((5353, 5353))) };
        bridge.publish(&web.endpoint.id, &[udp]).unwrap();
        eventually("the client reaches the container", || {
            client.send_to(b"x", "192.0.2.1:5353").unwrap();
            server.recv_from(&mut [0; 8]).is_ok()
        });
    });
}

#[test]
fn modes_of_the_gateway_decide_what_is_reached_directly() {
    on_a_host(|host| {
        let bridge = host.open();
        let lan = Lan::beside(host, "uplink", 2);
        let at = |bridge: &Bridge, subnet: &str, mode: &str| {
            let id = NetworkId::random().unwrap();
            let mut config = NetworkConfig { id, ..config(host, &[subnet]) };
            config.options.insert(options::MODE_V4.into(), mode.into());
            bridge.create(&config).unwrap();
            host.container_on(bridge, id)
        };
        let routed = at(&bridge, "10.1.0.0/16", "routed");
        serve(&routed, 80);
        serve(&routed, 81);
        let got = bridge.publish(&routed.endpoint.id, &[tcp(80, None, Some((80, 80)))]).unwrap();
        assert_eq!(shown(&got), ["0.0.0.0 0 -> 80/tcp"]);
        let from = Some(lan.sandbox.netns());
        assert_eq!(ask(from, "10.1.0.2:80").as_deref(), Some("192.0.2.2"));
        assert_eq!(ask(from, "10.1.0.2:81"), None);
        let open = at(&bridge, "10.2.0.0/16", "nat-unprotected");
        serve(&open, 81);
        assert_eq!(ask(from, "10.2.0.2:81").as_deref(), Some("192.0.2.2"));
        // Networks of ours stay apart.
        assert_eq!(ask(Some(routed.sandbox.netns()), "10.2.0.2:81"), None);
        let isolated = NetworkConfig {
            id: NetworkId::random().unwrap(),
            internal: true,
            options: [(options::MODE_V4.to_owned(), "isolated".to_owned())].into(),
            ..config(host, &["10.3.0.0/16"])
        };
        bridge.create(&isolated).unwrap();
        let alone = host.container_on(&bridge, isolated.id);
        assert_eq!(ask(Some(alone.sandbox.netns()), "10.3.0.1:22"), None);
        let addresses: Vec<IpAddr> = host.addresses().into_iter().map(|a| a.addr()).collect();
        assert!(!addresses.contains(&"10.3.0.1".parse().unwrap()));
        let got = bridge.publish(&alone.endpoint.id, &[tcp(80, None, None)]).unwrap();
        assert!(got.is_empty());
        let outside = NetworkConfig { internal: false, ..isolated };
        let outside = NetworkConfig { id: NetworkId::random().unwrap(), ..outside };
        assert_eq!(bridge.create(&outside).unwrap_err().kind(), Kind::InvalidArgument);
    });
}

#[test]
fn containers_cannot_speak_as_their_neighbours() {
    on_a_host(|host: &Host| {
        let (bridge, _) = host.bridge();
        let (evil, victim) = (host.container(&bridge), host.container(&bridge));
        let server = UdpSocket::bind("172.17.0.1:0").unwrap();
        server.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let port = server.local_addr().unwrap().port();
        let heard = || server.recv_from(&mut [0; 8]).ok().map(|(_, from)| from.ip().to_string());
        // Both know the gateway already.
        for container in [&evil, &victim] {
            container.socket().send_to(b"x", ("172.17.0.1", port)).unwrap();
            assert_eq!(heard(), Some(container.address().to_string()));
        }
        // The neighbour's address beside its own, as root in the container may have it.
        let say = |address: &str| {
            crate::rig::add_address(&evil, address);
            let bind = format!("{}:0", address.split('/').next().unwrap());
            let socket = netns::inside(evil.sandbox.netns(), move || UdpSocket::bind(bind));
            socket.unwrap().unwrap().send_to(b"x", ("172.17.0.1", port)).unwrap();
        };
        eventually("its addresses are its own", || {
            say("172.17.0.3/32");
            heard().is_none()
        });
        // An address that is nobody's is not forged.
        say("172.17.0.77/32");
        assert_eq!(heard().as_deref(), Some("172.17.0.77"));
        // And the true owner is heard.
        victim.socket().send_to(b"x", ("172.17.0.1", port)).unwrap();
        assert_eq!(heard().as_deref(), Some("172.17.0.3"));
    });
}

#[test]
fn a_flushed_firewall_is_written_again() {
    on_a_host(|host: &Host| {
        let (bridge, _) = host.bridge();
        let lan = Lan::beside(host, "uplink", 2);
        let web = host.container(&bridge);
        serve(&web, 80);
        bridge.publish(&web.endpoint.id, &[tcp(80, None, Some((8080, 8080)))]).unwrap();
        // Another network, and something of it that is published for this host alone.
        let other = NetworkId::random().unwrap();
        let backend = NetworkConfig {
            default: false,
            name: "backend".into(),
            ..NetworkConfig::bridge(other, None)
        };
        bridge.create(&backend).unwrap();
        let back = host.container_on(&bridge, other);
        serve(&back, 81);
        bridge
            .publish(&back.endpoint.id, &[tcp(81, Some("127.0.0.1"), Some((8081, 8081)))])
            .unwrap();
        let inside = format!("{}:81", back.address());
        for family in [nft::Family::Inet, nft::Family::Bridge] {
            nft::Firewall::open().unwrap().delete(family, "gantry_0a1b2c").unwrap();
            let start = Instant::now();
            eventually("it is back", || {
                ask(Some(lan.sandbox.netns()), "192.0.2.1:8080").is_some()
                    && nft::Firewall::open().unwrap().tables().unwrap().len() == 1
                    && ask(Some(lan.sandbox.netns()), "172.17.0.2:80").is_none()
            });
            assert!(start.elapsed() < Duration::from_secs(2));
            // Both networks are apart as before, from each other and from outside.
            assert_eq!(ask(Some(back.sandbox.netns()), "172.17.0.2:80"), None);
            for stranger in [&lan.sandbox, &web.sandbox] {
                assert_eq!(ask(Some(stranger.netns()), &inside), None);
            }
            assert_eq!(ask(Some(lan.sandbox.netns()), "192.0.2.1:8081"), None);
            assert!(ask(None, "127.0.0.1:8081").is_some());
        }
    });
}
