//! How a child comes into the world: directly, or by a go-between that joins namespaces for it.
//!
//! Joining a pid namespace, or setting a time namespace's offsets, counts for children only. The go-between does it,
//! makes the process with its own parent as the parent, says its number and ends:
//!
//! ```text
//!   caller ──clone3──▶ go-between ──setns, clone3(CLONE_PARENT)──▶ the process
//!      │◀───── Joined {pid}, ends ─┘                                   │
//!      │◀──────────────────────────── child of the caller ─────────────┘
//! ```

use std::convert::Infallible;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::process::{DumpableBehavior, Pid, PidfdFlags, WaitId, WaitIdOptions};
use sys::clone::{self, Clone3, Cloned};

use crate::error::{Error, Result, Step as _};
use crate::sync::{Message, Need, Sync};

/// A child that works on its side.
#[derive(Debug)]
pub(crate) struct Born {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) sync: Sync,
    /// What it said before its number was known.
    early: Vec<Message>,
}

/// A go-between's part.
#[derive(Clone, Copy)]
pub(crate) struct GoBetween<'a> {
    /// What it does before it makes the child.
    pub(crate) work: &'a dyn Fn() -> Result<()>,
    /// The only descriptors that it and the child have, beside 0, 1 and 2. The child appears among others' processes:
    /// whatever else the caller has open must not be there to be found in `/proc/PID/fd` (CVE-2016-9962).
    pub(crate) keep: &'a [BorrowedFd<'a>],
}

/// The child's part; it ends in exec or in an error.
pub(crate) type Part<'a> = &'a dyn Fn(&Sync) -> Result<Infallible>;

/// What the parent does when the child needs it.
pub(crate) type Serve<'a> = &'a dyn Fn(&Born, Need) -> Result<()>;

/// Makes the child, by a go-between if there is to be one. `open`: it joins nobody's namespaces, and its creator, who is
/// not root, must be able to write to its files in `/proc`.
pub(crate) fn bear(
    how: Clone3<'_>,
    between: Option<GoBetween<'_>>,
    open: bool,
    part: Part<'_>,
) -> Result<Born> {
    let (ours, theirs) = Sync::pair()?;
    let _closed = if open { None } else { Some(Closed::now()?) };
    match between {
        None => match clone::clone3(how).step(|| "clone the container's process")? {
            Cloned::Child => {
                drop(ours);
                live(&theirs, part)
            }
            Cloned::Parent { pid, pidfd } => Ok(Born { pid, pidfd, sync: ours, early: Vec::new() }),
        },
        Some(between) => {
            // Only the cgroup counts for the go-between; the child inherits it.
            let first = Clone3 { cgroup: how.cgroup, ..Clone3::default() };
            match clone::clone3(first).step(|| "clone a process that joins namespaces")? {
                Cloned::Child => {
                    drop(ours);
                    live(&theirs, &|sync| {
                        let mut keep = between.keep.to_vec();
                        keep.push(sync.as_fd());
                        sys::process::close_all_but(&keep)
                            .step(|| "close the caller's descriptors")?;
                        (between.work)()?;
                        let how = Clone3 { cgroup: None, sibling: true, ..how };
                        match clone::clone3(how).step(|| "clone the container's process")? {
                            Cloned::Child => part(sync),
                            Cloned::Parent { pid, .. } => {
                                sync.send(&Message::Joined(pid))?;
                                sys::process::exit_now(0)
                            }
                        }
                    })
                }
                Cloned::Parent { pidfd, .. } => {
                    drop(theirs);
                    adopt(ours, &pidfd)
                }
            }
        }
    }
}

/// Listens to a child, and does what it needs, until it waits or runs; returns its terminal's master. On an error the
/// child is reaped.
pub(crate) fn meet(born: &Born, serve: Serve<'_>) -> Result<Option<OwnedFd>> {
    listen(born, serve).inspect_err(|_| {
        // It ends by itself after an error; if it is us who failed it must not go on.
        let _ended = sys::process::signal(&born.pidfd, 9);
        reap(&born.pidfd);
    })
}

fn listen(born: &Born, serve: Serve<'_>) -> Result<Option<OwnedFd>> {
    let (mut console, mut executing) = (None, false);
    let mut early = born.early.iter();
    loop {
        let message = match early.next() {
            Some(Message::Console(master)) => {
                Some(Message::Console(master.try_clone().step(|| "duplicate the terminal")?))
            }
            Some(Message::Ready) => Some(Message::Ready),
            Some(Message::Executing) => Some(Message::Executing),
            Some(Message::Need(need)) => Some(Message::Need(*need)),
            Some(Message::Failed(error)) => Some(Message::Failed(error.clone())),
            Some(Message::Joined(_) | Message::Start | Message::Done) => continue,
            None => born.sync.receive()?,
        };
        match message {
            Some(Message::Console(master)) => console = Some(master),
            Some(Message::Ready) => return Ok(console),
            Some(Message::Executing) => executing = true,
            Some(Message::Failed(error)) => return Err(error),
            Some(Message::Need(need)) => {
                serve(born, need)?;
                born.sync.send(&Message::Done)?;
            }
            Some(Message::Joined(_) | Message::Start | Message::Done) => {}
            None if executing => return Ok(console),
            None => {
                return Err(Error::Ended(format!(
                    "the container's process {}",
                    how_it_ended(&born.pidfd)
                )));
            }
        }
    }
}

/// Waits for the go-between to say who the child is.
fn adopt(sync: Sync, go_between: &OwnedFd) -> Result<Born> {
    let mut early = Vec::new();
    let pid = loop {
        match sync.receive() {
            Ok(Some(Message::Joined(pid))) => break Ok(pid),
            // The child may speak before the go-between has.
            Ok(Some(message)) => early.push(message),
            Ok(None) => break Err(None),
            Err(error) => break Err(Some(error)),
        }
    };
    let pid = match pid {
        Ok(pid) => pid,
        Err(error) => {
            let failed = early.into_iter().find_map(|m| match m {
                Message::Failed(error) => Some(error),
                _ => None,
            });
            let text = format!("the process that joins namespaces {}", how_it_ended(go_between));
            reap(go_between);
            return Err(error.or(failed).unwrap_or(Error::Ended(text)));
        }
    };
    reap(go_between);
    // It is our own child and unreaped, so the number is still its.
    let number =
        Pid::from_raw(pid).ok_or_else(|| Error::Ended("the child has no number".to_owned()))?;
    let pidfd = rustix::process::pidfd_open(number, PidfdFlags::empty())
        .step(|| format!("open process {pid}"))?;
    Ok(Born { pid, pidfd, sync, early })
}

/// Makes a time namespace for children, with offsets.
pub(crate) fn set_time_offsets(offsets: &str) -> Result<()> {
    sys::process::unshare(clone::NEWTIME).step(|| "make a time namespace")?;
    let path = c"/proc/self/timens_offsets";
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
    let file =
        rustix::fs::open(path, flags, rustix::fs::Mode::empty()).step(|| "open timens_offsets")?;
    rustix::io::write(&file, offsets.as_bytes())
        .step(|| format!("write time offsets {offsets:?}"))?;
    Ok(())
}

/// The child's life until exec: whatever goes wrong is said to the parent.
fn live(sync: &Sync, part: Part<'_>) -> ! {
    let error = match part(sync) {
        Err(error) => error,
        Ok(never) => match never {},
    };
    // Nobody may be left to hear it.
    let _heard = sync.send(&Message::Failed(error));
    sys::process::exit_now(1)
}

/// While it lives nobody without `CAP_SYS_PTRACE` over us can look into this process or the children that it makes:
/// they are about to join namespaces in which others live (CVE-2016-9962).
struct Closed {
    before: DumpableBehavior,
}

impl Closed {
    fn now() -> Result<Self> {
        let before = rustix::process::dumpable_behavior().step(|| "read dumpable")?;
        if before != DumpableBehavior::NotDumpable {
            rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
                .step(|| "clear dumpable")?;
        }
        Ok(Self { before })
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        if self.before == DumpableBehavior::Dumpable {
            // It has been so before, so it cannot be refused.
            let _restored = rustix::process::set_dumpable_behavior(self.before);
        }
    }
}

/// Takes notice of the end of a child, after waiting for it.
pub(crate) fn reap(pidfd: &OwnedFd) {
    // ECHILD: the caller has SIGCHLD ignored, so the kernel reaped it.
    let _gone = rustix::io::retry_on_intr(|| {
        rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
    });
}

/// Waits for a process that is about to end, without reaping it, and says how it did.
fn how_it_ended(pidfd: &OwnedFd) -> String {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let status = rustix::io::retry_on_intr(|| {
        rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options)
    });
    match status.ok().flatten().map(|s| (s.exit_status(), s.terminating_signal())) {
        Some((_, Some(9))) => {
            "was killed before it could run its program (out of memory? is the memory limit too low?)".to_owned()
        }
        Some((_, Some(signal))) => format!("was ended by signal {signal} before it could run its program"),
        Some((Some(code), _)) => format!("ended with {code} before it could run its program"),
        _ => "ended before it could run its program".to_owned(),
    }
}
