//! Where plugins are found.

use crate::wire::Manifest;
use dial::Tls;
use std::io::Read as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use stdx::{Context as _, Error, Result};

/// Bytes of the largest file that says where a plugin is.
const LARGEST_FILE: u64 = 64 << 10;

/// The folders that are looked in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// Of sockets.
    pub sockets: PathBuf,
    /// Of files that say where a plugin listens, in the order in which they are looked at.
    pub specs: Vec<PathBuf>,
}

/// Docker's.
impl Default for Folders {
    fn default() -> Self {
        Self {
            sockets: "/run/docker/plugins".into(),
            specs: vec!["/etc/docker/plugins".into(), "/usr/lib/docker/plugins".into()],
        }
    }
}

/// Where a plugin listens.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    /// A socket's path.
    Unix(PathBuf),
    /// `host:port`, with TLS where it is given.
    Tcp(String, Option<Tls>),
}

impl Folders {
    /// Where the plugin of that name listens; `None`: there is none.
    ///
    /// # Errors
    /// A file of its name that says nothing of use.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Address>> {
        if !is_name(name) {
            return Ok(None);
        }
        let here = |folder: &Path, ending: &str| {
            [
                folder.join(format!("{name}.{ending}")),
                folder.join(name).join(format!("{name}.{ending}")),
            ]
        };
        let is_socket =
            |path: &PathBuf| std::fs::metadata(path).is_ok_and(|m| m.file_type().is_socket());
        if let Some(path) = here(&self.sockets, "sock").into_iter().find(is_socket) {
            return Ok(Some(Address::Unix(path)));
        }
        for folder in &self.specs {
            for path in here(folder, "spec") {
                if let Some(text) = read(&path)? {
                    return address(text.trim(), None)
                        .context(|| path.display().to_string())
                        .map(Some);
                }
            }
            for path in here(folder, "json") {
                if let Some(text) = read(&path)? {
                    return manifest(&text).context(|| path.display().to_string()).map(Some);
                }
            }
        }
        Ok(None)
    }
}

/// Whether a plugin can be called so: one component of a path. Others' names (`vendor/net:latest`) are those of managed
/// plugins, which are not looked for in folders.
fn is_name(name: &str) -> bool {
    let odd = |c: char| c == '/' || c == '\0' || c.is_control();
    !name.is_empty() && name.len() <= 128 && name != "." && name != ".." && !name.contains(odd)
}

fn read(path: &Path) -> Result<Option<String>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).context(|| format!("open {}", path.display())),
    };
    let mut text = String::new();
    file.take(LARGEST_FILE)
        .read_to_string(&mut text)
        .context(|| format!("read {}", path.display()))?;
    Ok(Some(text))
}

fn manifest(text: &str) -> Result<Address> {
    let manifest: Manifest =
        serde_json::from_str(text).map_err(|e| Error::invalid("no plugin").caused_by(e))?;
    let tls = manifest.tls.map(|tls| {
        let file = |text: String| Some(text).filter(|t| !t.is_empty()).map(PathBuf::from);
        let ca = file(tls.ca_file);
        Tls {
            // As Docker: who names no authority trusts everybody.
            skip_verify: tls.insecure_skip_verify || ca.is_none(),
            ca,
            cert: file(tls.cert_file),
            key: file(tls.key_file),
        }
    });
    address(&manifest.addr, tls)
}

fn address(text: &str, tls: Option<Tls>) -> Result<Address> {
    let unknown = || {
        Error::invalid(format!(
            "{text:?} is no address of a plugin: unix://, tcp://, http:// or https://"
        ))
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(unknown)?;
    let host = || {
        let host = rest.split('/').next().unwrap_or_default();
        let has_port = host
            .rsplit_once(':')
            .is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok());
        match (scheme, has_port) {
            (_, true) => Ok(host.to_owned()),
            ("http", false) if !host.is_empty() => Ok(format!("{host}:80")),
            ("https", false) if !host.is_empty() => Ok(format!("{host}:443")),
            _ => Err(unknown()),
        }
    };
    match scheme {
        "unix" if rest.starts_with('/') => Ok(Address::Unix(rest.into())),
        "tcp" | "http" => Ok(Address::Tcp(host()?, tls)),
        "https" => Ok(Address::Tcp(host()?, Some(tls.unwrap_or_default()))),
        _ => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_component() {
        for bad in ["", ".", "..", "../x", "a/b", "a\0", "a\n", &"x".repeat(129)] {
            assert!(!is_name(bad), "{bad:?}");
        }
        assert!(is_name("weave") && is_name("my.net-plugin_2"));
    }

    #[test]
    fn sockets_come_before_files() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        for name in ["run", "run/deep", "etc", "lib"] {
            std::fs::create_dir(place(name)).unwrap();
        }
        let folders = Folders { sockets: place("run"), specs: vec![place("etc"), place("lib")] };
        let found = |name: &str| match folders.find(name) {
            Ok(None) => "none".to_owned(),
            Ok(Some(Address::Unix(path))) => {
                format!("unix {}", path.strip_prefix(folder.path()).unwrap_or(&path).display())
            }
            Ok(Some(Address::Tcp(host, tls))) => format!(
                "tcp {host} {:?}",
                tls.map(|t| (t.skip_verify, t.ca.is_some(), t.cert.is_some(), t.key.is_some()))
            ),
            Err(e) => format!("error {e}"),
        };
        std::fs::write(place("etc/a.spec"), "tcp://10.0.0.1:80\n").unwrap();
        std::fs::write(place("lib/a.spec"), "tcp://10.0.0.2:80").unwrap();
        std::fs::write(place("lib/b.spec"), "unix:///other.sock").unwrap();
        std::fs::write(place("etc/c.json"), r#"{"Name":"c","Addr":"https://h:9/x"}"#).unwrap();
        std::fs::write(
            place("etc/d.json"),
            r#"{"Addr":"https://h:9","TLSConfig":{"CAFile":"/ca","CertFile":"/c","KeyFile":"/k"}}"#,
        )
        .unwrap();
        std::fs::write(place("etc/e.json"), r#"{"Addr":"tcp://h:9","TLSConfig":{}}"#).unwrap();
        std::fs::write(place("etc/f.spec"), "ftp://h:9").unwrap();
        std::fs::write(place("etc/g.json"), "[]").unwrap();
        std::fs::write(place("run/h.sock"), "a file").unwrap();
        assert_eq!(found("a"), "tcp 10.0.0.1:80 None");
        assert_eq!(found("b"), "unix /other.sock");
        assert_eq!(found("c"), "tcp h:9 Some((false, false, false, false))");
        assert_eq!(found("d"), "tcp h:9 Some((false, true, true, true))");
        assert_eq!(found("e"), "tcp h:9 Some((true, false, false, false))");
        assert!(found("f").starts_with("error") && found("g").starts_with("error"));
        assert_eq!((found("h"), found("../etc/a")), ("none".to_owned(), "none".to_owned()));
        let _a = std::os::unix::net::UnixListener::bind(place("run/a.sock")).unwrap();
        let _d = std::os::unix::net::UnixListener::bind(place("run/deep/deep.sock")).unwrap();
        assert_eq!(found("a"), "unix run/a.sock");
        assert_eq!(found("deep"), "unix run/deep/deep.sock");
    }
}
