//! Connections to ports that the kernel cannot translate into a container (`::1` is no source that a packet to another host
//! may have, and an IPv6 client has none that a container without IPv6 could answer): the firewall redirects them to one
//! listener, the kernel remembers where they were meant to go, and the bytes are carried from here. On IPv6 it listens on
//! all addresses, because what came from elsewhere is redirected to the address of the link that it came through; whoever
//! connects to it without having been redirected is turned out.
//!
//! Each direction ends for itself (half-close), a reset on one side is one on the other, and a side that does not read
//! holds up the other rather than filling memory.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use rustix::net::{AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType, sockopt};
use stdx::{Context as _, Result};

use super::Server;
use super::poll::{Family, Side, Token};
use super::slab::{Key, Slab};
use crate::state::Protocol;

/// Connections of all containers together; two descriptors each.
const MOST: usize = 2048;
/// How many may wait to be accepted.
const BACKLOG: i32 = 512;
/// Connections that are accepted in a row, and parts that are carried: others wait too.
const ROUND: usize = 16;
/// A connection without a word for this long is asked whether it still lives (TCP keepalive).
const SILENCE: Duration = Duration::from_secs(60);

/// The listeners, and all that are being carried.
#[derive(Debug)]
pub(crate) struct Relays {
    v4: OwnedFd,
    v6: Option<OwnedFd>,
    port: u16,
    slab: Slab<Relay>,
}

/// One connection.
#[derive(Debug)]
struct Relay {
    client: End,
    container: End,
    /// The container has not taken the connection yet.
    connecting: bool,
}

/// One end of it.
#[derive(Debug)]
struct End {
    socket: OwnedFd,
    /// What is to be written here and did not fit.
    pending: Vec<u8>,
    /// It will not say more.
    silent: bool,
    /// It was told that there is no more.
    told: bool,
}

impl Relays {
    /// Listens on the same port of 127.0.0.1 and of IPv6: on the one that is written down in `path` if it is free. Beside it,
    /// the socket for datagrams on that port of IPv6.
    pub(crate) fn listen(path: &Path) -> Result<(Self, Option<OwnedFd>)> {
        let before = std::fs::read_to_string(path).ok().and_then(|t| t.trim().parse().ok());
        let mut found = None;
        // A port may be free for one family or protocol alone; then another is tried.
        for wanted in before.into_iter().chain([0; 16]) {
            if let Ok(bound) = Bound::to(wanted) {
                found = Some(bound);
                break;
            }
        }
        let Bound { v4, v6, datagrams, port } = match found {
            Some(found) => found,
            None => Bound::to(0).context(|| "find a free port")?,
        };
        let text = port.to_string();
        stdx::fs::replace(path, text.as_bytes(), 0o600, stdx::fs::Durability::Process)?;
        Ok((Self { v4, v6, port, slab: Slab::new(MOST) }, datagrams))
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn listeners(&self) -> impl Iterator<Item = (BorrowedFd<'_>, Token)> {
        let v6 = self.v6.iter().map(|fd| (fd.as_fd(), Token::Redirect(Family::V6)));
        std::iter::once((self.v4.as_fd(), Token::Redirect(Family::V4))).chain(v6)
    }
}

impl Relay {
    fn end(&self, side: Side) -> &End {
        match side {
            Side::Client => &self.client,
            Side::Container => &self.container,
        }
    }

    fn ends(&mut self, from: Side) -> (&mut End, &mut End) {
        match from {
            Side::Client => (&mut self.client, &mut self.container),
            Side::Container => (&mut self.container, &mut self.client),
        }
    }

    fn is_over(&self) -> bool {
        [&self.client, &self.container].iter().all(|end| end.silent && end.told)
    }

    /// What is waited for at one end.
    fn wanted(&self, side: Side) -> EventFlags {
        let (end, other) = (self.end(side), self.end(side.other()));
        let mut flags = EventFlags::empty();
        if self.connecting {
            flags.set(EventFlags::OUT, side == Side::Container);
            return flags;
        }
        flags.set(EventFlags::IN, !end.silent && other.pending.is_empty());
        flags.set(EventFlags::OUT, !end.pending.is_empty());
        flags
    }
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Container,
            Self::Container => Self::Client,
        }
    }
}

impl End {
    fn new(socket: OwnedFd) -> Self {
        Self { socket, pending: Vec::new(), silent: false, told: false }
    }
}

impl Server {
    pub(crate) fn accept_redirected(&mut self, family: Family) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        for _connection in 0..ROUND {
            let listener = match (family, &self.relays.v6) {
                (Family::V6, Some(v6)) => v6,
                _ => &self.relays.v4,
            };
            let Ok(socket) = rustix::net::accept_with(listener, flags) else { return };
            let to =
                meant(&socket, family).and_then(|meant| self.records.forward(Protocol::Tcp, meant));
            // One that was meant for this port itself, or for what is no more.
            let Some((_, to)) = to else { continue };
            if let Err(e) = self.relay(socket, to) {
                self.log.note(&stdx::Error::io(format!("connect to {to}"), e));
            }
        }
    }

    fn relay(&mut self, socket: OwnedFd, to: SocketAddr) -> io::Result<()> {
        let container = match connect(to) {
            Ok(container) => container,
            Err(e) => {
                reset(&socket);
                return Err(e);
            }
        };
        if let Err(e) = set_up(&socket).and_then(|()| set_up(&container)) {
            reset(&socket);
            return Err(e);
        }
        let relay =
            Relay { client: End::new(socket), container: End::new(container), connecting: true };
        let Ok(key) = self.relays.slab.insert(relay) else {
            return Err(io::Error::other("too many connections are carried"));
        };
        let Some(relay) = self.relays.slab.get(key) else { return Ok(()) };
        let added = [Side::Client, Side::Container].into_iter().try_for_each(|side| {
            let token = Token::Relay(key, side);
            self.poll.add(&relay.end(side).socket, token, relay.wanted(side))
        });
        added.inspect_err(|_| drop(self.relays.slab.remove(key)))
    }

    /// Carries what can be carried after an event at one end.
    pub(crate) fn carry(&mut self, key: Key, side: Side, flags: EventFlags) {
        let Some(relay) = self.relays.slab.get_mut(key) else { return };
        if relay.connecting && side == Side::Container {
            if !sockopt::socket_error(&relay.container.socket).is_ok_and(|error| error.is_ok()) {
                return self.break_relay(key);
            }
            relay.connecting = false;
        }
        let done = push(relay.ends(side).0)
            .and_then(|()| pull(relay, side, &mut self.scratch[..]))
            .and_then(|()| pull(relay, side.other(), &mut self.scratch[..]));
        // An end that hung up takes nothing more; what it said last has been read by now.
        let hung_up = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        let is_stuck = hung_up && !relay.connecting && relay.end(side).silent;
        if done.is_err() || (hung_up && relay.connecting) {
            return self.break_relay(key);
        }
        if relay.is_over() {
            self.relays.slab.remove(key);
            return;
        }
        if is_stuck {
            // It would be told for ever. The other end may still have to read.
            let (gone, other) = relay.ends(side);
            gone.pending.clear();
            gone.told = true;
            if other.pending.is_empty() {
                self.relays.slab.remove(key);
                return;
            }
            self.poll.remove(&relay.end(side).socket);
        }
        for side in [Side::Client, Side::Container] {
            let socket = &relay.end(side).socket;
            // One that hung up is not waited for any more.
            let _changed = self.poll.change(socket, Token::Relay(key, side), relay.wanted(side));
        }
    }

    /// An end failed: the other is told so.
    fn break_relay(&mut self, key: Key) {
        if let Some(relay) = self.relays.slab.remove(key) {
            reset(&relay.client.socket);
            reset(&relay.container.socket);
        }
    }
}

/// Writes what is pending at an end, and that there is no more if so.
fn push(end: &mut End) -> io::Result<()> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    while !end.pending.is_empty() {
        match rustix::net::send(&end.socket, &end.pending, flags) {
            Ok(sent) => drop(end.pending.drain(..sent)),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
    }
    if end.pending.capacity() > 0 {
        end.pending = Vec::new();
    }
    Ok(())
}

/// Reads at one end and writes at the other, for as long as both go and others need not wait.
fn pull(relay: &mut Relay, from: Side, scratch: &mut [u8]) -> io::Result<()> {
    if relay.connecting {
        return Ok(());
    }
    let (end, other) = relay.ends(from);
    for _part in 0..ROUND {
        if end.silent || !other.pending.is_empty() {
            break;
        }
        match rustix::io::read(&end.socket, &mut *scratch) {
            Ok(0) => end.silent = true,
            Ok(n) => {
                let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                let sent = match rustix::net::send(&other.socket, &scratch[..n], flags) {
                    Ok(sent) => sent,
                    Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => 0,
                    Err(e) => return Err(e.into()),
                };
                other.pending.extend_from_slice(&scratch[sent..n]);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => break,
            Err(e) => return Err(e.into()),
        }
    }
    if end.silent && other.pending.is_empty() && !other.told {
        other.told = true;
        // It may be gone already, which the next event tells.
        let _shut = rustix::net::shutdown(&other.socket, Shutdown::Write);
    }
    Ok(())
}

/// Where a redirected connection was meant to go.
fn meant(socket: &OwnedFd, family: Family) -> Option<SocketAddr> {
    match family {
        Family::V4 => sockopt::ip_original_dst(socket).ok().map(SocketAddr::V4),
        Family::V6 => sockopt::ipv6_original_dst(socket)
            .ok()
            .map(|a| SocketAddrV6::new(*a.ip(), a.port(), 0, 0).into()),
    }
}

/// Sockets on one port.
struct Bound {
    v4: OwnedFd,
    /// `None` on a host without IPv6: nobody comes by it.
    v6: Option<OwnedFd>,
    /// For datagrams, on IPv6.
    datagrams: Option<OwnedFd>,
    port: u16,
}

impl Bound {
    /// Binds all of them, to any port if `wanted` is 0.
    fn to(wanted: u16) -> io::Result<Self> {
        let v4 = listener(SocketAddrV4::new(Ipv4Addr::LOCALHOST, wanted).into())?;
        let address = rustix::net::getsockname(&v4)?;
        let port = SocketAddr::try_from(address).map_err(io::Error::from)?.port();
        let everywhere = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0);
        let v6 = match listener(everywhere.into()) {
            Ok(v6) => Some(v6),
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported
                ) || e.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) =>
            {
                None
            }
            Err(e) => return Err(e),
        };
        let datagrams = v6.is_some().then(|| datagrams(everywhere)).transpose()?;
        Ok(Self { v4, v6, datagrams, port })
    }
}

/// A socket for datagrams that tells where they came to.
fn datagrams(address: SocketAddrV6) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET6, SocketType::DGRAM, flags, None)?;
    sockopt::set_ipv6_v6only(&socket, true)?;
    sys::udp::tell_destinations(&socket)?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

fn listener(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = stream(address)?;
    // To be there again while connections of the one before still end.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn connect(to: SocketAddr) -> io::Result<OwnedFd> {
    let socket = stream(to)?;
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
        Err(e) => Err(e.into()),
    }
}

fn stream(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(family, SocketType::STREAM, flags, None)?)
}

fn set_up(socket: &OwnedFd) -> io::Result<()> {
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    Ok(sockopt::set_tcp_keepidle(socket, SILENCE)?)
}

/// Lets the other side see a reset rather than an end.
fn reset(socket: &OwnedFd) {
    let _set = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}
