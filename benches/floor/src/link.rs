//! A bridge, and pairs of links between it and containers: the messages that Gantry's bridge driver sends.

use std::net::Ipv4Addr;

use sys::netlink::{Attributes, Batch, Protocol, Socket};

use crate::Result;

const RTM_NEWLINK: u16 = 16;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const NLM_F_CREATE_EXCL: u16 = 0x600;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_PID: u16 = 19;
const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const AF_INET: u8 = 2;
const AF_INET6: u16 = 10;
const IFF_UP: u32 = 1;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 31, 255, 1);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 31, 255, 2);
const PREFIX: u8 = 24;

/// Our own "host": a bridge that is up.
#[derive(Debug)]
pub(crate) struct Switch {
    socket: Socket,
    bridge: u32,
}

impl Switch {
    /// Makes the bridge in the calling process's network namespace.
    pub(crate) fn make() -> Result<Self> {
        let mut socket = Socket::open(Protocol::Route)?;
        let mut batch = Batch::new();
        batch.message(RTM_NEWLINK, NLM_F_CREATE_EXCL, &link(0, IFF_UP), |a| {
            a.string(IFLA_IFNAME, "floor0");
            a.nested(IFLA_LINKINFO, |a| a.string(IFLA_INFO_KIND, "bridge"));
        });
        socket.execute(batch)?;
        let bridge = rustix::net::netdevice::name_to_index(&socket, "floor0")?;
        let mut batch = Batch::new();
        address(&mut batch, bridge, GATEWAY);
        socket.execute(batch)?;
        Ok(Self { socket, bridge })
    }

    /// Makes a pair of links, one end in the namespace of process `pid`, the other a port of the bridge.
    pub(crate) fn connect(&mut self, name: &str, pid: i32) -> Result<()> {
        let mut pair = Batch::new();
        pair.message(RTM_NEWLINK, NLM_F_CREATE_EXCL, &link(0, 0), |a| {
            a.string(IFLA_IFNAME, name);
            one_queue(a);
            a.nested(IFLA_LINKINFO, |a| {
                a.string(IFLA_INFO_KIND, "veth");
                a.nested(IFLA_INFO_DATA, |a| {
                    a.nested(VETH_INFO_PEER, |a| {
                        a.raw(&link(0, 0));
                        a.string(IFLA_IFNAME, "eth0");
                        a.u32(IFLA_NET_NS_PID, pid.unsigned_abs());
                        one_queue(a);
                    });
                });
            });
        });
        pair.message(RTM_SETLINK, 0, &link(0, IFF_UP), |a| {
            a.string(IFLA_IFNAME, name);
            a.string(IFLA_IFALIAS, name);
            a.u32(IFLA_MASTER, self.bridge);
            a.nested(IFLA_AF_SPEC, |a| {
                a.nested(AF_INET6, |a| a.u8(IFLA_INET6_ADDR_GEN_MODE, 1));
            });
        });
        Ok(self.socket.execute(pair)?)
    }

    /// Whether the host's end of a pair is still there.
    pub(crate) fn has(&self, name: &str) -> bool {
        rustix::net::netdevice::name_to_index(&self.socket, name).is_ok()
    }
}

/// The container's part: address, link up, default route.
pub(crate) fn set_up_inside() -> Result<()> {
    let mut socket = Socket::open(Protocol::Route)?;
    let index = rustix::net::netdevice::name_to_index(&socket, "eth0")?;
    let mut batch = Batch::new();
    address(&mut batch, index, ADDRESS);
    batch.message(RTM_SETLINK, 0, &link(index, IFF_UP), |_| {});
    // struct rtmsg: family, dst_len, src_len, tos, table main, protocol boot, scope universe, type unicast, flags.
    batch.message(
        RTM_NEWROUTE,
        NLM_F_CREATE_EXCL,
        &[AF_INET, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0],
        |a| {
            a.put(RTA_GATEWAY, &GATEWAY.octets());
            a.u32(RTA_OIF, index);
        },
    );
    Ok(socket.execute(batch)?)
}

fn address(batch: &mut Batch, index: u32, address: Ipv4Addr) {
    let [a, b, c, d] = index.to_ne_bytes();
    batch.message(
        RTM_NEWADDR,
        NLM_F_CREATE_EXCL,
        &[AF_INET, PREFIX, 0, 0, a, b, c, d],
        |attributes| {
            attributes.put(IFA_LOCAL, &address.octets());
            attributes.put(IFA_ADDRESS, &address.octets());
        },
    );
}

fn one_queue(a: &mut Attributes<'_>) {
    a.u32(IFLA_MTU, 1500);
    a.u32(IFLA_NUM_TX_QUEUES, 1);
    a.u32(IFLA_NUM_RX_QUEUES, 1);
}

/// `struct ifinfomsg`: raised when `flags` says so.
fn link(index: u32, flags: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&flags.to_ne_bytes());
    bytes
}
