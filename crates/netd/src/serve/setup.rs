//! What the process makes of itself.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use stdx::{Context as _, Error, Result};

/// The listening socket: our standard input, which becomes `/dev/null`.
pub(crate) fn listener() -> Result<OwnedFd> {
    let take = || -> io::Result<OwnedFd> {
        let stdin = io::stdin();
        if !rustix::net::sockopt::socket_acceptconn(&stdin)? {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let socket = stdin.as_fd().try_clone_to_owned()?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdin(null)?;
        Ok(socket)
    };
    take().map_err(|e| {
        Error::invalid("the standard input is no listening socket: gantryd starts this program")
            .caused_by(e)
    })
}

/// Waits until no other helper works on these records. One that was killed may still be about to let go of its lock when
/// its connections have ended already.
pub(crate) fn lock(path: &Path) -> Result<OwnedFd> {
    let lock = || -> io::Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))?;
        while let Err(e) = rustix::fs::flock(&file, FlockOperation::LockExclusive) {
            if e != rustix::io::Errno::INTR {
                return Err(e.into());
            }
        }
        Ok(file)
    };
    lock().context(|| format!("lock {}", path.display()))
}

/// Leaves the daemon's session: what ends the daemon does not end this process.
pub(crate) fn detach() -> Result<()> {
    let detach = || -> io::Result<()> {
        sys::process::close_on_exec_from(3)?;
        // One that leads its group already stays in its session.
        let _leader = rustix::process::setsid();
        rustix::process::chdir("/")?;
        rustix::process::umask(Mode::from_raw_mode(0o077));
        rustix::thread::set_name(c"gantry-netd")?;
        // Sockets of hundreds of containers, and of their queries.
        let limit = rustix::process::getrlimit(Resource::Nofile);
        let all = Rlimit { current: limit.maximum, maximum: limit.maximum };
        Ok(rustix::process::setrlimit(Resource::Nofile, all)?)
    };
    detach().context(|| "detach from the daemon")
}

/// Gives up what is not needed from here on: executing, mounting, tracing and the like (seccomp), and all capabilities but
///
/// | kept | for |
/// |---|---|
/// | `CAP_SYS_ADMIN` | entering network namespaces |
/// | `CAP_NET_ADMIN` | the redirect inside them, our tables outside |
/// | `CAP_SYS_PTRACE` | opening the namespace of a container that has a user namespace |
pub(crate) fn confine() -> Result<()> {
    let confine = || -> io::Result<()> {
        rustix::thread::clear_ambient_capability_set()?;
        let keep = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN | CapabilitySet::SYS_PTRACE;
        let now = rustix::thread::capabilities(None)?;
        let left = CapabilitySets {
            effective: now.effective & keep,
            permitted: now.permitted & keep,
            inheritable: CapabilitySet::empty(),
        };
        rustix::thread::set_capabilities(None, left)?;
        sys::jail::confine_server()
    };
    confine().context(|| "give up rights")
}
