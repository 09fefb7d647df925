//! IPv6 beside IPv4 and alone, options of networks and endpoints, attaching and detaching live.

use crate::rig::{Container, Host, eventually, on_a_host, udp_in};
use bridge::options;
use ipnet::IpNet;
use network::{
    Driver as _, Endpoint, EndpointId, Network, NetworkConfig, NetworkId, PoolConfig, Sandbox,
    route,
};
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;
use stdx::Kind;
use sys::netns;

/// A network with a subnet a family; `auto` leaves the choice to the driver.
pub(crate) fn config(host: &Host, subnets: &[&str]) -> NetworkConfig {
    let pool = |six: bool| {
        let subnet = subnets.iter().find(|s| s.contains(':') == six || (six && **s == "auto6"))?;
        Some(PoolConfig { subnet: subnet.parse().ok(), ..PoolConfig::default() })
    };
    let v4 = subnets.iter().any(|s| !s.contains(':') && *s != "auto6");
    NetworkConfig {
        name: "dual".into(),
        default: false,
        ipv4: if v4 { pool(false) } else { None },
        ipv6: pool(true),
        ..NetworkConfig::bridge(host.id, None)
    }
}

fn reaches(from: &Container, to: &Container, address: IpAddr) -> Option<IpAddr> {
    let bind = |c: &Container| {
        let socket = netns::inside(c.sandbox.netns(), move || {
            UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })
        });
        let socket = socket.unwrap().unwrap();
        // IPv6 joins the groups that neighbours are asked in by a worker of the kernel's: on a busy machine the first
        // question may come before, and is repeated after a second.
        socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        socket
    };
    let (here, there) = (bind(from), bind(to));
    here.send_to(b"hello", (address, there.local_addr().unwrap().port())).ok()?;
    there.recv_from(&mut [0; 8]).ok().map(|(_, from)| from.ip())
}

fn six(c: &Container) -> IpAddr {
    c.joined.addresses.iter().map(IpNet::addr).find(IpAddr::is_ipv6).unwrap()
}

#[test]
fn a_dual_stack_network_gives_both_addresses_and_routes() {
    on_a_host(|host| {
        let bridge = host.open();
        let network = bridge.create(&config(host, &["10.9.0.0/16", "fd01::/64"])).unwrap();
        assert_eq!(network.pools[1].gateway.unwrap().to_string(), "fd01::1");
        let (mut a, b) = (host.container(&bridge), host.container(&bridge));
        let shown: Vec<_> = a.joined.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10.9.0.2/16", "fd01::2/64"]);
        assert_eq!(a.joined.mac.unwrap().to_string(), "02:42:0a:09:00:02");
        assert_eq!(reaches(&a, &b, six(&b)), Some(six(&a)));
        assert_eq!(reaches(&a, &b, b.address().into()), Some(a.address().into()));
        let routes = route::default_routes(a.sandbox.route()).unwrap();
        let mut gateways: Vec<_> = routes.iter().map(|r| r.gateway.to_string()).collect();
        gateways.sort();
        assert_eq!(gateways, ["10.9.0.1", "fd01::1"]);
        // The gateway answers.
        let gateway = UdpSocket::bind("[fd01::1]:0").unwrap();
        gateway.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let port = gateway.local_addr().unwrap().port();
        let socket = netns::inside(a.sandbox.netns(), || UdpSocket::bind("[::]:0")).unwrap();
        socket.unwrap().send_to(b"hello", ("fd01::1", port)).unwrap();
        assert_eq!(gateway.recv_from(&mut [0; 8]).unwrap().1.ip(), six(&a));
        // Nobody's announcements are believed.
        let read = || std::fs::read_to_string("/proc/sys/net/ipv6/conf/eth0/accept_ra");
        assert_eq!(netns::inside(a.sandbox.netns(), read).unwrap().unwrap(), "0\n");
        let forwarding =
            || std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/forwarding").unwrap();
        assert_eq!(forwarding(), "1\n");
        drop((a, b, bridge));
        bridge::Bridge::cleanup(&host.config()).unwrap();
        assert_eq!(forwarding(), "0\n");
    });
}

/// Says in a container's namespace, to all nodes of its network, that it is their router and whence they get addresses
/// (RFC 4861, 4.2 and 4.6.2; the kernel fills the checksum in).
fn advertise(from: &Container, prefix: &str) {
    use rustix::net::{AddressFamily, SendFlags, SocketAddrV6, SocketType, ipproto, sockopt};
    let mut message = vec![134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    // A prefix of 64 bits, on this link and for addresses of one's own, for an hour.
    message.extend([3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0, 0]);
    message.extend(prefix.parse::<std::net::Ipv6Addr>().unwrap().octets());
    let send = move || -> std::io::Result<()> {
        let socket =
            rustix::net::socket(AddressFamily::INET6, SocketType::RAW, Some(ipproto::ICMPV6))?;
        sockopt::set_ipv6_multicast_hops(&socket, 255)?;
        let link = rustix::net::netdevice::name_to_index(&socket, "eth0")?;
        let everybody = SocketAddrV6::new("ff02::1".parse().unwrap(), 0, 0, link);
        rustix::net::sendto(&socket, &message, SendFlags::empty(), &everybody)?;
        Ok(())
    };
    // Not before its own address has been found to be nobody else's.
    let _not_yet = netns::inside(from.sandbox.netns(), send).unwrap();
}

/// CVE-2020-13401: with `NET_RAW`, which containers have, one of them could have had the host's and its neighbours' traffic.
#[test]
fn forged_router_advertisements_are_believed_by_nobody() {
    on_a_host(|host| {
        let bridge = host.open();
        bridge.create(&config(host, &["10.9.0.0/16", "fd01::/64"])).unwrap();
        let (evil, victim, naive) =
            (host.container(&bridge), host.container(&bridge), host.container(&bridge));
        // What they know of routers and of the prefix that the forger gives away.
        let learned = || {
            let read = |name: &str| {
                std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap()
            };
            let (routes, addresses) = (read("ipv6_route"), read("if_inet6"));
            let lines = routes.lines().chain(addresses.lines());
            // RTF_ADDRCONF and RTF_DEFAULT: made of an advertisement.
            let flags = |line: &str| u32::from_str_radix(line.split_whitespace().nth(8)?, 16).ok();
            let is_learned = |line: &&str| {
                line.starts_with("20010db80bad")
                    || flags(line).is_some_and(|flags| flags & 0x0005_0000 != 0)
            };
            lines.filter(is_learned).map(str::to_owned).collect::<Vec<_>>()
        };
        let of = |container: &Container| netns::inside(container.sandbox.netns(), learned).unwrap();
        // Who is told to believe them does, which shows that they are right and come through.
        let believe = || std::fs::write("/proc/sys/net/ipv6/conf/eth0/accept_ra", "1").unwrap();
        netns::inside(naive.sandbox.netns(), believe).unwrap();
        // Once the second has been heard everybody has made of the first what they would.
        for (prefix, shown) in
            [("2001:db8:bad::", "20010db80bad0000"), ("2001:db8:bad:1::", "20010db80bad0001")]
        {
            eventually("an advertisement is heard", || {
                advertise(&evil, prefix);
                of(&naive).iter().any(|line| line.starts_with(shown))
            });
        }
        assert_eq!(of(&victim), Vec::<String>::new());
        assert_eq!(of(&evil), Vec::<String>::new());
        assert_eq!(learned(), Vec::<String>::new(), "the host");
    });
}

#[test]
fn an_ipv6_network_alone_gets_a_subnet_of_its_own() {
    on_a_host(|host| {
        let bridge = host.open();
        let network = bridge.create(&config(host, &["auto6"])).unwrap();
        assert_eq!(network.pools.len(), 1);
        assert!("fd00::/8".parse::<IpNet>().unwrap().contains(&network.pools[0].subnet));
        assert_eq!(network.pools[0].subnet.prefix_len(), 64);
        let (a, b) = (host.container(&bridge), host.container(&bridge));
        assert_eq!(a.joined.addresses.len(), 1);
        assert_eq!(reaches(&a, &b, six(&b)), Some(six(&a)));
        // After a restart with what was recorded, the same.
        let recorded = PoolConfig {
            subnet: Some(network.pools[0].subnet),
            gateway: network.pools[0].gateway,
            ..PoolConfig::default()
        };
        drop(bridge);
        let bridge = host.open();
        let again = NetworkConfig { ipv6: Some(recorded), ..config(host, &["auto6"]) };
        assert_eq!(bridge.create(&again).unwrap(), network);
    });
}

#[test]
fn ranges_gateways_and_auxiliary_addresses() {
    on_a_host(|host| {
        let bridge = host.open();
        let pool = PoolConfig {
            subnet: "10.2.0.0/16".parse().ok(),
            range: "10.2.5.0/29".parse().ok(),
            gateway: None,
            auxiliary: [("x".to_owned(), "10.2.5.2".parse().unwrap())].into(),
            way_out: None,
        };
        let asked = NetworkConfig { ipv4: Some(pool.clone()), ..config(host, &["10.2.0.0/16"]) };
        let network = bridge.create(&asked).unwrap();
        assert_eq!(network.pools[0].gateway.unwrap().to_string(), "10.2.5.0");
        let all: Vec<_> = (0..6).map(|_| host.container(&bridge)).collect();
        let given: Vec<_> = all.iter().map(|c| c.address().to_string()).collect();
        assert_eq!(given, ["10.2.5.1", "10.2.5.3", "10.2.5.4", "10.2.5.5", "10.2.5.6", "10.2.5.7"]);
        let mut sandbox = Sandbox::create().unwrap();
        let full = bridge.join(&host.endpoint(), &mut sandbox).unwrap_err();
        assert!(
            full.to_string().starts_with("no available IPv4 addresses on this network"),
            "{full}"
        );

        let other = |config: NetworkConfig| {
            let id = NetworkId::random().unwrap();
            bridge.create(&NetworkConfig { id, ..config }).unwrap_err().to_string()
        };
        assert_eq!(other(asked), "Pool overlaps with other one on this address space");
        let pool = |subnet: &str, gateway: &str, auxiliary: &str| NetworkConfig {
            ipv4: Some(PoolConfig {
                subnet: subnet.parse().ok(),
                range: None,
                gateway: gateway.parse().ok(),
                auxiliary: auxiliary.parse().map(|a| ("x".to_owned(), a)).into_iter().collect(),
                way_out: None,
            }),
            ..config(host, &["10.2.0.0/16"])
        };
        assert_eq!(
            other(pool("10.6.0.0/24", "10.6.0.0", "")),
            "failed to allocate gateway (10.6.0.0): Address already in use"
        );
        assert_eq!(
            other(pool("10.5.0.0/24", "", "10.5.0.1")),
            "failed to allocate secondary ip address (10.5.0.1): Address already in use"
        );
        // Refused networks keep no subnet.
        let id = NetworkId::random().unwrap();
        bridge.create(&NetworkConfig { id, ..pool("10.5.0.0/24", "", "") }).unwrap();
    });
}

#[test]
fn endpoints_have_names_settings_and_further_addresses() {
    on_a_host(|host| {
        let bridge = host.open();
        let mut network = config(host, &["10.9.0.0/16"]);
        network.options.insert(options::PREFIX.into(), "net".into());
        bridge.create(&network).unwrap();
        let plain = host.container(&bridge);
        assert_eq!(plain.joined.interface, "net0");

        let mut sandbox = Sandbox::create().unwrap();
        let mut endpoint = host.endpoint();
        endpoint.link_local = vec!["169.254.9.9".parse().unwrap()];
        endpoint.options = [
            (options::IFNAME.to_owned(), "lan".to_owned()),
            (options::SYSCTLS.to_owned(), "net.ipv4.conf.IFNAME.log_martians=1".to_owned()),
        ]
        .into();
        let joined = bridge.join(&endpoint, &mut sandbox).unwrap();
        assert_eq!(joined.interface, "lan");
        let addresses = route::addresses(sandbox.route()).unwrap();
        assert!(addresses.iter().any(|(_, a)| a.to_string() == "169.254.9.9/16"), "{addresses:?}");
        let read = || std::fs::read_to_string("/proc/sys/net/ipv4/conf/lan/log_martians");
        assert_eq!(netns::inside(sandbox.netns(), read).unwrap().unwrap(), "1\n");

        // A setting that is not there: the link is not there either.
        let links = host.links().len();
        let mut endpoint = host.endpoint();
        endpoint.options =
            [(options::SYSCTLS.to_owned(), "net.ipv4.conf.IFNAME.nothing=1".to_owned())].into();
        let mut sandbox = Sandbox::create().unwrap();
        assert_eq!(bridge.join(&endpoint, &mut sandbox).unwrap_err().kind(), Kind::NotFound);
        assert_eq!(host.links().len(), links);
    });
}

#[test]
fn an_endpoint_comes_and_goes_while_the_container_runs() {
    on_a_host(|host| {
        let (bridge, _) = host.bridge();
        let second = NetworkId::random().unwrap();
        let other = NetworkConfig { id: second, ..config(host, &["10.9.0.0/16", "fd01::/64"]) };
        let created: Network = bridge.create(&other).unwrap();
        let mut a = host.container(&bridge);
        let endpoint = Endpoint {
            network: second,
            default_route: false,
            ..Endpoint::new(EndpointId::random().unwrap(), second, a.endpoint.container)
        };
        let joined = bridge.join(&endpoint, &mut a.sandbox).unwrap();
        assert_eq!(joined.interface, "eth1");
        let default = |sandbox: &mut Sandbox| {
            let routes = route::default_routes(sandbox.route()).unwrap();
            let mut all: Vec<_> = routes.iter().map(|r| r.gateway.to_string()).collect();
            all.sort();
            all
        };
        assert_eq!(default(&mut a.sandbox), ["172.17.0.1"]);
        // The new network leads on from now on.
        let gateways: Vec<_> = created.pools.iter().map(|p| ("eth1", p.gateway.unwrap())).collect();
        a.sandbox.set_default_routes(&gateways).unwrap();
        assert_eq!(default(&mut a.sandbox), ["10.9.0.1", "fd01::1"]);
        a.sandbox.set_default_routes(&gateways).unwrap();
        assert!(a.sandbox.set_default_routes(&[("eth7", gateways[0].1)]).is_err());

        // Another way to the same namespace, as a daemon that connects it later has.
        let netns = a.sandbox.netns().try_clone_to_owned().unwrap();
        let mut sandbox = Sandbox::adopt(netns).unwrap();
        bridge.detach(&endpoint.id, "", &mut sandbox).unwrap();
        bridge.detach(&endpoint.id, "", &mut sandbox).unwrap();
        assert!(host.link(joined.host_interface.as_deref().unwrap()).is_none());
        assert!(default(&mut sandbox).is_empty());
        sandbox.set_default_routes(&[("eth0", "172.17.0.1".parse().unwrap())]).unwrap();
        assert_eq!(default(&mut sandbox), ["172.17.0.1"]);
        eventually("its addresses are free", || bridge.leases() == 1);
        bridge.delete(&second).unwrap();
        drop(udp_in(a.sandbox.netns()));
    });
}

#[test]
fn somebody_elses_bridge_is_used_and_left() {
    on_a_host(|host| {
        host.execute(|b| {
            let mac = network::Mac::of([1, 1, 1, 1].into());
            route::add_bridge(b, "theirs", mac, 1500);
        });
        let index = host.link("theirs").unwrap().index;
        host.execute(|b| route::add_address(b, index, "192.0.2.1/24".parse().unwrap()));
        let bridge = host.open();
        let mut asked = config(host, &["10.9.0.0/16"]);
        asked.options.insert(options::NAME.into(), "theirs".into());
        let network = bridge.create(&asked).unwrap();
        assert_eq!(network.interface.as_deref(), Some("theirs"));
        let (a, b) = (host.container(&bridge), host.container(&bridge));
        assert!(reaches(&a, &b, b.address().into()).is_some());
        let twice = NetworkConfig { id: NetworkId::random().unwrap(), ..asked };
        assert_eq!(bridge.create(&twice).unwrap_err().kind(), Kind::Forbidden);
        bridge.leave(&a.endpoint.id).unwrap();
        bridge.leave(&b.endpoint.id).unwrap();
        bridge.delete(&host.id).unwrap();
        let mut socket = sys::netlink::Socket::open(sys::netlink::Protocol::Route).unwrap();
        let left = route::addresses(&mut socket).unwrap();
        let left: Vec<_> =
            left.iter().filter(|(i, _)| *i == index).map(|(_, a)| a.to_string()).collect();
        assert_eq!(
            left.iter().filter(|a| !a.starts_with("fe80")).collect::<Vec<_>>(),
            ["192.0.2.1/24"]
        );
        drop((a, b));
        host.delete_link("theirs");
    });
}
