//! The engine's durable memory: typed records in one file.
//!
//! ```text
//! DATA-ROOT/store.redb     one table a record type, key → JSON
//! ```
//!
//! What must survive a power cut is here (containers, images, volumes, networks); what must only survive the daemon's
//! death is in small files under the exec-root. A [`Store::write`] is one transaction: all of it or nothing, synced when
//! it returns, which takes one fdatasync. After a crash redb reads the file through once when it opens it: 20 ms for the
//! records of a thousand containers.

#![forbid(unsafe_code)]

pub mod records;
mod time;

use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use stdx::{Error, Kind, Result};

/// A kind of record: its table and its form.
pub trait Record: Serialize + DeserializeOwned {
    /// The table's name, fixed for ever.
    const TABLE: &'static str;
}

/// The open file.
#[derive(Debug)]
pub struct Store {
    db: redb::Database,
    /// Space that is given up when removing needs some and there is none.
    reserve: PathBuf,
}

/// Bytes of the reserve.
const RESERVE: u64 = 4 << 20;
/// With less space than this nothing is written that does not free some: a transaction that fails half-way would leave
/// the database closed to all further writing until the daemon is started anew.
const LEAST: u64 = 1 << 20;

impl Store {
    /// Opens or creates the store. Only one process can have it open.
    pub fn open(path: &Path) -> Result<Self> {
        let db = redb::Database::create(path).map_err(|e| {
            Error::new(Kind::Internal, format!("open store {}", path.display())).caused_by(e)
        })?;
        let store = Self { db, reserve: path.with_extension("reserve") };
        store.keep_reserve();
        Ok(store)
    }

    /// Sets the reserve aside if there is plenty of space and it is not there.
    fn keep_reserve(&self) {
        if self.reserve.exists() || self.free().is_none_or(|free| free < 4 * RESERVE) {
            return;
        }
        let made = std::fs::File::create(&self.reserve).and_then(|file| {
            Ok(rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, RESERVE)?)
        });
        if made.is_err() {
            // A reserve that is no reserve would only be in the way.
            let _gone = std::fs::remove_file(&self.reserve);
        }
    }

    /// Bytes free where the store is.
    fn free(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(self.reserve.parent()?).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// The record under `key`.
    pub fn get<R: Record>(&self, key: &str) -> Result<Option<R>> {
        let read = self.db.begin_read().map_err(broken)?;
        let table = match read.open_table(definition::<R>()) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(e) => return Err(broken(e)),
        };
        table.get(key).map_err(broken)?.map(|bytes| decode::<R>(key, bytes.value())).transpose()
    }

    /// All records of a kind, by key.
    pub fn all<R: Record>(&self) -> Result<Vec<(String, R)>> {
        let read = self.db.begin_read().map_err(broken)?;
        let table = match read.open_table(definition::<R>()) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(e) => return Err(broken(e)),
        };
        let mut records = Vec::new();
        for entry in table.iter().map_err(broken)? {
            let (key, bytes) = entry.map_err(broken)?;
            records.push((key.value().to_owned(), decode::<R>(key.value(), bytes.value())?));
        }
        Ok(records)
    }

    /// One transaction. It is on disk when this returns `Ok` (one fdatasync), and nothing of it is when it does not.
    ///
    /// One-phase commit: checksums tell a torn transaction from a whole one. Two phases (redb's quick-repair) would cost
    /// every start of a container a second fdatasync; they help only against values that were made to collide.
    pub fn write<T>(&self, change: impl FnOnce(&mut Batch<'_>) -> Result<T>) -> Result<T> {
        if self.free().is_some_and(|free| free < LEAST) {
            let folder = self.reserve.parent().unwrap_or(Path::new("/")).display();
            return Err(Error::new(Kind::NoSpace, format!("no space left on device: {folder}")));
        }
        self.commit(change)
    }

    /// As [`write`](Self::write), for what makes space: it works on a full disk too, by giving up the reserve.
    pub fn write_freeing<T>(&self, change: impl FnOnce(&mut Batch<'_>) -> Result<T>) -> Result<T> {
        if self.free().is_some_and(|free| free < LEAST) {
            stdx::fs::remove_file(&self.reserve)?;
            return self.commit(change);
        }
        let done = self.commit(change);
        self.keep_reserve();
        done
    }

    fn commit<T>(&self, change: impl FnOnce(&mut Batch<'_>) -> Result<T>) -> Result<T> {
        let transaction = self.db.begin_write().map_err(broken)?;
        let value = change(&mut Batch { transaction: &transaction })?;
        transaction.commit().map_err(broken)?;
        Ok(value)
    }
}

/// Changes that become true together.
pub struct Batch<'a> {
    transaction: &'a redb::WriteTransaction,
}

impl std::fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Batch")
    }
}

impl Batch<'_> {
    /// Writes a record, replacing what was under `key`.
    pub fn put<R: Record>(&mut self, key: &str, record: &R) -> Result<()> {
        let bytes = serde_json::to_vec(record)
            .map_err(|e| Error::internal(format!("encode {} {key}", R::TABLE)).caused_by(e))?;
        let mut table = self.transaction.open_table(definition::<R>()).map_err(broken)?;
        table.insert(key, bytes.as_slice()).map_err(broken)?;
        Ok(())
    }

    /// Removes the record under `key`, if any.
    pub fn remove<R: Record>(&mut self, key: &str) -> Result<()> {
        let mut table = self.transaction.open_table(definition::<R>()).map_err(broken)?;
        table.remove(key).map_err(broken)?;
        Ok(())
    }
}

fn definition<R: Record>() -> TableDefinition<'static, &'static str, &'static [u8]> {
    TableDefinition::new(R::TABLE)
}

fn decode<R: Record>(key: &str, bytes: &[u8]) -> Result<R> {
    serde_json::from_slice(bytes).map_err(|e| {
        Error::new(Kind::DataLoss, format!("record {} {key} is damaged", R::TABLE)).caused_by(e)
    })
}

fn broken(error: impl Into<redb::Error>) -> Error {
    let error = error.into();
    let kind = match &error {
        redb::Error::Io(e) => stdx::error::kind_of_io(e),
        redb::Error::Corrupted(_) => Kind::DataLoss,
        _ => Kind::Internal,
    };
    Error::new(kind, "store").caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Thing {
        n: u32,
    }
    impl Record for Thing {
        const TABLE: &'static str = "things";
    }

    #[test]
    fn a_failed_transaction_leaves_nothing() {
        let dir = std::env::temp_dir().join(format!("store-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("store.redb");
        let store = Store::open(&path).unwrap();
        assert_eq!(store.get::<Thing>("a").unwrap(), None);
        store.write(|b| b.put("a", &Thing { n: 1 })).unwrap();
        let failed: Result<()> = store.write(|b| {
            b.put("a", &Thing { n: 2 })?;
            Err(Error::internal("no"))
        });
        assert!(failed.is_err());
        drop(store);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.all::<Thing>().unwrap(), [("a".to_owned(), Thing { n: 1 })]);
        store.write(|b| b.remove::<Thing>("a")).unwrap();
        assert!(store.all::<Thing>().unwrap().is_empty());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
