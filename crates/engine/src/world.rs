//! What container drivers ask of the engine: keep records, tell events, forget containers.

use crate::containers::links;
use crate::events::Events;
use crate::exec::Execs;
use crate::janitor::{Janitor, throw_away};
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::networks::Networks;
use crate::registry::Registry;
use crate::userns::Ranges;
use crate::volumes::Volumes;
use container::{Endpoints, Measured, Paths, Save, World};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stdx::fs::{Durability, replace};
use stdx::{Error, Result, fail_point};
use store::Store;
use store::records::container::{ContainerRecord, MountKind};
use store::records::volume::VolumeRecord;
use tokio::sync::Notify;

/// The exit code of what the end of its container killed.
const KILLED: i32 = 137;

/// How long a record may wait for company. Until then the exec-root holds what is needed to know its exit again.
const GATHER: Duration = Duration::from_millis(200);

/// Where container records go: the store, or a file in the exec-root for `--rm`.
#[derive(Debug)]
pub(crate) struct Records {
    store: Arc<Store>,
    paths: Paths,
    dirty: Mutex<HashMap<String, Arc<ContainerRecord>>>,
    /// Held from the choice of what to write until it is written, so that a removed record is not written again.
    turn: Mutex<()>,
    wake: Notify,
}

impl Records {
    pub(crate) fn new(store: Arc<Store>, paths: Paths) -> Self {
        Self { store, paths, dirty: Mutex::default(), turn: Mutex::default(), wake: Notify::new() }
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Keeps a new container with the volumes that were made for it: one transaction. With `--rm` it costs no fsync,
    /// unless somebody gave one of the volumes a name: that one stays.
    pub(crate) fn create(&self, record: &ContainerRecord, volumes: &[VolumeRecord]) -> Result<()> {
        if record.host.auto_remove {
            if !volumes.is_empty() {
                self.store.write(|batch| volumes.iter().try_for_each(|v| batch.put(&v.name, v)))?;
            }
            return self.write_file(record);
        }
        self.store.write(|batch| {
            for volume in volumes {
                batch.put(&volume.name, volume)?;
            }
            batch.put(&record.id, record)
        })
    }

    fn write_file(&self, record: &ContainerRecord) -> Result<()> {
        let folder = self.paths.exec_of(&record.id);
        stdx::fs::create_dir(&folder, 0o700)?;
        let bytes = serde_json::to_vec(record)
            .map_err(|e| Error::internal("encode record").caused_by(e))?;
        replace(&folder.join("record.json"), &bytes, 0o600, Durability::Process)
    }

    fn turn(&self) -> std::sync::MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn dirty(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<ContainerRecord>>> {
        self.dirty.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Writes changed records in batches, for as long as the daemon runs.
    pub(crate) async fn keep_flushing(self: Arc<Self>) {
        loop {
            self.wake.notified().await;
            tokio::time::sleep(GATHER).await;
            let records = Arc::clone(&self);
            let flushed = tokio::task::spawn_blocking(move || records.flush()).await;
            if let Ok(Err(e)) = flushed {
                tracing::error!("write records: {e}");
            }
        }
    }

    /// Writes what waits.
    pub(crate) fn flush(&self) -> Result<()> {
        let _turn = self.turn();
        let records = std::mem::take(&mut *self.dirty());
        if records.is_empty() {
            return Ok(());
        }
        let result = self.store.write(|batch| {
            for record in records.values() {
                batch.put(&record.id, record.as_ref())?;
            }
            Ok(())
        });
        if result.is_err() {
            // They wait for the next change, unless a newer one waits already.
            let mut dirty = self.dirty();
            for (id, record) in records {
                dirty.entry(id).or_insert(record);
            }
        }
        result
    }

    fn save(&self, record: &Arc<ContainerRecord>, when: Save) -> Result<()> {
        match (when, record.host.auto_remove) {
            (Save::Now, true) => self.write_file(record),
            (Save::Soon | Save::Eventually, true) => Ok(()),
            (Save::Now, false) => {
                let _turn = self.turn();
                self.dirty().remove(&record.id);
                self.store.write(|batch| batch.put(&record.id, record.as_ref()))
            }
            (when, false) => {
                self.dirty().insert(record.id.clone(), Arc::clone(record));
                if when == Save::Soon {
                    self.wake.notify_one();
                }
                Ok(())
            }
        }
    }

    /// The commit point of a removal: after this the container's folders have no owner.
    fn forget(&self, record: &ContainerRecord, volumes: &[String]) -> Result<()> {
        if record.host.auto_remove {
            return stdx::fs::remove_file(&self.paths.exec_of(&record.id).join("record.json"));
        }
        let _turn = self.turn();
        self.dirty().remove(&record.id);
        self.store.write_freeing(|batch| {
            for volume in volumes {
                batch.remove::<VolumeRecord>(volume)?;
            }
            batch.remove::<ContainerRecord>(&record.id)
        })
    }
}

/// The engine as its drivers see it.
#[derive(Debug)]
pub(crate) struct EngineWorld {
    pub(crate) records: Arc<Records>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) events: Arc<Events>,
    pub(crate) execs: Arc<Execs>,
    pub(crate) logs: Arc<Logs>,
    pub(crate) snapshots: Arc<dyn snapshot::Snapshotter>,
    pub(crate) volumes: Arc<Volumes>,
    pub(crate) ranges: Arc<Ranges>,
    pub(crate) janitor: Arc<Janitor>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) paths: Paths,
    pub(crate) networks: Arc<Networks>,
    /// Held from the question who is linked to whom until the drivers know.
    pub(crate) linking: Mutex<()>,
}

impl World for EngineWorld {
    fn event(&self, record: &ContainerRecord, action: &str, attributes: &[(&str, String)]) {
        publish(&self.events, record, action, attributes);
    }

    fn save(&self, record: &Arc<ContainerRecord>, when: Save) -> Result<()> {
        self.records.save(record, when)
    }

    fn forget(&self, record: &ContainerRecord, volumes: bool) -> Result<()> {
        let anonymous =
            if volumes { self.volumes.claim(&record.id, volumes_of(record)) } else { Vec::new() };
        self.logs.before_removal(record);
        if let Err(e) = self.records.forget(record, &anonymous) {
            self.volumes.keep(&anonymous);
            return Err(e);
        }
        fail_point!("container.remove.after-record");
        // From here on nothing can fail the removal: what stays is swept at the next start.
        self.execs.forget(&record.id);
        let thrown = self.throw_away(record);
        self.volumes.release(&record.id, volumes_of(record));
        if record.user_namespace.is_some() {
            self.ranges.release(&record.id);
        }
        self.registry.remove(&record.id, &record.name);
        self.janitor.wake();
        if let Err(e) = thrown {
            tracing::warn!(container = %record.id, "left for the next start: {e}");
        }
        Ok(())
    }

    fn peer(&self, name: &str) -> Result<container::join::Peer> {
        let now = self.registry.find(name)?.now();
        let pid = now.phase.live().map(|live| live.pid);
        Ok(container::join::Peer { record: now.record, pid, endpoints: now.endpoints })
    }

    fn follow(&self, id: &str) -> Option<container::Container> {
        self.registry.find(id).ok()
    }

    fn moved(&self, id: &str) {
        for linked in self.registry.linked_to(id) {
            linked.refresh_links();
        }
        // Others that started at the same time have not seen it run yet, and left out what it may.
        if let Ok(own) = self.registry.find(id)
            && !own.now().record.links.is_empty()
        {
            own.refresh_links();
        }
    }

    fn link(&self, joined: Option<(&ContainerRecord, &Endpoints)>) -> Result<()> {
        let concerned = |(record, _): (&ContainerRecord, &Endpoints)| {
            !record.links.is_empty() || !self.registry.linked_to(&record.id).is_empty()
        };
        // As a rule nobody is linked, which is found out first.
        if !joined.is_none_or(concerned) || !self.networks.keeps_apart() {
            return Ok(());
        }
        // What is found out last is also said last.
        let _one = self.linking.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.networks.link(links::links(&self.registry, joined))
    }

    fn attach_volumes(&self, record: &ContainerRecord) -> Result<()> {
        self.volumes.attach(record)
    }

    fn detach_volumes(&self, record: &ContainerRecord) {
        self.volumes.detach(record);
    }

    fn measured(&self, what: Measured) {
        self.metrics.measured(what);
    }

    fn exec_ended(&self, record: &ContainerRecord, exec: &str, code: i32) {
        self.execs.ended(exec, code);
        let attributes = [("execID", exec.to_owned()), ("exitCode", code.to_string())];
        publish(&self.events, record, "exec_die", &attributes);
    }

    fn execs_ended(&self, record: &ContainerRecord) {
        for exec in self.execs.running_in(&record.id) {
            self.exec_ended(record, &exec, KILLED);
        }
    }
}

impl EngineWorld {
    fn throw_away(&self, record: &ContainerRecord) -> Result<()> {
        let data = if self.logs.after_removal(&record.id) {
            Ok(())
        } else {
            throw_away(&self.paths.data_of(&record.id), &self.paths.data.join("trash"))
        };
        let results = [
            throw_away(&self.paths.exec_of(&record.id), &self.paths.exec.join("trash")),
            data,
            snapshot::Key::new(&record.id)
                .map_err(Error::from)
                .and_then(|key| self.snapshots.remove_active(&key)),
        ];
        results.into_iter().collect()
    }
}

/// The names of the volumes that a container mounts.
fn volumes_of(record: &ContainerRecord) -> impl Iterator<Item = &str> {
    let volumes = record.mounts.iter().filter(|m| m.kind == MountKind::Volume);
    volumes.filter_map(|m| m.name.as_deref())
}

/// A container's event: its image, name and labels are always among the attributes.
pub(crate) fn publish(
    events: &Events,
    record: &ContainerRecord,
    action: &str,
    attributes: &[(&str, String)],
) {
    let mut all: BTreeMap<String, String> = record.config.labels.clone();
    all.insert("image".to_owned(), record.config.image.clone());
    all.insert("name".to_owned(), record.name.clone());
    all.extend(attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    events.publish("container", action, &record.id, all);
}

/// Tells of what a client did with a container. A container that goes meanwhile is told to be gone, and nothing of it
/// after that.
pub(crate) fn tell(
    events: &Events,
    container: &container::Container,
    action: &str,
    attributes: &[(&str, String)],
) {
    container.while_there(|now| publish(events, &now.record, action, attributes));
}

/// A `--rm` container's record that an earlier daemon wrote.
pub(crate) fn read_record_file(folder: &Path) -> Option<ContainerRecord> {
    serde_json::from_slice(&std::fs::read(folder.join("record.json")).ok()?).ok()
}
