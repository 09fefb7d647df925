//! Network namespaces that live by descriptors alone: never mounted, gone when the last holder is.
//!
//! A thread that enters another network namespace may not go back to a pool, or the next job's sockets would be opened
//! in a container. All entering happens on one thread of this module's own, which returns home after every job and ends
//! (to be replaced) if it cannot.

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

/// The calling thread's network namespace.
pub fn current() -> io::Result<OwnedFd> {
    open_namespace("/proc/thread-self/ns/net")
}

/// The network namespace that the process `pid` lives in. The caller makes sure (pidfd) that it is the process meant.
pub fn of_process(pid: u32) -> io::Result<OwnedFd> {
    open_namespace(&format!("/proc/{pid}/ns/net"))
}

/// Device and inode of a namespace: equal for two descriptors of the same one.
pub fn identity(netns: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(netns)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Makes a network namespace and runs `set_up` inside it. It costs the kernel about 0.6 ms.
///
/// The namespace ends when the descriptor, every socket opened in it, and every process moved into it are gone.
pub fn create<T: Send + 'static>(
    set_up: impl FnOnce() -> T + Send + 'static,
) -> io::Result<(OwnedFd, T)> {
    away(move || {
        // JUSTIFICATION: rustix marks unshare unsafe because of CLONE_FILES and CLONE_FS.
        // SAFETY: only the network namespace of this thread changes; no memory, descriptor table or file system state
        // that other code relies on is involved.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
        let netns = current()?;
        Ok((netns, set_up()))
    })
}

/// Runs `work` on a thread that is inside `netns`, and waits for it.
pub fn inside<T: Send + 'static>(
    netns: BorrowedFd<'_>,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let netns = netns.try_clone_to_owned()?;
    away(move || {
        enter(netns.as_fd())?;
        Ok(work())
    })
}

/// Moves the calling thread, for good, into `netns`. For programs and threads that own themselves; everyone else uses
/// [`inside`].
pub fn enter(netns: BorrowedFd<'_>) -> io::Result<()> {
    Ok(move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))?)
}

fn open_namespace(path: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

type Job = Box<dyn FnOnce() + Send>;

/// The way to the thread that enters namespaces; `None` until first used or after it ended.
static TRAVELLER: Mutex<Option<Sender<Job>>> = Mutex::new(None);

/// Runs `job` on the travelling thread, which is at home before and after.
fn away<T: Send + 'static>(job: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let (answer, result) = channel();
    send(Box::new(move || {
        let outcome = catch_unwind(AssertUnwindSafe(job))
            .unwrap_or_else(|_| Err(io::Error::other("panic in another network namespace")));
        // The caller waits for the answer, so it is there to receive it.
        let _received = answer.send(outcome);
    }))?;
    result
        .recv()
        .map_err(|_| io::Error::other("the thread that enters network namespaces has ended"))?
}

fn send(mut job: Job) -> io::Result<()> {
    let mut traveller = TRAVELLER.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(sender) = traveller.as_ref() {
        match sender.send(job) {
            Ok(()) => return Ok(()),
            Err(returned) => job = returned.0,
        }
    }
    let (sender, jobs) = channel();
    let home = current()?;
    std::thread::Builder::new()
        .name("netns".into())
        .stack_size(256 << 10)
        .spawn(move || travel(home, jobs))?;
    sender
        .send(job)
        .map_err(|_| io::Error::other("the thread that enters network namespaces has ended"))?;
    *traveller = Some(sender);
    Ok(())
}

fn travel(home: OwnedFd, jobs: Receiver<Job>) {
    for job in jobs {
        job();
        // Not home again: a job would start in a stranger's namespace, and that namespace would be kept alive.
        if enter(home.as_fd()).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{Batch, Protocol, Socket};

    fn links() -> usize {
        let mut batch = Batch::new();
        batch.message(18, 0x300, &[0; 16], |_| {});
        Socket::open(Protocol::Route).unwrap().query(&batch).unwrap().len()
    }

    #[test]
    fn a_new_namespace_is_another_and_the_thread_comes_home() {
        let home = identity(current().unwrap().as_fd()).unwrap();
        let (netns, (seen, count)) =
            create(|| (identity(current().unwrap().as_fd()).unwrap(), links())).unwrap();
        assert_eq!(identity(netns.as_fd()).unwrap(), seen);
        assert_ne!(home, seen);
        assert!(count >= 1);
        let again =
            inside(netns.as_fd(), || identity(current().unwrap().as_fd()).unwrap()).unwrap();
        assert_eq!(again, seen);
        assert_eq!(away(|| identity(current()?.as_fd())).unwrap(), home);
        assert_eq!(identity(current().unwrap().as_fd()).unwrap(), home);
    }

    #[test]
    fn a_panic_inside_is_an_error_and_the_thread_goes_on() {
        let (netns, ()) = create(|| ()).unwrap();
        assert!(inside(netns.as_fd(), || panic!("on purpose")).is_err());
        assert_eq!(inside(netns.as_fd(), || 5).unwrap(), 5);
    }
}
