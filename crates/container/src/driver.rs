//! The task that owns one container. It is the only writer of the container's state.
//!
//! ```text
//!   driver.rs          what is asked and what happens, one after the other
//!   driver/running.rs  start, stop, kill, pause: while it runs
//!   driver/ending.rs   its end, its restart policy, its removal
//!   driver/networks.rs its coming to networks and its leaving them
//!   driver/links.rs    its legacy links
//!   driver/probing.rs  its health
//! ```

mod ending;
mod links;
mod networks;
mod probing;
mod running;

use crate::admission::{Ask, admit};
use crate::handle::{Asked, RemoveRequest, Reply, Request, StopRequest};
use crate::health::Health;
use crate::limits::{self, Update};
use crate::services::{Save, Services};
use crate::shim::{self, Shim};
use crate::signals;
use crate::state::{Phase, Published};
use probing::{Due, Monitor};
use running::By;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use stdx::{Error, Kind, Result, fail_point};
use store::records::container::ContainerRecord;
use task::protocol::{Answer, Attachment, Event, Exec, Request as ToShim, Session};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::Instrument as _;

/// Clients that may wait for a start: their sockets go to the shim in one message, beside the descriptors of namespaces
/// and mounts; it takes [`sys::scm::MAX_FDS`].
const MOST_ATTACHMENTS: usize = sys::scm::MAX_FDS - 16;

/// What happens when the container has ended.
#[derive(Debug)]
pub(crate) enum Then {
    /// What its restart policy says.
    Policy,
    /// It is started; whoever asked is told. Nobody did when its health was the reason.
    Restart(Vec<Reply>),
    /// It is removed.
    Remove(RemoveRequest, Reply),
}

pub(crate) struct Driver {
    pub(crate) services: Arc<Services>,
    files: Arc<tokio::sync::Mutex<()>>,
    pub(crate) now: Published,
    publisher: watch::Sender<Published>,
    requests: mpsc::UnboundedReceiver<Asked>,
    events: Option<mpsc::UnboundedReceiver<Event>>,
    /// Clients that attached before the start.
    attachments: Vec<(Attachment, OwnedFd)>,
    /// The last shim, which has been told to clean up and end.
    ending: Option<tokio::task::JoinHandle<()>>,
    /// Whoever waits for the end after having stopped it.
    stopped: Vec<Reply>,
    /// Whoever waits for the end after having killed it.
    killed: Vec<Reply>,
    /// When SIGKILL follows.
    deadline: Option<Instant>,
    /// When its policy starts it again; it is [`Phase::Restarting`] then.
    restart_at: Option<Instant>,
    /// Its health is looked after.
    monitor: Option<Monitor>,
    then: Then,
    /// The daemon takes its containers along: nothing is started again.
    halting: bool,
    /// It has not been started by this daemon yet: others that policies start may still be on their way as well.
    at_rest: bool,
}

impl Driver {
    pub(crate) fn new(
        services: Arc<Services>,
        files: Arc<tokio::sync::Mutex<()>>,
        now: Published,
        publisher: watch::Sender<Published>,
        requests: mpsc::UnboundedReceiver<Asked>,
    ) -> Self {
        Self {
            services,
            files,
            now,
            publisher,
            requests,
            events: None,
            attachments: Vec::new(),
            ending: None,
            stopped: Vec::new(),
            killed: Vec::new(),
            deadline: None,
            restart_at: None,
            monitor: None,
            then: Then::Policy,
            halting: false,
            at_rest: true,
        }
    }

    pub(crate) async fn run(mut self, recover: bool) {
        if recover {
            self.recover().await;
        }
        while !matches!(self.now.phase, Phase::Gone) {
            let (deadline, restart_at) = (self.deadline, self.restart_at);
            tokio::select! {
                biased;
                event = next(&mut self.events) => self.on_event(event).await,
                () = until(deadline) => self.on_deadline().await,
                request = self.requests.recv() => match request {
                    Some((request, span)) => self.on_request(request).instrument(span).await,
                    // The engine is gone: the container goes on with its shim.
                    None => return,
                },
                () = until(restart_at) => self.start_again().await,
                due = Due::next(&mut self.monitor) => self.on_due(due).await,
            }
        }
    }

    async fn on_request(&mut self, request: Request) {
        match request {
            Request::Start(reply) => {
                let result = match self.admit(Ask::Start) {
                    Ok(()) => self.start(By::User).await,
                    denied => denied,
                };
                answer(reply, result);
            }
            Request::Stop(stop, reply) => match self.admit(Ask::Stop) {
                Ok(()) if matches!(self.now.phase, Phase::Restarting) => {
                    let result = self.stay_down();
                    self.event("stop", &[]);
                    answer(reply, result);
                }
                Ok(()) => match self.by_user() {
                    Ok(()) => {
                        self.stopped.push(reply);
                        self.stop(&stop).await;
                    }
                    failed => answer(reply, failed),
                },
                denied => answer(reply, denied),
            },
            Request::Restart(stop, reply) => match self.admit(Ask::Restart) {
                Ok(()) if self.now.phase.is_running() => {
                    if self.then_restart(reply) {
                        self.stop(&stop).await;
                    }
                }
                Ok(()) => {
                    if matches!(self.now.phase, Phase::Restarting) {
                        self.restart_at = None;
                        self.event("stop", &[]);
                    }
                    let result = self.start(By::User).await;
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
                let result = self.rename(name).await;
                answer(reply, result);
            }
            Request::Remove(remove, reply) => match self.admit(Ask::Remove(remove.force)) {
                Ok(()) if self.now.phase.is_running() => {
                    if self.then_remove(remove, reply) {
                        self.send_signal(signals::KILL).await;
                    }
                }
                Ok(()) => {
                    self.restart_at = None;
                    let result = self.remove(remove);
                    answer(reply, result);
                }
                denied => answer(reply, denied),
            },
            Request::Update(update, reply) => {
                let result = self.update(&update).await;
                answer(reply, result);
            }
            Request::Connect(network, wishes, reply) => {
                let result = self.connect(network, *wishes).await;
                answer(reply, result);
            }
            Request::Disconnect(network, reply) => {
                let result = self.disconnect(&network).await;
                answer(reply, result);
            }
            Request::RefreshLinks => self.refresh_links().await,
            Request::Unlink(alias, reply) => {
                let result = self.unlink(&alias).await;
                answer(reply, result);
            }
            Request::Halt(reply) => {
                self.halting = true;
                self.restart_at = None;
                if self.now.phase.is_running() {
                    self.stopped.push(reply);
                    self.stop(&StopRequest::default()).await;
                } else {
                    answer(reply, Ok(()));
                }
            }
            Request::LetGo(reply) => {
                self.have_let_go().await;
                answer(reply, Ok(()));
            }
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
                    None => Err(not_running(&self.now.record.id)),
                };
                answer(reply, result);
            }
        }
    }

    /// Its old name, which is free now.
    async fn rename(&mut self, name: String) -> Result<String> {
        let old = self.now.record.name.clone();
        let before = Arc::clone(&self.now.record);
        self.change(|record| record.name = name);
        if let Err(e) = self.services.world.save(&self.now.record, Save::Now) {
            self.now.record = before;
            return Err(e);
        }
        self.tell_name().await;
        self.publish();
        self.event("rename", &[("oldName", format!("/{old}"))]);
        Ok(old)
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
            Phase::Restarting => Err(Error::conflict(format!(
                "container {} is restarting, wait until the container is running",
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
        match live.shim.call(ToShim::Exec(Box::new(exec)), &fds).await {
            Ok(Answer::Started { pid, .. }) => Ok(pid),
            Ok(other) => Err(Error::internal(format!("the shim answered {other:?} to an exec"))),
            // It has ended, which we are about to be told.
            Err(e) if e.kind() == Kind::Conflict => Err(not_running(&self.now.record.id)),
            Err(e) => Err(e),
        }
    }

    /// The record is changed for good before the kernel is told; [`Self::adopted`] tells it again when we died between.
    async fn update(&mut self, update: &Update) -> Result<()> {
        let cannot = |id: &str, e: &Error| {
            Error::new(e.kind(), format!("Cannot update container {id}: {e}"))
        };
        let id = self.now.record.id.clone();
        self.admit(Ask::Update).map_err(|e| cannot(&id, &e))?;
        let before = Arc::clone(&self.now.record);
        let mut host = before.host.clone();
        limits::apply(&mut host, update).map_err(|e| cannot(&id, &e))?;
        let shim = self.now.phase.live().map(|live| Arc::clone(&live.shim));
        self.change(|record| {
            record.host = host;
            record.last.limits_pending = shim.is_some();
        });
        let changed = match self.save_update() {
            Ok(()) => self.tell_limits(shim.as_deref(), &limits::change(&update.resources)).await,
            failed => failed,
        };
        if let Err(e) = changed {
            self.now.record = before;
            self.save(Save::Soon);
            return Err(cannot(&id, &e));
        }
        self.publish();
        self.event("update", &[]);
        Ok(())
    }

    fn save_update(&self) -> Result<()> {
        fail_point!("container.update.before-record");
        self.services.world.save(&self.now.record, Save::Now)?;
        fail_point!("container.update.after-record");
        Ok(())
    }

    async fn tell_limits(
        &mut self,
        shim: Option<&Shim>,
        limits: &oci::runtime::Resources,
    ) -> Result<()> {
        if let Some(shim) = shim {
            shim.call(ToShim::Update(Box::new(limits.clone())), &[]).await?;
            self.change(|record| record.last.limits_pending = false);
            self.save(Save::Eventually);
        }
        Ok(())
    }

    async fn on_event(&mut self, event: Option<Event>) {
        match event {
            Some(Event::Exit { session: Session::Container, exit }) => {
                if let Some(live) = self.now.phase.live() {
                    // The exit is taken: the shim cleans up and ends while we go on.
                    self.let_go(Arc::clone(&live.shim));
                }
                self.ended(&exit, None).await;
            }
            Some(Event::Exit { session: Session::Exec(id), exit }) => {
                let id = self.probe_ended(&id, exit.code).unwrap_or(id);
                self.services.world.exec_ended(&self.now.record, &id, exit.code);
            }
            Some(Event::Oom) => self.event("oom", &[]),
            None => self.lost().await,
        }
    }
    fn admit(&self, ask: Ask) -> Result<()> {
        admit(&self.now.phase, ask, &self.now.record.id, &self.now.record.name)
    }

    /// After its end it is started; all who want that share one start. `false`: denied, it is about to be removed.
    fn then_restart(&mut self, reply: Reply) -> bool {
        match &mut self.then {
            Then::Remove(..) => {
                answer(reply, Err(removed_instead()));
                return false;
            }
            Then::Restart(replies) => replies.push(reply),
            Then::Policy => self.then = Then::Restart(vec![reply]),
        }
        true
    }

    /// After its end it is removed, whoever wanted it started again. `false`: it is to be removed already.
    fn then_remove(&mut self, remove: RemoveRequest, reply: Reply) -> bool {
        if let Then::Remove(..) = self.then {
            let denied = admit(&Phase::Removing, Ask::Remove(true), &self.now.record.id, "");
            answer(reply, denied);
            return false;
        }
        if let Then::Restart(replies) =
            std::mem::replace(&mut self.then, Then::Remove(remove, reply))
        {
            for reply in replies {
                answer(reply, Err(removed_instead()));
            }
        }
        true
    }

    pub(crate) fn change(&mut self, change: impl FnOnce(&mut ContainerRecord)) {
        change(Arc::make_mut(&mut self.now.record));
    }

    pub(crate) fn set_health(&mut self, health: Health) {
        self.now.health = Some(Arc::new(health));
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

/// What whoever wants it started again is told when it is removed instead.
fn removed_instead() -> Error {
    Error::conflict("container is marked for removal and cannot be started")
}

/// An error for things that only a running container has.
pub(crate) fn not_running(id: &str) -> Error {
    Error::new(Kind::Conflict, format!("container {id} is not running"))
}
