//! A client's connection: one type for both families, usable from several places at once.
//!
//! hyper owns the reading end while it serves, and still somebody must notice that the client has gone (hyper does not
//! look while a handler works, see `conn`). Hence every method takes `&self`: tokio keeps a waker for each direction, and
//! [`Socket::read_closed`] waits beside them.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
    /// The decrypted end of a connection with TLS.
    Tls(UnixStream),
}

macro_rules! both {
    ($socket:expr, $stream:ident => $body:expr) => {
        match $socket {
            Self::Unix($stream) | Self::Tls($stream) => $body,
            Self::Tcp($stream) => $body,
        }
    };
}

impl Socket {
    /// Whether the client is beyond a network, where only a closed writing end tells that it has gone.
    pub(crate) fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp(_) | Self::Tls(_))
    }

    /// Whether anybody who can connect is listened to, browsers of this machine included.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    /// Reads what there is into `buffer`; 0 at the end.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            both!(self, stream => stream.readable().await?);
            match both!(self, stream => stream.try_read(buffer)) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    /// Writes all of `bytes`.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match both!(self, stream => stream.try_write(bytes)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    both!(self, stream => stream.writable().await?);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Closes one or both directions. That the client did so first is no error.
    pub(crate) fn shutdown(&self, how: rustix::net::Shutdown) {
        let _already = both!(self, stream => rustix::net::shutdown(stream, how));
    }

    /// Waits until the client has closed its writing end or the whole connection, whether or not unread data is left.
    pub(crate) async fn read_closed(&self) {
        // PRIORITY is the one interest that tokio answers on a read hang-up but not on data (there is no urgent data
        // here). An error means that the reactor is gone, and with it everything else.
        let _reason = both!(self, stream => stream.ready(Interest::PRIORITY).await);
    }

    /// Whether the whole connection is gone. Always known on a Unix socket; on TCP only once a reset came.
    pub(crate) fn is_hung_up(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let gone = |fd: &mut PollFd<'_>| {
            poll(std::slice::from_mut(fd), Some(&none)).is_ok()
                && fd.revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
        };
        both!(self, stream => gone(&mut PollFd::new(stream, PollFlags::empty())))
    }

    /// Waits until nobody is at the other end; a closed writing end alone does not count.
    pub(crate) async fn hung_up(&self) {
        self.read_closed().await;
        // After a half-close the kernel's next edge is lost on tokio, which never forgets a closed direction.
        while !self.is_hung_up() {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(both!(self, stream => stream.poll_read_ready(cx)))?;
            match both!(self, stream => stream.try_read(buffer.initialize_unfilled())) {
                Ok(n) => {
                    buffer.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }

    fn poll_write_with(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&Self) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(both!(self, stream => stream.poll_write_ready(cx)))?;
            match write(self) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |socket| match socket {
            Self::Unix(stream) | Self::Tls(stream) => stream.try_write(bytes),
            Self::Tcp(stream) => stream.try_write(bytes),
        })
    }

    pub(crate) fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |socket| match socket {
            Self::Unix(stream) | Self::Tls(stream) => stream.try_write_vectored(bytes),
            Self::Tcp(stream) => stream.try_write_vectored(bytes),
        })
    }
}

/// hyper's end of a connection: reads with a deadline for request heads.
#[derive(Debug)]
pub(crate) struct Served {
    socket: std::sync::Arc<Socket>,
    turn: std::sync::Arc<super::conn::Turn>,
    /// The turn whose head began to arrive, and when it must be there.
    head: Option<(u32, tokio::time::Instant)>,
    alarm: Option<Pin<Box<tokio::time::Sleep>>>,
    patience: Duration,
    /// What was read, and must be given to hyper otherwise than it came.
    rewritten: bytes::Bytes,
}

impl Served {
    pub(crate) fn new(
        socket: std::sync::Arc<Socket>,
        turn: std::sync::Arc<super::conn::Turn>,
        patience: Duration,
    ) -> Self {
        Self { socket, turn, head: None, alarm: None, patience, rewritten: bytes::Bytes::new() }
    }

    fn counted(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.turn.count(bytes);
        }
        written
    }

    fn give_rewritten(&mut self, buffer: &mut ReadBuf<'_>) {
        let n = buffer.remaining().min(self.rewritten.len());
        buffer.put_slice(&self.rewritten.split_to(n));
    }

    /// Whether a head that began to arrive is late. An idle connection has no deadline: clients keep theirs for hours,
    /// and closing one just as it sends the next request looks like a failure to it.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((turn, until)) = self.head else { return Poll::Pending };
        if self.turn.busy() || self.turn.number() != turn {
            (self.head, self.alarm) = (None, None);
            return Poll::Pending;
        }
        self.alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)))
            .as_mut()
            .poll(cx)
    }
}

impl AsyncRead for Served {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.rewritten.is_empty() {
            self.give_rewritten(buffer);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        match self.socket.poll_read(cx, buffer) {
            Poll::Pending => match self.poll_late(cx) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => Poll::Pending,
            },
            Poll::Ready(result) => {
                self.turn.count(buffer.filled().len() - before);
                let number = self.turn.number();
                if buffer.filled().len() > before
                    && !self.turn.busy()
                    && self.head.is_none_or(|(turn, _)| turn != number)
                {
                    self.alarm = None;
                    self.head = Some((number, tokio::time::Instant::now() + self.patience));
                    if let Some(rewritten) = quoted_request_line(&buffer.filled()[before..]) {
                        self.rewritten = rewritten.into();
                        buffer.set_filled(before);
                        self.give_rewritten(buffer);
                    }
                }
                Poll::Ready(result)
            }
        }
    }
}

/// The beginning of a request with the characters encoded that do not belong into a request line, and that people type
/// (`curl -g '…?filters={"name":["x"]}'`). Go's server takes them; hyper would refuse the request. `None`: there are none.
fn quoted_request_line(bytes: &[u8]) -> Option<Vec<u8>> {
    let line = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
    let stray = |b: &u8| matches!(b, b'"' | b'<' | b'>');
    if !bytes[..line].iter().any(stray) {
        return None;
    }
    let mut out = Vec::with_capacity(bytes.len() + 64);
    for byte in &bytes[..line] {
        if stray(byte) {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            out.push(*byte);
        }
    }
    out.extend_from_slice(&bytes[line..]);
    Some(out)
}

impl AsyncWrite for Served {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.counted(self.socket.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.counted(self.socket.poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.shutdown(rustix::net::Shutdown::Write);
        Poll::Ready(Ok(()))
    }
}
