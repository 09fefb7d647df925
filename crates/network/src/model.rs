//! Networks, endpoints and what joining gives.

use crate::Mac;
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;
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
    /// The subnet recorded or asked for; `None` lets the driver choose one that nothing on the host routes.
    pub subnet: Option<IpNet>,
    /// The host's own address in the subnet; `None` is its first.
    pub gateway: Option<IpAddr>,
    /// Containers on the network may talk to each other (`com.docker.network.bridge.enable_icc`).
    pub icc: bool,
    /// What leaves the host gets the host's address (`com.docker.network.bridge.enable_ip_masquerade`).
    pub masquerade: bool,
    /// Nothing leaves the network, nothing enters.
    pub internal: bool,
    /// Largest packet in bytes (`com.docker.network.driver.mtu`).
    pub mtu: u32,
}

impl NetworkConfig {
    /// The default `bridge` network as Docker has it.
    pub fn bridge(id: NetworkId, subnet: Option<IpNet>) -> Self {
        Self {
            id,
            name: "bridge".into(),
            default: true,
            subnet,
            gateway: None,
            icc: true,
            masquerade: true,
            internal: false,
            mtu: 1500,
        }
    }
}

/// A network as it came to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The host's link for it, `com.docker.network.bridge.name`; none for `host` and `none`.
    pub interface: Option<String>,
    /// Its subnets, to be recorded so that it keeps them.
    pub subnets: Vec<IpNet>,
    /// The host's address in the first subnet.
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
    pub address: Option<IpAddr>,
    /// The address asked for with `--mac-address`.
    pub mac: Option<Mac>,
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
    /// Where everything else goes.
    pub gateway: Option<IpAddr>,
}

impl Joined {
    /// Nothing to see: `host` and `none`.
    pub fn nothing() -> Self {
        Self {
            interface: String::new(),
            host_interface: None,
            mac: None,
            addresses: Vec::new(),
            gateway: None,
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
