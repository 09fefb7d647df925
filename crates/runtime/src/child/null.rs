//! Standard streams that lead nowhere.
//!
//! Whoever makes a container opens `/dev/null` on the host. That is one inode with the host's: through `/proc/self/fd/0` a
//! container's root could change the owner and mode of the host's device. So such streams are opened again inside.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use sys::dir::Dir;
use sys::mount::{self, Context};

use crate::error::{Result, Step as _};

/// Whether this is the null device, whatever its name.
pub(super) fn is_null(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == sys::process::device(1, 3)
}

/// Replaces those of the standard streams that are a null device by the container's own.
pub(super) fn reopen_streams(root: &Dir) -> Result<()> {
    let step = || "open the standard streams again";
    let is_null = |stream| rustix::fs::fstat(stream).is_ok_and(|stat| is_null(&stat));
    let [stdin, stdout, stderr] = [
        is_null(rustix::stdio::stdin()),
        is_null(rustix::stdio::stdout()),
        is_null(rustix::stdio::stderr()),
    ];
    if !(stdin || stdout || stderr) {
        return Ok(());
    }
    let null = match open(root) {
        Some(null) => null,
        None => match make() {
            Ok(null) => null,
            // Not allowed to make devices, as in a user namespace, where nobody may change the host's.
            Err(e) if e.raw_os_error() == Some(Errno::PERM.raw_os_error()) => return Ok(()),
            Err(e) => return Err(e).step(step),
        },
    };
    if stdin {
        rustix::stdio::dup2_stdin(&null).step(step)?;
    }
    if stdout {
        rustix::stdio::dup2_stdout(&null).step(step)?;
    }
    if stderr {
        rustix::stdio::dup2_stderr(&null).step(step)?;
    }
    Ok(())
}

/// What the container has at `/dev/null`, if that is a null device: an image or a volume may have put anything there.
fn open(root: &Dir) -> Option<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::NONBLOCK;
    let null = root.open_in_root("/dev/null", flags, Mode::empty()).ok()?;
    let is_null = rustix::fs::fstat(&null).is_ok_and(|stat| is_null(&stat));
    (is_null && rustix::fs::fcntl_setfl(&null, OFlags::empty()).is_ok()).then_some(null)
}

/// A null device that nobody else has.
fn make() -> std::io::Result<OwnedFd> {
    let context = Context::open("tmpfs")?;
    // Its root and the device.
    context.set("nr_inodes", "2")?;
    let made = context.mount(mount::NOSUID | mount::NOEXEC)?;
    let (device, mode) = (FileType::CharacterDevice, Mode::from_raw_mode(0o666));
    rustix::fs::mknodat(&made, c"null", device, mode, sys::process::device(1, 3))?;
    Ok(rustix::fs::openat(&made, c"null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}
