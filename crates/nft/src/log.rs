//! Packets that rules tell of ([`Action::Log`](crate::Action::Log)), as `nfnetlink_log` passes them on.
//!
//! Source: `linux/netfilter/nfnetlink_log.h`, and the headers of IP packets in their RFCs. What is read here was written by
//! containers: it is taken apart with bounds checks, and what is no packet is told of as far as it is understood.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};
use stdx::{Error, Result};
use sys::netlink::{Batch, Protocol, Socket};

/// `NFNL_SUBSYS_ULOG`.
const SUBSYSTEM: u16 = 4;
const PACKET: u16 = SUBSYSTEM << 8;
const CONFIG: u16 = SUBSYSTEM << 8 | 1;
const NFULA_CFG_CMD: u16 = 1;
const NFULA_CFG_MODE: u16 = 2;
const NFULA_CFG_TIMEOUT: u16 = 4;
const NFULNL_CFG_CMD_BIND: u8 = 1;
const NFULNL_COPY_PACKET: u8 = 2;
const NFULA_PACKET_HDR: u16 = 1;
const NFULA_IFINDEX_INDEV: u16 = 4;
const NFULA_IFINDEX_PHYSINDEV: u16 = 6;
const NFULA_PAYLOAD: u16 = 9;
/// How many bytes of a packet are asked for.
const LENGTH: u32 = 80;
/// How long the kernel may gather packets, in hundredths of a second.
const GATHER: u32 = 10;
const EPERM: i32 = 1;
const ENODEV: i32 = 19;

/// A packet that was denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// The number of the link that it came in through; of a bridged frame, the port's.
    pub link: u32,
    /// What is in the frame: 0x0800 is IPv4.
    pub ether_type: u16,
    /// Where it was to go, if it is an IP packet.
    pub address: Option<IpAddr>,
    /// The protocol in it: 6 is TCP.
    pub protocol: Option<u8>,
    /// The port there, if the protocol has ports.
    pub port: Option<u16>,
}

/// Who listens to a group. The kernel has one listener a group.
#[derive(Debug)]
pub struct Log {
    socket: Socket,
}

impl Log {
    /// Listens to the group in the calling thread's network namespace.
    ///
    /// # Errors
    /// When somebody else listens to it, or the kernel has no `nfnetlink_log`.
    pub fn listen(group: u16) -> Result<Self> {
        let doing = |e: sys::netlink::Error| {
            Error::internal(format!("listen to group {group} of nfnetlink_log")).caused_by(e)
        };
        let mut socket = Socket::open(Protocol::Netfilter)
            .map_err(|e| Error::io("open nfnetlink_log socket", e))?;
        let mut batch = Batch::new();
        batch.message(CONFIG, 0, &header(group), |a| a.put(NFULA_CFG_CMD, &[NFULNL_CFG_CMD_BIND]));
        socket.execute(batch).map_err(doing)?;
        let mut batch = Batch::new();
        batch.message(CONFIG, 0, &header(group), |a| {
            let [b0, b1, b2, b3] = LENGTH.to_be_bytes();
            a.put(NFULA_CFG_MODE, &[b0, b1, b2, b3, NFULNL_COPY_PACKET, 0]);
            a.be32(NFULA_CFG_TIMEOUT, GATHER);
        });
        socket.execute(batch).map_err(doing)?;
        socket.set_nonblocking().map_err(|e| Error::io("wait for denied packets", e))?;
        Ok(Self { socket })
    }

    /// The packets that wait; empty when there are no more. That some were lost is no error: they are told at a limited
    /// pace anyway.
    pub fn receive(&mut self) -> io::Result<Vec<Denied>> {
        match self.socket.receive() {
            Ok(messages) => Ok(messages
                .iter()
                .filter(|message| message.kind == PACKET)
                .map(|message| read(message.attributes(4)))
                .collect()),
            Err(e) => Err(e.errno().map_or_else(
                || io::Error::other("packets that are none"),
                io::Error::from_raw_os_error,
            )),
        }
    }
}

impl AsFd for Log {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether the kernel can tell of packets at all.
pub fn can_log() -> Result<()> {
    let mut socket =
        Socket::open(Protocol::Netfilter).map_err(|e| Error::io("open nfnetlink_log socket", e))?;
    let mut batch = Batch::new();
    // Asks for nothing but whether somebody is there who understands it, and knows no such group or that it is another's.
    batch.message(CONFIG, 0, &header(0xffff), |_| {});
    match socket.execute(batch) {
        Err(e) if !matches!(e.errno(), Some(EPERM | ENODEV)) => {
            Err(Error::internal("ask for nfnetlink_log").caused_by(e))
        }
        _ => Ok(()),
    }
}

/// `struct nfgenmsg` with a group.
fn header(group: u16) -> [u8; 4] {
    let [high, low] = group.to_be_bytes();
    [0, 0, high, low]
}

fn read<'a>(attributes: impl Iterator<Item = (u16, &'a [u8])>) -> Denied {
    let mut denied = Denied { link: 0, ether_type: 0, address: None, protocol: None, port: None };
    let number = |value: &[u8]| value.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    let mut inner = false;
    let mut payload: &[u8] = &[];
    for (kind, value) in attributes {
        match kind {
            NFULA_PACKET_HDR => {
                denied.ether_type = value.first_chunk().map_or(0, |b| u16::from_be_bytes(*b));
            }
            // Of bridged frames the kernel names the bridge as well.
            NFULA_IFINDEX_PHYSINDEV => (denied.link, inner) = (number(value), true),
            NFULA_IFINDEX_INDEV if !inner => denied.link = number(value),
            NFULA_PAYLOAD => payload = value,
            _ => {}
        }
    }
    look_into(&mut denied, payload);
    denied
}

/// Reads the headers (RFC 791, RFC 8200).
fn look_into(denied: &mut Denied, packet: &[u8]) {
    let ports = match denied.ether_type {
        0x0800 => {
            let Some(header) = packet.first_chunk::<20>() else { return };
            let to: [u8; 4] = [header[16], header[17], header[18], header[19]];
            denied.address = Some(Ipv4Addr::from(to).into());
            denied.protocol = Some(header[9]);
            let is_later_part = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
            if is_later_part {
                return;
            }
            usize::from(header[0] & 0x0f) * 4
        }
        0x86dd => {
            let Some(header) = packet.first_chunk::<40>() else { return };
            let mut to = [0; 16];
            to.copy_from_slice(&header[24..40]);
            denied.address = Some(Ipv6Addr::from(to).into());
            denied.protocol = Some(header[6]);
            40
        }
        _ => return,
    };
    // TCP, UDP, SCTP have the destination's port in the same place.
    if matches!(denied.protocol, Some(6 | 17 | 132)) {
        let bytes = packet.get(ports + 2..ports + 4);
        denied.port = bytes.and_then(|b| b.first_chunk()).map(|b| u16::from_be_bytes(*b));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ether_type: u16, packet: &[u8]) -> Denied {
        let header = [ether_type.to_be_bytes(), [0, 0]].concat();
        read(
            [
                (NFULA_PACKET_HDR, header.as_slice()),
                (NFULA_IFINDEX_PHYSINDEV, &[0, 0, 0, 7]),
                (NFULA_IFINDEX_INDEV, &[0, 0, 0, 3]),
                (NFULA_PAYLOAD, packet),
            ]
            .into_iter(),
        )
    }

    #[test]
    fn packets_are_taken_apart_and_never_believed() {
        let mut four = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 2, 192, 0, 2, 1];
        four.extend([0x80, 0, 0x01, 0xbb]);
        let seen = of(0x0800, &four);
        assert_eq!((seen.link, seen.address.unwrap().to_string()), (7, "192.0.2.1".to_owned()));
        assert_eq!((seen.protocol, seen.port), (Some(6), Some(443)));
        let mut six = vec![0x60, 0, 0, 0, 0, 8, 17, 64];
        six.extend([0; 31]);
        six.push(1);
        six.extend([0, 9, 0, 53]);
        let seen = of(0x86dd, &six);
        assert_eq!((seen.address.unwrap().to_string().as_str(), seen.port), ("::1", Some(53)));
        for length in 0..four.len() {
            let _whatever = of(0x0800, &four[..length]);
        }
        for length in 0..six.len() {
            let _whatever = of(0x86dd, &six[..length]);
        }
        assert_eq!(of(0x88cc, &four).address, None);
        four[0] = 0x4f;
        assert_eq!(of(0x0800, &four).port, None);
    }
}
