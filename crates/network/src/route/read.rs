//! Asking for links, addresses and routes, and reading what the kernel says about them.

use super::{
    AF_INET, AF_INET6, IFA_ADDRESS, IFA_LOCAL, IFF_UP, IFLA_ADDRESS, IFLA_EXT_MASK, IFLA_IFALIAS,
    IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MASTER, NLM_F_DUMP, RTA_DST, RTA_GATEWAY,
    RTA_OIF, RTM_DELLINK, RTM_GETADDR, RTM_GETLINK, RTM_GETROUTE, RTM_NEWADDR, RTM_NEWLINK,
    RTM_NEWROUTE, ifinfo,
};
use crate::Mac;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::IpAddr;
use stdx::{Error, Result};
use sys::netlink::{Batch, Message, Socket, attributes};

/// `RTMGRP_LINK`: the multicast group that tells of links, for `Socket::subscribe`.
pub const LINK_GROUP: u32 = 1;
/// `RTEXT_FILTER_SKIP_STATS`: leave the counters out, they are most of a link's description.
const SKIP_STATS: u32 = 8;
const ENODEV: i32 = 19;

/// A link as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinkInfo {
    /// Its number in the namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its kind: `veth`, `bridge`, empty for hardware.
    pub kind: String,
    /// The number of the bridge it is in, 0 when none.
    pub master: u32,
    /// What somebody wrote on it.
    pub alias: String,
    /// Its Ethernet address, if it has one.
    pub mac: Option<Mac>,
    /// It is administratively up.
    pub up: bool,
}

/// News of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// It is new or something about it changed.
    Changed(LinkInfo),
    /// It is gone.
    Gone(LinkInfo),
}

/// All links of the socket's namespace.
pub fn links(socket: &mut Socket) -> Result<Vec<LinkInfo>> {
    let mut batch = Batch::new();
    batch.message(RTM_GETLINK, NLM_F_DUMP, &ifinfo(0, 0, 0), |a| a.u32(IFLA_EXT_MASK, SKIP_STATS));
    let answers = socket.query(&batch).map_err(|e| Error::internal("list links").caused_by(e))?;
    Ok(answers.iter().filter(|m| m.kind == RTM_NEWLINK).filter_map(parse_link).collect())
}

/// The link of this name, if there is one.
pub fn link(socket: &mut Socket, name: &str) -> Result<Option<LinkInfo>> {
    let mut batch = Batch::new();
    batch.message(RTM_GETLINK, 0, &ifinfo(0, 0, 0), |a| {
        a.string(IFLA_IFNAME, name);
        a.u32(IFLA_EXT_MASK, SKIP_STATS);
    });
    match socket.query(&batch) {
        Ok(answers) => Ok(answers.iter().find_map(parse_link)),
        Err(e) if e.errno() == Some(ENODEV) => Ok(None),
        Err(e) => Err(Error::internal(format!("find link {name}")).caused_by(e)),
    }
}

/// The link of that number, if there is one.
pub fn link_of(socket: &mut Socket, index: u32) -> Result<Option<LinkInfo>> {
    let mut batch = Batch::new();
    batch.message(RTM_GETLINK, 0, &ifinfo(index, 0, 0), |a| a.u32(IFLA_EXT_MASK, SKIP_STATS));
    match socket.query(&batch) {
        Ok(answers) => Ok(answers.iter().find_map(parse_link)),
        Err(e) if e.errno() == Some(ENODEV) => Ok(None),
        Err(e) => Err(Error::internal(format!("find link {index}")).caused_by(e)),
    }
}

/// The addresses of all links: the link's number and the address with its prefix.
pub fn addresses(socket: &mut Socket) -> Result<Vec<(u32, IpNet)>> {
    let mut batch = Batch::new();
    batch.message(RTM_GETADDR, NLM_F_DUMP, &[0; 8], |_| {});
    let answers =
        socket.query(&batch).map_err(|e| Error::internal("list addresses").caused_by(e))?;
    Ok(answers.iter().filter(|m| m.kind == RTM_NEWADDR).filter_map(parse_address).collect())
}

/// The destinations of all routes, in all tables, the default route as `0.0.0.0/0`.
pub fn routes(socket: &mut Socket) -> Result<Vec<IpNet>> {
    let mut batch = Batch::new();
    batch.message(RTM_GETROUTE, NLM_F_DUMP, &[0; 12], |_| {});
    let answers = socket.query(&batch).map_err(|e| Error::internal("list routes").caused_by(e))?;
    Ok(answers.iter().filter(|m| m.kind == RTM_NEWROUTE).filter_map(parse_route).collect())
}

/// Where everything goes that has no better route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultRoute {
    /// The number of the link.
    pub index: u32,
    /// Who takes it on from there.
    pub gateway: IpAddr,
}

/// The default routes of the main table that have a gateway, of both families.
pub fn default_routes(socket: &mut Socket) -> Result<Vec<DefaultRoute>> {
    let mut batch = Batch::new();
    batch.message(RTM_GETROUTE, NLM_F_DUMP, &[0; 12], |_| {});
    let answers = socket.query(&batch).map_err(|e| Error::internal("list routes").caused_by(e))?;
    Ok(answers.iter().filter(|m| m.kind == RTM_NEWROUTE).filter_map(parse_default).collect())
}

/// What a message of [`LINK_GROUP`] tells.
pub fn event(message: &Message) -> Option<LinkEvent> {
    // Bridges tell of their ports in the same group, under their own family: a port that leaves its bridge is an
    // RTM_DELLINK of AF_BRIDGE while the link is still there.
    if message.body.first() != Some(&0) {
        return None;
    }
    match message.kind {
        RTM_NEWLINK => parse_link(message).map(LinkEvent::Changed),
        RTM_DELLINK => parse_link(message).map(LinkEvent::Gone),
        _ => None,
    }
}

fn parse_link(message: &Message) -> Option<LinkInfo> {
    let fixed = message.body.first_chunk::<16>()?;
    let mut link = LinkInfo {
        index: u32::from_ne_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
        up: u32::from_ne_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]) & IFF_UP != 0,
        ..LinkInfo::default()
    };
    for (kind, value) in message.attributes(16) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_ADDRESS => link.mac = value.try_into().ok().and_then(Mac::of_bytes),
            IFLA_IFALIAS => link.alias = text(value),
            IFLA_MASTER => link.master = u32::from_ne_bytes(value.try_into().ok()?),
            IFLA_LINKINFO => {
                link.kind = attributes(value)
                    .find(|(k, _)| *k == IFLA_INFO_KIND)
                    .map(|(_, v)| text(v))
                    .unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(link)
}

fn parse_address(message: &Message) -> Option<(u32, IpNet)> {
    let fixed = message.body.first_chunk::<8>()?;
    let index = u32::from_ne_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    // On a point-to-point link IFA_ADDRESS is the other side; IFA_LOCAL is ours. IPv6 has only the former.
    let own = message.attributes(8).find(|(k, _)| *k == IFA_LOCAL);
    let (_, value) = own.or_else(|| message.attributes(8).find(|(k, _)| *k == IFA_ADDRESS))?;
    Some((index, net(fixed[0], value, fixed[1])?))
}

fn parse_route(message: &Message) -> Option<IpNet> {
    let fixed = message.body.first_chunk::<12>()?;
    let unspecified = [0; 16];
    let size = if fixed[0] == AF_INET { 4 } else { 16 };
    let value = message
        .attributes(12)
        .find(|(k, _)| *k == RTA_DST)
        .map_or(&unspecified[..size], |(_, v)| v);
    net(fixed[0], value, fixed[1])
}

fn parse_default(message: &Message) -> Option<DefaultRoute> {
    let fixed = message.body.first_chunk::<12>()?;
    // Destination of length zero, table main, unicast.
    if fixed[1] != 0 || fixed[4] != 254 || fixed[7] != 1 {
        return None;
    }
    let (_, gateway) = message.attributes(12).find(|(k, _)| *k == RTA_GATEWAY)?;
    let (_, index) = message.attributes(12).find(|(k, _)| *k == RTA_OIF)?;
    let full = if fixed[0] == AF_INET { 32 } else { 128 };
    Some(DefaultRoute {
        index: u32::from_ne_bytes(index.try_into().ok()?),
        gateway: net(fixed[0], gateway, full)?.addr(),
    })
}

fn net(family: u8, address: &[u8], prefix: u8) -> Option<IpNet> {
    if family == AF_INET {
        Ipv4Net::new(<[u8; 4]>::try_from(address).ok()?.into(), prefix).ok().map(IpNet::V4)
    } else if u16::from(family) == AF_INET6 {
        let address: IpAddr = <[u8; 16]>::try_from(address).ok()?.into();
        let IpAddr::V6(address) = address else { return None };
        Ipv6Net::new(address, prefix).ok().map(IpNet::V6)
    } else {
        None
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}
