//! The containers of this daemon by id and by name.

use container::Container;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use stdx::{Error, Result};

/// Every container, and every name in use. A name is reserved before its container exists.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    tables: RwLock<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    containers: BTreeMap<String, Container>,
    /// Name to id.
    names: HashMap<String, String>,
}

impl Registry {
    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The container that a user means: by whole id, name, or a prefix that only one id has.
    pub(crate) fn find(&self, named: &str) -> Result<Container> {
        let unknown = || Error::not_found(format!("No such container: {named}"));
        let tables = self.read();
        let name = named.strip_prefix('/').unwrap_or(named);
        if name.is_empty() {
            return Err(unknown());
        }
        if let Some(container) = tables.containers.get(name) {
            return Ok(container.clone());
        }
        if let Some(container) = tables.names.get(name).and_then(|id| tables.containers.get(id)) {
            return Ok(container.clone());
        }
        let mut with_prefix = tables
            .containers
            .range::<str, _>((Bound::Included(name), Bound::Unbounded))
            .take_while(|(id, _)| id.starts_with(name));
        match (with_prefix.next(), with_prefix.next()) {
            (Some((_, container)), None) => Ok(container.clone()),
            (Some(_), Some(_)) => {
                Err(Error::invalid(format!("multiple IDs found with provided prefix: {name}")))
            }
            (None, _) => Err(unknown()),
        }
    }

    /// Reserves a name. The error is what Docker says when it is taken.
    pub(crate) fn reserve(&self, name: &str, id: &str) -> Result<()> {
        let mut tables = self.write();
        if let Some(owner) = tables.names.get(name) {
            return Err(Error::conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{owner}\". You have to remove \
                 (or rename) that container to be able to reuse that name."
            )));
        }
        tables.names.insert(name.to_owned(), id.to_owned());
        Ok(())
    }

    /// Gives a name back, unless another container has it by now.
    pub(crate) fn release(&self, name: &str, id: &str) {
        let mut tables = self.write();
        if tables.names.get(name).is_some_and(|owner| owner == id) {
            tables.names.remove(name);
        }
    }

    pub(crate) fn insert(&self, id: &str, container: Container) {
        self.write().containers.insert(id.to_owned(), container);
    }

    pub(crate) fn remove(&self, id: &str) {
        self.write().containers.remove(id);
    }

    pub(crate) fn all(&self) -> Vec<Container> {
        self.read().containers.values().cloned().collect()
    }
}
