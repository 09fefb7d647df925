//! Records of volumes.

use crate::Record;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A volume as the engine remembers it. Key: its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// Its name, as a `volume::Name`.
    pub name: String,
    /// The driver that keeps it: `local`.
    pub driver: String,
    /// When it was created, RFC 3339 with nanoseconds, UTC.
    pub created: String,
    /// Labels by name.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Options for the driver.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// The name was made up by us: `docker rm -v` and `--rm` remove it with its last container, `volume prune` too.
    #[serde(default)]
    pub anonymous: bool,
    /// Where the creation or removal stands; a volume that is not [`Ready`](VolumeState::Ready) is finished or undone
    /// at the daemon's start.
    #[serde(default)]
    pub state: VolumeState,
}

/// Owner record of what a driver is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum VolumeState {
    /// The driver has it.
    #[default]
    Ready,
    /// The driver was or will be told to remove it.
    Removing,
}

impl Record for VolumeRecord {
    const TABLE: &'static str = "volumes";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_on_disk_stays_readable() {
        let old = r#"{"name":"data","driver":"local","created":"2026-01-02T03:04:05Z"}"#;
        let record: VolumeRecord = serde_json::from_str(old).unwrap();
        assert_eq!(
            (record.name.as_str(), record.anonymous, record.state),
            ("data", false, VolumeState::Ready)
        );
        let again: VolumeRecord =
            serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
        assert_eq!(again, record);
    }
}
