//! Directories that an archive only implied look like the ones they cover in the layers below.

use crate::xattrs;
use rustix::fs::{FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use stdx::{Context as _, Result};
use sys::dir::Dir;

/// Gives each of `implied` (from [`Applied`](crate::Applied)) in the layer's directory `dir` the owner, mode, attributes
/// and time of the same directory in `lower` (top first). Where there is none it stays root's, mode 0755.
///
/// Without this a layer with `tmp/x` but no `tmp/` would take the sticky bit from everybody's `/tmp`: the topmost layer's
/// directory is the one that is seen.
pub fn inherit(dir: &Dir, implied: &[PathBuf], lower: &[PathBuf]) -> Result<()> {
    if implied.is_empty() || lower.is_empty() {
        return Ok(());
    }
    let roots = lower
        .iter()
        .map(|path| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty())
                .map_err(std::io::Error::from)
                .context(|| format!("open {}", path.display()))
        })
        .collect::<Result<Vec<OwnedFd>>>()?;
    // Inner ones first: giving an outer one its time comes after everything in it.
    let mut paths: Vec<&PathBuf> = implied.iter().collect();
    paths.sort_by_key(|path| std::cmp::Reverse(path.as_os_str().len()));
    for path in paths {
        let doing = || format!("take over the attributes of /{}", path.display());
        if let Some(model) = find(&roots, path).map_err(std::io::Error::from).context(doing)? {
            copy(&model, dir, path).context(doing)?;
        }
    }
    Ok(())
}

/// The topmost directory at `path`; links and files in the way hide what is below them.
fn find(roots: &[OwnedFd], path: &Path) -> rustix::io::Result<Option<OwnedFd>> {
    let path = if path.as_os_str().is_empty() { OsStr::from_bytes(b".") } else { path.as_os_str() };
    for root in roots {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            Ok(fd) => {
                let stat = rustix::fs::fstat(&fd)?;
                let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                return Ok(is_dir.then_some(fd));
            }
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(e) => return Err(e),
        }
    }
    Ok(None)
}

fn copy(model: &OwnedFd, dir: &Dir, path: &Path) -> std::io::Result<()> {
    let stat = rustix::fs::fstat(model)?;
    let target = dir.open_beneath(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    rustix::fs::fchown(
        &target,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )?;
    rustix::fs::fchmod(&target, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    xattrs::set(target.as_fd(), &xattrs::get(model.as_fd())?)?;
    let time =
        Timespec { tv_sec: stat.st_mtime, tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0) };
    Ok(rustix::fs::futimens(&target, &Timestamps { last_access: time, last_modification: time })?)
}
