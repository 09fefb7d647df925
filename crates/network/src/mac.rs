//! Ethernet addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A unicast Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac([u8; 6]);

/// The text is no unicast Ethernet address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid MAC address: {0}")]
pub struct InvalidMac(String);

impl Mac {
    /// The address Docker gives to the interface with this IPv4 address: `02:42` and the four bytes. Because it follows
    /// from the IP address, a neighbour's cache stays right when the address passes to the next container.
    pub fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// The address for an interface with these addresses: from the first IPv4 address, or else from the last four bytes
    /// of the first IPv6 address, with `06:42` before them so that the two kinds never meet.
    pub fn of_any(addresses: impl IntoIterator<Item = IpAddr>) -> Option<Self> {
        let mut six = None;
        for address in addresses {
            match address {
                IpAddr::V4(address) => return Some(Self::of(address)),
                IpAddr::V6(address) => six = six.or(Some(address)),
            }
        }
        six.map(Self::of_six)
    }

    /// An address that nobody has, from the kernel's random numbers: `02` and five bytes.
    pub fn random() -> stdx::Result<Self> {
        let mut bytes = [0x02; 6];
        let filled =
            rustix::rand::getrandom(&mut bytes[1..], rustix::rand::GetRandomFlags::empty())
                .map_err(|e| stdx::Error::io("random numbers", e.into()))?;
        match filled {
            5 => Ok(Self(bytes)),
            _ => Err(stdx::Error::internal("random numbers: too few")),
        }
    }

    fn of_six(address: Ipv6Addr) -> Self {
        let bytes = address.octets();
        Self([0x06, 0x42, bytes[12], bytes[13], bytes[14], bytes[15]])
    }

    /// The address with these bytes; `None`: no link can have it.
    pub fn of_bytes(bytes: [u8; 6]) -> Option<Self> {
        (bytes[0] & 1 == 0 && bytes != [0; 6]).then_some(Self(bytes))
    }

    /// The bytes in the order they are sent.
    pub fn bytes(&self) -> &[u8; 6] {
        &self.0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = InvalidMac;

    /// `02:42:ac:11:00:02`, with `:` or `-` between two-digit groups, as Go's `net.ParseMAC` reads 48-bit addresses.
    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let wrong = || InvalidMac(text.chars().take(40).collect());
        let separator = if text.contains(':') { ':' } else { '-' };
        let mut bytes = [0; 6];
        let mut groups = text.split(separator);
        for byte in &mut bytes {
            let group =
                groups.next().filter(|g| g.len() == 2 && g.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = u8::from_str_radix(group.ok_or_else(wrong)?, 16).map_err(|_| wrong())?;
        }
        // The kernel refuses multicast addresses and all zeroes for a link.
        if groups.next().is_some() {
            return Err(wrong());
        }
        Self::of_bytes(bytes).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_ip_address() {
        assert_eq!(Mac::of(Ipv4Addr::new(172, 17, 0, 2)).to_string(), "02:42:ac:11:00:02");
    }

    #[test]
    fn without_ipv4_it_follows_the_ipv6_address() {
        let of = |all: &[&str]| {
            Mac::of_any(all.iter().map(|a| a.parse().unwrap())).map(|mac| mac.to_string())
        };
        assert_eq!(of(&["fd00::2", "10.0.0.2"]).unwrap(), "02:42:0a:00:00:02");
        assert_eq!(of(&["fd00::1:2"]).unwrap(), "06:42:00:01:00:02");
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn texts() {
        for good in ["02:42:ac:11:00:02", "02-42-AC-11-00-02"] {
            assert_eq!(good.parse(), Ok(Mac::of(Ipv4Addr::new(172, 17, 0, 2))), "{good}");
        }
        for bad in [
            "",
            "02:42",
            "02:42:ac:11:00:02:03",
            "0:42:ac:11:00:02",
            "01:42:ac:11:00:02",
            "+2:42:ac:11:00:02",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
        assert!("00:00:00:00:00:00".parse::<Mac>().is_err());
    }
}
