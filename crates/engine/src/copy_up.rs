//! Filling a new volume with what the image has at its place, as Docker does on first use.
//!
//! The image is seen through a detached read-only mount, and the copying happens on a jailed thread that can reach
//! these two directories and nothing else.

use runtime::Rootfs;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use stdx::{Context as _, Error, Result};
use sys::dir::{Dir, set_mode};
use sys::jail::{self, Access};

/// Copies `inside` (a path of the image) with everything below it into the empty directory `volume`. An image that has
/// no such directory, or a volume that is not empty, changes nothing.
pub(crate) fn copy_up(mounts: &snapshot::Mounts, inside: &str, volume: &Path) -> Result<()> {
    let snapshot::Mounts::Overlay { lower, .. } = mounts else { return Ok(()) };
    let image = Rootfs::Overlay { lower: lower.clone(), upper: None, work: None };
    let image = image.mount().map_err(|e| Error::internal("look into the image").caused_by(e))?;
    let image = Dir::from_fd(image).context(|| "look into the image")?;
    let Ok(from) = image.dir_in_root(inside) else { return Ok(()) };
    let to = Dir::open(volume).context(|| format!("open volume {}", volume.display()))?;
    if !to.names().context(|| format!("read volume {}", volume.display()))?.is_empty() {
        return Ok(());
    }
    let dirs = [(&from, Access::Read), (&to, Access::Write)];
    jail::run("copy-up", &dirs, |_walls| copy_tree(&from, &to))
        .and_then(|copied| copied)
        .context(|| format!("copy {inside} of the image into the volume"))
}

/// Copies what is in `from` into `to`, and the directory's own owner, mode and times.
fn copy_tree(from: &Dir, to: &Dir) -> io::Result<()> {
    let mut pending = vec![(from.try_clone()?, to.try_clone()?)];
    while let Some((from, to)) = pending.pop() {
        for name in from.names()? {
            let stat = from.stat(&name)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    to.create_dir(&name, 0o700)?;
                    pending.push((from.child(&name)?, to.child(&name)?));
                }
                FileType::RegularFile => copy_file(&from, &to, &name, &stat)?,
                FileType::Symlink => {
                    to.create_symlink(from.read_link(&name)?, &name)?;
                    own(&to, &name, &stat)?;
                }
                kind => {
                    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
                    rustix::fs::mknodat(to.as_fd(), &name, kind, mode, stat.st_rdev)?;
                    own(&to, &name, &stat)?;
                }
            }
        }
        // After its content, which changes a directory's times.
        let stat = from.stat_self()?;
        rustix::fs::chownat(to.as_fd(), "", owner(&stat).0, owner(&stat).1, AtFlags::EMPTY_PATH)?;
        set_mode(to.as_fd(), stat.st_mode & 0o7777)?;
    }
    Ok(())
}

fn copy_file(from: &Dir, to: &Dir, name: &OsStr, stat: &Stat) -> io::Result<()> {
    let source = rustix::fs::openat(
        from.as_fd(),
        name,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(to.as_fd(), name, flags, Mode::from_raw_mode(0o600))?;
    let (mut source, mut target) = (std::fs::File::from(source), std::fs::File::from(target));
    io::copy(&mut source, &mut target)?;
    let (user, group) = owner(stat);
    rustix::fs::fchown(&target, user, group)?;
    // After the owner, whose change takes setuid bits away.
    rustix::fs::fchmod(&target, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let time =
        Timespec { tv_sec: stat.st_mtime, tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0) };
    rustix::fs::futimens(&target, &Timestamps { last_access: time, last_modification: time })?;
    Ok(())
}

fn own(dir: &Dir, name: &OsStr, stat: &Stat) -> io::Result<()> {
    let (user, group) = owner(stat);
    Ok(rustix::fs::chownat(dir.as_fd(), name, user, group, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn owner(stat: &Stat) -> (Option<rustix::fs::Uid>, Option<rustix::fs::Gid>) {
    (Some(rustix::fs::Uid::from_raw(stat.st_uid)), Some(rustix::fs::Gid::from_raw(stat.st_gid)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    #[test]
    fn content_owner_and_modes_are_the_images() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root to mount the image");
            return;
        }
        let base = std::env::temp_dir().join(format!("copy-up-{}", std::process::id()));
        let (layer, volume) = (base.join("layer"), base.join("volume"));
        std::fs::create_dir_all(layer.join("data/sub")).unwrap();
        std::fs::create_dir_all(&volume).unwrap();
        std::fs::write(layer.join("data/sub/file"), "seed").unwrap();
        std::fs::set_permissions(
            layer.join("data/sub/file"),
            std::fs::Permissions::from_mode(0o4750),
        )
        .unwrap();
        std::fs::set_permissions(layer.join("data"), std::fs::Permissions::from_mode(0o1777))
            .unwrap();
        std::os::unix::fs::chown(layer.join("data"), Some(999), Some(998)).unwrap();
        std::os::unix::fs::symlink("/etc/shadow", layer.join("data/link")).unwrap();
        let mounts = snapshot::Mounts::Overlay { lower: vec![layer], upper: None, work: None };
        copy_up(&mounts, "/data", &volume).unwrap();
        let top = std::fs::metadata(&volume).unwrap();
        assert_eq!((top.uid(), top.gid(), top.mode() & 0o7777), (999, 998, 0o1777));
        let file = std::fs::metadata(volume.join("sub/file")).unwrap();
        assert_eq!(file.mode() & 0o7777, 0o4750);
        assert_eq!(std::fs::read_link(volume.join("link")).unwrap(), Path::new("/etc/shadow"));
        // A second time the volume is not empty, and what the image has not got is no error.
        std::fs::write(volume.join("sub/file"), "mine").unwrap();
        copy_up(&mounts, "/data", &volume).unwrap();
        copy_up(&mounts, "/nothing", &base.join("volume")).unwrap();
        assert_eq!(std::fs::read_to_string(volume.join("sub/file")).unwrap(), "mine");
        std::fs::remove_dir_all(&base).unwrap();
    }
}
