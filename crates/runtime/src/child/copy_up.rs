//! What a directory of the image holds, copied into the tmpfs that is about to cover it (`tmpcopyup`).
//!
//! The tree is the image's: nothing in it is followed, and only regular files are opened.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

/// A tree that is deeper is somebody's joke.
const DEEPEST: usize = 128;

/// Copies everything in `from` (any descriptor of the directory) into the empty directory `to`.
pub(super) fn copy(from: impl AsFd, to: impl AsFd) -> rustix::io::Result<()> {
    tree(open_directory(from.as_fd(), c".")?, to.as_fd(), DEEPEST)
}

fn tree(from: OwnedFd, to: BorrowedFd<'_>, deeper: usize) -> rustix::io::Result<()> {
    let deeper = deeper.checked_sub(1).ok_or(Errno::LOOP)?;
    for entry in rustix::fs::Dir::read_from(&from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = rustix::fs::statat(&from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, Mode::RWXU)?;
                let made = open_directory(to, name)?;
                tree(open_directory(from.as_fd(), name)?, made.as_fd(), deeper)?;
            }
            FileType::RegularFile => file(&from, to, name)?,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&from, name, Vec::new())?;
                rustix::fs::symlinkat(target.as_c_str(), to, name)?;
            }
            // A socket means nothing without whoever listens.
            FileType::Socket => continue,
            kind => match rustix::fs::mknodat(to, name, kind, Mode::RUSR, stat.st_rdev) {
                // In a user namespace nobody makes devices.
                Err(Errno::PERM) => continue,
                result => result?,
            },
        }
        owner_and_mode(to, name, &stat, mode)?;
    }
    Ok(())
}

fn owner_and_mode(
    to: BorrowedFd<'_>,
    name: &CStr,
    stat: &Stat,
    mode: Mode,
) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    match rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW) {
        // An owner that the user namespace does not have stays nobody.
        Ok(()) | Err(Errno::INVAL | Errno::OVERFLOW) => {}
        Err(e) => return Err(e),
    }
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        return Ok(());
    }
    // After the owner: changing that clears set-user-id.
    rustix::fs::chmodat(to, name, mode, AtFlags::empty())
}

fn file(from: &OwnedFd, to: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let copy = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
    let mut buffer = vec![0_u8; 64 << 10];
    loop {
        let n = rustix::io::retry_on_intr(|| rustix::io::read(&source, &mut buffer))?;
        if n == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..n];
        while !rest.is_empty() {
            let written = rustix::io::write(&copy, rest)?;
            rest = &rest[written..];
        }
    }
}

fn open_directory(at: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}
