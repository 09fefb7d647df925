//! User namespaces that nobody lives in yet, made by a process with threads.
//!
//! A thread cannot enter a user namespace (setns(2), unshare(2): the process must be single-threaded), so a process of its
//! own is born into it, does nothing while its ids are written from outside, and is ended.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

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
    let flags = NEWUSER | if network { NEWNET } else { 0 } | libc::CLONE_VM as u64;
    let parent = std::process::id() as usize as *mut libc::c_void;
    let idle = Idle::born(flags, wait_for_end, parent)?;
    let proc = format!("/proc/{}", idle.pid);
    write(&format!("{proc}/uid_map"), &maps.uids)?;
    write(&format!("{proc}/gid_map"), &maps.gids)?;
    let network = network.then(|| idle.namespace("net")).transpose()?;
    Ok(Namespaces { user: idle.namespace("user")?, network })
}

/// Makes a network namespace that belongs to a user namespace that exists already.
///
/// # Errors
/// `ENOSPC`: the limit (`/proc/sys/user/max_net_namespaces`) is reached; `EPERM`: we have no rights over `user`.
pub fn network_within(user: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let (told, report) = io::pipe()?;
    let mut order =
        Order { parent: std::process::id(), user: user.as_raw_fd(), report: report.as_raw_fd() };
    let idle = Idle::born(0, enter_and_wait, (&raw mut order).cast())?;
    // The process has its own: without ours, its death is the end of what it tells.
    drop(report);
    let mut errno = [0; 4];
    (&told).read_exact(&mut errno)?;
    match i32::from_ne_bytes(errno) {
        0 => idle.namespace("net"),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// What [`enter_and_wait`] is to do.
#[repr(C)]
struct Order {
    parent: u32,
    user: RawFd,
    report: RawFd,
}

/// All lines in one write, as the kernel takes them.
fn write(path: &str, ranges: &[Range]) -> io::Result<()> {
    let lines = ranges.iter().map(|r| format!("{} {} {}\n", r.inside, r.outside, r.size));
    let text: String = lines.collect();
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// A process that waits to be ended.
struct Idle {
    pid: libc::pid_t,
    pidfd: OwnedFd,
    /// What it stands on; freed after its end.
    _stack: Vec<u8>,
}

impl Idle {
    /// With CLONE_VM it shares our memory, so that making it copies nothing.
    fn born(
        flags: u64,
        life: extern "C" fn(*mut libc::c_void) -> libc::c_int,
        argument: *mut libc::c_void,
    ) -> io::Result<Self> {
        let mut stack = vec![0_u8; STACK];
        let mut pidfd: libc::c_int = -1;
        let flags = flags | (libc::CLONE_PIDFD | libc::SIGCHLD) as u64;
        let flags = libc::c_int::try_from(flags).map_err(|_| io::ErrorKind::InvalidInput)?;
        // JUSTIFICATION: no safe crate makes a process in a user namespace out of one with threads; fork would copy the
        // page tables of the whole daemon.
        // SAFETY: the child runs `life` on a stack of its own, aligned to 16 bytes, that is freed after it has been reaped
        // (`drop`). With CLONE_VM that is `wait_for_end`, which touches no memory but that stack: three system calls that
        // do not fail, so not even the `errno` that it shares with this thread is written. Without, it is
        // `enter_and_wait`, whose memory is its own copy, and which makes bare system calls as other threads may have held
        // locks. Without CLONE_SIGHAND handlers are copies. The last argument is where CLONE_PIDFD stores the descriptor;
        // it outlives the call.
        let pid = unsafe {
            let top = stack.as_mut_ptr().add(STACK);
            let top = top.sub(top as usize % 16).cast();
            libc::clone(life, top, flags, argument, &raw mut pidfd)
        };
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        // JUSTIFICATION: the descriptor comes as a number.
        // SAFETY: with CLONE_PIDFD the kernel has stored a new descriptor there that nobody else knows.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Ok(Self { pid, pidfd, _stack: stack })
    }

    /// One of its namespaces, as `/proc` names them.
    fn namespace(&self, kind: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let path = format!("/proc/{}/ns/{kind}", self.pid);
        Ok(rustix::fs::open(path, flags, Mode::empty())?)
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

/// A process with memory of its own: goes into a user namespace, makes a network namespace there, tells how that went
/// (`errno`, 0 if well), and waits as the other does. Sharing memory, it would make the daemon undumpable by changing its
/// credentials.
extern "C" fn enter_and_wait(order: *mut libc::c_void) -> libc::c_int {
    // JUSTIFICATION: after a fork of a process with threads only bare system calls are safe.
    // SAFETY: `order` points into this process's copy of the caller's stack frame; what is written is read from a local
    // that outlives the call; everything else is integers, or null pointers where the kernel takes them as "none".
    unsafe {
        let order = &*order.cast::<Order>();
        let mut failed = libc::syscall(libc::SYS_setns, order.user, libc::CLONE_NEWUSER);
        if failed == 0 {
            failed = libc::syscall(libc::SYS_unshare, libc::CLONE_NEWNET);
        }
        let errno: libc::c_int = if failed == 0 { 0 } else { *libc::__errno_location() };
        // Only now: new credentials take it back.
        libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        if libc::syscall(libc::SYS_getppid) == libc::c_long::from(order.parent) {
            libc::syscall(libc::SYS_write, order.report, &raw const errno, size_of_val(&errno));
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
    fn one_that_exists_can_be_given_a_network() {
        let maps = maps(&[(0, 9, 1)], &[(0, 9, 1)]);
        let user = create(&maps, false).unwrap().user;
        let network = network_within(user.as_fd()).unwrap();
        let identity = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|s| (s.st_dev, s.st_ino)).unwrap();
        assert_eq!(identity(&owner_of(&network)), identity(&user));
        assert_ne!(identity(&network), identity(&network_within(user.as_fd()).unwrap()));
        // A network is no user namespace.
        let error = network_within(network.as_fd()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
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
