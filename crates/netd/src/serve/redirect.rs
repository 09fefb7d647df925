//! How queries to 127.0.0.11:53 come to sockets on other ports, so that the container may itself bind 0.0.0.0:53.
//!
//! ```text
//! table ip gantry-dns {
//!   chain question { type filter hook output priority -310;      before connection tracking (-200)
//!     ip daddr != 127.0.0.11 accept
//!     udp dport 53 udp dport set PORT
//!     tcp dport 53 tcp dport set PORT }
//!   chain answer { type filter hook postrouting priority 310;    after it
//!     ip saddr != 127.0.0.11 accept
//!     udp sport PORT udp sport set 53
//!     tcp sport PORT tcp sport set 53 }
//! }
//! ```
//!
//! The ports are rewritten packet by packet rather than translated per connection: a `nat` chain would switch connection
//! tracking on for all that the container sends and receives. Here every other packet pays for one comparison, and
//! whoever does track connections in the container sees one to PORT, both ways.
//! Source: nft(8), `linux/netfilter/nf_tables.h`.

use std::net::Ipv4Addr;

use sys::netlink::{self, Attributes, Batch, Socket};

/// Where containers find their resolver: Docker's address.
pub(crate) const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// The port that they ask.
const DOMAIN: u16 = 53;

const TABLE: &str = "gantry-dns";

/// `NFNL_SUBSYS_NFTABLES`, `NFPROTO_IPV4`.
const SUBSYSTEM: u16 = 10;
const FAMILY_IPV4: u8 = 2;

const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_GETTABLE: u16 = 1;
const NFT_MSG_DELTABLE: u16 = 2;
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_USERDATA: u16 = 6;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_NEWRULE: u16 = 6;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;

const HOOK_OUTPUT: u32 = 3;
const HOOK_POSTROUTING: u32 = 4;

const UDP: u8 = 17;
const TCP: u8 = 6;

/// One direction of the redirect.
struct Way {
    chain: &'static str,
    hook: u32,
    priority: i32,
    /// Offsets of the address in the IPv4 header and of the port in the transport's.
    address: u32,
    port: u32,
}

const QUESTION: Way =
    Way { chain: "question", hook: HOOK_OUTPUT, priority: -310, address: 16, port: 2 };
const ANSWER: Way =
    Way { chain: "answer", hook: HOOK_POSTROUTING, priority: 310, address: 12, port: 0 };

/// What rules a namespace has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum There {
    /// None of ours.
    Nothing,
    /// They lead to these ports, of UDP and of TCP.
    To(u16, u16),
    /// A table of our name that does not say where it leads.
    Unknown,
}

/// Looks for our rules. A look is cheap; a transaction that fails, or that deletes something, makes the kernel wait for all
/// its processors, 8 to 30 ms in which nobody's names are answered.
pub(crate) fn there(netfilter: &mut Socket) -> Result<There, netlink::Error> {
    let mut batch = Batch::new();
    add(&mut batch, NFT_MSG_GETTABLE, 0, |a| a.string(NFTA_TABLE_NAME, TABLE));
    let tables = match netfilter.query(&batch) {
        Err(e) if e.errno() == Some(rustix::io::Errno::NOENT.raw_os_error()) => {
            return Ok(There::Nothing);
        }
        tables => tables?,
    };
    let ports = tables.first().and_then(|table| {
        let (_, said) = table.attributes(4).find(|(kind, _)| *kind == NFTA_TABLE_USERDATA)?;
        <[u8; 4]>::try_from(said).ok()
    });
    Ok(ports.map_or(There::Unknown, |[u0, u1, t0, t1]| {
        There::To(u16::from_be_bytes([u0, u1]), u16::from_be_bytes([t0, t1]))
    }))
}

/// The transaction that leads queries to these ports, of UDP and of TCP. For the namespace of the socket that it is sent
/// through; `again` where a table of ours is there already, which is replaced. The table says where it leads.
pub(crate) fn rules((udp, tcp): (u16, u16), again: bool) -> Batch {
    let mut batch = Batch::transaction(SUBSYSTEM);
    if again {
        add(&mut batch, NFT_MSG_DELTABLE, 0, |a| a.string(NFTA_TABLE_NAME, TABLE));
    }
    add(&mut batch, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, |a| {
        a.string(NFTA_TABLE_NAME, TABLE);
        let ([u0, u1], [t0, t1]) = (udp.to_be_bytes(), tcp.to_be_bytes());
        a.put(NFTA_TABLE_USERDATA, &[u0, u1, t0, t1]);
    });
    for way in [&QUESTION, &ANSWER] {
        add(&mut batch, NFT_MSG_NEWCHAIN, NLM_F_CREATE, |a| {
            a.string(1, TABLE); // NFTA_CHAIN_TABLE
            a.string(3, way.chain); // NFTA_CHAIN_NAME
            a.nested(4, |a| {
                // NFTA_CHAIN_HOOK
                a.be32(1, way.hook); // NFTA_HOOK_HOOKNUM
                a.put(2, &way.priority.to_be_bytes()); // NFTA_HOOK_PRIORITY
            });
            a.be32(5, 1); // NFTA_CHAIN_POLICY: accept
            a.string(7, "filter"); // NFTA_CHAIN_TYPE
        });
        rule(&mut batch, way, |a| {
            load(a, NETWORK_HEADER, way.address, 4);
            compare(a, NOT_EQUAL, &RESOLVER.octets());
            accept(a);
        });
        for (protocol, ours) in [(UDP, udp), (TCP, tcp)] {
            let (from, to) = if way.hook == HOOK_OUTPUT { (DOMAIN, ours) } else { (ours, DOMAIN) };
            rule(&mut batch, way, |a| {
                load_protocol(a);
                compare(a, EQUAL, &[protocol]);
                load(a, TRANSPORT_HEADER, way.port, 2);
                compare(a, EQUAL, &from.to_be_bytes());
                store_port(a, way.port, to, protocol);
            });
        }
    }
    batch
}

fn add(batch: &mut Batch, message: u16, flags: u16, put: impl FnOnce(&mut Attributes<'_>)) {
    batch.message(SUBSYSTEM << 8 | message, flags, &[FAMILY_IPV4, 0, 0, 0], put);
}

fn rule(batch: &mut Batch, way: &Way, put: impl FnOnce(&mut Attributes<'_>)) {
    add(batch, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, |a| {
        a.string(1, TABLE); // NFTA_RULE_TABLE
        a.string(2, way.chain); // NFTA_RULE_CHAIN
        a.nested(4, put); // NFTA_RULE_EXPRESSIONS
    });
}

const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const REGISTER: u32 = 1;

fn expression(a: &mut Attributes<'_>, name: &str, put: impl FnOnce(&mut Attributes<'_>)) {
    a.nested(1, |a| {
        a.string(1, name); // NFTA_EXPR_NAME
        a.nested(2, put); // NFTA_EXPR_DATA
    });
}

fn load(a: &mut Attributes<'_>, base: u32, offset: u32, length: u32) {
    expression(a, "payload", |a| {
        a.be32(1, REGISTER); // NFTA_PAYLOAD_DREG
        a.be32(2, base); // NFTA_PAYLOAD_BASE
        a.be32(3, offset); // NFTA_PAYLOAD_OFFSET
        a.be32(4, length); // NFTA_PAYLOAD_LEN
    });
}

fn load_protocol(a: &mut Attributes<'_>) {
    expression(a, "meta", |a| {
        a.be32(1, REGISTER); // NFTA_META_DREG
        a.be32(2, 16); // NFTA_META_KEY: NFT_META_L4PROTO
    });
}

fn compare(a: &mut Attributes<'_>, op: u32, value: &[u8]) {
    expression(a, "cmp", |a| {
        a.be32(1, REGISTER); // NFTA_CMP_SREG
        a.be32(2, op); // NFTA_CMP_OP
        a.nested(3, |a| a.put(1, value)); // NFTA_CMP_DATA: NFTA_DATA_VALUE
    });
}

fn accept(a: &mut Attributes<'_>) {
    expression(a, "immediate", |a| {
        a.be32(1, 0); // NFTA_IMMEDIATE_DREG: the verdict
        a.nested(2, |a| a.nested(2, |a| a.be32(1, 1))); // NFTA_DATA_VERDICT: NFTA_VERDICT_CODE: NF_ACCEPT
    });
}

fn store_port(a: &mut Attributes<'_>, offset: u32, port: u16, protocol: u8) {
    expression(a, "immediate", |a| {
        a.be32(1, REGISTER); // NFTA_IMMEDIATE_DREG
        a.nested(2, |a| a.put(1, &port.to_be_bytes())); // NFTA_DATA_VALUE
    });
    expression(a, "payload", |a| {
        a.be32(5, REGISTER); // NFTA_PAYLOAD_SREG
        a.be32(2, TRANSPORT_HEADER);
        a.be32(3, offset);
        a.be32(4, 2);
        a.be32(6, 1); // NFTA_PAYLOAD_CSUM_TYPE: the Internet's
        // NFTA_PAYLOAD_CSUM_OFFSET: in the headers of RFC 768 and RFC 9293.
        a.be32(7, if protocol == UDP { 6 } else { 16 });
    });
}
