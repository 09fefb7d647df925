//! From a [`Ruleset`] to the bytes of a transaction. Pure.

mod expression;
mod set;

use crate::ruleset::{Action, Base, Chain, ChainKind, Family, Hook, Match, Policy, Rule, Ruleset};
use crate::set::{Change, Data, Element, Field, Value};
use crate::{NFT_MSG_DELTABLE, NFT_MSG_NEWTABLE, NFTA_TABLE_NAME};
use expression::{put_action, put_match};
use sys::netlink::{Attributes, Batch};

/// `NFNL_SUBSYS_NFTABLES`.
pub(crate) const SUBSYSTEM: u16 = 10;
/// `NFPROTO_INET`: IPv4 and IPv6 in one table.
pub(crate) const FAMILY_INET: u8 = 1;
/// `NFPROTO_IPV4`.
const FAMILY_IPV4: u8 = 2;
/// `NFPROTO_IPV6`.
const FAMILY_IPV6: u8 = 10;
/// `NFPROTO_BRIDGE`.
pub(crate) const FAMILY_BRIDGE: u8 = 7;

const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_NEWRULE: u16 = 6;
const NFT_MSG_DELRULE: u16 = 8;
pub(crate) const NLM_F_CREATE: u16 = 0x400;
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
pub(crate) const NFTA_LIST_ELEM: u16 = 1;
/// `NFTNL_UDATA_RULE_COMMENT`, by which `nft` stores comments.
const UDATA_COMMENT: u8 = 0;

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
    /// A rule asks a set that is not there.
    #[error("no set \"{0}\"")]
    Set(String),
    /// An element has other fields than its set.
    #[error("element does not fit the set \"{0}\"")]
    Element(String),
}

/// The transaction that makes the tables be exactly these, whatever they were before.
pub fn encode(rulesets: &[Ruleset]) -> Result<Batch, EncodeError> {
    let mut batch = Batch::transaction(SUBSYSTEM);
    for ruleset in rulesets {
        check(ruleset)?;
        let family = ruleset.family.number();
        let table = |batch: &mut Batch, kind: u16, flags: u16| {
            batch.message(message_kind(kind), flags, &nfgen(family), |a| {
                a.string(NFTA_TABLE_NAME, &ruleset.name);
            });
        };
        // A table that is not there cannot be deleted and a failing transaction is dear: add, delete, add.
        table(&mut batch, NFT_MSG_NEWTABLE, NLM_F_CREATE);
        table(&mut batch, NFT_MSG_DELTABLE, 0);
        table(&mut batch, NFT_MSG_NEWTABLE, NLM_F_CREATE);
        // All chains first: rules and elements may lead to any of them.
        for chain in &ruleset.chains {
            add_chain(&mut batch, family, &ruleset.name, chain);
        }
        for (index, set) in ruleset.sets.iter().enumerate() {
            set::add_set(&mut batch, family, &ruleset.name, set, index as u32 + 1);
            set::add_elements(&mut batch, family, &ruleset.name, &set.name, &set.elements);
        }
        for chain in &ruleset.chains {
            for rule in &chain.rules {
                add_rule(&mut batch, NLM_F_APPEND, family, &ruleset.name, &chain.name, rule);
            }
        }
    }
    Ok(batch)
}

/// Goes on with a transaction: the table shall be this, and what fleeting sets have gathered stays. Its chains and sets
/// are always the same ones; a table of the name that has others is refused by the kernel.
pub fn keep(batch: &mut Batch, ruleset: &Ruleset) -> Result<(), EncodeError> {
    check(ruleset)?;
    let (family, name) = (ruleset.family.number(), ruleset.name.as_str());
    batch.message(message_kind(NFT_MSG_NEWTABLE), NLM_F_CREATE, &nfgen(family), |a| {
        a.string(NFTA_TABLE_NAME, name);
    });
    for chain in &ruleset.chains {
        add_chain(batch, family, name, chain);
    }
    for (index, set) in ruleset.sets.iter().enumerate() {
        set::add_set(batch, family, name, set, index as u32 + 1);
    }
    // Rules first: they refer to sets, whose elements refer to chains.
    for chain in &ruleset.chains {
        batch.message(message_kind(NFT_MSG_DELRULE), 0, &nfgen(family), |a| {
            a.string(NFTA_RULE_TABLE, name);
            a.string(NFTA_RULE_CHAIN, &chain.name);
        });
    }
    for set in ruleset.sets.iter().filter(|set| !matches!(set.data, Data::Fleeting { .. })) {
        set::empty(batch, family, name, &set.name);
        set::add_elements(batch, family, name, &set.name, &set.elements);
    }
    for chain in &ruleset.chains {
        for rule in &chain.rules {
            add_rule(batch, NLM_F_APPEND, family, name, &chain.name, rule);
        }
    }
    Ok(())
}

/// The transaction that puts keys into fleeting sets for a time from now on, whether they were there or not.
pub fn encode_renewal(family: Family, table: &str, elements: &[(&str, Element)]) -> Batch {
    let mut batch = Batch::transaction(SUBSYSTEM);
    let family = family.number();
    for (set, element) in elements {
        let element = std::slice::from_ref(element);
        // One that is there keeps its old time when it is added, and one that is not there cannot be deleted; a
        // transaction that fails is dear: add, delete, add.
        set::add_elements(&mut batch, family, table, set, element);
        set::delete_elements(&mut batch, family, table, set, element);
        set::add_elements(&mut batch, family, table, set, element);
    }
    batch
}

/// The transaction that changes elements of sets that are there.
pub fn encode_changes(changes: &[Change]) -> Batch {
    let mut batch = Batch::transaction(SUBSYSTEM);
    // What goes makes room for what comes.
    for change in changes {
        let family = change.family.number();
        set::delete_elements(&mut batch, family, &change.table, &change.set, &change.remove);
    }
    for change in changes {
        let family = change.family.number();
        set::add_elements(&mut batch, family, &change.table, &change.set, &change.add);
    }
    batch
}

impl Family {
    /// As the kernel numbers it.
    pub fn number(self) -> u8 {
        match self {
            Self::Inet => FAMILY_INET,
            Self::Ip => FAMILY_IPV4,
            Self::Ip6 => FAMILY_IPV6,
            Self::Bridge => FAMILY_BRIDGE,
        }
    }
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
    let set = |name: &str| match ruleset.sets.iter().any(|set| set.name == name) {
        true => Ok(()),
        false => Err(EncodeError::Set(name.to_owned())),
    };
    for (set, element) in ruleset.sets.iter().flat_map(|s| s.elements.iter().map(move |e| (s, e))) {
        check_element(set, element)?;
        if let Value::Verdict(Action::Goto(chain) | Action::Jump(chain)) = &element.value
            && !known(chain)
        {
            return Err(EncodeError::Chain(chain.clone()));
        }
    }
    for rule in ruleset.chains.iter().flat_map(|c| &c.rules) {
        check_rule(rule)?;
        for question in &rule.matches {
            if let Match::Known { set: name, .. } | Match::Pace { set: name, .. } = question {
                set(name)?;
            }
        }
        match &rule.action {
            Action::Jump(chain) | Action::Goto(chain) if !known(chain) => {
                return Err(EncodeError::Chain(chain.clone()));
            }
            Action::Map { map, .. } | Action::Dnat { map, .. } => set(map)?,
            Action::Remember { set: name, .. } => set(name)?,
            _ => {}
        }
    }
    Ok(())
}

/// What can be wrong with a rule whatever table it is in.
pub(crate) fn check_rule(rule: &Rule) -> Result<(), EncodeError> {
    for question in &rule.matches {
        if let Match::In(link) | Match::NotIn(link) | Match::Out(link) | Match::NotOut(link) =
            question
        {
            check_link(link)?;
        }
    }
    match &rule.comment {
        Some(comment) if comment.len() > 127 || comment.contains('\0') => {
            Err(EncodeError::Comment(comment.clone()))
        }
        _ => Ok(()),
    }
}

fn check_link(link: &str) -> Result<(), EncodeError> {
    if link.is_empty() || link.len() >= IFNAMSIZ || link.contains('\0') {
        return Err(EncodeError::Link(link.to_owned()));
    }
    Ok(())
}

fn check_element(set: &crate::Set, element: &Element) -> Result<(), EncodeError> {
    let fits = |kinds: &[crate::Kind], fields: &[Field]| {
        kinds.len() == fields.len() && kinds.iter().zip(fields).all(|(k, f)| *k == f.kind())
    };
    let value = match (&set.data, &element.value) {
        (Data::None, Value::None)
        | (Data::Verdict, Value::Verdict(_))
        | (Data::Fleeting { .. }, Value::For(_)) => true,
        (Data::Fields(kinds), Value::Fields(fields)) => fits(kinds, fields),
        _ => false,
    };
    let is_range = |field: &Field| {
        matches!(field, Field::Ports(..) | Field::Any4 | Field::Any6 | Field::Addresses(..))
    };
    let range = element.key.iter().any(is_range);
    if !value || !fits(&set.key, &element.key) || (range && !set.ranges) {
        return Err(EncodeError::Element(set.name.clone()));
    }
    for field in &element.key {
        if let Field::Link(link) = field {
            check_link(link)?;
        }
    }
    Ok(())
}

fn add_chain(batch: &mut Batch, family: u8, table: &str, chain: &Chain) {
    batch.message(message_kind(NFT_MSG_NEWCHAIN), NLM_F_CREATE, &nfgen(family), |a| {
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

/// Adds a rule after all others (`NLM_F_APPEND`) or, without flags, before them.
pub(crate) fn add_rule(
    batch: &mut Batch,
    flags: u16,
    family: u8,
    table: &str,
    chain: &str,
    rule: &Rule,
) {
    batch.message(message_kind(NFT_MSG_NEWRULE), NLM_F_CREATE | flags, &nfgen(family), |a| {
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
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(rule: Rule) -> Result<Batch, EncodeError> {
        let chains = vec![Chain { name: "a".into(), base: None, rules: vec![rule] }];
        encode(&[Ruleset { name: "t".into(), family: Family::Inet, sets: Vec::new(), chains }])
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
