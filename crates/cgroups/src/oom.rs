//! Telling that the kernel killed for lack of memory.
//!
//! The shim owns this, so that it is right while the daemon is dead: it polls [`OomWatch`], and before the group is
//! removed it reads [`Group::oom_kills`] once more, since the event and the exit of the process race.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify;
use rustix::io::Errno;
use stdx::{Context, Error, Result};

use crate::dir::{Dir, read_all};
use crate::group::Group;

/// A descriptor that becomes readable when the group may have run out of memory.
#[derive(Debug)]
pub struct OomWatch {
    /// eventfd (v1) or inotify (v2), non-blocking.
    notify: OwnedFd,
    /// The file with the counter.
    counter: OwnedFd,
    seen: u64,
}

impl OomWatch {
    /// To be called when the descriptor is readable: takes the notice away and says whether processes were killed for
    /// lack of memory since the last look.
    ///
    /// A notice without a kill happens: v1 also tells that the limit was hit, and that the group was removed.
    pub fn check(&mut self) -> Result<bool> {
        let mut buffer = [0_u8; 4096];
        loop {
            match rustix::io::read(&self.notify, &mut buffer) {
                // An eventfd gives its eight bytes once.
                Ok(n) if n == buffer.len() => {}
                Ok(_) | Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(e) => return Err(io::Error::from(e)).context(|| "read out-of-memory notice"),
            }
        }
        let now = match read_all(&self.counter) {
            Ok(text) => oom_kills_in(&text),
            // Removed: what was counted before is what there is.
            Err(Errno::NODEV) => self.seen,
            Err(e) => return Err(io::Error::from(e)).context(|| "read out-of-memory counter"),
        };
        let killed = now > self.seen;
        self.seen = now;
        Ok(killed)
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notify.as_fd()
    }
}

impl Group {
    /// Starts watching for out-of-memory kills in the group.
    ///
    /// v1: an eventfd registered for `memory.oom_control`; v2: inotify on `memory.events`, which needs `/proc`. Fails
    /// when the memory controller is not available.
    pub fn oom_watch(&self) -> Result<OomWatch> {
        let member = self.home("memory").ok_or_else(no_memory)?;
        let doing = || format!("watch for out of memory in {}", member.dir.path().display());
        let errno = |e: Errno| Error::io(doing(), e.into());
        let counter = member.dir.open_file(counter_file(member.unified)).map_err(errno)?;
        let notify = if member.unified {
            let notify =
                inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
                    .map_err(errno)?;
            // By descriptor, so that it is this group's file whatever happens to names.
            let path = format!("/proc/self/fd/{}", counter.as_raw_fd());
            inotify::add_watch(&notify, path, inotify::WatchFlags::MODIFY).map_err(errno)?;
            notify
        } else {
            let notify =
                eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(errno)?;
            let order = format!("{} {}", notify.as_raw_fd(), counter.as_raw_fd());
            member.dir.write("cgroup.event_control", &order)?;
            notify
        };
        let seen = oom_kills_in(&read_all(&counter).map_err(errno)?);
        Ok(OomWatch { notify, counter, seen })
    }

    /// How many processes of the group the kernel has killed for lack of memory, ever.
    pub fn oom_kills(&self) -> Result<u64> {
        let member = self.home("memory").ok_or_else(no_memory)?;
        Ok(oom_kills_in(&read_counter(&member.dir, member.unified)?))
    }
}

fn counter_file(unified: bool) -> &'static str {
    if unified { "memory.events" } else { "memory.oom_control" }
}

fn read_counter(dir: &Dir, unified: bool) -> Result<String> {
    dir.read(counter_file(unified))
}

/// `oom_kill N` in either file; v1 has it since Linux 4.13.
fn oom_kills_in(text: &str) -> u64 {
    text.lines()
        .find_map(|l| l.strip_prefix("oom_kill "))
        .and_then(|n| n.trim().parse().ok())
        .unwrap_or(0)
}

fn no_memory() -> Error {
    Error::invalid("cannot watch for out of memory: the memory cgroup controller is not available")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_found_in_both_files() {
        assert_eq!(oom_kills_in("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), 3);
        assert_eq!(oom_kills_in("low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 0\n"), 1);
        assert_eq!(oom_kills_in(""), 0);
    }
}
