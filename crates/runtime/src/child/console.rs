//! The terminal of a container, out of the container's own devpts.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::pty::OpenptFlags;
use sys::dir::Dir;
use sys::tty::Size;

use crate::error::{Error, Result, Step as _};
use crate::plan::process::ProcessPlan;
use crate::sync::{Message, Sync};

/// `DEVPTS_SUPER_MAGIC` (linux/magic.h).
const DEVPTS: i64 = 0x1cd1;

/// Opens a new terminal, sends its master to the parent and returns the terminal. `bind`: it is also `/dev/console`.
///
/// The terminal is never named: the other end comes from the master by ioctl, so that no link in `/dev/pts` can stand
/// in for it (CVE-2025-52565).
pub(crate) fn open(root: &Dir, process: &ProcessPlan, sync: &Sync, bind: bool) -> Result<OwnedFd> {
    let pts = root
        .open_in_root("/dev/pts", OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
        .step(|| "open /dev/pts for the terminal")?;
    if rustix::fs::fstatfs(pts.as_fd()).step(|| "look at /dev/pts")?.f_type != DEVPTS {
        return Err(Error::Invalid("a terminal needs a devpts at /dev/pts".to_owned()));
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let master =
        rustix::fs::openat(&pts, c"ptmx", flags, Mode::empty()).step(|| "open /dev/pts/ptmx")?;
    rustix::pty::unlockpt(&master).step(|| "unlock the terminal")?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = rustix::pty::ioctl_tiocgptpeer(&master, flags).step(|| "open the terminal")?;
    if let Some((rows, columns)) = process.console_size {
        sys::tty::set_size(&master, Size { rows, columns }).step(|| "set the terminal's size")?;
    }
    if bind {
        bind_console(root, &terminal)?;
    }
    sync.send(&Message::Console(master))?;
    Ok(terminal)
}

fn bind_console(root: &Dir, terminal: &OwnedFd) -> Result<()> {
    let step = || "mount the terminal at /dev/console";
    let dev = root.dir_in_root("/dev").step(step)?;
    match rustix::fs::mknodat(
        &dev,
        c"console",
        FileType::RegularFile,
        Mode::from_raw_mode(0o600),
        0,
    ) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(e) => return Err(e).step(step),
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = rustix::fs::openat(&dev, c"console", flags, Mode::empty()).step(step)?;
    if FileType::from_raw_mode(rustix::fs::fstat(&place).step(step)?.st_mode) == FileType::Symlink {
        return Err(Error::Invalid("/dev/console of the container is a link".to_owned()));
    }
    let tree = sys::mount::clone_tree(terminal, c"", false).step(step)?;
    sys::mount::attach(&tree, &place).step(step)
}
