//! Extended attributes: which of an archive's are taken over, and how they are set.

use rustix::fs::XattrFlags;
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;
use tar::Xattrs;

/// Marks a directory of an upper layer that hides the one below; kernel `overlayfs.rst`, "Whiteouts and opaque
/// directories".
pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";

/// Whether an archive may set this attribute. `trusted.` (the overlay's own marks are there) and `user.overlay.` would
/// let a layer redirect into others; labels in `security.` belong to the host's own policy.
pub(crate) fn allowed(name: &[u8]) -> bool {
    let plain = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
    // A default ACL would be inherited by what is unpacked into the directory after it.
    plain || matches!(name, b"system.posix_acl_access" | b"security.capability")
}

/// Sets what is allowed on something open, `O_PATH` included; answers how many were dropped, by the rule or because the
/// file system or the kind of file has none.
pub(crate) fn set(fd: BorrowedFd<'_>, xattrs: &Xattrs) -> io::Result<u64> {
    let mut dropped = 0;
    if xattrs.is_empty() {
        return Ok(dropped);
    }
    // Through our own descriptor's link, because fsetxattr takes no O_PATH descriptors.
    let path = sys::dir::proc_path(fd);
    for (name, value) in xattrs {
        if !allowed(name) {
            dropped += 1;
            continue;
        }
        match rustix::fs::setxattr(&path, OsStr::from_bytes(name), value, XattrFlags::empty()) {
            Ok(()) => {}
            // EPERM: user attributes exist on files and directories only (man 7 xattr).
            Err(Errno::OPNOTSUPP | Errno::PERM) => dropped += 1,
            Err(e) => return Err(e.into()),
        }
    }
    Ok(dropped)
}

/// What an archive could have said about something open.
pub(crate) fn get(fd: BorrowedFd<'_>) -> io::Result<Xattrs> {
    let path = sys::dir::proc_path(fd);
    let mut found = Vec::new();
    // The kernel's own limits: XATTR_LIST_MAX and XATTR_SIZE_MAX.
    let mut list = Vec::with_capacity(65_536);
    match rustix::fs::listxattr(&path, rustix::buffer::spare_capacity(&mut list)) {
        Err(Errno::OPNOTSUPP) => return Ok(found),
        other => drop(other?),
    }
    for name in list.split(|b| *b == 0).filter(|n| allowed(n)) {
        let mut value = Vec::with_capacity(65_536);
        rustix::fs::getxattr(
            &path,
            OsStr::from_bytes(name),
            rustix::buffer::spare_capacity(&mut value),
        )?;
        found.push((name.to_vec(), value));
    }
    Ok(found)
}

/// What an archive may say about something that is open for reading.
pub(crate) fn of_open(fd: BorrowedFd<'_>) -> io::Result<Xattrs> {
    let mut found = Vec::new();
    for name in list(fd)?.split(|b| *b == 0).filter(|n| allowed(n)) {
        // One that is removed meanwhile is not there.
        if let Some(value) = value(fd, OsStr::from_bytes(name))? {
            found.push((name.to_vec(), value));
        }
    }
    // An empty value is what pax cannot express.
    found.retain(|(_, value)| !value.is_empty());
    Ok(found)
}

/// Whether an open directory of an upper layer hides the ones below.
pub(crate) fn is_opaque(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(value(fd, OsStr::new(OPAQUE))?.is_some_and(|value| value == b"y"))
}

/// The names, each with a NUL behind it; almost always there are none.
fn list(fd: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    for size in [512, 65_536] {
        let mut names = Vec::with_capacity(size);
        match rustix::fs::flistxattr(fd, rustix::buffer::spare_capacity(&mut names)) {
            Ok(_) => return Ok(names),
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(Errno::RANGE) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(Errno::RANGE.into())
}

fn value(fd: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<Vec<u8>>> {
    for size in [256, 65_536] {
        let mut value = Vec::with_capacity(size);
        match rustix::fs::fgetxattr(fd, name, rustix::buffer::spare_capacity(&mut value)) {
            Ok(_) => return Ok(Some(value)),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(Errno::RANGE) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(Errno::RANGE.into())
}
