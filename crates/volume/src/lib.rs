//! Contract: volume drivers.
//!
//! A *volume* is a directory that outlives the containers that mount it. Its *name* is all that a driver knows of it:
//! who uses it, its labels and whether its name was made up are in the engine's records.
//!
//! # Life of a volume
//!
//! 1. `create(name, options)` makes it; creating what is there already is success, as in Docker. An anonymous volume of a
//!    container that goes with its run (`--rm`) need not outlive a power cut, and then costs no fsync.
//! 2. `mount(name, user)` gives the directory that a container's bind mount comes from. A driver that attaches something
//!    (a network share) does so at the first user and detaches at the last `unmount`.
//! 3. `remove(name)` takes it and its content away; nobody may be using it, which the engine's records say.
//!
//! After a crash the engine compares its records with `list()`: what the driver has and no record names was being created
//! or removed.

#![forbid(unsafe_code)]

mod name;

pub use name::{InvalidName, Name};

use std::collections::BTreeMap;
use std::path::PathBuf;
use stdx::Result;
use stdx::fs::Durability;

/// Options of `docker volume create --opt`, as given.
pub type Options = BTreeMap<String, String>;

/// A place that volumes are kept in.
pub trait Driver: Send + Sync + std::fmt::Debug {
    /// Makes the volume; with [`Durability::Power`] it is on disk when this returns. One of that name that exists is left
    /// as it is.
    ///
    /// # Errors
    /// `InvalidArgument` for an option that the driver does not know; `NoSpace`.
    fn create(&self, name: &Name, options: &Options, durability: Durability) -> Result<()>;

    /// Takes the volume and everything in it away. That there is none is success.
    fn remove(&self, name: &Name) -> Result<()>;

    /// The directory with the volume's content, attached for `user` (a container's id).
    ///
    /// # Errors
    /// `NotFound` when there is no such volume.
    fn mount(&self, name: &Name, user: &str) -> Result<PathBuf>;

    /// `user` needs it no more. That it did not use it is success.
    fn unmount(&self, name: &Name, user: &str) -> Result<()>;

    /// Where the content is or would be, as `Mountpoint` in `docker volume inspect`. Nothing is looked at.
    fn path(&self, name: &Name) -> Result<PathBuf>;

    /// Bytes of the files in it, each file once whatever its names; what disappears meanwhile is not counted.
    ///
    /// # Errors
    /// `NotFound` when there is no such volume.
    fn usage(&self, name: &Name) -> Result<u64>;

    /// All volumes the driver has, by name.
    fn list(&self) -> Result<Vec<Name>>;
}
