//! Open directories of the layer: found once, kept while entries arrive in them, their times put right at the end.

use rustix::fs::{FileType, Mode, OFlags, Stat, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use sys::dir::Dir;

use crate::clip;
use crate::xattrs;

/// How many stay open. Archives come directory by directory, so a few would do; each is a descriptor.
const OPEN: usize = 64;

/// S_ISGID.
const SET_GROUP: u32 = 0o2000;

/// Which directory a slot stands for, whatever it is called.
type Id = (u64, u64);

/// The cache.
#[derive(Debug)]
pub(crate) struct Parents<'a> {
    root: &'a Dir,
    slots: Vec<Slot>,
    /// The slot of the last answer: most entries follow one in the same directory.
    last: usize,
    clock: u64,
    /// Directories that the archive needed before, or without, saying anything about them.
    implied: HashMap<Id, Vec<u8>>,
    /// Directories keep their times when something is made in them; otherwise only those that the archive described do.
    keep_times: bool,
    described: HashSet<Id>,
}

/// One open directory.
#[derive(Debug)]
struct Slot {
    fd: OwnedFd,
    id: Id,
    /// The paths that led here; more than one when links are involved.
    paths: Vec<Vec<u8>>,
    /// The modification time it shall have when everything is in it.
    mtime: Timespec,
    /// What is made in it belongs to its group (man 2 chmod, S_ISGID).
    gives_group: bool,
    /// Something was made in it, so that its time has to be set again.
    dirty: bool,
    used: u64,
}

/// A directory in the cache; valid until the next call that may look one up or forget them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parent(usize);

impl<'a> Parents<'a> {
    pub(crate) fn new(root: &'a Dir, keep_times: bool) -> Self {
        Self {
            root,
            slots: Vec::new(),
            last: 0,
            clock: 0,
            implied: HashMap::new(),
            keep_times,
            described: HashSet::new(),
        }
    }

    /// The directory `path` (clipped), made if it is missing. `made` is called for each directory that is.
    pub(crate) fn get(
        &mut self,
        path: &[u8],
        made: &mut dyn FnMut() -> stdx::Result<()>,
    ) -> stdx::Result<Parent> {
        use stdx::Context as _;
        if let Some(found) = self.cached(path) {
            return Ok(found);
        }
        let doing = || format!("open directory /{}", path.escape_ascii());
        match self.open(path) {
            Ok(fd) => return self.insert(path, fd).context(doing),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(e) => return Err(stdx::Error::io(doing(), e.into())),
        }
        let Some((above, name)) = clip::split(path) else {
            return Err(stdx::Error::io(doing(), Errno::NOENT.into()));
        };
        let above = self.get(above, made)?;
        made()?;
        let fd = self.make_directory(above, name).context(doing)?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o755))
            .map_err(io::Error::from)
            .context(doing)?;
        let id = id_of(&rustix::fs::fstat(&fd).map_err(io::Error::from).context(doing)?);
        self.implied.insert(id, path.to_vec());
        self.insert(path, fd).context(doing)
    }

    /// Makes the directory `name`, over a whiteout too: then it hides what is below, as the whiteout did.
    pub(crate) fn make_directory(&mut self, parent: Parent, name: &[u8]) -> io::Result<OwnedFd> {
        let name = OsStr::from_bytes(name);
        let opaque = self.is_whiteout(parent, name)?;
        if opaque {
            rustix::fs::unlinkat(self.fd(parent), name, rustix::fs::AtFlags::empty())?;
        }
        self.changed(parent);
        rustix::fs::mkdirat(self.fd(parent), name, Mode::from_raw_mode(0o700))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.fd(parent), name, flags, Mode::empty())?;
        if opaque {
            rustix::fs::fsetxattr(&fd, xattrs::OPAQUE, b"y", XattrFlags::empty())?;
        }
        Ok(fd)
    }

    /// Takes an open directory in, for the entries that will follow in it.
    pub(crate) fn insert(&mut self, path: &[u8], fd: OwnedFd) -> io::Result<Parent> {
        let stat = rustix::fs::fstat(&fd)?;
        let id = id_of(&stat);
        let mut position = self.slots.iter().position(|slot| slot.id == id);
        if position.is_none() && self.slots.len() >= OPEN {
            let oldest = (0..self.slots.len())
                .min_by_key(|i| self.slots[*i].used)
                .expect("the cache is full");
            self.slots[oldest].settle()?;
            self.slots[oldest] = Slot::new(fd, id, &stat);
            position = Some(oldest);
        } else if position.is_none() {
            self.slots.push(Slot::new(fd, id, &stat));
        }
        let position = position.unwrap_or(self.slots.len() - 1);
        let slot = &mut self.slots[position];
        if !slot.paths.iter().any(|p| p == path) {
            slot.paths.push(path.to_vec());
        }
        Ok(self.touch(position))
    }

    /// The directory's descriptor.
    pub(crate) fn fd(&self, parent: Parent) -> BorrowedFd<'_> {
        self.slots[parent.0].fd.as_fd()
    }

    /// Whether what is made in it belongs to its group instead of ours.
    pub(crate) fn gives_group(&self, parent: Parent) -> bool {
        self.slots[parent.0].gives_group
    }

    /// Something is about to change in the directory, and its time with it.
    pub(crate) fn changed(&mut self, parent: Parent) {
        let slot = &mut self.slots[parent.0];
        slot.dirty |= self.keep_times || self.described.contains(&slot.id);
    }

    /// The archive has said what the directory looks like.
    pub(crate) fn described(&mut self, parent: Parent, mode: u32, mtime: Timespec) {
        let slot = &mut self.slots[parent.0];
        (slot.mtime, slot.dirty, slot.gives_group) = (mtime, true, mode & SET_GROUP != 0);
        self.implied.remove(&slot.id);
        if !self.keep_times {
            self.described.insert(slot.id);
        }
    }

    /// Forgets every directory: a directory or link has gone, and paths may lead elsewhere from now on.
    pub(crate) fn forget(&mut self) -> io::Result<()> {
        self.slots.iter_mut().try_for_each(Slot::settle)?;
        self.slots.clear();
        self.last = 0;
        Ok(())
    }

    /// Puts the remaining times right; answers the implied directories.
    pub(crate) fn finish(mut self) -> io::Result<Vec<Vec<u8>>> {
        self.forget()?;
        let mut implied: Vec<_> = self.implied.into_values().collect();
        implied.sort();
        Ok(implied)
    }

    /// What `name` in the directory is, itself if it is a link; `None` if it is not there.
    pub(crate) fn look(&self, parent: Parent, name: &OsStr) -> io::Result<Option<Stat>> {
        match rustix::fs::statat(self.fd(parent), name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    pub(crate) fn is_whiteout(&self, parent: Parent, name: &OsStr) -> io::Result<bool> {
        Ok(self.look(parent, name)?.is_some_and(|stat| is_whiteout(&stat)))
    }

    fn cached(&mut self, path: &[u8]) -> Option<Parent> {
        let leads_to = |slot: &Slot| slot.paths.iter().any(|p| p == path);
        if self.slots.get(self.last).is_some_and(leads_to) {
            return Some(Parent(self.last));
        }
        let position = self.slots.iter().position(leads_to)?;
        Some(self.touch(position))
    }

    fn touch(&mut self, position: usize) -> Parent {
        self.clock += 1;
        self.slots[position].used = self.clock;
        self.last = position;
        Parent(position)
    }

    fn open(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        self.root
            .open_in_root(OsStr::from_bytes(path), flags, Mode::empty())
            .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
    }
}

impl Slot {
    fn new(fd: OwnedFd, id: Id, stat: &Stat) -> Self {
        let nanos = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
        let mtime = Timespec { tv_sec: stat.st_mtime, tv_nsec: nanos };
        let gives_group = stat.st_mode & SET_GROUP != 0;
        Self { fd, id, paths: Vec::new(), mtime, gives_group, dirty: false, used: 0 }
    }

    fn settle(&mut self) -> io::Result<()> {
        if self.dirty {
            let times = Timestamps { last_access: self.mtime, last_modification: self.mtime };
            rustix::fs::futimens(&self.fd, &times)?;
            self.dirty = false;
        }
        Ok(())
    }
}

/// Whether this hides a name of the layers below; kernel `overlayfs.rst`.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn id_of(stat: &Stat) -> Id {
    (stat.st_dev, stat.st_ino)
}
