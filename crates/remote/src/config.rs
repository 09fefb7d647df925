//! What a daemon is told about registries.

use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use stdx::{Error, Result};

/// What is configured.
#[derive(Debug, Clone)]
pub struct Config {
    /// Hosts (with port if not the scheme's own) that may be asked without TLS, or with a certificate that nobody vouches
    /// for.
    pub insecure_hosts: Vec<String>,
    /// Networks of which the same is true, for hosts written as addresses.
    pub insecure_networks: Vec<IpNet>,
    /// Where to ask first for what is on `docker.io`.
    pub mirrors: Vec<reqwest::Url>,
    /// Directories with `HOST[:PORT]/{*.crt,*.cert,*.key}`: authorities to trust and certificates to show.
    pub certificates: Vec<PathBuf>,
    /// Pairs of registry host and the host that gives its tokens, beyond the same host and its parent domain.
    pub token_hosts: Vec<(String, String)>,
    /// How long to wait for the next byte.
    pub idle_timeout: Duration,
    /// How often a failed transfer is taken up again.
    pub retries: u32,
    /// The first pause before that; it doubles each time.
    pub pause: Duration,
    /// The way out.
    pub proxies: Proxies,
}

/// Proxies on the way to registries.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http://`.
    pub http: Option<String>,
    /// For `https://`.
    pub https: Option<String>,
    /// Names, domains and networks that are reached without one, separated by commas.
    pub no: Option<String>,
}

impl fmt::Debug for Proxies {
    /// Without addresses: they may have passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxies(http: {}, https: {})", self.http.is_some(), self.https.is_some())
    }
}

impl Default for Config {
    /// Loopback is insecure, as in Docker; certificates where Docker and Gantry keep them.
    fn default() -> Self {
        let loopback = ["127.0.0.0/8", "::1/128"].map(|n| n.parse().expect("a literal network"));
        Self {
            insecure_hosts: vec!["localhost".to_owned()],
            insecure_networks: loopback.to_vec(),
            mirrors: Vec::new(),
            certificates: ["/etc/gantry/certs.d", "/etc/docker/certs.d"]
                .map(PathBuf::from)
                .to_vec(),
            token_hosts: Vec::new(),
            idle_timeout: Duration::from_secs(60),
            retries: 5,
            pause: Duration::from_millis(500),
            proxies: Proxies::default(),
        }
    }
}

impl Config {
    /// Adds what `--insecure-registry` takes: a host, a host with port, or a network.
    pub fn add_insecure(&mut self, text: &str) -> Result<()> {
        if let Ok(network) = text.parse::<IpNet>() {
            self.insecure_networks.push(network);
            return Ok(());
        }
        let host =
            text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).unwrap_or(text);
        let valid = !host.is_empty()
            && !host.contains('/')
            && format!("{host}/x").parse::<types::ImageRef>().is_ok();
        if !valid {
            return Err(Error::invalid(format!(
                "insecure registry {text} is not valid: invalid host \"{host}\""
            )));
        }
        self.insecure_hosts.push(host.to_owned());
        Ok(())
    }

    /// Adds what `--registry-mirror` takes: a URL without query, fragment or user.
    pub fn add_mirror(&mut self, text: &str) -> Result<()> {
        let wrong = |why: &str| Error::invalid(format!("invalid mirror: {why}"));
        let mut url: reqwest::Url =
            text.parse().map_err(|e| wrong(&format!("\"{text}\" is not a valid URI: {e}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong(&format!("unsupported scheme \"{}\" in \"{text}\"", url.scheme())));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong(&format!("query or fragment at end of the URI \"{text}\"")));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("username/password not allowed in URI"));
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        self.mirrors.push(url);
        Ok(())
    }

    /// Whether `domain` (host and perhaps port) may be asked without TLS.
    pub(crate) fn is_insecure(&self, domain: &str) -> bool {
        let host = match domain.strip_prefix('[').and_then(|d| d.split_once(']')) {
            Some((v6, _port)) => v6,
            None => domain.split(':').next().unwrap_or(domain),
        };
        let named = |h: &String| h == domain || h == host || h.trim_matches(['[', ']']) == host;
        self.insecure_hosts.iter().any(named)
            || host
                .parse::<IpAddr>()
                .is_ok_and(|ip| self.insecure_networks.iter().any(|n| n.contains(&ip)))
    }
}

/// What a user shows to a registry. Never printed.
#[derive(Clone, Default)]
pub struct Credentials {
    /// User name; may be empty with a token.
    pub username: String,
    /// Password.
    pub password: String,
    /// A refresh token of an earlier login, used instead of the password.
    pub identity_token: String,
    /// A bearer token to be sent as it is.
    pub registry_token: String,
}

impl Credentials {
    /// Whether there is nothing to show.
    pub fn is_empty(&self) -> bool {
        self.username.is_empty()
            && self.password.is_empty()
            && self.identity_token.is_empty()
            && self.registry_token.is_empty()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_insecure_and_what_is_listed() {
        let mut config = Config::default();
        config.add_insecure("registry.lan:5000").unwrap();
        config.add_insecure("plain.lan").unwrap();
        config.add_insecure("10.0.0.0/8").unwrap();
        for domain in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "127.8.9.1",
            "[::1]:5000",
            "[::1]",
            "registry.lan:5000",
            "plain.lan:99",
            "10.2.3.4:5000",
        ] {
            assert!(config.is_insecure(domain), "{domain}");
        }
        for domain in [
            "docker.io",
            "registry.lan",
            "registry.lan:5001",
            "11.0.0.1",
            "[2001:db8::1]:5000",
            "localhost.evil",
        ] {
            assert!(!config.is_insecure(domain), "{domain}");
        }
        for bad in ["", "a/b", "-x", "a b", "300.0.0.0/99"] {
            assert!(config.add_insecure(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn mirrors_are_plain_urls() {
        let mut config = Config::default();
        config.add_mirror("http://127.0.0.1:5000").unwrap();
        config.add_mirror("https://mirror.lan/some/path").unwrap();
        assert_eq!(config.mirrors[1].as_str(), "https://mirror.lan/some/path/");
        for bad in ["mirror.lan", "ftp://x/", "https://x/?q", "https://x/#f", "https://u:p@x/"] {
            assert!(config.add_mirror(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn passwords_are_not_printed() {
        let credentials = Credentials {
            username: "me".into(),
            password: "s3cret".into(),
            ..Credentials::default()
        };
        assert!(!format!("{credentials:?}").contains("s3cret"));
    }
}
