//! Threads that can do little harm: for reading and writing what strangers made (unpacking, `cp`, user files).
//!
//! A jailed thread is one of our own process, with walls of its own (security rule R6, CVE-2019-14271, CVE-2026-41567):
//!
//! | wall | what it keeps away | since |
//! |---|---|---|
//! | Landlock | opening, making or removing anything outside the given directories; TCP; signals out | Linux 5.13, see [`Walls`] |
//! | seccomp | executing, sockets, namespaces, mounts, io_uring, tracing, forking | always |
//! | capabilities | everything but CHOWN, DAC_OVERRIDE, FOWNER, FSETID, MKNOD, SETFCAP, SYS_ADMIN (`trusted.` attributes) | always |
//! | no_new_privs | set-id programs, should one ever be executed | always |
//!
//! A jailed thread has umask 0. Threads that a jailed one starts are jailed with it. Descriptors that are open already stay usable: memory and the
//! descriptor table are the process's. The walls are against being led astray by names, not against running an
//! attacker's machine code; that is what the languages are for.
//!
//! A forbidden call answers `EPERM`. It does not kill: a thread that is killed may hold the allocator's lock, and the
//! daemon would stand still with all its containers.

mod filter;
mod landlock;

use crate::dir::Dir;
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::io;
use std::os::fd::AsFd as _;
use std::thread::{Builder, JoinHandle};

pub use landlock::abi as landlock_abi;

/// What a jailed thread may do in one of its directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// List and read.
    Read,
    /// Everything but execute.
    Write,
}

/// Which walls stand; the others always do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walls {
    /// The version of Landlock's interface that is in use; `None` where the kernel has it not or it is switched off.
    /// Then only the code's own care ([`crate::dir`]) keeps the thread in its directories: worth a warning.
    pub landlock: Option<u32>,
}

/// Runs `work` on a new jailed thread called `name`, which has the given directories and nothing else of the file
/// system. `work` does not run if a wall cannot be built; then, and when `work` panics, the handle yields an error.
pub fn spawn<T: Send + 'static>(
    name: &str,
    dirs: &[(&Dir, Access)],
    work: impl FnOnce(Walls) -> T + Send + 'static,
) -> io::Result<JoinHandle<io::Result<T>>> {
    let landlock = landlock::prepare(dirs.iter().map(|(dir, access)| (dir.as_fd(), *access)))?;
    Builder::new().name(name.to_owned()).spawn(move || Ok(work(enter(landlock)?)))
}

/// As [`spawn`], but waits for the end, so that `work` may borrow.
pub fn run<T: Send>(
    name: &str,
    dirs: &[(&Dir, Access)],
    work: impl FnOnce(Walls) -> T + Send,
) -> io::Result<T> {
    run_as(name, dirs, None, work)
}

/// As [`run`], on a thread that is another user and group (`who`) with the rights of this one. A mount whose ids are
/// mapped has files of users alone that it knows.
pub fn run_as<T: Send>(
    name: &str,
    dirs: &[(&Dir, Access)],
    who: Option<(u32, u32)>,
    work: impl FnOnce(Walls) -> T + Send,
) -> io::Result<T> {
    let landlock = landlock::prepare(dirs.iter().map(|(dir, access)| (dir.as_fd(), *access)))?;
    std::thread::scope(|scope| {
        let thread = Builder::new().name(name.to_owned()).spawn_scoped(scope, move || {
            who.map_or(Ok(()), become_user)?;
            Ok(work(enter(landlock)?))
        })?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the jailed thread panicked")))
    })
}

/// Forbids the calling thread, which is its process's only one, what no server needs: executing, other processes,
/// namespaces of its own, mounts, tracing, loading code into the kernel. Sockets and entering given namespaces it keeps,
/// and its capabilities are its own concern. There is no way back.
pub fn confine_server() -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    crate::seccomp::install(&filter::server_program(), 0)
}

/// Builds the walls around the calling thread.
fn enter(landlock: Option<landlock::Prepared>) -> io::Result<Walls> {
    own_umask()?;
    rustix::thread::set_no_new_privs(true)?;
    let walls = Walls { landlock: landlock.as_ref().map(landlock::Prepared::abi) };
    if let Some(prepared) = landlock {
        prepared.restrict()?;
    }
    drop_capabilities()?;
    // Last: it forbids the calls that built the other walls.
    crate::seccomp::install(&filter::program(), 0)?;
    Ok(walls)
}

/// Changes who this thread is, and nothing else of it: its capabilities stay.
fn become_user((uid, gid): (u32, u32)) -> io::Result<()> {
    use rustix::thread::{
        CapabilitiesSecureBits, capabilities_secure_bits, set_capabilities_secure_bits,
    };
    let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    let bits = capabilities_secure_bits()? | CapabilitiesSecureBits::NO_SETUID_FIXUP;
    set_capabilities_secure_bits(bits)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    Ok(rustix::thread::set_thread_res_uid(uid, uid, uid)?)
}

/// Gives the thread a umask of its own, 0: what strangers' archives say about modes is then said once, in `open`. Its
/// working directory is its own from now on too.
fn own_umask() -> io::Result<()> {
    // JUSTIFICATION: rustix marks unshare unsafe because of CLONE_FILES.
    // SAFETY: CLONE_FS separates root, working directory and umask alone; no descriptor or memory is concerned.
    if unsafe { libc::unshare(libc::CLONE_FS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    rustix::process::umask(rustix::fs::Mode::empty());
    Ok(())
}

fn drop_capabilities() -> io::Result<()> {
    let keep = CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::FOWNER
        | CapabilitySet::FSETID
        | CapabilitySet::MKNOD
        | CapabilitySet::SETFCAP
        | CapabilitySet::SYS_ADMIN;
    rustix::thread::clear_ambient_capability_set()?;
    let now = rustix::thread::capabilities(None)?;
    let left = CapabilitySets {
        effective: now.effective & keep,
        permitted: now.permitted & keep,
        inheritable: CapabilitySet::empty(),
    };
    Ok(rustix::thread::set_capabilities(None, left)?)
}

#[cfg(test)]
mod tests;
