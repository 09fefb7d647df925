//! The task that owns one container. It is the only writer of the container's state.

use crate::admission::{Ask, admit};
use crate::services::{Save, Services};
use crate::shim::{self, Shim};
use crate::signals;
use crate::state::{Endpoint, Live, Phase, Published};
use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use stdx::time::Timestamp;
use stdx::{Error, Kind, Result};
use store::records::container::ContainerRecord;
use task::protocol::{
    Answer, Attachment, Event, Exec, Exit, Request as ToShim, Session, TerminalSize,
};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// Seconds between the stop signal and SIGKILL when nobody says otherwise.
const STOP_TIMEOUT: i64 = 10;
/// Clients that may wait for a start: their sockets go to the shim in one message, which takes 253 (SCM_MAX_FD).
const MOST_ATTACHMENTS: usize = 128;

/// One container, for everyone but its driver.
#[derive(Debug, Clone)]
pub struct Container {
    requests: mpsc::UnboundedSender<Request>,
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

type Reply<T = ()> = oneshot::Sender<Result<T>>;

#[derive(Debug)]
enum Request {
    Start(Reply),
    Stop(StopRequest, Reply),
    Restart(StopRequest, Reply),
    Kill(KillRequest, Reply),
    Pause(Reply),
    Unpause(Reply),
    Rename(String, Reply),
    Remove(RemoveRequest, Reply),
    Attach(Attachment, OwnedFd, Reply),
    Exec(Box<Exec>, Vec<OwnedFd>, Reply<i32>),
    Resize(Session, TerminalSize, Reply),
    Nothing(Reply),
}

impl Container {
    /// A new container, or one that the store knows; `recover`: look for what an earlier daemon left of it first.
    pub fn spawn(services: Arc<Services>, record: Arc<ContainerRecord>, recover: bool) -> Self {
        let phase = if record.last.finished.is_zero() { Phase::Created } else { Phase::Exited };
        let first = Published { record, phase, exits: 0, endpoints: BTreeMap::new() };
        let (publisher, published) = watch::channel(first.clone());
        let (requests, receiver) = mpsc::unbounded_channel();
        let files = Arc::new(tokio::sync::Mutex::new(()));
        let driver = Driver {
            files: Arc::clone(&files),
            services,
            now: first,
            publisher,
            requests: receiver,
            events: None,
            attachments: Vec::new(),
            ending: None,
            stopped: Vec::new(),
            deadline: None,
            then: Then::Nothing,
        };
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

    /// Gives it a name, which the caller has reserved.
    pub async fn rename(&self, name: String) -> Result<()> {
        self.ask(|reply| Request::Rename(name, reply)).await
    }

    /// Removes it.
    pub async fn remove(&self, remove: RemoveRequest) -> Result<()> {
        self.ask(|reply| Request::Remove(remove, reply)).await
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
        self.requests.send(request(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// What happens when the container has ended.
#[derive(Debug)]
enum Then {
    Nothing,
    Restart(Reply),
    Remove(RemoveRequest, Reply),
}

pub(crate) struct Driver {
    pub(crate) services: Arc<Services>,
    files: Arc<tokio::sync::Mutex<()>>,
    pub(crate) now: Published,
    publisher: watch::Sender<Published>,
    requests: mpsc::UnboundedReceiver<Request>,
    events: Option<mpsc::UnboundedReceiver<Event>>,
    /// Clients that attached before the start.
    pub(crate) attachments: Vec<(Attachment, OwnedFd)>,
    /// The last shim, which has been told to clean up and end.
    ending: Option<tokio::task::JoinHandle<()>>,
    /// Whoever waits for the end.
    stopped: Vec<Reply>,
    /// When SIGKILL follows.
    deadline: Option<Instant>,
    then: Then,
}

impl Driver {
    async fn run(mut self, recover: bool) {
        if recover {
            self.recover().await;
        }
        while !matches!(self.now.phase, Phase::Gone) {
            let deadline = self.deadline;
            tokio::select! {
                biased;
                event = next(&mut self.events) => self.on_event(event).await,
                () = until(deadline) => self.on_deadline().await,
                request = self.requests.recv() => match request {
                    Some(request) => self.on_request(request).await,
                    // The engine is gone: the container goes on with its shim.
                    None => return,
                },
            }
        }
    }

    async fn on_request(&mut self, request: Request) {
        match request {
            Request::Start(reply) => {
                let result = match self.admit(Ask::Start) {
                    Ok(()) => self.start().await,
                    denied => denied,
                };
                answer(reply, result);
            }
            Request::Stop(stop, reply) => match self.admit(Ask::Stop) {
                Ok(()) => {
                    self.stopped.push(reply);
                    self.stop(&stop, true).await;
                }
                denied => answer(reply, denied),
            },
            Request::Restart(stop, reply) => match self.admit(Ask::Restart) {
                Ok(()) if self.now.phase.is_running() => {
                    self.then_do(Then::Restart(reply));
                    self.stop(&stop, false).await;
                }
                Ok(()) => {
                    let result = self.start().await;
                    if result.is_ok() {
                        self.event("restart", &[]);
                    }
                    answer(reply, result);
                }
                denied => answer(reply, denied),
            },
            Request::Kill(kill, reply) => match self.admit(Ask::Kill) {
                Ok(()) => self.kill(kill, reply).await,
                denied => answer(reply, denied),
            },
            Request::Pause(reply) => {
                let result = self.pause().await;
                answer(reply, result);
            }
            Request::Unpause(reply) => {
                let result = self.unpause().await;
                answer(reply, result);
            }
            Request::Rename(name, reply) => {
                let result = self.rename(name);
                answer(reply, result);
            }
            Request::Remove(remove, reply) => match self.admit(Ask::Remove(remove.force)) {
                Ok(()) if self.now.phase.is_running() => {
                    self.then_do(Then::Remove(remove, reply));
                    self.send_signal(signals::KILL).await;
                }
                Ok(()) => {
                    let result = self.remove(remove);
                    answer(reply, result);
                }
                denied => answer(reply, denied),
            },
            Request::Attach(streams, socket, reply) => {
                let result = self.attach(streams, socket).await;
                answer(reply, result);
            }
            Request::Exec(exec, sockets, reply) => {
                let result = self.exec(*exec, &sockets).await;
                answer(reply, result);
            }
            Request::Nothing(reply) => answer(reply, Ok(())),
            Request::Resize(session, size, reply) => {
                let result = match self.now.phase.live() {
                    Some(live) => {
                        live.shim.call(ToShim::Resize { session, size }, &[]).await.map(|_| ())
                    }
                    None => Err(Error::conflict(format!(
                        "container {} is not running",
                        self.now.record.id
                    ))),
                };
                answer(reply, result);
            }
        }
    }

    async fn start(&mut self) -> Result<()> {
        self.now.phase = Phase::Starting;
        self.publish();
        let attachments = std::mem::take(&mut self.attachments);
        // The new shim makes a cgroup of the same name as the one that the last shim may be removing still.
        if let Some(ending) = self.ending.take() {
            let _ended = ending.await;
        }
        let files = Arc::clone(&self.files);
        let _nobody_writes = files.lock().await;
        match crate::start::start(&self.services, &self.now.record, attachments).await {
            Ok(started) => {
                let since = Timestamp::from_unix_nanos(started.at);
                self.change(|record| {
                    record.last.started = since;
                    record.last.finished = Timestamp::ZERO;
                    record.last.code = 0;
                    record.last.oom = false;
                    record.last.error = None;
                    record.stopped_by_user = false;
                });
                self.events = Some(started.events);
                self.now.endpoints = started.endpoints;
                self.now.phase =
                    Phase::Running(Live { shim: started.shim, pid: started.pid, since });
                self.publish();
                self.event("start", &[]);
                self.save(Save::Eventually);
                self.services.network.settled();
                Ok(())
            }
            Err(error) => {
                let never_ran = self.now.record.last.started.is_zero();
                self.change(|record| {
                    record.last.code = shim::exit_code_of(&error);
                    record.last.error = Some(error.to_string());
                });
                self.now.phase = if never_ran { Phase::Created } else { Phase::Exited };
                // Whoever waits for the next exit must not wait for ever.
                self.now.exits += 1;
                self.publish();
                self.save(Save::Soon);
                if self.now.record.host.auto_remove {
                    let _reported_by_start =
                        self.remove(RemoveRequest { force: true, volumes: true });
                }
                Err(error)
            }
        }
    }

    /// Sends the stop signal and sets the deadline. `by_user`: not as part of a restart.
    async fn stop(&mut self, stop: &StopRequest, by_user: bool) {
        let config = &self.now.record.config;
        let own = config.stop_signal.as_deref().and_then(|s| signals::parse(s).ok());
        let signal = stop.signal.or(own).unwrap_or(signals::TERM);
        let timeout = stop.timeout.or(config.stop_timeout).unwrap_or(STOP_TIMEOUT);
        if by_user {
            self.change(|record| record.stopped_by_user = true);
        }
        if let Phase::Paused(_) = self.now.phase {
            let _goes_on = self.unpause().await;
        }
        if let Phase::Running(live) | Phase::Stopping(live) = &self.now.phase {
            self.now.phase = Phase::Stopping(live.clone());
            self.publish();
        }
        self.send_signal(signal).await;
        if let Ok(seconds) = u64::try_from(timeout) {
            let new = Instant::now() + Duration::from_secs(seconds);
            self.deadline = Some(self.deadline.map_or(new, |old| old.min(new)));
        }
    }

    async fn kill(&mut self, kill: KillRequest, reply: Reply) {
        if kill.signal == signals::KILL {
            self.change(|record| record.stopped_by_user = true);
            self.stopped.push(reply);
            self.send_signal(kill.signal).await;
        } else if let Phase::Paused(_) = self.now.phase {
            let id = &self.now.record.id;
            answer(
                reply,
                Err(Error::conflict(format!(
                    "Container {id} is paused. Unpause the container before stopping or killing"
                ))),
            );
        } else {
            self.send_signal(kill.signal).await;
            answer(reply, Ok(()));
        }
    }

    async fn on_deadline(&mut self) {
        self.deadline = None;
        self.send_signal(signals::KILL).await;
    }

    async fn send_signal(&mut self, signal: i32) {
        let Some(live) = self.now.phase.live() else { return };
        let shim = Arc::clone(&live.shim);
        self.event("kill", &[("signal", signal.to_string())]);
        let kill = ToShim::Kill { session: Session::Container, signal, all: false };
        // A process that has just ended cannot be signalled; its exit event is on its way.
        let _ended = shim.call(kill, &[]).await;
        if signal == signals::KILL && matches!(self.now.phase, Phase::Paused(_)) {
            // A frozen process dies when it thaws (cgroup v1).
            let _thawed = shim.call(ToShim::Resume, &[]).await;
        }
    }

    async fn pause(&mut self) -> Result<()> {
        self.admit(Ask::Pause)?;
        let Some(live) = self.now.phase.live().cloned() else { return Ok(()) };
        live.shim.call(ToShim::Pause, &[]).await?;
        self.now.phase = Phase::Paused(live);
        self.publish();
        self.event("pause", &[]);
        Ok(())
    }

    async fn unpause(&mut self) -> Result<()> {
        self.admit(Ask::Unpause)?;
        let Some(live) = self.now.phase.live().cloned() else { return Ok(()) };
        live.shim.call(ToShim::Resume, &[]).await?;
        self.now.phase = Phase::Running(live);
        self.publish();
        self.event("unpause", &[]);
        Ok(())
    }

    fn rename(&mut self, name: String) -> Result<()> {
        let old = self.now.record.name.clone();
        let before = Arc::clone(&self.now.record);
        self.change(|record| record.name = name);
        if let Err(e) = self.services.world.save(&self.now.record, Save::Now) {
            self.now.record = before;
            return Err(e);
        }
        self.publish();
        self.event("rename", &[("oldName", format!("/{old}"))]);
        Ok(())
    }

    async fn attach(&mut self, streams: Attachment, socket: OwnedFd) -> Result<()> {
        match &self.now.phase {
            Phase::Running(live) | Phase::Stopping(live) => {
                let attach = ToShim::Attach { session: Session::Container, streams };
                live.shim.call(attach, &[socket.as_fd()]).await.map(|_| ())
            }
            Phase::Created | Phase::Exited => {
                // Clients that have gone do not wait any more: without this each would cost a descriptor until the start.
                self.attachments.retain(|(_, socket)| !shim::hung_up(socket));
                if self.attachments.len() == MOST_ATTACHMENTS {
                    return Err(Error::conflict(format!(
                        "{MOST_ATTACHMENTS} clients wait for the start of container {}",
                        self.now.record.id
                    )));
                }
                self.attachments.push((streams, socket));
                Ok(())
            }
            Phase::Paused(_) => Err(Error::conflict(format!(
                "container {} is paused, unpause the container before attach",
                self.now.record.id
            ))),
            Phase::Starting | Phase::Removing | Phase::Dead(_) | Phase::Gone => {
                Err(Error::conflict(format!(
                    "container {} is marked for removal and cannot be attached",
                    self.now.record.id
                )))
            }
        }
    }

    async fn exec(&mut self, exec: Exec, sockets: &[OwnedFd]) -> Result<i32> {
        self.admit(Ask::Exec)?;
        let Some(live) = self.now.phase.live() else { return Err(Error::internal("not running")) };
        let fds: Vec<_> = sockets.iter().map(|s| s.as_fd()).collect();
        match live.shim.call(ToShim::Exec(Box::new(exec)), &fds).await? {
            Answer::Started { pid, .. } => Ok(pid),
            other => Err(Error::internal(format!("the shim answered {other:?} to an exec"))),
        }
    }

    async fn on_event(&mut self, event: Option<Event>) {
        match event {
            Some(Event::Exit { session: Session::Container, exit }) => {
                if let Some(live) = self.now.phase.live() {
                    let shim = Arc::clone(&live.shim);
                    // The exit is taken: the shim cleans up and ends while we go on.
                    self.ending = Some(tokio::spawn(shut_down(shim)));
                }
                self.ended(&exit, None).await;
            }
            Some(Event::Exit { session: Session::Exec(id), exit }) => {
                self.services.world.exec_ended(&self.now.record, &id, exit.code);
            }
            Some(Event::Oom) => self.event("oom", &[]),
            None => self.lost().await,
        }
    }

    /// The shim is gone without having told how the container ended.
    async fn lost(&mut self) {
        self.events = None;
        let services = Arc::clone(&self.services);
        let id = self.now.record.id.clone();
        let exit =
            tokio::task::spawn_blocking(move || crate::recover::lost_shim(&services, &id)).await;
        let (exit, error) =
            exit.unwrap_or_else(|e| (crate::recover::unknown_exit(), Some(e.to_string())));
        self.ended(&exit, error).await;
    }

    /// The container has ended: everyone is told, and what was to follow follows.
    pub(crate) async fn ended(&mut self, exit: &Exit, error: Option<String>) {
        let finished = Timestamp::from_unix_nanos(exit.at);
        let started = self.now.record.last.started;
        self.events = None;
        self.deadline = None;
        self.services.network.leave(&self.now.record.id);
        self.now.endpoints.clear();
        self.change(|record| {
            record.last.finished = finished;
            record.last.code = exit.code;
            record.last.oom = exit.oom;
            record.last.error = error;
        });
        self.now.phase = Phase::Exited;
        self.now.exits += 1;
        self.publish();
        let ran = (finished.unix_nanos() - started.unix_nanos()).max(0) / 1_000_000_000;
        self.event(
            "die",
            &[("execDuration", ran.to_string()), ("exitCode", exit.code.to_string())],
        );
        let waiting = std::mem::take(&mut self.stopped);
        if !waiting.is_empty() {
            self.event("stop", &[]);
        }
        let then = std::mem::replace(&mut self.then, Then::Nothing);
        let removes = matches!(then, Then::Remove(..));
        if self.now.record.host.auto_remove && !removes && !matches!(then, Then::Restart(_)) {
            let _logged = self.remove(RemoveRequest { force: true, volumes: true });
        } else if !removes {
            self.save(Save::Soon);
        }
        for reply in waiting {
            answer(reply, Ok(()));
        }
        match then {
            Then::Nothing => {}
            Then::Restart(reply) => {
                self.event("stop", &[]);
                // Starting is not recursion: a container that ends while it starts reports through its events.
                let result = Box::pin(self.start()).await;
                if result.is_ok() {
                    self.event("restart", &[]);
                }
                answer(reply, result);
            }
            Then::Remove(remove, reply) => {
                let result = self.remove(remove);
                answer(reply, result);
            }
        }
    }

    /// Removes a container that does not run.
    fn remove(&mut self, remove: RemoveRequest) -> Result<()> {
        self.now.phase = Phase::Removing;
        self.publish();
        self.attachments.clear();
        let volumes = remove.volumes || self.now.record.host.auto_remove;
        match self.services.world.forget(&self.now.record, volumes) {
            Ok(()) => {
                self.event("destroy", &[]);
                self.now.phase = Phase::Gone;
                self.publish();
                Ok(())
            }
            Err(error) => {
                tracing::error!(container = %self.now.record.id, "remove: {error}");
                self.now.phase = Phase::Dead(error.to_string());
                self.publish();
                Err(error)
            }
        }
    }

    /// `--rm` is honoured for a container that ended while no daemon ran.
    pub(crate) fn remove_after_recovery(&mut self) {
        let _logged = self.remove(RemoveRequest { force: true, volumes: true });
    }

    /// A later wish replaces an earlier one, whose owner is told that it will not be.
    fn then_do(&mut self, then: Then) {
        match std::mem::replace(&mut self.then, then) {
            Then::Nothing => {}
            Then::Restart(reply) | Then::Remove(_, reply) => {
                answer(reply, Err(Error::conflict("overtaken by a later request")));
            }
        }
    }

    fn admit(&self, ask: Ask) -> Result<()> {
        admit(&self.now.phase, ask, &self.now.record.id, &self.now.record.name)
    }

    fn change(&mut self, change: impl FnOnce(&mut ContainerRecord)) {
        change(Arc::make_mut(&mut self.now.record));
    }

    pub(crate) fn publish(&self) {
        self.publisher.send_replace(self.now.clone());
    }

    pub(crate) fn event(&self, action: &str, attributes: &[(&str, String)]) {
        self.services.world.event(&self.now.record, action, attributes);
    }

    pub(crate) fn save(&self, when: Save) {
        if let Err(e) = self.services.world.save(&self.now.record, when) {
            tracing::error!(container = %self.now.record.id, "save: {e}");
        }
    }

    /// A shim that was found alive: the container runs, or ended while nobody looked.
    pub(crate) async fn adopted(
        &mut self,
        shim: Arc<Shim>,
        events: mpsc::UnboundedReceiver<Event>,
        state: &task::protocol::State,
        endpoints: BTreeMap<String, Endpoint>,
    ) {
        let since = state.started_at.map_or(Timestamp::ZERO, Timestamp::from_unix_nanos);
        self.change(|record| {
            record.last.started = since;
            record.last.finished = Timestamp::ZERO;
        });
        let live = Live { shim: Arc::clone(&shim), pid: state.pid, since };
        self.now.endpoints = endpoints;
        self.now.phase = if state.paused { Phase::Paused(live) } else { Phase::Running(live) };
        self.events = Some(events);
        self.publish();
        if let Some(exit) = state.exit.clone() {
            self.ending = Some(tokio::spawn(shut_down(shim)));
            self.ended(&exit, None).await;
        }
    }
}

/// Tells a shim whose container has ended that it may go; when it has cleaned up, or is gone, this is done.
async fn shut_down(shim: Arc<Shim>) {
    let _gone = shim.call(ToShim::Shutdown, &[]).await;
}

async fn next(events: &mut Option<mpsc::UnboundedReceiver<Event>>) -> Option<Event> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn answer<T>(reply: Reply<T>, result: Result<T>) {
    // Whoever asked may have hung up.
    let _unheard = reply.send(result);
}

/// An error for things that only a running container has.
pub fn not_running(id: &str) -> Error {
    Error::new(Kind::Conflict, format!("container {id} is not running"))
}
