//! One client connection, from its first byte to its last.
//!
//! hyper reads requests and writes answers. Two things it cannot do are done around it:
//!
//! * **Taking over.** After `attach` and `exec start` the connection carries raw bytes, and a client that did not ask for
//!   an upgrade gets `200 OK` before them, which hyper would never let go of. So a handler answers
//!   [`Outcome::TakeOver`]; hyper's future is then left waiting, the connection is taken apart (with the bytes that
//!   hyper had read already), and the handler's closure writes its own head.
//! * **Noticing that the client has gone.** Half-closed clients are served (`stdin` ended, the answer is still wanted),
//!   so hyper may not treat the end of its input as a hang-up, and it does not look further. [`Socket::hung_up`] does.
//!   A handler that has begun runs to its end all the same: half a `create` helps nobody. What stops is the answer, and
//!   with it every stream that was producing it.

use super::body::Body;
use super::socket::{Served, Socket};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use std::fmt;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// How long is waited for slow clients (slowloris). Later than its first request a connection may be idle for ever, since
/// clients keep theirs for hours.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// For a request's head, from its first byte on.
    head: Duration,
    /// For the first request.
    silence: Duration,
}

/// The second is dockerd's.
const PATIENCE: Patience =
    Patience { head: Duration::from_secs(10), silence: Duration::from_secs(300) };
/// How large a head may be: `X-Registry-Config` of a build alone can pass 16 KiB.
const HEAD_LIMIT: usize = 256 * 1024;
/// From so many bytes on, request and answer together, memory is given back afterwards.
const LARGE: usize = 1 << 20;
/// How many header fields a request may have.
const HEADERS_LIMIT: usize = 128;

/// A future on the heap.
pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a handler wants done.
pub(crate) enum Outcome {
    /// Send this.
    Respond(Response<Body>),
    /// Give it the connection.
    TakeOver(TakeOver),
}

/// What is done with a connection that was taken over; it is closed when the future ends.
pub(crate) struct TakeOver(Box<dyn FnOnce(Raw) -> Boxed<()> + Send>);

impl TakeOver {
    pub(crate) fn new<F: Future<Output = ()> + Send + 'static>(
        run: impl FnOnce(Raw) -> F + Send + 'static,
    ) -> Self {
        Self(Box::new(|raw| Box::pin(run(raw))))
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Respond(response) => f.debug_tuple("Respond").field(response).finish(),
            Self::TakeOver(_) => f.write_str("TakeOver"),
        }
    }
}

/// A connection without hyper.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) socket: Arc<Socket>,
    /// What the client sent after its request and hyper has read already.
    pub(crate) early: Bytes,
}

/// Whose turn it is on a connection, for those who must know beside hyper.
#[derive(Debug)]
pub(crate) struct Turn {
    /// Counts requests.
    number: AtomicU32,
    /// A request was read and is not answered completely.
    busy: AtomicBool,
    /// Its answer comes in pieces, perhaps without an end.
    streaming: AtomicBool,
    /// Bytes that came and went in this turn.
    moved: AtomicUsize,
    /// Since when it is idle.
    since: Mutex<Instant>,
    /// Its place is needed for somebody else.
    leave: Notify,
}

impl Default for Turn {
    fn default() -> Self {
        Self {
            number: AtomicU32::default(),
            busy: AtomicBool::default(),
            streaming: AtomicBool::default(),
            moved: AtomicUsize::default(),
            since: Mutex::new(Instant::now()),
            leave: Notify::new(),
        }
    }
}

impl Turn {
    pub(crate) fn number(&self) -> u32 {
        self.number.load(Ordering::Relaxed)
    }

    pub(crate) fn busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// Since when nothing is asked on it; `None` while something is.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        (!self.busy()).then_some(since)
    }

    /// Closes the connection as soon as nothing is asked on it.
    pub(crate) fn ask_to_leave(&self) {
        self.leave.notify_one();
    }

    /// Returns when it has been asked to leave.
    pub(crate) async fn asked_to_leave(&self) {
        self.leave.notified().await;
    }

    /// So many bytes came or went.
    pub(crate) fn count(&self, bytes: usize) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn begin(&self) {
        self.number.fetch_add(1, Ordering::Relaxed);
        self.busy.store(true, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.streaming.store(false, Ordering::Relaxed);
        self.busy.store(false, Ordering::Relaxed);
        if self.moved.swap(0, Ordering::Relaxed) > LARGE {
            give_memory_back();
        }
    }
}

/// What was taken for something large lies free in the allocator, which would keep it. Elsewhere: it takes milliseconds.
pub(super) fn give_memory_back() {
    static RUNNING: AtomicBool = AtomicBool::new(false);
    // None while the daemon ends.
    if let Ok(runtime) = tokio::runtime::Handle::try_current()
        && !RUNNING.swap(true, Ordering::Relaxed)
    {
        runtime.spawn_blocking(|| {
            RUNNING.store(false, Ordering::Relaxed);
            sys::memory::trim();
        });
    }
}

/// Marks requests of connections that anybody could have made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Open;

/// Who answers requests.
pub(crate) trait Service: Send + Sync + 'static {
    /// Answers one. Dropped only when the daemon ends; panics become an answer with 500.
    fn call(self: Arc<Self>, request: Request<Incoming>) -> Boxed<Outcome>;

    /// What a client is told when `call` panicked.
    fn panicked(&self) -> Response<Body>;
}

/// Serves one connection until it ends, or, once `stop` turns true or `turn` is asked to leave, until its current request
/// is answered.
pub(crate) async fn serve(
    socket: Socket,
    service: Arc<dyn Service>,
    stop: watch::Receiver<bool>,
    turn: Arc<Turn>,
) {
    serve_with(socket, service, stop, turn, PATIENCE).await;
}

async fn serve_with(
    socket: Socket,
    service: Arc<dyn Service>,
    mut stop: watch::Receiver<bool>,
    turn: Arc<Turn>,
    patience: Patience,
) {
    let socket = Arc::new(socket);
    let slot: Arc<Mutex<Option<TakeOver>>> = Arc::default();
    let io = TokioIo::new(Served::new(Arc::clone(&socket), Arc::clone(&turn), patience.head));

    let mut connection = {
        let (turn, slot) = (Arc::clone(&turn), Arc::clone(&slot));
        let open = socket.is_open();
        let answer = move |mut request: Request<Incoming>| -> Boxed<io::Result<Response<Tracked>>> {
            turn.begin();
            if open {
                request.extensions_mut().insert(Open);
            }
            Box::pin(answer(Arc::clone(&service), request, Arc::clone(&turn), Arc::clone(&slot)))
        };
        http1::Builder::new()
            .half_close(true)
            .header_read_timeout(None)
            .max_buf_size(HEAD_LIMIT)
            .max_header_size(HEAD_LIMIT)
            .max_headers(HEADERS_LIMIT)
            .title_case_headers(true)
            .serve_connection(io, hyper::service::service_fn(answer))
    };

    let mut gone = pin!(gone(&socket, &turn));
    let mut later = stop.clone();
    // An error says that the server itself is gone, which is a stop, too.
    let mut stopping = pin!(async move { drop(stop.wait_for(|stop| *stop).await) });
    let mut leaving = pin!(turn.asked_to_leave());
    let mut silence = pin!(tokio::time::sleep(patience.silence));
    let (mut told, mut asked) = (false, false);
    let taken = poll_fn(|cx| {
        if !asked && leaving.as_mut().poll(cx).is_ready() {
            asked = true;
            // hyper would wait for the end of a head that may never come.
            if !turn.busy() {
                return Poll::Ready(None);
            }
            Pin::new(&mut connection).graceful_shutdown();
        }
        if !told && stopping.as_mut().poll(cx).is_ready() {
            told = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        if let Poll::Ready(result) = connection.poll_without_shutdown(cx) {
            if let Err(error) = result {
                tracing::debug!(%error, "connection ended");
            }
            return Poll::Ready(None);
        }
        if let Some(run) = slot.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Poll::Ready(Some(run));
        }
        if turn.number() == 0 && silence.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        // Answers without an end have no right to an end of their own.
        if told && turn.streaming.load(Ordering::Relaxed) {
            return Poll::Ready(None);
        }
        if turn.busy() && gone.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        Poll::Pending
    })
    .await;

    if let Some(TakeOver(run)) = taken {
        let early = connection.into_parts().read_buf;
        // No attached client keeps the server from stopping: the container lives on without.
        tokio::select! {
            () = run(Raw { socket: Arc::clone(&socket), early }) => {}
            _ = later.wait_for(|stop| *stop) => {}
        }
    }
    socket.shutdown(rustix::net::Shutdown::Both);
}

/// Waits until nobody will read the answer. On TCP a closed writing end already counts when the answer may have no end,
/// since nothing else would tell (so does Go's server).
async fn gone(socket: &Socket, turn: &Turn) {
    socket.read_closed().await;
    while !(socket.is_hung_up() || socket.is_tcp() && turn.streaming.load(Ordering::Relaxed)) {
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

async fn answer(
    service: Arc<dyn Service>,
    request: Request<Incoming>,
    turn: Arc<Turn>,
    slot: Arc<Mutex<Option<TakeOver>>>,
) -> io::Result<Response<Tracked>> {
    let mut call = AssertUnwindSafe(Arc::clone(&service).call(request)).catch_unwind();
    // Most requests are answered at the first poll. The others get a task of their own, so that a client that goes away
    // does not stop them half-way.
    let outcome = match poll_fn(|cx| Poll::Ready(Pin::new(&mut call).poll(cx))).await {
        Poll::Ready(outcome) => outcome.ok(),
        Poll::Pending => tokio::spawn(call).await.ok().and_then(Result::ok),
    };
    match outcome {
        Some(Outcome::Respond(response)) => {
            turn.streaming.store(matches!(response.body(), Body::Pieces(_)), Ordering::Relaxed);
            Ok(response.map(|body| Tracked { body, turn }))
        }
        Some(Outcome::TakeOver(run)) => {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
            pending().await
        }
        None => Ok(service.panicked().map(|body| Tracked { body, turn })),
    }
}

/// A body that ends its turn when hyper is done with it.
#[derive(Debug)]
pub(crate) struct Tracked {
    body: Body,
    turn: Arc<Turn>,
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.turn.end();
    }
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
