use super::*;
use network::{Protocol, PublishedPort, Question};

fn network(bridge: &str, subnet: &str) -> NetworkRules {
    let subnet: IpNet = subnet.parse().unwrap();
    let gateway = network::ipam::first_host(&subnet);
    NetworkRules {
        bridge: bridge.into(),
        sides: vec![Side { subnet, gateway, mode: GatewayMode::Nat, snat: None }],
        icc: true,
        masquerade: true,
        internal: false,
        trusted: Vec::new(),
    }
}

fn world(networks: &[NetworkRules]) -> World {
    World { table: "gantry".into(), networks: networks.to_vec(), ..World::default() }
}

fn rules(world: &World) -> Ruleset {
    let both = desired(world);
    nft::encode(&both).unwrap();
    both.into_iter().next().unwrap()
}

fn chain<'a>(rules: &'a Ruleset, name: &str) -> &'a [Rule] {
    &rules.chains.iter().find(|c| c.name == name).unwrap().rules
}

/// The promise of "no more rules than by hand": what a packet of a known connection, the first out of a container and
/// the first into one meet in the forward hook, however many networks there are.
#[test]
fn few_rules_decide_about_a_packet() {
    let many: Vec<_> =
        (0..50).map(|n| network(&format!("br-{n}"), &format!("10.{n}.0.0/16"))).collect();
    let rules = rules(&world(&many));
    let forward = chain(&rules, "forward");
    assert_eq!(forward.len(), 3);
    // Of a known connection: one.
    assert_eq!(forward[0].matches, [Match::State(State::ESTABLISHED.or(State::RELATED))]);
    // In: two and the chain's first. Out: three.
    let Action::Map { map, .. } = &forward[1].action else { panic!() };
    assert_eq!(map, "entrances");
    assert_eq!(chain(&rules, "in-br-7")[0].matches, [Match::DestinationTranslated]);
    let entrances = rules.sets.iter().find(|set| set.name == "entrances").unwrap();
    assert_eq!(entrances.elements.len(), 50);
    assert_eq!(chain(&rules, "in-br-7").last().unwrap(), &Rule::new([], Action::Drop));
    // A frame of a container: its kind, that it is not for loopback, and that it is who it says.
    let bridge = desired(&world(&many)).remove(1);
    assert_eq!(chain(&bridge, "prerouting").len(), 1);
    let own = Match::known([Load::In, Load::SourceMac, Load::BridgedSource4], "bound4");
    assert_eq!(chain(&bridge, "ip")[1].matches, [own]);
}

#[test]
fn a_host_that_did_not_forward_is_guarded() {
    let networks = [network("gantry0", "172.17.0.0/16")];
    let guarded = World { guard: vec![Family::V4], ..world(&networks) };
    let rules = rules(&guarded);
    let last = chain(&rules, "forward").last().unwrap();
    assert_eq!((last.matches.as_slice(), &last.action), (&[Match::Ipv4][..], &Action::Drop));
}

#[test]
fn internal_networks_and_quiet_neighbours() {
    let internal = NetworkRules { internal: true, icc: false, ..network("br-a", "10.0.0.0/24") };
    let inside = rules(&world(&[internal]));
    assert_eq!(chain(&inside, "postrouting").len(), 1);
    assert!(chain(&inside, "in-br-a").iter().all(|r| r.action == Action::Drop));
    let exits = inside.sets.iter().find(|set| set.name == "exits").unwrap();
    assert_eq!(exits.elements[0].value, Value::Verdict(Action::Drop));
    let open = NetworkRules { masquerade: false, ..network("br-a", "10.0.0.0/24") };
    assert_eq!(chain(&rules(&world(&[open])), "postrouting").len(), 1);
}

#[test]
fn modes_of_the_gateway() {
    let with = |mode, snat: Option<&str>| {
        let mut network = network("br-a", "10.0.0.0/24");
        network.sides[0].mode = mode;
        network.sides[0].snat = snat.map(|a| a.parse().unwrap());
        rules(&world(&[network]))
    };
    let nat = with(GatewayMode::Nat, Some("192.0.2.9"));
    let action = &chain(&nat, "postrouting")[1].action;
    assert_eq!(action, &Action::Snat("192.0.2.9".parse().unwrap()));
    assert_eq!(chain(&nat, "in-br-a").len(), 3);
    let routed = with(GatewayMode::Routed, None);
    assert_eq!(chain(&routed, "postrouting").len(), 1);
    assert_eq!(chain(&routed, "in-br-a").len(), 5);
    let unprotected = with(GatewayMode::NatUnprotected, None);
    assert_eq!(chain(&unprotected, "postrouting").len(), 2);
    assert_eq!(chain(&unprotected, "in-br-a").len(), 4);
}

fn published(address: &str, port: u16, container: u16) -> PublishedPort {
    let address = address.parse().unwrap();
    PublishedPort { protocol: Protocol::Tcp, container, address, port }
}

fn seen(ports: &[PublishedPort], six: Option<&str>) -> Vec<String> {
    let of = |address: &IpAddr| match address {
        IpAddr::V4(_) => Some("10.0.0.2".parse().unwrap()),
        IpAddr::V6(_) => six.map(|a| a.parse().unwrap()),
    };
    let all = forwards(ports, of, |_| false);
    let world = World { forwards: all.clone(), ..world(&[network("br-a", "10.0.0.0/24")]) };
    // Everything that comes out can be said to the kernel.
    let _rules = rules(&world);
    all.iter().flat_map(Forward::elements).map(|(set, _)| set.to_owned()).collect()
}

#[test]
fn a_run_of_ports_is_one_element() {
    let run: Vec<_> = (20000..30000).map(|n| published("0.0.0.0", n, n)).collect();
    assert_eq!(seen(&run, None), ["runs4"]);
    let both: Vec<_> =
        (80..90).flat_map(|n| [published("0.0.0.0", n, n), published("::", n, n)]).collect();
    assert_eq!(seen(&both, None), ["runs4", "relayed"]);
    assert_eq!(seen(&both, Some("fd00::2")), ["runs4", "runs6", "relayed"]);
    // Numbers that change, holes, and certain addresses.
    let shifted: Vec<_> = (80..83).map(|n| published("0.0.0.0", n, n + 1)).collect();
    assert_eq!(seen(&shifted, None), ["any4", "any4", "any4"]);
    let hole = [published("127.0.0.1", 1, 1), published("127.0.0.1", 3, 3)];
    assert_eq!(seen(&hole, None), ["at4", "at4"]);
    assert_eq!(seen(&[published("::1", 80, 80)], Some("fd00::2")), ["relayed"]);
    assert_eq!(seen(&[published("fd01::9", 80, 81)], Some("fd00::2")), ["at6"]);
    assert_eq!(seen(&[published("0.0.0.0", u16::MAX, u16::MAX)], None), ["any4"]);
    assert!(seen(&[], None).is_empty());
}

#[test]
fn routed_ports_are_open_ones_of_the_container() {
    let ports: Vec<_> = (80..82).map(|n| published("0.0.0.0", 0, n)).collect();
    let all = forwards(&ports, |_| Some("10.0.0.2".parse().unwrap()), |_| true);
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].ports, (80, 81));
    assert_eq!(all[0].elements()[0].0, "open4");
}

#[test]
fn it_can_be_explained() {
    let of = |_: &IpAddr| Some("10.0.0.2".parse().unwrap());
    let ports = [published("0.0.0.0", 8080, 80), published("127.0.0.1", 99, 99)];
    let apart = NetworkRules { icc: false, internal: true, ..network("br-b", "10.1.0.0/24") };
    let world = World {
        forwards: forwards(&ports, of, |_| false),
        ..world(&[network("br-a", "10.0.0.0/24"), apart])
    };
    let told = |question| {
        let all = world.explain(&question).into_iter();
        all.map(|e| format!("{} {} {}: {}", e.from, e.allowed, e.rule, e.text)).collect::<Vec<_>>()
    };
    let leads = "table inet gantry, chain ports, map any4: tcp port 8080 on every IPv4 address of the host leads to \
                 10.0.0.2:80";
    let internal = "table inet gantry, chain prerouting, set internal: not from internal networks (br-b): they have no way \
                    out, also not by way of the host's ports";
    assert_eq!(
        told(Question::Port(Protocol::Tcp, 8080)),
        [
            format!("the host true {leads}"),
            format!("other hosts true {leads}"),
            format!("other containers true {leads}"),
            format!("other containers false {internal}"),
        ]
    );
    let own = told(Question::Port(Protocol::Tcp, 99));
    assert!(own[0].starts_with("the host true table inet gantry, chain ports, map at4"), "{own:?}");
    assert!(own[1].starts_with("other hosts false table inet gantry, chain prerouting"), "{own:?}");
    assert_eq!(own.len(), 3);
    assert!(told(Question::Port(Protocol::Udp, 8080)).is_empty());
    let decisions = |address: &str| {
        let all = world.explain(&Question::Address(address.parse().unwrap()));
        all.iter().map(|e| (e.from.to_string(), e.allowed)).collect::<Vec<_>>()
    };
    let all = |neighbours: bool| {
        [
            ("the host".to_owned(), true),
            ("containers of its network".to_owned(), neighbours),
            ("other hosts".to_owned(), false),
            ("other containers".to_owned(), false),
        ]
    };
    assert_eq!(decisions("10.0.0.2"), all(true));
    assert_eq!(decisions("10.1.0.2"), all(false));
    assert!(decisions("192.0.2.1").is_empty());
}

#[test]
fn a_family_that_is_to_be_left_alone_passes_every_chain_at_once() {
    let world = World { silent: vec![Family::V6], ..world(&[network("br-a", "10.0.0.0/24")]) };
    let all = desired(&world);
    nft::encode(&all).unwrap();
    for chain in all[0].chains.iter().filter(|chain| chain.base.is_some()) {
        assert_eq!(chain.rules[0], Rule::new([Match::Ipv6], Action::Accept), "{}", chain.name);
    }
    let types = all[1].sets.iter().find(|set| set.name == "types").unwrap();
    assert_eq!(types.elements.len(), 2, "IPv4 and ARP");
    assert!(desired(&World { silent: vec![Family::V4, Family::V6], ..world }).is_empty());
}

#[test]
fn where_the_hosts_rules_are_asked_only_what_they_let_in_is_translated() {
    let of = |address: &IpAddr| {
        Some(if address.is_ipv4() { "10.0.0.2" } else { "fd00::2" }.parse().unwrap())
    };
    let ports = [
        published("0.0.0.0", 8080, 80),
        published("127.0.0.1", 99, 99),
        published("192.0.2.1", 9000, 80),
        published("::", 8080, 80),
    ];
    let to = ["192.0.0.11", "fe80::2"].map(|a| a.parse().unwrap());
    let world = World {
        forwards: forwards(&ports, of, |_| false),
        door: Some(Door { link: 7, to, enters: "gantry-in".into() }),
        ..world(&[network("br-a", "10.0.0.0/24")])
    };
    let all = desired(&world);
    nft::encode(&all).unwrap();
    let before: Vec<_> = chain(&all[0], "prerouting").iter().map(|rule| &rule.matches).collect();
    assert_eq!(before[3][0], Match::known([Load::In], "exits"));
    assert_eq!(before[4][0], Match::In("gantry-in".into()));
    // Those on loopback are nobody else's to ask for.
    let asked = |table: &Ruleset| {
        let set = table.sets.iter().find(|set| set.name == ASKED).unwrap();
        set.elements.iter().map(|element| element.key[2].clone()).collect::<Vec<_>>()
    };
    assert_eq!(all[2].family, nft::Family::Ip);
    assert_eq!(asked(&all[2]), [Field::Ports(8080, 8080), Field::Ports(9000, 9000)]);
    assert_eq!(asked(&all[3]), [Field::Ports(8080, 8080)]);
    assert_eq!(chain(&all[2], "again")[0].action, Action::Copy { to: to[0], link: 7 });
    let told = world.explain(&network::Question::Port(Protocol::Tcp, 8080));
    let elsewhere: Vec<_> =
        told.iter().filter(|e| e.from == network::Sender::Elsewhere).map(|e| &*e.text).collect();
    assert!(elsewhere[0].ends_with("as far as the host's own input rules let it in"), "{told:?}");
}

#[test]
fn marks_and_direct_routes_open_what_is_not_internal() {
    let open = World {
        accept_mark: Some(Mark { value: 1, mask: 3 }),
        direct_routing: true,
        ..world(&[network("br-a", "10.0.0.0/24")])
    };
    let asks = |world: &World, question: &Match| {
        chain(&rules(world), "in-br-a").iter().any(|rule| rule.matches.contains(question))
    };
    let (mark, published) = (Match::Mark { value: 1, mask: 3 }, elements::is_open(false));
    assert!(asks(&open, &mark) && asks(&open, &published));
    let mut inside = open;
    inside.networks[0].internal = true;
    assert!(!asks(&inside, &mark) && !asks(&inside, &published));
}
