//! The user's `config.json`, which is shared with Docker's own client: what is used here is read, and of what is written
//! everything else stays.

use crate::exit::{Failure, Result};
use api::AuthConfig;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::{Deserialize, Serialize as _};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// The file's content.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ConfigFile {
    auths: BTreeMap<String, AuthConfig>,
    #[serde(rename = "credsStore")]
    creds_store: String,
    #[serde(rename = "credHelpers")]
    cred_helpers: BTreeMap<String, String>,
    /// Sent with every request.
    #[serde(rename = "HttpHeaders")]
    pub http_headers: BTreeMap<String, String>,
    /// The keys that detach.
    #[serde(rename = "detachKeys")]
    pub detach_keys: String,
    /// The context that commands use.
    #[serde(rename = "currentContext")]
    pub current_context: String,
    /// `--format` of `ps`.
    #[serde(rename = "psFormat")]
    pub ps_format: String,
    /// `--format` of `images`.
    #[serde(rename = "imagesFormat")]
    pub images_format: String,
}

/// Where credentials of Docker Hub are kept.
const HUB: &str = "https://index.docker.io/v1/";

impl ConfigFile {
    /// Reads `config.json` in `directory`; a file that is not there is an empty one.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join("config.json");
        let wrong = |what: &str| {
            Failure::new(format!("WARNING: Error loading config file: {}: {what}", path.display()))
        };
        match std::fs::read(&path) {
            Ok(text) if text.iter().all(u8::is_ascii_whitespace) => Ok(Self::default()),
            Ok(text) => api::json::from_slice(&text).map_err(|e| wrong(&e.to_string())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(wrong(&e.to_string())),
        }
    }

    /// The value of `X-Registry-Auth` for a registry, empty when there are no credentials for it.
    pub fn registry_auth(&self, registry: &str) -> String {
        let key = if registry == "docker.io" { HUB } else { registry };
        let Some(stored) = self.auths.get(key).or_else(|| self.by_host(registry)) else {
            return String::new();
        };
        let mut auth = stored.clone();
        if !auth.auth.is_empty() {
            if let Some((name, password)) = decode(&auth.auth) {
                auth.username = name;
                auth.password = password;
            }
            auth.auth.clear();
        }
        if auth.username.is_empty()
            && auth.identitytoken.is_empty()
            && auth.registrytoken.is_empty()
        {
            return String::new();
        }
        auth.serveraddress = key.to_owned();
        serde_json::to_vec(&auth).map(|json| URL_SAFE.encode(json)).unwrap_or_default()
    }

    /// The helper that keeps the credentials for a registry, if it is not this file.
    pub fn helper(&self, registry: &str) -> Option<&str> {
        let helper = self.cred_helpers.get(registry).unwrap_or(&self.creds_store);
        Some(helper.as_str()).filter(|h| !h.is_empty())
    }

    /// Old files have `https://host/v1/` as keys.
    fn by_host(&self, registry: &str) -> Option<&AuthConfig> {
        let host = |key: &str| {
            let plain = key.trim_start_matches("https://").trim_start_matches("http://");
            plain.split('/').next().unwrap_or_default().to_owned()
        };
        self.auths.iter().find(|(key, _)| host(key) == registry).map(|(_, auth)| auth)
    }
}

/// Writes which context commands use; the empty name: the default one. Nothing else in the file changes.
pub(crate) fn set_current_context(directory: &Path, name: &str) -> Result<()> {
    let path = directory.join("config.json");
    // A link stays one: its target is replaced.
    let path = std::fs::canonicalize(&path).unwrap_or(path);
    let failed = |e: &dyn std::fmt::Display| Failure::new(format!("{}: {e}", path.display()));
    let (mut config, mode) = match std::fs::read(&path) {
        Ok(text) => {
            let config = serde_json::from_slice::<serde_json::Map<_, _>>(&text);
            let mode = std::fs::metadata(&path).map_or(0o600, |m| m.permissions().mode() & 0o777);
            (config.map_err(|e| failed(&e))?, mode)
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(directory)?;
            (serde_json::Map::from_iter([("auths".to_owned(), serde_json::json!({}))]), 0o600)
        }
        Err(e) => return Err(failed(&e)),
    };
    if name.is_empty() {
        config.remove("currentContext");
    } else {
        config.insert("currentContext".to_owned(), name.into());
    }
    let mut text = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut writer = serde_json::Serializer::with_formatter(&mut text, tabs);
    config.serialize(&mut writer).map_err(|e| failed(&e))?;
    stdx::fs::replace(&path, &text, mode, stdx::fs::Durability::Power).map_err(|e| failed(&e))
}

/// base64 of `name:password`.
fn decode(text: &str) -> Option<(String, String)> {
    let plain = String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok()?;
    let (name, password) = plain.split_once(':')?;
    Some((name.to_owned(), password.trim_end_matches('\0').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth_for(config: &str, registry: &str) -> String {
        let config: ConfigFile = api::json::from_slice(config.as_bytes()).unwrap();
        let value = config.registry_auth(registry);
        String::from_utf8(URL_SAFE.decode(value).unwrap()).unwrap()
    }

    #[test]
    fn credentials_are_sent_as_the_api_wants_them() {
        // "me:secret"
        let config = r#"{"auths":{"localhost:5000":{"auth":"bWU6c2VjcmV0"},"https://old.example/v1/":{"identitytoken":"t"}}}"#;
        assert_eq!(
            auth_for(config, "localhost:5000"),
            r#"{"username":"me","password":"secret","serveraddress":"localhost:5000"}"#
        );
        assert_eq!(
            auth_for(config, "old.example"),
            r#"{"serveraddress":"old.example","identitytoken":"t"}"#
        );
        assert_eq!(auth_for(config, "docker.io"), "");
    }
}
