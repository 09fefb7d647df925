//! The user's `config.json`, which is shared with Docker's own client: what is used here is read, and of what is written
//! (credentials, the current context) everything else stays.

use crate::exit::{Failure, Result};
use api::AuthConfig;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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
    /// `--format` of `stats`.
    #[serde(rename = "statsFormat")]
    pub stats_format: String,
    /// `--format` of `images`.
    #[serde(rename = "imagesFormat")]
    pub images_format: String,
    /// `--format` of `network ls`.
    #[serde(rename = "networksFormat")]
    pub networks_format: String,
    /// `--format` of `volume ls`.
    #[serde(rename = "volumesFormat")]
    pub volumes_format: String,
    proxies: BTreeMap<String, Proxies>,
}

/// Proxies that containers are told of.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Proxies {
    http_proxy: String,
    https_proxy: String,
    no_proxy: String,
    ftp_proxy: String,
    all_proxy: String,
}

/// What `config.json` is to say of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Entry<'a> {
    /// These are its credentials.
    Secret(&'a AuthConfig),
    /// It is known, but its credentials are with a helper.
    Elsewhere,
    /// Nothing.
    None,
}

/// Where credentials of Docker Hub are kept.
pub(crate) const HUB: &str = "https://index.docker.io/v1/";

impl ConfigFile {
    /// Reads `config.json` in `directory`; a file that is not there is an empty one.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join("config.json");
        let wrong = |what: &str| {
            Failure::new(format!("WARNING: Error loading config file: {}: {what}", path.display()))
        };
        let broken = |what: &str| {
            Failure::new(format!("WARNING: Error parsing config file ({}): {what}", path.display()))
        };
        match std::fs::read(&path) {
            Ok(text) if text.iter().all(u8::is_ascii_whitespace) => Ok(Self::default()),
            Ok(text) => api::json::from_slice(&text).map_err(|e| broken(&e.to_string())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(wrong(&e.to_string())),
        }
    }

    /// What is stored for a server, as `login` calls it.
    pub fn stored(&self, server: &str) -> Option<AuthConfig> {
        self.auths.get(server).map(decoded)
    }

    /// The helper that keeps the credentials for a registry, if it is not this file.
    pub fn helper(&self, registry: &str) -> Option<&str> {
        let helper = self.cred_helpers.get(registry).unwrap_or(&self.creds_store);
        Some(helper.as_str()).filter(|h| !h.is_empty())
    }

    /// Adds the proxies for containers of the daemon at `host`, in both spellings, as far as the user has not said
    /// otherwise.
    pub(crate) fn add_proxies(&self, host: &str, env: &mut Vec<String>) {
        let Some(proxies) = self.proxies.get(host).or_else(|| self.proxies.get("default")) else {
            return;
        };
        for (name, value) in [
            ("HTTP_PROXY", &proxies.http_proxy),
            ("HTTPS_PROXY", &proxies.https_proxy),
            ("NO_PROXY", &proxies.no_proxy),
            ("FTP_PROXY", &proxies.ftp_proxy),
            ("ALL_PROXY", &proxies.all_proxy),
        ] {
            for name in [name.to_owned(), name.to_lowercase()] {
                let is_given = |variable: &String| variable.split('=').next() == Some(&name);
                if !value.is_empty() && !env.iter().any(is_given) {
                    env.push(format!("{name}={value}"));
                }
            }
        }
    }

    /// What is stored for a registry under an older name of it.
    pub(crate) fn stored_by_host(&self, registry: &str) -> Option<AuthConfig> {
        self.by_host(registry).map(decoded)
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

/// Stored credentials with user and password taken apart.
fn decoded(stored: &AuthConfig) -> AuthConfig {
    let mut auth = stored.clone();
    if !auth.auth.is_empty() {
        if let Some((name, password)) = decode(&auth.auth) {
            auth.username = name;
            auth.password = password;
        }
        auth.auth.clear();
    }
    auth
}

/// Writes what is to be said of one server. The file is replaced as a whole, readable for its owner alone.
pub(crate) fn store(file: &Path, server: &str, entry: Entry<'_>) -> Result<(), Failure> {
    let wrong = |what: &dyn std::fmt::Display| {
        Failure::new(format!("Error saving credentials: {}: {what}", file.display()))
    };
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(wrong(&e)),
    };
    let mut document: serde_json::Map<String, serde_json::Value> =
        if text.iter().all(u8::is_ascii_whitespace) {
            serde_json::Map::new()
        } else {
            serde_json::from_slice(&text).map_err(|e| wrong(&e))?
        };
    let auths = document.entry("auths").or_insert_with(|| serde_json::json!({}));
    let auths = auths.as_object_mut().ok_or_else(|| wrong(&"\"auths\" is no object"))?;
    match entry {
        Entry::None if auths.remove(server).is_none() => return Ok(()),
        Entry::None => {}
        Entry::Elsewhere => {
            auths.insert(server.to_owned(), serde_json::json!({}));
        }
        Entry::Secret(auth) => {
            let pair = STANDARD.encode(format!("{}:{}", auth.username, auth.password));
            let mut entry = serde_json::json!({ "auth": pair });
            if !auth.identitytoken.is_empty() {
                entry["identitytoken"] = auth.identitytoken.clone().into();
            }
            auths.insert(server.to_owned(), entry);
        }
    }
    let text = pretty(&document).map_err(|e| wrong(&e))?;
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(|e| wrong(&e))?;
    }
    // A link is written through: some keep this file elsewhere.
    let file = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    stdx::fs::replace(&file, &text, 0o600, stdx::fs::Durability::Power).map_err(|e| wrong(&e))
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
    let text = pretty(&config).map_err(|e| failed(&e))?;
    stdx::fs::replace(&path, &text, mode, stdx::fs::Durability::Power).map_err(|e| failed(&e))
}

/// JSON as Docker's client lays it out.
fn pretty(
    document: &serde_json::Map<String, serde_json::Value>,
) -> Result<Vec<u8>, serde_json::Error> {
    let mut text = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    document.serialize(&mut serde_json::Serializer::with_formatter(&mut text, tabs))?;
    Ok(text)
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
    use base64::engine::general_purpose::URL_SAFE;

    fn auth_for(config: &str, registry: &str) -> String {
        let config: ConfigFile = api::json::from_slice(config.as_bytes()).unwrap();
        let value = crate::credentials::header(&config, registry);
        String::from_utf8(URL_SAFE.decode(value).unwrap()).unwrap()
    }

    #[test]
    fn credentials_are_stored_beside_everything_else() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = std::env::temp_dir().join(format!("cli-config-{}", std::process::id()));
        let file = folder.join("config.json");
        let auth = AuthConfig {
            username: "me".to_owned(),
            password: "secret".to_owned(),
            ..AuthConfig::default()
        };
        store(&file, "localhost:5000", Entry::Secret(&auth)).unwrap();
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(
            &file,
            r#"{"psFormat":"x","unknown":{"a":1},"auths":{"b":{"auth":"eDp5"}}}"#,
        )
        .unwrap();
        store(&file, "localhost:5000", Entry::Secret(&auth)).unwrap();
        let config = ConfigFile::read(&folder).unwrap();
        assert_eq!(config.stored("localhost:5000").unwrap().password, "secret");
        assert_eq!(config.stored("b").unwrap().username, "x");
        store(&file, "b", Entry::None).unwrap();
        store(&file, "never", Entry::None).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("unknown") && text.contains("psFormat") && !text.contains("eDp5"));
        std::fs::write(&file, "{").unwrap();
        store(&file, "b", Entry::Secret(&auth)).unwrap_err();
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn containers_are_told_of_proxies_in_both_spellings() {
        let config: ConfigFile = api::json::from_slice(
            br#"{"proxies":{"default":{"httpProxy":"http://p","noProxy":"a,b"},"unix:///s":{"allProxy":"x"}}}"#,
        )
        .unwrap();
        let check = |host: &str, given: &[&str], wanted: &[&str]| {
            let mut env: Vec<String> = given.iter().map(|v| (*v).to_owned()).collect();
            config.add_proxies(host, &mut env);
            assert_eq!(env, wanted);
        };
        check(
            "tcp://h",
            &[],
            &["HTTP_PROXY=http://p", "http_proxy=http://p", "NO_PROXY=a,b", "no_proxy=a,b"],
        );
        check("unix:///s", &["A=1"], &["A=1", "ALL_PROXY=x", "all_proxy=x"]);
        check("unix:///s", &["ALL_PROXY=mine", "all_proxy"], &["ALL_PROXY=mine", "all_proxy"]);
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
