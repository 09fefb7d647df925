//! Content that is elsewhere.

use bytes::Bytes;
use futures_core::Stream;
use oci::image::Descriptor;
use std::fmt::Debug;
use std::pin::Pin;
use stdx::Result;
use types::{Digest, ImageRef};

/// A future that can be sent between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Bytes that arrive by and by. It ends after the last byte, or with one error.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// A manifest or index as it arrived, its digest checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// What it is: media type as sent, digest and size of `bytes`.
    pub descriptor: Descriptor,
    /// The document.
    pub bytes: Bytes,
}

/// Where images come from.
///
/// Errors: [`stdx::Kind::NotFound`] when the other side does not have it (in Docker's words),
/// [`stdx::Kind::Unauthorized`], [`stdx::Kind::Forbidden`], [`stdx::Kind::DataLoss`] when it lies about digest or size,
/// [`stdx::Kind::Unavailable`] when it cannot be reached or gives up.
pub trait Fetcher: Send + Sync + Debug {
    /// The manifest or index that the reference's digest, or else its tag, or else `latest`, stands for.
    fn resolve<'a>(&'a self, reference: &'a ImageRef) -> BoxFuture<'a, Result<Resolved>>;

    /// A manifest of the repository by the descriptor that an index has of it.
    fn manifest<'a>(
        &'a self,
        reference: &'a ImageRef,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Resolved>>;

    /// A blob of the repository. The stream yields exactly `descriptor.size` bytes or ends with an error; the source
    /// takes up a broken transfer where it ended. Whoever reads checks the digest: the bytes are hashed anyway where
    /// they are used.
    fn fetch<'a>(
        &'a self,
        reference: &'a ImageRef,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<ByteStream>>;
}

/// Where images go to. Nobody implements it yet: pushing comes with its own issue.
pub trait Pusher: Send + Sync + Debug {
    /// Whether the repository has the blob already.
    fn has<'a>(
        &'a self,
        reference: &'a ImageRef,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<bool>>;

    /// Sends a blob of known digest and size.
    fn push<'a>(
        &'a self,
        reference: &'a ImageRef,
        descriptor: &'a Descriptor,
        bytes: ByteStream,
    ) -> BoxFuture<'a, Result<()>>;

    /// Sends a manifest whose blobs are all there, under the reference's tag or else its digest.
    fn tag<'a>(
        &'a self,
        reference: &'a ImageRef,
        manifest: &'a Resolved,
    ) -> BoxFuture<'a, Result<()>>;
}
