//! The daemon's records as they were last read, and the tables made of them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;

use dns::{Place, Tables, View};
use stdx::{Error, Result};

use super::egress::Judge;
use crate::state::{self, Forward, Id, Network, Paths, Protocol, Sandbox};

/// What is known of a sandbox beside its names.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// It has names: its namespace is to be served.
    pub(crate) dns: bool,
    /// Its own servers; none: the host's.
    pub(crate) upstream: Rc<[SocketAddr]>,
    forwards: Vec<Forward>,
    /// Where it may go.
    pub(crate) egress: Option<Rc<Judge>>,
}

/// All records.
#[derive(Debug)]
pub(crate) struct Records {
    paths: Paths,
    pub(crate) tables: Tables,
    sandboxes: HashMap<Id, Settings>,
}

impl Records {
    pub(crate) fn new(paths: Paths) -> Self {
        Self { paths, tables: Tables::default(), sandboxes: HashMap::new() }
    }

    pub(crate) fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Reads all; what cannot be read is told and left out, so that one broken record does not silence the others.
    pub(crate) fn load(&mut self) -> Vec<Error> {
        let mut errors = Vec::new();
        let mut list = |dir: std::path::PathBuf| {
            state::ids(&dir).unwrap_or_else(|e| {
                errors.push(e);
                Vec::new()
            })
        };
        let (networks, sandboxes) = (list(self.paths.networks()), list(self.paths.sandboxes()));
        errors.extend(networks.iter().filter_map(|id| self.read_network(id).err()));
        errors.extend(sandboxes.iter().filter_map(|id| self.read_sandbox(id).err()));
        errors
    }

    pub(crate) fn read_network(&mut self, id: &Id) -> Result<()> {
        match state::read::<Network>(&self.paths.network(id))? {
            Some(network) => self.tables.set_network(id.as_str(), &network.name, network.internal),
            None => self.tables.remove_network(id.as_str()),
        }
        Ok(())
    }

    pub(crate) fn read_sandbox(&mut self, id: &Id) -> Result<()> {
        let Some(sandbox) = state::read::<Sandbox>(&self.paths.sandbox(id))? else {
            self.tables.remove_sandbox(id.as_str());
            self.sandboxes.remove(id);
            return Ok(());
        };
        let settings = Settings {
            dns: sandbox.dns,
            upstream: sandbox.upstream.as_slice().into(),
            forwards: sandbox.forwards.clone(),
            egress: sandbox.egress.as_ref().map(Judge::read).transpose()?.map(Rc::new),
        };
        self.tables.set_sandbox(id.as_str(), view(sandbox));
        self.sandboxes.insert(id.clone(), settings);
        Ok(())
    }

    pub(crate) fn sandbox(&self, id: &Id) -> Option<&Settings> {
        self.sandboxes.get(id)
    }

    /// Whose the link is, and who judges it.
    pub(crate) fn of_link(&self, link: &str) -> Option<(&Id, &Rc<Judge>)> {
        self.sandboxes.iter().find_map(|(id, settings)| {
            let judge = settings.egress.as_ref()?;
            judge.links.iter().any(|own| own.name == link).then_some((id, judge))
        })
    }

    /// The groups that denied packets are told to.
    pub(crate) fn group(&self) -> Option<u16> {
        self.sandboxes.values().find_map(|settings| Some(settings.egress.as_ref()?.group))
    }

    /// Where a connection or datagram that was meant for `meant` goes, and to whom.
    pub(crate) fn forward(
        &self,
        protocol: Protocol,
        meant: SocketAddr,
    ) -> Option<(&Id, SocketAddr)> {
        self.sandboxes.iter().find_map(|(id, settings)| {
            let mut forwards = settings.forwards.iter().filter(|f| f.protocol == protocol);
            Some((id, forwards.find_map(|forward| destination(forward, meant))?))
        })
    }
}

fn destination(forward: &Forward, meant: SocketAddr) -> Option<SocketAddr> {
    let Forward { listen, ports, mut to, .. } = *forward;
    let is_address = listen.ip() == meant.ip()
        || (listen.ip().is_unspecified() && listen.is_ipv4() == meant.is_ipv4());
    let nth = meant.port().checked_sub(listen.port()).filter(|nth| *nth < ports)?;
    to.set_port(to.port().checked_add(nth)?);
    is_address.then_some(to)
}

fn view(sandbox: Sandbox) -> View {
    View {
        hosts: sandbox.hosts,
        ndots: sandbox.ndots,
        places: sandbox
            .endpoints
            .into_iter()
            .map(|endpoint| Place {
                network: endpoint.network.as_str().to_owned(),
                addresses: endpoint.addresses,
                names: endpoint.names,
                links: endpoint.links,
                internal: endpoint.internal,
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_ports_goes_to_a_range() {
        let forward = Forward {
            protocol: Protocol::Tcp,
            listen: "[::1]:8000".parse().unwrap(),
            ports: 3,
            to: "10.0.0.2:80".parse().unwrap(),
        };
        let to = |meant: &str| destination(&forward, meant.parse().unwrap()).map(|a| a.to_string());
        assert_eq!(to("[::1]:8000").as_deref(), Some("10.0.0.2:80"));
        assert_eq!(to("[::1]:8002").as_deref(), Some("10.0.0.2:82"));
        for other in ["[::1]:8003", "[::1]:7999", "[::2]:8000", "127.0.0.1:8000"] {
            assert_eq!(to(other), None, "{other}");
        }
        let any = Forward { listen: "[::]:8000".parse().unwrap(), ..forward };
        assert!(destination(&any, "[::1]:8001".parse().unwrap()).is_some());
        assert!(destination(&any, "127.0.0.1:8001".parse().unwrap()).is_none());
        let end = Forward { to: "10.0.0.2:65535".parse().unwrap(), ..forward };
        assert!(destination(&end, "[::1]:8001".parse().unwrap()).is_none());
    }
}
