//! Published ports of SCTP, where the kernel has it.

use crate::lan::Lan;
use crate::publish::shown;
use crate::rig::on_a_host;
use network::{Driver as _, PortRequest, Protocol};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with, sockopt};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;
use sys::netns;

fn socket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, Some(ipproto::SCTP))?;
    for which in [sockopt::Timeout::Recv, sockopt::Timeout::Send] {
        sockopt::set_socket_timeout(&socket, which, Some(Duration::from_secs(4)))?;
    }
    Ok(socket)
}

fn listener(address: &str) -> rustix::io::Result<OwnedFd> {
    let socket = socket()?;
    rustix::net::bind(&socket, &address.parse::<SocketAddr>().unwrap())?;
    rustix::net::listen(&socket, 8)?;
    Ok(socket)
}

/// Connects and says a word; who the server hears, and what it hears.
fn ask(netns: Option<BorrowedFd<'_>>, server: &OwnedFd, to: &str) -> Option<(IpAddr, String)> {
    let to: SocketAddr = to.parse().unwrap();
    let connect = move || -> rustix::io::Result<OwnedFd> {
        let client = socket()?;
        rustix::net::connect(&client, &to)?;
        rustix::net::send(&client, b"hello", rustix::net::SendFlags::NOSIGNAL)?;
        Ok(client)
    };
    let _client = match netns {
        Some(netns) => netns::inside(netns, connect).unwrap(),
        None => connect(),
    }
    .ok()?;
    let (connection, from) = rustix::net::acceptfrom(server).ok()?;
    let mut buffer = [0; 16];
    let length = rustix::io::read(&connection, &mut buffer).ok()?;
    let from = SocketAddr::try_from(from?).ok()?.ip();
    Some((from, String::from_utf8_lossy(&buffer[..length]).into_owned()))
}

#[test]
fn a_published_sctp_port_leads_into_its_container() {
    on_a_host(|host| {
        let (bridge, _) = host.bridge();
        let web = host.container(&bridge);
        let ports = Some((3868, 3868));
        let request =
            PortRequest { protocol: Protocol::Sctp, container: 3868, address: None, ports };
        let got = bridge.publish(&web.endpoint.id, std::slice::from_ref(&request)).unwrap();
        assert_eq!(shown(&got), ["0.0.0.0 3868 -> 3868/sctp"]);
        let server = match netns::inside(web.sandbox.netns(), || listener("0.0.0.0:3868")).unwrap()
        {
            Ok(server) => server,
            Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT) => {
                // It is published all the same: what is taken and given back is a number.
                let other = host.container(&bridge);
                let taken = bridge.publish(&other.endpoint.id, &[request]).unwrap_err();
                assert!(taken.to_string().ends_with("port is already allocated"), "{taken}");
                let test = "a_published_sctp_port_leads_into_its_container";
                return testkit::need::skip(test, "this kernel has no SCTP");
            }
            Err(e) => panic!("{e}"),
        };
        let lan = Lan::beside(host, "uplink", 2);
        let hello = |from: &str| Some((from.parse().unwrap(), "hello".to_owned()));
        let to = "192.0.2.1:3868";
        assert_eq!(ask(Some(lan.sandbox.netns()), &server, to), hello("192.0.2.2"));
        assert_eq!(ask(None, &server, to), hello("192.0.2.1"));
        assert_eq!(ask(None, &server, "127.0.0.1:3868"), hello("172.17.0.1"));
        let other = host.container(&bridge);
        assert_eq!(ask(Some(other.sandbox.netns()), &server, to), hello("172.17.0.1"));
        // Not the container's own address from outside, and nothing when it is withdrawn.
        assert_eq!(ask(Some(lan.sandbox.netns()), &server, "172.17.0.2:3868"), None);
        bridge.withdraw(&web.endpoint.id).unwrap();
        assert_eq!(ask(Some(lan.sandbox.netns()), &server, to), None);
        // A port that a program of the host has is not to be had.
        let _theirs = listener("0.0.0.0:3868").unwrap();
        let taken = bridge.publish(&web.endpoint.id, std::slice::from_ref(&request)).unwrap_err();
        assert!(taken.to_string().contains("address already in use"), "{taken}");
    });
}
