//! A connection that stopped being HTTP: the container's stdin one way, its output the other.

use crate::error::{Error, Result};
use bytes::{Buf as _, Bytes};
use http::{Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::io;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream, tcp, unix};

/// A stream both ways with the daemon.
#[derive(Debug)]
pub struct Hijacked {
    stream: Duplex,
    /// What came behind the head of the answer.
    early: Bytes,
    multiplexed: bool,
}

#[derive(Debug)]
enum Duplex {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// The container's output.
#[derive(Debug)]
pub struct ReadHalf {
    early: Bytes,
    stream: Reader,
}

#[derive(Debug)]
enum Reader {
    Unix(unix::OwnedReadHalf),
    Tcp(tcp::OwnedReadHalf),
}

/// The container's input.
#[derive(Debug)]
pub struct WriteHalf(Writer);

#[derive(Debug)]
enum Writer {
    Unix(unix::OwnedWriteHalf),
    Tcp(tcp::OwnedWriteHalf),
}

impl Hijacked {
    pub(crate) async fn from_answer(response: Response<Incoming>) -> Result<Self> {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status = response.status().as_u16();
            let _body = response.into_body().collect().await;
            let message = format!("unable to upgrade to tcp, received {status}");
            return Err(Error::Answer { what: "attach", message });
        }
        let content_type =
            response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let multiplexed = content_type == Some("application/vnd.docker.multiplexed-stream");
        let upgraded = hyper::upgrade::on(response).await?;
        let (stream, early) = match upgraded.downcast::<TokioIo<UnixStream>>() {
            Ok(parts) => (Duplex::Unix(parts.io.into_inner()), parts.read_buf),
            Err(upgraded) => match upgraded.downcast::<TokioIo<TcpStream>>() {
                Ok(parts) => (Duplex::Tcp(parts.io.into_inner()), parts.read_buf),
                Err(_) => {
                    return Err(Error::Answer {
                        what: "attach",
                        message: "unknown transport".into(),
                    });
                }
            },
        };
        Ok(Self { stream, early, multiplexed })
    }

    /// Whether the daemon said that output comes in [`stdcopy`](crate::stdcopy) frames; it does since 1.42.
    pub fn multiplexed(&self) -> bool {
        self.multiplexed
    }

    /// Its two directions.
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        match self.stream {
            Duplex::Unix(stream) => {
                let (read, write) = stream.into_split();
                (
                    ReadHalf { early: self.early, stream: Reader::Unix(read) },
                    WriteHalf(Writer::Unix(write)),
                )
            }
            Duplex::Tcp(stream) => {
                let (read, write) = stream.into_split();
                (
                    ReadHalf { early: self.early, stream: Reader::Tcp(read) },
                    WriteHalf(Writer::Tcp(write)),
                )
            }
        }
    }
}

impl ReadHalf {
    /// Reads into `buffer`; 0 at the end. Cancel-safe.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.early.has_remaining() {
            let count = self.early.len().min(buffer.len());
            self.early.copy_to_slice(&mut buffer[..count]);
            return Ok(count);
        }
        let read = match &mut self.stream {
            Reader::Unix(stream) => stream.read(buffer).await,
            Reader::Tcp(stream) => stream.read(buffer).await,
        };
        match read {
            // The daemon drops the connection of a client that it has nothing more to say to.
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Ok(0),
            other => other,
        }
    }
}

impl WriteHalf {
    /// Writes all of `bytes`.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Writer::Unix(stream) => stream.write_all(bytes).await,
            Writer::Tcp(stream) => stream.write_all(bytes).await,
        }
    }

    /// Tells the container that its input has ended; its output still comes.
    pub async fn close(&mut self) -> io::Result<()> {
        let closed = match &mut self.0 {
            Writer::Unix(stream) => stream.shutdown().await,
            Writer::Tcp(stream) => stream.shutdown().await,
        };
        match closed {
            Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(()),
            other => other,
        }
    }
}
