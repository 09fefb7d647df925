//! The containers of this daemon by id and by name.

use container::Container;
use std::collections::{BTreeMap, BTreeSet, HashMap};
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
    /// Who is linked to a container, by its id; what a link of theirs was taken away stays until they go.
    linked: HashMap<String, BTreeSet<String>>,
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
        if let Some(container) = tables.by_link(name) {
            return Ok(container);
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
        self.write().release(name, id);
    }

    /// Adds a container with its legacy links. Nobody finds it before `tell`, which must not wait for anything, has told of
    /// it: what it is told of next has come after that.
    pub(crate) fn insert(&self, id: &str, container: Container, tell: impl FnOnce()) {
        let record = container.now().record;
        let mut tables = self.write();
        for link in &record.links {
            tables.linked.entry(link.container.clone()).or_default().insert(id.to_owned());
        }
        tables.containers.insert(id.to_owned(), container);
        tell();
    }

    /// Takes a container out and gives its name back, at once: nobody sees one without the other.
    pub(crate) fn remove(&self, id: &str, name: &str) {
        let mut tables = self.write();
        tables.release(name, id);
        tables.containers.remove(id);
        tables.linked.remove(id);
        tables.linked.retain(|_, by| !by.remove(id) || !by.is_empty());
    }

    /// The containers that have a link to this one.
    pub(crate) fn linked_to(&self, id: &str) -> Vec<Container> {
        let tables = self.read();
        let by = tables.linked.get(id).into_iter().flatten();
        by.filter_map(|parent| tables.containers.get(parent).cloned()).collect()
    }

    pub(crate) fn all(&self) -> Vec<Container> {
        self.read().containers.values().cloned().collect()
    }
}

impl Tables {
    fn release(&mut self, name: &str, id: &str) {
        if self.names.get(name).is_some_and(|owner| owner == id) {
            self.names.remove(name);
        }
    }

    /// The container that another one knows by a further name: `web/db`.
    fn by_link(&self, name: &str) -> Option<Container> {
        let (parent, alias) = name.split_once('/')?;
        let parent = self.containers.get(self.names.get(parent)?)?.now().record;
        let link = parent.links.iter().find(|link| link.alias == alias)?;
        self.containers.get(&link.container).cloned()
    }
}
