//! While it runs: start, stop, signals, pause; and finding it running.

use super::{Driver, answer, not_running};
use crate::admission::Ask;
use crate::handle::{KillRequest, RemoveRequest, Reply, StopRequest};
use crate::recover;
use crate::services::{Measured, Save};
use crate::shim::{self, Shim};
use crate::signals;
use crate::state::{Endpoints, Live, Phase};
use std::sync::Arc;
use std::time::Duration;
use stdx::time::Timestamp;
use stdx::{Error, Kind, Result, fail_point};
use store::records::container::ContainerRecord;
use task::protocol::{Event, Request as ToShim, Session, State};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Who starts a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// Its user: what its policy did before is forgotten.
    User,
    /// The engine.
    Engine,
}

impl Driver {
    pub(super) async fn start(&mut self, by: By) -> Result<()> {
        let began = Instant::now();
        self.restart_at = None;
        self.now.phase = Phase::Starting;
        self.publish();
        let attachments = std::mem::take(&mut self.attachments);
        // The new shim makes a cgroup of the same name as the one that the last shim may be removing still.
        self.have_let_go().await;
        let files = Arc::clone(&self.files);
        let _nobody_writes = files.lock().await;
        let started = match crate::start::start(&self.services, &self.now.record, attachments).await
        {
            Ok(started) => started,
            Err(error) => {
                self.start_failed(&error);
                return Err(error);
            }
        };
        let since = Timestamp::from_unix_nanos(started.at);
        self.change(|record| {
            let last = &mut record.last;
            last.started = since;
            last.finished = Timestamp::ZERO;
            last.code = 0;
            last.oom = false;
            last.error = None;
            last.restart_at = None;
            last.limits_pending = false;
            record.stopped_by_user = false;
            if by == By::User {
                last.restart_delay = 0;
                record.restart_count = 0;
            }
            settle(record, &started.endpoints);
        });
        self.events = Some(started.events);
        self.follow_log(&started.shim);
        self.now.endpoints = started.endpoints;
        self.now.phase = Phase::Running(Live { shim: started.shim, pid: started.pid, since });
        self.begin_health();
        self.publish();
        self.at_rest = false;
        self.services.world.moved(&self.now.record.id);
        self.event("start", &[]);
        self.services.world.measured(Measured::Start(began.elapsed()));
        // A policy must find out after a power cut that it ran.
        self.save(if self.has_policy() { Save::Soon } else { Save::Eventually });
        self.tell_owner();
        self.services.network.settled();
        Ok(())
    }

    pub(super) fn start_failed(&mut self, error: &Error) {
        let never_ran = self.now.record.last.started.is_zero();
        self.change(|record| {
            record.last.code = shim::exit_code_of(error);
            record.last.error = Some(error.to_string());
            record.last.restart_at = None;
        });
        self.now.phase = if never_ran { Phase::Created } else { Phase::Exited };
        // Whoever waits for the next exit must not wait for ever.
        self.now.exits += 1;
        self.publish();
        self.save(Save::Soon);
        if self.now.record.host.auto_remove {
            let _reported_by_start = self.remove(RemoveRequest { force: true, volumes: true });
        }
    }

    pub(super) fn has_policy(&self) -> bool {
        !matches!(self.now.record.host.restart.name.as_str(), "" | "no")
    }

    /// Its user wants it down. Whoever has a policy must not come back after a crash, so that is kept first.
    pub(super) fn by_user(&mut self) -> Result<()> {
        if self.now.record.stopped_by_user {
            return Ok(());
        }
        self.change(|record| record.stopped_by_user = true);
        if self.has_policy() {
            self.services.world.save(&self.now.record, Save::Now)?;
            fail_point!("container.stop.after-record");
        }
        Ok(())
    }

    /// Sends the stop signal and sets the deadline.
    pub(super) async fn stop(&mut self, stop: &StopRequest) {
        let config = &self.now.record.config;
        let own = config.stop_signal.as_deref().and_then(|s| signals::parse(s).ok());
        let signal = stop.signal.or(own).unwrap_or(signals::TERM);
        let timeout = stop.timeout.or(config.stop_timeout).unwrap_or(self.services.stop_timeout);
        if let Phase::Paused(_) = self.now.phase {
            let _goes_on = self.unpause().await;
        }
        if let Phase::Running(live) | Phase::Stopping(live) = &self.now.phase {
            self.now.phase = Phase::Stopping(live.clone());
            self.publish();
        }
        self.send_signal(signal).await;
        if let Ok(seconds) = u64::try_from(timeout) {
            let new = Instant::now() + Duration::from_secs(seconds.min(u64::from(u32::MAX)));
            self.deadline = Some(self.deadline.map_or(new, |old| old.min(new)));
        }
    }

    /// As Docker sees it, a signal that may end the container is its user's wish that it stays down: SIGKILL, its own
    /// stop signal, and any signal when it has none of its own.
    pub(super) async fn kill(&mut self, kill: KillRequest, reply: Reply) {
        let own = &self.now.record.config.stop_signal;
        let own = own.as_deref().and_then(|s| signals::parse(s).ok());
        let ends = kill.signal == signals::KILL || own.is_none_or(|own| own == kill.signal);
        if let Phase::Restarting = self.now.phase {
            let result = if ends { self.stay_down() } else { Ok(()) };
            return answer(reply, result);
        }
        if ends && let Err(e) = self.by_user() {
            return answer(reply, Err(e));
        }
        if kill.signal == signals::KILL {
            self.killed.push(reply);
            self.send_signal(kill.signal).await;
            return;
        }
        self.send_signal(kill.signal).await;
        let result = match self.now.phase {
            // It gets the signal when it goes on.
            Phase::Paused(_) if ends => self.unpause().await,
            _ => Ok(()),
        };
        answer(reply, result);
    }

    pub(super) async fn on_deadline(&mut self) {
        self.deadline = None;
        self.send_signal(signals::KILL).await;
    }

    pub(super) async fn send_signal(&mut self, signal: i32) {
        let Some(live) = self.now.phase.live() else { return };
        let shim = Arc::clone(&live.shim);
        self.event("kill", &[("signal", signal.to_string())]);
        let kill = ToShim::Kill { session: Session::Container, signal, all: false };
        // A process that has just ended cannot be signalled; its exit event is on its way. What must end does so even if
        // its shim hangs: the loss of that is what comes then.
        let _ended = match signal {
            signals::KILL => shim.call_at_last(kill).await,
            _ => shim.call(kill, &[]).await,
        };
        if signal == signals::KILL && matches!(self.now.phase, Phase::Paused(_)) {
            // A frozen process dies when it thaws (cgroup v1).
            let _thawed = shim.call(ToShim::Resume, &[]).await;
        }
    }

    pub(super) async fn pause(&mut self) -> Result<()> {
        self.admit(Ask::Pause)?;
        let Some(live) = self.now.phase.live().cloned() else { return Ok(()) };
        self.abandon_probe().await;
        if let Err(e) = live.shim.call(ToShim::Pause, &[]).await {
            self.begin_monitor();
            return Err(e);
        }
        self.end_health();
        self.now.phase = Phase::Paused(live);
        self.publish();
        self.event("pause", &[]);
        Ok(())
    }

    pub(super) async fn unpause(&mut self) -> Result<()> {
        self.admit(Ask::Unpause)?;
        let Some(live) = self.now.phase.live().cloned() else { return Ok(()) };
        match live.shim.call(ToShim::Resume, &[]).await {
            // It has ended, which we are about to be told.
            Err(e) if e.kind() == Kind::Conflict => return Err(not_running(&self.now.record.id)),
            resumed => resumed?,
        };
        self.now.phase = Phase::Running(live);
        self.begin_monitor();
        self.publish();
        self.event("unpause", &[]);
        Ok(())
    }

    /// The container runs; should its log be shipped, its output may have to be held.
    fn follow_log(&self, shim: &Arc<Shim>) {
        let (hold, asked) = mpsc::unbounded_channel();
        self.services.logs.running(&self.now.record, hold);
        // As a rule nobody will ask, and then there is no task.
        if !asked.is_closed() {
            tokio::spawn(hold_when_asked(Arc::clone(shim), asked));
        }
    }

    /// Tells a shim whose container has ended that it may go. The next start waits until it has cleaned up; for one that
    /// is killed before it has, that is done here.
    pub(super) fn let_go(&mut self, shim: Arc<Shim>) {
        let services = Arc::clone(&self.services);
        let record = Arc::clone(&self.now.record);
        self.ending = Some(tokio::spawn(async move {
            if shim.call_at_last(ToShim::Shutdown).await.is_ok() {
                return;
            }
            let cgroup = services.cgroup_of(&record);
            let clean = move || recover::clean_up(&services, &cgroup);
            let _done = tokio::task::spawn_blocking(clean).await;
        }));
    }

    /// Waits until the last shim that was told to go has gone.
    pub(super) async fn have_let_go(&mut self) {
        if let Some(ending) = self.ending.take() {
            let _ended = ending.await;
        }
    }

    /// A shim that was found alive: the container runs, or ended while nobody looked.
    pub(crate) async fn adopted(
        &mut self,
        shim: Arc<Shim>,
        events: mpsc::UnboundedReceiver<Event>,
        state: &State,
        endpoints: Endpoints,
    ) {
        let since = state.started_at.map_or(Timestamp::ZERO, Timestamp::from_unix_nanos);
        self.change(|record| {
            record.last.started = since;
            record.last.finished = Timestamp::ZERO;
            record.last.restart_at = None;
        });
        self.follow_log(&shim);
        let live = Live { shim: Arc::clone(&shim), pid: state.pid, since };
        self.now.endpoints = endpoints;
        self.now.phase = if state.paused { Phase::Paused(live) } else { Phase::Running(live) };
        self.events = Some(events);
        self.resume_health();
        self.publish();
        if let Some(exit) = state.exit.clone() {
            self.let_go(shim);
            self.ended(&exit, None).await;
            return;
        }
        self.settle_networks().await;
        self.tell_owner();
        self.publish();
        self.end_old_probes(&shim, state).await;
        if self.now.record.last.limits_pending {
            let limits = crate::limits::change(&self.now.record.host.resources);
            if let Err(e) = self.tell_limits(Some(&shim), &limits).await {
                tracing::error!(container = %self.now.record.id, "set changed limits: {e}");
            }
        }
    }
}

/// Once a container has been on a network, that one is meant, whatever else gets its name.
fn settle(record: &mut ContainerRecord, endpoints: &Endpoints) {
    let mut networks = record.networks_at_start();
    for (name, endpoint) in endpoints {
        networks.entry(name.clone()).or_default().network_id.clone_from(&endpoint.network);
    }
    record.endpoints = Some(networks);
}

/// Tells a shim to hold its container's output and to let it go, in the order in which that is wanted.
async fn hold_when_asked(shim: Arc<Shim>, mut asked: mpsc::UnboundedReceiver<bool>) {
    while let Some(hold) = asked.recv().await {
        // A shim that is gone holds nobody.
        let _gone = shim.call(ToShim::Hold(hold), &[]).await;
    }
}
