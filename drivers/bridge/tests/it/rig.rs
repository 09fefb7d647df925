//! A host that is a network namespace, and containers that are sandboxes.

use bridge::{Bridge, Config};
use network::route::{self, LinkInfo};
use network::{
    Driver as _, Endpoint, EndpointId, Ipam, Joined, Network, NetworkConfig, NetworkId, Sandbox,
    ipam, pools,
};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use sys::netlink::{Batch, Protocol, Socket};
use sys::netns;

/// Runs `test` on a thread that lives in a new network namespace with loopback up.
pub(crate) fn on_a_host(test: fn(&Host)) {
    let outcome = std::thread::spawn(move || {
        let home = Sandbox::create().unwrap().into_netns();
        netns::enter(home.as_fd()).unwrap();
        let host = Host { state: tempfile::tempdir().unwrap(), id: NetworkId::random().unwrap() };
        let before = host.links();
        test(&host);
        Bridge::cleanup(&host.config()).unwrap();
        // Namespaces of dropped sandboxes take their links along a moment later.
        eventually("links left over", || host.links().iter().all(|l| before.contains(l)));
        let mut firewall = nft::Firewall::open().unwrap();
        assert!(
            firewall.tables().unwrap().iter().all(|t| !t.starts_with("gantry")),
            "table left over"
        );
        assert_eq!(std::fs::read_dir(host.state.path()).unwrap().count(), 0, "state left over");
    })
    .join();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

pub(crate) struct Host {
    pub(crate) state: tempfile::TempDir,
    pub(crate) id: NetworkId,
}

impl Host {
    pub(crate) fn config(&self) -> Config {
        Config {
            instance: Some("0a1b2c".into()),
            state: self.state.path().to_owned(),
            firewall: None,
            policy: bridge::policy::Policy::default(),
        }
    }

    pub(crate) fn open(&self) -> Bridge {
        self.open_with(self.config())
    }

    pub(crate) fn open_with(&self, config: Config) -> Bridge {
        let ipam: Arc<dyn Ipam> = Arc::new(ipam::Default::new(
            [&pools::defaults()[..], &[pools::unique_local(b"a host")]].concat(),
        ));
        Bridge::open(config, ipam).unwrap()
    }

    /// The driver with the default network on it.
    pub(crate) fn bridge(&self) -> (Bridge, Network) {
        let bridge = self.open();
        let network = bridge.create(&NetworkConfig::bridge(self.id, None)).unwrap();
        (bridge, network)
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        // A container of its own.
        let id = EndpointId::random().unwrap();
        let container = id.to_string().parse().unwrap();
        Endpoint::new(id, self.id, container)
    }

    pub(crate) fn container(&self, bridge: &Bridge) -> Container {
        self.container_on(bridge, self.id)
    }

    pub(crate) fn container_on(&self, bridge: &Bridge, network: NetworkId) -> Container {
        let mut sandbox = Sandbox::create().unwrap();
        let endpoint = Endpoint { network, ..self.endpoint() };
        let joined = bridge.join(&endpoint, &mut sandbox).unwrap();
        Container { sandbox, endpoint, joined }
    }

    pub(crate) fn links(&self) -> Vec<LinkInfo> {
        route::links(&mut Socket::open(Protocol::Route).unwrap()).unwrap()
    }

    pub(crate) fn addresses(&self) -> Vec<ipnet::IpNet> {
        let all = route::addresses(&mut Socket::open(Protocol::Route).unwrap()).unwrap();
        all.into_iter().map(|(_, address)| address).collect()
    }

    pub(crate) fn link(&self, name: &str) -> Option<LinkInfo> {
        self.links().into_iter().find(|l| l.name == name)
    }

    pub(crate) fn execute(&self, build: impl FnOnce(&mut Batch)) {
        let mut batch = Batch::new();
        build(&mut batch);
        Socket::open(Protocol::Route).unwrap().execute(batch).unwrap();
    }

    pub(crate) fn delete_link(&self, name: &str) {
        let index = self.link(name).unwrap().index;
        self.execute(|b| route::delete_link(b, index));
    }
}

pub(crate) struct Container {
    pub(crate) sandbox: Sandbox,
    pub(crate) endpoint: Endpoint,
    pub(crate) joined: Joined,
}

impl Container {
    pub(crate) fn address(&self) -> Ipv4Addr {
        match self.joined.addresses[0].addr() {
            IpAddr::V4(address) => address,
            IpAddr::V6(_) => panic!("not IPv4"),
        }
    }

    /// A UDP socket in the container, on any of its addresses.
    pub(crate) fn socket(&self) -> UdpSocket {
        udp_in(self.sandbox.netns())
    }
}

/// A UDP socket in a namespace that gives up after a second.
pub(crate) fn udp_in(netns: BorrowedFd<'_>) -> UdpSocket {
    let socket = netns::inside(netns, || UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    socket
}

/// Sends from one socket to an address that `to` listens on; returns who `to` says it was, or `None` if nothing came.
pub(crate) fn send(from: &UdpSocket, to: &UdpSocket, address: Ipv4Addr) -> Option<IpAddr> {
    let port = to.local_addr().unwrap().port();
    if from.send_to(b"hello", (address, port)).is_err() {
        return None;
    }
    let mut buffer = [0; 16];
    let (length, source) = to.recv_from(&mut buffer).ok()?;
    assert_eq!(&buffer[..length], b"hello");
    Some(source.ip())
}

pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(5), "{what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Gives a container's link one more address, as its root may.
pub(crate) fn add_address(container: &Container, address: &str) {
    let address = address.parse().unwrap();
    let netns = container.sandbox.netns().try_clone_to_owned().unwrap();
    let mut sandbox = Sandbox::adopt(netns).unwrap();
    let index = route::link(sandbox.route(), "eth0").unwrap().unwrap().index;
    let mut batch = Batch::new();
    route::add_address(&mut batch, index, address);
    // It may have it already.
    let _there = sandbox.route().execute(batch);
}

#[expect(
    clippy::disallowed_methods,
    reason = "routes of loopback are nothing that drivers ever touch; ip inherits the thread's namespace"
)]
/// Makes a namespace send what is for 127.0.0.1 to `gateway`, as an attacker who is root there would.
pub(crate) fn send_loopback_out(netns: BorrowedFd<'_>, gateway: &str) {
    let script = format!(
        "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; \
         ip route del local 127.0.0.0/8 table local; ip route del local 127.0.0.1 table local; \
         ip route add 127.0.0.0/8 via {gateway} dev eth0"
    );
    let run = move || std::process::Command::new("sh").args(["-ec", &script]).status();
    assert!(netns::inside(netns, run).unwrap().unwrap().success());
}
