//! Its health, looked after: probes are run one after the other through the shim, results taken in.
//!
//! A probe is an exec session whose name begins with [`SESSION`], so that a daemon that finds it running knows it for
//! one of its predecessor's. Nothing is polled: between two probes there is one timer.

use super::{Driver, Then};
use crate::exec::{self, Wanted};
use crate::handle::StopRequest;
use crate::health::{self, Health, NO_CODE, OnFailure, Output, Plan, Probe, Status};
use crate::services::Measured;
use crate::shim::{Shim, socket_pair};
use crate::signals;
use crate::state::Phase;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stdx::fs::{Durability, replace};
use stdx::time::Timestamp;
use stdx::{Context as _, Error, Kind, Result};
use task::protocol::{Answer, Attachment, Exec, Request as ToShim, Session, State};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

/// What the shim calls a probe: this and an id.
const SESSION: &str = "probe:";
/// How long a probe that was killed may take to end before it is given up.
const KILLED: Duration = Duration::from_secs(10);

/// A running container's health is looked after.
#[derive(Debug)]
pub(super) struct Monitor {
    plan: Plan,
    next: Instant,
    probe: Option<Running>,
}

/// A probe that runs.
#[derive(Debug)]
struct Running {
    id: String,
    began: Timestamp,
    output: Arc<Mutex<Output>>,
    /// Until its output has ended.
    writes: Option<oneshot::Receiver<()>>,
    code: Option<i32>,
    deadline: Instant,
    killed: bool,
}

/// What is to be done about health.
#[derive(Debug)]
pub(super) enum Due {
    /// The next probe.
    Probe,
    /// A probe's output has ended.
    Written,
    /// A probe has ended.
    Ended,
    /// A probe takes too long.
    Overdue,
}

impl Due {
    /// Waits for it; for ever when nobody looks after the health.
    pub(super) async fn next(monitor: &mut Option<Monitor>) -> Self {
        let Some(monitor) = monitor else { return std::future::pending().await };
        let Some(probe) = &mut monitor.probe else {
            sleep_until(monitor.next).await;
            return Self::Probe;
        };
        let Some(writes) = &mut probe.writes else {
            if probe.code.is_none() {
                sleep_until(probe.deadline).await;
                return Self::Overdue;
            }
            return Self::Ended;
        };
        tokio::select! {
            biased;
            _ = writes => Self::Written,
            () = sleep_until(probe.deadline) => Self::Overdue,
        }
    }
}

impl Driver {
    /// A start: health begins anew, what was logged stays.
    pub(super) fn begin_health(&mut self) {
        if Plan::of(&self.now.record.config).is_none() {
            self.now.health = None;
            return;
        }
        let log = self.now.health.as_ref().map(|h| h.log.clone()).unwrap_or_default();
        self.set_health(Health { log, ..Health::default() });
        self.keep_health();
        self.begin_monitor();
    }

    /// A running container was found: health goes on where an earlier daemon left it.
    pub(super) fn resume_health(&mut self) {
        if Plan::of(&self.now.record.config).is_some() {
            self.read_health();
            if self.now.health.is_none() {
                self.set_health(Health::default());
            }
            if matches!(self.now.phase, Phase::Running(_)) {
                self.begin_monitor();
            }
        }
    }

    /// What an earlier daemon kept.
    pub(crate) fn read_health(&mut self) {
        let kept = std::fs::read(self.health_file()).ok();
        if let Some(health) = kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            self.set_health(health);
        }
    }

    /// Nobody probes any more: not healthy, as Docker says it.
    pub(super) fn end_health(&mut self) {
        self.monitor = None;
        if let Some(health) = &self.now.health {
            let health = Health { status: Status::Unhealthy, ..Health::clone(health) };
            self.set_health(health);
            self.keep_health();
        }
    }

    /// Schedules the next probe.
    pub(super) fn begin_monitor(&mut self) {
        let (Some(plan), Some(health), Some(live)) =
            (Plan::of(&self.now.record.config), &self.now.health, self.now.phase.live())
        else {
            return;
        };
        let next = Instant::now() + plan.wait(health.status, since(live.since));
        self.monitor = Some(Monitor { plan, next, probe: None });
    }

    /// A probe that runs is killed, and what it says is not heard.
    pub(super) async fn abandon_probe(&mut self) {
        let monitor = self.monitor.take();
        let live = self.now.phase.live().map(|live| Arc::clone(&live.shim));
        if let (Some(probe), Some(shim)) = (monitor.and_then(|m| m.probe), live) {
            kill(&shim, format!("{SESSION}{}", probe.id)).await;
        }
    }

    /// Probes that an earlier daemon started: nobody watches their time.
    pub(super) async fn end_old_probes(&mut self, shim: &Shim, state: &State) {
        for (session, _) in state.execs.iter().filter(|(name, _)| name.starts_with(SESSION)) {
            kill(shim, session.clone()).await;
        }
    }

    /// An exec session ended. If it was a probe: its id.
    pub(super) fn probe_ended(&mut self, session: &str, code: i32) -> Option<String> {
        let id = session.strip_prefix(SESSION)?;
        if let Some(probe) = self.monitor.as_mut().and_then(|m| m.probe.as_mut())
            && probe.id == id
        {
            probe.code = Some(code);
        }
        Some(id.to_owned())
    }

    pub(super) async fn on_due(&mut self, due: Due) {
        match due {
            Due::Probe => self.probe().await,
            Due::Written => {
                if let Some(probe) = self.monitor.as_mut().and_then(|m| m.probe.as_mut()) {
                    probe.writes = None;
                }
            }
            Due::Ended => self.conclude().await,
            Due::Overdue => self.overdue().await,
        }
    }

    async fn probe(&mut self) {
        let (began, asked) = (Timestamp::now(), Instant::now());
        match self.launch().await {
            Ok(running) => {
                self.services.world.measured(Measured::ProbeLaunch(asked.elapsed()));
                if let Some(monitor) = &mut self.monitor {
                    monitor.probe = Some(Running { began, ..running });
                }
            }
            // It has just ended, or stands still, of which news are on their way: no answer about its health.
            Err(error) if error.kind() == Kind::Conflict => {
                self.monitor = None;
                self.begin_monitor();
            }
            Err(error) => {
                self.services.world.measured(Measured::ProbeFailure);
                let output = exec::worded(error).to_string();
                self.take(Probe { start: nanos(began), end: now(), code: NO_CODE, output }).await;
            }
        }
    }

    async fn launch(&mut self) -> Result<Running> {
        let (Some(monitor), Some(live)) = (&self.monitor, self.now.phase.live()) else {
            return Err(super::not_running(&self.now.record.id));
        };
        let (timeout, command, shim) =
            (monitor.plan.timeout, monitor.plan.command.clone(), Arc::clone(&live.shim));
        let wanted = Wanted { cmd: &command, ..Wanted::default() };
        let (process, seccomp) = exec::process(&self.services, &self.now.record, &wanted)?;
        let id = random_id()?;
        let (ours, theirs) = socket_pair()?;
        let request = Exec {
            id: format!("{SESSION}{id}"),
            process,
            seccomp,
            stdin: false,
            attachments: vec![Attachment { stdin: false, stdout: true, stderr: true }],
        };
        let line = match command.split_first() {
            // The blank is there even where no argument follows, as in Docker's events.
            Some((program, arguments)) => format!("{program} {}", arguments.join(" ")),
            None => String::new(),
        };
        for what in ["exec_create", "exec_start"] {
            self.event(&format!("{what}: {line}"), &[("execID", id.clone())]);
        }
        match shim.call(ToShim::Exec(Box::new(request)), &[theirs.as_fd()]).await? {
            Answer::Started { .. } => {}
            other => {
                return Err(Error::internal(format!("the shim answered {other:?} to a probe")));
            }
        }
        let output = Arc::new(Mutex::new(Output::default()));
        let (done, writes) = oneshot::channel();
        tokio::spawn(collect(ours, Arc::clone(&output), done));
        let deadline = Instant::now() + timeout;
        let began = Timestamp::ZERO;
        Ok(Running { id, began, output, writes: Some(writes), code: None, deadline, killed: false })
    }

    /// A probe takes too long: it is killed. One that does not even end then is given up.
    async fn overdue(&mut self) {
        let live = self.now.phase.live().map(|live| Arc::clone(&live.shim));
        let Some(probe) = self.monitor.as_mut().and_then(|m| m.probe.as_mut()) else { return };
        if probe.code.is_some() || probe.killed {
            return self.conclude().await;
        }
        probe.killed = true;
        probe.deadline = Instant::now() + KILLED;
        if let Some(shim) = live {
            kill(&shim, format!("{SESSION}{}", probe.id)).await;
        }
    }

    /// A probe is over.
    async fn conclude(&mut self) {
        let Some(monitor) = &mut self.monitor else { return };
        let Some(probe) = monitor.probe.take() else { return };
        let text = probe.output.lock().unwrap_or_else(PoisonError::into_inner).text();
        let (code, output) = match probe.code {
            Some(code) if !probe.killed => (code, text),
            _ => (NO_CODE, health::overdue(monitor.plan.timeout, &text)),
        };
        self.take(Probe { start: nanos(probe.began), end: now(), code, output }).await;
    }

    /// Takes a result in and waits for the next probe.
    async fn take(&mut self, probe: Probe) {
        let (Some(monitor), Some(before), Some(live)) =
            (&mut self.monitor, self.now.health.clone(), self.now.phase.live())
        else {
            return;
        };
        let mut health = Health::clone(&before);
        health.take(probe, &monitor.plan, live.since);
        monitor.next = Instant::now() + monitor.plan.wait(health.status, since(live.since));
        let status = health.status;
        let changed = status != before.status;
        let kept = !changed && health.streak == before.streak;
        self.set_health(health);
        self.publish();
        if !kept {
            self.keep_health();
        }
        if changed {
            self.event(&format!("health_status: {}", status.word()), &[]);
        }
        if changed && status == Status::Unhealthy && matches!(self.now.phase, Phase::Running(_)) {
            self.act_on_failure().await;
        }
    }

    async fn act_on_failure(&mut self) {
        match OnFailure::of(&self.now.record) {
            OnFailure::Nothing => {}
            OnFailure::Restart => {
                // What somebody asked for already comes first.
                if matches!(self.then, Then::Policy) {
                    self.then = Then::Restart(Vec::new());
                }
                self.stop(&StopRequest::default()).await;
            }
            OnFailure::Stop => {
                if let Err(e) = self.by_user() {
                    tracing::error!(container = %self.now.record.id, "stop the unhealthy: {e}");
                }
                self.stop(&StopRequest::default()).await;
            }
            OnFailure::Kill => self.send_signal(signals::KILL).await,
        }
    }

    fn health_file(&self) -> PathBuf {
        self.services.paths.exec_of(&self.now.record.id).join("health.json")
    }

    /// Keeps it for the next daemon. Written when the status or the streak changes, so a healthy container writes none.
    fn keep_health(&self) {
        let Some(health) = &self.now.health else { return };
        let written = serde_json::to_vec(&**health)
            .map_err(|e| Error::internal("encode health").caused_by(e))
            .and_then(|bytes| replace(&self.health_file(), &bytes, 0o600, Durability::Process));
        if let Err(e) = written {
            tracing::warn!(container = %self.now.record.id, "keep health: {e}");
        }
    }
}

/// Reads what a probe writes to its end. The client of a shim gets frames: a byte that says which stream, three zeros,
/// the length, the bytes.
async fn collect(mut stream: UnixStream, output: Arc<Mutex<Output>>, done: oneshot::Sender<()>) {
    let mut buffer = vec![0; 4096];
    let mut header = [0; 8];
    while stream.read_exact(&mut header).await.is_ok() {
        let [_, _, _, _, a, b, c, d] = header;
        let mut left = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(0);
        while left > 0 {
            let part = left.min(buffer.len());
            match stream.read(&mut buffer[..part]).await {
                Ok(0) | Err(_) => break,
                Ok(n) => {
                    output.lock().unwrap_or_else(PoisonError::into_inner).push(&buffer[..n]);
                    left -= n;
                }
            }
        }
        if left > 0 {
            break;
        }
    }
    // The driver may not care any more.
    let _unheard = done.send(());
}

async fn kill(shim: &Shim, session: String) {
    let session = Session::Exec(session);
    // One that has just ended needs no killing.
    let _ended = shim.call(ToShim::Kill { session, signal: signals::KILL, all: false }, &[]).await;
}

fn random_id() -> Result<String> {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(std::io::Error::from)
        .context(|| "read random bytes")?;
    Ok(types::ContainerId::from_bytes(&bytes).to_string())
}

fn since(then: Timestamp) -> Duration {
    let nanos = Timestamp::now().unix_nanos() - then.unix_nanos();
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

fn nanos(at: Timestamp) -> i64 {
    i64::try_from(at.unix_nanos()).unwrap_or(i64::MAX)
}

fn now() -> i64 {
    nanos(Timestamp::now())
}
