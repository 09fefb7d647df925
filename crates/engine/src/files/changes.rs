//! What a container has changed in its root file system (`diff`).
//!
//! The container's own directory of the overlay says what was written; whether that is a change is found out by looking
//! at what is below it. A directory counts as changed when its owner or permissions differ or something in it does, not
//! for its times, as in Docker.

use crate::Engine;
use crate::metrics::Action;
use runtime::Rootfs;
use rustix::fs::{FileType, Stat};
use snapshot::Mounts;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Instant;
use stdx::{Context as _, Error, Result};
use sys::dir::Dir;
use sys::jail::{self, Access};

/// As deep as archives of layers may be.
const MAX_DEPTH: usize = 250;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// From the container's root.
    pub path: String,
    /// What happened to it.
    pub kind: ChangeKind,
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is another than in the image.
    Modified,
    /// The image has none.
    Added,
    /// Only the image has it.
    Deleted,
}

/// What Docker has in a layer of its own below a container's: places for its mounts, made when they are missing.
const ENGINES: [(&str, FileType); 13] = [
    ("dev", FileType::Directory),
    ("dev/console", FileType::RegularFile),
    ("dev/mqueue", FileType::Directory),
    ("dev/pts", FileType::Directory),
    ("dev/shm", FileType::Directory),
    ("etc", FileType::Directory),
    ("etc/hostname", FileType::RegularFile),
    ("etc/hosts", FileType::RegularFile),
    ("etc/mtab", FileType::Symlink),
    ("etc/resolv.conf", FileType::RegularFile),
    ("proc", FileType::Directory),
    ("sys", FileType::Directory),
    (".dockerenv", FileType::RegularFile),
];

/// Whether something in a container's own directory is a place for a mount of the engine's rather than the user's doing:
/// it is one by name, and nothing has been written to it.
pub(super) fn is_engines(path: &[u8], stat: &Stat) -> bool {
    let kind = FileType::from_raw_mode(stat.st_mode);
    ENGINES.iter().any(|(name, expected)| name.as_bytes() == path && *expected == kind)
        && (kind != FileType::RegularFile || stat.st_size == 0)
}

impl Engine {
    /// What a container has changed against its image, by path.
    pub async fn container_changes(&self, name: &str) -> Result<Vec<Change>> {
        let began = Instant::now();
        let container = self.inner.containers.find(name)?;
        container.recovered().await;
        let engine = self.clone();
        let id = container.now().record.id.clone();
        let changes = tokio::task::spawn_blocking(move || engine.changes_of(&id))
            .await
            .map_err(|e| Error::internal(e.to_string()))??;
        self.inner.metrics.done(Action::Changes, began);
        Ok(changes)
    }

    fn changes_of(&self, id: &str) -> Result<Vec<Change>> {
        let mounts = self.inner.services.snapshots.mounts(&snapshot::Key::new(id)?)?;
        let Mounts::Overlay { lower, upper: Some(upper), .. } = mounts else {
            return Err(Error::not_implemented("changes of a container that is no overlay"));
        };
        let doing = || format!("compare container {id} with its image");
        let upper = Dir::open(&upper).context(doing)?;
        let lower = Rootfs::Overlay { lower, upper: None, work: None }
            .mount()
            .map_err(|e| Error::internal(doing()).caused_by(e))?;
        let lower = Dir::from_fd(lower).context(doing)?;
        let dirs = [(&upper, Access::Read), (&lower, Access::Read)];
        let changes = jail::run("changes", &dirs, |_walls| {
            let mut found = Found::default();
            let _any = found.directory(&upper, Some(&lower), "", 0)?;
            Ok::<_, Error>(found.changes)
        });
        let mut changes = changes.context(doing)??;
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(changes)
    }
}

#[derive(Debug, Default)]
struct Found {
    changes: Vec<Change>,
}

impl Found {
    fn add(&mut self, path: &str, kind: ChangeKind) {
        self.changes.push(Change { path: path.to_owned(), kind });
    }

    /// Compares what is in a directory; whether anything differs.
    fn directory(
        &mut self,
        upper: &Dir,
        lower: Option<&Dir>,
        path: &str,
        depth: usize,
    ) -> Result<bool> {
        if depth > MAX_DEPTH {
            return Err(Error::invalid(format!("the tree is too deep: {path}")));
        }
        let doing = || format!("compare {path}");
        let names = upper.names().context(doing)?;
        let hides = lower.is_some() && layer::is_opaque(upper).context(doing)?;
        let mut any = false;
        if let (true, Some(lower)) = (hides, lower) {
            let own: BTreeSet<&OsString> = names.iter().collect();
            for name in lower.names().context(doing)?.iter().filter(|name| !own.contains(name)) {
                self.add(&below(path, name), ChangeKind::Deleted);
                any = true;
            }
        }
        for name in &names {
            let Some(now) = there(upper.stat(name)).context(doing)? else { continue };
            let before = match lower {
                Some(lower) => there(lower.stat(name)).context(doing)?,
                None => None,
            };
            any |=
                self.one(upper, lower, name, &below(path, name), &now, before.as_ref(), depth)?;
        }
        Ok(any)
    }

    #[expect(clippy::too_many_arguments, reason = "what is compared, and where it is")]
    fn one(
        &mut self,
        upper: &Dir,
        lower: Option<&Dir>,
        name: &OsString,
        path: &str,
        now: &Stat,
        before: Option<&Stat>,
        depth: usize,
    ) -> Result<bool> {
        let doing = || format!("compare {path}");
        if is_whiteout(now) {
            if before.is_some() {
                self.add(path, ChangeKind::Deleted);
            }
            return Ok(before.is_some());
        }
        let engines = is_engines(&path.as_bytes()[1..], now);
        let child = match FileType::from_raw_mode(now.st_mode) {
            FileType::Directory => there(upper.child(name)).context(doing)?,
            _ => None,
        };
        let Some(before) = before else {
            let at = self.changes.len();
            if !engines {
                self.add(path, ChangeKind::Added);
            }
            let inside = match &child {
                Some(child) => self.directory(child, None, path, depth + 1)?,
                None => false,
            };
            if engines && inside {
                // Somebody has put something there.
                let change = Change { path: path.to_owned(), kind: ChangeKind::Added };
                self.changes.insert(at, change);
            }
            return Ok(inside || !engines);
        };
        let was_dir = FileType::from_raw_mode(before.st_mode) == FileType::Directory;
        let at = self.changes.len();
        let inside = match (&child, was_dir, lower) {
            (Some(child), true, Some(lower)) => {
                let old = there(lower.child(name)).context(doing)?;
                self.directory(child, old.as_ref(), path, depth + 1)?
            }
            (Some(child), ..) => self.directory(child, None, path, depth + 1)?,
            (None, ..) => false,
        };
        let changed = inside || differs(now, before);
        if changed {
            let change = Change { path: path.to_owned(), kind: ChangeKind::Modified };
            self.changes.insert(at, change);
        }
        Ok(changed)
    }
}

/// Whether two things of one name are not the same; times and sizes of directories say nothing.
fn differs(now: &Stat, before: &Stat) -> bool {
    let is_dir = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    now.st_mode != before.st_mode
        || (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid)
        || now.st_rdev != before.st_rdev
        || !(is_dir(now) && is_dir(before))
            && (now.st_size, now.st_mtime, now.st_mtime_nsec)
                != (before.st_size, before.st_mtime, before.st_mtime_nsec)
}

fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn below(path: &str, name: &OsString) -> String {
    format!("{path}/{}", String::from_utf8_lossy(name.as_bytes()))
}

/// What is not there is no error: a running container goes on changing things.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

/// The container's own directory, for commit; read beside whatever runs in it.
pub(super) fn upper_of(engine: &Engine, id: &str) -> Result<Dir> {
    let path = engine.inner.services.snapshots.writable(&snapshot::Key::new(id)?)?;
    Dir::open(&path).context(|| format!("open {}", path.display()))
}
