//! The way back: a directory as a stream.
//!
//! The same tree always makes the same bytes: entries in the order of their names, times in whole seconds, no names of
//! owners. What is packed may change meanwhile, and whoever changes it may mean harm: everything is opened by name
//! beneath an open directory and never through a link, files are looked at before they are opened for reading, and what
//! disappears is left out.

use crate::xattrs;
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use stdx::{Context as _, Error, Result};
use sys::dir::Dir;
use sys::userns::IdMaps;
use tar::{Entry, Kind, Time, Writer};

/// Deeper trees are refused: a container may nest as deep as it likes, each level holds a descriptor, and readers have
/// the same bound.
const MAX_DEPTH: usize = 250;
/// The kernel's PATH_MAX, which no path that a program could have used exceeds.
const MAX_PATH: usize = 4096;
/// Content is copied in pieces of this size.
const COPY: usize = 256 * 1024;

/// What to pack, and how to call it.
#[derive(Default, Clone, Copy)]
pub struct Pack<'a> {
    /// What entries are called: their path below the packed directory behind this and a slash. Empty for just the path;
    /// `/` for absolute ones.
    pub prefix: &'a [u8],
    /// With an entry for the packed directory itself.
    pub top: bool,
    /// The directory is the upper one of an overlay: whiteouts and opaque directories become what archives of layers
    /// have for them.
    pub difference: bool,
    /// Leaves out what this says, by its path below the packed directory; of a directory also what is in it.
    pub skip: Option<Skip<'a>>,
    /// The tree is seen with a user namespace's ids outside; the archive has those inside.
    pub ids: Option<&'a IdMaps>,
}

/// Says by path and facts whether something is left out.
pub type Skip<'a> = &'a (dyn Fn(&[u8], &Stat) -> bool + Sync);

impl std::fmt::Debug for Pack<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pack")
            .field("prefix", &self.prefix.escape_ascii().to_string())
            .field("top", &self.top)
            .field("difference", &self.difference)
            .finish_non_exhaustive()
    }
}

/// Packs a directory. File systems of the kernel's own (`/proc`, `/sys`, …) that are mounted in it are packed as empty
/// directories, and sockets are left out, as by everybody.
///
/// [`stdx::Kind::InvalidArgument`] for a tree deeper than 250 directories. An error of `out` ends it.
pub fn pack(dir: &Dir, out: &mut dyn Write, how: &Pack<'_>) -> Result<()> {
    let mut packer = Packer::new(out, how);
    packer.tree(dir)?;
    Ok(packer.writer.finish()?)
}

/// Packs the single thing `name` in `dir`, which is no directory, as `how.prefix`.
pub fn pack_one(dir: &Dir, name: &OsStr, out: &mut dyn Write, how: &Pack<'_>) -> Result<()> {
    let shown = how.prefix;
    let mut packer = Packer::new(out, how);
    let stat = dir.stat(name).context(|| format!("look at {}", name.display()))?;
    packer.other(dir, name, shown.to_vec(), &stat)?;
    Ok(packer.writer.finish()?)
}

struct Packer<'a, 'o> {
    writer: Writer<'o>,
    how: &'a Pack<'a>,
    /// Files with several names, and what the first one was.
    linked: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

/// A directory on the way down with the names that are left in it, the next one last.
struct Level {
    dir: Dir,
    names: Vec<OsString>,
    /// How long the path of this directory is.
    path: usize,
    device: u64,
}

impl<'a, 'o> Packer<'a, 'o> {
    fn new(out: &'o mut dyn Write, how: &'a Pack<'a>) -> Self {
        Self { writer: Writer::new(out), how, linked: HashMap::new(), buffer: vec![0; COPY] }
    }

    fn tree(&mut self, top: &Dir) -> Result<()> {
        let stat = top.stat_self().context(|| "look at the directory")?;
        if self.how.top {
            let name =
                if self.how.prefix == b"/" { b"/".to_vec() } else { self.how.prefix.to_vec() };
            self.directory(top, name, &stat)?;
        }
        let mut path: Vec<u8> = Vec::new();
        let first = top.try_clone().context(|| "open the directory")?;
        let mut levels =
            vec![Level { names: sorted(&first)?, dir: first, path: 0, device: stat.st_dev }];
        while let Some(depth) = levels.len().checked_sub(1) {
            let level = &mut levels[depth];
            path.truncate(level.path);
            let Some(name) = level.names.pop() else {
                levels.pop();
                continue;
            };
            let Some(stat) = gone(level.dir.stat(&name))? else { continue };
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
            if self.how.skip.is_some_and(|skip| skip(&path, &stat)) {
                continue;
            }
            if path.len() > MAX_PATH || depth >= MAX_DEPTH {
                return Err(Error::invalid(format!(
                    "the tree is too deep: {}…",
                    path[..path.len().min(64)].escape_ascii()
                )));
            }
            let doing = || format!("archive {}", path.escape_ascii());
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                self.other(&level.dir, &name, self.named(&path), &stat).context(doing)?;
                continue;
            }
            let Some(child) = vanished(level.dir.child(&name)).context(doing)? else { continue };
            let stat = child.stat_self().context(doing)?;
            self.directory(&child, self.named(&path), &stat).context(doing)?;
            // Where another file system begins it may be one of the kernel's own, which has no end.
            if stat.st_dev != level.device && is_kernels(&child).context(doing)? {
                continue;
            }
            let names = sorted(&child).context(doing)?;
            let next = Level { dir: child, names, path: path.len(), device: stat.st_dev };
            levels.push(next);
        }
        Ok(())
    }

    /// What `path` is called in the archive.
    fn named(&self, path: &[u8]) -> Vec<u8> {
        match self.how.prefix {
            b"" => path.to_vec(),
            b"/" => [b"/", path].concat(),
            prefix => [prefix, b"/", path].concat(),
        }
    }

    fn directory(&mut self, dir: &Dir, shown: Vec<u8>, stat: &Stat) -> Result<()> {
        let mut entry = entry(shown, Kind::Directory, stat, self.how.ids);
        entry.xattrs = xattrs::of_open(dir.as_fd())?;
        self.writer.append(&entry, &mut io::empty())?;
        if self.how.difference && xattrs::is_opaque(dir.as_fd())? {
            let mut path = entry.path;
            path.extend_from_slice(b"/.wh..wh..opq");
            let mark = Entry { mode: 0o755, ..Entry::new(path, Kind::File) };
            self.writer.append(&mark, &mut io::empty())?;
        }
        Ok(())
    }

    /// Everything but directories.
    fn other(&mut self, dir: &Dir, name: &OsStr, shown: Vec<u8>, stat: &Stat) -> Result<()> {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => return self.file(dir, name, shown, stat),
            FileType::Symlink => {
                let Some(target) =
                    vanished(readlinkat(dir, name, Vec::new()).map_err(io::Error::from))?
                else {
                    return Ok(());
                };
                Kind::Symlink { target: target.into_bytes() }
            }
            FileType::Fifo => Kind::Fifo,
            FileType::CharacterDevice if stat.st_rdev == 0 => {
                return if self.how.difference { self.whiteout(shown, stat) } else { Ok(()) };
            }
            FileType::CharacterDevice => {
                let (major, minor) = device(stat);
                Kind::CharDevice { major, minor }
            }
            FileType::BlockDevice => {
                let (major, minor) = device(stat);
                Kind::BlockDevice { major, minor }
            }
            _ => return Ok(()),
        };
        let kind = self.link_of(&shown, stat).unwrap_or(kind);
        Ok(self.writer.append(&entry(shown, kind, stat, self.how.ids), &mut io::empty())?)
    }

    fn whiteout(&mut self, mut shown: Vec<u8>, stat: &Stat) -> Result<()> {
        let name = shown.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
        shown.splice(name..name, *b".wh.");
        let mark = Entry { mode: 0o600, ..entry(shown, Kind::File, stat, self.how.ids) };
        Ok(self.writer.append(&Entry { size: 0, ..mark }, &mut io::empty())?)
    }

    fn file(&mut self, dir: &Dir, name: &OsStr, shown: Vec<u8>, stat: &Stat) -> Result<()> {
        if let Some(link) = self.link_of(&shown, stat) {
            return Ok(self
                .writer
                .append(&entry(shown, link, stat, self.how.ids), &mut io::empty())?);
        }
        let Some((file, stat)) = vanished(open_file(dir, name))? else { return Ok(()) };
        let mut entry = entry(shown, Kind::File, &stat, self.how.ids);
        entry.size = u64::try_from(stat.st_size).unwrap_or(0);
        entry.xattrs = xattrs::of_open(file.as_fd())?;
        let mut content =
            Content { file: std::fs::File::from(file), buffer: &mut self.buffer, at: 0, end: 0 };
        Ok(self.writer.append(&entry, &mut content)?)
    }

    /// A link to the first name of a file with several, if this is not the first.
    fn link_of(&mut self, shown: &[u8], stat: &Stat) -> Option<Kind> {
        if stat.st_nlink < 2 {
            return None;
        }
        match self.linked.entry((stat.st_dev, stat.st_ino)) {
            std::collections::hash_map::Entry::Occupied(first) => {
                Some(Kind::HardLink { target: first.get().clone() })
            }
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(shown.to_vec());
                None
            }
        }
    }
}

/// A file's content, exactly as long as was announced: what it has lost meanwhile is zeros, what it has gained is left
/// out.
struct Content<'b> {
    file: std::fs::File,
    buffer: &'b mut Vec<u8>,
    at: usize,
    end: usize,
}

impl Read for Content<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.end {
            self.at = 0;
            self.end = match self.file.read(self.buffer) {
                Ok(n) => n,
                // An entry of a file system that answers with errors, and nothing that would end the whole archive.
                Err(e) if e.kind() == io::ErrorKind::InvalidInput => 0,
                Err(e) => return Err(e),
            };
        }
        if self.end == 0 {
            out.fill(0);
            return Ok(out.len());
        }
        let n = out.len().min(self.end - self.at);
        out[..n].copy_from_slice(&self.buffer[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

/// Opens a regular file for reading; one that has become something else meanwhile is gone. It is looked at before it is
/// opened, since opening a device has effects.
fn open_file(dir: &Dir, name: &OsStr) -> io::Result<(OwnedFd, Stat)> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = openat(dir, name, flags, Mode::empty())?;
    let stat = fstat(&found)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::ErrorKind::NotFound.into());
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(sys::dir::proc_path(found.as_fd()), flags, Mode::empty())?;
    Ok((file, stat))
}

fn entry(path: Vec<u8>, kind: Kind, stat: &Stat, ids: Option<&IdMaps>) -> Entry {
    let owner = (stat.st_uid, stat.st_gid);
    let (uid, gid) = ids.map_or(owner, |ids| ids.inside(owner.0, owner.1));
    Entry {
        mode: stat.st_mode & 0o7777,
        uid,
        gid,
        mtime: Time { seconds: stat.st_mtime, nanos: 0 },
        ..Entry::new(path, kind)
    }
}

fn device(stat: &Stat) -> (u32, u32) {
    (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
}

/// The names in a directory, the first in order last.
fn sorted(dir: &Dir) -> Result<Vec<OsString>> {
    let mut names = dir.names().context(|| "read the directory")?;
    names.sort_unstable_by(|a, b| b.as_bytes().cmp(a.as_bytes()));
    Ok(names)
}

fn gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// What is not there any more, or is something else by now, is no error.
fn vanished<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(e)
            if matches!(
                Errno::from_io_error(&e),
                Some(Errno::NOTDIR | Errno::LOOP | Errno::INVAL | Errno::NXIO)
            ) =>
        {
            Ok(None)
        }
        other => gone(other),
    }
}

/// Whether a directory of an overlay's upper one hides what the layers below have in it.
pub fn is_opaque(dir: &Dir) -> io::Result<bool> {
    xattrs::is_opaque(dir.as_fd())
}

/// Whether a file system is an interface of the kernel rather than a place for files.
pub fn is_kernels(dir: impl std::os::fd::AsFd) -> io::Result<bool> {
    // From linux/magic.h: proc, sysfs, cgroup, cgroup2, devpts, mqueue, debugfs, tracefs, securityfs, bpf, binfmt_misc,
    // configfs, pstore, efivarfs, selinux, fusectl, nsfs.
    const KERNELS: [u32; 17] = [
        0x9fa0,
        0x6265_6572,
        0x27_e0eb,
        0x6367_7270,
        0x1cd1,
        0x1980_0202,
        0x6462_6720,
        0x7472_6163,
        0x7363_6673,
        0xcafe_4a11,
        0x4249_4e4d,
        0x6265_6570,
        0x6165_676c,
        0xde5e_81e4,
        0xf97c_ff8c,
        0x6573_5543,
        0x6e73_6673,
    ];
    let kind = rustix::fs::fstatfs(dir)?.f_type;
    Ok(u32::try_from(kind & 0xffff_ffff).is_ok_and(|kind| KERNELS.contains(&kind)))
}
