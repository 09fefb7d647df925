//! Ports of containers that are reached through the host.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// What a port is a port of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// `tcp`
    Tcp,
    /// `udp`
    Udp,
    /// `sctp`
    Sctp,
}

/// One port of a container that shall be reached through the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRequest {
    /// Of which protocol.
    pub protocol: Protocol,
    /// The container's port.
    pub container: u16,
    /// The host's address; `None`: all of them, of both families, or the network's default
    /// (`com.docker.network.bridge.host_binding_ipv4`).
    pub address: Option<IpAddr>,
    /// The first and the last of the host's ports that will do; `None`: one of those that the kernel gives away itself.
    pub ports: Option<(u16, u16)>,
}

/// One port of the host that leads to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedPort {
    /// Of which protocol.
    pub protocol: Protocol,
    /// The container's port.
    pub container: u16,
    /// The host's address; unspecified: all of that family.
    pub address: IpAddr,
    /// The host's port.
    pub port: u16,
}

/// The text is no protocol that has ports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid proto: {0}")]
pub struct InvalidProtocol(String);

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl FromStr for Protocol {
    type Err = InvalidProtocol;

    /// In any case, as Docker reads it.
    fn from_str(text: &str) -> Result<Self, InvalidProtocol> {
        [Self::Tcp, Self::Udp, Self::Sctp]
            .into_iter()
            .find(|protocol| text.eq_ignore_ascii_case(&protocol.to_string()))
            .ok_or_else(|| InvalidProtocol(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols() {
        for (text, protocol) in
            [("tcp", Protocol::Tcp), ("UDP", Protocol::Udp), ("sctp", Protocol::Sctp)]
        {
            assert_eq!(text.parse(), Ok(protocol));
        }
        assert_eq!("icmp".parse::<Protocol>().unwrap_err().to_string(), "invalid proto: icmp");
    }
}
