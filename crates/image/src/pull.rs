//! From a registry to an image.
//!
//! `pull` → the fetcher's `resolve` → choose a platform → configuration → one job a layer (`layers`) → documents →
//! record and names. The last step makes the image exist; everything before leaves nothing that anybody sees.

use crate::Images;
use crate::chain::{chain_ids, sha256};
use crate::layers::{Hold, Job, Phase, Wanted, again};
use crate::model::{Image, parse_config};
use crate::progress::{Event, LayerStep, Progress};
use crate::unpack::Expected;
use content::{Fetcher, Resolved};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use oci::image::{Descriptor, Document, ImageConfig, MAX_CONFIG, Manifest, media};
use std::sync::Arc;
use std::time::Duration;
use stdx::time::Timestamp;
use stdx::{Error, Kind, Result};
use store::records::image::{ImageRecord, LayerBlob, LayerRecord, ManifestRecord};
use types::{Digest, ImageRef, Platform};

/// How deep indexes may lie in indexes.
const MAX_DEPTH: usize = 3;
/// How often a watcher hears of one layer's bytes.
const TICK: Duration = Duration::from_millis(100);

/// What to pull.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// The image; `latest` is added when it has neither tag nor digest.
    pub reference: ImageRef,
    /// For what; `None` is this host.
    pub platform: Option<Platform>,
}

/// What a pull came to.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The image.
    pub image: Arc<Image>,
    /// What the reference stands for in the registry: a manifest's or an index's digest.
    pub digest: Digest,
    /// Whether the name means another image than before.
    pub newer: bool,
}

/// A manifest that was chosen, with its configuration.
struct Chosen {
    manifest: Manifest,
    resolved: Resolved,
    config: ImageConfig,
    config_bytes: Vec<u8>,
}

impl Images {
    /// Pulls an image. What is here already is not fetched again, and what another pull fetches is fetched once.
    ///
    /// Cancelling the future cancels what nobody else waits for. Errors are the fetcher's, and
    /// [`Kind::DataLoss`] for documents and layers that are not what their digests say.
    pub async fn pull(
        &self,
        fetcher: Arc<dyn Fetcher>,
        request: &PullRequest,
        progress: &dyn Progress,
    ) -> Result<Pulled> {
        let reference = request.reference.clone().with_default_tag();
        let top = fetcher.resolve(&reference).await?;
        let tag = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or_default().to_owned(),
        };
        progress.event(Event::PullingFrom { tag, repository: reference.path().to_owned() });
        let digest = top.descriptor.digest.clone();
        let names = names(&reference, &digest);
        let before = self.read_index(|index| index.named(&crate::index::key(&reference)).cloned());
        let (manifest, resolved) =
            choose(fetcher.as_ref(), &reference, top, request.platform.as_ref()).await?;
        let id = &manifest.config.digest;
        let image = match self.name_if_here(id, &names)? {
            Some(image) => image,
            None => {
                let (config, config_bytes) =
                    fetch_config(fetcher.as_ref(), &reference, &manifest).await?;
                let chosen = Chosen { manifest, resolved, config, config_bytes };
                self.pull_layers(&fetcher, &reference, chosen, &names, progress).await?
            }
        };
        let is_other =
            request.platform.as_ref().is_some_and(|p| p.rank(&image.config.platform()).is_none());
        if let (true, Some(wanted)) = (is_other, &request.platform) {
            progress.event(Event::Warning(format!(
                "image with reference {} was found but its platform ({}) does not match the specified platform ({wanted})",
                reference.familiar(),
                image.config.platform(),
            )));
        }
        progress.event(Event::Digest(digest.clone()));
        let newer = before.as_ref() != Some(&image.id);
        progress.event(Event::Status { reference: reference.familiar(), newer });
        Ok(Pulled { image, digest, newer })
    }

    /// Names the image if it is here. In one step: it might be removed between looking and naming.
    fn name_if_here(&self, id: &Digest, names: &[ImageRef]) -> Result<Option<Arc<Image>>> {
        let _changing = self.change();
        let here = self.read_index(|index| index.get(id).cloned());
        here.map(|image| self.put_names(&image, names)).transpose()
    }

    async fn pull_layers(
        &self,
        fetcher: &Arc<dyn Fetcher>,
        reference: &ImageRef,
        chosen: Chosen,
        names: &[ImageRef],
        progress: &dyn Progress,
    ) -> Result<Arc<Image>> {
        let chain = chain_ids(&chosen.config.rootfs.diff_ids);
        let hold = self.layers.hold(&chain);
        let wanted: Vec<Wanted> = chosen
            .manifest
            .layers
            .iter()
            .zip(&chosen.config.rootfs.diff_ids)
            .zip(&chain)
            .enumerate()
            .map(|(number, ((descriptor, diff_id), chain_id))| Wanted {
                chain_id: chain_id.clone(),
                expected: Expected {
                    diff_id: diff_id.clone(),
                    blob: Some((descriptor.digest.clone(), descriptor.size)),
                    number,
                },
                descriptor: descriptor.clone(),
                reference: reference.clone(),
            })
            .collect();
        self.bring(fetcher, &wanted, progress).await?;
        self.finish(chosen, &chain, names, &hold)
    }

    /// Brings all layers, lowest first, side by side.
    async fn bring(
        &self,
        fetcher: &Arc<dyn Fetcher>,
        wanted: &[Wanted],
        progress: &dyn Progress,
    ) -> Result<()> {
        let mut jobs = Vec::new();
        let mut below: Option<(Digest, Option<Arc<Job>>)> = None;
        for layer in wanted {
            let id = layer.descriptor.digest.short().to_owned();
            let event = |step| progress.event(Event::Layer { id: id.clone(), step });
            // A layer on its way is not there before its job says so, whatever the storage driver sees.
            if self.layers.has(&layer.chain_id)? {
                event(LayerStep::AlreadyExists);
                below = Some((layer.chain_id.clone(), None));
                continue;
            }
            event(LayerStep::PullingFsLayer);
            let job = self.layers.job(fetcher, layer.clone(), below.take());
            below = Some((layer.chain_id.clone(), Some(Arc::clone(&job))));
            jobs.push((id, layer.descriptor.size, job));
        }
        drop(below);
        let mut running: FuturesUnordered<_> =
            jobs.iter().map(|(id, total, job)| watch(id, *total, job, progress)).collect();
        while let Some(result) = running.next().await {
            // The first that fails ends the others, unless another pull waits for them.
            result?;
        }
        Ok(())
    }

    /// Documents, then record and names.
    fn finish(
        &self,
        chosen: Chosen,
        chain: &[Digest],
        names: &[ImageRef],
        _hold: &Hold,
    ) -> Result<Arc<Image>> {
        let Chosen { manifest, resolved, config, config_bytes } = chosen;
        let id = manifest.config.digest.clone();
        let mut layers = Vec::with_capacity(chain.len());
        for ((descriptor, diff_id), chain_id) in
            manifest.layers.iter().zip(&config.rootfs.diff_ids).zip(chain)
        {
            layers.push(LayerRecord {
                diff_id: diff_id.clone(),
                chain_id: chain_id.clone(),
                size: self.layer_size(chain_id)?,
                blob: Some(LayerBlob {
                    digest: descriptor.digest.clone(),
                    size: descriptor.size,
                    media_type: descriptor.media_type.clone(),
                }),
            });
        }
        let now = Timestamp::now();
        // Under the lock, or removing the same image could take the blobs away again.
        let _changing = self.change();
        content::put(self.content.as_ref(), &id, &config_bytes)?;
        content::put(self.content.as_ref(), &resolved.descriptor.digest, &resolved.bytes)?;
        let record = ImageRecord {
            id,
            manifest: Some(ManifestRecord {
                digest: resolved.descriptor.digest,
                media_type: resolved.descriptor.media_type,
                size: resolved.descriptor.size,
            }),
            layers,
            parent: None,
            added: now,
            tagged: now,
        };
        stdx::fail_point!("image.pull.before-record");
        self.put_names(&Arc::new(Image::new(&record, config)), names)
    }

    /// Bytes of content of a layer that is there.
    pub(crate) fn layer_size(&self, chain_id: &Digest) -> Result<u64> {
        match self.read_index(|index| index.layer_size(chain_id)) {
            Some(size) => Ok(size),
            None => self.layers.size(chain_id),
        }
    }
}

/// The names that a pull puts on its image.
fn names(reference: &ImageRef, digest: &Digest) -> Vec<ImageRef> {
    let by_digest = reference.with_digest(digest.clone());
    // `name:tag@digest` asks for the digest; the tag was only for the reader.
    if reference.digest().is_some() { vec![by_digest] } else { vec![reference.clone(), by_digest] }
}

/// Follows indexes to the manifest for `platform`.
async fn choose(
    fetcher: &dyn Fetcher,
    reference: &ImageRef,
    top: Resolved,
    platform: Option<&Platform>,
) -> Result<(Manifest, Resolved)> {
    let host = Platform::host();
    let platform = platform.unwrap_or(&host);
    let mut resolved = top;
    for _ in 0..MAX_DEPTH {
        let sent = Some(resolved.descriptor.media_type.as_str()).filter(|m| !m.is_empty());
        match Document::parse(&resolved.bytes, sent)? {
            Document::Manifest(manifest) => {
                check_manifest(&manifest)?;
                if resolved.descriptor.media_type.is_empty() {
                    resolved.descriptor.media_type = media::OCI_MANIFEST.to_owned();
                }
                return Ok((manifest, resolved));
            }
            Document::Index(index) => {
                let Some(descriptor) = index.choose(platform) else {
                    return Err(Error::not_found(format!(
                        "no matching manifest for {platform} in the manifest list entries"
                    )));
                };
                resolved = fetcher.manifest(reference, descriptor).await?;
                check_type(descriptor, &resolved)?;
            }
        }
    }
    Err(Error::new(Kind::DataLoss, "manifest lists are nested too deeply"))
}

/// What an index says a manifest is, it must be (CVE-2021-41190).
fn check_type(described: &Descriptor, resolved: &Resolved) -> Result<()> {
    let sent = &resolved.descriptor.media_type;
    if described.media_type.is_empty() || sent.is_empty() || described.media_type == *sent {
        return Ok(());
    }
    Err(Error::new(
        Kind::DataLoss,
        format!("manifest described as \"{}\" arrived as \"{sent}\"", described.media_type),
    ))
}

/// Whether this is an image at all, as opposed to something else in a registry.
pub(crate) fn check_manifest(manifest: &Manifest) -> Result<()> {
    let unsupported = |what: &str, found: &str| {
        Err(Error::not_implemented(format!(
            "{what} of media type \"{found}\" is not supported: this is no container image"
        )))
    };
    if !media::is_config(&manifest.config.media_type) {
        return unsupported("configuration", &manifest.config.media_type);
    }
    match manifest.layers.iter().find(|l| !media::is_layer(&l.media_type)) {
        Some(layer) => unsupported("layer", &layer.media_type),
        None => Ok(()),
    }
}

/// Whether manifest and configuration speak of the same layers, and of this operating system.
pub(crate) fn check_config(config: &ImageConfig, layers: usize) -> Result<()> {
    let diff_ids = config.rootfs.diff_ids.len();
    if diff_ids != layers {
        return Err(Error::new(
            Kind::DataLoss,
            format!("invalid manifest, layers length mismatch: expected {diff_ids}, got {layers}"),
        ));
    }
    if !config.os.is_empty() && config.platform().os() != "linux" {
        return Err(Error::not_implemented(format!(
            "image operating system \"{}\" cannot be used on this platform: operating system is not supported",
            config.os
        )));
    }
    Ok(())
}

async fn fetch_config(
    fetcher: &dyn Fetcher,
    reference: &ImageRef,
    manifest: &Manifest,
) -> Result<(ImageConfig, Vec<u8>)> {
    let descriptor = &manifest.config;
    if descriptor.size > MAX_CONFIG {
        return Err(Error::new(
            Kind::DataLoss,
            format!("image configuration is over {MAX_CONFIG} bytes"),
        ));
    }
    let mut bytes = Vec::new();
    let mut stream = fetcher.fetch(reference, descriptor).await?;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        if (bytes.len() + chunk.len()) as u64 > descriptor.size {
            let actual = (bytes.len() + chunk.len()) as u64;
            return Err(content::wrong_size(&descriptor.digest, descriptor.size, actual));
        }
        bytes.extend_from_slice(&chunk);
    }
    if bytes.len() as u64 != descriptor.size {
        return Err(content::wrong_size(&descriptor.digest, descriptor.size, bytes.len() as u64));
    }
    let actual = sha256(&bytes);
    if actual != descriptor.digest {
        return Err(content::mismatch(&descriptor.digest, &actual));
    }
    let config = parse_config(&bytes)?;
    check_config(&config, manifest.layers.len())?;
    Ok((config, bytes))
}

/// Tells `progress` what becomes of a job, until it is done.
async fn watch(id: &str, total: u64, job: &Job, progress: &dyn Progress) -> Result<()> {
    let event = |step| progress.event(Event::Layer { id: id.to_owned(), step });
    let mut phase = job.phase.clone();
    let mut is_here = false;
    let mut last: Option<Phase> = None;
    loop {
        let now = phase.borrow_and_update().clone();
        if matches!(now, Phase::Unpacking(_) | Phase::Done) && !is_here {
            is_here = true;
            event(LayerStep::VerifyingChecksum);
            event(LayerStep::DownloadComplete);
        }
        match &now {
            Phase::Waiting if last.is_none() => event(LayerStep::Waiting),
            Phase::Waiting => {}
            Phase::Downloading(current) => {
                event(LayerStep::Downloading { current: *current, total });
            }
            Phase::Unpacking(current) => event(LayerStep::Extracting { current: *current, total }),
            Phase::Done => {
                event(LayerStep::Extracting { current: total, total });
                event(LayerStep::PullComplete);
                return Ok(());
            }
            Phase::Failed(error) => return Err(again(error)),
        }
        last = Some(now);
        if phase.changed().await.is_err() {
            return Err(Error::internal("unpacking ended without a word"));
        }
        // Bytes come in thousands of pieces; humans watch ten pictures a second. The end is not delayed.
        let _tick = tokio::time::timeout(TICK, phase.wait_for(Phase::is_final)).await;
    }
}
