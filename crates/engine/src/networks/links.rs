//! Containers coming to networks and leaving them.

use super::endpoint::{self, Place};
use super::table::{Held, Networks};
use super::{BRIDGE, names, ports};
use container::services::Sandbox;
use container::{Endpoints, Networking};
use network::{Announcements, EndpointId, Joined, PortRequest};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use stdx::fs::{Durability, replace};
use stdx::{Error, Kind, Result, fail_point};
use store::records::container::{ContainerRecord, EndpointWishes, HostConfig};
use store::records::network::{EndpointRecord, SandboxRecord};

impl Networks {
    /// What a running container's folder says of its endpoints.
    pub(crate) fn endpoints_of(folder: &Path) -> Vec<EndpointRecord> {
        let Ok(bytes) = std::fs::read(folder.join("network.json")) else { return Vec::new() };
        if let Ok(SandboxRecord { endpoints }) = serde_json::from_slice(&bytes)
            && !endpoints.is_empty()
        {
            // Whose link had not been made when the daemon died is on no network.
            return endpoints.into_iter().filter(|e| !e.interface.is_empty()).collect();
        }
        // Of a daemon that knew one network only.
        let alone =
            serde_json::from_slice(&bytes).ok().filter(|e: &EndpointRecord| !e.id.is_empty());
        let default = |e| EndpointRecord { name: BRIDGE.to_owned(), default_route: true, ..e };
        alone.map(default).into_iter().collect()
    }

    /// The places that a container is to have, in the order in which it takes them.
    fn places(&self, record: &ContainerRecord) -> Result<Vec<Place>> {
        let places = endpoint::in_order(record, record.networks_at_start());
        places.into_iter().map(|(name, wishes)| self.place(&name, wishes)).collect()
    }

    fn place(&self, name: &str, wishes: EndpointWishes) -> Result<Place> {
        let network = self.meant(name, &wishes.network_id)?;
        if network.config_only {
            let text = "cannot create endpoint on configuration-only network";
            return Err(Error::new(Kind::Forbidden, text));
        }
        endpoint::check(&network.name, Some(&network), &wishes).map_err(Error::invalid)?;
        Ok(Place { network, wishes })
    }

    /// What a new container wants of its networks, checked as far as they are known: an unknown network's name is found
    /// out at the start, as with Docker.
    pub(crate) fn wishes(
        &self,
        host: &mut HostConfig,
        mut asked: BTreeMap<String, EndpointWishes>,
    ) -> Result<BTreeMap<String, EndpointWishes>> {
        if container::join::of_container(&host.network_mode).is_some() {
            return Ok(BTreeMap::new());
        }
        if self.defaults.bridge.is_none() && matches!(host.network_mode.as_str(), "" | "default") {
            // There is no default network (`--bridge=none`).
            host.network_mode = "none".to_owned();
            asked.retain(|name, _| !matches!(name.as_str(), "" | "default" | BRIDGE));
        }
        let mode = match host.network_mode.as_str() {
            "" | "default" => BRIDGE,
            mode => mode,
        };
        let mut wishes = BTreeMap::new();
        for (name, wanted) in asked {
            let name = if matches!(name.as_str(), "" | "default") { BRIDGE } else { &name };
            let network = self.find(name).ok();
            if let Some(network) = &network {
                self.check_place(container::egress::of(host).is_some(), network)?;
            }
            let name = network.as_ref().map_or(name, |network| &network.name);
            endpoint::check(name, network.as_ref(), &wanted)
                .map_err(|e| Error::invalid(format!("invalid config for network {name}: {e}")))?;
            wishes.insert(name.to_owned(), wanted);
        }
        let found = self.find(mode).ok();
        if let Some(network) = found.as_ref().filter(|network| network.driver != "host") {
            self.check_place(container::egress::of(host).is_some(), network)?;
        }
        let mode = found.map_or_else(|| mode.to_owned(), |network| network.name);
        wishes.entry(mode).or_default();
        if wishes.len() > 1
            && let Some(alone) = ["none", "host"].iter().find(|name| wishes.contains_key(**name))
        {
            return Err(Error::invalid(format!(
                "container cannot be connected to multiple networks with one of the networks in private ({alone}) mode"
            )));
        }
        Ok(wishes)
    }

    /// Links a sandbox to one network. On an error nothing of it is left.
    fn take(
        &self,
        record: &ContainerRecord,
        place: &Place,
        owned: &mut EndpointRecord,
        sandbox: &mut network::Sandbox,
    ) -> Result<()> {
        self.check_place(container::egress::of(&record.host).is_some(), &place.network)?;
        let driver = self.ensure_made(&place.network.id)?;
        let network = super::request::id_of(&place.network)?;
        let mut endpoint = endpoint::endpoint(record, network, &place.wishes, owned.default_route)?;
        endpoint.id = id_of(owned)?;
        if driver.is_remote() {
            endpoint.ports = ports::requests(record)?;
            endpoint.exposed = ports::exposed(record);
        }
        self.hold(&record.id, &place.network.id, endpoint.id)?;
        match driver.join(&endpoint, sandbox) {
            Ok(joined) => {
                endpoint::write_down(owned, &joined);
                self.announce(&place.network.options, endpoint.id, &joined, sandbox);
                Ok(())
            }
            Err(e) => {
                self.let_go(&record.id, endpoint.id);
                if !driver.is_remote() {
                    return Err(e);
                }
                let (container, network) = (&record.name, &place.network.name);
                let text =
                    format!("failed to create endpoint {container} on network {network}: {e}");
                Err(Error::new(e.kind(), text))
            }
        }
    }

    /// Tells the neighbours of a link that has just come. A container without that is none the worse.
    fn announce(
        &self,
        options: &BTreeMap<String, String>,
        id: EndpointId,
        joined: &Joined,
        sandbox: &network::Sandbox,
    ) {
        let begun = Announcements::of(options)
            .and_then(|how| self.announcing.begin(id, joined, sandbox.netns(), how));
        if let Err(e) = begun {
            tracing::warn!("announce endpoint {id}: {e}");
        }
    }

    /// Leads the host's ports to the endpoint that leads to everything else.
    fn publish(
        &self,
        record: &ContainerRecord,
        endpoints: &mut [EndpointRecord],
        requests: &[PortRequest],
    ) -> Result<()> {
        let Some(owned) = endpoints.iter_mut().find(|e| e.default_route) else { return Ok(()) };
        // As a rule nothing is published, and no plugin wants to know even that.
        if requests.is_empty() && !self.is_remote(&owned.network) {
            return Ok(());
        }
        let network = self.meant(&owned.name, &owned.network)?;
        let driver = self.driver(&network.driver)?;
        if requests.iter().any(ports::may_need_relay) {
            // Without the helper such clients are not served; all others are.
            let port = self.names.redirect_port().inspect_err(|e| {
                tracing::warn!("ports on IPv6 loopback are not published: {e}");
            });
            // Before the rules change, or the helper takes that for somebody else's doing.
            self.watched();
            driver.relay(port.ok())?;
        }
        let published = driver.publish(&id_of(owned)?, requests).map_err(|e| {
            Error::new(
                e.kind(),
                format!(
                    "driver failed programming external connectivity on endpoint {} ({}): {e}",
                    record.name, owned.id
                ),
            )
        })?;
        owned.ports = ports::write_down(&published);
        Ok(())
    }

    /// Has names answered in a container's namespace, if it is on a network with names.
    fn attach_names(
        &self,
        record: &ContainerRecord,
        endpoints: &[EndpointRecord],
        netns: BorrowedFd<'_>,
    ) -> Result<()> {
        let has_rules = container::egress::of(&record.host).is_some();
        if !names::has_names(endpoints)
            && !has_rules
            && endpoints.iter().all(|e| e.ports.is_empty())
        {
            return Ok(());
        }
        self.names.attach(&record.id.parse()?, &self.sandbox(record, endpoints), netns)?;
        self.watched();
        Ok(())
    }

    /// Tells who is known by which name after a change.
    fn update_names(&self, record: &ContainerRecord, endpoints: &[EndpointRecord]) -> Result<()> {
        let (id, sandbox) = (record.id.parse()?, self.sandbox(record, endpoints));
        if sandbox.dns || !sandbox.forwards.is_empty() {
            self.names.update(&id, &sandbox)
        } else {
            self.names.detach(&id)
        }
    }

    fn sandbox(&self, record: &ContainerRecord, endpoints: &[EndpointRecord]) -> netd::Sandbox {
        let internal = |id: &str| self.meant("", id).is_ok_and(|network| network.internal);
        let mut sandbox = names::sandbox(
            &self.with_defaults(record),
            endpoints,
            internal,
            self.gateways_for_containers().first().copied(),
        );
        sandbox.egress = self.egress(record, endpoints);
        // Names are how it gets to know addresses, on whatever network it is.
        sandbox.dns |= sandbox.egress.is_some();
        sandbox
    }

    /// A container's record with what the daemon's options say of its resolver.
    pub(crate) fn with_defaults<'a>(
        &self,
        record: &'a ContainerRecord,
    ) -> Cow<'a, ContainerRecord> {
        if !self.defaults.has_resolver() {
            return Cow::Borrowed(record);
        }
        let mut record = record.clone();
        self.defaults.resolver(&mut record.host);
        Cow::Owned(record)
    }

    /// The host's addresses for containers: those that the daemon was told, or the default bridge's.
    fn gateways_for_containers(&self) -> Vec<IpAddr> {
        let told = &self.defaults.host_gateways;
        match self.find(BRIDGE) {
            Ok(bridge) if told.is_empty() => {
                bridge.ipam.pools.iter().filter_map(|pool| pool.gateway.parse().ok()).collect()
            }
            _ => told.clone(),
        }
    }

    /// Tells the world of places that it has not been told of.
    fn tell(&self, record: &ContainerRecord) {
        for held in self.told(&record.id) {
            self.event("connect", &record.id, &held);
        }
    }

    fn event(&self, action: &str, container: &str, held: &Held) {
        let Ok(network) = self.meant("", &held.network) else { return };
        let attributes = BTreeMap::from([
            ("container".to_owned(), container.to_owned()),
            ("name".to_owned(), network.name),
            ("type".to_owned(), network.driver),
        ]);
        self.events.publish("network", action, &network.id, attributes);
    }

    /// Whichever of the container's endpoints is to lead to everything else, does.
    fn turn(
        &self,
        record: &ContainerRecord,
        endpoints: &mut [EndpointRecord],
        sandbox: &mut network::Sandbox,
    ) -> Result<()> {
        let mut places = Vec::new();
        for owned in endpoints.iter() {
            let wishes = record.networks().remove(&owned.name).unwrap_or_default();
            places.push((self.meant(&owned.name, &owned.network)?, wishes));
        }
        let gateway = endpoint::gateway(places.iter().map(|(network, wishes)| (network, wishes)));
        let now = endpoints.iter().find(|e| e.default_route).map(|e| e.name.clone());
        if now == gateway {
            return Ok(());
        }
        for owned in endpoints.iter_mut().filter(|e| e.default_route) {
            let network = self.meant(&owned.name, &owned.network)?;
            self.driver(&network.driver)?.withdraw(&id_of(owned)?)?;
            owned.default_route = false;
            owned.ports.clear();
        }
        let next = endpoints.iter_mut().find(|e| Some(&e.name) == gateway.as_ref());
        let gateways: Vec<(&str, IpAddr)> = next
            .iter()
            .flat_map(|next| [&next.gateway, &next.gateway_v6].map(|gateway| (next, gateway)))
            .filter_map(|(next, gateway)| Some((next.interface.as_str(), gateway.parse().ok()?)))
            .collect();
        sandbox.set_default_routes(&gateways)?;
        fail_point!("network.turn.after-routes");
        if let Some(next) = next {
            next.default_route = true;
        }
        self.publish(record, endpoints, &ports::requests(record)?)
    }
}

impl Networking for Networks {
    fn prepare(&self, record: &ContainerRecord, own: Option<OwnedFd>) -> Result<Sandbox> {
        let networks = record.networks_at_start();
        if networks.contains_key("host") {
            return Ok(Sandbox::default());
        }
        let sandbox = match own {
            Some(netns) => network::Sandbox::of_new(netns)?,
            None => self.ready.take()?,
        };
        let netns = sandbox.netns().try_clone_to_owned()?;
        let linked = networks.keys().any(|name| name != "none");
        Ok(Sandbox { netns: Some(netns), to_join: linked.then_some(sandbox) })
    }

    fn join(
        &self,
        record: &ContainerRecord,
        mut sandbox: network::Sandbox,
        runtime_dir: &Path,
    ) -> Result<Endpoints> {
        let places = self.places(record)?;
        let requests = ports::requests(record)?;
        let gateway = endpoint::gateway(places.iter().map(|p| (&p.network, &p.wishes)));
        let mut endpoints = Vec::new();
        for place in &places {
            let mut owned = new_record(record, place)?;
            owned.default_route = Some(&place.network.name) == gateway.as_ref();
            endpoints.push(owned);
        }
        write(runtime_dir, &endpoints)?;
        fail_point!("network.join.after-record");
        for (place, owned) in places.iter().zip(&mut endpoints) {
            self.take(record, place, owned, &mut sandbox)?;
        }
        fail_point!("network.join.after-link");
        self.publish(record, &mut endpoints, &requests)?;
        write(runtime_dir, &endpoints)?;
        self.attach_names(record, &endpoints, sandbox.netns())?;
        self.tell(record);
        Ok(by_name(endpoints))
    }

    fn connect(
        &self,
        record: &ContainerRecord,
        network: &str,
        netns: OwnedFd,
        runtime_dir: &Path,
    ) -> Result<Endpoints> {
        let wishes = record.networks().remove(network).unwrap_or_default();
        let place = self.place(network, wishes)?;
        let mut endpoints = Self::endpoints_of(runtime_dir);
        let before = endpoints.clone();
        endpoints.push(new_record(record, &place)?);
        write(runtime_dir, &endpoints)?;
        fail_point!("network.connect.after-record");
        let mut sandbox = network::Sandbox::adopt(netns)?;
        let new = endpoints.last_mut().ok_or_else(|| Error::internal("no endpoint"))?;
        if let Err(e) = self.take(record, &place, new, &mut sandbox) {
            write(runtime_dir, &before)?;
            return Err(e);
        }
        fail_point!("network.connect.after-link");
        if let Err(e) = self.turn(record, &mut endpoints, &mut sandbox) {
            return Err(self.go_back(record, e, before, endpoints, &mut sandbox, runtime_dir));
        }
        let known = write(runtime_dir, &endpoints).and_then(|()| {
            if self.sandbox(record, &before).dns {
                self.update_names(record, &endpoints)
            } else {
                self.attach_names(record, &endpoints, sandbox.netns())
            }
        });
        if let Err(e) = known {
            return Err(self.go_back(record, e, before, endpoints, &mut sandbox, runtime_dir));
        }
        self.tell(record);
        Ok(by_name(endpoints))
    }

    fn disconnect(
        &self,
        record: &ContainerRecord,
        network: &str,
        netns: OwnedFd,
        runtime_dir: &Path,
    ) -> Result<Endpoints> {
        let mut endpoints = Self::endpoints_of(runtime_dir);
        let at = endpoints.iter().position(|e| e.name == network);
        let leaving = at.map(|at| endpoints.remove(at));
        let mut sandbox = network::Sandbox::adopt(netns)?;
        let held = self.give_up(record, leaving, &mut sandbox)?;
        fail_point!("network.disconnect.after-link");
        // It is off the network now, whatever becomes of the rest.
        write(runtime_dir, &endpoints)?;
        let rest = self
            .turn(record, &mut endpoints, &mut sandbox)
            .and_then(|()| write(runtime_dir, &endpoints))
            .and_then(|()| self.update_names(record, &endpoints));
        if let Err(e) = rest {
            tracing::warn!(container = %record.id, "after leaving network {network}: {e}");
        }
        if let Some(held) = held {
            self.event("disconnect", &record.id, &held);
        }
        Ok(by_name(endpoints))
    }

    fn host_gateways(&self) -> Vec<IpAddr> {
        self.gateways_for_containers()
    }

    fn settled(&self) {
        self.ready.refill();
    }

    fn started(&self, id: &str, pid: i32) {
        let (Ok(sandbox), Ok(pid)) = (id.parse(), u32::try_from(pid)) else { return };
        if let Err(e) = self.names.owner(&sandbox, pid) {
            tracing::warn!(container = id, "names: {e}");
        }
    }

    fn renamed(&self, record: &ContainerRecord, runtime_dir: &Path) -> Result<Endpoints> {
        let mut endpoints = Self::endpoints_of(runtime_dir);
        let wishes = record.networks();
        for owned in &mut endpoints {
            let wishes = wishes.get(&owned.name).cloned().unwrap_or_default();
            owned.dns_names = endpoint::names(record, &owned.name, &wishes);
        }
        write(runtime_dir, &endpoints)?;
        if self.sandbox(record, &endpoints).dns {
            self.update_names(record, &endpoints)?;
        }
        Ok(by_name(endpoints))
    }

    fn leave(&self, id: &str) {
        // Before the next start can attach it again.
        if let Err(e) = id.parse().and_then(|id| self.names.detach(&id)) {
            tracing::warn!(container = id, "names: {e}");
        }
        for held in self.let_all_go(id) {
            let left = self
                .meant("", &held.network)
                .and_then(|network| self.driver(&network.driver))
                .and_then(|driver| driver.leave(&held.id));
            if let Err(e) = left {
                tracing::warn!("leave network: {e}");
            }
            if held.told {
                self.event("disconnect", id, &held);
            }
        }
        if self.is_watched() {
            self.let_helper_rest();
        }
    }

    fn adopt(&self, _record: &ContainerRecord, runtime_dir: &Path) -> Endpoints {
        by_name(Self::endpoints_of(runtime_dir))
    }
}

impl Networks {
    /// A new endpoint could not be made the way out: it goes, and the old way leads out again. The first error is the
    /// one to tell.
    fn go_back(
        &self,
        record: &ContainerRecord,
        error: Error,
        mut before: Vec<EndpointRecord>,
        mut endpoints: Vec<EndpointRecord>,
        sandbox: &mut network::Sandbox,
        runtime_dir: &Path,
    ) -> Error {
        let undone = (|| {
            self.give_up(record, endpoints.pop(), sandbox)?;
            for owned in &mut before {
                owned.default_route = false;
                owned.ports.clear();
            }
            self.turn(record, &mut before, sandbox)
        })();
        let undone = undone
            .and_then(|()| write(runtime_dir, &before))
            .and_then(|()| self.update_names(record, &before));
        if let Err(e) = undone {
            tracing::warn!(container = %record.id, "go back to the networks of before: {e}");
        }
        error
    }

    /// Takes a running container's link away.
    fn give_up(
        &self,
        record: &ContainerRecord,
        owned: Option<EndpointRecord>,
        sandbox: &mut network::Sandbox,
    ) -> Result<Option<Held>> {
        let Some(owned) = owned else { return Ok(None) };
        let id = id_of(&owned)?;
        let network = self.meant(&owned.name, &owned.network)?;
        self.driver(&network.driver)?.detach(&id, &owned.interface, sandbox)?;
        Ok(self.let_go(&record.id, id))
    }
}

fn new_record(record: &ContainerRecord, place: &Place) -> Result<EndpointRecord> {
    Ok(EndpointRecord {
        id: EndpointId::random()?.to_string(),
        network: place.network.id.clone(),
        name: place.network.name.clone(),
        dns_names: endpoint::names(record, &place.network.name, &place.wishes),
        ..EndpointRecord::default()
    })
}

fn id_of(owned: &EndpointRecord) -> Result<EndpointId> {
    owned.id.parse().map_err(|e: network::InvalidId| Error::internal(e.to_string()))
}

fn by_name(endpoints: Vec<EndpointRecord>) -> Endpoints {
    endpoints.into_iter().map(|endpoint| (endpoint.name.clone(), endpoint)).collect()
}

fn write(folder: &Path, endpoints: &[EndpointRecord]) -> Result<()> {
    let record = SandboxRecord { endpoints: endpoints.to_vec() };
    let bytes = serde_json::to_vec(&record)
        .map_err(|e| Error::internal("encode endpoints").caused_by(e))?;
    replace(&folder.join("network.json"), &bytes, 0o600, Durability::Process)
}
