//! Identity, limits, signals and descriptors of the calling process.
//!
//! What rustix offers safely (capabilities, set*id of the thread, prctl, prlimit, waitid on a pidfd) is used from there.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::process::Resource;

/// Whether this process has one thread. One cheap system call without effect: unshare refuses these flags to a
/// process with threads (man 2 unshare). Where a filter forbids the call, as in a container, the threads are counted.
pub fn is_single_threaded() -> bool {
    // JUSTIFICATION: rustix asks for `unsafe` here too, and reading /proc costs fifty times as much.
    // SAFETY: for a process with one thread these flags change nothing; otherwise the call fails with EINVAL.
    let asked =
        check(unsafe { libc::unshare(libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_VM) });
    match asked {
        Err(e) if e.raw_os_error() != Some(libc::EINVAL) => {
            std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
        }
        answer => answer.is_ok(),
    }
}

/// Moves the calling thread into new namespaces, `NEW…` flags of [`crate::clone`]; pid and time count for children.
pub fn unshare(namespaces: u64) -> io::Result<()> {
    let allowed = crate::clone::NEWCGROUP
        | crate::clone::NEWIPC
        | crate::clone::NEWNET
        | crate::clone::NEWNS
        | crate::clone::NEWPID
        | crate::clone::NEWTIME
        | crate::clone::NEWUSER
        | crate::clone::NEWUTS;
    let flags =
        libc::c_int::try_from(namespaces & allowed).map_err(|_| io::ErrorKind::InvalidInput)?;
    // JUSTIFICATION: rustix marks unshare unsafe because of CLONE_FILES.
    // SAFETY: only namespace flags get here; descriptors and memory are not concerned.
    check(unsafe { libc::unshare(flags) })
}

/// Joins namespaces: of one namespace file (`kinds` may be 0 or its kind), or of a process by pidfd (Linux 5.8).
pub fn set_namespaces(fd: BorrowedFd<'_>, kinds: u64) -> io::Result<()> {
    let kinds = libc::c_int::try_from(kinds).map_err(|_| io::ErrorKind::InvalidInput)?;
    // JUSTIFICATION: rustix's wrapper knows neither time namespaces nor their combination by pidfd.
    // SAFETY: setns takes two integers and touches no memory of ours.
    check(unsafe { libc::setns(fd.as_raw_fd(), kinds) })
}

/// Gives every signal its default action and unblocks all, as a program expects to be started.
///
/// Ignored signals survive exec, and Rust's start-up code ignores `SIGPIPE`.
pub fn reset_signals() {
    // Bytes of the kernel's `sigset_t`.
    const SET: usize = 8;
    // The kernel's `struct sigaction`: SIG_DFL, no flags, no restorer, nothing blocked.
    let action = [0_u64; 4];
    let nothing = [0_u8; SET];
    // JUSTIFICATION: rustix has neither sigaction nor sigprocmask, and the C library's refuse its own two signals,
    // which may have been inherited ignored like any other.
    // SAFETY: SIG_DFL is always a valid action and installs no code of ours; numbers that take none (SIGKILL, SIGSTOP)
    // fail without effect. The kernel reads 32 and 8 bytes at most, which both arrays have, and writes nothing.
    unsafe {
        let old = std::ptr::null_mut::<u64>();
        for number in 1..=64 {
            libc::syscall(libc::SYS_rt_sigaction, number, action.as_ptr(), old, SET);
        }
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, nothing.as_ptr(), old, SET);
    }
}

/// Blocks every signal that can be blocked in this thread, so that [`next_signal`] gets them.
pub fn block_signals() -> io::Result<()> {
    let all = [u8::MAX; 8];
    // JUSTIFICATION: rustix has no sigprocmask.
    // SAFETY: the kernel reads the 8 bytes of its signal set, which outlive the call, and writes nothing. The C
    // library's own two signals serve threads, of which the callers have one.
    let result = unsafe {
        let old = std::ptr::null_mut::<u8>();
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, all.as_ptr(), old, all.len())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Waits for a blocked signal and takes it off; its number.
pub fn next_signal() -> io::Result<i32> {
    let all = [u8::MAX; 8];
    loop {
        // JUSTIFICATION: rustix has no sigwaitinfo.
        // SAFETY: the kernel reads the 8 bytes of its signal set; information and timeout are null, which it allows.
        let number = unsafe {
            let none = std::ptr::null_mut::<libc::siginfo_t>();
            let forever = std::ptr::null::<libc::timespec>();
            libc::syscall(libc::SYS_rt_sigtimedwait, all.as_ptr(), none, forever, all.len())
        };
        if number > 0 {
            return Ok(i32::try_from(number).unwrap_or(0));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Sends `signal`, any number the kernel knows, to a process, or to a process group when `pid` is negative.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // JUSTIFICATION: rustix's `Signal` cannot be made of real-time numbers safely.
    // SAFETY: kill takes two integers.
    check(unsafe { libc::kill(pid, signal) })
}

/// Has every descriptor from `first` on closed at exec (Linux 5.11).
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // JUSTIFICATION: rustix has no close_range.
    // SAFETY: no descriptor is closed here; descriptors that others count on stay valid until exec replaces them.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Closes every descriptor from 3 on but those to `keep`, for a process just made by [`crate::clone::clone3`] on its way
/// to exec: what the copy of its creator's memory still owns is closed behind its back and must not be used or dropped
/// again.
pub fn close_all_but(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut keep: Vec<u32> =
        keep.iter().filter_map(|fd| u32::try_from(fd.as_raw_fd()).ok()).collect();
    keep.sort_unstable();
    let mut first = 3;
    let ends =
        keep.iter().map(|fd| (fd.checked_sub(1), fd + 1)).chain([(Some(u32::MAX), u32::MAX)]);
    for (last, next) in ends {
        if let Some(last) = last.filter(|last| *last >= first) {
            // JUSTIFICATION: rustix has no close_range, and closing owned descriptors one by one means knowing them all.
            // SAFETY: no memory is touched. The caller's process ends in exec or `_exit` without running destructors
            // (see above), so no owner closes or uses these numbers again.
            let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
            if result != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        first = first.max(next);
    }
    Ok(())
}

/// Takes over the descriptors `first` to `first + count - 1`, which whoever started this program has left open for it.
///
/// Call it once, early, and from `main`: numbers that this program has opened itself are not there to be taken. `EBADF`
/// when one of them is not open.
pub fn take_inherited(first: u32, count: u32) -> io::Result<Vec<OwnedFd>> {
    let take = |number: u32| {
        let number = libc::c_int::try_from(number).map_err(|_| io::ErrorKind::InvalidInput)?;
        // JUSTIFICATION: what is inherited is known by its number only.
        // SAFETY: asking for the flags of a descriptor touches no memory and changes nothing.
        check(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
        // JUSTIFICATION: as above.
        // SAFETY: it is open, and by what is asked of callers it is nobody else's.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    };
    (first..first.saturating_add(count)).map(take).collect()
}

/// Leaves this process for good without running anything: no destructors, no exit handlers. For clones.
pub fn exit_now(code: i32) -> ! {
    // JUSTIFICATION: `std::process::exit` would run handlers registered by the parent's code in its clone.
    // SAFETY: _exit touches no memory of ours and does not return.
    unsafe { libc::_exit(code) }
}

/// Replaces this process by the program at `path`; returns only the error. `arguments` includes argv[0].
pub fn exec(path: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // JUSTIFICATION: the standard library's `exec` looks PATH up by rules of its own and resets signals its way.
    // SAFETY: the path and all strings are NUL-terminated, both arrays end with a null pointer, and all of them
    // outlive the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Replaces this process by the program that `file` holds open; returns only the error.
///
/// The descriptor must not be closed on exec if the program is a script.
pub fn exec_fd(file: BorrowedFd<'_>, arguments: &[CString], environment: &[CString]) -> io::Error {
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // JUSTIFICATION: no safe crate has execveat.
    // SAFETY: as for `exec`; the path is empty and NUL-terminated.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    io::Error::last_os_error()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Gives this process a session keyring of its own, so that it does not have its parent's keys.
///
/// That keyrings are full (`EDQUOT`: 200 for other users than root, trap T9), absent (`ENOSYS`) or forbidden by the
/// sandbox we run in (`EPERM`, `EACCES`) is success: nothing in a container depends on having one, and the parent's
/// keyring is then not reachable for the same reason or because its owner differs.
pub fn join_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // JUSTIFICATION: no safe crate of ours has keyctl.
    // SAFETY: a null name means "a new one"; no memory is touched.
    let result = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<libc::c_char>(),
        )
    };
    if result >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EDQUOT | libc::ENOSYS | libc::EPERM | libc::EACCES) => Ok(()),
        _ => Err(error),
    }
}

/// Sets a limit of this process, or as much of it as may be set: without `CAP_SYS_RESOURCE` the hard limit stays what
/// it is at most, and the soft limit below it. `None` is no limit. Returns what was set.
pub fn limit_clipped(
    resource: Resource,
    soft: Option<u64>,
    hard: Option<u64>,
) -> io::Result<(Option<u64>, Option<u64>)> {
    let set = |soft, hard| {
        rustix::process::setrlimit(
            resource,
            rustix::process::Rlimit { current: soft, maximum: hard },
        )
    };
    match set(soft, hard) {
        Ok(()) => return Ok((soft, hard)),
        Err(rustix::io::Errno::PERM) => {}
        Err(e) => return Err(e.into()),
    }
    let now = rustix::process::getrlimit(resource);
    let hard = smaller(hard, now.maximum);
    let soft = smaller(soft, hard);
    set(soft, hard)?;
    Ok((soft, hard))
}

/// Runs `work` as a thread whose new files belong to this user and group and that has all its other rights (man 2 setfsuid).
pub fn with_file_owner<T>(uid: u32, gid: u32, work: impl FnOnce() -> T) -> io::Result<T> {
    use rustix::thread::{
        CapabilitiesSecureBits, capabilities_secure_bits, set_capabilities_secure_bits,
    };
    let become_owner = |uid: u32, gid: u32| {
        // JUSTIFICATION: rustix has neither of the two.
        // SAFETY: they take integers and change only whom this thread's files belong to. They answer the id before, never
        // an error; ids that may not be taken on change nothing.
        unsafe {
            libc::syscall(libc::SYS_setfsgid, gid);
            libc::syscall(libc::SYS_setfsuid, uid);
        }
    };
    // Otherwise the kernel takes the capabilities that concern files from whoever is not root.
    let before = capabilities_secure_bits()?;
    set_capabilities_secure_bits(before | CapabilitiesSecureBits::NO_SETUID_FIXUP)?;
    become_owner(uid, gid);
    let done = work();
    become_owner(rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    set_capabilities_secure_bits(before)?;
    Ok(done)
}

/// Raises the hard limit to `hard` if it is lower and may be raised; the soft limit stays.
pub fn raise_limit(resource: Resource, hard: Option<u64>) -> io::Result<()> {
    let now = rustix::process::getrlimit(resource);
    if now.maximum.is_none_or(|most| hard.is_some_and(|hard| hard <= most)) {
        return Ok(());
    }
    let raised = rustix::process::Rlimit { current: now.current, maximum: hard };
    match rustix::process::setrlimit(resource, raised) {
        Err(rustix::io::Errno::PERM) => Ok(()),
        done => Ok(done?),
    }
}

fn smaller(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

/// `PER_LINUX32`: a 64-bit kernel that calls itself a 32-bit one.
pub const PERSONALITY_LINUX32: u32 = 8;

/// Sets the execution domain (man 2 personality).
pub fn set_personality(persona: u32) -> io::Result<()> {
    // JUSTIFICATION: no safe crate of ours has personality.
    // SAFETY: it takes an integer and changes only how later calls behave.
    check(unsafe { libc::personality(libc::c_ulong::from(persona)) }.min(0))
}

/// The device number `major:minor`, as stat and mknod have it.
pub fn device(major: u32, minor: u32) -> u64 {
    rustix::fs::makedev(major, minor)
}

/// Sends `signal`, any number the kernel knows, to the process behind a pidfd.
pub fn signal(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    // JUSTIFICATION: rustix's `Signal` cannot be made of real-time numbers safely.
    // SAFETY: integers and a null pointer, which stands for "as kill(2) does it".
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Brings the loopback interface of this thread's network namespace up, as a new one starts with it down.
pub fn loopback_up() -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // JUSTIFICATION: SIOCSIFFLAGS has no safe wrapper, and a netlink exchange for one bit costs more.
    // SAFETY: `ifreq` is plain data for which zero is valid; the name fits and is NUL-terminated by the zeroes; the
    // kernel reads the struct, which outlives both calls, and writes its flags.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &raw mut request))?;
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw mut request))
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_clipped_not_refused() {
        let before = rustix::process::getrlimit(Resource::Core);
        let (soft, hard) = limit_clipped(Resource::Core, Some(1), before.maximum).unwrap();
        assert_eq!((soft, hard), (Some(1), before.maximum));
        // More than the kernel gives anyone (fs.nr_open) fails for everyone; it is clipped to what is had.
        let had = rustix::process::getrlimit(Resource::Nofile);
        let (soft, hard) = limit_clipped(Resource::Nofile, Some(1 << 40), Some(1 << 40)).unwrap();
        assert!(hard <= had.maximum.or(Some(1 << 40)) && soft <= hard, "{soft:?} {hard:?}");
    }

    #[test]
    fn the_smaller_limit_wins_and_none_is_the_largest() {
        assert_eq!(smaller(Some(1), None), Some(1));
        assert_eq!(smaller(None, Some(2)), Some(2));
        assert_eq!(smaller(Some(3), Some(2)), Some(2));
        assert_eq!(smaller(None, None), None);
    }

    #[test]
    fn a_pidfd_takes_signal_zero() {
        let me = rustix::process::pidfd_open(
            rustix::process::getpid(),
            rustix::process::PidfdFlags::empty(),
        )
        .unwrap();
        signal(&me, 0).unwrap();
        assert_eq!(signal(&me, 999).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
