//! What is on disk and on the wire, as it is spelled there.

use serde::Deserialize;

/// `NAME.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Manifest {
    pub(crate) addr: String,
    #[serde(rename = "TLSConfig")]
    pub(crate) tls: Option<ManifestTls>,
}

/// How to be sure of a plugin.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct ManifestTls {
    pub(crate) insecure_skip_verify: bool,
    #[serde(rename = "CAFile")]
    pub(crate) ca_file: String,
    pub(crate) cert_file: String,
    pub(crate) key_file: String,
}

/// The answer to `/Plugin.Activate`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Activated {
    pub(crate) implements: Option<Vec<String>>,
}

/// What a plugin says when it could not do what it was asked.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Complaint {
    #[serde(rename = "Err", alias = "err", alias = "Error", alias = "message")]
    pub(crate) text: Option<String>,
}
