//! Where a registry's host name leads to, and the connections that are kept open.

use crate::config::{Config, Proxies};
use crate::errors;
use reqwest::{Certificate, Client, Identity, Url};
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use stdx::{Context, Error, Result};

/// Docker Hub's name in references and the host that serves it.
const HUB: (&str, &str) = (types::reference::DEFAULT_DOMAIN, "registry-1.docker.io");

/// Hosts to which connections are kept.
const MAX_CLIENTS: usize = 64;

/// One place to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The domain in references that this stands for.
    pub(crate) domain: String,
    /// What comes before `v2/`.
    pub(crate) base: Url,
    /// Need not prove who it is.
    pub(crate) is_insecure: bool,
    /// Not the registry itself: gets no credentials, and its failures count for nothing.
    pub(crate) is_mirror: bool,
}

impl Endpoint {
    /// The URL of `v2/` and what comes after.
    pub(crate) fn url(&self, rest: &str) -> Result<Url> {
        self.base
            .join("v2/")
            .and_then(|v2| v2.join(rest))
            .map_err(|e| Error::invalid(format!("registry {}: {e}", self.domain)))
    }

    /// Without TLS.
    pub(crate) fn is_plain(&self) -> bool {
        self.base.scheme() == "http"
    }
}

/// The endpoints of a domain in the order in which to ask. `known` is the scheme that answered before.
pub(crate) fn of(config: &Config, domain: &str, known: Option<&str>) -> Vec<Endpoint> {
    let host = if domain == HUB.0 { HUB.1 } else { domain };
    let is_insecure = config.is_insecure(domain);
    let mut endpoints = Vec::new();
    if domain == HUB.0 {
        for mirror in &config.mirrors {
            let authority = authority(mirror);
            endpoints.push(Endpoint {
                domain: domain.to_owned(),
                is_insecure: config.is_insecure(&authority),
                base: mirror.clone(),
                is_mirror: true,
            });
        }
    }
    // TLS first also for insecure registries, as Docker: a registry that has it should be used with it.
    let schemes = match (is_insecure, known) {
        (false, _) => &["https"][..],
        (true, Some("http")) => &["http", "https"],
        (true, _) => &["https", "http"],
    };
    for scheme in schemes {
        if let Ok(base) = format!("{scheme}://{host}/").parse() {
            endpoints.push(Endpoint {
                domain: domain.to_owned(),
                base,
                is_insecure,
                is_mirror: false,
            });
        }
    }
    endpoints
}

/// Host and, if not the scheme's own, port.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

/// Connections by host: each host has its own trust.
#[derive(Debug)]
pub(crate) struct Clients {
    certificates: Vec<PathBuf>,
    idle_timeout: Duration,
    proxies: Proxies,
    open: Mutex<HashMap<(String, bool), Client>>,
}

impl Clients {
    pub(crate) fn new(
        certificates: Vec<PathBuf>,
        idle_timeout: Duration,
        proxies: Proxies,
    ) -> Self {
        Self { certificates, idle_timeout, proxies, open: Mutex::default() }
    }

    /// The client for `url`'s host. With `is_insecure`, any certificate will do.
    pub(crate) fn get(&self, url: &Url, is_insecure: bool) -> Result<Client> {
        let plain = url.scheme() == "http";
        let stamp = if plain { String::new() } else { self.stamp(&authority(url)) };
        let key = (format!("{}://{} {stamp}", url.scheme(), authority(url)), is_insecure);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = open.get(&key) {
            return Ok(client.clone());
        }
        let client = if plain { self.plain(url)? } else { self.tls(url, is_insecure)? };
        if open.len() >= MAX_CLIENTS {
            // Redirects to ever new hosts must not fill the memory. Clients in use live on.
            open.clear();
        }
        open.insert(key, client.clone());
        Ok(client)
    }

    /// When the registry's certificates last changed: what is put there counts from the next request on.
    fn stamp(&self, authority: &str) -> String {
        use std::os::unix::fs::MetadataExt as _;
        let changed = |dir: &PathBuf| {
            std::fs::metadata(dir.join(authority))
                .map_or_else(|_| "-".to_owned(), |m| format!("{}.{}", m.mtime(), m.mtime_nsec()))
        };
        self.certificates.iter().map(changed).collect::<Vec<_>>().join(" ")
    }

    /// No trust is loaded: this works on hosts without any certificates.
    fn plain(&self, url: &Url) -> Result<Client> {
        self.common(url)?.tls_certs_only([]).build().map_err(|e| errors::internal("set up HTTP", e))
    }

    fn tls(&self, url: &Url, is_insecure: bool) -> Result<Client> {
        let authority = authority(url);
        let files = Files::read(&self.certificates, &authority)?;
        let build = |system: bool| {
            let mut builder = self.common(url)?.tls_version_min(reqwest::tls::Version::TLS_1_2);
            if let Some(identity) = &files.identity {
                builder = builder.identity(identity.clone());
            }
            builder = match (is_insecure, system) {
                (true, _) => builder.tls_certs_only([]).tls_danger_accept_invalid_certs(true),
                (false, true) => builder.tls_certs_merge(files.authorities.clone()),
                (false, false) => builder.tls_certs_only(files.authorities.clone()),
            };
            builder.build().map_err(|e| errors::internal(&format!("set up TLS for {authority}"), e))
        };
        // A bare host has no authorities of its own: then those of the registry alone are trusted, or none.
        build(true).or_else(|_| build(false))
    }

    fn common(&self, url: &Url) -> Result<reqwest::ClientBuilder> {
        // The environment's proxies are among ours. A proxy's loopback is not ours; Go's clients make the same exception.
        let mut builder = Client::builder().no_proxy();
        let wrong = |e| Error::invalid("invalid proxy address").caused_by(e);
        let none = || self.proxies.no.as_deref().and_then(reqwest::NoProxy::from_string);
        if let Some(proxy) = self.proxies.http.as_deref().filter(|_| !is_loopback(url)) {
            let proxy = reqwest::Proxy::http(proxy).map_err(wrong)?;
            builder = builder.proxy(proxy.no_proxy(none()));
        }
        if let Some(proxy) = self.proxies.https.as_deref().filter(|_| !is_loopback(url)) {
            let proxy = reqwest::Proxy::https(proxy).map_err(wrong)?;
            builder = builder.proxy(proxy.no_proxy(none()));
        }
        Ok(builder
            .user_agent(concat!("gantry/", env!("CARGO_PKG_VERSION")))
            // Redirects are followed by us: who may see the credentials is decided there.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(30))
            .read_timeout(self.idle_timeout)
            // Long enough for the requests of one pull; an idle daemon holds no connections.
            .pool_idle_timeout(Duration::from_secs(1)))
    }
}

/// What `certs.d/HOST` has.
#[derive(Default)]
struct Files {
    authorities: Vec<Certificate>,
    identity: Option<Identity>,
}

impl Files {
    /// Docker's rules: every `*.crt` is an authority, every `*.cert` has its `*.key`.
    fn read(roots: &[PathBuf], authority: &str) -> Result<Self> {
        let mut files = Self::default();
        for dir in roots.iter().map(|root| root.join(authority)) {
            let Ok(entries) = std::fs::read_dir(&dir) else { continue };
            let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
            paths.sort();
            for path in paths {
                match path.extension().and_then(|e| e.to_str()) {
                    Some("crt") => {
                        let certificates = Certificate::from_pem_bundle(&read(&path)?)
                            .map_err(|e| wrong(&path, &e))?;
                        files.authorities.extend(certificates);
                    }
                    Some("cert") => {
                        let key = path.with_extension("key");
                        if !key.exists() {
                            return Err(Error::invalid(format!(
                                "missing key {} for client certificate {}",
                                key.display(),
                                path.display()
                            )));
                        }
                        let mut pem = read(&path)?;
                        pem.push(b'\n');
                        pem.extend(read(&key)?);
                        files.identity =
                            Some(Identity::from_pem(&pem).map_err(|e| wrong(&path, &e))?);
                    }
                    _ => {}
                }
            }
        }
        Ok(files)
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).context(|| format!("read {}", path.display()))
}

fn wrong(path: &Path, error: &reqwest::Error) -> Error {
    Error::invalid(format!("{} has no usable certificate: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bases(config: &Config, domain: &str, known: Option<&str>) -> Vec<String> {
        of(config, domain, known).iter().map(|e| e.base.to_string()).collect()
    }

    #[test]
    fn endpoints_in_order() {
        let mut config = Config::default();
        assert_eq!(bases(&config, "quay.io", None), ["https://quay.io/"]);
        assert_eq!(bases(&config, "docker.io", None), ["https://registry-1.docker.io/"]);
        let local = ["https://127.0.0.1:5000/", "http://127.0.0.1:5000/"];
        assert_eq!(bases(&config, "127.0.0.1:5000", None), local);
        assert_eq!(bases(&config, "127.0.0.1:5000", Some("http")), [local[1], local[0]]);
        config.add_mirror("http://127.0.0.1:5001/hub").unwrap();
        assert_eq!(
            bases(&config, "docker.io", None),
            ["http://127.0.0.1:5001/hub/", "https://registry-1.docker.io/"]
        );
        assert_eq!(bases(&config, "quay.io", None).len(), 1);
        let mirror = &of(&config, "docker.io", None)[0];
        assert_eq!(
            mirror.url("a/b/manifests/c").unwrap().as_str(),
            "http://127.0.0.1:5001/hub/v2/a/b/manifests/c"
        );
        assert_eq!(mirror.url("").unwrap().as_str(), "http://127.0.0.1:5001/hub/v2/");
    }
}
