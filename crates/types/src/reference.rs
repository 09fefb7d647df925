//! Image references: `[domain/]path[:tag][@digest]`.
//!
//! Source: the grammar in the distribution project's reference package, and Docker's normalisation: a name without a
//! domain is on `docker.io`, and one without a slash there is in `library/`. `familiar` takes both away again.

use crate::digest::Digest;
use std::fmt;
use std::str::FromStr;

/// Where names without a domain live.
pub const DEFAULT_DOMAIN: &str = "docker.io";
/// The tag of a reference that has neither tag nor digest, once asked for.
pub const DEFAULT_TAG: &str = "latest";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
const MAX_PATH: usize = 255;
const MAX_TAG: usize = 128;

/// A normalised image reference. Prints in full (`docker.io/library/busybox:latest`); [`familiar`](Self::familiar) is
/// the short form that users type and see.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageRef {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// The text is no image reference; the messages are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// The grammar does not match.
    #[error("invalid reference format")]
    Format,
    /// The path has upper-case letters.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// 64 hexadecimal digits would be taken for an image id.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    Identifier(String),
    /// More than 255 characters of path.
    #[error("repository name must not be more than {MAX_PATH} characters")]
    TooLong,
    /// The digest after `@` does not parse.
    #[error("{0}")]
    Digest(#[from] crate::digest::InvalidDigest),
    /// The tag alone does not parse.
    #[error("invalid tag format")]
    Tag,
}

impl ImageRef {
    /// The registry's host and, if given, port.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry, `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if there is one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if there is one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Domain and path, `docker.io/library/busybox`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The name as users type it, `busybox`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        match self.path.strip_prefix(OFFICIAL) {
            Some(rest) if !rest.contains('/') => rest.to_owned(),
            _ if split_domain(&self.path).0 != DEFAULT_DOMAIN => self.name(),
            _ => self.path.clone(),
        }
    }

    /// The whole reference as users type it, `busybox:latest`.
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_name();
        self.push_suffix(&mut text);
        text
    }

    /// Whether there is neither tag nor digest.
    pub fn is_name_only(&self) -> bool {
        self.tag.is_none() && self.digest.is_none()
    }

    /// With `:latest` if there is neither tag nor digest.
    #[must_use]
    pub fn with_default_tag(mut self) -> Self {
        if self.is_name_only() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// The same name with this tag alone.
    pub fn with_tag(&self, tag: &str) -> Result<Self, InvalidReference> {
        if !is_tag(tag) {
            return Err(InvalidReference::Tag);
        }
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same name with this digest alone.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The same without digest: `name:tag` of `name:tag@digest`.
    #[must_use]
    pub fn without_digest(&self) -> Self {
        Self { digest: None, ..self.clone() }
    }

    /// The name alone.
    #[must_use]
    pub fn name_only(&self) -> Self {
        Self { tag: None, digest: None, ..self.clone() }
    }

    fn push_suffix(&self, text: &mut String) {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
    }
}

impl FromStr for ImageRef {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(InvalidReference::Identifier(text.to_owned()));
        }
        let (domain, rest) = split_domain(text);
        let rest = if domain == DEFAULT_DOMAIN && !rest.contains('/') {
            format!("{OFFICIAL}{rest}")
        } else {
            rest.to_owned()
        };
        let repository = rest.split(':').next().unwrap_or_default();
        if repository.chars().any(char::is_uppercase) {
            return Err(InvalidReference::Uppercase(repository.to_owned()));
        }
        let (named, digest) = match rest.split_once('@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (rest.as_str(), None),
        };
        let (path, tag) = match named.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (named, None),
        };
        if !is_domain(domain) || !path.split('/').all(is_component) || !tag.is_none_or(is_tag) {
            return Err(InvalidReference::Format);
        }
        if let Some(digest) = digest
            && !looks_like_digest(digest)
        {
            return Err(InvalidReference::Format);
        }
        if path.len() > MAX_PATH {
            return Err(InvalidReference::TooLong);
        }
        let digest = digest.map(str::parse).transpose()?;
        Ok(Self {
            domain: domain.to_owned(),
            path: path.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.name();
        self.push_suffix(&mut text);
        f.pad(&text)
    }
}

impl fmt::Debug for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether the first part names a registry: it has a dot, a colon or an upper-case letter, or is `localhost`.
fn split_domain(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((LEGACY_DOMAIN, rest)) => (DEFAULT_DOMAIN, rest),
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.chars().any(char::is_uppercase) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, text),
    }
}

fn is_domain(text: &str) -> bool {
    let (host, port) = if text.starts_with('[') {
        let Some(end) = text.find(']') else { return false };
        let (host, port) = text.split_at(end + 1);
        if port.is_empty() {
            (host, None)
        } else {
            let Some(port) = port.strip_prefix(':') else { return false };
            (host, Some(port))
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let host_ok = match host.strip_prefix('[') {
        Some(v6) => {
            let v6 = v6.trim_end_matches(']');
            !v6.is_empty() && v6.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
        }
        None => host.split('.').all(|label| {
            let bytes = label.as_bytes();
            bytes.first().is_some_and(u8::is_ascii_alphanumeric)
                && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
                && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
        }),
    };
    host_ok && port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}

/// `[a-z0-9]+` joined by `.`, `_`, `__` or any number of `-`.
fn is_component(text: &str) -> bool {
    let alphanumeric = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9');
    let bytes = text.as_bytes();
    if !bytes.first().is_some_and(alphanumeric) || !bytes.last().is_some_and(alphanumeric) {
        return false;
    }
    bytes.split(alphanumeric).all(|separator| {
        matches!(separator, [] | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-')
    })
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|b| word(*b))
        && bytes.len() <= MAX_TAG
        && bytes.iter().all(|b| word(*b) || matches!(b, b'.' | b'-'))
}

/// The reference grammar's digest, wider than what [`Digest`] accepts: it decides which error a bad one gets.
fn looks_like_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let part = |p: &str| {
        p.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
            && p.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    algorithm.split(['-', '_', '+', '.']).all(part)
        && hex.len() >= 32
        && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
#[path = "reference/tests.rs"]
mod tests;
