//! Published ports as elements of maps. Pure.
//!
//! A port of all addresses is found by protocol and number, one of a certain address by that too; ports that keep their
//! numbers are one element a run, however long. The maps never contradict each other: of one protocol and number there is
//! either one owner for all addresses or one for each.

use super::World;
use network::{Protocol, PublishedPort};
use nft::{Action, Data, Element, Field, Kind, Load, Match, Rule, Set, Value};
use std::net::{IpAddr, Ipv6Addr};

/// Ports of the host that lead somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Of which protocol.
    pub protocol: Protocol,
    /// The host's address; unspecified: all of that family.
    pub address: IpAddr,
    /// The first and the last port.
    pub ports: (u16, u16),
    /// Where they lead.
    pub target: Target,
}

/// Where ports lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// To ports of this address, from this one on.
    Container(IpAddr, u16),
    /// To the listener that does what the kernel cannot.
    Relay,
    /// Nowhere: these are ports of the container itself, open to whoever has a route to this address.
    Open(IpAddr),
}

/// The forwards of one endpoint's published ports, as few as possible. `of` is the container's address for a host's one;
/// `None`: only the relay gets there. `routed` says that it is reached without translation.
pub fn forwards(
    published: &[PublishedPort],
    of: impl Fn(&IpAddr) -> Option<IpAddr>,
    routed: impl Fn(&IpAddr) -> bool,
) -> Vec<Forward> {
    let mut sorted: Vec<&PublishedPort> = published.iter().collect();
    sorted.sort_by_key(|p| (p.protocol, p.address, p.port, p.container));
    let mut all: Vec<Forward> = Vec::new();
    for port in sorted {
        let target = match of(&port.address) {
            Some(address) if routed(&port.address) => Target::Open(address),
            Some(_) if port.address == IpAddr::V6(Ipv6Addr::LOCALHOST) => Target::Relay,
            Some(address) => Target::Container(address, port.container),
            None => Target::Relay,
        };
        let number = if matches!(target, Target::Open(_)) { port.container } else { port.port };
        if let Some(last) = all.last_mut()
            && follows(last, port, number, target)
        {
            last.ports.1 = number;
            continue;
        }
        all.push(Forward {
            protocol: port.protocol,
            address: port.address,
            ports: (number, number),
            target,
        });
    }
    all
}

/// Whether a port is the next of a run. Only runs that keep their numbers can be translated as one.
fn follows(run: &Forward, port: &PublishedPort, number: u16, target: Target) -> bool {
    let next = run.ports.1.checked_add(1) == Some(number);
    let same = run.protocol == port.protocol && run.address == port.address;
    next && same
        && match (run.target, target) {
            (Target::Container(a, first), Target::Container(b, _)) => {
                a == b && first == run.ports.0 && port.container == number
            }
            (one, other) => one == other,
        }
}

impl Forward {
    /// Its elements, by their sets.
    pub fn elements(&self) -> Vec<(&'static str, Element)> {
        let protocol = Field::Protocol(number(self.protocol));
        let ports = Field::Ports(self.ports.0, self.ports.1);
        let six = self.address.is_ipv6();
        let any = self.address.is_unspecified();
        let address = match (any, six) {
            (true, false) => Field::Any4,
            (true, true) => Field::Any6,
            (false, _) => Field::Address(self.address),
        };
        match self.target {
            Target::Relay => {
                vec![("relayed", element(vec![address, protocol, ports], Value::None))]
            }
            Target::Open(to) => {
                let set = if to.is_ipv6() { "open6" } else { "open4" };
                vec![(set, element(vec![Field::Address(to), protocol, ports], Value::None))]
            }
            Target::Container(to, first) => {
                let single = self.ports.0 == self.ports.1;
                let mut all = if single {
                    let (set, mut key) = match (any, six) {
                        (true, false) => ("any4", vec![]),
                        (true, true) => ("any6", vec![]),
                        (false, false) => ("at4", vec![address]),
                        (false, true) => ("at6", vec![address]),
                    };
                    key.extend([protocol.clone(), Field::Port(self.ports.0)]);
                    let value = Value::Fields(vec![Field::Address(to), Field::Port(first)]);
                    vec![(set, element(key, value))]
                } else {
                    let set = if six { "runs6" } else { "runs4" };
                    let key = vec![address, protocol.clone(), ports.clone()];
                    vec![(set, element(key, Value::Fields(vec![Field::Address(to)])))]
                };
                if six && any && self.protocol != Protocol::Sctp {
                    // The kernel does not let packets from ::1 out through another link.
                    let own = Field::Address(Ipv6Addr::LOCALHOST.into());
                    all.push(("relayed", element(vec![own, protocol, ports], Value::None)));
                }
                all
            }
        }
    }
}

/// The rules over the maps. What needs the relay comes first: `::1` has an element there beside that of all addresses.
pub(super) fn ports(relay: Option<u16>) -> Vec<Rule> {
    use Load::{Destination4, Destination6, DestinationPort, Protocol};
    let dnat = |load: Option<Load>, map: &str, ipv6: bool, port: bool| {
        let of = load.into_iter().chain([Protocol, DestinationPort]).collect();
        let family = if ipv6 { Match::Ipv6 } else { Match::Ipv4 };
        Rule::new([family], Action::Dnat { of, map: map.into(), ipv6, port })
    };
    let mut rules = vec![
        dnat(None, "any4", false, true),
        dnat(Some(Destination4), "at4", false, true),
        dnat(Some(Destination4), "runs4", false, false),
    ];
    if let Some(port) = relay {
        let relayed = Match::known([Destination6, Protocol, DestinationPort], "relayed");
        rules.push(Rule::new([relayed], Action::Redirect(port)));
    }
    // A connection to ::1 that nobody relays is refused by the host itself.
    let own = "::1/128".parse().expect("it is a subnet");
    rules.push(Rule::new([Match::Destination(own)], Action::Return));
    rules.extend([
        dnat(None, "any6", true, true),
        dnat(Some(Destination6), "at6", true, true),
        dnat(Some(Destination6), "runs6", true, false),
    ]);
    rules
}

/// The port is one of a container that is reached without translation.
pub(super) fn is_open(six: bool) -> Match {
    let (load, set) =
        if six { (Load::Destination6, "open6") } else { (Load::Destination4, "open4") };
    Match::known([load, Load::Protocol, Load::DestinationPort], set)
}

pub(super) fn sets(world: &World) -> Vec<Set> {
    use Kind::{Port, Protocol, V4, V6};
    let set = |name: &str, key: &[Kind], data: Data, ranges: bool| Set {
        name: name.to_owned(),
        key: key.to_vec(),
        data,
        ranges,
        elements: Vec::new(),
    };
    let fields = |kinds: &[Kind]| Data::Fields(kinds.to_vec());
    let mut sets = vec![
        set("any4", &[Protocol, Port], fields(&[V4, Port]), false),
        set("at4", &[V4, Protocol, Port], fields(&[V4, Port]), false),
        set("runs4", &[V4, Protocol, Port], fields(&[V4]), true),
        set("any6", &[Protocol, Port], fields(&[V6, Port]), false),
        set("at6", &[V6, Protocol, Port], fields(&[V6, Port]), false),
        set("runs6", &[V6, Protocol, Port], fields(&[V6]), true),
        set("relayed", &[V6, Protocol, Port], Data::None, true),
        set("open4", &[V4, Protocol, Port], Data::None, true),
        set("open6", &[V6, Protocol, Port], Data::None, true),
    ];
    for (name, element) in world.forwards.iter().flat_map(Forward::elements) {
        let set = sets.iter_mut().find(|set| set.name == name);
        set.expect("all names are above").elements.push(element);
    }
    sets
}

fn element(key: Vec<Field>, value: Value) -> Element {
    Element { key, value }
}

/// `IPPROTO_*`.
pub(crate) fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}
