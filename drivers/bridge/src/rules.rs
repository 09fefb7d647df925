//! The firewall tables of all networks, as a value. Pure.
//!
//! ```text
//!   inet    forward       of connections that are known ──accept
//!                         out through a bridge of ours ──goto──▶ in-<bridge>: published ports, neighbours; else drop
//!                         in through a bridge of ours  ──accept
//!                         anything else                ──on (or dropped, when only we made this host forward at all)
//!           prerouting    for an address of the host ──▶ ports: the maps of published ports ──dnat
//!           output        the same for what the host itself sends
//!           postrouting   to a container over its own bridge, or from 127.0.0.0/8 ──masquerade as the gateway
//!                         from a subnet of ours, out through another link ──masquerade or snat
//!   bridge  prerouting    from a port in another's name ──drop
//!           forward       from port to port, of those that may talk to some neighbours only ──drop (see `links`)
//! ```
//!
//! Nobody outside reaches a container's own address, also not by a route to the host (moby 28 drops such packets too);
//! only answers and what was published come in. Between two bridges nothing else passes. A packet of a known connection
//! meets one rule in `forward`; the nat chains see first packets only.

mod asking;
mod bridged;
pub mod egress;
pub(crate) mod elements;
mod explain;
mod links;

pub use asking::Door;
pub(crate) use asking::{ASKED, asked};
pub use bridged::Bound;
pub use elements::{Forward, Target, forwards};
pub use links::Allowed;

use crate::options::GatewayMode;
use crate::policy::{Mark, of_family};
use ipnet::IpNet;
use network::Family;
use nft::{
    Action, Base, Chain, ChainKind, Data, Element, Field, Hook, Kind, Load, Match, Policy, Rule,
    Ruleset, Set, State, Value,
};
use std::net::IpAddr;
use sys::netlink::Batch;

/// What the firewall must know about a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRules {
    /// Its bridge.
    pub bridge: String,
    /// Its subnets, at most one a family.
    pub sides: Vec<Side>,
    /// Containers on it may talk to each other. It matters here only where br_netfilter sends bridged packets through
    /// this table; without it, ports are isolated from each other in the bridge.
    pub icc: bool,
    /// What leaves gets the host's address.
    pub masquerade: bool,
    /// Nothing leaves, nothing enters.
    pub internal: bool,
    /// Links from which everything is reached.
    pub trusted: Vec<String>,
}

/// A network's subnet as the firewall sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// The subnet.
    pub subnet: IpNet,
    /// The host's address in it.
    pub gateway: IpAddr,
    /// How it is reached.
    pub mode: GatewayMode,
    /// The address that what leaves gets; `None`: that of the link it leaves through.
    pub snat: Option<IpAddr>,
}

/// Everything that the tables depend on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct World {
    /// The tables' name.
    pub table: String,
    /// All networks.
    pub networks: Vec<NetworkRules>,
    /// Packets of these families that have nothing to do with our networks are not forwarded: the host did not forward
    /// them before we needed it to, and is not to become a router by the way.
    pub guard: Vec<Family>,
    /// Published ports.
    pub forwards: Vec<Forward>,
    /// Which port of a bridge may use which addresses.
    pub bound: Vec<Bound>,
    /// Who may talk to whom where neighbours are kept apart.
    pub links: Vec<Allowed>,
    /// The listener for what the kernel cannot translate.
    pub relay: Option<u16>,
    /// No rule of ours is about these families.
    pub silent: Vec<Family>,
    /// Packets with this mark may enter any network that is not internal.
    pub accept_mark: Option<Mark>,
    /// Published ports are reached by containers' own addresses, too.
    pub direct_routing: bool,
    /// The host's own input rules are asked about published ports.
    pub door: Option<Door>,
    /// Ports of bridges whose containers may not go everywhere.
    pub egress: Vec<egress::Port>,
    /// Packets that are denied there are told.
    pub egress_log: bool,
}

/// The transaction that writes everything.
pub fn transaction(world: &World) -> Result<Batch, nft::EncodeError> {
    let mut batch = nft::encode(&desired(world))?;
    if !world.egress.is_empty() {
        nft::keep(&mut batch, &egress::desired(&world.table, &world.egress, world.egress_log))?;
    }
    Ok(batch)
}

/// The tables, whole; none where no rule is to be ours.
pub fn desired(world: &World) -> Vec<Ruleset> {
    if world.silent.len() == 2 {
        return Vec::new();
    }
    let mut chains = vec![
        base("forward", ChainKind::Filter, Hook::Forward, 0, forward(world)),
        base("prerouting", ChainKind::Nat, Hook::Prerouting, -100, prerouting(world)),
        base("output", ChainKind::Nat, Hook::Output, -100, vec![to_ports()]),
        base("postrouting", ChainKind::Nat, Hook::Postrouting, 100, postrouting(world)),
        Chain { name: "ports".into(), base: None, rules: elements::ports(world.relay) },
    ];
    for network in &world.networks {
        chains.push(Chain { name: entrance(network), base: None, rules: enter(world, network) });
        chains.push(Chain { name: approach(network), base: None, rules: translate(network) });
    }
    let mut sets = links(world);
    sets.extend(elements::sets(world));
    sets.extend(links::routed_set(world));
    for chain in chains.iter_mut().filter(|chain| chain.base.is_some()) {
        let past = |family: &Family| Rule::new([of_family(*family)], Action::Accept);
        chain.rules.splice(0..0, world.silent.iter().map(past));
    }
    let inet = Ruleset { name: world.table.clone(), family: nft::Family::Inet, sets, chains };
    let mut all = vec![inet, bridged::desired(world)];
    all.extend(asking::desired(world));
    all
}

/// The sets that say which link is whose.
fn links(world: &World) -> Vec<Set> {
    let link = |name: &str| vec![Field::Link(name.to_owned())];
    let map = |name: &str, verdict: &dyn Fn(&NetworkRules) -> Action| Set {
        name: name.to_owned(),
        key: vec![Kind::Link],
        data: Data::Verdict,
        ranges: false,
        elements: world
            .networks
            .iter()
            .map(|network| Element {
                key: link(&network.bridge),
                value: Value::Verdict(verdict(network)),
            })
            .collect(),
    };
    let internal = world.networks.iter().filter(|network| network.internal);
    vec![
        map("entrances", &|network| Action::Goto(entrance(network))),
        map("exits", &|network| match network.internal {
            true => Action::Drop,
            false => Action::Accept,
        }),
        map("approaches", &|network| Action::Goto(approach(network))),
        Set {
            name: "internal".into(),
            key: vec![Kind::Link],
            data: Data::None,
            ranges: false,
            elements: internal
                .map(|network| Element { key: link(&network.bridge), value: Value::None })
                .collect(),
        },
    ]
}

fn forward(world: &World) -> Vec<Rule> {
    let mut rules = vec![
        Rule::new([Match::State(State::ESTABLISHED.or(State::RELATED))], Action::Accept),
        Rule::new([], Action::Map { of: vec![Load::Out], map: "entrances".into() }),
        // Reached only by what goes out through a link that is no bridge of ours.
        Rule::new([], Action::Map { of: vec![Load::In], map: "exits".into() }),
    ];
    for family in &world.guard {
        let rule = Rule::new([of_family(*family)], Action::Drop);
        rules.push(rule.comment("this host did not forward before there were containers"));
    }
    rules
}

/// What may come to the containers of a network, of connections that are not known yet.
fn enter(world: &World, network: &NetworkRules) -> Vec<Rule> {
    let neighbours = if network.icc { Action::Accept } else { Action::Drop };
    let neighbours = Rule::new([Match::In(network.bridge.clone())], neighbours);
    let rest = Rule::new([], Action::Drop);
    if network.internal {
        return vec![neighbours, rest];
    }
    let mut rules = vec![Rule::new([Match::DestinationTranslated], Action::Accept)];
    if !network.icc && !world.links.is_empty() {
        rules.push(links::routed_rule());
    }
    rules.push(neighbours);
    for link in &network.trusted {
        rules.push(Rule::new([Match::In(link.clone())], Action::Accept));
    }
    if let Some(Mark { value, mask }) = world.accept_mark {
        rules.push(Rule::new([Match::Mark { value, mask }], Action::Accept));
    }
    for side in &network.sides {
        rules.extend(open(side, world.direct_routing));
    }
    rules.push(rest);
    rules
}

/// What is open without translation.
fn open(side: &Side, direct: bool) -> Vec<Rule> {
    let (six, icmp) = match side.subnet {
        IpNet::V4(_) => (false, 1),
        IpNet::V6(_) => (true, 58),
    };
    let here = Match::Destination(side.subnet);
    match side.mode {
        GatewayMode::Nat if direct => {
            vec![Rule::new([elements::is_open(six)], Action::Accept)]
        }
        GatewayMode::Nat | GatewayMode::Isolated => Vec::new(),
        GatewayMode::NatUnprotected => {
            // Networks of ours stay apart all the same.
            let outside = Match::Known { of: vec![Load::In], set: "exits".into(), not: true };
            vec![Rule::new([here, outside], Action::Accept)]
        }
        GatewayMode::Routed => vec![
            Rule::new([here, Match::Protocol(icmp)], Action::Accept),
            Rule::new([elements::is_open(six)], Action::Accept),
        ],
    }
}

fn prerouting(world: &World) -> Vec<Rule> {
    let loopback: IpNet = "127.0.0.0/8".parse().expect("it is a subnet");
    let strange = |question| {
        Rule::new([Match::NotIn("lo".into()), question], Action::Drop)
            .comment("loopback addresses come from loopback only")
    };
    let mut rules = vec![
        // Before the kernel's own check, which comes after translation: what is published on 127.0.0.1 is the host's.
        strange(Match::Destination(loopback)),
        strange(Match::Source(loopback)),
        // An internal network has no way out, not even by way of the host's ports.
        Rule::new([Match::known([Load::In], "internal")], Action::Accept),
    ];
    match &world.door {
        None => rules.push(to_ports()),
        // Whatever else there is goes to the host first.
        Some(door) => rules.extend(
            [Match::known([Load::In], "exits"), Match::In(door.enters.clone())]
                .map(|from| Rule::new([from, Match::Local], Action::Goto("ports".into()))),
        ),
    }
    rules
}

fn to_ports() -> Rule {
    Rule::new([Match::Local], Action::Goto("ports".into()))
}

fn postrouting(world: &World) -> Vec<Rule> {
    let mut rules =
        vec![Rule::new([], Action::Map { of: vec![Load::Out], map: "approaches".into() })];
    for network in world.networks.iter().filter(|n| n.masquerade && !n.internal) {
        for side in &network.sides {
            if !matches!(side.mode, GatewayMode::Nat | GatewayMode::NatUnprotected) {
                continue;
            }
            let matches = [Match::Source(side.subnet), Match::NotOut(network.bridge.clone())];
            let action = side.snat.map_or(Action::Masquerade, Action::Snat);
            rules.push(Rule::new(matches, action));
        }
    }
    rules
}

/// Whose address must change for its answers to come back this way.
fn translate(network: &NetworkRules) -> Vec<Rule> {
    let loopback: IpNet = "127.0.0.0/8".parse().expect("it is a subnet");
    // A neighbour's answer would otherwise go straight to the asker, who asked somebody else. Known by the address and
    // not by the link: br_netfilter passes such packets from port to port and names none.
    let neighbours = network.sides.iter().map(|side| {
        let matches = [Match::Source(side.subnet), Match::DestinationTranslated];
        Rule::new(matches, Action::Masquerade)
    });
    neighbours.chain([Rule::new([Match::Source(loopback)], Action::Masquerade)]).collect()
}

fn entrance(network: &NetworkRules) -> String {
    format!("in-{}", network.bridge)
}

fn approach(network: &NetworkRules) -> String {
    format!("to-{}", network.bridge)
}

fn base(name: &str, kind: ChainKind, hook: Hook, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain {
        name: name.to_owned(),
        base: Some(Base { kind, hook, priority, policy: Policy::Accept }),
        rules,
    }
}

#[cfg(test)]
mod tests;
