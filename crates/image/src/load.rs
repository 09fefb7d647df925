//! From an archive to images: what `docker save`, skopeo and buildah write.
//!
//! | in the archive | format | images |
//! |---|---|---|
//! | `manifest.json` | docker-archive (`docker save` of any age) | each element: configuration, layers, tags |
//! | `oci-layout`, `index.json` | OCI image layout (`skopeo copy … oci-archive:`) | each manifest for this host |
//!
//! `docker save` since 25 writes both; then `manifest.json` is used, as Docker does.

use crate::Images;
use crate::archive::{Archive, Used};
use crate::assemble::{Part, Parts, Source};
use crate::chain::sha256;
use crate::model::Image;
use crate::progress::Progress;
use crate::pull::check_manifest;
use oci::image::{Descriptor, Document, Index, MAX_CONFIG, MAX_DOCUMENT, MAX_LAYERS};
use serde::Deserialize;
use std::io::Read;
use std::sync::Arc;
use stdx::{Error, Kind, Result};
use store::records::image::{LayerBlob, ManifestRecord};
use types::{Algorithm, Digest, ImageRef, Platform};

/// Where containerd and `docker save` put the whole name.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// Where everybody puts the name or just the tag (image-spec `annotations.md`).
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const MAX_DEPTH: usize = 3;

/// One element of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl Images {
    /// Loads every image of an archive, compressed (gzip, zstd, xz, bzip2) or not. Blocks: for a thread that may.
    ///
    /// Each image is there when its `Loaded` event comes; an error leaves the earlier ones in place.
    /// [`Kind::InvalidArgument`] for what is no such archive.
    pub fn load(
        &self,
        reader: &mut (dyn Read + Send),
        progress: &dyn Progress,
    ) -> Result<Vec<Arc<Image>>> {
        let archive = Archive::read(reader, self.scratch()?)?;
        let images = if archive.has("manifest.json") {
            docker_archive(&archive)?
        } else if archive.has("index.json") {
            oci_layout(&archive)?
        } else {
            return Err(Error::invalid(
                "invalid archive: neither manifest.json nor index.json is in it",
            ));
        };
        images.into_iter().map(|parts| self.install(parts, progress)).collect()
    }
}

impl Source for Used<'_> {
    fn open(&self) -> Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(Used::open(self)?))
    }

    fn done(&self) {
        Used::done(self);
    }
}

fn docker_archive(archive: &Archive) -> Result<Vec<Parts<'_>>> {
    let bytes = archive.bytes("manifest.json", MAX_DOCUMENT)?;
    let saved: Vec<Saved> = serde_json::from_slice(&bytes)
        .map_err(|e| Error::invalid("invalid archive: manifest.json").caused_by(e))?;
    saved.into_iter().map(|image| docker_image(archive, image)).collect()
}

fn docker_image(archive: &Archive, saved: Saved) -> Result<Parts<'_>> {
    let config = archive.bytes(&saved.config, MAX_CONFIG)?;
    let layers = saved.layers.unwrap_or_default();
    if layers.len() > MAX_LAYERS {
        return Err(Error::invalid(format!("invalid archive: more than {MAX_LAYERS} layers")));
    }
    let mut parts = Vec::new();
    for name in layers {
        let file = archive.usage(&name)?;
        parts.push(Part { size: file.size, source: Box::new(file), blob: None });
    }
    let mut names = Vec::new();
    for tag in saved.repo_tags.unwrap_or_default() {
        let reference: ImageRef = tag.parse()?;
        if reference.tag().is_none() || reference.digest().is_some() {
            return Err(Error::invalid(format!("invalid tag \"{tag}\"")));
        }
        names.push(reference);
    }
    Ok(Parts { config, manifest: None, layers: parts, names })
}

fn oci_layout(archive: &Archive) -> Result<Vec<Parts<'_>>> {
    let bytes = archive.bytes("index.json", MAX_DOCUMENT)?;
    let Document::Index(index) = Document::parse(&bytes, None).map_err(not_this_archive)? else {
        return Err(Error::invalid("invalid archive: index.json is no index"));
    };
    let mut images = Vec::new();
    for descriptor in &index.manifests {
        let bytes = blob(archive, descriptor, MAX_DOCUMENT)?;
        images.push(oci_image(archive, descriptor, bytes)?);
    }
    Ok(images)
}

fn oci_image<'a>(archive: &'a Archive, top: &Descriptor, bytes: Vec<u8>) -> Result<Parts<'a>> {
    let names = name_of(top).into_iter().collect();
    let (mut descriptor, mut bytes) = (top.clone(), bytes);
    for _ in 0..MAX_DEPTH {
        let described = Some(descriptor.media_type.as_str()).filter(|m| !m.is_empty());
        match Document::parse(&bytes, described).map_err(not_this_archive)? {
            Document::Index(index) => {
                descriptor = choose(archive, &index)?;
                bytes = blob(archive, &descriptor, MAX_DOCUMENT)?;
            }
            Document::Manifest(manifest) => {
                check_manifest(&manifest)?;
                let config = blob(archive, &manifest.config, MAX_CONFIG)?;
                let mut layers = Vec::new();
                for layer in &manifest.layers {
                    let file = archive.usage(&blob_name(&layer.digest))?;
                    let size = file.size;
                    if size != layer.size {
                        return Err(content::wrong_size(&layer.digest, layer.size, size));
                    }
                    layers.push(Part {
                        source: Box::new(file),
                        size,
                        blob: Some(LayerBlob {
                            digest: layer.digest.clone(),
                            size,
                            media_type: layer.media_type.clone(),
                        }),
                    });
                }
                let record = ManifestRecord {
                    digest: descriptor.digest,
                    media_type: descriptor.media_type,
                    size: descriptor.size,
                };
                return Ok(Parts { config, manifest: Some((record, bytes)), layers, names });
            }
        }
    }
    Err(Error::invalid("invalid archive: indexes are nested too deeply"))
}

/// The manifest for this host; an archive of another platform alone has a single one, which is taken.
fn choose(archive: &Archive, index: &Index) -> Result<Descriptor> {
    let host = Platform::host();
    let is_here = |d: &&Descriptor| archive.has(&blob_name(&d.digest));
    // Archives of one platform may keep the whole index and leave out the other platforms' blobs.
    let here: Vec<Descriptor> = index.manifests.iter().filter(is_here).cloned().collect();
    if let [one] = &here[..] {
        return Ok(one.clone());
    }
    let here = Index { manifests: here, ..index.clone() };
    here.choose(&host).cloned().ok_or_else(|| {
        Error::not_found(format!("no matching manifest for {host} in the manifest list entries"))
    })
}

/// A whole name, if the annotations have one. A tag alone names nothing.
fn name_of(descriptor: &Descriptor) -> Option<ImageRef> {
    let annotation = |key: &str| descriptor.annotations.get(key).map(String::as_str);
    let text = annotation(CONTAINERD_NAME)
        .or_else(|| annotation(REF_NAME).filter(|name| name.contains([':', '/'])))?;
    let name: ImageRef = text.parse().ok()?;
    Some(name.without_digest().with_default_tag())
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

/// A document of the archive, which must be what its descriptor says.
fn blob(archive: &Archive, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
    let digest = &descriptor.digest;
    if digest.algorithm() != Algorithm::Sha256 {
        return Err(Error::not_implemented(format!(
            "documents named by {}",
            digest.algorithm().as_str()
        )));
    }
    let bytes = archive.bytes(&blob_name(digest), limit)?;
    let actual = sha256(&bytes);
    if actual != *digest {
        return Err(content::mismatch(digest, &actual));
    }
    if bytes.len() as u64 != descriptor.size {
        return Err(content::wrong_size(digest, descriptor.size, bytes.len() as u64));
    }
    Ok(bytes)
}

/// A damaged archive is the caller's fault, unlike a damaged store.
fn not_this_archive(error: oci::image::InvalidDocument) -> Error {
    let error = Error::from(error);
    let kind = if error.kind() == Kind::DataLoss { Kind::InvalidArgument } else { error.kind() };
    Error::new(kind, format!("invalid archive: {error}"))
}
