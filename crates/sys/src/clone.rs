//! clone3 with namespaces, a pidfd and, where the kernel can, a cgroup.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// New mount namespace.
pub const NEWNS: u64 = 0x0002_0000;
/// New cgroup namespace.
pub const NEWCGROUP: u64 = 0x0200_0000;
/// New UTS namespace.
pub const NEWUTS: u64 = 0x0400_0000;
/// New IPC namespace.
pub const NEWIPC: u64 = 0x0800_0000;
/// New user namespace.
pub const NEWUSER: u64 = 0x1000_0000;
/// New pid namespace.
pub const NEWPID: u64 = 0x2000_0000;
/// New network namespace.
pub const NEWNET: u64 = 0x4000_0000;
/// New time namespace with the offsets of the caller's; needs clone3 or unshare, the old call has no room for it.
pub const NEWTIME: u64 = 0x0000_0080;

const PIDFD: u64 = 0x0000_1000;
const PARENT: u64 = 0x0000_8000;
const CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// How to make a process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clone3<'a> {
    /// `NEW…` flags of this module.
    pub namespaces: u64,
    /// Put it into this cgroup v2 directory at once (Linux 5.7).
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Make it a child of the caller's parent instead, which then gets `SIGCHLD` and reaps it.
    pub sibling: bool,
}

/// Which side of a clone one is on.
#[derive(Debug)]
pub enum Cloned {
    /// The caller.
    Parent {
        /// The new process in the caller's pid namespace.
        pid: i32,
        /// A descriptor of it, closed on exec.
        pidfd: OwnedFd,
    },
    /// The new process, on a copy of the caller's memory and stack.
    Child,
}

/// Makes a process that goes on from here, as fork does (man 2 clone).
///
/// The child is a full copy and may run any code: this process must be single-threaded, which is checked (`EBUSY`
/// otherwise), so no lock can have been held by a thread that does not exist in the child. Handlers of signals are
/// reset in the child. The child should end in exec or `_exit`; see [`crate::process::exit_now`].
///
/// Where a filter refuses clone3 (Docker's does: it cannot see the flags) a child without namespaces and cgroup is
/// made by the old call; that one keeps handlers of signals.
pub fn clone3(how: Clone3<'_>) -> io::Result<Cloned> {
    if !crate::process::is_single_threaded() {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    let mut pidfd: libc::c_int = -1;
    // JUSTIFICATION: no safe crate offers clone3; `fork` has no pidfd, no namespaces and no cgroup.
    // SAFETY: `clone_args` is a plain struct of integers for which zero means "absent".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = how.namespaces | PIDFD | CLEAR_SIGHAND;
    args.pidfd = &raw mut pidfd as u64;
    if how.sibling {
        // The exit signal is the caller's own then; saying one is an error.
        args.flags |= PARENT;
    } else {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = how.cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = u64::try_from(cgroup.as_raw_fd()).unwrap_or(u64::MAX);
    }
    // JUSTIFICATION: as above.
    // SAFETY: `args` is initialised and outlives the call, and so does `pidfd`, which it points to. No CLONE_VM and no
    // stack: the child runs on a copy-on-write copy of this very stack. There is one thread (checked above), so the
    // copy of every lock is free and all of the child's memory is consistent.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    let refused =
        || matches!(io::Error::last_os_error().raw_os_error(), Some(libc::ENOSYS | libc::EPERM));
    let plain = how.namespaces == 0 && how.cgroup.is_none() && !how.sibling;
    let pid = if pid < 0 && plain && refused() { old_clone(&mut pidfd) } else { pid };
    match pid {
        0 => Ok(Cloned::Child),
        pid if pid > 0 => {
            // JUSTIFICATION: the descriptor comes as a number.
            // SAFETY: with CLONE_PIDFD the kernel has stored a new descriptor there that nobody else knows.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid: i32::try_from(pid).unwrap_or(i32::MAX), pidfd })
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// A copy of this process and its pidfd, by the call that every kernel and every filter knows.
fn old_clone(pidfd: &mut libc::c_int) -> libc::c_long {
    let flags = PIDFD | libc::SIGCHLD as u64;
    // JUSTIFICATION: as in clone3; `fork` has no pidfd.
    // SAFETY: as in clone3: no CLONE_VM, no stack, one thread. With CLONE_PIDFD the third argument, on every
    // architecture, is where the descriptor is stored; it outlives the call. The last two are not looked at.
    unsafe { libc::syscall(libc::SYS_clone, flags, 0_u64, std::ptr::from_mut(pidfd), 0_u64, 0_u64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_refused() {
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || wait.recv());
        let error = clone3(Clone3::default()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBUSY));
        drop(stop);
        let _disconnected = thread.join().unwrap();
    }
}
