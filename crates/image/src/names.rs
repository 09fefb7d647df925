//! Finding, listing and naming.

use crate::Images;
use crate::index::{self, Index};
use crate::model::{HistoryEntry, Image, Summary};
use std::sync::Arc;
use stdx::time::Timestamp;
use stdx::{Error, Result};
use store::records::image::NameRecord;
use types::ImageRef;

impl Images {
    /// The image that `text` means: `name`, `name:tag`, `name@digest`, an id or the beginning of one.
    ///
    /// [`stdx::Kind::NotFound`] with Docker's `No such image: x:latest`, [`stdx::Kind::InvalidArgument`] for what can be
    /// neither a name nor an id. Takes about a microsecond.
    pub fn resolve(&self, text: &str) -> Result<Arc<Image>> {
        self.read_index(|index| index.resolve(text).cloned())
    }

    /// The same with its names.
    pub fn inspect(&self, text: &str) -> Result<Summary> {
        self.read_index(|index| Ok(index.summary(index.resolve(text)?)))
    }

    /// The image's configuration as it was written, byte for byte.
    pub fn raw_config(&self, image: &Image) -> Result<Vec<u8>> {
        self.content.read(&image.id, oci::image::MAX_CONFIG)
    }

    /// All images with their names, the newest first.
    pub fn list(&self) -> Vec<Summary> {
        let mut all: Vec<Summary> =
            self.read_index(|index| index.all().map(|i| index.summary(i)).collect());
        all.sort_by_cached_key(|s| std::cmp::Reverse(s.image.created()));
        all
    }

    /// How many images there are.
    pub fn count(&self) -> usize {
        self.read_index(|index| index.all().count())
    }

    /// How the image came about, newest step first.
    pub fn history(&self, text: &str) -> Result<Vec<HistoryEntry>> {
        let summary = self.inspect(text)?;
        let mut lines = summary.image.history(&summary.tags);
        // Steps that were committed here have images of their own.
        let mut parent = summary.image.parent.clone();
        while let Some(id) = parent.take() {
            let Ok(below) = self.inspect(id.as_str()) else { break };
            let at = lines.len().checked_sub(below.image.config.history.len());
            let Some(line) = at.filter(|at| *at > 0).and_then(|at| lines.get_mut(at)) else {
                break;
            };
            line.id = id.to_string();
            line.tags.clone_from(&below.tags);
            parent.clone_from(&below.image.parent);
        }
        Ok(lines)
    }

    /// Puts the name `target` on the image that `source` means. Answers the name in its familiar form and the image.
    pub fn tag(&self, source: &str, target: &str) -> Result<(String, Arc<Image>)> {
        let target: ImageRef = target.parse()?;
        let _changing = self.change();
        let image = self.resolve(source)?;
        if target.digest().is_some() {
            return Err(Error::invalid("refusing to create a tag with a digest reference"));
        }
        let target = target.with_default_tag();
        let image = self.put_names(&image, std::slice::from_ref(&target))?;
        Ok((target.familiar(), image))
    }

    /// Puts names on an image that is in the index. The caller has the change lock.
    pub(crate) fn put_names(&self, image: &Arc<Image>, names: &[ImageRef]) -> Result<Arc<Image>> {
        for name in names {
            // `sha256:abc` would always be read as the beginning of an id.
            if name.familiar_name() == "sha256" {
                return Err(Error::invalid(
                    "refusing to create an ambiguous tag using digest algorithm as name",
                ));
            }
        }
        let mut image = Image::clone(image);
        if names.iter().any(|n| n.digest().is_none()) {
            image.tagged = Timestamp::now();
        }
        let keys: Vec<String> = names.iter().map(index::key).collect();
        self.store.write(|batch| {
            batch.put(image.id.as_str(), &image.record())?;
            for key in &keys {
                batch.put(key, &NameRecord { image: image.id.clone() })?;
            }
            Ok(())
        })?;
        stdx::fail_point!("image.names.after-record");
        let image = Arc::new(image);
        self.write_index(|index: &mut Index| {
            index.add(Arc::clone(&image));
            for key in keys {
                index.add_name(key, image.id.clone());
            }
        });
        Ok(image)
    }
}
