//! What an image is, for those who ask.

use oci::image::{ImageConfig, MAX_CONFIG};
use snapshot::Name;
use stdx::time::Timestamp;
use stdx::{Error, Kind, Result};
use store::records::image::{ImageRecord, LayerRecord, ManifestRecord};
use types::Digest;

/// One image, immutable. Its names are not part of it: they move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The digest of its configuration's bytes.
    pub id: Digest,
    /// Its configuration.
    pub config: ImageConfig,
    /// The manifest it was pulled by.
    pub manifest: Option<ManifestRecord>,
    /// Its layers, lowest first.
    pub layers: Vec<LayerRecord>,
    /// The image that it was committed from here.
    pub parent: Option<Digest>,
    /// When it came to be here.
    pub added: Timestamp,
    /// When a name was last put on it.
    pub tagged: Timestamp,
}

/// An image and its names, as lists show them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The image.
    pub image: std::sync::Arc<Image>,
    /// `name:tag` in familiar form, sorted.
    pub tags: Vec<String>,
    /// `name@digest` in familiar form, sorted.
    pub digests: Vec<String>,
}

impl Summary {
    /// Nobody can ask for it by name.
    pub fn is_dangling(&self) -> bool {
        self.tags.is_empty()
    }
}

/// One line of `docker history`, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The image's id on the first line, `<missing>` below: what was built elsewhere has no ids for its steps.
    pub id: String,
    /// When the step was made.
    pub created: Timestamp,
    /// By what.
    pub created_by: String,
    /// The names of the image, on the first line.
    pub tags: Vec<String>,
    /// Bytes that the step added.
    pub size: u64,
    /// Why.
    pub comment: String,
}

impl Image {
    /// Reads the configuration that a record names.
    pub(crate) fn read(record: &ImageRecord, content: &dyn content::Provider) -> Result<Self> {
        let bytes = content.read(&record.id, MAX_CONFIG)?;
        Ok(Self::new(record, parse_config(&bytes)?))
    }

    pub(crate) fn new(record: &ImageRecord, config: ImageConfig) -> Self {
        Self {
            id: record.id.clone(),
            config,
            manifest: record.manifest.clone(),
            layers: record.layers.clone(),
            parent: record.parent.clone(),
            added: record.added,
            tagged: record.tagged,
        }
    }

    pub(crate) fn record(&self) -> ImageRecord {
        ImageRecord {
            id: self.id.clone(),
            manifest: self.manifest.clone(),
            layers: self.layers.clone(),
            parent: self.parent.clone(),
            added: self.added,
            tagged: self.tagged,
        }
    }

    /// Bytes of file content in all layers, as `docker images` counts.
    pub fn size(&self) -> u64 {
        self.layers.iter().map(|l| l.size).sum()
    }

    /// The committed snapshot that containers stand on; `None` for an image without layers.
    pub fn snapshot(&self) -> Option<Name> {
        self.layers.last().map(|l| snapshot_name(&l.chain_id))
    }

    /// When it was made, as it says itself; [`Timestamp::ZERO`] when it does not.
    pub fn created(&self) -> Timestamp {
        moment(self.config.created.as_deref())
    }

    /// How it came about, newest first. A history that does not fit its layers is shown as far as it goes.
    pub fn history(&self, tags: &[String]) -> Vec<HistoryEntry> {
        let mut layers = self.layers.iter();
        let mut lines: Vec<HistoryEntry> = self
            .config
            .history
            .iter()
            .map(|step| HistoryEntry {
                id: "<missing>".to_owned(),
                created: moment(step.created.as_deref()),
                created_by: step.created_by.clone(),
                tags: Vec::new(),
                size: if step.empty_layer { 0 } else { layers.next().map_or(0, |l| l.size) },
                comment: step.comment.clone(),
            })
            .collect();
        lines.reverse();
        if let Some(first) = lines.first_mut() {
            first.id = self.id.to_string();
            first.tags = tags.to_vec();
        }
        lines
    }
}

/// The committed snapshot of a chain of layers.
pub(crate) fn snapshot_name(chain_id: &Digest) -> Name {
    Name::new(chain_id.hex()).expect("hexadecimal digits are a name")
}

/// Reads a configuration.
pub(crate) fn parse_config(bytes: &[u8]) -> Result<ImageConfig> {
    let damaged =
        |why: String| Error::new(Kind::DataLoss, format!("image configuration is damaged: {why}"));
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(damaged("it is no JSON object".to_owned()));
    }
    let config: ImageConfig = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
    if config.rootfs.kind != "layers" {
        return Err(damaged(format!("root file system of type \"{}\"", config.rootfs.kind)));
    }
    Ok(config)
}

fn moment(text: Option<&str>) -> Timestamp {
    text.and_then(|t| t.parse().ok()).unwrap_or(Timestamp::ZERO)
}
