//! What rules ask and do, as the kernel's expressions.

use super::{IFNAMSIZ, NFTA_LIST_ELEM};
use crate::ruleset::{Action, Load, Match};
use ipnet::IpNet;
use std::net::IpAddr;
use std::time::Duration;
use sys::netlink::Attributes;

const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
/// `IPPROTO_ICMPV6`.
const ICMPV6: u8 = 58;
/// `IPPROTO_ICMP`.
const ICMP: u8 = 1;
/// `IPPROTO_TCP`.
const TCP: u8 = 6;
const NFTA_DYNSET_EXPR: u16 = 7;
/// How long what is counted stays when no more of it comes.
const PACE_KEPT: Duration = Duration::from_secs(60);
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
pub(super) const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
/// `NFT_META_*`: what to load about a packet.
const META_PROTOCOL: u32 = 1;
const META_MARK: u32 = 3;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
/// `IPS_DST_NAT` of `linux/netfilter/nf_conntrack_common.h`.
const STATUS_DST_NAT: u32 = 1 << 5;
const PAYLOAD_NETWORK_HEADER: u32 = 1;
const PAYLOAD_LINK_HEADER: u32 = 0;
const PAYLOAD_TRANSPORT_HEADER: u32 = 2;
const CMP_EQ: u32 = 0;
const CMP_NEQ: u32 = 1;
const REG_VERDICT: u32 = 0;
const REG_1: u32 = 1;
const REG_2: u32 = 2;
/// `NFT_REG32_00`: the first of the four-byte registers, which lie over the four of sixteen bytes.
const REG32: u32 = 8;
/// `NFT_FIB_RESULT_ADDRTYPE` of the destination (`NFTA_FIB_F_DADDR`), and the kernel's number for its own addresses.
const FIB_ADDRTYPE: u32 = 3;
const FIB_DADDR: u32 = 2;
const RTN_LOCAL: u32 = 2;
/// Bytes of a logged packet: IPv6's header and what ports there are.
const LOGGED: u32 = 80;
const NAT_SNAT: u32 = 0;
const NAT_DNAT: u32 = 1;

pub(super) fn put_match(a: &mut Attributes<'_>, question: &Match) {
    match question {
        Match::In(link) => link_name(a, META_IIFNAME, CMP_EQ, link),
        Match::NotIn(link) => link_name(a, META_IIFNAME, CMP_NEQ, link),
        Match::Out(link) => link_name(a, META_OIFNAME, CMP_EQ, link),
        Match::NotOut(link) => link_name(a, META_OIFNAME, CMP_NEQ, link),
        Match::Ipv4 => {
            load_meta(a, META_NFPROTO);
            compare(a, CMP_EQ, &[NFPROTO_IPV4]);
        }
        Match::Ipv6 => {
            load_meta(a, META_NFPROTO);
            compare(a, CMP_EQ, &[NFPROTO_IPV6]);
        }
        Match::Source(net) => address(a, Side::Source, CMP_EQ, net),
        Match::Destination(net) => address(a, Side::Destination, CMP_EQ, net),
        Match::NotDestination(net) => address(a, Side::Destination, CMP_NEQ, net),
        Match::Loopback4(load) => {
            let offset = if *load == Load::Destination4 { 16 } else { 12 };
            load_payload(a, REG_1, PAYLOAD_NETWORK_HEADER, offset, 1);
            compare(a, CMP_EQ, &[127]);
        }
        Match::State(states) => connection_bits(a, CT_STATE, states.0),
        Match::DestinationTranslated => connection_bits(a, CT_STATUS, STATUS_DST_NAT),
        Match::Protocol(number) => {
            load_meta(a, META_L4PROTO);
            compare(a, CMP_EQ, &[*number]);
        }
        Match::Icmpv6(kind) => {
            load_meta(a, META_L4PROTO);
            compare(a, CMP_EQ, &[ICMPV6]);
            load_payload(a, REG_1, PAYLOAD_TRANSPORT_HEADER, 0, 1);
            compare(a, CMP_EQ, &[*kind]);
        }
        Match::Icmp(kind) => {
            load_meta(a, META_L4PROTO);
            compare(a, CMP_EQ, &[ICMP]);
            load_payload(a, REG_1, PAYLOAD_TRANSPORT_HEADER, 0, 1);
            compare(a, CMP_EQ, &[*kind]);
        }
        Match::TcpFlags(flags) => {
            load_meta(a, META_L4PROTO);
            compare(a, CMP_EQ, &[TCP]);
            load_payload(a, REG_1, PAYLOAD_TRANSPORT_HEADER, 13, 1);
            mask_register(a, &[*flags]);
            compare(a, CMP_NEQ, &[0]);
        }
        Match::Fragment4 => {
            // The offset's thirteen bits (RFC 791).
            load_payload(a, REG_1, PAYLOAD_NETWORK_HEADER, 6, 2);
            mask_register(a, &[0x1f, 0xff]);
            compare(a, CMP_NEQ, &[0, 0]);
        }
        Match::Pace { of, set, rate, burst } => {
            family_of(a, of);
            load_all(a, of);
            remember(a, set, PACE_KEPT, |a| {
                a.nested(NFTA_DYNSET_EXPR, |a| {
                    a.string(NFTA_EXPR_NAME, "limit");
                    a.nested(NFTA_EXPR_DATA, |a| {
                        a.put(1, &u64::from(*rate).to_be_bytes()); // NFTA_LIMIT_RATE
                        a.put(2, &1u64.to_be_bytes()); // NFTA_LIMIT_UNIT: a second
                        a.be32(3, *burst); // NFTA_LIMIT_BURST
                    });
                });
            });
        }
        Match::Local => {
            expression(a, "fib", |a| {
                a.be32(1, REG_1); // NFTA_FIB_DREG
                a.be32(2, FIB_ADDRTYPE); // NFTA_FIB_RESULT
                a.be32(3, FIB_DADDR); // NFTA_FIB_FLAGS
            });
            compare(a, CMP_EQ, &RTN_LOCAL.to_ne_bytes());
        }
        Match::Mark { value, mask } => {
            load_meta(a, META_MARK);
            mask_register(a, &mask.to_ne_bytes());
            compare(a, CMP_EQ, &(value & mask).to_ne_bytes());
        }
        Match::Known { of, set, not } => {
            family_of(a, of);
            load_all(a, of);
            lookup(a, set, None, *not);
        }
    }
}

pub(super) fn put_action(a: &mut Attributes<'_>, action: &Action) {
    match action {
        Action::Accept | Action::Drop | Action::Jump(_) | Action::Goto(_) | Action::Return => {
            let (code, chain) = verdict_of(action).expect("all five are verdicts");
            verdict(a, code, chain);
        }
        Action::Masquerade => expression(a, "masq", |_| {}),
        Action::Map { of, map } => {
            family_of(a, of);
            load_all(a, of);
            lookup(a, map, Some(REG_VERDICT), false);
        }
        Action::Dnat { of, map, ipv6, port } => {
            family_of(a, of);
            load_all(a, of);
            lookup(a, map, Some(REG32), false);
            let (family, words) = if *ipv6 { (NFPROTO_IPV6, 4) } else { (NFPROTO_IPV4, 1) };
            nat(a, NAT_DNAT, family, REG32, port.then_some(REG32 + words));
        }
        Action::Snat(address) => {
            let (family, bytes) = match address {
                IpAddr::V4(address) => (NFPROTO_IPV4, address.octets().to_vec()),
                IpAddr::V6(address) => (NFPROTO_IPV6, address.octets().to_vec()),
            };
            immediate(a, &bytes);
            nat(a, NAT_SNAT, family, REG_1, None);
        }
        Action::Copy { to, link } => {
            let to = match to {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            immediate(a, &to);
            immediate_to(a, REG_2, &link.to_ne_bytes());
            expression(a, "dup", |a| {
                a.be32(1, REG_1); // NFTA_DUP_SREG_ADDR
                a.be32(2, REG_2); // NFTA_DUP_SREG_DEV
            });
        }
        Action::Remember { of, set, time } => {
            family_of(a, of);
            load_all(a, of);
            remember(a, set, *time, |_| {});
        }
        Action::Log(group) => expression(a, "log", |a| {
            a.put(1, &group.to_be_bytes()); // NFTA_LOG_GROUP
            a.be32(3, LOGGED); // NFTA_LOG_SNAPLEN
            a.put(4, &1u16.to_be_bytes()); // NFTA_LOG_QTHRESHOLD: one packet is told at once
        }),
        Action::Redirect(port) => {
            immediate(a, &port.to_be_bytes());
            expression(a, "redir", |a| a.be32(1, REG_1)); // NFTA_REDIR_REG_PROTO_MIN
        }
    }
}

fn expression(a: &mut Attributes<'_>, name: &str, put: impl FnOnce(&mut Attributes<'_>)) {
    a.nested(NFTA_LIST_ELEM, |a| {
        a.string(NFTA_EXPR_NAME, name);
        a.nested(NFTA_EXPR_DATA, put);
    });
}

fn link_name(a: &mut Attributes<'_>, key: u32, op: u32, link: &str) {
    load_meta(a, key);
    // All 16 bytes are compared; fewer would be a prefix match.
    let mut name = [0; IFNAMSIZ];
    name[..link.len()].copy_from_slice(link.as_bytes());
    compare(a, op, &name);
}

#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

fn address(a: &mut Attributes<'_>, side: Side, op: u32, net: &IpNet) {
    // Offsets in the IPv4 (RFC 791) and IPv6 (RFC 8200) headers.
    let (protocol, offset, network, mask) = match net {
        IpNet::V4(net) => {
            let offset = if matches!(side, Side::Source) { 12 } else { 16 };
            (NFPROTO_IPV4, offset, net.network().octets().to_vec(), net.netmask().octets().to_vec())
        }
        IpNet::V6(net) => {
            let offset = if matches!(side, Side::Source) { 8 } else { 24 };
            (NFPROTO_IPV6, offset, net.network().octets().to_vec(), net.netmask().octets().to_vec())
        }
    };
    load_meta(a, META_NFPROTO);
    compare(a, CMP_EQ, &[protocol]);
    let length = network.len() as u32;
    load_payload(a, REG_1, PAYLOAD_NETWORK_HEADER, offset, length);
    if net.prefix_len() != net.max_prefix_len() {
        mask_register(a, &mask);
    }
    compare(a, op, &network);
}

/// Whether any of `bits` is set.
fn connection_bits(a: &mut Attributes<'_>, key: u32, bits: u32) {
    expression(a, "ct", |a| {
        a.be32(1, REG_1); // NFTA_CT_DREG
        a.be32(2, key); // NFTA_CT_KEY
    });
    // Registers hold connection tracking's numbers in the machine's order.
    mask_register(a, &bits.to_ne_bytes());
    compare(a, CMP_NEQ, &[0; 4]);
}

fn load_meta(a: &mut Attributes<'_>, key: u32) {
    load_meta_to(a, REG_1, key);
}

fn load_meta_to(a: &mut Attributes<'_>, register: u32, key: u32) {
    expression(a, "meta", |a| {
        a.be32(1, register); // NFTA_META_DREG
        a.be32(2, key); // NFTA_META_KEY
    });
}

fn load_payload(a: &mut Attributes<'_>, register: u32, base: u32, offset: u32, length: u32) {
    expression(a, "payload", |a| {
        a.be32(1, register); // NFTA_PAYLOAD_DREG
        a.be32(2, base); // NFTA_PAYLOAD_BASE
        a.be32(3, offset); // NFTA_PAYLOAD_OFFSET
        a.be32(4, length); // NFTA_PAYLOAD_LEN
    });
}

/// Addresses have a meaning in one family only: other packets are no match.
fn family_of(a: &mut Attributes<'_>, of: &[Load]) {
    let protocol = of.iter().find_map(|load| match load {
        Load::Source4 | Load::Destination4 => Some(NFPROTO_IPV4),
        Load::Source6 | Load::Destination6 => Some(NFPROTO_IPV6),
        _ => None,
    });
    if let Some(protocol) = protocol {
        load_meta(a, META_NFPROTO);
        compare(a, CMP_EQ, &[protocol]);
    }
}

/// Loads fields one after the other, each from a four-byte register on: what sets compare.
fn load_all(a: &mut Attributes<'_>, of: &[Load]) {
    let mut register = REG32;
    for load in of {
        match load {
            Load::In => load_meta_to(a, register, META_IIFNAME),
            Load::Out => load_meta_to(a, register, META_OIFNAME),
            Load::EtherType => load_meta_to(a, register, META_PROTOCOL),
            Load::Protocol => load_meta_to(a, register, META_L4PROTO),
            Load::SourceMac => load_payload(a, register, PAYLOAD_LINK_HEADER, 6, 6),
            Load::ArpMac => load_payload(a, register, PAYLOAD_NETWORK_HEADER, 8, 6),
            Load::ArpSource => load_payload(a, register, PAYLOAD_NETWORK_HEADER, 14, 4),
            Load::Source4 | Load::BridgedSource4 => {
                load_payload(a, register, PAYLOAD_NETWORK_HEADER, 12, 4);
            }
            Load::Destination4 | Load::BridgedDestination4 => {
                load_payload(a, register, PAYLOAD_NETWORK_HEADER, 16, 4);
            }
            Load::Source6 | Load::BridgedSource6 => {
                load_payload(a, register, PAYLOAD_NETWORK_HEADER, 8, 16);
            }
            Load::Destination6 | Load::BridgedDestination6 => {
                load_payload(a, register, PAYLOAD_NETWORK_HEADER, 24, 16);
            }
            Load::SourcePort => load_payload(a, register, PAYLOAD_TRANSPORT_HEADER, 0, 2),
            Load::DestinationPort => load_payload(a, register, PAYLOAD_TRANSPORT_HEADER, 2, 2),
            Load::NeighbourTarget => load_payload(a, register, PAYLOAD_TRANSPORT_HEADER, 8, 16),
        }
        register += load.kind().size().div_ceil(4) as u32;
    }
}

fn lookup(a: &mut Attributes<'_>, set: &str, result: Option<u32>, not: bool) {
    expression(a, "lookup", |a| {
        a.string(1, set); // NFTA_LOOKUP_SET
        a.be32(2, REG32); // NFTA_LOOKUP_SREG
        if let Some(register) = result {
            a.be32(3, register); // NFTA_LOOKUP_DREG
        }
        if not {
            a.be32(5, 1); // NFTA_LOOKUP_FLAGS: NFT_LOOKUP_F_INV
        }
    });
}

/// Puts what is loaded into a set, or renews its time there.
fn remember(
    a: &mut Attributes<'_>,
    set: &str,
    time: Duration,
    more: impl FnOnce(&mut Attributes<'_>),
) {
    let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    expression(a, "dynset", |a| {
        a.string(1, set); // NFTA_DYNSET_SET_NAME
        a.be32(3, 1); // NFTA_DYNSET_OP: NFT_DYNSET_OP_UPDATE
        a.be32(4, REG32); // NFTA_DYNSET_SREG_KEY
        a.put(6, &milliseconds.to_be_bytes()); // NFTA_DYNSET_TIMEOUT
        more(a);
    });
}

fn nat(a: &mut Attributes<'_>, kind: u32, family: u8, address: u32, port: Option<u32>) {
    expression(a, "nat", |a| {
        a.be32(1, kind); // NFTA_NAT_TYPE
        a.be32(2, family.into()); // NFTA_NAT_FAMILY
        a.be32(3, address); // NFTA_NAT_REG_ADDR_MIN
        if let Some(port) = port {
            a.be32(5, port); // NFTA_NAT_REG_PROTO_MIN
        }
    });
}

fn immediate(a: &mut Attributes<'_>, value: &[u8]) {
    immediate_to(a, REG_1, value);
}

fn immediate_to(a: &mut Attributes<'_>, register: u32, value: &[u8]) {
    expression(a, "immediate", |a| {
        a.be32(1, register); // NFTA_IMMEDIATE_DREG
        a.nested(2, |a| a.put(NFTA_DATA_VALUE, value)); // NFTA_IMMEDIATE_DATA
    });
}

fn mask_register(a: &mut Attributes<'_>, mask: &[u8]) {
    expression(a, "bitwise", |a| {
        a.be32(1, REG_1); // NFTA_BITWISE_SREG
        a.be32(2, REG_1); // NFTA_BITWISE_DREG
        a.be32(3, mask.len() as u32); // NFTA_BITWISE_LEN
        a.nested(4, |a| a.put(NFTA_DATA_VALUE, mask)); // NFTA_BITWISE_MASK
        a.nested(5, |a| a.put(NFTA_DATA_VALUE, &vec![0; mask.len()])); // NFTA_BITWISE_XOR
    });
}

fn compare(a: &mut Attributes<'_>, op: u32, value: &[u8]) {
    expression(a, "cmp", |a| {
        a.be32(1, REG_1); // NFTA_CMP_SREG
        a.be32(2, op); // NFTA_CMP_OP
        a.nested(3, |a| a.put(NFTA_DATA_VALUE, value)); // NFTA_CMP_DATA
    });
}

/// The number of a verdict and the chain it leads to; `None` for what is none.
pub(super) fn verdict_of(action: &Action) -> Option<(i32, Option<&str>)> {
    match action {
        Action::Accept => Some((1, None)),
        Action::Drop => Some((0, None)),
        Action::Jump(chain) => Some((-3, Some(chain))),
        Action::Goto(chain) => Some((-4, Some(chain))),
        Action::Return => Some((-5, None)),
        _ => None,
    }
}

pub(super) fn put_verdict(a: &mut Attributes<'_>, code: i32, chain: Option<&str>) {
    a.nested(NFTA_DATA_VERDICT, |a| {
        a.put(1, &code.to_be_bytes()); // NFTA_VERDICT_CODE
        if let Some(chain) = chain {
            a.string(2, chain); // NFTA_VERDICT_CHAIN
        }
    });
}

fn verdict(a: &mut Attributes<'_>, code: i32, chain: Option<&str>) {
    expression(a, "immediate", |a| {
        a.be32(1, REG_VERDICT); // NFTA_IMMEDIATE_DREG
        a.nested(2, |a| {
            // NFTA_IMMEDIATE_DATA
            put_verdict(a, code, chain);
        });
    });
}
