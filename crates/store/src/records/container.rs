//! Records of containers: what was asked for, what was resolved, how it last ended.
//!
//! A container's record is written when it is created and when one of these changes; that it *runs* is no part of it
//! (its shim knows, and a power cut ends it). Containers with `--rm` have the same record as a file in the exec-root
//! instead: they need not survive a power cut, so they cost no fsync.

use crate::Record;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use stdx::time::Timestamp;

/// One container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name, without the API's leading slash.
    pub name: String,
    /// When it was created.
    #[serde(with = "crate::time")]
    pub created: Timestamp,
    /// The image's id (`sha256:…`, the digest of its configuration).
    pub image_id: String,
    /// The committed snapshot its root file system stands on; `None` for an image without layers.
    pub parent: Option<String>,
    /// What it shall run, the image's defaults merged in.
    pub config: Config,
    /// In what surroundings.
    pub host: HostConfig,
    /// What is mounted into it beside the engine's own files.
    pub mounts: Vec<MountPoint>,
    /// How it last ended, or that it never ran.
    pub last: LastRun,
    /// Stopped by its user, so that `unless-stopped` keeps it down.
    pub stopped_by_user: bool,
    /// How often its policy restarted it.
    pub restart_count: u32,
    /// Its user namespace, settled when it was created; `None`: the host's. For as long as the record is there the ids
    /// are nobody else's.
    #[serde(default)]
    pub user_namespace: Option<UserNamespace>,
    /// The networks that it is on, or is to be on when it is started, by their names. `None` in a record of before there
    /// were networks: see [`ContainerRecord::networks`].
    #[serde(default)]
    pub endpoints: Option<BTreeMap<String, EndpointWishes>>,
    /// Its legacy links. `host.links` is what was asked for; on a network of users those mean nothing.
    #[serde(default)]
    pub links: Vec<LinkRecord>,
}

/// Another container that one on the default network knows by a further name (`--link`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRecord {
    /// The other container's id: its name may be another's by and by.
    pub container: String,
    /// The name that it had then, for texts about one that is gone.
    pub name: String,
    /// The further name.
    pub alias: String,
}

impl ContainerRecord {
    /// The networks that it is on, or is to be on when it is started, by their names.
    pub fn networks(&self) -> BTreeMap<String, EndpointWishes> {
        self.endpoints.clone().unwrap_or_else(|| self.network_of_mode())
    }

    /// The networks that its next start puts it on: who was taken from all of them is on the one of its mode again.
    pub fn networks_at_start(&self) -> BTreeMap<String, EndpointWishes> {
        match &self.endpoints {
            Some(endpoints) if !endpoints.is_empty() => endpoints.clone(),
            _ => self.network_of_mode(),
        }
    }

    /// The network that `host.network_mode` names; none when it is another container's.
    fn network_of_mode(&self) -> BTreeMap<String, EndpointWishes> {
        match self.host.network_mode.as_str() {
            mode if mode.starts_with("container:") => BTreeMap::new(),
            "" | "default" => BTreeMap::from([("bridge".to_owned(), EndpointWishes::default())]),
            mode => BTreeMap::from([(mode.to_owned(), EndpointWishes::default())]),
        }
    }
}

/// What a container's user wants of its place on a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointWishes {
    /// The network's id, once it has been looked up; from then on another network of the same name is not meant.
    pub network_id: String,
    /// Its IPv4 address; empty: any.
    pub ipv4: String,
    /// Its IPv6 address; empty: any.
    pub ipv6: String,
    /// Further addresses of its link.
    pub link_local: Vec<String>,
    /// Its Ethernet address; empty: any.
    pub mac: String,
    /// Further names that it has on the network.
    pub aliases: Vec<String>,
    /// Other containers that it knows by further names: `name:alias`.
    pub links: Vec<String>,
    /// Options for the network's driver.
    pub options: BTreeMap<String, String>,
    /// Of its networks the one with the highest priority leads to everything else.
    pub gateway_priority: i64,
}

/// Where on the host a port of a container is to be reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortBinding {
    /// The host's address; empty: all of them.
    pub address: String,
    /// The host's port, or a range of which one is taken; empty: any.
    pub port: String,
}

/// Which user namespace a container has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserNamespace {
    /// One of its own, with these ids.
    Own {
        /// Of users.
        uids: Vec<IdRange>,
        /// Of groups.
        gids: Vec<IdRange>,
    },
    /// That of the container whose network, processes or IPC it shares.
    Peers,
}

/// Ids inside of a user namespace that are other ids outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// The first id inside.
    pub inside: u32,
    /// What it is outside.
    pub outside: u32,
    /// How many.
    pub size: u32,
}

impl Record for ContainerRecord {
    const TABLE: &'static str = "containers";
}

/// How a container last ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastRun {
    /// When it was last started; zero time: never.
    #[serde(with = "crate::time")]
    pub started: Timestamp,
    /// When it last ended; zero time: never.
    #[serde(with = "crate::time")]
    pub finished: Timestamp,
    /// Its exit code.
    pub code: i32,
    /// Whether the kernel killed a process of it for want of memory.
    pub oom: bool,
    /// Why it could not be started, if so.
    pub error: Option<String>,
    /// When its policy starts it again, in nanoseconds since 1970; `None`: it does not wait for that.
    #[serde(default)]
    pub restart_at: Option<i64>,
    /// How long its policy waited before it last started it, in milliseconds; 0: it did not.
    #[serde(default)]
    pub restart_delay: u64,
    /// Limits were changed in this record and perhaps not in the kernel yet.
    #[serde(default)]
    pub limits_pending: bool,
}

impl Default for LastRun {
    fn default() -> Self {
        Self {
            started: Timestamp::ZERO,
            finished: Timestamp::ZERO,
            code: 0,
            oom: false,
            error: None,
            restart_at: None,
            restart_delay: 0,
            limits_pending: false,
        }
    }
}

/// What a container shall run (the Engine API's `ContainerConfig`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Host name; empty: the first twelve digits of the id.
    pub hostname: String,
    /// NIS domain name.
    pub domainname: String,
    /// `user`, `uid`, `user:group`, … resolved in the container's own files when it starts.
    pub user: String,
    /// The creator meant to attach standard input.
    pub attach_stdin: bool,
    /// The creator meant to attach standard output.
    pub attach_stdout: bool,
    /// The creator meant to attach standard error.
    pub attach_stderr: bool,
    /// Ports that the image says it serves, such as `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// Give it a terminal.
    pub tty: bool,
    /// Keep its standard input open.
    pub open_stdin: bool,
    /// Close it after the first client that was attached to it.
    pub stdin_once: bool,
    /// `NAME=value` entries.
    pub env: Vec<String>,
    /// Arguments, or the command when there is no entry point.
    pub cmd: Option<Vec<String>>,
    /// The program and its first arguments.
    pub entrypoint: Option<Vec<String>>,
    /// `Cmd` is one already escaped command line (Windows images only; kept for `inspect`).
    pub args_escaped: bool,
    /// How to probe its health.
    pub healthcheck: Option<Healthcheck>,
    /// The image as the user named it.
    pub image: String,
    /// Paths that get an anonymous volume.
    pub volumes: Vec<String>,
    /// Working directory; empty: `/`.
    pub working_dir: String,
    /// Networking was switched off by the creator.
    pub network_disabled: bool,
    /// Instructions for images built on this one (kept for `inspect` and `commit`).
    pub on_build: Option<Vec<String>>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The signal that asks it to stop; `None`: SIGTERM.
    pub stop_signal: Option<String>,
    /// Seconds it has to stop; `None`: the default, ten.
    pub stop_timeout: Option<i64>,
    /// The shell of shell-form commands.
    pub shell: Option<Vec<String>>,
}

/// How to probe a container's health.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Healthcheck {
    /// `NONE`, `CMD …` or `CMD-SHELL …`.
    pub test: Vec<String>,
    /// Nanoseconds between probes; 0: the default.
    pub interval: i64,
    /// Nanoseconds that a probe may take; 0: the default.
    pub timeout: i64,
    /// Nanoseconds after the start in which failures do not count.
    pub start_period: i64,
    /// Nanoseconds between probes within the start period.
    pub start_interval: i64,
    /// Failures in a row that make it unhealthy.
    pub retries: i64,
}

/// In what surroundings a container runs (the Engine API's `HostConfig`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostConfig {
    /// `-v` texts as they were given.
    pub binds: Vec<String>,
    /// `--mount` requests.
    pub mounts: Vec<MountRequest>,
    /// tmpfs mounts: path to options.
    pub tmpfs: BTreeMap<String, String>,
    /// Containers whose volumes it shares.
    pub volumes_from: Vec<String>,
    /// The default volume driver's name.
    pub volume_driver: String,
    /// Where a client wrote the id.
    pub container_id_file: String,
    /// Log driver and its options.
    pub log: LogConfig,
    /// `default`, `bridge`, `none`, `host`, `container:<id>` or a network's name.
    pub network_mode: String,
    /// What to do when it ends.
    pub restart: RestartPolicy,
    /// Remove it when it ends.
    pub auto_remove: bool,
    /// The terminal's size at the start: rows, columns.
    pub console_size: [u16; 2],
    /// OCI annotations.
    pub annotations: BTreeMap<String, String>,
    /// Capabilities to add.
    pub cap_add: Vec<String>,
    /// Capabilities to drop.
    pub cap_drop: Vec<String>,
    /// `private`, `host` or empty.
    pub cgroupns_mode: String,
    /// Name servers.
    pub dns: Vec<String>,
    /// Resolver options.
    pub dns_options: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// `name:address` lines for /etc/hosts.
    pub extra_hosts: Vec<String>,
    /// Further groups.
    pub group_add: Vec<String>,
    /// `private`, `shareable`, `host`, `none`, `container:<id>` or empty.
    pub ipc_mode: String,
    /// Score adjustment for the kernel's choice when memory runs out.
    pub oom_score_adj: i32,
    /// `host`, `container:<id>` or empty.
    pub pid_mode: String,
    /// All capabilities, devices and no confinement.
    pub privileged: bool,
    /// Ports that are published, by the container's own, such as `80/tcp`.
    pub port_bindings: BTreeMap<String, Vec<PortBinding>>,
    /// Containers on the default network that it knows by further names: `name:alias`.
    pub links: Vec<String>,
    /// Publish every exposed port.
    pub publish_all_ports: bool,
    /// The root file system is read-only.
    pub readonly_rootfs: bool,
    /// `seccomp=…`, `no-new-privileges`, `apparmor=…`, `label=…`, …
    pub security_opt: Vec<String>,
    /// Storage driver options.
    pub storage_opt: BTreeMap<String, String>,
    /// `host` or empty.
    pub uts_mode: String,
    /// `host` or empty.
    pub userns_mode: String,
    /// Bytes of /dev/shm; 0: the default of 64 MiB.
    pub shm_size: i64,
    /// Sysctls of its own namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// The OCI runtime's name; empty: the built-in one.
    pub runtime: String,
    /// Run an init as process 1.
    pub init: Option<bool>,
    /// Paths to hide instead of the default ones.
    pub masked_paths: Option<Vec<String>>,
    /// Paths to make read-only instead of the default ones.
    pub readonly_paths: Option<Vec<String>>,
    /// Limits.
    pub resources: Resources,
}

/// Limits of a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Bytes; 0: none.
    pub memory: i64,
    /// Bytes of memory and swap together; 0: twice `memory`; -1: none.
    pub memory_swap: i64,
    /// Soft limit in bytes.
    pub memory_reservation: i64,
    /// 0 to 100; `None` or -1: the kernel's own.
    pub memory_swappiness: Option<i64>,
    /// Do not kill when memory runs out.
    pub oom_kill_disable: Option<bool>,
    /// Billionths of a CPU; 0: none.
    pub nano_cpus: i64,
    /// Relative weight; 0: the default of 1024.
    pub cpu_shares: i64,
    /// Microseconds.
    pub cpu_period: i64,
    /// Microseconds a period.
    pub cpu_quota: i64,
    /// CPUs it may run on, such as `0-3,5`.
    pub cpuset_cpus: String,
    /// Memory nodes.
    pub cpuset_mems: String,
    /// Processes; `None`: the daemon's default; 0 or -1: unlimited.
    pub pids_limit: Option<i64>,
    /// Microseconds of the period of real-time processes (cgroup v1); 0: the kernel's own.
    pub cpu_realtime_period: i64,
    /// Microseconds that real-time processes may run in it; 0: none.
    pub cpu_realtime_runtime: i64,
    /// Bytes of TCP buffers (cgroup v1); 0: none.
    pub kernel_memory_tcp: i64,
    /// Relative block I/O weight, 10 to 1000; 0: none.
    pub blkio_weight: u16,
    /// Relative weights by block device.
    pub blkio_weight_device: Vec<BlockWeight>,
    /// Bytes read per second.
    pub blkio_read_bps: Vec<BlockRate>,
    /// Bytes written per second.
    pub blkio_write_bps: Vec<BlockRate>,
    /// Reads per second.
    pub blkio_read_iops: Vec<BlockRate>,
    /// Writes per second.
    pub blkio_write_iops: Vec<BlockRate>,
    /// The cgroup above it.
    pub cgroup_parent: String,
    /// Devices of the host.
    pub devices: Vec<Device>,
    /// Device rules, such as `c 13:* rwm`.
    pub device_cgroup_rules: Vec<String>,
    /// Devices that a device driver is to find (`--gpus`, CDI).
    pub device_requests: Vec<DeviceRequest>,
    /// Limits of processes.
    pub ulimits: Vec<Ulimit>,
}

/// The weight of one block device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockWeight {
    /// Its node on the host.
    pub path: String,
    /// 10 to 1000.
    pub weight: u16,
}

/// What one block device may do in a second.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRate {
    /// Its node on the host.
    pub path: String,
    /// Bytes or operations; 0: no limit.
    pub rate: u64,
}

/// A device of the host in the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// On the host.
    pub host: String,
    /// In the container.
    pub container: String,
    /// Some of `rwm`.
    pub permissions: String,
}

/// Devices that a device driver is to find.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceRequest {
    /// `cdi`, `nvidia`, …; empty: any that has the capabilities.
    pub driver: String,
    /// How many; -1: all.
    pub count: i64,
    /// Which ones.
    pub ids: Vec<String>,
    /// What they must be able to do: any of these lists, all of its words.
    pub capabilities: Vec<Vec<String>>,
    /// Options for the driver.
    pub options: BTreeMap<String, String>,
}

/// A limit of processes (`setrlimit(2)`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Such as `nofile`.
    pub name: String,
    /// The soft limit; -1: none.
    pub soft: i64,
    /// The hard limit; -1: none.
    pub hard: i64,
}

/// Where a container's log goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// The driver's name; empty until the engine filled in its default.
    pub driver: String,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
}

/// What to do when a container ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// `no` (or empty), `always`, `unless-stopped`, `on-failure`.
    pub name: String,
    /// How often at most (`on-failure`); 0: without end.
    pub maximum_retry_count: i64,
}

/// A `--mount`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountRequest {
    /// `bind`, `volume`, `tmpfs`, …
    pub kind: String,
    /// Path or volume name.
    pub source: String,
    /// Path in the container.
    pub target: String,
    /// Not writable.
    pub read_only: bool,
    /// `default`, `consistent`, `cached`, `delegated`: accepted, without meaning on Linux.
    pub consistency: String,
    /// Bind: propagation such as `rprivate`.
    pub propagation: String,
    /// Bind: without the mounts below the source.
    pub non_recursive: bool,
    /// Bind: create a missing source directory.
    pub create_mountpoint: bool,
    /// Bind: mounts below a read-only bind stay writable.
    pub read_only_non_recursive: bool,
    /// Bind: fail when mounts below cannot be made read-only.
    pub read_only_force_recursive: bool,
    /// Volume: do not copy the image's content into a new volume.
    pub no_copy: bool,
    /// Volume: labels of a new volume.
    pub labels: BTreeMap<String, String>,
    /// Volume: driver of a new volume.
    pub driver: String,
    /// Volume: its driver's options.
    pub driver_options: BTreeMap<String, String>,
    /// Volume: path inside the volume.
    pub subpath: String,
    /// tmpfs: size in bytes; 0: none.
    pub tmpfs_size: i64,
    /// tmpfs: permission bits; 0: 1777.
    pub tmpfs_mode: u32,
}

/// Something mounted into a container, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPoint {
    /// What it is.
    pub kind: MountKind,
    /// The volume's name.
    pub name: Option<String>,
    /// The directory or file on the host; empty for a tmpfs.
    pub source: PathBuf,
    /// Path in the container.
    pub destination: String,
    /// The volume's driver.
    pub driver: Option<String>,
    /// The mode as it was given, such as `z` or `ro`.
    pub mode: String,
    /// Writable.
    pub rw: bool,
    /// Mount propagation; empty for what has none.
    pub propagation: String,
    /// Bind: without the mounts below the source.
    pub non_recursive: bool,
    /// Further mount options (tmpfs size and mode, …).
    pub options: Vec<String>,
    /// A volume that was made for this container alone, removed with it (`rm -v`, `--rm`).
    pub anonymous: bool,
    /// Copy the image's content into the volume on first use.
    pub copy_up: bool,
    /// A directory inside the volume that is mounted instead of the whole; empty for the whole.
    #[serde(default)]
    pub subpath: String,
    /// Bind: a source that is missing at a start is made, as a directory of root (`-v`).
    #[serde(default)]
    pub create_source: bool,
    /// A read-only mount leaves mounts below it writable.
    #[serde(default)]
    pub read_only_non_recursive: bool,
}

/// What a mount point is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A path of the host.
    Bind,
    /// A volume.
    Volume,
    /// Memory.
    Tmpfs,
}
