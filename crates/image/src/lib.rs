//! The image model: pull, load, unpack, name, inspect, remove.
//!
//! An *image* is a configuration and a chain of layers. Its id is the digest of the configuration's bytes. What must
//! survive a power cut is spread over three stores, and only the last step makes the image exist:
//!
//! ```text
//!   1. layers            committed snapshots, each named by its chain id     (snapshot::Snapshotter)
//!   2. documents         configuration and manifest as blobs                 (content::Store)
//!   3. record and names  one transaction                                     (store::Store)
//! ```
//!
//! Whatever was cut between is never seen: an unfinished layer is an active snapshot whose key begins with `pull-`, which
//! the driver's sweep takes away at start; committed layers and blobs that no record names go by [`Images::collect`].
//!
//! # Layers stream
//!
//! A layer's archive is not kept. It goes from the registry through its digest, the decompressor and the diff id into a
//! snapshot of its own; the snapshot is committed under its chain id only when both digests were right. Layers of one
//! image do this side by side, since the difference that a layer makes does not depend on what is below it; only the
//! commits are in order. Two pulls that want the same layer share one download.
//!
//! # Who keeps whom
//!
//! A committed layer stays while an image's record lists it, while a running pull or load *holds* it, or while something
//! stands on it (the storage driver refuses to remove that: containers keep their layers this way).
//!
//! # Content is data
//!
//! Everything in an image was chosen by a stranger. Documents are bounded and read strictly, archives are unpacked on
//! jailed threads by `layer`, names in archives never become paths, and nothing in a configuration becomes control of the
//! engine (security design, R7 and R9).

#![forbid(unsafe_code)]

mod archive;
mod assemble;
mod chain;
mod commit;
mod index;
mod layers;
mod load;
mod model;
mod names;
mod progress;
mod pull;
mod remove;
mod unpack;

pub use chain::{chain_ids, sha256};
pub use commit::Commit;
pub use model::{HistoryEntry, Image, Summary};
pub use progress::{Event, LayerStep, Progress, Silent};
pub use pull::{PullRequest, Pulled};
pub use remove::{Removed, Usage};

use index::Index;
use layers::Layers;
use snapshot::Snapshotter;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use stdx::Result;
use store::Store;
use store::records::image::{ImageRecord, NameRecord};

/// All images of one daemon.
#[derive(Debug)]
pub struct Images {
    store: Arc<Store>,
    content: Arc<dyn content::Store>,
    layers: Arc<Layers>,
    /// What the store says, for answers in microseconds.
    index: RwLock<Index>,
    /// One change at a time: each reads the index, writes the store, then the index.
    changing: Mutex<()>,
    /// Where archives that are being loaded wait; emptied at open.
    scratch: PathBuf,
    next_scratch: AtomicU64,
}

impl Images {
    /// How many layers are fetched at a time from now on; 0: three, Docker's number.
    pub fn set_downloads(&self, at_a_time: u32) {
        self.layers.set_downloads(usize::try_from(at_a_time).unwrap_or(usize::MAX));
    }

    /// Reads what is there. An image whose documents or layers are damaged is left out (with a warning) but kept in mind,
    /// so that pulling it again heals it.
    ///
    /// `scratch` is a directory of our own beneath the data-root; what a crash left in it is removed.
    pub fn open(
        store: Arc<Store>,
        content: Arc<dyn content::Store>,
        snapshots: Arc<dyn Snapshotter>,
        scratch: impl Into<PathBuf>,
    ) -> Result<Arc<Self>> {
        let scratch = scratch.into();
        stdx::fs::remove_tree(&scratch)?;
        stdx::fs::create_dir(&scratch, 0o700)?;
        let layers = Layers::new(snapshots);
        let mut index = Index::default();
        for (_, record) in store.all::<ImageRecord>()? {
            match Image::read(&record, content.as_ref()).and_then(|image| {
                layers.check(&image)?;
                Ok(image)
            }) {
                Ok(image) => index.add(Arc::new(image)),
                Err(error) => {
                    tracing::warn!(image = %record.id, %error, "image is damaged; pull or load it again");
                    index.add_damaged(record);
                }
            }
        }
        for (name, record) in store.all::<NameRecord>()? {
            index.add_name(name, record.image);
        }
        Ok(Arc::new(Self {
            store,
            content,
            layers,
            index: RwLock::new(index),
            changing: Mutex::new(()),
            scratch,
            next_scratch: AtomicU64::new(0),
        }))
    }

    /// Removes committed layers and blobs that nothing needs: what a crash or a failed pull left, and layers whose last
    /// container is gone. Answers how many layers that were. After the storage driver's own sweep at start, and after
    /// removing a container whose image is gone already.
    pub fn collect(&self) -> Result<usize> {
        let _changing = self.change();
        let needed = self.read_index(Index::chains);
        let removed = self.layers.collect(&needed)?;
        let blobs = self.read_index(Index::blobs);
        let mut stale = Vec::new();
        self.content.walk(&mut |info| {
            if !blobs.contains(&info.digest) {
                stale.push(info.digest.clone());
            }
            Ok(())
        })?;
        // A pull that runs has written its documents perhaps, and not its record: it holds layers.
        if self.layers.is_idle() {
            for digest in stale {
                self.content.remove(&digest)?;
            }
        }
        Ok(removed)
    }

    fn read_index<T>(&self, read: impl FnOnce(&Index) -> T) -> T {
        read(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write_index<T>(&self, write: impl FnOnce(&mut Index) -> T) -> T {
        write(&mut self.index.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new empty directory that goes away with the answer.
    fn scratch(&self) -> Result<Scratch> {
        let number = self.next_scratch.fetch_add(1, Ordering::Relaxed);
        let path = self.scratch.join(number.to_string());
        stdx::fs::create_dir(&path, 0o700)?;
        Ok(Scratch { path })
    }
}

/// A directory for as long as something is being loaded.
#[derive(Debug)]
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = stdx::fs::remove_tree(&self.path) {
            tracing::warn!(%error, "scratch directory stays until the next start");
        }
    }
}

#[cfg(test)]
mod tests;
