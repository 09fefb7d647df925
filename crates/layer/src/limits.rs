//! How much a layer may cost (security rule R9).

use stdx::{Error, Kind, Result};

/// Bounds that are enforced while the archive streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all files together, holes included: a hole costs nothing until somebody copies the file.
    pub bytes: u64,
    /// Entries and the directories that they imply.
    pub entries: u64,
    /// Uncompressed bytes for each compressed one, once [`Limits::RATIO_AFTER`] are out; deflate cannot exceed 1032.
    pub ratio: u64,
}

impl Limits {
    /// Below this many uncompressed bytes no ratio is suspicious: 64 MiB.
    pub const RATIO_AFTER: u64 = 64 << 20;

    pub(crate) fn check_ratio(&self, compressed: u64, plain: u64) -> Result<()> {
        if plain > Self::RATIO_AFTER && plain / self.ratio.max(1) > compressed {
            return Err(too_large(format!("layer expands more than {} times", self.ratio)));
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 1 << 40, entries: 4_000_000, ratio: 1000 }
    }
}

/// What is counted while unpacking.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
}

impl Counts {
    pub(crate) fn add_entry(&mut self, limits: &Limits) -> Result<()> {
        self.entries += 1;
        if self.entries > limits.entries {
            return Err(too_large(format!("layer has more than {} entries", limits.entries)));
        }
        Ok(())
    }

    pub(crate) fn add_bytes(&mut self, bytes: u64, limits: &Limits) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > limits.bytes {
            return Err(too_large(format!("layer has files of more than {} bytes", limits.bytes)));
        }
        Ok(())
    }
}

fn too_large(text: String) -> Error {
    Error::new(Kind::InvalidArgument, text)
}
