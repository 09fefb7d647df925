//! Putting right what is not as it should be: at the daemon's start, and when somebody deletes a bridge under us.

use crate::Inner;
use crate::apply::apply;
use crate::host::Host;
use crate::join::prefixed;
use crate::lease::Lease;
use crate::options::EndpointOptions;
use crate::plan::{self, link_names};
use ipnet::IpNet;
use network::ipam::AddressWish;
use network::route;
use network::{Live, NetworkId, Recovered, Sandbox};
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use stdx::{Context as _, Error, Result};
use sys::netlink::Batch;

impl Inner {
    pub(crate) fn recover(&self, live: Vec<Live>) -> Result<Recovered> {
        let mut recovered = Recovered::default();
        let owners: HashSet<_> = live.iter().map(|l| l.endpoint.id).collect();
        let mut networks: HashSet<_> =
            self.state().networks.values().map(|net| net.bridge.clone()).collect();
        if self.state().door.is_some() {
            networks.extend(self.config.door_links());
        }
        let mark = self.config.mark();
        {
            let mut host = self.host();
            // Marked as ours, but neither the bridge of a network nor the end of a living endpoint.
            recovered.removed = host.remove_links(|link| {
                let ours = link.alias.starts_with(&mark);
                let owned = plan::owner(&mark, &link.alias).is_some_and(|id| owners.contains(&id));
                ours && !owned && !networks.contains(&link.name)
            })?;
        }
        // All of them before the rules are first written: whoever were left out would be free for a moment.
        self.judge_all(&live);
        for live in live {
            let id = live.endpoint.id;
            match self.adopt(live) {
                Ok(true) => recovered.repaired.push(id),
                Ok(false) => {}
                Err(e) => {
                    recovered.failed.push(Error::internal(format!("endpoint {id}")).caused_by(e));
                }
            }
        }
        let mut host = self.host();
        // Everybody is known again, whoever failed with what is forbidden to him.
        self.keeps_file.store(false, Ordering::Relaxed);
        if self.state().networks.is_empty() {
            self.write_file_of_now()?;
        } else {
            self.write_rules(&mut host)?;
        }
        self.sweep_egress(&mut host)?;
        drop(host);
        Ok(recovered)
    }

    /// Takes a living endpoint's address and makes sure of its link. Returns whether something was missing.
    fn adopt(&self, live: Live) -> Result<bool> {
        let Live { endpoint, joined, published, netns } = live;
        let net = self.state().networks.get(&endpoint.network).cloned();
        let net =
            net.ok_or_else(|| Error::not_found(format!("network {} not found", endpoint.network)))?;
        let pool_of = |address: &IpAddr| {
            net.pools.iter().find(|pool| pool.subnet.contains(address)).map(|pool| pool.subnet)
        };
        let addresses: Vec<(IpNet, IpAddr)> = joined
            .addresses
            .iter()
            .filter_map(|address| Some((pool_of(&address.addr())?, address.addr())))
            .collect();
        if addresses.is_empty() {
            return Err(Error::internal("its record has no address of the network"));
        }
        let link = joined.host_interface.unwrap_or_else(|| link_names(&endpoint.id)[0].clone());
        let lease = Lease {
            container: endpoint.container,
            network: endpoint.network,
            addresses: addresses.clone(),
            link: link.clone(),
            mac: joined.mac,
        };
        if !self.state().leases.add(endpoint.id, lease) {
            return Ok(false);
        }
        for (done, (pool, address)) in addresses.iter().enumerate() {
            let wish = AddressWish {
                wanted: Some(*address),
                mac: joined.mac,
                ..AddressWish::any(&endpoint.network, pool)
            };
            if let Err(e) = self.ipam.allocate(&wish) {
                self.state().leases.forget(&endpoint.id);
                for (pool, address) in &addresses[..done] {
                    self.ipam.release(&endpoint.network, pool, *address);
                }
                return Err(e);
            }
        }

        self.adopt_ports(&endpoint.id, &published)?;

        let mut host = self.host();
        let mark = self.config.mark();
        match route::link(&mut host.route, &link)? {
            Some(found) if found.alias == plan::alias(&mark, &endpoint.id) => {
                if found.master == net.index && found.up {
                    return Ok(false);
                }
                self.enslave(&mut host, &link, net.index, &found.alias, !net.options.icc)?;
                Ok(true)
            }
            Some(_) => Err(Error::conflict(format!("link {link} is somebody else's"))),
            None => {
                let netns =
                    netns.ok_or_else(|| Error::not_found(format!("link {link} is gone")))?;
                let mut sandbox = Sandbox::adopt(netns)?;
                let options = EndpointOptions::parse(&endpoint.options)?;
                let attachment = net.attachment(prefixed(&addresses), mark);
                let (index, interface) = sandbox.next_link_named(&attachment.prefix);
                let interface = options.name.as_deref().unwrap_or(&interface);
                let mut plan = plan::plan_join(&attachment, &endpoint, &options, index, interface);
                plan.host = link;
                plan.mac = joined.mac.unwrap_or(plan.mac);
                self.judge(&mut host, &endpoint, &plan.host)?;
                apply(&mut host.route, &mut sandbox, &plan).map_err(Error::from)?;
                self.state().leases.link_back(&endpoint.id);
                Ok(true)
            }
        }
    }

    /// Makes the network's bridge again, with everybody on it. Returns its new number.
    pub(crate) fn repair(&self, host: &mut Host, network: &NetworkId) -> Result<u32> {
        let net = self.state().networks.get(network).cloned();
        let mut net =
            net.ok_or_else(|| Error::not_found(format!("network {network} not found")))?;
        let mark = self.config.mark();
        let found = self.ensure_bridge(&net, host)?;
        (net.index, net.owned) = (found.index, found.owned);
        // A new bridge has forgotten its settings.
        if self.state().loopback.contains(network) {
            let path = format!("/proc/sys/net/ipv4/conf/{}/route_localnet", net.bridge);
            std::fs::write(&path, "1").context(|| format!("set {path}"))?;
        }
        let ports: Vec<_> = {
            let mut state = self.state();
            if let Some(known) = state.networks.get_mut(network) {
                (known.index, known.owned) = (net.index, net.owned);
            }
            let ours = state.leases.links().filter(|(_, _, lease)| lease.network == *network);
            ours.map(|(link, id, _)| (link.to_owned(), plan::alias(&mark, id))).collect()
        };
        let linked: Vec<String> =
            crate::links::allowed(&self.state()).into_iter().flat_map(|l| l.ends).collect();
        for (link, alias) in ports {
            // A link that is not there has gone with its namespace; one with another alias is not ours.
            if route::link(&mut host.route, &link)?
                .is_some_and(|found| found.alias == alias && found.master != net.index)
            {
                let linked = linked.contains(&link);
                self.enslave(host, &link, net.index, &alias, !net.options.icc && !linked)?;
            }
        }
        Ok(net.index)
    }

    fn enslave(
        &self,
        host: &mut Host,
        link: &str,
        bridge: u32,
        alias: &str,
        isolated: bool,
    ) -> Result<()> {
        let mut batch = Batch::new();
        route::enslave(&mut batch, link, bridge, alias);
        if isolated {
            route::isolate(&mut batch, link);
        }
        host.route
            .execute(batch)
            .map_err(|e| Error::internal(format!("put {link} into its bridge")).caused_by(e))
    }
}
