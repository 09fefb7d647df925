//! Images from parts that are at hand: of an archive, or made by the daemon itself.

use crate::Images;
use crate::chain::{chain_ids, sha256};
use crate::index;
use crate::model::{Image, parse_config};
use crate::progress::{Event, LayerStep, Progress, Silent};
use crate::pull::check_config;
use crate::unpack::{Expected, Unpacked};
use oci::image::ImageConfig;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use stdx::time::Timestamp;
use stdx::{Error, Result};
use store::records::image::{ImageRecord, LayerBlob, LayerRecord, ManifestRecord};
use types::{Digest, ImageRef};

/// Layers that are unpacked at a time.
const WORKERS: usize = 2;

/// An image that is not installed yet.
pub(crate) struct Parts<'a> {
    /// The configuration's bytes; their digest becomes the image's id.
    pub(crate) config: Vec<u8>,
    /// The manifest, if there is one.
    pub(crate) manifest: Option<(ManifestRecord, Vec<u8>)>,
    /// The layers' archives, lowest first.
    pub(crate) layers: Vec<Part<'a>>,
    /// Names to put on it.
    pub(crate) names: Vec<ImageRef>,
}

/// An image whose layers are there, and nothing else of it yet.
pub(crate) struct Made {
    /// The digest of `bytes`.
    pub(crate) id: Digest,
    pub(crate) config: ImageConfig,
    pub(crate) bytes: Vec<u8>,
    pub(crate) manifest: Option<(ManifestRecord, Vec<u8>)>,
    pub(crate) layers: Vec<LayerRecord>,
    /// The image that it was committed from.
    pub(crate) parent: Option<Digest>,
}

/// A layer's archive.
pub(crate) struct Part<'a> {
    pub(crate) source: Box<dyn Source + 'a>,
    pub(crate) size: u64,
    pub(crate) blob: Option<LayerBlob>,
}

/// Where a layer's archive is.
pub(crate) trait Source: Send + Sync {
    /// Its bytes from the start.
    fn open(&self) -> Result<Box<dyn Read + Send + '_>>;

    /// It will not be opened again.
    fn done(&self) {}
}

impl Source for &[u8] {
    fn open(&self) -> Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(*self))
    }
}

/// A layer that is not there yet.
struct Missing<'p, 'a> {
    part: &'p Part<'a>,
    expected: Expected,
    chain_id: Digest,
    parent: Option<Digest>,
}

impl Images {
    /// Makes an image of a configuration and uncompressed layer archives, lowest first, and names it. The configuration's
    /// root file system is filled in. Doing it again changes nothing. Blocks.
    pub fn assemble(
        &self,
        name: &str,
        mut config: ImageConfig,
        layers: &[Vec<u8>],
    ) -> Result<Arc<Image>> {
        let name: ImageRef = name.parse()?;
        config.rootfs.kind = "layers".to_owned();
        config.rootfs.diff_ids = layers.iter().map(|l| sha256(l)).collect();
        let bytes = serde_json::to_vec(&config)
            .map_err(|e| Error::internal("encode image configuration").caused_by(e))?;
        let layers = layers
            .iter()
            .map(|archive| Part {
                source: Box::new(archive.as_slice()),
                size: archive.len() as u64,
                blob: None,
            })
            .collect();
        let names = vec![name.with_default_tag()];
        self.install(Parts { config: bytes, manifest: None, layers, names }, &Silent)
    }

    /// Makes an image of its parts. It exists when this returns, or as before.
    pub(crate) fn install(&self, parts: Parts<'_>, progress: &dyn Progress) -> Result<Arc<Image>> {
        let id = sha256(&parts.config);
        let config = parse_config(&parts.config)?;
        check_config(&config, parts.layers.len())?;
        let chain = chain_ids(&config.rootfs.diff_ids);
        let hold = self.layers.hold(&chain);
        self.unpack_missing(&parts, &config, &chain, progress)?;
        let layers = chain
            .iter()
            .zip(&config.rootfs.diff_ids)
            .zip(&parts.layers)
            .map(|((chain_id, diff_id), part)| {
                Ok(LayerRecord {
                    diff_id: diff_id.clone(),
                    chain_id: chain_id.clone(),
                    size: self.layer_size(chain_id)?,
                    blob: part.blob.clone(),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        stdx::fail_point!("image.install.before-record");
        let Parts { config: bytes, manifest, names, .. } = parts;
        let made = Made { id: id.clone(), config, bytes, manifest, layers, parent: None };
        let image = self.register(made, &names, progress)?;
        drop(hold);
        for name in &names {
            progress.event(Event::LoadedName(name.familiar()));
        }
        if names.is_empty() {
            progress.event(Event::LoadedId(id));
        }
        Ok(image)
    }

    /// Writes the documents and the record of an image whose layers are there, and names it.
    pub(crate) fn register(
        &self,
        made: Made,
        names: &[ImageRef],
        progress: &dyn Progress,
    ) -> Result<Arc<Image>> {
        let Made { id, config, bytes, manifest, layers, parent } = made;
        let _changing = self.change();
        let here = self.read_index(|index| index.get(&id).cloned());
        let image = match here {
            Some(image) => image,
            None => {
                content::put(self.content.as_ref(), &id, &bytes)?;
                if let Some((manifest, bytes)) = &manifest {
                    content::put(self.content.as_ref(), &manifest.digest, bytes)?;
                }
                let manifest = manifest.map(|(record, _)| record);
                let now = Timestamp::now();
                let record = ImageRecord {
                    id: id.clone(),
                    manifest,
                    layers,
                    parent,
                    added: now,
                    tagged: now,
                };
                Arc::new(Image::new(&record, config))
            }
        };
        self.tell_renamed(&id, names, progress);
        self.put_names(&image, names)
    }

    fn tell_renamed(&self, id: &Digest, names: &[ImageRef], progress: &dyn Progress) {
        for name in names {
            let old = self.read_index(|index| index.named(&index::key(name)).cloned());
            if let Some(old) = old.filter(|old| old != id) {
                progress.event(Event::Renamed { reference: name.familiar(), old });
            }
        }
    }

    fn unpack_missing(
        &self,
        parts: &Parts<'_>,
        config: &ImageConfig,
        chain: &[Digest],
        progress: &dyn Progress,
    ) -> Result<()> {
        let mut missing = Vec::new();
        for (number, part) in parts.layers.iter().enumerate() {
            let chain_id = chain[number].clone();
            if self.layers.has(&chain_id)? {
                part.source.done();
                continue;
            }
            let blob = part.blob.as_ref().map(|b| (b.digest.clone(), b.size));
            let expected =
                Expected { diff_id: config.rootfs.diff_ids[number].clone(), blob, number };
            let parent = number.checked_sub(1).map(|below| chain[below].clone());
            missing.push(Missing { part, expected, chain_id, parent });
        }
        if self.layers.is_side_by_side() {
            return self.unpack_side_by_side(&missing, progress);
        }
        for layer in &missing {
            let tell = told(layer, progress);
            let mut archive = layer.part.source.open()?;
            let parent = layer.parent.as_ref();
            self.layers.unpack_onto(
                &mut archive,
                &layer.expected,
                &layer.chain_id,
                parent,
                &tell,
            )?;
            layer.part.source.done();
        }
        Ok(())
    }

    /// Unpacks with several threads, then commits from the bottom up.
    fn unpack_side_by_side(
        &self,
        missing: &[Missing<'_, '_>],
        progress: &dyn Progress,
    ) -> Result<()> {
        let next = AtomicUsize::new(0);
        let done: Vec<Mutex<Option<Result<Unpacked>>>> =
            missing.iter().map(|_| Mutex::default()).collect();
        let work = || {
            while let Some(number) =
                Some(next.fetch_add(1, Ordering::Relaxed)).filter(|n| *n < missing.len())
            {
                let layer = &missing[number];
                let unpacked = layer.part.source.open().and_then(|mut archive| {
                    self.layers.unpack(&mut archive, &layer.expected, &told(layer, progress))
                });
                layer.part.source.done();
                if unpacked.is_err() {
                    // The others are for nothing.
                    next.store(missing.len(), Ordering::Relaxed);
                }
                *done[number].lock().unwrap_or_else(PoisonError::into_inner) = Some(unpacked);
            }
        };
        thread::scope(|scope| -> Result<()> {
            for _ in 0..WORKERS.min(missing.len()) {
                thread::Builder::new()
                    .name("unpack".to_owned())
                    .spawn_scoped(scope, work)
                    .map_err(|e| Error::io("start a thread for unpacking", e))?;
            }
            Ok(())
        })?;
        let mut unpacked = Vec::with_capacity(missing.len());
        let mut failed = None;
        for result in done {
            match result.into_inner().unwrap_or_else(PoisonError::into_inner) {
                Some(Ok(layer)) => unpacked.push(layer),
                Some(Err(error)) => failed = failed.or(Some(error)),
                // Not begun, because another failed.
                None => {}
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        for (layer, unpacked) in missing.iter().zip(unpacked) {
            self.layers.commit(unpacked, &layer.chain_id, layer.parent.as_ref())?;
        }
        Ok(())
    }
}

/// What tells `progress` how much of a layer was read.
fn told<'a>(layer: &'a Missing<'_, '_>, progress: &'a dyn Progress) -> impl Fn(u64) + Sync + 'a {
    let id = layer.expected.diff_id.short().to_owned();
    move |current| {
        let step = LayerStep::Loading { current, total: layer.part.size };
        progress.event(Event::Layer { id: id.clone(), step });
    }
}
