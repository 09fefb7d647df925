//! Attaching endpoints and taking them off again.

use crate::host::Host;
use crate::lease::Lease;
use crate::options::EndpointOptions;
use crate::plan::{self, Attachment, LinkPlan};
use crate::{Inner, Net, State, apply};
use ipnet::IpNet;
use network::ipam::AddressWish;
use network::{Endpoint, EndpointId, Family, Joined, Mac, NetworkId, Sandbox, route};
use std::net::IpAddr;
use std::time::Duration;
use stdx::{Context as _, Error, Result};
use sys::netlink::Batch;

const ENODEV: i32 = 19;
/// How long a container that starts again waits until its last link goes by itself: it does within 10 ms as a rule.
const LAST_LINK: Duration = Duration::from_millis(50);

impl Inner {
    pub(crate) fn join(&self, endpoint: &Endpoint, sandbox: &mut Sandbox) -> Result<Joined> {
        let options = EndpointOptions::parse(&endpoint.options)?;
        let mut known = endpoint.clone();
        if known.mac.is_none() && self.ipam.needs_mac(&endpoint.network) {
            known.mac = Some(Mac::random()?);
        }
        let endpoint = &known;
        let attachment = self.lease(endpoint)?;
        let (index, free) = sandbox.next_link_named(&attachment.prefix);
        let interface = options.name.as_deref().unwrap_or(&free);
        let plan = plan::plan_join(&attachment, endpoint, &options, index, interface);
        match self.attach(endpoint, sandbox, plan) {
            Ok(joined) => Ok(joined),
            Err(e) => {
                // `apply` has taken the link away again: nothing will tell of it.
                let forgotten = self.state().leases.forget(&endpoint.id);
                if let Some(lease) = forgotten {
                    self.give_back(&lease);
                }
                Err(e).context(|| format!("join network {}", attachment.name))
            }
        }
    }

    /// Takes addresses and writes down whose they are.
    fn lease(&self, endpoint: &Endpoint) -> Result<Attachment> {
        let net = self
            .state()
            .networks
            .get(&endpoint.network)
            .ok_or_else(|| Error::not_found(format!("network {} not found", endpoint.network)))?
            .clone();
        let mut lease = Lease {
            network: endpoint.network,
            container: endpoint.container,
            addresses: Vec::new(),
            link: plan::link_names(&endpoint.id)[0].clone(),
            mac: None,
        };
        self.end_last(endpoint)?;
        let taken = self.take_addresses(&net, endpoint, &mut lease.addresses);
        lease.mac = endpoint
            .mac
            .or_else(|| Mac::of_any(lease.addresses.iter().map(|(_, address)| *address)));
        if let Err(e) = taken {
            self.give_back(&lease);
            return Err(e);
        }
        let addresses = prefixed(&lease.addresses);
        if !self.state().leases.add(endpoint.id, lease.clone()) {
            self.give_back(&lease);
            return Err(Error::conflict(format!(
                "endpoint {} has been joined already",
                endpoint.id
            )));
        }
        Ok(net.attachment(addresses, self.config.mark()))
    }

    fn take_addresses(
        &self,
        net: &Net,
        endpoint: &Endpoint,
        taken: &mut Vec<(IpNet, IpAddr)>,
    ) -> Result<()> {
        let asked = [endpoint.ipv4.map(IpAddr::V4), endpoint.ipv6.map(IpAddr::V6)];
        for address in asked.into_iter().flatten() {
            if !net.pools.iter().any(|pool| pool.subnet.contains(&address)) {
                return Err(Error::invalid(format!(
                    "no configured subnet or ip-range contain the IP address {address}"
                )));
            }
        }
        for pool in &net.pools {
            let family = Family::of(&pool.subnet);
            let wanted = asked[usize::from(family == Family::V6)];
            if let Some(address) = wanted {
                self.make_way(&endpoint.network, address)?;
            }
            let address = self.ipam.allocate(&AddressWish {
                range: pool.range.as_ref(),
                wanted,
                mac: endpoint.mac,
                ..AddressWish::any(&endpoint.network, &pool.subnet)
            });
            let address = address.map_err(|e| match wanted {
                None if net.config.ipam.is_builtin() => Error::new(
                    e.kind(),
                    format!(
                        "no available {family} addresses on this network's address pools: {} ({})",
                        net.config.name, net.config.id
                    ),
                ),
                _ => e,
            })?;
            taken.push((pool.subnet, address.addr()));
        }
        Ok(())
    }

    /// A container that starts again has its last addresses again where nobody has taken them: they are free when the kernel
    /// has taken its last namespace apart. Where somebody else sits in that, he loses the link, as with Docker.
    fn end_last(&self, endpoint: &Endpoint) -> Result<()> {
        let last = |state: &State| state.leases.last_of(&endpoint.network, &endpoint.container);
        let state = self.state();
        if last(&state).is_none() {
            return Ok(());
        }
        // Poisoned or late: it is taken away.
        drop(self.freed.wait_timeout_while(state, LAST_LINK, |state| last(state).is_some()));
        // See `make_way`.
        drop(self.host());
        let left = last(&self.state());
        left.map_or(Ok(()), |left| self.detach(&left))
    }

    /// A container that starts again with its own address need not wait until the kernel has taken the last one's
    /// namespace apart.
    fn make_way(&self, network: &NetworkId, address: IpAddr) -> Result<()> {
        // Whoever gives addresses back holds the lock until it is done: it is not seen halfway.
        drop(self.host());
        let leaving = self.state().leases.leaving(network, address);
        leaving.map_or(Ok(()), |endpoint| self.detach(&endpoint))
    }

    fn attach(
        &self,
        endpoint: &Endpoint,
        sandbox: &mut Sandbox,
        mut plan: LinkPlan,
    ) -> Result<Joined> {
        let mut host = self.host();
        let mut outcome = Err(apply::Failure::NameTaken);
        for name in plan::link_names(&endpoint.id) {
            if !matches!(outcome, Err(apply::Failure::NameTaken)) {
                break;
            }
            // What is said of another endpoint's link is not to be touched.
            if !self.state().leases.rename(&endpoint.id, &name) {
                continue;
            }
            plan.host = name;
            outcome = self.attach_by(&mut host, endpoint, sandbox, &mut plan);
            if outcome.is_err() {
                self.unjudge(&mut host, &plan.host);
            }
        }
        outcome?;
        // News that were lost meanwhile may have made the link look gone before it was there.
        self.state().leases.link_back(&endpoint.id);
        drop(host);
        self.bind_soon(&endpoint.id);
        Ok(plan.joined())
    }

    /// The same by a certain name.
    fn attach_by(
        &self,
        host: &mut Host,
        endpoint: &Endpoint,
        sandbox: &mut Sandbox,
        plan: &mut LinkPlan,
    ) -> Result<(), apply::Failure> {
        // Before there is a link that something could leave by.
        self.judge(host, endpoint, &plan.host).map_err(apply::Failure::Other)?;
        match apply::apply(&mut host.route, sandbox, plan) {
            Err(apply::Failure::NoBridge) => {
                // Somebody deleted the bridge under us: make it again, with everybody on it.
                let made = self.repair(host, &endpoint.network);
                plan.bridge = made.map_err(apply::Failure::Other)?;
                apply::apply(&mut host.route, sandbox, plan)
            }
            outcome => outcome,
        }
    }

    /// Gives addresses back that no link ever had.
    fn give_back(&self, lease: &Lease) {
        for (pool, address) in &lease.addresses {
            self.ipam.release(&lease.network, pool, *address);
        }
    }

    /// Takes the endpoint's link away now.
    pub(crate) fn detach(&self, endpoint: &EndpointId) -> Result<()> {
        let Some(link) = self.state().leases.link_of(endpoint) else { return Ok(()) };
        self.unlink(endpoint)?;
        self.withdraw(endpoint)?;
        let mut host = self.host();
        let mark = plan::alias(&self.config.mark(), endpoint);
        let found = route::link(&mut host.route, &link)?.filter(|found| found.alias == mark);
        if let Some(found) = found {
            let mut batch = Batch::new();
            route::delete_link(&mut batch, found.index);
            match host.route.execute(batch) {
                // It went with its namespace meanwhile.
                Err(e) if e.errno() == Some(ENODEV) => {}
                result => result
                    .map_err(|e| Error::internal(format!("remove link {link}")).caused_by(e))?,
            }
        }
        // Gone for certain: the address is free, whatever the news say later.
        let freed = self.state().leases.forget(endpoint);
        self.release(freed);
        Ok(())
    }
}

/// Addresses with the prefixes of their pools.
pub(crate) fn prefixed(addresses: &[(IpNet, IpAddr)]) -> Vec<IpNet> {
    addresses
        .iter()
        .map(|(pool, address)| {
            IpNet::new(*address, pool.prefix_len()).expect("the prefix comes from a subnet")
        })
        .collect()
}
