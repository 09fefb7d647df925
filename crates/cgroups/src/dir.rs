//! One cgroup directory, held open: files in it are reached relative to it, and errors name file and value.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use stdx::{Context, Error, Kind, Result};

/// An open directory of a hierarchy.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

/// No cgroup file system has symbolic links; if one shows up, something else is mounted there.
const DIR_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

impl Dir {
    /// Opens a directory that must be there.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let fd = rustix::fs::open(path, DIR_FLAGS, Mode::empty())
            .map_err(io::Error::from)
            .context(|| format!("open {}", path.display()))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Opens a directory, or `None` when it is not there.
    pub(crate) fn open_if_any(path: &Path) -> Result<Option<Self>> {
        match rustix::fs::open(path, DIR_FLAGS, Mode::empty()) {
            Ok(fd) => Ok(Some(Self { fd, path: path.to_owned() })),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::io(format!("open {}", path.display()), e.into())),
        }
    }

    /// Opens a group beneath, or `None` when it is not there.
    pub(crate) fn child(&self, path: &str) -> Result<Option<Self>> {
        match rustix::fs::openat(&self.fd, path, DIR_FLAGS, Mode::empty()) {
            Ok(fd) => Ok(Some(Self { fd, path: self.path.join(path) })),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::io(format!("open {}", self.path.join(path).display()), e.into())),
        }
    }

    /// Writes `value` to `file` with one write(2).
    pub(crate) fn write(&self, file: &str, value: &str) -> Result<()> {
        self.try_write(file, value).map_err(|e| self.write_error(file, value, e))
    }

    /// As [`write`](Self::write), with the bare error.
    pub(crate) fn try_write(&self, file: &str, value: &str) -> Result<(), Errno> {
        let fd = self.open_for_writing(file)?;
        let written = rustix::io::write(&fd, value.as_bytes())?;
        // The kernel takes a cgroup write whole or not at all.
        if written == value.len() { Ok(()) } else { Err(Errno::IO) }
    }

    /// Opens `file` for several writes.
    pub(crate) fn open_for_writing(&self, file: &str) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(
            &self.fd,
            file,
            OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
        )
    }

    /// The error of a failed write, in the words of runc.
    pub(crate) fn write_error(&self, file: &str, value: &str, error: Errno) -> Error {
        let text = format!("failed to write \"{value}\" to {}", self.path.join(file).display());
        let kind = match error {
            Errno::INVAL | Errno::RANGE | Errno::BUSY | Errno::NODEV => Kind::InvalidArgument,
            Errno::NOSPC => Kind::InvalidArgument,
            Errno::SRCH => Kind::NotFound,
            _ => Kind::Internal,
        };
        Error::io(text, error.into()).with_kind(kind)
    }

    /// Opens `file` for reading.
    pub(crate) fn open_file(&self, file: &str) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(
            &self.fd,
            file,
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
        )
    }

    /// The whole text of `file`.
    pub(crate) fn read(&self, file: &str) -> Result<String> {
        self.try_read(file)
            .map_err(io::Error::from)
            .context(|| format!("read {}", self.path.join(file).display()))
    }

    /// The whole text of `file`, or `None` when there is no such file.
    pub(crate) fn read_if_any(&self, file: &str) -> Result<Option<String>> {
        match self.try_read(file) {
            Ok(text) => Ok(Some(text)),
            // EOPNOTSUPP is how v2 says that a file does not serve this kind of group; ENODEV that it was removed.
            Err(Errno::NOENT | Errno::OPNOTSUPP | Errno::NODEV) => Ok(None),
            Err(e) => Err(Error::io(format!("read {}", self.path.join(file).display()), e.into())),
        }
    }

    /// As [`read`](Self::read), with the bare error.
    pub(crate) fn try_read(&self, file: &str) -> Result<String, Errno> {
        read_all(&self.open_file(file)?)
    }

    /// Whether `file` exists.
    pub(crate) fn has(&self, file: &str) -> bool {
        rustix::fs::accessat(&self.fd, file, rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok()
    }

    /// Names of the groups directly beneath.
    pub(crate) fn children(&self) -> Result<Vec<String>> {
        let list = || -> Result<Vec<String>, Errno> {
            let mut names = Vec::new();
            for entry in rustix::fs::Dir::read_from(&self.fd)? {
                let entry = entry?;
                if entry.file_type() == FileType::Directory
                    && let Ok(name) = entry.file_name().to_str()
                    && !matches!(name, "." | "..")
                {
                    names.push(name.to_owned());
                }
            }
            Ok(names)
        };
        match list() {
            // Removed meanwhile: then nothing is beneath it.
            Err(Errno::NOENT | Errno::NODEV) => Ok(Vec::new()),
            other => {
                other.map_err(io::Error::from).context(|| format!("list {}", self.path.display()))
            }
        }
    }

    /// Where it is, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Reads a small kernel file from its start to its end.
pub(crate) fn read_all(fd: impl AsFd) -> Result<String, Errno> {
    // Most are a few bytes: what they are read into is not worth a mapping of its own.
    let mut bytes = Vec::new();
    let mut part = [0; 1024];
    loop {
        let read = rustix::io::pread(&fd, &mut part, bytes.len() as u64)?;
        bytes.extend_from_slice(&part[..read]);
        if read == 0 {
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}

/// Makes one directory of a hierarchy; the bare result, since callers decide on EEXIST and ENOENT.
pub(crate) fn mkdir(path: &Path) -> Result<(), Errno> {
    rustix::fs::mkdir(path, Mode::from_raw_mode(0o755))
}

/// Removes one directory of a hierarchy; the bare result, since callers decide on EBUSY.
pub(crate) fn rmdir(path: &Path) -> Result<(), Errno> {
    rustix::fs::rmdir(path)
}
