//! Why packets pass or do not, for whoever asks.

use crate::Protocol;
use std::fmt;
use std::net::IpAddr;

/// What somebody wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Who reaches this port of the host.
    Port(Protocol, u16),
    /// Who reaches a container at this address of its own.
    Address(IpAddr),
}

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sender {
    /// The host itself.
    Host,
    /// Another host.
    Elsewhere,
    /// A container on the same network.
    Neighbour,
    /// A container, of whichever network; for an address: of another network.
    Container,
    /// The container that is asked about: what leaves it.
    Itself,
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "the host",
            Self::Elsewhere => "other hosts",
            Self::Neighbour => "containers of its network",
            Self::Container => "other containers",
            Self::Itself => "the container itself",
        })
    }
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// About whose packets.
    pub from: Sender,
    /// Whether they get on.
    pub allowed: bool,
    /// The rule: `table inet gantry, chain ports, map any4`.
    pub rule: String,
    /// What it does and why, for a person.
    pub text: String,
}
