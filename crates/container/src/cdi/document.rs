//! A CDI specification file, JSON or YAML.

use oci::runtime::Device;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use stdx::{Context as _, Error, Result};

/// No specification is longer than this many bytes.
const MOST: u64 = 4 << 20;

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Document {
    pub(super) cdi_version: String,
    /// `vendor.com/class`
    pub(super) kind: String,
    pub(super) devices: Vec<NamedDevice>,
    /// For a container that gets any of the devices.
    pub(super) container_edits: Edits,
}

/// One device.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct NamedDevice {
    pub(super) name: String,
    pub(super) container_edits: Edits,
}

/// What a container needs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Edits {
    pub(super) env: Vec<String>,
    pub(super) device_nodes: Vec<Node>,
    pub(super) mounts: Vec<Mount>,
    pub(super) hooks: Vec<Hook>,
    pub(super) intel_rdt: Option<serde_json::Value>,
    pub(super) additional_gids: Vec<u32>,
}

/// A device node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Node {
    path: PathBuf,
    host_path: Option<PathBuf>,
    #[serde(rename = "type")]
    kind: Option<String>,
    major: Option<i64>,
    minor: Option<i64>,
    file_mode: Option<u32>,
    permissions: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
}

/// A mount.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Mount {
    pub(super) host_path: PathBuf,
    pub(super) container_path: PathBuf,
    pub(super) options: Vec<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
}

/// A hook.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Hook {
    pub(super) hook_name: String,
    pub(super) path: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) timeout: Option<i64>,
}

impl Document {
    /// Reads and checks a file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let size = std::fs::metadata(path).context(|| "look at the file")?.len();
        if size > MOST {
            return Err(Error::invalid("the file is too large"));
        }
        let text = std::fs::read_to_string(path).context(|| "read the file")?;
        Self::parse(&text, path.extension().is_some_and(|e| e == "json"))
    }

    pub(super) fn parse(text: &str, json: bool) -> Result<Self> {
        let document: Self = if json {
            serde_json::from_str(text).map_err(|e| Error::invalid(e.to_string()))?
        } else {
            serde_saphyr::from_str(text).map_err(|e| Error::invalid(e.to_string()))?
        };
        let version = document.cdi_version.as_str();
        if !version.starts_with("0.") && !version.starts_with("1.") {
            return Err(Error::invalid(format!("unknown CDI version {version:?}")));
        }
        let words = document.kind.split_once('/');
        if !words.is_some_and(|(vendor, class)| is_word(vendor) && is_word(class)) {
            return Err(Error::invalid(format!("invalid kind {:?}", document.kind)));
        }
        if let Some(bad) = document.devices.iter().find(|d| !is_word(&d.name)) {
            return Err(Error::invalid(format!("invalid device name {:?}", bad.name)));
        }
        Ok(document)
    }
}

fn is_word(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphanumeric())
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:".contains(&b))
}

impl Node {
    /// The node to make, what is not said taken from the host's own, and the access to allow.
    pub(super) fn resolve(&self) -> Result<(Device, String)> {
        let permissions = self.permissions.clone().unwrap_or_else(|| "rwm".to_owned());
        if permissions.is_empty() || !permissions.chars().all(|c| "rwm".contains(c)) {
            return Err(Error::invalid(format!("invalid device permissions {permissions:?}")));
        }
        let whole =
            self.kind.is_some() && (self.major.is_some() || self.kind.as_deref() == Some("p"));
        let mut device = if whole {
            Device {
                path: self.path.clone(),
                kind: self.kind.clone().unwrap_or_default(),
                major: self.major,
                minor: Some(self.minor.unwrap_or(0)),
                file_mode: None,
                uid: None,
                gid: None,
            }
        } else {
            crate::devices::at(self.host_path.as_ref().unwrap_or(&self.path), &self.path)?
        };
        device.file_mode = self.file_mode.or(device.file_mode);
        device.uid = self.uid.or(device.uid);
        device.gid = self.gid.or(device.gid);
        Ok((device, permissions))
    }
}
