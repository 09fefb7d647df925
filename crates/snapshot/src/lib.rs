//! Contract: layered file systems.
//!
//! A *snapshot* is a directory tree that is stored as the difference to its parent. There are three sorts:
//!
//! - **active**: named by a [`Key`], writable, owned by somebody (a container, an unpacking);
//! - **view**: named by a [`Key`] too, but read-only;
//! - **committed**: named by a [`Name`], never changes again. Only committed ones can be parents.
//!
//! ```text
//!                 prepare(key, parent)                 commit(name, key)
//!   committed ────────────────────────▶ active(key) ────────────────────▶ committed(name)
//!                 view(key, parent)        │  remove_active(key)              │ remove_committed(name)
//!   committed ────────────────────────▶ view(key) ──────────▶ gone            ▼ (no children, no actives)
//! ```
//!
//! # Importing a layer
//!
//! `prepare(key, parent)`, apply the archive into the directory that [`Snapshotter::writable`] answers (it holds this
//! layer's own difference and nothing of its parents), `commit(chain id, key)`. Somebody else may have committed the
//! same chain meanwhile: [`stdx::Kind::Conflict`], which is success for whoever only wants it to be there. Until the
//! commit nothing can see the layer, and after it the layer is whole, also after a power cut.
//!
//! # Running a container
//!
//! `prepare(container id, chain id of the image)` describes a root file system in about the time of three `mkdir`.
//! Nothing is attached: [`Mounts`] travels to whoever starts the container and is opened there, in the container's own
//! mount namespace. After the daemon's own restart [`Snapshotter::mounts`] describes it again.
//!
//! # Removing
//!
//! Removal moves into the trash, which is quick; [`Snapshotter::empty_trash`] deletes what lies there and belongs on a
//! thread of its own. At start [`Snapshotter::sweep`] is told which keys still have an owner; the others go.
//!
//! # Who keeps whom
//!
//! A committed snapshot cannot be removed while it is a parent. That nobody *wants* it any more is decided above, by
//! leases and references, never here.

mod name;
#[cfg(feature = "suite")]
pub mod suite;

pub use name::{InvalidName, Key, Name};

use std::path::PathBuf;
use stdx::Result;

/// How to see a snapshot as one tree; described, not attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mounts {
    /// An overlay mount. Always with `redirect_dir=off,metacopy=off,index=off`: differences depend on it.
    Overlay {
        /// Read-only directories, the topmost first; never empty.
        lower: Vec<PathBuf>,
        /// The writable directory; `None` makes a read-only mount.
        upper: Option<PathBuf>,
        /// The kernel's own scratch directory, beside `upper` on the same file system; there when `upper` is.
        work: Option<PathBuf>,
    },
    /// The whole tree is in this directory.
    Directory(PathBuf),
}

/// What a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Writable, named by a [`Key`].
    Active,
    /// Read-only, named by a [`Key`].
    View,
    /// Immutable, named by a [`Name`], possible parent.
    Committed,
}

/// Which snapshot is meant: keys and names are separate name spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which<'a> {
    /// An active one or a view.
    Key(&'a Key),
    /// A committed one.
    Name(&'a Name),
}

/// Facts about one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// The key or the name, as text.
    pub id: String,
    /// What it is.
    pub sort: Sort,
    /// What it is a difference to; `None` stands for the empty tree.
    pub parent: Option<Name>,
}

/// What a snapshot itself occupies, its parents not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes allocated on disk.
    pub bytes: u64,
    /// Files, directories and everything else; a file with several names counts once.
    pub inodes: u64,
}

/// What [`Snapshotter::sweep`] found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Swept {
    /// Actives and views without an owner, now in the trash.
    pub unowned: Vec<Key>,
    /// Owned keys of which nothing is there: whoever owns them must know.
    pub missing: Vec<Key>,
}

/// A storage driver. All calls block; all may come from several threads at once.
///
/// Errors: [`stdx::Kind::NotFound`] for a key, name or parent that is not there, [`stdx::Kind::Conflict`] for one that
/// is there already or is in use, [`stdx::Kind::NoSpace`], [`stdx::Kind::DataLoss`] for a store that contradicts itself.
pub trait Snapshotter: Send + Sync + std::fmt::Debug {
    /// The driver's name, as in `docker info` (`overlay2` answers under the name that tools know).
    fn driver(&self) -> &'static str;

    /// Makes a writable snapshot on top of `parent`; `None` is the empty tree.
    fn prepare(&self, key: &Key, parent: Option<&Name>) -> Result<Mounts>;

    /// Makes a read-only snapshot of `parent`.
    fn view(&self, key: &Key, parent: Option<&Name>) -> Result<Mounts>;

    /// Describes again what `prepare` or `view` described.
    fn mounts(&self, key: &Key) -> Result<Mounts>;

    /// The directory that holds the active snapshot's own difference, for applying a layer into it and for reading it
    /// back. Must not be written while the snapshot is mounted.
    fn writable(&self, key: &Key) -> Result<PathBuf>;

    /// Says anew what the active snapshot `key` is a difference to. What is in it stays as it is.
    ///
    /// For layers that are unpacked side by side: each is prepared without a parent, and gets the one it belongs on just
    /// before its commit, when that one is committed. Drivers whose active snapshots contain their parent's files refuse
    /// with [`stdx::Kind::NotImplemented`]; then layers are unpacked one after the other.
    fn rebase(&self, key: &Key, parent: Option<&Name>) -> Result<()>;

    /// Turns the active snapshot `key` into the committed `name`; everything written into it is on disk afterwards.
    ///
    /// [`stdx::Kind::Conflict`] when `name` exists (then `key` is still there, for its owner to remove).
    fn commit(&self, name: &Name, key: &Key) -> Result<()>;

    /// Removes an active snapshot or a view; the caller knows that it is no longer mounted.
    fn remove_active(&self, key: &Key) -> Result<()>;

    /// Removes a committed snapshot. [`stdx::Kind::Conflict`] while it is the parent of anything.
    fn remove_committed(&self, name: &Name) -> Result<()>;

    /// Facts about one snapshot.
    fn stat(&self, which: Which<'_>) -> Result<Info>;

    /// What the snapshot itself occupies. Walks an active one; remembers the answer for a committed one.
    fn usage(&self, which: Which<'_>) -> Result<Usage>;

    /// Shows every snapshot to `visit`, parents before their children, until it errs. No snapshot is locked meanwhile.
    fn walk(&self, visit: &mut dyn FnMut(&Info) -> Result<()>) -> Result<()>;

    /// Moves every active snapshot and view to the trash that is not in `owned`. For the daemon's start, before
    /// anything is prepared.
    fn sweep(&self, owned: &[Key]) -> Result<Swept>;

    /// Deletes what lies in the trash; answers how many snapshots that were. Slow; safe beside everything else.
    fn empty_trash(&self) -> Result<usize>;
}
