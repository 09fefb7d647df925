//! What the process makes of itself before it hears what it is for.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::process::DumpableBehavior;
use stdx::{Context as _, Result};
use sys::signals::SignalFd;

/// Leaves the daemon's session and takes orphans in; nothing but `SIGKILL` ends this process from outside from here on.
pub(crate) fn detach() -> Result<SignalFd> {
    let detach = || -> io::Result<SignalFd> {
        sys::process::close_on_exec_from(3)?;
        // A shim started by hand may lead its group already; then it stays in its session.
        let _leader = rustix::process::setsid();
        rustix::process::chdir("/")?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        rustix::thread::set_name(c"gantry-shim")?;
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        // Whoever enters the container's namespaces from here must not be traced by it (CVE-2016-9962).
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        SignalFd::children_only()
    };
    detach().context(|| "detach from the daemon")
}

/// The connection to the daemon that started us: our standard input, which becomes `/dev/null`.
pub(crate) fn daemon_socket() -> Result<OwnedFd> {
    let take = || -> io::Result<OwnedFd> {
        let stdin = io::stdin();
        rustix::net::sockopt::socket_type(&stdin)?;
        let socket = stdin.as_fd().try_clone_to_owned()?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdin(null)?;
        Ok(socket)
    };
    take().context(|| "the standard input is to be the daemon's socket")
}
