//! The loop: one thread, one wait, every event to whom it concerns.
//!
//! ```text
//!   Create ──▶ Created ──Start──▶ Running ──exit──▶ Exited ──Shutdown, or nobody there──▶ end
//!      │          └──────Shutdown: killed─────────────▲
//!      └─ failed: told, everything taken back, end
//! ```

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::process::WaitOptions;
use stdx::time::Timestamp;
use stdx::{Context as _, Result};
use sys::signals::SignalFd;
use task::protocol::{Call, Create, Exit, Request, Session, ShimRecord};

use crate::container::Container;
use crate::daemons::{Caller, Daemons};
use crate::poll::{Interest, Poll, Token};
use crate::record::Files;
use crate::setup;
use crate::streams::Streams;

/// How long output is waited for after the end of its process when somebody else still has the stream open. Docker
/// waits as long.
const DRAIN_GRACE: Duration = Duration::from_secs(2);

/// After so much silence, memory is given back.
const SILENCE: Duration = Duration::from_secs(1);

/// The session of the container's own process.
pub(crate) const CONTAINER: u32 = 0;

/// A process whose end is to be told.
#[derive(Debug)]
pub(crate) struct Process {
    /// Its name to the daemon.
    pub(crate) session: Session,
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    /// How it ended and until when its output is waited for.
    pub(crate) ended: Option<Ended>,
}

/// A process's end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    /// Exit code, 128 + signal.
    pub(crate) code: i32,
    /// When, in nanoseconds since 1970.
    pub(crate) at: i64,
    deadline: Instant,
}

/// Where the container is in its life.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Everything is there, the program has not been executed.
    Created,
    /// Since then, in nanoseconds since 1970.
    Running(i64),
    /// It ended; when it was started, if it was.
    Exited(Option<i64>, Exit),
}

/// Everything that one shim knows.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) poll: Poll,
    pub(crate) daemons: Daemons,
    pub(crate) streams: Streams,
    pub(crate) processes: BTreeMap<u32, Process>,
    pub(crate) next_session: u32,
    pub(crate) container: Container,
    pub(crate) files: Files,
    pub(crate) phase: Phase,
    pub(crate) paused: bool,
    /// The kernel has killed for want of memory.
    pub(crate) oom: bool,
    /// The record with the container's pid, for whoever finds a container whose shim was killed.
    pub(crate) unwritten: Option<ShimRecord>,
    /// Where the exit is written for good when nobody takes it.
    pub(crate) durable_exit: Option<std::path::PathBuf>,
    /// Who asked for the end; told when all is cleaned up.
    pub(crate) shutdown: Option<Caller>,
    /// All is cleaned up; what remains is to let clients have what is theirs.
    pub(crate) over: bool,
    /// What making the container took of memory has not been given back.
    fresh: bool,
    signals: SignalFd,
    memory_interest: Interest,
}

/// Supervises the one container that the daemon at our standard input names. Returns when it is over.
pub(crate) fn run() -> Result<()> {
    let signals = setup::detach()?;
    let poll = Poll::new().context(|| "epoll")?;
    let mut daemons = Daemons::new(poll.clone());
    daemons.add(setup::daemon_socket()?).context(|| "serve the daemon")?;
    let Some(First { caller, create, fds, more }) = first_request(&poll, &mut daemons)? else {
        return Ok(());
    };
    let Some(mut supervisor) = Supervisor::create(poll, daemons, signals, caller, &create, fds)
    else {
        return Ok(());
    };
    for (caller, call, fds) in more {
        supervisor.on_request(caller, call.request, fds);
    }
    supervisor.serve()
}

/// `Create`, who asked, the descriptors that came with it, and what was asked right after it.
struct First {
    caller: Caller,
    create: Box<Create>,
    fds: Vec<OwnedFd>,
    more: Vec<(Caller, Call, Vec<OwnedFd>)>,
}

/// Waits for `Create`. `None` when the daemon went away before it.
fn first_request(poll: &Poll, daemons: &mut Daemons) -> Result<Option<First>> {
    while !daemons.is_empty() {
        for (token, events) in poll.wait(None).context(|| "wait")? {
            let Token::Daemon(id) = token else { continue };
            let mut calls = daemons.on_daemon(id, events).into_iter();
            while let Some((caller, call, fds)) = calls.next() {
                if let Request::Create(create) = call.request {
                    // The start may be here already: it is sent as soon as the container's links are made.
                    let more = calls.collect();
                    return Ok(Some(First { caller, create, fds, more }));
                }
                daemons.answer(caller, crate::request::conflict("there is no container yet"));
            }
        }
    }
    Ok(None)
}

impl Supervisor {
    /// For a container that was just made; serves nothing before [`serve`](Self::serve).
    #[allow(clippy::too_many_arguments, reason = "this is where everything comes together, once")]
    pub(crate) fn new(
        poll: Poll,
        daemons: Daemons,
        signals: SignalFd,
        streams: Streams,
        container: Container,
        process: Process,
        files: Files,
        durable_exit: Option<std::path::PathBuf>,
    ) -> Self {
        Self {
            poll,
            daemons,
            streams,
            processes: BTreeMap::from([(CONTAINER, process)]),
            next_session: CONTAINER + 1,
            container,
            files,
            phase: Phase::Created,
            paused: false,
            oom: false,
            unwritten: None,
            durable_exit,
            shutdown: None,
            over: false,
            fresh: true,
            signals,
            memory_interest: Interest::default(),
        }
    }

    fn serve(&mut self) -> Result<()> {
        let wanted = Some(EventFlags::IN);
        let mut signals = Interest::default();
        signals
            .set(&self.poll, &self.signals, Token::Signals, wanted)
            .context(|| "wait for children")?;
        if let Some(memory) = &self.container.memory {
            let watched = self.memory_interest.set(&self.poll, memory, Token::Memory, wanted);
            watched.context(|| "wait for want of memory")?;
        }
        // What ended before we waited for it has been signalled already and is reported at once.
        while !(self.over && self.processes.is_empty() && !self.streams.has_clients()) {
            self.write_record();
            let events = self.poll.wait(self.timeout()).context(|| "wait")?;
            if events.is_empty() && self.deadline().is_none() {
                self.streams.release();
                sys::memory::release_unused_stack();
                self.fresh = false;
            }
            for (token, events) in events {
                self.on_event(token, events);
            }
            if let Some(error) = self.streams.end_round() {
                self.files.complain(&error);
            }
            self.settle();
        }
        Ok(())
    }

    /// Completes our record as soon as the container runs.
    fn write_record(&mut self) {
        if matches!(self.phase, Phase::Created) {
            return;
        }
        if let Some(record) = self.unwritten.take()
            && let Err(error) = self.files.write_shim(&record)
        {
            self.files.complain(&error);
        }
    }

    fn on_event(&mut self, token: Token, events: EventFlags) {
        match token {
            Token::Signals => self.reap(),
            Token::Listener => {
                if let Err(error) = self.daemons.on_listener() {
                    self.files.complain(&error);
                }
            }
            Token::Memory => self.on_memory(),
            Token::Daemon(id) => {
                for (caller, Call { request, .. }, fds) in self.daemons.on_daemon(id, events) {
                    self.on_request(caller, request, fds);
                }
            }
            Token::Output(id, stream) => self.streams.on_output(id, stream),
            Token::Input(id) => self.streams.on_input(id),
            Token::Client(id) => self.streams.on_client(id, events),
        }
    }

    /// Takes the status of every child that ended: of sessions' processes, and of orphans that came to us because we
    /// are their subreaper. One signal may stand for many children, so all are asked for.
    pub(crate) fn reap(&mut self) {
        self.signals.drain();
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            let code = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => code,
                (None, Some(signal)) => 128 + signal,
                (None, None) => continue,
            };
            let process =
                self.processes.iter_mut().find(|(_, p)| p.pid == pid && p.ended.is_none());
            let Some((&id, process)) = process else { continue };
            let deadline = Instant::now() + DRAIN_GRACE;
            process.ended = Some(Ended { code, at: now(), deadline });
            if id == CONTAINER {
                self.end_others();
            }
            self.streams.drain(id);
        }
    }

    /// Completes what was waited for: ends whose output is all there, the end of everything.
    fn settle(&mut self) {
        let now = Instant::now();
        let complete: Vec<_> = self
            .processes
            .iter()
            .filter_map(|(id, p)| Some((*id, p.ended?)))
            .filter(|(id, ended)| ended.deadline <= now || self.streams.is_drained(*id))
            .collect();
        // The container's own end is told last, as far as the others have ended with it.
        for (id, ended) in complete.into_iter().rev() {
            self.complete(id, ended);
        }
        if self.daemons.is_empty() {
            // Nobody ships any more: the container goes on, what is not shipped waits in its file.
            self.streams.hold(false);
        }
        let nobody = self.daemons.is_empty() && matches!(self.phase, Phase::Exited(..));
        if !self.over && nobody {
            self.end_alone();
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.processes.values().filter_map(|p| p.ended).map(|e| e.deadline).min()
    }

    fn timeout(&self) -> Option<Duration> {
        let deadline = self.deadline().map(|d| d.saturating_duration_since(Instant::now()));
        let silence = (self.fresh || self.streams.holds_memory()).then_some(SILENCE);
        // epoll counts in milliseconds: a deadline that is about to pass must not be looked at in a loop until then.
        deadline.into_iter().chain(silence).min().map(|t| t + Duration::from_millis(1))
    }
}

/// Now, in nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    i64::try_from(Timestamp::now().unix_nanos()).unwrap_or(i64::MAX)
}
