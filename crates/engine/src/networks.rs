//! Use cases about networks.
//!
//! ```text
//!   request    what a user asks for, checked, as a record          (pure)
//!   endpoint   which networks a container joins, and how           (pure)
//!   ports      which of its ports are published                    (pure)
//!   names      what its resolver is to know                      (pure)
//!   explain    who reaches what, and which rule says so
//!   egress     where containers may go, and what was denied
//!   table      the networks that there are, and who is on them
//!   announcing telling neighbours of links that have just come
//!   links      containers coming and going: what drivers of containers call
//! ```

mod announcing;
mod egress;
mod endpoint;
mod explain;
mod links;
mod names;
mod ports;
mod request;
mod table;

use crate::Engine;
use std::collections::BTreeMap;
use stdx::{Error, Kind, Result};
use store::records::container::EndpointWishes;
use store::records::network::NetworkRecord;

pub(crate) use endpoint::{joined_of, of_record};
pub use explain::Explained;
pub(crate) use ports::{check as check_ports, container_port, of_record as published_of};
pub use request::CreateNetwork;
pub(crate) use request::{WAY_OUT, WAY_OUT_V6};
pub(crate) use table::Networks;

/// The name of the default network.
pub(crate) const BRIDGE: &str = "bridge";

/// Whether a network of that name is always there.
pub(crate) fn is_predefined(name: &str) -> bool {
    matches!(name, BRIDGE | "host" | "none")
}

impl Engine {
    /// All networks.
    pub fn list_networks(&self) -> Vec<NetworkRecord> {
        self.inner.networks.all()
    }

    /// The network that a user means: by its id, its name, or a prefix that only one id has.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` for a prefix that several ids have.
    pub fn inspect_network(&self, named: &str) -> Result<NetworkRecord> {
        self.inner.networks.find(named)
    }

    /// How full a network's subnets are: the subnet, how many of its addresses nobody can get, and how many are free.
    pub fn network_usage(&self, record: &NetworkRecord) -> Vec<(String, u64, u64)> {
        let usage = self.inner.networks.usage(record).into_iter();
        usage.map(|(subnet, usage)| (subnet.to_string(), usage.in_use, usage.available)).collect()
    }

    /// Makes a network; its id.
    ///
    /// # Errors
    /// `Conflict` when its name is taken, `Forbidden` and `InvalidArgument` for what cannot be, `NotFound` for a driver
    /// that is not there.
    pub async fn create_network(&self, asked: CreateNetwork) -> Result<String> {
        let engine = self.clone();
        let make = move || {
            let tell = |record: &_| engine.network_event(record, "create", BTreeMap::new());
            engine.inner.networks.create(asked, tell)
        };
        Ok(blocking(make).await?.id)
    }

    /// Removes a network that no running container is on.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` when it is in use or always there.
    pub async fn remove_network(&self, named: &str) -> Result<()> {
        let record = self.inner.networks.find(named)?;
        let (engine, id) = (self.clone(), record.id.clone());
        blocking(move || engine.inner.networks.remove(&id)).await?;
        self.network_event(&record, "destroy", BTreeMap::new());
        Ok(())
    }

    /// Removes every network of users that no running container is on, unless `keep` wants it; their names.
    pub async fn prune_networks(
        &self,
        keep: impl Fn(&NetworkRecord) -> bool,
    ) -> Result<Vec<String>> {
        let mut removed = Vec::new();
        for record in self.list_networks() {
            if is_predefined(&record.name) || record.config_only || keep(&record) {
                continue;
            }
            match self.remove_network(&record.id).await {
                Ok(()) => removed.push(record.name),
                // In use, or removed by somebody else meanwhile.
                Err(e) if matches!(e.kind(), Kind::Forbidden | Kind::NotFound) => {}
                Err(e) => return Err(e),
            }
        }
        let attributes = BTreeMap::from([("reclaimed".to_owned(), "0".to_owned())]);
        self.inner.events.publish("network", "prune", "", attributes);
        Ok(removed)
    }

    /// Puts a container on a network, at once when it runs.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` when it is on it or cannot be on several; `InvalidArgument` for wishes that cannot be met.
    pub async fn connect_network(
        &self,
        named: &str,
        container: &str,
        wishes: EndpointWishes,
    ) -> Result<()> {
        let container = self.inner.containers.find(container)?;
        let network = self.inner.networks.find(named)?;
        endpoint::check(&network.name, Some(&network), &wishes).map_err(Error::invalid)?;
        let has_rules = container::egress::of(&container.now().record.host).is_some();
        self.inner.networks.check_place(has_rules, &network)?;
        container.connect(network.name, wishes).await
    }

    /// Takes a container from a network. `force`: that it is not there is no error.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` when it is not on it.
    pub async fn disconnect_network(
        &self,
        named: &str,
        container: &str,
        force: bool,
    ) -> Result<()> {
        let found = self.inner.containers.find(container);
        let network = self.inner.networks.find(named);
        let (container, network) = match (found, network) {
            (Ok(container), Ok(network)) => (container, network.name),
            // The network may have been removed while the container did not run.
            (Ok(container), Err(_)) if container.now().record.networks().contains_key(named) => {
                (container, named.to_owned())
            }
            (Err(_), Ok(_)) if force => {
                return Err(Error::not_found(format!("endpoint {container} not found")));
            }
            (Err(e), Ok(_)) | (_, Err(e)) => return Err(e),
        };
        container.disconnect(network).await
    }

    fn network_event(
        &self,
        record: &NetworkRecord,
        action: &str,
        mut attributes: BTreeMap<String, String>,
    ) {
        attributes.insert("name".to_owned(), record.name.clone());
        attributes.insert("type".to_owned(), record.driver.clone());
        self.inner.events.publish("network", action, &record.id, attributes);
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal(e.to_string()))?
}
