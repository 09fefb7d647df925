//! The subnets of one network, taken together.

use super::{AddressUser, AddressWish, Ipam, PoolWish, Usage, check, first_host};
use crate::{Family, NetworkConfig, NetworkId, PoolConfig};
use ipnet::IpNet;
use std::net::IpAddr;
use stdx::{Error, Result};

/// A subnet that has been taken for a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// The subnet.
    pub subnet: IpNet,
    /// The part of it that addresses are given from that nobody asked for.
    pub range: Option<IpNet>,
    /// The gateway's address; taken.
    pub gateway: IpAddr,
    /// The gateway's prefix, which is the subnet's unless a plugin says otherwise.
    pub gateway_prefix: u8,
}

impl Subnet {
    /// The gateway with its prefix.
    pub fn gateway_net(&self) -> IpNet {
        IpNet::new(self.gateway, self.gateway_prefix).unwrap_or_else(|_| self.gateway.into())
    }
}

/// Takes the subnets that a network asks for, or free ones, with the gateways' and the auxiliary addresses; all or none.
/// `routed` tells what the host routes, and is asked only where a subnet is to be chosen. A network whose addresses
/// nobody gives has none.
///
/// # Errors
/// `InvalidArgument` for what cannot be; `Forbidden` for what is taken; `NotFound` for an unknown address management.
pub fn take(
    ipam: &dyn Ipam,
    config: &NetworkConfig,
    routed: impl FnOnce() -> Result<Vec<IpNet>>,
) -> Result<Vec<Subnet>> {
    let wanted = [(Family::V4, &config.ipv4), (Family::V6, &config.ipv6)];
    let wanted: Vec<_> =
        wanted.into_iter().filter_map(|(f, pool)| Some((f, pool.as_ref()?))).collect();
    if wanted.is_empty() {
        return Err(Error::invalid("IPv4 or IPv6 must be enabled"));
    }
    if config.ipam.is_null() {
        return nothing(&wanted);
    }
    check(wanted.iter().map(|(_, pool)| *pool))?;
    let mut taken = Vec::new();
    if config.ipam.is_builtin() && wanted.iter().any(|(_, pool)| pool.subnet.is_none()) {
        taken = routed()?;
    }
    let mut subnets = Vec::new();
    for (family, pool) in wanted {
        match take_one(ipam, config, family, pool, &taken) {
            Ok(subnet) => subnets.push(subnet),
            Err(e) => {
                release(ipam, &config.id, &subnets);
                return Err(e);
            }
        }
    }
    Ok(subnets)
}

/// How full subnets are; those are left out of which the address management does not know.
pub fn usage(ipam: &dyn Ipam, network: &NetworkId, subnets: &[Subnet]) -> Vec<(IpNet, Usage)> {
    let usage = |pool: &Subnet| {
        Some((pool.subnet, ipam.usage(network, &pool.subnet, pool.range.as_ref())?))
    };
    subnets.iter().filter_map(usage).collect()
}

/// The same for drivers that cannot do without: `ipam`'s pools, at least one.
///
/// # Errors
/// `InvalidArgument` when there is none.
pub fn take_some(
    ipam: &dyn Ipam,
    config: &NetworkConfig,
    routed: impl FnOnce() -> Result<Vec<IpNet>>,
) -> Result<Vec<Subnet>> {
    let pools = take(ipam, config, routed)?;
    if pools.is_empty() || pools.iter().any(|pool| pool.subnet.prefix_len() == 0) {
        release(ipam, &config.id, &pools);
        return Err(Error::invalid("ipv4 pool is empty"));
    }
    Ok(pools)
}

/// Gives subnets back, with all their addresses.
pub fn release(ipam: &dyn Ipam, network: &NetworkId, subnets: &[Subnet]) {
    for subnet in subnets {
        ipam.release_pool(network, &subnet.subnet);
    }
}

/// What the address management `null` can do: nothing.
fn nothing(wanted: &[(Family, &PoolConfig)]) -> Result<Vec<Subnet>> {
    for (family, pool) in wanted {
        if pool.subnet.is_some_and(|subnet| subnet.prefix_len() > 0) {
            let text = "null ipam driver does not handle specific address pool requests";
            return Err(Error::invalid(text));
        }
        if *family == Family::V6 {
            let text = "null ipam driver does not handle IPv6 address pool requests";
            return Err(Error::invalid(text));
        }
    }
    Ok(Vec::new())
}

fn take_one(
    ipam: &dyn Ipam,
    config: &NetworkConfig,
    family: Family,
    wanted: &PoolConfig,
    taken: &[IpNet],
) -> Result<Subnet> {
    let given = ipam.pool(&PoolWish {
        network: &config.id,
        ipam: &config.ipam,
        family,
        wanted: wanted.subnet,
        range: wanted.range,
        taken,
    })?;
    let subnet = given.subnet;
    let result = (|| -> Result<Subnet> {
        let taken = |what: String| move |e: Error| Error::new(e.kind(), format!("{what}: {e}"));
        let any = AddressWish::any(&config.id, &subnet);
        let own = AddressWish { user: AddressUser::Gateway, ..any };
        let gateway = match (wanted.gateway, given.gateway) {
            (None, Some(gateway)) => gateway,
            (asked, _) => {
                let asked = asked.or_else(|| {
                    config.ipam.is_builtin().then(|| first_gateway(&subnet, wanted.range))
                });
                let text = asked.map(|a| a.to_string()).unwrap_or_default();
                ipam.allocate(&AddressWish { wanted: asked, ..own })
                    .map_err(taken(format!("failed to allocate gateway ({text})")))?
            }
        };
        if let Some(other) = wanted.way_out.filter(|other| !subnet.contains(other)) {
            return Err(Error::invalid(format!(
                "auxiliary address: (DefaultGateway{family}:{other}) must belong to the master pool: {subnet}"
            )));
        }
        let way_out = wanted.way_out.iter().filter(|other| **other != gateway.addr());
        for address in wanted.auxiliary.values().chain(way_out) {
            let what = format!("failed to allocate secondary ip address ({address})");
            let user = AddressUser::Auxiliary;
            ipam.allocate(&AddressWish { wanted: Some(*address), user, ..any })
                .map_err(taken(what))?;
        }
        Ok(Subnet {
            subnet,
            range: wanted.range,
            gateway: gateway.addr(),
            gateway_prefix: gateway.prefix_len(),
        })
    })();
    if result.is_err() {
        ipam.release_pool(&config.id, &subnet);
    }
    result
}

/// The gateway of a network that names none.
fn first_gateway(subnet: &IpNet, range: Option<IpNet>) -> IpAddr {
    match range {
        // As Docker: also where it is not the first that a host can have.
        Some(range) if range.network() != subnet.network() => range.network(),
        _ => first_host(subnet),
    }
}
