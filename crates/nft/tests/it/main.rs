//! Rulesets in a real kernel, read back with `nft`.

#![expect(
    clippy::disallowed_methods,
    reason = "nft is the oracle; it inherits the test thread's network namespace"
)]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use nft::{
    Action, Base, Chain, ChainKind, Change, Data, Element, Family, Field, Firewall, Hook, Kind,
    Load, Match, Policy, Rule, Ruleset, Set, State, Value,
};
use std::os::fd::AsFd as _;
use std::process::Command;

/// Runs `test` on a thread of its own in a network namespace of its own.
fn in_private_namespace(test: fn()) {
    std::thread::spawn(move || {
        let (netns, ()) = sys::netns::create(|| ()).unwrap();
        sys::netns::enter(netns.as_fd()).unwrap();
        test();
    })
    .join()
    .unwrap();
}

fn nft(arguments: &[&str]) -> String {
    let output = Command::new("nft")
        .args(arguments)
        .output()
        .expect("nft is installed (apt-get install nftables)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn sample() -> Ruleset {
    let base = |kind, hook, priority, policy| Some(Base { kind, hook, priority, policy });
    let chain = |name: &str, base, rules| Chain { name: name.into(), base, rules };
    Ruleset {
        name: "gantry_0a1b2c".into(),
        family: Family::Inet,
        sets: Vec::new(),
        chains: vec![
            chain(
                "forward",
                base(ChainKind::Filter, Hook::Forward, 0, Policy::Drop),
                vec![
                    Rule::new([Match::Out("gantry0".into())], Action::Goto("in-gantry0".into())),
                    Rule::new([Match::In("gantry0".into())], Action::Accept)
                        .comment("out of \"bridge\""),
                    Rule::new([Match::Ipv4], Action::Drop),
                ],
            ),
            chain(
                "in-gantry0",
                None,
                vec![
                    Rule::new(
                        [Match::State(State::ESTABLISHED.or(State::RELATED))],
                        Action::Accept,
                    ),
                    Rule::new([Match::DestinationTranslated], Action::Accept),
                    Rule::new([Match::Destination("fd00:1::/64".parse().unwrap())], Action::Return),
                    Rule::new(
                        [Match::Destination("10.1.2.3/32".parse().unwrap())],
                        Action::Jump("leaf".into()),
                    ),
                    Rule::new([], Action::Drop),
                ],
            ),
            chain("leaf", None, vec![Rule::new([Match::NotIn("a".into())], Action::Return)]),
            chain(
                "postrouting",
                base(ChainKind::Nat, Hook::Postrouting, 100, Policy::Accept),
                vec![Rule::new(
                    [
                        Match::Source("172.17.0.0/16".parse().unwrap()),
                        Match::NotOut("gantry0".into()),
                    ],
                    Action::Masquerade,
                )],
            ),
        ],
    }
}

const SAMPLE: &str = r#"table inet gantry_0a1b2c {
	chain forward {
		type filter hook forward priority filter; policy drop;
		oifname "gantry0" goto in-gantry0
		iifname "gantry0" accept comment "out of "bridge""
		meta nfproto ipv4 drop
	}

	chain in-gantry0 {
		ct state established,related accept
		ct status dnat accept
		ip6 daddr fd00:1::/64 return
		ip daddr 10.1.2.3 jump leaf
		drop
	}

	chain leaf {
		iifname != "a" return
	}

	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 172.17.0.0/16 oifname != "gantry0" masquerade
	}
}
"#;

#[test]
fn nft_reads_what_was_meant_and_other_tables_stay() {
    in_private_namespace(|| {
        nft(&["add table inet foreign; add chain inet foreign c"]);
        let foreign = nft(&["list", "table", "inet", "foreign"]);
        let mut firewall = Firewall::open().unwrap();
        // Twice: the second replaces and must not append.
        for _ in 0..2 {
            firewall.replace(&[sample()]).unwrap();
            assert_eq!(nft(&["list", "table", "inet", "gantry_0a1b2c"]), SAMPLE);
        }
        let json: serde_json::Value =
            serde_json::from_str(&nft(&["-j", "list", "table", "inet", "gantry_0a1b2c"])).unwrap();
        let rules =
            json["nftables"].as_array().unwrap().iter().filter(|o| !o["rule"].is_null()).count();
        assert_eq!(rules, 10);
        assert_eq!(firewall.tables().unwrap(), ["foreign", "gantry_0a1b2c"]);
        firewall.delete(Family::Inet, "gantry_0a1b2c").unwrap();
        firewall.delete(Family::Inet, "gantry_0a1b2c").unwrap();
        assert_eq!(nft(&["list", "ruleset"]), foreign);
    });
}

#[test]
fn a_refused_table_leaves_the_old_one() {
    in_private_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        firewall.replace(&[sample()]).unwrap();
        let mut looped = sample();
        // A loop of chains is only seen by the kernel, when it validates the transaction.
        looped.chains[2].rules = vec![Rule::new([], Action::Jump("in-gantry0".into()))];
        let error = firewall.replace(&[looped]).unwrap_err();
        assert!(error.to_string().starts_with("write firewall tables: "), "{error}");
        assert_eq!(nft(&["list", "ruleset"]), SAMPLE);
        // The conversation is in step again.
        firewall.replace(&[sample()]).unwrap();
        assert_eq!(nft(&["list", "ruleset"]), SAMPLE);
    });
}

#[test]
fn a_thousand_rules_fit_one_transaction() {
    in_private_namespace(|| {
        let mut many = sample();
        for n in 0..1000 {
            many.chains[2].rules.push(
                Rule::new([Match::In(format!("veth{n}"))], Action::Drop).comment("x".repeat(100)),
            );
        }
        let mut firewall = Firewall::open().unwrap();
        firewall.replace(&[many]).unwrap();
        assert_eq!(nft(&["list", "ruleset"]).lines().filter(|l| l.contains("veth")).count(), 1000);
    });
}

fn port(number: u16, to: &str, inner: u16) -> Element {
    Element {
        key: vec![Field::Protocol(6), Field::Port(number)],
        value: Value::Fields(vec![Field::Address(to.parse().unwrap()), Field::Port(inner)]),
    }
}

fn run(low: u16, high: u16, to: &str) -> Element {
    Element {
        key: vec![Field::Any4, Field::Protocol(17), Field::Ports(low, high)],
        value: Value::Fields(vec![Field::Address(to.parse().unwrap())]),
    }
}

fn maps() -> [Ruleset; 2] {
    let set = |name: &str, key: &[Kind], data, ranges, elements| Set {
        name: name.into(),
        key: key.to_vec(),
        data,
        ranges,
        elements,
    };
    let any = vec![Load::Protocol, Load::DestinationPort];
    let at = vec![Load::Destination4, Load::Protocol, Load::DestinationPort];
    let inet = Ruleset {
        name: "t".into(),
        family: Family::Inet,
        sets: vec![
            set(
                "any",
                &[Kind::Protocol, Kind::Port],
                Data::Fields(vec![Kind::V4, Kind::Port]),
                false,
                vec![port(80, "10.0.0.2", 8080)],
            ),
            set(
                "runs",
                &[Kind::V4, Kind::Protocol, Kind::Port],
                Data::Fields(vec![Kind::V4]),
                true,
                vec![run(1000, 2000, "10.0.0.3")],
            ),
            set(
                "ways",
                &[Kind::Link],
                Data::Verdict,
                false,
                vec![Element {
                    key: vec![Field::Link("br0".into())],
                    value: Value::Verdict(Action::Goto("leaf".into())),
                }],
            ),
        ],
        chains: vec![
            Chain {
                name: "prerouting".into(),
                base: Some(Base {
                    kind: ChainKind::Nat,
                    hook: Hook::Prerouting,
                    priority: -100,
                    policy: Policy::Accept,
                }),
                rules: vec![
                    Rule::new(
                        [Match::Local],
                        Action::Map { of: vec![Load::In], map: "ways".into() },
                    ),
                    Rule::new(
                        [Match::Ipv4],
                        Action::Dnat { of: any, map: "any".into(), ipv6: false, port: true },
                    ),
                    Rule::new(
                        [],
                        Action::Dnat { of: at, map: "runs".into(), ipv6: false, port: false },
                    ),
                ],
            },
            Chain {
                name: "leaf".into(),
                base: None,
                rules: vec![Rule::new([], Action::Redirect(99))],
            },
        ],
    };
    let own = Match::known([Load::In, Load::SourceMac], "own");
    let bridge = Ruleset {
        name: "t".into(),
        family: Family::Bridge,
        sets: vec![set("own", &[Kind::Link, Kind::Mac], Data::None, false, Vec::new())],
        chains: vec![Chain {
            name: "c".into(),
            base: None,
            rules: vec![Rule::new([own], Action::Accept)],
        }],
    };
    [inet, bridge]
}

#[test]
fn maps_are_read_as_they_were_meant_and_their_elements_come_and_go() {
    in_private_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        firewall.replace(&maps()).unwrap();
        let listed = nft(&["list", "ruleset"]);
        for line in [
            "type inet_proto . inet_service : ipv4_addr . inet_service",
            "tcp . 80 : 10.0.0.2 . 8080",
            "type ipv4_addr . inet_proto . inet_service : ipv4_addr",
            "\"br0\" : goto leaf",
            "fib daddr type local iifname vmap @ways",
            "dnat ip to meta l4proto . th dport map @any",
            "dnat ip to ip daddr . meta l4proto . th dport map @runs",
            "redirect to :99",
            "type ifname . ether_addr",
            "iifname . ether saddr @own accept",
        ] {
            assert!(listed.contains(line), "{line}\n{listed}");
        }
        assert!(listed.contains("udp . 1000-2000 : 10.0.0.3"), "{listed}");

        let change = |add, remove| Change {
            family: Family::Inet,
            table: "t".into(),
            set: "any".into(),
            add,
            remove,
        };
        let second = port(81, "10.0.0.4", 81);
        assert!(firewall.change(&[change(vec![second.clone()], Vec::new())]).unwrap());
        assert!(nft(&["list", "ruleset"]).contains("tcp . 81 : 10.0.0.4 . 81"));
        assert!(firewall.change(&[change(Vec::new(), vec![second.clone()])]).unwrap());
        assert!(!nft(&["list", "ruleset"]).contains("10.0.0.4"));
        // What is not there cannot go: the whole is to be written, and nothing has happened.
        let both = change(vec![port(82, "10.0.0.4", 82)], vec![second]);
        assert!(!firewall.change(&[both]).unwrap());
        assert!(!nft(&["list", "ruleset"]).contains("10.0.0.4"));
        // Elements that do not fit are not sent.
        let mut wrong = maps();
        wrong[0].sets[0].elements = vec![run(1, 2, "10.0.0.1")];
        assert!(firewall.replace(&wrong).is_err());
        let many: Vec<_> = (1..=10_000).map(|n| port(n, "10.0.0.9", n)).collect();
        let first = many[79].clone();
        assert!(firewall.change(&[change(many, vec![port(80, "10.0.0.2", 8080)])]).unwrap());
        assert!(firewall.change(&[change(Vec::new(), vec![first])]).unwrap());
    });
}
