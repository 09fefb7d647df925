//! What is known of images, in memory: ids, names, and the rules by which a text finds one.

use crate::model::{Image, Summary};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use stdx::{Error, Result};
use store::records::image::ImageRecord;
use types::{Digest, ImageRef};

/// Images by id and by name.
#[derive(Debug, Default)]
pub(crate) struct Index {
    images: BTreeMap<Digest, Arc<Image>>,
    /// Full references.
    names: HashMap<String, Digest>,
    names_of: HashMap<Digest, BTreeSet<String>>,
    /// Records of images that cannot be used: their layers are still wanted.
    damaged: BTreeMap<Digest, ImageRecord>,
}

impl Index {
    pub(crate) fn add(&mut self, image: Arc<Image>) {
        self.damaged.remove(&image.id);
        self.images.insert(image.id.clone(), image);
    }

    pub(crate) fn add_damaged(&mut self, record: ImageRecord) {
        self.damaged.insert(record.id.clone(), record);
    }

    pub(crate) fn add_name(&mut self, name: String, image: Digest) {
        self.remove_name(&name);
        self.names_of.entry(image.clone()).or_default().insert(name.clone());
        self.names.insert(name, image);
    }

    pub(crate) fn remove_name(&mut self, name: &str) {
        if let Some(image) = self.names.remove(name)
            && let Some(names) = self.names_of.get_mut(&image)
        {
            names.remove(name);
            if names.is_empty() {
                self.names_of.remove(&image);
            }
        }
    }

    pub(crate) fn remove(&mut self, id: &Digest) {
        self.images.remove(id);
    }

    pub(crate) fn get(&self, id: &Digest) -> Option<&Arc<Image>> {
        self.images.get(id)
    }

    /// The image of a full reference.
    pub(crate) fn named(&self, name: &str) -> Option<&Digest> {
        self.names.get(name)
    }

    /// Full references of an image, sorted.
    pub(crate) fn names_of(&self, id: &Digest) -> Vec<ImageRef> {
        let names = self.names_of.get(id).into_iter().flatten();
        // What is in the store parsed when it was put there.
        names.filter_map(|n| n.parse().ok()).collect()
    }

    pub(crate) fn summary(&self, image: &Arc<Image>) -> Summary {
        let (digests, tags) =
            self.names_of(&image.id).into_iter().partition::<Vec<_>, _>(|n| n.digest().is_some());
        let familiar = |names: Vec<ImageRef>| names.iter().map(ImageRef::familiar).collect();
        Summary { image: Arc::clone(image), tags: familiar(tags), digests: familiar(digests) }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Image>> {
        self.images.values()
    }

    /// Finds by Docker's rules: a whole id, a name, the beginning of an id; in that order.
    pub(crate) fn resolve(&self, text: &str) -> Result<&Arc<Image>> {
        if let Some(id) = whole_id(text) {
            return self
                .images
                .get(&id)
                .ok_or_else(|| Error::not_found(format!("No such image: {id}")));
        }
        let reference = text.parse::<ImageRef>();
        if let Ok(reference) = &reference
            && let Some(image) = self.names.get(&key(reference)).and_then(|id| self.images.get(id))
        {
            return Ok(image);
        }
        let by_prefix = self.by_prefix(text);
        if let [image] = by_prefix[..] {
            return Ok(image);
        }
        let reference = reference?.with_default_tag();
        let mut message = format!("No such image: {}", reference.familiar());
        if by_prefix.len() > 1 {
            // Not an error of its own: the text may be the name of an image that is not here yet.
            message.push_str(&format!(" ({} image ids begin with \"{text}\")", by_prefix.len()));
        }
        Err(Error::not_found(message))
    }

    fn by_prefix(&self, text: &str) -> Vec<&Arc<Image>> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if hex.is_empty()
            || hex.len() > 64
            || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Vec::new();
        }
        let lowest = format!("sha256:{hex:0<64}").parse::<Digest>();
        let Ok(lowest) = lowest else { return Vec::new() };
        self.images
            .range(lowest..)
            .take_while(|(id, _)| id.hex().starts_with(hex))
            .map(|(_, i)| i)
            .collect()
    }

    /// Chain ids that images list, damaged ones too.
    pub(crate) fn chains(&self) -> HashSet<Digest> {
        let whole = self.images.values().flat_map(|i| &i.layers);
        let damaged = self.damaged.values().flat_map(|r| &r.layers);
        whole.chain(damaged).map(|l| l.chain_id.clone()).collect()
    }

    /// Blobs that images need, damaged ones too.
    pub(crate) fn blobs(&self) -> HashSet<Digest> {
        let mut blobs = HashSet::new();
        for image in self.images.values() {
            blobs.insert(image.id.clone());
            blobs.extend(image.manifest.as_ref().map(|m| m.digest.clone()));
        }
        for record in self.damaged.values() {
            blobs.insert(record.id.clone());
            blobs.extend(record.manifest.as_ref().map(|m| m.digest.clone()));
        }
        blobs
    }

    /// The size of a layer that some image has.
    pub(crate) fn layer_size(&self, chain_id: &Digest) -> Option<u64> {
        let mut layers = self.images.values().flat_map(|i| &i.layers);
        layers.find(|l| l.chain_id == *chain_id).map(|l| l.size)
    }
}

/// The key of a reference: `name:tag`, or `name@digest` when it has a digest, whatever its tag says.
pub(crate) fn key(reference: &ImageRef) -> String {
    match reference.digest() {
        Some(digest) => reference.with_digest(digest.clone()).to_string(),
        None => reference.clone().with_default_tag().to_string(),
    }
}

/// 64 digits, or `sha256:` and 64 digits.
pub(crate) fn whole_id(text: &str) -> Option<Digest> {
    Digest::from_sha256_hex(text.strip_prefix("sha256:").unwrap_or(text)).ok()
}
