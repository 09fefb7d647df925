//! Volumes as directories.
//!
//! ```text
//! VOLUMES/                    DATA-ROOT/volumes
//! ├── <name>/_data            a volume's content; the directory above it is ours
//! └── .work/<name>.<n>        being made or being removed; emptied at open. No volume's name begins with a dot.
//! ```
//!
//! A volume appears and disappears in one rename, so after a crash it is whole or not there. Work is done inside
//! VOLUMES because people mount a disk of its own there.

#![forbid(unsafe_code)]

mod usage;

use rustix::fs::{CWD, RenameFlags};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use stdx::fs::Durability;
use stdx::{Context as _, Error, Result, fail_point};
use volume::{Driver, Name, Options};

/// Modes are Docker's: the container's own user must be able to pass `<name>` only through its mount.
const VOLUME_MODE: u32 = 0o701;
const DATA_MODE: u32 = 0o755;
const DATA: &str = "_data";
const WORK: &str = ".work";

/// The driver `local`.
#[derive(Debug)]
pub struct Local {
    root: PathBuf,
    next: AtomicU64,
}

impl Local {
    /// Opens `root`, creating it, and removes what a crash left half made or half removed.
    pub fn open(root: &Path) -> Result<Self> {
        stdx::fs::create_dir(root, VOLUME_MODE)?;
        let work = root.join(WORK);
        stdx::fs::remove_tree(&work)?;
        stdx::fs::create_dir(&work, 0o700)?;
        Ok(Self { root: root.to_owned(), next: AtomicU64::new(0) })
    }

    fn volume(&self, name: &Name) -> PathBuf {
        self.root.join(name.as_str())
    }

    /// A name in the work folder that nobody else has: the counter is ours alone, and `open` emptied the folder.
    fn work(&self, name: &Name) -> PathBuf {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        self.root.join(WORK).join(format!("{n}.{}", &name.as_str()[..name.as_str().len().min(64)]))
    }
}

impl Driver for Local {
    fn create(&self, name: &Name, options: &Options, durability: Durability) -> Result<()> {
        check(options)?;
        let volume = self.volume(name);
        if is_volume(&volume) {
            return Ok(());
        }
        let work = self.work(name);
        let data = work.join(DATA);
        stdx::fs::create_dir(&work, VOLUME_MODE)?;
        stdx::fs::create_dir(&data, DATA_MODE)?;
        if durability == Durability::Power {
            // What the rename makes visible must be there first, or a power cut shows an empty directory.
            stdx::fs::sync_dir(&work).context(|| format!("sync {}", work.display()))?;
        }
        fail_point!("localvol.create.before-rename");
        match rustix::fs::renameat_with(CWD, &work, CWD, &volume, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            // Somebody else made it meanwhile.
            Err(rustix::io::Errno::EXIST) if is_volume(&volume) => {
                return stdx::fs::remove_tree(&work);
            }
            Err(e) => {
                stdx::fs::remove_tree(&work)?;
                return Err(Error::io(format!("create volume {name}"), e.into()));
            }
        }
        if durability == Durability::Power {
            stdx::fs::sync_dir(&self.root).context(|| format!("sync {}", self.root.display()))?;
        }
        Ok(())
    }

    fn remove(&self, name: &Name) -> Result<()> {
        let work = self.work(name);
        match std::fs::rename(self.volume(name), &work) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::io(format!("remove volume {name}"), e)),
        }
        fail_point!("localvol.remove.after-rename");
        stdx::fs::remove_tree(&work)
    }

    fn mount(&self, name: &Name, _user: &str) -> Result<PathBuf> {
        // A directory is always there: nothing to attach, so nothing to count.
        let path = self.path(name)?;
        if !is_volume(&self.volume(name)) {
            return Err(no_such_volume(name));
        }
        Ok(path)
    }

    fn unmount(&self, _name: &Name, _user: &str) -> Result<()> {
        Ok(())
    }

    fn path(&self, name: &Name) -> Result<PathBuf> {
        Ok(self.volume(name).join(DATA))
    }

    fn usage(&self, name: &Name) -> Result<u64> {
        let path = self.path(name)?;
        match usage::of(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(no_such_volume(name)),
            result => result.context(|| format!("measure volume {name}")),
        }
    }

    fn list(&self) -> Result<Vec<Name>> {
        let listing = || format!("list {}", self.root.display());
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.root).context(listing)? {
            let entry = entry.context(listing)?;
            // What is no volume's name is not ours: the work folder, `lost+found` of a disk mounted here has no `_data`.
            let name = entry.file_name().to_str().and_then(|name| name.parse::<Name>().ok());
            names.extend(name.filter(|_| is_volume(&entry.path())));
        }
        names.sort();
        Ok(names)
    }
}

fn no_such_volume(name: &Name) -> Error {
    Error::not_found(format!("get {name}: no such volume"))
}

fn is_volume(path: &Path) -> bool {
    std::fs::symlink_metadata(path.join(DATA)).is_ok_and(|m| m.is_dir())
}

/// Docker's `local` driver mounts file systems with `type`, `o`, `device`, and limits with `size`.
fn check(options: &Options) -> Result<()> {
    match options.keys().next().map(String::as_str) {
        None => Ok(()),
        Some(option @ ("type" | "o" | "device" | "size")) => Err(Error::not_implemented(format!(
            "option {option:?} of local volumes is not there yet"
        ))),
        Some(option) => Err(Error::invalid(format!("invalid option: {option:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use stdx::Kind;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn life_of_a_volume() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("volumes");
        let local = Local::open(&root).unwrap();
        let (a, none) = (name("data"), Options::new());
        assert_eq!(local.mount(&a, "user").unwrap_err().to_string(), "get data: no such volume");
        for durability in [Durability::Power, Durability::Process] {
            local.create(&a, &none, durability).unwrap();
        }
        let path = local.mount(&a, "user").unwrap();
        assert_eq!(path, root.join("data/_data"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o755);
        assert_eq!(
            std::fs::metadata(root.join("data")).unwrap().permissions().mode() & 0o7777,
            0o701
        );
        std::fs::write(path.join("f"), "kept").unwrap();
        local.create(&a, &none, Durability::Power).unwrap();
        assert_eq!(std::fs::read_to_string(path.join("f")).unwrap(), "kept");
        std::fs::hard_link(path.join("f"), path.join("g")).unwrap();
        std::fs::create_dir(path.join("d")).unwrap();
        std::fs::write(path.join("d/h"), "12345678").unwrap();
        assert_eq!(local.usage(&a).unwrap(), 12, "two names of one file are one file");
        local.create(&name("b2"), &none, Durability::Process).unwrap();
        assert_eq!(local.list().unwrap(), [name("b2"), a.clone()]);
        local.unmount(&a, "user").unwrap();
        local.remove(&a).unwrap();
        local.remove(&a).unwrap();
        assert_eq!(local.list().unwrap(), [name("b2")]);
        assert_eq!(std::fs::read_dir(root.join(WORK)).unwrap().count(), 0);
    }

    #[test]
    fn what_a_crash_left_is_gone_after_open_and_foreign_things_stay() {
        let dir = tempfile::tempdir().unwrap();
        let local = Local::open(dir.path()).unwrap();
        local.create(&name("kept"), &Options::new(), Durability::Process).unwrap();
        std::fs::create_dir_all(dir.path().join(".work/0.half/_data")).unwrap();
        std::fs::create_dir_all(dir.path().join("lost+found")).unwrap();
        std::fs::create_dir_all(dir.path().join("stranger")).unwrap();
        let local = Local::open(dir.path()).unwrap();
        assert_eq!(local.list().unwrap(), [name("kept")]);
        assert_eq!(std::fs::read_dir(dir.path().join(".work")).unwrap().count(), 0);
        assert!(dir.path().join("stranger").exists());
        // A foreign directory in the way is an error, never adopted or overwritten.
        assert!(local.create(&name("stranger"), &Options::new(), Durability::Process).is_err());
    }

    #[test]
    fn removal_does_not_follow_links() {
        let dir = tempfile::tempdir().unwrap();
        let canary = dir.path().join("canary");
        std::fs::create_dir(&canary).unwrap();
        std::fs::write(canary.join("f"), "x").unwrap();
        let local = Local::open(&dir.path().join("volumes")).unwrap();
        local.create(&name("vv"), &Options::new(), Durability::Process).unwrap();
        std::os::unix::fs::symlink(&canary, local.path(&name("vv")).unwrap().join("link")).unwrap();
        local.remove(&name("vv")).unwrap();
        assert!(canary.join("f").exists());
    }

    #[test]
    fn options_are_refused_clearly() {
        for (option, kind, text) in [
            ("size", Kind::NotImplemented, "option \"size\" of local volumes is not there yet"),
            ("colour", Kind::InvalidArgument, "invalid option: \"colour\""),
        ] {
            let error = check(&Options::from([(option.into(), "1".into())])).unwrap_err();
            assert_eq!((error.kind(), error.to_string()), (kind, text.to_owned()));
        }
    }
}
