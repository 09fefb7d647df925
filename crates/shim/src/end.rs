//! How processes end, and the shim after them.
//!
//! The order is the promise: everything that the container wrote is in its log, then the exit is in `exit.json`, then
//! it is told. Whoever hears of an exit finds its record, and a record is never of a log that is not complete.

use stdx::fs::Durability;
use stdx::{Result, fail_point};
use task::protocol::{Answer, Event, Exit, Session};

use crate::daemons::Caller;
use crate::record::write_exit;
use crate::request::conflict;
use crate::supervisor::{CONTAINER, Ended, Phase, Supervisor};

impl Supervisor {
    /// The container's first process ended. In a pid namespace of its own the kernel has killed the others before;
    /// otherwise that is for us to do.
    pub(crate) fn end_others(&mut self) {
        if self.container.shares_pids {
            self.try_to(|shim| shim.container.group.kill());
        }
    }

    /// A notice of want of memory.
    pub(crate) fn on_memory(&mut self) {
        let Some(memory) = &mut self.container.memory else { return };
        match memory.check() {
            Ok(true) => {
                self.oom = true;
                self.daemons.tell(&Event::Oom);
            }
            Ok(false) => {}
            Err(error) => {
                // Better no notices than one that comes again at once, for ever.
                self.container.memory = None;
                self.files.complain(&error);
            }
        }
    }

    /// A process ended and its output is all there: records and tells it.
    pub(crate) fn complete(&mut self, id: u32, ended: Ended) {
        let Some(process) = self.processes.remove(&id) else { return };
        self.streams.finish(id);
        let Ended { code, at, .. } = ended;
        if id != CONTAINER {
            let exit = Exit { code, at, oom: false };
            self.daemons.tell(&Event::Exit { session: process.session, exit });
            return;
        }
        // The notice and the end of the process race.
        self.on_memory();
        let exit = Exit { code, at, oom: self.oom };
        self.try_to(|_| {
            fail_point!("shim.exit.before-record");
            Ok(())
        });
        self.try_to(|shim| shim.files.write_exit(&exit));
        self.try_to(|_| {
            fail_point!("shim.exit.after-record");
            Ok(())
        });
        let started = match self.phase {
            Phase::Running(at) => Some(at),
            _ => None,
        };
        self.phase = Phase::Exited(started, exit.clone());
        self.daemons.tell(&Event::Exit { session: Session::Container, exit });
        // Nobody needs the cgroup any more: it goes while the daemon is busy with the news.
        self.container.memory = None;
        self.try_to(|shim| shim.container.remove());
        if let Some(caller) = self.shutdown {
            self.finish(Some(caller));
        }
    }

    /// The exit has been taken, or the container was never started.
    pub(crate) fn shut_down(&mut self, caller: Caller) {
        match self.phase {
            Phase::Exited(..) => self.finish(Some(caller)),
            Phase::Created => {
                // Goes on when it has ended.
                self.shutdown = Some(caller);
                self.try_to(|shim| shim.container.group.kill());
            }
            Phase::Running(_) => self.daemons.answer(caller, conflict("the container is running")),
        }
    }

    /// The container ended and nobody is there to hear of it.
    pub(crate) fn end_alone(&mut self) {
        if let (Phase::Exited(_, exit), Some(path)) = (&self.phase, &self.durable_exit)
            && let Err(error) = write_exit(path, exit, Durability::Power)
        {
            self.files.complain(&error);
        }
        self.finish(None);
    }

    /// Takes away what says that we are there, answers and ends, but for clients that have not taken everything.
    fn finish(&mut self, caller: Option<Caller>) {
        self.try_to(|shim| shim.daemons.stop_listening(shim.files.dir()));
        self.try_to(|shim| shim.files.end());
        if let Some(caller) = caller {
            self.daemons.answer(caller, Answer::Done);
        }
        self.daemons.finish();
        self.over = true;
    }

    /// Does what must not keep the rest from being done; a failure is noted.
    fn try_to(&mut self, step: impl FnOnce(&mut Self) -> Result<()>) {
        if let Err(error) = step(self) {
            self.files.complain(&error);
        }
    }
}
