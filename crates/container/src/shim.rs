//! The engine's end of the connection to a container's shim.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use stdx::{Context as _, Error, Kind, Result};
use sys::command::Child;
use task::frame;
use task::protocol::{
    Answer, Attachment, Call, Event, Failure, FailureKind, Message, Request, Session,
};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{Mutex, mpsc, oneshot};

/// No answer within this time means that the shim is stuck (stopped by somebody, or the kernel hangs).
const PATIENCE: Duration = Duration::from_secs(60);

/// The same for what takes a shim no time: a signal that ends its container, and its own end.
const LAST_PATIENCE: Duration = Duration::from_secs(10);

/// A container's supervisor, spoken to.
#[derive(Debug)]
pub struct Shim {
    stream: UnixStream,
    numbers: AtomicU64,
    /// Held while a request is written, so that frames and descriptors of two requests never mix.
    writing: Mutex<()>,
    waiting: std::sync::Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    /// The process, when this daemon started it.
    child: std::sync::Mutex<Option<Child>>,
    /// The process, when an earlier daemon started it.
    adopted: Option<Pid>,
}

impl Shim {
    /// Takes over one end of a connection. Events come out of the channel, which ends when the shim does. A shim that
    /// this daemon started (`child`) is reaped then.
    pub fn new(
        socket: OwnedFd,
        child: Option<Child>,
    ) -> Result<(Arc<Self>, mpsc::UnboundedReceiver<Event>)> {
        Self::over(socket, child, None)
    }

    fn over(
        socket: OwnedFd,
        child: Option<Child>,
        adopted: Option<Pid>,
    ) -> Result<(Arc<Self>, mpsc::UnboundedReceiver<Event>)> {
        let stream = std::os::unix::net::UnixStream::from(socket);
        let stream = stream
            .set_nonblocking(true)
            .and_then(|()| UnixStream::from_std(stream))
            .context(|| "connect to shim")?;
        let shim = Arc::new(Self {
            stream,
            numbers: AtomicU64::new(1),
            writing: Mutex::new(()),
            waiting: std::sync::Mutex::default(),
            child: std::sync::Mutex::new(child),
            adopted,
        });
        let (events, receiver) = mpsc::unbounded_channel();
        tokio::spawn(read(Arc::clone(&shim), events));
        Ok((shim, receiver))
    }

    /// Comes back to a shim that an earlier daemon started.
    pub fn reconnect(runtime_dir: &Path) -> Result<(Arc<Self>, mpsc::UnboundedReceiver<Event>)> {
        let socket = task::connect(runtime_dir)?;
        // Who listened there.
        let peer = rustix::net::sockopt::socket_peercred(&socket).map(|peer| peer.pid);
        Self::over(socket, None, peer.ok())
    }

    /// Sends a request with descriptors beside it and waits for its answer; a `Failed` becomes an error.
    pub async fn call(&self, request: Request, fds: &[BorrowedFd<'_>]) -> Result<Answer> {
        self.call_within(PATIENCE, request, fds).await
    }

    /// As [`Self::call`], for what must end: a shim that does not answer in time is killed.
    pub async fn call_at_last(&self, request: Request) -> Result<Answer> {
        let answer = self.call_within(LAST_PATIENCE, request, &[]).await;
        if answer.as_ref().is_err_and(|e| e.kind() == Kind::Timeout) {
            self.kill();
        }
        answer
    }

    async fn call_within(
        &self,
        patience: Duration,
        request: Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Answer> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.table().insert(number, sender);
        let bytes =
            frame::encode(&Call { number, request }).map_err(|e| Error::internal(e.to_string()))?;
        if let Err(e) = self.write(&bytes, fds).await {
            self.table().remove(&number);
            return Err(Error::io("send to shim", e).with_kind(Kind::Internal));
        }
        match tokio::time::timeout(patience, receiver).await {
            Ok(Ok(Answer::Failed(failure))) => Err(failed(failure)),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Error::internal("the container's shim ended unexpectedly")),
            Err(_) => {
                self.table().remove(&number);
                Err(Error::new(Kind::Timeout, "the container's shim does not answer"))
            }
        }
    }

    /// Ends a shim whose container could not be started; it takes back what it made. One that does not answer is killed.
    pub async fn abandon(&self) {
        let _gone = self.call_at_last(Request::Shutdown).await;
    }

    /// Kills the process; the end of its events follows, and whoever waits for an answer gets an error.
    fn kill(&self) {
        let mut child = self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(child) = child.as_mut() {
            let _ended = child.kill();
        } else if let Some(peer) = &self.adopted {
            // It does not answer, but it holds the connection: the number is still its.
            let _ended = kill_process(*peer, Signal::KILL);
        }
    }

    /// Gives one more client the streams of `session`; the returned socket is the daemon's end.
    pub async fn attach(&self, session: Session, streams: Attachment) -> Result<UnixStream> {
        let (ours, theirs) = socket_pair()?;
        self.call(Request::Attach { session, streams }, &[theirs.as_fd()]).await?;
        Ok(ours)
    }

    /// How many requests wait for an answer.
    pub fn waiting(&self) -> usize {
        self.table().len()
    }

    async fn write(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let _turn = self.writing.lock().await;
        let (mut rest, mut fds) = (bytes, fds);
        while !rest.is_empty() {
            self.stream.writable().await?;
            match self
                .stream
                .try_io(Interest::WRITABLE, || sys::scm::send_with_fds(&self.stream, rest, fds))
            {
                Ok(sent) => {
                    rest = &rest[sent..];
                    fds = &[];
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A socket pair for an attachment: the daemon's end for tokio, the shim's end to be sent.
pub fn socket_pair() -> Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) =
        std::os::unix::net::UnixStream::pair().context(|| "create a socket pair")?;
    ours.set_nonblocking(true).context(|| "create a socket pair")?;
    theirs.set_nonblocking(true).context(|| "create a socket pair")?;
    let ours = UnixStream::from_std(ours).context(|| "create a socket pair")?;
    Ok((ours, OwnedFd::from(theirs)))
}

/// Whether nobody holds the other end of a socket pair any more.
pub(crate) fn hung_up(socket: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut fds = [PollFd::new(socket, PollFlags::empty())];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
}

/// Reads until the shim ends or says nonsense.
async fn read(shim: Arc<Shim>, events: mpsc::UnboundedSender<Event>) {
    let mut decoder = frame::Decoder::new();
    let mut buffer = vec![0; 8 << 10];
    'connection: loop {
        if shim.stream.readable().await.is_err() {
            break;
        }
        match shim.stream.try_read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => decoder.push(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => break,
        }
        loop {
            match decoder.take::<Message>() {
                Ok(Some(Message::Answer { number, answer })) => {
                    if let Some(sender) = shim.table().remove(&number) {
                        // Whoever asked may have given up; then nobody wants the answer.
                        let _unwanted = sender.send(answer);
                    }
                }
                Ok(Some(Message::Event(event))) => {
                    if events.send(event).is_err() {
                        break 'connection;
                    }
                }
                Ok(None) => break,
                Err(e) => {
                    tracing::error!("shim: {e}");
                    break 'connection;
                }
            }
        }
    }
    shim.table().clear();
    drop(events);
    let child = shim.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    if let Some(mut child) = child {
        // It has closed its socket, so it is ending: this waits for microseconds.
        let _status = tokio::task::spawn_blocking(move || child.wait()).await;
    }
}

/// A shim's failure as an error. The texts of programs that cannot be run are completed to Docker's, by which clients
/// choose the exit codes 126 and 127.
fn failed(failure: Failure) -> Error {
    match failure.kind {
        FailureKind::ProgramNotFound | FailureKind::ProgramNotExecutable => {
            Error::invalid(format!(
                "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create \
             failed: unable to start container process: {}: unknown",
                failure.message
            ))
        }
        FailureKind::Invalid => Error::invalid(failure.message),
        FailureKind::NotFound => Error::not_found(failure.message),
        FailureKind::Conflict => Error::conflict(failure.message),
        FailureKind::NoSpace => Error::new(Kind::NoSpace, failure.message),
        FailureKind::Internal => Error::internal(failure.message),
    }
}

/// Docker's exit code for a container that could not be started: 127 not found, 126 not executable, 128 otherwise.
pub fn exit_code_of(error: &Error) -> i32 {
    // Other runtimes than runc begin the kernel's words with a capital.
    let text = error.message().to_lowercase();
    if text.contains("executable file not found") || text.contains("no such file or directory") {
        127
    } else if text.contains("permission denied") || text.contains("is a directory") {
        126
    } else {
        128
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_only_has_no_more_input_has_not_hung_up() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let theirs = OwnedFd::from(theirs);
        assert!(!hung_up(&theirs));
        io::Write::write_all(&mut (&ours), b"input").unwrap();
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(!hung_up(&theirs));
        drop(ours);
        assert!(hung_up(&theirs));
    }
}
