//! Which subnets networks get when nobody asks for one.

use ipnet::{IpNet, Ipv4Net};

/// A range that is cut into subnets of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// The range.
    pub base: Ipv4Net,
    /// Prefix length of the subnets.
    pub size: u8,
}

/// Docker's own pools (`default-address-pools` of `daemon.json` replaces them).
pub fn defaults() -> Vec<Pool> {
    let pool =
        |a, b, prefix, size| Pool { base: Ipv4Net::new_assert([a, b, 0, 0].into(), prefix), size };
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

/// The first subnet of the pools that overlaps nothing in `taken`: other networks' subnets and what the host routes or
/// resolves through. A default route covers everything and therefore counts for nothing.
pub fn first_free(pools: &[Pool], taken: &[IpNet]) -> Option<Ipv4Net> {
    let taken: Vec<Ipv4Net> = taken
        .iter()
        .filter_map(|net| match net {
            IpNet::V4(net) if net.prefix_len() > 0 => Some(net.trunc()),
            _ => None,
        })
        .collect();
    pools
        .iter()
        // A pool smaller than its subnets has none; `subnets` says so.
        .filter_map(|pool| pool.base.trunc().subnets(pool.size).ok())
        .flatten()
        .find(|subnet| !taken.iter().any(|net| overlap(*net, *subnet)))
}

/// Whether two subnets share an address.
pub fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(taken: &[&str], expected: Option<&str>) {
        let taken: Vec<IpNet> = taken.iter().map(|t| t.parse().unwrap()).collect();
        let found = first_free(&defaults(), &taken).map(|n| n.to_string());
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
}
