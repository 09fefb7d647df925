//! Which volumes there are and who uses them.
//!
//! A container's record is the reference: it names the volumes that it mounts. This table is made of those records and of
//! the volumes' own when the daemon starts, so nothing has to be counted on disk and no crash can miscount. Its lock makes
//! "nobody uses it" and "I use it" one after the other: a volume is never removed under a container that is being made.
//!
//! Order on the host. Creating: directory, then record. Removing: record, then directory. So what a crash leaves is a
//! directory without a record, which [`Volumes::open`] removes.

use crate::events::Events;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use stdx::fs::Durability;
use stdx::time::Timestamp;
use stdx::{Error, Result, fail_point};
use store::Store;
use store::records::container::{ContainerRecord, MountKind};
use store::records::volume::{VolumeRecord, VolumeState};

/// The name of the one driver that there is.
pub(crate) const LOCAL: &str = "local";

#[derive(Debug)]
pub(crate) struct Volumes {
    driver: Arc<dyn volume::Driver>,
    store: Arc<Store>,
    events: Arc<Events>,
    table: Mutex<BTreeMap<String, Entry>>,
}

#[derive(Debug)]
struct Entry {
    record: VolumeRecord,
    /// Whether its record is in the store; that of a `--rm` container's anonymous volume is not.
    stored: bool,
    /// Containers that mount it.
    users: BTreeSet<String>,
    /// It is being removed: nobody may begin to use it.
    removing: bool,
}

/// A volume that a container needs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) anonymous: bool,
    pub(crate) driver: String,
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
}

/// A volume as the table knows it.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) record: VolumeRecord,
    pub(crate) users: usize,
}

impl Volumes {
    /// The volumes of the store and of `known` containers; what the driver has beside them was being made or removed when
    /// a daemon died, and goes.
    pub(crate) fn open(
        store: Arc<Store>,
        driver: Arc<dyn volume::Driver>,
        events: Arc<Events>,
        known: &HashMap<String, ContainerRecord>,
    ) -> Result<Self> {
        let entry =
            |record, stored| Entry { record, stored, users: BTreeSet::new(), removing: false };
        let mut table: BTreeMap<String, Entry> = BTreeMap::new();
        for (name, record) in store.all::<VolumeRecord>()? {
            table.insert(name, entry(record, true));
        }
        for container in known.values() {
            for mount in container.mounts.iter().filter(|m| m.kind == MountKind::Volume) {
                let Some(name) = &mount.name else { continue };
                let made_up = || {
                    let wanted = Wanted {
                        name: name.clone(),
                        anonymous: mount.anonymous,
                        driver: LOCAL.to_owned(),
                        ..Wanted::default()
                    };
                    entry(record_of(&wanted, container.created), false)
                };
                table
                    .entry(name.clone())
                    .or_insert_with(made_up)
                    .users
                    .insert(container.id.clone());
            }
        }
        for name in driver.list()? {
            if !table.contains_key(name.as_str()) {
                driver.remove(&name)?;
            }
        }
        Ok(Self { driver, store, events, table: Mutex::new(table) })
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.table.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// All volumes by name.
    pub(crate) fn all(&self) -> Vec<Known> {
        self.table().values().map(Entry::known).collect()
    }

    /// One volume.
    pub(crate) fn get(&self, name: &str) -> Option<Known> {
        self.table().get(name).map(Entry::known)
    }

    /// Where its content is.
    pub(crate) fn path(&self, name: &str) -> Result<PathBuf> {
        self.driver.path(&name.parse()?)
    }

    /// Bytes in a volume.
    pub(crate) fn usage(&self, name: &str) -> Result<u64> {
        self.driver.usage(&name.parse()?)
    }

    /// Makes a volume for nobody yet; one of that name that exists is left as it is.
    pub(crate) fn create(&self, wanted: &Wanted) -> Result<Known> {
        let mut table = self.table();
        if let Some(entry) = table.get(&wanted.name) {
            entry.usable()?;
            return Ok(entry.known());
        }
        let record = self.make(wanted, Durability::Power)?;
        fail_point!("volume.create.before-record");
        if let Err(e) = self.store.write(|batch| batch.put(&record.name, &record)) {
            self.unmake(&record.name);
            return Err(e);
        }
        fail_point!("volume.create.after-record");
        let entry = Entry { record, stored: true, users: BTreeSet::new(), removing: false };
        let known = entry.known();
        table.insert(wanted.name.clone(), entry);
        self.publish("create", &known.record, &[]);
        Ok(known)
    }

    /// Makes container `user` a user of `wanted`, creating those that are missing. The records that the caller must
    /// store with its own are returned; until then a crash forgets them. [`Self::release`] undoes it.
    pub(crate) fn acquire(
        &self,
        user: &str,
        wanted: &[Wanted],
        durability: Durability,
    ) -> Result<Vec<VolumeRecord>> {
        let mut created = Vec::new();
        for volume in wanted {
            if let Err(e) = self.acquire_one(user, volume, durability, &mut created) {
                self.release(user, wanted.iter().map(|w| w.name.as_str()));
                return Err(e);
            }
        }
        Ok(created)
    }

    fn acquire_one(
        &self,
        user: &str,
        wanted: &Wanted,
        durability: Durability,
        created: &mut Vec<VolumeRecord>,
    ) -> Result<()> {
        let mut table = self.table();
        if let Some(entry) = table.get_mut(&wanted.name) {
            entry.usable()?;
            entry.users.insert(user.to_owned());
            if !entry.stored && !entry.record.anonymous {
                // Whoever made it may still fail: each of its users stores it.
                created.push(entry.record.clone());
            }
            return Ok(());
        }
        // What somebody gave a name outlives the container, whatever becomes of that.
        let durability = if wanted.anonymous { durability } else { Durability::Power };
        let record = self.make(wanted, durability)?;
        let users = BTreeSet::from([user.to_owned()]);
        self.publish("create", &record, &[]);
        if durability == Durability::Power {
            created.push(record.clone());
        }
        let entry = Entry { record, stored: false, users, removing: false };
        table.insert(wanted.name.clone(), entry);
        Ok(())
    }

    /// The caller has stored these records.
    pub(crate) fn stored(&self, records: &[VolumeRecord]) {
        let mut table = self.table();
        for record in records {
            if let Some(entry) = table.get_mut(&record.name) {
                entry.stored = true;
            }
        }
    }

    /// Container `user` mounts these no more. A volume that nobody uses and no record names was made for it, and goes.
    pub(crate) fn release<'a>(&self, user: &str, names: impl Iterator<Item = &'a str>) {
        let mut table = self.table();
        for name in names {
            let Some(entry) = table.get_mut(name) else { continue };
            entry.users.remove(user);
            if entry.users.is_empty()
                && (entry.removing || !entry.stored)
                && let Some(entry) = table.remove(name)
            {
                self.unmake(name);
                self.publish("destroy", &entry.record, &[]);
            }
        }
    }

    /// The anonymous volumes among `names` that `user` alone uses, from now on closed to others: they go with it.
    /// [`Self::release`] removes them, [`Self::keep`] lets them stay.
    pub(crate) fn claim<'a>(
        &self,
        user: &str,
        names: impl Iterator<Item = &'a str>,
    ) -> Vec<String> {
        let mut table = self.table();
        let mut claimed = Vec::new();
        for name in names {
            let Some(entry) = table.get_mut(name) else { continue };
            let alone = entry.users.iter().all(|u| u == user);
            if alone && !entry.removing && entry.record.anonymous {
                entry.removing = true;
                claimed.push(name.to_owned());
            }
        }
        claimed
    }

    /// Undoes [`Self::claim`].
    pub(crate) fn keep(&self, names: &[String]) {
        let mut table = self.table();
        for name in names {
            if let Some(entry) = table.get_mut(name) {
                entry.removing = false;
            }
        }
    }

    /// Removes a volume that nobody uses.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let stored = {
            let mut table = self.table();
            let entry = table.get_mut(name).ok_or_else(|| no_such_volume(name))?;
            if !entry.users.is_empty() {
                let users: Vec<&str> = entry.users.iter().map(String::as_str).collect();
                return Err(Error::conflict(format!(
                    "remove {name}: volume is in use - [{}]",
                    users.join(", ")
                )));
            }
            entry.usable()?;
            entry.removing = true;
            entry.stored
        };
        // Nobody can begin to use it now, so what takes long is done without the lock.
        if stored {
            let removed = self.store.write_freeing(|batch| batch.remove::<VolumeRecord>(name));
            if let Err(e) = removed {
                self.keep(&[name.to_owned()]);
                return Err(e);
            }
        }
        fail_point!("volume.remove.after-record");
        let removed = name.parse().map_err(Error::from).and_then(|name| self.driver.remove(&name));
        if let Some(entry) = self.table().remove(name) {
            self.publish("destroy", &entry.record, &[]);
        }
        removed
    }

    /// Attaches the volumes of a container that starts.
    pub(crate) fn attach(&self, record: &ContainerRecord) -> Result<()> {
        for mount in record.mounts.iter().filter(|m| m.kind == MountKind::Volume) {
            let Some(name) = &mount.name else { continue };
            self.driver.mount(&name.parse()?, &record.id)?;
            self.publish_mount(
                "mount",
                record,
                name,
                &[
                    ("destination", mount.destination.clone()),
                    ("propagation", mount.propagation.clone()),
                    ("read/write", mount.rw.to_string()),
                ],
            );
        }
        Ok(())
    }

    /// Detaches the volumes of a container that has ended.
    pub(crate) fn detach(&self, record: &ContainerRecord) {
        for mount in record.mounts.iter().filter(|m| m.kind == MountKind::Volume) {
            let Some(name) = &mount.name else { continue };
            let detached =
                name.parse().map_err(Error::from).and_then(|n| self.driver.unmount(&n, &record.id));
            if let Err(e) = detached {
                tracing::warn!(volume = %name, "unmount: {e}");
            }
            self.publish_mount("unmount", record, name, &[]);
        }
    }

    fn make(&self, wanted: &Wanted, durability: Durability) -> Result<VolumeRecord> {
        let worded =
            |e: Error| Error::new(e.kind(), format!("create {}", wanted.name)).caused_by(e);
        if !matches!(wanted.driver.as_str(), "" | LOCAL) {
            let driver = &wanted.driver;
            return Err(worded(Error::not_found(format!(
                "error looking up volume plugin {driver}: plugin \"{driver}\" not found"
            ))));
        }
        let name: volume::Name = wanted.name.parse().map_err(|e: volume::InvalidName| {
            Error::invalid(format!("create {}: {e}", wanted.name))
        })?;
        self.driver.create(&name, &wanted.options, durability).map_err(worded)?;
        Ok(record_of(wanted, Timestamp::now()))
    }

    /// Takes a directory away that no record names any more; what fails is done at the next start.
    fn unmake(&self, name: &str) {
        let removed = name.parse().map_err(Error::from).and_then(|n| self.driver.remove(&n));
        if let Err(e) = removed {
            tracing::warn!(volume = %name, "left for the next start: {e}");
        }
    }

    fn publish(&self, action: &str, record: &VolumeRecord, more: &[(&str, String)]) {
        let mut attributes = BTreeMap::from([("driver".to_owned(), record.driver.clone())]);
        attributes.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        self.events.publish("volume", action, &record.name, attributes);
    }

    fn publish_mount(
        &self,
        action: &str,
        container: &ContainerRecord,
        name: &str,
        more: &[(&str, String)],
    ) {
        let mut attributes = BTreeMap::from([
            ("container".to_owned(), container.id.clone()),
            ("driver".to_owned(), LOCAL.to_owned()),
        ]);
        attributes.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        self.events.publish("volume", action, name, attributes);
    }
}

impl Entry {
    fn known(&self) -> Known {
        Known { record: self.record.clone(), users: self.users.len() }
    }

    fn usable(&self) -> Result<()> {
        if self.removing {
            let name = &self.record.name;
            return Err(Error::conflict(format!("volume {name} is being removed; try again")));
        }
        Ok(())
    }
}

/// Docker's words for a volume that is not there.
pub(crate) fn no_such_volume(name: &str) -> Error {
    Error::not_found(format!("get {name}: no such volume"))
}

fn record_of(wanted: &Wanted, created: Timestamp) -> VolumeRecord {
    VolumeRecord {
        name: wanted.name.clone(),
        driver: LOCAL.to_owned(),
        created: created.to_string(),
        labels: wanted.labels.clone(),
        options: wanted.options.clone(),
        anonymous: wanted.anonymous,
        state: VolumeState::Ready,
    }
}

#[cfg(test)]
mod tests;
