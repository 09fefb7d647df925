//! Manifests and indexes: what an image consists of, by digest.

use super::media;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::{Digest, Platform};

/// The largest manifest or index in bytes; registries refuse larger ones too (CVE-2017-11468 was having no limit).
pub const MAX_DOCUMENT: u64 = 4 << 20;
/// The largest image configuration in bytes.
pub const MAX_CONFIG: u64 = 8 << 20;
/// The most layers of one image, and the most manifests of one index.
pub const MAX_LAYERS: usize = 500;

/// The name, type and size of some content (image-spec `descriptor.md`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the bytes are.
    #[serde(default)]
    pub media_type: String,
    /// What the bytes hash to.
    pub digest: Digest,
    /// How many bytes there are.
    pub size: u64,
    /// Other places that have it. Never followed: a manifest does not choose whom we talk to.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "super::config::null_is_empty"
    )]
    pub urls: Vec<String>,
    /// Notes.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "super::config::null_is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// In an index: what the manifest's image runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<DescriptorPlatform>,
}

/// A platform as an index spells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescriptorPlatform {
    /// The architecture in Go's spelling.
    #[serde(default)]
    pub architecture: String,
    /// The operating system in Go's spelling.
    #[serde(default)]
    pub os: String,
    /// The architecture's variant.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl DescriptorPlatform {
    /// In normal spelling.
    pub fn normal(&self) -> Platform {
        Platform::new(&self.os, &self.architecture, &self.variant)
    }
}

/// One image: its configuration and its layers, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// The document's own type; OCI allows to leave it out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The image's configuration. Its digest is the image's id.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Notes.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "super::config::null_is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// Several manifests, usually of one image for several platforms; Docker calls it a manifest list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// The document's own type; OCI allows to leave it out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
    /// Notes.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "super::config::null_is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// What a registry answers for a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// A choice of images.
    Index(Index),
}

/// The bytes are no document that we accept.
#[derive(Debug, thiserror::Error)]
pub enum InvalidDocument {
    /// No JSON, or fields of the wrong shape. Duplicate fields too.
    #[error("manifest is damaged: {0}")]
    Json(#[from] serde_json::Error),
    /// Something else than a JSON object.
    #[error("manifest is damaged: it is no JSON object")]
    NotAnObject,
    /// It could be read as two things (CVE-2021-41190).
    #[error("manifest is ambiguous: it has both \"manifests\" and \"{0}\"")]
    Ambiguous(&'static str),
    /// It says it is something else than what it was asked for or sent as.
    #[error("manifest of media type \"{found}\" arrived as \"{expected}\"")]
    MediaType {
        /// What it was sent as.
        expected: String,
        /// What it says it is.
        found: String,
    },
    /// Neither manifest nor index.
    #[error("unsupported manifest media type \"{0}\"")]
    Unsupported(String),
    /// What registries spoke before 2016.
    #[error(
        "docker image manifest version 2, schema 1 is not supported: push the image again with a current client"
    )]
    Schema1,
    /// The version is not 2.
    #[error("unsupported manifest schema version {0}")]
    Version(u32),
    /// More bytes, layers or manifests than any honest image has.
    #[error("manifest is too large")]
    TooLarge,
}

impl From<InvalidDocument> for stdx::Error {
    fn from(error: InvalidDocument) -> Self {
        let kind = match &error {
            InvalidDocument::Unsupported(_) | InvalidDocument::Schema1 => {
                stdx::Kind::NotImplemented
            }
            _ => stdx::Kind::DataLoss,
        };
        Self::new(kind, error.to_string())
    }
}

/// Only what tells documents apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Reads a document that was sent, or is described, as `media_type`; `None` when nobody said.
    pub fn parse(bytes: &[u8], media_type: Option<&str>) -> Result<Self, InvalidDocument> {
        if bytes.len() as u64 > MAX_DOCUMENT {
            return Err(InvalidDocument::TooLarge);
        }
        // serde reads an array as a struct, field by field; nobody else does.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(InvalidDocument::NotAnObject);
        }
        let shape: Shape = serde_json::from_slice(bytes)?;
        if shape.manifests.is_some() {
            let other = [("layers", shape.layers.is_some()), ("config", shape.config.is_some())];
            if let Some((name, _)) = other.iter().find(|(_, there)| *there) {
                return Err(InvalidDocument::Ambiguous(name));
            }
        }
        if shape.fs_layers.is_some() || shape.schema_version == 1 {
            return Err(InvalidDocument::Schema1);
        }
        if shape.schema_version != 2 {
            return Err(InvalidDocument::Version(shape.schema_version));
        }
        let own = shape.media_type.filter(|m| !m.is_empty());
        if let (Some(expected), Some(found)) = (media_type, &own)
            && expected != found
        {
            return Err(InvalidDocument::MediaType {
                expected: expected.into(),
                found: found.clone(),
            });
        }
        let is_index = match own.as_deref().or(media_type) {
            Some(media::OCI_INDEX | media::DOCKER_LIST) => true,
            Some(media::OCI_MANIFEST | media::DOCKER_MANIFEST) => false,
            Some(other) => return Err(InvalidDocument::Unsupported(other.to_owned())),
            None => shape.manifests.is_some(),
        };
        if is_index {
            let index: Index = serde_json::from_slice(bytes)?;
            if index.manifests.len() > MAX_LAYERS {
                return Err(InvalidDocument::TooLarge);
            }
            return Ok(Self::Index(index));
        }
        let manifest: Manifest = serde_json::from_slice(bytes)?;
        if manifest.layers.len() > MAX_LAYERS {
            return Err(InvalidDocument::TooLarge);
        }
        Ok(Self::Manifest(manifest))
    }
}

impl Index {
    /// The manifest that runs best on `platform`; of equals the first, as the specification has it.
    pub fn choose(&self, platform: &Platform) -> Option<&Descriptor> {
        let rank = |d: &Descriptor| platform.rank(&d.platform.as_ref()?.normal());
        self.manifests
            .iter()
            .filter_map(|d| Some((rank(d)?, d)))
            .min_by_key(|(r, _)| *r)
            .map(|(_, d)| d)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:9834876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0";

    fn descriptor(media_type: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"{D}","size":3}}"#)
    }

    fn manifest(extra: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,{extra}"config":{},"layers":[{}]}}"#,
            descriptor(media::OCI_CONFIG),
            descriptor(media::OCI_LAYER_GZIP)
        )
    }

    #[test]
    fn a_manifest_is_what_it_was_sent_as() {
        let plain = manifest("");
        assert!(matches!(Document::parse(plain.as_bytes(), None), Ok(Document::Manifest(_))));
        assert!(matches!(
            Document::parse(plain.as_bytes(), Some(media::OCI_MANIFEST)),
            Ok(Document::Manifest(_))
        ));
        let typed = manifest(&format!("\"mediaType\":\"{}\",", media::DOCKER_MANIFEST));
        assert!(Document::parse(typed.as_bytes(), Some(media::DOCKER_MANIFEST)).is_ok());
        let refuse = |text: &str, sent: Option<&str>, error: &str| {
            assert_eq!(Document::parse(text.as_bytes(), sent).unwrap_err().to_string(), error);
        };
        refuse(
            &typed,
            Some(media::OCI_INDEX),
            &format!(
                "manifest of media type \"{}\" arrived as \"{}\"",
                media::DOCKER_MANIFEST,
                media::OCI_INDEX
            ),
        );
        refuse(&plain, Some("text/html"), "unsupported manifest media type \"text/html\"");
        refuse(
            &manifest("\"manifests\":[],"),
            Some(media::OCI_INDEX),
            "manifest is ambiguous: it has both \"manifests\" and \"layers\"",
        );
        refuse(&plain.replace(":2,", ":3,"), None, "unsupported manifest schema version 3");
        refuse(
            r#"{"schemaVersion":1,"fsLayers":[]}"#,
            None,
            "docker image manifest version 2, schema 1 is not supported: push the image again with a current client",
        );
        for bad in ["", "[]", "{", "null", r#"{"schemaVersion":2,"schemaVersion":2}"#] {
            assert!(
                matches!(
                    Document::parse(bad.as_bytes(), None),
                    Err(InvalidDocument::Json(_) | InvalidDocument::NotAnObject)
                ),
                "{bad}"
            );
        }
        for (from, to) in [
            ("\"size\":3", "\"size\":-3"),
            (D, "sha256:../../etc/passwd"),
            ("\"layers\":[", "\"layers\":[7,"),
        ] {
            assert!(Document::parse(plain.replace(from, to).as_bytes(), None).is_err(), "{to}");
        }
    }

    #[test]
    fn limits_hold() {
        let many = vec![descriptor(media::OCI_LAYER); MAX_LAYERS + 1].join(",");
        let text = manifest("").replace("\"layers\":[", &format!("\"layers\":[{many},"));
        assert!(matches!(Document::parse(text.as_bytes(), None), Err(InvalidDocument::TooLarge)));
        let huge = " ".repeat(MAX_DOCUMENT as usize + 1);
        assert!(matches!(Document::parse(huge.as_bytes(), None), Err(InvalidDocument::TooLarge)));
    }

    #[test]
    fn an_index_offers_a_choice() {
        let entry = |os: &str, arch: &str, variant: &str, size: u32| {
            format!(
                r#"{{"mediaType":"{}","digest":"{D}","size":{size},"platform":{{"os":"{os}","architecture":"{arch}","variant":"{variant}"}}}}"#,
                media::OCI_MANIFEST
            )
        };
        let text = format!(
            r#"{{"schemaVersion":2,"annotations":null,"manifests":[{},{},{},{},{}]}}"#,
            descriptor(media::OCI_MANIFEST),
            entry("unknown", "unknown", "", 1),
            entry("linux", "arm", "v7", 2),
            entry("linux", "arm64", "v8", 3),
            entry("linux", "amd64", "", 4),
        );
        let Ok(Document::Index(index)) = Document::parse(text.as_bytes(), None) else {
            panic!("an index")
        };
        let chosen = |p: &str| index.choose(&p.parse().unwrap()).map(|d| d.size);
        assert_eq!(chosen("linux/amd64"), Some(4));
        assert_eq!(chosen("linux/arm64"), Some(3));
        assert_eq!(chosen("linux/arm/v7"), Some(2));
        assert_eq!(chosen("linux/arm/v6"), None);
        assert_eq!(chosen("linux/riscv64"), None);
    }
}
