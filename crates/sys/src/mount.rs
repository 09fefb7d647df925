//! The mount API by descriptors: what rustix lacks of it, and the detached mounts that are built with it.
//!
//! A mount is made, given its attributes while nobody can see it, and only then attached to a place that is held open.
//! Nothing is ever named twice (security design, R2).

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

/// Changes to a mount's attributes (man 2 mount_setattr). The default changes nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `MOUNT_ATTR_…` bits to set.
    pub set: u64,
    /// `MOUNT_ATTR_…` bits to clear; done before setting.
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`, or 0 for no change.
    pub propagation: u64,
}

impl Attributes {
    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// `MOUNT_ATTR_RDONLY`.
pub const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
/// `MOUNT_ATTR_NOSUID`.
pub const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
/// `MOUNT_ATTR_NODEV`.
pub const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
/// `MOUNT_ATTR_NOEXEC`.
pub const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
/// `MOUNT_ATTR__ATIME`: the mask of the three ways of keeping access times; must be cleared to choose another.
pub const ATIME_MASK: u64 = libc::MOUNT_ATTR__ATIME;
/// `MOUNT_ATTR_NOATIME`.
pub const NOATIME: u64 = libc::MOUNT_ATTR_NOATIME;
/// `MOUNT_ATTR_STRICTATIME`.
pub const STRICTATIME: u64 = libc::MOUNT_ATTR_STRICTATIME;
/// `MOUNT_ATTR_NODIRATIME`.
pub const NODIRATIME: u64 = libc::MOUNT_ATTR_NODIRATIME;
/// `MOUNT_ATTR_NOSYMFOLLOW`.
pub const NOSYMFOLLOW: u64 = libc::MOUNT_ATTR_NOSYMFOLLOW;
/// Propagation: events go neither way.
pub const PRIVATE: u64 = libc::MS_PRIVATE;
/// Propagation: events come in.
pub const SLAVE: u64 = libc::MS_SLAVE;
/// Propagation: events go both ways.
pub const SHARED: u64 = libc::MS_SHARED;
/// Propagation: private, and cannot be bound.
pub const UNBINDABLE: u64 = libc::MS_UNBINDABLE;

/// Changes attributes of the mount whose root `mount` is, and of all beneath it when `recursive` (Linux 5.12).
pub fn set_attributes(mount: impl AsFd, attributes: Attributes, recursive: bool) -> io::Result<()> {
    set_attributes_at(mount.as_fd(), c"", attributes, recursive)
}

/// As [`set_attributes`] for the mount that `path` names, from the root of the calling process.
pub fn set_attributes_at(
    dir: BorrowedFd<'_>,
    path: &std::ffi::CStr,
    attributes: Attributes,
    recursive: bool,
) -> io::Result<()> {
    // One way of keeping access times can only be chosen while all of them are cleared.
    let times = (attributes.set | attributes.clear) & ATIME_MASK != 0;
    let attr = libc::mount_attr {
        attr_set: attributes.set,
        attr_clr: attributes.clear | if times { ATIME_MASK } else { 0 },
        propagation: attributes.propagation,
        userns_fd: 0,
    };
    set_attr(dir, path, &attr, recursive)
}

/// Has the ids of the files on a detached mount, and of all beneath it when `recursive`, mapped by a user namespace: what
/// the file system calls by an id inside of the namespace appears as the id outside (Linux 5.12; file systems that cannot
/// say `EINVAL`). Once, and before it is attached.
pub fn map_ids(mount: impl AsFd, namespace: impl AsFd, recursive: bool) -> io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(namespace.as_fd().as_raw_fd())
            .map_err(|_| io::ErrorKind::InvalidInput)?,
    };
    set_attr(mount.as_fd(), c"", &attr, recursive)
}

fn set_attr(
    dir: BorrowedFd<'_>,
    path: &std::ffi::CStr,
    attr: &libc::mount_attr,
    recursive: bool,
) -> io::Result<()> {
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // JUSTIFICATION: rustix has no mount_setattr.
    // SAFETY: the path is NUL-terminated, `attr` is initialised, its length is passed, both outlive the call, which
    // writes to neither.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_raw_fd(),
            path.as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A file system about to be mounted (fsopen, man 2 fsopen).
#[derive(Debug)]
pub struct Context {
    fd: OwnedFd,
}

impl Context {
    /// Opens a file system type by name; `ENODEV` when the kernel has none of that name.
    pub fn open(kind: &str) -> io::Result<Self> {
        Ok(Self { fd: rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)? })
    }

    /// Sets `key=value`; the kernel takes at most 255 bytes of value.
    pub fn set(&self, key: &str, value: impl rustix::path::Arg) -> io::Result<()> {
        rustix::mount::fsconfig_set_string(&self.fd, key, value).map_err(|e| self.explain(e.into()))
    }

    /// Sets a flag.
    pub fn set_flag(&self, key: &str) -> io::Result<()> {
        rustix::mount::fsconfig_set_flag(&self.fd, key).map_err(|e| self.explain(e.into()))
    }

    /// Makes the file system and a detached mount of it with `MOUNT_ATTR_…` bits. It goes when its descriptor is
    /// closed unless it is attached somewhere.
    pub fn mount(self, attributes: u64) -> io::Result<OwnedFd> {
        rustix::mount::fsconfig_create(&self.fd).map_err(|e| self.explain(e.into()))?;
        let attributes =
            MountAttrFlags::from_bits_retain(u32::try_from(attributes).unwrap_or(u32::MAX));
        Ok(rustix::mount::fsmount(&self.fd, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
    }

    /// The kernel's own words about what was wrong, which it keeps in the context, with the error.
    fn explain(&self, error: io::Error) -> io::Error {
        let mut text = [0_u8; 512];
        let mut words = Vec::new();
        // Each read takes one message off, "e overlay: Unknown parameter 'x'"; ENODATA when there are no more.
        while let Ok(n) = rustix::io::read(&self.fd, &mut text) {
            let line = String::from_utf8_lossy(&text[..n]);
            words.push(line.trim_end().trim_start_matches(['e', 'w', 'i']).trim_start().to_owned());
            if words.len() == 8 {
                break;
            }
        }
        match words.is_empty() {
            true => error,
            false => io::Error::new(error.kind(), Explained { words: words.join("; "), error }),
        }
    }
}

/// An error with what the kernel said about it.
#[derive(Debug)]
struct Explained {
    words: String,
    error: io::Error,
}

impl std::fmt::Display for Explained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.error, self.words)
    }
}

impl std::error::Error for Explained {}

/// The number of an error of this module, which [`io::Error::raw_os_error`] does not give once the kernel's words are
/// beside it.
pub fn errno(error: &io::Error) -> Option<i32> {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Explained>()) {
        Some(explained) => explained.error.raw_os_error(),
        None => error.raw_os_error(),
    }
}

/// A detached copy of the mount at `path` (from `dir`), with the mounts beneath it when `recursive`. Copies of a
/// shared mount stay in its peer group until their propagation is changed.
pub fn clone_tree(
    dir: impl AsFd,
    path: impl rustix::path::Arg,
    recursive: bool,
) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(rustix::mount::open_tree(dir, path, flags)?)
}

/// Attaches a detached mount on the directory or file that `target` holds open.
pub fn attach(mount: impl AsFd, target: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, c"", target, c"", flags)?)
}

/// Whether the file behind `fd` is on a read-only mount.
pub fn is_read_only(fd: impl AsFd) -> io::Result<bool> {
    Ok(rustix::fs::fstatvfs(fd)?.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// A descriptor of this process's own program through a detached read-only mount, or `None` when it was executed from
/// a read-only mount already.
///
/// A container can reach the file that its runtime was executed from (`/proc/PID/exe`) and overwrite it
/// (CVE-2019-5736); through a read-only mount it gets `EROFS`. Execute the descriptor to become safe.
pub fn read_only_self() -> io::Result<Option<OwnedFd>> {
    use rustix::fs::{Mode, OFlags};
    let exe = rustix::fs::open(c"/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    if is_read_only(&exe)? {
        return Ok(None);
    }
    // A clone of the file's own mount, rooted at the file: nothing is named.
    let tree = clone_tree(&exe, Path::new(""), false)?;
    set_attributes(&tree, Attributes { set: RDONLY, ..Attributes::default() }, false)?;
    Ok(Some(tree))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags};

    #[test]
    fn a_detached_file_system_can_be_used_and_goes_unseen() {
        let context = Context::open("tmpfs").unwrap();
        context.set("size", "65536").unwrap();
        let root = context.mount(NOSUID | NODEV).unwrap();
        rustix::fs::mkdirat(&root, c"a", Mode::from_raw_mode(0o755)).unwrap();
        set_attributes(&root, Attributes { set: RDONLY, ..Attributes::default() }, false).unwrap();
        assert!(is_read_only(&root).unwrap());
        let error = rustix::fs::mkdirat(&root, c"b", Mode::from_raw_mode(0o755)).unwrap_err();
        assert_eq!(error, rustix::io::Errno::ROFS);
    }

    #[test]
    fn the_kernel_says_which_option_it_does_not_know() {
        let context = Context::open("tmpfs").unwrap();
        let error = context.set("colour", "blue").unwrap_err();
        assert_eq!(errno(&error), Some(libc::EINVAL));
        assert!(error.to_string().contains("colour"), "{error}");
    }

    #[test]
    fn ones_own_program_is_not_writable_through_the_clone() {
        let clone = read_only_self().unwrap().expect("tests run from a writable mount");
        let path = format!("/proc/self/fd/{}", clone.as_raw_fd());
        let error =
            rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).unwrap_err();
        assert!([rustix::io::Errno::ROFS, rustix::io::Errno::TXTBSY].contains(&error), "{error}");
    }
}
