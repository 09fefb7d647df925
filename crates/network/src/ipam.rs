//! Who gives addresses.

mod bitmap;
pub mod subnets;

pub use bitmap::Bitmap;

use crate::pools::{self, Family, Pool};
use crate::{IpamConfig, Mac, NetworkId, PoolConfig};
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use stdx::{Error, Kind, Result};

/// Address management. A pool is named by its network and its subnet.
pub trait Ipam: Send + Sync + std::fmt::Debug {
    /// Takes a subnet: the one asked for, or one of the family that overlaps nothing in `taken`.
    ///
    /// # Errors
    /// `Forbidden` when it overlaps another pool or none is left; `NotFound` when there is no such address management.
    fn pool(&self, wish: &PoolWish<'_>) -> Result<GivenPool>;

    /// Gives the subnet back, with all its addresses.
    fn release_pool(&self, network: &NetworkId, pool: &IpNet);

    /// Takes an address of the pool: the one asked for, or one that is free, of the range if there is one. The answer has
    /// the prefix that the address is to have on a link.
    ///
    /// # Errors
    /// `Forbidden` when it is taken or none is left; `InvalidArgument` when it is not in the pool.
    fn allocate(&self, wish: &AddressWish<'_>) -> Result<IpNet>;

    /// Gives an address back. That it was free already is success.
    fn release(&self, network: &NetworkId, pool: &IpNet, address: IpAddr);

    /// How full a pool is, `range` being the part that addresses are given from; `None`: it does not know.
    fn usage(&self, network: &NetworkId, pool: &IpNet, range: Option<&IpNet>) -> Option<Usage> {
        let _ = (network, pool, range);
        None
    }

    /// Addresses of this network are given to Ethernet addresses: an endpoint has one before it has an address.
    fn needs_mac(&self, network: &NetworkId) -> bool {
        let _ = network;
        false
    }
}

/// A pool that is wanted.
#[derive(Debug, Clone, Copy)]
pub struct PoolWish<'a> {
    /// Whose it is to be.
    pub network: &'a NetworkId,
    /// Who is to give it.
    pub ipam: &'a IpamConfig,
    /// Its family.
    pub family: Family,
    /// This subnet and no other.
    pub wanted: Option<IpNet>,
    /// The part of it that addresses are taken from.
    pub range: Option<IpNet>,
    /// What the host routes already, where no subnet is wanted.
    pub taken: &'a [IpNet],
}

/// A pool that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenPool {
    /// Its subnet.
    pub subnet: IpNet,
    /// The host's address in it, if the address management says which; it need not be taken then.
    pub gateway: Option<IpNet>,
}

/// An address that is wanted.
#[derive(Debug, Clone, Copy)]
pub struct AddressWish<'a> {
    /// The pool's network.
    pub network: &'a NetworkId,
    /// The pool's subnet.
    pub pool: &'a IpNet,
    /// The part of the pool that is looked in where no address is wanted.
    pub range: Option<&'a IpNet>,
    /// This address and no other.
    pub wanted: Option<IpAddr>,
    /// The Ethernet address of who gets it, where it is known.
    pub mac: Option<Mac>,
    /// Who gets it.
    pub user: AddressUser,
}

/// Who gets an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressUser {
    /// A container.
    Endpoint,
    /// The network itself: its gateway.
    Gateway,
    /// Somebody whom we do not know.
    Auxiliary,
}

impl<'a> AddressWish<'a> {
    /// Any address, for a container.
    pub fn any(network: &'a NetworkId, pool: &'a IpNet) -> Self {
        Self { network, pool, range: None, wanted: None, mac: None, user: AddressUser::Endpoint }
    }
}

/// How full a subnet is. Counts end at the largest number there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Addresses that nobody can get, because somebody has them or because no host can have them.
    pub in_use: u64,
    /// Addresses that are given away without being asked for, and are free.
    pub available: u64,
}

/// The built-in address management (`default`): one bitmap a subnet, in memory; it is filled again from the records at
/// the daemon's start.
#[derive(Debug)]
pub struct Default {
    pools: Vec<Pool>,
    taken: Mutex<HashMap<IpNet, Bitmap>>,
}

impl Default {
    /// Address management over these pools. IPv6 networks get a subnet by themselves only where one of them is IPv6
    /// ([`pools::unique_local`]).
    pub fn new(pools: Vec<Pool>) -> Self {
        Self { pools, taken: Mutex::default() }
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpNet, Bitmap>> {
        // Every change below is one insert or remove: a panic elsewhere leaves the map whole.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ipam for Default {
    fn pool(&self, wish: &PoolWish<'_>) -> Result<GivenPool> {
        if !wish.ipam.is_builtin() {
            return Err(Error::not_found(format!("plugin {:?} not found", wish.ipam.driver)));
        }
        let family = wish.family;
        let mut ours = self.taken();
        let subnet = match wish.wanted {
            Some(wanted) => {
                let wanted = wanted.trunc();
                if ours.keys().any(|other| pools::overlap(other, &wanted)) {
                    return Err(Error::new(
                        Kind::Forbidden,
                        "Pool overlaps with other one on this address space",
                    ));
                }
                wanted
            }
            None => {
                let all: Vec<IpNet> = wish.taken.iter().chain(ours.keys()).copied().collect();
                pools::first_free(&self.pools, family, &all).ok_or_else(|| {
                    let text = format!(
                        "could not find an available, non-overlapping {family} address pool among the defaults to \
                         assign to the network"
                    );
                    Error::new(Kind::Forbidden, text)
                })?
            }
        };
        ours.insert(subnet, Bitmap::new(subnet));
        Ok(GivenPool { subnet, gateway: None })
    }

    fn release_pool(&self, _network: &NetworkId, pool: &IpNet) {
        self.taken().remove(&pool.trunc());
    }

    fn allocate(&self, wish: &AddressWish<'_>) -> Result<IpNet> {
        let AddressWish { pool, range, wanted, .. } = *wish;
        let prefixed = |address| {
            IpNet::new(address, pool.prefix_len()).expect("the prefix comes from a subnet")
        };
        let mut ours = self.taken();
        let bitmap = ours
            .get_mut(&pool.trunc())
            .ok_or_else(|| Error::internal(format!("no address pool {pool}")))?;
        let Some(wanted) = wanted else {
            let free = match range {
                Some(range) => bitmap.first_of(range),
                None => bitmap.first(),
            };
            return free.map(prefixed).ok_or_else(|| {
                Error::new(Kind::Forbidden, format!("No available addresses in {pool}"))
            });
        };
        if !pool.contains(&wanted) {
            let text = format!("Requested address is out of range: {wanted} in {pool}");
            Err(Error::invalid(text))
        } else if bitmap.take(wanted) {
            Ok(prefixed(wanted))
        } else {
            // The network's and the broadcast address count as taken, as Docker says.
            Err(Error::new(Kind::Forbidden, "Address already in use"))
        }
    }

    fn release(&self, _network: &NetworkId, pool: &IpNet, address: IpAddr) {
        if let Some(bitmap) = self.taken().get_mut(&pool.trunc()) {
            bitmap.free(address);
        }
    }

    fn usage(&self, _network: &NetworkId, pool: &IpNet, range: Option<&IpNet>) -> Option<Usage> {
        self.taken().get(&pool.trunc()).map(|bitmap| bitmap.usage(range))
    }
}

/// Whether the addresses that networks shall give can be at all; every fault is told, in Docker's words.
///
/// # Errors
/// `InvalidArgument`.
pub fn check<'a>(pools: impl IntoIterator<Item = &'a PoolConfig>) -> Result<()> {
    let faults: Vec<String> = pools.into_iter().flat_map(faults).collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(format!("invalid network config:\n{}", faults.join("\n"))))
}

fn faults(pool: &PoolConfig) -> Vec<String> {
    let mut faults = Vec::new();
    let Some(subnet) = pool.subnet else {
        if pool.range.is_some() || pool.gateway.is_some() || !pool.auxiliary.is_empty() {
            faults.push("every ip-range or gateway must have a corresponding subnet".into());
        }
        return faults;
    };
    if subnet != subnet.trunc() {
        faults.push(format!("invalid subnet {subnet}: it should be {}", subnet.trunc()));
    }
    if let Some(range) = pool.range {
        if range != range.trunc() {
            faults.push(format!("invalid ip-range {range}: it should be {}", range.trunc()));
        }
        if !subnet.contains(&range.trunc()) {
            faults.push(format!(
                "invalid ip-range {range}: parent subnet {subnet} doesn't contain ip-range"
            ));
        }
    }
    let named = pool.gateway.iter().map(|a| ("gateway", a));
    for (what, address) in named.chain(pool.auxiliary.values().map(|a| ("auxiliary address", a))) {
        if !subnet.contains(address) {
            faults.push(format!(
                "invalid {what} {address}: parent subnet {subnet} doesn't contain this address"
            ));
        }
    }
    faults
}

/// The first address of a subnet that a host can have: where Docker puts the gateway.
pub fn first_host(subnet: &IpNet) -> IpAddr {
    match subnet {
        _ if subnet.max_prefix_len() - subnet.prefix_len() <= 1 => subnet.network(),
        IpNet::V4(net) => Ipv4Addr::from(u32::from(net.network()) + 1).into(),
        IpNet::V6(net) => Ipv6Addr::from(u128::from(net.network()) + 1).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_and_addresses() {
        let ipam = Default::new(pools::defaults());
        let network = &NetworkId::from_bytes([1; 32]);
        let config = &IpamConfig::default();
        let pool = |family, wanted, taken: &[IpNet]| {
            let wish = PoolWish { network, ipam: config, family, wanted, range: None, taken };
            ipam.pool(&wish).map(|given| given.subnet)
        };
        let allocate = |pool: &IpNet, range: Option<&IpNet>, wanted| {
            let wish = AddressWish { range, wanted, ..AddressWish::any(network, pool) };
            ipam.allocate(&wish).map(|address| address.addr())
        };
        let release = |pool: &IpNet, address| ipam.release(network, pool, address);
        let plugin = IpamConfig { driver: "x".into(), ..IpamConfig::default() };
        let wish = PoolWish {
            network,
            ipam: &plugin,
            family: Family::V4,
            wanted: None,
            range: None,
            taken: &[],
        };
        assert_eq!(ipam.pool(&wish).unwrap_err().to_string(), "plugin \"x\" not found");
        let a = pool(Family::V4, None, &["172.17.0.0/16".parse().unwrap()]).unwrap();
        assert_eq!(a.to_string(), "172.18.0.0/16");
        let b = pool(Family::V4, None, &[]).unwrap();
        assert_eq!(b.to_string(), "172.17.0.0/16");
        assert_eq!(pool(Family::V4, None, &[]).unwrap().to_string(), "172.19.0.0/16");
        let overlap = pool(Family::V4, Some("172.17.9.0/24".parse().unwrap()), &[]).unwrap_err();
        assert_eq!(overlap.kind(), Kind::Forbidden);

        assert_eq!(
            allocate(&b, None, Some("172.17.0.1".parse().unwrap())).unwrap().to_string(),
            "172.17.0.1"
        );
        let two = allocate(&b, None, None).unwrap();
        assert_eq!(two.to_string(), "172.17.0.2");
        assert_eq!(
            allocate(&b, None, Some(two)).unwrap_err().to_string(),
            "Address already in use"
        );
        assert_eq!(
            allocate(&b, None, Some("10.0.0.1".parse().unwrap())).unwrap_err().kind(),
            Kind::InvalidArgument
        );
        assert_eq!(
            allocate(&b, None, Some("172.17.0.0".parse().unwrap())).unwrap_err().kind(),
            Kind::Forbidden
        );
        assert_eq!(allocate(&b, None, None).unwrap().to_string(), "172.17.0.3");
        release(&b, two);
        release(&b, two);
        assert_eq!(allocate(&b, None, None).unwrap(), two);

        // The gateway, two containers, the network and the broadcast address.
        assert_eq!(ipam.usage(network, &b, None), Some(Usage { in_use: 5, available: 65531 }));

        ipam.release_pool(network, &b);
        assert_eq!(ipam.usage(network, &b, None), None);
        assert!(allocate(&b, None, None).is_err());
        assert_eq!(pool(Family::V4, None, &[]).unwrap(), b);
        let six = pool(Family::V6, Some("fd01::/64".parse().unwrap()), &[]).unwrap();
        assert_eq!(allocate(&six, None, None).unwrap().to_string(), "fd01::1");
        let range = "fd01::100/120".parse().unwrap();
        assert_eq!(allocate(&six, Some(&range), None).unwrap().to_string(), "fd01::100");
        assert!(allocate(&six, None, Some("10.0.0.1".parse().unwrap())).is_err());
        let none = pool(Family::V6, None, &[]).unwrap_err();
        assert_eq!(
            none.to_string(),
            "could not find an available, non-overlapping IPv6 address pool among the defaults to assign to the network"
        );
        for (subnet, first) in
            [("10.0.0.0/8", "10.0.0.1"), ("10.8.0.0/31", "10.8.0.0"), ("fd00::/64", "fd00::1")]
        {
            assert_eq!(first_host(&subnet.parse().unwrap()).to_string(), first);
        }
    }

    #[test]
    fn impossible_addresses_are_told_all_at_once() {
        let check = |subnet: &str, range: &str, gateway: &str, auxiliary: &str| {
            let pool = PoolConfig {
                subnet: subnet.parse().ok(),
                range: range.parse().ok(),
                gateway: gateway.parse().ok(),
                auxiliary: auxiliary.parse().map(|a| ("x".to_owned(), a)).into_iter().collect(),
                way_out: None,
            };
            super::check([&pool]).err().map(|e| e.to_string()).unwrap_or_default()
        };
        for good in [
            check("10.1.0.0/16", "10.1.4.0/24", "10.1.0.1", "10.1.0.9"),
            check("fd00::/64", "", "fd00::1", ""),
            check("", "", "", ""),
        ] {
            assert_eq!(good, "");
        }
        assert_eq!(
            check("10.4.0.5/16", "10.5.0.0/24", "10.3.0.1", "fd00::1"),
            "invalid network config:\n\
             invalid subnet 10.4.0.5/16: it should be 10.4.0.0/16\n\
             invalid ip-range 10.5.0.0/24: parent subnet 10.4.0.5/16 doesn't contain ip-range\n\
             invalid gateway 10.3.0.1: parent subnet 10.4.0.5/16 doesn't contain this address\n\
             invalid auxiliary address fd00::1: parent subnet 10.4.0.5/16 doesn't contain this address"
        );
        assert!(check("", "", "10.0.0.1", "").contains("must have a corresponding subnet"));
    }
}
