//! The one door for paths inside somebody else's tree: a root file system, a layer, a volume, a build context.
//!
//! A [`Dir`] is an open directory. What is named inside it is resolved by the kernel in one system call
//! (`openat2`, man 2 openat2), never by joining strings, so that nobody can swap a component between look and use
//! (CVE-2018-15664, CVE-2021-30465, CVE-2024-45310 and most escapes since). Two ways of resolving:
//!
//! - *in root*: the directory is `/` for this look-up. Absolute links and `..` stay inside, as after a chroot; images
//!   need that (`/var/run → /run`). Magic links (`/proc/self/fd/N`) are refused.
//! - *beneath*: no links at all and nothing above; for trees of our own, in which a link is an attack.
//!
//! Names (as opposed to paths) are single components; the methods that take one never follow it.

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

/// How often a look-up is tried again that the kernel gave up because of a rename or mount meanwhile (EAGAIN).
const RETRIES: usize = 128;

/// From this depth on removal flattens instead of descending, so that no tree can exhaust our descriptors.
const FLATTEN: usize = 64;

/// An open directory, readable.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
}

impl Dir {
    /// Opens a directory of the host by a path that we made ourselves; the last component must not be a link.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self { fd: rustix::fs::open(path.as_ref(), flags, Mode::empty())? })
    }

    /// Takes over an open directory, for example the root of a detached mount. `O_PATH` descriptors are reopened.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // "." reopens what the descriptor stands for and fails unless that is a directory.
        Ok(Self { fd: rustix::fs::openat(&fd, c".", flags, Mode::empty())? })
    }

    /// A second handle to the same directory.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()? })
    }

    /// Opens `path` with this directory as its root. The last component is followed unless `flags` say `NOFOLLOW`.
    ///
    /// `mode` counts with `CREATE` only.
    pub fn open_in_root(
        &self,
        path: impl AsRef<Path>,
        flags: OFlags,
        mode: Mode,
    ) -> io::Result<OwnedFd> {
        self.resolve(
            path.as_ref(),
            flags,
            mode,
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    }

    /// Opens `path` beneath this directory without following any link; `..` out of it fails with `EXDEV`.
    pub fn open_beneath(
        &self,
        path: impl AsRef<Path>,
        flags: OFlags,
        mode: Mode,
    ) -> io::Result<OwnedFd> {
        self.resolve(path.as_ref(), flags, mode, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
    }

    /// Opens a directory with this one as its root, links followed.
    pub fn dir_in_root(&self, path: impl AsRef<Path>) -> io::Result<Self> {
        let fd = self.open_in_root(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        Ok(Self { fd })
    }

    /// Opens the directory that holds what `path` names, and the name in it. The name itself is not looked at.
    ///
    /// `InvalidInput` when the path has no last name: empty, `/`, or ending in `..`.
    pub fn parent_in_root(&self, path: impl AsRef<Path>) -> io::Result<(Self, OsString)> {
        let path = path.as_ref();
        let name = path.file_name().ok_or_else(|| invalid("the path has no last name"))?;
        let parent = self.dir_in_root(path.parent().unwrap_or_else(|| Path::new("")))?;
        Ok((parent, name.to_owned()))
    }

    /// Makes `path` and what is missing above it, step by step, each step resolved from the root; links on the way are
    /// followed inside the root. Existing directories stay as they are, `mode` is subject to the umask.
    ///
    /// `NotFound` for a dangling link, `InvalidInput` for `..` behind something that is missing.
    pub fn make_dirs(&self, path: impl AsRef<Path>, mode: u32) -> io::Result<Self> {
        let path = path.as_ref();
        match self.dir_in_root(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            done => return done,
        }
        let mut at = self.try_clone()?;
        let mut so_far = PathBuf::new();
        let mut missing = false;
        for component in path.components() {
            let name = match component {
                Component::Normal(name) => name,
                Component::ParentDir if missing => {
                    return Err(invalid("\"..\" behind a directory that is missing"));
                }
                Component::ParentDir => OsStr::new(".."),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
            };
            so_far.push(name);
            at = match self.dir_in_root(&so_far) {
                Err(e) if e.kind() == io::ErrorKind::NotFound && name != ".." => {
                    missing = true;
                    match at.create_dir(name, mode) {
                        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                        _ => self.dir_in_root(&so_far)?,
                    }
                }
                other => other?,
            };
        }
        Ok(at)
    }

    /// Facts about what `path` names in this root, links followed.
    pub fn metadata(&self, path: impl AsRef<Path>) -> io::Result<Stat> {
        let fd = self.open_in_root(path, OFlags::PATH, Mode::empty())?;
        Ok(rustix::fs::fstat(fd)?)
    }

    /// Facts about what `path` names in this root; a link at the end is answered itself.
    pub fn symlink_metadata(&self, path: impl AsRef<Path>) -> io::Result<Stat> {
        let fd = self.open_in_root(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        Ok(rustix::fs::fstat(fd)?)
    }

    /// The target of the link that `path` names in this root.
    pub fn read_link(&self, path: impl AsRef<Path>) -> io::Result<PathBuf> {
        let fd = self.open_in_root(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        let target = rustix::fs::readlinkat(fd, c"", Vec::new())?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// Reads a small regular file of somebody else: never waits on a FIFO, never reads a device, never more than `max`
    /// bytes (CVE-2024-9676, CVE-2026-47262: `/etc/passwd` as a FIFO or a 2 GiB file).
    ///
    /// `InvalidData` when it is no regular file or longer than `max`.
    pub fn read_file(&self, path: impl AsRef<Path>, max: usize) -> io::Result<Vec<u8>> {
        let path = path.as_ref();
        // Looked at before it is opened: opening a device can have effects.
        let found = self.open_in_root(path, OFlags::PATH, Mode::empty())?;
        regular(&rustix::fs::fstat(&found)?)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        // The very inode that was looked at; by its path again only where there is no /proc yet.
        let fd = match rustix::fs::open(proc_path(found.as_fd()), flags, Mode::empty()) {
            Err(Errno::NOENT) => self.open_in_root(path, flags, Mode::empty())?,
            other => other?,
        };
        let stat = rustix::fs::fstat(&fd)?;
        regular(&stat)?;
        let too_long = || {
            io::Error::new(io::ErrorKind::InvalidData, format!("file is longer than {max} bytes"))
        };
        if u64::try_from(stat.st_size).unwrap_or(u64::MAX) > max as u64 {
            return Err(too_long());
        }
        let mut bytes = Vec::new();
        // The file may grow while it is read.
        File::from(fd).take(max as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > max { Err(too_long()) } else { Ok(bytes) }
    }

    /// Makes the directory `name` in this one; `mode` is subject to the umask.
    pub fn create_dir(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.fd, single(name.as_ref())?, Mode::from_raw_mode(mode))?)
    }

    /// Makes the link `name` in this directory; `target` is not looked at.
    pub fn create_symlink(
        &self,
        target: impl AsRef<OsStr>,
        name: impl AsRef<OsStr>,
    ) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target.as_ref(), &self.fd, single(name.as_ref())?)?)
    }

    /// Makes the new name `to` in the directory `there` for what `name` stands for here; a link is linked itself.
    pub fn hard_link(
        &self,
        name: impl AsRef<OsStr>,
        there: &Self,
        to: impl AsRef<OsStr>,
    ) -> io::Result<()> {
        let (name, to) = (single(name.as_ref())?, single(to.as_ref())?);
        Ok(rustix::fs::linkat(&self.fd, name, &there.fd, to, AtFlags::empty())?)
    }

    /// Renames `name` to `to` in the directory `there`, which must not exist.
    pub fn rename_new(
        &self,
        name: impl AsRef<OsStr>,
        there: &Self,
        to: impl AsRef<OsStr>,
    ) -> io::Result<()> {
        let (name, to) = (single(name.as_ref())?, single(to.as_ref())?);
        Ok(rustix::fs::renameat_with(
            &self.fd,
            name,
            &there.fd,
            to,
            rustix::fs::RenameFlags::NOREPLACE,
        )?)
    }

    /// Facts about `name` in this directory, itself if it is a link.
    pub fn stat(&self, name: impl AsRef<OsStr>) -> io::Result<Stat> {
        Ok(rustix::fs::statat(&self.fd, single(name.as_ref())?, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Facts about this directory itself.
    pub fn stat_self(&self) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(&self.fd)?)
    }

    /// Opens the directory `name` in this one; `ENOTDIR` or `ELOOP` if it is a link.
    pub fn child(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self { fd: rustix::fs::openat(&self.fd, single(name.as_ref())?, flags, Mode::empty())? })
    }

    /// Removes `name`, whatever it is but a directory.
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, single(name.as_ref())?, AtFlags::empty())?)
    }

    /// Removes the empty directory `name`.
    pub fn remove_dir(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, single(name.as_ref())?, AtFlags::REMOVEDIR)?)
    }

    /// Removes `name` and everything beneath it, following no link, however deep it is. That it is gone already is
    /// success.
    pub fn remove_tree(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        let name = single(name.as_ref())?;
        let mut pending = vec![name.to_owned()];
        let mut moved = 0_usize;
        while let Some(top) = pending.pop() {
            self.remove_one_tree(&top, &mut |deep, child| {
                // Still on the way down: the rest of this branch is hung up here and removed in its turn.
                let flat = OsString::from(format!(".flat-{}-{moved}", std::process::id()));
                moved += 1;
                deep.rename_new(child, self, &flat)?;
                pending.push(flat);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn remove_one_tree(
        &self,
        name: &OsStr,
        hang_up: &mut dyn FnMut(&Self, &OsStr) -> io::Result<()>,
    ) -> io::Result<()> {
        match gone_is_fine(self.remove_file(name)) {
            Err(e) if is_dir_error(&e) => {}
            done => return done,
        }
        // Directories on the way down, each with its own name and what is left of its entries.
        let mut stack: Vec<(Self, OsString, Vec<OsString>)> = Vec::new();
        let enter = |dir: Self, name: OsString| -> io::Result<(Self, OsString, Vec<OsString>)> {
            let names = dir.names()?;
            Ok((dir, name, names))
        };
        let Some(top) = gone(self.child(name))? else { return Ok(()) };
        stack.push(enter(top, name.to_owned())?);
        while let Some(depth) = stack.len().checked_sub(1) {
            let (dir, _, names) = &mut stack[depth];
            let Some(child) = names.pop() else {
                let (dir, own, _) = stack.pop().expect("it has just been indexed");
                drop(dir);
                let parent = stack.last().map_or(self, |(d, ..)| d);
                gone_is_fine(parent.remove_dir(&own))?;
                continue;
            };
            match gone_is_fine(dir.remove_file(&child)) {
                Err(e) if is_dir_error(&e) => {}
                done => {
                    done?;
                    continue;
                }
            }
            if gone_is_fine(dir.remove_dir(&child)).is_ok() {
                continue;
            }
            if depth >= FLATTEN {
                hang_up(dir, &child)?;
            } else if let Some(sub) = gone(dir.child(&child))? {
                stack.push(enter(sub, child)?);
            }
        }
        Ok(())
    }

    /// The names in this directory in the kernel's order, without `.` and `..`.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }

    /// Makes the names in this directory survive a power cut.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    /// Syncs the whole file system that this directory is on.
    pub fn sync_filesystem(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.fd)?)
    }

    fn resolve(
        &self,
        path: &Path,
        flags: OFlags,
        mode: Mode,
        resolve: ResolveFlags,
    ) -> io::Result<OwnedFd> {
        // The kernel has no word for "the root itself" but ".".
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let creates = flags.intersects(OFlags::CREATE | OFlags::TMPFILE);
        // openat2 is strict: a mode without O_CREAT is an error.
        let mode = if creates { mode } else { Mode::empty() };
        for _ in 0..RETRIES {
            match rustix::fs::openat2(&self.fd, path, flags | OFlags::CLOEXEC, mode, resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
        Err(Errno::AGAIN.into())
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Dir> for OwnedFd {
    fn from(dir: Dir) -> Self {
        dir.fd
    }
}

/// Sets the mode of whatever `fd` is open on, `O_PATH` included; a link is an error, never followed (CVE-2021-32760).
pub fn set_mode(fd: impl AsFd, mode: u32) -> io::Result<()> {
    let fd = fd.as_fd();
    match rustix::fs::fchmod(fd, Mode::from_raw_mode(mode)) {
        // What an O_PATH descriptor answers.
        Err(Errno::BADF) => {}
        other => return Ok(other?),
    }
    // JUSTIFICATION: fchmodat2 (Linux 6.6) has no wrapper in rustix or libc.
    // SAFETY: the descriptor is open as long as it is borrowed, the path is a constant C string, and the call only reads.
    let done = unsafe {
        libc::syscall(
            libc::SYS_fchmodat2,
            fd.as_raw_fd(),
            c"".as_ptr(),
            libc::c_uint::from(mode_bits(mode)),
            libc::AT_EMPTY_PATH,
        )
    };
    if done == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() != Some(libc::ENOSYS) {
        return Err(error);
    }
    // Older kernels: our own descriptor's magic link leads to exactly this inode.
    Ok(rustix::fs::chmod(proc_path(fd), Mode::from_raw_mode(mode))?)
}

/// A path that leads to exactly what `fd` is open on, for the calls that take no descriptor (`lsetxattr` on links and
/// device nodes). Needs the host's `/proc`.
pub fn proc_path(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

fn mode_bits(mode: u32) -> u16 {
    u16::try_from(mode & 0o7777).expect("twelve bits fit into sixteen")
}

fn regular(stat: &Stat) -> io::Result<()> {
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"))
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// A single component that names an entry.
fn single(name: &OsStr) -> io::Result<&OsStr> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        return Err(invalid("not a single name"));
    }
    Ok(name)
}

fn gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    gone(result).map(drop)
}

/// What `unlink` answers for a directory: EISDIR on Linux, EPERM by POSIX.
fn is_dir_error(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EISDIR | libc::EPERM))
}

#[cfg(test)]
mod tests;
