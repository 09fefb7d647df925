//! A connection that ends at a point in time, however slowly its other end speaks.

use crate::find::Address;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Reading and writing.
pub(crate) trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Connects.
pub(crate) fn connect(address: &Address, until: Instant) -> io::Result<Box<dyn Stream>> {
    match address {
        Address::Unix(path) => Ok(Box::new(Bounded { inner: unix(path, until)?, until })),
        Address::Tcp(host, tls) => {
            let inner = tcp(host, until)?;
            inner.set_nodelay(true)?;
            let plain = Bounded { inner, until };
            match tls {
                None => Ok(Box::new(plain)),
                Some(tls) => {
                    let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
                    Ok(Box::new(tls.over(name, plain)?))
                }
            }
        }
    }
}

/// The standard library's own waits without end for a server that accepts nobody and has its queue full.
fn unix(path: &Path, until: Instant) -> io::Result<UnixStream> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(left(until)?))?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
        Err(rustix::io::Errno::AGAIN) => Err(io::ErrorKind::TimedOut.into()),
        result => Ok(result.map(|()| UnixStream::from(socket))?),
    }
}

fn tcp(host: &str, until: Instant) -> io::Result<TcpStream> {
    let mut failure = io::Error::other(format!("{host} has no address"));
    for to in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&to, left(until)?) {
            Ok(stream) => return Ok(stream),
            Err(e) => failure = e,
        }
    }
    Err(failure)
}

/// What is left of the time; never nothing, which sockets take for "without end".
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Every step has the time that is left of the whole.
struct Bounded<S> {
    inner: S,
    until: Instant,
}

/// Sockets whose steps can be bounded.
trait Timeouts {
    fn bound(&self, left: Duration) -> io::Result<()>;
}

impl Timeouts for UnixStream {
    fn bound(&self, left: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(left))?;
        self.set_write_timeout(Some(left))
    }
}

impl Timeouts for TcpStream {
    fn bound(&self, left: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(left))?;
        self.set_write_timeout(Some(left))
    }
}

/// A step that came to the end of its time is told so by the kernel as one that would have to wait.
fn late(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

impl<S: Read + Timeouts> Read for Bounded<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.bound(left(self.until)?)?;
        self.inner.read(buffer).map_err(late)
    }
}

impl<S: Write + Timeouts> Write for Bounded<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.bound(left(self.until)?)?;
        self.inner.write(bytes).map_err(late)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
