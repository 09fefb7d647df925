//! One entry after the other into the layer's directory.

use crate::clip::{self, Name};
use crate::limits::{Counts, Limits};
use crate::parents::{Parent, Parents, is_whiteout};
use crate::xattrs;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod,
    fchown, ftruncate, futimens, linkat, makedev, mknodat, openat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use stdx::{Context as _, Error, Result};
use sys::dir::Dir;
use sys::userns::IdMaps;
use tar::{Entry, Kind, Reader};

/// Content is copied in pieces of this size.
const COPY: usize = 256 * 1024;

/// What an archive is to the tree that it is unpacked into.
#[derive(Debug)]
pub(crate) enum Rules {
    /// A layer: the tree is its own, whiteouts mean something.
    Layer,
    /// Files for a directory of a tree that is there.
    Copy {
        /// The directory, from the root of the tree, without slashes at its ends.
        into: Vec<u8>,
        /// Nothing becomes a directory, or stops being one.
        keep_kinds: bool,
        /// Instead of the archive's owners.
        owner: Option<(u32, u32)>,
        /// What owners are called in the tree.
        ids: Option<IdMaps>,
    },
}

impl Rules {
    pub(crate) fn copy(
        into: &Path,
        keep_kinds: bool,
        owner: Option<(u32, u32)>,
        ids: Option<IdMaps>,
    ) -> Self {
        Self::Copy { into: clip::clipped(into.as_os_str().as_bytes()), keep_kinds, owner, ids }
    }

    /// Who something of the archive shall belong to in the tree.
    fn owner_of(&self, entry: &Entry) -> Result<(u32, u32)> {
        let Self::Copy { owner, ids, .. } = self else { return Ok((entry.uid, entry.gid)) };
        let (uid, gid) = owner.unwrap_or((entry.uid, entry.gid));
        let Some(ids) = ids else { return Ok((uid, gid)) };
        ids.outside(uid, gid).ok_or_else(|| {
            Error::invalid(format!("Container ID {uid}:{gid} cannot be mapped to a host ID"))
        })
    }

    fn is_copy(&self) -> bool {
        matches!(self, Self::Copy { .. })
    }
}

/// The state of one unpacking.
#[derive(Debug)]
pub(crate) struct Unpacker<'a> {
    rules: Rules,
    root: &'a Dir,
    parents: Parents<'a>,
    limits: &'a Limits,
    counts: Counts,
    dropped_xattrs: u64,
    root_described: bool,
    /// Who a new file belongs to by itself.
    ours: (u32, u32),
    /// Which mode bits a new file does not get by itself.
    umask: u32,
    buffer: Vec<u8>,
}

/// What an unpacking has done.
#[derive(Debug)]
pub(crate) struct Unpacked {
    pub(crate) entries: u64,
    pub(crate) content: u64,
    pub(crate) dropped_xattrs: u64,
    pub(crate) implied: Vec<PathBuf>,
}

impl<'a> Unpacker<'a> {
    /// `umask` is the thread's, or 0777 if it is not known.
    pub(crate) fn new(root: &'a Dir, limits: &'a Limits, umask: u32, rules: Rules) -> Self {
        Self {
            root,
            parents: Parents::new(root, !rules.is_copy()),
            rules,
            limits,
            counts: Counts::default(),
            dropped_xattrs: 0,
            root_described: false,
            ours: (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
            umask,
            buffer: vec![0; COPY],
        }
    }

    /// Unpacks the whole archive.
    pub(crate) fn run(mut self, archive: &mut Reader<'_>) -> Result<Unpacked> {
        while let Some(mut entry) = archive.next_entry()? {
            (entry.uid, entry.gid) = self.rules.owner_of(&entry)?;
            let done = self.entry(&entry, archive);
            // What is wrong with an archive that a user sends is said in Docker's words.
            match done {
                Err(error)
                    if self.rules.is_copy() && error.kind() == stdx::Kind::InvalidArgument =>
                {
                    return Err(error);
                }
                done => done.context(|| format!("unpack {}", entry.path.escape_ascii()))?,
            }
        }
        let mut implied: Vec<PathBuf> = self
            .parents
            .finish()
            .context(|| "set the times of directories")?
            .iter()
            .map(|p| path(p).into())
            .collect();
        if !self.root_described {
            implied.push(PathBuf::new());
        }
        let Counts { bytes: content, entries } = self.counts;
        Ok(Unpacked { entries, content, dropped_xattrs: self.dropped_xattrs, implied })
    }

    fn entry(&mut self, entry: &Entry, archive: &mut Reader<'_>) -> Result<()> {
        self.counts.add_entry(self.limits)?;
        // A link's text is what it holds.
        let link = match &entry.kind {
            Kind::Symlink { target } => target.len() as u64,
            _ => 0,
        };
        self.counts.add_bytes(entry.size.saturating_add(link), self.limits)?;
        let name = match &self.rules {
            Rules::Layer => clip::parse(&entry.path)?,
            Rules::Copy { into, .. } => clip::below(into, &entry.path)?,
        };
        match name {
            Name::Meta => Ok(()),
            Name::Root if entry.kind == Kind::Directory => self.root(entry),
            Name::Root => Err(Error::invalid("the root of a layer must be a directory")),
            Name::Opaque { dir } => {
                let parent = self.parent(&dir)?;
                Ok(rustix::fs::fsetxattr(
                    self.parents.fd(parent),
                    xattrs::OPAQUE,
                    b"y",
                    XattrFlags::empty(),
                )
                .map_err(io::Error::from)?)
            }
            Name::Whiteout { parent, name } => {
                let parent = self.parent(&parent)?;
                self.whiteout(parent, path(&name))
            }
            Name::Entry { parent, name } => self.place(entry, &parent, &name, archive),
        }
    }

    fn parent(&mut self, path: &[u8]) -> Result<Parent> {
        let (counts, limits) = (&mut self.counts, self.limits);
        self.parents.get(path, &mut || counts.add_entry(limits))
    }

    fn root(&mut self, entry: &Entry) -> Result<()> {
        let parent = self.parent(&[])?;
        self.root_described = true;
        self.describe_directory(parent, entry)
    }

    /// A whiteout concerns the layers below alone, whatever the order in the archive: what this layer has stays, but
    /// nothing shows through it.
    fn whiteout(&mut self, parent: Parent, name: &OsStr) -> Result<()> {
        self.parents.changed(parent);
        let fd = self.parents.fd(parent);
        match mknodat(fd, name, FileType::CharacterDevice, Mode::empty(), 0) {
            Err(Errno::EXIST) => {}
            other => return Ok(other.map_err(io::Error::from)?),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(fd, name, flags, Mode::empty()) {
            Ok(own) => Ok(rustix::fs::fsetxattr(own, xattrs::OPAQUE, b"y", XattrFlags::empty())
                .map_err(io::Error::from)?),
            Err(Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(e) => Err(io::Error::from(e).into()),
        }
    }

    fn place(
        &mut self,
        entry: &Entry,
        above: &[u8],
        name: &[u8],
        archive: &mut Reader<'_>,
    ) -> Result<()> {
        let parent = self.parent(above)?;
        let file_name = path(name);
        self.check_kinds(entry, parent, above, file_name)?;
        match &entry.kind {
            Kind::Directory => self.directory(entry, parent, above, name),
            Kind::File => {
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let mode = Mode::from_raw_mode(self.first_mode(entry));
                let make = |fd: BorrowedFd<'_>| openat(fd, file_name, flags, mode);
                let (file, parent) = self.replacing(parent, above, file_name, make)?;
                let group_is_ours = !self.parents.gives_group(parent);
                self.file(entry, &file, group_is_ours, archive)
            }
            Kind::Symlink { target } => {
                let make = |fd: BorrowedFd<'_>| symlinkat(path(target), fd, file_name);
                let ((), parent) = self.replacing(parent, above, file_name, make)?;
                self.describe_link(entry, parent, file_name)
            }
            Kind::HardLink { target } => self.hard_link(target, above, file_name),
            Kind::Fifo => self.node(entry, parent, above, file_name, FileType::Fifo, 0),
            Kind::CharDevice { major: 0, minor: 0 } => {
                // It would hide a file of the layers below without being a whiteout to anybody else.
                Err(Error::invalid("a character device 0:0 is no device"))
            }
            Kind::CharDevice { major, minor } => self.node(
                entry,
                parent,
                above,
                file_name,
                FileType::CharacterDevice,
                makedev(*major, *minor),
            ),
            Kind::BlockDevice { major, minor } => self.node(
                entry,
                parent,
                above,
                file_name,
                FileType::BlockDevice,
                makedev(*major, *minor),
            ),
        }
    }

    /// Refuses what would make something else of a directory, or a directory of something else, if that is not wanted.
    fn check_kinds(&self, entry: &Entry, parent: Parent, above: &[u8], name: &OsStr) -> Result<()> {
        let Rules::Copy { into, keep_kinds: true, .. } = &self.rules else { return Ok(()) };
        let Some(existing) = self.parents.look(parent, name)? else { return Ok(()) };
        let was = FileType::from_raw_mode(existing.st_mode) == FileType::Directory;
        let (what, by) = match (was, entry.kind == Kind::Directory) {
            (true, false) => ("directory", "non-directory"),
            (false, true) => ("non-directory", "directory"),
            _ => return Ok(()),
        };
        let whole = Path::new("/").join(path(above)).join(name);
        let into = Path::new("/").join(path(into));
        Err(Error::invalid(format!("cannot overwrite {what} {whole:?} with {by} {into:?}")))
    }

    fn directory(
        &mut self,
        entry: &Entry,
        parent: Parent,
        above: &[u8],
        name: &[u8],
    ) -> Result<()> {
        let mut parent = parent;
        let existing = self.parents.look(parent, path(name))?;
        let is_dir =
            existing.is_some_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Directory);
        let fd = if is_dir {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(self.parents.fd(parent), path(name), flags, Mode::empty())
                .map_err(io::Error::from)?
        } else {
            if existing.is_some_and(|s| self.rules.is_copy() || !is_whiteout(&s)) {
                parent = self.remove(parent, above, path(name))?;
            }
            self.parents.make_directory(parent, name)?
        };
        let full = if above.is_empty() { name.to_vec() } else { [above, b"/", name].concat() };
        let own = self.parents.insert(&full, fd)?;
        self.describe_directory(own, entry)
    }

    /// The mode that a file is made with: its own if nothing will have to be changed afterwards (each change is a
    /// transaction of the file system), and nobody else's until it has its owner otherwise.
    fn first_mode(&self, entry: &Entry) -> u32 {
        let plain = entry.mode & (self.umask | 0o7000) == 0;
        if plain && (entry.uid, entry.gid) == self.ours { entry.mode } else { 0o600 }
    }

    fn file(
        &mut self,
        entry: &Entry,
        file: &OwnedFd,
        group_is_ours: bool,
        archive: &mut Reader<'_>,
    ) -> Result<()> {
        let mut end = 0;
        while let Some(chunk) = archive.next_chunk(&mut self.buffer)? {
            write_at(file, &self.buffer[..chunk.len], chunk.offset)?;
            end = chunk.offset + chunk.len as u64;
        }
        if end != entry.size {
            ftruncate(file, entry.size).map_err(io::Error::from)?;
        }
        let describe = || -> io::Result<u64> {
            // In this order: a change of owner takes set-id bits and capabilities away.
            if (entry.uid, entry.gid) != self.ours || !group_is_ours {
                fchown(file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
            }
            if self.first_mode(entry) != entry.mode || self.umask & entry.mode != 0 {
                fchmod(file, Mode::from_raw_mode(entry.mode))?;
            }
            let dropped = xattrs::set(file.as_fd(), &entry.xattrs)?;
            futimens(file, &times(entry))?;
            Ok(dropped)
        };
        self.dropped_xattrs += describe()?;
        Ok(())
    }

    fn describe_directory(&mut self, own: Parent, entry: &Entry) -> Result<()> {
        let describe = |fd: BorrowedFd<'_>| -> io::Result<u64> {
            fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
            fchmod(fd, Mode::from_raw_mode(entry.mode))?;
            xattrs::set(fd, &entry.xattrs)
        };
        self.dropped_xattrs += describe(self.parents.fd(own))?;
        self.parents.described(own, entry.mode, times(entry).last_modification);
        Ok(())
    }

    fn describe_link(&mut self, entry: &Entry, parent: Parent, name: &OsStr) -> Result<()> {
        let fd = self.parents.fd(parent);
        let describe = || -> io::Result<u64> {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            chownat(fd, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            let mut dropped = 0;
            if !entry.xattrs.is_empty() {
                let own = openat(
                    fd,
                    name,
                    OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                    Mode::empty(),
                )?;
                dropped = xattrs::set(own.as_fd(), &entry.xattrs)?;
            }
            utimensat(fd, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(dropped)
        };
        self.dropped_xattrs += describe()?;
        Ok(())
    }

    fn node(
        &mut self,
        entry: &Entry,
        parent: Parent,
        above: &[u8],
        name: &OsStr,
        sort: FileType,
        device: u64,
    ) -> Result<()> {
        let make = |fd: BorrowedFd<'_>| mknodat(fd, name, sort, Mode::from_raw_mode(0o600), device);
        let ((), parent) = self.replacing(parent, above, name, make)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let own =
            openat(self.parents.fd(parent), name, flags, Mode::empty()).map_err(io::Error::from)?;
        let describe = || -> io::Result<u64> {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            chownat(&own, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
            sys::dir::set_mode(&own, entry.mode)?;
            let dropped = xattrs::set(own.as_fd(), &entry.xattrs)?;
            utimensat(&own, "", &times(entry), AtFlags::EMPTY_PATH)?;
            Ok(dropped)
        };
        self.dropped_xattrs += describe()?;
        Ok(())
    }

    /// Another name of something that this layer already has. Links on the way are followed inside the root, one at the
    /// end is linked itself.
    fn hard_link(&mut self, target: &[u8], above: &[u8], name: &OsStr) -> Result<()> {
        let clean = match &self.rules {
            Rules::Layer => clip::clipped(target),
            Rules::Copy { into, .. } => clip::inside(into, target).ok_or_else(|| {
                Error::invalid(format!(
                    "invalid hardlink {:?} -> {:?}",
                    String::from_utf8_lossy(name.as_bytes()),
                    String::from_utf8_lossy(target)
                ))
            })?,
        };
        let what = || format!("hard link to {}", target.escape_ascii());
        let (target_above, target_name) = clip::split(&clean)
            .ok_or_else(|| Error::invalid("a hard link to the root directory"))?;
        let target_name = path(target_name);
        let look = || -> io::Result<_> {
            let source = self.root.dir_in_root(path(target_above))?;
            let stat = source.stat(target_name)?;
            Ok((source, stat))
        };
        let (source, stat) = look().map_err(|e| {
            // Docker's status for who copies; a layer that misses something is broken.
            let missing = e.kind() == io::ErrorKind::NotFound;
            let copied = matches!(self.rules, Rules::Copy { .. });
            let error = Error::io(what(), e);
            if missing && copied { error.with_kind(stdx::Kind::NotFound) } else { error }
        })?;
        if is_whiteout(&stat) {
            return Err(Error::invalid(format!("{}: it is a whiteout", what())));
        }
        let parent = self.parent(above)?;
        if let Some(existing) = self.parents.look(parent, name)?
            && (existing.st_dev, existing.st_ino) == (stat.st_dev, stat.st_ino)
        {
            // A link to itself; removing the name first would lose the file.
            return Ok(());
        }
        let make = |fd: BorrowedFd<'_>| linkat(&source, target_name, fd, name, AtFlags::empty());
        self.replacing(parent, above, name, make).map(drop).context(what)
    }

    /// Makes something; when the name is taken, removes what has it and tries again.
    fn replacing<T>(
        &mut self,
        parent: Parent,
        above: &[u8],
        name: &OsStr,
        make: impl Fn(BorrowedFd<'_>) -> rustix::io::Result<T>,
    ) -> Result<(T, Parent)> {
        self.parents.changed(parent);
        match make(self.parents.fd(parent)) {
            Err(Errno::EXIST) => {}
            other => return Ok((other.map_err(io::Error::from)?, parent)),
        }
        let parent = self.remove(parent, above, name)?;
        let made = make(self.parents.fd(parent)).map_err(io::Error::from)?;
        Ok((made, parent))
    }

    /// Removes what has a name. After a directory or link paths may lead elsewhere, so the cache is given up.
    fn remove(&mut self, parent: Parent, above: &[u8], name: &OsStr) -> Result<Parent> {
        let Some(stat) = self.parents.look(parent, name)? else { return Ok(parent) };
        let sort = FileType::from_raw_mode(stat.st_mode);
        self.parents.changed(parent);
        match sort {
            FileType::Directory => {
                let dir = Dir::from_fd(self.parents.fd(parent).try_clone_to_owned()?)?;
                // Times first: forgetting settles directories that are about to go.
                self.parents.forget()?;
                dir.remove_tree(name)?;
            }
            _ => {
                unlinkat(self.parents.fd(parent), name, AtFlags::empty())
                    .map_err(io::Error::from)?;
                if sort != FileType::Symlink {
                    return Ok(parent);
                }
                self.parents.forget()?;
            }
        }
        let parent = self.parent(above)?;
        self.parents.changed(parent);
        Ok(parent)
    }
}

fn write_at(file: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = &bytes[n..];
                offset += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

fn times(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.mtime.seconds, tv_nsec: i64::from(entry.mtime.nanos) };
    Timestamps { last_access: time, last_modification: time }
}

fn path(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}
