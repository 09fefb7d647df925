//! Datagrams over IPv6 with the address that they came to, and that they are answered from (ipv6(7), `IPV6_PKTINFO`): what
//! one socket of all addresses needs to answer each client from the address that it asked.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd as _};

/// What a datagram says beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// How many bytes it has; 0 is possible.
    pub length: usize,
    /// Who sent it, without a flow label.
    pub from: SocketAddrV6,
    /// The address of this machine that it came to.
    pub to: Ipv6Addr,
    /// The number of the link that it came through.
    pub link: u32,
}

/// Room for one `in6_pktinfo`, and alignment for its header.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Has [`receive`] told where datagrams came to. For a UDP socket of IPv6.
pub fn tell_destinations(socket: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // JUSTIFICATION: rustix has no IPV6_RECVPKTINFO.
    // SAFETY: `on` is a live c_int and the length given is its own; the kernel only reads it.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_RECVPKTINFO,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The next datagram, without waiting. `None`: it did not fit `buffer`, or does not say where it came to; it is lost.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<Datagram>> {
    let mut control = Control([0; 64]);
    // SAFETY: all fields of both are numbers or raw pointers, for which zero is a value.
    let (mut name, mut message): (libc::sockaddr_in6, libc::msghdr) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    // JUSTIFICATION: rustix takes no IPV6_PKTINFO out of what it receives.
    // SAFETY: every pointer in `message` is to a live local or to `buffer`, with its own length.
    let length = retry(|| unsafe {
        libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT)
    })?;
    let lost = libc::MSG_TRUNC | libc::MSG_CTRUNC;
    if message.msg_flags & lost != 0 || i32::from(name.sin6_family) != libc::AF_INET6 {
        return Ok(None);
    }
    // SAFETY: the kernel has set `msg_controllen` to what it wrote of `control`, which lives and is aligned.
    let told = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    if told.is_null() {
        return Ok(None);
    }
    // SAFETY: `told` is the first header in `control`, which CMSG_FIRSTHDR found to be whole.
    let header = unsafe { told.read() };
    // SAFETY: as CMSG_LEN only computes.
    let needed = unsafe { libc::CMSG_LEN(size_of::<libc::in6_pktinfo>() as u32) } as usize;
    let is_destination = header.cmsg_level == libc::IPPROTO_IPV6
        && header.cmsg_type == libc::IPV6_PKTINFO
        && header.cmsg_len as usize >= needed;
    if !is_destination {
        return Ok(None);
    }
    // SAFETY: the message is of this type and long enough; it may lie at any address, so it is read unaligned.
    let info = unsafe { libc::CMSG_DATA(told).cast::<libc::in6_pktinfo>().read_unaligned() };
    let from = SocketAddrV6::new(
        name.sin6_addr.s6_addr.into(),
        u16::from_be(name.sin6_port),
        0,
        name.sin6_scope_id,
    );
    let to = info.ipi6_addr.s6_addr.into();
    Ok(Some(Datagram { length, from, to, link: info.ipi6_ifindex }))
}

/// Sends a datagram from this machine's address `from`, without waiting; through the link with the number `link`, if it
/// is not 0.
pub fn send(
    socket: impl AsFd,
    bytes: &[u8],
    to: SocketAddrV6,
    from: Ipv6Addr,
    link: u32,
) -> io::Result<()> {
    let mut control = Control([0; 64]);
    // SAFETY: all fields of the three are numbers or raw pointers, for which zero is a value.
    let (mut name, mut message, mut info): (libc::sockaddr_in6, libc::msghdr, libc::in6_pktinfo) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed(), std::mem::zeroed()) };
    name.sin6_family = libc::AF_INET6 as libc::sa_family_t;
    name.sin6_port = to.port().to_be();
    name.sin6_addr.s6_addr = to.ip().octets();
    name.sin6_scope_id = to.scope_id();
    info.ipi6_addr.s6_addr = from.octets();
    info.ipi6_ifindex = link;
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    let size = size_of::<libc::in6_pktinfo>() as u32;
    // JUSTIFICATION: rustix sends no IPV6_PKTINFO.
    // SAFETY: `control` is larger than CMSG_SPACE of one `in6_pktinfo` and aligned for its header, so the first header
    // and its data lie in it; the data is written unaligned.
    unsafe {
        message.msg_controllen = libc::CMSG_SPACE(size) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::IPPROTO_IPV6;
        (*header).cmsg_type = libc::IPV6_PKTINFO;
        (*header).cmsg_len = libc::CMSG_LEN(size) as _;
        libc::CMSG_DATA(header).cast::<libc::in6_pktinfo>().write_unaligned(info);
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: every pointer in `message` is to a live local or to `bytes`, with its own length; the kernel only reads.
    retry(|| unsafe { libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const message, flags) })?;
    Ok(())
}

/// Calls until no signal came between.
fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        if let Ok(length) = usize::try_from(call()) {
            return Ok(length);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::OwnedFd;

    #[test]
    fn a_datagram_tells_where_it_came_to_and_is_answered_from_there() {
        let all = UdpSocket::bind("[::]:0").unwrap();
        let port = all.local_addr().unwrap().port();
        let all: OwnedFd = all.into();
        tell_destinations(&all).unwrap();
        let mut buffer = [0; 8];
        let nothing = receive(&all, &mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        let client = UdpSocket::bind("[::1]:0").unwrap();
        for bytes in [&b"ask"[..], b"", b"12345678"] {
            client.send_to(bytes, ("::1", port)).unwrap();
            let got = receive(&all, &mut buffer).unwrap().unwrap();
            assert_eq!(&buffer[..got.length], bytes);
            assert_eq!(got.from, client.local_addr().unwrap().to_string().parse().unwrap());
            assert_eq!((got.to, got.link), (Ipv6Addr::LOCALHOST, 1));
            send(&all, b"told", got.from, got.to, 0).unwrap();
            let (length, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!(
                (&buffer[..length], from),
                (&b"told"[..], ([0, 0, 0, 0, 0, 0, 0, 1], port).into())
            );
        }
        // What does not fit is lost, and the next is not.
        client.send_to(b"123456789", ("::1", port)).unwrap();
        client.send_to(b"x", ("::1", port)).unwrap();
        assert_eq!(receive(&all, &mut buffer).unwrap(), None);
        assert_eq!(receive(&all, &mut buffer).unwrap().unwrap().length, 1);
        // An address that this machine does not have is none to answer from.
        let strange = "2001:db8::7".parse().unwrap();
        let to = client.local_addr().unwrap().to_string().parse().unwrap();
        assert!(send(&all, b"x", to, strange, 0).is_err());
    }
}
