//! The firewall table of all networks, as a value. Pure.
//!
//! ```text
//!   forward      out through a bridge of ours ──goto──▶ in-<bridge>: answers, published ports, neighbours; else drop
//!                in through a bridge of ours  ──accept
//!                anything else                ──on (or dropped, when only we made this host forward at all)
//!   postrouting  from a subnet of ours, out through another link ──masquerade
//! ```
//!
//! Nobody outside reaches a container's own address, also not by a route to the host (moby 28 drops such packets too);
//! only answers and what was published come in. Between two bridges nothing passes.

use ipnet::IpNet;
use network::Family;
use nft::{Action, Base, Chain, ChainKind, Hook, Match, Policy, Rule, Ruleset, State};

/// What the firewall must know about a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRules {
    /// Its bridge.
    pub bridge: String,
    /// Its subnets.
    pub subnets: Vec<IpNet>,
    /// Containers on it may talk to each other. It matters here only where br_netfilter sends bridged packets through
    /// this table; without it, ports are isolated from each other in the bridge.
    pub icc: bool,
    /// What leaves gets the host's address.
    pub masquerade: bool,
    /// Nothing leaves, nothing enters.
    pub internal: bool,
}

/// The whole table. Packets of the families in `guard` that have nothing to do with our networks are not forwarded:
/// the host did not forward them before we needed it to, and is not to become a router by the way.
pub fn desired(table: &str, networks: &[NetworkRules], guard: &[Family]) -> Ruleset {
    let mut forward: Vec<Rule> = Vec::new();
    for network in networks {
        let bridge = || network.bridge.clone();
        forward.push(Rule::new([Match::Out(bridge())], Action::Goto(entrance(network))));
        // Reached only by what goes out through a link that is no bridge of ours.
    }
    for network in networks {
        let action = if network.internal { Action::Drop } else { Action::Accept };
        forward.push(Rule::new([Match::In(network.bridge.clone())], action));
    }
    for family in guard {
        let question = match family {
            Family::V4 => Match::Ipv4,
            Family::V6 => Match::Ipv6,
        };
        let rule = Rule::new([question], Action::Drop);
        forward.push(rule.comment("this host did not forward before there were containers"));
    }
    let postrouting = networks
        .iter()
        .filter(|network| network.masquerade && !network.internal)
        .flat_map(|network| network.subnets.iter().map(|subnet| (*subnet, &network.bridge)))
        .map(|(subnet, bridge)| {
            let matches = [Match::Source(subnet), Match::NotOut(bridge.clone())];
            Rule::new(matches, Action::Masquerade)
        })
        .collect();
    let mut chains = vec![
        base("forward", ChainKind::Filter, Hook::Forward, 0, forward),
        base("postrouting", ChainKind::Nat, Hook::Postrouting, 100, postrouting),
    ];
    chains.extend(networks.iter().map(|network| Chain {
        name: entrance(network),
        base: None,
        rules: enter(network),
    }));
    Ruleset { name: table.to_owned(), chains }
}

/// What may come to the containers of a network.
fn enter(network: &NetworkRules) -> Vec<Rule> {
    let neighbours = if network.icc { Action::Accept } else { Action::Drop };
    let neighbours = Rule::new([Match::In(network.bridge.clone())], neighbours);
    let answers = Rule::new([Match::State(State::ESTABLISHED.or(State::RELATED))], Action::Accept);
    let published = Rule::new([Match::DestinationTranslated], Action::Accept);
    let rest = Rule::new([], Action::Drop);
    if network.internal {
        vec![neighbours, rest]
    } else {
        vec![answers, neighbours, published, rest]
    }
}

fn entrance(network: &NetworkRules) -> String {
    format!("in-{}", network.bridge)
}

fn base(name: &str, kind: ChainKind, hook: Hook, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain {
        name: name.to_owned(),
        base: Some(Base { kind, hook, priority, policy: Policy::Accept }),
        rules,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(bridge: &str, subnet: &str) -> NetworkRules {
        let subnets = vec![subnet.parse().unwrap()];
        NetworkRules {
            bridge: bridge.into(),
            subnets,
            icc: true,
            masquerade: true,
            internal: false,
        }
    }

    fn chain<'a>(rules: &'a Ruleset, name: &str) -> &'a [Rule] {
        &rules.chains.iter().find(|c| c.name == name).unwrap().rules
    }

    #[test]
    fn what_goes_to_a_bridge_is_decided_before_what_comes_from_one() {
        let rules = desired(
            "gantry",
            &[network("gantry0", "172.17.0.0/16"), network("br-a", "172.18.0.0/16")],
            &[],
        );
        // From br-a to gantry0 the first rule wins: between bridges nothing passes.
        let forward = chain(&rules, "forward");
        assert_eq!(
            forward[0],
            Rule::new([Match::Out("gantry0".into())], Action::Goto("in-gantry0".into()))
        );
        assert_eq!(forward[3], Rule::new([Match::In("br-a".into())], Action::Accept));
        assert_eq!(forward.len(), 4);
        assert_eq!(chain(&rules, "in-gantry0").last().unwrap(), &Rule::new([], Action::Drop));
        assert_eq!(chain(&rules, "postrouting").len(), 2);
    }

    #[test]
    fn a_host_that_did_not_forward_is_guarded() {
        let rules = desired("gantry", &[network("gantry0", "172.17.0.0/16")], &[Family::V4]);
        let last = chain(&rules, "forward").last().unwrap();
        assert_eq!((last.matches.as_slice(), &last.action), (&[Match::Ipv4][..], &Action::Drop));
    }

    #[test]
    fn internal_networks_and_quiet_neighbours() {
        let internal =
            NetworkRules { internal: true, icc: false, ..network("br-a", "10.0.0.0/24") };
        let rules = desired("gantry", &[internal], &[]);
        assert!(chain(&rules, "postrouting").is_empty());
        assert_eq!(chain(&rules, "forward")[1].action, Action::Drop);
        assert!(chain(&rules, "in-br-a").iter().all(|r| r.action == Action::Drop));
        let open = NetworkRules { masquerade: false, ..network("br-a", "10.0.0.0/24") };
        assert!(chain(&desired("gantry", &[open], &[]), "postrouting").is_empty());
    }
}
