//! Networks, endpoints and what joining gives.

use crate::Mac;
use crate::ports::{PortRequest, Protocol, PublishedPort};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::str::FromStr;
use types::ContainerId;

/// What a network shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    /// Its id.
    pub id: NetworkId,
    /// Its name, for texts.
    pub name: String,
    /// It is the default `bridge` network, whose link has a well-known name.
    pub default: bool,
    /// Its IPv4 addresses; `None`: it has none.
    pub ipv4: Option<PoolConfig>,
    /// Its IPv6 addresses; `None`: it has none.
    pub ipv6: Option<PoolConfig>,
    /// Nothing leaves the network, nothing enters.
    pub internal: bool,
    /// Who gives its addresses.
    pub ipam: IpamConfig,
    /// The driver's own options, as the user gave them (`com.docker.network.…`).
    pub options: BTreeMap<String, String>,
}

/// Who gives a network's addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IpamConfig {
    /// `default` or nothing: we do; `null`: nobody; else a plugin's name.
    pub driver: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
    /// Its addresses are told apart on several hosts.
    pub global: bool,
}

impl IpamConfig {
    /// The address management is ours.
    pub fn is_builtin(&self) -> bool {
        matches!(self.driver.as_str(), "" | "default")
    }

    /// Nobody gives addresses.
    pub fn is_null(&self) -> bool {
        self.driver == "null"
    }
}

/// The addresses of one family that a network shall give.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolConfig {
    /// The subnet recorded or asked for; `None` lets the driver choose one that nothing on the host routes.
    pub subnet: Option<IpNet>,
    /// The part of the subnet that addresses are taken from that nobody asked for; `None`: all of it.
    pub range: Option<IpNet>,
    /// The host's own address in the subnet; `None`: the first of the range or else of the subnet.
    pub gateway: Option<IpAddr>,
    /// Addresses in the subnet that somebody else has, by name.
    pub auxiliary: BTreeMap<String, IpAddr>,
    /// Containers' way out, when it is another address than the host's own: `DefaultGatewayIPv4` and `DefaultGatewayIPv6`
    /// among Docker's auxiliary addresses.
    pub way_out: Option<IpAddr>,
}

impl NetworkConfig {
    /// The default `bridge` network as Docker has it, with this IPv4 subnet or one that is free.
    pub fn bridge(id: NetworkId, subnet: Option<IpNet>) -> Self {
        Self {
            id,
            name: "bridge".into(),
            default: true,
            ipv4: Some(PoolConfig { subnet, ..PoolConfig::default() }),
            ipv6: None,
            internal: false,
            ipam: IpamConfig::default(),
            options: BTreeMap::new(),
        }
    }
}

/// A network as it came to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// The host's link for it, `com.docker.network.bridge.name`; none for `host` and `none`.
    pub interface: Option<String>,
    /// Its subnets, at most one a family, to be recorded so that it keeps them.
    pub pools: Vec<Pool>,
    /// It is not of this host alone: its driver, a plugin, says that it spans several.
    pub global: bool,
}

/// A subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// The subnet.
    pub subnet: IpNet,
    /// The host's address in it.
    pub gateway: Option<IpAddr>,
}

/// One attachment of one run of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Fresh for every start.
    pub id: EndpointId,
    /// What it is attached to.
    pub network: NetworkId,
    /// Who.
    pub container: ContainerId,
    /// The address asked for with `--ip`.
    pub ipv4: Option<Ipv4Addr>,
    /// The address asked for with `--ip6`.
    pub ipv6: Option<Ipv6Addr>,
    /// Further addresses of the link (`--link-local-ip`).
    pub link_local: Vec<IpAddr>,
    /// The address asked for with `--mac-address`.
    pub mac: Option<Mac>,
    /// The link leads to everything else: of a container's endpoints one does.
    pub default_route: bool,
    /// The ports that the container says it serves. Plugins are told.
    pub exposed: Vec<(Protocol, u16)>,
    /// The ports that are going to be published, should the link lead to everything else. Plugins are told.
    pub ports: Vec<PortRequest>,
    /// The endpoint's own options (`--network …,driver-opt=…`), such as `com.docker.network.endpoint.ifname`.
    pub options: BTreeMap<String, String>,
    /// Where the container may go; `None`: everywhere. Only drivers that say so ([`Driver::egress`](crate::Driver::egress))
    /// hold it to that.
    pub egress: Option<types::Egress>,
}

impl Endpoint {
    /// A new attachment of a container to a network without any wishes.
    pub fn new(id: EndpointId, network: NetworkId, container: ContainerId) -> Self {
        Self {
            id,
            network,
            container,
            ipv4: None,
            ipv6: None,
            link_local: Vec::new(),
            mac: None,
            default_route: true,
            exposed: Vec::new(),
            ports: Vec::new(),
            options: BTreeMap::new(),
            egress: None,
        }
    }
}

/// What one endpoint may ask of another where neighbours are kept apart (`icc=false`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Who asks.
    pub from: EndpointId,
    /// Who answers.
    pub to: EndpointId,
    /// At which ports.
    pub ports: Vec<(Protocol, u16)>,
}

/// What a container sees of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The link inside the sandbox: `eth0`. Empty where the driver makes none.
    pub interface: String,
    /// The link's end on the host, if it has one.
    pub host_interface: Option<String>,
    /// Its Ethernet address.
    pub mac: Option<Mac>,
    /// Its addresses with the prefix of the subnet.
    pub addresses: Vec<IpNet>,
    /// The network's gateways, at most one a family; of an internal network none.
    pub gateways: Vec<IpAddr>,
}

impl Joined {
    /// Nothing to see: `host` and `none`.
    pub fn nothing() -> Self {
        Self {
            interface: String::new(),
            host_interface: None,
            mac: None,
            addresses: Vec::new(),
            gateways: Vec::new(),
        }
    }
}

/// An endpoint whose container outlived the daemon.
#[derive(Debug)]
pub struct Live {
    /// The endpoint as it was joined.
    pub endpoint: Endpoint,
    /// What it was told then.
    pub joined: Joined,
    /// Its published ports as they were bound.
    pub published: Vec<PublishedPort>,
    /// Its network namespace, from the container's process. Without it a lost link cannot be made again.
    pub netns: Option<OwnedFd>,
}

/// What `recover` found and did.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Links without an owner that were removed.
    pub removed: Vec<String>,
    /// Endpoints that had lost something and have it again.
    pub repaired: Vec<EndpointId>,
    /// What could not be put right, for the log.
    pub failed: Vec<stdx::Error>,
}

/// A network's id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId([u8; 32]);

/// An endpoint's id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId([u8; 32]);

/// The text is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no id (64 lower-case hexadecimal digits)")]
pub struct InvalidId(String);

/// Both ids are 32 bytes shown as 64 digits; two types, so that one is never taken for the other.
macro_rules! id {
    ($name:ident) => {
        impl $name {
            /// The id with these bytes.
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// A new id from the kernel's random numbers.
            pub fn random() -> stdx::Result<Self> {
                let mut bytes = [0; 32];
                let filled =
                    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())
                        .map_err(|e| stdx::Error::io("random numbers", e.into()))?;
                if filled != bytes.len() {
                    return Err(stdx::Error::internal("random numbers: too few"));
                }
                Ok(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse_id(text).map(Self)
            }
        }
    };
}
id!(NetworkId);
id!(EndpointId);

fn parse_id(text: &str) -> Result<[u8; 32], InvalidId> {
    let wrong = || InvalidId(text.chars().take(80).collect());
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(wrong());
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_shown() {
        let id = EndpointId::random().unwrap();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().len(), 64);
        for bad in ["", "ab", &"g".repeat(64), &"A".repeat(64), &"ä".repeat(32)] {
            assert!(bad.parse::<NetworkId>().is_err(), "{bad}");
        }
    }
}
