//! An archive of a container to the local disk.
//!
//! What comes from a container was written by a stranger. Everything is made beneath the target directory by descriptor;
//! no link is followed on the way, whether the archive brought it or it was there (CVE-2019-10152 and its kin), and
//! names that lead out of it are refused.

use super::{Placed, renamed};
use crate::exit::{Failure, Result};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, chownat, makedev, mknodat,
    openat, symlinkat, utimensat,
};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use sys::dir::{Dir, set_mode};
use tar::{Entry, Kind, Reader};

/// Unpacks an archive where it has been placed. `owners`: everything gets its owner from the archive.
pub(crate) fn unpack(archive: &mut dyn Read, placed: &Placed, owners: bool) -> Result<()> {
    let dir = if placed.dir.is_empty() { "." } else { &placed.dir };
    let root = File::open(dir).map_err(|e| super::pack::failed("open", dir, &e))?;
    let root = Dir::from_fd(root.into()).map_err(|e| super::pack::failed("open", dir, &e))?;
    let mut archive = io::BufReader::with_capacity(256 << 10, archive);
    let mut reader = Reader::new(&mut archive, tar::Limits::default());
    let mut unpacker =
        Unpacker { root, shown: dir, owners, directories: Vec::new(), buffer: vec![0; 256 << 10] };
    let told = |e: tar::Error| Failure::new(stdx::Error::from(e).to_string());
    while let Some(mut entry) = reader.next_entry().map_err(told)? {
        entry.path = renamed(&entry.path, placed.rename.as_ref());
        if let Kind::HardLink { target } = &mut entry.kind {
            *target = renamed(target, placed.rename.as_ref());
        }
        unpacker.entry(&entry, &mut reader)?;
    }
    unpacker.finish()
}

struct Unpacker<'a> {
    root: Dir,
    shown: &'a str,
    owners: bool,
    /// Directories with their times, which what is made in them would change.
    directories: Vec<(PathBuf, Timestamps)>,
    buffer: Vec<u8>,
}

impl Unpacker<'_> {
    fn entry(&mut self, entry: &Entry, reader: &mut Reader<'_>) -> Result<()> {
        let path = self.below(&entry.path)?;
        let Some(name) = path.file_name() else { return Ok(()) };
        let parent = self.parent(&path)?;
        self.check_kinds(entry, &parent, name, &path)?;
        let done = self.make(entry, &parent, name, &path, reader);
        done.map_err(|e| match e {
            Trouble::Io(e) => {
                Failure::new(format!("{}: {e}", Path::new(self.shown).join(&path).display()))
            }
            Trouble::Archive(e) => Failure::new(stdx::Error::from(e).to_string()),
            Trouble::Other(failure) => failure,
        })
    }

    /// The name as a path beneath the directory, without `.` and `..`.
    fn below(&self, name: &[u8]) -> Result<PathBuf> {
        let mut path = PathBuf::new();
        for part in name.split(|b| *b == b'/') {
            match part {
                b"" | b"." => {}
                b".." if !path.pop() => {
                    return Err(Failure::new(format!(
                        "{:?} is outside of {:?}",
                        String::from_utf8_lossy(name),
                        self.shown
                    )));
                }
                b".." => {}
                part => path.push(OsStr::from_bytes(part)),
            }
        }
        Ok(path)
    }

    fn parent(&self, path: &Path) -> Result<Dir> {
        let above = path.parent().unwrap_or(Path::new(""));
        let open =
            || self.root.open_beneath(above, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty());
        let opened = match open() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let mut so_far = PathBuf::new();
                for part in above.components() {
                    let dir = self.root.open_beneath(
                        &so_far,
                        OFlags::RDONLY | OFlags::DIRECTORY,
                        Mode::empty(),
                    );
                    match dir.and_then(Dir::from_fd).and_then(|d| d.create_dir(part, 0o755)) {
                        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => break,
                        _ => so_far.push(part),
                    }
                }
                open()
            }
            other => other,
        };
        opened.and_then(Dir::from_fd).map_err(|e| {
            Failure::new(format!("{}: {e}", Path::new(self.shown).join(above).display()))
        })
    }

    fn check_kinds(&self, entry: &Entry, parent: &Dir, name: &OsStr, path: &Path) -> Result<()> {
        let Ok(existing) = parent.stat(name) else { return Ok(()) };
        let was = FileType::from_raw_mode(existing.st_mode) == FileType::Directory;
        let (what, by) = match (was, entry.kind == Kind::Directory) {
            (true, false) => ("directory", "non-directory"),
            (false, true) => ("non-directory", "directory"),
            _ => return Ok(()),
        };
        let whole = Path::new(self.shown).join(path);
        Err(Failure::new(format!("cannot overwrite {what} {whole:?} with {by} {:?}", self.shown)))
    }

    fn make(
        &mut self,
        entry: &Entry,
        parent: &Dir,
        name: &OsStr,
        path: &Path,
        reader: &mut Reader<'_>,
    ) -> Result<(), Trouble> {
        if entry.kind == Kind::Directory {
            match parent.create_dir(name, 0o700) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e.into()),
                _ => {}
            }
            let dir = parent.child(name)?;
            self.own(entry, parent, name)?;
            set_mode(&dir, entry.mode)?;
            self.directories.push((path.to_owned(), times(entry)));
            return Ok(());
        }
        match parent.remove_file(name) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
        let node = |kind, device| -> io::Result<()> {
            Ok(mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device)?)
        };
        match &entry.kind {
            Kind::Directory => {}
            Kind::File => return self.file(entry, parent, name, reader),
            Kind::Symlink { target } => {
                symlinkat(OsStr::from_bytes(target), parent, name).map_err(io::Error::from)?;
                self.own(entry, parent, name)?;
                utimensat(parent, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(io::Error::from)?;
                return Ok(());
            }
            Kind::HardLink { target } => {
                let target = self.below(target).map_err(Trouble::Other)?;
                let own = target.file_name().ok_or(io::ErrorKind::InvalidInput)?;
                self.parent(&target).map_err(Trouble::Other)?.hard_link(own, parent, name)?;
                return Ok(());
            }
            Kind::Fifo => node(FileType::Fifo, 0)?,
            Kind::CharDevice { major, minor } => {
                node(FileType::CharacterDevice, makedev(*major, *minor))?;
            }
            Kind::BlockDevice { major, minor } => {
                node(FileType::BlockDevice, makedev(*major, *minor))?;
            }
        }
        self.own(entry, parent, name)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(parent, name, flags, Mode::empty()).map_err(io::Error::from)?;
        set_mode(&made, entry.mode)?;
        Ok(())
    }

    fn file(
        &mut self,
        entry: &Entry,
        parent: &Dir,
        name: &OsStr,
        reader: &mut Reader<'_>,
    ) -> Result<(), Trouble> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            openat(parent, name, flags, Mode::from_raw_mode(0o600)).map_err(io::Error::from)?;
        let mut file = File::from(file);
        while let Some(chunk) = reader.next_chunk(&mut self.buffer).map_err(Trouble::Archive)? {
            io::Seek::seek(&mut file, io::SeekFrom::Start(chunk.offset))?;
            file.write_all(&self.buffer[..chunk.len])?;
        }
        file.set_len(entry.size)?;
        self.own(entry, parent, name)?;
        // After the owner, whose change takes set-id bits away.
        set_mode(file.as_fd(), entry.mode)?;
        rustix::fs::futimens(&file, &times(entry)).map_err(io::Error::from)?;
        Ok(())
    }

    fn own(&self, entry: &Entry, parent: &Dir, name: &OsStr) -> io::Result<()> {
        if !self.owners {
            return Ok(());
        }
        let (user, group) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        Ok(chownat(parent, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn finish(self) -> Result<()> {
        for (path, times) in self.directories.iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            // One that has been replaced meanwhile has times of its own.
            if let Ok(dir) = self.root.open_beneath(path, flags, Mode::empty()) {
                let _kept = rustix::fs::futimens(dir, times);
            }
        }
        Ok(())
    }
}

enum Trouble {
    Io(io::Error),
    Archive(tar::Error),
    Other(Failure),
}

impl<E: Into<io::Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Io(error.into())
    }
}

fn times(entry: &Entry) -> Timestamps {
    let nanos = i64::from(entry.mtime.nanos);
    let time = Timespec { tv_sec: entry.mtime.seconds, tv_nsec: nanos };
    Timestamps { last_access: time, last_modification: time }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    fn archive(entries: &[(&str, Kind, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = tar::Writer::new(&mut bytes);
        for (path, kind, content) in entries {
            let entry =
                Entry { size: content.len() as u64, ..Entry::new(path.as_bytes(), kind.clone()) };
            writer.append(&entry, &mut &content[..]).unwrap();
        }
        writer.finish().unwrap();
        bytes
    }

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("cp-{name}-{}", std::process::id()));
            let _old = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(path.join("out")).unwrap();
            std::fs::create_dir_all(path.join("outside")).unwrap();
            Self(path)
        }

        fn unpack(
            &self,
            entries: &[(&str, Kind, &[u8])],
            rename: Option<(&str, &str)>,
        ) -> Result<()> {
            let rename = rename.map(|(old, new)| (old.to_owned(), new.to_owned()));
            let dir = self.0.join("out").display().to_string();
            unpack(&mut &archive(entries)[..], &Placed { dir, rename }, false)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _gone = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_tree_arrives_under_its_new_name() {
        let folder = Folder::new("tree");
        let link = Kind::Symlink { target: b"/etc/shadow".to_vec() };
        let hard = Kind::HardLink { target: b"d/f".to_vec() };
        folder
            .unpack(
                &[
                    ("d/", Kind::Directory, b""),
                    ("d/f", Kind::File, b"text"),
                    ("d/h", hard, b""),
                    ("d/l", link, b""),
                ],
                Some(("d", "new")),
            )
            .unwrap();
        let out = folder.0.join("out/new");
        assert_eq!(std::fs::read(out.join("f")).unwrap(), b"text");
        assert_eq!(std::fs::metadata(out.join("h")).unwrap().nlink(), 2);
        assert_eq!(std::fs::read_link(out.join("l")).unwrap(), Path::new("/etc/shadow"));
        assert_eq!(std::fs::metadata(&out).unwrap().mtime(), 0);
    }

    #[test]
    fn nothing_leaves_the_directory() {
        let folder = Folder::new("escape");
        let outside = folder.0.join("outside");
        let link = Kind::Symlink { target: outside.as_os_str().as_bytes().to_vec() };
        let file = Kind::File;
        folder.unpack(&[("../outside/x", file.clone(), b"x")], None).unwrap_err();
        folder.unpack(&[("l", link, b""), ("l/x", file.clone(), b"x")], None).unwrap_err();
        symlink(&outside, folder.0.join("out/there")).unwrap();
        folder.unpack(&[("there/x", file.clone(), b"x")], None).unwrap_err();
        folder.unpack(&[("there/", Kind::Directory, b"")], None).unwrap_err();
        let hard = Kind::HardLink { target: b"../outside/secret".to_vec() };
        std::fs::write(outside.join("secret"), "s").unwrap();
        folder.unpack(&[("h", hard, b"")], None).unwrap_err();
        let names: Vec<_> = std::fs::read_dir(&outside).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
        // A link in the place of a file is replaced, not written through.
        symlink(outside.join("secret"), folder.0.join("out/f")).unwrap();
        folder.unpack(&[("f", file, b"new")], None).unwrap();
        assert_eq!(std::fs::read(outside.join("secret")).unwrap(), b"s");
        assert_eq!(std::fs::read(folder.0.join("out/f")).unwrap(), b"new");
    }

    #[test]
    fn directories_and_others_do_not_replace_each_other() {
        let folder = Folder::new("kinds");
        std::fs::create_dir(folder.0.join("out/d")).unwrap();
        std::fs::write(folder.0.join("out/f"), "").unwrap();
        let error = folder.unpack(&[("d", Kind::File, b"")], None).unwrap_err();
        assert!(error.message.starts_with("cannot overwrite directory"), "{error}");
        let error = folder.unpack(&[("f/", Kind::Directory, b"")], None).unwrap_err();
        assert!(error.message.starts_with("cannot overwrite non-directory"), "{error}");
    }
}
