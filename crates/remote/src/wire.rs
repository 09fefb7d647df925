//! JSON that registries and token servers speak.

use serde::Deserialize;

/// The body of an error answer (distribution-spec "Error Codes").
#[derive(Debug, Deserialize)]
pub(crate) struct Errors {
    #[serde(default)]
    pub(crate) errors: Vec<ErrorEntry>,
}

/// One error.
#[derive(Debug, Deserialize)]
pub(crate) struct ErrorEntry {
    #[serde(default)]
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) message: String,
}

/// What a token server answers.
#[derive(Deserialize)]
pub(crate) struct Token {
    #[serde(default)]
    pub(crate) token: String,
    #[serde(default)]
    pub(crate) access_token: String,
    /// Seconds; 60 when left out, as the specification says.
    #[serde(default)]
    pub(crate) expires_in: Option<u64>,
}
