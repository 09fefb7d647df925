//! One small synchronous netlink transport for rtnetlink and nf_tables.
//!
//! ```text
//! Batch ──▶ Socket::execute   one sendmsg, the kernel works through it, one acknowledgement is read
//! Batch ──▶ Socket::query     one request, all answers up to the end of the dump
//!           Socket::receive   what a subscribed multicast group says
//! ```
//!
//! Messages are built with checked lengths: an attribute that does not fit is an error, never a wrapped length
//! (CVE-2021-43784). What the kernel sends is parsed with bounds checks and limits. Only what the kernel itself sent is
//! believed. Source: Documentation/userspace-api/netlink/intro.rst.

mod message;

pub use message::{Attributes, Batch, Message, attributes};

use message::{ALIGN, HEADER};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

/// `NLMSG_ERROR`: an acknowledgement, or a refusal when its code is not zero.
const NLMSG_ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
const NLMSG_DONE: u16 = 3;
/// `NLM_F_DUMP_INTR`: the table changed while it was dumped.
const NLM_F_DUMP_INTR: u16 = 0x10;
/// `NLM_F_ACK_TLVS`: the acknowledgement carries attributes (extended error text).
const NLM_F_ACK_TLVS: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG`: the text.
const NLMSGERR_ATTR_MSG: u16 = 1;
/// Largest answer that is collected; a host's whole route table is far below.
const ANSWER_LIMIT: usize = 64 << 20;
/// One datagram of the kernel; dumps are cut to the reader's buffer, 32 KiB at most.
const DATAGRAM: usize = 32 << 10;
/// How long the kernel may take for one answer. It answers within the send; this is against waiting for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which kernel subsystem to talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `NETLINK_ROUTE`: links, addresses, routes.
    Route,
    /// `NETLINK_NETFILTER`: nf_tables among others.
    Netfilter,
    /// `NETLINK_SOCK_DIAG`: which sockets there are.
    SockDiag,
}

/// A netlink socket. It belongs to the network namespace of the thread that opened it, and keeps that alive.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// A socket in the calling thread's network namespace.
    pub fn open(protocol: Protocol) -> io::Result<Self> {
        Self::bound(protocol, 0)
    }

    /// A socket that also receives the multicast groups in the mask `groups` (`RTMGRP_LINK` is 1), for
    /// [`receive`](Self::receive).
    pub fn subscribe(protocol: Protocol, groups: u32) -> io::Result<Self> {
        Self::bound(protocol, groups)
    }

    fn bound(protocol: Protocol, groups: u32) -> io::Result<Self> {
        let protocol = match protocol {
            // NETLINK_ROUTE is number 0, which is the family's default.
            Protocol::Route => None,
            Protocol::Netfilter => Some(netlink::NETFILTER),
            Protocol::SockDiag => Some(netlink::SOCK_DIAG),
        };
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        set_flag(fd.as_fd(), libc::NETLINK_EXT_ACK)?;
        set_flag(fd.as_fd(), libc::NETLINK_CAP_ACK)?;
        if groups == 0 {
            sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(PATIENCE))?;
        } else {
            rustix::net::bind(&fd, &SocketAddrNetlink::new(0, groups))?;
        }
        Ok(Self { fd, sequence: 1, buffer: vec![0; DATAGRAM] })
    }

    /// The number that the kernel knows this socket by (`nl_pid`); what it changes is announced with it
    /// ([`Message::port`]).
    pub fn port(&self) -> io::Result<u32> {
        let address = rustix::net::getsockname(&self.fd)?;
        let address = SocketAddrNetlink::try_from(address).map_err(io::Error::from)?;
        if address.pid() != 0 {
            return Ok(address.pid());
        }
        // It has none before it is first used.
        rustix::net::bind(&self.fd, &SocketAddrNetlink::new(0, 0))?;
        let address = rustix::net::getsockname(&self.fd)?;
        Ok(SocketAddrNetlink::try_from(address).map_err(io::Error::from)?.pid())
    }

    /// Makes [`receive`](Self::receive) answer `WouldBlock` rather than wait, for whoever waits in one place.
    pub fn set_nonblocking(&self) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(&self.fd, true)?)
    }

    /// Sends all messages of `batch` in one call and waits until the last is acknowledged.
    ///
    /// rtnetlink works through all messages even when one is refused; the first refusal is returned, and what succeeded
    /// stays done. A [`Batch::transaction`] happens as a whole or not at all.
    pub fn execute(&mut self, mut batch: Batch) -> Result<(), Error> {
        let (first, last) = self.send(&mut batch)?;
        let mut refusal = None;
        loop {
            let mut done = false;
            self.each(|header, body| {
                if header.kind != NLMSG_ERROR || header.sequence < first || header.sequence > last {
                    return Ok(());
                }
                let errno = acknowledgement(body)?;
                // A transaction that fails as a whole is reported at its opening message.
                let whole = batch.is_transaction() && header.sequence == first && errno != 0;
                done |= whole || header.sequence == last;
                if errno != 0 && refusal.is_none() {
                    let index = (header.sequence - first) as usize;
                    let index =
                        if batch.is_transaction() { index.checked_sub(1) } else { Some(index) };
                    refusal = Some(Refusal { index, errno, text: explanation(header.flags, body) });
                }
                Ok(())
            })?;
            if done {
                break;
            }
        }
        match refusal {
            None => Ok(()),
            Some(refusal) => {
                self.drain()?;
                Err(Error::Refused(refusal))
            }
        }
    }

    /// Sends the one request in `batch` and collects what the kernel answers, up to the end of the dump or the
    /// acknowledgement. A dump that changed under the kernel's hands is asked for again.
    pub fn query(&mut self, batch: &Batch) -> Result<Vec<Message>, Error> {
        for _attempt in 0..8 {
            let (answers, torn) = self.query_once(batch.clone())?;
            if !torn {
                return Ok(answers);
            }
        }
        Err(Error::Io(io::Error::from_raw_os_error(libc::EINTR)))
    }

    fn query_once(&mut self, mut batch: Batch) -> Result<(Vec<Message>, bool), Error> {
        let (_, sequence) = self.send(&mut batch)?;
        let mut answers = Vec::new();
        let (mut size, mut torn, mut done) = (0usize, false, false);
        let mut refusal = None;
        while !done {
            self.each(|header, body| {
                if header.sequence != sequence {
                    return Ok(());
                }
                torn |= header.flags & NLM_F_DUMP_INTR != 0;
                match header.kind {
                    NLMSG_DONE => done = true,
                    NLMSG_ERROR => {
                        done = true;
                        let errno = acknowledgement(body)?;
                        if errno != 0 {
                            let text = explanation(header.flags, body);
                            refusal = Some(Refusal { index: Some(0), errno, text });
                        }
                    }
                    kind => {
                        size += body.len();
                        if size > ANSWER_LIMIT {
                            return Err(Error::Malformed("answer is too long"));
                        }
                        answers.push(Message { kind, port: header.port, body: body.to_vec() });
                    }
                }
                Ok(())
            })?;
        }
        match refusal {
            Some(refusal) => Err(Error::Refused(refusal)),
            None => Ok((answers, torn)),
        }
    }

    /// Waits for the next datagram of a subscribed group. `ENOBUFS` says that messages were lost and that the caller
    /// must look at the whole again.
    pub fn receive(&mut self) -> Result<Vec<Message>, Error> {
        let mut messages = Vec::new();
        self.each(|header, body| {
            messages.push(Message { kind: header.kind, port: header.port, body: body.to_vec() });
            Ok(())
        })?;
        Ok(messages)
    }

    /// Numbers and sends; returns the first and the acknowledged sequence number.
    fn send(&mut self, batch: &mut Batch) -> Result<(u32, u32), Error> {
        let first = self.sequence;
        let (last, next) = batch.finish(first)?;
        self.sequence = next;
        let bytes = batch.bytes();
        if bytes.len() > 128 << 10 {
            // The default send buffer holds 208 KiB of which the kernel counts overhead; root may go beyond wmem_max.
            sockopt::set_socket_send_buffer_size_force(&self.fd, bytes.len() * 2)
                .map_err(io::Error::from)?;
        }
        let sent =
            rustix::net::send(&self.fd, bytes, SendFlags::empty()).map_err(io::Error::from)?;
        if sent != bytes.len() {
            return Err(Error::Malformed("message was sent in part"));
        }
        Ok((first, last))
    }

    /// Reads one datagram and hands out its messages.
    fn each(
        &mut self,
        mut take: impl FnMut(Header, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (_, length, from) =
            rustix::net::recvfrom(&self.fd, &mut self.buffer[..], RecvFlags::TRUNC)
                .map_err(io::Error::from)?;
        if length > self.buffer.len() {
            return Err(Error::Malformed("datagram is longer than the buffer"));
        }
        // Another process may write to our port; only port 0 is the kernel.
        if from.and_then(|a| SocketAddrNetlink::try_from(a).ok()).is_none_or(|a| a.pid() != 0) {
            return Ok(());
        }
        let mut rest = &self.buffer[..length];
        while rest.len() >= HEADER {
            let header = Header::parse(rest);
            let size = header.length as usize;
            if size < HEADER || size > rest.len() {
                return Err(Error::Malformed("message length"));
            }
            take(header, &rest[HEADER..size])?;
            rest = rest.get(size.next_multiple_of(ALIGN)..).unwrap_or_default();
        }
        Ok(())
    }

    /// Throws away what is still queued, as the further errors of a refused transaction.
    fn drain(&self) -> Result<(), Error> {
        let mut one = [0u8; 16];
        loop {
            match rustix::net::recv(&self.fd, &mut one[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC)
            {
                Ok(_) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(()),
                Err(e) => return Err(Error::Io(e.into())),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Why a netlink conversation failed.
#[derive(Debug)]
pub enum Error {
    /// The kernel understood and said no.
    Refused(Refusal),
    /// The socket failed.
    Io(io::Error),
    /// An attribute, by its number, is longer than a netlink length can say, or a text contains NUL.
    Unencodable(u16),
    /// The kernel's answer is not a netlink message.
    Malformed(&'static str),
}

/// The kernel's no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which message of the batch, from 0; `None` when a transaction failed as a whole.
    pub index: Option<usize>,
    /// The positive error number.
    pub errno: i32,
    /// The kernel's own explanation, where it has one.
    pub text: Option<String>,
}

impl Error {
    /// The kernel's error number, if it was the kernel that said no.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused(refusal) => Some(refusal.errno),
            Self::Io(error) => error.raw_os_error(),
            Self::Unencodable(_) | Self::Malformed(_) => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => {
                write!(f, "{}", io::Error::from_raw_os_error(refusal.errno))?;
                if let Some(text) = &refusal.text {
                    write!(f, ": {text}")?;
                }
                Ok(())
            }
            Self::Io(error) => write!(f, "netlink: {error}"),
            Self::Unencodable(kind) => {
                write!(f, "netlink: attribute {kind} is too long or not a text")
            }
            Self::Malformed(what) => write!(f, "netlink: bad answer: {what}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// `struct nlmsghdr`.
struct Header {
    length: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
}

impl Header {
    fn parse(bytes: &[u8]) -> Self {
        let word = |at: usize| {
            u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let half = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Self { length: word(0), kind: half(4), flags: half(6), sequence: word(8), port: word(12) }
    }
}

/// The error number of an acknowledgement, 0 for success.
fn acknowledgement(body: &[u8]) -> Result<i32, Error> {
    let code = body.first_chunk::<4>().ok_or(Error::Malformed("short acknowledgement"))?;
    Ok(i32::from_ne_bytes(*code).wrapping_neg())
}

/// The kernel's text in an acknowledgement. With `NETLINK_CAP_ACK` only the header of the refused message precedes it.
fn explanation(flags: u16, body: &[u8]) -> Option<String> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let text = attributes(body.get(4 + HEADER..)?).find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)?.1;
    Some(String::from_utf8_lossy(text.strip_suffix(&[0]).unwrap_or(text)).into_owned())
}

fn set_flag(fd: BorrowedFd<'_>, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // JUSTIFICATION: rustix has no options of level SOL_NETLINK.
    // SAFETY: `on` is a live c_int and the length given is its own; the kernel only reads it.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTM_GETLINK: u16 = 18;
    const RTM_NEWLINK: u16 = 16;
    const RTM_DELLINK: u16 = 17;
    const NLM_F_DUMP: u16 = 0x300;

    #[test]
    fn links_are_dumped_and_loopback_is_among_them() {
        let mut socket = Socket::open(Protocol::Route).unwrap();
        let mut batch = Batch::new();
        batch.message(RTM_GETLINK, NLM_F_DUMP, &[0; 16], |_| {});
        let links = socket.query(&batch).unwrap();
        let names: Vec<_> = links
            .iter()
            .filter(|m| m.kind == RTM_NEWLINK)
            .flat_map(|m| {
                attributes(&m.body[16..]).filter(|(k, _)| *k == 3).map(|(_, v)| v.to_vec())
            })
            .collect();
        assert!(names.contains(&b"lo\0".to_vec()), "{names:?}");
    }

    #[test]
    fn a_socket_knows_its_port() {
        let (one, other) =
            (Socket::open(Protocol::Route).unwrap(), Socket::open(Protocol::Route).unwrap());
        let port = one.port().unwrap();
        assert_ne!(port, 0);
        assert_ne!(port, other.port().unwrap());
        assert_eq!(port, one.port().unwrap());
    }

    #[test]
    fn a_refusal_names_the_message_and_its_reason() {
        let mut socket = Socket::open(Protocol::Route).unwrap();
        let mut batch = Batch::new();
        for _ in 0..3 {
            batch.message(RTM_DELLINK, 0, &[0; 16], |a| a.string(3, "no-such-link"));
        }
        let Err(Error::Refused(refusal)) = socket.execute(batch) else {
            panic!("expected a refusal")
        };
        assert_eq!((refusal.index, refusal.errno), (Some(0), libc::ENODEV));
        // The queue is empty again: the next conversation is not confused by the other two refusals.
        links_are_dumped_and_loopback_is_among_them();
        let mut batch = Batch::new();
        batch.message(RTM_GETLINK, NLM_F_DUMP, &[0; 16], |_| {});
        assert!(!socket.query(&batch).unwrap().is_empty());
    }
}
