//! Published ports: taking them, leading them, giving them back.

use crate::host::Host;
use crate::options::GatewayMode;
use crate::policy::Policy;
use crate::ports::{self, Ports};
use crate::rules::{self, Forward};
use crate::{Inner, Net, probe};
use network::{EndpointId, Family, PortRequest, Protocol, PublishedPort, route};
use nft::{Change, Element};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{MutexGuard, PoisonError};
use stdx::{Context as _, Error, Result, fail_point};
use sys::netlink::Batch;

const ENODEV: i32 = 19;

/// An endpoint's published ports.
#[derive(Debug, Clone, Default)]
pub(crate) struct Published {
    pub(crate) ports: Vec<PublishedPort>,
    pub(crate) forwards: Vec<Forward>,
}

/// What publishing must know about an endpoint.
struct Reach {
    net: Net,
    addresses: Vec<IpAddr>,
    link: String,
    relay: bool,
    policy: Policy,
}

impl Inner {
    fn ports(&self) -> MutexGuard<'_, Ports> {
        // A panic between taking ports and leading them loses the ports until the next start, nothing else.
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn publish(
        &self,
        endpoint: &EndpointId,
        requests: &[PortRequest],
    ) -> Result<Vec<PublishedPort>> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let reach = self.reach(endpoint)?;
        if reach.net.config.internal {
            return Ok(Vec::new());
        }
        let mut ports = self.ports();
        let mut taken = Vec::new();
        for request in requests {
            match reach.take(&mut ports, request) {
                Ok(more) => taken.extend(more),
                Err(e) => {
                    ports.release(&taken);
                    return Err(e);
                }
            }
        }
        if let Err(e) = self.lead(endpoint, &reach, &taken) {
            ports.release(&taken);
            return Err(e);
        }
        Ok(taken)
    }

    fn reach(&self, endpoint: &EndpointId) -> Result<Reach> {
        let state = self.state();
        let lease = state
            .leases
            .get(endpoint)
            .ok_or_else(|| Error::not_found(format!("endpoint {endpoint} not found")))?;
        let net = state
            .networks
            .get(&lease.network)
            .cloned()
            .ok_or_else(|| Error::not_found(format!("network {} not found", lease.network)))?;
        let addresses = lease.addresses.iter().map(|(_, address)| *address).collect();
        let link = lease.link.clone();
        let (relay, policy) = (state.relay.is_some(), self.config.policy);
        Ok(Reach { net, addresses, link, relay, policy })
    }

    /// Writes the elements of ports that are taken.
    fn lead(&self, endpoint: &EndpointId, reach: &Reach, taken: &[PublishedPort]) -> Result<()> {
        let forwards = reach.forwards(taken);
        let mut host = self.host();
        {
            let mut state = self.state();
            let published = state.published.entry(*endpoint).or_default();
            published.ports.extend_from_slice(taken);
            published.forwards.extend_from_slice(&forwards);
        }
        fail_point!("bridge.publish.before-rules");
        let result = self.allow_loopback(&reach.net, taken).and_then(|()| {
            reflect(&mut host, &reach.link)?;
            let changes = self.changes(&forwards, true);
            if host.firewall.change(&changes)? { Ok(()) } else { self.write_rules(&mut host) }
        });
        if result.is_err() {
            let mut state = self.state();
            if let Some(published) = state.published.get_mut(endpoint) {
                published.ports.retain(|port| !taken.contains(port));
                published.forwards.retain(|forward| !forwards.contains(forward));
            }
        }
        drop(host);
        if result.is_ok() {
            self.forget_flows(taken.to_vec(), Vec::new());
            self.nudge();
        }
        result
    }

    pub(crate) fn withdraw(&self, endpoint: &EndpointId) -> Result<()> {
        let (published, addresses) = {
            let mut state = self.state();
            let Some(published) = state.published.remove(endpoint) else { return Ok(()) };
            let lease = state.leases.get(endpoint);
            let addresses = lease.into_iter().flat_map(|l| &l.addresses).map(|(_, a)| *a).collect();
            (published, addresses)
        };
        let result = {
            let mut host = self.host();
            let changes = self.changes(&published.forwards, false);
            match host.firewall.change(&changes) {
                Ok(true) => Ok(()),
                // Somebody has changed the tables: they are written as they shall be.
                Ok(false) => self.write_rules(&mut host),
                Err(e) => Err(e),
            }
        };
        self.ports().release(&published.ports);
        self.forget_flows(published.ports, addresses);
        self.nudge();
        result
    }

    /// Ports of a container that outlived the daemon; the tables are written whole afterwards.
    pub(crate) fn adopt_ports(
        &self,
        endpoint: &EndpointId,
        published: &[PublishedPort],
    ) -> Result<()> {
        if published.is_empty() {
            return Ok(());
        }
        let reach = self.reach(endpoint)?;
        self.ports().adopt(published);
        let forwards = reach.forwards(published);
        let published = Published { ports: published.to_vec(), forwards };
        self.allow_loopback(&reach.net, &published.ports)?;
        self.state().published.insert(*endpoint, published);
        Ok(())
    }

    /// The changes that add or remove the elements of forwards.
    fn changes(&self, forwards: &[Forward], add: bool) -> Vec<Change> {
        let policy = self.config.policy;
        if !policy.any_rules() {
            return Vec::new();
        }
        let mut sets: BTreeMap<(u8, &'static str), (nft::Family, Vec<Element>)> = BTreeMap::new();
        let mut put = |family: nft::Family, set: &'static str, element: Element| {
            let (_, elements) =
                sets.entry((family.number(), set)).or_insert_with(|| (family, Vec::new()));
            elements.push(element);
        };
        for forward in forwards {
            for (set, element) in forward.elements() {
                put(nft::Family::Inet, set, element);
            }
            if policy.ask_host
                && policy.rules_about(&forward.address)
                && let Some((family, element)) = rules::asked(forward)
            {
                put(family, rules::ASKED, element);
            }
        }
        let change = |((_, set), (family, elements)): ((u8, &str), (nft::Family, Vec<Element>))| {
            let (come, go) = if add { (elements, Vec::new()) } else { (Vec::new(), elements) };
            Change {
                family,
                table: self.config.table(),
                set: set.to_owned(),
                add: come,
                remove: go,
            }
        };
        sets.into_iter().map(change).collect()
    }

    /// Lets packets from 127.0.0.0/8 out to the bridge, where a port on loopback leads there. What could come in by it is
    /// dropped by the rules.
    fn allow_loopback(&self, net: &Net, ports: &[PublishedPort]) -> Result<()> {
        let wanted = ports.iter().any(|port| match port.address {
            IpAddr::V4(address) => address.is_loopback() || address.is_unspecified(),
            IpAddr::V6(_) => false,
        });
        if !wanted || self.state().loopback.contains(&net.config.id) {
            return Ok(());
        }
        let path = format!("/proc/sys/net/ipv4/conf/{}/route_localnet", net.bridge);
        std::fs::write(&path, "1").context(|| format!("set {path}"))?;
        self.state().loopback.insert(net.config.id);
        Ok(())
    }
}

impl Reach {
    fn take(&self, ports: &mut Ports, request: &PortRequest) -> Result<Vec<PublishedPort>> {
        let addresses = self.host_addresses(request)?;
        let (routed, translated): (Vec<IpAddr>, Vec<IpAddr>) =
            addresses.into_iter().partition(|address| self.mode(address) == GatewayMode::Routed);
        // Nothing of the host's is taken for them: the port is the container's own.
        let mut all: Vec<PublishedPort> = routed
            .iter()
            .map(|address| PublishedPort {
                protocol: request.protocol,
                container: request.container,
                address: match address {
                    IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                },
                port: 0,
            })
            .collect();
        all.extend(ports.take(request, &translated, ephemeral(), &mut probe::free)?);
        all.sort_by_key(|port| port.address.is_ipv6());
        Ok(all)
    }

    /// The host's addresses that a request means and that this endpoint is reached by.
    fn host_addresses(&self, request: &PortRequest) -> Result<Vec<IpAddr>> {
        let Some(address) = request.address else {
            let options = &self.net.options;
            let binding = (options.host_binding_v4, options.host_binding_v6);
            let all = ports::default_addresses(binding, (true, true));
            let reached = all.into_iter().filter(|a| self.reached(request.protocol, a));
            let (led, left): (Vec<_>, Vec<_>) = reached.partition(|a| self.is_led(a));
            // Without rules about IPv6 alone, IPv4 will do.
            return match left.first() {
                Some(address) if address.is_ipv4() || led.is_empty() => {
                    Err(not_led(request, address))
                }
                _ => Ok(led),
            };
        };
        if self.reached(request.protocol, &address) {
            let led = self.is_led(&address);
            return if led { Ok(vec![address]) } else { Err(not_led(request, &address)) };
        }
        let what = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        Err(Error::not_implemented(format!(
            "cannot publish {}/{} on {address}: the container has no {what} address on network {}",
            request.container, request.protocol, self.net.config.name
        )))
    }

    fn reached(&self, protocol: Protocol, address: &IpAddr) -> bool {
        let relayed =
            self.relay && self.policy.ipv6 && protocol != Protocol::Sctp && address.is_ipv6();
        match self.container(address) {
            // To ::1 alone only the relay leads.
            Some(_) => !(address.is_ipv6() && address.is_loopback()) || relayed,
            None => relayed,
        }
    }

    /// Whether there are rules that lead from there to the container, or none are needed.
    fn is_led(&self, address: &IpAddr) -> bool {
        self.mode(address) == GatewayMode::Routed || self.policy.rules_about(address)
    }

    /// The container's address of the same family.
    fn container(&self, address: &IpAddr) -> Option<IpAddr> {
        self.addresses.iter().find(|a| a.is_ipv4() == address.is_ipv4()).copied()
    }

    fn mode(&self, address: &IpAddr) -> GatewayMode {
        let options = &self.net.options;
        match (self.container(address), address) {
            (None, _) => GatewayMode::Nat,
            (Some(_), IpAddr::V4(_)) => options.mode_v4,
            (Some(_), IpAddr::V6(_)) => options.mode_v6,
        }
    }

    fn forwards(&self, ports: &[PublishedPort]) -> Vec<Forward> {
        let routed = |address: &IpAddr| self.mode(address) == GatewayMode::Routed;
        let mut all = rules::forwards(ports, |address| self.container(address), routed);
        if self.policy.direct_routing {
            all.extend(self.direct(ports));
        }
        all
    }

    /// The container's own ports that others published ones lead to; not those that are the host's own alone.
    fn direct(&self, ports: &[PublishedPort]) -> Vec<Forward> {
        let mut own: Vec<PublishedPort> = ports
            .iter()
            .filter(|port| {
                !port.address.is_loopback()
                    && self.container(&port.address).is_some()
                    && self.mode(&port.address) != GatewayMode::Routed
            })
            .map(|port| {
                let any: IpAddr = match port.address {
                    IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                PublishedPort { address: any, port: 0, ..*port }
            })
            .collect();
        own.sort_by_key(|port| (port.protocol, port.address, port.container));
        own.dedup();
        rules::forwards(&own, |address| self.container(address), |_| true)
    }
}

fn not_led(request: &PortRequest, address: &IpAddr) -> Error {
    let option = if address.is_ipv4() { "iptables" } else { "ip6tables" };
    Error::not_implemented(format!(
        "cannot publish {}/{} on {address}: the daemon's option {option} is false, and without rules no port of the host \
         leads to a container",
        request.container, request.protocol
    ))
}

/// Lets a container reach itself by its own published port. A bridge whose packets meet br_netfilter does not route such
/// packets but passes them on between ports, here from a port to itself.
fn reflect(host: &mut Host, link: &str) -> Result<()> {
    let on = |path: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "1");
    if !on("/proc/sys/net/bridge/bridge-nf-call-iptables") {
        return Ok(());
    }
    let mut batch = Batch::new();
    route::reflect(&mut batch, link);
    match host.route.execute(batch) {
        // The container has ended meanwhile.
        Err(e) if e.errno() == Some(ENODEV) => Ok(()),
        result => result.map_err(|e| Error::internal(format!("set up {link}")).caused_by(e)),
    }
}

/// The ports that the kernel gives away itself.
fn ephemeral() -> (u16, u16) {
    let text =
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().map(str::parse::<u16>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(low)), Some(Ok(high))) if low > 0 && low <= high => (low, high),
        // The kernel's own default.
        _ => (32768, 60999),
    }
}

impl Net {
    /// The family's side of the network.
    pub(crate) fn mode_of(&self, family: Family) -> GatewayMode {
        match family {
            Family::V4 => self.options.mode_v4,
            Family::V6 => self.options.mode_v6,
        }
    }
}
