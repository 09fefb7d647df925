//! User namespaces that nobody lives in yet, made by a process with threads.
//!
//! A thread cannot enter a user namespace (setns(2), unshare(2): the process must be single-threaded), so a process of its
//! own is born into it, does nothing while its ids are written from outside, and is ended.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::process::{WaitId, WaitIdOptions};

use crate::clone::{NEWNET, NEWUSER};
use crate::dir::Dir;

/// Ids inside that are other ids outside, as a line of `uid_map`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first id inside.
    pub inside: u32,
    /// What it is outside.
    pub outside: u32,
    /// How many.
    pub size: u32,
}

/// Whose ids those of a user namespace are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMaps {
    /// Of users.
    pub uids: Vec<Range>,
    /// Of groups.
    pub gids: Vec<Range>,
}

impl IdMaps {
    /// The ids of the process whose folder in `/proc` this is, as seen from here; `None`: they are our own.
    pub fn of_process(process: &Dir) -> io::Result<Option<Self>> {
        let read = |name| Ok::<_, io::Error>(parse(&process.read_file(name, 64 << 10)?));
        let maps = Self { uids: read("uid_map")?, gids: read("gid_map")? };
        let same =
            |list: &[Range]| matches!(list, [Range { inside: 0, outside: 0, size: u32::MAX }]);
        Ok((!(same(&maps.uids) && same(&maps.gids))).then_some(maps))
    }

    /// What a user and a group inside are outside; `None`: nobody.
    pub fn outside(&self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        let find = |list: &[Range], id: u32| {
            list.iter().find_map(|r| {
                let at = id.checked_sub(r.inside).filter(|at| *at < r.size)?;
                r.outside.checked_add(at)
            })
        };
        Some((find(&self.uids, uid)?, find(&self.gids, gid)?))
    }

    /// What a user and a group outside are called inside; who is nobody inside has the kernel's id for that.
    pub fn inside(&self, uid: u32, gid: u32) -> (u32, u32) {
        let find = |list: &[Range], id: u32| {
            let name = |r: &Range| {
                let at = id.checked_sub(r.outside).filter(|at| *at < r.size)?;
                r.inside.checked_add(at)
            };
            list.iter().find_map(name).unwrap_or(NOBODY)
        };
        (find(&self.uids, uid), find(&self.gids, gid))
    }
}

/// What an id without a name in a user namespace is shown as (`/proc/sys/kernel/overflowuid`).
pub const NOBODY: u32 = 65534;

/// The lines of `uid_map`; what cannot be read is not there.
fn parse(text: &[u8]) -> Vec<Range> {
    let line = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        let mut next = || numbers.next()?.ok();
        Some(Range { inside: next()?, outside: next()?, size: next()? })
    };
    String::from_utf8_lossy(text).lines().filter_map(line).collect()
}

/// A user namespace and what belongs to it.
#[derive(Debug)]
pub struct Namespaces {
    /// The user namespace.
    pub user: OwnedFd,
    /// A new network namespace that it owns, when one was asked for.
    pub network: Option<OwnedFd>,
}

/// Bytes of the idle process's stack; it makes three system calls.
const STACK: usize = 64 << 10;

/// Makes a user namespace with these ids and, when `network` says so, a network namespace that belongs to it.
///
/// # Errors
/// `ENOSPC`: the host's limit (`/proc/sys/user/max_user_namespaces`) is reached; `EINVAL`: the ranges overlap.
pub fn create(maps: &IdMaps, network: bool) -> io::Result<Namespaces> {
    let idle = Idle::born(NEWUSER | if network { NEWNET } else { 0 })?;
    let proc = format!("/proc/{}", idle.pid);
    write(&format!("{proc}/uid_map"), &maps.uids)?;
    write(&format!("{proc}/gid_map"), &maps.gids)?;
    let open = |kind: &str| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::open(format!("{proc}/ns/{kind}"), flags, Mode::empty())
    };
    Ok(Namespaces { user: open("user")?, network: network.then(|| open("net")).transpose()? })
}

/// All lines in one write, as the kernel takes them.
fn write(path: &str, ranges: &[Range]) -> io::Result<()> {
    let lines = ranges.iter().map(|r| format!("{} {} {}\n", r.inside, r.outside, r.size));
    let text: String = lines.collect();
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// A process that waits to be ended. It shares our memory, so making it copies nothing.
struct Idle {
    pid: libc::pid_t,
    pidfd: OwnedFd,
    /// What it stands on; freed after its end.
    _stack: Vec<u8>,
}

impl Idle {
    fn born(namespaces: u64) -> io::Result<Self> {
        let mut stack = vec![0_u8; STACK];
        let mut pidfd: libc::c_int = -1;
        let flags = namespaces | (libc::CLONE_VM | libc::CLONE_PIDFD | libc::SIGCHLD) as u64;
        let flags = libc::c_int::try_from(flags).map_err(|_| io::ErrorKind::InvalidInput)?;
        let parent = std::process::id() as usize as *mut libc::c_void;
        // JUSTIFICATION: no safe crate makes a process in a user namespace out of one with threads; fork would copy the
        // page tables of the whole daemon.
        // SAFETY: the child runs `wait_for_end` on a stack of its own, aligned to 16 bytes, that is freed after it has been
        // reaped (`drop`). It touches no memory but that stack: three system calls that do not fail, so not even the
        // `errno` that it shares with this thread is written. Without CLONE_SIGHAND handlers are copies. The third
        // variadic argument is where CLONE_PIDFD stores the descriptor; it outlives the call.
        let pid = unsafe {
            let top = stack.as_mut_ptr().add(STACK);
            let top = top.sub(top as usize % 16).cast();
            libc::clone(wait_for_end, top, flags, parent, &raw mut pidfd)
        };
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        // JUSTIFICATION: the descriptor comes as a number.
        // SAFETY: with CLONE_PIDFD the kernel has stored a new descriptor there that nobody else knows.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Ok(Self { pid, pidfd, _stack: stack })
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        // It is our child and not waited for: it can be ended, and is reaped before its stack goes.
        let _ended = crate::process::signal(&self.pidfd, libc::SIGKILL);
        let _reaped = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED)
        });
    }
}

/// The idle process: ends when it is killed, or with the thread that made it.
extern "C" fn wait_for_end(parent: *mut libc::c_void) -> libc::c_int {
    // JUSTIFICATION: a process that shares memory may only make bare system calls.
    // SAFETY: integers alone, and null pointers where the kernel takes them as "none" (no descriptors, no timeout).
    unsafe {
        libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        // The parent may have ended before.
        if libc::syscall(libc::SYS_getppid) as usize == parent as usize {
            loop {
                libc::syscall(libc::SYS_ppoll, 0_usize, 0, 0_usize, 0_usize, 0);
            }
        }
        libc::syscall(libc::SYS_exit_group, 0);
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps(uids: &[(u32, u32, u32)], gids: &[(u32, u32, u32)]) -> IdMaps {
        let list = |all: &[(u32, u32, u32)]| {
            all.iter().map(|&(inside, outside, size)| Range { inside, outside, size }).collect()
        };
        IdMaps { uids: list(uids), gids: list(gids) }
    }

    #[test]
    fn a_network_namespace_can_belong_to_it() {
        let maps = maps(&[(0, 70_000, 10), (10, 0, 1)], &[(0, 80_000, 5)]);
        let made = create(&maps, true).unwrap();
        let network = made.network.unwrap();
        let owner = rustix::fs::fstat(owner_of(&network)).unwrap();
        let user = rustix::fs::fstat(&made.user).unwrap();
        assert_eq!((owner.st_dev, owner.st_ino), (user.st_dev, user.st_ino));
        // The ids are what a mount shows that is mapped by it.
        let file = std::env::temp_dir().join(format!("userns-{}", std::process::id()));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::chown(&file, Some(3), Some(2)).unwrap();
        let tree = crate::mount::clone_tree(rustix::fs::CWD, &file, false).unwrap();
        crate::mount::map_ids(&tree, &made.user, false).unwrap();
        let stat = rustix::fs::fstat(&tree).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!((stat.st_uid, stat.st_gid), (70_003, 80_002));
    }

    #[test]
    fn without_one_there_is_none_and_nonsense_is_refused() {
        assert!(create(&maps(&[(0, 1, 1)], &[(0, 1, 1)]), false).unwrap().network.is_none());
        let error = create(&maps(&[(0, 1, 1), (0, 5, 1)], &[(0, 1, 1)]), true).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn many_threads_make_them_at_once() {
        let maps = maps(&[(0, 9, 1)], &[(0, 9, 1)]);
        let make = || create(&maps, true).unwrap();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            threads.into_iter().for_each(|thread| drop(thread.join().unwrap()));
        });
    }

    #[test]
    fn ids_are_translated_both_ways() {
        let text = b"         0     100000          5\n         5       7  1\nx\n";
        let all = IdMaps { uids: parse(text), gids: parse(b"0 200000 5\n") };
        assert_eq!(all, maps(&[(0, 100_000, 5), (5, 7, 1)], &[(0, 200_000, 5)]));
        assert_eq!(all.outside(4, 0), Some((100_004, 200_000)));
        assert_eq!(all.outside(5, 4), Some((7, 200_004)));
        assert_eq!(all.outside(6, 0), None);
        assert_eq!(all.outside(0, 5), None);
        assert_eq!(all.inside(100_004, 200_001), (4, 1));
        assert_eq!(all.inside(7, 0), (5, NOBODY));
        let own = Dir::open(format!("/proc/{}", std::process::id())).unwrap();
        assert_eq!(IdMaps::of_process(&own).unwrap(), None);
    }

    /// The user namespace that owns another namespace (ioctl_ns(2)).
    fn owner_of(namespace: &OwnedFd) -> OwnedFd {
        use std::os::fd::AsRawFd as _;
        const NS_GET_USERNS: libc::c_ulong = 0xb701;
        // JUSTIFICATION: no safe crate has it; a test's.
        // SAFETY: the call takes a descriptor and no further argument, and answers a new descriptor.
        unsafe {
            let fd = libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS as _);
            assert!(fd >= 0);
            OwnedFd::from_raw_fd(fd)
        }
    }
}
