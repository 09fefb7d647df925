//! The drivers in a real kernel: a "host" that is a network namespace, and a LAN behind its link.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod kernel;

use macvlan::{Kind, Macvlan};
use network::route::{self, Veth};
use network::{
    Driver as _, Endpoint, EndpointId, Joined, Live, Mac, NetworkConfig, NetworkId, PoolConfig,
    Sandbox, ipam, pools,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;
use sys::netlink::{Batch, Protocol, Socket};
use sys::netns;

/// Runs `test` in a new network namespace with a link `uplink` to a machine `192.0.2.1`.
fn on_a_host(test: fn(&mut Sandbox)) {
    let outcome = std::thread::spawn(move || {
        let home = Sandbox::create().unwrap().into_netns();
        netns::enter(home.as_fd()).unwrap();
        let mut lan = Sandbox::create().unwrap();
        let (index, interface) = lan.next_link();
        let peer_mac = Mac::of([192, 0, 2, 1].into());
        let veth =
            Veth { name: "uplink", mtu: 1500, peer: &interface, peer_mac, netns: lan.netns() };
        let mut socket = Socket::open(Protocol::Route).unwrap();
        let mut batch = Batch::new();
        route::add_veth(&mut batch, &veth);
        socket.execute(batch).unwrap();
        let uplink = route::link(&mut socket, "uplink").unwrap().unwrap().index;
        let mut batch = Batch::new();
        route::raise(&mut batch, uplink);
        socket.execute(batch).unwrap();
        let mut inside = Batch::new();
        route::add_address(&mut inside, index, "192.0.2.1/24".parse().unwrap());
        route::raise(&mut inside, index);
        lan.route().execute(inside).unwrap();
        let before = links();
        test(&mut lan);
        assert_eq!(links(), before, "links left over");
    })
    .join();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

fn links() -> Vec<String> {
    let all = route::links(&mut Socket::open(Protocol::Route).unwrap()).unwrap();
    all.into_iter().map(|link| link.name).collect()
}

fn open(kind: Kind) -> Macvlan {
    Macvlan::open(kind, "gantry_0a1b2c", Arc::new(ipam::Default::new(pools::defaults()))).unwrap()
}

fn config(options: &[(&str, &str)]) -> NetworkConfig {
    let all: BTreeMap<_, _> =
        options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    NetworkConfig {
        name: "lan".into(),
        default: false,
        ipv4: Some(PoolConfig { subnet: "192.0.2.0/24".parse().ok(), ..PoolConfig::default() }),
        options: all,
        ..NetworkConfig::bridge(NetworkId::random().unwrap(), None)
    }
}

fn join(driver: &Macvlan, network: NetworkId) -> (Sandbox, Endpoint, Joined) {
    let mut sandbox = Sandbox::create().unwrap();
    let container = types::ContainerId::from_bytes(&[1; 32]);
    let endpoint = Endpoint::new(EndpointId::random().unwrap(), network, container);
    let joined = driver.join(&endpoint, &mut sandbox).unwrap();
    (sandbox, endpoint, joined)
}

fn send(from: &Sandbox, to: &Sandbox, address: IpAddr) -> Option<IpAddr> {
    let bind = |sandbox: &Sandbox| {
        let socket = netns::inside(sandbox.netns(), || UdpSocket::bind("0.0.0.0:0"));
        let socket = socket.unwrap().unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        socket
    };
    let (here, there) = (bind(from), bind(to));
    here.send_to(b"x", (address, there.local_addr().unwrap().port())).ok()?;
    there.recv_from(&mut [0; 8]).ok().map(|(_, from)| from.ip())
}

#[test]
fn containers_are_on_the_lan_themselves() {
    on_a_host(|lan| {
        let driver = open(Kind::Macvlan);
        let network = config(&[("parent", "uplink")]);
        driver.create(&network).unwrap();
        driver.create(&network).unwrap();
        let (a, one, joined) = join(&driver, network.id);
        let (b, two, other) = join(&driver, network.id);
        assert_eq!(joined.addresses[0].to_string(), "192.0.2.2/24");
        assert_eq!(joined.gateways, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(joined.mac.unwrap().to_string(), "02:42:c0:00:02:02");
        assert_eq!(send(&a, lan, "192.0.2.1".parse().unwrap()), Some(joined.addresses[0].addr()));
        let to = other.addresses[0].addr();
        assert_eq!(send(&a, &b, to), Some(joined.addresses[0].addr()));
        let second = config(&[("parent", "uplink")]);
        assert!(
            driver
                .create(&second)
                .unwrap_err()
                .to_string()
                .ends_with("is already using parent interface uplink")
        );
        assert!(driver.delete(&network.id).unwrap_err().to_string().contains("active endpoints"));
        // Another daemon finds who is there.
        let again = open(Kind::Macvlan);
        again.create(&network).unwrap();
        let live = Live {
            endpoint: one.clone(),
            joined: joined.clone(),
            published: Vec::new(),
            netns: None,
        };
        assert!(again.recover(vec![live]).unwrap().failed.is_empty());
        driver.leave(&two.id).unwrap();
        drop(b);
        let (_c, _, third) = join(&again, network.id);
        assert_eq!(third.addresses[0].to_string(), "192.0.2.3/24");
        driver.leave(&one.id).unwrap();
        driver.delete(&network.id).unwrap();
        driver.delete(&network.id).unwrap();
    });
}

#[test]
fn modes_and_what_is_not_there() {
    on_a_host(|_| {
        let driver = open(Kind::Macvlan);
        let through = config(&[("parent", "uplink"), ("macvlan_mode", "passthru")]);
        driver.create(&through).unwrap();
        let (mut a, one, joined) = join(&driver, through.id);
        let mut sandbox = Sandbox::create().unwrap();
        let next = Endpoint { id: EndpointId::random().unwrap(), ..one.clone() };
        assert_eq!(driver.join(&next, &mut sandbox).unwrap_err().kind(), stdx::Kind::Conflict);
        // Its link goes now, not when the kernel comes to take the namespace down: the parent is needed below.
        driver.detach(&one.id, &joined.interface, &mut a).unwrap();
        driver.delete(&through.id).unwrap();
        let refused = |driver: &Macvlan, options: &[(&str, &str)]| {
            driver.create(&config(options)).err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert_eq!(
            refused(&driver, &[("parent", "nope")]),
            "invalid subinterface vlan name nope, example formatting is eth0.10"
        );
        assert!(refused(&driver, &[("parent", "nope.50")]).contains("master interface nope"));
        // What the kernel may lack is there, with nothing left behind, or is clearly refused.
        for (kind, options) in [
            (Kind::Macvlan, &[("parent", "uplink.50")][..]),
            (Kind::Macvlan, &[][..]),
            (Kind::Ipvlan, &[("parent", "uplink")][..]),
        ] {
            let driver = open(kind);
            let network = config(options);
            let outcome = driver.create(&network).and_then(|_| {
                let mut sandbox = Sandbox::create().unwrap();
                let endpoint = Endpoint { network: network.id, ..next.clone() };
                let joined = driver.join(&endpoint, &mut sandbox);
                driver.leave(&endpoint.id).unwrap();
                joined
            });
            if let Err(e) = outcome {
                assert!(e.to_string().contains("operation not supported"), "{e}");
            }
            driver.delete(&network.id).unwrap();
        }
    });
}

#[test]
fn a_running_container_is_taken_off() {
    on_a_host(|_| {
        let driver = open(Kind::Macvlan);
        let network = config(&[("parent", "uplink")]);
        driver.create(&network).unwrap();
        let (mut sandbox, one, joined) = join(&driver, network.id);
        let link = |sandbox: &mut Sandbox| {
            network::route::link(sandbox.route(), &joined.interface).unwrap()
        };
        assert!(link(&mut sandbox).is_some());
        driver.detach(&one.id, &joined.interface, &mut sandbox).unwrap();
        assert!(link(&mut sandbox).is_none());
        driver.detach(&one.id, &joined.interface, &mut sandbox).unwrap();
        // What is no link of this driver's stays, whatever it is called.
        driver.detach(&one.id, "lo", &mut sandbox).unwrap();
        assert!(network::route::link(sandbox.route(), "lo").unwrap().is_some());
        let (_next, _, again) = join(&driver, network.id);
        assert_eq!(again.addresses, joined.addresses);
    });
}
