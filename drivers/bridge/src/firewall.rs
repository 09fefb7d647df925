//! Our tables in the kernel: written whole, changed by elements, put back when somebody else has changed them.

use crate::host::Host;
use crate::lease::Lease;
use crate::rules::{self, Bound, World};
use crate::{Inner, forwarding};
use network::{EndpointId, Family, Mac};
use nft::{Change, Element};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use stdx::fs::Durability;
use stdx::{Error, Result};

/// What has to be done beside the paths that somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct Chores {
    /// Endpoints that came.
    pub(crate) bind: Vec<EndpointId>,
    /// What belonged to endpoints that went.
    pub(crate) unbind: Vec<Bound>,
    /// Connections that must not go on as they were.
    pub(crate) flows: Vec<crate::flows::Flows>,
    /// Egress rules of links that are gone.
    pub(crate) unjudged: Vec<rules::egress::Port>,
    /// The file is not as the tables are.
    pub(crate) file: bool,
}

impl Inner {
    /// Everything that the tables depend on.
    pub(crate) fn world(&self) -> Result<World> {
        let guard = [Family::V4, Family::V6]
            .into_iter()
            .filter(|_| self.config.policy.guard)
            .filter_map(|family| match forwarding::guarded(&self.config.state, family) {
                Ok(true) => Some(Ok(family)),
                Ok(false) => None,
                Err(e) => Some(Err(e)),
            })
            .collect::<Result<Vec<_>>>()?;
        let door = self.door();
        let state = self.state();
        let mut networks: Vec<_> = state.networks.values().map(crate::Net::rules).collect();
        networks.sort_by(|a, b| a.bridge.cmp(&b.bridge));
        let own = state.networks.values().map(|net| Bound {
            bridge: net.bridge.clone(),
            port: None,
            mac: net.mac(),
            addresses: net.bridge_addresses().iter().map(ipnet::IpNet::addr).collect(),
        });
        let ports = state.leases.links().filter_map(|(_, _, lease)| {
            let bridge = &state.networks.get(&lease.network)?.bridge;
            Some(bound(bridge, lease))
        });
        let mut bound: Vec<Bound> = own.chain(ports).collect();
        bound.sort_by(|a, b| (&a.bridge, &a.port).cmp(&(&b.bridge, &b.port)));
        let forwards = state.published.values().flat_map(|p| p.forwards.iter().cloned());
        Ok(World {
            table: self.config.table(),
            networks,
            guard,
            forwards: forwards.collect(),
            bound,
            links: crate::links::allowed(&state),
            relay: state.relay,
            silent: self.config.policy.silent(),
            accept_mark: self.config.policy.accept_mark,
            direct_routing: self.config.policy.direct_routing,
            door,
            egress: state.judged.ports.values().cloned().collect(),
            egress_log: !state.judged.ports.is_empty() && self.can_log(),
        })
    }

    /// Writes the firewall tables of all networks.
    pub(crate) fn write_rules(&self, host: &mut Host) -> Result<()> {
        let nothing = self.state().networks.is_empty() || !self.config.policy.any_rules();
        if nothing {
            self.write_file(None)?;
            let table = self.config.table();
            if self.config.policy.ask_host {
                host.firewall.delete(nft::Family::Ip, &table)?;
                host.firewall.delete(nft::Family::Ip6, &table)?;
                self.remove_door(host)?;
            }
            host.firewall.delete(nft::Family::Inet, &table)?;
            host.firewall.delete(nft::Family::Bridge, &table)?;
            return self.pass_foreign(host);
        }
        self.ensure_door(host)?;
        let world = self.world()?;
        let batch = rules::transaction(&world)
            .map_err(|e| Error::internal("firewall tables").caused_by(e))?;
        // First the file: what is not in it is lost when gantry-netd puts the tables back.
        self.write_file(Some(batch.bytes()))?;
        host.firewall.write(batch).map_err(|e| match self.config.policy.ask_host {
            true => Error::new(e.kind(), "rules that ask the host's own, for which the kernel needs nft_dup_ipv4 and nft_dup_ipv6")
                .caused_by(e),
            false => e,
        })?;
        self.state().judged.there |= !world.egress.is_empty();
        self.pass_foreign(host)
    }

    /// Until endpoints are recovered an earlier daemon's file stays: one without their egress rules would make them free
    /// should this daemon die now and somebody flush the firewall.
    fn write_file(&self, batch: Option<&[u8]>) -> Result<()> {
        let Some(path) = &self.config.firewall else { return Ok(()) };
        if self.keeps_file.load(Ordering::Relaxed) {
            return Ok(());
        }
        match batch {
            None => stdx::fs::remove_file(path),
            Some(bytes) => {
                if let Some(folder) = path.parent() {
                    stdx::fs::create_dir(folder, 0o700)?;
                }
                stdx::fs::replace(path, bytes, 0o600, Durability::Process)
            }
        }
    }

    /// Something is to be done; the thread of [`crate::watch`] does it.
    pub(crate) fn nudge(&self) {
        self.chores().file |= self.config.firewall.is_some();
        self.wake();
    }

    /// A new endpoint's addresses are its own from now on.
    pub(crate) fn bind_soon(&self, endpoint: &EndpointId) {
        self.chores().bind.push(*endpoint);
        self.wake();
    }

    /// The addresses of an endpoint whose link is gone are free.
    pub(crate) fn unbind_soon(&self, lease: &Lease) {
        if let Some(port) = self.unjudged(lease) {
            self.chores().unjudged.push(port);
            self.wake();
        }
        let bridge = self.state().networks.get(&lease.network).map(|net| net.bridge.clone());
        // Without the network its elements have gone with the table.
        if let Some(bridge) = bridge {
            self.chores().unbind.push(bound(&bridge, lease));
            self.wake();
        }
    }

    /// Does what has gathered.
    pub(crate) fn do_chores(&self) {
        let chores = std::mem::take(&mut *self.chores());
        if !chores.bind.is_empty() || !chores.unbind.is_empty() {
            let mut host = self.host();
            if let Err(e) = self.rebind(&mut host, &chores) {
                tracing::error!("rules against forged addresses: {e}");
            }
        }
        if !chores.unjudged.is_empty()
            && let Err(e) = self.let_go(&mut self.host(), &chores.unjudged)
        {
            tracing::error!("egress rules of links that are gone: {e}");
        }
        for flows in chores.flows {
            if let Err(e) = flows.forget() {
                tracing::warn!("connections of ports that changed: {e}");
            }
        }
        if chores.file || !chores.bind.is_empty() || !chores.unbind.is_empty() {
            // Under the lock, so that no older state is written over a newer one.
            let _host = self.host();
            if let Err(e) = self.write_file_of_now() {
                tracing::error!("firewall for gantry-netd: {e}");
            }
        }
    }

    pub(crate) fn write_file_of_now(&self) -> Result<()> {
        if self.config.firewall.is_none() {
            return Ok(());
        }
        let world = self.world()?;
        if world.networks.is_empty() || !self.config.policy.any_rules() {
            return self.write_file(None);
        }
        let batch = rules::transaction(&world)
            .map_err(|e| Error::internal("firewall tables").caused_by(e))?;
        self.write_file(Some(batch.bytes()))
    }

    fn rebind(&self, host: &mut Host, chores: &Chores) -> Result<()> {
        let mut sets: BTreeMap<&'static str, (Vec<Element>, Vec<Element>)> = BTreeMap::new();
        {
            let state = self.state();
            for endpoint in &chores.bind {
                let Some(lease) = state.leases.get(endpoint) else { continue };
                let Some(net) = state.networks.get(&lease.network) else { continue };
                for (set, element) in bound(&net.bridge, lease).elements() {
                    sets.entry(set).or_default().0.push(element);
                }
            }
        }
        for (set, element) in chores.unbind.iter().flat_map(Bound::elements) {
            sets.entry(set).or_default().1.push(element);
        }
        let changes: Vec<Change> = sets
            .into_iter()
            .map(|(set, (add, remove))| Change {
                family: nft::Family::Bridge,
                table: self.config.table(),
                set: set.to_owned(),
                add,
                remove,
            })
            .collect();
        let nothing = changes.is_empty() || !self.config.policy.any_rules();
        if nothing || host.firewall.change(&changes)? {
            return Ok(());
        }
        // An endpoint came and went between, or somebody has changed the table.
        self.write_rules(host)
    }
}

fn bound(bridge: &str, lease: &Lease) -> Bound {
    Bound {
        bridge: bridge.to_owned(),
        port: Some(lease.link.clone()),
        mac: lease.mac.unwrap_or_else(|| Mac::of([0, 0, 0, 0].into())),
        addresses: lease.addresses.iter().map(|(_, address)| *address).collect(),
    }
}
