//! Paths that the container must not see or not write (security design, R4).
//!
//! A file is covered by a null device, a directory by an empty directory, both of a small file system that is made here
//! and read-only. Runtimes that bound the container's own `/dev/null` bound whatever an image or a volume had put there
//! (CVE-2025-31133). The host's `/dev/null` would not do either: it is one inode with the host's, and a container's root
//! could change its owner and mode through the mask.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use sys::dir::Dir;
use sys::mount::{self, Attributes, Context};

use super::null::is_null;
use crate::error::{Error, Result, Step as _};

/// Makes what is at each path read-only with everything mounted beneath it. Missing paths are passed over.
pub(super) fn read_only(root: &Dir, paths: &[PathBuf]) -> Result<()> {
    for path in paths {
        let step = || format!("make {} read-only", path.display());
        let Some(target) = open(root, path)? else { continue };
        let tree = mount::clone_tree(&target, c"", true).step(step)?;
        mount::set_attributes(&tree, READ_ONLY, true).step(step)?;
        mount::attach(&tree, &target).step(step)?;
    }
    Ok(())
}

/// Covers what is at each path. Missing paths are passed over.
pub(super) fn mask(root: &Dir, paths: &[PathBuf]) -> Result<()> {
    let mut covers = None;
    for path in paths {
        let step = || format!("mask {}", path.display());
        let Some(target) = open(root, path)? else { continue };
        let stat = rustix::fs::fstat(&target).step(step)?;
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let covers = match covers.take() {
            Some(made) => covers.insert(made),
            None => covers.insert(Covers::make().step(step)?),
        };
        covers.copy(directory).and_then(|cover| mount::attach(cover, &target)).step(step)?;
        verify(root, path, directory)?;
    }
    Ok(())
}

const READ_ONLY: Attributes = Attributes { set: mount::RDONLY, clear: 0, propagation: 0 };

/// What is laid over masked paths; made when the first is met.
struct Covers {
    null: OwnedFd,
    /// It is the host's.
    foreign: bool,
    empty: OwnedFd,
}

impl Covers {
    fn make() -> std::io::Result<Self> {
        let context = Context::open("tmpfs")?;
        // Its root, the device, the directory.
        context.set("nr_inodes", "3")?;
        context.set("mode", "555")?;
        let made = context.mount(mount::NOSUID | mount::NOEXEC)?;
        rustix::fs::mkdirat(&made, c"empty", Mode::from_raw_mode(0o555))?;
        let mode = Mode::from_raw_mode(0o666);
        let number = sys::process::device(1, 3);
        let foreign =
            match rustix::fs::mknodat(&made, c"null", FileType::CharacterDevice, mode, number) {
                Ok(()) => None,
                // Not allowed to make devices, as in a user namespace, where nobody may change the host's either.
                Err(Errno::PERM) => Some(path(CWD, c"/dev/null")?),
                Err(e) => return Err(e.into()),
            };
        mount::set_attributes(&made, READ_ONLY, false)?;
        // Only what is attached somewhere can be copied (before Linux 6.15). This process is still at the host's root,
        // but in its own mount namespace, and lets go of all that when it enters the container's root.
        mount::attach(&made, path(CWD, c"/dev")?)?;
        Ok(Self {
            foreign: foreign.is_some(),
            null: foreign.map_or_else(|| path(made.as_fd(), c"null"), Ok)?,
            empty: path(made.as_fd(), c"empty")?,
        })
    }

    /// A detached copy for a directory or a file.
    fn copy(&self, directory: bool) -> std::io::Result<OwnedFd> {
        if directory {
            return mount::clone_tree(&self.empty, c"", false);
        }
        let copy = mount::clone_tree(&self.null, c"", false)?;
        if self.foreign {
            mount::set_attributes(&copy, READ_ONLY, false)?;
        }
        Ok(copy)
    }
}

fn path(dir: BorrowedFd<'_>, name: &CStr) -> std::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?)
}

/// Looks again by name: what the container will find there must be the cover.
fn verify(root: &Dir, path: &Path, directory: bool) -> Result<()> {
    /// `TMPFS_MAGIC` (linux/magic.h).
    const TMPFS: i64 = 0x0102_1994;
    let wrong = || Error::Ended(format!("mask {}: something else is there", path.display()));
    let seen = open(root, path)?.ok_or_else(wrong)?;
    let step = || format!("verify the mask of {}", path.display());
    let stat = rustix::fs::fstat(&seen).step(step)?;
    let covered = if directory {
        rustix::fs::fstatfs(seen.as_fd()).step(step)?.f_type == TMPFS
    } else {
        is_null(&stat)
    };
    if covered && mount::is_read_only(&seen).step(step)? { Ok(()) } else { Err(wrong()) }
}

fn open(root: &Dir, path: &Path) -> Result<Option<OwnedFd>> {
    match root.open_in_root(path, OFlags::PATH, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(e) if is_missing(&e) => Ok(None),
        Err(e) => Err(e).step(|| format!("open {}", path.display())),
    }
}

fn is_missing(error: &std::io::Error) -> bool {
    [Errno::NOENT, Errno::NOTDIR].iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}
