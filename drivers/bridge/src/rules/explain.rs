//! Which rule decides about a port or an address. Pure: from the rules as they shall be.

use super::{NetworkRules, Target, World};
use crate::options::GatewayMode;
use network::{Family, Protocol};
use std::net::IpAddr;

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Whether the packet gets on.
    pub allowed: bool,
    /// The rule: `table gantry, chain ports, map any4`.
    pub rule: String,
    /// What it does and why, for a person.
    pub text: String,
}

impl World {
    /// What decides about a port of the host, for clients elsewhere.
    pub fn explain_port(&self, protocol: Protocol, port: u16) -> Vec<Explanation> {
        let mut all = Vec::new();
        for forward in &self.forwards {
            if forward.protocol != protocol || !(forward.ports.0..=forward.ports.1).contains(&port)
            {
                continue;
            }
            let from = if forward.address.is_loopback() {
                "only the host itself reaches it".to_owned()
            } else if forward.address.is_unspecified() {
                "it is published on all addresses of the family".to_owned()
            } else {
                format!("it is published on {}", forward.address)
            };
            let sets: Vec<_> = forward.elements().into_iter().map(|(set, _)| set).collect();
            let rule =
                format!("table inet {}, chain ports, map {}", self.table, sets.join(" and "));
            let text = match forward.target {
                Target::Container(to, first) => {
                    let inner = first + (port - forward.ports.0);
                    format!("{protocol} port {port} leads to port {inner} of {to}: {from}")
                }
                Target::Relay => {
                    let whom = if self.relay.is_some() { "gantry-netd" } else { "nobody" };
                    format!("{protocol} port {port} is passed on by {whom}: {from}")
                }
                Target::Open(to) => format!(
                    "port {port} of {to} itself is open to whoever has a route to it: the network is routed"
                ),
            };
            let allowed = forward.target != Target::Relay || self.relay.is_some();
            all.push(Explanation { allowed, rule, text });
        }
        if all.is_empty() {
            all.push(Explanation {
                allowed: false,
                rule: format!("table inet {}, chain ports, no map", self.table),
                text: format!(
                    "no container has published {protocol} port {port}: the packet goes to the host's own services, past \
                     no rule of ours"
                ),
            });
        }
        all
    }

    /// What decides about a packet from outside to a container's own address.
    pub fn explain_address(&self, address: IpAddr) -> Option<Explanation> {
        let of = |network: &&NetworkRules| {
            network.sides.iter().any(|side| side.subnet.contains(&address))
        };
        let network = self.networks.iter().find(of)?;
        let side = network.sides.iter().find(|side| side.subnet.contains(&address))?;
        let family = Family::of(&side.subnet);
        let (allowed, text) = if network.internal {
            (false, "the network is internal: nothing comes in and nothing goes out".to_owned())
        } else {
            match side.mode {
                GatewayMode::Nat | GatewayMode::Isolated => (
                    false,
                    "a container's own address is not reached from outside: publish a port, or make the network \
                     routed or nat-unprotected"
                        .to_owned(),
                ),
                GatewayMode::NatUnprotected => {
                    (true, format!("its {family} addresses are unprotected: every port is open"))
                }
                GatewayMode::Routed => {
                    (true, format!("its {family} addresses are routed: published ports are open"))
                }
            }
        };
        let rule = format!("table inet {}, chain in-{}", self.table, network.bridge);
        Some(Explanation { allowed, rule, text })
    }
}
