//! What happens to a group while processes live in it, and how it ends.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use stdx::{Context, Error, Kind, Result};

use crate::dir::{Dir, read_all, rmdir};
use crate::group::Group;
use crate::hierarchy::Hierarchies;

/// How long freezing may take: a process in an uninterruptible wait (a dead network file system) holds it up.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long [`Group::remove`] waits for processes that are already dying.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one wait lasts where v1 has no event for what is waited for.
const TICK: Duration = Duration::from_millis(1);

impl Group {
    /// The processes of the group and of all groups beneath it, sorted.
    ///
    /// Processes that this process cannot see (of an outer pid namespace) are left out.
    pub fn pids(&self) -> Result<Vec<u32>> {
        let mut pids = Vec::new();
        collect_pids(self.reference(), &mut pids)?;
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Stops every process of the group, children groups included, and returns when all stand still.
    ///
    /// v2 and hybrid use `cgroup.freeze` and wait for `cgroup.events`; v1 has no event, so `freezer.state` is re-read.
    /// When not all stand still in time the group is thawed again and the error is a [`Kind::Timeout`].
    pub fn freeze(&self) -> Result<()> {
        let deadline = Instant::now() + FREEZE_TIMEOUT;
        let frozen = match (self.unified(), self.home("freezer")) {
            (Some(member), _) => {
                member.dir.write("cgroup.freeze", "1")?;
                wait_for_event(&member.dir, "frozen", "1", deadline)?
            }
            (None, Some(member)) => freeze_v1(&member.dir, deadline)?,
            (None, None) => {
                return Err(Error::not_implemented(
                    "cannot freeze: the freezer cgroup is not available",
                ));
            }
        };
        if frozen {
            return Ok(());
        }
        self.thaw()?;
        Err(Error::new(Kind::Timeout, format!("unable to freeze cgroup {}", self.path)))
    }

    /// Lets the processes run again. A group that was not frozen stays as it is.
    pub fn thaw(&self) -> Result<()> {
        match (self.unified(), self.home("freezer")) {
            (Some(member), _) => member.dir.write("cgroup.freeze", "0"),
            (None, Some(member)) => member.dir.write("freezer.state", "THAWED"),
            (None, None) => Ok(()),
        }
    }

    /// Whether the group was frozen by [`freeze`](Self::freeze).
    pub fn is_frozen(&self) -> Result<bool> {
        match (self.unified(), self.home("freezer")) {
            (Some(member), _) => Ok(member.dir.read("cgroup.freeze")?.trim() == "1"),
            (None, Some(member)) => Ok(member.dir.read("freezer.state")?.trim() != "THAWED"),
            (None, None) => Ok(false),
        }
    }

    /// Kills every process of the group, children groups included, also while it is frozen.
    ///
    /// v2 and hybrid: `cgroup.kill`, which no fork escapes. v1: freeze, kill each, thaw, for the same reason. The
    /// processes are dying when this returns; [`wait_empty`](Self::wait_empty) waits for their end.
    pub fn kill(&self) -> Result<()> {
        if let Some(member) = self.unified() {
            return member.dir.write("cgroup.kill", "1");
        }
        // Without a still-standing group a fork may escape one round, so there are several.
        let (rounds, frozen) = match self.freeze() {
            Ok(()) => (1, true),
            Err(_) => (16, false),
        };
        for _ in 0..rounds {
            let pids = self.pids()?;
            if pids.is_empty() {
                break;
            }
            for pid in pids.iter().filter_map(|p| Pid::from_raw(i32::try_from(*p).ok()?)) {
                match kill_process(pid, Signal::KILL) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(e) => {
                        let error = Error::io(
                            format!("kill process {pid:?} of cgroup {}", self.path),
                            e.into(),
                        );
                        self.thaw()?;
                        return Err(error);
                    }
                }
            }
        }
        if frozen { self.thaw() } else { Ok(()) }
    }

    /// Waits until no process lives in the group or beneath it; `false` when `timeout` passes first.
    ///
    /// By `cgroup.events` on v2 and hybrid, by pidfds of those who live there on v1.
    pub fn wait_empty(&self, timeout: Duration) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        if let Some(member) = self.unified() {
            return wait_for_event(&member.dir, "populated", "0", deadline);
        }
        loop {
            let pids = self.pids()?;
            if pids.is_empty() {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            for pid in pids.iter().filter_map(|p| Pid::from_raw(i32::try_from(*p).ok()?)) {
                match pidfd_open(pid, PidfdFlags::empty()) {
                    Ok(fd) => wait_on(PollFd::new(&fd, PollFlags::IN), deadline)?,
                    Err(Errno::SRCH) => {}
                    Err(e) => return Err(Error::io(format!("watch process {pid:?}"), e.into())),
                }
            }
            // An exited process may be listed for a moment longer; this only gives it that moment.
            pause()?;
        }
    }

    /// Removes the group from every hierarchy, groups beneath it first. That it is gone already is success.
    ///
    /// Processes that are dying are waited for, for at most ten seconds; then, or when living ones are there that nobody
    /// kills, the error is a [`Kind::Conflict`] and whatever could be removed is.
    pub fn remove(&self) -> Result<()> {
        let deadline = Instant::now() + REMOVE_TIMEOUT;
        let mut busy = None;
        for member in &self.members {
            if let Err(error) = self.remove_member(member.dir.path(), deadline) {
                busy.get_or_insert(error);
            }
        }
        busy.map_or(Ok(()), Err)
    }

    fn remove_member(&self, path: &Path, deadline: Instant) -> Result<()> {
        loop {
            match remove_tree(path)? {
                Removed::Gone => return Ok(()),
                Removed::Busy if Instant::now() >= deadline => {
                    let message = format!("container's cgroup is not empty: {}", path.display());
                    return Err(Error::conflict(message));
                }
                Removed::Busy => {
                    self.wait_empty(deadline.saturating_duration_since(Instant::now()))?;
                    pause()?;
                }
            }
        }
    }

    /// The hierarchy asked for processes: v2 where there is one, since nothing leaves it unseen.
    fn reference(&self) -> &Dir {
        let member = self.unified().or_else(|| self.home("freezer")).or_else(|| self.home("pids"));
        &member.unwrap_or(&self.members[0]).dir
    }
}

impl Hierarchies {
    /// Names of the groups directly beneath `parent` in any hierarchy, sorted: how a daemon finds what it left.
    pub fn groups(&self, parent: &str) -> Result<Vec<String>> {
        let parent = crate::path::GroupPath::parse(parent)?;
        let mut names = Vec::new();
        for hierarchy in &self.all {
            if let Some(dir) = Dir::open_if_any(&hierarchy.mount.join(parent.as_str()))? {
                names.extend(dir.children()?);
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}

fn collect_pids(dir: &Dir, pids: &mut Vec<u32>) -> Result<()> {
    // A threaded v2 group has no process list of its own; its processes are listed above it.
    if let Some(text) = dir.read_if_any("cgroup.procs")? {
        pids.extend(text.lines().filter_map(|l| l.parse::<u32>().ok()).filter(|pid| *pid != 0));
    }
    for child in dir.children()? {
        if let Some(child) = dir.child(&child)? {
            collect_pids(&child, pids)?;
        }
    }
    Ok(())
}

fn freeze_v1(dir: &Dir, deadline: Instant) -> Result<bool> {
    for round in 0_u32.. {
        // Writing again catches processes that were born between the kernel's passes.
        dir.write("freezer.state", "FROZEN")?;
        if dir.read("freezer.state")?.trim() == "FROZEN" {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            break;
        }
        // Nearly always the first few looks suffice.
        if round >= 8 {
            pause()?;
        }
    }
    Ok(false)
}

/// Waits until `cgroup.events` of a v2 group says `key value`; `false` when the deadline passes first. A group that is
/// gone is empty and at rest.
fn wait_for_event(dir: &Dir, key: &str, value: &str, deadline: Instant) -> Result<bool> {
    let doing = || format!("watch {}/cgroup.events", dir.path().display());
    let file = match dir.open_file("cgroup.events") {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NODEV) => return Ok(true),
        Err(e) => return Err(Error::io(doing(), e.into())),
    };
    loop {
        let text = match read_all(&file) {
            Ok(text) => text,
            Err(Errno::NODEV) => return Ok(true),
            Err(e) => return Err(Error::io(doing(), e.into())),
        };
        if text.lines().any(|l| l.split_once(' ') == Some((key, value))) {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        // The kernel raises POLLPRI for every change since the last read of this descriptor.
        wait_on(PollFd::new(&file, PollFlags::PRI), deadline)?;
    }
}

fn wait_on(fd: PollFd<'_>, deadline: Instant) -> Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
    match poll(&mut [fd], Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(e) => Err(io::Error::from(e)).context(|| "poll"),
    }
}

fn pause() -> Result<()> {
    let tick = Timespec::try_from(TICK).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 1_000_000 });
    match poll(&mut [], Some(&tick)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(e) => Err(io::Error::from(e)).context(|| "poll"),
    }
}

/// What became of a directory that was to be removed.
pub(crate) enum Removed {
    /// It is not there any more.
    Gone,
    /// Processes live in it or beneath it.
    Busy,
}

/// Removes a directory and those beneath it, as far as it goes.
pub(crate) fn remove_tree(path: &Path) -> Result<Removed> {
    match rmdir(path) {
        Ok(()) | Err(Errno::NOENT) => return Ok(Removed::Gone),
        Err(Errno::BUSY | Errno::NOTEMPTY) => {}
        Err(e) => return Err(Error::io(format!("remove cgroup {}", path.display()), e.into())),
    }
    let Some(dir) = Dir::open_if_any(path)? else { return Ok(Removed::Gone) };
    let children = dir.children()?;
    if children.is_empty() {
        return Ok(Removed::Busy);
    }
    for child in children {
        if let Removed::Busy = remove_tree(&path.join(child))? {
            return Ok(Removed::Busy);
        }
    }
    match rmdir(path) {
        Ok(()) | Err(Errno::NOENT) => Ok(Removed::Gone),
        Err(Errno::BUSY | Errno::NOTEMPTY) => Ok(Removed::Busy),
        Err(e) => Err(Error::io(format!("remove cgroup {}", path.display()), e.into())),
    }
}
