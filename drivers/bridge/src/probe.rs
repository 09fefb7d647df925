//! Whether a port of the host is free, and if not, who has it.

mod owner;

use crate::ports::Refusal;
use network::Protocol;
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Binds the port on all addresses, and lets go of it at once.
pub(crate) fn free(
    protocol: Protocol,
    addresses: &[IpAddr],
    port: u16,
) -> Result<(), (IpAddr, Refusal)> {
    let everything = addresses.contains(&IpAddr::V4(Ipv4Addr::UNSPECIFIED))
        && addresses.iter().any(|a| a.is_ipv6() && a.is_unspecified());
    for address in addresses {
        if everything && address.is_ipv4() {
            // The socket for IPv6 stands for both.
            continue;
        }
        let outcome = match bind(protocol, *address, port, everything) {
            // No IPv6 in this kernel: nobody can have the port there.
            Err(Errno::AFNOSUPPORT) if everything => {
                bind(protocol, Ipv4Addr::UNSPECIFIED.into(), port, false)
            }
            outcome => outcome,
        };
        let Err(e) = outcome else { continue };
        let named = if everything { addresses[0] } else { *address };
        let refusal = match e {
            // The kernel lacks the protocol (SCTP): nobody can have the port.
            Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT | Errno::AFNOSUPPORT => continue,
            Errno::ADDRINUSE => Refusal::InUse(owner::of(protocol, port)),
            Errno::ADDRNOTAVAIL => Refusal::NoAddress,
            other => Refusal::Other(std::io::Error::from(other).to_string()),
        };
        return Err((named, refusal));
    }
    Ok(())
}

fn bind(protocol: Protocol, address: IpAddr, port: u16, both: bool) -> Result<(), Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, Some(number))?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !both)?;
    }
    if protocol == Protocol::Tcp {
        // What is over but not forgotten (TIME_WAIT) is in nobody's way; who listens still is.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &SocketAddr::new(address, port))
}
