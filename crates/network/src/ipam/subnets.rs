//! The subnets of one network, taken together.

use super::{Ipam, Usage, check, first_host};
use crate::{Family, NetworkConfig, PoolConfig};
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
}

/// Takes the subnets that a network asks for, or free ones, with the gateways' and the auxiliary addresses; all or none.
/// `routed` tells what the host routes, and is asked only where a subnet is to be chosen.
///
/// # Errors
/// `InvalidArgument` for what cannot be; `Forbidden` for what is taken.
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
    check(wanted.iter().map(|(_, pool)| *pool))?;
    let mut taken = Vec::new();
    if wanted.iter().any(|(_, pool)| pool.subnet.is_none()) {
        taken = routed()?;
    }
    let mut subnets = Vec::new();
    for (family, pool) in wanted {
        match take_one(ipam, family, pool, &taken) {
            Ok(subnet) => subnets.push(subnet),
            Err(e) => {
                release(ipam, &subnets);
                return Err(e);
            }
        }
    }
    Ok(subnets)
}

/// How full subnets are; those are left out of which the address management does not know.
pub fn usage(ipam: &dyn Ipam, subnets: &[Subnet]) -> Vec<(IpNet, Usage)> {
    let usage = |pool: &Subnet| Some((pool.subnet, ipam.usage(&pool.subnet, pool.range.as_ref())?));
    subnets.iter().filter_map(usage).collect()
}

/// Gives subnets back, with all their addresses.
pub fn release(ipam: &dyn Ipam, subnets: &[Subnet]) {
    for subnet in subnets {
        ipam.release_pool(&subnet.subnet);
    }
}

fn take_one(
    ipam: &dyn Ipam,
    family: Family,
    wanted: &PoolConfig,
    taken: &[IpNet],
) -> Result<Subnet> {
    let subnet = ipam.pool(family, wanted.subnet, taken)?;
    let result = (|| -> Result<Subnet> {
        let first = match wanted.range {
            // As Docker: also where it is not the first that a host can have.
            Some(range) if range.network() != subnet.network() => range.network(),
            _ => first_host(&subnet),
        };
        let gateway = wanted.gateway.unwrap_or(first);
        let taken = |what: String| move |e: Error| Error::new(e.kind(), format!("{what}: {e}"));
        ipam.allocate(&subnet, None, Some(gateway))
            .map_err(taken(format!("failed to allocate gateway ({gateway})")))?;
        if let Some(other) = wanted.way_out.filter(|other| !subnet.contains(other)) {
            return Err(Error::invalid(format!(
                "auxiliary address: (DefaultGateway{family}:{other}) must belong to the master pool: {subnet}"
            )));
        }
        let way_out = wanted.way_out.iter().filter(|other| **other != gateway);
        for address in wanted.auxiliary.iter().chain(way_out) {
            let what = format!("failed to allocate secondary ip address ({address})");
            ipam.allocate(&subnet, None, Some(*address)).map_err(taken(what))?;
        }
        Ok(Subnet { subnet, range: wanted.range, gateway })
    })();
    if result.is_err() {
        ipam.release_pool(&subnet);
    }
    result
}
