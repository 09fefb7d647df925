//! What a daemon is made of and how it is set.

use std::path::PathBuf;
use std::sync::Arc;

/// The implementations that this daemon uses; `bin/gantryd/src/drivers.rs` chooses them.
#[derive(Debug)]
pub struct Drivers {
    /// Blobs.
    pub content: Arc<dyn content::Store>,
    /// Root file systems.
    pub snapshots: Arc<dyn snapshot::Snapshotter>,
    /// The default network.
    pub bridge: Arc<dyn network::Driver>,
    /// Volumes.
    pub volumes: Arc<dyn volume::Driver>,
    /// Logs, read back.
    pub open_log: crate::containers::logs::OpenLog,
}

/// How a daemon is set, from its flags and its configuration file.
#[derive(Debug, Clone)]
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
    /// Debug messages.
    pub debug: bool,
    /// Processes a container may have when nobody says otherwise.
    pub default_pids_limit: i64,
}

impl Settings {
    /// The cgroup that all containers of this daemon are below.
    pub fn cgroup(&self) -> String {
        match &self.instance {
            None => "gantry".to_owned(),
            Some(instance) => format!("gantry-{instance}"),
        }
    }
}
