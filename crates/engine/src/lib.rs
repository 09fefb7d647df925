//! Use cases over all subsystems; the only crate that sees them all.
//!
//! The server calls [`Engine`] with values of the engine's own; nothing here knows HTTP or the Engine API's JSON. A use
//! case is a function in a file named after it; read `containers/create.rs` first, then `container::driver`.
//!
//! ```text
//! DATA-ROOT/                                  survives a power cut
//! ├── lock                                    one daemon a data-root
//! ├── store.redb                              containers, images, volumes, networks
//! ├── content/  snapshots/  volumes/          the drivers' own
//! ├── containers/<id>/                        hosts, hostname, resolv.conf, <id>-json.log, exit.json
//! ├── shipping/<id>/                          logs of removed containers that are not shipped to their end
//! └── trash/                                  what is being deleted
//! EXEC-ROOT/                                  survives the daemon
//! ├── containers/<id>/                        shim.json, shim.sock, exit.json, network.json, record.json (--rm)
//! ├── seccomp/<key>.bpf                       compiled programs
//! └── trash/
//! ```
//!
//! **Invariant.** Everything on the host that is not in a record, or below a folder of one, has no owner and is swept
//! when the daemon starts ([`recover`]).

#![forbid(unsafe_code)]

pub mod containers;
mod copy_up;
mod defaults;
mod events;
mod exec;
mod files;
mod hello;
mod images;
mod info;
mod janitor;
mod logs;
pub mod metrics;
mod mounts;
mod names;
mod network_defaults;
mod networks;
mod ps;
mod recover;
mod registry;
mod security;
mod setup;
mod userns;
mod volumes;
mod world;

pub use container::{Endpoints, Phase, Update, health};
pub use containers::attach::{AttachRequest, Attached};
pub use containers::create::{CreateContainer, Created};
pub use containers::logs::{Logs, LogsRequest};
pub use containers::stats;
pub use containers::view::{
    ContainerView, EndpointView, NetworkView, PathsView, Sizes, SnapshotView, StateView, Status,
    Top,
};
pub use containers::wait::{WaitCondition, Waited};
pub use containers::{RemoveOptions, Resize};
pub use defaults::Defaults;
pub use events::{Event, EventStream};
pub use exec::{ExecConfig, ExecView, StartExec};
pub use files::archive::ExtractOptions;
pub use files::changes::{Change, ChangeKind};
pub use files::commit::CommitContainer;
pub use files::pace::at_a_clients_pace;
pub use files::path::PathStat;
pub use files::stream::ArchiveStream;
pub use images::RegistryAuth;
pub use info::Info;
pub use network_defaults::{BridgeDefaults, Mark, NetworkDefaults, PublishPolicy, Rules, Subnet};
pub use networks::{CreateNetwork, Explained};
pub use security::SecurityProfile;
pub use setup::{Drivers, Proxies, Settings};
pub use volumes::{CreateVolume, VolumeView};

use crate::events::Events;
use crate::exec::Execs;
use crate::janitor::Janitor;
use crate::registry::Registry;
use crate::world::Records;
use std::sync::{Arc, RwLock};

/// The daemon's whole state, shared by all requests.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) settings: RwLock<Settings>,
    /// What this host is; found once.
    pub(crate) host: info::Host,
    pub(crate) services: Arc<container::Services>,
    pub(crate) containers: Arc<Registry>,
    pub(crate) images: Arc<image::Images>,
    pub(crate) fetchers: images::Fetchers,
    pub(crate) volumes: Arc<volumes::Volumes>,
    /// What containers get when they do not say.
    pub(crate) defaults: Defaults,
    pub(crate) logs: Arc<logs::Logs>,
    pub(crate) networks: Arc<networks::Networks>,
    pub(crate) records: Arc<Records>,
    pub(crate) events: Arc<Events>,
    pub(crate) execs: Arc<Execs>,
    pub(crate) janitor: Arc<Janitor>,
    pub(crate) metrics: Arc<metrics::Metrics>,
    pub(crate) daemon_id: String,
    /// What containers get that do not say.
    pub(crate) user_namespaces: userns::Default,
    /// Who has which ids.
    pub(crate) ranges: Arc<userns::Ranges>,
    /// What cgroups can do here.
    pub(crate) features: std::collections::BTreeMap<&'static str, bool>,
    /// Held while the daemon runs.
    pub(crate) _lock: stdx::lock::FileLock,
}

impl Engine {
    pub(crate) fn settings(&self) -> Settings {
        self.inner.settings.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}
