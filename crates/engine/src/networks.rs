//! The networks of this daemon and who is on them.
//!
//! For now these are Docker's three: `bridge` (the default), `host` and `none`.

use container::services::Sandbox;
use container::{Endpoint, Networking};
use network::{EndpointId, Live, Network, NetworkConfig, NetworkId, Sandboxes};
use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use stdx::fs::{Durability, replace};
use stdx::time::Timestamp;
use stdx::{Error, Result, fail_point};
use store::Store;
use store::records::container::ContainerRecord;
use store::records::network::{EndpointRecord, IpamRecord, NetworkRecord, PoolRecord};

/// The name of the default network.
const BRIDGE: &str = "bridge";

#[derive(Debug)]
pub(crate) struct Networks {
    bridge: Arc<dyn network::Driver>,
    records: Vec<NetworkRecord>,
    store: Arc<Store>,
    /// Made when the first container needs it, so that a daemon without such containers leaves the host as it is.
    made: OnceLock<Network>,
    making: Mutex<()>,
    ready: Sandboxes,
    /// By container.
    endpoints: Mutex<HashMap<String, EndpointId>>,
}

impl Networks {
    /// The networks as the store remembers them; the default three are made up once.
    pub(crate) fn open(store: Arc<Store>, bridge: Arc<dyn network::Driver>) -> Result<Self> {
        let mut records: Vec<NetworkRecord> =
            store.all::<NetworkRecord>()?.into_iter().map(|(_, r)| r).collect();
        if records.is_empty() {
            records = [(BRIDGE, "bridge"), ("host", "host"), ("none", "null")]
                .into_iter()
                .map(|(name, driver)| default_record(name, driver))
                .collect::<Result<_>>()?;
            store.write(|batch| records.iter().try_for_each(|r| batch.put(&r.id, r)))?;
        }
        Ok(Self {
            bridge,
            records,
            store,
            made: OnceLock::new(),
            making: Mutex::default(),
            ready: Sandboxes::new(2)?,
            endpoints: Mutex::default(),
        })
    }

    /// The networks, for listing.
    pub(crate) fn all(&self) -> Vec<NetworkRecord> {
        self.records
            .iter()
            .map(|record| {
                let mut record = record.clone();
                if record.name == BRIDGE
                    && let Some(made) = self.made.get()
                {
                    fill_in(&mut record, made);
                }
                record
            })
            .collect()
    }

    fn record(&self, name: &str) -> Result<&NetworkRecord> {
        self.records
            .iter()
            .find(|r| r.name == name)
            .ok_or_else(|| Error::not_found(format!("network {name} not found")))
    }

    /// The default bridge, made if it is not there.
    fn bridge(&self) -> Result<&Network> {
        if let Some(made) = self.made.get() {
            return Ok(made);
        }
        let _once = self.making.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(made) = self.made.get() {
            return Ok(made);
        }
        let mut record = self.record(BRIDGE)?.clone();
        let subnet = record.ipam.pools.first().and_then(|pool| pool.subnet.parse().ok());
        let made = self.bridge.create(&NetworkConfig::bridge(id_of(&record)?, subnet))?;
        if subnet.is_none() {
            // The subnet that was found free stays the bridge's.
            fill_in(&mut record, &made);
            self.store.write(|batch| batch.put(&record.id, &record))?;
        }
        Ok(self.made.get_or_init(|| made))
    }

    /// Makes the bridge again if containers are on it, and removes what has no owner.
    pub(crate) fn recover(&self, live: Vec<Live>) -> Result<()> {
        // Once it was made it stays, like Docker's; a daemon that cannot make it now still serves what needs none.
        let was_made = self.record(BRIDGE).is_ok_and(|record| !record.ipam.pools.is_empty());
        if was_made && let Err(e) = self.bridge() {
            tracing::warn!("make the default bridge: {e}");
        }
        for one in &live {
            self.endpoints().insert(one.endpoint.container.to_string(), one.endpoint.id);
        }
        let recovered = self.bridge.recover(live)?;
        for link in &recovered.removed {
            tracing::info!("removed link {link}, whose container is gone");
        }
        for error in &recovered.failed {
            tracing::warn!("network recovery: {error}");
        }
        Ok(())
    }

    /// The id of the network of that name; empty for an unknown one.
    pub(crate) fn id_of(&self, name: &str) -> String {
        self.record(name).map(|r| r.id.clone()).unwrap_or_default()
    }

    /// What a running container's folder says of its endpoint.
    pub(crate) fn read(folder: &Path) -> Option<EndpointRecord> {
        serde_json::from_slice(&std::fs::read(folder.join("network.json")).ok()?).ok()
    }

    fn endpoints(&self) -> std::sync::MutexGuard<'_, HashMap<String, EndpointId>> {
        self.endpoints.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The mode as the engine uses it, and an error for what is not there.
    pub(crate) fn mode(&self, asked: &str) -> Result<&'static str> {
        match asked {
            "" | "default" | BRIDGE => Ok(BRIDGE),
            "host" => Ok("host"),
            "none" => Ok("none"),
            other if other.starts_with("container:") => Err(Error::not_implemented(
                "sharing another container's network is not there yet; use bridge, host or none",
            )),
            other => Err(Error::not_found(format!("network {other} not found"))),
        }
    }
}

impl Networking for Networks {
    fn prepare(&self, record: &ContainerRecord, own: Option<OwnedFd>) -> Result<Sandbox> {
        match self.mode(&record.host.network_mode)? {
            "host" => Ok(Sandbox::default()),
            mode => {
                let sandbox = match own {
                    Some(netns) => network::Sandbox::of_new(netns)?,
                    None => self.ready.take()?,
                };
                let netns = sandbox.netns().try_clone_to_owned()?;
                Ok(Sandbox { netns: Some(netns), to_join: (mode == BRIDGE).then_some(sandbox) })
            }
        }
    }

    fn join(
        &self,
        record: &ContainerRecord,
        mut sandbox: network::Sandbox,
        runtime_dir: &Path,
    ) -> Result<BTreeMap<String, Endpoint>> {
        self.bridge()?;
        let bridge = self.record(BRIDGE)?;
        let endpoint =
            network::Endpoint::new(EndpointId::random()?, id_of(bridge)?, record.id.parse()?);
        self.endpoints().insert(record.id.clone(), endpoint.id);
        let mut owned = EndpointRecord {
            id: endpoint.id.to_string(),
            network: bridge.id.clone(),
            ..EndpointRecord::default()
        };
        write(runtime_dir, &owned)?;
        fail_point!("network.join.after-record");
        let joined = self.bridge.join(&endpoint, &mut sandbox)?;
        fail_point!("network.join.after-link");
        owned.interface = joined.interface.clone();
        owned.host_interface = joined.host_interface.clone().unwrap_or_default();
        owned.mac = joined.mac.as_ref().map(ToString::to_string).unwrap_or_default();
        owned.addresses = joined.addresses.iter().map(ToString::to_string).collect();
        owned.gateway = joined.gateways.first().map(ToString::to_string).unwrap_or_default();
        write(runtime_dir, &owned)?;
        Ok(BTreeMap::from([(BRIDGE.to_owned(), view(&owned))]))
    }

    fn settled(&self) {
        self.ready.refill();
    }

    fn leave(&self, id: &str) {
        let Some(endpoint) = self.endpoints().remove(id) else { return };
        if let Err(e) = self.bridge.leave(&endpoint) {
            tracing::warn!("leave network: {e}");
        }
    }

    fn adopt(&self, _record: &ContainerRecord, runtime_dir: &Path) -> BTreeMap<String, Endpoint> {
        Self::read(runtime_dir).map(|owned| (BRIDGE.to_owned(), view(&owned))).into_iter().collect()
    }
}

fn id_of(record: &NetworkRecord) -> Result<NetworkId> {
    record.id.parse().map_err(|e: network::InvalidId| Error::internal(e.to_string()))
}

fn write(folder: &Path, record: &EndpointRecord) -> Result<()> {
    let bytes =
        serde_json::to_vec(record).map_err(|e| Error::internal("encode endpoint").caused_by(e))?;
    replace(&folder.join("network.json"), &bytes, 0o600, Durability::Process)
}

fn view(owned: &EndpointRecord) -> Endpoint {
    let (address, prefix) =
        owned.addresses.first().and_then(|a| a.split_once('/')).unwrap_or_default();
    Endpoint {
        network: BRIDGE.to_owned(),
        network_id: owned.network.clone(),
        id: owned.id.clone(),
        mac: owned.mac.clone(),
        address: address.to_owned(),
        prefix_len: prefix.parse().unwrap_or(0),
        gateway: owned.gateway.clone(),
    }
}

fn default_record(name: &str, driver: &str) -> Result<NetworkRecord> {
    Ok(NetworkRecord {
        id: NetworkId::random()?.to_string(),
        name: name.to_owned(),
        driver: driver.to_owned(),
        created: Timestamp::now().to_string(),
        ipam: IpamRecord { driver: "default".to_owned(), ..IpamRecord::default() },
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
        internal: false,
        attachable: false,
        ipv6: false,
    })
}

fn fill_in(record: &mut NetworkRecord, made: &Network) {
    record.ipam.pools = made
        .pools
        .iter()
        .map(|pool| PoolRecord {
            subnet: pool.subnet.to_string(),
            gateway: pool.gateway.map(|g| g.to_string()).unwrap_or_default(),
            range: String::new(),
            auxiliary: BTreeMap::new(),
            chosen: false,
        })
        .collect();
    if let Some(interface) = &made.interface {
        record.options.insert("com.docker.network.bridge.name".to_owned(), interface.clone());
    }
}
