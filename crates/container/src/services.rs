//! What a container's driver needs of the rest of the engine.

use crate::state::Endpoints;
use oci::runtime::Device;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use stdx::Result;
use store::records::container::ContainerRecord;
use sys::command::Program;

/// Where a daemon instance keeps things.
#[derive(Debug, Clone)]
pub struct Paths {
    /// What survives a power cut.
    pub data: PathBuf,
    /// What survives the daemon.
    pub exec: PathBuf,
}

impl Paths {
    /// The container's folder in the data-root: engine files and log.
    pub fn data_of(&self, id: &str) -> PathBuf {
        self.data.join("containers").join(id)
    }

    /// The container's folder in the exec-root: what its shim and its start own.
    pub fn exec_of(&self, id: &str) -> PathBuf {
        self.exec.join("containers").join(id)
    }
}

/// When a record must be on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Save {
    /// Before the call returns.
    Now,
    /// Soon, together with others; until then the exec-root holds what is needed to know it again.
    Soon,
    /// With whatever is written next: a shim knows it until then. That a container *runs* costs no sync of its own.
    Eventually,
}

/// What a driver measures, for whoever looks at the daemon's figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measured {
    /// A start that succeeded took this long.
    Start(Duration),
    /// A removal that succeeded took this long.
    Removal(Duration),
    /// It took this long until a health check ran.
    ProbeLaunch(Duration),
    /// A health check could not be run.
    ProbeFailure,
}

/// The engine as a driver sees it.
pub trait World: Send + Sync + std::fmt::Debug {
    /// Something happened to the container: `action` and attributes beside its labels.
    fn event(&self, record: &ContainerRecord, action: &str, attributes: &[(&str, String)]);
    /// Keeps a changed record.
    fn save(&self, record: &Arc<ContainerRecord>, when: Save) -> Result<()>;
    /// Forgets a container: its record, its snapshot, its anonymous volumes when asked to, its name. Everything that
    /// this leaves behind after a crash is swept at the next start.
    fn forget(&self, record: &ContainerRecord, volumes: bool) -> Result<()>;
    /// Another container, by its name or id.
    ///
    /// # Errors
    /// `NotFound`.
    fn peer(&self, name: &str) -> Result<crate::join::Peer>;
    /// Another container, to be followed; `None`: it is gone.
    fn follow(&self, id: &str) -> Option<crate::Container>;
    /// A running container has other addresses than before: those that are linked to it are told. Nobody waits.
    fn moved(&self, id: &str);
    /// Lets those talk to each other that are linked, where neighbours are kept apart. `joined`: a container that is about
    /// to run, with its endpoints. Blocking.
    fn link(&self, joined: Option<(&ContainerRecord, &Endpoints)>) -> Result<()>;
    /// Attaches the volumes of a container that is about to start. Blocking.
    fn attach_volumes(&self, record: &ContainerRecord) -> Result<()>;
    /// Detaches them. That they are not attached is fine.
    fn detach_volumes(&self, record: &ContainerRecord);
    /// Something was measured. Cheap.
    fn measured(&self, what: Measured);
    /// An exec session of the container ended.
    fn exec_ended(&self, record: &ContainerRecord, exec: &str, code: i32);
    /// The container ended: a session of it whose end was not told ended with it.
    fn execs_ended(&self, record: &ContainerRecord);
}

/// Networks as a driver sees them.
pub trait Networking: Send + Sync + std::fmt::Debug {
    /// Provides the namespace of a container that is about to start. Cheap: nothing is linked yet. `own`: a new namespace
    /// that must be the one, because it belongs to the container's user namespace.
    fn prepare(&self, record: &ContainerRecord, own: Option<OwnedFd>) -> Result<Sandbox>;
    /// Links the namespace to the container's networks. Blocking. What is made is first written down in `runtime_dir`.
    fn join(
        &self,
        record: &ContainerRecord,
        sandbox: network::Sandbox,
        runtime_dir: &Path,
    ) -> Result<Endpoints>;
    /// Links a running container to one more network, which is in `record.endpoints`; all its endpoints then. Blocking.
    fn connect(
        &self,
        record: &ContainerRecord,
        network: &str,
        netns: OwnedFd,
        runtime_dir: &Path,
    ) -> Result<Endpoints>;
    /// Takes a running container from a network; all its endpoints then. Blocking.
    fn disconnect(
        &self,
        record: &ContainerRecord,
        network: &str,
        netns: OwnedFd,
        runtime_dir: &Path,
    ) -> Result<Endpoints>;
    /// A container runs, and this is its first process.
    fn started(&self, id: &str, pid: i32);
    /// A running container has another name; its endpoints then. Blocking.
    fn renamed(&self, record: &ContainerRecord, runtime_dir: &Path) -> Result<Endpoints>;
    /// The host's addresses for containers, one a family, as `--add-host NAME:host-gateway` means them.
    fn host_gateways(&self) -> Vec<std::net::IpAddr>;
    /// A container has been started: nobody waits, now is the time to prepare for the next one.
    fn settled(&self);
    /// Gives back what [`Self::join`] took. Never blocks, never fails: what the kernel still holds is waited for by
    /// the drivers.
    fn leave(&self, id: &str);
    /// The endpoints of a container that an earlier daemon joined.
    fn adopt(&self, record: &ContainerRecord, runtime_dir: &Path) -> Endpoints;
}

/// Logs as a driver sees them.
pub trait Logs: Send + Sync + std::fmt::Debug {
    /// What the shim of a container that is about to start is to write, and begins to ship it where it is to go.
    /// Blocking.
    fn prepare(&self, record: &ContainerRecord) -> Result<task::protocol::Log>;
    /// The container runs: it was started, or found running. Through `hold` its output is held (`true`) and let go.
    fn running(&self, record: &ContainerRecord, hold: tokio::sync::mpsc::UnboundedSender<bool>);
    /// It has ended, or did not start: what it wrote is shipped to its end.
    fn ended(&self, id: &str);
}

/// A container's network namespace before its first start.
#[derive(Debug, Default)]
pub struct Sandbox {
    /// The namespace for the shim; `None`: the host's own.
    pub netns: Option<OwnedFd>,
    /// The same, for whoever links it; `None`: nothing is to be linked.
    pub to_join: Option<network::Sandbox>,
}

/// Everything that drivers share.
#[derive(Debug)]
pub struct Services {
    /// Places.
    pub paths: Paths,
    /// The engine.
    pub world: Arc<dyn World>,
    /// Networks.
    pub network: Arc<dyn Networking>,
    /// Logs.
    pub logs: Arc<dyn Logs>,
    /// Root file systems.
    pub snapshots: Arc<dyn snapshot::Snapshotter>,
    /// The supervisor's program.
    pub shim: Program,
    /// `gantry-init`, for `--init`.
    pub init: PathBuf,
    /// Whether a container has one that does not say.
    pub default_init: bool,
    /// Folders with CDI specifications.
    pub cdi: Vec<PathBuf>,
    /// Who runs containers.
    pub runtimes: crate::runtimes::Runtimes,
    /// Compiled seccomp programs.
    pub seccomp: crate::files::SeccompCache,
    /// The hierarchies in `cgroups`' own text form, found once.
    pub hierarchies: String,
    /// Limits of swap are a number of their own (cgroup v2) that the kernel has.
    pub swap_alone: bool,
    /// `/sys/devices/system/cpu/cpuN/thermal_throttle` of this host.
    pub thermal: Vec<String>,
    /// The cgroup that all containers of this daemon are below.
    pub cgroup: String,
    /// Capabilities that the daemon has.
    pub capabilities: u64,
    /// Processes a container may have when nobody says otherwise.
    pub default_pids_limit: i64,
    /// Seconds between the stop signal and SIGKILL when nobody says otherwise; negative: for ever.
    pub stop_timeout: i64,
    /// The host's devices, for `--privileged`.
    pub host_devices: Vec<Device>,
    /// This boot (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
}

impl Services {
    /// Where a container's cgroup is below each hierarchy's root.
    pub fn cgroup_of(&self, record: &ContainerRecord) -> String {
        crate::start::cgroup_path(self, record)
    }
}
