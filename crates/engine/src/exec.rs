//! Further processes in running containers.

use crate::Engine;
use crate::containers::Resize;
use crate::containers::attach::Attached;
use container::shim::socket_pair;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use stdx::{Error, Result};
use task::protocol::{Attachment, Exec, Session};
use tracing::Instrument as _;

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct ExecConfig {
    /// Program and arguments.
    pub cmd: Vec<String>,
    /// `NAME=value` entries over the container's own.
    pub env: Vec<String>,
    /// As `--user` of a container; empty: the container's.
    pub user: String,
    /// Working directory; empty: the container's.
    pub working_dir: String,
    /// All capabilities, no seccomp.
    pub privileged: bool,
    /// A terminal of its own.
    pub tty: bool,
    /// Attach standard input.
    pub attach_stdin: bool,
    /// Attach standard output.
    pub attach_stdout: bool,
    /// Attach standard error.
    pub attach_stderr: bool,
    /// The keys that leave it.
    pub detach_keys: String,
    /// The terminal's first size.
    pub console_size: Option<Resize>,
}

/// How to start it.
#[derive(Debug, Clone, Copy, Default)]
pub struct StartExec {
    /// Nobody listens.
    pub detach: bool,
    /// The client expects a terminal's raw stream.
    pub tty: bool,
    /// The terminal's first size.
    pub console_size: Option<Resize>,
}

/// An exec session.
#[derive(Debug, Clone)]
pub struct ExecView {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Where it runs.
    pub container_id: String,
    /// What.
    pub config: ExecConfig,
    /// It has been started and has not ended.
    pub running: bool,
    /// How it ended.
    pub exit_code: Option<i32>,
    /// Its process; 0 before it is started.
    pub pid: i32,
    /// Counts sessions: the lower, the older.
    number: u64,
}

/// The sessions of all containers. They end with their container or the daemon's life, like Docker's.
#[derive(Debug, Default)]
pub(crate) struct Execs {
    table: Mutex<HashMap<String, ExecView>>,
    count: AtomicU64,
    /// Told of every end.
    ends: tokio::sync::Notify,
}

/// Sessions that do not run are kept for `inspect` and for their start, but no more than this many a container: the
/// oldest go first, those that have ended before those that were never started.
const KEPT: usize = 256;

impl Execs {
    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<String, ExecView>> {
        self.table.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn get(&self, id: &str) -> Result<ExecView> {
        self.table()
            .get(id)
            .cloned()
            .ok_or_else(|| Error::not_found(format!("No such exec instance: {id}")))
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut ExecView)) {
        if let Some(exec) = self.table().get_mut(id) {
            change(exec);
        }
    }

    /// An exec's process ended.
    pub(crate) fn ended(&self, id: &str, code: i32) {
        self.change(id, |exec| {
            exec.running = false;
            exec.exit_code = Some(code);
        });
        self.ends.notify_waiters();
    }

    /// The sessions of `container` that run.
    pub(crate) fn running_in(&self, container: &str) -> Vec<String> {
        let table = self.table();
        table
            .values()
            .filter(|e| e.container_id == container && e.running)
            .map(|e| e.id.clone())
            .collect()
    }

    /// The container is gone.
    pub(crate) fn forget(&self, container: &str) {
        self.table().retain(|_, exec| exec.container_id != container);
        self.ends.notify_waiters();
    }

    fn insert(&self, exec: ExecView) {
        let mut table = self.table();
        let exec = ExecView { number: self.count.fetch_add(1, Ordering::Relaxed), ..exec };
        let mut idle: Vec<(bool, u64, String)> = table
            .values()
            .filter(|e| e.container_id == exec.container_id && !e.running)
            .map(|e| (e.exit_code.is_none(), e.number, e.id.clone()))
            .collect();
        // The new one is idle, too.
        let excess = (idle.len() + 1).saturating_sub(KEPT);
        if excess > 0 {
            idle.sort_unstable();
            for (_, _, id) in &idle[..excess] {
                table.remove(id);
            }
        }
        table.insert(exec.id.clone(), exec);
    }
}

/// A command as events tell it: Docker's text has the blank even where no argument follows.
fn spoken(command: &[String]) -> String {
    let (program, arguments) = command.split_first().expect("a session has a command");
    format!("{program} {}", arguments.join(" "))
}

impl Engine {
    /// Prepares a session in a running container; its id.
    pub fn create_exec(&self, name: &str, config: ExecConfig) -> Result<String> {
        let container = self.inner.containers.find(name)?;
        let now = container.now();
        if config.cmd.is_empty() {
            return Err(Error::invalid("No exec command specified"));
        }
        if config.privileged && container::strict::is_strict(&now.record.host.security_opt) {
            return Err(Error::invalid(
                "conflicting options: privileged exec and the security profile strict of the container",
            ));
        }
        container::admission::admit(
            &now.phase,
            container::admission::Ask::Exec,
            &now.record.id,
            &now.record.name,
        )?;
        // What its links tell it is looked up when it starts; whoever cannot be told is refused now, as by Docker.
        container::links::of(self.inner.services.world.as_ref(), &now.record)?;
        let id = types::ContainerId::from_bytes(&crate::mounts::random()?).to_string();
        let action = format!("exec_create: {}", spoken(&config.cmd));
        self.inner.execs.insert(ExecView {
            id: id.clone(),
            container_id: now.record.id.clone(),
            config,
            running: false,
            exit_code: None,
            pid: 0,
            number: 0,
        });
        crate::world::tell(&self.inner.events, &container, &action, &[("execID", id.clone())]);
        Ok(id)
    }

    /// Starts a session. Its streams, unless nobody listens.
    pub async fn start_exec(&self, id: &str, start: StartExec) -> Result<Option<Attached>> {
        let exec = self.inner.execs.get(id)?;
        if exec.running {
            return Err(Error::conflict(format!("Error: Exec command {id} is already running")));
        }
        if exec.exit_code.is_some() {
            return Err(Error::conflict(format!("Error: Exec command {id} has already run")));
        }
        let container = self.inner.containers.find(&exec.container_id)?;
        let record = container.now().record;
        let config = &exec.config;
        let size = start.console_size.or(config.console_size);
        let wanted = container::exec::Wanted {
            cmd: &config.cmd,
            env: &config.env,
            user: &config.user,
            working_dir: &config.working_dir,
            privileged: config.privileged,
            tty: config.tty,
            size: size.map(|size| (size.rows, size.columns)),
        };
        let (process, seccomp) = container::exec::process(&self.inner.services, &record, &wanted)?;
        let streams = Attachment {
            stdin: config.attach_stdin,
            stdout: config.attach_stdout,
            stderr: config.attach_stderr,
        };
        let listens = !start.detach && streams != Attachment::default();
        let (ours, theirs) = if listens { Some(socket_pair()?) } else { None }.unzip();
        let request = Exec {
            id: id.to_owned(),
            process,
            seccomp,
            stdin: config.attach_stdin && !start.detach,
            attachments: theirs.iter().map(|_| streams).collect(),
        };
        // Marked before it runs: its end may be told before the answer to its start is.
        self.inner.execs.change(id, |exec| exec.running = true);
        let action = format!("exec_start: {}", spoken(&config.cmd));
        crate::world::tell(&self.inner.events, &container, &action, &[("execID", id.to_owned())]);
        let span = tracing::trace_span!(
            target: stdx::TRACES, "start session", container.id = record.id, exec.id = id
        );
        let started = container.exec(Box::new(request), theirs.into_iter().collect());
        match started.instrument(span).await {
            Ok(pid) => {
                self.inner.execs.change(id, |exec| exec.pid = pid);
                Ok(listens.then(|| Attached { stream: ours, history: Vec::new(), tty: config.tty }))
            }
            Err(error) => {
                // Docker's code for every session that could not be started.
                self.inner.execs.ended(id, 126);
                Err(container::exec::worded(error))
            }
        }
    }

    /// Sets the size of a session's terminal.
    pub async fn resize_exec(&self, id: &str, size: Resize) -> Result<()> {
        let exec = self.inner.execs.get(id)?;
        if !exec.running {
            return Err(Error::conflict(format!("Exec {id} is not running")));
        }
        let container = self.inner.containers.find(&exec.container_id)?;
        container.resize(Session::Exec(id.to_owned()), size.into()).await
    }

    /// A session.
    pub fn inspect_exec(&self, id: &str) -> Result<ExecView> {
        self.inner.execs.get(id)
    }

    /// Waits until a session does not run. Its output ends a moment before its exit code is known, and a client asks for
    /// the code as soon as it sees the end of the output.
    pub async fn exec_ended(&self, id: &str) {
        loop {
            let mut end = std::pin::pin!(self.inner.execs.ends.notified());
            // Before looking, so that an end in between is not missed.
            end.as_mut().enable();
            if !self.inner.execs.get(id).is_ok_and(|exec| exec.running) {
                return;
            }
            end.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_sessions_the_oldest_that_ended_are_forgotten_first() {
        let execs = Execs::default();
        let add = |id: &str, container: &str| {
            execs.insert(ExecView {
                id: id.to_owned(),
                container_id: container.to_owned(),
                config: ExecConfig::default(),
                running: false,
                exit_code: None,
                pid: 0,
                number: 0,
            });
        };
        add("elsewhere", "b");
        add("never-started", "a");
        add("running", "a");
        execs.change("running", |e| e.running = true);
        for number in 0..300 {
            let id = format!("ended-{number}");
            add(&id, "a");
            execs.ended(&id, 0);
        }
        add("new", "a");
        let known = |id: &str| execs.get(id).is_ok();
        assert!(["elsewhere", "never-started", "running", "new"].iter().all(|id| known(id)));
        // 256 that do not run: the new one, the one never started, and the last 254 that ended.
        let kept: Vec<bool> = (0..300).map(|n| known(&format!("ended-{n}"))).collect();
        assert_eq!(kept.iter().position(|k| *k), Some(46));
        assert!(kept[46..].iter().all(|k| *k));
        for number in 0..300 {
            add(&format!("unstarted-{number}"), "a");
        }
        assert!(known("running") && !known("new") && !known("ended-299"));
        assert_eq!(execs.table().len(), KEPT + 2);
    }
}
