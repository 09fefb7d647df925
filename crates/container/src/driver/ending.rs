//! Its end, what its restart policy makes of it, its removal.

use super::running::By;
use super::{Driver, Then, answer};
use crate::handle::RemoveRequest;
use crate::recover;
use crate::restart::{self, Ended};
use crate::services::{Measured, Save};
use crate::state::Phase;
use std::sync::Arc;
use std::time::Duration;
use stdx::time::Timestamp;
use stdx::{Error, Result, fail_point};
use task::protocol::Exit;
use tokio::time::Instant;

impl Driver {
    /// The shim is gone without having told how the container ended.
    pub(super) async fn lost(&mut self) {
        self.events = None;
        let services = Arc::clone(&self.services);
        let id = self.now.record.id.clone();
        let exit = tokio::task::spawn_blocking(move || recover::lost_shim(&services, &id)).await;
        let (exit, error) = exit.unwrap_or_else(|e| (recover::unknown_exit(), Some(e.to_string())));
        self.ended(&exit, error).await;
    }

    /// The container has ended: everyone is told, and what was to follow follows.
    pub(crate) async fn ended(&mut self, exit: &Exit, error: Option<String>) {
        let finished = Timestamp::from_unix_nanos(exit.at);
        self.events = None;
        self.deadline = None;
        self.services.network.leave(&self.now.record.id);
        self.services.logs.ended(&self.now.record.id);
        self.now.endpoints.clear();
        self.end_health();
        self.services.world.execs_ended(&self.now.record);
        self.change(|record| {
            record.last.finished = finished;
            record.last.code = exit.code;
            record.last.oom = exit.oom;
            record.last.error = error;
        });
        let then = std::mem::replace(&mut self.then, Then::Policy);
        if !matches!(then, Then::Policy) || !self.restarts(false) {
            self.now.phase = Phase::Exited;
        }
        self.now.exits += 1;
        self.publish();
        let ran = self.ran().as_secs();
        self.event(
            "die",
            &[("execDuration", ran.to_string()), ("exitCode", exit.code.to_string())],
        );
        self.services.world.detach_volumes(&self.now.record);
        let mut waiting = std::mem::take(&mut self.stopped);
        if !waiting.is_empty() {
            self.event("stop", &[]);
        }
        waiting.append(&mut self.killed);
        match &then {
            Then::Policy if self.now.record.host.auto_remove => {
                let _logged = self.remove(RemoveRequest { force: true, volumes: true });
            }
            Then::Policy | Then::Restart(_) => self.save(Save::Soon),
            Then::Remove(..) => {}
        }
        for reply in waiting {
            answer(reply, Ok(()));
        }
        match then {
            Then::Policy => {}
            Then::Restart(replies) => {
                self.event("stop", &[]);
                let by = if replies.is_empty() { By::Engine } else { By::User };
                // Starting is not recursion: a container that ends while it starts reports through its events.
                let result = Box::pin(self.start(by)).await;
                match &result {
                    Ok(()) => self.event("restart", &[]),
                    Err(e) if replies.is_empty() => self.complain("start again", e),
                    Err(_) => {}
                }
                for reply in replies {
                    let told = result.as_ref().copied();
                    answer(reply, told.map_err(|e| Error::new(e.kind(), e.to_string())));
                }
            }
            Then::Remove(remove, reply) => {
                let result = self.remove(remove);
                answer(reply, result);
            }
        }
    }

    /// How long it ran when it last did.
    fn ran(&self) -> Duration {
        let last = &self.now.record.last;
        let nanos = last.finished.unix_nanos() - last.started.unix_nanos();
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }

    /// Asks the policy of a container that ended. If it wants it again, that is noted, counted and waited for. `found`:
    /// it ended long ago, and it is the daemon's start that asks.
    pub(crate) fn restarts(&mut self, found: bool) -> bool {
        let record = &self.now.record;
        let ended = Ended { code: record.last.code, by_user: record.stopped_by_user, found };
        let wanted = restart::is_wanted(&record.host.restart, record.restart_count, ended);
        if !wanted || self.halting {
            self.change(|record| record.last.restart_at = None);
            return false;
        }
        let last = &record.last;
        let (at, delay) = if found {
            (Timestamp::now(), Duration::ZERO)
        } else {
            let delay = restart::delay(Duration::from_millis(last.restart_delay), self.ran());
            let nanos = u32::try_from(delay.as_nanos() % 1_000_000_000).unwrap_or(0);
            let seconds = i64::try_from(delay.as_secs()).unwrap_or(0);
            let then = last.finished.plus_nanos(nanos);
            (Timestamp::from_unix(then.unix_seconds() + seconds, then.subsec_nanos()), delay)
        };
        let at = i64::try_from(at.unix_nanos()).unwrap_or(i64::MAX);
        self.change(|record| {
            record.last.restart_at = Some(at);
            if !found {
                record.last.restart_delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                record.restart_count = record.restart_count.saturating_add(1);
            }
        });
        self.wait_for_restart(at);
        true
    }

    /// It is started again at `at`, in nanoseconds since 1970.
    pub(crate) fn wait_for_restart(&mut self, at: i64) {
        let left = i128::from(at) - Timestamp::now().unix_nanos();
        let left = Duration::from_nanos(u64::try_from(left).unwrap_or(0));
        // A clock that was set back must not keep a container down for longer than its policy ever waits.
        self.restart_at = Some(Instant::now() + left.min(Duration::from_secs(60)));
        self.now.phase = Phase::Restarting;
    }

    /// The wait of the policy is over.
    pub(super) async fn start_again(&mut self) {
        self.restart_at = None;
        if std::mem::take(&mut self.at_rest) {
            self.wait_for_links().await;
        }
        let result = match before_restart() {
            Ok(()) => self.start(By::Engine).await,
            Err(e) => {
                self.start_failed(&e);
                Err(e)
            }
        };
        if let Err(e) = result {
            self.complain("start again as its policy wants", &e);
        }
    }

    /// Its user does not want what its policy is about to do.
    pub(super) fn stay_down(&mut self) -> Result<()> {
        self.restart_at = None;
        self.change(|record| record.last.restart_at = None);
        self.now.phase = Phase::Exited;
        let kept = self.by_user();
        self.save(Save::Soon);
        self.publish();
        kept
    }

    /// Removes a container that does not run.
    pub(super) fn remove(&mut self, remove: RemoveRequest) -> Result<()> {
        let began = Instant::now();
        self.now.phase = Phase::Removing;
        self.publish();
        self.attachments.clear();
        let volumes = remove.volumes || self.now.record.host.auto_remove;
        match self.services.world.forget(&self.now.record, volumes) {
            Ok(()) => {
                self.event("destroy", &[]);
                self.services.world.measured(Measured::Removal(began.elapsed()));
                self.now.phase = Phase::Gone;
                self.publish();
                Ok(())
            }
            Err(error) => {
                self.complain("remove", &error);
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

    fn complain(&self, doing: &str, error: &stdx::Error) {
        tracing::error!(container = %self.now.record.id, "{doing}: {error}");
    }
}

fn before_restart() -> Result<()> {
    fail_point!("container.restart.before-start");
    Ok(())
}
