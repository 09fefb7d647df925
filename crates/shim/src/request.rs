//! What a daemon asks of a container that there is.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags};
use stdx::{Context as _, Error, Result};
use sys::tty::Size;
use task::protocol::{Answer, Exec, Failure, FailureKind, Request, Session, State};

use crate::container::failure;
use crate::daemons::Caller;
use crate::supervisor::{CONTAINER, Phase, Process, Supervisor, now};

/// The number of `SIGKILL`.
const KILL: i32 = 9;

/// How long the end of a container may take that was seen by what joined it: a second, on a machine that is busy.
const JOINED_TOO_LATE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// The same where nothing shows that it ends: meanwhile nobody else is served.
const JOINED_IN_VAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// The kernel's flag of a process that is ending, in `/proc/PID/stat`.
const PF_EXITING: u32 = 4;

/// An answer that says that this is not the time.
pub(crate) fn conflict(message: impl Into<String>) -> Answer {
    Answer::Failed(Failure { kind: FailureKind::Conflict, message: message.into() })
}

impl Supervisor {
    /// Does what is asked and answers; the answer to `Shutdown` comes when all is cleaned up.
    pub(crate) fn on_request(&mut self, caller: Caller, request: Request, fds: Vec<OwnedFd>) {
        let answer = match request {
            Request::Create(_) => conflict("there is a container already"),
            Request::Start => self.start(),
            Request::Exec(exec) => self.exec(&exec, fds),
            Request::Attach { session, streams } => done(self.find(&session).and_then(|id| {
                let socket = fds
                    .into_iter()
                    .next()
                    .ok_or_else(|| Error::invalid("attach without a socket"))?;
                self.streams.attach(id, socket, streams)
            })),
            Request::Kill { session, signal, all } => done(self.kill(&session, signal, all)),
            Request::Resize { session, size } => done(self.find(&session).and_then(|id| {
                self.streams.resize(id, Size { rows: size.rows, columns: size.columns })
            })),
            Request::Pause => done(self.pause()),
            Request::Resume => done(self.running().and_then(|()| self.resume())),
            Request::Update(resources) => {
                done(self.running().and_then(|()| self.container.update(&resources)))
            }
            Request::Hold(hold) => {
                self.streams.hold(hold);
                Answer::Done
            }
            Request::State => Answer::State(self.state()),
            Request::Shutdown => {
                self.shut_down(caller);
                return;
            }
        };
        self.daemons.answer(caller, answer);
    }

    fn start(&mut self) -> Answer {
        if !matches!(self.phase, Phase::Created)
            || self.processes.get(&CONTAINER).is_none_or(|p| p.ended.is_some())
        {
            return conflict("the container is already started");
        }
        match self.container.start() {
            Ok(()) => {
                let at = now();
                self.phase = Phase::Running(at);
                Answer::Started { pid: self.container.handle.pid(), at }
            }
            // The process has ended; that is told as any end is.
            Err(failure) => Answer::Failed(failure),
        }
    }

    fn exec(&mut self, exec: &Exec, fds: Vec<OwnedFd>) -> Answer {
        if let Err(error) = self.running() {
            return Answer::Failed(failure(&error));
        }
        if self.paused {
            // Who joins a frozen cgroup stands still, and we would wait for it.
            return conflict("the container is paused");
        }
        let session = Session::Exec(exec.id.clone());
        if self.processes.values().any(|p| p.session == session) {
            return conflict(format!("exec session {} exists", exec.id));
        }
        let made = match self.container.exec(exec) {
            Ok(made) => made,
            Err(failure) => {
                // There may be nothing left to join: its end has not been looked at yet, and is the reason then.
                if failure.kind == FailureKind::Internal {
                    self.await_end();
                }
                self.reap();
                let ended = self.running().err();
                return Answer::Failed(ended.map_or(failure, |e| crate::container::failure(&e)));
            }
        };
        let (pid, pidfd) = made.what;
        let id = self.next_session;
        self.next_session += 1;
        let mut streams = made.session;
        streams.ends_input = true;
        self.streams.add(id, streams);
        self.processes.insert(id, Process { session, pid, pidfd, ended: None });
        for (socket, attachment) in fds.into_iter().zip(&exec.attachments) {
            // A socket that cannot be watched is as good as one that hung up; the process runs.
            if let Err(error) = self.streams.attach(id, socket, *attachment) {
                self.files.complain(&error);
            }
        }
        Answer::Started { pid, at: now() }
    }

    /// Waits a moment for the container's end. The kernel ends the others of a pid namespace, whoever just joined it among
    /// them, before the end of the first can be seen.
    fn await_end(&self) {
        let patience = if self.is_ending() { JOINED_TOO_LATE } else { JOINED_IN_VAIN };
        let mut fds = [PollFd::new(self.container.handle.pidfd(), PollFlags::IN)];
        // On an error there is nothing to wait for.
        let _ended = poll(&mut fds, Some(&patience));
    }

    /// Whether the first process is on its way out: it ends the others before it is gone itself.
    fn is_ending(&self) -> bool {
        let path = format!("/proc/{}/stat", self.container.handle.pid());
        // Not reaped yet, so this number is nobody else's.
        let Ok(stat) = std::fs::read_to_string(path) else { return true };
        // Its name, in brackets, may hold anything; state, five numbers and the flags follow.
        let flags = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(6));
        flags.and_then(|n| n.parse::<u32>().ok()).is_none_or(|n| n & PF_EXITING != 0)
    }

    fn kill(&mut self, session: &Session, signal: i32, all: bool) -> Result<()> {
        let id = self.find(session)?;
        if all && signal == KILL {
            self.container.group.kill()?;
        } else if all {
            for pid in self.container.group.pids()? {
                signal_pid(pid, signal)?;
            }
        } else if let Some(process) = self.processes.get(&id).filter(|p| p.ended.is_none()) {
            match id {
                CONTAINER => self.container.kill(signal)?,
                _ => {
                    sys::process::signal(&process.pidfd, signal).context(|| "signal the process")?
                }
            }
        } else {
            return Err(Error::not_found("the process has ended"));
        }
        if signal == KILL && self.paused && (all || id == CONTAINER) {
            // A frozen process of a v1 cgroup dies only when it is thawed.
            self.resume()?;
        }
        Ok(())
    }

    fn pause(&mut self) -> Result<()> {
        self.running()?;
        if !self.paused {
            self.container.freeze()?;
            self.paused = true;
        }
        Ok(())
    }

    fn resume(&mut self) -> Result<()> {
        if self.paused {
            self.container.thaw()?;
            self.paused = false;
        }
        Ok(())
    }

    fn state(&self) -> State {
        let (started_at, exit) = match &self.phase {
            Phase::Created => (None, None),
            Phase::Running(at) => (Some(*at), None),
            Phase::Exited(at, exit) => (*at, Some(exit.clone())),
        };
        let execs = self.processes.values().filter_map(|p| match &p.session {
            Session::Exec(id) => Some((id.clone(), p.pid)),
            Session::Container => None,
        });
        State {
            pid: self.container.handle.pid(),
            started_at,
            paused: self.paused,
            exit,
            execs: execs.collect(),
        }
    }

    fn running(&self) -> Result<()> {
        let ended = self.processes.get(&CONTAINER).is_none_or(|p| p.ended.is_some());
        match self.phase {
            Phase::Running(_) if !ended => Ok(()),
            _ => Err(Error::conflict("the container is not running")),
        }
    }

    /// The id of a session whose process lives or whose output is not all there.
    fn find(&self, session: &Session) -> Result<u32> {
        let found = self.processes.iter().find(|(_, p)| p.session == *session);
        found.map(|(id, _)| *id).ok_or_else(|| match session {
            Session::Container => Error::conflict("the container is not running"),
            Session::Exec(id) => Error::not_found(format!("no such exec session: {id}")),
        })
    }
}

/// Signals a process of the container; that it ended meanwhile is success.
fn signal_pid(pid: u32, signal: i32) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let Some(Ok(pidfd)) = pid.map(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()))
    else {
        return Ok(());
    };
    match sys::process::signal(&pidfd, signal) {
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(()),
        other => other.context(|| "signal a process"),
    }
}

fn done(result: Result<()>) -> Answer {
    match result {
        Ok(()) => Answer::Done,
        Err(error) => Answer::Failed(failure(&error)),
    }
}
