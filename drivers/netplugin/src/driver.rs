//! Networks of a plugin.

use crate::ipam::Addresses;
use crate::join::Progress;
use crate::journal::{EndpointNote, NetworkNote};
use crate::peer::Peer;
use crate::undo::Chore;
use crate::wire::{self, Done, InfoAnswer, PortAnswer};
use crate::{Attached, Inner, Net};
use ipnet::IpNet;
use network::ipam::{AddressWish, subnets};
use network::{
    Driver, Endpoint, EndpointId, Family, Ipam as _, Joined, Live, Mac, Network, NetworkConfig,
    NetworkId, Pool, PortRequest, PublishedPort, Recovered, Sandbox, Usage, route,
};
use std::sync::Arc;
use stdx::{Error, Kind, Result, fail_point};

/// The driver of one name.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) name: String,
    pub(crate) inner: Arc<Inner>,
}

impl Driver for Remote {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn create(&self, config: &NetworkConfig) -> Result<Network> {
        if let Some(net) = self.inner.state().networks.get(&config.id) {
            return Ok(net.answer());
        }
        let noted = self.inner.journal.notes().networks.get(&config.id).cloned();
        let net = match noted {
            // Made before this daemon started: the plugin need not even be there.
            Some(note) => {
                let pools = self.take_pools(config)?;
                Net { config: config.clone(), pools, global: note.global }
            }
            None => self.make(config)?,
        };
        let answer = net.answer();
        self.inner.state().networks.insert(config.id, net);
        Ok(answer)
    }

    fn delete(&self, network: &NetworkId) -> Result<()> {
        let net = {
            let mut state = self.inner.state();
            let Some(net) = state.networks.get(network).cloned() else { return Ok(()) };
            if state.endpoints.values().any(|attached| attached.network == *network) {
                let text = format!(
                    "error while removing network: network {} id {network} has active endpoints",
                    net.config.name
                );
                return Err(Error::new(Kind::Forbidden, text));
            }
            state.networks.remove(network);
            net
        };
        let peer = self.peer();
        peer.settle();
        let told = self.now(&peer, Chore::Network(*network));
        subnets::release(&self.ipam(), network, &net.pools);
        told
    }

    fn join(&self, endpoint: &Endpoint, sandbox: &mut Sandbox) -> Result<Joined> {
        let net = self.net(&endpoint.network)?;
        let peer = self.peer();
        peer.settle();
        let mac = match endpoint.mac {
            None if self.ipam().needs_mac(&endpoint.network) => Some(Mac::random()?),
            mac => mac,
        };
        self.inner.journal.put_endpoint(
            endpoint.id,
            EndpointNote {
                driver: self.name.clone(),
                network: endpoint.network.to_string(),
                source: String::new(),
            },
        )?;
        let mut progress = Progress::default();
        let joined = self.attach(&peer, &net, endpoint, mac, sandbox, &mut progress);
        match joined {
            Ok(joined) => {
                let attached = Attached {
                    network: endpoint.network,
                    addresses: progress.addresses,
                    exposed: endpoint.exposed.clone(),
                    has_gateway: progress.has_gateway,
                    leads_out: false,
                };
                self.inner.state().endpoints.insert(endpoint.id, attached);
                peer.is_alive(&self.inner);
                Ok(joined)
            }
            Err(e) => {
                self.abandon(&peer, endpoint, progress);
                Err(e)
            }
        }
    }

    fn leave(&self, endpoint: &EndpointId) -> Result<()> {
        let gone = self.inner.state().endpoints.remove(endpoint);
        if let Some(attached) = gone {
            self.peer().later(&self.inner, chore(endpoint, attached));
        }
        Ok(())
    }

    fn detach(&self, endpoint: &EndpointId, interface: &str, sandbox: &mut Sandbox) -> Result<()> {
        let Some(attached) = self.inner.state().endpoints.remove(endpoint) else { return Ok(()) };
        let note = self.inner.journal.notes().endpoints.get(endpoint).cloned();
        let source = note.map(|note| note.source).unwrap_or_default();
        let out = if interface.is_empty() {
            Ok(())
        } else {
            self.inner.give_back(sandbox, interface, &source)
        };
        let peer = self.peer();
        if let Err(e) = self.now(&peer, chore(endpoint, attached)) {
            // It is off the network all the same.
            tracing::warn!("{e}; it is asked again later");
        }
        out
    }

    fn publish(&self, endpoint: &EndpointId, ports: &[PortRequest]) -> Result<Vec<PublishedPort>> {
        let attached = self.inner.state().endpoints.get(endpoint).cloned();
        let attached =
            attached.ok_or_else(|| Error::not_found(format!("endpoint {endpoint} not found")))?;
        if !attached.has_gateway {
            return Ok(Vec::new());
        }
        let peer = self.peer();
        let mut question = wire::endpoint(&attached.network, endpoint);
        question["Options"] = wire::options(&attached.exposed, ports, &Default::default(), None);
        // From now on it is to be revoked, whatever the answer.
        if let Some(attached) = self.inner.state().endpoints.get_mut(endpoint) {
            attached.leads_out = true;
        }
        let method = "NetworkDriver.ProgramExternalConnectivity";
        peer.call::<Done>(&self.inner, method, &question)?;
        self.published(&peer, &attached.network, endpoint)
    }

    fn withdraw(&self, endpoint: &EndpointId) -> Result<()> {
        let network = match self.inner.state().endpoints.get_mut(endpoint) {
            Some(attached) if attached.leads_out => {
                attached.leads_out = false;
                attached.network
            }
            _ => return Ok(()),
        };
        let method = "NetworkDriver.RevokeExternalConnectivity";
        let question = wire::endpoint(&network, endpoint);
        match self.peer().call::<Done>(&self.inner, method, &question) {
            Err(e) if e.is_final() => {
                tracing::warn!("{e}");
                Ok(())
            }
            result => Ok(result.map(drop)?),
        }
    }

    fn usage(&self, network: &NetworkId) -> Vec<(IpNet, Usage)> {
        let pools = self.inner.state().networks.get(network).map(|net| net.pools.clone());
        subnets::usage(&self.ipam(), network, &pools.unwrap_or_default())
    }

    fn recover(&self, live: Vec<Live>) -> Result<Recovered> {
        let mut recovered = Recovered::default();
        for Live { endpoint, joined, .. } in live {
            if let Err(e) = self.adopt(&endpoint, &joined) {
                let text = format!("endpoint {}", endpoint.id);
                recovered.failed.push(Error::internal(text).caused_by(e));
            }
        }
        Ok(recovered)
    }
}

impl Remote {
    fn peer(&self) -> Arc<Peer> {
        self.inner.peer(&self.name)
    }

    pub(crate) fn ipam(&self) -> Addresses {
        Addresses { inner: Arc::clone(&self.inner) }
    }

    fn net(&self, network: &NetworkId) -> Result<Net> {
        let net = self.inner.state().networks.get(network).cloned();
        net.ok_or_else(|| Error::not_found(format!("network {network} not found")))
    }

    /// Asks the plugin for a new network.
    fn make(&self, config: &NetworkConfig) -> Result<Net> {
        let peer = self.peer();
        let capabilities = peer.network(&self.inner)?;
        let global = capabilities.scope == "global";
        let mut config = config.clone();
        config.ipam.global = global;
        let pools = self.take_pools(&config)?;
        let made = self.ask_network(&peer, &config, &pools, global);
        if let Err(e) = made {
            subnets::release(&self.ipam(), &config.id, &pools);
            return Err(e);
        }
        peer.is_alive(&self.inner);
        Ok(Net { config, pools, global })
    }

    fn ask_network(
        &self,
        peer: &Arc<Peer>,
        config: &NetworkConfig,
        pools: &[subnets::Subnet],
        global: bool,
    ) -> Result<()> {
        let note = NetworkNote { driver: self.name.clone(), global };
        self.inner.journal.put_network(config.id, note)?;
        fail_point!("netplugin.create.after-note");
        let question = wire::create_network(config, pools, &self.space(config, global));
        let method = "NetworkDriver.CreateNetwork";
        if let Err(e) = peer.call::<Done>(&self.inner, method, &question) {
            // What has no network need not be asked to take it back.
            if e.is_refusal() {
                self.inner.journal.remove_network(&config.id)?;
            } else {
                peer.later(&self.inner, Chore::Network(config.id));
            }
            return Err(e.into());
        }
        fail_point!("netplugin.create.after-call");
        Ok(())
    }

    /// What addresses of the network are told apart in, by the name that plugins know.
    fn space(&self, config: &NetworkConfig, global: bool) -> String {
        if config.ipam.is_builtin() {
            return if global { "GlobalDefault" } else { "LocalDefault" }.to_owned();
        }
        let notes = self.inner.journal.notes();
        let of = |family| notes.pools.get(&(config.id, family)).map(|note| note.space.clone());
        of(Family::V4).or_else(|| of(Family::V6)).unwrap_or_default()
    }

    fn take_pools(&self, config: &NetworkConfig) -> Result<Vec<subnets::Subnet>> {
        subnets::take(&self.ipam(), config, || {
            let mut host = self.inner.host();
            let mut taken = route::routes(&mut host)?;
            taken.extend(route::addresses(&mut host)?.into_iter().map(|(_, address)| address));
            Ok(taken)
        })
    }

    /// Has something done now; what the plugin did not answer to is asked again later.
    fn now(&self, peer: &Arc<Peer>, mut chore: Chore) -> Result<()> {
        match self.inner.do_chore(peer, &mut chore) {
            Err(e) if !e.is_final() => {
                peer.stale(chore);
                Err(e.into())
            }
            result => Ok(result?),
        }
    }

    /// The ports that the plugin says it published, if it says any.
    fn published(
        &self,
        peer: &Arc<Peer>,
        network: &NetworkId,
        endpoint: &EndpointId,
    ) -> Result<Vec<PublishedPort>> {
        let question = wire::endpoint(network, endpoint);
        let told =
            peer.call::<InfoAnswer>(&self.inner, "NetworkDriver.EndpointOperInfo", &question);
        let map = match told {
            Ok(info) => info.value.and_then(|mut value| value.remove(wire::PORT_MAP)),
            // It need not say anything.
            Err(e) if e.is_final() => None,
            Err(e) => return Err(e.into()),
        };
        let ports: Vec<PortAnswer> =
            map.and_then(|map| serde_json::from_value(map).ok()).unwrap_or_default();
        let published = |port: PortAnswer| {
            let host = if port.host_ip.is_empty() { "0.0.0.0" } else { &port.host_ip };
            Some(PublishedPort {
                protocol: wire::protocol(port.protocol)?,
                container: port.port,
                address: host.parse().ok()?,
                port: port.host_port,
            })
        };
        Ok(ports.into_iter().filter_map(published).collect())
    }

    /// Takes a living endpoint's addresses again. The plugin knows it.
    fn adopt(&self, endpoint: &Endpoint, joined: &Joined) -> Result<()> {
        let net = self.net(&endpoint.network)?;
        let mut addresses = Vec::new();
        for address in joined.addresses.iter().map(IpNet::addr) {
            let Some(pool) = net.pools.iter().find(|pool| pool.subnet.contains(&address)) else {
                continue;
            };
            self.ipam().allocate(&AddressWish {
                wanted: Some(address),
                mac: joined.mac,
                ..AddressWish::any(&endpoint.network, &pool.subnet)
            })?;
            addresses.push((pool.subnet, address));
        }
        let attached = Attached {
            network: endpoint.network,
            addresses,
            exposed: Vec::new(),
            has_gateway: !joined.gateways.is_empty(),
            leads_out: endpoint.default_route && !joined.gateways.is_empty(),
        };
        self.inner.state().endpoints.insert(endpoint.id, attached);
        Ok(())
    }
}

impl Net {
    fn answer(&self) -> Network {
        let pool =
            |pool: &subnets::Subnet| Pool { subnet: pool.subnet, gateway: Some(pool.gateway) };
        Network {
            interface: None,
            pools: self.pools.iter().map(pool).collect(),
            global: self.global,
        }
    }
}

fn chore(endpoint: &EndpointId, attached: Attached) -> Chore {
    Chore::Endpoint {
        network: attached.network,
        endpoint: *endpoint,
        addresses: attached.addresses,
        leads_out: attached.leads_out,
    }
}
