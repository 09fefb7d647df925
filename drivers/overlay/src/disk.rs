//! The directories: making, renaming and reading them. No memory of its own.

use rustix::fs::{AtFlags, Gid, Mode, Uid, XattrFlags};
use snapshot::{Key, Name};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use stdx::{Context as _, Error, Kind, Result};
use sys::dir::Dir;

/// The link that says "whole" and names the parent, in what can be written.
const PARENT: &str = "parent";
/// The same in a view.
const VIEW: &str = "view";
const EMPTY: &str = "../../empty";

/// The store's open directories.
#[derive(Debug)]
pub(crate) struct Disk {
    root: PathBuf,
    active: Dir,
    committed: Dir,
    trash: Dir,
    next: AtomicU64,
}

/// What a snapshot's link says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) parent: Option<Name>,
    pub(crate) view: bool,
}

/// What a new root directory takes over from the one below it: a container's `/` looks like its image's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RootAttributes {
    mode: u32,
    owner: (u32, u32),
    xattrs: Vec<(OsString, Vec<u8>)>,
    /// Nothing beneath this layer shows through. The kernel ignores the mark on a layer's root, so we cut the chain.
    pub(crate) opaque: bool,
}

impl Default for RootAttributes {
    fn default() -> Self {
        Self { mode: 0o755, owner: (0, 0), xattrs: Vec::new(), opaque: false }
    }
}

impl Disk {
    pub(crate) fn open(root: &Path) -> Result<Self> {
        stdx::fs::create_dir(root, 0o700)?;
        for name in ["active", "committed", "trash", "empty"] {
            stdx::fs::create_dir(&root.join(name), 0o700)?;
        }
        // The only directory that containers see as their own root: it must look like one.
        chmod(rustix::fs::CWD, &root.join("empty"), 0o755)
            .context(|| "set the mode of the empty directory")?;
        let open = |name: &str| {
            Dir::open(root.join(name)).context(|| format!("open snapshot store {name}"))
        };
        // Numbers of an earlier process may lie in the trash; starting at the clock makes meeting them unlikely.
        let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Ok(Self {
            root: root.to_owned(),
            active: open("active")?,
            committed: open("committed")?,
            trash: open("trash")?,
            next: AtomicU64::new(u64::try_from(start).unwrap_or(0)),
        })
    }

    pub(crate) fn empty(&self) -> PathBuf {
        self.root.join("empty")
    }

    pub(crate) fn active(&self, key: &Key, inner: &str) -> PathBuf {
        self.root.join("active").join(key.as_str()).join(inner)
    }

    pub(crate) fn committed(&self, name: &Name) -> PathBuf {
        self.root.join("committed").join(name.as_str()).join("fs")
    }

    /// Makes an active snapshot or a view; the link, last, makes it whole.
    pub(crate) fn make(&self, key: &Key, link: &Link, root: &RootAttributes) -> Result<()> {
        let doing = || format!("make snapshot {key}");
        self.active.create_dir(key.as_str(), 0o700).context(doing)?;
        self.fill(key, link, root)
            .context(doing)
            .inspect_err(|_| drop(self.active.remove_tree(key.as_str())))
    }

    fn fill(&self, key: &Key, link: &Link, root: &RootAttributes) -> std::io::Result<()> {
        rustix::fs::mkdirat(&self.active, format!("{key}/fs"), Mode::from_raw_mode(0o700))?;
        self.dress(key, root)?;
        if !link.view {
            rustix::fs::mkdirat(&self.active, format!("{key}/work"), Mode::from_raw_mode(0o700))?;
        }
        let name = if link.view { VIEW } else { PARENT };
        Ok(rustix::fs::symlinkat(
            target(link.parent.as_ref()),
            &self.active,
            format!("{key}/{name}"),
        )?)
    }

    /// Another parent for the active snapshot, in one step. Its root directory takes over the parent's attributes if it
    /// has none of its own: a layer's archive rarely says anything about `/`.
    pub(crate) fn relink(
        &self,
        key: &Key,
        parent: Option<&Name>,
        root: &RootAttributes,
    ) -> Result<()> {
        let relink = || -> std::io::Result<()> {
            if read_root(&self.active(key, "fs"))? == RootAttributes::default() {
                self.dress(key, root)?;
            }
            let dir = self.active.child(key.as_str())?;
            dir.remove_tree("parent.new")?;
            dir.create_symlink(target(parent), "parent.new")?;
            Ok(rustix::fs::renameat(&dir, "parent.new", &dir, PARENT)?)
        };
        relink().context(|| format!("change the parent of snapshot {key}"))
    }

    /// Makes the snapshot's root directory look as its parent's.
    fn dress(&self, key: &Key, root: &RootAttributes) -> std::io::Result<()> {
        let fs = format!("{key}/fs");
        if root.owner != (0, 0) {
            let (uid, gid) = (Uid::from_raw(root.owner.0), Gid::from_raw(root.owner.1));
            rustix::fs::chownat(
                &self.active,
                &*fs,
                Some(uid),
                Some(gid),
                AtFlags::SYMLINK_NOFOLLOW,
            )?;
        }
        for (name, value) in &root.xattrs {
            rustix::fs::lsetxattr(
                self.active(key, "fs"),
                name.as_os_str(),
                value,
                XattrFlags::empty(),
            )?;
        }
        // After chown, which would take away a set-group-id bit.
        chmod(&self.active, Path::new(&fs), root.mode)
    }

    /// Everything that was written into the active snapshot is on disk afterwards.
    pub(crate) fn sync_content(&self, key: &Key) -> Result<()> {
        self.active
            .child(key.as_str())
            .and_then(|d| d.sync_filesystem())
            .context(|| format!("sync snapshot {key}"))
    }

    /// The commit: one rename. `Conflict` when the name is taken.
    pub(crate) fn publish(&self, key: &Key, name: &Name) -> Result<()> {
        match self.active.rename_new(key.as_str(), &self.committed, name.as_str()) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Err(exists(name)),
            other => other.context(|| format!("commit snapshot {key} as {name}")),
        }
    }

    /// The new name survives a power cut afterwards.
    pub(crate) fn sync_names(&self) -> Result<()> {
        self.committed.sync().and_then(|()| self.active.sync()).context(|| "sync snapshot store")
    }

    /// What a committed snapshot no longer needs.
    pub(crate) fn remove_work(&self, name: &Name) {
        if let Ok(dir) = self.committed.child(name.as_str()) {
            // Left over it costs a directory; the next start tries again.
            let _left = dir.remove_tree("work");
        }
    }

    pub(crate) fn trash_active(&self, key: &OsStr) -> Result<()> {
        self.trash(&self.active, key)
    }

    pub(crate) fn trash_committed(&self, name: &Name) -> Result<()> {
        self.trash(&self.committed, OsStr::new(name.as_str()))
    }

    fn trash(&self, from: &Dir, name: &OsStr) -> Result<()> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed).to_string();
            match from.rename_new(name, &self.trash, &number) {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                other => return other.context(|| format!("remove snapshot {}", name.display())),
            }
        }
    }

    /// Deletes what lies in the trash; one that resists does not keep the others.
    pub(crate) fn empty_trash(&self) -> Result<usize> {
        let mut result = Ok(());
        let mut count = 0;
        for name in self.trash.names().context(|| "read the trash")? {
            match self.trash.remove_tree(&name) {
                Ok(()) => count += 1,
                Err(e) => result = Err(e).context(|| format!("delete trash/{}", name.display())),
            }
        }
        result.map(|()| count)
    }

    /// Every active snapshot and view; half-made ones are thrown away.
    pub(crate) fn read_active(&self) -> Result<Vec<(Key, Link)>> {
        let mut found = Vec::new();
        for raw in self.active.names().context(|| "read active snapshots")? {
            let key = raw.to_str().and_then(|n| Key::new(n).ok());
            match (key, read_link(&self.active, &raw)?) {
                (Some(key), Some(link)) => found.push((key, link)),
                _ => self.trash_active(&raw)?,
            }
        }
        Ok(found)
    }

    /// Every committed snapshot with its parent.
    pub(crate) fn read_committed(&self) -> Result<Vec<(Name, Option<Name>)>> {
        let mut found = Vec::new();
        for raw in self.committed.names().context(|| "read committed snapshots")? {
            let Some(name) = raw.to_str().and_then(|n| Name::new(n).ok()) else { continue };
            let Some(link) = read_link(&self.committed, &raw)? else {
                // Not by us: everything arrives here whole.
                return Err(Error::new(
                    Kind::DataLoss,
                    format!("committed snapshot {name} has lost its parent link"),
                ));
            };
            self.remove_work(&name);
            found.push((name, link.parent));
        }
        Ok(found)
    }

    pub(crate) fn root_attributes(&self, name: &Name) -> Result<RootAttributes> {
        let path = self.committed(name);
        read_root(&path).context(|| format!("read {}", path.display()))
    }
}

pub(crate) fn exists(id: impl std::fmt::Display) -> Error {
    Error::conflict(format!("snapshot {id} already exists"))
}

/// What a snapshot's link points at.
fn target(parent: Option<&Name>) -> String {
    parent.map_or_else(|| EMPTY.to_owned(), |name| format!("../../committed/{name}"))
}

fn chmod(at: impl std::os::fd::AsFd, path: &Path, mode: u32) -> std::io::Result<()> {
    Ok(rustix::fs::chmodat(at, path, Mode::from_raw_mode(mode), AtFlags::empty())?)
}

/// The link of the snapshot `name`; `None` when it has none (half-made) or one that is not ours.
fn read_link(dir: &Dir, name: &OsStr) -> Result<Option<Link>> {
    for (link, view) in [(PARENT, false), (VIEW, true)] {
        match rustix::fs::readlinkat(dir, Path::new(name).join(link), Vec::new()) {
            Ok(target) => {
                let target = target.to_str().unwrap_or_default();
                if target == EMPTY {
                    return Ok(Some(Link { parent: None, view }));
                }
                let parent =
                    target.strip_prefix("../../committed/").and_then(|n| Name::new(n).ok());
                return Ok(parent.map(|name| Link { parent: Some(name), view }));
            }
            Err(
                rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::INVAL,
            ) => {}
            Err(e) => {
                return Err(Error::io(
                    format!("read the link of snapshot {}", name.display()),
                    e.into(),
                ));
            }
        }
    }
    Ok(None)
}

fn read_root(path: &Path) -> std::io::Result<RootAttributes> {
    let stat = rustix::fs::lstat(path)?;
    let mut found = RootAttributes {
        mode: stat.st_mode & 0o7777,
        owner: (stat.st_uid, stat.st_gid),
        xattrs: Vec::new(),
        opaque: false,
    };
    // No length is asked for first: 64 KiB is the kernel's own limit for both (XATTR_LIST_MAX, XATTR_SIZE_MAX).
    let mut list = Vec::with_capacity(4096);
    match rustix::fs::llistxattr(path, rustix::buffer::spare_capacity(&mut list)) {
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(found),
        Err(rustix::io::Errno::RANGE) => {
            list.reserve(65_536);
            rustix::fs::llistxattr(path, rustix::buffer::spare_capacity(&mut list))?;
        }
        other => drop(other?),
    }
    for name in list.split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let name = OsStr::from_bytes(name);
        let mut value = Vec::with_capacity(65_536);
        rustix::fs::lgetxattr(path, name, rustix::buffer::spare_capacity(&mut value))?;
        if name == "trusted.overlay.opaque" {
            found.opaque = value == b"y";
        } else if !name.as_bytes().starts_with(b"trusted.overlay.") {
            found.xattrs.push((name.to_owned(), value));
        }
    }
    Ok(found)
}
