//! What a link tells its neighbours of itself when it comes: that its addresses are at this Ethernet address from now on,
//! whoever had them before. Pure; [`sys::packet`] sends it.

use crate::Mac;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use stdx::{Error, Result};

/// `com.docker.network.advertise_addr_nmsgs`
pub const COUNT: &str = "com.docker.network.advertise_addr_nmsgs";
/// `com.docker.network.advertise_addr_ms`
pub const INTERVAL: &str = "com.docker.network.advertise_addr_ms";

/// `ff02::1`, and the Ethernet address of it (RFC 2464).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const EVERYBODY: [u8; 6] = [0xff; 6];
const ICMPV6: u8 = 58;

/// How often a network's new links are told of, and how far apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcements {
    /// 0 to 3.
    pub count: u8,
    /// 100 ms to 2 s.
    pub interval: Duration,
}

impl Default for Announcements {
    /// Docker's. An Ethernet address that we choose follows from the IP address, and a neighbour's memory of it stays
    /// right; but one that was asked for does not, nor one of an IPv6 address that passes to a container with another
    /// IPv4 address. They cost the start of a container a few microseconds, so they are as usual as with Docker.
    fn default() -> Self {
        Self { count: 3, interval: Duration::from_secs(1) }
    }
}

impl Announcements {
    /// What a network's options say, whatever its driver.
    ///
    /// # Errors
    /// `InvalidArgument` with Docker's words, all of them in one answer.
    pub fn of(options: &BTreeMap<String, String>) -> Result<Self> {
        let default = Self::default();
        let count = read(options, COUNT, "an integer", 0..=3);
        let interval = read(options, INTERVAL, "integer milliseconds", 100..=2000);
        match (count, interval) {
            (Ok(count), Ok(interval)) => Ok(Self {
                count: count.map_or(default.count, |n| n as u8),
                interval: interval.map_or(default.interval, |n| Duration::from_millis(n.into())),
            }),
            (Err(one), Err(other)) => Err(Error::invalid(format!("{one}\n{other}"))),
            (Err(wrong), _) | (_, Err(wrong)) => Err(Error::invalid(wrong)),
        }
    }
}

fn read(
    options: &BTreeMap<String, String>,
    key: &str,
    what: &str,
    range: std::ops::RangeInclusive<u16>,
) -> Result<Option<u16>, String> {
    let Some(text) = options.get(key) else { return Ok(None) };
    let number: i64 =
        text.parse().map_err(|_| format!("value for option {key} {text:?} must be {what}"))?;
    let number = u16::try_from(number).ok().filter(|number| range.contains(number));
    let (least, most) = (range.start(), range.end());
    number.map(Some).ok_or_else(|| format!("{key} must be in the range {least} to {most}"))
}

/// The frame that says of an address where it is.
pub fn frame(mac: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => arp(mac, address),
        IpAddr::V6(address) => advertisement(mac, address),
    }
}

/// An ARP announcement: a request to everybody for the own address (RFC 5227, 3).
fn arp(mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet(EVERYBODY, mac, 0x0806);
    // Ethernet and IPv4, addresses of six and four bytes, request.
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac.bytes());
    frame.extend(address.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}

/// A neighbour advertisement that nobody asked for, which overrides what is known (RFC 4861, 4.4 and 7.2.6).
fn advertisement(mac: Mac, address: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    message.extend(address.octets());
    // The option "target link-layer address", of eight bytes.
    message.extend([2, 1]);
    message.extend(mac.bytes());
    let sum = checksum(address, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());

    let mut frame = ethernet(ALL_NODES_MAC, mac, 0x86dd);
    let length = message.len() as u16;
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(length.to_be_bytes());
    // From this link and no further: whoever hears it looks at the hop limit.
    frame.extend([ICMPV6, 255]);
    frame.extend(address.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(message);
    frame
}

fn ethernet(to: [u8; 6], from: Mac, kind: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(86);
    frame.extend(to);
    frame.extend(from.bytes());
    frame.extend(kind.to_be_bytes());
    frame
}

/// Of an ICMPv6 message to all nodes, with its pseudo-header (RFC 4443, 2.3).
fn checksum(from: Ipv6Addr, message: &[u8]) -> u16 {
    let head = [from.octets(), ALL_NODES.octets()].concat();
    let words = head.chunks(2).chain(message.chunks(2));
    let mut sum: u32 =
        words.map(|two| u32::from(two[0]) << 8 | two.get(1).map_or(0, |b| u32::from(*b))).sum();
    sum += message.len() as u32 + u32::from(ICMPV6);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Announcements> {
        let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Announcements::of(&pairs.collect())
    }

    #[test]
    fn options_are_read_with_dockers_words() {
        assert_eq!(of(&[]).unwrap(), Announcements::default());
        let set = of(&[(COUNT, "0"), (INTERVAL, "100")]).unwrap();
        assert_eq!(set, Announcements { count: 0, interval: Duration::from_millis(100) });
        let range = "com.docker.network.advertise_addr_nmsgs must be in the range 0 to 3";
        let time = "com.docker.network.advertise_addr_ms must be in the range 100 to 2000";
        for (pairs, text) in [
            (&[(COUNT, "-1")][..], range.to_owned()),
            (&[(COUNT, "4")], range.to_owned()),
            (&[(COUNT, "99999999")], range.to_owned()),
            (
                &[(COUNT, "nonsense")],
                "value for option com.docker.network.advertise_addr_nmsgs \"nonsense\" must be an integer"
                    .to_owned(),
            ),
            (&[(INTERVAL, "99")], time.to_owned()),
            (&[(INTERVAL, "2001")], time.to_owned()),
            (
                &[(INTERVAL, "1s")],
                "value for option com.docker.network.advertise_addr_ms \"1s\" must be integer milliseconds"
                    .to_owned(),
            ),
            (&[(INTERVAL, "1"), (COUNT, "9")], format!("{range}\n{time}")),
        ] {
            let wrong = of(pairs).unwrap_err();
            assert_eq!((wrong.kind(), wrong.to_string()), (stdx::Kind::InvalidArgument, text));
        }
    }

    #[test]
    fn frames_are_as_the_documents_draw_them() {
        let mac: Mac = "02:42:ac:11:00:02".parse().unwrap();
        let arp = frame(mac, "172.17.0.2".parse().unwrap());
        assert_eq!(
            arp,
            [
                &[0xff; 6][..],
                &[2, 0x42, 0xac, 0x11, 0, 2, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
                &[2, 0x42, 0xac, 0x11, 0, 2, 172, 17, 0, 2, 0, 0, 0, 0, 0, 0, 172, 17, 0, 2],
            ]
            .concat()
        );
        let told = frame(mac, "fd00::2".parse().unwrap());
        assert_eq!(told.len(), 86);
        assert_eq!(told[..14], [0x33, 0x33, 0, 0, 0, 1, 2, 0x42, 0xac, 0x11, 0, 2, 0x86, 0xdd]);
        assert_eq!(told[14..22], [0x60, 0, 0, 0, 0, 32, 58, 255]);
        assert_eq!(told[54..56], [136, 0]);
        assert_eq!(told[58..62], [0x20, 0, 0, 0]);
        assert_eq!(told[78..], [2, 1, 2, 0x42, 0xac, 0x11, 0, 2]);
        // With its own checksum in it a message's is zero.
        assert_eq!(checksum("fd00::2".parse().unwrap(), &told[54..]), 0);
    }
}
