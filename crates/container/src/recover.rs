//! Finding again what an earlier daemon left of a container, dead or alive.

use crate::driver::Driver;
use crate::services::{Save, Services};
use crate::shim::Shim;
use crate::state::Phase;
use std::path::Path;
use stdx::time::Timestamp;
use task::protocol::{Answer, Exit, Request, ShimRecord, State};

impl Driver {
    /// Adopts a running shim, or takes the exit that one recorded, or cleans up after one that was killed.
    pub(crate) async fn recover(&mut self) {
        let services = std::sync::Arc::clone(&self.services);
        let record = std::sync::Arc::clone(&self.now.record);
        let folder = services.paths.exec_of(&record.id);
        let Some(shim_record) = read_shim_record(&folder, &services.boot_id) else {
            // Not running when the daemon ended, or the machine was started anew since then.
            self.take_recorded_exit();
            return;
        };
        match ask(&folder).await {
            Some((shim, _events, State { started_at: None, exit: None, .. })) => {
                // The daemon died between creating and starting: nothing ran, and nobody waits for it any more.
                shim.abandon().await;
                // The end of what never ran is no exit of the container.
                if let Err(e) = stdx::fs::remove_file(&folder.join("exit.json")) {
                    tracing::error!("forget the end of what was never started: {e}");
                }
                self.after_recovery(false);
            }
            Some((shim, events, state)) => {
                let endpoints = services.network.adopt(&record, &folder);
                self.adopted(shim, events, &state, endpoints).await;
            }
            None if folder.join("exit.json").exists() => {
                // It recorded the exit; what it was killed before is done for it.
                clean_up(&services, &shim_record.cgroup);
                self.take_recorded_exit();
            }
            None if shim_record.container_pid.is_none() && record.last.started.is_zero() => {
                // The daemon died in the middle of a start, before there was a process.
                clean_up(&services, &shim_record.cgroup);
                self.after_recovery(false);
            }
            None => {
                let id = record.id.clone();
                let lost = tokio::task::spawn_blocking(move || lost_shim(&services, &id)).await;
                let (exit, error) = lost.unwrap_or_else(|e| (unknown_exit(), Some(e.to_string())));
                self.ended(&exit, error).await;
            }
        }
    }

    /// The exit that the shim wrote when no daemon listened, from either root.
    fn take_recorded_exit(&mut self) {
        let id = self.now.record.id.clone();
        let paths = &self.services.paths;
        let files = [paths.exec_of(&id).join("exit.json"), paths.data_of(&id).join("exit.json")];
        let exit = files.iter().find_map(|path| read_exit(path));
        let mut is_news = false;
        if let Some(exit) = exit {
            let finished = Timestamp::from_unix_nanos(exit.at);
            if finished > self.now.record.last.finished {
                is_news = true;
                let record = std::sync::Arc::make_mut(&mut self.now.record);
                if record.last.started.is_zero() {
                    record.last.started = finished;
                }
                record.last.finished = finished;
                record.last.code = exit.code;
                record.last.oom = exit.oom;
                self.save(Save::Soon);
            }
        }
        self.after_recovery(is_news);
    }

    /// `is_news`: it ended while no daemon ran, and its policy has not been asked yet.
    fn after_recovery(&mut self, is_news: bool) {
        self.read_health();
        let record = &self.now.record;
        self.services.network.leave(&record.id);
        self.now.phase = if record.last.started.is_zero() { Phase::Created } else { Phase::Exited };
        if matches!(self.now.phase, Phase::Exited) && record.last.finished.is_zero() {
            // It ran when the machine went down.
            let record = std::sync::Arc::make_mut(&mut self.now.record);
            record.last.finished = Timestamp::now();
            record.last.code = 255;
            self.save(Save::Soon);
        }
        if matches!(self.now.phase, Phase::Exited) {
            let waits_until = self.now.record.last.restart_at.filter(|_| !is_news);
            if let Some(at) = waits_until {
                // The wait that the last daemon began goes on.
                self.wait_for_restart(at);
            } else if self.restarts(!is_news) {
                self.save(Save::Soon);
            }
        }
        self.publish();
        if self.now.record.host.auto_remove && !self.now.record.last.finished.is_zero() {
            self.remove_after_recovery();
        }
    }
}

/// A shim that answers, with its events and state.
async fn ask(
    folder: &Path,
) -> Option<(
    std::sync::Arc<Shim>,
    tokio::sync::mpsc::UnboundedReceiver<task::protocol::Event>,
    State,
)> {
    let (shim, events) = Shim::reconnect(folder).ok()?;
    match shim.call(Request::State, &[]).await {
        Ok(Answer::State(state)) => Some((shim, events, state)),
        _ => None,
    }
}

fn read_shim_record(folder: &Path, boot_id: &str) -> Option<ShimRecord> {
    let bytes = std::fs::read(folder.join("shim.json")).ok()?;
    let record: ShimRecord = serde_json::from_slice(&bytes).ok()?;
    (record.boot_id == boot_id && record.version == task::protocol::VERSION).then_some(record)
}

fn read_exit(path: &Path) -> Option<Exit> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// The exit of a container nobody saw ending.
pub(crate) fn unknown_exit() -> Exit {
    Exit {
        code: 137,
        at: i64::try_from(Timestamp::now().unix_nanos()).unwrap_or(i64::MAX),
        oom: false,
    }
}

/// A shim that ended without telling: its exit record if it wrote one, otherwise what is left of the container is
/// killed, since nobody would supervise it.
pub(crate) fn lost_shim(services: &Services, id: &str) -> (Exit, Option<String>) {
    let folder = services.paths.exec_of(id);
    if let Some(record) = read_shim_record(&folder, &services.boot_id) {
        clean_up(services, &record.cgroup);
    }
    if let Some(exit) = read_exit(&folder.join("exit.json")) {
        return (exit, None);
    }
    (unknown_exit(), Some("the container's shim was killed; the container was ended".to_owned()))
}

/// Kills what runs in the cgroup of a shim that is gone, and removes the cgroup.
pub(crate) fn clean_up(services: &Services, cgroup: &str) {
    let result = services.hierarchies.parse::<cgroups::Hierarchies>().and_then(|hierarchies| {
        let group = cgroups::Group::open(&hierarchies, cgroup)?;
        group.kill()?;
        group.remove()
    });
    if let Err(e) = result
        && e.kind() != stdx::Kind::NotFound
    {
        tracing::error!(%cgroup, "clean up after a lost shim: {e}");
    }
}
