//! A connection that ends at a point in time, however slowly its other end speaks.

use crate::find::Address;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
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
    for to in addresses(host, until)? {
        match TcpStream::connect_timeout(&to, left(until)?) {
            Ok(stream) => return Ok(stream),
            Err(e) => failure = e,
        }
    }
    Err(failure)
}

/// The addresses of `NAME:PORT`. The system's resolver waits as long as it likes for servers that are silent, so a name is
/// left to a thread that may come too late; it ends when the resolver gives up.
fn addresses(host: &str, until: Instant) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let name = host.to_owned();
    bounded(until, move || Ok(name.to_socket_addrs()?.collect()))
}

/// What `work` answers, if it does in time.
fn bounded<T: Send + 'static>(
    until: Instant,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (answer, answered) = channel();
    let work = move || {
        // Nobody listens any more when it is too late.
        let _in_time = answer.send(work());
    };
    std::thread::Builder::new().name("plugin-name".into()).stack_size(256 << 10).spawn(work)?;
    match answered.recv_timeout(left(until)?) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => Err(io::ErrorKind::TimedOut.into()),
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the resolver panicked")),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_and_a_silent_resolver_is_not_waited_for() {
        let soon = || Instant::now() + Duration::from_secs(10);
        assert_eq!(addresses("[::1]:80", soon()).unwrap(), ["[::1]:80".parse().unwrap()]);
        let local = addresses("localhost:80", soon()).unwrap();
        assert!(local.iter().all(|address| address.ip().is_loopback()) && !local.is_empty());
        assert!(addresses("no port", soon()).is_err());
        let (_never, silent) = channel::<()>();
        let begun = Instant::now();
        let late = bounded(begun + Duration::from_millis(50), move || {
            silent.recv().map_err(io::Error::other)
        });
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}
