//! A container's tree, whether it runs or not.

use crate::Engine;
use container::{Container, Phase, Published, files};
use runtime::Rootfs;
use rustix::fs::{FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use snapshot::Mounts;
use std::io;
use std::mem::discriminant;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use stdx::{Context as _, Error, Kind, Result};
use store::records::container::{ContainerRecord, MountKind};
use sys::dir::Dir;
use sys::mount::{self, Attributes, Context as Filesystem};
use sys::userns::IdMaps;
use sys::{mntns, mount::clone_tree};
use task::protocol::ShimRecord;
use tokio::sync::OwnedMutexGuard;

/// How long the news of a container's end may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many changes of a container are followed before the one who asks is told to come back.
const TRIES: usize = 8;

/// A container's root directory, and what keeps it together.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) dir: Dir,
    /// The container runs in a user namespace: what it calls its ids. One that does not run is seen as it is on disk.
    pub(crate) ids: Option<IdMaps>,
    /// The container does not run, and its root cannot say by itself that it shall be read-only.
    pub(crate) is_read_only: bool,
    /// Where the mounts of a stopped container are attached to each other; they fall apart without.
    _namespace: Option<OwnedFd>,
    /// Nobody starts it meanwhile: two overlays that write to one directory know nothing of each other.
    _turn: Option<OwnedMutexGuard<()>>,
}

/// What is to be done with the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// Read what its processes see.
    Read,
    /// Write where its processes see it.
    Write,
    /// Read the root file system alone, without what is mounted on it.
    Bare,
}

/// Something to be mounted into a stopped container's tree.
struct Point {
    source: PathBuf,
    target: String,
    writable: bool,
    recursive: bool,
}

impl Engine {
    /// The container's tree.
    pub(crate) async fn root_of(&self, container: &Container, want: Want) -> Result<Root> {
        // What has been asked of it before is done first: a start that goes on, for example.
        container.recovered().await;
        for _ in 0..TRIES {
            let before = container.now();
            let error = match self.root_now(container, want).await {
                Ok(root) => return Ok(root),
                Err(error) => error,
            };
            let same = |now: &Published| {
                now.exits == before.exits && discriminant(&now.phase) == discriminant(&before.phase)
            };
            let now = container.now();
            if matches!(now.phase, Phase::Removing | Phase::Gone) {
                // What it consists of goes piece by piece.
                return Err(Error::not_found(format!("No such container: {}", now.record.id)));
            }
            // It has ended, or is about to be something else: once that is known, there is another way to its files.
            let ended = error.kind() == Kind::Conflict && now.phase.is_running();
            if same(&now) && !ended && !matches!(now.phase, Phase::Starting) {
                return Err(error);
            }
            let mut news = container.follow();
            let changed = news.wait_for(|now| !same(now));
            if tokio::time::timeout(PATIENCE, changed).await.is_err() {
                return Err(error);
            }
        }
        Err(Error::conflict(format!(
            "container {} does not come to rest",
            container.now().record.id
        )))
    }

    async fn root_now(&self, container: &Container, want: Want) -> Result<Root> {
        let turn = match want {
            Want::Write if !container.now().phase.is_running() => {
                Some(Arc::clone(container.files()).lock_owned().await)
            }
            _ => None,
        };
        let now = container.now();
        let engine = self.clone();
        tokio::task::spawn_blocking(move || engine.open_root(&now, want, turn))
            .await
            .map_err(|e| Error::internal(e.to_string()))?
    }

    fn open_root(
        &self,
        now: &Published,
        want: Want,
        turn: Option<OwnedMutexGuard<()>>,
    ) -> Result<Root> {
        let id = &now.record.id;
        let doing = || format!("open the files of container {id}");
        if let Some(live) = now.phase.live() {
            let (namespace, ids) = self.namespace_of(id, live.pid)?;
            let dir = mntns::inside(namespace.as_fd(), || match want {
                Want::Read | Want::Write => Dir::open("/"),
                Want::Bare => Dir::from_fd(clone_tree(Dir::open("/")?, c"", false)?),
            })
            .context(doing)?;
            return Ok(Root { dir, ids, is_read_only: false, _namespace: None, _turn: None });
        }
        let mounts = self.inner.services.snapshots.mounts(&snapshot::Key::new(id)?)?;
        if want == Want::Bare {
            let root = bare(&mounts).map_err(|e| Error::internal(doing()).caused_by(e))?;
            let dir = Dir::from_fd(root).context(doing)?;
            return Ok(Root { dir, ids: None, is_read_only: true, _namespace: None, _turn: None });
        }
        let points = self.points(&now.record);
        let place = self.inner.services.paths.exec.clone();
        let (dir, namespace) =
            mntns::private(|| together(&mounts, &points, &place, want)).context(doing)?;
        let is_read_only = now.record.host.readonly_rootfs;
        Ok(Root { dir, ids: None, is_read_only, _namespace: Some(namespace), _turn: turn })
    }

    /// The mount namespace and the ids of the container's first process, which is known by being its shim's child: its
    /// number may be another process' by now.
    fn namespace_of(&self, id: &str, pid: i32) -> Result<(OwnedFd, Option<IdMaps>)> {
        let gone = || Error::conflict(format!("container {id} is not running"));
        let record = self.inner.services.paths.exec_of(id).join("shim.json");
        let shim = std::fs::read(&record).map_err(|_| gone())?;
        let shim: ShimRecord = serde_json::from_slice(&shim)
            .map_err(|e| Error::internal("read the shim's record").caused_by(e))?;
        // This directory is of this one process; once that is reaped, nothing can be read from it.
        let process = Dir::open(format!("/proc/{pid}")).map_err(|_| gone())?;
        let stat = process.read_file("stat", 4096).map_err(|_| gone())?;
        if parent_of(&stat) != Some(shim.pid) {
            return Err(gone());
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let namespace =
            rustix::fs::openat(&process, "ns/mnt", flags, Mode::empty()).map_err(|_| gone())?;
        Ok((namespace, IdMaps::of_process(&process).map_err(|_| gone())?))
    }

    fn points(&self, record: &ContainerRecord) -> Vec<Point> {
        let mut points: Vec<Point> = record
            .mounts
            .iter()
            // A tmpfs is empty while nothing runs: Docker shows what is below it, too.
            .filter(|mount| mount.kind != MountKind::Tmpfs)
            .map(|mount| Point {
                source: mount.source.clone(),
                target: mount.destination.clone(),
                writable: mount.rw,
                recursive: !mount.non_recursive,
            })
            .collect();
        let engine = files::paths(&self.inner.services.paths, &record.id);
        for (target, source) in [
            ("/etc/hosts", engine.hosts),
            ("/etc/hostname", engine.hostname),
            ("/etc/resolv.conf", engine.resolv_conf),
        ] {
            if !points.iter().any(|point| point.target == target) {
                let target = target.to_owned();
                points.push(Point { source, target, writable: true, recursive: false });
            }
        }
        // What is mounted on something that is mounted comes after it.
        points.sort_by_key(|point| point.target.matches('/').count());
        points
    }
}

/// Field 4 of `/proc/PID/stat`.
fn parent_of(stat: &[u8]) -> Option<i32> {
    // The name, field 2, may contain anything; what follows its last parenthesis are fields 3 and on.
    let text = String::from_utf8_lossy(stat);
    text.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The root file system of a stopped container to be read, as a mount that is attached nowhere.
fn bare(mounts: &Mounts) -> runtime::Result<OwnedFd> {
    match mounts {
        Mounts::Directory(path) => Rootfs::Directory(path.clone()).mount(),
        Mounts::Overlay { lower, upper, .. } => {
            let lower = upper.iter().chain(lower).cloned().collect();
            Rootfs::Overlay { lower, upper: None, work: None }.mount()
        }
    }
}

/// Puts a stopped container's tree together; runs in a private mount namespace, where `place` may be mounted on.
///
/// To be read, everything that the container has is below a writable layer in memory: mount points that are missing can
/// be made, and the container's own directory is neither locked nor changed.
fn together(mounts: &Mounts, points: &[Point], place: &Path, want: Want) -> io::Result<Dir> {
    // Named before anything is mounted over it.
    let sources = points.iter().map(open_source).collect::<io::Result<Vec<_>>>()?;
    let rootfs = match mounts {
        Mounts::Directory(path) => Rootfs::Directory(path.clone()),
        Mounts::Overlay { lower, upper, work } if want == Want::Write => {
            Rootfs::Overlay { lower: lower.clone(), upper: upper.clone(), work: work.clone() }
        }
        Mounts::Overlay { lower, upper, .. } => {
            let lower: Vec<PathBuf> = upper.iter().chain(lower).cloned().collect();
            in_memory(place, lower.first())?;
            let (upper, work) = (place.join("upper"), place.join("work"));
            Rootfs::Overlay { lower, upper: Some(upper), work: Some(work) }
        }
    };
    let overlay = rootfs.mount().map_err(|e| io::Error::other(e.to_string()))?;
    mount::attach(&overlay, Dir::open(place)?)?;
    let root = Dir::open(place)?;
    for (point, source) in points.iter().zip(sources) {
        if let Some(source) = source {
            put(&root, point, &source)?;
        }
    }
    Ok(root)
}

/// A writable layer that is thrown away; its root looks like that of the `top` layer below it.
fn in_memory(place: &Path, top: Option<&PathBuf>) -> io::Result<()> {
    let memory = Filesystem::open("tmpfs")?.mount(mount::NOSUID | mount::NODEV)?;
    mount::attach(&memory, Dir::open(place)?)?;
    let scratch = Dir::open(place)?;
    scratch.create_dir("work", 0o700)?;
    scratch.create_dir("upper", 0o700)?;
    let Some(top) = top else { return Ok(()) };
    let model = rustix::fs::stat(top)?;
    let upper = scratch.child("upper")?;
    let (user, group) = (Uid::from_raw(model.st_uid), Gid::from_raw(model.st_gid));
    rustix::fs::fchown(&upper, Some(user), Some(group))?;
    rustix::fs::fchmod(&upper, Mode::from_raw_mode(model.st_mode & 0o7777))?;
    let nanos = i64::try_from(model.st_mtime_nsec).unwrap_or(0);
    let time = Timespec { tv_sec: model.st_mtime, tv_nsec: nanos };
    Ok(rustix::fs::futimens(&upper, &Timestamps { last_access: time, last_modification: time })?)
}

/// A detached copy of what is to be mounted; `None` when it is gone from the host.
fn open_source(point: &Point) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let Ok(source) = rustix::fs::open(&point.source, flags, Mode::empty()) else { return Ok(None) };
    let tree = clone_tree(&source, c"", point.recursive)?;
    if !point.writable {
        let read_only = Attributes { set: mount::RDONLY, ..Attributes::default() };
        mount::set_attributes(&tree, read_only, point.recursive)?;
    }
    Ok(Some(tree))
}

/// Attaches `source` in the tree. A mount point that is missing is made, as the container's start would do; one that is
/// of another sort stays as it is.
fn put(root: &Dir, point: &Point, source: &OwnedFd) -> io::Result<()> {
    let is_dir = |fd: &OwnedFd| -> io::Result<bool> {
        let stat = rustix::fs::fstat(fd)?;
        Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    };
    let wanted = is_dir(source)?;
    let target = match root.open_in_root(&point.target, OFlags::PATH, Mode::empty()) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && wanted => {
            root.make_dirs(&point.target, 0o755)?.into()
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let above = Path::new(&point.target).parent().unwrap_or(Path::new("/"));
            root.make_dirs(above, 0o755)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            root.open_in_root(&point.target, flags, Mode::from_raw_mode(0o755))?
        }
        other => other?,
    };
    if is_dir(&target)? == wanted {
        mount::attach(source, &target)?;
    }
    Ok(())
}
