//! Which address belongs to which link, until the kernel says that the link is gone. Pure.
//!
//! ```text
//!           add              leave                 link gone
//!   (none) ─────▶ in use ─────────────▶ leaving ─────────────▶ free
//!                   │   link gone                  leave        ▲
//!                   └──────────────────▶ orphaned ──────────────┘
//! ```
//!
//! The order of the two last events is not ours to choose: a container's namespace may be gone before the daemon has
//! reaped it, or much later when somebody else still sits in it.

use ipnet::IpNet;
use network::{EndpointId, Mac, NetworkId};
use std::collections::HashMap;
use std::net::IpAddr;
use types::ContainerId;

/// Addresses that are in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The network it is of.
    pub network: NetworkId,
    /// Who has it.
    pub container: ContainerId,
    /// The addresses, each with the pool it is of.
    pub addresses: Vec<(IpNet, IpAddr)>,
    /// The host's end of the link that has them.
    pub link: String,
    /// The Ethernet address of the other end, once it is known.
    pub mac: Option<Mac>,
}

/// Where an endpoint's ending stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    InUse,
    /// The container is gone, its link not yet.
    Leaving,
    /// The link is gone, the container not yet, as far as we were told.
    Orphaned,
}

/// All leases.
#[derive(Debug, Default)]
pub struct Leases {
    by_endpoint: HashMap<EndpointId, (Lease, Phase)>,
    by_link: HashMap<String, EndpointId>,
}

impl Leases {
    /// Writes a lease down; `false` when the endpoint has one.
    pub fn add(&mut self, endpoint: EndpointId, lease: Lease) -> bool {
        if self.by_endpoint.contains_key(&endpoint) {
            return false;
        }
        // The name may be another's: then it gets one of its own before there is a link.
        self.by_link.entry(lease.link.clone()).or_insert(endpoint);
        self.by_endpoint.insert(endpoint, (lease, Phase::InUse));
        true
    }

    /// The link gets this name; `false` if it is another endpoint's.
    pub fn rename(&mut self, endpoint: &EndpointId, link: &str) -> bool {
        let Some((lease, _)) = self.by_endpoint.get_mut(endpoint) else { return false };
        if self.by_link.get(link).is_some_and(|owner| owner != endpoint) {
            return false;
        }
        if self.by_link.get(&lease.link) == Some(endpoint) {
            self.by_link.remove(&lease.link);
        }
        lease.link = link.to_owned();
        self.by_link.insert(link.to_owned(), *endpoint);
        true
    }

    /// The container of the endpoint has ended. Returns the lease if its address is free now.
    pub fn leave(&mut self, endpoint: &EndpointId) -> Option<Lease> {
        let (_, phase) = self.by_endpoint.get_mut(endpoint)?;
        match phase {
            Phase::Orphaned => self.forget(endpoint),
            Phase::InUse | Phase::Leaving => {
                *phase = Phase::Leaving;
                None
            }
        }
    }

    /// The kernel has removed the link. Returns the lease if its address is free now.
    pub fn link_gone(&mut self, link: &str) -> Option<Lease> {
        let endpoint = *self.by_link.get(link)?;
        let (_, phase) = self.by_endpoint.get_mut(&endpoint)?;
        match phase {
            Phase::Leaving => self.forget(&endpoint),
            Phase::InUse | Phase::Orphaned => {
                *phase = Phase::Orphaned;
                None
            }
        }
    }

    /// The link is there again.
    pub fn link_back(&mut self, endpoint: &EndpointId) {
        if let Some((_, phase @ Phase::Orphaned)) = self.by_endpoint.get_mut(endpoint) {
            *phase = Phase::InUse;
        }
    }

    /// The lease ends now, however its link is.
    pub fn forget(&mut self, endpoint: &EndpointId) -> Option<Lease> {
        let (lease, _) = self.by_endpoint.remove(endpoint)?;
        if self.by_link.get(&lease.link) == Some(endpoint) {
            self.by_link.remove(&lease.link);
        }
        Some(lease)
    }

    /// Everything of a network ends now: its pool is given back as a whole.
    pub fn forget_network(&mut self, network: &NetworkId) {
        let gone: Vec<_> = self
            .by_endpoint
            .iter()
            .filter(|(_, (l, _))| l.network == *network)
            .map(|(id, _)| *id)
            .collect();
        for endpoint in gone {
            self.forget(&endpoint);
        }
    }

    /// The endpoint whose container is gone but whose link still has this address.
    pub fn leaving(&self, network: &NetworkId, address: IpAddr) -> Option<EndpointId> {
        let holds = |lease: &Lease| {
            lease.network == *network && lease.addresses.iter().any(|(_, held)| *held == address)
        };
        let mut all = self.by_endpoint.iter();
        all.find(|(_, (lease, phase))| *phase == Phase::Leaving && holds(lease)).map(|(id, _)| *id)
    }

    /// The endpoint of an earlier run of the container that is gone from the network, and whose link is not yet.
    pub fn last_of(&self, network: &NetworkId, container: &ContainerId) -> Option<EndpointId> {
        let is_last = |lease: &Lease| lease.network == *network && lease.container == *container;
        let mut all = self.by_endpoint.iter();
        all.find(|(_, (lease, phase))| *phase == Phase::Leaving && is_last(lease))
            .map(|(id, _)| *id)
    }

    /// How many endpoints of the network have a container.
    pub fn active(&self, network: &NetworkId) -> usize {
        self.by_endpoint
            .values()
            .filter(|(l, phase)| l.network == *network && *phase != Phase::Leaving)
            .count()
    }

    /// The lease of an endpoint.
    pub fn get(&self, endpoint: &EndpointId) -> Option<&Lease> {
        self.by_endpoint.get(endpoint).map(|(lease, _)| lease)
    }

    /// The host's end of an endpoint.
    pub fn link_of(&self, endpoint: &EndpointId) -> Option<String> {
        self.by_endpoint.get(endpoint).map(|(lease, _)| lease.link.clone())
    }

    /// The links of all leases, with their endpoints.
    pub fn links(&self) -> impl Iterator<Item = (&str, &EndpointId, &Lease)> {
        self.by_endpoint.iter().map(|(id, (lease, _))| (lease.link.as_str(), id, lease))
    }

    /// How many addresses are held.
    pub fn len(&self) -> usize {
        self.by_endpoint.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.by_endpoint.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> EndpointId {
        EndpointId::from_bytes([n; 32])
    }

    fn lease(n: u8) -> Lease {
        Lease {
            network: NetworkId::from_bytes([0; 32]),
            container: ContainerId::from_bytes(&[n; 32]),
            addresses: vec![(
                "10.0.0.0/24".parse().unwrap(),
                format!("10.0.0.{n}").parse().unwrap(),
            )],
            link: format!("veth{n}"),
            mac: None,
        }
    }

    #[test]
    fn an_address_is_free_when_both_container_and_link_are_gone() {
        let mut leases = Leases::default();
        assert!(leases.add(id(1), lease(1)) && leases.add(id(2), lease(2)));
        assert!(!leases.add(id(1), lease(3)));
        let address = lease(1).addresses[0].1;
        assert_eq!(leases.leaving(&lease(1).network, address), None);
        assert_eq!(leases.leave(&id(1)), None);
        assert_eq!(leases.leave(&id(1)), None);
        assert_eq!(leases.leaving(&lease(1).network, address), Some(id(1)));
        let last = |n| leases.last_of(&lease(n).network, &lease(n).container);
        assert_eq!((last(1), last(2)), (Some(id(1)), None));
        assert_eq!(leases.leaving(&NetworkId::from_bytes([7; 32]), address), None);
        assert_eq!(leases.active(&lease(1).network), 1);
        assert_eq!(leases.link_gone("veth1"), Some(lease(1)));
        assert_eq!(leases.link_gone("veth2"), None);
        assert_eq!(leases.link_gone("veth2"), None);
        assert_eq!(leases.leave(&id(2)), Some(lease(2)));
        assert!(leases.is_empty());
        assert_eq!((leases.leave(&id(9)), leases.link_gone("eth0")), (None, None));
    }

    #[test]
    fn a_link_that_came_back_is_waited_for_again() {
        let mut leases = Leases::default();
        leases.add(id(1), lease(1));
        leases.link_gone("veth1");
        leases.link_back(&id(1));
        assert_eq!(leases.leave(&id(1)), None);
        assert_eq!(leases.link_gone("veth1"), Some(lease(1)));
    }

    #[test]
    fn names_follow() {
        let mut leases = Leases::default();
        leases.add(id(1), lease(1));
        assert!(leases.rename(&id(1), "vethb"));
        assert_eq!(leases.link_gone("veth1"), None);
        leases.leave(&id(1));
        assert_eq!(leases.link_gone("vethb").map(|l| l.addresses), Some(lease(1).addresses));
        // Another's name is not taken over.
        leases.add(id(3), lease(3));
        leases.add(id(2), Lease { link: "veth3".into(), ..lease(2) });
        assert!(!leases.rename(&id(2), "veth3") && !leases.rename(&id(9), "vethx"));
        assert!(leases.rename(&id(2), "veth2"));
        leases.leave(&id(3));
        assert_eq!(leases.link_gone("veth3"), Some(lease(3)));
        leases.forget_network(&lease(2).network);
        assert!(leases.is_empty());
    }
}
