//! Endings, crashes, strangers.

use crate::rig::{Container, eventually, on_a_host, send};
use bridge::plan::link_names;
use network::route::{self, Veth};
use network::{Driver as _, Endpoint, EndpointId, Live, Mac, NetworkConfig, Sandbox};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};
use stdx::Kind;
use sys::netns;

#[test]
fn an_address_is_given_again_only_when_its_link_is_gone() {
    on_a_host(|host| {
        let (bridge, _) = host.bridge();
        let a = host.container(&bridge);
        bridge.leave(&a.endpoint.id).unwrap();
        // Somebody still sits in the namespace: the link lives, so the address is not free.
        let b = host.container(&bridge);
        assert_ne!(a.address(), b.address());
        let freed = a.address();
        drop(a);
        eventually("address comes back", || bridge.leases() == 1);
        let c = host.container(&bridge);
        assert_eq!(c.address(), freed);
        // The other order: the namespace ends before the daemon is told.
        let Container { sandbox, endpoint, joined } = c;
        drop(sandbox);
        eventually("link goes", || host.link(joined.host_interface.as_deref().unwrap()).is_none());
        eventually("address is free at once", || {
            bridge.leave(&endpoint.id).unwrap();
            bridge.leases() == 1
        });
        bridge.leave(&endpoint.id).unwrap();
    });
}

#[test]
fn many_join_and_leave_at_once() {
    on_a_host(|host| {
        let (bridge, _) = host.bridge();
        let addresses: Vec<Ipv4Addr> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let all: Vec<_> = (0..8).map(|_| host.container(&bridge)).collect();
                        let addresses: Vec<_> = all.iter().map(Container::address).collect();
                        all.iter().for_each(|c| bridge.leave(&c.endpoint.id).unwrap());
                        (addresses, all)
                    })
                })
                .collect();
            let all: Vec<_> = workers.into_iter().map(|w| w.join().unwrap()).collect();
            all.iter().flat_map(|(addresses, _)| addresses.clone()).collect()
        });
        assert_eq!(addresses.iter().collect::<HashSet<_>>().len(), 32);
        eventually("all addresses come back", || bridge.leases() == 0);
        assert_eq!(host.links().iter().filter(|l| l.kind == "veth").count(), 0);
    });
}

#[test]
fn a_failed_join_leaves_nothing() {
    on_a_host(|host| {
        let (bridge, _) = host.bridge();
        let links = host.links().len();
        let mut sandbox = Sandbox::create().unwrap();
        let mut endpoint = host.endpoint();
        endpoint.ipv4 = Some("172.17.0.1".parse().unwrap());
        assert_eq!(bridge.join(&endpoint, &mut sandbox).unwrap_err().kind(), Kind::Forbidden);
        endpoint.ipv4 = Some("10.9.8.7".parse().unwrap());
        assert_eq!(bridge.join(&endpoint, &mut sandbox).unwrap_err().kind(), Kind::InvalidArgument);
        let stranger =
            Endpoint { network: network::NetworkId::random().unwrap(), ..host.endpoint() };
        assert_eq!(bridge.join(&stranger, &mut sandbox).unwrap_err().kind(), Kind::NotFound);
        // The link is made, then its address is refused in the sandbox: the address is on loopback there already.
        endpoint.ipv4 = Some("172.17.0.9".parse().unwrap());
        let mut batch = sys::netlink::Batch::new();
        let (index, _) = sandbox.next_link();
        // A default route that is there already makes the third message fail.
        route::add_address(&mut batch, route::LOOPBACK, "172.17.0.200/16".parse().unwrap());
        route::add_default_route(&mut batch, route::LOOPBACK, "172.17.0.1".parse().unwrap());
        sandbox.route().execute(batch).unwrap();
        let error = bridge.join(&endpoint, &mut sandbox).unwrap_err().to_string();
        assert!(
            error.starts_with("join network bridge: set up the link in the sandbox: "),
            "{error}"
        );
        assert_eq!((host.links().len(), bridge.leases()), (links, 0));
        assert_eq!(sandbox.next_link().0, index);
        // Nothing stands in the way of the next.
        assert_eq!(host.container(&bridge).address(), Ipv4Addr::new(172, 17, 0, 2));
    });
}

/// A container that starts again with an address of its own does not wait for what is left of the last run.
#[test]
fn an_address_of_ones_own_is_there_again_at_once() {
    on_a_host(|host| {
        let (bridge, _) = host.bridge();
        let own: Ipv4Addr = "172.17.0.77".parse().unwrap();
        let join = |sandbox: &mut Sandbox| {
            let endpoint = Endpoint { ipv4: Some(own), ..host.endpoint() };
            bridge.join(&endpoint, sandbox).map(|joined| (endpoint, joined))
        };
        // Somebody keeps the first namespace alive: its link stays.
        let mut first = Sandbox::create().unwrap();
        let (endpoint, joined) = join(&mut first).unwrap();
        let mut second = Sandbox::create().unwrap();
        assert_eq!(join(&mut second).unwrap_err().kind(), Kind::Forbidden, "it is in use");
        bridge.leave(&endpoint.id).unwrap();
        let (_, again) = join(&mut second).unwrap();
        assert_eq!(again.addresses, joined.addresses);
        assert!(host.link(joined.host_interface.as_deref().unwrap()).is_none());
        assert_eq!(bridge.leases(), 1);
    });
}

/// Nor does one without such an address get another, also where somebody keeps what is left.
#[test]
fn a_container_that_starts_again_has_its_last_addresses() {
    on_a_host(|host| {
        let (bridge, _) = host.bridge();
        let one = host.endpoint();
        let join = |sandbox: &mut Sandbox| {
            let endpoint = Endpoint { id: EndpointId::random().unwrap(), ..one.clone() };
            let joined = bridge.join(&endpoint, sandbox).unwrap();
            (endpoint.id, joined.addresses)
        };
        let mut sandbox = Sandbox::create().unwrap();
        let (mut endpoint, first) = join(&mut sandbox);
        for _ in 0..10 {
            bridge.leave(&endpoint).unwrap();
            drop(sandbox);
            sandbox = Sandbox::create().unwrap();
            let again = join(&mut sandbox);
            assert_eq!(again.1, first);
            endpoint = again.0;
        }
        bridge.leave(&endpoint).unwrap();
        let begun = Instant::now();
        assert_eq!(join(&mut Sandbox::create().unwrap()).1, first);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert_eq!(bridge.leases(), 1, "the last link is gone");
    });
}

#[test]
fn a_strangers_links_are_not_touched() {
    on_a_host(|host| {
        let elsewhere = Sandbox::create().unwrap();
        let stranger = |name: &str, index| {
            let veth = Veth {
                name,
                mtu: 1500,
                peer: &format!("p{index}"),
                peer_mac: Mac::of(Ipv4Addr::new(1, 1, 1, 1)),
                netns: elsewhere.netns(),
            };
            host.execute(|b| route::add_veth(b, &veth));
            host.link(name).unwrap()
        };
        // A link of the name that ours would have: another name is taken, the stranger's link stays out of our bridge.
        let (bridge, _) = host.bridge();
        let endpoint = host.endpoint();
        let names = link_names(&endpoint.id);
        let before = stranger(&names[0], 101);
        let mut sandbox = Sandbox::create().unwrap();
        let joined = bridge.join(&endpoint, &mut sandbox).unwrap();
        assert_eq!(joined.host_interface.as_deref(), Some(names[1].as_str()));
        assert_eq!(host.link(&names[0]).unwrap(), before);
        // Not even in our bridge is an unmarked link ours.
        let guest = stranger("veth0000000", 102);
        let master = host.link("gantry0-0a1b2c").unwrap().index;
        host.execute(|b| route::enslave(b, "veth0000000", master, "somebody's"));
        bridge.recover(Vec::new()).unwrap();
        assert_eq!(host.link("veth0000000").unwrap().index, guest.index);
        drop(bridge);
        bridge::Bridge::cleanup(&host.config()).unwrap();
        assert!(host.link("veth0000000").is_some() && host.link(&names[0]).is_some());
        host.delete_link("veth0000000");
        host.delete_link(&names[0]);

        // A bridge of our name that is not ours.
        host.execute(|b| {
            route::add_bridge(b, "gantry0-0a1b2c", Mac::of(Ipv4Addr::new(1, 1, 1, 1)), 1500);
        });
        let bridge = host.open();
        let error = bridge.create(&NetworkConfig::bridge(host.id, None)).unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
        drop(bridge);
        bridge::Bridge::cleanup(&host.config()).unwrap();
        assert!(host.link("gantry0-0a1b2c").is_some());
        host.delete_link("gantry0-0a1b2c");
    });
}

#[test]
fn a_bridge_that_somebody_deletes_comes_back_with_everybody_on_it() {
    on_a_host(|host| {
        let (bridge, _) = host.bridge();
        let (a, b) = (host.container(&bridge), host.container(&bridge));
        host.delete_link("gantry0-0a1b2c");
        eventually("bridge comes back", || {
            let master = host.link("gantry0-0a1b2c").map(|l| l.index);
            let port = |c: &Container| {
                host.link(c.joined.host_interface.as_deref().unwrap()).map(|l| l.master)
            };
            master.is_some() && port(&a) == master && port(&b) == master
        });
        assert_eq!(send(&a.socket(), &b.socket(), b.address()), Some(IpAddr::V4(a.address())));
        // And the next container finds it.
        let c = host.container(&bridge);
        assert!(send(&c.socket(), &b.socket(), b.address()).is_some());
    });
}

#[test]
fn a_new_daemon_adopts_the_living_and_sweeps_the_dead() {
    on_a_host(|host| {
        let (bridge, network) = host.bridge();
        let all: Vec<_> = (0..4).map(|_| host.container(&bridge)).collect();
        // The daemon is killed: nothing is told to leave. Meanwhile somebody breaks things.
        drop(bridge);
        let name = |c: &Container| c.joined.host_interface.clone().unwrap();
        host.delete_link(&name(&all[1]));
        host.delete_link("gantry0-0a1b2c");

        let bridge = host.open();
        let subnet = Some(network.pools[0].subnet);
        assert_eq!(bridge.create(&NetworkConfig::bridge(host.id, subnet)).unwrap(), network);
        // 0 and 1 live on, 2 lives but its namespace is not given, 3 has no owner any more.
        let live = all[..3].iter().enumerate().map(|(n, c)| Live {
            endpoint: c.endpoint.clone(),
            joined: c.joined.clone(),
            published: Vec::new(),
            netns: (n < 2).then(|| c.sandbox.netns().try_clone_to_owned().unwrap()),
        });
        let recovered = bridge.recover(live.collect()).unwrap();
        assert!(recovered.failed.is_empty(), "{:?}", recovered.failed);
        assert_eq!(recovered.removed, [name(&all[3])]);
        assert_eq!(recovered.repaired.len(), 3);
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            assert_eq!(
                send(&all[from].socket(), &all[to].socket(), all[to].address()),
                Some(IpAddr::V4(all[from].address())),
                "{from} to {to}"
            );
        }
        // Living addresses are taken, the dead one's is free.
        let next = host.container(&bridge);
        assert_eq!(next.address(), all[3].address());
        let link = name(&next);
        drop(next);
        eventually("link goes", || host.link(&link).is_none());
        // All is well: nothing to do.
        drop(bridge);
        let bridge = host.open();
        bridge.create(&NetworkConfig::bridge(host.id, subnet)).unwrap();
        let live = all[..3].iter().map(|c| Live {
            endpoint: c.endpoint.clone(),
            joined: c.joined.clone(),
            published: Vec::new(),
            netns: None,
        });
        let recovered = bridge.recover(live.collect()).unwrap();
        assert!(
            recovered.failed.is_empty()
                && recovered.repaired.is_empty()
                && recovered.removed.is_empty()
        );
    });
}

#[test]
fn a_namespace_ends_with_its_last_descriptor() {
    on_a_host(|host| {
        let (bridge, _) = host.bridge();
        let container = host.container(&bridge);
        let name = container.joined.host_interface.clone().unwrap();
        bridge.leave(&container.endpoint.id).unwrap();
        // What the engine does at a start: hand the descriptor over, drop the rest.
        let netns = container.sandbox.into_netns();
        assert!(host.link(&name).is_some());
        let id = netns::identity(netns.as_fd()).unwrap();
        assert_ne!(id, netns::identity(netns::current().unwrap().as_fd()).unwrap());
        drop(netns);
        eventually("link goes with its namespace", || host.link(&name).is_none());
        eventually("address is free", || bridge.leases() == 0);
    });
}
