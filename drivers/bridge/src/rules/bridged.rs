//! Who may say to be whom on a bridge. Pure.
//!
//! A container with `NET_RAW` can write any frame. The table sees every frame that a port of any bridge takes in, with or
//! without br_netfilter. A frame in the name of a neighbour or of the host is dropped; a container that has further
//! addresses of its own, or routes for others, is left alone.

use super::{World, base, links};
use network::{Family, Mac};
use nft::{
    Action, Chain, ChainKind, Data, Element, Field, Hook, Kind, Load, Match, Rule, Ruleset, Set,
    Value,
};
use std::net::IpAddr;

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
/// `ND_NEIGHBOR_ADVERT` (RFC 4861).
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// What belongs to one port of a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The bridge.
    pub bridge: String,
    /// The port; `None`: the host itself.
    pub port: Option<String>,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

impl Bound {
    /// Its elements, by their sets.
    pub fn elements(&self) -> Vec<(&'static str, Element)> {
        let mac = || Field::Mac(*self.mac.bytes());
        let mut all = vec![("macs", vec![mac()])];
        if let Some(port) = &self.port {
            all.push(("ports", vec![Field::Link(port.clone())]));
            all.push(("own", vec![Field::Link(port.clone()), mac()]));
        }
        for address in &self.addresses {
            let (bound, taken) = match address {
                IpAddr::V4(_) => ("bound4", "taken4"),
                IpAddr::V6(_) => ("bound6", "taken6"),
            };
            all.push((taken, vec![Field::Address(*address)]));
            if let Some(port) = &self.port {
                let key = vec![Field::Link(port.clone()), mac(), Field::Address(*address)];
                all.push((bound, key));
            }
        }
        all.into_iter().map(|(set, key)| (set, Element { key, value: Value::None })).collect()
    }
}

pub(super) fn desired(world: &World) -> Ruleset {
    let chain = |name: &str, rules| Chain { name: name.to_owned(), base: None, rules };
    let accept = |of: &[Load], set: &str| Rule::new([Match::known(of, set)], Action::Accept);
    let drop = |of: &[Load], set: &str| Rule::new([Match::known(of, set)], Action::Drop);
    // Frames with an Ethernet address of their own but another's are told from those with another's.
    let mac = || [accept(&[Load::In, Load::SourceMac], "own"), drop(&[Load::SourceMac], "macs")];
    // Ports of other bridges are not ours to judge.
    let foreign = || {
        let not = Match::Known { of: vec![Load::In], set: "ports".into(), not: true };
        Rule::new([not], Action::Accept)
    };
    let loopback = |load| Rule::new([Match::Loopback4(load)], Action::Drop);

    let mut ip = vec![
        // Bridges are allowed to route them where ports are published on 127.0.0.1.
        loopback(Load::Destination4),
        accept(&[Load::In, Load::SourceMac, Load::BridgedSource4], "bound4"),
        foreign(),
        loopback(Load::Source4),
        drop(&[Load::BridgedSource4], "taken4"),
    ];
    ip.extend(mac());
    let arp = vec![
        accept(&[Load::In, Load::ArpMac, Load::ArpSource], "bound4"),
        foreign(),
        drop(&[Load::ArpSource], "taken4"),
        accept(&[Load::In, Load::ArpMac], "own"),
        drop(&[Load::ArpMac], "macs"),
    ];
    let mut ip6 = vec![
        Rule::new([Match::Icmpv6(NEIGHBOUR_ADVERTISEMENT)], Action::Goto("neighbour".into())),
        accept(&[Load::In, Load::SourceMac, Load::BridgedSource6], "bound6"),
        foreign(),
        drop(&[Load::BridgedSource6], "taken6"),
    ];
    ip6.extend(mac());
    let mut neighbour = vec![
        accept(&[Load::In, Load::SourceMac, Load::NeighbourTarget], "bound6"),
        foreign(),
        drop(&[Load::NeighbourTarget], "taken6"),
    ];
    neighbour.extend(mac());
    let by_type = Rule::new([], Action::Map { of: vec![Load::EtherType], map: "types".into() });
    let mut chains = vec![
        base("prerouting", ChainKind::Filter, Hook::Prerouting, -300, vec![by_type]),
        chain("ip", ip),
        chain("arp", arp),
        chain("ip6", ip6),
        chain("neighbour", neighbour),
    ];
    chains.extend(links::chains(world));
    Ruleset { name: world.table.clone(), family: nft::Family::Bridge, sets: sets(world), chains }
}

fn sets(world: &World) -> Vec<Set> {
    let mut sets: Vec<Set> = [
        ("own", vec![Kind::Link, Kind::Mac]),
        ("ports", vec![Kind::Link]),
        ("macs", vec![Kind::Mac]),
        ("bound4", vec![Kind::Link, Kind::Mac, Kind::V4]),
        ("bound6", vec![Kind::Link, Kind::Mac, Kind::V6]),
        ("taken4", vec![Kind::V4]),
        ("taken6", vec![Kind::V6]),
    ]
    .map(|(name, key)| Set {
        name: name.into(),
        key,
        data: Data::None,
        ranges: false,
        elements: Vec::new(),
    })
    .into();
    for (name, element) in world.bound.iter().flat_map(Bound::elements) {
        let set = sets.iter_mut().find(|set| set.name == name);
        set.expect("all names are above").elements.push(element);
    }
    sets.push(Set {
        name: "types".into(),
        key: vec![Kind::EtherType],
        data: Data::Verdict,
        ranges: false,
        elements: [(IPV4, "ip", Family::V4), (ARP, "arp", Family::V4), (IPV6, "ip6", Family::V6)]
            .into_iter()
            .filter(|(.., family)| !world.silent.contains(family))
            .map(|(number, chain, _)| Element {
                key: vec![Field::EtherType(number)],
                value: Value::Verdict(Action::Goto(chain.into())),
            })
            .collect(),
    });
    sets.extend(links::sets(world));
    sets
}
