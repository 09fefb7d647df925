//! What is on disk, remembered: parents, chains, who is whose child. No I/O.

use crate::disk::{Link, RootAttributes, exists};
use snapshot::{Info, Key, Name, Sort, Usage, Which};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use stdx::{Error, Kind, Result};

/// Above this many lower directories the kernel's own limit (500, OVL_MAX_STACK) comes near.
const MAX_LOWER: usize = 400;

/// A committed snapshot.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) parent: Option<Name>,
    /// Its own directory first, then its parents' down to the empty tree or an opaque root.
    pub(crate) lower: Vec<PathBuf>,
    /// How many layers were stacked, opaque roots or not: orders `walk`.
    depth: usize,
    pub(crate) root: RootAttributes,
    pub(crate) usage: OnceLock<Usage>,
}

/// An active snapshot or a view.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) link: Link,
    /// Somebody is committing or still making it: nobody else may touch it.
    busy: bool,
}

/// All snapshots.
#[derive(Debug, Default)]
pub(crate) struct Index {
    layers: HashMap<Name, Arc<Layer>>,
    held: HashMap<Key, Held>,
    /// How many snapshots of any sort have this parent.
    children: HashMap<Name, usize>,
}

impl Index {
    /// Reserves `key` for a snapshot on `link.parent` that is being made; [`Index::made`] or [`Index::forget`] follows.
    pub(crate) fn reserve(&mut self, key: &Key, link: &Link) -> Result<Option<Arc<Layer>>> {
        if self.held.contains_key(key) {
            return Err(exists(key));
        }
        let parent = link.parent.as_ref().map(|name| self.layer(name)).transpose()?;
        if let Some(layer) = &parent
            && layer.lower.len() > MAX_LOWER
        {
            let count = layer.lower.len();
            let text = format!("image has {count} layers; more than {MAX_LOWER} cannot be mounted");
            return Err(Error::not_implemented(text));
        }
        self.held.insert(key.clone(), Held { link: link.clone(), busy: true });
        self.adopt(link.parent.as_ref());
        Ok(parent)
    }

    /// The reserved or committing snapshot is everybody's again.
    pub(crate) fn made(&mut self, key: &Key) {
        if let Some(held) = self.held.get_mut(key) {
            held.busy = false;
        }
    }

    /// Remembers a snapshot that was found on disk.
    pub(crate) fn found(&mut self, key: Key, link: Link) {
        self.adopt(link.parent.as_ref());
        self.held.insert(key, Held { link, busy: false });
    }

    /// Marks the active snapshot as being committed.
    pub(crate) fn begin_commit(&mut self, name: &Name, key: &Key) -> Result<Held> {
        let held = self.usable(key)?.clone();
        if held.link.view {
            return Err(Error::invalid(format!(
                "snapshot {key} is read-only and cannot be committed"
            )));
        }
        if self.layers.contains_key(name) {
            return Err(exists(name));
        }
        if let Some(held) = self.held.get_mut(key) {
            held.busy = true;
        }
        Ok(held)
    }

    /// The key has become the committed `name`; it stays its parent's child.
    pub(crate) fn committed(
        &mut self,
        name: &Name,
        key: &Key,
        path: PathBuf,
        root: RootAttributes,
    ) {
        let parent = self.held.remove(key).and_then(|h| h.link.parent);
        self.add_layer(name.clone(), parent, path, root);
    }

    /// Remembers a layer whose parent is remembered already (or `None`).
    pub(crate) fn add_layer(
        &mut self,
        name: Name,
        parent: Option<Name>,
        path: PathBuf,
        root: RootAttributes,
    ) {
        let below = parent.as_ref().and_then(|p| self.layers.get(p));
        let mut lower = vec![path];
        if let Some(below) = below.filter(|_| !root.opaque) {
            lower.extend(below.lower.iter().cloned());
        }
        let depth = below.map_or(0, |b| b.depth + 1);
        let layer = Layer { parent, lower, depth, root, usage: OnceLock::new() };
        self.layers.insert(name, Arc::new(layer));
    }

    /// The active snapshot is a difference to another parent from now on.
    pub(crate) fn rebased(&mut self, key: &Key, parent: Option<&Name>) {
        let Some(held) = self.held.get_mut(key) else { return };
        let old = std::mem::replace(&mut held.link.parent, parent.cloned());
        self.adopt(parent);
        self.orphan(old.as_ref());
    }

    /// The snapshot is gone; its parent has a child less.
    pub(crate) fn forget(&mut self, key: &Key) {
        if let Some(held) = self.held.remove(key) {
            self.orphan(held.link.parent.as_ref());
        }
    }

    /// The committed snapshot is gone.
    pub(crate) fn forget_layer(&mut self, name: &Name) {
        if let Some(layer) = self.layers.remove(name) {
            self.orphan(layer.parent.as_ref());
        }
    }

    /// Errs while the committed snapshot may not be removed.
    pub(crate) fn removable(&self, name: &Name) -> Result<()> {
        self.layer(name)?;
        match self.children.get(name) {
            Some(count) if *count > 0 => {
                Err(Error::conflict(format!("snapshot {name} is the parent of {count} other(s)")))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn layer(&self, name: &Name) -> Result<Arc<Layer>> {
        self.layers
            .get(name)
            .cloned()
            .ok_or_else(|| Error::not_found(format!("snapshot {name} does not exist")))
    }

    /// The snapshot `key`, unless it is being made or committed.
    pub(crate) fn usable(&self, key: &Key) -> Result<&Held> {
        match self.held.get(key) {
            None => Err(Error::not_found(format!("snapshot {key} does not exist"))),
            Some(held) if held.busy => {
                Err(Error::conflict(format!("snapshot {key} is being changed")))
            }
            Some(held) => Ok(held),
        }
    }

    /// The lower directories of the snapshot `key`.
    pub(crate) fn parent_of(&self, held: &Held) -> Result<Option<Arc<Layer>>> {
        let parent = held.link.parent.as_ref().map(|name| self.layer(name)).transpose();
        parent.map_err(|e| e.with_kind(Kind::DataLoss))
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.held.keys().cloned().collect()
    }

    pub(crate) fn has(&self, key: &Key) -> bool {
        self.held.contains_key(key)
    }

    pub(crate) fn info(&self, which: Which<'_>) -> Result<Info> {
        match which {
            Which::Key(key) => self.usable(key).map(|held| of_held(key, held)),
            Which::Name(name) => {
                let parent = self.layer(name)?.parent.clone();
                Ok(Info { id: name.to_string(), sort: Sort::Committed, parent })
            }
        }
    }

    /// Everything, parents before their children.
    pub(crate) fn infos(&self) -> Vec<Info> {
        let mut layers: Vec<_> = self.layers.iter().collect();
        layers.sort_by(|(a, x), (b, y)| x.depth.cmp(&y.depth).then_with(|| a.cmp(b)));
        let committed = layers.into_iter().map(|(name, layer)| Info {
            id: name.to_string(),
            sort: Sort::Committed,
            parent: layer.parent.clone(),
        });
        let mut held: Vec<_> = self.held.iter().filter(|(_, h)| !h.busy).collect();
        held.sort_by_key(|(key, _)| *key);
        committed.chain(held.into_iter().map(|(key, held)| of_held(key, held))).collect()
    }

    pub(crate) fn adopt(&mut self, parent: Option<&Name>) {
        if let Some(name) = parent {
            *self.children.entry(name.clone()).or_default() += 1;
        }
    }

    fn orphan(&mut self, parent: Option<&Name>) {
        if let Some(count) = parent.and_then(|name| self.children.get_mut(name)) {
            *count = count.saturating_sub(1);
        }
    }
}

fn of_held(key: &Key, held: &Held) -> Info {
    let sort = if held.link.view { Sort::View } else { Sort::Active };
    Info { id: key.to_string(), sort, parent: held.link.parent.clone() }
}
