//! Where a redirected datagram was meant to go. A socket of TCP can be asked (`SO_ORIGINAL_DST`), one of UDP cannot; but
//! the kernel remembers every flow that it translates, and finds it by the way its answers go (ctnetlink).

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use sys::netlink::{Batch, Error, Message, Protocol, Socket, attributes};

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET`.
const GET: u16 = 1 << 8 | 1;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const AF_INET6: u8 = 10;
const UDP: u8 = 17;
const ENOENT: i32 = 2;

/// The kernel's connection tracking, asked from the host's namespace.
#[derive(Debug)]
pub(crate) struct Conntrack {
    socket: Socket,
}

impl Conntrack {
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::open(Protocol::Netfilter)? })
    }

    /// Where a datagram was meant to go that came from `client` to `here`; `here` itself if it was not redirected, `None`
    /// if the kernel knows nothing of it.
    pub(crate) fn meant(
        &mut self,
        here: SocketAddrV6,
        client: SocketAddrV6,
    ) -> Result<Option<SocketAddr>, Error> {
        match self.socket.query(&question(here, client)) {
            Ok(answers) => Ok(answers.iter().find_map(destination)),
            Err(e) if e.errno() == Some(ENOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Asks for the flow whose answers go from `here` to `client`.
fn question(here: SocketAddrV6, client: SocketAddrV6) -> Batch {
    let mut batch = Batch::new();
    batch.message(GET, 0, &[AF_INET6, 0, 0, 0], |a| {
        a.nested(CTA_TUPLE_REPLY, |a| {
            a.nested(CTA_TUPLE_IP, |a| {
                a.put(CTA_IP_V6_SRC, &here.ip().octets());
                a.put(CTA_IP_V6_DST, &client.ip().octets());
            });
            a.nested(CTA_TUPLE_PROTO, |a| {
                a.u8(CTA_PROTO_NUM, UDP);
                a.put(CTA_PROTO_SRC_PORT, &here.port().to_be_bytes());
                a.put(CTA_PROTO_DST_PORT, &client.port().to_be_bytes());
            });
        });
    });
    batch
}

/// The destination of a flow's first packet.
fn destination(flow: &Message) -> Option<SocketAddr> {
    let part = |bytes, wanted: u16| attributes(bytes).find(|(k, _)| *k == wanted).map(|(_, v)| v);
    let (_, tuple) = flow.attributes(4).find(|(kind, _)| *kind == CTA_TUPLE_ORIG)?;
    let address: [u8; 16] = part(part(tuple, CTA_TUPLE_IP)?, CTA_IP_V6_DST)?.try_into().ok()?;
    let port = part(part(tuple, CTA_TUPLE_PROTO)?, CTA_PROTO_DST_PORT)?.try_into().ok()?;
    let address = IpAddr::V6(Ipv6Addr::from(address));
    Some(SocketAddr::new(address, u16::from_be_bytes(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_the_way_of_the_answers_and_a_flow_its_first_destination() {
        let (here, client) = ("[::1]:4000".parse().unwrap(), "[fd00::2]:999".parse().unwrap());
        let batch = question(here, client);
        let asked = batch.messages().next().unwrap();
        let (_, tuple) = asked.attributes(4).next().unwrap();
        let parts: Vec<_> = attributes(tuple).collect();
        assert_eq!(attributes(parts[0].1).next().unwrap(), (3, &here.ip().octets()[..]));
        let ports: Vec<_> = attributes(parts[1].1).map(|(_, value)| value).collect();
        assert_eq!(ports, [&[17][..], &[0x0f, 0xa0], &[3, 0xe7]]);
        // The kernel's answer has the same form. This one tells of no first direction.
        assert_eq!(destination(&asked), None);
        let mut batch = Batch::new();
        batch.message(256, 0, &[AF_INET6, 0, 0, 0], |a| {
            a.nested(CTA_TUPLE_ORIG, |a| {
                a.nested(CTA_TUPLE_IP, |a| a.put(CTA_IP_V6_DST, &client.ip().octets()));
                a.nested(CTA_TUPLE_PROTO, |a| a.put(CTA_PROTO_DST_PORT, &[0, 53]));
            });
        });
        let flow = batch.messages().next().unwrap();
        assert_eq!(destination(&flow), Some("[fd00::2]:53".parse().unwrap()));
        // Parts that are short or missing are no destination, and nothing worse.
        for length in 0..flow.body.len() {
            let short = Message { body: flow.body[..length].to_vec(), ..flow.clone() };
            assert_eq!(destination(&short), None, "{length}");
        }
    }
}
