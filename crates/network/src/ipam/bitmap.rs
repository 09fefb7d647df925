//! Which addresses of one subnet are taken. Pure.

use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// One bit an address, held only where a bit is set: a container that asks for the last address of a /8 costs one word.
#[derive(Debug, Clone)]
pub struct Bitmap {
    subnet: Ipv4Net,
    words: BTreeMap<u32, u64>,
    /// No word below this one has a free bit.
    full: u32,
}

impl Bitmap {
    /// A subnet with nothing taken. Its network and broadcast addresses are never given.
    pub fn new(subnet: Ipv4Net) -> Self {
        Self { subnet: subnet.trunc(), words: BTreeMap::new(), full: 0 }
    }

    /// Takes the lowest free address.
    pub fn first(&mut self) -> Option<Ipv4Addr> {
        let (low, high) = self.range();
        while self.full <= high / 64 {
            let word =
                self.words.get(&self.full).copied().unwrap_or(0) | outside(self.full, low, high);
            if word != u64::MAX {
                let offset = self.full * 64 + word.trailing_ones();
                self.set(offset);
                return Some(self.address(offset));
            }
            self.full += 1;
        }
        None
    }

    /// Takes this address; `false` when it is taken or not [`usable`](Self::usable).
    pub fn take(&mut self, address: Ipv4Addr) -> bool {
        let Some(offset) = self.offset(address) else { return false };
        if self.words.get(&(offset / 64)).is_some_and(|word| word & (1 << (offset % 64)) != 0) {
            return false;
        }
        self.set(offset);
        true
    }

    /// Gives an address back; one that is free stays free.
    pub fn free(&mut self, address: Ipv4Addr) {
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
    pub fn usable(&self, address: Ipv4Addr) -> bool {
        self.offset(address).is_some()
    }

    /// How many addresses are taken.
    pub fn taken(&self) -> u32 {
        self.words.values().map(|word| word.count_ones()).sum()
    }

    fn set(&mut self, offset: u32) {
        *self.words.entry(offset / 64).or_default() |= 1 << (offset % 64);
    }

    /// First and last offset that a host can have. A /31 (RFC 3021) and a /32 have neither network nor broadcast.
    fn range(&self) -> (u32, u32) {
        let last = u32::from(self.subnet.broadcast()) - u32::from(self.subnet.network());
        if self.subnet.prefix_len() >= 31 { (0, last) } else { (1, last - 1) }
    }

    fn offset(&self, address: Ipv4Addr) -> Option<u32> {
        let offset = u32::from(address).checked_sub(u32::from(self.subnet.network()))?;
        let (low, high) = self.range();
        (low..=high).contains(&offset).then_some(offset)
    }

    fn address(&self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.subnet.network()) + offset)
    }
}

/// Bits of word `index` that stand for offsets below `low` or above `high`.
fn outside(index: u32, low: u32, high: u32) -> u64 {
    let start = u64::from(index) * 64;
    let below = u64::from(low).saturating_sub(start);
    let keep = (u64::from(high) + 1).saturating_sub(start);
    let mask = |bits: u64| if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
    mask(below) | !mask(keep)
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
        for (prefix, hosts) in [(29, 6), (26, 62), (25, 126), (24, 254), (20, 4094), (16, 65534)] {
            let given = all(&format!("10.0.0.0/{prefix}"));
            assert_eq!(given.len(), hosts);
            assert_eq!(given.iter().collect::<std::collections::HashSet<_>>().len(), hosts);
        }
    }

    #[test]
    fn far_addresses_cost_one_word_and_wide_subnets_do_not_overflow() {
        let mut bitmap = Bitmap::new("0.0.0.0/0".parse().unwrap());
        assert!(bitmap.take(Ipv4Addr::new(255, 255, 255, 254)));
        assert!(!bitmap.take(Ipv4Addr::new(255, 255, 255, 254)));
        assert!(!bitmap.take(Ipv4Addr::BROADCAST));
        assert_eq!((bitmap.words.len(), bitmap.taken()), (1, 1));
        assert_eq!(bitmap.first(), Some(Ipv4Addr::new(0, 0, 0, 1)));
        bitmap.free(Ipv4Addr::new(255, 255, 255, 254));
        assert_eq!(bitmap.words.len(), 1);
    }

    /// Against a plain set, with a fixed stream of pseudo-random steps.
    #[test]
    fn behaves_like_a_set() {
        let subnet: Ipv4Net = "10.1.2.0/25".parse().unwrap();
        let mut bitmap = Bitmap::new(subnet);
        let mut model = std::collections::BTreeSet::new();
        let mut state = 42u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let address =
                Ipv4Addr::from(u32::from(subnet.network()) + ((state >> 33) % 130) as u32);
            let usable = subnet.hosts().any(|h| h == address);
            match (state >> 60) % 3 {
                0 => {
                    let expected = subnet.hosts().find(|a| !model.contains(a));
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
