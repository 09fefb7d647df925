//! The lines of progress streams (`pull`, `load`, `push`, `build`).

use crate::json::is_default;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One JSON line of a progress stream.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct JsonMessage {
    #[serde(skip_serializing_if = "is_default")]
    pub stream: String,
    #[serde(skip_serializing_if = "is_default")]
    pub status: String,
    #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
    pub progress_detail: Option<Progress>,
    /// The bar as text, for clients that do not draw it themselves.
    #[serde(skip_serializing_if = "is_default")]
    pub progress: String,
    /// What `status` is about, such as a layer's short digest.
    #[serde(skip_serializing_if = "is_default")]
    pub id: String,
    #[serde(rename = "errorDetail", skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<JsonError>,
    #[serde(skip_serializing_if = "is_default")]
    pub error: String,
    /// Machine-readable extras of `push` and `build`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux: Option<Box<RawValue>>,
}

/// How far something is; `{}` when nothing is known yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Progress {
    #[serde(skip_serializing_if = "is_default")]
    pub current: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub total: i64,
}

/// Why the stream ended early: status 200 was sent long before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct JsonError {
    #[serde(skip_serializing_if = "is_default")]
    pub code: i64,
    pub message: String,
}

impl JsonMessage {
    /// A last line that tells an error.
    pub fn failure(text: impl Into<String>) -> Self {
        let message = text.into();
        Self {
            error: message.clone(),
            error_detail: Some(JsonError { code: 0, message }),
            ..Self::default()
        }
    }
}
