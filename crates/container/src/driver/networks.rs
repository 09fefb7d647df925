//! Its coming to networks and its leaving them.

use super::Driver;
use crate::admission::Ask;
use crate::services::{Networking, Save};
use crate::state::{Endpoints, Live};
use crate::{files, join, links};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use stdx::{Error, Kind, Result, fail_point};
use store::records::container::{ContainerRecord, EndpointWishes};
use store::records::network::EndpointRecord;

/// [`Networking::connect`] or [`Networking::disconnect`].
type Relink = fn(&dyn Networking, &ContainerRecord, &str, OwnedFd, &Path) -> Result<Endpoints>;

impl Driver {
    /// Puts it on a network; its record comes first, so that it is on it after a crash as well.
    pub(super) async fn connect(&mut self, network: String, wishes: EndpointWishes) -> Result<()> {
        self.admit(Ask::Network)?;
        let mut endpoints = self.now.record.networks();
        if endpoints.contains_key(&network) && self.now.phase.live().is_some() {
            return Err(forbidden(format!(
                "endpoint with name {} already exists in network {network}",
                self.now.record.name
            )));
        }
        let shares = join::of_container(&self.now.record.host.network_mode).is_some();
        check(&endpoints, shares, &network)?;
        endpoints.entry(network.clone()).or_insert(wishes);
        let link: Relink =
            |networks, record, network, netns, dir| networks.connect(record, network, netns, dir);
        self.relink(endpoints, &network, link).await
    }

    /// Takes it from a network.
    pub(super) async fn disconnect(&mut self, network: &str) -> Result<()> {
        self.admit(Ask::Network)?;
        if self.now.record.host.network_mode == "host" && self.now.phase.live().is_some() {
            return Err(forbidden(
                "container cannot be disconnected from host network or connected to host network",
            ));
        }
        let mut endpoints = self.now.record.networks();
        if endpoints.remove(network).is_none() {
            return Err(forbidden(format!(
                "container {} is not connected to network {network}",
                self.now.record.id
            )));
        }
        let unlink: Relink = |networks, record, network, netns, dir| {
            networks.disconnect(record, network, netns, dir)
        };
        self.relink(endpoints, network, unlink).await
    }

    async fn relink(
        &mut self,
        endpoints: BTreeMap<String, EndpointWishes>,
        network: &str,
        relink: Relink,
    ) -> Result<()> {
        let before = Arc::clone(&self.now.record);
        self.change(|record| record.endpoints = Some(endpoints));
        fail_point!("container.network.before-record");
        if let Err(e) = self.services.world.save(&self.now.record, Save::Now) {
            self.now.record = before;
            return Err(e);
        }
        fail_point!("container.network.after-record");
        if let Some(live) = self.now.phase.live() {
            match self.relink_running(live.clone(), network.to_owned(), relink).await {
                Ok(endpoints) => self.now.endpoints = endpoints,
                Err(e) => {
                    self.now.record = before;
                    self.save(Save::Now);
                    return Err(e);
                }
            }
            let record = Arc::make_mut(&mut self.now.record);
            let wishes = record.endpoints.iter_mut().flatten();
            for (name, wishes) in wishes {
                if let Some(endpoint) = self.now.endpoints.get(name) {
                    wishes.network_id.clone_from(&endpoint.network);
                }
            }
        }
        self.publish();
        if self.now.phase.live().is_some() {
            self.services.world.moved(&self.now.record.id);
        }
        self.tell_owner();
        Ok(())
    }

    /// Tells under which name it is known from now on.
    pub(super) async fn tell_name(&mut self) {
        if self.now.phase.live().is_none() {
            return;
        }
        let services = Arc::clone(&self.services);
        let record = Arc::clone(&self.now.record);
        let work = move || services.network.renamed(&record, &services.paths.exec_of(&record.id));
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(endpoints)) => self.now.endpoints = endpoints,
            Ok(Err(e)) => tracing::warn!(container = %self.now.record.id, "new name: {e}"),
            Err(e) => tracing::error!(container = %self.now.record.id, "new name: {e}"),
        }
    }

    /// Tells whose life its names last as long as.
    pub(super) fn tell_owner(&self) {
        let Some(live) = self.now.phase.live() else { return };
        let unserved = |e: &EndpointRecord| e.dns_names.is_empty() && e.ports.is_empty();
        let has_rules = crate::egress::of(&self.now.record.host).is_some();
        if !has_rules && self.now.endpoints.values().all(unserved) {
            return;
        }
        let (services, id, pid) =
            (Arc::clone(&self.services), self.now.record.id.clone(), live.pid);
        // Nobody waits for it: until then the names last as long as the daemon.
        tokio::task::spawn_blocking(move || services.network.started(&id, pid));
    }

    /// Does what a daemon that died in the middle of a connection, or of its end, left half done.
    pub(super) async fn settle_networks(&mut self) {
        let Some(wanted) = self.now.record.endpoints.clone() else { return };
        let linked = |name: &&String| !matches!(name.as_str(), "host" | "none");
        let here = self.now.endpoints.clone();
        let missing = wanted.keys().filter(linked).filter(|name| !here.contains_key(*name));
        let link: Relink =
            |networks, record, network, netns, dir| networks.connect(record, network, netns, dir);
        let unlink: Relink = |networks, record, network, netns, dir| {
            networks.disconnect(record, network, netns, dir)
        };
        let steps = missing.map(|name| (name, link)).chain(
            here.keys().filter(|name| !wanted.contains_key(*name)).map(|name| (name, unlink)),
        );
        for (name, relink) in steps {
            let Some(live) = self.now.phase.live() else { return };
            match self.relink_running(live.clone(), name.clone(), relink).await {
                Ok(endpoints) => self.now.endpoints = endpoints,
                Err(e) => tracing::error!(container = %self.now.record.id, "network {name}: {e}"),
            }
        }
    }

    async fn relink_running(
        &self,
        live: Live,
        network: String,
        relink: Relink,
    ) -> Result<Endpoints> {
        let services = Arc::clone(&self.services);
        let record = Arc::clone(&self.now.record);
        let work = move || {
            let netns = join::namespace(live.pid, "net", &record.id)?;
            let folder = services.paths.exec_of(&record.id);
            let endpoints = relink(services.network.as_ref(), &record, &network, netns, &folder)?;
            let own = files::paths(&services.paths, &record.id);
            files::use_names(&own, &record, &endpoints)?;
            let links = links::reachable(services.world.as_ref(), &record);
            let gateways = services.network.host_gateways();
            files::write_hosts(&own, &record, &endpoints, &gateways, &links::lines(&links))?;
            Ok(endpoints)
        };
        tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal(e.to_string()))?
    }
}

fn forbidden(text: impl Into<String>) -> Error {
    Error::new(Kind::Forbidden, text)
}

/// What cannot be connected, with Docker's words.
fn check(endpoints: &BTreeMap<String, EndpointWishes>, shares: bool, network: &str) -> Result<()> {
    let wrong = |text: &str| Err(forbidden(text));
    if shares || endpoints.contains_key("host") {
        return wrong(
            "container sharing network namespace with another container or host cannot be connected to any other network",
        );
    }
    if network == "host" {
        return wrong(
            "container cannot be disconnected from host network or connected to host network",
        );
    }
    if network == "none" || endpoints.contains_key("none") {
        return wrong(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        );
    }
    Ok(())
}
