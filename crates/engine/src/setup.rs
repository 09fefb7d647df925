//! What a daemon is made of and how it is set.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// The implementations that this daemon uses; `bin/gantryd/src/drivers.rs` chooses them.
#[derive(Debug)]
pub struct Drivers {
    /// Blobs.
    pub content: Arc<dyn content::Store>,
    /// Root file systems.
    pub snapshots: Arc<dyn snapshot::Snapshotter>,
    /// Networks.
    pub networks: Vec<Arc<dyn network::Driver>>,
    /// Networks whose drivers are plugins.
    pub network_plugins: Arc<dyn network::Plugins>,
    /// Volumes.
    pub volumes: Arc<dyn volume::Driver>,
    /// Where logs go.
    pub logs: logging::Registry,
}

/// How a daemon is set, from its flags and its configuration file.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// What survives a power cut.
    pub data_root: PathBuf,
    /// What survives the daemon.
    pub exec_root: PathBuf,
    /// Six hexadecimal digits that keep a second instance's names apart; `None`: the default instance.
    pub instance: Option<String>,
    /// Where `gantry-shim` and `gantry-init` are.
    pub programs: PathBuf,
    /// Registries that may be spoken to without TLS, as host, host:port or CIDR.
    pub insecure_registries: Vec<String>,
    /// Mirrors of Docker Hub.
    pub registry_mirrors: Vec<String>,
    /// Labels of the daemon.
    pub labels: Vec<String>,
    /// Other OCI runtimes by name.
    pub runtimes: BTreeMap<String, container::runtimes::Program>,
    /// The runtime of containers that name none; empty: the built-in one.
    pub default_runtime: String,
    /// Debug messages.
    pub debug: bool,
    /// The log driver of containers that name none.
    pub log_driver: String,
    /// Options of that driver.
    pub log_options: logging::Options,
    /// Processes a container may have when nobody says otherwise.
    pub default_pids_limit: i64,
    /// Seconds between a container's stop signal and SIGKILL when it says nothing itself; negative: for ever.
    pub default_stop_timeout: i64,
    /// Containers go on when the daemon stops. Otherwise they are stopped with it.
    pub live_restore: bool,
    /// Seconds that stopping them may take; negative: for ever.
    pub shutdown_timeout: i64,
    /// Layers fetched at a time; 0: three.
    pub max_concurrent_downloads: u32,
    /// Layers sent at a time; 0: five.
    pub max_concurrent_uploads: u32,
    /// How often a download is tried; 0: five times.
    pub max_download_attempts: u32,
    /// The way out to registries.
    pub proxies: Proxies,
    /// Features by name, as `features` of `daemon.json`.
    pub features: BTreeMap<String, bool>,
    /// Clients are told that experimental features are on.
    pub experimental: bool,
    /// Containers that do not say get an init.
    pub init: bool,
    /// Another init than `gantry-init` beside the daemon.
    pub init_path: Option<PathBuf>,
    /// Directories of CDI specifications.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// The file that says whom the host asks for names: `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// `--userns-remap`: empty, `auto`, or a user with ids for containers as dockerd takes it.
    pub userns_remap: String,
    /// What containers get when they do not say.
    pub defaults: crate::Defaults,
    /// How networks are set, and containers on them, that do not say.
    pub networks: crate::NetworkDefaults,
}

/// Proxies for what the daemon fetches; what is `None` comes from the environment.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http://`.
    pub http: Option<String>,
    /// For `https://`.
    pub https: Option<String>,
    /// Names, domains and networks that are reached without one, separated by commas.
    pub no: Option<String>,
}

impl std::fmt::Debug for Proxies {
    /// Without addresses: they may have passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxies(http: {}, https: {})", self.http.is_some(), self.https.is_some())
    }
}

impl Proxies {
    /// As they are used: those that were set, else those of the environment.
    pub fn effective(&self) -> Self {
        let or = |own: &Option<String>, name: &str| {
            own.clone()
                .or_else(|| std::env::var(name).ok())
                .or_else(|| std::env::var(name.to_ascii_lowercase()).ok())
                .filter(|text| !text.is_empty())
        };
        Self {
            http: or(&self.http, "HTTP_PROXY"),
            https: or(&self.https, "HTTPS_PROXY"),
            no: or(&self.no, "NO_PROXY"),
        }
    }

    /// The same without passwords, for people's eyes.
    pub fn shown(&self) -> Self {
        let hide = |text: &Option<String>| text.as_deref().map(without_password);
        Self { http: hide(&self.http), https: hide(&self.https), no: self.no.clone() }
    }
}

/// `http://xxxxx:xxxxx@host` for an address with a user.
fn without_password(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + 3);
    let end = text[start..].find('/').map_or(text.len(), |at| start + at);
    match text[start..end].rfind('@') {
        Some(at) => format!("{}xxxxx:xxxxx{}", &text[..start], &text[start + at..]),
        None => text.to_owned(),
    }
}

impl Settings {
    /// The cgroup that all containers of this daemon are below.
    pub fn cgroup(&self) -> String {
        if let Some(parent) = &self.defaults.cgroup_parent {
            return parent.trim_matches('/').to_owned();
        }
        match &self.instance {
            None => "gantry".to_owned(),
            Some(instance) => format!("gantry-{instance}"),
        }
    }
}
