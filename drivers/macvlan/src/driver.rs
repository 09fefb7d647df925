//! Networks and endpoints of the two drivers.

use crate::options::{L3, Options};
use crate::{Kind, Macvlan, Net, State};
use ipnet::IpNet;
use network::ipam::{AddressWish, subnets};
use network::route::{self, LinkInfo, Shared, SharedKind};
use network::{
    Driver, Endpoint, EndpointId, Joined, Live, Mac, Network, NetworkConfig, NetworkId, Pool,
    Recovered, Sandbox,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use stdx::{Context as _, Error, Result, fail_point};
use sys::netlink::{self, Batch, Socket};

const ENODEV: i32 = 19;
const EOPNOTSUPP: i32 = 95;
const EADDRINUSE: i32 = 98;
const RTMGRP_LINK: u32 = 1;
/// How long an address may still be somebody's who has ended.
const PATIENCE: Duration = Duration::from_secs(3);

impl Driver for Macvlan {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn usage(&self, network: &NetworkId) -> Vec<(ipnet::IpNet, network::Usage)> {
        let pools = self.state().networks.get(network).map(|net| net.pools.clone());
        network::ipam::subnets::usage(self.ipam.as_ref(), network, &pools.unwrap_or_default())
    }

    fn create(&self, config: &NetworkConfig) -> Result<Network> {
        if let Some(net) = self.state().networks.get(&config.id) {
            return Ok(net.answer());
        }
        let options = Options::parse(self.kind, &config.options)?;
        let own = format!("{}{}", self.kind.prefix(), &config.id.to_string()[..12]);
        let parent = options.parent.as_ref().map_or(own, |parent| parent.name.clone());
        self.check_parent(&self.state(), &parent)?;
        // A plugin may be asked for addresses: nobody else is to wait for it.
        let pools = subnets::take_some(&*self.ipam, config, || {
            let mut host = self.host();
            let mut taken = route::routes(&mut host)?;
            taken.extend(route::addresses(&mut host)?.into_iter().map(|(_, address)| address));
            Ok(taken)
        })?;
        let net = Net {
            name: config.name.clone(),
            internal: config.internal || options.parent.is_none(),
            options: options.clone(),
            parent: parent.clone(),
            pools,
        };
        let (answer, pools) = (net.answer(), net.pools.clone());
        {
            // Somebody may have come to the parent while addresses were asked for.
            let mut state = self.state();
            if let Err(e) = self.check_parent(&state, &parent) {
                drop(state);
                subnets::release(&*self.ipam, &config.id, &pools);
                return Err(e);
            }
            state.networks.insert(config.id, net);
        }
        fail_point!("macvlan.create.before-link");
        let mut host = self.host();
        if let Err(e) = self.ensure_parent(&mut host, config, &options, &parent) {
            drop(host);
            self.state().networks.remove(&config.id);
            subnets::release(&*self.ipam, &config.id, &pools);
            return Err(e);
        }
        Ok(answer)
    }

    fn delete(&self, network: &NetworkId) -> Result<()> {
        let net = {
            let mut state = self.state();
            let Some(net) = state.networks.get(network).cloned() else { return Ok(()) };
            if state.endpoints.values().any(|(on, _)| on == network) {
                let text = format!(
                    "error while removing network: network {} id {network} has active endpoints",
                    net.name
                );
                return Err(Error::new(stdx::Kind::Forbidden, text));
            }
            state.networks.remove(network);
            net
        };
        let mark = format!("{}{network}", self.mark);
        subnets::release(&*self.ipam, network, &net.pools);
        let mut host = self.host();
        match route::link(&mut host, &net.parent)?.filter(|link| link.alias == mark) {
            Some(link) => remove(&mut host, &link),
            None => Ok(()),
        }
    }

    fn join(&self, endpoint: &Endpoint, sandbox: &mut Sandbox) -> Result<Joined> {
        let mut known = endpoint.clone();
        if known.mac.is_none()
            && self.kind == Kind::Macvlan
            && self.ipam.needs_mac(&endpoint.network)
        {
            known.mac = Some(Mac::random()?);
        }
        let endpoint = &known;
        let (net, addresses) = self.lease(endpoint)?;
        let derived = endpoint.mac.or_else(|| Mac::of_any(addresses.iter().map(|(_, a)| *a)));
        let derived = derived.expect("a network has addresses of at least one family");
        let mut result = self.attach(&net, endpoint, &addresses, derived, sandbox);
        // The kernel has not yet removed the link of whoever had the address before, and an Ethernet address is used once.
        if let Err(e) = &result
            && e.kind() == stdx::Kind::Conflict
            && self.kind == Kind::Macvlan
            && endpoint.mac.is_none()
        {
            result =
                Mac::random().and_then(|mac| self.attach(&net, endpoint, &addresses, mac, sandbox));
        }
        if result.is_err() {
            self.leave(&endpoint.id)?;
        }
        result.context(|| format!("join network {}", net.name))
    }

    fn leave(&self, endpoint: &EndpointId) -> Result<()> {
        let gone = self.state().endpoints.remove(endpoint);
        if let Some((network, addresses)) = gone {
            for (pool, address) in addresses {
                self.ipam.release(&network, &pool, address);
            }
        }
        Ok(())
    }

    fn detach(&self, endpoint: &EndpointId, interface: &str, sandbox: &mut Sandbox) -> Result<()> {
        // The link is in the container's namespace alone. Its kind is looked at: the container may have renamed things.
        let found = route::link(sandbox.route(), interface)?;
        if let Some(link) = found.filter(|link| link.kind == self.kind.name()) {
            remove(sandbox.route(), &link)?;
        }
        self.leave(endpoint)
    }

    fn recover(&self, live: Vec<Live>) -> Result<Recovered> {
        let mut recovered = Recovered::default();
        for Live { endpoint, joined, .. } in live {
            if let Err(e) = self.adopt(&endpoint, &joined) {
                recovered
                    .failed
                    .push(Error::internal(format!("endpoint {}", endpoint.id)).caused_by(e));
            }
        }
        // Parents of ours whose network is gone.
        let mut host = self.host();
        let known: Vec<String> =
            self.state().networks.keys().map(|id| format!("{}{id}", self.mark)).collect();
        for link in route::links(&mut host)? {
            if link.alias.starts_with(&self.mark) && !known.contains(&link.alias) {
                remove(&mut host, &link)?;
                recovered.removed.push(link.name);
            }
        }
        Ok(recovered)
    }
}

impl Macvlan {
    /// A parent is of one network.
    fn check_parent(&self, state: &State, parent: &str) -> Result<()> {
        match state.networks.iter().find(|(_, net)| net.parent == parent) {
            None => Ok(()),
            Some((id, _)) => {
                let other = format!("{}{}", self.kind.prefix(), &id.to_string()[..12]);
                let text = format!("network {other} is already using parent interface {parent}");
                Err(Error::new(stdx::Kind::Forbidden, text))
            }
        }
    }

    /// Finds the parent, or makes the one that is ours to make. It is up afterwards.
    fn ensure_parent(
        &self,
        host: &mut Socket,
        config: &NetworkConfig,
        options: &Options,
        name: &str,
    ) -> Result<()> {
        if route::link(host, name)?.is_some() {
            return Ok(());
        }
        let mut batch = Batch::new();
        match options.parent.as_ref().map(|parent| &parent.vlan) {
            None => route::add_dummy(&mut batch, name),
            Some(None) => {
                return Err(Error::invalid(format!(
                    "invalid subinterface vlan name {name}, example formatting is eth0.10"
                )));
            }
            Some(Some((link, tag))) => {
                let below = route::link(host, link)?.ok_or_else(|| {
                    Error::invalid(format!("failed to find master interface {link} on the host"))
                })?;
                route::add_vlan(&mut batch, name, below.index, *tag);
            }
        }
        host.execute(batch).map_err(|e| refused(&format!("make link {name}"), e))?;
        let link = route::link(host, name)?
            .ok_or_else(|| Error::internal(format!("link {name} vanished")))?;
        let mut batch = Batch::new();
        route::set_alias(&mut batch, name, &format!("{}{}", self.mark, config.id));
        route::raise(&mut batch, link.index);
        host.execute(batch).map_err(|e| refused(&format!("set up link {name}"), e))
    }

    fn lease(&self, endpoint: &Endpoint) -> Result<(Net, Vec<(IpNet, IpAddr)>)> {
        let net = self.hold(endpoint)?;
        // A plugin may be asked: nobody else is to wait for it.
        let mut taken: Vec<(IpNet, IpAddr)> = Vec::new();
        let mut outcome = Ok(());
        for pool in &net.pools {
            let wanted = match pool.subnet {
                IpNet::V4(_) => endpoint.ipv4.map(IpAddr::V4),
                IpNet::V6(_) => endpoint.ipv6.map(IpAddr::V6),
            };
            let wish = AddressWish {
                range: pool.range.as_ref(),
                wanted,
                mac: endpoint.mac,
                ..AddressWish::any(&endpoint.network, &pool.subnet)
            };
            match self.ipam.allocate(&wish) {
                Ok(address) => taken.push((pool.subnet, address.addr())),
                Err(e) => {
                    outcome = Err(e);
                    break;
                }
            }
        }
        self.state().endpoints.insert(endpoint.id, (endpoint.network, taken.clone()));
        if let Err(e) = outcome {
            self.leave(&endpoint.id)?;
            return Err(e);
        }
        Ok((net, taken))
    }

    /// Keeps a place on a network, which is there.
    fn hold(&self, endpoint: &Endpoint) -> Result<Net> {
        let mut state = self.state();
        let net =
            state.networks.get(&endpoint.network).cloned().ok_or_else(|| {
                Error::not_found(format!("network {} not found", endpoint.network))
            })?;
        if state.endpoints.contains_key(&endpoint.id) {
            let text = format!("endpoint {} has been joined already", endpoint.id);
            return Err(Error::conflict(text));
        }
        let alone = net.options.is_passthru(self.kind);
        if alone && state.endpoints.values().any(|(on, _)| *on == endpoint.network) {
            return Err(Error::conflict(format!(
                "network {} passes its parent {} through to one container, which there is",
                net.name, net.parent
            )));
        }
        state.endpoints.insert(endpoint.id, (endpoint.network, Vec::new()));
        Ok(net)
    }

    fn attach(
        &self,
        net: &Net,
        endpoint: &Endpoint,
        addresses: &[(IpNet, IpAddr)],
        mac: Mac,
        sandbox: &mut Sandbox,
    ) -> Result<Joined> {
        let (_, name) = sandbox.next_link();
        let kind = match self.kind {
            Kind::Macvlan => SharedKind::Macvlan(mac, net.options.mode),
            Kind::Ipvlan => SharedKind::Ipvlan(net.options.mode as u16, net.options.flags),
        };
        {
            let mut host = self.host();
            let parent = route::link(&mut host, &net.parent)?.ok_or_else(|| {
                Error::not_found(format!("the parent interface {} is gone", net.parent))
            })?;
            let mut batch = Batch::new();
            let netns = sandbox.netns();
            let mtu = net.options.mtu;
            let link = Shared { name: &name, parent: parent.index, netns, mtu, kind };
            route::add_shared(&mut batch, &link);
            host.execute(batch).map_err(|e| refused(&format!("make a {} link", self.kind), e))?;
        }
        let link = route::link(sandbox.route(), &name)?
            .ok_or_else(|| Error::internal("the link is not in the sandbox"))?;
        match self.set_up(net, endpoint, addresses, sandbox, &link) {
            Ok(joined) => {
                sandbox.linked(link.index, &name);
                Ok(Joined { mac: (self.kind == Kind::Macvlan).then_some(mac), ..joined })
            }
            Err(e) => {
                // The error that led here is the one to report; the link goes with its namespace in any case.
                let _removed = remove(sandbox.route(), &link);
                Err(e)
            }
        }
    }

    /// Gives the link in the sandbox its addresses and routes.
    fn set_up(
        &self,
        net: &Net,
        endpoint: &Endpoint,
        addresses: &[(IpNet, IpAddr)],
        sandbox: &mut Sandbox,
        link: &LinkInfo,
    ) -> Result<Joined> {
        if addresses.iter().any(|(_, address)| address.is_ipv6()) {
            let set = |key: &str, value: &str| {
                (format!("net/ipv6/conf/{}/{key}", link.name), value.to_owned())
            };
            // Addresses and routes are ours to give; nobody's announcements are believed.
            sandbox.sysctls(vec![set("accept_ra", "0"), set("disable_ipv6", "0")])?;
        }
        let prefixed: Vec<IpNet> = addresses
            .iter()
            .map(|(pool, address)| {
                IpNet::new(*address, pool.prefix_len()).expect("the prefix comes from a subnet")
            })
            .collect();
        let on_link = self.kind == Kind::Ipvlan && net.options.mode >= L3;
        let pools = net.pools.iter().filter(|_| !net.internal);
        let gateways: Vec<IpAddr> = pools.map(|pool| pool.gateway).collect();
        let mut batch = Batch::new();
        for address in &prefixed {
            match self.kind {
                Kind::Macvlan => route::add_address(&mut batch, link.index, *address),
                // A parent has each address once, and may still have it for a container that has ended.
                Kind::Ipvlan => when_free(sandbox.route(), link.index, *address)
                    .map_err(|e| refused(&format!("give the link address {address}"), e))?,
            }
        }
        route::raise(&mut batch, link.index);
        for gateway in gateways.iter().filter(|_| endpoint.default_route) {
            if on_link {
                route::add_link_route(&mut batch, link.index, *gateway);
            } else {
                route::add_default_route(&mut batch, link.index, *gateway);
            }
        }
        sandbox.route().execute(batch).map_err(|e| refused("set up the link in the sandbox", e))?;
        Ok(Joined {
            interface: link.name.clone(),
            host_interface: None,
            mac: None,
            addresses: prefixed,
            gateways: if on_link { Vec::new() } else { gateways },
        })
    }

    /// Takes a living endpoint's addresses.
    fn adopt(&self, endpoint: &Endpoint, joined: &Joined) -> Result<()> {
        let net = self.state().networks.get(&endpoint.network).cloned();
        let net =
            net.ok_or_else(|| Error::not_found(format!("network {} not found", endpoint.network)))?;
        let mut taken = Vec::new();
        for address in joined.addresses.iter().map(IpNet::addr) {
            let Some(pool) = net.pools.iter().find(|pool| pool.subnet.contains(&address)) else {
                continue;
            };
            self.ipam.allocate(&AddressWish {
                wanted: Some(address),
                mac: joined.mac,
                ..AddressWish::any(&endpoint.network, &pool.subnet)
            })?;
            taken.push((pool.subnet, address));
        }
        self.state().endpoints.insert(endpoint.id, (endpoint.network, taken));
        Ok(())
    }
}

impl Net {
    fn answer(&self) -> Network {
        let pool =
            |pool: &subnets::Subnet| Pool { subnet: pool.subnet, gateway: Some(pool.gateway) };
        Network { pools: self.pools.iter().map(pool).collect(), ..Network::default() }
    }
}

/// Gives a link in the sandbox an address as soon as its parent has it for no other link any more: those of a namespace
/// that ended go a moment later, which is news of the parent. An address that somebody keeps is refused after
/// [`PATIENCE`].
fn when_free(inside: &mut Socket, link: u32, address: IpNet) -> Result<(), netlink::Error> {
    let mut add = || {
        let mut batch = Batch::new();
        route::add_address(&mut batch, link, address);
        inside.execute(batch)
    };
    let is_taken = |result: &Result<(), netlink::Error>| {
        result.as_ref().is_err_and(|e| e.errno() == Some(EADDRINUSE))
    };
    let result = add();
    if !is_taken(&result) {
        return result;
    }
    // Heard from before the next attempt on, so that no news is missed.
    let mut news = Socket::subscribe(netlink::Protocol::Route, RTMGRP_LINK)?;
    let end = Instant::now() + PATIENCE;
    loop {
        let result = add();
        let left = end.saturating_duration_since(Instant::now());
        if !is_taken(&result) || left.is_zero() {
            return result;
        }
        let limit =
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let heard = poll(&mut [PollFd::new(&news, PollFlags::IN)], Some(&limit));
        if heard.is_ok_and(|ready| ready > 0) {
            // What it says does not matter; that some was lost neither.
            let _news = news.receive();
        }
    }
}

/// Removes a link; that it is gone already is success.
pub(crate) fn remove(socket: &mut Socket, link: &LinkInfo) -> Result<()> {
    let mut batch = Batch::new();
    route::delete_link(&mut batch, link.index);
    match socket.execute(batch) {
        Err(e) if e.errno() == Some(ENODEV) => Ok(()),
        result => result.map_err(|e| refused(&format!("remove link {}", link.name), e)),
    }
}

fn refused(doing: &str, error: netlink::Error) -> Error {
    if error.errno() == Some(EOPNOTSUPP) {
        let text = format!("{doing}: this kernel has no support for it: operation not supported");
        return Error::not_implemented(text);
    }
    if error.errno() == Some(EADDRINUSE) {
        return Error::conflict(doing).caused_by(error);
    }
    Error::internal(doing).caused_by(error)
}
