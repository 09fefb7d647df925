//! Which subnets networks get when nobody asks for one.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::Ipv6Addr;

/// A range that is cut into subnets of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// The range.
    pub base: IpNet,
    /// Prefix length of the subnets.
    pub size: u8,
}

/// A version of the Internet protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of a subnet.
    pub fn of(net: &IpNet) -> Self {
        match net {
            IpNet::V4(_) => Self::V4,
            IpNet::V6(_) => Self::V6,
        }
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// Docker's own pools (`default-address-pools` of `daemon.json` replaces them).
pub fn defaults() -> Vec<Pool> {
    let pool = |a, b, prefix, size| Pool {
        base: Ipv4Net::new_assert([a, b, 0, 0].into(), prefix).into(),
        size,
    };
    vec![
        pool(172, 17, 16, 16),
        pool(172, 18, 16, 16),
        pool(172, 19, 16, 16),
        pool(172, 20, 14, 16),
        pool(172, 24, 14, 16),
        pool(172, 28, 14, 16),
        pool(192, 168, 16, 20),
    ]
}

/// A pool of unique local addresses (RFC 4193): a /48 whose forty bits come from `seed`, such as the daemon's id, cut
/// into subnets of 64. The same seed gives the same pool.
pub fn unique_local(seed: &[u8]) -> Pool {
    // FNV-1a. The bits need to be spread, not secret: they only keep two hosts from choosing the same network.
    let hash = seed.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let global = u128::from((hash >> 40 ^ hash) & 0xff_ffff_ffff);
    let base = Ipv6Addr::from(0xfdu128 << 120 | global << 80);
    Pool { base: Ipv6Net::new_assert(base, 48).into(), size: 64 }
}

/// The first subnet of the pools of this family that overlaps nothing in `taken`: other networks' subnets and what the
/// host routes or resolves through. A default route covers everything and therefore counts for nothing.
pub fn first_free(pools: &[Pool], family: Family, taken: &[IpNet]) -> Option<IpNet> {
    let taken: Vec<IpNet> =
        taken.iter().filter(|net| net.prefix_len() > 0).map(IpNet::trunc).collect();
    pools
        .iter()
        .filter(|pool| Family::of(&pool.base) == family)
        // A pool smaller than its subnets has none; `subnets` says so.
        .filter_map(|pool| pool.base.trunc().subnets(pool.size).ok())
        .flatten()
        .find(|subnet| !taken.iter().any(|net| overlap(net, subnet)))
}

/// Whether two subnets share an address.
pub fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(taken: &[&str], expected: Option<&str>) {
        let taken: Vec<IpNet> = taken.iter().map(|t| t.parse().unwrap()).collect();
        let found = first_free(&defaults(), Family::V4, &taken).map(|n| n.to_string());
        assert_eq!(found.as_deref(), expected, "{taken:?}");
    }

    #[test]
    fn the_first_that_nothing_routes() {
        check(&[], Some("172.17.0.0/16"));
        check(&["0.0.0.0/0", "10.0.0.0/8", "fe80::/64"], Some("172.17.0.0/16"));
        check(&["172.17.0.0/16"], Some("172.18.0.0/16"));
        check(&["172.17.5.4/32"], Some("172.18.0.0/16"));
        check(&["172.16.0.0/13"], Some("172.24.0.0/16"));
        check(&["172.17.0.0/16", "172.18.0.0/15", "172.20.0.0/16"], Some("172.21.0.0/16"));
        check(&["172.16.0.0/12"], Some("192.168.0.0/20"));
        check(&["172.16.0.0/12", "192.168.1.0/24"], Some("192.168.16.0/20"));
        check(&["172.16.0.0/12", "192.168.0.0/16"], None);
        check(&["128.0.0.0/1"], None);
    }

    #[test]
    fn unique_local_subnets_are_stable_and_differ_between_hosts() {
        let (one, two) = (unique_local(b"one"), unique_local(b"two"));
        assert_eq!(one, unique_local(b"one"));
        assert_ne!(one, two);
        assert!("fd00::/8".parse::<IpNet>().unwrap().contains(&one.base));
        let pools = [&defaults()[..], &[one]].concat();
        let first = first_free(&pools, Family::V6, &[]).unwrap();
        assert_eq!((first.network(), first.prefix_len()), (one.base.network(), 64));
        let second = first_free(&pools, Family::V6, &[first]).unwrap();
        assert!(one.base.contains(&second) && !overlap(&first, &second));
        assert_eq!(first_free(&pools, Family::V6, &[one.base]), None);
        assert_eq!(first_free(&defaults(), Family::V6, &[]), None);
    }
}
