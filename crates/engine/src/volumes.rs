//! Use cases about volumes.

mod table;

use crate::Engine;
use crate::mounts::random;
use std::collections::BTreeMap;
use std::path::PathBuf;
use stdx::{Error, Kind, Result};
use store::records::volume::VolumeRecord;

pub(crate) use table::{Known, LOCAL, Volumes, Wanted, no_such_volume};

/// A volume and where its content is.
#[derive(Debug, Clone)]
pub struct VolumeView {
    /// Its record.
    pub record: VolumeRecord,
    /// Its directory on the host.
    pub path: PathBuf,
    /// How many containers mount it, running or not.
    pub users: usize,
}

/// What a user asks for.
#[derive(Debug, Clone, Default)]
pub struct CreateVolume {
    /// Its name; empty: one is made up, and it is anonymous.
    pub name: String,
    /// Its driver; empty: `local`.
    pub driver: String,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

impl Engine {
    /// All volumes, by name.
    pub fn list_volumes(&self) -> Result<Vec<VolumeView>> {
        self.inner.volumes.all().into_iter().map(|known| self.volume_view(known)).collect()
    }

    /// One volume.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn inspect_volume(&self, name: &str) -> Result<VolumeView> {
        let known = self.inner.volumes.get(name).ok_or_else(|| no_such_volume(name))?;
        self.volume_view(known)
    }

    /// Bytes in a volume. Walks through it: blocking, for as long as it is large.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn volume_usage(&self, name: &str) -> Result<u64> {
        self.inner.volumes.usage(name)
    }

    /// Makes a volume; one of that name that exists is left as it is, and told.
    ///
    /// # Errors
    /// `NotFound` for a driver that is not there, `InvalidArgument` for a name or an option.
    pub async fn create_volume(&self, asked: CreateVolume) -> Result<VolumeView> {
        let mut wanted = Wanted {
            anonymous: asked.name.is_empty(),
            name: asked.name,
            driver: asked.driver,
            options: asked.options,
            labels: asked.labels,
        };
        if wanted.anonymous {
            wanted.name = volume::Name::anonymous(&random()?).to_string();
        }
        let engine = self.clone();
        let known = blocking(move || engine.inner.volumes.create(&wanted)).await?;
        self.volume_view(known)
    }

    /// Removes a volume. `force`: that there is none is success; one that is in use stays all the same.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when a container mounts it.
    pub async fn remove_volume(&self, name: &str, force: bool) -> Result<()> {
        let (engine, name) = (self.clone(), name.to_owned());
        match blocking(move || engine.inner.volumes.remove(&name)).await {
            Err(e) if force && e.kind() == Kind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Removes every volume that no container mounts, unless `keep` wants it; those with a name only if `all`. The names,
    /// and the bytes that came free.
    pub async fn prune_volumes(
        &self,
        all: bool,
        keep: impl Fn(&VolumeView) -> bool,
    ) -> Result<(Vec<String>, u64)> {
        let mut removed = Vec::new();
        let mut bytes = 0;
        for view in self.list_volumes()? {
            if view.users > 0 || !(all || view.record.anonymous) || keep(&view) {
                continue;
            }
            let name = view.record.name;
            let (engine, volume) = (self.clone(), name.clone());
            let outcome = blocking(move || {
                let size = engine.inner.volumes.usage(&volume).unwrap_or(0);
                engine.inner.volumes.remove(&volume).map(|()| size)
            });
            match outcome.await {
                Ok(size) => {
                    removed.push(name);
                    bytes += size;
                }
                // Mounted or removed by somebody else meanwhile.
                Err(e) if matches!(e.kind(), Kind::Conflict | Kind::NotFound) => {}
                Err(e) => return Err(e),
            }
        }
        let attributes = BTreeMap::from([("reclaimed".to_owned(), bytes.to_string())]);
        self.inner.events.publish("volume", "prune", "", attributes);
        Ok((removed, bytes))
    }

    fn volume_view(&self, known: Known) -> Result<VolumeView> {
        let Known { record, users } = known;
        let path = self.inner.volumes.path(&record.name)?;
        Ok(VolumeView { record, path, users })
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal(e.to_string()))?
}
