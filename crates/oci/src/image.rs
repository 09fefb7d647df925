//! Image documents: descriptors, manifests, indexes and configurations.
//!
//! ```text
//!   Index ──▶ Manifest ──▶ ImageConfig   (what to run, and the diff ids of the layers)
//!                  └─────▶ layer, layer, …   (archives, usually compressed)
//! ```
//!
//! Both spellings of each are read: OCI image-spec 1.1 and Docker's "Image Manifest V2, Schema 2". A digest is always
//! taken of the bytes that arrived, never of a document written anew, so these types need not keep what they do not know.

mod config;
mod manifest;

pub use config::{Empty, Healthcheck, History, ImageConfig, RootFs, RunConfig};
pub use manifest::{
    Descriptor, DescriptorPlatform, Document, Index, InvalidDocument, MAX_CONFIG, MAX_DOCUMENT,
    MAX_LAYERS, Manifest,
};

/// Media types that mean something to us.
pub mod media {
    /// OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI image configuration.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// OCI layer, uncompressed.
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer, gzip.
    pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer, zstd.
    pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker schema 2 manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker image configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker layer, gzip in name, anything in practice.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker layer, uncompressed.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

    /// What a client that wants an image says it accepts, best first.
    pub const ACCEPT: [&str; 4] = [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST];

    /// Whether this is a configuration of a container image.
    pub fn is_config(media_type: &str) -> bool {
        // Old tools pushed octet-stream; Docker accepts it too.
        matches!(media_type, OCI_CONFIG | DOCKER_CONFIG | "application/octet-stream" | "")
    }

    /// Whether this is a layer that we can unpack. How it is compressed is read from its first bytes, because names lie.
    pub fn is_layer(media_type: &str) -> bool {
        matches!(
            media_type,
            OCI_LAYER | OCI_LAYER_GZIP | OCI_LAYER_ZSTD | DOCKER_LAYER | DOCKER_LAYER_GZIP
        ) || matches!(
            media_type,
            "application/vnd.docker.image.rootfs.diff.tar.zstd"
                | "application/vnd.docker.image.rootfs.diff.tar+gzip"
                | "application/vnd.docker.image.rootfs.diff.tar+zstd"
                | "application/vnd.oci.image.layer.nondistributable.v1.tar"
                | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
                | "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
        )
    }
}
