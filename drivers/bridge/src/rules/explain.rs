//! Which rule decides about a port or an address. Pure: from the rules as they shall be.

use super::{Forward, NetworkRules, Side, Target, World, entrance};
use crate::options::GatewayMode;
use network::Sender::{Container, Elsewhere, Host, Neighbour};
use network::{Explanation, Family, Protocol, Question, Sender};
use std::net::IpAddr;

impl World {
    /// What decides; nothing about what is not ours.
    pub fn explain(&self, question: &Question) -> Vec<Explanation> {
        match question {
            Question::Port(protocol, port) => self.explain_port(*protocol, *port),
            Question::Address(address) => self.explain_address(*address),
        }
    }

    fn explain_port(&self, protocol: Protocol, port: u16) -> Vec<Explanation> {
        let is_its = |forward: &&Forward| {
            forward.protocol == protocol && (forward.ports.0..=forward.ports.1).contains(&port)
        };
        let forwards = self.forwards.iter().filter(is_its);
        forwards.flat_map(|forward| self.explain_forward(forward, port)).collect()
    }

    /// What decides about one published port.
    fn explain_forward(&self, forward: &Forward, port: u16) -> Vec<Explanation> {
        let sets: Vec<_> = forward.elements().into_iter().map(|(set, _)| set).collect();
        let maps = sets.join(" and ");
        let protocol = forward.protocol;
        let on = match forward.address {
            any if any.is_unspecified() => format!("every {} address of the host", family(any)),
            address => address.to_string(),
        };
        let (rule, text, served) = match forward.target {
            Target::Open(to) => return self.explain_open(to, protocol, port),
            Target::Container(to, first) => {
                let inner = first + (port - forward.ports.0);
                let to = std::net::SocketAddr::new(to, inner);
                let text = format!("{protocol} port {port} on {on} leads to {to}");
                (self.rule("ports", &format!("map {maps}")), text, true)
            }
            Target::Relay => {
                let rule = self.rule("ports", &format!("set {maps}"));
                let whom = if self.relay.is_some() { "gantry-netd" } else { "nobody" };
                let text = format!("{protocol} port {port} on {on} is passed on by {whom}");
                (rule, text, self.relay.is_some())
            }
        };
        let explain = |from, allowed, rule: &str, text: String| Explanation {
            from,
            allowed,
            rule: rule.to_owned(),
            text,
        };
        let mut all = vec![explain(Host, served, &rule, text.clone())];
        if forward.address.is_loopback() {
            let strange = self.rule("prerouting", "loopback addresses come from loopback only");
            let text =
                format!("{protocol} port {port} is published on {on}, which is the host's alone");
            all.push(explain(Elsewhere, false, &strange, text.clone()));
            all.push(explain(Container, false, &strange, text));
            return all;
        }
        if self.door.is_some() {
            let family = if forward.address.is_ipv4() { "ip" } else { "ip6" };
            let rule = format!("table {family} {}, chain input, set {}", self.table, super::ASKED);
            let text = format!("{text}, as far as the host's own input rules let it in");
            all.push(explain(Elsewhere, served, &rule, text));
        } else {
            all.push(explain(Elsewhere, served, &rule, text.clone()));
        }
        all.push(explain(Container, served, &rule, text));
        let internal: Vec<&str> =
            self.networks.iter().filter(|n| n.internal).map(|n| n.bridge.as_str()).collect();
        if !internal.is_empty() {
            let text = format!(
                "not from internal networks ({}): they have no way out, also not by way of the host's ports",
                internal.join(", ")
            );
            all.push(explain(Container, false, &self.rule("prerouting", "set internal"), text));
        }
        all
    }

    /// A published port of a network that is routed: it is the container's own.
    fn explain_open(&self, to: IpAddr, protocol: Protocol, port: u16) -> Vec<Explanation> {
        let Some((network, _)) = self.network_of(to) else { return Vec::new() };
        let set = if to.is_ipv6() { "open6" } else { "open4" };
        let rule = self.rule(&entrance(network), &format!("set {set}"));
        let text = format!(
            "{protocol} port {port} of {to} itself is open to whoever has a route to it: the network is routed, or \
             direct routing is allowed"
        );
        let explain =
            |from| Explanation { from, allowed: true, rule: rule.clone(), text: text.clone() };
        vec![explain(Elsewhere), explain(Container)]
    }

    /// What decides about packets to a container's own address.
    fn explain_address(&self, address: IpAddr) -> Vec<Explanation> {
        let Some((network, side)) = self.network_of(address) else { return Vec::new() };
        let explain = |from: Sender, allowed: bool, what: &str, text: &str| Explanation {
            from,
            allowed,
            rule: self.rule(&entrance(network), what),
            text: text.to_owned(),
        };
        let host = Explanation {
            from: Host,
            allowed: true,
            rule: format!("address {} of {}", side.gateway, network.bridge),
            text: "the host is on the network itself: no rule of ours keeps it from its containers"
                .to_owned(),
        };
        let neighbour = if network.icc {
            explain(
                Neighbour,
                true,
                "accept from the same bridge",
                "containers of one network talk to each other",
            )
        } else {
            let text = "the network keeps its containers from each other (icc is off)";
            explain(Neighbour, false, "drop from the same bridge", text)
        };
        let mut all = vec![host, neighbour];
        if network.internal {
            let text = "the network is internal: nothing comes in and nothing goes out";
            all.extend([Elsewhere, Container].map(|from| explain(from, false, "drop", text)));
            return all;
        }
        let family = family(address);
        match side.mode {
            GatewayMode::Nat | GatewayMode::Isolated => {
                let text = "a container's own address is not reached from outside of its network: publish a port, or make \
                            the network routed or nat-unprotected";
                all.extend([Elsewhere, Container].map(|from| explain(from, false, "drop", text)));
            }
            GatewayMode::NatUnprotected => {
                let text = format!("its {family} addresses are unprotected: every port is open");
                all.push(explain(Elsewhere, true, "accept to the subnet", &text));
                let text = "networks of ours stay apart";
                all.push(explain(Container, false, "drop", text));
            }
            GatewayMode::Routed => {
                let set = if address.is_ipv6() { "set open6" } else { "set open4" };
                let text = format!(
                    "its {family} addresses are routed: published ports are open, and it answers pings"
                );
                all.extend([Elsewhere, Container].map(|from| explain(from, true, set, &text)));
            }
        }
        for link in &network.trusted {
            let text =
                format!("link {link} is trusted: whoever comes through it reaches everything");
            all.push(explain(Elsewhere, true, &format!("accept from {link}"), &text));
        }
        all
    }

    fn network_of(&self, address: IpAddr) -> Option<(&NetworkRules, &Side)> {
        self.networks.iter().find_map(|network| {
            let side = network.sides.iter().find(|side| side.subnet.contains(&address))?;
            Some((network, side))
        })
    }

    fn rule(&self, chain: &str, what: &str) -> String {
        format!("table inet {}, chain {chain}, {what}", self.table)
    }
}

fn family(address: IpAddr) -> Family {
    if address.is_ipv6() { Family::V6 } else { Family::V4 }
}
