//! Where containers may go: a table of its own, on the port of the bridge where their frames come in. Pure.
//!
//! ```text
//!   prerouting   from a port with rules ──goto──▶ own, network or both
//!     known      an answer to who has come here lately ──accept
//!     …4, …6     an address, or an address and port, that is allowed ──accept
//!     denied     told, at most ten times a second a port; dropped
//!   postrouting  to a port with rules ──goto──▶ arrive: who has come here is remembered for a time
//! ```
//!
//! Every frame is judged where it leaves the container, before anything else of the host sees it: whatever its protocol,
//! whoever it is for (neighbours, the host, the world), with or without br_netfilter, and whatever the container does with
//! its own rules and sockets. That answers pass is remembered here and not by connection tracking: on bridges the kernel
//! tracks for all or for none, also for bridges that are not ours.
//!
//! The table is there only while a container has rules. It is never written anew as a whole, because what its fleeting sets
//! have gathered must stay: who came, and the addresses that `gantry-netd` adds for names.

use super::base;
use ipnet::IpNet;
use nft::{
    Action, Chain, ChainKind, Data, Element, Field, Hook, Kind, Load, Match, Rule, Ruleset, Set,
    Value,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use types::egress::{Egress, Target};

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
/// `FIN` and `RST`: a connection ends.
const END: u8 = 5;
/// The same and `SYN`: it begins or ends.
const BEGIN_OR_END: u8 = 7;
/// How long an answer may take where nothing says that there is a connection: the container has not answered yet.
const BRIEF: Duration = Duration::from_secs(180);
/// How long a connection over TCP may be silent, and the container still speak first.
const LONG: Duration = Duration::from_secs(4 * 3600);
/// Who has come, of all containers with rules; more are not answered.
const MOST: u32 = 131_072;
/// Denied packets of one container that are told: so many a second, and so many at once.
const TOLD: (u32, u32) = (10, 20);

/// A port of a bridge whose container may not go everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The port.
    pub link: String,
    /// What the container itself is allowed.
    pub own: Option<Egress>,
    /// What all containers of the network are allowed beyond it.
    pub network: Option<Egress>,
    /// The network's subnets and the host's addresses there.
    pub sides: Vec<(IpNet, IpAddr)>,
}

/// The table's name, beside the one with this name.
pub fn table(table: &str) -> String {
    format!("{table}_egress")
}

/// The group of `nfnetlink_log` that denied packets are told to: one an instance of the daemon, as far as numbers go.
pub fn group(table: &str) -> u16 {
    // FNV-1a.
    let hash = table
        .bytes()
        .fold(0x811c_9dc5u32, |hash, b| (hash ^ u32::from(b)).wrapping_mul(0x0100_0193));
    // The first few are everybody's.
    0x1000 | ((hash ^ hash >> 16) as u16 & 0x0fff)
}

/// The table. `log`: denied packets are told.
pub fn desired(name: &str, ports: &[Port], log: bool) -> Ruleset {
    let chain = |name: &str, rules| Chain { name: name.to_owned(), base: None, rules };
    let by = |load, map: &str| Rule::new([], Action::Map { of: vec![load], map: map.into() });
    let by_type =
        |map: &str| vec![by(Load::EtherType, &format!("types-{map}")), Rule::new([], Action::Drop)];
    let mut denied = vec![Rule::new([], Action::Drop).comment("not allowed by its egress rules")];
    if log {
        let pace =
            Match::Pace { of: vec![Load::In], set: "pace".into(), rate: TOLD.0, burst: TOLD.1 };
        denied.insert(0, Rule::new([pace], Action::Log(group(name))));
    }
    let mut chains = vec![
        // After the rules against forged addresses, before br_netfilter.
        base(
            "prerouting",
            ChainKind::Filter,
            Hook::Prerouting,
            -299,
            vec![by(Load::In, "leaving")],
        ),
        base(
            "postrouting",
            ChainKind::Filter,
            Hook::Postrouting,
            0,
            vec![by(Load::Out, "arriving")],
        ),
        chain("arrive", vec![by(Load::EtherType, "types-arrive")]),
        chain("denied", denied),
    ];
    for whose in ["own", "network", "both"] {
        chains.push(chain(whose, by_type(whose)));
    }
    for family in [V4, V6] {
        let named = |name: &str| family.named(name);
        chains.push(chain(&named("arrive"), arrive(family)));
        chains.push(chain(&named("brief"), vec![family.remember(BRIEF)]));
        chains.push(chain(&named("known"), known(family)));
        let judged = |sets: &str, allowed: Action, first: bool| {
            let mut rules = Vec::new();
            if first {
                // A sender from elsewhere would be remembered where it arrives, and then be answered.
                let elsewhere = vec![Load::In, family.source];
                let elsewhere = Match::Known { of: elsewhere, set: named("from"), not: true };
                rules.push(Rule::new([elsewhere], Action::Goto("denied".into())));
                rules.push(Rule::new([], Action::Jump(named("known"))));
            }
            rules.extend(allow(family, sets, &allowed));
            rules.push(Rule::new([], Action::Goto("denied".into())));
            rules
        };
        chains.push(chain(&named("own"), judged("own", Action::Accept, true)));
        chains.push(chain(&named("network"), judged("network", Action::Accept, true)));
        chains.push(chain(&named("both"), judged("own", Action::Goto(named("beyond")), true)));
        chains.push(chain(&named("beyond"), judged("network", Action::Accept, false)));
    }
    Ruleset { name: table(name), family: nft::Family::Bridge, sets: sets(ports), chains }
}

/// The parts of frames of one IP version.
#[derive(Clone, Copy)]
struct Version {
    digit: char,
    kind: Kind,
    source: Load,
    destination: Load,
}

const V4: Version = Version {
    digit: '4',
    kind: Kind::V4,
    source: Load::BridgedSource4,
    destination: Load::BridgedDestination4,
};
const V6: Version = Version {
    digit: '6',
    kind: Kind::V6,
    source: Load::BridgedSource6,
    destination: Load::BridgedDestination6,
};

impl Version {
    fn named(self, name: &str) -> String {
        format!("{name}{}", self.digit)
    }

    /// Who sends what to a container.
    fn coming(self) -> Vec<Load> {
        vec![
            Load::Out,
            Load::Protocol,
            self.source,
            Load::SourcePort,
            self.destination,
            Load::DestinationPort,
        ]
    }

    /// A packet to the container is remembered as what its answer will be.
    fn remember(self, time: Duration) -> Rule {
        Rule::new([], Action::Remember { of: self.coming(), set: self.named("back"), time })
    }
}

/// What comes to a container.
fn arrive(family: Version) -> Vec<Rule> {
    let of_protocol = |protocol, time| {
        let rule = family.remember(time);
        Rule { matches: vec![Match::Protocol(protocol)], ..rule }
    };
    let peers = Action::Remember {
        of: vec![Load::Out, family.source],
        set: family.named("peers"),
        time: BRIEF,
    };
    let ending = family.named("ending");
    let end = Action::Remember { of: family.coming(), set: ending.clone(), time: BRIEF };
    let ends = vec![Match::Protocol(TCP), Match::known(family.coming(), &ending)];
    let unknown = Match::Known { of: family.coming(), set: family.named("back"), not: true };
    let new = vec![Match::Protocol(TCP), unknown];
    let mut rules = vec![
        // The acknowledgement that comes after the end is not to keep it for long.
        Rule::new([Match::TcpFlags(END)], end),
        Rule::new([Match::TcpFlags(BEGIN_OR_END)], Action::Goto(family.named("brief"))),
        Rule::new(ends, Action::Goto(family.named("brief"))),
        // Whoever only says that there is one is not remembered for long, and what the container has answered not for less.
        Rule { matches: new, ..of_protocol(TCP, BRIEF) },
        of_protocol(UDP, BRIEF),
        of_protocol(SCTP, BRIEF),
    ];
    let icmp = if family.digit == '4' { ICMP } else { ICMPV6 };
    // For answers that have no ports: echoes, errors, further parts of long datagrams.
    for protocol in [icmp, UDP] {
        rules.push(Rule::new([Match::Protocol(protocol)], peers.clone()));
    }
    rules
}

/// What answers those who came, and what finds neighbours.
fn known(family: Version) -> Vec<Rule> {
    let back = vec![
        Load::In,
        Load::Protocol,
        family.destination,
        Load::DestinationPort,
        family.source,
        Load::SourcePort,
    ];
    let peer = || Match::known([Load::In, family.destination], &family.named("peers"));
    let (known, ending) = (family.named("back"), family.named("ending"));
    let lives = Match::Known { of: back.clone(), set: ending, not: true };
    let longer = Action::Remember { of: back.clone(), set: known.clone(), time: LONG };
    let is_known = || Match::known(back.clone(), &known);
    let mut rules = vec![
        Rule::new([Match::TcpFlags(END), is_known()], Action::Accept),
        // By its answer there is a connection.
        Rule { matches: vec![Match::Protocol(TCP), is_known(), lives], ..Rule::new([], longer) },
        Rule::new([is_known()], Action::Accept),
    ];
    let mut answer = |question| rules.push(Rule::new([question, peer()], Action::Accept));
    if family.digit == '4' {
        // Echo reply, destination unreachable (RFC 792).
        answer(Match::Icmp(0));
        answer(Match::Icmp(3));
        answer(Match::Fragment4);
    } else {
        // Echo reply, destination unreachable (RFC 4443).
        answer(Match::Icmpv6(129));
        answer(Match::Icmpv6(1));
        // Solicitations and advertisements of neighbours, who listens to which group; never beyond the network.
        for kind in [133, 135, 136, 131, 132, 143] {
            let near = Match::known([Load::In, family.destination], "near6");
            rules.push(Rule::new([Match::Icmpv6(kind), near], Action::Accept));
        }
    }
    rules
}

/// What the sets that begin with `whose` allow.
fn allow(family: Version, whose: &str, allowed: &Action) -> Vec<Rule> {
    let address = || vec![Load::In, family.destination];
    let service = || vec![Load::In, Load::Protocol, Load::DestinationPort, family.destination];
    [("nets", address()), ("names", address()), ("ports", service()), ("services", service())]
        .into_iter()
        .map(|(what, of)| {
            let set = family.named(&format!("{whose}-{what}"));
            Rule::new([Match::known(of, &set)], allowed.clone())
        })
        .collect()
}

fn sets(ports: &[Port]) -> Vec<Set> {
    let set =
        |name: String, key, data, ranges| Set { name, key, data, ranges, elements: Vec::new() };
    let fleeting = || Data::Fleeting { most: MOST };
    let mut sets = vec![
        set("leaving".into(), vec![Kind::Link], Data::Verdict, false),
        set("arriving".into(), vec![Kind::Link], Data::Verdict, false),
        set("pace".into(), vec![Kind::Link], fleeting(), false),
        set("near6".into(), vec![Kind::Link, Kind::V6], Data::None, true),
    ];
    for family in [V4, V6] {
        let address = || vec![Kind::Link, family.kind];
        let service = || vec![Kind::Link, Kind::Protocol, Kind::Port, family.kind];
        let both =
            vec![Kind::Link, Kind::Protocol, family.kind, Kind::Port, family.kind, Kind::Port];
        sets.push(set(family.named("back"), both.clone(), fleeting(), false));
        sets.push(set(family.named("ending"), both, fleeting(), false));
        sets.push(set(family.named("peers"), address(), fleeting(), false));
        sets.push(set(family.named("from"), address(), Data::None, true));
        for whose in ["own", "network"] {
            let named = |what: &str| family.named(&format!("{whose}-{what}"));
            sets.push(set(named("nets"), address(), Data::None, true));
            sets.push(set(named("ports"), service(), Data::None, true));
            sets.push(set(named("names"), address(), fleeting(), false));
            sets.push(set(named("services"), service(), fleeting(), false));
        }
    }
    for whose in ["own", "network", "both", "arrive"] {
        let mut types = set(format!("types-{whose}"), vec![Kind::EtherType], Data::Verdict, false);
        let goto = |digit| Action::Goto(format!("{whose}{digit}"));
        types.elements = [(IPV4, goto('4')), (IPV6, goto('6')), (ARP, Action::Accept)]
            .map(|(number, to)| Element {
                key: vec![Field::EtherType(number)],
                value: Value::Verdict(to),
            })
            .into();
        sets.push(types);
    }
    for (name, element) in ports.iter().flat_map(Port::elements) {
        let set = sets.iter_mut().find(|set| set.name == name);
        set.expect("all names are above").elements.push(element);
    }
    sets
}

impl Port {
    /// Its elements, by their sets. None if nothing is forbidden.
    pub fn elements(&self) -> Vec<(String, Element)> {
        let chain = match (&self.own, &self.network) {
            (None, None) => return Vec::new(),
            (Some(_), None) => "own",
            (None, Some(_)) => "network",
            (Some(_), Some(_)) => "both",
        };
        let link = || Field::Link(self.link.clone());
        let verdict = |set: &str, chain: &str| {
            let value = Value::Verdict(Action::Goto(chain.into()));
            (set.to_owned(), Element { key: vec![link()], value })
        };
        let mut all = vec![verdict("leaving", chain), verdict("arriving", "arrive")];
        let mut add = |set: String, mut key: Vec<Field>| {
            key.insert(0, link());
            all.push((set, Element { key, value: Value::None }));
        };
        let of_family = |six: bool| {
            let subnets = self.sides.iter().map(|(subnet, _)| of_net(subnet));
            subnets.filter(move |(first, _)| first.is_ipv6() == six)
        };
        let near = [range("fe80::/10"), range("ff02::/16")].into_iter();
        for near in merged(near.chain(of_family(true)).collect()) {
            add("near6".into(), vec![addresses(near)]);
        }
        for from in merged(of_family(false).collect()) {
            add("from4".into(), vec![addresses(from)]);
        }
        // Without an address it asks whether one is taken (RFC 4862 section 5.4.2).
        let own = [range("fe80::/10"), range("::/128")].into_iter();
        for from in merged(own.chain(of_family(true)).collect()) {
            add("from6".into(), vec![addresses(from)]);
        }
        for (whose, egress, inside) in
            [("own", &self.own, Vec::new()), ("network", &self.network, self.inside())]
        {
            let Some(egress) = egress else { continue };
            for six in [false, true] {
                let digit = if six { 6 } else { 4 };
                let nets = nets(egress).chain(inside.iter().copied());
                for net in merged(nets.filter(|net| net.0.is_ipv6() == six).collect()) {
                    add(format!("{whose}-nets{digit}"), vec![addresses(net)]);
                }
                for (net, protocol, first, last) in services(egress, six) {
                    let fields =
                        vec![Field::Protocol(protocol), Field::Ports(first, last), addresses(net)];
                    add(format!("{whose}-ports{digit}"), fields);
                }
            }
        }
        all
    }

    /// The network's own addresses, without the host's.
    fn inside(&self) -> Vec<Range> {
        let mut all = Vec::new();
        for (subnet, gateway) in &self.sides {
            let (first, last) = of_net(subnet);
            let (low, high, host) = (number(first), number(last), number(*gateway));
            let six = gateway.is_ipv6();
            if host > low {
                all.push((first, address(host - 1, six)));
            }
            if host < high {
                all.push((address(host + 1, six), last));
            }
        }
        all
    }
}

/// Addresses from the first to the last.
type Range = (IpAddr, IpAddr);

fn addresses((first, last): Range) -> Field {
    Field::Addresses(first, last)
}

fn of_net(net: &IpNet) -> Range {
    (net.network(), net.broadcast())
}

fn range(net: &str) -> Range {
    of_net(&net.parse().expect("it is a subnet"))
}

fn nets(egress: &Egress) -> impl Iterator<Item = Range> {
    egress.rules().iter().filter(|rule| rule.ports.is_none()).filter_map(|rule| {
        match &rule.target {
            Target::Net(net) => Some(of_net(net)),
            Target::Name(_) | Target::Below(_) => None,
        }
    })
}

/// The same addresses in ranges that do not touch: the kernel takes no others into one set.
fn merged(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort();
    let mut all: Vec<Range> = Vec::new();
    for (first, last) in ranges {
        match all.last_mut() {
            Some(before) if number(first) <= number(before.1).saturating_add(1) => {
                before.1 = before.1.max(last);
            }
            _ => all.push((first, last)),
        }
    }
    all
}

/// Addresses, protocol, first and last port that are allowed. No two overlap.
fn services(egress: &Egress, six: bool) -> Vec<(Range, u8, u16, u16)> {
    let rules: Vec<(u128, u128, types::egress::Ports)> = egress
        .rules()
        .iter()
        .filter_map(|rule| match (&rule.target, rule.ports) {
            (Target::Net(net), Some(ports)) if net.addr().is_ipv6() == six => {
                Some((number(net.network()), number(net.broadcast()), ports))
            }
            _ => None,
        })
        .collect();
    let end = if six { u128::MAX } else { u32::MAX.into() };
    let mut all = Vec::new();
    for protocol in [TCP, UDP] {
        let of_protocol = || rules.iter().filter(|(_, _, ports)| ports.protocol == protocol);
        // Between two neighbouring borders everything is allowed the same ports.
        let mut borders: Vec<u128> = of_protocol().map(|(first, ..)| *first).collect();
        borders.extend(of_protocol().filter_map(|(_, last, _)| last.checked_add(1)));
        borders.retain(|border| *border <= end);
        borders.sort_unstable();
        borders.dedup();
        for (position, first) in borders.iter().enumerate() {
            let last = borders.get(position + 1).map_or(end, |next| next - 1);
            let inside = of_protocol().filter(|(low, high, _)| low <= first && last <= *high);
            let mut ports: Vec<(u16, u16)> = inside.map(|(_, _, p)| (p.first, p.last)).collect();
            ports.sort_unstable();
            let mut joined: Vec<(u16, u16)> = Vec::new();
            for (low, high) in ports {
                match joined.last_mut() {
                    Some(before) if low <= before.1.saturating_add(1) => {
                        before.1 = before.1.max(high);
                    }
                    _ => joined.push((low, high)),
                }
            }
            let range = (address(*first, six), address(last, six));
            all.extend(joined.into_iter().map(|(low, high)| (range, protocol, low, high)));
        }
    }
    all
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn address(number: u128, six: bool) -> IpAddr {
    if six {
        Ipv6Addr::from_bits(number).into()
    } else {
        Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(own: Option<&str>, network: Option<&str>) -> Port {
        let read = |text: &str| text.parse().unwrap();
        Port {
            link: "veth1".into(),
            own: own.map(read),
            network: network.map(read),
            sides: vec![
                ("10.9.0.0/24".parse().unwrap(), "10.9.0.1".parse().unwrap()),
                ("fd09::/64".parse().unwrap(), "fd09::1".parse().unwrap()),
            ],
        }
    }

    /// The keys of a set, without the link.
    fn keys(port: &Port, set: &str) -> Vec<String> {
        let text = |field: &Field| match field {
            Field::Addresses(a, b) if a == b => a.to_string(),
            Field::Addresses(a, b) => format!("{a}-{b}"),
            Field::Protocol(p) => p.to_string(),
            Field::Ports(a, b) => format!("{a}-{b}"),
            other => format!("{other:?}"),
        };
        port.elements()
            .iter()
            .filter(|(name, _)| name == set)
            .map(|(_, e)| e.key[1..].iter().map(text).collect::<Vec<_>>().join(" "))
            .collect()
    }

    #[test]
    fn each_address_is_in_one_range() {
        let rules = "allow:10.0.0.0/8,10.1.0.0/16,11.0.0.0/8,192.0.2.7,example.org,2001:db8::/32";
        let port = port(Some(rules), None);
        assert_eq!(keys(&port, "own-nets4"), ["10.0.0.0-11.255.255.255", "192.0.2.7"]);
        assert_eq!(keys(&port, "own-nets6"), ["2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"]);
        assert!(keys(&port, "own-ports4").is_empty());
    }

    #[test]
    fn ports_of_nets_within_nets_are_told_apart() {
        let rules = "allow:10.0.0.0/8:80,10.1.0.0/16:443,10.1.0.0/16:81-90,10.0.0.0/8:53/udp,\
                     0.0.0.0/0:22,[::/0]:22";
        let port = port(Some(rules), None);
        assert_eq!(
            keys(&port, "own-ports4"),
            [
                "6 22-22 0.0.0.0-9.255.255.255",
                "6 22-22 10.0.0.0-10.0.255.255",
                "6 80-80 10.0.0.0-10.0.255.255",
                "6 22-22 10.1.0.0-10.1.255.255",
                "6 80-90 10.1.0.0-10.1.255.255",
                "6 443-443 10.1.0.0-10.1.255.255",
                "6 22-22 10.2.0.0-10.255.255.255",
                "6 80-80 10.2.0.0-10.255.255.255",
                "6 22-22 11.0.0.0-255.255.255.255",
                "17 53-53 10.0.0.0-10.255.255.255",
            ]
        );
        assert_eq!(
            keys(&port, "own-ports6"),
            ["6 22-22 ::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]
        );
    }

    #[test]
    fn a_networks_rules_leave_its_own_containers_alone_but_not_the_host() {
        let port = port(None, Some("none"));
        assert_eq!(
            keys(&port, "network-nets4"),
            ["10.9.0.0", "10.9.0.2-10.9.0.255"],
            "without the gateway"
        );
        assert_eq!(keys(&port, "network-nets6").len(), 2);
        assert!(keys(&port, "own-nets4").is_empty());
        assert_eq!(keys(&port, "near6").len(), 3);
    }

    #[test]
    fn which_chain_judges() {
        for (own, network, chain) in [
            (Some("none"), None, Some("own")),
            (None, Some("none"), Some("network")),
            (Some("none"), Some("allow:a"), Some("both")),
            (None, None, None),
        ] {
            let elements = port(own, network).elements();
            let leaving = elements.iter().find(|(set, _)| set == "leaving");
            let value = leaving.map(|(_, element)| element.value.clone());
            assert_eq!(value, chain.map(|c| Value::Verdict(Action::Goto(c.into()))));
        }
    }

    #[test]
    fn the_table_can_be_said_to_the_kernel() {
        let ports = [port(Some("allow:10.0.0.0/8:80"), Some("none"))];
        for log in [true, false] {
            let mut batch = nft::encode(&[]).unwrap();
            nft::keep(&mut batch, &desired("gantry", &ports, log)).unwrap();
            assert!(batch.bytes().len() > 1000);
        }
        assert_ne!(group("gantry"), group("gantry_1a2b3c"));
    }
}
