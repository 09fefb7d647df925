//! Who reaches a published port or a container, and which rule says so.

use crate::Engine;
use crate::networks::ports;
use container::Published;
use network::{Explanation, Protocol, Question, Sender};
use std::collections::BTreeSet;
use std::net::IpAddr;
use stdx::Result;

/// A container may have thousands of rows of published ports: as many are told of it.
const MOST_PORTS: usize = 32;

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
    /// Who reaches a port of the host: `8080`, `53/udp`.
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
        Ok(all)
    }

    /// Who reaches a container: at its own addresses, and by its published ports.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn explain_container(&self, name: &str) -> Result<Vec<Explained>> {
        let now = self.inner.containers.find(name)?.now();
        if let Some(answer) = without_links(&now) {
            return Ok(vec![answer]);
        }
        let mut all = Vec::new();
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
}
