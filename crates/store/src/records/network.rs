//! Records of networks.

use crate::Record;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A network as the engine remembers it. Key: its id. The default networks have records too, so that their ids, and the
/// default bridge's subnet, stay what they were.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name: `bridge`, `host`, `none` or the user's.
    pub name: String,
    /// The driver: `bridge`, `host`, `null`.
    pub driver: String,
    /// When it was created, RFC 3339 with nanoseconds, UTC.
    pub created: String,
    /// What addresses it gives.
    #[serde(default)]
    pub ipam: IpamRecord,
    /// Options for the driver.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Labels by name.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Nothing leaves it.
    #[serde(default)]
    pub internal: bool,
    /// Containers that run may be attached by hand (a Swarm notion; kept for inspect).
    #[serde(default)]
    pub attachable: bool,
    /// It has IPv6 addresses.
    #[serde(default)]
    pub ipv6: bool,
    /// It has no IPv4 addresses.
    #[serde(default)]
    pub no_ipv4: bool,
    /// It is only what others take their configuration from.
    #[serde(default)]
    pub config_only: bool,
    /// The network that it has its configuration from; empty: none.
    #[serde(default)]
    pub config_from: String,
    /// Its driver, a plugin, says that it spans several hosts.
    #[serde(default)]
    pub global: bool,
}

/// The address management of a network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IpamRecord {
    /// The driver that hands addresses out: `default`.
    pub driver: String,
    /// Its options.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Subnets, first the one that containers get their main address from.
    #[serde(default)]
    pub pools: Vec<PoolRecord>,
}

/// One subnet of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRecord {
    /// As `172.17.0.0/16`.
    pub subnet: String,
    /// The bridge's own address in it, as `172.17.0.1`; empty when there is none.
    #[serde(default)]
    pub gateway: String,
    /// The part of the subnet that addresses are taken from; empty for all of it.
    #[serde(default)]
    pub range: String,
    /// Addresses in use by others, by name.
    #[serde(default)]
    pub auxiliary: BTreeMap<String, String>,
    /// The user chose the subnet: containers may ask for addresses in it.
    #[serde(default)]
    pub chosen: bool,
}

/// A running container's attachments: `network.json` in its runtime folder, written before an attachment is made and
/// again when it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxRecord {
    /// One a network.
    pub endpoints: Vec<EndpointRecord>,
}

/// A running container's attachment to a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointRecord {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The network's id.
    pub network: String,
    /// The network's name.
    pub name: String,
    /// The names by which the container is known on the network.
    pub dns_names: Vec<String>,
    /// The link inside the container; empty until it is made.
    pub interface: String,
    /// Its other end.
    pub host_interface: String,
    /// Its Ethernet address.
    pub mac: String,
    /// Its addresses with the prefix of their subnet.
    pub addresses: Vec<String>,
    /// The network's gateway; empty: it has none.
    pub gateway: String,
    /// Its gateway for IPv6; empty: it has none.
    pub gateway_v6: String,
    /// Everything else goes this way.
    pub default_route: bool,
    /// The ports of the host that lead here.
    pub ports: Vec<PortRecord>,
}

impl EndpointRecord {
    /// Its IPv4 address and the bits of its prefix.
    pub fn ipv4(&self) -> Option<(&str, u8)> {
        self.address(|address| !address.contains(':'))
    }

    /// Its IPv6 address and the bits of its prefix.
    pub fn ipv6(&self) -> Option<(&str, u8)> {
        self.address(|address| address.contains(':'))
    }

    fn address(&self, of_family: impl Fn(&str) -> bool) -> Option<(&str, u8)> {
        let address = self.addresses.iter().find(|address| of_family(address))?;
        let (address, prefix) = address.split_once('/')?;
        Some((address, prefix.parse().ok()?))
    }
}

/// A port of the host that leads to a container, or a row of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortRecord {
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// The container's port.
    pub container: u16,
    /// The host's address.
    pub address: String,
    /// The host's port.
    pub port: u16,
    /// How many ports after it lead to as many after the container's.
    pub more: u16,
}

impl PortRecord {
    /// The host's port and the container's, of each of the row.
    pub fn each(&self) -> impl Iterator<Item = (u16, u16)> {
        let after = |first: u16| first..=first.saturating_add(self.more);
        after(self.port).zip(after(self.container))
    }

    /// Whether one of the row leads to this port of the container.
    pub fn leads_to(&self, container: u16) -> bool {
        container.checked_sub(self.container).is_some_and(|nth| nth <= self.more)
    }
}

impl Record for NetworkRecord {
    const TABLE: &'static str = "networks";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_on_disk_stays_readable() {
        let old = r#"{"id":"aa","name":"bridge","driver":"bridge","created":"2026-01-02T03:04:05Z",
            "ipam":{"driver":"default","pools":[{"subnet":"172.17.0.0/16","gateway":"172.17.0.1"}]}}"#;
        let record: NetworkRecord = serde_json::from_str(old).unwrap();
        assert_eq!(record.ipam.pools[0].gateway, "172.17.0.1");
        assert!(!record.internal && !record.ipam.pools[0].chosen);
        let again: NetworkRecord =
            serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
        assert_eq!(again, record);
    }
}
