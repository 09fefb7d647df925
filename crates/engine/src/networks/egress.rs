//! Where containers may go: who can hold them to it, what their resolver must know, and what was denied.

use super::table::Networks;
use container::egress::{self, EGRESS};
use netd::{Denial, Denied};
use std::collections::BTreeMap;
use std::sync::Arc;
use stdx::{Error, Result};
use store::records::container::ContainerRecord;
use store::records::network::{EndpointRecord, NetworkRecord};

impl Networks {
    /// Refuses a network that could not hold its containers to its rules.
    pub(super) fn check_rules(&self, network: &NetworkRecord) -> Result<()> {
        let Some(text) = network.options.get(EGRESS).filter(|text| !text.is_empty()) else {
            return Ok(());
        };
        text.parse::<types::Egress>()?;
        if network.config_only || self.driver(&network.driver)?.egress().is_some() {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "networks of driver \"{}\" cannot hold containers to egress rules",
            network.driver
        )))
    }

    /// Refuses to put a container with rules of its own on a network that cannot hold it to them.
    pub(super) fn check_place(&self, has_rules: bool, network: &NetworkRecord) -> Result<()> {
        let is_nowhere = network.driver == "null";
        if !has_rules || is_nowhere || self.driver(&network.driver)?.egress().is_some() {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "network {} of driver \"{}\" cannot hold a container to its egress rules",
            network.name, network.driver
        )))
    }

    /// What the helper must know of where a container may go; `None`: everywhere.
    pub(super) fn egress(
        &self,
        record: &ContainerRecord,
        endpoints: &[EndpointRecord],
    ) -> Option<netd::Egress> {
        let own = egress::of(&record.host);
        let mut judged = None;
        let mut links = Vec::new();
        let mut has_rules = own.is_some();
        for owned in endpoints.iter().filter(|owned| !owned.host_interface.is_empty()) {
            let network = self.meant("", &owned.network).ok()?;
            let rules = network.options.get(EGRESS).filter(|text| !text.is_empty()).cloned();
            has_rules |= rules.is_some();
            if judged.is_none() {
                judged = self.driver(&network.driver).ok().and_then(|driver| driver.egress());
            }
            links.push(netd::Link {
                name: owned.host_interface.clone(),
                network: owned.network.clone(),
                rules,
                subnets: network.ipam.pools.iter().map(|pool| pool.subnet.clone()).collect(),
            });
        }
        let (table, group) = judged.filter(|_| has_rules)?;
        Some(netd::Egress { table, group, own: own.map(|own| own.to_string()), links })
    }

    /// Tells the world of what is denied.
    pub(crate) fn tell_denials(self: &Arc<Self>) {
        let networks = Arc::downgrade(self);
        self.names.on_denied(move |denial| {
            if let Some(networks) = networks.upgrade() {
                networks.denied(&denial);
            }
        });
    }

    fn denied(&self, denial: &Denial) {
        let container = denial.sandbox.as_str();
        let id = match denial.network.as_str() {
            // A name is asked for on no network; it is told of the first that the container is on.
            "" => self.first_network(container).unwrap_or_default(),
            id => id.to_owned(),
        };
        let mut attributes = describe(&denial.what);
        if denial.again > 0 {
            attributes.insert("again".to_owned(), denial.again.to_string());
        }
        tracing::info!(container, network = %id, ?attributes, "denied by egress rules");
        attributes.insert("container".to_owned(), container.to_owned());
        if let Ok(network) = self.meant("", &id) {
            attributes.insert("name".to_owned(), network.name);
            attributes.insert("type".to_owned(), network.driver);
        }
        self.events.publish("network", "deny", &id, attributes);
    }
}

fn describe(what: &Denied) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut say = |key: &str, value: String| all.insert(key.to_owned(), value);
    match what {
        Denied::Name(name) => {
            say("query", name.clone());
            say("protocol", "dns".to_owned());
        }
        Denied::Packet { address, protocol, port, ether_type } => {
            if let Some(address) = address {
                say("address", address.to_string());
            }
            if let Some(port) = port {
                say("port", port.to_string());
            }
            say(
                "protocol",
                match protocol {
                    Some(1) => "icmp".to_owned(),
                    Some(6) => "tcp".to_owned(),
                    Some(17) => "udp".to_owned(),
                    Some(58) => "icmpv6".to_owned(),
                    Some(132) => "sctp".to_owned(),
                    Some(other) => other.to_string(),
                    None => format!("ethernet 0x{ether_type:04x}"),
                },
            );
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_denied_is_said_in_words() {
        let packet = |protocol, port| Denied::Packet {
            address: Some("192.0.2.1".parse().unwrap()),
            protocol,
            port,
            ether_type: 0x0800,
        };
        for (what, said) in [
            (Denied::Name("evil.test".into()), "protocol=dns query=evil.test"),
            (packet(Some(6), Some(443)), "address=192.0.2.1 port=443 protocol=tcp"),
            (packet(Some(1), None), "address=192.0.2.1 protocol=icmp"),
            (packet(Some(47), None), "address=192.0.2.1 protocol=47"),
            (
                Denied::Packet { address: None, protocol: None, port: None, ether_type: 0x88cc },
                "protocol=ethernet 0x88cc",
            ),
        ] {
            let all: Vec<_> =
                describe(&what).into_iter().map(|(k, v)| format!("{k}={v}")).collect();
            assert_eq!(all.join(" "), said);
        }
    }
}
