//! Contexts: named daemons, kept where Docker's own client keeps them.
//!
//! ```text
//! ~/.docker/contexts/
//! ├── meta/<sha256 of the name>/meta.json       {"Name":…,"Metadata":{…},"Endpoints":{"docker":{"Host":…}}}
//! └── tls/<sha256 of the name>/docker/          ca.pem, cert.pem, key.pem; for nobody else's eyes
//! ```

use crate::exit::{Failure, Result};
use client::Tls;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use stdx::fs::{Durability, replace};

/// The context that is there without being kept: `-H`, `DOCKER_HOST`, or the usual socket.
pub(crate) const DEFAULT: &str = "default";
/// The endpoint that this client speaks to.
const ENDPOINT: &str = "docker";
/// The files of TLS, as an endpoint's folder has them.
pub(crate) const TLS_FILES: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];

/// One context.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Meta {
    /// What it is called.
    pub(crate) name: String,
    /// What is known of it.
    pub(crate) metadata: Metadata,
    /// Its daemons by kind; others' kinds are kept as they are.
    pub(crate) endpoints: BTreeMap<String, Json>,
}

/// What is known of a context.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Metadata {
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    /// What other programs keep here.
    #[serde(flatten)]
    pub(crate) others: BTreeMap<String, Json>,
}

/// Where a context's daemon is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    /// As `-H` takes it.
    #[serde(rename = "Host", default)]
    pub(crate) host: String,
    /// Any daemon will do.
    #[serde(rename = "SkipTLSVerify", default)]
    pub(crate) skip_verify: bool,
}

/// The files of TLS by name.
pub(crate) type TlsFiles = BTreeMap<String, Vec<u8>>;

impl Meta {
    /// A context with one daemon.
    pub(crate) fn new(name: &str, description: &str, endpoint: &Endpoint) -> Self {
        let mut meta = Self { name: name.to_owned(), ..Self::default() };
        meta.metadata.description = description.to_owned();
        meta.set_endpoint(endpoint);
        meta
    }

    /// Where its daemon is.
    pub(crate) fn endpoint(&self) -> Endpoint {
        let docker = self.endpoints.get(ENDPOINT).cloned().unwrap_or_default();
        serde_json::from_value(docker).unwrap_or_default()
    }

    /// Gives it another daemon.
    pub(crate) fn set_endpoint(&mut self, endpoint: &Endpoint) {
        let json = serde_json::to_value(endpoint).unwrap_or_default();
        self.endpoints.insert(ENDPOINT.to_owned(), json);
    }
}

/// The folder of contexts.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    root: PathBuf,
}

impl Store {
    /// That of a configuration folder.
    pub(crate) fn new(config: &Path) -> Self {
        Self { root: config.join("contexts") }
    }

    /// Where a context's record is.
    pub(crate) fn meta_path(&self, name: &str) -> PathBuf {
        self.root.join("meta").join(folder(name))
    }

    /// Where a context's files of TLS are.
    pub(crate) fn tls_path(&self, name: &str) -> PathBuf {
        self.root.join("tls").join(folder(name))
    }

    /// Whether there is one of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.meta_path(name).join("meta.json").exists()
    }

    /// The context of that name.
    pub(crate) fn read(&self, name: &str) -> Result<Meta> {
        let path = self.meta_path(name).join("meta.json");
        let text = std::fs::read(&path).map_err(|e| {
            Failure::new(match e.kind() {
                std::io::ErrorKind::NotFound => format!(
                    "context {name:?}: context not found: open {}: no such file or directory",
                    path.display()
                ),
                _ => format!("context {name:?}: open {}: {e}", path.display()),
            })
        })?;
        serde_json::from_slice(&text)
            .map_err(|e| Failure::new(format!("context {name:?}: parsing {}: {e}", path.display())))
    }

    /// All that can be read, by name.
    pub(crate) fn all(&self) -> Vec<Meta> {
        let entries = std::fs::read_dir(self.root.join("meta")).into_iter().flatten();
        let mut all: Vec<Meta> = entries
            .filter_map(|entry| std::fs::read(entry.ok()?.path().join("meta.json")).ok())
            .filter_map(|text| serde_json::from_slice(&text).ok())
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Keeps a context; what it had of TLS before is replaced.
    pub(crate) fn write(&self, meta: &Meta, tls: Option<&TlsFiles>) -> Result<()> {
        let path = self.meta_path(&meta.name);
        std::fs::create_dir_all(&path)?;
        if let Some(tls) = tls {
            self.write_tls(&meta.name, tls)?;
        }
        let text = serde_json::to_vec(meta).map_err(|e| Failure::new(e.to_string()))?;
        replace(&path.join("meta.json"), &text, 0o644, Durability::Power)
            .map_err(|e| Failure::new(e.to_string()))
    }

    fn write_tls(&self, name: &str, tls: &TlsFiles) -> Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        let path = self.tls_path(name);
        match std::fs::remove_dir_all(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
        if tls.is_empty() {
            return Ok(());
        }
        let folder = path.join(ENDPOINT);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        for (file, content) in tls {
            replace(&folder.join(file), content, 0o600, Durability::Power)
                .map_err(|e| Failure::new(e.to_string()))?;
        }
        Ok(())
    }

    /// Forgets a context.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        for path in [self.tls_path(name), self.meta_path(name)] {
            match std::fs::remove_dir_all(path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// A context's files of TLS.
    pub(crate) fn tls_files(&self, name: &str) -> TlsFiles {
        let folder = self.tls_path(name).join(ENDPOINT);
        let read = |file: &str| Some((file.to_owned(), std::fs::read(folder.join(file)).ok()?));
        TLS_FILES.iter().filter_map(|file| read(file)).collect()
    }

    /// How TLS is spoken with a context's daemon; `None`: not at all.
    pub(crate) fn tls(&self, name: &str, skip_verify: bool) -> Option<Tls> {
        let folder = self.tls_path(name).join(ENDPOINT);
        let file = |name: &str| Some(folder.join(name)).filter(|path| path.exists());
        let (ca, cert, key) = (file("ca.pem"), file("cert.pem"), file("key.pem"));
        if ca.is_none() && cert.is_none() && key.is_none() && !skip_verify {
            return None;
        }
        Some(Tls { ca, identity: cert.zip(key), skip_verify })
    }
}

/// A folder's name: names may have characters that folders cannot.
fn folder(name: &str) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a context may be called so, and may be changed.
pub(crate) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Failure::new("context name cannot be empty"));
    }
    if name == DEFAULT {
        return Err(Failure::new("\"default\" is a reserved context name"));
    }
    let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest = name.chars().skip(1).all(|c| c.is_ascii_alphanumeric() || "_.+-".contains(c));
    if first && rest && name.len() > 1 {
        return Ok(());
    }
    Err(Failure::new(format!(
        "context name {name:?} is invalid, names are validated against regexp \"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\""
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_where_docker_looks_for_it() {
        let home = std::env::temp_dir().join(format!("gantry-contexts-{}", std::process::id()));
        let store = Store::new(&home);
        let endpoint = Endpoint { host: "tcp://h:2376".to_owned(), skip_verify: true };
        let meta = Meta::new("aa", "mine", &endpoint);
        let tls = TlsFiles::from([("ca.pem".to_owned(), b"x".to_vec())]);
        store.write(&meta, Some(&tls)).unwrap();
        let folder = "961b6dd3ede3cb8ecbaacbd68de040cd78eb2ed5889130cceb4c49268ea4d506";
        let text =
            std::fs::read_to_string(home.join("contexts/meta").join(folder).join("meta.json"));
        assert_eq!(
            text.unwrap(),
            r#"{"Name":"aa","Metadata":{"Description":"mine"},"Endpoints":{"docker":{"Host":"tcp://h:2376","SkipTLSVerify":true}}}"#
        );
        assert!(home.join("contexts/tls").join(folder).join("docker/ca.pem").exists());
        assert_eq!(store.read("aa").unwrap(), meta);
        assert_eq!(store.tls_files("aa"), tls);
        assert!(store.tls("aa", false).is_some_and(|tls| tls.ca.is_some()));
        assert_eq!(store.all(), [meta]);
        store.remove("aa").unwrap();
        assert!(
            store
                .read("aa")
                .unwrap_err()
                .message
                .starts_with("context \"aa\": context not found: open ")
        );
        std::fs::remove_dir_all(home).unwrap();
    }

    #[test]
    fn names_are_checked() {
        assert!(check_name("a-b.c+d_1").is_ok());
        for name in ["a", "b/ad", "-x", ""] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert_eq!(
            check_name(DEFAULT).unwrap_err().message,
            "\"default\" is a reserved context name"
        );
    }
}
