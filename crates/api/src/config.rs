//! What a container shall run, and the body of `POST /containers/create`.

use crate::host::HostConfig;
use crate::json::{self, is_default, none_or_empty};
use crate::network::NetworkingConfig;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `{}`: the values of Go's sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// What to run: the body of `create`, `Config` of inspects, of images and of `commit`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)]
pub struct ContainerConfig {
    pub hostname: String,
    pub domainname: String,
    pub user: String,
    pub attach_stdin: bool,
    pub attach_stdout: bool,
    pub attach_stderr: bool,
    #[serde(skip_serializing_if = "none_or_empty")]
    pub exposed_ports: Option<BTreeMap<String, Empty>>,
    pub tty: bool,
    pub open_stdin: bool,
    pub stdin_once: bool,
    pub env: Option<Vec<String>>,
    /// A plain string is read as a list of one.
    #[serde(deserialize_with = "json::string_or_list")]
    pub cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    #[serde(skip_serializing_if = "is_default")]
    pub args_escaped: bool,
    pub image: String,
    pub volumes: Option<BTreeMap<String, Empty>>,
    pub working_dir: String,
    /// A plain string is read as a list of one.
    #[serde(deserialize_with = "json::string_or_list")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_default")]
    pub network_disabled: bool,
    /// Before 1.44 the address of the default network's endpoint; deprecated since.
    #[serde(skip_serializing_if = "is_default")]
    pub mac_address: String,
    pub on_build: Option<Vec<String>>,
    pub labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "is_default")]
    pub stop_signal: String,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    #[serde(deserialize_with = "json::string_or_list", skip_serializing_if = "none_or_empty")]
    pub shell: Option<Vec<String>>,
}

/// How to probe health; durations are nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)]
pub struct HealthConfig {
    #[serde(skip_serializing_if = "none_or_empty")]
    pub test: Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_default")]
    pub interval: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub timeout: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub start_period: i64,
    /// Since 1.44.
    #[serde(skip_serializing_if = "is_default")]
    pub start_interval: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub retries: i64,
}

/// Body of `POST /containers/create`: the configuration's fields, and two more beside them.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerCreateBody {
    /// What to run. Its fields stand at the top level.
    #[serde(flatten)]
    pub config: ContainerConfig,
    /// In what surroundings.
    pub host_config: Option<HostConfig>,
    /// On which networks.
    pub networking_config: Option<NetworkingConfig>,
}

/// The two fields beside the configuration's.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Surroundings {
    host_config: Option<HostConfig>,
    networking_config: Option<NetworkingConfig>,
}

impl ContainerCreateBody {
    /// Reads a body as Go does. Serde's own `flatten` would lose the habits of [`json`], hence two passes.
    pub fn from_json(body: &[u8]) -> Result<Self, json::Error> {
        let config = json::from_slice(body)?;
        let Surroundings { host_config, networking_config } = json::from_slice(body)?;
        Ok(Self { config, host_config, networking_config })
    }
}

/// Answer to `POST /containers/create`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerCreateResponse {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Never `null`.
    pub warnings: Vec<String>,
}
