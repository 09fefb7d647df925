//! Connections that the kernel remembers and that would go on where they went before. For UDP that is for ever, as long
//! as somebody sends.

use network::{Protocol, PublishedPort};
use std::collections::HashSet;
use std::net::IpAddr;
use stdx::{Error, Result};
use sys::netlink::{Batch, Message, Socket, attributes};

/// `NFNL_SUBSYS_CTNETLINK` and its messages.
const CT_GET: u16 = 1 << 8 | 1;
const CT_DELETE: u16 = 1 << 8 | 2;
const NLM_F_DUMP: u16 = 0x300;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
const UDP: u8 = 17;
const ENOENT: i32 = 2;

/// Which connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flows {
    /// To these UDP ports.
    ports: HashSet<u16>,
    /// Answered by these addresses.
    addresses: Vec<IpAddr>,
}

impl Flows {
    /// The connections to ports that have just been published, or, where `addresses` had them, those of addresses that
    /// have none any more; `None` when no port is of UDP.
    pub(crate) fn of(published: &[PublishedPort], addresses: Vec<IpAddr>) -> Option<Self> {
        let udp = published.iter().filter(|port| port.protocol == Protocol::Udp);
        let ports: HashSet<u16> = udp.map(|port| port.port).collect();
        (!ports.is_empty()).then_some(Self { ports, addresses })
    }

    /// Makes the kernel forget them.
    pub(crate) fn forget(&self) -> Result<()> {
        let failed = |e: sys::netlink::Error| Error::internal("connection tracking").caused_by(e);
        let mut socket = Socket::open(sys::netlink::Protocol::Netfilter)
            .map_err(|e| Error::io("open netlink socket", e))?;
        // Both families at once: the kernel goes through its whole table, which takes milliseconds.
        let mut batch = Batch::new();
        batch.message(CT_GET, NLM_F_DUMP, &[0; 4], |_| {});
        for entry in socket.query(&batch).map_err(failed)? {
            let Some(tuple) = self.concerned(&entry) else { continue };
            let family = entry.body.first().copied().unwrap_or_default();
            let mut batch = Batch::new();
            batch.message(CT_DELETE, 0, &[family, 0, 0, 0], |a| {
                a.put(CTA_TUPLE_ORIG | 1 << 15, &tuple);
            });
            match socket.execute(batch) {
                // It ended meanwhile.
                Err(e) if e.errno() == Some(ENOENT) => {}
                result => result.map_err(failed)?,
            }
        }
        Ok(())
    }

    /// The original direction's tuple, by which the kernel finds the connection, if it is one of these.
    fn concerned(&self, entry: &Message) -> Option<Vec<u8>> {
        let tuple = |wanted: u16| entry.attributes(4).find(|(k, _)| *k == wanted).map(|(_, v)| v);
        let (original, reply) = (tuple(CTA_TUPLE_ORIG)?, tuple(CTA_TUPLE_REPLY)?);
        let part = |tuple, kind: u16| attributes(tuple).find(|(k, _)| *k == kind).map(|(_, v)| v);
        let protocol = part(original, CTA_TUPLE_PROTO)?;
        let number = part(protocol, CTA_PROTO_NUM)?.first().copied()?;
        let port = part(protocol, CTA_PROTO_DST_PORT)
            .and_then(|bytes| Some(u16::from_be_bytes(bytes.try_into().ok()?)));
        let to_port = number == UDP && port.is_some_and(|port| self.ports.contains(&port));
        let answering = source(part(reply, CTA_TUPLE_IP)?);
        let by_address = answering.is_some_and(|address| self.addresses.contains(&address));
        (to_port || by_address).then(|| original.to_vec())
    }
}

fn source(ip: &[u8]) -> Option<IpAddr> {
    attributes(ip).find_map(|(kind, value)| match kind {
        CTA_IP_V4_SRC => Some(<[u8; 4]>::try_from(value).ok()?.into()),
        CTA_IP_V6_SRC => Some(<[u8; 16]>::try_from(value).ok()?.into()),
        _ => None,
    })
}
