//! A network outside of the host: another namespace behind a link of the host's.

use crate::rig::{Host, udp_in};
use network::route::{self, Veth};
use network::{Mac, Sandbox};
use std::net::{Ipv4Addr, UdpSocket};
use sys::netlink::{Batch, Protocol, Socket};

pub(crate) struct Lan {
    pub(crate) sandbox: Sandbox,
    pub(crate) host: Ipv4Addr,
    pub(crate) address: Ipv4Addr,
}

impl Lan {
    /// A machine `192.0.2.2` (or another third byte) that the host reaches as `192.0.2.1`, and that sends everything else
    /// to the host.
    pub(crate) fn beside(host: &Host, name: &str, third: u8) -> Self {
        let mut sandbox = Sandbox::create().unwrap();
        let (here, there) = (Ipv4Addr::new(192, 0, third, 1), Ipv4Addr::new(192, 0, third, 2));
        let (index, interface) = sandbox.next_link();
        let veth = Veth {
            name,
            mtu: 1500,
            peer: &interface,
            peer_mac: Mac::of(there),
            netns: sandbox.netns(),
        };
        host.execute(|b| route::add_veth(b, &veth));
        let uplink = host.link(name).unwrap().index;
        let prefixed = |address| ipnet::Ipv4Net::new(address, 24).unwrap().into();
        host.execute(|b| {
            route::add_address(b, uplink, prefixed(here));
            route::raise(b, uplink);
        });
        let mut inside = Batch::new();
        route::add_address(&mut inside, index, prefixed(there));
        route::raise(&mut inside, index);
        route::add_default_route(&mut inside, index, here.into());
        sandbox.route().execute(inside).unwrap();
        // Both ends carry packets from now on, not only when the kernel's worker gets to them.
        route::link(sandbox.route(), &interface).unwrap();
        route::link(&mut Socket::open(Protocol::Route).unwrap(), name).unwrap();
        Self { sandbox, host: here, address: there }
    }

    pub(crate) fn socket(&self) -> UdpSocket {
        udp_in(self.sandbox.netns())
    }

    /// The same with `fd99::2` that the host reaches as `fd99::1`.
    pub(crate) fn with_ipv6(mut self, host: &Host, name: &str) -> Self {
        let uplink = host.link(name).unwrap().index;
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "0").unwrap();
        host.execute(|b| route::add_address(b, uplink, "fd99::1/64".parse().unwrap()));
        let on = vec![("net/ipv6/conf/eth0/disable_ipv6".to_owned(), "0".to_owned())];
        self.sandbox.sysctls(on).unwrap();
        let index = route::link(self.sandbox.route(), "eth0").unwrap().unwrap().index;
        let mut inside = Batch::new();
        route::add_address(&mut inside, index, "fd99::2/64".parse().unwrap());
        route::add_default_route(&mut inside, index, "fd99::1".parse().unwrap());
        self.sandbox.route().execute(inside).unwrap();
        self
    }
}
