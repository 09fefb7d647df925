//! Which addresses of one subnet are taken. Pure.

use super::Usage;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One bit an address, held only where a bit is set: a container that asks for the last address of a /8, or for any
/// address of a /64, costs one word.
#[derive(Debug, Clone)]
pub struct Bitmap {
    subnet: IpNet,
    words: BTreeMap<u128, u64>,
    /// No word below this one has a free bit.
    full: u128,
}

impl Bitmap {
    /// A subnet with nothing taken. Its network and broadcast addresses are never given.
    pub fn new(subnet: IpNet) -> Self {
        Self { subnet: subnet.trunc(), words: BTreeMap::new(), full: 0 }
    }

    /// Takes the lowest free address.
    pub fn first(&mut self) -> Option<IpAddr> {
        let (low, high) = self.range();
        let offset = self.lowest(self.full, low, high);
        self.full = offset.unwrap_or(high) / 64;
        offset.map(|offset| self.set(offset))
    }

    /// Takes the lowest free address of a part of the subnet. Its first and last addresses are given too unless they
    /// are the subnet's own.
    pub fn first_of(&mut self, part: &IpNet) -> Option<IpAddr> {
        let (low, high) = self.range();
        let low = low.max(self.distance(part.network())?);
        let high = high.min(self.distance(part.broadcast())?);
        self.lowest(self.full.max(low / 64), low, high).map(|offset| self.set(offset))
    }

    /// The lowest free offset from `low` to `high`, looking from word `index` on.
    fn lowest(&self, mut index: u128, low: u128, high: u128) -> Option<u128> {
        while index <= high / 64 {
            let word = self.words.get(&index).copied().unwrap_or(0) | outside(index, low, high);
            if word != u64::MAX {
                return Some(index * 64 + u128::from(word.trailing_ones()));
            }
            index += 1;
        }
        None
    }

    /// Takes this address; `false` when it is taken or not [`usable`](Self::usable).
    pub fn take(&mut self, address: IpAddr) -> bool {
        let Some(offset) = self.offset(address) else { return false };
        if self.words.get(&(offset / 64)).is_some_and(|word| word & (1 << (offset % 64)) != 0) {
            return false;
        }
        self.set(offset);
        true
    }

    /// Gives an address back; one that is free stays free.
    pub fn free(&mut self, address: IpAddr) {
        let Some(offset) = self.offset(address) else { return };
        if let Some(word) = self.words.get_mut(&(offset / 64)) {
            *word &= !(1 << (offset % 64));
            self.full = self.full.min(offset / 64);
            if *word == 0 {
                self.words.remove(&(offset / 64));
            }
        }
    }

    /// Whether a host of the subnet can have this address.
    pub fn usable(&self, address: IpAddr) -> bool {
        self.offset(address).is_some()
    }

    /// How many addresses are taken.
    pub fn taken(&self) -> u32 {
        self.words.values().map(|word| word.count_ones()).sum()
    }

    /// How full it is; `range`: the part that addresses are given from.
    pub fn usage(&self, range: Option<&IpNet>) -> Usage {
        let (low, high) = self.range();
        let last = number(self.subnet.broadcast()) - number(self.subnet.network());
        let reserved = last - (high - low);
        let part = match range {
            None => Some((low, high)),
            Some(range) => self
                .distance(range.network())
                .zip(self.distance(range.broadcast()))
                .map(|(from, to)| (low.max(from), high.min(to))),
        };
        let available = part.filter(|(from, to)| from <= to).map_or(0, |(from, to)| {
            let words = self.words.range(from / 64..=to / 64);
            let taken: u32 =
                words.map(|(index, word)| (word & !outside(*index, from, to)).count_ones()).sum();
            (to - from).saturating_add(1).saturating_sub(u128::from(taken))
        });
        Usage { in_use: count(reserved + u128::from(self.taken())), available: count(available) }
    }

    fn set(&mut self, offset: u128) -> IpAddr {
        *self.words.entry(offset / 64).or_default() |= 1 << (offset % 64);
        self.address(offset)
    }

    /// First and last offset that a host can have. A /31 (RFC 3021), a /32, a /127 (RFC 6164) and a /128 have neither
    /// network nor broadcast; the first of an IPv6 subnet means its routers (RFC 4291), its last is an address.
    fn range(&self) -> (u128, u128) {
        let last = number(self.subnet.broadcast()) - number(self.subnet.network());
        match self.subnet {
            _ if last <= 1 => (0, last),
            IpNet::V4(_) => (1, last - 1),
            IpNet::V6(_) => (1, last),
        }
    }

    /// How far an address of the family is from the subnet's first.
    fn distance(&self, address: IpAddr) -> Option<u128> {
        let family = address.is_ipv4() == self.subnet.addr().is_ipv4();
        number(address).checked_sub(number(self.subnet.network())).filter(|_| family)
    }

    fn offset(&self, address: IpAddr) -> Option<u128> {
        let (low, high) = self.range();
        self.distance(address).filter(|offset| (low..=high).contains(offset))
    }

    fn address(&self, offset: u128) -> IpAddr {
        match self.subnet {
            // Offsets are below the subnet's size: the number fits its family.
            IpNet::V4(net) => Ipv4Addr::from(u32::from(net.network()) + offset as u32).into(),
            IpNet::V6(net) => Ipv6Addr::from(u128::from(net.network()) + offset).into(),
        }
    }
}

fn count(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// Bits of word `index` that stand for offsets below `low` or above `high`.
fn outside(index: u128, low: u128, high: u128) -> u64 {
    let start = index * 64;
    let below = low.saturating_sub(start);
    let keep = high.saturating_sub(start).saturating_add(1);
    let mask = |bits: u128| if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
    mask(below) | !mask(if high < start { 0 } else { keep })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(subnet: &str) -> Vec<String> {
        let mut bitmap = Bitmap::new(subnet.parse().unwrap());
        std::iter::from_fn(|| bitmap.first()).map(|a| a.to_string()).collect()
    }

    #[test]
    fn every_host_address_once() {
        assert_eq!(all("10.0.0.0/30"), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(all("10.0.0.4/31"), ["10.0.0.4", "10.0.0.5"]);
        assert_eq!(all("10.0.0.4/32"), ["10.0.0.4"]);
        assert_eq!(all("fd00::4/127"), ["fd00::4", "fd00::5"]);
        assert_eq!(all("fd00::/126"), ["fd00::1", "fd00::2", "fd00::3"]);
        for (prefix, hosts) in [(29, 6), (26, 62), (25, 126), (24, 254), (20, 4094), (16, 65534)] {
            let given = all(&format!("10.0.0.0/{prefix}"));
            assert_eq!(given.len(), hosts);
            assert_eq!(given.iter().collect::<std::collections::HashSet<_>>().len(), hosts);
        }
    }

    #[test]
    fn far_addresses_cost_one_word_and_wide_subnets_do_not_overflow() {
        for (subnet, last, beyond, first) in [
            ("0.0.0.0/0", "255.255.255.254", "255.255.255.255", "0.0.0.1"),
            ("fd00::/64", "fd00::ffff:ffff:ffff:ffff", "fd00:0:0:1::", "fd00::1"),
            ("::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "1.2.3.4", "::1"),
        ] {
            let mut bitmap = Bitmap::new(subnet.parse().unwrap());
            let last = last.parse().unwrap();
            assert!(bitmap.take(last), "{subnet}");
            assert!(!bitmap.take(last));
            assert!(!bitmap.take(beyond.parse().unwrap()), "{subnet}");
            assert_eq!((bitmap.words.len(), bitmap.taken()), (1, 1));
            assert_eq!(bitmap.first(), Some(first.parse().unwrap()));
            bitmap.free(last);
            assert_eq!(bitmap.words.len(), 1);
        }
    }

    #[test]
    fn a_part_gives_its_own_addresses() {
        let part = |subnet: &str, part: &str, many: usize| {
            let mut bitmap = Bitmap::new(subnet.parse().unwrap());
            let part = part.parse().unwrap();
            let all = std::iter::from_fn(|| bitmap.first_of(&part)).take(many);
            all.map(|a| a.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(part("10.2.0.0/16", "10.2.5.0/31", 9), ["10.2.5.0", "10.2.5.1"]);
        assert_eq!(part("10.2.0.0/16", "10.2.0.0/31", 9), ["10.2.0.1"]);
        assert_eq!(part("10.2.0.0/16", "10.2.255.254/31", 9), ["10.2.255.254"]);
        assert_eq!(part("fd02::/64", "fd02::100/120", 2), ["fd02::100", "fd02::101"]);
        assert_eq!(part("fd02::/64", "fd02::100/127", 9).len(), 2);
        assert!(part("fd02::/64", "10.0.0.0/8", 9).is_empty());
    }

    #[test]
    fn its_fullness_is_known() {
        let usage = |subnet: &str, take: &[&str], range: &str| {
            let mut bitmap = Bitmap::new(subnet.parse().unwrap());
            assert!(take.iter().all(|address| bitmap.take(address.parse().unwrap())));
            let usage = bitmap.usage(range.parse().ok().as_ref());
            (usage.in_use, usage.available)
        };
        assert_eq!(usage("10.0.0.0/24", &[], ""), (2, 254));
        assert_eq!(usage("10.0.0.0/24", &["10.0.0.1", "10.0.0.200"], ""), (4, 252));
        assert_eq!(usage("10.0.0.0/24", &["10.0.0.1", "10.0.0.200"], "10.0.0.192/26"), (4, 62));
        assert_eq!(usage("10.0.0.0/24", &["10.0.0.129"], "10.0.0.128/30"), (3, 3));
        assert_eq!(usage("10.0.0.4/31", &["10.0.0.4"], ""), (1, 1));
        assert_eq!(usage("10.0.0.0/24", &[], "10.1.0.0/30"), (2, 0));
        assert_eq!(usage("fd00::/64", &["fd00::1"], ""), (2, u64::MAX - 1));
        assert_eq!(usage("fd00::/48", &["fd00::1"], "fd00::/120"), (2, 254));
        assert_eq!(usage("::/0", &[], ""), (1, u64::MAX));
    }

    /// Against a plain set, with a fixed stream of pseudo-random steps.
    #[test]
    fn behaves_like_a_set() {
        let subnet: ipnet::Ipv4Net = "10.1.2.0/25".parse().unwrap();
        let mut bitmap = Bitmap::new(subnet.into());
        let mut model = std::collections::BTreeSet::new();
        let mut state = 42u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let address: IpAddr =
                Ipv4Addr::from(u32::from(subnet.network()) + ((state >> 33) % 130) as u32).into();
            let usable = subnet.hosts().any(|h| h == address);
            match (state >> 60) % 3 {
                0 => {
                    let expected = subnet.hosts().map(IpAddr::V4).find(|a| !model.contains(a));
                    assert_eq!(bitmap.first(), expected);
                    model.extend(expected);
                }
                1 => assert_eq!(bitmap.take(address), usable && model.insert(address)),
                _ => {
                    bitmap.free(address);
                    model.remove(&address);
                }
            }
            assert_eq!(bitmap.taken() as usize, model.len());
        }
    }
}
