//! Contract: digest-addressed blobs.
//!
//! A *blob* is some bytes under the digest of those bytes. It is written once, becomes visible whole, and never changes.
//!
//! ```text
//!   Ingester::writer(expected) ─▶ Writer ── write, write, … ── commit ─▶ Provider::{info, open, read}
//!                                    │                                             │
//!                                    └── dropped: as if it had never been     Manager::{remove, walk}
//! ```
//!
//! # Storing
//!
//! Say what is expected, write, commit. The store hashes while it writes, so that a blob whose bytes are not those of its
//! digest cannot come into being: commit fails with [`stdx::Kind::DataLoss`]. After a commit the blob survives a power
//! cut. Committing what is there already is success.
//!
//! # Who keeps whom
//!
//! The store does not know why a blob is wanted; who removes one knows that nobody else needs it. Layers of images are
//! not kept here: they stream from the registry into snapshots (see `image`), only manifests and configurations are.
//!
//! # Far away
//!
//! [`Fetcher`] and [`Pusher`] are registries, or what acts like one. They alone are asynchronous, since they wait for
//! networks; the boxed futures and streams need no runtime of a particular make.

#![forbid(unsafe_code)]

#[cfg(feature = "suite")]
pub mod mem;
mod remote;
#[cfg(feature = "suite")]
pub mod suite;

pub use remote::{BoxFuture, ByteStream, Fetcher, Pusher, Resolved};

use std::fmt::Debug;
use std::io::{Read, Write};
use stdx::{Error, Kind, Result};
use types::Digest;

/// What is known of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Its name.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// What a blob must turn out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The digest of all bytes.
    pub digest: Digest,
    /// The number of all bytes, if known; writing more fails at once.
    pub size: Option<u64>,
}

/// Reads blobs.
pub trait Provider: Send + Sync + Debug {
    /// [`Kind::NotFound`] when it is not here.
    fn info(&self, digest: &Digest) -> Result<Info>;

    /// The bytes from the start. They are as they were when committed unless the disk damaged them: who must know,
    /// hashes (as [`read`](Self::read) does). [`Kind::NotFound`] when it is not here.
    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + Send>>;

    /// All bytes, for small documents, hashed again: [`Kind::DataLoss`] when the disk damaged them or there are more than
    /// `limit` bytes.
    fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>>;
}

/// Writes blobs.
pub trait Ingester: Send + Sync + Debug {
    /// Begins a blob. Several writers of the same digest at a time are fine.
    fn writer(&self, expected: Expected) -> Result<Box<dyn Writer>>;
}

/// A blob that is being written. Dropping it without [`commit`](Self::commit) forgets it.
pub trait Writer: Write + Send + Debug {
    /// Makes the blob visible and durable, if it is what was expected: [`Kind::DataLoss`] otherwise.
    fn commit(self: Box<Self>) -> Result<Info>;
}

/// Forgets blobs.
pub trait Manager: Send + Sync + Debug {
    /// That it is gone already is success.
    fn remove(&self, digest: &Digest) -> Result<()>;

    /// Shows every blob, in no particular order, until `visit` errs.
    fn walk(&self, visit: &mut dyn FnMut(&Info) -> Result<()>) -> Result<()>;
}

/// All of it; implemented by whatever implements the three.
pub trait Store: Provider + Ingester + Manager {}
impl<T: Provider + Ingester + Manager> Store for T {}

/// Stores bytes that are at hand.
pub fn put(store: &dyn Ingester, digest: &Digest, bytes: &[u8]) -> Result<Info> {
    let expected = Expected { digest: digest.clone(), size: Some(bytes.len() as u64) };
    let mut writer = store.writer(expected)?;
    writer.write_all(bytes).map_err(write_error)?;
    writer.commit()
}

/// The text of a blob that is not here.
pub fn not_found(digest: &Digest) -> Error {
    Error::not_found(format!("content {digest} is not here"))
}

/// The error of a [`Writer`]'s `write` as one of ours. Writers put theirs inside of [`std::io::Error`].
pub fn write_error(error: std::io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(ours) => ours,
        Err(error) => Error::io("write content", error),
    }
}

/// The error of content that is not what its name says.
pub fn mismatch(expected: &Digest, actual: &Digest) -> Error {
    Error::new(Kind::DataLoss, format!("content {expected} arrived as {actual}"))
}

/// The error of content of the wrong length.
pub fn wrong_size(digest: &Digest, expected: u64, actual: u64) -> Error {
    Error::new(Kind::DataLoss, format!("content {digest} has {actual} bytes instead of {expected}"))
}
