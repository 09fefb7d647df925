//! The contract's calls, in the order of `snapshot::Snapshotter`.

use crate::disk::{Disk, Link, RootAttributes};
use crate::index::{Held, Index, Layer};
use crate::usage;
use snapshot::{Info, Key, Mounts, Name, Swept, Usage, Which};
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stdx::{Context as _, Error, Result, fail_point};

/// The overlay storage driver.
#[derive(Debug)]
pub struct Snapshotter {
    disk: Disk,
    index: Mutex<Index>,
}

impl Snapshotter {
    /// Opens the store in `root`, making it when it is new; half-made snapshots of a crash go to the trash.
    ///
    /// [`stdx::Kind::DataLoss`] when a committed snapshot has no parent link.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let disk = Disk::open(root.as_ref())?;
        let mut index = Index::default();
        let mut waiting: HashMap<Option<Name>, Vec<Name>> = HashMap::new();
        for (name, parent) in disk.read_committed()? {
            index.adopt(parent.as_ref());
            waiting.entry(parent).or_default().push(name);
        }
        // From the empty tree upwards; what hangs on nothing (its parent was lost) is never reached and stays unknown.
        let mut ready = vec![None];
        while let Some(parent) = ready.pop() {
            for name in waiting.remove(&parent).unwrap_or_default() {
                let root = disk.root_attributes(&name)?;
                index.add_layer(name.clone(), parent.clone(), disk.committed(&name), root);
                ready.push(Some(name));
            }
        }
        for (key, link) in disk.read_active()? {
            index.found(key, link);
        }
        Ok(Self { disk, index: Mutex::new(index) })
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // The index is never left half-changed: a panic elsewhere must not take the store along.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, key: &Key, link: &Link) -> Result<Mounts> {
        let parent = self.index().reserve(key, link)?;
        let fallback = RootAttributes::default();
        let root = parent.as_ref().map_or(&fallback, |layer| &layer.root);
        match self.disk.make(key, link, root) {
            Ok(()) => {
                self.index().made(key);
                Ok(self.describe(key, link, parent.as_ref()))
            }
            Err(e) => {
                self.index().forget(key);
                Err(e)
            }
        }
    }

    fn describe(&self, key: &Key, link: &Link, parent: Option<&Arc<Layer>>) -> Mounts {
        let mut lower = parent.map(|layer| layer.lower.clone()).unwrap_or_default();
        if !link.view {
            if lower.is_empty() {
                lower.push(self.disk.empty());
            }
            let (upper, work) = (self.disk.active(key, "fs"), self.disk.active(key, "work"));
            return Mounts::Overlay { lower, upper: Some(upper), work: Some(work) };
        }
        // Without an upper directory the kernel wants two lower ones.
        if lower.is_empty() {
            lower.push(self.disk.active(key, "fs"));
        }
        if lower.len() == 1 {
            lower.push(self.disk.empty());
        }
        Mounts::Overlay { lower, upper: None, work: None }
    }

    fn commit_busy(&self, name: &Name, key: &Key) -> Result<RootAttributes> {
        self.disk.sync_content(key)?;
        fail_point!("snapshot.commit.before-rename");
        self.disk.publish(key, name)?;
        self.disk.root_attributes(name)
    }

    fn held(&self, key: &Key) -> Result<(Held, Option<Arc<Layer>>)> {
        let index = self.index();
        let held = index.usable(key)?.clone();
        let parent = index.parent_of(&held)?;
        Ok((held, parent))
    }
}

impl snapshot::Snapshotter for Snapshotter {
    fn driver(&self) -> &'static str {
        "overlay2"
    }

    fn prepare(&self, key: &Key, parent: Option<&Name>) -> Result<Mounts> {
        self.make(key, &Link { parent: parent.cloned(), view: false })
    }

    fn view(&self, key: &Key, parent: Option<&Name>) -> Result<Mounts> {
        self.make(key, &Link { parent: parent.cloned(), view: true })
    }

    fn mounts(&self, key: &Key) -> Result<Mounts> {
        let (held, parent) = self.held(key)?;
        Ok(self.describe(key, &held.link, parent.as_ref()))
    }

    fn writable(&self, key: &Key) -> Result<PathBuf> {
        let (held, _) = self.held(key)?;
        if held.link.view {
            return Err(Error::invalid(format!("snapshot {key} is read-only")));
        }
        Ok(self.disk.active(key, "fs"))
    }

    fn rebase(&self, key: &Key, parent: Option<&Name>) -> Result<()> {
        // Under the lock: the parent must not go meanwhile, and it is a few quick calls.
        let mut index = self.index();
        if index.usable(key)?.link.view {
            return Err(Error::invalid(format!("snapshot {key} is read-only")));
        }
        let layer = parent.map(|name| index.layer(name)).transpose()?;
        let fallback = RootAttributes::default();
        self.disk.relink(key, parent, layer.as_ref().map_or(&fallback, |l| &l.root))?;
        index.rebased(key, parent);
        Ok(())
    }

    fn commit(&self, name: &Name, key: &Key) -> Result<()> {
        self.index().begin_commit(name, key)?;
        let root = self.commit_busy(name, key).inspect_err(|_| self.index().made(key))?;
        // Names before memory: whoever sees the layer may rely on it.
        let synced = self.disk.sync_names();
        self.index().committed(name, key, self.disk.committed(name), root);
        synced?;
        fail_point!("snapshot.commit.after-rename");
        self.disk.remove_work(name);
        Ok(())
    }

    fn remove_active(&self, key: &Key) -> Result<()> {
        let mut index = self.index();
        index.usable(key)?;
        self.disk.trash_active(OsStr::new(key.as_str()))?;
        index.forget(key);
        Ok(())
    }

    fn remove_committed(&self, name: &Name) -> Result<()> {
        // The lock is held over the rename, so that nobody prepares on what is going.
        let mut index = self.index();
        index.removable(name)?;
        self.disk.trash_committed(name)?;
        index.forget_layer(name);
        Ok(())
    }

    fn stat(&self, which: Which<'_>) -> Result<Info> {
        self.index().info(which)
    }

    fn usage(&self, which: Which<'_>) -> Result<Usage> {
        let walk = |path: PathBuf| usage::of(&path).context(|| format!("count {}", path.display()));
        match which {
            Which::Key(key) => {
                self.index().usable(key)?;
                walk(self.disk.active(key, "fs"))
            }
            Which::Name(name) => {
                let layer = self.index().layer(name)?;
                if let Some(known) = layer.usage.get() {
                    return Ok(*known);
                }
                let counted = walk(self.disk.committed(name))?;
                Ok(*layer.usage.get_or_init(|| counted))
            }
        }
    }

    fn walk(&self, visit: &mut dyn FnMut(&Info) -> Result<()>) -> Result<()> {
        let all = self.index().infos();
        all.iter().try_for_each(visit)
    }

    fn sweep(&self, owned: &[Key]) -> Result<Swept> {
        let wanted: HashSet<&Key> = owned.iter().collect();
        let mut index = self.index();
        let mut swept = Swept::default();
        for key in index.keys() {
            if !wanted.contains(&key) {
                self.disk.trash_active(OsStr::new(key.as_str()))?;
                index.forget(&key);
                swept.unowned.push(key);
            }
        }
        swept.unowned.sort();
        // One without its parents is as good as gone.
        let whole = |key: &&Key| {
            index.has(key) && index.usable(key).is_ok_and(|h| index.parent_of(h).is_ok())
        };
        swept.missing = owned.iter().filter(|key| !whole(key)).cloned().collect();
        Ok(swept)
    }

    fn empty_trash(&self) -> Result<usize> {
        self.disk.empty_trash()
    }
}
