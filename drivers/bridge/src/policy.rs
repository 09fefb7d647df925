//! What the daemon's options say of all networks of this driver.

use network::Family;
use nft::Match;
use std::net::IpAddr;

/// What is done to the host's forwarding and rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Forwarding is switched on where a network needs it.
    pub forward: bool,
    /// Where that made the host forward, it still forwards for nobody else.
    pub guard: bool,
    /// There are rules of ours about IPv4.
    pub ipv4: bool,
    /// There are rules of ours about IPv6.
    pub ipv6: bool,
    /// Published ports are also reached by containers' own addresses.
    pub direct_routing: bool,
    /// Packets with this mark enter bridges whatever else the rules say.
    pub accept_mark: Option<Mark>,
    /// The host's own input rules decide who else reaches published ports: see [`crate::rules::Door`].
    pub ask_host: bool,
}

/// A packet's mark as it is compared: the packet's, masked, must be the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The value.
    pub value: u32,
    /// The bits that count.
    pub mask: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            forward: true,
            guard: true,
            ipv4: true,
            ipv6: true,
            direct_routing: false,
            accept_mark: None,
            ask_host: false,
        }
    }
}

impl Policy {
    /// Whether there are rules of ours about a family.
    pub fn rules(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.ipv4,
            Family::V6 => self.ipv6,
        }
    }

    /// The same of an address's family.
    pub(crate) fn rules_about(&self, address: &IpAddr) -> bool {
        if address.is_ipv4() { self.ipv4 } else { self.ipv6 }
    }

    /// There are rules of ours at all.
    pub(crate) fn any_rules(&self) -> bool {
        self.ipv4 || self.ipv6
    }

    /// The families that no rule of ours is about.
    pub(crate) fn silent(&self) -> Vec<Family> {
        [Family::V4, Family::V6].into_iter().filter(|family| !self.rules(*family)).collect()
    }
}

/// The question whether a packet is of this family.
pub(crate) fn of_family(family: Family) -> Match {
    match family {
        Family::V4 => Match::Ipv4,
        Family::V6 => Match::Ipv6,
    }
}
