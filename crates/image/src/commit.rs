//! A new image from an image and what a container has changed.

use crate::Images;
use crate::chain::{chain_ids, sha256};
use crate::model::Image;
use crate::progress::Silent;
use oci::image::{History, ImageConfig};
use std::io::Read;
use std::sync::Arc;
use stdx::{Error, Result};
use store::records::image::LayerRecord;
use types::{Digest, ImageRef};

/// What a new image is made of.
pub struct Commit<'a> {
    /// The image that the container stands on.
    pub base: &'a Image,
    /// Its configuration but for layers and history, which are continued.
    pub config: ImageConfig,
    /// The step's line in the history; whether it made a layer is found out.
    pub step: History,
    /// The difference, an uncompressed archive.
    pub archive: &'a mut (dyn Read + Send),
    /// A name for it.
    pub name: Option<ImageRef>,
}

impl std::fmt::Debug for Commit<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Commit").field("base", &self.base.id).finish_non_exhaustive()
    }
}

impl Images {
    /// Makes an image with one more layer. The difference is unpacked while it streams; its digest is known at its end,
    /// and so is the image's id. It exists when this returns, or nothing of it does. Blocks.
    pub fn commit(&self, commit: Commit<'_>) -> Result<Arc<Image>> {
        let Commit { base, mut config, mut step, archive, name } = commit;
        let chain = chain_ids(&base.config.rootfs.diff_ids);
        // Until the record is written nothing else keeps the layers that it stands on.
        let hold = self.layers.hold(&chain);
        let parent = chain.last();
        let unpacked = self.layers.unpack_new(archive, parent)?;
        let diff_id = unpacked.diff_id().clone();
        config.rootfs = base.config.rootfs.clone();
        config.history.clone_from(&base.config.history);
        let mut layers = base.layers.clone();
        let mut hold_new = None;
        step.empty_layer = diff_id == nothing();
        if !step.empty_layer {
            config.rootfs.diff_ids.push(diff_id.clone());
            let chain_id = chain_ids(&config.rootfs.diff_ids)
                .pop()
                .ok_or_else(|| Error::internal("an image without the layer it was given"))?;
            hold_new = Some(self.layers.hold(std::slice::from_ref(&chain_id)));
            let size = unpacked.size();
            self.layers.commit_new(unpacked, &chain_id, parent)?;
            layers.push(LayerRecord { diff_id, chain_id, size, blob: None });
        }
        config.history.push(step);
        let bytes = serde_json::to_vec(&config)
            .map_err(|e| Error::internal("encode image configuration").caused_by(e))?;
        stdx::fail_point!("image.commit.before-record");
        let id = sha256(&bytes);
        let names: Vec<ImageRef> = name.into_iter().collect();
        let made = crate::assemble::Made {
            id,
            config,
            bytes,
            manifest: None,
            layers,
            parent: Some(base.id.clone()),
        };
        let image = self.register(made, &names, &Silent)?;
        drop((hold, hold_new));
        Ok(image)
    }
}

/// The digest of an archive without entries: two blocks of zeros.
fn nothing() -> Digest {
    sha256(&[0; 1024])
}
