//! Who reaches a published port or a container, where a container may go, and which rule says so.

use crate::Engine;
use crate::networks::ports;
use container::Published;
use container::egress::EGRESS;
use network::{Explanation, Protocol, Question, Sender};
use std::collections::BTreeSet;
use std::net::IpAddr;
use stdx::Result;
use store::records::network::PortRecord;
use types::Egress;

/// A container may have thousands of rows of published ports: as many are told of it.
const MOST_PORTS: usize = 32;
/// It may have a thousand rules of where it may go: as many are told of it, and of its network.
const MOST_RULES: usize = 64;

/// One decision about what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// About what: `port 8080/tcp`, `172.17.0.2 on bridge`.
    pub about: String,
    /// About whose packets; `None`: everybody's.
    pub from: Option<Sender>,
    /// Whether they get there.
    pub allowed: bool,
    /// The rule that decides; empty: none of ours.
    pub rule: String,
    /// What it does and why, for a person.
    pub text: String,
}

impl Engine {
    /// Who reaches a port of the host: `8080`, `53/udp`; and where the container behind it may go.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no port.
    pub fn explain_port(&self, text: &str) -> Result<Vec<Explained>> {
        let (port, protocol) = ports::container_port(text)?;
        let mut all = Vec::new();
        self.explain(&format!("port {port}/{protocol}"), Question::Port(protocol, port), &mut all)?;
        if all.is_empty() {
            all.push(nobodys(port, protocol));
        }
        // Who is behind it answers whoever comes, and may be held to rules beside.
        let is_its = |row: &PortRecord| {
            row.protocol == protocol.to_string() && row.each().any(|(host, _)| host == port)
        };
        for now in self.inner.containers.all().iter().map(container::Container::now) {
            if now.endpoints.values().flat_map(|endpoint| &endpoint.ports).any(is_its) {
                self.explain_egress(&now, &mut all);
            }
        }
        Ok(all)
    }

    /// Where a container may go, and who reaches it: at its own addresses, and by its published ports.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn explain_container(&self, name: &str) -> Result<Vec<Explained>> {
        let now = self.inner.containers.find(name)?.now();
        if let Some(answer) = without_links(&now) {
            return Ok(vec![answer]);
        }
        let mut all = Vec::new();
        self.explain_egress(&now, &mut all);
        for (network, endpoint) in &now.endpoints {
            for (address, _) in endpoint.ipv4().into_iter().chain(endpoint.ipv6()) {
                let Ok(address) = address.parse::<IpAddr>() else { continue };
                let about = format!("{address} on {network}");
                let known = all.len();
                self.explain(&about, Question::Address(address), &mut all)?;
                if all.len() == known {
                    all.push(Explained {
                        about,
                        from: None,
                        allowed: true,
                        rule: String::new(),
                        text: "the network's driver makes no rules: whoever is on the same link reaches it"
                            .to_owned(),
                    });
                }
            }
        }
        let published = now.endpoints.values().flat_map(|endpoint| &endpoint.ports);
        let published: BTreeSet<(u16, u16, Protocol)> = published
            .filter_map(|row| Some((row.port, row.more, row.protocol.parse().ok()?)))
            .collect();
        for (port, more, protocol) in published.iter().take(MOST_PORTS) {
            let about = match more {
                0 => format!("port {port}/{protocol}"),
                more => format!("ports {port}-{}/{protocol}", port.saturating_add(*more)),
            };
            self.explain(&about, Question::Port(*protocol, *port), &mut all)?;
        }
        if let Some(rest) = published.len().checked_sub(MOST_PORTS).filter(|rest| *rest > 0) {
            all.push(Explained {
                about: format!("{rest} more rows of ports"),
                from: None,
                allowed: true,
                rule: String::new(),
                text: "are published in the same way: ask for one of them".to_owned(),
            });
        }
        Ok(all)
    }

    /// Where a container that is held to rules may go, a network after the other.
    fn explain_egress(&self, now: &Published, all: &mut Vec<Explained>) {
        let own = container::egress::of(&now.record.host);
        for (name, endpoint) in &now.endpoints {
            let Ok(network) = self.inner.networks.meant(name, &endpoint.network) else { continue };
            let whole = network.options.get(EGRESS).filter(|text| !text.is_empty());
            // As the driver reads it, which has refused what cannot be read.
            let whole = whole.map(|text| text.parse::<Egress>().unwrap_or_default());
            let driver = self.inner.networks.driver(&network.driver).ok();
            if let Some((table, _)) = driver.and_then(|driver| driver.egress()) {
                all.extend(ways_out(
                    &format!("egress of {} on {name}", now.record.name),
                    &table,
                    own.as_ref(),
                    whole.as_ref(),
                ));
            }
        }
    }

    fn explain(&self, about: &str, question: Question, all: &mut Vec<Explained>) -> Result<()> {
        let answers = self.inner.networks.explain(&question)?;
        all.extend(answers.into_iter().map(|answer| {
            let Explanation { from, allowed, rule, text } = answer;
            Explained { about: about.to_owned(), from: Some(from), allowed, rule, text }
        }));
        Ok(())
    }

    /// What stands in the way of networks and cannot be helped from here.
    pub fn network_warnings(&self) -> Vec<String> {
        self.inner.networks.warnings()
    }
}

/// What rules allow, each by itself, and that there is nothing else. Nothing where there are none.
fn ways_out(
    about: &str,
    table: &str,
    own: Option<&Egress>,
    network: Option<&Egress>,
) -> Vec<Explained> {
    let both = own.is_some() && network.is_some();
    let sides =
        [("container", "own", own, "network"), ("network", "network", network, "container")];
    let say = |allowed, what: String, text: String| Explained {
        about: about.to_owned(),
        from: Some(Sender::Itself),
        allowed,
        rule: format!("table bridge {table}, {what}"),
        text,
    };
    let mut all = Vec::new();
    for (whose, set, egress, other) in sides {
        let rules = egress.map(Egress::rules).unwrap_or_default();
        for rule in rules.iter().take(MOST_RULES) {
            let also = if both {
                format!(", as far as the {other}'s rules allow it too")
            } else {
                String::new()
            };
            let text = format!("may go to {rule} by the {whose}'s rules{also}");
            all.push(say(true, format!("sets {set}-*"), text));
        }
        if let Some(rest) = rules.len().checked_sub(MOST_RULES).filter(|rest| *rest > 0) {
            let text = format!("and {rest} more of the {whose}'s rules");
            all.push(say(true, format!("sets {set}-*"), text));
        }
    }
    let (whose, stays) = match (own.is_some(), network.is_some()) {
        (false, false) => return all,
        (true, false) => ("container's rules do", ""),
        (false, true) => ("network's rules do", ", but for what stays on the network"),
        (true, true) => ("container's and the network's rules both do", ""),
    };
    let text = format!(
        "everything else is denied: the {whose} not allow it{stays}; answers to whoever came are let through"
    );
    all.push(say(false, "chain denied".to_owned(), text));
    all
}

/// A container that no rule of ours is about.
fn without_links(now: &Published) -> Option<Explained> {
    let mode = now.record.host.network_mode.as_str();
    let text = if now.phase.live().is_none() {
        "it does not run: nobody reaches it".to_owned()
    } else if mode == "host" {
        "it has the host's network: it is reached as the host's own services are, past no rule of ours".to_owned()
    } else if let Some(peer) = container::join::of_container(mode) {
        format!("it has another container's network: ask for {}", peer.get(..12).unwrap_or(peer))
    } else if now.endpoints.is_empty() {
        "it is on no network: nobody reaches it".to_owned()
    } else {
        return None;
    };
    let allowed = mode == "host" && now.phase.live().is_some();
    let about = format!("container {}", now.record.name);
    Some(Explained { about, from: None, allowed, rule: String::new(), text })
}

fn nobodys(port: u16, protocol: Protocol) -> Explained {
    Explained {
        about: format!("port {port}/{protocol}"),
        from: None,
        allowed: false,
        rule: String::new(),
        text: "no container has published it: packets to it go to the host's own services, past no rule of ours"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_nobodys_is_the_hosts() {
        let answer = nobodys(80, Protocol::Tcp);
        assert_eq!((answer.about.as_str(), answer.allowed), ("port 80/tcp", false));
    }
    #[test]
    fn ways_out_are_told_by_whose_rules_they_are_and_all_else_is_denied() {
        let own: Egress = "allow:example.org:443,10.0.0.0/8".parse().unwrap();
        let network: Egress = "allow:*:53/udp".parse().unwrap();
        let told = |own: Option<&Egress>, network: Option<&Egress>| {
            let all = ways_out("egress on net", "t_egress", own, network).into_iter();
            all.map(|row| format!("{} {} {}", row.allowed, row.rule, row.text)).collect::<Vec<_>>()
        };
        assert!(told(None, None).is_empty());
        let rest = "everything else is denied: the";
        let answers = "answers to whoever came are let through";
        let table = "table bridge t_egress,";
        assert_eq!(
            told(Some(&own), None),
            [
                format!(
                    "true {table} sets own-* may go to example.org:443/tcp by the container's rules"
                ),
                format!("true {table} sets own-* may go to 10.0.0.0/8 by the container's rules"),
                format!(
                    "false {table} chain denied {rest} container's rules do not allow it; {answers}"
                ),
            ]
        );
        let nothing = Egress::default();
        assert_eq!(
            told(Some(&nothing), None),
            [format!(
                "false {table} chain denied {rest} container's rules do not allow it; {answers}"
            )]
        );
        let both = told(Some(&own), Some(&network));
        assert_eq!(both.len(), 4);
        assert!(
            both[0].ends_with("rules, as far as the network's rules allow it too"),
            "{}",
            both[0]
        );
        assert!(both[2].contains("may go to *:53/udp by the network's rules"), "{}", both[2]);
        assert!(
            both[3].contains("the container's and the network's rules both do not"),
            "{}",
            both[3]
        );
        let stays = told(None, Some(&nothing)).pop().unwrap();
        assert!(stays.contains("but for what stays on the network"), "{stays}");
    }
}
