//! Joining an endpoint: what the plugin is asked, and what its answers may say.

use crate::Net;
use crate::driver::Remote;
use crate::ipam::shortened;
use crate::journal::EndpointNote;
use crate::link::{Wanted, is_name};
use crate::peer::Peer;
use crate::undo::Chore;
use crate::wire::{self, EndpointAnswer, JoinAnswer};
use ipnet::IpNet;
use network::ipam::AddressWish;
use network::{Endpoint, Ipam as _, Joined, Mac, Sandbox};
use plugin::Failure;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use stdx::{Error, Result, fail_point};

/// Routes that a plugin may give an endpoint.
const ROUTES: usize = 256;
/// The user's name for the link.
const IFNAME: &str = "com.docker.network.endpoint.ifname";

/// What joining gave so far.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) addresses: Vec<(IpNet, IpAddr)>,
    /// The plugin may have the endpoint.
    pub(crate) asked: bool,
    pub(crate) has_gateway: bool,
}

impl Remote {
    /// Has the plugin make the link, and takes it into the sandbox.
    pub(crate) fn attach(
        &self,
        peer: &Arc<Peer>,
        net: &Net,
        endpoint: &Endpoint,
        mac: Option<Mac>,
        sandbox: &mut Sandbox,
        progress: &mut Progress,
    ) -> Result<Joined> {
        fail_point!("netplugin.join.after-note");
        let given = self.addresses(net, endpoint, mac, progress)?;
        let (mac, addresses) = self.create_endpoint(peer, endpoint, mac, given, progress)?;
        fail_point!("netplugin.join.after-create");
        let answer = self.ask_join(peer, endpoint, sandbox)?;
        fail_point!("netplugin.join.after-join");
        let garbled =
            |text: String| Error::from(Failure::garbled(&self.name, "NetworkDriver.Join", text));
        let gateways = gateways(&answer).map_err(garbled)?;
        let gateways = if net.config.internal { Vec::new() } else { gateways };
        let routes = routes(&answer).map_err(garbled)?;
        progress.has_gateway = !gateways.is_empty();
        let name = answer.interface_name.unwrap_or_default();
        if name.src_name.is_empty() {
            return Ok(Joined { gateways, addresses, mac, ..Joined::nothing() });
        }
        let prefix = if name.dst_prefix.is_empty() { "eth" } else { &name.dst_prefix };
        let wish = endpoint.options.get(IFNAME).map(String::as_str);
        // Room for a number.
        let odd = prefix.len() > 12 || !is_name(prefix) || prefix.contains('%');
        if odd || wish.is_some_and(|name| !is_name(name)) {
            let text = format!("{:?} is no name of a link", shortened(wish.unwrap_or(prefix)));
            return Err(garbled(text));
        }
        self.inner.journal.put_endpoint(
            endpoint.id,
            EndpointNote {
                driver: self.name.clone(),
                network: endpoint.network.to_string(),
                source: name.src_name.clone(),
            },
        )?;
        let (interface, mac) = self.inner.take_link(
            sandbox,
            &Wanted {
                source: &name.src_name,
                name: wish,
                prefix,
                mac,
                addresses: &addresses,
                link_local: &endpoint.link_local,
                routes: &routes,
                gateways: if endpoint.default_route { &gateways } else { &[] },
            },
        )?;
        fail_point!("netplugin.join.after-link");
        Ok(Joined { interface, host_interface: None, mac, addresses, gateways })
    }

    /// Takes the endpoint's addresses from whoever gives them.
    fn addresses(
        &self,
        net: &Net,
        endpoint: &Endpoint,
        mac: Option<Mac>,
        progress: &mut Progress,
    ) -> Result<Vec<IpNet>> {
        let mut given = Vec::new();
        for pool in &net.pools {
            let wanted = match pool.subnet {
                IpNet::V4(_) => endpoint.ipv4.map(IpAddr::V4),
                IpNet::V6(_) => endpoint.ipv6.map(IpAddr::V6),
            };
            let address = self.ipam().allocate(&AddressWish {
                range: pool.range.as_ref(),
                wanted,
                mac,
                ..AddressWish::any(&endpoint.network, &pool.subnet)
            })?;
            progress.addresses.push((pool.subnet, address.addr()));
            given.push(address);
        }
        Ok(given)
    }

    /// Tells the plugin of the endpoint, which may give what nobody else gave.
    fn create_endpoint(
        &self,
        peer: &Arc<Peer>,
        endpoint: &Endpoint,
        mac: Option<Mac>,
        given: Vec<IpNet>,
        progress: &mut Progress,
    ) -> Result<(Option<Mac>, Vec<IpNet>)> {
        let of = |v4: bool| given.iter().find(|a| a.addr().is_ipv4() == v4);
        let text = |v4: bool| of(v4).map(ToString::to_string).unwrap_or_default();
        let options =
            wire::options(&endpoint.exposed, &endpoint.ports, &endpoint.options, endpoint.mac);
        let question = wire::create_endpoint(endpoint, [&text(true), &text(false)], mac, options);
        let method = "NetworkDriver.CreateEndpoint";
        progress.asked = true;
        let answer = peer.call::<EndpointAnswer>(&self.inner, method, &question);
        if answer.as_ref().is_err_and(Failure::is_refusal) {
            progress.asked = false;
        }
        let answer = answer?.interface.unwrap_or_default();
        let garbled = |text: String| Error::from(Failure::garbled(&self.name, method, text));
        let mac = match (answer.mac_address.as_str(), mac) {
            ("", mac) => mac,
            (text, None) => Some(text.parse().map_err(|e: network::InvalidMac| {
                garbled(format!("failed to parse MAC address: {}", shortened(&e.to_string())))
            })?),
            (text, Some(mac)) => {
                return Err(garbled(format!(
                    "driver modified interface MAC address: endpoint interface MAC present ({mac}). Cannot be \
                     modified with {}.",
                    shortened(text)
                )));
            }
        };
        let mut addresses = given.clone();
        for (v4, text) in [(true, &answer.address), (false, &answer.address_ipv6)] {
            if text.is_empty() {
                continue;
            }
            if let Some(present) = of(v4) {
                return Err(garbled(format!(
                    "driver modified interface address: endpoint interface IP present ({present}). Cannot be \
                     modified with {}.",
                    shortened(text)
                )));
            }
            let address = text.parse().ok().filter(|a: &IpNet| a.addr().is_ipv4() == v4);
            let wrong = || garbled(format!("{:?} is no address with a prefix", shortened(text)));
            addresses.push(address.ok_or_else(wrong)?);
        }
        Ok((mac, addresses))
    }

    fn ask_join(
        &self,
        peer: &Arc<Peer>,
        endpoint: &Endpoint,
        sandbox: &Sandbox,
    ) -> Result<JoinAnswer> {
        let mut question = wire::endpoint(&endpoint.network, &endpoint.id);
        // Our namespaces are mounted nowhere. This path is good while the plugin is asked.
        let (pid, fd) = (std::process::id(), sandbox.netns().as_raw_fd());
        question["SandboxKey"] = format!("/proc/{pid}/fd/{fd}").into();
        question["Options"] =
            wire::options(&endpoint.exposed, &endpoint.ports, &endpoint.options, endpoint.mac);
        Ok(peer.call(&self.inner, "NetworkDriver.Join", &question)?)
    }

    /// An endpoint that was not joined goes.
    pub(crate) fn abandon(&self, peer: &Arc<Peer>, endpoint: &Endpoint, progress: Progress) {
        let Progress { addresses, asked, .. } = progress;
        if asked {
            let chore = Chore::Endpoint {
                network: endpoint.network,
                endpoint: endpoint.id,
                addresses,
                leads_out: false,
            };
            return peer.later(&self.inner, chore);
        }
        for (pool, address) in addresses {
            self.ipam().release(&endpoint.network, &pool, address);
        }
        if let Err(e) = self.inner.journal.remove_endpoint(&endpoint.id) {
            tracing::warn!("{e}");
        }
    }
}

fn gateways(answer: &JoinAnswer) -> Result<Vec<IpAddr>, String> {
    let mut gateways = Vec::new();
    for (v4, text) in [(true, &answer.gateway), (false, &answer.gateway_ipv6)] {
        if text.is_empty() {
            continue;
        }
        let address = text.parse().ok().filter(|address: &IpAddr| address.is_ipv4() == v4);
        gateways.push(address.ok_or_else(|| format!("{:?} is no gateway", shortened(text)))?);
    }
    Ok(gateways)
}

/// The routes of an answer: where to, and by whom.
fn routes(answer: &JoinAnswer) -> Result<Vec<(IpNet, Option<IpAddr>)>, String> {
    let routes = answer.static_routes.as_deref().unwrap_or_default();
    if routes.len() > ROUTES {
        return Err(format!("its answer has more than {ROUTES} routes"));
    }
    let mut all = Vec::new();
    for route in routes {
        let odd = || format!("it gave a route to {:?}", shortened(&route.destination));
        let to: IpNet = route.destination.parse().map_err(|_| odd())?;
        let via = match (route.route_type, route.next_hop.as_str()) {
            (1, _) => None,
            (0, text) => {
                let via: IpAddr =
                    text.parse().map_err(|_| format!("{} by {:?}", odd(), shortened(text)))?;
                Some(via)
            }
            (kind, _) => return Err(format!("{} of type {kind}", odd())),
        };
        if via.is_some_and(|via| via.is_ipv4() != to.addr().is_ipv4()) {
            return Err(odd());
        }
        all.push((to.trunc(), via));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_and_gateways_are_read_or_refused() {
        let read = |text: &str| {
            let answer: JoinAnswer = serde_json::from_str(text).unwrap();
            let gateways = gateways(&answer)?;
            let routes = routes(&answer)?;
            Ok::<_, String>((gateways.len(), routes))
        };
        assert_eq!(read("{}").unwrap(), (0, Vec::new()));
        let good = r#"{"Gateway":"169.254.1.1","GatewayIPv6":"fe80::1","StaticRoutes":[
            {"Destination":"169.254.1.1/32","RouteType":1},{"Destination":"10.0.0.9/8","RouteType":0,"NextHop":"10.1.0.1"}]}"#;
        let (gateways, routes) = read(good).unwrap();
        assert_eq!(gateways, 2);
        assert_eq!(routes[0], ("169.254.1.1/32".parse().unwrap(), None));
        assert_eq!(routes[1], ("10.0.0.0/8".parse().unwrap(), "10.1.0.1".parse().ok()));
        for bad in [
            r#"{"Gateway":"fe80::1"}"#,
            r#"{"Gateway":"x"}"#,
            r#"{"StaticRoutes":[{"Destination":"x","RouteType":1}]}"#,
            r#"{"StaticRoutes":[{"Destination":"10.0.0.0/8","RouteType":0}]}"#,
            r#"{"StaticRoutes":[{"Destination":"10.0.0.0/8","RouteType":0,"NextHop":"fe80::1"}]}"#,
            r#"{"StaticRoutes":[{"Destination":"10.0.0.0/8","RouteType":9}]}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
