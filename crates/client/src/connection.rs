//! One HTTP/1.1 connection: opening it, sending on it.

use crate::error::{Error, Result};
use crate::host::Host;
use crate::transport::{self, Tls, Transport, Trouble};
use bytes::Bytes;
use futures_util::Stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncWrite};

/// Pieces of a request's body that is not held in memory, such as an archive to load.
pub type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Where requests go in.
#[derive(Debug)]
pub(crate) struct Sender {
    http: http1::SendRequest<Body>,
    trouble: Trouble,
}

impl Sender {
    /// Sends, and waits for the head of the answer.
    pub(crate) async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>> {
        let answered = match self.http.ready().await {
            Ok(()) => self.http.send_request(request).await,
            Err(e) => Err(e),
        };
        // A daemon that does not take our certificate says so only after the handshake.
        answered
            .map_err(|e| self.trouble.get().map_or(Error::Http(e), |text| Error::Tls(text.clone())))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.http.is_closed()
    }
}

/// A body that is already there.
pub(crate) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// A body that comes piece by piece (chunked).
pub(crate) fn streamed(stream: ByteStream) -> Body {
    use futures_util::StreamExt as _;
    StreamBody::new(stream.map(|piece| piece.map(hyper::body::Frame::data))).boxed_unsync()
}

/// Connects to `host`; the connection runs as its own task until both sides are done with it.
pub(crate) async fn open(host: &Host, tls: Option<&Tls>) -> Result<Sender> {
    match transport::dial(host, tls).await? {
        Transport::Unix(stream) => handshake(stream, Trouble::default()).await,
        Transport::Tcp(stream) => handshake(stream, Trouble::default()).await,
        Transport::Encrypted(stream, trouble) => handshake(stream, trouble).await,
    }
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    trouble: Trouble,
) -> Result<Sender> {
    let (http, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its errors reach whoever waits for the answer through the sender.
    tokio::spawn(connection.with_upgrades());
    Ok(Sender { http, trouble })
}
