//! Who may talk to whom on a network that keeps its containers apart (`icc=false`, legacy links). Pure.
//!
//! Isolated ports of a bridge cannot be let through one by one. So the ports of those that are linked are not isolated,
//! and a chain over what the bridge passes from port to port drops whatever of them is not allowed: a linked container
//! gets to the exposed ports of the other, and answers come back. There is such a chain only while there are such links.

use super::{World, base};
use nft::{
    Action, Chain, ChainKind, Data, Element, Field, Hook, Kind, Load, Match, Rule, Set, Value,
};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
/// `NF_BR_PRI_FILTER_BRIDGED`.
const FILTER: i32 = -200;

/// One port at which one container may ask another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// The host's ends of both links: who asks, who answers.
    pub ends: [String; 2],
    /// Their addresses.
    pub addresses: [Ipv4Addr; 2],
    /// `IPPROTO_*` and the port.
    pub port: (u8, u16),
}

/// The chains of the bridge's table.
pub(super) fn chains(world: &World) -> Vec<Chain> {
    use Load::{
        BridgedDestination4, BridgedSource4, DestinationPort, In, Out, Protocol, SourcePort,
    };
    if world.links.is_empty() {
        return Vec::new();
    }
    let accept = |of: &[Load], set: &str| Rule::new([Match::known(of, set)], Action::Accept);
    let drop = |of: Load| Rule::new([Match::known([of], "linked")], Action::Drop);
    let and_drop = |mut rules: Vec<Rule>| {
        rules.extend([drop(In), drop(Out)]);
        rules
    };
    let chain = |name: &str, rules| Chain { name: name.into(), base: None, rules: and_drop(rules) };
    let ip = vec![
        accept(&[BridgedSource4, BridgedDestination4, Protocol, DestinationPort], "links"),
        // Answers, as the other way round.
        accept(&[BridgedDestination4, BridgedSource4, Protocol, SourcePort], "links"),
    ];
    let arp = vec![accept(&[In, Out], "pairs")];
    let by_type = Rule::new([], Action::Map { of: vec![Load::EtherType], map: "passed".into() });
    vec![
        base("forward", ChainKind::Filter, Hook::Forward, FILTER, and_drop(vec![by_type])),
        chain("passed-ip", ip),
        chain("passed-arp", arp),
    ]
}

/// The sets of the bridge's table.
pub(super) fn sets(world: &World) -> Vec<Set> {
    if world.links.is_empty() {
        return Vec::new();
    }
    let set = |name: &str, key: &[Kind], keys: BTreeSet<Vec<Key>>| Set {
        name: name.to_owned(),
        key: key.to_vec(),
        data: Data::None,
        ranges: false,
        elements: keys
            .into_iter()
            .map(|key| Element {
                key: key.into_iter().map(Field::from).collect(),
                value: Value::None,
            })
            .collect(),
    };
    let link = |name: &String| Key::Link(name.clone());
    let linked = world.links.iter().flat_map(|l| l.ends.iter().map(|end| vec![link(end)]));
    let pairs = world.links.iter().flat_map(|l| {
        let [from, to] = &l.ends;
        [vec![link(from), link(to)], vec![link(to), link(from)]]
    });
    vec![
        set("linked", &[Kind::Link], linked.collect()),
        set("pairs", &[Kind::Link, Kind::Link], pairs.collect()),
        set("links", &KEY, keys(world)),
        Set {
            name: "passed".into(),
            key: vec![Kind::EtherType],
            data: Data::Verdict,
            ranges: false,
            elements: [(IPV4, "passed-ip"), (ARP, "passed-arp")]
                .map(|(number, chain)| Element {
                    key: vec![Field::EtherType(number)],
                    value: Value::Verdict(Action::Goto(chain.into())),
                })
                .into(),
        },
    ]
}

/// The set of the other table, for hosts on which br_netfilter sends there what passes from port to port.
pub(super) fn routed_set(world: &World) -> Option<Set> {
    let elements = keys(world)
        .into_iter()
        .map(|key| Element { key: key.into_iter().map(Field::from).collect(), value: Value::None });
    (!world.links.is_empty()).then(|| Set {
        name: "links".into(),
        key: KEY.to_vec(),
        data: Data::None,
        ranges: false,
        elements: elements.collect(),
    })
}

/// What asks it.
pub(super) fn routed_rule() -> Rule {
    use Load::{Destination4, DestinationPort, Protocol, Source4};
    let known = Match::known([Source4, Destination4, Protocol, DestinationPort], "links");
    Rule::new([known], Action::Accept)
}

const KEY: [Kind; 4] = [Kind::V4, Kind::V4, Kind::Protocol, Kind::Port];

fn keys(world: &World) -> BTreeSet<Vec<Key>> {
    let key = |link: &Allowed| {
        let [from, to] = link.addresses;
        vec![Key::V4(from), Key::V4(to), Key::Protocol(link.port.0), Key::Port(link.port.1)]
    };
    world.links.iter().map(key).collect()
}

/// A field with an order: of two links to the same port one element is enough, and the kernel wants no more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Link(String),
    V4(Ipv4Addr),
    Protocol(u8),
    Port(u16),
}

impl From<Key> for Field {
    fn from(key: Key) -> Self {
        match key {
            Key::Link(name) => Self::Link(name),
            Key::V4(address) => Self::Address(address.into()),
            Key::Protocol(number) => Self::Protocol(number),
            Key::Port(number) => Self::Port(number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::desired;

    #[test]
    fn without_links_there_is_nothing_and_with_them_each_way_is_known_once() {
        let names = |world: &World| {
            let bridge = desired(world).remove(1);
            bridge.sets.into_iter().map(|set| (set.name, set.elements.len())).collect::<Vec<_>>()
        };
        let none = World::default();
        assert!(!names(&none).iter().any(|(name, _)| name == "linked"));
        let link = |port| Allowed {
            ends: ["veth1".into(), "veth2".into()],
            addresses: [[10, 0, 0, 2].into(), [10, 0, 0, 3].into()],
            port: (6, port),
        };
        let world = World { links: vec![link(80), link(81), link(80)], ..World::default() };
        let all = names(&world);
        for wanted in [("linked", 2), ("pairs", 2), ("links", 2)] {
            assert!(all.contains(&(wanted.0.to_owned(), wanted.1)), "{all:?}");
        }
        nft::encode(&desired(&world)).unwrap();
    }
}
