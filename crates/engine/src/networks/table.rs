//! The networks of this daemon, and who is on them.

use super::announcing::Announcing;
use super::request::{self, CreateNetwork};
use super::{BRIDGE, endpoint, is_predefined};
use crate::NetworkDefaults;
use crate::events::Events;
use network::{
    Announcements, Driver, EndpointId, Explanation, Live, Network, NetworkId, Owner, Plugins,
    Question, Sandboxes, Usage,
};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use stdx::time::Timestamp;
use stdx::{Error, Kind, Result, fail_point};
use store::Store;
use store::records::network::{EndpointRecord, IpamRecord, NetworkRecord, PoolRecord};

#[derive(Debug)]
pub(crate) struct Networks {
    drivers: Vec<Arc<dyn Driver>>,
    plugins: Arc<dyn Plugins>,
    store: Arc<Store>,
    pub(super) events: Arc<Events>,
    table: RwLock<Table>,
    /// Held by whoever makes or removes a network on the host: one at a time. Not where a plugin is asked, which may
    /// take its time.
    making: Mutex<()>,
    /// The networks that are being made or removed: whoever needs the same one waits, also where a plugin is asked.
    busy: Mutex<HashSet<String>>,
    idle: Condvar,
    pub(super) ready: Sandboxes,
    /// The endpoints whose neighbours are being told of them.
    pub(super) announcing: Announcing,
    /// Who answers for names.
    pub(super) names: netd::Client,
    /// It has been told which changes of the firewall are ours.
    watching: Arc<AtomicBool>,
    /// What the daemon's options say.
    pub(super) defaults: NetworkDefaults,
}

#[derive(Debug, Default)]
struct Table {
    /// By id.
    networks: BTreeMap<String, Known>,
    /// Ids by name.
    names: HashMap<String, String>,
    /// Names of networks that are being made.
    coming: HashSet<String>,
    /// By container.
    endpoints: HashMap<String, Vec<Held>>,
}

#[derive(Debug, Clone)]
struct Known {
    record: NetworkRecord,
    /// It is on the host. The default one is made when the first container needs it, so that a daemon without such
    /// containers leaves the host as it is.
    made: bool,
}

/// A container's place on a network.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) id: EndpointId,
    /// The network's id.
    pub(super) network: String,
    /// The world was told that the container is on the network.
    pub(super) told: bool,
}

impl Networks {
    /// The networks as the store remembers them; the default three are made up once.
    pub(crate) fn open(
        store: Arc<Store>,
        drivers: Vec<Arc<dyn Driver>>,
        plugins: Arc<dyn Plugins>,
        events: Arc<Events>,
        names: netd::Client,
        defaults: NetworkDefaults,
    ) -> Result<Self> {
        let mut records: Vec<NetworkRecord> =
            store.all::<NetworkRecord>()?.into_iter().map(|(_, r)| r).collect();
        if records.is_empty() {
            records = [(BRIDGE, "bridge"), ("host", "host"), ("none", "null")]
                .into_iter()
                .map(|(name, driver)| default_record(name, driver))
                .collect::<Result<_>>()?;
            store.write(|batch| records.iter().try_for_each(|r| batch.put(&r.id, r)))?;
        }
        let mut table = Table::default();
        for mut record in records {
            match &defaults.bridge {
                Some(bridge) if record.name == BRIDGE => {
                    let before = record.clone();
                    bridge.apply(&mut record);
                    // Here and not when the first container starts, which is to wait for no disk.
                    if record != before {
                        store.write(|batch| batch.put(&record.id, &record))?;
                    }
                }
                None if record.name == BRIDGE => continue,
                _ => {}
            }
            table.insert(record, false);
        }
        Ok(Self {
            drivers,
            plugins,
            store,
            events,
            table: RwLock::new(table),
            making: Mutex::default(),
            busy: Mutex::default(),
            idle: Condvar::new(),
            ready: Sandboxes::new(2)?,
            announcing: Announcing::default(),
            names,
            watching: Arc::default(),
            defaults,
        })
    }

    /// The networks, for listing.
    pub(crate) fn all(&self) -> Vec<NetworkRecord> {
        self.read().networks.values().map(|known| known.record.clone()).collect()
    }

    /// The network that a user means.
    pub(crate) fn find(&self, named: &str) -> Result<NetworkRecord> {
        let table = self.read();
        if let Some(known) = table.exactly(named) {
            return Ok(known.record.clone());
        }
        let mut starting = table.networks.range(named.to_owned()..);
        let mut next = || starting.next().filter(|(id, _)| id.starts_with(named));
        match (next(), next()) {
            (Some((_, known)), None) if !named.is_empty() => Ok(known.record.clone()),
            (Some(_), Some(_)) if !named.is_empty() => Err(Error::invalid(format!(
                "network {named} is ambiguous (2 matches found based on ID prefix)"
            ))),
            _ => Err(endpoint::not_found(named)),
        }
    }

    /// The id of the network of that name; empty for an unknown one.
    pub(crate) fn id_of(&self, name: &str) -> String {
        self.read().names.get(name).cloned().unwrap_or_default()
    }

    /// Makes a network. Nobody finds it before `tell`, which must not wait for anything, has told of it.
    pub(super) fn create(
        &self,
        asked: CreateNetwork,
        tell: impl FnOnce(&NetworkRecord),
    ) -> Result<NetworkRecord> {
        // The default network has the first of the free subnets, whichever is made first.
        if !asked.config_only
            && self.defaults.bridge.is_some()
            && let Err(e) = self.ensure_made(&self.id_of(BRIDGE))
        {
            tracing::warn!("make the default network: {e}");
        }
        let driver = if asked.driver.is_empty() { "bridge" } else { &asked.driver };
        let _one = self.one_at_a_time(driver, &asked.ipam.driver);
        let configuration = match asked.config_from.as_str() {
            "" => None,
            name => self.find(name).ok(),
        };
        let mut record = asked.record(configuration.as_ref())?;
        let _name = self.keep_name(&record.name)?;
        self.defaults.fill_in(&mut record);
        let config = self.config(&record)?;
        Announcements::of(&record.options)?;
        self.check_rules(&record)?;
        let driver = if record.config_only { None } else { Some(self.driver(&record.driver)?) };
        if let Some(driver) = &driver {
            let made = driver.create(&config)?;
            fill_in(&mut record, &made);
        }
        // A crash here leaves a link whose mark names a network that nobody knows, and a record for names: the next start
        // removes both.
        fail_point!("network.create.before-record");
        let named = if driver.is_some() { self.name(&record) } else { Ok(()) };
        let written = named.and_then(|()| self.store.write(|batch| batch.put(&record.id, &record)));
        if let Err(e) = written {
            if let Some(driver) = &driver {
                self.take_away(driver, &config.id);
                self.forget_names(&record);
            }
            return Err(e);
        }
        fail_point!("network.create.after-record");
        let mut table = self.write();
        table.insert(record.clone(), driver.is_some());
        tell(&record);
        Ok(record)
    }

    pub(super) fn remove(&self, id: &str) -> Result<()> {
        let record = self.meant("", id)?;
        let _one = self.one_at_a_time(&record.driver, &record.ipam.driver);
        let _alone = self.alone_with(id);
        // Out of the table nobody comes to it any more.
        let known = self.write().take(id)?;
        fail_point!("network.remove.before-record");
        if let Err(e) = self.store.write(|batch| batch.remove::<NetworkRecord>(id)) {
            self.write().insert(known.record, known.made);
            return Err(e);
        }
        fail_point!("network.remove.after-record");
        if known.made
            && let Ok(driver) = self.driver(&known.record.driver)
            && let Ok(network) = request::id_of(&known.record)
        {
            self.take_away(&driver, &network);
            self.forget_names(&known.record);
            self.let_helper_rest();
        }
        Ok(())
    }

    /// Has them answered no more.
    fn forget_names(&self, record: &NetworkRecord) {
        if let Err(e) = record.id.parse().and_then(|id| self.names.forget_network(&id)) {
            tracing::warn!("names of network {}: {e}", record.name);
        }
    }

    /// Has the names of a network's containers answered.
    fn name(&self, record: &NetworkRecord) -> Result<()> {
        let network = netd::Network { name: record.name.clone(), internal: record.internal };
        self.names.network(&record.id.parse()?, &network)
    }

    /// Takes a network without a record from the host. What fails is tried again at the next start.
    fn take_away(&self, driver: &Arc<dyn Driver>, network: &NetworkId) {
        if let Err(e) = driver.delete(network) {
            tracing::warn!("network {network} is left on the host until the next start: {e}");
        }
    }

    /// Whether containers of the default network may talk to those only that they are linked to.
    pub(crate) fn keeps_apart(&self) -> bool {
        const ICC: &str = "com.docker.network.bridge.enable_icc";
        self.find(BRIDGE)
            .is_ok_and(|record| record.options.get(ICC).is_some_and(|on| on == "false"))
    }

    /// Who may talk to whom there.
    pub(crate) fn link(&self, links: Vec<network::Link>) -> Result<()> {
        let bridge = self.find(BRIDGE)?;
        self.driver(&bridge.driver)?.link(links)
    }

    /// Which rules decide about what is asked.
    pub(super) fn explain(&self, question: &Question) -> Result<Vec<Explanation>> {
        let answers = self.drivers.iter().map(|driver| driver.explain(question));
        Ok(answers.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// What stands in the way of networks and cannot be helped from here.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.drivers.iter().flat_map(|driver| driver.warnings()).collect()
    }

    /// What of the host's own is other than it would be without this daemon.
    pub(crate) fn changes(&self) -> Vec<String> {
        self.drivers.iter().flat_map(|driver| driver.changes()).collect()
    }

    /// How full a network's subnets are.
    pub(super) fn usage(&self, record: &NetworkRecord) -> Vec<(ipnet::IpNet, Usage)> {
        let usage = |driver: Arc<dyn Driver>| Ok(driver.usage(&request::id_of(record)?));
        self.driver(&record.driver).and_then(usage).unwrap_or_default()
    }

    /// The driver of that name.
    pub(super) fn driver(&self, name: &str) -> Result<Arc<dyn Driver>> {
        let driver = self.drivers.iter().find(|driver| driver.name() == name);
        Ok(driver.cloned().unwrap_or_else(|| self.plugins.driver(name)))
    }

    /// Whether the network of that id is a plugin's.
    pub(super) fn is_remote(&self, id: &str) -> bool {
        let ours = |known: &Known| self.drivers.iter().any(|d| d.name() == known.record.driver);
        self.read().networks.get(id).is_some_and(|known| !ours(known))
    }

    /// The names of the drivers that there are, sorted.
    pub(crate) fn driver_names(&self) -> Vec<String> {
        let own = self.drivers.iter().map(|driver| driver.name().to_owned());
        let mut names: Vec<String> = own.chain(self.plugins.loaded()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Whoever makes or removes such a network waits for those before him, unless a plugin is asked.
    fn one_at_a_time(&self, driver: &str, ipam: &str) -> Option<MutexGuard<'_, ()>> {
        let ours = self.drivers.iter().any(|known| known.name() == driver);
        (ours && matches!(ipam, "" | "default" | "null"))
            .then(|| self.making.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until nobody makes or removes this network, and keeps it so as long as the answer lives.
    fn alone_with(&self, id: &str) -> Alone<'_> {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let is_busy = |busy: &mut HashSet<String>| busy.contains(id);
        let mut busy = self.idle.wait_while(busy, is_busy).unwrap_or_else(PoisonError::into_inner);
        busy.insert(id.to_owned());
        Alone { networks: self, id: id.to_owned() }
    }

    /// Keeps a new network's name as long as the answer lives.
    fn keep_name(&self, name: &str) -> Result<KeptName<'_>> {
        let mut table = self.write();
        if table.names.contains_key(name) || !table.coming.insert(name.to_owned()) {
            return Err(Error::conflict(format!("network with name {name} already exists")));
        }
        Ok(KeptName { networks: self, name: name.to_owned() })
    }

    /// The network on which a container is to be: by the id that it had when the container was first on it, or by name.
    pub(super) fn meant(&self, name: &str, id: &str) -> Result<NetworkRecord> {
        let table = self.read();
        let known = if id.is_empty() { table.exactly(name) } else { table.networks.get(id) };
        let wanted = if id.is_empty() { name } else { id };
        known.map(|known| known.record.clone()).ok_or_else(|| endpoint::not_found(wanted))
    }

    /// What the driver is to make for a record.
    fn config(&self, record: &NetworkRecord) -> Result<network::NetworkConfig> {
        let mut config = request::config(record)?;
        if record.name == BRIDGE
            && let Some(bridge) = &self.defaults.bridge
        {
            if let Some(link) = bridge.link.clone() {
                config.options.insert("com.docker.network.bridge.name".to_owned(), link);
            }
            // A subnet that is chosen now has no record yet that would say so.
            let ways = [
                (&mut config.ipv4, bridge.gateway_ipv4.map(IpAddr::V4)),
                (&mut config.ipv6, bridge.gateway_ipv6.map(IpAddr::V6)),
            ];
            for (pool, way_out) in ways {
                if let Some(pool) = pool {
                    pool.way_out = way_out;
                }
            }
        }
        Ok(config)
    }

    /// Makes sure that a network is on the host. Returns its driver.
    pub(super) fn ensure_made(&self, id: &str) -> Result<Arc<dyn Driver>> {
        let known =
            |table: &Table| table.networks.get(id).cloned().ok_or_else(|| endpoint::not_found(id));
        let now = known(&self.read())?;
        if now.made {
            return self.driver(&now.record.driver);
        }
        let _one = self.one_at_a_time(&now.record.driver, &now.record.ipam.driver);
        let _alone = self.alone_with(id);
        let now = known(&self.read())?;
        let driver = self.driver(&now.record.driver)?;
        if now.made {
            return Ok(driver);
        }
        let mut record = now.record.clone();
        let made = driver.create(&self.config(&record)?)?;
        fill_in(&mut record, &made);
        if record.name == BRIDGE
            && let Some(bridge) = &self.defaults.bridge
        {
            bridge.apply(&mut record);
        }
        if record != now.record {
            // The subnet that was found free stays the network's.
            self.store.write(|batch| batch.put(&record.id, &record))?;
        }
        self.write().insert(record, true);
        Ok(driver)
    }

    /// Makes the networks again that were there, adopts those who are on them, and removes what has no owner.
    pub(crate) fn recover(&self, live: Vec<(EndpointRecord, Live)>) -> Result<()> {
        for record in self.all() {
            // Once the default bridge was made it stays, like Docker's.
            let was_made = !is_predefined(&record.name) || !record.ipam.pools.is_empty();
            if record.config_only || !was_made || matches!(record.name.as_str(), "host" | "none") {
                continue;
            }
            // A daemon that cannot make a network now still serves what does not need it, and tries again.
            if let Err(e) = self.ensure_made(&record.id) {
                tracing::warn!("make network {}: {e}", record.name);
            }
        }
        if let Err(e) = self.recover_names(&live) {
            tracing::error!("names of containers: {e}");
        }
        let mut by_driver: BTreeMap<String, Vec<Live>> =
            self.drivers.iter().map(|driver| (driver.name().to_owned(), Vec::new())).collect();
        let owners: Vec<Owner> = live.iter().map(|(_, live)| owner(live)).collect();
        for (owned, live) in live {
            let held = Held { id: live.endpoint.id, network: owned.network.clone(), told: true };
            let container = live.endpoint.container.to_string();
            self.write().endpoints.entry(container).or_default().push(held);
            let network = self.meant("", &owned.network);
            match network.and_then(|network| self.driver(&network.driver)) {
                Ok(driver) => by_driver.entry(driver.name().to_owned()).or_default().push(live),
                Err(e) => tracing::warn!("endpoint {}: {e}", owned.id),
            }
        }
        for (name, live) in by_driver {
            let recovered = self.driver(&name)?.recover(live)?;
            for link in &recovered.removed {
                tracing::info!("removed link {link}, whose container is gone");
            }
            for error in &recovered.failed {
                tracing::warn!("network recovery: {error}");
            }
        }
        let known: Vec<NetworkId> =
            self.all().iter().filter_map(|record| record.id.parse().ok()).collect();
        self.plugins.recover(&known, &owners);
        Ok(())
    }

    /// Finds the helper that answers for names, and tells it what is not any more.
    fn recover_names(&self, live: &[(EndpointRecord, Live)]) -> Result<()> {
        let named = |record: &NetworkRecord| !is_predefined(&record.name) && !record.config_only;
        let networks: Vec<NetworkRecord> = self.all().into_iter().filter(named).collect();
        let containers: HashSet<String> =
            live.iter().map(|(_, live)| live.endpoint.container.to_string()).collect();
        self.names.sweep(
            |sandbox| containers.contains(sandbox.as_str()),
            |network| networks.iter().any(|record| record.id == network.as_str()),
        )?;
        networks.iter().try_for_each(|record| self.name(record))?;
        let on_ipv6 = |live: &Live| live.published.iter().any(|port| port.address.is_ipv6());
        if live.iter().any(|(_, live)| on_ipv6(live)) {
            let port = self.names.redirect_port()?;
            self.drivers.iter().try_for_each(|driver| driver.relay(Some(port)))?;
        }
        // One that the last daemon was about to end, or had just started; containers of the default network need none.
        if networks.is_empty() && self.names.stop_if_idle()? {
            return Ok(());
        }
        if self.names.adopt()? {
            self.watched();
            let of_network =
                |record: &NetworkRecord| record.options.contains_key(container::egress::EGRESS);
            if networks.iter().any(of_network)
                || live.iter().any(|(_, l)| l.endpoint.egress.is_some())
            {
                self.names.watch_denials();
            }
        }
        Ok(())
    }

    /// The helper is there: from now on it also looks after our firewall tables, and knows our own changes of them.
    pub(super) fn watched(&self) {
        if self.watching.swap(true, Ordering::Relaxed) {
            return;
        }
        for port in self.drivers.iter().filter_map(|driver| driver.firewall_port()) {
            if let Err(e) = self.names.watch_firewall(port) {
                tracing::warn!("the firewall is not watched while the daemon is down: {e}");
            }
        }
    }

    /// Whether the helper is there, as far as this daemon has seen to it.
    pub(super) fn is_watched(&self) -> bool {
        self.watching.load(Ordering::Relaxed)
    }

    /// Ends the helper when nobody needs it any more. Somebody who needs it at the same moment starts it again.
    /// Nobody waits for it.
    pub(super) fn let_helper_rest(&self) {
        let named = |known: &Known| !is_predefined(&known.record.name);
        if self.read().networks.values().any(named) {
            return;
        }
        let (names, watching) = (self.names.clone(), Arc::clone(&self.watching));
        let rest = move || {
            // Whoever starts it again from here on says anew what it is to watch.
            let before = watching.swap(false, Ordering::Relaxed);
            match names.stop_if_idle() {
                Ok(true) => {}
                Ok(false) => drop(watching.fetch_or(before, Ordering::Relaxed)),
                Err(e) => tracing::warn!("end gantry-netd: {e}"),
            }
        };
        if let Err(e) = std::thread::Builder::new().name("netd-rest".into()).spawn(rest) {
            tracing::warn!("end gantry-netd: {e}");
        }
    }

    /// Notes that a container takes a place on a network: from now on it cannot be removed.
    pub(super) fn hold(&self, container: &str, network: &str, id: EndpointId) -> Result<()> {
        let mut table = self.write();
        if !table.networks.contains_key(network) {
            return Err(endpoint::not_found(network));
        }
        let held = Held { id, network: network.to_owned(), told: false };
        table.endpoints.entry(container.to_owned()).or_default().push(held);
        Ok(())
    }

    /// Notes that the world was told of all of a container's places.
    pub(super) fn told(&self, container: &str) -> Vec<Held> {
        let mut table = self.write();
        let all = table.endpoints.get_mut(container).map(Vec::as_mut_slice).unwrap_or_default();
        let news = all.iter().filter(|held| !held.told).cloned().collect();
        all.iter_mut().for_each(|held| held.told = true);
        news
    }

    /// A container's place on a network, which it has no more.
    pub(super) fn let_go(&self, container: &str, id: EndpointId) -> Option<Held> {
        let mut table = self.write();
        let all = table.endpoints.get_mut(container)?;
        let at = all.iter().position(|held| held.id == id)?;
        let held = all.remove(at);
        if all.is_empty() {
            table.endpoints.remove(container);
        }
        self.announcing.end(&held.id);
        Some(held)
    }

    /// The id of a network that a container is on.
    pub(super) fn first_network(&self, container: &str) -> Option<String> {
        Some(self.read().endpoints.get(container)?.first()?.network.clone())
    }

    /// All of a container's places, which it has no more.
    pub(super) fn let_all_go(&self, container: &str) -> Vec<Held> {
        let all = self.write().endpoints.remove(container).unwrap_or_default();
        all.iter().for_each(|held| self.announcing.end(&held.id));
        all
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A network's name that nobody else gets meanwhile.
#[derive(Debug)]
struct KeptName<'a> {
    networks: &'a Networks,
    name: String,
}

impl Drop for KeptName<'_> {
    fn drop(&mut self) {
        self.networks.write().coming.remove(&self.name);
    }
}

/// A network that nobody else makes or removes meanwhile.
#[derive(Debug)]
struct Alone<'a> {
    networks: &'a Networks,
    id: String,
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.networks.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        self.networks.idle.notify_all();
    }
}

fn owner(live: &Live) -> Owner {
    Owner {
        endpoint: live.endpoint.id,
        network: live.endpoint.network,
        addresses: live.joined.addresses.iter().map(ipnet::IpNet::addr).collect(),
    }
}

impl Table {
    fn insert(&mut self, record: NetworkRecord, made: bool) {
        self.names.insert(record.name.clone(), record.id.clone());
        self.networks.insert(record.id.clone(), Known { record, made });
    }

    fn exactly(&self, named: &str) -> Option<&Known> {
        let id = self.names.get(named).map_or(named, String::as_str);
        self.networks.get(named).or_else(|| self.networks.get(id))
    }

    /// Takes a network out that may be removed.
    fn take(&mut self, id: &str) -> Result<Known> {
        let forbidden = |text: String| Err(Error::new(Kind::Forbidden, text));
        let known = self.networks.get(id).ok_or_else(|| endpoint::not_found(id))?;
        let name = known.record.name.clone();
        if is_predefined(&name) {
            return forbidden(format!("{name} is a pre-defined network and cannot be removed"));
        }
        if self.endpoints.values().flatten().any(|held| held.network == id) {
            return forbidden(format!(
                "error while removing network: network {name} id {id} has active endpoints"
            ));
        }
        if known.record.config_only
            && self.networks.values().any(|other| other.record.config_from == name)
        {
            return forbidden(format!(
                "error while removing network: configuration network {name:?} is in use"
            ));
        }
        self.names.remove(&name);
        self.networks.remove(id).ok_or_else(|| endpoint::not_found(id))
    }
}

fn default_record(name: &str, driver: &str) -> Result<NetworkRecord> {
    Ok(NetworkRecord {
        id: NetworkId::random()?.to_string(),
        name: name.to_owned(),
        driver: driver.to_owned(),
        created: Timestamp::now().to_string(),
        ipam: IpamRecord { driver: "default".to_owned(), ..IpamRecord::default() },
        ..NetworkRecord::default()
    })
}

/// What the driver chose is recorded, so that the network keeps it.
fn fill_in(record: &mut NetworkRecord, made: &Network) {
    for pool in &made.pools {
        let subnet = pool.subnet.to_string();
        if record.ipam.pools.iter().any(|known| known.subnet == subnet) {
            continue;
        }
        if record.name == BRIDGE {
            // Another link of somebody's, or another address of it.
            let six = pool.subnet.addr().is_ipv6();
            record.ipam.pools.retain(|known| known.subnet.contains(':') != six);
        }
        record.ipam.pools.push(PoolRecord {
            subnet,
            gateway: pool.gateway.map(|g| g.to_string()).unwrap_or_default(),
            ..PoolRecord::default()
        });
    }
    record.global = made.global;
    if record.ipam.driver == "null" && record.ipam.pools.is_empty() && !is_predefined(&record.name)
    {
        // What Docker shows where nobody gives addresses.
        record.ipam.pools =
            vec![PoolRecord { subnet: "0.0.0.0/0".to_owned(), ..PoolRecord::default() }];
    }
    if record.name == BRIDGE
        && let Some(interface) = &made.interface
    {
        record.options.insert("com.docker.network.bridge.name".to_owned(), interface.clone());
    }
}
