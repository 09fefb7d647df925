//! Legacy links on a network that keeps its containers apart: see [`crate::rules`]'s `links`.

use crate::host::Host;
use crate::rules::{Allowed, elements};
use crate::{Inner, State};
use network::{EndpointId, Link, route};
use std::collections::BTreeSet;
use std::net::IpAddr;
use stdx::{Error, Result};
use sys::netlink::Batch;

impl Inner {
    /// From now on these and nobody else.
    pub(crate) fn link(&self, links: Vec<Link>) -> Result<()> {
        self.change_links(|known| *known = links)
    }

    fn change_links(&self, change: impl FnOnce(&mut Vec<Link>)) -> Result<()> {
        let mut host = self.host();
        let (before, after) = {
            let mut state = self.state();
            let before = allowed(&state);
            change(&mut state.links);
            (before, allowed(&state))
        };
        if before == after {
            return Ok(());
        }
        self.relink(&mut host, &before, &after)
    }

    /// An endpoint is about to give its addresses back, which may soon be somebody else's.
    pub(crate) fn unlink(&self, endpoint: &EndpointId) -> Result<()> {
        let is_its = |link: &Link| link.from == *endpoint || link.to == *endpoint;
        if !self.state().links.iter().any(is_its) {
            return Ok(());
        }
        self.change_links(|known| known.retain(|link| !is_its(link)))
    }

    /// At no time is a port open to all: who is linked no more is isolated before the rules go, and who is linked is let
    /// out when they are there.
    fn relink(&self, host: &mut Host, before: &[Allowed], after: &[Allowed]) -> Result<()> {
        let (old, new) = (ends(before), ends(after));
        for link in old.difference(&new) {
            set_isolated(host, link, true)?;
        }
        self.write_rules(host)?;
        for link in &new {
            set_isolated(host, link, false)?;
        }
        Ok(())
    }
}

/// What the links that there are mean: none on a network whose containers talk to each other anyway.
pub(crate) fn allowed(state: &State) -> Vec<Allowed> {
    let mut all = Vec::new();
    for link in &state.links {
        let (Some(from), Some(to)) = (state.leases.get(&link.from), state.leases.get(&link.to))
        else {
            continue;
        };
        let apart = state.networks.get(&from.network).is_some_and(|net| !net.options.icc);
        let address = |lease: &crate::Lease| {
            lease.addresses.iter().find_map(|(_, address)| match address {
                IpAddr::V4(address) => Some(*address),
                IpAddr::V6(_) => None,
            })
        };
        if !apart || from.network != to.network {
            continue;
        }
        let (Some(a), Some(b)) = (address(from), address(to)) else { continue };
        all.extend(link.ports.iter().map(|(protocol, port)| Allowed {
            ends: [from.link.clone(), to.link.clone()],
            addresses: [a, b],
            port: (elements::number(*protocol), *port),
        }));
    }
    all
}

fn ends(allowed: &[Allowed]) -> BTreeSet<&str> {
    allowed.iter().flat_map(|link| &link.ends).map(String::as_str).collect()
}

/// A link that has gone meanwhile is isolated enough.
fn set_isolated(host: &mut Host, link: &str, isolated: bool) -> Result<()> {
    if route::link(&mut host.route, link)?.is_none() {
        return Ok(());
    }
    let mut batch = Batch::new();
    route::set_isolated(&mut batch, link, isolated);
    host.route
        .execute(batch)
        .map_err(|e| Error::internal(format!("keep {link} apart: {isolated}")).caused_by(e))
}
