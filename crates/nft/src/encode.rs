//! From a [`Ruleset`] to the bytes of a transaction. Pure.

use crate::ruleset::{Action, Base, Chain, ChainKind, Hook, Match, Policy, Rule, Ruleset};
use crate::{NFT_MSG_DELTABLE, NFT_MSG_NEWTABLE, NFTA_TABLE_NAME};
use ipnet::IpNet;
use sys::netlink::{Attributes, Batch};

/// `NFNL_SUBSYS_NFTABLES`.
pub(crate) const SUBSYSTEM: u16 = 10;
/// `NFPROTO_INET`: IPv4 and IPv6 in one table.
pub(crate) const FAMILY_INET: u8 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_NEWRULE: u16 = 6;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;

const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;

const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_RULE_USERDATA: u16 = 7;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
/// `NFTNL_UDATA_RULE_COMMENT`, by which `nft` stores comments.
const UDATA_COMMENT: u8 = 0;

/// `NFT_META_*`: what to load about a packet.
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_NFPROTO: u32 = 15;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
/// `IPS_DST_NAT` of `linux/netfilter/nf_conntrack_common.h`.
const STATUS_DST_NAT: u32 = 1 << 5;
const PAYLOAD_NETWORK_HEADER: u32 = 1;
const CMP_EQ: u32 = 0;
const CMP_NEQ: u32 = 1;
const REG_VERDICT: u32 = 0;
const REG_1: u32 = 1;
const IFNAMSIZ: usize = 16;

/// A ruleset that cannot be said to the kernel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Link names have 1 to 15 bytes.
    #[error("\"{0}\" is no name of a link")]
    Link(String),
    /// Comments have at most 127 bytes and no NUL.
    #[error("comment is too long: \"{0}\"")]
    Comment(String),
    /// A rule leads to a chain that is not there.
    #[error("no chain \"{0}\"")]
    Chain(String),
}

/// The transaction that makes the table be exactly `ruleset`.
pub fn encode(ruleset: &Ruleset) -> Result<Batch, EncodeError> {
    check(ruleset)?;
    let mut batch = Batch::transaction(SUBSYSTEM);
    let table = |batch: &mut Batch, kind: u16, flags: u16| {
        batch.message(message_kind(kind), flags, &nfgen(FAMILY_INET), |a| {
            a.string(NFTA_TABLE_NAME, &ruleset.name);
        });
    };
    // A table that is not there cannot be deleted and a failing transaction is dear: add, delete, add.
    table(&mut batch, NFT_MSG_NEWTABLE, NLM_F_CREATE);
    table(&mut batch, NFT_MSG_DELTABLE, 0);
    table(&mut batch, NFT_MSG_NEWTABLE, NLM_F_CREATE);
    // All chains first: rules may lead to any of them.
    for chain in &ruleset.chains {
        add_chain(&mut batch, &ruleset.name, chain);
    }
    for chain in &ruleset.chains {
        for rule in &chain.rules {
            add_rule(&mut batch, &ruleset.name, &chain.name, rule);
        }
    }
    Ok(batch)
}

/// The message type of an nf_tables message.
pub(crate) fn message_kind(message: u16) -> u16 {
    SUBSYSTEM << 8 | message
}

/// `struct nfgenmsg`.
pub(crate) fn nfgen(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

fn check(ruleset: &Ruleset) -> Result<(), EncodeError> {
    let known = |name: &str| ruleset.chains.iter().any(|c| c.name == name);
    for rule in ruleset.chains.iter().flat_map(|c| &c.rules) {
        for question in &rule.matches {
            if let Match::In(link) | Match::NotIn(link) | Match::Out(link) | Match::NotOut(link) =
                question
                && (link.is_empty() || link.len() >= IFNAMSIZ || link.contains('\0'))
            {
                return Err(EncodeError::Link(link.clone()));
            }
        }
        if let Action::Jump(chain) | Action::Goto(chain) = &rule.action
            && !known(chain)
        {
            return Err(EncodeError::Chain(chain.clone()));
        }
        if let Some(comment) = &rule.comment
            && (comment.len() > 127 || comment.contains('\0'))
        {
            return Err(EncodeError::Comment(comment.clone()));
        }
    }
    Ok(())
}

fn add_chain(batch: &mut Batch, table: &str, chain: &Chain) {
    batch.message(message_kind(NFT_MSG_NEWCHAIN), NLM_F_CREATE, &nfgen(FAMILY_INET), |a| {
        a.string(NFTA_CHAIN_TABLE, table);
        a.string(NFTA_CHAIN_NAME, &chain.name);
        if let Some(base) = &chain.base {
            put_base(a, base);
        }
    });
}

fn put_base(a: &mut Attributes<'_>, base: &Base) {
    let hook = match base.hook {
        Hook::Prerouting => 0,
        Hook::Input => 1,
        Hook::Forward => 2,
        Hook::Output => 3,
        Hook::Postrouting => 4,
    };
    a.nested(NFTA_CHAIN_HOOK, |a| {
        a.be32(NFTA_HOOK_HOOKNUM, hook);
        a.put(NFTA_HOOK_PRIORITY, &base.priority.to_be_bytes());
    });
    let policy = match base.policy {
        Policy::Drop => 0,
        Policy::Accept => 1,
    };
    a.be32(NFTA_CHAIN_POLICY, policy);
    let kind = match base.kind {
        ChainKind::Filter => "filter",
        ChainKind::Nat => "nat",
    };
    a.string(NFTA_CHAIN_TYPE, kind);
}

fn add_rule(batch: &mut Batch, table: &str, chain: &str, rule: &Rule) {
    batch.message(
        message_kind(NFT_MSG_NEWRULE),
        NLM_F_CREATE | NLM_F_APPEND,
        &nfgen(FAMILY_INET),
        |a| {
            a.string(NFTA_RULE_TABLE, table);
            a.string(NFTA_RULE_CHAIN, chain);
            a.nested(NFTA_RULE_EXPRESSIONS, |a| {
                for question in &rule.matches {
                    put_match(a, question);
                }
                put_action(a, &rule.action);
            });
            if let Some(comment) = &rule.comment {
                // Type, length with the NUL, text: `check` has bounded it to 127 bytes.
                let mut data = vec![UDATA_COMMENT, comment.len() as u8 + 1];
                data.extend_from_slice(comment.as_bytes());
                data.push(0);
                a.put(NFTA_RULE_USERDATA, &data);
            }
        },
    );
}

fn put_match(a: &mut Attributes<'_>, question: &Match) {
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
        Match::State(states) => connection_bits(a, CT_STATE, states.0),
        Match::DestinationTranslated => connection_bits(a, CT_STATUS, STATUS_DST_NAT),
    }
}

fn put_action(a: &mut Attributes<'_>, action: &Action) {
    match action {
        Action::Accept => verdict(a, 1, None),
        Action::Drop => verdict(a, 0, None),
        Action::Jump(chain) => verdict(a, -3, Some(chain)),
        Action::Goto(chain) => verdict(a, -4, Some(chain)),
        Action::Return => verdict(a, -5, None),
        Action::Masquerade => expression(a, "masq", |_| {}),
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
    expression(a, "payload", |a| {
        a.be32(1, REG_1); // NFTA_PAYLOAD_DREG
        a.be32(2, PAYLOAD_NETWORK_HEADER); // NFTA_PAYLOAD_BASE
        a.be32(3, offset); // NFTA_PAYLOAD_OFFSET
        a.be32(4, length); // NFTA_PAYLOAD_LEN
    });
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
    expression(a, "meta", |a| {
        a.be32(1, REG_1); // NFTA_META_DREG
        a.be32(2, key); // NFTA_META_KEY
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

fn verdict(a: &mut Attributes<'_>, code: i32, chain: Option<&str>) {
    expression(a, "immediate", |a| {
        a.be32(1, REG_VERDICT); // NFTA_IMMEDIATE_DREG
        a.nested(2, |a| {
            // NFTA_IMMEDIATE_DATA
            a.nested(NFTA_DATA_VERDICT, |a| {
                a.put(1, &code.to_be_bytes()); // NFTA_VERDICT_CODE
                if let Some(chain) = chain {
                    a.string(2, chain); // NFTA_VERDICT_CHAIN
                }
            });
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(rule: Rule) -> Result<Batch, EncodeError> {
        let chains = vec![Chain { name: "a".into(), base: None, rules: vec![rule] }];
        encode(&Ruleset { name: "t".into(), chains })
    }

    #[test]
    fn what_cannot_be_said_is_an_error() {
        for link in ["", "a234567890123456", "a\0"] {
            let result = rule(Rule::new([Match::In(link.into())], Action::Accept));
            assert_eq!(result.unwrap_err(), EncodeError::Link(link.into()));
        }
        assert!(rule(Rule::new([Match::NotOut("a23456789012345".into())], Action::Accept)).is_ok());
        let missing = rule(Rule::new([], Action::Goto("b".into()))).unwrap_err();
        assert_eq!(missing, EncodeError::Chain("b".into()));
        assert!(rule(Rule::new([], Action::Jump("a".into()))).is_ok());
        assert!(rule(Rule::new([], Action::Drop).comment("x".repeat(128))).is_err());
        assert!(rule(Rule::new([], Action::Drop).comment("x".repeat(127))).is_ok());
    }
}
