//! Connections to where logs go: TCP, TLS, UDP and UNIX sockets, blocking and with time limits.
//!
//! For threads that ship logs: nobody waits for them, but none may wait for ever either, so every step has a bound.

#![forbid(unsafe_code)]

mod tls;

pub use tls::{Stream as TlsStream, Tls};

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use stdx::{Context as _, Result};

/// How long a connection, a write or an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where to connect to.
#[derive(Debug, Clone)]
pub enum Address {
    /// `host:port`
    Tcp(String),
    /// `host:port`, with TLS above it.
    Tls(String, Tls),
    /// `host:port`; every write is a datagram.
    Udp(String),
    /// A stream socket's path.
    Unix(PathBuf),
    /// A datagram socket's path.
    UnixDatagram(PathBuf),
}

/// A connection.
#[derive(Debug)]
pub enum Connection {
    /// TCP.
    Tcp(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream>),
    /// Datagrams.
    Udp(UdpSocket, std::net::SocketAddr),
    /// A stream socket.
    Unix(UnixStream),
    /// Datagrams.
    UnixDatagram(UnixDatagram),
}

impl Address {
    /// Connects.
    pub fn connect(&self) -> io::Result<Connection> {
        match self {
            Self::Tcp(address) => Ok(Connection::Tcp(tcp(address)?)),
            Self::Tls(address, tls) => {
                Ok(Connection::Tls(Box::new(tls.connect(address, tcp(address)?)?)))
            }
            Self::Udp(address) => {
                let to = address
                    .to_socket_addrs()?
                    .next()
                    .ok_or_else(|| io::Error::other(format!("{address} has no address")))?;
                let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                // Not connected: that nobody listens is no error of a datagram.
                Ok(Connection::Udp(UdpSocket::bind(any)?, to))
            }
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Ok(Connection::Unix(stream))
            }
            Self::UnixDatagram(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(PATIENCE))?;
                Ok(Connection::UnixDatagram(socket))
            }
        }
    }

    /// As errors name it.
    pub fn text(&self) -> String {
        match self {
            Self::Tcp(a) => format!("tcp {a}"),
            Self::Tls(a, _) => format!("tls {a}"),
            Self::Udp(a) => format!("udp {a}"),
            Self::Unix(p) => format!("unix {}", p.display()),
            Self::UnixDatagram(p) => format!("unixgram {}", p.display()),
        }
    }
}

impl Connection {
    /// Writes all of `bytes`; on datagram sockets as one datagram.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes),
            Self::Udp(socket, to) => socket.send_to(bytes, *to).map(drop),
            Self::Unix(stream) => stream.write_all(bytes),
            Self::UnixDatagram(socket) => socket.send(bytes).map(drop),
        }
    }

    /// Reads what has come; 0 is the end.
    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Udp(socket, _) => socket.recv(buffer),
            Self::UnixDatagram(socket) => socket.recv(buffer),
        }
    }

    /// Whether the other end of a stream has hung up. Without this, the first write after a server's restart is lost:
    /// it succeeds, and only then comes the reset.
    pub fn is_closed(&self) -> bool {
        let peek = |stream: &TcpStream| {
            let mut byte = [0];
            let silent = stream.set_nonblocking(true).is_ok()
                && matches!(stream.peek(&mut byte), Err(e) if e.kind() == io::ErrorKind::WouldBlock);
            let spoken = !silent && matches!(stream.peek(&mut byte), Ok(1));
            let _blocking = stream.set_nonblocking(false);
            !silent && !spoken
        };
        match self {
            Self::Tcp(stream) => peek(stream),
            Self::Tls(stream) => peek(&stream.sock),
            _ => false,
        }
    }
}

/// A connection that is made when it is needed, and made anew when it broke.
#[derive(Debug)]
pub struct Remote {
    address: Address,
    connection: Option<Connection>,
}

impl Remote {
    /// To `address`; connects to nobody yet.
    pub fn new(address: Address) -> Self {
        Self { address, connection: None }
    }

    /// Sends all of `bytes`. After an error nobody knows how much has arrived.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let result = self.connection().and_then(|connection| connection.send(bytes));
        self.settle(result)
    }

    /// Reads what has come; the end is an error.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let result = self.connection().and_then(|connection| match connection.receive(buffer) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            other => other,
        });
        self.settle(result)
    }

    /// Makes the next use connect anew.
    pub fn hang_up(&mut self) {
        self.connection = None;
    }

    fn connection(&mut self) -> io::Result<&mut Connection> {
        if self.connection.as_ref().is_some_and(Connection::is_closed) {
            self.connection = None;
        }
        match &mut self.connection {
            Some(connection) => Ok(connection),
            none => Ok(none.insert(self.address.connect()?)),
        }
    }

    fn settle<T>(&mut self, result: io::Result<T>) -> Result<T> {
        result.context(|| {
            self.connection = None;
            self.address.text()
        })
    }
}

fn tcp(address: &str) -> io::Result<TcpStream> {
    let mut failure = io::Error::other(format!("{address} has no address"));
    for to in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&to, PATIENCE) {
            Ok(stream) => {
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(e) => failure = e,
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_hung_up_is_noticed_before_the_next_write() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap().to_string());
        let mut connection = address.connect().unwrap();
        let (server, _) = listener.accept().unwrap();
        connection.send(b"hi").unwrap();
        assert!(!connection.is_closed());
        drop(server);
        let mut byte = [0];
        assert!(!matches!(connection.receive(&mut byte), Ok(1)));
        assert!(connection.is_closed());
    }

    #[test]
    fn a_datagram_to_nobody_is_no_error() {
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut connection = Address::Udp(nobody.to_string()).connect().unwrap();
        for _ in 0..3 {
            connection.send(b"hi").unwrap();
        }
        assert!(Address::Unix("/no/such".into()).connect().is_err());
    }
}
