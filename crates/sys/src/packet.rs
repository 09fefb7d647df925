//! Whole Ethernet frames (packet(7)): what links say of themselves below IP, which no other socket sends.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// A socket that sends frames in the network namespace that it was opened in, and hears none.
///
/// Dropping it waits until the kernel is sure that nobody looks at it any more (`synchronize_net`, some ten milliseconds):
/// nothing for a thread that others wait for.
#[derive(Debug)]
pub struct Frames(OwnedFd);

impl Frames {
    /// Opens it in the calling thread's network namespace.
    pub fn open() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // JUSTIFICATION: rustix has no protocol 0 for packet sockets' own meaning of it, "hear nothing".
        // SAFETY: socket takes three numbers; what it answers is checked before it becomes a descriptor.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it, and nobody else knows of it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The number and the Ethernet address that the link of this name has now.
    pub fn link(&self, name: &str) -> io::Result<(u32, [u8; 6])> {
        let mut request = request(name)?;
        self.ask(libc::SIOCGIFINDEX, &mut request)?;
        // SAFETY: SIOCGIFINDEX has filled this member of the union.
        let index = unsafe { request.ifr_ifru.ifru_ifindex };
        self.ask(libc::SIOCGIFHWADDR, &mut request)?;
        // SAFETY: SIOCGIFHWADDR has filled this member of the union.
        let address = unsafe { request.ifr_ifru.ifru_hwaddr };
        let mut bytes = [0; 6];
        for (to, from) in bytes.iter_mut().zip(address.sa_data) {
            *to = from.cast_unsigned();
        }
        Ok((index.cast_unsigned(), bytes))
    }

    /// Sends a frame, headers and all, through the link with this number, without waiting.
    pub fn send(&self, link: u32, frame: &[u8]) -> io::Result<()> {
        // SAFETY: all fields are numbers, for which zero is a value.
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = libc::AF_PACKET as libc::c_ushort;
        to.sll_ifindex = link.cast_signed();
        if let Some(kind) = frame.get(12..14) {
            to.sll_protocol = u16::from_ne_bytes([kind[0], kind[1]]);
        }
        // JUSTIFICATION: rustix has no sockaddr_ll.
        // SAFETY: both pointers are to live values with their own lengths; the kernel only reads.
        let sent = unsafe {
            libc::sendto(
                self.0.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                (&raw const to).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn ask(&self, what: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
        // JUSTIFICATION: rustix has no SIOCGIFHWADDR.
        // SAFETY: both requests read the name of a live `ifreq`, which ends with a zero, and write its union.
        let done = unsafe { libc::ioctl(self.0.as_raw_fd(), what as _, &raw mut *request) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl AsFd for Frames {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A question about the link of this name.
fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: an `ifreq` is bytes, numbers and a union of such, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns;

    #[test]
    fn loopback_is_found_and_carries_a_frame() {
        let (_netns, ()) = netns::create(|| {
            let frames = Frames::open().unwrap();
            let (index, address) = frames.link("lo").unwrap();
            assert_eq!((index, address), (1, [0; 6]));
            // It is down in a new namespace.
            let down = frames.send(index, &[0; 60]).unwrap_err();
            assert_eq!(down.raw_os_error(), Some(libc::ENETDOWN));
            assert!(frames.link("eth0").is_err());
            assert!(frames.link("sixteen-bytes-ok").is_err());
        })
        .unwrap();
    }
}
