//! Who gives addresses.

mod bitmap;

pub use bitmap::Bitmap;

use crate::pools::{self, Pool};
use ipnet::{IpNet, Ipv4Net};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use stdx::{Error, Kind, Result};

/// Address management. Pools are named by their subnet.
pub trait Ipam: Send + Sync + std::fmt::Debug {
    /// Takes a subnet: the one asked for, or one that overlaps nothing in `taken`.
    ///
    /// # Errors
    /// `Forbidden` when it overlaps another pool or none is left.
    fn pool(&self, wanted: Option<IpNet>, taken: &[IpNet]) -> Result<IpNet>;

    /// Gives the subnet back, with all its addresses.
    fn release_pool(&self, pool: &IpNet);

    /// Takes an address of the pool: the one asked for, or the lowest that is free.
    ///
    /// # Errors
    /// `Forbidden` when it is taken or none is left; `InvalidArgument` when it is not in the pool.
    fn allocate(&self, pool: &IpNet, wanted: Option<IpAddr>) -> Result<IpAddr>;

    /// Gives an address back. That it was free already is success.
    fn release(&self, pool: &IpNet, address: IpAddr);
}

/// The built-in address management (`default`): one bitmap a subnet, in memory; it is filled again from the records at
/// the daemon's start.
#[derive(Debug)]
pub struct Default {
    pools: Vec<Pool>,
    taken: Mutex<HashMap<Ipv4Net, Bitmap>>,
}

impl Default {
    /// Address management over these pools.
    pub fn new(pools: Vec<Pool>) -> Self {
        Self { pools, taken: Mutex::default() }
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<Ipv4Net, Bitmap>> {
        // Every change below is one insert or remove: a panic elsewhere leaves the map whole.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ipam for Default {
    fn pool(&self, wanted: Option<IpNet>, taken: &[IpNet]) -> Result<IpNet> {
        let mut ours = self.taken();
        let subnet = match wanted {
            Some(wanted) => {
                let wanted = v4(&wanted)?;
                if ours.keys().any(|other| pools::overlap(*other, wanted)) {
                    return Err(Error::new(
                        Kind::Forbidden,
                        "Pool overlaps with other one on this address space",
                    ));
                }
                wanted
            }
            None => {
                let all: Vec<IpNet> =
                    taken.iter().copied().chain(ours.keys().map(|n| IpNet::V4(*n))).collect();
                pools::first_free(&self.pools, &all).ok_or_else(|| {
                    let text = "could not find an available, non-overlapping IPv4 address pool among the defaults to \
                                assign to the network";
                    Error::new(Kind::Forbidden, text)
                })?
            }
        };
        ours.insert(subnet, Bitmap::new(subnet));
        Ok(IpNet::V4(subnet))
    }

    fn release_pool(&self, pool: &IpNet) {
        if let Ok(pool) = v4(pool) {
            self.taken().remove(&pool);
        }
    }

    fn allocate(&self, pool: &IpNet, wanted: Option<IpAddr>) -> Result<IpAddr> {
        let subnet = v4(pool)?;
        let mut ours = self.taken();
        let bitmap = ours
            .get_mut(&subnet)
            .ok_or_else(|| Error::internal(format!("no address pool {pool}")))?;
        match wanted {
            None => bitmap.first().map(IpAddr::V4).ok_or_else(|| {
                Error::new(Kind::Forbidden, format!("No available addresses in {pool}"))
            }),
            Some(IpAddr::V4(address)) if bitmap.usable(address) => {
                if bitmap.take(address) {
                    Ok(IpAddr::V4(address))
                } else {
                    Err(Error::new(Kind::Forbidden, "Address already in use"))
                }
            }
            Some(address) => Err(Error::invalid(format!(
                "Requested address is out of range: {address} in {pool}"
            ))),
        }
    }

    fn release(&self, pool: &IpNet, address: IpAddr) {
        if let (Ok(pool), IpAddr::V4(address)) = (v4(pool), address)
            && let Some(bitmap) = self.taken().get_mut(&pool)
        {
            bitmap.free(address);
        }
    }
}

/// The first address of a subnet that a host can have: where Docker puts the gateway.
pub fn first_host(subnet: Ipv4Net) -> Ipv4Addr {
    match subnet.prefix_len() {
        31 | 32 => subnet.network(),
        _ => Ipv4Addr::from(u32::from(subnet.network()) + 1),
    }
}

fn v4(net: &IpNet) -> Result<Ipv4Net> {
    match net {
        IpNet::V4(net) => Ok(net.trunc()),
        IpNet::V6(net) => {
            Err(Error::not_implemented(format!("IPv6 subnets are not there yet: {net}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_and_addresses() {
        let ipam = Default::new(pools::defaults());
        let a = ipam.pool(None, &["172.17.0.0/16".parse().unwrap()]).unwrap();
        assert_eq!(a.to_string(), "172.18.0.0/16");
        let b = ipam.pool(None, &[]).unwrap();
        assert_eq!(b.to_string(), "172.17.0.0/16");
        assert_eq!(ipam.pool(None, &[]).unwrap().to_string(), "172.19.0.0/16");
        let overlap = ipam.pool(Some("172.17.9.0/24".parse().unwrap()), &[]).unwrap_err();
        assert_eq!(overlap.kind(), Kind::Forbidden);

        assert_eq!(
            ipam.allocate(&b, Some("172.17.0.1".parse().unwrap())).unwrap().to_string(),
            "172.17.0.1"
        );
        let two = ipam.allocate(&b, None).unwrap();
        assert_eq!(two.to_string(), "172.17.0.2");
        assert_eq!(ipam.allocate(&b, Some(two)).unwrap_err().to_string(), "Address already in use");
        assert_eq!(
            ipam.allocate(&b, Some("10.0.0.1".parse().unwrap())).unwrap_err().kind(),
            Kind::InvalidArgument
        );
        assert_eq!(
            ipam.allocate(&b, Some("172.17.0.0".parse().unwrap())).unwrap_err().kind(),
            Kind::InvalidArgument
        );
        assert_eq!(ipam.allocate(&b, None).unwrap().to_string(), "172.17.0.3");
        ipam.release(&b, two);
        ipam.release(&b, two);
        assert_eq!(ipam.allocate(&b, None).unwrap(), two);

        ipam.release_pool(&b);
        assert!(ipam.allocate(&b, None).is_err());
        assert_eq!(ipam.pool(None, &[]).unwrap(), b);
        assert!(ipam.pool(Some("fd00::/64".parse().unwrap()), &[]).is_err());
    }
}
