//! The rtnetlink messages that drivers need, over `sys::netlink`.
//!
//! Functions that take a [`Batch`] append one message; functions that take a [`Socket`] ask and read. Numbers are from
//! `linux/rtnetlink.h`, `linux/if_link.h`, `linux/if_addr.h`, `linux/veth.h`.

mod read;

pub use read::{
    DefaultRoute, LINK_GROUP, LinkEvent, LinkInfo, addresses, default_routes, event, link, link_of,
    links, routes,
};

use crate::Mac;
use ipnet::IpNet;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use sys::netlink::{Attributes, Batch};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;

const NLM_F_DUMP: u16 = 0x300;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const VETH_INFO_PEER: u16 = 1;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_FLAGS: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
/// `IFA_F_NODAD`: usable at once, without asking whether somebody else has it.
const IFA_F_NODAD: u8 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;

const AF_INET: u8 = 2;
const AF_INET6: u16 = 10;
const IFF_UP: u32 = 1;
const IFF_NOARP: u32 = 1 << 7;
/// `lo` is the first link of every namespace (`LOOPBACK_IFINDEX`).
pub const LOOPBACK: u32 = 1;

/// A pair of links, one on the host and one in a sandbox.
#[derive(Debug, Clone, Copy)]
pub struct Veth<'a> {
    /// The host's end.
    pub name: &'a str,
    /// Largest packet of both ends, in bytes.
    pub mtu: u32,
    /// The name of the other end.
    pub peer: &'a str,
    /// The other end's Ethernet address.
    pub peer_mac: Mac,
    /// The namespace the other end is made in.
    pub netns: BorrowedFd<'a>,
}

/// Makes the pair, both ends down, the other end directly in its namespace.
pub fn add_veth(batch: &mut Batch, veth: &Veth<'_>) {
    batch.message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifinfo(0, 0, 0), |a| {
        a.string(IFLA_IFNAME, veth.name);
        one_queue(a, veth.mtu);
        a.nested(IFLA_LINKINFO, |a| {
            a.string(IFLA_INFO_KIND, "veth");
            a.nested(IFLA_INFO_DATA, |a| {
                a.nested(VETH_INFO_PEER, |a| {
                    // A number given here counts only when this end has one given too, which nobody can choose safely.
                    a.raw(&ifinfo(0, 0, 0));
                    a.string(IFLA_IFNAME, veth.peer);
                    a.put(IFLA_ADDRESS, veth.peer_mac.bytes());
                    // The descriptor is looked up in the sender's table while the message is handled.
                    a.put(IFLA_NET_NS_FD, &veth.netns.as_raw_fd().to_ne_bytes());
                    one_queue(a, veth.mtu);
                });
            });
        });
    });
}

/// Makes a pair of links in the sender's own namespace, both down and with the same Ethernet address, so that what leaves
/// through one is taken in by the other.
pub fn add_loop(batch: &mut Batch, name: &str, peer: &str, mac: Mac, mtu: u32) {
    batch.message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifinfo(0, 0, 0), |a| {
        a.string(IFLA_IFNAME, name);
        a.put(IFLA_ADDRESS, mac.bytes());
        one_queue(a, mtu);
        a.nested(IFLA_LINKINFO, |a| {
            a.string(IFLA_INFO_KIND, "veth");
            a.nested(IFLA_INFO_DATA, |a| {
                a.nested(VETH_INFO_PEER, |a| {
                    a.raw(&ifinfo(0, 0, 0));
                    a.string(IFLA_IFNAME, peer);
                    a.put(IFLA_ADDRESS, mac.bytes());
                    one_queue(a, mtu);
                });
            });
        });
    });
}

/// Raises a link on which nobody is asked for Ethernet addresses: all are taken to be its own.
pub fn raise_unasked(batch: &mut Batch, index: u32) {
    let flags = IFF_UP | IFF_NOARP;
    batch.message(RTM_SETLINK, 0, &ifinfo(index, flags, flags), |_| {});
}

/// Without the numbers the kernel allocates queues for every possible processor and uses one of them.
fn one_queue(a: &mut Attributes<'_>, mtu: u32) {
    a.u32(IFLA_MTU, mtu);
    a.u32(IFLA_NUM_TX_QUEUES, 1);
    a.u32(IFLA_NUM_RX_QUEUES, 1);
}

/// Makes a bridge, down. With an address of its own it keeps it; otherwise it takes the lowest of its ports', which
/// changes under the feet of every container as ports come and go.
pub fn add_bridge(batch: &mut Batch, name: &str, mac: Mac, mtu: u32) {
    batch.message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifinfo(0, 0, 0), |a| {
        a.string(IFLA_IFNAME, name);
        a.put(IFLA_ADDRESS, mac.bytes());
        a.u32(IFLA_MTU, mtu);
        a.nested(IFLA_LINKINFO, |a| a.string(IFLA_INFO_KIND, "bridge"));
    });
}

/// A link that shares another's way to the wire.
#[derive(Debug, Clone, Copy)]
pub struct Shared<'a> {
    /// Its name.
    pub name: &'a str,
    /// The number of the link whose wire it uses.
    pub parent: u32,
    /// The namespace it is made in.
    pub netns: BorrowedFd<'a>,
    /// Largest packet in bytes; `None`: the parent's.
    pub mtu: Option<u32>,
    /// What it is.
    pub kind: SharedKind,
}

/// How a link shares its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedKind {
    /// With an Ethernet address of its own, in a mode of `MACVLAN_MODE_*`.
    Macvlan(Mac, u32),
    /// With the parent's Ethernet address, in a mode of `IPVLAN_MODE_*` and with flags of `IPVLAN_F_*`.
    Ipvlan(u16, u16),
}

/// Makes such a link, down, directly in its namespace.
pub fn add_shared(batch: &mut Batch, link: &Shared<'_>) {
    batch.message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifinfo(0, 0, 0), |a| {
        a.string(IFLA_IFNAME, link.name);
        a.u32(IFLA_LINK, link.parent);
        a.put(IFLA_NET_NS_FD, &link.netns.as_raw_fd().to_ne_bytes());
        if let Some(mtu) = link.mtu {
            a.u32(IFLA_MTU, mtu);
        }
        if let SharedKind::Macvlan(mac, _) = link.kind {
            a.put(IFLA_ADDRESS, mac.bytes());
        }
        a.nested(IFLA_LINKINFO, |a| match link.kind {
            SharedKind::Macvlan(_, mode) => {
                a.string(IFLA_INFO_KIND, "macvlan");
                a.nested(IFLA_INFO_DATA, |a| a.u32(IFLA_MACVLAN_MODE, mode));
            }
            SharedKind::Ipvlan(mode, flags) => {
                a.string(IFLA_INFO_KIND, "ipvlan");
                a.nested(IFLA_INFO_DATA, |a| {
                    a.put(IFLA_IPVLAN_MODE, &mode.to_ne_bytes());
                    a.put(IFLA_IPVLAN_FLAGS, &flags.to_ne_bytes());
                });
            }
        });
    });
}

/// Makes a link for the frames of a parent's that have this 802.1q tag, down.
pub fn add_vlan(batch: &mut Batch, name: &str, parent: u32, tag: u16) {
    batch.message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifinfo(0, 0, 0), |a| {
        a.string(IFLA_IFNAME, name);
        a.u32(IFLA_LINK, parent);
        a.nested(IFLA_LINKINFO, |a| {
            a.string(IFLA_INFO_KIND, "vlan");
            a.nested(IFLA_INFO_DATA, |a| a.put(IFLA_VLAN_ID, &tag.to_ne_bytes()));
        });
    });
}

/// Makes a link that leads nowhere, down.
pub fn add_dummy(batch: &mut Batch, name: &str) {
    batch.message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifinfo(0, 0, 0), |a| {
        a.string(IFLA_IFNAME, name);
        a.nested(IFLA_LINKINFO, |a| a.string(IFLA_INFO_KIND, "dummy"));
    });
}

/// Puts a link into a bridge, marks it as ours and raises it, without IPv6 addresses of its own: a bridge's port needs
/// none, and each would be announced, checked for duplicates and reachable from the container.
pub fn enslave(batch: &mut Batch, name: &str, bridge: u32, alias: &str) {
    batch.message(RTM_SETLINK, 0, &ifinfo(0, IFF_UP, IFF_UP), |a| {
        a.string(IFLA_IFNAME, name);
        a.string(IFLA_IFALIAS, alias);
        a.u32(IFLA_MASTER, bridge);
        no_ipv6_address(a);
    });
}

fn no_ipv6_address(a: &mut Attributes<'_>) {
    a.nested(IFLA_AF_SPEC, |a| {
        a.nested(AF_INET6, |a| a.u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE));
    });
}

/// Keeps a bridge's port from the bridge's other isolated ports; the host still reaches it.
pub fn isolate(batch: &mut Batch, name: &str) {
    set_isolated(batch, name, true);
}

/// The same, or takes it back.
pub fn set_isolated(batch: &mut Batch, name: &str, isolated: bool) {
    batch.message(RTM_NEWLINK, 0, &ifinfo(0, 0, 0), |a| {
        a.string(IFLA_IFNAME, name);
        a.nested(IFLA_LINKINFO, |a| {
            a.string(IFLA_INFO_SLAVE_KIND, "bridge");
            a.nested(IFLA_INFO_SLAVE_DATA, |a| a.u8(IFLA_BRPORT_ISOLATED, isolated.into()));
        });
    });
}

/// Lets a bridge send frames back through the port that they came in by.
pub fn reflect(batch: &mut Batch, name: &str) {
    batch.message(RTM_NEWLINK, 0, &ifinfo(0, 0, 0), |a| {
        a.string(IFLA_IFNAME, name);
        a.nested(IFLA_LINKINFO, |a| {
            a.string(IFLA_INFO_SLAVE_KIND, "bridge");
            a.nested(IFLA_INFO_SLAVE_DATA, |a| a.u8(IFLA_BRPORT_MODE, 1));
        });
    });
}

/// Raises a link.
pub fn raise(batch: &mut Batch, index: u32) {
    batch.message(RTM_SETLINK, 0, &ifinfo(index, IFF_UP, IFF_UP), |_| {});
}

/// Moves a link into another namespace under a new name. It is down afterwards and has lost its addresses.
pub fn move_link(batch: &mut Batch, index: u32, netns: BorrowedFd<'_>, name: &str) {
    batch.message(RTM_SETLINK, 0, &ifinfo(index, 0, IFF_UP), |a| {
        a.put(IFLA_NET_NS_FD, &netns.as_raw_fd().to_ne_bytes());
        a.string(IFLA_IFNAME, name);
    });
}

/// Gives a link that is down another Ethernet address.
pub fn set_mac(batch: &mut Batch, index: u32, mac: Mac) {
    batch.message(RTM_SETLINK, 0, &ifinfo(index, 0, 0), |a| a.put(IFLA_ADDRESS, mac.bytes()));
}

/// Writes a link's alias, where we say whose it is.
pub fn set_alias(batch: &mut Batch, name: &str, alias: &str) {
    batch.message(RTM_SETLINK, 0, &ifinfo(0, 0, 0), |a| {
        a.string(IFLA_IFNAME, name);
        a.string(IFLA_IFALIAS, alias);
    });
}

/// Removes a link, and with it the other end of a pair. Takes the kernel 15–34 ms for a pair: never on a path.
pub fn delete_link(batch: &mut Batch, index: u32) {
    batch.message(RTM_DELLINK, 0, &ifinfo(index, 0, 0), |_| {});
}

/// Gives a link an address; its subnet becomes reachable through it once it is up. An IPv6 address can be used at once:
/// address management knows that nobody else has it.
pub fn add_address(batch: &mut Batch, index: u32, address: IpNet) {
    let flags = if address.addr().is_ipv6() { IFA_F_NODAD } else { 0 };
    batch.message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &ifaddr(index, address, flags), |a| {
        let bytes = octets(address.addr());
        a.put(IFA_LOCAL, &bytes);
        a.put(IFA_ADDRESS, &bytes);
        if let IpNet::V4(net) = address
            && net.prefix_len() < 31
        {
            a.put(IFA_BROADCAST, &net.broadcast().octets());
        }
    });
}

/// Takes an address from a link.
pub fn delete_address(batch: &mut Batch, index: u32, address: IpNet) {
    batch.message(RTM_DELADDR, 0, &ifaddr(index, address, 0), |a| {
        a.put(IFA_LOCAL, &octets(address.addr()));
    });
}

/// Sends everything of the gateway's family that has no better route to `gateway`.
pub fn add_default_route(batch: &mut Batch, index: u32, gateway: IpAddr) {
    batch.message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &default_route(gateway), |a| {
        a.put(RTA_GATEWAY, &octets(gateway));
        a.u32(RTA_OIF, index);
    });
}

/// Sends everything of a family that has no better route out through a link, without a gateway.
pub fn add_link_route(batch: &mut Batch, index: u32, like: IpAddr) {
    let mut fixed = default_route(like);
    // RT_SCOPE_LINK.
    fixed[6] = if like.is_ipv4() { 253 } else { 0 };
    batch.message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &fixed, |a| a.u32(RTA_OIF, index));
}

/// Sends what goes to a subnet out through a link, to a neighbour who takes it on or straight to whom it is for.
pub fn add_route(batch: &mut Batch, index: u32, to: IpNet, via: Option<IpAddr>) {
    let mut fixed = default_route(to.addr());
    fixed[1] = to.prefix_len();
    if via.is_none() && to.addr().is_ipv4() {
        // RT_SCOPE_LINK.
        fixed[6] = 253;
    }
    batch.message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &fixed, |a| {
        a.put(RTA_DST, &octets(to.network()));
        if let Some(via) = via {
            a.put(RTA_GATEWAY, &octets(via));
        }
        a.u32(RTA_OIF, index);
    });
}

/// Takes such a route away.
pub fn delete_default_route(batch: &mut Batch, index: u32, gateway: IpAddr) {
    // Whoever made it, and however: protocol 0 is any.
    let mut fixed = default_route(gateway);
    fixed[5] = 0;
    batch.message(RTM_DELROUTE, 0, &fixed, |a| {
        a.put(RTA_GATEWAY, &octets(gateway));
        a.u32(RTA_OIF, index);
    });
}

/// `struct rtmsg`: family, dst_len, src_len, tos, table main, protocol boot, scope universe, type unicast, flags.
fn default_route(gateway: IpAddr) -> [u8; 12] {
    [family(gateway), 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0]
}

/// `struct ifaddrmsg`.
fn ifaddr(index: u32, address: IpNet, flags: u8) -> [u8; 8] {
    let [i0, i1, i2, i3] = index.to_ne_bytes();
    [family(address.addr()), address.prefix_len(), flags, 0, i0, i1, i2, i3]
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6 as u8,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// `struct ifinfomsg`.
fn ifinfo(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&change.to_ne_bytes());
    bytes
}
