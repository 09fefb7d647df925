//! Taking back what plugins were asked for.

use crate::Inner;
use crate::ipam::{Addresses, ask_pool, request_address};
use crate::journal::PoolKey;
use crate::peer::Peer;
use crate::wire::{self, Done};
use ipnet::IpNet;
use network::{EndpointId, Family, Ipam as _, NetworkId, Owner};
use plugin::Failure;
use serde_json::json;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

/// Something that a plugin is to do that nobody waits for.
#[derive(Debug)]
pub(crate) enum Chore {
    /// Forget an endpoint, whose addresses come free.
    Endpoint {
        network: NetworkId,
        endpoint: EndpointId,
        addresses: Vec<(IpNet, IpAddr)>,
        /// It was told that the endpoint leads out.
        leads_out: bool,
    },
    /// Forget a network.
    Network(NetworkId),
    /// An endpoint's address is free. The number tells it from who has it since.
    Address(NetworkId, IpAddr, u64),
    /// A network needs its pool no more.
    Pool(PoolKey),
    /// Hear again of a pool and all its addresses.
    Replay(PoolKey),
}

impl Inner {
    /// Does it. A plugin that answers that it cannot has heard it.
    pub(crate) fn do_chore(
        self: &Arc<Self>,
        peer: &Peer,
        chore: &mut Chore,
    ) -> Result<(), Failure> {
        match chore {
            Chore::Endpoint { network, endpoint, addresses, leads_out } => {
                let question = wire::endpoint(network, endpoint);
                let mut calls = vec!["NetworkDriver.Leave", "NetworkDriver.DeleteEndpoint"];
                if *leads_out {
                    calls.insert(0, "NetworkDriver.RevokeExternalConnectivity");
                }
                let told = self.tell(peer, calls.iter().map(|call| (*call, question.clone())));
                // Free however the plugin is: the container is gone.
                let ipam = Addresses { inner: Arc::clone(self) };
                for (pool, address) in std::mem::take(addresses) {
                    ipam.release(network, &pool, address);
                }
                told?;
                forget(self.journal.remove_endpoint(endpoint));
                Ok(())
            }
            Chore::Network(network) => {
                let call = ("NetworkDriver.DeleteNetwork", wire::network(network));
                self.tell(peer, [call])?;
                forget(self.journal.remove_network(network));
                Ok(())
            }
            Chore::Address(network, address, serial) => {
                let note = self.journal.notes().addresses.get(&(*network, *address)).cloned();
                let Some(note) = note.filter(|note| note.serial == *serial) else { return Ok(()) };
                // A plugin that forgot its pool and was told again may call it something else since.
                let pool = {
                    let notes = self.journal.notes();
                    let pool = notes.pools.get(&(*network, family_of(*address)));
                    pool.map_or(note.pool, |pool| pool.id.clone())
                };
                let question = json!({"PoolID": pool, "Address": address.to_string()});
                self.tell(peer, [("IpamDriver.ReleaseAddress", question)])?;
                forget(self.journal.remove_address(network, *address, *serial));
                Ok(())
            }
            Chore::Pool(key) => {
                let Some(note) = self.journal.notes().pools.get(key).cloned() else {
                    return Ok(());
                };
                let held = note.held.iter().map(|address| {
                    let address = address.addr().to_string();
                    ("IpamDriver.ReleaseAddress", json!({"PoolID": note.id, "Address": address}))
                });
                let pool = ("IpamDriver.ReleasePool", json!({"PoolID": note.id}));
                self.tell(peer, held.chain([pool]))?;
                forget(self.journal.remove_pool(key));
                Ok(())
            }
            Chore::Replay(key) => self.replay(peer, key),
        }
    }

    /// Asks one thing after the other; that the plugin cannot do one is no reason not to ask for the next.
    fn tell(
        &self,
        peer: &Peer,
        calls: impl IntoIterator<Item = (&'static str, serde_json::Value)>,
    ) -> Result<(), Failure> {
        for (method, question) in calls {
            match peer.call::<Done>(self, method, &question) {
                Err(e) if e.is_final() => tracing::warn!("{e}"),
                result => result.map(drop)?,
            }
        }
        Ok(())
    }

    /// Tells a plugin that forgets what it gave of everything that it gave to a network.
    fn replay(&self, peer: &Peer, key: &PoolKey) -> Result<(), Failure> {
        let Some(mut note) = self.journal.notes().pools.get(key).cloned() else { return Ok(()) };
        let family = key.1;
        let again = ask_pool(
            self,
            peer,
            &note.space,
            Some(note.subnet),
            note.range,
            &note.options,
            family,
        )?;
        if again.id != note.id {
            note.id = again.id;
            forget(self.journal.put_pool(*key, note.clone()));
        }
        let addresses: Vec<_> = {
            let notes = self.journal.notes();
            let mine = notes.addresses.iter().filter(|((network, address), _)| {
                *network == key.0 && address.is_ipv4() == note.subnet.addr().is_ipv4()
            });
            mine.map(|(_, note)| (note.address.addr(), note.mac.parse().ok(), false)).collect()
        };
        let own = note.held.iter().enumerate();
        let own = own.map(|(n, held)| (held.addr(), None, n == 0 && note.gateway_held));
        for (address, mac, gateway) in own.chain(addresses) {
            match request_address(self, peer, &note.id, Some(address), mac, gateway) {
                // It remembers after all.
                Err(e) if e.is_final() => tracing::debug!("{e}"),
                result => result.map(drop)?,
            }
        }
        Ok(())
    }

    /// At the daemon's start: has taken back what nobody owns, and tells again what is to be told again.
    pub(crate) fn take_back(self: &Arc<Self>, networks: &[NetworkId], owners: &[Owner]) {
        let living: HashSet<EndpointId> = owners.iter().map(|owner| owner.endpoint).collect();
        let known: HashSet<NetworkId> = networks.iter().copied().collect();
        let owned: HashSet<(NetworkId, IpAddr)> = owners
            .iter()
            .flat_map(|owner| owner.addresses.iter().map(|address| (owner.network, *address)))
            .collect();
        let mut chores = Vec::new();
        {
            let notes = self.journal.notes();
            for (key, note) in
                notes.pools.iter().filter(|(key, note)| note.replay && known.contains(&key.0))
            {
                chores.push((note.driver.clone(), Chore::Replay(*key)));
            }
            for (id, note) in notes.endpoints.iter().filter(|(id, _)| !living.contains(id)) {
                let Ok(network) = note.network.parse() else { continue };
                let chore = Chore::Endpoint {
                    network,
                    endpoint: *id,
                    addresses: Vec::new(),
                    // Nobody knows any more whether it was told so.
                    leads_out: true,
                };
                chores.push((note.driver.clone(), chore));
            }
            for ((network, address), note) in &notes.addresses {
                if !owned.contains(&(*network, *address)) {
                    let chore = Chore::Address(*network, *address, note.serial);
                    chores.push((note.driver.clone(), chore));
                }
            }
            for (id, note) in notes.networks.iter().filter(|(id, _)| !known.contains(id)) {
                chores.push((note.driver.clone(), Chore::Network(*id)));
            }
            for (key, note) in notes.pools.iter().filter(|(key, _)| !known.contains(&key.0)) {
                chores.push((note.driver.clone(), Chore::Pool(*key)));
            }
        }
        for (driver, chore) in chores {
            self.peer(&driver).later(self, chore);
        }
    }
}

fn family_of(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::V4 } else { Family::V6 }
}

/// A note that could not be removed is taken back once more at the next start, which does no harm.
fn forget(result: stdx::Result<()>) {
    if let Err(e) = result {
        tracing::warn!("{e}");
    }
}
