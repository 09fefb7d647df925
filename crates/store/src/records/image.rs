//! Records of images: what is here, and under which names.
//!
//! ```text
//!   names     docker.io/library/busybox:latest ──┐
//!             docker.io/library/busybox@sha256:… ┴─▶ image id
//!   images    sha256:… (digest of the configuration) ──▶ manifest, layers
//! ```
//!
//! The documents themselves are blobs in the content store; the layers are committed snapshots named by chain id.

use crate::Record;
use serde::{Deserialize, Serialize};
use stdx::time::Timestamp;
use types::Digest;

/// One image. Its key is its id: the digest of its configuration's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Digest of the configuration, which is a blob in the content store.
    pub id: Digest,
    /// The manifest it was pulled by, a blob in the content store; archives of `docker save` have none.
    pub manifest: Option<ManifestRecord>,
    /// The layers, lowest first.
    pub layers: Vec<LayerRecord>,
    /// The image that it was committed from here.
    #[serde(default)]
    pub parent: Option<Digest>,
    /// When it came to be here (not when it was made, which its configuration says).
    #[serde(with = "crate::time")]
    pub added: Timestamp,
    /// When a name was last put on it.
    #[serde(with = "crate::time")]
    pub tagged: Timestamp,
}

impl Record for ImageRecord {
    const TABLE: &'static str = "images";
}

/// The manifest of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestRecord {
    /// Digest of its bytes.
    pub digest: Digest,
    /// What sort of manifest it is.
    pub media_type: String,
    /// Length of its bytes.
    pub size: u64,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Digest of this layer and all below it; its hexadecimal part names the committed snapshot.
    pub chain_id: Digest,
    /// Bytes of file content in it, as `docker images` counts.
    pub size: u64,
    /// The archive as it was in the registry; not kept here.
    pub blob: Option<LayerBlob>,
}

/// A layer's archive as a registry has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerBlob {
    /// Digest of its bytes.
    pub digest: Digest,
    /// Length of its bytes.
    pub size: u64,
    /// What it is.
    pub media_type: String,
}

/// A name of an image. Its key is the full reference: `name:tag`, or `name@digest` for what was pulled under that digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecord {
    /// The image it means.
    pub image: Digest,
}

impl Record for NameRecord {
    const TABLE: &'static str = "image-names";
}
