//! Paths that the container must not see or not write (security design, R4).
//!
//! A file is covered by the host's `/dev/null`, opened before pivoting and verified: runtimes that bound the
//! container's own `/dev/null` bound whatever an image or a volume had put there (CVE-2025-31133). A directory is
//! covered by an empty read-only tmpfs.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use sys::dir::Dir;
use sys::mount::{self, Attributes, Context};

use crate::error::{Error, Result, Step as _};

/// Makes what is at each path read-only with everything mounted beneath it. Missing paths are passed over.
pub(super) fn read_only(root: &Dir, paths: &[PathBuf]) -> Result<()> {
    let attributes = Attributes { set: mount::RDONLY, ..Attributes::default() };
    for path in paths {
        let step = || format!("make {} read-only", path.display());
        let Some(target) = open(root, path)? else { continue };
        let tree = mount::clone_tree(&target, c"", true).step(step)?;
        mount::set_attributes(&tree, attributes, true).step(step)?;
        mount::attach(&tree, &target).step(step)?;
    }
    Ok(())
}

/// Covers what is at each path. Missing paths are passed over.
pub(super) fn mask(root: &Dir, paths: &[PathBuf]) -> Result<()> {
    let mut covers = Covers { null: None, empty: None };
    for path in paths {
        let step = || format!("mask {}", path.display());
        let Some(target) = open(root, path)? else { continue };
        let stat = rustix::fs::fstat(&target).step(step)?;
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        covers.put(directory, &target).step(step)?;
        verify(root, path, directory)?;
    }
    Ok(())
}

/// What is laid over masked paths; made when the first is met.
struct Covers {
    null: Option<OwnedFd>,
    /// The first place where the empty directory is attached; further ones are copies of that mount.
    empty: Option<OwnedFd>,
}

impl Covers {
    fn put(&mut self, directory: bool, target: &OwnedFd) -> std::io::Result<()> {
        if !directory {
            let null = match self.null.take() {
                Some(null) => self.null.insert(null),
                None => self.null.insert(host_null()?),
            };
            return mount::attach(mount::clone_tree(null, c"", false)?, target);
        }
        if let Some(first) = &self.empty {
            return mount::attach(mount::clone_tree(first, c"", false)?, target);
        }
        let context = Context::open("tmpfs")?;
        context.set("nr_inodes", "1")?;
        context.set("mode", "555")?;
        let empty = context.mount(mount::RDONLY | mount::NOSUID | mount::NODEV | mount::NOEXEC)?;
        mount::attach(&empty, target)?;
        self.empty = Some(empty);
        Ok(())
    }
}

/// The host's null device: this process is still at the host's root.
fn host_null() -> std::io::Result<OwnedFd> {
    let null = rustix::fs::open(
        c"/dev/null",
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    if is_null(&rustix::fs::fstat(&null)?) {
        Ok(null)
    } else {
        Err(std::io::Error::other("/dev/null of the host is no null device"))
    }
}

fn is_null(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == sys::process::device(1, 3)
}

/// Looks again by name: what the container will find there must be the cover.
fn verify(root: &Dir, path: &Path, directory: bool) -> Result<()> {
    /// `TMPFS_MAGIC` (linux/magic.h).
    const TMPFS: i64 = 0x0102_1994;
    let wrong = || Error::Ended(format!("mask {}: something else is there", path.display()));
    let seen = open(root, path)?.ok_or_else(wrong)?;
    let step = || format!("verify the mask of {}", path.display());
    let covered = if directory {
        rustix::fs::fstatfs(seen.as_fd()).step(step)?.f_type == TMPFS
            && mount::is_read_only(&seen).step(step)?
    } else {
        is_null(&rustix::fs::fstat(&seen).step(step)?)
    };
    if covered { Ok(()) } else { Err(wrong()) }
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
