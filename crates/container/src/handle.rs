//! One container, for everyone but its driver: requests go in, what the driver publishes comes out.

use crate::driver::Driver;
use crate::limits::Update;
use crate::services::Services;
use crate::shim;
use crate::state::{Endpoints, Phase, Published};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use stdx::{Error, Result};
use store::records::container::{ContainerRecord, EndpointWishes};
use task::protocol::{Attachment, Exec, Session, TerminalSize};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};

/// One container, for everyone but its driver.
#[derive(Debug, Clone)]
pub struct Container {
    requests: mpsc::UnboundedSender<Asked>,
    published: watch::Receiver<Published>,
    files: Arc<tokio::sync::Mutex<()>>,
}

/// How to stop.
#[derive(Debug, Clone, Default)]
pub struct StopRequest {
    /// Instead of the container's own stop signal.
    pub signal: Option<i32>,
    /// Seconds until SIGKILL, negative: never; `None`: the container's own.
    pub timeout: Option<i64>,
}

/// Which signal to send.
#[derive(Debug, Clone, Copy)]
pub struct KillRequest {
    /// Its number.
    pub signal: i32,
}

/// How to remove.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveRequest {
    /// Even if it runs.
    pub force: bool,
    /// With its anonymous volumes.
    pub volumes: bool,
}

pub(crate) type Reply<T = ()> = oneshot::Sender<Result<T>>;

#[derive(Debug)]
pub(crate) enum Request {
    Start(Reply),
    Stop(StopRequest, Reply),
    Restart(StopRequest, Reply),
    Kill(KillRequest, Reply),
    Pause(Reply),
    Unpause(Reply),
    Rename(String, Reply<String>),
    Remove(RemoveRequest, Reply),
    Update(Box<Update>, Reply),
    Connect(String, Box<EndpointWishes>, Reply),
    Disconnect(String, Reply),
    RefreshLinks,
    Unlink(String, Reply),
    Halt(Reply),
    LetGo(Reply),
    Attach(Attachment, OwnedFd, Reply),
    Exec(Box<Exec>, Vec<OwnedFd>, Reply<i32>),
    Resize(Session, TerminalSize, Reply),
    Nothing(Reply),
}

/// A request and the span in which it was asked.
pub(crate) type Asked = (Request, tracing::Span);

impl Container {
    /// A new container, or one that the store knows; `recover`: look for what an earlier daemon left of it first.
    pub fn spawn(services: Arc<Services>, record: Arc<ContainerRecord>, recover: bool) -> Self {
        let phase = if record.last.finished.is_zero() { Phase::Created } else { Phase::Exited };
        let first =
            Published { record, phase, exits: 0, endpoints: Endpoints::new(), health: None };
        let (publisher, published) = watch::channel(first.clone());
        let (requests, receiver) = mpsc::unbounded_channel();
        let files = Arc::new(tokio::sync::Mutex::new(()));
        let driver = Driver::new(services, Arc::clone(&files), first, publisher, receiver);
        tokio::spawn(driver.run(recover));
        Self { requests, published, files }
    }

    /// Held by whoever writes to the root file system of the container while it does not run; no start comes between.
    pub fn files(&self) -> &Arc<tokio::sync::Mutex<()>> {
        &self.files
    }

    /// What the driver last published.
    pub fn now(&self) -> Published {
        self.published.borrow().clone()
    }

    /// Calls `tell` with what the driver last published, unless the container is being removed or gone; it cannot begin
    /// to go before `tell` is done. `tell` must not wait for anything.
    pub fn while_there(&self, tell: impl FnOnce(&Published)) {
        let now = self.published.borrow();
        if !matches!(now.phase, Phase::Removing | Phase::Gone) {
            tell(&now);
        }
    }

    /// Follows what the driver publishes.
    pub fn follow(&self) -> watch::Receiver<Published> {
        self.published.clone()
    }

    /// Runs it. [`Kind::NotModified`] when it does already.
    pub async fn start(&self) -> Result<()> {
        self.ask(Request::Start).await
    }

    /// Ends it and waits for its end. [`Kind::NotModified`] when it does not run.
    pub async fn stop(&self, stop: StopRequest) -> Result<()> {
        self.ask(|reply| Request::Stop(stop, reply)).await
    }

    /// Ends it if it runs, and runs it.
    pub async fn restart(&self, stop: StopRequest) -> Result<()> {
        self.ask(|reply| Request::Restart(stop, reply)).await
    }

    /// Sends a signal to its first process; after SIGKILL its end is waited for.
    pub async fn kill(&self, kill: KillRequest) -> Result<()> {
        self.ask(|reply| Request::Kill(kill, reply)).await
    }

    /// Freezes it.
    pub async fn pause(&self) -> Result<()> {
        self.ask(Request::Pause).await
    }

    /// Thaws it.
    pub async fn unpause(&self) -> Result<()> {
        self.ask(Request::Unpause).await
    }

    /// Gives it a name, which the caller has reserved; the name that it had.
    pub async fn rename(&self, name: String) -> Result<String> {
        self.ask(|reply| Request::Rename(name, reply)).await
    }

    /// Removes it.
    pub async fn remove(&self, remove: RemoveRequest) -> Result<()> {
        self.ask(|reply| Request::Remove(remove, reply)).await
    }

    /// Changes limits and the restart policy, of a running container at once.
    pub async fn update(&self, update: Update) -> Result<()> {
        self.ask(|reply| Request::Update(Box::new(update), reply)).await
    }

    /// Puts it on a network, at once when it runs and otherwise when it is started.
    pub async fn connect(&self, network: String, wishes: EndpointWishes) -> Result<()> {
        self.ask(|reply| Request::Connect(network, Box::new(wishes), reply)).await
    }

    /// Takes it from a network.
    pub async fn disconnect(&self, network: String) -> Result<()> {
        self.ask(|reply| Request::Disconnect(network, reply)).await
    }

    /// Another container that it is linked to has other addresses: its hosts file is put right. Nobody waits.
    pub fn refresh_links(&self) {
        // One that is gone has no file any more.
        let _gone = self.requests.send((Request::RefreshLinks, tracing::Span::current()));
    }

    /// Takes a link away, by its alias.
    pub async fn unlink(&self, alias: String) -> Result<()> {
        self.ask(|reply| Request::Unlink(alias, reply)).await
    }

    /// The daemon ends and takes its containers along: ends it as [`Self::stop`] does, but not as its user's wish.
    /// Returns when its shim has ended, too.
    pub async fn halt(&self) -> Result<()> {
        self.ask(Request::Halt).await?;
        self.ask(Request::LetGo).await
    }

    /// Gives a client its streams: at once when it runs, otherwise when it is started.
    pub async fn attach(&self, streams: Attachment) -> Result<UnixStream> {
        let (ours, theirs) = shim::socket_pair()?;
        self.ask(|reply| Request::Attach(streams, theirs, reply)).await?;
        Ok(ours)
    }

    /// Runs a further process in it; its pid.
    pub async fn exec(&self, exec: Box<Exec>, sockets: Vec<OwnedFd>) -> Result<i32> {
        self.ask(|reply| Request::Exec(exec, sockets, reply)).await
    }

    /// Sets the size of a terminal in it.
    pub async fn resize(&self, session: Session, size: TerminalSize) -> Result<()> {
        self.ask(|reply| Request::Resize(session, size, reply)).await
    }

    /// Returns when everything asked before has been done; for a recovered container: when it has been recovered.
    pub async fn recovered(&self) {
        // One that was removed while it was recovered is recovered too.
        let _gone = self.ask(Request::Nothing).await;
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let gone = || {
            Error::not_found(format!("No such container: {}", self.published.borrow().record.id))
        };
        self.requests.send((request(reply), tracing::Span::current())).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}
